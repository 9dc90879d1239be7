"""The OCPP gateway: WebSocket -> ``{id}/in``, ``{id}/out`` -> WebSocket, as the AWS OCPP Gateway sample does it.

Clients see what they see of the sample: subprotocols, close codes, reasons, takeover. Inside, one subscription to
``+/out`` serves every charge point; the sample subscribes once for each. It is given a broker, and a function
that tells whether an id is registered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from cpsim_kit.aws.topics import MOST_PAYLOAD
from cpsim_kit.local.server.broker import Broker

__all__ = ["SUBPROTOCOLS", "Gateway"]

logger = logging.getLogger("cpsim.gateway")

SUBPROTOCOLS = (Subprotocol("ocpp1.6"), Subprotocol("ocpp2.0"), Subprotocol("ocpp2.0.1"))
_LONGEST_REASON = 123  # bytes of a close reason, RFC 6455 section 5.5
_LONGEST_KEY = 2048  # bytes of a DynamoDB partition key, at least one


class Gateway:
    """Accepts charge points on 127.0.0.1 and a free port.

    Args:
        broker: The broker that frames are relayed to and from.
        is_registered: Tells whether a Thing with this id exists.

    Attributes:
        port: The port it listens on, once started.
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
        """Start to listen."""
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
            logger.warning("refused: an id that cannot be a key of the registry, %r", charge_point_id[:80])
            await ws.close(1011)
            return
        if not self._is_registered(charge_point_id):
            await self._refuse(ws, f"Charge Point {charge_point_id} not registered as an IoT Thing")
            return
        self._connections[charge_point_id] = ws  # from now on, frames of an older connection are dropped
        client = self._broker.client(charge_point_id, lambda: self._close_evicted(charge_point_id, ws))
        reason = None
        try:
            await client.connect(f"{charge_point_id}/out")  # evicts the older client with this id
            reason = await self._forward(ws, charge_point_id)
        finally:
            self._remove(charge_point_id, ws)
            # The sample's MQTT client disconnects in good order, however the socket ended.
            await client.disconnect(reason)

    async def _refuse(self, ws: ServerConnection, reason: str) -> None:
        """Close with 1008. If the reason is too long for a close frame, the sample fails and sends no close frame."""
        logger.warning("refused: %s", reason)
        if len(reason.encode()) <= _LONGEST_REASON:
            await ws.close(1008, reason)
        else:
            ws.transport.close()
            await ws.wait_closed()

    async def _forward(self, ws: ServerConnection, charge_point_id: str) -> str | None:
        """WebSocket -> ``{id}/in``, until the connection closes or a newer one takes over the id.

        Returns:
            Why the broker disconnects the MQTT client; None if it does not.
        """
        topic = f"{charge_point_id}/in"
        try:
            while True:
                message = await ws.recv()  # text that is not UTF-8 closes with 1007: RFC 6455, 8.1
                frame = message.encode() if isinstance(message, str) else message
                if self._connections.get(charge_point_id) is not ws:
                    return None
                if len(frame) > MOST_PAYLOAD:
                    logger.warning(
                        "%s: a frame of %d bytes; AWS IoT disconnects the client", charge_point_id, len(frame)
                    )
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
            logger.warning("%s: the payload is not UTF-8; the sample fails and closes with 1011", topic)
            self._close_later(ws, 1011)
            return
        broadcast((ws,), text)  # does not wait, so a slow charge point does not delay others

    def _close_evicted(self, charge_point_id: str, ws: ServerConnection) -> None:
        """Close a connection with 1000 and an empty reason, because another MQTT client has its id now."""
        logger.info("%s: taken over by a newer client", charge_point_id)
        self._remove(charge_point_id, ws)
        self._close_later(ws, 1000)

    def _remove(self, charge_point_id: str, ws: ServerConnection) -> None:
        if self._connections.get(charge_point_id) is ws:
            del self._connections[charge_point_id]

    def _close_later(self, ws: ServerConnection, code: int) -> None:
        task = asyncio.create_task(ws.close(code), name="cpsim[gateway].close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _select_subprotocol(_ws: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Return the common subprotocol that both sides prefer. None if there is none; the handshake succeeds anyway."""
    common = [name for name in offered if name in SUBPROTOCOLS]
    return min(common, key=lambda name: offered.index(name) + SUBPROTOCOLS.index(name), default=None)
