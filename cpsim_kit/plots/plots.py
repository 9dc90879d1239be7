"""Pictures of what the tables hold, by matplotlib. Each returns the Axes, takes ``ax=``, and shows nothing itself.

A notebook shows a figure at the end of the cell that made it. Only :func:`live` displays: it replaces its picture while
the cell runs. This module draws what it is given; :mod:`cpsim_kit.records.timing` and ``stack.trace`` compute it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import threading
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from cpsim_kit.records.timing import outages

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["LivePlot", "distribution", "fleet", "gateway", "hops", "latency", "live", "regularity", "sequence"]

# Told apart by people who see few colours, and readable on white: Okabe and Ito's palette.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
_SIZE = (8, 3.2)  # inches
_LINES = (("-", "───"), ("--", "╌╌╌"), (":", "┈┈┈"))  # of percentiles, and how a legend's text shows them


def _axes(ax: Axes | None, size: tuple[float, float] = _SIZE) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt  # noqa: PLC0415 - half a second that a load generator need not spend

    return plt.subplots(figsize=size, layout="constrained")[1]


def _several(ax: Sequence[Axes], count: int) -> Sequence[Axes]:
    """The Axes to draw on, if there are so many of them."""
    if not hasattr(ax, "__len__") or len(ax) != count or not all(hasattr(each, "plot") for each in ax):
        raise ValueError(f"ax= is {count} Axes here, as plt.subplots({count}, 1)[1] makes them; not {ax!r}")
    return ax


def _groups(timing: pd.DataFrame, by: str | None) -> list[tuple[str, pd.DataFrame, str]]:
    """Name, rows and colour of each group."""
    groups = [("", timing)] if by is None else [(str(name), rows) for name, rows in timing.groupby(by, observed=True)]
    return [(name, rows, _COLOURS[n % len(_COLOURS)]) for n, (name, rows) in enumerate(groups)]


def _require(frame: pd.DataFrame, what: str) -> None:
    if frame.empty:
        raise ValueError(f"nothing to plot: the table has no {what}")


def latency(
    timing: pd.DataFrame, *, by: str | None = "charge_point_id", rolling: int = 10, ax: Axes | None = None
) -> Axes:
    """Latency over time: a point per heartbeat, a line for the rolling median, crosses without an answer, gaps in grey.

    Args:
        timing: What ``heartbeat_timing`` returned.
        by: A column whose values are told apart by colour; None for none.
        rolling: How many heartbeats the median is taken of.
        ax: Where to draw; a new figure when None.

    Raises:
        ValueError: There is nothing to plot.
    """
    _require(timing, "heartbeats")
    ax = _axes(ax)
    for name, rows, colour in _groups(timing, by):
        ax.plot(rows.after_s, rows.latency_ms, ".", color=colour, alpha=0.45)
        median = rows.groupby("run").latency_ms.transform(lambda run: run.rolling(rolling, min_periods=1).median())
        for number, (_run, part) in enumerate(rows.assign(median=median).groupby("run")):
            label = f"{name} median of {rolling}".strip() if number == 0 else None
            ax.plot(part.after_s, part["median"], color=colour, label=label)
        lost = rows[rows.latency_ms.isna()]
        if len(lost):
            ax.plot(lost.after_s, [0] * len(lost), "x", color=colour, label=f"{name} no answer".strip(), clip_on=False)
    _shade_outages(ax, timing)
    ax.set(xlabel="sent, since the first heartbeat (s)", ylabel="latency (ms)", title="Latency of each heartbeat")
    ax.set_ylim(bottom=0)
    ax.legend(loc="best", fontsize="small")
    return ax


def _shade_outages(ax: Axes, timing: pd.DataFrame) -> None:
    for number, gap in enumerate(outages(timing).itertuples()):
        ax.axvspan(gap.from_s, gap.to_s, color="grey", alpha=0.2, lw=0, label="no heartbeats" if number == 0 else None)


def distribution(
    timing: pd.DataFrame,
    *,
    by: str | None = "charge_point_id",
    levels: Sequence[float] = (50, 95, 99),
    ax: Axes | None = None,
) -> Axes:
    """How often which latency: a histogram per group, its percentiles as lines; the axis is logarithmic.

    Args:
        timing: A table with ``latency_ms``.
        by: A column whose values are told apart by colour; None for none.
        levels: Percentiles to mark.
        ax: Where to draw; a new figure when None.

    Raises:
        ValueError: There is nothing to plot.
    """
    import numpy as np  # noqa: PLC0415 - comes with pandas

    answered = timing[timing.latency_ms > 0]
    _require(answered, "latencies")
    ax = _axes(ax)
    low, high = answered.latency_ms.min(), answered.latency_ms.max()
    bins = np.geomspace(low * 0.95, max(high, low * 1.1) * 1.05, 40)
    groups = _groups(answered, by)
    for name, rows, colour in groups:
        said = []
        for level, (line, drawn) in zip(levels, itertools.cycle(_LINES)):
            value = rows.latency_ms.quantile(level / 100)
            ax.axvline(value, color=colour, ls=line, lw=1.4)
            said.append(f"p{level:g} {drawn} {value:.3g}")
        label = f"{name}: {len(rows)} heartbeats,  {',  '.join(said)} ms".removeprefix(": ")
        ax.hist(rows.latency_ms, bins=bins.tolist(), color=colour, alpha=0.45, label=label)
        ax.hist(rows.latency_ms, bins=bins.tolist(), color=colour, histtype="step")
    ax.set_xscale("log")
    _plain_ticks(ax, low, high)
    ax.set(xlabel="latency (ms, logarithmic)", ylabel="heartbeats", title="Distribution of the latency")
    ax.set_ylim(top=ax.get_ylim()[1] * (1.1 + 0.12 * len(groups)))  # room for the legend
    ax.legend(loc="upper left", fontsize="small")
    return ax


def _plain_ticks(ax: Axes, low: float, high: float) -> None:
    """Label a logarithmic axis with numbers such as 2 and 50, and not with powers of ten."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter  # noqa: PLC0415 - as above

    steps = [factor * 10.0**power for power in range(-3, 6) for factor in (1, 2, 5)]
    enough = sum(low <= step <= high for step in steps) >= 2
    shown = [step for step in steps if low * 0.5 <= step <= high * 2]
    ax.xaxis.set_major_locator(FixedLocator(shown) if enough else MaxNLocator(6))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_locator(NullLocator())


