"""``cpsim stack``: the addresses it prints, and that no process outlives it."""

import asyncio
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import ocpp.v201
import psutil
import pytest
from command_line import COMMAND, ENVIRONMENT, RunningStack, cpsim
from conftest import ENDED
from ocpp.v201 import call
from websockets.asyncio.client import connect

from cpsim_kit.local.launcher import LocalProcess

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture(scope="module")
def running() -> Iterator[RunningStack]:
    with RunningStack("--thing", "CP1", "CP3", "--interval", "1") as stack:
        yield stack


@pytest.mark.slow
@pytest.mark.parametrize(
    ("things", "simulate"),
    [
        ([], "cpsim simulate --cp-id CP1"),
        (["--thing", "A1", "A2"], r"cpsim simulate --url ws://127\.0\.0\.1:\d+ --cp-id A1"),
    ],
)
def test_stack_prints_lines_to_paste(things: list[str], simulate: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, "stack", "--interval", "1", *things], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(7)]
    exported = dict(re.findall(r"(\w+)=(\S+)", "".join(line for line in lines if line.startswith("export "))))
    assert exported.keys() == {
        *("CPSIM_STACK", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    }
    [command] = [line.strip() for line in lines if line.startswith("cpsim ")]
    assert re.fullmatch(simulate, command)
    done = cpsim(*shlex.split(command)[1:], "--count", "1", **exported)
    process.send_signal(signal.SIGINT)
    process.stdout.close()
    assert process.wait(ENDED) == 0
    assert done.returncode == 0, done.stderr


def test_stack_prints_one_json_object_first(running: RunningStack) -> None:
    assert running.addresses.keys() == {
        *("websocket_url", "endpoint_url", "stack_name", "region", "mqtt_url", "access_key_id", "secret_access_key")
    }


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_stack_ends_with_its_child(signal_number: signal.Signals) -> None:
    stack = RunningStack()
    children = stack.children()
    assert len(children) == 1
    stack.process.send_signal(signal_number)
    assert stack.process.wait(ENDED) == 0
    stack.end()
    assert not psutil.wait_procs(children, timeout=ENDED)[1]


@pytest.mark.slow
def test_no_process_is_left_when_the_parent_is_killed() -> None:
    stack = RunningStack("--thing", "CP1")
    children = stack.children()
    stack.process.kill()
    killed = time.monotonic()
    stack.end()
    gone, alive = psutil.wait_procs(children, timeout=ENDED)
    assert gone
    assert not alive, f"alive {time.monotonic() - killed:.1f} s after the kill"


def test_stack_says_when_its_process_dies() -> None:
    process = subprocess.Popen(
        [*COMMAND, "stack", "--json"], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    psutil.Process(process.pid).children()[0].kill()
    output, error = process.communicate(timeout=ENDED)
    assert process.returncode == 1
    assert "has died" in error
    assert "Traceback" not in error + output


async def test_a_client_of_the_ocpp_package_alone_boots_and_beats(running: RunningStack) -> None:
    class Station(ocpp.v201.ChargePoint):  # in the manner of the ocpp package's own example
        async def boot_and_beat(self) -> tuple[Any, Any]:
            station = {"model": "Wallbox XYZ", "vendor_name": "anewone"}
            boot = await self.call(call.BootNotification(charging_station=station, reason="PowerUp"), suppress=False)
            return boot, await self.call(call.Heartbeat(), suppress=False)

    url = f"{running.addresses['websocket_url']}/CP3"
    async with connect(url, subprotocols=["ocpp2.0.1"], proxy=None) as ws:  # type: ignore[list-item]
        station = Station("CP3", ws)
        reading = asyncio.create_task(station.start())
        boot, beat = await station.boot_and_beat()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert boot.status == "Accepted"
    assert beat.current_time


def test_the_shared_process_is_not_what_the_command_line_starts(shared: LocalProcess, running: RunningStack) -> None:
    assert shared.endpoint_url != running.addresses["endpoint_url"]
