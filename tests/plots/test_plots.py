"""Pictures: what each function draws and returns, that none shows itself, and the one that grows in a cell."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import MS, SOON, cpsim_tasks, until
from kernel import Kernel, Ran
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cpsim_kit import plots
from cpsim_kit.basics.tables import table
from cpsim_kit.charge_point import Beat
from cpsim_kit.observe import trace
from cpsim_kit.records import MessageLog, timing

# -- A backend that counts --------------------------------------------------------------------------------------------

shows: list[str] = []  # what pyplot was asked to show


class _Manager(FigureManagerBase):
    @classmethod
    def pyplot_show(cls, *, block: bool | None = None) -> None:
        shows.append("show")


class FigureCanvas(FigureCanvasAgg):
    """Makes this module a backend of matplotlib: it draws as Agg does."""

    manager_class = _Manager


@pytest.fixture(autouse=True)
def backend() -> Iterator[None]:
    before = mpl.get_backend()
    mpl.use(f"module://{__name__}")
    shows.clear()
    yield
    plt.close("all")
    mpl.use(before)


def test_the_backend_counts_what_is_shown() -> None:
    plt.figure()
    plt.show()
    assert shows == ["show"]


# -- What there is to draw --------------------------------------------------------------------------------------------

BEGAN = datetime(2026, 11, 23, 10, tzinfo=UTC)


def heartbeats(*charge_point_ids: str, answered: bool = True) -> pd.DataFrame:
    """Of each charge point nine heartbeats with an outage; a CALLERROR, and one without an answer."""
    logs = []
    for charge_point_id in charge_point_ids:
        log = MessageLog(charge_point_id=charge_point_id)
        for number, moment in enumerate([0, 1, 2, 3, 7, 8, 9, 10, 11]):
            log.add(moment, f'[2,"{number}","Heartbeat",{{}}]', sent=True)
            if answered and number == 3:
                log.add(moment + 0.02, f'[4,"{number}","InternalError","",{{}}]', sent=False)
            elif answered and number != 6:
                log.add(moment + 0.005 + number / 1000, f'[3,"{number}",{{}}]', sent=False)
        logs.append(log)
    return timing.heartbeat_timing(*logs, interval=1)


def exchanges(count: int) -> pd.DataFrame:
    """As a trace gives them."""
    values = {"charge_point_id": "CP1", "action": "Heartbeat", "in_ms": 1.0, "out_ms": 3.0, "latency_ms": 4.0}
    rows = [
        values | {"sent_at": BEGAN + timedelta(seconds=number), "message_id": str(number)} for number in range(count)
    ]
    return table(pd.DataFrame(rows, columns=list(trace.COLUMNS)), trace.COLUMNS)


HOPS = pd.DataFrame(
    [
        ("sent", "CP1 sends", "CALL", 0.0, 0.0),
        ("in", "CP1/in", "CALL", 1.0, 1.0),
        ("shadow", "shadow version 2", "", 2.0, 1.0),
        ("out", "CP1/out", "CALLRESULT", 3.0, 1.0),
        ("received", "CP1 receives", "CALLRESULT", 4.0, 1.0),
    ],
    columns=["hop", "place", "kind", "after_ms", "took_ms"],
)

Draw = Callable[..., Axes]
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


def legend_of(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


# -- All of them ------------------------------------------------------------------------------------------------------


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


# -- Each of them -----------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("count", [1, 2, 30])
def test_each_exchange_has_a_bar_as_wide_as_the_others(count: int) -> None:
    ax = plots.hops(exchanges(count))
    edges = [area.get_datalim(ax.transData) for area in ax.collections]
    assert [edge.x0 for edge in edges] == [0.5] * 3
    assert [edge.x1 for edge in edges] == [count + 0.5] * 3
    assert max(edge.y1 for edge in edges) == 4.0


def test_exchanges_that_were_not_seen_whole_are_left_out() -> None:
    seen = exchanges(3)
    seen.loc[1, "in_ms"] = np.nan
    assert plots.hops(seen).get_xlim() == (0.5, 2.5)
    with pytest.raises(ValueError, match="nothing to plot"):
        plots.hops(seen.iloc[[1]])


def test_sequence_names_who_and_when() -> None:
    ax = plots.sequence(HOPS, title="BootNotification")
    texts = [text.get_text() for text in ax.texts]
    assert {"charge point CP1", "CSMS", "0.0 ms", "4.0 ms", "shadow version 2"} <= set(texts)
    assert ax.get_title() == "BootNotification"
    assert plots.sequence(HOPS.iloc[:2]).has_data(), "what was seen no further can be drawn too"


# -- live, outside of a notebook --------------------------------------------------------------------------------------


class Beats:
    """Heartbeats at once, or slower; it says whether it was closed."""

    def __init__(self, count: int, interval: float = 0.0) -> None:
        self.closed = False
        self.all = [
            Beat(BEGAN + timedelta(seconds=number), 5.0 + number, BEGAN + timedelta(seconds=number))
            for number in range(count)
        ]
        self._interval = interval

    async def __call__(self) -> AsyncIterator[Beat]:
        try:
            for beat in self.all:
                yield beat
                await asyncio.sleep(self._interval)
        finally:
            self.closed = True


async def test_live_yields_the_beats_and_shows_nothing_in_a_script() -> None:
    beats = Beats(5)
    plot = plots.live(beats())
    assert [beat async for beat in plot] == beats.all
    (line,) = plot.ax.lines
    assert list(line.get_xdata()) == [0, 1, 2, 3, 4]
    assert list(line.get_ydata()) == [5, 6, 7, 8, 9]
    assert plot.ax.get_ylim()[1] > 9, "the scale follows what came"
    assert repr(plot) == "<LivePlot 5 heartbeats>"
    assert beats.closed
    assert plt.get_fignums() == []
    assert shows == []


async def test_live_draws_on_the_axes_given() -> None:
    figure, (left, right) = plt.subplots(1, 2)
    plot = plots.live(Beats(2)(), ax=right)
    async for _ in plot:
        pass
    assert plot.ax is right
    assert right.has_data()
    assert not left.has_data()
    assert "(s)" in right.get_xlabel()
    assert "(ms)" in right.get_ylabel()
    assert plt.get_fignums() == [figure.number]


async def test_live_of_no_beats_is_an_empty_picture() -> None:
    plot = plots.live(Beats(0)())
    assert [beat async for beat in plot] == []
    assert repr(plot) == "<LivePlot 0 heartbeats>"


@pytest.mark.parametrize("every", [0, -1, float("nan")])
def test_live_wants_some_time_between_two_pictures(every: float) -> None:
    with pytest.raises(ValueError, match="every is more than 0"):
        plots.live(Beats(1)(), every=every)


async def test_break_closes_the_beats_and_ends_the_drawing() -> None:
    beats = Beats(1000, interval=MS)
    plot = plots.live(beats(), every=MS)
    seen = 0
    async for _ in plot:
        seen += 1
        if "cpsim[plot].draw" in cpsim_tasks():
            break
    await until(lambda: beats.closed, "the beats to be closed")
    await until(lambda: not cpsim_tasks(), "the drawing to end")
    assert len(plot.ax.lines[0].get_xdata()) == seen


async def test_an_error_of_the_beats_comes_out_and_the_picture_has_what_came() -> None:
    async def break_off() -> AsyncIterator[Beat]:
        async for beat in Beats(3)():
            yield beat
        raise ConnectionError("lost")

    plot = plots.live(break_off())
    with pytest.raises(ConnectionError, match="lost"):
        async for _ in plot:
            pass
    assert len(plot.ax.lines[0].get_xdata()) == 3


async def test_a_cancelled_loop_closes_the_beats_and_draws_what_came() -> None:
    beats = Beats(2, interval=600)
    plot = plots.live(beats())
    seen = asyncio.Event()

    async def iterate() -> None:
        async for _ in plot:
            seen.set()

    task = asyncio.create_task(iterate())
    await asyncio.wait_for(seen.wait(), SOON)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert beats.closed
    assert len(plot.ax.lines[0].get_xdata()) == 1


# -- live, in a real kernel -------------------------------------------------------------------------------------------

BEATS = """
import asyncio, types
from datetime import UTC, datetime, timedelta
from cpsim_kit import plots

