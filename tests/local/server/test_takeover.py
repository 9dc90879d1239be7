"""Many takeovers: of any number of connections with one id one stays, and nothing is kept of the others."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import psutil
import pytest
from conftest import SOON
from stack_fixtures import Boto, Mqtt, close_of, dial, eventually, is_answered, mqtt, new_id, receive, use_key_of
from websockets.asyncio.client import ClientConnection

from cpsim_kit import ChargePoint, Stack, errors
from cpsim_kit.local.launcher import LocalOptions, LocalProcess

MANY = 200


@pytest.fixture(scope="module")
def process() -> Iterator[LocalProcess]:
    """A separate process, because its sockets are counted."""
    process = LocalProcess(LocalOptions(name="Takeover"))
    yield process
    process.stop()


@pytest.fixture
async def stack(process: LocalProcess, credentials: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    use_key_of(process, credentials)
    async with Stack.aws(process.options.name, endpoint_url=process.endpoint_url) as stack:
        yield stack


@pytest.fixture
def boto(process: LocalProcess) -> Iterator[Boto]:
    boto = Boto(process)
    yield boto
    boto.disconnect()


def gateway_connections(process: LocalProcess) -> int:
    """The sockets that the gateway holds open for charge points."""
    port = int(process.websocket_url.rsplit(":", 1)[1])
    sockets = psutil.Process(process.pid).net_connections("tcp")
    return sum(1 for each in sockets if each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED)


def descriptors(process: LocalProcess) -> int:
    return psutil.Process(process.pid).num_fds()


async def stories(watcher: Mqtt, count: int) -> dict[str, list[str]]:
    """The next presence events of each id. Asserts that sessions of one id follow one another."""
    seen: dict[str, list[str]] = {}
    alive: dict[str, str | None] = {}
    versions: dict[str, int] = {}
    for event in await watcher.events(count):
        who, session = event["clientId"], event["sessionIdentifier"]
        if event["eventType"] == "connected":
            assert alive.get(who) is None
            assert event["versionNumber"] > versions.get(who, -1)
            versions[who] = event["versionNumber"]
            alive[who] = session
            seen.setdefault(who, []).append("connected")
        else:
            assert (session, event["versionNumber"]) == (alive[who], versions[who])
            alive[who] = None
            seen[who].append(event["disconnectReason"])
    return seen


async def test_200_takeovers_in_a_row_leave_one_connection_only(
    process: LocalProcess, stack: Stack, boto: Boto
) -> None:
    charge_point_id = new_id()
    await stack.things.create(charge_point_id)
    async with mqtt(process, "$aws/events/presence/+/+") as watcher:
        before = descriptors(process)
        connections: list[ClientConnection] = []
        async with AsyncExitStack() as everything:
            for _ in range(MANY + 1):
                connections.append(await everything.enter_async_context(dial(process, charge_point_id)))
            *older, newest = connections
            assert Counter([await close_of(ws) for ws in older]) == {(1000, ""): MANY}
            assert await is_answered(newest)
            boto("iot-data").publish(topic=f"{charge_point_id}/out", payload=b'"for the newest"')
            assert await receive(newest) == "for the newest"
            await eventually(lambda: gateway_connections(process) == 1)
        seen = await stories(watcher, 2 * (MANY + 1))
        assert seen == {
            charge_point_id: ["connected", "DUPLICATE_CLIENTID"] * MANY + ["connected", "CLIENT_INITIATED_DISCONNECT"]
        }
        boto.disconnect()
        await eventually(lambda: gateway_connections(process) == 0)
        await eventually(lambda: descriptors(process) <= before + 2)


@pytest.mark.slow
async def test_200_ids_reconnecting_at_once_leave_one_connection_each_only(process: LocalProcess, stack: Stack) -> None:
    ids = [new_id() for _ in range(MANY)]
    assert len((await stack.things.create_many(ids, progress=False)).done) == MANY
    async with mqtt(process, "$aws/events/presence/+/+") as watcher:
        before = descriptors(process)
        async with AsyncExitStack() as everything:

            async def connect_all() -> list[ClientConnection]:
                contexts = [dial(process, charge_point_id, open_timeout=3 * SOON) for charge_point_id in ids]
                return list(await asyncio.gather(*map(everything.enter_async_context, contexts)))

            older = await connect_all()
            newer = await connect_all()  # as after a power cut: the old sockets are still there
            assert Counter(await asyncio.gather(*map(close_of, older))) == {(1000, ""): MANY}
            assert all(await asyncio.gather(*map(is_answered, newer)))
            assert all(ws.close_code is None for ws in newer)
            assert gateway_connections(process) == MANY
        seen = await stories(watcher, 4 * MANY)
        assert seen.keys() == set(ids)
        for story in seen.values():
            assert story == ["connected", "DUPLICATE_CLIENTID", "connected", "CLIENT_INITIATED_DISCONNECT"]
        await eventually(lambda: gateway_connections(process) == 0)
        await eventually(lambda: descriptors(process) <= before + 2)
    await stack.things.delete_many(ids, progress=False)


async def test_200_connections_of_one_id_at_once_leave_one_connection(process: LocalProcess, stack: Stack) -> None:
    charge_point_id = new_id()
    await stack.things.create(charge_point_id)
    async with mqtt(process, "$aws/events/presence/+/+") as watcher:
        async with AsyncExitStack() as everything:
            contexts = [dial(process, charge_point_id, open_timeout=3 * SOON) for _ in range(MANY)]
            connections = await asyncio.gather(*map(everything.enter_async_context, contexts))
            await eventually(lambda: sum(ws.close_code is None for ws in connections) == 1)
            [survivor] = [ws for ws in connections if ws.close_code is None]
            assert await is_answered(survivor)
            assert Counter(ws.close_code for ws in connections) == {1000: MANY - 1, None: 1}
        seen = await stories(watcher, 2 * MANY)
    assert Counter(seen[charge_point_id]) == {
        "connected": MANY,
        "DUPLICATE_CLIENTID": MANY - 1,
        "CLIENT_INITIATED_DISCONNECT": 1,
    }


async def test_two_charge_points_with_one_id_evict_each_other(process: LocalProcess, stack: Stack) -> None:
    """As in the notebook: the call of the older one fails, and it may connect again."""
    charge_point_id = new_id()
    await stack.things.create(charge_point_id)
    one: ChargePoint = stack.charge_point(charge_point_id)
    other: ChargePoint = stack.charge_point(charge_point_id)
    for _ in range(10):
        for newer, older in ((one, other), (other, one)):
            await newer.connect()
            if older.is_open:
                closed = await older.wait_closed(timeout=SOON)
                assert (closed.code, closed.reason, closed.by) == (1000, "", "gateway")
                with pytest.raises(errors.ConnectionLost, match="Another connection with the same id"):
                    await older.heartbeat()
            assert (await newer.heartbeat()).latency_ms > 0
    await eventually(lambda: gateway_connections(process) == 1)


async def test_a_call_in_progress_at_a_takeover_fails_at_once(process: LocalProcess, stack: Stack) -> None:
    charge_point_id = new_id()
    await stack.things.create(charge_point_id)
    async with stack.charge_point(charge_point_id) as older:
        calls = [asyncio.create_task(older.heartbeat()) for _ in range(50)]
        async with dial(process, charge_point_id) as newer:
            results = await asyncio.gather(*calls, return_exceptions=True)
            lost = [result for result in results if isinstance(result, BaseException)]
            assert {type(error) for error in lost} <= {errors.ConnectionLost}
            assert newer.close_code is None
            assert (await older.wait_closed(timeout=SOON)).code == 1000
