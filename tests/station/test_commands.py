"""Every command that a CSMS may send, and the test that observes what the station does then: not its answer.

A question, such as GetVariables, has no effect but its answer. A command that the station always refuses is in
`test_refusals.py`, which observes that nothing changes.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from core_player import Player
from station_wire import VERSIONS

from cpsim_kit.station.dialects import dialect_of
from cpsim_kit.station.dialects.handler import commands_frame
from cpsim_kit.station.dialects.refusals import csms_actions

REFUSED = "test_refusals.py::test_a_refused_command_changes_nothing_and_is_never_accepted"

BOTH = {
    "CancelReservation": "test_station_reservations.py::test_a_reservation_that_is_cancelled_expires_or_is_lost",
    "CertificateSigned": REFUSED,
    "ChangeAvailability": "test_availability.py::test_what_is_out_of_service_starts_nothing_and_offers_nothing",
    "ClearCache": "test_local_list.py::test_clear_cache_forgets_what_the_csms_said",
    "ClearChargingProfile": "test_smart_charging.py::test_a_profile_that_is_cleared_limits_nothing",
    "DataTransfer": "test_maintenance.py::test_data_of_a_vendor_is_not_known",
    "DeleteCertificate": REFUSED,
    "GetCompositeSchedule": "test_smart_charging.py::test_a_composite_schedule_is_what_is_offered",
    "GetInstalledCertificateIds": REFUSED,
    "GetLocalListVersion": "test_local_list.py::test_the_version_of_an_update",
    "GetLog": "test_maintenance.py::test_an_upload_is_a_train_of_statuses",
    "InstallCertificate": REFUSED,
    "ReserveNow": "test_station_reservations.py::test_a_reserved_evse_serves_the_one_who_reserved_it",
    "Reset": "test_station_restart.py::test_a_reset_ends_the_transaction_and_boots",
    "SendLocalList": "test_commands.py::test_a_list_that_the_csms_sends_decides_offline",
    "SetChargingProfile": "test_smart_charging.py::test_a_profile_bends_what_the_vehicle_gets",
    "UpdateFirmware": "test_station_maintenance.py::test_an_update_ends_with_a_boot_of_the_new_version",
}
ONLY_16 = {
    "ChangeConfiguration": "test_configuration_keys.py::test_what_is_changed_takes_effect_at_once",
    "ExtendedTriggerMessage": "test_triggers.py::test_what_follows_in_ocpp_16",
    "GetConfiguration": "test_configuration_keys.py::test_a_value_that_was_set_is_told",
    "GetDiagnostics": "test_maintenance.py::test_an_upload_is_a_train_of_statuses",
    "RemoteStartTransaction": "test_station_waits.py::test_a_remote_start_and_stop",
    "RemoteStopTransaction": "test_station_waits.py::test_a_remote_start_and_stop",
    "SignedUpdateFirmware": "test_firmware.py::test_an_update_is_a_train_of_statuses_and_ends_with_a_boot",
    "TriggerMessage": "test_triggers.py::test_what_follows_in_ocpp_16",
    "UnlockConnector": "test_unlocking.py::test_ocpp_16_stops_the_transaction_first",
}
ONLY_2X = {
    "ClearDisplayMessage": REFUSED,
    "ClearVariableMonitoring": REFUSED,
    "CostUpdated": REFUSED,
    "CustomerInformation": REFUSED,
    "GetBaseReport": "test_device_model.py::test_full_inventory_reports_everything_in_parts",
    "GetChargingProfiles": "test_smart_charging.py::test_the_profiles_are_reported_in_parts",
    "GetDisplayMessages": REFUSED,
    "GetMonitoringReport": REFUSED,
    "GetReport": "test_device_model.py::test_a_report_is_limited_to_the_components_and_variables_that_are_named",
    "GetTransactionStatus": "test_maintenance.py::test_the_status_of_a_transaction",
    "GetVariables": "test_device_model.py::test_states_and_power_are_those_of_this_moment",
    "PublishFirmware": REFUSED,
    "RequestStartTransaction": "test_station_waits.py::test_a_remote_start_and_stop",
    "RequestStopTransaction": "test_station_waits.py::test_a_remote_start_and_stop",
    "SetDisplayMessage": REFUSED,
    "SetMonitoringBase": REFUSED,
    "SetMonitoringLevel": REFUSED,
    "SetNetworkProfile": REFUSED,
    "SetVariableMonitoring": REFUSED,
    "SetVariables": "test_variables_act.py::test_what_is_set_takes_effect_at_once",
    "TriggerMessage": "test_triggers.py::test_what_follows_in_ocpp_2",
    "UnlockConnector": "test_commands_meet.py::test_a_cable_that_is_locked_without_a_vehicle_comes_out_after_unlocking",
    "UnpublishFirmware": REFUSED,
}
ONLY_21 = {
    "AFRRSignal": REFUSED,
    "AdjustPeriodicEventStream": REFUSED,
    "ChangeTransactionTariff": REFUSED,
    "ClearDERControl": REFUSED,
    "ClearTariffs": REFUSED,
    "GetDERControl": REFUSED,
    "GetPeriodicEventStream": REFUSED,
    "GetTariffs": REFUSED,
    "NotifyAllowedEnergyTransfer": REFUSED,
    "NotifyWebPaymentStarted": REFUSED,
    "RequestBatterySwap": REFUSED,
    "SetDERControl": REFUSED,
    "SetDefaultTariff": REFUSED,
    "UpdateDynamicSchedule": REFUSED,
    "UsePriorityCharging": REFUSED,
}
TESTS = {"1.6": BOTH | ONLY_16, "2.0.1": BOTH | ONLY_2X, "2.1": BOTH | ONLY_2X | ONLY_21}
ROWS = [(version, action) for version, tests in TESTS.items() for action in tests]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_action_of_the_schemas_that_a_csms_may_send_is_in_the_table(version: str) -> None:
    assert set(TESTS[version]) == csms_actions(version)
    assert set(dialect_of(version, 0, 1).commands) == csms_actions(version)


@pytest.mark.parametrize(
    ("version", "theirs", "ours"),
    [
        ("1.6", {"GetDiagnostics", "SignedUpdateFirmware", "DataTransfer"}, {"StopTransaction", "Heartbeat"}),
        ("2.0.1", {"CostUpdated", "DataTransfer"}, {"NotifyReport", "TransactionEvent", "GetTariffs"}),
        ("2.1", {"NotifyWebPaymentStarted", "AFRRSignal"}, {"NotifySettlement", "BatterySwap", "VatNumberValidation"}),
    ],
)
def test_what_a_csms_may_send(version: str, theirs: set[str], ours: set[str]) -> None:
    assert theirs <= csms_actions(version)
    assert not ours & csms_actions(version)


@pytest.mark.parametrize(("version", "action"), ROWS)
def test_a_row_says_what_the_station_does_and_why(version: str, action: str) -> None:
    handler = dialect_of(version, 0, 1).commands[action]
    assert handler.is_done is (TESTS[version][action] != REFUSED)
    assert handler.effect
    assert handler.effect[0].islower()
    assert not handler.effect.endswith(".")
    assert any(letter.isdigit() for letter in handler.source)


@pytest.mark.parametrize("named", sorted({test for tests in TESTS.values() for test in tests.values()}))
def test_the_named_test_is_there(named: str) -> None:
    file, name = named.split("::")
    tree = ast.parse((Path(__file__).parent / file).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert name in {function.name for function in functions}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_table_that_a_reader_sees(version: str) -> None:
    frame = commands_frame(dialect_of(version, 0, 1).commands, {"DataTransfer": print})
    assert list(frame.columns) == ["action", "does", "source", "is_done"]
    assert frame.action.tolist() == sorted(csms_actions(version))
    assert frame.is_done.dtype == bool
    rows = frame.set_index("action")
    assert rows.does["DataTransfer"] == "calls your print()"
    assert rows.is_done["DataTransfer"]
    assert not rows.is_done["CertificateSigned"]
    assert rows.does["CertificateSigned"] == "answers Rejected: it keeps no certificates"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("token", "state"), [("TAG-1", "Charging"), ("TAG-2", "EVConnected"), ("TAG-3", "EVConnected")]
)
def test_a_list_that_the_csms_sends_decides_offline(version: str, token: str, state: str) -> None:
    player = Player(version)
    statuses = {"TAG-1": "Accepted", "TAG-2": "Blocked"}
    if version == "1.6":
        entries = [{"id_tag": name, "id_tag_info": {"status": status}} for name, status in statuses.items()]
        player.command("SendLocalList", list_version=1, update_type="Full", local_authorization_list=entries)
    else:
        tokens = {name: {"id_token": name, "type": "ISO14443"} for name in statuses}
        entries = [{"id_token": tokens[name], "id_token_info": {"status": statuses[name]}} for name in statuses]
        player.command("SendLocalList", version_number=1, update_type="Full", local_authorization_list=entries)
    player.act("plug")
    player.act("offline")
    player.act(f"swipe {token}")
    assert player.core.evses[1].charging_state == state
