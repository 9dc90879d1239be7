"""Availability. OCPP 2.0.1 part 2, G03 and G04."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.rules.events import ChangeAvailability

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]


def _change_availability(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    evse = fields.get("evse") or {}
    is_operative = fields["operational_status"] == "Operative"
    status = core.handle(ChangeAvailability(is_operative, evse.get("id"), evse.get("connector_id")), now)
    return core.dialect.version.call_results.ChangeAvailability(status=status)


COMMANDS: Mapping[str, Handler] = {
    "ChangeAvailability": Handler(
        _change_availability,
        "takes a connector, an EVSE or the station out of service or puts it back; during a transaction at its end",
        "G03.FR.03 to .08, G04.FR.01 to .09",
    ),
}
