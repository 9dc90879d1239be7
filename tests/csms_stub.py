"""A CSMS on a real WebSocket of 127.0.0.1 that does as it is told, also wrong.

    async with Csms() as csms:
        csms.on["Heartbeat"] = delay(0.1)                       # from now on
        csms.once.append(close(1011, "no reason"))              # the next CALL only
        answer = await csms.call("Reset", {"type": "Immediate"})  # asks the charge point

A behaviour is an async function of a Link (one connection) and a Call (what the charge point asked).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl as ssl_module
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

ANSWERS: dict[str, dict[str, Any]] = {
    "Authorize": {"idTokenInfo": {"status": "Accepted"}},
    "BootNotification": {"currentTime": "2026-11-23T10:00:00Z", "interval": 10, "status": "Accepted"},
    "DataTransfer": {"status": "Accepted"},
    "Heartbeat": {"currentTime": "2026-11-23T10:00:00Z"},
}


@dataclass(frozen=True)
class Call:
    """What the charge point asked."""

    message_id: str
    action: str
    payload: Any


class Link:
    """One connection of a charge point, as the CSMS has it.

    Attributes:
        calls: What the charge point asked on it.
    """

    def __init__(self, csms: Csms, ws: ServerConnection) -> None:
        self.csms = csms
        self.ws = ws
        self.calls: list[Call] = []
        self.unanswered: set[str] = set()

    async def send(self, frame: list[Any] | str | bytes, *, text: bool = True) -> None:
        """Send a frame; a str or bytes as it is, right or wrong."""
        if isinstance(frame, list):
            if frame[0] in (3, 4):
                self.unanswered.discard(frame[1])
            frame = json.dumps(frame)
        await self.ws.send(frame, text=text)

    async def answer(self, call: Call, payload: Any = None) -> None:
        """Send a CALLRESULT."""
        await self.send([3, call.message_id, ANSWERS.get(call.action, {}) if payload is None else payload])

    def stop_reading(self) -> None:
        """Take nothing from the socket any more: no CALL, no ping, no close frame."""
        self.ws.transport.pause_reading()

    def abort(self) -> None:
        """Cut the TCP connection, with no goodbye."""
        self.ws.transport.abort()


Behaviour = Callable[[Link, Call], Awaitable[None]]


def answer(payload: Any = None) -> Behaviour:
    """Answer with CALLRESULT; the usual one unless given."""
    return lambda link, call: link.answer(call, payload)


def delay(seconds: float, then: Behaviour | None = None) -> Behaviour:
    """Wait, then answer or behave otherwise."""

    async def behave(link: Link, call: Call) -> None:
        await asyncio.sleep(seconds)
        await (then or answer())(link, call)

    return behave


def both(*behaviours: Behaviour) -> Behaviour:
    """One behaviour after the other, e.g. an answer twice."""

    async def behave(link: Link, call: Call) -> None:
        for behaviour in behaviours:
            await behaviour(link, call)

    return behave


async def silent(link: Link, call: Call) -> None:
    """Never answer."""


async def held(link: Link, call: Call) -> None:
    """Answer when told: see :meth:`Csms.release`."""
    link.csms.held.append((link, call))


def error(*elements: Any) -> Behaviour:
    """Answer with CALLERROR of these elements: code, description, details."""
    return lambda link, call: link.send([4, call.message_id, *elements])


def garbage(frame: list[Any] | str | bytes) -> Behaviour:
    """Send something else, and no answer."""
    return lambda link, call: link.send(frame)


def close(code: int = 1000, reason: str = "") -> Behaviour:
    """Close the connection with a close frame instead of an answer."""
    return lambda link, call: link.ws.close(code, reason)


async def abort(link: Link, call: Call) -> None:
    """Cut the TCP connection instead of an answer."""
    link.abort()


class Csms:
    """The server.

    Args:
        subprotocols: What it speaks; empty: it accepts every charge point without a subprotocol.
        status: Refuse the handshake with this HTTP status.
        refuse: Close each connection once it is open, with this code and reason.
        ssl: Speak TLS.

    Attributes:
        on: The behaviour for an action, "*" for all others; answers as usual where there is none.
        once: Behaviours for the next CALLs, one each, whatever their action.
        requests: The opening handshakes, refused ones too.
        links: The connections, oldest first.
        calls: What the charge points asked.
        answers: CALLRESULT and CALLERROR frames of the charge points, in order.
        overlaps: How many CALLs came while another one of the same connection had no answer yet.
        held: CALLs that wait for :meth:`release`.
        handshake_delay: Seconds to wait before answering an opening handshake.
        refusals: HTTP statuses for the next opening handshakes, one each.
        requested_at: The moments of ``time.perf_counter()`` of the opening handshakes.
    """

    def __init__(
        self,
        *,
        subprotocols: Sequence[str] = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1"),
        status: int | None = None,
        refuse: tuple[int, str] | None = None,
        ssl: ssl_module.SSLContext | None = None,
    ) -> None:
        self._subprotocols = subprotocols
        self._status = status
        self._refuse = refuse
        self._ssl = ssl
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[list[Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: list[BaseException] = []
        self.on: dict[str, Behaviour] = {}
        self.once: deque[Behaviour] = deque()
        self.requests: list[Request] = []
        self.links: list[Link] = []
        self.calls: list[Call] = []
        self.answers: list[list[Any]] = []
        self.overlaps = 0
        self.held: list[tuple[Link, Call]] = []
        self.handshake_delay = 0.0
        self.refusals: Iterator[int] = iter(())
        self.requested_at: list[float] = []

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            ssl=self._ssl,
            process_request=self._process_request,
            select_subprotocol=self._select_subprotocol,
            ping_interval=None,
            close_timeout=1,
            max_size=2**25,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for link in self.links:
            link.abort()
        for task in self._tasks:
            task.cancel()
        self._server.close()
        await self._server.wait_closed()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not self._broken, f"the CSMS stub failed: {self._broken}"

    @property
    def url(self) -> str:
        return f"{'wss' if self._ssl else 'ws'}://127.0.0.1:{self.port}"

    @property
    def link(self) -> Link:
        """The newest connection."""
        return self.links[-1]

    @property
    def actions(self) -> list[str]:
        """What was asked, in order."""
        return [call.action for call in self.calls]

    async def release(self, index: int = 0, payload: Any = None) -> None:
        """Answer a held CALL."""
        link, call = self.held.pop(index)
        await link.answer(call, payload)

    async def call(self, action: Any, payload: Any = None) -> list[Any]:
        """Ask the charge point of the newest connection; the frame that answers, CALLRESULT or CALLERROR."""
        message_id = f"csms-{next(self._numbers)}"
        future = self._waiting[message_id] = asyncio.get_running_loop().create_future()
        await self.link.send([2, message_id, action, {} if payload is None else payload])
        return await future

    async def _process_request(self, ws: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        self.requested_at.append(time.perf_counter())
        await asyncio.sleep(self.handshake_delay)
        status = next(self.refusals, self._status)
        return None if status is None else ws.respond(status, "no")

    def _select_subprotocol(self, ws: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return next((name for name in offered if name in self._subprotocols), None)

    async def _serve(self, ws: ServerConnection) -> None:
        link = Link(self, ws)
        self.links.append(link)
        try:
            if self._refuse is not None:
                await ws.close(*self._refuse)
            async for text in ws:
                self._receive(link, json.loads(text))
        except ConnectionClosed:
            pass

    def _receive(self, link: Link, frame: list[Any]) -> None:
        if frame[0] != 2:
            self.answers.append(frame)
            future = self._waiting.pop(frame[1], None)
            if future is not None:
                future.set_result(frame)
            return
        call = Call(*frame[1:])
        self.calls.append(call)
        link.calls.append(call)
        self.overlaps += bool(link.unanswered)
        link.unanswered.add(call.message_id)
        default = self.on.get(call.action) or self.on.get("*") or answer()
        task = asyncio.create_task(self._behave(self.once.popleft() if self.once else default, link, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _behave(self, behaviour: Behaviour, link: Link, call: Call) -> None:
        try:
            await behaviour(link, call)
        except ConnectionClosed:
            pass
        except Exception as exc:
            self._broken.append(exc)
            raise


@dataclass
class RawServer:
    """What a plain TCP server saw."""

    port: int
    received: list[bytes]


@asynccontextmanager
async def raw_server(reply: bytes | None = None) -> AsyncIterator[RawServer]:
    """A TCP server that is no CSMS: it never answers, or replies these bytes to whatever comes first and hangs up."""
    writers: list[asyncio.StreamWriter] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not server.is_serving():  # it was closed while this connection was being accepted
            writer.transport.abort()
            return
        writers.append(writer)
        raw.received.append(await reader.read(65536))
        if reply is not None:
            writer.write(reply)
            writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    raw = RawServer(server.sockets[0].getsockname()[1], [])
    try:
        yield raw
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
