"""Many charge points at once: ``result = await Fleet(stack, size=1000).run(duration=30)``.

The same :class:`~cpsim_kit.charge_point.ChargePoint` as anywhere else, a task each; what they call is measured by its
``observe``. It knows no AWS: a stack gives it an address, and Things.
"""

from __future__ import annotations

import asyncio
import gc
import math
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from tqdm.auto import tqdm

from cpsim_kit.backoff import Backoff
from cpsim_kit.calls import UNFINISHED, FleetResult
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.errors import ConnectError, ConnectionLost, CpsimError, FleetError
from cpsim_kit.messages import epoch

__all__ = ["Fleet", "Scenario"]

Scenario = Callable[[ChargePoint], Awaitable[Any]]

# What no two errors of a kind share.
_UNIQUE = re.compile(r" \(message id [^)]*\)")
_SAMPLE = 0.5  # seconds between two looks at the whole
_CLOSING = 200  # connections closed at a time
_NAN = float("nan")


class _Stack(Protocol):
    """What a fleet needs of a stack."""

    websocket_url: str
    things: Any


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
        burst: Heartbeats of all at the same moments; otherwise each charge point has its own phase.
        scenario: What each does once connected, ``async def scenario(cp)``; boot, then heartbeats, when None. Whatever
            it calls is measured. An error of the kit that leaves it ends this charge point, or begins its reconnection.
        attributes: Called with each id; more arguments of that ``ChargePoint``, e.g. ``{"model": "AC-22"}``.
        reconnect: How long to wait before a lost connection is opened again; None: it stays lost.
        provision: "run" creates the Things before a run and deletes those it created after; "keep" leaves them; None
            touches none.
        seed: Of all random times: the same seed gives the same schedule.
        options: Arguments for all of them, as ``ChargePoint`` takes them, e.g. ``version="1.6"``.

    Attributes:
        result: The :class:`FleetResult` of the last run, also of one that was interrupted.

    Raises:
        ValueError: Arguments that contradict each other or are out of range.
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
        **options: Any,
    ) -> None:
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
        digits = max(4, len(str(size)))
        numbered = [f"{prefix}{number:0{digits}}" for number in range(1, (size or 0) + 1)]
        self.ids = list(ids) if ids is not None else numbered
        self.url = target if isinstance(target, str) else target.websocket_url
        self._things = None if isinstance(target, str) or provision is None else target.things
        self._delete = provision == "run"
        self._ramp_time = len(self.ids) / ramp if ramp_time is None else ramp_time
        self._interval = heartbeat_interval
        self._burst = burst
        self._scenario = scenario
        self._attributes = attributes
        self._reconnect = reconnect
        self._options = options
        self._random = random.Random(seed)  # noqa: S311 - schedules, no secrets
        self._began = 0.0
        self.result: FleetResult | None = None

    def __repr__(self) -> str:
        return f"<Fleet {len(self.ids)} charge points {self.ids[0]} … {self.url}>"

    async def run(self, duration: float, *, progress: bool = True) -> FleetResult:
        """Start the charge points, let them work, and close them.

        Stopped before its time, it closes them too; what was measured until then is in :attr:`result`.

        Args:
            duration: Seconds from the first start to the end, the ramp included.
            progress: Show a line with connected, booted, calls per second, p50, p99 and failures.

        Raises:
            ValueError: The ramp takes longer than the duration.
            FleetError: Not one charge point could start; ``errors`` has the reasons.
            AwsError: AWS refused to list or create the Things.
        """
        if not duration > self._ramp_time:
            raise ValueError(
                f"starting {len(self.ids)} charge points takes {self._ramp_time:g} s, and {duration:g} s are over "
                "before: choose a longer one, or a steeper ramp="
            )
        created: list[str] = []
        if self._things is not None:
            things = await self._things.create_many(self.ids, progress=progress)
            created = things.done if self._delete else []
            if len(things.failed) == len(self.ids):
                errors = list(things.failed.values())
                raise FleetError(f"no Thing could be created: {errors[0]}", errors)
        try:
            return await self._run(duration, progress)
        finally:
            if created and self._things is not None:
                await asyncio.shield(self._things.delete_many(created, progress=progress))

    async def _run(self, duration: float, progress: bool) -> FleetResult:
        self._began = time.perf_counter()
        result = self.result = FleetResult(len(self.ids), epoch(self._began))
        members: list[_Member] = []
        line = asyncio.create_task(self._show(result, members, duration, progress), name="cpsim[fleet].line")
        collecting = gc.isenabled()
        gc.disable()  # what starting makes stays: looking through it again and again would take a third of the time
        try:
            async with asyncio.timeout(duration), asyncio.TaskGroup() as group:
                for charge_point_id, at, phase in zip(self.ids, *self._schedule(), strict=True):
                    if (wait := self._began + at - time.perf_counter()) > 0:
                        await asyncio.sleep(wait)
                    members.append(_Member(self._charge_point(charge_point_id), phase))
                    group.create_task(self._live(members[-1]), name=f"cpsim[{charge_point_id}].fleet")
                _collect_again(collecting)
        except TimeoutError:
            pass
        except BaseExceptionGroup as exc:  # a scenario's own fault
            result.interrupted = True
            raise exc.exceptions[0] from None
        except BaseException:
            result.interrupted = True
            raise
        finally:
            result.duration = time.perf_counter() - self._began
            _collect_again(collecting)
            gc.unfreeze()
            line.cancel()
            await asyncio.gather(line, return_exceptions=True)
            await asyncio.shield(_close(members))
        if not result.connected:
            errors = [member.error for member in members if member.error is not None]
            if errors:
                raise FleetError(f"not one of {len(self.ids)} charge points could start: {errors[0]}", errors)
        return result

    def _schedule(self) -> tuple[list[float], list[float]]:
        """When each charge point starts, each somewhere in its own slot of the ramp; and its phase, from 0 to 1."""
        slot = self._ramp_time / len(self.ids)
        starts = [(number + self._random.random()) * slot for number in range(len(self.ids))]
        return starts, [self._random.random() for _ in self.ids]

    # -- One charge point ---------------------------------------------------------------------------------------------

    def _charge_point(self, charge_point_id: str) -> ChargePoint:
        own = dict(self._attributes(charge_point_id)) if self._attributes is not None else {}
        options = {"max_messages": 0, **self._options, **own, "observe": self._note}
        return ChargePoint(charge_point_id, self.url, **options)

    async def _live(self, member: _Member) -> None:
        """Connect, work, and connect again as long as the policy says so."""
        waits: Iterator[float] | None = None
        while True:
            try:
                await self._connect(member)
                waits = None
                await (self._boot_and_beat(member) if self._scenario is None else self._scenario(member.charge_point))
                return
            except (ConnectError, ConnectionLost) as exc:
                if self._reconnect is None:
                    return
                waits = waits or self._reconnect.waits(self._random)
                await self._be_away(member, next(waits), exc)
            except CpsimError:  # of a call, so it is a row
                return

    async def _connect(self, member: _Member) -> None:
        began = time.perf_counter()
        try:
            await member.charge_point.connect()
        except BaseException as exc:
            member.error = exc if isinstance(exc, CpsimError) else None
            self._note(member.charge_point, "connect", began, began, _NAN, exc)
            raise
        self._note(member.charge_point, "connect", began, began, time.perf_counter(), None)
        assert self.result is not None
        self.result.connected += not member.has_connected
        member.has_connected = True

    async def _boot_and_beat(self, member: _Member) -> None:
        """Boot until accepted, once; then heartbeats, each when it is due, or as soon after as it can be sent."""
        charge_point = member.charge_point
        while charge_point.boot_status != "Accepted":
            if (answer := await charge_point.boot()).status != "Accepted":
                await asyncio.sleep(max(answer.interval, 1))
        interval = self._interval or charge_point.heartbeat_interval or 60.0
        if member.due is None:
            member.due = self._first_heartbeat(interval, member.phase)
        while True:
            if (wait := member.due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            due, member.due = member.due, member.due + interval
            try:
                await charge_point.call(charge_point.heartbeat_payload, due=due)
            except ConnectionLost:
                raise
            except CpsimError:
                pass  # it is a row; the next heartbeat comes all the same

    def _first_heartbeat(self, interval: float, phase: float) -> float:
        """The moment of the first heartbeat: on the fleet's grid in bursts, else at the charge point's own phase."""
        now = time.perf_counter()
        if self._burst:
            return self._began + ((now - self._began) // interval + 1) * interval
        return now + phase * interval

    async def _be_away(self, member: _Member, seconds: float, why: CpsimError) -> None:
        """Wait for the next try to connect; heartbeats that are due meanwhile fail, each a row."""
        until = time.perf_counter() + seconds
        interval = self._interval or member.charge_point.heartbeat_interval or 60.0
        while member.due is not None and member.due < until:
            await asyncio.sleep(max(0.0, member.due - time.perf_counter()))
            self._note(member.charge_point, "Heartbeat", member.due, member.due, _NAN, why)
            member.due += interval
        await asyncio.sleep(max(0.0, until - time.perf_counter()))

    # -- Measuring ----------------------------------------------------------------------------------------------------

    def _note(
        self,
        charge_point: ChargePoint,
        action: str,
        due: float,
        sent: float,
        answered: float,
        error: BaseException | None,
    ) -> None:
        assert self.result is not None
        calls = self.result.calls
        if error is None:
            calls.add(charge_point.id, action, epoch(sent), (answered - sent) * 1000, (answered - due) * 1000)
        elif isinstance(error, CpsimError):
            detail = _UNIQUE.sub("", str(error)).replace(charge_point.id, "…")
            calls.add(charge_point.id, action, epoch(sent), _NAN, _NAN, error.outcome, detail)
        else:
            calls.add(charge_point.id, action, epoch(sent), _NAN, _NAN, UNFINISHED)

    async def _show(self, result: FleetResult, members: list[_Member], duration: float, progress: bool) -> None:
        """Look at the whole now and then, for the line and for the picture."""
        form = "{desc}: {n:.0f}/{total:.0f} s |{bar}| {postfix}"
        seen = 0
        with tqdm(total=duration, desc="fleet", bar_format=form, disable=not progress) as bar:
            while True:
                await asyncio.sleep(_SAMPLE)
                at = time.perf_counter() - self._began
                connected = sum(member.charge_point.is_open for member in members)
                result.booted = sum(member.charge_point.boot_status == "Accepted" for member in members)
                result.samples.append((at, connected, result.booted))
                rows = result.calls.arrays(seen)
                seen += len(rows["sent"])
                if progress:
                    p50, p99 = _percentiles(rows["latency"])
                    bar.set_postfix_str(
                        f"{connected} connected, {result.booted} booted, {len(rows['sent']) / _SAMPLE:.0f} calls/s, "
                        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {result.calls.failures} failures",
                        refresh=False,
                    )
                    bar.update(min(at, duration) - bar.n)


class _Member:
    """One charge point of a fleet."""

    __slots__ = ("charge_point", "due", "error", "has_connected", "phase")

    def __init__(self, charge_point: ChargePoint, phase: float) -> None:
        self.charge_point = charge_point
        self.phase = phase
        self.due: float | None = None  # its next heartbeat
        self.has_connected = False
        self.error: CpsimError | None = None


def _collect_again(collecting: bool) -> None:
    """Leave what is there alone, and collect what comes, where it was collected before."""
    if collecting and not gc.isenabled():
        gc.freeze()
        gc.enable()


async def _close(members: list[_Member]) -> None:
    """Close all connections, so many at a time."""
    waiting = iter(members)

    async def worker() -> None:
        for member in waiting:
            await member.charge_point.close()

    await asyncio.gather(*(worker() for _ in range(min(_CLOSING, len(members)))))


def _percentiles(latency_ms: Any) -> tuple[float, float]:
    ordered = sorted(value for value in latency_ms.tolist() if not math.isnan(value))
    if not ordered:
        return _NAN, _NAN
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
