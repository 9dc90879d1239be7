"""Topic rules: AWS IoT SQL on MQTT messages, with an action. AWS IoT Core developer guide, "Rules for AWS IoT".

Made by ``stack.rule``. Creates what the rule needs (table or queue, and a role of least privilege), and deletes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tqdm.auto import tqdm

from cpsim_kit.aws.session import Aws, plain_item
from cpsim_kit.basics.cards import card
from cpsim_kit.basics.waiting import waiting
from cpsim_kit.errors import AwsError, NotFound, WaitTimeout

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Rule"]

_SQL_VERSION = "2016-03-23"
_KEY = "chargePointId"
_POLL = 0.05  # seconds, at first
_BATCH = 10  # messages that one ReceiveMessage returns at most
_DRAIN = 2.0  # seconds after which a queue that is never empty has been read so far
_LONGEST_ROLE = 64  # CreateRole RoleName
_PAYLOAD = ("sql", "description", "actions", "ruleDisabled", "awsIotSqlVersion", "errorAction")  # of a rule
_ACTIVE_TIMEOUT = 60  # seconds; a fresh IAM role takes some until AWS IoT can assume it

# CreateTopicRule ruleName; CreateTable TableName; CreateQueue QueueName; topic names are at most 256 bytes.
_NAMES = {
    "rule": re.compile(r"[a-zA-Z0-9_]{1,128}"),
    "table": re.compile(r"[a-zA-Z0-9_.-]{3,255}"),
    "queue": re.compile(r"[a-zA-Z0-9_-]{1,80}"),
}


@dataclass(frozen=True)
class _Action:
    """What a rule does with a message: the action's document without its role, and what the role must allow."""

    name: str
    document: dict[str, Any]
    permission: str
    resource: str


