"""UnlockConnector: when the cable comes free, and what ends."""

from __future__ import annotations

import pytest
from command_player import command
from core_player import Player

from cpsim_kit.station import Evse, Vehicle
from cpsim_kit.station.rules.events import Unplug

TWO = ("2.0.1", "2.1")
VERSIONS = ("1.6", *TWO)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_connector_without_a_transaction_is_unlocked_with_and_without_a_cable(version: str) -> None:
    """F05.FR.04 and .06."""
    player = Player(version)
    assert command(player, "unlock 1") == ["-> Unlocked"]
    command(player, "plug")
    assert command(player, "unlock 1") == ["-> Unlocked"]
    command(player, "unplug")
    assert player.core.evses[1].vehicle is None


@pytest.mark.parametrize("version", TWO)
def test_an_authorized_transaction_goes_on(version: str) -> None:
    """F05.FR.02."""
    player = Player(version)
    command(player, "plug")
    command(player, "swipe TAG-1")
    assert command(player, "unlock 1") == ["-> OngoingAuthorizedTransaction"]
    assert player.core.evses[1].power_kw(player.now) > 0


@pytest.mark.parametrize("version", TWO)
def test_a_transaction_whose_authorization_has_ended_tells_the_command(version: str) -> None:
    player = Player(version, variables={"TxCtrlr.TxStartPoint": "EVConnected", "TxCtrlr.TxStopPoint": "EVConnected"})
    command(player, "plug")
    assert command(player, "unlock 1") == ["-> Unlocked", "Updated 1 UnlockCommand"]
    command(player, "swipe TAG-1")
    command(player, "swipe TAG-1")
    assert command(player, "unlock 1") == ["-> Unlocked", "Updated 6 UnlockCommand"]
    assert command(player, "unplug")[-1].startswith("Ended 7 EVCommunicationLost Idle Local")


@pytest.mark.parametrize("version", TWO)
def test_an_authorization_without_a_transaction_ends_as_a_free_cable_does_not_charge(version: str) -> None:
    player = Player(version, variables={"TxCtrlr.TxStartPoint": "EnergyTransfer"})
    command(player, "plug")
    command(player, "suspend ev")
    command(player, "swipe TAG-1")
    assert player.core.evses[1].offered_kw > 0
    assert command(player, "unlock 1") == ["-> Unlocked"]
    assert player.core.evses[1].offered_kw == 0
    assert command(player, "resume ev") == []


def test_ocpp_16_stops_the_transaction_first() -> None:
    player = Player("1.6")
    command(player, "plug")
    command(player, "swipe TAG-1")
    player.act("wait 360")
    assert command(player, "unlock 1") == [
        "-> Unlocked",
        "stop 1 UnlockCommand 1100 Wh Begin:1 " + "Periodic:1 " * 6 + "End:1",
        "status 1 Finishing",
    ]
    assert player.core.evses[1].power_kw(player.now) == 0
    assert command(player, "unplug") == ["status 1 Available"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_lock_with_a_fault_keeps_the_cable(version: str) -> None:
    """F05.FR.05."""
    player = Player(version)
    command(player, "plug")
    command(player, "fault ConnectorLockFailure")
    assert command(player, "unlock 1") == ["-> UnlockFailed"]
    with pytest.raises(ValueError, match="the cable is stuck in the socket of EVSE 1"):
        player.act("unplug")
    player.act("unplug ev")
    with pytest.raises(ValueError, match="stuck"):
        player.act("unplug")
    assert player.core.evses[1].has_dangling_cable
    command(player, "clear fault")
    assert command(player, "unlock 1") == ["-> Unlocked"]
    player.act("unplug")
    assert not player.core.evses[1].has_dangling_cable


@pytest.mark.parametrize(("version", "status"), [("1.6", "NotSupported"), *((each, "UnlockFailed") for each in TWO)])
def test_an_attached_cable_has_no_lock_here(version: str, status: str) -> None:
    player = Player(version, [Evse(50, "DC")])
    command(player, "plug")
    assert command(player, "unlock 1") == [f"-> {status}"]
    command(player, "fault ConnectorLockFailure")
    player.core.handle(Unplug(1), player.now)


def test_an_attached_cable_charges_on() -> None:
    player = Player("1.6", [Evse(50, "DC")])
    player.act("plug")
    command(player, "swipe TAG-1")
    assert command(player, "unlock 1") == ["-> NotSupported"]
    assert player.core.evses[1].power_kw(player.now) == Vehicle().max_kw


@pytest.mark.parametrize("version", TWO)
@pytest.mark.parametrize("words", ["unlock 2", "unlock 1 2", "unlock 0", "unlock 1 999"])
def test_an_unknown_connector(version: str, words: str) -> None:
    """F05.FR.03, TC_F_10."""
    assert command(Player(version), words) == ["-> UnknownConnector"]


@pytest.mark.parametrize("words", ["unlock 2", "unlock 0"])
def test_an_unknown_connector_of_ocpp_16(words: str) -> None:
    assert command(Player("1.6"), words) == ["-> NotSupported"]
