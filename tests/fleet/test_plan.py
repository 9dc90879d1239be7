"""Plans: who starts when, and how they are divided over processes."""

from __future__ import annotations

import math
import random

import pytest

from cpsim_kit import Backoff
from cpsim_kit.fleet.plan import Plan, start_times

IDS = [f"CP{number}" for number in range(100)]


def test_the_same_seed_gives_the_same_schedule_and_another_another() -> None:
    starts = [start_times(IDS, 9, seed) for seed in (1, 1, 2)]
    assert starts[0] == starts[1] != starts[2]


def test_each_charge_point_starts_in_its_own_slot_of_the_ramp() -> None:
    starts = start_times(IDS, 10, 0)
    assert [math.floor(at * 10) for at, _phase in starts.values()] == list(range(100))


def test_processes_share_the_charge_points_evenly() -> None:
    plans = Plan("ws://127.0.0.1:9", start_times("ABCDE", 1, 0), 20).divide(2)
    assert [list(plan.starts) for plan in plans] == [["A", "C", "E"], ["B", "D"]]


def test_each_process_has_its_own_seed() -> None:
    plans = Plan("ws://127.0.0.1:9", start_times("ABC", 1, 0), 20, reconnect=Backoff(), seed=7).divide(3)
    waits = [next(Backoff().waits(random.Random(plan.seed))) for plan in plans]
    assert len(set(waits)) == 3, "or charge points of several processes reconnect at the same moments"


@pytest.mark.parametrize(
    ("left", "starts"),
    [
        (20, {"A": 0, "B": 4, "C": 8}),
        (16, {"A": 0, "B": 4, "C": 8}),
        (8, {"A": 0, "B": 2, "C": 4}),  # half of the time left
    ],
)
def test_what_is_left_of_a_share_has_the_same_ramp_unless_time_is_short(left: float, starts: dict[str, float]) -> None:
    rest = Plan("ws://127.0.0.1:9", {"A": (0, 0.1), "B": (4, 0.2), "C": (8, 0.3)}, 20).rest(left)
    assert {each: at for each, (at, _phase) in rest.starts.items()} == starts
    assert [phase for _at, phase in rest.starts.values()] == [0.1, 0.2, 0.3]
    assert rest.duration == left


def test_what_is_left_of_a_share_that_began_at_once_begins_at_once() -> None:
    plan = Plan("ws://127.0.0.1:9", {"A": (0, 0.1), "B": (0, 0.2)}, 20)
    assert plan.rest(15).starts == plan.starts
