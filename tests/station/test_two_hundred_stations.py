"""Two hundred stations in sessions on the local stack: what the network does to them, and the ledger has every Wh."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import FACTOR, SOON, until
from relay import Relay

from cpsim_kit import Backoff, Network, Stack, Station, Vehicle
from cpsim_kit.errors import CallTimeout

pytestmark = pytest.mark.slow

SIZE = 200
PATIENCE = 6 * SOON  # so many need what CPU they get
CLOSED_PORT = 9
IN_TRANSACTIONS = ("MeterValues", "StartTransaction", "StopTransaction", "TransactionEvent")
ATTEMPTS = {"1.6": "TransactionMessageAttempts", "2.0.1": "OCPPCommCtrlr.MessageAttempts[TransactionEvent]"}


def port_of(stack: Stack) -> int:
    port = urlsplit(stack.websocket_url).port
    assert port is not None
    return port


@asynccontextmanager
async def two_hundred(stack: Stack, prefix: str, url: str, **options: Any) -> AsyncIterator[list[Station]]:
    """As many stations of each version; in the end the ledger has the truth of each session."""
    ids = [f"{prefix}-{number:03}" for number in range(SIZE)]
    made = await stack.things.create_many(ids, progress=False)
    assert not made.failed
    places = asyncio.Semaphore(20)
    reconnect = Backoff(0.2 * FACTOR, 0.8 * FACTOR, 1)
    speed = 240 / FACTOR

    async def open_one(number: int, identity: str) -> Station:
        version = ("1.6", "2.0.1")[number % 2]
        variables = {ATTEMPTS[version]: 20}
        async with places:
            return await Station(
                identity,
                url,
                version=version,
                variables=variables,
                seed=number,
                speed=speed,
                reconnect=reconnect,
                **options,
            )

    stations = await asyncio.gather(*(open_one(number, identity) for number, identity in enumerate(ids)))
    try:
        yield stations
        await until(lambda: all(is_settled(station) for station in stations), "all to have said all", PATIENCE)
        frame = await stack.transactions.compare(*stations)
    finally:
        await asyncio.gather(*(station.close() for station in stations))
    assert len(frame) == SIZE
    assert frame.station_wh.min() > 2000
    wrong = frame[~(frame.difference_wh.abs() <= 1) | (frame.missing.map(len) > 0)]
    assert wrong.empty, wrong.to_string()  # OCPP 1.6 has whole Wh at the start and at the end
    assert [station.id for station in stations if station._core.queue.given_up] == []


def is_settled(station: Station) -> bool:
    """Whether it is online, and nothing waits."""
    return station._driver.is_online and len(station._core.queue) == 0


async def drive(station: Station, minutes: int) -> None:
    """One session; an act whose message has no answer at first is done all the same."""

    async def do(act: Awaitable[object]) -> None:
        with contextlib.suppress(CallTimeout):
            await act

    await do(station.plug_in(Vehicle(60, 0.2, 11)))
    await do(station.swipe("TAG-1"))
    assert station.evses[1].state == "Charging"
    await station.until(minutes=minutes, timeout=PATIENCE)
    await do(station.swipe("TAG-1"))
    await do(station.unplug())


async def test_all_connections_are_cut_in_the_middle_of_the_sessions(stack: Stack) -> None:
    plans = random.Random(1)
    async with (
        Relay(port_of(stack)) as relay,
        two_hundred(stack, "CUT", f"ws://127.0.0.1:{relay.port}", call_timeout=PATIENCE) as stations,
    ):
        sessions = [asyncio.create_task(drive(station, plans.randint(40, 60))) for station in stations]
        await until(
            lambda: all(station.evses[1].state == "Charging" for station in stations), "all to charge", PATIENCE
        )
        relay.target = CLOSED_PORT
        relay.cut()
        await until(lambda: not any(station._driver.is_online for station in stations), "all to be cut", PATIENCE)
        await until(lambda: all(len(station._core.queue) > 1 for station in stations), "messages to wait", PATIENCE)
        assert not any(session.done() for session in sessions)
        relay.target = port_of(stack)
        await asyncio.wait_for(asyncio.gather(*sessions), PATIENCE)


async def test_answers_are_dropped_at_random(stack: Stack) -> None:
    plans = random.Random(2)
    network = Network(drop=0.1, direction="received", kinds="CALLRESULT", actions=IN_TRANSACTIONS, seed=1)
    options = {"transport": network, "call_timeout": 1.5 * FACTOR}
    async with two_hundred(stack, "DROP", stack.websocket_url, **options) as stations:
        sessions = [drive(station, plans.randint(15, 25)) for station in stations]
        await asyncio.wait_for(asyncio.gather(*sessions), PATIENCE)
    dropped = network.to_frame()
    assert set(dropped.fault) >= {"drop"}
    assert len(dropped) > SIZE
