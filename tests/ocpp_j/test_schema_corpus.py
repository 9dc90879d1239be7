"""The kit and the ocpp package give the same verdict on thousands of payloads made from the schemas."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from ocpp.exceptions import OCPPError
from ocpp.messages import Call, CallResult, MessageType, _validate_payload, get_validator
from ocpp.v201 import call, datatypes, enums
from schema_payloads import RARE, corpus, fullest

from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.ocpp_j.frames import load_json
from cpsim_kit.ocpp_j.payloads import Message
from cpsim_kit.ocpp_j.versions import Version

VERSIONS = ("1.6", "2.0.1", "2.1")
SIZE = {"1.6": 30, "2.0.1": 20, "2.1": 16}  # payloads for each message
WIRE_INTEGERS = "integer beyond 64 bits"  # orjson reads those as floats, json as integers

KINDS = {
    "as it was",
    "property dropped",
    "property added",
    "null",
    "unknown key",
    "no keys",
    "key in other letters",
    "in an array",
    "string for object",
    "string for array",
    "string for integer",
    "integer for string",
    "boolean for string",
    "array for string",
    "object for string",
    "object for array",
    "1.0 for integer",
    "true for integer",
    "fraction for integer",
    "negative",
    "huge integer",
    WIRE_INTEGERS,
    "one decimal",
    "two decimals",
    "integer for number",
    "another of the enum",
    "not of the enum",
    "empty string",
    "no date",
    *(f"{limit}, {letters}" for limit in ("maxLength", "maxLength + 1") for letters in ("ASCII", "BMP", "non-BMP")),
    "no items",
    "one more item",
    "null item",
    "two mutations",
}


class Judged(NamedTuple):
    message: Message
    kind: str
    payload: Any
    expected: bool  # the ocpp package's verdict
    breaches: set[tuple[str, str]]  # the path of each breach, and the CALLERROR code of its keyword


@functools.cache
def judged(name: str) -> list[Judged]:
    """The corpus of a version with the verdicts of the ocpp package."""
    return [
        Judged(message, mutation.kind, mutation.payload, *oracle(name, side, message.action, mutation.payload))
        for side, message in messages(name)
        for mutation in corpus(message.schema, SIZE[name], f"{name} {side} {message.action}")
    ]


def messages(name: str) -> Iterator[tuple[str, Message]]:
    version = Version.get(name)
    for action in sorted(version.actions):
        for side in ("request", "response"):
            with contextlib.suppress(ProtocolViolation):  # some requests of OCPP 2.1 have no answer
                yield side, getattr(version, side)(action)


def oracle(name: str, side: str, action: str, payload: Any) -> tuple[bool, set[tuple[str, str]]]:
    message = Call("1", action, payload) if side == "request" else CallResult("1", payload, action)
    try:
        _validate_payload(message, name)
    except OCPPError:
        number = MessageType.Call if side == "request" else MessageType.CallResult
        errors = get_validator(number, action, name).iter_errors(message.payload)  # its payload now has decimals
        return False, {(written(error.absolute_path), code(name, error.validator)) for error in errors}
    return True, set()


def written(path: Any) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def code(name: str, keyword: str) -> str:
    """The code of OCPP-J for a keyword, in the spelling of table 7 of the version."""
    if keyword in {"type", "maxLength"}:
        return "TypeConstraintViolation"
    if keyword == "required":
        return "ProtocolError"
    if keyword == "additionalProperties":
        return "FormationViolation" if name == "1.6" else "FormatViolation"
    if keyword in {"minItems", "maxItems"}:
        return "OccurrenceConstraintViolation" if name == "2.1" else "OccurenceConstraintViolation"
    return "PropertyConstraintViolation"


def verdict(message: Message, payload: Any) -> ProtocolViolation | None:
    try:
        message.decode(payload)
    except ProtocolViolation as exc:
        return exc
    return None


@pytest.mark.parametrize("name", VERSIONS)
def test_verdict_on_a_payload_is_the_ocpp_packages(name: str) -> None:
    wrong = [
        (case.message, case.kind, case.payload, case.expected)
        for case in judged(name)
        if (verdict(case.message, case.payload) is None) is not case.expected
    ]
    assert not wrong, f"{len(wrong)} verdicts differ, the first: {wrong[0]}"


@pytest.mark.parametrize("name", VERSIONS)
def test_verdict_on_the_wire_is_the_ocpp_packages(name: str) -> None:
    wrong = [
        (case.message, case.kind, case.payload, case.expected)
        for case in judged(name)
        if case.kind not in {WIRE_INTEGERS, "two mutations"}
        and (verdict(case.message, load_json(json.dumps(case.payload))) is None) is not case.expected
    ]
    assert not wrong, f"{len(wrong)} verdicts differ, the first: {wrong[0]}"


@pytest.mark.parametrize("name", VERSIONS)
def test_a_violation_names_a_place_and_a_code_that_the_ocpp_package_finds_too(name: str) -> None:
    for case in judged(name):
        if not case.expected:
            violation = verdict(case.message, case.payload)
            assert violation is not None, (case.message, case.kind)
            assert (violation.path, violation.code) in case.breaches, (case.message, case.kind, case.payload)
            assert violation.action == case.message.action


@pytest.mark.parametrize("name", VERSIONS)
def test_unmutated_payloads_are_valid(name: str) -> None:
    bad = [(case.message, case.payload) for case in judged(name) if case.kind == "as it was" and not case.expected]
    assert not bad


@pytest.mark.parametrize("name", VERSIONS)
def test_corpus_is_large_and_has_both_verdicts_and_every_kind_of_mutation(name: str) -> None:
    cases = judged(name)
    assert len(cases) >= 1000
    assert len({case.message.action for case in cases}) >= 12
    counts = collections.Counter(case.expected for case in cases)
    assert counts[True] >= 0.2 * len(cases), counts
    assert counts[False] >= 0.2 * len(cases), counts
    wanted = KINDS if name == "1.6" else KINDS | RARE  # the schemas of 1.6 have no such limits
    assert wanted <= {case.kind for case in cases}


# -- A payload as JSON ------------------------------------------------------------------------------------------------

# Not possible with dataclasses.
NOT_OF_AN_OBJECT = {"unknown key", "key in other letters", "two mutations", "array as object"}


def outcome(write: Callable[[Any], bytes], payload: Any) -> Any:
    """The written JSON, or the path, code and text of the error; no path if JSON cannot hold the frame."""
    try:
        return json.loads(write(payload))
    except ProtocolViolation as exc:
        return None if isinstance(exc.__cause__, TypeError) else exc.path, exc.code, exc.text


def as_objects(message: Message, payload: Any) -> Any:
    """A payload as dataclasses that have only the fields of the payload."""
    version = message._version

    def made(value: Any) -> Any:
        if isinstance(value, list):
            return [made(item) for item in value]
        if not isinstance(value, dict):
            return value
        values = {version.python_name(key): made(item) for key, item in value.items()}
        return dataclass_with(*values)(**values)

    return made(payload)


@functools.cache
def dataclass_with(*names: str) -> type:
    return dataclasses.make_dataclass("Made", [(name, Any) for name in names])


def event(**changes: Any) -> Any:
    """A TransactionEvent of dataclasses; ``changes`` are fields of its sampled value."""
    value = {"value": 1.5, "measurand": enums.MeasurandEnumType.soc, "context": "Trigger"} | changes
    return call.TransactionEvent(
        event_type="Updated",
        timestamp="2026-11-23T10:00:00Z",
        trigger_reason=enums.TriggerReasonEnumType.trigger,
        seq_no=1,
        transaction_info=datatypes.TransactionType(transaction_id="1"),
        meter_value=[datatypes.MeterValueType("2026-11-23T10:00:00Z", [datatypes.SampledValueType(**value)])],
    )


def test_a_field_of_the_schema_that_the_dataclass_lacks_may_be_set() -> None:
    """All data types of OCPP 2.0.1 have customData; those of the ocpp package do not."""
    payload = event(unit_of_measure=datatypes.UnitOfMeasureType("kWh"))
    payload.meter_value[0].sampled_value[0].unit_of_measure.custom_data = {"vendorId": "x"}
    written = json.loads(Version.get("2.0.1").request("TransactionEvent").to_json(payload))
    unit = written["meterValue"][0]["sampledValue"][0]["unitOfMeasure"]
    assert unit == {"unit": "kWh", "customData": {"vendorId": "x"}}


@pytest.mark.parametrize("name", VERSIONS)
def test_the_fields_of_a_payload_are_written_in_the_order_of_its_dataclass(name: str) -> None:
    for _side, message in messages(name):
        if message.cls is not None:
            answer = message.decode_object(fullest(message.schema))
            names = [field.name for field in dataclasses.fields(message.cls) if getattr(answer, field.name) is not None]
            assert list(message.read(json.loads(message.to_json(answer)))) == names


LIMITS = [
    *(0, 16, 16.0, 0.1, 0.3, 0.7, 21.4, 33.3, 8.2, -3.3, 1e5 + 0.1, 123456789.1, 2**53, 10**18),
    *(4.11, 0.05, -0.05, 3.05, 21.45, 1e-5, 0.1 + 0.2, 8.200000000000001, 33.300000000000004, True, "16", None),
]


def composite(period: dict[str, Any], rate: Any) -> dict[str, Any]:
    schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 1} | period]}
    return schedule if rate is ... else schedule | {"minChargingRate": rate}


def profile(schedule: dict[str, Any]) -> dict[str, Any]:
    return {
        "chargingProfileId": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": schedule,
    }


@pytest.mark.parametrize("field", ["limit", "minChargingRate"])
@pytest.mark.parametrize(
    ("side", "action"),
    [("request", "SetChargingProfile"), ("request", "RemoteStartTransaction"), ("response", "GetCompositeSchedule")],
)
def test_verdict_on_the_decimals_of_1_6_is_the_ocpp_packages(side: str, action: str, field: str) -> None:
    message = getattr(Version.get("1.6"), side)(action)
    verdicts = []
    for limit in LIMITS:
        schedule = composite({"limit": limit}, ...) if field == "limit" else composite({}, limit)
        payload = {
            "SetChargingProfile": {"connectorId": 1, "csChargingProfiles": profile(schedule)},
            "RemoteStartTransaction": {"idTag": "A", "chargingProfile": profile(schedule)},
            "GetCompositeSchedule": {"status": "Accepted", "chargingSchedule": schedule},
        }[action]
        expected, breaches = oracle("1.6", side, action, payload)
        for received in (payload, load_json(json.dumps(payload))):
            violation = verdict(message, received)
            assert (violation is None) is expected, limit
            assert violation is None or (violation.path, violation.code) in breaches
        verdicts.append(expected)
    assert verdicts.count(True) == LIMITS.index(4.11)  # the oracle gets the decimals as they are in the list
    assert all(verdicts[: LIMITS.index(4.11)])
