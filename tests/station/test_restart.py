"""Resets in the core: what ends, what is said before and after, and what is kept."""

from __future__ import annotations

from typing import Any

import pytest
from command_player import command, restart
from core_player import Player, Said
from message_lines import lines_of

from cpsim_kit.station import Evse
from cpsim_kit.station.rules.events import (
    Accepted,
    Answer,
    Failure,
    Offline,
    Online,
    Outgoing,
    PowerOff,
    Reset,
    ShutDown,
)
from cpsim_kit.station.rules.restart import RESTART_SECONDS

TWO = ("2.0.1", "2.1")
VERSIONS = ("1.6", *TWO)
IMMEDIATE = {"1.6": "reset Hard", "2.0.1": "reset Immediate", "2.1": "reset Immediate"}


def player_of(version: str, count: int = 1, **options: Any) -> Player:
    return Player(version, [Evse() for _ in range(count)], **options)


def begin(player: Player, number: int = 1) -> None:
    command(player, f"plug {number}")
    command(player, f"swipe TAG-{number} {number}")


def security_events(said: list[Said]) -> list[str]:
    return [payload["type"] for action, payload in said if action == "SecurityEventNotification"]


@pytest.mark.parametrize("kind", ["Immediate", "OnIdle"])
@pytest.mark.parametrize("version", TWO)
def test_without_a_transaction_it_resets_at_once(version: str, kind: str) -> None:
    """TC_B_20, B11.FR.03."""
    player = player_of(version, 2)
    assert command(player, f"reset {kind}") == ["-> Accepted"]
    assert player.core.restarts.boot_reason == "RemoteReset"
    said = restart(player)
    assert lines_of(said) == ["status 1 Available", "status 2 Available", "SecurityEventNotification"]
    assert security_events(said) == ["ResetOrReboot"]
    assert player.core.restarts.step == ""


def test_a_start_that_is_no_reset_says_so() -> None:
    assert security_events(player_of("2.0.1").said) == ["StartupOfTheDevice"]


@pytest.mark.parametrize("version", TWO)
def test_immediate_ends_each_transaction_and_the_cable_stays(version: str) -> None:
    """TC_B_22, B12.FR.04."""
    player = player_of(version, 2)
    begin(player, 1)
    begin(player, 2)
    player.act("wait 360")
    assert command(player, "reset Immediate") == [
        "-> Accepted",
        "Ended 8 ResetCommand EVConnected ImmediateReset Begin:1 End:1",
        "Ended 8 ResetCommand EVConnected ImmediateReset Begin:1 End:1",
    ]
    assert player.core.restarts.boot_reason == "RemoteReset"
    assert lines_of(restart(player)) == ["status 1 Occupied", "status 2 Occupied", "SecurityEventNotification"]
    assert [each.end_wh for each in player.core.transactions] == [1100, 1100]
    assert all(evse.vehicle is not None and evse.offered_kw == 0 for evse in player.core.evses.values())
    assert "Started" in command(player, "swipe TAG-1 1")[1]  # it works again


@pytest.mark.parametrize("kind", ["Hard", "Soft"])
def test_ocpp_16_stops_transactions_with_the_kind_of_the_reset(kind: str) -> None:
    player = player_of("1.6")
    begin(player)
    assert command(player, f"reset {kind}") == [
        "-> Accepted",
        f"stop 1 {kind}Reset 0 Wh Begin:1 End:1",
        "status 1 Finishing",
    ]
    assert lines_of(restart(player)) == ["status 0 Available", "status 1 Finishing"]
    assert command(player, "unplug") == ["status 1 Available"]


@pytest.mark.parametrize("version", TWO)
def test_on_idle_waits_for_all_transactions_and_starts_none(version: str) -> None:
    """TC_B_21, TC_B_41, B12.FR.01 and .03, and step 3a."""
    player = player_of(version, 3)
    begin(player, 1)
    begin(player, 2)
    assert command(player, "reset OnIdle") == ["-> Scheduled", "status 3 Unavailable"]
    assert command(player, "reset OnIdle") == ["-> Scheduled"]
    assert not player.core.restarts.is_ready(player.now)
    assert command(player, "plug 3") == []
    assert command(player, "swipe TAG-3 3") == []
    assert command(player, "remote start TAG-3 3")[0] == "-> Rejected"

    assert command(player, "swipe TAG-1 1")[-1] == "status 1 Unavailable"
    assert not player.core.restarts.is_ready(player.now)
    assert command(player, "swipe TAG-1 1") == []
    player.act("wait 360")
    assert player.core.evses[2].power_kw(player.now) > 0
    assert command(player, "swipe TAG-2 2")[-1] == "status 2 Unavailable"

    assert player.core.restarts.boot_reason == "ScheduledReset"
    assert lines_of(restart(player))[:3] == ["status 1 Occupied", "status 2 Occupied", "status 3 Occupied"]
    assert player.core.transactions[1].end_wh == 1100
    assert "Started" in command(player, "swipe TAG-3 3")[1]


