"""The calls of many charge points in compact arrays: what a fleet measured. No I/O but saving.

A call takes 28 bytes and no object. When it was sent is kept as seconds since the epoch, so that the tables of several
processes can be put together; between machines it is as good as their clocks. Latencies are of the monotonic clock.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cpsim_kit import plots
from cpsim_kit.basics.cards import card
from cpsim_kit.basics.tables import table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["ANSWERED", "COLUMNS", "FAULT", "UNFINISHED", "CallTable", "FleetResult", "Incoming", "Rows"]

COLUMNS = ("sent_at", "charge_point_id", "action", "latency_ms", "response_ms", "outcome", "detail")
ANSWERED, UNFINISHED = "answered", "unfinished"
FAULT = "error"  # an error that is not the kit's, of the scenario or in what it gave the kit
_NO_FAILURES = frozenset((ANSWERED, UNFINISHED))
# The columns as arrays, in which words are numbers; and the words that the numbers up to now mean, of each column.
Rows = tuple[dict[str, "np.ndarray"], dict[str, list[str]]]
_ROW = struct.Struct("=IdffHHI")
_DTYPES = {
    "id": "uint32",
    "sent": "float64",
    "latency": "float32",
    "response": "float32",
    "action": "uint16",
    "outcome": "uint16",
    "detail": "uint32",
}


class _Words(dict[str, int]):
    """The numbers of words; a new word gets the next one."""

    def __init__(self, *words: str) -> None:
        super().__init__({word: number for number, word in enumerate(words)})

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


class CallTable:
    """Rows of calls, appended one by one."""

    def __init__(self) -> None:
        self._rows = bytearray()
        self._ids, self._actions, self._outcomes, self._details = _Words(), _Words(), _Words(ANSWERED), _Words("")
        self._told = dict.fromkeys(self.words(), 0)  # how many of the words take() has told
        self.failures = 0

    def __len__(self) -> int:
        return len(self._rows) // _ROW.size

    def add(
        self,
        charge_point_id: str,
        action: str,
        sent: float,
        latency_ms: float,
        response_ms: float,
        outcome: str = ANSWERED,
        detail: str = "",
    ) -> None:
        """One call; ``sent`` in seconds since the epoch."""
        self._rows += _ROW.pack(
            self._ids[charge_point_id],
            sent,
            latency_ms,
            response_ms,
            self._actions[action],
            self._outcomes[outcome],
            self._details[detail],
        )
        self.failures += outcome not in _NO_FAILURES

    def arrays(self, begin: int = 0) -> dict[str, np.ndarray]:
        """The columns as NumPy arrays, from this row on; copies."""
        import numpy as np  # noqa: PLC0415 - comes with pandas

        rows = np.frombuffer(self._rows[begin * _ROW.size :], list(_DTYPES.items()))
        return {name: rows[name].copy() for name in _DTYPES}

    def words(self) -> dict[str, list[str]]:
        """What the numbers in ``id``, ``action``, ``outcome`` and ``detail`` mean."""
        return {name: list(words) for name, words in self._words().items()}

    def take(self) -> Rows:
        """The rows since this was asked before, for :class:`Incoming`; they are forgotten here."""
        arrays, words = self.arrays(), {}
        for name, all_words in self._words().items():
            words[name] = list(itertools.islice(all_words, self._told[name], None))
            self._told[name] = len(all_words)
        self._rows.clear()
        return arrays, words

    def _words(self) -> dict[str, _Words]:
        return {"id": self._ids, "action": self._actions, "outcome": self._outcomes, "detail": self._details}

    def to_frame(self) -> pd.DataFrame:
        """One row per call in the order of sending, in the columns of :data:`COLUMNS`; see ``FleetResult.to_frame``."""
        import numpy as np  # noqa: PLC0415 - comes with pandas
        import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

        arrays, words = self.arrays(), self.words()
        frame = pd.DataFrame(
            {
                "sent_at": pd.to_datetime((arrays["sent"] * 1e6).round().astype("int64") * 1000, utc=True),
                "charge_point_id": np.array(words["id"], "object")[arrays["id"]],
                "action": pd.Categorical.from_codes(arrays["action"].astype("int64"), words["action"]),
                "latency_ms": arrays["latency"],
                "response_ms": arrays["response"],
                "outcome": pd.Categorical.from_codes(arrays["outcome"].astype("int64"), words["outcome"]),
                "detail": np.array(words["detail"], "object")[arrays["detail"]],
            }
        )
        return table(frame, COLUMNS).sort_values("sent_at", kind="stable", ignore_index=True)


class Incoming:
    """Puts what another table tells by ``take`` into one, from another process as a rule.

    Words come once, with the rows they are first used in, so that thousands of ids are not sent again and again.

    Args:
        table: Where the rows go.
    """

    def __init__(self, table: CallTable) -> None:
        import numpy as np  # noqa: PLC0415 - comes with pandas

        self._table = table
        self._numbers = {name: np.empty(0, "uint32") for name in table.words()}  # the other's numbers -> this one's

    def add(self, rows: Rows) -> None:
        """Add rows."""
        import numpy as np  # noqa: PLC0415 - comes with pandas

        arrays, new_words = rows
        for name, words in self._table._words().items():
            new = np.array([words[word] for word in new_words[name]], "uint32")
            self._numbers[name] = np.concatenate([self._numbers[name], new])
        own = np.empty(len(arrays["sent"]), list(_DTYPES.items()))
        for name, values in arrays.items():
            own[name] = self._numbers[name][values] if name in self._numbers else values
        self._table._rows += own.tobytes()
        good = [number for word, number in self._table._outcomes.items() if word in _NO_FAILURES]
        self._table.failures += int((~np.isin(own["outcome"], good)).sum())


class FleetResult:
    """What a run of a fleet measured; shown in a cell, it is its summary.

    Attributes:
        size: How many charge points there were to start.
        connected: How many opened their connection at least once.
        booted: How many were accepted at least once.
        duration: Seconds from the first start to the end.
        interrupted: Whether the run was stopped before its time.
        lost: Why processes of the fleet ended before their time, if any did, those whose charge points started again in
            another one included.
        samples: Each half second or so: seconds since the start, charge points connected, charge points booted.
    """

    def __init__(self, size: int, started_at: float) -> None:
        self.size = size
        self.connected = self.booted = 0
        self.duration = 0.0
        self.interrupted = False
        self.lost: list[str] = []
        self.samples: list[tuple[float, int, int]] = []
        self.calls = CallTable()
        self.started_at = started_at

    def __repr__(self) -> str:
        return (
            f"<FleetResult {self.connected} of {self.size} connected, {self.booted} booted, "
            f"{len(self.calls)} calls, {self.calls.failures} failed, {self._state}>"
        )

    @property
    def _state(self) -> str:
        said = [f"{self.duration:.1f} s"]
        said += ["interrupted"] if self.interrupted else []
        said += [f"processes lost: {len(self.lost)}"] if self.lost else []
        return ", ".join(said)

    def _repr_html_(self) -> str:
        rows = {
            "charge points": f"{self.connected} of {self.size} connected, {self.booted} booted",
            "calls": f"{len(self.calls)}, {self.calls.failures} failed",
        }
        actions: str = self.summary().round(1).to_html()
        return card("Fleet", self._state, rows) + actions

    def to_frame(self) -> pd.DataFrame:
        """One row per call, in the order of sending.

        ``latency_ms`` is the time from sending to the answer; ``response_ms`` the time from when the call was *due*: it
        contains the wait of a call that could not be sent in time, because the one before was not answered yet or this
        process was late. A stall shows in ``response_ms`` for every call that was due during it, and in ``latency_ms``
        only for the one that happened to be on its way ("coordinated omission"). Both are missing without an answer,
        but for calls that are "unfinished" at the end of the run: ``response_ms`` is how long they were due by then,
        and those that were due and could not even be sent are there too, with the moment they were due at as
        ``sent_at``. Other values of ``outcome`` are "answered" and the kinds of failure, of which ``detail`` says more;
        "error" is one that is not the kit's, such as the TypeError of a call whose payload is of another OCPP version.
        The action "connect" is the opening of a connection, due as the ramp has it; "connection" is its loss between
        two calls, and "scenario" an error that ended a scenario and is not of a call.
        """
        return self.calls.to_frame()

    def summary(self) -> pd.DataFrame:
        """Per action how many calls, failures and unfinished ones, and milliseconds of those answered.

        p50, p95, p99 and max are of the latency, ``response_p99_ms`` of the time since the call was due, in which
        unfinished ones count as well.
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
        """How often which failure, with its reason: action, outcome, count, charge_points, first, detail.

        ``charge_points`` is how many had it, ``first`` the id of the first of them, which is "…" in ``detail``.
        """
        frame = self.to_frame()
        failed = frame[~frame.outcome.isin([ANSWERED, UNFINISHED])]
        ids = failed.groupby(["action", "outcome", "detail"], observed=True).charge_point_id
        counts = ids.agg(count="size", charge_points="nunique", first="first").reset_index()
        columns = ["action", "outcome", "count", "charge_points", "first", "detail"]
        return counts[columns].sort_values("count", ascending=False, ignore_index=True)

    def plot(self, *, ax: Sequence[Axes] | None = None) -> Sequence[Axes]:
        """Latency, throughput and connected charge points over time, one below the other; see ``plots.fleet``."""
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
