"""Remote start and stop: each refusal, what is ignored, and groups. Whole sessions are in test_situations."""

from __future__ import annotations

from typing import Any

import pytest
from core_player import Player
from message_lines import lines_of

from cpsim_kit.station import Evse
from cpsim_kit.station.rules.authorization import TokenInfo

VERSIONS = ("1.6", "2.0.1", "2.1")
TOKENS = {
    "TAG-1": TokenInfo("Accepted", "GROUP"),
    "TAG-1B": TokenInfo("Accepted", "GROUP"),
    "TAG-BLOCKED": TokenInfo("Blocked", "GROUP"),
    "TAG-UNKNOWN": TokenInfo("Invalid"),
}
PROFILE_16 = {
    "charging_profile_id": 1,
    "stack_level": 0,
    "charging_profile_purpose": "TxProfile",
    "charging_profile_kind": "Relative",
    "charging_schedule": {
        "charging_rate_unit": "W",
        "charging_schedule_period": [{"start_period": 0, "limit": 1000}],
    },
}
PROFILE_201 = {
    "id": 1,
    "stack_level": 0,
    "charging_profile_purpose": "TxProfile",
    "charging_profile_kind": "Relative",
    "charging_schedule": [
        {"id": 1, "charging_rate_unit": "W", "charging_schedule_period": [{"start_period": 0, "limit": 1000}]}
    ],
}


def remote_start(player: Player, token: str = "TAG-9", place: int | None = None, **more: Any) -> tuple[Any, list[str]]:
    """Let the CSMS ask for a start; the answer, and what was said after it."""
    if player.core.dialect.version.name == "1.6":
        fields: dict[str, Any] = {"id_tag": token} | ({} if place is None else {"connector_id": place})
        answer, said = player.command("RemoteStartTransaction", **fields, **more)
    else:
        fields = {"id_token": {"id_token": token, "type": "ISO14443"}, "remote_start_id": 5}
        fields |= {} if place is None else {"evse_id": place}
        answer, said = player.command("RequestStartTransaction", **fields, **more)
    return answer, lines_of(said)


def authorizing(version: str, **more: Any) -> Player:
    name = "AuthorizeRemoteTxRequests" if version == "1.6" else "AuthCtrlr.AuthorizeRemoteStart"
    return Player(version, variables={name: True}, tokens=TOKENS, **more)


# The acts before, the EVSE that is asked for, and the status.
STATUSES: list[tuple[list[str], int | None, str]] = [
    ([], 1, "Accepted"),
    ([], None, "Accepted"),
    ([], 0, "Rejected"),
    ([], 9, "Rejected"),
    (["plug 1"], 1, "Accepted"),
    (["plug 1", "swipe TAG-1 1"], 1, "Rejected"),
    (["plug 1", "swipe TAG-1 1"], 2, "Accepted"),
    (["plug 1", "swipe TAG-1 1"], None, "Accepted"),
    (["swipe TAG-1 1"], 1, "Rejected"),
    (["plug 1", "swipe TAG-1 1", "plug 2", "swipe TAG-2 2"], None, "Rejected"),
    (["fault GroundFault 1"], 1, "Rejected"),
    (["fault GroundFault 1"], None, "Accepted"),
    (["fault GroundFault 1", "fault GroundFault 2"], None, "Rejected"),
    (["fault GroundFault 1", "clear fault"], 1, "Accepted"),
    (["remote start TAG-1 1"], 1, "Rejected"),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("acts", "place", "status"), STATUSES)
def test_the_status_of_a_remote_start(acts: list[str], place: int | None, status: str, version: str) -> None:
    player = Player(version, [Evse(), Evse()], tokens=TOKENS)
    for words in acts:
        player.act(words)
    answer, lines = remote_start(player, place=place)
    assert answer.status == status
    if status == "Rejected":
        assert lines == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("place", "status"), [(1, "Rejected"), (2, "Accepted"), (None, "Accepted")])
def test_a_remote_start_at_an_evse_that_is_out_of_service(place: int | None, status: str, version: str) -> None:
    player = Player(version, [Evse(available=False), Evse()])
    assert remote_start(player, place=place)[0].status == status


