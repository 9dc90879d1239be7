"""Reservations: who is refused and why, which reservation is used, and what comes of it offline and without power."""

from __future__ import annotations

import json
from typing import Any

import pytest
from core_player import Player, Said
from message_lines import lines_of
from reservation_player import CABLE, TOKENS, VERSIONS, act, play, player_of, reserve

from cpsim_kit.station import Evse, Vehicle
from cpsim_kit.station.rules.events import Accepted, ChangeAvailability, PlugIn, PowerOff, Swipe
from cpsim_kit.station.rules.memory import recall, remember

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
    variables = {"TxCtrlr.StopTxOnEVSideDisconnect": False, "TxCtrlr.TxStopPoint": "Authorized"}
    player = Player("2.0.1", [Evse(has_cable=True)], {"TxCtrlr.TxStartPoint": "EVConnected", **variables}, TOKENS)
    play(player, ["plug", "unplug ev"])
    assert player.core.evses[1].transaction is not None
    assert not player.core.evses[1].has_dangling_cable
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
    assert lines_of(said) == ["status 2 Available"]


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
    assert lines_of(said) == (["status 1 Available"] if status == "Accepted" else [])


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


NO_TRANSACTION = "reservation 7 NoTransaction"  # H03.FR.11


def test_a_cable_taken_out_before_any_transaction_is_told() -> None:
    player = player_of("2.1", TxCtrlr__TxStartPoint="EnergyTransfer")
    act(player, "reserve 7 TAG-1 evse 1")
    player.do(PlugIn(Vehicle(soc=1), 1))  # it takes no energy
    play(player, ["swipe TAG-1"])
    assert NO_TRANSACTION in act(player, "unplug")
    assert player.core.transactions == []


@pytest.mark.parametrize("event", [PowerOff(), ChangeAvailability(is_operative=False)])
def test_an_authorization_without_an_evse_that_the_station_ends_is_told(event: PowerOff | ChangeAvailability) -> None:
    player = player_of("2.1", 2)
    play(player, ["reserve 7 TAG-1", "swipe TAG-1"])
    said = player.do(event)
    if isinstance(event, PowerOff):
        said = player.do(Accepted())
    assert NO_TRANSACTION in lines_of(said)


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
    lines = [line for line in lines_of(player.do(Accepted())) if line.startswith(("status 1", "reservation"))]
    assert lines == (["status 1 Reserved"] if seconds == 600 else ["status 1 Available", *EXPIRED[version]])
    act(player, "plug")
    assert act(player, "swipe TAG-9") == (["authorize TAG-9"] if seconds == 600 else lines_of(player.said)[-3:])
    if seconds == 600:
        assert any("reservation 7" in line for line in act(player, "swipe TAG-1B"))


def test_what_was_not_told_before_a_power_loss_is_told_after_it() -> None:
    player = player_of("2.0.1")
    play(player, ["reserve 7 TAG-1 evse 1 for 60", "offline", "wait 60"])
    data = json.loads(json.dumps(remember(player.core, player.now)))
    other = Player("2.0.1", is_started=False)
    recall(other.core, data)
    assert lines_of(other.do(Accepted()))[-1] == "reservation 7 Expired"
