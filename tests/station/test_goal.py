"""What one can wait for at an EVSE, and that the clock, going from event to event, stops right there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from core_player import Player
from hypothesis import given, settings
from hypothesis import strategies as st

from cpsim_kit import Evse, Vehicle
from cpsim_kit.station.charging.vehicle import FULL
from cpsim_kit.station.goal import Goal
from cpsim_kit.station.rules.authorization import IdToken, TokenInfo
from cpsim_kit.station.rules.events import TICK, Fault, PlugIn, SuspendEv, SuspendEvse, Swipe, Unplug

TOKEN = IdToken("TAG-1")
QUIET = {"SampledDataCtrlr.TxUpdatedInterval": 0, "TxCtrlr.EVConnectionTimeOut": 0}  # nothing is due on the way


def charging(vehicle: Vehicle | None = None, *, evses: int = 1, **options: Any) -> Player:
    """A station that charges a vehicle at EVSE 1: 60 kWh, 30 %, 11 kW, unless another one is given."""
    player = Player(evses=[Evse()] * evses, variables=QUIET, **options)
    player.do(PlugIn(vehicle or Vehicle(), 1))
    player.do(Swipe(TOKEN, 1))
    return player


def make(player: Player, evse: int | None = None, *, ends_with_session: bool = False, **wanted: Any) -> Goal:
    return Goal.make(player.core, player.now, evse, wanted, ends_with_session=ends_with_session)


def reach(player: Player, goal: Goal) -> bool:
    """Go from event to event until the goal is reached; False if nothing happens any more."""
    for _ in range(1000):
        if goal.update(player.core, player.now):
            return True
        moment = min(player.core.due(), goal.moment)
        if moment == math.inf:
            return False
        assert moment >= player.now, "the clock would go back"
        player.now = moment
        player.core.handle(TICK, moment)
        player.drain()
    raise AssertionError("it goes on for ever")


def minutes_until(player: Player, **wanted: Any) -> float:
    """Minutes of the station's clock until it is reached; infinity for never."""
    start = player.now
    return (player.now - start) / 60 if reach(player, make(player, **wanted)) else math.inf


# -- Each condition ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("soc", "minutes"), [(0.3, 0), (0.1, 0), (0.41, 36), (0.52, 72)])
def test_a_state_of_charge(soc: float, minutes: float) -> None:
    player = charging()
    assert minutes_until(player, soc=soc) == pytest.approx(minutes)
    assert player.core.evses[1].soc(player.now) == pytest.approx(max(soc, 0.3))


def test_a_full_battery_is_reached_where_it_counts_as_full() -> None:
    player = charging(Vehicle(soc=0.9))
    assert minutes_until(player, soc=1) < 600
    assert player.core.evses[1].soc(player.now) == pytest.approx(FULL)


def test_a_full_battery_is_reached_at_1_where_the_power_never_falls() -> None:
    player = charging(Vehicle(soc=0.9, transition_soc=1))
    assert minutes_until(player, soc=1) == pytest.approx(60 * 6 / 11)
    assert player.core.evses[1].soc(player.now) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("soc", [0.8, 1])
def test_the_vehicles_target_is_reached_when_the_vehicle_has_stopped(soc: float) -> None:
    player = charging(Vehicle(soc=0.5, target_soc=0.8))
    goal = make(player, soc=soc)
    player.now = player.core.due()
    assert player.core.evses[1].soc(player.now) == pytest.approx(0.8)
    assert not goal.update(player.core, player.now), "the station has not said so yet"
    assert reach(player, goal)
    assert player.now == pytest.approx(3600 * 0.3 * 60 / 11)
    assert player.core.evses[1].charging_state == "SuspendedEV"


def test_a_state_of_charge_beyond_the_vehicles_target_is_never_reached() -> None:
    player = charging(Vehicle(soc=0.5, target_soc=0.8))
    assert minutes_until(player, soc=0.9) == math.inf
    assert player.core.evses[1].charging_state == "SuspendedEV"


def test_a_state_of_charge_without_a_vehicle_is_never_reached() -> None:
    assert minutes_until(Player(variables=QUIET), soc=0) == math.inf


@pytest.mark.parametrize(("energy", "minutes"), [(0, 0), (5.5, 30), (11, 60)])
def test_an_energy_of_this_session(energy: float, minutes: float) -> None:
    player = charging()
    assert minutes_until(player, energy_kwh=energy) == pytest.approx(minutes)


def test_an_energy_counts_from_the_beginning_of_the_session_not_of_waiting() -> None:
    player = charging()
    player.wait(1800)
    assert minutes_until(player, energy_kwh=11) == pytest.approx(30)
    assert minutes_until(player, energy_kwh=11) == 0
    player.do(Unplug(1))
    player.do(PlugIn(Vehicle(), 1))
    player.do(Swipe(TOKEN, 1))
    assert minutes_until(player, energy_kwh=11) == pytest.approx(60)


def test_an_energy_that_does_not_fit_into_the_battery_is_never_reached() -> None:
    assert minutes_until(charging(), energy_kwh=43) == math.inf


