"""The variables of a station: what each takes and refuses, and how they are read, by the names of each version."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from ocpp.v201.enums import DataEnumType, MeasurandEnumType

from cpsim_kit.station.charging.meter import MEASURANDS, PER_PHASE
from cpsim_kit.station.device_model.device_model import PLACES
from cpsim_kit.station.device_model.variables import VARIABLES, Variables
from cpsim_kit.station.dialects import dialect_of

REGISTER = "Energy.Active.Import.Register"
KEPT = {name: variable for name, variable in VARIABLES.items() if variable.live is None}
LIVE = sorted(VARIABLES.keys() - KEPT.keys())
INTEGERS = sorted(name for name, variable in KEPT.items() if variable.type == "integer" and variable.maximum is None)
BOOLEANS = sorted(name for name, variable in KEPT.items() if variable.type == "boolean")
LISTS = sorted(name for name, variable in KEPT.items() if variable.is_list)
POINTS = ["TxCtrlr.TxStartPoint", "TxCtrlr.TxStopPoint"]
MEASURAND_LISTS = sorted(name for name, variable in KEPT.items() if variable.members == tuple(MEASURANDS))
TYPES = {"boolean", "integer", "decimal", "string", "dateTime", "OptionList", "SequenceList", "MemberList"}


def make(version: str = "2.0.1", **given: object) -> Variables:
    """The variables of a station, some of them set; in a keyword "__" stands for the dot."""
    dialect = dialect_of(version, 0.0, 2)
    names = {name.replace("__", "."): value for name, value in given.items()}
    return Variables(dialect, names)


def test_every_variable_has_a_type_of_the_schema_and_lists_say_what_they_hold() -> None:
    types = {each.value for each in DataEnumType}
    for name, variable in {**VARIABLES, **{place.name: place for place in PLACES}}.items():
        assert variable.type in types, name
        assert bool(variable.members) == (variable.type in {"OptionList", "SequenceList", "MemberList"}), name
        assert len(",".join(variable.members)) <= 1000, name
        assert variable.mutability in {"ReadOnly", "ReadWrite", "WriteOnly"}
        assert variable.live is None or variable.mutability == "ReadOnly"


@pytest.mark.parametrize("name", [name for name, variable in VARIABLES.items() if variable.default is not None])
def test_a_default_is_a_value_of_its_variable_and_so_is_its_text(name: str) -> None:
    variable = VARIABLES[name]
    assert variable.parse(variable.default) == variable.default
    assert variable.parse(variable.to_text(variable.default)) == variable.default


# -- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "parsed"),
    [(True, True), (False, False), ("true", True), ("false", False), ("TRUE", True), (" False ", False)],
)
def test_a_boolean_is_true_or_false(value: object, parsed: bool) -> None:
    for name in BOOLEANS:
        assert VARIABLES[name].parse(value) is parsed


@pytest.mark.parametrize("value", ["", "yes", "1", "0", 1, 0, None, "tru", [True]])
def test_a_boolean_is_nothing_else(value: object) -> None:
    for name in BOOLEANS:
        with pytest.raises(ValueError, match=f"{name} is true or false, not "):
            VARIABLES[name].parse(value)


@pytest.mark.parametrize(
    ("value", "parsed"), [(1, 1), ("60", 60), (" 60 ", 60), ("2147483647", 2**31 - 1), (2**31 - 1, 2**31 - 1)]
)
def test_an_integer_is_a_whole_number_of_31_bits(value: object, parsed: int) -> None:
    for name in INTEGERS:
        found = VARIABLES[name].parse(value)
        assert found == parsed
        assert type(found) is int


@pytest.mark.parametrize(
    "value",
    [
        *["", "abc", "6 0", "1_000", "1.0", "1e3", "0x10", "+1", "01", "-1", "٣", "2147483648", "9" * 400, "1" * 5000],
        *[-1, 1.5, 60.0, 2**31, 10**400, True, False, None, [60]],
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_integer_is_nothing_else(value: object) -> None:
    for name in INTEGERS:
        with pytest.raises(ValueError, match=r"is a whole number from [01] to 2147483647, not ") as refused:
            VARIABLES[name].parse(value)
        assert str(refused.value).startswith(name)
        assert len(str(refused.value)) < 200


def test_0_is_a_value_where_it_means_something() -> None:
    for name in INTEGERS:
        variable = VARIABLES[name]
        if VARIABLES[name].minimum:
            with pytest.raises(ValueError, match="from 1 to"):
                variable.parse(0)
        else:
            assert variable.parse(0) == 0


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("EVConnected", ("EVConnected",)),
        ("EVConnected,Authorized", ("EVConnected", "Authorized")),
        (" evconnected , AUTHORIZED ", ("EVConnected", "Authorized")),
        (["Authorized", "EVConnected"], ("Authorized", "EVConnected")),
        (("EnergyTransfer",), ("EnergyTransfer",)),
        ("Authorized,,Authorized,authorized", ("Authorized",)),
    ],
)
def test_points_are_a_text_or_a_list(value: object, parsed: tuple[str, ...]) -> None:
    for name in POINTS:
        assert VARIABLES[name].parse(value) == parsed


@pytest.mark.parametrize("value", ["", " , ", [], ()])
def test_points_are_not_empty(value: object) -> None:
    for name in POINTS:
        with pytest.raises(ValueError, match=f"{name} holds at least one of EVConnected, Authorized"):
            VARIABLES[name].parse(value)


@pytest.mark.parametrize("value", ["", " , ", [], ()])
def test_measurands_may_be_empty(value: object) -> None:
    for name in MEASURAND_LISTS:
        assert VARIABLES[name].parse(value) == ()
        assert VARIABLES[name].to_text(()) == ""


def test_each_measurand_is_taken_in_any_case_and_keeps_its_place() -> None:
    for name in MEASURAND_LISTS:
        for measurand in MEASURANDS:
            assert VARIABLES[name].parse(f"Voltage,{measurand.upper()}")[-1] == measurand


@pytest.mark.parametrize("measurand", sorted(MEASURANDS))
def test_a_phase_is_taken_of_what_is_measured_per_phase_alone(measurand: str) -> None:
    variable = VARIABLES["SampledDataCtrlr.TxUpdatedMeasurands"]
    if measurand in PER_PHASE:
        assert variable.parse(f"{measurand.lower()}.L2") == (f"{measurand}.L2",)
    else:
        with pytest.raises(ValueError, match=rf"not '{measurand}\.L2'"):
            variable.parse(f"{measurand}.L2")


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("TxCtrlr.TxStartPoint", "EVConnected,Plugged", "'Plugged'"),
        ("TxCtrlr.TxStartPoint", "EVConnected.L1", r"'EVConnected\.L1'"),
        ("TxCtrlr.TxStartPoint", "EVConnected Authorized", "'EVConnected Authorized'"),
        ("TxCtrlr.TxStopPoint", [1], "'1'"),
        ("TxCtrlr.TxStopPoint", [None], "'None'"),
        ("TxCtrlr.TxStopPoint", b"Authorized", "'65'"),
        ("SampledDataCtrlr.TxUpdatedMeasurands", "Voltage.L4", r"'Voltage\.L4'"),
        ("SampledDataCtrlr.TxUpdatedMeasurands", "Voltage.", r"'Voltage\.'"),
        ("SampledDataCtrlr.TxUpdatedMeasurands", ".L1", r"'\.L1'"),
        ("SampledDataCtrlr.TxUpdatedMeasurands", "x" * 5000, "'xxxx.*…"),
    ],
)
def test_a_list_refuses_what_it_does_not_hold_and_names_it(name: str, value: object, wrong: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} holds .*; not {wrong}") as refused:
        VARIABLES[name].parse(value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("value", [None, 5, True])
def test_a_list_is_no_single_number(value: object) -> None:
    for name in LISTS:
        with pytest.raises(ValueError, match=f"{name} is a list of .*, not {value}"):
            VARIABLES[name].parse(value)


def test_measurands_are_those_of_the_meter() -> None:
    assert len(MEASURAND_LISTS) == 5
    for name in MEASURAND_LISTS:
        assert set(VARIABLES[name].default) <= {each.value for each in MeasurandEnumType}


# -- The mapping, OCPP 2.0.1 ------------------------------------------------------------------------------------------


def test_they_are_read_by_name_with_the_type_of_their_value() -> None:
    variables = make()
    assert variables["TxCtrlr.TxStartPoint"] == ("PowerPathClosed",)
    assert variables["TxCtrlr.StopTxOnInvalidId"] is True
    assert variables["OCPPCommCtrlr.MessageTimeout[Default]"] == 30
    assert dict(variables)["SampledDataCtrlr.TxUpdatedInterval"] == 60


def test_given_values_replace_the_defaults() -> None:
    variables = make(TxCtrlr__TxStartPoint="evconnected", TxCtrlr__EVConnectionTimeOut="5")
    assert variables["TxCtrlr.TxStartPoint"] == ("EVConnected",)
    assert variables["TxCtrlr.EVConnectionTimeOut"] == 5
    assert variables["TxCtrlr.TxStopPoint"] == ("EVConnected", "Authorized")


def test_defaults_are_not_shared_between_stations() -> None:
    first, second = make(), make()
    first.set("TxCtrlr.EVConnectionTimeOut", 1)
    assert second["TxCtrlr.EVConnectionTimeOut"] == 60


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TxStartPoint", "did you mean TxCtrlr.TxStartPoint"),
        ("TXCTRLR.TXSTARTPOINT", "did you mean TxCtrlr.TxStartPoint"),
        ("txctrlr.evconnectiontimeout", r"did you mean TxCtrlr\.EVConnectionTimeOut"),
        ("OCPPCommCtrlr.MessageTimeout", r"did you mean OCPPCommCtrlr.MessageTimeout\[Default\]"),
        ("SampledDataCtrlr.TxUpdatedIntervall", "did you mean SampledDataCtrlr.TxUpdatedInterval"),
    ],
)
def test_a_wrong_name_is_refused_with_the_right_one(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"no variable '{name}'; {hint}"):
        make(**{name: 1})
    with pytest.raises(KeyError, match=f"no variable '{name}'; {hint}"):
        make()[name]


@pytest.mark.parametrize("name", ["xyz", ""])
def test_a_name_like_no_other_is_refused_without_a_hint(name: str) -> None:
    with pytest.raises(ValueError, match=f"^this station has no variable '{name}'$"):
        make(**{name: 1})


def test_a_value_that_is_refused_changes_nothing() -> None:
    variables = make()
    with pytest.raises(ValueError, match="whole number"):
        variables.set("TxCtrlr.EVConnectionTimeOut", "soon")
    assert variables["TxCtrlr.EVConnectionTimeOut"] == 60
    with pytest.raises(KeyError):
        variables.set("TxCtrlr.Nothing", 1)


def test_maximum_energy_is_absent_until_it_is_set() -> None:
    variables = make()
    name = "TxCtrlr.MaxEnergyOnInvalidId"
    assert name not in variables
    assert name not in list(variables)
    assert variables.get(name) is None
    assert (variables.value(name), variables.text(name)) == (None, "")
    assert variables.has(name)
    assert row(variables.to_frame(), name)[0] == ""
    with pytest.raises(KeyError, match="MaxEnergyOnInvalidId is not set"):
        variables[name]
    before = len(variables)
    variables.set(name, "500")
    assert (variables[name], variables.text(name), len(variables)) == (500, "500", before + 1)
    assert name in variables


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
def test_what_is_listed_can_be_read_and_nothing_else(version: str) -> None:
    variables = make(version)
    assert len(list(variables)) == len(variables) == len(set(variables))
    for name in variables:
        assert name in variables
        assert variables.has(name)
        assert isinstance(variables[name], bool | int | float | tuple | str)
        assert isinstance(variables.text(name), str)
    assert "Nothing" not in variables
    assert not variables.has("Nothing")


def test_texts_are_as_ocpp_writes_them() -> None:
    variables = make()
    assert variables.text("TxCtrlr.StopTxOnInvalidId") == "true"
    assert variables.text("TxCtrlr.EVConnectionTimeOut") == "60"
    assert variables.text("TxCtrlr.TxStopPoint") == "EVConnected,Authorized"
    assert variables.text("AlignedDataCtrlr.TxEndedMeasurands") == ""


# -- OCPP 1.6 ---------------------------------------------------------------------------------------------------------


def test_a_key_of_1_6_sets_all_variables_that_it_stands_for() -> None:
    variables = make("1.6", MeterValueSampleInterval=10, ClockAlignedDataInterval="900")
    assert variables["MeterValueSampleInterval"] == 10
    for name, value in {
        "SampledDataCtrlr.TxUpdatedInterval": 10,
        "SampledDataCtrlr.TxEndedInterval": 10,
        "AlignedDataCtrlr.Interval": 900,
        "AlignedDataCtrlr.TxEndedInterval": 900,
    }.items():
        assert variables.value(name) == value
    assert repr(variables).endswith(", 2 of them changed>")


def test_what_a_key_of_1_6_stands_for_has_one_default() -> None:
    variables = make("1.6")
    for name in variables:
        stands_for = dialect_of("1.6", 0, 1).names.get(name, ())
        assert len({variables.value(variable) for variable in stands_for}) <= 1, name


def test_what_1_6_cannot_set_has_the_default_of_2_0_1_or_its_own() -> None:
    variables = make("1.6")
    assert variables.value("TxCtrlr.TxStartPoint") == ("PowerPathClosed",)
    assert variables.value("TxCtrlr.TxStopPoint") == ("Authorized",)  # the cable ends the authorization


def test_names_of_2_0_1_are_no_keys_of_1_6() -> None:
    with pytest.raises(ValueError, match=r"no variable 'TxCtrlr\.EVConnectionTimeOut'; did you mean ConnectionTimeOut"):
        make("1.6", TxCtrlr__EVConnectionTimeOut=5)


def test_a_key_of_1_6_in_capitals_is_refused_with_the_right_one() -> None:
    with pytest.raises(ValueError, match="did you mean MeterValueSampleInterval"):
        make("1.6", METERVALUESAMPLEINTERVAL=5)


def test_read_only_keys_can_be_read_alone() -> None:
    variables = make("1.6")
    assert variables["NumberOfConnectors"] == variables.text("NumberOfConnectors") == "2"
    assert variables.is_read_only("NumberOfConnectors")
    assert not variables.is_read_only("HeartbeatInterval")
    with pytest.raises(KeyError):
        variables.set("NumberOfConnectors", 3)
    with pytest.raises(ValueError, match="NumberOfConnectors is read-only"):
        make("1.6", NumberOfConnectors=3)


def test_a_reader_who_sets_one_like_an_item_of_a_dict_is_told_how_it_is_done() -> None:
    with pytest.raises(TypeError, match=r"the CSMS sets .*EVConnectionTimeOut, or you give it .* variables="):
        make("2.0.1")["TxCtrlr.EVConnectionTimeOut"] = 5


# -- What a reader sees -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_table_has_a_row_for_each_variable(version: str) -> None:
    variables = make(version)
    frame = variables.to_frame()
    assert list(frame.columns)[:6] == ["variable", "value", "unit", "read_only", "type", "mutability"]
    assert [name for name, value in zip(frame.variable, frame.value, strict=True) if value] == [
        name for name in variables if variables.text(name)
    ]
    assert frame.read_only.dtype == bool
    assert [variables.text(name) for name in frame.variable] == list(frame.value)
    assert set(frame.type) <= TYPES


def row(frame: pd.DataFrame, name: str) -> list[Any]:
    return list(frame.set_index("variable").loc[name])


def test_rows_of_the_table() -> None:
    frame = make("1.6", MaxEnergyOnInvalidId=100).to_frame()
    assert row(frame, "MaxEnergyOnInvalidId")[:4] == ["100", "Wh", False, "integer"]
    assert row(frame, "NumberOfConnectors")[:4] == ["2", "", True, "string"]
    assert row(frame, "StopTxnSampledData")[:4] == [REGISTER, "", False, "MemberList"]
    assert row(frame, "LocalPreAuthorize")[:4] == ["false", "", False, "boolean"]


def test_columns_of_the_table_say_what_a_variable_may_hold() -> None:
    frame = make().to_frame().set_index("variable")
    heartbeat = frame.loc["OCPPCommCtrlr.HeartbeatInterval"]
    assert (heartbeat.mutability, heartbeat.min_limit, heartbeat.unit) == ("ReadWrite", 1, "s")
    assert pd.isna(heartbeat.max_limit)
    password = frame.loc["SecurityCtrlr.BasicAuthPassword"]
    assert (password.mutability, password.value) == ("WriteOnly", "")
    assert (password.min_limit, password.max_limit) == (16, 40)
    assert frame.loc["OCPPCommCtrlr.NetworkConfigurationPriority"].values_list == "1,2"
    assert list(frame.index[frame.needs_reboot]) == ["OCPPCommCtrlr.NetworkConfigurationPriority"]
    assert set(frame.attribute_types) == {"Actual"}
    assert not frame.supports_monitoring.any()


def test_repr_counts_the_variables_and_those_that_were_set() -> None:
    variables = make()
    count = len(variables)
    assert repr(variables) == f"<Variables: {count}, 0 of them changed>"
    variables.set("TxCtrlr.MaxEnergyOnInvalidId", 1)
    assert repr(variables) == f"<Variables: {count + 1}, 1 of them changed>"


def test_card_shows_names_and_values() -> None:
    card = make(TxCtrlr__TxStartPoint="EnergyTransfer")._repr_html_()
    assert "TxCtrlr.TxStartPoint" in card
    assert ">EnergyTransfer<" in card
    assert "MaxEnergyOnInvalidId" not in card


# -- Further types ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "parsed"), [("2.5", 2.5), ("0", 0.0), (" 100 ", 100.0), (1, 1.0), (0.25, 0.25)])
def test_a_decimal_is_a_number_within_its_limits(value: object, parsed: float) -> None:
    assert VARIABLES["SmartChargingCtrlr.LimitChangeSignificance"].parse(value) == parsed


@pytest.mark.parametrize("value", ["", "abc", "1e3", "nan", "inf", "-1", "100.1", "1,5", "1.", True, None, "9" * 400])
def test_a_decimal_is_nothing_else(value: object) -> None:
    with pytest.raises(ValueError, match="LimitChangeSignificance is a number from 0 to 100, not"):
        VARIABLES["SmartChargingCtrlr.LimitChangeSignificance"].parse(value)


def test_a_sequence_keeps_its_order() -> None:
    variable = VARIABLES["OCPPCommCtrlr.NetworkConfigurationPriority"]
    assert variable.parse("2,1") == ("2", "1")
    for wrong in ("", "3", "1,2,3", "0"):
        with pytest.raises(ValueError, match="NetworkConfigurationPriority holds"):
            variable.parse(wrong)


@pytest.mark.parametrize("value", ["short", "x" * 15, "x" * 41, "", None, 5, 1234567890123456])
def test_a_password_has_16_to_40_characters_and_no_error_shows_it(value: object) -> None:
    variable = VARIABLES["SecurityCtrlr.BasicAuthPassword"]
    assert variable.parse("x" * 16) == "x" * 16
    with pytest.raises(ValueError, match="has 16 to 40 characters") as refused:
        variable.parse(value)
    assert not (isinstance(value, str) and value and value in str(refused.value))


@pytest.mark.parametrize(
    ("value", "is_held"),
    [
        ("1.RST,2.RTS", True),
        ("0.RST, 1.NotApplicable", True),
        ("3.RST", False),
        ("1.XYZ", False),
        ("RST", False),
        ("", False),
        ("1.RST,", False),
    ],
)
def test_phase_rotation_of_1_6_is_given_for_each_connector(value: str, is_held: bool) -> None:
    variables = make("1.6")
    assert variables["ConnectorPhaseRotation"] == "1.Unknown,2.Unknown"
    if is_held:
        variables.set("ConnectorPhaseRotation", value)
    else:
        with pytest.raises(ValueError, match="ConnectorPhaseRotation holds no"):
            variables.set("ConnectorPhaseRotation", value)


@pytest.mark.parametrize("name", LIVE)
def test_what_comes_from_the_station_cannot_be_given(name: str) -> None:
    with pytest.raises(ValueError, match="is read-only"):
        Variables(dialect_of("2.0.1", 0.0, 1), {name: "1"})


def test_what_the_csms_may_not_set_can_be_given() -> None:
    name = "DeviceDataCtrlr.ItemsPerMessage[GetVariables]"
    assert Variables(dialect_of("2.0.1", 0.0, 1), {name: 2})[name] == 2
    with pytest.raises(ValueError, match="is read-only"):
        make().change(name, 2)
