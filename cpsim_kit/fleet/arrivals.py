"""When drivers arrive at the stations of a fleet, by a seeded function. No I/O.

An arrivals function takes a ``random.Random`` and returns the seconds of the station's clock until the first driver
arrives, then those from each driver to the next. It may be a generator without end, or return one number.
"""

from __future__ import annotations

import itertools
import math
import random as random_module
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cpsim_kit.station.charging.vehicle import is_number

__all__ = ["Arrivals", "Poisson", "check_arrivals", "poisson", "waits_of"]

Arrivals = Callable[[random_module.Random], Iterable[float] | float]

_LONGEST = 10 * 366 * 86_400.0  # seconds: ten years of a station's clock
_TRIED = 20  # waits that are looked at before anything starts


@dataclass(frozen=True)
class Poisson:
    """Drivers who arrive independently of each other; made by :func:`poisson`."""

    per_hour: float

    def __call__(self, random: random_module.Random) -> Iterator[float]:
        """The waits between them, without end."""
        while True:
            yield random.expovariate(self.per_hour / 3600)


def poisson(*, per_hour: float) -> Poisson:
    """Arrivals for a fleet: drivers who arrive at each station independently of each other, so many per hour.

    Args:
        per_hour: How many arrive in an hour of the station's clock, on average.

    Raises:
        ValueError: That is not a number above 0.
    """
    if not (is_number(per_hour) and 0 < per_hour < math.inf):
        raise ValueError(f"per_hour= is a number above 0, not {per_hour!r}")
    return Poisson(per_hour)


def waits_of(arrivals: Arrivals, random: random_module.Random) -> Iterator[float]:
    """The waits that an arrivals function returns, each checked.

    Raises:
        TypeError: One is not a number.
        ValueError: A wait is below 0, or longer than ten years.
    """
    found = arrivals(random)
    waits: Iterable[object] = found if isinstance(found, Iterable) and not isinstance(found, str | bytes) else [found]
    for wait in waits:
        if not is_number(wait):
            raise TypeError(f"arrivals= is a function that returns or yields seconds; {wait!r} is not a number")
        if not 0 <= wait <= _LONGEST:
            limit = f"at most ten years ({_LONGEST:,.0f})" if wait > _LONGEST else "at least 0"
            raise ValueError(
                f"the seconds that arrivals= yields are waits from one driver to the next, {limit}, not {wait!r}"
            )
        yield float(wait)


def check_arrivals(arrivals: Arrivals, seed: str) -> None:
    """Look at the first waits. Raises as :func:`waits_of`."""
    random = random_module.Random(seed)  # noqa: S311 - a schedule, no secret
    for _ in itertools.islice(waits_of(arrivals, random), _TRIED):
        pass
