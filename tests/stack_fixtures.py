"""What the tests of the local stack share: one process for the whole session, and plain clients of it.

conftest.py registers its fixtures. A test that kills or closes a process starts its own.
"""

import asyncio
import functools
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiomqtt
import boto3
import pytest
from aws_proxy import AwsProxy
from botocore import loaders
from botocore.config import Config
from botocore.session import Session
from conftest import MS, SOON
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from cpsim_kit import Stack
from cpsim_kit.local.launcher import LocalOptions, LocalProcess

GLANCE = 100 * MS  # how long to look for what must not come; what must come is waited for longer, as that ends early

INTERVAL = 7  # seconds between heartbeats that the shared stack's CSMS instructs

# What a developer's own environment may hold that changes what boto3 or the kit do.
READERS_VARIABLES = ("AWS_", "BOTO_", "CPSIM_STACK", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")

T = TypeVar("T")

_numbers = itertools.count(1)
_loader = functools.cache(loaders.create_loader)  # to read boto3's models of AWS again takes longer than most tests


def new_id(prefix: str = "CP") -> str:
    """A charge point id that no other test uses."""
    return f"{prefix}-{next(_numbers)}"


async def eventually(look: Callable[[], T | Awaitable[T]], timeout: float = SOON) -> T:
    """What ``look`` returns, as soon as that is true; fails with the last value seen."""
    end = time.perf_counter() + timeout
    while True:
        seen = look()
        if isinstance(seen, Awaitable):
            seen = await seen
        if seen:
            return seen
        assert time.perf_counter() < end, f"waited {timeout:g} s, last seen: {seen!r}"
        await asyncio.sleep(10 * MS)


# -- The reader's environment -----------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without anybody's AWS settings, stack and proxies; to be changed by the test."""
    for name in list(os.environ):
        if name.upper().startswith(READERS_VARIABLES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    return monkeypatch


def use_key_of(process: LocalProcess, environment: pytest.MonkeyPatch) -> None:
    """Export a local stack's access key."""
    environment.setenv("AWS_ACCESS_KEY_ID", process.key.id)
    environment.setenv("AWS_SECRET_ACCESS_KEY", process.key.secret)


@pytest.fixture
def credentials(environment: pytest.MonkeyPatch, shared: LocalProcess) -> pytest.MonkeyPatch:
    """An environment with what the session's local stack asks for."""
    use_key_of(shared, environment)
    environment.setenv("AWS_REGION", "us-east-1")
    environment.setattr("botocore.session.create_loader", _loader)
    return environment


# -- The stack --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shared() -> Iterator[LocalProcess]:
    """The session's local stack; with what a deployed one has to be watched by."""
    process = LocalProcess(LocalOptions(name="Shared", interval=INTERVAL, services=("ecs", "monitoring")))
    yield process
    process.stop()


@pytest.fixture
async def stack(shared: LocalProcess, credentials: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    """A stack of this test alone, attached to the session's process as to AWS."""
    async with Stack.aws(shared.options.name, endpoint_url=shared.endpoint_url) as attached:
        yield attached


@pytest.fixture
async def proxy(shared: LocalProcess) -> AsyncIterator[AwsProxy]:
    """A proxy in front of the session's stack, which goes wrong on request."""
    async with AwsProxy(shared.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
async def proxied(shared: LocalProcess, proxy: AwsProxy, credentials: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    """The session's stack, through the proxy."""
    async with Stack.aws(shared.options.name, endpoint_url=proxy.url) as stack:
        yield stack


# A profile and files that a test has put into the environment are nothing to a client that it happens to make first.
_NOBODYS = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


@functools.cache
def nobodys_session() -> boto3.Session:
    return boto3.Session(botocore_session=Session(session_vars=_NOBODYS))


class Boto:
    """Plain boto3 clients of one local stack, made once: making one takes longer than most tests."""

    def __init__(self, process: LocalProcess) -> None:
        self.process = process
        self._clients: dict[str, Any] = {}
        self._resources: dict[str, str] = {}

    def __call__(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = nobodys_session().client(
                service,
                endpoint_url=self.process.endpoint_url,
                region_name=self.process.options.region,
                aws_access_key_id=self.process.key.id,
                aws_secret_access_key=self.process.key.secret,
                config=Config(proxies={}, retries={"total_max_attempts": 1}),
            )
        return self._clients[service]

    def resource(self, logical_id: str) -> str:
        """The name or address of a resource of the CloudFormation stack."""
        if not self._resources:
            answer = self("cloudformation").describe_stack_resources(StackName=self.process.options.name)
            self._resources = {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in answer["StackResources"]}
        return self._resources[logical_id]

    def is_registered(self, charge_point_id: str) -> bool:
        """Whether the gateway's registry has the id."""
        key = {"chargePointId": {"S": charge_point_id}}
        return "Item" in self("dynamodb").get_item(TableName=self.resource("ChargePointTable"), Key=key)

    def disconnect(self) -> None:
        """Close the sockets; the clients go on."""
        for client in self._clients.values():
            client.close()


@pytest.fixture(scope="session")
def shared_boto(shared: LocalProcess) -> Boto:
    return Boto(shared)


def bind(boto: Boto, thing: str) -> str:
    """Make a Thing undeletable, as AWS IoT deletes none with a certificate; returns the certificate's ARN."""
    arn: str = boto("iot").create_keys_and_certificate(setAsActive=True)["certificateArn"]
    boto("iot").attach_thing_principal(thingName=thing, principal=arn)
    return arn


@pytest.fixture
def boto(shared_boto: Boto) -> Iterator[Boto]:
    """Plain boto3 clients of the session's stack."""
    yield shared_boto
    shared_boto.disconnect()


@pytest.fixture
def register(boto: Boto) -> Callable[[], Awaitable[str]]:
    """Makes a Thing of a new id by plain boto3; returns the id once the gateway accepts it."""

    async def create() -> str:
        charge_point_id = new_id()
        boto("iot").create_thing(thingName=charge_point_id)
        await eventually(lambda: boto.is_registered(charge_point_id))
        return charge_point_id

    return create


# -- Plain clients ----------------------------------------------------------------------------------------------------


def dial(process: LocalProcess, path: str, *subprotocols: str, **options: Any) -> connect:
    """A plain WebSocket client; offers ocpp2.0.1 unless told otherwise. ``path`` is sent as it is."""
    offered = [Subprotocol(name) for name in subprotocols or ("ocpp2.0.1",)]
    url = f"{process.websocket_url}/{path}"
    options = {"subprotocols": offered, "proxy": None, "compression": None} | options
    return connect(url, **options)


async def receive(ws: ClientConnection, timeout: float = SOON) -> Any:
    """The next frame, as JSON."""
    async with asyncio.timeout(timeout):
        return json.loads(await ws.recv())


async def ask(ws: ClientConnection, action: str, payload: Any, message_id: str = "1") -> Any:
    """The answer to a CALL."""
    await ws.send(json.dumps([2, message_id, action, payload]))
    return await receive(ws)


def in_one_write(ws: ClientConnection, *frames: str) -> None:
    """Send text frames so that they arrive together."""
    ws.transport.write(b"".join(Frame(Opcode.TEXT, frame.encode()).serialize(mask=True) for frame in frames))


async def is_answered(ws: ClientConnection) -> bool:
    """Whether the CSMS answers on this connection."""
    message_id = new_id("beat")
    answer = await ask(ws, "Heartbeat", {}, message_id)
    return bool(answer[:2] == [3, message_id])


async def close_of(ws: ClientConnection, timeout: float = SOON) -> tuple[int | None, str | None]:
    """Code and reason, once the other side has closed."""
    async with asyncio.timeout(timeout):
        await ws.wait_closed()
    return ws.close_code, ws.close_reason


@dataclass
class Mqtt:
    """A plain MQTT client over WebSockets."""

    client: aiomqtt.Client

    async def publish(self, topic: str, payload: str | bytes) -> None:
        await self.client.publish(topic, payload)

    async def take(self, count: int = 1, timeout: float = SOON) -> list[tuple[str, bytes]]:
        """The next messages, each within the timeout: topic and payload."""
        taken: list[tuple[str, bytes]] = []
        try:
            while len(taken) < count:
                async with asyncio.timeout(timeout):
                    message = await anext(self.client.messages)
                taken.append((str(message.topic), bytes(message.payload)))
        except TimeoutError as exc:
            raise AssertionError(f"{len(taken)} of {count} messages, then none for {timeout:g} s: {taken}") from exc
        return taken

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next messages, as JSON objects."""
        return [json.loads(payload) for _, payload in await self.take(count)]


@asynccontextmanager
async def mqtt(process: LocalProcess, *topic_filters: str, **options: Any) -> AsyncIterator[Mqtt]:
    """An MQTT client of a local stack, subscribed once entered."""
    port = urlsplit(process.endpoint_url).port
    options = {"transport": "websockets", "websocket_path": f"/mqtt/{process.key.secret}"} | options
    async with aiomqtt.Client("127.0.0.1", port, **options) as client:
        for topic_filter in topic_filters:
            await client.subscribe(topic_filter)
        yield Mqtt(client)
