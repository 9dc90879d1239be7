"""A share of a fleet in another process of this machine: the child, and its parent's end.

They exchange pickles over the child's stdin and stdout, each after its length. The child ends when its stdin does, so
it never outlives its parent. What it measured comes twice a second: a lost child takes no more with it than that.
A thread writes it: where the parent does not read, stopped or busy, the child goes on measuring, keeps the calls in its
compact table, and sends all of them once the parent reads again.
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
import traceback
from collections.abc import Callable, Coroutine
from typing import IO, Any

from cpsim_kit.errors import CpsimError
from cpsim_kit.fleet.share import Delta, Part, Plan

__all__ = ["SAMPLE", "Worker", "WorkerLost", "fast_loop", "faults", "packed"]

SAMPLE = 0.5  # seconds between two deltas
_LENGTH = struct.Struct("!I")
_READY = 60.0  # seconds for a child to start
_SILENCE = 30.0  # seconds without a delta after which a child is given up: it hangs, or was stopped
_LOOKS = 20  # in how many parts a parent waits: while it is stopped itself, one of them goes by at most
_CLOSING = 10.0  # seconds for a child to end, once its stdin has
_LAST_WORDS = 5.0  # seconds in which it closes its connections


class WorkerLost(Exception):
    """A child ended before its share did."""


class Worker:
    """A child process, seen from its parent."""

    where = "in another process"

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.errors: list[CpsimError] = []
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the child and hand it its plan; returns once it is ready to begin.

        Raises:
            WorkerLost: It did not start.
            ValueError: The plan cannot be sent, or not be read there.
        """
        plan = packed(self.plan)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-c", "from cpsim_kit.fleet.processes import main; main()"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=2**24,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(_module_path())},
                start_new_session=True,  # Ctrl-C is its parent's to handle
            )
        except OSError as exc:  # no memory, or no more processes allowed
            raise WorkerLost(f"a worker process could not be started: {exc.strerror}") from exc
        await self._write(plan)
        said = await self._read(_READY, "was not ready within")
        if said != "ready":
            raise ValueError(f"a worker process cannot read this fleet: {said}")

    async def run(self, told: Callable[[Delta], None]) -> None:
        """Let it begin, and hand on what it measures, until it has ended.

        Raises:
            WorkerLost: It ended before its share did.
            Exception: A scenario's own fault.
        """
        await self._write(pickle.dumps("go"))
        while True:
            match await self._read(_SILENCE, "has said nothing for"):
                case Delta() as delta:
                    told(delta)
                case "done", bytes(packed):
                    self.errors, fault = pickle.loads(packed)  # noqa: S301 - of our own child
                    if fault is not None:
                        raise fault
                    return
                case unknown:
                    raise WorkerLost(f"a worker said {unknown!r}")

    async def close(self) -> None:
        """End the child, whatever it does."""
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSING):
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
        except (BrokenPipeError, ConnectionResetError) as exc:
            raise WorkerLost("a worker process ended at once; what it says stands above") from exc

    async def _read(self, seconds: float, too_late: str) -> Any:
        """What the child says next; WorkerLost where it says nothing while this process looks, for so many seconds."""
        reading = asyncio.create_task(self._read_one(), name="cpsim[worker].read")
        try:
            for _ in range(_LOOKS):
                if (await asyncio.wait([reading], timeout=seconds / _LOOKS))[0]:
                    return reading.result()
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.wait([reading])
        raise WorkerLost(f"a worker process {too_late} {seconds:g} s")

    async def _read_one(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            (length,) = _LENGTH.unpack(await self._process.stdout.readexactly(_LENGTH.size))
            return pickle.loads(await self._process.stdout.readexactly(length))  # noqa: S301 - of our own child
        except asyncio.IncompleteReadError as exc:
            code = await self._process.wait()
            raise WorkerLost(f"a worker process ended with status {code}") from exc


def _module_path() -> list[str]:
    """Where a worker finds the modules that this process finds, a scenario's included.

    The working directory comes last, whatever its place here: a file of the reader that is called like a module of
    Python was harmless in a kernel, which had imported that module before.
    """
    found = [each for each in sys.path if each]
    return found if len(found) == len(sys.path) else [*found, os.getcwd()]


def packed(plan: Plan) -> bytes:
    """A plan as a pickle, with functions of a notebook.

    Raises:
        ValueError: Something in it cannot be sent to another process.
    """
    import cloudpickle  # noqa: PLC0415 - only a fleet of several processes sends functions of a notebook

    try:
        plan_: bytes = cloudpickle.dumps(plan)
    except Exception as exc:
        raise ValueError(
            f"this fleet cannot be sent to another process: {exc}. What the scenario, the attributes' function and the "
            "options refer to is sent along: make connections, locks and the like inside of these functions"
        ) from exc
    return plan_


def faults(errors: list[CpsimError], fault: BaseException | None) -> bytes:
    """What went wrong, as a pickle with the fault's traceback as a note; what cannot be pickled in words."""
    import cloudpickle  # noqa: PLC0415 - an exception's class may be of a notebook

    if fault is not None:
        fault.add_note("In the process of the fleet:\n" + "".join(traceback.format_exception(fault)))
    for error in (*errors, fault):
        if error is not None:  # Dask teaches pickle to take tracebacks along, and with them whatever they hold
            error.__traceback__ = error.__cause__ = error.__context__ = None
    try:
        packed: bytes = cloudpickle.dumps((errors, fault))
        pickle.loads(packed)  # noqa: S301 - our own; an exception whose class takes other arguments cannot be read
    except Exception:  # noqa: BLE001 - whatever an exception of somebody else carries
        in_words = RuntimeError(f"{type(fault).__name__}: {fault}")
        for note in getattr(fault, "__notes__", []):
            in_words.add_note(note)
        packed = cloudpickle.dumps((errors, in_words))
    return packed


def fast_loop(main: Coroutine[Any, Any, None]) -> None:
    """``asyncio.run`` in uvloop, where there is one."""
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


# -- In the child -----------------------------------------------------------------------------------------------------


def main() -> None:
    """Receive a plan, carry it out, and tell what was measured."""
    outbox = _Outbox(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what a scenario prints must not end up between the pickles
    try:
        part = Part(pickle.loads(_read_one()))  # noqa: S301 - of our own parent
    except Exception as exc:  # noqa: BLE001 - a module that is not here, a TLS file that is not, and what not
        outbox.put(str(exc))
        outbox.wait_sent()
    else:
        outbox.put("ready")
        fast_loop(_carry_out(part, outbox))
    _exit()


class _Outbox:
    """Writes messages to the parent in a thread, as it may not read; ends this process where the parent is gone.

    Args:
        file: Where to.
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
    """Not past the thread that reads stdin, nor past a scenario that does not end."""
    sys.stderr.flush()
    os._exit(0)


async def _carry_out(part: Part, outbox: _Outbox) -> None:
    await asyncio.to_thread(_read_one)
    running = asyncio.create_task(part.run(), name="cpsim[worker].part")
    threading.Thread(target=_end_with_stdin, args=[asyncio.get_running_loop(), running], daemon=True).start()
    fault: BaseException | None = None
    while not running.done():
        await asyncio.wait([running], timeout=SAMPLE)
        if outbox.is_idle:  # otherwise the parent does not read: the table keeps the calls, 28 bytes each
            outbox.put(part.delta())
    if not running.cancelled():
        fault = running.exception()
    outbox.put(part.delta())
    outbox.put(("done", faults(part.errors, fault)))
    outbox.wait_sent()  # nothing is measured any more; where the parent never reads again, it ends this process
    _exit()


def _read_one() -> bytes:
    head = sys.stdin.buffer.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        os._exit(0)  # the parent is gone
    return sys.stdin.buffer.read(_LENGTH.unpack(head)[0])


def _end_with_stdin(loop: asyncio.AbstractEventLoop, running: asyncio.Task[None]) -> None:
    """When the parent closes the pipe, or dies, end the share; and this process where that does not help."""
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(running.cancel)
    time.sleep(_LAST_WORDS)
    os._exit(1)
