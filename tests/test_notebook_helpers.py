"""What a notebook's cells say: ``checkpoint``, ``expect_error``, and ``run`` in scripts and in a live kernel."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from conftest import SOON, until
from jupyter_client.asynchronous import AsyncKernelClient
from kernel import Kernel, Ran, environment

from cpsim_kit import checkpoint, errors, expect_error, run
from cpsim_kit.errors import CheckpointFailed

CLOSED = errors.Closed(1008, "Charge Point CP9 not registered as an IoT Thing", "gateway")

# -- checkpoint -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("holds", [True, 1, "Accepted", [0], np.True_])
def test_checkpoint_says_what_holds(holds: object, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint("CP1 is accepted", holds)
    assert capsys.readouterr().out == "✓ CP1 is accepted\n"


@pytest.mark.parametrize("holds", [False, 0, "", [], None, np.False_])
def test_checkpoint_fails_when_it_does_not_hold(holds: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckpointFailed, match="CP1 is accepted"):
        checkpoint("CP1 is accepted", holds)
    assert capsys.readouterr().out == ""


def test_failed_checkpoint_is_no_fault_of_the_kit() -> None:
    assert issubclass(CheckpointFailed, AssertionError)
    assert not issubclass(CheckpointFailed, errors.CpsimError)


def test_checkpoint_wants_the_await_that_was_forgotten() -> None:
    async def truth() -> bool:
        return True

    with pytest.raises(TypeError, match="await"):
        checkpoint("CP1 is accepted", truth())  # and warns of no coroutine that was never awaited


async def test_checkpoint_takes_no_future_for_a_truth() -> None:
    with pytest.raises(TypeError, match="await"):
        checkpoint("CP1 is accepted", asyncio.get_running_loop().create_future())


# -- expect_error -----------------------------------------------------------------------------------------------------


def test_expected_error_can_be_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.NotRegistered("CP9", closed=CLOSED)
    with expect_error(errors.NotRegistered) as refused:
        raise error
    assert refused.error is error
    assert refused.charge_point_id == "CP9"
    assert refused.closed.code == 1008
    assert "NotRegistered" in repr(refused)
    out = capsys.readouterr().out
    assert " ".join(out.split()) == f"✓ NotRegistered, as expected: {error}"
    assert out.endswith("\n")


def test_expected_error_is_printed_in_lines_that_fit(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"ws://127.0.0.1:9/{'long-' * 30}"
    source = "<source>, line 1: expected ':'\n    def handler(event)\n                      ^"
    with expect_error(ValueError):
        raise ValueError(f"{'word ' * 40}{address} {source}")
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"✓ ValueError, as expected: {'word ' * 11}word"
    assert all(len(line) <= 90 for line in lines if address not in line)
    assert f"  {address}" in lines, "an address is not broken"
    assert lines[-2:] == source.splitlines()[-2:], "nor are the lines of a message joined"


def test_expected_error_prints_no_message_id_and_keeps_it(capsys: pytest.CaptureFixture[str]) -> None:
    message_id = str(uuid.uuid4())
    with expect_error(errors.CallTimeout) as late:
        raise errors.CallTimeout("CP1", "Heartbeat", message_id, 0.05)
    assert late.message_id == message_id
    assert message_id in str(late.error)
    assert "no answer to Heartbeat within 0.05 s (message id …)." in capsys.readouterr().out


def test_expected_error_may_be_of_a_narrower_class() -> None:
    with expect_error(ValueError, errors.ConnectionLost) as lost:
        raise errors.NotRegistered("CP9", closed=CLOSED)
    assert isinstance(lost.error, errors.NotRegistered)


async def test_expected_error_may_come_out_of_an_await() -> None:
    with expect_error(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.sleep(1)


def test_expected_error_has_to_come() -> None:
    with (
        pytest.raises(CheckpointFailed, match="ValueError or KeyError was expected"),
        expect_error(ValueError, KeyError) as missing,
    ):
        pass
    assert missing.error is None


@pytest.mark.parametrize("other", [KeyError("x"), KeyboardInterrupt(), asyncio.CancelledError()])
def test_other_error_goes_through(other: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(other)) as raised, expect_error(errors.ConnectionLost):
        raise other
    assert raised.value is other
    assert capsys.readouterr().out == ""


def test_no_attributes_before_there_is_an_error() -> None:
    with expect_error(errors.NotRegistered) as refused:
        assert not hasattr(refused, "closed")
        with pytest.raises(AttributeError, match="no error yet"):
            refused.closed  # noqa: B018 - reading it raises
        raise errors.NotRegistered("CP9", closed=CLOSED)


def test_unknown_attribute_is_the_errors_own_fault() -> None:
    with expect_error(ValueError) as wrong:
        raise ValueError
    with pytest.raises(AttributeError, match="'ValueError' object"):
        wrong.closed  # noqa: B018 - reading it raises


# -- run, in a script -------------------------------------------------------------------------------------------------


def script(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import asyncio\nfrom cpsim_kit import *\n" + source]
    return subprocess.run(
        command, env=environment(folder), cwd=folder, capture_output=True, text=True, timeout=6 * SOON, check=False
    )


def test_run_keeps_its_loop_from_call_to_call(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
async def echo(reader, writer):
    writer.write(await reader.readline())

server = run(asyncio.start_server(echo, "127.0.0.1", 0))
reader, writer = run(asyncio.open_connection(*server.sockets[0].getsockname()))
writer.write(b"what one call opened, another can use\\n")
print(run(reader.readline()).decode())
task = run(asyncio.sleep(0, asyncio.get_event_loop_policy().get_event_loop().create_task(asyncio.sleep(0, "done"))))
print(run(asyncio.wait_for(task, 5)))
""",
    )
    assert done.stderr == ""
    assert done.stdout.split("\n\n") == ["what one call opened, another can use", "done\n"]


