"""Waiting: for a state, with growing pauses; for several coroutines; and a line that shows how long it takes.

Also the base of objects that can be awaited or entered. The only I/O is the line.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable
from typing import Any, Generic, TypeVar

from tqdm.auto import tqdm

from cpsim_kit.errors import WaitTimeout

__all__ = ["AwaitedOrEntered", "poll_until", "to_its_end", "together", "waiting"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_TICK = 0.25  # seconds
_GROWTH = 1.5  # factor from one pause to the next


class AwaitedOrEntered(ABC, Generic[T_co]):
    """An object that ``await`` opens, and ``async with`` opens and closes."""

    @abstractmethod
    async def _open(self) -> T_co:
        """Open it, and return the object to work with."""

    @abstractmethod
    async def _close(self, error: BaseException | None) -> None:
        """Close it at the end of the block; ``error`` is the exception of the block, or None."""

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
    """Call ``look`` until it returns a true value, and return that value.

    Args:
        look: Checks the state once; it is cancelled at the timeout.
        what: The awaited state in words, for the error's message; a function is called at the timeout.
        timeout: Seconds to wait.
        last_seen: Returns the last state seen, for the error.
        pause: Seconds between the first two calls; each next pause is one and a half times as long.
        longest: The longest pause in seconds.

    Raises:
        WaitTimeout: ``look`` returned no true value in time. Errors of ``look`` are raised unchanged.
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


async def to_its_end(work: Coroutine[Any, Any, T], name: str) -> T:
    """Await some work, which goes on to its end if this is cancelled; so does this, unless it is cancelled again.

    Args:
        work: What is not to be interrupted in the middle, such as a change that AWS may have begun already.
        name: The name of its task.
    """
    task = asyncio.create_task(work, name=name)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


@contextlib.asynccontextmanager
async def waiting(what: str) -> AsyncIterator[None]:
    """After a second, show ``what`` and the elapsed time until the block ends, in a notebook or a terminal."""
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
    """Run coroutines as tasks with this name and a number. The first error cancels the others, and is raised alone.

    It is not raised inside the ``except`` block: the group of errors would be its context, which IPython cannot show,
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
