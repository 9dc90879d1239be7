"""Variables of the device model. OCPP 2.0.1 part 2, B05 and B06."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.events import VariablesChanged
from cpsim_kit.station.variables import VARIABLES

if TYPE_CHECKING:
    from cpsim_kit.station.core import Core

__all__ = ["COMMANDS"]


_ECHOED = ("component", "variable", "attribute_type")  # what an answer says again of its question


def _get_variables(core: Core, _now: float, fields: Mapping[str, Any]) -> Any:
    results = []
    for asked in fields["get_variable_data"]:
        name, status = _find_variable(core, asked)
        answer = {name: asked[name] for name in _ECHOED if asked.get(name) is not None}
        if not status and core.variables.value(name) is None:
            status = "UnknownVariable"
        answer["attribute_status"] = status or "Accepted"
        if not status:
            answer["attribute_value"] = core.variables.text(name)
        results.append(answer)
    return core.dialect.version.call_results.GetVariables(get_variable_result=results)


def _set_variables(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    results = []
    for asked in fields["set_variable_data"]:
        name, status = _find_variable(core, asked)
        answer = {name: asked[name] for name in _ECHOED if asked.get(name) is not None}
        if not status:
            try:
                core.variables.set(name, asked["attribute_value"])
            except ValueError as exc:
                status = "Rejected"
                answer["attribute_status_info"] = {"reasonCode": "InvalidValue", "additionalInfo": str(exc)[:512]}
        answer["attribute_status"] = status or "Accepted"
        results.append(answer)
    core.handle(VariablesChanged(), now)
    return core.dialect.version.call_results.SetVariables(set_variable_result=results)


_BY_NAME = {name.casefold(): name for name in VARIABLES}
_COMPONENTS = {name.partition(".")[0].casefold() for name in VARIABLES}


def _find_variable(core: Core, asked: Mapping[str, Any]) -> tuple[str, str]:
    """The name of the variable that is meant, and the status if it cannot be read or set; "" if it can."""
    component, variable = asked["component"], asked["variable"]
    if component["name"].casefold() not in _COMPONENTS or component.get("evse") or component.get("instance"):
        return "", "UnknownComponent"
    instance = variable.get("instance")
    text = f"{component['name']}.{variable['name']}{f'[{instance}]' if instance else ''}"
    name = _BY_NAME.get(text.casefold())
    if name is None:
        return "", "UnknownVariable"
    if asked.get("attribute_type") not in (None, "Actual"):
        return name, "NotSupportedAttributeType"
    return name, ""


COMMANDS: Mapping[str, Handler] = {
    "GetVariables": Handler(_get_variables, "tells the values of variables", "B06.FR.01"),
    "SetVariables": Handler(_set_variables, "sets variables; the station acts by the new values at once", "B05.FR.01"),
}
