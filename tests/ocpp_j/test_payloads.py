"""Payloads: names on the wire and in Python, values, violations; the schemas themselves are the oracle."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import json
import math
import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from ocpp.v16 import call as call16
from ocpp.v16 import datatypes as types16
from ocpp.v16 import enums as enums16
from ocpp.v21 import call as call21
from ocpp.v21 import datatypes as types21
from ocpp.v201 import call as call201
from ocpp.v201 import datatypes as types201
from ocpp.v201 import enums as enums201
from schema_payloads import fullest, resolve, smallest

from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.ocpp_j.frames import dump_json, load_json
from cpsim_kit.ocpp_j.payloads import Message
from cpsim_kit.ocpp_j.versions import Version

PACKAGES = {"1.6": "v16", "2.0.1": "v201", "2.1": "v21"}
# OCPP 1.6 has schemas without type names, so that a type is found by the name of a property that holds it.
HOLDERS_16 = {
    "authorizationdata": ["localAuthorizationList"],
    "chargingprofile": ["chargingProfile", "csChargingProfiles"],
    "keyvalue": ["configurationKey"],
    "metervalue": ["meterValue", "transactionData"],
}
# Schemas for which ocpp 2.1.0 has no action and no dataclass.
NO_ACTION = {"2.1": {"NotifyPeriodicEventStream.json"}}


class Place(NamedTuple):
    """An object in a message: the message, the keys that lead there, and the property names it has."""

    message: Message
    keys: tuple[tuple[str, bool], ...]  # key, and whether an array lies below it
    properties: frozenset[str]

    def write(self, value: object) -> dict[str, Any]:
        """What ``value`` becomes on the wire when it stands at this place."""
        for key, array in reversed(self.keys):
            value = {key: [value] if array else value}
        return self._at(self.message.write(value))

    def read(self, value: object) -> dict[str, Any]:
        """What a received ``value`` becomes in Python."""
        for key, array in reversed(self.keys):
            value = {key: [value] if array else value}
        return self._at(self.message.read(value))

    def _at(self, value: Any) -> dict[str, Any]:
        for _, array in self.keys:
            (value,) = value.values()
            if array:
                (value,) = value
        assert isinstance(value, dict)
        return value


@functools.cache
def messages(name: str) -> list[tuple[str, Message]]:
    """Every request and response of a version."""
    version = Version.get(name)
    found = []
    for action in sorted(version.actions):
        for side in ("request", "response"):
            with contextlib.suppress(ProtocolViolation):  # some requests of OCPP 2.1 have no answer
                found.append((side, getattr(version, side)(action)))
    return found


@functools.cache
def places(name: str) -> dict[str, list[Place]]:
    """Every object below a message, by its type's name in lower case, or its property's where the schema names none."""
    found: dict[str, list[Place]] = {}

    def walk(message: Message, schema: dict[str, Any], kind: str, keys: tuple[tuple[str, bool], ...]) -> None:
        kind = schema.get("$ref", kind).rpartition("/")[2]
        schema = resolve(schema, message.schema)
        if "items" in schema:
            return walk(message, schema["items"], kind, (*keys[:-1], (keys[-1][0], True)))
        if "properties" in schema:
            if keys:
                kind = schema.get("javaType", kind).lower().removesuffix("type")
                found.setdefault(kind, []).append(Place(message, keys, frozenset(schema["properties"])))
            for wire, below in schema["properties"].items():
                walk(message, below, wire, (*keys, (wire, False)))
        return None

    for _, message in messages(name):
        walk(message, message.schema, "", ())
    return found


def dataclasses_of(module: Any) -> list[type]:
    return [
        cls
        for cls in vars(module).values()
        if isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == module.__name__
    ]


def cases(*modules: str) -> list[Any]:
    return [
        pytest.param(name, cls, id=f"{name}-{module}-{cls.__name__}")
        for name, package in PACKAGES.items()
        for module in modules
        for cls in dataclasses_of(importlib.import_module(f"ocpp.{package}.{module}"))
    ]


def places_of(name: str, cls: type) -> list[Place]:
    """Where a dataclass of the ocpp package stands in the version's schemas."""
    module = cls.__module__.rpartition(".")[2]
    if module != "datatypes":
        message = getattr(Version.get(name), "request" if module == "call" else "response")(cls.__name__)
        return [Place(message, (), frozenset(message.schema.get("properties", ())))]
    kind = cls.__name__.lower().removesuffix("type")
    kinds = HOLDERS_16.get(kind, [kind]) if name == "1.6" else [kind]
    return [place for kind in kinds for place in places(name)[kind.lower()]]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of conftest's: nothing here opens a socket or starts a task, and to look takes longer than the test."""


