"""ChangeAvailability: what is out of service, from when on, what is said of it, and what outlives a reset."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command_player import command, restart
from core_player import Player
from message_lines import lines_of

from cpsim_kit.station import Evse
from cpsim_kit.station.rules.events import Accepted, ChangeAvailability, Offline, Online, PowerOff
from cpsim_kit.station.rules.memory import recall, remember

VERSIONS = ("1.6", "2.0.1", "2.1")
TWO = ("2.0.1", "2.1")


def player_of(version: str, count: int = 2, **options: Any) -> Player:
    return Player(version, [Evse() for _ in range(count)], **options)


def offers(player: Player, number: int) -> bool:
    return player.core.evses[number].offered_kw > 0


TABLE_201 = {
    "an EVSE goes out of service and comes back (TC_G_03, TC_G_04)": [
        ("inoperative 1", ["-> Accepted", "status 1 Unavailable"]),
        ("operative 1", ["-> Accepted", "status 1 Available"]),
    ],
    "a connector (TC_G_07, TC_G_08)": [
        ("inoperative 1 1", ["-> Accepted", "status 1 Unavailable"]),
        ("operative 1 1", ["-> Accepted", "status 1 Available"]),
    ],
    "the station (TC_G_05, TC_G_06)": [
        ("inoperative", ["-> Accepted", "status 1 Unavailable", "status 2 Unavailable"]),
        ("operative", ["-> Accepted", "status 1 Available", "status 2 Available"]),
    ],
    "the state that it has already (TC_G_09, TC_G_10, TC_G_12)": [
        ("operative 1", ["-> Accepted"]),
        ("operative", ["-> Accepted"]),
        ("inoperative 1", ["-> Accepted", "status 1 Unavailable"]),
        ("inoperative 1", ["-> Accepted"]),
    ],
    "what the station does not have": [
        ("inoperative 3", ["-> Rejected"]),
        ("inoperative 1 2", ["-> Rejected"]),
        ("operative 3", ["-> Rejected"]),
    ],
    "an EVSE keeps its own state while the station is out of service (G04, note 1)": [
        ("inoperative 1", ["-> Accepted", "status 1 Unavailable"]),
        ("inoperative", ["-> Accepted", "status 2 Unavailable"]),
        ("operative", ["-> Accepted", "status 2 Available"]),
        ("operative 1", ["-> Accepted", "status 1 Available"]),
    ],
    "a connector keeps its own state while its EVSE is out of service (G03, note 1)": [
        ("inoperative 1 1", ["-> Accepted", "status 1 Unavailable"]),
        ("inoperative 1", ["-> Accepted"]),
        ("operative 1", ["-> Accepted"]),
        ("operative 1 1", ["-> Accepted", "status 1 Available"]),
    ],
    "an EVSE that is put back while the station is out of service waits for that": [
        ("inoperative", ["-> Accepted", "status 1 Unavailable", "status 2 Unavailable"]),
        ("operative 1", ["-> Accepted"]),
        ("operative", ["-> Accepted", "status 1 Available", "status 2 Available"]),
    ],
    "a vehicle stays where it is (G03.FR.07)": [
        ("plug 1", ["status 1 Occupied"]),
        ("inoperative 1", ["-> Accepted", "status 1 Unavailable"]),
        ("unplug 1", []),
        ("plug 1", []),
        ("operative 1", ["-> Accepted", "status 1 Occupied"]),
    ],
    "a broken one stays broken (G03.FR.06)": [
        ("fault GroundFault 1", ["status 1 Faulted"]),
        ("inoperative 1", ["-> Accepted"]),
        ("clear fault", ["status 1 Unavailable"]),
        ("operative 1", ["-> Accepted", "status 1 Available"]),
    ],
    "a running transaction ends first (TC_G_11)": [
        ("plug 1", ["status 1 Occupied"]),
        (
            "swipe TAG-1 1",
            [
                "authorize TAG-1",
                "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                "Updated 1 ChargingStateChanged Charging 3 phases",
            ],
        ),
        ("inoperative 1", ["-> Scheduled"]),
        ("inoperative 1", ["-> Scheduled"]),
        (
            "swipe TAG-1 1",
            ["Ended 2 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1", "status 1 Unavailable"],
        ),
        ("unplug 1", []),
        ("operative 1", ["-> Accepted", "status 1 Available"]),
    ],
    "the EVSEs without a transaction follow at once (TC_G_14)": [
        ("plug 1", ["status 1 Occupied"]),
        (
            "swipe TAG-1 1",
            [
                "authorize TAG-1",
                "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                "Updated 1 ChargingStateChanged Charging 3 phases",
            ],
        ),
        ("inoperative", ["-> Scheduled", "status 2 Unavailable"]),
        (
            "unplug 1",
            [
                "status 1 Available",
                "Ended 2 EVCommunicationLost Idle EVDisconnected Begin:1 End:1",
                "status 1 Unavailable",
            ],
        ),
        ("operative", ["-> Accepted", "status 1 Available", "status 2 Available"]),
    ],
    "what is scheduled can be taken back": [
        ("plug 1", ["status 1 Occupied"]),
        (
            "swipe TAG-1 1",
            [
                "authorize TAG-1",
                "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                "Updated 1 ChargingStateChanged Charging 3 phases",
            ],
        ),
        ("inoperative 1", ["-> Scheduled"]),
        ("operative 1", ["-> Accepted"]),
        ("swipe TAG-1 1", ["Ended 2 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1"]),
    ],
}


@pytest.mark.parametrize("version", TWO)
@pytest.mark.parametrize("name", TABLE_201)
def test_what_is_said_in_ocpp_2(version: str, name: str) -> None:
    player = player_of(version)
    for words, lines in TABLE_201[name]:
        assert command(player, words) == lines, words


TABLE_16 = {
    "a connector": [
        ("inoperative 1", ["-> Accepted", "status 1 Unavailable"]),
        ("inoperative 1", ["-> Accepted"]),
        ("operative 1", ["-> Accepted", "status 1 Available"]),
    ],
    "connector 0 is the charge point and all its connectors": [
        ("inoperative 0", ["-> Accepted", "status 1 Unavailable", "status 2 Unavailable", "status 0 Unavailable"]),
        ("operative 0", ["-> Accepted", "status 1 Available", "status 2 Available", "status 0 Available"]),
    ],
    "connector 0 puts back what was out of service alone": [
        ("inoperative 1", ["-> Accepted", "status 1 Unavailable"]),
        ("operative 0", ["-> Accepted", "status 1 Available"]),
    ],
    "no connector is in service while the charge point is not": [
        ("inoperative 0", ["-> Accepted", "status 1 Unavailable", "status 2 Unavailable", "status 0 Unavailable"]),
        ("operative 1", ["-> Rejected"]),
        ("inoperative 1", ["-> Accepted"]),
    ],
    "an unknown connector": [("inoperative 3", ["-> Rejected"])],
    "a vehicle that waits: 4.9 has no move from Preparing to Unavailable": [
        ("plug 1", ["status 1 Preparing"]),
        ("inoperative 1", ["-> Accepted", "status 1 Finishing", "status 1 Unavailable"]),
        ("operative 1", ["-> Accepted", "status 1 Preparing"]),
        ("wait 60", ["status 1 Finishing"]),
    ],
    "a token that waits": [
        ("swipe TAG-1 1", ["authorize TAG-1", "status 1 Preparing"]),
        ("inoperative 1", ["-> Accepted", "status 1 Available", "status 1 Unavailable"]),
        ("wait 100", []),
    ],
    "a running transaction ends first (C8)": [
        ("plug 1", ["status 1 Preparing"]),
        ("swipe TAG-1 1", ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"]),
        ("inoperative 0", ["-> Scheduled", "status 2 Unavailable"]),
        (
            "swipe TAG-1 1",
            ["stop 1 Local 0 Wh TAG-1 Begin:1 End:1", "status 0 Unavailable", "status 1 Unavailable"],
        ),
    ],
}


@pytest.mark.parametrize("name", TABLE_16)
def test_what_is_said_in_ocpp_16(name: str) -> None:
    player = player_of("1.6")
    for words, lines in TABLE_16[name]:
        assert command(player, words) == lines, words


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_out_of_service_starts_nothing_and_offers_nothing(version: str) -> None:
    player = player_of(version)
    command(player, "plug 1")
    command(player, "inoperative 1")

    assert command(player, "swipe TAG-1 1") == []
    assert command(player, "remote start TAG-1 1")[0] == "-> Rejected"
    assert not offers(player, 1)
    assert player.core.transactions == []

    command(player, "operative 1")
    assert player.core.transactions == []  # nothing begins by itself
    command(player, "swipe TAG-1 1")
    assert offers(player, 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_transaction_goes_on_until_it_ends(version: str) -> None:
    player = player_of(version)
    command(player, "plug 1")
    command(player, "swipe TAG-1 1")
    assert command(player, "inoperative 1") == ["-> Scheduled"]
    player.act("wait 360")
    assert offers(player, 1)
    command(player, "swipe TAG-1 1")
    assert not offers(player, 1)
    assert player.core.transactions[0].end_wh == 1100


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_station_out_of_service_takes_no_token(version: str) -> None:
    player = player_of(version)
    command(player, "swipe TAG-1")  # a token comes first, and waits for a cable
    lobby = player.core._visits.lobby
    assert lobby is not None
    command(player, "inoperative")
    assert player.core._visits.lobby is None
    assert command(player, "swipe TAG-1") == []
    assert command(player, "remote start TAG-1")[0] == "-> Rejected"
    assert command(player, "plug 2") == []
    assert player.core.transactions == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["power", "reset", "memory"])
def test_it_outlives_power_loss_and_reset(version: str, how: str) -> None:
    player = player_of(version)
    command(player, "inoperative 1")
    if how == "power":
        player.do(PowerOff())
        said = lines_of(player.do(Accepted()))
    elif how == "reset":
        command(player, "reset Hard" if version == "1.6" else "reset Immediate")
        said = lines_of(restart(player))
    else:
        data = json.loads(json.dumps(remember(player.core, player.now)))
        player = player_of(version, is_started=False)
        recall(player.core, data)
        said = lines_of(player.do(Accepted()))
    assert [line for line in said if line.startswith("status") and "status 0" not in line] == [
        "status 1 Unavailable",
        "status 2 Available",
    ]
    assert command(player, "plug 1") == []
    assert command(player, "swipe TAG-1 1") == []
    expected = "Preparing" if version == "1.6" else "Occupied"
    assert command(player, "operative 1") == ["-> Accepted", f"status 1 {expected}"]


@pytest.mark.parametrize("how", ["power", "memory"])
def test_the_whole_charge_point_stays_out_of_service(how: str) -> None:
    player = player_of("1.6", 1)
    command(player, "inoperative 0")
    if how == "power":
        player.do(PowerOff())
    else:
        data = json.loads(json.dumps(remember(player.core, player.now)))
        player = player_of("1.6", 1, is_started=False)
        recall(player.core, data)
    assert lines_of(player.do(Accepted())) == ["status 0 Unavailable", "status 1 Unavailable"]
    player.do(Offline())
    assert lines_of(player.do(Online())) == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("is_new_process", [False, True])
def test_what_was_scheduled_happens_when_a_power_loss_ends_the_transaction(version: str, is_new_process: bool) -> None:
    player = player_of(version)
    command(player, "plug 1")
    command(player, "swipe TAG-1 1")
    command(player, "inoperative 1")
    if is_new_process:
        data = json.loads(json.dumps(remember(player.core, player.now)))
        player = player_of(version, is_started=False)
        recall(player.core, data)
    else:
        player.do(PowerOff())
    said = lines_of(player.do(Accepted()))
    assert "status 1 Unavailable" in said
    assert command(player, "swipe TAG-1 1") == []


def test_a_transaction_that_outlives_the_power_loss_keeps_its_evse_in_service() -> None:
    player = player_of(
        "2.0.1", 1, variables={"TxCtrlr.TxStartPoint": "EVConnected", "TxCtrlr.TxStopPoint": "EVConnected"}
    )
    command(player, "plug")
    assert command(player, "inoperative 1") == ["-> Scheduled"]
    player.do(PowerOff())
    assert "status 1 Occupied" in lines_of(player.do(Accepted()))
    assert command(player, "unplug")[-1] == "status 1 Unavailable"


def test_memory_of_before_says_nothing_of_it() -> None:
    data = remember(player_of("2.0.1").core, 0.0)
    assert data["availability"] is None
    del data["availability"]
    player = player_of("2.0.1", is_started=False)
    recall(player.core, data)
    assert "status 1 Available" in lines_of(player.do(Accepted()))


def test_an_evse_that_is_out_of_order_from_the_start_can_be_put_in_service() -> None:
    player = Player("2.0.1", [Evse(available=False), Evse()])
    assert command(player, "operative 1") == ["-> Accepted", "status 1 Available"]
    command(player, "plug 1")
    command(player, "swipe TAG-1 1")
    assert offers(player, 1)
    data = json.loads(json.dumps(remember(player.core, player.now)))
    other = Player("2.0.1", [Evse(available=False), Evse()], is_started=False)
    recall(other.core, data)
    assert "status 1 Available" in lines_of(other.do(Accepted()))


def test_what_happens_offline_is_said_afterwards() -> None:
    player = player_of("1.6", 1)
    command(player, "plug 1")
    command(player, "swipe TAG-1")
    command(player, "inoperative 0")
    player.do(Offline())
    command(player, "swipe TAG-1")
    assert lines_of(player.do(Online())) == [
        "stop 1 Local 0 Wh TAG-1 Begin:1 End:1",
        "status 0 Unavailable",
        "status 1 Unavailable",
    ]


@pytest.mark.parametrize("event", [ChangeAvailability(False, -1), ChangeAvailability(False, 1, -1)])
def test_negative_numbers_are_refused(event: ChangeAvailability) -> None:
    player = player_of("2.0.1")
    assert player.core.handle(event, 0.0) == "Rejected"
    assert player.core.availability.dump() is None
