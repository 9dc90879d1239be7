"""Each act with the CSMS gone before, during and after it: nothing hangs, nothing fails, and all is said later."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from charge_point_fixtures import times_out
from conftest import MS, SOON, cpsim_tasks, until
from csms_stub import Behaviour, Csms, abort, close
from station_wire import accept_all

from cpsim_kit import Backoff, Station, Vehicle
from cpsim_kit.errors import CallTimeout, WaitTimeout

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_hang")]

VERSIONS = ("1.6", "2.0.1")
GONE: dict[str, Behaviour] = {"closed": close(1011, "overload"), "aborted": abort}
Act = Callable[[Station], Awaitable[Any]]


@dataclass(frozen=True)
class Case:
    """An act, what comes before it, and what the EVSE's state is after it."""

    act: Act
    before: tuple[Act, ...] = ()
    state: str = "Idle"
    is_silent: bool = False  # says nothing, so that the CSMS cannot go during it


def car() -> Vehicle:
    return Vehicle(60, 0.3, 11)


def plug_in(station: Station) -> Awaitable[Any]:
    return station.plug_in(car())


def swipe(station: Station) -> Awaitable[Any]:
    return station.swipe("TAG-1")


async def nothing_comes(station: Station) -> None:
    with pytest.raises(WaitTimeout):
        await station.wait_command(
            "GetConfiguration" if station.charge_point.version == "1.6" else "GetVariables", timeout=20 * MS
        )


CASES: dict[str, Case] = {
    "plug_in": Case(plug_in, state="EVConnected"),
    "swipe to start": Case(swipe, (plug_in,), "Charging"),
    "swipe first": Case(swipe),
    "swipe to stop": Case(swipe, (plug_in, swipe), "EVConnected"),
    "unplug": Case(lambda station: station.unplug(), (plug_in, swipe)),
    "unplug at the vehicle": Case(lambda station: station.unplug(side="ev"), (plug_in, swipe)),
    "suspend_ev": Case(lambda station: station.suspend_ev(), (plug_in, swipe), "SuspendedEV"),
    "resume_ev": Case(
        lambda station: station.resume_ev(), (plug_in, swipe, lambda station: station.suspend_ev()), "Charging"
    ),
    "suspend_evse": Case(lambda station: station.suspend_evse(), (plug_in, swipe), "SuspendedEVSE"),
    "resume_evse": Case(
        lambda station: station.resume_evse(), (plug_in, swipe, lambda station: station.suspend_evse()), "Charging"
    ),
    "fault": Case(lambda station: station.fault("GroundFault"), (plug_in, swipe), "GroundFault"),
    "clear_fault": Case(lambda station: station.clear_fault(), (lambda station: station.fault(),)),
    "until": Case(lambda station: station.until(minutes=3), (plug_in, swipe), "Charging"),
    "charge": Case(lambda station: station.charge(car(), token="TAG-1", minutes=3)),
    "wait_command": Case(nothing_comes, is_silent=True),
    "disconnect": Case(lambda station: station.disconnect(), (plug_in, swipe), "Charging", is_silent=True),
}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def opened(csms: Csms, version: str) -> AsyncIterator[Station]:
    """CP1 that knows TAG-1, and waits shortly before it connects again."""
    accept_all(csms, version)
    options: dict[str, Any] = {"speed": math.inf, "reconnect": Backoff(5 * MS, 5 * MS, 0), "call_timeout": SOON}
    async with Station("CP1", csms.url, version=version, **options) as station:
        await station.charge(car(), token="TAG-1", minutes=1)
        yield station


@pytest.fixture
async def station(csms: Csms, version: str) -> AsyncIterator[Station]:
    async with opened(csms, version) as station:
        yield station


async def go(csms: Csms, how: str) -> None:
    """The CSMS goes, and does not come back for now."""
    csms.refusals = itertools.repeat(503)
    if how == "closed":
        await csms.link.ws.close(1011, "overload")
    else:
        csms.link.abort()


