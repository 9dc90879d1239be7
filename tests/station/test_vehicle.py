"""The battery of a vehicle, against a numerical integration and against results of acnportal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cpsim_kit import Vehicle
from cpsim_kit.station.charging.vehicle import FULL

# capacity_kwh, soc, max_kw, transition_soc, offered kW, minutes, and the state of charge afterwards, as computed by
# Linear2StageBattery of acnportal 0.3.3: battery = Linear2StageBattery(capacity_kwh, soc * capacity_kwh, max_kw,
# transition_soc=transition_soc), battery.charge(kw * 1000 / 230, 230, minutes), battery._soc.
ACNPORTAL = [
    (93.4, 0.672, 7.4, 0.75, 14.49, 110, 0.808966776849),
    (64.8, 0.88, 3.7, 0.82, 4.6, 7, 0.884359841971),
    (24, 0.323, 43, 0.82, 4.6, 25, 0.402861111111),
    (38.3, 0.614, 120, 0.75, 11.04, 7, 0.64762924282),
    (93.4, 0.512, 16.5, 0.82, 1.38, 25, 0.518156316916),
    (14.5, 0.212, 3.7, 0.5, 11.04, 47, 0.411885057471),
    (93.4, 0.264, 43, 0.3, 4.14, 25, 0.282468950749),
    (24, 0.565, 3.7, 0.3, 86.25, 47, 0.633929407744),
    (24, 0.68, 11, 0.9, 43.47, 13, 0.779305555556),
    (93.4, 0.28, 16.5, 0.5, 6.9, 7, 0.288618843683),
    (93.4, 0.139, 43, 0.82, 3.68, 7, 0.143596716631),
    (64.8, 0.069, 7.4, 0.82, 2.3, 7, 0.073140946502),
    (14.5, 0.765, 11, 0.3, 86.25, 200, 0.993658558937),
    (52, 0.524, 120, 0.3, 28.75, 7, 0.588503205128),
    (52, 0.549, 3.7, 0.3, 7.36, 7, 0.554316809173),
    (38.3, 0.264, 3.7, 0.97, 86.25, 0.5, 0.264805047868),
    (14.5, 0.205, 43, 0.9, 14.49, 13, 0.421517241379),
    (14.5, 0.899, 120, 0.9, 6.9, 13, 0.998532760472),
    (52, 0.281, 16.5, 0.3, 2.3, 25, 0.299429487179),
    (24, 0.112, 7.4, 0.9, 4.6, 7, 0.134361111111),
    (52, 0.483, 7.4, 0.5, 86.25, 200, 0.799685195874),
    (14.5, 0.883, 11, 0.5, 11.04, 13, 0.915779504795),
    (93.4, 0.709, 3.7, 0.75, 4.14, 110, 0.779707956391),
    (93.4, 0.941, 16.5, 0.82, 28.75, 7, 0.947383177006),
    (64.8, 0.466, 3.7, 0.97, 14.49, 110, 0.570681069959),
    (93.4, 0.035, 11, 0.75, 7.36, 0.5, 0.035656673804),
    (14.5, 0.221, 7.4, 0.9, 4.6, 110, 0.802609195402),
    (52, 0.262, 16.5, 0.3, 22.08, 110, 0.678073875152),
    (24, 0.756, 11, 0.82, 11.04, 25, 0.911096135095),
    (64.8, 0.07, 7.4, 0.3, 43.47, 0.5, 0.070951646091),
    (14.5, 0.473, 43, 0.5, 3.68, 13, 0.527988505747),
    (93.4, 0.365, 43, 0.5, 1.38, 200, 0.414250535332),
    (64.8, 0.447, 16.5, 0.82, 43.47, 47, 0.646459876543),
    (64.8, 0.746, 3.7, 0.97, 13.8, 110, 0.850681069959),
    (24, 0.356, 11, 0.97, 7.36, 7, 0.391777777778),
    (93.4, 0.275, 3.7, 0.9, 6.9, 200, 0.407048536759),
]


def integrate(
    capacity_kwh: float, soc: float, max_kw: float, transition: float, offered_kw: float, seconds: float
) -> float:
    """The state of charge after some time, by small steps of the law itself (midpoint rule)."""

    def power(soc: float) -> float:
        ramp = 1.0 if soc <= transition else (1 - soc) / (1 - transition)
        return min(offered_kw, max_kw * ramp)

    steps = 2000
    hours = seconds / 3600 / steps
    for _ in range(steps):
        middle = soc + power(soc) * hours / 2 / capacity_kwh
        soc += power(middle) * hours / capacity_kwh
    return soc


@pytest.mark.parametrize(("capacity", "soc", "max_kw", "transition", "offered", "minutes", "expected"), ACNPORTAL)
def test_battery_agrees_with_acnportal(
    capacity: float, soc: float, max_kw: float, transition: float, offered: float, minutes: float, expected: float
) -> None:
    vehicle = Vehicle(capacity, soc, max_kw, transition_soc=transition)
    assert vehicle.soc_after(soc, offered, minutes * 60) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("transition", [0, 0.2, 0.8, 0.95])
@pytest.mark.parametrize("soc", [0, 0.15, 0.5, 0.83, 0.99])
@pytest.mark.parametrize(("max_kw", "offered"), [(11, 22), (11, 11), (11, 3.7), (50, 7.4)])
def test_battery_agrees_with_small_steps(soc: float, transition: float, max_kw: float, offered: float) -> None:
    vehicle = Vehicle(40, soc, max_kw, transition_soc=transition)
    for seconds in (60, 1800, 3 * 3600):
        expected = integrate(40, soc, max_kw, transition, offered, seconds)
        assert vehicle.soc_after(soc, offered, seconds) == pytest.approx(expected, abs=2e-6)


batteries = st.builds(
    lambda capacity, max_kw, transition: Vehicle(capacity, 0.5, max_kw, transition_soc=transition),
    st.floats(1, 200),
    st.floats(0.5, 400),
    st.one_of(st.just(1.0), st.floats(0, 0.99)),
)
socs = st.floats(0, 1)
powers = st.floats(0.1, 500)
times = st.floats(0, 100_000)


@given(batteries, socs, powers, times, times)
def test_two_stretches_are_as_one(vehicle: Vehicle, soc: float, kw: float, first: float, second: float) -> None:
    between = vehicle.soc_after(soc, kw, first)
    assert vehicle.soc_after(between, kw, second) == pytest.approx(vehicle.soc_after(soc, kw, first + second), abs=1e-9)


@given(batteries, socs, powers, times)
@example(Vehicle(56.20646979224429, 0.5, 111.97991053043754, transition_soc=1), 0.007567124038851181, 94.0, 2138.804)
def test_state_of_charge_rises_to_1_at_most(vehicle: Vehicle, soc: float, kw: float, seconds: float) -> None:
    after = vehicle.soc_after(soc, kw, seconds)
    assert soc <= after <= 1
    assert 0 <= vehicle.demand_kw(after) <= vehicle.demand_kw(soc)


def test_a_battery_whose_power_never_falls_takes_nothing_once_it_is_full() -> None:
    """This one's state of charge was rounded to more than 1, where its demand could not be computed."""
    vehicle = Vehicle(56.20646979224429, 0.007567124038851181, 111.97991053043754, transition_soc=1)
    seconds = vehicle.seconds_until(vehicle.soc, 1, 93.8899339017879)
    full = vehicle.soc_after(vehicle.soc, 93.8899339017879, seconds)
    assert full == 1
    assert vehicle.demand_kw(full) == 0
    assert vehicle.soc_after(full, 11, 3600) == 1


