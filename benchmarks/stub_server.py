"""The stub CSMS of the benchmarks: a WebSocket server on bytes, so cheap that it never is the limit.

One loop on epoll: an event loop's own layers would be most of its work. Speaks just enough of RFC 6455 for clients on
the same machine: unfragmented frames, no compression. A connection to ``/echo/…`` gets every frame back; any other gets
the CALLRESULT that is written here for the CALL's action. The TransactionEvents of a connection to ``/ledger/…`` are
also read and counted.

Started by a benchmark, with pipes: prints its port, then answers each line with its CPU seconds so far, the messages it
answered so far and the connections that are open, or the line "ledger" with the transactions as JSON. It ends when its
standard input does, so it never outlives who started it. Speaks TLS when its argument names a file with a certificate
and its key. Linux only.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import resource
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

import orjson
from websockets.speedups import apply_mask

RESULTS = {
    b"Heartbeat": b'",{"currentTime":"2026-11-23T12:00:00.000Z"}]',
    b"BootNotification": b'",{"currentTime":"2026-11-23T12:00:00.000Z","interval":300,"status":"Accepted"}]',
    b"TransactionEvent": b'",{}]',
    b"StatusNotification": b'",{}]',
    b"SecurityEventNotification": b'",{}]',
    b"Authorize": b'",{"idTokenInfo":{"status":"Accepted"}}]',
}
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
_INPUT = memoryview(bytearray(2**18))  # what is read at a time: a buffer for each would be mapped anew each time


class Totals:
    """Of all connections."""

    answered = 0


def answer(call: bytes) -> bytes:
    """The CALLRESULT for a CALL, ``[2,"<message id>","<action>",{…}]``, found by its quotes."""
    _, message_id, _, action, _ = call.split(b'"', 4)
    return b'[3,"' + message_id + RESULTS[action]


class Ledger:
    """The transactions of all connections to ``/ledger/…``.

    By the transaction's id: its messages, how many of them did not have the next seqNo, its periodic meter values, and
    the first and the last register in Wh.
    """

    transactions: ClassVar[dict[str, list[int]]] = {}

    @classmethod
    def answer(cls, call: bytes) -> bytes:
        """Put a TransactionEvent down, and answer the CALL."""
        if b'"TransactionEvent"' in call:
            cls._put(orjson.loads(call)[3])
        return answer(call)

    @classmethod
    def _put(cls, event: dict[str, Any]) -> None:
        entry = cls.transactions.setdefault(event["transactionInfo"]["transactionId"], [0, 0, 0, -1, -1])
        entry[1] += event["seqNo"] != entry[0]
        entry[0] += 1
        for reading in event.get("meterValue", ()):
            values = reading["sampledValue"]
            entry[2] += values[0]["context"] == "Sample.Periodic"
            for value in values:
                if value["measurand"] == "Energy.Active.Import.Register":
                    entry[4] = value["value"]
                    entry[3] = entry[4] if entry[3] < 0 else entry[3]


class Connection:
    """One client."""

    __slots__ = ("buffer", "is_open", "respond", "socket", "unsent")

    def __init__(self, client: socket.socket) -> None:
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = client
        self.respond: Callable[[bytes], bytes] = answer
        self.buffer = b""
        self.unsent = b""
        self.is_open = False

    def read(self) -> bool:
        """Answer what has come; False at the end."""
        try:
            size = self.socket.recv_into(_INPUT)
        except (BlockingIOError, ssl.SSLWantReadError):  # with TLS, until the handshake's next part or a whole record
            return True
        if not size:
            return False
        data = self.buffer + _INPUT[:size]
        if not self.is_open:
            if b"\r\n\r\n" not in data:
                self.buffer = data
                return True
            self.send(self.open(data))
            return True
        at, out, goes_on = 0, [], True
        while goes_on and len(data) - at >= 6:  # two bytes of header and the mask
            opcode, size, start = data[at] & 0x0F, data[at + 1] & 0x7F, at + 6
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 8
            if len(data) < start + size:
                break
            at = start + size
            payload = apply_mask(data[start:at], data[start - 4 : start])
            if opcode == TEXT:
                out.append(frame(TEXT, self.respond(payload)))
                Totals.answered += 1
            elif opcode == PING:
                out.append(frame(PONG, payload))
            elif opcode == CLOSE:
                out.append(frame(CLOSE, payload))
                goes_on = False
        self.buffer = data[at:]
        if out:
            self.send(b"".join(out))
        return goes_on

    def send(self, data: bytes) -> None:
        """Send, or keep what the socket does not take yet; it is tried again when the client has sent more."""
        self.unsent += data
        with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError):
            self.unsent = self.unsent[self.socket.send(self.unsent) :]

    def open(self, request: bytes) -> bytes:
        """The answer to an opening handshake, with the first subprotocol asked for, if any."""
        self.buffer = b""
        self.is_open = True
        if request.startswith(b"GET /echo/"):
            self.respond = bytes
        elif request.startswith(b"GET /ledger/"):
            self.respond = Ledger.answer
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
        return b"\r\n".join([*lines, b"", b""])


def frame(opcode: int, payload: bytes) -> bytes:
    """A server's frame, whole and unmasked."""
    size = len(payload)
    head = bytes((0x80 | opcode, size)) if size < 126 else bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    return head + payload


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    tls = None
    if len(sys.argv) > 1:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0), backlog=16_384)  # the system may allow fewer
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    epoll = select.epoll()
    for file in (listener, sys.stdin):
        epoll.register(file, select.EPOLLIN)
    connections: dict[int, Connection] = {}
    while True:
        for number, _event in epoll.poll(maxevents=1024):
            connection = connections.get(number)
            if connection is not None:
                try:
                    goes_on = connection.read()
                except OSError:
                    goes_on = False
                if not goes_on:
                    del connections[number]
                    connection.socket.close()
            elif number == listener.fileno():
                client, _ = listener.accept()
                if tls is not None:
                    client = tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
                connections[client.fileno()] = Connection(client)
                epoll.register(client, select.EPOLLIN)
            elif not (line := sys.stdin.readline()):
                return
            elif line.strip() == "ledger":
                print(orjson.dumps(Ledger.transactions).decode(), flush=True)
            else:
                print(time.process_time(), Totals.answered, len(connections), flush=True)


if __name__ == "__main__":
    main()
