"""Resets on the wire: the connection closes, the station boots with its reason, and nothing hangs where the CSMS is."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from charge_point_fixtures import spawn, times_out
from conftest import MS, until
from csms_stub import Behaviour, Csms, abort, answer, close, error, silent
from station_wire import accept_all, words
from strict_csms import StrictCsms

from cpsim_kit import Backoff, ChargePoint, Evse, Network, Station, Vehicle
from cpsim_kit.errors import ConnectError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_hang")]

TWO = ("2.0.1", "2.1")
VERSIONS = ("1.6", *TWO)
SOON_AGAIN = Backoff(10 * MS, 10 * MS, 0)


def car() -> Vehicle:
    return Vehicle(60, 0.3, 11)


@asynccontextmanager
async def stubbed(csms: Csms, version: str = "2.0.1", **options: Any) -> AsyncIterator[Station]:
    accept_all(csms, version)
    options = {"speed": math.inf, "seed": 1, "reconnect": SOON_AGAIN} | options
    async with Station("CP1", csms.url, version=version, **options) as station:
        yield station


async def begin(station: Station) -> None:
    await station.plug_in(car())
    assert (await station.swipe("TAG-1")).effect == "authorized"


async def reset(csms: Csms, version: str, kind: str = "Immediate", **fields: Any) -> str:
    """Ask for a reset: the status of the answer."""
    payload = {"type": {"Immediate": "Hard"}.get(kind, kind) if version == "1.6" else kind, **fields}
    return str((await csms.call("Reset", payload))[2]["status"])


def is_back(station: Station, csms: Csms, links: int = 2) -> bool:
    """Whether it is online on its newest connection, with nothing left to say."""
    has_started = any(call.action == "StatusNotification" for call in csms.link.calls)
    return len(csms.links) >= links and has_started and " online " in repr(station) and not len(station._core.queue)


def reasons(csms: Csms) -> list[str]:
    """Why it booted, each time."""
    return [call.payload.get("reason", "") for call in csms.calls if call.action == "BootNotification"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_reset_ends_the_transaction_and_boots(csms: Csms, version: str) -> None:
    async with stubbed(csms, version) as station:
        await begin(station)
        csms.calls.clear()
        before = csms.link

        assert await reset(csms, version) == "Accepted"
        await until(lambda: is_back(station, csms))

        assert [frame[0] for frame in csms.answers] == [3]
        assert before.ws.close_code == 1000
        if version == "1.6":
            ended = ["StopTransaction", "Status 1 Finishing"]
            started = ["Boot", "Status 0 Available", "Status 1 Finishing"]
            assert csms.calls[0].payload["reason"] == "HardReset"
        else:
            ended = ["Ended ResetCommand EVConnected"]
            started = ["Boot", "Status 1 Occupied", "SecurityEvent"]
            assert csms.calls[0].payload["transactionInfo"]["stoppedReason"] == "ImmediateReset"
            assert csms.calls[-1].payload["type"] == "ResetOrReboot"
            assert reasons(csms) == ["RemoteReset"]
        assert words(csms) == [*ended, *started]
        assert station.evses[1].vehicle is not None
        assert station.truth().end.notna().all()

        await station.unplug()
        session = await station.charge(car(), token="TAG-1", minutes=6)
        assert session.energy_wh == 1100


@pytest.mark.parametrize("version", TWO)
async def test_a_scheduled_reset_comes_when_the_last_transaction_has_ended(csms: Csms, version: str) -> None:
    async with stubbed(csms, version, evses=[Evse(), Evse()]) as station:
        await begin_at_first(station)
        assert await reset(csms, version, "OnIdle") == "Scheduled"
        await station.until(minutes=6)
        assert len(csms.links) == 1
        assert station.evses[2].connector_status == "Unavailable"
        await station.swipe("TAG-1", evse=1)
        await until(lambda: is_back(station, csms))
        assert reasons(csms) == ["PowerUp", "ScheduledReset"]
        assert station.evses[1].connector_status == "Occupied"
        assert station.evses[2].connector_status == "Available"


async def begin_at_first(station: Station) -> None:
    await station.plug_in(car(), evse=1)
    await station.swipe("TAG-1", evse=1)


async def test_a_reset_takes_some_seconds_of_the_station(csms: Csms) -> None:
    async with stubbed(csms, speed=100) as station:
        began = station.now
        assert await reset(csms, "2.0.1") == "Accepted"
        await until(lambda: is_back(station, csms))
        assert (station.now - began).total_seconds() >= 5


@pytest.mark.parametrize("version", VERSIONS)
async def test_heartbeats_go_on_afterwards(csms: Csms, version: str) -> None:
    async with stubbed(csms, version) as station:
        boot = {"currentTime": "2026-11-23T10:00:00Z", "interval": 1, "status": "Accepted"}
        csms.on["BootNotification"] = answer(boot)
        assert await reset(csms, version) == "Accepted"
        await until(lambda: is_back(station, csms))
        assert station._driver.heartbeat_interval == 1
        await until(lambda: "Heartbeat" in [call.action for call in csms.link.calls])


async def test_one_evse_is_reset_without_a_boot(csms: Csms) -> None:
    async with stubbed(csms, evses=[Evse(), Evse()]) as station:
        await begin_at_first(station)
        csms.calls.clear()
        assert await reset(csms, "2.0.1", evseId=1) == "Accepted"
        await station.until(minutes=1, evse=1)
        assert words(csms) == ["Ended ResetCommand EVConnected", "Status 1 Unavailable", "Status 1 Occupied"]
        assert len(csms.links) == 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_out_of_service_stays_so(csms: Csms, version: str, tmp_path: Path) -> None:
    evse = {"connectorId": 1, "type": "Inoperative"}
    payload = evse if version == "1.6" else {"evse": {"id": 1}, "operationalStatus": "Inoperative"}
    async with stubbed(csms, version) as station:
        assert (await csms.call("ChangeAvailability", payload))[2]["status"] == "Accepted"
        await until(lambda: station.evses[1].connector_status == "Unavailable")
        assert await reset(csms, version) == "Accepted"
        await until(lambda: is_back(station, csms))
        assert "Status 1 Unavailable" in words(csms)[-3:]
        await station.plug_in(car())
        assert (await station.swipe("TAG-1")).reason == "EVSE 1 is out of service"
        saved = station.save(tmp_path / "CP1.json")
    async with Station.load(saved, csms.url, speed=math.inf) as station:
        assert station.evses[1].connector_status == "Unavailable"


# -- Where the CSMS is gone, or awkward -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
async def test_it_connects_until_the_csms_is_there_again(csms: Csms, version: str) -> None:
    async with stubbed(csms, version) as station:
        await begin(station)
        csms.refusals = iter([503, 500, 503])
        await reset(csms, version)
        await until(lambda: is_back(station, csms))
        assert len(csms.requests) == 5
        assert len(reasons(csms)) == 2


SAD: dict[str, Behaviour] = {
    "closed": close(1011, "overload"),
    "aborted": abort,
    "CALLERROR": error("InternalError", "no", {}),
    "silent": silent,
    "Pending": answer({"currentTime": "2026-11-23T10:00:00Z", "interval": 1, "status": "Pending"}),
    "Rejected": answer({"currentTime": "2026-11-23T10:00:00Z", "interval": 1, "status": "Rejected"}),
    "schema": answer({"status": 7}),
}


@pytest.mark.parametrize("name", SAD)
async def test_a_csms_that_does_not_accept_the_boot_is_asked_again(
    csms: Csms, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cpsim_kit.station.starting.own_boot_waits", lambda: itertools.repeat(10 * MS))
    caplog.set_level(logging.ERROR)
    async with stubbed(csms) as station:
        await begin(station)
        failed: list[str] = []
        sad = times_out(station.charge_point) if SAD[name] is silent else SAD[name]

        async def behave(link: Any, call: Any) -> None:
            failed.append(name)
            await (sad if len(failed) == 1 else answer())(link, call)

        csms.on["BootNotification"] = behave
        assert await reset(csms, "2.0.1") == "Accepted"
        await until(lambda: is_back(station, csms))
        assert reasons(csms)[1:] == ["RemoteReset", "RemoteReset"]
        assert words(csms)[-2:] == ["Status 1 Occupied", "SecurityEvent"]


GONE: dict[str, Behaviour] = {"closed": close(1011, "overload"), "aborted": abort, "silent": silent}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", GONE)
async def test_an_end_that_the_csms_did_not_take_is_said_after_the_reset(csms: Csms, version: str, name: str) -> None:
    """B12.FR.05."""
    async with stubbed(csms, version) as station:
        await begin(station)
        csms.calls.clear()
        csms.once.append(times_out(station.charge_point) if GONE[name] is silent else GONE[name])
        assert await reset(csms, version) == "Accepted"
        await until(lambda: is_back(station, csms))
        action = "StopTransaction" if version == "1.6" else "TransactionEvent"
        first, again = (call.payload for call in csms.calls if call.action == action)
        assert first == {key: value for key, value in again.items() if key != "offline"}
        assert len(reasons(csms)) == 1


@pytest.mark.parametrize("name", GONE)
async def test_the_reports_after_a_reset_are_said_again_when_the_connection_goes(csms: Csms, name: str) -> None:
    async with stubbed(csms) as station:
        gone = times_out(station.charge_point) if GONE[name] is silent else GONE[name]
        csms.on["StatusNotification"] = once(gone)
        assert await reset(csms, "2.0.1") == "Accepted"
        await until(lambda: words(csms).count("SecurityEvent") >= 2)
        await until(lambda: " online " in repr(station))
        assert {"Status 1 Available", "SecurityEvent"} <= set(words(csms)[-3:])
        assert reasons(csms) == ["PowerUp", "RemoteReset"]


def once(behaviour: Behaviour) -> Behaviour:
    """This behaviour, and then the usual one."""
    behaviours = itertools.chain([behaviour], itertools.repeat(answer()))

    async def behave(link: Any, call: Any) -> None:
        await next(behaviours)(link, call)

    return behave


async def test_without_reconnecting_it_tries_once(csms: Csms, caplog: pytest.LogCaptureFixture) -> None:
    async with stubbed(csms, reconnect=False) as station:
        assert await reset(csms, "2.0.1") == "Accepted"
        await until(lambda: is_back(station, csms))
        csms.refusals = itertools.repeat(503)
        assert await reset(csms, "2.0.1") == "Accepted"
        await until(lambda: " lost " in repr(station))
        with pytest.raises(ConnectError):
            await station.plug_in(car())


async def test_a_scheduled_reset_comes_offline_too(csms: Csms) -> None:
    async with stubbed(csms) as station:
        await begin(station)
        assert await reset(csms, "2.0.1", "OnIdle") == "Scheduled"
        await station.disconnect()
        await station.swipe("TAG-1")
        await until(lambda: station._core.restarts.step == "boots")
        assert len(station.queue) == 1
        await station.reconnect()
        await until(lambda: is_back(station, csms))
        assert reasons(csms) == ["PowerUp", "ScheduledReset"]
        assert words(csms)[-3:] == ["Ended StopAuthorized EVConnected", "Status 1 Occupied", "SecurityEvent"]


# -- People meanwhile -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def away(csms: Csms) -> AsyncIterator[Station]:
    """A station in the middle of a reset, whose CSMS is gone."""
    async with stubbed(csms) as station:
        await begin(station)
        csms.refusals = itertools.repeat(503)
        assert await reset(csms, "2.0.1") == "Accepted"
        await until(lambda: len(csms.requests) >= 2)
        yield station


async def test_what_people_do_meanwhile_is_seen_afterwards(csms: Csms) -> None:
    async with away(csms) as station:
        assert (await station.swipe("TAG-1")).reason == "the station has no power"
        await station.unplug()
        await station.until(minutes=1)
        csms.refusals = iter(())
        await until(lambda: is_back(station, csms))
        assert "Status 1 Available" in words(csms)


async def test_the_cable_of_the_network_is_pulled_and_plugged_in_meanwhile(csms: Csms) -> None:
    async with away(csms) as station:
        await station.disconnect()
        requests = len(csms.requests)
        csms.refusals = iter(())
        await asyncio.sleep(50 * MS)
        assert len(csms.requests) == requests
        await station.reconnect()
        await until(lambda: is_back(station, csms))
        assert reasons(csms) == ["PowerUp", "RemoteReset"]


async def test_the_power_goes_meanwhile(csms: Csms) -> None:
    async with away(csms) as station:
        await station.power_off()
        csms.refusals = iter(())
        await station.power_on()
        assert reasons(csms) == ["PowerUp", "PowerUp"]
        assert is_back(station, csms)


async def test_it_is_closed_meanwhile(csms: Csms) -> None:
    async with away(csms) as station:
        waiting = spawn(station.until(state="Charging", timeout=None))
        await asyncio.sleep(10 * MS)
        await station.close()
        with pytest.raises(RuntimeError, match="is closed"):
            await waiting


async def test_two_resets_one_after_the_other(csms: Csms) -> None:
    async with stubbed(csms) as station:
        for number in (2, 3, 4):
            assert await reset(csms, "2.0.1") == "Accepted"
            await until(lambda number=number: is_back(station, csms, number))  # type: ignore[misc]
        assert reasons(csms) == ["PowerUp", *["RemoteReset"] * 3]


async def test_an_act_that_waits_for_its_answer_ends(csms: Csms) -> None:
    async with stubbed(csms) as station:
        answers = [spawn(station.plug_in(car())), spawn(reset(csms, "2.0.1"))]
        await asyncio.wait(answers)
        assert all(each.exception() is None for each in answers)
        await until(lambda: is_back(station, csms))
        assert station.evses[1].connector_status == "Occupied"


# -- Other connections ------------------------------------------------------------------------------------------------


async def test_a_station_of_a_charge_point_that_is_not_its_own_resets_too(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url) as charge_point:
        station = await Station(charge_point, speed=math.inf, reconnect=SOON_AGAIN)
        await begin(station)
        assert await reset(csms, "2.0.1") == "Accepted"
        await until(lambda: is_back(station, csms))
        assert reasons(csms) == ["PowerUp", "RemoteReset"]
        await station.close()
        assert charge_point.is_open


async def test_a_slow_network_carries_the_answer_before_the_connection_closes(csms: Csms) -> None:
    async with stubbed(csms, transport=Network(delay=(10 * MS, 20 * MS), seed=1)) as station:
        assert await reset(csms, "2.0.1") == "Accepted"
        await until(lambda: is_back(station, csms))


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_strict_csms_finds_nothing_wrong(version: str) -> None:
    async with StrictCsms(version) as csms:
        options: dict[str, Any] = {"speed": math.inf, "seed": 1, "reconnect": SOON_AGAIN}
        async with Station("CP1", csms.url, version=version, **options) as station:
            await begin(station)
            await station.until(minutes=6)
            payload = {"type": "Hard" if version == "1.6" else "Immediate"}
            answered = await csms.charge_point("CP1").call(request_of(version)(**payload))
            assert answered.status == "Accepted"
            await until(lambda: [boots(csms), len(station._core.queue), " online " in repr(station)] == [2, 0, True])
            await station.unplug()
            await station.charge(car(), token="TAG-1", minutes=6)
            truth = station.truth()
        csms.check_all_ended()
        assert [(violation.rule, violation.text) for violation in csms.violations] == []
        assert [entry.wh for entry in csms.ledger.values()] == list(truth.energy_wh) == [1100, 1100]


def boots(csms: StrictCsms) -> int:
    return sum(message.frame[2] == "BootNotification" for message in csms.messages if message.frame[0] == 2)


def request_of(version: str) -> Any:
    from ocpp import v16, v201

    return {"1.6": v16, "2.0.1": v201}[version].call.Reset


@pytest.mark.parametrize("version", VERSIONS)
async def test_time_goes_on_while_the_station_cannot_boot(csms: Csms, version: str) -> None:
    """The CSMS is away for longer than a reset takes: who waits for the station's clock waits no longer than that."""
    async with stubbed(csms, version) as station:
        await begin(station)
        await reset(csms, version)
        csms.refusals = itertools.repeat(503)
        await until(lambda: not station.charge_point.is_open)
        begun = station.now
        await station.until(minutes=10)
        assert (station.now - begun).total_seconds() == pytest.approx(600)
        csms.refusals = iter(())
        await until(lambda: is_back(station, csms))


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_was_asked_for_before_the_boot_is_lost_with_its_connection(csms: Csms, version: str) -> None:
    async with stubbed(csms, version) as station:
        csms.on["BootNotification"] = silent
        await reset(csms, version)
        await until(lambda: len(reasons(csms)) == 2)
        assert (await csms.call("TriggerMessage", {"requestedMessage": "StatusNotification"}))[2] == {
            "status": "Accepted"
        }
        del csms.on["BootNotification"]
        csms.link.abort()
        await until(lambda: is_back(station, csms, 3))
        assert words(csms).count("Status 1 Available") == 2  # once for each start
