"""One side of benchmarks/sessions.py, in a process of its own: stations that charge, or charge points that only call.

Both run in uvloop, keep no messages, log nothing, and have the settings of the garbage collector of a fleet. The charge
points call with a payload that was made beforehand: a meter value that a station would send.

Its argument says what to do, as JSON. Prints "begin" and "end" around what is measured, then the result as JSON. Ends
when its standard input does, so it never outlives who started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import math
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.fleet_side import PATIENCE, end_with_stdin, spent
from cpsim_kit.basics.process import raise_file_limit
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.fleet.garbage_collection import COLLECTOR
from cpsim_kit.station.charging.evse import Evse
from cpsim_kit.station.charging.vehicle import Vehicle
from cpsim_kit.station.device_model.variables import Variables
from cpsim_kit.station.dialects import dialect_of
from cpsim_kit.station.rules.authorization import IdToken
from cpsim_kit.station.rules.core import Core
from cpsim_kit.station.rules.events import TICK, Accepted, Answer, PlugIn, Swipe
from cpsim_kit.station.station import Station

SETTLE = 2.0  # seconds between the last start and the measurement
TOKEN = "TAG-1"
OPTIONS: dict[str, Any] = {"max_messages": 0, "open_timeout": PATIENCE, "call_timeout": PATIENCE}


class Job(NamedTuple):
    """What to do; ``part`` is the name of a function here, ``interval`` is of meter values, in seconds."""

    side: str
    part: str
    url: str
    size: int
    interval: float = 60.0
    seconds: float = 0.0
    hours: float = 0.0
    loop: str = "uvloop"


def vehicle() -> Vehicle:
    """One that charges for eight hours at 11 kW; the power falls in the last of them."""
    return Vehicle(capacity_kwh=100, soc=0.0)


def meter_value() -> Any:
    """The TransactionEvent of a meter value, as a station makes it."""
    dialect = dialect_of("2.0.1", time.time(), 1)
    core = Core(dialect, [Evse()], Variables(dialect, {}))
    now, payload = 0.0, None
    core.handle(Accepted(), now)
    core.handle(PlugIn(vehicle()), now)
    core.handle(Swipe(IdToken(TOKEN)), now)
    for _ in range(20):
        while (message := core.take(now)) is not None:
            payload = message.payload
            results = dialect.version.call_results
            result = getattr(results, type(payload).__name__)
            answer = result(id_token_info={"status": "Accepted"}) if result is results.Authorize else None
            core.handle(Answer(message) if answer is None else dialect.read_answer(message, answer), now)
        now = core.due()
        core.handle(TICK, now)
    assert type(payload).__name__ == "TransactionEvent"
    return payload


# -- The sides --------------------------------------------------------------------------------------------------------


class Side(Protocol):
    """What starts, one after the other over an interval, and then sends a meter value each interval."""

    def __init__(self, job: Job) -> None: ...
    async def start(self, index: int) -> None: ...
    def sent(self) -> int: ...
    async def stop(self) -> None: ...


class Stations:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._stations: list[Station] = []

    async def start(self, index: int) -> None:
        variables = {"SampledDataCtrlr.TxUpdatedInterval": int(self._job.interval)}
        station = Station(f"CP-{index}", self._job.url, evses=[Evse()], variables=variables, record=False, **OPTIONS)
        await station
        self._stations.append(station)
        await station.plug_in(vehicle())
        await station.swipe(TOKEN)

    def sent(self) -> int:
        """TransactionEvents."""
        transactions = [station.evses[1].transaction for station in self._stations]
        return sum(each.seq_no for each in transactions if each is not None)

    async def stop(self) -> None:
        await asyncio.gather(*(station.close() for station in self._stations))


class ChargePoints:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._payload = meter_value()
        self._charge_points: list[ChargePoint] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._sent = 0

    async def start(self, index: int) -> None:
        charge_point = await ChargePoint(f"CP-{index}", self._job.url, **OPTIONS)
        await charge_point.boot()
        self._charge_points.append(charge_point)
        self._tasks.append(asyncio.create_task(self._call(charge_point)))

    async def _call(self, charge_point: ChargePoint) -> None:
        due = time.perf_counter()
        while True:
            due += self._job.interval
            await asyncio.sleep(due - time.perf_counter())
            await charge_point.call(self._payload)
            self._sent += 1

    def sent(self) -> int:
        return self._sent

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(each.close() for each in self._charge_points))


SIDES: dict[str, type[Side]] = {"station": Stations, "call": ChargePoints}


@contextlib.asynccontextmanager
async def started(job: Job) -> AsyncIterator[Side]:
    """All have started, their moments spread over an interval."""
    side = SIDES[job.side](job)

    async def start(index: int) -> None:
        await asyncio.sleep(index / job.size * job.interval)
        await side.start(index)

    with COLLECTOR.paused() as resume:
        async with asyncio.TaskGroup() as group:
            for index in range(job.size):
                group.create_task(start(index))
        resume()
        await asyncio.sleep(SETTLE)
        yield side
        await side.stop()


async def warm_up(job: Job) -> None:
    """One, so that what is made once in a process is not counted with the others."""
    async with started(job._replace(size=1, interval=1)) as side:
        while not side.sent():
            await asyncio.sleep(0.1)


# -- What is measured -------------------------------------------------------------------------------------------------


async def cpu(job: Job) -> dict[str, Any]:
    """CPU of the process for each TransactionEvent."""
    async with started(job) as side:
        before = side.sent()
        with spent() as span:
            await asyncio.sleep(job.seconds)
            count = side.sent() - before
    return {"cpu_us": span.cpu / count * 1e6, "count": count, "due": job.size * job.seconds / job.interval}


async def memory(job: Job) -> dict[str, Any]:
    """What each takes, when each has sent a meter value."""
    gc.collect()
    before = psutil.Process().memory_full_info()
    async with started(job):
        await asyncio.sleep(job.interval)
        with spent():
            gc.collect()
            after = psutil.Process().memory_full_info()
    return {
        "uss_kib": (after.uss - before.uss) / job.size / 1024,
        "rss_kib": (after.rss - before.rss) / job.size / 1024,
    }


async def sessions(job: Job) -> dict[str, Any]:
    """Whole sessions as fast as the answers come, or as many calls."""
    values = round(job.hours * 3600 / job.interval)
    truth: dict[str, float] = {}
    with COLLECTOR.paused() as resume:
        if job.side == "station":
            stations = [
                Station(f"CP-{index}", f"{job.url}/ledger", record=False, speed=math.inf, **OPTIONS)
                for index in range(job.size)
            ]
            await asyncio.gather(*(station.connect() for station in stations))
            work: list[Coroutine[Any, Any, Any]] = [
                station.charge(vehicle(), token=TOKEN, minutes=job.hours * 60) for station in stations
            ]
        else:
            payload = meter_value()
            charge_points = [ChargePoint(f"CP-{index}", f"{job.url}/ledger", **OPTIONS) for index in range(job.size)]
            await asyncio.gather(*(each.connect() for each in charge_points))

            async def call(charge_point: ChargePoint) -> None:
                for _ in range(values):
                    await charge_point.call(payload)

            work = [call(charge_point) for charge_point in charge_points]
        resume()
        with spent() as span:
            await asyncio.gather(*work)
        if job.side == "station":
            for station in stations:
                frame = station.truth()
                truth |= dict(zip(frame["transaction_id"], frame["energy_wh"], strict=True))
            await asyncio.gather(*(station.close() for station in stations))
        else:
            await asyncio.gather(*(each.close() for each in charge_points))
    count = job.size * values
    rates = {"values_per_s": count / span.wall, "cpu_us": span.cpu / count * 1e6}
    return rates | {"values": values, "truth": truth}


PARTS = {function.__name__: function for function in (cpu, memory, sessions)}


async def main(job: Job) -> None:
    raise_file_limit()
    await warm_up(job)
    print(json.dumps(await PARTS[job.part](job)), flush=True)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    job = Job(**json.loads(sys.argv[1]))
    (uvloop.run if job.loop == "uvloop" else asyncio.run)(main(job))
    sys.stdout.flush()
    os._exit(0)  # not past the thread that reads stdin
