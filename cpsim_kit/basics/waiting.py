"""Waiting: with a line that shows that it takes its time, and for several coroutines together. No I/O but the line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any

from tqdm.auto import tqdm

__all__ = ["together", "waiting"]

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


async def together(coroutines: Iterable[Coroutine[Any, Any, None]], name: str) -> None:
    """Run them as tasks of this name and a number; the first fault ends all, and comes out by itself.

    Not raised where the group of faults is caught, which would be its context: IPython cannot show that, and the cell
    would never end.
    """
    fault: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for number, coroutine in enumerate(coroutines):
                group.create_task(coroutine, name=f"cpsim[{name}-{number}]")
    except BaseExceptionGroup as exc:
        fault = exc.exceptions[0]
    if fault is not None:
        raise fault
