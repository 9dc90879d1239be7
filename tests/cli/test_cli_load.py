"""``cpsim load``: its table, its bounds, and what it prints when something has failed."""

import asyncio
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from command_line import RunningStack, cpsim, read_until, start
from conftest import MS, SOON
from csms_stub import Behaviour, Csms, answer, delay, error, silent
from relay import Relay

from cpsim_kit import FleetResult
from cpsim_kit.cli import arguments
from cpsim_kit.cli.load import broken_bounds

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture(scope="module")
def running() -> Iterator[RunningStack]:
    with RunningStack("--thing", "CP1", "CP3", "--interval", "1") as stack:
        yield stack


LOAD = ("load", "--size", "3", "--ramp", "100", "--interval", "0.2", "--duration", "4")
HUNG = {"*": silent, "BootNotification": answer()}
FAILING = {"Heartbeat": error("InternalError", "", {})}


def test_load_prints_a_table_and_saves_one_row_per_call(running: RunningStack, tmp_path: Path) -> None:
    done = cpsim(*LOAD, "--processes", "2", "--csv", str(tmp_path / "calls.csv"), **running.environment)
    assert done.returncode == 0, done.stderr
    calls = re.search(r"<FleetResult 3 of 3 connected, 3 booted, (\d+) calls, 0 failed, \d\.\d s>", done.stdout)
    assert calls is not None
    assert f"{calls[1]} rows in {tmp_path / 'calls.csv'}" in done.stdout
    assert len((tmp_path / "calls.csv").read_text().splitlines()) == int(calls[1]) + 1


@pytest.mark.slow
def test_load_of_stations_that_charge_tells_their_sessions(running: RunningStack) -> None:
    done = cpsim(*LOAD, "--charge", "--speed", "1200", "--max-failures", "0", **running.environment)
    assert done.returncode == 0, done.stderr
    assert re.search(r"<FleetResult 3 of 3 connected, 3 booted, \d+ calls, 0 failed, \d+ sessions, \d", done.stdout)
    assert "TransactionEvent" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--speed", "60"), "give --charge too"), (("--charge", "--burst"), "--burst is not for --charge")],
)
def test_load_refuses_options_that_do_not_go_together(options: tuple[str, ...], words: str) -> None:
    done = cpsim(*LOAD, *options)
    assert done.returncode == 2
    assert words in done.stderr


def test_load_fails_when_not_one_charge_point_is_accepted(running: RunningStack) -> None:
    done = cpsim(*LOAD, "--url", running.addresses["websocket_url"], "--prefix", "STRANGER-")
    assert done.returncode == 1
    assert "not one of 3 charge points was accepted" in done.stderr
    assert "not registered" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
def test_load_tells_its_table_also_where_the_file_cannot_be_written(running: RunningStack) -> None:
    done = cpsim(*LOAD, "--url", running.addresses["websocket_url"], "--prefix", "STRANGER-", "--csv", "/dev/full")
    assert done.returncode == 1
    assert "FleetResult 3 of 3" in done.stdout
    assert "cannot write /dev/full" in done.stderr
    assert "Traceback" not in done.stderr


def test_load_on_an_address_where_nobody_listens() -> None:
    done = cpsim(*LOAD, "--url", "ws://127.0.0.1:9")
    assert done.returncode == 1
    assert "not one of 3 charge points could start" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_load_starts_no_stack_for_a_scheduler_that_is_not_there() -> None:
    pytest.importorskip("distributed")
    done = cpsim("load", "--scheduler", "tcp://127.0.0.1:9")
    assert done.returncode == 1
    assert re.fullmatch("ERROR:root:no Dask scheduler answers at tcp://127.0.0.1:9; start one: .*\n", done.stderr)
    done = cpsim("load", "--scheduler", "tls://127.0.0.1:9")
    assert done.returncode == 1
    assert re.fullmatch("ERROR:root:Dask cannot connect to tls://127.0.0.1:9: TLS expects .*\n", done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "duration"), [("", 60), ("--reconnect", 6), ("--processes 2", 60)])
