"""The gateway dies under a thousand charge points, and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from urllib.parse import urlsplit

import pytest
from conftest import FACTOR, until
from relay import Relay

from cpsim_kit import Backoff, Fleet, Stack
from cpsim_kit.local.launcher import LocalOptions, LocalProcess

SIZE = 1000
IDS = [f"OUT-{number:04}" for number in range(SIZE)]


async def provisioned(name: str) -> LocalProcess:
    """A local stack that knows the charge points."""
    process = await asyncio.to_thread(LocalProcess, LocalOptions(name=name))
    async with Stack.aws(name, endpoint_url=process.endpoint_url) as stack:
        made = await stack.things.create_many(IDS, progress=False)
        stack._created.clear()  # they are the process's now
    assert not made.failed
    return process


def port_of(process: LocalProcess) -> int:
    port = urlsplit(process.websocket_url).port
    assert port is not None
    return port


@pytest.mark.slow
async def test_all_come_back_when_the_gateway_was_killed_and_no_call_is_lost(credentials: pytest.MonkeyPatch) -> None:
    first, second = await provisioned("First"), await provisioned("Second")
    try:
        async with Relay(port_of(first)) as relay:
            policy = Backoff(wait_minimum=0.5 * FACTOR, random_range=1.0 * FACTOR, repeat_times=1)
            url = f"ws://127.0.0.1:{relay.port}"
            fleet = Fleet(
                url, ids=IDS, ramp_time=3 * FACTOR, heartbeat_interval=FACTOR, reconnect=policy, call_timeout=10
            )
            running = asyncio.create_task(fleet.run(30 * FACTOR, progress=False))
            await until(lambda: fleet.result and fleet.result.samples and fleet.result.samples[-1][1] == SIZE, "all")
            os.kill(first.pid, signal.SIGKILL)
            await until(lambda: fleet.result and fleet.result.samples[-1][1] == 0, "all to have lost their connection")
            await asyncio.sleep(2 * FACTOR)  # heartbeats are due, and nobody listens
            relay.target = port_of(second)
            result = await running
    finally:
        first.stop()
        second.stop()

    assert result.samples[-1][1] == SIZE, "all are connected at the end"
    assert min(connected for at, connected, _ in result.samples if at > 4 * FACTOR) < SIZE, "there was an outage"
    frame = result.to_frame()
    beats = frame[frame.action == "Heartbeat"]
    assert frame[frame.action == "BootNotification"].charge_point_id.value_counts().eq(1).all()
    failed = beats[~beats.outcome.isin(["answered", "unfinished"])]
    assert set(failed.outcome) <= {"connection lost", "not connected"}
    assert (failed.detail != "").all(), "each failure says why"
    assert failed.charge_point_id.nunique() == SIZE, "each had heartbeats due during the outage"
    per_charge_point = beats.groupby("charge_point_id").size()
    assert per_charge_point.min() >= 20, "a row for each heartbeat that was due"
    assert per_charge_point.max() - per_charge_point.min() <= 5, "which only the ramp makes different"
