"""What the rules of both OCPP versions share: times, meter registers, the ledger, and the order "boot first".

No sockets here, nothing of cpsim_kit, and no version's words. A payload is as the ocpp package hands it to a handler:
a dict with snake_case keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

REGISTER = "Energy.Active.Import.Register"  # the measurand of a sampled value that names none, in both versions
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TIME_KEYS = {"timestamp", "generated_at"}

Payload = Mapping[str, Any]


@dataclass(frozen=True)
class Token:
    """What the CSMS knows of an idToken (1.6: idTag).

    Attributes:
        status: The answer to Authorize, and to a transaction's message.
        group: The group that it belongs to (1.6: parentIdTag).
        status_in_transaction: Another status for a transaction's message than for Authorize.
    """

    status: str = "Accepted"
    group: str | None = None
    status_in_transaction: str | None = None


@dataclass(frozen=True)
class Reserved:
    """A reservation that the charge point has accepted.

    Attributes:
        place: The EVSE's id (1.6: the connector's); None for none in particular.
        token: For whom it is.
        group: The group that may use it, too.
        until: When it expires.
    """

    place: int | None
    token: str
    group: str | None
    until: datetime


@dataclass
class Session:
    """A line of the ledger: one transaction, in watt hours of its registers.

    Attributes:
        place: The EVSE's id (1.6: the connector's); None while it is unknown.
        start_wh: The first register value.
        end_wh: The newest register value.
    """

    charge_point_id: str
    transaction_id: str | int
    place: int | None = None
    id_token: str | None = None
    start_wh: float | None = None
    end_wh: float | None = None
    ended: bool = False

    @property
    def wh(self) -> float | None:
        """The energy of the transaction; None where no register was sent."""
        return None if self.start_wh is None or self.end_wh is None else self.end_wh - self.start_wh


@dataclass(frozen=True)
class Sample:
    """One sampled value.

    Attributes:
        at: When; None where the timestamp cannot be read.
        register_wh: The value, where it is the whole register of the outlet.
    """

    at: datetime | None
    context: str
    register_wh: float | None


def moment(text: str) -> datetime | None:
    """The time that a timestamp means; without zone: UTC. None where it cannot be read."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def timestamps(payload: Any) -> Iterator[str]:
    """Every timestamp in a payload, however deep."""
    if isinstance(payload, Mapping):
        for key, value in payload.items():
            if key in TIME_KEYS:
                yield value
            else:
                yield from timestamps(value)
    elif isinstance(payload, list):
        for value in payload:
            yield from timestamps(value)


@dataclass
class Registers:
    """The meter of one EVSE or connector: its readings may come in any order, but never fall over time.

    Attributes:
        tolerance: Watt hours by which roundings may differ.
    """

    tolerance: float
    readings: list[tuple[datetime, float]] = field(default_factory=list)
    seen: set[tuple[datetime, float]] = field(default_factory=set)

    def add(self, at: datetime, wh: float) -> str | None:
        """Take a reading; a sentence where it contradicts an earlier one.

        The earlier ones are forgotten then, so that one wrong reading is reported once. Ended repeats the reading of
        the start: one that is known already says nothing new.
        """
        if (at, wh) in self.seen:
            return None
        self.seen.add((at, wh))
        for then, known in self.readings:
            falls = then <= at and known > wh + self.tolerance
            rises_too_early = then > at and known < wh - self.tolerance
            if falls or rises_too_early:
                self.readings = [(at, wh)]
                return f"the register was {known:g} Wh at {then.isoformat()}, and {wh:g} Wh at {at.isoformat()}"
        self.readings.append((at, wh))
        return None


