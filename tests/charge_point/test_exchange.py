"""Calls and their answers, one at a time; also late, duplicate and wrong frames."""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import logging
import time
from datetime import datetime
from typing import Any

import pytest
from charge_point_fixtures import CLEAR_CACHE, RESET, data_transfer, reset_accepted, round_trips, spawn
from conftest import MS, SOON, until
from csms_stub import (
    Call,
    Csms,
    Link,
    answer,
    both,
    delay,
    error,
    garbage,
    held,
    silent,
)
from ocpp.v16 import call as call16
from ocpp.v201 import call, call_result

from cpsim_kit.charge_point.charge_point import ChargePoint
from cpsim_kit.errors import (
    CallFailed,
    CallTimeout,
    ConnectionLost,
    CpsimError,
    ProtocolViolation,
    UnsupportedByCsms,
)
from cpsim_kit.ocpp_j.versions import Version
from cpsim_kit.records import MessageLog

pytestmark = pytest.mark.usefixtures("no_hang")


async def test_an_answer_is_the_dataclass_of_the_same_name_with_python_names(csms: Csms, cp: ChargePoint) -> None:
    csms.on["Authorize"] = answer(
        {"idTokenInfo": {"status": "Accepted", "cacheExpiryDateTime": "2026-11-23T10:00:00Z"}}
    )
    result = await cp.call(call.Authorize(id_token={"id_token": "AB12", "type": "ISO14443"}))
    assert type(result) is call_result.Authorize
    assert result.id_token_info == {"status": "Accepted", "cache_expiry_date_time": "2026-11-23T10:00:00Z"}
    assert csms.calls[0].payload == {"idToken": {"idToken": "AB12", "type": "ISO14443"}}


async def test_calls_are_sent_one_at_a_time_in_order(csms: Csms, cp: ChargePoint) -> None:
    csms.on["DataTransfer"] = lambda link, asked: link.answer(
        asked, {"status": "Accepted", "data": asked.payload["data"]}
    )
    results = await asyncio.gather(*(cp.call(data_transfer(number)) for number in range(20)))
    assert [result.data for result in results] == list(range(20))
    assert [asked.payload["data"] for asked in csms.calls] == list(range(20))
    assert csms.overlaps == 0


async def test_calls_wait_for_their_turn_while_answers_are_slow(csms: Csms, cp: ChargePoint) -> None:
    delays = itertools.cycle([3 * MS, 0, 1 * MS])

    async def behave(link: Link, asked: Call) -> None:
        await delay(next(delays))(link, asked)

    csms.on["*"] = behave
    await asyncio.gather(*(cp.call(data_transfer(number)) for number in range(10)), cp.boot(), cp.heartbeat())
    assert len(csms.calls) == 12
    assert csms.overlaps == 0


async def test_the_csms_is_answered_while_a_call_waits(csms: Csms, cp: ChargePoint) -> None:
    cp.on("Reset", reset_accepted)
    csms.on["Heartbeat"] = held
    callers = [spawn(cp.heartbeat()) for _ in range(20)]
    for _ in callers:
        await until(lambda: csms.held)
        assert await csms.call("Reset", RESET) == [3, csms.answers[-1][1], {"status": "Accepted"}]
        await csms.release()
    await asyncio.gather(*callers)
    assert (len(csms.calls), len(csms.answers), csms.overlaps) == (20, 20, 0)


async def test_a_timeout_counts_from_when_the_call_is_sent(csms: Csms, cp: ChargePoint) -> None:
    csms.on["Heartbeat"], csms.on["*"] = held, silent
    first = spawn(cp.heartbeat())
    await until(lambda: csms.held)
    second = spawn(cp.call(CLEAR_CACHE, timeout=50 * MS))
    await asyncio.sleep(100 * MS)
    assert not second.done()
    released = time.monotonic()
    await csms.release()
    await first
    with pytest.raises(CallTimeout):
        await second
    assert time.monotonic() - released >= 50 * MS * 0.99


