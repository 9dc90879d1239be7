"""One side of benchmarks/fleet.py, in a process of its own: a fleet of the kit, or charge points of the ocpp package.

Both run in uvloop, or where told so in asyncio's own loop, on the schedule of the kit's Fleet, with its options, pings
included, and without logging. Both leave the garbage collector off while charge points start, and what is there then
out of it: the kit's Fleet does so by itself, and for the ocpp package it is done here, so that what is compared is not
a setting of Python's.

Told by its argument what to do, as JSON. Prints "begin" and "end" around what is measured, then what came of it as
JSON. Ends when its standard input does, so it never outlives who started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import ocpp.v201
import psutil
import uvloop
from ocpp.v201 import call
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

sys.path.insert(0, str(Path(__file__).parents[1]))

from cpsim_kit import ChargePoint, Fleet
from cpsim_kit.basics.clock import epoch
from cpsim_kit.basics.process import raise_file_limit
from cpsim_kit.fleet.garbage_collection import THRESHOLD
from cpsim_kit.fleet.pacing import first_heartbeat
from cpsim_kit.ocpp_j.versions import Version

NEVER = 1e6  # seconds
PATIENCE = 300.0  # seconds to wait for a connection or an answer: all come at once here, and a slow side takes long
SETTLE = 2.0  # seconds between the last boot and the measurement of heartbeats
LOOK = 0.05  # seconds


class Job(NamedTuple):
    """What to do; ``part`` is the name of a function here."""

    side: str
    part: str
    url: str
    size: int
    seconds: float = 0.0
    interval: float = NEVER
    burst: bool = False
    processes: int = 1
    loop: str = "uvloop"


class Calls(NamedTuple):
    """Of one action: how long each answered call took, in milliseconds, and when its answer came, since the epoch."""

    latency_ms: np.ndarray
    answered: np.ndarray


class Side(Protocol):
    """Charge points that start, boot, and send heartbeats until they are stopped."""

    def start(self) -> None: ...
    def booted(self) -> int: ...
    def lost(self) -> int: ...
    def calls(self, action: str) -> Calls: ...
    async def stop(self) -> None: ...


# -- The kit ----------------------------------------------------------------------------------------------------------


def fleet_of(job: Job, **options: Any) -> Fleet:
    options = {"heartbeat_interval": job.interval, "burst": job.burst} | options
    return Fleet(
        job.url, job.size, ramp_time=0, processes=job.processes, open_timeout=PATIENCE, call_timeout=PATIENCE, **options
    )


class Kit:
    def __init__(self, job: Job, **options: Any) -> None:
        self._fleet = fleet_of(job, **options)

    def start(self) -> None:
        self._running = asyncio.create_task(self._fleet.run(NEVER, progress=False))

    def booted(self) -> int:
        if self._running.done():
            raise RuntimeError(f"the fleet ended: {self._running}")
        return 0 if self._fleet.result is None else self._fleet.result.booted

    def lost(self) -> int:
        """Calls that failed, and charge points that are not connected any more."""
        result = self._fleet.result
        assert result is not None
        return result.calls.failures + result.connected - result.samples[-1][1] + len(result.lost)

    def calls(self, action: str) -> Calls:
        assert self._fleet.result is not None
        table = self._fleet.result.calls
        arrays, words = table.arrays(), table.words()
        if action not in words["action"]:
            return Calls(np.empty(0), np.empty(0))
        is_it = (arrays["action"] == words["action"].index(action)) & ~np.isnan(arrays["latency"])
        latency = arrays["latency"][is_it].astype("float64")
        return Calls(latency, arrays["sent"][is_it] + latency / 1000)

    async def stop(self) -> None:
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running


# -- The ocpp package -------------------------------------------------------------------------------------------------


class OcppPackage:
    """The kit's schedule, kept by hand."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._starts = fleet_of(job)._plan.starts
        self._moments = {"BootNotification": array("d"), "Heartbeat": array("d")}  # sent, answered, sent, answered, …
        self._lost = 0
        self._open = 0

    def start(self) -> None:
        raise_file_limit()
        self._began = time.perf_counter()
        gc.disable()
        self._tasks = [asyncio.create_task(self._live(each, phase)) for each, (_, phase) in self._starts.items()]

    def booted(self) -> int:
        if self._lost:
            raise RuntimeError(f"{self._lost} of the ocpp package's charge points failed")
        count = len(self._moments["BootNotification"]) // 2
        if count == self._job.size and not gc.isenabled():
            gc.collect()
            gc.freeze()
            gc.set_threshold(THRESHOLD)
            gc.enable()
        return count

    def lost(self) -> int:
        return self._lost

    def calls(self, action: str) -> Calls:
        moments = np.array(self._moments[action])
        sent, answered = moments[::2], moments[1::2]
        return Calls((answered - sent) * 1000, np.array([epoch(each) for each in answered.tolist()]))

    async def stop(self) -> None:
        left = set(self._tasks)
        while left:  # wait_for() of Python 3.11, in the package's call(), now and then swallows one
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=1)

    async def _live(self, charge_point_id: str, phase: float) -> None:
        try:
            ws = await connect(
                f"{self._job.url}/{charge_point_id}",
                subprotocols=[Subprotocol("ocpp2.0.1")],
                compression=None,
                proxy=None,
                open_timeout=PATIENCE,
            )
            try:
                cp = ocpp.v201.ChargePoint(charge_point_id, ws, response_timeout=PATIENCE)
                async with asyncio.TaskGroup() as group:
                    reader = group.create_task(cp.start())
                    await self._boot_and_beat(cp, phase)
                    reader.cancel()
            finally:
                await ws.close()
        except Exception:
            self._lost += 1
            raise

    async def _boot_and_beat(self, cp: ocpp.v201.ChargePoint, phase: float) -> None:
        station = {"model": "CPSIM-1", "vendor_name": "cpsim_kit", "serial_number": cp.id, "firmware_version": "1.0.0"}
        await self._timed(cp, call.BootNotification(charging_station=station, reason="PowerUp"))
        interval = self._job.interval
        due = first_heartbeat(self._began, time.perf_counter(), interval, None if self._job.burst else phase)
        while True:
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            due += interval
            await self._timed(cp, call.Heartbeat())

    async def _timed(self, cp: ocpp.v201.ChargePoint, payload: Any) -> None:
        sent = time.perf_counter()
        await cp.call(payload, suppress=False)
        self._moments[type(payload).__name__].extend((sent, time.perf_counter()))