@pytest.mark.parametrize("version", VERSIONS)
def test_a_remote_start_before_the_station_is_accepted_is_rejected(version: str) -> None:
    player = Player(version, is_started=False)
    assert remote_start(player)[0].status == "Rejected"
    assert player.core.evses[1].authorization is None


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
def test_the_answer_names_a_transaction_that_waits_for_a_token(version: str) -> None:
    player = Player(version, variables={"TxCtrlr.TxStartPoint": "EVConnected"})
    player.act("plug")
    answer, lines = remote_start(player, "TAG-1", 1)
    assert (answer.status, answer.transaction_id) == ("Accepted", player.core.transactions[0].id)
    assert lines[0] == "Updated 1 RemoteStart remote 5 TAG-1"
    answer, lines = remote_start(player, "TAG-2", 1)
    assert (answer.status, answer.transaction_id, lines) == ("Rejected", None, [])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("token", ["TAG-BLOCKED", "TAG-UNKNOWN"])
def test_a_remote_start_with_a_refused_token_starts_nothing_where_it_is_checked_first(token: str, version: str) -> None:
    player = authorizing(version)
    player.act("plug")
    answer, lines = remote_start(player, token, 1)
    assert (answer.status, lines) == ("Accepted", [f"authorize {token}"])
    assert player.core.evses[1].offered_kw == 0
    assert player.core.transactions == []
    assert remote_start(player, "TAG-1", 1)[0].status == "Accepted"
    assert player.core.evses[1].charging_state == "Charging"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("token", ["TAG-BLOCKED", "TAG-UNKNOWN"])
def test_else_the_transaction_is_stopped_when_the_csms_refuses_it(token: str, version: str) -> None:
    player = Player(version, tokens=TOKENS)
    player.act("plug")
    answer, lines = remote_start(player, token, 1)
    assert answer.status == "Accepted"
    assert any(line.startswith(("Started 0 RemoteStart", f"start 1 {token}")) for line in lines)
    assert any("DeAuthorized" in line for line in lines)
    assert player.core.evses[1].offered_kw == 0


