"""Opens a stack: the embedded local one, or a deployed AWS OCPP Gateway, by one code path.

``Stack.local()`` starts a process and then attaches to it as ``Stack.aws()`` attaches to AWS. What a stack gives
wherever it runs is in ``aws.attached_stack``; here is what depends on the local stack's process, and on all packages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cpsim_kit.aws import Aws
from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.aws.answers import Answers
from cpsim_kit.aws.attached_stack import AttachedStack
from cpsim_kit.aws.deployment import MESSAGES_RULE, Deployment, find_deployment
from cpsim_kit.aws.ecs import EcsService
from cpsim_kit.aws.open_stacks import Opening, OpenStacks
from cpsim_kit.aws.rules import RULE_PAYLOAD
from cpsim_kit.basics.waiting import to_its_end, waiting
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.errors import LocalStackError
from cpsim_kit.local.launcher import CSMS, LocalOptions, LocalProcess
from cpsim_kit.local.template import PROCESS_KEY
from cpsim_kit.local.usage import OtherProcess
from cpsim_kit.notebook import let_signals_wake_the_loop
from cpsim_kit.observe.gateway_watch import GatewayWatch, LocalGateway
from cpsim_kit.observe.support_matrix import support_matrix
from cpsim_kit.observe.trace import Trace
from cpsim_kit.ocpp_j.versions import CHARGE_POINT_ACTIONS, Version

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Stack"]

logger = logging.getLogger("cpsim.stack")

_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,127}")  # CreateStack, StackName
_WATCH = 0.2  # seconds between two looks at the process

# By the process of a local stack, or by the name and the variables that decide which stack Stack.open() opens.
_open: OpenStacks[Stack] = OpenStacks()
_starting: Counter[LocalOptions] = Counter()  # how many open one with these options at this moment
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


class Stack(AttachedStack):
    """An AWS OCPP Gateway: its addresses, its Things, its shadows; it makes charge points.

    Made by :meth:`open`, :meth:`local` or :meth:`aws`, each awaited or entered. Once closed, it only shows what it was:
    everything else raises RuntimeError.

    Attributes:
        name: The CloudFormation stack's name.
        region: The AWS region.
        websocket_url: Where charge points connect, without a trailing slash.
        endpoint_url: Where boto3 connects; None on AWS.
        things: Creates, lists and deletes Things.
    """

    def __init__(self, aws: Aws, deployment: Deployment, process: LocalProcess | None) -> None:
        super().__init__(aws, deployment, None if process is None else process.why_dead)
        self._process = process
        # The process of a local stack that another program started:
        self._other = None if process is not None else OtherProcess.parse(deployment.outputs.get(PROCESS_KEY, ""))
        self._stops: LocalProcess | None = None  # what ends with this stack
        self._answering: list[Answers] = []  # at most one

    def __repr__(self) -> str:
        where = "AWS" if self._process is None and self._other is None else "local"
        state = " closed" if self._closed else " died" if self._has_died else ""
        return f"<Stack {self.name} {where} {self.region} {self.websocket_url}{state}>"

    @property
    def _state(self) -> str:
        if self._closed:
            return "closed"
        if self._process is not None:
            return "local, its process has died" if self._has_died else "local, on this computer"
        return "deployed on AWS" if self._other is None else "local, started elsewhere"

    @property
    def _has_died(self) -> bool:
        return self._process is not None and not self._process.is_running

    @property
    def is_local(self) -> bool:
        """Whether this process started it; on any other stack, things may cost money or disturb somebody."""
        return self._process is not None

    # -- Opening ------------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, *, csms: str = "kit") -> Opening[Stack]:
        """The stack that CPSIM_STACK names: unset or "local" the local stack, else a deployed CloudFormation stack.

        Calling it again returns the stack that is open already, with what it created, also for a deployed one.
        Raises as :meth:`local` and :meth:`aws` do.

        Args:
            csms: The CSMS of a local stack, as :meth:`local` takes it; a deployed stack has its own.
        """
        name = os.environ.get("CPSIM_STACK", "").strip()
        if name in {"", "local"}:
            opening = cls.local(csms=csms)
            opening._made_by = "Stack.open()"
            return opening

        async def attach() -> Stack:
            key = (name, *map(os.environ.get, _DECIDING))
            if (found := _open.find(key)) is None:
                attached = await cls.aws(name)
                found = _open.find_or_add(key, attached)
                if found is not attached:  # two cells that open at once get one stack
                    attached._aws.close()
            return found

        return Opening[Stack]("Stack.open()", attach)

    @classmethod
    def local(
        cls, *, interval: int = 10, csms: str = "kit", name: str = "AwsOcppGatewayStack", region: str = "us-east-1"
    ) -> Opening[Stack]:
        """Start the embedded stack: no AWS account, no Docker, everything on 127.0.0.1.

        Calling it again with the same arguments returns the running stack. It ends with :meth:`close`, or with this
        Python process.

        Args:
            interval: Seconds between heartbeats that its CSMS instructs.
            csms: "kit" answers every action of a charge point, knows tokens and keeps a ledger of transactions, and in
                OCPP 2.0.1 answers the sample's three actions also where a payload breaks its schema; "lambda" runs the
                same message processor as a Lambda function behind a topic rule and a queue, as the AWS sample does:
                slower, with duplicates and dead letters, and replaced by :meth:`message_processor`; "strict" refuses
                every payload that breaks its schema; "sample" has the AWS sample's quirks, and neither table.
            name: The CloudFormation stack's name: a letter, then letters, digits and hyphens, at most 128.
            region: The AWS region it claims to be in.

        Raises:
            ValueError: An argument is out of range.
            LocalStackError: It did not start; the message carries the end of its log.
        """
        if interval < 1 or interval != int(interval):
            raise ValueError(f"interval is a whole number of seconds, at least 1, not {interval!r}")
        if csms not in CSMS:
            raise ValueError(f"csms is {', '.join(map(repr, CSMS[:-1]))} or {CSMS[-1]!r}, not {csms!r}")
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ValueError(f"{name!r} cannot be the name of a stack: CloudFormation allows {_NAME.pattern}")
        options = LocalOptions(name=name, region=region, interval=int(interval), csms=csms)
        return Opening[Stack]("Stack.local()", lambda: cls._open_local(options))

    @classmethod
    def aws(
        cls, name: str, *, region: str | None = None, profile: str | None = None, endpoint_url: str | None = None
    ) -> Opening[Stack]:
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

        return Opening[Stack](f"Stack.aws({name!r})", attach)

    @classmethod
    async def _open_local(cls, options: LocalOptions) -> Stack:
        """Start or find it; where this fails or is interrupted, its process ends, unless somebody else has it."""
        _starting[options] += 1
        start = asyncio.create_task(asyncio.to_thread(LocalProcess.shared, options), name="cpsim[stack].start")
        try:
            async with waiting("the local stack starts"):
                process, _ = await asyncio.gather(
                    asyncio.shield(start),
                    asyncio.to_thread(Version.get("2.0.1").load),  # it takes a second, too
                )
            return await cls._attach_local(options, process)
        except BaseException:
            [started] = await asyncio.gather(start, return_exceptions=True)  # its thread goes on when this is cancelled
            if isinstance(started, LocalProcess) and started not in _open and _starting[options] == 1:
                await asyncio.to_thread(started.stop)
            raise
        finally:
            _starting[options] -= 1

    @classmethod
    async def _attach_local(cls, options: LocalOptions, process: LocalProcess) -> Stack:
        if (found := _open.find(process)) is not None:
            return found
        aws = await asyncio.to_thread(
            Aws,
            region=options.region,
            endpoint_url=process.endpoint_url,
            access_key=process.key,
            explain=process.why_dead,
        )
        stack = await cls._attach(options.name, aws, process)
        found = _open.find_or_add(process, stack)
        if found is not stack:  # two cells that open at once get one stack
            aws.close()
        return found

    @classmethod
    async def _attach(cls, name: str, aws: Aws, process: LocalProcess | None) -> Stack:
        """The same for AWS and the local stack; closes ``aws`` where it fails."""
        try:
            deployment = await find_deployment(aws, name)
        except BaseException:
            aws.close()
            raise
        let_signals_wake_the_loop()
        return cls(aws, deployment, process)

    # -- What answers in its place -------------------------------------------------------------------------------------

    def answer_with(self, handler: Any) -> Answers:
        """Answer charge points by a function or class of yours, in the place of the local stack's CSMS; entered.

            async def handler(charge_point_id, action, payload):
                return {"currentTime": "2026-11-27T10:00:00Z"}

            async with stack.answer_with(handler) as answers:
                await cp.heartbeat()

        The stack's own CSMS is silent inside the block. It takes over again at its end, also if the cell is
        interrupted, and answers what is unanswered then, unless it is a Lambda function (``csms="lambda"``); handlers
        that are at work are cancelled. A kernel that is killed ends the whole stack, and nobody answers. The own CSMS
        writes to the tables of tokens and transactions, and reports a boot to the Device Shadow; your handler does that
        only if you say so:
        ``await stack.publish(f"$aws/things/{id}/shadow/update", {"state": {"reported": payload}})``.

        The CALLs of one charge point are handled in order, and a slow handler does not delay other charge points. An
        exception becomes CALLERROR InternalError; its traceback is logged, which a cell shows, and kept in
        ``answers.errors``. To send another CALLERROR, raise NotImplementedError or an error of ``ocpp.exceptions``.

        Args:
            handler: One of these:

                - A function, with or without ``async``, that takes the charge point's id, the action and the payload, a
                  dict as it came, and returns the answer's payload as a dict. An answer that breaks the schema is sent,
                  with a warning in the log.
                - A class with ``@on`` methods of ``ocpp.routing``, and ``@after``. It is called once for each charge
                  point, with as many of these as it takes: the id, and the connection that ``ocpp.v201.ChargePoint``
                  needs to ``call``. As in the ocpp package, payloads that break the schema are refused, also of the
                  answer, unless ``skip_schema_validation`` is set; an action without a method gets CALLERROR
                  NotImplemented.
                - An object of such a class, which answers all charge points.

        Raises:
            TypeError: The handler is none of these, or takes other arguments.
            RuntimeError: This stack is not local: there, a message processor is deployed. Or another handler answers;
                also raised when it is entered.
        """
        self._require_open()
        if not self.is_local:
            raise RuntimeError(
                "answer_with works on a local stack that this process started; on any other one, deploy your code as "
                'the message processor: async with stack.message_processor("processor.py")'
            )
        rule = self._deployment.rule(MESSAGES_RULE)
        silence = None if rule is None else self._without_rule(rule)
        answers = Answers(self._aws.mqtt_endpoint, handler, others=self._answering, silence=silence)
        answers.require_alone()
        self._watching.add(answers)
        return answers

    @contextlib.asynccontextmanager
    async def _without_rule(self, name: str) -> AsyncIterator[None]:
        """Disable the topic rule by which messages reach the CSMS, where that is a Lambda function.

        It is as before again also if this is cancelled while the rule is replaced.
        """
        rule = (await self._aws.call("iot.get_topic_rule", ruleName=name))["rule"]
        former = {key: rule[key] for key in RULE_PAYLOAD if key in rule}

        async def replace(payload: dict[str, Any]) -> None:
            call = self._aws.call("iot.replace_topic_rule", ruleName=name, topicRulePayload=payload)
            await to_its_end(call, f"cpsim[{self.name}].rule")

        try:
            await replace(former | {"ruleDisabled": True})
            yield
        finally:
            await replace(former)

    # -- What looks at it ---------------------------------------------------------------------------------------------

    def watch_gateway(self, *, every: float = 10, service: str | None = None) -> GatewayWatch:
        """Look at the gateway's tasks, CPU and memory at intervals; entered, while a fleet runs.

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
                has none: there it is ignored, with a warning in the log.

        Raises:
            ValueError: ``every`` is not a number above 0.
        """
        self._require_open()
        process = self._process or self._other
        if process is not None and service is not None:
            logger.warning(
                "watch_gateway(service=%r): a local stack has no ECS services; its process is watched", service
            )
        source = EcsService(self._aws, self.name, service) if process is None else LocalGateway(process)
        watch = GatewayWatch(source, every=every)
        self._watching.add(watch)
        return watch

    def trace(self, charge_point: ChargePoint) -> Trace:
        """Follow the exchanges of a charge point hop by hop.

            async with stack.trace(cp) as trace:
                await cp.boot()
            trace.to_frame()

        Args:
            charge_point: One that talks to this stack's gateway; what it sends inside the block is followed.

        Raises:
            TypeError: That is not a charge point, but e.g. its id, which does not say when messages were sent.
        """
        self._require_open()
        if not isinstance(charge_point, ChargePoint):
            raise TypeError(
                f"stack.trace() takes a ChargePoint, as stack.charge_point() makes it, not {charge_point!r}"
            )
        name = charge_point.id
        topics = (f"{name}/in", f"{name}/out", f"$aws/things/{name}/shadow/update/documents")
        return Trace(self.monitor(*topics), charge_point)

    async def support_matrix(
        self,
        *,
        version: str = "2.0.1",
        charge_point_id: str = "CPSIM-SUPPORT",
        timeout: float = 5,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Send each action of a charge point once, and return what the CSMS behind this gateway answers.

        Creates the Thing where it is not there, and deletes it afterwards. Takes some seconds on AWS, and a few hundred
        messages.

        Args:
            version: "1.6" or "2.0.1".
            charge_point_id: The charge point that asks; its Device Shadow will show the boot.
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

    def log(self, lines: int = 20) -> str:
        """The last lines of the local stack's log; on AWS, a sentence that says where to look."""
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

        The address of a local stack contains its secret access key: whoever has the address may use the stack.

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

    def _leave(self) -> None:
        is_shared = _open.remove(self)
        if self._process is not None and not is_shared:
            self._process.retire()
            self._stops = self._process

    async def _end(self) -> None:
        if self._stops is not None:
            await asyncio.to_thread(self._stops.stop)
