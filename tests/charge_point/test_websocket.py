"""The short cuts of a charge point's WebSocket, against what websockets makes of the same bytes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import random
import re
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from conftest import MS, SOON, until
from websockets.asyncio.server import ServerConnection, serve
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from cpsim_kit.charge_point.opening import open_websocket
from cpsim_kit.charge_point.websocket import WebSocket
from cpsim_kit.errors import Closed

Write = Callable[[bytes], Awaitable[None]]


async def connect(
    port: int, compression: str | None = None, *, ping_interval: float | None = None, ping_timeout: float | None = None
) -> WebSocket:
    return await open_websocket(
        "CP1",
        f"ws://127.0.0.1:{port}/CP1",
        subprotocol="ocpp2.0.1",
        headers={},
        ssl=None,
        compression=compression,
        open_timeout=SOON,
        close_timeout=SOON,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
    )


def receive(transport: WebSocket, on_message: Callable[[bytes], None]) -> asyncio.Future[Closed]:
    """Begin to receive; the future is how the connection closed."""
    closed: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
    transport.receive(on_message, closed.set_result)
    return closed


@asynccontextmanager
async def server(behave: Callable[[bytes, Write], Awaitable[None]]) -> AsyncIterator[int]:
    """A TCP server's port; it leaves the handshake's answer, and all that follows, to ``behave``."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        key = re.search(rb"(?mi)^sec-websocket-key: *(\S+)", await reader.readuntil(b"\r\n\r\n"))
        assert key is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())

        async def write(data: bytes) -> None:
            writer.write(data)
            for _ in range(3):  # the client, on the same loop, reads it
                await asyncio.sleep(0)

        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        await behave(head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n", write)
        await reader.read(1)  # a pong, or its close frame
        writer.write_eof()
        await reader.read()
        writer.close()

    tcp = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield tcp.sockets[0].getsockname()[1]
    finally:
        tcp.close()
        await asyncio.wait_for(asyncio.gather(*tasks), SOON)


def frame(opcode: int, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(Opcode(opcode), data, fin).serialize(mask=False)


CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GOODBYE = frame(CLOSE, struct.pack("!H", 1000) + b"bye")

STREAMS: dict[str, bytes] = {
    "small texts": b"".join(frame(TEXT, b"x" * size) for size in (0, 1, 2, 125, 126, 127, 300)),
    "texts that are UTF-8": frame(TEXT, "ž🔌".encode()) + frame(TEXT, "🔌".encode()[:2], fin=False)
    + frame(CONT, "🔌".encode()[2:]) + frame(TEXT, "充".encode() * 20_000) + frame(TEXT, b"end"),
    "a text that is not UTF-8": frame(TEXT, b"1") + frame(TEXT, b"\x81\x05\xff") + frame(TEXT, b"3") * 2,
    "a text that ends too soon": frame(TEXT, b"1") + frame(TEXT, "🔌".encode()[:3]) + frame(TEXT, b"3"),
    "a text with a surrogate": frame(TEXT, b"\xed\xa0\x80") + frame(TEXT, b"2"),
    "a long text that is not UTF-8": frame(TEXT, b"1") + frame(TEXT, b"x" * 2**15 + b"\xff") + frame(TEXT, b"3"),
    "fragments that are not UTF-8": frame(TEXT, b"1") + frame(TEXT, b"\xff", fin=False) + frame(PING)
    + frame(CONT, b"2") + frame(TEXT, b"3"),
    "binary that is not UTF-8": frame(BINARY, b"\xff") + frame(BINARY, b"\xff", fin=False) + frame(CONT, b"\xff")
    + frame(TEXT, b"1"),
    "a close reason that is not UTF-8": frame(TEXT, b"1") + frame(CLOSE, b"\x03\xe8\xff\xfe"),
    "longer texts": b"".join(frame(TEXT, b"x" * size) for size in (2**15, 2**15 + 1, 3, 65_535, 65_536, 4, 2**20, 5)),
    "too long": frame(TEXT, b"first") + frame(TEXT, b"x" * (2**20 + 1)),
    "a length that needs no such field": b"\x81\x7e\x00\x02hi\x81\x7f" + bytes(7) + b"\x02ho" + frame(TEXT, b"end"),
    "a length that cannot be": frame(TEXT, b"first") + b"\x81\x7f" + b"\xff" * 100,
    "pings between": frame(PING, b"p") + frame(TEXT, b"1") + frame(PONG) + frame(TEXT, b"2") + frame(PING),
    "binary between": frame(TEXT, b"1") + frame(BINARY, b"2") + frame(TEXT, b"3") + frame(TEXT, b"4"),
    "fragments": frame(TEXT, b"1", fin=False) + frame(PING) + frame(CONT, b"2", fin=False) + frame(CONT, b"3")
    + frame(TEXT, b"4") + frame(BINARY, b"5", fin=False) + frame(CONT) + frame(TEXT, b"6"),
    "a text within fragments": frame(TEXT, b"1", fin=False) + frame(TEXT, b"2") + frame(TEXT, b"3"),
    "a continuation of nothing": frame(TEXT, b"1") + frame(CONT, b"2") + frame(TEXT, b"3"),
    "masked, empty": frame(TEXT, b"1") + b"\x81\x80",
    "masked": frame(TEXT, b"1") + Frame(Opcode.TEXT, b"2").serialize(mask=True) + frame(TEXT, b"3"),
    "reserved bits": frame(TEXT, b"1") + b"\xc1\x01x" + frame(TEXT, b"3"),
    "an unknown opcode": frame(TEXT, b"1") + b"\x83\x01x" + frame(TEXT, b"3"),
    "a fragmented ping": frame(TEXT, b"1") + b"\x09\x00" + frame(TEXT, b"3"),
    "texts after the close frame": frame(TEXT, b"1") + GOODBYE + frame(TEXT, b"2") * 3,
    "an empty close frame": frame(CLOSE),
    "a close frame that cannot be": frame(TEXT, b"1") + frame(CLOSE, b"\x00"),
}  # fmt: skip


def read_by_websockets(stream: bytes) -> tuple[list[bytes], int | None]:
    """The messages of a stream of frames, and the close code; None when it stays open."""
    protocol = ClientProtocol(parse_uri("ws://127.0.0.1/"), state=State.OPEN, max_size=2**20)
    protocol.receive_data(stream)
    messages, fragments, is_text = [], b"", False
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            is_text = event.opcode is Opcode.TEXT or (is_text and event.opcode is Opcode.CONT)
            fragments += event.data
            if event.fin:
                try:
                    fragments.decode("utf-8" if is_text else "latin-1")
                except UnicodeDecodeError:  # websockets' own connection looks at that, not its protocol
                    return messages, 1007
                messages.append(fragments)
                fragments = b""
    close = protocol.close_rcvd or protocol.close_sent
    return messages, None if close is None else close.code


async def read_by_websocket(pieces: list[bytes], *, with_handshake: bool) -> tuple[list[bytes], Closed]:
    """The same of the kit's transport, given the stream in pieces."""
    got: list[bytes] = []

    async def behave(handshake: bytes, write: Write) -> None:
        first = pieces[0] if with_handshake else b""
        await write(handshake + first)
        if not with_handshake:
            await receiving.wait()
        for piece in pieces[with_handshake:]:
            await write(piece)

    receiving = asyncio.Event()
    async with server(behave) as port:
        transport = await connect(port)
        closed = receive(transport, got.append)
        receiving.set()
        try:
            return got, await asyncio.wait_for(closed, SOON)
        finally:
            transport.abort()


def cuts(stream: bytes) -> list[list[int]]:
    """Where to cut a stream: nowhere, everywhere, then at random."""
    random.seed(7)
    some = sorted(random.sample(range(1, len(stream)), min(5, len(stream) - 1)))
    return [[], list(range(1, min(len(stream), 400))), some, *([at] for at in range(1, min(len(stream), 12)))]


@pytest.mark.parametrize("with_handshake", [True, False], ids=["with the handshake", "later"])
@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
async def test_a_stream_is_read_as_by_websockets_wherever_it_is_cut(stream: bytes, with_handshake: bool) -> None:
    messages, code = read_by_websockets(stream)
    if code is None:
        stream += GOODBYE
        messages, code = read_by_websockets(stream)
    for at in cuts(stream):
        pieces = [stream[begin:end] for begin, end in zip([0, *at], [*at, len(stream)], strict=True)]
        got, closed = await read_by_websocket(pieces, with_handshake=with_handshake)
        assert got == messages, at
        assert closed.code == code, at


async def test_the_handshakes_answer_may_be_cut_anywhere() -> None:
    async def behave(handshake: bytes, write: Write) -> None:
        stream = handshake + frame(TEXT, b"1") + frame(TEXT, b"2") + GOODBYE
        await write(stream[:at])
        await write(stream[at:])

    async with server(behave) as port:
        for at in range(1, 140):
            got: list[bytes] = []
            transport = await connect(port)
            assert await receive(transport, got.append) == Closed(1000, "bye", "gateway")
            assert got == [b"1", b"2"], at


async def test_no_message_overtakes_another() -> None:
    expected = [str(number).encode() for number in range(400)]
    random.seed(11)

    async def behave(handshake: bytes, write: Write) -> None:
        stream = handshake
        for text in expected:
            kind = random.randrange(4)
            if kind == 0:
                stream += frame(TEXT, text[:1], fin=False) + frame(CONT, text[1:])
            else:
                stream += frame(BINARY if kind == 1 else TEXT, text)
        while stream:
            size = random.randrange(1, 60)
            await write(stream[:size])
            stream = stream[size:]
        await write(GOODBYE)

    async with server(behave) as port:
        got: list[bytes] = []
        transport = await connect(port)
        assert (await receive(transport, got.append)).code == 1000
        assert got == expected


@pytest.mark.parametrize("log_level", [logging.INFO, logging.DEBUG], ids=logging.getLevelName)
@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_what_is_sent_arrives_whole_and_in_order(
    caplog: pytest.LogCaptureFixture, compression: str | None, log_level: int
) -> None:
    caplog.set_level(log_level, "websockets.client")
    may_cut_short = compression is None and log_level != logging.DEBUG
    sizes = [0, 1, 2, 3, 4, 5, 125, 126, 127, 1000, 2**15, 2**15 + 1, 65_535, 65_536, 500_000, 7]
    texts = [(f"{size:06d}" * (size // 6 + 1))[:size] for size in sizes]
    arrived: list[str | bytes] = []

    async def collect(ws: object) -> None:
        async for message in ws:  # type: ignore[attr-defined]
            arrived.append(message)

    async with serve(collect, "127.0.0.1", 0, compression=compression) as echoing:
        transport = await connect(echoing.sockets[0].getsockname()[1], compression)
        receiving = receive(transport, lambda message: None)
        now = [transport.send_now(text.encode()) or not await transport.send(text.encode()) for text in texts]
        assert any(now) == may_cut_short
        await until(lambda: len(arrived) == len(texts))
        assert arrived == texts
        await transport.close(1001, "done")
        closed = await receiving
        assert (closed.code, closed.reason, closed.by) == (1001, "done", "network")
        assert not transport.send_now(b"too late")
        assert not await transport.send(b"too late")


def test_connections_of_several_threads_do_not_disturb_each_other() -> None:
    async def talk(count: int) -> int:
        arrived: list[str | bytes] = []

        async def collect(ws: object) -> None:
            async for message in ws:  # type: ignore[attr-defined]
                arrived.append(message)

        async with serve(collect, "127.0.0.1", 0) as collecting:
            transport = await connect(collecting.sockets[0].getsockname()[1])
            for number in range(count):
                if not transport.send_now(b"%d" % number):
                    await transport.send(b"%d" % number)
            await until(lambda: len(arrived) == count)
            await transport.close()
        return sum(text == str(number) for number, text in enumerate(arrived))

    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that a thread is interrupted wherever it can be
    try:
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(lambda count: asyncio.run(talk(count)), [20_000] * 4)) == [20_000] * 4
    finally:
        sys.setswitchinterval(switch_interval)


@asynccontextmanager
async def pinged(answer: Callable[[bytes], bytes | None]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server's port, and the pings that came to it; ``answer`` makes the frame that is sent for each."""
    pings: list[bytes] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        protocol = ServerProtocol(subprotocols=[Subprotocol("ocpp2.0.1")])
        while data := await reader.read(4096):
            protocol.receive_data(data)
            events = protocol.events_received()
            if isinstance(request := next(iter(events), None), Request):
                protocol.send_response(protocol.accept(request))
            output = b"".join(protocol.data_to_send())  # with pongs of its own, which are not sent
            opcodes = {event.opcode for event in events if isinstance(event, Frame)}
            if Opcode.PING not in opcodes:
                writer.write(output)
            for event in events:
                if isinstance(event, Frame) and event.opcode is Opcode.PING:
                    pings.append(bytes(event.data))
                    if (frame := answer(pings[-1])) is not None:
                        writer.write(frame)
            if Opcode.CLOSE in opcodes:
                break
        writer.close()

    tcp = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield tcp.sockets[0].getsockname()[1], pings
    finally:
        tcp.close()
        await asyncio.wait_for(asyncio.gather(*tasks), SOON)


async def test_without_a_ping_timeout_pings_go_on_though_nobody_answers() -> None:
    async with pinged(lambda ping: None) as (port, pings):
        transport = await connect(port, ping_interval=20 * MS)
        closed = receive(transport, lambda message: None)
        await until(lambda: len(pings) >= 4)
        assert len(set(pings)) == len(pings), "each has a payload of its own"
        assert not closed.done()
        transport.abort()
        await closed


async def test_another_pong_is_no_answer_to_a_ping() -> None:
    """RFC 6455, 5.5.3: a pong that nobody asked for is allowed, and says nothing."""
    async with pinged(lambda ping: frame(PONG, b"late")) as (port, pings):
        transport = await connect(port, ping_interval=20 * MS, ping_timeout=60 * MS)
        closed = await asyncio.wait_for(receive(transport, lambda message: None), SOON)
    assert (closed.code, closed.by) == (1011, "network")
    assert len(pings) == 1


async def test_the_right_pong_keeps_the_connection() -> None:
    async with pinged(lambda ping: frame(PONG, ping)) as (port, pings):
        transport = await connect(port, ping_interval=20 * MS, ping_timeout=SOON)
        closed = receive(transport, lambda message: None)
        await until(lambda: len(pings) >= 3)
        assert not closed.done()
        transport.abort()
        await closed


async def test_nothing_more_is_written_into_a_full_send_buffer() -> None:
    """So that a gateway that does not read costs no memory without end."""
    stopped, go_on = asyncio.Event(), asyncio.Event()
    arrived = 0

    async def stop_reading(ws: ServerConnection) -> None:
        nonlocal arrived
        ws.transport.pause_reading()
        stopped.set()
        await go_on.wait()
        ws.transport.resume_reading()
        async for _ in ws:
            arrived += 1

    async with serve(stop_reading, "127.0.0.1", 0, ping_interval=None) as server:
        transport = await connect(server.sockets[0].getsockname()[1])
        closed = receive(transport, lambda message: None)
        await stopped.wait()
        message, sent = b"x" * 2**15, 0
        while transport.send_now(message):
            sent += 1
            assert sent < 10_000, "the buffer never fills"
            await asyncio.sleep(0)
        held = transport.transport.get_write_buffer_size()
        assert not transport.send_now(message)
        assert not transport.send_now(b"small")
        assert transport.transport.get_write_buffer_size() == held
        waiting = asyncio.create_task(transport.send(b"last"))
        await asyncio.sleep(20 * MS)
        assert not waiting.done()
        go_on.set()
        assert await waiting
        await until(lambda: arrived == sent + 1)
        await transport.close()
        await closed
