"""The terminal of a command: exit statuses, signals that end it, and output streams that may be closed early."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, Self, TypeVar

__all__ = ["BAD_ARGUMENTS", "DONE", "FAILED", "INTERRUPTED", "Signals", "protect_output"]

T = TypeVar("T")

DONE, FAILED, BAD_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130  # exit statuses


class Signals:
    """Handles SIGINT (Ctrl-C), SIGTERM (containers) and SIGHUP (a closed terminal) while it is entered.

    The first signal cancels the command, which then cleans up. The second ends the process at once: Python would go on
    with half-done tasks and report each of them at length.

    Attributes:
        stopping: What to print at the first signal.
        leaving: What to print at the second, if anything.
        handled: The signals that are handled, each with its handler before.
    """

    def __init__(self) -> None:
        self.stopping = "stopping; Ctrl-C again ends at once"
        self.leaving = ""
        self.handled: dict[int, Any] = {}
        self._interrupted = False
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> Self:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is None or (name != "SIGTERM" and signal.getsignal(number) is signal.SIG_IGN):
                continue  # ignored on purpose: a job in the background, or nohup
            self.handled[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handled.items():
            signal.signal(number, handler or signal.SIG_DFL)

    async def until_interrupted(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Await ``work`` and return its result; None when a signal has cancelled it and it has cleaned up."""
        self._task = asyncio.current_task()
        try:
            return await work
        except asyncio.CancelledError as exc:
            if not self._interrupted:
                raise
            for note in getattr(exc, "__notes__", ()):  # what could not be cleaned up
                logging.error("%s", note)
            return None
        finally:
            self._task = None

    def _interrupt(self, *_: object) -> None:
        if self._interrupted:
            self._end_process()
        self._interrupted = True
        if self._task is None:  # before the event loop runs, or after
            raise KeyboardInterrupt
        _print_in_handler(self.stopping)
        self._task.cancel()
        self._task.get_loop().call_soon_threadsafe(lambda: None)  # wakes the loop

    def _end_process(self) -> NoReturn:
        if self._task is not None and self.leaving:
            _print_in_handler(self.leaving)
        with contextlib.suppress(Exception):  # the signal may have interrupted a write to it
            sys.stdout.flush()
        os._exit(INTERRUPTED)


def _print_in_handler(line: str) -> None:
    """Print to stderr from a signal handler; ``print`` itself may have been interrupted by the signal."""
    with contextlib.suppress(OSError):
        os.write(2, f"\ncpsim: {line}\n".encode("ascii", "backslashreplace"))


class _Output(io.TextIOWrapper):
    """stdout or stderr. After the first error of a write, e.g. a closed pipe, it discards everything without an error.

    Attributes:
        error: The first error, or None.
    """

    error: OSError | None = None

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as exc:
            self._discard_from_now_on(exc)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as exc:
            self._discard_from_now_on(exc)

    def _discard_from_now_on(self, exc: OSError) -> None:
        self.error = self.error or exc
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def protect_output() -> Callable[[], OSError | None]:
    """Replace stdout and stderr, so that no write to them raises.

    Returns:
        A function that flushes stdout and returns its first error, or None.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next opened file or socket would get its number
            os.open(os.devnull, os.O_RDWR)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not None and (stream is not getattr(sys, f"__{name}__") or stream.fileno() != number):
            continue  # somebody has replaced it, e.g. a test
        raw = io.FileIO(number, "w", closefd=False)
        if stream is None:
            stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
        unbuffered = stream.write_through  # python -u, PYTHONUNBUFFERED
        output = _Output(
            raw if unbuffered else io.BufferedWriter(raw),
            stream.encoding,
            "backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=unbuffered,
        )
        setattr(sys, name, output)

    def output_error() -> OSError | None:
        sys.stdout.flush()
        return getattr(sys.stdout, "error", None)

    return output_error
