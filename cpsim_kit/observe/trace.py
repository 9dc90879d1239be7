"""Follows the exchanges of one charge point along every hop: ``stack.trace(cp)``.

All moments are taken in this process, from one monotonic clock. A message counts as *seen* on a topic when the
monitor's copy of it arrives in this process, over the monitor's own connection. This has consequences:

- ``in_ms`` includes the copy's way from AWS IoT Core to the monitor. The last hop, from ``out_ms`` to ``latency_ms``,
  is too short by about as much, and may be below 0.
- ``out_ms - in_ms`` is right except for the difference between the ways of the two copies, as both include one.
- On the local stack a copy's way takes as long as a hop. Compare the medians of many exchanges there; they are good to
  some tenths of a millisecond. A monitor in another process would not see the copies earlier.
- On AWS a hop takes tens of milliseconds, so all this matters little.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cpsim_kit.aws.monitor import Monitor
from cpsim_kit.basics.cards import card
from cpsim_kit.basics.tables import table
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.records import MessageLog, Pairing, Record
from cpsim_kit.records.outcomes import NO_ANSWER, OF_KIND

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

_POLL = 0.02  # seconds

_Exchange = dict[str, Record]  # by hop: sent, in, shadow, out, received; without those that were not seen


class Trace:
    """Every CALL that a charge point sends inside the block, hop by hop.

        async with stack.trace(cp) as trace:
            await cp.boot()
        trace.to_frame()

    Leaving the block waits for copies that have not arrived yet: those of answered CALLs, and the Device Shadow's
    update of a boot. It does not wait after an error. When entered again, it starts with an empty table. It follows as
    many exchanges as the charge point and the monitor keep.

    Args:
        monitor: Sees ``{id}/in``, ``{id}/out`` and the Device Shadow's updates; the trace opens and closes it.
        charge_point: The charge point.
        settle: The longest time to wait for copies at the end of the block, in seconds.
    """

    def __init__(self, monitor: Monitor, charge_point: ChargePoint, *, settle: float = 5.0) -> None:
        self._monitor = monitor
        self._charge_point = charge_point
        self._settle = settle
        self._since = self._until = math.inf

    def __repr__(self) -> str:
        return f"<Trace {self._charge_point.id} {self._state()}>"

    def _repr_html_(self) -> str:
        rows = {"topics": " ".join(self._monitor.filters), "messages seen": len(self._monitor), "table": ".to_frame()"}
        return card(f"Trace {self._charge_point.id}", self._state(), rows)

    def _state(self) -> str:
        return "not entered" if math.isinf(self._since) else f"{len(self._exchanges())} exchanges"

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
                await self._wait_for_copies()
        finally:
            await self._monitor.close()

    async def _wait_for_copies(self) -> None:
        logs = (self._charge_point.messages, self._monitor.messages)
        try:
            async with asyncio.timeout(self._settle):
                counts = None
                while True:
                    if (now := [len(log) + log.dropped for log in logs]) != counts:  # parse only new messages
                        if all(map(_is_complete, self._exchanges().values())):
                            return
                        counts = now
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            pass  # the table lacks what has not arrived

    def to_frame(self) -> pd.DataFrame:
        """One row for each CALL that the charge point sent, with its outcome: "answered", "CALLERROR" or "no answer".

        Each time is in milliseconds since the CALL was sent, and missing when the message was not seen:

        - ``in_ms``: the CALL's copy was seen on ``{id}/in``.
        - ``out_ms``: the answer's copy was seen on ``{id}/out``. ``out_ms - in_ms`` is the back end's time.
        - ``latency_ms``: the charge point received the answer.
        - ``shadow_ms``: the Device Shadow's update with the CALL's payload was seen; its version is ``shadow_version``.

        The text of this module says how the monitor's own connection changes these times.
        """
        rows = []
        for exchange in self._exchanges().values():
            sent = exchange["sent"]
            *hops, shadow_ms = [_ms(sent, exchange.get(hop)) for hop in ("in", "out", "received", "shadow")]
            outcome = OF_KIND[exchange["received"].kind] if "received" in exchange else NO_ANSWER
            head = (sent.sent_at, sent.charge_point_id, sent.action, sent.message_id)
            rows.append((*head, *hops, outcome, shadow_ms, _version(exchange)))
        return table(rows, COLUMNS)

    def hops(self, message_id: str | None = None) -> pd.DataFrame:
        """One exchange: a row for each hop, in the order of the path.

        ``after_ms`` is the time since the charge point sent the CALL, ``took_ms`` the time since the row before. It is
        below 0 when the monitor's copy took longer than the message itself.

        Args:
            message_id: The CALL's message id; that of the last exchange when None.

        Raises:
            ValueError: There is no such exchange here.
        """
        exchanges = self._exchanges()
        if not exchanges or (message_id is not None and message_id not in exchanges):
            which = "no exchange" if message_id is None else f"no exchange with the message id {message_id!r}"
            raise ValueError(f"{self!r}: {which}; the block `async with stack.trace(cp)` must contain it")
        exchange = exchanges[message_id or list(exchanges)[-1]]
        sent = exchange["sent"]
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

    def _exchanges(self) -> dict[str, _Exchange]:
        """The exchanges by message id. Of each hop the first record counts: AWS may deliver a message twice."""
        exchanges: dict[str, _Exchange] = {}
        name = self._charge_point.id
        for moment, record in self._records(self._charge_point.messages):
            if record.direction == "sent" and record.kind == "CALL" and moment <= self._until:
                exchanges[record.message_id] = {"sent": record}
            elif record.direction == "received" and record.kind in OF_KIND and record.message_id in exchanges:
                exchanges[record.message_id].setdefault("received", record)
        versions = set()
        for _moment, seen in self._records(self._monitor.messages):
            exchange = exchanges.get(seen.message_id, {})
            if exchange and seen.topic == f"{name}/in" and seen.kind == "CALL":
                exchange.setdefault("in", seen)
            elif exchange and seen.topic == f"{name}/out" and seen.kind in OF_KIND:
                exchange.setdefault("out", seen)
            elif seen.topic.endswith("/documents") and (version := _version({"shadow": seen})) not in versions:
                versions.add(version)
                _assign_shadow(seen, exchanges)
        return exchanges

    def _records(self, log: MessageLog) -> Iterator[tuple[float, Record]]:
        """The messages of a log since this trace was entered; those before are not parsed."""
        pairing = Pairing()
        for moment, where, text in log.raw():
            if moment >= self._since:
                yield moment, pairing.record(moment, log.charge_point_id, where, text)


def _is_complete(exchange: _Exchange) -> bool:
    """Whether every hop of an answered CALL was seen. An answered boot is reported in the shadow, too."""
    if "received" not in exchange:
        return True
    reported = exchange["sent"].action == "BootNotification" and exchange["received"].kind == "CALLRESULT"
    return {"in", "out", *(["shadow"] if reported else [])} <= exchange.keys()


def _assign_shadow(seen: Record, exchanges: dict[str, _Exchange]) -> None:
    """Assign a version of the shadow to the first CALL that has none and whose payload it reports.

    The shadow's update has no message id. As versions come in the order of the CALLs, the first such CALL is the right
    one, even when the next boot was sent before the update arrived. CALLs that were seen on ``{id}/in`` go first.
    """
    try:
        reported = seen.payload["current"]["state"]["reported"].items()
    except (KeyError, TypeError, AttributeError):
        return
    fitting = []
    for exchange in exchanges.values():
        sent = exchange["sent"]
        if "shadow" in exchange or sent.sent_at > seen.sent_at or not isinstance(sent.payload, dict):
            continue
        if sent.payload and sent.payload.items() <= reported:
            fitting.append(exchange)
    if fitting:
        next((each for each in fitting if "in" in each), fitting[0])["shadow"] = seen


def _version(exchange: _Exchange) -> int | None:
    try:
        version: int = exchange["shadow"].payload["current"]["version"]
    except (KeyError, TypeError):
        return None
    return version


def _ms(sent: Record, seen: Record | None) -> float:
    return math.nan if seen is None else (seen.sent_at - sent.sent_at).total_seconds() * 1000