def as_json(value: object) -> str:
    """JSON text: tells 1 from 1.0 and from true, which == does not."""
    return json.dumps(value, sort_keys=True)


# -- Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "cls"), cases("call", "call_result", "datatypes"))
def test_every_field_has_a_wire_name_of_the_schema_and_comes_back(name: str, cls: type) -> None:
    fields = [field.name for field in dataclasses.fields(cls)]
    found = places_of(name, cls)
    assert found
    for place in found:
        for field in fields:
            (wire,) = place.write({field: "x"})
            assert wire in place.properties
            assert place.read({wire: "x"}) == {field: "x"}
        payload = dict.fromkeys(fields, "x")
        written = place.write(payload)
        assert written.keys() <= place.properties
        assert len(written) == len(fields)
        assert place.write(cls(**payload)) == written
        assert place.read(written) == payload
        if not place.keys:  # a message, and not a type of ocpp.v201.datatypes, where customData are missing
            assert place.message.cls is cls
            assert written.keys() == place.properties


@pytest.mark.parametrize("name", PACKAGES)
def test_every_property_of_every_object_has_a_name_of_its_own_in_python(name: str) -> None:
    everywhere = [place for found in places(name).values() for place in found]
    assert len(everywhere) > 20
    for place in everywhere:
        payload = dict.fromkeys(place.properties, "x")
        read = place.read(payload)
        assert len(read) == len(payload)
        assert place.write(read) == payload
        assert place.write(payload) == payload


@pytest.mark.parametrize("name", PACKAGES)
def test_every_schema_of_the_ocpp_package_is_a_message(name: str) -> None:
    schemas = importlib.resources.files(f"ocpp.{PACKAGES[name]}") / "schemas"
    files = {file.name for file in schemas.iterdir() if file.name.endswith(".json")}
    suffix = {"request": "" if name == "1.6" else "Request", "response": "Response"}
    found = {f"{message.action}{suffix[side]}.json" for side, message in messages(name)}
    assert files - found == NO_ACTION.get(name, set())
    assert found <= files


SCHEDULE = "SetChargingProfile chargingProfile.chargingSchedule"
NEEDS = "NotifyEVChargingNeeds chargingNeeds"
NAMES = {
    # version, side, action and the keys that lead there: {name in Python: name on the wire}
    "1.6 response GetDiagnostics": {"file_name": "fileName"},
    "1.6 response GetLog": {"filename": "filename", "status": "status"},
    "1.6 request SetChargingProfile": {"cs_charging_profiles": "csChargingProfiles", "connector_id": "connectorId"},
    "1.6 response GetConfiguration": {"configuration_key": "configurationKey", "unknown_key": "unknownKey"},
    "2.0.1 request BootNotification chargingStation": {"vendor_name": "vendorName", "model": "model"},
    "2.0.1 request Authorize": {"iso15118_certificate_hash_data": "iso15118CertificateHashData"},
    "2.0.1 request Authorize iso15118CertificateHashData": {"responder_url": "responderURL"},
    "2.0.1 request Get15118EVCertificate": {"iso15118_schema_version": "iso15118SchemaVersion"},
    "2.0.1 request SetNetworkProfile connectionData": {"ocpp_csms_url": "ocppCsmsUrl", "ocpp_version": "ocppVersion"},
    "2.0.1 response GetLog": {"filename": "filename"},
    f"2.0.1 request {NEEDS}.dcChargingParameters": {"full_soc": "fullSoC", "bulk_soc": "bulkSoC"},
    "2.1 request Authorize": {"iso_15118_certificate_hash_data": "iso15118CertificateHashData"},
    "2.1 request Get15118EVCertificate": {"iso_15118_schema_version": "iso15118SchemaVersion"},
    "2.1 request SetNetworkProfile connectionData": {"ocpp_csms_url": "ocppCsmsUrl"},
    "2.1 request NotifySettlement": {"receipt_url": "receiptUrl"},
    "2.1 request BatterySwap batteryData": {"soc": "soC", "soh": "soH", "evse_id": "evseId"},
    "2.1 request TransactionEvent transactionInfo.transactionLimit": {"max_soc": "maxSoC"},
    f"2.1 request {SCHEDULE}": {"limit_at_soc": "limitAtSoC"},
    f"2.1 request {SCHEDULE}.limitAtSoC": {"soc": "soc", "limit": "limit"},
    f"2.1 request {SCHEDULE}.absolutePriceSchedule": {"price_schedule_id": "priceScheduleID"},
    f"2.1 request {SCHEDULE}.priceLevelSchedule": {"price_schedule_id": "priceScheduleId"},
    f"2.1 request {SCHEDULE}.chargingSchedulePeriod": {
        "limit": "limit",
        "limit_l2": "limit_L2",
        "setpoint_reactive_l3": "setpointReactive_L3",
        "v2x_baseline": "v2xBaseline",
        "v2x_freq_watt_curve": "v2xFreqWattCurve",
    },
    f"2.1 request {NEEDS}": {"v2x_charging_parameters": "v2xChargingParameters"},
    f"2.1 request {NEEDS}.v2xChargingParameters": {
        "ev_min_v2x_energy_request": "evMinV2XEnergyRequest",
        "max_charge_power_l2": "maxChargePower_L2",
        "target_soc": "targetSoC",
    },
    f"2.1 request {NEEDS}.derChargingParameters": {"ev_duration_level1_dc_injection": "evDurationLevel1DCInjection"},
}


