"""Starting a station: booting it, and connecting and booting it again, in one task that the driver owns."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random as random_module
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from cpsim_kit.charge_point import Backoff, ChargePoint, boot_until_accepted, keep_connected
from cpsim_kit.charge_point.backoff import own_boot_waits
from cpsim_kit.errors import CallFailed, CallTimeout, ConnectionLost, CpsimError, WaitTimeout
from cpsim_kit.station.rules.events import Accepted, ShutDown

if TYPE_CHECKING:
    from cpsim_kit.station.driver import Driver
    from cpsim_kit.station.rules.core import Core

__all__ = ["Starter"]

logger = logging.getLogger("cpsim.station")


class _BootAsked(Exception):
    """The CSMS asks for a BootNotification before it has accepted the station."""


class Starter:
    """Boots a station, and connects and boots it again when its connection is lost or it was reset.

    Args:
        core: The state and the rules.
        charge_point: The station's connection.
        driver: What drives the core.
        reconnect: Whether it connects again when the connection is lost, with the waits of its variables or with these.
        random: Of the waits before an attempt to connect.

    Attributes:
        reconnects: Whether it connects again when the connection is lost.
        is_first_attempt: Whether it starts after a reset, and no attempt has failed yet: a clock that goes from event
            to event waits for that.
        loss: Why the last connection ended, or None.
    """

    __slots__ = (
        "_asked_early",
        "_backoff",
        "_charge_point",
        "_core",
        "_driver",
        "_random",
        "_task",
        "is_first_attempt",
        "loss",
        "reconnects",
    )

    def __init__(
        self,
        core: Core,
        charge_point: ChargePoint,
        driver: Driver,
        reconnect: bool | Backoff,
        random: random_module.Random,
    ) -> None:
        self._core = core
        self._charge_point = charge_point
        self._driver = driver
        self.reconnects = bool(reconnect)
        self._backoff = reconnect if isinstance(reconnect, Backoff) else None
        self._random = random
        self._task: asyncio.Task[None] | None = None
        self._asked_early: asyncio.Future[None] | None = None  # done when the CSMS asks for something before it accepts
        self.is_first_attempt = False
        self.loss: ConnectionLost | None = None

    @property
    def is_busy(self) -> bool:
        """Whether it connects again just now."""
        return self._task is not None

    def take_task(self) -> asyncio.Task[None] | None:
        """Its task, which is the caller's from now on."""
        task, self._task = self._task, None
        self.is_first_attempt = False
        return task

    async def stop(self) -> None:
        """Try no more."""
        if (task := self.take_task()) is not None:
            task.cancel()
            await asyncio.wait([task])

    def wake_up(self) -> None:
        """The CSMS may have asked for something."""
        if self._asked_early is not None and not self._asked_early.done():
            self._asked_early.set_result(None)

    # -- Connecting ---------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect once. What was asked for on the last connection, before an acceptance, is not sent on this one.

        Raises:
            ConnectError: The connection did not open.
            ConnectionLost: It has ended at once.
        """
        self._core.triggers.drain_early()
        await self._charge_point.connect()
        if not self._charge_point.is_open and self.loss is not None:  # it has ended at once
            raise self.loss.with_traceback(None)

    def begin_to_reconnect(self, error: ConnectionLost | None) -> None:
        """Connect again and again, with the waits that the variables say (OCPP 2.0.1 part 4, "Reconnecting")."""
        driver = self._driver
        if not self.reconnects or not driver.is_plugged or not driver.is_running or driver.error is not None:
            return
        failures = [] if error is None else [error]  # so that the first attempt waits, too

        async def connect() -> None:
            if failures:
                raise failures.pop()
            try:
                await self.connect()
            except CpsimError:
                self._core.connecting_failed()
                raise

        async def work(_charge_point: ChargePoint) -> None:
            self._task = None

        self._keep_connecting(connect, work)

    def _keep_connecting(
        self, connect: Callable[[], Awaitable[None]], work: Callable[[ChargePoint], Awaitable[None]]
    ) -> None:
        """Connect until that succeeds, and do the work, in a task of its own."""
        work_until_done = keep_connected(
            self._charge_point, work, reconnect=self.backoff, random=self._random, connect=connect
        )
        name = f"cpsim[{self._charge_point.id}].reconnect"
        self._task = asyncio.create_task(work_until_done, name=name)
        self._task.add_done_callback(self._ended)

    @property
    def backoff(self) -> Backoff | None:
        """The waits before it connects again; None if it does not."""
        if self._backoff is not None or not self.reconnects:
            return self._backoff
        value = self._core.variables.value
        wait, most = value("OCPPCommCtrlr.RetryBackOffWaitMinimum"), value("OCPPCommCtrlr.RetryBackOffRandomRange")
        return Backoff(wait if wait or most else 1, most, value("OCPPCommCtrlr.RetryBackOffRepeatTimes"))

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s: cannot connect again: %s", self._charge_point.id, error)
            self._driver.error = error
            self._driver.fail(error)
            self._driver.wake_up()

    # -- Booting ------------------------------------------------------------------------------------------------------

    async def boot(self, reason: str = "PowerUp") -> None:
        """Send BootNotification until the CSMS accepts the station, and meanwhile what else the CSMS asks for (B02).

        Args:
            reason: A BootReasonEnumType value; OCPP 1.6 has none.

        Raises:
            ConnectionLost, CallTimeout, CallFailed, ProtocolViolation: As :meth:`ChargePoint.boot`.
        """
        own_waits = own_boot_waits()
        while True:
            try:
                await boot_until_accepted(
                    self._charge_point, reason=reason, own_waits=own_waits, pause=self._wait_to_boot
                )
            except _BootAsked:
                reason = "Triggered"
            else:
                return

    async def keep_booting(self) -> None:
        """Boot as :meth:`boot`, and again where the CSMS answers with an error, or not at all (B01 and B03; 4.2).

        What breaks a schema is no reason to say it again. The waits are those of ``reconnect`` where it has any.

        Raises:
            ConnectionLost, ProtocolViolation: As :meth:`ChargePoint.boot`.
            CallTimeout, CallFailed: So, too, and it does not connect again either.
        """
        waits = own_boot_waits() if self._backoff is None else self._backoff.waits(self._random)
        while True:
            try:
                await self.boot()
            except (CallTimeout, CallFailed) as exc:
                if not self.reconnects:
                    raise
                await self._pause(exc, next(waits))
            else:
                return

    async def _wait_to_boot(self, seconds: float) -> None:
        """Wait before the next BootNotification, unless the CSMS asks for it; send other messages that it asks for.

        Raises:
            _BootAsked: The CSMS asks for BootNotification.
        """
        charge_point, triggers = self._charge_point, self._core.triggers
        self._first_attempt_failed()
        until = time.perf_counter() + seconds
        while charge_point.is_open and (left := until - time.perf_counter()) > 0:
            early = triggers.drain_early()
            for build in early:
                try:
                    await charge_point.call(build())
                except ConnectionLost:
                    return  # the next boot says why
                except CpsimError as exc:
                    logger.warning("%s", exc)
            if early:  # more may have come meanwhile
                continue
            if triggers.wants_boot:
                triggers.wants_boot = False
                raise _BootAsked
            self._asked_early = asyncio.get_running_loop().create_future()
            closed = asyncio.create_task(charge_point.wait_closed(), name=f"cpsim[{charge_point.id}].wait_closed")
            try:
                waiting: list[asyncio.Future[Any]] = [closed, self._asked_early]
                await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._asked_early = None
                closed.cancel()

    @property
    def must_boot(self) -> bool:
        """Whether the CSMS has taken its acceptance back: until it accepts again, nothing else is sent."""
        return self._charge_point.boot_status in {"Pending", "Rejected"}

    async def boot_again(self) -> None:
        """Boot a station that was accepted, as the CSMS asks for it (OCPP 1.6, 5.17), until it is accepted (4.2)."""
        self._core.triggers.wants_boot = False
        own_waits = own_boot_waits()
        while True:
            try:
                await self.boot("Triggered")
            except ConnectionLost as exc:
                self._driver.handle_loss(exc)
                return
            except CpsimError as exc:
                if not self.must_boot:
                    logger.warning("%s", exc)
                    return
                await self._pause(exc, next(own_waits))
            else:
                self._driver.adopt_heartbeat_interval()
                return

    async def _pause(self, error: CpsimError, seconds: float) -> None:
        """Wait after a boot that failed, at most until the connection ends (B01, error handling)."""
        level = logging.INFO if self._charge_point.is_observed else logging.WARNING
        logger.log(level, "%s; the station boots again in %.0f s", error, seconds)
        with contextlib.suppress(WaitTimeout):
            await self._charge_point.wait_closed(seconds)  # then the next boot says why

    async def restart(self) -> bool:
        """Go on with a reset where it is time for that; whether there is something to do first."""
        restarts, now = self._core.restarts, self._driver.now()
        if restarts.step == "boots":
            if self._task is None and self._driver.is_plugged:
                self._begin_to_boot()
            return False
        if not restarts.is_ready(now):
            return self._core.has_message(now)
        logger.info("%s: goes away for a reset, and boots again", self._charge_point.id)
        self._core.handle(ShutDown(), now)
        await self.stop()
        await self._charge_point.close()
        return True

    def _begin_to_boot(self) -> None:
        """Connect and boot after a reset, again and again until the CSMS has accepted the station."""
        own_waits = own_boot_waits()
        self.is_first_attempt = True

        async def connect() -> None:
            try:
                await self.connect()
            except CpsimError:
                self._first_attempt_failed()
                self._core.connecting_failed()
                raise

        async def work(_charge_point: ChargePoint) -> None:
            reason = self._core.restarts.boot_reason
            while True:
                try:
                    await self.boot(reason)
                    break
                except ConnectionLost:
                    self._first_attempt_failed()
                    raise
                except CpsimError as exc:
                    self._first_attempt_failed()
                    await self._pause(exc, next(own_waits))
            self._task = None
            self.is_first_attempt = False
            self._driver.adopt_heartbeat_interval()
            with self._driver.stopped_clock() as now:
                self._core.handle(Accepted(reason), now)

        self._keep_connecting(connect, work)

    def _first_attempt_failed(self) -> None:
        """The start after a reset takes longer: a clock that goes from event to event does not wait for it."""
        if self.is_first_attempt:
            self.is_first_attempt = False
            self._driver.wake_up()
