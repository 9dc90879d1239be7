"""Watches MQTT topics: every OCPP frame that passes through AWS IoT Core, parsed and paired. ``stack.monitor``."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cpsim_kit.addresses import MqttEndpoint
from cpsim_kit.errors import WaitTimeout
from cpsim_kit.messages import parse_frame, wall_clock
from cpsim_kit.mqtt import MqttConnection, check_filter

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Message", "Monitor"]

logger = logging.getLogger("cpsim.monitor")

COLUMNS = ("received_at", "topic", "charge_point_id", "kind", "action", "message_id", "payload")
_PAIRED = 10_000  # CALLs remembered for the action of their answers


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message.

    Attributes:
        topic: Its topic.
        charge_point_id: The charge point the topic is of, "" for topics of none.
        kind: "CALL", "CALLRESULT", "CALLERROR", … for OCPP-J frames, "malformed" for others on ``{id}/in`` and
            ``{id}/out``, "" on other topics.
        action: The OCPP action; of an answer too, where its CALL was seen.
        message_id: The OCPP message id.
        payload: The OCPP payload; on other topics the JSON value, or the text.
        received_at: When it arrived here, UTC.
    """

    topic: str
    charge_point_id: str
    kind: str
    action: str
    message_id: str
    payload: Any
    received_at: datetime

    def __repr__(self) -> str:
        return f"<Message {' '.join(part for part in (self.topic, self.kind, self.action) if part)}>"


class Monitor:
    """Messages of some topics, in order, from the moment it is entered.

        async with stack.monitor("+/in", "+/out") as monitor:
            messages = await monitor.take(2, timeout=5)

    ``take`` and ``async for`` hand each message out once; :meth:`to_frame` has all that were kept.

    Args:
        endpoint: Where to connect; asked before each connection.
        filters: Topic filters.
        limit: How many messages are kept; older ones are dropped, counted, and said once.

    Raises:
        ValueError: There is no filter, or one is none.

    Attributes:
        dropped: Messages dropped before anybody took them.
        gaps: Pairs of times between which the connection was down, and messages may be missing; reconnection is its
            own affair, and logged.
    """

    def __init__(self, endpoint: Callable[[], MqttEndpoint], filters: tuple[str, ...], *, limit: int = 10_000) -> None:
        if not filters:
            raise ValueError('a monitor needs a topic filter, e.g. stack.monitor("+/in", "+/out")')
        for topic_filter in filters:
            check_filter(topic_filter)
        if limit < 1:
            raise ValueError(f"limit is at least 1, not {limit}")
        self.filters = filters
        self.dropped = 0
        self.gaps: list[tuple[datetime, datetime]] = []
        self._kept: deque[Message] = deque(maxlen=limit)
        self._queue: deque[Message] = deque()
        self._limit = limit
        self._arrived = asyncio.Event()
        self._actions: OrderedDict[tuple[str, str], str] = OrderedDict()  # topic of the answer, message id -> action
        self._connection = MqttConnection(endpoint, self._on_message, self._on_gap)
        self._open = False

    def __repr__(self) -> str:
        state = "open" if self._open else "not open"
        dropped = f", {self.dropped} dropped" if self.dropped else ""
        return f"<Monitor {' '.join(self.filters)} {state}, {len(self._kept)} messages{dropped}>"

    def __len__(self) -> int:
        return len(self._kept)

    async def __aenter__(self) -> Self:
        """Subscribe; the broker has confirmed when the block begins. Raises as :meth:`MqttConnection.open` does."""
        await self._connection.open(self.filters)
        self._open = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Unsubscribe; what was received stays. Closing twice is harmless."""
        self._open = False
        self._arrived.set()
        await self._connection.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        while not self._queue:
            if not self._open:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._queue.popleft()

    async def take(self, count: int, *, timeout: float | None = None) -> list[Message]:
        """The next messages, once there are so many; none is taken before.

        Args:
            count: How many.
            timeout: Seconds to wait; None for ever.

        Raises:
            ValueError: So many are never kept; see ``limit``.
            WaitTimeout: Fewer came; ``last_seen`` has those, and the next ``take`` or ``async for`` too.
        """
        if count > self._limit:
            raise ValueError(
                f"take({count}): this monitor keeps {self._limit} messages; stack.monitor(…, limit={count})"
            )
        try:
            async with asyncio.timeout(timeout):
                while len(self._queue) < count:
                    if not self._open:
                        raise WaitTimeout(f"{count} messages on {' '.join(self.filters)}; the monitor is closed", 0)
                    self._arrived.clear()
                    await self._arrived.wait()
        except WaitTimeout:
            raise
        except TimeoutError as exc:
            what = f"{count} messages on {' '.join(self.filters)}, {len(self._queue)} came"
            raise WaitTimeout(what, timeout or 0, list(self._queue) or None) from exc
        return [self._queue.popleft() for _ in range(count)]

    def to_frame(self) -> pd.DataFrame:
        """One row per message kept, oldest first; times are UTC; kind and action are categories."""
        import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

        rows = [[getattr(message, name) for name in COLUMNS] for message in self._kept]
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype(
            {
                "received_at": "datetime64[ns, UTC]",
                "topic": "str",
                "charge_point_id": "str",
                "kind": "category",
                "action": "category",
                "message_id": "str",
                "payload": "object",
            }
        )

    def _on_message(self, topic: str, payload: bytes, moment: float) -> None:
        charge_point_id, is_ocpp = _charge_point_of(topic)
        kind = action = message_id = ""
        value: Any
        if is_ocpp:
            kind, action, message_id, value = parse_frame(payload)
            if kind == "CALL":
                answered_on = f"{charge_point_id}/{'out' if topic.endswith('/in') else 'in'}"
                self._actions[answered_on, message_id] = action
                if len(self._actions) > _PAIRED:
                    self._actions.popitem(last=False)
            elif kind != "malformed" and not action:
                action = self._actions.get((topic, message_id), "")
        else:
            value = _json_or_text(payload)
        message = Message(topic, charge_point_id, kind, action, message_id, value, wall_clock(moment))
        self._kept.append(message)
        self._queue.append(message)
        if len(self._queue) > self._limit:
            self._queue.popleft()
            if not self.dropped:
                logger.warning("a monitor of %s drops messages: more than %d wait", self.filters, self._limit)
            self.dropped += 1
        self._arrived.set()

    def _on_gap(self, since: float, until: float) -> None:
        gap = wall_clock(since), wall_clock(until)
        self.gaps.append(gap)
        logger.warning(
            "a monitor of %s was disconnected for %.1f s; messages may be missing", self.filters, until - since
        )


def _charge_point_of(topic: str) -> tuple[str, bool]:
    """The charge point a topic is of, and whether it carries OCPP frames."""
    match topic.split("/"):
        case [charge_point_id, "in" | "out"]:
            return charge_point_id, True
        case ["$aws", "things", charge_point_id, *_]:
            return charge_point_id, False
        case ["$aws", "events", "presence" | "subscriptions", _, charge_point_id]:
            return charge_point_id, False
        case ["$aws", "events", "thing", charge_point_id, _]:
            return charge_point_id, False
        case _:
            return "", False


def _json_or_text(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return payload.decode(errors="backslashreplace")
