"""An EVSE with a vehicle: limits, power, energy and state, whatever happens in whatever order."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpsim_kit import Evse, Vehicle
from cpsim_kit.station.charging.evse import LiveEvse
from cpsim_kit.station.charging.meter import read
from cpsim_kit.station.rules.authorization import Authorization, IdToken

HOUR = 3600.0
TOKEN = IdToken("TAG-1")


def charging(spec: Evse, vehicle: Vehicle, *, now: float = 0.0) -> LiveEvse:
    """An EVSE at which an authorized vehicle is connected."""
    evse = LiveEvse(1, spec)
    evse.connect(vehicle, now)
    evse.authorization = Authorization(TOKEN)
    evse.offer(now)
    return evse


# -- What an EVSE can be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "22", True])
@pytest.mark.parametrize("name", ["max_kw", "voltage", "cable_a"])
def test_what_is_above_0_is_checked(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"an EVSE's {name} is a number above 0, not "):
        Evse(**{name: value})


def test_an_evse_needs_a_power() -> None:
    with pytest.raises(ValueError, match="max_kw is a number above 0, not None"):
        Evse(max_kw=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan, "0", None])
def test_register_is_checked(value: Any) -> None:
    with pytest.raises(ValueError, match="register_kwh is a number, at least 0, not "):
        Evse(register_kwh=value)


@pytest.mark.parametrize("value", [0, 2, 3.0, "3", "dc", None, True])
def test_phases_are_checked(value: Any) -> None:
    with pytest.raises(ValueError, match='an EVSE has phases=1, 3 or "DC", not '):
        Evse(phases=value)


def test_direct_current_needs_an_attached_cable() -> None:
    with pytest.raises(ValueError, match="direct current has an attached cable"):
        Evse(phases="DC", has_cable=False)


def test_a_socket_has_no_cable_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"the vehicle brings the cable: Vehicle\(cable_a"):
        Evse(has_cable=False, cable_a=16)


@pytest.mark.parametrize(
    ("spec", "volts", "is_attached"),
    [
        (Evse(), 230, False),
        (Evse(phases=1), 230, False),
        (Evse(has_cable=True), 230, True),
        (Evse(cable_a=16), 230, True),
        (Evse(phases="DC"), 400, True),
        (Evse(phases="DC", voltage=800), 800, True),
        (Evse(voltage=120), 120, False),
    ],
)
def test_voltage_and_cable_where_they_are_not_given(spec: Evse, volts: float, is_attached: bool) -> None:
    assert (spec.volts, spec.is_attached) == (volts, is_attached)


# -- Limits -----------------------------------------------------------------------------------------------------------

KW_PER_A = 0.23


@pytest.mark.parametrize(
    ("spec", "vehicle", "limit_kw", "power_kw", "phases_used"),
    [
        # One and three phases. The vehicle takes max_kw over its own phases.
        (Evse(22), Vehicle(max_kw=11), 22, 11, 3),
        (Evse(11), Vehicle(max_kw=22), 11, 11, 3),
        (Evse(7.4, 1), Vehicle(max_kw=7.4, phases=1), 7.36, 7.36, 1),
        (Evse(3.68, 1), Vehicle(max_kw=7.4, phases=1), 3.68, 3.68, 1),
        # One phase at an EVSE of three: a third of the EVSE's power. Three at an EVSE of one: a third of the vehicle's.
        (Evse(22), Vehicle(max_kw=7.4, phases=1), 22 / 3, 22 / 3, 1),
        (Evse(22), Vehicle(max_kw=3.7, phases=1), 22 / 3, 3.7, 1),
        (Evse(22), Vehicle(max_kw=7.4, phases=2), 22 * 2 / 3, 7.4, 2),
        (Evse(7.36, 1), Vehicle(max_kw=11), 7.36, 11 / 3, 1),
        (Evse(7.36, 1), Vehicle(max_kw=7.4, phases=2), 7.36, 3.7, 1),
        # Cables: of the vehicle at a socket, of the EVSE where one is attached.
        (Evse(22), Vehicle(max_kw=22, cable_a=16), 48 * KW_PER_A, 48 * KW_PER_A, 3),
        (Evse(11), Vehicle(max_kw=22, cable_a=32), 11, 11, 3),
        (Evse(22, has_cable=True), Vehicle(max_kw=22, cable_a=10), 22, 22, 3),
        (Evse(22, cable_a=20), Vehicle(max_kw=22, cable_a=10), 60 * KW_PER_A, 60 * KW_PER_A, 3),
        (Evse(22, cable_a=20), Vehicle(max_kw=7.4, phases=1), 20 * KW_PER_A, 20 * KW_PER_A, 1),
        (Evse(22), Vehicle(max_kw=7.4, phases=1, cable_a=10), 10 * KW_PER_A, 10 * KW_PER_A, 1),
        # Direct current: the vehicle's cable, phases and power factor do not count.
        (Evse(50, "DC"), Vehicle(max_kw=100, phases=1, cable_a=1, power_factor=0.5), 50, 50, 0),
        (Evse(150, "DC"), Vehicle(max_kw=100), 150, 100, 0),
        (Evse(150, "DC", cable_a=200), Vehicle(max_kw=100), 80, 80, 0),
        (Evse(150, "DC", voltage=800, cable_a=125), Vehicle(max_kw=200), 100, 100, 0),
        # Power factor: the current is limited, and less of it is active power.
        (Evse(22), Vehicle(max_kw=22, power_factor=0.9), 19.8, 19.8, 3),
        (Evse(22), Vehicle(max_kw=11, power_factor=0.9), 19.8, 11, 3),
        (Evse(22), Vehicle(max_kw=22, power_factor=0.5, cable_a=16), 24 * KW_PER_A, 24 * KW_PER_A, 3),
    ],
)
def test_cable_evse_and_phases_limit_the_power(
    spec: Evse, vehicle: Vehicle, limit_kw: float, power_kw: float, phases_used: int
) -> None:
    evse = charging(spec, vehicle)
    assert evse.limit_kw == pytest.approx(limit_kw)
    assert evse.offered_kw == evse.limit_kw
    assert evse.power_kw(0) == pytest.approx(power_kw)
    assert evse.phases_used == phases_used


@pytest.mark.parametrize(
    ("spec", "cable_a"),
    [
        (Evse(), 20),
        (Evse(has_cable=True), None),
        (Evse(cable_a=16.7), 16),
        (Evse(phases="DC"), None),
        (Evse(phases="DC", cable_a=125), 125),
    ],
)
def test_amperes_of_the_cable_are_whole(spec: Evse, cable_a: int | None) -> None:
    evse = LiveEvse(1, spec)
    assert evse.cable_a is None
    evse.connect(Vehicle(cable_a=20.9), 0)
    assert evse.cable_a == cable_a


# -- States -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "state", "conditions", "offers"),
    [
        ({}, "Charging", {"EVConnected", "Authorized", "PowerPathClosed", "EnergyTransfer"}, True),
        ({"authorization": None}, "EVConnected", {"EVConnected"}, False),
        ({"ev_suspends": True}, "SuspendedEV", {"EVConnected", "Authorized", "PowerPathClosed"}, True),
        ({"ev_is_done": True}, "SuspendedEV", {"EVConnected", "Authorized", "PowerPathClosed"}, True),
        ({"evse_suspends": True}, "SuspendedEVSE", {"EVConnected", "Authorized", "PowerPathClosed"}, False),
        (
            {"evse_suspends": True, "ev_suspends": True},
            "SuspendedEVSE",
            {"EVConnected", "Authorized", "PowerPathClosed"},
            False,
        ),
        ({"fault": "GroundFault"}, "EVConnected", set(), False),
        ({"available": False}, "EVConnected", set(), False),
    ],
)
def test_state_follows_from_what_happened(
    changes: dict[str, Any], state: str, conditions: set[str], offers: bool
) -> None:
    evse = charging(Evse(), Vehicle())
    for name, value in changes.items():
        setattr(evse, name, value)
    evse.offer(10)
    assert evse.charging_state == state
    assert evse.find_conditions() == conditions
    assert (evse.offered_kw > 0) == offers
    assert (evse.power_kw(10) > 0) == (state == "Charging")


def test_a_blocked_authorization_closes_the_power_path_and_is_one_all_the_same() -> None:
    evse = charging(Evse(), Vehicle())
    assert evse.authorization is not None
    evse.authorization.is_blocked = True
    evse.offer(0)
    assert evse.charging_state == "SuspendedEVSE"
    assert evse.find_conditions() == {"EVConnected", "Authorized", "PowerPathClosed"}


def test_a_token_without_a_vehicle_offers_nothing() -> None:
    evse = LiveEvse(1, Evse())
    evse.authorization = Authorization(TOKEN)
    evse.offer(0)
    assert (evse.charging_state, evse.find_conditions(), evse.offered_kw) == ("Idle", {"Authorized"}, 0)
    assert math.isnan(evse.soc(0))
    assert evse.seconds_until_soc(0, 0.5) == math.inf
    assert evse.seconds_until_wh(0, 1) == math.inf


@pytest.mark.parametrize("options", [{"soc": 1}, {"soc": 0.8, "target_soc": 0.8}, {"soc": 0.9, "target_soc": 0.5}])
def test_a_vehicle_that_has_enough_takes_nothing(options: dict[str, float]) -> None:
    vehicle = Vehicle(**options)
    evse = charging(Evse(), vehicle)
    assert evse.charging_state == "SuspendedEV"
    assert (evse.demand_kw(0), evse.power_kw(0), evse.full_at) == (0, 0, math.inf)
    evse.disconnect(HOUR)
    assert vehicle.soc == options["soc"]


# -- Energy over time -------------------------------------------------------------------------------------------------


def test_energy_goes_from_the_meter_into_the_battery() -> None:
    vehicle = Vehicle(capacity_kwh=50, soc=0.2, max_kw=10)
    evse = charging(Evse(22, register_kwh=1234.5), vehicle, now=100)
    assert evse.register_wh(100 + HOUR) == pytest.approx(1_244_500)
    assert evse.reading_wh(100 + HOUR / 3) == 1_237_833
    assert evse.soc(100 + HOUR) == pytest.approx(0.4)
    assert evse.seconds_until_soc(100 + HOUR, 0.5) == pytest.approx(HOUR / 2)
    assert evse.seconds_until_wh(100 + HOUR, 1_246_500) == pytest.approx(HOUR / 5)
    assert evse.seconds_until_wh(100 + HOUR, 1_244_000) == 0
    evse.disconnect(100 + HOUR)
    assert vehicle.soc == pytest.approx(0.4)
    assert evse.register_wh(100 + 2 * HOUR) == pytest.approx(1_244_500)
    assert (evse.limit_kw, evse.phases_used, evse.demand_kw(100 + HOUR)) == (22, 0, 0)


def test_it_says_when_the_vehicle_has_reached_its_target() -> None:
    evse = charging(Evse(22), Vehicle(capacity_kwh=50, soc=0.2, max_kw=10, target_soc=0.6), now=100)
    assert evse.full_at == pytest.approx(100 + 2 * HOUR)
    evse.ev_suspends = True
    evse.offer(100 + HOUR)
    assert evse.full_at == math.inf
    evse.ev_suspends = False
    evse.offer(100 + 3 * HOUR)
    assert evse.full_at == pytest.approx(100 + 4 * HOUR)


@pytest.mark.parametrize(
    ("more_wh", "hours"), [(5000, 0.5), (20_000, 2), (30_000, 2), (0, 0), (-1, 0)], ids=lambda value: f"{value:g}"
)
def test_it_says_when_the_energy_for_a_refused_token_is_used_up(more_wh: float, hours: float) -> None:
    evse = charging(Evse(22, register_kwh=7), Vehicle(capacity_kwh=50, soc=0.2, max_kw=10, target_soc=0.6))
    assert evse.authorization is not None
    evse.authorization.until_wh = 7000 + more_wh
    evse.offer(0)
    assert evse.full_at == pytest.approx(hours * HOUR)


# -- Laws, after any sequence of acts ---------------------------------------------------------------------------------


class Play:
    """One EVSE, and what a core does with it; checks the laws whenever time passes."""

    def __init__(self, spec: Evse, *, samples: int, splits: int = 1) -> None:
        self.evse = LiveEvse(1, spec)
        self.now = 0.0
        self.samples = samples
        self.splits = splits

    def connect(self, vehicle: Vehicle) -> None:
        if self.evse.vehicle is None:
            self.evse.connect(copy.copy(vehicle), self.now)  # a sequence is played more than once

    def disconnect(self) -> None:
        if self.evse.vehicle is not None:
            self.evse.disconnect(self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass, with what happens by itself on the way."""
        end = self.now + seconds
        while self.now < end:
            moment = min(end, max(self.evse.full_at, self.now))
            for number in range(1, self.splits + 1):
                self._pass(self.now + (moment - self.now) * number / self.splits)
                self.evse.offer(self.now)
            if self.evse.full_at <= self.now + 1e-6 and self.evse.full_at < math.inf:
                self._reach_full()

    def _reach_full(self) -> None:
        authorization = self.evse.authorization
        assert authorization is not None
        limit = authorization.until_wh
        if limit is not None and self.evse.register_wh(self.now) >= limit - 1e-6:
            authorization.is_blocked = True
        else:
            self.evse.ev_is_done = True
        self.evse.offer(self.now)

    def _pass(self, moment: float) -> None:
        evse, start, length = self.evse, self.now, moment - self.now
        begin_wh, begin_soc = evse.register_wh(start), evse.soc(start)
        soc, wh, integral = begin_soc, begin_wh, 0.0
        for number in range(self.samples):
            at = start + length * (number + 0.5) / self.samples
            integral += evse.power_kw(at) * 1000 * length / self.samples / HOUR
            self._check_power(at)
            assert evse.vehicle is None or evse.soc(at) >= soc, "the state of charge fell"
            assert evse.register_wh(at) >= wh - 1e-9, "the register fell"
            soc, wh = evse.soc(at), evse.register_wh(at)
        if self.samples:
            assert evse.register_wh(moment) - begin_wh == pytest.approx(integral, abs=1), "not the integral of power"
            if evse.vehicle is not None:
                stored = (evse.soc(moment) - begin_soc) * evse.vehicle.capacity_kwh * 1000
                assert evse.register_wh(moment) - begin_wh == pytest.approx(stored, abs=1e-6), "energy was lost"
        self.now = moment

    def _check_power(self, at: float) -> None:
        evse = self.evse
        power, offered, limit, demand = evse.power_kw(at), evse.offered_kw, evse.limit_kw, evse.demand_kw(at)
        assert 0 <= power <= offered <= limit <= evse.spec.max_kw * (1 + 1e-12)
        assert demand >= power
        assert (power > 0) == (evse.charging_state == "Charging")

    def check_meter(self) -> None:
        """P = V * I * phases * power factor."""
        evse, spec = self.evse, self.evse.spec
        for power_name, current_name in (
            ("Power.Active.Import", "Current.Import"),
            ("Power.Offered", "Current.Offered"),
        ):
            reading = read(evse, self.now, "Sample.Periodic", (power_name, current_name, "Voltage"))
            (watts,) = [value.number for value in reading.values if value.measurand == power_name]
            amps = [value.number for value in reading.values if value.measurand == current_name]
            volts = [value.number for value in reading.values if value.measurand == "Voltage"]
            factor = 1.0 if spec.is_dc or evse.vehicle is None else evse.vehicle.power_factor
            sum_of_phases = sum(volt * amp for volt, amp in zip(volts, amps, strict=True)) * factor
            assert watts == pytest.approx(sum_of_phases, abs=0.05 + 0.005 * sum(volts))
            assert len(amps) == (1 if spec.is_dc else spec.phases)
            assert sum(amp > 0 for amp in amps) <= max(evse.phases_used, 1)

    def do(self, act: tuple[str, Any]) -> None:
        name, value = act
        evse = self.evse
        match name:
            case "connect":
                self.connect(value)
            case "disconnect":
                self.disconnect()
            case "authorize":
                limit = None if value is None else evse.register_wh(self.now) + value
                evse.authorization = Authorization(TOKEN, until_wh=limit)
            case "end":
                evse.authorization = None
            case "block" if evse.authorization is not None:
                evse.authorization.is_blocked = True
            case "suspend_ev" if evse.vehicle is not None:
                evse.ev_suspends = value
            case "suspend_evse":
                evse.evse_suspends = value
            case "fault":
                evse.fault, evse.authorization = value, None
            case "available":
                evse.available = value
            case "wait":
                self.wait(value)
        evse.offer(self.now)
        if self.samples:
            self._check_power(self.now)
            self.check_meter()


