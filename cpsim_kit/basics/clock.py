"""Moments of ``time.perf_counter()`` as wall times.

All times of the kit are taken from that clock, which never goes back: a correction of the system's time never shows up
as a latency. It has one origin for the whole process, until the wall clock is elsewhere by more than a second: it was
set, or the computer slept, for which time the other clock stood still on some systems.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime

__all__ = ["epoch", "notice_step", "wall_clock"]

_STEP = 1.0  # seconds

# The wall time at moment 0, as it was from a moment on, oldest first.
_origins: list[tuple[float, float]] = [(-math.inf, time.time() - time.perf_counter())]


def wall_clock(moment: float) -> datetime:
    """A moment of ``time.perf_counter()`` as a UTC time."""
    return datetime.fromtimestamp(epoch(moment), UTC)


def epoch(moment: float) -> float:
    """A moment of ``time.perf_counter()`` as seconds since the epoch."""
    since, origin = _origins[-1]
    if moment < since:
        origin = next(origin for since, origin in reversed(_origins) if moment >= since)
    return origin + moment


def notice_step() -> None:
    """Look whether the wall clock has stepped; moments until now keep the times they had.

    Whatever begins to take times looks first: a connection, a monitor, a fleet.
    """
    now = time.perf_counter()
    origin = time.time() - now
    if abs(origin - _origins[-1][1]) > _STEP:
        _origins.append((now, origin))
