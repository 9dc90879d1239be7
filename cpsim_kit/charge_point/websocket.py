"""The WebSocket under a charge point: messages in and out, keepalive, and the end. Knows nothing of OCPP.

It sends and receives whole messages as bytes, and reports how the connection ended. It lets no error of websockets
through, except from the handshake. ``opening`` opens it.

The protocol without I/O is that of websockets; the I/O around it is here. So small text messages in one frame, which
are nearly all of OCPP-J, can take a short cut past all layers of websockets. A connection of websockets takes two and a
half times the CPU to open. To send a message and receive one, it takes more CPU than a whole call takes here, schemas
included. The compiled picows was tried behind the same interface: it is hardly faster with messages, and slower to
open. It is not worth three more packages, its own TCP and TLS, and proxies that the kit would have to handle.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import sys
from collections.abc import Callable, Mapping

from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosedError, WebSocketException
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import SEND_EOF, State
from websockets.uri import parse_uri

from cpsim_kit.errors import Closed

try:
    from websockets.speedups import apply_mask
except ImportError:  # there is no wheel for this machine
    from websockets.utils import apply_mask

__all__ = ["WebSocket", "check_close", "closed_by_gateway"]

_SMALL = 2**15  # bytes: the longest message that takes the short cut, and the size of a full send buffer
_TEXT, _PING, _PONG = 0x81, 0x89, 0x8A  # first bytes of an uncompressed frame that is a whole message
_NO_URI = parse_uri("ws://127.0.0.1/")  # for a protocol whose handshake is over
_MESSAGE = frozenset((Opcode.TEXT, Opcode.BINARY, Opcode.CONT))


class WebSocket(asyncio.Protocol):
    """A WebSocket connection; it is open once :meth:`handshake` has returned.

    Small text messages, its own pings and their pongs take the short cut. The protocol handles everything else: the
    handshake, other control frames, fragments, large, binary and wrong frames, and frames that arrive in pieces. It
    gets the bytes of whole frames, so that it and the short cut both know where a frame begins. A connection that is
    compressed, or whose frames are logged, has no short cut.

    Args:
        protocol: A protocol in the state CONNECTING, which checks the handshake's answer; None after the handshake.
        subprotocol: The agreed subprotocol, if the handshake is over.
        ping_interval: Seconds between keepalive pings; None for no pings.
        ping_timeout: Seconds to wait for a pong before the connection counts as lost; None for ever.
        close_timeout: Seconds to wait for the other side to end the connection after a close frame.

    Attributes:
        transport: The transport of the socket; the event loop makes it.
        subprotocol: The agreed subprotocol, or None.
    """

    __slots__ = (
        "_close_timeout",
        "_ended",
        "_has_short_cut",
        "_incomplete",
        "_is_open",
        "_is_text",
        "_is_whole",
        "_made_protocol",
        "_message",
        "_missing",
        "_on_closed",
        "_on_message",
        "_opened",
        "_ping",
        "_ping_interval",
        "_ping_timeout",
        "_timer",
        "_unread",
        "_until_writable",
        "subprotocol",
        "transport",
    )

    def __init__(
        self,
        protocol: ClientProtocol | None,
        *,
        subprotocol: str | None = None,
        ping_interval: float | None,
        ping_timeout: float | None,
        close_timeout: float,
    ) -> None:
        self.transport: asyncio.Transport
        self.subprotocol = subprotocol
        self._made_protocol = protocol
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._close_timeout = close_timeout
        loop = asyncio.get_running_loop()
        self._is_open = self._has_short_cut = protocol is None
        # Done when the handshake is over.
        self._opened: asyncio.Future[None] | None = None if protocol is None else loop.create_future()
        self._ended: asyncio.Future[Closed] = loop.create_future()
        self._until_writable: asyncio.Future[None] | None = None  # while the send buffer is full
        self._timer: asyncio.TimerHandle | None = None  # for the next ping, its pong, or the end
        self._ping = b""  # data of the last ping
        self._unread: list[bytes] = []  # messages that arrived before receive()
        self._on_message: Callable[[bytes], None] = self._unread.append
        self._on_closed: Callable[[Closed], None] | None = None
        self._message = b""  # the fragments of a message that have arrived
        self._is_text = False  # whether they are of a text message
        self._is_whole = True  # whether no message is incomplete
        self._incomplete = b""  # the first bytes of a frame, if they are too few to show its length
        self._missing = 0  # bytes still to come of a frame that the protocol handles

    @property
    def _protocol(self) -> ClientProtocol:
        """The protocol of websockets, made at the first use, which may be when the connection closes."""
        if self._made_protocol is None:
            self._made_protocol = ClientProtocol(_NO_URI, state=State.OPEN)
        return self._made_protocol

    # -- Messages -----------------------------------------------------------------------------------------------------

    def send_now(self, message: bytes) -> bool:
        """Send a small text message and return True; return False where :meth:`send` would wait or fail."""
        size = len(message)
        if size > _SMALL or not self._has_short_cut or not self._is_open or self._until_writable is not None:
            return False
        if self.transport.is_closing():
            return False
        mask = _make_mask()
        head = bytes((_TEXT, 0x80 | size)) if size < 126 else bytes((_TEXT, 0xFE)) + size.to_bytes(2, "big")
        self.transport.write(head + mask + apply_mask(message, mask))
        return True

    async def send(self, message: bytes) -> bool:
        """Send a text message, waiting while the send buffer is full; return False when the connection is closed."""
        if self._is_open:
            self._protocol.send_text(message)
            self._flush()
            while self._until_writable is not None:
                await asyncio.wait([self._until_writable])
        if not self._is_open:
            await asyncio.wait([self._ended])
        return not self._ended.done()

    def receive(self, on_message: Callable[[bytes], None], on_closed: Callable[[Closed], None]) -> None:
        """Call ``on_message`` with every message, text or binary; when the connection has closed, ``on_closed`` once.

        ``Closed.by`` is "gateway" if the other side began, else "network", also if this side closed the connection.
        """
        self._on_message = on_message
        unread, self._unread = self._unread, []
        for message in unread:
            on_message(message)
        if self._ended.done():
            on_closed(self._ended.result())
        else:
            self._on_closed = on_closed

    # -- Opening and closing ------------------------------------------------------------------------------------------

    async def handshake(self, headers: Mapping[str, str], user_agent: str | None) -> None:
        """Send the handshake's request with these additional headers, and wait for the answer. RFC 6455, 4.1.

        Raises:
            InvalidHandshake: The other side refused, or is not a WebSocket server. This is an error of websockets.
        """
        request = self._protocol.connect()
        request.headers.update(headers)
        if user_agent is not None:
            request.headers.setdefault("User-Agent", user_agent)
        self._protocol.send_request(request)
        self._flush()
        await self.opened()

    async def opened(self) -> None:
        """Wait for the rest of the handshake's answer.

        Raises:
            InvalidHandshake: See :meth:`handshake`.
        """
        if self._opened is not None:
            await self._opened
        if self._made_protocol is not None and self._made_protocol.handshake_exc is not None:
            raise self._made_protocol.handshake_exc

    def start_keepalive(self) -> None:
        """Send pings from now on. RFC 6455, 5.5.2."""
        self._set_timer(self._ping_interval, self._send_ping)

    def set_ping_interval(self, seconds: float | None) -> None:
        """Send pings at this interval from now on; None for none."""
        self._ping_interval = seconds
        if self._is_open:
            self._set_timer(seconds, self._send_ping)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame and wait for the end, up to ``close_timeout``; then close the socket in any case."""
        try:
            if self._is_open:
                self._protocol.send_close(code, reason)
                self._flush()
            await asyncio.wait([self._ended], timeout=self._close_timeout)
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the socket without a close frame."""
        self.transport.abort()

    def make_half_open(self) -> None:
        """Send and read no byte any more, pings and close frames included, as if the other side had vanished."""
        self.transport.pause_reading()
        self.transport = _DeadSocket(self.transport)

    def _send_ping(self) -> None:
        if self._is_open:
            self._ping = _make_mask()
            if self._has_short_cut:
                mask = _make_mask()
                self.transport.write(bytes((_PING, 0x84)) + mask + apply_mask(self._ping, mask))
            else:
                self._protocol.send_ping(self._ping)
                self._flush()
            if self._ping_timeout is None:
                self._set_timer(self._ping_interval, self._send_ping)
            else:
                self._set_timer(self._ping_timeout, self._fail_without_pong)

    def _handle_pong(self, data: bytes) -> None:
        if data == self._ping and self._is_open:
            self._set_timer(self._ping_interval, self._send_ping)

    def _fail_without_pong(self) -> None:
        self._protocol.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
        self._flush()

    def _set_timer(self, seconds: float | None, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, callback)

    # -- Called by the event loop -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(_SMALL)

    def data_received(self, data: bytes) -> None:
        if self._incomplete:
            data, self._incomplete = self._incomplete + data, b""
        at, end = 0, len(data)
        while at < end:
            if not self._has_short_cut:
                stop = end
                if self._opened is not None:  # line by line: the protocol must get no byte after the answer
                    stop = data.find(b"\n", at) + 1 or end
            elif self._missing:
                stop = min(at + self._missing, end)
                self._missing -= stop - at
            else:
                size = data[at + 1] if end - at > 1 else 0
                start = at + (4 if size == 126 else 10 if size == 127 else 2)
                if start > end:
                    self._incomplete = data[at:]
                    return
                if size > 125:  # above 127 it has a mask, which a server must not use; the protocol refuses it
                    size = int.from_bytes(data[at + 2 : start], "big") if size < 128 else sys.maxsize
                stop = start + size
                is_short = self._is_open and stop <= end and size <= _SMALL
                if is_short and data[at] == _TEXT and self._is_whole:
                    message = data[start:stop]
                    if message.isascii() or self._check_text(message):
                        self._on_message(message)
                    at = stop
                elif is_short and data[at] == _PONG and size < 126:
                    self._handle_pong(data[start:stop])
                    at = stop
                else:
                    self._missing = stop - at
                continue
            self._protocol.receive_data(data[at:stop])
            self._handle_events()
            at = stop

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._handle_events()

    def connection_lost(self, exc: Exception | None) -> None:
        self.eof_received()  # after this the protocol is closed, or the handshake has failed
        self._set_timer(None, self._send_ping)
        closed = _describe_close(self._protocol)
        self._ended.set_result(closed)
        self.resume_writing()
        if self._on_closed is not None:
            self._on_closed(closed)

    def pause_writing(self) -> None:
        self._until_writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._until_writable is not None:
            self._until_writable.set_result(None)
            self._until_writable = None

    # -- The protocol -------------------------------------------------------------------------------------------------

    def _handle_events(self) -> None:
        """Handle the frames that the protocol has parsed, and the end of the handshake."""
        protocol = self._protocol
        events = protocol.events_received()
        self._is_whole = protocol.current_size is None
        self._flush()
        for event in events:
            if isinstance(event, Frame) and not self._handle_frame(event):
                break  # the connection has failed: ignore the frames that follow
        if self._opened is not None and (protocol.handshake_exc or protocol.state is not State.CONNECTING):
            self.subprotocol = protocol.subprotocol
            self._has_short_cut = self._is_open and not (protocol.extensions or protocol.debug)
            if not self._opened.done():
                self._opened.set_result(None)
            self._opened = None

    def _handle_frame(self, frame: Frame) -> bool:
        """Handle a frame; return False if it fails the connection."""
        if frame.opcode in _MESSAGE:
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
            self._message += frame.data
            if frame.fin:
                message, self._message = self._message, b""
                if self._is_text and not self._check_text(message):
                    return False
                self._on_message(message)
        elif frame.opcode is Opcode.PONG:
            self._handle_pong(bytes(frame.data))
        return True

    def _check_text(self, message: bytes) -> bool:
        """Return whether a text message is UTF-8; if it is not, fail the connection. RFC 6455, 8.1."""
        try:
            message.decode()
        except UnicodeDecodeError as exc:
            if self._is_open:
                self._protocol.fail(CloseCode.INVALID_DATA, f"{exc.reason} at position {exc.start}")
                self._flush()
            return False
        return True

    def _flush(self) -> None:
        """Send the bytes that the protocol wants to send, and update the state."""
        protocol = self._protocol
        for data in protocol.data_to_send():
            if data != SEND_EOF:
                self.transport.write(data)
            elif self.transport.can_write_eof() and not self.transport.is_closing():
                with contextlib.suppress(OSError):  # the other side has broken the connection since
                    self.transport.write_eof()
            else:
                self.transport.close()
        was_open, self._is_open = self._is_open, protocol.state is State.OPEN
        if was_open and protocol.close_expected():
            self._set_timer(self._close_timeout, self.abort)


class _DeadSocket(asyncio.Transport):
    """In the place of a socket's transport: it loses what is written, and closes only by :meth:`abort`."""

    __slots__ = ("_socket",)

    def __init__(self, socket: asyncio.Transport) -> None:
        super().__init__()
        self._socket = socket

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self._socket.is_closing()

    def abort(self) -> None:
        self._socket.abort()


