"""Plots of exchanges: the hops of many, stacked, and sequence diagrams, of one exchange or of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
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
    """One exchange, or a conversation, as a sequence diagram: who sent what to whom, from top to bottom.

    The rows have equal distances; the numbers are the times. For a dashed arrow of an exchange, the time is when the
    monitor saw the copy: when the message was sent is not known. In a conversation the answers are dashed.

        plots.sequence(trace.hops())
        plots.sequence(cp.messages.to_frame())

    Args:
        table: What ``trace.hops()`` returned, or a table of messages. In that one, a column ``label`` has the text over
            an arrow (else the action, or CALLRESULT, CALLERROR), and a column ``time`` the text beside it (else
            milliseconds since the first message).
        title: E.g. the action.
        ax: Where to draw; a new figure when None.

    Raises:
        ValueError: There is nothing to plot.
    """
    if "hop" in table.columns:
        require_rows(table, "hops")
        ax = axes_or_new(ax, (8, 0.8 + 0.55 * (len(table) + 1)))
        _draw_hops(ax, table)
    else:
        require_rows(table, "messages")
        ax = axes_or_new(ax, (8, 0.8 + 0.32 * (len(table) + 1)))
        _draw_messages(ax, table)
    ax.set(title=title, xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set_visible(False)
    return ax


def _draw_lanes(ax: Axes, names: Sequence[str], lowest: float) -> None:
    for x, label in enumerate(names):
        ax.plot([x, x], [-0.3, lowest], color="grey", lw=1, ls=":")
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "grey"}
        ax.text(x, 0, label, ha="center", va="center", bbox=box)


def _draw_arrow(ax: Axes, ends: tuple[int, int], row: int, colour: str, line: str, text: str) -> None:
    begin, end = ends
    style = {"arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkA": 0, "shrinkB": 0, "ls": line}
    ax.annotate("", (end, -row), (begin, -row), arrowprops=style)
    ax.text((begin + end) / 2, -row + 0.1, text, ha="center", va="bottom", fontsize="small")


def _draw_hops(ax: Axes, table: pd.DataFrame) -> None:
    name = str(table.place[table.hop == "sent"].iloc[0]).removesuffix(" sends")
    lowest = -len(table) - 0.4
    _draw_lanes(ax, (f"charge point {name}", "gateway and AWS IoT Core", "CSMS"), lowest)
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
        text = f"{hop.kind}, {text}" if hop.kind else hop.place
        _draw_arrow(ax, (begin, end), row, colour, "-" if hop.hop in {"in", "received"} else "--", text)
    ax.set(xlim=(-0.75, 2.35), ylim=(lowest, 0.5), ylabel="time since sent, downwards (ms)")


def _draw_messages(ax: Axes, table: pd.DataFrame) -> None:
    is_call = table["kind"] == "CALL"
    labels = table["label"] if "label" in table else table["action"].astype(str).where(is_call, table["kind"])
    after_ms = (table["sent_at"] - table["sent_at"].iloc[0]).dt.total_seconds() * 1000
    times = table["time"] if "time" in table else after_ms.map("{:.1f} ms".format)
    lowest = -len(table) - 0.4
    _draw_lanes(ax, (f"charge point {table['charge_point_id'].iloc[0]}", "CSMS"), lowest)
    sent = table["direction"] == "sent"
    for row, (was_sent, called, text, time) in enumerate(zip(sent, is_call, labels, times, strict=True), start=1):
        ax.text(-0.16, -row, time, ha="right", va="center", fontsize="small")
        ends = (0, 1) if was_sent else (1, 0)
        _draw_arrow(ax, ends, row, COLOURS[0] if was_sent else COLOURS[2], "-" if called else "--", text)
    ax.set(xlim=(-0.38, 1.2), ylim=(lowest, 0.6), ylabel=f"time, downwards{'' if 'time' in table else ' (ms)'}")
