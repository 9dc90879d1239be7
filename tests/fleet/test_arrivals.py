"""When drivers arrive: the waits of an arrivals function, and what is refused."""

from __future__ import annotations

import itertools
import math
import pickle
import random
from collections.abc import Iterator
from typing import Any

import pytest

from cpsim_kit.fleet import poisson
from cpsim_kit.fleet.arrivals import check_arrivals, waits_of


def test_poisson_arrivals_have_the_mean_that_was_asked_for() -> None:
    waits = list(itertools.islice(waits_of(poisson(per_hour=4), random.Random(1)), 20_000))
    assert sum(waits) / len(waits) == pytest.approx(900, rel=0.03)
    assert sum(wait > 900 for wait in waits) / len(waits) == pytest.approx(math.exp(-1), abs=0.02)


def test_the_same_seed_gives_the_same_arrivals_also_in_another_process() -> None:
    arrivals = poisson(per_hour=4)
    copy = pickle.loads(pickle.dumps(arrivals))
    assert copy == arrivals
    one, other = (list(itertools.islice(waits_of(each, random.Random(3)), 50)) for each in (arrivals, copy))
    assert one == other
    assert one != list(itertools.islice(waits_of(arrivals, random.Random(4)), 50))


@pytest.mark.parametrize("per_hour", [0, -1, math.nan, math.inf, "2", True])
def test_a_rate_is_a_number_above_zero(per_hour: Any) -> None:
    with pytest.raises(ValueError, match="per_hour= is a number above 0"):
        poisson(per_hour=per_hour)


def some(_random: random.Random) -> Iterator[float]:
    yield 0
    yield 2.5


@pytest.mark.parametrize(("arrivals", "waits"), [(some, [0, 2.5]), (lambda _: 7, [7]), (lambda _: [], [])])
def test_a_function_yields_returns_a_list_or_one_number(arrivals: Any, waits: list[float]) -> None:
    assert list(waits_of(arrivals, random.Random(1))) == waits


@pytest.mark.parametrize(
    ("wrong", "limit"),
    [(-1, "at least 0"), (math.nan, "at least 0"), (math.inf, "at most ten years"), (1e12, "at most ten years")],
)
def test_a_wait_is_never_below_zero_nor_without_end(wrong: float, limit: str) -> None:
    with pytest.raises(ValueError, match=f"waits from one driver to the next, {limit}"):
        check_arrivals(lambda _: [1, wrong], "seed")


def test_a_rate_at_which_nobody_comes_in_ten_years_says_so() -> None:
    with pytest.raises(ValueError, match=r"at most ten years \(316,224,000\), not \d+"):
        check_arrivals(poisson(per_hour=1e-6), "seed")


@pytest.mark.parametrize("wrong", ["soon", None, [1, "2"], [True]])
def test_a_wait_is_a_number(wrong: Any) -> None:
    with pytest.raises(TypeError, match="is not a number"):
        check_arrivals(lambda _: wrong, "seed")


def test_arrivals_without_end_can_be_checked() -> None:
    check_arrivals(lambda _: itertools.repeat(1.0), "seed")
