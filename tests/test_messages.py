"""The record of frames: what each row says, and its DataFrame."""

from __future__ import annotations

import math
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from cpsim_kit.messages import COLUMNS, MessageLog, wall_clock


def log_of(*frames: tuple[float, bool, str | bytes], limit: int = 100) -> MessageLog:
    """A log of (moment in seconds, sent by us, text)."""
    log = MessageLog(limit)
    for moment, sent, text in frames:
        log.add(moment, text, sent=sent)
    return log


def test_frames_come_in_the_order_in_which_they_were_added() -> None:
    log = log_of(*((float(number), True, f'[2,"{number}","Heartbeat",{{}}]') for number in range(5)))
    assert [record.message_id for record in log] == ["0", "1", "2", "3", "4"]


def test_a_call_has_direction_action_payload_and_no_latency() -> None:
    (record,) = log_of((0.0, False, b'[2,"1","Reset",{"type":"Immediate"}]'))
    assert (record.direction, record.kind, record.action, record.message_id, record.payload) == (
        "received",
        "CALL",
        "Reset",
        "1",
        {"type": "Immediate"},
    )
    assert math.isnan(record.latency_ms)


def test_an_answer_takes_action_and_latency_from_its_call() -> None:
    _, answer = log_of((1.0, True, '[2,"1","Heartbeat",{}]'), (1.25, False, '[3,"1",{"currentTime":"now"}]'))
    assert (answer.direction, answer.kind, answer.action) == ("received", "CALLRESULT", "Heartbeat")
    assert answer.latency_ms == pytest.approx(250)
    assert answer.payload == {"currentTime": "now"}


def test_both_sides_may_use_the_same_message_id() -> None:
    records = list(
        log_of(
            (0.0, True, '[2,"1","Heartbeat",{}]'),
            (0.1, False, '[2,"1","Reset",{}]'),
            (0.3, True, '[3,"1",{}]'),
            (0.7, False, '[3,"1",{}]'),
        )
    )
    assert [record.action for record in records] == ["Heartbeat", "Reset", "Reset", "Heartbeat"]
    assert [record.latency_ms for record in records[2:]] == pytest.approx([200, 700])


def test_an_answer_whose_call_is_not_in_the_record_has_no_action() -> None:
    (record,) = log_of((0.0, False, '[3,"1",{}]'))
    assert record.action == ""
    assert math.isnan(record.latency_ms)


@pytest.mark.parametrize(
    ("elements", "code", "description", "details"),
    [
        ('"GenericError","why",{"a":1}', "GenericError", "why", {"a": 1}),
        ('"GenericError","why"', "GenericError", "why", {}),
        ('"GenericError"', "GenericError", "", {}),
        ('"GenericError","why",{},"and more"', "GenericError", "why", {}),
    ],
)
def test_a_callerror_shows_code_description_and_details(
    elements: str, code: str, description: str, details: Any
) -> None:
    _, record = log_of((0.0, True, '[2,"1","Heartbeat",{}]'), (0.1, False, f'[4,"1",{elements}]'))
    assert (record.kind, record.action) == ("CALLERROR", "Heartbeat")
    assert record.payload == {"code": code, "description": description, "details": details}


@pytest.mark.parametrize(
    ("text", "kind", "action", "payload"),
    [
        (
            '[5,"1","FormatViolation","no",{}]',
            "CALLRESULTERROR",
            "",
            {"code": "FormatViolation", "description": "no", "details": {}},
        ),
        ('[6,"1","NotifyPeriodicEventStream",{"id":1}]', "SEND", "NotifyPeriodicEventStream", {"id": 1}),
    ],
)
def test_the_message_types_of_ocpp_2_1_have_their_names(text: str, kind: str, action: str, payload: Any) -> None:
    (record,) = log_of((0.0, True, text))
    assert (record.kind, record.action, record.message_id, record.payload) == (kind, action, "1", payload)


