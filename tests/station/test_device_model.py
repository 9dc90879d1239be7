"""The device model: which variables a station has, what its state tells, and how the CSMS reads and sets them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from core_player import EPOCH, Player, Said
from ocpp.exceptions import OccurrenceConstraintViolationError

from cpsim_kit.station import Evse, Vehicle
from cpsim_kit.station.device_model.device_model import MAX_ITEMS, VARIABLES, addresses, find_name, model
from cpsim_kit.station.device_model.variable import Address
from cpsim_kit.station.dialects.v201.reports import PART
from cpsim_kit.station.rules.authorization import MAX_TOKENS
from cpsim_kit.station.rules.events import Fault, Offline, Online, PlugIn

# The variables that the appendices of OCPP 2.0.1 require (dm_components_vars.csv of version 1.4), by component.
REQUIRED = {
    "AlignedDataCtrlr": "Interval Measurands TxEndedInterval TxEndedMeasurands",
    "AuthCtrlr": "AuthorizeRemoteStart LocalAuthorizeOffline LocalPreAuthorize",
    "ChargingStation": "AvailabilityState Available SupplyPhases",
    "ClockCtrlr": "DateTime TimeSource",
    "Connector[1,1]": "Available ConnectorType SupplyPhases",
    "DeviceDataCtrlr": "BytesPerMessage[GetReport] BytesPerMessage[GetVariables] BytesPerMessage[SetVariables] "
    "ItemsPerMessage[GetReport] ItemsPerMessage[GetVariables] ItemsPerMessage[SetVariables]",
    "DisplayMessageCtrlr": "DisplayMessages SupportedFormats SupportedPriorities",
    "EVSE[1]": "AvailabilityState Available Power SupplyPhases",
    "ISO15118Ctrlr": "ContractValidationOffline",
    "LocalAuthListCtrlr": "BytesPerMessage Entries ItemsPerMessage",
    "MonitoringCtrlr": "BytesPerMessage[SetVariableMonitoring] ItemsPerMessage[SetVariableMonitoring]",
    "OCPPCommCtrlr": "FileTransferProtocols MessageTimeout[Default] MessageAttemptInterval[TransactionEvent] "
    "MessageAttempts[TransactionEvent] NetworkConfigurationPriority NetworkProfileConnectionAttempts OfflineThreshold "
    "ResetRetries UnlockOnEVSideDisconnect",
    "SampledDataCtrlr": "TxEndedInterval TxEndedMeasurands TxStartedMeasurands TxUpdatedInterval TxUpdatedMeasurands",
    "SecurityCtrlr": "CertificateEntries OrganizationName SecurityProfile",
    "SmartChargingCtrlr": "Entries[ChargingProfiles] LimitChangeSignificance PeriodsPerSchedule ProfileStackLevel "
    "RateUnit",
    "TariffCostCtrlr": "Currency TariffFallbackMessage TotalCostFallbackMessage",
    "TxCtrlr": "EVConnectionTimeOut StopTxOnEVSideDisconnect StopTxOnInvalidId TxStartPoint TxStopPoint",
}
# Those that no station has, and why.
ABSENT = {
    "DisplayMessageCtrlr.DisplayMessages": "displays",
    "DisplayMessageCtrlr.SupportedFormats": "displays",
    "DisplayMessageCtrlr.SupportedPriorities": "displays",
    "ISO15118Ctrlr.ContractValidationOffline": "ISO 15118",
    "TariffCostCtrlr.Currency": "tariffs",
    "TariffCostCtrlr.TariffFallbackMessage": "tariffs",
    "TariffCostCtrlr.TotalCostFallbackMessage": "tariffs",
}
# Required by part 4, 8, for those that speak over WebSocket.
REQUIRED_ON_WEBSOCKET = ("OCPPCommCtrlr.WebSocketPingInterval",)

BOTH = pytest.mark.parametrize("version", ["2.0.1", "2.1"])


def names(required: Mapping[str, str]) -> list[str]:
    return [f"{component}.{variable}" for component, variables in required.items() for variable in variables.split()]


def asked(name: str, **more: Any) -> dict[str, Any]:
    """What a CSMS writes for a name of the kit."""
    address = Address.parse(name)
    component: dict[str, Any] = {"name": address.component}
    if address.evse_id:
        component["evse"] = {"id": address.evse_id}
        if address.connector_id:
            component["evse"]["connector_id"] = address.connector_id
    variable = {"name": address.variable, **({"instance": address.instance} if address.instance else {})}
    return {"component": component, "variable": variable, **more}


def get(player: Player, name: str, **more: Any) -> tuple[str, str | None]:
    """The status and the value that GetVariables tells."""
    answer, said = player.command("GetVariables", get_variable_data=[asked(name, **more)])
    assert said == []
    result = answer.get_variable_result[0]
    return result["attribute_status"], result.get("attribute_value")


def put(player: Player, name: str, value: str, **more: Any) -> str:
    """The status that SetVariables tells."""
    answer, _ = player.command("SetVariables", set_variable_data=[asked(name, attribute_value=value, **more)])
    return str(answer.set_variable_result[0]["attribute_status"])


def report(player: Player, action: str, **fields: Any) -> tuple[str, list[dict[str, Any]]]:
    """The status of a report, and the data of all its parts."""
    answer, said = player.command(action, request_id=7, **fields)
    return answer.status, [row for part in parts(said) for row in part["reportData"]]


def parts(said: list[Said]) -> list[dict[str, Any]]:
    assert {action for action, _ in said} <= {"NotifyReport"}
    return [payload for _, payload in said]


def name_of(row: Mapping[str, Any]) -> str:
    """The kit's name of a row of a report."""
    component, variable = row["component"], row["variable"]
    evse = component.get("evse", {})
    found = find_name(
        9,
        Address(
            component["name"],
            variable["name"],
            variable.get("instance", ""),
            evse.get("id", 0),
            evse.get("connectorId", 0),
        ),
    )
    assert found is not None
    return found


