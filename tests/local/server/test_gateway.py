"""The local gateway, seen from outside: a plain WebSocket client, plain MQTT and plain boto3.

The facts are the AWS OCPP Gateway sample's.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable

import aiomqtt
import pytest
from conftest import SOON
from stack_fixtures import GLANCE, Boto, ask, close_of, dial, eventually, is_answered, mqtt, new_id, receive
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from cpsim_kit.local.launcher import LocalProcess

Register = Callable[[], Awaitable[str]]

UNICODE = 'žluťoučký kůň 充电桩 🔌 \\u0000 "quoted"'


async def silence(ws: ClientConnection) -> None:
    """Assert that nothing arrives."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ws.recv(), GLANCE)


async def open_raw(process: LocalProcess, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket connection past its handshake, as bare streams: it does not answer a close frame."""
    port = int(process.websocket_url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /{path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: ocpp2.0.1\r\n\r\n".encode()
    )
    async with asyncio.timeout(SOON):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return reader, writer


# -- Opening handshake -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subprotocol", ["ocpp1.6", "ocpp2.0", "ocpp2.0.1"])
async def test_each_subprotocol_of_the_sample_is_accepted(
    shared: LocalProcess, register: Register, subprotocol: str
) -> None:
    async with dial(shared, await register(), subprotocol) as ws:
        assert ws.subprotocol == subprotocol
        assert await is_answered(ws)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["ocpp2.0.1", "ocpp1.6"], {"ocpp1.6"}),  # the preferences of both sides count the same: 0 + 2 against 1 + 0
        (["ocpp1.6", "ocpp2.0.1"], {"ocpp1.6"}),
        (["ocpp2.0.1", "ocpp2.0"], {"ocpp2.0.1", "ocpp2.0"}),  # a tie
        (["ocpp2.0.1", "ocpp2.0", "ocpp1.6"], {"ocpp2.0.1", "ocpp2.0", "ocpp1.6"}),  # a tie of three
        (["ocpp2.1", "ocpp2.0.1"], {"ocpp2.0.1"}),
        (["mqtt", "OCPP1.6", "ocpp2.0"], {"ocpp2.0"}),  # names are case-sensitive
    ],
)
async def test_of_several_subprotocols_the_one_that_both_sides_prefer_is_chosen(
    shared: LocalProcess, register: Register, offered: list[str], chosen: set[str]
) -> None:
    async with dial(shared, await register(), *offered) as ws:
        assert ws.subprotocol in chosen
        assert await is_answered(ws)


@pytest.mark.parametrize("offer", [None, ["ocpp2.1"], ["mqtt", "OCPP2.0.1"]], ids=str)
async def test_without_a_common_subprotocol_the_handshake_succeeds_and_the_connection_closes_with_1000(
    shared: LocalProcess, register: Register, offer: list[Subprotocol] | None
) -> None:
    async with dial(shared, await register(), subprotocols=offer) as ws:
        assert ws.subprotocol is None
        assert await close_of(ws) == (1000, "")


async def test_the_subprotocol_is_checked_before_the_id(shared: LocalProcess) -> None:
    async with dial(shared, new_id("unknown"), subprotocols=None) as ws:
        assert await close_of(ws) == (1000, "")


@pytest.mark.parametrize("path", ["{}/", "/{}", "//{}//"])
async def test_slashes_around_the_id_are_ignored(shared: LocalProcess, register: Register, path: str) -> None:
    charge_point_id = await register()
    async with mqtt(shared, f"{charge_point_id}/in") as inside, dial(shared, path.format(charge_point_id)) as ws:
        await ws.send("hello")
        assert await inside.take() == [(f"{charge_point_id}/in", b"hello")]


# -- Ids ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["CPX", "CP%201", "100%", "a/b", "CPX?token=1", "Ladepunkt-%C3%BC", "+", "%23", "$aws/things"]
)
async def test_unknown_id_is_accepted_and_then_closed_with_1008(shared: LocalProcess, path: str) -> None:
    async with dial(shared, path) as ws:
        assert ws.subprotocol == "ocpp2.0.1"
        assert await close_of(ws) == (1008, f"Charge Point {path} not registered as an IoT Thing")


async def test_a_registered_id_in_lower_case_is_unknown(shared: LocalProcess, register: Register) -> None:
    charge_point_id = (await register()).lower()
    async with dial(shared, charge_point_id) as ws:
        assert await close_of(ws) == (1008, f"Charge Point {charge_point_id} not registered as an IoT Thing")


@pytest.mark.parametrize("path", ["", "/", "x" * 2049, "x" * 3000], ids=["none", "slashes", "2049 bytes", "3000"])
async def test_an_id_that_cannot_be_a_key_of_the_registry_is_closed_with_1011(shared: LocalProcess, path: str) -> None:
    """The sample's server does not catch DynamoDB's ValidationException."""
    async with dial(shared, path) as ws:
        assert ws.subprotocol == "ocpp2.0.1"
        assert await close_of(ws) == (1011, "")


@pytest.mark.parametrize("length", [78, 79])
async def test_the_longest_reason_of_a_close_frame_arrives_complete(shared: LocalProcess, length: int) -> None:
    path = "x" * length
    async with dial(shared, path) as ws:
        assert await close_of(ws) == (1008, f"Charge Point {path} not registered as an IoT Thing")


@pytest.mark.parametrize("length", [80, 128, 2048])
async def test_an_unknown_id_whose_reason_is_too_long_gets_no_close_frame(shared: LocalProcess, length: int) -> None:
    """The sample's server fails on a reason of more than 123 bytes."""
    async with dial(shared, "x" * length) as ws:
        assert await close_of(ws) == (1006, "")
        assert isinstance(ws.protocol.close_exc, ConnectionClosed)
        assert ws.protocol.close_exc.rcvd is None


async def test_a_registered_id_of_any_length_is_served(shared: LocalProcess, boto: Boto) -> None:
    for charge_point_id in (new_id("LONG").ljust(80, "x"), new_id("LONG").ljust(128, "x")):
        boto("iot").create_thing(thingName=charge_point_id)
        assert await eventually(lambda each=charge_point_id: boto.is_registered(each))
        async with dial(shared, charge_point_id) as ws:
            assert await is_answered(ws)


async def test_an_id_that_is_too_long_for_http_is_refused_and_others_are_still_served(
    shared: LocalProcess, register: Register
) -> None:
    async with dial(shared, await register()) as ws:
        with pytest.raises((InvalidStatus, OSError, ConnectionClosed, EOFError)):
            await dial(shared, "x" * 100_000)
        assert await is_answered(ws)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of a TLS handshake
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",  # a browser
        b"POST /CP1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /CP 1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /CP1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",  # and nothing after it
        b"\xff" * 20_000,
    ],
    ids=["nothing", "empty lines", "TLS", "browser", "POST", "space in the path", "half a handshake", "noise"],
)
async def test_a_client_that_is_no_websocket_is_refused_and_others_are_still_served(
    shared: LocalProcess, register: Register, raw: bytes
) -> None:
    port = int(shared.websocket_url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        writer.write_eof()
        async with asyncio.timeout(SOON):
            answer = await reader.read()
        assert not answer.startswith(b"HTTP/1.1 101")
    finally:
        writer.close()
    async with dial(shared, await register()) as ws:
        assert await is_answered(ws)


# -- Registry ----------------------------------------------------------------------------------------------------------


async def test_a_created_thing_is_accepted_soon(shared: LocalProcess, boto: Boto) -> None:
    charge_point_id = new_id()
    boto("iot").create_thing(thingName=charge_point_id)

    async def is_accepted() -> bool:
        async with dial(shared, charge_point_id) as ws:
            try:
                return await is_answered(ws)
            except ConnectionClosed:
                return False

    assert await eventually(is_accepted)


async def test_a_deleted_thing_is_refused_soon(shared: LocalProcess, boto: Boto, register: Register) -> None:
    charge_point_id = await register()
    boto("iot").delete_thing(thingName=charge_point_id)

    async def is_refused() -> bool:
        async with dial(shared, charge_point_id) as ws:
            with contextlib.suppress(ConnectionClosed):
                return not await is_answered(ws)
            return ws.close_code == 1008

    assert await eventually(is_refused)


async def test_a_charge_point_stays_connected_when_its_thing_is_deleted(
    shared: LocalProcess, boto: Boto, register: Register
) -> None:
    charge_point_id = await register()
    async with dial(shared, charge_point_id) as ws:
        boto("iot").delete_thing(thingName=charge_point_id)
        await eventually(lambda: not boto.is_registered(charge_point_id))
        assert await is_answered(ws)


async def test_many_things_created_and_deleted_at_once_leave_nothing_in_the_registry(
    shared: LocalProcess, boto: Boto
) -> None:
    ids = [new_id("burst") for _ in range(25)]  # more than two batches of the queue of deleted Things
    for charge_point_id in ids:
        boto("iot").create_thing(thingName=charge_point_id)
    await eventually(lambda: all(map(boto.is_registered, ids)))
    for charge_point_id in ids:
        boto("iot").delete_thing(thingName=charge_point_id)
    await eventually(lambda: not any(map(boto.is_registered, ids)))


# -- Frames ------------------------------------------------------------------------------------------------------------

FRAMES = {
    "CALL": '[2,"1","X",{}]',
    "unicode": UNICODE,
    "spaces and order": '[ 2 , "1","X",\t{"b":1.0,"a":1e3,"a":2} ]\n',
    "not JSON": "this is no JSON {",
    "empty": "",
    "100 kB": "x" * 100_000,
    "control characters": "\x00\x01\x7f",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
async def test_frames_are_published_to_in_unchanged(shared: LocalProcess, register: Register, frame: str) -> None:
    charge_point_id = await register()
    async with mqtt(shared, f"{charge_point_id}/in") as inside, dial(shared, charge_point_id) as ws:
        await ws.send(frame)
        assert await inside.take() == [(f"{charge_point_id}/in", frame.encode())]


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
async def test_a_message_of_an_mqtt_client_to_out_arrives_unchanged(
    shared: LocalProcess, register: Register, frame: str
) -> None:
    charge_point_id = await register()
    async with mqtt(shared) as outside, dial(shared, charge_point_id) as ws:
        assert await is_answered(ws)  # the gateway has registered the connection
        await outside.publish(f"{charge_point_id}/out", frame)
        async with asyncio.timeout(SOON):
            assert await ws.recv() == frame


async def test_a_message_of_boto3_to_out_arrives_unchanged(
    shared: LocalProcess, boto: Boto, register: Register
) -> None:
    charge_point_id = await register()
    async with dial(shared, charge_point_id) as ws:
        assert await is_answered(ws)
        boto("iot-data").publish(topic=f"{charge_point_id}/out", qos=1, payload=UNICODE.encode())
        async with asyncio.timeout(SOON):
            assert await ws.recv() == UNICODE


async def test_a_binary_frame_is_published_to_in_byte_for_byte(shared: LocalProcess, register: Register) -> None:
    charge_point_id = await register()
    async with mqtt(shared, f"{charge_point_id}/in") as inside, dial(shared, charge_point_id) as ws:
        await ws.send(b"\xff\x00\xfe")
        assert await inside.take() == [(f"{charge_point_id}/in", b"\xff\x00\xfe")]


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize(
    "text",
    [b'[2,"a","Reset",{"type":"\xff\xfe"}]', [b'[2,"1","Heartbeat",', b'{"a":"\xc3', b'"}]'], b"\xed\xa0\x80"],
    ids=["at once", "in fragments", "a surrogate"],
)
async def test_a_text_frame_that_is_not_utf_8_closes_with_1007(
    shared: LocalProcess, register: Register, text: bytes | list[bytes], compression: str | None
) -> None:
    """RFC 6455, 8.1; the sample's ``recv()`` does the same."""
    charge_point_id = await register()
    async with mqtt(shared, f"{charge_point_id}/in") as inside:
        async with dial(shared, charge_point_id, compression=compression) as ws:
            await ws.send('[2,"1","Heartbeat",{}]')
            await ws.send(text, text=True)
            assert (await close_of(ws))[0] == 1007
        async with dial(shared, charge_point_id) as ws:
            await ws.send(UNICODE)
            assert [payload for _, payload in await inside.take(2)] == [b'[2,"1","Heartbeat",{}]', UNICODE.encode()]


async def test_frames_keep_their_order(shared: LocalProcess, register: Register) -> None:
    charge_point_id = await register()
    async with mqtt(shared, f"{charge_point_id}/in") as inside, dial(shared, charge_point_id) as ws:
        for number in range(200):
            await ws.send(str(number))
        assert [int(payload) for _, payload in await inside.take(200)] == list(range(200))


async def test_an_answer_reaches_only_its_own_charge_point(shared: LocalProcess, register: Register) -> None:
    first, second = await register(), await register()
    async with dial(shared, first) as one, dial(shared, second) as other:
        assert await is_answered(other)
        assert await is_answered(one)
        await silence(other)


async def test_a_payload_that_is_not_utf_8_closes_with_1011(
    shared: LocalProcess, boto: Boto, register: Register
) -> None:
    charge_point_id = await register()
    async with dial(shared, charge_point_id) as ws:
        assert await is_answered(ws)
        boto("iot-data").publish(topic=f"{charge_point_id}/out", payload=b"\xff\xfe")
        assert (await close_of(ws))[0] == 1011
    async with dial(shared, charge_point_id) as ws:
        assert await is_answered(ws)


@pytest.mark.parametrize("payload", [b"anybody?", b"\xff\xfe"], ids=["text", "not UTF-8"])
async def test_publishing_for_a_charge_point_that_is_not_connected_is_no_error(
    shared: LocalProcess, boto: Boto, register: Register, payload: bytes
) -> None:
    before, absent = shared.log(1000).splitlines(), new_id("absent")
    boto("iot-data").publish(topic=f"{absent}/out", payload=payload)
    boto("iot-data").publish(topic="/out", payload=payload)
    async with dial(shared, await register()) as ws:
        assert await is_answered(ws)
    logged = set(shared.log(1000).splitlines()) - set(before)
    assert not [line for line in logged if "iot_broker" in line or absent in line]  # where a failed delivery is logged


async def test_a_slow_charge_point_does_not_delay_others(shared: LocalProcess, boto: Boto, register: Register) -> None:
    lazy, busy = await register(), await register()
    async with dial(shared, lazy, max_queue=1, max_size=None) as sleeper, dial(shared, busy) as ws:
        assert await is_answered(sleeper)
        for _ in range(100):  # 10 MB, which is more than a socket buffers
            boto("iot-data").publish(topic=f"{lazy}/out", payload=b"x" * 100_000)
        for _ in range(5):
            assert await is_answered(ws)
        for _ in range(100):  # nothing is lost
            async with asyncio.timeout(SOON):
                assert len(await sleeper.recv()) == 100_000


# -- AWS IoT's limit of a message --------------------------------------------------------------------------------------

LIMIT = 128 * 1024


@pytest.mark.parametrize("as_text", [True, False], ids=["text", "binary"])
async def test_a_frame_of_128_kib_passes_and_a_longer_one_closes_with_1000(
    shared: LocalProcess, register: Register, as_text: bool
) -> None:
    charge_point_id = await register()
    longest: str | bytes = "x" * LIMIT if as_text else b"x" * LIMIT
    longer: str | bytes = "x" * (LIMIT + 1) if as_text else b"x" * (LIMIT + 1)
    presence = f"$aws/events/presence/disconnected/{charge_point_id}"
    async with mqtt(shared, f"{charge_point_id}/in") as inside, mqtt(shared, presence) as broker:
        async with dial(shared, charge_point_id) as ws:
            await ws.send(longest)
            assert await inside.take() == [(f"{charge_point_id}/in", b"x" * LIMIT)]
            await ws.send(longer)
            assert await close_of(ws) == (1000, "")
            [event] = await broker.events(1)
            assert (event["disconnectReason"], event["clientInitiatedDisconnect"]) == ("CLIENT_ERROR", False)
        async with dial(shared, charge_point_id) as ws:
            assert await is_answered(ws)
            [(_, payload)] = await inside.take()
            assert json.loads(payload)[2] == "Heartbeat"  # the longer one was not published


async def test_the_limit_counts_bytes_and_whole_messages(shared: LocalProcess, register: Register) -> None:
    async with dial(shared, await register()) as ws:
        await ws.send("ž" * (LIMIT // 2 + 1))  # two bytes each
        assert await close_of(ws) == (1000, "")
    async with dial(shared, await register()) as ws:
        with contextlib.suppress(ConnectionClosed):
            await ws.send(iter(["x" * LIMIT, "x"]))
        assert await close_of(ws) == (1000, "")


# -- Takeover ----------------------------------------------------------------------------------------------------------


async def test_a_second_connection_with_the_same_id_closes_the_first(shared: LocalProcess, register: Register) -> None:
    charge_point_id = await register()
    async with dial(shared, charge_point_id) as older:
        assert await is_answered(older)
        async with dial(shared, charge_point_id) as newer:
            assert await close_of(older) == (1000, "")
            assert await is_answered(newer)


async def test_after_a_takeover_messages_go_to_the_newer_connection_only(
    shared: LocalProcess, boto: Boto, register: Register
) -> None:
    charge_point_id = await register()
    async with dial(shared, charge_point_id) as older, mqtt(shared, f"{charge_point_id}/in") as inside:
        assert await is_answered(older)
        await inside.take()
        async with dial(shared, charge_point_id) as newer:
            assert await close_of(older) == (1000, "")
            boto("iot-data").publish(topic=f"{charge_point_id}/out", payload=b"for you")
            async with asyncio.timeout(SOON):
                assert await newer.recv() == "for you"
            assert [frame async for frame in older] == []


async def test_a_frame_of_an_evicted_connection_is_not_published(shared: LocalProcess, register: Register) -> None:
    """The older client does not answer the close frame, and sends more."""
    charge_point_id = await register()
    reader, writer = await open_raw(shared, charge_point_id)
    try:
        async with mqtt(shared, f"{charge_point_id}/in") as inside:
            writer.write(Frame(Opcode.TEXT, b'"before"').serialize(mask=True))
            assert await inside.take() == [(f"{charge_point_id}/in", b'"before"')]
            async with dial(shared, charge_point_id) as newer:
                async with asyncio.timeout(SOON):
                    assert (await reader.readexactly(2))[0] == 0x80 | Opcode.CLOSE
                writer.write(Frame(Opcode.TEXT, b'"after"').serialize(mask=True))
                await writer.drain()
                for _ in range(5):
                    assert await is_answered(newer)
                assert [json.loads(payload)[2] for _, payload in await inside.take(5)] == ["Heartbeat"] * 5
    finally:
        writer.transport.abort()


async def test_a_takeover_shows_in_the_presence_events(shared: LocalProcess, register: Register) -> None:
    charge_point_id = await register()
    async with mqtt(shared, f"$aws/events/presence/+/{charge_point_id}") as broker:
        async with dial(shared, charge_point_id) as older:
            [first] = await broker.events(1)
            async with dial(shared, charge_point_id):
                await close_of(older)
                evicted, second = await broker.events(2)
        [gone] = await broker.events(1)
    story = [event["eventType"] for event in (first, evicted, second, gone)]
    assert story == ["connected", "disconnected", "connected", "disconnected"]
    assert evicted["disconnectReason"] == "DUPLICATE_CLIENTID"
    assert evicted["clientInitiatedDisconnect"] is False
    assert evicted["sessionIdentifier"] == first["sessionIdentifier"]
    assert gone["sessionIdentifier"] == second["sessionIdentifier"] != first["sessionIdentifier"]
    versions = [event["versionNumber"] for event in (first, evicted, second, gone)]
    assert versions == [0, 0, 1, 1]
    assert all(event["clientId"] == charge_point_id and event["timestamp"] > 1e12 for event in (first, gone))


async def test_an_mqtt_client_with_a_charge_points_id_takes_it_over(shared: LocalProcess, register: Register) -> None:
    charge_point_id = await register()
    async with mqtt(shared, f"$aws/events/presence/+/{charge_point_id}") as broker:
        async with dial(shared, charge_point_id) as ws:
            assert await is_answered(ws)
            async with mqtt(shared, identifier=charge_point_id) as usurper:
                assert await close_of(ws) == (1000, "")
                await usurper.publish(new_id("topic"), "still there")
        connected, evicted, again, left = await broker.events(4)
    assert [event["eventType"] for event in (connected, evicted, again, left)] == ["connected", "disconnected"] * 2
    assert (evicted["disconnectReason"], evicted["clientInitiatedDisconnect"]) == ("DUPLICATE_CLIENTID", False)
    assert left["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"
    for begin, end in ((connected, evicted), (again, left)):
        assert begin["sessionIdentifier"] == end["sessionIdentifier"]
        assert begin["versionNumber"] == end["versionNumber"]
    assert connected["sessionIdentifier"] != again["sessionIdentifier"]
    assert connected["versionNumber"] < again["versionNumber"]


@pytest.mark.parametrize("protocol", [aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5], ids=["3.1.1", "5"])
async def test_a_charge_point_that_connects_disconnects_the_mqtt_client_with_its_id(
    shared: LocalProcess, boto: Boto, register: Register, protocol: aiomqtt.ProtocolVersion
) -> None:
    charge_point_id = await register()
    events = (f"$aws/events/presence/disconnected/{charge_point_id}", f"{charge_point_id}/will")
    async with mqtt(shared, *events) as broker:
        will = aiomqtt.Will(f"{charge_point_id}/will", b"gone")
        with contextlib.suppress(aiomqtt.MqttError):  # a client that was disconnected cannot leave in good order
            async with (
                mqtt(shared, identifier=charge_point_id, protocol=protocol, will=will) as client,
                dial(shared, charge_point_id) as ws,
            ):
                assert await is_answered(ws)
                with pytest.raises(aiomqtt.MqttError):
                    await asyncio.wait_for(anext(client.client.messages), SOON)
                taken = dict(await broker.take(2))
                boto("iot-data").publish(topic=f"{charge_point_id}/out", payload=b"for the charge point")
                async with asyncio.timeout(SOON):
                    assert await ws.recv() == "for the charge point"
    assert taken[f"{charge_point_id}/will"] == b"gone"
    assert json.loads(taken[events[0]])["disconnectReason"] == "DUPLICATE_CLIENTID"


async def test_of_charge_points_and_mqtt_clients_with_one_id_one_stays(
    shared: LocalProcess, register: Register
) -> None:
    charge_point_id = await register()
    lost = 0
    async with mqtt(shared, f"$aws/events/presence/+/{charge_point_id}") as broker, contextlib.AsyncExitStack() as all_:

        async def connect_mqtt() -> None:
            nonlocal lost
            with contextlib.suppress(aiomqtt.MqttError):
                async with mqtt(shared, identifier=charge_point_id) as client:
                    await anext(client.client.messages)
            lost += 1

        clients = [asyncio.create_task(connect_mqtt()) for _ in range(10)]
        sockets = [all_.enter_async_context(dial(shared, charge_point_id)) for _ in range(10)]
        connections = await asyncio.gather(*sockets)
        try:
            await eventually(lambda: lost + sum(ws.close_code is not None for ws in connections) == 19)
            events = await broker.events(39)
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
        assert {ws.close_code for ws in connections} <= {1000, None}
    live: set[str] = set()
    for event in events:  # one client at a time
        if event["eventType"] == "connected":
            assert not live
            live.add(event["sessionIdentifier"])
        else:
            live.remove(event["sessionIdentifier"])
    assert len(live) == 1


async def test_a_subscription_event_tells_that_the_gateway_listens_for_the_charge_point(
    shared: LocalProcess, boto: Boto, register: Register
) -> None:
    """As in AWS IoT's "Lifecycle events", and as the broker does for any client."""
    charge_point_id, other = await register(), new_id("client")
    async with mqtt(
        shared,
        f"$aws/events/presence/connected/{charge_point_id}",
        f"$aws/events/subscriptions/subscribed/{charge_point_id}",
        f"$aws/events/subscriptions/subscribed/{other}",
    ) as broker:
        async with dial(shared, charge_point_id) as ws:
            connected, subscribed = await broker.events(2)
            boto("iot-data").publish(topic=f"{charge_point_id}/out", payload=b"it does")
            async with asyncio.timeout(SOON):
                assert await ws.recv() == "it does"
        async with mqtt(shared, f"{other}/out", identifier=other):
            [theirs] = await broker.events(1)
    assert subscribed["eventType"] == "subscribed"
    assert subscribed["clientId"] == charge_point_id
    assert subscribed["topics"] == [f"{charge_point_id}/out"]
    assert subscribed["sessionIdentifier"] == connected["sessionIdentifier"]
    assert {key: type(value) for key, value in subscribed.items()} == {
        key: type(value) for key, value in theirs.items()
    }


async def test_a_refused_charge_point_has_no_presence_events(shared: LocalProcess, register: Register) -> None:
    unknown, known = new_id("unknown"), await register()
    async with mqtt(shared, "$aws/events/presence/+/+") as broker:
        async with dial(shared, unknown) as ws:
            await close_of(ws)
        seen: set[str] = set()
        async with dial(shared, known):
            while known not in seen:  # events of earlier tests may still arrive
                seen |= {event["clientId"] for event in await broker.events(1)}
    assert unknown not in seen


async def test_fifty_takeovers_in_a_row_leave_one_connection(shared: LocalProcess, register: Register) -> None:
    charge_point_id = await register()
    connections = [await dial(shared, charge_point_id) for _ in range(50)]
    try:
        *older, newest = connections
        assert await asyncio.gather(*map(close_of, older)) == [(1000, "")] * 49
        assert await is_answered(newest)
        await silence(newest)  # one answer, not one for each connection
    finally:
        for ws in connections:
            await ws.close()


async def test_fifty_connections_at_once_leave_one_connection(shared: LocalProcess, register: Register) -> None:
    charge_point_id = await register()
    async with mqtt(shared, f"$aws/events/presence/+/{charge_point_id}") as broker:
        connections = await asyncio.gather(*(dial(shared, charge_point_id) for _ in range(50)))
        waiting = [asyncio.create_task(close_of(ws)) for ws in connections]
        try:
            await eventually(lambda: sum(task.done() for task in waiting) == 49)
            [survivor] = [ws for ws, task in zip(connections, waiting, strict=True) if not task.done()]
            assert await is_answered(survivor)
            assert {task.result() for task in waiting if task.done()} == {(1000, "")}
            events = await broker.events(99)
        finally:
            for ws in connections:
                await ws.close()
            await asyncio.gather(*waiting)
    live: set[str] = set()
    for event in events:  # each session begins before it ends, and only one is alive at a time
        if event["eventType"] == "connected":
            assert not live
            live.add(event["sessionIdentifier"])
        else:
            live.remove(event["sessionIdentifier"])
    assert len(live) == 1


# -- Close -------------------------------------------------------------------------------------------------------------


async def test_a_charge_point_that_ends_without_a_close_frame_gives_up_its_id(
    shared: LocalProcess, register: Register
) -> None:
    charge_point_id = await register()
    async with mqtt(shared, f"$aws/events/presence/+/{charge_point_id}") as broker:
        async with dial(shared, charge_point_id) as ws:
            assert await is_answered(ws)
            ws.transport.abort()
        connected, gone = await broker.events(2)
        assert (connected["eventType"], gone["eventType"]) == ("connected", "disconnected")
        assert gone["disconnectReason"] != "DUPLICATE_CLIENTID"
        async with dial(shared, charge_point_id) as ws:
            assert await is_answered(ws)
            [event] = await broker.events(1)
    assert event["eventType"] == "connected"  # it did not take over the id


async def test_the_gateways_mqtt_client_disconnects_when_a_charge_point_leaves(
    shared: LocalProcess, register: Register
) -> None:
    charge_point_id = await register()
    async with mqtt(shared, f"$aws/events/presence/disconnected/{charge_point_id}") as broker:
        async with dial(shared, charge_point_id) as ws:
            assert await is_answered(ws)
        [event] = await broker.events(1)
    assert event["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"  # the sample's client is closed in good order
    assert event["clientInitiatedDisconnect"] is True


async def test_a_close_frame_is_answered_with_its_code(shared: LocalProcess, register: Register) -> None:
    async with dial(shared, await register()) as ws:
        await ws.close(3000, "power cut")
    assert (ws.close_code, ws.close_reason) == (3000, "power cut")


async def test_a_call_sent_just_before_the_socket_closes_reaches_the_csms(
    shared: LocalProcess, register: Register
) -> None:
    charge_point_id = await register()
    async with mqtt(shared, f"{charge_point_id}/out") as broker:
        async with dial(shared, charge_point_id) as ws:
            await ws.send(json.dumps([2, "last", "StatusNotification", {}]))
        [(_, answer)] = await broker.take()
    assert json.loads(answer)[1] == "last"


async def test_pings_are_answered(shared: LocalProcess, register: Register) -> None:
    async with dial(shared, await register()) as ws, asyncio.timeout(SOON):
        await (await ws.ping(b"alive"))


async def test_a_fragmented_frame_arrives_complete(shared: LocalProcess, register: Register) -> None:
    async with dial(shared, await register()) as ws:
        await ws.send(iter(['[2,"1",', '"Heartbeat"', ",{}]"]))
        assert (await receive(ws))[:2] == [3, "1"]


async def test_a_client_with_compression_is_served(shared: LocalProcess, register: Register) -> None:
    options = {"compression": "deflate"}
    async with dial(shared, await register(), **options) as ws:
        assert (await ask(ws, "Heartbeat", {}))[0] == 3
