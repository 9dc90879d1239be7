"""The vehicle: a battery that takes constant power, and less and less near its end. Pure: no clock, no I/O.

All times are differences in seconds. Energy and state of charge are functions of the time since the last change of the
offered power, so that reading them more often changes nothing.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import TypeGuard

from cpsim_kit.basics.cards import card

__all__ = ["FULL", "Vehicle", "is_number"]

FULL = 0.9995  # a battery counts as full here: its power falls to 0 on the way to 1, and it never gets there


class Vehicle:
    """An electric vehicle, with a two-stage battery.

    Up to ``transition_soc`` the battery takes ``max_kw``. From there the power falls linearly with the state of charge,
    to 0 at 1. Results agree with the continuous mode of ``Linear2StageBattery`` of acnportal 0.3.3.

    Args:
        capacity_kwh: The energy of the full battery.
        soc: State of charge, from 0 to 1. A station that charges the vehicle raises it at each change, e.g. of what is
            offered; ``station.evses[1].soc`` is the value at this moment.
        max_kw: The most that its charger takes, over all phases.
        phases: Phases of its charger for AC: 1, 2 or 3. A DC charger ignores it.
        target_soc: The state of charge at which the vehicle stops taking energy.
        transition_soc: The state of charge from which its power falls; 1 if it takes ``max_kw`` to the end.
        cable_a: Amperes that its own cable carries per phase, for an EVSE with a socket.
        power_factor: Active power divided by apparent power, of its charger for AC.

    Raises:
        ValueError: A value is not a number, or out of range.
    """

    __slots__ = ("cable_a", "capacity_kwh", "max_kw", "phases", "power_factor", "soc", "target_soc", "transition_soc")

    def __init__(
        self,
        capacity_kwh: float = 60,
        soc: float = 0.3,
        max_kw: float = 11,
        phases: int = 3,
        *,
        target_soc: float = 1,
        transition_soc: float = 0.8,
        cable_a: float = 32,
        power_factor: float = 1,
    ) -> None:
        for name, value in {"capacity_kwh": capacity_kwh, "max_kw": max_kw, "cable_a": cable_a}.items():
            if not (is_number(value) and 0 < value < math.inf):
                raise ValueError(f"a vehicle's {name} is a number above 0, not {value!r}")
        for name, value in {"soc": soc, "target_soc": target_soc, "transition_soc": transition_soc}.items():
            if not (is_number(value) and 0 <= value <= 1):
                raise ValueError(f"a vehicle's {name} is a number from 0 to 1, not {value!r}")
        if not (is_number(power_factor) and 0 < power_factor <= 1):
            raise ValueError(f"a vehicle's power_factor is a number above 0 and at most 1, not {power_factor!r}")
        if type(phases) is not int or phases not in (1, 2, 3):
            raise ValueError(f"a vehicle has 1, 2 or 3 phases, not {phases!r}")
        self.capacity_kwh = capacity_kwh
        self.soc = soc
        self.max_kw = max_kw
        self.phases = phases
        self.target_soc = target_soc
        self.transition_soc = transition_soc
        self.cable_a = cable_a
        self.power_factor = power_factor

    def __repr__(self) -> str:
        phases = f", {self.phases} phase{'s' if self.phases > 1 else ''}"
        return f"<Vehicle {self.capacity_kwh:g} kWh, {self.soc:.1%} charged, takes {self.max_kw:g} kW{phases}>"

    def _repr_html_(self) -> str:
        rows = {
            "battery": f"{self.capacity_kwh:g} kWh",
            "takes": f"{self.max_kw:g} kW, {self.phases} phase{'s' if self.phases > 1 else ''}",
            "power falls from": f"{self.transition_soc:.0%}" if self.transition_soc < 1 else None,
            "stops at": f"{self.target_soc:.0%}",
        }
        return card("Vehicle", f"{self.soc:.1%} charged", rows)

    @property
    def full_soc(self) -> float:
        """The state of charge at which its battery counts as full: :data:`FULL`, or 1 if its power never falls."""
        return FULL if self.transition_soc < 1 else 1.0

    @property
    def stops_at(self) -> float:
        """The state of charge at which it stops taking energy: its target, or when the battery counts as full."""
        return min(self.target_soc, self.full_soc)

    def demand_kw(self, soc: float) -> float:
        """The power that the battery takes at a state of charge, if as much is offered."""
        if soc >= 1:
            return 0.0
        if soc <= self.transition_soc:
            return self.max_kw
        return self.max_kw * (1 - soc) / (1 - self.transition_soc)

    def soc_after(self, soc: float, kw: float, seconds: float) -> float:
        """The state of charge after so many seconds in which at most ``kw`` were offered; never below ``soc``."""
        power = min(kw, self.max_kw)
        if power <= 0:
            return soc
        hours = seconds / 3600
        bend = self._bend(power)
        until_bend = max(0.0, (bend - soc) * self.capacity_kwh / power)
        if hours <= until_bend:
            return min(soc + power * hours / self.capacity_kwh, max(soc, bend))
        if bend >= 1:
            return max(soc, 1.0)
        return max(soc, 1 - (1 - max(soc, bend)) * math.exp(-(hours - until_bend) / self._time_constant))

    def seconds_until(self, soc: float, target: float, kw: float) -> float:
        """Seconds until a state of charge is reached if ``kw`` are offered; infinity if it is never reached."""
        if target <= soc:
            return 0.0
        power = min(kw, self.max_kw)
        if power <= 0:
            return math.inf
        bend = self._bend(power)
        hours = max(0.0, (min(bend, target) - soc) * self.capacity_kwh / power)
        if target > bend:
            if target >= 1 or bend >= 1:
                return math.inf
            hours += self._time_constant * math.log((1 - max(soc, bend)) / (1 - target))
        return hours * 3600

    def soc_at_power(self, kw: float) -> float:
        """The state of charge from which the battery takes at most ``kw``; minus infinity if it never takes more."""
        return self._bend(kw) if kw < self.max_kw else -math.inf

    def _bend(self, power: float) -> float:
        """The state of charge from which the battery takes less than ``power``."""
        return 1 - (1 - self.transition_soc) * power / self.max_kw

    @property
    def _time_constant(self) -> float:
        """Hours in which the rest to 1 falls by the factor e, in the second stage."""
        return (1 - self.transition_soc) * self.capacity_kwh / self.max_kw


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number of Python or numpy, and neither True nor False."""
    return isinstance(value, Real) and not isinstance(value, bool)