def test_load_tells_what_was_measured_until_its_stack_died(options: str, duration: int, tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    load = f"load --size 3 --interval 0.2 --duration {duration} --csv {file} {options}"
    process = start(*load.split())
    read_until("3 booted", process)
    [stack] = [
        each
        for each in psutil.Process(process.pid).children()
        if "cpsim_kit.fleet.processes" not in str(each.cmdline())
    ]
    stack.kill()
    output, error = process.communicate(timeout=6 * SOON)
    assert process.returncode == 1, error
    after = rf"cpsim load: no charge point was connected any more after \d+\.\d of {duration} s\n"
    assert re.search(after, error), error
    assert "has died" in error
    assert "Traceback" not in error
    assert "FleetResult 3 of 3 connected, 3 booted" in output
    assert file.exists()


@pytest.mark.slow
async def test_load_tells_what_was_measured_also_where_things_cannot_be_deleted(
    running: RunningStack, tmp_path: Path
) -> None:
    file = tmp_path / "calls.csv"
    port = int(running.environment["AWS_ENDPOINT_URL"].rpartition(":")[2])
    async with Relay(port) as relay:
        environment = running.environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{relay.port}"}
        load = f"load --size 2 --interval 0.2 --duration 4 --prefix KEPT- --csv {file}"
        process = start(*load.split(), **environment)
        await asyncio.to_thread(read_until, "2 booted", process)
        relay.target = 9
        output, error = await asyncio.to_thread(process.communicate, timeout=6 * SOON)
    assert process.returncode == 1, error
    assert "FleetResult 2 of 2 connected, 2 booted" in output
    assert file.exists()
    assert re.search("ERROR:root:.*could not delete.*KEPT-000[12]", error), error
    assert "Traceback" not in error


@pytest.mark.slow
def test_load_fails_when_all_its_processes_are_lost(running: RunningStack) -> None:
    load = "load --size 2 --interval 0.2 --duration 120 --processes 2"
    process = start(*load.split(), **running.environment)
    read_until("2 booted", process)
    while process.poll() is None:
        for worker in psutil.Process(process.pid).children():
            worker.kill()
        time.sleep(10 * MS)
    output, error = process.communicate()
    assert process.returncode == 1, error
    assert "no charge point was connected any more after" in error
    assert "processes lost: 8" in output, "two, and for each of them three that were begun in its place"


def test_a_bound_that_was_not_measured_is_not_broken() -> None:
    result = FleetResult(2, 0.0)
    result.calls.add("L-0001", "connect", 0.0, 5000.0, 5000.0)
    options = arguments.parse(["load", "--max-p99", "1"])
    result.interrupted = True
    assert not list(broken_bounds(result, options))
    result.calls.add("L-0001", "Heartbeat", 0.0, 2.0, 2.0)
    [said] = broken_bounds(result, options)
    assert "is 2.0 ms, above --max-p99 1" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behaviour", "options", "status", "said"),
    [
        ({}, "--max-p99 60000 --max-failures 0", 0, ""),
        ({"Heartbeat": delay(50 * MS)}, "--max-p99 1", 1, r"\(response_ms\) is \d+\.\d ms, above --max-p99 1\n"),
        (HUNG, "--max-p99 600", 1, r"is \d{3,4}\.\d ms, above --max-p99 600\n"),
        (HUNG, "--max-failures 0", 0, ""),
        (HUNG, "--max-failures 0 --timeout 0.5", 1, r"\d+ failures, above --max-failures 0\n"),
        (FAILING, "--max-failures 0", 1, r"\d+ failures, above --max-failures 0\n"),
        (FAILING, "--max-failures 9999", 0, ""),
        ({"*": silent}, "", 1, "not one of 2 charge points was accepted\n"),
        ({"Heartbeat": delay(0.3)}, "--max-p99 600", 1, r"\(response_ms\) is \d{3,4}\.\d ms, above"),
    ],
    ids=["kept", "slow", "hangs, p99", "hangs", "hangs, timeout", "fails", "fails less", "hangs at once", "overloaded"],
)
async def test_load_fails_when_a_bound_is_broken(
    csms: Csms, behaviour: dict[str, Behaviour], options: str, status: int, said: str
) -> None:
    csms.on.update(behaviour)
    for duration in (2, 10):
        load = f"load --url {csms.url} --size 2 --interval 0.1 --duration {duration} {options}"
        done = await asyncio.to_thread(cpsim, *load.split())
        if done.returncode == status and "2 of 2 connected" in done.stdout:
            break  # a slow machine has not come so far in two seconds
    assert done.returncode == status, done.stderr
    assert "FleetResult 2 of 2 connected" in done.stdout
    assert re.search(f"^cpsim load: .*{said}" if said else "", done.stderr, re.MULTILINE), done.stderr
    assert ("cpsim load: " in done.stderr) == bool(said)
