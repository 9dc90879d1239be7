"""Reservations. OCPP 2.0.1 part 2, H01 and H02, and errata 2.31 (2025-09)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.device_model.live_values import connector_type
from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.rules.authorization import IdToken
from cpsim_kit.station.rules.events import CancelReservation, ReserveNow
from cpsim_kit.station.rules.reservations import Reservation

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]


def _reserve_now(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    results = core.dialect.version.call_results
    evse_id, wanted = fields.get("evse_id"), fields.get("connector_type")
    if evse_id is None and not core.variables.value("ReservationCtrlr.NonEvseSpecific"):  # H01.FR.19
        return results.ReserveNow(status="Rejected")
    group = fields.get("group_id_token") or {}
    reservation = Reservation(
        fields["id"],
        IdToken(fields["id_token"]["id_token"], fields["id_token"]["type"]),
        core.dialect.commanded_moment(fields["expiry_date_time"]),
        tuple(
            number
            for number, evse in core.evses.items()
            if evse_id in (None, number) and wanted in (None, connector_type(core, evse, now))
        ),
        group.get("id_token", ""),
    )
    return results.ReserveNow(status=core.handle(ReserveNow(reservation), now))


def _cancel_reservation(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    status = core.handle(CancelReservation(fields["reservation_id"]), now)
    return core.dialect.version.call_results.CancelReservation(status=status)


COMMANDS: Mapping[str, Handler] = {
    "CancelReservation": Handler(_cancel_reservation, "makes the EVSE available again", "H02.FR.01 to .06"),
    "ReserveNow": Handler(
        _reserve_now,
        "keeps an EVSE for a token, or for those of its group, until the reservation expires",
        "H01.FR.01 to .24, H03.FR.01 to .11, H04.FR.01 to .03",
    ),
}