def _describe_close(protocol: ClientProtocol) -> Closed:
    if protocol.state is not State.CLOSED:  # it never opened
        return Closed(1006, "", "network")
    text = str(protocol.close_exc)
    received, sent = protocol.close_rcvd, protocol.close_sent
    if received is not None and protocol.close_rcvd_then_sent is not False:
        return Closed(received.code, received.reason, "gateway", text)
    if sent is not None:  # by close(), after a keepalive timeout, or after a frame that breaks RFC 6455
        return Closed(sent.code, sent.reason, "network", text)
    return Closed(1006, "", "network", text)


def closed_by_gateway(code: int, reason: str = "") -> Closed:
    """The end of a connection that the other side closes with this code and reason."""
    close = Close(code, reason)
    return Closed(code, reason, "gateway", str(ConnectionClosedError(close, close, rcvd_then_sent=True)))


_masks: list[bytes] = []  # shared by all threads: pop and extend are each atomic


def _make_mask() -> bytes:
    """Four unpredictable bytes for a frame (RFC 6455, 5.3); one system call gives a thousand masks."""
    try:
        return _masks.pop()
    except IndexError:
        fresh: list[bytes] = [mask for (mask,) in struct.iter_unpack("4s", os.urandom(4096))]
        mask = fresh.pop()
        _masks.extend(fresh)
        return mask


def check_close(code: int, reason: str) -> None:
    """Check that a close frame can carry the code and the reason.

    Raises:
        TypeError: The code is not a number, or the reason is not a string.
        ValueError: A close frame must not have this code, or the reason is too long.
    """
    if isinstance(code, bool) or not isinstance(code, int) or not isinstance(reason, str):
        raise TypeError(f"a close frame carries a number and a string, not {code!r} and {reason!r}")
    try:
        size = len(Close(code, reason).serialize())
    except WebSocketException as exc:
        raise ValueError(f"a close frame cannot carry the code {code}: RFC 6455 section 7.4") from exc
    if size > 125:
        raise ValueError(f"a close frame carries at most 123 bytes of reason, not {size - 2}")
