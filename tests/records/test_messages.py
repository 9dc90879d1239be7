"""The record of messages: its rows, its DataFrame and its files."""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import SOON
from stack_fixtures import new_id

from cpsim_kit import Stack
from cpsim_kit.basics.clock import wall_clock
from cpsim_kit.records import COLUMNS, MessageLog, Pairing, Record


def log_of(*frames: tuple[float, bool, str | bytes], limit: int = 100) -> MessageLog:
    """A log of frames: moment in seconds, whether the charge point sent it, text."""
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


CALL_1, ANSWER_1 = '[2,"1","Heartbeat",{}]', '[3,"1",{"currentTime":"now"}]'
OTHER_1 = '[2,"1","BootNotification",{}]'


@pytest.mark.parametrize(
    ("texts", "latencies"),
    [
        ([CALL_1, CALL_1, ANSWER_1], [2000]),
        ([CALL_1, CALL_1, CALL_1, ANSWER_1, ANSWER_1], [3000, 4000]),
        ([CALL_1, ANSWER_1, CALL_1, ANSWER_1], [1000, 1000]),
        ([CALL_1, ANSWER_1, CALL_1, CALL_1, ANSWER_1], [1000, 2000]),
        ([CALL_1, OTHER_1, ANSWER_1], [1000]),
        ([CALL_1, OTHER_1, OTHER_1, ANSWER_1], [2000]),
    ],
    ids=[
        "delivered twice",
        "delivered three times, answered twice",
        "id used again",
        "id used again and delivered twice",
        "id used again before an answer",
        "id used again before an answer and delivered twice",
    ],
)
def test_a_call_delivered_twice_counts_from_the_first_time(texts: list[str], latencies: list[float]) -> None:
    """MQTT's QoS 1 is "at least once"; OCPP-J 1.6 allows to use ids again in each connection."""
    rows = [(float(second), text != ANSWER_1, text) for second, text in enumerate(texts)]
    for log in (log_of(*rows), watched(rows)):
        assert [record.latency_ms for record in log if record.kind == "CALLRESULT"] == pytest.approx(latencies)


def watched(rows: list[tuple[float, bool, str]]) -> MessageLog:
    """A log with the same frames on MQTT topics, as in a monitor."""
    log = MessageLog()
    for moment, sent, text in rows:
        log.add(moment, text.encode(), topic="CP1/in" if sent else "CP1/out")
    return log


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


# -- Files ------------------------------------------------------------------------------------------------------------

CONVERSATION: list[tuple[float, bool, str | bytes]] = [
    (1.0, True, '[2,"1","BootNotification",{"reason":"PowerUp"}]'),
    (1.25, False, b'[3,"1",{"status":"Accepted"}]'),
    (2.0, False, '[2,"r","Reset",{"type":"Immediate"}]'),
    (2.1, True, '[4,"r","NotImplemented","no \u2713",{}]'),
    (3.0, False, "not JSON\nof two lines\u2028\ud800"),
    (4.0, False, b"\xff\xfe binary"),
    (5.0, False, ""),
]
TOPICS = [
    (1.0, "CP1/in", '[2,"1","Heartbeat",{}]'),
    (1.1, "CP2/in", '[2,"1","Heartbeat",{}]'),
    (1.2, "CP1/out", '[3,"1",{}]'),
    (1.3, "$aws/things/CP1/shadow/update/documents", '{"current":{"version":7}}'),
    (1.4, "weather", b"\xffrain"),
    (1.5, "CP1/out", "garbage"),
]


def seen_on(*messages: tuple[float, str, str | bytes]) -> MessageLog:
    log = MessageLog()
    for moment, topic, text in messages:
        log.add(moment, text, topic=topic)
    return log


def fields(record: Record, *but: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in COLUMNS if name not in ("latency_ms", *but)}


def assert_same(loaded: MessageLog, log: MessageLog) -> None:
    assert [fields(record) for record in loaded] == [fields(record) for record in log]
    latencies = [record.latency_ms for record in log]
    assert [record.latency_ms for record in loaded] == pytest.approx(latencies, nan_ok=True, abs=0.0011)


def test_a_saved_record_is_the_same_when_loaded(tmp_path: Path) -> None:
    log = MessageLog(charge_point_id="CP1")
    for moment, sent, text in CONVERSATION:
        log.add(moment, text, sent=sent)
    path = log.to_json_lines(tmp_path / "record.jsonl")
    assert path == tmp_path / "record.jsonl"
    loaded = MessageLog.from_json_lines(str(path))
    assert loaded.charge_point_id == "CP1"
    assert_same(loaded, log)
    assert [record.kind for record in loaded][-3:] == ["malformed"] * 3


