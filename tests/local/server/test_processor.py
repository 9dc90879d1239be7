"""The local CSMS as charge points see it: the kit's, the strict one, and the AWS sample's message processor."""

import asyncio
import dataclasses
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import MS, SOON, until
from ocpp.messages import MessageType, get_validator
from schema_payloads import fullest, smallest
from stack_fixtures import (
    GLANCE,
    INTERVAL,
    Boto,
    ask,
    dial,
    eventually,
    in_one_write,
    is_answered,
    new_id,
    receive,
)
from websockets.asyncio.client import ClientConnection

from cpsim_kit import ChargePoint, errors
from cpsim_kit.local.launcher import LocalOptions, LocalProcess
from cpsim_kit.local.server.broker import Deliver, StandIn
from cpsim_kit.local.server.processor import Csms
from cpsim_kit.local.server.tables import Tables
from cpsim_kit.ocpp_j.versions import CHARGE_POINT_ACTIONS, Version

Register = Callable[[], Awaitable[str]]

BOOT = {"chargingStation": {"model": "M", "vendorName": "V", "serialNumber": "S1"}, "reason": "PowerUp"}
ACTIONS = [(version, action) for version, actions in CHARGE_POINT_ACTIONS.items() for action in sorted(actions)]


@pytest.fixture
async def ws(shared: LocalProcess, register: Register) -> AsyncIterator[ClientConnection]:
    """A plain WebSocket client that the gateway has accepted."""
    async with dial(shared, await register()) as ws:
        yield ws


def id_of(ws: ClientConnection) -> str:
    assert ws.request is not None
    return ws.request.path.strip("/")


def reported(boto: Boto, charge_point_id: str) -> Any:
    document = boto("iot-data").get_thing_shadow(thingName=charge_point_id)["payload"].read()
    return json.loads(document)["state"].get("reported")


def is_utc_now(text: str) -> bool:
    return text.endswith("Z") and is_naive_utc_now(text.removesuffix("Z"))


def is_naive_utc_now(text: str) -> bool:
    moment = datetime.fromisoformat(text)
    return moment.tzinfo is None and abs(datetime.now(UTC) - moment.replace(tzinfo=UTC)) < timedelta(seconds=SOON)


# -- Actions that the sample answers -----------------------------------------------------------------------------------


async def test_a_boot_is_accepted_and_gets_the_interval(ws: ClientConnection) -> None:
    kind, message_id, answer = await ask(ws, "BootNotification", BOOT, "boot-1")
    assert (kind, message_id) == (3, "boot-1")
    assert answer == {"currentTime": answer["currentTime"], "interval": INTERVAL, "status": "Accepted"}
    assert is_utc_now(answer["currentTime"])


async def test_a_boot_of_ocpp_16_is_accepted(shared: LocalProcess, boto: Boto, register: Register) -> None:
    payload = {"chargePointModel": "M", "chargePointVendor": "V"}
    async with dial(shared, await register(), "ocpp1.6") as ws:
        _, _, answer = await ask(ws, "BootNotification", payload)
        assert (answer["status"], answer["interval"]) == ("Accepted", INTERVAL)
        assert reported(boto, id_of(ws)) == payload


async def test_the_payload_of_a_boot_is_reported_to_the_shadow(boto: Boto, ws: ClientConnection) -> None:
    payload = {**BOOT, "customData": {"vendorId": "žluť 充电", "nested": {"deep": [1, 2.5, True]}}}
    assert (await ask(ws, "BootNotification", payload))[0] == 3
    assert reported(boto, id_of(ws)) == payload  # the shadow is updated before the answer


async def test_a_heartbeat_is_answered_with_the_time(ws: ClientConnection) -> None:
    kind, message_id, answer = await ask(ws, "Heartbeat", {}, "beat")
    assert (kind, message_id) == (3, "beat")
    assert answer == {"currentTime": answer["currentTime"]}
    assert is_utc_now(answer["currentTime"])


async def test_a_status_gets_an_empty_answer(ws: ClientConnection) -> None:
    status = {"timestamp": "2026-11-23T10:00:00Z", "connectorStatus": "Available", "evseId": 1, "connectorId": 1}
    assert await ask(ws, "StatusNotification", status, "status") == [3, "status", {}]


async def test_only_a_boot_updates_the_shadow(boto: Boto, ws: ClientConnection) -> None:
    assert await is_answered(ws)
    with pytest.raises(boto("iot-data").exceptions.ResourceNotFoundException):
        reported(boto, id_of(ws))


