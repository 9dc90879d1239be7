"""The local CSMS steps aside while an MQTT client of a certain name is subscribed to what it answers."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Self

import aiomqtt
import pytest
from stack_fixtures import GLANCE, ask, dial, in_one_write, is_answered, mqtt, new_id, receive
from websockets.asyncio.client import ClientConnection

from cpsim_kit.aws.topics import STAND_IN
from cpsim_kit.local.launcher import LocalOptions, LocalProcess
from cpsim_kit.local.server.broker import StandIn
from cpsim_kit.local.server.stepping_aside import SteppingAside
from cpsim_kit.local.server.unanswered import Unanswered

Register = Callable[[], Awaitable[str]]
VERSIONS = [aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5]


@pytest.fixture
async def ws(shared: LocalProcess, register: Register) -> AsyncIterator[ClientConnection]:
    async with dial(shared, await register()) as ws:
        yield ws


def stand_in(process: LocalProcess, *filters: str, **options: Any) -> Any:
    return mqtt(process, *filters, identifier=f"{STAND_IN}{new_id('X')}", **options)


async def is_silent(ws: ClientConnection, message_id: str) -> bool:
    """Whether nobody answers a heartbeat for a moment."""
    in_one_write(ws, f'[2,"{message_id}","Heartbeat",{{}}]')
    with contextlib.suppress(TimeoutError):
        await receive(ws, GLANCE)
        return False
    return True


@pytest.mark.parametrize("protocol", VERSIONS, ids=["3.1.1", "5"])
async def test_it_is_silent_while_the_client_is_subscribed_and_then_answers_what_is_left_in_order(
    shared: LocalProcess, ws: ClientConnection, protocol: aiomqtt.ProtocolVersion
) -> None:
    assert await is_answered(ws)
    async with stand_in(shared, "+/in", protocol=protocol) as client:
        assert await is_silent(ws, "1")
        in_one_write(ws, '[2,"2","Heartbeat",{}]', '[2,"3","Heartbeat",{}]', '[2,"4"]', '[3,"5",{}]')
        topic = (await client.take(5))[0][0]
        await client.publish(topic.replace("/in", "/out"), '[3,"2",{"currentTime":"theirs"}]')
        assert await receive(ws) == [3, "2", {"currentTime": "theirs"}]
    assert [(await receive(ws))[:2] for _ in range(3)] == [[3, "1"], [3, "3"], [4, "4"]]
    assert await is_answered(ws)


async def test_a_callerror_is_an_answer_too(shared: LocalProcess, ws: ClientConnection) -> None:
    async with stand_in(shared, "+/in") as client:
        in_one_write(ws, '[2,"1","Heartbeat",{}]')
        [(topic, _)] = await client.take(1)
        await client.publish(topic.replace("/in", "/out"), '[4,"1","InternalError","",{}]')
        assert (await receive(ws))[:2] == [4, "1"]
    assert await is_answered(ws)


async def test_it_answers_again_after_an_unsubscribe(shared: LocalProcess, ws: ClientConnection) -> None:
    async with stand_in(shared, "+/in") as client:
        assert await is_silent(ws, "1")
        await client.client.unsubscribe("+/in")
        assert (await receive(ws))[:2] == [3, "1"]
        assert await is_answered(ws)


async def test_it_answers_again_after_the_last_of_two(shared: LocalProcess, ws: ClientConnection) -> None:
    async with stand_in(shared, "+/in"):
        async with stand_in(shared, "+/in"):
            assert await is_silent(ws, "1")
        assert await is_silent(ws, "2")
    assert [(await receive(ws))[:2] for _ in range(2)] == [[3, "1"], [3, "2"]]


@pytest.mark.parametrize(
    ("identifier", "topic_filter"),
    [("cpsim-abcdef123456", "+/in"), (f"x{STAND_IN}", "+/in"), (f"{STAND_IN}1", "+/out"), (f"{STAND_IN}2", "CP1/in")],
)
async def test_it_answers_whoever_else_listens(
    shared: LocalProcess, ws: ClientConnection, identifier: str, topic_filter: str
) -> None:
    async with mqtt(shared, topic_filter, identifier=identifier):
        assert await is_answered(ws)


async def test_the_sample_gets_the_calls_that_were_left_and_no_more(environment: pytest.MonkeyPatch) -> None:
    process = await asyncio.to_thread(LocalProcess, LocalOptions(name=new_id("Aside"), csms="sample"))
    try:
        topic = "CP1/in"
        async with mqtt(process, "+/out") as observer:
            async with stand_in(process, "+/in") as client:
                for frame in ('[2,"1","Heartbeat",{}]', '[3,"2",{}]', '[2,"3","Other",{}]'):
                    await observer.publish(topic, frame)
                await client.take(3)
            answers = [json.loads(payload)[1] for _, payload in await observer.take(2)]
            assert answers == ["1", "3"]
            await observer.publish(topic, '[2,"4","Heartbeat",{}]')
            assert json.loads((await observer.take(1))[0][1])[1] == "4"
    finally:
        await asyncio.to_thread(process.stop)


async def test_an_answer_to_another_charge_point_is_none() -> None:
    unanswered = Unanswered()
    await unanswered.on_in("CP1/in", b'[2,"1","Heartbeat",{}]')
    await unanswered.on_in("CP2/in", b'[2,"1","Heartbeat",{}]')
    await unanswered.on_out("CP2/out", b'[2,"1","Reset",{}]')
    await unanswered.on_out("CP2/out", b"?")
    await unanswered.on_out("CP1/out", b'[3,"1",{}]')
    assert unanswered.drain() == [("CP2", b'[2,"1","Heartbeat",{}]')]
    assert unanswered.drain() == []


async def test_a_call_of_a_process_that_answers_by_itself_is_not_seen(
    shared: LocalProcess, ws: ClientConnection
) -> None:
    """What the CSMS had received before stays its own: nobody gets two answers, nor none."""
    in_one_write(ws, *(f'[2,"{number}","Heartbeat",{{}}]' for number in range(50)))
    async with stand_in(shared, "+/in"):
        pass
    assert [(await receive(ws))[1] for _ in range(50)] == [str(number) for number in range(50)]
    assert (await ask(ws, "Heartbeat", {}, "last"))[1] == "last"


# -- A message that is on its way while a client comes or goes --------------------------------------------------------


class Held:
    """ministack's broker with a subscriber that steps aside, and one before it that holds each message up.

    Attributes:
        seen: Who got which message: "own", a client, or "left" for what is noted in case that a client does not answer.
    """

    def __init__(self) -> None:
        from ministack.services import iot

        self.iot = SimpleNamespace(**vars(iot))  # replaced functions are of this test alone
        self.seen: list[tuple[str, bytes]] = []
        self.release = asyncio.Event()
        self.holding = asyncio.Event()

    async def __aenter__(self) -> Self:
        async def hold(*_: object) -> None:
            self.holding.set()
            await self.release.wait()

        await self.iot.broker_subscribe("account", "region", "CP1/in", hold)
        stand_in = StandIn(STAND_IN, self.sees("left"), {}, lambda: self.seen.append(("end", b"")))
        SteppingAside(self.iot).add("account", "region", "+/in", self.sees("own"), stand_in)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.iot.broker_reset()

    def sees(self, name: str) -> Any:
        async def deliver(_topic: str, payload: bytes, *_: int) -> None:
            self.seen.append((name, payload))

        return deliver

    async def subscribe(self, name: str) -> str:
        client_id = f"{STAND_IN}{name}"
        return await self.iot.broker_subscribe("account", "region", "+/in", self.sees(name), 1, client_id=client_id)  # type: ignore[no-any-return]

    async def publish(self, payload: bytes) -> "asyncio.Task[None]":
        """Publish a message, which is held up when this returns."""
        task = asyncio.create_task(self.iot.broker_publish("account", "region", "CP1/in", payload))
        await self.holding.wait()
        return task


async def test_a_message_from_before_the_client_reaches_the_subscriber_alone() -> None:
    async with Held() as held:
        publishing = await held.publish(b"1")
        await held.subscribe("A")
        held.release.set()
        await publishing
        await held.iot.broker_publish("account", "region", "CP1/in", b"2")
        assert held.seen == [("own", b"1"), ("left", b"2"), ("A", b"2")]


async def test_a_message_from_before_the_clients_end_reaches_the_subscriber_alone() -> None:
    async with Held() as held:
        client = await held.subscribe("A")
        publishing = await held.publish(b"1")
        await held.iot.broker_unsubscribe(client)
        held.release.set()
        await publishing
        await held.iot.broker_publish("account", "region", "CP1/in", b"2")
        assert held.seen == [("end", b""), ("own", b"1"), ("own", b"2")]


async def test_a_message_for_a_client_that_another_has_followed_is_left_for_the_end() -> None:
    async with Held() as held:
        first = await held.subscribe("A")
        publishing = await held.publish(b"1")
        await held.iot.broker_unsubscribe(first)
        second = await held.subscribe("B")
        held.release.set()
        await publishing
        await held.iot.broker_unsubscribe(second)
        assert held.seen == [("end", b""), ("left", b"1"), ("end", b"")]
