"""A station of two EVSEs with a commanding CSMS, and the acts that the tables of commands name."""

from __future__ import annotations

import inspect
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from commanding_csms import CommandingCsms
from commands_by_hand import Play, c16, c201, local_list_16, local_list_201, set_variables, word
from conftest import until
from ocpp.exceptions import OCPPError

from cpsim_kit.station import Evse, Station, Vehicle

EVSES = [Evse(22, register_kwh=1234.567), Evse(50, "DC")]


@asynccontextmanager
async def commanded(version: str, **more: Any) -> AsyncIterator[Play]:
    """A station and a CSMS that commands it."""
    async with CommandingCsms(version) as csms:
        options: dict[str, Any] = {"speed": math.inf, "firmware_version": "1.0.0", "evses": EVSES, "seed": 1, **more}
        async with Station("CP1", csms.url, version=version, **options) as station:
            yield Play(station, csms)


async def do(play: Play, act: str) -> Any:
    """An act of a person, or of the CSMS, by its name: "plug 1", "swipe TAG-2 1", "session 1", "wait 5", …

    Raises:
        ValueError: It cannot be done physically.
    """
    station, is_16 = play.station, play.csms.version == "1.6"
    match act.split():
        case "plug", place:
            await station.plug_in(Vehicle(60, 0.3, 11), evse=int(place))
        case "unplug", place:
            await station.unplug(evse=int(place))
        case "swipe", place:
            await station.swipe("TAG-1", evse=int(place))
        case "swipe", token, place:
            await station.swipe(token, evse=int(place))
        case "wait", minutes:
            await station.until(minutes=float(minutes))
        case "session", place:
            await do(play, f"plug {place}")
            await do(play, f"swipe TAG-{place} {place}")
            await station.until(minutes=2)
        case "reserve", place:
            key = "connector_id" if is_16 else "evse_id"
            await play.charge_point.reserve_now(5, "TAG-1", play.in_minutes(30), **{key: int(place)})
        case "inoperative" | "operative" as state, place:
            number = int(place)
            evse = {"id": number} if number else None
            request = c16.ChangeAvailability(number, state.title()) if is_16 else None
            await play.charge_point.ask(request or c201.ChangeAvailability(state.title(), evse))
        case ("preauthorize",):
            key = c16.ChangeConfiguration("LocalPreAuthorize", "true")
            await play.charge_point.ask(key if is_16 else set_variables(AuthCtrlr__LocalPreAuthorize="true"))
        case ("list",):
            await play.charge_point.ask(local_list_16(play) if is_16 else local_list_201(play))
        case ("log",):
            await play.charge_point.ask(c16.GetLog({"remoteLocation": "ftp://logs.example"}, "SecurityLog", 8))
        case _:
            raise LookupError(act)


def asked(play: Play, request: Any) -> Any:
    """An awaitable of the answer to what a row's ``ask`` made."""
    return request if inspect.isawaitable(request) else play.charge_point.ask(request)


async def ask(play: Play, request: Any) -> tuple[str, Any]:
    """Ask a request: the status, or the code of the CALLERROR, and the answer."""
    try:
        answer = await asked(play, request)
    except OCPPError as error:
        return error.code, None
    return str(getattr(answer, "status", None) or ""), answer


def said(csms: CommandingCsms | Any, since: int = 0) -> list[tuple[str, Any]]:
    """The CALLs that came, as actions and payloads."""
    frames = [each.frame for each in csms.messages[since:] if each.direction == "in"]
    return [(frame[2], frame[3]) for frame in frames if frame[0] == 2]


def words(messages: list[tuple[str, Any]]) -> list[str]:
    return [word(*each) for each in messages]


async def settle(play: Play) -> None:
    """Bring everything to its end: all in service, nobody there, no charging profile, nothing to say."""
    station, csms = play.station, play.csms

    def is_connected() -> bool:
        return station.charge_point.is_open and station._driver.is_online and csms.connected == ["CP1"]

    await station.until(minutes=6)
    await until(is_connected, station)
    await do(play, "operative 0")
    for evse in (1, 2):
        await do(play, f"operative {evse}")
        if csms.version != "1.6":  # where a connector has a state of its own
            await play.charge_point.ask(c201.ChangeAvailability("Operative", {"id": evse, "connectorId": 1}))
        if station.evses[evse].state in ("GroundFault", "InternalError"):
            await station.clear_fault(evse=evse)
        if station.evses[evse].vehicle is not None:
            await station.unplug(evse=evse)
    await play.charge_point.ask(c16.ClearChargingProfile() if csms.version == "1.6" else c201.ClearChargingProfile())
    await station.until(minutes=10)
    await until(lambda: not station.waiting, lambda: station.queue)


def check(play: Play) -> None:
    """The CSMS has found nothing wrong, and knows the watt-hours of each transaction."""
    csms = play.csms
    csms.check_all_ended()
    csms.check_all_followed()
    found = [(each.rule, each.text) for each in csms.violations]
    assert not found, found
    truth = {row.transaction_id: (row.start_wh, row.end_wh) for row in play.station.truth().itertuples()}
    for identity, entry in csms.ledger.items():
        if entry.place is not None and entry.start_wh is not None:
            start, end = truth[str(identity)]
            assert entry.wh is not None
            assert abs(entry.wh - (end - start)) < 1.5
