"""Fleets of the kit beside the same charge points of the ocpp package: boots, CPU per heartbeat, memory, many at once.

Each measurement is a process of its own (benchmarks/fleet_side.py), and so is the server, a stub; the two sides take
turns, so that a slow moment of the machine meets both, and ratios are made within each round. Both sides keep the same
schedule in uvloop, with the same options, without compression or logging, and validate each request and answer. CPU is
of the process, its threads and its children; memory is what it has more of after the charge points are there. The part
tls has the kit on both sides, over wss:// and over ws://, in uvloop and in asyncio's own loop.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import trustme

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.calls import Server

SIDES = ("kit", "ocpp")
HEADS = {SIDES: "kit | ocpp package", ("two", "one"): "2 processes | 1 process", ("wss", "ws"): "wss:// | ws://"}
PARTS = ("boots", "beats", "memory", "soak", "scaling", "tls", "calls")
LOOPS = ("uvloop", "asyncio")  # asyncio's own is what a notebook has
INTERVAL = 1.0  # seconds between heartbeats, where the CPU of each is measured
SOAK_INTERVAL = 10.0
TOO_LONG = 900.0  # seconds

Result = dict[str, float]


class Servers(contextlib.AbstractContextManager["Servers"]):
    """The stub server, and where it is needed another one that speaks TLS, by a certificate made for it.

    Attributes:
        plain: Without TLS.
        secure: With TLS, or None.
        environment: Of a process that trusts the certificate.
    """

    def __init__(self, *, tls: bool) -> None:
        self.plain = Server()
        self.secure: Server | None = None
        self.environment = dict(os.environ)
        if tls:
            self._folder = tempfile.TemporaryDirectory()
            certificate, trusted = (Path(self._folder.name, name) for name in ("server.pem", "trusted.pem"))
            authority = trustme.CA()
            authority.cert_pem.write_to_path(str(trusted))
            authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
            self.environment["SSL_CERT_FILE"] = str(trusted)
            self.secure = Server(certificate)

    def __exit__(self, *_exc: object) -> None:
        self.plain.close()
        if self.secure is not None:
            self.secure.close()
            self._folder.cleanup()


def measure(
    server: Server, environment: dict[str, str], side: str, part: str, script: str = "fleet_side.py", **job: Any
) -> dict[str, Any]:
    """What a process says of its measurement; and how busy the server was meanwhile, and the machine with neither.

    Raises:
        RuntimeError: It ended without a result.
    """
    pipe = subprocess.PIPE
    job |= {"side": side, "part": part, "url": server.url}
    command = [sys.executable, str(Path(__file__).with_name(script)), json.dumps(job)]
    options: dict[str, Any] = {"stdin": pipe, "stdout": pipe, "text": True, "start_new_session": True}
    with subprocess.Popen(command, env=environment, **options) as process:
        assert process.stdout is not None
        marks, result = [], None
        watch = psutil.Process(process.pid)
        for line in process.stdout:
            if line.strip() in {"begin", "end"}:
                marks.append((time.perf_counter(), server.cpu(), family_cpu(watch), busy_cpu()))
            else:
                result = json.loads(line)
    if result is None or len(marks) != 2:
        raise RuntimeError(f"{side}, {part}: the process ended with status {process.returncode}, and no result")
    wall, server_cpu, own, busy = (end - begin for begin, end in zip(*marks, strict=True))
    return result | {"server": server_cpu / wall, "others": max(0.0, (busy - own - server_cpu) / wall)}


def family_cpu(process: psutil.Process) -> float:
    """CPU seconds of a process and its children."""
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


def busy_cpu() -> float:
    """CPU seconds of the whole machine."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


# -- The rows of the table --------------------------------------------------------------------------------------------


class Target(NamedTuple):
    """What a ratio is to be, kit / ocpp."""

    limit: float
    at_least: bool

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}x"

    def verdict(self, value: float) -> str:
        return "met" if (value >= self.limit if self.at_least else value <= self.limit) else "**missed**"


def median(rounds: list[dict[str, Result]], side: str, key: str) -> float:
    return statistics.median(each[side][key] for each in rounds)


def row(
    name: str, rounds: list[dict[str, Result]], key: str, form: str, target: Target | None = None, note: str = ""
) -> str:
    """Both sides' medians, the median of the ratios with its range, and the verdict."""
    first, second = rounds[0]
    ratios = [each[first][key] / each[second][key] for each in rounds]
    ratio = statistics.median(ratios)
    spread = f"{ratio:.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
    values = " | ".join(form.format(median(rounds, side, key)) for side in (first, second))
    wanted = f"{target}{note}" if target is not None else ""
    return f"| {name} | {values} | {spread} | {wanted} | {target.verdict(ratio) if target is not None else ''} |"


class Case(NamedTuple):
    """A measurement that both sides take in turn, and its rows of the table."""

    name: str
    job: dict[str, Any]
    rounds: int
    rows: Callable[[list[dict[str, Result]]], Iterator[str]]
    sides: tuple[str, ...] = SIDES


