"""A share's charge points: what they do, and what becomes of each call."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pandas as pd
import pytest
from conftest import FACTOR, MS, SOON, cpsim_tasks, until
from csms_stub import Call, Csms, Link, abort, answer, both, close, delay, error, silent
from ocpp.v16 import call as v16_call
from ocpp.v201 import call
from small_fleets import (
    UNIT,
    children,
    fewest,
    fleet_of,
    only_boot,
    plan_of,
    run_long_enough,
    run_quietly,
    run_until,
    running,
)

from cpsim_kit import Backoff, ChargePoint, FleetResult
from cpsim_kit.fleet.processes import LocalShare, ProcessShare
from cpsim_kit.fleet.report import Report
from cpsim_kit.fleet.share import Share

REJECTED = {"currentTime": "2026-11-23T10:00:00Z", "interval": 0, "status": "Rejected"}


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


@pytest.mark.slow
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


@pytest.mark.slow
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


async def test_a_scenario_that_cannot_be_cancelled_is_left_behind(csms: Csms, caplog: pytest.LogCaptureFixture) -> None:
    let_go = asyncio.Event()

    async def scenario(cp: ChargePoint) -> None:
        while not let_go.is_set():
            with contextlib.suppress(BaseException):
                await asyncio.sleep(MS)

    for duration in (10 * UNIT, SOON):
        caplog.clear()
        let_go.clear()
        share = Share(plan_of(csms, 2, duration=duration, scenario=scenario, cancel_timeout=4 * UNIT))
        await share.run()
        said = caplog.text
        let_go.set()
        await until(lambda: not cpsim_tasks(), "the tasks to end")
        if share.report().connected == 2:  # a slow machine takes longer
            break
    assert "the scenario of LOAD-0001, LOAD-0002 does not end when it is cancelled" in said
    assert share.report().connected == 2


async def test_a_scenario_that_cannot_be_cancelled_ends_with_its_process(csms: Csms) -> None:
    reports: list[Report] = []
    for duration in (10 * UNIT, SOON):
        share = ProcessShare(plan_of(csms, 2, duration=duration, scenario=endless, cancel_timeout=4 * UNIT))
        await share.start()
        await share.run(reports.append)
        await share.close()
        assert not children()
        if reports[-1].connected == 2:  # a slow machine takes longer
            break
    assert reports[-1].connected == 2


async def endless(cp: ChargePoint) -> None:
    while True:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(MS)


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


@pytest.mark.slow
@pytest.mark.parametrize("interval", [0, -1])
async def test_charge_points_do_not_flood_a_csms_that_leaves_the_next_boot_to_them(csms: Csms, interval: int) -> None:
    csms.on["BootNotification"] = answer(REJECTED | {"interval": interval})
    async with running(fleet_of(csms, 2)):
        await until(lambda: len(csms.actions) == 2, "both to boot")
        await asyncio.sleep(2 * FACTOR)
    assert csms.actions == ["BootNotification"] * 2, "the next would come after 5 s"


async def test_charge_points_boot_again_also_where_the_csms_leaves_it_to_them(csms: Csms) -> None:
    csms.once += [answer(REJECTED)] * 4
    share = Share(plan_of(csms, 2, first_boot_wait=MS))
    running = asyncio.create_task(share.run())
    await until(lambda: csms.actions.count("Heartbeat") >= 2, "heartbeats")
    running.cancel()
    await asyncio.wait([running])
    assert share.report().booted == 2


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
    for patience in (10 * UNIT, 40 * UNIT) if behaviour is silent else (SOON,):
        csms.calls.clear()
        fleet = fleet_of(csms, 2, call_timeout=patience)
        result = await run_until(fleet, lambda: csms.actions.count("Heartbeat") >= 6, "six heartbeats", 2 * SOON)
        if result.booted == 2:  # the answers to the boots, too, have to come within it
            break
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
        await until(lambda number=number: len(csms.links) == number, "both to come back")
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


@pytest.mark.slow
async def test_a_gateway_that_hangs_to_the_end_shows_in_every_call_that_was_due(csms: Csms) -> None:
    csms.once.append(answer())  # the boot
    csms.on["Heartbeat"] = silent

    def beats_of(result: FleetResult) -> pd.DataFrame:
        frame = result.to_frame()
        return frame[frame.action == "Heartbeat"]

    result = await run_long_enough(csms, fleet_of(csms, 1), 60 * UNIT, lambda each: len(beats_of(each)) >= 30)
    beats = beats_of(result)
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


async def test_what_is_on_its_way_at_the_end_is_unfinished_and_no_failure(csms: Csms) -> None:
    csms.on["Heartbeat"] = silent
    result = await run_long_enough(
        csms, fleet_of(csms, 2), 20 * UNIT, lambda each: (each.to_frame().action == "Heartbeat").sum() >= 2
    )
    frame = result.to_frame()
    assert set(frame[frame.action == "Heartbeat"].outcome) == {"unfinished"}
    assert result.calls.failures == 0
    assert result.summary().unfinished["Heartbeat"] == (frame.action == "Heartbeat").sum() >= 2


async def test_no_heartbeat_that_is_due_after_the_end_is_a_row(csms: Csms) -> None:
    csms.once.append(answer())  # the boot
    csms.on["Heartbeat"] = silent
    asyncio.get_running_loop().call_later(19 * UNIT, time.sleep, 11 * UNIT)  # so the end is noticed too late
    result = await fleet_of(csms, 1).run(20 * UNIT, **run_quietly)
    assert (result.to_frame().action == "Heartbeat").sum() <= 20


async def test_the_waits_of_a_reconnection_begin_anew_after_a_success(csms: Csms) -> None:
    waits: list[float] = []

    class Recorded(Backoff):
        def waits(self, random: Random) -> Iterator[float]:
            for wait in super().waits(random):
                waits.append(wait)
                yield wait

    csms.on["Heartbeat"] = abort
    fleet = fleet_of(csms, 1, reconnect=Recorded(UNIT, 0, 5))
    await run_until(fleet, lambda: len(waits) >= 3, "three lost connections")
    assert waits[:3] == [UNIT] * 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", [LocalShare, ProcessShare])
async def test_a_share_that_starts_late_ends_in_the_time_that_is_left(
    csms: Csms, kind: type[LocalShare | ProcessShare]
) -> None:
    reports: list[Report] = []
    for left in (20 * UNIT, SOON / 2):
        share = kind(plan_of(csms, 1, duration=100 * SOON))
        await share.start()
        async with asyncio.timeout(2 * SOON):
            await share.run(reports.append, left)
        await share.close()
        if reports[-1].connected:  # a slow machine takes longer
            break
    assert reports[-1].connected == 1