def regularity(timing: pd.DataFrame, *, by: str | None = "charge_point_id", ax: Axes | None = None) -> Axes:
    """Jitter as points and drift as a line, over time: how far from the interval, and how far from the grid.

    Args:
        timing: What ``heartbeat_timing`` returned.
        by: A column whose values are told apart by colour; None for none.
        ax: Where to draw; a new figure when None.

    Raises:
        ValueError: There is nothing to plot.
    """
    _require(timing, "heartbeats")
    ax = _axes(ax)
    for name, rows, colour in _groups(timing, by):
        ax.plot(rows.after_s, rows.jitter_ms, ".", color=colour, alpha=0.45)
        for number, (_run, part) in enumerate(rows.groupby("run")):
            ax.plot(part.after_s, part.drift_ms, color=colour, label=(name or "drift") if number == 0 else None)
    _shade_outages(ax, timing)
    ax.axhline(0, color="grey", lw=0.8)
    ax.set(
        xlabel="sent, since the first heartbeat (s)",
        ylabel="later than meant (ms)",
        title="Jitter (points) and drift (lines) of the heartbeats",
    )
    ax.legend(loc="best", fontsize="small")
    return ax


# -- The path of a message --------------------------------------------------------------------------------------------

_LEGS = ("until seen on {id}/in", "until seen on {id}/out", "until received")


