"""TriggerMessage and ExtendedTriggerMessage. OCPP 1.6, 5.17; security white paper, 5.5."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.dialects.v16.maintenance import plain_status
from cpsim_kit.station.rules.events import Trigger
from cpsim_kit.station.rules.triggers import Progress, firmware_progress, log_progress

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]

Builders = Mapping[str, Callable[["Core"], Any]]


def _heartbeat(core: Core) -> Any:
    return core.dialect.version.calls.Heartbeat()


def _numbered(progress: Progress) -> Progress:
    """Idle where what goes on has no request id: only Idle is said without one (white paper, L01.FR.21, N01.FR.12)."""
    return progress if progress[1] is not None else ("Idle", None)


def _firmware_status(core: Core) -> Any:
    return core.dialect.version.calls.FirmwareStatusNotification(status=plain_status(firmware_progress(core)[0]))


def _signed_firmware_status(core: Core) -> Any:
    status, request_id = _numbered(firmware_progress(core))
    return core.dialect.version.calls.SignedFirmwareStatusNotification(status=status, request_id=request_id)


def _diagnostics_status(core: Core) -> Any:
    return core.dialect.version.calls.DiagnosticsStatusNotification(status=log_progress(core)[0])


def _log_status(core: Core) -> Any:
    status, request_id = _numbered(log_progress(core))
    return core.dialect.version.calls.LogStatusNotification(status=status, request_id=request_id)


_PLAIN: Builders = {
    "DiagnosticsStatusNotification": _diagnostics_status,
    "FirmwareStatusNotification": _firmware_status,
    "Heartbeat": _heartbeat,
}
_EXTENDED: Builders = {  # the secure ones (white paper, 6.16)
    "FirmwareStatusNotification": _signed_firmware_status,
    "Heartbeat": _heartbeat,
    "LogStatusNotification": _log_status,
}


def _trigger(builders: Builders, core: Core, now: float, fields: Mapping[str, Any]) -> str:
    """Do what is asked for: the status. SignChargePointCertificate is not implemented."""
    asked, connector_id = fields["requested_message"], fields.get("connector_id")
    status: str
    match asked:
        case "BootNotification":
            status = core.handle(Trigger("boot"), now)
        case "StatusNotification":
            status = core.handle(Trigger("status", connector_id), now)
        case "MeterValues":
            status = core.handle(Trigger("meter", connector_id), now)
        case _ if asked in builders:
            status = core.handle(Trigger("message", build=partial(builders[asked], core)), now)
        case _:
            status = "NotImplemented"
    return status


def _trigger_message(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    return core.dialect.version.call_results.TriggerMessage(status=_trigger(_PLAIN, core, now, fields))


def _extended_trigger_message(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    return core.dialect.version.call_results.ExtendedTriggerMessage(status=_trigger(_EXTENDED, core, now, fields))


COMMANDS: Mapping[str, Handler] = {
    "ExtendedTriggerMessage": Handler(
        _extended_trigger_message, "sends the message after its answer", "security white paper, 5.5"
    ),
    "TriggerMessage": Handler(_trigger_message, "sends the message after its answer", "5.17"),
}