@pytest.mark.parametrize(
    ("place", "python", "wire"), [(place, *pair) for place, pairs in NAMES.items() for pair in pairs.items()]
)
def test_names_that_no_rule_of_capitals_gives(place: str, python: str, wire: str) -> None:
    name, side, action, keys = [*place.split(" "), ""][:4]
    message = getattr(Version.get(name), side)(action)

    def nested(value: dict[str, str]) -> Any:
        return functools.reduce(lambda below, key: {key: below}, reversed(keys.split(".") if keys else []), value)

    def innermost(value: Any) -> Any:
        for _ in range(len(keys.split(".")) if keys else 0):
            (value,) = value.values()
        return value

    assert message.write(nested({python: "x"})) == nested({wire: "x"})
    assert message.write(nested({wire: "x"})) == nested({wire: "x"})
    assert innermost(message.read(nested({wire: "x"}))) == {python: "x"}


def test_a_received_name_in_python_spelling_is_not_taken_for_the_wires() -> None:
    boot = Version.get("2.0.1").request("BootNotification")
    with pytest.raises(ProtocolViolation) as caught:
        boot.decode({"reason": "PowerUp", "charging_station": {"model": "M", "vendor_name": "V"}})
    assert caught.value.path == ""


# -- Payloads there and back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [smallest, fullest])
@pytest.mark.parametrize("name", PACKAGES)
def test_a_decoded_payload_encodes_to_what_was_received(name: str, make: Any) -> None:
    assert len(messages(name)) > 70
    for side, message in messages(name):
        payload = make(message.schema)
        assert as_json(message.encode(message.decode(payload))) == as_json(payload), message
        assert as_json(message.encode(payload)) == as_json(payload), message
        if side == "response" or make is fullest:  # ocpp.v21.call has defaults that are not None: tbc=False
            assert as_json(message.encode(message.decode_object(payload))) == as_json(payload), message


@pytest.mark.parametrize("name", PACKAGES)
def test_a_decoded_object_is_the_dataclass_and_its_values_are_the_decoded_payload(name: str) -> None:
    for side, message in messages(name):
        values = message.decode(fullest(message.schema))
        answer = message.decode_object(fullest(message.schema))
        assert type(answer) is message.cls, (side, message)
        assert vars(answer) == values


def test_a_payload_is_converted_at_every_depth() -> None:
    event = Version.get("2.0.1").request("TransactionEvent")
    received = {
        "eventType": "Started",
        "timestamp": "2026-11-23T10:00:00Z",
        "triggerReason": "Authorized",
        "seqNo": 0,
        "transactionInfo": {"transactionId": "T1", "chargingState": "Charging"},
        "meterValue": [
            {
                "timestamp": "2026-11-23T10:00:00Z",
                "sampledValue": [{"value": 1.5, "unitOfMeasure": {"unit": "Wh"}}, {"value": 2.0}],
            }
        ],
    }
    assert event.decode(received) == {
        "event_type": "Started",
        "timestamp": "2026-11-23T10:00:00Z",
        "trigger_reason": "Authorized",
        "seq_no": 0,
        "transaction_info": {"transaction_id": "T1", "charging_state": "Charging"},
        "meter_value": [
            {
                "timestamp": "2026-11-23T10:00:00Z",
                "sampled_value": [{"value": 1.5, "unit_of_measure": {"unit": "Wh"}}, {"value": 2.0}],
            }
        ],
    }


def test_decoding_leaves_the_received_payload_alone() -> None:
    boot = Version.get("2.0.1").request("BootNotification")
    received = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}
    before = as_json(received)
    boot.decode(received)
    boot.encode(received)
    assert as_json(received) == before


# -- What is kept as it is --------------------------------------------------------------------------------------------

FOREIGN = {"vendor_name": 1, "vendorName": 2, "nested": {"someKey": None, "some_key": [None, {"aB": 1.5}]}, "": []}