# -- Actions that the sample does not know -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ids(shared: LocalProcess, shared_boto: Boto) -> Iterator[dict[str, str]]:
    """One charge point for each version, which the tests of actions share."""
    ids = {version: new_id("ACTIONS") for version in CHARGE_POINT_ACTIONS}
    for charge_point_id in ids.values():
        shared_boto("iot").create_thing(thingName=charge_point_id)
    shared_boto.disconnect()
    yield ids
    for charge_point_id in ids.values():
        shared_boto("iot").delete_thing(thingName=charge_point_id)
    shared_boto.disconnect()


@pytest.mark.parametrize(("version", "action"), ACTIONS, ids=[f"{action}-{version}" for version, action in ACTIONS])
async def test_every_action_of_a_charge_point_gets_a_valid_answer(
    shared: LocalProcess, boto: Boto, ids: dict[str, str], version: str, action: str
) -> None:
    request = Version.get(version).request(action)
    assert request.cls is not None
    fields = [field.name for field in dataclasses.fields(request.cls)]
    oracle = get_validator(MessageType.CallResult, action, version)  # the ocpp package's own
    await eventually(lambda: boto.is_registered(ids[version]))
    async with ChargePoint(ids[version], shared.websocket_url, version=version) as cp:
        for payload in (smallest(request.schema), fullest(request.schema)):
            values = request.read(payload)
            answer = await cp.call(request.cls(**{name: values.get(name) for name in fields}))
            assert type(answer) is getattr(Version.get(version).call_results, action)
            *_, asked, answered = cp.messages
            assert asked.payload == payload
            oracle.validate(answered.payload)


def test_every_action_that_the_ocpp_package_routes_from_a_charge_point_is_known() -> None:
    """The other actions of each version are those of a CSMS."""
    of_a_csms = {
        version: {action for action in Version.get(version).actions if action not in actions}
        for version, actions in CHARGE_POINT_ACTIONS.items()
    }
    assert {"Reset", "RemoteStartTransaction", "TriggerMessage", "ExtendedTriggerMessage"} <= of_a_csms["1.6"]
    assert {"Reset", "RequestStartTransaction", "TriggerMessage", "CostUpdated"} <= of_a_csms["2.0.1"]
    beginnings = ("Notify", "Report")
    endings = ("Notification", "StatusUpdate", "Event")
    for actions in of_a_csms.values():
        assert not [action for action in actions if action.startswith(beginnings) or action.endswith(endings)]


