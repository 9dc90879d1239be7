"""``stack.send`` and ``stack.publish``: the CSMS's side of a charge point that is really connected."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aws_proxy import AwsProxy
from conftest import MS, SOON
from ocpp.v16 import call as call16
from ocpp.v21 import call as call21
from ocpp.v201 import call, call_result
from stack_fixtures import GLANCE, Boto, dial, eventually, new_id, receive
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from cpsim_kit import ChargePoint, Stack, errors
from cpsim_kit.aws.csms_calls import CsmsCaller
from cpsim_kit.local.launcher import LocalProcess

Register = Callable[[], Awaitable[str]]


@pytest.fixture
async def cp(stack: Stack, register: Register) -> AsyncIterator[ChargePoint]:
    """A connected charge point that resets, and knows nothing else."""
    async with stack.charge_point(await register()) as cp:
        cp.on("Reset", lambda **_: call_result.Reset(status="Accepted"))
        yield cp


async def test_a_call_is_answered(stack: Stack, cp: ChargePoint) -> None:
    asked: list[dict[str, Any]] = []

    def reset(**payload: Any) -> call_result.Reset:
        asked.append(payload)
        return call_result.Reset(status="Scheduled", status_info={"reason_code": "Busy"})

    cp.on("Reset", reset)
    answer = await stack.send(cp.id, call.Reset(type="OnIdle", evse_id=1), timeout=SOON)
    assert answer == call_result.Reset(status="Scheduled", status_info={"reason_code": "Busy"})
    assert asked == [{"type": "OnIdle", "evse_id": 1}]


async def test_a_call_of_ocpp_16_is_answered(stack: Stack, register: Register) -> None:
    from ocpp.v16 import call_result as call_result16

    async with stack.charge_point(await register(), version="1.6") as cp:
        cp.on("Reset", lambda **payload: call_result16.Reset(status="Accepted"))
        assert await stack.send(cp.id, call16.Reset(type="Soft"), timeout=SOON) == call_result16.Reset("Accepted")


async def test_the_call_is_seen_on_mqtt_with_its_answer(stack: Stack, cp: ChargePoint) -> None:
    async with stack.monitor(f"{cp.id}/out", f"{cp.id}/in") as monitor:
        await stack.send(cp.id, call.Reset(type="Immediate"), timeout=SOON)
        asked, answered = await monitor.take(2, timeout=SOON)
    assert (asked.topic, asked.kind, asked.action) == (f"{cp.id}/out", "CALL", "Reset")
    assert asked.payload == {"type": "Immediate"}
    assert (answered.topic, answered.kind, answered.action) == (f"{cp.id}/in", "CALLRESULT", "Reset")
    assert answered.message_id == asked.message_id


async def test_callerror_is_an_error_with_its_parts(stack: Stack, cp: ChargePoint) -> None:
    with pytest.raises(errors.CallFailed) as caught:
        await stack.send(cp.id, call.ClearCache(), timeout=SOON)
    assert (caught.value.action, caught.value.code) == ("ClearCache", "NotSupported")
    assert caught.value.description
    assert caught.value.details == {}
    assert cp.id in str(caught.value)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        (["GenericError", "d", {"a": 1}], ("GenericError", "d", {"a": 1})),
        (["GenericError"], ("GenericError", "", {})),
        ([], ("", "", {})),
        (["GenericError", None, None], ("GenericError", "", {})),
        (["GenericError", "d", "a text"], ("GenericError", "d", "a text")),
    ],
)
async def test_missing_or_null_elements_of_a_callerror_are_empty(
    stack: Stack, register: Register, elements: list[Any], expected: tuple[Any, ...]
) -> None:
    charge_point_id = await register()
    async with connect(f"{stack.websocket_url}/{charge_point_id}", subprotocols=[Subprotocol("ocpp1.6")]) as ws:
        sending = asyncio.create_task(stack.send(charge_point_id, call16.ClearCache(), timeout=SOON))
        asked = json.loads(await ws.recv())
        await ws.send(json.dumps([4, asked[1], *elements]))
        with pytest.raises(errors.CallFailed) as caught:
            await sending
    assert (caught.value.code, caught.value.description, caught.value.details) == expected


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ('[3,"{id}",{"status":"\\ud800"}]', "not JSON"),
        ('[3,"{id}"]', "a CALLRESULT has 3 elements"),
        ('[3,"{id}",null]', "status"),
    ],
)
async def test_a_broken_answer_fails_the_call_at_once(stack: Stack, register: Register, frame: str, words: str) -> None:
    charge_point_id = await register()
    async with connect(f"{stack.websocket_url}/{charge_point_id}", subprotocols=[Subprotocol("ocpp1.6")]) as ws:
        sending = asyncio.create_task(stack.send(charge_point_id, call16.ClearCache(), timeout=SOON))
        asked = json.loads(await ws.recv())
        await ws.send(frame.replace("{id}", asked[1]))
        with pytest.raises(errors.ProtocolViolation, match=words):
            await sending


async def test_an_answer_of_2_1_that_breaks_the_schema_is_answered_with_callresulterror(
    stack: Stack, register: Register
) -> None:
    charge_point_id = await register()
    async with connect(f"{stack.websocket_url}/{charge_point_id}", subprotocols=[Subprotocol("ocpp2.0.1")]) as ws:
        sending = asyncio.create_task(stack.send(charge_point_id, call21.ClearCache(), timeout=SOON))
        asked = json.loads(await ws.recv())
        await ws.send(json.dumps([3, asked[1], {"status": 7}]))
        with pytest.raises(errors.ProtocolViolation, match="status"):
            await sending
        kind, message_id, code, description, details = json.loads(await ws.recv())
        assert (kind, message_id, code, details) == (5, asked[1], "TypeConstraintViolation", {})
        assert "status" in description


async def test_nobody_answers_for_an_unknown_or_absent_charge_point(stack: Stack, register: Register) -> None:
    for charge_point_id in (new_id("nobody"), await register()):
        with pytest.raises(errors.CallTimeout, match="Is it connected") as caught:
            await stack.send(charge_point_id, call.Reset(type="Immediate"), timeout=GLANCE)
        assert (caught.value.action, caught.value.waited) == ("Reset", GLANCE)
        assert isinstance(caught.value, TimeoutError)


async def test_a_breach_of_the_schema_is_not_sent(stack: Stack, cp: ChargePoint) -> None:
    with pytest.raises(errors.ProtocolViolation) as caught:
        await stack.send(cp.id, call.Reset(type="Now"), timeout=SOON)
    assert (caught.value.action, caught.value.path) == ("Reset", "type")
    await stack.send(cp.id, call.Reset(type="Immediate"), timeout=SOON)
    assert [record.payload for record in cp.messages if record.kind == "CALL"] == [{"type": "Immediate"}]


@pytest.mark.parametrize("payload", [{"type": "Immediate"}, "Reset", None, call_result.Reset(status="Accepted")])
async def test_what_is_no_call_is_refused(stack: Stack, payload: object) -> None:
    with pytest.raises(TypeError, match="expected a dataclass of"):
        await stack.send("CP1", payload)


async def test_an_answer_that_breaks_the_schema_is_an_error(
    stack: Stack, shared: LocalProcess, register: Register
) -> None:
    charge_point_id = await register()
    async with dial(shared, charge_point_id) as ws:
        for answer in ({"status": "Perhaps"}, None, [], {"extra": 1}):
            sending = asyncio.create_task(stack.send(charge_point_id, call.Reset(type="Immediate"), timeout=SOON))
            _, message_id, _, _ = await receive(ws)
            await ws.send(json.dumps([3, message_id, answer]))
            with pytest.raises(errors.ProtocolViolation, match=f"{charge_point_id}: answer to ") as caught:
                await sending
            assert caught.value.action == "Reset"


async def test_frames_that_answer_nothing_are_no_answer(stack: Stack, shared: LocalProcess, register: Register) -> None:
    charge_point_id = await register()
    async with dial(shared, charge_point_id) as ws:
        sending = asyncio.create_task(stack.send(charge_point_id, call.Reset(type="Immediate"), timeout=SOON))
        _, message_id, _, _ = await receive(ws)
        for frame in ("?", "[]", "{}", '[3,"other",{}]', f'[2,"{message_id}","Heartbeat",{{}}]', f'[9,"{message_id}"]'):
            await ws.send(frame)
        await ws.send(json.dumps([3, message_id, {"status": "Accepted"}]))
        await ws.send(json.dumps([3, message_id, {"status": "Rejected"}]))  # a second answer is one too many
        assert await sending == call_result.Reset(status="Accepted")


@pytest.mark.parametrize("frame", ['[4,"{}"]', '[4,"{}","Code"]', '[4,"{}",7,null,null,"more"]'])
async def test_a_crippled_callerror_is_an_error_all_the_same(
    stack: Stack, shared: LocalProcess, register: Register, frame: str
) -> None:
    charge_point_id = await register()
    async with dial(shared, charge_point_id) as ws:
        sending = asyncio.create_task(stack.send(charge_point_id, call.Reset(type="Immediate"), timeout=SOON))
        _, message_id, _, _ = await receive(ws)
        await ws.send(frame.format(message_id))
        with pytest.raises(errors.CallFailed):
            await sending


async def test_ten_charge_points_at_once_get_each_their_own(stack: Stack, register: Register) -> None:
    charge_points = [stack.charge_point(await register()) for _ in range(10)]
    for cp in charge_points:
        await cp.connect()
        cp.on("DataTransfer", lambda cp=cp, **_: call_result.DataTransfer(status="Accepted", data=cp.id))
    request = call.DataTransfer(vendor_id="who are you")
    answers = await asyncio.gather(*(stack.send(cp.id, request, timeout=SOON) for cp in charge_points))
    assert [answer.data for answer in answers] == [cp.id for cp in charge_points]


async def test_two_calls_to_one_charge_point_at_once_are_both_answered(stack: Stack, cp: ChargePoint) -> None:
    first = asyncio.Event()

    async def echo(data: str, **_: Any) -> call_result.DataTransfer:
        if data == "one":
            await first.wait()  # answered in another order than asked
        else:
            first.set()
        return call_result.DataTransfer(status="Accepted", data=data)

    cp.on("DataTransfer", echo)
    answers = await asyncio.gather(
        *(stack.send(cp.id, call.DataTransfer(vendor_id="v", data=data), timeout=SOON) for data in ("one", "two"))
    )
    assert [answer.data for answer in answers] == ["one", "two"]


async def test_one_connection_serves_all_calls_and_survives_a_cut(
    shared: LocalProcess, credentials: pytest.MonkeyPatch, register: Register
) -> None:
    async with (
        AwsProxy(shared.endpoint_url) as proxy,
        Stack.aws(shared.options.name, endpoint_url=proxy.url) as stack,
    ):
        aws = stack._aws
        caller = CsmsCaller(aws, aws.mqtt_endpoint, most_subscriptions=2, reconnect=(50 * MS, 100 * MS))
        stack._caller = caller  # the third subscription is to all charge points
        for _ in range(4):
            cp = await stack.charge_point(await register())
            cp.on("Reset", lambda **_: call_result.Reset(status="Accepted"))
            for _ in range(2):
                await stack.send(cp.id, call.Reset(type="Immediate"), timeout=SOON)
        assert len(proxy.upgrade_paths) == proxy.websockets == 1
        proxy.cut_websockets()
        await eventually(lambda: proxy.websockets == 1)

        async def is_answered() -> bool:
            try:
                await stack.send(cp.id, call.Reset(type="Immediate"), timeout=5 * GLANCE)
            except (errors.CallTimeout, errors.AwsError):  # not subscribed again yet
                return False
            return True

        assert await eventually(is_answered)


async def test_the_end_of_the_stack_ends_what_waits(
    shared: LocalProcess, credentials: pytest.MonkeyPatch, register: Register
) -> None:
    async with Stack.aws(shared.options.name, endpoint_url=shared.endpoint_url) as stack:
        charge_point_id = await register()
        async with dial(shared, charge_point_id) as ws:
            sending = asyncio.create_task(stack.send(charge_point_id, call.Reset(type="Immediate"), timeout=SOON))
            await receive(ws)
    with pytest.raises(errors.AwsError, match="closed here"):
        await sending


async def test_giving_up_a_call_leaves_the_next_alone(stack: Stack, shared: LocalProcess, register: Register) -> None:
    charge_point_id = await register()
    async with dial(shared, charge_point_id) as ws:
        given_up = asyncio.create_task(stack.send(charge_point_id, call.Reset(type="Immediate"), timeout=SOON))
        _, late, _, _ = await receive(ws)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        sending = asyncio.create_task(stack.send(charge_point_id, call.Reset(type="OnIdle"), timeout=SOON))
        _, message_id, _, _ = await receive(ws)
        await ws.send(json.dumps([3, late, {"status": "Rejected"}]))
        await ws.send(json.dumps([3, message_id, {"status": "Accepted"}]))
        assert await sending == call_result.Reset(status="Accepted")


# -- Publishing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "arrives"),
    [
        ({"ž": [1, None]}, {"ž": [1, None]}),
        ([2, "i", "x", {}], [2, "i", "x", {}]),
        ("text ž", "text ž"),
        ("", ""),
        (b"\xff\x00", "\\xff\x00"),
        (b"", ""),
    ],
)
async def test_publish_sends_text_and_bytes_as_they_are_and_the_rest_as_json(
    stack: Stack, payload: Any, arrives: Any
) -> None:
    topic = new_id("topic")
    async with stack.monitor(topic) as monitor:
        for qos in (0, 1):
            await stack.publish(topic, payload, qos=qos)
        assert [message.payload for message in await monitor.take(2, timeout=SOON)] == [arrives] * 2


async def test_publish_reaches_a_charge_point(stack: Stack, cp: ChargePoint) -> None:
    await stack.publish(f"{cp.id}/out", [2, "by-hand", "Reset", {"type": "Immediate"}])
    await eventually(lambda: [record.kind for record in cp.messages] == ["CALL", "CALLRESULT"])


async def test_a_plain_boto3_publish_reaches_a_charge_point(boto: Boto, cp: ChargePoint) -> None:
    boto("iot-data").publish(topic=f"{cp.id}/out", qos=1, payload=b'[2,"boto","Reset",{"type":"Immediate"}]')
    await eventually(lambda: [record.message_id for record in cp.messages] == ["boto", "boto"])


@pytest.mark.parametrize("topic", ["a/+/b", "#", "", "x" * 257, "$aws/events/presence/connected/x"])
async def test_a_topic_that_nobody_may_publish_to_is_an_aws_error(stack: Stack, topic: str) -> None:
    with pytest.raises(errors.AwsError) as caught:
        await stack.publish(topic, "x")
    assert caught.value.verb == "iot-data.publish"
    assert not isinstance(caught.value, errors.NotFound)
