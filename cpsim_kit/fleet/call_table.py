"""The calls of many charge points in one compact table. No I/O.

A call takes 28 bytes and no Python object. The time of sending is in seconds since the epoch, so that the tables of
several processes can be joined; between machines these times are as good as the machines' clocks. Latencies are of the
monotonic clock.
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING

from cpsim_kit.basics.tables import table
from cpsim_kit.records.outcomes import ANSWERED, NOT_FAILED

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["COLUMNS", "CallTable", "Incoming", "Rows"]

COLUMNS = ("sent_at", "charge_point_id", "action", "latency_ms", "response_ms", "outcome", "detail")
# The columns as arrays, in which each word is a number; and for each column of words, the words that are new. The first
# new word has the number after the last word of the rows before.
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
        self._drained = dict.fromkeys(self.words(), 0)  # how many words of each column drain() has returned
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
        """Add one call; ``sent`` is in seconds since the epoch."""
        self._rows += _ROW.pack(
            self._ids[charge_point_id],
            sent,
            latency_ms,
            response_ms,
            self._actions[action],
            self._outcomes[outcome],
            self._details[detail],
        )
        self.failures += outcome not in NOT_FAILED

    def arrays(self, begin: int = 0) -> dict[str, np.ndarray]:
        """The columns as NumPy arrays, from this row on; copies."""
        import numpy as np  # noqa: PLC0415 - comes with pandas

        rows = np.frombuffer(self._rows[begin * _ROW.size :], list(_DTYPES.items()))
        return {name: rows[name].copy() for name in _DTYPES}

    def words(self) -> dict[str, list[str]]:
        """The words of the columns ``id``, ``action``, ``outcome`` and ``detail``; a number is a place in the list."""
        return {name: list(words) for name, words in self._words().items()}

    def drain(self) -> Rows:
        """Remove all rows and return them, for :class:`Incoming` of another table; words stay."""
        arrays, words = self.arrays(), {}
        for name, all_words in self._words().items():
            words[name] = list(itertools.islice(all_words, self._drained[name], None))
            self._drained[name] = len(all_words)
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
    """Adds the rows that one other table drains, usually in another process, to a table of this process.

    The other table sends each word once, with the rows that use it first, so that thousands of ids are not sent again
    and again.

    Args:
        table: The table of this process.
    """

    def __init__(self, table: CallTable) -> None:
        import numpy as np  # noqa: PLC0415 - comes with pandas

        self._table = table
        self._numbers = {name: np.empty(0, "uint32") for name in table.words()}  # by the other table's number

    def add(self, rows: Rows) -> None:
        """Add the rows of the other table's ``drain()``; each only once, and in their order."""
        import numpy as np  # noqa: PLC0415 - comes with pandas

        arrays, new_words = rows
        for name, words in self._table._words().items():
            new = np.array([words[word] for word in new_words[name]], "uint32")
            self._numbers[name] = np.concatenate([self._numbers[name], new])
        own = np.empty(len(arrays["sent"]), list(_DTYPES.items()))
        for name, values in arrays.items():
            own[name] = self._numbers[name][values] if name in self._numbers else values
        self._table._rows += own.tobytes()
        good = [number for word, number in self._table._outcomes.items() if word in NOT_FAILED]
        self._table.failures += int((~np.isin(own["outcome"], good)).sum())
