"""Where a share runs on this machine: in this process, or in a child process; and the child's side of that.

Parent and child exchange pickles over the child's stdin and stdout, each after its length. The child ends when its
stdin does, so it never outlives its parent. It reports twice a second: if a child dies, at most the calls of the last
half second are lost. A thread of the child writes the reports. If the parent does not read, because it is stopped or
busy, the child goes on measuring, keeps the calls in its compact table, and sends all once the parent reads again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import queue
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

from cpsim_kit.basics.process import run_fast
from cpsim_kit.errors import CpsimError
from cpsim_kit.fleet.pickles import pack_errors, pack_plan
from cpsim_kit.fleet.plan import Plan
from cpsim_kit.fleet.report import SAMPLE, Report, ShareLost, merge_faults
from cpsim_kit.fleet.share import Share

__all__ = ["LocalShare", "ProcessShare"]

_LENGTH = struct.Struct("!I")
_READY = 60.0  # seconds for a child to start
_CHECKS = 20  # short waits that make a time-out of the parent; if it is suspended itself, at most one of them runs out


class LocalShare:
    """A share in this process, with the methods of a :class:`ProcessShare`."""

    where = "in this process"

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._share = Share(plan)

    @property
    def errors(self) -> list[CpsimError]:
        """The last error of each charge point that never connected."""
        return self._share.errors

    async def start(self) -> None:
        """Prepare the share; in a thread, so that the event loop is not blocked."""
        await asyncio.to_thread(self._share.load)

    async def run(self, reported: Callable[[Report], None], duration: float | None = None) -> None:
        """Run the share, and call ``reported`` twice a second.

        Args:
            reported: Called with each report.
            duration: Seconds from now to the end; the plan's when None.

        Raises:
            Exception: A scenario's own fault.
        """
        running = asyncio.create_task(self._share.run(duration), name="cpsim[fleet].share")
        try:
            while not running.done():
                await asyncio.wait([running], timeout=SAMPLE)
                reported(self._share.report())
            running.result()
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait([running])
            reported(self._share.report())

    async def close(self) -> None:
        """Nothing is left to be closed."""


class ProcessShare:
    """A share in a child process, as its parent sees it.

    Args:
        plan: The share's plan.
        python: The interpreter.
        silence: Seconds without a report after which the child counts as lost: it hangs, or was stopped.
        closing: Seconds for the child to end by itself before it is killed.
    """

    where = "in another process"

    def __init__(
        self, plan: Plan, *, python: str = sys.executable, silence: float = 30.0, closing: float = 10.0
    ) -> None:
        self.plan = plan
        self.errors: list[CpsimError] = []
        self._python = python
        self._silence = silence
        self._closing = closing
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the child and send it its plan; returns once the child is ready to begin.

        Raises:
            ShareLost: The child did not start.
            ValueError: The plan cannot be sent, or the child cannot read it.
        """
        plan = pack_plan(self.plan)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(self._python, "-P", "-c", "from cpsim_kit.fleet.processes import main; main()"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=2**24,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(_module_path())},
                start_new_session=True,  # Ctrl-C is its parent's to handle
            )
        except OSError as exc:  # no memory, or no more processes allowed
            raise ShareLost(f"a worker process could not be started: {exc.strerror}") from exc
        await self._write(plan)
        answer = await self._read(_READY, "was not ready within")
        if answer != "ready":
            raise ValueError(f"a worker process cannot read this fleet: {answer}")

    async def run(self, reported: Callable[[Report], None], duration: float | None = None) -> None:
        """Let the child begin, and call ``reported`` with each of its reports until it has ended.

        Args:
            reported: Called with each report.
            duration: Seconds from now to the end; the plan's when None.

        Raises:
            ShareLost: The child ended before its share did.
            Exception: A scenario's own fault.
        """
        await self._write(pickle.dumps(duration))
        while True:
            match await self._read(self._silence, "has said nothing for"):
                case Report() as report:
                    merge_faults(self.plan, report)
                    reported(report)
                case "done", bytes(packed):
                    self.errors, fault = pickle.loads(packed)  # noqa: S301 - of our own child
                    if fault is not None:
                        raise fault
                    return
                case unknown:
                    raise ShareLost(f"a worker process sent {unknown!r}")

    async def close(self) -> None:
        """End the child: its stdin is closed, and if that does not end it, it is killed."""
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._closing):
                    await self._process.wait()
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    async def _write(self, data: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(_LENGTH.pack(len(data)) + data)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError, RuntimeError) as exc:  # the last is uvloop's, of a closed pipe
            raise ShareLost("a worker process ended at once; its output is above") from exc

    async def _read(self, seconds: float, too_late: str) -> Any:
        """The child's next message; ShareLost if none comes in time, not counting while this process is suspended."""
        reading = asyncio.create_task(self._read_one(), name="cpsim[worker].read")
        try:
            for _ in range(_CHECKS):
                if (await asyncio.wait([reading], timeout=seconds / _CHECKS))[0]:
                    return reading.result()
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.wait([reading])
        raise ShareLost(f"a worker process {too_late} {seconds:g} s")

    async def _read_one(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            (length,) = _LENGTH.unpack(await self._process.stdout.readexactly(_LENGTH.size))
            return pickle.loads(await self._process.stdout.readexactly(length))  # noqa: S301 - of our own child
        except asyncio.IncompleteReadError as exc:
            code = await self._process.wait()
            raise ShareLost(f"a worker process ended with status {code}") from exc


def _module_path() -> list[str]:
    """The folders in which this process finds modules, for a child to find the same, such as a scenario's.

    The working directory comes last, wherever it is in this process: a user's file with the name of a Python module,
    queue.py for example, does no harm in a kernel, which has imported Python's module already, but would in a child.
    """
    found = [each for each in sys.path if each]
    return found if len(found) == len(sys.path) else [*found, os.getcwd()]


# -- In the child -----------------------------------------------------------------------------------------------------


def main() -> None:
    """Receive a plan, carry it out, and report."""
    outbox = _Outbox(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what a scenario prints must not end up between the pickles
    try:
        share = Share(pickle.loads(_read_one()))  # noqa: S301 - of our own parent
        share.load()
    except Exception as exc:  # noqa: BLE001 - a module or a TLS file that this process does not find, for example
        outbox.put(str(exc))
        outbox.wait_sent()
    else:
        outbox.put("ready")
        run_fast(_carry_out(share, outbox))
    _exit()


class _Outbox:
    """Writes messages to the parent in a thread, as the parent may not read; exits the process if the parent is gone.

    Args:
        file: The file to write to.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._messages: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._write, name="cpsim[worker].outbox", daemon=True).start()

    @property
    def is_idle(self) -> bool:
        """Whether the parent, or the pipe to it, has taken all messages."""
        return not self._messages.unfinished_tasks

    def put(self, message: Any) -> None:
        """Send a message after those before; returns at once."""
        self._messages.put(pickle.dumps(message))

    def wait_sent(self) -> None:
        """Block until all messages are sent."""
        self._messages.join()

    def _write(self) -> None:
        while True:
            data = self._messages.get()
            try:
                self._file.write(_LENGTH.pack(len(data)) + data)
                self._file.flush()
            except OSError:  # the parent is gone
                os._exit(1)
            self._messages.task_done()


def _exit() -> None:
    """Exit at once: neither the thread that reads stdin nor a scenario that does not end is waited for."""
    sys.stderr.flush()
    os._exit(0)


async def _carry_out(share: Share, outbox: _Outbox) -> None:
    duration = pickle.loads(await asyncio.to_thread(_read_one))  # noqa: S301 - of our own parent
    running = asyncio.create_task(share.run(duration), name="cpsim[worker].share")
    ending = (asyncio.get_running_loop(), running, share.plan.cancel_timeout)
    threading.Thread(target=_end_with_stdin, args=ending, daemon=True).start()
    fault: BaseException | None = None
    while not running.done():
        await asyncio.wait([running], timeout=SAMPLE)
        if outbox.is_idle:  # otherwise the parent does not read: the table keeps the calls, 28 bytes each
            outbox.put(share.remote_report())
    if not running.cancelled():
        fault = running.exception()
    outbox.put(share.remote_report())
    outbox.put(("done", pack_errors(share.errors, fault)))
    outbox.wait_sent()  # nothing is measured any more; if the parent never reads again, stdin ends this process
    _exit()


def _read_one() -> bytes:
    head = sys.stdin.buffer.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        os._exit(0)  # the parent is gone
    return sys.stdin.buffer.read(_LENGTH.unpack(head)[0])


def _end_with_stdin(loop: asyncio.AbstractEventLoop, running: asyncio.Task[None], seconds: float) -> None:
    """When the parent closes the pipe, or dies, cancel the share; exit the process if that takes longer than this."""
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(running.cancel)
    time.sleep(seconds)
    os._exit(1)