def test_immediate_does_not_wait_any_more() -> None:
    player = player_of("2.0.1")
    begin(player)
    command(player, "reset OnIdle")
    assert command(player, "reset Immediate")[:2] == [
        "-> Accepted",
        "Ended 2 ResetCommand EVConnected ImmediateReset Begin:1 End:1",
    ]
    assert player.core.restarts.boot_reason == "RemoteReset"
    assert command(player, "reset OnIdle") == ["-> Accepted"]
    restart(player)


def test_on_idle_is_no_delay_for_one_that_is_under_way() -> None:
    player = player_of("2.0.1")
    command(player, "plug")
    command(player, "reset Immediate")
    command(player, "swipe TAG-1")
    assert command(player, "reset OnIdle")[0] == "-> Accepted"
    assert player.core.transactions[0].end is not None
    restart(player)


def test_an_evse_stays_out_of_service_where_the_station_waits_for_a_reset() -> None:
    player = player_of("2.0.1", 2)
    begin(player, 2)
    command(player, "reset Immediate 1")
    assert command(player, "reset OnIdle") == ["-> Scheduled"]
    assert lines_of(player.wait(RESTART_SECONDS)) == []
    command(player, "unplug 2")
    assert lines_of(restart(player))[0] == "status 1 Available"


def test_a_transaction_without_an_evse_ends_too() -> None:
    player = player_of("2.0.1", 2, variables={"TxCtrlr.TxStartPoint": "Authorized"})
    command(player, "swipe TAG-1")
    assert command(player, "reset OnIdle")[0] == "-> Scheduled"
    assert command(player, "reset Immediate") == ["-> Accepted", "Ended 1 ResetCommand ImmediateReset"]
    assert player.core._visits.lobby is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_transaction_that_begins_while_the_reset_is_under_way_ends_with_it(version: str) -> None:
    player = player_of(version)
    command(player, "plug")
    command(player, IMMEDIATE[version])
    command(player, "swipe TAG-1")
    assert player.core.transactions[0].end is None
    assert not player.core.restarts.is_ready(player.now)
    player.drain()
    assert player.core.transactions[0].end is not None
    assert command(player, "remote start TAG-1 1") == ["-> Rejected"]
    restart(player)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_end_that_has_no_answer_is_said_after_the_reset(version: str) -> None:
    """B12.FR.05; OCPP 1.6, errata 3.36."""
    player = player_of(version)
    begin(player)
    ended = "StopTransaction" if version == "1.6" else "TransactionEvent"

    def answer(message: Outgoing, said: Said) -> Answer | Failure | None:
        return None if said[0] == ended else player.answer(message, said)

    player.answers = answer
    command(player, IMMEDIATE[version])
    assert player.core.restarts.is_ready(player.now)
    assert len(player.core.queue) == 1
    player.answers = None
    lines = [line for line in lines_of(restart(player)) if line.startswith(("Ended", "stop"))]
    assert lines == [
        "stop 1 HardReset 0 Wh Begin:1 End:1"
        if version == "1.6"
        else "Ended 2 ResetCommand EVConnected ImmediateReset Begin:1 End:1"
    ]
    last = next(payload for action, payload in reversed(player.said) if action == ended)
    assert version == "1.6" or last["offline"] is True
    assert len(player.core.queue) == 0


def test_offline_it_waits_all_the_same_and_resets_then() -> None:
    player = player_of("2.0.1")
    begin(player)
    command(player, "reset OnIdle")
    player.do(Offline())
    assert not player.core.restarts.is_ready(player.now)
    command(player, "unplug")
    assert "Ended 2 EVCommunicationLost Idle EVDisconnected Begin:1 End:1" in lines_of(restart(player))


@pytest.mark.parametrize("version", TWO)
def test_one_evse(version: str) -> None:
    """TC_B_25 to TC_B_27, B11.FR.08, B12.FR.07 and .08."""
    player = player_of(version, 2)
    begin(player, 2)
    assert command(player, "reset OnIdle 1") == ["-> Accepted", "status 1 Unavailable"]
    assert command(player, "plug 1") == []
    assert command(player, "swipe TAG-1 1") == []
    assert lines_of(player.wait(RESTART_SECONDS)) == ["status 1 Occupied"]
    assert command(player, "reset Immediate 2") == [
        "-> Accepted",
        "Ended 2 ResetCommand EVConnected ImmediateReset Begin:1 End:1",
        "status 2 Unavailable",
    ]
    assert lines_of(player.wait(RESTART_SECONDS)) == ["status 2 Occupied"]

    command(player, "swipe TAG-1 1")
    assert command(player, "reset OnIdle 1") == ["-> Scheduled"]
    assert lines_of(player.wait(30)) == []
    assert player.core.evses[1].power_kw(player.now) > 0
    assert command(player, "swipe TAG-1 1")[-1] == "status 1 Unavailable"
    assert lines_of(player.wait(RESTART_SECONDS)) == ["status 1 Occupied"]
    assert player.core.restarts.step == ""
    assert "Started" in command(player, "swipe TAG-1 1")[1]


