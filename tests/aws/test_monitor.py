"""The MQTT monitor against the local stack's broker, through a network that breaks, and in other event loops."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aws_proxy import UPGRADE, AwsProxy
from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.http import HttpHeaders, HttpRequest
from conftest import MS, SOON
from stack_fixtures import GLANCE, Boto, ask, dial, eventually, new_id
from websockets.asyncio.server import ServerConnection, serve

from cpsim_kit import Stack, errors
from cpsim_kit.aws.monitor import Monitor
from cpsim_kit.aws.mqtt import MqttConnection
from cpsim_kit.aws.session import Aws
from cpsim_kit.basics.addresses import MqttEndpoint
from cpsim_kit.basics.clock import wall_clock
from cpsim_kit.local.launcher import LocalProcess
from cpsim_kit.records import COLUMNS, Record

Register = Callable[[], Awaitable[str]]
AT_ONCE = 50 * MS, 100 * MS  # paho waits for seconds by itself before it connects again


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Iterator[None]:
    """paho's threads end with their monitors."""
    yield
    assert [thread.name for thread in threading.enumerate() if "paho" in thread.name] == []


def message(**fields: Any) -> dict[str, Any]:
    return {"charge_point_id": "", "kind": "", "action": "", "message_id": "", **fields}


def facts(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in ("charge_point_id", "kind", "action", "message_id", "payload")}


# -- Before it is entered ---------------------------------------------------------------------------------------------


async def test_a_monitor_that_was_never_entered_says_how_to_enter_it(stack: Stack) -> None:
    monitor = stack.monitor("+/in", "+/out")
    how = r'not entered: async with stack\.monitor\("\+/in", "\+/out"\) as monitor'
    with pytest.raises(RuntimeError, match=how):
        await anext(monitor)
    with pytest.raises(RuntimeError, match=how):
        await monitor.take(1)
    await monitor.close()
    with pytest.raises(RuntimeError, match=how):
        await monitor.take(1)


async def test_a_list_of_filters_is_refused_with_the_way_to_write_them(stack: Stack) -> None:
    with pytest.raises(TypeError, match=r'one by one, as in stack\.monitor\("\+/in", "\+/out"\); not \['):
        stack.monitor(["+/in", "+/out"])  # type: ignore[arg-type]


# -- Subscribing ------------------------------------------------------------------------------------------------------


async def test_what_is_published_right_after_it_was_entered_is_seen(stack: Stack) -> None:
    for _ in range(10):
        topic = new_id("topic")
        async with stack.monitor(topic) as monitor:
            await stack.publish(topic, {"a": 1})
            [seen] = await monitor.take(1, timeout=SOON)
        assert (seen.topic, seen.payload) == (topic, {"a": 1})
        assert abs((datetime.now(UTC) - seen.received_at).total_seconds()) < SOON


async def test_a_conversation_is_seen_in_order_with_the_answers_actions(
    stack: Stack, shared: LocalProcess, register: Register
) -> None:
    charge_point_id = await register()
    async with (
        stack.monitor(f"{charge_point_id}/in", f"{charge_point_id}/out") as monitor,
        dial(shared, charge_point_id) as ws,
    ):
        await ask(ws, "Heartbeat", {}, "b-1")
        await ask(ws, "NoSuchAction", {}, "b-2")
        seen = await monitor.take(4, timeout=SOON)
    assert [(m.topic.split("/")[1], m.kind, m.action, m.message_id) for m in seen] == [
        ("in", "CALL", "Heartbeat", "b-1"),
        ("out", "CALLRESULT", "Heartbeat", "b-1"),
        ("in", "CALL", "NoSuchAction", "b-2"),
        ("out", "CALLERROR", "NoSuchAction", "b-2"),
    ]
    assert {m.charge_point_id for m in seen} == {charge_point_id}
    assert seen[0].payload == {}
    assert seen[1].payload.keys() == {"currentTime"}
    assert seen[3].payload["code"] == "NotImplemented"
    assert [m.received_at for m in seen] == sorted(m.received_at for m in seen)


