"""Frames are parsed into small types, and built."""

from __future__ import annotations

import collections
import json
from decimal import Decimal
from typing import Any

import pytest
from schema_payloads import smallest

from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.ocpp_j import frames
from cpsim_kit.ocpp_j.frames import Call, Error, Malformed, Result, build, build_call, dump_json, load_json, parse
from cpsim_kit.ocpp_j.versions import Version


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Replaces conftest's check, which takes longer than these tests; they open no socket and start no task."""


@pytest.mark.parametrize(
    "frame",
    [
        [2, "id", "Heartbeat", {}],
        [3, "id", {"currentTime": "2026-11-23T10:00:00Z"}],
        [4, "id", "InternalError", "ä😀", {"cause": [None, True, 1.5, 2**63]}],
        [],
    ],
    ids=repr,
)
def test_a_frame_is_compact_utf8_json_and_loads_again(frame: list[Any]) -> None:
    text = dump_json(frame)
    assert text == json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode()
    for form in (text, text.decode(), bytearray(text), b" " + text + b"\r\n"):
        assert load_json(form) == frame


@pytest.mark.parametrize("text", ["null", "1", '"text"', "{}"])
def test_any_json_loads_whether_a_frame_or_not(text: str) -> None:
    assert load_json(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        b"",
        " ",
        "[2,",
        "[2,]",
        '[2,"id"] [3]',
        "{'a': 1}",
        "hello",
        "NaN",
        "[Infinity]",
        "[1e999]",
        b"\xff\xfe",
        b'["\xff"]',
        b'["\xed\xa0\x80"]',
        '["\ud800"]',
        '["\\ud800"]',
        "\ufeff[]",
        "[" * 100_000,
        "[" * 5_000 + "]" * 5_000,
        '{"a":' * 5_000 + "1" + "}" * 5_000,
    ],
    ids=lambda text: repr(text)[:20],
)
def test_text_that_is_no_json_is_a_violation(text: str | bytes) -> None:
    with pytest.raises(ProtocolViolation, match="not JSON") as caught:
        load_json(text)
    violation = caught.value
    assert (violation.action, violation.path, violation.code) == ("", "", "FormatViolation")
    assert violation.text
    assert violation.text in str(violation)
    assert violation.__cause__ is not None


@pytest.mark.parametrize(
    "value",
    [{1, 2}, object(), b"bytes", 1j, Decimal(1), {1: 2}, 2**64, "\ud800", collections.deque(), int],
    ids=lambda value: type(value).__name__,
)
def test_a_frame_with_what_json_has_no_form_for_is_a_violation(value: Any) -> None:
    with pytest.raises(ProtocolViolation, match="cannot be written as JSON") as caught:
        dump_json([4, "id", "InternalError", "", {"details": [value]}])
    violation = caught.value
    assert (violation.action, violation.path) == ("", "")
    assert violation.text
    assert violation.__cause__ is not None


def test_a_frame_that_holds_itself_is_a_violation() -> None:
    frame: list[Any] = []
    frame.append(frame)
    with pytest.raises(ProtocolViolation):
        dump_json(frame)


def test_an_integer_beyond_64_bits_is_read_exactly() -> None:
    status = Version.get("2.0.1").request("StatusNotification")
    payload = smallest(status.schema)
    for number in (2**64 - 1, 2**64, 10**40):
        for text in (json.dumps(payload | {"evseId": number}), json.dumps(payload | {"evseId": number}).encode()):
            assert status.decode(load_json(text))["evse_id"] == number


CALL = [2, "1", "Heartbeat", {}]
FRAMES: dict[str, tuple[Any, frames.Frame]] = {
    "a CALL": (CALL, Call("1", "Heartbeat", {})),
    "a CALL without payload": ([2, "1", "Heartbeat", None], Call("1", "Heartbeat", None)),
    "a SEND": ([6, "1", "NotifyPeriodicEventStream", {}], Call("1", "NotifyPeriodicEventStream", {}, "SEND")),
    "a CALLRESULT": ([3, "1", {"a": 1}], Result("1", {"a": 1})),
    "an empty message id": ([3, "", {}], Result("", {})),
    "a CALLERROR": ([4, "1", "GenericError", "text", {"a": 1}], Error("1", "GenericError", "text", {"a": 1})),
    "a CALLERROR with nulls": ([4, "1", None, None, None], Error("1", "", "", {})),
    "a short CALLERROR": ([4, "1"], Error("1", "", "", {})),
    "a long CALLERROR": ([4, "1", "X", "t", {}, 5, 6], Error("1", "X", "t", {})),
    "a CALLRESULTERROR": ([5, "1", "X", "t", {}], Error("1", "X", "t", {}, "CALLRESULTERROR")),
    "a CALL of three": (CALL[:3], Malformed("a CALL is [2, message id, action, payload]", "1", "CALL")),
    "a CALL of five": ([*CALL, 1], Malformed("a CALL is [2, message id, action, payload]", "1", "CALL")),
    "an action of no text": ([2, "1", 5, {}], Malformed("a CALL is [2, message id, action, payload]", "1", "CALL")),
    "a CALLRESULT of four": (
        [3, "1", {}, {}],
        Malformed("a CALLRESULT has 3 elements, this one 4", "1", "CALLRESULT"),
    ),
    "a CALLRESULT of two": ([3, "1"], Malformed("a CALLRESULT has 3 elements, this one 2", "1", "CALLRESULT")),
    "an unknown type": ([7, "1", {}], Malformed("message type 7 is not known", "1", "", "MessageTypeNotSupported")),
    "a type of text": (
        ["2", "1", "Heartbeat", {}],
        Malformed("message type '2' is not known", "1", "", "MessageTypeNotSupported"),
    ),
    "a true type": ([True, "1", {}], Malformed("message type True is not known", "1", "", "MessageTypeNotSupported")),
    "a message id of no text": ([2, 1, "Heartbeat", {}], Malformed("no message id", "", "CALL")),
    "an object": ({}, Malformed("not an array of message type, message id, …")),
    "an empty array": ([], Malformed("not an array of message type, message id, …")),
    "a type only": ([3], Malformed("not an array of message type, message id, …")),
    "a number": (3, Malformed("not an array of message type, message id, …")),
}