# -- Which there are --------------------------------------------------------------------------------------------------


def test_all_required_variables_are_there_but_those_of_blocks_that_no_station_has() -> None:
    required = names(REQUIRED)
    assert len(required) == 64
    assert {name for name in required if name not in model(1)} == set(ABSENT)
    assert len(ABSENT) <= 12
    assert set(ABSENT.values()) <= {"displays", "ISO 15118", "tariffs", "certificates"}
    assert set(REQUIRED_ON_WEBSOCKET) <= set(model(1))


@BOTH
def test_each_required_variable_can_be_read(version: str) -> None:
    player = Player(version)
    of_the_charge_point = {"SecurityCtrlr.SecurityProfile"}  # a core alone has none
    for name in set(names(REQUIRED)) - set(ABSENT) - of_the_charge_point:
        status, value = get(player, name)
        assert status == "Accepted", name
        assert value or name in {"AlignedDataCtrlr.TxEndedMeasurands", "SecurityCtrlr.OrganizationName"}, name


def test_each_evse_and_connector_has_its_own() -> None:
    assert len(model(3)) - len(model(2)) == len(model(2)) - len(model(1))
    assert {"EVSE[3].Power", "Connector[3,1].ConnectorType"} <= set(model(3)) - set(model(2))


def test_names_and_addresses_are_the_same_thing() -> None:
    for name, address in addresses(2).items():
        assert find_name(2, address) == name
    assert Address.parse("EVSE[1].Power") == Address("EVSE", "Power", "", 1)
    assert Address.parse("Connector[2,1].Available") == Address("Connector", "Available", "", 2, 1)
    assert Address.parse("A.B[C]") == Address("A", "B", "C")
    for wrong in ("", "Power", "EVSE[1]", "EVSE[x].Power", "EVSE[1].Power[", "A.B.C"):
        with pytest.raises(ValueError, match="no name of a variable"):
            Address.parse(wrong)


# -- What the state tells ---------------------------------------------------------------------------------------------


def test_evses_and_connectors_tell_what_they_are() -> None:
    evses = (Evse(max_kw=22, phases=3), Evse(max_kw=3.7, phases=1, has_cable=True), Evse(max_kw=50, phases="DC"))
    player = Player(evses=evses)
    expected = {
        "Connector[1,1].ConnectorType": "sType2",
        "Connector[2,1].ConnectorType": "cType2",
        "Connector[3,1].ConnectorType": "cCCS2",
        "EVSE[1].SupplyPhases": "3",
        "EVSE[2].SupplyPhases": "1",
        "EVSE[3].SupplyPhases": "0",
        "Connector[3,1].SupplyPhases": "0",
        "ChargingStation.SupplyPhases": "3",
        "EVSE[2].Power": "0.0",
        "EVSE[2].AvailabilityState": "Available",
    }
    for name, value in expected.items():
        assert get(player, name) == ("Accepted", value), name
    assert player.core.variables.entry("EVSE[2].Power", 0).limit == 3700
    assert Player(evses=(Evse(phases=1),)).core.variables["ChargingStation.SupplyPhases"] == 1


