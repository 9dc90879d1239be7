"""Room for thousands of sockets. No I/O."""

from __future__ import annotations

import contextlib

__all__ = ["raise_file_limit"]


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows: a desktop's default is often 1,024 or fewer."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 - not on Windows

        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
