"""Commands in any order, and what people do meanwhile: a CSMS that the kit did not make finds no broken rule."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from commanded_station import ask, check, commanded, do, settle
from commands_by_hand import ROWS, Play, c16, c201, t201
from conftest import MS
from websockets.exceptions import ConnectionClosed

from cpsim_kit import Backoff

pytestmark = pytest.mark.usefixtures("no_hang")

OWN = (
    "ReserveNow",
    "RequestStartTransaction",
    "RemoteStartTransaction",
    "ChangeAvailability",
    "UnlockConnector",
    "Reset",
)
ACTS = [
    *("plug", "plug", "plug", "unplug", "unplug ev", "swipe", "swipe", "swipe", "swipe TAG-9", "wait 1", "wait 7"),
    *("suspend", "resume", "fault", "clear", "clear", "cut"),
]
POINTS = ["EVConnected", "Authorized", "PowerPathClosed", "EnergyTransfer", "EVConnected,Authorized"]


def commands(version: str, chance: random.Random) -> list[Callable[[Play], Any]]:
    """What the CSMS may ask: each row of the table, and those whose place or token matters for a place by chance.

    Nobody's token is used at two EVSEs: the strict CSMS would take a second Authorize as needless.
    """
    rows = [row.ask for row in ROWS[version] if row.action not in OWN]
    place = lambda: chance.choice((1, 2))  # noqa: E731 - a name for what is asked five times
    state = lambda: chance.choice(("Operative", "Operative", "Inoperative"))  # noqa: E731
    if version == "1.6":
        return rows + 3 * [
            lambda p: start_16(p, place()),
            lambda p: p.charge_point.remote_stop_transaction(p.transaction_id(place())),
            lambda _p: c16.ChangeAvailability(chance.choice((0, 1, 2)), state()),
            lambda _p: c16.UnlockConnector(place()),
            lambda p: reserve(p, chance, place()),
            lambda _p: c16.Reset(chance.choice(("Hard", "Soft"))),
        ]
    return rows + 3 * [
        lambda p: start_201(p, place()),
        lambda p: c201.RequestStopTransaction(p.transaction_id(place())),
        lambda _p: c201.ChangeAvailability(state(), chance.choice((None, t201.EVSEType(1), t201.EVSEType(2, 1)))),
        lambda _p: c201.UnlockConnector(place(), 1),
        lambda p: reserve(p, chance, place()),
        lambda _p: c201.Reset(chance.choice(("Immediate", "OnIdle")), chance.choice((None, 1, 2))),
    ]


def start_16(play: Play, place: int) -> Any:
    return c16.RemoteStartTransaction(f"TAG-{place}", place)


def start_201(play: Play, place: int) -> Any:
    return play.charge_point.request_start_transaction(f"TAG-{place}", evse_id=place)


async def reserve(play: Play, chance: random.Random, place: int) -> Any:
    """Reserve when nothing is on its way: the strict CSMS takes what crosses the request for a start after it."""
    await play.station.until(minutes=0.01)
    where = {"connector_id" if play.csms.version == "1.6" else "evse_id": place}
    until = play.in_minutes(chance.choice((2, 20)))
    return await play.charge_point.reserve_now(next(play.csms.numbers), f"TAG-{place}", until, **where)


async def act(play: Play, name: str, chance: random.Random) -> None:
    """What a person, a vehicle or a fault does at one of the EVSEs.

    Raises:
        ValueError: It cannot be done physically.
    """
    station, evse = play.station, chance.choice((1, 2))
    match name:
        case "plug" | "unplug":
            await do(play, f"{name} {evse}")
        case "swipe":
            await do(play, f"swipe TAG-{evse} {evse}")
        case "swipe TAG-9":
            await do(play, f"swipe TAG-9{evse} {evse}")
        case "unplug ev":
            await station.unplug(evse=evse, side="ev")
        case "suspend":
            await station.suspend_ev(evse=evse)
        case "resume":
            await station.resume_ev(evse=evse)
        case "fault":
            await station.fault("GroundFault", evse=evse)
        case "clear":
            await station.clear_fault(evse=evse)
        case "cut":
            async with station.outage():
                await station.until(minutes=chance.choice((0.5, 3)))
        case _:
            await do(play, name)


async def play_some(version: str, seed: int, count: int) -> None:
    chance = random.Random(f"{version} {seed}")
    variables = {}
    if version != "1.6" and seed:
        variables = {"TxCtrlr.TxStartPoint": chance.choice(POINTS), "TxCtrlr.TxStopPoint": chance.choice(POINTS)}
    async with commanded(version, variables=variables, reconnect=Backoff(2 * MS, 2 * MS, 0)) as play:
        asks, asked = commands(version, chance), 0
        while asked < count:
            if chance.random() < 0.4:
                with contextlib.suppress(ValueError):  # it cannot be done physically
                    await act(play, chance.choice(ACTS), chance)
                continue
            try:
                request = chance.choice(asks)(play)
                if hasattr(request, "request_id"):
                    request.request_id = next(play.csms.numbers)
                await ask(play, request)
                asked += 1
            except (LookupError, ConnectionError, ConnectionClosed):  # it is away for a reset
                await play.station.until(minutes=1)
        await settle(play)
        for evse in (1, 2):
            await play.station.until(minutes=30)  # reservations expire
            for each in (f"plug {evse}", f"swipe TAG-{evse} {evse}", "wait 2"):
                await do(play, each)
            assert play.station.sessions[-1].energy_wh > 0
        await settle(play)
        check(play)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_commands_in_any_order_break_no_rule(version: str) -> None:
    await play_some(version, 0, 30)


@pytest.mark.slow
@pytest.mark.parametrize("version", ROWS)
@pytest.mark.parametrize("seed", range(1, 13))
async def test_many_commands_in_any_order_break_no_rule(version: str, seed: int) -> None:
    await play_some(version, seed, 200)
