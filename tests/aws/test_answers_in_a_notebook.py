"""stack.answer_with in a real kernel: what a cell shows of a handler, and the stop button."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from conftest import SOON
from kernel import Kernel, Ran
from stack_fixtures import eventually

pytestmark = pytest.mark.slow

SETUP = """
import asyncio
from cpsim_kit import Stack, errors, expect_error
stack = await Stack.local()
await stack.things.create("CP1")
cp = await stack.charge_point("CP1")

async def handler(charge_point_id, action, payload):
    print("asked", action)
    return {"currentTime": TIMES[charge_point_id]}

TIMES = {}
"""
FAILS = """
async with stack.answer_with(handler) as answers:
    with expect_error(errors.CallFailed):
        await cp.heartbeat()
answers
"""
WAITS = """
async with stack.answer_with(handler):
    print("entered")
    await asyncio.Event().wait()
"""


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Kernel]:
    async with Kernel.started(tmp_path) as kernel:
        await kernel.must(SETUP)
        yield kernel


async def test_the_cell_shows_what_a_handler_prints_and_its_traceback(kernel: Kernel) -> None:
    ran = await kernel.run(FAILS)
    assert ran.error == ""
    assert "asked Heartbeat" in ran.stdout
    assert ran.value == "<Answers 0 answered, 1 failed, closed>"
    assert "KeyError(" in ran.shown[-1]["text/html"]
    assert 'return {"currentTime": TIMES[charge_point_id]}' in ran.stderr
    assert "KeyError: 'CP1'" in ran.stderr
    assert "site-packages" not in ran.stderr
    assert "cpsim_kit" not in ran.stderr


async def test_the_stop_button_leaves_the_charge_points_to_the_own_csms(kernel: Kernel) -> None:
    ran = Ran()
    cell = asyncio.create_task(kernel.run(WAITS, ran))
    await eventually(lambda: "entered" in ran.stdout)
    await kernel.manager.interrupt_kernel()
    async with asyncio.timeout(SOON):
        await cell
    assert "KeyboardInterrupt" in ran.error or "CancelledError" in ran.error
    assert "Beat(" in (await kernel.must("await cp.heartbeat()")).value
