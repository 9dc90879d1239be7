"""``cpsim simulate`` as a process, against a running stack and against the stub."""

import asyncio
import itertools
import json
import re
import subprocess
from collections.abc import Iterator

import pytest
from command_line import COMMAND, ENVIRONMENT, RunningStack, cpsim
from conftest import ENDED, MS, SOON
from csms_stub import Behaviour, Csms, answer, both, close

from cpsim_kit import ChargePoint
from cpsim_kit.cli.simulate import boot_and_beat
from cpsim_kit.errors import ConnectionLost

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture(scope="module")
def running() -> Iterator[RunningStack]:
    with RunningStack("--thing", "CP1", "CP3", "--interval", "1") as stack:
        yield stack


def test_simulate_prints_the_samples_lines_and_the_shadow() -> None:
    done = cpsim("simulate", "--cp-id", "CP1", "--count", "3", "--interval", "1", "--cp-model", "ABC 123 XYZ")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    boot = re.fullmatch(r'INFO:ocpp:CP1: send \[2,"([0-9a-f-]{36})","BootNotification",(\{.*\})\]', lines[1])
    assert boot is not None
    assert json.loads(boot[2]) == {
        "chargingStation": {
            "model": "ABC 123 XYZ",
            "vendorName": "CHARGE_POINT_VENDOR",
            "serialNumber": "CP1234567890A01",
            "firmwareVersion": "1.2.3.4",
            "modem": {"iccid": "891004234814455936F", "imsi": "310410123456789"},
        },
        "reason": "PowerUp",
    }
    assert re.fullmatch(rf'INFO:ocpp:CP1: receive message \[3,"{boot[1]}",\{{.*"status":"Accepted"\}}\]', lines[2])
    assert lines[3] == "INFO:root:CP1: connected to central system"
    assert lines[4] == "INFO:root:CP1: heartbeat interval set to 1"
    assert len(re.findall(r'^INFO:ocpp:CP1: send \[2,"[0-9a-f-]{36}","Heartbeat",\{\}\]$', done.stderr, re.M)) == 3
    assert len(re.findall(r'^INFO:ocpp:CP1: receive message \[3,"[0-9a-f-]{36}",', done.stderr, re.M)) == 4
    assert json.loads(done.stdout) == json.loads(boot[2])


def test_simulate_of_an_unregistered_id_prints_the_1008_line_and_fails(running: RunningStack) -> None:
    done = cpsim("simulate", "--url", running.addresses["websocket_url"], "--cp-id", "CP2", "--count", "1")
    assert done.returncode == 1
    reason = "1008 (policy violation) Charge Point CP2 not registered as an IoT Thing"
    assert f"ERROR:root:CP2: received {reason}; then sent {reason}" in done.stderr
    assert 'stack.things.create("CP2")' in done.stderr
    assert "cpsim simulate without --url, which creates it; or cpsim stack --thing CP2" in done.stderr
    assert done.stdout == ""


def test_simulate_against_a_running_stack(running: RunningStack) -> None:
    done = cpsim("simulate", "--url", running.addresses["websocket_url"], "--cp-id", "CP1", "--count", "2")
    assert done.returncode == 0, done.stderr
    assert "INFO:root:CP1: heartbeat interval set to 1" in done.stderr
    assert done.stdout == ""  # without AWS there is no shadow to read


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_simulate_speaks(version: str, running: RunningStack) -> None:
    done = cpsim("simulate", "--url", running.addresses["websocket_url"], "--ocpp", version, "--count", "1")
    assert done.returncode == 0, done.stderr