def test_states_and_power_are_those_of_this_moment() -> None:
    player = Player(evses=(Evse(max_kw=11), Evse(max_kw=11)))
    variables = player.core.variables
    player.do(PlugIn(Vehicle(max_kw=11, soc=0.2), 1))
    assert variables["EVSE[1].AvailabilityState"] == variables["Connector[1,1].AvailabilityState"] == "Occupied"
    assert variables["EVSE[2].AvailabilityState"] == variables["ChargingStation.AvailabilityState"] == "Available"
    player.act("swipe TAG-1 1")
    player.wait(5)
    assert variables["EVSE[1].Power"] == 11_000
    assert get(player, "EVSE[1].Power") == ("Accepted", "11000.0")
    player.act("plug 2")
    assert variables["ChargingStation.AvailabilityState"] == "Occupied"
    player.do(Fault("GroundFault", 2))
    assert variables["EVSE[2].AvailabilityState"] == "Faulted"
    assert (variables["EVSE[2].Problem"], variables["EVSE[1].Problem"]) == (True, False)
    assert variables["ChargingStation.Problem"] is True


def test_charging_time_is_from_the_first_to_the_last_energy() -> None:
    player = Player()
    times = []
    for act in ("plug", "swipe TAG-1", "wait 100", "suspend ev", "wait 50", "resume ev", "wait 10", "unplug", "plug"):
        player.act(act)
        times.append(player.core.variables["TxCtrlr[1].ChargingTime"])
    assert times == [0, 0, 100, 100, 100, 150, 160, 160, 0]


def test_the_clock_and_the_local_list_are_live() -> None:
    player = Player()
    player.wait(60)
    assert get(player, "ClockCtrlr.DateTime") == ("Accepted", "2027-01-15T08:01:00.000Z")
    assert player.core.epoch == EPOCH
    assert get(player, "LocalAuthListCtrlr.Entries") == ("Accepted", "0")
    entry = {"id_token": {"id_token": "A", "type": "Central"}, "id_token_info": {"status": "Accepted"}}
    player.command("SendLocalList", version_number=1, update_type="Full", local_authorization_list=[entry])
    assert get(player, "LocalAuthListCtrlr.Entries") == ("Accepted", "1")
    assert player.core.variables.entry("LocalAuthListCtrlr.Entries").limit == MAX_TOKENS


def test_a_station_of_attached_cables_alone_cannot_unlock_them() -> None:
    name = "OCPPCommCtrlr.UnlockOnEVSideDisconnect"
    attached, mixed = Player(evses=(Evse(has_cable=True),)), Player(evses=(Evse(has_cable=True), Evse()))
    assert (get(attached, name), put(attached, name, "true")) == (("Accepted", "false"), "Rejected")
    assert (get(mixed, name), put(mixed, name, "false")) == (("Accepted", "true"), "Accepted")