specs = st.builds(
    Evse,
    st.floats(2, 60),
    st.sampled_from([1, 3, "DC"]),
    voltage=st.sampled_from([None, 120, 400]),
    cable_a=st.sampled_from([None, 10, 32]),
    register_kwh=st.floats(0, 100_000),
)
vehicles = st.builds(
    Vehicle,
    st.floats(20, 100),
    st.floats(0, 1),
    st.floats(2, 22),
    st.sampled_from([1, 2, 3]),
    target_soc=st.sampled_from([0.5, 0.8, 1]),
    transition_soc=st.sampled_from([0.6, 0.8, 0.9, 1]),
    cable_a=st.sampled_from([8, 16, 32]),
    power_factor=st.sampled_from([0.8, 0.99, 1]),
)
acts = st.one_of(
    st.tuples(st.just("connect"), vehicles),
    st.tuples(st.just("authorize"), st.sampled_from([None, None, 500, 3000])),
    st.tuples(st.sampled_from(["disconnect", "end", "block"]), st.none()),
    st.tuples(st.sampled_from(["suspend_ev", "suspend_evse", "available"]), st.booleans()),
    st.tuples(st.just("fault"), st.sampled_from(["", "GroundFault"])),
    st.tuples(st.just("wait"), st.floats(0.1, 4000)),
)
sequences = st.tuples(vehicles, st.lists(acts, max_size=25)).map(
    lambda drawn: [("connect", drawn[0]), ("authorize", None), ("wait", 1500.0), *drawn[1]]
)


