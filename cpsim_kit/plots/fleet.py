"""The plots of a fleet over time: of its calls and connections, and of the power of its stations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cpsim_kit.plots.axes import COLOURS, require_axes, require_rows
from cpsim_kit.records.outcomes import NOT_FAILED

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["fleet", "power"]


def fleet(
    calls: pd.DataFrame,
    samples: Sequence[tuple[float, int, int]],
    started_at: float,
    *,
    ax: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """A fleet over time: latency percentiles, calls and failures per second, charge points connected and booted.

    Args:
        calls: One row for each call, as ``result.to_frame()`` returns them.
        samples: Seconds since the start, connected, booted.
        started_at: The start, in seconds since the epoch.
        ax: Three Axes; a new figure when None.

    Raises:
        ValueError: There is nothing to plot, or ``ax`` is another number of Axes.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

    require_rows(calls, "calls")
    if ax is None:
        import matplotlib.pyplot as plt  # noqa: PLC0415 - as above

        ax = list(plt.subplots(3, 1, figsize=(8, 7), sharex=True, layout="constrained")[1])
    ax = require_axes(ax, 3)
    after_s = (calls.sent_at - pd.Timestamp(started_at, unit="s", tz="UTC")).dt.total_seconds()
    whole = max(1, round(float(after_s.max())))  # seconds; a second that is not over would look like a drop
    second = after_s.clip(lower=0).astype("int64")
    kept = calls[(calls.action != "connect") & (second < whole)]
    by_second = kept.groupby(second[kept.index])
    for (column, level, label), colour in zip(
        (("latency_ms", 0.5, "p50"), ("latency_ms", 0.99, "p99"), ("response_ms", 0.99, "p99 since due")),
        COLOURS,
        strict=False,
    ):
        line = by_second[column].quantile(level)
        ax[0].plot(line.index + 0.5, line, color=colour, label=label)
    failed = ~calls.outcome.isin(NOT_FAILED)
    for rows, label, colour in ((calls, "calls", COLOURS[0]), (calls[failed], "failures", COLOURS[3])):
        count = second[rows.index].value_counts().reindex(range(whole), fill_value=0)
        ax[1].plot(count.index + 0.5, count, color=colour, label=label)
    at_s = [at for at, _connected, _booted in samples]
    ax[2].plot(at_s, [connected for _at, connected, _booted in samples], color=COLOURS[0], label="connected")
    ax[2].plot(at_s, [booted for _at, _connected, booted in samples], color=COLOURS[2], ls="--", label="booted")
    ax[0].set(ylabel="latency (ms)", title="A fleet over time")
    ax[1].set(ylabel="per second")
    ax[2].set(ylabel="charge points", xlabel="since the start (s)")
    for each in ax:
        each.set_ylim(bottom=0)
        each.legend(loc="best", fontsize="small")
    return ax


def power(
    samples: Sequence[tuple[float, int, float, int]],
    calls: pd.DataFrame,
    started_at: float,
    *,
    ax: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """A fleet of stations over time: what they deliver together, sessions at once, and what went wrong.

    The time is real time since the start, as in :func:`fleet`, so that failures can be seen beside it. Each station
    counts with what it delivers by its own clock at that moment, which may run many times as fast.

    Args:
        samples: Seconds since the start, sessions that go on, kW, transaction messages that wait.
        calls: One row for each call, as ``result.to_frame()`` returns them.
        started_at: The start, in seconds since the epoch.
        ax: Three Axes; a new figure when None.

    Raises:
        ValueError: There is nothing to plot, or ``ax`` is another number of Axes.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

    if not samples:
        raise ValueError("nothing to plot: no station of this fleet charged; write Fleet(…, station={…})")
    if ax is None:
        import matplotlib.pyplot as plt  # noqa: PLC0415 - as above

        ax = list(plt.subplots(3, 1, figsize=(8, 7), sharex=True, layout="constrained")[1])
    ax = require_axes(ax, 3)
    at_s, sessions, kw, waiting = zip(*samples, strict=True)
    ax[0].fill_between(at_s, kw, color=COLOURS[0], alpha=0.12, lw=0)
    ax[0].plot(at_s, kw, color=COLOURS[0], label="delivered by all stations")
    ax[1].plot(at_s, sessions, color=COLOURS[2], label="sessions at once")
    after_s = (calls.sent_at - pd.Timestamp(started_at, unit="s", tz="UTC")).dt.total_seconds()
    whole = max(1, round(max(at_s)))
    failed = after_s[~calls.outcome.isin(NOT_FAILED)].clip(0, whole - 1).astype("int64")
    count = failed.value_counts().reindex(range(whole), fill_value=0)
    ax[2].plot(count.index + 0.5, count, color=COLOURS[3], label="failures per second")
    ax[2].plot(at_s, waiting, color=COLOURS[1], ls="--", label="transaction messages that wait")
    ax[0].set(ylabel="power (kW)", title="Stations that charge")
    ax[1].set(ylabel="sessions")
    ax[2].set(ylabel="calls", xlabel="since the start (s of real time)")
    for each in ax:
        each.set_ylim(bottom=0)
        each.legend(loc="best", fontsize="small")
    return ax
