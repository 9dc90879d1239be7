"""CPU and memory of a local stack's process, a child of this process or of another one.

The only module that imports psutil. Blocking, but each call takes microseconds.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple

import psutil

from cpsim_kit.errors import LocalStackError

__all__ = ["OtherProcess", "Usage", "last_lines", "this_process", "usage_of"]

_SAME_START = 60.0  # seconds by which the reported start of a process may differ after the clock was set


class Usage(NamedTuple):
    """What a process has used so far, and what it uses now.

    Attributes:
        cpu_s: Seconds of CPU since its start, all cores together.
        memory_mib: Its resident memory.
        memory_percent: Its resident memory as a share of this computer's memory.
    """

    cpu_s: float
    memory_mib: float
    memory_percent: float


class OtherProcess:
    """A local stack that another process started, e.g. ``cpsim stack``. It can be measured if it is on this computer.

    Attributes:
        pid: Its process id.
    """

    def __init__(self, pid: int, started: float) -> None:
        self.pid = pid
        self._started = started  # seconds since the epoch; tells it from a process with the same id, elsewhere or later

    @classmethod
    def parse(cls, text: str) -> OtherProcess | None:
        """The process that :func:`this_process` described; None if the text has another form."""
        found = re.fullmatch(r"(\d+) (\d+\.\d+)", text)
        return None if found is None else cls(int(found[1]), float(found[2]))

    @property
    def is_running(self) -> bool:
        """Whether the process is alive and on this computer."""
        try:
            process = psutil.Process(self.pid)
            ended = process.status() == psutil.STATUS_ZOMBIE
            return not ended and abs(process.create_time() - self._started) < _SAME_START
        except psutil.Error:
            return False

    def usage(self) -> Usage | None:
        """CPU and memory of the process; None if it is not running.

        Raises:
            LocalStackError: The operating system does not tell.
        """
        return usage_of(self.pid) if self.is_running else None

    def log(self, lines: int = 20) -> str:
        """The last lines of its log; "" if there is none, or if it belongs to another user."""
        with contextlib.suppress(psutil.Error, ValueError):
            if self.is_running:
                command = psutil.Process(self.pid).cmdline()
                return last_lines(Path(command[command.index("--log") + 1]), lines)
        return ""

    def why_dead(self) -> LocalStackError | None:
        """The error to raise if the process is not running; None if it is."""
        if self.is_running:
            return None
        return LocalStackError(
            f"the local stack's process {self.pid} is not on this computer: it has ended, or it runs on another "
            "computer or in a container, and can be watched only there"
        )


def this_process() -> str:
    """Describe the running process, by its id and start, for :meth:`OtherProcess.parse`."""
    return f"{os.getpid()} {psutil.Process().create_time():.2f}"


def usage_of(pid: int) -> Usage | None:
    """CPU and memory of a process; None if it does not exist.

    Raises:
        LocalStackError: The operating system does not tell.
    """
    try:
        process = psutil.Process(pid)
        times, resident = process.cpu_times(), process.memory_info().rss
    except psutil.NoSuchProcess:
        return None
    except psutil.Error as exc:
        raise LocalStackError(f"the local stack (process {pid}) cannot be measured: {exc}") from exc
    return Usage(times.user + times.system, resident / 2**20, 100 * resident / psutil.virtual_memory().total)


def last_lines(log: Path, lines: int) -> str:
    """The last lines of a file; "" if it cannot be read."""
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return ""
