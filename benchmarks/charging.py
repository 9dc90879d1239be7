"""Stations that charge on the local stack: what is lost, whether the bill is right, and how long an answer takes.

    python -m benchmarks.charging --size 500
    python -m benchmarks.charging --size 200 --csms lambda

Each station has two drivers, who come within half an hour of its clock and charge for 20 to 30 minutes. The stations
are on the same computer as the stack, and take their share of it. Exit status 1 when something is lost or billed wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from cpsim_kit import Evse, Fleet, Stack, Station, Vehicle


async def drive(station: Station, chance: random.Random) -> None:
    car = Vehicle(60, soc=chance.uniform(0.1, 0.5), max_kw=11)
    await station.charge(car, token=f"TAG-{chance.randint(1, 99)}", minutes=chance.uniform(20, 30))


def arrivals(chance: random.Random) -> Iterator[float]:
    yield chance.uniform(0, 600)
    yield chance.uniform(600, 1800)


async def run(options: argparse.Namespace) -> bool:
    variables = {"SampledDataCtrlr.TxUpdatedInterval": options.sample}
    station = {"speed": options.speed, "evses": [Evse(max_kw=11)], "variables": variables}
    async with Stack.local(csms=options.csms, name="Charging") as stack:
        fleet = Fleet(stack, options.size, ramp=100, station=station, scenario=drive, arrivals=arrivals)
        result = await fleet.run(duration=options.duration)
        ledger = await stack.transactions.compare(result)
    sessions, events = result.sessions(), result.summary().loc["TransactionEvent"]
    wrong = ledger.difference_wh.abs().fillna(float("inf"))
    checks = {
        f"sessions: {len(sessions)} of {2 * options.size}": len(sessions) == 2 * options.size,
        f"messages answered: {sessions.answered.sum()} of {sessions.messages.sum()}": bool(
            (sessions.answered == sessions.messages).all()
        ),
        f"largest difference of ledger and meter: {wrong.max():g} Wh": wrong.max() == 0,
        f"seqNos missing in the ledger: {ledger.missing.map(len).sum()}": not any(ledger.missing),
        f"failed calls: {result.calls.failures}": result.calls.failures == 0,
    }
    print(f"\n{result}, csms={options.csms}, speed {options.speed:g}")
    print(
        f"TransactionEvent: {events['count']:.0f}, p50 {events.p50_ms:.1f} ms, p95 {events.p95_ms:.1f} ms, "
        f"p99 {events.p99_ms:.1f} ms, max {events.max_ms:.1f} ms"
    )
    for text, holds in checks.items():
        print(f"{'ok    ' if holds else 'MISSED'} {text}")
    return all(checks.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=500, help="stations (%(default)s)")
    parser.add_argument("--csms", choices=["kit", "lambda"], default="kit", help="(%(default)s)")
    parser.add_argument("--speed", type=float, default=60, help="of the stations' clock (%(default)s)")
    parser.add_argument("--sample", type=int, default=600, help="seconds between meter values (%(default)s)")
    parser.add_argument("--duration", type=float, default=240, help="the most that it takes, in seconds (%(default)s)")
    return 0 if asyncio.run(run(parser.parse_args())) else 1


if __name__ == "__main__":
    sys.exit(main())