def test_run_takes_whatever_can_be_awaited(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
class Thing:
    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return "CP1"

print(run(Thing()))
""",
    )
    assert (done.stdout, done.stderr) == ("CP1\n", "")


def test_runs_exceptions_come_out_as_they_are(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
error = errors.CallTimeout("CP1", "Heartbeat", "id", 1)

async def fail(what):
    raise what

for what in (error, KeyError("x"), SystemExit(3)):
    try:
        run(fail(what))
    except BaseException as caught:
        print(caught is what)
print(run(asyncio.sleep(0, "the next call works")))
""",
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["True", "True", "True", "the next call works"]


def test_script_that_closes_nothing_ends_without_complaint(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
async def for_ever():
    try:
        await asyncio.Event().wait()
    finally:
        print("cancelled")

async def start():
    return asyncio.create_task(for_ever(), name="cpsim[CP1].reader")

task = run(start())
run(asyncio.sleep(0))
""",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "cancelled\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send to a process alone")
def test_interrupt_ends_run_and_the_next_call_works(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
import os, signal, threading

async def wait():
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("cancelled")
        raise

try:
    run(wait())
except KeyboardInterrupt:
    print("interrupted")
print(run(asyncio.sleep(0, "the next call works")))
""",
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["cancelled", "interrupted", "the next call works"]


@pytest.mark.slow
def test_run_drives_a_charge_point_from_a_script(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
stack = run(Stack.open())
run(stack.things.create("CP1"))
cp = run(stack.charge_point("CP1"))
print(run(cp.boot()).status, run(cp.heartbeat()).latency_ms > 0)
run(cp.close())
with expect_error(errors.ConnectionLost) as lost:
    run(cp.heartbeat())
print(lost.closed.by)
run(stack.close())
print(stack)
""",
    )
    assert done.stderr == ""
    accepted, expected, *_more, by, closed = done.stdout.splitlines()
    assert (accepted, by) == ("Accepted True", "charge point")
    assert expected.startswith("✓ ConnectionLost")
    assert closed.endswith("closed>")


# -- run, in a live kernel --------------------------------------------------------------------------------------------


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Kernel]:
    async with Kernel.started(tmp_path) as kernel:
        await kernel.must("import asyncio\nfrom cpsim_kit import run")
        yield kernel


async def test_run_in_a_cell_nests_in_the_running_loop(kernel: Kernel) -> None:
    await kernel.must("queue = asyncio.Queue()\nloop = asyncio.get_running_loop()")
    ran = await kernel.must(
        """
async def look():
    await queue.put(1)
    return asyncio.get_running_loop() is loop

def plain():
    return run(look()), run(queue.get())

plain()
"""
    )
    assert ran.value == "(True, 1)"
    assert (await kernel.must("await asyncio.sleep(0, 'await still works')")).value == "'await still works'"


async def test_run_in_a_cell_lets_background_tasks_go_on(kernel: Kernel) -> None:
    ran = await kernel.must(
        """
ticks = 0

async def tick():
    global ticks
    while True:
        ticks += 1
        await asyncio.sleep(0)

task = asyncio.create_task(tick())

async def several():
    before = ticks
    while ticks - before < 3:
        await asyncio.sleep(0.001)
    return True

def plain():
    return run(asyncio.wait_for(several(), 60))

went_on = plain()
task.cancel()
went_on
"""
    )
    assert ran.value == "True"


async def test_run_nests_in_itself(kernel: Kernel) -> None:
    ran = await kernel.must(
        """
def plain(depth):
    async def deeper():
        await asyncio.sleep(0.001)
        return depth + (plain(depth - 1) if depth else 0)
    return run(deeper())

plain(4)
"""
    )
    assert ran.value == "10"


async def test_exceptions_come_out_of_a_cells_run_as_they_are(kernel: Kernel) -> None:
    await kernel.must("async def fail():\n    raise KeyError('x')")
    assert (await kernel.run("run(fail())")).error == "KeyError: 'x'"
    assert (await kernel.must("run(asyncio.sleep(0, 'works'))")).value == "'works'"


async def test_completions_that_arrive_while_run_runs_are_answered(kernel: Kernel, tmp_path: Path) -> None:
    source = """
from pathlib import Path

def plain():
    print("begun")
    while not Path("enough").exists():
        run(asyncio.sleep(0.005))
    return "ended"

plain()
"""
    ran = Ran()
    running = asyncio.create_task(kernel.run(source, ran))
    await until(lambda: "begun" in ran.stdout, "the cell to begin")
    other = AsyncKernelClient(context=kernel.manager.context)  # another front end: a client reads its own answers only
    other.load_connection_info(kernel.manager.get_connection_info())
    other.start_channels()
    try:
        asked = set()
        while len(asked) < 20:
            asked.add(other.complete("asyncio.sle", 11))
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        assert not running.done(), "they arrive while the cell runs"
        (tmp_path / "enough").touch()
        answers = {}
        while asked - answers.keys():
            message = await other.get_shell_msg(timeout=3 * SOON)
            answers[message["parent_header"]["msg_id"]] = message["content"]
    finally:
        other.stop_channels()
    await running
    assert (ran.value, ran.error, ran.stderr) == ("'ended'", "", "")
    assert all("sleep" in content["matches"] for content in answers.values())
    assert (await kernel.must("await asyncio.sleep(0, 'works')")).value == "'works'"
    assert (await kernel.must("run(asyncio.sleep(0, 'works'))")).value == "'works'"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send to a process alone")
async def test_stop_button_ends_run_and_the_next_cell_works(kernel: Kernel) -> None:
    await kernel.must("def plain():\n    print('begun')\n    run(asyncio.sleep(600))")
    ran = Ran()
    running = asyncio.create_task(kernel.run("plain()", ran))
    await until(lambda: "begun" in ran.stdout, "the cell to begin")
    os.kill(kernel.manager.provisioner.pid, signal.SIGINT)
    async with asyncio.timeout(SOON):
        await running
    assert ran.error.startswith("KeyboardInterrupt")
    assert (await kernel.must("await asyncio.sleep(0, 'works')")).value == "'works'"
    assert (await kernel.must("run(asyncio.sleep(0, 'works'))")).value == "'works'"


def test_run_is_exported() -> None:
    assert run.__module__ == "cpsim_kit.notebook"