@given(batteries, socs, st.floats(0, FULL), powers)
def test_time_until_a_state_of_charge_is_the_time_after_which_it_is_reached(
    vehicle: Vehicle, soc: float, target: float, kw: float
) -> None:
    seconds = vehicle.seconds_until(soc, target, kw)
    assert vehicle.soc_after(soc, kw, seconds) == pytest.approx(max(soc, target), abs=1e-9)


@pytest.mark.parametrize(
    ("transition", "soc", "target", "kw", "seconds"),
    [
        (0.8, 0.5, 0.4, 11, 0),
        (0.8, 0.5, 0.5, 0, 0),
        (0.8, 0.5, 0.6, 0, math.inf),
        (0.8, 0.5, 0.6, -1, math.inf),
        (0.8, 0.5, 1, 11, math.inf),
        (1, 0.5, 1, 10, 3600),
        (1, 0.5, 1.1, 10, math.inf),
    ],
)
def test_time_until_a_state_of_charge_at_the_edges(
    transition: float, soc: float, target: float, kw: float, seconds: float
) -> None:
    assert Vehicle(20, soc, 10, transition_soc=transition).seconds_until(soc, target, kw) == pytest.approx(seconds)


@pytest.mark.parametrize("kw", [0, -3])
def test_nothing_happens_without_power(kw: float) -> None:
    assert Vehicle().soc_after(0.3, kw, 3600) == 0.3


