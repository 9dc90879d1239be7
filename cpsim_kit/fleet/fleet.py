"""Many charge points at once: ``result = await Fleet(stack, size=1000).run(duration=30)``.

A fleet plans, provisions, and puts together what its shares measure; a share runs in this process or in several. It
knows no AWS: a stack gives it an address, and Things.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import inspect
import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from ssl import SSLContext
from typing import Any, Literal, Protocol

from tqdm.auto import tqdm

from cpsim_kit.aws.things import ManyThings, Things
from cpsim_kit.basics.clock import epoch, notice_step
from cpsim_kit.basics.waiting import together
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.charge_point.backoff import Backoff
from cpsim_kit.errors import CpsimError, FleetError
from cpsim_kit.fleet.call_table import FleetResult, Incoming
from cpsim_kit.fleet.dask import ClusterShare, worker_addresses
from cpsim_kit.fleet.processes import SAMPLE, Worker, WorkerLost
from cpsim_kit.fleet.share import Delta, Part, Plan, Scenario

__all__ = ["Fleet"]

_WORTH_IT = 3.0  # seconds left of a run, for which a lost share is begun again elsewhere
_AGAIN = 3  # how often a share is: what ended its process, a lack of memory say, may end the next one too

logger = logging.getLogger("cpsim.fleet")


class _Stack(Protocol):
    """What a fleet needs of a stack."""

    websocket_url: str
    things: Things


class Fleet:
    """Charge points that start one after the other, do the same, and are measured.

        fleet = Fleet(stack, size=1000, prefix="LOAD-", ramp=100, heartbeat_interval=1.0)
        result = await fleet.run(duration=30)
        result.summary()

    Args:
        target: A stack, or the CSMS's address; an address is not provisioned.
        size: How many; not with ``ids``.
        ids: Their ids, instead of ``prefix`` and a number.
        prefix: How their ids begin; a number of at least four digits follows, from 1.
        ramp: Charge points started per second.
        ramp_time: Seconds in which all are started, instead of ``ramp``.
        heartbeat_interval: Seconds between heartbeats; what the CSMS instructs when None.
        burst: Heartbeats of all at the same moments; otherwise each charge point has its own phase, in steps of 10 ms.
        scenario: What each does once connected, ``async def scenario(cp)``; boot, then heartbeats, when None. Whatever
            it calls is measured. An error of the kit that leaves it ends this charge point, or begins its reconnection.
        attributes: Called with each id; more arguments of that ``ChargePoint``, e.g. ``{"model": "AC-22"}``.
        reconnect: How long to wait before a lost connection is opened again; None: it stays lost.
        provision: "run" creates the Things before a run and deletes those it created after, also when it is stopped
            meanwhile; "keep" leaves them, also when the stack is closed; None touches none.
        cluster: A ``dask.distributed.Client``: the charge points are spread over its workers, which reach the address.
        seed: Of all random times: the same seed gives the same schedule.
        processes: Over how many new processes of this machine the charge points are spread; this one puts together what
            they measure. With None or 1 they run in this one, beside whatever else a notebook does. The charge points
            of a process that dies start again in a new one, at the same ramp, at most three times, where more than
            three seconds are left; so they do on another worker of a cluster.
        options: Arguments for all of them, as ``ChargePoint`` takes them, e.g. ``version="1.6"``. ``ssl`` may also be a
            function that makes the context, called once in each process: a context itself cannot go to another one.

    Attributes:
        result: The :class:`FleetResult` of the last run, also of one that was interrupted.

    Raises:
        ValueError: Arguments that contradict each other or are out of range.
        TypeError: An argument of the wrong kind, or one that neither a fleet nor a ``ChargePoint`` has.
    """

    def __init__(
        self,
        target: _Stack | str,
        size: int | None = None,
        *,
        ids: Sequence[str] | None = None,
        prefix: str = "LOAD-",
        ramp: float = 100,
        ramp_time: float | None = None,
        heartbeat_interval: float | None = None,
        burst: bool = False,
        scenario: Scenario | None = None,
        attributes: Callable[[str], Mapping[str, Any]] | None = None,
        reconnect: Backoff | None = None,
        provision: Literal["run", "keep"] | None = "run",
        seed: int = 0,
        processes: int | None = None,
        cluster: Any = None,
        **options: Any,
    ) -> None:
        _check_kinds(size, ids, prefix, scenario, attributes, reconnect, seed, cluster)
        _check_options(options)
        ids = None if ids is None else list(ids)
        if (size is None) == (ids is None):
            raise ValueError("a fleet has either a size or a list of ids")
        if size is not None and size < 1:
            raise ValueError(f"a fleet has at least one charge point, not {size}")
        if ids is not None and (not ids or len(set(ids)) < len(ids)):
            raise ValueError("ids= is empty, or has one of them twice")
        if not ramp > 0 or (ramp_time is not None and ramp_time < 0):
            raise ValueError("ramp is above 0 charge points a second, ramp_time at least 0 seconds")
        if heartbeat_interval is not None and not heartbeat_interval > 0:
            raise ValueError(f"heartbeat_interval is more than 0 seconds, not {heartbeat_interval!r}")
        if provision not in {"run", "keep", None}:
            raise ValueError(f'provision is "run", "keep" or None, not {provision!r}')
        if burst and scenario is not None:
            raise ValueError("burst= is of the heartbeats of the default scenario; yours has its own")
        if processes is not None and processes < 1:
            raise ValueError(f"a fleet runs in at least one process, not {processes}")
        elsewhere = processes not in {None, 1}
        if cluster is not None and elsewhere:
            raise ValueError("a fleet runs in processes of this machine, or on the workers of a cluster")
        if isinstance(options.get("ssl"), SSLContext) and (cluster is not None or elsewhere):
            raise ValueError(
                "an SSLContext cannot go to another process; give a function that makes it there: "
                "ssl=lambda: ssl.create_default_context(cafile=…)"
            )
        digits = max(4, len(str(size)))
        numbered = [f"{prefix}{number:0{digits}}" for number in range(1, (size or 0) + 1)]
        self.ids = ids if ids is not None else numbered
        self.url = target if isinstance(target, str) else target.websocket_url
        self._things = None if isinstance(target, str) or provision is None else target.things
        self._delete = provision == "run"
        self._ramp_time = len(self.ids) / ramp if ramp_time is None else ramp_time
        self._interval = heartbeat_interval
        self._burst = burst
        self._scenario = scenario
        self._attributes = attributes
        self._reconnect = reconnect
        self._seed = seed
        self._processes = min(processes or 1, len(self.ids))
        self._cluster = cluster
        self._options = options
        self._is_running = False
        self.result: FleetResult | None = None
        ChargePoint(self.ids[0], self.url, **options | {"ssl": None})  # for what it may raise

    def __repr__(self) -> str:
        return f"<Fleet {len(self.ids)} charge points {self.ids[0]} … {self.url}>"

    async def run(self, duration: float, *, progress: bool = True) -> FleetResult:
        """Start the charge points, let them work, and close them.

        Stopped before its time, it closes them too; what was measured until then is in :attr:`result`.

        Args:
            duration: Seconds from the first start to the end, the ramp included.
            progress: Show a line with connected, booted, calls per second, p50, p99 and failures.

        Raises:
            RuntimeError: It is running already.
            ValueError: The duration is no number of seconds, or the ramp takes longer; or the scenario, the attributes
                or an option cannot be sent to another process.
            FleetError: Not one charge point could start, or not one Thing could be created; ``errors`` has the reasons.
            AwsError: AWS refused to list the Things.
        """
        if self._is_running:
            raise RuntimeError(f"{self!r} is running already: wait for it, or make another fleet with other ids")
        if not math.isfinite(duration):
            raise ValueError(f"a duration is a number of seconds, not {duration!r}")
        if not duration > self._ramp_time:
            raise ValueError(
                f"starting {len(self.ids)} charge points takes {self._ramp_time:g} s, and {duration:g} s are over "
                "before: choose a longer duration, or a steeper ramp"
            )
        self._is_running = True
        try:
            return await self._provision_and_run(duration, progress)
        except asyncio.CancelledError as exc:
            if not exc.args and self.result is not None:
                exc.args = ("the fleet was interrupted; what it measured until then is its .result",)
            raise
        finally:
            self._is_running = False

    async def _provision_and_run(self, duration: float, progress: bool) -> FleetResult:
        if self._things is None:
            return await self._run(duration, progress)
        things = ManyThings()
        try:
            await self._things.create_many(self.ids, progress=progress, keep=not self._delete, result=things)
            if len(things.failed) == len(self.ids):
                errors = list(things.failed.values())
                raise FleetError(f"no Thing could be created: {errors[0]}", errors)
            return await self._run(duration, progress)
        finally:
            if self._delete:
                await asyncio.shield(self._delete_things(self._things, things, progress))

    async def _delete_things(self, of: Things, things: ManyThings, progress: bool) -> None:
        """Delete those that were created; what is left is the stack's to delete when it is closed."""
        if not things.done:
            return
        try:
            failed = (await of.delete_many(things.done, progress=progress)).failed
        except CpsimError as exc:  # what was measured is worth more
            logger.warning("fleet: %d Things may not be deleted: %s", len(things.done), exc)
            return
        things.done[:] = failed
        if failed:
            first = next(iter(failed.values()))
            logger.warning("fleet: %d Things could not be deleted, the first as: %s", len(failed), first)

    async def _run(self, duration: float, progress: bool) -> FleetResult:
        shares = await self._shares(duration, progress)
        try:
            not_started = await asyncio.gather(*(_start(share) for share in shares))
            if all(not_started):
                reasons: list[Exception] = [why for why in not_started if why is not None]
                raise FleetError(f"not one part of the fleet started: {reasons[0]}", reasons)
            notice_step()
            began = time.perf_counter()
            result = self.result = FleetResult(len(self.ids), epoch(began))
            told = _Told(result, len(shares), began, duration)
            line = asyncio.create_task(told.show(progress), name="cpsim[fleet].line")
            try:
                numbered = enumerate(zip(list(shares), not_started, strict=True))
                runs = (self._run_share(share, lost, told, number, shares) for number, (share, lost) in numbered)
                await together(runs, "share")
            except BaseException:
                result.interrupted = True
                raise
            finally:
                result.duration = time.perf_counter() - began
                line.cancel()
                await asyncio.gather(line, return_exceptions=True)
        finally:
            await asyncio.shield(asyncio.gather(*(share.close() for share in shares)))
        errors: list[Exception] = [error for share in shares for error in share.errors]
        errors += [WorkerLost(why) for why in result.lost]
        if not result.connected and errors:
            raise FleetError(f"not one of {len(self.ids)} charge points could start: {errors[0]}", errors)
        return result

    async def _shares(self, duration: float, progress: bool) -> list[_Share]:
        if self._cluster is not None:
            addresses = (await worker_addresses(self._cluster))[: len(self.ids)]
            if progress:
                tqdm.write(f"fleet: {len(addresses)} workers, Dask's dashboard: {self._cluster.dashboard_link}")
            plans = self._plans(duration, len(addresses))
            return [ClusterShare(plan, self._cluster, at) for plan, at in zip(plans, addresses, strict=True)]
        plans = self._plans(duration, self._processes)
        return [Worker(plan) for plan in plans] if self._processes > 1 else [_Here(plan) for plan in plans]

    async def _run_share(
        self, share: _Share, lost: WorkerLost | None, told: _Told, number: int, shares: list[_Share]
    ) -> None:
        """Run a share. One that is lost is said and begun again elsewhere, a few times; the others go on anyway."""
        for tries_left in reversed(range(_AGAIN + 1)):
            if lost is None:
                try:
                    return await share.run(lambda delta: told.take(number, delta))
                except WorkerLost as exc:
                    lost = exc
            told.lose(number, str(lost))
            rest = share.plan.rest(told.since(share.plan))
            if not tries_left or rest.duration <= _WORTH_IT:
                return None
            if (another := await self._another(share, rest, number)) is None:
                return None
            share = another
            shares.append(share)
            lost = await _start(share)
            if lost is None:
                logger.warning("fleet: its charge points start again %s", share.where)
        return None

    async def _another(self, lost: _Share, rest: Plan, number: int) -> Worker | ClusterShare | None:
        """Who takes over what is left of a share: a new process, or another worker of the cluster; None for nobody."""
        if not isinstance(lost, ClusterShare):
            await lost.close()  # whatever is left of it must not go on beside the new one
            return Worker(rest)
        left: list[str] = []
        with contextlib.suppress(ValueError, OSError):  # no worker, or no scheduler
            left = [each for each in await worker_addresses(self._cluster) if each != lost.address]
        return ClusterShare(rest, self._cluster, left[number % len(left)]) if left else None

    def _plans(self, duration: float, number_of_shares: int) -> list[Plan]:
        """Each share has every so-many-th charge point; each of these starts somewhere in its own slot of the ramp."""
        chance = random.Random(self._seed)  # noqa: S311 - a schedule, no secret
        slot = self._ramp_time / len(self.ids)
        starts = {each: ((n + chance.random()) * slot, chance.random()) for n, each in enumerate(self.ids)}
        return [
            Plan(
                self.url,
                dict(list(starts.items())[number::number_of_shares]),
                duration,
                self._interval,
                self._burst,
                self._scenario,
                self._attributes,
                self._reconnect,
                self._seed + number,
                self._options,
            )
            for number in range(number_of_shares)
        ]