async def test_no_answer_is_a_timeout_that_says_what_was_asked(csms: Csms, cp: ChargePoint) -> None:
    csms.on["*"] = silent
    with pytest.raises(CallTimeout, match=r"CP1: no answer to ClearedChargingLimit within .* s") as caught:
        await cp.call(CLEAR_CACHE, timeout=20 * MS)
    await until(lambda: csms.calls)
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.action, caught.value.waited) == ("ClearedChargingLimit", 20 * MS)
    assert caught.value.message_id == csms.calls[0].message_id


async def test_a_timeout_holds_when_the_gateway_does_not_read(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, ping_interval=None, close_timeout=20 * MS) as cp:
        csms.link.stop_reading()
        with pytest.raises(CallTimeout):
            await cp.call(data_transfer("x" * 20_000_000), timeout=20 * MS)


@pytest.mark.parametrize(
    ("elements", "code", "description", "details"),
    [
        (["SecurityError", "go away", {"why": "no"}], "SecurityError", "go away", {"why": "no"}),
        (["SecurityError", "go away"], "SecurityError", "go away", {}),
        (["SecurityError"], "SecurityError", "", {}),
        ([], "", "", {}),
        (["SecurityError", "go away", {}, "and more"], "SecurityError", "go away", {}),
        (["NobodyKnowsThisCode", "", None], "NobodyKnowsThisCode", "", {}),
        (["SecurityError", None, None], "SecurityError", "", {}),
        ([None, None, None], "", "", {}),
        (["SecurityError", "go away", "a text"], "SecurityError", "go away", "a text"),
    ],
)
async def test_callerror_is_a_failed_call_with_its_elements(
    csms: Csms, cp: ChargePoint, elements: list[Any], code: str, description: str, details: Any
) -> None:
    csms.once.append(error(*elements))
    with pytest.raises(CallFailed, match=r"CP1: ClearedChargingLimit was answered with CALLERROR") as caught:
        await cp.call(CLEAR_CACHE)
    failed = caught.value
    assert (failed.action, failed.code, failed.description, failed.details) == (
        "ClearedChargingLimit",
        code,
        description,
        details,
    )
    await cp.heartbeat()


async def test_an_error_among_other_fields_is_not_the_samples_unsupported(csms: Csms, cp: ChargePoint) -> None:
    for payload in ({"error": "X", "status": "Accepted"}, {"error": 5}, {"error": None}, {}):
        csms.once.append(answer(payload))
        with pytest.raises(ProtocolViolation, match="answer to DataTransfer"):
            await cp.call(data_transfer(None))


async def test_the_samples_error_result_means_unsupported(csms: Csms, cp: ChargePoint) -> None:
    csms.once.append(answer({"error": "Command [Authorize] not implemented."}))
    with pytest.raises(UnsupportedByCsms, match=r"Command \[Authorize\] not implemented") as caught:
        await cp.call(call.Authorize(id_token={"id_token": "AB12", "type": "ISO14443"}))
    assert caught.value.action == "Authorize"
    await cp.heartbeat()


@pytest.mark.parametrize(
    ("payload", "path", "code"),
    [
        ({"idTokenInfo": {"status": "Maybe"}}, "idTokenInfo.status", "PropertyConstraintViolation"),
        ({"idTokenInfo": {"status": 1}}, "idTokenInfo.status", "TypeConstraintViolation"),
        ({"idTokenInfo": {}}, "idTokenInfo", "ProtocolError"),
        (
            {"idTokenInfo": {"status": "Accepted", "evseId": [1, "2"]}},
            "idTokenInfo.evseId[1]",
            "TypeConstraintViolation",
        ),
        ({}, "", "ProtocolError"),
        ({"idTokenInfo": {"status": "Accepted"}, "x": 1}, "", "FormatViolation"),
        ([], "", "TypeConstraintViolation"),
        ("Accepted", "", "TypeConstraintViolation"),
        ({"error": 5}, "", None),
    ],
)
async def test_an_answer_that_breaks_the_schema_says_where(
    csms: Csms, cp: ChargePoint, payload: Any, path: str, code: str | None
) -> None:
    csms.once.append(answer(payload))
    with pytest.raises(
        ProtocolViolation, match=r"CP1: answer to Authorize breaks the schema of OCPP 2\.0\.1"
    ) as caught:
        await cp.call(call.Authorize(id_token={"id_token": "AB12", "type": "ISO14443"}))
    assert (caught.value.action, caught.value.path) == ("Authorize", path)
    assert code in (caught.value.code, None)
    await cp.heartbeat()


