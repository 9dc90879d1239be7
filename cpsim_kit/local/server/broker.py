"""What the gateway and the CSMS need of an MQTT broker; `emulator.Emulator` is one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, Protocol

__all__ = ["Broker", "BrokerClient", "Deliver", "StandIn"]

Deliver = Callable[[str, bytes], Coroutine[Any, Any, None]]


class StandIn(NamedTuple):
    """What a subscriber does while MQTT clients do its work.

    Attributes:
        prefix: How the ids of such clients begin. They subscribe to the same topic filter.
        on_message: Awaited before such a client gets a message.
        meanwhile: What is awaited for each message of other topic filters, by topic filter.
        on_end: Called when the last of them has ended, before the next message comes.
    """

    prefix: str
    on_message: Deliver
    meanwhile: Mapping[str, Deliver]
    on_end: Callable[[], None]


class BrokerClient(Protocol):
    """The MQTT client of one charge point."""

    async def connect(self, *topic_filters: str) -> None: ...

    async def disconnect(self, reason: str | None = None) -> None: ...


class Broker(Protocol):
    """An MQTT broker."""

    async def publish(self, topic: str, payload: bytes, *, client_id: str | None = None) -> None: ...

    async def subscribe(self, topic_filter: str, deliver: Deliver, stand_in: StandIn | None = None) -> None: ...

    def client(self, client_id: str, on_lost: Callable[[], None]) -> BrokerClient: ...
