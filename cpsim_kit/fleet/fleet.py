"""Many charge points at once: ``result = await Fleet(stack, size=1000).run(duration=30)``.

A fleet makes the plan, lets its shares run it in this process or in others, and joins their reports into one result. It
knows no AWS: its target gives it an address, and creates the Things.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Literal, Protocol

from tqdm.auto import tqdm

from cpsim_kit.basics.clock import epoch, notice_step
from cpsim_kit.basics.waiting import together
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.charge_point.backoff import Backoff
from cpsim_kit.errors import CpsimError, FleetError
from cpsim_kit.fleet.arguments import check_charging, check_duration, check_kinds, check_options, check_values
from cpsim_kit.fleet.arrivals import Arrivals
from cpsim_kit.fleet.charging import Charging, Drive, Options
from cpsim_kit.fleet.dask import ClusterShare, worker_addresses
from cpsim_kit.fleet.plan import Plan, Scenario, start_times
from cpsim_kit.fleet.processes import LocalShare, ProcessShare
from cpsim_kit.fleet.progress import Progress
from cpsim_kit.fleet.report import ShareLost
from cpsim_kit.fleet.result import FleetResult

__all__ = ["Fleet", "Provisioner", "Target"]

_WORTH_IT = 3.0  # seconds; with less time left, the charge points of a lost share do not start again
_RESTARTS = 3  # of a share: what ended its process, a lack of memory for example, may end the next one too

logger = logging.getLogger("cpsim.fleet")

_AnyShare = LocalShare | ProcessShare | ClusterShare


class Provisioner(Protocol):
    """Creates the Things of charge points."""

    def provisioned(
        self, ids: Sequence[str], /, *, keep: bool, progress: bool
    ) -> AbstractAsyncContextManager[Mapping[str, CpsimError]]:
        """Create the missing Things when entered; delete those it created at the end, unless ``keep``.

        Entering it returns the errors of the ids whose Thing could not be created.
        """


class Target(Protocol):
    """What a fleet needs of a stack."""

    @property
    def websocket_url(self) -> str: ...
    @property
    def things(self) -> Provisioner: ...


class Fleet:
    """Charge points that start one after the other, do the same, and are measured.

        fleet = Fleet(stack, size=1000, prefix="LOAD-", ramp=100, heartbeat_interval=1.0)
        result = await fleet.run(duration=30)
        result.summary()

    Args:
        target: A stack, or the CSMS's address; with an address, no Things are created.
        size: How many charge points; not with ``ids``.
        ids: Their ids, instead of ``prefix`` and a number.
        prefix: How their ids begin; a number of at least four digits follows, from 1.
        ramp: Charge points started per second.
        ramp_time: Seconds in which all are started, instead of ``ramp``.
        heartbeat_interval: Seconds between heartbeats; None for the interval that the CSMS instructs.
        burst: All send their heartbeats at the same moments; otherwise each charge point has its own phase, in steps of
            10 ms.
        scenario: What each does once connected, ``async def scenario(cp)``; boot, then heartbeats, when None. All calls
            of the scenario are measured. An error of the kit that leaves the scenario ends this charge point, or starts
            its reconnection. With ``station`` it is what a driver does, ``async def drive(station)`` or
            ``async def drive(station, random)``, with a ``random.Random`` of each driver's own; it runs once the
            station is accepted, for each arrival. An error of the kit ends this drive only: the driver unplugs and
            leaves. When None, sessions of 5 to 20 kWh with tokens "TAG-0001" to "TAG-1000": one at each arrival, or
            without ``arrivals`` one after the other at each EVSE, with up to ten minutes between.
        attributes: A function of an id; it returns more arguments of that ``ChargePoint``, e.g. ``{"model": "AC-22"}``.
        station: Each charge point is a :class:`~cpsim_kit.Station` with these arguments, e.g. ``{"speed": 60}``, or
            with those that a function of an id returns. ``{}`` for the defaults; None for charge points that do only
            what the scenario says. ``record`` is False unless given. Version and transport are the fleet's arguments.
            Heartbeats are sent at the interval that the CSMS instructs.
        arrivals: When drivers arrive at each station: a function of a seeded ``random.Random`` that returns or yields
            the seconds of the station's clock until the first, and from each to the next, e.g.
            ``poisson(per_hour=2)`` of ``cpsim_kit.fleet``. There are at most as many drivers at once as a station has
            EVSEs; a further one waits until one leaves. None: one driver comes at once.
        reconnect: How long to wait before a lost connection is opened again; None: it stays lost. A station keeps its
            connection itself: its waits are these; when None, those of ``{"reconnect": …}`` or of its variables.
        provision: "run" creates the Things before a run and deletes those it created afterwards, also when the run is
            interrupted; "keep" creates and leaves them, also when the stack is closed; None creates none.
        cluster: A ``dask.distributed.Client``: the charge points are spread over its workers, which reach the address.
        seed: The seed of all random times: the same seed gives the same schedule, and the same arrivals and drivers,
            over however many processes. Only the ids of transactions are new in each run, as OCPP wants them; for the
            same ones give each station a seed: ``station=lambda charge_point_id: {"seed": …}``.
        processes: Over how many new processes of this machine the charge points are spread; this process joins their
            reports. With None or 1 they run in this process, beside whatever else a notebook does. When a process dies,
            its charge points start again in a new one, at the same ramp, at most three times, and only if more than
            three seconds are left. The same holds for a worker of a cluster.
        options: Arguments for all of them, as ``ChargePoint`` takes them, e.g. ``version="1.6"``, or
            ``transport=Network(drop=0.1)`` for faults on purpose. ``ssl`` may also be a function that makes the
            context, called once in each process: a context itself cannot go to another one.

    Attributes:
        ids: The ids of the charge points.
        url: The CSMS's address.
        result: The :class:`FleetResult` of the last run, also of one that was interrupted.

    Raises:
        ValueError: Arguments that contradict each other or are out of range.
        TypeError: An argument of the wrong type, or one that neither a fleet nor a ``ChargePoint`` has.
    """

    def __init__(
        self,
        target: Target | str,
        size: int | None = None,
        *,
        ids: Sequence[str] | None = None,
        prefix: str = "LOAD-",
        ramp: float = 100,
        ramp_time: float | None = None,
        heartbeat_interval: float | None = None,
        burst: bool = False,
        scenario: Scenario | Drive | None = None,
        station: Options | None = None,
        arrivals: Arrivals | None = None,
        attributes: Callable[[str], Mapping[str, Any]] | None = None,
        reconnect: Backoff | None = None,
        provision: Literal["run", "keep"] | None = "run",
        seed: int = 0,
        processes: int | None = None,
        cluster: Any = None,
        **options: Any,
    ) -> None:
        check_kinds(
            size=size,
            ids=ids,
            prefix=prefix,
            seed=seed,
            reconnect=reconnect,
            cluster=cluster,
            scenario=scenario if station is None else None,
            attributes=attributes,
        )
        check_options(options, Fleet.__init__)
        ids = None if ids is None else list(ids)
        check_values(
            size=size,
            ids=ids,
            ramp=ramp,
            ramp_time=ramp_time,
            heartbeat_interval=heartbeat_interval,
            provision=provision,
            burst=burst,
            scenario=scenario if station is None else None,
            processes=processes,
            cluster=cluster,
            ssl=options.get("ssl"),
        )
        digits = max(4, len(str(size)))
        numbered = [f"{prefix}{number:0{digits}}" for number in range(1, (size or 0) + 1)]
        self.ids = ids if ids is not None else numbered
        self.url = target if isinstance(target, str) else target.websocket_url
        self.result: FleetResult | None = None
        self._provisioner = None if isinstance(target, str) or provision is None else target.things
        self._keep_things = provision == "keep"
        self._ramp_time = len(self.ids) / ramp if ramp_time is None else ramp_time
        self._plan = Plan(
            self.url,
            start_times(self.ids, self._ramp_time, seed),
            math.inf,
            heartbeat_interval,
            burst,
            scenario,
            attributes,
            reconnect,
            seed,
            options,
            charging=None if station is None else Charging(station, scenario, arrivals, seed, reconnect),
        )
        self._processes = min(processes or 1, len(self.ids))
        self._cluster = cluster
        self._is_running = False
        own = attributes(self.ids[0]) if attributes is not None and station is not None else {}
        # Both raise if they do not like an option.
        first = ChargePoint(self.ids[0], self.url, **{**options, **own, "ssl": None})
        check_charging(
            self._plan.charging,
            first,
            arrivals=arrivals,
            heartbeat_interval=heartbeat_interval,
            burst=burst,
            fleet=Fleet.__init__,
        )

    def __repr__(self) -> str:
        return f"<Fleet {len(self.ids)} charge points {self.ids[0]} … {self.url}>"

    async def run(self, duration: float, *, progress: bool = True) -> FleetResult:
        """Start the charge points, let them work, and close them.

        An interrupted run closes them too; what was measured until then is in :attr:`result`. Sessions that go on when
        the time is over are not stopped: they are rows without an end, and the CSMS does not hear of them any more.

        Args:
            duration: Seconds from the first start to the end, the ramp included.
            progress: Show a line with connected, booted, calls per second, p50, p99 and failures; of stations also with
                the sessions that go on and the power of all.

        Raises:
            RuntimeError: The fleet is running already.
            ValueError: The duration is no number of seconds, or the ramp takes longer; or the scenario, the attributes
                or an option cannot be sent to another process.
            FleetError: Not one charge point could start, or not one Thing could be created; ``errors`` has the reasons.
            AwsError: AWS refused to list the Things.
        """
        if self._is_running:
            raise RuntimeError(f"{self!r} is running already: wait for it, or make another fleet with other ids")
        check_duration(duration, len(self.ids), self._ramp_time)
        plan = replace(self._plan, duration=duration)
        self._is_running = True
        try:
            if self._provisioner is None:
                return await self._run(plan, progress)
            async with self._provisioner.provisioned(self.ids, keep=self._keep_things, progress=progress) as failed:
                if len(failed) == len(self.ids):
                    errors = list(failed.values())
                    raise FleetError(f"no Thing could be created: {errors[0]}", errors)
                return await self._run(plan, progress)
        except asyncio.CancelledError as exc:
            if not exc.args and self.result is not None:
                exc.args = ("the fleet was interrupted; what it measured until then is its .result",)
            raise
        finally:
            self._is_running = False

    async def _run(self, plan: Plan, progress: bool) -> FleetResult:
        """Run the plan, when its Things are there."""
        shares = await self._shares(plan, progress)
        try:
            not_started = await asyncio.gather(*(_start(share) for share in shares))
            if all(not_started):
                reasons: list[Exception] = [why for why in not_started if why is not None]
                raise FleetError(f"not one part of the fleet started: {reasons[0]}", reasons)
            notice_step()
            result = self.result = FleetResult(len(self.ids), epoch(time.perf_counter()))
            joined = Progress(result, len(shares), plan.duration)
            line = asyncio.create_task(joined.show(line=progress), name="cpsim[fleet].line")
            try:
                numbered = enumerate(zip(list(shares), not_started, strict=True))
                runs = (self._run_share(share, lost, joined, number, shares) for number, (share, lost) in numbered)
                await together(runs, "share")
            except BaseException:
                result.interrupted = True
                raise
            finally:
                result.duration = joined.elapsed
                line.cancel()
                await asyncio.gather(line, return_exceptions=True)
                joined.sample()  # the state at the end; of a short run, the only sample
        finally:
            await asyncio.shield(asyncio.gather(*(share.close() for share in shares)))
        errors: list[Exception] = [error for share in shares for error in share.errors]
        errors += [ShareLost(why) for why in result.lost]
        if not result.connected and errors:
            raise FleetError(f"not one of {len(self.ids)} charge points could start: {errors[0]}", errors)
        return result

    async def _shares(self, plan: Plan, progress: bool) -> list[_AnyShare]:
        if self._cluster is not None:
            addresses = (await worker_addresses(self._cluster))[: len(self.ids)]
            if progress:
                tqdm.write(f"fleet: {len(addresses)} workers, Dask's dashboard: {self._cluster.dashboard_link}")
            plans = plan.divide(len(addresses))
            return [ClusterShare(each, self._cluster, at) for each, at in zip(plans, addresses, strict=True)]
        if self._processes > 1:
            return [ProcessShare(each) for each in plan.divide(self._processes)]
        return [LocalShare(plan)]

    async def _run_share(
        self, share: _AnyShare, lost: ShareLost | None, joined: Progress, number: int, shares: list[_AnyShare]
    ) -> None:
        """Run a share; when it is lost, log that and start its charge points again elsewhere, a few times."""
        end = share.plan.duration
        for restarts_left in reversed(range(_RESTARTS + 1)):
            if lost is None:
                try:
                    return await share.run(lambda report: joined.report(number, report), end - joined.elapsed)
                except ShareLost as exc:
                    lost = exc
            joined.mark_lost(number, str(lost))
            left = end - joined.elapsed
            if not restarts_left or left <= _WORTH_IT:
                return None
            if (another := await self._replacement(share, left, number)) is None:
                return None
            share = another
            shares.append(share)
            lost = await _start(share)
            if lost is None:
                logger.warning("fleet: its charge points start again %s", share.where)
        return None

    async def _replacement(self, lost: _AnyShare, left: float, number: int) -> ProcessShare | ClusterShare | None:
        """A share for the time left, in a new process or on another worker of the cluster; None if there is none."""
        rest = lost.plan.rest(left)
        if not isinstance(lost, ClusterShare):
            await lost.close()  # whatever is left of it must not go on beside the new one
            return ProcessShare(rest)
        others: list[str] = []
        with contextlib.suppress(ValueError, OSError):  # no worker, or no scheduler
            others = [each for each in await worker_addresses(self._cluster) if each != lost.address]
        return ClusterShare(rest, self._cluster, others[number % len(others)]) if others else None


async def _start(share: _AnyShare) -> ShareLost | None:
    """Start a share; returns why it did not start, if it did not."""
    try:
        await share.start()
    except ShareLost as exc:
        return exc
    return None
