"""Checks of a fleet's arguments: what would fail in each charge point, or only later, is refused at once. No I/O."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from ssl import SSLContext
from typing import Any

from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.charge_point.backoff import Backoff

__all__ = ["check_duration", "check_kinds", "check_options", "check_values"]


def check_kinds(
    *, size: Any, ids: Any, prefix: Any, seed: Any, reconnect: Any, cluster: Any, scenario: Any, attributes: Any
) -> None:
    """Raise TypeError for an argument of the wrong type."""
    for name, value, kind, wanted in (
        ("size", size, Integral, "a whole number"),
        ("prefix", prefix, str, "a string"),
        ("seed", seed, Integral, "a whole number"),
        ("reconnect", reconnect, Backoff, "a Backoff, e.g. Backoff()"),
    ):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name}= takes {wanted}, not {value!r}")
    if isinstance(ids, str):
        raise TypeError(f"ids= takes a list of ids, not the string {ids!r}")
    if cluster is not None and not hasattr(cluster, "nthreads"):
        raise TypeError(f"cluster= takes a dask.distributed.Client, not {cluster!r}")
    for name, function, form in (
        ("scenario", scenario, "an async function of a charge point, async def scenario(cp)"),
        ("attributes", attributes, "a function of an id, which returns a dict"),
    ):
        if function is None:
            continue
        try:
            inspect.signature(function).bind(None)
        except TypeError as exc:
            raise TypeError(f"{name}= takes {form}, not {function!r}: {exc}") from exc
        except ValueError:  # a function written in C may have no signature
            pass


def check_values(
    *,
    size: int | None,
    ids: Sequence[str] | None,
    ramp: float,
    ramp_time: float | None,
    heartbeat_interval: float | None,
    provision: str | None,
    burst: bool,
    scenario: object,
    processes: int | None,
    cluster: object,
    ssl: object,
) -> None:
    """Raise ValueError for arguments that are out of range, or contradict each other."""
    if (size is None) == (ids is None):
        raise ValueError("a fleet has either a size or a list of ids")
    if size is not None and size < 1:
        raise ValueError(f"a fleet has at least one charge point, not {size}")
    if ids is not None and (not ids or len(set(ids)) < len(ids)):
        raise ValueError("ids= is empty, or has one of them twice")
    if not ramp > 0 or (ramp_time is not None and ramp_time < 0):
        raise ValueError("ramp is above 0 charge points a second, ramp_time at least 0 seconds")
    if heartbeat_interval is not None and not heartbeat_interval > 0:
        raise ValueError(f"heartbeat_interval is more than 0 seconds, not {heartbeat_interval!r}")
    if provision not in {"run", "keep", None}:
        raise ValueError(f'provision is "run", "keep" or None, not {provision!r}')
    if burst and scenario is not None:
        raise ValueError("burst= is for the heartbeats of the default scenario; yours sends its own")
    if processes is not None and processes < 1:
        raise ValueError(f"a fleet runs in at least one process, not {processes}")
    has_processes = processes not in {None, 1}
    if cluster is not None and has_processes:
        raise ValueError("a fleet runs in processes of this machine, or on the workers of a cluster")
    if isinstance(ssl, SSLContext) and (cluster is not None or has_processes):
        raise ValueError(
            "an SSLContext cannot go to another process; give a function that makes it there: "
            "ssl=lambda: ssl.create_default_context(cafile=…)"
        )


def check_options(options: Mapping[str, Any], fleet: Callable[..., None]) -> None:
    """Raise TypeError for an option that ``ChargePoint`` does not take.

    Args:
        options: The options.
        fleet: The function whose parameters are a fleet's own, for a hint.
    """
    own = set(inspect.signature(fleet).parameters) - {"self", "options"}
    of_charge_points = set(inspect.signature(ChargePoint.__init__).parameters) - {"self", "charge_point_id", "url"}
    for name in options:
        if name == "observe":
            raise TypeError("a fleet uses observe= itself, to measure; the result has every call")
        if name not in of_charge_points:
            close = difflib.get_close_matches(name, own | of_charge_points, n=2)
            close += [each for each in sorted(own) if each.endswith(f"_{name}") and each not in close]
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise TypeError(f"a fleet has no argument {name!r}{hint}")


def check_duration(duration: float, size: int, ramp_time: float) -> None:
    """Raise ValueError for a duration that is no number of seconds, or that the ramp uses up."""
    if not math.isfinite(duration):
        raise ValueError(f"a duration is a number of seconds, not {duration!r}")
    if not duration > ramp_time:
        raise ValueError(
            f"starting {size} charge points takes {ramp_time:g} s, and {duration:g} s are over before: choose a longer "
            "duration, or a steeper ramp"
        )
