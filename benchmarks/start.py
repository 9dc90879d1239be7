"""How long a reader waits for the local stack: cold, and once more in the same Python process.

Cold is a fresh interpreter that imports cpsim_kit and awaits Stack.local(), from its start to the open stack; the disk
cache is as warm as earlier rounds leave it. "Again" is Stack.local() in that process after close(). The stack is asked
for a Thing and a boot, so that open means usable. CPU seconds tell a slow start from a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

TARGET = 3.0  # seconds, cold

READER = """
import asyncio, json, os, time
began = time.perf_counter()
from cpsim_kit import Stack
imported = time.perf_counter()

async def use():
    began = time.perf_counter()
    stack = await Stack.local()
    opened = time.perf_counter()
    print(flush=True)
    await stack.things.create("CP1")
    async with stack.charge_point("CP1") as cp:
        await cp.boot()
    used = time.perf_counter()
    await stack.close()
    closed = time.perf_counter()
    user, system, stack_user, stack_system, _ = os.times()
    cpu = {"reader_cpu": user + system, "stack_cpu": stack_user + stack_system}
    return {"open": opened - began, "use": used - opened, "close": closed - used, **cpu}

print(json.dumps({"import": imported - began, "cold": asyncio.run(use()), "again": asyncio.run(use())}))
"""

LINES = {
    "cold start, from nothing to open": ("start",),
    "  of it: import cpsim_kit": ("import",),
    "  of it: await Stack.local()": ("cold", "open"),
    "create a Thing and boot, first time": ("cold", "use"),
    "close": ("cold", "close"),
    "CPU until then, the reader's process": ("cold", "reader_cpu"),
    "CPU until then, the stack's process": ("cold", "stack_cpu"),
    "await Stack.local() again": ("again", "open"),
    "create a Thing and boot again": ("again", "use"),
}


def one_round() -> dict[str, object]:
    """What a fresh interpreter measures, and how long it took from its start to the open stack."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", READER], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        start = time.perf_counter() - began
        *_, measured = process.communicate()[0].splitlines()
    return {"start": start, **json.loads(measured)}


def value(sample: object, path: tuple[str, ...]) -> float:
    for name in path:
        assert isinstance(sample, dict)
        sample = sample[name]
    assert isinstance(sample, float)
    return sample


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 when the target is met, else 1.\n\n"
        "Example, a quick look:\n    python -m benchmarks.start --rounds 2",
    )
    parser.add_argument("--rounds", type=int, default=5, help="fresh interpreters (default: %(default)s)")
    options = parser.parse_args()

    samples = []
    for number in range(1, options.rounds + 1):
        print(f"round {number} of {options.rounds}", file=sys.stderr)
        samples.append(one_round())

    print(f"{options.rounds} rounds; Python {platform.python_version()}, ministack {version('ministack')}\n")
    print(f"{'seconds':38}{'median':>8}{'best':>8}{'worst':>8}")
    for line, path in LINES.items():
        values = [value(sample, path) for sample in samples]
        print(f"{line:38}{statistics.median(values):8.2f}{min(values):8.2f}{max(values):8.2f}")
    cold = statistics.median(value(sample, ("start",)) for sample in samples)
    print(f"\nTarget: cold start < {TARGET:g} s  {cold:6.2f}  {'met' if cold < TARGET else 'MISSED'}")
    return 0 if cold < TARGET else 1


if __name__ == "__main__":
    raise SystemExit(main())
