"""The record of messages, and its conversion to a pandas DataFrame and to JSON lines.

A charge point keeps the frames that it sent and received (``cp.messages``). A monitor keeps those that it saw on MQTT
topics (``monitor.messages``). A file keeps them for another day. All of them give the same :class:`Record`, and their
DataFrames have the same columns, in this order, also if they are empty:

=================  ====================  ============================================================================
Column             dtype                 Meaning
=================  ====================  ============================================================================
sent_at            datetime64[ns, UTC]   when the charge point sent or received it; for a monitor, when it arrived
charge_point_id    str                   the charge point of the message; "" for topics of no charge point
direction          category              "sent" or "received" by the charge point; "" for other topics
kind               category              "CALL", "CALLRESULT", "CALLERROR", …; "malformed" if it is not OCPP-J
action             category              the OCPP action; for an answer too, if its CALL is in the record
message_id         str                   the OCPP message id; "" if it cannot be read
latency_ms         float64               for an answer, milliseconds since its CALL was first seen; otherwise NaN
payload            object                for a CALLERROR code, description, details; for a malformed frame its text
topic              str                   the MQTT topic it was seen on; "" in the record of a charge point
=================  ====================  ============================================================================

Other tables of the kit use these names for the same things. Adding a message is cheap and keeps its raw text. A frame
is parsed when the record is read.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cpsim_kit.basics.cards import card
from cpsim_kit.basics.clock import wall_clock
from cpsim_kit.basics.tables import table
from cpsim_kit.records.record import COLUMNS, Pairing, Record, text_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MessageLog"]


class MessageLog:
    """The last messages of a charge point or of a monitor, oldest first.

    Args:
        limit: How many messages are kept; older ones are dropped and counted. None for all.
        charge_point_id: The charge point of the messages.

    Attributes:
        charge_point_id: The charge point of the messages; "" if the topics name it.
        dropped: How many messages were dropped for newer ones.
    """

    def __init__(self, limit: int | None = 10_000, *, charge_point_id: str = "") -> None:
        # Moment, where, text; moment, where, text; … A tuple for each would double the memory of a short frame.
        self._raw: deque[Any] = _EMPTY if limit == 0 else deque(maxlen=None if limit is None else 3 * int(limit))
        self.charge_point_id = charge_point_id
        self.dropped = 0
        self._clock: Callable[[float], datetime] = wall_clock

    def __len__(self) -> int:
        return len(self._raw) // 3

    def __repr__(self) -> str:
        of = f" {self.charge_point_id}" if self.charge_point_id else ""
        dropped = f", {self.dropped} dropped" if self.dropped else ""
        return f"<MessageLog{of} {len(self)} frames{dropped}>"

    def _repr_html_(self) -> str:
        of = f" of {self.charge_point_id}" if self.charge_point_id else ""
        rows = {"frames": len(self), "dropped": self.dropped or None, "table": ".to_frame()"}
        return card(f"Messages{of}", "", rows)

    def __iter__(self) -> Iterator[Record]:
        pairing = Pairing(self._clock)
        for moment, where, text in self.raw():
            yield pairing.record(moment, self.charge_point_id, where, text)

    def raw(self) -> Iterator[tuple[float, bool | str, str | bytes]]:
        """Yield moment, direction or topic, and raw text of each message.

        The moment is of ``time.perf_counter()``; in a log from a file, it is seconds since the epoch. The second value
        is whether the charge point sent the message, or the topic on which a monitor saw it.
        """
        fields = iter(list(self._raw))
        return zip(fields, fields, fields, strict=True)

    def add(self, moment: float, text: str | bytes, *, sent: bool | None = None, topic: str = "") -> None:
        """Keep a frame that was sent, received or seen on a topic, with its moment of ``time.perf_counter()``."""
        raw = self._raw
        if len(raw) == raw.maxlen:
            self.dropped += 1
            if raw is _EMPTY:
                return
        raw.extend((moment, topic if sent is None else sent, text))

    def clear(self) -> None:
        """Forget all messages."""
        self._raw.clear()
        self.dropped = 0

    def to_frame(self) -> pd.DataFrame:
        """One row for each message, with the columns of :data:`COLUMNS`, see :mod:`cpsim_kit.records.messages`."""
        return table(([getattr(record, name) for name in COLUMNS] for record in self), COLUMNS)

    def to_json_lines(self, path: str | os.PathLike[str]) -> Path:
        """Save to a file: one JSON object per message, with the columns as keys and the raw text as ``frame``.

        The file is written completely or not at all. An existing file is replaced. ``pandas.read_json(path,
        lines=True)`` and ``jq`` can read it too.

        Raises:
            OSError: The file cannot be written.
        """
        path = Path(path)
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("w", encoding="utf-8", newline="\n") as file:
                for record, (_moment, _where, text) in zip(self, self.raw(), strict=True):
                    row = {name: getattr(record, name) for name in COLUMNS}
                    row["sent_at"] = record.sent_at.isoformat(timespec="microseconds")
                    row["latency_ms"] = None if math.isnan(record.latency_ms) else round(record.latency_ms, 3)
                    file.write(json.dumps(row | {"frame": text_of(text)}) + "\n")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    @classmethod
    def from_json_lines(cls, path: str | os.PathLike[str]) -> Self:
        """Load a file that :meth:`to_json_lines` wrote; times are exact to the microsecond.

        Raises:
            OSError: The file cannot be read.
            ValueError: A line is not a saved message; the error's text has its number.
        """
        log = cls(None)
        log._clock = _saved_clock
        ids = set()
        with Path(path).open("rb") as file:  # as bytes, so that a line that is not UTF-8 has a number too
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                    sent_at = datetime.fromisoformat(row["sent_at"])
                    if sent_at.tzinfo is None:
                        raise ValueError("sent_at has no time zone")
                    moment = sent_at.timestamp()
                    text, topic, charge_point_id = row["frame"], row.get("topic", ""), row["charge_point_id"]
                    sent = {"sent": True, "received": False}[row["direction"]] if not topic else None
                    if not all(isinstance(each, str) for each in (text, topic, charge_point_id)):
                        raise TypeError("frame, topic and charge_point_id are strings")
                except (ValueError, KeyError, TypeError) as exc:
                    message = f"{path}, line {number}: not a message saved by to_json_lines: {exc!r}"
                    raise ValueError(message) from exc
                log.add(moment, text, sent=sent, topic=topic)
                ids |= set() if topic else {charge_point_id}
        if len(ids) > 1:
            raise ValueError(
                f"{path}: a record belongs to one charge point, or to topics; this one has {', '.join(sorted(ids))}"
            )
        log.charge_point_id = ids.pop() if ids else ""
        return log


_EMPTY: deque[Any] = deque(maxlen=0)  # shared by all logs that keep no messages, e.g. those of a fleet


def _saved_clock(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
