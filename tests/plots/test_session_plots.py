"""Plots of charging sessions: what is a step and what is a line, the states, and several sessions to compare."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from drawing import BEGAN, backend, legend_of, shows  # noqa: F401 - a fixture
from matplotlib.axes import Axes

from cpsim_kit import plots
from cpsim_kit.basics.tables import table
from cpsim_kit.station.charging.session import Row

NAN = float("nan")
# Minute, state, demand, limit, offered, delivered (kW), register (kWh), state of charge.
PLUGGED_CHARGED_SUSPENDED = [
    (0, "EVConnected", 11, 22, 0, 0, 5.0, 0.80),
    (1, "Charging", 11, 22, 22, 11, 5.0, 0.80),
    (3, "Charging", 9, 22, 22, 9, 5.3, 0.82),
    (4, "SuspendedEV", 0, 22, 22, 0, 5.5, 0.83),
    (6, "EVConnected", 0, 22, 0, 0, 5.5, 0.83),
    (9, "Idle", 0, 22, 0, 0, 5.5, NAN),
]


def rows_of(rows: list[tuple[Any, ...]], later: float = 0) -> pd.DataFrame:
    frame = table([(BEGAN + timedelta(minutes=row[0] + later), *row[1:], "EVSE") for row in rows], Row._fields)
    return frame.astype({"at": "datetime64[ns, UTC]", **dict.fromkeys(Row._fields[2:-1], "float64")})


@dataclass
class Recorded:
    """As a station's session: it knows its EVSE and its rows."""

    evse_id: int
    frame: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        return self.frame


ONE = rows_of(PLUGGED_CHARGED_SUSPENDED)


def line(ax: Axes, label: str) -> list[tuple[float, float]]:
    """The corners of a line as they are on the screen, steps included."""
    (drawn,) = (each for each in ax.lines if each.get_label() == label)
    vertices = drawn.get_path().vertices
    return [(round(float(x), 6), round(float(y), 6)) for x, y in vertices]


def all_legends(ax: Axes) -> list[str]:
    return [text.get_text() for legend in [*ax.artists, ax.get_legend()] for text in legend.get_texts()]


def test_limit_and_offer_are_steps() -> None:
    power = plots.sessions(ONE)[0]
    assert line(power, "limit") == [(x, 22) for x in (0, 1, 1, 3, 3, 4, 4, 6, 6, 9, 9)]
    assert line(power, "offered") == [
        *[(0, 0), (1, 0), (1, 22), (3, 22), (3, 22), (4, 22), (4, 22), (6, 22), (6, 0), (9, 0), (9, 0)]
    ]


def test_power_and_demand_are_straight_within_a_state_and_jump_between_states() -> None:
    power = plots.sessions(ONE)[0]
    assert line(power, "delivered") == [(0, 0), (1, 0), (1, 11), (3, 9), (4, 9), (4, 0), (6, 0), (6, 0), (9, 0), (9, 0)]
    assert line(power, "demanded")[:4] == [(0, 11), (1, 11), (1, 11), (3, 9)]


def test_an_offer_that_changes_within_a_state_makes_the_power_jump() -> None:
    rows = [(0, "Charging", 11, 22, 22, 11, 0, 0.2), (5, "Charging", 11, 6, 6, 6, 0.9, 0.3)]
    assert line(plots.sessions(rows_of(rows))[0], "delivered") == [(0, 11), (5, 11), (5, 6)]


def test_each_state_that_lasted_has_a_band_of_its_length_and_a_name() -> None:
    power = plots.sessions(ONE)[0]
    bands = [(band.get_label(), round(band.get_x(), 6), round(band.get_width(), 6)) for band in power.patches]
    expected = [("EVConnected", 0, 1), ("Charging", 1, 3), ("SuspendedEV", 4, 2), ("EVConnected", 6, 3)]
    assert bands == expected
    first, second = power.patches[0], power.patches[-1]
    assert first.get_facecolor() == second.get_facecolor(), "a state has one colour"
    assert len({band.get_facecolor() for band in power.patches}) == 3
    assert all_legends(power) == [
        *("EVConnected", "Charging", "SuspendedEV"),
        *("limit", "offered", "demanded", "delivered"),
    ]


def test_a_fault_has_a_colour_of_its_own() -> None:
    rows = [
        (0, "Charging", 11, 22, 22, 11, 0, 0.2),
        (5, "GroundFault", 11, 22, 0, 0, 0.9, 0.3),
        (7, "EVConnected", 11, 22, 0, 0, 0.9, 0.3),
        (9, "Idle", 0, 22, 0, 0, 0.9, NAN),
    ]
    power = plots.sessions(rows_of(rows))[0]
    assert [band.get_label() for band in power.patches] == ["Charging", "GroundFault", "EVConnected"]
    assert len({band.get_facecolor() for band in power.patches}) == 3


def test_the_energy_begins_at_zero_whatever_the_register_shows() -> None:
    _, soc, energy = plots.sessions(ONE)
    (kwh,) = energy.lines
    assert list(kwh.get_ydata()) == pytest.approx([0, 0, 0.3, 0.5, 0.5, 0.5])
    assert soc.get_ylabel() == "state of charge (%)"
    assert energy.get_ylabel() == "energy (kWh)"


