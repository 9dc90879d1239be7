"""The driver: the one task of a station. It feeds time, answers and the end of the connection into the core, and sends.

One message after the other is sent, and the clock stands still meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random as random_module
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from cpsim_kit.charge_point import Backoff, ChargePoint
from cpsim_kit.errors import (
    CallTimeout,
    ConnectionLost,
    CpsimError,
    ProtocolViolation,
    UnsupportedByCsms,
)
from cpsim_kit.station.clock import StationClock
from cpsim_kit.station.device_model.variables import VARIABLES
from cpsim_kit.station.rules.events import (
    TICK,
    Accepted,
    Answer,
    Event,
    Failure,
    Offline,
    Online,
    Outgoing,
    PowerOff,
)
from cpsim_kit.station.starting import Starter

if TYPE_CHECKING:
    from cpsim_kit.station.goal import Goal
    from cpsim_kit.station.rules.core import Core

__all__ = ["Driver"]

logger = logging.getLogger("cpsim.station")

_MESSAGE_TIMEOUT = "OCPPCommCtrlr.MessageTimeout[Default]"
_PASSWORD = "SecurityCtrlr.BasicAuthPassword"  # noqa: S105 - a variable's name
_PING_INTERVAL = "OCPPCommCtrlr.WebSocketPingInterval"
_LONGEST_SLEEP = 3600.0  # seconds; no event loop sleeps for ever
_STEPS = 64  # of a clock that goes from event to event, before other tasks get their turn


class Driver:
    """Drives the core of one station over its charge point.

    Args:
        core: The state and the rules.
        charge_point: Its connection.
        speed: How many seconds of the station's clock pass in a real second.
        reconnect: Whether it connects again when the connection is lost, with the waits of its variables or with these;
            else it stops then.
        random: Of the waits before an attempt to connect.

    Attributes:
        clock: The station's clock.
        error: Why it stopped, or None.
        is_plugged: Whether the network's cable is plugged in.
        starter: Boots it, and connects it again.
        holds: How many people are between two of their acts: a clock that goes from event to event waits for them.
    """

    __slots__ = (
        "_charge_point",
        "_core",
        "_dropped",
        "_goals",
        "_heartbeat_at",
        "_level",
        "_renews_connection",
        "_stopped_by",
        "_task",
        "_waiters",
        "_wake",
        "clock",
        "error",
        "holds",
        "is_plugged",
        "starter",
    )

    def __init__(
        self,
        core: Core,
        charge_point: ChargePoint,
        speed: float,
        *,
        reconnect: bool | Backoff,
        random: random_module.Random,
    ) -> None:
        self._core = core
        self._charge_point = charge_point
        self.starter = Starter(core, charge_point, self, reconnect, random)
        self.clock = StationClock(speed, time.perf_counter)
        self.error: BaseException | None = None
        self.holds = 0
        self.is_plugged = True
        self._waiters: list[tuple[object, asyncio.Future[None]]] = []  # the act, and who waits for it
        self._goals: list[tuple[Goal, asyncio.Future[None]]] = []
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._heartbeat_at = math.inf
        self._dropped = 0  # messages of which the log has spoken
        self._stopped_by: BaseException | None = None
        self._renews_connection = False
        self._level = logging.INFO if charge_point.is_observed else logging.WARNING

    @property
    def is_online(self) -> bool:
        """Whether there is a connection."""
        return self._core.queue.is_online

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._task is not None

    def now(self) -> float:
        """The station's clock, which does not pass a moment at which something is due."""
        return self.clock.now(self._limit())

    async def start(self) -> None:
        """Begin to drive, report the start, and wait until the CSMS has answered that.

        Raises:
            ConnectionLost: The connection closed.
        """
        self.error = None
        self.adopt_heartbeat_interval()
        self._task = asyncio.create_task(self._drive(), name=f"cpsim[{self._charge_point.id}].station")
        await self.act(Accepted())

    async def stop(self, error: BaseException) -> None:
        """Stop; everybody who waits gets this error."""
        tasks = [task for task in (self._task, self.starter.take_task()) if task is not None]
        self._task = None
        self._stopped_by = error
        try:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
        finally:
            self.fail(error)

    def give_up_messages(self) -> None:
        """Forget what waits to be sent, but transaction messages; the next start reports the connectors anew."""
        self._core.handle(Offline(), self.clock.now())

    async def act(self, event: Event) -> None:
        """Let the core handle an act, and wait until the messages that it caused are answered.

        Raises:
            ValueError: It is physically impossible.
            CpsimError: A message that it caused failed.
        """
        with self.stopped_clock() as now:
            self._core.handle(event, now)
        await self._wait((event, self._waiters))

    async def reach(self, goal: Goal, timeout: float | None) -> None:
        """Wait until a goal is reached.

        Raises:
            TimeoutError: Not within ``timeout`` real seconds.
        """
        await self._wait((goal, self._goals), timeout)

    @contextlib.contextmanager
    def stopped_clock(self) -> Iterator[float]:
        """Stop the clock at this moment; it runs on when there is nothing to say any more."""
        self.clock.hold(self._next_moment())
        try:
            yield self.clock.now()
        finally:
            self.wake_up()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Between two acts of one person the clock does not go to the next event."""
        self.holds += 1
        try:
            yield
        finally:
            self.holds -= 1

    def set_speed(self, speed: float) -> None:
        """Let the clock run so many times as fast from now on."""
        self.clock.advance(self.now())
        self.clock.speed = speed
        self.wake_up()

    # -- The connection -----------------------------------------------------------------------------------------------

    def handle_loss(self, error: ConnectionLost) -> None:
        """The connection has ended: connect again, or stop, so that everybody who waits gets this error."""
        self.starter.loss = error
        if self._task is None or self.error is not None:
            return
        is_away = self._core.restarts.is_away  # then it is not online, and whatever boots it goes on
        if not (self.starter.reconnects or is_away) and self.is_plugged:
            self.error = error
            self.fail(error)
        elif self.is_online:
            self._core.handle(Offline(), self.now())
            name, code = self._charge_point.id, error.closed.code
            if self._renews_connection and self.is_plugged:
                logger.info("%s: connects anew with the password that the CSMS has set", name)
                self.starter.begin_to_reconnect(None)
            elif self.is_plugged:
                logger.log(
                    self._level,
                    "%s: connection lost, code %d; the station goes on offline, and connects again",
                    name,
                    code,
                )
                self.starter.begin_to_reconnect(error)
            else:
                logger.info("%s: disconnected; the station goes on offline", name)
            self._renews_connection = False
        self.wake_up()

    def open_connection(self) -> None:
        """There is a connection again, unless it has ended already."""
        is_waited_for = self._task is not None and self.error is None and not self.is_online
        if is_waited_for and self._charge_point.is_open:
            if not self.is_plugged or self._core.restarts.is_away:  # it boots first
                return
            self._core.handle(Online(), self.now())
            self._heartbeat_at = time.perf_counter() + self.heartbeat_interval
            self.wake_up()

    async def unplug_network(self) -> None:
        """Pull the network's cable; nothing connects until it is plugged in again."""
        self.is_plugged = False
        await self.starter.stop()
        await self._charge_point.close()

    async def plug_network(self) -> None:
        """Plug the network's cable in, connect, and wait until what waited is answered.

        Raises:
            ValueError: The station has no power.
            ConnectError: The connection did not open; the station goes on to try.
            ConnectionLost: It opened, and was lost before that; the station goes on to try.
        """
        if not self._core.has_power and not self._core.restarts.is_away:
            raise ValueError(f"{self._charge_point.id} has no power; power_on() connects it, too")
        self.is_plugged = True
        await self.starter.stop()
        if self._core.restarts.is_away:  # it connects by itself when it is time to boot
            self.wake_up()
            return
        try:
            await self.starter.connect()
        finally:  # also where somebody waited no longer
            if not self.is_online and not self.starter.is_busy:
                self.starter.begin_to_reconnect(self.starter.loss)
        await self._wait((None, self._waiters))
        if not self.is_online and self.starter.loss is not None:
            raise self.starter.loss.with_traceback(None)

    async def power_off(self) -> None:
        """Take the power supply away."""
        with self.stopped_clock() as now:
            self._core.handle(PowerOff(), now)
        await self.unplug_network()

    async def power_on(self) -> None:
        """Give the power supply back: connect, boot, and wait until what waited is answered.

        Raises:
            ConnectError: The connection did not open; the station stays off.
            ConnectionLost, CallTimeout, CallFailed, ProtocolViolation: As :meth:`Starter.keep_booting`.
        """
        await self.starter.connect()
        await self.starter.keep_booting()
        self.is_plugged = True
        self.adopt_heartbeat_interval()
        await self.act(Accepted())

    def fail(self, error: BaseException) -> None:
        """Raise this error in everything that waits."""
        waiting = [future for _, future in (*self._waiters, *self._goals)]
        self._waiters, self._goals = [], []
        for future in waiting:
            if not future.done():
                future.set_exception(error)

    def adopt_heartbeat_interval(self) -> None:
        """Send heartbeats at the interval that the CSMS instructed at boot, and show it in the variable."""
        interval = self._charge_point.heartbeat_interval
        if interval is None:
            self.set_heartbeat_interval(self.heartbeat_interval)
            return
        (name,) = (name for name in self._core.variables if name.endswith("HeartbeatInterval"))
        self._core.variables.set(name, min(max(1, round(interval)), 2**31 - 1))
        self._heartbeat_at = time.perf_counter() + interval

    def adopt_keepalive(self) -> None:
        """Let the variable say what keepalive the charge point has, or where it was set, the charge point follow it."""
        seconds, variables = self._charge_point.ping_interval, self._core.variables
        shown = 0 if seconds is None else max(1, round(seconds))
        if not variables.is_changed(_PING_INTERVAL) and shown != variables.value(_PING_INTERVAL):
            variables.load({_PING_INTERVAL: shown})
        self.apply_connection((shown, None))

    @property
    def connection(self) -> tuple[int | None, str | None]:
        """The variables that the charge point follows: the keepalive's interval and the password, as they are now."""
        value = self._core.variables.value
        return value(_PING_INTERVAL), value(_PASSWORD)

    def apply_connection(self, before: tuple[int | None, str | None]) -> None:
        """Let the charge point have the keepalive and the password that the variables say, where they have changed."""
        seconds, password = self.connection
        if seconds != before[0]:
            self._charge_point.ping_interval = seconds or None
        if password is not None and password != before[1]:
            has_password = self._charge_point.security_profile in {1, 2}
            try:
                self._charge_point.set_password(self._core.dialect.password(password))
            except ValueError as exc:
                logger.warning("%s: the new password cannot be used: %s", self._charge_point.id, exc)
            else:  # the station connects anew where it used another password until now (A01)
                self._renews_connection = has_password and self.is_running and self.starter.reconnects
                self.wake_up()

    @property
    def heartbeat_interval(self) -> int:
        """Seconds between heartbeats, as the variable says."""
        return int(self._core.variables.value("OCPPCommCtrlr.HeartbeatInterval"))

    def set_heartbeat_interval(self, seconds: float) -> None:
        """Send heartbeats at this interval from now on."""
        self._charge_point.heartbeat_interval = seconds
        self._heartbeat_at = min(self._heartbeat_at, time.perf_counter() + seconds)
        self.wake_up()

    # -- Waiting ------------------------------------------------------------------------------------------------------

    async def _wait(self, what: tuple[Any, list[Any]], timeout: float | None = None) -> None:
        if (error := self.error if self._task is not None else self._stopped_by) is not None:
            raise error.with_traceback(None)
        key, waiting = what
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (key, future)
        waiting.append(entry)
        self.wake_up()
        try:
            async with asyncio.timeout(timeout):
                await future
        finally:
            for each in (self._waiters, self._goals):
                if entry in each:
                    each.remove(entry)

    def wake_up(self) -> None:
        """Let the task look what there is to do."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        self.starter.wake_up()

    def _next_moment(self) -> float:
        """When something happens by itself, or somebody's goal is reached."""
        moment = self._core.due()
        for goal, _ in self._goals:
            moment = min(moment, goal.moment)
        return moment

    def _limit(self) -> float:
        """The moment that the clock does not pass; not worked out while the clock stands still."""
        return math.inf if self.clock.stands_still else self._next_moment()

    # -- The task -----------------------------------------------------------------------------------------------------

    async def _drive(self) -> None:
        try:
            await self._run()
        except ConnectionLost as exc:
            self.handle_loss(exc)
        except Exception as exc:
            logger.exception("%s: the station stopped", self._charge_point.id)
            self.error = exc
            self.fail(exc)

    async def _run(self) -> None:
        core, clock, steps = self._core, self.clock, 0
        while self.error is None:
            if self.is_online and self.starter.must_boot:
                await self.starter.boot_again()
                continue
            if (message := core.take(clock.now())) is not None:
                clock.hold(self._limit())
                await self._send(message)
                continue
            if self._renews_connection and self.is_online:
                await self._charge_point.close()
                continue
            if core.restarts.step and await self.starter.restart():
                continue
            if core.triggers.wants_boot and self.is_online:
                await self.starter.boot_again()
                continue
            if core.queue.dropped_count != self._dropped:
                self._report_dropped()
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
                is_awaited = bool(self._goals) or core.restarts.is_away
                ready = is_awaited and not self.holds and not self.starter.is_first_attempt and moment < math.inf
            else:
                ready = moment <= clock.now(moment)
            if ready:
                clock.advance(moment)
                core.handle(TICK, moment)
                if core.has_message(moment):
                    clock.hold(moment)
                steps += 1
                if steps % _STEPS == 0:
                    await asyncio.sleep(0)
            elif self.is_online and self._heartbeat_at <= time.perf_counter():
                await self._beat()
            else:
                await self._sleep(clock.real_seconds_until(moment))
            if steps and self.is_online and self._heartbeat_at <= time.perf_counter():
                await self._beat()

    async def _sleep(self, seconds: float) -> None:
        """Until then, until the next heartbeat, or until somebody wakes it."""
        loop = asyncio.get_running_loop()
        if self.is_online:
            seconds = min(seconds, self._heartbeat_at - time.perf_counter())
        self._wake = loop.create_future()
        # Whole milliseconds: uvloop rounds to them, and would wake it up too early as often as not.
        milliseconds = math.ceil(min(max(0.0, seconds), _LONGEST_SLEEP) * 1000)
        timer = loop.call_later(milliseconds / 1000, self.wake_up)
        try:
            await self._wake
        finally:
            timer.cancel()
            self._wake = None

    async def _beat(self) -> None:
        interval = self._charge_point.heartbeat_interval or self.heartbeat_interval
        late = time.perf_counter() - self._heartbeat_at
        self._heartbeat_at += interval * (1 + late // interval)  # one that is late by a whole interval is left out
        try:
            await self._charge_point.heartbeat()
        except ConnectionLost as exc:
            self.handle_loss(exc)
        except CpsimError as exc:
            logger.log(self._level, "%s", exc)

    async def _send(self, message: Outgoing) -> None:
        """Send a message, and let the core handle the answer."""
        core, session = self._core, message.session
        moment = time.perf_counter()
        if session is not None and session.first_message is None:
            session.first_message, session.log = moment, partial(getattr, self._charge_point, "messages")
        try:
            answer = self._read(message, await self._charge_point.call(message.payload, timeout=self._message_timeout))
        except ConnectionLost as exc:
            self.handle_loss(exc)  # the message waits, if it is about a transaction
        except CpsimError as exc:
            waited, is_final = isinstance(exc, CallTimeout), isinstance(exc, UnsupportedByCsms)
            is_sent_again = core.handle(Failure(message, waited, is_final), self.clock.now())
            self._report_failure(message, exc, is_sent_again)
        else:
            known = len(core.sessions)
            core.handle(answer, self.now())
            if session is None and len(core.sessions) > known:  # the answer accepted a token, and so began a session
                session = core.sessions[-1]
                session.first_message, session.log = moment, partial(getattr, self._charge_point, "messages")
        finally:
            if session is not None:
                session.last_message = time.perf_counter()

    @property
    def _message_timeout(self) -> float | None:
        """Seconds to wait for an answer; None for the charge point's own ``call_timeout``.

        OCPP 1.6 has no such variable. Its default is that of ``call_timeout``, too, and gives way to another one.
        """
        seconds = self._core.variables.value(_MESSAGE_TIMEOUT)
        if seconds == VARIABLES[_MESSAGE_TIMEOUT].default or not self._core.variables.has(_MESSAGE_TIMEOUT):
            return None
        return float(seconds)

    def _read(self, message: Outgoing, result: Any) -> Answer:
        """What an answer says.

        Raises:
            ProtocolViolation: A text in the place of a time is not a time; the schemas do not check that.
        """
        try:
            return self._core.dialect.read_answer(message, result)
        except ValueError as exc:
            action = type(result).__name__
            text = f"{self._charge_point.id}: answer to {action}: {exc}"
            raise ProtocolViolation(text, action=action, path="", text=str(exc)) from exc

    def _report_failure(self, message: Outgoing, error: CpsimError, is_sent_again: bool) -> None:
        """Whoever waits for the act gets the error; where nobody does, and after the start, the log has it."""
        is_raised = False
        if not isinstance(message.cause, Accepted):
            for entry in list(self._waiters):
                event, future = entry
                if event is message.cause and not future.done():
                    future.set_exception(error)
                    self._waiters.remove(entry)
                    is_raised = True
        if is_sent_again:
            seconds = message.not_before - self.clock.now()
            logger.log(
                self._level, "%s; attempt %d failed, the next one is in %.0f s", error, message.attempts, seconds
            )
        elif message.report is not None:
            logger.log(self._level, "%s; after %d attempts it is given up", error, message.attempts)
        elif not is_raised:
            logger.log(self._level, "%s", error)

    def _report_dropped(self) -> None:
        """Say that the queue was full."""
        count = self._core.queue.dropped_count - self._dropped
        self._dropped += count
        logger.log(self._level, "%s: the queue is full; %d Updated messages were dropped", self._charge_point.id, count)

    def _release_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for _, future in waiters:
            if not future.done():
                future.set_result(None)

    def _check_goals(self) -> bool:
        """Wake those whose goal is reached, with the clock stopped; whether there are any."""
        if not self._goals:
            return False
        now = self.now()
        reached = [entry for entry in self._goals if entry[0].update(self._core, now)]
        if reached:
            self.clock.hold(now)
        for entry in reached:
            self._goals.remove(entry)
            if not entry[1].done():
                entry[1].set_result(None)
        return bool(reached)
