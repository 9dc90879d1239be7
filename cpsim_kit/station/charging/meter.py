"""Meter readings: the values of measurands at one moment, which belong together. Pure: no clock, no I/O.

P = V * I * phases * power factor. OCPP 2.0.1 part 2, 3.56 (MeasurandEnumType) and J; OCPP 1.6, 7.31.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cpsim_kit.station.charging.evse import LiveEvse

__all__ = ["MEASURANDS", "PER_PHASE", "REGISTER", "Reading", "Value", "read", "read_all"]

REGISTER = "Energy.Active.Import.Register"

# What the meter of an EVSE measures, and its unit. Temperature is a measurand of OCPP 1.6 only.
MEASURANDS = {
    REGISTER: "Wh",
    "Power.Active.Import": "W",
    "Power.Offered": "W",
    "Current.Import": "A",
    "Current.Offered": "A",
    "Voltage": "V",
    "SoC": "Percent",
    "Frequency": "Hz",
    "Temperature": "Celsius",
}
PER_PHASE = frozenset({"Current.Import", "Current.Offered", "Voltage"})  # measured for each phase of AC
_PHASES = ("L1", "L2", "L3")
_TO_NEUTRAL = ("L1-N", "L2-N", "L3-N")
_SUMMED = (REGISTER, "Power.Active.Import", "Power.Offered")
_HERTZ = 50.0
_AMBIENT, _RISE = 20.0, 25.0  # degrees Celsius: idle, and how much warmer it is when it delivers all its power


class Value(NamedTuple):
    """One value: the measurand, the phase ("" for no phase or the sum of all), the number in the measurand's unit."""

    measurand: str
    phase: str
    number: float


class Reading(NamedTuple):
    """Values read at one moment, and why they were read (ReadingContextEnumType)."""

    at: float
    context: str
    values: list[Value]


def read(evse: LiveEvse, now: float, context: str, measurands: Sequence[str]) -> Reading:
    """Read the meter.

    Args:
        evse: The EVSE.
        now: The moment.
        context: Why: "Transaction.Begin", "Sample.Periodic", "Sample.Clock" or "Transaction.End".
        measurands: What to read, e.g. "Voltage", or "Voltage.L1" for one phase. A measurand that has no value, such as
            SoC without a vehicle, is left out.
    """
    values: list[Value] = []
    for name in measurands:
        if name in MEASURANDS:
            values += _values(evse, now, name)
        else:
            measurand, _, phase = name.rpartition(".")
            values += [each for each in _values(evse, now, measurand) if each.phase.partition("-")[0] == phase]
    return Reading(now, context, values)


def read_all(evses: Sequence[LiveEvse], now: float, measurands: Sequence[str]) -> Reading:
    """Read the station's own meter at the grid: the sums of all EVSEs, for the measurands that add up."""
    values = []
    for name in measurands:
        if name in _SUMMED:
            numbers = [value.number for evse in evses for value in _values(evse, now, name)]
            values.append(Value(name, "", round(sum(numbers), 1)))
    return Reading(now, "Sample.Clock", values)


def _values(evse: LiveEvse, now: float, measurand: str) -> list[Value]:
    match measurand:
        case "Energy.Active.Import.Register":
            return [Value(measurand, "", evse.reading_wh(now))]
        case "Power.Active.Import":
            return [Value(measurand, "", round(evse.power_kw(now) * 1000, 1))]
        case "Power.Offered":
            return [Value(measurand, "", round(evse.offered_kw * 1000, 1))]
        case "Current.Import":
            return _currents(evse, measurand, evse.power_kw(now))
        case "Current.Offered":
            return _currents(evse, measurand, evse.offered_kw)
        case "Voltage":
            volts, phases = evse.spec.volts, evse.spec.phases
            if isinstance(phases, str):
                return [Value(measurand, "", volts)]
            return [Value(measurand, phase, volts) for phase in _TO_NEUTRAL[:phases]]
        case "SoC":
            return [] if evse.vehicle is None else [Value(measurand, "", round(evse.soc(now) * 100, 1))]
        case "Frequency":
            return [] if evse.spec.is_dc else [Value(measurand, "", _HERTZ)]
        case "Temperature":
            return [Value(measurand, "", round(_AMBIENT + _RISE * evse.power_kw(now) / evse.spec.max_kw, 1))]
    return []


def _currents(evse: LiveEvse, measurand: str, kw: float) -> list[Value]:
    """Amperes of each phase; the phases that this vehicle does not use carry none."""
    spec, used = evse.spec, evse.phases_used
    if isinstance(spec.phases, str):
        return [Value(measurand, "", round(kw * 1000 / spec.volts, 2))]
    factor = 1 if evse.vehicle is None else evse.vehicle.power_factor
    amps = round(kw * 1000 / (spec.volts * used * factor), 2) if used else 0.0
    return [
        Value(measurand, phase, amps if number < used else 0.0) for number, phase in enumerate(_PHASES[: spec.phases])
    ]
