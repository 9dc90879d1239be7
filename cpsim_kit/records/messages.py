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
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cpsim_kit.basics.cards import card
from cpsim_kit.basics.clock import wall_clock
from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.ocpp_j.frames import CALLRESULT, KINDS, error_of, load_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS",
    "DTYPES",
    "MessageLog",
    "Pairing",
    "Record",
    "parse_frame",
    "table",
    "topic_of",
]

COLUMNS = (
    "sent_at",
    "charge_point_id",
    "direction",
    "kind",
    "action",
    "message_id",
    "latency_ms",
    "payload",
    "topic",
)

# Of these and of all other columns that tables of the kit have; what is not named here is an object.
DTYPES = {
    "sent_at": "datetime64[ns, UTC]",
    "charge_point_id": "str",
    "direction": "category",
    "kind": "category",
    "action": "category",
    "outcome": "category",
    "message_id": "str",
    "topic": "str",
    "shadow_version": "Int64",
    "seen_at": "datetime64[ns, UTC]",
    "running_tasks": "Int64",
    "desired_tasks": "Int64",
    "source": "category",
}
_FLOATS = ("_ms", "_s", "_percent", "_mib")  # how the names of measurements end

_PAIRED = 10_000  # CALLs remembered for their answers


def table(rows: Iterable[Sequence[Any]] | pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """A DataFrame whose columns have the dtypes that the kit's tables share, also without rows."""
    import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

    dtypes = {
        name: DTYPES.get(name) or ("float64" if name.endswith(_FLOATS) else "object") for name in dict.fromkeys(columns)
    }
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows), columns=list(columns))
    return frame.astype(dtypes)


@dataclass(frozen=True, slots=True)
class Record:
    """One message; the attributes are the columns that this module's text lists."""

    sent_at: datetime
    charge_point_id: str
    direction: str
    kind: str
    action: str
    message_id: str
    latency_ms: float
    payload: Any
    topic: str

    def __repr__(self) -> str:
        where = self.topic or f"{self.charge_point_id} {self.direction}"
        return f"<Record {' '.join(part for part in (where, self.kind, self.action) if part)}>"

    @property
    def received_at(self) -> datetime:
        """When a monitor received it: ``sent_at`` by its other name."""
        return self.sent_at


@dataclass(slots=True)
class _Asked:
    """A CALL that was seen."""

    moment: float
    action: str
    text: str | bytes
    is_answered: bool = False


class Pairing:
    """Makes records of messages in their order, and gives an answer the action of its CALL and the time since.

    A CALL that MQTT delivers twice (QoS 1: "at least once") counts from the first time. One whose message id was
    answered before, or came with another text, is a new CALL: OCPP-J 1.6 lets a charge point begin its ids anew with
    each connection.

    Args:
        clock: Makes a time of a moment.
    """

    def __init__(self, clock: Callable[[float], datetime] = wall_clock) -> None:
        self._clock = clock
        self._asked: OrderedDict[tuple[str, bool, str], _Asked] = OrderedDict()

    def record(self, moment: float, charge_point_id: str, where: bool | str, text: str | bytes) -> Record:
        """One record.

        Args:
            moment: Of ``time.perf_counter()``, or of another clock.
            charge_point_id: Whose frame it is; on a topic, the topic says.
            where: Whether the charge point sent it, or the topic it was seen on.
            text: The frame.
        """
        topic, is_ocpp, sent = "", True, where
        if isinstance(where, str):
            topic, sent = where, where.endswith("/in")
            charge_point_id, is_ocpp = topic_of(where)
        if not is_ocpp:
            payload = _json_or_text(text)
            return Record(self._clock(moment), charge_point_id, "", "", "", "", math.nan, payload, topic)
        kind, action, message_id, payload = parse_frame(text)
        latency_ms = math.nan
        if kind == "CALL":
            key = charge_point_id, bool(sent), message_id
            asked = self._asked.get(key)
            if asked is None or asked.is_answered or asked.text != text:
                self._asked[key] = _Asked(moment, action, text)
                self._asked.move_to_end(key)
            if len(self._asked) > _PAIRED:
                self._asked.popitem(last=False)
        elif kind != "malformed" and (asked := self._asked.get((charge_point_id, not sent, message_id))):
            latency_ms, action = (moment - asked.moment) * 1000, asked.action
            asked.is_answered = True
        direction = "sent" if sent else "received"
        return Record(
            self._clock(moment), charge_point_id, direction, kind, action, message_id, latency_ms, payload, topic
        )


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
                    file.write(json.dumps(row | {"frame": _text(text)}) + "\n")
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


def parse_frame(text: str | bytes) -> tuple[str, str, str, Any]:
    """Kind, action (of a CALL), message id and payload of a frame; kind is "malformed" for what is not OCPP-J."""
    try:
        match load_frame(text):
            case [(2 | 6) as number, str(message_id), str(action), payload]:
                return KINDS[number], action, message_id, payload
            case [3, str(message_id), payload]:
                return KINDS[CALLRESULT], "", message_id, payload
            case [(4 | 5) as number, str(message_id), *_] as frame:
                payload = dict(zip(("code", "description", "details"), error_of(frame), strict=True))
                return KINDS[number], "", message_id, payload
            case [_, str(message_id), *_]:
                return "malformed", "", message_id, _text(text)
    except ProtocolViolation:
        pass
    return "malformed", "", "", _text(text)


def topic_of(topic: str) -> tuple[str, bool]:
    """The charge point a topic is of, "" for none, and whether it carries OCPP frames."""
    match topic.split("/"):
        case [charge_point_id, "in" | "out"]:
            return charge_point_id, True
        case ["$aws", "things", charge_point_id, *_]:
            return charge_point_id, False
        case ["$aws", "events", "presence" | "subscriptions", _, charge_point_id]:
            return charge_point_id, False
        case ["$aws", "events", "thing", charge_point_id, _]:
            return charge_point_id, False
        case _:
            return "", False


_NOTHING: deque[Any] = deque(maxlen=0)  # of all logs that keep nothing, as those of a fleet


def _saved_clock(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)


def _json_or_text(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return _text(text)


def _text(text: str | bytes) -> str:
    return text.decode(errors="backslashreplace") if isinstance(text, bytes) else text
