"""Calls per second, and CPU per call, of cpsim_kit and of the ocpp package on the same connections and the same server.

For each message and event loop the kit's charge points, those of the ocpp package and bare websockets clients that only
echo a frame of the same size take turns, so that a slow moment of the machine meets them all. Each connection has one
message outstanding. Both engines build the frame, validate request and answer against the schema and return the
dataclass; the payload is made once, beforehand. websockets' compression is off everywhere. CPU is the client process's,
its threads included; the server is another process, and "server busy" shows that it was not the limit.

The targets are judged by CPU. Where the benchmark has the machine for itself, calls/s have the same ratio, as each side
keeps one core busy; elsewhere they also tell how much of it was left, and the ocpp package's threads get more of that.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import platform
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import ocpp.v201
import uvloop
from ocpp.v201 import call, datatypes, enums
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.ocpp_j.frames import Call, build
from cpsim_kit.ocpp_j.versions import Version

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
SIDES = ("kit", "ocpp", "echo")
WARM_UP = 0.1  # seconds before each measurement; the first compiles schemas

Caller = Callable[[Any], Awaitable[Any]]


def messages() -> dict[str, Any]:
    """The payloads to send, by the name of their row: an action, or the one before with nested dicts in snake_case."""
    measurands = [
        (23.5, enums.MeasurandEnumType.energy_active_import_register, "kWh"),
        (11040.0, enums.MeasurandEnumType.power_active_import, "W"),
        (16.0, enums.MeasurandEnumType.current_import, "A"),
        (230.1, enums.MeasurandEnumType.voltage, "V"),
        (54.0, enums.MeasurandEnumType.soc, "Percent"),
    ]
    sampled = [
        datatypes.SampledValueType(
            value=value,
            context=enums.ReadingContextEnumType.sample_periodic,
            measurand=measurand,
            location=enums.LocationEnumType.outlet,
            unit_of_measure=datatypes.UnitOfMeasureType(unit=unit),
        )
        for value, measurand, unit in measurands
    ]
    now = "2026-11-23T12:00:00.000Z"
    station = datatypes.ChargingStationType("cpsim_kit", "CPSIM-1", serial_number="SN-1", firmware_version="1.0.0")
    payloads = [
        call.Heartbeat(),
        call.BootNotification(charging_station=station, reason=enums.BootReasonEnumType.power_up),
        call.TransactionEvent(
            event_type=enums.TransactionEventEnumType.updated,
            timestamp=now,
            trigger_reason=enums.TriggerReasonEnumType.meter_value_periodic,
            seq_no=7,
            transaction_info=datatypes.TransactionType(
                transaction_id=str(uuid.UUID(int=1)), charging_state=enums.ChargingStateEnumType.charging
            ),
            meter_value=[datatypes.MeterValueType(timestamp=now, sampled_value=sampled)],
            evse=datatypes.EVSEType(id=1, connector_id=1),
        ),
    ]
    named = {type(payload).__name__: payload for payload in payloads}
    event = named["TransactionEvent"]
    return named | {"… of dicts": call.TransactionEvent(**remove_nones(dataclasses.asdict(event)))}


def remove_nones(value: Any) -> Any:
    """Nested dicts as people write them, without fields that are None."""
    if isinstance(value, dict):
        return {key: remove_nones(item) for key, item in value.items() if item is not None}
    return [remove_nones(item) for item in value] if isinstance(value, list) else value


def echo_frame(payload: Any) -> bytes:
    """The frame that the kit would send for a payload."""
    action = type(payload).__name__
    return build(Call(str(uuid.uuid4()), action, Version.get("2.0.1").request(action).encode(payload)))


class Server:
    """The stub server in a process of its own; it ends when this process does.

    Args:
        certificate: A file with a certificate and its key, to speak TLS.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        command = [sys.executable, str(Path(__file__).with_name("stub_server.py"))]
        command += [] if certificate is None else [str(certificate)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
        self.url = f"{'ws' if certificate is None else 'wss'}://127.0.0.1:{int(self._read())}"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def ask(self) -> tuple[float, int, int]:
        """Its CPU seconds so far, the messages it answered so far, and the connections that are open."""
        cpu, answered, connections = self._answer("").split()
        return float(cpu), int(answered), int(connections)

    def ledger(self) -> dict[str, list[int]]:
        """The transactions of connections to ``/ledger/…``: see ``stub_server.Ledger``."""
        transactions: dict[str, list[int]] = json.loads(self._answer("ledger"))
        return transactions

    def _answer(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._read()

    def cpu(self) -> float:
        """Its CPU seconds so far."""
        return self.ask()[0]

    def close(self) -> None:
        self._process.communicate()


@contextlib.asynccontextmanager
async def kit(url: str, index: int) -> AsyncIterator[Caller]:
    async with ChargePoint(f"KIT-{index}", url) as cp:
        yield cp.call


@contextlib.asynccontextmanager
async def ocpp_package(url: str, index: int) -> AsyncIterator[Caller]:
    cp_id = f"OCPP-{index}"
    async with connect(f"{url}/{cp_id}", subprotocols=[Subprotocol("ocpp2.0.1")], compression=None, proxy=None) as ws:
        cp = ocpp.v201.ChargePoint(cp_id, ws)
        reader = asyncio.create_task(cp.start())
        try:
            yield lambda payload: cp.call(payload, suppress=False)
        finally:
            reader.cancel()
            await asyncio.wait([reader])


@contextlib.asynccontextmanager
async def echo(url: str, index: int) -> AsyncIterator[Caller]:
    async with connect(f"{url}/echo/{index}", compression=None, proxy=None) as ws:

        async def exchange(frame: bytes) -> bytes:
            await ws.send(frame, text=True)
            return await ws.recv(decode=False)

        yield exchange


OPEN = {"kit": kit, "ocpp": ocpp_package, "echo": echo}


class Sample(NamedTuple):
    """One measurement."""

    calls_per_s: float
    cpu_us: float  # of the client, per call
    server_busy: float  # the server's CPU time by wall time


async def drive(callers: list[Caller], payload: Any, seconds: float) -> int:
    """How many calls the callers make in that time, each one after the other."""
    end = time.perf_counter() + seconds

    async def repeat(caller: Caller) -> int:
        count = 0
        while time.perf_counter() < end:
            await caller(payload)
            count += 1
        return count

    return sum(await asyncio.gather(*map(repeat, callers)))


async def measure(server: Server, callers: list[Caller], payload: Any, seconds: float) -> Sample:
    await drive(callers, payload, WARM_UP)
    server_cpu, wall, cpu = server.cpu(), time.perf_counter(), time.process_time()
    calls = await drive(callers, payload, seconds)
    cpu, wall, server_cpu = time.process_time() - cpu, time.perf_counter() - wall, server.cpu() - server_cpu
    return Sample(calls / wall, cpu / calls * 1e6, server_cpu / wall)


async def one_round(
    server: Server, connections: int, seconds: float, sides: list[str], actions: list[str]
) -> dict[tuple[str, str], Sample]:
    """A sample of each message on each side, the sides in turn."""
    payloads = messages()
    samples = {}
    async with contextlib.AsyncExitStack() as stack:
        callers = {
            side: [await stack.enter_async_context(OPEN[side](server.url, index)) for index in range(connections)]
            for side in sides
        }
        for action in actions:
            for side in sides:
                payload = echo_frame(payloads[action]) if side == "echo" else payloads[action]
                samples[action, side] = await measure(server, callers[side], payload, seconds)
    return samples


class Row(NamedTuple):
    """Medians over the rounds of one message on one event loop; ratios are made within each round."""

    loop: str
    action: str
    calls_per_s: dict[str, float]
    cpu_us: dict[str, float]
    calls_to_ocpp: float
    cpu_to_ocpp: float  # the ocpp package's CPU by the kit's
    cpu_to_echo: float  # the kit's CPU by the echo's
    server_busy: float  # the highest of all


def summarise(loop: str, action: str, rounds: list[dict[tuple[str, str], Sample]]) -> Row:
    kits, ocpps, echoes = ([samples[action, side] for samples in rounds] for side in SIDES)
    return Row(
        loop,
        action,
        {side: statistics.median(samples[action, side].calls_per_s for samples in rounds) for side in SIDES},
        {side: statistics.median(samples[action, side].cpu_us for samples in rounds) for side in SIDES},
        statistics.median(k.calls_per_s / o.calls_per_s for k, o in zip(kits, ocpps, strict=True)),
        statistics.median(o.cpu_us / k.cpu_us for k, o in zip(kits, ocpps, strict=True)),
        statistics.median(k.cpu_us / e.cpu_us for k, e in zip(kits, echoes, strict=True)),
        max(sample.server_busy for sample in (*kits, *ocpps, *echoes)),
    )


def report(rows: list[Row]) -> Iterator[str]:
    yield f"{'':25} | {'calls/s':>33} | {'CPU a call, µs':>40} | server"
    head = "{:8} {:16} | {:>7} {:>7} {:>7} {:>9} | {:>6} {:>7} {:>6} {:>9} {:>8} | {:>6}"
    yield head.format("loop", "message", *SIDES, "kit/ocpp", *SIDES, "ocpp/kit", "kit/echo", "busy")
    line = "{:8} {:16} | {:7,.0f} {:7,.0f} {:7,.0f} {:9.1f} | {:6.1f} {:7.1f} {:6.1f} {:9.1f} {:8.2f} | {:6.0%}"
    for row in rows:
        calls, cpu = row.calls_per_s.values(), row.cpu_us.values()
        ratios = row.cpu_to_ocpp, row.cpu_to_echo
        yield line.format(row.loop, row.action, *calls, row.calls_to_ocpp, *cpu, *ratios, row.server_busy)


def judge(rows: list[Row]) -> Iterator[tuple[bool, str]]:
    """The targets: each one's verdict and its line."""
    of = {row.action: row for row in rows if row.loop == "uvloop"}
    beat, event, dicts = of["Heartbeat"], of["TransactionEvent"], of["… of dicts"]
    for what, value, least in (
        ("Heartbeat: calls a CPU second, kit / ocpp", beat.cpu_to_ocpp, 8),
        ("TransactionEvent: the same", event.cpu_to_ocpp, 25),
        ("TransactionEvent of dicts: the same", dicts.cpu_to_ocpp, 25),
        ("Heartbeat: calls a CPU second, kit / echo", 1 / beat.cpu_to_echo, 0.7),
        ("TransactionEvent: the same", 1 / event.cpu_to_echo, 0.7),
    ):
        is_met = value >= least
        yield is_met, f"{what:42} >= {least:<4g} {value:7.2f}  {'met' if is_met else 'MISSED'}"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 when all targets are met, else 1.\n\n"
        "Example, a quick look of 20 seconds:\n    python -m benchmarks.calls --rounds 2 --seconds 0.3",
    )
    parser.add_argument("--rounds", type=int, default=9, help="rounds on each event loop (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=100, help="of each side (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="of one measurement, 18 in a round (default: %(default)s)"
    )
    return parser.parse_args(arguments)


def main() -> int:
    options = parse()
    actions = list(messages())
    rounds: dict[str, list[dict[tuple[str, str], Sample]]] = {loop: [] for loop in LOOPS}
    began = time.perf_counter()
    server = Server()
    try:
        for number in range(1, options.rounds + 1):
            for loop, factory in LOOPS.items():
                elapsed = time.perf_counter() - began
                print(f"{elapsed:4.0f} s: round {number} of {options.rounds} on {loop}", file=sys.stderr)
                with asyncio.Runner(loop_factory=factory) as runner:
                    samples = runner.run(one_round(server, options.connections, options.seconds, list(SIDES), actions))
                rounds[loop].append(samples)
    finally:
        server.close()

    rows = [summarise(loop, action, rounds[loop]) for loop in LOOPS for action in actions]
    versions = ", ".join(f"{name} {version(name)}" for name in ("ocpp", "websockets", "uvloop"))
    print(f"Medians of {options.rounds} rounds, {options.connections} connections, {options.seconds:g} s each.")
    print(f"Python {platform.python_version()}, {versions}\n")
    print("\n".join(report(rows)))
    verdicts = list(judge(rows))
    print("\nTargets, with uvloop:")
    print("\n".join(line for _, line in verdicts))
    return 0 if all(is_met for is_met, _ in verdicts) else 1


if __name__ == "__main__":
    raise SystemExit(main())
