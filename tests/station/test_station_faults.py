"""A station whose CSMS refuses, is silent, answers nonsense or goes away: the act fails, nothing hangs, it goes on."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from charge_point_fixtures import NOT_REGISTERED, spawn, times_out
from conftest import MS, cpsim_tasks, until
from csms_stub import Behaviour, Csms, Link, abort, answer, both, close, error, garbage, silent
from station_wire import ACCEPTED_TAG, VERSIONS, accept_all, words

from cpsim_kit import ChargePoint
from cpsim_kit.errors import (
    CallFailed,
    CallTimeout,
    ConnectionLost,
    CpsimError,
    NotRegistered,
    ProtocolViolation,
    UnsupportedByCsms,
)
from cpsim_kit.station import Station, Vehicle

pytestmark = pytest.mark.usefixtures("no_hang")

Act = Callable[[Station], Awaitable[Any]]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def station(csms: Csms, version: str) -> AsyncIterator[Station]:
    """CP1 with one EVSE, which ends with its connection."""
    accept_all(csms, version)
    async with Station("CP1", csms.url, version=version, speed=math.inf, reconnect=False) as station:
        yield station


def car() -> Vehicle:
    return Vehicle(60, 0.3, 11)


async def begin(station: Station) -> None:
    await station.plug_in(car())
    await station.swipe("TAG-1")


async def end(station: Station) -> None:
    await station.swipe("TAG-1")
    await station.unplug()


def start_action(version: str) -> str:
    return "StartTransaction" if version == "1.6" else "TransactionEvent"


# -- Answers ----------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Behaviour, type[CpsimError]]] = {
    "CALLERROR": (error("InternalError", "no", {}), CallFailed),
    "the sample's error": (answer({"error": "Command [X] not implemented."}), UnsupportedByCsms),
    "silent": (silent, CallTimeout),
    "garbage": (garbage("hello"), CallTimeout),
    "half a frame": (garbage('[3,"x'), CallTimeout),
    "an answer to something else": (garbage([3, "unknown", {}]), CallTimeout),
    "schema": (answer({"idTokenInfo": {"status": 7}, "idTagInfo": 7}), ProtocolViolation),
    "no object": (answer([1]), ProtocolViolation),
}


def wrong(station: Station, name: str) -> tuple[Behaviour, type[CpsimError]]:
    """What the CSMS does, and what comes of it; where no answer comes, the station waits no longer than for that."""
    behaviour, kind = WRONG[name]
    return (both(behaviour, times_out(station.charge_point)) if kind is CallTimeout else behaviour), kind


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_answer_to_a_token_fails_the_act_and_the_next_one_works(
    station: Station, csms: Csms, name: str
) -> None:
    behaviour, kind = wrong(station, name)
    await station.plug_in(car())
    csms.once.append(behaviour)

    with pytest.raises(kind) as failed:
        await station.swipe("TAG-1")
    assert failed.value.action == "Authorize"  # type: ignore[attr-defined]
    assert str(failed.value).startswith("CP1: ")
    assert station.evses[1].state == "EVConnected"

    assert (await station.swipe("TAG-1")).effect == "authorized"
    await end(station)
    assert station.truth().end.notna().all()


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_answer_to_a_status_fails_the_act_and_the_session_goes_on(
    station: Station, csms: Csms, name: str
) -> None:
    behaviour, kind = wrong(station, name)
    csms.once.append(behaviour)

    with pytest.raises(kind):
        await station.plug_in(car())

    assert station.evses[1].vehicle is not None
    await station.swipe("TAG-1")
    assert station.evses[1].state == "Charging"


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_answer_to_a_started_transaction_fails_the_act_and_nothing_hangs(
    station: Station, csms: Csms, version: str, name: str
) -> None:
    behaviour, kind = wrong(station, name)
    accepting = csms.on.get(start_action(version))
    await station.plug_in(car())
    csms.on[start_action(version)] = behaviour

    with pytest.raises(kind):
        await station.swipe("TAG-1")

    assert station.evses[1].state == "Charging"
    await until(lambda: not station._core.has_message(station._driver.now()))
    if accepting is None:
        del csms.on[start_action(version)]
    else:
        csms.on[start_action(version)] = accepting
    await station.until(minutes=3)  # meter values of a transaction that the CSMS does not know
    await station.swipe("TAG-1")
    if version == "1.6":
        is_final = name == "the sample's error"  # which is not sent again, so that the transaction has no id
        stop = next(call.payload for call in csms.calls if call.action == "StopTransaction")
        assert (stop["transactionId"] == -1) is is_final
    await station.unplug()
    assert station.evses[1].state == "Idle"
    assert station.truth().energy_wh[0] == 550

    csms.calls.clear()
    session = await station.charge(car(), token="TAG-1", minutes=1)
    assert session.energy_wh == 183
    assert start_action(version) in csms.actions


async def test_a_wrong_answer_that_nobody_waits_for_is_logged(
    station: Station, csms: Csms, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    await begin(station)
    csms.once.append(error("InternalError", "no meter values today", {}))

    with caplog.at_level(logging.WARNING):
        await station.until(minutes=3)

    action = "MeterValues" if version == "1.6" else "TransactionEvent"
    (record,) = caplog.records
    assert record.message == (
        f"CP1: {action} was answered with CALLERROR InternalError: no meter values today; "
        "attempt 1 failed, the next one is in 10 s"
    )
    assert csms.actions[-4:].count(action) == 4  # three meter values, and one of them again
    assert record.exc_info is None
    await end(station)


async def test_answers_twice_and_late_change_nothing(station: Station, csms: Csms, version: str) -> None:
    info = ACCEPTED_TAG if version == "1.6" else None
    await station.plug_in(car())
    csms.once.append(both(answer(info), answer(info)))
    assert (await station.swipe("TAG-1")).effect == "authorized"
    await station.swipe("TAG-1")
    csms.once.append(both(times_out(station.charge_point), answer(info)))
    with pytest.raises(CallTimeout):
        await station.swipe("TAG-2")
    await until(lambda: station.charge_point.ignored["late"], "the late answer")

    assert station.evses[1].state == "EVConnected"
    assert station.charge_point.ignored == {"duplicate": 1, "late": 1}


@pytest.mark.parametrize("moment", ["soon", "2026-13-01T00:00:00Z", "0000-00-00T00:00:00Z", ""])
async def test_a_time_that_is_none_fails_the_act_and_the_station_goes_on(
    station: Station, csms: Csms, version: str, moment: str
) -> None:
    await station.plug_in(car())
    info = {"status": "Accepted", "expiryDate" if version == "1.6" else "cacheExpiryDateTime": moment}
    csms.once.append(answer({"idTagInfo" if version == "1.6" else "idTokenInfo": info}))

    with pytest.raises(ProtocolViolation):
        await station.swipe("TAG-1")

    assert (await station.swipe("TAG-1")).effect == "authorized"


async def test_a_start_that_names_no_transaction_and_refuses_the_token(csms: Csms) -> None:
    accept_all(csms, "1.6")
    csms.on["StartTransaction"] = answer({"transactionId": 5, "idTagInfo": {"status": "Blocked"}})
    async with Station("CP1", csms.url, version="1.6", speed=math.inf) as station:
        session = await station.charge(car(), token="TAG-1", until_soc=0.8)

    assert session.energy_wh == 0
    assert words(csms)[-4:] == ["Status 1 Charging", "StopTransaction", "Status 1 Finishing", "Status 1 Available"]


async def test_the_csms_can_set_how_long_it_is_waited_for(csms: Csms) -> None:
    variables = {"OCPPCommCtrlr.MessageTimeout[Default]": 40}
    async with Station("CP1", csms.url, variables=variables, call_timeout=20) as station:
        csms.on["StatusNotification"] = times_out(station.charge_point)
        with pytest.raises(CallTimeout) as timeout:
            await station.plug_in(car())

    assert timeout.value.waited == 40


async def test_the_stations_own_error_comes_out_at_the_act_and_at_the_next(
    csms: Csms, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Station("CP1", csms.url) as station:

        def fail(*_: object) -> None:
            raise ZeroDivisionError("a mistake in the station")

        monkeypatch.setattr(type(station._core.dialect), "authorize", fail)
        await station.plug_in(car())
        with pytest.raises(ZeroDivisionError):
            await station.swipe("TAG-1")
        with pytest.raises(ZeroDivisionError):
            await station.unplug()

    assert "CP1: the station stopped" in caplog.text


# -- The connection ---------------------------------------------------------------------------------------------------

LOSSES: dict[str, tuple[Behaviour, int, str]] = {
    "closed": (close(1011, "overload"), 1011, "gateway"),
    "aborted": (abort, 1006, "network"),
}
ACTS: dict[str, tuple[tuple[Act, ...], Act]] = {  # what comes before, and the act
    "plug_in": ((), lambda station: station.plug_in(car())),
    "swipe": ((lambda station: station.plug_in(car()),), lambda station: station.swipe("TAG-1")),
    "stop": ((begin,), lambda station: station.swipe("TAG-1")),
    "unplug": ((begin,), lambda station: station.unplug()),
    "unplug at the vehicle": ((begin,), lambda station: station.unplug(side="ev")),
    "suspend_ev": ((begin,), lambda station: station.suspend_ev()),
    "resume_ev": ((begin, lambda station: station.suspend_ev()), lambda station: station.resume_ev()),
    "suspend_evse": ((begin,), lambda station: station.suspend_evse()),
    "resume_evse": ((begin, lambda station: station.suspend_evse()), lambda station: station.resume_evse()),
    "fault": ((begin,), lambda station: station.fault("GroundFault")),
    "clear_fault": ((lambda station: station.fault(),), lambda station: station.clear_fault()),
}


async def lose(station: Station, link: Link, how: str) -> None:
    """End the connection while nothing is said, and wait until the station knows."""
    if how == "closed":
        await link.ws.close(1011, "overload")
    else:
        link.abort()
    await station.charge_point.wait_closed(5)


async def check_lost(station: Station, how: str, task: Awaitable[Any]) -> None:
    """The awaitable fails as the connection was lost; so do later acts; closing works."""
    _, code, by = LOSSES[how]
    with pytest.raises(ConnectionLost) as lost:
        await task
    assert (lost.value.closed.code, lost.value.closed.by) == (code, by)
    later = (
        station.plug_in(car()),
        station.swipe("TAG-1"),
        station.until(minutes=1),
        station.charge(car(), token="TAG-1"),
        station.wait_command(
            "RequestStartTransaction" if station.charge_point.version != "1.6" else "GetConfiguration"
        ),
        station.connect(),
    )
    for act in later:
        with pytest.raises(ConnectionLost) as again:
            await act
        assert again.value.closed == lost.value.closed
    assert repr(station).startswith("<Station CP1 lost")
    await station.close()
    await station.close()
    assert cpsim_tasks() == set()


@pytest.mark.parametrize("how", LOSSES)
@pytest.mark.parametrize("name", ACTS)
async def test_a_connection_lost_before_an_act(station: Station, csms: Csms, name: str, how: str) -> None:
    before, act = ACTS[name]
    for each in before:
        await each(station)
    await lose(station, csms.link, how)
    said = len(csms.calls)

    await check_lost(station, how, act(station))

    assert len(csms.calls) == said


@pytest.mark.parametrize("how", LOSSES)
@pytest.mark.parametrize("name", ACTS)
async def test_a_connection_lost_during_an_act(station: Station, csms: Csms, name: str, how: str) -> None:
    before, act = ACTS[name]
    for each in before:
        await each(station)
    csms.once.append(LOSSES[how][0])

    await check_lost(station, how, act(station))


@pytest.mark.parametrize("how", LOSSES)
@pytest.mark.parametrize("nth", [1, 2])
async def test_a_connection_lost_at_a_later_message_of_an_act(
    station: Station, csms: Csms, version: str, nth: int, how: str
) -> None:
    action = [start_action(version), "StatusNotification" if version == "1.6" else "TransactionEvent"][nth - 1]
    await station.plug_in(car())
    ending = LOSSES[how][0]
    count = itertools.count(1)
    accepting = csms.on.get(action) or answer()

    async def behave(link: Link, call: Any) -> None:
        await (ending if version == "1.6" or next(count) == nth else accepting)(link, call)

    csms.on[action] = behave

    await check_lost(station, how, station.swipe("TAG-1"))

    assert station.evses[1].state == "Charging"


@pytest.mark.parametrize("how", LOSSES)
async def test_a_connection_lost_in_until(station: Station, csms: Csms, how: str) -> None:
    station.speed = 1
    await begin(station)
    waiting = [spawn(station.until(minutes=9)), spawn(station.until(state="Faulted"))]
    first = spawn(station.until(soc=0.8))
    await asyncio.sleep(10 * MS)
    await lose(station, csms.link, how)

    await check_lost(station, how, first)
    for each in waiting:
        with pytest.raises(ConnectionLost):
            await each


@pytest.mark.parametrize("how", LOSSES)
@pytest.mark.parametrize("speed", [1, math.inf])
async def test_a_connection_lost_in_charge(station: Station, csms: Csms, how: str, speed: float) -> None:
    station.speed = speed
    charging = spawn(station.charge(car(), token="TAG-1", until_soc=1))
    await until(lambda: station.evses[1].state == "Charging")
    ending = spawn(lose(station, csms.link, how))

    await check_lost(station, how, charging)
    await ending


@pytest.mark.parametrize("how", LOSSES)
async def test_a_connection_lost_in_wait_command(station: Station, csms: Csms, version: str, how: str) -> None:
    action = "GetConfiguration" if version == "1.6" else "GetVariables"
    waiting = spawn(station.wait_command(action, timeout=60))
    await asyncio.sleep(10 * MS)
    await lose(station, csms.link, how)

    await check_lost(station, how, waiting)


async def test_a_command_that_came_before_the_connection_was_lost_is_still_there(csms: Csms) -> None:
    async with Station("CP1", csms.url, reconnect=False) as station:
        await csms.call("RequestStopTransaction", {"transactionId": "x"})
        await lose(station, csms.link, "aborted")

        assert (await station.wait_command("RequestStopTransaction")).answer.status == "Rejected"


async def test_acts_at_once_all_fail_when_the_connection_is_lost(csms: Csms) -> None:
    async with Station("CP1", csms.url, reconnect=False) as station:
        csms.on["StatusNotification"] = silent
        acts = [spawn(station.plug_in(car())), spawn(station.fault()), spawn(station.until(minutes=5))]
        await until(lambda: csms.actions.count("StatusNotification") == 2)
        csms.link.abort()

        results = await asyncio.gather(*acts, return_exceptions=True)

    assert [type(result) for result in results] == [ConnectionLost] * 3


async def test_a_gateway_that_does_not_know_the_station_is_not_registered() -> None:
    async with Csms(refuse=(1008, NOT_REGISTERED)) as csms:
        with pytest.raises(NotRegistered) as refused:
            await Station("CP1", csms.url)

    assert refused.value.charge_point_id == "CP1"


async def test_a_charge_point_that_is_closed_beneath_the_station_says_so(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url) as cp, Station(cp, reconnect=False) as station:
        await cp.close()

        with pytest.raises(ConnectionLost, match="closed here") as lost:
            await station.plug_in(car())

    assert lost.value.closed.by == "charge point"


async def test_a_lost_station_keeps_its_state_to_look_at(station: Station, csms: Csms) -> None:
    await begin(station)
    await station.until(energy_kwh=1)
    await lose(station, csms.link, "aborted")

    assert station.evses[1].state == "Charging"
    assert station.evses[1].session_kwh == pytest.approx(1)
    assert len(station.truth()) == 1
    assert "lost" in station._repr_html_()


@pytest.mark.parametrize("frame", ["hello", [2, "1"], [2, "2", "Reset", {}], [2, "3", "Teleport", {}], [9, "4"], {}])
async def test_nonsense_of_the_csms_changes_nothing(station: Station, csms: Csms, frame: Any) -> None:
    await begin(station)

    await csms.link.send(frame if isinstance(frame, str | list) else "{}")
    await station.until(minutes=2)
    await end(station)

    assert station.truth().energy_wh[0] == pytest.approx(367, abs=1)


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("RequestStartTransaction", {}),
        ("RequestStartTransaction", {"idToken": {"idToken": "T", "type": "Moon"}, "remoteStartId": 1}),
        ("RequestStopTransaction", {"transactionId": 7}),
        ("SetVariables", {"setVariableData": []}),
        ("GetVariables", {"getVariableData": [{"component": {}, "variable": {}}]}),
    ],
)
async def test_a_command_that_breaks_the_schema_is_answered_with_callerror(
    csms: Csms, action: str, payload: dict[str, Any]
) -> None:
    async with Station("CP1", csms.url) as station:
        reply = await csms.call(action, payload)

        assert reply[0] == 4
        assert station.sessions == []
        await station.plug_in(car())


async def test_what_is_no_vehicle_cannot_be_plugged_in(station: Station) -> None:
    with pytest.raises(TypeError, match=r"takes a Vehicle\(…\), not 'car'"):
        await station.plug_in("car")  # type: ignore[arg-type]
