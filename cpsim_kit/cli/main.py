"""The entry point of ``cpsim``: parses the arguments, runs one command, and returns its exit status."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from cpsim_kit.cli import arguments, check, lab, load, simulate, stack
from cpsim_kit.cli.terminal import BAD_ARGUMENTS, DONE, FAILED, Signals, protect_output
from cpsim_kit.errors import CpsimError

__all__ = ["main"]

_COMMANDS = {"simulate": simulate.run, "stack": stack.run, "load": load.run, "check": check.run, "lab": lab.run}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0: done or interrupted; 1: failed; 2: bad arguments; 130: interrupted twice.

    When the reader of the output has gone (a closed pipe), the command goes on without it. A full disk is a failure.
    """
    output_error = protect_output()
    try:
        status = _run(argv)
    except SystemExit as exc:  # raised by argparse
        status = exc.code if isinstance(exc.code, int) else FAILED
        if output_error() is None:
            raise
    if (error := output_error()) is not None and not isinstance(error, BrokenPipeError):
        print(f"cpsim: cannot write to stdout: {error.strerror}", file=sys.stderr)
        return status or FAILED
    return status


def _run(argv: Sequence[str] | None) -> int:
    options = arguments.parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s:%(name)s:%(message)s", force=True)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    options.signals = Signals()
    try:
        with options.signals:
            return _COMMANDS[options.name](options)
    except KeyboardInterrupt:
        return DONE
    except ValueError as exc:  # an argument that only the library can judge
        print(f"cpsim {options.name}: error: {exc}\nTry: cpsim {options.name} --help", file=sys.stderr)
        return BAD_ARGUMENTS
    except CpsimError as exc:
        logging.error("%s", ". ".join([str(exc), *getattr(exc, "__notes__", [])]))
        return FAILED
