"""The command line: ``cpsim simulate``, ``cpsim stack``, ``cpsim load``, ``cpsim lab``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

from cpsim_kit import __version__
from cpsim_kit.basics.process import run_fast
from cpsim_kit.charge_point import OWN_INTERVAL, ChargePoint
from cpsim_kit.charge_point.backoff import Backoff, own_boot_waits
from cpsim_kit.errors import ConnectError, ConnectionLost, CpsimError, FleetError, NotRegistered, WaitTimeout
from cpsim_kit.fleet import Fleet, FleetResult
from cpsim_kit.fleet.share import SAMPLE
from cpsim_kit.stack import Stack

__all__ = ["main"]

T = TypeVar("T")

_DONE, _FAILED, _BAD_ARGUMENTS, _INTERRUPTED = 0, 1, 2, 130
_SCHEDULER = 10  # seconds for a Dask scheduler to answer
_INTERVAL = 10  # seconds between heartbeats that a local stack instructs
_DEAD = 2  # seconds to see whether the local stack is


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status: 0 done or interrupted, 1 failed, 2 bad arguments, 130 interrupted twice.

    Where nobody takes the output any more, the command goes on without; a full disk is a failure.
    """
    lost = _lasting_output()
    try:
        status = _run(arguments)
    except SystemExit as exc:  # of argparse
        status = exc.code if isinstance(exc.code, int) else _FAILED
        if lost() is None:
            raise
    if (why := lost()) is not None and not isinstance(why, BrokenPipeError):
        print(f"cpsim: cannot write to stdout: {why.strerror}", file=sys.stderr)
        return status or _FAILED
    return status


def _run(arguments: Sequence[str] | None) -> int:
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s:%(name)s:%(message)s", force=True)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    options.signals = _Signals()
    try:
        with options.signals:
            status: int = options.command(options)
    except KeyboardInterrupt:
        return _DONE
    except ValueError as exc:  # an argument that only the library can judge
        print(f"cpsim {options.name}: error: {exc}\nTry: cpsim {options.name} --help", file=sys.stderr)
        return _BAD_ARGUMENTS
    except CpsimError as exc:
        logging.error("%s", exc)
        return _FAILED
    return status


