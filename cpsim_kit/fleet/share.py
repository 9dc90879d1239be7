"""One process's share of a fleet: its charge points, each a task, and what they called.

The same :class:`~cpsim_kit.charge_point.ChargePoint` as anywhere else; what it calls is measured by its ``observe``.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import inspect
import itertools
import logging
import math
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakSet

from cpsim_kit.basics.clock import epoch
from cpsim_kit.basics.process import raise_file_limit
from cpsim_kit.charge_point import OWN_INTERVAL, ChargePoint
from cpsim_kit.charge_point.backoff import Backoff, own_boot_waits
from cpsim_kit.errors import ConnectError, ConnectionLost, CpsimError
from cpsim_kit.fleet.call_table import FAULT, UNFINISHED, CallTable, Rows

__all__ = ["GC_THRESHOLD", "Delta", "Part", "Plan", "Scenario", "first_heartbeat"]

logger = logging.getLogger("cpsim.fleet")

Scenario = Callable[[ChargePoint], Awaitable[Any]]

GC_THRESHOLD = 50_000  # objects more than were collected last, while calls come and go: they leave few in circles
_STEP = 0.01  # seconds between moments at which heartbeats are due: those of one moment share what it takes to wake up
_CLOSING = 200  # connections closed at a time
_LAST_WORDS = 5.0  # seconds for scenarios to end what they do, at the end
_NAN = float("nan")
_UNIQUE = re.compile(r" \(message id [^)]*\)")  # what no two errors of a kind share


@dataclass
class Plan:
    """What a share is to do; it can be sent to another process.

    Attributes:
        url: The CSMS's address.
        starts: Of each id, seconds after the beginning at which it starts, and its phase, from 0 to 1.
        duration: Seconds from the beginning to the end.
        interval: Seconds between heartbeats; what the CSMS instructs when None.
        burst: Heartbeats of all at the same moments.
        scenario: What each does once connected; boot and heartbeats when None.
        attributes: More arguments of a charge point, by its id.
        reconnect: The policy; None for none.
        seed: Of the waits.
        options: Arguments of all charge points.
    """

    url: str
    starts: dict[str, tuple[float, float]]
    duration: float
    interval: float | None = None
    burst: bool = False
    scenario: Scenario | None = None
    attributes: Callable[[str], Mapping[str, Any]] | None = None
    reconnect: Backoff | None = None
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def rest(self, after: float) -> Plan:
        """What is left of it so many seconds after its beginning: the same ramp again, faster where time is short."""
        left = self.duration - after
        ramp = max(at for at, _phase in self.starts.values())
        pace = min(1.0, left / 2 / ramp) if ramp else 1.0
        starts = {each: (at * pace, phase) for each, (at, phase) in self.starts.items()}
        return replace(self, starts=starts, duration=left)


@dataclass
class Delta:
    """What a share says now and then: its charge points, and the calls since it was asked before."""

    open: int
    connected: int
    booted: int
    calls: Rows


class Part:
    """A share that runs here.

    Attributes:
        calls: What was measured and not told yet.
        members: Its charge points, once started.
    """

    def __init__(self, plan: Plan) -> None:
        import numpy as np  # noqa: F401, PLC0415 - what is measured is told by it; not while it is measured

        ssl = plan.options.get("ssl")
        self.plan = plan
        self.calls = CallTable()
        self.members: list[_Member] = []
        self._ssl = ssl() if callable(ssl) else ssl
        self._clock = _Clock()
        self._random = random.Random(plan.seed)  # noqa: S311 - waits, no secrets
        self._began = 0.0
        self._to_come = len(plan.starts)  # that have not tried to connect yet
        self._collecting = False  # whether garbage was collected before
        self._open_at_end: int | None = None  # then they are closed, which is no loss
        self._noted: WeakSet[CpsimError] = WeakSet()  # errors that are rows
        self._faults: dict[str, Exception] = {}  # of each charge point the last error that is not the kit's, and a row
        self._working: set[str] = set()  # charge points whose scenario goes on

    def delta(self) -> Delta:
        """The state, and the calls since this was asked before."""
        return Delta(
            open=self._open() if self._open_at_end is None else self._open_at_end,
            connected=sum(member.has_connected for member in self.members),
            booted=sum(member.charge_point.boot_status == "Accepted" for member in self.members),
            calls=self.calls.take(),
        )

    def _open(self) -> int:
        return sum(member.charge_point.is_open for member in self.members)

    @property
    def errors(self) -> list[CpsimError]:
        """Why charge points did not connect, of those that never did."""
        return [member.error for member in self.members if member.error is not None and not member.has_connected]

    async def run(self) -> None:
        """Start the charge points as planned, and close them at the end.

        Raises:
            Exception: A scenario's own fault; the others were ended.
        """
        raise_file_limit()
        self._began = time.perf_counter()
        self._collecting, threshold = gc.isenabled(), gc.get_threshold()
        gc.disable()  # what starting makes stays, and is no garbage: not to be looked through again and again
        crew = asyncio.create_task(self._start_all(), name="cpsim[fleet].crew")
        try:
            await asyncio.wait([crew], timeout=self.plan.duration)
        finally:
            try:
                if not crew.done():
                    crew.cancel()
                    await asyncio.wait([crew], timeout=_LAST_WORDS)
            finally:
                self._clock.stop()
                self._collect_again()
                gc.unfreeze()
                gc.set_threshold(*threshold)
                self._open_at_end = self._open()
                await asyncio.shield(_close(self.members))
                fault = crew.exception() if crew.done() and not crew.cancelled() else None
        if not crew.done():
            logger.error(
                "fleet: the scenario of %s does not end when it is cancelled: does it catch every exception (a bare "
                "`except:`, or BaseException)? It is left to itself",
                ", ".join(sorted(self._working)[:3]),
            )
        elif fault is not None:
            # Not raised where the group is caught: it would be the fault's context, which IPython cannot show.
            raise fault.exceptions[0] if isinstance(fault, BaseExceptionGroup) else fault

    async def _start_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for charge_point_id, (at, phase) in self.plan.starts.items():
                if (wait := self._began + at - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                self.members.append(_Member(self._charge_point(charge_point_id), phase, self._began + at))
                group.create_task(self._live(self.members[-1]), name=f"cpsim[{charge_point_id}].fleet")

    def _charge_point(self, charge_point_id: str) -> ChargePoint:
        plan = self.plan
        own = dict(plan.attributes(charge_point_id)) if plan.attributes is not None else {}
        options = {"max_messages": 0, **plan.options, "ssl": self._ssl, **own, "observe": self._note}
        try:
            return ChargePoint(charge_point_id, plan.url, **options)
        except Exception as exc:
            exc.add_note(f"This was of {charge_point_id}, with the attributes {own!r}.")
            raise

    async def _live(self, member: _Member) -> None:
        """Connect, work, and connect again as long as the policy says so."""
        waits: Iterator[float] | None = None
        charge_point_id = member.charge_point.id
        self._working.add(charge_point_id)
        try:
            while True:
                try:
                    await self._connect(member)
                    waits = None
                    await (self._boot_and_beat(member) if self.plan.scenario is None else self._do_scenario(member))
                    return
                except (ConnectError, ConnectionLost) as exc:
                    self._note_once(member, "connection", exc)
                    if self.plan.reconnect is None:
                        return
                    waits = waits or self.plan.reconnect.waits(self._random)
                    await self._be_away(member, next(waits), exc)
        except CpsimError as exc:
            self._note_once(member, "scenario", exc)
        except asyncio.CancelledError:
            self._note_what_was_due(member)
            raise
        except Exception as exc:
            self._note_once(member, "scenario", exc)
            exc.add_note(f"This was in the scenario of {charge_point_id}.")
            raise
        finally:
            self._working.discard(charge_point_id)

    async def _do_scenario(self, member: _Member) -> None:
        assert self.plan.scenario is not None
        doing = self.plan.scenario(member.charge_point)
        if not inspect.isawaitable(doing):
            raise TypeError(f"a scenario is an async function, async def scenario(cp); this one returned {doing!r}")
        await doing

    async def _connect(self, member: _Member) -> None:
        began, due = time.perf_counter(), member.connect_due
        member.lost = None
        try:
            await member.charge_point.connect()
        except BaseException as exc:
            member.error = exc if isinstance(exc, CpsimError) else None
            self._note(member.charge_point, "connect", due, began, time.perf_counter(), exc)
            raise
        else:
            self._note(member.charge_point, "connect", due, began, time.perf_counter(), None)
            member.has_connected = True
        finally:
            if not member.has_tried:
                member.has_tried = True
                self._to_come -= 1
                if not self._to_come:
                    self._collect_again()

    def _collect_again(self) -> None:
        """Leave what is there alone, and collect what comes, where it was collected before."""
        if self._collecting and not gc.isenabled():
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD)
            gc.enable()

    async def _boot_and_beat(self, member: _Member) -> None:
        """Boot until accepted, once; then heartbeats, each when it is due, or as soon after as it can be sent."""
        charge_point = member.charge_point
        own_waits = own_boot_waits()
        while charge_point.boot_status != "Accepted":
            if (answer := await charge_point.boot()).status != "Accepted":
                wait = answer.interval if answer.interval > 0 else next(own_waits)
                await self._until(time.perf_counter() + wait, member)
        interval = self.plan.interval or charge_point.heartbeat_interval or OWN_INTERVAL
        if member.due is None:
            now = time.perf_counter()
            member.due = first_heartbeat(self._began, now, interval, None if self.plan.burst else member.phase)
        heartbeat = charge_point.heartbeat_payload
        while True:
            await self._until(member.due, member)
            due, member.due = member.due, member.due + interval
            try:
                await charge_point.call(heartbeat, due=due)
            except ConnectionLost:
                raise
            except CpsimError:
                pass  # it is a row; the next heartbeat comes all the same

    async def _until(self, moment: float, member: _Member) -> None:
        """Wait for a moment of ``time.perf_counter()``; the end of the connection ends it, as ConnectionLost."""
        if member.lost is not None:
            raise member.lost
        member.waiting = waiting = self._clock.at(moment)
        if waiting is not None:
            await waiting

    async def _be_away(self, member: _Member, seconds: float, why: CpsimError) -> None:
        """Wait for the next try to connect; heartbeats that are due meanwhile fail, each a row."""
        until = time.perf_counter() + seconds
        interval = self.plan.interval or member.charge_point.heartbeat_interval or OWN_INTERVAL
        while member.due is not None and member.due < until:
            await asyncio.sleep(max(0.0, member.due - time.perf_counter()))
            self._note(member.charge_point, "Heartbeat", member.due, member.due, _NAN, why)
            member.due += interval
        await asyncio.sleep(max(0.0, until - time.perf_counter()))
        member.connect_due = until

    def _note_what_was_due(self, member: _Member) -> None:
        """At the end: heartbeats that were due and could not be sent, as those before were not answered yet."""
        interval = self.plan.interval or member.charge_point.heartbeat_interval or OWN_INTERVAL
        end = min(time.perf_counter(), self._began + self.plan.duration)
        while member.due is not None and member.due < end:
            now = time.perf_counter()
            self._note(member.charge_point, "Heartbeat", member.due, member.due, now, asyncio.CancelledError())
            member.due += interval

    def _note_once(self, member: _Member, what: str, error: Exception) -> None:
        """An error that left the scenario, where it is not of a call, which is a row already."""
        is_fault_noted = error is self._faults.get(member.charge_point.id)
        if not (error in self._noted if isinstance(error, CpsimError) else is_fault_noted):
            now = time.perf_counter()
            self._note(member.charge_point, what, now, now, now, error)

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
        calls = self.calls
        if error is None:
            calls.add(charge_point.id, action, epoch(sent), (answered - sent) * 1000, (answered - due) * 1000)
        elif isinstance(error, CpsimError):
            self._noted.add(error)
            detail = _UNIQUE.sub("", str(error)).replace(charge_point.id, "…")
            calls.add(charge_point.id, action, epoch(sent), _NAN, _NAN, error.outcome, detail)
        elif isinstance(error, Exception):  # a wrong payload, say: a fault here, whatever becomes of the scenario
            self._faults[charge_point.id] = error  # which has no weak references
            detail = f"{type(error).__name__}: {error}".replace(charge_point.id, "…")
            calls.add(charge_point.id, action, epoch(sent), _NAN, _NAN, FAULT, detail)
        else:  # cancelled
            calls.add(charge_point.id, action, epoch(sent), _NAN, (answered - due) * 1000, UNFINISHED)


class _Clock:
    """Wakes who waits for a moment, by one timer of the event loop: a timer for each is what costs in waiting."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []  # a heap; the number keeps futures uncompared
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._slack = 0.0  # seconds by which the loop wakes too early, once it has: uvloop counts in milliseconds

    def at(self, moment: float) -> asyncio.Future[None] | None:
        """What is done at a moment of ``time.perf_counter()``; None for a moment that is past."""
        if moment <= time.perf_counter():
            return None
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (moment, next(self._numbers), future))
        if self._waiting[0][2] is future:
            self._wait()
        return future

    def stop(self) -> None:
        """Wake nobody any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        self.stop()
        wait = self._waiting[0][0] - time.perf_counter()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, wait) + self._slack, self._wake)

    def _wake(self) -> None:
        now = time.perf_counter() + 1e-6
        if self._waiting[0][0] > now:
            self._slack = 0.001
            self._wait()
            return
        while self._waiting and self._waiting[0][0] <= now:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():  # it may have been cancelled
                future.set_result(None)
        self._timer = None
        if self._waiting:
            self._wait()


def first_heartbeat(began: float, now: float, interval: float, phase: float | None) -> float:
    """The moment of a charge point's first heartbeat, from which the others follow by intervals.

    Args:
        began: The moment at which the fleet did.
        now: The moment from which on.
        interval: Seconds between heartbeats.
        phase: From 0 to 1, the charge point's own; None for the moments that all share.
    """
    if phase is None:
        return began + ((now - began) // interval + 1) * interval
    step = min(_STEP, interval / 100)
    return began + math.ceil((now + phase * interval - began) / step) * step


class _Member:
    """One charge point of a fleet."""

    __slots__ = (
        "charge_point",
        "connect_due",
        "due",
        "error",
        "has_connected",
        "has_tried",
        "lost",
        "phase",
        "waiting",
    )

    def __init__(self, charge_point: ChargePoint, phase: float, connect_due: float) -> None:
        self.charge_point = charge_point
        self.phase = phase
        self.connect_due = connect_due
        self.due: float | None = None  # its next heartbeat
        self.waiting: asyncio.Future[None] | None = None  # for the moment of what comes next
        self.lost: ConnectionLost | None = None  # since the connection ended
        self.has_tried = self.has_connected = False
        self.error: CpsimError | None = None
        charge_point.on_close(self.lose)

    def lose(self, error: ConnectionLost) -> None:
        """The connection is no more: not to be noticed only when the next heartbeat is due."""
        self.lost = error
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(error)
            self.waiting.exception()  # told, also where nobody waits any more


async def _close(members: list[_Member]) -> None:
    """Close all connections, so many at a time."""
    waiting = iter(members)

    async def worker() -> None:
        for member in waiting:
            await member.charge_point.close()

    await asyncio.gather(*(worker() for _ in range(min(_CLOSING, len(members)))))
