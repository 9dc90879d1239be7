"""What charging profiles cost: a composite schedule of a day, and the limit at a moment.

Twenty profiles of 24 periods, of all purposes, in both units. Their periods start at moments of their own, and some
have gaps, so that the composite has hundreds of edges. Time is the CPU's, of this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any

from cpsim_kit.station.profiles import Charging, Period, Profile, Profiles, Rules, Schedule, Supply

HOUR, DAY = 3600.0, 86_400.0
START = 20_000 * DAY
SUPPLY = Supply(230, 3)
CHARGING = Charging("T", START - HOUR)
PLACES = (("StationMax", 0), ("External", 0), ("TxDefault", 0), ("Tx", 1))


def make_profiles() -> Profiles:
    """Five stack levels of each of four purposes."""
    profiles, ids = Profiles(), count(1)
    for purpose, evse_id in PLACES:
        for level in range(5):
            number = next(ids)
            unit: Any = "A" if number % 2 else "W"
            scale = 1 if unit == "A" else 690
            periods = tuple(
                Period(hour * HOUR, (6 + (hour * 7 + number * 5) % 27) * scale, None if hour % 5 else 1)
                for hour in range(24)
            )
            schedule = Schedule(unit, periods, start=START - 3 * DAY + number * 173, duration=DAY - level * 5 * HOUR)
            transaction_id = CHARGING.id if purpose == "Tx" else None
            made = Profile(
                number, level, purpose, "Recurring", (schedule,), recurrency="Daily", transaction_id=transaction_id
            )
            if purpose == "External":
                profiles.constrain(made, evse_id)
            else:
                profiles.install(made, evse_id, {1: SUPPLY}, {1: CHARGING}, Rules())
    return profiles


def measure() -> dict[str, float]:
    """Microseconds of each, and how many steps the composite has."""
    profiles = make_profiles()
    moments = [START + minute * 60 for minute in range(24 * 60)]

    def composite() -> None:
        profiles.composite(1, START, DAY, "A", SUPPLY, CHARGING)

    def limits() -> None:
        for at in moments:
            profiles.limit(1, at, SUPPLY, CHARGING)

    steps = len(profiles.composite(1, START, DAY, "A", SUPPLY, CHARGING))
    return {"steps": steps, "composite_us": spent(composite, 50), "limit_us": spent(limits, 3) / len(moments)}


def spent(work: Callable[[], None], times: int) -> float:
    """CPU microseconds of a call."""
    work()
    before = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - before) / times * 1e6
