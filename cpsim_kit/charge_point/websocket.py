"""The WebSocket under a charge point: messages in and out, keepalive, and the end. Knows nothing of OCPP.

What it takes and gives are whole messages as bytes, and how the connection ended; no error of websockets gets past it.
``opening`` opens it.

The protocol is websockets', without I/O; the I/O around it is here. That leaves room for a short cut past all of its
layers for small text messages in one frame, which is what OCPP-J is made of. A connection of websockets' own takes two
and a half times the CPU to open, and more to send a message and receive one than a whole call takes here, with schemas
and all. The compiled picows was tried behind the same interface, too: hardly faster with messages, and slower to open,
so it is not worth three more packages, its own TCP and TLS, and proxies left to us.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from collections.abc import Callable, Mapping

from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import SEND_EOF, State
from websockets.uri import parse_uri

from cpsim_kit.errors import Closed

try:
    from websockets.speedups import apply_mask
except ImportError:  # where there is no wheel for this machine
    from websockets.utils import apply_mask

__all__ = ["WebSocket", "check_close"]

_SMALL = 2**15  # bytes of a message that takes the short cut, and of a send buffer that is full
_TEXT, _PING, _PONG = 0x81, 0x89, 0x8A  # the first byte of such a message in one frame, not compressed
_NOWHERE = parse_uri("ws://127.0.0.1/")  # for a protocol whose handshake is over
_MESSAGE = frozenset((Opcode.TEXT, Opcode.BINARY, Opcode.CONT))


class WebSocket(asyncio.Protocol):
    """A connection, once :meth:`handshake` has returned.

    Small text messages, its own pings and their pongs go past the protocol. Handshake, other control frames, fragments,
    large, binary and wrong frames stay with it, and so does what comes in pieces: it gets the bytes of whole frames, so
    that both know where a frame begins. A connection that is compressed, or whose frames are logged, has no short cut.

    Args:
        protocol: Connecting, to judge the other side's answer; None where the handshake is over.
        subprotocol: The one agreed on, where the handshake is over.
        ping_interval: Seconds between keepalive pings; None for none.
        ping_timeout: Seconds to wait for a pong before the connection counts as lost; None for ever.
        close_timeout: Seconds to wait for the other side to end the connection, once a close frame was sent.

    Attributes:
        transport: The socket's; made by the event loop.
        subprotocol: The one agreed on, or None.
    """

    __slots__ = (
        "_close_timeout",
        "_held",
        "_is_open",
        "_is_text",
        "_is_whole",
        "_left",
        "_lost",
        "_made",
        "_may_cut_short",
        "_message",
        "_on_closed",
        "_on_message",
        "_opened",
        "_ping",
        "_ping_interval",
        "_ping_timeout",
        "_timer",
        "_unread",
        "_writable",
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
        self._made = protocol
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._close_timeout = close_timeout
        loop = asyncio.get_running_loop()
        self._is_open = self._may_cut_short = protocol is None
        self._opened: asyncio.Future[None] | None = None if protocol is None else loop.create_future()  # or refused
        self._lost: asyncio.Future[Closed] = loop.create_future()
        self._writable: asyncio.Future[None] | None = None  # while the send buffer is full
        self._timer: asyncio.TimerHandle | None = None  # the next ping; or no longer waiting, for a pong or for the end
        self._ping = b""  # that waits for its pong
        self._unread: list[bytes] = []  # messages that came before receive()
        self._on_message: Callable[[bytes], None] = self._unread.append
        self._on_closed: Callable[[Closed], None] | None = None
        self._message = b""  # the fragments of one, so far
        self._is_text = False  # which is a text message
        self._is_whole = True  # not amidst fragments
        self._held = b""  # the first bytes of a frame, too few to tell whose it is
        self._left = 0  # bytes to come of a frame that is the protocol's

    @property
    def _protocol(self) -> ClientProtocol:
        """websockets'; made when it is first needed, which may be when the connection closes."""
        if self._made is None:
            self._made = ClientProtocol(_NOWHERE, state=State.OPEN)
        return self._made

    # -- Messages -----------------------------------------------------------------------------------------------------

    def send_now(self, message: bytes) -> bool:
        """Send a small text message and return True; or False, when :meth:`send` would wait or fail."""
        size = len(message)
        if size > _SMALL or not self._may_cut_short or not self._is_open or self._writable is not None:
            return False
        if self.transport.is_closing():
            return False
        mask = _make_mask()
        head = bytes((_TEXT, 0x80 | size)) if size < 126 else bytes((_TEXT, 0xFE)) + size.to_bytes(2, "big")
        self.transport.write(head + mask + apply_mask(message, mask))
        return True

    async def send(self, message: bytes) -> bool:
        """Send a text message, waiting while the send buffer is full; False when the connection is closed."""
        if self._is_open:
            self._protocol.send_text(message)
            self._flush()
            while self._writable is not None:
                await asyncio.wait([self._writable])
        if not self._is_open:
            await asyncio.wait([self._lost])
        return not self._lost.done()

    def receive(self, on_message: Callable[[bytes], None], on_closed: Callable[[Closed], None]) -> None:
        """Hand on every message, text or binary, until the connection closes; then how it closed.

        The other side began ("gateway"), or it did not ("network"): whether this side meant it, the caller knows.
        """
        self._on_message = on_message
        unread, self._unread = self._unread, []
        for message in unread:
            on_message(message)
        if self._lost.done():
            on_closed(self._lost.result())
        else:
            self._on_closed = on_closed

    # -- Opening and closing ------------------------------------------------------------------------------------------

    async def handshake(self, headers: Mapping[str, str], user_agent: str | None) -> None:
        """Ask for the connection, with these headers too, and wait for the answer. RFC 6455, 4.1.

        Raises:
            InvalidHandshake: The other side refused, or is no WebSocket server; an error of websockets.
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
            InvalidHandshake: As :meth:`handshake` does.
        """
        if self._opened is not None:
            await self._opened
        if self._made is not None and self._made.handshake_exc is not None:
            raise self._made.handshake_exc

    def start_keepalive(self) -> None:
        """Send pings from now on. RFC 6455, 5.5.2."""
        self._set_timer(self._ping_interval, self._send_ping)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a close frame if that works in time; the socket is closed in any case."""
        try:
            if self._is_open:
                self._protocol.send_close(code, reason)
                self._flush()
            await asyncio.wait([self._lost], timeout=self._close_timeout)
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the socket, with no goodbye."""
        self.transport.abort()

    def _send_ping(self) -> None:
        if self._is_open:
            self._ping = _make_mask()
            if self._may_cut_short:
                mask = _make_mask()
                self.transport.write(bytes((_PING, 0x84)) + mask + apply_mask(self._ping, mask))
            else:
                self._protocol.send_ping(self._ping)
                self._flush()
            if self._ping_timeout is None:
                self._set_timer(self._ping_interval, self._send_ping)
            else:
                self._set_timer(self._ping_timeout, self._miss_pong)

    def _take_pong(self, data: bytes) -> None:
        if data == self._ping and self._is_open:
            self._set_timer(self._ping_interval, self._send_ping)

    def _miss_pong(self) -> None:
        self._protocol.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
        self._flush()

    def _set_timer(self, seconds: float | None, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, callback)

    # -- What the event loop calls ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(_SMALL)

    def data_received(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
        at, end = 0, len(data)
        while at < end:
            if not self._may_cut_short:
                stop = end
                if self._opened is not None:  # line by line, as the answer ends with one
                    stop = data.find(b"\n", at) + 1 or end
            elif self._left:
                stop = min(at + self._left, end)
                self._left -= stop - at
            else:
                size = data[at + 1] if end - at > 1 else 0
                start = at + (4 if size == 126 else 10 if size == 127 else 2)
                if start > end:
                    self._held = data[at:]
                    return
                if size > 125:  # more than 127: a mask, which a server must not use; it is the protocol's to refuse
                    size = int.from_bytes(data[at + 2 : start], "big") if size < 128 else sys.maxsize
                stop = start + size
                is_short = self._is_open and stop <= end and size <= _SMALL
                if is_short and data[at] == _TEXT and self._is_whole:
                    message = data[start:stop]
                    if message.isascii() or self._check_text(message):
                        self._on_message(message)
                    at = stop
                elif is_short and data[at] == _PONG and size < 126:
                    self._take_pong(data[start:stop])
                    at = stop
                else:
                    self._left = stop - at
                continue
            self._protocol.receive_data(data[at:stop])
            self._handle_events()
            at = stop

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._handle_events()

    def connection_lost(self, exc: Exception | None) -> None:
        self.eof_received()  # so the protocol is closed, or the handshake failed
        self._set_timer(None, self._send_ping)
        closed = _how_it_closed(self._protocol)
        self._lost.set_result(closed)
        self.resume_writing()
        if self._on_closed is not None:
            self._on_closed(closed)

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    # -- The protocol -------------------------------------------------------------------------------------------------

    def _handle_events(self) -> None:
        """What the protocol made of the bytes it got."""
        protocol = self._protocol
        events = protocol.events_received()
        self._is_whole = protocol.current_size is None
        self._flush()
        for event in events:
            if isinstance(event, Frame) and not self._handle_frame(event):
                break  # the connection has failed, and what follows is not to be looked at
        if self._opened is not None and (protocol.handshake_exc or protocol.state is not State.CONNECTING):
            self.subprotocol = protocol.subprotocol
            self._may_cut_short = self._is_open and not (protocol.extensions or protocol.debug)
            if not self._opened.done():
                self._opened.set_result(None)
            self._opened = None

    def _handle_frame(self, frame: Frame) -> bool:
        """False where the frame fails the connection."""
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
            self._take_pong(bytes(frame.data))
        return True

    def _check_text(self, message: bytes) -> bool:
        """Whether a text message is UTF-8; where it is not, the connection is failed: RFC 6455, 8.1."""
        try:
            message.decode()
        except UnicodeDecodeError as exc:
            if self._is_open:
                self._protocol.fail(CloseCode.INVALID_DATA, f"{exc.reason} at position {exc.start}")
                self._flush()
            return False
        return True

    def _flush(self) -> None:
        """Send what the protocol has to send, and see what state it is in."""
        protocol = self._protocol
        for data in protocol.data_to_send():
            if data != SEND_EOF:
                self.transport.write(data)
            elif self.transport.can_write_eof() and not self.transport.is_closing():
                self.transport.write_eof()
            else:
                self.transport.close()
        was_open, self._is_open = self._is_open, protocol.state is State.OPEN
        if was_open and protocol.close_expected():
            self._set_timer(self._close_timeout, self.abort)


def _how_it_closed(protocol: ClientProtocol) -> Closed:
    if protocol.state is not State.CLOSED:  # it never opened
        return Closed(1006, "", "network")
    text = str(protocol.close_exc)
    received, sent = protocol.close_rcvd, protocol.close_sent
    if received is not None and protocol.close_rcvd_then_sent is not False:
        return Closed(received.code, received.reason, "gateway", text)
    if sent is not None:  # by close(), or for a missed keepalive, or a frame that breaks RFC 6455
        return Closed(sent.code, sent.reason, "network", text)
    return Closed(1006, "", "network", text)


_masks: list[bytes] = []  # shared by all threads: taking one out and putting some in are each one step


def _make_mask() -> bytes:
    """Four bytes for each frame that nobody can foresee (RFC 6455, 5.3), with a system call for a thousand."""
    try:
        return _masks.pop()
    except IndexError:
        fresh: list[bytes] = [mask for (mask,) in struct.iter_unpack("4s", os.urandom(4096))]
        mask = fresh.pop()
        _masks.extend(fresh)
        return mask


def check_close(code: int, reason: str) -> None:
    """Refuse what a close frame cannot carry, before anything is closed.

    Raises:
        TypeError: The code is no number, or the reason no string.
        ValueError: The code is none to send, or the reason is too long.
    """
    if isinstance(code, bool) or not isinstance(code, int) or not isinstance(reason, str):
        raise TypeError(f"a close frame carries a number and a string, not {code!r} and {reason!r}")
    try:
        size = len(Close(code, reason).serialize())
    except WebSocketException as exc:
        raise ValueError(f"a close frame cannot carry the code {code}: RFC 6455 section 7.4") from exc
    if size > 125:
        raise ValueError(f"a close frame carries at most 123 bytes of reason, not {size - 2}")
