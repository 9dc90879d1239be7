"""The ledger of transactions that the kit's message processor keeps: a DynamoDB table of the gateway's stack.

`cpsim_kit/local/message_processor.py` says what an item holds. This reads it, and compares it with what stations know
of themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol

from cpsim_kit.aws.ledger_table import LedgerTable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StationLike", "Transactions"]

_COLUMNS = {
    "charge_point_id": "str",
    "transaction_id": "str",
    "evse": "Int64",
    "token": "object",
    "version": "category",
    "start": "datetime64[us, UTC]",
    "end": "datetime64[us, UTC]",
    "start_wh": "float64",
    "end_wh": "float64",
    "energy_wh": "float64",
    "state": "category",
    "stopped_reason": "object",
    "missing": "object",
}
_COMPARED = {
    "charge_point_id": "str",
    "transaction_id": "object",
    "ledger_wh": "float64",
    "station_wh": "float64",
    "difference_wh": "float64",
    "missing": "object",
}
_MOST_MISSING = 10_000  # seqNos in a cell; a station that says a huge seqNo misses as many


class StationLike(Protocol):
    """A station, or what has the truth of several: a fleet's result. It is compared with the ledger.

    A station has an ``id``; where there is none, the table has a column ``charge_point_id``.
    """

    def truth(self) -> pd.DataFrame:
        """One row per transaction: transaction_id, start_wh, end_wh, start, end; the end is missing while it runs."""


class Transactions:
    """The ledger of a stack; made by the stack as ``stack.transactions``.

    On AWS it needs dynamodb:Scan on the table.

    Args:
        table: The table.
    """

    def __init__(self, table: LedgerTable) -> None:
        self._table = table

    def __repr__(self) -> str:
        return self._table.describe("Transactions")

    def _repr_html_(self) -> str:
        calls = {
            "all of them": "await stack.transactions.to_frame()",
            "against a station": "await stack.transactions.compare(station)",
        }
        return self._table.card("Transactions", calls)

    async def to_frame(self) -> pd.DataFrame:
        """All transactions, by their starts.

        Returns:
            One row per transaction: charge_point_id, transaction_id, evse (OCPP 1.6: the connector), token, version
            ("2.0.1" also for 2.1), start, end, start_wh, end_wh, energy_wh (while it runs, by the last register), state
            ("running" or "ended"), stopped_reason, and missing: a list of the seqNos that have not come (OCPP 2.x).
            What the station did not say is missing in the table.

        Raises:
            NotFound: The stack has no table of transactions.
            AwsError: AWS refused.
        """
        return await asyncio.to_thread(_to_frame, await self._table.items())

    async def compare(self, *stations: StationLike) -> pd.DataFrame:
        """Compare the ledger with what stations know of themselves. The ledger is read once, however many there are.

        Args:
            *stations: The stations, or the results of fleets of stations.

        Returns:
            One row per transaction of the stations: charge_point_id, transaction_id, ledger_wh, station_wh,
            difference_wh (ledger - station), missing (a list of the seqNos that the ledger has not seen). ledger_wh is
            missing if the ledger does not know the transaction, station_wh while it runs.

        Raises:
            TypeError: There is no station, or one has no ``truth()``.
            NotFound: The stack has no table of transactions.
            AwsError: AWS refused.
        """
        if not stations:
            raise TypeError("compare() needs a station: await stack.transactions.compare(station)")
        for station in stations:
            if not hasattr(station, "truth"):
                raise TypeError(f"compare() takes stations, which have truth(), not {station!r}")
        truths = [truth for station in stations for truth in _truths(station)]
        return await asyncio.to_thread(_compare, await self._table.items(), truths)


def _truths(station: Any) -> list[tuple[str, pd.DataFrame]]:
    """The truth of a station, or of each station of a fleet's result, with the charge point's id."""
    truth = station.truth()
    if "charge_point_id" not in truth.columns:
        return [(station.id, truth)]
    return [(str(charge_point_id), rows) for charge_point_id, rows in truth.groupby("charge_point_id", sort=False)]


def _to_frame(items: Sequence[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - half a second, in a thread, so that charge points go on

    rows = [
        (
            item["chargePointId"],
            item["transactionId"],
            item.get("evseId", item.get("connectorId")),
            item.get("idToken"),
            item.get("version"),
            item.get("startedAt"),
            item.get("endedAt"),
            item.get("startWh"),
            item.get("endWh"),
            _energy(item),
            item.get("state"),
            item.get("stoppedReason"),
            list(islice(_missing(item), _MOST_MISSING)),
        )
        for item in items
    ]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS), dtype="object")
    for name in ("start", "end"):  # as stations write them: other zones, other precisions, and what is not a time
        frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601", errors="coerce")
    frame = frame.astype(_COLUMNS)
    return frame.sort_values(["start", "charge_point_id", "transaction_id"], ignore_index=True)


def _compare(items: Sequence[dict[str, Any]], truths: Sequence[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - as above

    ledger = {(item["chargePointId"], item["transactionId"]): item for item in items}
    rows = []
    for charge_point_id, truth in truths:
        own = pd.to_numeric(truth["end_wh"]) - pd.to_numeric(truth["start_wh"])
        for transaction_id, station_wh in zip(truth["transaction_id"], own, strict=True):
            name = None if pd.isna(transaction_id) else _id_text(transaction_id)  # OCPP 1.6: not given yet
            item = {} if name is None else ledger.get((charge_point_id, name), {})
            ledger_wh = _energy(item)
            difference = None if ledger_wh is None else ledger_wh - station_wh
            missing = list(islice(_missing(item), _MOST_MISSING))
            rows.append((charge_point_id, name, ledger_wh, station_wh, difference, missing))
    return pd.DataFrame(rows, columns=list(_COMPARED), dtype="object").astype(_COMPARED)


def _id_text(transaction_id: Any) -> str:
    """The id as the ledger has it: OCPP 1.6 has integers, which pandas makes floats where one is missing."""
    is_whole = isinstance(transaction_id, float) and transaction_id.is_integer()
    return str(int(transaction_id) if is_whole else transaction_id)


def _energy(item: dict[str, Any]) -> float | None:
    """The Wh of a transaction; None if the station has not said both registers."""
    end = item.get("endWh", item.get("lastWh"))
    return None if end is None or "startWh" not in item else float(end) - float(item["startWh"])


def _missing(item: dict[str, Any]) -> Iterator[int]:
    """The seqNos that have not come, of a text as "4,7-9"."""
    pairs = (part.partition("-") for part in item.get("seqNosMissing", "").split(",") if part)
    return chain.from_iterable(range(int(first), int(last or first) + 1) for first, _, last in pairs)