async def come_back(station: Station, csms: Csms, version: str) -> None:
    """The CSMS is there again; the station says all that waited, ends its session, and closes."""
    csms.refusals = iter(())
    csms.once.clear()
    if station._driver.is_plugged:
        await until(lambda: station._driver.is_online, "the station to be online")
    else:
        await station.reconnect()
    view = station.evses[1]
    if station._core.evses[1].fault:
        await station.clear_fault()
    if station._core.evses[1].authorization is not None:
        await station.swipe("TAG-1")
    if view.vehicle is not None:
        await station.unplug()
    if len(station.queue) > 0 and station.queue.attempts[0] > 0:  # it waits by the station's clock
        await station.until(minutes=2)
    await until(lambda: len(station.queue) == 0, "the queue to be empty")
    assert station.truth().end.notna().all()
    assert station._core.queue.given_up == []
    check_order(csms, version, len(station.truth()))


def check_order(csms: Csms, version: str, transactions: int) -> None:
    """Each transaction has its messages in order, from start to end."""
    if version == "1.6":
        actions = [call.action for call in csms.calls if call.action in {"StartTransaction", "StopTransaction"}]
        assert len(set(actions)) == 2
        assert [action for action, _ in itertools.groupby(actions)] == [
            "StartTransaction",
            "StopTransaction",
        ] * transactions
        return
    numbers: dict[str, list[int]] = {}
    for call in csms.calls:
        if call.action == "TransactionEvent":
            numbers.setdefault(call.payload["transactionInfo"]["transactionId"], []).append(call.payload["seqNo"])
    assert len(numbers) == transactions
    for each in numbers.values():
        assert each == sorted(each)
        assert sorted(set(each)) == list(range(each[-1] + 1))


def check_state(station: Station, case: Case) -> None:
    assert station.evses[1].state == case.state


@pytest.mark.parametrize("how", GONE)
@pytest.mark.parametrize("name", CASES)
async def test_an_act_with_the_csms_gone_before_it(
    station: Station, csms: Csms, version: str, name: str, how: str
) -> None:
    case = CASES[name]
    for each in case.before:
        await each(station)
    await go(csms, how)
    await station.charge_point.wait_closed(SOON)
    said = len(csms.calls)

    async with asyncio.timeout(SOON):
        await case.act(station)

    assert len(csms.calls) == said
    check_state(station, case)
    async with asyncio.timeout(SOON):
        await come_back(station, csms, version)


@pytest.mark.parametrize("how", GONE)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.is_silent])
async def test_an_act_with_the_csms_gone_during_it(
    station: Station, csms: Csms, version: str, name: str, how: str
) -> None:
    case = CASES[name]
    for each in case.before:
        await each(station)
    csms.refusals = itertools.repeat(503)
    csms.once.append(GONE[how])
    said = len(csms.calls)

    async with asyncio.timeout(SOON):
        await case.act(station)

    assert len(csms.calls) == said + 1
    check_state(station, case)
    async with asyncio.timeout(SOON):
        await come_back(station, csms, version)


@pytest.mark.parametrize("how", GONE)
@pytest.mark.parametrize("name", CASES)
async def test_an_act_with_the_csms_gone_after_it(
    station: Station, csms: Csms, version: str, name: str, how: str
) -> None:
    case = CASES[name]
    for each in (*case.before, case.act):
        await each(station)
    if station.charge_point.is_open:
        await go(csms, how)
        await station.charge_point.wait_closed(SOON)
    check_state(station, case)

    async with asyncio.timeout(SOON):
        await come_back(station, csms, version)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.is_silent])
async def test_an_act_with_a_csms_that_is_silent(csms: Csms, version: str, name: str) -> None:
    case = CASES[name]
    async with opened(csms, version) as station:
        for each in case.before:
            await each(station)
        csms.once.append(times_out(station.charge_point))

        async with asyncio.timeout(SOON):
            with contextlib.suppress(CallTimeout):
                await case.act(station)
        assert not csms.once

        async with asyncio.timeout(SOON):
            await come_back(station, csms, version)


@pytest.mark.parametrize("how", GONE)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.is_silent])
async def test_a_station_is_closed_during_an_act_with_the_csms_gone(
    station: Station, csms: Csms, name: str, how: str
) -> None:
    case = CASES[name]
    for each in case.before:
        await each(station)
    await go(csms, how)
    act = asyncio.ensure_future(case.act(station))
    await asyncio.sleep(0)

    async with asyncio.timeout(SOON):
        await station.close()
        (result,) = await asyncio.gather(act, return_exceptions=True)

    assert result is None or not isinstance(result, BaseException) or "closed" in str(result)
    assert cpsim_tasks() == set()
