"""Follows the exchanges of one charge point along every hop. ``stack.trace(cp)``.

All moments are taken in this process, from one monotonic clock: there are no two clocks to compare. What a hop's time
means follows from that: a message is *seen* on a topic when the monitor's copy of it arrives here, by the monitor's own
connection. So the first hop contains the way from AWS IoT Core to the monitor, and the last one is too short by as
much: it may even be below 0. The time between the two topics has that way in both, and is right but for what the two
copies differ. On the local stack a copy's way is as long as the hops themselves, and two copies differ by as much: tell
hops apart there by the medians of many, to some tenths of a millisecond. A client in another process, which does
nothing else, sees the copies no earlier. On AWS hops take tens of milliseconds, and all this matters little.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cpsim_kit.aws.monitor import Monitor
from cpsim_kit.basics.cards import card
from cpsim_kit.basics.tables import table
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.records import MessageLog, Pairing, Record

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "HOP_COLUMNS", "Trace"]

COLUMNS = (
    "sent_at",
    "charge_point_id",
    "action",
    "message_id",
    "in_ms",
    "out_ms",
    "latency_ms",
    "outcome",
    "shadow_ms",
    "shadow_version",
)
HOP_COLUMNS = ("hop", "kind", "place", "after_ms", "took_ms")

_SETTLE = 5.0  # seconds to wait for copies on their way, at the end of the block
_LOOK = 0.02  # seconds between two looks
_OUTCOMES = {"CALLRESULT": "answered", "CALLERROR": "CALLERROR"}  # of the other kinds, none is an answer to a CALL


class Trace:
    """Every CALL that a charge point sends inside the block, hop by hop.

        async with stack.trace(cp) as trace:
            await cp.boot()
        trace.to_frame()

    Leaving the block waits for what is still on its way: the copies of answered CALLs, and the Device Shadow of a boot;
    for some seconds at most, and not after an error. Entered again, it begins anew. It follows as many exchanges as the
    charge point and the monitor keep.

    Args:
        monitor: Sees ``{id}/in``, ``{id}/out`` and the Device Shadow's updates; it is opened and closed here.
        charge_point: The charge point.
    """

    def __init__(self, monitor: Monitor, charge_point: ChargePoint) -> None:
        self._monitor = monitor
        self._charge_point = charge_point
        self._since = self._until = math.inf

    def __repr__(self) -> str:
        state = "not entered" if math.isinf(self._since) else f"{len(self._exchanges())} exchanges"
        return f"<Trace {self._charge_point.id} {state}>"

    def _repr_html_(self) -> str:
        state = "not entered" if math.isinf(self._since) else f"{len(self._exchanges())} exchanges"
        rows = {"topics": " ".join(self._monitor.filters), "messages seen": len(self._monitor), "table": ".to_frame()"}
        return card(f"Trace {self._charge_point.id}", state, rows)

    async def __aenter__(self) -> Self:
        """Subscribe; raises as ``Monitor`` does."""
        await self._monitor.__aenter__()
        self._since, self._until = time.perf_counter(), math.inf
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._until = time.perf_counter()
        try:
            if exc is None:
                await self._settle()
        finally:
            await self._monitor.close()

    async def _settle(self) -> None:
        try:
            async with asyncio.timeout(_SETTLE):
                seen = None
                while True:
                    logs = (self._charge_point.messages, self._monitor.messages)
                    if (now := [len(log) + log.dropped for log in logs]) != seen:  # parsed only where there is news
                        if all(map(_is_whole, self._exchanges().values())):
                            return
                        seen = now
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            pass  # what did not come is missing in the table

    def to_frame(self) -> pd.DataFrame:
        """One row per CALL that the charge point sent, with its outcome: "answered", "CALLERROR" or "no answer".

        ``in_ms``, ``out_ms``, ``latency_ms`` and ``shadow_ms`` are milliseconds since it was sent: until its copy was
        seen on ``{id}/in``, the answer's on ``{id}/out``, the answer at the charge point, and the Device Shadow's
        update with its payload, whose version is ``shadow_version``. What was not seen is missing. ``out_ms - in_ms``
        is the back end's time; this module's text says what the monitor's own way does to the others.
        """
        rows = []
        for exchange in self._exchanges().values():
            sent: Record = exchange["sent"]
            after = [_ms(sent, exchange.get(place)) for place in ("in", "out", "received", "shadow")]
            *hops, shadow_ms = after
            outcome = _OUTCOMES[exchange["received"].kind] if "received" in exchange else "no answer"
            head = (sent.sent_at, sent.charge_point_id, sent.action, sent.message_id)
            rows.append((*head, *hops, outcome, shadow_ms, _version(exchange)))
        return table(rows, COLUMNS)

    def hops(self, message_id: str | None = None) -> pd.DataFrame:
        """One exchange, a row per hop in the order of the path.

        ``after_ms`` is since the charge point sent it, ``took_ms`` since the row before: below 0 where the monitor's
        copy took longer than the message itself.

        Args:
            message_id: Whose; the last one's when None.

        Raises:
            ValueError: There is no such exchange here.
        """
        exchanges = self._exchanges()
        if not exchanges or (message_id is not None and message_id not in exchanges):
            which = "no exchange" if message_id is None else f"no exchange with the message id {message_id!r}"
            raise ValueError(f"{self!r}: {which}; the block `async with stack.trace(cp)` must contain it")
        exchange = exchanges[message_id or list(exchanges)[-1]]
        sent: Record = exchange["sent"]
        name = sent.charge_point_id
        places = {
            "sent": f"{name} sends",
            "in": f"{name}/in",
            "shadow": f"shadow version {_version(exchange)}",
            "out": f"{name}/out",
            "received": f"{name} receives",
        }
        rows, before = [], 0.0
        for hop, place in places.items():
            if hop in exchange:
                after = _ms(sent, exchange[hop])
                rows.append((hop, exchange[hop].kind, place, after, after - before))
                before = after
        return table(rows, HOP_COLUMNS)

    def _exchanges(self) -> dict[str, dict[str, Any]]:
        """Of each message id, the records by place; the first of each, as AWS may deliver one twice."""
        exchanges: dict[str, dict[str, Any]] = {}
        name = self._charge_point.id
        for moment, record in self._records(self._charge_point.messages):
            if record.direction == "sent" and record.kind == "CALL" and moment <= self._until:
                exchanges[record.message_id] = {"sent": record}
            elif record.direction == "received" and record.kind in _OUTCOMES and record.message_id in exchanges:
                exchanges[record.message_id].setdefault("received", record)
        versions = set()
        for _moment, seen in self._records(self._monitor.messages):
            exchange = exchanges.get(seen.message_id, {})
            if exchange and seen.topic == f"{name}/in" and seen.kind == "CALL":
                exchange.setdefault("in", seen)
            elif exchange and seen.topic == f"{name}/out" and seen.kind in _OUTCOMES:
                exchange.setdefault("out", seen)
            elif seen.topic.endswith("/documents") and (version := _version({"shadow": seen})) not in versions:
                versions.add(version)
                _give_shadow(seen, exchanges)
        return exchanges

    def _records(self, log: MessageLog) -> Iterator[tuple[float, Record]]:
        """What a log has since this was entered; what came before is not parsed."""
        pairing = Pairing()
        for moment, where, text in log.raw():
            if moment >= self._since:
                yield moment, pairing.record(moment, log.charge_point_id, where, text)


def _is_whole(exchange: dict[str, Any]) -> bool:
    """Whether all of an answered CALL was seen; a boot that was no CALLERROR is also to be found in the shadow."""
    if "received" not in exchange:
        return True
    reported = exchange["sent"].action == "BootNotification" and exchange["received"].kind == "CALLRESULT"
    return {"in", "out", *(["shadow"] if reported else [])} <= exchange.keys()


def _give_shadow(seen: Record, exchanges: dict[str, dict[str, Any]]) -> None:
    """Give a version of the shadow to the first CALL that has none and whose payload it reports.

    It names no message id. Versions come in the order of the CALLs, so it is the first, also where the next boot was
    sent before the copy arrived; but one that got as far as ``{id}/in``, where there is any.
    """
    try:
        reported = seen.payload["current"]["state"]["reported"].items()
    except (KeyError, TypeError, AttributeError):
        return
    fitting = []
    for exchange in exchanges.values():
        sent: Record = exchange["sent"]
        if "shadow" in exchange or sent.sent_at > seen.sent_at or not isinstance(sent.payload, dict):
            continue
        if sent.payload and sent.payload.items() <= reported:
            fitting.append(exchange)
    if fitting:
        next((each for each in fitting if "in" in each), fitting[0])["shadow"] = seen


def _version(exchange: dict[str, Any]) -> int | None:
    try:
        version: int = exchange["shadow"].payload["current"]["version"]
    except (KeyError, TypeError):
        return None
    return version


def _ms(sent: Record, seen: Record | None) -> float:
    return math.nan if seen is None else (seen.sent_at - sent.sent_at).total_seconds() * 1000