def test_an_energy_without_a_session_is_never_reached() -> None:
    assert minutes_until(Player(variables=QUIET), energy_kwh=0) == math.inf


def test_a_power_to_which_it_falls() -> None:
    player = charging(Vehicle(soc=0.75))
    minutes_until(player, power_kw=5.5)
    assert player.core.evses[1].power_kw(player.now) == pytest.approx(5.5)
    assert player.core.evses[1].soc(player.now) == pytest.approx(0.9)


def test_no_power_is_reached_when_the_vehicle_is_full() -> None:
    player = charging(Vehicle(soc=0.95))
    assert minutes_until(player, power_kw=0) < math.inf
    assert player.core.evses[1].soc(player.now) == pytest.approx(FULL)


def test_a_power_to_which_it_rises() -> None:
    player = charging()
    player.do(SuspendEv(True, 1))
    goal = make(player, power_kw=5)
    assert not goal.update(player.core, player.now)
    assert goal.moment == math.inf
    player.do(SuspendEv(False, 1))
    assert goal.update(player.core, player.now)


def test_a_power_that_is_there_is_reached() -> None:
    assert minutes_until(charging(), power_kw=11) == 0


def test_a_power_for_one_phase_of_a_vehicle_with_three() -> None:
    player = Player(evses=[Evse(7.36, 1)], variables=QUIET)
    player.do(PlugIn(Vehicle(soc=0.9, max_kw=11.04)))
    player.do(Swipe(TOKEN))
    assert minutes_until(player, power_kw=1.84) < math.inf
    assert player.core.evses[1].power_kw(player.now) == pytest.approx(1.84)


@pytest.mark.parametrize("state", ["Charging", "Occupied"])
def test_a_state_that_is_there_is_reached(state: str) -> None:
    assert minutes_until(charging(), state=state) == 0


@pytest.mark.parametrize("state", ["SuspendedEVSE", "Available", "GroundFault"])
def test_a_state_that_no_event_brings_is_never_reached(state: str) -> None:
    assert minutes_until(charging(), state=state) == math.inf


def test_the_state_of_a_full_vehicle_comes_by_itself() -> None:
    player = charging(Vehicle(soc=0.5, target_soc=0.61))
    assert minutes_until(player, state="SuspendedEV") == pytest.approx(36)


def test_a_fault_is_a_state() -> None:
    player = charging()
    goal = make(player, state="GroundFault")
    player.do(Fault("GroundFault", 1))
    assert goal.update(player.core, player.now)


@pytest.mark.parametrize("minutes", [0, 0.5, 90, 1e-9])
def test_minutes_of_the_stations_clock(minutes: float) -> None:
    player = charging()
    player.wait(12345.678)
    assert minutes_until(player, minutes=minutes) == pytest.approx(minutes, abs=1e-8)


# -- Several at once --------------------------------------------------------------------------------------------------


def test_all_that_is_wanted_is_reached_with_the_last_of_it() -> None:
    player = charging()
    assert minutes_until(player, soc=0.41, minutes=10, energy_kwh=5.5, state="Charging") == pytest.approx(36)
    assert minutes_until(player, soc=0.41, minutes=10) == pytest.approx(10)


def test_what_is_wanted_has_to_be_there_at_the_same_moment() -> None:
    player = charging(Vehicle(soc=0.5, target_soc=0.61))
    assert minutes_until(player, state="Charging", minutes=60) == math.inf


# -- The end of a session ---------------------------------------------------------------------------------------------


def test_a_session_ends_with_the_vehicles_target() -> None:
    player = charging(Vehicle(soc=0.5, target_soc=0.61))
    assert reach(player, make(player, 1, ends_with_session=True))
    assert player.now == pytest.approx(36 * 60)


def test_a_session_ends_before_what_is_wanted() -> None:
    player = charging(Vehicle(soc=0.5, target_soc=0.61))
    assert reach(player, make(player, 1, ends_with_session=True, soc=0.8))
    assert player.now == pytest.approx(36 * 60)


def test_a_session_without_end_goes_on() -> None:
    player = charging()
    player.do(SuspendEvse(True, 1))
    assert not reach(player, make(player, 1, ends_with_session=True))


@pytest.mark.parametrize("event", [Swipe(TOKEN, 1), Fault("GroundFault", 1), Unplug(1)], ids=type)
def test_a_session_ends_with_its_authorization(event: Any) -> None:
    player = charging()
    goal = make(player, 1, ends_with_session=True, soc=0.8)
    assert not goal.update(player.core, player.now)
    player.do(event)
    assert goal.update(player.core, player.now)


def test_a_session_ends_when_its_token_is_refused_later_and_no_energy_may_flow() -> None:
    player = Player(
        variables={**QUIET, "TxCtrlr.StopTxOnInvalidId": False}, in_transaction={"TAG-1": TokenInfo("Invalid")}
    )
    player.do(PlugIn(Vehicle()))
    player.do(Swipe(TOKEN))
    assert player.core.evses[1].charging_state == "SuspendedEVSE"
    assert make(player, 1, ends_with_session=True, soc=0.8).update(player.core, player.now)


