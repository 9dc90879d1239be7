"""Reservations: what is said of a reserved EVSE, and each status of ReserveNow."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from core_player import EPOCH, Player
from reservation_player import CABLE, STARTED_201, TOKENS, VERSIONS, act, play, player_of, reserve

from cpsim_kit.station import Evse
from cpsim_kit.station.rules.reservations import reservations_frame

DC = Evse(50, "DC")

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


@pytest.mark.parametrize(("year", "shown"), [(2100, 2100), (9999, 2262)])
def test_a_reservation_until_the_end_of_time_is_shown_until_the_last_moment_of_a_table(year: int, shown: int) -> None:
    player = player_of("2.0.1")
    seconds = datetime(year, 12, 31, tzinfo=UTC).timestamp() - EPOCH
    assert reserve(player, 7, "TAG-1", 1, seconds=seconds)[0] == "Accepted"
    assert list(reservations_frame(player.core.reservations).expires_at.dt.year) == [shown]


@pytest.mark.parametrize("number", [-(2**70), -1, 2**63 - 1, 2**63, 2**64, 2**70])
def test_a_reservation_has_any_whole_number(number: int) -> None:
    player = player_of("1.6", 2)
    assert reserve(player, 7, "TAG-1", 1)[0] == "Accepted"
    assert reserve(player, number, "TAG-2", 2)[0] == "Accepted"
    assert list(reservations_frame(player.core.reservations).reservation_id) == [7, number]
