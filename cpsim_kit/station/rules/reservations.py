"""Reservations: which EVSEs are kept for whom, and what becomes of each reservation. Pure: the moment is an argument.

A reservation may be for one EVSE, for those of a type, or for any. An EVSE is held while without it fewer reservations
could be served: so one for an EVSE always holds that EVSE, and one for any holds the last free EVSE.
OCPP 2.0.1 part 2, functional block H, and errata 2.30 to 2.32 (2025-09); OCPP 1.6, 5.1 and 5.13.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cpsim_kit.basics.tables import table
from cpsim_kit.station.rules.authorization import IdToken

if TYPE_CHECKING:
    import pandas as pd

    from cpsim_kit.station.charging.evse import LiveEvse

__all__ = ["Reservation", "Reservations", "reservations_frame"]

_LAST_SHOWN = 9_223_372_036  # in the year 2262: a table counts nanoseconds in 64 bits


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reservation.

    Attributes:
        id: The CSMS's id.
        token: For whom it is.
        until: When it expires, seconds since the epoch.
        evse_ids: The EVSEs of which it keeps one free.
        group: The group that may use it, too; "" for none.
    """

    id: int
    token: IdToken
    until: float
    evse_ids: tuple[int, ...]
    group: str = ""

    def is_for(self, token: IdToken, group: str) -> bool:
        """Whether a token, or one of this group, may use it (H03.FR.01 to .06)."""
        return self.token.is_same(token) or (bool(group) and group.casefold() == self.group.casefold())


class Reservations:
    """The reservations of one station.

    Attributes:
        unreported: Ends that the CSMS does not know yet: ids and ReservationUpdateStatusEnumType values of OCPP 2.x.
    """

    __slots__ = ("_by_id", "_holds", "unreported")

    def __init__(self) -> None:
        self._by_id: dict[int, Reservation] | None = None  # most stations have none
        self._holds = False  # whether an EVSE is marked
        self.unreported: list[tuple[int, str]] | None = None

    def __len__(self) -> int:
        return len(self._by_id or ())

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do: no reservation, no EVSE that was held, and nothing to tell."""
        return not (self._by_id or self._holds or self.unreported)

    def all(self) -> list[Reservation]:
        """The reservations, oldest first."""
        return list((self._by_id or {}).values())

    def due(self) -> float:
        """When the next one expires, seconds since the epoch; infinity for never."""
        return min((each.until for each in (self._by_id or {}).values()), default=float("inf"))

    # -- Making and ending them ---------------------------------------------------------------------------------------

    def reserve(self, new: Reservation, evses: Mapping[int, LiveEvse], now: float) -> str:
        """Add a reservation, or replace the one of the same id.

        Args:
            new: The reservation.
            evses: The station's EVSEs.
            now: Seconds since the epoch.

        Returns:
            "Accepted", or why it is not added: "Faulted", "Occupied", "Rejected" or "Unavailable" (H01.FR.02 to .14).
        """
        targets = [evses[number] for number in new.evse_ids if number in evses]
        if not targets or new.until <= now:
            return "Rejected"
        others = [each for each in self.all() if each.id != new.id]
        places = _places(evses.values(), others)
        if len(others) < len(self):  # its own vehicle may be there already
            places |= {each.id for each in targets if each.is_reserved and _may_be_kept(each)}
        usable = tuple(each.id for each in targets if each.is_usable or each.is_reserved)
        if _most([*others, replace(new, evse_ids=usable)], places) > _most(others, places):
            self._by_id = {each.id: each for each in [*others, new]}
            return "Accepted"
        if all(each.fault for each in targets):
            return "Faulted"
        return "Occupied" if any(each.is_usable or each.is_reserved for each in targets) else "Unavailable"

    def cancel(self, reservation_id: int) -> bool:
        """Take a reservation away; whether there was one."""
        return self._by_id is not None and self._by_id.pop(reservation_id, None) is not None

    def expire(self, epoch: float, now: float) -> None:
        """End those whose time is over (H04.FR.01), ``now`` seconds after ``epoch``."""
        if self.due() - epoch <= now:  # as the core works out when that is
            self._end([each for each in self.all() if each.until - epoch <= now], "Expired")

    def remove_lost(self, evses: Iterable[LiveEvse]) -> None:
        """End those for which an EVSE that is out of order leaves no place (H01.FR.16, .17); the newest one first."""
        rest, places = self.all(), _places(evses, self.all())
        lost = []
        while _most(rest, places) < len(rest):
            lost += [
                next(each for each in reversed(rest) if _most(_without(rest, each), places) == _most(rest, places))
            ]
            rest.remove(lost[-1])
        self._end(lost, "Removed")

    def tell(self, reservation_id: int, status: str) -> None:
        """Remember that the CSMS has to be told this."""
        self.unreported = [*(self.unreported or ()), (reservation_id, status)]

    def _end(self, ended: Sequence[Reservation], status: str) -> None:
        for each in ended:
            self.cancel(each.id)
            self.tell(each.id, status)

    # -- What they mean for an EVSE -----------------------------------------------------------------------------------

    def hold(self, evses: Sequence[LiveEvse]) -> None:
        """Mark the EVSEs that are held."""
        every = self.all()
        places = _places(evses, every)
        most = _most(every, places)
        for evse in evses:
            evse.is_reserved = evse.id in places and _most(every, places - {evse.id}) < most
        self._holds = any(evse.is_reserved for evse in evses)

    def find(self, evses: Sequence[LiveEvse], evse: LiveEvse, token: IdToken, group: str) -> Reservation | None:
        """The reservation that a token uses at an EVSE; None if it has none there.

        Its own reservation comes before the group's, and the one for fewer EVSEs before others. EVSE 0, which is not
        known yet, stands for each free one.
        """
        own = [each for each in self.all() if each.is_for(token, group) and (not evse.id or evse.id in each.evse_ids)]
        own.sort(key=lambda each: (not each.token.is_same(token), len(each.evse_ids)))
        if not evse.id or not evse.is_reserved:
            return own[0] if own else None
        every, places = self.all(), _places(evses, self.all())
        least = _most(every, places) - 1
        for each in own:  # the other ones still find a place then
            if _most(_without(every, each), places - {evse.id}) >= least:
                return each
        return None

    def admits(self, evses: Sequence[LiveEvse], evse: LiveEvse, token: IdToken, group: str) -> bool:
        """Whether a token may be used at an EVSE, as far as reservations go; at EVSE 0: whether at any free EVSE."""
        if not self._by_id:
            return True
        if not evse.id:
            free = [each for each in evses if _is_free(each)]
            return not free or any(self.admits(evses, each, token, group) for each in free)
        return not evse.is_reserved or self.find(evses, evse, token, group) is not None

    def depends_on_group(self, evse: LiveEvse) -> bool:
        """Whether the group of a token may matter at an EVSE, so that the CSMS is asked for it (H03.FR.08)."""
        return any(each.group and (not evse.id or evse.id in each.evse_ids) for each in self.all())

    def place_of(self, evses: Mapping[int, LiveEvse], token: IdToken, group: str) -> LiveEvse | None:
        """The EVSE that is reserved for a token, where that is one in particular."""
        for each in sorted(self.all(), key=lambda each: not each.token.is_same(token)):
            if each.is_for(token, group) and len(each.evse_ids) == 1:
                evse = evses.get(each.evse_ids[0])
                if evse is not None and evse.is_reserved:
                    return evse
        return None

    # -- Memory -------------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """All of them, as JSON can hold it."""
        return {
            "reservations": [asdict(each) for each in self.all()],
            "unreported": [list(each) for each in self.unreported or ()],
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take what :meth:`dump` gave."""
        self._by_id = {
            each["id"]: Reservation(**{**each, "token": IdToken(**each["token"]), "evse_ids": tuple(each["evse_ids"])})
            for each in saved["reservations"]
        }
        self.unreported = [(number, status) for number, status in saved["unreported"]]


