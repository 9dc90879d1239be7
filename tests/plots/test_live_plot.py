"""The plot that grows in a cell: in a script, and in a real kernel."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from conftest import MS, SOON, cpsim_tasks, until
from drawing import BEGAN, backend, shows  # noqa: F401 - a fixture
from kernel import Kernel, Ran

from cpsim_kit import plots
from cpsim_kit.charge_point import Beat


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


async def beats_of(*latencies_ms: float) -> AsyncIterator[Beat]:
    for number, latency_ms in enumerate(latencies_ms):
        at = BEGAN + timedelta(seconds=number)
        yield Beat(at, latency_ms, at)


async def test_scale_grows_with_what_arrives() -> None:
    live = plots.live(beats_of(1.0, 80.0), every=0.001)
    async for _beat in live:
        pass
    low, high = live.ax.get_ylim()
    assert low == 0
    assert 80 <= high < 160
    assert live.ax.get_xlim()[1] >= 1


async def test_picture_of_what_came_is_left_when_the_iteration_ends_early() -> None:
    live = plots.live(beats_of(3.0, 4.0, 5.0), every=0.001)
    iteration = live.__aiter__()
    await anext(iteration)
    await anext(iteration)
    await iteration.aclose()  # type: ignore[attr-defined]
    assert list(live.ax.lines[0].get_ydata()) == [3.0, 4.0]
    assert live.ax.get_ylim()[1] >= 4


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
    slow_enough = "while drawing():\n        await asyncio.sleep(0.01)"  # for each picture, on any machine
    ran = await kernel.must(f"plot = plots.live(beats(20, 0.01), every=0.02)\nasync for _ in plot:\n    {slow_enough}")
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
