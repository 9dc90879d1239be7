"""The stacks that this Python process has open, so that a setup cell run twice finds its own stack again.

And what opens one, awaited or entered. It knows no kind of stack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cpsim_kit.basics.waiting import AwaitedOrEntered

__all__ = ["OpenStacks", "Opening"]

S = TypeVar("S", bound=AbstractAsyncContextManager[Any])


class Opening(AwaitedOrEntered[S]):
    """What ``Stack.open``, ``.local`` and ``.aws`` return: a stack once awaited or entered.

    Args:
        made_by: How a reader writes it, e.g. "Stack.open()".
        opening: Opens the stack.
    """

    def __init__(self, made_by: str, opening: Callable[[], Awaitable[S]]) -> None:
        self._made_by = made_by
        self._opening = opening
        self._stack: S | None = None

    def __repr__(self) -> str:
        return f"<{self._made_by}, not open yet: write stack = await {self._made_by}>"

    if not TYPE_CHECKING:  # a type checker knows by itself that this is no stack yet

        def __getattr__(self, name: str) -> Any:
            """Say that ``await`` is missing; names with an underscore, which IPython looks for, are just not there."""
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            message = f"{self._made_by} is not a stack yet, it has no {name}: write `stack = await {self._made_by}`"
            raise AttributeError(message)

    async def _open(self) -> S:
        self._stack = await self._opening()
        return self._stack

    async def _close(self, error: BaseException | None) -> None:
        assert self._stack is not None
        await self._stack.__aexit__(None if error is None else type(error), error, None)


class OpenStacks(Generic[S]):
    """The open stacks, by a key that says what was opened; one for each event loop, as a stack belongs to its loop."""

    def __init__(self) -> None:
        self._stacks: dict[Hashable, list[tuple[asyncio.AbstractEventLoop, S]]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._stacks

    def find(self, key: Hashable) -> S | None:
        """The stack that is open in this event loop."""
        loop = asyncio.get_running_loop()
        return next((stack for its_loop, stack in self._stacks.get(key, []) if its_loop is loop), None)

    def find_or_add(self, key: Hashable, stack: S) -> S:
        """The stack that was opened meanwhile, by another cell; otherwise ``stack``, which is found from now on."""
        if (found := self.find(key)) is not None:
            return found
        others = [each for each in self._stacks.get(key, []) if not each[0].is_closed()]
        self._stacks[key] = [*others, (asyncio.get_running_loop(), stack)]
        return stack

    def remove(self, stack: S) -> bool:
        """Do not find a stack any more; returns whether another event loop has one with the same key."""
        is_shared = False
        for key, stacks in list(self._stacks.items()):
            if all(each is not stack for _, each in stacks):
                continue
            others = [(loop, each) for loop, each in stacks if each is not stack and not loop.is_closed()]
            is_shared = is_shared or bool(others)
            if others:
                self._stacks[key] = others
            else:
                del self._stacks[key]
        return is_shared