@settings(max_examples=200)
@given(specs, sequences)
def test_laws_hold_after_any_sequence_of_acts(spec: Evse, sequence: list[tuple[str, Any]]) -> None:
    play = Play(spec, samples=400)
    for act in sequence:
        play.do(act)


def end_of(spec: Evse, sequence: list[tuple[str, Any]], *, samples: int = 0, splits: int = 1) -> list[float]:
    play = Play(spec, samples=samples, splits=splits)
    for act in sequence:
        play.do(act)
    evse, now = play.evse, play.now
    return [now, evse.register_wh(now), evse.soc(now), evse.power_kw(now), evse.offered_kw, evse.demand_kw(now)]


@settings(max_examples=100)
@given(specs, sequences)
def test_sampling_more_often_changes_nothing(spec: Evse, sequence: list[tuple[str, Any]]) -> None:
    once = end_of(spec, sequence)
    assert end_of(spec, sequence, samples=20) == pytest.approx(once, abs=0, rel=0, nan_ok=True)


@settings(max_examples=100)
@given(specs, sequences)
def test_offering_the_same_again_changes_nothing(spec: Evse, sequence: list[tuple[str, Any]]) -> None:
    once, often = end_of(spec, sequence), end_of(spec, sequence, splits=7)
    assert often[1] == pytest.approx(once[1], abs=1e-6)  # Wh; a register of 100 MWh has no more digits
    assert [often[0], *often[2:]] == pytest.approx([once[0], *once[2:]], abs=1e-9, nan_ok=True)
