"""The options of each command: the parser, and the types of its arguments."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from cpsim_kit import __version__
from cpsim_kit.charge_point import OWN_INTERVAL
from cpsim_kit.check_up import CHECKS
from cpsim_kit.check_up.checks import PREFIX
from cpsim_kit.cli.terminal import BAD_ARGUMENTS
from cpsim_kit.errors import THING_NAME

__all__ = ["LOCAL_INTERVAL", "parse"]

LOCAL_INTERVAL = 10  # seconds between heartbeats that a local stack instructs, unless --interval says otherwise


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse arguments, those of this process when None.

    Returns:
        The options; ``name`` is that of the command.

    Raises:
        SystemExit: The arguments are wrong, or are ``--help`` or ``--version``.
    """
    options, unknown = _parser().parse_known_args(argv)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


class _Parser(argparse.ArgumentParser):
    """A parser that adds a hint to each error."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(BAD_ARGUMENTS, f"{self.prog}: error: {message}\nTry: {self.prog} --help\n")


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
    _add_simulate(commands)
    _add_stack(commands)
    _add_load(commands)
    _add_check(commands)
    _add_lab(commands)
    return parser


def _add_simulate(commands: Any) -> None:
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


def _add_stack(commands: Any) -> None:
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
        "--interval",
        type=_positive,
        default=LOCAL_INTERVAL,
        help="seconds between heartbeats it instructs (%(default)s)",
    )
    stack.add_argument(
        "--csms",
        choices=["kit", "lambda", "strict", "sample"],
        default="kit",
        help="lambda: behind a queue, as a Lambda function; strict: refuses what breaks a schema; sample: the AWS "
        "sample's quirks",
    )
    stack.add_argument("--json", action="store_true", help="print the addresses as JSON")


def _add_load(commands: Any) -> None:
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
    load.add_argument(
        "--charge",
        action="store_true",
        help="each is a station, to which drivers come one after the other and charge 5 to 20 kWh",
    )
    load.add_argument(
        "--speed",
        type=_above_zero,
        help="with --charge: seconds of the stations' clocks in a real second (60)",
    )
    load.add_argument("--csv", metavar="FILE", type=_writable_file, help="save one row per call")
    load.add_argument(
        "--max-p99",
        type=_above_zero,
        metavar="MS",
        help="exit with 1 when p99 since calls were due is above; of all but connect",
    )
    load.add_argument("--max-failures", type=_count, metavar="N", help="exit with 1 when more calls failed")


def _add_check(commands: Any) -> None:
    check = _add_command(
        commands,
        "check",
        "play charge points against a CSMS, and tell what it does wrong",
        "Plays twelve checks that decide about money and about losing a charge point, and prints for each what was "
        "seen and the verdict: passed, failed, not supported, or not tried. --list tells what they demand, and where "
        "the specification says so.\n\n"
        "Without --url, the local stack is started (or the stack that CPSIM_STACK names is used), Things and a blocked "
        "token are created before and deleted after, and the bills are looked up in the stack's table of transactions. "
        "With --url nobody looks at the bills, and the ids must be known there.\n\n"
        "Exit status: 0 when no check failed, also after Ctrl-C; 1 when one failed, when the CSMS cannot be reached, "
        "or when FILE could not be written; 2 on bad arguments.",
        "cpsim check --url ws://127.0.0.1:9000 --version 1.6 --token TAG-1 --junit check.xml",
    )
    check.add_argument("--url", type=_websocket_url, help="the CSMS's address, ws://… or wss://…")
    check.add_argument(
        "--version", "--ocpp", dest="ocpp", choices=list(CHECKS), default="2.0.1", help="of OCPP (%(default)s)"
    )
    check.add_argument("--token", default="TAG-1", help="a token that the CSMS accepts (%(default)s)")
    check.add_argument("--refused-token", metavar="TOKEN", help="a token that it does not accept")
    check.add_argument(
        "--check", nargs="+", action="extend", default=[], metavar="ID", help="play these checks only (all)"
    )
    check.add_argument(
        "--cp-id",
        nargs="+",
        action="extend",
        default=[],
        metavar="ID",
        type=_charge_point_id,
        help=f"the charge points' ids, one or more ({PREFIX}01, …)",
    )
    check.add_argument("--password", help="for HTTP Basic authentication")
    check.add_argument("--timeout", type=_above_zero, default=10, help="seconds to wait for an answer (%(default)s)")
    check.add_argument("--junit", metavar="FILE", type=_writable_file, help="save the report as JUnit XML")
    check.add_argument("--list", action="store_true", help="print what the checks demand, and end")


def _add_lab(commands: Any) -> None:
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
    """A file that can be written; tried now, so that the error does not come after minutes of measuring."""
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
    if not THING_NAME.fullmatch(text):
        allowed = "at most 128 letters, digits, colons, underscores and hyphens are allowed"
        raise argparse.ArgumentTypeError(
            f"{allowed}, not {len(text)}: {text!r}" if len(text) > 128 else f"{allowed}, not {text!r}"
        )
    return text
