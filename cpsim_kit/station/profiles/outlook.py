"""What will limit an EVSE, or a station, as far as the charging profiles say now. Pure: no clock, no I/O.

OCPP 2.0.1 part 2, K08; OCPP 1.6, 5.7.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from cpsim_kit.basics.tables import table
from cpsim_kit.station.profiles import Charging, Period
from cpsim_kit.station.profiles.smart_charging import MAX_PERIODS, name_of

if TYPE_CHECKING:
    import pandas as pd

    from cpsim_kit.station.profiles.profile import Unit
    from cpsim_kit.station.profiles.smart_charging import SmartCharging
    from cpsim_kit.station.rules.core import Core

__all__ = ["Composite", "Step", "composite", "schedule_frame", "steps"]

_STATION = 0
_NO_PROFILE = "No profile limits it."
_AHEAD = 0.0005  # seconds: a moment that was worked out counts as reached, whatever floats say
_LONGEST = 2**31 - 1  # seconds
_DAY = 86_400
_MOST_EDGES = 4 * MAX_PERIODS  # of all profiles together, that are looked at


class Composite(NamedTuple):
    """The limits of a time from now on.

    Attributes:
        duration: How many seconds they cover.
        periods: Each from a whole second on; at most :data:`MAX_PERIODS`.
    """

    duration: int
    periods: tuple[Period, ...]


class Step(NamedTuple):
    """What limits an EVSE, or the station, from a moment on; the columns of ``station.schedule()``."""

    at: float
    limit_kw: float
    by: str
    why: str


def composite(smart: SmartCharging, evse_id: int, now: float, duration: int, unit: Unit) -> Composite:
    """The limits of a time from now on, in A per phase or in W; in a gap the most that the EVSE delivers.

    That of the station, EVSE 0, is what all its EVSEs together may take from the grid (K08.FR.03). A time that needs
    more periods than a schedule may have is cut off, and so is what comes after a day if it takes long to find out.
    """
    numbers = [evse_id] if evse_id else [_STATION, *smart.visits.evses]
    chargings = {number: smart.charging(number) for number in numbers}
    horizon = partial(smart.profiles.horizon, chargings, smart.visits.epoch + now)
    longest = min(duration, _LONGEST)
    covered = horizon(longest, MAX_PERIODS)
    if covered < min(longest, _DAY):  # not each edge changes the limit
        covered = horizon(min(longest, _DAY), _MOST_EDGES)
    covered = int(covered)
    composite_of = _composite if evse_id else _composite_of_station
    periods = _in_whole_seconds(composite_of(smart, evse_id, now, covered, unit), covered)
    if len(periods) > MAX_PERIODS:
        covered, periods = round(periods[MAX_PERIODS].start), periods[:MAX_PERIODS]
    return Composite(covered, periods)


def _in_whole_seconds(periods: Sequence[Period], duration: int) -> tuple[Period, ...]:
    """Each period from the nearest second on, as messages say it; of those of one second the last one."""
    found: list[Period] = []
    for period in periods:
        known = replace(period, start=float(round(period.start)))
        if found and known.start >= duration:
            break
        if found and known.start == found[-1].start:
            found.pop()
        _append(found, known)
    return tuple(found)


def _append(found: list[Period], period: Period) -> None:
    """Add a period, unless it goes on as the one before."""
    if not found or replace(period, start=found[-1].start) != found[-1]:
        found.append(period)


def _composite_of_station(
    smart: SmartCharging, evse_id: int, now: float, duration: float, unit: Unit
) -> tuple[Period, ...]:
    parts = [_composite(smart, number, now, duration, "W") for number in smart.visits.evses]
    whole = _composite(smart, evse_id, now, duration, "W")
    supply = smart.supplies[evse_id]
    per_unit = 1.0 if unit == "W" else supply.volts * supply.phases
    found: list[Period] = []
    for start in sorted({period.start for periods in (whole, *parts) for period in periods}):
        limit = min(_limit_at(whole, start), sum(_limit_at(periods, start) for periods in parts)) / per_unit
        _append(found, Period(start, limit))
    return tuple(found)


def _composite(smart: SmartCharging, evse_id: int, now: float, duration: float, unit: Unit) -> tuple[Period, ...]:
    start = smart.visits.epoch + now
    supply, charging = smart.supplies[evse_id], smart.charging(evse_id)
    periods = smart.profiles.composite(evse_id, start, duration, unit, supply, charging)
    most = _most_kw(smart, evse_id) * 1000
    if unit == "A":
        most /= supply.volts * (supply.phases or 1)
    found: list[Period] = []
    for period in periods or (Period(0.0, None),):
        is_own = period.limit is not None and period.limit < most
        _append(found, period if is_own else replace(period, limit=most, phases=None, phase_to_use=None))
    return tuple(found)


def _limit_at(periods: Sequence[Period], start: float) -> float:
    """The limit of the period that goes on at a moment."""
    place = bisect_right(periods, start, key=lambda period: period.start)
    return periods[place - 1].limit or 0.0


def _most_kw(smart: SmartCharging, evse_id: int) -> float:
    evses = smart.visits.evses
    return evses[evse_id].spec.max_kw if evse_id else sum(evse.spec.max_kw for evse in evses.values())


def steps(smart: SmartCharging, evse_id: int, now: float, seconds: float) -> Iterator[Step]:
    """What limits an EVSE, or the station as EVSE 0, from now on.

    Without a transaction it is as if one began now on the default profile, as in a composite schedule (K08.FR.06).
    """
    at = smart.visits.epoch + now + _AHEAD
    end, last = at + seconds, None
    charging = smart.charging(evse_id)
    if charging is None or charging.since is None:
        charging = Charging("" if charging is None else charging.id, smart.visits.epoch + now)
    while at < end:
        limit = smart.profiles.limit(evse_id, at, smart.supplies[evse_id], charging)
        step = Step(at - _AHEAD, _most_kw(smart, evse_id), "EVSE", _NO_PROFILE)
        if limit.kw is not None and limit.kw < step.limit_kw:
            step = Step(at - _AHEAD, limit.kw, name_of(limit), limit.why)
        if last is None or step[1:] != last[1:]:
            yield step
            last = step
        at = max(smart.profiles.next_change(evse_id, at, charging), at) + _AHEAD


def schedule_frame(core: Core, evse_id: int, now: float, seconds: float) -> pd.DataFrame:
    """The steps from now on as a table, with the columns of :class:`Step`; EVSE 0 is the station."""
    if core.has_profiles:
        found = list(steps(core.smart, evse_id, now, seconds))
    else:
        evses = [evse for number, evse in core.evses.items() if evse_id in (0, number)]
        found = [Step(core.epoch + now, sum(evse.spec.max_kw for evse in evses), "EVSE", _NO_PROFILE)]
    rows = [(datetime.fromtimestamp(round(step.at, 3), UTC), *step[1:]) for step in found]
    return table(rows, Step._fields).astype({"at": "datetime64[ns, UTC]", "limit_kw": "float64"})
