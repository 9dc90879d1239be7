"""Converts moments of ``time.perf_counter()`` to wall times.

The kit takes all its times from that clock. It never goes back, so that a correction of the system's time is never seen
as a latency. One origin, the wall time at moment 0, holds for the whole process until the two clocks differ by more
than a second. Then somebody has set the wall clock, or the computer slept, and on some systems ``perf_counter`` stood
still meanwhile. From then on, a new origin holds.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime

__all__ = ["epoch", "notice_step", "wall_clock"]

_STEP = 1.0  # seconds

# Pairs (since, origin): the moment from which on an origin holds, and the wall time at moment 0; oldest first.
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
    """Take a new origin if the wall clock has stepped. Moments before now keep their wall times.

    A connection, a monitor or a fleet calls this before it takes times.
    """
    now = time.perf_counter()
    origin = time.time() - now
    if abs(origin - _origins[-1][1]) > _STEP:
        _origins.append((now, origin))
