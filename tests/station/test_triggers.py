"""TriggerMessage and ExtendedTriggerMessage: which message follows, with what, and which does not."""

from __future__ import annotations

from typing import Any

import pytest
from command_player import command
from core_player import Player

from cpsim_kit.station import Evse
from cpsim_kit.station.rules.events import Accepted, Answer, Failure, Outgoing

TWO = ("2.0.1", "2.1")
VERSIONS = ("1.6", *TWO)
REGISTER = "Energy.Active.Import.Register"


def charging(version: str, **options: Any) -> Player:
    """Two EVSEs; a vehicle charges at the first one, for six minutes."""
    player = Player(version, [Evse(), Evse()], **options)
    command(player, "plug 1")
    command(player, "swipe TAG-1 1")
    player.act("wait 360")
    return player


ANSWERS_201 = {
    "Heartbeat": ["-> Accepted", "Heartbeat"],
    "Heartbeat 7": ["-> Accepted", "Heartbeat"],
    "StatusNotification": ["-> Accepted", "status 1 Occupied", "status 2 Available"],
    "StatusNotification 1": ["-> Accepted", "status 1 Occupied"],
    "StatusNotification 2 1": ["-> Accepted", "status 2 Available"],
    "StatusNotification 3 1": ["-> Rejected"],
    "StatusNotification 1 2": ["-> Rejected"],
    "MeterValues": ["-> Accepted", "meter 1 Trigger:1", "meter 2 Trigger:1"],
    "MeterValues 1": ["-> Accepted", "meter 1 Trigger:1"],
    "MeterValues 3": ["-> Rejected"],
    "TransactionEvent": ["-> Accepted", "Updated 8 Trigger Charging Trigger:9"],
    "TransactionEvent 1": ["-> Accepted", "Updated 8 Trigger Charging Trigger:9"],
    "TransactionEvent 2": ["-> Rejected"],
    "TransactionEvent 3": ["-> Rejected"],
    "LogStatusNotification": ["-> Accepted", "LogStatusNotification"],
    "FirmwareStatusNotification": ["-> Accepted", "FirmwareStatusNotification"],
    "FirmwareStatusNotification 1": ["-> Accepted", "FirmwareStatusNotification"],
    "BootNotification": ["-> Rejected"],
    "SignChargingStationCertificate": ["-> NotImplemented"],
    "SignV2GCertificate": ["-> NotImplemented"],
    "SignCombinedCertificate": ["-> NotImplemented"],
    "PublishFirmwareStatusNotification": ["-> NotImplemented"],
}


@pytest.mark.parametrize("version", TWO)
@pytest.mark.parametrize("words", ANSWERS_201)
def test_what_follows_in_ocpp_2(version: str, words: str) -> None:
    """TC_F_11 to TC_F_27."""
    player = charging(version)
    assert command(player, f"trigger {words}") == ANSWERS_201[words]


@pytest.mark.parametrize("message", ["SignV2G20Certificate", "CustomTrigger"])
def test_what_only_ocpp_21_can_ask_for(message: str) -> None:
    assert command(Player("2.1"), f"trigger {message}") == ["-> NotImplemented"]


ANSWERS_16 = {
    "trigger Heartbeat": ["-> Accepted", "Heartbeat"],
    "trigger StatusNotification": ["-> Accepted", "status 0 Available", "status 1 Charging", "status 2 Available"],
    "trigger StatusNotification 0": ["-> Accepted", "status 0 Available"],
    "trigger StatusNotification 1": ["-> Accepted", "status 1 Charging"],
    "trigger StatusNotification 3": ["-> Rejected"],
    "trigger MeterValues": ["-> Accepted", "meter 1 transaction 1 Trigger:9", "meter 2 Trigger:8"],
    "trigger MeterValues 0": ["-> Accepted", "meter 0 Trigger:2"],
    "trigger MeterValues 2": ["-> Accepted", "meter 2 Trigger:8"],
    "trigger MeterValues 3": ["-> Rejected"],
    "trigger DiagnosticsStatusNotification": ["-> Accepted", "DiagnosticsStatusNotification"],
    "trigger FirmwareStatusNotification": ["-> Accepted", "FirmwareStatusNotification"],
    "trigger FirmwareStatusNotification 2": ["-> Accepted", "FirmwareStatusNotification"],
    "extended Heartbeat": ["-> Accepted", "Heartbeat"],
    "extended StatusNotification 1": ["-> Accepted", "status 1 Charging"],
    "extended MeterValues 1": ["-> Accepted", "meter 1 transaction 1 Trigger:9"],
    "extended LogStatusNotification": ["-> Accepted", "LogStatusNotification"],
    "extended FirmwareStatusNotification": ["-> Accepted", "SignedFirmwareStatusNotification"],
    "extended SignChargePointCertificate": ["-> NotImplemented"],
}


@pytest.mark.parametrize("words", ANSWERS_16)
def test_what_follows_in_ocpp_16(words: str) -> None:
    assert command(charging("1.6"), words) == ANSWERS_16[words]


@pytest.mark.parametrize(
    ("version", "words"),
    [
        *((version, f"trigger {name}StatusNotification") for version in TWO for name in ("Log", "Firmware")),
        *(("1.6", f"trigger {name}StatusNotification") for name in ("Diagnostics", "Firmware")),
        *(("1.6", f"extended {name}StatusNotification") for name in ("Log", "Firmware")),
    ],
)
def test_where_nothing_goes_on_the_status_is_idle(version: str, words: str) -> None:
    """F06.FR.15 and .16."""
    player = Player(version)
    command(player, words)
    assert player.said[-1][1] == {"status": "Idle"}


