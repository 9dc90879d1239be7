"""Pictures of heartbeats: axes that can be read, and the live picture, whose scale grows with what arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from matplotlib.figure import Figure

from cpsim_kit import Beat, plots

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


async def beats(*latencies_ms: float) -> AsyncIterator[Beat]:
    for number, latency_ms in enumerate(latencies_ms):
        at = BEGIN + timedelta(seconds=number)
        yield Beat(at, latency_ms, at)


async def test_live_hands_on_each_heartbeat_and_draws_all() -> None:
    live = plots.live(beats(1.0, 80.0, 2.0), every=0.001)
    assert [beat.latency_ms async for beat in live] == [1.0, 80.0, 2.0]
    (line,) = live.ax.lines
    assert list(line.get_xdata()) == [0.0, 1.0, 2.0]
    assert list(line.get_ydata()) == [1.0, 80.0, 2.0]


async def test_scale_grows_with_what_arrives() -> None:
    live = plots.live(beats(1.0, 80.0), every=0.001)
    async for _beat in live:
        pass
    low, high = live.ax.get_ylim()
    assert low == 0
    assert 80 <= high < 160
    assert live.ax.get_xlim()[1] >= 1


async def test_picture_of_what_came_is_left_when_the_iteration_ends_early() -> None:
    live = plots.live(beats(3.0, 4.0, 5.0), every=0.001)
    iteration = live.__aiter__()
    await anext(iteration)
    await anext(iteration)
    await iteration.aclose()  # type: ignore[attr-defined]
    assert list(live.ax.lines[0].get_ydata()) == [3.0, 4.0]
    assert live.ax.get_ylim()[1] >= 4


@pytest.mark.parametrize(("low", "high"), [(0.4, 9), (150, 203), (0.9, 1.1), (3, 3000)], ids=str)
def test_axis_of_latencies_has_numbers_enough(low: float, high: float) -> None:
    timing = pd.DataFrame({"latency_ms": [low + (high - low) * n / 20 for n in range(21)]})
    ax = plots.distribution(timing, by=None, ax=Figure().subplots())
    left, right = ax.get_xlim()
    labels = [float(tick.get_text()) for tick in ax.get_xticklabels()]
    shown = [value for value in labels if left <= value <= right]
    assert len(set(shown)) >= 2
    assert [value for value, at in zip(labels, ax.get_xticks(), strict=True) if abs(value - at) > 1e-6 * at] == []
