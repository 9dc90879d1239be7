"""Fleets: runs that end, are interrupted, lose processes, and create Things on a stack."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import FACTOR, MS, SOON, cpsim_tasks, until
from csms_stub import Csms
from ocpp.v201 import call
from small_fleets import (
    STARTED,
    UNIT,
    back_after_a_loss,
    children,
    fleet_of,
    only_boot,
    run_long_enough,
    run_quietly,
    running,
)
from stack_fixtures import Boto, bind, new_id

from cpsim_kit import ChargePoint, Fleet, Stack, errors


async def test_a_fleet_runs_once_at_a_time(csms: Csms) -> None:
    may_end = asyncio.Event()

    async def scenario(_cp: ChargePoint) -> None:
        await may_end.wait()

    fleet = fleet_of(csms, 1, scenario=scenario)
    running = asyncio.create_task(fleet.run(6 * SOON, **run_quietly))
    await until(lambda: csms.requests, "a connection")
    with pytest.raises(RuntimeError, match="is running already"):
        await fleet.run(6 * SOON, **run_quietly)
    may_end.set()
    assert (await running).connected == 1


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


async def test_a_scenarios_own_fault_comes_out_and_ends_all(csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        await cp.boot()
        raise LookupError("mine")

    fleet = fleet_of(csms, 3, scenario=scenario)
    with pytest.raises(LookupError, match="mine"):
        await fleet.run(SOON, **run_quietly)
    assert fleet.result is not None
    assert fleet.result.interrupted


async def test_nothing_that_can_start_is_an_error_with_all_reasons() -> None:
    fleet = Fleet("ws://127.0.0.1:9", 3, ramp_time=0)
    with pytest.raises(errors.FleetError, match="not one of 3") as caught:
        await fleet.run(SOON, **run_quietly)
    assert [type(error) for error in caught.value.errors] == [errors.ConnectError] * 3
    assert fleet.result is not None
    assert len(fleet.result.calls) == 3


async def test_an_interrupted_run_closes_all_and_keeps_the_result(csms: Csms) -> None:
    fleet = fleet_of(csms, 5)
    running = asyncio.create_task(fleet.run(6 * SOON, **run_quietly))
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


async def test_a_fleet_runs_again(csms: Csms) -> None:
    fleet = fleet_of(csms, 2, scenario=only_boot)
    first = await fleet.run(SOON, **run_quietly)
    second = await fleet.run(SOON, **run_quietly)
    assert fleet.result is second is not first
    assert first.connected == second.connected == 2


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


class EndsTheFirstProcess:
    """The ``attributes`` of a fleet; the first process that unpickles them exits."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __call__(self, charge_point_id: str) -> dict[str, Any]:
        return {}

    def __reduce__(self) -> tuple[Any, ...]:
        return exit_or_read, (self._marker,)


def exit_or_read(marker: Path) -> EndsTheFirstProcess:
    try:
        marker.mkdir()
    except FileExistsError:
        return EndsTheFirstProcess(marker)
    os._exit(3)


class EndsEachProcess(EndsTheFirstProcess):
    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


@pytest.mark.slow
async def test_a_process_that_does_not_start_leaves_the_others_to_go_on(csms: Csms, tmp_path: Path) -> None:
    fleet = fleet_of(csms, 2, processes=2, attributes=EndsTheFirstProcess(tmp_path / "marker"))
    result = await run_long_enough(csms, fleet, 2 * FACTOR, lambda each: each.connected)
    assert result.lost == ["a worker process ended with status 3"]
    assert result.connected == 1
    assert not children()


async def test_processes_of_which_none_starts_are_an_error(csms: Csms, tmp_path: Path) -> None:
    fleet = fleet_of(csms, 2, processes=2, attributes=EndsEachProcess(tmp_path))
    with pytest.raises(errors.FleetError, match=r"not one part .*ended with status 3"):
        await fleet.run(SOON, **run_quietly)
    assert not children()


async def test_a_fleet_whose_processes_all_die_at_once_is_an_error(csms: Csms) -> None:
    def die(charge_point_id: str) -> dict[str, Any]:
        os._exit(3)

    with pytest.raises(errors.FleetError, match=r"not one of 2 .*ended with status 3"):
        await fleet_of(csms, 2, processes=2, attributes=die).run(2, **run_quietly)
    assert not children()


@pytest.mark.slow
async def test_a_process_lost_near_the_end_is_said_and_the_others_go_on(
    csms: Csms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cpsim_kit.fleet.fleet._WORTH_IT", 60 * SOON)  # too little is left at any time
    fleet = fleet_of(csms, 4, processes=2)
    async with running(fleet):
        await until(lambda: fleet.result is not None and fleet.result.connected == 4, "both to have reported", STARTED)
        assert fleet.result is not None
        result = fleet.result
        children()[0].kill()
        await until(lambda: result.lost and result.samples and result.samples[-1][1] == 2, "the loss", STARTED)
        seen = len(csms.calls)
        await until(lambda: csms.actions[seen:].count("Heartbeat") >= 4, "heartbeats of the others")
    assert len(result.lost) == 1
    assert "-9" in result.lost[0]
    assert result.samples[-1][1] == 2
    assert result.connected == 4
    assert "processes lost: 1" in repr(result)
    assert not children()


@pytest.mark.slow
async def test_the_charge_points_of_a_lost_process_start_again_in_another(csms: Csms) -> None:
    fleet = fleet_of(csms, 4, processes=2)
    async with running(fleet):
        await until(lambda: fleet.result is not None and fleet.result.connected == 4, "both to have reported", STARTED)
        assert fleet.result is not None
        result = fleet.result
        before = result.to_frame()
        os.kill(children()[0].pid, signal.SIGKILL)
        await back_after_a_loss(result)
        seen = len(csms.calls)
        await until(lambda: csms.actions[seen:].count("Heartbeat") >= 20, "heartbeats of all")
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


async def test_an_interrupted_run_ends_its_processes(csms: Csms) -> None:
    fleet = fleet_of(csms, 2, processes=2)
    running = asyncio.create_task(fleet.run(6 * SOON, **run_quietly))
    await until(lambda: csms.actions.count("Heartbeat") >= 4, "heartbeats", STARTED)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not children()


async def test_not_one_that_starts_in_any_process_is_an_error() -> None:
    with pytest.raises(errors.FleetError, match="not one of 2"):
        await Fleet("ws://127.0.0.1:9", 2, ramp_time=0, processes=2).run(SOON, **run_quietly)


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


@pytest.mark.slow
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
