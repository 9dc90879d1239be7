"""How long a charge point waits before it connects or boots again. No I/O."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FIRST_BOOT_WAIT", "Backoff", "own_boot_waits"]

FIRST_BOOT_WAIT, _LONGEST_BOOT_WAIT = 5, 320  # seconds


@dataclass(frozen=True)
class Backoff:
    """The waits of OCPP 2.0.1 part 4, "Reconnecting", by the names of part 2's OCPPCommCtrlr variables.

    The first wait is ``wait_minimum``. The wait doubles ``repeat_times`` times, then stays the same. A random time up
    to ``random_range`` is added to every wait, so that not all charge points come back at once.

    Args:
        wait_minimum: RetryBackOffWaitMinimum, seconds.
        random_range: RetryBackOffRandomRange, seconds.
        repeat_times: RetryBackOffRepeatTimes.

    Raises:
        ValueError: A value is below 0, or every wait would be 0.
    """

    wait_minimum: float = 1.0
    random_range: float = 2.0
    repeat_times: int = 5

    def __post_init__(self) -> None:
        if min(self.wait_minimum, self.random_range, self.repeat_times) < 0:
            raise ValueError(f"no value of a backoff may be below 0: {self!r}")
        if self.wait_minimum + self.random_range <= 0:
            raise ValueError("a backoff has to wait: wait_minimum or random_range must be above 0")

    def waits(self, random: random.Random) -> Iterator[float]:
        """Yield the waits in seconds, without end."""
        doublings = 0
        while True:
            yield self.wait_minimum * 2**doublings + random.uniform(0, self.random_range)
            doublings = min(doublings + 1, self.repeat_times)


def own_boot_waits(first: float = FIRST_BOOT_WAIT) -> Iterator[float]:
    """Yield the seconds before each next BootNotification where the CSMS sets no time: 5, 10, … 320.

    The CSMS may answer a boot Pending or Rejected with an interval of 0. The charge point then chooses a time itself,
    "in a way that avoids flooding" (OCPP 1.6, 4.2; OCPP 2.0.1 part 2, B01).
    """
    wait = first
    while True:
        yield wait
        wait = min(2 * wait, _LONGEST_BOOT_WAIT)