class Rules:
    """What one charge point may still say, after what it said before.

    A rule that is broken is reported once for a frame; the state then follows the frame, so that one fault of the
    charge point is one violation.

    Args:
        charge_point_id: The identity.
        tokens: What is known of a token.
        ledger: Where transactions are written to.

    Attributes:
        refused_tokens: Those whose last Authorize was not answered Accepted.
        reservations: Those that the charge point has accepted, and that have not ended, by their ids.
        reservation_ids: The ids that were ever asked with.
        is_boot_asked: The CSMS has asked for a BootNotification: the next one is not that of a start.
    """

    register_tolerance = 0.0
    checks: ClassVar[Mapping[str, str]] = {}

    def __init__(self, charge_point_id: str, tokens: Callable[[str], Token], ledger: dict[str | int, Session]) -> None:
        self.charge_point_id = charge_point_id
        self.refused_tokens: set[str] = set()
        self.reservations: dict[int, Reserved] = {}
        self.reservation_ids: set[int] = set()
        self.is_boot_asked = False
        self._tokens = tokens
        self._ledger = ledger
        self._booted = False
        self._registers: dict[object, Registers] = {}
        self._status_times: dict[object, datetime] = {}
        self._found: dict[str, str] = {}

    def connected(self) -> None:
        """A connection has opened: what a connector's status is now was not said yet."""

    def booted(self) -> None:
        """A BootNotification came: every connector's status is said anew."""

    def open_transactions(self) -> list[str | int]:
        """The ids of the transactions that have not ended."""
        return [
            session.transaction_id
            for session in self._ledger.values()
            if session.charge_point_id == self.charge_point_id and not session.ended
        ]

    def check(self, action: str, payload: Payload) -> dict[str, str]:
        """The rules that this request breaks, each with a sentence."""
        self._found = {}
        if action == "BootNotification":
            self._booted = True
            if not self.is_boot_asked:
                self.booted()
        elif not self._booted:
            self._report("boot", f"{action} before a BootNotification was accepted")
            return self._found
        self._check_time_format(payload)
        check = self.checks.get(action)
        if check is not None:
            getattr(self, check)(payload)
        return self._found

    def _report(self, rule: str, text: str) -> None:
        self._found.setdefault(rule, text)

    def _check_reservation(self, number: int | None, place: int | None, token: str, at: datetime | None) -> None:
        """A token has authorized: with a reservation of its own, or where nothing is reserved for another (H03)."""
        if number is not None:
            used = self.reservations.pop(number, None)
            if number not in self.reservation_ids:
                self._report("reservation_id_unknown", f"nobody reserved anything with the id {number}")
            elif used is not None and not self._may_use(used, token):
                self._report("reservation_of_another", f"reservation {number} is for {used.token}, not for {token}")
            return
        for key, reserved in self.reservations.items():
            is_here = place is not None and reserved.place == place and (at is None or at < reserved.until)
            if is_here:
                self._report("reserved_for_another", f"{token} at {place}, which reservation {key} keeps")

    def _release(self, place: int) -> None:
        """A connector is Available: none in particular is reserved there any more, whatever ended that."""
        for key, reserved in self.reservations.items():
            if reserved.place == place:
                self.reservations[key] = replace(reserved, place=None)

    def _may_use(self, reserved: Reserved, token: str) -> bool:
        group = self._tokens(token).group
        return token == reserved.token or (group is not None and group == reserved.group)

    def _check_time_format(self, payload: Payload) -> None:
        for text in timestamps(payload):
            if not TIMESTAMP.fullmatch(text):
                self._report("time_format", f"{text} is no UTC time with milliseconds and Z")

    def _check_status_time(self, place: object, payload: Payload) -> None:
        at = moment(payload.get("timestamp") or "")
        if at is None:
            return
        before = self._status_times.get(place)
        if before is not None and at < before:
            self._report("status_time", f"connector {place}: {at.isoformat()} after {before.isoformat()}")
        self._status_times[place] = at

    def _check_register(self, place: object, sample: Sample) -> None:
        if sample.at is None or sample.register_wh is None:
            return
        registers = self._registers.setdefault(place, Registers(self.register_tolerance))
        contradiction = registers.add(sample.at, sample.register_wh)
        if contradiction:
            self._report("register_decreases", f"EVSE or connector {place}: {contradiction}")

    def _check_sample_times(self, samples: list[Sample], first: datetime | None, last: datetime | None) -> None:
        times = [sample.at for sample in samples if sample.at is not None]
        bounds = [*([first] if first else []), *times, *([last] if last else [])]
        if bounds != sorted(bounds):
            spelled = ", ".join(at.isoformat() for at in bounds)
            self._report("meter_time", f"values not in the order of time, or not within the transaction: {spelled}")

    def _same_group(self, one: str, other: str | None) -> bool:
        if other is None or one == other:
            return True
        group = self._tokens(one).group
        return group is not None and group == self._tokens(other).group