async def test_overlapping_filters_and_two_monitors_see_the_same(stack: Stack) -> None:
    root = new_id("root")
    async with stack.monitor(f"{root}/#") as one, stack.monitor(f"{root}/+/b", f"{root}/a/c") as other:
        for name in ("a/b", "a/c", "x"):
            await stack.publish(f"{root}/{name}", name)
        assert [m.payload for m in await one.take(3, timeout=SOON)] == ["a/b", "a/c", "x"]
        assert [m.payload for m in await other.take(2, timeout=SOON)] == ["a/b", "a/c"]


@pytest.mark.parametrize("bad", ["a/#/b", "#/a", "a/b+", "+a", "a#", "", "x" * 257, "ž" * 129, "a\0b"])
def test_what_is_no_topic_filter_is_refused_at_once(bad: str) -> None:
    with pytest.raises(ValueError, match="is not a topic filter"):
        Monitor(lambda: pytest.fail("asked"), (bad,))


@pytest.mark.parametrize("good", ["#", "+", "+/+/#", "a", "/", "/a//+", "$aws/things/+/shadow/#", "ž" * 128])
def test_what_is_a_topic_filter_is_taken(good: str) -> None:
    Monitor(lambda: pytest.fail("asked"), (good,))


def test_a_monitor_without_filters_or_room_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a topic filter"):
        Monitor(lambda: pytest.fail("asked"), ())
    with pytest.raises(ValueError, match="at least 1"):
        Monitor(lambda: pytest.fail("asked"), ("a",), limit=0)


async def test_a_filter_that_the_broker_refuses_is_an_error_and_no_wait(stack: Stack) -> None:
    """AWS IoT closes the connection for it, without another word."""
    with pytest.raises(errors.AwsError, match=r"refused the subscription to '\$SYS/#'") as caught:
        async with asyncio.timeout(SOON), stack.monitor("$SYS/#"):
            pass
    assert not isinstance(caught.value, errors.NotFound)
    assert caught.value.verb == "mqtt.subscribe"


async def test_a_monitor_is_entered_again_and_keeps_what_it_has(stack: Stack) -> None:
    topic = new_id("topic")
    monitor = stack.monitor(topic)
    for text in ("one", "two"):
        async with monitor:
            assert "open" in repr(monitor)
            await stack.publish(topic, text)
            assert [m.payload for m in await monitor.take(1, timeout=SOON)] == [text]
    assert list(monitor.to_frame().payload) == ["one", "two"]
    assert "closed, 2 messages" in repr(monitor)


async def test_a_monitor_cannot_be_entered_twice_at_once(stack: Stack) -> None:
    async with stack.monitor("a") as monitor:
        with pytest.raises(RuntimeError, match="open already"):
            await monitor.__aenter__()


# -- Taking -----------------------------------------------------------------------------------------------------------


async def test_async_for_yields_each_once_and_ends_with_the_monitor(stack: Stack) -> None:
    topic = new_id("topic")
    seen: list[Any] = []

    async def read(monitor: Monitor) -> None:
        async for each in monitor:
            seen.append(each.payload)

    async with stack.monitor(topic) as monitor:
        reader = asyncio.create_task(read(monitor))
        for number in range(5):
            await stack.publish(topic, str(number))
        await eventually(lambda: len(seen) == 5)
        assert not reader.done()
    async with asyncio.timeout(SOON):
        await reader
    assert seen == [0, 1, 2, 3, 4]  # JSON where it is JSON


async def test_what_was_not_taken_when_it_closed_can_be_taken_after(stack: Stack) -> None:
    topic = new_id("topic")
    async with stack.monitor(topic) as monitor:
        await stack.publish(topic, "late")
        await eventually(lambda: len(monitor) == 1)
    assert [m.payload async for m in monitor] == ["late"]
    with pytest.raises(errors.WaitTimeout, match="closed"):
        await monitor.take(1)


