"""Messages that the CSMS asks for. Pure: no clock, no I/O.

What is asked for before the CSMS has accepted the station is sent at once, outside of the queue: nothing else may be
sent then (B02.FR.02). OCPP 2.0.1 part 2, F06; OCPP 1.6, 5.17, and its security white paper, 5.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.charging.meter import Reading, read, read_all
from cpsim_kit.station.rules.events import Trigger

if TYPE_CHECKING:
    from cpsim_kit.station.charging.evse import LiveEvse
    from cpsim_kit.station.rules.core import Core
    from cpsim_kit.station.rules.visits import Visits

__all__ = ["Progress", "Triggers", "firmware_progress", "log_progress"]

Progress = tuple[str, int | None]  # the status, and the id of the request that it belongs to

_IDLE: Progress = ("Idle", None)


def firmware_progress(core: Core) -> Progress:
    """The status of the firmware update that goes on; Idle without one (F06.FR.16)."""
    return core.maintenance.firmware.progress if core.has_maintenance else _IDLE


def log_progress(core: Core) -> Progress:
    """The status of the log that is uploaded; Idle without one (F06.FR.15)."""
    return core.maintenance.progress if core.has_maintenance else _IDLE


class Triggers:
    """The messages that the CSMS asks one station for.

    Args:
        visits: What goes on at its EVSEs.

    Attributes:
        wants_boot: Whether a BootNotification is asked for. The driver sends it: the core does not know what the
            station is called.
    """

    __slots__ = ("_early", "_visits", "wants_boot")

    def __init__(self, visits: Visits) -> None:
        self._visits = visits
        self._early: list[Callable[[], Any]] | None = None  # asked for before the station is accepted
        self.wants_boot = False

    def trigger(self, event: Trigger, now: float, *, is_accepted: bool) -> str:
        """The CSMS asks for a message: "Accepted" if it will be sent, else "Rejected"."""
        if event.kind == "boot":
            if is_accepted and not self._visits.dialect.boots_when_asked:  # F06.FR.17
                return "Rejected"
            self.wants_boot = True
            return "Accepted"
        if event.kind == "transaction":
            return self._trigger_transactions(event, now) if is_accepted else "Rejected"
        builds = self._find(event, now)
        for build in builds:
            if is_accepted:
                self._visits.reporter.send(build)
            else:
                self.add_early(build)
        return "Accepted" if builds else "Rejected"

    @property
    def early(self) -> Sequence[Callable[[], Any]]:
        """The messages that :meth:`drain_early` gives."""
        return self._early or ()

    def add_early(self, build: Callable[[], Any]) -> None:
        """Say something that was asked for, although the CSMS has not accepted the station yet."""
        self._early = [*self.early, build]

    def drain_early(self) -> list[Callable[[], Any]]:
        """The messages that are to be sent although the CSMS has not accepted the station yet."""
        early, self._early = self._early or [], None
        return early

    def _find(self, event: Trigger, now: float) -> Sequence[Callable[[], Any]]:
        """What makes the messages; empty where there is nothing of this kind."""
        if event.kind == "message":
            assert event.build is not None
            return [event.build]
        evses = self._chosen(event)
        if event.kind == "status":
            is_operative = self._visits.availability.is_operative
            whole = [] if event.evse_id else self._visits.dialect.start_messages(now, is_operative)
            return [*whole, *(partial(self._visits.reporter.current_status, evse, now) for evse in evses)]
        return self._meter_values(event, evses, now)

    def _meter_values(self, event: Trigger, evses: Sequence[LiveEvse], now: float) -> list[Callable[[], Any]]:
        dialect = self._visits.dialect
        measurands = self._visits.variables.value(dialect.asked_measurands)
        readings: list[tuple[int, Reading, Any]] = [
            (evse.id, read(evse, now, "Trigger", measurands), evse.transaction) for evse in evses
        ]
        if event.evse_id == 0:
            whole = read_all(list(self._visits.evses.values()), now, measurands)
            readings = [(0, Reading(now, "Trigger", whole.values), None)]
        return [
            partial(dialect.meter_values, number, reading, transaction)
            for number, reading, transaction in readings
            if reading.values
        ]

    def _trigger_transactions(self, event: Trigger, now: float) -> str:
        places = self._visits.places() if event.evse_id is None else self._chosen(event)
        running = [evse for evse in places if evse.transaction is not None]
        for evse in running:
            self._visits.reporter.report_now(evse, now)
        return "Accepted" if running else "Rejected"

    def _chosen(self, event: Trigger) -> list[LiveEvse]:
        evses = self._visits.evses
        if event.evse_id is None:
            return list(evses.values())
        return [evses[event.evse_id]] if event.evse_id in evses else []
