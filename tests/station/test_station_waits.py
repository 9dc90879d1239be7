"""What a station waits for: goals, whole charges, commands of the CSMS, heartbeats, two acts at once, cancellation."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from charge_point_fixtures import spawn, time_is_up, times_out
from conftest import MS, until
from csms_stub import Csms, answer, delay, held
from station_wire import VERSIONS, accept_all, words

from cpsim_kit import ChargePoint
from cpsim_kit.basics.clock import wall_clock
from cpsim_kit.errors import WaitTimeout
from cpsim_kit.station import Evse, Station, Vehicle

pytestmark = pytest.mark.usefixtures("no_hang")

TWO = (Evse(22), Evse(22))
FOREVER = {"TxCtrlr.EVConnectionTimeOut": 0}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def station(csms: Csms, version: str) -> AsyncIterator[Station]:
    """CP1 with two EVSEs, whose clock goes from event to event."""
    accept_all(csms, version)
    async with Station("CP1", csms.url, version=version, speed=math.inf, evses=TWO) as station:
        yield station


@pytest.fixture
async def station201(csms: Csms) -> AsyncIterator[Station]:
    async with Station("CP1", csms.url, speed=math.inf, evses=TWO) as station:
        yield station


@pytest.fixture
async def station16(csms: Csms) -> AsyncIterator[Station]:
    accept_all(csms, "1.6")
    async with Station("CP1", csms.url, version="1.6", speed=math.inf, evses=TWO) as station:
        yield station


def car(soc: float = 0.3, **more: Any) -> Vehicle:
    return Vehicle(60, soc, 11, **more)


async def begin(station: Station, vehicle: Vehicle | None = None, *, evse: int = 1, token: str = "TAG-1") -> None:
    await station.plug_in(vehicle or car(), evse=evse)
    await station.swipe(token, evse=evse)


def minutes(station: Station, since: Any) -> float:
    return (station.now - since).total_seconds() / 60


# -- until ------------------------------------------------------------------------------------------------------------


async def test_until_is_exact_at_infinite_speed(station: Station) -> None:
    await begin(station)
    began = station.now

    await station.until(soc=0.4)
    assert station.evses[1].soc == pytest.approx(0.4, abs=1e-9)
    await station.until(energy_kwh=10)
    assert station.evses[1].session_kwh == pytest.approx(10, abs=1e-9)
    assert minutes(station, began) == pytest.approx(10 / 11 * 60, abs=1e-6)
    await station.until(minutes=7)
    assert minutes(station, began) == pytest.approx(10 / 11 * 60 + 7, abs=1e-6)


async def test_until_a_power_waits_for_it_to_fall_or_to_rise(station: Station) -> None:
    await begin(station, car(0.75))

    await station.until(power_kw=5.5)
    assert station.evses[1].power_kw == pytest.approx(5.5, abs=1e-6)
    assert station.evses[1].soc == pytest.approx(0.9, abs=1e-6)
    await station.suspend_ev()
    waiting = spawn(station.until(power_kw=5, evse=1))
    await asyncio.sleep(5 * MS)
    assert not waiting.done()
    await station.resume_ev()
    await waiting
    assert station.evses[1].power_kw == pytest.approx(5.5, rel=0.1)


async def test_until_a_state_takes_charging_states_connector_statuses_and_faults(
    station: Station, version: str
) -> None:
    idle = spawn(station.until(state="Charging", evse=1))
    faulted = spawn(station.until(state="GroundFault", evse=1))
    await begin(station)
    await idle
    await station.until(state="Charging" if version == "1.6" else "Occupied", evse=1)
    await station.fault("GroundFault", evse=1)
    await faulted
    await station.until(state="Faulted", evse=1)


async def test_until_several_things_waits_for_all_of_them(station: Station) -> None:
    await begin(station)
    began = station.now

    await station.until(soc=0.31, minutes=30)
    assert minutes(station, began) == pytest.approx(30)
    await station.until(soc=0.5, minutes=1)
    assert station.evses[1].soc == pytest.approx(0.5)


@pytest.mark.parametrize(("target", "wanted", "reached"), [(1, 1, 0.9995), (0.85, 0.85, 0.85)])
async def test_until_the_vehicle_has_enough_waits_until_it_says_so(
    station: Station, target: float, wanted: float, reached: float
) -> None:
    await begin(station, car(0.8, target_soc=target))

    await station.until(soc=wanted)

    assert station.evses[1].state == "SuspendedEV"
    assert station.evses[1].soc == pytest.approx(reached)


async def test_a_vehicle_that_wants_less_never_has_more(station: Station) -> None:
    await begin(station, car(0.8, target_soc=0.85))
    await station.until(state="SuspendedEV")

    with pytest.raises(WaitTimeout) as timeout:
        await station.until(soc=0.9, timeout=20 * MS)

    assert "SuspendedEV" in str(timeout.value.last_seen)


async def test_a_vehicle_that_is_full_already_needs_no_time(station: Station) -> None:
    await begin(station, car(1))

    await station.until(soc=1)

    assert station.evses[1].state == "SuspendedEV"


async def test_what_is_so_already_needs_no_time(station: Station) -> None:
    await begin(station)
    began = station.now

    await station.until(soc=0.2)
    await station.until(energy_kwh=0)
    await station.until(minutes=0)
    await station.until(power_kw=11)

    assert station.now == began


async def test_what_does_not_come_is_a_wait_timeout_that_says_what_was_seen(station: Station) -> None:
    await station.plug_in(car(), evse=2)

    with pytest.raises(WaitTimeout) as timeout:
        await station.until(soc=0.8, state="Charging", timeout=20 * MS)

    assert timeout.value.what == "CP1, EVSE 2: a state of charge of 80.0% and state Charging"
    assert "EVConnected, 0.000 kWh, SoC 30.0%" in str(timeout.value.last_seen)
    assert isinstance(timeout.value, TimeoutError)
    with pytest.raises(WaitTimeout):
        await station.until(energy_kwh=1, evse=1, timeout=0)
    await station.swipe("TAG-1")  # it goes on
    await station.until(soc=0.8)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({}, "until what"),
        ({"soc": 80}, "from 0 to 1, not 80"),
        ({"soc": -0.1}, "from 0 to 1, not -0.1"),
        ({"soc": "0.8"}, "a number"),
        ({"energy_kwh": math.nan}, "a number"),
        ({"minutes": math.inf}, "a number"),
        ({"power_kw": True}, "a number"),
        ({"state": 1}, "a word"),
        ({"soc": 0.8}, "Say evse=1 or 2"),
        ({"soc": 0.8, "evse": 3}, "has the EVSEs 1, 2, not 3"),
        ({"minutes": 1, "timeout": -1}, "timeout"),
    ],
)
async def test_what_cannot_be_waited_for_is_a_value_error(
    station201: Station, wanted: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        await station201.until(**wanted)


async def test_minutes_need_no_evse_and_no_session(station: Station) -> None:
    began = station.now

    await station.until(minutes=90)

    assert minutes(station, began) == 90


async def test_several_goals_at_once_are_reached_one_after_the_other(station: Station) -> None:
    await begin(station, evse=1)
    await begin(station, evse=2, token="TAG-2")
    seen: list[tuple[str, float]] = []

    async def wait(name: str, **wanted: Any) -> None:
        await station.until(**wanted)
        seen.append((name, round(minutes(station, began), 6)))

    began = station.now
    await asyncio.gather(
        wait("later", evse=1, energy_kwh=2.2),
        wait("sooner", evse=2, energy_kwh=1.1),
        wait("minutes", minutes=7),
    )

    assert seen == [("sooner", 6), ("minutes", 7), ("later", 12)]


async def test_an_act_after_a_goal_happens_at_that_moment_while_another_goal_waits(station: Station) -> None:
    await begin(station, evse=1)
    await begin(station, evse=2, token="TAG-2")
    other = spawn(station.until(evse=2, soc=0.9))

    await station.until(evse=1, energy_kwh=1.1)
    await station.swipe("TAG-1", evse=1)
    await other

    assert station.truth().energy_wh[0] == 1100


# -- charge -----------------------------------------------------------------------------------------------------------


async def test_charge_is_a_whole_session(station: Station, csms: Csms, version: str) -> None:
    session = await station.charge(car(), token="TAG-1", until_energy_kwh=2, evse=2)

    assert (session.evse_id, session.energy_wh, session.token) == (2, 2000, "TAG-1")
    assert session.end is not None
    assert station.evses[2].state == "Idle"
    middle = {"1.6": "Status 2 Charging", "2.0.1": "Updated ChargingStateChanged Charging"}
    assert middle["1.6" if version == "1.6" else "2.0.1"] in words(csms)
    assert csms.overlaps == 0


@pytest.mark.parametrize(
    ("wanted", "wh"),
    [
        ({"until_soc": 0.45}, 9000),
        ({"until_energy_kwh": 3.3}, 3300),
        ({"minutes": 30}, 5500),
        ({"until_soc": 0.2}, 0),
        ({"until_soc": 0.9, "minutes": 1}, 36_000),
        ({}, 41_970),
    ],
)
async def test_charge_stops_where_it_is_told_to(station: Station, wanted: dict[str, Any], wh: int) -> None:
    session = await station.charge(car(), token="TAG-1", **wanted)

    assert session.energy_wh == wh
    assert station.truth().energy_wh[0] == wh


async def test_several_charges_at_once_each_have_their_own_energy(csms: Csms, version: str) -> None:
    accept_all(csms, version)
    evses = [Evse(22)] * 6
    targets = [0.35, 0.8, 0.41, 0.6, 0.335, 0.95]
    cars = [car() for _ in targets]
    async with Station("CP1", csms.url, version=version, speed=math.inf, evses=evses) as station:
        sessions = await asyncio.gather(
            *(
                station.charge(each, token=f"TAG-{number}", until_soc=target)
                for number, (each, target) in enumerate(zip(cars, targets, strict=True))
            )
        )

        assert [each.soc for each in cars] == pytest.approx(targets, abs=1e-9)
        assert [session.energy_wh for session in sessions] == [round((each - 0.3) * 60_000) for each in targets]
        assert [session.evse_id for session in sessions] == [1, 2, 3, 4, 5, 6]
        assert station.truth().energy_wh.sum() == sum(session.energy_wh for session in sessions)
    assert csms.overlaps == 0


async def test_a_charge_leaves_out_evses_that_are_broken_or_taken(csms: Csms) -> None:
    evses = [Evse(available=False), Evse(), Evse(), Evse()]
    async with Station("CP1", csms.url, speed=math.inf, evses=evses) as station:
        await station.fault(evse=2)
        await station.plug_in(car(), evse=3)

        session = await station.charge(car(), token="TAG-1", minutes=1)

        assert session.evse_id == 4


async def test_a_refused_token_ends_a_charge_at_once(station: Station, csms: Csms, version: str) -> None:
    csms.on["Authorize"] = answer(
        {"idTagInfo": {"status": "Blocked"}} if version == "1.6" else {"idTokenInfo": {"status": "Blocked"}}
    )

    session = await station.charge(car(), token="TAG-1", until_soc=0.8)

    assert (session.energy_wh, session.refused) == (0, "Blocked")
    assert station.truth().empty
    assert station.evses[1].vehicle is None


async def test_a_charge_that_somebody_else_ends_ends_early(station201: Station, csms: Csms) -> None:
    charging = spawn(station201.charge(car(), token="TAG-1", until_soc=1))
    await until(lambda: csms.actions.count("TransactionEvent") >= 5)
    transaction = station201.evses[1].transaction
    assert transaction is not None
    await csms.call("RequestStopTransaction", {"transactionId": transaction.id})

    session = await charging

    assert 0 < session.energy_wh < 41_000
    assert "Ended RemoteStop EVConnected" in words(csms)


async def test_a_charge_that_takes_too_long_is_a_wait_timeout_and_leaves_the_vehicle(csms: Csms) -> None:
    async with Station("CP1", csms.url) as station:
        with pytest.raises(WaitTimeout) as timeout:
            await station.charge(car(), token="TAG-1", until_soc=0.8, timeout=20 * MS)

        assert timeout.value.what == "CP1, EVSE 1: a state of charge of 80.0%"
        assert "Charging, 11.00 kW" in str(timeout.value.last_seen)
        assert station.evses[1].state == "Charging"
        await station.swipe("TAG-1")
        await station.unplug()


async def test_a_cancelled_charge_leaves_the_vehicle_and_the_station_goes_on(csms: Csms) -> None:
    async with Station("CP1", csms.url) as station:
        charging = spawn(station.charge(car(), token="TAG-1"))
        await until(lambda: station.evses[1].state == "Charging")
        charging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await charging

        assert station.evses[1].state == "Charging"
        station.speed = math.inf
        await station.until(soc=0.4)
        await station.swipe("TAG-1")
        await station.unplug()
        assert station.truth().energy_wh[0] == pytest.approx(6000, abs=1)


# -- Several acts at once, and cancelled ones -------------------------------------------------------------------------


async def test_two_acts_at_once_share_the_connection(station: Station, csms: Csms) -> None:
    csms.on["StatusNotification"] = delay(2 * MS)

    await asyncio.gather(station.plug_in(car(), evse=1), station.plug_in(car(), evse=2))
    await asyncio.gather(station.swipe("TAG-1", evse=1), station.swipe("TAG-2", evse=2))

    assert [view.state for view in station.evses.values()] == ["Charging", "Charging"]
    assert csms.overlaps == 0


async def test_a_cancelled_act_goes_on_when_the_answer_comes(station: Station, csms: Csms, version: str) -> None:
    await station.plug_in(car(), evse=1)
    csms.once.append(held)
    swipe = spawn(station.swipe("TAG-1"))
    await until(lambda: csms.held)
    swipe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await swipe

    await csms.release(payload={"idTagInfo": {"status": "Accepted"}} if version == "1.6" else None)

    await station.until(state="Charging", timeout=None)
    assert (await station.swipe("TAG-1")).effect == "stopped"


async def test_acts_wait_while_the_csms_is_silent_and_each_can_be_given_up(csms: Csms, version: str) -> None:
    accept_all(csms, version)
    async with Station("CP1", csms.url, version=version, evses=TWO) as station:
        await station.plug_in(car(), evse=1)
        csms.once.append(held)
        swipe = spawn(station.swipe("TAG-1", evse=1))
        plug = spawn(station.plug_in(car(), evse=2))
        await until(lambda: csms.held)
        swipe.cancel()
        await asyncio.wait([swipe])
        time_is_up(station.charge_point)
        await plug  # once the first message has timed out

        assert swipe.cancelled()
        assert station.evses[2].connector_status in ("Preparing", "Occupied")


# -- Commands ---------------------------------------------------------------------------------------------------------


def start_request(version: str, evse: int | None = None, token: str = "TAG-9") -> tuple[str, dict[str, Any]]:
    if version == "1.6":
        return "RemoteStartTransaction", {"idTag": token} | ({} if evse is None else {"connectorId": evse})
    payload: dict[str, Any] = {"idToken": {"idToken": token, "type": "Central"}, "remoteStartId": 7}
    return "RequestStartTransaction", payload | ({} if evse is None else {"evseId": evse})


def stop_request(version: str, transaction_id: str) -> tuple[str, dict[str, Any]]:
    if version == "1.6":
        return "RemoteStopTransaction", {"transactionId": int(transaction_id)}
    return "RequestStopTransaction", {"transactionId": transaction_id}


async def test_a_remote_start_and_stop(station: Station, csms: Csms, version: str) -> None:
    await station.plug_in(car(), evse=2)
    action, payload = start_request(version, 2)

    reply = await csms.call(action, payload)
    command = await station.wait_command(action)

    assert reply[2]["status"] == command.answer.status == "Accepted"
    assert command.action == action
    assert command.at == station.now
    await station.until(state="Charging", evse=2)
    await station.until(energy_kwh=1)
    transaction = station.evses[2].transaction
    assert transaction is not None
    assert command.payload.get("evse_id", command.payload.get("connector_id")) == 2

    action, payload = stop_request(version, transaction.id)
    reply = await csms.call(action, payload)

    assert reply[2] == {"status": "Accepted"}
    await station.until(state="EVConnected", evse=2)
    await until(lambda: station.truth().end.notna().all())
    assert station.truth().energy_wh[0] == 1000
    last = next(call.payload for call in reversed(csms.calls) if "Transaction" in call.action)
    assert last.get("reason", last.get("transactionInfo", {}).get("stoppedReason")) == "Remote"


async def test_a_remote_start_without_an_evse_takes_the_one_with_a_vehicle(
    station: Station, csms: Csms, version: str
) -> None:
    await station.plug_in(car(), evse=2)

    reply = await csms.call(*start_request(version))

    assert reply[2]["status"] == "Accepted"
    await station.until(state="Charging", evse=2)


async def test_a_remote_start_before_the_cable_waits_for_it(station: Station, csms: Csms, version: str) -> None:
    reply = await csms.call(*start_request(version))
    assert reply[2]["status"] == "Accepted"

    await station.plug_in(car(), evse=2)

    assert station.evses[2].state == "Charging"
    assert station.evses[1].state == "Idle"


async def test_remote_requests_that_cannot_be_met_are_rejected(station: Station, csms: Csms, version: str) -> None:
    await begin(station, evse=1)

    for request in (start_request(version, 1), start_request(version, 5), stop_request(version, "99")):
        reply = await csms.call(*request)
        assert reply[2]["status"] == "Rejected"

    assert station.evses[1].state == "Charging"


async def test_a_command_while_a_message_waits_for_its_answer(station: Station, csms: Csms, version: str) -> None:
    csms.on["StatusNotification"] = held
    plugging = spawn(station.plug_in(car(), evse=1))
    await until(lambda: csms.held)

    reply = await csms.call(*start_request(version, 1))
    assert reply[2]["status"] == "Accepted"
    assert not plugging.done()
    del csms.on["StatusNotification"]
    await csms.release()

    await plugging
    await station.until(state="Charging", evse=1)
    assert csms.overlaps == 0


async def test_a_command_stops_a_transaction_while_its_meter_values_wait(station201: Station, csms: Csms) -> None:
    await begin(station201)
    csms.on["TransactionEvent"] = held
    waiting = spawn(station201.until(state="EVConnected", evse=1))
    going = spawn(station201.until(minutes=5))
    await until(lambda: csms.held)
    transaction = station201.evses[1].transaction
    assert transaction is not None

    reply = await csms.call("RequestStopTransaction", {"transactionId": transaction.id})

    assert reply[2] == {"status": "Accepted"}
    del csms.on["TransactionEvent"]
    await csms.release()
    await waiting
    await going
    numbers = [call.payload["seqNo"] for call in csms.calls if call.action == "TransactionEvent"]
    assert numbers == list(range(len(numbers)))


async def test_a_command_is_waited_for_before_and_after_it_came(station: Station, csms: Csms, version: str) -> None:
    action = "GetConfiguration" if version == "1.6" else "GetVariables"
    payload = {} if version == "1.6" else {"getVariableData": [variable("TxCtrlr", "TxStartPoint")]}
    first, second = spawn(station.wait_command(action)), spawn(station.wait_command(action))
    await asyncio.sleep(5 * MS)
    for _ in range(3):
        await csms.call(action, payload)

    commands = [await first, await second, await station.wait_command(action)]

    assert [command.action for command in commands] == [action] * 3
    with pytest.raises(WaitTimeout) as timeout:
        await station.wait_command(action, timeout=10 * MS)
    assert timeout.value.what == f"CP1 to get {action}"
    assert timeout.value.last_seen == "no command"


async def test_another_command_is_not_the_one_that_is_waited_for(station201: Station, csms: Csms) -> None:
    await csms.call("GetVariables", {"getVariableData": [variable("TxCtrlr", "TxStartPoint")]})

    with pytest.raises(WaitTimeout) as timeout:
        await station201.wait_command("RequestStartTransaction", timeout=10 * MS)

    assert timeout.value.last_seen == "GetVariables"
    assert (await station201.wait_command("GetVariables")).action == "GetVariables"


async def test_a_command_that_the_station_does_not_act_on_cannot_be_waited_for(station: Station) -> None:
    with pytest.raises(ValueError, match="not on 'Hello'"):
        await station.wait_command("Hello")
    with pytest.raises(ValueError, match="timeout"):
        await station.wait_command(next(iter(station._core.dialect.commands)), timeout=-1)


def variable(component: str, name: str, value: str | None = None) -> dict[str, Any]:
    data: dict[str, Any] = {"component": {"name": component}, "variable": {"name": name}}
    return data if value is None else data | {"attributeValue": value}


async def set_variable(csms: Csms, component: str, name: str, value: str) -> str:
    reply = await csms.call("SetVariables", {"setVariableData": [variable(component, name, value)]})
    return str(reply[2]["setVariableResult"][0]["attributeStatus"])


async def test_variables_are_read_and_set(station201: Station, csms: Csms) -> None:
    asked = [variable("TxCtrlr", "EVConnectionTimeOut"), variable("TxCtrlr", "Nothing"), variable("Nothing", "X")]
    reply = await csms.call("GetVariables", {"getVariableData": asked})

    results = reply[2]["getVariableResult"]
    assert [each["attributeStatus"] for each in results] == ["Accepted", "UnknownVariable", "UnknownComponent"]
    assert results[0]["attributeValue"] == "60"
    assert await set_variable(csms, "TxCtrlr", "EVConnectionTimeOut", "5") == "Accepted"
    assert await set_variable(csms, "TxCtrlr", "EVConnectionTimeOut", "soon") == "Rejected"
    assert station201.variables["TxCtrlr.EVConnectionTimeOut"] == 5


async def test_configuration_is_read_and_changed(station16: Station, csms: Csms) -> None:
    reply = await csms.call("GetConfiguration", {"key": ["ConnectionTimeOut", "NumberOfConnectors", "Nothing"]})
    assert reply[2]["unknownKey"] == ["Nothing"]
    assert [(each["value"], each["readonly"]) for each in reply[2]["configurationKey"]] == [("60", False), ("2", True)]

    statuses = []
    for key, value in (
        ("ConnectionTimeOut", "5"),
        ("ConnectionTimeOut", "x"),
        ("NumberOfConnectors", "1"),
        ("No", "1"),
    ):
        reply = await csms.call("ChangeConfiguration", {"key": key, "value": value})
        statuses.append(reply[2]["status"])
    assert statuses == ["Accepted", "Rejected", "Rejected", "NotSupported"]
    assert station16.variables["ConnectionTimeOut"] == 5


async def test_an_interval_that_changes_in_a_session_takes_effect_at_once(station201: Station, csms: Csms) -> None:
    await begin(station201)
    await station201.until(minutes=1.5)
    assert await set_variable(csms, "SampledDataCtrlr", "TxUpdatedInterval", "10") == "Accepted"
    csms.calls.clear()

    await station201.until(minutes=1)

    assert words(csms) == ["Updated MeterValuePeriodic"] * 6


async def test_a_configuration_that_changes_in_a_session_takes_effect_at_once(station16: Station, csms: Csms) -> None:
    await begin(station16)
    await station16.until(minutes=1.5)
    await csms.call("ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "10"})
    csms.calls.clear()

    await station16.until(minutes=1)

    assert words(csms) == ["MeterValues"] * 6


# -- Heartbeats -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def beating(csms: Csms, version: str) -> AsyncIterator[ChargePoint]:
    """A charge point that is accepted, with an interval of its own."""
    accept_all(csms, version)
    async with ChargePoint("CP1", csms.url, version=version) as cp:
        await cp.boot()
        cp.heartbeat_interval = 30 * MS
        yield cp


@pytest.mark.parametrize("speed", [1, 1000, math.inf])
async def test_heartbeats_keep_to_real_time(csms: Csms, beating: ChargePoint, speed: float) -> None:
    began = time.perf_counter()
    async with Station(beating, speed=speed):
        await until(lambda: csms.actions.count("Heartbeat") == 3)
        passed = time.perf_counter() - began

    assert passed >= 3 * 30 * MS * 0.99


async def test_heartbeats_go_on_while_a_session_runs(csms: Csms, beating: ChargePoint) -> None:
    async with Station(beating, speed=math.inf) as station:
        charging = spawn(station.until(minutes=1e6, timeout=None))
        await begin(station)
        await until(lambda: csms.actions.count("Heartbeat") == 3)
        charging.cancel()
        await asyncio.wait([charging])
    beats = csms.actions.count("Heartbeat")
    spent = beating.messages.to_frame().sent_at
    seconds = (spent.max() - spent.min()).total_seconds()

    assert beats <= seconds / (30 * MS) + 1


async def test_a_late_heartbeat_is_not_followed_by_another_one_at_once(csms: Csms, beating: ChargePoint) -> None:
    interval = beating.heartbeat_interval = 200 * MS
    csms.on["Heartbeat"] = delay(1.25 * interval)  # so that the second one is late, and the third one is not
    async with Station(beating) as station:
        due = wall_clock(station._driver._heartbeat_at)
        await until(lambda: csms.actions.count("Heartbeat") >= 1)
        del csms.on["Heartbeat"]
        await until(lambda: csms.actions.count("Heartbeat") >= 3)
        sent = [record.sent_at for record in beating.messages if record.action == "Heartbeat" and record.kind == "CALL"]

    assert (sent[1] - sent[0]).total_seconds() >= 1.25 * interval * 0.99
    slots = [((each - due).total_seconds() + MS) // interval for each in sent]
    assert len(set(slots)) == len(slots), "each in an interval of its own"


async def test_the_interval_of_the_boot_is_the_variable(csms: Csms) -> None:
    async with Station("CP1", csms.url) as station:
        assert station.variables["OCPPCommCtrlr.HeartbeatInterval"] == 10
        assert station.charge_point.heartbeat_interval == 10


@pytest.mark.slow
async def test_a_heartbeat_interval_that_the_csms_sets_takes_effect(csms: Csms, version: str) -> None:
    accept_all(csms, version)
    async with Station("CP1", csms.url, version=version) as station:
        began = time.perf_counter()
        if version == "1.6":
            await csms.call("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "1"})
        else:
            assert await set_variable(csms, "OCPPCommCtrlr", "HeartbeatInterval", "1") == "Accepted"
        assert station.charge_point.heartbeat_interval == 1
        await until(lambda: csms.actions.count("Heartbeat") == 2)

        assert time.perf_counter() - began >= 1.9


async def test_a_heartbeat_without_an_answer_is_logged_and_the_next_one_comes(
    csms: Csms, caplog: pytest.LogCaptureFixture
) -> None:
    async with ChargePoint("CP1", csms.url) as cp:
        await cp.boot()
        cp.heartbeat_interval = 30 * MS
        csms.on["Heartbeat"] = times_out(cp)
        async with Station(cp) as station:
            await until(lambda: csms.actions.count("Heartbeat") == 2)
            del csms.on["Heartbeat"]
            await station.plug_in(car())

    assert any("no answer to Heartbeat" in record.message for record in caplog.records)
