"""The plot of limits over time: steps, bands of what leads, and one panel for each EVSE."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from drawing import BEGAN, backend, shows  # noqa: F401 - a fixture
from matplotlib.axes import Axes
from matplotlib.dates import date2num

from cpsim_kit import plots
from cpsim_kit.basics.tables import table
from cpsim_kit.station.charging.session import Row

# Minute, limit, offered, delivered (kW), what limits.
ROWS = [
    (0, 22, 0, 0, "EVSE"),
    (10, 22, 22, 11, "EVSE"),
    (30, 7, 7, 7, "3"),
    (60, 4, 0, 0, "external"),
    (90, 7, 7, 7, "3"),
    (120, 22, 22, 11, "EVSE"),
]
AHEAD = [(0, 7, "3"), (60, 22, "EVSE"), (120, 5, "4")]


def session(rows: list[Any] = ROWS) -> pd.DataFrame:
    made = [
        (BEGAN + timedelta(minutes=minute), "Charging", 11, limit, offered, power, 0, 0.5, by)
        for minute, limit, offered, power, by in rows
    ]
    floats = dict.fromkeys(Row._fields[2:-1], "float64")
    return table(made, Row._fields).astype({"at": "datetime64[ns, UTC]", **floats})


def ahead() -> pd.DataFrame:
    made = [(BEGAN + timedelta(minutes=minute), float(limit), by, "") for minute, limit, by in AHEAD]
    return table(made, ["at", "limit_kw", "by", "why"]).astype({"at": "datetime64[ns, UTC]"})


def corners(ax: Axes, number: int) -> list[tuple[float, float]]:
    """The corners of a line: minutes since the beginning, and kW."""
    vertices = ax.lines[number].get_path().vertices
    begin = date2num(BEGAN)
    found = [(round(float(x - begin) * 1440, 3), float(y)) for x, y in vertices]
    return list(dict.fromkeys(found))


def bands(ax: Axes) -> list[tuple[float, float]]:
    """From which minute to which each band goes."""
    begin = date2num(BEGAN)
    spans = [patch.get_extents().transformed(ax.transData.inverted()) for patch in ax.patches]
    return [(round((span.x0 - begin) * 1440, 2), round((span.x1 - begin) * 1440, 2)) for span in spans]


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_session_has_steps_and_bands() -> None:
    (ax,) = plots.schedule(session())
    ax.figure.canvas.draw()
    assert texts(ax) == ["limit", "offered", "delivered", "profile 3", "external"]
    assert corners(ax, 1)[:5] == [(0, 0), (10, 0), (10, 22), (30, 22), (30, 7)]  # what is offered
    assert corners(ax, 2)[:5] == [(0, 0), (10, 0), (10, 11), (30, 11), (30, 7)]  # what is delivered
    assert bands(ax) == [(30, 60), (60, 90), (90, 120)]
    assert ax.patches[0].get_facecolor() == ax.patches[2].get_facecolor() != ax.patches[1].get_facecolor()
    assert shows == []


def test_a_schedule_goes_on_for_the_hours_that_are_asked_for() -> None:
    (ax,) = plots.schedule(ahead(), hours=5)
    ax.figure.canvas.draw()
    assert texts(ax) == ["limit to come", "profile 3", "profile 4"]
    assert corners(ax, 0) == [(0, 7), (60, 7), (60, 22), (120, 22), (120, 5), (300, 5)]
    assert bands(ax) == [(0, 60), (120, 300)]


def test_several_have_one_time_and_the_same_colours() -> None:
    later = session([(minute + 300, *rest) for minute, *rest in ROWS[2:]])
    axes = plots.schedule({"one": session(), "two": later, "to come": ahead()})
    assert [ax.get_title(loc="left") for ax in axes] == ["one", "two", "to come"]
    assert len({ax.get_xlim() for ax in axes}) == len({ax.get_ylim() for ax in axes}) == 1
    assert len({ax.patches[0].get_facecolor() for ax in axes}) == 1
    assert "profile 4" in texts(axes[0])


def test_tables_that_were_put_together_are_one() -> None:
    later = session([(minute + 300, *rest) for minute, *rest in ROWS])
    (ax,) = plots.schedule(pd.concat([session(), later]))
    ax.figure.canvas.draw()
    assert bands(ax) == [(30, 60), (60, 90), (90, 120), (330, 360), (360, 390), (390, 420)]


class Drawn:
    """As a station: its EVSEs, sessions and schedules."""

    def __init__(self) -> None:
        self.id = "CP1"
        self.evses = {1: None, 2: None}
        self.now = BEGAN + timedelta(minutes=120)
        self.sessions = [Recorded(1), Recorded(1)]

    def schedule(self, _hours: float, *, evse: int) -> pd.DataFrame:
        return ahead().head(evse)


class Recorded:
    def __init__(self, evse_id: int) -> None:
        self.evse_id = evse_id

    def to_frame(self) -> pd.DataFrame:
        return session()


def test_a_station_has_a_panel_for_each_evse() -> None:
    axes = plots.schedule([Drawn(), Recorded(7)], hours=1)
    assert [ax.get_title(loc="left") for ax in axes] == ["CP1, EVSE 1", "CP1, EVSE 2", "EVSE 7"]
    assert [len(ax.lines) for ax in axes] == [4, 1, 3]


def test_given_axes_are_used() -> None:
    ax = plt.subplots(2, 1)[1]
    assert list(plots.schedule([session(), ahead()], ax=ax)) == list(ax)
    with pytest.raises(ValueError, match="is 1 Axes"):
        plots.schedule(session(), ax=ax)


@pytest.mark.parametrize("nothing", [[], {}, session([])])
def test_nothing_to_plot(nothing: Any) -> None:
    with pytest.raises(ValueError, match="nothing to plot"):
        plots.schedule(nothing)


@pytest.mark.parametrize("other", [7, "CP1", pd.DataFrame({"a": [1]})])
def test_other_things_are_refused(other: Any) -> None:
    with pytest.raises(TypeError, match="takes stations, sessions, or the tables"):
        plots.schedule([other])
