"""When a profile limits, and which of its periods holds. Pure; moments are seconds since the epoch, in UTC.

Edges are computed as the same sum everywhere, so that ``next`` and ``segments`` name the very moments at which
``period`` changes, also where a sum of floats is not exact.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cpsim_kit.station.profiles.profile import Period, Profile

__all__ = ["Timed"]

_SECONDS = {"Daily": 86_400.0, "Weekly": 604_800.0}


class Timed:
    """An installed profile, with its times at hand.

    Attributes:
        profile: The profile.
        evse_id: Where it is installed; 0 is the station.
    """

    __slots__ = ("_begin", "_ends", "_every", "_periods", "_starts", "_valid_from", "_valid_to", "evse_id", "profile")

    def __init__(self, profile: Profile, evse_id: int) -> None:
        self.profile = profile
        self.evse_id = evse_id
        schedule = profile.schedules[0]
        is_recurring = profile.kind == "Recurring" and profile.recurrency is not None
        self._every = _SECONDS[profile.recurrency] if is_recurring and profile.recurrency else math.inf
        length = min(math.inf if schedule.duration is None else schedule.duration, self._every)
        kept = [period for period in schedule.periods if period.start < length]  # K01.FR.11
        self._starts = [period.start for period in kept]
        self._ends = [*self._starts[1:], length] if kept else []
        self._periods: list[Period] = kept
        self._begin = None if profile.kind == "Relative" else schedule.start
        self._valid_from = -math.inf if profile.valid_from is None else profile.valid_from
        self._valid_to = math.inf if profile.valid_to is None else profile.valid_to

    def period(self, at: float, anchor: float) -> Period | None:
        """The period that holds at a moment; None outside its validity and in its gaps.

        Args:
            at: The moment.
            anchor: What a relative schedule counts from.
        """
        if not self._valid_from <= at < self._valid_to:  # K01.FR.36, .37
            return None
        origin = anchor if self._begin is None else self._begin
        if at < origin:  # K01.FR.30
            return None
        if self._every != math.inf:
            origin += self._turn(at, origin) * self._every
        starts = self._starts
        index = bisect_right(starts, at - origin) - 1
        if index + 1 < len(starts) and origin + starts[index + 1] <= at:
            index += 1
        elif index >= 0 and origin + starts[index] > at:
            index -= 1
        if index < 0:
            return None
        end = self._ends[index]
        return self._periods[index] if end >= self._every or at < origin + end else None

    def next(self, at: float, anchor: float | None) -> float:
        """The first moment after ``at`` when ``period`` can differ; infinity for never.

        Args:
            at: The moment.
            anchor: What a relative schedule counts from; None for not known yet, when it stays at its first period.
        """
        if at < self._valid_from:
            return self._valid_from
        if at >= self._valid_to:
            return math.inf
        return min(self._next_edge(at, anchor), self._valid_to)

    def _next_edge(self, at: float, anchor: float | None) -> float:
        begin = anchor if self._begin is None else self._begin
        if begin is None:
            return math.inf
        if at < begin:
            return begin
        turn = self._turn(at, begin) if self._every != math.inf else 0
        origin = begin + turn * self._every if turn else begin
        ends = self._ends
        for index in range(max(bisect_right(ends, at - origin) - 1, 0), len(ends)):
            if origin + ends[index] > at and ends[index] < self._every:
                return origin + ends[index]
        return math.inf if self._every == math.inf else begin + (turn + 1) * self._every

    def _turn(self, at: float, begin: float) -> int:
        """How many recurrences have passed."""
        turn = int((at - begin) // self._every)
        if begin + (turn + 1) * self._every <= at:
            return turn + 1
        return turn - 1 if begin + turn * self._every > at else turn

    def segments(self, start: float, stop: float, anchor: float) -> Iterator[tuple[float, float, Period]]:
        """(from, until, period) of all that holds between two moments.

        Args:
            start: From this moment on.
            stop: Until just before this one.
            anchor: What a relative schedule counts from.
        """
        begin = anchor if self._begin is None else self._begin
        start = max(start, self._valid_from, begin)
        stop = min(stop, self._valid_to)
        if start >= stop:
            return
        every = self._every
        turn = 0 if every == math.inf else self._turn(start, begin)
        origin = begin if every == math.inf else begin + turn * every
        while origin < stop:
            following = math.inf if every == math.inf else begin + (turn + 1) * every
            for since, end, period in zip(self._starts, self._ends, self._periods, strict=True):
                first = origin + since
                if first >= stop:
                    return
                last = origin + end if end < every else following
                if last > start:
                    yield (first if first > start else start), (last if last < stop else stop), period
            turn += 1
            origin = following
