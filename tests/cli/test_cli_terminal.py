"""Signals that end a command, and output streams that are closed, full, or know ASCII only."""

import asyncio
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from command_line import COMMAND, ENVIRONMENT, RunningStack, cpsim, read_until, start
from conftest import ENDED, MS, SOON
from relay import Relay

from cpsim_kit import Stack

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.slow]


@pytest.fixture(scope="module")
def running() -> Iterator[RunningStack]:
    with RunningStack("--thing", "CP1", "CP3", "--interval", "1") as stack:
        yield stack


OUTPUTS = ["| true", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>&1 | true", ">/dev/full", "2>/dev/full"]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("command", ["simulate --count 1 --interval 1", "load --size 2", "load --help"])
def test_where_nobody_takes_the_output(command: str, outputs: str, running: RunningStack, tmp_path: Path) -> None:
    measures = command == "load --size 2"
    status, file = tmp_path / "status", tmp_path / "calls.csv"
    full = outputs == ">/dev/full"
    for duration in (1, 10):
        words = shlex.join(COMMAND) + f" {command}" + (f" --duration {duration} --csv {file}" if measures else "")
        done = subprocess.run(
            ["sh", "-c", f"{{ {words}; echo $? > {status}; }} {outputs}"],
            env=ENVIRONMENT | running.environment,
            capture_output=True,
            text=True,
            timeout=6 * SOON,
            check=False,
        )
        if not measures or int(status.read_text()) == full:
            break  # on a slow machine, none is accepted within a second
    assert int(status.read_text()) == full, done.stderr
    assert ("cpsim: cannot write to stdout: No space left on device" in done.stderr) == full
    assert not re.search("Traceback|Exception ignored|BrokenPipe", done.stderr), done.stderr
    assert file.exists() == measures


def test_output_that_python_is_to_write_at_once(running: RunningStack) -> None:
    load = ("load", "--size", "2", "--csv", "/dev/null", "--duration")
    done = cpsim(*load, "0.5", **running.environment, PYTHONUNBUFFERED="1")
    if "2 booted" not in done.stdout:  # a slow machine takes longer
        done = cpsim(*load, "10", **running.environment, PYTHONUNBUFFERED="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<FleetResult 2 of 2")
    assert done.stdout.endswith("rows in /dev/null\n")


@pytest.mark.parametrize("arguments", ["load --help", "simulate --help"])
def test_help_in_a_terminal_that_knows_ascii_only(arguments: str) -> None:
    done = cpsim(*arguments.split(), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert r"ws://\u2026" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_simulate_ends_well_on_a_signal(running: RunningStack, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*COMMAND, "simulate", "--url", running.addresses["websocket_url"]],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "Heartbeat" not in process.stderr.readline():
        pass
    process.send_signal(number)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(ENDED) == 0
    assert "cpsim: stopping: closing the connection; Ctrl-C again ends at once\n" in rest
    assert "Traceback" not in rest


def test_load_ends_well_on_ctrl_c_and_tells_what_was_measured(running: RunningStack) -> None:
    arguments = ["load", "--ramp", "100", "--url", running.addresses["websocket_url"], "--size", "1", "--prefix", "L"]
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--interval", "0.1", "--reconnect"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    read_until("connected", process)  # as many as are: this id is not registered
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=ENDED)
    assert process.returncode == 0, error
    assert "s, interrupted>" in output
    assert "Traceback" not in error


def test_load_says_that_nothing_was_measured() -> None:
    process = start("load", "--size", "2000", "--duration", "60")
    read_until("INFO:root:", process)  # the stack is there, and no charge point yet
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=2 * ENDED)  # some Things have to be deleted
    assert process.returncode == 0, error
    assert "cpsim load: interrupted before anything was measured\n" in error
    assert output == ""


async def things(running: RunningStack) -> list[str]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in running.environment.items():
            environment.setenv(name, value)
        async with Stack.open() as stack:
            return (await stack.things.list()).charge_point_id.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["", "trap '' INT; "], ids=["in front", "in the background"])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_load_ends_well_on_sigterm_too_as_in_a_container(
    running: RunningStack, processes: str, shell: str, credentials: None
) -> None:
    load = ["load", "--size", "4", "--duration", "600", "--processes", processes, "--prefix", "TERM-"]
    process = subprocess.Popen(
        ["sh", "-c", f'{shell}exec "$@"', "sh", *COMMAND, *load],
        env=ENVIRONMENT | running.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "4 booted" not in process.stderr.readline():
        pass
    process.terminate()
    output, error = process.communicate(timeout=3 * SOON)
    assert process.returncode == 0, error
    assert re.search(r"<FleetResult 4 of 4 connected, 4 booted, .* s, interrupted>", output)
    assert "Traceback" not in error
    assert not [each for each in asyncio.run(things(running)) if each.startswith("TERM-")]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_a_second_signal_leaves_the_things_and_says_so(running: RunningStack, number: signal.Signals) -> None:
    """Deleting them hangs, as the network does."""
    port = int(running.environment["AWS_ENDPOINT_URL"].rpartition(":")[2])
    async with Relay(port) as relay:
        environment = running.environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{relay.port}"}
        process = start(*["load", "--size", "2", "--prefix", "LEFT-"], **environment)
        await asyncio.to_thread(read_until, "2 booted", process)
        async with await asyncio.start_server(lambda *_: asyncio.sleep(3600), "127.0.0.1", 0) as hangs:
            relay.target = hangs.sockets[0].getsockname()[1]
            process.send_signal(number)
            await asyncio.to_thread(read_until, "Ctrl-C again leaves them", process)
            for _ in range(20):
                process.send_signal(number)
                await asyncio.sleep(10 * MS)
            output, error = await asyncio.to_thread(process.communicate, timeout=ENDED)
    assert process.returncode == 130, error
    assert output == ""
    [line] = [each for each in error.splitlines() if "may be there still" in each]
    assert "Things whose names begin with LEFT-" in line
    assert "await stack.things.delete_many(" in line
    assert not re.search("Traceback|Exception ignored|was destroyed|RuntimeError", error), error


@pytest.mark.slow
def test_many_signals_at_once_end_quietly() -> None:
    process = start(*["load", "--size", "50", "--processes", "2"])
    read_until("50 booted", process)
    children = psutil.Process(process.pid).children(recursive=True)
    for _ in range(30):
        process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=ENDED)
    assert process.returncode in {0, 130}, error  # signals of one moment are one
    assert not re.search("Traceback|Exception ignored|was destroyed|RuntimeError", error), error
    assert not psutil.wait_procs(children, timeout=ENDED)[1]


def test_nohup_is_left_alone() -> None:
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *COMMAND, "stack", "--json"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(300 * MS)
    process.terminate()
    process.communicate()
    assert process.returncode == 0