@pytest.mark.parametrize("frame", ['[3,"{id}"]', '[3,"{id}",{},{}]'])
async def test_an_answer_of_the_wrong_length_breaks_the_protocol(csms: Csms, cp: ChargePoint, frame: str) -> None:
    csms.once.append(lambda link, asked: link.send(frame.replace("{id}", asked.message_id)))
    with pytest.raises(ProtocolViolation, match="a CALLRESULT has 3 elements") as caught:
        await cp.call(CLEAR_CACHE)
    assert caught.value.action == "ClearedChargingLimit"
    await cp.heartbeat()


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (call.Authorize(id_token={"id_token": "AB12", "type": "Guess"}), "idToken.type"),
        (call.Authorize(id_token={"id_token": "AB12"}), "idToken"),
        (call.Authorize(id_token=None), ""),
        (call.DataTransfer(vendor_id=7), "vendorId"),
        (call.DataTransfer(vendor_id="test", data=2**70), "data"),
        (call.DataTransfer(vendor_id="test", data=float("nan")), "data"),
        (call.DataTransfer(vendor_id="test", data={"a": [1, {"b": datetime(2026, 11, 23)}]}), "data.a[1].b"),
        (call.DataTransfer(vendor_id="test", data=["\ud800"]), "data[0]"),
    ],
)
async def test_a_payload_that_breaks_the_schema_is_not_sent(
    csms: Csms, cp: ChargePoint, payload: Any, path: str
) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        await cp.call(payload)
    assert caught.value.path == path
    await cp.heartbeat()
    assert csms.actions == ["Heartbeat"]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (call16.Heartbeat(), r"CP1 speaks OCPP 2\.0\.1, and Heartbeat is of OCPP 1\.6: use .*version='1\.6'"),
        (call_result.Reset(status="Accepted"), "expected a dataclass of"),
        ({"idToken": "AB12"}, "expected a dataclass of"),
        (None, "expected a dataclass of"),
        (call.Heartbeat, "expected a dataclass of"),
    ],
)
async def test_what_is_no_call_of_this_version_is_a_type_error(
    csms: Csms, cp: ChargePoint, payload: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        await cp.call(payload)
    assert csms.calls == []


async def test_a_large_call_arrives(csms: Csms, cp: ChargePoint) -> None:
    await cp.call(data_transfer("x" * 1_000_000))
    assert csms.calls[0].payload["data"] == "x" * 1_000_000


async def test_frames_are_logged_in_the_form_of_the_sample(
    csms: Csms, cp: ChargePoint, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ocpp"):
        await cp.heartbeat()
    sent, received = (record.getMessage() for record in caplog.records if record.name == "ocpp")
    message_id = csms.calls[0].message_id
    assert sent == f'CP1: send [2,"{message_id}","Heartbeat",{{}}]'
    assert json.loads(received.removeprefix("CP1: receive message "))[:2] == [3, message_id]


async def test_messages_hold_every_frame_of_both_directions(csms: Csms, cp: ChargePoint) -> None:
    cp.on("Reset", reset_accepted)
    await cp.heartbeat()
    await csms.link.send("garbage")
    await csms.call("Reset", RESET)
    assert [(record.direction, record.kind, record.action) for record in cp.messages] == [
        ("sent", "CALL", "Heartbeat"),
        ("received", "CALLRESULT", "Heartbeat"),
        ("received", "malformed", ""),
        ("received", "CALL", "Reset"),
        ("sent", "CALLRESULT", "Reset"),
    ]


def level_of(caplog: pytest.LogCaptureFixture, text: str) -> int:
    """The level of the only log record with this text."""
    (level,) = [record.levelno for record in caplog.records if text in record.getMessage()]
    return level


async def test_a_late_answer_is_ignored_and_never_matched_to_another_call(
    csms: Csms, cp: ChargePoint, caplog: pytest.LogCaptureFixture
) -> None:
    csms.on["DataTransfer"] = held
    with pytest.raises(CallTimeout):
        await cp.call(data_transfer("first"), timeout=10 * MS)
    second = spawn(cp.call(data_transfer("second")))
    await until(lambda: len(csms.held) == 2)
    await csms.release(0, {"status": "Rejected"})
    await until(lambda: cp.ignored)
    assert not second.done()
    await csms.release(0, {"status": "Accepted"})
    assert (await second).status == "Accepted"
    assert cp.ignored == {"late": 1}
    assert level_of(caplog, "ignored (late)") == logging.WARNING


async def test_answers_out_of_order_reach_their_own_calls_only(csms: Csms, cp: ChargePoint) -> None:
    csms.on["DataTransfer"] = held
    for number in range(3):
        with pytest.raises(CallTimeout):
            await cp.call(data_transfer(number), timeout=10 * MS)
    last = spawn(cp.call(data_transfer("last")))
    await until(lambda: len(csms.held) == 4)
    await csms.release(3, {"status": "Accepted"})
    assert (await last).status == "Accepted"
    for _ in range(3):
        await csms.release(-1, {"status": "Rejected"})
    await round_trips(cp)
    assert cp.ignored == {"late": 3}


async def test_a_duplicate_answer_is_ignored(csms: Csms, cp: ChargePoint, caplog: pytest.LogCaptureFixture) -> None:
    csms.once.append(both(answer(), answer(), error("GenericError", "", {})))
    await cp.call(CLEAR_CACHE)
    await round_trips(cp)
    assert cp.ignored == {"duplicate": 2}
    assert "CP1: ignored (duplicate)" in caplog.text


@pytest.mark.parametrize(
    "frame", ['[3,"nobody",{}]', '[4,"nobody","GenericError","",{}]', '[4,"-1","FormatViolation","",{}]']
)
async def test_an_answer_to_nothing_is_ignored(
    csms: Csms, cp: ChargePoint, caplog: pytest.LogCaptureFixture, frame: str
) -> None:
    csms.once.append(both(garbage(frame), answer()))
    await cp.call(CLEAR_CACHE)
    assert cp.ignored == {"unknown": 1}
    assert "CP1: ignored (unknown)" in caplog.text


async def test_an_answer_to_a_call_of_long_ago_is_ignored(csms: Csms, cp: ChargePoint) -> None:
    for _ in range(200):
        await cp.heartbeat()
    await csms.link.answer(csms.calls[0])
    await csms.link.answer(csms.calls[-1])
    await round_trips(cp)
    assert cp.ignored == {"unknown": 1, "duplicate": 1}


async def test_a_cancelled_call_keeps_its_turn_until_its_answer_which_is_no_warning(
    csms: Csms, cp: ChargePoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ocpp")
    cp.on("Reset", reset_accepted)
    csms.once.append(held)
    cancelled = spawn(cp.call(data_transfer("cancelled")))
    await until(lambda: csms.held)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    following = spawn(cp.heartbeat())
    for _ in range(3):  # enough time to send the heartbeat
        await csms.call("Reset", RESET)
    assert csms.actions == ["DataTransfer"]
    await csms.release()
    await following
    assert csms.overlaps == 0
    assert cp.ignored == {"late": 1}
    assert level_of(caplog, "ignored (late), DataTransfer was cancelled") == logging.INFO


async def test_a_cancelled_call_keeps_its_turn_until_its_time_is_up(csms: Csms, cp: ChargePoint) -> None:
    csms.once.append(held)
    before = time.monotonic()
    cancelled = spawn(cp.call(CLEAR_CACHE, timeout=50 * MS))
    await asyncio.sleep(0)
    assert len(cp.messages) == 1, "sent; its time is not up yet, however slow the machine is"
    cancelled.cancel()
    await cp.heartbeat()
    await until(lambda: csms.held)
    assert time.monotonic() - before >= 50 * MS * 0.99
    assert cancelled.cancelled()
    await csms.release()
    await round_trips(cp)
    assert cp.ignored == {"late": 1}


async def test_a_call_cancelled_before_its_turn_is_never_sent(csms: Csms, cp: ChargePoint) -> None:
    csms.once.append(held)
    first = spawn(cp.heartbeat())
    await until(lambda: csms.held)
    queued = [spawn(cp.call(data_transfer(number))) for number in range(3)]
    await asyncio.sleep(0)
    queued[1].cancel()
    await csms.release()
    await asyncio.gather(first, queued[0], queued[2])
    assert queued[1].cancelled()
    assert [asked.payload.get("data") for asked in csms.calls] == [None, 0, 2]


async def test_a_call_may_be_cancelled_at_any_moment(csms: Csms, cp: ChargePoint) -> None:
    csms.on["ClearedChargingLimit"] = error("GenericError", "", {})
    for turns in range(40):
        cancelled = spawn(cp.call(CLEAR_CACHE))
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        await cp.heartbeat()
    assert csms.overlaps == 0
    assert cp.ignored.keys() <= {"late"}


class FullDisk(MessageLog):
    """A record that cannot save a message."""

    def add(self, moment: float, text: str | bytes, *, sent: bool | None = None, topic: str = "") -> None:
        raise OSError(errno.ENOSPC, "no space left on device")


async def test_a_call_that_fails_at_sending_holds_up_no_other(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, call_timeout=100 * SOON) as cp:
        kept, cp.messages = cp.messages, FullDisk(charge_point_id="CP1")
        for _ in range(2):
            with pytest.raises(OSError, match="no space left"):
                await cp.heartbeat()
        cp.messages = kept
        await cp.heartbeat()
    assert csms.actions == ["Heartbeat"]
    assert not cp.ignored


# The frame, the version, the CALLERROR code of the answer (None: no answer), and the key that counts it in `ignored`.
FRAMES: dict[str, tuple[str | bytes, str, str | None, str | None]] = {
    "no JSON": ("hello", "2.0.1", None, "malformed"),
    "empty": ("", "2.0.1", None, "malformed"),
    "half a frame": ('[2,"x","Reset",{"type":', "2.0.1", None, "malformed"),
    "NaN": ("NaN", "2.0.1", None, "malformed"),
    "byte order mark": (b'\xef\xbb\xbf[2,"x","Reset",{"type":"Immediate"}]', "2.0.1", None, "malformed"),
    "lone surrogate": ('[2,"x","DataTransfer",{"vendorId":"\\ud800"}]', "2.0.1", None, "malformed"),
    "deep nesting": ("[" * 100_000, "2.0.1", None, "malformed"),
    "deep nesting, closed": ("[" * 100_000 + "]" * 100_000, "2.0.1", None, "malformed"),
    "object": ("{}", "2.0.1", None, "malformed"),
    "null": ("null", "2.0.1", None, "malformed"),
    "number": ("2", "2.0.1", None, "malformed"),
    "string": ('"Reset"', "2.0.1", None, "malformed"),
    "empty array": ("[]", "2.0.1", None, "malformed"),
    "type only": ("[2]", "2.0.1", None, "malformed"),
    "number as message id": ('[2,1,"Reset",{}]', "2.0.1", None, "malformed"),
    "null as message id": ('[2,null,"Reset",{"type":"Immediate"}]', "2.0.1", None, "malformed"),
    "no action": ('[2,"x"]', "2.0.1", "RpcFrameworkError", None),
    "no payload": ('[2,"x","Reset"]', "2.0.1", "RpcFrameworkError", None),
    "no payload, 1.6": ('[2,"x","Reset"]', "1.6", "FormationViolation", None),
    "too many elements": ('[2,"x","Reset",{"type":"Immediate"},{}]', "2.0.1", "RpcFrameworkError", None),
    "action no string": ('[2,"x",7,{}]', "2.0.1", "RpcFrameworkError", None),
    "action an array": ('[2,"x",["Reset"],{}]', "2.0.1", "RpcFrameworkError", None),
    "unknown type, 1.6": ('[9,"x",{}]', "1.6", None, "malformed"),
    "unknown type, 2.0.1": ('[9,"x",{}]', "2.0.1", "MessageTypeNotSupported", None),
    "unknown type, 2.1": ('[9,"x",{}]', "2.1", "MessageTypeNotSupported", None),
    "type a string": ('["2","x","Reset",{}]', "2.0.1", "MessageTypeNotSupported", None),
    "type null": ('[null,"x"]', "2.0.1", "MessageTypeNotSupported", None),
    "type an array": ('[[],"x","Reset",{}]', "2.0.1", "MessageTypeNotSupported", None),
    "type an object": ('[{},"x","Reset",{}]', "2.1", "MessageTypeNotSupported", None),
    "type an object, 1.6": ('[{},"x","Reset",{}]', "1.6", None, "malformed"),
    "SEND, 2.0.1": ('[6,"x","NotifyPeriodicEventStream",{}]', "2.0.1", "MessageTypeNotSupported", None),
    "SEND, 2.1": ('[6,"x","NotifyPeriodicEventStream",{}]', "2.1", None, "unknown"),
    "CALLRESULTERROR, 2.1": ('[5,"x","FormatViolation","",{}]', "2.1", None, "unknown"),
    "answer to nothing": ('[3,"x",{}]', "2.0.1", None, "unknown"),
    "answer to nothing, too short": ('[3,"x"]', "2.0.1", None, "unknown"),
    "CALLERROR to nothing": ('[4,"x"]', "2.0.1", None, "unknown"),
    "unknown action": ('[2,"x","Restart",{}]', "2.0.1", "NotImplemented", None),
    "unknown action, 1.6": ('[2,"x","GetVariables",{}]', "1.6", "NotImplemented", None),
    "unknown action, empty": ('[2,"x","",{}]', "2.0.1", "NotImplemented", None),
    "known action without handler": ('[2,"x","GetLog",{}]', "2.0.1", "NotSupported", None),
    "known action without handler, 1.6": ('[2,"x","GetConfiguration",{}]', "1.6", "NotSupported", None),
    "payload an array": ('[2,"x","Reset",[]]', "2.0.1", "FormatViolation", None),
    "payload null, as an empty one": ('[2,"x","Reset",null]', "2.0.1", "ProtocolError", None),
    "payload a string, 1.6": ('[2,"x","Reset","Hard"]', "1.6", "FormationViolation", None),
    "required": ('[2,"x","Reset",{}]', "2.0.1", "ProtocolError", None),
    "required, 1.6": ('[2,"x","Reset",{}]', "1.6", "ProtocolError", None),
    "type": ('[2,"x","Reset",{"type":5}]', "2.0.1", "TypeConstraintViolation", None),
    "type, 1.6": ('[2,"x","DataTransfer",{"vendorId":5}]', "1.6", "TypeConstraintViolation", None),
    "enum": ('[2,"x","Reset",{"type":"Hard"}]', "2.0.1", "PropertyConstraintViolation", None),
    "enum, 1.6": ('[2,"x","Reset",{"type":"Immediate"}]', "1.6", "PropertyConstraintViolation", None),
    "maxLength": (
        json.dumps([2, "x", "DataTransfer", {"vendorId": "x" * 256}]),
        "2.0.1",
        "TypeConstraintViolation",
        None,
    ),
    "minItems": ('[2,"x","GetVariables",{"getVariableData":[]}]', "2.0.1", "OccurenceConstraintViolation", None),
    "minItems, 2.1": ('[2,"x","GetVariables",{"getVariableData":[]}]', "2.1", "OccurrenceConstraintViolation", None),
    "additionalProperties": ('[2,"x","Reset",{"type":"Immediate","x":1}]', "2.0.1", "FormatViolation", None),
    "additionalProperties, 1.6": ('[2,"x","Reset",{"type":"Hard","x":1}]', "1.6", "FormationViolation", None),
    "1 MB that is no JSON": ("x" * 1_000_000, "2.0.1", None, "malformed"),
    "1 MB that breaks the schema": (
        json.dumps([2, "x", "DataTransfer", {"vendorId": "x" * 1_000_000}]),
        "2.0.1",
        "TypeConstraintViolation",
        None,
    ),
}


@pytest.mark.parametrize(("frame", "version", "code", "ignored"), FRAMES.values(), ids=FRAMES.keys())
async def test_a_wrong_frame_is_answered_or_ignored_and_the_connection_stays(
    csms: Csms, frame: str | bytes, version: str, code: str | None, ignored: str | None
) -> None:
    async with ChargePoint("CP1", csms.url, version=version) as cp:
        for action in ("Reset", "DataTransfer", "GetVariables"):
            if action in Version.get(version).actions:
                cp.on(action, reset_accepted)
        await csms.link.send(frame)
        await round_trips(cp)
        assert cp.ignored == ({} if ignored is None else {ignored: 1})
        if code is None:
            assert csms.answers == []
        else:
            ((kind, message_id, got, description, details),) = csms.answers
            assert (kind, message_id, got, details) == (4, "x", code, {})
            assert 0 < len(description) <= 255


BROKEN_ANSWERS = {
    "lone surrogate": '[3,"{id}",{"status":"\\ud800"}]',
    "NaN": '[3, "{id}", {"status": NaN}]',
    "half a frame": '[3,"{id}",{"status":',
    "broken CALLERROR": '[4,"{id}","InternalError","\\udfff",{}]',
}


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
@pytest.mark.parametrize("frame", BROKEN_ANSWERS.values(), ids=BROKEN_ANSWERS.keys())
async def test_a_call_fails_at_once_when_its_answer_is_not_json(csms: Csms, version: str, frame: str) -> None:
    async with ChargePoint("CP1", csms.url, version=version) as cp:
        csms.once.append(lambda link, asked: link.send(frame.replace("{id}", asked.message_id)))
        with pytest.raises(ProtocolViolation, match=r"^CP1: answer to Heartbeat: not JSON") as caught:
            await cp.heartbeat()
        assert caught.value.action == "Heartbeat"
        await cp.heartbeat()


@pytest.mark.parametrize(
    ("version", "payload", "code"),
    [
        ("1.6", {"currentTime": 17}, None),
        ("2.0.1", {"currentTime": 17}, None),
        ("2.1", {"currentTime": 17}, "TypeConstraintViolation"),
        ("2.1", {}, "ProtocolError"),
        ("2.1", {"currentTime": "2026-11-23T10:00:00Z", "more": 1}, "FormatViolation"),
        ("2.1", {"error": "Command [Heartbeat] not implemented."}, "FormatViolation"),
    ],
)
async def test_an_answer_that_breaks_the_schema_is_answered_with_callresulterror_in_2_1(
    csms: Csms, version: str, payload: dict[str, Any], code: str | None
) -> None:
    async with ChargePoint("CP1", csms.url, version=version) as cp:
        csms.once.append(answer(payload))
        with pytest.raises(CpsimError):
            await cp.heartbeat()
        await cp.heartbeat()  # the connection is still open, and the earlier frame has arrived
        complaints = [record for record in cp.messages if record.kind == "CALLRESULTERROR"]
        if code is None:
            assert complaints == []
        else:
            (complaint,) = complaints
            asked = next(iter(cp.messages))
            assert (complaint.message_id, complaint.payload["code"]) == (asked.message_id, code)
            assert complaint.payload["description"]
            assert complaint.payload["details"] == {}


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
async def test_null_is_an_empty_payload_both_ways(csms: Csms, version: str) -> None:
    async with ChargePoint("CP1", csms.url, version=version) as cp:
        results = Version.get(version).call_results
        cp.on("ClearCache", lambda: results.ClearCache(status="Accepted"))
        assert (await csms.call("ClearCache", None))[2] == {"status": "Accepted"}
        csms.once.append(lambda link, asked: link.send([3, asked.message_id, None]))
        payload = Version.get(version).calls.FirmwareStatusNotification(status="Idle")
        assert await cp.call(payload) == results.FirmwareStatusNotification()


async def test_an_integer_beyond_64_bits_arrives_exactly(csms: Csms, cp: ChargePoint) -> None:
    got: list[Any] = []

    def transfer(vendor_id: str, data: Any) -> Any:
        got.append(data)
        return call_result.DataTransfer(status="Accepted")

    cp.on("DataTransfer", transfer)
    for number in (2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**40):
        await csms.call("DataTransfer", {"vendorId": "x", "data": [number]})
        assert got.pop() == [number]


async def test_bytes_in_a_binary_frame_are_ignored(csms: Csms, cp: ChargePoint) -> None:
    await csms.link.send(bytes(range(256)), text=False)
    await round_trips(cp)
    assert cp.ignored == {"malformed": 1}


async def test_ocpp_j_in_a_binary_frame_is_read_as_text(csms: Csms, cp: ChargePoint) -> None:
    cp.on("Reset", reset_accepted)
    await csms.link.send(b'[2,"x","Reset",{"type":"Immediate"}]', text=False)
    await round_trips(cp)
    assert csms.answers == [[3, "x", {"status": "Accepted"}]]


async def test_a_call_of_one_megabyte_is_handled(csms: Csms, cp: ChargePoint) -> None:
    cp.on("DataTransfer", lambda vendor_id, data: call_result.DataTransfer(status="Accepted", data=data[:5]))
    answer = await csms.call("DataTransfer", {"vendorId": "x", "data": "y" * 1_000_000})
    assert answer[2] == {"status": "Accepted", "data": "yyyyy"}


async def test_a_deep_payload_is_handled_and_answered(csms: Csms, cp: ChargePoint) -> None:
    cp.on("DataTransfer", lambda vendor_id, data: call_result.DataTransfer(status="Accepted", data=data))
    for depth, kind in [(100, 3), (900, 4)]:  # the second is too deep to be written as JSON
        text = "[" * depth + "]" * depth
        await csms.link.send(f'[2,"{depth}","DataTransfer",{{"vendorId":"x","data":{text}}}]')
        await until(lambda: csms.answers, "an answer")
        ((got, message_id, *rest),) = csms.answers
        assert (got, message_id) == (kind, str(depth))
        assert kind == 3 or rest[0] == "InternalError"
        csms.answers.clear()
    await cp.heartbeat()


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize(
    "text",
    [b'[2,"x","Res\xffet",{}]', [b'[2,"x","Reset",{"type":"\xc3', b'"}]'], b'["' + b"x" * 100_000 + b'\xff"]'],
    ids=["short", "in fragments", "long"],
)
async def test_a_text_that_is_not_utf_8_ends_the_connection_with_1007(
    csms: Csms, text: Any, compression: str | None
) -> None:
    """RFC 6455, 8.1: a text message must be UTF-8."""
    csms.on["Heartbeat"] = silent
    async with ChargePoint("CP1", csms.url, compression=compression, close_timeout=SOON) as cp:
        waiting = spawn(cp.heartbeat())
        await until(lambda: csms.calls)
        await csms.link.ws.send(text, text=True)
        with pytest.raises(ConnectionLost, match=r"code 1007: .* The gateway sent a text message that is not UTF-8"):
            await waiting
        await until(lambda: csms.link.ws.close_code == 1007)
        assert (cp.closed and cp.closed.code, cp.ignored) == (1007, {})


async def test_a_frame_larger_than_a_mebibyte_ends_the_connection(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, close_timeout=50 * MS) as cp:
        await csms.link.send('"' + "x" * 2**20 + '"')
        closed = await cp.wait_closed(SOON)
    assert (closed.code, closed.by) == (1009, "network")


async def test_an_unchecked_call_need_not_be_valid_nor_its_answer(cp: ChargePoint, csms: Csms) -> None:
    csms.on["*"] = answer({"made": ["up"]})
    assert await cp.call_unchecked("Nonsense-1", {"anyThing": None}) == {"made": ["up"]}
    assert (csms.calls[-1].action, csms.calls[-1].payload) == ("Nonsense-1", {"anyThing": None})
    csms.on["*"] = error("NotImplemented", "what?", {})
    with pytest.raises(CallFailed) as failed:
        await cp.call_unchecked("Nonsense-1", {})
    assert (failed.value.action, failed.value.code) == ("Nonsense-1", "NotImplemented")


async def test_an_unchecked_call_must_still_be_a_frame(cp: ChargePoint, csms: Csms) -> None:
    with pytest.raises(ValueError, match="letters, digits and hyphens"):
        await cp.call_unchecked('x",{}]', {})
    with pytest.raises(ProtocolViolation, match="JSON"):
        await cp.call_unchecked("Heartbeat", {"at": object()})
    assert csms.calls == []
