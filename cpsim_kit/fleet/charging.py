"""Stations of a fleet: drivers come to each, and what became of their sessions is reported.

A station keeps its connection itself, once the share has opened it for the first time.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import math
import random as random_module
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cpsim_kit.basics.waiting import together
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.charge_point.backoff import Backoff
from cpsim_kit.errors import CpsimError, ProtocolViolation
from cpsim_kit.fleet.arrivals import Arrivals, waits_of
from cpsim_kit.fleet.session_table import SessionRow
from cpsim_kit.station import Session, Station, Vehicle
from cpsim_kit.station.charging.transaction import Transaction

__all__ = ["Charger", "Charging", "Drive", "Options", "charge_once", "takes_random"]

Drive = Callable[..., Awaitable[Any]]
Options = Mapping[str, Any] | Callable[[str], Mapping[str, Any]]

_NAN = math.nan
_PAUSE = 0.5  # seconds between two looks at a station that is offline


@dataclass(frozen=True)
class Charging:
    """What the stations of a fleet are, and who comes to them; it can be sent to another process.

    Attributes:
        station: Arguments of each ``Station``, or a function of its id that returns them.
        drive: What a driver does; :func:`charge_once` when None.
        arrivals: When drivers arrive; None for one driver, or with the default drive one after the other.
        seed: The seed of arrivals and drives, with the station's id.
        reconnect: The waits before a station connects again; None for its own.
        attempt: How many times these stations have started again since their process was lost.
    """

    station: Options
    drive: Drive | None = None
    arrivals: Arrivals | None = None
    seed: int = 0
    reconnect: Backoff | None = None
    attempt: int = 0

    def again(self) -> Charging:
        """The same in another process: nothing in it is used again, such as the ids of transactions."""
        return replace(self, attempt=self.attempt + 1)

    @property
    def drive_or_default(self) -> Drive:
        """What a driver does."""
        if self.drive is not None:
            return self.drive
        return charge_once if self.arrivals is not None else _pause_and_charge

    def options(self, charge_point_id: str) -> dict[str, Any]:
        """The arguments of one ``Station``.

        Raises:
            TypeError: The function returned no mapping.
            ValueError: Both the fleet and the station say how to reconnect.
        """
        given = self.station(charge_point_id) if callable(self.station) else self.station
        if not isinstance(given, Mapping):
            raise TypeError(
                f"station= is a dict of arguments of Station, or a function that returns one; not {given!r}"
            )
        options = {"record": False, **given}
        if self.reconnect is not None:
            if "reconnect" in given:
                raise ValueError("reconnect= of the fleet is for its stations, too: leave it out of station=")
            options["reconnect"] = self.reconnect
        if self.attempt and options.get("seed") is not None:
            options["seed"] = self._random(charge_point_id, f"station {options['seed']}").getrandbits(64)
        return options

    def station_of(self, charge_point: ChargePoint) -> Station:
        """The station around a charge point."""
        return _Station(charge_point, **self.options(charge_point.id))

    def drivers(self, charge_point_id: str) -> Iterator[tuple[float, random_module.Random]]:
        """For each driver, the seconds from the one before, and the source of what is random about this one."""
        if self.arrivals is not None:
            waits = waits_of(self.arrivals, self._random(charge_point_id, "arrivals"))
        else:
            waits = iter((0.0,)) if self.drive is not None else itertools.repeat(0.0)
        for number, wait in enumerate(waits):
            yield wait, self._random(charge_point_id, f"driver {number}")

    def _random(self, charge_point_id: str, what: str) -> random_module.Random:
        attempt = f" {self.attempt}" if self.attempt else ""
        return random_module.Random(f"{self.seed} {charge_point_id} {what}{attempt}")  # noqa: S311 - no secrets


_vehicles: contextvars.ContextVar[list[Vehicle]] = contextvars.ContextVar("vehicles")  # of the drive that runs here


class _Station(Station):
    """A station that notes the vehicles of each drive."""

    __slots__ = ()

    async def plug_in(self, vehicle: Vehicle, *, evse: int | None = None) -> None:
        _vehicles.get([]).append(vehicle)
        await super().plug_in(vehicle, evse=evse)


async def charge_once(station: Station, random: random_module.Random) -> None:
    """The default drive: a vehicle charges at the first free EVSE; where there is none, the driver goes away.

    Its battery has 40, 58 or 77 kWh and is charged by 10 to 60 %, its charger takes 7.4, 11 or 22 kW. It takes 5 to
    20 kWh, or less where its battery is full before. The token is one of "TAG-0001" to "TAG-1000".
    """
    vehicle = Vehicle(random.choice((40, 58, 77)), random.uniform(0.1, 0.6), random.choice((7.4, 11, 22)))
    energy_kwh, token = random.uniform(5, 20), f"TAG-{random.randint(1, 1000):04}"
    for number, evse in station.evses.items():
        if evse.vehicle is None and evse.state == "Idle":
            await station.charge(vehicle, token=token, evse=number, until_energy_kwh=energy_kwh)
            return


async def _pause_and_charge(station: Station, random: random_module.Random) -> None:
    """The EVSE is empty for up to ten minutes of the station's clock, and then the next driver comes."""
    await station.until(minutes=random.uniform(0, 10), evse=1, timeout=None)
    await charge_once(station, random)


