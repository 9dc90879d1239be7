"""What all plots have in common: the Axes they take, labels with units, and that none shows itself."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from drawing import BEGAN, HOPS, Draw, backend, exchanges, heartbeats, shows  # noqa: F401 - a fixture
from matplotlib.axes import Axes

from cpsim_kit import plots


def test_the_backend_counts_what_is_shown() -> None:
    plt.figure()
    plt.show()
    assert shows == ["show"]


each_plot = pytest.mark.parametrize(
    ("draw", "data"),
    [
        pytest.param(plots.latency, heartbeats("CP1", "CP2"), id="latency"),
        pytest.param(plots.distribution, heartbeats("CP1", "CP2"), id="distribution"),
        pytest.param(plots.regularity, heartbeats("CP1", "CP2"), id="regularity"),
        pytest.param(plots.hops, exchanges(3), id="hops"),
        pytest.param(plots.sequence, HOPS, id="sequence"),
    ],
)


@each_plot
def test_it_draws_on_the_axes_given_and_shows_nothing(draw: Draw, data: pd.DataFrame) -> None:
    figure, (left, right) = plt.subplots(1, 2)
    assert draw(data, ax=right) is right
    assert not left.has_data()
    assert right.has_data()
    figure.canvas.draw()
    assert plt.get_fignums() == [figure.number]
    assert shows == []


@pytest.mark.parametrize(("draw", "count"), [(plots.fleet, 3), (plots.gateway, 2)])
def test_a_picture_of_several_parts_says_how_many_axes_it_needs(draw: Callable[..., object], count: int) -> None:
    calls = pd.DataFrame({"sent_at": [BEGAN], "seen_at": [BEGAN]})
    for ax in (plt.subplots()[1], plt.subplots(count + 1, 1)[1], plt.subplots(count, 2)[1]):
        with pytest.raises(ValueError, match=rf"ax= is {count} Axes here, as plt\.subplots\({count}, 1\)\[1\]"):
            draw(calls, (), 0, ax=ax)


@each_plot
def test_it_makes_a_figure_of_its_own_and_shows_nothing(draw: Draw, data: pd.DataFrame) -> None:
    mine, _ = plt.subplots()
    ax = draw(data)
    assert isinstance(ax, Axes)
    assert ax.figure is not mine
    assert len(plt.get_fignums()) == 2
    assert shows == []


@each_plot
def test_axes_are_named_with_their_units(draw: Draw, data: pd.DataFrame) -> None:
    ax = draw(data)
    labels = [ax.get_xlabel(), ax.get_ylabel()]
    assert any("(ms" in label for label in labels)
    if draw is not plots.sequence:  # it has one axis, and the title is the caller's
        assert all(labels)
        assert ax.get_title()


@each_plot
def test_an_empty_table_is_refused_before_a_figure_is_made(draw: Draw, data: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="nothing to plot"):
        draw(data.iloc[:0])
    assert plt.get_fignums() == []


@each_plot
def test_what_is_given_stays_as_it_was(draw: Draw, data: pd.DataFrame) -> None:
    before = data.copy()
    draw(data)
    pd.testing.assert_frame_equal(data, before)
