"""A station: the face that a reader calls, and the one task that drives the core.

The task feeds time and the CSMS's answers into the core, and sends what comes out, one message after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random as random_module
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from ocpp.exceptions import NotSupportedError

from cpsim_kit.basics.cards import card
from cpsim_kit.basics.clock import epoch
from cpsim_kit.charge_point import ChargePoint, boot_until_accepted
from cpsim_kit.charge_point.arguments import check_seconds
from cpsim_kit.errors import ConnectionLost, CpsimError, ProtocolViolation, WaitTimeout
from cpsim_kit.ocpp_j.versions import VERSIONS
from cpsim_kit.station.clock import StationClock
from cpsim_kit.station.core import Core
from cpsim_kit.station.dialects import dialect_of
from cpsim_kit.station.events import (
    TICK,
    Accepted,
    Answer,
    ClearFault,
    Event,
    Failure,
    Fault,
    Outgoing,
    PlugIn,
    SuspendEv,
    SuspendEvse,
    Swipe,
    Swiped,
    Unplug,
)
from cpsim_kit.station.evse import Evse
from cpsim_kit.station.evse_view import EvseView
from cpsim_kit.station.goal import Goal
from cpsim_kit.station.session import Session, truth_frame
from cpsim_kit.station.variables import VARIABLES, Variables
from cpsim_kit.station.vehicle import Vehicle

if TYPE_CHECKING:
    import pandas as pd

    from cpsim_kit.station.dialects import Dialect

__all__ = ["Command", "Station"]

logger = logging.getLogger("cpsim.station")

_MESSAGE_TIMEOUT = "OCPPCommCtrlr.MessageTimeout[Default]"
_STEPS = 64  # of a clock that goes from event to event, before other tasks get their turn


@dataclass(frozen=True, slots=True)
class Command:
    """A CALL of the CSMS, and what the station answered.

    Attributes:
        action: E.g. "RequestStartTransaction".
        payload: The fields in snake_case.
        answer: The ``call_result`` dataclass.
        at: When, by the station's clock.
    """

    action: str
    payload: Mapping[str, Any]
    answer: Any
    at: datetime


class Station:
    """A charge point that behaves: you do what a person, a car or a fault does, and it says what follows.

        station = await stack.station("CP1")
        async with Station("CP1", "ws://127.0.0.1:9000") as station: ...
        station = await Station(charge_point)

    Once awaited or entered it is connected, accepted by the CSMS, and beats. An act returns when what it made the
    station say is answered. What cannot be done physically is a ValueError.

    The station's clock stands still while a message waits for its answer. With ``speed=math.inf`` it goes from event to
    event while :meth:`until` or :meth:`charge` waits, and stands still otherwise. Heartbeats keep to real time.

    Args:
        charge_point: The identity, or a charge point.
        url: The CSMS's address without the identity; only with an identity.
        version: OCPP version: "1.6", "2.0.1" or "2.1"; only with an identity.
        evses: What its EVSEs can do; one of 22 kW with three phases when None.
        variables: Values that differ from the defaults, e.g. ``{"TxCtrlr.TxStartPoint": "EVConnected"}``; for OCPP 1.6
            by its keys, e.g. ``{"MeterValueSampleInterval": 10}``.
        seed: Of everything random, such as the ids of transactions; None for other ones each time.
        speed: How many seconds of its clock pass in a real second.
        record: Whether sessions keep a row for each change and each meter reading.
        **options: As :class:`~cpsim_kit.charge_point.ChargePoint` takes them; only with an identity.

    Raises:
        TypeError: Options for a charge point that is there already.
        ValueError: A value is out of range, or there is no such variable.

    Attributes:
        evses: The EVSEs by id.
        sessions: All sessions, oldest first.
        variables: The variables; the CSMS can set them.
        charge_point: The charge point beneath.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_closes",
        "_commands",
        "_core",
        "_error",
        "_goals",
        "_heartbeat_at",
        "_holds",
        "_is_closed",
        "_opening",
        "_own",
        "_task",
        "_views",
        "_waiters",
        "_wake",
        "_wake_commands",
        "charge_point",
        "variables",
    )

    def __init__(
        self,
        charge_point: str | ChargePoint,
        url: str | None = None,
        *,
        version: str | None = None,
        evses: Sequence[Evse] | None = None,
        variables: Mapping[str, object] | None = None,
        seed: int | None = None,
        speed: float = 1,
        record: bool = True,
        **options: Any,
    ) -> None:
        self._own = not isinstance(charge_point, ChargePoint)
        if isinstance(charge_point, ChargePoint):
            if url is not None or version is not None or options:
                given = ["url"] * (url is not None) + ["version"] * (version is not None) + list(options)
                raise TypeError(f"{charge_point.id} is made already; {', '.join(given)} cannot be given any more")
            self.charge_point = charge_point
        else:
            if url is None:
                raise TypeError("Station(id, url): the CSMS's address is missing")
            self.charge_point = ChargePoint(charge_point, url, version=version or "2.0.1", **options)
        name = self.charge_point.id
        _check_speed(name, speed)
        specs = [Evse()] if evses is None else list(evses) if isinstance(evses, Sequence) else []
        if not specs or not all(isinstance(each, Evse) for each in specs):
            raise ValueError(f"{name}: evses is a list of at least one Evse(…), not {evses!r}")
        if variables is not None and not isinstance(variables, Mapping):
            raise ValueError(f"{name}: variables is a dict of names and values, not {variables!r}")
        started = epoch(time.perf_counter())
        dialect = dialect_of(self.charge_point.version, started, len(specs))
        _check_names(dialect, variables or {})
        self.variables = Variables(dialect.names, dialect.read_only(), dialect.defaults, variables or {})
        self._core = Core(
            dialect,
            specs,
            self.variables,
            epoch=started,
            random=None if seed is None else random_module.Random(f"{seed} {name}"),  # noqa: S311 - ids, no secrets
            keeps_rows=record,
        )
        self._views = {number: EvseView(evse, self._now) for number, evse in self._core.evses.items()}
        self._clock = StationClock(speed, time.perf_counter)
        self._waiters: list[tuple[object, asyncio.Future[None]]] = []  # the act, and who waits for it
        self._goals: list[tuple[Goal, asyncio.Future[None]]] = []
        self._commands: deque[Command] = deque(maxlen=100)
        self._wake_commands: asyncio.Event | None = None
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._heartbeat_at = math.inf
        self._holds = 0
        self._is_closed = False
        self._closes = False  # the connection, as the station opened it
        self._opening = asyncio.Lock()

    def __repr__(self) -> str:
        states = ", ".join(f"{number} {view.connector_status}".rstrip() for number, view in self._views.items())
        return f"<Station {self.id} {self._state} ocpp{self.charge_point.version} EVSE {states}>"

    def _repr_html_(self) -> str:
        pace = {1: "real time", math.inf: "from event to event"}.get(self.speed, f"{self.speed:g} times as fast")
        rows: dict[str, Any] = {"clock": f"{self.now:%Y-%m-%d %H:%M:%S} UTC, {pace}"}
        for number, view in self._views.items():
            rows[f"EVSE {number}"] = view.describe()
        rows["sessions"] = len(self.sessions) or None
        return card(f"Station {self.charge_point.id}", self._state, rows)

    @property
    def _state(self) -> str:
        if self._task is None:
            return "closed" if self._is_closed else "new"
        return "lost" if self._error is not None else "online"

    # -- Opening and closing ------------------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, Self]:
        return self.connect().__await__()

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()

    async def connect(self) -> Self:
        """Connect, boot until the CSMS accepts, report the connectors, and begin to beat.

        Does nothing while it is connected. Where the CSMS refuses one of the reports, the log says so, and the station
        goes on. After an error the station can be awaited again.

        Raises:
            ConnectError: The connection did not open.
            NotRegistered: The gateway has no Thing of this id.
            ConnectionLost: The connection closed.
            CallTimeout, CallFailed, ProtocolViolation: As :meth:`ChargePoint.boot`.
            RuntimeError: The station was closed.
        """
        async with self._opening:
            if self._task is None:
                try:
                    await self._open()
                except BaseException as exc:
                    await self._stop(exc)
                    if self._closes:
                        await self.charge_point.close()
                    while self._core.take() is not None:  # it says them after the next start
                        pass
                    raise
            self._require_running()
        return self

    async def _open(self) -> None:
        self._require_not_closed()
        charge_point = self.charge_point
        self._error = None
        self._closes = self._closes or not charge_point.is_open
        await charge_point.connect()
        for action, command in self._core.dialect.commands.items():
            charge_point.on(action, partial(self._command, action, command))
        if charge_point.boot_status != "Accepted" or self._own:
            await boot_until_accepted(charge_point)
        self._require_not_closed()
        self._take_heartbeat_interval()
        charge_point.on_close(self._connection_lost)
        self._task = asyncio.create_task(self._drive(), name=f"cpsim[{self.id}].station")
        await self._do(Accepted())

    def _take_heartbeat_interval(self) -> None:
        """Beat at the interval that the CSMS instructed at boot, and show it in the variable."""
        interval = self.charge_point.heartbeat_interval
        if interval is None:
            self._set_heartbeat_interval(self._heartbeat_variable)
            return
        (name,) = (name for name in self.variables if name.endswith("HeartbeatInterval"))
        self.variables.set(name, max(1, round(interval)))
        self._heartbeat_at = time.perf_counter() + interval

    @property
    def _heartbeat_variable(self) -> int:
        return int(self.variables.value("OCPPCommCtrlr.HeartbeatInterval"))

    def _set_heartbeat_interval(self, seconds: float) -> None:
        self.charge_point.heartbeat_interval = seconds
        self._heartbeat_at = min(self._heartbeat_at, time.perf_counter() + seconds)
        self._wake_up()

    async def close(self) -> None:
        """Stop, and close the connection if the station opened it. Closing twice is harmless.

        A session that runs is left as it is: the CSMS does not hear of its end.
        """
        self._is_closed = True
        try:
            await self._stop(RuntimeError(f"{self.id} is closed; make another Station"))
        finally:
            if self._closes:
                await self.charge_point.close()

    async def _stop(self, error: BaseException) -> None:
        task, self._task = self._task, None
        try:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        finally:
            self._fail(error)

    def _connection_lost(self, error: ConnectionLost) -> None:
        if self._task is not None and self._error is None:
            self._error = error
            self._fail(error)
            self._wake_up()

    def _fail(self, error: BaseException) -> None:
        """Everybody who waits gets this error."""
        waiting = [future for _, future in (*self._waiters, *self._goals)]
        self._waiters, self._goals = [], []
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        if self._wake_commands is not None:
            self._wake_commands.set()

    def _require_not_closed(self) -> None:
        if self._is_closed:
            raise RuntimeError(f"{self.id} is closed; make another Station")

    def _require_running(self) -> None:
        self._require_not_closed()
        if self._task is None:
            raise RuntimeError(f"{self.id} does not run; write `await station`, or `async with … as station`")
        if self._error is not None:
            raise self._error.with_traceback(None)

    # -- State --------------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The identity."""
        return self.charge_point.id

    @property
    def now(self) -> datetime:
        """The station's clock, UTC."""
        return datetime.fromtimestamp(self._core.epoch + self._now(), UTC)

    def _now(self) -> float:
        return self._clock.now(self._limit())

    @property
    def speed(self) -> float:
        """How many seconds of the station's clock pass in a real second; it can be changed."""
        return self._clock.speed

    @speed.setter
    def speed(self, speed: float) -> None:
        _check_speed(self.id, speed)
        self._clock.advance(self._now())
        self._clock.speed = speed
        self._wake_up()

    @property
    def evses(self) -> Mapping[int, EvseView]:
        """The EVSEs by id, from 1 on."""
        return self._views

    @property
    def sessions(self) -> list[Session]:
        """All sessions, oldest first."""
        return self._core.sessions

    def truth(self) -> pd.DataFrame:
        """What its own meters showed: one row for each transaction, whatever was said to the CSMS.

        Columns: transaction_id, evse_id, start and end (UTC), start_wh, end_wh, energy_wh. A running transaction has no
        end yet.
        """
        return truth_frame(self._core.transactions, self._core.epoch)

    # -- Acts ---------------------------------------------------------------------------------------------------------

    async def plug_in(self, vehicle: Vehicle, *, evse: int | None = None) -> None:
        """Connect a vehicle.

        Args:
            vehicle: The vehicle.
            evse: Where; may be left out where only one EVSE is free.

        Raises:
            TypeError: That is not a Vehicle.
            ValueError: There is a vehicle already, or it is not plain which EVSE is meant.
            CpsimError: What it made the station say failed.
        """
        if not isinstance(vehicle, Vehicle):
            raise TypeError(f"{self.id}: plug_in() takes a Vehicle(…), not {vehicle!r}")
        await self._do(PlugIn(vehicle, evse))

    async def swipe(self, token: str, *, evse: int | None = None, type: str = "ISO14443") -> Swiped:  # noqa: A002
        """Present a token: it authorizes a session, or stops the one that it has authorized.

        Args:
            token: The token's id.
            evse: Which EVSE is meant, where that is not plain.
            type: An IdTokenEnumType value; OCPP 1.6 knows no types.

        Returns:
            What came of it: ``effect`` is "authorized", "stopped" or "refused", ``status`` what the CSMS said.

        Raises:
            ValueError: It is not plain which EVSE is meant, or the version cannot carry the token.
            CpsimError: What it made the station say failed, e.g. UnsupportedByCsms.
        """
        event = Swipe(self._core.dialect.token(token, type), evse)
        await self._do(event)
        return event.result or Swiped(token, "", "refused", "the CSMS did not answer")

    async def unplug(self, *, evse: int | None = None, side: Literal["evse", "ev"] = "evse") -> None:
        """Take the cable out.

        Args:
            evse: Where; may be left out where only one EVSE has a vehicle.
            side: "ev" to take it out of the vehicle only; where the EVSE has a socket, the cable hangs there then.

        Raises:
            ValueError: There is nothing to unplug.
            CpsimError: What it made the station say failed.
        """
        await self._do(Unplug(evse, side))

    async def suspend_ev(self, *, evse: int | None = None) -> None:
        """The vehicle takes no energy any more, as if its driver had said so. Raises as :meth:`unplug` does."""
        await self._do(SuspendEv(True, evse))

    async def resume_ev(self, *, evse: int | None = None) -> None:
        """The vehicle takes energy again, if its battery is not full. Raises as :meth:`unplug` does."""
        await self._do(SuspendEv(False, evse))

    async def suspend_evse(self, *, evse: int | None = None) -> None:
        """The EVSE offers no energy any more. Raises as :meth:`unplug` does."""
        await self._do(SuspendEvse(True, evse))

    async def resume_evse(self, *, evse: int | None = None) -> None:
        """The EVSE offers energy again. Raises as :meth:`unplug` does."""
        await self._do(SuspendEvse(False, evse))

    async def fault(self, name: str = "InternalError", *, evse: int | None = None) -> None:
        """A fault blocks an EVSE, and ends its transaction.

        Args:
            name: One of ``cpsim_kit.station.FAULTS``, for every version; each says it in its own words.
            evse: Where; may be left out where there is only one.

        Raises:
            ValueError: There is no such fault, or the EVSE has one already.
            CpsimError: What it made the station say failed.
        """
        await self._do(Fault(name, evse))

    async def clear_fault(self, *, evse: int | None = None) -> None:
        """The fault is gone. Raises as :meth:`unplug` does."""
        await self._do(ClearFault(evse))

    async def until(
        self,
        *,
        soc: float | None = None,
        energy_kwh: float | None = None,
        power_kw: float | None = None,
        state: str | None = None,
        minutes: float | None = None,
        evse: int | None = None,
        timeout: float | None = 30,
    ) -> None:
        """Wait until all of this is so.

        Args:
            soc: The vehicle has this state of charge, from 0 to 1.
            energy_kwh: So much was delivered in this session.
            power_kw: The delivered power has risen, or fallen, to this value.
            state: The charging state or the connector's status, e.g. "Charging" or "Available".
            minutes: So many minutes of the station's clock have passed.
            evse: Where; may be left out where only one EVSE comes into question.
            timeout: Real seconds to wait; None for ever.

        Raises:
            WaitTimeout: It did not come to that; ``last_seen`` says what was seen last.
            ValueError: Nothing to wait for, a value out of range, or it is not plain which EVSE is meant.
            ConnectionLost: The connection closed.
        """
        wanted = {"soc": soc, "energy_kwh": energy_kwh, "power_kw": power_kw, "state": state, "minutes": minutes}
        goal = Goal.make(self._core, self._now(), evse, wanted)
        await self._reach(goal, timeout)

    async def charge(
        self,
        vehicle: Vehicle,
        *,
        token: str,
        evse: int | None = None,
        until_soc: float | None = None,
        until_energy_kwh: float | None = None,
        minutes: float | None = None,
        timeout: float | None = None,
    ) -> Session:
        """Charge a vehicle: plug in, present the token, wait, present the token again, unplug.

        It ends early if the token is refused, the vehicle has enough, or somebody else ends the session. Interrupted,
        it leaves the vehicle plugged in.

        Args:
            vehicle: The vehicle.
            token: The token's id.
            evse: Where; the first free one when None.
            until_soc: The state of charge to stop at; the vehicle's own target when nothing is given.
            until_energy_kwh: The energy to stop at.
            minutes: Minutes of the station's clock to stop after.
            timeout: Real seconds to wait for that; None for ever.

        Returns:
            The session, ended.

        Raises:
            ValueError: No EVSE is free, or a value is out of range.
            WaitTimeout: It did not come to that in time; the vehicle stays plugged in.
            CpsimError: What it made the station say failed.
        """
        self._require_running()
        wanted = {"soc": until_soc, "energy_kwh": until_energy_kwh, "minutes": minutes}
        Goal.check(wanted)
        self._check_timeout(timeout)
        self._core.dialect.token(token, "ISO14443")
        place = evse if evse is not None else self._find_free()
        with self._hold():
            await self.plug_in(vehicle, evse=place)
            session = self._core.evses[place].session
            assert session is not None
            await self.swipe(token, evse=place)
            goal = Goal.make(self._core, self._now(), place, wanted, ends_with_session=True)
        await self._reach(goal, timeout)
        with self._hold():
            if self._core.evses[place].authorization is not None:
                await self.swipe(token, evse=place)
            if self._core.evses[place].vehicle is vehicle:
                await self.unplug(evse=place)
        return session

    def _find_free(self) -> int:
        """The first EVSE that somebody would go to."""
        for number, each in self._core.evses.items():
            if each.vehicle is None and each.authorization is None and each.is_usable:
                return number
        raise ValueError(f"{self.id}: no EVSE is free; unplug a vehicle, or say evse=")

    @contextlib.contextmanager
    def _hold(self) -> Iterator[None]:
        """Between two acts of one person the clock does not go to the next event."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    async def wait_command(self, action: str, *, timeout: float = 5) -> Command:
        """Wait for a CALL of the CSMS; one that came since the last wait counts.

        Args:
            action: E.g. "RequestStartTransaction".
            timeout: Real seconds to wait.

        Raises:
            WaitTimeout: It did not come.
            ValueError: The station does nothing on such a CALL.
        """
        if action not in self._core.dialect.commands:
            known = ", ".join(self._core.dialect.commands)
            raise ValueError(f"{self.id} acts on {known}, not on {action!r}")
        check_seconds(f"{self.id}: timeout=", timeout)
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for command in self._commands:
                        if command.action == action:
                            self._commands.remove(command)
                            return command
                    self._require_running()
                    self._wake_commands = self._wake_commands or asyncio.Event()
                    self._wake_commands.clear()
                    await self._wake_commands.wait()
        except TimeoutError as exc:
            seen = ", ".join(command.action for command in self._commands) or "no command"
            raise WaitTimeout(f"{self.id} to get {action}", timeout, seen) from exc

    def _command(self, action: str, command: Callable[..., Any], **fields: Any) -> Any:
        if self._is_closed:
            raise NotSupportedError(f"{self.id} is closed")
        interval = self._heartbeat_variable
        with self._stopped_clock() as now:
            answer = command(self._core, now, fields)
        self._commands.append(Command(action, fields, answer, self.now))
        if self._wake_commands is not None:
            self._wake_commands.set()
        if self._heartbeat_variable != interval:
            self._set_heartbeat_interval(self._heartbeat_variable)
        return answer

    # -- The driver ---------------------------------------------------------------------------------------------------

    async def _do(self, event: Event) -> None:
        """Let the core handle an act, and wait until what it made the station say is answered."""
        self._require_running()
        with self._stopped_clock() as now:
            self._core.handle(event, now)
        await self._wait((event, self._waiters))

    @contextlib.contextmanager
    def _stopped_clock(self) -> Iterator[float]:
        """Stop the clock at this moment; it runs on when there is nothing to say any more."""
        self._clock.hold(self._next_moment())
        try:
            yield self._clock.now()
        finally:
            self._wake_up()

    async def _wait(self, what: tuple[Any, list[Any]], timeout: float | None = None) -> None:
        key, waiting = what
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (key, future)
        waiting.append(entry)
        self._wake_up()
        try:
            async with asyncio.timeout(timeout):
                await future
        finally:
            for each in (self._waiters, self._goals):
                if entry in each:
                    each.remove(entry)

    async def _reach(self, goal: Goal, timeout: float | None) -> None:
        self._require_running()
        self._check_timeout(timeout)
        try:
            await self._wait((goal, self._goals), timeout)
        except TimeoutError as exc:
            what = f"{self.id}, EVSE {goal.evse_id}: {goal}"
            raise WaitTimeout(what, timeout or 0, self._views[goal.evse_id].describe()) from exc

    def _check_timeout(self, timeout: float | None) -> None:
        if timeout is not None:
            check_seconds(f"{self.id}: timeout=", timeout)

    def _wake_up(self) -> None:
        wake = self._wake
        if wake is not None and not wake.done():
            wake.set_result(None)

    def _next_moment(self) -> float:
        """When something happens by itself, or somebody's goal is reached."""
        moment = self._core.due()
        for goal, _ in self._goals:
            moment = min(moment, goal.moment)
        return moment

    def _limit(self) -> float:
        """The moment that the clock does not pass; not worked out while the clock stands still."""
        return math.inf if self._clock.stands_still else self._next_moment()

    async def _drive(self) -> None:
        try:
            await self._run()
        except ConnectionLost as exc:
            self._connection_lost(exc)
        except Exception as exc:
            logger.exception("%s: the station stopped", self.id)
            self._error = exc
            self._fail(exc)

    async def _run(self) -> None:
        core, clock, steps = self._core, self._clock, 0
        while self._error is None:
            if (message := core.take()) is not None:
                clock.hold(self._limit())
                if message.payload is None:
                    logger.warning("%s: a message is left out, as the CSMS gave its transaction no id", self.id)
                else:
                    await self._send(message)
                continue
            if self._waiters:
                self._release_waiters()
                await asyncio.sleep(0)  # who waited does the next act before time passes
                await asyncio.sleep(0)
                continue
            if self._check_goals():
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                continue
            clock.release()
            moment = self._next_moment()
            if clock.speed == math.inf:
                ready = bool(self._goals) and not self._holds and moment < math.inf
            else:
                ready = moment <= clock.now(moment)
            if ready:
                clock.advance(moment)
                core.handle(TICK, moment)
                steps += 1
                if steps % _STEPS == 0:
                    await asyncio.sleep(0)
            elif self._heartbeat_at <= time.perf_counter():
                await self._beat()
            else:
                await self._sleep(clock.real_seconds_until(moment))
            if steps and self._heartbeat_at <= time.perf_counter():
                await self._beat()

    async def _sleep(self, seconds: float) -> None:
        """Until then, until the next heartbeat, or until somebody wakes it."""
        loop = asyncio.get_running_loop()
        seconds = min(seconds, self._heartbeat_at - time.perf_counter())
        self._wake = loop.create_future()
        timer = loop.call_later(max(0.0, seconds), self._wake_up)
        try:
            await self._wake
        finally:
            timer.cancel()
            self._wake = None

    async def _beat(self) -> None:
        interval = self.charge_point.heartbeat_interval or self._heartbeat_variable
        late = time.perf_counter() - self._heartbeat_at
        self._heartbeat_at += interval * (1 + late // interval)  # one that is late by a whole interval is left out
        try:
            await self.charge_point.heartbeat()
        except ConnectionLost:
            raise
        except CpsimError as exc:
            logger.warning("%s", exc)

    async def _send(self, message: Outgoing) -> None:
        """Send a message, and let the core handle the answer."""
        core, session = self._core, message.session
        moment = time.perf_counter()
        if session is not None and session.first_message is None:
            session.first_message, session.log = moment, partial(getattr, self.charge_point, "messages")
        try:
            answer = self._read(message, await self.charge_point.call(message.payload, timeout=self._message_timeout))
        except ConnectionLost:
            raise
        except CpsimError as exc:
            core.handle(Failure(message), self._now())
            self._report_failure(message, exc)
        else:
            known = len(core.sessions)
            core.handle(answer, self._now())
            if session is None and len(core.sessions) > known:  # the answer accepted a token, and so began a session
                session = core.sessions[-1]
                session.first_message, session.log = moment, partial(getattr, self.charge_point, "messages")
        finally:
            if session is not None:
                session.last_message = time.perf_counter()

    @property
    def _message_timeout(self) -> float | None:
        """Seconds to wait for an answer; None for the charge point's own ``call_timeout``.

        OCPP 1.6 has no such variable. Its default is that of ``call_timeout``, too, and gives way to another one.
        """
        seconds = self.variables.value(_MESSAGE_TIMEOUT)
        if seconds == VARIABLES[_MESSAGE_TIMEOUT].default or not self.variables.has(_MESSAGE_TIMEOUT):
            return None
        return float(seconds)

    def _read(self, message: Outgoing, result: Any) -> Answer:
        """What an answer says.

        Raises:
            ProtocolViolation: A time in it is none, which no schema forbids.
        """
        try:
            return self._core.dialect.read_answer(message, result)
        except ValueError as exc:
            action = type(result).__name__
            text = f"{self.id}: answer to {action}: {exc}"
            raise ProtocolViolation(text, action=action, path="", text=str(exc)) from exc

    def _report_failure(self, message: Outgoing, error: CpsimError) -> None:
        """Whoever waits for the act gets the error; where nobody does, and after the start, the log has it."""
        is_raised = False
        if not isinstance(message.cause, Accepted):
            for entry in list(self._waiters):
                event, future = entry
                if event is message.cause and not future.done():
                    future.set_exception(error)
                    self._waiters.remove(entry)
                    is_raised = True
        if not is_raised:
            logger.warning("%s", error)

    def _release_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for _, future in waiters:
            if not future.done():
                future.set_result(None)

    def _check_goals(self) -> bool:
        """Wake those whose goal is reached, with the clock stopped; whether there are any."""
        if not self._goals:
            return False
        now = self._now()
        reached = [entry for entry in self._goals if entry[0].update(self._core, now)]
        if reached:
            self._clock.hold(now)
        for entry in reached:
            self._goals.remove(entry)
            if not entry[1].done():
                entry[1].set_result(None)
        return bool(reached)


def _check_speed(name: str, speed: object) -> None:
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not speed > 0:
        raise ValueError(f"{name}: speed is above 0, or math.inf, not {speed!r}")


def _check_names(dialect: Dialect, given: Mapping[str, object]) -> None:
    """Find names that another version has for a variable.

    Raises:
        ValueError: There is one; the text says what to write.
    """
    for name in set(given) - set(dialect.names):
        for version in VERSIONS:
            meant = set(dialect_of(version, 0, 1).names.get(name, ()))
            if meant:
                mine = [own for own, variables in dialect.names.items() if meant.intersection(variables)]
                hint = f"write {' or '.join(mine)}" if mine else "here nothing corresponds to it"
                raise ValueError(
                    f"{name} is a name of OCPP {version}, and this station speaks {dialect.version.name}: {hint}"
                )