async def test_each_transaction_of_ocpp_16_gets_its_own_id(shared: LocalProcess, register: Register) -> None:
    starts = [
        {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": f"2026-11-23T10:00:0{second}Z"}
        for second in range(3)
    ]
    async with dial(shared, await register(), "ocpp1.6") as ws:
        answers = [(await ask(ws, "StartTransaction", start))[2] for start in starts]
        again = [(await ask(ws, "StartTransaction", start))[2] for start in starts]
    assert len({answer["transactionId"] for answer in answers}) == 3
    assert {answer["idTagInfo"]["status"] for answer in answers} == {"Accepted"}
    assert again == answers


# -- The message processor ---------------------------------------------------------------------------------------------


EVENT = {
    "eventType": "Started",
    "timestamp": "2026-11-23T10:00:00Z",
    "triggerReason": "Authorized",
    "seqNo": 0,
    "transactionInfo": {"transactionId": "T1"},
    "idToken": {"idToken": "CARD", "type": "ISO14443"},
}


def ledger_of(boto: Boto, charge_point_id: str) -> dict[str, Any]:
    """The items of a charge point's transactions, by their ids."""
    items = boto("dynamodb").query(
        TableName=boto.resource("TransactionsTable"),
        KeyConditionExpression="chargePointId = :id",
        ExpressionAttributeValues={":id": {"S": charge_point_id}},
    )["Items"]
    return {item["transactionId"]["S"]: item for item in items}


async def test_a_transaction_is_in_the_table_once_it_is_answered(boto: Boto, ws: ClientConnection) -> None:
    assert await ask(ws, "TransactionEvent", EVENT) == [3, "1", {"idTokenInfo": {"status": "Accepted"}}]
    assert ledger_of(boto, id_of(ws)) == {
        "T1": {
            "chargePointId": {"S": id_of(ws)},
            "transactionId": {"S": "T1"},
            "version": {"S": "2.0.1"},
            "state": {"S": "running"},
            "idToken": {"S": "CARD"},
            "idTokenSeqNo": {"N": "0"},
            "startedAt": {"S": EVENT["timestamp"]},
            "seqNosSeen": {"S": "0"},
            "seqNosMissing": {"S": ""},
            "revision": {"N": "1"},
        }
    }
    assert await ask(ws, "TransactionEvent", EVENT) == [3, "1", {"idTokenInfo": {"status": "Accepted"}}]
    assert ledger_of(boto, id_of(ws))["T1"]["revision"] == {"N": "1"}


async def test_the_strict_csms_keeps_transactions_too(strict: LocalProcess, strict_ws: ClientConnection) -> None:
    boto = Boto(strict)
    assert (await ask(strict_ws, "TransactionEvent", EVENT))[0] == 3
    assert ledger_of(boto, id_of(strict_ws)).keys() == {"T1"}
    boto.disconnect()


async def test_an_invalid_event_is_not_kept(boto: Boto, ws: ClientConnection) -> None:
    assert (await ask(ws, "TransactionEvent", {**EVENT, "eventType": "Begun"}))[2] == "PropertyConstraintViolation"
    assert (await ask(ws, "TransactionEvent", {**EVENT, "extra": 1}))[2] == "FormatViolation"
    assert ledger_of(boto, id_of(ws)) == {}


async def test_what_the_message_processor_refuses_is_answered_with_callerror(
    shared: LocalProcess, boto: Boto, ws: ClientConnection
) -> None:
    """The schema allows an integer that is no number of DynamoDB."""
    stop = {"transactionId": 1, "meterStop": 10**40, "timestamp": "2026-11-23T10:00:00Z"}
    frame = await ask(ws, "StopTransaction", stop)
    assert (frame[0], frame[2]) == (4, "PropertyConstraintViolation")
    assert f"{id_of(ws)}: refused StopTransaction: PropertyConstraintViolation" in shared.log(1000)
    assert ledger_of(boto, id_of(ws)) == {}
    assert await is_answered(ws)


class NoItems:
    """The tables of a stack that somebody has deleted."""

    def read_item(self, table: str, *key: str) -> dict[str, Any] | None:
        raise KeyError(table)

    def write_item(self, table: str, item: dict[str, Any], *key: str) -> None:
        raise KeyError(table)


async def test_a_table_that_is_gone_is_logged_and_other_messages_are_answered(caplog: pytest.LogCaptureFixture) -> None:
    broker = Recorder()
    tables = Tables.of(NoItems(), {"TokensTable": "tokens", "TransactionsTable": "transactions"})
    csms = Csms(broker, tables=tables)
    await csms.start()
    try:
        await broker.deliver("CP1/in", json.dumps([2, "event", "TransactionEvent", EVENT]).encode())
        await broker.deliver("CP1/in", b'[2,"beat","Heartbeat",{}]')
        await until(lambda: broker.published, "an answer")
    finally:
        await csms.stop()
    assert [json.loads(payload)[1] for _, payload in broker.published] == ["beat"]
    assert "CP1: failed on" in caplog.text


@pytest.mark.parametrize("character", ["kit", "strict"])
async def test_a_csms_with_a_ledger_needs_its_tables(character: str) -> None:
    with pytest.raises(ValueError, match=f"csms '{character}' needs tables"):
        Csms(Recorder(), character=character)


# -- Messages that break OCPP ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict() -> Iterator[LocalProcess]:
    """A local stack whose CSMS validates every payload."""
    process = LocalProcess(LocalOptions(name="Strict", csms="strict"))
    yield process
    process.stop()


@pytest.fixture
async def strict_ws(strict: LocalProcess) -> AsyncIterator[ClientConnection]:
    boto, charge_point_id = Boto(strict), new_id("STRICT")
    boto("iot").create_thing(thingName=charge_point_id)
    await eventually(lambda: boto.is_registered(charge_point_id))
    boto.disconnect()
    async with dial(strict, charge_point_id) as ws:
        yield ws


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("BootNotification", {"reason": "PowerUp"}),
        ("BootNotification", {**BOOT, "chargingStation": {**BOOT["chargingStation"], "modem": {"iccid": "8" * 26}}}),
        ("BootNotification", {}),
        ("BootNotification", {**BOOT, "customData": {"vendorId": "x", "big": 2**70}}),
        ("Heartbeat", {"who": "me"}),
        ("Heartbeat", None),
        ("Heartbeat", []),
        ("StatusNotification", {"connectorId": 1, "evseId": 1, "connectorStatus": "Broken"}),
        ("StatusNotification", "x"),
    ],
)
async def test_the_samples_three_actions_are_answered_with_any_payload(
    ws: ClientConnection, action: str, payload: Any
) -> None:
    kind, message_id, answer = await ask(ws, action, payload, "any")
    assert (kind, message_id) == (3, "any")
    assert (
        set(answer)
        == {
            "BootNotification": {"currentTime", "interval", "status"},
            "Heartbeat": {"currentTime"},
            "StatusNotification": set(),
        }[action]
    )


