"""Watches MQTT topics: every OCPP frame that passes through AWS IoT Core, parsed and paired. ``stack.monitor``."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Self

from cpsim_kit.aws.mqtt import MqttConnection, check_filter
from cpsim_kit.basics.addresses import MqttEndpoint
from cpsim_kit.basics.cards import card
from cpsim_kit.basics.clock import wall_clock
from cpsim_kit.errors import WaitTimeout
from cpsim_kit.records import MessageLog, Pairing, Record

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Monitor"]

logger = logging.getLogger("cpsim.monitor")


class Monitor:
    """Messages of some topics, in order, from the moment it is entered.

        async with stack.monitor("+/in", "+/out") as monitor:
            messages = await monitor.take(2, timeout=5)

    ``take`` and ``async for`` return each message once, as a :class:`~cpsim_kit.records.Record`; :attr:`messages`
    and :meth:`to_frame` have all that were kept.

    Args:
        endpoint: Returns where to connect; called before each connection.
        filters: Topic filters.
        limit: How many messages are kept; older ones are dropped and counted, and the log says so once.
        reconnect: Seconds before a lost connection is opened again: of the first and of the longest pause.

    Raises:
        TypeError: A filter is not a string.
        ValueError: There is no filter, or a string is not a valid topic filter.

    Attributes:
        messages: All that were kept, a :class:`~cpsim_kit.records.messages.MessageLog`.
        dropped: How many messages were dropped before they were taken.
        gaps: Pairs of times between which the connection was down, and messages may be missing. The monitor
            reconnects by itself, and logs it.
    """

    def __init__(
        self,
        endpoint: Callable[[], MqttEndpoint],
        filters: tuple[str, ...],
        *,
        limit: int = 10_000,
        reconnect: tuple[float, float] = (1, 10),
    ) -> None:
        if not filters:
            raise ValueError('a monitor needs a topic filter, e.g. stack.monitor("+/in", "+/out")')
        for topic_filter in filters:
            check_filter(topic_filter)
        if limit < 1:
            raise ValueError(f"limit is at least 1, not {limit}")
        self.filters = filters
        self.dropped = 0
        self.gaps: list[tuple[datetime, datetime]] = []
        self.messages = MessageLog(limit)
        self._pairing = Pairing()
        self._queue: deque[Record] = deque()
        self._limit = limit
        self._arrived = asyncio.Event()
        self._connection = MqttConnection(endpoint, self._on_message, self._on_gap, reconnect=reconnect)
        self._open = False
        self._entered = False

    @property
    def _state(self) -> str:
        return "open" if self._open else "closed" if self._entered else "not open"

    def __repr__(self) -> str:
        dropped = f", {self.dropped} dropped" if self.dropped else ""
        return f"<Monitor {' '.join(self.filters)} {self._state}, {len(self)} messages{dropped}>"

    def _repr_html_(self) -> str:
        gaps = [f"{since:%H:%M:%S} to {until:%H:%M:%S} UTC" for since, until in self.gaps[-3:]]
        rows = {
            "topics": " ".join(self.filters),
            "messages": len(self),
            "not taken yet": len(self._queue),
            "dropped": self.dropped or None,
            "disconnected": ", ".join(gaps),
            "table": ".to_frame()",
        }
        return card("Monitor", self._state, rows)

    def __len__(self) -> int:
        return len(self.messages)

    async def __aenter__(self) -> Self:
        """Subscribe; the broker has confirmed when the block begins. Raises as :meth:`MqttConnection.open` does."""
        await self._connection.open(self.filters)
        self._open = self._entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Unsubscribe; received messages stay. Closing twice is harmless."""
        self._open = False
        self._arrived.set()
        await self._connection.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        while not self._queue:
            if not self._open:
                self._require_entered()
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._queue.popleft()

    async def take(self, count: int, *, timeout: float | None = None) -> list[Record]:
        """Wait until there are so many messages, and return them; until then none is taken.

        Args:
            count: How many.
            timeout: Seconds to wait; None waits without an end.

        Raises:
            ValueError: The monitor keeps fewer messages; see ``limit``.
            RuntimeError: The monitor was never entered, so that nothing can come.
            WaitTimeout: Fewer came; ``last_seen`` has them, and the next ``take`` or ``async for`` returns them.
        """
        if count > self._limit:
            raise ValueError(
                f"take({count}): this monitor keeps {self._limit} messages; stack.monitor(…, limit={count})"
            )
        try:
            async with asyncio.timeout(timeout):
                while len(self._queue) < count:
                    if not self._open:
                        self._require_entered()
                        raise WaitTimeout(f"{count} messages on {' '.join(self.filters)}; the monitor is closed", 0)
                    self._arrived.clear()
                    await self._arrived.wait()
        except WaitTimeout:
            raise
        except TimeoutError as exc:
            what = f"{count} messages on {' '.join(self.filters)}, {len(self._queue)} came"
            raise WaitTimeout(what, timeout or 0, list(self._queue) or None) from exc
        return [self._queue.popleft() for _ in range(count)]

    def _require_entered(self) -> None:
        if not self._entered:
            filters = ", ".join(f'"{topic_filter}"' for topic_filter in self.filters)
            message = f"this monitor was not entered: async with stack.monitor({filters}) as monitor"
            raise RuntimeError(message)

    def to_frame(self) -> pd.DataFrame:
        """One row per message kept, oldest first, in the columns that :mod:`cpsim_kit.records.messages` explains."""
        return self.messages.to_frame()

    def _on_message(self, topic: str, payload: bytes, moment: float) -> None:
        self.messages.add(moment, payload, topic=topic)
        self._queue.append(self._pairing.record(moment, "", topic, payload))
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
