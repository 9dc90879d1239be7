"""Watches the gateway while charge points use it: how many tasks, how busy. ``stack.watch_gateway``.

On AWS the gateway is an ECS service (``aws.ecs``): ECS counts its tasks at each look, and CloudWatch has its CPU and
memory. On the local stack, gateway, CSMS and AWS services are one process, which is measured, also where another
program on this computer started it: the CloudFormation stack says which process it is.
The table always has the same columns, in this order, also when it is empty:

=================  ====================  ============================================================================
Column             dtype                 Meaning
=================  ====================  ============================================================================
seen_at            datetime64[ns, UTC]   when it was looked at
running_tasks      Int64                 tasks that run; locally 1, and 0 once the process is dead
desired_tasks      Int64                 tasks that auto scaling wanted by then; locally 1
cpu_percent        float64               ECS: of the CPU that the tasks have reserved, average of the look's minute;
                                         locally: of one core, average since the look before
memory_percent     float64               ECS: of the memory that the tasks have reserved, average of the look's minute;
                                         locally: of this computer's memory
memory_mib         float64               locally: resident memory in MiB; NaN of ECS, which says percent only
source             category              "ecs" or "process": which of the two meanings holds
=================  ====================  ============================================================================

CloudWatch has one value a minute, one to three minutes late. Until then the last rows have NaN; a value is then filled
in at the rows of *its* minute, so that ``cpu_percent`` stands beside the tasks and the load of the same time.
:meth:`GatewayWatch.refresh` fetches the values that were missing at the end of the block.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, Self

from cpsim_kit.basics.cards import card
from cpsim_kit.basics.clock import epoch, notice_step
from cpsim_kit.basics.tables import table
from cpsim_kit.errors import CpsimError, LocalStackError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from cpsim_kit.fleet import FleetResult

__all__ = ["COLUMNS", "GatewayWatch", "LocalGateway"]

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

_UNKNOWN = (math.nan, math.nan, math.nan)

Tasks = tuple[int | None, int | None]  # running, desired


class _Source(Protocol):
    """What is watched. Times are seconds since the epoch."""

    kind: str

    @property
    def name(self) -> str: ...

    async def find(self) -> None:
        """Find what to look at."""

    async def tasks(self) -> Tasks:
        """How many tasks run, and how many should run."""

    async def measure(self, since: float, at: float) -> None:
        """Measure CPU and memory from ``since`` to ``at``, and keep the values."""

    def usage(self, at: float) -> tuple[float, float, float]:
        """``cpu_percent``, ``memory_percent`` and ``memory_mib`` of a look; NaN for what is not known yet."""


class _Usage(Protocol):
    @property
    def cpu_s(self) -> float: ...

    @property
    def memory_mib(self) -> float: ...

    @property
    def memory_percent(self) -> float: ...


class _Process(Protocol):
    """What is needed of a local stack's process; see ``local.launcher`` and ``local.usage``."""

    pid: int

    @property
    def is_running(self) -> bool: ...

    def usage(self) -> _Usage | None: ...

    def why_dead(self) -> LocalStackError | None: ...


class LocalGateway:
    """The process of a local stack: gateway, CSMS and AWS services in one.

    Args:
        process: The running process, that of another program included.
    """

    kind = "process"

    def __init__(self, process: _Process) -> None:
        self._process = process
        self._last: tuple[float, float] | None = None  # when, and CPU seconds by then
        self._samples: dict[float, tuple[float, float, float]] = {}

    @property
    def name(self) -> str:
        """Which process."""
        return f"process {self._process.pid}"

    async def find(self) -> None:
        """The process is known already. Its CPU seconds until now do not count."""
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
        self._samples[at] = cpu, usage.memory_percent, usage.memory_mib

    def usage(self, at: float) -> tuple[float, float, float]:
        """As measured at that look; the first has no CPU, as nothing came before."""
        return self._samples.get(at, _UNKNOWN)


class GatewayWatch:
    """Looks at the gateway at intervals, from the moment it is entered; made by ``stack.watch_gateway``.

        async with stack.watch_gateway(every=10) as watch:
            result = await fleet.run(duration=600)
        watch.plot(result)

    After a look that fails, watching goes on: its row lacks what could not be read, the error is in :attr:`error`, and
    the log has the first of several such errors in a row.

    Args:
        source: What to look at.
        every: Seconds between two looks. Looks that are due while another one still runs are left out.

    Attributes:
        error: The error of the last look that failed; None when none did.
        failed: How many looks failed.

    Raises:
        ValueError: ``every`` is not a number above 0.
    """

    def __init__(self, source: _Source, *, every: float = 10) -> None:
        if not 0 < every < math.inf:
            raise ValueError(f"every is more than 0 seconds, and not infinite; not {every!r}")
        self.every = every
        self.error: CpsimError | None = None
        self.failed = 0
        self._source = source
        self._samples: list[tuple[float, int | None, int | None]] = []  # seconds since the epoch, running, desired
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
        return len(self._samples)

    @property
    def _state(self) -> str:
        return "open" if self._task is not None else "closed" if self._samples else "not open"

    def _last(self) -> list[str]:
        words = [f"{len(self)} looks"]
        if self._samples:
            at, running, desired = self._samples[-1]
            cpu = self._source.usage(at)[0]
            words += ["no answer"] if running is None else [f"{running} of {desired} tasks"]
            words += [] if math.isnan(cpu) else [f"{cpu:.0f} % CPU"]
        return words

    async def __aenter__(self) -> Self:
        """Look for the first time, and start to look at intervals.

        Raises:
            NotFound: The CloudFormation stack has no ECS service.
            AwsError: AWS refused; the message says which permission is missing.
            LocalStackError: The local stack is dead, or runs on another computer.
        """
        if self._task is not None:
            raise RuntimeError("this watch is open already; make another: stack.watch_gateway()")
        await self._source.find()
        began = time.perf_counter()
        if error := await self._measure():
            raise error
        self._task = asyncio.create_task(self._watch(began), name="cpsim[gateway].watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop looking; the table stays. Closing twice is harmless."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    async def refresh(self) -> None:
        """Fetch CPU and memory of all rows from CloudWatch once more; for a local stack this does nothing.

        Call it some three minutes after the end of a watch: CloudWatch has the last values that late.

        Raises:
            AwsError: AWS refused.
        """
        if self._samples and self._source.kind == "ecs":
            await self._source.measure(self._samples[0][0], self._samples[-1][0])

    def to_frame(self) -> pd.DataFrame:
        """One row per look, in the columns that ``observe.gateway_watch`` explains; also while it is open."""
        kind = self._source.kind
        rows = [
            (datetime.fromtimestamp(at, UTC), running, desired, *self._source.usage(at), kind)
            for at, running, desired in self._samples
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
            error = await self._measure()
            if error is not None:
                self.error = error.with_traceback(None)  # its frames would live as long as the error
                self.failed += 1
                if not failing:
                    logger.warning("a look at the gateway (%s) failed, watching goes on: %s", self._source.name, error)
            elif failing:
                logger.info("the gateway (%s) can be looked at again", self._source.name)
            failing = error is not None

    async def _measure(self) -> CpsimError | None:
        """Add a row, and return the error if there was one. Tasks are kept also where CPU and memory fail."""
        error: CpsimError | None = None
        notice_step()
        at = epoch(time.perf_counter())
        since = self._samples[0][0] if self._samples else at
        tasks: Tasks = None, None
        try:
            tasks = await self._source.tasks()
            await self._source.measure(since, at)
        except CpsimError as exc:
            error = exc
        self._samples.append((at, *tasks))
        return error
