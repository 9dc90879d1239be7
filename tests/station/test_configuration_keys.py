"""The configuration keys of OCPP 1.6: which there are, how they are read and changed, and that they act."""

from __future__ import annotations

from typing import Any

import pytest
from core_player import Player
from message_lines import lines_of
from ocpp.exceptions import OccurrenceConstraintViolationError

from cpsim_kit.station import Evse
from cpsim_kit.station.device_model.device_model import MAX_ITEMS

# The keys that chapter 9 requires of the profiles that the station has, and who may change them.
REQUIRED = {
    "AuthorizeRemoteTxRequests": "RW",
    "ClockAlignedDataInterval": "RW",
    "ConnectionTimeOut": "RW",
    "ConnectorPhaseRotation": "RW",
    "GetConfigurationMaxKeys": "R",
    "HeartbeatInterval": "RW",
    "LocalAuthorizeOffline": "RW",
    "LocalPreAuthorize": "RW",
    "MeterValuesAlignedData": "RW",
    "MeterValuesSampledData": "RW",
    "MeterValueSampleInterval": "RW",
    "NumberOfConnectors": "R",
    "ResetRetries": "RW",
    "StopTransactionOnEVSideDisconnect": "RW",
    "StopTransactionOnInvalidId": "RW",
    "StopTxnAlignedData": "RW",
    "StopTxnSampledData": "RW",
    "SupportedFeatureProfiles": "R",
    "TransactionMessageAttempts": "RW",
    "TransactionMessageRetryInterval": "RW",
    "UnlockConnectorOnEVSideDisconnect": "RW",
    "LocalAuthListEnabled": "RW",
    "LocalAuthListMaxLength": "R",
    "SendLocalListMaxLength": "R",
    "ChargeProfileMaxStackLevel": "R",
    "ChargingScheduleAllowedChargingRateUnit": "R",
    "ChargingScheduleMaxPeriods": "R",
    "MaxChargingProfilesInstalled": "R",
}
OPTIONAL = {
    "AllowOfflineTxForUnknownId": "RW",
    "AuthorizationCacheEnabled": "RW",
    "MaxEnergyOnInvalidId": "RW",
    "ConnectorPhaseRotationMaxLength": "R",
    "MeterValuesAlignedDataMaxLength": "R",
    "MeterValuesSampledDataMaxLength": "R",
    "StopTxnAlignedDataMaxLength": "R",
    "StopTxnSampledDataMaxLength": "R",
    "WebSocketPingInterval": "RW",
    "AuthorizationKey": "RW",  # write-only: it is told without its value
    "CpoName": "RW",
    "SecurityProfile": "R",
    "ReserveConnectorZeroSupported": "R",
    "ConnectorSwitch3to1PhaseSupported": "R",
    "SupportedFileTransferProtocols": "R",
}
PROFILES = {"Core", "LocalAuthListManagement", "Reservation", "RemoteTrigger", "FirmwareManagement", "SmartCharging"}


def read(player: Player, *keys: str) -> tuple[dict[str, tuple[Any, bool]], list[str]]:
    """The values by key, each with whether it is read-only, and the keys that are unknown."""
    answer, said = player.command("GetConfiguration", **({"key": list(keys)} if keys else {}))
    assert said == []
    rows = answer.configuration_key or []
    return {row["key"]: (row.get("value"), row["readonly"]) for row in rows}, answer.unknown_key or []


def change(player: Player, key: str, value: str) -> str:
    answer, _ = player.command("ChangeConfiguration", key=key, value=value)
    return str(answer.status)


def test_all_required_keys_are_there_and_say_who_may_change_them() -> None:
    known, unknown = read(Player("1.6"))
    assert unknown == []
    expected = {**REQUIRED, **OPTIONAL}
    assert {key: "R" if readonly else "RW" for key, (_, readonly) in known.items()} == {
        key: access
        for key, access in expected.items()
        if key not in {"MaxEnergyOnInvalidId", "SecurityProfile"}  # not set, and of a charge point
    }


def test_values_are_those_of_the_station() -> None:
    known, _ = read(Player("1.6", evses=(Evse(), Evse())))
    assert set(known["SupportedFeatureProfiles"][0].split(",")) == PROFILES
    assert known["NumberOfConnectors"] == ("2", True)
    assert known["GetConfigurationMaxKeys"] == (str(MAX_ITEMS), True)
    assert known["ConnectorPhaseRotation"] == ("1.Unknown,2.Unknown", False)
    assert known["ChargingScheduleAllowedChargingRateUnit"] == ("Current,Power", True)
    assert known["LocalAuthListMaxLength"] == known["SendLocalListMaxLength"] == ("1000", True)


