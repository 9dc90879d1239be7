"""The gateway dies under a thousand charge points, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from urllib.parse import urlsplit

import pandas as pd
import pytest
from conftest import FACTOR, SOON, until
from relay import Relay
from stack_fixtures import use_key_of

from cpsim_kit import Backoff, Fleet, Stack
from cpsim_kit.aws.cleanup import Cleanup
from cpsim_kit.basics.clock import wall_clock
from cpsim_kit.local.launcher import LocalOptions, LocalProcess

SIZE = 1000
IDS = [f"OUT-{number:04}" for number in range(SIZE)]
PATIENCE = 6 * SOON  # so many need what CPU they get


async def provisioned(name: str, environment: pytest.MonkeyPatch) -> LocalProcess:
    """A local stack that knows the charge points."""
    process = await asyncio.to_thread(LocalProcess, LocalOptions(name=name))
    use_key_of(process, environment)
    async with Stack.aws(name, endpoint_url=process.endpoint_url) as stack:
        made = await stack.things.create_many(IDS, progress=False)
        stack._cleanup = Cleanup()  # they are the process's now
    assert not made.failed
    return process


def port_of(process: LocalProcess) -> int:
    port = urlsplit(process.websocket_url).port
    assert port is not None
    return port


def beats_of(fleet: Fleet) -> pd.DataFrame:
    """Its heartbeats so far; ``number`` counts those of each charge point, ``due_at`` is known of those answered."""
    assert fleet.result is not None
    frame = fleet.result.to_frame()
    beats = frame[frame.action == "Heartbeat"].copy()
    beats["number"] = beats.groupby("charge_point_id").cumcount()
    beats["due_at"] = beats.sent_at - pd.to_timedelta(beats.response_ms - beats.latency_ms, unit="ms")
    return beats


async def all_answered(fleet: Fleet) -> None:
    """Wait until each charge point has had the answer to a heartbeat sent from now on."""
    now = wall_clock(time.perf_counter())
    async with asyncio.timeout(PATIENCE):
        while True:
            beats = beats_of(fleet)
            if beats[(beats.outcome == "answered") & (beats.sent_at >= now)].charge_point_id.nunique() == SIZE:
                return
            await asyncio.sleep(0.5 * FACTOR)


@pytest.mark.slow
async def test_all_come_back_when_the_gateway_was_killed_and_no_call_is_lost(credentials: pytest.MonkeyPatch) -> None:
    first, second = await provisioned("First", credentials), await provisioned("Second", credentials)
    try:
        async with Relay(port_of(first)) as relay:
            policy = Backoff(wait_minimum=0.5 * FACTOR, random_range=1.0 * FACTOR, repeat_times=1)
            url = f"ws://127.0.0.1:{relay.port}"
            fleet = Fleet(
                url, ids=IDS, ramp_time=3 * FACTOR, heartbeat_interval=FACTOR, reconnect=policy, call_timeout=PATIENCE
            )
            running = asyncio.create_task(fleet.run(10 * PATIENCE, progress=False))
            try:
                await until(lambda: fleet.result and fleet.result.booted == SIZE, "all to boot", PATIENCE)
                result = fleet.result
                assert result is not None
                await all_answered(fleet)
                await until(lambda: result.samples[-1][1] == SIZE, "all to be connected", PATIENCE)
                os.kill(first.pid, signal.SIGKILL)
                await until(lambda: result.samples[-1][1] == 0, "all to have lost their connection", PATIENCE)
                await asyncio.sleep(2 * FACTOR)  # heartbeats are due, and nobody listens
                relay.target = port_of(second)
                await until(lambda: result.samples[-1][1] == SIZE, "all to be connected again", PATIENCE)
                await all_answered(fleet)
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
    finally:
        first.stop()
        second.stop()

    assert result.samples[-1][1] == SIZE, "all are connected at the end"
    frame, beats = result.to_frame(), beats_of(fleet)
    assert frame[frame.action == "BootNotification"].charge_point_id.value_counts().eq(1).all()
    failed = beats[~beats.outcome.isin(["answered", "unfinished"])]
    assert set(failed.outcome) <= {"connection lost", "not connected"}
    assert (failed.detail != "").all(), "each failure says why"
    assert failed.charge_point_id.nunique() == SIZE, "each had heartbeats due during the outage"
    ends = beats[beats.outcome == "answered"].groupby("charge_point_id")[["number", "due_at"]].agg(["first", "last"])
    due = (ends.due_at["last"] - ends.due_at["first"]).dt.total_seconds() / FACTOR
    rows = ends.number["last"] - ends.number["first"]
    assert len(rows) == SIZE
    assert (rows - due).abs().max() < 0.01, "a row for each heartbeat that was due from the first answer to the last"
