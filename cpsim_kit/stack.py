"""Where we run: a deployed AWS OCPP Gateway, or the embedded local stack, by one code path.

``Stack.local()`` starts a process and then attaches to it as ``Stack.aws()`` attaches to AWS: through the outputs and
resources of a CloudFormation stack. The stack makes charge points and AWS helpers with its addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote
from weakref import WeakSet

from cpsim_kit.aws import Aws
from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.aws.csms_calls import CsmsCaller
from cpsim_kit.aws.monitor import Monitor
from cpsim_kit.aws.rules import Rule
from cpsim_kit.aws.shadow import ShadowRequest
from cpsim_kit.aws.things import Things
from cpsim_kit.basics.cards import card
from cpsim_kit.basics.waiting import waiting
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.errors import AwsError, LocalStackError, NotFound
from cpsim_kit.local.launcher import LocalOptions, LocalProcess, OtherProcess
from cpsim_kit.local.template import OUTPUT_KEY, PROCESS_KEY
from cpsim_kit.observe.gateway_watch import EcsService, GatewayWatch, LocalGateway
from cpsim_kit.observe.support_matrix import support_matrix
from cpsim_kit.observe.trace import Trace
from cpsim_kit.ocpp_j.versions import CHARGE_POINT_ACTIONS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Stack"]

logger = logging.getLogger("cpsim.stack")

_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,127}")  # CreateStack, StackName
_WATCH = 0.2  # seconds between two looks at the process

# What this Python process has open, so that a setup cell run twice finds its own stack, with what that created.
_stacks: dict[LocalProcess, list[Stack]] = {}  # local ones, one for each event loop
_attached: dict[tuple[str | None, ...], Stack] = {}  # deployed ones, by what decides where Stack.open() leads
_DECIDING = (
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SESSION_TOKEN",
)


def _found(key: tuple[str | None, ...]) -> Stack | None:
    """The deployed stack that is open already; what it holds belongs to one event loop."""
    found = _attached.get(key)
    return found if found is not None and found._loop is asyncio.get_running_loop() else None


def _local(process: LocalProcess) -> Stack | None:
    """The stack of this process that is open in this event loop; one that another loop left open is of no use here."""
    loop = asyncio.get_running_loop()
    return next((stack for stack in _stacks.get(process, []) if stack._loop is loop), None)


class _Opening:
    """What ``Stack.open``, ``.local`` and ``.aws`` return: a stack once awaited or entered."""

    def __init__(self, made_by: str, opening: Callable[[], Awaitable[Stack]]) -> None:
        self._made_by = made_by
        self._opening = opening
        self._stack: Stack | None = None

    def __repr__(self) -> str:
        return f"<{self._made_by}, not open yet: write stack = await {self._made_by}>"

    if not TYPE_CHECKING:  # a type checker knows by itself that this is no stack yet

        def __getattr__(self, name: str) -> Any:
            """Tell who forgot to await; what Python and IPython look for is just not there."""
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            message = f"{self._made_by} is not a stack yet, it has no {name}: write `stack = await {self._made_by}`"
            raise AttributeError(message)

    def __await__(self) -> Generator[Any, None, Stack]:
        return self._opening().__await__()

    async def __aenter__(self) -> Stack:
        self._stack = await self._opening()
        return self._stack

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._stack is not None
        await self._stack.__aexit__(exc_type, exc, traceback)


class Stack:
    """An AWS OCPP Gateway to talk to: its addresses, its Things, its shadows; and the maker of charge points.

    Made by :meth:`open`, :meth:`local` or :meth:`aws`, each awaited or entered. Once closed, it only says what it was:
    everything else raises RuntimeError.

    Attributes:
        name: The CloudFormation stack's name.
        region: The AWS region.
        websocket_url: Where charge points connect, without a trailing slash.
        endpoint_url: Where boto3 connects; None on AWS.
        things: Creates, lists and deletes Things.
    """

    def __init__(
        self,
        name: str,
        aws: Aws,
        websocket_url: str,
        registry_table: str | None,
        process: LocalProcess | None,
        other: OtherProcess | None = None,
    ) -> None:
        self.name = name
        self.region = aws.region
        self.websocket_url = websocket_url.rstrip("/")
        self.endpoint_url = aws.endpoint_url
        self._aws = aws
        self._process = process
        self._other = other  # the process of a local stack that somebody else started
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._rules: dict[str, list[Rule]] = {}
        self._charge_points: WeakSet[ChargePoint] = WeakSet()
        self._created: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._monitors: WeakSet[Monitor] = WeakSet()
        self._watches: WeakSet[GatewayWatch] = WeakSet()
        self._loop = asyncio.get_running_loop()
        self._caller = CsmsCaller(aws, aws.mqtt_endpoint)
        self.things = Things(aws, registry_table, self._remember)

    def __repr__(self) -> str:
        where = "AWS" if self._process is None and self._other is None else "local"
        state = " closed" if self._closed else " died" if self._has_died else ""
        return f"<Stack {self.name} {where} {self.region} {self.websocket_url}{state}>"

    def _repr_html_(self) -> str:
        state = (
            "closed"
            if self._closed
            else "local, its process has died"
            if self._has_died
            else "local, on this computer"
            if self._process is not None
            else "local, started elsewhere"
            if self._other is not None
            else "deployed on AWS"
        )
        rows = {
            "region": self.region,
            "charge points connect to": self.websocket_url,
            "boto3 connects to": self.endpoint_url,
            "open charge points": ", ".join(sorted(each.id for each in self._charge_points if each.is_open)[:10]),
            "created here": ", ".join(what for what, _delete in self._created[:10]),
        }
        return card(f"Stack {self.name}", state, {} if self._closed else rows)

    @property
    def _has_died(self) -> bool:
        return self._process is not None and not self._process.is_running

    def _require_open(self) -> None:
        if self._closed:  # while it closes, what it deletes still goes by boto3
            raise RuntimeError("this stack is closed; open another: stack = await Stack.open()")

    @property
    def is_local(self) -> bool:
        """Whether this process started it; what is done on any other stack may cost, or be in somebody's way."""
        return self._process is not None

    # -- Opening ------------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls) -> _Opening:
        """The stack that CPSIM_STACK names: unset or "local" the local stack, else a deployed CloudFormation stack.

        Asked again, also the deployed one is the object that is open already, with what it created.
        Raises as :meth:`local` and :meth:`aws` do.
        """
        name = os.environ.get("CPSIM_STACK", "").strip()
        if name in {"", "local"}:
            opening = cls.local()
            opening._made_by = "Stack.open()"
            return opening

        async def attach() -> Stack:
            key = (name, *map(os.environ.get, _DECIDING))
            if (found := _found(key)) is None:
                attached = await cls.aws(name)
                if (found := _found(key)) is None:
                    _attached[key] = attached
                    return attached
                attached._aws.close()  # two cells that open at once get one stack
            return found

        return _Opening("Stack.open()", attach)

    @classmethod
    def local(
        cls, *, interval: int = 10, csms: str = "kit", name: str = "AwsOcppGatewayStack", region: str = "us-east-1"
    ) -> _Opening:
        """Start the embedded stack: no AWS account, no Docker, everything on 127.0.0.1.

        Asked again with the same arguments, the one already running in this Python process is returned. It ends with
        :meth:`close`, or with this process.

        Args:
            interval: Seconds between heartbeats that its CSMS instructs.
            csms: "kit", which answers every action of a charge point, and the three that the sample knows whatever
                their fields hold in OCPP 2.0.1; "strict", which refuses every payload that breaks its schema; or
                "sample", with the AWS sample's quirks.
            name: The CloudFormation stack's name: a letter, then letters, digits and hyphens, at most 128.
            region: The AWS region it claims to be in.

        Raises:
            ValueError: An argument is out of range.
            LocalStackError: It did not start; the message carries the end of its log.
        """
        if interval < 1 or interval != int(interval):
            raise ValueError(f"interval is a whole number of seconds, at least 1, not {interval!r}")
        if csms not in {"kit", "strict", "sample"}:
            raise ValueError(f'csms is "kit", "strict" or "sample", not {csms!r}')
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ValueError(f"{name!r} cannot be the name of a stack: CloudFormation allows {_NAME.pattern}")
        options = LocalOptions(name=name, region=region, interval=int(interval), csms=csms)
        return _Opening("Stack.local()", lambda: cls._open_local(options))

    @classmethod
    def aws(
        cls, name: str, *, region: str | None = None, profile: str | None = None, endpoint_url: str | None = None
    ) -> _Opening:
        """Attach to a deployed AWS OCPP Gateway; creates nothing.

        Needs cloudformation:DescribeStacks and cloudformation:ListStackResources.

        Args:
            name: The CloudFormation stack's name, e.g. "AwsOcppGatewayStack".
            region: Its region; boto3's own choice when None.
            profile: A profile of the AWS configuration; boto3's own choice when None.
            endpoint_url: Another endpoint for every service, e.g. of a stack started by ``cpsim stack``.

        Raises:
            NoCredentials: boto3's credential chain found none.
            NotFound: There is no such stack in that region.
            AwsError: AWS refused, or the stack has no output ``websocketURL``.
        """
        endpoint_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or None

        async def attach() -> Stack:
            aws = await asyncio.to_thread(Aws, region=region, profile=profile, endpoint_url=endpoint_url)
            return await cls._attach(name, aws, None)

        return _Opening(f"Stack.aws({name!r})", attach)

    @classmethod
    async def _open_local(cls, options: LocalOptions) -> Stack:
        async with waiting("the local stack starts"):
            process = await asyncio.to_thread(LocalProcess.shared, options)
        if (found := _local(process)) is not None:
            return found
        try:
            aws = await asyncio.to_thread(
                Aws,
                region=options.region,
                endpoint_url=process.endpoint_url,
                access_key=process.key,
                explain=process.why_dead,
            )
            stack = await cls._attach(options.name, aws, process)
        except Exception:
            if process not in _stacks:
                await asyncio.to_thread(process.stop)
            raise
        if (found := _local(process)) is not None:  # two cells that open at once get one stack
            aws.close()
            return found
        _stacks.setdefault(process, []).append(stack)
        return stack

    @classmethod
    async def _attach(cls, name: str, aws: Aws, process: LocalProcess | None) -> Stack:
        """The same for AWS and the local stack; lets go of ``aws`` where it fails."""
        try:
            websocket_url, table, other = await _addresses(name, aws)
        except BaseException:
            aws.close()
            raise
        _let_signals_wake_the_loop()
        return cls(name, aws, websocket_url, table, process, other)

    # -- What a stack gives -------------------------------------------------------------------------------------------

    def client(self, service: str) -> Any:
        """A boto3 client of this stack's session, for ad hoc use; made once. Its calls block the cell."""
        self._require_open()
        return self._aws.client(service)

    def shadow(self, charge_point_id: str, name: str = "") -> ShadowRequest:
        """The Device Shadow of a charge point: ``await stack.shadow("CP1")``, or ``.wait_for(…)``, ``.update(…)``.

        Args:
            charge_point_id: The Thing's name.
            name: A named shadow; "" for the classic one, where boots are reported.

        Raises, when awaited:
            NotFound: The charge point has none, e.g. because it never booted.
            AwsError: AWS refused.
        """
        self._require_open()
        return ShadowRequest(self._aws, charge_point_id, name, self.monitor)

    def monitor(self, *filters: str, limit: int = 10_000) -> Monitor:
        """Watch MQTT topics; entered, e.g. ``async with stack.monitor("+/in", "+/out") as monitor``.

        On AWS it needs iot:DescribeEndpoint, iot:Connect, iot:Subscribe and iot:Receive.

        Args:
            *filters: Topic filters, with ``+`` for one level and ``#`` for the rest.
            limit: How many messages are kept.
        """
        self._require_open()
        monitor = Monitor(self._aws.mqtt_endpoint, filters, limit=limit)
        self._monitors.add(monitor)
        return monitor

    def watch_gateway(self, *, every: float = 10, service: str | None = None) -> GatewayWatch:
        """Look at the gateway's tasks, CPU and memory now and then; entered, while a fleet runs.

            async with stack.watch_gateway(every=10) as watch:
                result = await fleet.run(duration=600)
            watch.plot(result)

        On AWS tasks are known at once, CPU and memory as averages of a minute, one to three minutes late: see
        ``observe.gateway_watch``, and ``await watch.refresh()`` for the last ones. Needs ecs:DescribeServices and
        cloudwatch:GetMetricData; a look is one request to each, an hour of looks every 10 s below a cent. A local
        stack's process is measured, also that of a ``cpsim stack`` in another terminal of this computer.

        Args:
            every: Seconds between two looks.
            service: The ECS service, by name or logical id, where the CloudFormation stack has several. A local stack
                has none: the same cell runs there, and a warning in the log says that this is ignored.

        Raises:
            ValueError: ``every`` is no time above 0.
        """
        self._require_open()
        process = self._process or self._other
        if process is not None and service is not None:
            logger.warning(
                "watch_gateway(service=%r): a local stack has no ECS services; its process is watched", service
            )
        source = EcsService(self._aws, self.name, service) if process is None else LocalGateway(process)
        watch = GatewayWatch(source, every=every)
        self._watches.add(watch)
        return watch

    def trace(self, charge_point: ChargePoint) -> Trace:
        """Follow the exchanges of a charge point hop by hop.

            async with stack.trace(cp) as trace:
                await cp.boot()
            trace.to_frame()

        Args:
            charge_point: One that talks to this stack's gateway; what it sends inside the block is followed.

        Raises:
            TypeError: That is no charge point; an id alone does not say when its messages were sent.
        """
        self._require_open()
        if not isinstance(charge_point, ChargePoint):
            raise TypeError(
                f"stack.trace() takes a ChargePoint, as stack.charge_point() makes it, not {charge_point!r}"
            )
        name = charge_point.id
        topics = (f"{name}/in", f"{name}/out", f"$aws/things/{name}/shadow/update/documents")
        return Trace(self.monitor(*topics), charge_point)

    def rule(
        self,
        name: str,
        *,
        sql: str,
        table: str | None = None,
        queue: str | None = None,
        republish: str | None = None,
    ) -> Rule:
        """A topic rule with one action; awaited or entered, see :class:`~cpsim_kit.aws.rules.Rule`.

        Args:
            name: Letters, digits and underscores.
            sql: AWS IoT SQL.
            table: A DynamoDB table for the results, made where it is not there.
            queue: An SQS queue for them, made where it is not there.
            republish: A topic for them.
        """
        self._require_open()
        targets = {"table": table, "queue": queue, "republish": republish}
        return Rule(self._aws, self._remember, name, sql=sql, **targets, holders=self._rules)

    async def publish(self, topic: str, payload: str | bytes | dict[str, Any] | list[Any], *, qos: int = 1) -> None:
        """Publish an MQTT message by AWS IoT's HTTPS API.

        Args:
            topic: The topic, without wildcards.
            payload: Text or bytes as they are; a dict or list as JSON.
            qos: 0 or 1.

        Raises:
            AwsError: AWS refused.
        """
        self._require_open()
        body = json.dumps(payload) if isinstance(payload, dict | list) else payload
        await self._aws.call("iot-data.publish", topic=topic, qos=qos, payload=body)

    async def send(self, charge_point_id: str, payload: Any, *, timeout: float = 30) -> Any:
        """Send a CALL to a charge point as the CSMS does, over ``{id}/out``, and return its answer from ``{id}/in``.

        Args:
            charge_point_id: The charge point; it must be connected.
            payload: A ``call`` dataclass, e.g. ``ocpp.v201.call.Reset(type="Immediate")``.
            timeout: Seconds to wait for the answer.

        Returns:
            The ``call_result`` dataclass of the same name.

        Raises:
            CallTimeout: No answer; an unknown or unconnected id looks the same.
            CallFailed: The charge point answered CALLERROR.
            ProtocolViolation: The payload or the answer breaks the schema.
            AwsError: AWS refused.
        """
        self._require_open()
        return await self._caller.send(charge_point_id, payload, timeout)

    async def support_matrix(
        self,
        *,
        version: str = "2.0.1",
        charge_point_id: str = "CPSIM-SUPPORT",
        timeout: float = 5,
        progress: bool = True,
    ) -> pd.DataFrame:
        """What the CSMS behind this gateway answers: each action of a charge point, sent once.

        Creates the Thing where it is not there, and deletes it then. On AWS some seconds, a few hundred messages.

        Args:
            version: "1.6" or "2.0.1".
            charge_point_id: Who asks; its Device Shadow will show the boot.
            timeout: Seconds to wait for each answer.
            progress: Show a progress bar where it takes more than a second.

        Returns:
            One row per action: action, outcome ("answered", "CALLERROR", "not implemented" as the AWS sample says it,
            "no answer", "invalid", "connection lost", "not registered"), code, latency_ms, detail.

        Raises:
            ValueError: There is no such version.
            ConnectError: The gateway does not accept the charge point.
            AwsError: AWS refused to create the Thing.
        """
        self._require_open()
        if version not in CHARGE_POINT_ACTIONS:
            raise ValueError(f"version is {' or '.join(CHARGE_POINT_ACTIONS)}, not {version!r}")
        thing = await self.things.create(charge_point_id)
        try:
            async with self.charge_point(charge_point_id, version=version) as charge_point:
                return await support_matrix(charge_point, timeout=timeout, progress=progress)
        finally:
            if thing.created:
                await self.things.delete(charge_point_id)

    def charge_point(self, charge_point_id: str, **options: Any) -> ChargePoint:
        """A charge point at this stack's gateway; awaited or entered. :meth:`close` closes it.

        Args:
            charge_point_id: The identity; its Thing must exist.
            **options: As :class:`~cpsim_kit.charge_point.ChargePoint` takes them.
        """
        self._require_open()
        explain = None if self._process is None else self._process.why_dead
        charge_point = ChargePoint(charge_point_id, self.websocket_url, explain=explain, **options)
        self._charge_points.add(charge_point)
        return charge_point

    def log(self, lines: int = 20) -> str:
        """The last lines of the local stack's log; on AWS, where to look instead."""
        process = self._process or self._other
        if process is None:
            return f"this stack runs on AWS: look in CloudWatch Logs, region {self.region}, groups of stack {self.name}"
        return process.log(lines)

    @property
    def access_key(self) -> AccessKey | None:
        """The access key of a local stack that this process started, for other clients; None for any other stack."""
        return None if self._process is None else self._process.key

    @property
    def mqtt_url(self) -> str | None:
        """Where MQTT over WebSockets connects without a signature; None on AWS, which asks for one.

        The address of a local stack holds its secret access key: who has it may use the stack.

        Raises:
            NoCredentials: This stack was attached to, and boto3's chain has no credentials.
        """
        if self.endpoint_url is None:
            return None
        url = f"ws{self.endpoint_url.removeprefix('http')}/mqtt"
        if self._process is None and self._other is None:
            return url
        return f"{url}/{quote(self._aws.secret_access_key(), safe='')}"

    async def wait_died(self) -> LocalStackError:
        """Wait until the local stack's process has died, and return why; a stack on AWS never does."""
        while self._process is None or (why := await asyncio.to_thread(self._process.why_dead)) is None:
            await asyncio.sleep(_WATCH)
        return why

    # -- Closing ------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except Exception as left_behind:
            if exc is None:
                raise
            exc.add_note(str(left_behind))  # the body's own error goes first

    async def close(self) -> None:
        """Close its charge points, delete what this object created, newest first, and stop a local stack it started.

        Closing twice is harmless. Everything is tried before anything is raised.

        Raises:
            AwsError: Something could not be deleted; the message names it, so that it can be by hand.
            Exception: What one of its charge points or monitors raised when it was closed; the log has all of them.
        """
        if self._closing is None:
            self._closed = True
            process = self._leave()  # at once: a cell that opens one meanwhile gets another
            self._closing = asyncio.create_task(self._close(process), name=f"cpsim[{self.name}].close")
        elif self._closing.done():
            return
        await asyncio.shield(self._closing)  # whoever closes it meanwhile returns once it is closed

    def _leave(self) -> LocalProcess | None:
        """Be found by nobody any more; the process that is to be stopped, where no other event loop uses it."""
        for key in [key for key, stack in _attached.items() if stack is self]:
            del _attached[key]
        if self._process is None:
            return None
        users = [stack for stack in _stacks.pop(self._process, []) if stack is not self and not stack._loop.is_closed()]
        if users:
            _stacks[self._process] = users
            return None
        self._process.retire()
        return self._process

    async def _close(self, process: LocalProcess | None) -> None:
        try:
            open_ones: list[Any] = [*self._charge_points, *self._monitors, *self._watches, self._caller]
            ends = await asyncio.gather(*(one.close() for one in open_ones), return_exceptions=True)
            left_behind = await self._delete_created()
        finally:
            self._aws.close()
            if process is not None:
                await asyncio.to_thread(process.stop)
        faults = [end for end in ends if isinstance(end, Exception)]
        for one, end in zip(open_ones, ends, strict=True):
            if isinstance(end, Exception):
                logger.warning("%r did not close in good order: %r", one, end)
        if faults and not left_behind:
            raise faults[0]
        if left_behind:
            raise AwsError(f"{self.name}: could not delete {'; '.join(left_behind)}", verb="close")

    def _remember(self, what: str, delete: Callable[[], Awaitable[None]]) -> None:
        self._created.append((what, delete))

    async def _delete_created(self) -> list[str]:
        left_behind = []
        while self._created:
            what, delete = self._created.pop()
            if self._process is not None and not self._process.is_running:
                continue  # it went with the process
            try:
                await delete()
            except Exception as exc:  # noqa: BLE001 - the next one is deleted whatever happened to this one
                logger.warning("could not delete %s: %s", what, exc)
                left_behind.append(f"{what} ({exc})")
        return left_behind


