"""The station's clock, driven by a real time that the test sets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpsim_kit.station.clock import StationClock


class RealTime:
    """A real time that passes when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def real() -> RealTime:
    return RealTime()


def running(real: RealTime, speed: float) -> StationClock:
    clock = StationClock(speed, real)
    clock.release()
    return clock


def test_it_is_held_at_first(real: RealTime) -> None:
    clock = StationClock(60, real)
    real.seconds += 10
    assert (clock.is_held, clock.now()) == (True, 0)
    clock.release()
    assert clock.now() == 0, "the time before does not count"


@pytest.mark.parametrize("speed", [0.5, 1, 60, 3600])
def test_it_runs_so_many_times_as_fast(real: RealTime, speed: float) -> None:
    clock = running(real, speed)
    real.seconds += 2
    assert clock.now() == 2 * speed
    real.seconds += 0.5
    assert clock.now() == 2.5 * speed


def test_it_does_not_pass_a_moment_at_which_something_is_due(real: RealTime) -> None:
    clock = running(real, 60)
    real.seconds += 1
    assert clock.now(90) == 60
    real.seconds += 100
    assert clock.now(90) == 90
    clock.advance(90)
    assert clock.now() == 90, "being late is not made up for"
    real.seconds += 1
    assert clock.now(1000) == 150


def test_it_does_not_go_back_to_a_moment_that_is_overdue(real: RealTime) -> None:
    clock = running(real, 1)
    clock.advance(50)
    assert clock.now(20) == 50
    clock.hold(20)
    assert clock.now() == 50
    clock.advance(10)
    assert clock.now() == 50


def test_it_stands_still_while_it_is_held(real: RealTime) -> None:
    clock = running(real, 60)
    real.seconds += 1
    clock.hold(math.inf)
    real.seconds += 100
    assert (clock.is_held, clock.now()) == (True, 60)
    clock.hold(math.inf)
    assert clock.now() == 60
    clock.release()
    assert clock.now() == 60
    real.seconds += 1
    assert (clock.is_held, clock.now()) == (False, 120)


def test_holding_stops_it_where_something_is_due(real: RealTime) -> None:
    clock = running(real, 60)
    real.seconds += 10
    clock.hold(45)
    assert clock.now() == 45


def test_releasing_a_running_clock_changes_nothing(real: RealTime) -> None:
    clock = running(real, 60)
    real.seconds += 1
    clock.release()
    assert clock.now() == 60


def test_it_can_be_set_while_it_is_held(real: RealTime) -> None:
    clock = StationClock(60, real)
    clock.advance(30)
    real.seconds += 5
    assert clock.now() == 30
    clock.release()
    real.seconds += 1
    assert clock.now() == 90


@pytest.mark.parametrize(("before", "after"), [(60, 1), (1, 3600), (math.inf, 60), (60, math.inf)])
def test_a_change_of_speed_counts_from_then_on(real: RealTime, before: float, after: float) -> None:
    clock = running(real, before)
    real.seconds += 2
    then = clock.now()
    clock.advance(then)
    clock.speed = after
    assert clock.now() == then == (0 if before == math.inf else 2 * before)
    real.seconds += 3
    assert clock.now() == then + (0 if after == math.inf else 3 * after)


def test_a_clock_of_infinite_speed_moves_only_when_it_is_set(real: RealTime) -> None:
    clock = running(real, math.inf)
    real.seconds += 100
    assert clock.now() == 0
    assert clock.now(5) == 0
    clock.advance(3600)
    real.seconds += 100
    assert clock.now() == 3600
    clock.hold(math.inf)
    clock.release()
    assert clock.now() == 3600


def test_a_real_time_that_goes_back_does_not_take_it_along(real: RealTime) -> None:
    clock = running(real, 60)
    real.seconds -= 10
    assert clock.now() == 0


@pytest.mark.parametrize(
    ("speed", "is_held", "moment", "seconds"),
    [
        (60, False, 120, 1.0),
        (60, False, 60, 0.0),
        (60, False, 30, 0.0),
        (0.5, False, 10, 19.0),
        (60, False, math.inf, math.inf),
        (60, True, 120, math.inf),
        (math.inf, False, 120, math.inf),
    ],
)
def test_real_seconds_until_a_moment(
    real: RealTime, speed: float, is_held: bool, moment: float, seconds: float
) -> None:
    clock = running(real, speed)
    real.seconds += 1
    if is_held:
        clock.hold(math.inf)
    assert clock.real_seconds_until(moment) == pytest.approx(seconds)


steps = st.one_of(
    st.tuples(st.just("pass"), st.floats(0, 100)),
    st.tuples(st.just("advance"), st.floats(0, 1000)),
    st.tuples(st.sampled_from(["hold", "release"]), st.just(0.0)),
    st.tuples(st.just("speed"), st.sampled_from([0.1, 1, 60, math.inf])),
)


@given(st.lists(steps, max_size=30), st.floats(1, 5000))
def test_it_never_goes_back_and_never_passes_what_is_due(sequence: list[tuple[str, float]], due: float) -> None:
    real = RealTime()
    clock = StationClock(60, real)
    last = 0.0
    for step, value in sequence:
        match step:
            case "pass":
                real.seconds += value
            case "advance":
                clock.advance(min(clock.now(due) + value, due))
            case "hold":
                clock.hold(due)
            case "release":
                clock.release()
            case "speed":
                clock.advance(clock.now(due))
                clock.speed = value
        assert last <= clock.now(due) <= due
        last = clock.now(due)


@given(st.floats(0.1, 10_000), st.floats(0.001, 1e6), st.floats(0, 100))
def test_the_moment_comes_after_the_real_seconds_that_it_says(speed: float, moment: float, passed: float) -> None:
    real = RealTime()
    clock = running(real, speed)
    real.seconds += passed
    real.seconds += clock.real_seconds_until(moment)
    assert clock.now(moment) == pytest.approx(moment, abs=speed * 1e-9)
