"""Fleets: who starts when, what becomes of each call, and what a run leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import itertools
import math
import os
import pickle
import random
import re
import signal
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest
import trustme
from conftest import FACTOR, MS, SOON, cpsim_tasks, until
from csms_stub import Call, Csms, Link, abort, answer, both, close, delay, error, silent
from ocpp.v16 import call as v16_call
from ocpp.v201 import call
from stack_fixtures import Boto, bind, new_id

from cpsim_kit import Backoff, ChargePoint, Fleet, Stack, errors, plots
from cpsim_kit.charge_point.backoff import next_boots
from cpsim_kit.fleet.call_table import COLUMNS, CallTable, FleetResult, Incoming
from cpsim_kit.fleet.processes import Worker, WorkerLost, packed
from cpsim_kit.fleet.share import Plan, first_heartbeat

UNIT = 50 * MS

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if sys.platform != "win32":
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop

run_quietly = {"progress": False}


async def only_boot(cp: ChargePoint) -> None:
    """A scenario that ends, however slow the machine is."""
    await cp.boot()


def fleet_of(csms: Csms, size: int = 5, **options: Any) -> Fleet:
    """A fleet that starts at once, with a heartbeat in each unit of time."""
    return Fleet(csms.url, size, **{"ramp_time": 0, "heartbeat_interval": UNIT, **options})


@contextlib.asynccontextmanager
async def running(fleet: Fleet) -> AsyncIterator[None]:
    """A fleet that runs as long as the block does, however slow the machine is; its result is kept."""
    task = asyncio.create_task(fleet.run(6 * SOON, **run_quietly))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def run_until(fleet: Fleet, enough: Callable[[], object], what: str) -> FleetResult:
    """Run a fleet until there is enough to look at."""
    async with running(fleet):
        await until(enough, what)
    assert fleet.result is not None
    return fleet.result


def fewest(csms: Csms, size: int) -> int:
    """How many heartbeats came from the charge point of a fleet of this size that has sent the fewest."""
    if len(csms.links) < size:
        return 0
    return min(sum(asked.action == "Heartbeat" for asked in link.calls) for link in csms.links)


CLIENT = SimpleNamespace(nthreads=None)  # as much of a Dask client as is looked at when there is nothing to do

# -- Arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "either a size or a list of ids"),
        ({"size": 3, "ids": ["A"]}, "either a size or a list of ids"),
        ({"size": 0}, "at least one"),
        ({"ids": []}, "empty"),
        ({"ids": ["A", "A"]}, "twice"),
        ({"size": 1, "ramp": 0}, "ramp"),
        ({"size": 1, "ramp_time": -1}, "ramp_time"),
        ({"size": 1, "heartbeat_interval": 0}, "heartbeat_interval"),
        ({"size": 1, "provision": "always"}, "provision"),
        ({"size": 1, "processes": 0}, "process"),
        ({"size": 2, "processes": 2, "ssl": ssl.create_default_context()}, "give a function that makes it"),
        ({"size": 2, "cluster": CLIENT, "ssl": ssl.create_default_context()}, "give a function that makes it"),
        ({"size": 2, "cluster": CLIENT, "processes": 2}, "or on the workers of a cluster"),
        ({"size": 2, "version": "9"}, "version"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Fleet("ws://127.0.0.1:9", **arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": "10"}, r"size= takes a whole number, not '10'"),
        ({"size": 1.5}, r"size= takes a whole number"),
        ({"ids": "ABC"}, r"ids= takes a list of ids, not the string 'ABC'"),
        ({"size": 1, "prefix": None, "seed": "x"}, r"seed= takes a whole number, not 'x'"),
        ({"size": 1, "reconnect": True}, r"reconnect= takes a Backoff"),
        ({"size": 1, "cluster": "tcp://127.0.0.1:8786"}, r"cluster= takes a dask\.distributed\.Client"),
        ({"size": 1, "scenario": 3}, r"scenario= takes an async function"),
        ({"size": 1, "scenario": lambda: None}, r"scenario= takes an async function of a charge point"),
        ({"size": 1, "attributes": {"model": "A"}}, r"attributes= takes a function of an id"),
        ({"size": 1, "interval": 1}, r"no argument 'interval'; did you mean .*heartbeat_interval"),
        ({"size": 1, "observe": print}, r"the result has every call"),
        ({"size": 1, "url": "ws://127.0.0.1:9"}, r"no argument 'url'"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused_at_once(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Fleet("ws://127.0.0.1:9", **arguments)


@pytest.mark.parametrize("duration", [math.inf, math.nan])
async def test_a_duration_is_a_number_of_seconds(duration: float) -> None:
    with pytest.raises(ValueError, match="a number of seconds"):
        await Fleet("ws://127.0.0.1:9", 1).run(duration)


async def test_a_fleet_runs_once_at_a_time(csms: Csms) -> None:
    fleet = fleet_of(csms, 1)
    running = asyncio.create_task(fleet.run(20 * UNIT, **run_quietly))
    await until(lambda: csms.requests, "a connection")
    with pytest.raises(RuntimeError, match="is running already"):
        await fleet.run(20 * UNIT, **run_quietly)
    assert (await running).connected == 1


async def test_a_burst_of_a_scenario_of_ones_own_is_refused() -> None:
    async def idle(cp: ChargePoint) -> None: ...

    with pytest.raises(ValueError, match="burst"):
        Fleet("ws://127.0.0.1:9", 1, burst=True, scenario=idle)


async def test_a_ramp_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"takes 10 s.*steeper ramp"):
        await Fleet("ws://127.0.0.1:9", 100, ramp=10).run(5)


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ({"size": 2}, ["LOAD-0001", "LOAD-0002"]),
        ({"size": 1, "prefix": "X"}, ["X0001"]),
        ({"ids": ["A", "B"]}, ["A", "B"]),
    ],
)
def test_ids_are_numbered_or_given(arguments: dict[str, Any], ids: list[str]) -> None:
    assert Fleet("ws://127.0.0.1:9", **arguments).ids == ids


def test_ids_of_many_have_the_digits_they_need() -> None:
    fleet = Fleet("ws://127.0.0.1:9", 12_345)
    assert (fleet.ids[0], fleet.ids[-1]) == ("LOAD-00001", "LOAD-12345")


def test_the_same_seed_gives_the_same_schedule_and_another_another() -> None:
    plans = [Fleet("ws://127.0.0.1:9", 50, seed=seed)._plans(9, 1)[0].starts for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


def test_each_charge_point_starts_in_its_own_slot_of_the_ramp() -> None:
    (plan,) = Fleet("ws://127.0.0.1:9", 100, ramp=10)._plans(20, 1)
    assert [math.floor(at * 10) for at, _phase in plan.starts.values()] == list(range(100))


def test_processes_share_the_charge_points_evenly() -> None:
    plans = Fleet("ws://127.0.0.1:9", 5, processes=2)._plans(20, 2)
    assert [list(plan.starts) for plan in plans] == [
        ["LOAD-0001", "LOAD-0003", "LOAD-0005"],
        ["LOAD-0002", "LOAD-0004"],
    ]


@pytest.mark.parametrize(
    ("after", "starts"),
    [
        (0, {"A": 0, "B": 4, "C": 8}),
        (4, {"A": 0, "B": 4, "C": 8}),  # 16 s are left
        (12, {"A": 0, "B": 2, "C": 4}),  # half of the 8 s that are left
    ],
)
def test_what_is_left_of_a_share_has_the_same_ramp_unless_time_is_short(after: float, starts: dict[str, float]) -> None:
    rest = Plan("ws://127.0.0.1:9", {"A": (0, 0.1), "B": (4, 0.2), "C": (8, 0.3)}, 20).rest(after)
    assert {each: at for each, (at, _phase) in rest.starts.items()} == starts
    assert [phase for _at, phase in rest.starts.values()] == [0.1, 0.2, 0.3]
    assert rest.duration == 20 - after


def test_what_is_left_of_a_share_that_began_at_once_begins_at_once() -> None:
    plan = Plan("ws://127.0.0.1:9", {"A": (0, 0.1), "B": (0, 0.2)}, 20)
    assert plan.rest(5).starts == plan.starts


@pytest.mark.parametrize("values", [{"wait_minimum": -1}, {"repeat_times": -1}, {"wait_minimum": 0, "random_range": 0}])
def test_a_backoff_that_does_not_wait_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="backoff"):
        Backoff(**values)  # type: ignore[arg-type]


def test_waits_double_as_often_as_they_are_told_to() -> None:
    waits = Backoff(wait_minimum=3, random_range=0, repeat_times=2).waits(random.Random(0))
    assert [next(waits) for _ in range(5)] == [3, 6, 12, 12, 12]


def test_waits_are_longer_by_a_random_time() -> None:
    waits = [next(Backoff(wait_minimum=1, random_range=2).waits(random.Random(seed))) for seed in range(100)]
    assert all(1 <= wait <= 3 for wait in waits)
    assert len(set(waits)) == 100


# -- What they do -----------------------------------------------------------------------------------------------------


async def test_each_boots_once_and_then_sends_heartbeats(csms: Csms) -> None:
    result = await run_until(fleet_of(csms), lambda: fewest(csms, 5) >= 2, "two heartbeats of each")
    assert (result.connected, result.booted, result.calls.failures) == (5, 5, 0)
    frame = result.to_frame()
    assert (
        frame.groupby("charge_point_id").action.apply(lambda actions: list(actions[:2])).tolist()
        == [["connect", "BootNotification"]] * 5
    )
    assert (frame.action == "BootNotification").sum() == 5
    assert csms.actions.count("Heartbeat") == (frame.action == "Heartbeat").sum() >= 10
    assert csms.overlaps == 0
    assert {request.path for request in csms.requests} == {f"/LOAD-{number:04}" for number in range(1, 6)}


async def test_the_instructed_interval_is_kept_where_none_is_given(csms: Csms) -> None:
    csms.on["BootNotification"] = answer({"currentTime": "2026-11-23T10:00:00Z", "interval": 1, "status": "Accepted"})
    result = await fleet_of(csms, 2, heartbeat_interval=None).run(4 * UNIT, **run_quietly)
    assert (result.to_frame().action == "Heartbeat").sum() <= 2, "less than a second is over"


@pytest.mark.parametrize("interval", [0.05, 1.0, 7.3, 900.0])
def test_heartbeats_begin_within_an_interval_at_moments_that_others_share(interval: float) -> None:
    began, now = 1000.0, 1012.3456
    firsts = [first_heartbeat(began, now, interval, number / 1000) for number in range(1000)]
    step = min(0.01, interval / 100)
    assert all(now <= first <= now + interval + step for first in firsts)
    assert all(abs((first - began) / step - round((first - began) / step)) < 1e-6 for first in firsts)
    assert len(set(firsts)) >= 99, "spread over the whole interval"
    assert first_heartbeat(began, now, interval, None) == first_heartbeat(began, now + 1e-9, interval, None) > now


@pytest.mark.parametrize("loop_factory", LOOPS.values(), ids=LOOPS.keys())
def test_no_heartbeat_is_sent_before_it_is_due(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def run() -> FleetResult:
        async with Csms() as csms:
            fleet = fleet_of(csms, 20, heartbeat_interval=UNIT)
            return await run_until(fleet, lambda: fewest(csms, 20) >= 5, "five heartbeats of each")

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        calls = runner.run(run()).to_frame()
    beats = calls[(calls.action == "Heartbeat") & (calls.outcome == "answered")]
    assert len(beats) >= 20 * 4
    assert (beats.response_ms >= beats.latency_ms - 0.001).all()


async def test_a_burst_sends_all_heartbeats_at_the_same_moments(csms: Csms) -> None:
    interval_ms = 4 * UNIT * 1000
    fleet = fleet_of(csms, 5, burst=True, heartbeat_interval=interval_ms / 1000)
    frame = (await run_until(fleet, lambda: fewest(csms, 5) >= 4, "four heartbeats of each")).to_frame()
    beats = frame[(frame.action == "Heartbeat") & (frame.outcome == "answered")]
    assert beats.charge_point_id.nunique() == 5
    due_ms = (beats.sent_at - beats.sent_at.min()).dt.total_seconds() * 1000 + beats.latency_ms - beats.response_ms
    off_grid_ms = (due_ms - due_ms.min()) % interval_ms
    assert (off_grid_ms.clip(upper=interval_ms - off_grid_ms) < 1).all(), "due on one grid, whenever they were sent"


async def test_a_scenario_may_do_anything_and_all_of_it_is_measured(csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        await cp.boot()
        for _ in range(3):
            await cp.call(call.StatusNotification("2026-11-23T10:00:00Z", "Available", 1, 1))
        await cp.heartbeat()

    result = await fleet_of(csms, 3, scenario=scenario).run(SOON, **run_quietly)
    assert result.duration < SOON, "it ends with the last scenario"
    assert result.to_frame().action.value_counts().to_dict() == {
        "StatusNotification": 9,
        "connect": 3,
        "BootNotification": 3,
        "Heartbeat": 3,
    }


async def test_a_scenarios_own_fault_comes_out_and_ends_all(csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        await cp.boot()
        raise LookupError("mine")

    fleet = fleet_of(csms, 3, scenario=scenario)
    with pytest.raises(LookupError, match="mine"):
        await fleet.run(SOON, **run_quietly)
    assert fleet.result is not None
    assert fleet.result.interrupted


async def test_a_scenarios_fault_says_which_charge_point_it_was_and_has_no_other_context(csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        try:
            raise KeyError("first")
        except KeyError as exc:
            raise LookupError("mine") from exc

    for processes in (None, 2):
        with pytest.raises(LookupError, match="mine") as caught:
            await fleet_of(csms, 2, scenario=scenario, processes=processes).run(SOON, **run_quietly)
        notes = "\n".join(caught.value.__notes__)
        assert "scenario of LOAD-000" in notes
        if processes is None:
            assert isinstance(caught.value.__cause__, KeyError)
        else:
            assert re.search(r"line \d+, in scenario\n", notes), "the traceback in the other process"
            assert "LookupError: mine" in notes
        fault: BaseException | None = caught.value
        while fault is not None:
            assert not isinstance(fault, BaseExceptionGroup)
            fault = fault.__context__


async def test_a_scenario_that_is_not_async_is_said(csms: Csms) -> None:
    with pytest.raises(TypeError, match=r"async def scenario\(cp\); this one returned None"):
        await fleet_of(csms, 1, scenario=lambda cp: None).run(SOON, **run_quietly)


async def test_a_fault_that_cannot_be_pickled_comes_out_in_words(csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        class OddError(Exception):
            def __init__(self, a: str, b: str) -> None:
                super().__init__(f"{a} and {b}")

        raise OddError("one", "two")

    with pytest.raises(RuntimeError, match="OddError: one and two"):
        await fleet_of(csms, 2, scenario=scenario, processes=2).run(SOON, **run_quietly)


async def test_an_error_of_the_kit_that_is_of_no_call_is_a_row_too(csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        await cp.boot()
        await cp.wait_closed(timeout=MS)

    result = await fleet_of(csms, 3, scenario=scenario).run(SOON, **run_quietly)
    assert result.calls.failures == 3
    (failed,) = result.failures().to_dict("records")
    assert (failed["action"], failed["count"], failed["charge_points"], failed["first"]) == (
        "scenario",
        3,
        3,
        "LOAD-0001",
    )
    assert "…" in failed["detail"]


async def wrong_payload_now_and_then(cp: ChargePoint) -> None:
    await cp.boot()
    for _ in range(2):
        with contextlib.suppress(TypeError):
            await cp.call(v16_call.Heartbeat())
    await cp.heartbeat()


@pytest.mark.parametrize("processes", [None, 2])
async def test_a_call_with_a_wrong_payload_is_a_failure_also_where_the_scenario_goes_on(
    csms: Csms, processes: int | None
) -> None:
    fleet = fleet_of(csms, 2, scenario=wrong_payload_now_and_then, processes=processes)
    result = await fleet.run(SOON, **run_quietly)
    assert result.calls.failures == 4
    (failed,) = result.failures().to_dict("records")
    assert (failed["action"], failed["outcome"], failed["count"]) == ("Heartbeat", "error", 4)
    assert failed["detail"].startswith("TypeError: … speaks OCPP 2.0.1, and Heartbeat is of OCPP 1.6")
    heartbeats = result.summary().loc["Heartbeat"]
    assert (heartbeats["count"], heartbeats["failures"], heartbeats["unfinished"]) == (6, 4, 0)


async def raise_lookup_error(cp: ChargePoint) -> None:
    raise LookupError(f"{cp.id} is not mine")


async def call_with_no_payload(cp: ChargePoint) -> None:
    await cp.call(None)


async def wait_in_vain(cp: ChargePoint) -> None:
    async with asyncio.timeout(MS):
        await asyncio.sleep(SOON)


@pytest.mark.parametrize(
    ("scenario", "fault", "action", "detail"),
    [
        (raise_lookup_error, LookupError, "scenario", "LookupError: … is not mine"),
        (call_with_no_payload, TypeError, "NoneType", "TypeError: "),
        (wait_in_vain, TimeoutError, "scenario", "TimeoutError: "),
        (lambda cp: None, TypeError, "scenario", "TypeError: a scenario is an async function"),
    ],
    ids=["raises", "wrong payload", "times out", "is not async"],
)
@pytest.mark.parametrize("processes", [None, 2])
async def test_the_error_that_ends_a_run_is_one_failure_of_its_result(
    csms: Csms, scenario: Any, fault: type[Exception], action: str, detail: str, processes: int | None
) -> None:
    fleet = fleet_of(csms, 1 if processes is None else 2, scenario=scenario, processes=processes)
    with pytest.raises(fault):
        await fleet.run(SOON, **run_quietly)
    assert fleet.result is not None
    failed = fleet.result.failures().to_dict("records")
    assert {(each["action"], each["outcome"]) for each in failed} == {(action, "error")}
    assert fleet.result.calls.failures in ({1} if processes is None else {1, 2})
    assert failed[0]["detail"].startswith(detail)


@pytest.mark.parametrize("processes", [None, 2])
async def test_a_scenario_that_cannot_be_cancelled_is_left_behind(
    csms: Csms, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, processes: int | None
) -> None:
    monkeypatch.setattr("cpsim_kit.fleet.share._LAST_WORDS", 4 * UNIT)
    let_go = asyncio.Event()

    async def scenario(cp: ChargePoint) -> None:
        while not let_go.is_set():
            with contextlib.suppress(BaseException):
                await asyncio.sleep(MS)

    if processes is None:
        result = await fleet_of(csms, 2, scenario=scenario).run(10 * UNIT, **run_quietly)
        assert "the scenario of LOAD-0001, LOAD-0002 does not end when it is cancelled" in caplog.text
        let_go.set()
    else:
        result = await fleet_of(csms, 2, scenario=endless, processes=2).run(10 * UNIT, **run_quietly)
    assert result.connected == 2
    await until(lambda: not cpsim_tasks(), "the tasks to end")
    assert not children()


async def endless(cp: ChargePoint) -> None:
    while True:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(MS)


async def test_garbage_is_collected_again_once_all_have_tried_to_connect(csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        seen.append(gc.isenabled())

    seen: list[bool] = []
    thresholds = gc.get_threshold()
    await fleet_of(csms, 3, scenario=scenario).run(SOON, **run_quietly)
    assert seen == [False, False, True]
    assert gc.get_threshold() == thresholds
    with pytest.raises(errors.FleetError):
        await Fleet("ws://127.0.0.1:9", 3, ramp_time=0).run(SOON, **run_quietly)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


async def test_attributes_and_options_reach_each_charge_point(csms: Csms) -> None:
    own = {"vendor_name": "V", "version": "1.6", "scenario": only_boot}
    await fleet_of(csms, 2, attributes=lambda each: {"model": f"M-{each}"}, **own).run(SOON, **run_quietly)
    boots = [each.payload for each in csms.calls if each.action == "BootNotification"]
    assert {boot["chargePointModel"] for boot in boots} == {"M-LOAD-0001", "M-LOAD-0002"}
    assert {boot["chargePointVendor"] for boot in boots} == {"V"}


async def test_a_charge_point_that_is_not_accepted_sends_no_heartbeat(csms: Csms) -> None:
    csms.on["BootNotification"] = answer({"currentTime": "2026-11-23T10:00:00Z", "interval": 1, "status": "Rejected"})
    fleet = fleet_of(csms, 2)
    result = await run_until(fleet, lambda: csms.actions.count("BootNotification") >= 4, "both to boot again")
    assert (result.connected, result.booted) == (2, 0)
    assert "Heartbeat" not in csms.actions


REJECTED = {"currentTime": "2026-11-23T10:00:00Z", "interval": 0, "status": "Rejected"}


@pytest.mark.parametrize("interval", [0, -1])
async def test_charge_points_do_not_flood_a_csms_that_leaves_the_next_boot_to_them(csms: Csms, interval: int) -> None:
    csms.on["BootNotification"] = answer(REJECTED | {"interval": interval})
    await fleet_of(csms, 2).run(2.5, **run_quietly)
    assert csms.actions == ["BootNotification"] * 2, "the next would come after 5 s"


async def test_charge_points_boot_again_also_where_the_csms_leaves_it_to_them(
    csms: Csms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cpsim_kit.charge_point.backoff._FIRST_BOOT", MS)
    csms.once += [answer(REJECTED)] * 4
    result = await run_until(fleet_of(csms, 2), lambda: csms.actions.count("Heartbeat") >= 2, "heartbeats")
    assert result.booted == 2


def test_boots_that_nobody_times_come_ever_more_seldom() -> None:
    assert list(itertools.islice(next_boots(), 8)) == [5, 10, 20, 40, 80, 160, 320, 320]


# -- Failures are rows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "outcome", "detail"),
    [
        (error("InternalError", "why", {}), "CALLERROR", "…: Heartbeat was answered with CALLERROR InternalError: why"),
        (silent, "no answer", "…: no answer to Heartbeat within"),
        (answer({"currentTime": 7}), "invalid", "currentTime"),
        (answer({"error": "Command [Heartbeat] not implemented."}), "not implemented", "does not support Heartbeat"),
    ],
    ids=["error", "silent", "invalid", "not implemented"],
)
async def test_a_failed_heartbeat_is_a_row_and_the_next_one_comes(
    csms: Csms, behaviour: Any, outcome: str, detail: str
) -> None:
    csms.on["Heartbeat"] = behaviour
    patience = 10 * UNIT if behaviour is silent else SOON  # the boot and each answer come within it on any machine
    fleet = fleet_of(csms, 2, call_timeout=patience)
    result = await run_until(fleet, lambda: csms.actions.count("Heartbeat") >= 6, "six heartbeats")
    frame = result.to_frame()
    failed = frame[frame.outcome == outcome]
    assert len(failed) == result.calls.failures >= 4
    assert failed.detail.str.contains(detail, regex=False).all()
    assert failed.latency_ms.isna().all()
    reasons = result.failures()
    assert len(reasons) == 1, "the same reason of every charge point is one"
    assert reasons["count"].tolist() == [len(failed)]


@pytest.mark.parametrize("behaviour", [close(1011, "mine"), abort], ids=["closed", "cut"])
async def test_a_lost_connection_stays_lost_without_a_policy(csms: Csms, behaviour: Any) -> None:
    csms.on["Heartbeat"] = behaviour
    result = await fleet_of(csms, 2).run(SOON, **run_quietly)
    assert result.duration < SOON, "it ends with the last one that is lost"
    frame = result.to_frame()
    assert (frame.action == "connect").sum() == 2
    assert frame[frame.action == "Heartbeat"].outcome.tolist() == ["connection lost"] * 2


async def test_a_lost_connection_is_opened_again_by_the_policy(csms: Csms) -> None:
    csms.on["Heartbeat"] = abort
    fleet = fleet_of(csms, 2, reconnect=Backoff(UNIT, 0, 0))
    async with running(fleet):
        await until(lambda: len(csms.requests) >= 6, "the charge points to come back twice")
        del csms.on["Heartbeat"]
        seen = len(csms.calls)
        await until(lambda: csms.actions[seen:].count("Heartbeat") >= 4, "heartbeats again")
    result = fleet.result
    assert result is not None
    assert csms.actions.count("BootNotification") == 2, "a lost connection is no reason to boot again"
    assert result.to_frame().outcome.isin(["answered", "connection lost", "unfinished"]).all()


async def test_a_lost_connection_is_noticed_at_once_however_far_the_next_heartbeat_is(csms: Csms) -> None:
    fleet = fleet_of(csms, 2, heartbeat_interval=100 * SOON, reconnect=Backoff(UNIT, 0, 0))
    running = asyncio.create_task(fleet.run(10 * SOON, **run_quietly))
    await until(lambda: fleet.result and fleet.result.booted == 2, "both to have booted")
    for number in (4, 6):
        for link in csms.links:
            link.abort()
        await until(lambda number=number: len(csms.requests) == number, "both to come back")
    running.cancel()
    await asyncio.wait([running])
    assert fleet.result is not None
    frame = fleet.result.to_frame()
    assert set(frame.action) == {"connect", "BootNotification", "connection"}, "no heartbeat was due"
    assert frame[frame.action == "connection"].outcome.tolist() == ["connection lost"] * 4


async def test_a_charge_point_that_waits_to_boot_again_comes_back_too(csms: Csms) -> None:
    csms.on["BootNotification"] = answer({"currentTime": "2026-11-23T10:00:00Z", "interval": 999, "status": "Pending"})
    fleet = fleet_of(csms, 1, reconnect=Backoff(UNIT, 0, 0))
    running = asyncio.create_task(fleet.run(10 * SOON, **run_quietly))
    await until(lambda: csms.actions == ["BootNotification"], "a boot")
    csms.links[0].abort()
    await until(lambda: csms.actions == ["BootNotification"] * 2, "another boot")
    running.cancel()
    await asyncio.wait([running])


async def test_some_that_cannot_start_are_rows_of_the_others_result(csms: Csms) -> None:
    def wrong(charge_point_id: str) -> dict[str, Any]:
        return {"version": "2.1"} if charge_point_id.endswith("1") else {}

    csms._subprotocols = ("ocpp2.0.1",)
    result = await fleet_of(csms, 3, attributes=wrong, scenario=only_boot).run(SOON, **run_quietly)
    assert (result.connected, result.booted) == (2, 2)
    (failed,) = result.failures().to_dict("records")
    assert (failed["action"], failed["outcome"], failed["count"]) == ("connect", "not connected", 1)


async def test_nothing_that_can_start_is_an_error_with_all_reasons() -> None:
    fleet = Fleet("ws://127.0.0.1:9", 3, ramp_time=0)
    with pytest.raises(errors.FleetError, match="not one of 3") as caught:
        await fleet.run(SOON, **run_quietly)
    assert [type(error) for error in caught.value.errors] == [errors.ConnectError] * 3
    assert fleet.result is not None
    assert len(fleet.result.calls) == 3


async def test_a_stall_shows_in_the_time_since_due_of_every_call_that_was_due(csms: Csms) -> None:
    csms.once.extend([answer(), delay(4 * UNIT)])  # the boot, then one heartbeat that takes four intervals
    result = await run_until(fleet_of(csms, 1), lambda: fewest(csms, 1) >= 6, "six heartbeats")
    frame = result.to_frame()
    beats = frame[(frame.action == "Heartbeat") & (frame.outcome == "answered")]
    unit_ms = UNIT * 1000
    assert beats.latency_ms.iloc[0] >= 4 * unit_ms
    waited_ms = (beats.response_ms - beats.latency_ms).tolist()
    for number in (1, 2, 3):
        assert waited_ms[number] >= (4 - number) * unit_ms - 0.01, "those that were due meanwhile were late too"
    answered_at = beats.sent_at + pd.to_timedelta(beats.latency_ms, unit="ms")
    overlap = answered_at.shift() - beats.sent_at
    assert overlap.max() < pd.Timedelta(microseconds=10), "and their latencies have nothing of it"
    assert (beats.response_ms >= beats.latency_ms - 0.01).all()


async def test_a_gateway_that_hangs_to_the_end_shows_in_every_call_that_was_due(csms: Csms) -> None:
    csms.once.append(answer())  # the boot
    csms.on["Heartbeat"] = silent
    result = await fleet_of(csms, 1).run(60 * UNIT, **run_quietly)
    frame = result.to_frame()
    beats = frame[frame.action == "Heartbeat"]
    assert csms.actions.count("Heartbeat") == 1
    assert set(beats.outcome) == {"unfinished"}
    assert len(beats) >= 30
    assert beats.sent_at.is_monotonic_increasing
    assert beats.latency_ms.isna().all()
    assert beats.response_ms.is_monotonic_decreasing, "the longer it is due, the longer it waits"
    assert beats.response_ms.max() > 28 * UNIT * 1000
    assert result.summary().response_p99_ms["Heartbeat"] > 25 * UNIT * 1000


async def test_a_connection_is_due_when_the_ramp_says_so(csms: Csms) -> None:
    result = await fleet_of(csms, 100, scenario=only_boot).run(SOON, **run_quietly)
    connects = result.to_frame().query("action == 'connect'")
    late_ms = connects.response_ms - connects.latency_ms
    due_ms = (connects.sent_at - connects.sent_at.min()).dt.total_seconds() * 1000 - late_ms
    assert due_ms.max() - due_ms.min() < 0.1, "all were due at the same moment"
    assert late_ms.max() > late_ms.min() > -0.1, "and not one process starts them all at once"


async def test_answers_that_nobody_waits_for_make_no_warning_of_each_charge_point(
    csms: Csms, caplog: pytest.LogCaptureFixture
) -> None:
    """As those to a fleet before it, whose ids are the same, from a CSMS that lags behind."""
    csms.once.append(both(late_to_another, answer()))
    result = await fleet_of(csms, 1, scenario=only_boot).run(SOON, **run_quietly)
    assert result.booted == 1
    assert not caplog.records


async def late_to_another(link: Link, _call: Call) -> None:
    await link.send([3, "of-another-life", {}])


# -- The end ----------------------------------------------------------------------------------------------------------


async def test_an_interrupted_run_closes_all_and_keeps_the_result(csms: Csms) -> None:
    fleet = fleet_of(csms, 5)
    running = asyncio.create_task(fleet.run(SOON, **run_quietly))
    await until(lambda: csms.actions.count("Heartbeat") >= 10, "heartbeats")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: all(link.ws.close_code is not None for link in csms.links), "the connections to be closed")
    result = fleet.result
    assert result is not None
    assert result.interrupted
    assert (result.to_frame().action == "Heartbeat").sum() >= 10
    assert "interrupted" in repr(result)
    assert not cpsim_tasks()


async def test_what_is_on_its_way_at_the_end_is_unfinished_and_no_failure(csms: Csms) -> None:
    csms.on["Heartbeat"] = silent
    result = await fleet_of(csms, 2).run(20 * UNIT, **run_quietly)
    frame = result.to_frame()
    assert set(frame[frame.action == "Heartbeat"].outcome) == {"unfinished"}
    assert result.calls.failures == 0
    assert result.summary().unfinished["Heartbeat"] == (frame.action == "Heartbeat").sum() >= 2


async def test_a_fleet_runs_again(csms: Csms) -> None:
    fleet = fleet_of(csms, 2, scenario=only_boot)
    first = await fleet.run(SOON, **run_quietly)
    second = await fleet.run(SOON, **run_quietly)
    assert fleet.result is second is not first
    assert first.connected == second.connected == 2


# -- The result -------------------------------------------------------------------------------------------------------


async def test_the_result_is_a_table_a_summary_and_a_picture(csms: Csms, tmp_path: Any) -> None:
    from matplotlib.figure import Figure

    result = await fleet_of(csms, 3).run(20 * UNIT, **run_quietly)
    frame = result.to_frame()
    assert tuple(frame.columns) == COLUMNS
    assert frame.dtypes.astype(str).to_dict() == {
        "sent_at": "datetime64[ns, UTC]",
        "charge_point_id": str(pd.Series(["a"]).astype("str").dtype),
        "action": "category",
        "latency_ms": "float64",
        "response_ms": "float64",
        "outcome": "category",
        "detail": "object",
    }
    assert frame.sent_at.is_monotonic_increasing
    summary = result.summary()
    beats = frame[(frame.action == "Heartbeat") & (frame.outcome == "answered")]
    assert summary["count"].sum() == len(frame)
    assert summary.p95_ms["Heartbeat"] == pytest.approx(beats.latency_ms.quantile(0.95))
    axes = result.plot(ax=Figure().subplots(3))
    assert [ax.get_ylabel() for ax in axes] == ["latency (ms)", "per second", "charge points"]
    assert "3 of 3 connected" in result._repr_html_()
    saved = pd.read_csv(result.to_csv(tmp_path / "calls.csv"))
    assert len(saved) == len(frame)


def test_a_result_saved_as_parquet_reads_back_as_it_was(tmp_path: Path) -> None:
    import pandas as pd

    result = FleetResult(2, 0.0)
    result.calls.add("CP1", "BootNotification", 1.0, 2.0, 3.0)
    result.calls.add("CP2", "Heartbeat", 1.5, float("nan"), float("nan"), "timeout", "no answer within 1 s")
    path = result.to_parquet(tmp_path / "calls.parquet")
    assert path == tmp_path / "calls.parquet"
    saved = pd.read_parquet(path).astype({"detail": "object"})  # which pandas 3 reads as its own kind of text
    pd.testing.assert_frame_equal(saved, result.to_frame())


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)  # as where it is not installed
    with pytest.raises(ImportError, match=r"^to_parquet\(\) needs pyarrow, .*pip install pyarrow") as caught:
        FleetResult(1, 0.0).to_parquet(tmp_path / "calls.parquet")
    assert caught.value.name == "pyarrow"
    assert not list(tmp_path.iterdir())


def test_what_is_left_of_a_second_is_no_drop_in_the_picture() -> None:
    from matplotlib.figure import Figure

    calls = CallTable()
    for number in range(22):  # ten a second
        calls.add("CP1", "Heartbeat", 100 + number / 10, 2.0, 3.0)
    axes = plots.fleet(calls.to_frame(), [(0.5, 1, 1)], 100, ax=Figure().subplots(3))
    assert list(axes[1].lines[0].get_ydata()) == [10, 10]
    assert list(axes[0].lines[0].get_xdata()) == [0.5, 1.5]


def test_an_empty_table_has_the_same_columns_and_types() -> None:
    one = CallTable()
    one.add("CP1", "Heartbeat", 1.0, 2.0, 3.0)
    empty = CallTable().to_frame()
    assert tuple(empty.columns) == COLUMNS
    assert [str(dtype) for dtype in empty.dtypes] == [str(dtype) for dtype in one.to_frame().dtypes]


def test_tables_of_several_processes_become_one() -> None:
    whole = CallTable()
    parts = {name: (CallTable(), Incoming(whole)) for name in ("A", "B")}
    for moment in (1.0, 3.0):
        for name, (part, incoming) in parts.items():
            part.add(name, "Heartbeat", moment, 2.0, 3.0)
            part.add(name, "connect", moment + 1, math.nan, math.nan, f"lost {name}", "why")
            assert len(part.arrays(begin=1)["sent"]) == 1
            rows = part.take()
            assert len(part) == 0
            incoming.add(rows)
            assert rows[1]["id"] == ([name] if moment == 1.0 else []), "a word is told once"
    frame = whole.to_frame()
    assert frame.charge_point_id.tolist() == ["A", "B"] * 4
    assert frame.outcome.tolist() == ["answered", "answered", "lost A", "lost B"] * 2
    assert whole.failures == 4
    empty = CallTable().take()
    Incoming(whole).add(empty)
    assert len(whole) == 8


async def test_how_many_are_connected_is_noted_at_the_moment_it_was_so(csms: Csms) -> None:
    fleet = fleet_of(csms, 40, ramp_time=40 * UNIT, heartbeat_interval=100 * SOON)
    result = await fleet.run(50 * UNIT, **run_quietly)
    connects = result.to_frame().query("action == 'connect'")
    opened_at = connects.sent_at.astype("int64") / 1e9 + connects.latency_ms / 1000 - result.started_at
    assert len(result.samples) >= 3
    for at, connected, _ in result.samples:
        assert (opened_at < at - UNIT).sum() <= connected <= (opened_at < at + UNIT).sum()


# -- Several processes ------------------------------------------------------------------------------------------------


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if is_worker(child)]


def is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):  # it has ended meanwhile
        return "cpsim_kit.fleet.processes" in " ".join(process.cmdline())
    return False


async def test_files_of_the_working_directory_are_no_modules_of_a_fleets_processes(
    csms: Csms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook beside a queue.py of the reader: the kernel has Python's module imported already."""
    for name in ("calendar.py", "queue.py"):
        (tmp_path / name).write_text("raise SystemExit('taken for the module of that name')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    result = await fleet_of(csms, 2, processes=2).run(2, **run_quietly)
    assert result.booted == 2


async def test_several_processes_do_what_one_does(csms: Csms) -> None:
    sent = "StatusNotification"

    async def scenario(cp: ChargePoint) -> None:  # of this function, which no child could import
        await cp.boot()
        await cp.call(call.StatusNotification("2026-11-23T10:00:00Z", "Available", 1, 1))
        assert sent == "StatusNotification"

    result = await fleet_of(csms, 4, processes=2, scenario=scenario).run(SOON, **run_quietly)
    assert (result.connected, result.booted) == (4, 4)
    assert result.to_frame().groupby("charge_point_id").size().tolist() == [3] * 4
    assert not children()


async def test_a_scenarios_fault_in_another_process_comes_out(csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await fleet_of(csms, 2, processes=2, scenario=scenario).run(SOON, **run_quietly)
    assert not children()


async def test_what_cannot_go_to_another_process_is_said(csms: Csms) -> None:
    lock = threading.Lock()

    async def scenario(cp: ChargePoint) -> None:
        with lock:
            await cp.boot()

    with pytest.raises(ValueError, match=r"cannot be sent to another process: .*lock.*inside of these functions"):
        await fleet_of(csms, 2, processes=2, scenario=scenario).run(SOON, **run_quietly)
    assert not children()


async def test_a_function_makes_the_tls_context_in_each_process(tmp_path: Path) -> None:
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    file = str(tmp_path / "ca.pem")
    async with Csms(ssl=server) as csms:
        for processes in (None, 2):
            fleet = fleet_of(
                csms,
                4,
                processes=processes,
                scenario=only_boot,
                ssl=lambda: ssl.create_default_context(cafile=file),
            )
            assert (await fleet.run(SOON, **run_quietly)).booted == 4


async def test_a_scenario_of_a_module_that_another_process_cannot_import_is_said(
    csms: Csms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(only_boot, "__module__", "gone")
    monkeypatch.setitem(sys.modules, "gone", sys.modules[__name__])
    with pytest.raises(ValueError, match="a worker process cannot read this fleet: No module named 'gone'"):
        await fleet_of(csms, 2, processes=2, scenario=only_boot).run(SOON, **run_quietly)
    assert not children()


async def test_a_process_that_does_not_start_leaves_the_others_to_go_on(
    csms: Csms, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, refused = Worker.start, []

    async def start_all_but_the_first(worker: Worker) -> None:
        if not refused:
            refused.append(worker)
            raise WorkerLost("no memory, say")
        await start(worker)

    monkeypatch.setattr(Worker, "start", start_all_but_the_first)
    result = await fleet_of(csms, 2, processes=2).run(2, **run_quietly)
    assert result.lost == ["no memory, say"]
    assert result.connected == 1
    assert not children()


async def test_processes_that_cannot_be_started_are_an_error(csms: Csms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(errors.FleetError, match=r"not one part .*could not be started: No such file"):
        await fleet_of(csms, 2, processes=2).run(SOON, **run_quietly)


async def test_a_fleet_whose_processes_all_die_at_once_is_an_error(csms: Csms) -> None:
    def die(charge_point_id: str) -> dict[str, Any]:
        os._exit(3)

    with pytest.raises(errors.FleetError, match=r"not one of 2 .*ended with status 3"):
        await fleet_of(csms, 2, processes=2, attributes=die).run(2, **run_quietly)
    assert not children()


async def test_a_process_that_hangs_is_given_up(csms: Csms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpsim_kit.fleet.processes._SILENCE", 2 * FACTOR)
    monkeypatch.setattr("cpsim_kit.fleet.processes._CLOSING", MS)
    fleet = fleet_of(csms, 4, processes=2)
    running = asyncio.create_task(fleet.run(3.4, **run_quietly))
    await until(lambda: fleet.result is not None and fleet.result.connected == 4, "both to have told")
    children()[0].suspend()
    result = await running
    assert result.lost == ["a worker process has said nothing for 2 s"]
    assert not children()


async def test_a_process_lost_near_the_end_is_said_and_the_others_go_on(csms: Csms) -> None:
    fleet = fleet_of(csms, 4, processes=2)
    running = asyncio.create_task(fleet.run(3.4, **run_quietly))  # once both have told, too little is left
    await until(lambda: fleet.result is not None and fleet.result.connected == 4, "both to have told")
    children()[0].kill()
    result = await running
    assert len(result.lost) == 1
    assert "-9" in result.lost[0]
    assert result.samples[-1][1] == 2
    assert result.connected == 4
    assert "processes lost: 1" in repr(result)
    assert not children()


@pytest.mark.slow
async def test_the_charge_points_of_a_lost_process_start_again_in_another(csms: Csms) -> None:
    fleet = fleet_of(csms, 4, processes=2)
    running = asyncio.create_task(fleet.run(SOON, **run_quietly))
    await until(lambda: fleet.result is not None and fleet.result.connected == 4, "both to have told")
    assert fleet.result is not None
    before = fleet.result.to_frame()
    os.kill(children()[0].pid, signal.SIGKILL)
    result = await running
    assert len(result.lost) == 1
    assert "-9" in result.lost[0]
    assert result.samples[-1][1] == result.connected == result.booted == 4
    frame = result.to_frame()
    assert frame[frame.sent_at <= before.sent_at.max()].shape[0] >= len(before), "what was measured before is kept"
    connects = frame[frame.action == "connect"].charge_point_id.value_counts()
    assert sorted(connects) == [1, 1, 2, 2]
    last = frame[frame.outcome == "answered"].groupby("charge_point_id").sent_at.max()
    assert len(last) == 4
    assert (last.max() - last.min()).total_seconds() < SOON / 2, "all went on to the end"
    assert not children()


@pytest.mark.slow
async def test_a_process_that_dies_again_and_again_is_given_up(csms: Csms, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(cp: ChargePoint) -> None:
        await cp.boot()
        if cp.id == "LOAD-0001":
            os.kill(os.getpid(), signal.SIGKILL)

    result = await fleet_of(csms, 2, processes=2, scenario=scenario).run(20 * SOON, **run_quietly)
    assert result.duration < 10 * SOON, "it ended with the last one that was left"
    assert len(result.lost) == 4, "the first, and three that were begun again"
    assert [request.path for request in csms.requests].count("/LOAD-0001") == 4
    assert sum("start again in another process" in record.message for record in caplog.records) == 3
    assert "LOAD-0002" in set(result.to_frame().charge_point_id)
    assert not children()


MANY_CALLS = 4000  # with 28 bytes each, more than a pipe takes


async def many_calls(cp: ChargePoint) -> None:
    for _ in range(MANY_CALLS):
        await cp.heartbeat()


PARENT = """
import asyncio, sys
from cpsim_kit import Fleet, worker

url, calls, worker._SILENCE = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

async def scenario(cp):
    for _ in range(calls):
        await cp.heartbeat()

result = asyncio.run(Fleet(url, 2, ramp_time=0, scenario=scenario, processes=2).run(float(sys.argv[4]), progress=False))
print(result.summary()["count"].to_dict(), result.calls.failures, result.lost)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
async def test_a_stopped_parent_stalls_no_call_and_gets_every_row_once_it_goes_on(csms: Csms) -> None:
    silence = 4 * FACTOR  # seconds after which it gives a child up
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, csms.url, str(MANY_CALLS), str(silence), str(6 * SOON)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await until(lambda: len(csms.calls) >= 20, "calls")
        parent.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        await until(lambda: len(csms.calls) == 2 * MANY_CALLS, "all calls, though the parent is stopped")
        await until(lambda: time.monotonic() > stopped + 1.25 * silence, "the parent to be stopped for long")
        parent.send_signal(signal.SIGCONT)
        said, _ = await parent.communicate()
    finally:
        if parent.returncode is None:
            parent.kill()
            await parent.wait()
    assert said.decode() == f"{{'connect': 2, 'Heartbeat': {2 * MANY_CALLS}}} 0 []\n"


def start_child(plan: Plan) -> subprocess.Popen[bytes]:
    """A process that carries out a plan at once, and whose parent reads nothing."""
    code = f"from cpsim_kit import worker; worker._LAST_WORDS = {UNIT}; worker.main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, env=environment)
    assert child.stdin is not None
    for message in (packed(plan), pickle.dumps("go")):
        child.stdin.write(struct.pack("!I", len(message)) + message)
    child.stdin.flush()
    return child


async def test_a_child_whose_parent_reads_nothing_ends_its_share_and_keeps_every_row(csms: Csms) -> None:
    with start_child(Plan(csms.url, {"CP1": (0.0, 0.0)}, 6 * SOON, scenario=many_calls)) as child:
        await until(lambda: len(csms.calls) == MANY_CALLS, "all calls")
        await until(lambda: csms.link.ws.close_code == 1000, "the connection to be closed")
        assert child.poll() is None
        assert child.stdout is not None
        said = io.BytesIO(await asyncio.to_thread(child.stdout.read))
        assert child.wait(SOON) == 0
    messages = []
    while head := said.read(4):
        messages.append(pickle.loads(said.read(*struct.unpack("!I", head))))
    first, *deltas, (last, _faults) = messages
    assert (first, last) == ("ready", "done")
    assert sum(len(delta.calls[0]["sent"]) for delta in deltas) == 1 + MANY_CALLS


async def test_a_child_whose_parent_goes_without_reading_ends(csms: Csms) -> None:
    with start_child(Plan(csms.url, {"CP1": (0.0, 0.0)}, 6 * SOON, scenario=many_calls)) as child:
        await until(lambda: len(csms.calls) == MANY_CALLS, "all calls")
        assert child.stdin is not None
        child.stdin.close()
        assert await asyncio.to_thread(child.wait, SOON) == 1


async def test_an_interrupted_run_ends_its_processes(csms: Csms) -> None:
    fleet = fleet_of(csms, 2, processes=2)
    running = asyncio.create_task(fleet.run(SOON, **run_quietly))
    await until(lambda: csms.actions.count("Heartbeat") >= 4, "heartbeats")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not children()


async def test_not_one_that_starts_in_any_process_is_an_error() -> None:
    with pytest.raises(errors.FleetError, match="not one of 2"):
        await Fleet("ws://127.0.0.1:9", 2, ramp_time=0, processes=2).run(SOON, **run_quietly)


# -- On a stack -------------------------------------------------------------------------------------------------------


async def test_things_are_created_before_and_deleted_after(stack: Stack) -> None:
    prefix = new_id("FLEET-")
    result = await Fleet(stack, 3, prefix=prefix, ramp_time=0, scenario=only_boot).run(SOON, **run_quietly)
    assert (result.connected, result.booted, result.calls.failures) == (3, 3, 0)
    assert not (await stack.things.list()).charge_point_id.str.startswith(prefix).any()


async def test_things_are_kept_on_request(stack: Stack) -> None:
    prefix = new_id("FLEET-")
    fleet = Fleet(stack, 2, prefix=prefix, ramp_time=0, heartbeat_interval=UNIT, provision="keep")
    await fleet.run(2 * UNIT, **run_quietly)
    await stack.close()
    async with Stack.aws(stack.name, endpoint_url=stack.endpoint_url) as another:
        things = await another.things.list()
        kept = things.charge_point_id[things.charge_point_id.str.startswith(prefix)].tolist()
        assert len(kept) == 2
        await another.things.delete_many(kept, progress=False)


async def test_things_are_deleted_also_where_creating_them_was_interrupted(stack: Stack) -> None:
    prefix = new_id("FLEET-")

    async def created() -> int:
        return int((await stack.things.list()).charge_point_id.str.startswith(prefix).sum())

    running = asyncio.create_task(Fleet(stack, 500, prefix=prefix, ramp_time=0).run(SOON, **run_quietly))
    async with asyncio.timeout(SOON):
        while not await created():
            await asyncio.sleep(MS)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await created() == 0


async def test_things_that_could_not_be_deleted_are_said_and_left_to_the_stack(
    stack: Stack, boto: Boto, caplog: pytest.LogCaptureFixture
) -> None:
    bound: dict[str, str] = {}

    async def scenario(cp: ChargePoint) -> None:
        if cp.id.endswith("1"):
            bound[cp.id] = await asyncio.to_thread(bind, boto, cp.id)

    fleet = Fleet(stack, 2, prefix=new_id("FLEET-"), ramp=100, scenario=scenario)
    await fleet.run(SOON, **run_quietly)
    assert "1 Things could not be deleted" in caplog.text
    ((name, arn),) = bound.items()
    assert set((await stack.things.list()).charge_point_id) & set(fleet.ids) == {name}
    boto("iot").detach_thing_principal(thingName=name, principal=arn)
    await stack.close()
    with pytest.raises(boto("iot").exceptions.ResourceNotFoundException):
        boto("iot").describe_thing(thingName=name)


async def test_a_stack_that_dies_leaves_the_result_and_no_wait_for_each_thing(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stack = await Stack.local(name=new_id("Dies"))
    fleet = Fleet(stack, 60, ramp_time=0, heartbeat_interval=UNIT)
    running = asyncio.create_task(fleet.run(60 * SOON, **run_quietly))
    await until(lambda: fleet.result and fleet.result.booted == 60, "all to have booted")
    assert stack._process is not None
    os.kill(stack._process.pid, signal.SIGKILL)
    async with asyncio.timeout(2 * SOON):
        result = await running
    assert result.to_frame().query("outcome == 'connection lost'").charge_point_id.nunique() == 60
    assert "60 Things could not be deleted" in caplog.text
    assert "has died" in caplog.text
    await stack.close()


async def test_unregistered_charge_points_are_failures_by_that_name(stack: Stack) -> None:
    fleet = Fleet(stack, 2, prefix=new_id("FLEET-"), ramp_time=0, provision=None)
    result = await fleet.run(SOON, **run_quietly)
    assert set(result.failures().outcome) == {"not registered"}


async def test_the_line_says_how_it_goes(csms: Csms, capsys: pytest.CaptureFixture[str]) -> None:
    await fleet_of(csms, 3).run(2.2)
    last = capsys.readouterr().err.rstrip().split("\r")[-1]
    for words in ("|, 3 connected", "3 booted", "calls/s", "p50", "p99", "0 failures"):
        assert words in last


async def test_the_line_of_a_gateway_that_does_not_answer_has_no_percentiles(
    csms: Csms, capsys: pytest.CaptureFixture[str]
) -> None:
    csms.on["BootNotification"] = silent
    await fleet_of(csms, 3).run(2)
    assert "calls/s, no answers, 0 failures" in capsys.readouterr().err
