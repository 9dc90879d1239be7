"""Smart charging: what charging profiles, and limits from outside, leave to each EVSE, and when that changes.

Pure: no clock, no I/O. Which profile leads is in ``profiles``, how EVSEs share the limit of their station in
``sharing``. OCPP 2.0.1 part 2, K; OCPP 1.6, 3.13.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.charging.evse import Allowance
from cpsim_kit.station.profiles import Charging, Period, Profile, Profiles, Refused, Rules, Schedule, Supply
from cpsim_kit.station.profiles.sharing import Claim, SharingRule, equal, share

if TYPE_CHECKING:
    from cpsim_kit.station.charging.evse import LiveEvse
    from cpsim_kit.station.charging.transaction import Transaction
    from cpsim_kit.station.charging.vehicle import Vehicle
    from cpsim_kit.station.profiles import Limit
    from cpsim_kit.station.profiles.profile import Unit
    from cpsim_kit.station.rules.visits import Visits

__all__ = ["MAX_PERIODS", "MAX_PROFILES", "MAX_STACK_LEVEL", "SOURCES", "SmartCharging", "name_of"]

MAX_STACK_LEVEL = 100
MAX_PERIODS = 1024  # of a schedule
MAX_PROFILES = 100
SOURCES = ("EMS", "SO", "Other")  # ChargingLimitSourceEnumType, but for CSO (K11.FR.05)

_STATION = 0
_AHEAD = 0.0005  # seconds: a moment that was worked out counts as reached, whatever floats say
_RESHARE_S = 60.0  # how often it is looked whether a vehicle can use less of the station's limit than before
_RESHARE_KW = 0.1
_LEAST_DC_KW = 1.0  # that a vehicle is offered which takes nothing
_GRID_VOLTS = 230.0
_RATE_UNIT = "SmartChargingCtrlr.RateUnit"
_SIGNIFICANCE = "SmartChargingCtrlr.LimitChangeSignificance"

Notice = tuple[Profile | None, str]  # a limit from outside, or None where it was cleared; and its source


class SmartCharging:
    """The charging profiles of one station, and their effects.

    Args:
        visits: What goes on at its EVSEs.
        rule: How they share the limit of the station.

    Attributes:
        profiles: The installed profiles.
        supplies: What each EVSE, and the station as EVSE 0, is fed with.
        visits: What goes on at the EVSEs.
    """

    __slots__ = (
        "_change_at",
        "_demands",
        "_is_sharing",
        "_rates",
        "_reported_kw",
        "_reshare_at",
        "_rule",
        "_seen",
        "_unreported",
        "profiles",
        "supplies",
        "visits",
    )

    def __init__(self, visits: Visits, rule: SharingRule = equal) -> None:
        self.visits = visits
        self._rule = rule
        self.supplies = _supplies_of(visits.evses)
        self._demands: dict[int, tuple[Vehicle, float]] = {}  # what a vehicle that takes less and less can still use
        self._is_sharing = False  # whether the station's limit is too little for all
        self._unreported: dict[int, Notice] = {}  # limits from outside that the CSMS does not know
        self._reported_kw: dict[int, float] = {}  # limits from outside as the CSMS was told last
        self._rates: dict[int, tuple[Transaction, float]] = {}  # before changes that were too small to be told
        self._seen: object = None  # what the last look depended on
        self._change_at = self._reshare_at = math.inf
        self.profiles = Profiles()
        for evse in visits.evses.values():
            evse.limiter = self.allow

    # -- What charging profiles leave ---------------------------------------------------------------------------------

    def allow(self, evse: LiveEvse, now: float) -> Allowance:
        """What is left to an EVSE now."""
        return self._find_all(now)[evse.id]

    def _find_all(self, now: float) -> dict[int, Allowance]:
        evses = self.visits.evses
        limits = {number: self._limit(number, now) for number in evses}
        found = {number: _allowance(evse, limits[number]) for number, evse in evses.items()}
        station = self._limit(_STATION, now)
        self._is_sharing = False
        if station.kw is None:
            return found
        claims, most = [], {}
        for number, evse in evses.items():
            hardware_kw, capability_kw, least_kw = evse.reach(found[number].phases)
            most[number] = min(found[number].kw, hardware_kw)
            if not evse.may_offer or most[number] < least_kw - 1e-9:
                most[number] = min(most[number], station.kw)
            elif evse.ev_suspends or evse.ev_is_done:  # counts for nothing until it takes something
                most[number] = min(most[number], station.kw, least_kw or _LEAST_DC_KW)
            else:
                wants = min(most[number], capability_kw, self._demand(evse))
                least_kw = max(least_kw, min(limits[number].min_kw or 0.0, wants))
                claims.append(Claim(number, max(wants, least_kw), least_kw, evse.ready_since or 0.0))
        shares = share(self._rule, station.kw, claims)
        self._is_sharing = sum(claim.wants_kw for claim in claims) > station.kw
        self._hand_out_rest(station.kw, claims, shares, most)
        for number in evses:
            kw = shares.get(number, most[number])
            if kw < found[number].kw and kw < evses[number].reach(found[number].phases)[0] - 1e-9:
                found[number] = Allowance(kw, name_of(station), found[number].phases)
        return found

    @staticmethod
    def _hand_out_rest(
        limit_kw: float, claims: list[Claim], shares: dict[int, float], most: Mapping[int, float]
    ) -> None:
        """Offer what nobody can use, too, where everybody has what it can use."""
        if all(shares[claim.evse_id] >= claim.wants_kw - 1e-9 for claim in claims):
            rest = [
                claim._replace(wants_kw=most[claim.evse_id] - shares[claim.evse_id], least_kw=0.0) for claim in claims
            ]
            for number, kw in share(equal, limit_kw - sum(shares.values()), rest).items():
                shares[number] += kw

    def _limit(self, evse_id: int, now: float) -> Limit:
        return self.profiles.limit(evse_id, self._at(now), self.supplies[evse_id], self.charging(evse_id))

    def charging(self, evse_id: int) -> Charging | None:
        """The running transaction at an EVSE; None for the station."""
        evse = self.visits.evses.get(evse_id)
        if evse is None or evse.transaction is None:
            return None
        since = None if evse.ready_since is None else self.visits.epoch + evse.ready_since
        return Charging(evse.transaction.id, since)

    def _chargings(self) -> dict[int, Charging]:
        found = {number: self.charging(number) for number in self.visits.evses}
        return {number: charging for number, charging in found.items() if charging is not None}

    def _at(self, now: float) -> float:
        return self.visits.epoch + now + _AHEAD

    def _demand(self, evse: LiveEvse) -> float:
        """What a vehicle near its end can still use, as it was looked at last."""
        vehicle, kw = self._demands.get(evse.id, (None, math.inf))
        return kw if vehicle is evse.vehicle else math.inf

    # -- Time and changes ---------------------------------------------------------------------------------------------

    @property
    def due(self) -> float:
        """When something changes by itself next; infinity for never."""
        return min(self._change_at, self._reshare_at)

    def react(self, now: float, *, is_from_outside: bool = False) -> None:
        """After anything that happens: let each EVSE follow what is left to it now.

        Args:
            now: The moment.
            is_from_outside: Whether a limit from outside has changed: then the CSMS is told of changed rates, too.
        """
        if now < self._change_at and self._inputs() == self._seen:  # as for most of what happens
            return
        evses = self.visits.evses
        for number, evse in evses.items():
            if evse.transaction is None:
                self.profiles.end_transaction(number)
        for _ in evses:  # a transaction that ends leaves its share to the others
            found = self._find_all(now)
            changed = [evse for number, evse in evses.items() if evse.allowance != found[number]]
            for evse in changed:
                self._change(evse, now, is_from_outside=is_from_outside)
            if not changed:
                break
        self._schedule(now)

    def _inputs(self) -> object:
        """All that the limits depend on, but for time and profiles."""
        return [
            (
                evse.vehicle,
                evse.may_offer,
                evse.ev_suspends,
                evse.ev_is_done,
                evse.ready_since,
                None if evse.transaction is None else evse.transaction.id,
            )
            for evse in self.visits.evses.values()
        ]

    def _change(self, evse: LiveEvse, now: float, *, is_from_outside: bool) -> None:
        before = evse.power_kw(now)
        evse.offer(now)
        self.visits.settle(evse, now, "ChargingStateChanged", "Other")
        if is_from_outside and evse.transaction is not None and evse.has_power:
            self._tell_rate(evse, evse.transaction, before, now)

    def _tell_rate(self, evse: LiveEvse, transaction: Transaction, before: float, now: float) -> None:
        """Tell the CSMS of a rate, if the small changes make a large one together (K11.FR.04, K13.FR.03)."""
        changing, kw = self._rates.pop(evse.id, (None, 0.0))
        if changing is transaction:
            before = kw
        if self._is_significant(before, evse.power_kw(now)):
            self.visits.reporter.update(evse, now, "ChargingRateChanged")
        else:
            self._rates[evse.id] = transaction, before

    def tick(self, now: float) -> None:
        """It is time for a change; and vehicles near their end may be able to use less than before."""
        if self._reshare_at <= now:
            self._reshare_at = now + _RESHARE_S
            for evse in self.visits.evses.values():
                if evse.vehicle is None or not evse.power_kw(now):
                    continue
                demand_kw = max(evse.vehicle.demand_kw(evse.soc(now)), evse.least_kw)
                if demand_kw < min(self._demand(evse), evse.offered_kw) - _RESHARE_KW:
                    self._demands[evse.id] = evse.vehicle, demand_kw
                    self._seen = None
        self.react(now)

    def _schedule(self, now: float) -> None:
        self._seen = self._inputs()
        at, numbers = self._at(now), (_STATION, *self.visits.evses)
        change = min(self.profiles.next_change(number, at, self.charging(number)) for number in numbers)
        self._change_at = max(now, change - self.visits.epoch)
        if not self._is_sharing:
            self._reshare_at = math.inf
        elif self._reshare_at == math.inf:
            self._reshare_at = now + _RESHARE_S

    # -- Profiles of the CSMS -----------------------------------------------------------------------------------------

    @property
    def _evse_supplies(self) -> dict[int, Supply]:
        return {number: supply for number, supply in self.supplies.items() if number != _STATION}

    @property
    def rules(self) -> Rules:
        """What the version and the variables say about profiles."""
        units = self.visits.variables.value(_RATE_UNIT)
        return Rules(self.visits.dialect.has_lenient_profiles, units, MAX_STACK_LEVEL, MAX_PERIODS, MAX_PROFILES)

    def usual_unit(self, evse_id: int) -> Unit:
        """The unit where the CSMS asks for none: A for AC, W for DC, if both may be used."""
        units = self.rules.units
        usual: Unit = "A" if self.supplies[evse_id].phases else "W"
        return usual if usual in units else "W" if usual == "A" else "A"

    def install(self, profile: Profile, evse_id: int, now: float) -> None:
        """Install a profile of the CSMS.

        Raises:
            Refused: The station does not take it.
        """
        self.profiles.install(profile, evse_id, self._evse_supplies, self._chargings(), self.rules)
        self._seen = None
        self.react(now)

    def check(self, profile: Profile, evse_id: int) -> None:
        """Check a profile that comes with a request to start (F01.FR.26).

        Raises:
            Refused: The station does not take it.
        """
        self.profiles.check(profile, evse_id, self._evse_supplies, None, self.rules)

    def begin(self, evse: LiveEvse) -> None:
        """A transaction runs at an EVSE: install the profile that came with the request to start it (F01.FR.10)."""
        authorization, transaction = evse.authorization, evse.transaction
        if authorization is None or authorization.profile is None or transaction is None or not evse.id:
            return
        profile, authorization.profile = authorization.profile, None
        if not self.visits.dialect.has_lenient_profiles:
            profile = replace(profile, transaction_id=transaction.id)
        self._seen = None
        with contextlib.suppress(Refused):  # another one came meanwhile
            self.profiles.install(profile, evse.id, self._evse_supplies, self._chargings(), self.rules)

    def clear(self, now: float, **criteria: Any) -> int:
        """Remove profiles of the CSMS; how many. The criteria are those of ``Profiles.clear``."""
        count = self.profiles.clear(**criteria)
        self._seen = None
        self.react(now)
        return count

    # -- Limits from outside ------------------------------------------------------------------------------------------

    def constrain(self, kw: float | None, evse_id: int, source: str, now: float) -> None:
        """An external control system limits the station, or one EVSE; None ends that (K11 to K13).

        Args:
            kw: The limit.
            evse_id: The EVSE; 0 for the station.
            source: One of :data:`SOURCES`.
            now: The moment.
        """
        number = -1 - evse_id  # K11.FR.06
        found = self.profiles.find(ids=[number])
        old = found[0][1] if found else None
        if kw is None:
            if old is None:
                return
            self.profiles.release(number)
            self._reported_kw.pop(evse_id, None)
            self._tell(evse_id, (None, old.source), now)
        else:
            schedule = Schedule("W", (Period(0.0, kw * 1000),), start=self.visits.epoch + now)
            profile = Profile(number, 0, "External", "Absolute", (schedule,), source=source)
            self.profiles.constrain(profile, evse_id)
            before = math.inf if old is None else (old.schedules[0].periods[0].limit or 0.0) / 1000
            if self._is_significant(self._reported_kw.setdefault(evse_id, before), kw):  # K11.FR.02, K12.FR.02
                self._reported_kw[evse_id] = kw
                self._tell(evse_id, (profile, source), now)
        self._seen = None
        self.react(now, is_from_outside=True)

    def _is_significant(self, before: float, after: float) -> bool:
        """Whether a limit or a rate has changed by more than LimitChangeSignificance."""
        if before == after or math.isinf(before):
            return before != after
        significance: float = self.visits.variables.value(_SIGNIFICANCE)
        return abs(after - before) > before * significance / 100

    def _tell(self, evse_id: int, notice: Notice, _now: float) -> None:
        """Tell the CSMS of a limit from outside, now or when there is a connection."""
        self._unreported.pop(evse_id, None)
        with_schedule = self.visits.variables.value("SmartChargingCtrlr.NotifyChargingLimitWithSchedules")
        build = self.visits.dialect.limit_from_outside(evse_id, *notice, with_schedule=with_schedule)
        if build is None:
            return
        if self.visits.reporter.queue.is_online:
            self.visits.reporter.send(build, lost=partial(self._lost, evse_id, notice))
        else:
            self._unreported[evse_id] = notice

    def _lost(self, evse_id: int, notice: Notice, _now: float) -> None:
        self._unreported.setdefault(evse_id, notice)

    def online(self, now: float) -> None:
        """There is a connection again: tell what the CSMS does not know."""
        for evse_id, notice in list(self._unreported.items()):
            self._tell(evse_id, notice, now)

    # -- Memory -------------------------------------------------------------------------------------------------------

    def load(self, saved: list[dict[str, Any]], now: float) -> None:
        """Take what ``profiles.dump()`` gave."""
        self.profiles = Profiles.load(saved)
        self._seen = None
        self.react(now)


def _supplies_of(evses: Mapping[int, LiveEvse]) -> dict[int, Supply]:
    """What each EVSE is fed with; the station as EVSE 0 from a grid of three phases, unless one is all it needs."""
    supplies = {
        number: Supply(evse.spec.volts, 0 if isinstance(evse.spec.phases, str) else evse.spec.phases)
        for number, evse in evses.items()
    }
    is_one_phase = all(supply.phases == 1 for supply in supplies.values())
    return {_STATION: Supply(_GRID_VOLTS, 1 if is_one_phase else 3), **supplies}


def _allowance(evse: LiveEvse, limit: Limit) -> Allowance:
    """What the profiles of an EVSE leave to it: amperes are those of each phase in use."""
    if limit.kw is None or limit.amps is None:
        return Allowance()
    kw = limit.kw
    if evse.vehicle is not None and not isinstance(evse.spec.phases, str):
        used = min(evse.spec.phases, evse.vehicle.phases, limit.phases or 3)
        kw = limit.amps * evse.spec.volts * used * evse.vehicle.power_factor / 1000
    return Allowance(kw, name_of(limit), limit.phases)


def name_of(limit: Limit) -> str:
    """What leads: the profile's id, or that the limit is from outside."""
    if limit.by is None:
        return "EVSE"
    return "external" if limit.by.purpose == "External" else str(limit.by.id)
