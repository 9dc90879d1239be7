"""An EVSE: what it can do, and what is going on there. Pure: the moment is an argument, no I/O.

Four quantities are kept apart: what the vehicle demands, what the limit is, what is offered, and what is delivered.
``delivered <= offered <= limit`` at every moment, and the register is the integral of what is delivered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Literal, NamedTuple

from cpsim_kit.station.charging.vehicle import is_number

if TYPE_CHECKING:
    from cpsim_kit.station.charging.session import Session
    from cpsim_kit.station.charging.transaction import Transaction
    from cpsim_kit.station.charging.vehicle import Vehicle
    from cpsim_kit.station.rules.authorization import Authorization

__all__ = ["CHARGING_STATES", "LEAST_A", "Allowance", "Evse", "LiveEvse", "check_evse_id"]

CHARGING_STATES = ("Idle", "EVConnected", "Charging", "SuspendedEV", "SuspendedEVSE")  # ChargingStateEnumType

LEAST_A = 6.0  # amperes per phase, the least that AC charging goes on with (IEC 61851-1)

_AC_VOLTS, _DC_VOLTS = 230.0, 400.0


class Allowance(NamedTuple):
    """What charging profiles leave to an EVSE.

    Attributes:
        kw: The most that it may offer, over all phases; infinity for no limit.
        by: The id of the profile that leads, or "external"; "" for no limit.
        phases: The most phases that it may use; None for no limit.
    """

    kw: float = math.inf
    by: str = ""
    phases: int | None = None


NO_LIMIT = Allowance()


@dataclass(frozen=True)
class Evse:
    """What an EVSE can do. It has one connector.

    Args:
        max_kw: The most that it delivers, over all phases.
        phases: 1 or 3 for AC, "DC" for direct current.
        voltage: Volts between a phase and neutral; for DC between the poles. 230 and 400 when None.
        has_cable: Whether a cable is attached to it; else it has a socket, and the vehicle brings the cable. When None,
            one is attached for direct current or if ``cable_a`` is given.
        cable_a: Amperes that the attached cable carries, per phase; None for as much as the EVSE delivers.
        available: False for an EVSE that is out of order from the start.
        register_kwh: What its meter shows at the start.

    Raises:
        ValueError: A value is not a number, or out of range.
    """

    max_kw: float = 22
    phases: Literal[1, 3, "DC"] = 3
    voltage: float | None = None
    has_cable: bool | None = None
    cable_a: float | None = None
    available: bool = True
    register_kwh: float = 0

    def __post_init__(self) -> None:
        if self.phases != "DC" and (type(self.phases) is not int or self.phases not in (1, 3)):
            raise ValueError(f'an EVSE has phases=1, 3 or "DC", not {self.phases!r}')
        for name in ("max_kw", "voltage", "cable_a"):
            value = getattr(self, name)
            if value is None and name != "max_kw":
                continue
            if not (is_number(value) and 0 < value < math.inf):
                raise ValueError(f"an EVSE's {name} is a number above 0, not {value!r}")
        if not (is_number(self.register_kwh) and 0 <= self.register_kwh < math.inf):
            raise ValueError(f"an EVSE's register_kwh is a number, at least 0, not {self.register_kwh!r}")
        if self.is_attached:
            return
        if self.is_dc:
            raise ValueError("an EVSE for direct current has an attached cable")
        if self.cable_a is not None:
            raise ValueError("an EVSE with a socket has no cable_a; the vehicle brings the cable: Vehicle(cable_a=…)")

    @property
    def is_dc(self) -> bool:
        """Whether it delivers direct current."""
        return self.phases == "DC"

    @property
    def is_attached(self) -> bool:
        """Whether a cable is attached to it."""
        return self.is_dc or self.cable_a is not None if self.has_cable is None else self.has_cable

    @property
    def volts(self) -> float:
        """Volts between a phase and neutral; for DC between the poles."""
        return self.voltage if self.voltage is not None else _DC_VOLTS if self.is_dc else _AC_VOLTS


def check_evse_id(evses: Mapping[int, LiveEvse], evse_id: object) -> None:
    """Check that a station has an EVSE of this id.

    Raises:
        ValueError: It has none; the message says which it has.
    """
    is_whole = isinstance(evse_id, Integral) and not isinstance(evse_id, bool)
    if is_whole and evse_id in evses:
        return
    first, *others = map(str, evses)
    known = f"the EVSEs {', '.join([first, *others])}" if others else f"EVSE {first} only"
    hint = "" if is_whole else "; evse is a whole number"
    raise ValueError(f"this station has {known}, not {evse_id!r}{hint}")


class LiveEvse:
    """What is going on at one EVSE of a station.

    Attributes:
        allowance: What charging profiles leave to it, as it was found last.
        id: From 1; 0 is no EVSE yet, for a token that was presented before it is known where the cable goes.
        spec: What the EVSE can do.
        vehicle: The vehicle at its cable, or None.
        has_dangling_cable: Whether a cable hangs in the socket without a vehicle.
        is_cable_locked: Whether that cable stays locked until somebody is authorized (E09.FR.03).
        authorization: Who may charge here now, or None.
        transaction: The running transaction, or None.
        fault: The fault that blocks it, or "".
        available: Whether it is in service.
        is_leaving: Whether it goes out of service when its transaction ends.
        is_reserved: Whether it is kept for somebody with a reservation.
        is_resetting: Whether it is out of service for a reset only, after which it is as before.
        ev_suspends: Whether the vehicle takes nothing for now.
        evse_suspends: Whether the EVSE offers nothing for now.
        ev_is_done: Whether the vehicle has reached its target.
        was_stopped: Whether a transaction ended here while the vehicle stayed.
        conditions: The points of a session that are true: see ``transaction``.
        connect_by: When the authorization ends if no vehicle comes; infinity for never.
        authorize_by: When OCPP 1.6 gives up a vehicle for which no token comes.
        full_at: When the vehicle reaches its target, or the energy for an invalid token is used up.
        session: The session's record, or None.
        reported_status: The connector's status that the CSMS knows, or "".
        hardware_kw: The limit of cable and EVSE for this vehicle; that of the EVSE without one.
        limit_kw: The least of that and of what charging profiles leave to it.
        limit_by: What limits it: the id of a charging profile, "external", or "EVSE" for cable and EVSE.
        limiter: Finds what charging profiles leave to it; None without smart charging.
        offered_kw: What it offers.
        phases_used: Phases in use with this vehicle; 0 for DC.
        ready_since: When the running transaction was authorized and connected; None before.
        has_power: Whether the station has its power supply.
        power_before_kw: What was delivered just before the last change.
        soc_before: The state of charge then; not a number without a vehicle.
    """

    __slots__ = (
        "_amps",
        "_charged_since",
        "_charged_until",
        "_draw_kw",
        "_read_at",
        "_since",
        "_soc",
        "_soc_read",
        "_wh",
        "allowance",
        "authorization",
        "authorize_by",
        "available",
        "capability_kw",
        "conditions",
        "connect_by",
        "ev_is_done",
        "ev_suspends",
        "evse_suspends",
        "fault",
        "full_at",
        "hardware_kw",
        "has_dangling_cable",
        "has_power",
        "id",
        "is_cable_locked",
        "is_leaving",
        "is_reserved",
        "is_resetting",
        "limit_by",
        "limit_kw",
        "limiter",
        "offered_kw",
        "phases_used",
        "power_before_kw",
        "ready_since",
        "reported_status",
        "session",
        "soc_before",
        "spec",
        "transaction",
        "vehicle",
        "was_stopped",
    )

    def __init__(self, evse_id: int, spec: Evse) -> None:
        self.id = evse_id
        self.spec = spec
        self.vehicle: Vehicle | None = None
        self.has_dangling_cable = self.is_cable_locked = False
        self.authorization: Authorization | None = None
        self.transaction: Transaction | None = None
        self.fault = ""
        self.available = spec.available
        self.is_leaving = False
        self.is_reserved = False
        self.is_resetting = False
        self.ev_suspends = False
        self.evse_suspends = False
        self.ev_is_done = False
        self.was_stopped = False
        self.conditions: frozenset[str] = frozenset()
        self.connect_by = math.inf
        self.authorize_by = math.inf
        self.full_at = math.inf
        self.session: Session | None = None
        self.reported_status = ""
        self.limit_kw: float = spec.max_kw
        self.hardware_kw: float = spec.max_kw
        self.limit_by = "EVSE"
        self.limiter: Callable[[LiveEvse, float], Allowance] | None = None
        self.allowance = NO_LIMIT
        self.ready_since: float | None = None
        self.offered_kw = 0.0
        self.phases_used = 0
        self.capability_kw = 0.0  # the most that the vehicle's charger takes here
        self._amps = 0.0  # that cable and EVSE carry, per phase
        self._draw_kw = 0.0  # the lesser of what is offered and what the vehicle's charger takes; 0 if it takes none
        self._since = 0.0
        self._charged_since = self._charged_until = math.nan  # when this vehicle took energy
        self._soc = 0.0
        self._read_at, self._soc_read = math.nan, 0.0  # the last result of soc(): one reading asks for it four times
        self._wh = spec.register_kwh * 1000
        self.has_power = True
        self.power_before_kw = 0.0
        self.soc_before = math.nan

    def __repr__(self) -> str:
        return f"<EVSE {self.id} {self.charging_state}>"

    # -- The vehicle --------------------------------------------------------------------------------------------------

    def connect(self, vehicle: Vehicle, now: float) -> None:
        """Connect a vehicle, and work out the limits of this pair."""
        self._rebase(now)
        self._charged_since = self._charged_until = math.nan
        spec = self.spec
        self.vehicle, self._soc = vehicle, vehicle.soc
        self.has_dangling_cable = self.is_cable_locked = False
        self.ev_suspends = False
        self.ev_is_done = vehicle.soc >= vehicle.stops_at
        if isinstance(spec.phases, str):
            self.phases_used = 0
            amps = math.inf if spec.cable_a is None else spec.cable_a
            self.hardware_kw = min(spec.max_kw, amps * spec.volts / 1000)
            self.capability_kw = vehicle.max_kw
        else:
            amps = spec.max_kw * 1000 / (spec.volts * spec.phases)
            cable = spec.cable_a if spec.is_attached else vehicle.cable_a
            self._amps = amps if cable is None else min(amps, cable)
            self._use_phases(3)
        self.limit_kw, self.limit_by = self.hardware_kw, "EVSE"

    def _use_phases(self, most: int) -> None:
        """Charge on as many phases as EVSE and vehicle have, and at most on these."""
        vehicle, phases = self.vehicle, self.spec.phases
        assert vehicle is not None
        assert not isinstance(phases, str)
        self.phases_used = min(phases, vehicle.phases, most)
        self.hardware_kw, self.capability_kw, _ = self.reach(most)

    def reach(self, most: int | None = None) -> tuple[float, float, float]:
        """What is possible on at most so many phases, all for None.

        Returns:
            The limit of cable and EVSE, the most that the vehicle's charger takes, and the least that it charges with,
            in kW.
        """
        vehicle, phases = self.vehicle, self.spec.phases
        if vehicle is None or isinstance(phases, str):
            return self.hardware_kw, self.capability_kw, 0.0
        used = min(phases, vehicle.phases, most or 3)
        hardware_kw, least_kw = (
            amps * self.spec.volts * used * vehicle.power_factor / 1000 for amps in (self._amps, LEAST_A)
        )
        return hardware_kw, vehicle.max_kw * used / vehicle.phases, least_kw

    def disconnect(self, now: float) -> None:
        """Take the cable out at the vehicle."""
        self._rebase(now)
        self.vehicle = None
        self.ev_suspends = self.ev_is_done = False
        self.limit_kw = self.hardware_kw = self.spec.max_kw
        self.limit_by, self.capability_kw, self.phases_used = "EVSE", 0.0, 0

    @property
    def cable_a(self) -> int | None:
        """Amperes of the connected cable, where it says so."""
        if self.vehicle is None:
            return None
        cable = self.spec.cable_a if self.spec.is_attached else self.vehicle.cable_a
        return None if cable is None else int(cable)

    # -- Power and energy ---------------------------------------------------------------------------------------------

    def offer(self, now: float) -> None:
        """Offer what the state of the session allows. Call it after every change of that state."""
        self._rebase(now)
        authorization = self.authorization
        vehicle = self.vehicle
        if vehicle is not None and authorization is not None:
            self.ready_since = now if self.ready_since is None else self.ready_since
        elif self.transaction is None:
            self.ready_since = None
        allowed = self.may_offer
        if self.limiter is not None:
            self._obey(self.limiter(self, now))
        self.offered_kw = self.limit_kw if allowed else 0.0
        if self.limit_by != "EVSE" and self.limit_kw < self.least_kw - 1e-9:  # a pilot signal says no less
            self.offered_kw = 0.0
        takes = allowed and not self.ev_suspends and not self.ev_is_done
        self._draw_kw = min(self.offered_kw, self.capability_kw) if takes else 0.0
        self.full_at = math.inf
        if vehicle is not None and authorization is not None and self._draw_kw:
            target = vehicle.stops_at
            if authorization.until_wh is not None:
                allowed_soc = self._soc + (authorization.until_wh - self._wh) / (vehicle.capacity_kwh * 1000)
                target = min(target, max(allowed_soc, self._soc))
            self.full_at = now + vehicle.seconds_until(self._soc, target, self._draw_kw)

    @property
    def may_offer(self) -> bool:
        """Whether somebody may charge here now, whatever charging profiles say."""
        authorization = self.authorization
        return (
            self.vehicle is not None
            and authorization is not None
            and not authorization.is_blocked
            and not self.evse_suspends
            and not self.fault
            and self.available
            and self.has_power
        )

    @property
    def least_kw(self) -> float:
        """The least power with which the vehicle charges: :data:`LEAST_A` on each phase in use; 0 for DC."""
        return self.reach(self.phases_used or None)[2]

    def _obey(self, allowance: Allowance) -> None:
        """Take what charging profiles say into the limit."""
        self.allowance = allowance
        if self.vehicle is not None and not self.spec.is_dc:
            self._use_phases(3 if allowance.phases is None else allowance.phases)
        self.limit_kw, self.limit_by = self.hardware_kw, "EVSE"
        if allowance.kw < self.hardware_kw:
            self.limit_kw, self.limit_by = allowance.kw, allowance.by

    def _rebase(self, now: float) -> None:
        """Begin a new stretch of constant offer."""
        if self.vehicle is not None and self._draw_kw:
            soc, wh = self.soc(now), self.register_wh(now)
            self.power_before_kw = self.power_kw(now)
            self._soc = self.vehicle.soc = self.soc_before = soc
            self._wh = wh
            if math.isnan(self._charged_since):
                self._charged_since = self._since
            self._charged_until = now
        elif now > self._since:
            self.power_before_kw, self.soc_before = 0.0, self.soc(now)
        self._since = now
        self._draw_kw = 0.0
        self._read_at = math.nan

    def set_register(self, register_wh: float) -> None:
        """Let the meter begin where it was, before anything is connected."""
        self._wh = register_wh

    def soc(self, now: float) -> float:
        """The vehicle's state of charge; that of no vehicle is not a number."""
        vehicle = self.vehicle
        if vehicle is None:
            return math.nan
        if not self._draw_kw:
            return self._soc
        if now != self._read_at:
            self._read_at = now
            self._soc_read = vehicle.soc_after(self._soc, self._draw_kw, now - self._since)
        return self._soc_read

    def register_wh(self, now: float) -> float:
        """What its meter shows: all that it ever delivered, not rounded."""
        if self.vehicle is None or not self._draw_kw:
            return self._wh
        return self._wh + (self.soc(now) - self._soc) * self.vehicle.capacity_kwh * 1000

    def charging_seconds(self, now: float) -> float:
        """Seconds from the first to the last energy that this vehicle, or the one before it, has taken."""
        takes = self.vehicle is not None and bool(self._draw_kw)
        since = self._since if math.isnan(self._charged_since) else self._charged_since
        until = now if takes else self._charged_until
        return 0.0 if math.isnan(until) else until - since

    def reading_wh(self, now: float) -> int:
        """What can be read from its meter, which counts whole watt-hours."""
        return round(self.register_wh(now))

    def power_kw(self, now: float) -> float:
        """What is delivered."""
        if self.vehicle is None or not self._draw_kw:
            return 0.0
        return min(self._draw_kw, self.vehicle.demand_kw(self.soc(now)))

    def demand_kw(self, now: float) -> float:
        """What the vehicle would take if it were offered."""
        if self.vehicle is None or self.ev_suspends or self.ev_is_done:
            return 0.0
        return min(self.capability_kw, self.vehicle.demand_kw(self.soc(now)))

    def seconds_until_soc(self, now: float, target: float) -> float:
        """Seconds until the vehicle has this state of charge if nothing changes; infinity for never."""
        if self.vehicle is None:
            return math.inf
        return self.vehicle.seconds_until(self.soc(now), target, self._draw_kw)

    def seconds_until_wh(self, now: float, register_wh: float) -> float:
        """Seconds until the meter shows this register if nothing changes; infinity for never."""
        missing = register_wh - self.register_wh(now)
        if missing <= 0:
            return 0.0
        if self.vehicle is None:
            return math.inf
        return self.seconds_until_soc(now, self.soc(now) + missing / (self.vehicle.capacity_kwh * 1000))

    # -- State --------------------------------------------------------------------------------------------------------

    @property
    def is_usable(self) -> bool:
        """Whether it is in service and without a fault."""
        return self.available and not self.fault

    @property
    def charging_state(self) -> str:
        """The charging state, as OCPP 2.0.1 names it (ChargingStateEnumType), for every version."""
        if self.vehicle is None:
            return "Idle"
        if self.authorization is None or not self.is_usable:
            return "EVConnected"
        if self.offered_kw <= 0:  # the suspension by the EVSE has precedence
            return "SuspendedEVSE"
        return "Charging" if self._draw_kw else "SuspendedEV"

    @property
    def is_ev_gone(self) -> bool:
        """Whether the cable was taken out at the vehicle only, and hangs there, or a transaction goes on without it."""
        running = self.transaction
        return self.has_dangling_cable or (running is not None and self.vehicle is None and running.is_evse_reported)

    def find_conditions(self) -> frozenset[str]:
        """The points of a session that are true now, named as TxStartPoint names them; none while out of order."""
        if not self.is_usable:
            return frozenset()
        points = set()
        if self.vehicle is not None:
            points.add("EVConnected")
        if self.authorization is not None:
            points.add("Authorized")
        if len(points) == 2:
            points.add("PowerPathClosed")
            if self._draw_kw:
                points.add("EnergyTransfer")
        return frozenset(points)