def test_a_saved_record_of_topics_is_the_same_when_loaded(tmp_path: Path) -> None:
    log = seen_on(*TOPICS)
    loaded = MessageLog.from_json_lines(log.to_json_lines(tmp_path / "seen.jsonl"))
    assert loaded.charge_point_id == ""
    assert_same(loaded, log)
    records = list(loaded)
    assert [record.charge_point_id for record in records] == ["CP1", "CP2", "CP1", "CP1", "", "CP1"]
    assert [record.direction for record in records] == ["sent", "sent", "received", "", "", "received"]
    assert records[2].latency_ms == pytest.approx(200, abs=0.002)  # saved times are exact to the microsecond
    assert records[3].payload == {"current": {"version": 7}}
    assert records[4].payload == "\\xffrain"


def test_times_are_exact_to_the_microsecond_however_often_saved(tmp_path: Path) -> None:
    numbers = random.Random(1)
    now = time.perf_counter()
    log = MessageLog(charge_point_id="CP1")
    for number in range(1000):
        log.add(
            now + numbers.uniform(-(10 ** numbers.uniform(-6, 9)), 100), f'[2,"{number}","Heartbeat",{{}}]', sent=True
        )
    saved = log.to_json_lines(tmp_path / "1").read_bytes()
    loaded = MessageLog.from_json_lines(tmp_path / "1")
    assert [record.sent_at for record in loaded] == [record.sent_at for record in log]
    assert loaded.to_json_lines(tmp_path / "2").read_bytes() == saved


def test_a_line_is_a_message_with_the_columns_and_the_frame(tmp_path: Path) -> None:
    log = MessageLog(charge_point_id="CP1")
    for moment, sent, text in CONVERSATION[:2]:
        log.add(moment, text, sent=sent)
    path = log.to_json_lines(tmp_path / "record.jsonl")
    first, second = map(json.loads, path.read_text(encoding="ascii").splitlines())
    assert tuple(first) == (*COLUMNS, "frame")
    assert (first["latency_ms"], second["latency_ms"]) == (None, 250.0)
    assert second["frame"] == '[3,"1",{"status":"Accepted"}]'
    assert second["action"] == "BootNotification"
    assert first["sent_at"].endswith("+00:00")
    assert pd.read_json(path, lines=True).columns.tolist() == [*COLUMNS, "frame"]


def test_an_empty_record_is_an_empty_file(tmp_path: Path) -> None:
    path = MessageLog(charge_point_id="CP1").to_json_lines(tmp_path / "record.jsonl")
    assert path.read_bytes() == b""
    assert len(MessageLog.from_json_lines(path)) == 0


GOOD = {
    "sent_at": "2026-11-23T10:00:00.000001+00:00",
    "charge_point_id": "CP1",
    "direction": "sent",
    "frame": '[2,"1","Heartbeat",{}]',
}