@pytest.mark.parametrize(
    ("text", "message_id"),
    [
        ("not JSON", ""),
        (b"\xff\xfe", ""),
        ("", ""),
        ("{}", ""),
        ("[]", ""),
        ("[2]", ""),
        ("null", ""),
        ('[2,1,"Reset",{}]', ""),
        ('[2,"1","Reset"]', "1"),
        ('[2,"1","Reset",{},{}]', "1"),
        ('[2,"1",7,{}]', "1"),
        ('[3,"1"]', "1"),
        ('[3,"1",{},{}]', "1"),
        ('[9,"1",{}]', "1"),
        ('[[],"1",{}]', "1"),
        ('["2","1","Reset",{}]', "1"),
    ],
)
def test_what_is_no_ocpp_j_is_malformed_and_shows_its_text(text: str | bytes, message_id: str) -> None:
    (record,) = log_of((0.0, False, text))
    assert (record.kind, record.action, record.message_id) == ("malformed", "", message_id)
    assert record.payload == (text if isinstance(text, str) else "\\xff\\xfe")


def test_a_full_log_drops_the_oldest_and_counts_them() -> None:
    log = log_of(*((float(number), True, f'[2,"{number}","Heartbeat",{{}}]') for number in range(5)), limit=3)
    assert [record.message_id for record in log] == ["2", "3", "4"]
    assert (len(log), log.dropped) == (3, 2)
    assert repr(log) == "<MessageLog 3 frames, 2 dropped>"


def test_a_log_of_no_length_keeps_nothing_and_counts() -> None:
    log = log_of((0.0, True, '[2,"1","Heartbeat",{}]'), limit=0)
    assert (list(log), log.dropped) == ([], 1)


def test_clear_forgets_frames_and_count() -> None:
    log = log_of((0.0, True, "[]"), (0.0, True, "[]"), limit=1)
    log.clear()
    assert (len(log), log.dropped, repr(log)) == (0, 0, "<MessageLog 0 frames>")


def test_a_moment_is_shown_as_utc_wall_time() -> None:
    moment = wall_clock(time.perf_counter())
    assert moment.tzinfo is UTC
    assert abs(moment - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_frame_has_the_documented_columns_and_types() -> None:
    frame = log_of(
        (1.0, True, '[2,"1","Heartbeat",{}]'),
        (1.5, False, '[3,"1",{"currentTime":"now"}]'),
        (2.0, False, "garbage"),
    ).to_frame()
    assert tuple(frame.columns) == COLUMNS
    assert frame["sent_at"].dtype == "datetime64[ns, UTC]"
    assert [str(frame[name].dtype) for name in ("direction", "kind", "action")] == ["category"] * 3
    assert pd.api.types.is_string_dtype(frame["message_id"])
    assert frame["latency_ms"].dtype == "float64"
    assert frame["payload"].dtype == "object"
    assert frame["kind"].tolist() == ["CALL", "CALLRESULT", "malformed"]
    assert frame["latency_ms"].dropna().tolist() == pytest.approx([500])
    assert frame["payload"].tolist() == [{}, {"currentTime": "now"}, "garbage"]


def test_an_empty_frame_has_the_same_columns_and_types() -> None:
    empty, one = MessageLog().to_frame(), log_of((0.0, True, '[2,"1","Heartbeat",{}]')).to_frame()
    assert empty.empty
    assert tuple(empty.columns) == COLUMNS
    for name in COLUMNS:
        if name not in ("direction", "kind", "action"):
            assert empty[name].dtype == one[name].dtype, name
        else:
            assert isinstance(empty[name].dtype, pd.CategoricalDtype), name


def test_a_reader_sees_the_frames_of_the_moment_it_began() -> None:
    log = log_of((0.0, True, "[]"), (0.0, True, "[]"))
    seen = 0
    for _ in log:
        log.add(0.0, "[]", sent=True)
        seen += 1
    assert seen == 2
    assert len(log) == 4


def test_a_log_may_be_read_while_another_thread_writes() -> None:
    log = MessageLog(limit=50)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            log.add(0.0, '[2,"1","Heartbeat",{}]', sent=True)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(50):
            assert all(record.kind == "CALL" for record in log)
    finally:
        stop.set()
        writer.join()
