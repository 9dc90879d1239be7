"""AWS IoT Core's limits of messages and subscriptions, on the local stack's broker: by plain MQTT and plain boto3.

AWS General Reference, "AWS IoT Core endpoints and quotas", section "Message broker and protocol limits".
"""

import asyncio
import contextlib
import inspect
import json
import struct
from typing import Any

import aiomqtt
import pytest
from botocore.exceptions import ClientError
from conftest import SOON
from ministack.services import iot, iot_data
from stack_fixtures import Boto, Mqtt, mqtt, new_id

from cpsim_kit.local.launcher import LocalProcess

LIMIT = 128 * 1024
V311, V5 = aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5
VERSIONS = pytest.mark.parametrize("protocol", [V311, V5], ids=["3.1.1", "5"])
SEVEN, EIGHT = "/2/3/4/5/6/7/8", "/2/3/4/5/6/7/8/9"


class Client:
    """An MQTT client that the broker may disconnect; it is left in any state."""

    def __init__(self, process: LocalProcess, protocol: aiomqtt.ProtocolVersion) -> None:
        self.id = new_id("client")
        self._context = mqtt(process, identifier=self.id, protocol=protocol)
        self._mqtt: Mqtt | None = None

    async def __aenter__(self) -> "Client":
        self._mqtt = await self._context.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(aiomqtt.MqttError):
            await self._context.__aexit__(None, None, None)

    @property
    def client(self) -> aiomqtt.Client:
        assert self._mqtt is not None
        return self._mqtt.client

    @property
    def paho(self) -> Any:
        """The client below aiomqtt. It sends without waiting for an answer, which may never come."""
        return self.client._client

    async def is_disconnected(self) -> None:
        """Wait until the broker has closed the connection."""
        with pytest.raises(aiomqtt.MqttError):
            await asyncio.wait_for(anext(self.client.messages), SOON)


def presence_of(process: LocalProcess, client: Client) -> contextlib.AbstractAsyncContextManager[Mqtt]:
    """An MQTT client that is subscribed to the event of the client's end."""
    return mqtt(process, f"$aws/events/presence/disconnected/{client.id}")


async def end_of(broker: Mqtt) -> tuple[str, bool]:
    """Reason and initiator of the end in the next presence event."""
    [event] = await broker.events(1)
    return event["disconnectReason"], event["clientInitiatedDisconnect"]


CLIENT_ERROR = ("CLIENT_ERROR", False)


# -- Messages ----------------------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1])
async def test_a_payload_of_128_kib_passes_and_a_longer_one_disconnects(
    shared: LocalProcess, protocol: aiomqtt.ProtocolVersion, qos: int
) -> None:
    topic = new_id("topic")
    async with mqtt(shared, topic) as listener, Client(shared, protocol) as client:
        async with presence_of(shared, client) as broker:
            await client.client.publish(topic, b"x" * LIMIT, qos=qos)
            assert await listener.take() == [(topic, b"x" * LIMIT)]
            client.paho.publish(topic, b"y" * (LIMIT + 1), qos)
            await client.is_disconnected()
            assert await end_of(broker) == CLIENT_ERROR
        await listener.publish(topic, "next")
        assert await listener.take() == [(topic, b"next")]  # the longer one was not delivered


def test_https_publish_takes_128_kib_and_answers_413_to_more(boto: Boto) -> None:
    publish, topic = boto("iot-data").publish, new_id("topic")
    publish(topic=topic, qos=1, payload=b"x" * LIMIT)
    with pytest.raises(ClientError) as caught:
        publish(topic=topic, qos=1, payload=b"x" * (LIMIT + 1))
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert response["Error"]["Code"] == "RequestEntityTooLargeException"
    del caught  # its frames keep sockets open


TOO_LONG = {"8 slashes": EIGHT, "257 bytes": "x" * 257, "258 bytes of 129 letters": "ž" * 129}


@VERSIONS
@pytest.mark.parametrize("end", TOO_LONG.values(), ids=TOO_LONG)
async def test_a_client_that_publishes_to_a_topic_beyond_the_limits_is_disconnected(
    shared: LocalProcess, protocol: aiomqtt.ProtocolVersion, end: str
) -> None:
    async with Client(shared, protocol) as client, presence_of(shared, client) as broker:
        client.paho.publish(end if end != EIGHT else f"{new_id('t')}{end}", b"1", 1)
        await client.is_disconnected()
        assert await end_of(broker) == CLIENT_ERROR


