"""Plots of heartbeats: their latency over time, how it is distributed, and how regular they are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cpsim_kit.plots.axes import axes_or_new, groups_of, require_rows
from cpsim_kit.records.timing import outages

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["distribution", "latency", "regularity"]

_LINES = (("-", "───"), ("--", "╌╌╌"), (":", "┈┈┈"))  # line styles of percentiles, and the same in the text of a legend


def latency(
    timing: pd.DataFrame, *, by: str | None = "charge_point_id", rolling: int = 10, ax: Axes | None = None
) -> Axes:
    """Latency over time: a point for each heartbeat, a line for the rolling median, a cross where no answer came.

    Outages are grey.

    Args:
        timing: What ``heartbeat_timing`` returned.
        by: The column to group by, a colour for each group; None for one group.
        rolling: The number of heartbeats in each median.
        ax: Where to draw; a new figure when None.

    Raises:
        ValueError: There is nothing to plot.
    """
    require_rows(timing, "heartbeats")
    ax = axes_or_new(ax)
    for name, rows, colour in groups_of(timing, by):
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
    """A histogram of the latency for each group, with its percentiles as lines; the axis is logarithmic.

    Args:
        timing: A table with ``latency_ms``.
        by: The column to group by, a colour for each group; None for one group.
        levels: Percentiles to mark.
        ax: Where to draw; a new figure when None.

    Raises:
        ValueError: There is nothing to plot.
    """
    import numpy as np  # noqa: PLC0415 - comes with pandas

    answered = timing[timing.latency_ms > 0]
    require_rows(answered, "latencies")
    ax = axes_or_new(ax)
    low, high = answered.latency_ms.min(), answered.latency_ms.max()
    bins = np.geomspace(low * 0.95, max(high, low * 1.1) * 1.05, 40)
    groups = groups_of(answered, by)
    for name, rows, colour in groups:
        texts = []
        for level, (line, drawn) in zip(levels, itertools.cycle(_LINES)):
            value = rows.latency_ms.quantile(level / 100)
            ax.axvline(value, color=colour, ls=line, lw=1.4)
            texts.append(f"p{level:g} {drawn} {value:.3g}")
        label = f"{name}: {len(rows)} heartbeats,  {',  '.join(texts)} ms".removeprefix(": ")
        ax.hist(rows.latency_ms, bins=bins.tolist(), color=colour, alpha=0.45, label=label)
        ax.hist(rows.latency_ms, bins=bins.tolist(), color=colour, histtype="step")
    ax.set_xscale("log")
    _plain_ticks(ax, low, high)
    ax.set(xlabel="latency (ms, logarithmic)", ylabel="heartbeats", title="Distribution of the latency")
    ax.set_ylim(top=ax.get_ylim()[1] * (1.1 + 0.12 * len(groups)))  # room for the legend
    ax.legend(loc="upper left", fontsize="small")
    return ax


def _plain_ticks(ax: Axes, low: float, high: float) -> None:
    """Label a logarithmic axis with numbers such as 2 and 50 instead of powers of ten."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter  # noqa: PLC0415 - see axes.py

    steps = [factor * 10.0**power for power in range(-3, 6) for factor in (1, 2, 5)]
    enough = sum(low <= step <= high for step in steps) >= 2
    shown = [step for step in steps if low * 0.5 <= step <= high * 2]
    ax.xaxis.set_major_locator(FixedLocator(shown) if enough else MaxNLocator(6))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_locator(NullLocator())


def regularity(timing: pd.DataFrame, *, by: str | None = "charge_point_id", ax: Axes | None = None) -> Axes:
    """Jitter (points) and drift (a line) over time; :mod:`cpsim_kit.records.timing` says what they are.

    Args:
        timing: What ``heartbeat_timing`` returned.
        by: The column to group by, a colour for each group; None for one group.
        ax: Where to draw; a new figure when None.

    Raises:
        ValueError: There is nothing to plot.
    """
    require_rows(timing, "heartbeats")
    ax = axes_or_new(ax)
    for name, rows, colour in groups_of(timing, by):
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
