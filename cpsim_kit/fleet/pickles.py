"""Pickles that a fleet exchanges with its other processes: plans there, errors back. No I/O."""

from __future__ import annotations

import pickle
import traceback

from cpsim_kit.errors import CpsimError
from cpsim_kit.fleet.plan import Plan

__all__ = ["pack_errors", "pack_plan"]


def pack_plan(plan: Plan) -> bytes:
    """Pickle a plan, also with functions of a notebook.

    Raises:
        ValueError: Something in it cannot be sent to another process.
    """
    import cloudpickle  # noqa: PLC0415 - only a fleet of several processes sends functions of a notebook

    try:
        packed: bytes = cloudpickle.dumps(plan)
    except Exception as exc:
        raise ValueError(
            f"this fleet cannot be sent to another process: {exc}. What the scenario, the attributes' function and the "
            "options refer to is sent along: make connections, locks and the like inside of these functions"
        ) from exc
    return packed


def pack_errors(errors: list[CpsimError], fault: BaseException | None) -> bytes:
    """Pickle the errors of charge points and a scenario's fault, with the fault's traceback as a note.

    A fault that cannot be pickled becomes a RuntimeError with its message.
    """
    import cloudpickle  # noqa: PLC0415 - an exception's class may be defined in a notebook

    if fault is not None:
        fault.add_note("In the process of the fleet:\n" + "".join(traceback.format_exception(fault)))
    for error in (*errors, fault):
        if error is not None:  # with Dask imported, pickle would include tracebacks, and all objects they refer to
            error.__traceback__ = error.__cause__ = error.__context__ = None
    try:
        packed: bytes = cloudpickle.dumps((errors, fault))
        pickle.loads(packed)  # noqa: S301 - our own; an exception whose class takes other arguments cannot be read
    except Exception:  # noqa: BLE001 - the exception is anybody's, and so are its attributes
        in_words = RuntimeError(f"{type(fault).__name__}: {fault}")
        for note in getattr(fault, "__notes__", []):
            in_words.add_note(note)
        packed = cloudpickle.dumps((errors, in_words))
    return packed
