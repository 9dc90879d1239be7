"""The plot of a fleet of stations: power, sessions at once and failures over real time."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from drawing import backend, legend_of, shows  # noqa: F401 - a fixture
from matplotlib.figure import Figure

from cpsim_kit import plots
from cpsim_kit.fleet.call_table import CallTable

SAMPLES = [(0.5, 0, 0.0, 0), (1.0, 2, 22.0, 1), (1.5, 3, 33.0, 4), (2.0, 1, 11.0, 0)]


def calls(*failed_at: float) -> pd.DataFrame:
    table = CallTable()
    table.add("CP1", "TransactionEvent", 100.2, 1.0, 1.0)
    for at in failed_at:
        table.add("CP1", "TransactionEvent", 100 + at, float("nan"), float("nan"), "no answer", "why")
    return table.to_frame()


def lines(ax: Any) -> list[list[float]]:
    return [list(line.get_ydata()) for line in ax.lines]


def test_power_sessions_and_failures_are_drawn_as_they_are() -> None:
    given = Figure().subplots(3)
    axes = plots.power(SAMPLES, calls(0.1, 1.2, 1.9), 100, ax=given)
    assert list(axes) == list(given)
    assert lines(axes[0]) == [[0, 22, 33, 11]]
    assert lines(axes[1]) == [[0, 2, 3, 1]]
    assert lines(axes[2]) == [[1, 2], [0, 1, 4, 0]]
    assert list(axes[2].lines[0].get_xdata()) == [0.5, 1.5]
    assert [ax.get_ylabel() for ax in axes] == ["power (kW)", "sessions", "calls"]
    assert axes[2].get_xlabel() == "since the start (s of real time)"
    assert legend_of(axes[2]) == ["failures per second", "transaction messages that wait"]
    assert all(ax.get_ylim()[0] == 0 for ax in axes)


def test_failures_before_and_after_the_samples_are_in_the_picture() -> None:
    axes = plots.power(SAMPLES, calls(-0.1, 2.4), 100, ax=Figure().subplots(3))
    assert lines(axes[2])[0] == [1, 1]


def test_a_figure_of_its_own_shows_nothing_by_itself() -> None:
    axes = plots.power(SAMPLES[:1], calls(), 100)
    assert len(axes) == 3
    assert not shows
    plt.close(axes[0].get_figure())


def test_nothing_to_plot_is_said() -> None:
    with pytest.raises(ValueError, match=r"no station of this fleet charged; write Fleet\(…, station="):
        plots.power([], calls(), 100)
    with pytest.raises(ValueError, match="ax= is 3 Axes here"):
        plots.power(SAMPLES, calls(), 100, ax=[])
