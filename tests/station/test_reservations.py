"""Reservations: who is kept an EVSE, who is refused there, and what the CSMS hears of it."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from core_player import EPOCH, Player, Said
from hypothesis import given, settings
from hypothesis import strategies as st
from strict_rules import Reserved, Token
from strict_v16 import RulesV16
from strict_v201 import RulesV201
from told import told

from cpsim_kit.station import Evse
from cpsim_kit.station.authorization import TokenInfo
from cpsim_kit.station.events import Accepted, PowerOff, Swipe
from cpsim_kit.station.memory import recall, remember

VERSIONS = ("1.6", "2.0.1", "2.1")
TOKENS = {
    "TAG-1B": TokenInfo("Accepted", "GROUP"),
    "TAG-1C": TokenInfo("Accepted", "group"),
    "TAG-BLOCKED": TokenInfo("Blocked", "GROUP"),
}
DC = Evse(50, "DC")


def player_of(version: str, evses: int = 1, **variables: object) -> Player:
    names = {name.replace("__", "."): value for name, value in variables.items()}
    return Player(version, [Evse()] * evses, names, TOKENS)


def reserve(
    player: Player,
    number: int,
    token: str,
    evse_id: int | None = None,
    *,
    group: str | None = None,
    seconds: float = 600,
    connector_type: str | None = None,
) -> tuple[str, list[str]]:
    """Let the CSMS reserve; the status, and what was said after it."""
    until = datetime.fromtimestamp(EPOCH + player.now + seconds, UTC).isoformat()
    if player.core.dialect.version.name == "1.6":
        fields: dict[str, Any] = {"reservation_id": number, "id_tag": token, "expiry_date": until}
        fields |= {"connector_id": evse_id or 0, "parent_id_tag": group}
    else:
        fields = {"id": number, "id_token": {"id_token": token, "type": "ISO14443"}, "expiry_date_time": until}
        fields |= {"evse_id": evse_id, "connector_type": connector_type}
        fields |= {} if group is None else {"group_id_token": {"id_token": group, "type": "Central"}}
    answer, said = player.command("ReserveNow", **{name: value for name, value in fields.items() if value is not None})
    return str(answer.status), told(said)


def cancel(player: Player, number: int) -> tuple[str, list[str]]:
    answer, said = player.command("CancelReservation", reservation_id=number)
    return str(answer.status), told(said)


def act(player: Player, words: str) -> list[str]:
    """As ``Player.act``, and "reserve 7 TAG-1 [evse 1] [group G] [for 60]", "cancel 7"; one line for each message."""
    match words.split():
        case ["reserve", number, token, *more]:
            named: dict[str, Any] = dict(zip(more[::2], more[1::2], strict=True))
            evse_id = int(named["evse"]) if "evse" in named else None
            seconds = float(named.get("for", 600))
            status, lines = reserve(player, int(number), token, evse_id, group=named.get("group"), seconds=seconds)
            return [f"-> {status}", *lines]
        case ["cancel", number]:
            status, lines = cancel(player, int(number))
            return [f"-> {status}", *lines]
    return told(player.act(words))


def play(player: Player, acts: list[str]) -> list[str]:
    """Play the acts; what was said at the last one."""
    lines: list[str] = []
    for words in acts:
        lines = act(player, words)
    return lines


STARTED_201 = "Started 0 Authorized EVConnected"
CABLE = "32 A Begin:1"

# What is said at the last act: the acts, for 1.6, and for 2.0.1 and 2.1.
SESSIONS: list[tuple[str, list[str], list[str], list[str]]] = [
    (
        "a reservation is reported",
        ["reserve 7 TAG-1 evse 1"],
        ["-> Accepted", "status 1 Reserved"],
        ["-> Accepted", "status 1 Reserved"],
    ),
    (
        "a vehicle changes nothing",
        ["reserve 7 TAG-1 evse 1", "plug"],
        [],
        [],
    ),
    (
        "it leaves as it came",
        ["reserve 7 TAG-1 evse 1", "plug", "unplug"],
        [],
        [],
    ),
    (
        "another token is refused without a question",
        ["reserve 7 TAG-1 evse 1", "plug", "swipe TAG-9"],
        [],
        [],
    ),
    (
        "the reserving token charges",
        ["reserve 7 TAG-1 evse 1", "plug", "swipe TAG-1"],
        [
            *("authorize TAG-1", "status 1 Preparing", "start 1 TAG-1 0 Wh reservation 7"),
            *("status 1 Charging",),
        ],
        [
            *("authorize TAG-1", "status 1 Occupied"),
            f"{STARTED_201} TAG-1 reservation 7 evse 1 {CABLE}",
            "Updated 1 ChargingStateChanged Charging 3 phases",
        ],
    ),
    (
        "the token before the vehicle",
        ["reserve 7 TAG-1 evse 1", "swipe TAG-1"],
        ["authorize TAG-1", "status 1 Preparing"],
        ["authorize TAG-1", "status 1 Available"],
    ),
    (
        "and the vehicle then",
        ["reserve 7 TAG-1 evse 1", "swipe TAG-1", "plug"],
        ["start 1 TAG-1 0 Wh reservation 7", "status 1 Charging"],
        [
            "status 1 Occupied",
            f"Started 0 CablePluggedIn EVConnected TAG-1 reservation 7 evse 1 {CABLE}",
            "Updated 1 ChargingStateChanged Charging 3 phases",
        ],
    ),
    (
        "one of the group charges",
        ["reserve 7 TAG-1 evse 1 group GROUP", "plug", "swipe TAG-1B"],
        ["authorize TAG-1B", "status 1 Preparing", "start 1 TAG-1B 0 Wh reservation 7", "status 1 Charging"],
        [
            *("authorize TAG-1B", "status 1 Occupied"),
            f"{STARTED_201} TAG-1B reservation 7 evse 1 {CABLE}",
            "Updated 1 ChargingStateChanged Charging 3 phases",
        ],
    ),
    (
        "one of no group is refused when the CSMS has said so",
        ["reserve 7 TAG-1 evse 1 group GROUP", "plug", "swipe TAG-9"],
        ["authorize TAG-9"],
        ["authorize TAG-9"],
    ),
    (
        "a refused token of the group is refused",
        ["reserve 7 TAG-1 evse 1 group GROUP", "plug", "swipe TAG-BLOCKED"],
        ["authorize TAG-BLOCKED"],
        ["authorize TAG-BLOCKED"],
    ),
    (
        "a reservation that the CSMS cancels",
        ["reserve 7 TAG-1 evse 1", "cancel 7"],
        ["-> Accepted", "status 1 Available"],
        ["-> Accepted", "status 1 Available"],
    ),
    (
        "it is free for others then",
        ["reserve 7 TAG-1 evse 1", "plug", "cancel 7"],
        ["-> Accepted", "status 1 Preparing"],
        ["-> Accepted", "status 1 Occupied"],
    ),
    ("nobody knows it", ["cancel 7"], ["-> Rejected"], ["-> Rejected"]),
    (
        "nobody knows it any more",
        ["reserve 7 TAG-1 evse 1", "swipe TAG-1", "cancel 7"],
        ["-> Rejected"],
        ["-> Rejected"],
    ),
    (
        "it expires",
        ["reserve 7 TAG-1 evse 1 for 60", "wait 60"],
        ["status 1 Available"],
        ["status 1 Available", "reservation 7 Expired"],
    ),
    ("it does not expire before", ["reserve 7 TAG-1 evse 1 for 60", "wait 59"], [], []),
    ("it does not expire twice", ["reserve 7 TAG-1 evse 1 for 60", "wait 60", "wait 600"], [], []),
    ("it does not expire when it is used", ["reserve 7 TAG-1 evse 1 for 60", "swipe TAG-1", "wait 59"], [], []),
    (
        "it expires while a vehicle waits",
        ["reserve 7 TAG-1 evse 1 for 60", "plug", "wait 60"],
        ["status 1 Preparing"],
        ["status 1 Occupied", "reservation 7 Expired"],
    ),
    (
        "that vehicle waits for a token as any other",
        ["reserve 7 TAG-1 evse 1 for 100", "plug", "wait 100", "wait 60"],
        ["status 1 Finishing"],
        [],
    ),
    (
        "a fault ends it",
        ["reserve 7 TAG-1 evse 1", "fault GroundFault"],
        ["status 1 Faulted GroundFailure"],
        ["status 1 Faulted", "reservation 7 Removed"],
    ),
    (
        "it does not come back",
        ["reserve 7 TAG-1 evse 1", "fault GroundFault", "clear fault"],
        ["status 1 Available"],
        ["status 1 Available"],
    ),
    (
        "the same id again replaces it",
        ["reserve 7 TAG-1 evse 1", "reserve 7 TAG-2 evse 1", "swipe TAG-1"],
        [],
        [],
    ),
    (
        "it is the new one's then",
        ["reserve 7 TAG-1 evse 1 for 60", "reserve 7 TAG-2 evse 1 for 90", "wait 70", "swipe TAG-2"],
        ["authorize TAG-2", "status 1 Preparing"],
        ["authorize TAG-2", "status 1 Available"],
    ),
    (
        "a remote start with another token",
        ["reserve 7 TAG-1 evse 1", "remote start TAG-9 1"],
        ["-> Rejected"],
        ["-> Rejected"],
    ),
    (
        "a remote start with the reserving token",
        ["reserve 7 TAG-1 evse 1", "plug", "remote start TAG-1 1"],
        ["-> Accepted", "status 1 Preparing", "start 1 TAG-1 0 Wh reservation 7", "status 1 Charging"],
        [
            *("-> Accepted", "status 1 Occupied"),
            f"Started 0 RemoteStart EVConnected remote 5 TAG-1 reservation 7 evse 1 {CABLE}",
            "Updated 1 ChargingStateChanged Charging 3 phases",
        ],
    ),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("acts", "lines_16", "lines_201"), [case[1:] for case in SESSIONS], ids=[case[0] for case in SESSIONS]
)
def test_what_is_said_of_a_reserved_evse(
    acts: list[str], lines_16: list[str], lines_201: list[str], version: str
) -> None:
    assert play(player_of(version), acts) == (lines_16 if version == "1.6" else lines_201)


# -- Statuses of ReserveNow -------------------------------------------------------------------------------------------

STATUSES: list[tuple[int, list[str], str]] = [
    (1, ["reserve 7 TAG-1 evse 1"], "Accepted"),
    (1, ["reserve 7 TAG-1"], "Accepted"),
    (1, ["reserve 6 TAG-1 evse 1", "reserve 7 TAG-2 evse 1"], "Occupied"),
    (1, ["reserve 6 TAG-1 evse 1", "reserve 7 TAG-1 evse 1"], "Occupied"),
    (1, ["reserve 6 TAG-1 evse 1", "reserve 7 TAG-2"], "Occupied"),
    (1, ["reserve 6 TAG-1", "reserve 7 TAG-2 evse 1"], "Occupied"),
    (1, ["plug", "reserve 7 TAG-1 evse 1"], "Occupied"),
    (1, ["swipe TAG-9", "reserve 7 TAG-1 evse 1"], "Occupied"),
    (1, ["plug", "swipe TAG-9", "reserve 7 TAG-1 evse 1"], "Occupied"),
    (1, ["plug", "unplug ev", "reserve 7 TAG-1 evse 1"], "Occupied"),  # the cable hangs there
    (1, ["fault GroundFault", "reserve 7 TAG-1 evse 1"], "Faulted"),
    (1, ["fault GroundFault", "reserve 7 TAG-1"], "Faulted"),
    (1, ["reserve 7 TAG-1 evse 9"], "Rejected"),
    (1, ["reserve 7 TAG-1 evse 1 for 0"], "Rejected"),
    (1, ["reserve 7 TAG-1 evse 1 for -60"], "Rejected"),
    (1, ["reserve 6 TAG-1 evse 1", "cancel 6", "reserve 7 TAG-2 evse 1"], "Accepted"),
    (1, ["reserve 7 TAG-1 evse 1", "plug", "reserve 7 TAG-1 evse 1 for 900"], "Accepted"),
    (1, ["reserve 7 TAG-1 evse 1", "plug", "reserve 8 TAG-2 evse 1"], "Occupied"),
    (2, ["reserve 6 TAG-1", "reserve 7 TAG-2"], "Accepted"),
    (2, ["reserve 5 TAG-1", "reserve 6 TAG-2", "reserve 7 TAG-3"], "Occupied"),
    (2, ["reserve 5 TAG-1", "reserve 6 TAG-2 evse 2", "reserve 7 TAG-3 evse 1"], "Occupied"),
    (2, ["reserve 6 TAG-1 evse 2", "reserve 7 TAG-2"], "Accepted"),
    (2, ["reserve 6 TAG-1", "reserve 7 TAG-2 evse 1"], "Accepted"),
    (2, ["plug 1", "reserve 7 TAG-2 evse 1"], "Occupied"),
    (2, ["plug 1", "reserve 7 TAG-2"], "Accepted"),
    (2, ["plug 1", "plug 2", "reserve 7 TAG-2"], "Occupied"),
    (2, ["plug 1", "fault GroundFault 2", "reserve 7 TAG-2"], "Occupied"),
    (2, ["fault GroundFault 2", "reserve 6 TAG-1 evse 2"], "Faulted"),
    (2, ["reserve 7 TAG-1 evse 1", "plug 2", "reserve 7 TAG-1 evse 2"], "Occupied"),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("evses", "acts", "status"), STATUSES, ids=["; ".join(case[1]) for case in STATUSES])
def test_the_status_of_a_reservation(evses: int, acts: list[str], status: str, version: str) -> None:
    assert play(player_of(version, evses), acts)[0] == f"-> {status}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("evse_id", [1, None])
def test_a_station_that_is_out_of_service_is_unavailable(version: str, evse_id: int | None) -> None:
    player = Player(version, [Evse(available=False)])
    assert reserve(player, 7, "TAG-1", evse_id) == ("Unavailable", [])


def test_a_replacement_that_is_refused_leaves_the_old_one() -> None:
    player = player_of("2.0.1", 2)
    play(player, ["reserve 7 TAG-1 evse 1", "plug 2", "reserve 7 TAG-2 evse 2"])
    assert play(player, ["cancel 7"]) == ["-> Accepted", "status 1 Available"]


@pytest.mark.parametrize("evse_id", [1, None])
def test_a_station_that_takes_no_reservations_rejects_them(evse_id: int | None) -> None:
    player = player_of("2.0.1", ReservationCtrlr__Enabled=False)
    assert reserve(player, 7, "TAG-1", evse_id) == ("Rejected", [])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_station_that_takes_none_for_any_evse_rejects_those_only(version: str) -> None:
    name = "ReserveConnectorZeroSupported" if version == "1.6" else "ReservationCtrlr.NonEvseSpecific"
    player = Player(version, variables={name: False})
    assert reserve(player, 7, "TAG-1") == ("Rejected", [])
    assert reserve(player, 7, "TAG-1", 1) == ("Accepted", ["status 1 Reserved"])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_station_that_was_not_accepted_takes_none(version: str) -> None:
    assert reserve(Player(version, is_started=False), 7, "TAG-1", 1) == ("Rejected", [])


@pytest.mark.parametrize(
    ("connector_type", "status", "lines"),
    [
        ("cCCS2", "Accepted", ["status 2 Reserved"]),
        ("sType2", "Accepted", ["status 1 Reserved"]),
        ("cType2", "Rejected", []),
        ("Undetermined", "Rejected", []),
    ],
)
@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
def test_a_type_of_connector_is_reserved(connector_type: str, status: str, lines: list[str], version: str) -> None:
    player = Player(version, [Evse(), DC])
    assert reserve(player, 7, "TAG-1", connector_type=connector_type) == (status, lines)


def test_of_two_connectors_of_a_type_the_last_one_is_kept() -> None:
    player = Player("2.0.1", [Evse(), DC, DC], tokens=TOKENS)
    assert reserve(player, 7, "TAG-1", connector_type="cCCS2") == ("Accepted", [])
    assert act(player, "plug 1") == ["status 1 Occupied"]  # of another type
    assert act(player, "plug 2") == ["status 2 Occupied", "status 3 Reserved"]
    assert act(player, "swipe TAG-9 3") == []
    assert act(player, "swipe TAG-1 2")[:3] == [
        "authorize TAG-1",
        f"{STARTED_201} TAG-1 reservation 7 evse 2 Begin:1",
        "Updated 1 ChargingStateChanged Charging",
    ]
    assert player.core.evses[3].reported_status == "Available"


def test_a_type_reserved_as_often_as_there_are_connectors_is_reserved_everywhere() -> None:
    player = Player("2.0.1", [Evse(), DC, DC])
    assert reserve(player, 7, "TAG-1", connector_type="cCCS2") == ("Accepted", [])
    assert reserve(player, 8, "TAG-2", connector_type="cCCS2")[1] == ["status 2 Reserved", "status 3 Reserved"]
    assert reserve(player, 9, "TAG-3", connector_type="cCCS2") == ("Occupied", [])
    assert reserve(player, 9, "TAG-3", connector_type="sType2") == ("Accepted", ["status 1 Reserved"])


# -- Any EVSE ---------------------------------------------------------------------------------------------------------

ANY: list[tuple[str, list[str], list[str], list[str]]] = [
    ("with two free ones nothing changes", ["reserve 7 TAG-1"], ["-> Accepted"], ["-> Accepted"]),
    (
        "two reservations take both",
        ["reserve 7 TAG-1", "reserve 8 TAG-2"],
        ["-> Accepted", "status 1 Reserved", "status 2 Reserved"],
        ["-> Accepted", "status 1 Reserved", "status 2 Reserved"],
    ),
    (
        "the last free one is kept",
        ["reserve 7 TAG-1", "plug 1"],
        ["status 1 Preparing", "status 2 Reserved"],
        ["status 1 Occupied", "status 2 Reserved"],
    ),
    ("others are refused there", ["reserve 7 TAG-1", "plug 1", "plug 2", "swipe TAG-9 2"], [], []),
    (
        "others may charge at the first one",
        ["reserve 7 TAG-1", "plug 1", "swipe TAG-9 1"],
        ["authorize TAG-9", "start 1 TAG-9 0 Wh", "status 1 Charging"],
        [
            "authorize TAG-9",
            f"{STARTED_201} TAG-9 evse 1 {CABLE}",
            "Updated 1 ChargingStateChanged Charging 3 phases",
        ],
    ),
    (
        "it is free again when the first one is",
        ["reserve 7 TAG-1", "plug 1", "unplug 1"],
        ["status 1 Available", "status 2 Available"],
        ["status 1 Available", "status 2 Available"],
    ),
    (
        "it is used at the first one",
        ["reserve 7 TAG-1", "plug 1", "swipe TAG-1 1"],
        ["authorize TAG-1", "start 1 TAG-1 0 Wh reservation 7", "status 1 Charging", "status 2 Available"],
        [
            "authorize TAG-1",
            f"{STARTED_201} TAG-1 reservation 7 evse 1 {CABLE}",
            "Updated 1 ChargingStateChanged Charging 3 phases",
            "status 2 Available",
        ],
    ),
    (
        "or at the kept one",
        ["reserve 7 TAG-1", "plug 1", "plug 2", "swipe TAG-1 2"],
        ["authorize TAG-1", "status 2 Preparing", "start 2 TAG-1 0 Wh reservation 7", "status 2 Charging"],
        [
            *("authorize TAG-1", "status 2 Occupied"),
            f"{STARTED_201} TAG-1 reservation 7 evse 2 {CABLE}",
            "Updated 1 ChargingStateChanged Charging 3 phases",
        ],
    ),
    (
        "with no EVSE named the reserved one is meant",
        ["reserve 7 TAG-1 evse 2", "swipe TAG-1"],
        ["authorize TAG-1", "status 2 Preparing"],
        ["authorize TAG-1", "status 2 Available"],
    ),
    (
        "also for one of the group",
        ["reserve 7 TAG-1 evse 2 group GROUP", "swipe TAG-1B"],
        ["authorize TAG-1B", "status 2 Preparing"],
        ["authorize TAG-1B", "status 2 Available"],
    ),
    (
        "another token goes to the other one",
        ["reserve 7 TAG-1 evse 2", "swipe TAG-9", "plug 1"],
        ["status 1 Preparing", "start 1 TAG-9 0 Wh", "status 1 Charging"],
        [
            "status 1 Occupied",
            f"Started 0 CablePluggedIn EVConnected TAG-9 evse 1 {CABLE}",
            "Updated 1 ChargingStateChanged Charging 3 phases",
        ],
    ),
    ("and not to the reserved one", ["reserve 7 TAG-1 evse 2", "swipe TAG-9", "plug 2"], [], []),
    (
        "also where another vehicle waits",
        ["reserve 7 TAG-1 evse 2", "plug 1", "swipe TAG-1"],
        ["authorize TAG-1", "status 2 Preparing"],
        ["authorize TAG-1", "status 2 Available"],
    ),
    (
        "one that came after the token is used, too",
        ["swipe TAG-1", "reserve 7 TAG-1 evse 1", "plug 1"],
        ["status 1 Preparing", "start 1 TAG-1 0 Wh reservation 7", "status 1 Charging"],
        [
            "status 1 Occupied",
            f"Started 0 CablePluggedIn EVConnected TAG-1 reservation 7 evse 1 {CABLE}",
            "Updated 1 ChargingStateChanged Charging 3 phases",
        ],
    ),
    ("all are reserved", ["reserve 7 TAG-1", "reserve 8 TAG-2", "swipe TAG-9"], [], []),
    (
        "any of them is for the one who comes",
        ["reserve 7 TAG-1", "reserve 8 TAG-2", "swipe TAG-1"],
        ["authorize TAG-1", "status 1 Available", "status 2 Available"],
        ["authorize TAG-1", "status 1 Available", "status 2 Available"],
    ),
    (
        "a fault at the kept one moves it",
        ["reserve 7 TAG-1", "fault GroundFault 1"],
        ["status 1 Faulted GroundFailure", "status 2 Reserved"],
        ["status 1 Faulted", "status 2 Reserved"],
    ),
    (
        "a fault at the last one ends it",
        ["reserve 7 TAG-1", "plug 1", "fault GroundFault 2"],
        ["status 2 Faulted GroundFailure"],
        ["status 2 Faulted", "reservation 7 Removed"],
    ),
    (
        "a fault ends the newest one of two",
        ["reserve 7 TAG-1", "reserve 8 TAG-2", "fault GroundFault 1", "cancel 7"],
        ["-> Accepted", "status 2 Available"],
        ["-> Accepted", "status 2 Available"],
    ),
    (
        "one who reserved an EVSE may not take that of another one",
        ["reserve 7 TAG-1", "reserve 8 TAG-2 evse 1", "plug 1", "swipe TAG-1 1"],
        [],
        [],
    ),
    (
        "a remote start finds the reserved one",
        ["reserve 7 TAG-1 evse 2", "remote start TAG-1"],
        ["-> Accepted", "status 2 Preparing"],
        ["-> Accepted", "status 2 Available"],
    ),
    (
        "a remote start of another token finds the other one",
        ["reserve 7 TAG-1 evse 1", "plug 1", "plug 2", "remote start TAG-9"],
        ["-> Accepted", "start 2 TAG-9 0 Wh", "status 2 Charging"],
        [
            "-> Accepted",
            f"Started 0 RemoteStart EVConnected remote 5 TAG-9 evse 2 {CABLE}",
            "Updated 1 ChargingStateChanged Charging 3 phases",
        ],
    ),
    (
        "a remote start finds none",
        ["reserve 7 TAG-1", "reserve 8 TAG-2", "remote start TAG-9"],
        ["-> Rejected"],
        ["-> Rejected"],
    ),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("acts", "lines_16", "lines_201"), [case[1:] for case in ANY], ids=[case[0] for case in ANY])
def test_a_reservation_of_any_of_two_evses(
    acts: list[str], lines_16: list[str], lines_201: list[str], version: str
) -> None:
    assert play(player_of(version, 2), acts) == (lines_16 if version == "1.6" else lines_201)


# -- Who is refused, and why ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("acts", "reason"),
    [
        (["reserve 7 TAG-1 evse 1"], "EVSE 1 is reserved"),
        (["reserve 7 TAG-1 evse 1 group GROUP"], "EVSE 1 is reserved"),
        (["reserve 7 TAG-1 evse 1", "offline"], "EVSE 1 is reserved"),
    ],
)
def test_who_presents_a_token_reads_why_it_is_refused(acts: list[str], reason: str, version: str) -> None:
    player = player_of(version)
    play(player, [*acts, "plug"])
    swipe = Swipe(player.core.dialect.token("TAG-9", "ISO14443"))
    player.do(swipe)
    assert swipe.result is not None
    assert (swipe.result.effect, swipe.result.reason) == ("refused", reason)
    session = player.core.evses[1].session
    assert session is not None
    assert session.refused == reason
    assert player.core.evses[1].offered_kw == 0


def test_where_all_are_reserved_the_reason_says_so() -> None:
    player = player_of("2.0.1", 2)
    play(player, ["reserve 7 TAG-1", "reserve 8 TAG-2"])
    swipe = Swipe(player.core.dialect.token("TAG-9", "ISO14443"))
    assert player.do(swipe) == []
    assert swipe.result is not None
    assert swipe.result.reason == "each free EVSE is reserved"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_known_token_of_the_group_needs_no_question_where_the_variables_say_so(version: str) -> None:
    name = "LocalPreAuthorize" if version == "1.6" else "AuthCtrlr.LocalPreAuthorize"
    player = Player(version, variables={name: True}, tokens=TOKENS)
    play(player, ["plug", "swipe TAG-1B", "swipe TAG-1B", "unplug"])  # the cache knows its group
    lines = play(player, ["reserve 7 TAG-1 evse 1 group GROUP", "plug", "swipe TAG-1B"])
    assert "authorize TAG-1B" not in lines
    assert any(line.startswith(("start", "Started")) and "reservation 7" in line for line in lines)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reservation_that_came_while_the_csms_looked_at_a_token_counts(version: str) -> None:
    player = player_of(version)
    usual = player.answer
    statuses = []

    def answer(message: Any, said: Said) -> Any:
        if said[0] == "Authorize":
            statuses.append(reserve_quietly(player, 7, "TAG-1"))
        return usual(message, said)

    player.answers = answer
    assert act(player, "swipe TAG-9") == ["authorize TAG-9", "status 1 Reserved"]
    assert statuses == ["Accepted"]
    assert player.core.evses[1].authorization is None


def reserve_quietly(player: Player, number: int, token: str) -> str:
    """Reserve EVSE 1 while a message has no answer yet."""
    drain, player.drain = player.drain, lambda: None  # type: ignore[method-assign]
    try:
        return reserve(player, number, token, 1)[0]
    finally:
        player.drain = drain  # type: ignore[method-assign]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reservation_that_came_while_the_csms_looked_at_a_remote_start_counts(version: str) -> None:
    name = "AuthorizeRemoteTxRequests" if version == "1.6" else "AuthCtrlr.AuthorizeRemoteStart"
    player = player_of(version, **{name.replace(".", "__"): True})
    usual = player.answer

    def answer(message: Any, said: Said) -> Any:
        if said[0] == "Authorize":
            reserve_quietly(player, 7, "TAG-1")
        return usual(message, said)

    player.answers = answer
    assert act(player, "remote start TAG-9 1") == ["-> Accepted", "authorize TAG-9", "status 1 Reserved"]
    assert player.core.evses[1].authorization is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("acts", "used"),
    [
        (["reserve 7 TAG-1B group GROUP", "reserve 8 TAG-1C", "swipe TAG-1C 1"], 8),
        (["reserve 8 TAG-1C", "reserve 7 TAG-1B group GROUP", "swipe TAG-1C 1"], 8),
        (["reserve 7 TAG-1B group GROUP", "reserve 8 TAG-9", "swipe TAG-1C 1"], 7),
        (["reserve 7 TAG-1", "reserve 8 TAG-1 evse 1", "swipe TAG-1 1"], 8),
        (["reserve 7 TAG-1", "reserve 8 TAG-1 evse 2", "swipe TAG-1 1"], 7),
    ],
)
def test_of_several_reservations_the_token_uses_its_own_and_that_for_this_evse(
    acts: list[str], used: int, version: str
) -> None:
    player = player_of(version, 2)
    play(player, acts)
    assert any(f"reservation {used}" in line for line in act(player, "plug 1"))


def test_a_transaction_without_a_vehicle_occupies_an_evse() -> None:
    player = player_of("2.0.1", TxCtrlr__TxStartPoint="EVConnected", TxCtrlr__TxStopPoint="Authorized")
    play(player, ["plug", "unplug"])
    assert player.core.evses[1].transaction is not None
    assert act(player, "reserve 7 TAG-1 evse 1") == ["-> Occupied"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_remote_start_takes_the_evse_of_its_own_token_before_that_of_its_group(order: int) -> None:
    player = player_of("2.0.1", 2)
    play(player, ["reserve 7 TAG-9 evse 1 group GROUP", "reserve 8 TAG-1B evse 2"][::order])
    _, said = player.command(
        "RequestStartTransaction",
        id_token={"id_token": "TAG-1B", "type": "ISO14443"},
        group_id_token={"id_token": "GROUP", "type": "Central"},
        remote_start_id=5,
    )
    assert told(said) == ["status 2 Available"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("token", "evses", "place", "is_charging"),
    [
        ("TAG-1B", 1, 1, True),
        ("TAG-1B", 1, None, True),
        ("TAG-1B", 2, None, True),
        ("TAG-9", 1, 1, False),
        ("TAG-BLOCKED", 1, 1, False),
    ],
)
def test_where_a_remote_start_is_checked_first_the_answer_tells_the_group(
    token: str, evses: int, place: int | None, is_charging: bool, version: str
) -> None:
    name = "AuthorizeRemoteTxRequests" if version == "1.6" else "AuthCtrlr__AuthorizeRemoteStart"
    player = player_of(version, evses, **{name: True})
    play(player, ["reserve 7 TAG-1 evse 1 group GROUP", *(["fault GroundFault 2"] if evses == 2 else []), "plug 1"])
    where = "" if place is None else f" {place}"
    lines = act(player, f"remote start {token}{where}")
    assert lines[:2] == ["-> Accepted", f"authorize {token}"]
    assert any("reservation 7" in line for line in lines) is is_charging
    assert (player.core.evses[1].charging_state == "Charging") is is_charging


@pytest.mark.parametrize("version", VERSIONS)
def test_else_a_remote_start_is_rejected_where_its_group_is_not_known(version: str) -> None:
    acts = ["reserve 7 TAG-1 evse 1 group GROUP", "remote start TAG-1B 1"]
    assert play(player_of(version), acts) == ["-> Rejected"]
    known = ["plug", "swipe TAG-1B", "swipe TAG-1B", "unplug"]
    assert play(player_of(version), [*known, *acts])[0] == "-> Accepted"


@pytest.mark.parametrize(("group", "status"), [("GROUP", "Accepted"), ("group", "Accepted"), ("OTHER", "Rejected")])
def test_a_remote_start_with_the_group_of_the_reservation(group: str, status: str) -> None:
    player = player_of("2.0.1")
    act(player, "reserve 7 TAG-1 evse 1 group GROUP")
    answer, said = player.command(
        "RequestStartTransaction",
        id_token={"id_token": "TAG-9", "type": "ISO14443"},
        group_id_token={"id_token": group, "type": "Central"},
        remote_start_id=5,
        evse_id=1,
    )
    assert answer.status == status
    assert told(said) == (["status 1 Available"] if status == "Accepted" else [])


# -- Start points, and reservations that come to nothing --------------------------------------------------------------


def test_a_transaction_that_starts_with_the_cable_says_the_reservation_with_the_token() -> None:
    player = player_of("2.0.1", TxCtrlr__TxStartPoint="EVConnected")
    lines = [play(player, [words]) for words in ("reserve 7 TAG-1 evse 1", "plug", "swipe TAG-9", "swipe TAG-1")]
    assert lines[1:] == [
        [f"Started 0 CablePluggedIn EVConnected evse 1 {CABLE}"],
        [],
        [
            *("authorize TAG-1", "status 1 Occupied", "Updated 1 Authorized TAG-1 reservation 7"),
            "Updated 2 ChargingStateChanged Charging 3 phases",
        ],
    ]
    said = [payload for action, payload in player.said if "reservationId" in payload and action == "TransactionEvent"]
    assert len(said) == 1


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        ("1.6", ["status 1 Available"]),
        ("2.0.1", []),
        ("2.1", ["reservation 7 NoTransaction"]),
    ],
)
@pytest.mark.parametrize("end", ["wait 60", "swipe TAG-1"])
def test_a_reservation_of_which_no_transaction_came(version: str, lines: list[str], end: str) -> None:
    assert play(player_of(version), ["reserve 7 TAG-1 evse 1", "swipe TAG-1", end]) == lines


# -- Without a connection, and without power --------------------------------------------------------------------------

EXPIRED = {"1.6": [], "2.0.1": ["reservation 7 Expired"], "2.1": ["reservation 7 Expired"]}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_ended_offline_is_told_afterwards(version: str) -> None:
    player = player_of(version)
    assert play(player, ["reserve 7 TAG-1 evse 1 for 60", "offline", "wait 60"]) == []
    assert act(player, "online") == ["status 1 Available", *EXPIRED[version]]
    assert play(player, ["offline", "online"]) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_the_reserving_token_charges_offline_if_it_is_known(version: str) -> None:
    player = player_of(version)
    play(player, ["plug", "swipe TAG-1", "swipe TAG-1", "unplug"])
    lines = play(player, ["reserve 7 TAG-1 evse 1", "offline", "plug", "swipe TAG-1", "online"])
    assert any(line.startswith(("start", "Started")) and "reservation 7" in line for line in lines), lines


def test_an_end_whose_message_was_lost_is_told_again() -> None:
    player = player_of("2.0.1")
    act(player, "reserve 7 TAG-1 evse 1")
    drain, player.drain = player.drain, lambda: None  # type: ignore[method-assign]
    player.act("fault GroundFault")  # nothing is sent
    player.act("offline")
    player.drain = drain  # type: ignore[method-assign]
    assert act(player, "online") == ["status 1 Faulted", "reservation 7 Removed"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("is_new_process", [False, True])
@pytest.mark.parametrize("seconds", [600, 60])
def test_a_reservation_outlives_a_power_loss(version: str, is_new_process: bool, seconds: float) -> None:
    player = player_of(version)
    reserve(player, 7, "TAG-1", 1, group="GROUP", seconds=seconds)
    player.do(PowerOff())
    player.wait(100)
    if is_new_process:
        data = json.loads(json.dumps(remember(player.core, player.now)))
        now = player.now
        player = Player(version, tokens=TOKENS, is_started=False)
        recall(player.core, data)
        player.wait(now)
    lines = [line for line in told(player.do(Accepted())) if line.startswith(("status 1", "reservation"))]
    assert lines == (["status 1 Reserved"] if seconds == 600 else ["status 1 Available", *EXPIRED[version]])
    act(player, "plug")
    assert act(player, "swipe TAG-9") == (["authorize TAG-9"] if seconds == 600 else told(player.said)[-3:])
    if seconds == 600:
        assert any("reservation 7" in line for line in act(player, "swipe TAG-1B"))


def test_what_was_not_told_before_a_power_loss_is_told_after_it() -> None:
    player = player_of("2.0.1")
    play(player, ["reserve 7 TAG-1 evse 1 for 60", "offline", "wait 60"])
    data = json.loads(json.dumps(remember(player.core, player.now)))
    other = Player("2.0.1", is_started=False)
    recall(other.core, data)
    assert told(other.do(Accepted()))[-1] == "reservation 7 Expired"


# -- Any acts ---------------------------------------------------------------------------------------------------------

ACTS = [
    *("plug 1", "plug 2", "plug 3", "unplug 1", "unplug 2", "unplug 3"),
    *("swipe TAG-1", "swipe TAG-2 2", "swipe TAG-5 1", "swipe TAG-8 1", "swipe TAG-9 3", "swipe TAG-1B 3"),
    *("reserve 1 TAG-1", "reserve 2 TAG-2 evse 2", "reserve 3 TAG-3", "reserve 4 TAG-1 group GROUP for 100"),
    *("reserve 5 TAG-5 evse 1", "cancel 1", "cancel 2", "cancel 3"),
    *("fault GroundFault 1", "fault GroundFault 2", "clear fault", "wait 30", "wait 120", "remote start TAG-7"),
    *("remote start TAG-1 2",),
]


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=150)
@given(acts=st.lists(st.sampled_from(ACTS), max_size=25))
def test_any_acts_keep_an_evse_for_each_reservation_and_break_no_rule(version: str, acts: list[str]) -> None:
    player = Player(version, [Evse()] * 3, tokens=TOKENS, is_started=False)
    rules = strict_rules(player)
    core = player.core
    for words in acts:
        with contextlib.suppress(ValueError, IndexError):
            act_by_the_rules(player, rules, words)
        open_to_all = [
            each.id
            for each in core.evses.values()
            if each.is_usable and each.authorization is None and (each.vehicle is None or each.is_reserved)
        ]
        waiting = core.reservations.all()
        assert len(waiting) <= len(open_to_all), words
        assert all(each.until > EPOCH + player.now for each in waiting)
        for evse in core.evses.values():
            assert not (evse.is_reserved and (evse.authorization is not None or not evse.is_usable))
            assert evse.reported_status == core.dialect.connector_status(evse)
        if not waiting:
            assert not any(each.is_reserved for each in core.evses.values())
    used = [
        payload["reservationId"]
        for action, payload in player.said
        if action in ("StartTransaction", "TransactionEvent") and "reservationId" in payload
    ]
    ended = [payload["reservationId"] for action, payload in player.said if action == "ReservationStatusUpdate"]
    made = sum(1 for words in acts if words.startswith("reserve"))
    assert len(used) + len(ended) <= made


def strict_rules(player: Player) -> RulesV16 | RulesV201:
    """Let the rules of the strict CSMS judge each message."""
    version = player.core.dialect.version
    groups = {name: Token(info.status, info.group.upper() or None) for name, info in TOKENS.items()}
    rules: RulesV16 | RulesV201 = RulesV201("CP1", lambda name: groups.get(name, Token()), {}, remote_start_ids={5})
    if version.name == "1.6":
        rules = RulesV16("CP1", lambda name: groups.get(name, Token()), {})
    rules.check("BootNotification", {})
    usual = player.answer

    def judge(message: Any, said: Said) -> Any:
        action, payload = said
        broken = rules.check(action, version.request(action).read(payload))
        assert not broken, (broken, player.said[-6:])
        return usual(message, said)

    player.answers = judge
    player.do(Accepted())
    return rules


def act_by_the_rules(player: Player, rules: RulesV16 | RulesV201, words: str) -> None:
    """Do it, and let the rules know of reservations that are accepted."""
    verb, *rest = words.split()
    before = dict(rules.reservations)
    if verb == "reserve":
        named = dict(zip(rest[2::2], rest[3::2], strict=True))
        until = datetime.fromtimestamp(EPOCH + player.now + float(named.get("for", 600)), UTC)
        place = int(named["evse"]) if "evse" in named else None
        rules.reservation_ids.add(int(rest[0]))
        rules.reservations[int(rest[0])] = Reserved(place, rest[1], named.get("group"), until)
    lines = act(player, words)
    if verb == "reserve" and lines[0] != "-> Accepted":
        rules.reservations = before
    elif verb == "cancel" and lines[0] == "-> Accepted":
        rules.reservations.pop(int(rest[0]), None)
