"""How long a charge point waits before it connects or boots again. No I/O."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Backoff", "own_boot_waits"]

_FIRST_BOOT, _LONGEST_BOOT = 5, 320  # seconds


@dataclass(frozen=True)
class Backoff:
    """The waits of OCPP 2.0.1 part 4, "Reconnecting", by the names of part 2's OCPPCommCtrlr variables.

    The first wait is ``wait_minimum``; each next is twice as long, ``repeat_times`` times; then it stays. Every wait is
    made longer by a random time up to ``random_range``, so that charge points do not come back all at once.

    Args:
        wait_minimum: RetryBackOffWaitMinimum, seconds.
        random_range: RetryBackOffRandomRange, seconds.
        repeat_times: RetryBackOffRepeatTimes.

    Raises:
        ValueError: A value is below 0, or every wait would be none.
    """

    wait_minimum: float = 1.0
    random_range: float = 2.0
    repeat_times: int = 5

    def __post_init__(self) -> None:
        if min(self.wait_minimum, self.random_range, self.repeat_times) < 0:
            raise ValueError(f"a backoff has no value below 0: {self!r}")
        if self.wait_minimum + self.random_range <= 0:
            raise ValueError("a backoff waits: wait_minimum or random_range is above 0")

    def waits(self, random: random.Random) -> Iterator[float]:
        """The waits, one after the other, without end."""
        doublings = 0
        while True:
            yield self.wait_minimum * 2**doublings + random.uniform(0, self.random_range)
            doublings = min(doublings + 1, self.repeat_times)


def own_boot_waits(first: float = _FIRST_BOOT) -> Iterator[float]:
    """Seconds until the next BootNotification, and the one after it, where the CSMS leaves the choice: 5, 10, … 320.

    For a boot that is answered Pending or Rejected with an interval of 0: the charge point then chooses a time itself,
    "in a way that avoids flooding" (OCPP 1.6, 4.2; OCPP 2.0.1 part 2, B01).
    """
    wait = first
    while True:
        yield wait
        wait = min(2 * wait, _LONGEST_BOOT)
