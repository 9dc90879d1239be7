"""The queue of a station with quirks: it changes, repeats and reorders what is said, never what the station knows.

``station.truth()`` and the sessions stay right, so that a ledger can be compared with them. Pure: no clock, no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.charging.meter import REGISTER, Reading
from cpsim_kit.station.rules.events import Outgoing
from cpsim_kit.station.rules.queue import MessageQueue

if TYPE_CHECKING:
    from cpsim_kit.station.charging.transaction import Report
    from cpsim_kit.station.device_model.variables import Variables
    from cpsim_kit.station.dialects import Dialect
    from cpsim_kit.station.rules.events import Answer
    from cpsim_kit.station.rules.quirks import Quirks

__all__ = ["QuirkyQueue"]

_BEGIN = "Transaction.Begin"
_DAY = 86_400.0


@dataclass(slots=True)
class _Said:
    """What was, and will be, said wrongly of one transaction.

    Attributes:
        outages: How many times without a connection its numbers have taken into account.
        restarts: The right numbers of the messages at which the wrong ones begin at 0.
        begins_at_zero: Whether its first register value is said to be 0.
        readings: How many readings of the register there were after the start.
        rolled_back_at: When the register fell; infinity before.
        rolled_back_wh: The right value at that moment.
        was_available: Whether its connector was reported as Available.
    """

    outages: int
    restarts: list[int]
    begins_at_zero: bool = False
    readings: int = 0
    rolled_back_at: float = math.inf
    rolled_back_wh: float = 0.0
    was_available: bool = False


class QuirkyQueue(MessageQueue):
    """A queue that changes, repeats and reorders messages as the quirks say.

    Args:
        variables: As :class:`~cpsim_kit.station.rules.queue.MessageQueue` takes it.
        dialect: The words of the station's version.
        quirks: The quirks.
    """

    __slots__ = ("_dialect", "_outages", "_quirks", "_said")

    def __init__(self, variables: Variables, dialect: Dialect, quirks: Quirks) -> None:
        super().__init__(variables)
        self._dialect = dialect
        self._quirks = quirks
        self._outages = 0
        self._said: dict[str, _Said] = {}  # by the transaction's key
        if "clock_a_day_off" in quirks:
            dialect.clock_error = _DAY

    def add(self, message: Outgoing) -> None:
        """Put a message at the end, and see what is said wrongly from now on."""
        report = message.report
        if report is not None:
            self._note(report)
            message.then = partial(self._answered, message, message.then)
        super().add(message)
        if report is not None and report.kind == "Ended" and "ended_before_updated" in self._quirks:
            self._put_before_the_last_update(report)

    def go_offline(self) -> list[Outgoing]:
        """The connection is gone: see the base class."""
        self._outages += 1
        return super().go_offline()

    def _next(self, now: float) -> Outgoing | None:
        if self._pass_held():
            return super()._next(now)
        return self._others[0] if self.is_online and self._others else None

    # -- What is said wrongly -----------------------------------------------------------------------------------------

    def _note(self, report: Report) -> None:
        """Decide, when something happens to a transaction, what is said wrongly of it."""
        transaction = report.transaction
        said = self._said.get(transaction.key)
        if said is None:  # one that began without a connection has that time still before it
            said = self._said[transaction.key] = _Said(self._outages - (not self.is_online), [])
        if self.is_online and said.outages != self._outages:
            said.outages = self._outages
            if "seq_no_restarted" in self._quirks:
                said.restarts.append(report.seq_no)
        if not self.is_online and report.kind != "Ended" and "begin_zero_offline" in self._quirks:
            said.begins_at_zero |= any(reading.context == _BEGIN for reading in report.readings)
        if said.rolled_back_at == math.inf and "register_rollback" in self._quirks:
            wh = transaction.end_wh
            if report.kind != "Ended":
                registers = [_register(reading) for reading in report.readings if reading.context != _BEGIN]
                wh = next((each for each in registers if not math.isnan(each)), math.nan)
                said.readings += not math.isnan(wh)
            if not math.isnan(wh) and (report.kind == "Ended" or said.readings == 2):
                said.rolled_back_at, said.rolled_back_wh = report.at, wh

    def build(self, message: Outgoing) -> Any:
        """Make the ``call`` dataclass, as the quirks have it. Each message counts once, however often it is sent."""
        payload = super().build(message)
        names: list[str] = []
        if message.report is not None:
            changed, names = self._change(message.report)
            right, payload = payload, self._dialect.transaction_message(changed) if names else payload
            if payload == right:
                names = []
        if self._dialect.clock_error and (hasattr(payload, "timestamp") or hasattr(payload, "meter_value")):
            names.append("clock_a_day_off")
        if message.payload is None:
            for name in names:
                self._quirks.count(name)
        return payload

    def _change(self, report: Report) -> tuple[Report, list[str]]:
        """A report as it is said, and the quirks that changed it."""
        said, transaction = self._said[report.transaction.key], report.transaction
        names: list[str] = []
        start_wh, end_wh, readings = transaction.start_wh, transaction.end_wh, report.readings
        if said.begins_at_zero:
            start_wh = 0.0
            readings = [_with_register(each, _zero) if each.context == _BEGIN else each for each in readings]
            if readings != report.readings:
                names.append("begin_zero_offline")
        if report.at >= said.rolled_back_at:
            end_wh -= said.rolled_back_wh
            before = readings
            readings = [
                _with_register(each, partial(_subtract, said.rolled_back_wh))
                if each.at >= said.rolled_back_at and each.context != _BEGIN
                else each
                for each in readings
            ]
            if readings != before or (report.kind == "Ended" and end_wh != transaction.end_wh):
                names.append("register_rollback")
        seq_no = report.seq_no - max((each for each in said.restarts if each <= report.seq_no), default=0)
        if seq_no != report.seq_no:
            names.append("seq_no_restarted")
        if not names:
            return report, names
        transaction = replace(transaction, start_wh=start_wh, end_wh=end_wh)
        return replace(report, transaction=transaction, readings=readings, seq_no=seq_no), names

    # -- What is said besides -----------------------------------------------------------------------------------------

    def _answered(
        self, message: Outgoing, then: Callable[[Answer, float], None] | None, answer: Answer, now: float
    ) -> None:
        report = message.report
        assert report is not None
        if then is not None:
            then(answer, now)
        if report.kind == "Ended" and "stop_twice" in self._quirks:
            again = replace(report)  # so that its "offline" is as before, wherever the copy waits
            copy = Outgoing(message.build, cause=message.cause, session=message.session, report=again)
            copy.payload = message.payload  # so that it does not count
            super().add(copy)
            self._quirks.count("stop_twice")
        said, transaction = self._said[report.transaction.key], report.transaction
        is_charging = report.kind == "Updated" and bool(report.readings) and transaction.end is None
        if is_charging and self.is_online and not said.was_available and "available_while_charging" in self._quirks:
            said.was_available = True
            build = partial(self._dialect.status_notification, transaction.evse_id, "Available", "", False, now)
            self.add(Outgoing(build, cause=message.cause, session=message.session))
            self._quirks.count("available_while_charging")

    # -- Another order ------------------------------------------------------------------------------------------------

    def _put_before_the_last_update(self, report: Report) -> None:
        """Move the message just before an Ended behind it, unless that was sent, or was behind it when it was saved."""
        lane = self._transactional
        for message in lane:
            before = message.report
            assert before is not None
            if before.transaction is report.transaction and before.seq_no == report.seq_no - 1 and _can_wait(message):
                lane.remove(message)
                lane.append(message)
                self._quirks.count("ended_before_updated")
                return

    def _pass_held(self) -> bool:
        """Move the messages that are held back behind the others; False if there are no others."""
        lane = self._transactional
        if "ended_before_updated" not in self._quirks or not lane:
            return True
        for _ in range(len(lane)):
            if not self._is_held(lane[0]):
                return True
            lane.rotate(-1)
        return False

    def _is_held(self, message: Outgoing) -> bool:
        """Whether it waits for the next message of its transaction."""
        report = message.report
        assert report is not None
        if not _can_wait(message) or report.transaction.end is not None:
            return False
        return not any(
            other.report is not None and other.report.transaction is report.transaction and other is not message
            for other in self._transactional
        )


def _can_wait(message: Outgoing) -> bool:
    """Whether it is an Updated that was not sent yet."""
    return message.report is not None and message.report.kind == "Updated" and message.payload is None


def _register(reading: Reading) -> float:
    return next((value.number for value in reading.values if value.measurand == REGISTER), math.nan)


def _with_register(reading: Reading, change: Callable[[float], float]) -> Reading:
    """The reading with another value of the register."""
    values = [
        value._replace(number=change(value.number)) if value.measurand == REGISTER else value
        for value in reading.values
    ]
    return reading._replace(values=values)


def _zero(_wh: float) -> float:
    return 0


def _subtract(what: float, wh: float) -> float:
    return wh - what
