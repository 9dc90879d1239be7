"""OCPP-J frames: parses them into small types, and builds them. Knows no schema, and does no I/O.

OCPP-J 1.6, 4.2; OCPP 2.0.1 part 4, 4.2; OCPP 2.1 part 4, 4.2.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import orjson

from cpsim_kit.errors import ProtocolViolation

__all__ = [
    "Call",
    "Error",
    "Frame",
    "Malformed",
    "Result",
    "build",
    "build_call",
    "dump_json",
    "load_json",
    "parse",
]

# Message type numbers: OCPP 2.0.1 part 4, 4.1.3; 5 and 6 are new in 2.1.
_CALL, _CALLRESULT, _CALLERROR, _CALLRESULTERROR, _SEND = 2, 3, 4, 5, 6
_KINDS = {
    _CALL: "CALL",
    _CALLRESULT: "CALLRESULT",
    _CALLERROR: "CALLERROR",
    _CALLRESULTERROR: "CALLRESULTERROR",
    _SEND: "SEND",
}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}

_LONGEST_DESCRIPTION = 255  # characters of a CALLERROR's description


class Call(NamedTuple):
    """A CALL; with ``kind`` "SEND", a message that gets no answer.

    Attributes:
        message_id: The id of the message.
        action: E.g. "Heartbeat".
        payload: Any JSON value; an object in a correct frame.
        kind: "CALL" or "SEND".
    """

    message_id: str
    action: str
    payload: Any
    kind: str = "CALL"

    @property
    def fields(self) -> Any:
        """The payload; null means an empty payload. OCPP-J 1.6, 4.2.1."""
        return {} if self.payload is None else self.payload


class Result(NamedTuple):
    """A CALLRESULT.

    Attributes:
        message_id: The id of the CALL that it answers.
        payload: Any JSON value; an object in a correct frame.
    """

    message_id: str
    payload: Any
    kind: str = "CALLRESULT"

    @property
    def fields(self) -> Any:
        """The payload; null means an empty payload. OCPP-J 1.6, 4.2.2."""
        return {} if self.payload is None else self.payload


class Error(NamedTuple):
    """A CALLERROR; with ``kind`` "CALLRESULTERROR", the refusal of an answer.

    Attributes:
        message_id: The id of the CALL, or of the CALLRESULT, that it refuses.
        code: E.g. "NotImplemented"; "" if it is missing or null.
        description: "" if it is missing or null.
        details: {} if they are missing or null.
        kind: "CALLERROR" or "CALLRESULTERROR".
    """

    message_id: str
    code: str
    description: str = ""
    details: Any = None
    kind: str = "CALLERROR"


class Malformed(NamedTuple):
    """A text that is not a frame of OCPP-J.

    Attributes:
        reason: What is wrong.
        message_id: The message id; "" if it cannot be read.
        kind: The kind that its message type names, e.g. "CALL"; "" if that is unknown.
        code: The CALLERROR code to answer, in the spelling of OCPP 2.0.1.
    """

    reason: str
    message_id: str = ""
    kind: str = ""
    code: str = "RpcFrameworkError"

    def violation(self, action: str, code: str) -> ProtocolViolation:
        """The error for the caller of an action; ``code`` is in the spelling of the version."""
        return ProtocolViolation(f"{action}: {self.reason}", action=action, path="", text=self.reason, code=code)


Frame = Call | Result | Error | Malformed

_answer_head = re.compile(rb'\s*\[\s*[34]\s*,\s*"([^"\\]*)"').match
_ALL_DIGITS_ZERO = bytes(48 if chr(byte).isdecimal() else byte for byte in range(128)) + bytes(range(128, 256))
_NINETEEN_DIGITS = b"0" * 19


def parse(text: str | bytes) -> Frame:
    """Parse a frame of any version.

    An answer that is not JSON may still begin with a readable message id. Then its CALL can fail at once.
    """
    try:
        frame = load_json(text)
    except ProtocolViolation as exc:
        data = text.encode(errors="backslashreplace") if isinstance(text, str) else text
        head = _answer_head(data)
        message_id = head[1].decode(errors="replace") if head else ""
        return Malformed(str(exc), message_id, "CALLRESULT" if head else "", code="FormatViolation")
    if not isinstance(frame, list) or len(frame) < 2:
        return Malformed("not an array of message type, message id, …")
    number, message_id, *rest = frame
    kind = _KINDS.get(number, "") if type(number) is int else ""
    if not isinstance(message_id, str):
        return Malformed("no message id", "", kind)
    if kind == "CALLRESULT":
        if len(rest) == 1:
            return Result(message_id, rest[0])
        return Malformed(f"a CALLRESULT has 3 elements, this one {len(frame)}", message_id, kind)
    if kind in {"CALLERROR", "CALLRESULTERROR"}:
        code, description, details = (*rest, None, None, None)[:3]
        return Error(
            message_id,
            "" if code is None else str(code),
            "" if description is None else str(description),
            {} if details is None else details,
            kind,
        )
    if kind:
        if len(rest) == 2 and isinstance(rest[0], str):
            return Call(message_id, rest[0], rest[1], kind)
        return Malformed(f"a {kind} is [{number}, message id, action, payload]", message_id, kind)
    return Malformed(f"message type {number!r} is not known", message_id, code="MessageTypeNotSupported")


def load_json(text: str | bytes) -> Any:
    """Parse JSON; integers of any size are exact.

    Raises:
        ProtocolViolation: It is not JSON.
    """
    try:
        value = orjson.loads(text)
        # orjson reads an integer beyond 64 bits as a float, which is not the same number.
        data = text.encode() if isinstance(text, str) else text
        if _NINETEEN_DIGITS in data.translate(_ALL_DIGITS_ZERO):
            return json.loads(text)
        return value
    except ValueError as exc:  # also raised by Python above its limit of 4,300 digits
        raise ProtocolViolation(f"not JSON: {exc}", action="", path="", text=str(exc)) from exc


def build(frame: Call | Result | Error) -> bytes:
    """Build a frame as compact UTF-8 JSON.

    Building an Error never fails: its description is cut to 255 characters, and details that JSON cannot hold are left
    out.

    Raises:
        ProtocolViolation: The payload holds a value that JSON cannot hold.
    """
    match frame:
        case Error(message_id, code, description, details, kind):
            text = description.encode(errors="backslashreplace").decode()[:_LONGEST_DESCRIPTION]
            head = [_NUMBERS[kind], message_id, code, text]
            try:
                return _dump_array([*head, {} if details is None else details])
            except ProtocolViolation:
                return _dump_array([*head, {}])
        case Call(message_id, action, payload, kind):
            return _dump_array([_NUMBERS[kind], message_id, action, payload])
        case Result(message_id, payload):
            return _dump_array([_CALLRESULT, message_id, payload])


def _dump_array(array: list[Any]) -> bytes:
    return dump_json(array)[:-1] + b"]"  # a copy: the result of orjson keeps a buffer of 4 KiB


def build_call(message_id: str, action: str, payload: bytes) -> bytes:
    """Build a CALL from a payload in JSON; id and action may contain only letters, digits and hyphens."""
    return b'[2,"%b","%b",%b]' % (message_id.encode(), action.encode(), payload)


def dump_json(value: Any) -> bytes:
    """Write a value as compact UTF-8 JSON.

    Raises:
        ProtocolViolation: It holds a value that JSON cannot hold.
    """
    try:
        return orjson.dumps(value)
    except TypeError as exc:  # orjson.JSONEncodeError is a TypeError
        raise ProtocolViolation(f"cannot be written as JSON: {exc}", action="", path="", text=str(exc)) from exc
