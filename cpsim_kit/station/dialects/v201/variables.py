"""Variables of the device model. OCPP 2.0.1 part 2, B05 and B06."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ocpp.exceptions import OccurrenceConstraintViolationError

from cpsim_kit.station.device_model.device_model import find_name, has_component
from cpsim_kit.station.device_model.variable import Address
from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.rules.events import VariablesChanged

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS", "check_length"]


def check_length(core: Core, action: str, items: int) -> None:
    """Refuse a message with too many items (B06.FR.16, B08.FR.17).

    Raises:
        OccurrenceConstraintViolationError: There are more than ItemsPerMessage says.
    """
    name = f"DeviceDataCtrlr.ItemsPerMessage[{action}]"
    most = core.variables.value(name)
    if items > most:
        raise OccurrenceConstraintViolationError(f"{items} items, and {name} is {most}")


def _get_variables(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    check_length(core, "GetVariables", len(fields["get_variable_data"]))
    results = []
    for asked in fields["get_variable_data"]:
        name, status = _find_variable(core, asked)
        answer = _begin_answer(asked)
        if not status:
            entry = core.variables.entry(name, now)
            if entry.mutability == "WriteOnly":  # B06.FR.09
                status = "Rejected"
                answer["attribute_status_info"] = {"reasonCode": "WriteOnly"}
            else:  # also without a value: B06.FR.13
                answer["attribute_value"] = entry.text or ""
        answer["attribute_status"] = status or "Accepted"
        results.append(answer)
    return core.dialect.version.call_results.GetVariables(get_variable_result=results)


def _set_variables(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    check_length(core, "SetVariables", len(fields["set_variable_data"]))
    results = []
    before: dict[str, Any] = {}
    for asked in fields["set_variable_data"]:
        name, status = _find_variable(core, asked)
        answer = _begin_answer(asked)
        if not status:
            try:
                before = {**core.variables.change(name, asked["attribute_value"]), **before}
            except ValueError as exc:
                status = "Rejected"
                reason = "ReadOnly" if core.variables.is_read_only(name) else "InvalidValue"
                answer["attribute_status_info"] = {"reasonCode": reason, "additionalInfo": str(exc)[:512]}
            else:
                status = "RebootRequired" if core.variables.variable(name).needs_reboot else ""
        answer["attribute_status"] = status or "Accepted"
        results.append(answer)
    if before:
        core.handle(VariablesChanged(before), now)
    return core.dialect.version.call_results.SetVariables(set_variable_result=results)


def _begin_answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer says again of its question (B05.FR.02, .03, .12; B06.FR.02, .03, .11)."""
    return {
        "component": asked["component"],
        "variable": asked["variable"],
        "attribute_type": asked.get("attribute_type") or "Actual",
    }


def _find_variable(core: Core, asked: Mapping[str, Any]) -> tuple[str, str]:
    """The name of the variable that is meant, and the status if it cannot be read or set; "" if it can."""
    component, variable = asked["component"], asked["variable"]
    evse = component.get("evse") or {}
    address = Address(
        component["name"],
        variable["name"],
        variable.get("instance") or "",
        evse.get("id", 0),
        evse.get("connector_id") or 0,
    )
    count = core.dialect.evse_count
    if component.get("instance") or ("id" in evse and evse["id"] < 1) or not has_component(count, address):
        return "", "UnknownComponent"
    name = find_name(count, address)
    if name is None:
        return "", "UnknownVariable"
    if asked.get("attribute_type") not in (None, "Actual"):
        return name, "NotSupportedAttributeType"
    return name, ""


COMMANDS: Mapping[str, Handler] = {
    "GetVariables": Handler(_get_variables, "tells the values of variables", "B06.FR.01"),
    "SetVariables": Handler(_set_variables, "sets variables; the station acts by the new values at once", "B05.FR.01"),
}
