"""Commands that the station refuses, in the words of their answers; nothing of the station changes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from core_player import Player
from csms_stub import Csms
from ocpp.exceptions import NotSupportedError
from schema_payloads import fullest, sample, smallest
from station_wire import VERSIONS, schema_of

from cpsim_kit.station import Station
from cpsim_kit.station.dialects import dialect_of
from cpsim_kit.station.rules.memory import remember

ROWS = [
    (version, action)
    for version in VERSIONS
    for action, handler in dialect_of(version, 0, 1).commands.items()
    if not handler.is_done
]
WORDS = {  # what an answer may say
    "Rejected",
    "NotSupported",
    "NotFound",
    "NoFirmware",
    "NoProfile",
    "NoProfiles",
    "NoTariff",
    "Unknown",
    "UnsupportedMonitorType",
}


def payloads(version: str, action: str) -> list[Any]:
    schema, rng = schema_of(version, action), random.Random(f"{version} {action}")
    return [smallest(schema), fullest(schema), *(sample(schema, rng) for _ in range(8))]


def statuses(value: Any) -> list[str]:
    """Every status in an answer, at any depth."""
    if isinstance(value, list):
        return [status for each in value for status in statuses(each)]
    if isinstance(value, dict):
        own = [value["status"]] if "status" in value else []
        return own + [status for each in value.values() for status in statuses(each)]
    return []


@pytest.mark.parametrize(("version", "action"), ROWS)
def test_a_refused_command_changes_nothing_and_is_never_accepted(version: str, action: str) -> None:
    player = Player(version)
    player.act("plug")
    player.act("swipe TAG-1")
    known = player.core.dialect.version
    before, due = remember(player.core, player.now), player.core.due()
    for payload in payloads(version, action):
        fields = known.request(action).decode(payload)
        try:
            answer, said = player.command(action, **fields)
        except NotSupportedError:
            said = []
        else:
            said_statuses = statuses(known.response(action).encode(answer))
            assert said_statuses
            assert set(said_statuses) <= WORDS
        assert said == []
        assert remember(player.core, player.now) == before
        assert player.core.due() == due
        assert player.core.evses[1].charging_state == "Charging"


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_refusal_arrives_as_an_answer(version: str) -> None:
    async with Csms() as csms, Station("CP1", csms.url, version=version):
        for action in (action for row, action in ROWS if row == version):
            frame = await csms.call(action, smallest(schema_of(version, action)))
            if frame[0] == 3:
                assert set(statuses(frame[2])) <= WORDS
            else:
                assert (action, frame[2]) in {
                    ("CostUpdated", "NotSupported"),
                    ("GetPeriodicEventStream", "NotSupported"),
                    ("NotifyWebPaymentStarted", "NotSupported"),
                }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("action", "code"), [("Heartbeat", "NotSupported"), ("MakeCoffee", "NotImplemented")])
async def test_what_no_csms_may_send_is_a_callerror(version: str, action: str, code: str) -> None:
    async with Csms() as csms, Station("CP1", csms.url, version=version):
        assert (await csms.call(action))[:1] + (await csms.call(action))[2:3] == [4, code]
        assert (await csms.call("DataTransfer", {"vendorId": "org.example"}))[2] == {"status": "UnknownVendorId"}
