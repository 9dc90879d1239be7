"""The moments at which the charge points of a fleet act: one timer for all, and the first heartbeat of each.

Moments are of ``time.perf_counter()``.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time

__all__ = ["SharedTimer", "first_heartbeat"]

_STEP = 0.01  # seconds between the moments at which heartbeats are due: one wake-up of the loop serves all of a moment


class SharedTimer:
    """Wakes many tasks at their moments, by one timer of the event loop. A timer for each task costs more CPU."""

    def __init__(self) -> None:
        self._waiting: dict[float, list[asyncio.Future[None]]] = {}  # by moment
        self._moments: list[float] = []  # a heap
        self._timer: asyncio.TimerHandle | None = None
        self._slack = 0.0  # seconds by which the loop wakes too early, once it has: uvloop counts in milliseconds

    def at(self, moment: float) -> asyncio.Future[None] | None:
        """A future that is done at this moment; None if the moment is past."""
        if moment <= time.perf_counter():
            return None
        future = asyncio.get_running_loop().create_future()
        if (waiting := self._waiting.get(moment)) is not None:
            waiting.append(future)
        else:
            self._waiting[moment] = [future]
            heapq.heappush(self._moments, moment)
            if self._moments[0] == moment:
                self._arm_timer()
        return future

    def stop(self) -> None:
        """Wake no task any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm_timer(self) -> None:
        self.stop()
        wait = self._moments[0] - time.perf_counter()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, wait) + self._slack, self._wake)

    def _wake(self) -> None:
        now = time.perf_counter() + 1e-6
        if self._moments[0] > now:
            self._slack = 0.001
        while self._moments and self._moments[0] <= now:
            for future in self._waiting.pop(heapq.heappop(self._moments)):
                if not future.done():  # it may have been cancelled
                    future.set_result(None)
        self._timer = None
        if self._moments:
            self._arm_timer()


def first_heartbeat(began: float, now: float, interval: float, phase: float | None) -> float:
    """The moment of a charge point's first heartbeat; the others follow at the interval.

    Args:
        began: The moment at which the fleet began.
        now: The moment from which on the charge point may send heartbeats.
        interval: Seconds between heartbeats.
        phase: The charge point's own phase, from 0 to 1; None for the moments that all charge points share.
    """
    if phase is None:
        return began + ((now - began) // interval + 1) * interval
    step = min(_STEP, interval / 100)
    return began + math.ceil((now + phase * interval - began) / step) * step
