"""Commands that meet: a reset during an update, a change of availability before a power loss, and so on."""

from __future__ import annotations

import pytest
from command_player import command, restart
from core_player import Player
from maintenance_player import ask_update, timeline
from message_lines import lines_of
from station_wire import VERSIONS

from cpsim_kit.station import Evse
from cpsim_kit.station.dialects import refusals
from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.dialects.v16.words import V16
from cpsim_kit.station.dialects.v201.words import V21, V201
from cpsim_kit.station.rules.events import Accepted, PowerOff
from cpsim_kit.station.rules.restart import RESTART_SECONDS

TWO = ("2.0.1", "2.1")
KINDS = {"hard": "Immediate", "soft": "OnIdle"}
UNLOCK = {
    "1.6": "UnlockConnectorOnEVSideDisconnect",
    "2.0.1": "OCPPCommCtrlr.UnlockOnEVSideDisconnect",
    "2.1": "OCPPCommCtrlr.UnlockOnEVSideDisconnect",
}


def usable(player: Player) -> list[int]:
    return [number for number, evse in player.core.evses.items() if evse.is_usable]


def update_status(player: Player) -> str:
    update = player.core.maintenance.firmware.update
    assert update is not None
    return update.status


def reset(player: Player, kind: str) -> list[str]:
    """Reset the station in the words of its version."""
    words = {"hard": "Hard", "soft": "Soft"} if player.core.dialect.version.name == "1.6" else KINDS
    return command(player, f"reset {words[kind]}")[:1]


@pytest.mark.parametrize("version", TWO)
def test_the_reset_of_an_evse_does_not_put_it_back_while_firmware_is_installed(version: str) -> None:
    player = Player(version, [Evse(), Evse()])
    ask_update(player, version)
    player.wait(40)
    assert (update_status(player), usable(player)) == ("Installing", [])
    assert command(player, "reset Immediate 1") == ["-> Accepted"]
    assert player.wait(2 * RESTART_SECONDS) == []
    assert (update_status(player), usable(player)) == ("Installing", [])
    assert timeline(player, 60)[-1].endswith("event FirmwareUpdated")
    assert usable(player) == [1, 2]


@pytest.mark.parametrize("version", TWO)
def test_an_evse_comes_back_from_its_reset_only_after_a_failed_installation(version: str) -> None:
    player = Player(version, [Evse(), Evse()])
    player.core.maintenance.firmware.fail_next("InstallationFailed", None)
    ask_update(player, version)
    player.wait(89)
    command(player, "reset Immediate 1")
    assert "status 2 Available" in lines_of(player.wait(2))
    assert (update_status(player), usable(player)) == ("InstallationFailed", [2])
    player.wait(RESTART_SECONDS)
    assert usable(player) == [1, 2]


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("version", VERSIONS)
def test_no_reset_breaks_an_installation_off(version: str, kind: str) -> None:
    """B11.FR.06: it cannot be interrupted."""
    player = Player(version)
    ask_update(player, version)
    player.wait(40)
    assert update_status(player) == "Installing"
    assert reset(player, kind) == ["-> Rejected"]
    lines = [line.split()[1] for line in timeline(player, 60)]
    assert lines.count("boot") == lines.count("Installed") == 1
    assert "Installing" not in lines
    assert reset(player, kind) == ["-> Accepted"]


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("is_first", ["reset", "update"])
@pytest.mark.parametrize("version", VERSIONS)
def test_an_installation_begins_once_the_reset_is_done(version: str, is_first: str, kind: str) -> None:
    """Both wait for the same transaction, or the reset ends it."""
    player = Player(version)
    player.act("plug")
    player.act("swipe TAG-1")
    if is_first == "update":
        ask_update(player, version)
        player.wait(40)
    reset(player, kind)
    if is_first == "reset":
        ask_update(player, version)
        player.wait(40 if version != "1.6" and kind == "soft" else 0)
    if player.core.evses[1].transaction is not None:
        player.act("swipe TAG-1")
    boots = [line.split()[2] for line in timeline(player, 300) if " boot " in line]
    assert len(boots) == 2
    assert boots[1] == "FirmwareUpdate"
    assert [payload.get("status") for _, payload in player.said].count("Installing") == 1


@pytest.mark.parametrize("version", TWO)
def test_an_update_that_takes_the_place_of_another_begins_nothing_before_a_reset(version: str) -> None:
    player = Player(version, [Evse(), Evse()])
    player.act("plug 1")
    player.act("swipe TAG-1 1")
    assert command(player, "reset OnIdle")[0] == "-> Scheduled"
    ask_update(player, version, 7)
    assert ask_update(player, version, 8) == ("AcceptedCanceled", ["Downloading 8"])
    assert usable(player) == [1]
    player.act("plug 2")
    player.act("swipe TAG-2 2")
    assert player.core.evses[2].offered_kw == 0