# -- Where ------------------------------------------------------------------------------------------------------------


def test_the_only_evse_is_meant() -> None:
    assert make(charging(), soc=0.5).evse_id == 1


def test_the_only_evse_with_a_session_is_meant() -> None:
    player = Player(evses=[Evse()] * 3, variables=QUIET)
    player.do(PlugIn(Vehicle(), 2))
    assert make(player, soc=0.5).evse_id == 2


@pytest.mark.parametrize(("busy", "named"), [((), "1 or 2 or 3"), ((1, 3), "1 or 3"), ((1, 2, 3), "1 or 2 or 3")])
def test_where_has_to_be_said_if_it_is_not_plain(busy: tuple[int, ...], named: str) -> None:
    player = Player(evses=[Evse()] * 3, variables=QUIET)
    for evse_id in busy:
        player.do(PlugIn(Vehicle(), evse_id))
    with pytest.raises(ValueError, match=rf"where\? Say evse={named}$"):
        make(player, soc=0.5)
    assert make(player, minutes=1).evse_id in {1, 2, 3}, "minutes pass everywhere"
    assert make(player, 2, soc=0.5).evse_id == 2


@pytest.mark.parametrize("evse", [0, 3, "1", True])
def test_there_is_no_such_evse(evse: Any) -> None:
    with pytest.raises(ValueError, match="this station has the EVSEs 1, 2, not "):
        make(charging(evses=2), evse, soc=0.5)


# -- Bad values -------------------------------------------------------------------------------------------------------


def test_there_is_something_to_wait_for() -> None:
    with pytest.raises(ValueError, match=r"until what\? Give soc=, energy_kwh=, power_kw=, state= or minutes="):
        make(charging(), soc=None, minutes=None)


@pytest.mark.parametrize("value", [-0.1, 1.1, 80, math.nan, math.inf, "80%", True])
def test_a_bad_state_of_charge_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="soc is a number from 0 to 1, not "):
        Goal.check({"soc": value})


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "5", False, [1]])
@pytest.mark.parametrize("name", ["energy_kwh", "power_kw"])
def test_a_bad_number_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is a number, at least 0, not "):
        Goal.check({name: value})


@pytest.mark.parametrize("value", [-1, 1e12, math.nan, math.inf, "5", False])
def test_minutes_that_no_clock_can_show_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="minutes is a number from 0 to 5256000, not "):
        Goal.check({"minutes": value})


@pytest.mark.parametrize("value", [1, "", True, ["Charging"]])
def test_a_bad_state_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r'state is a word, e\.g\. "Charging", not '):
        Goal.check({"state": value})


@pytest.mark.parametrize("state", ["charging", "Suspended", "Preparing"])
def test_a_state_that_the_version_does_not_have_is_refused(state: str) -> None:
    known = (
        "Idle, EVConnected, Charging, SuspendedEV, SuspendedEVSE, Available, Occupied, Reserved, Unavailable, Faulted, "
    )
    with pytest.raises(ValueError, match=f"state is one of {known}.*, not '{state}'"):
        make(charging(), state=state)


def test_what_is_none_is_not_wanted() -> None:
    assert Goal.check({"soc": None, "minutes": 0, "state": None, "power_kw": np.float32(2)}) == {
        "minutes": 0,
        "power_kw": 2,
    }


def test_a_goal_says_what_it_waits_for() -> None:
    player = charging()
    goal = make(player, soc=0.8, energy_kwh=5.5, power_kw=3, state="Charging", minutes=10)
    assert str(goal) == (
        "a state of charge of 80.0% and 5.5 kWh in this session and a power of 3 kW and state Charging "
        "and 10 minutes to pass"
    )
    assert str(make(player, 1, ends_with_session=True)) == "the vehicle's target"


# -- It always ends ---------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(
    vehicle=st.builds(
        Vehicle,
        st.floats(0.1, 200),
        st.floats(0, 1),
        st.floats(0.5, 400),
        target_soc=st.sampled_from([0.5, 0.8, 1]),
        transition_soc=st.sampled_from([0, 0.5, 0.8, 0.999, 0.9999999, 1]),
    ),
    begin=st.sampled_from([0, 1e3, 1e6, 1e8]),
    wanted=st.fixed_dictionaries(
        {},
        optional={
            "soc": st.floats(0, 1),
            "energy_kwh": st.floats(0, 100),
            "power_kw": st.floats(0, 50),
            "minutes": st.floats(0, 1e5),
        },
    ).filter(bool),
)
def test_going_from_event_to_event_comes_to_an_end(vehicle: Vehicle, begin: float, wanted: dict[str, float]) -> None:
    player = Player(variables=QUIET)
    player.now = begin
    player.do(PlugIn(vehicle))
    player.do(Swipe(TOKEN))
    goal = make(player, **wanted)
    evse = player.core.evses[1]
    if reach(player, goal) and wanted.get("soc", 1) < 1:
        assert evse.soc(player.now) >= min(wanted["soc"], vehicle.full_soc) - 1e-6
