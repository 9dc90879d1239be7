"""Starts the local stack's child process, reads its addresses, shows its log, measures it, and ends it.

Runs in the reader's process and imports nothing of the child's. Blocking; callers use a thread. The process of a stack
that somebody else started is measured only.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.errors import LocalStackError

__all__ = ["LocalOptions", "LocalProcess", "OtherProcess", "Usage", "this_process"]

_READY_TIMEOUT = 60.0  # seconds; a cold start on a slow disk takes a few
_STOP_TIMEOUT = 5.0
_DYING = 0.3  # seconds between a dying process's last closed socket and its end
_SAME_START = 60.0  # seconds by which a start, as the operating system says it, may move when the clock is set

# What the child needs of the environment; the rest could only change what ministack or boto3 do.
_INHERITED = (
    "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "USERPROFILE",
    "VIRTUAL_ENV",
)  # fmt: skip


@dataclass(frozen=True)
class LocalOptions:
    """What a local stack is started with.

    Attributes:
        name: The CloudFormation stack's name.
        region: The AWS region it claims to be in.
        interval: Seconds between heartbeats that its CSMS instructs.
        csms: "kit", "strict" or "sample".
        services: AWS services that answer beside those the kit uses, as ministack calls them.
    """

    name: str = "AwsOcppGatewayStack"
    region: str = "us-east-1"
    interval: int = 10
    csms: str = "kit"
    services: tuple[str, ...] = ()


class Usage(NamedTuple):
    """What a process has used so far, and what it uses.

    Attributes:
        cpu_s: Seconds of CPU, of all its cores together, since its start.
        memory_mib: Its resident memory.
        memory_percent: The same, of this computer's memory.
    """

    cpu_s: float
    memory_mib: float
    memory_percent: float


_running: dict[LocalOptions, LocalProcess] = {}
_starting = threading.Lock()


class LocalProcess:
    """A running local stack.

    Attributes:
        options: What it was started with.
        pid: Its process id.
        websocket_url: Where charge points connect.
        endpoint_url: Where boto3 connects.
        key: The access key that it asks for; random for each.
    """

    def __init__(self, options: LocalOptions) -> None:
        self.options = options
        self._stopped = self._retired = False
        handle, name = tempfile.mkstemp(prefix="cpsim-local-", suffix=".log")
        self._log = Path(name)
        # -P: no file of the working directory, such as a calendar.py or a folder boto3, in the place of a module.
        command = [sys.executable, "-P", "-m", "cpsim_kit.local", "--log", name]
        command += ["--stack-name", options.name, "--region", options.region]
        command += ["--interval", str(options.interval), "--csms", options.csms]
        command += [f"--service={name}" for name in options.services]
        environment = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        environment["PYTHONUNBUFFERED"] = "1"
        # Its boto3 clients have a key of their own; the reader's files, which may be unreadable, are not looked at.
        environment["AWS_CONFIG_FILE"] = environment["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and our own module
                command,
                stdin=subprocess.PIPE,  # kept open and never written to: its end tells the child that we are gone
                stdout=subprocess.PIPE,
                stderr=handle,
                env=environment,
                start_new_session=True,  # an interrupt of the cell or the terminal is not for the child
            )
        finally:
            os.close(handle)
        self.pid = self._process.pid
        try:
            addresses = self._read_addresses()
        except BaseException:
            self.stop()
            raise
        self.websocket_url: str = addresses["websocket_url"]
        self.endpoint_url: str = addresses["endpoint_url"]
        self.key = AccessKey(addresses["access_key_id"], addresses["secret_access_key"])

    @classmethod
    def shared(cls, options: LocalOptions) -> LocalProcess:
        """The running process of these options, started where there is none.

        Raises:
            LocalStackError: It did not start.
        """
        with _starting:
            process = _running.get(options)
            if process is None or process._retired or not process.is_running:
                process = _running[options] = cls(options)
            return process

    def __repr__(self) -> str:
        state = "running" if self.is_running else f"ended with {self._process.returncode}"
        return f"<LocalProcess {self.pid} {state}>"

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    def usage(self) -> Usage | None:
        """CPU and memory of the process; None when it is dead. Takes microseconds.

        Raises:
            LocalStackError: The operating system does not say.
        """
        if not self.is_running:
            return None
        return _usage(self.pid)

    def log(self, lines: int = 20) -> str:
        """The last lines of the child's log; "" once it was stopped."""
        return _tail(self._log, lines)

    def why_dead(self) -> LocalStackError | None:
        """The error for those who wait on a process that is no more; None while it runs, or was stopped on purpose."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_DYING)
        if self.is_running or self._stopped:
            return None
        return LocalStackError(
            f"the local stack (process {self.pid}) has died, exit status {self._process.poll()}; "
            "start another: stack = await Stack.local()",
            log=self.log(),
        )

    def retire(self) -> None:
        """Have :meth:`shared` start another one from now on, as this one is about to be stopped."""
        self._retired = True

    def stop(self) -> None:
        """End the process: by closing its standard input, then by SIGTERM, then by SIGKILL."""
        self._stopped = True
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        for end in (None, process.terminate, process.kill):
            if end is not None:
                end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_TIMEOUT)
                break
        self._log.unlink(missing_ok=True)

    def _read_addresses(self) -> dict[str, str]:
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        stdout = self._process.stdout
        assert stdout is not None
        threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
        try:
            line = lines.get(timeout=_READY_TIMEOUT)
        except queue.Empty:
            raise LocalStackError(f"the local stack was not ready in {_READY_TIMEOUT:g} s", log=self.log()) from None
        if not line:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_TIMEOUT)
            status = self._process.poll()
            raise LocalStackError(f"the local stack did not start, exit status {status}", log=self.log())
        addresses: dict[str, str] = json.loads(line)
        return addresses


class OtherProcess:
    """A local stack that another process started, e.g. ``cpsim stack``: on this computer it can be measured.

    Attributes:
        pid: Its process id.
    """

    def __init__(self, pid: int, started: float) -> None:
        self.pid = pid
        self._started = started  # seconds since the epoch: another process may have the same id, elsewhere or later

    @classmethod
    def said(cls, text: str) -> OtherProcess | None:
        """The process that :func:`this_process` said; None where it is no such text."""
        found = re.fullmatch(r"(\d+) (\d+\.\d+)", text)
        return None if found is None else cls(int(found[1]), float(found[2]))

    @property
    def is_running(self) -> bool:
        """Whether it is alive, and on this computer."""
        try:
            process = psutil.Process(self.pid)
            ended = process.status() == psutil.STATUS_ZOMBIE
            return not ended and abs(process.create_time() - self._started) < _SAME_START
        except psutil.Error:
            return False

    def usage(self) -> Usage | None:
        """CPU and memory of the process; None when it is not there.

        Raises:
            LocalStackError: The operating system does not say.
        """
        return _usage(self.pid) if self.is_running else None

    def log(self, lines: int = 20) -> str:
        """The last lines of its log; "" where it is not there, or somebody else's."""
        with contextlib.suppress(psutil.Error, ValueError):
            if self.is_running:
                command = psutil.Process(self.pid).cmdline()
                return _tail(Path(command[command.index("--log") + 1]), lines)
        return ""

    def why_dead(self) -> LocalStackError | None:
        """The error for those who look for a process that is not there; None while it runs."""
        if self.is_running:
            return None
        return LocalStackError(
            f"the local stack's process {self.pid} is not on this computer: it has ended, or it runs on another "
            "computer or in a container, and can be watched only there"
        )


def this_process() -> str:
    """How this process is named for :meth:`OtherProcess.said`: by its id and its start."""
    return f"{os.getpid()} {psutil.Process().create_time():.2f}"


def _tail(log: Path, lines: int) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return ""


def _usage(pid: int) -> Usage | None:
    try:
        process = psutil.Process(pid)
        times, resident = process.cpu_times(), process.memory_info().rss
    except psutil.NoSuchProcess:
        return None
    except psutil.Error as exc:
        raise LocalStackError(f"the local stack (process {pid}) cannot be measured: {exc}") from exc
    return Usage(times.user + times.system, resident / 2**20, 100 * resident / psutil.virtual_memory().total)