def test_a_value_that_was_set_is_told() -> None:
    player = Player("1.6", variables={"ConnectionTimeOut": 90})
    player.command("ChangeConfiguration", key="HeartbeatInterval", value="17")
    known, _ = read(player, "ConnectionTimeOut", "HeartbeatInterval")
    assert known == {"ConnectionTimeOut": ("90", False), "HeartbeatInterval": ("17", False)}


def test_keys_are_found_in_any_case_and_unknown_ones_are_named() -> None:
    known, unknown = read(Player("1.6"), "heartbeatinterval", "NUMBEROFCONNECTORS", "Nothing", "MaxEnergyOnInvalidId")
    assert known == {"HeartbeatInterval": ("60", False), "NumberOfConnectors": ("1", True)}
    assert unknown == ["Nothing", "MaxEnergyOnInvalidId"]


def test_more_keys_than_the_station_takes_are_a_violation() -> None:
    player = Player("1.6")
    read(player, *["ResetRetries"] * MAX_ITEMS)
    with pytest.raises(OccurrenceConstraintViolationError, match="GetConfigurationMaxKeys"):
        read(player, *["ResetRetries"] * (MAX_ITEMS + 1))


@pytest.mark.parametrize(
    ("key", "value", "status"),
    [
        ("ConnectionTimeOut", "90", "Accepted"),
        ("connectiontimeout", "90", "Accepted"),
        ("MaxEnergyOnInvalidId", "500", "Accepted"),
        ("ConnectorPhaseRotation", "0.RST,1.STR", "Accepted"),
        ("MeterValuesSampledData", "Voltage.L1,Temperature", "Accepted"),
        ("StopTxnSampledData", "", "Accepted"),  # 3.16.5
        ("ConnectorPhaseRotation", "2.RST", "Rejected"),
        ("ConnectionTimeOut", "-1", "Rejected"),
        ("WebSocketPingInterval", "-1", "Rejected"),  # 9.1.34
        ("LocalPreAuthorize", "1", "Rejected"),
        ("MeterValuesSampledData", "Voltage,Nonsense", "Rejected"),  # 3.16.4
        ("NumberOfConnectors", "3", "Rejected"),
        ("supportedfeatureprofiles", "Core", "Rejected"),
        ("SendLocalListMaxLength", "3", "Rejected"),
        ("Nonsense", "1", "NotSupported"),
        ("TxCtrlr.EVConnectionTimeOut", "1", "NotSupported"),
    ],
)
def test_change_configuration_has_each_status(key: str, value: str, status: str) -> None:
    player = Player("1.6")
    before, _ = read(player)
    assert change(player, key, value) == status
    after, _ = read(player)
    assert (after != before) == (status == "Accepted")
    if status == "Accepted":
        found, _ = read(player, key)
        assert [text for text, _ in found.values()] == [value]


CHARGING = ("plug", "swipe TAG-1", "wait 1")


@pytest.mark.parametrize(
    ("key", "value", "before", "after", "without", "with_it"),
    [
        ("MeterValueSampleInterval", "20", CHARGING, "wait 60", 1, 3),
        ("ClockAlignedDataInterval", "20", CHARGING, "wait 50", 0, 4),  # of the connector, and of the whole
        ("LocalPreAuthorize", "true", ("swipe TAG-1", "swipe TAG-1"), "swipe TAG-1", 1, 0),
        ("AuthorizeRemoteTxRequests", "true", ("plug",), "remote start TAG-1 1", 1, 2),
    ],
)
def test_what_is_changed_takes_effect_at_once(
    key: str, value: str, before: tuple[str, ...], after: str, without: int, with_it: int
) -> None:
    counts = []
    for is_set in (False, True):
        player = Player("1.6")
        for act in before:
            player.act(act)
        if is_set:
            assert change(player, key, value) == "Accepted"
        lines: list[Any] = lines_of(player.act(after))
        counts.append(len([line for line in lines if not line.startswith(("status", "-> "))]))
    assert counts == [without, with_it]


def test_who_waits_waits_as_long_as_the_key_says_now() -> None:
    player = Player("1.6")
    player.act("plug")  # B6 of 4.9: a vehicle for which no token comes
    assert change(player, "ConnectionTimeOut", "100") == "Accepted"
    assert lines_of(player.wait(90)) == []
    assert lines_of(player.wait(20)) != []


def test_the_authorization_key_is_set_in_hexadecimal_digits_and_never_told() -> None:
    """Security white paper, 7.2."""
    player = Player("1.6")
    for wrong in ("0" * 31, "0" * 33, "0" * 42, "x" * 32, ""):
        assert change(player, "AuthorizationKey", wrong) == "Rejected"
    assert change(player, "AuthorizationKey", "00ff" * 8) == "Accepted"
    assert read(player, "AuthorizationKey") == ({"AuthorizationKey": (None, False)}, [])
    assert "00ff" not in str(read(player))
