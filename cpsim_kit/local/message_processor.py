"""The message processor: answers the CALLs of charge points, knows tokens, and keeps a ledger of transactions.

This one file needs boto3 and the standard library of Python 3.9 only, the runtime of the AWS sample's function. It can
be the source of an AWS Lambda function as it is, with the handler ``message_processor.lambda_handler``, in the place of
the sample's: ``stack.message_processor(…, tables=["TokensTable", "TransactionsTable"])`` puts it there. The local stack
runs the same code in its own process. Begin your own processor with a copy of it. It imports nothing of cpsim_kit.

The environment of the Lambda function:

    TOKENS_TABLE         the name of the DynamoDB table of tokens
    TRANSACTIONS_TABLE   the name of the DynamoDB table of transactions
    HEARTBEAT_INTERVAL   the interval that a boot's answer instructs, in seconds; 10 by default

An item of the table of tokens (key: idToken, in upper case, as OCPP compares tokens without regard to case):

    idToken              e.g. "TAG-1"
    status               e.g. "Blocked"; a token that is not in the table is Accepted
    group                optional: the group's token; groupIdToken of OCPP 2.x, parentIdTag of OCPP 1.6
    expires              optional: from this time on the status is Expired, e.g. "2026-11-30T12:00:00+00:00"
    statusInTransaction  optional: the status in the answer to a transaction's messages, where it is not ``status``

An item of the table of transactions (key: chargePointId and transactionId; what is not known is not there):

    chargePointId        e.g. "CP1"
    transactionId        OCPP 2.x: the station's. OCPP 1.6: the integer given here, as text
    version              "1.6" or "2.0.1"; OCPP 2.1 says the same in the same messages
    state                "running" or "ended"
    evseId, connectorId  OCPP 1.6 has connectors only
    idToken              who started it
    startedAt, endedAt   as the station wrote them
    startWh, endWh       the register Energy.Active.Import.Register at the start and at the end
    lastWh, lastAt       the same register as it was seen last
    seqNosSeen           OCPP 2.x: e.g. "0-3,5"
    seqNosMissing        OCPP 2.x: those below the highest one that have not come, e.g. "4"
    stoppedReason        e.g. "Local", which is also meant where a station gives no reason
    revision             how often the item has been written; two functions that write at once notice it by this number

A queue can deliver a message twice, and in another order. A message that comes again gets the same answer and changes
nothing. Events of OCPP 2.x may come in any order.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import boto3
from botocore.exceptions import ClientError

__all__ = ["ANSWERED_EMPTY", "MessageProcessor", "Refused", "Table", "lambda_handler"]

logger = logging.getLogger("message_processor")

UTC = timezone.utc  # noqa: UP017 - datetime.UTC is not in Python 3.9

T = TypeVar("T", int, str, dict[str, Any], list[Any])

_TRIES = 10  # to write an item that others write at the same time
_LONGEST_KEY = 255  # characters; OCPP's own limits are lower
_MOST = 10**15  # an integer or a register above this is no measurement
_HIGHEST_ID = 2**31 - 1  # of a transaction of OCPP 1.6

_REGISTER = "Energy.Active.Import.Register"
_FACTORS = {"Wh": 1, "kWh": 1000}

# OCPP 1.6 has these only, and Invalid for all others.
_STATUSES_OF_16 = {"Accepted", "Blocked", "ConcurrentTx", "Expired", "Invalid"}

# The answer to these has no required field.
ANSWERED_EMPTY = frozenset(
    {
        "ClearedChargingLimit",
        "DiagnosticsStatusNotification",
        "FirmwareStatusNotification",
        "LogStatusNotification",
        "NotifyChargingLimit",
        "NotifyCustomerInformation",
        "NotifyDisplayMessages",
        "NotifyEvent",
        "NotifyMonitoringReport",
        "NotifyReport",
        "PublishFirmwareStatusNotification",
        "ReportChargingProfiles",
        "ReservationStatusUpdate",
        "SecurityEventNotification",
        "SignedFirmwareStatusNotification",
        "StatusNotification",
    }
)

# What this processor does not do, and says so.
_REFUSALS: dict[str, dict[str, Any]] = {
    "DataTransfer": {"status": "UnknownVendorId"},
    "Get15118EVCertificate": {"status": "Failed", "exiResponse": ""},
    "GetCertificateStatus": {"status": "Failed"},
    "NotifyEVChargingNeeds": {"status": "Rejected"},
    "NotifyEVChargingSchedule": {"status": "Rejected"},
    "SignCertificate": {"status": "Rejected"},
}


class Table(Protocol):
    """What the processor uses of a DynamoDB table, as ``boto3.resource("dynamodb").Table(name)`` has it."""

    def get_item(self, *, Key: dict[str, str], ConsistentRead: bool) -> dict[str, Any]: ...  # noqa: N803

    def put_item(
        self,
        *,
        Item: dict[str, Any],  # noqa: N803
        ConditionExpression: str,  # noqa: N803
        ExpressionAttributeValues: dict[str, Any],  # noqa: N803
    ) -> Any: ...


class Refused(Exception):
    """A CALL that is answered with CALLERROR.

    Attributes:
        code: The error code.
        description: What is wrong.
    """

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


# -- AWS Lambda --------------------------------------------------------------------------------------------------------


def lambda_handler(event: dict[str, Any], _context: object) -> None:
    """Handle the messages of an SQS event.

    Each record's body is what the topic rule ``SELECT * AS message, topic(1) AS chargePointId FROM '+/in'`` makes of a
    frame. When one fails, the others are handled first; then the error is raised, and the queue delivers all again.
    """
    processor = _on_aws()
    failure: Exception | None = None
    for record in event["Records"]:
        try:
            body = json.loads(record["body"])
            processor.handle(body["chargePointId"], body["message"])
        except Exception as exc:
            logger.exception("failed on %s", record)
            failure = failure or exc
    if failure is not None:
        raise failure


@functools.cache
def _on_aws() -> MessageProcessor:
    """The processor of a Lambda function; made at the first event, and kept for those that follow."""
    iot, dynamodb = boto3.client("iot-data"), boto3.resource("dynamodb")
    return MessageProcessor(
        lambda topic, message: iot.publish(topic=topic, qos=1, payload=json.dumps(message)),
        tokens=dynamodb.Table(os.environ["TOKENS_TABLE"]),
        transactions=dynamodb.Table(os.environ["TRANSACTIONS_TABLE"]),
        interval=int(os.environ.get("HEARTBEAT_INTERVAL", "10")),
    )


# -- Answers -----------------------------------------------------------------------------------------------------------


class MessageProcessor:
    """Answers charge points.

    Args:
        publish: Called as ``publish(topic, message)``; the message is JSON data.
        tokens: The table of tokens.
        transactions: The table of transactions.
        interval: The heartbeat interval of a boot's answer, in seconds.
    """

    def __init__(
        self, publish: Callable[[str, Any], object], *, tokens: Table, transactions: Table, interval: int = 10
    ) -> None:
        self._publish = publish
        self._tokens = tokens
        self._transactions = transactions
        self._interval = interval
        self._answers: dict[str, Callable[[str, Any], dict[str, Any]]] = {
            "Authorize": self._authorize,
            "BootNotification": self._boot_notification,
            "Heartbeat": self._heartbeat,
            "MeterValues": self._meter_values,
            "StartTransaction": self._start_transaction,
            "StopTransaction": self._stop_transaction,
            "TransactionEvent": self._transaction_event,
        }

    def handle(self, charge_point_id: str, frame: str | bytes | list[Any]) -> None:
        """Answer a frame of a charge point, as text or parsed. Only a CALL is answered."""
        if isinstance(frame, (str, bytes)):
            try:
                frame = json.loads(frame)
            except (ValueError, RecursionError) as exc:
                logger.warning("%s: ignored, not JSON: %s", charge_point_id, exc)
                return
        kind, message_id, *rest = frame if isinstance(frame, list) and len(frame) > 1 else [None, None]
        if kind not in (2, 3, 4) or not isinstance(message_id, str):
            logger.warning("%s: ignored, not a frame of OCPP-J: %r", charge_point_id, frame)
        elif kind != 2:
            pass  # the answer to a CALL on {id}/out; who sent that reads {id}/in
        elif len(rest) == 2 and isinstance(rest[0], str):
            self._send(charge_point_id, self.reply(charge_point_id, message_id, *rest))
        else:
            text = "a CALL is [2, message id, action, payload]"
            self._send(charge_point_id, [4, message_id, "RpcFrameworkError", text, {}])

    def reply(self, charge_point_id: str, message_id: str, action: str, payload: Any) -> list[Any]:
        """The CALLRESULT or CALLERROR that answers a CALL."""
        try:
            return [3, message_id, self.answer(charge_point_id, action, payload)]
        except Refused as exc:
            logger.warning("%s: refused %s: %s", charge_point_id, action, exc)
            return [4, message_id, exc.code, exc.description[:255], {}]

    def knows(self, action: str) -> bool:
        """Whether this processor does what the action asks for; it refuses every other action."""
        return action in self._answers or action in ANSWERED_EMPTY

    def answer(self, charge_point_id: str, action: str, payload: Any) -> dict[str, Any]:
        """The payload that answers an action.

        Raises:
            Refused: The answer is a CALLERROR.
        """
        if action in self._answers:
            return self._answers[action](charge_point_id, {} if payload is None else payload)
        if action in ANSWERED_EMPTY:
            return {}
        if action in _REFUSALS:
            return _REFUSALS[action]
        raise Refused("NotImplemented", f"this CSMS does not know {action}")

    def _send(self, charge_point_id: str, frame: list[Any]) -> None:
        self._publish(f"{charge_point_id}/out", frame)

    def _boot_notification(self, charge_point_id: str, payload: Any) -> dict[str, Any]:
        if isinstance(payload, dict):  # a shadow contains objects only
            self._publish(f"$aws/things/{charge_point_id}/shadow/update", {"state": {"reported": payload}})
        return {"currentTime": _now(), "interval": self._interval, "status": "Accepted"}

    def _heartbeat(self, _charge_point_id: str, _payload: Any) -> dict[str, Any]:
        return {"currentTime": _now()}

    def _authorize(self, _charge_point_id: str, payload: Any) -> dict[str, Any]:
        fields = _object(payload, "FormatViolation")
        if "idTag" in fields:
            return {"idTagInfo": self._id_tag_info(_need(fields, "idTag", str), in_transaction=False)}
        return {"idTokenInfo": self._id_token_info(_need(fields, "idToken", dict), in_transaction=False)}

    # -- Tokens --------------------------------------------------------------------------------------------------------

    def _id_tag_info(self, id_tag: str, *, in_transaction: bool) -> dict[str, Any]:
        """OCPP 1.6: idTagInfo."""
        status, token = self._judge(id_tag, in_transaction)
        info = {"status": status if status in _STATUSES_OF_16 else "Invalid"}
        if "expires" in token:
            info["expiryDate"] = token["expires"]
        if len(token.get("group", "")) in range(1, 21):  # OCPP 1.6 has no longer ones
            info["parentIdTag"] = token["group"]
        return info

    def _id_token_info(self, id_token: dict[str, Any], *, in_transaction: bool) -> dict[str, Any]:
        """OCPP 2.x: idTokenInfo."""
        text = _need(id_token, "idToken", str)
        if id_token.get("type") == "NoAuthorization":  # e.g. a button, or a free station: the token is ""
            return {"status": "Accepted"}
        status, token = self._judge(text, in_transaction)
        info: dict[str, Any] = {"status": status}
        if "expires" in token:
            info["cacheExpiryDateTime"] = token["expires"]
        if token.get("group"):
            info["groupIdToken"] = {"idToken": token["group"], "type": "Central"}
        return info

    def _judge(self, id_token: str, in_transaction: bool) -> tuple[str, dict[str, Any]]:
        """The status of a token, and its item."""
        if not 0 < len(id_token) <= _LONGEST_KEY:
            return "Invalid", {}
        token = self._tokens.get_item(Key={"idToken": id_token.upper()}, ConsistentRead=True).get("Item")
        if token is None:
            return "Accepted", {}
        if "expires" in token and _time(token["expires"]) <= datetime.now(UTC):
            return "Expired", token
        status: str = token["status"]
        return (token.get("statusInTransaction", status) if in_transaction else status), token

    # -- Transactions of OCPP 1.6 --------------------------------------------------------------------------------------

    def _start_transaction(self, charge_point_id: str, payload: Any) -> dict[str, Any]:
        fields = _object(payload, "FormationViolation")
        connector_id, id_tag = _need(fields, "connectorId", int), _need(fields, "idTag", str)
        meter_start, timestamp = _need(fields, "meterStart", int), _need(fields, "timestamp", str)
        # A CALL that is sent again has the same fields. So the id is made of them, and does not need a counter.
        same = json.dumps([charge_point_id, connector_id, id_tag, meter_start, timestamp])
        digest = hashlib.sha256(same.encode()).hexdigest()
        transaction_id = int(digest[:8], 16) % _HIGHEST_ID + 1
        new = {
            "startedBy": digest,
            "version": "1.6",
            "state": "running",
            "connectorId": connector_id,
            "idToken": id_tag,
            "startedAt": timestamp,
            "startWh": meter_start,
            "lastWh": meter_start,
            "lastAt": timestamp,
            "idTagInfo": self._id_tag_info(id_tag, in_transaction=True),
        }

        def start(item: dict[str, Any]) -> bool:
            if item["revision"]:
                return False
            item |= new
            return True

        while True:
            item = self._change(charge_point_id, str(transaction_id), start)
            if item.get("startedBy") == digest:
                return {"transactionId": transaction_id, "idTagInfo": item["idTagInfo"]}
            transaction_id = transaction_id % _HIGHEST_ID + 1  # another transaction happens to have this id

    def _stop_transaction(self, charge_point_id: str, payload: Any) -> dict[str, Any]:
        fields = _object(payload, "FormationViolation")
        transaction_id, meter_stop = _need(fields, "transactionId", int), _need(fields, "meterStop", int)
        timestamp = _need(fields, "timestamp", str)
        id_tag = _need(fields, "idTag", str) if "idTag" in fields else None

        def stop(item: dict[str, Any]) -> bool:
            if item.get("state") == "ended":
                return False
            item |= {
                "version": "1.6",
                "state": "ended",
                "endedAt": timestamp,
                "endWh": meter_stop,
                "lastWh": meter_stop,
                "lastAt": timestamp,
                "stoppedReason": _text(fields.get("reason")) or "Local",
            }
            return True

        self._change(charge_point_id, str(transaction_id), stop)
        return {} if id_tag is None else {"idTagInfo": self._id_tag_info(id_tag, in_transaction=True)}

    def _meter_values(self, charge_point_id: str, payload: Any) -> dict[str, Any]:
        fields = _object(payload, "FormatViolation")
        if "transactionId" not in fields:  # of no transaction; in OCPP 2.x, all of them
            return {}
        transaction_id = _need(fields, "transactionId", int)
        registers = list(_registers(fields.get("meterValue")))

        def move(item: dict[str, Any]) -> bool:
            return item.get("state") == "running" and _move_register(item, registers)

        self._change(charge_point_id, str(transaction_id), move)
        return {}

    # -- Transactions of OCPP 2.x --------------------------------------------------------------------------------------

    def _transaction_event(self, charge_point_id: str, payload: Any) -> dict[str, Any]:
        fields = _object(payload, "FormatViolation")
        kind, timestamp = _need(fields, "eventType", str), _need(fields, "timestamp", str)
        if kind not in {"Started", "Updated", "Ended"}:
            raise Refused("PropertyConstraintViolation", f"eventType is Started, Updated or Ended, not {kind!r}")
        seq_no, info = _need(fields, "seqNo", int), _need(fields, "transactionInfo", dict)
        if seq_no < 0:
            raise Refused("PropertyConstraintViolation", f"seqNo is at least 0, not {seq_no}")
        transaction_id = _need(info, "transactionId", str)
        if len(transaction_id) > _LONGEST_KEY:
            raise Refused("PropertyConstraintViolation", f"transactionId has more than {_LONGEST_KEY} characters")
        id_token = _need(fields, "idToken", dict) if "idToken" in fields else None
        answer = {} if id_token is None else {"idTokenInfo": self._id_token_info(id_token, in_transaction=True)}
        if not transaction_id:  # valid by the schema, and no key of a table
            logger.warning("%s: an event without a transactionId is not kept", charge_point_id)
            return answer

        def note(item: dict[str, Any]) -> bool:
            seen = _ranges(item.get("seqNosSeen", ""))
            if any(first <= seq_no <= last for first, last in seen):
                return False
            seen = _with(seen, seq_no)
            item["seqNosSeen"], item["seqNosMissing"] = _range_text(seen), _range_text(_gaps(seen))
            item["version"] = "2.0.1"
            item.setdefault("state", "running")
            if kind == "Started":
                item["startedAt"] = timestamp
            elif kind == "Ended":
                item |= {"state": "ended", "endedAt": timestamp}
                item["stoppedReason"] = _text(info.get("stoppedReason")) or "Local"
            if isinstance(evse := fields.get("evse"), dict):
                item |= {
                    name: value
                    for name, value in (("evseId", evse.get("id")), ("connectorId", evse.get("connectorId")))
                    if _is_integer(value)
                }
            if id_token is not None and seq_no < item.get("idTokenSeqNo", seq_no + 1):  # who started it, not who stops
                item |= {"idToken": id_token["idToken"], "idTokenSeqNo": seq_no}
            _note_registers(item, kind, list(_registers(fields.get("meterValue"))))
            return True

        self._change(charge_point_id, transaction_id, note)
        return answer

    # -- The ledger ----------------------------------------------------------------------------------------------------

    def _change(
        self, charge_point_id: str, transaction_id: str, change: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """Change a transaction, and return it.

        Args:
            charge_point_id: The charge point.
            transaction_id: The transaction.
            change: Changes the item that it is given, and returns whether it did. A new item has the revision 0. Called
                again with a newer item when somebody else has written it meanwhile.
        """
        key = {"chargePointId": charge_point_id, "transactionId": transaction_id}
        for _ in range(_TRIES):
            item = self._transactions.get_item(Key=key, ConsistentRead=True).get("Item") or {**key, "revision": 0}
            if not change(item):
                return item
            read = item["revision"]
            item["revision"] = read + 1
            try:
                self._transactions.put_item(
                    Item=item,
                    ConditionExpression="attribute_not_exists(revision) OR revision = :read",
                    ExpressionAttributeValues={":read": read},
                )
            except ClientError as exc:
                if exc.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
            else:
                return item
        raise RuntimeError(f"{charge_point_id}: others kept writing transaction {transaction_id}")


# -- Registers ---------------------------------------------------------------------------------------------------------


def _registers(meter_values: Any) -> Iterator[tuple[str, str, Decimal]]:
    """Timestamp, context and Wh of each value of the energy register, for all phases together and at the outlet."""
    for meter_value in meter_values if isinstance(meter_values, list) else ():
        if not isinstance(meter_value, dict) or not isinstance(meter_value.get("sampledValue"), list):
            continue
        timestamp = _text(meter_value.get("timestamp"))
        for sample in meter_value["sampledValue"]:
            if (
                isinstance(sample, dict)
                and sample.get("measurand", _REGISTER) == _REGISTER
                and sample.get("format", "Raw") == "Raw"
                and sample.get("location", "Outlet") == "Outlet"
                and "phase" not in sample
                and (wh := _wh(sample)) is not None
            ):
                yield timestamp, _text(sample.get("context")) or "Sample.Periodic", wh


def _wh(sample: dict[str, Any]) -> Decimal | None:
    """A value in Wh; None if it is not a number, or in another unit."""
    unit, multiplier = sample.get("unit", "Wh"), 0  # OCPP 1.6
    if isinstance(of_measure := sample.get("unitOfMeasure"), dict):  # OCPP 2.x
        unit, multiplier = of_measure.get("unit", "Wh"), of_measure.get("multiplier", 0)
    if _text(unit) not in _FACTORS or not _is_integer(multiplier) or abs(multiplier) > 15:
        return None
    try:
        wh = Decimal(str(sample.get("value"))).scaleb(multiplier) * _FACTORS[unit]
    except ArithmeticError:  # all errors of the module decimal are
        return None
    return round(wh, 6) if wh.is_finite() and abs(wh) < _MOST else None  # DynamoDB takes at most 38 digits


def _note_registers(item: dict[str, Any], kind: str, registers: list[tuple[str, str, Decimal]]) -> None:
    """Note the registers of an event: at the start, at the end, and the last one.

    An Ended event has the values of the start, too. A station that gives no context means the first value of Started,
    and the last one of Ended.
    """
    if not registers:
        return
    begins = [wh for _, context, wh in registers if context == "Transaction.Begin"]
    ends = [wh for _, context, wh in registers if context == "Transaction.End"]
    if begins or (kind == "Started" and "startWh" not in item):
        item["startWh"] = begins[0] if begins else registers[0][2]
    if ends or kind == "Ended":
        item["endWh"] = ends[-1] if ends else registers[-1][2]
    _move_register(item, registers)


def _move_register(item: dict[str, Any], registers: Iterable[tuple[str, str, Decimal]]) -> bool:
    """Note the latest of these registers if it is later than the one noted; returns whether it is."""
    moved = False
    for timestamp, _context, wh in registers:
        if "lastAt" not in item or (_moment(timestamp), wh) > (_moment(item["lastAt"]), item["lastWh"]):
            item["lastWh"], item["lastAt"] = wh, timestamp
            moved = True
    return moved


def _moment(timestamp: str) -> datetime:
    """A time, UTC where it names no zone; what is not a time is before all others."""
    try:
        moment = _time(timestamp)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _time(text: str) -> datetime:
    """A time of ISO 8601. Python 3.9 reads neither the Z nor a fraction of another length than three or six."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        text = re.sub(r"[.,](\d+)", lambda match: "." + match[1][:6].ljust(6, "0"), text)
        return datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))