@pytest.mark.parametrize(("frame", "expected"), FRAMES.values(), ids=FRAMES)
def test_a_frame_is_parsed_into_a_small_type(frame: Any, expected: frames.Frame) -> None:
    text = json.dumps(frame)
    assert parse(text) == parse(text.encode()) == expected
    assert type(parse(text)) is type(expected)


@pytest.mark.parametrize(
    ("text", "message_id"),
    [
        (b'[3,"7",{"a":', "7"),
        (b' [ 4 , "7" , oops', "7"),
        (b'[3,"7",\xff]', "7"),
        ('[3,"7",{"a":\ud800}]', "7"),
        (b'[2,"7","Heartbeat",{', ""),
        (b'[3,"a\\"b",{', ""),
        (b"", ""),
        (b"garbage", ""),
    ],
)
def test_an_answer_that_is_not_json_still_has_its_message_id(text: str | bytes, message_id: str) -> None:
    frame = parse(text)
    assert isinstance(frame, Malformed)
    assert (frame.message_id, frame.code) == (message_id, "FormatViolation")
    assert frame.kind == ("CALLRESULT" if message_id else "")
    assert frame.reason.startswith("not JSON: ")
    violation = frame.violation("Heartbeat", "FormationViolation")
    assert (violation.action, violation.code, violation.text) == ("Heartbeat", "FormationViolation", frame.reason)


@pytest.mark.parametrize("payload", [None, {}, {"a": 1}, [], "text", 0])
def test_null_is_an_empty_payload_and_anything_else_is_itself(payload: Any) -> None:
    expected = {} if payload is None else payload
    for frame in (Call("1", "Heartbeat", payload), Result("1", payload)):
        assert frame.fields == expected
        assert frame.payload == payload


@pytest.mark.parametrize("name", ["a CALL", "a SEND", "a CALLRESULT", "a CALLERROR", "a CALLRESULTERROR"])
def test_a_built_frame_is_parsed_again(name: str) -> None:
    frame, parsed = FRAMES[name]
    assert not isinstance(parsed, Malformed)
    assert json.loads(build(parsed)) == frame
    assert parse(build(parsed)) == parsed


def test_a_call_of_a_payload_in_json_is_the_same_frame() -> None:
    assert build_call("1", "Heartbeat", b'{"a":1}') == build(Call("1", "Heartbeat", {"a": 1}))


def test_an_error_is_built_whatever_its_text_and_details_are() -> None:
    """OCPP-J allows 255 characters of description: 1.6, 4.2.3; 2.0.1 part 4, 4.2.3."""
    kind, message_id, code, description, details = json.loads(build(Error("1", "X", "é" * 300, {"a": object()})))
    assert (kind, message_id, code, details) == (4, "1", "X", {})
    assert description == "é" * 255
    assert json.loads(build(Error("1", "X", "\ud800"))) == [4, "1", "X", "\\ud800", {}]


@pytest.mark.parametrize("digits", [18, 19, 20, 30])
def test_digits_in_a_text_do_not_change_a_frame(digits: int) -> None:
    """The parser searches the bytes for integers of many digits; a text may contain such digits too."""
    payload = {"text": "7" * digits, "number": 10**digits - 1, "small": 1.5}
    assert parse(json.dumps([3, "1", payload])) == Result("1", payload)


def test_a_payload_that_json_cannot_hold_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation, match="cannot be written as JSON"):
        build(Result("1", {"a": object()}))


def test_all_is_what_the_module_offers() -> None:
    offered = {name for name, value in vars(frames).items() if getattr(value, "__module__", None) == frames.__name__}
    assert {name for name in offered if not name.startswith("_")} | {"Frame"} == set(frames.__all__)
