"""The line that shows that something takes its time."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
import termios

import pytest
from conftest import cpsim_tasks

from cpsim_kit.basics.waiting import waiting

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
