"""The WebSocket under a charge point: the one door to websockets on its side. Knows nothing of OCPP.

What it takes and gives are whole messages as bytes, and how the connection ended; no error of websockets gets past it.
"""

from __future__ import annotations

import asyncio
import errno
import ssl as ssl_module
from collections.abc import Callable, Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Event, State
from websockets.typing import Subprotocol

from cpsim_kit.addresses import is_loopback
from cpsim_kit.errors import Closed, ConnectError

__all__ = ["Transport", "check_close", "open_transport"]

_SMALL = 2**15  # bytes of a message that the send buffer takes at once


class _Connection(ClientConnection):
    """A connection with two short cuts, which take a fifth off the CPU time of a call.

    Where websockets should ever stop to use the first, messages come out of :meth:`recv` like all others.
    """

    on_message: Callable[[bytes], None] | None = None

    def process_event(self, event: Event) -> None:
        """Hand a text message of one frame on at once, with no queue in between and no task to wake."""
        if self.on_message is not None and isinstance(event, Frame) and event.opcode is Opcode.TEXT and event.fin:
            self.on_message(bytes(event.data))
        else:
            super().process_event(event)

    def send_now(self, message: bytes) -> bool:
        if len(message) > _SMALL or self.paused or self.state is not State.OPEN or self.transport.is_closing():
            return False
        self.protocol.send_text(message)
        self.send_data()
        return True


class Transport:
    """An open connection; :func:`open_transport` makes it.

    Attributes:
        subprotocol: The one agreed on, or None.
        send_now: Send a small text message and return True; or False, when :meth:`send` would wait or fail.
    """

    def __init__(self, ws: _Connection, close_timeout: float) -> None:
        self._ws = ws
        self._close_timeout = close_timeout
        self.subprotocol = ws.subprotocol
        self.send_now = ws.send_now

    async def send(self, message: bytes) -> bool:
        """Send a text message, waiting while the send buffer is full; False when the connection is closed."""
        try:
            await self._ws.send(message, text=True)
        except ConnectionClosed:
            return False
        return True

    async def receive(self, on_message: Callable[[bytes], None]) -> Closed:
        """Hand on every message, text or binary, until the connection closes; how it closed.

        The other side began ("gateway"), or it did not ("network"): whether this side meant it, the caller knows.
        """
        self._ws.on_message = on_message
        try:
            while True:
                on_message(await self._ws.recv(decode=False))  # what came before, is binary, or has several frames
        except ConnectionClosed as exc:
            if exc.rcvd is not None and exc.rcvd_then_sent is not False:
                return Closed(exc.rcvd.code, exc.rcvd.reason, "gateway", str(exc))
            if exc.sent is not None:  # by close(), or for a missed keepalive, or a frame that breaks RFC 6455
                return Closed(exc.sent.code, exc.sent.reason, "network", str(exc))
            return Closed(1006, "", "network", str(exc))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a close frame if that works in time; the socket is closed in any case."""
        try:
            async with asyncio.timeout(self._close_timeout):  # websockets' own does not cover a full send buffer
                await self._ws.close(code, reason)
        except TimeoutError:
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the socket, with no goodbye."""
        self._ws.transport.abort()


async def open_transport(
    charge_point_id: str,
    url: str,
    *,
    subprotocol: str,
    headers: Mapping[str, str],
    ssl: ssl_module.SSLContext | None,
    compression: str | None,
    open_timeout: float,
    close_timeout: float,
    ping_interval: float | None,
    ping_timeout: float | None,
) -> Transport:
    """Connect and shake hands.

    Raises:
        ConnectError: Wrong address, TLS, HTTP status, an option that cannot work, or no answer in time.
    """
    options: dict[str, Any] = {} if ssl is None else {"ssl": ssl}
    try:
        if is_loopback(url):
            options["proxy"] = None  # what stays on this machine never goes through a proxy
        ws = await connect(
            url,
            subprotocols=[Subprotocol(subprotocol)],
            compression=compression,
            additional_headers=headers,
            open_timeout=open_timeout,
            close_timeout=close_timeout,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            create_connection=_Connection,
            max_queue=None,  # the reader never waits: every message is handled as it comes
            **options,
        )
        assert isinstance(ws, _Connection)
    except InvalidStatus as exc:
        status = exc.response.status_code
        hints = {401: "wrong or missing password=", 403: "not allowed", 404: "wrong path in the address"}
        message = f"{charge_point_id}: {url} refused the handshake with HTTP {status}"
        hint = hints.get(status, "is this a CSMS's WebSocket address?")
        raise ConnectError(f"{message}: {hint}", url=url, status=status) from exc
    except TimeoutError as exc:
        message = f"{charge_point_id}: {url} did not answer within {open_timeout:g} s"
        raise ConnectError(message, url=url) from exc
    except (OSError, WebSocketException, ValueError, EOFError, ImportError) as exc:
        hint = " Is the stack running, and the address right?" if isinstance(exc, OSError) else ""
        if isinstance(exc, OSError) and exc.errno == errno.EMFILE:
            hint = " This process may open no more files: raise its limit with `ulimit -n`, or use more processes."
        raise ConnectError(f"{charge_point_id}: cannot connect to {url}: {exc}.{hint}", url=url) from exc
    return Transport(ws, close_timeout)


def check_close(code: int, reason: str) -> None:
    """Refuse what a close frame cannot carry, before anything is closed.

    Raises:
        ValueError: The code is none to send, or the reason is too long.
    """
    try:
        size = len(Close(code, reason).serialize())
    except WebSocketException as exc:
        raise ValueError(f"a close frame cannot carry the code {code}: RFC 6455 section 7.4") from exc
    if size > 125:
        raise ValueError(f"a close frame carries at most 123 bytes of reason, not {size - 2}")