@pytest.mark.parametrize("name", ["2.0.1", "2.1"])
def test_extra_keys_of_custom_data_stay_verbatim(name: str) -> None:
    heartbeat = Version.get(name).request("Heartbeat")
    decoded = heartbeat.decode({"customData": {"vendorId": "V"} | FOREIGN})
    assert decoded == {"custom_data": {"vendor_id": "V"} | FOREIGN}
    assert heartbeat.encode(decoded) == {"customData": {"vendorId": "V"} | FOREIGN}
    assert heartbeat.encode(heartbeat.cls(custom_data={"vendor_id": "V"} | FOREIGN)) == heartbeat.encode(decoded)


@pytest.mark.parametrize("name", ["2.0.1", "2.1"])
@pytest.mark.parametrize("side", ["request", "response"])
@pytest.mark.parametrize("data", [FOREIGN, [FOREIGN, None], "text", 1, 1.5, True, [], {}], ids=repr)
def test_data_of_a_data_transfer_stay_verbatim(name: str, side: str, data: Any) -> None:
    transfer = getattr(Version.get(name), side)("DataTransfer")
    head = {"vendorId": "V"} if side == "request" else {"status": "Accepted"}
    decoded = transfer.decode(head | {"data": data})
    assert as_json(decoded["data"]) == as_json(data)
    assert as_json(transfer.encode(decoded)) == as_json(head | {"data": data})


def test_data_of_a_data_transfer_are_a_text_in_1_6() -> None:
    transfer = Version.get("1.6").request("DataTransfer")
    text = json.dumps(FOREIGN)
    assert transfer.decode({"vendorId": "V", "data": text}) == {"vendor_id": "V", "data": text}
    with pytest.raises(ProtocolViolation) as caught:
        transfer.encode(call16.DataTransfer("V", data=FOREIGN))
    assert (caught.value.path, caught.value.code) == ("data", "TypeConstraintViolation")


def test_keys_the_schema_does_not_name_are_written_as_they_are_and_refused() -> None:
    heartbeat = Version.get("1.6").request("Heartbeat")
    assert heartbeat.write({"some_key": {"other_key": 1}}) == {"some_key": {"other_key": 1}}
    assert heartbeat.read({"someKey": {"otherKey": 1}}) == {"someKey": {"otherKey": 1}}
    with pytest.raises(ProtocolViolation):
        heartbeat.encode({"some_key": 1})


# -- Values -----------------------------------------------------------------------------------------------------------

STATION = types201.ChargingStationType(model="M", vendor_name="V")
BOOT = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}


@pytest.mark.parametrize(
    "payload",
    [
        call201.BootNotification(charging_station=STATION, reason=enums201.BootReasonEnumType.power_up),
        call201.BootNotification(charging_station={"model": "M", "vendor_name": "V"}, reason="PowerUp"),
        call201.BootNotification(charging_station={"model": "M", "vendorName": "V"}, reason="PowerUp"),
        call201.BootNotification(charging_station=STATION, reason="PowerUp", custom_data=None),
        {"charging_station": STATION, "reason": enums201.BootReasonEnumType.power_up},
        {"charging_station": {"model": "M", "vendor_name": "V"}, "reason": "PowerUp"},
        {"chargingStation": {"model": "M", "vendor_name": "V"}, "reason": "PowerUp"},
        {"chargingStation": {"model": "M", "vendorName": "V", "modem": None}, "reason": "PowerUp", "custom_data": None},
        BOOT,
    ],
    ids=repr,
)
def test_a_payload_may_be_a_dataclass_or_a_dict_in_either_naming(payload: Any) -> None:
    assert Version.get("2.0.1").request("BootNotification").encode(payload) == BOOT


def test_a_dataclass_may_stand_in_a_dict_in_a_dataclass() -> None:
    payload = call201.TransactionEvent(
        event_type=enums201.TransactionEventEnumType.updated,
        timestamp="2026-11-23T10:00:00Z",
        trigger_reason="MeterValuePeriodic",
        seq_no=1,
        transaction_info={"transaction_id": "T1", "charging_state": enums201.ChargingStateEnumType.charging},
        meter_value=(  # a tuple serves as a list
            {
                "timestamp": "2026-11-23T10:00:00Z",
                "sampled_value": [
                    types201.SampledValueType(
                        value=Decimal("7.2"),
                        measurand=enums201.MeasurandEnumType.power_active_import,
                        unit_of_measure={"unit": "kW", "multiplier": None},
                    )
                ],
            },
        ),
        evse=types201.EVSEType(id=1, connector_id=None),
    )
    assert Version.get("2.0.1").request("TransactionEvent").encode(payload) == {
        "eventType": "Updated",
        "timestamp": "2026-11-23T10:00:00Z",
        "triggerReason": "MeterValuePeriodic",
        "seqNo": 1,
        "transactionInfo": {"transactionId": "T1", "chargingState": "Charging"},
        "meterValue": [
            {
                "timestamp": "2026-11-23T10:00:00Z",
                "sampledValue": [
                    {"value": 7.2, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "kW"}},
                ],
            }
        ],
        "evse": {"id": 1},
    }


