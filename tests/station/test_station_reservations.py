"""Reservations, the local list and the cache on the wire, against a CSMS that the kit did not make, and a stub."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import until
from csms_stub import Csms, abort
from station_wire import accept_all, words
from strict_csms import StrictCsms, Token

from cpsim_kit.station import Evse, Station, Vehicle

pytestmark = pytest.mark.usefixtures("no_hang")

TOKENS = {
    "FAMILY-1": Token(group="FAMILY"),
    "FAMILY-2": Token(group="FAMILY"),
    "BLOCKED": Token(status="Blocked"),
}


def car() -> Vehicle:
    return Vehicle(60, 0.3, 11)


@asynccontextmanager
async def playing(version: str, **more: Any) -> AsyncIterator[tuple[Station, StrictCsms]]:
    """A station of two EVSEs and the strict CSMS, which finds nothing wrong."""
    evses = [Evse(), Evse(50, "DC")]
    async with StrictCsms(version, tokens=TOKENS) as csms:
        async with Station("CP1", csms.url, version=version, evses=evses, speed=math.inf, **more) as station:
            yield station, csms
        csms.check_all_ended()
        assert [(violation.rule, violation.text) for violation in csms.violations] == []


async def reserve(
    station: Station, csms: StrictCsms, number: int, token: str, place: int | None = None, **more: Any
) -> str:
    """Ask for a reservation of an hour; the status."""
    more.setdefault("until", station.now + timedelta(hours=1))
    if place is not None:
        more["connector_id" if csms.version == "1.6" else "evse_id"] = place
    answer = await csms.charge_point("CP1").reserve_now(number, token, **more)
    return str(answer.status)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_reserved_evse_serves_the_one_who_reserved_it(version: str) -> None:
    async with playing(version) as (station, csms):
        assert await reserve(station, csms, 7, "TAG-1", 1) == "Accepted"
        await station.until(state="Reserved", evse=1)
        assert station.evses[1].connector_status == "Reserved"
        assert "EVSE 1 Reserved, 2 Available" in repr(station)
        assert "Reserved" in station._repr_html_()
        (row,) = station.reservations.itertuples()
        assert (row.reservation_id, row.evse_ids, row.id_token) == (7, "1", "TAG-1")

        await station.plug_in(car(), evse=1)
        refused = await station.swipe("TAG-9", evse=1)
        assert (refused.effect, refused.reason) == ("refused", "EVSE 1 is reserved")
        assert station.evses[1].connector_status == "Reserved"
        assert (await station.swipe("TAG-1", evse=1)).effect == "authorized"
        await station.until(energy_kwh=1, evse=1)
        assert len(station.reservations) == 0
        await station.swipe("TAG-1", evse=1)
        await station.unplug(evse=1)
        assert station.evses[1].connector_status == "Available"
        assert await reserve(station, csms, 8, "TAG-2", 1) == "Accepted"


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_charge_goes_where_its_token_is_let_in(version: str) -> None:
    async with playing(version) as (station, csms):
        await reserve(station, csms, 7, "TAG-2", 1)
        assert (await station.charge(car(), token="TAG-1", minutes=5)).evse_id == 2
        await reserve(station, csms, 8, "TAG-1", 2)
        assert (await station.charge(car(), token="TAG-1", minutes=5)).evse_id == 2
        assert (await station.charge(car(), token="TAG-2", minutes=5)).evse_id == 1
        await reserve(station, csms, 9, "TAG-2", 1)
        await reserve(station, csms, 10, "TAG-2", 2)
        with pytest.raises(ValueError, match="no EVSE is free"):
            await station.charge(car(), token="TAG-9", minutes=5)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_the_group_is_let_in_and_another_token_may_not_start_remotely(version: str) -> None:
    async with playing(version) as (station, csms):
        await reserve(station, csms, 7, "FAMILY-1", 1, group="FAMILY")
        cp = csms.charge_point("CP1")
        if version == "1.6":
            answer = await cp.remote_start_transaction("TAG-9", connector_id=1)
        else:
            answer = await cp.request_start_transaction("TAG-9", evse_id=1)
        assert answer.status == "Rejected"
        session = await station.charge(car(), token="FAMILY-2", evse=1, minutes=5)
        assert session.energy_wh > 0
        ids = [
            message.frame[3].get("reservationId")
            for message in csms.messages
            if message.direction == "in" and message.frame[2] in ("StartTransaction", "TransactionEvent")
        ]
        assert [each for each in ids if each is not None] == [7]


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_reservation_that_is_cancelled_expires_or_is_lost(version: str) -> None:
    async with playing(version) as (station, csms):
        cp = csms.charge_point("CP1")
        assert (await cp.cancel_reservation(7)).status == "Rejected"
        await reserve(station, csms, 7, "TAG-1", 1)
        assert (await cp.cancel_reservation(7)).status == "Accepted"
        await station.until(state="Available", evse=1)
        await reserve(station, csms, 8, "TAG-1", 1, until=station.now + timedelta(minutes=10))
        await station.until(state="Reserved", evse=1)
        await station.until(minutes=11, evse=1)
        assert station.evses[1].connector_status == "Available"
        if version == "1.6":
            del cp.rules.reservations[8]  # no message tells it
        await reserve(station, csms, 9, "TAG-1")
        await station.fault("GroundFault", evse=1)
        assert station.evses[2].connector_status == "Reserved"
        await station.fault("GroundFault", evse=2)
        assert len(station.reservations) == 0
        await station.clear_fault(evse=1)
        await station.clear_fault(evse=2)
        ended = [
            (message.frame[3]["reservationId"], message.frame[3]["reservationUpdateStatus"])
            for message in csms.messages
            if message.direction == "in" and message.frame[2] == "ReservationStatusUpdate"
        ]
        assert ended == ([] if version == "1.6" else [(8, "Expired"), (9, "Removed")])


async def test_a_reservation_is_saved_and_loaded(tmp_path: Path) -> None:
    async with playing("2.0.1") as (station, csms):
        await reserve(station, csms, 7, "TAG-1", 1)
        path = station.save(tmp_path / "CP1.json")
        url = csms.url
        await station.close()
        async with Station.load(path, url, speed=math.inf) as other:
            assert other.evses[1].connector_status == "Reserved"
            session = await other.charge(car(), token="TAG-1", minutes=1)
            assert session.evse_id == 1


# -- A CSMS that goes away, and OCPP 2.1 ------------------------------------------------------------------------------


def reservation(version: str, station: Station, number: int = 7, minutes: float = 10) -> tuple[str, dict[str, Any]]:
    until_text = (station.now + timedelta(minutes=minutes)).isoformat()
    if version == "1.6":
        fields: dict[str, Any] = {"connectorId": 1, "expiryDate": until_text, "idTag": "TAG-1"}
        return "ReserveNow", {**fields, "reservationId": number}
    token = {"idToken": "TAG-1", "type": "ISO14443"}
    return "ReserveNow", {"id": number, "expiryDateTime": until_text, "idToken": token, "evseId": 1}


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_a_csms_that_goes_away_hears_of_the_end_later(version: str) -> None:
    async with Csms() as csms, Station("CP1", csms.url, version=version, speed=math.inf) as station:
        csms.on["ReservationStatusUpdate"] = abort
        assert (await csms.call(*reservation(version, station)))[2]["status"] == "Accepted"
        await station.until(minutes=11)
        await until(lambda: "ReservationStatusUpdate" in csms.actions)
        del csms.on["ReservationStatusUpdate"]
        await station.reconnect()
        await until(lambda: csms.actions.count("ReservationStatusUpdate") == 2)
        assert csms.calls[-1].payload == {"reservationId": 7, "reservationUpdateStatus": "Expired"}
        assert len(station.reservations) == 0


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
async def test_a_csms_that_goes_away_after_its_request_finds_the_reservation(version: str) -> None:
    async with Csms() as csms:
        accept_all(csms, version)
        async with Station("CP1", csms.url, version=version, speed=math.inf) as station:
            csms.on["StatusNotification"] = abort
            await csms.call(*reservation(version, station))
            await until(lambda: len(csms.links) == 1 and not station.charge_point.is_open)
            del csms.on["StatusNotification"]
            await station.reconnect()
            assert words(csms)[-1] == "Status 1 Reserved"
            await station.plug_in(car())
            assert (await station.swipe("TAG-9")).effect == "refused"


async def test_a_reservation_that_is_no_reservation_is_a_call_error() -> None:
    async with Csms() as csms, Station("CP1", csms.url, speed=math.inf) as station:
        action, payload = reservation("2.0.1", station)
        answer = await csms.call(action, payload | {"expiryDateTime": "tomorrow"})
        assert answer[0] == 4
        assert answer[2] == "PropertyConstraintViolation"
        assert len(station.reservations) == 0


# -- The local list and the cache -------------------------------------------------------------------------------------

LISTS: dict[str, dict[str, Any]] = {
    "1.6": {"listVersion": 1, "localAuthorizationList": [{"idTag": "TAG-1", "idTagInfo": {"status": "Accepted"}}]},
    "2.0.1": {
        "versionNumber": 1,
        "localAuthorizationList": [
            {"idToken": {"idToken": "TAG-1", "type": "ISO14443"}, "idTokenInfo": {"status": "Accepted"}}
        ],
    },
}


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
async def test_a_token_of_the_list_charges_without_a_connection(version: str) -> None:
    async with Csms() as csms:
        accept_all(csms, version)
        async with Station("CP1", csms.url, version=version, speed=math.inf) as station:
            payload = {"updateType": "Full", **LISTS["1.6" if version == "1.6" else "2.0.1"]}
            assert (await csms.call("SendLocalList", payload))[2] == {"status": "Accepted"}
            assert list((await csms.call("GetLocalListVersion"))[2].values()) == [1]
            async with station.outage():
                session = await station.charge(car(), token="TAG-1", minutes=10)
                assert session.energy_wh > 0
                await station.plug_in(car())
                assert (await station.swipe("TAG-2")).effect == "refused"
            assert "Authorize" not in csms.actions


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
async def test_a_cleared_cache_lets_nobody_charge_without_a_connection(version: str) -> None:
    async with Csms() as csms:
        accept_all(csms, version)
        async with Station("CP1", csms.url, version=version, speed=math.inf) as station:
            await station.charge(car(), token="TAG-1", minutes=1)
            async with station.outage():
                await station.plug_in(car())
                assert (await station.swipe("TAG-1")).effect == "authorized"
                await station.unplug()
            assert (await csms.call("ClearCache"))[2] == {"status": "Accepted"}
            async with station.outage():
                await station.plug_in(car())
                assert (await station.swipe("TAG-1")).effect == "refused"
