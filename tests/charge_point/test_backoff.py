"""The waits before a charge point connects or boots again."""

from __future__ import annotations

import itertools
import random

import pytest

from cpsim_kit import Backoff
from cpsim_kit.charge_point.backoff import own_boot_waits


@pytest.mark.parametrize("values", [{"wait_minimum": -1}, {"repeat_times": -1}, {"wait_minimum": 0, "random_range": 0}])
def test_a_backoff_that_does_not_wait_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="backoff"):
        Backoff(**values)  # type: ignore[arg-type]


def test_waits_double_repeat_times_times() -> None:
    waits = Backoff(wait_minimum=3, random_range=0, repeat_times=2).waits(random.Random(0))
    assert [next(waits) for _ in range(5)] == [3, 6, 12, 12, 12]


def test_waits_are_longer_by_a_random_time() -> None:
    waits = [next(Backoff(wait_minimum=1, random_range=2).waits(random.Random(seed))) for seed in range(100)]
    assert all(1 <= wait <= 3 for wait in waits)
    assert len(set(waits)) == 100


def test_boots_without_an_interval_from_the_csms_wait_longer_each_time() -> None:
    assert list(itertools.islice(own_boot_waits(), 8)) == [5, 10, 20, 40, 80, 160, 320, 320]
