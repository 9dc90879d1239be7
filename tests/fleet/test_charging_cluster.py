"""Fleets of stations on a Dask cluster: two workers on this machine."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from conftest import SOON, cpsim_tasks, until
from csms_stub import Csms

from cpsim_kit import Fleet
from cpsim_kit.fleet import poisson

pytestmark = [
    pytest.mark.slow,
    # Dask's own, of its comms and its shutdown
    pytest.mark.filterwarnings("default::ResourceWarning", "default::DeprecationWarning"),
    pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A synchronous client of a cluster of two worker processes."""
    from distributed import Client, LocalCluster

    local = {"host": "127.0.0.1", "dashboard_address": ":0", "silence_logs": 50}
    with LocalCluster(n_workers=2, threads_per_worker=1, **local) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    """Instead of the check of all other tests: Dask's client keeps its sockets."""
    yield
    assert not cpsim_tasks()


@pytest.fixture(autouse=True)
def two_workers(client: Any) -> None:
    """A worker that a test killed has come back."""
    client.wait_for_workers(2, timeout=3 * SOON)


async def test_workers_report_the_sessions_of_their_stations(client: Any, csms: Csms) -> None:
    options: dict[str, Any] = {"ramp_time": 0, "station": {"speed": math.inf}, "arrivals": lambda _: [60, 3600]}
    result = await Fleet(csms.url, 4, cluster=client, **options).run(3 * SOON, progress=False)
    alone = await Fleet(csms.url, 4, **options).run(3 * SOON, progress=False)
    frame = result.sessions()
    assert len(frame) == 8
    assert (frame.answered == frame.messages).all()
    assert (frame.reported_wh == frame.true_wh).all()
    by_station = [
        each.sessions().sort_values(["charge_point_id", "begin"]).true_wh.tolist() for each in (result, alone)
    ]
    assert by_station[0] == by_station[1], "the same seed, the same sessions"


async def test_sessions_of_a_lost_worker_stay_until_its_last_report(client: Any, csms: Csms) -> None:
    # In real time: drivers come at once, and no session ends before the test does.
    fleet = Fleet(csms.url, 4, ramp_time=0, station={"speed": 1}, arrivals=poisson(per_hour=60_000), cluster=client)
    running = asyncio.create_task(fleet.run(9 * SOON, progress=False))
    await until(lambda: fleet.result is not None and len(fleet.result.session_table) == 4, "sessions", 3 * SOON)
    assert fleet.result is not None
    before = set(fleet.result.sessions().transaction_id.dropna())
    pids = await asyncio.to_thread(client.run, os.getpid)
    os.kill(next(iter(pids.values())), signal.SIGKILL)
    await until(lambda: fleet.result is not None and len(fleet.result.session_table) == 6, "new sessions", 3 * SOON)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    after = fleet.result.sessions()
    assert len(fleet.result.lost) == 1
    assert before <= set(after.transaction_id)
    assert after.charge_point_id.value_counts().tolist() == [2, 2, 1, 1]