@pytest.mark.parametrize(
    ("action", "payload", "field", "code"),
    [
        ("BootNotification", {"chargePointModel": "M"}, "chargePointVendor", "ProtocolError"),
        (
            "BootNotification",
            {"chargePointModel": "M", "chargePointVendor": "V", "foo": 1},
            "foo",
            "FormationViolation",
        ),
        (
            "StatusNotification",
            {"connectorId": 0, "errorCode": "Error", "status": "Faulted"},
            "errorCode",
            "PropertyConstraintViolation",
        ),
        ("Authorize", {"idTag": "x" * 30}, "idTag", "TypeConstraintViolation"),
        ("Authorize", {"idTag": "x", "who": 1}, "who", "FormationViolation"),
    ],
)
async def test_a_payload_of_1_6_is_validated_by_1_6(
    ws: ClientConnection, strict_ws: ClientConnection, action: str, payload: Any, field: str, code: str
) -> None:
    for each in (ws, strict_ws):
        frame = await ask(each, action, payload)
        assert (frame[0], frame[2]) == (4, code)
        assert "OCPP 1.6" in frame[3]
        assert field in frame[3]


async def test_a_payload_that_fits_no_version_better_is_validated_by_that_of_the_boot(
    strict_ws: ClientConnection,
) -> None:
    assert (await ask(strict_ws, "Heartbeat", {"who": 1}))[2] == "FormatViolation"
    assert (await ask(strict_ws, "BootNotification", {"chargePointModel": "M", "chargePointVendor": "V"}))[0] == 3
    assert (await ask(strict_ws, "Heartbeat", {"who": 1}))[2] == "FormationViolation"


async def test_a_refused_boot_does_not_set_the_version(strict_ws: ClientConnection) -> None:
    assert (await ask(strict_ws, "BootNotification", {"chargePointModel": "M"}))[0] == 4
    assert (await ask(strict_ws, "Heartbeat", {"who": 1}))[2] == "FormatViolation"


@pytest.mark.parametrize(
    ("action", "payload", "code"),
    [
        ("BootNotification", {"reason": "PowerUp"}, "ProtocolError"),
        ("BootNotification", {**BOOT, "reason": "Because"}, "PropertyConstraintViolation"),
        ("BootNotification", {**BOOT, "extra": 1}, "FormatViolation"),
        ("BootNotification", {**BOOT, "chargingStation": {"model": 5, "vendorName": "V"}}, "TypeConstraintViolation"),
        ("BootNotification", {}, "ProtocolError"),
        ("NotifyEvent", {"generatedAt": "x", "seqNo": 0, "eventData": []}, "OccurenceConstraintViolation"),
        ("StartTransaction", {"connectorId": 1}, "ProtocolError"),
        ("Heartbeat", {"who": "me"}, "FormatViolation"),
        ("Heartbeat", [], "TypeConstraintViolation"),
        ("Heartbeat", "x", "TypeConstraintViolation"),
        ("Reset", {"type": "Immediate"}, "NotSupported"),  # an action of the CSMS, in 2.0.1 and in 1.6
        ("RemoteStartTransaction", {"idTag": "TAG"}, "NotSupported"),
        ("NoSuchAction", {}, "NotImplemented"),
        ("heartbeat", {}, "NotImplemented"),
        ("", {}, "NotImplemented"),
    ],
)
async def test_the_strict_csms_answers_an_invalid_payload_with_callerror(
    strict_ws: ClientConnection, action: str, payload: Any, code: str
) -> None:
    kind, message_id, error, description, details = await ask(strict_ws, action, payload, "bad-1")
    assert (kind, message_id, error, details) == (4, "bad-1", code, {})
    assert 0 < len(description) <= 255
    assert await is_answered(strict_ws)


async def test_a_long_error_description_is_cut_to_255_characters(strict_ws: ClientConnection) -> None:
    frame = await ask(strict_ws, "BootNotification", {**BOOT, "reason": "ž" * 5000})
    assert frame[0] == 4
    assert len(frame[3]) <= 255


