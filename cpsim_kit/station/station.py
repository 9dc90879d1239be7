"""A station: the class that a reader uses. Its rules are in ``core``, and its one task is in ``driver``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import random as random_module
import time
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from cpsim_kit.basics.cards import card
from cpsim_kit.basics.clock import epoch
from cpsim_kit.charge_point import Backoff, ChargePoint, Network
from cpsim_kit.charge_point.arguments import check_seconds
from cpsim_kit.errors import (
    ConnectionLost,
    WaitTimeout,
)
from cpsim_kit.station.charging.evse import Evse, check_evse_id
from cpsim_kit.station.charging.session import Session, truth_frame
from cpsim_kit.station.charging.vehicle import Vehicle, is_number
from cpsim_kit.station.commands import Command, Commands
from cpsim_kit.station.device_model.variables import Variables
from cpsim_kit.station.dialects import check_names, dialect_of
from cpsim_kit.station.driver import Driver
from cpsim_kit.station.evse_view import EvseView
from cpsim_kit.station.goal import Goal
from cpsim_kit.station.profiles.outlook import schedule_frame
from cpsim_kit.station.profiles.sharing import SharingRule, find_rule
from cpsim_kit.station.profiles.smart_charging import SOURCES
from cpsim_kit.station.rules.core import Core
from cpsim_kit.station.rules.events import (
    ClearFault,
    Event,
    Fault,
    LimitFromOutside,
    PlugIn,
    SuspendEv,
    SuspendEvse,
    Swipe,
    Swiped,
    Unplug,
)
from cpsim_kit.station.rules.memory import recall
from cpsim_kit.station.rules.queue import queue_frame
from cpsim_kit.station.rules.quirks import Quirk, Quirks
from cpsim_kit.station.rules.quirky_queue import QuirkyQueue
from cpsim_kit.station.rules.reservations import reservations_frame
from cpsim_kit.station.saving import read_station, write_station

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["Station"]

logger = logging.getLogger("cpsim.station")


class Station:
    """A charge point that works by itself: you do what a person, a car or a fault does, and it sends what follows.

        station = await stack.station("CP1")
        async with Station("CP1", "ws://127.0.0.1:9000") as station: ...
        station = await Station(charge_point)

    ``await`` and ``async with`` connect it, boot it until the CSMS accepts it, and begin its heartbeats. An act, such
    as :meth:`plug_in`, returns when the messages that it caused are answered. An act that is physically impossible
    raises ValueError.

    Without a connection it goes on: transaction messages wait in its :attr:`queue`, and are sent in order when it has
    connected again by itself; see also :meth:`disconnect`, :meth:`power_off`, :meth:`network` and :meth:`save`.

    It does what the CSMS commands: :attr:`commands` says what, and :meth:`on` puts a function of yours in its place. A
    reset, for example, ends its transactions, closes the connection for some seconds of its clock, and boots again,
    with the vehicles still there.

    The station's clock stands still while a message waits for its answer. With ``speed=math.inf`` it goes from event to
    event while :meth:`until` or :meth:`charge` waits, and stands still otherwise. Heartbeats keep to real time.

    Args:
        charge_point: The identity, or a charge point.
        url: The CSMS's address without the identity; only with an identity.
        version: OCPP version: "1.6", "2.0.1" or "2.1"; only with an identity.
        evses: What its EVSEs can do; one of 22 kW with three phases when None.
        variables: Values that differ from the defaults, e.g. ``{"TxCtrlr.TxStartPoint": "EVConnected"}``; for OCPP 1.6
            by its keys, e.g. ``{"MeterValueSampleInterval": 10}``.
        seed: Of everything random, such as the ids of transactions; None for other ones each time. With the same seed
            and identity a second run has the same ids, so that a CSMS that keeps transactions takes them for the first.
        speed: How many seconds of its clock pass in a real second.
        starts_at: What its clock shows at first, with a time zone; the real time when None.
        record: Whether sessions keep a row for each change and each meter reading.
        reconnect: Whether it connects again when the connection is lost, with the waits of OCPPCommCtrlr's
            RetryBackOff variables, or with those of a :class:`~cpsim_kit.Backoff`; else a lost connection ends it with
            its error, and so does a first boot that fails.
        share: How its EVSEs share a limit of the station as a whole: "equal" (each the same, and what one cannot use
            goes to the others), "first come", or a function: see ``cpsim_kit.station.profiles.sharing``.
        quirks: Names of :data:`~cpsim_kit.station.QUIRKS`: what it says wrongly, as awkward stations do.
        **options: As :class:`~cpsim_kit.charge_point.ChargePoint` takes them; only with an identity.

    Raises:
        TypeError: Options for a charge point that is there already.
        ValueError: A value is out of range, or there is no such variable or quirk.

    Attributes:
        evses: The EVSEs by id.
        sessions: All sessions, oldest first.
        variables: The variables; the CSMS can set them.
        charge_point: The charge point beneath.
    """

    __slots__ = (
        "__weakref__",
        "_closes",
        "_commands",
        "_core",
        "_driver",
        "_is_closed",
        "_network",
        "_opening",
        "_own",
        "_quirks",
        "_views",
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
        starts_at: datetime | None = None,
        record: bool = True,
        reconnect: bool | Backoff = True,
        share: str | SharingRule = "equal",
        quirks: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self._own = not isinstance(charge_point, ChargePoint)
        self._network: object = None
        if isinstance(charge_point, ChargePoint):
            if url is not None or version is not None or options:
                given = ["url"] * (url is not None) + ["version"] * (version is not None) + list(options)
                raise TypeError(f"{charge_point.id} is made already; {', '.join(given)} cannot be given any more")
            self.charge_point = charge_point
        else:
            if url is None:
                raise TypeError("Station(id, url): the CSMS's address is missing")
            self._network = options.setdefault("transport", Network(is_on=False))
            self.charge_point = ChargePoint(charge_point, url, version=version or "2.0.1", **options)
        name = self.charge_point.id
        _check_speed(name, speed)
        specs = [Evse()] if evses is None else list(evses) if isinstance(evses, Sequence) else []
        if not specs or not all(isinstance(each, Evse) for each in specs):
            raise ValueError(f"{name}: evses is a list of at least one Evse(…), not {evses!r}")
        if variables is not None and not isinstance(variables, Mapping):
            raise ValueError(f"{name}: variables is a dict of names and values, not {variables!r}")
        if starts_at is not None and starts_at.tzinfo is None:
            raise ValueError(f"{name}: starts_at has a time zone, e.g. datetime(2026, 3, 1, tzinfo=UTC)")
        try:
            rule = find_rule(share)
        except ValueError as exc:
            raise ValueError(f"{name}: {exc}") from exc
        started = epoch(time.perf_counter()) if starts_at is None else starts_at.timestamp()
        dialect = dialect_of(self.charge_point.version, started, len(specs))
        check_names(dialect, variables or {})
        self.variables = Variables(dialect, variables or {})
        self._quirks = Quirks(quirks, self.charge_point.version, self._warn_of_quirk) if quirks else None
        self._core = Core(
            dialect,
            specs,
            self.variables,
            epoch=started,
            random=None if seed is None else random_module.Random(f"{seed} {name}"),  # noqa: S311 - ids, no secrets
            keeps_rows=record,
            queue=None if self._quirks is None else QuirkyQueue(self.variables, dialect, self._quirks),
            share=rule,
        )
        waits = random_module.Random(seed if seed is None else f"{seed} {name} waits")  # noqa: S311 - waits, no secrets
        self._driver = Driver(self._core, self.charge_point, speed, reconnect=reconnect, random=waits)
        self._core.device, self.variables.clock = self.charge_point, self._driver.now
        self._views = {number: EvseView(evse, self._driver.now) for number, evse in self._core.evses.items()}
        self._core.on_firmware = partial(setattr, self.charge_point, "firmware_version")
        self._commands = Commands(self._core, self.charge_point, self._driver)
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
        rows["quirks"] = ", ".join(f"{name}: {count}" for name, count in self.quirks.items()) or None
        return card(f"Station {self.charge_point.id}", self._state, rows)

    @property
    def _state(self) -> str:
        if not self._driver.is_running:
            return "closed" if self._is_closed else "new"
        if self._driver.error is not None:
            return "lost"
        return "online" if self._driver.is_online else "offline"

    # -- Opening and closing ------------------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, Self]:
        return self.connect().__await__()

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()

    async def connect(self) -> Self:
        """Connect, boot until the CSMS accepts, report the connectors, and begin the heartbeats.

        Does nothing while it is connected. Where the CSMS answers BootNotification with an error, or not at all, the
        log says so, and the station boots again some time later, as often as it takes; with ``reconnect=False`` that is
        raised. Where the CSMS refuses one of the reports, the log says so, and the station goes on. After an error the
        station can be awaited again.

        Raises:
            ConnectError: The connection did not open.
            NotRegistered: The gateway has no Thing of this id.
            ConnectionLost: The connection closed.
            ProtocolViolation: What it says of itself, or the answer to it, breaks the schema.
            CallTimeout, CallFailed: The CSMS did not answer BootNotification, or with CALLERROR, and ``reconnect`` is
                False.
            RuntimeError: The station was closed.
        """
        async with self._opening:
            if not self._driver.is_running:
                try:
                    await self._open()
                except BaseException as exc:
                    await self._stop(exc)
                    if self._closes:
                        await self.charge_point.close()
                    self._driver.give_up_messages()
                    raise
            self._require_running()
        return self

    async def _open(self) -> None:
        self._require_not_closed()
        charge_point = self.charge_point
        self._driver.adopt_keepalive()
        self._closes = self._closes or not charge_point.is_open
        await charge_point.connect()
        charge_point.on_other(self._commands.find_handler)
        if charge_point.boot_status != "Accepted" or self._own:
            await self._driver.starter.keep_booting()
        self._require_not_closed()
        charge_point.on_close(self._connection_lost)
        charge_point.on_open(self._driver.open_connection)
        await self._driver.start()

    async def close(self) -> None:
        """Stop, and close the connection if the station opened it. Closing twice is harmless.

        A session that runs is left as it is: the CSMS does not hear of its end. If transaction messages wait, the log
        says how many; :meth:`save` keeps them.
        """
        if not self._is_closed and (waiting := self.waiting):
            level = logging.INFO if self.charge_point.is_observed else logging.WARNING
            logger.log(level, "%s: closed, and %d transaction messages were not sent", self.id, waiting)
        self._is_closed = self._commands.are_refused = True
        try:
            await self._stop(RuntimeError(f"{self.id} is closed; make another Station"))
        finally:
            if self._closes:
                await self.charge_point.close()

    async def _stop(self, error: BaseException) -> None:
        await self._driver.stop(error)
        self._commands.wake_up()

    def _connection_lost(self, error: ConnectionLost) -> None:
        self._driver.handle_loss(error)
        self._commands.wake_up()

    def _require_not_closed(self) -> None:
        if self._is_closed:
            raise RuntimeError(f"{self.id} is closed; make another Station")

    def _require_running(self) -> None:
        self._require_not_closed()
        if not self._driver.is_running:
            raise RuntimeError(f"{self.id} is not started; write `await station`, or `async with … as station`")
        if self._driver.error is not None:
            raise self._driver.error.with_traceback(None)

    # -- State --------------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The identity."""
        return self.charge_point.id

    @property
    def now(self) -> datetime:
        """The station's clock, UTC."""
        return datetime.fromtimestamp(self._core.epoch + self._driver.now(), UTC)

    @property
    def speed(self) -> float:
        """How many seconds of the station's clock pass in a real second; it can be changed."""
        return self._driver.clock.speed

    @speed.setter
    def speed(self, speed: float) -> None:
        _check_speed(self.id, speed)
        self._driver.set_speed(speed)

    @property
    def evses(self) -> Mapping[int, EvseView]:
        """The EVSEs by id, from 1 on."""
        return self._views

    @property
    def sessions(self) -> list[Session]:
        """All sessions, oldest first."""
        return self._core.sessions

    @property
    def reservations(self) -> pd.DataFrame:
        """The reservations, one row each. Columns: reservation_id, evse_ids, id_token, group, expires_at (UTC)."""
        return reservations_frame(self._core.reservations)

    @property
    def is_online(self) -> bool:
        """Whether it has a connection on which messages are sent."""
        return self._driver.is_running and self._driver.error is None and self._driver.is_online

    @property
    def waiting(self) -> int:
        """How many transaction messages wait for their turn, their answer, or a connection."""
        return sum(each.report is not None for each in self._core.queue)

    @property
    def backoff(self) -> Backoff | None:
        """The waits before it connects again when the connection is lost; None if it does not."""
        return self._driver.starter.backoff

    @property
    def quirks(self) -> dict[str, int]:
        """The quirks that are on, and in how many messages each was so far."""
        return {} if self._quirks is None else dict(self._quirks.counts)

    def _warn_of_quirk(self, quirk: Quirk) -> None:
        logger.warning(
            "%s: quirk %s for the first time. %s See %s",
            self.id,
            quirk.name,
            quirk.description,
            ", ".join(quirk.reports),
        )

    def truth(self) -> pd.DataFrame:
        """What its own meters showed: one row for each transaction, whatever was sent to the CSMS.

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
            ValueError: There is a vehicle already, or several EVSEs are free and ``evse`` is missing.
            CpsimError: A message that it caused failed.
        """
        if not isinstance(vehicle, Vehicle):
            raise TypeError(f"{self.id}: plug_in() takes a Vehicle(…), not {vehicle!r}")
        await self._do(PlugIn(vehicle, evse))

    async def swipe(self, token: str, *, evse: int | None = None, type: str = "ISO14443") -> Swiped:  # noqa: A002
        """Present a token: it authorizes a session, or stops the one that it has authorized.

        Args:
            token: The token's id.
            evse: The EVSE; may be left out where only one is possible.
            type: An IdTokenEnumType value; OCPP 1.6 knows no types.

        Returns:
            What came of it: ``effect`` is "authorized", "stopped" or "refused", ``status`` the answer of the CSMS.

        Raises:
            ValueError: Several EVSEs are possible and ``evse`` is missing, or the version has no such token.
            CpsimError: A message that it caused failed, e.g. UnsupportedByCsms.
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
            CpsimError: A message that it caused failed.
        """
        await self._do(Unplug(evse, side))

    async def suspend_ev(self, *, evse: int | None = None) -> None:
        """The vehicle takes no energy any more, e.g. because of a timer. Raises as :meth:`unplug` does."""
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
            CpsimError: A message that it caused failed.
        """
        await self._do(Fault(name, evse))

    async def clear_fault(self, *, evse: int | None = None) -> None:
        """The fault is gone. Raises as :meth:`unplug` does."""
        await self._do(ClearFault(evse))

    async def limit(self, kw: float | None, *, evse: int | None = None, source: str = "EMS") -> None:
        """An external control system, such as that of the building or of the grid, limits the power; None ends that.

        The CSMS is told with NotifyChargingLimit and ClearedChargingLimit, and of changed rates, where more than
        LimitChangeSignificance changes; OCPP 1.6 has no message for it. OCPP 2.0.1 part 2, K11 to K13.

        Args:
            kw: The limit; None to end it.
            evse: The EVSE; None for the station as a whole.
            source: "EMS" (an energy management system), "SO" (the grid's system operator) or "Other".

        Raises:
            ValueError: A value is out of range, there is no such EVSE, or ExternalControlSignalsEnabled is false.
            CpsimError: A message that it caused failed.
        """
        is_limit = is_number(kw) and 0 <= kw < math.inf
        if kw is not None and not is_limit:
            raise ValueError(f"{self.id}: a limit is a number of kW from 0, or None, not {kw!r}")
        if source not in SOURCES:
            raise ValueError(f"{self.id}: source is one of {', '.join(SOURCES)}, not {source!r}")
        if evse is not None:
            check_evse_id(self._core.evses, evse)
        await self._do(LimitFromOutside(kw, evse or 0, source))

    def schedule(self, hours: float = 8, *, evse: int | None = None) -> pd.DataFrame:
        """What limits an EVSE, or the station as a whole, from now on: one row for each change.

        Columns: at (UTC), limit_kw, by (the id of the charging profile that leads, "external", or "EVSE" where nothing
        but the EVSE limits it), why (in words). How several EVSEs share the limit of the station is not in it.

        Args:
            hours: How far ahead, by the station's clock.
            evse: The EVSE; when None the only one, or the station as a whole where there are several.

        Raises:
            ValueError: There is no such EVSE, or ``hours`` is not a number above 0.
        """
        if not (is_number(hours) and 0 < hours < math.inf):
            raise ValueError(f"{self.id}: hours is a number above 0, not {hours!r}")
        if evse is not None:
            check_evse_id(self._core.evses, evse)
        number = evse if evse is not None else 1 if len(self._core.evses) == 1 else 0
        return schedule_frame(self._core, number, self._driver.now(), hours * 3600)

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
        """Wait until all the given conditions are true at the same moment.

        Args:
            soc: The vehicle has this state of charge, from 0 to 1.
            energy_kwh: So much was delivered in this session.
            power_kw: The delivered power has risen, or fallen, to this value.
            state: The charging state, the connector's status or a fault, e.g. "Charging" or "Available".
            minutes: So many minutes of the station's clock have passed.
            evse: Where; may be left out where only one EVSE is possible.
            timeout: Real seconds to wait; None for ever.

        Raises:
            WaitTimeout: They did not become true in time; ``last_seen`` says what was seen last.
            ValueError: Nothing to wait for, a value out of range, a state that the version does not have, or several
                EVSEs are possible and ``evse`` is missing.
            ConnectionLost: The connection closed.
        """
        wanted = {"soc": soc, "energy_kwh": energy_kwh, "power_kw": power_kw, "state": state, "minutes": minutes}
        goal = Goal.make(self._core, self._driver.now(), evse, wanted)
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
            WaitTimeout: It was not reached in time; the vehicle stays plugged in.
            CpsimError: A message that it caused failed.
        """
        self._require_running()
        wanted = {"soc": until_soc, "energy_kwh": until_energy_kwh, "minutes": minutes}
        Goal.check(wanted)
        self._check_timeout(timeout)
        self._core.dialect.token(token, "ISO14443")
        place = evse if evse is not None else self._find_free(token)
        with self._driver.held():
            await self.plug_in(vehicle, evse=place)
            session = self._core.evses[place].session
            assert session is not None
            await self.swipe(token, evse=place)
            goal = Goal.make(self._core, self._driver.now(), place, wanted, ends_with_session=True)
        await self._reach(goal, timeout)
        with self._driver.held():
            if self._core.evses[place].authorization is not None:
                await self.swipe(token, evse=place)
            if self._core.evses[place].vehicle is vehicle:
                await self.unplug(evse=place)
        return session

    def _find_free(self, token: str) -> int:
        """The first EVSE that somebody would go to: one that is reserved for the token, or one that is not reserved."""
        evses, id_token = self._core.evses, self._core.dialect.token(token, "ISO14443")
        free = [each for each in evses.values() if not each.vehicle and not each.authorization and each.is_usable]
        reserved = self._core.reservations.place_of(evses, id_token, "")
        for each in free if reserved not in free else [reserved]:
            if self._core.reservations.admits(list(evses.values()), each, id_token, ""):
                return each.id
        raise ValueError(f"{self.id}: no EVSE is free; unplug a vehicle, or say evse=")

    async def wait_command(self, action: str, *, timeout: float = 5) -> Command:
        """Wait for a CALL of the CSMS; one that came since the last wait counts.

        Args:
            action: E.g. "RequestStartTransaction".
            timeout: Real seconds to wait.

        Raises:
            WaitTimeout: It did not come.
            ValueError: A CSMS has no such command.
        """
        self._commands.check(action)
        check_seconds(f"{self.id}: timeout=", timeout)
        try:
            async with asyncio.timeout(timeout):
                return await self._commands.wait(action, self._require_running)
        except TimeoutError as exc:
            seen = ", ".join(self._commands.unseen) or "no command"
            raise WaitTimeout(f"{self.id} to get {action}", timeout, seen) from exc

    def on(self, action: str, handler: Callable[..., Any] | None) -> None:
        """Answer a command of the CSMS with a function of your own, whenever it comes.

        async def later(**fields):
            await asyncio.sleep(2)
            return station.carry_out("Reset", **fields)  # what the station does by itself

        Args:
            action: E.g. "DataTransfer"; any row of :attr:`commands`.
            handler: Called with the payload's fields in snake_case as keyword arguments; sync or async; returns the
                ``call_result`` dataclass, or raises an error of ``ocpp.exceptions`` for a CALLERROR. None puts the
                station's own behaviour back.

        Raises:
            TypeError: The handler is no function.
            ValueError: A CSMS has no such command.
        """
        self._commands.set_handler(action, handler)

    def carry_out(self, action: str, /, **fields: Any) -> Any:
        """Do what the station does by itself on a command, and return its answer; for a handler of :meth:`on`.

        Args:
            action: E.g. "Reset".
            **fields: The payload's fields in snake_case.

        Raises:
            OCPPError: It is answered with a CALLERROR.
            ValueError: A CSMS has no such command.
        """
        return self._commands.carry_out(action, fields)

    @property
    def commands(self) -> pd.DataFrame:
        """Every command that a CSMS may send in this version: one row each, by name.

        Columns: action, does (what the station does, in one sentence), source (requirement ids of OCPP 2.x, or sections
        of OCPP 1.6), is_done (False for one that it always refuses).
        """
        return self._commands.to_frame()

    def firmware_fails(self, status: str | None, *, attempts: int | None = None) -> None:
        """Let the next firmware update fail, or the one that goes on, if it has not come that far.

        Args:
            status: "DownloadFailed", "InvalidSignature", "InstallVerificationFailed" or "InstallationFailed";
                "InvalidCertificate" or "RevokedCertificate" to refuse a signed one. None: it succeeds after all. Only a
                signed update has a certificate and a signature to be invalid.
            attempts: How often, e.g. 2 for a download that succeeds at the third attempt; until one update has failed
                when None.

        Raises:
            ValueError: There is no such failure, or ``attempts`` is below 1.
        """
        self._core.maintenance.firmware.fail_next(status, attempts)

    def upload_fails(self, status: str | None = "UploadFailure", *, attempts: int | None = None) -> None:
        """Let the next upload of a log fail, or the one that goes on.

        Args:
            status: "UploadFailure", "BadMessage", "PermissionDenied" or "NotSupportedOperation"; None: it succeeds
                after all. DiagnosticsStatusNotification of OCPP 1.6 says UploadFailed for each.
            attempts: As for :meth:`firmware_fails`.

        Raises:
            ValueError: There is no such failure, or ``attempts`` is below 1.
        """
        self._core.maintenance.fail_next(status, attempts)

    # -- The network --------------------------------------------------------------------------------------------------

    async def disconnect(self) -> None:
        """Pull the network's cable. The station goes on offline: transaction messages wait in its queue."""
        self._require_running()
        await self._driver.unplug_network()

    async def reconnect(self) -> None:
        """Plug the network's cable in again, and wait until the CSMS has what waited for it.

        During a reset it returns at once: the station connects by itself when it is time to boot.

        Raises:
            ValueError: The station has no power.
            ConnectError: The connection did not open; the station goes on to try.
            ConnectionLost: It opened, and was lost before that; the station goes on to try.
        """
        self._require_running()
        await self._driver.plug_network()

    async def power_off(self) -> None:
        """Take the power supply away. Variables, meters, what the cache knows and the queue of messages are kept."""
        self._require_running()
        await self._driver.power_off()

    async def power_on(self) -> None:
        """Give the power supply back: connect, boot, report the connectors, and send what waited.

        A transaction that needs an authorization has ended, with the reason PowerLoss; with TxStopPoint EVConnected
        alone it goes on while the vehicle is there, without energy until somebody presents a token.

        Raises:
            ConnectError: The connection did not open; the station stays off.
            CpsimError: The boot failed as in :meth:`connect`, or what it said failed.
        """
        self._require_running()
        await self._driver.power_on()

    @contextlib.asynccontextmanager
    async def network(self, **faults: Any) -> AsyncIterator[Network]:
        """A network with faults in this block, e.g. ``async with station.network(drop=0.1, delay=(0, 2), seed=1)``.

        Args:
            **faults: As :class:`~cpsim_kit.charge_point.Network` takes them.

        Raises:
            TypeError, ValueError: There is no such fault, or a value is out of range.
            RuntimeError: The station has another transport.
        """
        self._require_running()
        if not isinstance(self._network, Network):
            raise RuntimeError(f"{self.id} has no network to disturb; give its charge point transport=Network()")
        with self._network.temporarily(**{"is_on": True, **faults}) as network:
            yield network

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save what outlives the power supply: meters, variables, known tokens, transactions and the queue of messages.

        The file is JSON, and is written completely or not at all.

        Raises:
            OSError: It cannot be written.
        """
        return write_station(Path(path), self.id, self._core, self._driver.now())

    @classmethod
    def load(cls, path: str | os.PathLike[str], url: str, **options: Any) -> Self:
        """Make the station that :meth:`save` saved, as after a power loss; to be awaited or entered.

        Its clock goes on where it was, if that is later than now. A transaction that ran ends with PowerLoss.

        Args:
            path: The file.
            url: The CSMS's address without the identity.
            **options: As :class:`Station` takes them, but for version, evses and variables.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not a saved station.
        """
        saved = read_station(Path(path))
        station = cls(saved.id, url, version=saved.version, evses=saved.evses, starts_at=saved.starts_at, **options)
        recall(station._core, saved.memory)
        return station

    @contextlib.asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Without the network in this block; it reconnects afterwards, also after an error.

        async with station.outage():
            await station.until(minutes=30)
        """
        await self.disconnect()
        try:
            yield
        finally:
            await self.reconnect()

    @property
    def queue(self) -> pd.DataFrame:
        """The transaction messages that wait: one row each, the next one first.

        Columns: at (UTC), transaction_id, seq_no, event, trigger, attempts (how often it was sent in vain), offline.
        """
        return queue_frame(self._core.queue, self._core.epoch)

    # -- Driving ------------------------------------------------------------------------------------------------------

    async def _do(self, event: Event) -> None:
        """Let the core handle an act, and wait until the messages that it caused are answered."""
        self._require_running()
        await self._driver.act(event)

    async def _reach(self, goal: Goal, timeout: float | None) -> None:
        self._require_running()
        self._check_timeout(timeout)
        try:
            await self._driver.reach(goal, timeout)
        except TimeoutError as exc:
            what = f"{self.id}, EVSE {goal.evse_id}: {goal}"
            raise WaitTimeout(what, timeout or 0, self._views[goal.evse_id].describe()) from exc

    def _check_timeout(self, timeout: float | None) -> None:
        if timeout is not None:
            check_seconds(f"{self.id}: timeout=", timeout)


def _check_speed(name: str, speed: object) -> None:
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not speed > 0:
        raise ValueError(f"{name}: speed is above 0, or math.inf, not {speed!r}")
