"""Starts the local stack's child process, reads its addresses, shows its log, and ends it.

Runs in the user's process and imports nothing of the child's. Blocking; callers use a thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.errors import LocalStackError
from cpsim_kit.local.usage import Usage, last_lines, usage_of

__all__ = ["CSMS", "LocalOptions", "LocalProcess"]

CSMS = ("kit", "lambda", "strict", "sample")
"""The characters of a local stack's CSMS."""

_READY_TIMEOUT = 60.0  # seconds; a cold start on a slow disk takes a few
_EXIT_TIMEOUT = 5.0  # seconds for a process to exit
_DEATH_DELAY = 0.3  # seconds between the last closed socket of a dying process and its end

# The variables that the child needs; others could only change what ministack or boto3 do.
_INHERITED = (
    "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "USERPROFILE",
    "VIRTUAL_ENV",
)  # fmt: skip


@dataclass(frozen=True)
class LocalOptions:
    """The options of a local stack.

    Attributes:
        name: The CloudFormation stack's name.
        region: The AWS region it claims to be in.
        interval: The heartbeat interval of its CSMS in seconds.
        csms: One of :data:`CSMS`.
        services: ministack's names of AWS services that answer, in addition to those of the kit.
    """

    name: str = "AwsOcppGatewayStack"
    region: str = "us-east-1"
    interval: int = 10
    csms: str = "kit"
    services: tuple[str, ...] = ()


_running: dict[LocalOptions, LocalProcess] = {}
_starting = threading.Lock()


class LocalProcess:
    """A running local stack.

    Attributes:
        options: The options it was started with.
        pid: Its process id.
        websocket_url: Where charge points connect.
        endpoint_url: Where boto3 connects.
        key: The access key that requests to it must be signed with; a random one for each process.
    """

    def __init__(self, options: LocalOptions) -> None:
        self.options = options
        self._stopped = False
        handle, name = tempfile.mkstemp(prefix="cpsim-local-", suffix=".log")
        self._log = Path(name)
        # -P: do not import a file of the working directory, such as calendar.py or a folder boto3.
        command = [sys.executable, "-P", "-m", "cpsim_kit.local", "--log", name]
        command += ["--stack-name", options.name, "--region", options.region]
        command += ["--interval", str(options.interval), "--csms", options.csms]
        command += [f"--service={name}" for name in options.services]
        environment = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        environment["PYTHONUNBUFFERED"] = "1"
        # Its boto3 clients have their own key. They do not read the user's files, which may be broken.
        environment["AWS_CONFIG_FILE"] = environment["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and our own module
                command,
                stdin=subprocess.PIPE,  # never written to; when it closes, the child knows that this process has ended
                stdout=subprocess.PIPE,
                stderr=handle,
                env=environment,
                start_new_session=True,  # so that Ctrl-C and the interrupt of a cell do not reach the child
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
        """The running process with these options; starts one if there is none.

        Raises:
            LocalStackError: It did not start.
        """
        with _starting:
            process = _running.get(options)
            if process is None or not process.is_running:
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
        """CPU and memory of the process; None if it has ended. Takes microseconds.

        Raises:
            LocalStackError: The operating system does not tell.
        """
        return usage_of(self.pid) if self.is_running else None

    def log(self, lines: int = 20) -> str:
        """The last lines of the child's log; "" after :meth:`stop`."""
        return last_lines(self._log, lines)

    def why_dead(self) -> LocalStackError | None:
        """The error to raise if the process has died; None if it runs, or was stopped on purpose."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_DEATH_DELAY)
        if self.is_running or self._stopped:
            return None
        return LocalStackError(
            f"the local stack (process {self.pid}) has died, exit status {self._process.poll()}; "
            "start another: stack = await Stack.local()",
            log=self.log(),
        )

    def retire(self) -> None:
        """Make :meth:`shared` start another process from now on; this one is about to be stopped."""
        if _running.get(self.options) is self:
            del _running[self.options]

    def stop(self, *, timeout: float = _EXIT_TIMEOUT) -> None:
        """End the process: close its standard input, then SIGTERM, then SIGKILL.

        Args:
            timeout: Seconds to wait for its end after each of the three.
        """
        self._stopped = True
        self.retire()
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        for end in (None, process.terminate, process.kill):
            if end is not None:
                end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout)
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
                self._process.wait(_EXIT_TIMEOUT)
            status = self._process.poll()
            raise LocalStackError(f"the local stack did not start, exit status {status}", log=self.log())
        addresses: dict[str, str] = json.loads(line)
        return addresses