class Rule:
    """A topic rule with one action; awaited or entered, which creates it and waits until it is active.

        async with stack.rule("heartbeats", sql=SQL, table="heartbeats") as rule: ...
        rule = await stack.rule("heartbeats", sql=SQL, table="heartbeats")     # stack.close() deletes it

    Exactly one of ``table``, ``queue`` and ``republish`` is given. A rule that is there already is replaced; a table or
    queue that is there is used, and kept at the end.

    Args:
        aws: The door to boto3.
        remember: Called once created, with its name and how to delete it.
        name: Letters, digits and underscores, at most 128.
        sql: The statement; AWS's own SQL, sent as it is.
        table: A DynamoDB table (key ``chargePointId``, on demand); each attribute of the result becomes a column.
        queue: An SQS queue for the result as JSON.
        republish: A topic for the result; ``${…}`` is substituted.
        holders: The rule objects of a stack that are created, by name, in this order; shared by all of them.

    Attributes:
        name: The rule's name.
        sql: Its statement.
    """

    def __init__(
        self,
        aws: Aws,
        remember: Callable[[str, Callable[[], Awaitable[None]]], None],
        name: str,
        *,
        sql: str,
        table: str | None = None,
        queue: str | None = None,
        republish: str | None = None,
        holders: dict[str, list[Rule]] | None = None,
    ) -> None:
        targets = {"table": table, "queue": queue, "republish": republish}
        given = [kind for kind, target in targets.items() if target is not None]
        if len(given) != 1:
            raise ValueError(f"rule {name}: give one of table=, queue= and republish=, not {given or 'none'}")
        _check_name("rule", name)
        if table is not None:
            _check_name("table", table)
        if queue is not None:
            _check_name("queue", queue)
        if republish is not None and (not republish or len(republish.encode()) > 256 or re.search(r"[+#]", republish)):
            raise ValueError(f"rule {name}: republish= is a topic of at most 256 bytes without wildcards")
        self.name = name
        self.sql = sql
        self._aws = aws
        self._remember = remember
        self._holders = {} if holders is None else holders
        self._table = table
        self._queue = queue
        self._republish = republish
        self._queue_url = ""
        self._received: list[Any] = []  # what was taken from the queue
        self._undo: list[Callable[[], Awaitable[Any]]] = []  # deletions of what this object created, oldest first
        self._created = False

    def __repr__(self) -> str:
        target = self._table or self._queue or self._republish
        return f"<Rule {self.name} {'active' if self._created else 'not created'} -> {target}>"

    def _repr_html_(self) -> str:
        rows = {
            "SQL": self.sql,
            "to table": self._table,
            "to queue": self._queue,
            "to topic": self._republish,
            "items": "await rule.to_frame()" if self._republish is None else None,
        }
        return card(f"Rule {self.name}", "active" if self._created else "not created", rows)

    def __await__(self) -> Generator[Any, None, Self]:
        return self.create().__await__()

    async def __aenter__(self) -> Self:
        return await self.create()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.delete()

    async def create(self) -> Self:
        """Create the rule and what it needs; returns once it is active. Creating it again replaces it.

        Raises:
            AwsError: AWS refused; bad SQL is refused with the place of the error.
            WaitTimeout: It did not become active.
        """
        kept = len(self._undo)
        try:
            async with waiting(f"rule {self.name}"):
                action = await self._prepare_target()
                role = await self._create_role(action)
                await self._put_rule({action.name: {**action.document, "roleArn": role}})
        except BaseException:
            await asyncio.shield(self._undo_all(kept))
            raise
        if not self._created:
            self._created = True
            self._holders.setdefault(self.name, []).append(self)
            self._remember(f"rule {self.name}", self.delete)
        return self

    async def delete(self) -> None:
        """Delete the rule, its role, and the table or queue where this object created it. Harmless twice.

        A rule that this one replaced is put back. Where another object has replaced this one since, that one has the
        rule, and deletes all of it.
        """
        self._created = False
        holders = self._holders.get(self.name, [])
        if self in holders:
            later = holders[holders.index(self) + 1 :]
            holders.remove(self)
            if later:
                later[0]._undo[:0] = self._undo
                self._undo.clear()
                return
        await self._undo_all()

    # -- Results ------------------------------------------------------------------------------------------------------

    async def items(self) -> list[dict[str, Any]]:
        """The rows of the table, or what has come to the queue so far; numbers are int or float.

        Raises:
            TypeError: The rule republishes; watch the topic with ``stack.monitor``.
            AwsError: AWS refused.
        """
        return await self._items(None)

    async def _items(self, enough: int | None) -> list[dict[str, Any]]:
        """The items; of a queue no more than ``enough`` need to be read, as more may come all the time."""
        if self._table is not None:
            rows = await self._aws.pages("dynamodb.scan", "Items", TableName=self._table, ConsistentRead=True)
            return [plain_item(row) for row in rows]
        if self._queue is None:
            raise TypeError(f'rule {self.name} republishes; watch it: stack.monitor("{self._republish}")')
        end = time.perf_counter() + _DRAIN
        while enough is None or len(self._received) < enough:
            messages = await self._receive()
            self._received += [json.loads(message["Body"]) for message in messages]
            if not messages or (len(messages) < _BATCH and time.perf_counter() > end):
                break
        return list(self._received)

    async def wait_for_items(
        self, count: int = 1, *, timeout: float = 30, progress: bool = True
    ) -> list[dict[str, Any]]:
        """:meth:`items`, as soon as there are so many.

        Args:
            count: How many, at least.
            timeout: Seconds to wait.
            progress: Show a progress bar where it takes more than a second.

        Raises:
            WaitTimeout: There are fewer; ``last_seen`` has them. On the local stack, ``stack.log()`` says why a rule
                failed while it ran.
            TypeError: The rule republishes.
        """
        found: list[dict[str, Any]] = []
        poll = _POLL
        try:
            bar = tqdm(total=count, desc=f"items of {self.name}", unit="", delay=1, leave=False, disable=not progress)
            with bar:
                async with asyncio.timeout(timeout):
                    while True:
                        found = await self._items(count)
                        bar.update(min(len(found), count) - bar.n)
                        if len(found) >= count:
                            return found
                        await asyncio.sleep(poll)
                        poll = min(poll * 1.5, 1.0)
        except TimeoutError as exc:
            sql = " ".join(self.sql.split())
            what = f"{count} items of rule {self.name}, {len(found)} came; does a message match its SQL? {sql}"
            raise WaitTimeout(what, timeout, found or None) from exc

    async def to_frame(self) -> pd.DataFrame:
        """:meth:`items` as a DataFrame, ordered by charge point where there is one."""
        items = await self.items()
        return await asyncio.to_thread(_to_frame, items)

    # -- What a rule needs --------------------------------------------------------------------------------------------

    async def _prepare_target(self) -> _Action:
        if self._table is not None:
            arn = await self._create_table(self._table)
            return _Action("dynamoDBv2", {"putItem": {"tableName": self._table}}, "dynamodb:PutItem", arn)
        if self._queue is not None:
            arn = await self._create_queue(self._queue)
            return _Action("sqs", {"queueUrl": self._queue_url, "useBase64": False}, "sqs:SendMessage", arn)
        assert self._republish is not None
        account = (await self._aws.call("sts.get_caller_identity"))["Account"]
        topic = re.sub(r"\$\{[^}]*\}", "*", self._republish.replace("$$", "$", 1))
        arn = f"arn:{self._aws.partition}:iot:{self._aws.region}:{account}:topic/{topic}"
        return _Action("republish", {"topic": self._republish, "qos": 1}, "iot:Publish", arn)

    async def _create_table(self, name: str) -> str:
        async def usable() -> dict[str, Any] | None:
            """The table, made where there is none; one that is still being deleted is waited for."""
            try:
                found: dict[str, Any] = (await self._aws.call("dynamodb.describe_table", TableName=name))["Table"]
            except NotFound:
                await create()
                return None
            return found if found["TableStatus"] in {"ACTIVE", "UPDATING"} else None

        async def create() -> None:
            try:
                await self._make(
                    "dynamodb.create_table",
                    lambda _: self._aws.call("dynamodb.delete_table", TableName=name),
                    TableName=name,
                    KeySchema=[{"AttributeName": _KEY, "KeyType": "HASH"}],
                    AttributeDefinitions=[{"AttributeName": _KEY, "AttributeType": "S"}],
                    BillingMode="PAY_PER_REQUEST",
                )
            except AwsError as exc:
                if exc.code != "ResourceInUseException":  # it was made just now, and DescribeTable does not see it yet
                    raise

        table = await _poll(usable, f"the table {name} to become active")
        key = [element["AttributeName"] for element in table["KeySchema"]]
        if key != [_KEY]:
            raise AwsError(
                f"rule {self.name}: the table {name} is there, with the key {', '.join(key)} instead of {_KEY}; "
                "choose another table=",
                verb="dynamodb.describe_table",
            )
        return str(table["TableArn"])

    async def _create_queue(self, name: str) -> str:
        try:
            answer = await self._aws.call("sqs.get_queue_url", QueueName=name)
        except NotFound:
            answer = await self._make(
                "sqs.create_queue",
                lambda made: self._aws.call("sqs.delete_queue", QueueUrl=made["QueueUrl"]),
                QueueName=name,
            )
        self._queue_url = answer["QueueUrl"]
        attributes = await self._aws.call(
            "sqs.get_queue_attributes", QueueUrl=self._queue_url, AttributeNames=["QueueArn"]
        )
        return str(attributes["Attributes"]["QueueArn"])

    async def _create_role(self, action: _Action) -> str:
        """A role that AWS IoT may assume, and that may do this one thing."""
        role = f"cpsim-rule-{self.name}"
        if len(role) > _LONGEST_ROLE:  # still one role for each rule
            role = f"{role[: _LONGEST_ROLE - 9]}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"
        trust = {"Effect": "Allow", "Principal": {"Service": "iot.amazonaws.com"}, "Action": "sts:AssumeRole"}
        allow = {"Effect": "Allow", "Action": action.permission, "Resource": action.resource}
        try:
            answer = await self._make(
                "iam.create_role",
                lambda _: self._delete_role(role),
                RoleName=role,
                AssumeRolePolicyDocument=_policy(trust),
                Description=f"Made by cpsim_kit for the AWS IoT topic rule {self.name}",
            )
        except AwsError as exc:
            if exc.code != "EntityAlreadyExists":
                raise
            answer = await self._aws.call("iam.get_role", RoleName=role)
            await self._keep_policy(role)
        await self._aws.call("iam.put_role_policy", RoleName=role, PolicyName="action", PolicyDocument=_policy(allow))
        return str(answer["Role"]["Arn"])

    async def _keep_policy(self, role: str) -> None:
        """Know how to put the policy of a role back that another rule object made."""
        with contextlib.suppress(NotFound):
            found = await self._aws.call("iam.get_role_policy", RoleName=role, PolicyName="action")
            document = json.dumps(found["PolicyDocument"])
            former = {"RoleName": role, "PolicyName": "action", "PolicyDocument": document}
            self._undo.append(lambda: self._aws.call("iam.put_role_policy", **former))

    async def _delete_role(self, role: str) -> None:
        with contextlib.suppress(NotFound):
            await self._aws.call("iam.delete_role_policy", RoleName=role, PolicyName="action")
        await self._aws.call("iam.delete_role", RoleName=role)

    async def _put_rule(self, action: dict[str, Any]) -> None:
        payload = {"sql": self.sql, "awsIotSqlVersion": _SQL_VERSION, "actions": [action], "ruleDisabled": False}

        async def put() -> bool:
            try:
                try:
                    await self._make(
                        "iot.create_topic_rule",
                        lambda _: self._delete_rule(),
                        ruleName=self.name,
                        topicRulePayload=payload,
                    )
                except AwsError as exc:
                    if exc.code != "ResourceAlreadyExistsException":
                        raise
                    await self._replace_rule(payload)
            except AwsError as exc:
                if exc.code == "InvalidRequestException" and "role" in str(exc).lower():
                    return False  # a fresh role is not known everywhere yet
                raise
            return True

        async def active() -> bool:
            try:
                answer = await self._aws.call("iot.get_topic_rule", ruleName=self.name)
            except AwsError as exc:
                if exc.code == "UnauthorizedException":  # AWS's answer for a rule that is not there (yet)
                    return False
                raise
            return not answer["rule"].get("ruleDisabled")

        await _poll(put, f"AWS IoT to accept the role of rule {self.name}")
        await _poll(active, f"rule {self.name} to become active")

    async def _make(
        self, verb: str, undo: Callable[[dict[str, Any]], Awaitable[Any]], /, **parameters: Any
    ) -> dict[str, Any]:
        """Create something, and know how to delete it; also where this is cancelled while AWS is creating it."""
        making = asyncio.ensure_future(self._aws.call(verb, **parameters))
        try:
            await asyncio.wait([making])
        except asyncio.CancelledError:
            await asyncio.wait([making])
            raise
        finally:
            if making.done() and making.exception() is None:
                made = making.result()
                self._undo.append(lambda: undo(made))
        return making.result()

    async def _replace_rule(self, payload: dict[str, Any]) -> None:
        """Replace a rule that somebody else made, and know how to put it back: without its action it is of no use."""
        found = (await self._aws.call("iot.get_topic_rule", ruleName=self.name))["rule"]
        former = {name: found[name] for name in _PAYLOAD if name in found}
        await self._aws.call("iot.replace_topic_rule", ruleName=self.name, topicRulePayload=payload)
        self._undo.append(lambda: self._put_back("iot.replace_topic_rule", topicRulePayload=former))

    async def _put_back(self, verb: str, **parameters: Any) -> None:
        try:
            await self._aws.call(verb, ruleName=self.name, **parameters)
        except AwsError as exc:
            if exc.code != "UnauthorizedException":  # AWS's answer for a rule that is not there any more
                raise

    async def _delete_rule(self) -> None:
        try:
            await self._aws.call("iot.delete_topic_rule", ruleName=self.name)
        except AwsError as exc:
            if exc.code != "UnauthorizedException":  # AWS's answer for a rule that is not there (any more)
                raise

    async def _undo_all(self, kept: int = 0) -> None:
        """Delete what was created, newest first, but for the oldest few; what is gone already is fine."""
        failed: AwsError | None = None
        while len(self._undo) > kept:
            delete = self._undo.pop()
            try:
                await delete()
            except NotFound:
                pass
            except AwsError as exc:
                failed = failed or exc
        if failed is not None:
            raise failed

    async def _receive(self) -> list[dict[str, Any]]:
        """Up to ten messages of the queue, taken out of it.

        Long polling, which asks all of the queue's servers and not some (Amazon SQS developer guide, "Amazon SQS short
        and long polling"): an empty answer means that the queue is empty.
        """
        answer = await self._aws.call(
            "sqs.receive_message", QueueUrl=self._queue_url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=1
        )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        for message in messages:
            await self._aws.call("sqs.delete_message", QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
        return messages


async def _poll(look: Callable[[], Awaitable[Any]], what: str) -> Any:
    """What ``look`` finds, as soon as it finds something."""
    poll = _POLL
    try:
        async with asyncio.timeout(_ACTIVE_TIMEOUT):
            while not (found := await look()):
                await asyncio.sleep(poll)
                poll = min(poll * 1.5, 2.0)
    except TimeoutError as exc:
        raise WaitTimeout(what, _ACTIVE_TIMEOUT) from exc
    return found


def _check_name(kind: str, name: str) -> None:
    pattern = _NAMES[kind]
    if not pattern.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a {kind}: AWS allows {pattern.pattern}")


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _to_frame(items: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - half a second, in a thread, so that charge points go on

    frame = pd.DataFrame(items)
    if _KEY in frame:
        frame = frame.sort_values(_KEY, ignore_index=True)
    return frame
