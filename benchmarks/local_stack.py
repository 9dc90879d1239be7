"""1,000 charge points on the local stack, one heartbeat a second each, with a topic rule and a monitor beside them.

    python benchmarks/local_stack.py --size 1000 --duration 60 --interval 1

The charge points are plain tasks of this process, which is on the same computer as the stack and takes its share of
it. Exit status 1 when something was lost, or the slowest hundredth took longer than --p99.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import random
import sys
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from cpsim_kit import ChargePoint, Stack
from cpsim_kit.errors import CpsimError

RULE = "SELECT topic(1) AS chargePointId, timestamp() AS lastTimestamp FROM '+/in' WHERE get(*, 2) = 'Heartbeat'"
AT_ONCE = 50  # connections being opened


class Load:
    """What the charge points did."""

    def __init__(self) -> None:
        self.sent = 0
        self.latencies: list[float] = []
        self.errors: list[CpsimError] = []
        self.late = 0.0  # seconds, the most that a heartbeat was behind its time

    async def beat(self, cp: ChargePoint, first: float, interval: float, count: int) -> None:
        """Heartbeats at fixed times, whatever the answers take; a second one is not sent before the first's answer."""
        loop = asyncio.get_running_loop()
        for number in range(count):
            due = first + number * interval
            await asyncio.sleep(due - loop.time())
            self.late = max(self.late, loop.time() - due)
            self.sent += 1
            try:
                self.latencies.append((await cp.heartbeat()).latency_ms)
            except CpsimError as exc:
                self.errors.append(exc)


class Meter:
    """CPU time and memory of processes, between two looks."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        self._processes = processes
        self._most = dict.fromkeys(processes, 0)
        self._started = time.perf_counter()
        self._before = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}

    def look(self) -> None:
        for name, process in self._processes.items():
            self._most[name] = max(self._most[name], process.memory_info().rss)

    def lines(self) -> list[str]:
        self.look()
        elapsed = time.perf_counter() - self._started
        return [
            f"{name:24} CPU {(sum(process.cpu_times()[:2]) - self._before[name]) / elapsed:6.1%} of a core, "
            f"memory {self._most[name] / 2**20:.0f} MiB"
            for name, process in self._processes.items()
        ]


async def run(options: argparse.Namespace) -> bool:
    ids = [f"LOAD-{number:05}" for number in range(options.size)]
    async with Stack.local() as stack:
        assert stack._process is not None
        started = time.perf_counter()
        created = await stack.things.create_many(ids, progress=sys.stderr.isatty())
        assert len(created.done) == options.size, created
        print(f"created {options.size} Things in {time.perf_counter() - started:.1f} s")
        async with (
            stack.rule("benchmark", sql=RULE, table="benchmark") as rule,
            stack.monitor("+/in", "+/out", limit=10**7) as monitor,
        ):
            charge_points = [stack.charge_point(name, max_messages=10, ping_interval=None) for name in ids]
            await connect(charge_points)
            load = Load()
            gc.collect()
            gc.freeze()  # a thousand charge points are there to stay; looking them through again takes 100 ms
            count = math.floor(options.duration / options.interval)
            meter = Meter({"the stack": psutil.Process(stack._process.pid), "load and monitor": psutil.Process()})
            begin = asyncio.get_running_loop().time() + 0.5
            async with asyncio.TaskGroup() as group:
                for cp in charge_points:
                    first = begin + random.random() * options.interval  # as charge points are: not in step
                    group.create_task(load.beat(cp, first, options.interval, count))
                watch = group.create_task(look(meter))
                asyncio.get_running_loop().call_later(options.duration + options.interval, watch.cancel)
            usage = meter.lines()
            seen = await settled(monitor, 2 * load.sent)
            rows = len(await rule.items())
            gaps, dropped = len(monitor.gaps), monitor.dropped
            await asyncio.gather(*(cp.close() for cp in charge_points))
        started = time.perf_counter()
        await stack.things.delete_many(ids, progress=sys.stderr.isatty(), timeout=300)
        print(f"deleted them in {time.perf_counter() - started:.1f} s")
    return report(options, load, count, seen, rows, gaps, dropped, usage)


async def connect(charge_points: list[ChargePoint]) -> None:
    started = time.perf_counter()
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(cp: ChargePoint) -> None:
        async with turn:
            await cp.connect()
            await cp.boot()

    await asyncio.gather(*map(one, charge_points))
    print(f"connected and booted them in {time.perf_counter() - started:.1f} s")


async def look(meter: Meter) -> None:
    while True:
        meter.look()
        await asyncio.sleep(1)


async def settled(monitor: Any, expected: int) -> int:
    """How many heartbeats and answers the monitor has seen, once all have, or no more come."""
    found, before = 0, -1
    while found < expected and found > before:
        before = found
        await asyncio.sleep(1)
        found = sum(message.action == "Heartbeat" for message in monitor.messages)
    return found


def report(
    options: argparse.Namespace,
    load: Load,
    count: int,
    seen: int,
    rows: int,
    gaps: int,
    dropped: int,
    usage: list[str],
) -> bool:
    ordered = sorted(load.latencies)
    answered = len(ordered)
    lost = load.sent - answered

    def percentile(part: float) -> float:
        return ordered[min(answered - 1, math.ceil(part * answered) - 1)] if ordered else math.inf

    p99 = percentile(0.99)
    checks = {
        f"heartbeats sent: {load.sent} of {options.size * count}": load.sent == options.size * count,
        f"answered: {answered}, lost: {lost}": lost == 0,
        f"p99 {p99:.1f} ms, target under {options.p99:g} ms": p99 < options.p99,
        f"monitor saw {seen} of {2 * load.sent} frames, {gaps} gaps, {dropped} dropped": seen == 2 * load.sent
        and not gaps
        and not dropped,
        f"rows of the rule's table: {rows} of {options.size}": rows == options.size,
    }
    print(f"\n{options.size} charge points, a heartbeat every {options.interval:g} s each, {options.duration:g} s")
    print(
        f"latency: p50 {percentile(0.5):.1f} ms, p95 {percentile(0.95):.1f} ms, p99 {p99:.1f} ms, "
        f"max {percentile(1):.1f} ms; the load generator was at most {load.late * 1000:.0f} ms late"
    )
    for line in usage:
        print(line)
    for text, holds in checks.items():
        print(f"{'ok    ' if holds else 'MISSED'} {text}")
    for error in load.errors[:3]:
        print(f"       e.g. {error}")
    return all(checks.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=1000, help="charge points (%(default)s)")
    parser.add_argument("--duration", type=float, default=60, help="seconds (%(default)s)")
    parser.add_argument("--interval", type=float, default=1, help="seconds between heartbeats (%(default)s)")
    parser.add_argument("--p99", type=float, default=250, help="milliseconds, the target (%(default)s)")
    return 0 if asyncio.run(run(parser.parse_args())) else 1


if __name__ == "__main__":
    sys.exit(main())