def test_a_line_needs_no_more_than_what_makes_a_record(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\r\n \n\n", encoding="utf-8-sig")
    (record,) = MessageLog.from_json_lines(path)
    assert record.sent_at == datetime(2026, 11, 23, 10, 0, 0, 1, UTC)
    assert (record.charge_point_id, record.action, record.topic) == ("CP1", "Heartbeat", "")


@pytest.mark.parametrize(
    "line",
    [
        "not JSON",
        b"\x1f\x8b\x08 compressed",
        "[]",
        "7",
        "null",
        "{}",
        *({key: value for key, value in GOOD.items() if key != missing} for missing in GOOD),
        GOOD | {"sent_at": "yesterday"},
        GOOD | {"sent_at": 1_800_000_000},
        GOOD | {"sent_at": "2026-11-23T10:00:00"},  # no time zone
        GOOD | {"direction": ""},
        GOOD | {"direction": ["sent"]},
        GOOD | {"frame": None},
        GOOD | {"frame": [2, "1", "Heartbeat", {}]},
        GOOD | {"charge_point_id": 1},
        GOOD | {"topic": 1},
        GOOD | {"topic": None},
    ],
    ids=str,
)
def test_a_broken_file_is_refused_with_its_path_and_line(tmp_path: Path, line: Any) -> None:
    path = tmp_path / "record.jsonl"
    text = line if isinstance(line, str | bytes) else json.dumps(line)
    bad = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(json.dumps(GOOD).encode() + b"\n\n" + bad + b"\n")
    with pytest.raises(ValueError, match="line 3: not a message") as caught:
        MessageLog.from_json_lines(path)
    assert str(path) in str(caught.value)


def test_a_file_of_several_charge_points_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    path.write_text("".join(json.dumps(GOOD | {"charge_point_id": name}) + "\n" for name in ("CP2", "CP1", "CP2")))
    with pytest.raises(ValueError, match="CP1, CP2") as caught:
        MessageLog.from_json_lines(path)
    assert str(path) in str(caught.value)


def test_what_cannot_be_read_or_written_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        MessageLog.from_json_lines(tmp_path / "none.jsonl")
    with pytest.raises(FileNotFoundError):
        MessageLog().to_json_lines(tmp_path / "no" / "folder.jsonl")


class Interrupted(MessageLog):
    """A log whose saving is interrupted after two messages."""

    def raw(self) -> Iterator[tuple[float, bool | str, str | bytes]]:
        for number, each in enumerate(super().raw()):
            if number == 2:
                raise KeyboardInterrupt
            yield each


@pytest.mark.parametrize("before", ["what was there\n", None])
def test_an_interrupted_save_leaves_what_was_there(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "record.jsonl"
    if before is not None:
        path.write_text(before)
    log = Interrupted(charge_point_id="CP1")
    for moment, sent, text in CONVERSATION:
        log.add(moment, text, sent=sent)
    with pytest.raises(KeyboardInterrupt):
        log.to_json_lines(path)
    assert (path.read_text() if path.exists() else None) == before
    assert [each.name for each in tmp_path.iterdir()] == ([] if before is None else ["record.jsonl"])


# -- Same columns everywhere ------------------------------------------------------------------------------------------


def shape(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return [(name, str(dtype)) for name, dtype in frame.dtypes.items()]


async def test_a_charge_point_a_monitor_and_a_file_give_the_same_record(stack: Stack, tmp_path: Path) -> None:
    name = new_id()
    await stack.things.create(name)
    async with stack.monitor(f"{name}/in", f"{name}/out") as monitor, stack.charge_point(name) as cp:
        nothing = [cp.messages.to_frame(), monitor.to_frame(), MessageLog().to_frame()]
        await cp.boot()
        await cp.heartbeat()
        await monitor.take(4, timeout=SOON)
    files = [
        MessageLog.from_json_lines(log.to_json_lines(tmp_path / "record.jsonl"))
        for log in (cp.messages, monitor.messages)
    ]
    nothing.append(MessageLog.from_json_lines(MessageLog().to_json_lines(tmp_path / "none.jsonl")).to_frame())
    frames = [cp.messages.to_frame(), monitor.to_frame(), *(log.to_frame() for log in files)]
    assert all(frame.empty for frame in nothing)
    assert [shape(frame) for frame in (*nothing, *frames)] == [shape(frames[0])] * 8

    own, *others = [
        sorted((fields(record, "sent_at", "topic") for record in log), key=str)
        for log in (cp.messages, monitor.messages, *files)
    ]
    assert len(own) == 4
    assert others == [own] * 3, "only the moment and the topic differ"


@pytest.mark.parametrize("kind", [4, 5])
@pytest.mark.parametrize("elements", [[], [None], [None, None, None]], ids=str)
def test_missing_and_null_elements_of_an_error_are_empty(kind: int, elements: list[None]) -> None:
    log = MessageLog(charge_point_id="CP1")
    log.add(0.0, json.dumps([kind, "id", *elements]), sent=False)
    [record] = log
    payload = record.payload
    assert payload == {"code": "", "description": "", "details": {}}


def test_of_more_calls_than_are_remembered_the_oldest_is_forgotten() -> None:
    pairing = Pairing(remembered=3)
    for number in range(5):
        pairing.record(float(number), "CP1", True, json.dumps([2, str(number), "Heartbeat", {}]))
    answers = [pairing.record(9.0, "CP1", False, json.dumps([3, str(number), {}])) for number in range(5)]
    assert [answer.action for answer in answers] == ["", "", "Heartbeat", "Heartbeat", "Heartbeat"]
    assert [round(answer.latency_ms) for answer in answers[2:]] == [7000, 6000, 5000]
