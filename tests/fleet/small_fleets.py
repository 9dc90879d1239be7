"""Small fleets for tests, and what to wait for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import psutil
import pytest
from conftest import MS, SOON, until
from csms_stub import Csms

from cpsim_kit import ChargePoint, Fleet
from cpsim_kit.fleet.plan import Plan
from cpsim_kit.fleet.result import FleetResult

UNIT = 50 * MS
STARTED = 3 * SOON  # seconds in which the processes of a fleet have started; each imports a lot

run_quietly: dict[str, Any] = {"progress": False}


async def only_boot(cp: ChargePoint) -> None:
    """A scenario that ends, however slow the machine is."""
    await cp.boot()


def fleet_of(csms: Csms, size: int = 5, **options: Any) -> Fleet:
    """A fleet that starts at once, with a heartbeat in each unit of time."""
    return Fleet(csms.url, size, **{"ramp_time": 0, "heartbeat_interval": UNIT, **options})


def plan_of(csms: Csms, size: int, *, duration: float = 6 * SOON, **values: Any) -> Plan:
    """The plan of such a fleet, for a share without one."""
    starts = {f"LOAD-{number:04}": (0.0, 0.5) for number in range(1, size + 1)}
    return Plan(csms.url, starts, duration, **{"interval": UNIT, **values})


@contextlib.asynccontextmanager
async def running(fleet: Fleet, *, progress: bool = False) -> AsyncIterator[None]:
    """A fleet that runs as long as the block does, however slow the machine is; its result is kept."""
    task = asyncio.create_task(fleet.run(12 * SOON, progress=progress))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def run_until(fleet: Fleet, enough: Callable[[], object], what: str, within: float = SOON) -> FleetResult:
    """Run a fleet until there is enough to look at."""
    async with running(fleet):
        await until(enough, what, within)
    assert fleet.result is not None
    return fleet.result


async def run_until_the_line_has(words: Sequence[str], fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a fleet until its line of progress has all of these words at once."""
    shown = ""

    def has_them() -> bool:
        nonlocal shown
        shown += capsys.readouterr().err
        return any(all(each in line for each in words) for line in shown.split("\r"))

    async with running(fleet, progress=True):
        await until(has_them, f"a line with {words}")


async def run_long_enough(
    csms: Csms, fleet: Fleet, duration: float, enough: Callable[[FleetResult], object]
) -> FleetResult:
    """Run a fleet until its time is over; anew and for longer, where a slow machine has not come far enough by then.

    ``csms.calls`` are those of the last run.
    """
    for longer in (1, 4, 16):
        csms.calls.clear()
        result = await fleet.run(longer * duration, **run_quietly)
        if enough(result):
            break
    return result


async def back_after_a_loss(result: FleetResult) -> None:
    """Wait until a fleet has lost a process, and all its charge points are connected again."""
    await until(lambda: result.lost, "a loss", STARTED)
    before = len(result.samples)
    await until(
        lambda: len(result.samples) > before and result.samples[-1][1] == result.size, "all to be back", 2 * STARTED
    )


def fewest(csms: Csms, size: int) -> int:
    """How many heartbeats came from the charge point of a fleet of this size that has sent the fewest."""
    if len(csms.links) < size:
        return 0
    return min(sum(asked.action == "Heartbeat" for asked in link.calls) for link in csms.links)


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if is_worker(child)]


def is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):  # it has ended meanwhile
        return "cpsim_kit.fleet.processes" in " ".join(process.cmdline())
    return False