async def test_an_invalid_boot_is_reported_as_by_the_sample(boto: Boto, ws: ClientConnection) -> None:
    assert (await ask(ws, "BootNotification", {"reason": "Because"}))[0] == 3
    assert reported(boto, id_of(ws)) == {"reason": "Because"}


async def test_a_boot_refused_by_the_strict_csms_is_not_reported(
    strict: LocalProcess, strict_ws: ClientConnection
) -> None:
    boto = Boto(strict)
    assert (await ask(strict_ws, "BootNotification", {"reason": "PowerUp"}))[0] == 4
    with pytest.raises(boto("iot-data").exceptions.ResourceNotFoundException):
        reported(boto, id_of(strict_ws))
    boto.disconnect()


@pytest.mark.parametrize(
    "frame",
    ['[2,"7"]', '[2,"7","Heartbeat"]', '[2,"7","Heartbeat",{},{}]', '[2,"7",5,{}]', '[2,"7",null,{}]'],
)
async def test_a_malformed_call_is_answered_with_callerror(ws: ClientConnection, frame: str) -> None:
    await ws.send(frame)
    assert (await receive(ws))[:3] == [4, "7", "RpcFrameworkError"]
    assert await is_answered(ws)


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "no JSON",
        "{}",
        "[]",
        "null",
        "7",
        '"Heartbeat"',
        "[2]",
        '[2,7,"Heartbeat",{}]',
        '[2,null,"Heartbeat",{}]',
        '[9,"1","Heartbeat",{}]',
        '["2","1","Heartbeat",{}]',
        '[2,"1","Heartbeat",{}',
        '[2,"1","Heartbeat",NaN]',
        "[" * 5000,
    ],
    ids=lambda frame: frame[:24],
)
async def test_a_message_that_is_not_ocpp_is_ignored_and_logged(
    shared: LocalProcess, ws: ClientConnection, frame: str
) -> None:
    await ws.send(frame)
    assert await is_answered(ws)  # the next answer belongs to the next CALL
    assert f"{id_of(ws)}: ignored" in shared.log(1000)


async def test_bytes_that_are_not_utf_8_are_ignored(ws: ClientConnection) -> None:
    await ws.send(b"\xff\xfe")
    assert await is_answered(ws)


@pytest.mark.parametrize("frame", ['[3,"1",{}]', '[4,"1","GenericError","",{}]'])
async def test_an_answer_of_a_charge_point_is_ignored_without_a_warning(
    shared: LocalProcess, ws: ClientConnection, frame: str
) -> None:
    await ws.send(frame)
    assert await is_answered(ws)
    assert id_of(ws) not in shared.log(1000)


async def test_many_charge_points_at_once_each_get_their_own_answers(shared: LocalProcess, register: Register) -> None:
    async def chat(charge_point_id: str) -> None:
        async with dial(shared, charge_point_id) as ws:
            for number in range(20):
                message_id = f"{charge_point_id}/{number}"
                assert (await ask(ws, "Heartbeat", {}, message_id))[:2] == [3, message_id]

    ids = [await register() for _ in range(20)]
    await asyncio.gather(*map(chat, ids))


async def test_answers_have_the_order_of_the_calls(ws: ClientConnection) -> None:
    in_one_write(ws, *(f'[2,"{number}","Heartbeat",{{}}]' for number in range(50)))
    assert [(await receive(ws))[1] for _ in range(50)] == [str(number) for number in range(50)]


# -- The sample's message processor ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample() -> Iterator[LocalProcess]:
    """A local stack with the sample's message processor and the default interval."""
    process = LocalProcess(LocalOptions(name="Sample", csms="sample"))
    yield process
    process.stop()


@pytest.fixture(scope="module")
def sample_boto(sample: LocalProcess) -> Boto:
    return Boto(sample)


@pytest.fixture
async def sample_id(sample_boto: Boto) -> AsyncIterator[str]:
    charge_point_id = new_id("SAMPLE")
    sample_boto("iot").create_thing(thingName=charge_point_id)
    await eventually(lambda: sample_boto.is_registered(charge_point_id))
    yield charge_point_id
    sample_boto.disconnect()


@pytest.fixture
async def sample_ws(sample: LocalProcess, sample_id: str) -> AsyncIterator[ClientConnection]:
    async with dial(sample, sample_id) as ws:
        yield ws