def cases(options: argparse.Namespace) -> Iterator[Case]:
    parts = options.parts
    for size in options.boots if "boots" in parts else ():
        yield Case(f"boots, {size:,}", {"part": "boots", "size": size}, options.rounds, boot_rows(size))
    for burst in (False, True) if "beats" in parts else ():
        job = {"part": "beats", "size": options.beats, "interval": INTERVAL, "seconds": options.seconds, "burst": burst}
        kind = "bursts" if burst else "spread"
        yield Case(f"heartbeats, {options.beats:,}, {kind}", job, options.rounds, beat_rows(options.beats, kind))
    if "memory" in parts:
        job = {"part": "memory", "size": options.many}
        yield Case(f"memory, {options.many:,}", job, options.rounds, memory_rows(options.many))
    if "soak" in parts:
        job = {"part": "soak", "size": options.many, "interval": SOAK_INTERVAL, "seconds": options.soak}
        yield Case(f"soak, {options.many:,}", job, options.soak_rounds, soak_rows(options.many, options.soak))
    if "scaling" in parts:
        job = {"part": "scaling", "size": options.scaling, "seconds": options.seconds}
        yield Case("scaling", job, options.rounds, scaling_rows(options.scaling), ("two", "one"))
    for loop in LOOPS if "tls" in parts else ():
        beat = {"interval": INTERVAL, "seconds": options.seconds}
        for part, more in (("memory", {}), ("boots", {}), ("beats", beat)):
            job = {"part": part, "size": options.tls, "loop": loop} | more
            yield Case(f"tls, {loop}, {part}", job, options.rounds, tls_rows(part, options.tls, loop), ("wss", "ws"))


def boot_rows(size: int) -> Callable[[list[dict[str, Result]]], Iterator[str]]:
    def rows(rounds: list[dict[str, Result]]) -> Iterator[str]:
        yield row(f"boots per second, {size:,} at once", rounds, "boots_per_s", "{:,.0f}", Target(3, at_least=True))
        yield row(f"boots per second of CPU time, {size:,} at once", rounds, "boots_per_cpu_s", "{:,.0f}")

    return rows


def beat_rows(size: int, kind: str) -> Callable[[list[dict[str, Result]]], Iterator[str]]:
    def rows(rounds: list[dict[str, Result]]) -> Iterator[str]:
        peer = " (a Node simulator: 0.19x)" if kind == "bursts" else ""
        target = Target(0.25, at_least=False)
        what = f"CPU per heartbeat, {size:,} at {INTERVAL:g} s, {kind}, µs"
        yield row(what, rounds, "cpu_us", "{:.0f}", target, peer)
        yield row(f"p99 of these heartbeats, {kind}, ms", rounds, "p99_ms", "{:.1f}")

    return rows


def memory_rows(size: int) -> Callable[[list[dict[str, Result]]], Iterator[str]]:
    def rows(rounds: list[dict[str, Result]]) -> Iterator[str]:
        target = Target(1, at_least=False)
        yield row(f"memory per charge point, {size:,}, USS, KiB", rounds, "uss_kib", "{:.1f}", target)
        yield row(f"memory per charge point, {size:,}, RSS, KiB", rounds, "rss_kib", "{:.1f}", target)

    return rows


def soak_rows(size: int, seconds: float) -> Callable[[list[dict[str, Result]]], Iterator[str]]:
    def rows(rounds: list[dict[str, Result]]) -> Iterator[str]:
        yield row(f"boots per second, {size:,} at once, one process", rounds, "boots_per_s", "{:,.0f}")
        yield row(f"cores in use, {size:,} heartbeats every {SOAK_INTERVAL:g} s", rounds, "cpu", "{:.2f}")
        values, lost = [], False
        for side in SIDES:
            count, due, failed = (sum(each[side][key] for each in rounds) for key in ("count", "due", "lost"))
            values.append(f"{count:,.0f} of {due:,.0f}, {failed:.0f}")
            # What is on its way at both ends of the time makes a little more or less than what was due.
            lost |= side == "kit" and (failed > 0 or abs(count / due - 1) > 0.005)
            lost |= side == "kit" and any(each[side]["booted"] != size for each in rounds)
        what = f"heartbeats answered in {seconds:g} s, of those due; lost"
        yield f"| {what} | {' | '.join(values)} | | nothing lost | {'**missed**' if lost else 'met'} |"
        yield row(f"p99 of these heartbeats, {size:,}, ms", rounds, "p99_ms", "{:.1f}")

    return rows


def scaling_rows(size: int) -> Callable[[list[dict[str, Result]]], Iterator[str]]:
    def rows(rounds: list[dict[str, Result]]) -> Iterator[str]:
        target = Target(1.7, at_least=True)
        wall = [{side: {"it": each[side]["calls_per_s"]} for side in ("two", "one")} for each in rounds]
        cpu = [
            {side: {"it": count / each[side]["cpu_us"] * 1e6} for side, count in (("two", 2), ("one", 1))}
            for each in rounds
        ]
        busy = statistics.median(each["two"]["server"] + each["two"]["others"] for each in rounds)
        free = (psutil.cpu_count() or 1) - busy
        name = f"heartbeats per second, {size} charge points without a pause"
        if free >= 2:
            yield row(name, wall, "it", "{:,.0f}", target)
        else:
            yield row(f"{name}; {free:.1f} cores were free", wall, "it", "{:,.0f}")
        yield row("the same by their CPU time, each on a core of its own", cpu, "it", "{:,.0f}", target)

    return rows