def hops(trace: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Where the time of each exchange went: the legs of the path, stacked, one bar per exchange.

    What the monitor saw only after the charge point had its answer is cut off there, so that each bar is as high as the
    latency; the legs behind the cut have no length. Few exchanges that took far longer than most would make the others
    too low to be seen: the picture ends below them, and a triangle marks each.

    Args:
        trace: What ``stack.trace(cp)`` gave as ``to_frame()``; exchanges of which a hop was not seen are left out.
        ax: Where to draw; a new figure when None.

    Raises:
        ValueError: There is nothing to plot.
    """
    import numpy as np  # noqa: PLC0415 - comes with pandas

    whole = trace.dropna(subset=["in_ms", "out_ms", "latency_ms"])
    _require(whole, "exchange that was seen on every hop")
    ax = _axes(ax)
    edges = np.minimum(np.vstack([whole.in_ms, whole.out_ms, whole.latency_ms]), whole.latency_ms.to_numpy())
    legs = np.diff(edges, axis=0, prepend=0).clip(min=0)
    names = whole.charge_point_id.unique()
    labels = [leg.replace("{id}", names[0]) if len(names) == 1 else leg for leg in _LEGS]
    begins = np.arange(len(whole) + 1) + 0.5  # of the bars, and the end of the last
    legs = np.hstack([legs, legs[:, -1:]])
    ax.stackplot(begins, legs, step="post", labels=labels, colors=_COLOURS, lw=0, antialiased=False)
    ax.set(xlabel="exchange (number)", ylabel="since sent (ms)")
    ax.set_title("Where the time of each exchange went", pad=26)
    ax.set_xlim(0.5, len(whole) + 0.5)
    highest, usual = float(whole.latency_ms.max()), float(whole.latency_ms.quantile(0.95))
    top = min(highest * 1.05, usual * 1.3)
    higher = [number for number, latency_ms in enumerate(whole.latency_ms, start=1) if latency_ms > top]
    if higher:
        label = f"higher, up to {highest:.0f} ms"
        ax.plot(higher, [top * 0.97] * len(higher), "^", color="black", ms=4, label=label)
    ax.set_ylim(0, top)
    ax.legend(  # above the picture, where it hides nothing
        loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=4, fontsize="small", frameon=False, handlelength=1.2
    )
    return ax


def sequence(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """One exchange as a sequence diagram: who sent what to whom, and when, from top to bottom.

    The distances are equal; the numbers say the time. Of a dashed arrow it is known when its copy was seen, not when
    it was sent.

    Args:
        table: What ``trace.hops()`` returned.
        title: E.g. the action.
        ax: Where to draw; a new figure when None.

    Raises:
        ValueError: There is nothing to plot.
    """
    _require(table, "hops")
    ax = _axes(ax, (8, 0.8 + 0.55 * (len(table) + 1)))
    name = str(table.place[table.hop == "sent"].iloc[0]).removesuffix(" sends")
    lowest = -len(table) - 0.4
    for x, label in enumerate((f"charge point {name}", "gateway and AWS IoT Core", "CSMS")):
        ax.plot([x, x], [-0.3, lowest], color="grey", lw=1, ls=":")
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "grey"}
        ax.text(x, 0, label, ha="center", va="center", bbox=box)
    arrows = {  # from, to, text, colour
        "in": (0, 1, f"seen on {name}/in", _COLOURS[0]),
        "shadow": (2, 1, "", _COLOURS[4]),
        "out": (2, 1, f"seen on {name}/out", _COLOURS[1]),
        "received": (1, 0, "received", _COLOURS[2]),
    }
    for row, hop in enumerate(table.itertuples(), start=1):
        ax.text(-0.28, -row, f"{hop.after_ms:.1f} ms", ha="right", va="center", fontsize="small")
        if hop.hop == "sent":
            ax.plot([0], [-row], "o", color=_COLOURS[0])
            ax.text(0.06, -row, f"{hop.kind}, sent", va="center", fontsize="small")
            continue
        begin, end, text, colour = arrows[hop.hop]
        style = {"arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
        style["ls"] = "-" if hop.hop in {"in", "received"} else "--"
        ax.annotate("", (end, -row), (begin, -row), arrowprops=style)
        text = f"{hop.kind}, {text}" if hop.kind else hop.place
        ax.text((begin + end) / 2, -row + 0.1, text, ha="center", va="bottom", fontsize="small")
    ax.set(xlim=(-0.75, 2.35), ylim=(lowest, 0.5), title=title, ylabel="time since sent, downwards (ms)")
    ax.set(xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set_visible(False)
    return ax


# -- Many charge points -----------------------------------------------------------------------------------------------


def fleet(
    calls: pd.DataFrame,
    samples: Sequence[tuple[float, int, int]],
    started_at: float,
    *,
    ax: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """A fleet over time: latency percentiles, calls and failures per second, charge points connected and booted.

    Args:
        calls: One row per call, as ``result.to_frame()``.
        samples: Seconds since the start, connected, booted.
        started_at: The start, in seconds since the epoch.
        ax: Three Axes; a new figure when None.

    Raises:
        ValueError: There is nothing to plot, or ``ax`` is another number of Axes.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

    _require(calls, "calls")
    if ax is None:
        import matplotlib.pyplot as plt  # noqa: PLC0415 - as above

        ax = list(plt.subplots(3, 1, figsize=(8, 7), sharex=True, layout="constrained")[1])
    ax = _several(ax, 3)
    after_s = (calls.sent_at - pd.Timestamp(started_at, unit="s", tz="UTC")).dt.total_seconds()
    whole = max(1, round(float(after_s.max())))  # seconds; what is left of another one would look like a drop to 0
    second = after_s.clip(lower=0).astype("int64")
    kept = calls[(calls.action != "connect") & (second < whole)]
    by_second = kept.groupby(second[kept.index])
    for (column, level, label), colour in zip(
        (("latency_ms", 0.5, "p50"), ("latency_ms", 0.99, "p99"), ("response_ms", 0.99, "p99 since due")),
        _COLOURS,
        strict=False,
    ):
        line = by_second[column].quantile(level)
        ax[0].plot(line.index + 0.5, line, color=colour, label=label)
    failed = ~calls.outcome.isin(["answered", "unfinished"])
    for rows, label, colour in ((calls, "calls", _COLOURS[0]), (calls[failed], "failures", _COLOURS[3])):
        count = second[rows.index].value_counts().reindex(range(whole), fill_value=0)
        ax[1].plot(count.index + 0.5, count, color=colour, label=label)
    at_s = [at for at, _connected, _booted in samples]
    ax[2].plot(at_s, [connected for _at, connected, _booted in samples], color=_COLOURS[0], label="connected")
    ax[2].plot(at_s, [booted for _at, _connected, booted in samples], color=_COLOURS[2], ls="--", label="booted")
    ax[0].set(ylabel="latency (ms)", title="A fleet over time")
    ax[1].set(ylabel="per second")
    ax[2].set(ylabel="charge points", xlabel="since the start (s)")
    for each in ax:
        each.set_ylim(bottom=0)
        each.legend(loc="best", fontsize="small")
    return ax


def gateway(
    watched: pd.DataFrame,
    samples: Sequence[tuple[float, int, int]] = (),
    started_at: float | None = None,
    *,
    ax: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """The gateway over time: its tasks over a fleet's connected charge points in one picture; below, CPU and memory.

    Args:
        watched: What ``stack.watch_gateway()`` gave as ``to_frame()``.
        samples: Of a fleet: seconds since its start, connected, booted.
        started_at: The fleet's start, in seconds since the epoch; the first look when None.
        ax: Two Axes; a new figure when None.

    Returns:
        The Axes of the tasks, of CPU and memory, and with samples of the charge points. These share a picture with the
        tasks: theirs is the scale on the left, and the tasks' is the one on the right.

    Raises:
        ValueError: There is nothing to plot, or ``ax`` is another number of Axes.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter  # noqa: PLC0415 - as above

    _require(watched, "looks at the gateway")
    if ax is None:
        import matplotlib.pyplot as plt  # noqa: PLC0415 - as above

        ax = plt.subplots(2, 1, figsize=(8, 5.4), height_ratios=(3, 2), sharex=True, layout="constrained")[1]
    tasks, load = ax = _several(ax, 2)
    axes = [tasks, load]
    start = watched.seen_at.iloc[0] if started_at is None else pd.Timestamp(started_at, unit="s", tz="UTC")
    after_s = (watched.seen_at - start).dt.total_seconds()
    title = "The gateway over time"
    if len(samples):
        title = "The gateway's tasks over the connected charge points"
        points, tasks = tasks, tasks.twinx()
        axes = [tasks, load, points]
        at_s, connected = zip(*(sample[:2] for sample in samples), strict=True)
        points.fill_between(at_s, connected, color=_COLOURS[5], alpha=0.35, lw=0)
        points.plot(at_s, connected, color=_COLOURS[0], lw=1.2, label="charge points connected (left)")
        points.set_ylim(0, max(1, *connected) * 1.12)
        _colour_axis(points, "left", _COLOURS[0])
        _colour_axis(tasks, "right", _COLOURS[3])
        points.set_ylabel("connected charge points")
        points.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        points.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    side = " (right)" if len(samples) else ""
    form: dict[str, Any] = {"where": "post", "lw": 2, "color": _COLOURS[3], "marker": "." if len(watched) == 1 else ""}
    for column, style in (("desired", ":"), ("running", "-")):
        count = watched[f"{column}_tasks"].astype("float64")
        tasks.step(after_s, count, ls=style, label=f"tasks {column}{side}", **form)
    most = watched[["desired_tasks", "running_tasks"]].max().max()
    tasks.set_ylim(0, 2 if pd.isna(most) else most + 1)
    tasks.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    tasks.set_ylabel("tasks")
    ecs = watched.source.iloc[0] == "ecs"
    for column, of_ecs, of_process, colour in (
        ("cpu", "of what the tasks reserved", "of one core", _COLOURS[2]),
        ("memory", "of what the tasks reserved", "of this computer's", _COLOURS[4]),
    ):
        label = f"{column.replace('cpu', 'CPU')}, {of_ecs if ecs else of_process}"
        load.plot(after_s, watched[f"{column}_percent"], ".-", color=colour, label=label)
    if watched.cpu_percent.isna().all():
        said = "no CPU known yet"
        load.text(0.5, 0.5, said, ha="center", va="center", color="grey", transform=load.transAxes)
    load.set(ylabel="CPU, memory (%)", xlabel=f"since {'the first look' if started_at is None else 'the start'} (s)")
    load.set_ylim(bottom=0)
    load.legend(loc="best", fontsize="small")
    ax[0].set_title(title, pad=26)
    lines = [line for each in reversed(axes) if each is not load for line in each.lines]
    tasks.legend(  # above the picture, where it hides nothing
        handles=lines, loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=3, fontsize="small", frameon=False
    )
    return axes


def _colour_axis(ax: Axes, side: str, colour: str) -> None:
    """Of two scales in one picture, give each the colour of what it counts."""
    ax.tick_params(axis="y", colors=colour)
    ax.yaxis.label.set_color(colour)
    ax.spines[side].set_color(colour)


# -- While a cell runs ------------------------------------------------------------------------------------------------


def live(beats: AsyncIterator[Any], *, every: float = 0.5, ax: Axes | None = None) -> LivePlot:
    """A picture that grows while heartbeats arrive; iterate it instead of them.

        async for beat in plots.live(cp.heartbeats(count=100, interval=0.2)):
            pass

    Stopping the cell leaves the last picture, with all that came. It is drawn in a thread, so that heartbeats are sent
    in time; a few of their latencies grow by the milliseconds for which drawing holds Python's lock.

    Args:
        beats: What ``cp.heartbeats(…)`` returned, or anything else whose items have ``sent_at`` and ``latency_ms``.
        every: Seconds between two pictures, at least.
        ax: Where to draw; a figure of its own when None.

    Raises:
        ValueError: ``every`` is not above 0.
    """
    return LivePlot(beats, every=every, ax=ax)


class LivePlot:
    """A growing picture; see :func:`live`.

    Attributes:
        ax: The Axes, for whatever is to be added.
    """

    def __init__(self, beats: AsyncIterator[Any], *, every: float, ax: Axes | None) -> None:
        if not every > 0:
            raise ValueError(f"every is more than 0 seconds, not {every!r}")
        if ax is None:
            from matplotlib.figure import Figure  # noqa: PLC0415 - half a second that a load generator need not spend

            figure = Figure(figsize=_SIZE)  # a layout that is not computed each time: drawing takes a third less
            ax = figure.subplots()
            figure.subplots_adjust(left=0.09, right=0.98, bottom=0.18, top=0.9)
        self.ax = ax
        self._figure: Any = ax.get_figure(root=True)
        self._beats = beats
        self._every = every
        self._points: list[tuple[Any, float]] = []
        (self._line,) = ax.plot([], [], ".-", color=_COLOURS[0], lw=0.8)
        ax.set(xlabel="sent, since the first heartbeat (s)", ylabel="latency (ms)", title="Heartbeats, as they arrive")
        self._lock = threading.Lock()  # held while drawing: by a thread, or at the end by the loop
        self._drawing: asyncio.Task[None] | None = None
        self._shown: Any = None

    def __repr__(self) -> str:
        return f"<LivePlot {len(self._points)} heartbeats>"

    async def __aiter__(self) -> AsyncIterator[Any]:
        await self._draw_aside()  # the first takes longest, and no heartbeat waits for it
        drawn_at = time.perf_counter()
        try:
            async for beat in self._beats:
                self._points.append((beat.sent_at, beat.latency_ms))
                now = time.perf_counter()
                if now - drawn_at >= self._every and (self._drawing is None or self._drawing.done()):
                    drawn_at = now
                    self._drawing = asyncio.create_task(self._draw_aside(), name="cpsim[plot].draw")
                yield beat
        finally:
            if self._drawing is not None:
                self._drawing.cancel()
            if self._points:
                self._show(self._draw(list(self._points)))  # without awaiting: the cell may have been stopped
            if (close := getattr(self._beats, "aclose", None)) is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await close()

    async def _draw_aside(self) -> None:
        self._show(await asyncio.to_thread(self._draw, list(self._points)))

    def _draw(self, points: list[tuple[Any, float]]) -> bytes:
        with self._lock:
            self._line.set_data([(at - points[0][0]).total_seconds() for at, _ in points], [ms for _, ms in points])
            self.ax.relim()
            self.ax.autoscale_view()
            self.ax.set_ylim(bottom=0, auto=True)  # without auto, the scale of the first picture would stay
            picture = io.BytesIO()
            self._figure.savefig(picture, format="png", dpi=90)
            return picture.getvalue()

    def _show(self, png: bytes) -> None:
        """Replace the picture in the cell's output; outside a notebook there is none."""
        try:
            from IPython import get_ipython  # noqa: PLC0415 - a script has no use for it
            from IPython.display import Image, display  # noqa: PLC0415
        except ImportError:
            return
        if get_ipython() is None:
            return
        picture = Image(png)  # type: ignore[no-untyped-call]
        if self._shown is None:
            self._shown = display(picture, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._shown.update(picture)
