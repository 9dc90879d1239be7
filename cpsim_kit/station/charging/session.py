"""The record of a session: what the station itself knows of it, whatever it sent. Does no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from cpsim_kit.basics.cards import card
from cpsim_kit.basics.tables import table
from cpsim_kit.records.messages import MessageLog
from cpsim_kit.station.charging.transaction import Transaction

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["TRUTH", "Row", "Session", "truth_frame"]

TRUTH = ("transaction_id", "evse_id", "start", "end", "start_wh", "end_wh", "energy_wh")


class Row(NamedTuple):
    """The state of an EVSE at one moment; the columns of :meth:`Session.to_frame`."""

    at: float
    state: str
    demand_kw: float
    limit_kw: float
    offered_kw: float
    power_kw: float
    energy_kwh: float
    soc: float
    limit_by: str = "EVSE"


@dataclass(slots=True, eq=False)
class Session:
    """What happened at an EVSE from the cable or the token, whichever came first, until both were gone.

    A cable that hangs in the socket afterwards belongs to no session.

    Attributes:
        evse_id: The EVSE; 0 while that is not known.
        epoch: Seconds since the epoch at the station's moment 0.
        begin: When it began, in seconds of the station's clock.
        end: When it ended; None while it goes on.
        token: The id of the token that was accepted first, or "".
        refused: Why a token was refused last: the CSMS's status, or the station's reason in words; "" for never.
        begin_wh: The meter's register when it began.
        end_wh: The meter's register when it ended; None while it goes on.
        transactions: Its transactions, oldest first.
        rows: A row for each change and each meter reading.
        keeps_rows: Whether rows are kept.
        first_message: The moment of ``time.perf_counter()`` before its first message; None without messages.
        last_message: The moment after the answer to its last one.
        log: The messages of the charge point.
    """

    evse_id: int
    epoch: float
    begin: float
    begin_wh: float
    keeps_rows: bool = True
    end: float | None = None
    end_wh: float | None = None
    token: str = ""
    refused: str = ""
    transactions: list[Transaction] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    first_message: float | None = None
    last_message: float | None = None
    log: Callable[[], MessageLog] | None = None

    def __repr__(self) -> str:
        state = "goes on" if self.end is None else "ended"
        return f"<Session at EVSE {self.evse_id} {state}, {self.energy_wh / 1000:.3f} kWh>"

    def _repr_html_(self) -> str:
        rows = {name.replace("_", " "): value for name, value in self.summary().items()}
        return card(f"Session at EVSE {self.evse_id}", "goes on" if self.end is None else "ended", rows)

    @property
    def energy_wh(self) -> float:
        """What was delivered, in whole watt-hours, as its meter counts them.

        While it goes on: up to its last row; 0 without rows.
        """
        if self.end_wh is not None:
            return round(self.end_wh) - round(self.begin_wh)
        return round(self.rows[-1].energy_kwh * 1000) - round(self.begin_wh) if self.rows else 0

    @property
    def transaction_id(self) -> str:
        """The id of its last transaction, as the CSMS knows it; "" without one."""
        return self.transactions[-1].id if self.transactions else ""

    @property
    def messages(self) -> MessageLog:
        """The messages from its first to its last, with their answers.

        Heartbeats and messages that name another EVSE or another transaction are left out. They are taken from the
        charge point's record; empty if that is off.
        """
        chosen = MessageLog(None)
        if self.log is None or self.first_message is None:
            return chosen
        whole = self.log()
        chosen.charge_point_id = whole.charge_point_id
        last = math.inf if self.end is None or self.last_message is None else self.last_message
        mine: set[tuple[str, bool]] = set()  # the CALLs, by id and whether the charge point sent them
        for record, (moment, sent, text) in zip(whole, whole.raw(), strict=True):
            if not self.first_message <= moment <= last:
                continue
            key = record.message_id, bool(sent) == (record.kind == "CALL")
            if record.kind == "CALL" and self._is_mine(record.action, record.payload):
                mine.add(key)
            if key in mine:
                chosen.add(moment, text, sent=bool(sent))
        return chosen

    def _is_mine(self, action: str, payload: Any) -> bool:
        if action == "Heartbeat" or not isinstance(payload, dict):
            return False
        evse = payload.get("evse")
        named = evse.get("id") if isinstance(evse, dict) else payload.get("evseId", payload.get("connectorId"))
        if named is not None and self.evse_id and named != self.evse_id:
            return False
        info = payload.get("transactionInfo")
        transaction_id = info.get("transactionId") if isinstance(info, dict) else payload.get("transactionId")
        return transaction_id is None or any(str(transaction_id) == each.id for each in self.transactions)

    def to_frame(self) -> pd.DataFrame:
        """One row for each change and each meter reading.

        Columns: at (UTC), state, demand_kw, limit_kw, offered_kw, power_kw, energy_kwh (the meter's register), soc,
        limit_by (the id of the charging profile that limits it, "external", or "EVSE" for cable and EVSE).
        """
        rows = [(_utc(self.epoch + row.at), *row[1:]) for row in self.rows]
        return table(rows, Row._fields).astype(
            {"at": "datetime64[ns, UTC]", **dict.fromkeys(Row._fields[2:-1], "float64")}
        )

    def summary(self) -> dict[str, Any]:
        """Its facts by name: evse_id, token, refused, begin, end (UTC), minutes, energy_wh, soc, transaction_ids.

        A value that does not exist, such as the end while it goes on, is None.
        """
        minutes = None if self.end is None else round((self.end - self.begin) / 60, 2)
        socs = [row.soc for row in self.rows if not math.isnan(row.soc)]
        return {
            "evse_id": self.evse_id,
            "token": self.token or None,
            "refused": self.refused or None,
            "begin": _utc(self.epoch + self.begin),
            "end": None if self.end is None else _utc(self.epoch + self.end),
            "minutes": minutes,
            "energy_wh": self.energy_wh,
            "soc": f"{socs[0]:.1%} to {socs[-1]:.1%}" if socs else None,
            "transaction_ids": ", ".join(each.id for each in self.transactions) or None,
        }

    def plot(self, ax: Sequence[Axes] | None = None) -> Sequence[Axes]:
        """Draw power, limit and state of charge over time: see :func:`cpsim_kit.plots.sessions`."""
        from cpsim_kit import plots  # noqa: PLC0415 - half a second that a load generator need not spend

        return plots.sessions([self], ax=ax)


def truth_frame(transactions: Sequence[Transaction], epoch: float) -> pd.DataFrame:
    """One row for each transaction, with the columns of :data:`TRUTH`: what the meter showed, whatever was sent."""
    rows = [
        (
            each.id,
            each.evse_id,
            _utc(epoch + each.start),
            None if each.end is None else _utc(epoch + each.end),
            each.start_wh,
            each.end_wh,
            each.end_wh - each.start_wh,
        )
        for each in transactions
    ]
    moments = dict.fromkeys(("start", "end"), "datetime64[ns, UTC]")
    return table(rows, TRUTH).astype({**moments, **dict.fromkeys(TRUTH[4:], "float64"), "evse_id": "int64"})


def _utc(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