def _let_signals_wake_the_loop() -> None:
    """Let the stop button act at once on a cell that waits.

    ipykernel handles SIGINT itself, and then the event loop sleeps on until something else happens (ipykernel #881).
    A loop that has any signal handler is woken by every signal, so it gets one for a signal that means nothing here.
    """
    with contextlib.suppress(AttributeError, ValueError, RuntimeError, NotImplementedError):  # Windows, or a thread
        if signal.getsignal(signal.SIGWINCH) is signal.SIG_DFL:
            asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, lambda: None)


async def _addresses(name: str, aws: Aws) -> tuple[str, str | None, OtherProcess | None]:
    """The gateway's address, its registry table, and the process of a local one: outputs and resources of a stack."""
    try:
        answer = await aws.call("cloudformation.describe_stacks", StackName=name)
    except NotFound as exc:
        message = (
            f"there is no CloudFormation stack {name} in {aws.region}. "
            "Is the region right (AWS_DEFAULT_REGION, or region=), and the gateway deployed?"
        )
        raise NotFound(message, verb=exc.verb, code=exc.code, kind="stack", name=name) from exc
    [found, *_] = answer.get("Stacks") or [{}]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    if OUTPUT_KEY not in outputs:
        others = ", ".join(sorted(outputs)) or "none"
        message = (
            f"the CloudFormation stack {name} has no output {OUTPUT_KEY} (outputs: {others}); is it the gateway's?"
        )
        raise AwsError(message, verb="cloudformation.describe_stacks")
    resources = await aws.pages("cloudformation.list_stack_resources", "StackResourceSummaries", StackName=name)
    table = next(
        (
            resource["PhysicalResourceId"]
            for resource in resources
            if resource["ResourceType"] == "AWS::DynamoDB::Table"
            and resource["LogicalResourceId"].startswith("ChargePointTable")
        ),
        None,
    )
    return outputs[OUTPUT_KEY], table, OtherProcess.said(outputs.get(PROCESS_KEY, ""))
