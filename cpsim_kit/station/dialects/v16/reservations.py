"""Reservations. OCPP 1.6, 5.1 and 5.13."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.dialects.v16.fields import NO_TYPE
from cpsim_kit.station.rules.authorization import IdToken
from cpsim_kit.station.rules.events import CancelReservation, ReserveNow
from cpsim_kit.station.rules.reservations import Reservation

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]


def _reserve_now(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    results = core.dialect.version.call_results
    connector_id = fields["connector_id"]
    if not connector_id and not core.variables.value("ReservationCtrlr.NonEvseSpecific"):
        return results.ReserveNow(status="Rejected")
    reservation = Reservation(
        fields["reservation_id"],
        IdToken(fields["id_tag"], NO_TYPE),
        core.dialect.commanded_moment(fields["expiry_date"]),
        (connector_id,) if connector_id else tuple(core.evses),
        fields.get("parent_id_tag") or "",
    )
    return results.ReserveNow(status=core.handle(ReserveNow(reservation), now))


def _cancel_reservation(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    status = core.handle(CancelReservation(fields["reservation_id"]), now)
    return core.dialect.version.call_results.CancelReservation(status=status)


COMMANDS: Mapping[str, Handler] = {
    "CancelReservation": Handler(_cancel_reservation, "makes the connector available again", "5.1"),
    "ReserveNow": Handler(
        _reserve_now, "keeps a connector for a tag, or for those of its parent, until the reservation expires", "5.13"
    ),
}
