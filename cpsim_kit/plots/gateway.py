"""The plot of the gateway: its tasks, CPU and memory over time, with the connected charge points of a fleet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cpsim_kit.plots.axes import COLOURS, require_axes, require_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["gateway"]


def gateway(
    watched: pd.DataFrame,
    samples: Sequence[tuple[float, int, int]] = (),
    started_at: float | None = None,
    *,
    ax: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """The gateway over time: above, its tasks and the connected charge points of a fleet; below, CPU and memory.

    Args:
        watched: What ``to_frame()`` of a ``stack.watch_gateway()`` returned.
        samples: The samples of a fleet: seconds since its start, connected, booted.
        started_at: The fleet's start, in seconds since the epoch; the time of the first row when None.
        ax: Two Axes; a new figure when None.

    Returns:
        The Axes of the tasks, those of CPU and memory, and with ``samples`` also those of the charge points. Tasks and
        charge points are drawn over each other: charge points have the scale on the left, tasks the one on the right.

    Raises:
        ValueError: There is nothing to plot, or ``ax`` is another number of Axes.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter  # noqa: PLC0415 - as above

    require_rows(watched, "looks at the gateway")
    if ax is None:
        import matplotlib.pyplot as plt  # noqa: PLC0415 - as above

        ax = plt.subplots(2, 1, figsize=(8, 5.4), height_ratios=(3, 2), sharex=True, layout="constrained")[1]
    tasks, load = ax = require_axes(ax, 2)
    axes = [tasks, load]
    start = watched.seen_at.iloc[0] if started_at is None else pd.Timestamp(started_at, unit="s", tz="UTC")
    after_s = (watched.seen_at - start).dt.total_seconds()
    title = "The gateway over time"
    if len(samples):
        title = "The gateway's tasks over the connected charge points"
        points, tasks = tasks, tasks.twinx()
        axes = [tasks, load, points]
        at_s, connected = zip(*(sample[:2] for sample in samples), strict=True)
        points.fill_between(at_s, connected, color=COLOURS[5], alpha=0.35, lw=0)
        points.plot(at_s, connected, color=COLOURS[0], lw=1.2, label="charge points connected (left)")
        points.set_ylim(0, max(1, *connected) * 1.12)
        _colour_axis(points, "left", COLOURS[0])
        _colour_axis(tasks, "right", COLOURS[3])
        points.set_ylabel("connected charge points")
        points.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        points.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    side = " (right)" if len(samples) else ""
    form: dict[str, Any] = {"where": "post", "lw": 2, "color": COLOURS[3], "marker": "." if len(watched) == 1 else ""}
    for column, style in (("desired", ":"), ("running", "-")):
        count = watched[f"{column}_tasks"].astype("float64")
        tasks.step(after_s, count, ls=style, label=f"tasks {column}{side}", **form)
    most = watched[["desired_tasks", "running_tasks"]].max().max()
    tasks.set_ylim(0, 2 if pd.isna(most) else most + 1)
    tasks.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    tasks.set_ylabel("tasks")
    ecs = watched.source.iloc[0] == "ecs"
    for column, of_ecs, of_process, colour in (
        ("cpu", "of what the tasks reserved", "of one core", COLOURS[2]),
        ("memory", "of what the tasks reserved", "of this computer's", COLOURS[4]),
    ):
        label = f"{column.replace('cpu', 'CPU')}, {of_ecs if ecs else of_process}"
        load.plot(after_s, watched[f"{column}_percent"], ".-", color=colour, label=label)
    if watched.cpu_percent.isna().all():
        load.text(0.5, 0.5, "no CPU known yet", ha="center", va="center", color="grey", transform=load.transAxes)
    load.set(ylabel="CPU, memory (%)", xlabel=f"since {'the first look' if started_at is None else 'the start'} (s)")
    load.set_ylim(bottom=0)
    load.legend(loc="best", fontsize="small")
    ax[0].set_title(title, pad=26)
    lines = [line for each in reversed(axes) if each is not load for line in each.lines]
    tasks.legend(  # above the plot, where it covers nothing
        handles=lines, loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=3, fontsize="small", frameon=False
    )
    return axes


def _colour_axis(ax: Axes, side: str, colour: str) -> None:
    """Give one of two scales the colour of what it counts."""
    ax.tick_params(axis="y", colors=colour)
    ax.yaxis.label.set_color(colour)
    ax.spines[side].set_color(colour)
