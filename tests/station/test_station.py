"""A station: opening, closing, misuse, what each act makes it say, and what it shows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from charge_point_fixtures import spawn
from conftest import MS, cpsim_tasks, until
from csms_stub import Behaviour, Csms, answer, close, delay, error, held, silent
from station_wire import VERSIONS, accept_all, since_start, words

from cpsim_kit import Backoff, ChargePoint
from cpsim_kit.errors import CallFailed, ConnectError, ConnectionLost, ProtocolViolation
from cpsim_kit.station import FAULTS, Evse, Station, Vehicle

pytestmark = pytest.mark.usefixtures("no_hang")

SOON = Backoff(wait_minimum=10 * MS, random_range=0, repeat_times=0)

START = {
    "1.6": ["Boot", "Status 0 Available", "Status 1 Available"],
    "2.0.1": ["Boot", "Status 1 Available", "SecurityEvent"],
    "2.1": ["Boot", "Status 1 Available", "SecurityEvent"],
}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def station(csms: Csms, version: str) -> AsyncIterator[Station]:
    """CP1 with one EVSE, whose clock goes from event to event."""
    accept_all(csms, version)
    async with Station("CP1", csms.url, version=version, speed=math.inf, seed=1) as station:
        yield station


def car(**more: Any) -> Vehicle:
    return Vehicle(60, 0.3, 11, **more)


# -- Imports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["from cpsim_kit.station import Station", "from cpsim_kit import Station"])
def test_a_station_needs_neither_boto3_nor_ministack(line: str) -> None:
    program = (
        "import sys\n"
        "for name in ('boto3', 'botocore', 'ministack', 'paho'):\n"
        "    sys.modules[name] = None  # an import of it fails\n"
        f"{line}\n"
        "print(Station('CP1', 'ws://127.0.0.1:9'))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout.strip() == "<Station CP1 new ocpp2.0.1 EVSE 1>", done.stderr


def test_what_stands_on_boto3_is_there_when_it_is_used() -> None:
    import cpsim_kit

    assert {"Shadow", "Stack", "Thing", "replay"} <= set(dir(cpsim_kit))
    assert cpsim_kit.Stack.__module__ == "cpsim_kit.stack"
    with pytest.raises(AttributeError, match="no attribute 'Stak'"):
        cpsim_kit.Stak  # noqa: B018 # type: ignore[attr-defined]


# -- Opening and closing ----------------------------------------------------------------------------------------------


async def test_it_boots_and_reports_its_connectors(csms: Csms, version: str) -> None:
    async with Station("CP1", csms.url, version=version) as station:
        assert words(csms) == START[version]
        assert station.charge_point.boot_status == "Accepted"
        assert station.evses[1].connector_status == "Available"


async def test_all_evses_are_reported_and_one_that_is_out_of_order(csms: Csms) -> None:
    async with Station("CP1", csms.url, evses=[Evse(), Evse(available=False)]):
        assert words(csms) == ["Boot", "Status 1 Available", "Status 2 Unavailable", "SecurityEvent"]


async def test_it_is_awaited_or_entered_and_twice_is_once(csms: Csms) -> None:
    station = await Station("CP1", csms.url)
    assert await station is station
    async with station as entered:
        assert entered is station
    await station.close()

    assert csms.actions.count("BootNotification") == 1
    assert len(csms.links) == 1
    assert not station.charge_point.is_open


async def test_two_that_await_it_at_once_open_it_once(csms: Csms) -> None:
    station = Station("CP1", csms.url)

    await asyncio.gather(station.connect(), station.connect())

    assert csms.actions.count("BootNotification") == 1
    await station.close()


async def test_before_and_after_it_says_what_to_do(csms: Csms) -> None:
    station = Station("CP1", csms.url)

    with pytest.raises(RuntimeError, match="write `await station`"):
        await station.plug_in(car())
    with pytest.raises(RuntimeError, match="write `await station`"):
        await station.until(minutes=1)
    with pytest.raises(RuntimeError, match="write `await station`"):
        await station.charge(car(), token="TAG-1")
    with pytest.raises(RuntimeError, match="write `await station`"):
        await station.wait_command("GetVariables")

    async with station:
        pass

    for act in (station.plug_in(car()), station.wait_command("GetVariables"), station.connect(), station.swipe("T")):
        with pytest.raises(RuntimeError, match="closed; make another Station"):
            await act


async def test_closing_one_that_never_opened_is_harmless() -> None:
    station = Station("CP1", "ws://127.0.0.1:9")

    await station.close()
    await station.close()


async def test_closing_it_ends_an_act_that_waits(csms: Csms) -> None:
    async with Station("CP1", csms.url) as station:
        csms.on["StatusNotification"] = silent
        act = spawn(station.plug_in(car()))
        wait = spawn(station.wait_command("GetVariables"))
        goal = spawn(station.until(soc=0.9, evse=1))
        await until(lambda: csms.actions[-1] == "StatusNotification" and csms.actions.count("StatusNotification") == 2)
        await station.close()

        for task in (act, wait, goal):
            with pytest.raises(RuntimeError, match="CP1 is closed"):
                await task


async def test_what_cannot_be_reached_is_a_connect_error_and_can_be_tried_again(csms: Csms) -> None:
    csms._subprotocols = ("ocpp1.6",)
    station = Station("CP1", csms.url)
    with pytest.raises(ConnectError):
        await station
    assert repr(station) == "<Station CP1 new ocpp2.0.1 EVSE 1>"

    csms._subprotocols = ("ocpp2.0.1",)
    async with station:
        assert words(csms) == START["2.0.1"]


async def test_it_waits_while_the_csms_says_pending_or_rejected(csms: Csms) -> None:
    now = "2026-11-23T10:00:00Z"
    csms.once += [
        answer({"currentTime": now, "interval": 1, "status": "Pending"}),
        answer({"currentTime": now, "interval": 1, "status": "Rejected"}),
    ]

    async with Station("CP1", csms.url) as station:
        assert words(csms) == ["Boot", "Boot", *START["2.0.1"]]
        assert repr(station) == "<Station CP1 online ocpp2.0.1 EVSE 1 Available>"


async def test_the_csms_can_set_variables_while_it_says_pending(csms: Csms) -> None:
    csms.on["BootNotification"] = answer({"currentTime": "2026-11-23T10:00:00Z", "interval": 1, "status": "Pending"})
    station = Station("CP1", csms.url)
    opening = spawn(station.connect())
    await until(lambda: station.charge_point.boot_status == "Pending")

    reply = await csms.call("SetVariables", {"setVariableData": [set_variable("TxCtrlr", "EVConnectionTimeOut", "7")]})

    del csms.on["BootNotification"]
    async with await opening:
        assert reply[2]["setVariableResult"][0]["attributeStatus"] == "Accepted"
        assert station.variables["TxCtrlr.EVConnectionTimeOut"] == 7


async def test_a_remote_start_while_the_csms_says_pending_is_rejected(csms: Csms) -> None:
    csms.on["BootNotification"] = answer({"currentTime": "2026-11-23T10:00:00Z", "interval": 1, "status": "Pending"})
    station = Station("CP1", csms.url)
    opening = spawn(station.connect())
    await until(lambda: station.charge_point.boot_status == "Pending")

    reply = await csms.call(
        "RequestStartTransaction", {"idToken": {"idToken": "T", "type": "Central"}, "remoteStartId": 1}
    )

    del csms.on["BootNotification"]
    async with await opening:
        assert reply[2]["status"] == "Rejected"


def set_variable(component: str, variable: str, value: str) -> dict[str, Any]:
    return {"component": {"name": component}, "variable": {"name": variable}, "attributeValue": value}


@pytest.mark.parametrize("action", ["StatusNotification", "SecurityEventNotification"])
async def test_a_csms_that_refuses_a_report_of_the_start_is_logged(
    csms: Csms, caplog: pytest.LogCaptureFixture, action: str
) -> None:
    """The deployed sample does not know SecurityEventNotification."""
    csms.on[action] = answer({"error": f"Command [{action}] not implemented."})

    with caplog.at_level(logging.WARNING, "cpsim.station"):
        async with Station("CP1", csms.url):
            pass

    assert [record.message for record in caplog.records if record.name == "cpsim.station"] == [
        f"CP1: the CSMS does not support {action}: Command [{action}] not implemented. "
        "The AWS sample answers BootNotification, Heartbeat and StatusNotification only."
    ]


@pytest.mark.parametrize("action", ["BootNotification", "StatusNotification", "SecurityEventNotification"])
async def test_a_connection_lost_while_it_opens_is_raised_and_it_can_be_opened_again(csms: Csms, action: str) -> None:
    csms.on[action] = close(1011, "no")
    station = Station("CP1", csms.url, reconnect=False)

    with pytest.raises(ConnectionLost) as lost:
        await station
    assert lost.value.closed.code == 1011
    assert not station.charge_point.is_open
    assert cpsim_tasks() == set()

    del csms.on[action]
    csms.calls.clear()
    async with station:
        assert words(csms) == START["2.0.1"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("refusal", [error("InternalError", "no disk", {}), silent], ids=["CALLERROR", "silent"])
async def test_a_first_boot_that_fails_is_tried_again(
    csms: Csms, version: str, refusal: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    accept_all(csms, version)
    csms.once.extend([refusal] * 2)

    async with Station("CP1", csms.url, version=version, reconnect=SOON, call_timeout=100 * MS) as station:
        assert station.is_online
        log = station.charge_point.messages.to_frame()

    assert csms.actions[:4] == ["BootNotification"] * 3 + ["StatusNotification"]
    assert (log.kind == "CALLERROR").sum() == (0 if refusal is silent else 2)
    assert caplog.text.count("the station boots again in") == 2
    assert ("no disk" if refusal is not silent else "no answer to BootNotification") in caplog.text


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_boot_that_fails_when_the_power_is_back_is_tried_again(csms: Csms, version: str) -> None:
    accept_all(csms, version)
    async with Station("CP1", csms.url, version=version, reconnect=SOON) as station:
        await station.power_off()
        csms.once.append(error("InternalError", "no disk", {}))
        await station.power_on()
        assert station.is_online

    assert csms.actions.count("BootNotification") == 3


async def test_a_first_boot_that_fails_is_raised_where_the_station_does_not_try_again(csms: Csms) -> None:
    csms.on["BootNotification"] = error("InternalError", "no", {})

    with pytest.raises(CallFailed):
        await Station("CP1", csms.url, reconnect=False)


async def test_a_first_boot_that_breaks_the_schema_is_raised(csms: Csms) -> None:
    with pytest.raises(ProtocolViolation) as broken:
        await Station("CP1", csms.url, model="M" * 21)

    assert "model" in broken.value.path
    assert csms.actions == []


async def test_an_opening_that_is_cancelled_leaves_nothing_open(csms: Csms) -> None:
    csms.on["StatusNotification"] = silent
    station = Station("CP1", csms.url)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(200 * MS):
            await station

    assert not station.charge_point.is_open


async def test_closing_it_while_it_opens_ends_the_opening(csms: Csms) -> None:
    csms.on["BootNotification"] = silent
    station = Station("CP1", csms.url)
    opening = spawn(station.connect())
    await until(lambda: csms.calls)

    await station.close()

    with pytest.raises((ConnectionLost, RuntimeError)):
        await opening


# -- A charge point that is there already -----------------------------------------------------------------------------


async def test_a_new_charge_point_is_opened_booted_and_closed(csms: Csms) -> None:
    cp = ChargePoint("CP1", csms.url)

    async with Station(cp) as station:
        assert station.charge_point is cp
        assert words(csms) == START["2.0.1"]

    assert not cp.is_open


async def test_an_open_charge_point_is_booted_and_stays_open(csms: Csms, cp: ChargePoint) -> None:
    async with Station(cp):
        assert words(csms) == START["2.0.1"]

    assert cp.is_open


async def test_a_charge_point_that_is_accepted_is_not_booted_again(csms: Csms, cp: ChargePoint) -> None:
    await cp.boot()

    async with Station(cp):
        assert words(csms) == START["2.0.1"]


async def test_it_speaks_the_version_of_the_charge_point(csms: Csms) -> None:
    async with Station(ChargePoint("CP1", csms.url, version="1.6")):
        assert words(csms) == START["1.6"]


async def test_a_closed_station_answers_no_commands_on_its_charge_point(csms: Csms, cp: ChargePoint) -> None:
    async with Station(cp) as station:
        pass

    reply = await csms.call(
        "RequestStartTransaction", {"idToken": {"idToken": "T", "type": "Central"}, "remoteStartId": 1}
    )

    assert reply[0] == 4
    assert reply[2] == "NotSupported"
    assert station.sessions == []


@pytest.mark.parametrize("options", [{"url": "ws://127.0.0.1:9"}, {"version": "1.6"}, {"model": "X", "password": "p"}])
def test_options_of_a_charge_point_that_is_made_already_are_refused(options: dict[str, Any]) -> None:
    cp = ChargePoint("CP1", "ws://127.0.0.1:9")

    with pytest.raises(TypeError, match=f"CP1 is made already; {', '.join(options)} cannot be given"):
        Station(cp, **options)


# -- Misuse -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"version": "2.0"}, "2.0.1"),
        ({"evses": []}, "at least one Evse"),
        ({"evses": [22]}, "at least one Evse"),
        ({"evses": Evse()}, "at least one Evse"),
        ({"evses": 2}, "at least one Evse"),
        ({"speed": 0}, "speed is above 0"),
        ({"speed": -1}, "speed is above 0"),
        ({"speed": math.nan}, "speed is above 0"),
        ({"speed": "fast"}, "speed is above 0"),
        ({"speed": True}, "speed is above 0"),
        ({"variables": ["TxCtrlr.TxStartPoint"]}, "dict of names and values"),
        ({"variables": {"TxCtrlr.TxStartPiont": "EVConnected"}}, "did you mean TxCtrlr.TxStartPoint"),
        ({"variables": {"TxCtrlr.TxStartPoint": "Sunrise"}}, "EVConnected"),
        ({"variables": {"MeterValueSampleInterval": 10}}, "write SampledDataCtrlr.TxUpdatedInterval or"),
        ({"variables": {"ConnectionTimeOut": 10}}, "write TxCtrlr.EVConnectionTimeOut$"),
        ({"version": "1.6", "variables": {"TxCtrlr.EVConnectionTimeOut": 1}}, "write ConnectionTimeOut$"),
        ({"version": "1.6", "variables": {"TxCtrlr.TxStartPoint": "EVConnected"}}, "it has no variable for this"),
        ({"version": "1.6", "variables": {"MeterValueSampleIntervall": 1}}, "did you mean MeterValueSampleInterval"),
    ],
)
def test_what_a_station_cannot_be_is_a_value_error(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Station("CP1", "ws://127.0.0.1:9", **options)


def test_an_identity_needs_an_address() -> None:
    with pytest.raises(TypeError, match="address is missing"):
        Station("CP1")


def test_the_speed_cannot_become_0() -> None:
    station = Station("CP1", "ws://127.0.0.1:9")

    with pytest.raises(ValueError, match="speed is above 0"):
        station.speed = 0


async def test_a_cell_that_runs_twice_says_what_to_do(station: Station, csms: Csms) -> None:
    ev = car()
    await station.plug_in(ev)
    said = len(csms.calls)

    with pytest.raises(ValueError, match="at EVSE 1 already; unplug it there first"):
        await station.plug_in(ev)
    with pytest.raises(ValueError, match="EVSE 1 has a vehicle already; unplug it first"):
        await station.plug_in(car())
    await station.unplug()
    with pytest.raises(ValueError, match="EVSE 1 has no cable to unplug"):
        await station.unplug()
    with pytest.raises(ValueError, match="EVSE 1 has no vehicle"):
        await station.suspend_ev()
    with pytest.raises(ValueError, match="EVSE 1 has no fault"):
        await station.clear_fault()

    assert len(csms.calls) == said + 1
    await station.plug_in(ev)  # nothing else has changed


@pytest.mark.parametrize("evse", [0, 2, -1, "1", True, [1]])
async def test_an_evse_that_is_not_there_is_a_value_error(station: Station, evse: Any) -> None:
    acts = [station.plug_in(car(), evse=evse), station.unplug(evse=evse), station.fault(evse=evse)]
    acts += [station.swipe("TAG-1", evse=evse), station.charge(car(), token="TAG-1", evse=evse)]
    for act in acts:
        with pytest.raises(ValueError, match="this station has EVSE 1 only, not"):
            await act
    with pytest.raises(ValueError, match="this station has EVSE 1 only, not"):
        await station.until(minutes=1, evse=evse)


async def test_a_type_of_token_that_the_version_does_not_have_is_a_value_error(csms: Csms) -> None:
    async with Station("CP1", csms.url) as station:
        with pytest.raises(ValueError, match=r"a token's type is one of Central, eMAID, ISO14443, .*, not 'RFID'"):
            await station.swipe("TAG-1", type="RFID")


@pytest.mark.parametrize("token", ["", "X" * 37, None])
async def test_a_token_that_no_message_can_carry_is_a_value_error(station: Station, csms: Csms, token: Any) -> None:
    said = len(csms.calls)

    with pytest.raises(ValueError, match="a token of OCPP"):
        await station.swipe(token)
    with pytest.raises(ValueError, match="a token of OCPP"):
        await station.charge(car(), token=token)

    assert len(csms.calls) == said


async def test_a_charge_that_is_asked_for_wrongly_plugs_nothing_in(station: Station) -> None:
    for wrong in ({"until_soc": 80}, {"until_energy_kwh": -1}, {"timeout": -1}, {"minutes": True}):
        with pytest.raises(ValueError):
            await station.charge(car(), token="TAG-1", **wrong)

    assert station.sessions == []
    assert station.evses[1].vehicle is None


async def test_where_is_asked_when_it_is_not_plain(csms: Csms) -> None:
    async with Station("CP1", csms.url, evses=[Evse(), Evse()]) as station:
        with pytest.raises(ValueError, match="say evse=1 or 2"):
            await station.plug_in(car())
        await station.plug_in(car(), evse=1)
        await station.plug_in(car())  # only one is free
        with pytest.raises(ValueError, match="say evse=1 or 2"):
            await station.swipe("TAG-1")
        with pytest.raises(ValueError, match="no EVSE is free"):
            await station.charge(car(), token="TAG-1")


# -- Acts -------------------------------------------------------------------------------------------------------------

MADE: dict[str, dict[str, list[str]]] = {  # what each act makes a station say
    "plug_in": {"1.6": ["Status 1 Preparing"], "2": ["Status 1 Occupied"]},
    "swipe": {
        "1.6": ["Authorize", "StartTransaction", "Status 1 Charging"],
        "2": ["Authorize", "Started Authorized EVConnected", "Updated ChargingStateChanged Charging"],
    },
    "suspend_ev": {"1.6": ["Status 1 SuspendedEV"], "2": ["Updated ChargingStateChanged SuspendedEV"]},
    "suspend_evse": {"1.6": ["Status 1 SuspendedEVSE"], "2": ["Updated ChargingStateChanged SuspendedEVSE"]},
    "resume_ev": {"1.6": [], "2": []},  # the EVSE still offers nothing
    "resume_evse": {"1.6": ["Status 1 Charging"], "2": ["Updated ChargingStateChanged Charging"]},
    "stop": {"1.6": ["StopTransaction", "Status 1 Finishing"], "2": ["Ended StopAuthorized EVConnected"]},
    "unplug": {"1.6": ["Status 1 Available"], "2": ["Status 1 Available"]},
    "fault": {"1.6": ["Status 1 Faulted"], "2": ["Status 1 Faulted"]},
    "clear_fault": {"1.6": ["Status 1 Available"], "2": ["Status 1 Available"]},
}


async def test_each_act_says_its_messages_in_order(station: Station, csms: Csms, version: str) -> None:
    kind = "1.6" if version == "1.6" else "2"
    acts = {
        "plug_in": lambda: station.plug_in(car()),
        "swipe": lambda: station.swipe("TAG-1"),
        "suspend_ev": station.suspend_ev,
        "suspend_evse": station.suspend_evse,
        "resume_ev": station.resume_ev,
        "resume_evse": station.resume_evse,
        "stop": lambda: station.swipe("TAG-1"),
        "unplug": station.unplug,
        "fault": lambda: station.fault("GroundFault"),
        "clear_fault": station.clear_fault,
    }
    said = {}
    for name, act in acts.items():
        csms.calls.clear()
        await act()
        said[name] = words(csms)

    assert said == {name: by_kind[kind] for name, by_kind in MADE.items()}
    assert csms.overlaps == 0


@pytest.mark.parametrize("name", FAULTS)
async def test_every_fault_has_a_word_in_each_version(station: Station, csms: Csms, name: str) -> None:
    await station.plug_in(car())
    await station.swipe("TAG-1")
    csms.calls.clear()

    await station.fault(name)

    assert sorted(csms.actions) in (
        ["StatusNotification", "StopTransaction"],
        ["StatusNotification", "TransactionEvent"],
    )
    assert station.evses[1].state == name
    assert station.truth().end.notna().all()


async def test_what_came_of_a_token_is_returned(station: Station, csms: Csms, version: str) -> None:
    await station.plug_in(car())
    info = {"idTagInfo": {"status": "Blocked"}} if version == "1.6" else {"idTokenInfo": {"status": "Blocked"}}
    csms.once.append(answer(info))

    refused = await station.swipe("TAG-2")
    accepted = await station.swipe("TAG-1")
    stopped = await station.swipe("TAG-1")

    assert (refused.effect, refused.status) == ("refused", "Blocked")
    assert (accepted.effect, accepted.status) == ("authorized", "Accepted")
    assert stopped.effect == "stopped"
    assert repr(refused) == "<Token TAG-2 refused: the CSMS says Blocked>"


@pytest.mark.parametrize("speed", [1, 1000, math.inf])
async def test_an_act_waits_for_a_late_answer_and_the_clock_stands_still(
    csms: Csms, version: str, speed: float
) -> None:
    accept_all(csms, version)
    async with Station("CP1", csms.url, version=version, speed=speed) as station:
        await station.plug_in(car())
        csms.on["Authorize"] = held
        act = spawn(station.swipe("TAG-1"))
        await until(lambda: csms.held)
        before = station.now
        await asyncio.sleep(50 * MS)

        assert station.now == before
        assert not act.done()
        info = {"idTagInfo": {"status": "Accepted"}} if version == "1.6" else None
        await csms.release(payload=info)
        assert (await act).effect == "authorized"
        start = station.truth().start[0]
        assert abs((start - before).total_seconds()) < 1e-3


async def test_a_session_is_the_same_at_every_speed(version: str) -> None:
    said = {}
    for speed in (1, 60, 1000, math.inf):
        async with Csms() as csms:
            accept_all(csms, version)
            csms.on["StatusNotification"] = delay(2 * MS)
            async with Station("CP1", csms.url, version=version, speed=speed, seed=1, evses=[Evse(22)]) as station:
                session = await station.charge(Vehicle(60, 0.3, 11), token="TAG-1", minutes=1 / 120)
            said[speed] = since_start(csms)
            assert session.energy_wh == 2  # 11 kW for half a second are 1.53 Wh

    assert said[1] == said[60] == said[1000] == said[math.inf]
    assert said[math.inf]


async def test_a_longer_session_is_the_same_at_every_speed(version: str) -> None:
    said = {}
    for speed in (10_000, 50_000, math.inf):
        async with Csms() as csms:
            accept_all(csms, version)
            csms.on["*"] = delay(1 * MS)
            async with Station("CP1", csms.url, version=version, speed=speed, seed=1) as station:
                ev = Vehicle(60, 0.78, 11)
                await station.plug_in(ev)
                await station.swipe("TAG-1")
                await station.until(soc=0.8)
                await station.suspend_ev()
                await station.until(minutes=2)
                await station.resume_ev()
                await station.until(energy_kwh=2)
                await station.swipe("TAG-1")
                await station.unplug()
            said[speed] = since_start(csms)

    assert said[10_000] == said[math.inf]
    assert said[50_000] == said[math.inf]
    assert len(said[math.inf]) > 10


async def test_real_time_passes_at_the_stations_speed(csms: Csms) -> None:
    async with Station("CP1", csms.url, speed=1000) as station:
        began = station.now
        await asyncio.sleep(20 * MS)
        fast = (station.now - began).total_seconds()
        station.speed = math.inf
        stopped = station.now
        await asyncio.sleep(20 * MS)

        assert fast >= 20 * MS * 1000 * 0.9
        assert station.now == stopped


# -- What it shows ----------------------------------------------------------------------------------------------------


async def test_it_shows_its_state(csms: Csms) -> None:
    station = Station("CP1", csms.url, evses=[Evse(), Evse(50, "DC")], speed=math.inf, reconnect=False)
    assert repr(station) == "<Station CP1 new ocpp2.0.1 EVSE 1, 2>"
    assert "from event to event" in station._repr_html_()
    async with station:
        assert repr(station) == "<Station CP1 online ocpp2.0.1 EVSE 1 Available, 2 Available>"
        await station.plug_in(car(), evse=1)
        await station.swipe("TAG-1")
        await station.until(energy_kwh=1)
        assert repr(station) == "<Station CP1 online ocpp2.0.1 EVSE 1 Occupied, 2 Available>"
        assert "Charging, 11.00 kW, 1.000 kWh, SoC 31.7%" in station._repr_html_()
        csms.link.abort()
        with pytest.raises(ConnectionLost):
            await station.until(minutes=1000)
        assert repr(station) == "<Station CP1 lost ocpp2.0.1 EVSE 1 Occupied, 2 Available>"
    assert repr(station) == "<Station CP1 closed ocpp2.0.1 EVSE 1 Occupied, 2 Available>"
    assert "closed" in station._repr_html_()


async def test_an_evse_shows_its_state(csms: Csms) -> None:
    station = Station("CP1", csms.url, speed=math.inf)
    view = station.evses[1]
    assert repr(view) == "<EVSE 1 Idle>"
    async with station:
        assert repr(view) == "<EVSE 1 Available, Idle>"
        await station.plug_in(car())
        assert repr(view) == "<EVSE 1 Occupied, EVConnected, 0.000 kWh, SoC 30.0%>"
        assert (view.demand_kw, view.limit_kw, view.offered_kw, view.power_kw) == (11, 22, 0, 0)
        await station.swipe("TAG-1")
        await station.until(energy_kwh=3)
        assert repr(view) == "<EVSE 1 Occupied, Charging, 11.00 kW, 3.000 kWh, SoC 35.0%>"
        assert view.transaction is not None
        for text in ("11.00 kW", "22.00 kW", "3.000 kWh", "35.0%", view.transaction.id):
            assert text in view._repr_html_()
        await station.fault("GroundFault")
        assert repr(view) == "<EVSE 1 Faulted, GroundFault, 3.000 kWh, SoC 35.0%>"
        await station.clear_fault()
        await station.unplug()
        assert repr(view) == "<EVSE 1 Available, Idle>"
        assert (view.vehicle, view.soc, view.session, view.transaction) == (None, None, None, None)
        assert view.energy_kwh == pytest.approx(3)


async def test_a_session_shows_its_state(station: Station) -> None:
    await station.plug_in(car())
    (session,) = station.sessions
    assert repr(session) == "<Session at EVSE 1 goes on, 0.000 kWh>"
    await station.swipe("TAG-1")
    await station.until(energy_kwh=2)
    await station.swipe("TAG-1")
    await station.unplug()

    assert repr(session) == "<Session at EVSE 1 ended, 2.000 kWh>"
    assert "TAG-1" in session._repr_html_()
    assert session.summary()["energy_wh"] == 2000
    assert session.summary()["minutes"] == pytest.approx(2 / 11 * 60, abs=0.01)
    assert set(session.messages.to_frame().action.dropna()) >= {"StatusNotification", "Authorize"}


async def test_a_station_without_records_has_the_same_truth(csms: Csms) -> None:
    async with Station("CP1", csms.url, speed=math.inf, record=False, max_messages=0) as station:
        session = await station.charge(car(), token="TAG-1", until_energy_kwh=2)

    assert session.energy_wh == 2000
    assert session.to_frame().empty
    assert len(session.messages) == 0
    assert "2000" in session._repr_html_()


async def test_its_log_is_that_of_the_charge_point(station: Station, csms: Csms) -> None:
    with contextlib.suppress(ValueError):
        await station.unplug()

    assert len(station.charge_point.messages) == 2 * len(csms.calls)