def test_dataclasses_of_1_6_and_2_1_nest_too() -> None:
    profile = types16.ChargingProfile(
        charging_profile_id=1,
        stack_level=0,
        charging_profile_purpose=enums16.ChargingProfilePurposeType.tx_profile,
        charging_profile_kind=enums16.ChargingProfileKindType.absolute,
        charging_schedule=types16.ChargingSchedule(
            charging_rate_unit=enums16.ChargingRateUnitType.amps,
            charging_schedule_period=[types16.ChargingSchedulePeriod(start_period=0, limit=Decimal("21.4"))],
        ),
    )
    written = Version.get("1.6").request("SetChargingProfile").encode(call16.SetChargingProfile(1, profile))
    assert written["csChargingProfiles"]["chargingSchedule"] == {
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 21.4}],
    }
    swap = call21.BatterySwap(
        battery_data=[types21.BatteryDataType(evse_id=1, serial_number="S", soc=80, soh=99.5)],
        id_token=types21.IdTokenType(id_token="A", type="ISO14443"),
        event_type="BatteryIn",
        request_id=1,
    )
    written = Version.get("2.1").request("BatterySwap").encode(swap)
    assert written["batteryData"] == [{"evseId": 1, "serialNumber": "S", "soC": 80, "soH": 99.5}]
    assert written["idToken"] == {"idToken": "A", "type": "ISO14443"}


def test_none_is_left_out_at_every_depth() -> None:
    report = Version.get("2.0.1").request("NotifyReport")
    payload = call201.NotifyReport(
        request_id=1,
        generated_at="2026-11-23T10:00:00Z",
        seq_no=0,
        tbc=None,
        report_data=[
            types201.ReportDataType(
                component=types201.ComponentType(name="C", instance=None, evse=None),
                variable={"name": "V", "instance": None},
                variable_attribute=[types201.VariableAttributeType(type=None, value="1", mutability=None)],
            )
        ],
    )
    assert "null" not in as_json(report.encode(payload))


@pytest.mark.parametrize("name", PACKAGES)
def test_encoding_leaves_the_dataclass_alone(name: str) -> None:
    for _, message in messages(name):
        payload = message.decode_object(fullest(message.schema))
        before = repr(payload)
        message.encode(payload)
        assert repr(payload) == before


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (enums201.ChargingStateEnumType.ev_connected, "EVConnected"),
        (Decimal("0.1"), 0.1),
        (Decimal("16"), 16.0),
        ((1, Decimal("2.5")), [1, 2.5]),
        ({"a": enums201.ChargingStateEnumType.idle, "b": None}, {"a": "Idle", "b": None}),
        ({3: "three"}, {"3": "three"}),
        (types201.IdTokenType(id_token="A", type="Central"), {"id_token": "A", "type": "Central"}),
        (True, True),
    ],
    ids=repr,
)
def test_values_below_the_schema_become_plain_json(value: Any, written: Any) -> None:
    transfer = Version.get("2.0.1").request("DataTransfer")
    payload = transfer.encode(call201.DataTransfer("V", data=value))
    assert as_json(payload) == as_json({"vendorId": "V", "data": written})
    assert type(payload["data"]) is type(written)
    assert load_json(dump_json([payload])) == [payload]


@pytest.mark.parametrize(
    "number",
    [math.nan, math.inf, -math.inf, Decimal("NaN"), Decimal("Infinity"), Decimal("1e999")],
    ids=repr,
)
def test_a_number_that_json_has_no_form_for_is_refused(number: Any) -> None:
    version = Version.get("2.0.1")
    value = {"timestamp": "2026-11-23T10:00:00Z", "sampled_value": [{"value": number}]}
    for message, payload in (
        (version.request("MeterValues"), call201.MeterValues(evse_id=1, meter_value=[value])),
        (version.request("DataTransfer"), call201.DataTransfer("V", data={"deep": [number]})),
        (version.request("Heartbeat"), {"custom_data": {"vendor_id": "V", "extra": number}}),
    ):
        with pytest.raises(ProtocolViolation) as caught:
            message.encode(payload)
        assert caught.value.code == "TypeConstraintViolation"


@pytest.mark.parametrize(
    ("field", "value"),
    [("seq_no", 1.0), ("seq_no", True), ("seq_no", Decimal(1)), ("seq_no", "1"), ("offline", 1), ("offline", "true")],
)
def test_a_value_of_a_neighbouring_type_is_not_coerced(field: str, value: Any) -> None:
    event = Version.get("2.0.1").request("TransactionEvent")
    payload = event.decode(smallest(event.schema))
    with pytest.raises(ProtocolViolation) as caught:
        event.encode(payload | {field: value})
    assert caught.value.path == {"seq_no": "seqNo"}.get(field, field)
    assert caught.value.code == "TypeConstraintViolation"


