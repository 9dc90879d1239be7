"""Availability. OCPP 1.6, 5.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.rules.events import ChangeAvailability

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]


def _change_availability(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    """Connector 0 stands for the charge point and all its connectors, which have no other state then."""
    is_operative = fields["type"] == "Operative"
    event = ChangeAvailability(is_operative, fields["connector_id"] or None, with_parts=True)
    return core.dialect.version.call_results.ChangeAvailability(status=core.handle(event, now))


COMMANDS: Mapping[str, Handler] = {
    "ChangeAvailability": Handler(
        _change_availability,
        "takes a connector, or all of them, out of service or puts it back; during a transaction at its end",
        "5.2",
    ),
}