# -- GetVariables and SetVariables ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "status"),
    [
        (asked("TxCtrlr.TxStopPoint"), "Accepted"),
        (asked("ocppcommctrlr.offlinethreshold"), "Accepted"),
        (asked("EVSE[1].Power"), "Accepted"),
        (asked("evse[2].power"), "Accepted"),
        (asked("Connector[1,1].Available"), "Accepted"),
        (asked("TxCtrlr.MaxEnergyOnInvalidId"), "Accepted"),  # B06.FR.13
        (asked("UnknownComponent.OfflineThreshold"), "UnknownComponent"),  # TC_B_32
        (asked("EVSE.Power"), "UnknownComponent"),
        (asked("EVSE[3].Power"), "UnknownComponent"),
        (asked("EVSE[1,1].Power"), "UnknownComponent"),
        (asked("Connector[1].Available"), "UnknownComponent"),
        (asked("Connector[1,2].Available"), "UnknownComponent"),
        (asked("TxCtrlr[1].ChargingTime"), "Accepted"),
        (asked("TxCtrlr[1].TxStopPoint"), "UnknownVariable"),
        (asked("AuthCtrlr[1].LocalPreAuthorize"), "UnknownComponent"),
        ({"component": {"name": "TxCtrlr", "instance": "x"}, "variable": {"name": "TxStopPoint"}}, "UnknownComponent"),
        (
            {"component": {"name": "TxCtrlr", "evse": {"id": 0}}, "variable": {"name": "TxStopPoint"}},
            "UnknownComponent",
        ),
        ({"component": {"name": "TxCtrlr", "instance": ""}, "variable": {"name": "TxStopPoint"}}, "Accepted"),
        (asked("OCPPCommCtrlr.UnknownVariable"), "UnknownVariable"),  # TC_B_33
        (asked("OCPPCommCtrlr.MessageTimeout"), "UnknownVariable"),  # B06.FR.15
        (asked("OCPPCommCtrlr.MessageTimeout[Other]"), "UnknownVariable"),
        (asked("OCPPCommCtrlr.OfflineThreshold[Default]"), "UnknownVariable"),
        (asked("EVSE[1].ConnectorType"), "UnknownVariable"),
        *(
            (asked("OCPPCommCtrlr.OfflineThreshold", attribute_type=kind), "NotSupportedAttributeType")  # TC_B_34
            for kind in ("Target", "MinSet", "MaxSet")
        ),
        (asked("SecurityCtrlr.BasicAuthPassword"), "Rejected"),  # B06.FR.09
    ],
)
@BOTH
def test_get_variables_finds_or_tells_what_is_unknown(version: str, question: dict[str, Any], status: str) -> None:
    player = Player(version, evses=(Evse(), Evse()))
    answer, _ = player.command("GetVariables", get_variable_data=[question])
    (result,) = answer.get_variable_result
    assert result["attribute_status"] == status
    assert ("attribute_value" in result) == (status == "Accepted")
    assert result["attribute_type"] == question.get("attribute_type", "Actual")  # B06.FR.11
    assert (result["component"], result["variable"]) == (question["component"], question["variable"])


@pytest.mark.parametrize(
    ("name", "value", "more", "status"),
    [
        ("OCPPCommCtrlr.OfflineThreshold", "300", {}, "Accepted"),  # TC_B_09
        ("OCPPCommCtrlr.OfflineThreshold", "300", {"attribute_type": "Actual"}, "Accepted"),
        ("SecurityCtrlr.BasicAuthPassword", "0123456789abcdef", {}, "Accepted"),
        ("OCPPCommCtrlr.NetworkConfigurationPriority", "2,1", {}, "RebootRequired"),  # B10.FR.01
        ("OCPPCommCtrlr.NetworkConfigurationPriority", "3", {}, "Rejected"),  # B10.FR.02
        ("OCPPCommCtrlr.OfflineThreshold", "300", {"attribute_type": "Target"}, "NotSupportedAttributeType"),  # TC_B_37
        ("UnknownComponent.OfflineThreshold", "1", {}, "UnknownComponent"),  # TC_B_35
        ("OCPPCommCtrlr.UnknownVariable", "1", {}, "UnknownVariable"),  # TC_B_36
        ("OCPPCommCtrlr.MessageTimeout[Default]", "1", {}, "Rejected"),  # TC_B_39
        ("ClockCtrlr.DateTime", "2027-01-15T08:00:00Z", {}, "Rejected"),
        ("EVSE[1].AvailabilityState", "Unavailable", {}, "Rejected"),
        ("EVSE[9].AvailabilityState", "Unavailable", {}, "UnknownComponent"),
        ("OCPPCommCtrlr.HeartbeatInterval", "0", {}, "Rejected"),  # B05.FR.08
        ("SmartChargingCtrlr.LimitChangeSignificance", "100.5", {}, "Rejected"),
        ("OCPPCommCtrlr.WebSocketPingInterval", "-1", {}, "Rejected"),  # part 4, 8.4
        *(
            ("OCPPCommCtrlr.OfflineThreshold", value, {}, "Rejected")  # TC_B_11
            for value in ("300.1", "true", "2027-01-15T08:00:00Z", "abc", "")
        ),
        ("AuthCtrlr.AuthorizeRemoteStart", "300", {}, "Rejected"),
        ("SecurityCtrlr.BasicAuthPassword", "short", {}, "Rejected"),
        ("TxCtrlr.TxStartPoint", "Nonsense", {}, "Rejected"),
        ("SampledDataCtrlr.TxUpdatedMeasurands", "Temperature", {}, "Rejected"),
    ],
)
@BOTH
def test_set_variables_has_each_status(version: str, name: str, value: str, more: dict[str, Any], status: str) -> None:
    player = Player(version)
    before = player.core.variables.dump()
    question = asked(name, attribute_value=value, **more)
    answer, said = player.command("SetVariables", set_variable_data=[question])
    (result,) = answer.set_variable_result
    assert result["attribute_status"] == status
    assert result["attribute_type"] == more.get("attribute_type", "Actual")  # B05.FR.12
    assert (result["component"], result["variable"]) == (question["component"], question["variable"])
    assert said == []
    has_changed = status in {"Accepted", "RebootRequired"}
    assert (player.core.variables.dump() != before) == has_changed
    if has_changed and "Password" not in name:
        assert get(player, name) == ("Accepted", value)


