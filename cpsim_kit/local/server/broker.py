"""What the gateway and the CSMS need of an MQTT broker; `emulator.Emulator` is one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

__all__ = ["Broker", "BrokerClient"]


class BrokerClient(Protocol):
    """The MQTT client of one charge point."""

    async def connect(self, *topic_filters: str) -> None: ...

    async def disconnect(self, reason: str | None = None) -> None: ...


class Broker(Protocol):
    """An MQTT broker."""

    async def publish(self, topic: str, payload: bytes, *, client_id: str | None = None) -> None: ...

    async def subscribe(
        self, topic_filter: str, deliver: Callable[[str, bytes], Coroutine[Any, Any, None]]
    ) -> None: ...

    def client(self, client_id: str, on_lost: Callable[[], None]) -> BrokerClient: ...
