"""Recorded conversations, sent again: to the stub, which does as it is told, and to the local stack."""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from charge_point_fixtures import times_out
from conftest import MS, SOON, until
from csms_stub import Csms, close, delay, error
from stack_fixtures import new_id

from cpsim_kit import ChargePoint, Stack, errors, replay
from cpsim_kit.observe.replay import COLUMNS
from cpsim_kit.records import MessageLog

Register = Callable[[], Awaitable[str]]

BOOT = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}
FAST = math.inf


def recorded(*rows: tuple[float, Any], charge_point_id: str = "CP1") -> MessageLog:
    """A record of frames at seconds; a charge point sent what is a CALL."""
    log = MessageLog(charge_point_id=charge_point_id)
    for at, frame in rows:
        log.add(at, json.dumps(frame), sent=frame[0] == 2)
    return log


def watched(*rows: tuple[float, str, Any]) -> MessageLog:
    """A monitor's record."""
    log = MessageLog()
    for at, topic, frame in rows:
        log.add(at, json.dumps(frame), topic=topic)
    return log


def beat(number: int) -> list[Any]:
    return [2, f"beat-{number}", "Heartbeat", {}]


# -- What is sent -----------------------------------------------------------------------------------------------------


async def test_a_saved_conversation_is_said_again_to_a_stack(stack: Stack, register: Register, tmp_path: Path) -> None:
    async with stack.charge_point(await register(), model="Recorded") as cp:
        await cp.boot()
        for _ in range(3):
            await cp.heartbeat()
        log = MessageLog.from_json_lines(cp.messages.to_json_lines(tmp_path / "cp.jsonl"))
    async with stack.charge_point(await register()) as other:
        again = await replay(log, other, speed=FAST)
        said = [record for record in other.messages if record.kind == "CALL"]
    assert tuple(again.columns) == COLUMNS
    assert list(again.action) == ["BootNotification"] + ["Heartbeat"] * 3
    assert set(again.charge_point_id) == {other.id}
    assert set(again.outcome) == set(again.recorded_outcome) == {"answered"}
    assert (again.latency_ms > 0).all()
    assert (again.recorded_latency_ms > 0).all()
    assert said[0].payload["chargingStation"]["model"] == "Recorded", "payloads are as they were"
    assert {record.message_id for record in said}.isdisjoint(record.message_id for record in log)


async def test_what_a_monitor_saw_is_said_again(stack: Stack, register: Register) -> None:
    async with stack.charge_point(await register()) as cp:
        async with stack.monitor(f"{cp.id}/in", f"{cp.id}/out") as monitor:
            await cp.boot()
            await cp.heartbeat()
            await monitor.take(4, timeout=SOON)
        again = await replay(monitor.messages, cp, speed=FAST)
    assert list(again.action) == ["BootNotification", "Heartbeat"]
    assert set(again.recorded_outcome) == {"answered"}


async def test_calls_of_the_csms_and_answers_to_them_are_not_sent(csms: Csms) -> None:
    log = recorded((0, [2, "1", "BootNotification", BOOT]))
    log.add(0.1, json.dumps([2, "asked", "Reset", {"type": "Immediate"}]), sent=False)
    log.add(0.2, json.dumps([3, "asked", {"status": "Accepted"}]), sent=True)
    log.add(0.3, "no JSON", sent=True)
    async with ChargePoint("CP1", csms.url) as cp:
        again = await replay(log, cp, speed=FAST)
    assert list(again.action) == csms.actions == ["BootNotification"]
    assert csms.answers == []


async def test_a_call_delivered_to_a_monitor_twice_is_sent_once_and_its_first_answer_counts(csms: Csms) -> None:
    answer = [3, "beat-1", {"currentTime": "2026-11-23T10:00:00Z"}]
    log = watched(
        (0.0, "CP1/in", beat(1)),
        (0.001, "CP1/in", beat(1)),
        (0.002, "CP1/out", answer),
        (0.5, "CP1/out", answer),
        (0.6, "CP1/in", beat(2)),
    )
    async with ChargePoint("CP1", csms.url) as cp:
        again = await replay(log, cp, speed=FAST)
    assert len(csms.calls) == len(again) == 2
    assert list(again.recorded_outcome) == ["answered", "no answer"]
    assert again.recorded_latency_ms[0] < 10


