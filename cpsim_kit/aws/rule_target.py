"""Where a topic rule puts its results: a DynamoDB table, an SQS queue, or another topic.

A target is created where it is not there; it knows the rule's action and permission, and its items can be read.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any, Protocol

from cpsim_kit.aws.cleanup import Cleanup
from cpsim_kit.aws.session import Aws, plain_item
from cpsim_kit.basics.waiting import poll_until
from cpsim_kit.errors import AwsError, NotFound

__all__ = ["KEY", "Action", "Target", "check_name", "make_target"]

KEY = "chargePointId"  # of every table

_BATCH = 10  # messages that one ReceiveMessage returns at most
_LONGEST_READING = 2.0  # seconds after which a queue that new messages keep coming to has been read enough
_ACTIVE_TIMEOUT = 60  # seconds in which a table becomes active


@dataclass(frozen=True)
class Action:
    """What a rule does with a message.

    Attributes:
        name: The action's name in the rule.
        document: The action's document, without its role.
        permission: What the role must allow.
        resource: The ARN for which it must allow that.
    """

    name: str
    document: dict[str, Any]
    permission: str
    resource: str


class Target(Protocol):
    """Where a rule puts its results."""

    kind: str
    name: str

    async def prepare(self, cleanup: Cleanup) -> Action:
        """Create the target where it is not there, and note its deletion; returns once it can be used."""

    async def items(self, enough: int | None) -> list[dict[str, Any]]:
        """What is there; of a queue no more than ``enough`` need to be read, as more may come all the time."""


def make_target(aws: Aws, rule: str, *, table: str | None, queue: str | None, republish: str | None) -> Target:
    """The one target that is given.

    Raises:
        ValueError: None or several are given, or AWS allows no such name.
    """
    targets = {"table": table, "queue": queue, "republish": republish}
    given = [kind for kind, target in targets.items() if target is not None]
    if len(given) != 1:
        raise ValueError(f"rule {rule}: give one of table=, queue= and republish=, not {given or 'none'}")
    if table is not None:
        return _Table(aws, rule, table)
    if queue is not None:
        return _Queue(aws, queue)
    assert republish is not None
    return _Topic(aws, rule, republish)


def check_name(kind: str, name: str, pattern: str) -> None:
    """Refuse a name that AWS does not allow.

    Raises:
        ValueError: AWS does not allow it.
    """
    if not re.fullmatch(pattern, name):
        raise ValueError(f"{name!r} cannot be the name of a {kind}: AWS allows {pattern}")


class _Table:
    """A DynamoDB table with the key ``chargePointId``; each attribute of the result becomes a column."""

    kind = "table"

    def __init__(self, aws: Aws, rule: str, name: str) -> None:
        check_name("table", name, r"[a-zA-Z0-9_.-]{3,255}")  # CreateTable, TableName
        self._aws = aws
        self._rule = rule
        self.name = name

    async def prepare(self, cleanup: Cleanup) -> Action:
        async def usable() -> dict[str, Any] | None:
            """The table, created where there is none; one that is still being deleted is waited for."""
            try:
                found: dict[str, Any] = (await self._aws.call("dynamodb.describe_table", TableName=self.name))["Table"]
            except NotFound:
                await self._create(cleanup)
                return None
            return found if found["TableStatus"] in {"ACTIVE", "UPDATING"} else None

        table = await poll_until(usable, f"the table {self.name} to become active", _ACTIVE_TIMEOUT, longest=2)
        key = [element["AttributeName"] for element in table["KeySchema"]]
        if key != [KEY]:
            raise AwsError(
                f"rule {self._rule}: the table {self.name} is there, with the key {', '.join(key)} instead of {KEY}; "
                "choose another table=",
                verb="dynamodb.describe_table",
            )
        document = {"putItem": {"tableName": self.name}}
        return Action("dynamoDBv2", document, "dynamodb:PutItem", str(table["TableArn"]))

    async def _create(self, cleanup: Cleanup) -> None:
        creation = self._aws.call(
            "dynamodb.create_table",
            TableName=self.name,
            KeySchema=[{"AttributeName": KEY, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": KEY, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        try:
            await cleanup.create(
                f"table {self.name}",
                creation,
                lambda _: self._aws.call("dynamodb.delete_table", TableName=self.name),
            )
        except AwsError as exc:
            if exc.code != "ResourceInUseException":  # it was created just now, and DescribeTable does not see it yet
                raise

    async def items(self, enough: int | None) -> list[dict[str, Any]]:
        rows = await self._aws.pages("dynamodb.scan", "Items", TableName=self.name, ConsistentRead=True)
        return [plain_item(row) for row in rows]


class _Queue:
    """An SQS queue, which gets each result as JSON."""

    kind = "queue"

    def __init__(self, aws: Aws, name: str) -> None:
        check_name("queue", name, r"[a-zA-Z0-9_-]{1,80}")  # CreateQueue, QueueName
        self._aws = aws
        self.name = name
        self._url = ""
        self._received: list[Any] = []  # what was taken from the queue

    async def prepare(self, cleanup: Cleanup) -> Action:
        try:
            answer = await self._aws.call("sqs.get_queue_url", QueueName=self.name)
        except NotFound:
            answer = await cleanup.create(
                f"queue {self.name}",
                self._aws.call("sqs.create_queue", QueueName=self.name),
                lambda made: self._aws.call("sqs.delete_queue", QueueUrl=made["QueueUrl"]),
            )
        self._url = answer["QueueUrl"]
        attributes = await self._aws.call("sqs.get_queue_attributes", QueueUrl=self._url, AttributeNames=["QueueArn"])
        document = {"queueUrl": self._url, "useBase64": False}
        return Action("sqs", document, "sqs:SendMessage", str(attributes["Attributes"]["QueueArn"]))

    async def items(self, enough: int | None) -> list[dict[str, Any]]:
        end = time.perf_counter() + _LONGEST_READING
        while enough is None or len(self._received) < enough:
            messages = await self._receive()
            self._received += [json.loads(message["Body"]) for message in messages]
            if not messages or (len(messages) < _BATCH and time.perf_counter() > end):
                break
        return list(self._received)

    async def _receive(self) -> list[dict[str, Any]]:
        """Up to ten messages, deleted from the queue.

        Long polling asks all of the queue's servers, and not only some (Amazon SQS developer guide, "Amazon SQS short
        and long polling"): an empty answer means that the queue is empty.
        """
        answer = await self._aws.call(
            "sqs.receive_message", QueueUrl=self._url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=1
        )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        for message in messages:
            await self._aws.call("sqs.delete_message", QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return messages


class _Topic:
    """Another MQTT topic; ``${…}`` in it is substituted for each message."""

    kind = "topic"

    def __init__(self, aws: Aws, rule: str, name: str) -> None:
        if not name or len(name.encode()) > 256 or re.search(r"[+#]", name):
            raise ValueError(f"rule {rule}: republish= is a topic of at most 256 bytes without wildcards")
        self._aws = aws
        self._rule = rule
        self.name = name

    async def prepare(self, cleanup: Cleanup) -> Action:
        account = (await self._aws.call("sts.get_caller_identity"))["Account"]
        topic = re.sub(r"\$\{[^}]*\}", "*", self.name.replace("$$", "$", 1))
        arn = f"arn:{self._aws.partition}:iot:{self._aws.region}:{account}:topic/{topic}"
        return Action("republish", {"topic": self.name, "qos": 1}, "iot:Publish", arn)

    async def items(self, enough: int | None) -> list[dict[str, Any]]:
        raise TypeError(f'rule {self._rule} republishes; watch it: stack.monitor("{self.name}")')
