"""Plots of heartbeats: points, medians, gaps, percentiles, and axes that can be read."""

from __future__ import annotations

import pandas as pd
import pytest
from drawing import Draw, backend, heartbeats, legend_of  # noqa: F401 - a fixture
from matplotlib.figure import Figure

from cpsim_kit import plots
from cpsim_kit.records import MessageLog, timing


def test_latency_has_points_medians_crosses_and_gaps() -> None:
    ax = plots.latency(heartbeats("CP1"), by=None, rolling=3)
    assert legend_of(ax) == ["median of 3", "no answer", "no heartbeats"]
    (cross,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert list(cross.get_xdata()) == pytest.approx([9], abs=1e-5), "a CALLERROR is an answer"
    (gap,) = ax.patches
    assert gap.get_extents().transformed(ax.transData.inverted()).intervalx == pytest.approx([3, 7], abs=1e-5)


def test_groups_are_told_apart_by_name_and_colour() -> None:
    ax = plots.latency(heartbeats("CP1", "CP2"))
    assert {"CP1 median of 10", "CP2 median of 10"} <= set(legend_of(ax))
    assert len({line.get_color() for line in ax.lines if line.get_marker() == "."}) == 2


@pytest.mark.parametrize("draw", [plots.latency, plots.regularity])
def test_heartbeats_that_nobody_answered_can_be_drawn(draw: Draw) -> None:
    assert draw(heartbeats("CP1", answered=False)).has_data()


def test_there_is_no_distribution_of_no_answers() -> None:
    with pytest.raises(ValueError, match="no latencies"):
        plots.distribution(heartbeats("CP1", answered=False))


@pytest.mark.parametrize("draw", [plots.latency, plots.distribution, plots.regularity])
def test_one_heartbeat_can_be_drawn(draw: Draw) -> None:
    assert draw(heartbeats("CP1").iloc[:1]).has_data()


def test_gaps_alone_can_be_drawn() -> None:
    log = MessageLog(charge_point_id="CP1")
    for moment in (0, 10, 20):
        log.add(moment, f'[2,"{moment}","Heartbeat",{{}}]', sent=True)
    assert len(plots.latency(timing.heartbeat_timing(log, interval=1)).patches) == 2


def test_distribution_says_count_and_percentiles() -> None:
    ax = plots.distribution(heartbeats("CP1"), by=None, levels=[50])
    (label,) = legend_of(ax)
    assert "8 heartbeats" in label
    assert "p50" in label
    assert ax.get_xscale() == "log"


@pytest.mark.parametrize(("low", "high"), [(0.4, 9), (150, 203), (0.9, 1.1), (3, 3000)], ids=str)
def test_axis_of_latencies_has_numbers_enough(low: float, high: float) -> None:
    timing = pd.DataFrame({"latency_ms": [low + (high - low) * n / 20 for n in range(21)]})
    ax = plots.distribution(timing, by=None, ax=Figure().subplots())
    left, right = ax.get_xlim()
    labels = [float(tick.get_text()) for tick in ax.get_xticklabels()]
    shown = [value for value in labels if left <= value <= right]
    assert len(set(shown)) >= 2
    assert [value for value, at in zip(labels, ax.get_xticks(), strict=True) if abs(value - at) > 1e-6 * at] == []
