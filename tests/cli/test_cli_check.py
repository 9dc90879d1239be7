"""``cpsim check``: its table, its exit status and its JUnit XML."""

import asyncio
import os
import signal
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from command_line import cpsim, start
from conftest import SOON, until
from csms_stub import Csms, answer, error, silent

from cpsim_kit.check_up import CHECKS

pytestmark = pytest.mark.usefixtures("environment")

GOOD = "check --version 1.6 --check boot offline --check heartbeat_time".split()  # noqa: SIM905
START = {"transactionId": 7, "idTagInfo": {"status": "Accepted"}}


@pytest.fixture
def right(csms: Csms) -> Csms:
    """It is right as far as the checks of GOOD go, but for its clock."""
    csms.on["Authorize"] = csms.on["StopTransaction"] = answer({"idTagInfo": {"status": "Accepted"}})
    csms.on["StartTransaction"] = answer(START)
    return csms


async def test_check_prints_a_table_and_fails(right: Csms, tmp_path: Path) -> None:
    done = await asyncio.to_thread(cpsim, *GOOD, "--url", right.url, "--junit", str(tmp_path / "check.xml"))
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["boot", "passed"]
    assert lines[1].split()[:2] == ["heartbeat_time", "failed"]
    assert "behind this computer's clock" in done.stdout
    assert f"<CheckUp OCPP 1.6 {right.url} 2 passed, 1 failed>" in lines
    assert "heartbeat_time (4.6, 3.14, 3.15)" in lines
    [suite] = ET.parse(tmp_path / "check.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert all(len(line) <= 120 for line in lines)
    assert "Traceback" not in done.stderr


async def test_check_succeeds_where_nothing_failed(right: Csms) -> None:
    arguments = ["check", "--version", "1.6", "--check", "boot", "offline", "--cp-id", "CP7"]
    done = await asyncio.to_thread(cpsim, *arguments, "--url", right.url)
    assert done.returncode == 0, done.stdout
    assert {link.ws.request.path for link in right.links} == {"/CP7"}


async def test_an_id_that_is_not_known_says_that_another_one_is_enough() -> None:
    async with Csms(refuse=(1008, "Charge Point CP9 not registered as an IoT Thing")) as csms:
        done = await asyncio.to_thread(cpsim, "check", "--cp-id", "CP9", "--url", csms.url)
    assert done.returncode == 1
    assert "in the shell --cp-id" in done.stderr


async def test_what_is_not_supported_is_no_failure(right: Csms) -> None:
    right.on["Authorize"] = error("NotSupported", "", {})
    done = await asyncio.to_thread(cpsim, *["check", "--version", "1.6", "--check", "offline", "--url"], right.url)
    assert done.returncode == 0, done.stdout
    assert "offline  not supported  Authorize: CALLERROR NotSupported" in done.stdout


@pytest.mark.slow
def test_check_without_an_address_starts_the_local_stack() -> None:
    done = cpsim("check", "--check", "boot", "refused_token", "cable_first")
    assert done.returncode == 0, done.stderr
    assert "the bill says 1000 Wh" in done.stdout
    assert "3 passed>" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
async def test_a_report_that_cannot_be_written(right: Csms) -> None:
    done = await asyncio.to_thread(
        cpsim, *["check", "--version", "1.6", "--check", "boot", "--junit", "/dev/full", "--url"], right.url
    )
    assert done.returncode == 1
    assert "cannot write /dev/full" in done.stderr
    assert "1 passed" in done.stdout


def test_list_tells_each_check_and_its_source() -> None:
    done = cpsim("check", "--list")
    assert done.returncode == 0
    for check in CHECKS["2.0.1"]:
        assert f"{check.id} ({check.requirement})\n" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("--check lunch", 2, "choose from boot, heartbeat_time"),
        ("--url ws://127.0.0.1:9 --token " + "x" * 40, 2, "1 to 36 characters"),
        ("--url ws://127.0.0.1:9", 1, "cannot connect to ws://127.0.0.1:9/CPSIM-CHECK-01"),
    ],
)
def test_what_cannot_be_done(arguments: str, status: int, said: str) -> None:
    done = cpsim("check", *arguments.split())
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr


async def test_interrupted_it_prints_no_table(csms: Csms) -> None:
    csms.on["*"] = silent
    process = start("check", "--url", csms.url, "--timeout", "60")
    await until(lambda: csms.calls, "the boot")
    process.send_signal(signal.SIGINT)
    output, error = await asyncio.to_thread(process.communicate, timeout=6 * SOON)
    assert process.returncode == 0, error
    assert output == ""
    assert "stopping: closing the connection" in error
    assert "Traceback" not in error