closed = False

async def beats(count, interval):
    global closed
    closed = False
    try:
        for number in range(count):
            at = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(seconds=number)
            yield types.SimpleNamespace(sent_at=at, latency_ms=5.0 + number)
            await asyncio.sleep(interval)
    finally:
        closed = True

def drawing():
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "cpsim[plot].draw"]

def drawn():
    return len(plot.ax.lines[0].get_xdata())
"""


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Kernel]:
    async with Kernel.started(tmp_path) as kernel:
        await kernel.must(BEATS)
        yield kernel


def png(shown: dict[str, Any]) -> bytes:
    picture = base64.b64decode(shown["image/png"])
    assert picture.startswith(b"\x89PNG")
    return picture


async def test_live_displays_once_and_replaces_the_picture(kernel: Kernel) -> None:
    ran = await kernel.must("plot = plots.live(beats(20, 0.01), every=0.02)\nasync for beat in plot:\n    pass")
    assert len(ran.shown) == 1, "one output, and not a second figure at the end of the cell"
    assert len(ran.updated) >= 2
    assert len({png(shown) for shown in [*ran.shown, *ran.updated]}) >= 3, "it grows"
    assert (await kernel.must("drawn(), closed, drawing()")).value == "(20, True, [])"

    again = await kernel.must("async for beat in plots.live(beats(1, 0), every=600):\n    pass")
    assert (len(again.shown), len(again.updated)) == (1, 1), "another picture, empty and then with its one heartbeat"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send to a process alone")
async def test_stop_button_leaves_the_last_picture_with_all_that_came(kernel: Kernel) -> None:
    ran = Ran()
    source = "plot = plots.live(beats(1000, 0.05), every=600)\nasync for beat in plot:\n    print('beat')"
    running = asyncio.create_task(kernel.run(source, ran))
    await until(lambda: ran.stdout.count("beat") >= 3, "three heartbeats")
    assert (len(ran.shown), ran.updated) == (1, [])
    await kernel.manager.interrupt_kernel()
    async with asyncio.timeout(SOON):
        await running
    assert ran.error.startswith(("CancelledError", "KeyboardInterrupt"))
    (last,) = ran.updated
    assert png(last) != png(ran.shown[0])
    count = ran.stdout.count("beat")
    assert (await kernel.must("drawn(), closed, drawing()")).value == f"({count}, True, [])"
    assert (await kernel.must("len([beat async for beat in plots.live(beats(2, 0))])")).value == "2"
