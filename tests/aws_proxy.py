"""An HTTP proxy in front of an AWS endpoint that goes wrong on purpose: throttles, denies, expires, delays, cuts.

The fault is on the network's side: neither boto3 nor the kit is patched. WebSocket upgrades (MQTT) pass through, and
can be refused or cut. One request a connection, which is all that tests need.
"""

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, urlsplit

# The operations of the REST services, by method and path; the others name theirs in a header or in the body.
REST = [
    ("POST", r"/topics/", "Publish"),
    ("GET", r"/things/[^/]+/shadow", "GetThingShadow"),
    ("POST", r"/things/[^/]+/shadow", "UpdateThingShadow"),
    ("DELETE", r"/things/[^/]+/shadow", "DeleteThingShadow"),
    ("GET", r"/things/?$", "ListThings"),
    ("GET", r"/things/", "DescribeThing"),
    ("POST", r"/things/", "CreateThing"),
    ("PATCH", r"/things/", "UpdateThing"),
    ("DELETE", r"/things/", "DeleteThing"),
    ("GET", r"/rules/", "GetTopicRule"),
    ("POST", r"/rules/", "CreateTopicRule"),
    ("PATCH", r"/rules/", "ReplaceTopicRule"),
    ("DELETE", r"/rules/", "DeleteTopicRule"),
    ("GET", r"/endpoint", "DescribeEndpoint"),
    ("GET", r"/2015-03-31/functions/[^/]+/configuration", "GetFunctionConfiguration"),
    ("GET", r"/2015-03-31/functions/[^/]+$", "GetFunction"),
    ("PUT", r"/2015-03-31/functions/[^/]+/configuration", "UpdateFunctionConfiguration"),
    ("PUT", r"/2015-03-31/functions/[^/]+/code", "UpdateFunctionCode"),
]
UPGRADE = "websocket upgrade"


@dataclass
class Request:
    """What a client asks.

    Attributes:
        operation: AWS's name, e.g. "CreateThing", or UPGRADE.
        subject: The last part of its path, which for REST services is what it is about.
    """

    head: bytes
    body: bytes
    headers: dict[str, str]
    method: str
    path: str
    operation: str = field(init=False)

    def __post_init__(self) -> None:
        self.operation = self._operation()

    @property
    def subject(self) -> str:
        return urlsplit(self.path).path.removesuffix("/shadow").rsplit("/", 1)[-1]

    def _operation(self) -> str:
        if self.headers.get("upgrade", "").lower() == "websocket":
            return UPGRADE
        if target := self.headers.get("x-amz-target"):
            return target.rsplit(".", 1)[1]
        if action := parse_qs(self.body.decode(errors="replace")).get("Action"):
            return action[0]
        path = urlsplit(self.path).path
        return next((name for method, form, name in REST if method == self.method and re.match(form, path)), path)


@dataclass
class Fault:
    """What is done to the next requests of an operation: an AWS error, a delay, a hold, the connection cut, an edit."""

    operation: str
    times: int | None
    subject: str = ""
    code: str = ""
    status: int = 400
    text: str = "injected"
    delay: float = 0
    released: asyncio.Event | None = None
    cut: bool = False
    after_forwarding: bool = False  # the request is carried out, and its answer lost
    edit: tuple[bytes, bytes] = b"", b""  # what is replaced in the answer's body, and by what