def test_refusals_say_why() -> None:
    player = Player()
    data = [
        asked("OCPPCommCtrlr.OfflineThreshold", attribute_value="soon"),
        asked("ClockCtrlr.DateTime", attribute_value="now"),
    ]
    answer, _ = player.command("SetVariables", set_variable_data=data)
    assert [each["attribute_status_info"]["reasonCode"] for each in answer.set_variable_result] == [
        "InvalidValue",
        "ReadOnly",
    ]
    assert "whole number" in answer.set_variable_result[0]["attribute_status_info"]["additionalInfo"]


def test_each_item_of_a_message_has_its_answer_and_the_good_ones_count() -> None:
    player = Player()
    data = [
        asked("OCPPCommCtrlr.OfflineThreshold", attribute_value="300"),
        asked("OCPPCommCtrlr.Nonsense", attribute_value="300"),
        asked("AuthCtrlr.LocalAuthorizeOffline", attribute_value="false"),
    ]
    answer, _ = player.command("SetVariables", set_variable_data=data)
    statuses = [each["attribute_status"] for each in answer.set_variable_result]
    assert statuses == ["Accepted", "UnknownVariable", "Accepted"]  # B05.FR.01, TC_B_10
    answer, _ = player.command("GetVariables", get_variable_data=[asked("OCPPCommCtrlr.OfflineThreshold")] * 3)
    assert [each["attribute_value"] for each in answer.get_variable_result] == ["300"] * 3


@pytest.mark.parametrize(
    ("action", "field"),
    [
        ("GetVariables", "get_variable_data"),
        ("SetVariables", "set_variable_data"),
        ("GetReport", "component_variable"),
    ],
)
def test_too_many_items_are_a_violation(action: str, field: str) -> None:
    item = asked("OCPPCommCtrlr.OfflineThreshold", **({"attribute_value": "1"} if action == "SetVariables" else {}))
    more = {"request_id": 1} if action == "GetReport" else {}
    player = Player(variables={f"DeviceDataCtrlr.ItemsPerMessage[{action}]": 2})
    player.command(action, **{field: [item] * 2}, **more)
    with pytest.raises(OccurrenceConstraintViolationError, match="3 items, and DeviceDataCtrlr"):
        player.command(action, **{field: [item] * 3}, **more)
    assert VARIABLES[f"DeviceDataCtrlr.ItemsPerMessage[{action}]"].default == MAX_ITEMS


def test_no_answer_and_no_report_tells_the_password() -> None:
    player = Player()
    password = "a-secret-of-the-csms"
    put(player, "SecurityCtrlr.BasicAuthPassword", password)
    _, said = player.command("GetBaseReport", request_id=1, report_base="FullInventory")
    assert password not in str(said)
    assert password not in str(player.core.variables.to_frame().to_dict())
    assert password not in repr(player.core.variables) + player.core.variables._repr_html_()
    assert "SecurityCtrlr.BasicAuthPassword" not in player.core.variables
    with pytest.raises(KeyError, match="can be set, and not read"):
        player.core.variables["SecurityCtrlr.BasicAuthPassword"]


# -- Reports ----------------------------------------------------------------------------------------------------------


