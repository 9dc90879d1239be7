"""Your own message processor: its source in the stack's Lambda function, with its tables, and what came of it.

Made by ``stack.message_processor``. What was there before is put back at the end.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

from cpsim_kit.aws import function_log
from cpsim_kit.aws.cleanup import Cleanup
from cpsim_kit.aws.dead_letters import DeadLetters, to_frame
from cpsim_kit.aws.deployment import MESSAGE_PROCESSOR, Deployment
from cpsim_kit.aws.function_code import Source, replace_module
from cpsim_kit.aws.function_log import Invocation
from cpsim_kit.aws.lambda_function import LambdaFunction
from cpsim_kit.aws.processor_tables import TableSpec, allow_tables, parse_tables, prepare_table
from cpsim_kit.aws.session import Aws, plain_item
from cpsim_kit.basics.cards import card
from cpsim_kit.basics.tables import table
from cpsim_kit.basics.waiting import AwaitedOrEntered, poll_until, to_its_end, waiting
from cpsim_kit.errors import NotFound

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Holders", "MessageProcessor"]

_COLUMNS = ("started_at", "duration_ms", "billed_ms", "memory_mb", "error", "request_id")
_VARIABLE = re.compile(r"[a-zA-Z][a-zA-Z0-9_]+")  # UpdateFunctionConfiguration, Environment


@dataclass
class Holders:
    """The message processors of one function in the order in which they replaced each other; one change at a time."""

    processors: list[MessageProcessor] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class MessageProcessor(AwaitedOrEntered["MessageProcessor"]):
    """A source in the place of the stack's message processor; awaited or entered, which returns once it is in use.

        async with stack.message_processor("processor.py", tables=["BillsTable"]) as processor: ...
        processor = await stack.message_processor("processor.py")          # stack.close() puts back what was there

    Only the module of the function's handler is replaced: what else the function's package bundles stays. The function
    behaves as any Lambda function behind a queue: where the source raises an exception, its whole batch comes back
    after the queue's visibility timeout, and goes to the dead letter queue after three attempts. A Python process that
    is killed cannot put anything back: its source stays in a deployed stack's function.

    On AWS it needs the permissions of ``iam-policy.json`` whose names begin with ``MessageProcessor``; replacing takes
    5 to 20 seconds, and the log comes some seconds late.

    Args:
        aws: The door to boto3.
        deployment: The CloudFormation stack.
        remember: Called once, before anything is changed, with its name and a function that puts back what was there.
        source: The path of a file that ends with ``.py``, or the text of a module.
        tables: The DynamoDB tables that it needs: names, or names and keys. One that the CloudFormation stack has
            under this logical id (CDK's suffix may follow), or that is there already as ``{stack}-{name}``, is used and
            kept; another one is created as ``{stack}-{name}`` and deleted at the end.
        environment: Variables for the function's environment, beside those that it has.
        function: The function, if it is not the stack's message processor: its name, or how its logical id begins.
        holders: One dict for all message processors of a stack object, by the function's name.
        is_gone: Whether the stack has died, and there is nothing to put back.

    Attributes:
        function: The function's name.
        entered_at: Since when it is in use, by AWS's clock; None before.
    """

    def __init__(
        self,
        aws: Aws,
        deployment: Deployment,
        remember: Callable[[str, Callable[[], Awaitable[None]]], None],
        source: str | PathLike[str],
        *,
        tables: Iterable[str] | Mapping[str, str | Sequence[str]] = (),
        environment: Mapping[str, str] | None = None,
        function: str | None = None,
        holders: dict[str, Holders] | None = None,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> None:
        self._source = Source(source)
        self._tables = parse_tables(tables)
        self._environment = _checked(environment or {}, self._tables)
        self.function = _find_function(deployment, function)
        self.entered_at: datetime | None = None
        self._aws = aws
        self._deployment = deployment
        self._remember = remember
        self._is_gone = is_gone
        self._holders = ({} if holders is None else holders).setdefault(self.function, Holders())
        self._letters = DeadLetters(aws, deployment)
        self._cleanup = Cleanup()
        self._active = False
        self._remembered = False
        self._log_group = ""
        self._counted: Sequence[Invocation] = ()

    def __repr__(self) -> str:
        return f"<MessageProcessor {self._source.name} in {self.function} {self._state}>"

    def _repr_html_(self) -> str:
        rows = {
            "function": self.function,
            "tables": ", ".join(self._deployment.table_name(each.name) for each in self._tables),
            "what it printed": "print(await processor.log())",
            "its invocations": "await processor.invocations()",
            "what it failed on": "await processor.dead_letters()",
            "its tables": "await processor.items(NAME)" if self._tables else "",
        }
        return card(f"MessageProcessor {self._source.name}", self._state, rows)

    @property
    def _state(self) -> str:
        if not self._active:
            return "not in use"
        if not self._counted:
            return "in use"
        failed = sum(bool(each.error) for each in self._counted)
        return f"in use, {len(self._counted)} invocations, {failed} failed"

    async def _open(self) -> Self:
        return await self.deploy()

    async def _close(self, error: BaseException | None) -> None:
        await self.remove()

    async def deploy(self) -> Self:
        """Put the source into the function, with its tables; returns once it is in use. Again: puts it there again.

        Raises:
            ValueError: The function's runtime cannot read the source, or it has no function that Lambda could call.
            NotFound: There is no such function.
            AwsError: AWS refused; what was changed until then is put back. Where AWS refuses that too, :meth:`remove`
                and the end of the stack try it again.
            WaitTimeout: AWS did not finish in time.
        """
        if not self._remembered:
            self._remembered = True
            self._remember(f"message processor {self._source.name} in {self.function}", self.remove)
        processors = self._holders.processors
        async with self._holders.lock:
            kept = len(self._cleanup)
            if is_new := self not in processors:
                processors.append(self)
            try:
                async with waiting(f"message processor {self._source.name}"):
                    await self._replace()
            except BaseException:
                await to_its_end(self._undo(kept), f"cpsim[{self.function}].undo")
                if is_new:  # what could not be undone keeps its place
                    processors.remove(self)
                raise
            self._active = True
        return self

    async def remove(self) -> None:
        """Put back what was there: package, environment, permissions; delete the tables created. Harmless twice.

        What could not be put back is tried again when this is called again, also by the end of the stack.

        Where another message processor has replaced this one since, that one stays, and puts back everything later. It
        goes on to its end if the cell is interrupted.

        Raises:
            AwsError: AWS refused.
            WaitTimeout: AWS did not finish in time.
        """
        await to_its_end(self._remove(), f"cpsim[{self.function}].remove")

    # -- What came of it ----------------------------------------------------------------------------------------------

    async def log(self, *, since: datetime | None = None, lines: int | None = 200) -> str:
        """What the function printed, and its tracebacks. On AWS the log comes some seconds late.

        Args:
            since: Only what came after this time, e.g. ``datetime.now(UTC) - timedelta(minutes=1)``; by default, what
                came since this message processor has been in use.
            lines: How many of the last lines; None for all.

        Returns:
            The lines, without those of AWS Lambda about its invocations; "" if there are none.

        Raises:
            RuntimeError: It has never been in use.
            AwsError: AWS refused.
        """
        found = function_log.text(await self._events(since))
        return "\n".join(found if lines is None else found[max(0, len(found) - lines) :])

    async def invocations(self) -> pd.DataFrame:
        """The function's invocations since this message processor has been in use. On AWS they come some seconds late.

        Returns:
            One row per invocation, by started_at (UTC): duration_ms, billed_ms (what AWS charges for), memory_mb (the
            most that it has used; 0 on the local stack, which does not measure it), error ("" if it did not fail, else
            e.g. "KeyError: 'idToken'"), request_id. What an invocation that still runs has not said yet is missing.

        Raises:
            RuntimeError: It has never been in use.
            AwsError: AWS refused.
        """
        found = await self._invocations()
        return await asyncio.to_thread(_to_frame, found)

    async def wait_for_error(self, *, timeout: float = 60) -> str:
        """Wait until an invocation has failed, and return why the first one did, e.g. "KeyError: 'idToken'".

        Args:
            timeout: Seconds to wait; on AWS the log comes some seconds late.

        Raises:
            WaitTimeout: None has failed; ``last_seen`` is the number of invocations.
            RuntimeError: It has never been in use.
            AwsError: AWS refused.
        """
        found: list[Invocation] = []

        async def first() -> str:
            found[:] = await self._invocations()
            return next((each.error for each in found if each.error), "")

        what = f"an invocation of {self.function} to fail"
        return await poll_until(first, what, timeout, last_seen=lambda: len(found), pause=0.2)

    async def items(self, name: str, minimum: int = 0, *, timeout: float = 30) -> pd.DataFrame:
        """The items of one of its tables, a column for each attribute; ordered by the key.

        Args:
            name: One of ``tables=``, e.g. "BillsTable".
            minimum: How many to wait for.
            timeout: Seconds to wait for them.

        Raises:
            ValueError: It has no such table.
            WaitTimeout: There are fewer; ``last_seen`` is their number.
            NotFound: The table is not there, as this message processor is not in use.
            AwsError: AWS refused.
        """
        spec = next((each for each in self._tables if each.name == name), None)
        if spec is None:
            known = ", ".join(each.name for each in self._tables) or "none"
            raise ValueError(f"this message processor has no table {name!r} (tables=: {known})")
        table_name = self._deployment.table_name(name)
        found: list[dict[str, Any]] = []

        async def enough() -> bool:
            found[:] = await self._aws.pages("dynamodb.scan", "Items", TableName=table_name, ConsistentRead=True)
            return len(found) >= minimum

        await poll_until(enough, f"{minimum} items in {name}", timeout, last_seen=lambda: len(found))
        return await asyncio.to_thread(_items_frame, [plain_item(each) for each in found], spec.key)

    async def dead_letters(self, minimum: int = 0, *, timeout: float = 60) -> pd.DataFrame:
        """The messages that the function failed on as often as its queue allows; they stay in the dead letter queue.

        The stack has one queue for them: those of other message processors, and of other days, are there too.

        Args:
            minimum: How many to wait for. A message comes after three attempts, each a visibility timeout after the
                one before: 15 s on the local stack, one and a half minutes with the AWS sample.
            timeout: Seconds to wait for them.

        Returns:
            One row per message, by sent_at (UTC): charge_point_id, kind ("CALL", …), action, message_id, payload.

        Raises:
            WaitTimeout: There are fewer; ``last_seen`` is their number.
            NotFound: The stack has no such queue.
            AwsError: AWS refused.
        """
        return await asyncio.to_thread(to_frame, await self._letters.read(minimum, timeout))

    async def redrive(self) -> int:
        """Send all dead letters to the message processor again, e.g. to a corrected one; returns how many.

        Raises:
            NotFound: The stack has no such queue.
            AwsError: AWS refused.
        """
        return await self._letters.redrive()

    async def purge(self) -> None:
        """Delete all dead letters. AWS takes up to a minute, and refuses to do it twice in a minute.

        Raises:
            NotFound: The stack has no such queue.
            AwsError: AWS refused.
        """
        await self._letters.purge()

    async def _invocations(self) -> list[Invocation]:
        found = function_log.invocations(await self._events(None))
        self._counted = found
        return found

    async def _events(self, since: datetime | None) -> list[dict[str, Any]]:
        start = since or self.entered_at
        if start is None:
            raise RuntimeError("this message processor has never been in use: async with stack.message_processor(…)")
        try:
            return await self._aws.pages(
                "logs.filter_log_events",
                "events",
                logGroupName=self._log_group,
                startTime=int(start.timestamp() * 1000),
            )
        except NotFound:
            return []  # AWS creates the group when the function runs for the first time

    # -- Replacing and putting back -----------------------------------------------------------------------------------

    async def _replace(self) -> None:
        """The code is last: meanwhile AWS spreads what the role may do, and the function has its environment."""
        function = await LambdaFunction.read(self._aws, self.function)
        self._source.check(function.handler, function.runtime)
        former = await function.package()
        package = replace_module(former, function.handler, self._source.code)
        self._log_group = function.log_group
        variables = await self._prepare_tables(function.role)
        await self._put_environment(function, {**variables, **self._environment})

        async def put_back(_: object) -> None:
            await function.put_package(former)
            await function.wait_in_use()

        self.entered_at = await self._cleanup.create(
            f"code of {self.function}", function.put_package(package), put_back
        )
        await function.wait_in_use()

    async def _prepare_tables(self, role: str) -> dict[str, str]:
        """The variables that have the names of the tables."""
        variables, arns = {}, []
        for spec in self._tables:
            variables[spec.variable], arn = await prepare_table(self._aws, self._cleanup, self._deployment, spec)
            arns.append(arn)
        if arns:
            await allow_tables(self._aws, self._cleanup, role, arns)
        return variables

    async def _put_environment(self, function: LambdaFunction, variables: Mapping[str, str]) -> None:
        if not variables:
            return
        former = function.environment
        if (changed := {**former, **variables}) == former:
            return

        async def put_back(_: object) -> None:
            await function.put_environment(former)
            await function.wait_in_use()

        await self._cleanup.create(f"environment of {self.function}", function.put_environment(changed), put_back)
        await function.wait_in_use()

    async def _remove(self) -> None:
        async with self._holders.lock:
            processors = self._holders.processors
            later = processors[processors.index(self) + 1 :] if self in processors else []
            if later:
                self._cleanup.hand_over(later[0]._cleanup)
            else:
                await self._undo()  # what could not be put back keeps its place
            self._active = False
            if self in processors:
                processors.remove(self)

    async def _undo(self, keep: int = 0) -> None:
        """Put back what was there, newest first, but for the ``keep`` oldest."""
        if failed := await self._cleanup.run(keep=keep, is_gone=self._is_gone):
            raise failed[0][1]


def _find_function(deployment: Deployment, function: str | None) -> str:
    """The name of the function on AWS."""
    found = deployment.function(function or MESSAGE_PROCESSOR)
    if found is not None or function is not None:
        return found or str(function)
    message = (
        f"the CloudFormation stack {deployment.name} has no Lambda function {MESSAGE_PROCESSOR}…, as its CSMS runs "
        'elsewhere. A local stack has one with csms="lambda": await Stack.local(csms="lambda"). For another function: '
        "function="
    )
    raise NotFound(message, verb="cloudformation.list_stack_resources", kind="function", name=MESSAGE_PROCESSOR)


def _checked(environment: Mapping[str, str], tables: Sequence[TableSpec]) -> dict[str, str]:
    """The variables, which AWS would refuse otherwise."""
    of_tables = {spec.variable for spec in tables}
    for name, value in environment.items():
        if not (isinstance(name, str) and _VARIABLE.fullmatch(name)):
            raise ValueError(f"{name!r} cannot be a variable of the function's environment: {_VARIABLE.pattern}")
        if not isinstance(value, str):
            raise TypeError(f"environment= has strings: the value of {name} is {value!r}")
        if name in of_tables:
            raise ValueError(f"{name} is the variable of a table of tables=")
    return dict(environment)


def _items_frame(found: Sequence[Mapping[str, Any]], key: Sequence[str]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - half a second, in a thread, so that charge points go on

    frame = pd.DataFrame(found)
    if frame.empty:
        return pd.DataFrame(columns=list(key))
    others = [name for name in frame if name not in key]
    return frame[[*key, *others]].sort_values(list(key), ignore_index=True)


def _to_frame(found: Sequence[Invocation]) -> pd.DataFrame:
    rows = [
        (each.started_at, each.duration_ms, each.billed_ms, each.memory_mb, each.error, each.request_id)
        for each in found
    ]
    return table(rows, _COLUMNS)
