"""Stations that charge: CPU for a TransactionEvent beside a bare call, memory, and whole sessions at infinite speed.

The part ``profiles`` has one side and no server: what charging profiles cost, see benchmarks/schedules.py.

Each measurement is a process of its own (benchmarks/sessions_side.py), and so is the server, a stub. The two sides take
turns, so that a slow moment of the machine meets both, and ratios are made within each round. A station is one of OCPP
2.0.1 with one EVSE and the default measurands, and keeps no record. The other side has the same number of connections
and the same schedule, and sends a payload that was made beforehand with ``ChargePoint.call``.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import schedules
from benchmarks.calls import Server
from benchmarks.fleet import Target, measure, median, row

SIDES = ("station", "call")
PARTS = ("cpu", "memory", "sessions", "profiles")
MOST_CPU = 2.0  # times the CPU of a bare call
MOST_KIB = 40.0  # for each station
MOST_COMPOSITE_US, MOST_LIMIT_US = 2000.0, 20.0

Rounds = list[dict[str, dict[str, Any]]]


def run(options: argparse.Namespace) -> dict[str, Rounds]:
    """All parts, a round of each after the other."""
    jobs = {
        "cpu": {"size": options.stations, "interval": options.interval, "seconds": options.seconds},
        "memory": {"size": options.stations, "interval": options.interval},
        "sessions": {"size": options.sessions, "hours": options.hours},
    }
    found: dict[str, Rounds] = {part: [] for part in options.parts if part in jobs}
    began = time.perf_counter()
    server = Server()
    try:
        for number in range(options.rounds):
            for part, rounds in found.items():
                results = {}
                for side in SIDES if number % 2 == 0 else SIDES[::-1]:  # who begins changes with the rounds
                    job = jobs[part] | {"loop": options.loop}
                    result = measure(server, dict(os.environ), side, part, "sessions_side.py", **job)
                    if part == "sessions" and side == "station":
                        result["lost"] = count_lost(server.ledger(), result["truth"], result["values"])
                    result.pop("truth", None)
                    results[side] = result
                    shown = ", ".join(f"{key} {value:,.4g}" for key, value in result.items())
                    head = f"{time.perf_counter() - began:5.0f} s: round {number + 1} of {options.rounds}"
                    print(f"{head}, {part}, {side}: {shown}", file=sys.stderr, flush=True)
                rounds.append({side: results[side] for side in SIDES})
    finally:
        server.close()
    return found


def count_lost(ledger: dict[str, list[int]], truth: dict[str, float], values: int) -> int:
    """How many transactions the server knows otherwise than the stations: a message is missing, or energy differs.

    Args:
        ledger: What the server was sent, see ``stub_server.Ledger``.
        truth: Wh by the id of the transaction.
        values: Meter values between start and end, of each.
    """
    lost = 0
    for transaction_id, energy_wh in truth.items():
        _, gaps, received, first_wh, last_wh = ledger.get(transaction_id, (0, 1, 0, 0, 0))
        lost += bool(gaps) or received != values or last_wh - first_wh != energy_wh
    return lost


def report(options: argparse.Namespace, found: dict[str, Rounds]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in ("ocpp", "websockets", "uvloop"))
    yield f"Medians of {options.rounds} rounds in {options.loop}; ratios are of each round, with lowest and highest."
    yield f"Python {platform.python_version()}, {versions}, {psutil.cpu_count()} cores."
    if samples := [result for rounds in found.values() for each in rounds for result in each.values()]:
        server, others = (max(sample[key] for sample in samples) for key in ("server", "others"))
        yield f"The server used at most {server:.0%} of a core, other processes of the machine {others:.0%}."
    yield "\n| | stations | bare calls | ratio | target | |\n|---|---:|---:|---:|---|---|"
    if rounds := found.get("cpu", []):
        what = f"CPU for a TransactionEvent, {options.stations:,} at {options.interval:g} s, µs"
        yield row(what, rounds, "cpu_us", "{:.0f}", Target(MOST_CPU, at_least=False))
    if rounds := found.get("memory", []):
        for name, key in ((f"memory, {options.stations:,}, USS, KiB", "uss_kib"), ("the same, RSS, KiB", "rss_kib")):
            kib, bare = (median(rounds, side, key) for side in SIDES)
            verdict = "met" if kib <= MOST_KIB else "**missed**"
            yield f"| {name} | {kib:.1f} | {bare:.1f} | | ≤ {MOST_KIB:g} KiB | {verdict} |"
    if rounds := found.get("sessions", []):
        what = f"{options.sessions:,} sessions of {options.hours:g} hours at infinite speed"
        yield row(f"{what}: meter values per second", rounds, "values_per_s", "{:,.0f}")
        yield row("the same: CPU for a meter value, µs", rounds, "cpu_us", "{:.0f}")
        lost = sum(each["station"]["lost"] for each in rounds)
        count = sum(options.sessions * each["station"]["values"] for each in rounds)
        verdict = "**missed**" if lost else "met"
        yield f"| the same: meter values; sessions lost or wrong | {count:,}; {lost} | | | nothing lost | {verdict} |"
    if "profiles" in options.parts:
        yield from profile_rows([schedules.measure() for _ in range(options.rounds)])


def profile_rows(rounds: list[dict[str, float]]) -> Iterator[str]:
    """What charging profiles cost, the median of the rounds."""
    composite, limit = (statistics.median(each[key] for each in rounds) for key in ("composite_us", "limit_us"))
    verdict = "met" if composite <= MOST_COMPOSITE_US else "**missed**"
    what = f"composite of 24 h, 20 profiles of 24 periods, {rounds[0]['steps']:.0f} steps, ms"
    yield f"| {what} | {composite / 1000:.2f} | | | ≤ {MOST_COMPOSITE_US / 1000:g} ms | {verdict} |"
    verdict = "met" if limit <= MOST_LIMIT_US else "**missed**"
    yield f"| limit at a moment, the same profiles, µs | {limit:.1f} | | | ≤ {MOST_LIMIT_US:g} µs | {verdict} |"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 when all targets are met, else 1.\n\n"
        "Example, a quick look of half a minute:\n"
        "    python -m benchmarks.sessions --rounds 1 --stations 50 --interval 1 --seconds 3 --sessions 50 --hours 1",
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    add("--rounds", type=int, default=5, help="of each, the sides in turn (default: %(default)s)")
    add("--stations", type=int, default=1000, help="in cpu and memory (default: %(default)s)")
    add(
        "--interval", type=int, default=10, help="seconds from a meter value to the next, in cpu (default: %(default)s)"
    )
    add("--seconds", type=float, default=30, help="of meter values, in cpu (default: %(default)s)")
    add("--sessions", type=int, default=1000, help="at infinite speed (default: %(default)s)")
    add("--hours", type=float, default=8, help="of each of these sessions, at most 8 (default: %(default)s)")
    add("--loop", choices=("uvloop", "asyncio"), default="uvloop", help="the event loop (default: %(default)s)")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse()
    text = "\n".join(report(options, run(options)))
    print(text, flush=True)
    return int("**missed**" in text)


if __name__ == "__main__":
    raise SystemExit(main())
