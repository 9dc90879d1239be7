"""The plan of a fleet: its charge points, when each starts, and what all do. No I/O."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.charge_point.backoff import FIRST_BOOT_WAIT, Backoff
from cpsim_kit.fleet.charging import Charging

__all__ = ["Plan", "Scenario", "start_times"]

Scenario = Callable[[ChargePoint], Awaitable[Any]]


@dataclass
class Plan:
    """What a fleet does, or one process's share of it; it can be sent to another process.

    Attributes:
        url: The CSMS's address.
        starts: By id, the seconds from the beginning until the charge point starts, and its phase, from 0 to 1.
        duration: Seconds from the beginning to the end.
        interval: Seconds between heartbeats; None for the interval that the CSMS instructs.
        burst: Whether all charge points send their heartbeats at the same moments.
        scenario: What each does once connected; boot and heartbeats when None.
        attributes: More arguments of a charge point, by its id.
        reconnect: The waits before a lost connection is opened again; None for no reconnection.
        seed: The seed of these waits.
        options: Arguments of all charge points.
        cancel_timeout: Seconds to wait, at the end, for scenarios that were cancelled.
        first_boot_wait: Seconds until the second boot, where the CSMS leaves that to the charge point.
        charging: What the charge points are as stations, and who comes to them; None where they are none.
    """

    url: str
    starts: dict[str, tuple[float, float]]
    duration: float
    interval: float | None = None
    burst: bool = False
    scenario: Scenario | None = None
    attributes: Callable[[str], Mapping[str, Any]] | None = None
    reconnect: Backoff | None = None
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    cancel_timeout: float = 5.0
    first_boot_wait: float = FIRST_BOOT_WAIT
    charging: Charging | None = None

    def divide(self, shares: int) -> list[Plan]:
        """Divide the charge points over processes.

        With three processes, the first gets the 1st, 4th, 7th, … charge point. So all keep to the ramp together. Each
        plan has its own seed; with the same seed, charge points of two processes would reconnect at the same moments.
        """
        starts = list(self.starts.items())
        return [replace(self, starts=dict(starts[number::shares]), seed=self.seed + number) for number in range(shares)]

    def rest(self, left: float) -> Plan:
        """The plan for the last ``left`` seconds.

        All charge points start again, at the same ramp; a ramp of more than half of this time is made shorter.
        """
        ramp = max(at for at, _phase in self.starts.values())
        pace = min(1.0, left / 2 / ramp) if ramp else 1.0
        starts = {each: (at * pace, phase) for each, (at, phase) in self.starts.items()}
        charging = None if self.charging is None else self.charging.again()
        return replace(self, starts=starts, duration=left, charging=charging)


def start_times(ids: Sequence[str], ramp_time: float, seed: int) -> dict[str, tuple[float, float]]:
    """The ``starts`` of a plan: each charge point starts at a random moment within its own slot of the ramp."""
    chance = random.Random(seed)  # noqa: S311 - a schedule, no secret
    slot = ramp_time / len(ids)
    return {each: ((number + chance.random()) * slot, chance.random()) for number, each in enumerate(ids)}
