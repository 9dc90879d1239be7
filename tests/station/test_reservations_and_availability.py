"""Reservations, and what the CSMS's other commands do to them: availability, resets, and triggered messages."""

from __future__ import annotations

from typing import Any

import pytest
from command_player import command, restart
from core_player import Player
from message_lines import lines_of
from reservation_player import TOKENS, act, player_of, reserve

from cpsim_kit.station import Evse

VERSIONS = ("1.6", "2.0.1", "2.1")


def change(player: Player, *, is_operative: bool, evse_id: int | None = None) -> tuple[str, list[str]]:
    """Let the CSMS change the availability; the status, and what was said after it."""
    if player.core.dialect.version.name == "1.6":
        kind = "Operative" if is_operative else "Inoperative"
        answer, said = player.command("ChangeAvailability", connector_id=evse_id or 0, type=kind)
    else:
        fields: dict[str, Any] = {"operational_status": "Operative" if is_operative else "Inoperative"}
        fields |= {} if evse_id is None else {"evse": {"id": evse_id}}
        answer, said = player.command("ChangeAvailability", **fields)
    return str(answer.status), lines_of(said)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("evse_id", [1, None])
def test_an_evse_that_goes_out_of_service_ends_its_reservation(version: str, evse_id: int | None) -> None:
    player = player_of(version)
    act(player, "reserve 7 TAG-1 evse 1")
    status, lines = change(player, is_operative=False, evse_id=evse_id)
    assert status == "Accepted"
    lines = [line for line in lines if not line.startswith("status 0")]
    assert lines == ["status 1 Unavailable", *([] if version == "1.6" else ["reservation 7 Removed"])]
    assert reserve(player, 8, "TAG-1", 1)[0] == "Unavailable"
    assert reserve(player, 8, "TAG-1")[0] == "Unavailable"
    lines = [line for line in change(player, is_operative=True, evse_id=evse_id)[1] if "status 0" not in line]
    assert lines == ["status 1 Available"]
    act(player, "plug")
    act(player, "swipe TAG-9")
    assert player.core.evses[1].charging_state == "Charging"


@pytest.mark.parametrize("version", VERSIONS)
def test_with_another_evse_left_the_reservation_of_any_is_kept_there(version: str) -> None:
    player = Player(version, [Evse(), Evse()], tokens=TOKENS)
    act(player, "reserve 7 TAG-1")
    assert change(player, is_operative=False, evse_id=1)[1] == ["status 1 Unavailable", "status 2 Reserved"]
    assert change(player, is_operative=True, evse_id=1)[1] == ["status 1 Available", "status 2 Available"]
    assert [each.id for each in player.core.reservations.all()] == [7]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_triggered_status_is_reserved(version: str) -> None:
    player = player_of(version)
    act(player, "reserve 7 TAG-1 evse 1")
    place = {"connector_id": 1} if version == "1.6" else {"evse": {"id": 1, "connector_id": 1}}
    answer, said = player.command("TriggerMessage", requested_message="StatusNotification", **place)
    assert (answer.status, lines_of(said)) == ("Accepted", ["status 1 Reserved"])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reset_leaves_reservations(version: str) -> None:
    player = player_of(version)
    act(player, "reserve 7 TAG-1 evse 1")
    assert command(player, "reset Hard" if version == "1.6" else "reset Immediate") == ["-> Accepted"]
    assert "status 1 Reserved" in lines_of(restart(player))
    assert act(player, "swipe TAG-9") == []
    assert "authorize TAG-1" in act(player, "swipe TAG-1")


@pytest.mark.parametrize("version", VERSIONS[1:])
@pytest.mark.parametrize("where", ["evse 1", "with a vehicle", "of any"])
def test_the_reset_of_an_evse_leaves_its_reservation(version: str, where: str) -> None:
    """B11.FR.05; were it Unavailable meanwhile, the reservation would be removed (H01.FR.17)."""
    player = player_of(version, 1)
    act(player, "reserve 7 TAG-1" if where == "of any" else "reserve 7 TAG-1 evse 1")
    if where == "with a vehicle":
        act(player, "plug 1")
    assert command(player, "reset Immediate 1") == ["-> Accepted"]
    assert reserve(player, 8, "TAG-2", 1)[0] == "Occupied"
    assert act(player, "swipe TAG-1") == []  # nothing begins there yet
    assert lines_of(player.wait(10)) == []
    if where != "with a vehicle":
        assert act(player, "plug 1") == []
    assert any("TAG-1 reservation 7" in line for line in act(player, "swipe TAG-1 1"))


@pytest.mark.parametrize("version", VERSIONS[1:])
@pytest.mark.parametrize("where", ["evse 2", "of any"])
def test_a_reset_that_waits_for_a_transaction_leaves_reservations(version: str, where: str) -> None:
    player = player_of(version, 2)
    act(player, "plug 1")
    act(player, "swipe TAG-2 1")
    act(player, "reserve 7 TAG-1" if where == "of any" else "reserve 7 TAG-1 evse 2")
    assert command(player, "reset OnIdle") == ["-> Scheduled"]
    act(player, "swipe TAG-2 1")
    assert "status 2 Reserved" in lines_of(restart(player)) or where == "of any"
    assert [each.id for each in player.core.reservations.all()] == [7]


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_reservation_of_any_is_kept_at_the_evse_that_has_no_reset(version: str) -> None:
    """H01.FR.07: one that is available at any time."""
    player = player_of(version, 2)
    act(player, "reserve 7 TAG-1")
    assert command(player, "reset Immediate 1") == ["-> Accepted", "status 1 Unavailable", "status 2 Reserved"]
    assert reserve(player, 8, "TAG-2", 1)[0] == "Unavailable"
    assert lines_of(player.wait(10)) == ["status 1 Available", "status 2 Available"]


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_an_evse_that_is_taken_out_of_service_during_its_reset_loses_its_reservation(version: str) -> None:
    player = player_of(version)
    act(player, "reserve 7 TAG-1 evse 1")
    command(player, "reset Immediate 1")
    status, lines = change(player, is_operative=False, evse_id=1)
    assert (status, lines) == ("Accepted", ["status 1 Unavailable", "reservation 7 Removed"])
    assert lines_of(player.wait(10)) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_remote_start_at_an_evse_that_the_csms_took_out_of_service_is_rejected(version: str) -> None:
    player = player_of(version)
    change(player, is_operative=False, evse_id=1)
    assert act(player, "remote start TAG-1 1") == ["-> Rejected"]


def test_the_device_model_says_reserved() -> None:
    player = Player("2.0.1", [Evse(), Evse(50, "DC")])
    reserve(player, 7, "TAG-1", connector_type=player.core.variables["Connector[2,1].ConnectorType"])
    names = ("EVSE[1].AvailabilityState", "EVSE[2].AvailabilityState", "Connector[2,1].AvailabilityState")
    assert [player.core.variables[name] for name in names] == ["Available", "Reserved", "Reserved"]