async def test_sample_knows_boot_heartbeat_and_status(sample_boto: Boto, sample_ws: ClientConnection) -> None:
    _, _, boot = await ask(sample_ws, "BootNotification", BOOT)
    assert (boot["status"], boot["interval"]) == ("Accepted", 10)
    assert reported(sample_boto, id_of(sample_ws)) == BOOT
    assert await is_answered(sample_ws)
    assert await ask(sample_ws, "StatusNotification", {}, "s") == [3, "s", {}]


@pytest.mark.parametrize("action", ["Authorize", "TransactionEvent", "Reset", "NoSuchAction"])
async def test_sample_answers_an_unknown_action_with_a_callresult(sample_ws: ClientConnection, action: str) -> None:
    assert await ask(sample_ws, action, {}, "1") == [3, "1", {"error": f"Command [{action}] not implemented."}]


async def test_the_kits_charge_point_raises_an_error_for_that_callresult(sample: LocalProcess, sample_id: str) -> None:
    call = Version.get("2.0.1").calls
    async with ChargePoint(sample_id, sample.websocket_url) as cp:
        assert (await cp.boot()).interval == 10
        with pytest.raises(errors.UnsupportedByCsms) as caught:
            await cp.call(call.Authorize(id_token={"id_token": "A", "type": "Central"}))
    assert caught.value.action == "Authorize"


async def test_sample_has_no_tables_of_tokens_and_transactions(sample_boto: Boto) -> None:
    tables = sample_boto("dynamodb").list_tables()["TableNames"]
    assert tables == [sample_boto.resource("ChargePointTable")]
    sample_boto.disconnect()


async def test_sample_validates_nothing(sample_boto: Boto, sample_ws: ClientConnection) -> None:
    assert (await ask(sample_ws, "BootNotification", {"foo": {"bar": 1}}))[2]["status"] == "Accepted"
    assert reported(sample_boto, id_of(sample_ws)) == {"foo": {"bar": 1}}
    assert (await ask(sample_ws, "Heartbeat", {"who": "me"}))[0] == 3


@pytest.mark.slow
@pytest.mark.parametrize("culprit", ['[3,"asked",{"status":"Accepted"}]', '[4,"asked","GenericError","",{}]'])
async def test_sample_retries_the_batch_in_which_one_record_fails(
    sample: LocalProcess, sample_ws: ClientConnection, culprit: str
) -> None:
    """Answers sent before the failure are sent again. After three tries the batch is dropped."""
    in_one_write(sample_ws, '[2,"before","Heartbeat",{}]', culprit)
    answers = Counter([(await receive(sample_ws))[1] for _ in range(3)])
    assert answers == {"before": 3}
    letter = f"{id_of(sample_ws)}: to the dead letter queue: {culprit.encode()!r}"
    await eventually(lambda: letter in sample.log(1000))
    with pytest.raises(TimeoutError):
        await receive(sample_ws, GLANCE)
    assert await is_answered(sample_ws)


class Recorder:
    """A broker with one subscriber, which keeps what is published."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []
        self.deliver: Callable[[str, bytes], Awaitable[None]]

    async def publish(self, topic: str, payload: bytes, *, client_id: str | None = None) -> None:
        self.published.append((topic, payload))

    async def subscribe(self, topic_filter: str, deliver: Deliver, stand_in: StandIn | None = None) -> None:
        assert topic_filter == "+/in"
        self.deliver = deliver

    def client(self, client_id: str, on_lost: Callable[[], None]) -> Any:
        raise NotImplementedError


async def test_sample_retries_no_more_than_the_ten_records_of_a_batch() -> None:
    broker = Recorder()
    csms = Csms(broker, character="sample", retry_after=10 * MS)
    await csms.start()
    try:
        for number in range(9):
            await broker.deliver("CP1/in", f'[2,"{number}","Heartbeat",{{}}]'.encode())
        await broker.deliver("CP1/in", b'[3,"culprit",{}]')  # the tenth
        await broker.deliver("CP1/in", b'[2,"next","Heartbeat",{}]')
        await until(lambda: len(broker.published) >= 9 * 3 + 1, "three tries")
        await asyncio.sleep(GLANCE)
    finally:
        await csms.stop()
    batch = [str(number) for number in range(9)]
    assert [json.loads(payload)[1] for _, payload in broker.published] == [*batch, "next", *batch, *batch]


async def test_sample_answers_others_while_a_batch_waits_for_its_retry(sample_ws: ClientConnection) -> None:
    in_one_write(sample_ws, '[3,"asked",{}]')
    assert await is_answered(sample_ws)