@pytest.mark.parametrize("version", TWO)
def test_an_evse_that_is_out_of_service_stays_so_after_its_reset(version: str) -> None:
    """B12.FR.06."""
    player = player_of(version, 2)
    command(player, "inoperative 1")
    assert command(player, "reset Immediate 1") == ["-> Accepted"]
    assert player.wait(RESTART_SECONDS) == []
    assert command(player, "operative 1") == ["-> Accepted", "status 1 Available"]


def test_the_reset_of_an_evse_ends_with_that_of_the_station() -> None:
    player = player_of("2.0.1")
    begin(player)
    command(player, "reset OnIdle 1")
    command(player, "reset Immediate")
    assert lines_of(restart(player))[0] == "status 1 Occupied"
    assert player.wait(60) == []


def test_the_reset_of_an_evse_goes_on_where_the_station_boots_without_a_power_loss() -> None:
    player = player_of("2.0.1", 2)
    command(player, "reset Immediate 1")
    assert lines_of(player.do(Accepted()))[:2] == ["status 1 Unavailable", "status 2 Available"]
    assert lines_of(player.wait(RESTART_SECONDS)) == ["status 1 Available"]


def test_a_reset_that_waits_goes_on_where_the_station_boots_without_a_power_loss() -> None:
    player = player_of("2.0.1", 2)
    begin(player)
    command(player, "reset OnIdle")
    player.do(Accepted())
    command(player, "swipe TAG-1 1")
    assert lines_of(restart(player))[:2] == ["status 1 Occupied", "status 2 Available"]


@pytest.mark.parametrize("words", ["reset Immediate 3", "reset OnIdle 0"])
def test_an_unknown_evse_is_refused(words: str) -> None:
    player = player_of("2.0.1", 2)
    assert command(player, words) == ["-> Rejected"]
    assert player.core.restarts.step == ""
    assert player.wait(60) == []


def test_what_the_station_cannot_do_is_refused() -> None:
    player = player_of("2.1")
    begin(player)
    assert command(player, "reset ImmediateAndResume") == ["-> Rejected"]
    assert player.core.transactions[0].end is None


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_refused_before_the_csms_has_accepted_the_station(version: str) -> None:
    assert command(player_of(version, is_started=False), IMMEDIATE[version]) == ["-> Rejected"]


def test_a_power_loss_takes_a_reset_that_waits() -> None:
    player = player_of("2.0.1")
    begin(player)
    command(player, "reset OnIdle")
    player.do(PowerOff())
    assert not player.core.restarts.is_ready(player.now)
    assert player.core.restarts.step == ""
    said = player.do(Accepted())
    assert security_events(said) == ["StartupOfTheDevice"]
    assert "status 1 Occupied" in lines_of(said)
    assert not player.core.restarts.is_ready(player.now)


def test_nothing_happens_while_the_station_is_away() -> None:
    player = player_of("2.0.1", variables={"AlignedDataCtrlr.Interval": 1})
    command(player, "reset Immediate")
    assert player.core.restarts.is_ready(player.now)
    player.do(ShutDown())
    assert player.wait(RESTART_SECONDS - 1) == []
    assert command(player, "plug") == []
    assert player.core.restarts.step == "away"
    player.wait(1)
    assert player.core.restarts.step == "boots"
    assert player.core.due() == float("inf")
    assert lines_of(player.do(Accepted("RemoteReset")))[0] == "status 1 Occupied"


def test_a_lost_connection_is_no_reset() -> None:
    player = player_of("2.0.1")
    player.do(Offline())
    player.do(Online())
    assert "SecurityEventNotification" not in lines_of(player.said[2:])


def test_what_waits_for_a_restart_is_applied_before_anything_is_said() -> None:
    player = player_of("2.0.1")
    applied: list[int] = []
    player.core.restarts.at_start += (lambda: applied.append(len(player.said)),)
    command(player, "reset Immediate")
    said = len(player.said)
    restart(player)
    assert applied == [said]


def test_a_reset_of_another_kind_has_its_own_reason() -> None:
    player = player_of("2.0.1")
    begin(player)
    assert player.core.handle(Reset(is_immediate=False, boot_reason="FirmwareUpdate"), player.now) == "Scheduled"
    command(player, "unplug")
    assert player.core.restarts.is_ready(player.now)
    assert player.core.restarts.boot_reason == "FirmwareUpdate"
    assert security_events(restart(player)) == ["ResetOrReboot"]