async def test_a_message_id_that_a_charge_point_used_twice_is_sent_twice(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url) as cp:
        await replay(recorded((0, beat(1)), (0.001, beat(1))), cp, speed=FAST)
    assert len(csms.calls) == 2


async def test_of_several_charge_points_the_one_of_this_id_is_replayed(csms: Csms) -> None:
    log = watched((0, "CP1/in", beat(1)), (0, "CP2/in", [2, "1", "BootNotification", BOOT]))
    async with ChargePoint("CP2", csms.url) as cp:
        await replay(log, cp, speed=FAST)
        assert csms.actions == ["BootNotification"]
    async with ChargePoint("CP3", csms.url) as cp:
        with pytest.raises(ValueError, match="CP3 is not in this record"):
            await replay(log, cp)


async def test_the_record_of_the_same_charge_point_does_not_grow_under_its_replay(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url) as cp:
        for _ in range(3):
            await cp.heartbeat()
        assert len(await replay(cp.messages, cp, speed=FAST)) == 3
        assert len(await replay(cp.messages, cp, speed=FAST)) == 6


# -- When it is sent --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [0.5, 1.0, 4.0])
async def test_distances_are_the_recorded_ones_divided_by_speed(csms: Csms, speed: float) -> None:
    log = recorded(*((1000 + n * 40 * MS, beat(n)) for n in range(5)))
    async with ChargePoint("CP1", csms.url) as cp:
        began = time.perf_counter()
        again = await replay(log, cp, speed=speed)
        took = time.perf_counter() - began
    assert took >= 4 * 40 * MS / speed, "none is sent before its time"
    after_ms = (again.sent_at - again.sent_at[0]).dt.total_seconds() * 1000
    due_ms = after_ms - (again.late_ms - again.late_ms[0])
    assert list(due_ms) == pytest.approx([n * 40_000 * MS / speed for n in range(5)], abs=0.01)
    assert (again.late_ms > -1).all()  # a timer's resolution


async def test_as_fast_as_answers_come_is_never_late(csms: Csms) -> None:
    log = recorded((0, beat(0)), (3600, beat(1)), (86400, beat(2)))
    async with ChargePoint("CP1", csms.url) as cp:
        again = await replay(log, cp, speed=FAST)
    assert list(again.late_ms) == [0, 0, 0]


async def test_a_slow_answer_makes_the_next_call_late(csms: Csms) -> None:
    csms.once.append(delay(60 * MS))
    async with ChargePoint("CP1", csms.url) as cp:
        again = await replay(recorded((0, beat(0)), (10 * MS, beat(1))), cp)
    assert again.late_ms[1] >= 50_000 * MS - 1
    assert not csms.overlaps, "one CALL at a time"


# -- What becomes of it -----------------------------------------------------------------------------------------------


async def test_each_outcome_is_told_apart_now_and_as_recorded(csms: Csms) -> None:
    log = recorded(
        (0, beat(0)),
        (0.002, [3, "beat-0", {"currentTime": "2026-11-23T10:00:00Z"}]),
        (0.01, beat(1)),
        (0.012, [4, "beat-1", "InternalError", "no", {}]),
        (0.02, beat(2)),
    )
    async with ChargePoint("CP1", csms.url) as cp:
        csms.once.extend([error("GenericError", "today not", {}), times_out(cp)])
        again = await replay(log, cp, speed=FAST)
    assert list(again.outcome) == ["CALLERROR", "no answer", "answered"]
    assert list(again.recorded_outcome) == ["answered", "CALLERROR", "no answer"]
    assert again.recorded_latency_ms[:2].tolist() == pytest.approx([2, 2], abs=0.01)
    assert again.latency_ms.isna().tolist() == [True, True, False]
    assert "today not" in again.detail[0]
    assert again.detail[2] == ""


