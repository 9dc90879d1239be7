"""Waiting: the line that shows how long it takes, polling, and what is awaited or entered."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
import termios
from itertools import pairwise

import pytest
from conftest import MS, SOON, cpsim_tasks

from cpsim_kit import errors
from cpsim_kit.basics.waiting import AwaitedOrEntered, poll_until, to_its_end, waiting

SCRIPT = """
import asyncio
from cpsim_kit.basics.waiting import waiting

async def main():
    async with waiting("the kettle boils"):
        await asyncio.sleep({seconds})

asyncio.run(main())
"""


def seen_in_a_terminal(seconds: float) -> str:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(seconds=seconds)], stderr=theirs, stdout=theirs
    ) as child:
        os.close(theirs)
        shown = b""
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # the terminal's other end is closed
                break
            if not data:
                break
            shown += data
        child.wait()
    os.close(ours)
    return shown.decode()


def test_a_terminal_shows_what_takes_more_than_a_second() -> None:
    # tqdm counts by the system's clock, which may be set back meanwhile
    assert re.search("the kettle boils 00:0[1-9]", seen_in_a_terminal(2.6))


def test_what_is_quick_shows_nothing() -> None:
    assert "kettle" not in seen_in_a_terminal(0)


async def test_elsewhere_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    async with waiting("the kettle boils"):
        await asyncio.sleep(1.3)
    assert "".join(capsys.readouterr()) == ""


async def test_an_interrupted_wait_leaves_nothing() -> None:
    with pytest.raises(asyncio.CancelledError):
        async with waiting("the kettle boils"):
            raise asyncio.CancelledError
    assert not cpsim_tasks()


# -- Polling ----------------------------------------------------------------------------------------------------------


async def test_polling_returns_the_first_true_value_after_growing_pauses() -> None:
    moments: list[float] = []

    async def look() -> str:
        moments.append(asyncio.get_running_loop().time())
        return "there" if len(moments) == 6 else ""

    assert await poll_until(look, "it", SOON, pause=10 * MS, longest=20 * MS) == "there"
    pauses = [later - sooner for sooner, later in pairwise(moments)]
    assert all(pause >= least * MS for pause, least in zip(pauses, (9.9, 14.9, 19.9, 19.9, 19.9), strict=True))


async def test_polling_that_takes_too_long_says_what_was_seen_last() -> None:
    seen: list[int] = []

    async def look() -> None:
        seen.append(len(seen))

    for seconds in (50 * MS, 5000 * MS):
        seen.clear()
        with pytest.raises(errors.WaitTimeout) as caught:
            await poll_until(look, lambda: f"9 rows, {len(seen)} came", seconds, last_seen=lambda: seen, pause=MS)
        if len(seen) > 1:  # a slow machine looks once only in so short a time
            break
    assert re.search(r"for 9 rows, \d+ came; last seen: \[0, 1", str(caught.value))
    assert caught.value.last_seen is seen


async def test_a_look_that_hangs_is_cancelled_when_the_time_is_over() -> None:
    with pytest.raises(errors.WaitTimeout, match="for an answer; nothing was seen"):
        await poll_until(asyncio.Event().wait, "an answer", 10 * MS)


async def test_a_timeout_that_a_look_raises_is_its_own() -> None:
    async def look() -> None:
        raise errors.WaitTimeout("something else", 1)

    with pytest.raises(errors.WaitTimeout, match="something else"):
        await poll_until(look, "it", SOON)


async def test_work_goes_on_to_its_end_when_its_caller_is_cancelled() -> None:
    gate, steps = asyncio.Event(), []

    async def work() -> None:
        steps.append("begun")
        await gate.wait()
        steps.append("done")

    caller = asyncio.create_task(to_its_end(work(), "cpsim[test].work"))
    while not steps:
        await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert steps == ["begun", "done"]


# -- Awaited or entered -----------------------------------------------------------------------------------------------


class Door(AwaitedOrEntered[str]):
    def __init__(self) -> None:
        self.state: object = "new"

    async def _open(self) -> str:
        self.state = "open"
        return "the room"

    async def _close(self, error: BaseException | None) -> None:
        self.state = error or "closed"


async def test_what_is_awaited_stays_open_and_what_is_entered_is_closed() -> None:
    door = Door()
    assert await door == "the room"
    assert door.state == "open"
    async with door as room:
        assert room == "the room"
    assert door.state == "closed"
    with pytest.raises(ZeroDivisionError) as raised:
        async with door:
            1 / 0  # noqa: B018
    assert door.state is raised.value