@VERSIONS
async def test_topics_within_the_limits_pass_and_reserved_prefixes_do_not_count(
    shared: LocalProcess, boto: Boto, protocol: aiomqtt.ProtocolVersion
) -> None:
    topic = f"{new_id('t')}{SEVEN}"
    async with mqtt(shared, topic) as listener, Client(shared, protocol) as client:
        for ingested in (topic, "x" * 256):  # by Basic Ingest; there is no rule with that name
            await client.client.publish(f"$aws/rules/noSuchRule/{ingested}", b"0", qos=1)
            boto("iot-data").publish(topic=f"$aws/rules/noSuchRule/{ingested}", payload=b"0")
        await client.client.publish(f"{new_id('t')}".ljust(256, "x"), b"1", qos=1)
        await client.client.publish(topic, b"2", qos=1)
        assert await listener.take() == [(topic, b"2")]


def test_https_publish_refuses_a_topic_beyond_the_limits(boto: Boto) -> None:
    publish = boto("iot-data").publish
    publish(topic=f"{new_id('t')}{SEVEN}", payload=b"1")
    for topic in (f"{new_id('t')}{EIGHT}", "x" * 257, f"$aws/rules/noSuchRule/a{EIGHT}"):
        with pytest.raises(boto("iot-data").exceptions.InvalidRequestException):
            publish(topic=topic, payload=b"1")


# -- Subscriptions -----------------------------------------------------------------------------------------------------


@VERSIONS
async def test_eight_filters_in_a_subscribe_pass_and_nine_disconnect(
    shared: LocalProcess, protocol: aiomqtt.ProtocolVersion
) -> None:
    topics = [new_id("topic") for _ in range(9)]

    def filters(count: int) -> Any:
        if protocol == V5:
            return [(topic, aiomqtt.client.SubscribeOptions(qos=1)) for topic in topics[:count]]
        return [(topic, 1) for topic in topics[:count]]

    async with Client(shared, protocol) as client, presence_of(shared, client) as broker:
        granted = await client.client.subscribe(filters(8))
        assert len(granted) == 8
        for topic in topics[:8]:
            await client.client.publish(topic, topic)
            assert str((await anext(client.client.messages)).topic) == topic
        client.paho.subscribe(filters(9))
        await client.is_disconnected()
        assert await end_of(broker) == CLIENT_ERROR


FILTERS = {
    "8 slashes": EIGHT,
    "8 slashes with wildcards": "/+/3/4/5/6/7/8/#",
    "257 bytes": "".ljust(256, "x"),
    "# before the end": "/#/a",
    "+ in a level": "/a+",
}


@pytest.mark.parametrize("end", FILTERS.values(), ids=FILTERS)
async def test_a_wrong_filter_disconnects_mqtt_3_and_is_refused_by_mqtt_5(
    shared: LocalProcess, boto: Boto, end: str
) -> None:
    wrong, right = f"t{end}", new_id("topic")
    async with Client(shared, V311) as client, presence_of(shared, client) as broker:
        # paho refuses a wrong filter, so the packet is built here
        await subscribe_raw(client, wrong)
        await client.is_disconnected()
        assert await end_of(broker) == CLIENT_ERROR
    if "#/" in end or "a+" in end:
        return
    async with Client(shared, V5) as client:
        options = aiomqtt.client.SubscribeOptions(qos=1)
        granted = await client.client.subscribe([(wrong, options), (right, options)])
        assert [code.is_failure for code in granted] == [True, False]
        boto("iot-data").publish(topic=right, payload=b"still there")
        message = await asyncio.wait_for(anext(client.client.messages), SOON)
        assert str(message.topic) == right


async def subscribe_raw(client: Client, topic_filter: str) -> None:
    """Send a SUBSCRIBE of MQTT 3.1.1 without a check."""
    encoded = topic_filter.encode()
    body = struct.pack("!HH", 9, len(encoded)) + encoded + b"\x01"
    length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) % 128 | 0x80, len(body) // 128])
    client.paho._packet_queue(0x82, b"\x82" + length + body, 9, 1)


@VERSIONS
async def test_a_filter_within_the_limits_is_granted(
    shared: LocalProcess, boto: Boto, protocol: aiomqtt.ProtocolVersion
) -> None:
    topic = f"{new_id('t')}{SEVEN}"
    async with mqtt(shared, topic, protocol=protocol) as broker:
        boto("iot-data").publish(topic=topic, payload=b"1")
        assert await broker.take() == [(topic, b"1")]


# -- Whether ministack still needs the guard ---------------------------------------------------------------------------


