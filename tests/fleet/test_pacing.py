"""When heartbeats are due, and that none is sent before."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import pytest
from conftest import SOON, until
from csms_stub import Csms
from small_fleets import UNIT, fewest, fleet_of, run_until

from cpsim_kit.fleet.pacing import SharedTimer, first_heartbeat
from cpsim_kit.fleet.result import FleetResult

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if sys.platform != "win32":
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.mark.parametrize("interval", [0.05, 1.0, 7.3, 900.0])
def test_heartbeats_begin_within_an_interval_at_moments_that_others_share(interval: float) -> None:
    began, now = 1000.0, 1012.3456
    firsts = [first_heartbeat(began, now, interval, number / 1000) for number in range(1000)]
    step = min(0.01, interval / 100)
    assert all(now <= first <= now + interval + step for first in firsts)
    assert all(abs((first - began) / step - round((first - began) / step)) < 1e-6 for first in firsts)
    assert len(set(firsts)) >= 99, "spread over the whole interval"
    assert first_heartbeat(began, now, interval, None) == first_heartbeat(began, now + 1e-9, interval, None) > now


@pytest.mark.parametrize("loop_factory", LOOPS.values(), ids=LOOPS.keys())
def test_no_heartbeat_is_sent_before_it_is_due(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def run() -> FleetResult:
        async with Csms() as csms:
            fleet = fleet_of(csms, 20, heartbeat_interval=UNIT)
            return await run_until(fleet, lambda: fewest(csms, 20) >= 5, "five heartbeats of each")

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        calls = runner.run(run()).to_frame()
    beats = calls[(calls.action == "Heartbeat") & (calls.outcome == "answered")]
    assert len(beats) >= 20 * 4
    assert (beats.response_ms >= beats.latency_ms - 0.001).all()


async def test_a_burst_sends_all_heartbeats_at_the_same_moments(csms: Csms) -> None:
    interval_ms = 4 * UNIT * 1000
    fleet = fleet_of(csms, 5, burst=True, heartbeat_interval=interval_ms / 1000)
    frame = (await run_until(fleet, lambda: fewest(csms, 5) >= 4, "four heartbeats of each")).to_frame()
    beats = frame[(frame.action == "Heartbeat") & (frame.outcome == "answered")]
    assert beats.charge_point_id.nunique() == 5
    due_ms = (beats.sent_at - beats.sent_at.min()).dt.total_seconds() * 1000 + beats.latency_ms - beats.response_ms
    off_grid_ms = (due_ms - due_ms.min()) % interval_ms
    assert (off_grid_ms.clip(upper=interval_ms - off_grid_ms) < 1).all(), "due on one grid, whenever they were sent"


@pytest.mark.parametrize("loop_factory", LOOPS.values(), ids=LOOPS.keys())
def test_tasks_wake_in_the_order_of_their_moments_and_never_before(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    woken: list[float] = []

    async def run() -> None:
        timer = SharedTimer()
        began = time.perf_counter()

        async def wait(after: float) -> None:
            future = timer.at(began + after)
            assert future is not None
            await future
            assert time.perf_counter() >= began + after - 2e-6
            woken.append(after)

        tasks = [asyncio.create_task(wait(after)) for after in (100 * SOON, 3 * UNIT, 2 * UNIT, UNIT, 3 * UNIT)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        await until(lambda: len(woken) == 3, "the others to wake")
        tasks[0].cancel()
        assert timer.at(began) is None, "this moment is past"

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())
    assert woken == [2 * UNIT, 3 * UNIT, 3 * UNIT]


async def test_a_stopped_timer_wakes_no_task() -> None:
    timer = SharedTimer()
    future = timer.at(time.perf_counter() + UNIT)
    timer.stop()
    await asyncio.sleep(3 * UNIT)
    assert future is not None
    assert not future.done()