@pytest.mark.parametrize("payload", [None, "text", 1, [], [BOOT], (), True], ids=repr)
def test_a_payload_that_is_no_object_is_refused(payload: Any) -> None:
    boot = Version.get("2.0.1").request("BootNotification")
    for method in (boot.encode, boot.decode):
        with pytest.raises(ProtocolViolation) as caught:
            method(payload)
        assert (caught.value.path, caught.value.code) == ("", "TypeConstraintViolation")


@pytest.mark.parametrize("value", [{1}, object(), b"bytes", int], ids=lambda value: type(value).__name__)
def test_a_value_that_json_has_no_form_for_is_refused(value: Any) -> None:
    status = call201.StatusNotification(timestamp=value, connector_status="Available", evse_id=1, connector_id=1)
    with pytest.raises(ProtocolViolation):
        Version.get("2.0.1").request("StatusNotification").encode(status)


def written(value: Any) -> Any:
    """What a value becomes in a field that may hold anything."""
    message = Version.get("2.0.1").request("DataTransfer")
    return json.loads(message.to_json(call201.DataTransfer(vendor_id="x", data=value)))["data"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(7), 7),
        (np.uint8(7), 7),
        (np.float64(1.5), 1.5),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(3), 3),
        (np.array([1, 2]), [1, 2]),
        (pd.Series([4, 5]).max(), 5),
        (pd.Timestamp("2026-11-23T10:00:00Z"), "2026-11-23T10:00:00+00:00"),
        (datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T00:00:00+02:00"),
        (datetime(1900, 1, 1, 12, tzinfo=timezone(timedelta(minutes=19, seconds=32))), "1900-01-01T11:40:28+00:00"),
    ],
    ids=repr,
)
def test_a_value_of_a_notebook_is_written_as_json(value: Any, expected: Any) -> None:
    for form, wanted in ((value, expected), ([value], [expected]), ({"a": value}, {"a": expected})):
        got = written(form)
        assert got == wanted
        assert type(got) is type(wanted)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05 has no time zone"),
        (pd.Timestamp("2026-01-02"), "has no time zone"),
        (np.datetime64("2026-01-02"), "has no time zone"),
        (pd.NaT, "NaT is not a time"),
        (np.float64("nan"), "no form for nan"),
        (math.inf, "no form for inf"),
        (pd.NA, "no form for <NA>"),
        (date(2026, 1, 2), "no form for datetime.date"),
        (2**64, "exceeds 64-bit range"),
        ("\ud800", "surrogates"),
    ],
    ids=repr,
)
def test_a_value_without_a_form_is_refused_with_the_name_of_its_field(value: Any, words: str) -> None:
    for form, path in ((value, "data"), ([1, value], "data[1]"), ({"a": {"b": value}}, "data.a.b")):
        with pytest.raises(ProtocolViolation, match=re.escape(words)) as caught:
            written(form)
        assert caught.value.path == path
        assert path in str(caught.value)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_time_without_zone_is_refused_with_the_name_of_its_field(name: str) -> None:
    version = Version.get(name)
    request = version.request("StatusNotification")
    payload = smallest(request.schema) | {"timestamp": datetime(2026, 1, 2)}
    with pytest.raises(ProtocolViolation, match=r"timestamp: .*has no time zone") as caught:
        request.to_json(payload)
    assert caught.value.path == "timestamp"


def test_a_datetime_is_written_as_iso_8601() -> None:
    status = call201.StatusNotification(
        timestamp=datetime(2026, 11, 23, tzinfo=UTC), connector_status="Available", evse_id=1, connector_id=1
    )
    data = Version.get("2.0.1").request("StatusNotification").encode(status)
    assert data["timestamp"] == "2026-11-23T00:00:00+00:00"


@pytest.mark.parametrize(
    "action", ["LogStatusNotification", "SecurityEventNotification", "SignedFirmwareStatusNotification"]
)
def test_a_valid_request_of_1_6_becomes_its_dataclass(action: str) -> None:
    message = Version.get("1.6").request(action)
    payload = smallest(message.schema)
    assert message.encode(message.decode_object(payload)) == payload


def test_a_wrong_payload_nested_too_deep_to_describe_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"deeper": deep}
    with pytest.raises(ProtocolViolation):
        Version.get("2.0.1").request("Heartbeat").decode(deep)


# -- Violations -------------------------------------------------------------------------------------------------------


class Breach(NamedTuple):
    message: str  # version, side, action
    change: dict[str, Any]  # laid over the smallest valid payload; ... for a key that is not there
    path: str
    code: str
    text: str  # occurs in the violation's text


