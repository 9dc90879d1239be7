"""Which parts of a station are in service, as the CSMS says. Pure: no clock, no I/O.

Station, EVSEs and connectors have a state each, and an EVSE is in service while all three are. A part with a running
transaction goes out of service when that ends. OCPP 2.0.1 part 2, G03 and G04; OCPP 1.6, 5.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from cpsim_kit.station.rules.events import ChangeAvailability

if TYPE_CHECKING:
    from cpsim_kit.station.charging.evse import LiveEvse
    from cpsim_kit.station.dialects import Dialect
    from cpsim_kit.station.rules.visits import Visits

__all__ = ["Availability"]

Place = tuple[int, int]  # an EVSE and its connector; 0 for the whole

_STATION: Place = (0, 0)
_RESETS = frozenset({"reset", "EVSE reset"})


class Availability:
    """What is in service at one station.

    Args:
        visits: What goes on at its EVSEs.
        dialect: The words of its version.

    Attributes:
        on_left: Called with an EVSE, and when, that went out of service as its transaction ended.
    """

    __slots__ = ("_dialect", "_held", "_is_reported", "_out", "_visits", "on_left")

    def __init__(self, visits: Visits, dialect: Dialect) -> None:
        self._visits = visits
        self._dialect = dialect
        self._out: set[Place] | None = None  # what is out of service; None while the CSMS has changed nothing
        self._held: set[tuple[int, str]] | None = None  # EVSEs that begin nothing, and what they are held for
        self._is_reported: bool | None = True  # what the CSMS knows of the station as a whole
        self.on_left: Callable[[LiveEvse, float], object] | None = None

    @property
    def is_operative(self) -> bool:
        """Whether the station as a whole is in service; a change that waits for a transaction has not happened yet."""
        return _STATION not in self._places() or any(evse.is_leaving for evse in self._visits.evses.values())

    def change(self, event: ChangeAvailability, now: float) -> str:
        """Take a part out of service, or put it back.

        Returns:
            "Accepted", "Scheduled" while a transaction runs there, or "Rejected" where there is no such part, or it
            belongs to a whole that is out of service and has no state of its own.
        """
        evses = self._visits.evses
        place = (event.evse_id or 0, event.connector_id or 0)
        if (place[0] and place[0] not in evses) or place[1] > 1 or min(place) < 0 or (place[1] and not place[0]):
            return "Rejected"
        out = self._places()
        if event.with_parts and event.is_operative and place[0] and _STATION in out:
            return "Rejected"
        self._out = out
        places = {place}
        if event.with_parts and place == _STATION:
            places |= {(number, 0) for number in evses}
        if event.is_operative:
            out -= places
        else:
            out |= places
        covered = list(self._visits.places()) if place == _STATION else [evses[place[0]]]
        waits = not event.is_operative and any(evse.transaction is not None for evse in covered)
        self._refresh(now)
        return "Scheduled" if waits else "Accepted"

    def hold(self, numbers: Iterable[int], purpose: str, now: float) -> None:
        """Let these EVSEs begin nothing until they are released.

        Args:
            numbers: The EVSEs.
            purpose: What for, e.g. "firmware": each purpose is released by itself.
            now: The moment.
        """
        self._held = (self._held or set()) | {(number, purpose) for number in numbers}
        self._refresh(now)

    def release(self, numbers: Iterable[int], purpose: str, now: float) -> None:
        """Put back the EVSEs that were held for this purpose, and are held for no other one."""
        if self._held is not None:
            self._held -= {(number, purpose) for number in numbers}
        self._refresh(now)

    def leave(self, evse: LiveEvse, now: float) -> None:
        """A transaction has ended at an EVSE that was to go out of service then."""
        evse.is_leaving = evse.available = False
        evse.offer(now)
        self.report(now)
        if self.on_left is not None:
            self.on_left(evse, now)

    def report(self, now: float) -> None:
        """Report the station as a whole, where the version does, if the CSMS does not know its state."""
        reporter = self._visits.reporter
        if self.is_operative == self._is_reported or not reporter.queue.is_online:
            return
        for build in self.start_messages(now):
            reporter.send(build, lost=self._report_lost)

    def start_messages(self, now: float) -> Sequence[Callable[[], object]]:
        """The messages on the station as a whole, where the version has any; they are said now."""
        self._is_reported = self.is_operative
        return self._dialect.start_messages(now, self._is_reported)

    def _report_lost(self, _now: float) -> None:
        self._is_reported = None

    def restore(self) -> None:
        """The station starts: it has the states of before, and nothing is held any more. Nothing is said."""
        self._held = None
        for evse in self._visits.evses.values():
            wanted, evse.is_resetting = self._is_wanted(evse), False
            evse.is_leaving = not wanted and evse.transaction is not None
            evse.available = wanted or evse.is_leaving

    def dump(self) -> list[list[int]] | None:
        """What is out of service, as JSON can hold it; None while the CSMS has changed nothing."""
        return None if self._out is None else [list(place) for place in sorted(self._out)]

    def load(self, saved: Iterable[Iterable[int]] | None) -> None:
        """Take what :meth:`dump` gave."""
        if saved is not None:
            self._out = {(evse_id, connector_id) for evse_id, connector_id in saved}
        self.restore()

    # -- Inside -------------------------------------------------------------------------------------------------------

    def _places(self) -> set[Place]:
        """What is out of service."""
        if self._out is not None:
            return self._out
        return {(number, 0) for number, evse in self._visits.evses.items() if not evse.spec.available}

    def _is_wanted(self, evse: LiveEvse) -> bool:
        """Whether an EVSE is to be in service."""
        return not self._purposes(evse) and self._is_in_service(evse)

    def _is_in_service(self, evse: LiveEvse) -> bool:
        return self._places().isdisjoint({_STATION, (evse.id, 0), (evse.id, 1)})

    def _purposes(self, evse: LiveEvse) -> set[str]:
        """What an EVSE is held for."""
        return {purpose for number, purpose in self._held or () if number == evse.id}

    def _refresh(self, now: float) -> None:
        """Let the EVSEs follow the states, each as soon as its transaction allows it."""
        for evse in self._visits.evses.values():
            wanted = self._is_wanted(evse)
            evse.is_resetting = not wanted and self._is_in_service(evse) and self._purposes(evse) <= _RESETS
            evse.is_leaving = not wanted and evse.available and evse.transaction is not None
            if evse.available and not wanted and not evse.is_leaving:
                self._take_out(evse, now)
            elif wanted and not evse.available:
                self._put_back(evse, now)
        lobby = self._visits.lobby
        if lobby is not None and lobby.transaction is None and not self.is_operative:
            self._visits.drop_authorization(lobby)
            self._visits.close_session(lobby, now)
        self.report(now)

    def _take_out(self, evse: LiveEvse, now: float) -> None:
        """Nothing charges here any more. What was authorized ends first: OCPP 1.6, 4.9 has no move from Preparing."""
        self._visits.drop_authorization(evse)
        evse.was_stopped = evse.vehicle is not None or evse.has_dangling_cable
        self._visits.settle(evse, now, "")
        evse.available = False
        evse.offer(now)
        self._visits.settle(evse, now, "")
        self._visits.close_session(evse, now)

    def _put_back(self, evse: LiveEvse, now: float) -> None:
        """It is as before; a vehicle that waits needs a new start."""
        evse.available = True
        evse.was_stopped = False
        evse.offer(now)
        evse.conditions = evse.find_conditions()  # nothing begins by itself
        self._visits.await_token(evse, now)
        self._visits.settle(evse, now, "")