SIDES = {"kit": Kit, "ocpp": OcppPackage}


# -- What is measured -------------------------------------------------------------------------------------------------


class Span:
    """What was spent between its beginning and its end, which the parent hears of."""

    wall = cpu = 0.0

    def __init__(self) -> None:
        self._family = [psutil.Process()]

    def begin(self) -> None:
        self._family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        print("begin", flush=True)
        self.began, self._cpu = time.perf_counter(), self._cpu_of_all()

    def end(self) -> None:
        self.ended, self.cpu = time.perf_counter(), self._cpu_of_all() - self._cpu
        self.wall = self.ended - self.began
        print("end", flush=True)

    def count(self, calls: Calls) -> int:
        """How many were answered meanwhile."""
        return int(((calls.answered > epoch(self.began)) & (calls.answered <= epoch(self.ended))).sum())

    def _cpu_of_all(self) -> float:
        """Seconds of this process, by its own finer clock, and of its children; threads included."""
        children = (process.cpu_times() for process in self._family[1:])
        return time.process_time() + sum(times.user + times.system for times in children)


@contextlib.contextmanager
def spent() -> Iterator[Span]:
    span = Span()
    span.begin()
    yield span
    span.end()


async def all_booted(side: Side, size: int) -> None:
    while side.booted() < size:
        await asyncio.sleep(LOOK)


async def warm_up(job: Job) -> None:
    """One charge point, so that what is made once in a process is not counted with the others."""
    job = job._replace(size=1, interval=0.05, burst=False, processes=1)
    side = SIDES[job.side](job)
    side.start()
    await all_booted(side, 1)
    while not len(side.calls("Heartbeat").answered):
        await asyncio.sleep(LOOK)
    await side.stop()


