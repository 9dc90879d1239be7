"""The WebSocket under a charge point: the one door to websockets on its side. Knows nothing of OCPP.

What it takes and gives are whole messages as bytes, and how the connection ended; no error of websockets gets past it.

The compiled picows was tried behind the same interface: a Heartbeat took 8.3 times less CPU than with the ocpp package,
a TransactionEvent 29 times, and a connection 15.1 KiB, against 7.7, 27 and 15.4 KiB with the short cuts below (5.5, 22
and 15.7 KiB without). That tenth is not worth a second transport, with three more packages, its own TCP and TLS, and
close handshakes, fragments, compression and the environment's proxies left to us: websockets stays the only one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl as ssl_module
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import Close, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol

from cpsim_kit.addresses import is_loopback
from cpsim_kit.errors import Closed, ConnectError

try:
    from websockets.speedups import apply_mask
except ImportError:  # where there is no wheel for this machine
    from websockets.utils import apply_mask

__all__ = ["Transport", "check_close", "open_transport"]

_SMALL = 2**15  # bytes of a message that takes the short cut, and of a send buffer that takes one more
_TEXT = 0x81  # the first byte of a text message in one frame, not compressed


class _Connection(ClientConnection):
    """A connection with a short cut in each direction for small text messages, past the layers of websockets.

    The handshake, control frames, fragments, large, binary and wrong frames, and what comes in pieces, all stay with
    websockets, which gets the bytes of whole frames: so both know where a frame begins. No message overtakes
    another: while websockets has one, the next goes the same way. A connection that is compressed, or whose frames are
    logged, takes no short cuts. Should websockets ever get its bytes otherwise than by data_received, all messages come
    out of recv().
    """

    __slots__ = ("_held", "_left", "may_cut_short", "on_message", "waiting")  # saves 1 KiB of a dictionary that grows

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.may_cut_short = False
        self.on_message: Callable[[bytes], None] | None = None
        self.waiting = 0  # messages that websockets has and recv() has not returned
        self._left = 0  # bytes to come of a frame that is websockets'
        self._held = b""  # the first bytes of a frame, too few to tell whose it is

    def data_received(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
        on_message, at, end = self.on_message, 0, len(data)
        while at < end:
            if self._left:
                stop = min(at + self._left, end)
                self._left -= stop - at
            elif on_message is None and self.state is State.CONNECTING:  # line by line, as the response ends with one
                stop = data.find(b"\n", at) + 1 or end
            else:
                size = data[at + 1] if end - at > 1 else 0
                start = at + (4 if size == 126 else 10 if size == 127 else 2)
                if start > end:
                    self._held = data[at:]
                    return
                if size > 125:  # more than 127: a mask, which a server must not use; the rest is websockets' to refuse
                    size = int.from_bytes(data[at + 2 : start], "big") if size < 128 else sys.maxsize
                stop, first = start + size, data[at]
                is_short = first == _TEXT and stop <= end and size <= _SMALL and not self.waiting
                if is_short and on_message is not None and self.protocol.state is State.OPEN:
                    on_message(data[start:stop])
                    at = stop
                else:
                    self.waiting += first & 0x0F in (Opcode.TEXT, Opcode.BINARY)
                    self._left = stop - at
                continue
            super().data_received(data[at:stop])
            at = stop

    def send_now(self, message: bytes) -> bool:
        size, transport = len(message), self.transport
        if size > _SMALL or not self.may_cut_short or self.protocol.state is not State.OPEN:
            return False
        if transport.is_closing() or transport.get_write_buffer_size() > _SMALL:
            return False
        mask = next(_masks)
        head = bytes((_TEXT, 0x80 | size)) if size < 126 else bytes((_TEXT, 0xFE)) + size.to_bytes(2, "big")
        transport.write(head + mask + apply_mask(message, mask))
        return True


def _random_masks() -> Iterator[bytes]:
    """Four bytes for each frame that nobody can foresee (RFC 6455, 5.3), with a system call for a thousand."""
    while True:
        for (mask,) in struct.iter_unpack("4s", os.urandom(4096)):
            yield mask


_masks = _random_masks()


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
        ws.may_cut_short = not (ws.protocol.extensions or ws.debug)

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
        self._ws.on_message = on_message if self._ws.may_cut_short else None
        try:
            while True:
                message = await self._ws.recv(decode=False)
                self._ws.waiting -= 1
                on_message(message)
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
