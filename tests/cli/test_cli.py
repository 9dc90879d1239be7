"""The command line as a person uses it: real processes, their output and their exit status."""

import asyncio
import functools
import json
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ocpp.v201
import psutil
import pytest
from conftest import ENDED, MS, SOON
from csms_stub import Behaviour, Csms, answer, both, close, delay, error, silent
from ocpp.v201 import call
from relay import Relay
from stack_fixtures import READERS_VARIABLES
from websockets.asyncio.client import connect

from cpsim_kit import FleetResult, Stack, __version__, cli
from cpsim_kit.local.launcher import LocalProcess

COMMAND = [sys.executable, "-m", "cpsim_kit.cli"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.upper().startswith(READERS_VARIABLES)}

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """``cli.main`` of this process sets logging up for the process of a command, which this one is not."""
    root, botocore = logging.getLogger(), logging.getLogger("botocore")
    before = root.handlers[:], root.level, botocore.level
    yield
    root.handlers[:], level, botocore_level = before
    root.setLevel(level)
    botocore.setLevel(botocore_level)


def cpsim(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=6 * SOON,
        check=False,
    )


class RunningStack:
    """``cpsim stack --json`` as a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "stack", "--json", *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.addresses: dict[str, str] = json.loads(self.process.stdout.readline())

    @property
    def environment(self) -> dict[str, str]:
        """What makes another command attach to it."""
        return {
            "CPSIM_STACK": self.addresses["stack_name"],
            "AWS_ENDPOINT_URL": self.addresses["endpoint_url"],
            "AWS_DEFAULT_REGION": self.addresses["region"],
            "AWS_ACCESS_KEY_ID": self.addresses["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.addresses["secret_access_key"],
        }

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(ENDED)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningStack]:
    stack = RunningStack("--thing", "CP1", "CP3", "--interval", "1")
    yield stack
    stack.end()


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(words: str, process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    said = []
    while words not in (line := process.stderr.readline()):  # a line of progress, too, as it is rewritten
        said.append(line)
        assert line, "".join(said)


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


OUTPUTS = ["| true", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>&1 | true", ">/dev/full", "2>/dev/full"]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("command", ["simulate --count 1 --interval 1", "load --size 2 --duration 1", "load --help"])
def test_where_nobody_takes_the_output(command: str, outputs: str, running: RunningStack, tmp_path: Path) -> None:
    measures = command == "load --size 2 --duration 1"
    status, file = tmp_path / "status", tmp_path / "calls.csv"
    words = shlex.join(COMMAND) + f" {command}" + (f" --csv {file}" if measures else "")
    done = subprocess.run(
        ["sh", "-c", f"{{ {words}; echo $? > {status}; }} {outputs}"],
        env=ENVIRONMENT | running.environment,
        capture_output=True,
        text=True,
        timeout=6 * SOON,
        check=False,
    )
    full = outputs == ">/dev/full"
    assert int(status.read_text()) == full, done.stderr
    assert ("cpsim: cannot write to stdout: No space left on device" in done.stderr) == full
    assert not re.search("Traceback|Exception ignored|BrokenPipe", done.stderr), done.stderr
    assert file.exists() == measures


def test_output_that_python_is_to_write_at_once(running: RunningStack) -> None:
    load = ("load", "--size", "2", "--duration", "0.5", "--csv", "/dev/null")
    done = cpsim(*load, **running.environment, PYTHONUNBUFFERED="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<FleetResult 2 of 2")
    assert done.stdout.endswith("rows in /dev/null\n")


@pytest.mark.parametrize("arguments", ["load --help", "simulate --help"])
def test_help_in_a_terminal_that_knows_ascii_only(arguments: str) -> None:
    done = cpsim(*arguments.split(), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert r"ws://\u2026" in done.stdout


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


async def simulate(csms: Csms, *options: str, first_boot: float = 5) -> tuple[int | None, str]:
    """Exit status and stderr of ``cpsim simulate`` that sends one heartbeat, and waits so long before its next boot."""
    code = (
        f"import sys; from cpsim_kit.charge_point import backoff; backoff._FIRST_BOOT = {first_boot}; "
        "from cpsim_kit import cli; sys.exit(cli.main())"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "simulate", "--url", csms.url, "--count", "1", *options),
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


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
@pytest.mark.parametrize("interval", [0, -1, 60, 10**18])
async def test_simulate_notices_the_lost_connection_while_it_waits_to_boot_again(
    csms: Csms, interval: int, status: str
) -> None:
    csms.on["BootNotification"] = both(booted(interval, status), close(1001, "going away"))
    code, said = await simulate(csms, first_boot=1000)
    assert code == 1
    assert f"boot {status}, again in {interval if interval > 0 else 1000} s" in said
    assert "ERROR:root:CP1: received 1001 (going away) going away" in said
    assert csms.actions == ["BootNotification"]


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
async def test_simulate_boots_ever_more_seldom_where_the_csms_leaves_it_to_it(csms: Csms, status: str) -> None:
    csms.once += [booted(0, status)] * 3
    code, said = await simulate(csms, first_boot=0.25)
    assert code == 0, said
    waits = re.findall(rf"boot {status}, again in (\S+) s, its own choice, as the CSMS's interval is 0", said)
    assert waits == ["0.25", "0.5", "1.0"]
    assert csms.actions == ["BootNotification"] * 4 + ["Heartbeat"]


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "nonsense",
        "--bogus",
        "simulate --bogus",
        "simulate --count 0",
        "simulate --count -1",
        "simulate --count many",
        "simulate --interval 0",
        "simulate --interval 1.5",
        "simulate --url http://127.0.0.1",
        "simulate --url nonsense",
        "simulate --cp-id 'CP 1'",
        "simulate --cp-id CP/1",
        "simulate --cp-id ''",
        "simulate --ocpp 2.2",
        "simulate extra",
        "simulate --cou 3",
        "stack --thing 'CP 1'",
        "stack --interval 0",
        "stack --csms none",
        "load --size 0",
        "load --ramp -1",
        "load --duration 0",
        "load --url nonsense",
        "load --processes 0",
        "load --csv nowhere/at/all.csv",
        "load --csv .",
        "load --csv -",
        "load --scheduler foo",
        "load --scheduler ''",
        "load --scheduler http://127.0.0.1:8786",
        "load --scheduler tcp://127.0.0.1",
        "lab --port none",
        "lab --port 0",
    ],
)
def test_bad_arguments_are_errors_with_a_hint(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(shlex.split(arguments))
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "error:" in error
    name = arguments.partition(" ")[0]
    assert error.endswith(f"Try: cpsim {name} --help\n" if name in {"simulate", "stack", "load", "lab"} else "--help\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("load --size 1000000000 --duration 1", "choose a longer duration"),
        (f"load --prefix {'L' * 125}", "at most 128"),
    ],
)
def test_arguments_that_do_not_go_together(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.endswith(f"\nTry: cpsim {arguments.partition(' ')[0]} --help\n")


@pytest.mark.slow
def test_load_starts_no_stack_for_a_scheduler_that_is_not_there() -> None:
    pytest.importorskip("distributed")
    done = cpsim("load", "--scheduler", "tcp://127.0.0.1:9")
    assert done.returncode == 1
    assert re.fullmatch("ERROR:root:no Dask scheduler answers at tcp://127.0.0.1:9; start one: .*\n", done.stderr)
    done = cpsim("load", "--scheduler", "tls://127.0.0.1:9")
    assert done.returncode == 1
    assert re.fullmatch("ERROR:root:Dask cannot connect to tls://127.0.0.1:9: TLS expects .*\n", done.stderr)


@pytest.mark.parametrize("option", ["simulate --cp-id", "load --prefix", "stack --thing"])
def test_an_id_that_is_too_long(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([*option.split(), "L" * 129])
    assert "at most 128 letters" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["--help", "simulate --help", "stack --help", "load --help", "lab --help"])
def test_help_has_an_example(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments.split())
    assert ended.value.code == 0
    assert re.search(r"Example:\n  cpsim ", capsys.readouterr().out)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"cpsim {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("simulate --url ws://127.0.0.1:9", "cannot connect to ws://127.0.0.1:9/CP1"),
        ("simulate --url ws://nowhere.invalid", "nowhere.invalid"),
    ],
)
def test_an_address_where_nobody_listens(arguments: str, words: str) -> None:
    done = cpsim(*arguments.split())
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stack_that_is_not_there_or_without_credentials() -> None:
    done = cpsim("simulate", CPSIM_STACK="Nope", AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true")
    assert done.returncode == 1
    assert "AWS_PROFILE" in done.stderr
    assert "Traceback" not in done.stderr


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


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_stack_ends_with_its_child(signal_number: signal.Signals) -> None:
    stack = RunningStack()
    children = stack.children()
    assert len(children) == 1
    stack.process.send_signal(signal_number)
    assert stack.process.wait(ENDED) == 0
    stack.end()
    assert not psutil.wait_procs(children, timeout=ENDED)[1]


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


LOAD = ("load", "--size", "3", "--ramp", "100", "--interval", "0.2", "--duration", "4")


def test_load_prints_a_table_and_saves_one_row_per_call(running: RunningStack, tmp_path: Path) -> None:
    done = cpsim(*LOAD, "--processes", "2", "--csv", str(tmp_path / "calls.csv"), **running.environment)
    assert done.returncode == 0, done.stderr
    calls = re.search(r"<FleetResult 3 of 3 connected, 3 booted, (\d+) calls, 0 failed, \d\.\d s>", done.stdout)
    assert calls is not None
    assert f"{calls[1]} rows in {tmp_path / 'calls.csv'}" in done.stdout
    assert len((tmp_path / "calls.csv").read_text().splitlines()) == int(calls[1]) + 1


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


def test_load_looks_for_its_file_and_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("old")
    for name in ("old.csv", "new.csv"):
        options = cli._parser().parse_args(["load", "--csv", str(tmp_path / name)])
        assert options.csv == tmp_path / name
    assert [each.name for each in tmp_path.iterdir()] == ["old.csv"]
    assert (tmp_path / "old.csv").read_text() == "old"


def test_load_on_an_address_where_nobody_listens() -> None:
    done = cpsim(*LOAD, "--url", "ws://127.0.0.1:9")
    assert done.returncode == 1
    assert "not one of 3 charge points could start" in done.stderr
    assert "Traceback" not in done.stderr


def test_load_that_cannot_work_out_says_which_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["load", "--size", "1000", "--duration", "5"]) == 2
    said = capsys.readouterr().err
    assert "--size 1000 at --ramp 100 takes 10 s" in said
    assert "choose a longer duration, or a steeper ramp" in said
    assert "local" not in said, "no stack is started for it"


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
    while "connected" not in process.stderr.readline():  # the line of progress is rewritten again and again
        pass
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=ENDED)
    assert process.returncode == 0, error
    assert "s, interrupted>" in output
    assert "Traceback" not in error


def test_load_says_that_nothing_was_measured() -> None:
    process = start("load", "--size", "2000", "--duration", "60")
    read_until("INFO:root:", process)  # the stack is there, and no charge point yet
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=SOON)
    assert process.returncode == 0, error
    assert "cpsim load: interrupted before anything was measured\n" in error
    assert output == ""


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
@pytest.mark.parametrize("options", ["", "--reconnect", "--processes 2"])
def test_load_tells_what_was_measured_until_its_stack_died(options: str, tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    load = f"load --size 3 --interval 0.2 --duration 6 --csv {file} {options}"
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
    assert re.search(r"cpsim load: no charge point was connected any more after \d\.\d of 6 s\n", error), error
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
        load = f"load --size 2 --interval 0.2 --duration 2 --prefix KEPT- --csv {file}"
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
    load = "load --size 2 --interval 0.2 --duration 4 --processes 2"
    process = start(*load.split(), **running.environment)
    read_until("2 booted", process)
    for worker in psutil.Process(process.pid).children():
        worker.kill()
    output, error = process.communicate(timeout=6 * SOON)
    assert process.returncode == 1, error
    assert "no charge point was connected any more after" in error
    assert "processes lost: 2" in output


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
            output, error = await asyncio.to_thread(process.communicate, timeout=SOON)
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
    _, error = process.communicate(timeout=SOON)
    assert process.returncode in {0, 130}, error  # signals of one moment are one
    assert not re.search("Traceback|Exception ignored|was destroyed|RuntimeError", error), error
    assert not psutil.wait_procs(children, timeout=SOON)[1]


def test_a_bound_that_was_not_measured_is_not_broken() -> None:
    result = FleetResult(2, 0.0)
    result.calls.add("L-0001", "connect", 0.0, 5000.0, 5000.0)
    options = cli._parser().parse_args(["load", "--max-p99", "1"])
    result.interrupted = True
    assert not list(cli._broken_bounds(result, options))
    result.calls.add("L-0001", "Heartbeat", 0.0, 2.0, 2.0)
    [said] = cli._broken_bounds(result, options)
    assert "is 2.0 ms, above --max-p99 1" in said


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


async def things(running: RunningStack) -> list[str]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in running.environment.items():
            environment.setenv(name, value)
        async with Stack.open() as stack:
            return (await stack.things.list()).charge_point_id.tolist()


HUNG = {"*": silent, "BootNotification": answer()}
FAILING = {"Heartbeat": error("InternalError", "", {})}


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
    load = f"load --url {csms.url} --size 2 --interval 0.1 --duration 2 {options}"
    done = await asyncio.to_thread(cpsim, *load.split())
    assert done.returncode == status, done.stderr
    assert "FleetResult 2 of 2 connected" in done.stdout
    assert re.search(f"^cpsim load: .*{said}" if said else "", done.stderr, re.MULTILINE), done.stderr
    assert ("cpsim load: " in done.stderr) == bool(said)


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


def test_lab_takes_the_checkouts_notebooks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(sys.modules["cpsim_kit.cli.main"], "_become", lambda command: started.append(command) or 0)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lab", "--no-browser", "--port", "8899"]) == 0
    notebooks = Path(cli.__file__).parents[2] / "notebooks"
    assert f"--ServerApp.root_dir={notebooks}" in started[0]
    assert started[0][-1] == str(notebooks / "00_start_here.ipynb")
    assert {"--no-browser", "--port=8899"} <= set(started[0])
    assert f"The notebooks are in {notebooks}\n" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_lab_takes_no_file_of_the_working_directory_for_a_module(tmp_path: Path) -> None:
    (tmp_path / "calendar.py").write_text("raise SystemExit('taken for the module of that name')\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:  # so that it ends when it has been started
        port = listener.getsockname()[1]
        lab = (
            "import sys; from cpsim_kit import cli; module = sys.modules['cpsim_kit.cli.main']; "
            "module._check_free = lambda port: None; sys.exit(cli.main())"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", lab, "lab", "--no-browser", "--port", str(port)],
            check=False, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=6 * ENDED,
        )  # fmt: skip
    assert "taken for the module" not in done.stdout + done.stderr
    assert str(port) in done.stderr, "JupyterLab itself says that the port is taken"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A package with two notebooks and a JMeter plan; another one has left its own folder of that name beside it."""
    package = tmp_path / "site-packages" / "cpsim_kit"
    (package / "notebooks" / "jmeter").mkdir(parents=True)
    (package.parent / "notebooks").mkdir()
    for name in ("00_start_here.ipynb", "01_boot_and_heartbeat.ipynb", "jmeter/charge_points.jmx"):
        (package / "notebooks" / name).write_text(f"new {name}")
    return package


