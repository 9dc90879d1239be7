"""Plots of the exchanges of a ``stack.trace``: the hops of many, stacked, and one as a sequence diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpsim_kit.plots.axes import COLOURS, axes_or_new, require_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["hops", "sequence"]

_LEGS = ("until seen on {id}/in", "until seen on {id}/out", "until received")


def hops(trace: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Where the time of each exchange went: one bar for each exchange, made of the hops of its path.

    Each bar ends at the latency: a copy that the monitor saw only after the charge point had its answer counts as seen
    at that moment. When a few exchanges took far longer than the others, the scale ends below them, so that the other
    bars stay readable, and a triangle marks each of them.

    Args:
        trace: What ``to_frame()`` of a ``stack.trace(cp)`` returned; exchanges with a missing hop are left out.
        ax: Where to draw; a new figure when None.

    Raises:
        ValueError: There is nothing to plot.
    """
    import numpy as np  # noqa: PLC0415 - comes with pandas

    whole = trace.dropna(subset=["in_ms", "out_ms", "latency_ms"])
    require_rows(whole, "exchange that was seen on every hop")
    ax = axes_or_new(ax)
    edges = np.minimum(np.vstack([whole.in_ms, whole.out_ms, whole.latency_ms]), whole.latency_ms.to_numpy())
    legs = np.diff(edges, axis=0, prepend=0).clip(min=0)
    names = whole.charge_point_id.unique()
    labels = [leg.replace("{id}", names[0]) if len(names) == 1 else leg for leg in _LEGS]
    begins = np.arange(len(whole) + 1) + 0.5  # where each bar begins, and where the last one ends
    legs = np.hstack([legs, legs[:, -1:]])
    ax.stackplot(begins, legs, step="post", labels=labels, colors=COLOURS, lw=0, antialiased=False)
    ax.set(xlabel="exchange (number)", ylabel="since sent (ms)")
    ax.set_title("Where the time of each exchange went", pad=26)
    ax.set_xlim(0.5, len(whole) + 0.5)
    highest, usual = float(whole.latency_ms.max()), float(whole.latency_ms.quantile(0.95))
    top = min(highest * 1.05, usual * 1.3)
    too_high = [number for number, latency_ms in enumerate(whole.latency_ms, start=1) if latency_ms > top]
    if too_high:
        label = f"higher, up to {highest:.0f} ms"
        ax.plot(too_high, [top * 0.97] * len(too_high), "^", color="black", ms=4, label=label)
    ax.set_ylim(0, top)
    ax.legend(  # above the plot, where it covers nothing
        loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=4, fontsize="small", frameon=False, handlelength=1.2
    )
    return ax


def sequence(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """One exchange as a sequence diagram: who sent what to whom, and when, from top to bottom.

    The rows have equal distances; the numbers are the times. For a dashed arrow, the time is when the monitor saw the
    copy: when the message was sent is not known.

    Args:
        table: What ``trace.hops()`` returned.
        title: E.g. the action.
        ax: Where to draw; a new figure when None.

    Raises:
        ValueError: There is nothing to plot.
    """
    require_rows(table, "hops")
    ax = axes_or_new(ax, (8, 0.8 + 0.55 * (len(table) + 1)))
    name = str(table.place[table.hop == "sent"].iloc[0]).removesuffix(" sends")
    lowest = -len(table) - 0.4
    for x, label in enumerate((f"charge point {name}", "gateway and AWS IoT Core", "CSMS")):
        ax.plot([x, x], [-0.3, lowest], color="grey", lw=1, ls=":")
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "grey"}
        ax.text(x, 0, label, ha="center", va="center", bbox=box)
    arrows = {  # from, to, text, colour
        "in": (0, 1, f"seen on {name}/in", COLOURS[0]),
        "shadow": (2, 1, "", COLOURS[4]),
        "out": (2, 1, f"seen on {name}/out", COLOURS[1]),
        "received": (1, 0, "received", COLOURS[2]),
    }
    for row, hop in enumerate(table.itertuples(), start=1):
        ax.text(-0.28, -row, f"{hop.after_ms:.1f} ms", ha="right", va="center", fontsize="small")
        if hop.hop == "sent":
            ax.plot([0], [-row], "o", color=COLOURS[0])
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
