"""The kit's latencies, compared with a clock around the same calls; no absolute times."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import pytest

from cpsim_kit import Stack, heartbeat_timing

COUNT = 50


@pytest.mark.slow
async def test_latencies_lie_inside_what_a_clock_around_the_calls_says(
    stack: Stack, register: Callable[[], Awaitable[str]]
) -> None:
    outer_ms, beat_ms = [], []
    async with stack.charge_point(await register()) as cp:
        await cp.boot()
        for _ in range(COUNT):
            before = time.perf_counter()
            beat = await cp.heartbeat()
            outer_ms.append((time.perf_counter() - before) * 1000)
            beat_ms.append(beat.latency_ms)
    timing = heartbeat_timing(cp.messages)
    assert len(timing) == len(beat_ms) == COUNT
    assert set(timing.outcome) == {"answered"}
    assert all(
        0 < recorded <= beat <= outer
        for recorded, beat, outer in zip(timing.latency_ms, beat_ms, outer_ms, strict=True)
    ), "the frames lie inside the exchange, and the exchange inside the call"
