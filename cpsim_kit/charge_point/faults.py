"""Which faults a network has, the fate of each frame, and the table of faults. No I/O.

``network`` has the settings, and ``faulty_transport`` carries them out.

A fate depends on nothing but the seed, the charge point, and which frame it is: the third answer to a Heartbeat has the
same fate in every run with the same seed, whatever else was said meanwhile, and whatever the other settings are.
"""

from __future__ import annotations

import difflib
import logging
import math
import struct
import time
from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import blake2b
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cpsim_kit.basics.clock import wall_clock
from cpsim_kit.basics.tables import table
from cpsim_kit.charge_point.websocket import check_close
from cpsim_kit.ocpp_j.versions import VERSIONS, Version

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NO_CLOSE_FRAME", "Fate", "Fault", "FaultState", "Faults", "faults_table"]

logger = logging.getLogger("ocpp")

NO_CLOSE_FRAME = 1006  # the code of an end without a close frame: RFC 6455, 7.1.5

_DIRECTIONS = ("both", "sent", "received")
_KINDS = ("CALL", "CALLRESULT", "CALLERROR", "CALLRESULTERROR", "SEND", "malformed")
_FIVE = struct.Struct(">5Q")


class Fault(NamedTuple):
    """One fault that happened: a row of the table.

    Attributes:
        sent_at: When the charge point sent the frame, or would have received it; UTC.
        charge_point_id: The charge point.
        direction: "sent" or "received" by the charge point; "" for a fault of the connection.
        kind: Of the frame, as in the record of messages; "" for a fault of the connection.
        action: Of the frame; that of an answer is its CALL's.
        message_id: Of the frame.
        fault: "drop", "delay", "duplicate", "reorder", "lost", "close", "half-open" or "cut".
        detail: How long, what overtook it, why it was lost, or the close code.
    """

    sent_at: datetime
    charge_point_id: str
    direction: str
    kind: str
    action: str
    message_id: str
    fault: str
    detail: str


def faults_table(faults: Iterable[Fault]) -> pd.DataFrame:
    """One row for each fault, by time; the columns mean what they mean in the record of messages."""
    by_time = sorted(faults, key=lambda fault: fault.sent_at)
    return table(by_time, Fault._fields)


