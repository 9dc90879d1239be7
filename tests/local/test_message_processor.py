"""The message processor alone: frames in, frames out, and what its tables hold then.

The oracle of what a valid answer is: the ocpp package's own validator.
"""

import ast
import asyncio
import itertools
import json
import random
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ledger_stub import Ledger
from ocpp.messages import MessageType, get_validator
from schema_payloads import corpus, sample
from stack_fixtures import Boto, mqtt, new_id

from cpsim_kit.aws.function_code import Handler, Source
from cpsim_kit.local import message_processor
from cpsim_kit.local.launcher import LocalProcess
from cpsim_kit.local.message_processor import ANSWERED_EMPTY
from cpsim_kit.ocpp_j.versions import CHARGE_POINT_ACTIONS, Version

T0 = "2026-11-23T10:00:00Z"
START = {"connectorId": 1, "idTag": "TAG-1", "meterStart": 1000, "timestamp": T0}
STOP = {"meterStop": 4000, "timestamp": "2026-11-23T11:00:00Z"}


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def validate(action: str, answer: Any, version: str = "2.0.1") -> None:
    get_validator(MessageType.CallResult, action, version).validate(answer)


def at(minute: int) -> str:
    return f"2026-11-23T10:{minute:02}:00Z"


def sampled(value: float | str, *, minute: int = 0, **fields: Any) -> dict[str, Any]:
    return {"timestamp": at(minute), "sampledValue": [{"value": value, **fields}]}


def event(
    kind: str, seq_no: int, *meter_values: dict[str, Any], info: dict[str, Any] | None = None, **fields: Any
) -> Any:
    return {
        "eventType": kind,
        "timestamp": at(seq_no),
        "triggerReason": "MeterValuePeriodic",
        "seqNo": seq_no,
        "transactionInfo": {"transactionId": "T1", **(info or {})},
        **({"meterValue": list(meter_values)} if meter_values else {}),
        **fields,
    }


TAG_1 = {"idToken": "TAG-1", "type": "ISO14443"}
SESSION = [
    event("Started", 0, sampled(1000.5, context="Transaction.Begin"), evse={"id": 2, "connectorId": 1}),
    event("Updated", 1, idToken=TAG_1),
    event("Updated", 2, sampled(2000, minute=2)),
    event("Updated", 3, sampled(3000, minute=3)),
    event(
        "Ended",
        4,
        sampled(1000.5, context="Transaction.Begin"),
        sampled(4000.75, minute=4, context="Transaction.End"),
        idToken={"idToken": "TAG-2", "type": "ISO14443"},
        info={"stoppedReason": "EVDisconnected"},
    ),
]
ENDED = {
    "chargePointId": "CP1",
    "transactionId": "T1",
    "version": "2.0.1",
    "state": "ended",
    "evseId": 2,
    "connectorId": 1,
    "idToken": "TAG-1",
    "idTokenSeqNo": 1,
    "startedAt": at(0),
    "endedAt": at(4),
    "startWh": 1000.5,
    "endWh": 4000.75,
    "lastWh": 4000.75,
    "lastAt": at(4),
    "seqNosSeen": "0-4",
    "seqNosMissing": "",
    "stoppedReason": "EVDisconnected",
    "revision": 5,
}


# -- Frames ------------------------------------------------------------------------------------------------------------


