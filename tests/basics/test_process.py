"""The event loop and the file limit of this process."""

from __future__ import annotations

import asyncio
import sys

from cpsim_kit.basics.process import run_fast


async def loop_module() -> str:
    return type(asyncio.get_running_loop()).__module__


def test_run_fast_runs_uvloop_where_there_is_one_and_returns_the_result() -> None:
    assert run_fast(loop_module()).split(".")[0] == ("asyncio" if sys.platform == "win32" else "uvloop")
