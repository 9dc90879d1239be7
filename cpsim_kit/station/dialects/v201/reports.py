"""Reports of the device model. OCPP 2.0.1 part 2, B07 and B08."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.device_model.device_model import addresses
from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.dialects.v201.variables import check_length

if TYPE_CHECKING:
    from cpsim_kit.station.device_model.variable import Address
    from cpsim_kit.station.device_model.variables import Entry
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS", "PART"]

PART = 40  # variables in one NotifyReport: some 16 KB

# What tells of the availability, and of a problem (B07.FR.09).
_SUMMARY = frozenset({"AvailabilityState", "Problem"})


@dataclass(frozen=True, slots=True)
class _Part:
    """One NotifyReport: makes the message when it is its turn.

    Attributes:
        core: The core.
        request_id: That of the CSMS's request.
        seq_no: From 0 on, for each report.
        names: The variables that it reports.
        at: The moment of the request: all parts tell the values of this moment.
        is_last: Whether no part follows.
    """

    core: Core
    request_id: int
    seq_no: int
    names: Sequence[str]
    at: float
    is_last: bool

    def __call__(self) -> Any:
        found = addresses(self.core.dialect.evse_count)
        entries = (self.core.variables.entry(name, self.at) for name in self.names)
        return self.core.dialect.version.calls.NotifyReport(
            request_id=self.request_id,
            generated_at=self.core.dialect.time(self.at),
            seq_no=self.seq_no,
            tbc=not self.is_last,
            report_data=[_report_data(entry, found[entry.name]) for entry in entries],
        )


def _report_data(entry: Entry, address: Address) -> dict[str, Any]:
    """ReportDataType. A value that may not be read is left out (errata 2025-09, B07.FR.03)."""
    variable = entry.variable
    component: dict[str, Any] = {"name": address.component}
    if address.evse_id:
        component["evse"] = {"id": address.evse_id}
        if address.connector_id:
            component["evse"]["connectorId"] = address.connector_id
    attribute: dict[str, Any] = {"type": "Actual", "mutability": entry.mutability}
    if entry.text is not None:
        attribute["value"] = entry.text
    if entry.mutability != "ReadOnly":
        attribute["persistent"] = True
    characteristics: dict[str, Any] = {"dataType": variable.type, "supportsMonitoring": False}
    if variable.unit:
        characteristics["unit"] = variable.unit
    if entry.least is not None:
        characteristics["minLimit"] = entry.least
    if entry.limit is not None:
        characteristics["maxLimit"] = float(entry.limit)
    if entry.members:
        characteristics["valuesList"] = ",".join(entry.members)
    return {
        "component": component,
        "variable": {"name": address.variable, **({"instance": address.instance} if address.instance else {})},
        "variableAttribute": [attribute],
        "variableCharacteristics": characteristics,
    }


def _is_running(core: Core) -> bool:
    """Whether parts of an earlier report are not answered yet."""
    builds = [*(message.build for message in core.queue), *core.triggers.early]
    return any(isinstance(build, _Part) for build in builds)


def _send(core: Core, now: float, request_id: int, names: Sequence[str]) -> None:
    """Report these variables, in parts."""
    for number, first in enumerate(range(0, len(names), PART)):
        part = names[first : first + PART]
        core.send_requested(_Part(core, request_id, number, part, now, is_last=first + PART >= len(names)))


def _get_base_report(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    results = core.dialect.version.call_results
    if _is_running(core):  # B07.FR.13
        return results.GetBaseReport(status="Rejected", status_info={"reasonCode": "InvalidMessageSeq"})
    entries = core.variables.entries(now)
    match fields["report_base"]:
        case "ConfigurationInventory":
            names = [each.name for each in entries if each.mutability != "ReadOnly"]
        case "FullInventory":
            names = [each.name for each in entries]
        case _:
            found = addresses(core.dialect.evse_count)
            names = [each.name for each in entries if found[each.name].variable in _SUMMARY]
    _send(core, now, fields["request_id"], names)
    return results.GetBaseReport(status="Accepted")


def _get_report(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    asked = fields.get("component_variable") or ()
    check_length(core, "GetReport", len(asked))
    results = core.dialect.version.call_results
    if _is_running(core):  # B08.FR.16
        return results.GetReport(status="Rejected", status_info={"reasonCode": "InvalidMessageSeq"})
    criteria = fields.get("component_criteria") or ()
    found = addresses(core.dialect.evse_count).items()
    conditions: dict[tuple[str, int, int], dict[str, str]] = {}
    for name, address in found:
        if address.variable in _CRITERIA:
            conditions.setdefault(_component(address), {})[address.variable] = core.variables.text(name, now)
    names = [
        name
        for name, address in found
        if _meets(conditions.get(_component(address), {}), criteria)
        and (not asked or any(_is_meant(each, address) for each in asked))
    ]
    if not names:  # B08.FR.15
        return results.GetReport(status="EmptyResultSet", status_info={"reasonCode": "NotFound"})
    _send(core, now, fields["request_id"], names)
    return results.GetReport(status="Accepted")


_CRITERIA = frozenset({"Active", "Available", "Enabled", "Problem"})


def _component(address: Address) -> tuple[str, int, int]:
    return address.component, address.evse_id, address.connector_id


def _meets(variables: Mapping[str, str], criteria: Sequence[str]) -> bool:
    """Whether a component meets one of the criteria (B08.FR.07 to .10, .13)."""
    return not criteria or any(
        variables.get(criterion, "false" if criterion == "Problem" else "true") == "true" for criterion in criteria
    )


def _is_meant(asked: Mapping[str, Any], address: Address) -> bool:
    """Whether a ComponentVariable means this variable: what it leaves out, it leaves open (B08.FR.20 to .25)."""
    component, variable = asked["component"], asked.get("variable") or {}
    evse = component.get("evse") or {}
    wanted = (
        (component["name"], address.component),
        (component.get("instance"), ""),
        (variable.get("name"), address.variable),
        (variable.get("instance"), address.instance),
        (evse.get("id"), address.evse_id),
        (evse.get("connector_id"), address.connector_id),
    )
    return all(want is None or str(want).casefold() == str(have).casefold() for want, have in wanted)


COMMANDS: Mapping[str, Handler] = {
    "GetBaseReport": Handler(
        _get_base_report, "reports all variables, those that can be set, or a summary, with NotifyReport", "B07.FR.01"
    ),
    "GetReport": Handler(
        _get_report, "reports the variables that meet the criteria, with NotifyReport", "B08.FR.01, B08.FR.05"
    ),
}
