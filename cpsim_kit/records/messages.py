"""The record: one idea of a message, wherever it was seen, and its forms as a pandas DataFrame and as JSON lines.

A charge point keeps the frames that it sent and received (``cp.messages``), a monitor those that it saw on MQTT topics
(``monitor.messages``), and a file those of another day. All give the same :class:`Record`, and their DataFrames have
the same columns, in this order, for an empty record too:

=================  ====================  ============================================================================
Column             dtype                 Meaning
=================  ====================  ============================================================================
sent_at            datetime64[ns, UTC]   when the charge point sent or received it; of a monitor, when it arrived here
charge_point_id    str                   whose message it is, "" for topics of none
direction          category              "sent" or "received", as the charge point sees it; "" for other topics
kind               category              "CALL", "CALLRESULT", "CALLERROR", …; "malformed" for what is not OCPP-J
action             category              the OCPP action; of an answer too, where its CALL is in the record
message_id         str                   the OCPP message id, "" where none can be read
latency_ms         float64               of an answer, milliseconds since its CALL was first seen here; NaN otherwise
payload            object                of a CALLERROR code, description and details; of a malformed frame its text
topic              str                   the MQTT topic it was seen on, "" for a charge point's own
=================  ====================  ============================================================================

Other tables of the kit use these names for the same things. Appending is cheap and keeps the raw text; a frame is
parsed only when someone looks.
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
        limit: How many are kept; older ones are dropped and counted. None for all.
        charge_point_id: Whose they are.

    Attributes:
        charge_point_id: Whose they are; "" where the topics say.
        dropped: How many were dropped for newer ones.
    """

    def __init__(self, limit: int | None = 10_000, *, charge_point_id: str = "") -> None:
        # Moment, where, text; moment, where, text; … A tuple each would double what a short frame takes.
        self._raw: deque[Any] = _NOTHING if limit == 0 else deque(maxlen=None if limit is None else 3 * int(limit))
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
        """Moment of ``time.perf_counter()``, whether sent or the topic, and text of each message, as kept.

        Of a log from a file the moments are seconds since the epoch.
        """
        fields = iter(list(self._raw))
        return zip(fields, fields, fields, strict=True)

    def add(self, moment: float, text: str | bytes, *, sent: bool | None = None, topic: str = "") -> None:
        """Keep a frame with its moment of ``time.perf_counter()``: one sent or received, or one seen on a topic."""
        raw = self._raw
        if len(raw) == raw.maxlen:
            self.dropped += 1
            if raw is _NOTHING:
                return
        raw.extend((moment, topic if sent is None else sent, text))

    def clear(self) -> None:
        """Forget all messages."""
        self._raw.clear()
        self.dropped = 0

    def to_frame(self) -> pd.DataFrame:
        """One row per message, in the columns of :data:`COLUMNS`, which this module's text explains."""
        return table(([getattr(record, name) for name in COLUMNS] for record in self), COLUMNS)

    def to_json_lines(self, path: str | os.PathLike[str]) -> Path:
        """Save to a file: one JSON object per message, with the columns as keys and the raw text as ``frame``.

        The file appears whole or not at all; what was there under this name is replaced. ``pandas.read_json(path,
        lines=True)`` and ``jq`` read it too.

        Raises:
            OSError: It cannot be written.
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
        """What :meth:`to_json_lines` saved, with its times, to the microsecond.

        Raises:
            OSError: It cannot be read.
            ValueError: A line is not one of a saved record; the message says which.
        """
        log = cls(None)
        log._clock = _saved_clock
        ids = set()
        with Path(path).open("rb") as file:  # bytes, so that also what is no text has a line
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
                f"{path}: a record is of one charge point, or of topics; here are {', '.join(sorted(ids))}"
            )
        log.charge_point_id = ids.pop() if ids else ""
        return log


_NOTHING: deque[Any] = deque(maxlen=0)  # of all logs that keep nothing, as those of a fleet


def _saved_clock(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