# F01.FR.09, .11, .26, K05.FR.05; OCPP 1.6, 5.16.2.
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "wrong", [{"charging_profile_purpose": "TxDefaultProfile"}, {"transaction_id": 7}, {"stack_level": 101}]
)
def test_a_start_with_a_wrong_charging_profile_is_rejected(wrong: dict[str, Any], version: str) -> None:
    player = Player(version)
    player.act("plug")
    answer, said = remote_start(player, "TAG-1", 1, charging_profile=profile_of(version) | wrong)
    assert answer.status == "Rejected"
    assert said == []
    assert player.core.evses[1].authorization is None
    if version != "1.6":
        assert answer.status_info["reasonCode"] in {"InvalidProfile", "InvalidStackLevel"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("acts", [["plug", "start"], ["start", "plug"], ["start elsewhere", "plug"]])
def test_a_start_with_a_charging_profile_obeys_it_from_the_beginning(acts: list[str], version: str) -> None:
    player = Player(version, [Evse(), Evse()])
    for act in acts:
        if act.startswith("start"):
            where = None if act == "start elsewhere" else 1
            answer, _ = remote_start(player, "TAG-1", where, charging_profile=profile_of(version))
            assert answer.status == "Accepted"
        else:
            player.act("plug 1")
    evse = player.core.evses[1]
    assert (evse.limit_kw, evse.limit_by, evse.charging_state) == (pytest.approx(1), "1", "SuspendedEVSE")
    assert "Charging" not in [row.state for row in player.core.sessions[0].rows]
    assert all("Charging" not in line.split() for line in lines_of(player.said))
    player.act("unplug 1")
    player.act("plug 1")
    player.act("swipe TAG-9 1")
    assert (evse.limit_by, evse.charging_state) == ("EVSE", "Charging")


def profile_of(version: str) -> dict[str, Any]:
    return dict(PROFILE_16 if version == "1.6" else PROFILE_201)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_token_of_the_group_stops_what_was_started_remotely(version: str) -> None:
    player = authorizing(version)
    for words in ("plug", "swipe TAG-1B", "swipe TAG-1B"):  # the cache knows its group
        player.act(words)
    remote_start(player, "TAG-1", 1)
    lines = lines_of(player.act("swipe TAG-1B"))
    assert not any(line.startswith("authorize") for line in lines)
    assert player.core.evses[1].authorization is None
    assert lines


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
def test_the_group_of_the_request_counts(version: str) -> None:
    player = Player(version, tokens=TOKENS)
    player.act("plug")
    remote_start(player, "PAID-7", 1, group_id_token={"id_token": "Group", "type": "Central"})
    assert player.core.evses[1].charging_state == "Charging"
    assert lines_of(player.act("swipe TAG-9"))[:1] == ["authorize TAG-9"]
    assert player.core.evses[1].charging_state == "Charging"
    lines = lines_of(player.act("swipe TAG-1"))
    assert lines[0] == "authorize TAG-1"
    assert lines[1].startswith("Ended 2 StopAuthorized EVConnected Local TAG-1")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_remote_start_without_a_vehicle_in_time_leaves_the_evse_to_others(version: str) -> None:
    player = Player(version)
    assert remote_start(player, "TAG-1", 1)[0].status == "Accepted"
    player.act("wait 59")
    assert remote_start(player, "TAG-2", 1)[0].status == "Rejected"
    player.act("wait 1")
    assert remote_start(player, "TAG-2", 1)[0].status == "Accepted"


# -- Remote stop ------------------------------------------------------------------------------------------------------


def remote_stop(player: Player, transaction_id: str) -> tuple[str, list[str]]:
    if player.core.dialect.version.name == "1.6":
        answer, said = player.command("RemoteStopTransaction", transaction_id=int(transaction_id))
    else:
        answer, said = player.command("RequestStopTransaction", transaction_id=transaction_id)
    return str(answer.status), lines_of(said)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_remote_stop_of_an_unknown_or_ended_transaction_is_rejected(version: str) -> None:
    player = Player(version)
    assert remote_stop(player, "99") == ("Rejected", [])
    for words in ("plug", "swipe TAG-1"):
        player.act(words)
    assert remote_stop(player, "99") == ("Rejected", [])
    number = player.core.transactions[0].id
    status, lines = remote_stop(player, number)
    assert status == "Accepted"
    assert any(" Remote" in line for line in lines)
    assert player.core.evses[1].offered_kw == 0
    assert remote_stop(player, number) == ("Rejected", [])


@pytest.mark.parametrize(
    ("stop_point", "lines", "unplugged"),
    [
        ("Authorized", ["Ended 2 RemoteStop EVConnected Remote"], []),
        ("PowerPathClosed", ["Ended 2 RemoteStop EVConnected Remote"], []),
        ("EnergyTransfer", ["Ended 2 RemoteStop EVConnected Remote"], []),
        (
            "EVConnected",
            ["Updated 2 RemoteStop", "Updated 3 ChargingStateChanged EVConnected"],
            ["Ended 4 EVCommunicationLost Idle Remote"],
        ),
    ],
)
def test_a_remote_stop_ends_what_the_stop_point_says(stop_point: str, lines: list[str], unplugged: list[str]) -> None:
    player = Player(variables={"TxCtrlr.TxStopPoint": stop_point, "SampledDataCtrlr.TxEndedMeasurands": ""})
    for words in ("plug", "swipe TAG-1"):
        player.act(words)
    assert remote_stop(player, player.core.transactions[0].id) == ("Accepted", lines)
    assert player.core.evses[1].offered_kw == 0
    assert [line for line in lines_of(player.act("unplug")) if not line.startswith("status")] == unplugged


def test_a_remote_stop_of_a_transaction_that_nobody_has_authorized() -> None:
    player = Player(variables={"TxCtrlr.TxStartPoint": "EVConnected"})
    player.act("plug")
    status, lines = remote_stop(player, player.core.transactions[0].id)
    assert status == "Accepted"
    assert lines[0].startswith("Ended 1 RemoteStop Remote")
