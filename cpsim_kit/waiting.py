"""Shows that something takes its time, where nobody can say how long it will. No I/O but the line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tqdm.auto import tqdm

__all__ = ["waiting"]

_TICK = 0.25  # seconds


@contextlib.asynccontextmanager
async def waiting(what: str) -> AsyncIterator[None]:
    """After a second, show what is waited for and since when, until the block ends; in a notebook or a terminal."""
    bar = tqdm(desc=what, bar_format="{desc} {elapsed}", delay=1, leave=False, disable=None)

    async def tick() -> None:
        while True:
            await asyncio.sleep(_TICK)
            bar.update()

    ticking = asyncio.create_task(tick(), name="cpsim[waiting].tick")
    try:
        yield
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        bar.close()