def test_simulate_uses_the_stack_that_cpsim_stack_names(running: RunningStack) -> None:
    done = cpsim(
        *("simulate", "--cp-id", "CP-NEW", "--count", "1"),
        **running.environment,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reason"] == "PowerUp"


@pytest.mark.slow
def test_simulate_says_when_the_connection_is_lost() -> None:
    stack = RunningStack("--thing", "CP1", "--interval", "1")
    process = subprocess.Popen(
        [*COMMAND, "simulate", "--url", stack.addresses["websocket_url"]],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "Heartbeat" not in process.stderr.readline():
        pass
    stack.end()
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(ENDED) == 1
    assert "ERROR:root:CP1: " in rest
    assert "Traceback" not in rest


async def simulate(csms: Csms, *options: str) -> tuple[int | None, str]:
    """Exit status and stderr of ``cpsim simulate`` that sends one heartbeat."""
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "simulate", "--url", csms.url, "--count", "1", *options),
        env=ENVIRONMENT,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(6 * SOON):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, said.decode()


def booted(interval: int, status: str = "Accepted") -> Behaviour:
    return answer({"currentTime": "2026-11-23T10:00:00Z", "interval": interval, "status": status})


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
@pytest.mark.parametrize("interval", [0, -1])
async def test_simulate_chooses_the_interval_where_the_csms_instructs_none(
    csms: Csms, interval: int, version: str
) -> None:
    csms.on["BootNotification"] = booted(interval)
    status, said = await simulate(csms, "--ocpp", version)
    assert status == 0, said
    assert csms.actions == ["BootNotification", "Heartbeat"]
    assert "INFO:root:CP1: heartbeat interval set to 60\n" in said
    assert f"own choice, as the CSMS's is {interval}; choose another one with --interval" in said


async def test_simulate_takes_the_interval_that_was_chosen_where_the_csms_instructs_none(csms: Csms) -> None:
    csms.on["BootNotification"] = booted(0)
    status, said = await simulate(csms, "--interval", "1", "--count", "2")
    assert status == 0, said
    assert csms.actions.count("Heartbeat") == 2
    assert "INFO:root:CP1: heartbeat interval set to 1\n" in said


async def test_simulate_says_that_the_csms_instructs_another_interval_than_was_chosen(csms: Csms) -> None:
    csms.on["BootNotification"] = booted(1)
    status, said = await simulate(csms, "--interval", "1000", "--count", "2")
    assert status == 0, said
    assert "CP1: --interval is not used: the CSMS instructs 1 s" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "modem"),
    [
        ((), {"iccid": "891004234814455936F", "imsi": "310410123456789"}),
        (("--cp-iccid", "1", "--cp-imsi", "2"), {"iccid": "1", "imsi": "2"}),
        (("--cp-iccid", ""), {"imsi": "310410123456789"}),
        (("--cp-iccid", "", "--cp-imsi", ""), {}),
    ],
    ids=["the sample's", "others", "no ICCID", "none"],
)
@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_simulate_reports_a_modem(
    csms: Csms, options: tuple[str, ...], modem: dict[str, str], version: str
) -> None:
    status, said = await simulate(csms, "--ocpp", version, *options)
    assert status == 0, said
    payload = csms.calls[0].payload
    if version == "1.6":
        assert {name: value for name, value in payload.items() if name in {"iccid", "imsi"}} == modem
    else:
        assert payload["chargingStation"].get("modem", {}) == modem


async def test_simulate_says_which_field_of_the_modem_is_too_long(csms: Csms) -> None:
    status, said = await simulate(csms, "--cp-iccid", "8" * 21)
    assert status == 1
    assert "chargingStation.modem.iccid" in said
    assert "Traceback" not in said


async def test_simulate_keeps_an_interval_of_ages(csms: Csms) -> None:
    csms.on["BootNotification"] = booted(10**18)
    csms.on["Heartbeat"] = both(answer(), close(1001, "going away"))
    status, said = await simulate(csms, "--count", "2")
    assert status == 1
    assert f"heartbeat interval set to {10**18}" in said
    assert csms.actions == ["BootNotification", "Heartbeat"]
    assert "ERROR:root:CP1: received 1001 (going away) going away" in said


@pytest.mark.slow
@pytest.mark.parametrize("status", ["Pending", "Rejected"])
@pytest.mark.parametrize("interval", [60, 10**18])
async def test_simulate_notices_the_lost_connection_while_it_waits_to_boot_again(
    csms: Csms, interval: int, status: str
) -> None:
    csms.on["BootNotification"] = both(booted(interval, status), close(1001, "going away"))
    code, said = await simulate(csms)
    assert code == 1
    assert f"boot {status}, again in {interval} s" in said
    assert "ERROR:root:CP1: received 1001 (going away) going away" in said
    assert csms.actions == ["BootNotification"]


@pytest.mark.parametrize("interval", [0, -1])
async def test_the_lost_connection_is_noticed_also_where_the_charge_point_chooses_the_wait(
    csms: Csms, interval: int
) -> None:
    csms.on["BootNotification"] = both(booted(interval, "Pending"), close(1001, "going away"))
    async with asyncio.timeout(SOON), ChargePoint("CP1", csms.url) as cp:
        with pytest.raises(ConnectionLost, match="going away"):
            await boot_and_beat(cp, 1, None, own_waits=itertools.repeat(100 * SOON))
    assert csms.actions == ["BootNotification"]


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
async def test_the_charge_point_chooses_the_waits_between_boots_where_the_csms_does_not(
    csms: Csms, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    csms.once += [booted(0, status)] * 3
    async with ChargePoint("CP1", csms.url) as cp:
        await boot_and_beat(cp, 1, None, own_waits=iter([1 * MS, 2 * MS, 4 * MS]))
    waits = re.findall(rf"boot {status}, again in (\S+) s, its own choice, as the CSMS's interval is 0", caplog.text)
    assert [float(wait) for wait in waits] == [1 * MS, 2 * MS, 4 * MS]
    assert csms.actions == ["BootNotification"] * 4 + ["Heartbeat"]
