"""The sessions of a fleet's stations: what each station itself knows, and what it said. No I/O.

A session is reported while it goes on, so that it is not lost with its process; a later report replaces the row.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cpsim_kit.basics.tables import table
from cpsim_kit.station.charging.session import TRUTH

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SESSIONS", "IncomingSessions", "SessionRow", "SessionTable"]

SESSIONS = (
    "charge_point_id",
    "transaction_id",
    "evse_id",
    "token",
    "version",
    "begin",
    "end",
    "true_wh",
    "reported_wh",
    "messages",
    "answered",
    "waiting",
    "given_up",
    "offline",
    "refused",
)
_UTC = "datetime64[ns, UTC]"


class SessionRow(NamedTuple):
    """One session of a station and one of its transactions; without a transaction its id is "".

    Moments are seconds since the epoch by the station's clock, registers are Wh; what does not exist is not a number.

    Attributes:
        charge_point_id: The station.
        number: Counts the station's sessions, from 0.
        part: Counts the transactions of the session, from 0.
        version: The OCPP version.
        evse_id: The EVSE; 0 while that is not known.
        token: The token that was accepted first, or "".
        refused: Why a token was refused last, or "".
        begin: When the session began.
        end: When it ended.
        transaction_id: As the CSMS knows it.
        start: When the transaction started.
        stop: When it ended.
        start_wh: The meter at its start.
        stop_wh: The meter at its end.
        now_wh: The meter when this was reported, or when the session ended.
        reported_start_wh: The meter at its start, as answered messages reported it.
        reported_stop_wh: The last register of an answered message.
        messages: How many messages the station made about the transaction.
        answered: How many of them were answered.
        given_up: How many of them will not be sent any more.
        offline: Whether one of them waited or happened without a connection.
    """

    charge_point_id: str
    number: int
    part: int
    version: str
    evse_id: int
    token: str
    refused: str
    begin: float
    end: float
    transaction_id: str
    start: float
    stop: float
    start_wh: float
    stop_wh: float
    now_wh: float
    reported_start_wh: float
    reported_stop_wh: float
    messages: int
    answered: int
    given_up: int
    offline: bool

    @property
    def has_ended(self) -> bool:
        """Whether the session is over."""
        return not math.isnan(self.end)

    @property
    def waiting(self) -> int:
        """How many messages were neither answered nor given up."""
        return max(0, self.messages - self.answered - self.given_up)

    @property
    def true_wh(self) -> float:
        """What the meter counted: in the transaction, until now while it runs."""
        stop_wh = round(self.now_wh) if math.isnan(self.stop_wh) else self.stop_wh
        return 0.0 if math.isnan(self.start_wh) else stop_wh - self.start_wh


class SessionTable:
    """The rows of all sessions, in the order of their first report."""

    def __init__(self) -> None:
        self.rows: list[SessionRow] = []

    def __len__(self) -> int:
        return len(self.rows)

    def to_frame(self) -> pd.DataFrame:
        """One row per session, by its begin; see ``FleetResult.sessions``."""
        rows = [
            (
                row.charge_point_id,
                row.transaction_id or None,
                row.evse_id,
                row.token or None,
                row.version,
                row.begin * 1e9,
                row.end * 1e9,
                row.true_wh,
                row.reported_stop_wh - row.reported_start_wh,
                row.messages,
                row.answered,
                row.waiting,
                row.given_up,
                row.offline,
                row.refused or None,
            )
            for row in self.rows
        ]
        frame = _frame(rows, SESSIONS).astype(
            {
                **dict.fromkeys(("begin", "end", "true_wh", "reported_wh"), "float64"),
                **dict.fromkeys(("evse_id", "messages", "answered", "waiting", "given_up"), "int64"),
                "version": "category",
                "offline": "bool",
            }
        )
        return _with_times(frame, ("begin", "end")).sort_values(
            ["begin", "charge_point_id"], kind="stable", ignore_index=True
        )

    def truth(self) -> pd.DataFrame:
        """One row per transaction, as ``station.truth()`` has them, with the charge point's id."""
        rows = [
            (
                row.charge_point_id,
                row.transaction_id,
                row.evse_id,
                row.start * 1e9,
                row.stop * 1e9,
                row.start_wh,
                row.stop_wh,
                row.stop_wh - row.start_wh,
            )
            for row in self.rows
            if row.transaction_id
        ]
        frame = _frame(rows, ("charge_point_id", *TRUTH)).astype(
            {**dict.fromkeys(TRUTH[2:], "float64"), "evse_id": int}
        )
        return _with_times(frame, ("start", "end"))


def _frame(rows: list[tuple[Any, ...]], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

    return table(pd.DataFrame(rows, columns=list(columns), dtype="object"), columns)  # pandas 3 takes None for text


def _with_times(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Make times of nanoseconds since the epoch; to a microsecond, as floats are no more precise."""
    import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

    return frame.assign(**{name: pd.to_datetime(frame[name], utc=True).dt.round("us").astype(_UTC) for name in names})


class IncomingSessions:
    """Adds the rows that one share reports to the table; a later row of the same session replaces the one before.

    Args:
        table: The table of this process.
    """

    def __init__(self, table: SessionTable) -> None:
        self._table = table
        self._places: dict[tuple[str, int, int], int] = {}

    def add(self, rows: Iterable[SessionRow]) -> None:
        """Add the rows of a report."""
        for row in rows:
            name = sys.intern(row.charge_point_id)
            key = (name, row.number, row.part)
            place = self._places.get(key)
            if place is None:
                if not row.has_ended or row.waiting:  # it will be reported again
                    self._places[key] = len(self._table.rows)
                self._table.rows.append(row._replace(charge_point_id=name))
                continue
            self._table.rows[place] = row._replace(charge_point_id=name)
            if row.has_ended and not row.waiting:
                del self._places[key]
