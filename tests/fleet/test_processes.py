"""Shares in other processes of this machine."""

from __future__ import annotations

import asyncio
import importlib
import io
import os
import pickle
import signal
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trustme
from conftest import FACTOR, MS, SOON, until
from csms_stub import Csms
from small_fleets import STARTED, UNIT, children, fleet_of, only_boot, run_quietly

from cpsim_kit import ChargePoint
from cpsim_kit.fleet.pickles import pack_plan
from cpsim_kit.fleet.plan import Plan
from cpsim_kit.fleet.processes import ProcessShare
from cpsim_kit.fleet.report import Report, ShareLost

MANY_CALLS = 4000  # with 28 bytes each, more than a pipe takes
ALL = 4 * STARTED  # seconds in which so many have been answered, also on a busy machine
PARENT = """
import asyncio, sys
from cpsim_kit.fleet.call_table import CallTable, Incoming
from cpsim_kit.fleet.pickles import pack_plan
from cpsim_kit.fleet.plan import Plan
from cpsim_kit.fleet.processes import ProcessShare
from cpsim_kit.fleet.report import Report, ShareLost
from cpsim_kit.fleet.processes import ProcessShare

url, calls, silence, duration = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])

async def scenario(cp):
    for _ in range(calls):
        await cp.heartbeat()

async def main():
    share = ProcessShare(Plan(url, {"CP1": (0, 0)}, duration, scenario=scenario), silence=silence)
    table = CallTable()
    incoming = Incoming(table)
    await share.start()
    await share.run(lambda report: incoming.add(report.calls))
    await share.close()
    print(len(table), table.failures)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_files_of_the_working_directory_are_no_modules_of_a_fleets_processes(
    csms: Csms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook beside a queue.py of the reader: the kernel has Python's module imported already."""
    for name in ("calendar.py", "queue.py"):
        (tmp_path / name).write_text("raise SystemExit('taken for the module of that name')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    result = await fleet_of(csms, 2, processes=2, scenario=only_boot).run(SOON, **run_quietly)
    assert result.booted == 2


async def test_a_scenarios_fault_in_another_process_comes_out(csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await fleet_of(csms, 2, processes=2, scenario=scenario).run(SOON, **run_quietly)
    assert not children()


async def test_a_function_makes_the_tls_context_in_each_process(tmp_path: Path) -> None:
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    file = str(tmp_path / "ca.pem")
    async with Csms(ssl=server) as csms:
        for processes in (None, 2):
            fleet = fleet_of(
                csms,
                4,
                processes=processes,
                scenario=only_boot,
                ssl=lambda: ssl.create_default_context(cafile=file),
            )
            assert (await fleet.run(SOON, **run_quietly)).booted == 4


async def test_a_scenario_of_a_module_that_another_process_cannot_import_is_said(
    csms: Csms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gone.py"
    file.write_text("async def scenario(cp):\n    await cp.boot()\n")
    monkeypatch.syspath_prepend(tmp_path)
    gone = importlib.import_module("gone")
    file.unlink()
    with pytest.raises(ValueError, match="a worker process cannot read this fleet: No module named 'gone'"):
        await fleet_of(csms, 2, processes=2, scenario=gone.scenario).run(SOON, **run_quietly)
    monkeypatch.delitem(sys.modules, "gone")
    assert not children()


async def test_a_process_that_cannot_be_started_is_lost() -> None:
    share = ProcessShare(Plan("ws://127.0.0.1:9", {"CP1": (0, 0)}, SOON), python="/nowhere/python")
    with pytest.raises(ShareLost, match="could not be started: No such file"):
        await share.start()
    await share.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_process_that_dies_before_its_share_begins_is_lost(loop: str) -> None:
    """As where memory runs out while the others still start."""

    async def start_and_die() -> None:
        share = ProcessShare(Plan("ws://127.0.0.1:9", {"CP1": (0, 0)}, SOON))
        await share.start()
        children()[0].kill()
        assert share._process is not None
        await share._process.wait()
        with pytest.raises(ShareLost):
            await share.run(lambda _report: None)
        await share.close()

    module = pytest.importorskip(loop)
    with asyncio.Runner(loop_factory=module.new_event_loop) as runner:
        runner.run(start_and_die())


@pytest.mark.slow
async def test_a_process_that_hangs_is_lost(csms: Csms) -> None:
    share = ProcessShare(Plan(csms.url, {"CP1": (0, 0)}, 6 * SOON, UNIT), silence=2 * FACTOR, closing=MS)
    reports: list[Report] = []
    await share.start()
    running = asyncio.create_task(share.run(reports.append))
    await until(lambda: reports and reports[-1].connected, "a report", STARTED)
    children()[0].suspend()
    with pytest.raises(ShareLost, match=f"has said nothing for {2 * FACTOR:g} s"):
        await running
    await share.close()
    assert not children()


async def many_calls(cp: ChargePoint) -> None:
    for _ in range(MANY_CALLS):
        await cp.heartbeat()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
async def test_a_stopped_parent_stalls_no_call_and_gets_every_row_once_it_goes_on(csms: Csms) -> None:
    silence = 4 * FACTOR  # seconds after which it gives a child up
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, csms.url, str(MANY_CALLS), str(silence), str(2 * ALL)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await until(lambda: len(csms.calls) >= 20, "calls", STARTED)
        parent.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        await until(lambda: len(csms.calls) == MANY_CALLS, "all calls, though the parent is stopped", ALL)
        await until(lambda: time.monotonic() > stopped + 1.25 * silence, "the parent to be stopped for long")
        parent.send_signal(signal.SIGCONT)
        output, _ = await parent.communicate()
    finally:
        if parent.returncode is None:
            parent.kill()
            await parent.wait()
    assert output.decode() == f"{1 + MANY_CALLS} 0\n", "the connect and the calls, none failed"


def start_child(plan: Plan) -> subprocess.Popen[bytes]:
    """A process that carries out a plan at once, and whose parent reads nothing."""
    code = "from cpsim_kit.fleet.processes import main; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, env=environment)
    assert child.stdin is not None
    for message in (pack_plan(plan), pickle.dumps(None)):
        child.stdin.write(struct.pack("!I", len(message)) + message)
    child.stdin.flush()
    return child


@pytest.mark.slow
async def test_a_child_whose_parent_reads_nothing_ends_its_share_and_keeps_every_row(csms: Csms) -> None:
    with start_child(Plan(csms.url, {"CP1": (0, 0)}, 2 * ALL, scenario=many_calls, cancel_timeout=UNIT)) as child:
        await until(lambda: len(csms.calls) == MANY_CALLS, "all calls", ALL)
        await until(lambda: csms.link.ws.close_code == 1000, "the connection to be closed")
        assert child.poll() is None
        assert child.stdout is not None
        output = io.BytesIO(await asyncio.to_thread(child.stdout.read))
        assert child.wait(SOON) == 0
    messages = []
    while head := output.read(4):
        messages.append(pickle.loads(output.read(*struct.unpack("!I", head))))
    first, *reports, (last, _faults) = messages
    assert (first, last) == ("ready", "done")
    assert sum(len(report.calls[0]["sent"]) for report in reports) == 1 + MANY_CALLS


@pytest.mark.slow
async def test_a_child_whose_parent_goes_without_reading_ends(csms: Csms) -> None:
    with start_child(Plan(csms.url, {"CP1": (0, 0)}, 2 * ALL, scenario=many_calls, cancel_timeout=UNIT)) as child:
        await until(lambda: len(csms.calls) == MANY_CALLS, "all calls", ALL)
        assert child.stdin is not None
        child.stdin.close()
        assert await asyncio.to_thread(child.wait, SOON) == 1
