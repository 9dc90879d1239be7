"""The result of a fleet's run: tables, a summary and a picture of its calls. No I/O but saving."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cpsim_kit import plots
from cpsim_kit.basics.cards import card
from cpsim_kit.fleet.call_table import CallTable
from cpsim_kit.fleet.session_table import SessionTable
from cpsim_kit.records.outcomes import ANSWERED, NOT_FAILED, UNFINISHED

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["FleetResult"]


class FleetResult:
    """The calls of a fleet's run, and what became of its charge points; a cell shows the summary.

    Attributes:
        size: How many charge points the fleet has.
        connected: How many opened their connection at least once.
        booted: How many were accepted at least once.
        duration: Seconds from the first start to the end.
        interrupted: Whether the run was stopped before its time.
        lost: For each process of the fleet that ended before its time, the reason; also where its charge points started
            again in another process.
        samples: About every half second: seconds since the start, charge points connected, charge points booted.
        calls: The :class:`~cpsim_kit.fleet.call_table.CallTable`.
        load_samples: As ``samples``, of a fleet of stations: seconds since the start, sessions that go on, kW that all
            EVSEs together deliver, transaction messages that wait.
        session_table: The :class:`~cpsim_kit.fleet.session_table.SessionTable`.
        started_at: The start, in seconds since the epoch.
    """

    def __init__(self, size: int, started_at: float) -> None:
        self.size = size
        self.connected = self.booted = 0
        self.duration = 0.0
        self.interrupted = False
        self.lost: list[str] = []
        self.samples: list[tuple[float, int, int]] = []
        self.calls = CallTable()
        self.load_samples: list[tuple[float, int, float, int]] = []
        self.session_table = SessionTable()
        self.started_at = started_at

    def __repr__(self) -> str:
        return (
            f"<FleetResult {self.connected} of {self.size} connected, {self.booted} booted, "
            f"{len(self.calls)} calls, {self.calls.failures} failed, {self._charged}{self._state}>"
        )

    @property
    def _charged(self) -> str:
        """The sessions in words; "" for a fleet without stations."""
        rows = self.session_table.rows
        if not rows and not self.load_samples:
            return ""
        running = sum(not row.has_ended for row in rows)
        waiting, given_up = sum(row.waiting for row in rows), sum(row.given_up for row in rows)
        parts = [f"{len(rows)} sessions", f"{sum(row.true_wh for row in rows) / 1000:,.1f} kWh"]
        parts += [f"{running} go on"] if running else []
        parts += [f"{waiting} messages wait"] if waiting else []
        parts += [f"{given_up} messages given up"] if given_up else []
        return ", ".join(parts) + ", "

    @property
    def _state(self) -> str:
        parts = [f"{self.duration:.1f} s"]
        parts += ["interrupted"] if self.interrupted else []
        parts += [f"processes lost: {len(self.lost)}"] if self.lost else []
        return ", ".join(parts)

    def _repr_html_(self) -> str:
        rows = {
            "charge points": f"{self.connected} of {self.size} connected, {self.booted} booted",
            "calls": f"{len(self.calls)}, {self.calls.failures} failed",
            "charging": self._charged.removesuffix(", "),
        }
        actions: str = self.summary().round(1).to_html()
        return card("Fleet", self._state, rows) + actions

    def to_frame(self) -> pd.DataFrame:
        """One row per call, in the order of sending.

        ``latency_ms`` is the time from sending to the answer. ``response_ms`` is the time from when the call was *due*
        to the answer: a call may be sent late, because the call before was not answered yet or this process was busy.
        When the gateway stalls, ``response_ms`` shows it in every call that was due meanwhile, and ``latency_ms`` only
        in the one that had been sent ("coordinated omission"). Without an answer both are missing.

        ``outcome`` is "answered", "unfinished" or a kind of failure, which ``detail`` explains. "unfinished" are calls
        without an answer when the run ended; their ``response_ms`` is the time from when they were due to the end.
        Those that could not be sent by then are rows too: ``sent_at`` is when they were due. "error" is an error that
        is not the kit's, such as the TypeError of a call with a payload of another OCPP version.

        The action "connect" is the opening of a connection, due at its moment of the ramp; "connection" is the loss of
        a connection between two calls; "scenario" is an error that ended a scenario and did not come from a call.
        """
        return self.calls.to_frame()

    def summary(self) -> pd.DataFrame:
        """One row per action: its number of calls, failures and unfinished calls, and percentiles in milliseconds.

        p50, p95, p99 and max are of the latency of answered calls. ``response_p99_ms`` is of the time since each call
        was due, unfinished calls included.
        """
        import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

        frame = self.to_frame()
        rows = {}
        for action, calls in frame.groupby("action", observed=True, sort=False):
            answered = calls.latency_ms[calls.outcome == ANSWERED]
            unfinished = int((calls.outcome == UNFINISHED).sum())
            rows[action] = {
                "count": len(calls),
                "failures": len(calls) - len(answered) - unfinished,
                "unfinished": unfinished,
                "p50_ms": answered.quantile(0.5),
                "p95_ms": answered.quantile(0.95),
                "p99_ms": answered.quantile(0.99),
                "max_ms": answered.max(),
                "response_p99_ms": calls.response_ms.quantile(0.99),
            }
        columns = ["count", "failures", "unfinished", "p50_ms", "p95_ms", "p99_ms", "max_ms", "response_p99_ms"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("action")

    def failures(self) -> pd.DataFrame:
        """One row per kind of failure, the most frequent first: action, outcome, count, charge_points, first, detail.

        ``charge_points`` is how many charge points had this failure, ``first`` the id of the first one. In ``detail``
        the id is replaced by "…".
        """
        frame = self.to_frame()
        failed = frame[~frame.outcome.isin(NOT_FAILED)]
        ids = failed.groupby(["action", "outcome", "detail"], observed=True).charge_point_id
        counts = ids.agg(count="size", charge_points="nunique", first="first").reset_index()
        columns = ["action", "outcome", "count", "charge_points", "first", "detail"]
        return counts[columns].sort_values("count", ascending=False, ignore_index=True)

    def sessions(self) -> pd.DataFrame:
        """One row per session of a fleet of stations, by its begin; of several transactions each has a row.

        A session lasts from the cable or the token, whichever comes first, until both are gone.

        Returns:
            charge_point_id; transaction_id, as the CSMS knows it, None without one; evse_id; token, the one that was
            accepted first; version; begin and end, UTC, by the station's clock: a session that went on when the run
            ended has no end. true_wh is what the meter counted, until the end of the run where it went on. reported_wh
            is the same as the answered messages report it: their last register minus that of the start. messages is
            how many messages the station made about the transaction: answered, waiting (for an answer or a connection,
            when the run ended), and given_up (failed for the last time, or dropped from a full queue). offline: whether
            one of them happened or waited without a connection. refused: why a token was refused last.
        """
        return self.session_table.to_frame()

    def truth(self) -> pd.DataFrame:
        """What the stations' own meters showed: one row per transaction, for ``stack.transactions.compare(result)``.

        Columns: charge_point_id, transaction_id, evse_id, start and end (UTC), start_wh, end_wh, energy_wh. A
        transaction that ran when the run ended has no end.
        """
        return self.session_table.truth()

    def plot_power(self, *, ax: Sequence[Axes] | None = None) -> Sequence[Axes]:
        """Plot the power of all stations, sessions at once, and failures over real time; see ``plots.power``."""
        return plots.power(self.load_samples, self.to_frame(), self.started_at, ax=ax)

    def plot(self, *, ax: Sequence[Axes] | None = None) -> Sequence[Axes]:
        """Plot latency, throughput and connected charge points over time, one below the other; see ``plots.fleet``."""
        return plots.fleet(self.to_frame(), self.samples, self.started_at, ax=ax)

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Save :meth:`to_frame` as CSV."""
        self.to_frame().to_csv(path, index=False)
        return Path(path)

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Save :meth:`to_frame` as Parquet; needs ``pip install pyarrow``.

        Raises:
            ImportError: pyarrow is not installed, or too old.
        """
        frame = self.to_frame()
        try:
            frame.to_parquet(path, index=False)
        except ImportError as exc:
            raise ImportError(
                "to_parquet() needs pyarrow, which is missing or too old: pip install pyarrow; or save with to_csv()",
                name="pyarrow",
            ) from exc
        return Path(path)