@pytest.mark.parametrize(
    ("soc", "demand"), [(0, 10), (0.8, 10), (0.9, 5), (0.99, 0.5), (1, 0), (np.nextafter(1, 2), 0)]
)
def test_demand_falls_linearly_in_the_second_stage(soc: float, demand: float) -> None:
    assert Vehicle(max_kw=10, transition_soc=0.8).demand_kw(soc) == pytest.approx(demand)


@pytest.mark.parametrize(("kw", "soc"), [(5, 0.9), (0, 1), (10, -math.inf), (20, -math.inf)])
def test_state_of_charge_from_which_it_takes_at_most_a_power(kw: float, soc: float) -> None:
    vehicle = Vehicle(max_kw=10, transition_soc=0.8)
    assert vehicle.soc_at_power(kw) == pytest.approx(soc)


@pytest.mark.parametrize(
    ("options", "stops_at"),
    [
        ({}, FULL),
        ({"target_soc": 0.8}, 0.8),
        ({"target_soc": 0.9999}, FULL),
        ({"transition_soc": 1}, 1),
        ({"transition_soc": 1, "target_soc": 0.9}, 0.9),
        ({"target_soc": 0}, 0),
    ],
)
def test_vehicle_stops_at_its_target_or_when_it_is_full(options: dict[str, float], stops_at: float) -> None:
    assert Vehicle(**options).stops_at == stops_at


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "60", None, True])
@pytest.mark.parametrize("name", ["capacity_kwh", "max_kw", "cable_a"])
def test_what_is_above_0_is_checked(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"a vehicle's {name} is a number above 0, not "):
        Vehicle(**{name: value})


@pytest.mark.parametrize("value", [-0.1, 1.1, 80, math.nan, "80%", None, True])
@pytest.mark.parametrize("name", ["soc", "target_soc", "transition_soc"])
def test_shares_are_checked(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"a vehicle's {name} is a number from 0 to 1, not "):
        Vehicle(**{name: value})


@pytest.mark.parametrize("value", [0, -1, 1.01, math.nan, "1"])
def test_power_factor_is_checked(value: Any) -> None:
    with pytest.raises(ValueError, match="power_factor is a number above 0 and at most 1"):
        Vehicle(power_factor=value)


@pytest.mark.parametrize("value", [0, 4, 1.0, "3", "DC", True])
def test_phases_are_checked(value: Any) -> None:
    with pytest.raises(ValueError, match=r"a vehicle has 1, 2 or 3 phases, not "):
        Vehicle(phases=value)


def test_numbers_of_numpy_are_numbers() -> None:
    vehicle = Vehicle(np.float32(50), np.float64(0.25), np.int64(11))
    assert vehicle.soc_after(0.25, 11, 3600) == pytest.approx(0.47)


def test_repr_and_card_say_what_it_is() -> None:
    vehicle = Vehicle(capacity_kwh=60, soc=0.305, max_kw=7.4, phases=1, target_soc=0.9)
    assert repr(vehicle) == "<Vehicle 60 kWh, 30.5% charged, takes 7.4 kW, 1 phase>"
    card = vehicle._repr_html_()
    for text in ("30.5% charged", "60 kWh", "7.4 kW, 1 phase<", "80%", "90%"):
        assert text in card
    assert "power falls" not in Vehicle(transition_soc=1)._repr_html_()
    assert repr(Vehicle()).endswith("11 kW, 3 phases>")
