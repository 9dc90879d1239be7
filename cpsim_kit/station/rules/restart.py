"""Resets: of the whole station, which ends its connection and boots again, and of one EVSE. Pure: no clock, no I/O.

A reset of the station goes through four steps: it waits for transactions (only where it may), it says what is to be
said of them, it is away for some seconds, and it boots. The driver does what touches the connection: see
``Driver``. OCPP 2.0.1 part 2, B11 and B12 with the errata of 2025-09, and B01; OCPP 1.6, 5.14.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from cpsim_kit.station.rules.events import Reset

if TYPE_CHECKING:
    from cpsim_kit.station.charging.evse import LiveEvse
    from cpsim_kit.station.rules.availability import Availability
    from cpsim_kit.station.rules.visits import Visits

__all__ = ["RESTART_SECONDS", "Restarts"]

RESTART_SECONDS = 5.0  # of the station's clock; how long a station, or an EVSE, is away


class Restarts:
    """The resets of one station.

    Args:
        visits: What goes on at its EVSEs.
        availability: What of it is in service.

    Attributes:
        step: What the station does for a reset: it waits for transactions, ends them and says so ("ends"), is away, or
            boots; "" without a reset.
        boot_reason: Why it will boot, a BootReasonEnumType value; "" without a reset.
        up_at: When it boots; infinity where it is not away.
        at_start: Called one after the other each time the station starts, before it reports anything: for what takes
            effect at a restart only.
    """

    __slots__ = ("_availability", "_evses", "_stopped_reason", "_visits", "at_start", "boot_reason", "step", "up_at")

    def __init__(self, visits: Visits, availability: Availability) -> None:
        self._visits = visits
        self._availability = availability
        self._evses: dict[int, float] | None = None  # EVSEs with a reset, and when it ends; infinity while one waits
        self._stopped_reason = ""
        self.step: Literal["", "waits", "ends", "away", "boots"] = ""
        self.boot_reason = ""
        self.up_at = math.inf
        self.at_start: tuple[Callable[[], object], ...] = ()
        availability.on_left = self._evse_left

    @property
    def is_away(self) -> bool:
        """Whether the station is away, or boots: it has no connection that it uses."""
        return self.step in ("away", "boots")

    def reset(self, event: Reset, now: float) -> str:
        """Begin a reset: the status."""
        if event.evse_id is not None:
            return self._reset_evse(event, event.evse_id, now)
        self._stopped_reason = event.stopped_reason
        if event.is_immediate or self.step == "ends" or not self._has_transaction():
            self.boot_reason = event.boot_reason or "RemoteReset"
            self.step = "ends"
            for evse in list(self._visits.places()):
                self._end(evse, now)
            return "Accepted"
        self.boot_reason = event.boot_reason or "ScheduledReset"
        self.step = "waits"
        self._availability.hold(self._visits.evses, "reset", now)
        return "Scheduled"

    def is_ready(self, now: float) -> bool:
        """Whether the station can go away, once nothing is left to say; a transaction that just began ends first."""
        if self.step == "waits" and not self._has_transaction():
            self.step = "ends"
        if self.step == "ends" and self._has_transaction():
            for evse in list(self._visits.places()):
                self._end(evse, now)
            return False
        return self.step == "ends"

    def go_away(self, now: float) -> None:
        """The station is away from now on."""
        self.step = "away"
        self.up_at = now + RESTART_SECONDS

    def cancel(self) -> None:
        """There is no reset any more: it is done, or the power supply went."""
        self.step = self.boot_reason = ""
        self.up_at = math.inf
        self._evses = None

    def due(self) -> float:
        """When a reset goes on by itself next; infinity for never."""
        return min(self.up_at, min(self._evses.values(), default=math.inf) if self._evses else math.inf)

    def tick(self, now: float) -> None:
        """What is due by now."""
        if self.up_at <= now:
            self.up_at = math.inf
            self.step = "boots"
        for number, up_at in list((self._evses or {}).items()):
            if up_at <= now:
                assert self._evses is not None
                del self._evses[number]
                self._availability.release([number], "EVSE reset", now)

    def _reset_evse(self, event: Reset, number: int, now: float) -> str:
        """B11.FR.08, B12.FR.07 and .08."""
        evse = self._visits.evses.get(number)
        if evse is None:
            return "Rejected"
        if self._evses is None:
            self._evses = {}
        if not event.is_immediate and evse.transaction is not None:
            self._evses[number] = math.inf
            self._availability.hold([number], "EVSE reset", now)
            return "Scheduled"
        self._stopped_reason = event.stopped_reason
        self._end(evse, now)
        self._evses[number] = now + RESTART_SECONDS
        self._availability.hold([number], "EVSE reset", now)
        return "Accepted"

    def _evse_left(self, evse: LiveEvse, now: float) -> None:
        """The transaction has ended that the reset of this EVSE waited for."""
        if self._evses is not None and self._evses.get(evse.id) == math.inf:
            self._evses[evse.id] = now + RESTART_SECONDS

    def _has_transaction(self) -> bool:
        return any(evse.transaction is not None for evse in self._visits.places())

    def _end(self, evse: LiveEvse, now: float) -> None:
        """End what goes on at an EVSE (B12.FR.04, .08); the cable stays in."""
        if evse.authorization is None and evse.transaction is None:
            return
        self._visits.drop_authorization(evse)
        evse.offer(now)
        self._visits.settle(evse, now, "ResetCommand", self._stopped_reason, must_end=True)
        self._visits.close_session(evse, now)
