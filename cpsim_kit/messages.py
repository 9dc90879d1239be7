"""The record of one connection's OCPP-J frames, and its form as a pandas DataFrame.

Appending is cheap and keeps the raw text; a frame is parsed only when someone looks. This module does no I/O.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.frames import CALLRESULT, KINDS, load_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "MessageLog", "Record", "parse_frame", "wall_clock"]

COLUMNS = ("sent_at", "direction", "kind", "action", "message_id", "latency_ms", "payload")

# One origin for the process: moments are taken from the monotonic clock and shown as wall times, so that a step of
# the system's clock never shows up as a latency.
_ORIGIN = time.time() - time.perf_counter()


def wall_clock(moment: float) -> datetime:
    """A moment of ``time.perf_counter()`` as a UTC time."""
    return datetime.fromtimestamp(_ORIGIN + moment, UTC)


@dataclass(frozen=True, slots=True)
class Record:
    """One frame.

    Attributes:
        sent_at: When this charge point sent it, or received it; UTC.
        direction: "sent" or "received", as the charge point sees it.
        kind: "CALL", "CALLRESULT", "CALLERROR", … or "malformed" for what is not OCPP-J.
        action: The action; of an answer too, where its CALL is in the record, else "".
        message_id: The message id, "" where none can be read.
        latency_ms: Of an answer, milliseconds since its CALL; NaN otherwise.
        payload: The payload; of a CALLERROR code, description and details; of a malformed frame its text.
    """

    sent_at: datetime
    direction: Literal["sent", "received"]
    kind: str
    action: str
    message_id: str
    latency_ms: float
    payload: Any


class MessageLog:
    """The last frames of a charge point, oldest first.

    Args:
        limit: How many frames are kept; older ones are dropped and counted.

    Attributes:
        dropped: How many frames were dropped for newer ones.
    """

    def __init__(self, limit: int = 10_000) -> None:
        # Moment, whether sent, text; moment, whether sent, text; … A tuple each would double what a short frame takes.
        self._raw: deque[Any] = deque(maxlen=3 * limit)
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._raw) // 3

    def __repr__(self) -> str:
        dropped = f", {self.dropped} dropped" if self.dropped else ""
        return f"<MessageLog {len(self)} frames{dropped}>"

    def __iter__(self) -> Iterator[Record]:
        asked: dict[tuple[bool, str], tuple[float, str]] = {}  # (sent by us, message id) -> moment, action
        fields = iter(list(self._raw))
        for moment, sent, text in zip(fields, fields, fields, strict=True):
            kind, action, message_id, payload = parse_frame(text)
            latency_ms = float("nan")
            if kind == "CALL":
                asked[sent, message_id] = moment, action
            elif (not sent, message_id) in asked:
                asked_at, action = asked[not sent, message_id]
                latency_ms = (moment - asked_at) * 1000
            yield Record(
                wall_clock(moment), "sent" if sent else "received", kind, action, message_id, latency_ms, payload
            )

    def add(self, moment: float, text: str | bytes, *, sent: bool) -> None:
        """Keep a frame, with its moment of ``time.perf_counter()``."""
        if len(self._raw) == self._raw.maxlen:
            self.dropped += 1
        self._raw.extend((moment, sent, text))

    def clear(self) -> None:
        """Forget all frames."""
        self._raw.clear()
        self.dropped = 0

    def to_frame(self) -> pd.DataFrame:
        """One row per frame, in the columns of :data:`COLUMNS`; an empty log has the same columns.

        Times are timezone-aware UTC, latencies milliseconds; direction, kind and action are categories.
        """
        import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

        frame = pd.DataFrame([[getattr(record, name) for name in COLUMNS] for record in self], columns=list(COLUMNS))
        return frame.astype(
            {
                "sent_at": "datetime64[ns, UTC]",
                "direction": "category",
                "kind": "category",
                "action": "category",
                "message_id": "str",
                "latency_ms": "float64",
                "payload": "object",
            }
        )


def parse_frame(text: str | bytes) -> tuple[str, str, str, Any]:
    """Kind, action (of a CALL), message id and payload of a frame; kind is "malformed" for what is not OCPP-J."""
    try:
        match load_frame(text):
            case [(2 | 6) as number, str(message_id), str(action), payload]:
                return KINDS[number], action, message_id, payload
            case [3, str(message_id), payload]:
                return KINDS[CALLRESULT], "", message_id, payload
            case [(4 | 5) as number, str(message_id), *rest]:
                payload = _NO_ERROR | dict(zip(_NO_ERROR, rest, strict=False))
                return KINDS[number], "", message_id, payload
            case [_, str(message_id), *_]:
                return "malformed", "", message_id, _text(text)
    except ProtocolViolation:
        pass
    return "malformed", "", "", _text(text)


_NO_ERROR: dict[str, Any] = {"code": "", "description": "", "details": {}}


def _text(text: str | bytes) -> str:
    return text.decode(errors="backslashreplace") if isinstance(text, bytes) else text
