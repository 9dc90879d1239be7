"""Commands on the wire: the message that is asked for follows the answer, also before the station is accepted."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from charge_point_fixtures import spawn, times_out
from conftest import MS, until
from csms_stub import Behaviour, Csms, abort, answer, error, silent
from station_wire import accept_all, words

from cpsim_kit import Backoff, Network, Station, Vehicle
from cpsim_kit.errors import ConnectionLost

pytestmark = pytest.mark.usefixtures("no_hang")

TWO = ("2.0.1", "2.1")
VERSIONS = ("1.6", *TWO)


@asynccontextmanager
async def stubbed(csms: Csms, version: str, **options: Any) -> AsyncIterator[Station]:
    accept_all(csms, version)
    options = {"speed": math.inf, "reconnect": Backoff(10 * MS, 10 * MS, 0)} | options
    async with Station("CP1", csms.url, version=version, **options) as station:
        yield station


async def trigger(csms: Csms, message: str, action: str = "TriggerMessage", **fields: Any) -> str:
    """Ask for a message: the status of the answer."""
    return str((await csms.call(action, {"requestedMessage": message, **fields}))[2]["status"])


MESSAGES = [
    *((version, "Heartbeat", "Heartbeat") for version in VERSIONS),
    *((version, "StatusNotification", "StatusNotification") for version in VERSIONS),
    *((version, "MeterValues", "MeterValues") for version in VERSIONS),
    *((version, "FirmwareStatusNotification", "FirmwareStatusNotification") for version in VERSIONS),
    *((version, "LogStatusNotification", "LogStatusNotification") for version in TWO),
    *((version, "TransactionEvent", "TransactionEvent") for version in TWO),
    ("1.6", "DiagnosticsStatusNotification", "DiagnosticsStatusNotification"),
    ("1.6", "BootNotification", "BootNotification"),
]


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize(("version", "asked", "action"), MESSAGES)
async def test_the_message_follows_the_answer(csms: Csms, version: str, asked: str, action: str, is_slow: bool) -> None:
    """F06.FR.04; OCPP 1.6, 5.17."""
    options = {"transport": Network(delay=(0, 10 * MS), seed=1)} if is_slow else {}
    async with stubbed(csms, version, **options) as station:
        await station.plug_in(Vehicle())
        await station.swipe("TAG-1")
        csms.calls.clear()
        order: list[str] = []
        receive = csms._receive

        def note(link: Any, frame: list[Any]) -> None:
            order.append(frame[2] if frame[0] == 2 else "answer")
            receive(link, frame)

        csms._receive = note  # type: ignore[method-assign]
        assert await trigger(csms, asked) == "Accepted"
        await until(lambda: action in order)
        assert order[:2] == ["answer", action]


async def test_a_boot_that_is_asked_for_sets_the_interval(csms: Csms) -> None:
    async with stubbed(csms, "1.6") as station:
        csms.on["BootNotification"] = answer(
            {"currentTime": "2026-11-23T10:00:00Z", "interval": 77, "status": "Accepted"}
        )
        assert await trigger(csms, "BootNotification", "ExtendedTriggerMessage") == "Accepted"
        await until(lambda: station.variables["HeartbeatInterval"] == 77)
        assert words(csms)[-1] == "Boot"


@pytest.mark.parametrize(
    "behaviour",
    [
        silent,
        abort,
        answer({"status": 7}),
    ],
)
async def test_a_boot_that_is_asked_for_and_fails_stops_nothing(csms: Csms, behaviour: Behaviour) -> None:
    async with stubbed(csms, "1.6") as station:
        csms.once.append(times_out(station.charge_point) if behaviour is silent else behaviour)
        assert await trigger(csms, "BootNotification") == "Accepted"
        await until(lambda: csms.actions.count("BootNotification") == 2)
        if behaviour is abort:
            await until(lambda: len(csms.links) == 2 and " online " in repr(station))
        session = await station.charge(Vehicle(), token="TAG-1", minutes=6)
        assert session.energy_wh == 1100


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
async def test_a_station_whose_acceptance_is_taken_back_sends_nothing_until_it_is_accepted_again(
    csms: Csms, status: str
) -> None:
    """OCPP 1.6, 4.2: it boots again after the interval."""
    async with stubbed(csms, "1.6") as station:
        csms.once.append(answer({"currentTime": "2026-11-23T10:00:00Z", "interval": 1, "status": status}))
        assert await trigger(csms, "BootNotification") == "Accepted"
        await until(lambda: station.charge_point.boot_status == status)
        said = len(csms.actions)
        session = await station.charge(Vehicle(), token="TAG-1", minutes=6)
        assert csms.actions[said] == "BootNotification"
        assert session.energy_wh == 1100
        assert await csms.call("GetConfiguration", {"key": ["HeartbeatInterval"]})


async def test_a_station_whose_acceptance_is_taken_back_boots_on_its_next_connection(csms: Csms) -> None:
    async with stubbed(csms, "1.6") as station:
        rejected = {"currentTime": "2026-11-23T10:00:00Z", "interval": 1000, "status": "Rejected"}
        csms.once.append(answer(rejected))
        assert await trigger(csms, "BootNotification") == "Accepted"
        await until(lambda: station.charge_point.boot_status == "Rejected")
        said = len(csms.actions)
        csms.links[0].abort()
        await until(lambda: len(csms.actions) > said)
        assert csms.actions[said] == "BootNotification"
        session = await station.charge(Vehicle(), token="TAG-1", minutes=6)
        assert session.energy_wh == 1100


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_station_that_is_pending_boots_when_it_is_asked_to(csms: Csms, version: str) -> None:
    """TC_B_31, B02.FR.04."""
    pending = {"currentTime": "2026-11-23T10:00:00Z", "interval": 1000, "status": "Pending"}
    answers = itertools.chain([pending, pending], itertools.repeat(None))

    async def behave(link: Any, call: Any) -> None:
        await answer(next(answers))(link, call)

    csms.on["BootNotification"] = behave
    accept_all(csms, version)
    station = Station("CP1", csms.url, version=version, speed=math.inf)
    connecting = spawn(station.connect())
    await until(lambda: station.charge_point.boot_status == "Pending")

    assert await trigger(csms, "StatusNotification") == "Accepted"
    place = {"connectorId": 1} if version == "1.6" else {"evse": {"id": 1, "connectorId": 1}}
    assert await trigger(csms, "StatusNotification", **place) == "Accepted"
    assert await trigger(csms, "Heartbeat") == "Accepted"
    await until(lambda: "Heartbeat" in csms.actions)
    whole = ["Status 0 Available"] if version == "1.6" else []
    assert words(csms) == ["Boot", *whole, "Status 1 Available", "Status 1 Available"]

    for boots in (2, 3):
        assert await trigger(csms, "BootNotification") == "Accepted"
        await until(lambda boots=boots: csms.actions.count("BootNotification") == boots)  # type: ignore[misc]
    await connecting
    asked = [call.payload.get("reason") for call in csms.calls if call.action == "BootNotification"]
    assert asked == ([None] * 3 if version == "1.6" else ["PowerUp", "Triggered", "Triggered"])
    assert station.evses[1].connector_status == "Available"
    await station.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_station_that_is_rejected_does_nothing_that_it_is_asked_for(csms: Csms, version: str) -> None:
    """B03.FR.02, .08: it answers SecurityError; OCPP 1.6, 4.2: it does not answer."""
    rejected = {"currentTime": "2026-11-23T10:00:00Z", "interval": 1000, "status": "Rejected"}
    csms.on["BootNotification"] = answer(rejected)
    station = Station("CP1", csms.url, version=version, speed=math.inf)
    connecting = spawn(station.connect())
    await until(lambda: station.charge_point.boot_status == "Rejected")

    asking = [spawn(csms.call("TriggerMessage", {"requestedMessage": "Heartbeat"})), spawn(csms.call("ClearCache"))]
    if version == "1.6":
        await until(lambda: len(station.charge_point.messages.to_frame()) == 4)
        await (await csms.link.ws.ping())
        assert not any(each.done() for each in asking)
        for each in asking:
            each.cancel()
    else:
        assert [(await each)[:3:2] for each in asking] == [[4, "SecurityError"]] * 2
    assert csms.actions == ["BootNotification"]
    await station.close()
    with pytest.raises(ConnectionLost):
        await connecting


async def test_a_station_that_is_pending_says_what_it_is_asked_for_where_the_csms_goes_away(csms: Csms) -> None:
    pending = {"currentTime": "2026-11-23T10:00:00Z", "interval": 1000, "status": "Pending"}
    csms.on["BootNotification"] = answer(pending)
    csms.on["Heartbeat"] = abort
    station = Station("CP1", csms.url, speed=math.inf)
    connecting = spawn(station.connect())
    await until(lambda: station.charge_point.boot_status == "Pending")
    assert await trigger(csms, "Heartbeat") == "Accepted"
    with pytest.raises(ConnectionLost):
        await connecting
    await station.close()


@pytest.mark.parametrize("behaviour", [silent, abort, error("InternalError", "no", {}), answer({"status": 7})])
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_message_that_is_asked_for_and_fails_stops_nothing(
    csms: Csms, version: str, behaviour: Behaviour
) -> None:
    async with stubbed(csms, version) as station:
        csms.once.append(times_out(station.charge_point) if behaviour is silent else behaviour)
        assert await trigger(csms, "StatusNotification") == "Accepted"
        await until(lambda: csms.actions.count("StatusNotification") > 1 + (version == "1.6"))
        if behaviour is abort:
            await until(lambda: len(csms.links) == 2 and " online " in repr(station))
        session = await station.charge(Vehicle(), token="TAG-1", minutes=6)
        assert session.energy_wh == 1100
        command = await station.wait_command("TriggerMessage")
        assert (command.payload["requested_message"], command.answer.status) == ("StatusNotification", "Accepted")


async def test_ocpp_16_unlocks_and_stops_first(csms: Csms) -> None:
    async with stubbed(csms, "1.6") as station:
        await station.plug_in(Vehicle())
        await station.swipe("TAG-1")
        csms.calls.clear()
        assert (await csms.call("UnlockConnector", {"connectorId": 1}))[2] == {"status": "Unlocked"}
        await until(lambda: words(csms) == ["StopTransaction", "Status 1 Finishing"])
        assert csms.calls[0].payload["reason"] == "UnlockCommand"
        await station.unplug()


@pytest.mark.parametrize("version", TWO)
async def test_a_cable_is_unlocked_only_without_an_authorized_transaction(csms: Csms, version: str) -> None:
    place = {"evseId": 1, "connectorId": 1}
    async with stubbed(csms, version) as station:
        await station.plug_in(Vehicle())
        await station.swipe("TAG-1")
        ongoing = await csms.call("UnlockConnector", place)
        assert ongoing[2]["status"] == "OngoingAuthorizedTransaction"
        assert station.evses[1].state == "Charging"
        await station.swipe("TAG-1")
        await station.fault("ConnectorLockFailure")
        assert (await csms.call("UnlockConnector", place))[2]["status"] == "UnlockFailed"
        with pytest.raises(ValueError, match="stuck"):
            await station.unplug()
        await station.clear_fault()
        assert (await csms.call("UnlockConnector", place))[2]["status"] == "Unlocked"
        await station.unplug()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_station_goes_out_of_service_when_its_transaction_ends(csms: Csms, version: str) -> None:
    payload = {"connectorId": 0, "type": "Inoperative"} if version == "1.6" else {"operationalStatus": "Inoperative"}
    async with stubbed(csms, version) as station:
        await station.plug_in(Vehicle())
        await station.swipe("TAG-1")
        assert (await csms.call("ChangeAvailability", payload))[2]["status"] == "Scheduled"
        await station.until(minutes=6)
        assert station.evses[1].state == "Charging"
        await station.swipe("TAG-1")
        assert words(csms)[-1] == "Status 1 Unavailable"
        assert (await station.swipe("TAG-1")).effect == "refused"
        assert station.truth().energy_wh.tolist() == [1100]
