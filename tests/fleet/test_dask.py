"""Fleets on a Dask cluster: two workers on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import SOON, cpsim_tasks, until
from csms_stub import Csms
from ocpp.v201 import call
from small_fleets import STARTED, UNIT, back_after_a_loss, running

from cpsim_kit import ChargePoint, Fleet, Network, errors

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


def cpsim(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cpsim_kit.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=6 * SOON, check=False)


async def test_workers_share_the_charge_points(client: Any, csms: Csms, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(cp: ChargePoint) -> None:
        await cp.boot()
        await cp.call(call.StatusNotification("2026-11-23T10:00:00Z", "Available", 1, 1))

    fleet = Fleet(csms.url, 4, ramp_time=0, scenario=scenario, cluster=client)
    result = await fleet.run(3 * SOON)
    assert "2 workers, Dask's dashboard: " in "".join(capsys.readouterr())
    assert (result.connected, result.booted, result.calls.failures) == (4, 4, 0)
    assert result.to_frame().groupby("charge_point_id").size().tolist() == [3] * 4
    assert not result.lost


async def test_workers_report_the_faults_of_their_networks(client: Any, csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        await cp.boot()

    network = Network(duplicate=1, direction="received")
    await Fleet(csms.url, 4, ramp_time=0, scenario=scenario, cluster=client, transport=network).run(3 * SOON)
    assert network.to_frame().groupby("charge_point_id").fault.apply(list).tolist() == [["duplicate"]] * 4


async def test_the_command_line_runs_on_the_workers(client: Any, csms: Csms, tmp_path: Path) -> None:
    where = ["--scheduler", client.scheduler.address, "--url", csms.url, "--csv", str(tmp_path / "calls.csv")]
    load = ["load", "--size", "4", "--interval", "0.2", "--max-failures", "0", "--duration"]
    done = await asyncio.to_thread(cpsim, *load, "2", *where)
    if "4 of 4 connected, 4 booted" not in done.stdout:  # a slow machine takes longer
        done = await asyncio.to_thread(cpsim, *load, "20", *where)
    assert done.returncode == 0, done.stderr
    assert "<FleetResult 4 of 4 connected, 4 booted" in done.stdout
    assert f"2 workers, Dask's dashboard: {client.dashboard_link}" in done.stdout
    assert len(pd.read_csv(tmp_path / "calls.csv").charge_point_id.unique()) == 4


async def test_a_scheduler_that_is_not_there_is_said(client: Any) -> None:
    done = await asyncio.to_thread(cpsim, "load", "--url", "ws://127.0.0.1:9", "--scheduler", "tcp://127.0.0.1:9")
    assert done.returncode == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9; start one: dask scheduler" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_lost_workers_share_starts_again_on_the_other(client: Any, csms: Csms) -> None:
    fleet = Fleet(csms.url, 6, ramp_time=0, heartbeat_interval=UNIT, cluster=client)
    async with running(fleet):
        await until(lambda: fleet.result is not None and fleet.result.connected == 6, "all to be connected", STARTED)
        assert fleet.result is not None
        result = fleet.result
        pids = await asyncio.to_thread(client.run, os.getpid)
        os.kill(next(iter(pids.values())), signal.SIGKILL)
        await back_after_a_loss(result)
        seen = len(csms.calls)
        await until(lambda: csms.actions[seen:].count("Heartbeat") >= 30, "heartbeats of all")
    assert len(result.lost) == 1
    assert result.samples[-1][1] == 6
    last = result.to_frame().groupby("charge_point_id").sent_at.max()
    assert len(last) == 6
    assert (last.max() - last.min()).total_seconds() < SOON / 2, "all went on to the end"


async def test_a_scenarios_fault_on_a_worker_comes_out(client: Any, csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await Fleet(csms.url, 2, ramp_time=0, scenario=scenario, cluster=client).run(SOON, progress=False)


async def test_an_interrupted_run_closes_the_charge_points_of_the_workers(client: Any, csms: Csms) -> None:
    fleet = Fleet(csms.url, 4, ramp_time=0, heartbeat_interval=UNIT, cluster=client)
    running = asyncio.create_task(fleet.run(6 * SOON, progress=False))
    await until(lambda: csms.actions.count("Heartbeat") >= 8, "heartbeats", 3 * SOON)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: all(link.ws.close_code is not None for link in csms.links), "the connections to be closed")


async def test_nothing_that_can_start_on_a_cluster_is_an_error(client: Any) -> None:
    with pytest.raises(errors.FleetError, match="not one of 2"):
        await Fleet("ws://127.0.0.1:9", 2, ramp_time=0, cluster=client).run(SOON, progress=False)


async def test_an_asynchronous_client_does_as_well(client: Any, csms: Csms) -> None:
    from distributed import Client

    async def scenario(cp: ChargePoint) -> None:
        await cp.boot()

    async with Client(client.scheduler.address, asynchronous=True) as other:
        fleet = Fleet(csms.url, 2, ramp_time=0, scenario=scenario, cluster=other)
        result = await fleet.run(3 * SOON, progress=False)
    assert result.connected == result.booted == 2