METER = {"timestamp": "2026-11-23T10:00:00Z", "sampledValue": [{"value": 1.5}]}
METER_16 = {"timestamp": "2026-11-23T10:00:00Z", "sampledValue": [{"value": "1.5"}]}
PROFILE_16 = {
    "chargingProfileId": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxProfile",
    "chargingProfileKind": "Absolute",
    "chargingSchedule": {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 4.11}]},
}
NEEDS_201 = {
    "requestedEnergyTransfer": "DC",
    "dcChargingParameters": {"evMaxCurrent": 1, "evMaxVoltage": 1, "stateOfCharge": 101},
}
OCSP = {
    "hashAlgorithm": "SHA256",
    "issuerNameHash": "a",
    "issuerKeyHash": "b",
    "serialNumber": "c",
    "responderURL": "d",
}
TYPE = "TypeConstraintViolation"
PROPERTY = "PropertyConstraintViolation"
OCCURENCE = "OccurenceConstraintViolation"  # the spelling of 1.6 and 2.0.1
BOOT_201 = "2.0.1 request BootNotification"
EVENT_201 = "2.0.1 request TransactionEvent"

BREACHES = [
    Breach(BOOT_201, {"chargingStation": []}, "chargingStation", TYPE, "object"),
    Breach(BOOT_201, {"chargingStation": {"model": 1, "vendorName": "V"}}, "chargingStation.model", TYPE, "1"),
    Breach(BOOT_201, {"chargingStation": {"model": None, "vendorName": "V"}}, "chargingStation.model", TYPE, "null"),
    Breach(BOOT_201, {"chargingStation": {"model": "x" * 21, "vendorName": "V"}}, "chargingStation.model", TYPE, "20"),
    Breach(BOOT_201, {"chargingStation": {"model": "😀" * 21, "vendorName": "V"}}, "chargingStation.model", TYPE, "20"),
    Breach(BOOT_201, {"reason": "Boredom"}, "reason", PROPERTY, "Boredom"),
    Breach(BOOT_201, {"reason": ...}, "", "ProtocolError", "reason"),
    Breach(BOOT_201, {"Reason": "PowerUp"}, "", "FormatViolation", "Reason"),
    Breach(EVENT_201, {"meterValue": "x"}, "meterValue", TYPE, "array"),
    Breach(EVENT_201, {"meterValue": [METER, 1]}, "meterValue[1]", TYPE, "object"),
    Breach(EVENT_201, {"meterValue": []}, "meterValue", OCCURENCE, "[]"),
    Breach(EVENT_201, {"meterValue": [METER | {"sampledValue": []}]}, "meterValue[0].sampledValue", OCCURENCE, "[]"),
    Breach(EVENT_201, {"meterValue": [METER, {"timestamp": ""}]}, "meterValue[1]", "ProtocolError", "sampledValue"),
    Breach(EVENT_201, {"meterValue": [METER | {"extraKey": 1}]}, "meterValue[0]", "FormatViolation", "extraKey"),
    Breach(
        EVENT_201,
        {"meterValue": [METER | {"sampledValue": [{"value": 1}, {"value": "1"}]}]},
        "meterValue[0].sampledValue[1].value",
        TYPE,
        "number",
    ),
    Breach(
        EVENT_201,
        {"meterValue": [METER | {"sampledValue": [{"value": 1, "phase": "L4"}]}]},
        "meterValue[0].sampledValue[0].phase",
        PROPERTY,
        "L4",
    ),
    Breach(
        "2.0.1 request Authorize",
        {"iso15118CertificateHashData": [OCSP] * 5},
        "iso15118CertificateHashData",
        OCCURENCE,
        "4",
    ),
    Breach(
        "2.0.1 request NotifyEVChargingNeeds",
        {"chargingNeeds": NEEDS_201},
        "chargingNeeds.dcChargingParameters.stateOfCharge",
        PROPERTY,
        "101",
    ),
    Breach("2.0.1 response Heartbeat", {"currentTime": ...}, "", "ProtocolError", "currentTime"),
    Breach("2.0.1 response Heartbeat", {"customData": {}}, "customData", "ProtocolError", "vendorId"),
    Breach("2.1 request BatterySwap", {"batteryData": []}, "batteryData", "OccurrenceConstraintViolation", "[]"),
    Breach("2.1 request BatterySwap", {"battery_data": 1}, "", "FormatViolation", "battery_data"),
    Breach("2.1 request ReserveNow", {"id": -1}, "id", PROPERTY, "-1"),
    Breach("1.6 request BootNotification", {"chargePointModel": ...}, "", "ProtocolError", "chargePointModel"),
    Breach("1.6 request BootNotification", {"chargePointModel": "x" * 21}, "chargePointModel", TYPE, "20"),
    Breach("1.6 request BootNotification", {"extra": 1}, "", "FormationViolation", "extra"),
    Breach("1.6 request MeterValues", {"connectorId": 1.0}, "connectorId", TYPE, "integer"),
    Breach("1.6 request Reset", {"type": "Warm"}, "type", PROPERTY, "Warm"),
    Breach(
        "1.6 request MeterValues",
        {"meterValue": [METER_16 | {"sampledValue": [{"value": 1.5}]}]},
        "meterValue[0].sampledValue[0].value",
        TYPE,
        "string",
    ),
    Breach(
        "1.6 request RemoteStartTransaction",
        {"chargingProfile": PROFILE_16},
        "chargingProfile.chargingSchedule.chargingSchedulePeriod[0].limit",
        PROPERTY,
        "4.11",
    ),
    Breach(
        "1.6 response GetInstalledCertificateIds", {"certificateHashData": []}, "certificateHashData", OCCURENCE, "[]"
    ),
]


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: f"{breach.message} {breach.path}")
def test_a_violation_says_where_and_what_and_by_which_code(breach: Breach) -> None:
    name, side, action = breach.message.split(" ")
    message = getattr(Version.get(name), side)(action)
    payload = smallest(message.schema) | breach.change
    payload = {key: value for key, value in payload.items() if value is not ...}
    methods = [message.decode, message.decode_object]
    if (
        "null" not in as_json(payload) and "battery_data" not in payload
    ):  # encode leaves None out and knows Python's names
        methods.append(message.encode)
    for method in methods:
        with pytest.raises(ProtocolViolation) as caught:
            method(payload)
        violation = caught.value
        assert (violation.action, violation.path, violation.code) == (action, breach.path, breach.code)
        assert breach.text in violation.text
        for words in (action, f"OCPP {name}", breach.path, violation.text):
            assert words in str(violation)


