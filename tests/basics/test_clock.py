"""Times of the kit, where the wall clock steps: it was set, or the computer slept."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from csms_stub import Csms

from cpsim_kit import ChargePoint
from cpsim_kit.basics import clock
from cpsim_kit.basics.clock import epoch, notice_step, wall_clock

HOUR = 3600.0


@pytest.mark.parametrize("seconds", [0.9, -0.9, 0.004])
def test_a_correction_of_the_system_time_never_shows_up(step: Callable[[float], None], seconds: float) -> None:
    moment = time.perf_counter()
    before = epoch(moment)
    step(seconds)
    notice_step()
    assert epoch(moment) == before
    assert epoch(moment + 1) == before + 1


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 1.1])
def test_a_step_is_seen_from_then_on_and_what_was_before_keeps_its_time(
    step: Callable[[float], None], seconds: float
) -> None:
    before = time.perf_counter()
    was = wall_clock(before)
    step(seconds)
    notice_step()
    after = time.perf_counter()
    assert wall_clock(before) == was
    assert epoch(after) - epoch(before) == pytest.approx(seconds + after - before, abs=1e-3)
    notice_step()
    assert len(clock._origins) == 2, "it is noticed once"


def test_each_moment_has_the_time_of_its_own_step(step: Callable[[float], None]) -> None:
    moments, times = [], []
    for seconds in (0, HOUR, -2 * HOUR, 24 * HOUR):
        step(seconds)
        notice_step()
        moments.append(time.perf_counter())
        times.append(time.time())
    assert [epoch(moment) for moment in moments] == pytest.approx(times, abs=0.1)


async def test_a_charge_point_that_connects_after_the_computer_slept_has_the_right_times(
    csms: Csms, step: Callable[[float], None]
) -> None:
    async with ChargePoint("CP1", csms.url) as cp:
        first = await cp.heartbeat()
        rows = cp.messages.to_frame()
        await cp.close()
        step(HOUR)
        await cp
        second = await cp.heartbeat()
        took = cp.messages.to_frame()
    assert HOUR <= (second.sent_at - first.sent_at).total_seconds() < HOUR + 60
    assert took.sent_at[: len(rows)].tolist() == rows.sent_at.tolist()
    assert took.latency_ms.max() < 60_000, "no latency has the step in it"