class Charger:
    """One station of a share, and its drivers.

    Args:
        charging: What it is, and who comes.
        charge_point: The charge point beneath.
        on_error: Called with an error of the kit that ended a drive.
    """

    __slots__ = ("_charging", "_drivers", "_due", "_live", "_on_error", "_reported", "_seen", "station")

    def __init__(self, charging: Charging, charge_point: ChargePoint, on_error: Callable[[CpsimError], None]) -> None:
        self.station = charging.station_of(charge_point)
        self._charging = charging
        self._on_error = on_error
        self._drivers = charging.drivers(charge_point.id)
        self._due = 0.0  # seconds of the station's clock since it was accepted, when the last driver arrives
        self._seen = 0  # sessions
        self._live: dict[int, Session] = {}  # by number, those that can still change
        self._reported: dict[int, list[SessionRow]] = {}  # of those, what was reported last

    async def accept(self, random: random_module.Random) -> None:
        """Boot until the CSMS accepts the station; also where an answer breaks the schema, boot again.

        Args:
            random: Of the waits before it boots again.

        Raises:
            ConnectionLost: The connection ended.
            CpsimError: The boot failed, and the station does not try again.
        """
        backoff = self.station.backoff
        waits = iter(()) if backoff is None else backoff.waits(random)
        while True:
            try:
                await self.station.connect()
            except ProtocolViolation:
                if (wait := next(waits, None)) is None:
                    raise
                await asyncio.sleep(wait)
            else:
                return

    async def serve(self) -> None:
        """Let the drivers come, as many at once as there are EVSEs, and return when all that was to say is said.

        A driver who arrives while each EVSE has one waits until one leaves.

        Raises:
            CpsimError: What has ended the station.
            Exception: A drive's own fault.
        """
        began = self.station.now
        places = len(self.station.evses)
        if places == 1:
            await self._serve_one_by_one(began)
        else:
            await together((self._serve_one_by_one(began) for _ in range(places)), f"{self.station.id}.driver")
        await self._send_all()

    async def _serve_one_by_one(self, began: datetime) -> None:
        station = self.station
        for wait, random in self._drivers:
            self._due += wait
            left = self._due - (station.now - began).total_seconds()
            if left > 0:
                await station.until(minutes=left / 60, evse=1, timeout=None)
            while station.speed == math.inf and not station.is_online:  # or else years would pass during an outage
                await self._wait_a_little()
            await self._drive(random)
            await asyncio.sleep(0)  # a drive may wait for nothing

    async def _drive(self, random: random_module.Random) -> None:
        vehicles: list[Vehicle] = []
        drive = self._charging.drive_or_default
        mine = _vehicles.set(vehicles)
        try:
            doing = drive(self.station, random) if takes_random(drive) else drive(self.station)
            if not inspect.isawaitable(doing):
                raise TypeError(f"a drive is an async function, async def drive(station); this one returned {doing!r}")
            await doing
        except CpsimError as exc:
            self._on_error(exc)
            await self.station.connect()  # raises what has ended the station
            await self._leave(vehicles)
        finally:
            _vehicles.reset(mine)

    async def _leave(self, vehicles: list[Vehicle]) -> None:
        """The driver of a drive that failed unplugs and goes away."""
        for number, evse in self.station.evses.items():
            if evse.vehicle is not None and evse.vehicle in vehicles:
                try:
                    await self.station.unplug(evse=number)
                except CpsimError as exc:
                    self._on_error(exc)

    async def _send_all(self) -> None:
        station = self.station
        while station.waiting:
            if station.is_online:
                await station.until(minutes=1 / 60, evse=1, timeout=None)  # the next attempt is due by its clock
            else:
                await self._wait_a_little()

    async def _wait_a_little(self) -> None:
        await self.station.connect()  # raises what has ended the station
        await asyncio.sleep(_PAUSE)

    # -- What is reported ---------------------------------------------------------------------------------------------

    @property
    def power_kw(self) -> float:
        """What its EVSEs deliver."""
        return sum(evse.power_kw for evse in self.station.evses.values())

    @property
    def sessions(self) -> int:
        """How many sessions go on."""
        return sum(evse.session is not None for evse in self.station.evses.values())

    def drain(self) -> list[SessionRow]:
        """The rows of sessions that have changed since the last time."""
        sessions = self.station.sessions
        for number in range(self._seen, len(sessions)):
            self._live[number] = sessions[number]
        self._seen = len(sessions)
        changed: list[SessionRow] = []
        for number, session in list(self._live.items()):
            rows = self._rows(number, session)
            before = self._reported.get(number, [])
            changed += [row for row in rows if row not in before]
            if session.end is not None and not any(row.waiting for row in rows):
                del self._live[number]
                self._reported.pop(number, None)
            else:
                self._reported[number] = rows
        return changed

    def _rows(self, number: int, session: Session) -> list[SessionRow]:
        if session.end_wh is not None:
            now_wh = session.end_wh
        elif session.evse_id:
            now_wh = self.station.evses[session.evse_id].energy_kwh * 1000
        else:
            now_wh = session.begin_wh
        transactions: list[Transaction | None] = [*session.transactions] or [None]
        return [self._row(number, part, session, now_wh, each) for part, each in enumerate(transactions)]

    def _row(
        self, number: int, part: int, session: Session, now_wh: float, transaction: Transaction | None
    ) -> SessionRow:
        epoch = session.epoch
        if transaction is None:
            transaction = Transaction("", session.evse_id, _NAN)
        return SessionRow(
            self.station.id,
            number,
            part,
            self.station.charge_point.version,
            session.evse_id,
            session.token,
            session.refused,
            epoch + session.begin,
            _NAN if session.end is None else epoch + session.end,
            transaction.id,
            epoch + transaction.start if transaction.id else _NAN,
            _NAN if transaction.end is None else epoch + transaction.end,
            transaction.start_wh,
            transaction.end_wh,
            now_wh,
            transaction.reported_start_wh,
            transaction.reported_end_wh,
            transaction.seq_no,
            transaction.answered,
            transaction.given_up,
            transaction.was_offline,
        )


def takes_random(drive: Drive) -> bool:
    """Whether a drive takes a second argument, its source of random numbers."""
    try:
        inspect.signature(drive).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True
