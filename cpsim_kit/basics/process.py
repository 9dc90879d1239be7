"""This process: how many files it may open, and which event loop it runs. No I/O."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["raise_file_limit", "run_fast"]

T = TypeVar("T")


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows. The default is often 1,024 or fewer."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 - not on Windows

        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_fast(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine like ``asyncio.run``, with uvloop if it is installed."""
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        return asyncio.run(coroutine)
    return uvloop.run(coroutine)
