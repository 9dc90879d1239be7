"""The queue of messages: which is sent next, what is sent again and when, and what waits while the station is offline.

Transaction messages keep their order, whatever happens; other messages may overtake one that waits for its next attempt
(OCPP 1.6, 3.7). Pure: no clock, no I/O. OCPP 2.0.1 part 2, E04, E11 to E13; OCPP 1.6, 3.7.1.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cpsim_kit.basics.tables import table
from cpsim_kit.station.rules.events import Outgoing

if TYPE_CHECKING:
    import pandas as pd

    from cpsim_kit.station.device_model.variables import Variables

__all__ = ["MAX_MESSAGES", "MessageQueue", "queue_frame"]

MAX_MESSAGES = 10_000  # transaction messages that wait; an Updated of 500 bytes a minute for a week
_KEPT = 100  # of those that were dropped, and of those that were given up


class MessageQueue:
    """The messages of one station that are not answered yet.

    Args:
        variables: The station's variables: how often, and at which intervals, a message is tried again.
        limit: How many transaction messages may wait. Beyond it every second Updated is dropped, never a start or an
            end (E04.FR.08).

    Attributes:
        is_online: Whether messages can be sent.
        dropped: Transaction messages that were dropped to make room; the last 100.
        dropped_count: How many these were.
        given_up: Transaction messages that failed for the last time, or that the CSMS will never take; the last 100.
        on_full: Called with the message that did not fit, when others were dropped to make room.
    """

    __slots__ = (
        "_limit",
        "_numbers",
        "_others",
        "_transactional",
        "_variables",
        "dropped",
        "dropped_count",
        "given_up",
        "is_online",
        "on_full",
    )

    def __init__(self, variables: Variables, limit: int = MAX_MESSAGES) -> None:
        self._variables = variables
        self._limit = limit
        self._others: deque[Outgoing] = deque()
        self._transactional: deque[Outgoing] = deque()
        self._numbers = 0
        self.is_online = True
        self.dropped: list[Outgoing] = []
        self.dropped_count = 0
        self.given_up: list[Outgoing] = []
        self.on_full: Callable[[Outgoing], object] | None = None

    def __len__(self) -> int:
        return len(self._others) + len(self._transactional)

    def __iter__(self) -> Iterator[Outgoing]:
        yield from self._others
        yield from self._transactional

    def add(self, message: Outgoing) -> None:
        """Put a message at the end. Without a connection only transaction messages wait, marked as offline."""
        self._numbers += 1
        message.number = self._numbers
        if message.report is None:
            if self.is_online:
                self._others.append(message)
            return
        message.report.offline = not self.is_online
        message.report.transaction.was_offline |= not self.is_online
        self._transactional.append(message)
        if len(self._transactional) > self._limit:
            self._drop_every_second_update()
            if self.on_full is not None:
                self.on_full(message)

    def build(self, message: Outgoing) -> Any:
        """Make the ``call`` dataclass of a message whose turn it is."""
        return message.build()

    def ready(self, now: float) -> bool:
        """Whether a message can be sent now."""
        return self._next(now) is not None

    def take(self, now: float) -> Outgoing | None:
        """The message to send now; None if there is none. The head of its lane stays until it is settled."""
        return self._next(now)

    def due(self) -> float:
        """When the next attempt of a failed message is due; infinity for never."""
        if not self.is_online or not self._transactional:
            return math.inf
        moment = self._transactional[0].not_before
        return math.inf if moment == -math.inf else moment

    def settle(self, message: Outgoing) -> None:
        """A message was answered, or given up: it is gone."""
        lane = self._others if message.report is None else self._transactional
        if lane and lane[0] is message:
            lane.popleft()

    def fail(self, message: Outgoing, now: float, *, waited: bool, is_final: bool) -> bool:
        """A message was not accepted.

        Args:
            message: The message.
            now: When that was known.
            waited: Whether no answer came at all: then MessageTimeout passes, too, before the next attempt (TC_E_41).
            is_final: Whether the CSMS will never take it.

        Returns:
            Whether it will be sent again.
        """
        message.attempts += 1
        value = self._variables.value
        if message.report is None:
            self.settle(message)
            return False
        if is_final or message.attempts >= value("OCPPCommCtrlr.MessageAttempts[TransactionEvent]"):
            self.give_up(message)
            return False
        message.not_before = now + message.attempts * value("OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]")
        if waited:
            message.not_before += value("OCPPCommCtrlr.MessageTimeout[Default]")
        return True

    def give_up(self, message: Outgoing) -> None:
        """A transaction message will not be sent any more."""
        self.settle(message)
        self.given_up.append(message)
        del self.given_up[:-_KEPT]
        assert message.report is not None
        message.report.transaction.given_up += 1

    def go_offline(self) -> list[Outgoing]:
        """The connection is gone: what waits is marked (E11.FR.07). Returns the others, which are forgotten."""
        self.is_online = False
        for message in self._transactional:
            assert message.report is not None
            message.report.offline = message.report.transaction.was_offline = True
            message.not_before = -math.inf
        forgotten = list(self._others)
        self._others.clear()
        return forgotten

    def _next(self, now: float) -> Outgoing | None:
        """The older one of the two heads, unless that waits for its next attempt."""
        if not self.is_online:
            return None
        other = self._others[0] if self._others else None
        transactional = self._transactional[0] if self._transactional else None
        if transactional is None or transactional.not_before > now:
            return other
        return transactional if other is None or transactional.number < other.number else other

    def _drop_every_second_update(self) -> None:
        """Drop the 1st, 3rd, 5th … Updated, but not the message that may be on its way."""
        head, *rest = self._transactional
        updates = [message for message in rest if message.report is not None and message.report.kind == "Updated"]
        dropped = updates[::2]
        gone = {id(message) for message in dropped}
        for message in dropped:
            assert message.report is not None
            message.report.transaction.given_up += 1
        self.dropped = [*self.dropped, *dropped][-_KEPT:]
        self.dropped_count += len(dropped)
        self._transactional = deque([head, *(message for message in rest if id(message) not in gone)])


def queue_frame(queue: MessageQueue, epoch: float) -> pd.DataFrame:
    """One row for each transaction message that waits, the next one first."""
    rows = [
        (
            datetime.fromtimestamp(epoch + report.at, UTC),
            report.transaction.id,
            report.seq_no,
            report.kind,
            report.trigger,
            message.attempts,
            report.offline,
        )
        for message in queue
        if (report := message.report) is not None
    ]
    columns = ("at", "transaction_id", "seq_no", "event", "trigger", "attempts", "offline")
    dtypes = {"at": "datetime64[ns, UTC]", "seq_no": "int64", "attempts": "int64", "offline": "bool"}
    return table(rows, columns).astype(dtypes)