def test_the_state_of_charge_lasts_until_the_vehicle_is_gone() -> None:
    soc = plots.sessions(ONE)[1]
    corners = line(soc, "state of charge")
    assert corners[:4] == [(0, 80), (1, 80), (3, 82), (4, 83)]
    assert corners[-2] == (9, 83)


def test_without_a_vehicle_there_is_no_state_of_charge_to_name() -> None:
    rows = [(0, "Idle", 0, 22, 0, 0, 5, NAN), (1, "Idle", 0, 22, 0, 0, 5, NAN)]
    soc = plots.sessions(rows_of(rows))[1]
    assert legend_of(soc) == ["energy of the session (right)"]


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_session_that_has_just_begun_can_be_drawn(rows: int) -> None:
    first = [(0, "EVConnected", 11, 22, 0, 0, 5, 0.5)] * rows
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        axes = plots.sessions(rows_of(first))
        axes[0].figure.canvas.draw()
    assert all(each.has_data() for each in axes)
    if rows == 1:
        assert {each.get_marker() for each in axes[0].lines} == {"o"}, "one point makes no line"


@pytest.mark.parametrize(
    ("given", "title"),
    [
        (ONE, "A charging session"),
        ([ONE], "A charging session"),
        (Recorded(2, ONE), "Session at EVSE 2"),
        ([Recorded(2, ONE)], "Session at EVSE 2"),
        ({"The first one": Recorded(2, ONE)}, "The first one"),
    ],
)
def test_one_session_is_drawn_in_detail_however_it_is_given(given: Any, title: str) -> None:
    axes = plots.sessions(given)
    assert len(axes) == 3
    assert axes[0].get_title() == title
    assert axes[1].get_xlabel() == "minutes since the session began"


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([Recorded(2, ONE), Recorded(1, ONE)], ["1: EVSE 2", "2: EVSE 1"]),
        ((ONE, Recorded(1, ONE)), ["1", "2: EVSE 1"]),
        ({"OCPP 1.6": ONE, "OCPP 2.0.1": Recorded(1, ONE)}, ["OCPP 1.6", "OCPP 2.0.1"]),
    ],
)
def test_several_sessions_have_a_line_and_a_name_each(given: Any, names: list[str]) -> None:
    power, soc = plots.sessions(given)
    assert legend_of(power) == names
    assert len(power.lines) == len(soc.lines) == 2
    assert power.lines[0].get_color() == soc.lines[0].get_color() != power.lines[1].get_color()
    assert power.lines[0].get_linewidth() > power.lines[1].get_linewidth(), "equal lines do not hide each other"


def test_minutes_count_from_the_first_begin_whatever_the_order() -> None:
    power, _soc = plots.sessions([rows_of(PLUGGED_CHARGED_SUSPENDED, later=30), ONE])
    assert [line.get_xdata()[0] for line in power.lines] == pytest.approx([30, 0])
    assert power.get_xlim()[1] >= 39


def test_many_sessions_need_no_legend() -> None:
    power, soc = plots.sessions([ONE] * 40)
    assert len(power.lines) == len(soc.lines) == 40
    assert power.get_legend() is None


def test_twelve_sessions_can_be_told_apart() -> None:
    power, _soc = plots.sessions([ONE] * 12)
    assert len({(line.get_color(), line.get_linestyle()) for line in power.lines}) == 12


def test_it_draws_on_the_axes_given_and_makes_no_figure() -> None:
    figure, (left, right) = plt.subplots(2, 2)
    for given in (ONE, [ONE, ONE]):
        assert list(plots.sessions(given, ax=right)[:2]) == list(right)
    assert not any(each.has_data() for each in left)
    figure.canvas.draw()
    assert plt.get_fignums() == [figure.number]
    assert shows == []


def test_it_says_how_many_axes_it_needs() -> None:
    for ax in (plt.subplots()[1], plt.subplots(3, 1)[1], plt.subplots(2, 2)[1]):
        with pytest.raises(ValueError, match=r"ax= is 2 Axes here, as plt\.subplots\(2, 1\)\[1\]"):
            plots.sessions(ONE, ax=ax)


@pytest.mark.parametrize("given", [ONE.iloc[:0], [], {}, [ONE, ONE.iloc[:0]], Recorded(1, ONE.iloc[:0])])
def test_what_has_no_rows_is_refused_before_a_figure_is_made(given: Any) -> None:
    with pytest.raises(ValueError, match="nothing to plot"):
        plots.sessions(given)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("given", [None, "CP1", iter([ONE]), [ONE, 5], object()])
def test_what_is_not_a_session_is_a_type_error(given: Any) -> None:
    with pytest.raises(
        TypeError, match=r"plots\.sessions\(\) takes sessions, or what their to_frame\(\) returned, not "
    ):
        plots.sessions(given)
    assert plt.get_fignums() == []


def test_what_is_given_stays_as_it_was() -> None:
    before = ONE.copy()
    plots.sessions([ONE, ONE])
    plots.sessions(ONE)
    pd.testing.assert_frame_equal(before, ONE)
