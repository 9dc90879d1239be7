"""Whole sessions of a station against the strict CSMS, which was not made by the kit.

It finds nothing wrong, and its ledger has the watt-hours of the station's own truth.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from conftest import SOON, until
from strict_csms import StrictCsms, Token

from cpsim_kit.errors import CallFailed
from cpsim_kit.station import Evse, Station, Vehicle

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_hang")]

VERSIONS = ("1.6", "2.0.1")
TOKENS = {
    "BLOCKED": Token(status="Blocked"),
    "LATE": Token(status_in_transaction="Invalid"),
    **{f"FAMILY-{number}": Token(group="FAMILY") for number in range(1, 5)},
}
EVSES = (Evse(22, register_kwh=1234.567), Evse(50, "DC"))
POINTS_201 = [
    ("EVConnected", "EVConnected"),
    ("Authorized", "Authorized"),
    ("PowerPathClosed", "PowerPathClosed"),
    ("EnergyTransfer", "EnergyTransfer"),
    ("EVConnected,Authorized", "EVConnected,Authorized"),
    ("Authorized", "EVConnected"),
    ("EVConnected", "Authorized"),
]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def car(soc: float = 0.3, **more: Any) -> Vehicle:
    return Vehicle(60, soc, 11, **more)


@asynccontextmanager
async def playing(version: str, **more: Any) -> AsyncIterator[tuple[Station, StrictCsms]]:
    """A station and the strict CSMS; checked at the end."""
    async with StrictCsms(version, tokens=TOKENS) as csms:
        async with Station("CP1", csms.url, version=version, speed=math.inf, evses=EVSES, seed=1, **more) as station:
            yield station, csms
        check(station, csms)


def check(station: Station, csms: StrictCsms) -> None:
    """The CSMS found nothing wrong, and knows the watt-hours of each transaction."""
    csms.check_all_ended()
    assert [(violation.rule, violation.text) for violation in csms.violations] == []
    truth = {row.transaction_id: row for row in station.truth().itertuples()}
    assert {str(identity) for identity in csms.ledger} == set(truth)
    for identity, entry in csms.ledger.items():
        row = truth[str(identity)]
        assert entry.ended
        if entry.place is None:
            assert entry.wh is None
            continue
        assert entry.place == row.evse_id
        assert entry.wh == row.energy_wh
        assert (entry.start_wh, entry.end_wh) == (row.start_wh, row.end_wh)


def said(csms: StrictCsms, action: str) -> list[Any]:
    """The payloads of an action that came in."""
    return [
        message.frame[3]
        for message in csms.messages
        if message.direction == "in" and message.frame[0] == 2 and message.frame[2] == action
    ]


def reasons(csms: StrictCsms) -> list[str]:
    """Why each transaction ended; Local where that is left out, as OCPP 2.0.1 allows."""
    if csms.version == "1.6":
        return [payload.get("reason", "Local") for payload in said(csms, "StopTransaction")]
    ends = [payload for payload in said(csms, "TransactionEvent") if payload["eventType"] == "Ended"]
    return [payload["transactionInfo"].get("stoppedReason", "Local") for payload in ends]


async def remote_start(csms: StrictCsms, token: str, place: int | None = None) -> str:
    cp = csms.charge_point("CP1")
    if csms.version == "1.6":
        answer = await cp.remote_start_transaction(token, connector_id=place)
    else:
        answer = await cp.request_start_transaction(token, evse_id=place)
    return str(answer.status)


async def remote_stop(csms: StrictCsms, station: Station, evse: int) -> str:
    transaction = station.evses[evse].transaction
    assert transaction is not None
    cp = csms.charge_point("CP1")
    if csms.version == "1.6":
        return str((await cp.remote_stop_transaction(int(transaction.id))).status)
    return str((await cp.request_stop_transaction(transaction.id)).status)


async def test_cable_first(version: str) -> None:
    async with playing(version) as (station, csms):
        await station.plug_in(car(), evse=1)
        await station.until(minutes=0.5)
        await station.swipe("TAG-1")
        await station.until(energy_kwh=5)
        await station.swipe("TAG-1")
        await station.until(minutes=3)
        await station.unplug()

    assert [entry.wh for entry in csms.ledger.values()] == [5000]
    assert reasons(csms) == ["Local"]


async def test_token_first(version: str) -> None:
    async with playing(version) as (station, csms):
        await station.swipe("TAG-1")
        await station.until(minutes=0.5)
        await station.plug_in(car(), evse=2)
        await station.until(soc=0.5)
        await station.swipe("TAG-1")
        await station.unplug()

    assert [(entry.place, entry.wh) for entry in csms.ledger.values()] == [(2, 12_000)]


async def test_token_first_at_an_evse(version: str) -> None:
    async with playing(version) as (station, csms):
        await station.swipe("TAG-1", evse=2)
        await station.plug_in(car(), evse=2)
        await station.until(minutes=5)
        await station.unplug()

    assert reasons(csms) == ["EVDisconnected"]


async def test_a_token_and_no_cable(version: str) -> None:
    async with playing(version) as (station, csms):
        await station.swipe("TAG-1", evse=1)
        await station.until(minutes=3)
        await station.swipe("TAG-1")  # and of the whole station
        await station.until(minutes=3)

    assert reasons(csms) == []
    assert [view.connector_status for view in station.evses.values()] == ["Available", "Available"]


async def test_a_cable_and_no_token(version: str) -> None:
    async with playing(version) as (station, csms):
        await station.plug_in(car(), evse=1)
        await station.until(minutes=3)
        await station.unplug()

    assert said(csms, "Authorize") == []


async def test_a_refused_token_and_then_another(version: str) -> None:
    async with playing(version) as (station, csms):
        await station.plug_in(car(), evse=1)
        assert (await station.swipe("BLOCKED")).effect == "refused"
        assert (await station.swipe("TAG-1")).effect == "authorized"
        assert (await station.swipe("BLOCKED", evse=1)).effect == "refused"
        await station.until(energy_kwh=1)
        assert (await station.swipe("TAG-1")).effect == "stopped"
        await station.unplug()

    assert reasons(csms) == ["Local"]


async def test_a_token_that_is_refused_in_the_transaction(version: str) -> None:
    async with playing(version) as (station, csms):
        session = await station.charge(car(), token="LATE", until_soc=0.8)

    assert session.energy_wh == 0
    assert reasons(csms) == ["DeAuthorized"]


@pytest.mark.parametrize("most", [0, 500])
async def test_a_token_that_is_refused_in_the_transaction_which_goes_on(version: str, most: int) -> None:
    names = {
        "1.6": ("StopTransactionOnInvalidId", "MaxEnergyOnInvalidId"),
        "2.0.1": ("TxCtrlr.StopTxOnInvalidId", "TxCtrlr.MaxEnergyOnInvalidId"),
    }[version]
    async with playing(version, variables={names[0]: False, names[1]: most}) as (station, csms):
        await station.plug_in(car(), evse=1)
        await station.swipe("LATE")
        await station.until(state="SuspendedEVSE")
        await station.until(minutes=2)
        await station.unplug()

    assert [entry.wh for entry in csms.ledger.values()] == [most]


async def test_another_token_of_the_group_stops_it(version: str) -> None:
    async with playing(version) as (station, csms):
        await station.plug_in(car(), evse=1)
        await station.swipe("FAMILY-1")
        await station.until(energy_kwh=1)
        assert (await station.swipe("TAG-1", evse=1)).effect == "refused"
        assert (await station.swipe("FAMILY-2", evse=1)).effect == "stopped"
        await station.unplug()

    assert reasons(csms) == ["Local"]


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("side", ["evse", "ev"])
async def test_the_cable_is_taken_out_while_it_charges(version: str, side: Any, stops: bool) -> None:
    name = "StopTransactionOnEVSideDisconnect" if version == "1.6" else "TxCtrlr.StopTxOnEVSideDisconnect"
    async with playing(version, variables={name: stops}) as (station, csms):
        ev = car()
        await station.plug_in(ev, evse=1)
        await station.swipe("TAG-1")
        await station.until(energy_kwh=2)
        await station.unplug(evse=1, side=side)
        await station.until(minutes=5)
        if side == "ev":
            await station.unplug(evse=1)

    assert [entry.wh for entry in csms.ledger.values()] == [2000]
    assert reasons(csms) == ["EVDisconnected"]


async def test_the_cable_comes_back(version: str) -> None:
    names = {
        "1.6": {"StopTransactionOnEVSideDisconnect": False},
        "2.0.1": {"TxCtrlr.StopTxOnEVSideDisconnect": False, "TxCtrlr.TxStopPoint": "Authorized"},
    }
    async with playing(version, variables=names[version]) as (station, csms):
        ev = car()
        await station.plug_in(ev, evse=1)
        await station.swipe("TAG-1")
        await station.until(energy_kwh=2)
        await station.unplug(evse=1, side="ev")
        await station.until(minutes=0.5)
        await station.plug_in(ev, evse=1)
        await station.until(soc=0.35, timeout=SOON)
        await station.unplug()

    assert sum(entry.wh for entry in csms.ledger.values()) == 3000


async def test_the_vehicle_suspends_and_resumes_and_the_evse_too(version: str) -> None:
    async with playing(version) as (station, csms):
        await station.plug_in(car(), evse=1)
        await station.swipe("TAG-1")
        for stop, go in ((station.suspend_ev, station.resume_ev), (station.suspend_evse, station.resume_evse)):
            await station.until(minutes=5)
            await stop(evse=1)
            await station.until(minutes=5)
            await go(evse=1)
        await station.suspend_ev()
        await station.suspend_evse(evse=1)
        await station.resume_ev()
        await station.resume_evse(evse=1)
        await station.until(energy_kwh=3)
        await station.swipe("TAG-1")
        await station.unplug()

    assert [entry.wh for entry in csms.ledger.values()] == [3000]


async def test_the_vehicle_has_enough(version: str) -> None:
    async with playing(version) as (station, csms):
        session = await station.charge(car(0.7, target_soc=0.9), token="TAG-1", evse=2)

    assert session.energy_wh == 12_000
    assert len(csms.ledger) == 1


async def test_a_fault_ends_it_and_the_next_session_works(version: str) -> None:
    async with playing(version) as (station, csms):
        ev = car()
        await station.plug_in(ev, evse=1)
        await station.swipe("TAG-1")
        await station.until(energy_kwh=1)
        await station.fault("GroundFault", evse=1)
        await station.until(minutes=1)
        await station.clear_fault()
        await station.unplug()
        await station.charge(ev, token="TAG-1", until_energy_kwh=1, evse=1)

    assert [entry.wh for entry in csms.ledger.values()] == [1000, 1000]
    assert reasons(csms) == ["Other" if version == "1.6" else "GroundFault", "Local"]


@pytest.mark.parametrize("authorizes", [False, True])
@pytest.mark.parametrize("first", ["cable", "request"])
@pytest.mark.parametrize("place", [2, None])
async def test_remote_start_and_stop(version: str, first: str, place: int | None, authorizes: bool) -> None:
    name = "AuthorizeRemoteTxRequests" if version == "1.6" else "AuthCtrlr.AuthorizeRemoteStart"
    async with playing(version, variables={name: authorizes}) as (station, csms):
        if first == "cable":
            await station.plug_in(car(), evse=2)
        assert await remote_start(csms, "TAG-1", place) == "Accepted"
        await station.until(minutes=0)  # until the CSMS has said what it says of the token
        if first == "request":
            await station.plug_in(car(), evse=2)
        await station.until(state="Charging", evse=2)
        await station.until(energy_kwh=4, evse=2)
        assert await remote_stop(csms, station, 2) == "Accepted"
        await until(lambda: station.evses[2].transaction is None)
        await station.unplug()

    assert [(entry.place, entry.wh) for entry in csms.ledger.values()] == [(2, 4000)]
    assert reasons(csms) == ["Remote"]
    assert len(said(csms, "Authorize")) == authorizes


async def test_a_cable_that_comes_while_the_csms_looks_at_the_token(version: str) -> None:
    async with playing(version) as (station, csms):
        await asyncio.gather(station.swipe("TAG-1"), station.plug_in(car(), evse=2))
        await station.until(energy_kwh=1, evse=2, timeout=SOON)
        await station.swipe("TAG-1")
        await station.unplug()

    assert [(entry.place, entry.wh) for entry in csms.ledger.values()] == [(2, 1000)]


async def test_a_card_stops_what_the_csms_started(version: str) -> None:
    async with playing(version) as (station, csms):
        await station.plug_in(car(), evse=1)
        await remote_start(csms, "FAMILY-1", 1)
        await station.until(minutes=9)
        await station.swipe("FAMILY-2", evse=1)
        await station.unplug()

    assert len(reasons(csms)) == 1


@pytest.mark.parametrize("speed", [20_000, math.inf])
async def test_two_evses_at_once(version: str, speed: float) -> None:
    async with playing(version) as (station, csms):
        station.speed = speed
        await asyncio.gather(
            station.charge(car(), token="TAG-1", until_soc=0.5),
            station.charge(Vehicle(80, 0.2, 120), token="TAG-2", until_soc=0.6),
        )

    assert sorted((entry.place, entry.wh) for entry in csms.ledger.values()) == [(1, 12_000), (2, 32_000)]


async def test_several_sessions_one_after_another(version: str) -> None:
    async with playing(version) as (station, csms):
        for number in range(8):
            await station.charge(car(), token=f"TAG-{number}", until_energy_kwh=0.5 + number / 3)
            await station.until(minutes=number)

    assert len(csms.ledger) == 8
    assert station.truth().start_wh[0] == 1_234_567


async def test_meter_values_by_the_clock(version: str) -> None:
    names = {
        "1.6": {"ClockAlignedDataInterval": 60, "StopTxnAlignedData": "Energy.Active.Import.Register"},
        "2.0.1": {"AlignedDataCtrlr.Interval": 60, "AlignedDataCtrlr.TxEndedInterval": 120},
    }
    async with playing(version, variables=names[version]) as (station, csms):
        await station.charge(car(), token="TAG-1", minutes=10)
        await station.until(minutes=3)

    assert len(said(csms, "MeterValues")) > 3


@pytest.mark.parametrize(("start", "stop"), POINTS_201)
async def test_every_start_and_stop_point(start: str, stop: str) -> None:
    variables = {"TxCtrlr.TxStartPoint": start, "TxCtrlr.TxStopPoint": stop}
    async with playing("2.0.1", variables=variables) as (station, csms):
        await station.charge(car(), token="TAG-1", minutes=10)
        await station.swipe("TAG-2")
        await station.plug_in(car(), evse=2)
        await station.until(minutes=2)
        await station.suspend_ev()
        await station.until(minutes=2)
        await station.resume_ev()
        await station.unplug()
        if station.evses[1].transaction or station.evses[2].transaction:
            await station.until(minutes=3)

    assert csms.ledger


async def test_an_evse_that_offers_nothing_at_first_says_where_its_meter_began_first() -> None:
    async with playing("2.0.1", variables={"TxCtrlr.TxStartPoint": "Authorized"}) as (station, csms):
        await station.suspend_evse(evse=1)
        await station.swipe("TAG-1", evse=1)
        await station.plug_in(car(), evse=1)
        await station.until(minutes=1.5)
        with contextlib.suppress(CallFailed):
            await station.resume_evse(evse=1)
        await station.swipe("TAG-1")
        await station.unplug()

    assert len(csms.ledger) == 1


async def test_an_authorization_that_follows_another_one_ends_for_its_own_reason() -> None:
    points = {"TxCtrlr.TxStartPoint": "Authorized", "TxCtrlr.TxStopPoint": "EVConnected"}
    async with playing("2.0.1", variables=points) as (station, csms):
        for _ in range(3):
            await station.swipe("TAG-1", evse=1)
        await station.until(minutes=2)

    assert reasons(csms) == ["Timeout"]


@pytest.mark.parametrize("seed", range(12))
async def test_what_people_do_in_any_order(version: str, seed: int) -> None:
    """Whatever is physically possible breaks no rule, and is counted right."""
    chance = random.Random(seed)

    async def swipe(evse: int) -> None:
        """Nobody's token is used at two EVSEs at once: the strict CSMS takes the second Authorize as needless."""
        await station.swipe(
            chance.choice((f"TAG-{evse}", f"FAMILY-{evse}", f"FAMILY-{evse + 2}", "BLOCKED")), evse=evse
        )

    async with playing(version) as (station, csms):
        acts: list[Callable[[], Awaitable[Any]]] = [
            lambda: station.plug_in(car(chance.uniform(0.1, 0.95)), evse=chance.choice((1, 2))),
            lambda: swipe(chance.choice((1, 2))),
            lambda: station.unplug(evse=chance.choice((1, 2)), side=chance.choice(("evse", "ev"))),
            lambda: station.until(minutes=chance.uniform(0, 20)),
            lambda: station.suspend_ev(evse=chance.choice((1, 2))),
            lambda: station.resume_ev(evse=chance.choice((1, 2))),
            lambda: station.suspend_evse(evse=chance.choice((1, 2))),
            lambda: station.resume_evse(evse=chance.choice((1, 2))),
            lambda: station.fault(evse=chance.choice((1, 2))),
            lambda: station.clear_fault(evse=chance.choice((1, 2))),
        ]
        weights = [6, 6, 3, 8, 1, 2, 1, 2, 0.5, 2]
        done = 0
        while done < 60:
            try:
                await chance.choices(acts, weights)[0]()
            except ValueError:  # it cannot be done physically
                continue
            done += 1
        for evse in (1, 2):
            if station.evses[evse].state == "InternalError":
                await station.clear_fault(evse=evse)
            if station.evses[evse].vehicle is not None:
                await station.unplug(evse=evse)
        await station.until(minutes=5)

    assert len(csms.ledger) > 1