# -- Versions and messages --------------------------------------------------------------------------------------------


def test_a_message_is_compiled_once_and_shows_its_dataclass() -> None:
    version = Version.get("2.0.1")
    assert version.request("Heartbeat") is version.request("Heartbeat")
    assert version.request("Heartbeat") is not version.response("Heartbeat")
    assert repr(version.request("Heartbeat")) == "<request Heartbeat of OCPP 2.0.1>"
    assert repr(version.response("Heartbeat")) == "<response Heartbeat of OCPP 2.0.1>"


@pytest.mark.parametrize("name", PACKAGES)
def test_the_schema_of_a_message_is_the_ocpp_packages(name: str) -> None:
    folder = importlib.resources.files(f"ocpp.{PACKAGES[name]}") / "schemas"
    for side, message in messages(name):
        suffix = "Response" if side == "response" else "" if name == "1.6" else "Request"
        text = (folder / f"{message.action}{suffix}.json").read_text(encoding="utf-8-sig")
        assert message.schema == json.loads(text)


@pytest.mark.parametrize(
    "name",
    [
        "1.6",
        "2.0.1",
        "2.1",
    ],
)
def test_the_example_of_a_message_is_valid_and_enough_for_its_dataclass(name: str) -> None:
    wrong = {}
    for _, message in messages(name):
        try:
            payload = message.example()
            message.check(payload)
            if message.cls is not None:
                assert message.encode(message.example_object()).keys() >= payload.keys()
        except ProtocolViolation as exc:
            wrong[repr(message)] = str(exc)
    assert not wrong


def test_write_and_read_do_not_validate() -> None:
    boot = Version.get("2.0.1").request("BootNotification")
    assert boot.write({"charging_station": {"vendor_name": 1}, "extra": 2}) == {
        "chargingStation": {"vendorName": 1},
        "extra": 2,
    }
    assert boot.read({"chargingStation": {"vendorName": 1}, "reason": None}) == {
        "charging_station": {"vendor_name": 1},
        "reason": None,
    }
    assert boot.read({"chargingStation": "text"}) == {"charging_station": "text"}


# -- Frames -----------------------------------------------------------------------------------------------------------


def test_none_in_a_list_is_not_sent_as_null() -> None:
    message = Version.get("2.0.1").request("NotifyEvent")
    events = [None, {"event_id": 1}, None]
    assert message.write({"event_data": events}) == {"eventData": [{"eventId": 1}]}
    assert message.write({"event_data": tuple(events)}) == {"eventData": [{"eventId": 1}]}


def test_a_payload_nested_too_deep_for_encoding_is_refused() -> None:
    data: Any = []
    for _ in range(100_000):
        data = [data]
    message = Version.get("2.0.1").request("DataTransfer")
    with pytest.raises(ProtocolViolation, match="DataTransfer"):
        message.to_json(call201.DataTransfer(vendor_id="V", data=data))
