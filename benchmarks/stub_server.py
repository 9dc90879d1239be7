"""The stub CSMS of the benchmarks: a WebSocket server on bytes, so cheap that it never is the limit.

Speaks just enough of RFC 6455 for clients on the same machine: unfragmented frames, no compression. A connection to
``/echo/…`` gets every frame back; any other gets the CALLRESULT that is written here for the CALL's action.

Started by a benchmark, with pipes: prints its port, then answers each line with its CPU seconds so far, the messages it
answered so far and the connections that are open, and ends when its standard input does, so it never outlives who
started it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import resource
import sys
import threading
import time
from collections.abc import Callable

import uvloop
from websockets.utils import apply_mask

RESULTS = {
    b"Heartbeat": b'",{"currentTime":"2026-11-23T12:00:00.000Z"}]',
    b"BootNotification": b'",{"currentTime":"2026-11-23T12:00:00.000Z","interval":300,"status":"Accepted"}]',
    b"TransactionEvent": b'",{}]',
}
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Totals:
    """Of all connections."""

    answered = 0
    open = 0


def answer(call: bytes) -> bytes:
    """The CALLRESULT for a CALL, ``[2,"<message id>","<action>",{…}]``, found by its quotes."""
    _, message_id, _, action, _ = call.split(b'"', 4)
    return b'[3,"' + message_id + RESULTS[action]


class Connection(asyncio.Protocol):
    """One client."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.respond: Callable[[bytes], bytes] = answer
        self.buffer = b""
        self.is_open = False
        Totals.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        Totals.open -= 1

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data if self.buffer else data
        if not self.is_open:
            if b"\r\n\r\n" not in data:
                self.buffer = data
                return
            self.open(data)
            data = b""
        at, out = 0, []
        while len(data) - at >= 6:  # two bytes of header and the mask
            opcode, size, start = data[at] & 0x0F, data[at + 1] & 0x7F, at + 6
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 8
            if len(data) < start + size:
                break
            at = start + size
            payload = apply_mask(data[start:at], data[start - 4 : start])
            if opcode == TEXT:
                out.append(frame(TEXT, self.respond(payload)))
            elif opcode == PING:
                out.append(frame(PONG, payload))
            elif opcode == CLOSE:
                self.transport.write(frame(CLOSE, payload))
                self.transport.close()
                return
        self.buffer = data[at:]
        if out:
            Totals.answered += len(out)
            self.transport.write(b"".join(out))

    def open(self, request: bytes) -> None:
        """Accept the opening handshake, with the first subprotocol asked for, if any."""
        self.buffer = b""
        self.is_open = True
        if request.startswith(b"GET /echo/"):
            self.respond = bytes
        fields = dict(re.findall(rb"(?mi)^(sec-websocket-[a-z]+): *([^,\r]+)", request.lower()))
        key = re.search(rb"(?mi)^sec-websocket-key: *(\S+)", request)
        assert key is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        lines = [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + accept,
        ]
        if b"sec-websocket-protocol" in fields:
            lines.append(b"Sec-WebSocket-Protocol: " + fields[b"sec-websocket-protocol"])
        self.transport.write(b"\r\n".join([*lines, b"", b""]))


def frame(opcode: int, payload: bytes) -> bytes:
    """A server's frame, whole and unmasked."""
    size = len(payload)
    head = bytes((0x80 | opcode, size)) if size < 126 else bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    return head + payload


async def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=16_384)  # the system may allow fewer
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()

    def control() -> None:
        for _ in sys.stdin:
            print(time.process_time(), Totals.answered, Totals.open, flush=True)
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=control, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
