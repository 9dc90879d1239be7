"""Waiting: for a state, with growing pauses; for several coroutines; with a line that shows how long it takes.

Also what is both awaited and entered. The line is the only I/O.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable
from typing import Any, Generic, TypeVar

from tqdm.auto import tqdm

from cpsim_kit.errors import WaitTimeout

__all__ = ["AwaitedOrEntered", "poll_until", "together", "waiting"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_TICK = 0.25  # seconds
_GROWTH = 1.5  # of one pause to the next


class AwaitedOrEntered(ABC, Generic[T_co]):
    """What is opened by ``await``, or by ``async with``, which also closes it."""

    @abstractmethod
    async def _open(self) -> T_co:
        """Open it, and return what the reader works with."""

    @abstractmethod
    async def _close(self, error: BaseException | None) -> None:
        """Close it at the end of the block; ``error`` is what the block raised."""

    def __await__(self) -> Generator[Any, None, T_co]:
        return self._open().__await__()

    async def __aenter__(self) -> T_co:
        return await self._open()

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        await self._close(error)


async def poll_until(
    look: Callable[[], Awaitable[T | None]],
    what: str | Callable[[], str],
    timeout: float,
    *,
    last_seen: Callable[[], object] = lambda: None,
    pause: float = 0.05,
    longest: float = 1.0,
) -> T:
    """Call ``look`` until it returns something true, and return that.

    Args:
        look: Looks once; cancelled when the time is over.
        what: What is waited for, as the error's message says it; a function is called when the time is over.
        timeout: Seconds to wait.
        last_seen: Returns the last state seen, for the error.
        pause: Seconds between the first two looks; each pause is one and a half times the one before.
        longest: Seconds of the longest pause.

    Raises:
        WaitTimeout: It did not come in time. Errors of ``look`` come out as they are.
    """
    try:
        async with asyncio.timeout(timeout) as deadline:
            while not (found := await look()):
                await asyncio.sleep(pause)
                pause = min(pause * _GROWTH, longest)
    except TimeoutError as exc:
        if not deadline.expired():
            raise
        raise WaitTimeout(what if isinstance(what, str) else what(), timeout, last_seen()) from exc
    return found


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
    """Run them as tasks of this name and a number; the first error cancels the others, and is raised by itself.

    It is not raised where the group of errors is caught: that group would be its context, which IPython cannot show,
    and the cell would never end.
    """
    error: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for number, coroutine in enumerate(coroutines):
                group.create_task(coroutine, name=f"cpsim[{name}-{number}]")
    except BaseExceptionGroup as exc:
        error = exc.exceptions[0]
    if error is not None:
        raise error
