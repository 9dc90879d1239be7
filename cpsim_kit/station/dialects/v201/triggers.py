"""TriggerMessage. OCPP 2.0.1 part 2, F06."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.rules.events import Trigger
from cpsim_kit.station.rules.triggers import firmware_progress, log_progress

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]


def _heartbeat(core: Core) -> Any:
    return core.dialect.version.calls.Heartbeat()


def _firmware_status(core: Core) -> Any:
    status, request_id = firmware_progress(core)
    return core.dialect.version.calls.FirmwareStatusNotification(status=status, request_id=request_id)


def _log_status(core: Core) -> Any:
    status, request_id = log_progress(core)
    return core.dialect.version.calls.LogStatusNotification(status=status, request_id=request_id)


_MESSAGES: Mapping[str, Callable[[Core], Any]] = {  # an EVSE is not relevant to them (F06.FR.03)
    "FirmwareStatusNotification": _firmware_status,
    "Heartbeat": _heartbeat,
    "LogStatusNotification": _log_status,
}


def _trigger_message(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    evse = fields.get("evse") or {}
    evse_id, connector_id = evse.get("id"), evse.get("connector_id")
    has_connector = connector_id in (None, 1)
    asked = fields["requested_message"]
    match asked:
        case "BootNotification":
            status = core.handle(Trigger("boot"), now)
        case "StatusNotification":
            status = core.handle(Trigger("status", evse_id), now) if has_connector else "Rejected"
        case "MeterValues":
            status = core.handle(Trigger("meter", evse_id), now)
        case "TransactionEvent":
            status = core.handle(Trigger("transaction", evse_id), now)
        case _ if asked in _MESSAGES:
            status = core.handle(Trigger("message", build=partial(_MESSAGES[asked], core)), now)
        case _:  # certificates, a local controller's firmware, and a vendor's own messages (F06.FR.08)
            status = "NotImplemented"
    return core.dialect.version.call_results.TriggerMessage(status=status)


COMMANDS: Mapping[str, Handler] = {
    "TriggerMessage": Handler(_trigger_message, "sends the message after its answer", "F06.FR.03 to .17"),
}