class _Here:
    """A share that runs in this process, with the same end as a :class:`Worker`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._part = Part(plan)

    @property
    def errors(self) -> list[CpsimError]:
        return self._part.errors

    async def start(self) -> None:
        pass

    async def run(self, told: Callable[[Delta], None]) -> None:
        running = asyncio.create_task(self._part.run(), name="cpsim[fleet].here")
        try:
            while not running.done():
                await asyncio.wait([running], timeout=SAMPLE)
                told(self._part.delta())
            running.result()
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait([running])
            told(self._part.delta())

    async def close(self) -> None:
        pass


def _check_kinds(
    size: Any, ids: Any, prefix: Any, scenario: Any, attributes: Any, reconnect: Any, seed: Any, cluster: Any
) -> None:
    """Say now what would fail in each charge point, or only at its first lost connection."""
    for name, value, kind, wanted in (
        ("size", size, Integral, "a whole number"),
        ("prefix", prefix, str, "a string"),
        ("seed", seed, Integral, "a whole number"),
        ("reconnect", reconnect, Backoff, "a Backoff, e.g. Backoff()"),
    ):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name}= takes {wanted}, not {value!r}")
    if isinstance(ids, str):
        raise TypeError(f"ids= takes a list of ids, not the string {ids!r}")
    if cluster is not None and not hasattr(cluster, "nthreads"):
        raise TypeError(f"cluster= takes a dask.distributed.Client, not {cluster!r}")
    for name, function, form in (
        ("scenario", scenario, "an async function of a charge point, async def scenario(cp)"),
        ("attributes", attributes, "a function of an id, which returns a dict"),
    ):
        if function is None:
            continue
        try:
            inspect.signature(function).bind(None)
        except TypeError as exc:
            raise TypeError(f"{name}= takes {form}, not {function!r}: {exc}") from exc
        except ValueError:  # of a function in C, which has no signature
            pass


def _check_options(options: Mapping[str, Any]) -> None:
    own = set(inspect.signature(Fleet.__init__).parameters) - {"self", "options"}
    of_charge_points = set(inspect.signature(ChargePoint.__init__).parameters) - {"self", "charge_point_id", "url"}
    for name in options:
        if name == "observe":
            raise TypeError("observe= is what a fleet measures with; the result has every call")
        if name not in of_charge_points:
            close = difflib.get_close_matches(name, own | of_charge_points, n=2)
            close += [each for each in sorted(own) if each.endswith(f"_{name}") and each not in close]
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise TypeError(f"a fleet has no argument {name!r}{hint}")


_Share = _Here | Worker | ClusterShare


async def _start(share: _Share) -> WorkerLost | None:
    """Start a share; why it did not start, if so."""
    try:
        await share.start()
    except WorkerLost as exc:
        return exc
    return None


class _Told:
    """Puts together what the shares tell."""

    def __init__(self, result: FleetResult, shares: int, began: float, duration: float) -> None:
        self._result = result
        self._began = began
        self._duration = duration
        self._last: list[Delta | None] = [None] * shares
        self._at = [0.0] * shares  # when that was, in seconds since the beginning
        self._incoming = [Incoming(result.calls) for _ in range(shares)]
        self._shown = 0

    def take(self, number: int, delta: Delta) -> None:
        if (last := self._last[number]) is not None:  # of a share that was begun again, more may have been connected
            delta.connected, delta.booted = max(delta.connected, last.connected), max(delta.booted, last.booted)
        self._last[number] = delta
        self._at[number] = time.perf_counter() - self._began
        self._incoming[number].add(delta.calls)
        self._result.connected = sum(each.connected for each in self._last if each is not None)
        self._result.booted = sum(each.booted for each in self._last if each is not None)

    def since(self, plan: Plan) -> float:
        """Seconds since the beginning of a plan that ends when this does."""
        return time.perf_counter() - self._began - (self._duration - plan.duration)

    def lose(self, number: int, why: str) -> None:
        """A process is gone, with its charge points."""
        self._result.lost.append(why)
        self._incoming[number] = Incoming(self._result.calls)  # another one's words have numbers of their own
        last = self._last[number]
        if last is not None:
            last.open = 0
        logger.error("fleet: %s; its charge points are gone", why)

    async def show(self, progress: bool) -> None:
        """Note now and then how many are connected, and show the line."""
        form = "{desc}: {n:.0f}/{total:.0f} s |{bar}|{postfix}"  # it begins with a comma
        with tqdm(total=self._duration, desc="fleet", bar_format=form, disable=not progress) as bar:
            while True:
                await asyncio.sleep(SAMPLE)
                result = self._result
                connected = sum(each.open for each in self._last if each is not None)
                self._sample(connected)
                if not progress:
                    continue
                latencies = result.calls.arrays(self._shown)["latency"]
                self._shown += len(latencies)
                p50, p99 = _percentiles(latencies.tolist())
                answers = "no answers" if math.isnan(p50) else f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
                bar.set_postfix_str(
                    f"{connected} connected, {result.booted} booted, {len(latencies) / SAMPLE:.0f} calls/s, "
                    f"{answers}, {result.calls.failures} failures",
                    refresh=False,
                )
                at = time.perf_counter() - self._began
                bar.update(min(at, self._duration) - bar.n)

    def _sample(self, connected: int) -> None:
        """Note how many are connected, at the moment at which the shares said so."""
        told = [at for at in self._at if at > max(self._at) - 2 * SAMPLE]  # not those that have ended, or are lost
        at = sum(told) / len(told)
        if at > (self._result.samples[-1][0] if self._result.samples else 0.0):
            self._result.samples.append((at, connected, self._result.booted))


def _percentiles(latencies: list[float]) -> tuple[float, float]:
    ordered = sorted(value for value in latencies if not math.isnan(value))
    if not ordered:
        return math.nan, math.nan
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
