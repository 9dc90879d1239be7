"""The OCPP gateway: WebSocket -> ``{id}/in``, ``{id}/out`` -> WebSocket, as the AWS OCPP Gateway sample does it.

What a client can observe is the sample's to the letter: subprotocols, close codes, reasons, takeover. Inside, one
subscription to ``+/out`` serves every charge point, where the sample has one MQTT client each. Knows no AWS service:
it is given a broker, and a function that tells whether an id is registered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from cpsim_kit.aws.topics import MOST_PAYLOAD

__all__ = ["SUBPROTOCOLS", "Broker", "BrokerClient", "Gateway"]

logger = logging.getLogger("cpsim.gateway")

SUBPROTOCOLS = (Subprotocol("ocpp1.6"), Subprotocol("ocpp2.0"), Subprotocol("ocpp2.0.1"))
_LONGEST_REASON = 123  # bytes of a close reason, RFC 6455 section 5.5
_LONGEST_KEY = 2048  # bytes of a DynamoDB partition key, at least one


class BrokerClient(Protocol):
    """What the gateway needs of a charge point's MQTT client."""

    async def connect(self, *topic_filters: str) -> None: ...

    async def disconnect(self, reason: str | None = None) -> None: ...


class Broker(Protocol):
    """What the gateway and the CSMS need of an MQTT broker."""

    async def publish(self, topic: str, payload: bytes, *, client_id: str | None = None) -> None: ...

    async def subscribe(
        self, topic_filter: str, deliver: Callable[[str, bytes], Coroutine[Any, Any, None]]
    ) -> None: ...

    def client(self, client_id: str, on_lost: Callable[[], None]) -> BrokerClient: ...


class Gateway:
    """Accepts charge points on 127.0.0.1 and a free port.

    Args:
        broker: Where frames go and come from.
        is_registered: Tells whether a Thing of that id exists.
    """

    def __init__(self, broker: Broker, is_registered: Callable[[str], bool]) -> None:
        self._broker = broker
        self._is_registered = is_registered
        self._connections: dict[str, ServerConnection] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._server: Server | None = None
        self.port = 0

    def __len__(self) -> int:
        return len(self._connections)

    async def start(self) -> None:
        """Listen; sets :attr:`port`."""
        await self._broker.subscribe("+/out", self._on_out)
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            subprotocols=list(SUBPROTOCOLS),
            select_subprotocol=_select_subprotocol,
            close_timeout=2,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Close every connection with 1001 and stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, ws: ServerConnection) -> None:
        if ws.subprotocol is None:
            await ws.close()
            return
        assert ws.request is not None
        charge_point_id = ws.request.path.strip("/")
        if not 1 <= len(charge_point_id.encode()) <= _LONGEST_KEY:
            logger.warning("refused: an id that is no key of the registry, %r", charge_point_id[:80])
            await ws.close(1011)
            return
        if not self._is_registered(charge_point_id):
            await self._refuse(ws, f"Charge Point {charge_point_id} not registered as an IoT Thing")
            return
        self._connections[charge_point_id] = ws  # from now on a former one passes nothing on
        client = self._broker.client(charge_point_id, lambda: self._lose(charge_point_id, ws))
        reason = None
        try:
            await client.connect(f"{charge_point_id}/out")  # evicts the former client of that id
            reason = await self._forward(ws, charge_point_id)
        finally:
            self._forget(charge_point_id, ws)
            # However the socket ended, the sample's MQTT client says goodbye to the broker.
            await client.disconnect(reason)

    async def _refuse(self, ws: ServerConnection, reason: str) -> None:
        """1008 with the reason; where a close frame cannot hold it, the sample fails, and there is no close frame."""
        logger.warning("refused: %s", reason)
        if len(reason.encode()) <= _LONGEST_REASON:
            await ws.close(1008, reason)
        else:
            ws.transport.close()
            await ws.wait_closed()

    async def _forward(self, ws: ServerConnection, charge_point_id: str) -> str | None:
        """WebSocket -> ``{id}/in``, until the connection closes or another takes the id over.

        Returns:
            The reason for which the broker ends the MQTT client, or None where it does not.
        """
        topic = f"{charge_point_id}/in"
        try:
            while True:
                message = await ws.recv()  # a text that is not UTF-8 ends it with 1007: RFC 6455, 8.1
                frame = message.encode() if isinstance(message, str) else message
                if self._connections.get(charge_point_id) is not ws:
                    return None
                if len(frame) > MOST_PAYLOAD:
                    logger.warning("%s: a frame of %d bytes; AWS IoT hangs up on it", charge_point_id, len(frame))
                    return "CLIENT_ERROR"
                await self._broker.publish(topic, frame, client_id=charge_point_id)
        except ConnectionClosed:
            return None

    async def _on_out(self, topic: str, payload: bytes) -> None:
        """``{id}/out`` -> WebSocket."""
        ws = self._connections.get(topic.removesuffix("/out"))
        if ws is None:
            return
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            logger.warning("%s: a payload that is not UTF-8; the sample fails on it with 1011", topic)
            self._close_later(ws, 1011)
            return
        broadcast((ws,), text)  # writes without waiting: a slow charge point holds nobody up

    def _lose(self, charge_point_id: str, ws: ServerConnection) -> None:
        """Another client has the id now, on a WebSocket or not: closed with 1000 and an empty reason."""
        logger.info("%s: taken over by a newer client", charge_point_id)
        self._forget(charge_point_id, ws)
        self._close_later(ws, 1000)

    def _forget(self, charge_point_id: str, ws: ServerConnection) -> None:
        if self._connections.get(charge_point_id) is ws:
            del self._connections[charge_point_id]

    def _close_later(self, ws: ServerConnection, code: int) -> None:
        task = asyncio.create_task(ws.close(code), name="cpsim[gateway].close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _select_subprotocol(_ws: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The one both sides like best; None where they share none, and the handshake succeeds all the same."""
    common = [name for name in offered if name in SUBPROTOCOLS]
    return min(common, key=lambda name: offered.index(name) + SUBPROTOCOLS.index(name), default=None)
