"""Functions for notebook cells: checkpoints, expected errors, ``run`` for synchronous code, and the stop button.

Only this module and the command line print.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import re
import signal
import textwrap
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Self, TypeVar

import nest_asyncio2

from cpsim_kit.errors import CheckpointFailed

__all__ = ["ExpectedError", "checkpoint", "expect_error", "let_signals_wake_the_loop", "run"]

T = TypeVar("T")

# A message id. It is hidden in output, as it differs in each run and would change the notebook's kept output.
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")

# JupyterLab breaks a line that is too long for its window anywhere, also within a word.
_WRAPPER = textwrap.TextWrapper(90, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def checkpoint(sentence: str, holds: object) -> None:
    """Print a sentence if it is true; fail if it is not.

    Args:
        sentence: The statement to check, e.g. "CP1 is accepted".
        holds: Whether the sentence is true.

    Raises:
        CheckpointFailed: The sentence is not true.
        TypeError: ``holds`` is a coroutine that was not awaited.
    """
    if inspect.isawaitable(holds):
        if inspect.iscoroutine(holds):
            holds.close()
        raise TypeError(f"checkpoint {sentence!r}: write `await` before what is checked")
    if not holds:
        raise CheckpointFailed(f"{sentence}: this is not true")
    print(f"✓ {sentence}")


class ExpectedError:
    """Holds the error that a ``with expect_error(…)`` block raised, and gives access to its attributes.

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
        text = f"✓ {type(exc).__name__}, as expected: {_UUID.sub('…', str(exc))}"
        print("\n".join(_WRAPPER.fill(line) for line in text.splitlines()))
        return True


def expect_error(*kinds: type[BaseException]) -> ExpectedError:
    """Fail unless the block raises one of these errors. The returned object keeps the error.

        with expect_error(errors.NotRegistered) as refused:
            await cp.boot()
        refused.closed.code

    Args:
        *kinds: Exception classes.

    Raises:
        CheckpointFailed: The block raised no error. Other errors are raised unchanged.
    """
    return ExpectedError(*kinds)


_runner: asyncio.Runner | None = None


def run(awaitable: Awaitable[T]) -> T:
    """Run an awaitable from synchronous code, and block until it ends.

    In a notebook cell, an event loop is already running; the awaitable runs nested in that loop (nest-asyncio2).
    Elsewhere it runs in one loop that lasts until the process ends, so that a call can use objects that an earlier call
    opened. In a notebook, ``run`` is only needed inside functions without ``async``: at the top level, write ``await``.

    Args:
        awaitable: The awaitable, e.g. ``cp.heartbeat()`` or ``Stack.open()``.

    Returns:
        The awaitable's result. Its exceptions are raised unchanged.
    """
    global _runner  # noqa: PLW0603 - the loop of a script; no object could own it
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
    """Make a kernel's stop button interrupt a waiting cell at once. Call it in the event loop.

    ipykernel handles SIGINT itself; the event loop then sleeps until another event wakes it (ipykernel #881). A loop
    that handles at least one signal is woken by every signal. So this adds a handler for an unused signal.
    """
    with contextlib.suppress(AttributeError, ValueError, RuntimeError, NotImplementedError):  # Windows, or a thread
        if signal.getsignal(signal.SIGWINCH) is signal.SIG_DFL:
            asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, lambda: None)
