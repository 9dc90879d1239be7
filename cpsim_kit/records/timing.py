"""Heartbeat timing as tables: latency, jitter, drift and outages, from any record of messages. No I/O.

- ``interval_s`` is the time since the heartbeat before.
- *Jitter* is ``interval_s`` minus the intended interval.
- An *outage* is a gap of more than one and a half intervals. It ends a *run*; the next heartbeat begins another one.
- *Drift* compares the heartbeats of a run with a grid of equal intervals, placed so that half of them are early: it is
  how far a heartbeat is from its place on the grid.

Jitter may be large while drift stays small. A drift that grows means that the actual interval is not the intended one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cpsim_kit.basics.tables import table
from cpsim_kit.records.outcomes import ANSWERED, NO_ANSWER, OF_KIND

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "OUTAGE_COLUMNS", "heartbeat_timing", "outages", "percentiles"]

COLUMNS = (
    "sent_at",
    "charge_point_id",
    "message_id",
    "after_s",
    "latency_ms",
    "outcome",
    "run",
    "interval_s",
    "jitter_ms",
    "drift_ms",
)
OUTAGE_COLUMNS = ("charge_point_id", "from_s", "to_s", "missed")

_OUTAGE = 1.5  # intervals; a longer gap is an outage


def heartbeat_timing(
    *records: Any, interval: float | Mapping[str, float] | None = None, action: str = "Heartbeat"
) -> pd.DataFrame:
    """One row for each heartbeat of each charge point, in the order of time.

    ``after_s`` counts from the very first heartbeat. ``outcome`` is "answered", "CALLERROR" or "no answer". Without an
    answer, ``latency_ms`` is missing; at the beginning of a run, ``interval_s`` and ``jitter_ms`` are.

    Args:
        *records: ``cp.messages``, a monitor, a loaded record, or another object whose ``to_frame()`` has the columns of
            :mod:`cpsim_kit.records.messages`; or such DataFrames.
        interval: The intended seconds between two heartbeats, or a dict of them by charge point; the median when None.
        action: An action to look at instead of heartbeats, e.g. "TransactionEvent".

    Raises:
        ValueError: ``interval`` is not above 0.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

    given = interval.values() if isinstance(interval, Mapping) else [] if interval is None else [interval]
    if not all(each > 0 for each in given):
        raise ValueError(f"interval is more than 0 seconds, not {interval!r}")
    frames = [record if isinstance(record, pd.DataFrame) else record.to_frame() for record in records]
    parts = [_beats(frame, action) for frame in frames]
    beats = pd.concat([part for part in parts if len(part)] or parts[:1] or [table([], _OF_RECORDS)])
    beats = beats.sort_values("sent_at", kind="stable", ignore_index=True)
    beats["after_s"] = (beats.sent_at - beats.sent_at.min()).dt.total_seconds()
    beats[["run", "interval_s", "jitter_ms", "drift_ms"]] = math.nan
    for charge_point_id, rows in beats.groupby("charge_point_id"):
        intended = interval.get(str(charge_point_id)) if isinstance(interval, Mapping) else interval
        _add_intervals(beats, rows.index, intended)
    return table(beats[list(COLUMNS)], COLUMNS).astype({"run": "int64"})


_OF_RECORDS = ("sent_at", "charge_point_id", "message_id", "latency_ms", "outcome")


def _beats(frame: pd.DataFrame, action: str) -> pd.DataFrame:
    """The CALLs of an action, each with its latency and outcome. AWS may deliver a message twice; it counts once."""
    key = ["charge_point_id", "message_id"]
    frame = frame[frame.action == action]
    calls = frame.loc[(frame.kind == "CALL") & (frame.direction == "sent"), ["sent_at", *key]]
    answers = frame.loc[(frame.kind != "CALL") & (frame.direction == "received"), [*key, "latency_ms", "kind"]]
    beats = calls.drop_duplicates(key).merge(answers.drop_duplicates(key), how="left", on=key)
    beats["outcome"] = beats.kind.astype("object").replace(OF_KIND).fillna(NO_ANSWER)
    return beats[list(_OF_RECORDS)]


def _add_intervals(beats: pd.DataFrame, index: pd.Index, intended: float | None) -> None:
    """Fill in run, interval, jitter and drift in the rows of one charge point."""
    after_s = beats.after_s[index]
    gap = after_s.diff()
    intended = gap.median() if intended is None else intended
    run = (gap > _OUTAGE * intended).cumsum()
    gap = gap.where(run == run.shift())
    off_grid = after_s - run.groupby(run).cumcount() * intended
    drift = off_grid - off_grid.groupby(run).transform("median")
    beats.loc[index, "run"] = run
    beats.loc[index, "interval_s"] = gap
    beats.loc[index, "jitter_ms"] = (gap - intended) * 1000
    beats.loc[index, "drift_ms"] = drift * 1000


def outages(timing: pd.DataFrame) -> pd.DataFrame:
    """One row for each outage of each charge point.

    ``from_s`` is the last heartbeat before, ``to_s`` the first after. ``missed`` is how many heartbeats were due
    between them: at least one, also when the interval is unknown, because each run has only one heartbeat.

    Args:
        timing: What :func:`heartbeat_timing` returned.
    """
    rows = []
    for charge_point_id, beats in timing.groupby("charge_point_id"):
        intended = (beats.interval_s - beats.jitter_ms / 1000).median()
        ends = beats.groupby("run").after_s.agg(["min", "max"])
        for before, after in zip(ends["max"][:-1], ends["min"][1:], strict=True):
            missed = 1 if math.isnan(intended) else max(1, round((after - before) / intended) - 1)
            rows.append((charge_point_id, before, after, missed))
    return table(rows, OUTAGE_COLUMNS).astype({"missed": "int64"})


def percentiles(
    timing: pd.DataFrame, *, by: str | None = "charge_point_id", levels: Sequence[float] = (50, 95, 99)
) -> pd.DataFrame:
    """Latency percentiles in milliseconds, one row for each group: count, p50, p95, p99, max, not answered.

    Args:
        timing: A table with ``latency_ms`` and ``outcome``, e.g. of :func:`heartbeat_timing`.
        by: A column to group by; None for one row.
        levels: Percentiles, from 0 to 100; interpolated linearly. A p99 of fewer than 100 values says little.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

    groups = [("all", timing)] if by is None else list(timing.groupby(by, observed=True))
    rows = {
        name: {"count": len(group)}
        | {f"p{level:g}": group.latency_ms.quantile(level / 100) for level in levels}
        | {"max": group.latency_ms.max(), "not answered": int((group.outcome != ANSWERED).sum())}
        for name, group in groups
    }
    columns = ["count", *(f"p{level:g}" for level in levels), "max", "not answered"]
    dtypes = {name: "int64" if name in {"count", "not answered"} else "float64" for name in columns}
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).astype(dtypes).rename_axis(by)
