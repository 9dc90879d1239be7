"""Checks of a fleet's arguments: what would fail in each charge point, or only later, is refused at once. No I/O."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from ssl import SSLContext
from typing import Any

from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.charge_point.backoff import Backoff
from cpsim_kit.fleet.arrivals import check_arrivals
from cpsim_kit.fleet.charging import Charging, takes_random
from cpsim_kit.station import Station

__all__ = ["check_charging", "check_duration", "check_kinds", "check_options", "check_values"]


def check_kinds(
    *,
    size: Any,
    ids: Any,
    prefix: Any,
    seed: Any,
    reconnect: Any,
    cluster: Any,
    scenario: Any,
    attributes: Any,
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
        if function is not None:
            _check_takes(name, function, form)


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


def check_charging(
    charging: Charging | None,
    charge_point: ChargePoint,
    *,
    arrivals: object,
    heartbeat_interval: float | None,
    burst: bool,
    fleet: Callable[..., None],
) -> None:
    """Check what a fleet's stations are, and who comes to them, with its first charge point.

    Raises:
        TypeError: An argument that ``Station`` does not take, a drive that is not async, or arrivals of a wrong kind.
        ValueError: Arguments that contradict each other or are out of range.
    """
    if charging is None:
        if arrivals is not None:
            raise ValueError("arrivals= are those of drivers at stations: give station=, e.g. station={}")
        return
    if heartbeat_interval is not None or burst:
        name = "burst" if burst else "heartbeat_interval"
        raise ValueError(f"a station sends heartbeats at the interval that the CSMS instructs: leave {name}= out")
    _check_drive(charging.drive)
    if arrivals is not None:
        _check_takes("arrivals", arrivals, "a function of a random.Random, which returns or yields seconds")
        check_arrivals(charging.arrivals, f"{charging.seed} {charge_point.id} arrivals")  # type: ignore[arg-type]
    if callable(charging.station):
        _check_takes("station", charging.station, "a dict of arguments of Station, or a function of an id")
    options = charging.options(charge_point.id)
    _check_station(options, fleet)
    Station(charge_point, **options)  # raises if it does not like a value


def _check_station(options: Mapping[str, Any], fleet: Callable[..., None]) -> None:
    """Raise TypeError for an option that ``Station`` does not take around a charge point."""
    of_fleets = (_parameters(fleet) | _parameters(ChargePoint.__init__)) - {"url", "options", "charge_point_id"}
    own = _parameters(Station.__init__) - {"charge_point", "url", "version", "options"}
    for name in options:
        if name in own:
            continue
        if name in of_fleets and name != "observe":
            raise TypeError(f"{name!r} is an argument of the fleet, not of station=: Fleet(…, {name}=…)")
        close = difflib.get_close_matches(str(name), own, n=2)
        hint = f"; did you mean {' or '.join(close)}?" if close else f"; it takes {', '.join(sorted(own))}"
        raise TypeError(f"station= has no argument {name!r}{hint}")


def _parameters(function: Callable[..., object]) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self"}


def _check_drive(drive: Any) -> None:
    """Raise TypeError for a drive that is plainly no async function; a lambda may return what one does."""
    if drive is None:
        return
    function = drive
    while isinstance(function, functools.partial):
        function = function.func
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        function = getattr(type(function), "__call__", function)  # noqa: B004 - an object with async def __call__
    is_lambda = getattr(function, "__name__", "") == "<lambda>"
    if not inspect.iscoroutinefunction(function) and not is_lambda:
        raise TypeError(f"scenario= of stations takes an async function, async def drive(station), not {drive!r}")
    if not takes_random(drive):
        _check_takes("scenario", drive, "an async function of a station, async def drive(station)")


def _check_takes(name: str, function: Any, form: str) -> None:
    """Raise TypeError if it is not a function that can be called with one argument."""
    try:
        inspect.signature(function).bind(None)
    except TypeError as exc:
        raise TypeError(f"{name}= takes {form}, not {function!r}: {exc}") from exc
    except ValueError:  # a function written in C may have no signature
        pass


def check_duration(duration: float, size: int, ramp_time: float) -> None:
    """Raise ValueError for a duration that is no number of seconds, or that the ramp uses up."""
    if not math.isfinite(duration):
        raise ValueError(f"a duration is a number of seconds, not {duration!r}")
    if not duration > ramp_time:
        raise ValueError(
            f"starting {size} charge points takes {ramp_time:g} s, and {duration:g} s are over before: choose a longer "
            "duration, or a steeper ramp"
        )
