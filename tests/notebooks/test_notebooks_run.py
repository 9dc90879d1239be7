"""The tutorial notebooks in a real kernel: again and again, to the kernel's end, and under the stop button."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
from conftest import ENDED, FACTOR, SOON, until
from kernel import NOTEBOOKS, Kernel, Ran, code_cells, environment, is_gone, prose, run_all, solutions


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS[::-1], ids=lambda path: path.stem)  # the longest begin first
async def test_each_cell_runs_twice_the_notebook_again_and_its_solutions_solve(path: Path, kernel: Kernel) -> None:
    """All in one kernel, which keeps what the runs before left in it."""
    *cells, teardown = code_cells(path)
    printed = ""
    for cell in cells:
        ran = await kernel.must(cell.source, f"{path.stem}, {cell.id}")
        again = await kernel.must(cell.source, f"{path.stem}, {cell.id}, twice")
        assert again.stdout == ran.stdout
        printed += ran.stdout
    assert printed.count("✓") >= 2
    assert "not solved yet" in printed
    assert await run_all(kernel, path, but="teardown") == printed, "from the top, without a teardown before"
    for number, solution in enumerate(solutions(path), start=1):
        for _ in range(2):
            ran = await kernel.must(solution, f"{path.stem}, solution of task {number}")
            assert ran.stdout.splitlines()[-1] == "solved"
    for _ in range(2):
        assert "closed" in (await kernel.must(teardown.source)).value
    assert not kernel.local_stacks(), "the teardown stops the local stack"
    setup, *_ = cells
    await kernel.must(setup.source, f"{path.stem}, setup, after the teardown")
    await kernel.must(teardown.source, f"{path.stem}, teardown, again")
    assert not kernel.local_stacks()


# -- A kernel's end, and the stop button ------------------------------------------------------------------------------

SETUP = "from cpsim_kit import Stack\nstack = await Stack.open()\nstack"
BOOT = 'await stack.things.create("CP1")\ncp = await stack.charge_point("CP1")\n(await cp.boot()).status'


@pytest.mark.slow
@pytest.mark.parametrize("end", ["shutdown", "restart", "kill"])
async def test_no_local_stack_survives_its_kernel(kernel: Kernel, end: str) -> None:
    await kernel.must(SETUP)
    (stack,) = kernel.local_stacks()
    if end == "shutdown":
        await kernel.manager.shutdown_kernel()
    elif end == "restart":
        await kernel.manager.restart_kernel()
        await kernel.client.wait_for_ready(timeout=60 * FACTOR)
    else:
        os.kill(kernel.manager.provisioner.pid, signal.SIGKILL)
    await until(lambda: is_gone(stack), "the local stack to end", ENDED)


async def stopped(kernel: Kernel, source: str, when: str) -> Ran:
    """What a cell did that is interrupted as soon as it has printed this."""
    ran = Ran()
    running = asyncio.create_task(kernel.run(source, ran))
    await until(lambda: when in ran.stdout, f"{when!r} in what the cell prints")
    assert not running.done()
    await kernel.manager.interrupt_kernel()
    async with asyncio.timeout(SOON):  # what it was waiting for takes minutes, or for ever
        return await running


async def assert_usable(kernel: Kernel, stack: psutil.Process) -> None:
    assert "open" in (await kernel.must("cp")).value
    assert (await kernel.must("(await cp.heartbeat()).latency_ms > 0")).value == "True"
    assert (await kernel.must("len([beat async for beat in cp.heartbeats(count=2, interval=0.1)])")).value == "2"
    assert kernel.local_stacks() == [stack]
    assert "closed" in (await kernel.must("await stack.close()\nstack")).value


@pytest.mark.slow
async def test_stop_button_ends_the_cell_and_nothing_else(kernel: Kernel) -> None:
    await kernel.must(SETUP)
    assert (await kernel.must(BOOT)).value == "'Accepted'"
    (stack,) = kernel.local_stacks()
    ran = await stopped(kernel, "async for beat in cp.heartbeats(interval=0.1):\n    print(beat)", when="Beat(")
    assert ran.error.startswith(("CancelledError", "KeyboardInterrupt"))
    await assert_usable(kernel, stack)


WAITING = {
    "between two heartbeats": "async for beat in cp.heartbeats(interval=600):\n    print('waits')",
    "in take()": """
        async with stack.monitor("CP1/in") as monitor:
            print("waits")
            await monitor.take(1, timeout=600)""",
    "in an iteration over a monitor": """
        async with stack.monitor("CP1/in") as monitor:
            print("waits")
            async for message in monitor:
                pass""",
    "in wait_for()": """
        print("waits")
        await stack.shadow("CP1").wait_for(lambda shadow: False, timeout=600)""",
    "in a trace": """
        async with stack.trace(cp) as trace:
            await cp.heartbeat()
            while not len(trace._monitor):
                await asyncio.sleep(0.01)
            print("waits")
            await asyncio.sleep(600)""",
    "in a picture that grows": """
        async for beat in plots.live(cp.heartbeats(interval=600)):
            print("waits")""",
    "in wait_closed()": "print('waits')\nawait cp.wait_closed()",
}


@pytest.mark.slow
async def test_stop_button_acts_at_once_wherever_a_cell_waits(kernel: Kernel) -> None:
    await kernel.must(SETUP)
    assert (await kernel.must(BOOT)).value == "'Accepted'"
    (stack,) = kernel.local_stacks()
    await kernel.must("import asyncio\nfrom cpsim_kit import plots")
    tasks = "sorted(name for task in asyncio.all_tasks() if (name := task.get_name()).startswith('cpsim['))"
    before = (await kernel.must(tasks)).value
    for where, source in WAITING.items():
        ran = await stopped(kernel, textwrap.dedent(source).strip(), when="waits")
        assert ran.error.startswith(("CancelledError", "KeyboardInterrupt")), f"{where}: {ran.error}"
        assert (await kernel.must("(await cp.heartbeat()).latency_ms > 0", where)).value == "True", where
        assert (await kernel.must(tasks, where)).value == before, f"{where}: a task is left"
    assert (await kernel.must("int(trace.to_frame().in_ms.notna().sum())")).value == "1", "as seen before the button"
    await assert_usable(kernel, stack)


@pytest.mark.slow
def test_script_in_02_runs_as_it_stands(copies: Path) -> None:
    (script,) = re.findall(
        r"^```python\n(from cpsim_kit .*?)```", prose(copies / NOTEBOOKS[2].name), re.MULTILINE | re.DOTALL
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(copies), cwd=copies, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Accepted True\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
async def test_a_fleet_whose_scenario_fails_ends_its_cell(kernel: Kernel, processes: int) -> None:
    """IPython cannot show an exception that has a group for its context: the cell would never end."""
    await kernel.must("from cpsim_kit import Fleet, Stack\nstack = await Stack.open()")
    ran = await kernel.run(
        "async def scenario(cp):\n    await cp.boot()\n    1 / 0\n"
        f"await Fleet(stack, 2, ramp=100, scenario=scenario, processes={processes}).run(20, progress=False)"
    )
    assert ran.error == "ZeroDivisionError: division by zero"
    assert (await kernel.must("print(await stack.things.list())")).stdout.startswith("Empty DataFrame")
    await kernel.must("await stack.close()")


@pytest.mark.slow
async def test_an_interrupted_fleet_says_where_its_result_is(kernel: Kernel) -> None:
    await kernel.must(
        "from cpsim_kit import Fleet, Stack\nstack = await Stack.open()\n"
        "async def scenario(cp):\n    await cp.boot()\n    print('booted')\n    await cp.wait_closed()"
    )
    ran = Ran()
    cell = "fleet = Fleet(stack, 2, ramp=100, scenario=scenario)\nawait fleet.run(600, progress=False)"
    running = asyncio.create_task(kernel.run(cell, ran))
    await until(lambda: "booted" in ran.stdout, "a boot")
    await kernel.manager.interrupt_kernel()
    await running
    assert "what it measured until then is its .result" in ran.error
    assert "s, interrupted>" in (await kernel.must("print(fleet.result)")).stdout
    await kernel.must("await stack.close()")