class Fate(NamedTuple):
    """What happens to one frame.

    Attributes:
        close_code: The code with which the connection ends in its place; 0 if it does not.
        is_dropped: Whether it is lost.
        is_doubled: Whether it arrives twice.
        is_held_back: Whether it waits until another one has overtaken it.
        delay: Seconds that it takes.
    """

    close_code: int
    is_dropped: bool
    is_doubled: bool
    is_held_back: bool
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The settings of a network; see ``Network``.

    Raises:
        TypeError: A setting has a wrong type.
        ValueError: A setting is out of range, or names something that OCPP does not have.
    """

    drop: float = 0.0
    delay: float | tuple[float, float] = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_within: float = 1.0
    close: tuple[int, float] | None = None
    half_open: bool = False
    direction: Literal["both", "sent", "received"] = "both"
    kinds: Collection[str] | None = None
    actions: Collection[str] | None = None
    seed: int = 0
    is_on: bool = True

    def __post_init__(self) -> None:
        for name in ("drop", "duplicate", "reorder"):
            _check_probability(f"{name}=", getattr(self, name))
        _check_delay(self.delay)
        _check_finite("reorder_within=", self.reorder_within, above_zero=True)
        if self.close is not None:
            _check_close(self.close)
        for name in ("half_open", "is_on"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}= is True or False, not {getattr(self, name)!r}")
        if self.direction not in _DIRECTIONS:
            raise ValueError(f"direction= is {_listed(_DIRECTIONS)} by the charge point, not {self.direction!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, Integral):
            raise TypeError(f"seed= is a whole number, not {self.seed!r}")
        object.__setattr__(self, "seed", int(self.seed))
        object.__setattr__(self, "kinds", _names("kinds", self.kinds, _KINDS))
        object.__setattr__(self, "actions", _names("actions", self.actions, _all_actions()))

    @property
    def is_dead(self) -> bool:
        """Whether connections go dead."""
        return self.is_on and self.half_open

    def concern(self, direction: str, kind: str, action: str) -> bool:
        """Whether such a frame is one of those that have faults."""
        return (
            self.direction in ("both", direction)
            and (self.kinds is None or kind in self.kinds)
            and (self.actions is None or action in self.actions)
        )

    def fate(self, charge_point_id: str, direction: str, kind: str, action: str, number: int) -> Fate:
        """The fate of the frame with this number among all such frames of the charge point."""
        # A hash and not a generator's next number: nothing has to be kept for each charge point, direction and action.
        which = f"{self.seed}\n{charge_point_id}\n{direction}\n{kind}\n{action}\n{number}"
        digest = blake2b(which.encode(errors="backslashreplace"), digest_size=_FIVE.size).digest()
        close, drop, duplicate, reorder, delay = (number / 2**64 for number in _FIVE.unpack(digest))
        shortest, longest = self.delay if isinstance(self.delay, tuple) else (self.delay, self.delay)
        return Fate(
            close_code=self.close[0] if self.close is not None and close < self.close[1] else 0,
            is_dropped=drop < self.drop,
            is_doubled=duplicate < self.duplicate,
            is_held_back=reorder < self.reorder,
            delay=shortest + delay * (longest - shortest),
        )


class FaultState:
    """The settings in force, how many frames there were, and the faults that happened.

    Args:
        settings: The settings.
        limit: How many faults are kept; None for all.

    Attributes:
        settings: The settings in force; others may be set.
        counts: How many frames there were, by what their fate depends on.
        faults: The last faults, oldest first.
        forgotten: How many faults were dropped for newer ones.
    """

    __slots__ = ("_reported", "counts", "faults", "forgotten", "settings")

    def __init__(self, settings: Faults, limit: int | None) -> None:
        self.settings = settings
        self.counts: Counter[tuple[str, str, str, str]] = Counter()
        self.faults: deque[Fault] = deque(maxlen=limit)
        self.forgotten = 0
        self._reported = 0

    def next_fate(self, charge_point_id: str, direction: str, kind: str, action: str) -> Fate:
        """Count a frame, and return its fate."""
        which = charge_point_id, direction, kind, action
        self.counts[which] += 1
        return self.settings.fate(*which, self.counts[which])

    def note(
        self,
        charge_point_id: str,
        fault: str,
        detail: str = "",
        *,
        direction: str = "",
        kind: str = "",
        action: str = "",
        message_id: str = "",
    ) -> None:
        """Add a fault of a connection, or of a frame."""
        now = wall_clock(time.perf_counter())
        self.add([Fault(now, charge_point_id, direction, kind, action, message_id, fault, detail)])
        words = (fault, direction, kind, action, message_id, detail)
        logger.info("%s: network: %s", charge_point_id, " ".join(word for word in words if word))

    def add(self, faults: Iterable[Fault]) -> None:
        """Add faults, also those of another process."""
        for fault in faults:
            self.forgotten += len(self.faults) == self.faults.maxlen
            self.faults.append(fault)

    def unreported(self) -> list[Fault]:
        """The faults since it was called last, but for those that are forgotten; for another process."""
        total = self.forgotten + len(self.faults)
        new, self._reported = total - self._reported, total
        return list(self.faults)[-new:] if new else []


def _check_probability(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{what} is a probability, a number from 0 to 1; not {value!r}")
    if not 0 <= float(value) <= 1:
        raise ValueError(f"{what} is a probability, from 0 to 1; not {value!r}")


def _check_finite(what: str, value: object, *, above_zero: bool = False, or_else: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{what} is a number of seconds{or_else}; not {value!r}")
    if not (value > 0 if above_zero else value >= 0) or math.isinf(value):  # type: ignore[operator]
        raise ValueError(f"{what} is {'more than 0' if above_zero else '0 or more'} seconds, and finite; not {value!r}")


def _check_delay(delay: object) -> None:
    if not isinstance(delay, tuple):
        _check_finite("delay=", delay, or_else=", or a tuple of the shortest and the longest")
        return
    if len(delay) != 2:
        raise ValueError(f"delay= is a number of seconds, or the shortest and the longest one; not {delay!r}")
    for seconds in delay:
        _check_finite("delay=", seconds)
    if delay[0] > delay[1]:
        raise ValueError(f"delay= has the shortest time first, then the longest; not {delay!r}")


def _check_close(close: object) -> None:
    if not isinstance(close, tuple) or len(close) != 2:
        raise TypeError(f"close= takes a close code and a probability, e.g. (1011, 0.1), or None; not {close!r}")
    code, probability = close
    if code != NO_CLOSE_FRAME:
        check_close(code, "")
    _check_probability("close= has a second part that", probability)


def _names(what: str, names: object, known: Collection[str]) -> frozenset[str] | None:
    """The names as a set; a string is one name."""
    if names is None:
        return None
    found: frozenset[Any]
    try:
        found = frozenset((names,) if isinstance(names, str) else names)  # type: ignore[call-overload]
    except TypeError as exc:
        raise TypeError(f"{what}= takes a name, several of them, or None for all; not {names!r}") from exc
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"{what}= takes names, and {name!r} is not a string")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {_listed(close)}?" if close else f"some of them are {_listed(sorted(known)[:6])}"
            raise ValueError(f"{what}= has a name that OCPP does not have, {name!r}; {hint}")
    if not found:
        raise ValueError(f"{what}= is empty, so no frame would have a fault: None is for all, is_on=False for none")
    return found


def _listed(names: Iterable[str]) -> str:
    *most, last = (repr(name) for name in names)
    return f"{', '.join(most)} or {last}" if most else last


@cache
def _all_actions() -> frozenset[str]:
    """The actions of all versions: a network does not know which its charge points speak."""
    return frozenset[str]().union(*(Version.get(name).actions for name in VERSIONS))