def test_lab_of_an_installed_package_copies_what_is_not_there(
    installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "00_start_here.ipynb").write_text("changed by its reader")
    assert cli.notebooks_folder(mine, package=installed) == mine
    assert (mine / "00_start_here.ipynb").read_text() == "changed by its reader"
    assert (mine / "01_boot_and_heartbeat.ipynb").read_text() == "new 01_boot_and_heartbeat.ipynb"
    assert (mine / "jmeter" / "charge_points.jmx").read_text() == "new jmeter/charge_points.jmx"
    (mine / "jmeter" / "charge_points.jmx").write_text("saved by JMeter")
    cli.notebooks_folder(mine, package=installed)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Kept with your changes: 00_start_here.ipynb;")
    assert second.startswith("Kept with your changes: 00_start_here.ipynb, jmeter/charge_points.jmx;")
    assert (mine / "jmeter" / "charge_points.jmx").read_text() == "saved by JMeter"


def test_lab_says_nothing_of_what_is_as_it_came(
    installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert cli.notebooks_folder(tmp_path / "deep" / "mine", package=installed) == tmp_path / "deep" / "mine"
    assert capsys.readouterr().out == ""


def test_lab_says_that_its_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = cpsim("lab", "--no-browser", "--port", str(port))
    assert done.returncode == 1
    assert f"cannot listen on port {port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_lab_says_when_the_folder_cannot_be(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = functools.partial(cli.notebooks_folder, package=installed)
    monkeypatch.setattr(sys.modules["cpsim_kit.cli.main"], "notebooks_folder", copy)
    (tmp_path / "file").write_text("")
    assert cli.main(["lab", "--folder", str(tmp_path / "file")]) == 2
    assert "--folder" in capsys.readouterr().err


def test_the_shared_process_is_not_what_the_command_line_starts(shared: LocalProcess, running: RunningStack) -> None:
    assert shared.endpoint_url != running.addresses["endpoint_url"]
