"""The station's clock: runs ``speed`` times as fast as real time, or from event to event. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["StationClock"]


class StationClock:
    """Seconds of the station's time since its start.

    It stands still while it is held, e.g. while a message waits for its answer, and it is held at first. It never
    passes a moment at which something is due, however late the task that drives it is. So a session is the same at any
    speed.

    Args:
        speed: How many seconds pass in a real second; infinity for a clock that only :meth:`advance` moves.
        time: Returns the real time, in seconds.

    Attributes:
        speed: As above. Call :meth:`advance` before you change it: the time until then passed at the old speed.
        is_held: Whether it stands still.
    """

    __slots__ = ("_anchor", "_moment", "_time", "is_held", "speed")

    def __init__(self, speed: float, time: Callable[[], float]) -> None:
        self.speed = speed
        self.is_held = True
        self._time = time
        self._moment = 0.0
        self._anchor = time()

    @property
    def stands_still(self) -> bool:
        """Whether only :meth:`advance` moves it."""
        return self.is_held or self.speed == math.inf

    def now(self, due: float = math.inf) -> float:
        """The moment now; at most ``due``, the moment at which something happens next."""
        if self.stands_still:
            return self._moment
        passed = max(0.0, self._time() - self._anchor) * self.speed
        return max(self._moment, min(self._moment + passed, due))

    def hold(self, due: float) -> None:
        """Stop it; at most at ``due``."""
        self._moment = self.now(due)
        self.is_held = True

    def release(self) -> None:
        """Let it run again."""
        if self.is_held:
            self.is_held = False
            self._anchor = self._time()

    def advance(self, moment: float) -> None:
        """Set it to a moment that it has not passed; it runs on from there, unless it is held."""
        self._moment = max(self._moment, moment)
        self._anchor = self._time()

    def real_seconds_until(self, moment: float) -> float:
        """Real seconds until it shows a moment; infinity while it is held, or if it does not run by itself."""
        if moment == math.inf or self.stands_still:
            return math.inf
        return max(0.0, (moment - self._moment) / self.speed - (self._time() - self._anchor))
