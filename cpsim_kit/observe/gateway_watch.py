"""Watches the gateway while charge points use it: how many tasks, how busy. ``stack.watch_gateway``.

On AWS the gateway is an ECS service: its tasks are counted by ECS at each look, its CPU and memory come from
CloudWatch. On the local stack it is one process, together with the CSMS and the AWS services, and that is measured,
also where somebody else started it on this computer: which process it is, the CloudFormation stack says.
The table has the same columns, in this order, wherever it comes from, and without a look too:

=================  ====================  ============================================================================
Column             dtype                 Meaning
=================  ====================  ============================================================================
seen_at            datetime64[ns, UTC]   when it was looked at
running_tasks      Int64                 tasks that run; locally 1, and 0 once the process is dead
desired_tasks      Int64                 tasks that there ought to be, as auto scaling has decided by then; locally 1
cpu_percent        float64               ECS: of the CPU that the tasks have reserved, average of the look's minute;
                                         locally: of one core, average since the look before
memory_percent     float64               ECS: of the memory that the tasks have reserved, average of the look's minute;
                                         locally: of this computer's memory
memory_mib         float64               locally: resident memory in MiB; NaN of ECS, which says percent only
source             category              "ecs" or "process": which of the two meanings holds
=================  ====================  ============================================================================

CloudWatch has one value a minute, and has it one to three minutes late: until then the last rows have NaN, and the
values are filled in at the rows of *their* minute, not at those of the minute in which they became known. So
``cpu_percent`` stands beside the tasks and the load that it is of. What was missing at the end of the block is fetched
by :meth:`GatewayWatch.refresh`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from cpsim_kit.aws import Aws
from cpsim_kit.basics.cards import card
from cpsim_kit.basics.clock import epoch, notice_step
from cpsim_kit.basics.tables import table
from cpsim_kit.errors import AwsError, CpsimError, LocalStackError, NotFound
from cpsim_kit.local.launcher import LocalProcess, OtherProcess

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from cpsim_kit.fleet import FleetResult

__all__ = ["COLUMNS", "EcsService", "GatewayWatch", "LocalGateway"]

COLUMNS = (
    "seen_at",
    "running_tasks",
    "desired_tasks",
    "cpu_percent",
    "memory_percent",
    "memory_mib",
    "source",
)

logger = logging.getLogger("cpsim.watch")

_MINUTE = 60  # seconds: the period of the metrics that ECS publishes without extra cost
_METRICS = {"cpu": "CPUUtilization", "memory": "MemoryUtilization"}
_UNKNOWN = (math.nan, math.nan, math.nan)

Tasks = tuple[int | None, int | None]  # running, desired


class _Source(Protocol):
    """What is watched. Times are seconds since the epoch."""

    kind: str

    @property
    def name(self) -> str: ...

    async def find(self) -> None:
        """Find out what there is to look at."""

    async def tasks(self) -> Tasks:
        """How many run, and how many ought to."""

    async def measure(self, since: float, at: float) -> None:
        """Take note of CPU and memory from ``since`` to ``at``."""

    def usage(self, at: float) -> tuple[float, float, float]:
        """``cpu_percent``, ``memory_percent`` and ``memory_mib`` of a look, as far as known by now."""


class EcsService:
    """The ECS service of a CloudFormation stack.

    Args:
        aws: Where the stack is.
        stack_name: The CloudFormation stack.
        service: The service's name or logical id, where the stack has several.
    """

    kind = "ecs"

    def __init__(self, aws: Aws, stack_name: str, service: str | None = None) -> None:
        self._aws = aws
        self._stack_name = stack_name
        self._wanted = service
        self._cluster: str | None = None  # name or ARN; None is ECS's default one
        self._service = ""  # name or ARN
        self._dimensions: list[dict[str, str]] = []
        self._values: dict[str, dict[int, float]] = {key: {} for key in _METRICS}  # by the minute's begin

    @property
    def name(self) -> str:
        """Cluster and service."""
        return "/".join(each["Value"] for each in self._dimensions) or f"of {self._stack_name}"

    async def find(self) -> None:
        """Find service and cluster among the stack's resources.

        Raises:
            NotFound: The stack has no such service.
            AwsError: It has several, or AWS refused.
        """
        verb = "cloudformation.list_stack_resources"
        listed = await self._aws.pages(verb, "StackResourceSummaries", StackName=self._stack_name)
        resources = [each for each in listed if each.get("PhysicalResourceId")]
        services = [each for each in resources if each["ResourceType"] == "AWS::ECS::Service"]
        known = ", ".join(each["LogicalResourceId"] for each in services) or "none"
        if self._wanted is not None:
            services = [each for each in services if self._wanted in _names(each)]
        if not services:
            which = "ECS service" if self._wanted is None else f"ECS service {self._wanted} (services: {known})"
            message = f"the CloudFormation stack {self._stack_name} has no {which}: " + self._looked_for(resources)
            raise NotFound(message, verb=verb, kind="ECS service", name=self._wanted or "")
        if len(services) > 1:
            message = (
                f"the CloudFormation stack {self._stack_name} has several ECS services: {known}. "
                "Say which is the gateway: stack.watch_gateway(service=…)"
            )
            raise AwsError(message, verb=verb)
        self._service = services[0]["PhysicalResourceId"]
        path = self._service.partition(":service/")[2].split("/")  # of an ARN: cluster and name, or the name alone
        clusters = [each["PhysicalResourceId"] for each in resources if each["ResourceType"] == "AWS::ECS::Cluster"]
        self._cluster = path[0] if len(path) > 1 else next(iter(clusters), None)

    def _looked_for(self, resources: list[dict[str, Any]]) -> str:
        said = f"no AWS::ECS::Service among its {len(resources)} resources; nested stacks are not looked through"
        if self._aws.endpoint_url is not None:
            said += (
                ". A local stack says in an output which process it is, and this stack has no such output: was it "
                "started by an older cpsim_kit? Start it again: cpsim stack, or Stack.local()"
            )
        return said

    async def tasks(self) -> Tasks:
        """As ECS counts them.

        Raises:
            NotFound: The service is gone.
            AwsError: AWS refused.
        """
        verb = "ecs.describe_services"
        where = {} if self._cluster is None else {"cluster": self._cluster}
        answer = await self._aws.call("ecs.describe_services", services=[self._service], **where)
        active = [each for each in answer.get("services", []) if each["status"] != "INACTIVE"]
        if not active:
            why = ", ".join(failure.get("reason", "") for failure in answer.get("failures", [])) or "INACTIVE"
            message = f"{verb}: there is no ECS service {self._service}: {why}"
            raise NotFound(message, verb=verb, code=why, kind="ECS service", name=self._service)
        [found, *_] = active
        self._dimensions = [
            {"Name": "ClusterName", "Value": found["clusterArn"].rsplit("/", 1)[-1]},
            {"Name": "ServiceName", "Value": found["serviceName"]},
        ]
        return found["runningCount"], found["desiredCount"]

    async def measure(self, since: float, at: float) -> None:
        """Ask CloudWatch for all minutes of the watch: late values come, and that of the running minute changes.

        Raises:
            AwsError: AWS refused.
        """
        results = await self._aws.pages(
            "cloudwatch.get_metric_data",
            "MetricDataResults",
            MetricDataQueries=[
                {
                    "Id": key,
                    "MetricStat": {
                        "Metric": {"Namespace": "AWS/ECS", "MetricName": metric, "Dimensions": self._dimensions},
                        "Period": _MINUTE,
                        "Stat": "Average",
                    },
                }
                for key, metric in _METRICS.items()
            ],
            StartTime=datetime.fromtimestamp(_minute(since), UTC),
            EndTime=datetime.fromtimestamp(_minute(at), UTC) + timedelta(seconds=_MINUTE),
        )
        for result in results:
            minutes = (_minute(moment.timestamp()) for moment in result["Timestamps"])
            self._values[result["Id"]].update(zip(minutes, result["Values"], strict=True))

    def usage(self, at: float) -> tuple[float, float, float]:
        """The averages of the minute of a look; NaN until CloudWatch has them."""
        cpu, memory = (self._values[key].get(_minute(at), math.nan) for key in _METRICS)
        return cpu, memory, math.nan


class LocalGateway:
    """The process of a local stack: gateway, CSMS and AWS services in one.

    Args:
        process: The running process, that of another program included.
    """

    kind = "process"

    def __init__(self, process: LocalProcess | OtherProcess) -> None:
        self._process = process
        self._last: tuple[float, float] | None = None  # when, and CPU seconds by then
        self._looks: dict[float, tuple[float, float, float]] = {}

    @property
    def name(self) -> str:
        """Which process."""
        return f"process {self._process.pid}"

    async def find(self) -> None:
        """Nothing to find: the process is known. CPU of the time before is not counted."""
        self._last = None

    async def tasks(self) -> Tasks:
        """One, while it lives."""
        return int(self._process.is_running), 1

    async def measure(self, since: float, at: float) -> None:
        """CPU since the look before, and memory now; both from the operating system.

        Raises:
            LocalStackError: The process is dead, or on another computer.
        """
        usage = self._process.usage()
        if usage is None:
            self._last = None
            raise await asyncio.to_thread(self._process.why_dead) or LocalStackError("the local stack was stopped")
        now = time.perf_counter()
        cpu = math.nan if self._last is None else 100 * (usage.cpu_s - self._last[1]) / (now - self._last[0])
        self._last = now, usage.cpu_s
        self._looks[at] = cpu, usage.memory_percent, usage.memory_mib

    def usage(self, at: float) -> tuple[float, float, float]:
        """As measured at that look; the first has no CPU, as nothing came before."""
        return self._looks.get(at, _UNKNOWN)


class GatewayWatch:
    """Looks at the gateway now and then, from the moment it is entered; made by ``stack.watch_gateway``.

        async with stack.watch_gateway(every=10) as watch:
            result = await fleet.run(duration=600)
        watch.plot(result)

    A look that fails ends nothing: its row lacks what could not be seen, the error is in :attr:`error`, and the log
    says it once, until a look succeeds again.

    Args:
        source: What to look at.
        every: Seconds between two looks. A look that takes longer is followed by the next one that is due.

    Attributes:
        error: The error of the last look that failed; None when none did.
        failed: How many looks failed.

    Raises:
        ValueError: ``every`` is no time above 0.
    """

    def __init__(self, source: _Source, *, every: float = 10) -> None:
        if not 0 < every < math.inf:
            raise ValueError(f"every is more than 0 seconds, and not for ever; not {every!r}")
        self.every = every
        self.error: CpsimError | None = None
        self.failed = 0
        self._source = source
        self._looks: list[tuple[float, int | None, int | None]] = []  # seconds since the epoch, running, desired
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<GatewayWatch {self._source.name} {', '.join([self._state, *self._last()])}>"

    def _repr_html_(self) -> str:
        rows = {
            "gateway": f"{'ECS service' if self._source.kind == 'ecs' else 'local'} {self._source.name}",
            "looks": f"{len(self)}, every {self.every:g} s",
            "last": ", ".join(self._last()[1:]),
            "failed looks": self.failed or None,
            "last error": self.error,
            "table": ".to_frame()",
        }
        return card("GatewayWatch", self._state, rows)

    def __len__(self) -> int:
        return len(self._looks)

    @property
    def _state(self) -> str:
        return "open" if self._task is not None else "closed" if self._looks else "not open"

    def _last(self) -> list[str]:
        said = [f"{len(self)} looks"]
        if self._looks:
            at, running, desired = self._looks[-1]
            cpu = self._source.usage(at)[0]
            said += ["no answer"] if running is None else [f"{running} of {desired} tasks"]
            said += [] if math.isnan(cpu) else [f"{cpu:.0f} % CPU"]
        return said

    async def __aenter__(self) -> Self:
        """Look for the first time, and begin to look now and then.

        Raises:
            NotFound: The CloudFormation stack has no ECS service.
            AwsError: AWS refused to say; which permission is missing stands in the message.
            LocalStackError: The local stack is dead, or runs on another computer.
        """
        if self._task is not None:
            raise RuntimeError("this watch is open already; make another: stack.watch_gateway()")
        await self._source.find()
        began = time.perf_counter()
        if error := await self._look():
            raise error
        self._task = asyncio.create_task(self._watch(began), name="cpsim[gateway].watch")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Look no more; what was seen stays. Closing twice is harmless."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    async def refresh(self) -> None:
        """Fetch what CloudWatch has meanwhile of the CPU and memory of all rows; locally there is nothing to fetch.

        To be called some three minutes after the end of a watch, as the last minutes come late.

        Raises:
            AwsError: AWS refused.
        """
        if self._looks and self._source.kind == "ecs":
            await self._source.measure(self._looks[0][0], self._looks[-1][0])

    def to_frame(self) -> pd.DataFrame:
        """One row per look, in the columns that ``observe.gateway_watch`` explains; also while it goes on."""
        kind = self._source.kind
        rows = [
            (datetime.fromtimestamp(at, UTC), running, desired, *self._source.usage(at), kind)
            for at, running, desired in self._looks
        ]
        return table(rows, COLUMNS)

    def plot(self, result: FleetResult | None = None, *, ax: Sequence[Axes] | None = None) -> Sequence[Axes]:
        """Tasks, CPU and memory over time; with a fleet's result, tasks over its charge points: ``plots.gateway``."""
        from cpsim_kit import plots  # noqa: PLC0415 - matplotlib, that a load generator need not import

        if result is None:
            return plots.gateway(self.to_frame(), ax=ax)
        return plots.gateway(self.to_frame(), result.samples, result.started_at, ax=ax)

    async def _watch(self, began: float) -> None:
        failing = False
        turn = 0
        while True:
            passed = time.perf_counter() - began
            turn = max(turn + 1, math.ceil(passed / self.every))
            await asyncio.sleep(turn * self.every - passed)
            error = await self._look()
            if error is not None:
                self.error = error.with_traceback(None)  # whose frames would stay alive as long as the error
                self.failed += 1
                if not failing:
                    logger.warning("a look at the gateway (%s) failed, watching goes on: %s", self._source.name, error)
            elif failing:
                logger.info("the gateway (%s) can be looked at again", self._source.name)
            failing = error is not None

    async def _look(self) -> CpsimError | None:
        """Add a row; returns what went wrong. Tasks are kept also where CPU and memory cannot be had."""
        error: CpsimError | None = None
        notice_step()
        at = epoch(time.perf_counter())
        since = self._looks[0][0] if self._looks else at
        tasks: Tasks = None, None
        try:
            tasks = await self._source.tasks()
            await self._source.measure(since, at)
        except CpsimError as exc:
            error = exc
        self._looks.append((at, *tasks))
        return error


def _minute(at: float) -> int:
    return int(at // _MINUTE) * _MINUTE


def _names(resource: dict[str, Any]) -> set[str]:
    """What a reader may call a resource."""
    physical = resource["PhysicalResourceId"]
    return {resource["LogicalResourceId"], physical, physical.rsplit("/", 1)[-1]}
