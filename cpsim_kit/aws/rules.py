"""Topic rules: AWS IoT SQL on MQTT messages, with an action. AWS IoT Core developer guide, "Rules for AWS IoT".

Made by ``stack.rule``. What a rule needs is created with it and deleted with it: its target (``rule_target``) and its
role (``rule_role``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Self

from tqdm.auto import tqdm

from cpsim_kit.aws.cleanup import Cleanup
from cpsim_kit.aws.rule_role import create_role
from cpsim_kit.aws.rule_target import KEY, check_name, make_target
from cpsim_kit.aws.session import Aws
from cpsim_kit.basics.cards import card
from cpsim_kit.basics.waiting import AwaitedOrEntered, poll_until, to_its_end, waiting
from cpsim_kit.errors import AwsError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RULE_PAYLOAD", "Rule"]

_SQL_VERSION = "2016-03-23"
RULE_PAYLOAD = ("sql", "description", "actions", "ruleDisabled", "awsIotSqlVersion", "errorAction")  # of a rule
_ACTIVE_TIMEOUT = 60  # seconds; AWS IoT takes some until it can assume a role that was just created
_NOT_THERE = "UnauthorizedException"  # AWS's answer for a rule that is not there (yet, or any more)


class Rule(AwaitedOrEntered["Rule"]):
    """A topic rule with one action; awaited or entered, which creates it and waits until it is active.

        async with stack.rule("heartbeats", sql=SQL, table="heartbeats") as rule: ...
        rule = await stack.rule("heartbeats", sql=SQL, table="heartbeats")     # stack.close() deletes it

    Exactly one of ``table``, ``queue`` and ``republish`` is given. A rule that is there already is replaced; a table or
    queue that is there is used, and kept at the end.

    Args:
        aws: The door to boto3.
        remember: Called once, before anything is created, with its name and a function that deletes it.
        name: Letters, digits and underscores, at most 128.
        sql: The statement in AWS's SQL, sent as it is.
        table: A DynamoDB table (key ``chargePointId``, on demand); each attribute of the result becomes a column.
        queue: An SQS queue for the result as JSON.
        republish: A topic for the result; ``${…}`` is substituted.
        holders: The rule objects that have made a rule, oldest first, by the rule's name; one dict for all rule
            objects of a stack.

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
        check_name("rule", name, r"[a-zA-Z0-9_]{1,128}")  # CreateTopicRule, ruleName
        self.name = name
        self.sql = sql
        self._aws = aws
        self._remember = remember
        self._holders = {} if holders is None else holders
        self._target = make_target(aws, name, table=table, queue=queue, republish=republish)
        self._cleanup = Cleanup()
        self._created = False
        self._remembered = False

    def __repr__(self) -> str:
        return f"<Rule {self.name} {'active' if self._created else 'not created'} -> {self._target.name}>"

    def _repr_html_(self) -> str:
        rows = {
            "SQL": self.sql,
            f"to {self._target.kind}": self._target.name,
            "items": None if self._target.kind == "topic" else "await rule.to_frame()",
        }
        return card(f"Rule {self.name}", "active" if self._created else "not created", rows)

    async def _open(self) -> Self:
        return await self.create()

    async def _close(self, error: BaseException | None) -> None:
        await self.delete()

    async def create(self) -> Self:
        """Create the rule and what it needs; returns once it is active. Creating it again replaces it.

        Raises:
            AwsError: AWS refused; for bad SQL, the message says where the error is. What was created until then is
                deleted. Where AWS refuses that too, :meth:`delete` and the end of the stack try it again.
            WaitTimeout: It did not become active.
        """
        if not self._remembered:
            self._remembered = True
            self._remember(f"rule {self.name}", self.delete)
        kept, holders = len(self._cleanup), self._holders.setdefault(self.name, [])
        if is_new := self not in holders:
            holders.append(self)
        try:
            async with waiting(f"rule {self.name}"):
                action = await self._target.prepare(self._cleanup)
                role = await create_role(self._aws, self._cleanup, self.name, action.permission, action.resource)
                await self._put_rule({action.name: {**action.document, "roleArn": role}})
        except BaseException:
            await to_its_end(self._undo(kept), f"cpsim[{self.name}].undo")
            if is_new and self in holders:  # what could not be undone keeps its place
                holders.remove(self)
            raise
        self._created = True
        return self

    async def delete(self) -> None:
        """Delete the rule, its role, and the table or queue where this object created it. Harmless twice.

        A rule that this one replaced is put back. Where another object has replaced this rule since, the rule stays,
        and that object deletes everything later. What could not be deleted is tried again when this is called again,
        also by the end of the stack.
        """
        self._created = False
        holders = self._holders.get(self.name, [])
        later = holders[holders.index(self) + 1 :] if self in holders else []
        if later:
            self._cleanup.hand_over(later[0]._cleanup)
        else:
            await self._undo()  # what could not be deleted keeps its place
        if self in holders:
            holders.remove(self)

    # -- Results ------------------------------------------------------------------------------------------------------

    async def items(self) -> list[dict[str, Any]]:
        """The rows of the table, or what has come to the queue so far; numbers are int or float.

        Raises:
            TypeError: The rule republishes; watch the topic with ``stack.monitor``.
            AwsError: AWS refused.
        """
        return await self._target.items(None)

    async def wait_for_items(
        self, count: int = 1, *, timeout: float = 30, progress: bool = True
    ) -> list[dict[str, Any]]:
        """Wait until there are so many items, and return all there are, as :meth:`items` does.

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

        async def enough() -> bool:
            found[:] = await self._target.items(count)
            bar.update(min(len(found), count) - bar.n)
            return len(found) >= count

        def what() -> str:
            sql = " ".join(self.sql.split())
            return f"{count} items of rule {self.name}, {len(found)} came; does a message match its SQL? {sql}"

        title = f"items of {self.name}"
        with tqdm(total=count, desc=title, unit="", delay=1, leave=False, disable=not progress) as bar:
            await poll_until(enough, what, timeout, last_seen=lambda: found or None)
        return found

    async def to_frame(self) -> pd.DataFrame:
        """:meth:`items` as a DataFrame, ordered by charge point where there is one."""
        items = await self.items()
        return await asyncio.to_thread(_to_frame, items)

    # -- Creating and deleting ----------------------------------------------------------------------------------------

    async def _put_rule(self, action: dict[str, Any]) -> None:
        payload = {"sql": self.sql, "awsIotSqlVersion": _SQL_VERSION, "actions": [action], "ruleDisabled": False}

        async def put() -> bool:
            try:
                await self._create_or_replace(payload)
            except AwsError as exc:
                if exc.code == "InvalidRequestException" and "role" in str(exc).lower():
                    return False  # AWS IoT does not know the new role yet
                raise
            return True

        async def active() -> bool:
            try:
                answer = await self._aws.call("iot.get_topic_rule", ruleName=self.name)
            except AwsError as exc:
                if exc.code == _NOT_THERE:
                    return False
                raise
            return not answer["rule"].get("ruleDisabled")

        await poll_until(put, f"AWS IoT to accept the role of rule {self.name}", _ACTIVE_TIMEOUT, longest=2)
        await poll_until(active, f"rule {self.name} to become active", _ACTIVE_TIMEOUT, longest=2)

    async def _create_or_replace(self, payload: dict[str, Any]) -> None:
        name = {"ruleName": self.name}
        try:
            await self._cleanup.create(
                f"rule {self.name}",
                self._aws.call("iot.create_topic_rule", **name, topicRulePayload=payload),
                lambda _: self._unless_gone("iot.delete_topic_rule"),
            )
        except AwsError as exc:
            if exc.code != "ResourceAlreadyExistsException":
                raise
            found = (await self._aws.call("iot.get_topic_rule", **name))["rule"]
            former = {key: found[key] for key in RULE_PAYLOAD if key in found}
            await self._cleanup.create(  # put back what was there: without its action it is of no use
                f"former rule {self.name}",
                self._aws.call("iot.replace_topic_rule", **name, topicRulePayload=payload),
                lambda _: self._unless_gone("iot.replace_topic_rule", topicRulePayload=former),
            )

    async def _unless_gone(self, verb: str, **parameters: Any) -> None:
        """Delete the rule or put it back; fine where somebody has deleted it meanwhile."""
        try:
            await self._aws.call(verb, ruleName=self.name, **parameters)
        except AwsError as exc:
            if exc.code != _NOT_THERE:
                raise

    async def _undo(self, keep: int = 0) -> None:
        """Delete what was created, newest first, but for the ``keep`` oldest."""
        if failed := await self._cleanup.run(keep=keep):
            raise failed[0][1]


def _to_frame(items: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - half a second, in a thread, so that charge points go on

    frame = pd.DataFrame(items)
    if KEY in frame:
        frame = frame.sort_values(KEY, ignore_index=True)
    return frame