async def test_a_lost_connection_is_opened_again_for_the_next_call(csms: Csms) -> None:
    csms.once.append(close(1001, "gone"))
    async with ChargePoint("CP1", csms.url) as cp:
        again = await replay(recorded((0, beat(0)), (0, beat(1)), (0, beat(2))), cp, speed=FAST)
        assert cp.is_open
    assert list(again.outcome) == ["connection lost", "answered", "answered"]
    assert len(csms.links) == 2


async def test_an_unregistered_charge_point_is_told_so_for_each_call(stack: Stack) -> None:
    async with stack.charge_point(new_id("stranger")) as cp:
        again = await replay(recorded((0, beat(0)), (0, beat(1))), cp, speed=FAST)
    assert list(again.outcome) == ["not registered"] * 2


@pytest.mark.parametrize(
    "frame",
    [
        [2, "1", "NoSuchAction", {}],
        [2, "1", "BootNotification", {"reason": "Because"}],
        [2, "1", "BootNotification", "text"],
        [2, "1", "Heartbeat", {"noSuchField": 1}],
        [2, "1", "Heartbeat", []],
        [2, "1", "Heartbeat", None],
    ],
)
async def test_what_is_no_valid_call_is_not_sent_and_the_rest_is(csms: Csms, frame: Any) -> None:
    async with ChargePoint("CP1", csms.url) as cp:
        again = await replay(recorded((0, frame), (0, beat(1))), cp, speed=FAST)
    assert list(again.outcome) == ["not sent", "answered"]
    assert "no valid CALL of OCPP 2.0.1" in again.detail[0]
    assert csms.actions == ["Heartbeat"]


async def test_a_record_of_another_ocpp_version_is_not_sent(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, version="1.6") as cp:
        again = await replay(recorded((0, [2, "1", "BootNotification", BOOT])), cp, speed=FAST)
    assert list(again.outcome) == ["not sent"]
    assert "OCPP 1.6" in again.detail[0]


@pytest.mark.parametrize("speed", [0, -1, math.nan])
async def test_a_speed_that_is_none_is_refused_before_anything_is_sent(csms: Csms, speed: float) -> None:
    async with ChargePoint("CP1", csms.url) as cp:
        with pytest.raises(ValueError, match="speed is above 0"):
            await replay(recorded((0, beat(0))), cp, speed=speed)
    assert csms.calls == []


async def test_a_record_without_calls_is_refused(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url) as cp:
        for log in (MessageLog(), recorded((0, [3, "1", {}]))):
            with pytest.raises(ValueError, match="nothing to replay"):
                await replay(log, cp)


async def test_a_gateway_that_is_gone_ends_the_replay() -> None:
    async with Csms() as csms:
        cp = await ChargePoint("CP1", csms.url)
        csms.once.append(close(1001, "gone"))
        gone = recorded((0, beat(0)), (20 * MS, beat(1)))
        with pytest.raises(errors.ConnectionLost):
            await cp.heartbeat()
    with pytest.raises(errors.ConnectError):
        await replay(gone, cp)
    await cp.close()


async def test_a_gateway_that_goes_away_leaves_the_rows_before() -> None:
    async with Csms() as csms:
        cp = await ChargePoint("CP1", csms.url)
        running = asyncio.create_task(replay(recorded((0, beat(0)), (1500 * MS, beat(1))), cp))
        await until(lambda: len(cp.messages) == 2, "the first answer")
        await csms.link.ws.close(1001, "gone")
    assert list((await running).outcome) == ["answered", "not connected"]
    await cp.close()


# -- The file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["garbage", "[]", "{}", '{"sent_at": "yesterday"}', '{"sent_at": 1}'])
def test_a_garbled_line_of_a_saved_record_is_named(tmp_path: Path, line: str) -> None:
    path = recorded((0, beat(0)), (1, beat(1))).to_json_lines(tmp_path / "cp.jsonl")
    path.write_text(path.read_text() + "\n" + line)
    with pytest.raises(ValueError, match=r"cp\.jsonl, line 4: not a message saved by to_json_lines"):
        MessageLog.from_json_lines(path)