def test_the_file_needs_boto3_and_the_standard_library_only() -> None:
    names = set()
    for node in ast.walk(ast.parse(Path(message_processor.__file__).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add((node.module or "").partition(".")[0])
    assert names - sys.stdlib_module_names == {"boto3", "botocore"}


def test_python_39_reads_the_file() -> None:
    """The runtime of the AWS sample's function. What its library lacks: datetime.UTC, zip(strict=), Z in a time."""
    source = Source(message_processor.__file__)
    source.check(Handler("message_processor.lambda_handler"), "python3.9")
    tree = ast.parse(source.code)
    assert "UTC" not in {
        name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names
    }
    assert "strict" not in {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-27T10:00:00Z", datetime(2026, 11, 27, 10, tzinfo=UTC)),
        ("2026-11-27T10:00:00.5Z", datetime(2026, 11, 27, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-27T10:00:00.123456789+00:00", datetime(2026, 11, 27, 10, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-11-27T11:00:00+01:00", datetime(2026, 11, 27, 10, tzinfo=UTC)),
        ("2026-11-27T10:00:00", datetime(2026, 11, 27, 10, tzinfo=UTC)),
        ("yesterday", datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_stations_write_it(text: str, time: datetime) -> None:
    assert message_processor._moment(text) == time


@pytest.mark.parametrize("as_sent", [lambda frame: frame, json.dumps, lambda frame: json.dumps(frame).encode()])
def test_a_frame_may_be_parsed_or_not(ledger: Ledger, as_sent: Any) -> None:
    ledger.processor.handle("CP1", as_sent([2, "a/b", "StatusNotification", {}]))
    assert ledger.published == [("CP1/out", [3, "a/b", {}])]


def test_a_boot_is_reported_to_the_shadow_before_it_is_answered(ledger: Ledger) -> None:
    payload = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}
    answer = ledger.ask("BootNotification", payload)
    assert ledger.published[0] == ("$aws/things/CP1/shadow/update", {"state": {"reported": payload}})
    assert (answer["status"], answer["interval"]) == ("Accepted", 10)
    validate("BootNotification", answer)


@pytest.mark.parametrize("payload", [[], "x", 5])
def test_a_boot_that_is_no_object_is_not_reported(ledger: Ledger, payload: Any) -> None:
    assert ledger.ask("BootNotification", payload)["status"] == "Accepted"
    assert len(ledger.published) == 1


def test_null_is_an_empty_payload(ledger: Ledger) -> None:
    validate("Heartbeat", ledger.ask("Heartbeat", None))
    assert ledger.ask("MeterValues", None) == {}


@pytest.mark.parametrize(
    "frame",
    [
        "no JSON",
        b"\xff",
        "[" * 100_000,
        "{}",
        "[]",
        '[2,7,"Heartbeat",{}]',
        '[9,"1","Heartbeat",{}]',
        '[3,"1",{}]',
        '[4,"1","GenericError","",{}]',
    ],
    ids=lambda frame: str(frame)[:20],
)
def test_what_is_no_call_is_not_answered(ledger: Ledger, frame: Any) -> None:
    ledger.processor.handle("CP1", frame)
    assert ledger.published == []


@pytest.mark.parametrize("frame", ['[2,"7"]', '[2,"7","Heartbeat"]', '[2,"7","Heartbeat",{},{}]', '[2,"7",5,{}]'])
def test_a_malformed_call_is_answered_with_callerror(ledger: Ledger, frame: str) -> None:
    ledger.processor.handle("CP1", frame)
    [(topic, answer)] = ledger.published
    assert topic == "CP1/out"
    assert answer[:3] == [4, "7", "RpcFrameworkError"]


@pytest.mark.parametrize(
    ("action", "payload", "code"),
    [
        ("NoSuchAction", {}, "NotImplemented"),
        ("Authorize", [], "FormatViolation"),
        ("Authorize", {}, "ProtocolError"),
        ("Authorize", {"idTag": 5}, "TypeConstraintViolation"),
        ("Authorize", {"idToken": "TAG-1"}, "TypeConstraintViolation"),
        ("Authorize", {"idToken": {"type": "ISO14443"}}, "ProtocolError"),
        ("StartTransaction", [], "FormationViolation"),
        ("StartTransaction", {**START, "meterStart": 1.5}, "TypeConstraintViolation"),
        ("StartTransaction", {**START, "connectorId": True}, "TypeConstraintViolation"),
        ("StartTransaction", {**START, "meterStart": 10**40}, "PropertyConstraintViolation"),
        ("StartTransaction", {"idTag": "TAG-1"}, "ProtocolError"),
        ("StopTransaction", "x", "FormationViolation"),
        ("StopTransaction", {**STOP, "transactionId": "1"}, "TypeConstraintViolation"),
        ("StopTransaction", STOP, "ProtocolError"),
        ("MeterValues", [], "FormatViolation"),
        ("MeterValues", {"transactionId": "1"}, "TypeConstraintViolation"),
        ("TransactionEvent", [], "FormatViolation"),
        ("TransactionEvent", {}, "ProtocolError"),
        ("TransactionEvent", event("Begun", 0), "PropertyConstraintViolation"),
        ("TransactionEvent", event("Started", -1), "PropertyConstraintViolation"),
        ("TransactionEvent", event("Started", 10**16), "PropertyConstraintViolation"),
        ("TransactionEvent", event("Started", 0, info={"transactionId": "é" * 1000}), "PropertyConstraintViolation"),
        ("TransactionEvent", event("Started", 0, info={"transactionId": None}), "TypeConstraintViolation"),
        ("TransactionEvent", event("Started", 0, idToken="TAG-1"), "TypeConstraintViolation"),
        ("TransactionEvent", event("Started", 0, idToken={}), "ProtocolError"),
    ],
)
def test_a_payload_that_cannot_be_read_is_refused_and_leaves_no_trace(
    ledger: Ledger, action: str, payload: Any, code: str
) -> None:
    assert ledger.ask(action, payload) == code
    _, frame = ledger.published[-1]
    assert frame[0] == 4
    assert 0 < len(frame[3]) <= 255
    assert ledger.transactions.items == {}


VERSIONS_ACTIONS = [
    (version, action) for version in ("1.6", "2.0.1") for action in sorted(CHARGE_POINT_ACTIONS[version])
]


@pytest.mark.parametrize(("version", "action"), VERSIONS_ACTIONS, ids=str)
def test_random_payloads_get_a_valid_answer_and_mutated_ones_an_answer_or_a_callerror(
    ledger: Ledger, version: str, action: str
) -> None:
    schema = Version.get(version).request(action).schema
    rng = random.Random(1)
    for _ in range(20):
        validate(action, ledger.ask(action, sample(schema, rng)), version)
        assert ledger.published[-1][1][0] == 3
    for mutation in corpus(schema, 30, action):
        ledger.ask(action, mutation.payload)


def test_what_is_answered_empty_has_no_required_field_in_its_answer() -> None:
    """And everything else of a charge point has one, or an answer of its own."""
    own = {"MeterValues", "StopTransaction", "TransactionEvent"}
    required = {
        action: bool(Version.get(version).response(action).schema.get("required"))
        for version, action in VERSIONS_ACTIONS
    }
    assert {action for action, needs in required.items() if not needs} - own == ANSWERED_EMPTY


# -- Tokens ------------------------------------------------------------------------------------------------------------

HOUR = timedelta(hours=1)
STATUSES_OF_16 = {"Accepted", "Blocked", "ConcurrentTx", "Expired", "Invalid"}  # OCPP 1.6, 7.2


def from_now(delta: timedelta) -> str:
    return (datetime.now(UTC) + delta).isoformat()


@pytest.mark.parametrize(
    ("item", "status", "status_16", "in_transaction"),
    [
        (None, "Accepted", "Accepted", "Accepted"),
        ({"status": "Accepted"}, "Accepted", "Accepted", "Accepted"),
        ({"status": "Blocked"}, "Blocked", "Blocked", "Blocked"),
        ({"status": "ConcurrentTx"}, "ConcurrentTx", "ConcurrentTx", "ConcurrentTx"),
        ({"status": "NoCredit"}, "NoCredit", "Invalid", "NoCredit"),
        ({"status": "Unknown"}, "Unknown", "Invalid", "Unknown"),
        ({"status": "NotAtThisTime"}, "NotAtThisTime", "Invalid", "NotAtThisTime"),
        ({"status": "Accepted", "statusInTransaction": "Invalid"}, "Accepted", "Accepted", "Invalid"),
        ({"status": "Accepted", "expires": from_now(HOUR)}, "Accepted", "Accepted", "Accepted"),
        ({"status": "Accepted", "expires": from_now(-HOUR)}, "Expired", "Expired", "Expired"),
        ({"status": "Blocked", "expires": from_now(-HOUR), "statusInTransaction": "Invalid"}, *("Expired",) * 3),
        ({"status": "Accepted", "expires": "2020-01-01T00:00:00Z"}, "Expired", "Expired", "Expired"),
    ],
)
def test_a_token_has_one_status_in_both_versions(
    ledger: Ledger, item: Any, status: str, status_16: str, in_transaction: str
) -> None:
    if item is not None:
        ledger.token("TAG-1", **item)
    answer = ledger.ask("Authorize", {"idToken": TAG_1})
    assert answer["idTokenInfo"]["status"] == status
    validate("Authorize", answer)
    answer = ledger.ask("Authorize", {"idTag": "TAG-1"})
    assert answer["idTagInfo"]["status"] == status_16
    validate("Authorize", answer, "1.6")
    answer = ledger.ask("TransactionEvent", event("Started", 0, idToken=TAG_1))
    assert answer["idTokenInfo"]["status"] == in_transaction
    in_transaction_16 = in_transaction if in_transaction in STATUSES_OF_16 else "Invalid"
    assert ledger.ask("StartTransaction", START)["idTagInfo"]["status"] == in_transaction_16


def test_an_answer_names_the_group_and_the_expiry_of_a_token(ledger: Ledger) -> None:
    expires = from_now(HOUR)
    ledger.token("TAG-1", status="Accepted", group="G-1", expires=expires)
    assert ledger.ask("Authorize", {"idToken": TAG_1}) == {
        "idTokenInfo": {
            "status": "Accepted",
            "groupIdToken": {"idToken": "G-1", "type": "Central"},
            "cacheExpiryDateTime": expires,
        }
    }
    assert ledger.ask("Authorize", {"idTag": "TAG-1"}) == {
        "idTagInfo": {"status": "Accepted", "parentIdTag": "G-1", "expiryDate": expires}
    }


def test_a_group_too_long_for_ocpp_16_is_left_out_there(ledger: Ledger) -> None:
    ledger.token("TAG-1", status="Accepted", group="g" * 21)
    assert ledger.ask("Authorize", {"idTag": "TAG-1"}) == {"idTagInfo": {"status": "Accepted"}}
    assert ledger.ask("Authorize", {"idToken": TAG_1})["idTokenInfo"]["groupIdToken"]["idToken"] == "g" * 21


def test_tokens_are_compared_without_regard_to_case(ledger: Ledger) -> None:
    ledger.token("TAG-1", status="Blocked")
    assert ledger.ask("Authorize", {"idTag": "tag-1"})["idTagInfo"]["status"] == "Blocked"


def test_a_charge_without_authorization_is_accepted_and_an_empty_token_is_not(ledger: Ledger) -> None:
    nobody = {"idToken": "", "type": "NoAuthorization"}
    assert ledger.ask("TransactionEvent", event("Started", 0, idToken=nobody)) == {
        "idTokenInfo": {"status": "Accepted"}
    }
    assert ledger.ask("Authorize", {"idToken": {"idToken": "", "type": "Local"}})["idTokenInfo"]["status"] == "Invalid"


# -- Transactions of OCPP 2.x ------------------------------------------------------------------------------------------


def test_a_session_becomes_one_item(ledger: Ledger) -> None:
    answers = [ledger.ask("TransactionEvent", each) for each in SESSION]
    assert [set(answer) for answer in answers] == [set(), {"idTokenInfo"}, set(), set(), {"idTokenInfo"}]
    for answer in answers:
        validate("TransactionEvent", answer)
    assert ledger.item("T1") == ENDED
    assert len(ledger.transactions.items) == 1


def test_the_order_of_the_events_does_not_matter() -> None:
    for order in itertools.permutations(range(5)):
        ledger = Ledger()
        for number in order:
            ledger.ask("TransactionEvent", SESSION[number])
        assert ledger.item("T1") == ENDED, order


def test_an_event_that_comes_again_gets_the_same_answer_and_changes_nothing(ledger: Ledger) -> None:
    for each in SESSION:
        first = ledger.ask("TransactionEvent", each)
        puts = ledger.transactions.puts
        assert ledger.ask("TransactionEvent", each) == first
        assert ledger.transactions.puts == puts
    for each in SESSION:
        ledger.ask("TransactionEvent", each)
    assert ledger.item("T1") == ENDED


def test_while_it_runs_the_last_register_is_known(ledger: Ledger) -> None:
    for each in SESSION[:4]:
        ledger.ask("TransactionEvent", each)
    item = ledger.item("T1")
    assert (item["state"], item["startWh"], item["lastWh"], item["lastAt"]) == ("running", 1000.5, 3000, at(3))
    assert not {"endWh", "endedAt", "stoppedReason"} & set(item)


@pytest.mark.parametrize(
    ("came", "seen", "missing"),
    [
        ([0], "0", ""),
        ([0, 1, 2], "0-2", ""),
        ([1], "1", "0"),
        ([0, 2, 4], "0,2,4", "1,3"),
        ([0, 5], "0,5", "1-4"),
        ([7], "7", "0-6"),
        ([0, 2, 1], "0-2", ""),
        ([3, 1, 0, 2], "0-3", ""),
        ([5, 3, 3, 0], "0,3,5", "1-2,4"),
        ([0, 10**12], "0,1000000000000", "1-999999999999"),
    ],
)
def test_the_ledger_knows_which_seq_nos_are_missing(ledger: Ledger, came: list[int], seen: str, missing: str) -> None:
    for seq_no in came:
        ledger.ask("TransactionEvent", {**event("Updated", 0), "seqNo": seq_no})
    item = ledger.item("T1")
    assert (item["seqNosSeen"], item["seqNosMissing"]) == (seen, missing)


def test_an_item_does_not_grow_with_the_events(ledger: Ledger) -> None:
    for seq_no in range(2000):
        if seq_no != 7:
            ledger.ask("TransactionEvent", {**event("Updated", 0, sampled(seq_no)), "seqNo": seq_no})
    item = ledger.item("T1")
    assert (item["seqNosSeen"], item["seqNosMissing"]) == ("0-6,8-1999", "7")
    assert len(json.dumps(item)) < 500


@pytest.mark.parametrize(
    ("fields", "wh"),
    [
        ({"value": 1500}, 1500),
        ({"value": 1.5, "unitOfMeasure": {"unit": "kWh"}}, 1500),
        ({"value": 1.5, "unitOfMeasure": {"multiplier": 3}}, 1500),
        ({"value": 15, "unitOfMeasure": {"unit": "kWh", "multiplier": -1}}, 1500),
        ({"value": 0.1, "unitOfMeasure": {}}, 0.1),
        ({"value": 1500, "measurand": "Energy.Active.Import.Register", "location": "Outlet"}, 1500),
        ({"value": "1.5", "unit": "kWh"}, 1500),
        ({"value": "1500.25"}, 1500.25),
        ({"value": "1500", "format": "Raw"}, 1500),
        ({"value": 5, "measurand": "Power.Active.Import"}, None),
        ({"value": 5, "measurand": "Energy.Active.Import.Interval"}, None),
        ({"value": 5, "phase": "L1"}, None),
        ({"value": 5, "location": "Inlet"}, None),
        ({"value": 5, "unitOfMeasure": {"unit": "W"}}, None),
        ({"value": 5, "unitOfMeasure": {"unit": ["Wh"]}}, None),
        ({"value": 5, "unitOfMeasure": {"multiplier": 10**9}}, None),
        ({"value": 5, "unitOfMeasure": {"multiplier": "3"}}, None),
        ({"value": "5", "format": "SignedData"}, None),
        ({"value": "many"}, None),
        ({"value": "NaN"}, None),
        ({"value": "1e999999"}, None),
        ({"value": True}, None),
        ({"value": None}, None),
        ({}, None),
    ],
)
def test_a_register_is_noted_in_wh(ledger: Ledger, fields: Any, wh: float | None) -> None:
    """Values that are not the register of all phases at the outlet, or no number, are ignored."""
    meter_value = {"timestamp": T0, "sampledValue": [{"context": "Transaction.Begin", **fields}]}
    ledger.ask("TransactionEvent", event("Started", 0, meter_value))
    assert ledger.item("T1").get("startWh") == wh


@pytest.mark.parametrize("meter_value", [None, 5, {}, [None], [{}], [{"sampledValue": {}}], [{"sampledValue": [5]}]])
def test_meter_values_of_another_form_are_ignored(ledger: Ledger, meter_value: Any) -> None:
    ledger.ask("TransactionEvent", event("Started", 0, meterValue=meter_value))
    assert "startWh" not in ledger.item("T1")


def test_the_first_value_of_started_and_the_last_of_ended_serve_without_a_context(ledger: Ledger) -> None:
    ledger.ask("TransactionEvent", event("Started", 0, sampled(10), sampled(20, minute=1)))
    ledger.ask("TransactionEvent", event("Ended", 1, sampled(30, minute=2), sampled(40, minute=3)))
    item = ledger.item("T1")
    assert (item["startWh"], item["endWh"], item["lastWh"]) == (10, 40, 40)


def test_the_end_alone_tells_both_registers(ledger: Ledger) -> None:
    ledger.ask("TransactionEvent", SESSION[4])
    item = ledger.item("T1")
    assert (item["startWh"], item["endWh"], item["seqNosMissing"]) == (1000.5, 4000.75, "0-3")
    assert "startedAt" not in item


def test_a_reason_is_left_out_where_it_is_local(ledger: Ledger) -> None:
    ledger.ask("TransactionEvent", event("Ended", 0))
    assert ledger.item("T1")["stoppedReason"] == "Local"


def test_an_event_with_an_empty_transaction_id_is_answered_and_not_kept(ledger: Ledger) -> None:
    """The schema allows it; a key of a table it cannot be."""
    answer = ledger.ask("TransactionEvent", event("Started", 0, idToken=TAG_1, info={"transactionId": ""}))
    assert answer == {"idTokenInfo": {"status": "Accepted"}}
    assert ledger.transactions.items == {}


def test_two_charge_points_may_use_the_same_transaction_id(ledger: Ledger) -> None:
    for charge_point_id in ("CP1", "CP2"):
        ledger.ask("TransactionEvent", SESSION[0], charge_point_id)
    assert ledger.transactions.items.keys() == {("CP1", "T1"), ("CP2", "T1")}


# -- Transactions of OCPP 1.6 ------------------------------------------------------------------------------------------


def test_a_transaction_of_ocpp_16_becomes_one_item(ledger: Ledger) -> None:
    started = ledger.ask("StartTransaction", START)
    validate("StartTransaction", started, "1.6")
    transaction_id = started["transactionId"]
    meter_values = {
        "connectorId": 1,
        "transactionId": transaction_id,
        "meterValue": [sampled("2.5", minute=5, unit="kWh")],
    }
    assert ledger.ask("MeterValues", meter_values) == {}
    running = ledger.item(transaction_id)
    assert (running["state"], running["startWh"], running["lastWh"]) == ("running", 1000, 2500)
    stopped = ledger.ask("StopTransaction", {**STOP, "transactionId": transaction_id, "reason": "EVDisconnected"})
    assert stopped == {}
    item = ledger.item(transaction_id)
    assert item | {"startedBy": ""} == {
        "chargePointId": "CP1",
        "transactionId": str(transaction_id),
        "startedBy": "",
        "version": "1.6",
        "state": "ended",
        "connectorId": 1,
        "idToken": "TAG-1",
        "idTagInfo": {"status": "Accepted"},
        "startedAt": T0,
        "endedAt": STOP["timestamp"],
        "startWh": 1000,
        "endWh": 4000,
        "lastWh": 4000,
        "lastAt": STOP["timestamp"],
        "stoppedReason": "EVDisconnected",
        "revision": 3,
    }


def test_the_same_start_again_is_the_same_transaction_and_gets_the_same_answer(ledger: Ledger) -> None:
    ledger.token("TAG-1", status="Accepted", group="G")
    first = ledger.ask("StartTransaction", START)
    ledger.token("TAG-1", status="Blocked")
    assert ledger.ask("StartTransaction", START) == first
    ledger.ask("StopTransaction", {**STOP, "transactionId": first["transactionId"]})
    assert ledger.ask("StartTransaction", START) == first
    assert len(ledger.transactions.items) == 1
    assert ledger.item(first["transactionId"])["state"] == "ended"


@pytest.mark.parametrize(
    "other",
    [{"connectorId": 2}, {"idTag": "TAG-2"}, {"meterStart": 1001}, {"timestamp": "2026-11-23T10:00:01Z"}],
    ids=str,
)
def test_another_start_is_another_transaction(ledger: Ledger, other: dict[str, Any]) -> None:
    ids = {ledger.ask("StartTransaction", start)["transactionId"] for start in (START, START | other)}
    ids.add(ledger.ask("StartTransaction", START, "CP2")["transactionId"])
    assert len(ids) == len(ledger.transactions.items) == 3


def test_a_start_that_happens_to_have_the_id_of_another_one_gets_the_next(ledger: Ledger) -> None:
    taken = ledger.ask("StartTransaction", START)["transactionId"]
    ledger.transactions.items["CP1", str(taken)]["startedBy"] = "another"
    assert [ledger.ask("StartTransaction", START)["transactionId"] for _ in range(2)] == [taken + 1] * 2


def test_a_blocked_token_gets_a_transaction_too(ledger: Ledger) -> None:
    """OCPP 1.6, 5.11: the charge point decides what to do then."""
    ledger.token("TAG-1", status="Blocked")
    answer = ledger.ask("StartTransaction", START)
    assert answer["idTagInfo"] == {"status": "Blocked"}
    assert ledger.item(answer["transactionId"])["state"] == "running"


def test_a_stop_with_a_token_says_what_it_is_and_changes_nothing_again(ledger: Ledger) -> None:
    transaction_id = ledger.ask("StartTransaction", START)["transactionId"]
    stop = {**STOP, "transactionId": transaction_id, "idTag": "TAG-1"}
    assert ledger.ask("StopTransaction", stop) == {"idTagInfo": {"status": "Accepted"}}
    before = ledger.item(transaction_id)
    assert ledger.ask("StopTransaction", {**stop, "meterStop": 9999}) == {"idTagInfo": {"status": "Accepted"}}
    assert ledger.item(transaction_id) == before
    assert before["stoppedReason"] == "Local"


def test_a_stop_of_an_unknown_transaction_is_kept(ledger: Ledger) -> None:
    """OCPP 1.6, 4.10: the CSMS cannot prevent it."""
    assert ledger.ask("StopTransaction", {**STOP, "transactionId": -1}) == {}
    item = ledger.item(-1)
    assert (item["state"], item["endWh"]) == ("ended", 4000)
    assert "startWh" not in item


@pytest.mark.parametrize("minute", [0, 4])
def test_meter_values_that_come_late_do_not_move_the_register_back(ledger: Ledger, minute: int) -> None:
    transaction_id = ledger.ask("StartTransaction", START)["transactionId"]
    for value, sent in (("2000", 5), ("1500", minute)):
        ledger.ask("MeterValues", {"transactionId": transaction_id, "meterValue": [sampled(value, minute=sent)]})
    assert ledger.item(transaction_id)["lastWh"] == 2000


def test_meter_values_of_an_ended_an_unknown_or_no_transaction_move_nothing(ledger: Ledger) -> None:
    transaction_id = ledger.ask("StartTransaction", START)["transactionId"]
    ledger.ask("StopTransaction", {**STOP, "transactionId": transaction_id})
    before = ledger.item(transaction_id)
    for fields in ({"transactionId": transaction_id}, {"transactionId": 5}, {}, {"evseId": 1}):
        value = {"timestamp": "2026-11-23T12:00:00Z", "sampledValue": [{"value": "9999"}]}
        assert ledger.ask("MeterValues", {"meterValue": [value], **fields}) == {}
    assert ledger.item(transaction_id) == before
    assert len(ledger.transactions.items) == 1


# -- Two at once -------------------------------------------------------------------------------------------------------


def test_two_events_at_once_are_both_kept(ledger: Ledger) -> None:
    ledger.ask("TransactionEvent", SESSION[0])
    ledger.transactions.between = lambda: ledger.ask("TransactionEvent", SESSION[3])
    ledger.ask("TransactionEvent", SESSION[2])
    assert ledger.item("T1")["seqNosSeen"] == "0,2-3"
    assert ledger.item("T1")["lastWh"] == 3000


def test_the_same_start_twice_at_once_is_one_transaction(ledger: Ledger) -> None:
    answers = []
    ledger.transactions.between = lambda: answers.append(ledger.ask("StartTransaction", START))
    answers.append(ledger.ask("StartTransaction", START))
    assert answers[0] == answers[1]
    assert len(ledger.transactions.items) == 1


def test_an_item_that_others_keep_writing_is_given_up(ledger: Ledger) -> None:
    ledger.ask("TransactionEvent", SESSION[0])

    def write() -> None:
        ledger.transactions.items["CP1", "T1"]["revision"] += 1
        ledger.transactions.between = write

    ledger.transactions.between = write
    with pytest.raises(RuntimeError, match="CP1: others kept writing transaction T1"):
        ledger.ask("TransactionEvent", SESSION[1])


# -- As a Lambda function ----------------------------------------------------------------------------------------------

INVOKE = "import json, sys, message_processor; message_processor.lambda_handler(json.load(sys.stdin), None)"


async def invoke(folder: Path, shared: LocalProcess, boto: Boto, *bodies: Any) -> tuple[int, str]:
    """Run the file alone in a process of its own, as AWS Lambda does; its exit status and its log."""
    shutil.copy(message_processor.__file__, folder)
    environment = {
        "AWS_ENDPOINT_URL": shared.endpoint_url,
        "AWS_REGION": shared.options.region,
        "AWS_DEFAULT_REGION": shared.options.region,
        "AWS_ACCESS_KEY_ID": shared.key.id,
        "AWS_SECRET_ACCESS_KEY": shared.key.secret,
        "TOKENS_TABLE": boto.resource("TokensTable"),
        "TRANSACTIONS_TABLE": boto.resource("TransactionsTable"),
        "HEARTBEAT_INTERVAL": "33",
        "PYTHONPATH": str(folder),
        "NO_PROXY": "*",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", INVOKE, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    records = [{"body": body if isinstance(body, str) else json.dumps(body)} for body in bodies]
    _, log = await process.communicate(json.dumps({"Records": records}).encode())
    assert process.returncode is not None
    return process.returncode, log.decode()


async def test_the_file_is_a_lambda_function_as_it_is(shared: LocalProcess, boto: Boto, tmp_path: Path) -> None:
    charge_point_id, token = new_id("LAMBDA"), new_id("CARD")
    tokens = boto.resource("TokensTable")
    boto("dynamodb").put_item(TableName=tokens, Item={"idToken": {"S": token}, "status": {"S": "Blocked"}})
    started = {**SESSION[0], "idToken": {"idToken": token, "type": "ISO14443"}}
    calls = [
        ("boot", "BootNotification", {"reason": "PowerUp"}),
        ("start", "StartTransaction", START),
        ("again", "StartTransaction", START),
        ("e4", "TransactionEvent", SESSION[4]),
        ("e0", "TransactionEvent", started),
        ("e0 again", "TransactionEvent", started),
        ("data", "DataTransfer", {"vendorId": "x"}),
    ]
    bodies = [{"chargePointId": charge_point_id, "message": [2, *each]} for each in calls]
    async with mqtt(
        shared, f"{charge_point_id}/out", f"$aws/things/{charge_point_id}/shadow/update/accepted"
    ) as broker:
        code, log = await invoke(tmp_path, shared, boto, *bodies)
        assert (code, log) == (0, "")
        taken = await broker.take(len(calls) + 1)
    boto("dynamodb").delete_item(TableName=tokens, Key={"idToken": {"S": token}})
    [accepted] = [json.loads(payload) for topic, payload in taken if topic.startswith("$aws")]
    assert accepted["state"]["reported"] == {"reason": "PowerUp"}
    answers = {frame[1]: frame[2] for frame in (json.loads(payload) for topic, payload in taken if "/out" in topic)}
    assert (answers["boot"]["status"], answers["boot"]["interval"]) == ("Accepted", 33)
    assert answers["start"] == answers["again"]
    assert answers["e4"] == {"idTokenInfo": {"status": "Accepted"}}
    assert answers["e0"] == answers["e0 again"] == {"idTokenInfo": {"status": "Blocked"}}
    assert answers["data"] == {"status": "UnknownVendorId"}
    rows = boto("dynamodb").query(
        TableName=boto.resource("TransactionsTable"),
        KeyConditionExpression="chargePointId = :id",
        ExpressionAttributeValues={":id": {"S": charge_point_id}},
        ConsistentRead=True,
    )["Items"]
    items = {item["transactionId"]["S"]: item for item in rows}
    assert items.keys() == {str(answers["start"]["transactionId"]), "T1"}
    assert (items["T1"]["seqNosMissing"], items["T1"]["idToken"]) == ({"S": "1-3"}, {"S": token})
    assert (items["T1"]["startWh"], items["T1"]["endWh"]) == ({"N": "1000.5"}, {"N": "4000.75"})
    assert items["T1"]["revision"] == {"N": "2"}


async def test_when_a_record_fails_the_others_are_handled_and_the_queue_delivers_all_again(
    shared: LocalProcess, boto: Boto, tmp_path: Path
) -> None:
    charge_point_id = new_id("LAMBDA")
    beat = {"chargePointId": charge_point_id, "message": [2, "beat", "Heartbeat", {}]}
    async with mqtt(shared, f"{charge_point_id}/out") as broker:
        code, log = await invoke(tmp_path, shared, boto, "no JSON", beat)
        [(_, payload)] = await broker.take()
    assert code == 1
    assert "failed on {'body': 'no JSON'}" in log
    assert json.loads(payload)[:2] == [3, "beat"]