def reservations_frame(reservations: Reservations) -> pd.DataFrame:
    """One row for each reservation. Columns: reservation_id, evse_ids, id_token, group, expires_at (UTC)."""
    rows = [
        (
            each.id,
            ", ".join(map(str, each.evse_ids)),
            each.token.id,
            each.group,
            datetime.fromtimestamp(min(each.until, _LAST_SHOWN), UTC),
        )
        for each in reservations.all()
    ]
    columns = ("reservation_id", "evse_ids", "id_token", "group", "expires_at")
    fits = all(-(2**63) <= each.id < 2**63 for each in reservations.all())  # the schemas set no limit
    dtypes = {"reservation_id": "int64" if fits else "object", "expires_at": "datetime64[ns, UTC]"}
    return table(rows, columns).astype(dtypes)


def _may_be_kept(evse: LiveEvse) -> bool:
    """Whether it is in service, or will be after its reset, and nobody may charge there yet; a vehicle may be there."""
    running = evse.transaction
    is_there = evse.is_usable or (evse.is_resetting and not evse.fault)
    return is_there and evse.authorization is None and (running is None or running.token is None)


def _is_free(evse: LiveEvse) -> bool:
    """Whether it can be given away: as above, and nobody is there."""
    return _may_be_kept(evse) and evse.vehicle is None and not evse.has_dangling_cable and evse.transaction is None


def _places(evses: Iterable[LiveEvse], reservations: Sequence[Reservation]) -> set[int]:
    """The EVSEs that can serve reservations: free ones.

    If they do not suffice, also held ones with a vehicle, and those that are back after their reset (B11.FR.05).
    """
    evses = list(evses)
    places = {each.id for each in evses if each.is_usable and _is_free(each)}
    if _most(reservations, places) < len(reservations):
        places |= {each.id for each in evses if _is_free(each) or (each.is_reserved and _may_be_kept(each))}
    return places


def _without(reservations: Sequence[Reservation], one: Reservation) -> list[Reservation]:
    return [each for each in reservations if each is not one]


def _most(reservations: Sequence[Reservation], places: set[int]) -> int:
    """How many reservations can be served at the same time, each at a place of its own."""
    given: dict[int, Reservation] = {}

    def find_place(reservation: Reservation, tried: set[int]) -> bool:
        for place in reservation.evse_ids:
            if place in places and place not in tried:
                tried.add(place)
                if place not in given or find_place(given[place], tried):
                    given[place] = reservation
                    return True
        return False

    return sum(find_place(each, set()) for each in reservations)
