"""The messages that a session shows as its own, of all that the charge point said."""

from __future__ import annotations

import math

import pytest
from strict_csms import StrictCsms

from cpsim_kit import Evse, Station, Vehicle


def actions(station: Station, number: int = 0) -> list[str]:
    return [record.action for record in station.sessions[number].messages if record.kind == "CALL"]


@pytest.mark.parametrize(("version", "start"), [("2.0.1", "TransactionEvent"), ("1.6", "StartTransaction")])
async def test_a_token_that_comes_first_is_part_of_its_session(version: str, start: str) -> None:
    async with StrictCsms(version) as csms, Station("CP1", csms.url, version=version, speed=math.inf) as station:
        await station.swipe("TAG-1")
        assert actions(station)[0] == "Authorize"
        await station.plug_in(Vehicle())
        await station.unplug()

    assert actions(station)[:2] == ["Authorize", "StatusNotification"]
    assert start in actions(station)
    kinds = [record.kind for record in station.sessions[0].messages]
    assert kinds == ["CALL", "CALLRESULT"] * len(actions(station)), "each with its answer"


async def test_a_token_without_a_vehicle_is_a_session_of_one_exchange() -> None:
    async with StrictCsms("2.0.1") as csms, Station("CP1", csms.url, speed=math.inf) as station:
        await station.swipe("TAG-1")
        await station.until(minutes=2)
        await station.plug_in(Vehicle())
        await station.unplug()

    assert actions(station) == ["Authorize"]
    assert actions(station, 1) == ["StatusNotification", "StatusNotification"]


async def test_sessions_at_two_evses_share_no_messages() -> None:
    async with (
        StrictCsms("2.0.1") as csms,
        Station("CP1", csms.url, evses=[Evse(), Evse()], speed=math.inf) as station,
    ):
        await station.plug_in(Vehicle(), evse=2)
        await station.swipe("TAG-1", evse=2)
        await station.plug_in(Vehicle(), evse=1)
        await station.unplug(evse=1)
        await station.unplug(evse=2)

    second, first = (each.messages for each in station.sessions)
    assert {record.payload["evseId"] for record in first if record.kind == "CALL"} == {1}
    assert {record.action for record in second} == {"StatusNotification", "Authorize", "TransactionEvent"}