@pytest.mark.parametrize("version", TWO)
@pytest.mark.parametrize("scheduled", ["retrieve_in", "install_in"])
def test_an_update_whose_time_came_without_power_begins_with_the_power(version: str, scheduled: str) -> None:
    """Its steps take their time, and nothing is said of a moment in the past."""
    player = Player(version)
    ask_update(player, version, **{scheduled: 600})
    player.wait(60)
    player.do(PowerOff())
    player.wait(3600)
    player.do(Accepted())
    assert player.core.due() == player.now
    lines = timeline(player, 200)
    first = 0 if scheduled == "install_in" else 30
    assert f"{first} Installing 7" in lines
    assert f"{first + 60} InstallRebooting 7" in lines


@pytest.mark.parametrize("end", ["restart", "power"])
def test_the_charge_point_is_reported_in_service_again_after_a_start(end: str) -> None:
    """A change that waited for a transaction, which the start ended (OCPP 1.6, 5.2)."""
    player = Player("1.6")
    player.act("plug")
    player.act("swipe TAG-1")
    assert command(player, "inoperative 0") == ["-> Scheduled"]
    if end == "restart":
        command(player, "reset Hard")
        said = lines_of(restart(player))
    else:
        player.do(PowerOff())
        said = lines_of(player.do(Accepted()))
    assert "status 0 Unavailable" in said
    assert player.act("offline") == []
    assert "status 0 Unavailable" not in lines_of(player.act("online"))
    assert "status 0 Available" in command(player, "operative 0")


@pytest.mark.parametrize("version", TWO)
@pytest.mark.parametrize("quirks", [(), ("clock_a_day_off",), ("stop_twice", "seq_no_restarted")])
def test_a_second_report_is_refused_also_by_a_station_with_quirks(version: str, quirks: tuple[str, ...]) -> None:
    """B07.FR.13."""
    player = Player(version, quirks=quirks)
    ask = player.core.dialect.commands["GetBaseReport"].run
    answers = [
        ask(player.core, player.now, {"request_id": number, "report_base": "FullInventory"}) for number in (1, 2)
    ]
    assert [answer.status for answer in answers] == ["Accepted", "Rejected"]


def reserve(player: Player, token: str = "TAG-1") -> None:
    at = player.core.dialect.time(player.now + 3600)
    id_token = {"id_token": token, "type": "ISO14443"}
    answer, _ = player.command("ReserveNow", id=9, evse_id=1, id_token=id_token, expiry_date_time=at)
    assert answer.status == "Accepted"


@pytest.mark.parametrize(
    "act", ["fault GroundFault", "inoperative 1", "reset Immediate 1", "reset Immediate", "wait 60"]
)
@pytest.mark.parametrize("version", TWO)
def test_a_reservation_that_led_to_no_transaction_is_told(version: str, act: str) -> None:
    """OCPP 2.1, H03.FR.11; 2.0.1 has no word for it."""
    player = Player(version)
    reserve(player)
    player.act("swipe TAG-1")
    assert command(player, act).count("reservation 9 NoTransaction") == (version == "2.1")


def test_a_reservation_that_the_power_took_its_driver_from_is_told_after_the_start() -> None:
    player = Player("2.1")
    reserve(player)
    player.act("swipe TAG-1")
    assert player.do(PowerOff()) == []
    assert lines_of(player.do(Accepted()))[-1] == "reservation 9 NoTransaction"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cable_that_is_locked_without_a_vehicle_comes_out_after_unlocking(version: str) -> None:
    player = Player(version, variables={UNLOCK[version]: False})
    for act in ("plug", "swipe TAG-1", "unplug ev"):
        player.act(act)
    with pytest.raises(ValueError, match="locked in the socket"):
        player.act("unplug")
    assert command(player, "unlock 1") == ["-> Unlocked"]
    assert "status 1 Available" in command(player, "unplug")


@pytest.mark.parametrize(
    ("refused", "dialect"),
    [
        (refusals.REFUSALS_16, V16),
        (refusals.REFUSALS_201, V201),
        (refusals.REFUSALS_21, V21),
    ],
)
def test_no_refusal_is_left_over_of_a_command_that_the_station_carries_out(
    refused: dict[str, Handler], dialect: type[V16 | V201]
) -> None:
    assert {action for action, row in refused.items() if dialect.commands[action] is not row} == set()