TLS_ROWS = {
    "memory": ("memory per charge point, {size:,}, {loop}, USS, KiB", "uss_kib", "{:.1f}"),
    "boots": ("boots per second of CPU time, {size:,} at once, {loop}", "boots_per_cpu_s", "{:,.0f}"),
    "beats": (f"CPU per heartbeat, {{size:,}} at {INTERVAL:g} s, {{loop}}, µs", "cpu_us", "{:.0f}"),
}


def tls_rows(part: str, size: int, loop: str) -> Callable[[list[dict[str, Result]]], Iterator[str]]:
    def rows(rounds: list[dict[str, Result]]) -> Iterator[str]:
        name, key, form = TLS_ROWS[part]
        yield row(name.format(size=size, loop=loop), rounds, key, form)

    return rows


# -- The run ----------------------------------------------------------------------------------------------------------


def one(servers: Servers, case: Case, side: str) -> Result:
    server = servers.secure if side == "wss" else servers.plain
    assert server is not None
    processes = {"processes": 2} if side == "two" else {}
    return measure(server, servers.environment, side if side in SIDES else "kit", **case.job, **processes)


def run(options: argparse.Namespace) -> dict[str, tuple[Case, list[dict[str, Result]]]]:
    """All cases, a round of each after the other."""
    found: dict[str, tuple[Case, list[dict[str, Result]]]] = {case.name: (case, []) for case in cases(options)}
    began = time.perf_counter()
    with Servers(tls="tls" in options.parts) as servers:
        for number in range(max((case.rounds for case, _ in found.values()), default=0)):
            for case, rounds in found.values():
                if number >= case.rounds:
                    continue
                # Whoever begins changes with the rounds.
                order = case.sides if number % 2 == 0 else case.sides[::-1]
                results = {}
                for side in order:
                    results[side] = result = one(servers, case, side)
                    shown = ", ".join(f"{key} {value:,.4g}" for key, value in result.items())
                    head = f"{time.perf_counter() - began:5.0f} s: round {number + 1} of {case.rounds}"
                    print(f"{head}, {case.name}, {side}: {shown}", file=sys.stderr, flush=True)
                rounds.append({side: results[side] for side in case.sides})
    return found


def report(options: argparse.Namespace, found: dict[str, tuple[Case, list[dict[str, Result]]]]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in ("ocpp", "websockets", "uvloop"))
    yield f"Medians of {options.rounds} rounds; ratios are of each round, with the lowest and the highest."
    yield f"Python {platform.python_version()}, {versions}, {psutil.cpu_count()} cores."
    samples = [result for _, rounds in found.values() for each in rounds for result in each.values()]
    server, others = (max(sample[key] for sample in samples) for key in ("server", "others"))
    yield f"The server used at most {server:.0%} of a core, other processes of the machine {others:.0%}."
    for sides, head in HEADS.items():
        lines = [line for case, rounds in found.values() if case.sides == sides for line in case.rows(rounds)]
        if lines:
            yield f"\n| | {head} | ratio | target | |\n|---|---:|---:|---:|---|---|"
            yield from lines


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 when all targets are met, else 1. The part calls is benchmarks/calls.py.\n\n"
        "Example, a quick look of a minute:\n"
        "    python -m benchmarks.fleet --parts boots beats memory --rounds 1 --boots 200 --beats 200 --many 500",
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    add("--rounds", type=int, default=5, help="of each, the sides in turn (default: %(default)s)")
    add("--boots", type=int, nargs="+", default=[1000, 5000], help="charge points that boot at once (%(default)s)")
    add("--beats", type=int, default=1000, help="charge points that send heartbeats (default: %(default)s)")
    add("--seconds", type=float, default=10, help="of heartbeats, in beats and scaling (default: %(default)s)")
    add("--many", type=int, default=10_000, help="charge points in memory and soak (default: %(default)s)")
    add("--soak", type=float, default=60, help="seconds of heartbeats in soak, of 10 s (default: %(default)s)")
    add("--soak-rounds", type=int, default=2, help="(default: %(default)s)")
    add("--tls", type=int, default=1000, help="charge points in tls (default: %(default)s)")
    add("--scaling", type=int, default=200, help="charge points in scaling (default: %(default)s)")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse()
    found = run(options)
    text = "\n".join(report(options, found)) if found else ""
    print(text, flush=True)
    missed = "**missed**" in text
    if "calls" in options.parts:
        print("\nCalls on open connections, by benchmarks/calls.py:\n", flush=True)
        command = [sys.executable, "-m", "benchmarks.calls"]
        missed |= subprocess.run(command, cwd=Path(__file__).parents[1], check=False).returncode != 0
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