# -- Ranges of seqNos --------------------------------------------------------------------------------------------------


def _ranges(text: str) -> list[tuple[int, int]]:
    """Read "0-3,5" as [(0, 3), (5, 5)]."""
    pairs = (part.partition("-") for part in text.split(",") if part)
    return [(int(first), int(last or first)) for first, _, last in pairs]


def _range_text(ranges: Iterable[tuple[int, int]]) -> str:
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _with(ranges: list[tuple[int, int]], number: int) -> list[tuple[int, int]]:
    """The ranges and a number that is not in them."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted([*ranges, (number, number)]):
        if joined and joined[-1][1] + 1 == first:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined


def _gaps(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is missing from 0 on, up to the highest."""
    nexts = (0, *(last + 1 for _, last in ranges))
    return [(nexts[n], after - 1) for n, (after, _) in enumerate(ranges) if nexts[n] < after]


# -- Fields ------------------------------------------------------------------------------------------------------------


def _object(payload: Any, code: str) -> dict[str, Any]:
    if not isinstance(payload, dict):
        raise Refused(code, "the payload is not an object")
    return payload


def _need(fields: dict[str, Any], name: str, kind: type[T]) -> T:
    """A field that has to be there, with this type."""
    if name not in fields:
        raise Refused("ProtocolError", f"{name} is missing")
    value = fields[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Refused("TypeConstraintViolation", f"{name} is of another type: {value!r}")
    if isinstance(value, int) and abs(value) > _MOST:
        raise Refused("PropertyConstraintViolation", f"{name} is too large")
    return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _now() -> str:
    """This moment; OCPP 2.0.1 allows three decimals of a second (part 2, 3.1)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