@pytest.mark.parametrize("words", ["extended FirmwareStatusNotification", "extended LogStatusNotification"])
def test_what_goes_on_without_a_request_id_is_not_told_as_if_it_had_one(words: str) -> None:
    """L01.FR.21 and N01.FR.12 of the security white paper: only Idle has no requestId."""
    player = Player("1.6")
    player.command("UpdateFirmware", location="https://firmware.example/fw", retrieve_date="2020-01-01T00:00:00Z")
    player.command("GetDiagnostics", location="ftp://logs.example/")
    command(player, words)
    assert player.said[-1][1] == {"status": "Idle"}


@pytest.mark.parametrize("version", TWO)
def test_meter_values_are_the_aligned_measurands_of_now(version: str) -> None:
    """F06.FR.06."""
    player = charging(version, variables={"AlignedDataCtrlr.Measurands": f"{REGISTER},Power.Active.Import"})
    command(player, "trigger MeterValues 1")
    (values,) = player.said[-1][1]["meterValue"]
    assert [(each["measurand"], each["value"]) for each in values["sampledValue"]] == [
        (REGISTER, 1100),
        ("Power.Active.Import", 11000),
    ]
    assert {each["context"] for each in values["sampledValue"]} == {"Trigger"}


def test_meter_values_of_ocpp_16_are_the_sampled_measurands() -> None:
    player = charging("1.6", variables={"MeterValuesSampledData": REGISTER})
    assert command(player, "trigger MeterValues") == [
        "-> Accepted",
        "meter 1 transaction 1 Trigger:1",
        "meter 2 Trigger:1",
    ]


@pytest.mark.parametrize(
    ("version", "name"), [("1.6", "MeterValuesSampledData"), ("2.0.1", "AlignedDataCtrlr.Measurands")]
)
def test_without_measurands_there_are_no_meter_values(version: str, name: str) -> None:
    assert command(charging(version, variables={name: ""}), "trigger MeterValues") == ["-> Rejected"]


@pytest.mark.parametrize("version", TWO)
def test_a_transaction_event_has_its_number_and_its_state(version: str) -> None:
    """F06.FR.07."""
    player = charging(version)
    command(player, "trigger TransactionEvent 1")
    payload = player.said[-1][1]
    assert payload["transactionInfo"]["chargingState"] == "Charging"
    measurands = [each["measurand"] for each in payload["meterValue"][0]["sampledValue"]]
    assert measurands[0] == REGISTER
    assert "SoC" in measurands
    command(player, "suspend ev")
    assert player.said[-1][1]["seqNo"] == payload["seqNo"] + 1


def test_without_a_transaction_there_is_no_transaction_event() -> None:
    assert command(Player("2.0.1"), "trigger TransactionEvent") == ["-> Rejected"]


def test_a_transaction_without_an_evse_can_be_asked_for() -> None:
    player = Player("2.0.1", [Evse(), Evse()], variables={"TxCtrlr.TxStartPoint": "Authorized"})
    command(player, "swipe TAG-1")
    assert command(player, "trigger TransactionEvent") == ["-> Accepted", "Updated 1 Trigger Idle"]


@pytest.mark.parametrize("words", ["trigger BootNotification", "extended BootNotification"])
def test_ocpp_16_boots_when_it_is_asked_to(words: str) -> None:
    player = Player("1.6")
    assert command(player, words) == ["-> Accepted"]
    assert player.core.triggers.wants_boot


@pytest.mark.parametrize("version", VERSIONS)
def test_before_it_is_accepted_the_station_sends_only_what_it_is_asked_for(version: str) -> None:
    """B02.FR.02."""
    player = Player(version, is_started=False)
    said: list[Any] = []
    player.answers = lambda message, _said: said.append(message) or Failure(message)  # type: ignore[func-returns-value]
    command(player, "plug")
    player.said.clear()
    assert command(player, "trigger BootNotification") == ["-> Accepted"]
    assert player.core.triggers.wants_boot
    assert command(player, "trigger Heartbeat") == ["-> Accepted"]
    assert command(player, "trigger StatusNotification 1") == ["-> Accepted"]
    names = [type(build()).__name__ for build in player.core.triggers.drain_early()]
    assert names == ["Heartbeat", "StatusNotification"]
    assert player.core.triggers.drain_early() == []


def test_before_it_is_accepted_there_is_no_transaction_event() -> None:
    assert command(Player("2.0.1", is_started=False), "trigger TransactionEvent") == ["-> Rejected"]


def test_what_was_asked_for_just_before_is_sent_after_the_start() -> None:
    player = Player("2.0.1", is_started=False)
    command(player, "trigger Heartbeat")
    command(player, "trigger BootNotification")
    player.do(Accepted())
    assert player.said[-1][0] == "Heartbeat"
    assert not player.core.triggers.wants_boot


def test_what_is_sent_fails_alone() -> None:
    player = charging("2.0.1")

    def answer(message: Outgoing, said: tuple[str, dict[str, Any]]) -> Answer | Failure:
        return Failure(message) if said[0] == "Heartbeat" else player.answer(message, said)

    player.answers = answer
    assert command(player, "trigger Heartbeat") == ["-> Accepted", "Heartbeat"]
    assert len(player.core.queue) == 0
    assert command(player, "trigger StatusNotification 1") == ["-> Accepted", "status 1 Occupied"]