@BOTH
def test_full_inventory_reports_everything_in_parts(version: str) -> None:
    player = Player(version, evses=(Evse(), Evse()))
    player.wait(1)
    answer, said = player.command("GetBaseReport", request_id=42, report_base="FullInventory")
    assert answer.status == "Accepted"
    said_parts = parts(said)
    count = len(model(2))
    assert len(said_parts) == -(-count // PART) > 2
    assert [part["seqNo"] for part in said_parts] == list(range(len(said_parts)))  # B07.FR.10
    assert [part["tbc"] for part in said_parts] == [True] * (len(said_parts) - 1) + [False]
    assert {part["requestId"] for part in said_parts} == {42}  # B07.FR.04
    assert {part["generatedAt"] for part in said_parts} == {"2027-01-15T08:00:01.000Z"}
    rows = {name_of(row): row for part in said_parts for row in part["reportData"]}
    assert rows.keys() == model(2).keys()
    for name, row in rows.items():
        variable, (attribute,) = model(2)[name], row["variableAttribute"]
        assert row["variableCharacteristics"]["dataType"] == variable.type
        members = [each for each in variable.members if each != "Temperature"]  # a measurand of OCPP 1.6 alone
        assert row["variableCharacteristics"].get("valuesList", "") == ",".join(members)
        assert attribute["type"] == "Actual"
        if "value" in attribute:
            assert get(player, name) == ("Accepted", attribute["value"])
    assert rows["EVSE[1].Power"]["variableCharacteristics"] == {
        "dataType": "decimal",
        "supportsMonitoring": False,
        "unit": "W",
        "maxLimit": 22000.0,
    }
    assert rows["OCPPCommCtrlr.HeartbeatInterval"]["variableAttribute"][0]["persistent"] is True
    assert "value" not in rows["TxCtrlr.MaxEnergyOnInvalidId"]["variableAttribute"][0]  # B07.FR.11


def test_configuration_inventory_reports_what_can_be_set() -> None:
    status, rows = report(Player(), "GetBaseReport", report_base="ConfigurationInventory")
    assert status == "Accepted"
    assert {row["variableAttribute"][0]["mutability"] for row in rows} == {"ReadWrite", "WriteOnly"}
    assert {name_of(row) for row in rows} == {
        name for name, variable in VARIABLES.items() if variable.mutability != "ReadOnly"
    }


def test_summary_inventory_reports_availability_and_problems() -> None:
    player = Player(evses=(Evse(), Evse()))
    player.do(Fault("GroundFault", 2))
    status, rows = report(player, "GetBaseReport", report_base="SummaryInventory")
    assert status == "Accepted"
    values = {name_of(row): row["variableAttribute"][0]["value"] for row in rows}
    assert values == {
        "ChargingStation.AvailabilityState": "Available",
        "ChargingStation.Problem": "true",
        "EVSE[1].AvailabilityState": "Available",
        "EVSE[1].Problem": "false",
        "EVSE[2].AvailabilityState": "Faulted",
        "EVSE[2].Problem": "true",
        "Connector[1,1].AvailabilityState": "Available",
        "Connector[1,1].Problem": "false",
        "Connector[2,1].AvailabilityState": "Faulted",
        "Connector[2,1].Problem": "true",
    }


def reported(player: Player, **criteria: Any) -> set[str]:
    status, rows = report(player, "GetReport", **criteria)
    assert status == ("Accepted" if rows else "EmptyResultSet")
    return {name_of(row) for row in rows}


def meant(component: str, variable: str | None = None, **evse: Any) -> dict[str, Any]:
    """A ComponentVariable."""
    found: dict[str, Any] = {"component": {"name": component, **({"evse": evse} if evse else {})}}
    if variable:
        found["variable"] = {"name": variable}
    return found


def test_a_report_is_limited_to_the_components_and_variables_that_are_named() -> None:
    player = Player(evses=(Evse(), Evse()))
    all_of_evse_1 = {name for name in model(2) if name.startswith("EVSE[1].")}
    cases: list[tuple[list[dict[str, Any]], set[str]]] = [
        ([meant("EVSE", "AvailabilityState", id=1)], {"EVSE[1].AvailabilityState"}),  # TC_B_17
        ([meant("EVSE", "Power")], {"EVSE[1].Power", "EVSE[2].Power"}),  # B08.FR.23
        ([meant("EVSE", id=1)], all_of_evse_1),  # B08.FR.20
        ([meant("Connector", "ConnectorType", id=2)], {"Connector[2,1].ConnectorType"}),  # B08.FR.22
        ([meant("connector", "connectortype", id=2, connector_id=1)], {"Connector[2,1].ConnectorType"}),
        (
            [meant("DeviceDataCtrlr", "ItemsPerMessage")],  # B08.FR.21
            {f"DeviceDataCtrlr.ItemsPerMessage[{each}]" for each in ("GetReport", "GetVariables", "SetVariables")},
        ),
        (
            [
                {
                    "component": {"name": "DeviceDataCtrlr"},
                    "variable": {"name": "ItemsPerMessage", "instance": "GetReport"},
                }
            ],
            {"DeviceDataCtrlr.ItemsPerMessage[GetReport]"},
        ),
        ([meant("EVSE", "Power", id=2), meant("ClockCtrlr", "DateTime")], {"EVSE[2].Power", "ClockCtrlr.DateTime"}),
        ([meant("EVSE", "Power", id=3)], set()),  # B08.FR.15
        ([meant("Nonsense")], set()),
        ([meant("EVSE", "Nonsense")], set()),
        ([{"component": {"name": "EVSE", "instance": "left"}}], set()),
    ]
    for asked_for, expected in cases:
        assert reported(player, component_variable=asked_for) == expected, asked_for


def test_a_report_is_limited_to_components_that_meet_a_criterion() -> None:
    player = Player(evses=(Evse(), Evse()), variables={"AuthCacheCtrlr.Enabled": False})
    everything = set(model(2))

    def of(*components: str) -> set[str]:
        return {name for name in everything if name.partition(".")[0] in components}

    assert reported(player) == everything
    assert reported(player, component_criteria=["Active"]) == everything  # no component has the variable: B08.FR.07
    not_available = of("MonitoringCtrlr")
    assert reported(player, component_criteria=["Available"]) == everything - not_available
    assert reported(player, component_criteria=["Enabled"]) == everything - of("AuthCacheCtrlr")
    assert reported(player, component_criteria=["Problem"]) == set()
    player.do(Fault("GroundFault", 2))
    broken = of("ChargingStation", "EVSE[2]", "Connector[2,1]")
    assert reported(player, component_criteria=["Problem"]) == broken
    assert reported(player, component_criteria=["Problem", "Enabled"]) == everything - of("AuthCacheCtrlr")  # B08.FR.13


def test_both_kinds_of_criteria_limit_a_report_together() -> None:
    player = Player()
    asked_for = [meant("EVSE", "AvailabilityState", id=1)]
    one = {"EVSE[1].AvailabilityState"}
    assert reported(player, component_criteria=["Available"], component_variable=asked_for) == one  # TC_B_18
    assert reported(player, component_criteria=["Problem"], component_variable=asked_for) == set()


@pytest.mark.parametrize("second", [("GetBaseReport", {"report_base": "FullInventory"}), ("GetReport", {})])
def test_a_second_report_is_rejected_while_one_is_sent(second: tuple[str, dict[str, Any]]) -> None:
    player = Player()
    action, fields = second
    answers = []

    def ask_in_between(message: Any, said: Said) -> Any:
        if not answers and said[0] == "NotifyReport":
            answers.append(player.core.dialect.commands[action].run(player.core, 0, {"request_id": 2, **fields}))
        return player.answer(message, said)

    player.answers = ask_in_between
    _, said = player.command("GetBaseReport", request_id=1, report_base="FullInventory")
    assert [answer.status for answer in answers] == ["Rejected"]  # B07.FR.13, B08.FR.16
    assert {part["requestId"] for part in parts(said)} == {1}
    assert report(player, action, **fields)[0] == "Accepted"


def test_a_report_ends_with_the_connection_and_another_one_can_be_asked_for() -> None:
    player = Player()

    def lose(_message: Any, _said: Said) -> Any:
        player.core.handle(Offline(), player.now)
        return player.answer(_message, _said)

    player.answers = lose
    _, said = player.command("GetBaseReport", request_id=1, report_base="FullInventory")
    assert len(said) == 1
    player.answers = None
    assert player.do(Online()) == []
    assert report(player, "GetBaseReport", report_base="FullInventory")[0] == "Accepted"


def test_a_report_before_the_station_is_accepted_is_sent_outside_of_the_queue() -> None:
    """B02.FR.01, .02."""
    player = Player(is_started=False)
    answer, said = player.command("GetBaseReport", request_id=1, report_base="SummaryInventory")
    assert (answer.status, said) == ("Accepted", [])
    again, _ = player.command("GetReport", request_id=2)
    assert again.status == "Rejected"
    (build,) = player.core.triggers.drain_early()
    assert build().request_id == 1
    assert player.command("GetReport", request_id=2)[0].status == "Accepted"