class Session:
    """A session of ministack's own broker, in this process and without the guard, fed with packets."""

    def __init__(self, client_id: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.session = iot._WSSession(self._send, "account", "us-east-1")
        self.client_id = client_id

    async def _send(self, message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        self.sent.append(message)

    async def connect(self) -> None:
        name = self.client_id.encode()
        body = b"\x00\x04MQTT\x04\x02\x00\x3c" + struct.pack("!H", len(name)) + name
        assert await self.session.handle_packet(iot.PKT_CONNECT, 0, body)

    @property
    def is_closed(self) -> bool:
        return any(message["type"] == "websocket.close" for message in self.sent)


def text(value: str) -> bytes:
    return struct.pack("!H", len(value)) + value.encode()


async def test_ministack_alone_accepts_what_the_guard_refuses() -> None:
    """If this fails, ministack refuses it, and that part of the guard can be deleted."""
    client = Session(new_id("client"))
    await client.connect()
    try:
        packet = client.session.handle_packet
        assert await packet(iot.PKT_PUBLISH, 0, text("t") + b"x" * (LIMIT + 1))
        assert await packet(iot.PKT_PUBLISH, 0, text(f"t{EIGHT}") + b"1")
        nine = b"".join(text(f"t{number}") + b"\x00" for number in range(9))
        assert await packet(iot.PKT_SUBSCRIBE, 2, b"\x00\x01" + nine)
        assert await packet(iot.PKT_SUBSCRIBE, 2, b"\x00\x02" + text(f"t{EIGHT}") + b"\x00")
        assert await packet(iot.PKT_SUBSCRIBE, 2, b"\x00\x03" + text("a/#/b") + b"\x00")
    finally:
        await client.session.cleanup()
    assert iot_data._validate_topic(f"t{EIGHT}") is None
    assert (await iot_data._publish("t", b"x" * (LIMIT + 1), {}, {}, ""))[0] == 200


async def test_ministack_alone_keeps_two_clients_that_take_over_an_id_at_once() -> None:
    """If this fails, ministack evicts in turn, and that part of the guard can be deleted."""
    name = new_id("client")
    first, second, third = Session(name), Session(name), Session(name)
    try:
        await first.connect()
        await asyncio.gather(second.connect(), third.connect())
        assert first.is_closed
        assert (second.is_closed, third.is_closed) == (False, False)
    finally:
        for each in (first, second, third):
            await each.session.cleanup()


@pytest.mark.parametrize(
    ("module", "name", "arguments", "is_async"),
    [
        (iot, "_create_thing", ("name", {}), False),
        (iot, "_update_thing", ("name", {}), False),
        (iot, "_list_things", ({},), False),
        (iot, "error_response_json", ("code", "message", 400), False),
        (iot, "json_response", ({},), False),
        (iot, "update_thing_shadow", ("thing", "", {}), False),
        (iot, "parse_shadow_request", (b"{}",), False),
        (iot, "_compute_delta", ({}, {}), False),
        (iot, "_handle_shadow_publish", ("account", "region", "thing", "update", None, b""), True),
        (iot, "_build_metadata", ({}, 1), False),
        (iot, "_shadow_now", (), False),
        (iot, "_read_string", (b"", 0), False),
        (iot, "_decode_properties", (b"", 0), False),
        (iot, "_make_disconnect", (0,), False),
        (iot, "_reserved_filter_subscribe_allowed", ("filter",), False),
        (iot, "_validate_publish_topic", ("topic",), False),
        (iot, "_next_presence_version", ("account", "region", "client"), False),
        (iot, "_register_client", ("account", "region", "client", None, None), False),
        (iot, "_force_disconnect_duplicate", ("account", "region", "client"), True),
        (iot, "_WSSession", (None, "account", "region", "principal"), False),
        (iot._WSSession, "_dispatch_packet", (None, 1, 0, b""), True),
        (iot._WSSession, "_publish_connected", (None,), True),
        (iot._WSSession, "_publish_lifecycle", (None, "subscribed"), True),
        (iot._WSSession, "disconnect_reason", (None,), False),
        (iot._WSSession, "send_bytes", (None, b""), True),
        (iot._WSSession, "cleanup", (None,), True),
        (iot_data, "_shadow", ("GET", "/path", b"", {}), True),
        (iot_data, "_publish", ("topic", b"", {}, {}, "key"), True),
        (iot_data, "_validate_topic", ("topic",), False),
        (iot_data, "error_response_json", ("code", "message", 400), False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ministack_has_the_functions_that_the_guards_use(
    module: Any, name: str, arguments: tuple[object, ...], is_async: bool
) -> None:
    """The signature accepts the guards' call."""
    function = getattr(module, name)
    inspect.signature(function).bind(*arguments)
    assert inspect.iscoroutinefunction(function) is is_async


def test_ministack_has_the_tables_that_the_guards_use() -> None:
    assert isinstance(iot._connected_clients, dict)
    assert isinstance(iot._persistent_sessions, dict)
    assert json.dumps(dict(iot._shadows.items())) == "{}"
    assert hasattr(iot._things, "items")
    assert iot_data._MAX_TOPIC_BYTES == 256
