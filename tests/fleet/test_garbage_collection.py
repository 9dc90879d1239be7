"""The garbage collector's settings while fleets run, and afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import Callable, Iterator

import pytest
from conftest import SOON
from csms_stub import Csms
from small_fleets import UNIT, fleet_of, run_quietly

from cpsim_kit import ChargePoint, Fleet, errors
from cpsim_kit.fleet.garbage_collection import THRESHOLD, Collector

Settings = tuple[bool, tuple[int, int, int]]


def settings() -> Settings:
    return gc.isenabled(), gc.get_threshold()


@pytest.fixture(autouse=True)
def nothing_changed() -> Iterator[None]:
    """The settings of the process that runs the tests."""
    enabled, threshold = settings()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)
    if enabled:
        gc.enable()
    else:
        gc.disable()


# Fleets by letter: "A+" begins, "A!" has started all its charge points, "A-" ends.
OVERLAPS = [
    "A+ A! A-",
    "A+ A-",
    "A+ A! B+ B! B- A-",
    "A+ A! B+ B! A- B-",
    "A+ B+ A! A- B! B-",
    "A+ B+ A- B-",
    "A+ A! B+ A- C+ B- C! C-",
    "A+ A! A- B+ B! B-",
]


def overlap(events: str) -> Iterator[tuple[str, set[str], set[str]]]:
    """Let fleets begin, start and end; yields each event with the fleets that run and those that start."""
    collector = Collector()
    stacks: dict[str, contextlib.ExitStack] = {}
    resume: dict[str, Callable[[], None]] = {}
    starting: set[str] = set()
    for event in events.split():
        fleet, what = event
        if what == "+":
            stacks[fleet] = contextlib.ExitStack()
            resume[fleet] = stacks[fleet].enter_context(collector.paused())
            starting.add(fleet)
        else:
            starting.discard(fleet)
            if what == "!":
                resume[fleet]()
            else:
                stacks.pop(fleet).close()
        yield event, set(stacks), starting


@pytest.mark.parametrize("events", OVERLAPS)
@pytest.mark.parametrize("before", [(True, (700, 10, 10)), (True, (123, 4, 5)), (False, (700, 10, 10))])
def test_the_settings_are_as_before_once_the_last_fleet_has_ended(events: str, before: Settings) -> None:
    enabled, threshold = before
    gc.set_threshold(*threshold)
    (gc.enable if enabled else gc.disable)()
    for event, running, starting in overlap(events):
        assert gc.isenabled() is (enabled and not starting), event
        if running and enabled and not starting:
            assert gc.get_threshold()[0] == THRESHOLD, event
            assert gc.get_freeze_count() > 0, event
        if not running:
            assert settings() == before, event
            assert gc.get_freeze_count() == 0, event


@pytest.mark.parametrize("events", OVERLAPS)
def test_objects_that_the_user_froze_stay_frozen_and_no_others_are(events: str) -> None:
    mine: list[int] = []
    gc.freeze()
    others: list[int] = []
    for _ in overlap(events):
        pass
    collected = {id(each) for each in gc.get_objects()}  # without frozen ones
    assert id(mine) not in collected
    assert id(others) in collected


async def test_garbage_is_collected_again_once_all_have_tried_to_connect(csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        seen.append(gc.isenabled())

    seen: list[bool] = []
    before = settings()
    await fleet_of(csms, 3, scenario=scenario).run(SOON, **run_quietly)
    assert seen == [False, False, True]
    assert settings() == before
    with pytest.raises(errors.FleetError):
        await Fleet("ws://127.0.0.1:9", 3, ramp_time=0).run(SOON, **run_quietly)
    assert settings() == before
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("threads", [False, True], ids=["in one loop", "in two threads"])
async def test_fleets_that_overlap_leave_the_collector_as_it_was(csms: Csms, threads: bool) -> None:
    async def until_the_other_runs(_charge_point: ChargePoint) -> None:
        while not runs.is_set():
            await asyncio.sleep(UNIT)

    async def until_the_other_has_ended(_charge_point: ChargePoint) -> None:
        runs.set()
        while not has_ended.is_set():
            await asyncio.sleep(UNIT)

    gc.set_threshold(123, 4, 5)
    before = settings()
    runs, has_ended = threading.Event(), threading.Event()
    scenarios = {"A": until_the_other_runs, "B": until_the_other_has_ended}
    fleets = [fleet_of(csms, 1, prefix=prefix, scenario=scenario) for prefix, scenario in scenarios.items()]
    first, second = [
        asyncio.create_task(asyncio.to_thread(asyncio.run, run) if threads else run, name="run")
        for run in (fleet.run(SOON, **run_quietly) for fleet in fleets)
    ]
    await first
    assert gc.get_threshold()[0] == THRESHOLD, "the second fleet still runs"
    has_ended.set()
    await second
    assert settings() == before
    assert gc.get_freeze_count() == 0