class AwsProxy:
    """Serves on 127.0.0.1 and a free port, once entered.

    Args:
        upstream: The endpoint's URL.

    Attributes:
        url: Its own URL.
        seen: How often each operation was asked.
        most_at_once: The most requests of each operation that were in progress at a time.
    """

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._host, self._port = parts.hostname, parts.port
        self._faults: list[Fault] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._upgraded: set[asyncio.StreamWriter] = set()
        self._now: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        self.upgrade_paths: list[str] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    # -- Faults -------------------------------------------------------------------------------------------------------

    def fail(self, operation: str, code: str, *, times: int | None = 1, status: int = 400, **options: object) -> None:
        """Answer the next requests with an AWS error."""
        self._faults.append(Fault(operation, times, code=code, status=status, **options))  # type: ignore[arg-type]

    def cut(self, operation: str, *, times: int | None = 1, **options: object) -> None:
        """Close the connection of the next requests without an answer."""
        self._faults.append(Fault(operation, times, cut=True, **options))  # type: ignore[arg-type]

    def delay(self, operation: str, seconds: float, *, times: int | None = None) -> None:
        """Hold the next requests up."""
        self._faults.append(Fault(operation, times, delay=seconds))

    def hold(self, operation: str) -> asyncio.Event:
        """Hold the next requests up until the event is set."""
        released = asyncio.Event()
        self._faults.append(Fault(operation, None, released=released))
        return released

    def edit(self, operation: str, old: bytes, new: bytes, *, times: int | None = 1) -> None:
        """Replace something in the answers to the next requests."""
        self._faults.append(Fault(operation, times, edit=(old, new)))

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()

    def cut_websockets(self) -> int:
        """Abort every WebSocket; how many there were."""
        count = len(self._upgraded)
        for writer in list(self._upgraded):
            writer.transport.abort()
        return count

    @property
    def websockets(self) -> int:
        """How many WebSockets are open."""
        return len(self._upgraded)

    def _fault(self, request: Request) -> Fault | None:
        for fault in self._faults:
            if fault.operation == request.operation and fault.subject in ("", request.subject):
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self._faults.remove(fault)
                return fault
        return None

    # -- Connections --------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the proxy ends
        finally:
            self._tasks.discard(task)
            writer.transport.abort() if writer.transport.is_closing() else writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _read(reader)
        name = request.operation
        self.seen[name] += 1
        self._now[name] += 1
        self.most_at_once[name] = max(self.most_at_once[name], self._now[name])
        try:
            answer = await self._answer(request)
        finally:
            self._now[name] -= 1  # before the client can know
        if answer is None:
            writer.transport.abort()
        elif answer:
            writer.write(answer)
            await writer.drain()
        else:
            self.upgrade_paths.append(request.path)
            await self._pipe(request, reader, writer)

    async def _answer(self, request: Request) -> bytes | None:
        """The answer, None to cut the connection, nothing to let a WebSocket through."""
        fault = self._fault(request)
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.released is not None:
                await fault.released.wait()
            if fault.cut and not fault.after_forwarding:
                return None
            if fault.code:
                return _error(request, fault)
        if request.operation == UPGRADE:
            return b""
        async with self._forwarded(request) as (answers, _):
            answer = await answers.read()
        if fault is not None and any(fault.edit):
            head, _, body = answer.partition(b"\r\n\r\n")
            body = body.replace(*fault.edit)
            head = re.sub(rb"(?i)(content-length: *)[0-9]+", rb"\g<1>%d" % len(body), head)
            head = re.sub(rb"(?i)\r\nx-amz-crc32:[^\r]*", b"", head)
            answer = head + b"\r\n\r\n" + body
        return None if fault is not None and fault.cut else answer

    @asynccontextmanager
    async def _forwarded(self, request: Request) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            head = request.head
            if request.operation != UPGRADE:  # one request a connection, so that its end is the answer's end
                head = re.sub(rb"(?im)^connection:[^\r]*\r\n", b"", head)[:-2] + b"Connection: close\r\n\r\n"
            writer.write(head + request.body)
            yield reader, writer
        finally:
            writer.close()

    async def _pipe(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._forwarded(request) as (answers, upstream):
            self._upgraded.add(writer)
            try:
                await asyncio.gather(_copy(reader, upstream), _copy(answers, writer))
            finally:
                self._upgraded.discard(writer)


async def _read(reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, path, _ = first.split(" ")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        raise NotImplementedError("boto3 sends no chunked requests to these services")
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(head, body, headers, method, path)


def _error(request: Request, fault: Fault) -> bytes:
    """An AWS error in the protocol of the service that was asked."""
    if request.operation == UPGRADE:
        kind, body = "application/json", json.dumps({"message": fault.text, "traceId": "x"})
    elif b"Action=" in request.body and "x-amz-target" not in request.headers:
        kind = "text/xml"
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{fault.code}</Code><Message>{fault.text}</Message></Error>"
            "<RequestId>x</RequestId></ErrorResponse>"
        )
    else:
        kind = "application/x-amz-json-1.0"
        body = json.dumps({"__type": fault.code, "message": fault.text})
    head = f"HTTP/1.1 {fault.status} Injected\r\nContent-Type: {kind}\r\nx-amzn-ErrorType: {fault.code}\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
