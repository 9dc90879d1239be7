"""What was created on AWS, and how each of it is deleted: newest first, and everything is tried.

What could not be deleted stays noted, so that it can be tried again.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from cpsim_kit.errors import NotFound

__all__ = ["Cleanup"]

T = TypeVar("T")


class Cleanup:
    """A list of deletions, each with the name of what it deletes."""

    def __init__(self) -> None:
        self._deletions: list[tuple[str, Callable[[], Awaitable[Any]]]] = []  # oldest first
        self._creating: set[asyncio.Task[Any]] = set()
        self._running = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._deletions)

    @property
    def names(self) -> list[str]:
        """What would be deleted, oldest first."""
        return [name for name, _delete in self._deletions]

    def add(self, name: str, delete: Callable[[], Awaitable[Any]]) -> None:
        """Note something that was created, and the function that deletes it."""
        self._deletions.append((name, delete))

    async def create(self, name: str, creation: Coroutine[Any, Any, T], delete: Callable[[T], Awaitable[Any]]) -> T:
        """Run a creation and note its deletion once AWS has created it, however often this is cancelled meanwhile.

        Args:
            name: What is created.
            creation: Creates it; not cancelled, as AWS may have the request already.
            delete: Called with what ``creation`` returned, to delete it.
        """
        creating = asyncio.create_task(creation, name="cpsim[aws].create")
        self._creating.add(creating)
        creating.add_done_callback(functools.partial(self._note, name, delete))
        try:
            await asyncio.wait([creating])
        except asyncio.CancelledError:
            await asyncio.wait([creating])
            raise
        return creating.result()

    def _note(self, name: str, delete: Callable[[T], Awaitable[Any]], creating: asyncio.Task[T]) -> None:
        self._creating.discard(creating)
        if not creating.cancelled() and creating.exception() is None:
            created = creating.result()
            self.add(name, lambda: delete(created))

    def hand_over(self, other: Cleanup) -> None:
        """Give all deletions to another list, as its oldest ones."""
        other._deletions[:0] = self._deletions
        self._deletions.clear()

    async def run(self, *, keep: int = 0, is_gone: Callable[[], bool] = lambda: False) -> list[tuple[str, Exception]]:
        """Delete everything, newest first; what AWS does not find is deleted already.

        What is still being created is waited for. What could not be deleted stays in the list, at its place: the next
        run tries it again. Runs that begin at the same time go one after the other.

        Args:
            keep: How many of the oldest to leave.
            is_gone: Whether everything is gone anyway, so that nothing more needs to be deleted.

        Returns:
            The name and the error of each that could not be deleted.
        """
        failed: list[tuple[str, Exception]] = []
        left: list[tuple[str, Callable[[], Awaitable[Any]]]] = []  # newest first
        async with self._running:
            while self._creating:
                await asyncio.wait(self._creating)
            try:
                while len(self) > keep:
                    left.append(self._deletions.pop())
                    name, delete = left[-1]
                    try:
                        if not is_gone():
                            await delete()
                    except NotFound:
                        pass
                    except Exception as exc:  # noqa: BLE001 - the others are deleted whatever happened to this one
                        failed.append((name, exc))
                        continue
                    left.pop()
            finally:
                self._deletions += reversed(left)
        return failed