async def test_take_times_out_with_what_came_and_loses_nothing(stack: Stack) -> None:
    topic = new_id("topic")
    async with stack.monitor(topic) as monitor:
        await stack.publish(topic, "one")
        await eventually(lambda: len(monitor) == 1)
        with pytest.raises(errors.WaitTimeout, match=r"2 messages on .*, 1 came") as caught:
            await monitor.take(2, timeout=GLANCE)
        assert [m.payload for m in caught.value.last_seen] == ["one"]
        assert isinstance(caught.value, TimeoutError)
        await stack.publish(topic, "two")
        assert [m.payload for m in await monitor.take(2, timeout=SOON)] == ["one", "two"]
        with pytest.raises(errors.WaitTimeout, match="nothing was seen") as caught:
            await monitor.take(1, timeout=0)
        assert caught.value.last_seen is None
        assert await monitor.take(0, timeout=0) == []


async def test_a_cancelled_take_loses_nothing(stack: Stack) -> None:
    topic = new_id("topic")
    async with stack.monitor(topic) as monitor:
        waiting = asyncio.create_task(monitor.take(2))
        await stack.publish(topic, "one")
        await eventually(lambda: len(monitor) == 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert [m.payload for m in await monitor.take(1, timeout=SOON)] == ["one"]


async def test_take_fails_when_the_monitor_is_closed_meanwhile(stack: Stack) -> None:
    monitor = await stack.monitor(new_id("topic")).__aenter__()
    waiting = asyncio.create_task(monitor.take(1))
    await asyncio.sleep(0)
    await monitor.close()
    await monitor.close()
    with pytest.raises(errors.WaitTimeout, match="the monitor is closed"):
        await waiting


async def test_the_stack_closes_its_monitors(shared: LocalProcess, credentials: pytest.MonkeyPatch) -> None:
    async with Stack.aws(shared.options.name, endpoint_url=shared.endpoint_url) as stack:
        monitor = await stack.monitor("a").__aenter__()
    assert "closed, 0 messages" in repr(monitor)


async def test_more_than_the_buffer_is_dropped_oldest_first_counted_and_said_once(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    topic = new_id("topic")
    async with stack.monitor(topic, limit=5) as monitor:
        for number in range(12):
            await stack.publish(topic, str(number))
        await eventually(lambda: monitor.dropped == 7)
        assert [m.payload for m in await monitor.take(5, timeout=SOON)] == [7, 8, 9, 10, 11]
        with pytest.raises(ValueError, match="limit=6"):
            await monitor.take(6)
    assert list(monitor.to_frame().payload) == [7, 8, 9, 10, 11]
    assert "7 dropped" in repr(monitor)
    assert [r.message for r in caplog.records if "drops messages" in r.message] == [
        f"a monitor of ('{topic}',) drops messages: more than 5 wait"
    ]


async def test_a_monitor_that_is_read_drops_nothing(stack: Stack) -> None:
    topic = new_id("topic")
    async with stack.monitor(topic, limit=2) as monitor:
        for number in range(10):
            await stack.publish(topic, str(number))
            assert [m.payload for m in await monitor.take(1, timeout=SOON)] == [number]
    assert monitor.dropped == 0


# -- What messages say ------------------------------------------------------------------------------------------------

CASES = [
    ("CP1/in", b'[2,"i","Heartbeat",{}]', message(kind="CALL", action="Heartbeat", message_id="i", payload={})),
    ("CP1/out", b'[3,"?",{"a":1}]', message(kind="CALLRESULT", message_id="?", payload={"a": 1})),
    (
        "CP1/in",
        b'[4,"?","GenericError","why",{"b":2}]',
        message(
            kind="CALLERROR",
            message_id="?",
            payload={"code": "GenericError", "description": "why", "details": {"b": 2}},
        ),
    ),
    ("CP1/in", b'[6,"i","NotifyPeriodicEventStream",{}]', message(kind="SEND", message_id="i", payload={})),
    ("CP1/in", b"no JSON {", message(kind="malformed", payload="no JSON {")),
    ("CP1/in", b"", message(kind="malformed", payload="")),
    ("CP1/in", b"\xff\x00", message(kind="malformed", payload="\\xff\x00")),
    ("CP1/in", b'{"a":1}', message(kind="malformed", payload='{"a":1}')),
    ("CP1/in", b'[2,"i"]', message(kind="malformed", message_id="i", payload='[2,"i"]')),
    ("CP1/in", b'[2,7,"Heartbeat",{}]', message(kind="malformed", payload='[2,7,"Heartbeat",{}]')),
    ("$aws/things/CP1/shadow/update", b'{"state":{}}', message(payload={"state": {}})),
    ("$aws/things/CP1/shadow/name/x/update/documents", b"{}", message(payload={})),
    ("$aws/events/presence/connected/CP1", b"{}", message(payload={})),
    ("$aws/events/thing/CP1/created", b"{}", message(payload={})),
    ("a/b/in", b'[2,"i","Heartbeat",{}]', message(charge_point_id="", payload=[2, "i", "Heartbeat", {}])),
    ("in", b"text", message(charge_point_id="", payload="text")),
    ("other/topic", b"\xfe", message(charge_point_id="", payload="\\xfe")),
    ("other/topic", b"12", message(charge_point_id="", payload=12)),
]


@pytest.mark.parametrize(("topic", "payload", "expected"), CASES, ids=lambda value: str(value)[:30])
def test_a_message_tells_whose_it_is_and_what(topic: str, payload: bytes, expected: dict[str, Any]) -> None:
    async def parse() -> Record:
        monitor = Monitor(lambda: pytest.fail("asked"), ("#",))
        monitor._on_message(topic, payload, 0.0)
        return (await monitor.take(1))[0]

    seen = asyncio.new_event_loop()
    try:
        found = facts(seen.run_until_complete(parse()))
    finally:
        seen.close()
    if expected["kind"] == "SEND":
        expected["action"] = "NotifyPeriodicEventStream"
    if "CP1" in topic:
        expected["charge_point_id"] = "CP1"
    assert found == expected


async def test_answers_are_paired_with_their_own_question() -> None:
    """Ids are a sender's own: two charge points, and a charge point and its CSMS, may use the same one."""
    monitor = Monitor(lambda: pytest.fail("asked"), ("#",))
    for topic, frame in [
        ("A/in", '[2,"1","Heartbeat",{}]'),
        ("B/in", '[2,"1","BootNotification",{}]'),
        ("A/out", '[2,"1","Reset",{}]'),
        ("A/in", '[3,"1",{}]'),  # answers Reset
        ("A/out", '[3,"1",{}]'),
        ("B/out", '[4,"1","InternalError","",{}]'),
        ("C/out", '[3,"1",{}]'),  # answers nothing that was seen
        ("A/out", '[3,"1",{}]'),  # again, as the sample's queue may do
    ]:
        monitor._on_message(topic, frame.encode(), 0.0)
    actions = [m.action for m in await monitor.take(8)]
    assert actions == [
        "Heartbeat",
        "BootNotification",
        "Reset",
        "Reset",
        "Heartbeat",
        "BootNotification",
        "",
        "Heartbeat",
    ]


async def test_presence_things_and_shadows_come_from_reserved_topics(
    stack: Stack, shared: LocalProcess, boto: Boto
) -> None:
    charge_point_id = new_id()
    filters = ("$aws/events/presence/+/+", "$aws/events/thing/+/created", "$aws/things/+/shadow/update/accepted")
    async with stack.monitor(*filters) as monitor:
        await stack.things.create(charge_point_id)
        async with dial(shared, charge_point_id):
            await stack.shadow(charge_point_id).update(desired={"a": 1})
            seen: list[Record] = []
            while len(seen) < 3:  # others may have just gone
                seen += [m for m in await monitor.take(1, timeout=SOON) if m.charge_point_id == charge_point_id]
    assert [m.topic for m in seen] == [
        f"$aws/events/thing/{charge_point_id}/created",
        f"$aws/events/presence/connected/{charge_point_id}",
        f"$aws/things/{charge_point_id}/shadow/update/accepted",
    ]
    assert {m.kind for m in seen} == {""}


# -- As a DataFrame ---------------------------------------------------------------------------------------------------


def test_to_frame_has_the_columns_of_every_record_also_when_empty() -> None:
    monitor = Monitor(lambda: pytest.fail("asked"), ("#",))
    assert list(monitor.to_frame().columns) == list(COLUMNS)
    monitor._on_message("CP1/in", b'[2,"i","Heartbeat",{}]', 0.0)
    monitor._on_message("other", b"text", 1.0)
    monitor._on_message("CP1/out", b'[3,"i",{}]', 1.5)
    frame = monitor.to_frame()
    assert list(frame.columns) == list(COLUMNS)
    assert frame.topic.tolist() == ["CP1/in", "other", "CP1/out"]
    assert frame.charge_point_id.tolist() == ["CP1", "", "CP1"]
    assert frame.direction.tolist() == ["sent", "", "received"]
    assert frame.latency_ms[2] == pytest.approx(1500)
    assert frame.payload.tolist() == [{}, "text", {}]
    assert (frame.sent_at[1] - frame.sent_at[0]).total_seconds() == 1


# -- A network that breaks --------------------------------------------------------------------------------------------


async def test_it_reconnects_with_a_fresh_endpoint_and_says_what_may_be_missing(
    proxied: Stack, proxy: AwsProxy, caplog: pytest.LogCaptureFixture
) -> None:
    topic = new_id("topic")
    async with proxied.monitor(topic, f"{topic}/more", reconnect=AT_ONCE) as monitor:
        await proxied.publish(topic, "before")
        await monitor.take(1, timeout=SOON)
        before = wall_clock(time.perf_counter())  # the kit's clock: the system's may be set meanwhile
        asked = proxy.seen["DescribeEndpoint"]
        for cuts in (1, 2):
            assert proxy.cut_websockets() == 1
            await eventually(lambda cuts=cuts: len(monitor.gaps) == cuts)
            for name in (topic, f"{topic}/more"):
                await proxied.publish(name, f"after {cuts}")
            assert [m.payload for m in await monitor.take(2, timeout=SOON)] == [f"after {cuts}"] * 2
        assert proxy.seen["DescribeEndpoint"] == asked + 2
    assert len(proxy.upgrade_paths) == 3
    assert all("X-Amz-Signature=" in path for path in proxy.upgrade_paths)
    for since, until in monitor.gaps:
        assert before <= since <= until <= wall_clock(time.perf_counter())
    assert len([r for r in caplog.records if "messages may be missing" in r.message]) == 2


async def test_a_gap_in_which_the_computer_slept_is_as_long_as_that(
    proxied: Stack, proxy: AwsProxy, step: Callable[[float], None]
) -> None:
    async with proxied.monitor(new_id("topic"), reconnect=AT_ONCE) as monitor:
        step(3600)  # the clock of the kit's moments stands still meanwhile
        assert proxy.cut_websockets() == 1
        await eventually(lambda: monitor.gaps)
    ((since, until),) = monitor.gaps
    assert 3600 <= (until - since).total_seconds() < 3700


async def test_it_keeps_trying_while_nothing_works_and_asks_for_an_endpoint_each_time(
    proxied: Stack, proxy: AwsProxy, caplog: pytest.LogCaptureFixture
) -> None:
    topic = new_id("topic")
    async with proxied.monitor(topic, reconnect=AT_ONCE) as monitor:
        proxy.fail("DescribeEndpoint", "ExpiredTokenException", times=1)
        proxy.fail(UPGRADE, "", status=403, times=1)
        proxy._faults[-1].code = "Forbidden"
        asked = proxy.seen["DescribeEndpoint"]
        proxy.cut_websockets()
        await eventually(lambda: len(monitor.gaps) == 1, timeout=4 * SOON)
        assert proxy.seen["DescribeEndpoint"] == asked + 3
        await proxied.publish(topic, "after")
        assert [m.payload for m in await monitor.take(1, timeout=SOON)] == ["after"]
    assert any("ExpiredToken" in r.message for r in caplog.records)


async def test_closing_while_disconnected_leaves_nothing(proxied: Stack, proxy: AwsProxy) -> None:
    async with proxied.monitor("a", reconnect=AT_ONCE):
        proxy.fail(UPGRADE, "Forbidden", status=403, times=None)
        proxy.cut_websockets()
        await eventually(lambda: proxy.websockets == 0)


async def test_a_refused_handshake_is_a_connect_error(proxied: Stack, proxy: AwsProxy) -> None:
    proxy.fail(UPGRADE, "Forbidden", status=403, times=None)
    with pytest.raises(errors.ConnectError, match=r"MQTT: cannot connect to ws://127\.0\.0\.1") as caught:
        async with proxied.monitor("a"):
            pass
    assert caught.value.url == f"ws{proxy.url.removeprefix('http')}/mqtt"
    assert "X-Amz" not in str(caught.value)


async def test_nobody_at_the_address_is_a_connect_error() -> None:
    monitor = Monitor(lambda: MqttEndpoint("127.0.0.1", 9), ("a",))
    with pytest.raises(errors.ConnectError, match=r"ws://127.0.0.1:9/mqtt"):
        await monitor.__aenter__()


async def test_no_credentials_are_said_before_anything_connects(proxied: Stack, proxy: AwsProxy) -> None:
    proxy.fail("DescribeEndpoint", "UnrecognizedClientException", status=403, times=None)
    with pytest.raises(errors.NoCredentials, match="AWS_PROFILE"):
        await proxied.monitor("a").__aenter__()
    assert proxy.upgrade_paths == []


@asynccontextmanager
async def broker(*answers: bytes | None) -> AsyncIterator[Callable[[], MqttEndpoint]]:
    """A broker that says these bytes, one for each packet; closes at None, and is silent at the end."""

    async def handle(ws: ServerConnection) -> None:
        async for _packet in ws:
            answer = next(todo, b"")
            if answer is None:
                return
            if answer:
                await ws.send(answer)

    todo = iter(answers)
    async with serving(handle) as endpoint:
        yield endpoint


@asynccontextmanager
async def serving(handle: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[Callable[[], MqttEndpoint]]:
    async with serve(handle, "127.0.0.1", 0, subprotocols=["mqtt"], close_timeout=1) as server:  # type: ignore[list-item]
        port = next(iter(server.sockets)).getsockname()[1]
        yield lambda: MqttEndpoint("127.0.0.1", port)


ACCEPTED = b"\x20\x02\x00\x00"


async def test_a_broker_that_closes_on_connect_is_said_to_refuse() -> None:
    """As AWS IoT does where iot:Connect is not allowed."""
    async with broker(None) as endpoint:
        with pytest.raises(errors.AwsError, match="iot:Connect") as caught:
            await Monitor(endpoint, ("a",)).__aenter__()
    assert caught.value.verb == "mqtt.connect"


async def test_a_broker_that_answers_not_authorized_is_said_to_refuse() -> None:
    async with broker(b"\x20\x02\x00\x05") as endpoint:
        with pytest.raises(errors.AwsError, match=r"(?i)not authorized.*iot:Connect"):
            await Monitor(endpoint, ("a",)).__aenter__()


async def test_a_broker_that_fails_a_subscription_is_said_to_refuse() -> None:
    async with broker(ACCEPTED, b"\x90\x03\x00\x01\x80") as endpoint:
        with pytest.raises(errors.AwsError, match="iot:Subscribe"):
            await Monitor(endpoint, ("a",)).__aenter__()


@pytest.mark.parametrize("answers", [(), (ACCEPTED,)], ids=["connect", "subscribe"])
async def test_a_silent_broker_is_waited_for_so_long_only(answers: tuple[bytes, ...]) -> None:
    async with broker(*answers) as endpoint:
        connection = MqttConnection(endpoint, lambda *_: None)
        with pytest.raises(errors.WaitTimeout, match="MQTT broker to"):
            await connection.open(["a"], timeout=GLANCE)
        assert "not connected" in repr(connection)


async def test_a_connection_lost_again_while_it_resubscribes_is_one_gap() -> None:
    connections: list[ServerConnection] = []
    lost: list[datetime] = []

    async def handle(ws: ServerConnection) -> None:
        connections.append(ws)
        async for packet in ws:
            assert isinstance(packet, bytes)
            if packet[0] >> 4 == 1:  # CONNECT
                await ws.send(ACCEPTED)
            elif packet[0] >> 4 == 8:  # SUBSCRIBE
                if len(connections) == 2:
                    lost.append(wall_clock(time.perf_counter()))
                    return  # lost before the subscription is confirmed
                await ws.send(b"\x90\x03" + packet[2:4] + b"\x01")

    async with serving(handle) as endpoint, Monitor(endpoint, ("a",), reconnect=AT_ONCE) as monitor:
        await connections[0].close()
        await eventually(lambda: monitor.gaps)
        assert len(connections) == 3
        ((since, until),) = monitor.gaps
        assert since < lost[0] < until


async def test_giving_up_while_it_connects_leaves_nothing(proxied: Stack, proxy: AwsProxy) -> None:
    """Cancelled at every moment of it; a connection made all the same is closed."""
    proxy.delay("DescribeEndpoint", 20 * MS)
    proxy.delay(UPGRADE, 20 * MS)
    for patience in range(0, 100, 10):
        try:
            async with asyncio.timeout(patience * MS), proxied.monitor("a", reconnect=AT_ONCE):
                pass
        except TimeoutError:
            pass
    await eventually(lambda: proxy.websockets == 0)
    await eventually(lambda: not [thread for thread in threading.enumerate() if "paho" in thread.name])


async def test_a_close_that_is_cancelled_before_its_thread_begins_closes_all_the_same(proxied: Stack) -> None:
    monitor = await proxied.monitor("a").__aenter__()
    busy, executor = threading.Event(), ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    executor.submit(busy.wait)
    closing = asyncio.create_task(monitor.close())
    await asyncio.sleep(MS)
    closing.cancel()
    await asyncio.wait([closing])
    busy.set()
    await eventually(lambda: not [thread for thread in threading.enumerate() if "paho" in thread.name])


async def test_a_burst_arrives_whole_and_in_order(proxied: Stack, shared: LocalProcess, register: Register) -> None:
    charge_point_id = await register()
    async with proxied.monitor(f"{charge_point_id}/in") as monitor, dial(shared, charge_point_id) as ws:
        for number in range(500):
            await ws.send(json.dumps([3, str(number), {"filler": "x" * (number * 7 % 3000)}]))
        seen = await monitor.take(500, timeout=3 * SOON)
    assert [int(m.message_id) for m in seen] == list(range(500))


# -- Other event loops ------------------------------------------------------------------------------------------------


class ProactorLike(asyncio.SelectorEventLoop):
    """As the Proactor loop of Windows: it watches no sockets for others; its internals do not ask by these names."""

    def add_reader(self, *_: object) -> None:
        raise NotImplementedError

    add_writer = remove_reader = remove_writer = add_reader  # type: ignore[assignment]


def uvloop_factory() -> asyncio.AbstractEventLoop:
    return pytest.importorskip("uvloop").new_event_loop()


@pytest.mark.parametrize("loop_factory", [ProactorLike, uvloop_factory], ids=["watches no sockets", "uvloop"])
async def test_it_works_in_any_event_loop(
    shared: LocalProcess, credentials: pytest.MonkeyPatch, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    topic = new_id("topic")

    async def watch() -> list[Any]:
        async with (
            Stack.aws(shared.options.name, endpoint_url=shared.endpoint_url) as stack,
            stack.monitor(topic) as monitor,
        ):
            for number in range(3):
                await stack.publish(topic, str(number))
            return [m.payload for m in await monitor.take(3, timeout=SOON)]

    def in_a_loop_of_its_own() -> list[Any]:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(watch())

    assert await asyncio.to_thread(in_a_loop_of_its_own) == [0, 1, 2]


async def test_a_loop_that_ends_without_closing_it_raises_nowhere(
    shared: LocalProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """What a kernel's restart, or a script's end, may do."""
    port = int(shared.endpoint_url.rsplit(":", 1)[1])
    endpoint = MqttEndpoint("127.0.0.1", port, f"/mqtt/{shared.key.secret}")
    topic = new_id("topic")
    kept: list[MqttConnection] = []

    async def open_and_forget() -> None:
        connection = MqttConnection(lambda: endpoint, lambda *_: None)
        await connection.open([topic])
        kept.append(connection)

    def in_a_loop_of_its_own() -> None:
        with asyncio.Runner() as runner:
            runner.run(open_and_forget())

    await asyncio.to_thread(in_a_loop_of_its_own)
    connection = MqttConnection(lambda: endpoint, lambda *_: None)
    await connection.open([])
    assert connection._client is not None
    connection._client.publish(topic, "for a loop that is no more", qos=1).wait_for_publish(SOON)
    await connection.close()
    await kept[0].close()
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


# -- The signature ----------------------------------------------------------------------------------------------------

HOST = "a1b2c3d4e5f6g7-ats.iot.eu-west-1.amazonaws.com"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
TOKEN = "IQoJb3JpZ2luX2VjEJr//////////+a/b c=="


def crt_path(moment: datetime, token: str | None) -> str:
    """The path as AWS's own signer makes it (AWS Common Runtime, which the IoT device SDKs use)."""
    provider = AwsCredentialsProvider.new_static(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], token)
    config = AwsSigningConfig(
        algorithm=AwsSigningAlgorithm.V4,
        signature_type=AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
        credentials_provider=provider,
        region="eu-west-1",
        service="iotdevicegateway",
        date=moment,
        expiration_in_seconds=300,
        omit_session_token=True,
    )
    request = HttpRequest("GET", "/mqtt", HttpHeaders([("host", HOST)]))
    return str(aws_sign_request(request, config).result(SOON).path)


@pytest.mark.parametrize("token", [None, TOKEN], ids=["long-term keys", "session token"])
def test_the_signed_path_is_the_one_of_awss_own_signer(environment: pytest.MonkeyPatch, token: str | None) -> None:
    for name, value in KEYS.items():
        environment.setenv(name, value)
    if token:
        environment.setenv("AWS_SESSION_TOKEN", token)
    aws = Aws(region="eu-west-1")
    path = aws._sign_mqtt_path(HOST)
    aws.close()
    query = parse_qs(urlsplit(path).query, strict_parsing=True)
    [date] = query["X-Amz-Date"]
    moment = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)  # the moment it was frozen at
    reference = crt_path(moment, token)
    assert query == parse_qs(urlsplit(reference).query, strict_parsing=True)
    assert path.startswith("/mqtt?")
    if token:
        assert query["X-Amz-Security-Token"] == [token]
        assert path.index("X-Amz-Signature=") < path.index("X-Amz-Security-Token=")
        assert query["X-Amz-Signature"] == parse_qs(urlsplit(crt_path(moment, None)).query)["X-Amz-Signature"]


def test_another_key_or_region_gives_another_signature(environment: pytest.MonkeyPatch) -> None:
    paths = set()
    for secret, region in (("one", "eu-west-1"), ("two", "eu-west-1"), ("one", "us-east-1")):
        environment.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        environment.setenv("AWS_SECRET_ACCESS_KEY", secret)
        aws = Aws(region=region)
        paths.add(parse_qs(urlsplit(aws._sign_mqtt_path(HOST)).query)["X-Amz-Signature"][0])
        aws.close()
    assert len(paths) == 3
