"""One message as a record, and an answer paired with its CALL. Does no I/O."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cpsim_kit.basics.clock import wall_clock
from cpsim_kit.ocpp_j.frames import Call, Error, Frame, Malformed, parse

__all__ = ["COLUMNS", "Pairing", "Record", "text_of", "topic_of"]

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


@dataclass(frozen=True, slots=True)
class Record:
    """One message; its attributes are the columns listed in :mod:`cpsim_kit.records.messages`."""

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
        """When a monitor received it: the same as ``sent_at``."""
        return self.sent_at


@dataclass(slots=True)
class _SeenCall:
    """A CALL that waits for its answer, or has it."""

    moment: float
    action: str
    text: str | bytes
    is_answered: bool = False


class Pairing:
    """Makes records of messages in their order. An answer gets the action of its CALL and the time since the CALL.

    MQTT may deliver a CALL twice (QoS 1: "at least once"); the first time counts. A CALL whose message id is already
    answered, or had another text, is a new CALL: OCPP-J 1.6 lets a charge point use its ids again in each connection.

    Args:
        clock: Converts a moment to a time.
        remembered: How many CALLs are remembered for their answers; after that, the oldest is forgotten.
    """

    def __init__(self, clock: Callable[[float], datetime] = wall_clock, *, remembered: int = 10_000) -> None:
        self._clock = clock
        self._remembered = remembered
        self._calls: OrderedDict[tuple[str, bool, str], _SeenCall] = OrderedDict()

    def record(self, moment: float, charge_point_id: str, where: bool | str, text: str | bytes) -> Record:
        """Make the record of one message.

        Args:
            moment: A moment of ``time.perf_counter()``, or of the clock given to :class:`Pairing`.
            charge_point_id: The charge point of the frame; ignored if ``where`` is a topic.
            where: Whether the charge point sent the frame, or the topic on which it was seen.
            text: The frame.
        """
        topic, is_ocpp, sent = "", True, where
        if isinstance(where, str):
            topic, sent = where, where.endswith("/in")
            charge_point_id, is_ocpp = topic_of(where)
        if not is_ocpp:
            payload = _json_or_text(text)
            return Record(self._clock(moment), charge_point_id, "", "", "", "", math.nan, payload, topic)
        frame = parse(text)
        kind = "malformed" if isinstance(frame, Malformed) else frame.kind
        action = frame.action if isinstance(frame, Call) else ""
        message_id = frame.message_id
        latency_ms = math.nan
        if kind == "CALL":
            key = charge_point_id, bool(sent), message_id
            call = self._calls.get(key)
            if call is None or call.is_answered or call.text != text:
                self._calls[key] = _SeenCall(moment, action, text)
                self._calls.move_to_end(key)
            if len(self._calls) > self._remembered:
                self._calls.popitem(last=False)
        elif kind != "malformed" and (call := self._calls.get((charge_point_id, not sent, message_id))):
            latency_ms, action = (moment - call.moment) * 1000, call.action
            call.is_answered = True
        direction = "sent" if sent else "received"
        payload = _payload_of(frame, text)
        return Record(
            self._clock(moment), charge_point_id, direction, kind, action, message_id, latency_ms, payload, topic
        )


def _payload_of(frame: Frame, text: str | bytes) -> Any:
    if isinstance(frame, Error):
        return {"code": frame.code, "description": frame.description, "details": frame.details}
    return text_of(text) if isinstance(frame, Malformed) else frame.payload


def topic_of(topic: str) -> tuple[str, bool]:
    """The charge point of a topic, "" for no charge point, and whether the topic carries OCPP frames."""
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


def _json_or_text(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text_of(text)


def text_of(text: str | bytes) -> str:
    """A frame as text; bytes that are not UTF-8 are escaped."""
    return text.decode(errors="backslashreplace") if isinstance(text, bytes) else text
