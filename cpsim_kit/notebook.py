"""What a notebook's cells use: checkpoints, expected errors, ``run`` for synchronous code, and the stop button.

The only module besides the command line that prints.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import re
import signal
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Self, TypeVar

import nest_asyncio2

from cpsim_kit.errors import CheckpointFailed

__all__ = ["ExpectedError", "checkpoint", "expect_error", "let_signals_wake_the_loop", "run"]

T = TypeVar("T")

# A message id. It differs in each run: with it, a notebook's kept output would change each time.
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def checkpoint(sentence: str, holds: object) -> None:
    """Print a sentence if it is true, and fail otherwise.

    Args:
        sentence: Something the reader could repeat, e.g. "CP1 is accepted".
        holds: Whether it is true.

    Raises:
        CheckpointFailed: It is not true.
        TypeError: ``holds`` is a coroutine that was not awaited.
    """
    if inspect.isawaitable(holds):
        if inspect.iscoroutine(holds):
            holds.close()
        raise TypeError(f"checkpoint {sentence!r}: write `await` before what is checked")
    if not holds:
        raise CheckpointFailed(f"{sentence}: this does not hold")
    print(f"✓ {sentence}")


class ExpectedError:
    """The error that a ``with expect_error(…)`` block raised; it has the error's attributes.

    Attributes:
        error: The error, or None while the block runs.
    """

    def __init__(self, *kinds: type[BaseException]) -> None:
        self._kinds = kinds
        self.error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<ExpectedError {self.error!r}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self.__dict__.get("error") is None:
            raise AttributeError(f"no error yet, so no {name!r}")
        return getattr(self.error, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        names = " or ".join(kind.__name__ for kind in self._kinds)
        if exc is None:
            raise CheckpointFailed(f"{names} was expected, and nothing was raised")
        if not isinstance(exc, self._kinds):
            return False
        self.error = exc
        print(f"✓ {type(exc).__name__}, as expected: {_UUID.sub('…', str(exc))}")
        return True


def expect_error(*kinds: type[BaseException]) -> ExpectedError:
    """Fail unless the block raises one of these errors; the error is kept.

        with expect_error(errors.NotRegistered) as refused:
            await cp.boot()
        refused.closed.code

    Args:
        *kinds: Exception classes.

    Raises:
        CheckpointFailed: The block raised nothing. Any other error comes out as it is.
    """
    return ExpectedError(*kinds)


_runner: asyncio.Runner | None = None


def run(awaitable: Awaitable[T]) -> T:
    """Run a coroutine to its end from synchronous code; blocks until then.

    In a cell, where an event loop runs already, it runs nested in that loop (nest-asyncio2). Elsewhere it runs in one
    loop that is kept until the process ends, so that one call can use what another one opened. A cell needs it only
    inside a function without ``async``: at the top level of a cell, write ``await``.

    Args:
        awaitable: What could be awaited, e.g. ``cp.heartbeat()`` or ``Stack.open()``.

    Returns:
        The result of awaiting it; its exceptions come out as they are.
    """
    global _runner  # noqa: PLW0603 - the loop of a script, which has no other place to live
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        if _runner is None:
            _runner = asyncio.Runner()
            atexit.register(_runner.close)  # cancels tasks that a script left running
        return _runner.run(_result(awaitable))
    nest_asyncio2.apply(loop)
    return loop.run_until_complete(_result(awaitable))


async def _result(awaitable: Awaitable[T]) -> T:
    return await awaitable


def let_signals_wake_the_loop() -> None:
    """Let a kernel's stop button act at once on a cell that waits; called in the event loop.

    ipykernel handles SIGINT itself, and then the event loop sleeps on until something else happens (ipykernel #881).
    Every signal wakes a loop that handles any signal, so the loop gets a handler of a signal that means nothing here.
    """
    with contextlib.suppress(AttributeError, ValueError, RuntimeError, NotImplementedError):  # Windows, or a thread
        if signal.getsignal(signal.SIGWINCH) is signal.SIG_DFL:
            asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, lambda: None)
