"""One process's share of a fleet: its charge points, each a task, and their calls.

The charge points are ordinary :class:`~cpsim_kit.charge_point.ChargePoint` objects; ``observe`` measures their calls.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from weakref import WeakSet

from cpsim_kit.basics.clock import epoch
from cpsim_kit.basics.process import raise_file_limit
from cpsim_kit.charge_point import OWN_INTERVAL, ChargePoint, Network
from cpsim_kit.charge_point.backoff import own_boot_waits
from cpsim_kit.charge_point.lifecycle import boot_until_accepted, keep_connected
from cpsim_kit.errors import ConnectError, ConnectionLost, CpsimError
from cpsim_kit.fleet.call_table import CallTable
from cpsim_kit.fleet.charging import Charger
from cpsim_kit.fleet.garbage_collection import COLLECTOR
from cpsim_kit.fleet.member import Member, StationsChargePoint, close_all
from cpsim_kit.fleet.pacing import SharedTimer, first_heartbeat
from cpsim_kit.fleet.plan import Plan
from cpsim_kit.fleet.report import Load, Report
from cpsim_kit.fleet.session_table import SessionRow
from cpsim_kit.ocpp_j.versions import Version
from cpsim_kit.records.outcomes import FAULT, UNFINISHED

__all__ = ["Share"]

logger = logging.getLogger("cpsim.fleet")

_NAN = float("nan")
_UNIQUE = re.compile(r" \(message id [^)]*\)")  # the part of a message that differs between errors of the same kind


class Share:
    """A share that runs in this process.

    Attributes:
        calls: The calls since the last report.
        members: Its charge points, once started.
    """

    def __init__(self, plan: Plan) -> None:
        import numpy as np  # noqa: F401, PLC0415 - reports need it; not to be imported while calls are measured

        ssl = plan.options.get("ssl")
        self.plan = plan
        self.calls = CallTable()
        self.members: list[Member] = []
        self._ssl = ssl() if callable(ssl) else ssl
        self._timer = SharedTimer()
        self._random = random.Random(plan.seed)  # noqa: S311 - waits, no secrets
        self._began = self._end = 0.0
        self._not_tried = len(plan.starts)  # charge points that have not tried to connect yet
        self._on_all_tried: Callable[[], None] = lambda: None
        self._open_at_end: int | None = None  # connections that were open when the run ended; then they are closed
        self._load_at_end: Load | None = None
        self._sessions: list[SessionRow] = []  # rows of the end, not yet reported
        self._noted: WeakSet[CpsimError] = WeakSet()  # errors that have a row
        self._faults: dict[str, Exception] = {}  # the last error of each charge point that is not the kit's: has a row
        self._lost_calls: set[str] = set()  # charge points that lost a call with their last connection
        self._working: set[str] = set()  # charge points whose scenario has not ended

    def load(self) -> None:
        """Import the OCPP version, which takes up to a second; otherwise the first charge point would wait for it."""
        Version.get(self.plan.options.get("version", "2.0.1")).load()

    def report(self) -> Report:
        """The state, and the calls since the last report."""
        return Report(
            open=self._open() if self._open_at_end is None else self._open_at_end,
            connected=sum(member.has_connected for member in self.members),
            booted=sum(member.charge_point.boot_status == "Accepted" for member in self.members),
            calls=self.calls.drain(),
            charging=self._load() if self._open_at_end is None else self._load_at_end,
            sessions=self._drain_sessions(),
        )

    def remote_report(self) -> Report:
        """A report for another process: with the faults of this process's copy of the network."""
        network = self.plan.options.get("transport")
        return replace(self.report(), faults=network.unreported() if isinstance(network, Network) else [])

    def _open(self) -> int:
        return sum(member.charge_point.is_open for member in self.members)

    def _load(self) -> Load | None:
        if self.plan.charging is None:
            return None
        chargers = [member.charger for member in self.members if member.charger is not None]
        return Load(
            sum(charger.sessions for charger in chargers),
            sum(charger.power_kw for charger in chargers),
            sum(charger.station.waiting for charger in chargers),
        )

    def _drain_sessions(self) -> list[SessionRow]:
        if (
            self.plan.charging is not None and self._open_at_end is None
        ):  # afterwards a station's clock still runs, and nothing charges any more
            for member in self.members:
                if member.charger is not None:
                    self._sessions += member.charger.drain()
        rows, self._sessions = self._sessions, []
        return rows

    @property
    def errors(self) -> list[CpsimError]:
        """The last error of each charge point that never connected."""
        return [member.error for member in self.members if member.error is not None and not member.has_connected]

    async def run(self, duration: float | None = None) -> None:
        """Start the charge points as planned, and close them at the end.

        Args:
            duration: Seconds from now to the end; the plan's when None.

        Raises:
            Exception: An error of a scenario that is not the kit's; all charge points were stopped.
        """
        raise_file_limit()
        self._began = time.perf_counter()
        self._end = self._began + (self.plan.duration if duration is None else duration)
        crew = asyncio.create_task(self._start_all(), name="cpsim[fleet].crew")
        try:
            with COLLECTOR.paused() as self._on_all_tried:
                try:
                    await asyncio.wait([crew], timeout=self._end - self._began)
                finally:
                    if not crew.done():
                        crew.cancel()
                        await asyncio.wait([crew], timeout=self.plan.cancel_timeout)
        finally:
            self._timer.stop()
            self._load_at_end, self._sessions = self._load(), self._drain_sessions()
            self._open_at_end = self._open()
            await asyncio.shield(close_all(self.members))
            fault = crew.exception() if crew.done() and not crew.cancelled() else None
        if not crew.done():
            logger.error(
                "fleet: the scenario of %s does not end when it is cancelled: does it catch every exception (a bare "
                "`except:`, or BaseException)? It is left to itself",
                ", ".join(sorted(self._working)[:3]),
            )
        elif fault is not None:
            # Raised alone: an exception whose context is a group of exceptions cannot be shown by IPython.
            raise fault.exceptions[0] if isinstance(fault, BaseExceptionGroup) else fault

    async def _start_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for charge_point_id, (at, phase) in self.plan.starts.items():
                if (wait := self._began + at - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                self.members.append(self._member(charge_point_id, phase, self._began + at))
                group.create_task(self._live(self.members[-1]), name=f"cpsim[{charge_point_id}].fleet")

    def _member(self, charge_point_id: str, phase: float, due: float) -> Member:
        if self.plan.charging is None:
            return Member(self._charge_point(charge_point_id), phase, due)
        charge_point = self._charge_point(charge_point_id, StationsChargePoint)
        assert isinstance(charge_point, StationsChargePoint)
        member = Member(charge_point, phase, due)
        charge_point.measured = partial(self._connect, member)
        member.charger = Charger(
            self.plan.charging, charge_point, lambda error: self._note_once(member, "scenario", error)
        )
        charge_point.on_close(lambda error: self._note_loss(member, error))
        return member

    def _charge_point(self, charge_point_id: str, kind: type[ChargePoint] = ChargePoint) -> ChargePoint:
        plan = self.plan
        own = dict(plan.attributes(charge_point_id)) if plan.attributes is not None else {}
        options = {"max_messages": 0, **plan.options, "ssl": self._ssl, **own, "observe": self._note}
        try:
            return kind(charge_point_id, plan.url, **options)
        except Exception as exc:
            exc.add_note(f"This was of {charge_point_id}, with the attributes {own!r}.")
            raise

    async def _live(self, member: Member) -> None:
        """Connect, run the scenario, and after a lost connection wait and connect again, where the plan says so."""
        charge_point_id = member.charge_point.id
        self._working.add(charge_point_id)
        try:
            if member.charger is not None:
                await self._charge(member, member.charger)
                return
            await keep_connected(
                member.charge_point,
                lambda _: self._boot_and_beat(member) if self.plan.scenario is None else self._do_scenario(member),
                reconnect=self.plan.reconnect,
                random=self._random,
                connect=lambda: self._connect(member, member.charge_point.connect),
                pause=lambda seconds, why: self._be_away(member, seconds, why),
            )
        except (ConnectError, ConnectionLost) as exc:
            self._note_once(member, "connection", exc)
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

    async def _charge(self, member: Member, charger: Charger) -> None:
        """Connect until the CSMS has accepted the station; from then on it keeps its connection itself."""
        await keep_connected(
            member.charge_point,
            lambda _: charger.accept(self._random),
            reconnect=charger.station.backoff,
            random=self._random,
            pause=lambda seconds, why: self._be_away(member, seconds, why),
        )
        await charger.serve()

    async def _do_scenario(self, member: Member) -> None:
        assert self.plan.scenario is not None
        doing = self.plan.scenario(member.charge_point)
        if not inspect.isawaitable(doing):
            raise TypeError(f"a scenario is an async function, async def scenario(cp); this one returned {doing!r}")
        await doing

    async def _connect(self, member: Member, connect: Callable[[], Awaitable[object]]) -> None:
        """Open a connection by ``connect``, and measure that."""
        began = time.perf_counter()
        due = began if member.connect_due is None else member.connect_due
        member.lost = member.connect_due = None
        try:
            await connect()
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
                self._not_tried -= 1
                if not self._not_tried:
                    self._on_all_tried()

    async def _boot_and_beat(self, member: Member) -> None:
        """Boot until accepted, then send heartbeats: each when it is due, or once the one before is answered.

        After a reconnection, a charge point that was accepted does not boot again, and its heartbeats keep their grid.
        """
        charge_point = member.charge_point
        if charge_point.boot_status != "Accepted":
            await boot_until_accepted(
                charge_point,
                own_waits=own_boot_waits(self.plan.first_boot_wait),
                pause=lambda seconds: self._until(time.perf_counter() + seconds, member),
            )
        interval = self._interval(charge_point)
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
                pass  # it has a row, and the next heartbeat comes anyway

    def _interval(self, charge_point: ChargePoint) -> float:
        return self.plan.interval or charge_point.heartbeat_interval or OWN_INTERVAL

    async def _until(self, moment: float, member: Member) -> None:
        """Wait until a moment of ``time.perf_counter()``; raises ConnectionLost as soon as the connection is lost."""
        if member.lost is not None:
            raise member.lost
        member.waiting = waiting = self._timer.at(moment)
        if waiting is not None:
            await waiting

    async def _be_away(self, member: Member, seconds: float, why: CpsimError) -> None:
        """Wait before the next try to connect; each heartbeat that is due meanwhile is a failed call."""
        self._note_once(member, "connection", why)
        until = time.perf_counter() + seconds
        interval = self._interval(member.charge_point)
        while member.due is not None and member.due < until:
            await asyncio.sleep(max(0.0, member.due - time.perf_counter()))
            self._note(member.charge_point, "Heartbeat", member.due, member.due, _NAN, why)
            member.due += interval
        await asyncio.sleep(max(0.0, until - time.perf_counter()))
        member.connect_due = until

    def _note_what_was_due(self, member: Member) -> None:
        """At the end, add a row for each heartbeat that was due and not sent, because the one before had no answer."""
        interval = self._interval(member.charge_point)
        end = min(time.perf_counter(), self._end)
        while member.due is not None and member.due < end:
            now = time.perf_counter()
            self._note(member.charge_point, "Heartbeat", member.due, member.due, now, asyncio.CancelledError())
            member.due += interval

    def _note_once(self, member: Member, what: str, error: Exception) -> None:
        """Add a row for an error that left the scenario, unless it came from a call, which has its row already."""
        is_fault_noted = error is self._faults.get(member.charge_point.id)
        if not (error in self._noted if isinstance(error, CpsimError) else is_fault_noted):
            now = time.perf_counter()
            self._note(member.charge_point, what, now, now, now, error)

    def _note_loss(self, member: Member, error: ConnectionLost) -> None:
        """Add a row where a station's connection was lost between two calls."""
        if error.closed.by == "charge point":
            return

        def note() -> None:
            if self._open_at_end is None and member.charge_point.id not in self._lost_calls:
                self._note_once(member, "connection", error)

        self._lost_calls.discard(member.charge_point.id)
        asyncio.get_running_loop().call_soon(note)  # a call that had no answer yet is noted first

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
            if isinstance(error, ConnectionLost):
                self._lost_calls.add(charge_point.id)
            detail = _UNIQUE.sub("", str(error)).replace(charge_point.id, "…")
            calls.add(charge_point.id, action, epoch(sent), _NAN, _NAN, error.outcome, detail)
        elif isinstance(error, Exception):  # a wrong payload, for example
            self._faults[charge_point.id] = error  # not in the WeakSet: many exceptions allow no weak references
            detail = f"{type(error).__name__}: {error}".replace(charge_point.id, "…")
            calls.add(charge_point.id, action, epoch(sent), _NAN, _NAN, FAULT, detail)
        else:  # it was cancelled
            calls.add(charge_point.id, action, epoch(sent), _NAN, (answered - due) * 1000, UNFINISHED)