async def boots(job: Job) -> dict[str, float]:
    """All connect and boot at once."""
    side: Side = SIDES[job.side](job)
    with spent() as span:
        side.start()
        await all_booted(side, job.size)
    last = side.calls("BootNotification").answered.max() - epoch(span.began)
    await side.stop()
    return {"boots_per_s": job.size / last, "boots_per_cpu_s": job.size / span.cpu}


async def beats(job: Job) -> dict[str, float]:
    """The heartbeats of some seconds; whole intervals, begun between two bursts where there are any."""
    side: Side = SIDES[job.side](job)
    started = time.perf_counter()
    side.start()
    await all_booted(side, job.size)
    now = time.perf_counter() + SETTLE
    await asyncio.sleep(SETTLE + job.interval - (now - started + job.interval / 2) % job.interval)
    with spent() as span:
        await asyncio.sleep(job.seconds)
    await asyncio.sleep(1)  # until the kit's table has them
    calls, lost = side.calls("Heartbeat"), side.lost()
    await side.stop()
    count = span.count(calls)
    return {
        "cpu_us": span.cpu / count * 1e6,
        "count": count,
        "lost": lost,
        "p99_ms": float(np.quantile(calls.latency_ms, 0.99)),
    }


async def memory(job: Job) -> dict[str, float]:
    """What each takes, connected and booted; both sides have imported the ocpp package before."""
    Version.get("2.0.1").load()
    gc.collect()
    before = psutil.Process().memory_full_info()
    side: Side = SIDES[job.side](job)
    with spent():
        side.start()
        await all_booted(side, job.size)
    gc.collect()
    after = psutil.Process().memory_full_info()
    await side.stop()
    return {
        "uss_kib": (after.uss - before.uss) / job.size / 1024,
        "rss_kib": (after.rss - before.rss) / job.size / 1024,
    }


async def soak(job: Job) -> dict[str, float]:
    """All boot at once; then each sends the heartbeats of whole intervals, at its own phase."""
    side: Side = SIDES[job.side](job)
    started = time.perf_counter()
    side.start()
    await all_booted(side, job.size)
    await asyncio.sleep(SETTLE)
    with spent() as span:
        await asyncio.sleep(job.seconds)
    await asyncio.sleep(1)  # until the kit's table has them
    boot, beat, lost = side.calls("BootNotification"), side.calls("Heartbeat"), side.lost()
    await side.stop()
    return {
        "boots_per_s": job.size / (boot.answered.max() - epoch(started)),
        "booted": len(boot.answered),
        "count": span.count(beat),
        "due": job.size * job.seconds / job.interval,  # those on their way at the beginning make up for the end's
        "lost": lost,
        "p99_ms": float(np.quantile(beat.latency_ms, 0.99)),
        "cpu": span.cpu / span.wall,
    }


async def scaling(job: Job) -> dict[str, float]:
    """Heartbeats without a pause, each charge point's next as soon as the one before is answered."""

    async def scenario(cp: ChargePoint) -> None:
        logging.disable(logging.CRITICAL)  # in the fleet's own processes too
        await cp.boot()
        payload = cp.heartbeat_payload
        while True:
            await cp.call(payload)

    side = Kit(job, scenario=scenario)
    side.start()
    await all_booted(side, job.size)
    await asyncio.sleep(SETTLE)
    with spent() as span:
        await asyncio.sleep(job.seconds)
    await asyncio.sleep(1)  # until the table has them
    calls = side.calls("Heartbeat")
    await side.stop()
    count = span.count(calls)
    return {"calls_per_s": count / span.wall, "cpu_us": span.cpu / count * 1e6}


PARTS = {function.__name__: function for function in (boots, beats, memory, soak, scaling)}


async def main(job: Job) -> None:
    await warm_up(job)
    print(json.dumps(await PARTS[job.part](job)), flush=True)


def end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # both sides log each message, to the same logger
    threading.Thread(target=end_with_stdin, daemon=True).start()
    job = Job(**json.loads(sys.argv[1]))
    (uvloop.run if job.loop == "uvloop" else asyncio.run)(main(job))
    sys.stdout.flush()
    os._exit(0)  # not past the thread that reads stdin
