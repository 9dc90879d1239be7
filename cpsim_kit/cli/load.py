"""``cpsim load``: a fleet of charge points, and a table of how their calls went."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
from collections.abc import Iterator

from cpsim_kit.basics.process import run_fast
from cpsim_kit.charge_point.backoff import Backoff
from cpsim_kit.cli.stack import how_to_delete, open_stack
from cpsim_kit.cli.terminal import DONE, FAILED, INTERRUPTED
from cpsim_kit.errors import CpsimError, FleetError
from cpsim_kit.fleet import Fleet, FleetResult
from cpsim_kit.fleet.dask import open_cluster
from cpsim_kit.fleet.report import SAMPLE

__all__ = ["broken_bounds", "run"]

_SPEED = 60  # seconds of a station's clock in a real second, unless --speed says otherwise
_DEATH_NOTICED = 2  # seconds in which a local stack that has died is reported


def run(options: argparse.Namespace) -> int:
    """Run a fleet and print its table, also when it was interrupted or has failed."""
    _check(options)
    logging.getLogger("ocpp").setLevel(logging.ERROR)  # the table has the warnings of thousands of charge points
    options.signals.stopping = "stopping: closing connections; Ctrl-C again ends at once, and there is no table"
    if options.url is None:
        options.signals.stopping = (
            "stopping: closing connections and deleting the Things; Ctrl-C again leaves them, and there is no table"
        )
        options.signals.leaving = how_to_delete(
            f"Things whose names begin with {options.prefix}",
            "delete_many([each for each in (await stack.things.list()).charge_point_id "
            f"if each.startswith({options.prefix!r})])",
        )
    fleets: list[Fleet] = []
    failed: CpsimError | None = None
    try:
        run_fast(options.signals.until_interrupted(_run_fleet(options, fleets)))
    except KeyboardInterrupt:
        pass
    except CpsimError as exc:
        failed = exc
    result = fleets[0].result if fleets else None
    if result is None and failed is None:
        print("cpsim load: interrupted before anything was measured", file=sys.stderr)
    broken = False
    if result is not None:
        try:
            broken = _report(result, options, could_start=not isinstance(failed, FleetError))
        except KeyboardInterrupt:  # the table is not complete
            return INTERRUPTED
    if failed is not None:
        raise failed
    return FAILED if broken else DONE


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError for options that do not go together."""
    if len(options.prefix) + max(4, len(str(options.size))) > 128:
        raise ValueError("--prefix is too long: with its number, a charge point's id has at most 128 characters")
    if options.speed is not None and not options.charge:
        raise ValueError("--speed is of stations that charge: give --charge too")
    if options.charge and options.burst:
        raise ValueError(
            "--burst is not for --charge: stations send heartbeats at the interval that the CSMS instructs"
        )
    starting = options.size / options.ramp
    if not options.duration > starting:
        raise ValueError(
            f"--size {options.size} at --ramp {options.ramp:g} takes {starting:.10g} s to start, and --duration "
            f"{options.duration:g} is over before: choose a longer duration, or a steeper ramp"
        )


async def _run_fleet(options: argparse.Namespace, fleets: list[Fleet]) -> None:
    """Run the fleet; it is put into ``fleets`` first, so that its result is there when this is cancelled."""
    async with contextlib.AsyncExitStack() as contexts:
        cluster = None
        if options.scheduler is not None:  # before a stack is started: it may not answer
            try:
                cluster = await contexts.enter_async_context(open_cluster(options.scheduler))
            except ImportError as exc:
                raise ValueError("--scheduler needs Dask; in the clone: pip install -e '.[cluster]'") from exc
        stack = None
        if options.url is None:
            stack = await contexts.enter_async_context(open_stack(max(1, round(options.interval))))
        fleet = Fleet(
            options.url if stack is None else stack,
            options.size,
            prefix=options.prefix,
            ramp=options.ramp,
            heartbeat_interval=None if options.charge else options.interval,
            station={"speed": options.speed or _SPEED} if options.charge else None,
            burst=options.burst,
            reconnect=Backoff() if options.reconnect else None,
            processes=options.processes,
            cluster=cluster,
            version=options.ocpp,
            call_timeout=options.timeout,
        )
        fleets.append(fleet)
        result = await fleet.run(options.duration)
        if stack is not None and stack.is_local and _all_lost_at(result, options.duration) is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DEATH_NOTICED):
                    raise await stack.wait_died()


def _report(result: FleetResult, options: argparse.Namespace, *, could_start: bool) -> bool:
    """Save and print what was measured, and what is wrong with it; returns whether something is."""
    broken = list(broken_bounds(result, options)) if could_start else []
    saved = ""
    if options.csv is not None:  # first: the reader of the printed table may have gone
        try:
            saved = f"\n{len(result.calls)} rows in {result.to_csv(options.csv)}"
        except OSError as exc:  # e.g. a full disk
            broken.append(f"cannot write {options.csv}: {exc}")
    print(result)
    if len(result.calls):
        print(result.summary().round(1).to_string())
    if result.calls.failures:
        print(f"\n{result.failures().head(10).to_string(index=False)}")
    if saved:
        print(saved)
    for sentence in broken:
        print(f"cpsim load: {sentence}", file=sys.stderr)
    return bool(broken)


def broken_bounds(result: FleetResult, options: argparse.Namespace) -> Iterator[str]:
    """A sentence for each bound that the result breaks: those of the options, and those that hold for every fleet."""
    if not result.booted and not result.interrupted:
        yield f"not one of {result.size} charge points was accepted"
    elif (lost_at := _all_lost_at(result, options.duration)) is not None:
        yield f"no charge point was connected any more after {lost_at:.1f} of {options.duration:g} s"
    calls = result.to_frame()
    response_ms = calls.response_ms[calls.action != "connect"]
    p99 = response_ms.quantile(0.99)
    not_measured = result.interrupted and not response_ms.count()
    if options.max_p99 is not None and not not_measured and not p99 <= options.max_p99:
        yield f"p99 of the time since calls were due (response_ms) is {p99:.1f} ms, above --max-p99 {options.max_p99:g}"
    if options.max_failures is not None and result.calls.failures > options.max_failures:
        yield f"{result.calls.failures} failures, above --max-failures {options.max_failures}"
    if options.max_failures is not None and result.lost:
        yield f"{len(result.lost)} processes were lost"


def _all_lost_at(result: FleetResult, duration: float) -> float | None:
    """When the last charge point was lost, in seconds since the start; None when some were connected at the end."""
    if result.interrupted or not result.connected:
        return None
    lost_at = None
    for at, connected, _booted in reversed(result.samples):
        if connected:
            break
        lost_at = at
    if lost_at is None and result.duration < duration - SAMPLE:  # the fleet ended with the last one, before a sample
        return result.duration
    return lost_at if lost_at is not None and lost_at < duration else None