class _Signals:
    """SIGINT, and SIGTERM and SIGHUP, by which containers and terminals end a command: the first ends it in good order.

    The second ends the process at once. Python would go on with tasks half done, and report each at length.

    Attributes:
        stopping: What to say at the first.
        leaving: What to say at the second.
    """

    def __init__(self) -> None:
        self.stopping = "stopping; Ctrl-C again ends at once"
        self.leaving = ""
        self._stopped = False
        self._task: asyncio.Task[Any] | None = None
        self.handled: dict[int, Any] = {}  # with what handled them before

    def __enter__(self) -> Self:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # no SIGHUP on Windows
            if number is None or (name != "SIGTERM" and signal.getsignal(number) is signal.SIG_IGN):
                continue  # a job in the background, or nohup
            self.handled[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handled.items():
            signal.signal(number, handler or signal.SIG_DFL)

    async def ended(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do the work, until the first signal cancels it: then None, once it has cleaned up."""
        self._task = asyncio.current_task()
        try:
            return await work
        except asyncio.CancelledError as exc:
            if not self._stopped:
                raise
            for note in getattr(exc, "__notes__", ()):  # what could not be cleaned up
                logging.error("%s", note)
            return None
        finally:
            self._task = None

    def _interrupt(self, *_: object) -> None:
        if self._stopped:
            self._leave()
        self._stopped = True
        if self._task is None:  # before the loop, or after
            raise KeyboardInterrupt
        _write(self.stopping)
        self._task.cancel()
        self._task.get_loop().call_soon_threadsafe(lambda: None)  # wakes it

    def _leave(self) -> NoReturn:
        if self._task is not None and self.leaving:
            _write(self.leaving)
        with contextlib.suppress(Exception):  # it may be written to at this very moment
            sys.stdout.flush()
        os._exit(_INTERRUPTED)


def _write(line: str) -> None:
    """Say something from a signal handler, where ``print`` may be at work already."""
    with contextlib.suppress(OSError):
        os.write(2, f"\ncpsim: {line}\n".encode("ascii", "backslashreplace"))


# -- stdout and stderr ------------------------------------------------------------------------------------------------


class _Output(io.TextIOWrapper):
    """A standard stream that may break off, as a pipe does when its reader ends: the rest goes nowhere, quietly."""

    lost: OSError | None = None

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as exc:
            self._break_off(exc)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as exc:
            self._break_off(exc)

    def _break_off(self, exc: OSError) -> None:
        self.lost = self.lost or exc
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def _lasting_output() -> Callable[[], OSError | None]:
    """Let the standard streams write whatever comes, wherever they lead; returns what tells how stdout broke off."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file or socket would take its place
            os.open(os.devnull, os.O_RDWR)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not None and (stream is not getattr(sys, f"__{name}__") or stream.fileno() != number):
            continue  # somebody else's, a test's say
        raw = io.FileIO(number, "w", closefd=False)
        if stream is None:
            stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
        at_once = stream.write_through  # python -u, PYTHONUNBUFFERED
        output = _Output(
            raw if at_once else io.BufferedWriter(raw),
            stream.encoding,
            "backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=at_once,
        )
        setattr(sys, name, output)

    def lost() -> OSError | None:
        sys.stdout.flush()
        return getattr(sys.stdout, "lost", None)

    return lost


# -- cpsim simulate ---------------------------------------------------------------------------------------------------


def _simulate(options: argparse.Namespace) -> int:
    options.signals.stopping = "stopping: closing the connection; Ctrl-C again ends at once"
    if options.url is None:
        options.signals.stopping = "stopping: closing the connection, deleting the Thing; Ctrl-C again leaves it"
        options.signals.leaving = _left_behind(f"the Thing {options.cp_id}", f"delete({options.cp_id!r})")
    return asyncio.run(options.signals.ended(_simulate_charge_point(options))) or _DONE


async def _simulate_charge_point(options: argparse.Namespace) -> int:
    async with contextlib.AsyncExitStack() as stack_of_contexts:
        stack = None
        if options.url is None:
            stack = await stack_of_contexts.enter_async_context(_stack(options.interval or _INTERVAL))
            await stack.things.create(options.cp_id)
        charge_point = ChargePoint(
            options.cp_id,
            stack.websocket_url if stack is not None else options.url,
            version=options.ocpp,
            model=options.cp_model,
            vendor_name=options.cp_vendor,
            serial_number=options.cp_serial,
            firmware_version=options.cp_version,
            modem={name: value for name in ("iccid", "imsi") if (value := getattr(options, f"cp_{name}"))},
            password=options.password,
        )
        try:
            async with charge_point:
                await _boot_and_beat(charge_point, options.count, options.interval)
                if stack is not None:
                    shadow = await stack.shadow(options.cp_id).wait_for(lambda shadow: shadow.reported)
                    print(json.dumps(shadow.reported, indent=2))
        except ConnectionLost as exc:
            logging.error("%s: %s", options.cp_id, exc.closed)
            print(exc, file=sys.stderr)
            if isinstance(exc, NotRegistered):
                print(
                    f"Or: cpsim simulate without --url, which creates it; or cpsim stack --thing {options.cp_id}",
                    file=sys.stderr,
                )
            return _FAILED
    return _DONE


@contextlib.asynccontextmanager
async def _stack(interval: int) -> AsyncIterator[Stack]:
    """The stack CPSIM_STACK names; a local one with this interval."""
    async with Stack.local(interval=interval) if _own_stack() else Stack.open() as stack:
        logging.info("%s: %s", stack.name, stack)
        yield stack


def _own_stack() -> bool:
    return os.environ.get("CPSIM_STACK", "").strip() in {"", "local"}


def _left_behind(what: str, delete: str) -> str:
    """What to say when cleaning up was left; a local stack of our own takes everything with it."""
    if _own_stack():
        return ""
    return f"{what} may be there still; to delete in Python: stack = await Stack.open(); await stack.things.{delete}"


async def _boot_and_beat(charge_point: ChargePoint, count: int | None, own_interval: int | None) -> None:
    """Boot until accepted, then send heartbeats.

    Where the CSMS instructs no interval, none above 0, the charge point chooses one (OCPP 1.6, 4.2): ``own_interval``,
    or what ``ChargePoint`` takes.
    """
    if own_interval is not None:
        charge_point.heartbeat_interval = own_interval
    own_waits = own_boot_waits()
    while (answer := await charge_point.boot()).status != "Accepted":
        wait = answer.interval if answer.interval > 0 else next(own_waits)
        whose = "" if answer.interval > 0 else f", its own choice, as the CSMS's interval is {answer.interval}"
        logging.warning("%s: boot %s, again in %s s%s", charge_point.id, charge_point.boot_status, wait, whose)
        with contextlib.suppress(WaitTimeout):
            await charge_point.wait_closed(wait)  # then the next boot says why
    interval = charge_point.heartbeat_interval
    logging.info("%s: connected to central system", charge_point.id)
    logging.info("%s: heartbeat interval set to %s", charge_point.id, interval)
    if not answer.interval > 0:
        logging.warning(
            "%s: the interval is the charge point's own choice, as the CSMS's is %s%s",
            charge_point.id,
            answer.interval,
            "" if own_interval is not None else "; choose another one with --interval",
        )
    elif own_interval not in {None, answer.interval}:
        logging.warning("%s: --interval is not used: the CSMS instructs %s s", charge_point.id, answer.interval)
    async for _beat in charge_point.heartbeats(count):
        pass


# -- cpsim stack ------------------------------------------------------------------------------------------------------


def _run_stack(options: argparse.Namespace) -> int:
    return asyncio.run(_keep_stack(options))


async def _keep_stack(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in {signal.SIGINT, signal.SIGTERM, *options.signals.handled}:
        signal.signal(signal_number, lambda *_: loop.call_soon_threadsafe(stop.set))
    async with Stack.local(interval=options.interval, csms=options.csms) as stack:
        for charge_point_id in options.thing:
            await stack.things.create(charge_point_id)
        addresses = {
            "websocket_url": stack.websocket_url,
            "endpoint_url": stack.endpoint_url,
            "stack_name": stack.name,
            "region": stack.region,
            "mqtt_url": stack.mqtt_url,
            "access_key_id": stack.access_key and stack.access_key.id,
            "secret_access_key": stack.access_key and stack.access_key.secret,
        }
        print(json.dumps(addresses) if options.json else _to_paste(addresses, options.thing), flush=True)
        died = asyncio.create_task(stack.wait_died(), name="cpsim[stack].watch")
        stopped = asyncio.create_task(stop.wait(), name="cpsim[stack].stop")
        done, waiting = await asyncio.wait([died, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        if died in done:
            raise died.result()
    return _DONE


def _to_paste(addresses: dict[str, Any], things: list[str]) -> str:
    simulate = "--cp-id CP1"  # on the stack that is exported above, which has its Thing created
    if things:
        simulate = f"--url {addresses['websocket_url']} --cp-id {things[0]}"
    return f"""\
# The local stack runs until Ctrl-C. In another terminal:
export CPSIM_STACK={addresses["stack_name"]}
export AWS_ENDPOINT_URL={addresses["endpoint_url"]}
export AWS_DEFAULT_REGION={addresses["region"]}
export AWS_ACCESS_KEY_ID={addresses["access_key_id"]} AWS_SECRET_ACCESS_KEY={addresses["secret_access_key"]}
cpsim simulate {simulate}
# MQTT over WebSockets: {addresses["mqtt_url"]}"""


# -- cpsim load -------------------------------------------------------------------------------------------------------


def _load(options: argparse.Namespace) -> int:
    if len(options.prefix) + max(4, len(str(options.size))) > 128:
        raise ValueError("--prefix is too long: with its number, a charge point's id has at most 128 characters")
    starting = options.size / options.ramp
    if not options.duration > starting:
        raise ValueError(
            f"--size {options.size} at --ramp {options.ramp:g} takes {starting:.10g} s to start, and --duration "
            f"{options.duration:g} is over before: choose a longer duration, or a steeper ramp"
        )
    logging.getLogger("ocpp").setLevel(logging.ERROR)  # of thousands of charge points, the table tells
    options.signals.stopping = "stopping: closing connections; Ctrl-C again ends at once, and there is no table"
    if options.url is None:
        options.signals.stopping = (
            "stopping: closing connections and deleting the Things; Ctrl-C again leaves them, and there is no table"
        )
        options.signals.leaving = _left_behind(
            f"Things whose names begin with {options.prefix}",
            "delete_many([each for each in (await stack.things.list()).charge_point_id "
            f"if each.startswith({options.prefix!r})])",
        )
    fleets: list[Fleet] = []
    failed: CpsimError | None = None
    try:  # what was measured is told all the same
        run_fast(options.signals.ended(_run_fleet(options, fleets)))
    except KeyboardInterrupt:
        pass
    except CpsimError as exc:
        failed = exc
    result = fleets[0].result if fleets else None
    if result is None and failed is None:
        print("cpsim load: interrupted before anything was measured", file=sys.stderr)
    if result is not None:
        try:
            broken = _tell(result, options, could_start=not isinstance(failed, FleetError))
        except KeyboardInterrupt:  # the table is not whole
            return _INTERRUPTED
    if failed is not None:
        raise failed
    return _FAILED if result is not None and broken else _DONE


def _tell(result: FleetResult, options: argparse.Namespace, *, could_start: bool) -> bool:
    """Save and print what was measured; whether something is wrong with it."""
    broken = list(_broken_bounds(result, options)) if could_start else []
    saved = ""
    if options.csv is not None:  # first: whoever reads the table may have gone
        try:
            saved = f"\n{len(result.calls)} rows in {result.to_csv(options.csv)}"
        except OSError as exc:  # a full disk, as a rule
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


async def _run_fleet(options: argparse.Namespace, fleets: list[Fleet]) -> None:
    async with contextlib.AsyncExitStack() as contexts:
        cluster = await contexts.enter_async_context(_cluster(options.scheduler))  # first: it may not be there
        stack = None
        if options.url is None:
            stack = await contexts.enter_async_context(_stack(max(1, round(options.interval))))
        fleet = Fleet(
            options.url if stack is None else stack,
            options.size,
            prefix=options.prefix,
            ramp=options.ramp,
            heartbeat_interval=options.interval,
            burst=options.burst,
            reconnect=Backoff() if options.reconnect else None,
            processes=options.processes,
            cluster=cluster,
            version=options.ocpp,
            call_timeout=options.timeout,
        )
        fleets.append(fleet)
        result = await fleet.run(options.duration)
        if stack is not None and stack.is_local and _gone_since(result, options.duration) is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DEAD):
                    raise await stack.wait_died()


@contextlib.asynccontextmanager
async def _cluster(address: str | None) -> AsyncIterator[Any]:
    """A client of the Dask scheduler at this address; None for none."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise ValueError("--scheduler needs Dask; in the clone: pip install -e '.[cluster]'") from exc
    try:
        client: Any = await Client(address, asynchronous=True, timeout=_SCHEDULER)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError) as exc:
        raise ConnectError(f"no Dask scheduler answers at {address}; start one: dask scheduler", url=address) from exc
    except (TypeError, ValueError) as exc:  # what only Dask can judge: tls:// without certificates in its configuration
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)  # its own, that it gave up
        raise ConnectError(f"Dask cannot connect to {address}: {exc}", url=address) from exc
    try:
        yield client
    finally:
        await client.close()


def _broken_bounds(result: FleetResult, options: argparse.Namespace) -> Iterator[str]:
    """What the result is worse at than was asked for, or than any would ask for."""
    if not result.booted and not result.interrupted:
        yield f"not one of {result.size} charge points was accepted"
    elif (gone := _gone_since(result, options.duration)) is not None:
        yield f"no charge point was connected any more after {gone:.1f} of {options.duration:g} s"
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


def _gone_since(result: FleetResult, duration: float) -> float | None:
    """Since when no charge point was connected any more, in seconds since the start; None when some were at the end."""
    if result.interrupted or not result.connected:
        return None
    since = None
    for at, connected, _booted in reversed(result.samples):
        if connected:
            break
        since = at
    if since is None and result.duration < duration - SAMPLE:  # it ended when the last one had, before the next sample
        return result.duration
    return since if since is not None and since < duration else None


# -- cpsim lab --------------------------------------------------------------------------------------------------------


def _lab(options: argparse.Namespace) -> int:
    try:
        folder = notebooks_folder(Path(options.folder))
    except OSError as exc:
        raise ValueError(f"cannot copy the notebooks to --folder {options.folder}: {exc.strerror}") from exc
    print(f"The notebooks are in {folder}", flush=True)
    command = [sys.executable, "-P", "-m", "jupyterlab", f"--ServerApp.root_dir={folder}"]
    if options.no_browser:
        command.append("--no-browser")
    if options.port is not None:
        _check_free(options.port)
        command += [f"--port={options.port}", "--ServerApp.port_retries=0"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # in a container there is often nobody else
    command.append(str(folder / "00_start_here.ipynb"))
    return _become(command)


def _check_free(port: int) -> None:
    """Say that a port is taken, rather than have JupyterLab start for seconds first."""
    if port > 65535:
        raise ValueError(f"--port {port}: the largest port is 65535")
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as exc:
        raise CpsimError(
            f"cannot listen on port {port}: {exc.strerror}; choose another --port, or leave it out"
        ) from exc


def _become(command: list[str]) -> int:
    """Go on as this program: a terminal's Ctrl-C, SIGTERM and the exit status are its own then."""
    if sys.platform != "win32":
        os.execv(command[0], command)  # noqa: S606 - this interpreter
    signal.signal(signal.SIGINT, lambda *_: None)  # where exec would let go of the terminal; Ctrl-C reaches both
    return subprocess.run(command, check=False).returncode  # noqa: S603 - this interpreter


def notebooks_folder(folder: Path, *, package: Path = Path(__file__).parents[1]) -> Path:
    """The notebooks of a checkout, or those of an installed package copied to the reader's folder, with what they need.

    What is in that folder already is kept, and named where it is not as it came: it may have been changed.
    """
    installed = package / "notebooks"
    if not installed.is_dir():
        return package.parent / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for original in sorted([*installed.glob("*.ipynb"), *installed.glob("*.md"), *installed.glob("jmeter/*")]):
        mine = folder / original.relative_to(installed)
        if not mine.exists():
            mine.parent.mkdir(exist_ok=True)
            shutil.copyfile(original, mine)
        elif mine.read_bytes() != original.read_bytes():
            kept.append(mine.relative_to(folder).as_posix())
    if kept:
        print(f"Kept with your changes: {', '.join(kept)}; delete or rename one to get the original again")
    return folder.resolve()


# -- Arguments --------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Says what to try after an error."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(_BAD_ARGUMENTS, f"{self.prog}: error: {message}\nTry: {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cpsim",
        description="Simulated EV charge points for the AWS OCPP Gateway, on a local stack or on AWS.",
        epilog="Example:\n  cpsim simulate --cp-id CP1 --count 3 --interval 1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"cpsim {__version__}")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND", parser_class=_Parser)

    simulate = _add_command(
        commands,
        "simulate",
        "boot a charge point, then send heartbeats at the instructed interval",
        "Without --url, the local stack is started (or the stack that CPSIM_STACK names is used), the charge point's "
        "Thing is created first, and the Device Shadow's reported state is printed as JSON at the end.\n\n"
        "Exit status: 0 after --count heartbeats or Ctrl-C, 1 when refused or lost, 2 on bad arguments.",
        "cpsim simulate --cp-id CP1 --count 3 --interval 1",
    )
    simulate.add_argument("--url", type=_websocket_url, help="the gateway's address, ws://… or wss://…")
    simulate.add_argument("--cp-id", type=_charge_point_id, default="CP1", help="the charge point's id (%(default)s)")
    simulate.add_argument("--cp-serial", default="CP1234567890A01", help="its serial number (%(default)s)")
    simulate.add_argument("--cp-model", default="CHARGE_POINT_MODEL", help="its model (%(default)s)")
    simulate.add_argument("--cp-version", default="1.2.3.4", help="its firmware version (%(default)s)")
    simulate.add_argument("--cp-vendor", default="CHARGE_POINT_VENDOR", help="its vendor (%(default)s)")
    simulate.add_argument(
        "--cp-iccid", default="891004234814455936F", help="ICCID of its modem's SIM card, '' for none (%(default)s)"
    )
    simulate.add_argument(
        "--cp-imsi", default="310410123456789", help="IMSI of its modem's SIM card, '' for none (%(default)s)"
    )
    simulate.add_argument("--ocpp", choices=["1.6", "2.0.1", "2.1"], default="2.0.1", help="version (%(default)s)")
    simulate.add_argument("--password", help="for HTTP Basic authentication")
    simulate.add_argument("--count", type=_positive, help="end after so many heartbeats (never)")
    simulate.add_argument(
        "--interval",
        type=_positive,
        help="seconds between heartbeats: those that the local stack instructs (10), or the charge point's own choice "
        f"({OWN_INTERVAL:g}) where another CSMS instructs 0",
    )
    simulate.set_defaults(command=_simulate)

    stack = _add_command(
        commands,
        "stack",
        "run the local stack until Ctrl-C",
        "Prints its addresses as lines to paste in another terminal; with --json, one JSON object on the first line.",
        "cpsim stack --thing CP1 --interval 5",
    )
    stack.add_argument(
        "--thing", nargs="+", action="extend", default=[], type=_charge_point_id, help="create these Things first"
    )
    stack.add_argument(
        "--interval", type=_positive, default=_INTERVAL, help="seconds between heartbeats it instructs (%(default)s)"
    )
    stack.add_argument(
        "--csms",
        choices=["kit", "strict", "sample"],
        default="kit",
        help="strict: refuses what breaks a schema; sample: the AWS sample's quirks",
    )
    stack.add_argument("--json", action="store_true", help="print the addresses as JSON")
    stack.set_defaults(command=_run_stack)

    load = _add_command(
        commands,
        "load",
        "run many charge points, and tell how their calls went",
        "Without --url, the local stack is started (or the stack that CPSIM_STACK names is used), and the Things are "
        "created before and deleted after. With --url the ids must be known there.\n\n"
        "Exit status: 0, also after Ctrl-C or SIGTERM; 1 when a bound is broken, when not one charge point could start "
        "or was accepted, when none was connected any more at the end, when a Thing could not be deleted, or when FILE "
        "could not be written; 2 on bad arguments.",
        "cpsim load --size 2000 --duration 30 --max-p99 200 --max-failures 0",
    )
    load.add_argument("--size", type=_positive, default=100, help="how many charge points (%(default)s)")
    load.add_argument("--ramp", type=_above_zero, default=100, help="how many start per second (%(default)s)")
    load.add_argument("--interval", type=_above_zero, default=1.0, help="seconds between heartbeats (%(default)s)")
    load.add_argument("--duration", type=_above_zero, default=30, help="seconds, the ramp included (%(default)s)")
    load.add_argument("--timeout", type=_above_zero, default=30, help="seconds to wait for an answer (%(default)s)")
    load.add_argument("--url", type=_websocket_url, help="the gateway's address, ws://… or wss://…")
    load.add_argument("--prefix", type=_charge_point_id, default="LOAD-", help="how their ids begin (%(default)s)")
    load.add_argument("--ocpp", choices=["1.6", "2.0.1", "2.1"], default="2.0.1", help="version (%(default)s)")
    load.add_argument("--processes", type=_positive, default=1, help="spread over so many processes (%(default)s)")
    load.add_argument(
        "--scheduler", metavar="ADDRESS", type=_scheduler, help="run on the workers of this Dask cluster, tcp://…"
    )
    load.add_argument("--burst", action="store_true", help="heartbeats of all at the same moments")
    load.add_argument("--reconnect", action="store_true", help="open lost connections again, as OCPP 2.0.1 says")
    load.add_argument("--csv", metavar="FILE", type=_writable_file, help="save one row per call")
    load.add_argument(
        "--max-p99",
        type=_above_zero,
        metavar="MS",
        help="exit with 1 when p99 since calls were due is above; of all but connect",
    )
    load.add_argument("--max-failures", type=_count, metavar="N", help="exit with 1 when more calls failed")
    load.set_defaults(command=_load)

    lab = _add_command(
        commands,
        "lab",
        "open JupyterLab on the tutorial notebooks",
        "In a checkout, its notebooks; otherwise a copy of them in --folder, where nothing of yours is overwritten.",
        "cpsim lab --no-browser",
    )
    lab.add_argument("--folder", default="cpsim-notebooks", help="where the copies go (%(default)s)")
    lab.add_argument("--no-browser", action="store_true", help="only print the address")
    lab.add_argument("--port", type=_positive, help="JupyterLab's port")
    lab.set_defaults(command=_lab)
    return parser


def _add_command(commands: Any, name: str, summary: str, description: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description="\n\n".join(
            textwrap.fill(part, 80) for part in [f"{summary[0].upper()}{summary[1:]}.", *description.split("\n\n")]
        ),
        epilog=f"Example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    return parser


def _positive(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is needed, not {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text):
        raise argparse.ArgumentTypeError(f"a whole number is needed, not {text!r}")
    return int(text)


def _above_zero(text: str) -> float:
    if not re.fullmatch(r"[0-9]*\.?[0-9]+", text) or not float(text) > 0:
        raise argparse.ArgumentTypeError(f"a number above 0 is needed, not {text!r}")
    return float(text)


def _writable_file(text: str) -> Path:
    """A file for what is measured: tried now, and not after minutes of measuring."""
    path = Path(text)
    if text == "-":
        raise argparse.ArgumentTypeError("a file's name is needed, as the table goes to stdout; a file called -: ./-")
    try:
        is_new = not path.exists()
        path.open("ab").close()
        if is_new:
            path.unlink()
    except OSError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: {exc.strerror}") from exc
    return path


def _websocket_url(text: str) -> str:
    if not re.match(r"wss?://[^/]+", text):
        raise argparse.ArgumentTypeError(f"an address like ws://host:port or wss://host is needed, not {text!r}")
    return text


def _scheduler(text: str) -> str:
    if not re.fullmatch(r"(tcp|tls)://[^/\s]+:[0-9]{1,5}", text):
        raise argparse.ArgumentTypeError(f"an address like tcp://host:port or tls://host:port is needed, not {text!r}")
    return text


def _charge_point_id(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9:_-]{1,128}", text):
        allowed = "at most 128 letters, digits, colons, underscores and hyphens are allowed"
        raise argparse.ArgumentTypeError(
            f"{allowed}, not {len(text)}: {text!r}" if len(text) > 128 else f"{allowed}, not {text!r}"
        )
    return text
