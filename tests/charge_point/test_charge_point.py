"""The charge point's face: boot, heartbeats, arguments of calls, its record."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from charge_point_fixtures import CLEAR_CACHE, NOT_REGISTERED, gateway_aborts, gateway_closes, round_trips, spawn
from conftest import MS, SOON, cpsim_tasks, until
from csms_stub import (
    Csms,
    answer,
    close,
    delay,
    error,
    held,
    silent,
)
from ocpp.v16 import call_result as call_result16
from ocpp.v21 import call_result as call_result21
from ocpp.v201 import call_result

from cpsim_kit.basics.clock import wall_clock
from cpsim_kit.charge_point.charge_point import Beat, ChargePoint
from cpsim_kit.errors import (
    CallFailed,
    CallTimeout,
    Closed,
    ConnectionLost,
    NotRegistered,
    ProtocolViolation,
)

pytestmark = pytest.mark.usefixtures("no_hang")


async def test_awaited_it_is_open_until_closed(csms: Csms) -> None:
    cp = await ChargePoint("CP1", csms.url)
    assert isinstance(cp, ChargePoint)
    assert cp.is_open
    assert cp.closed is None
    await cp.heartbeat()
    await cp.close()
    assert not cp.is_open
    assert cp.closed == Closed(1000, "", "charge point")


async def test_entered_it_is_open_inside_and_closed_after(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url) as cp:
        assert cp.is_open
        await cp.heartbeat()
    assert cp.closed == Closed(1000, "", "charge point")


async def test_repr_tells_the_state(csms: Csms) -> None:
    cp = ChargePoint("CP1", csms.url, version="1.6")
    assert repr(cp) == "<ChargePoint CP1 new ocpp1.6>"
    await cp
    assert repr(cp) == "<ChargePoint CP1 open ocpp1.6>"
    await cp.boot()
    assert repr(cp) == "<ChargePoint CP1 open ocpp1.6 boot=Accepted>"
    await cp.close()
    assert repr(cp) == "<ChargePoint CP1 closed(1000) ocpp1.6 boot=Accepted>"


USES: dict[str, Callable[[ChargePoint], Coroutine[Any, Any, Any]]] = {
    "boot": lambda cp: cp.boot(),
    "heartbeat": lambda cp: cp.heartbeat(),
    "heartbeats": lambda cp: anext(cp.heartbeats(interval=1)),
    "call": lambda cp: cp.call(CLEAR_CACHE),
    "wait_closed": lambda cp: cp.wait_closed(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
async def test_use_before_connecting_says_what_to_write(csms: Csms, use: Any) -> None:
    with pytest.raises(RuntimeError, match=r"CP1 is not connected; write `await cp`, or `async with … as cp`"):
        await use(ChargePoint("CP1", csms.url))


@pytest.mark.parametrize("use", [USES[name] for name in ("boot", "heartbeat", "call")])
async def test_use_after_closing_says_how_to_open_it_again(csms: Csms, cp: ChargePoint, use: Any) -> None:
    await cp.close()
    with pytest.raises(ConnectionLost, match="was closed here; open it again: await cp") as caught:
        await use(cp)
    assert caught.value.closed == Closed(1000, "", "charge point")
    assert csms.calls == []


STATION = {"model": "CPSIM-1", "vendorName": "cpsim_kit", "serialNumber": "SN-CP1", "firmwareVersion": "1.0.0"}
BOOTS = {
    "1.6": {
        "chargePointModel": "CPSIM-1",
        "chargePointVendor": "cpsim_kit",
        "chargePointSerialNumber": "SN-CP1",
        "firmwareVersion": "1.0.0",
    },
    "2.0.1": {"chargingStation": STATION, "reason": "PowerUp"},
    "2.1": {"chargingStation": STATION, "reason": "PowerUp"},
}
RESULTS = {"1.6": call_result16, "2.0.1": call_result, "2.1": call_result21}


@pytest.mark.parametrize("version", BOOTS)
async def test_boot_reports_the_charge_point_and_takes_the_interval(csms: Csms, version: str) -> None:
    async with ChargePoint("CP1", csms.url, version=version) as cp:
        assert cp.heartbeat_interval is None
        boot = await cp.boot()
        assert csms.link.ws.subprotocol == f"ocpp{version}"
    assert [(asked.action, asked.payload) for asked in csms.calls] == [("BootNotification", BOOTS[version])]
    assert type(boot) is RESULTS[version].BootNotification
    assert (boot.status, boot.interval, boot.current_time) == ("Accepted", 10, "2026-11-23T10:00:00Z")
    assert (cp.boot_status, cp.heartbeat_interval) == ("Accepted", 10)


async def test_boot_sends_what_the_charge_point_was_made_with(csms: Csms) -> None:
    options = {"model": "M", "vendor_name": "V", "serial_number": "S", "firmware_version": "F"}
    async with ChargePoint("CP1", csms.url, **options) as cp:
        await cp.boot(reason="Watchdog")
    station = {"model": "M", "vendorName": "V", "serialNumber": "S", "firmwareVersion": "F"}
    assert csms.calls[0].payload == {"chargingStation": station, "reason": "Watchdog"}


@pytest.mark.parametrize("version", BOOTS)
@pytest.mark.parametrize("status", ["Pending", "Rejected"])
async def test_a_boot_that_is_not_accepted_is_an_answer_and_sets_no_interval(
    csms: Csms, version: str, status: str
) -> None:
    csms.on["BootNotification"] = answer({"currentTime": "2026-11-23T10:00:00Z", "interval": 7, "status": status})
    async with ChargePoint("CP1", csms.url, version=version) as cp:
        boot = await cp.boot()
        assert (boot.status, boot.interval) == (status, 7)
        assert (cp.boot_status, cp.heartbeat_interval) == (status, None)


MODEM = {"iccid": "891004234814455936F", "imsi": "310410123456789"}


@pytest.mark.parametrize("modem", [MODEM, {"iccid": MODEM["iccid"]}, {}, None], ids=["both", "iccid", "empty", "none"])
@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
async def test_boot_reports_the_modem(csms: Csms, version: str, modem: dict[str, str] | None) -> None:
    async with ChargePoint("CP1", csms.url, version=version, modem=modem) as cp:
        await cp.boot()
        card = cp._repr_html_()
    payload = csms.calls[0].payload
    if version == "1.6":
        assert {name: value for name, value in payload.items() if name in MODEM} == (modem or {})
    else:
        assert payload["chargingStation"].get("modem") == (modem or None)
    assert (MODEM["iccid"] in card) == bool(modem)


async def test_a_changed_modem_is_reported_by_the_next_boot(csms: Csms, cp: ChargePoint) -> None:
    await cp.boot()
    cp.modem = MODEM
    await cp.boot()
    assert [call.payload["chargingStation"].get("modem") for call in csms.calls] == [None, MODEM]


@pytest.mark.parametrize("interval", [0, -1])
async def test_an_interval_of_zero_or_less_leaves_the_choice_to_the_charge_point(
    csms: Csms, cp: ChargePoint, interval: int
) -> None:
    csms.on["BootNotification"] = answer({"currentTime": "now", "interval": interval, "status": "Accepted"})
    await cp.boot()
    assert (cp.boot_status, cp.heartbeat_interval) == ("Accepted", 60)
    assert len([beat async for beat in cp.heartbeats(count=1)]) == 1
    cp.heartbeat_interval = 7
    await cp.boot()
    assert cp.heartbeat_interval == 7, "the charge point keeps what was chosen"


async def test_an_attribute_that_breaks_the_schema_is_not_sent(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, model="M" * 21) as cp:
        with pytest.raises(ProtocolViolation) as caught:
            await cp.boot()
    assert (caught.value.action, caught.value.path) == ("BootNotification", "chargingStation.model")
    assert csms.calls == []


@pytest.mark.parametrize("version", BOOTS)
async def test_a_heartbeat_tells_when_it_was_sent_and_how_long_it_took(csms: Csms, version: str) -> None:
    csms.on["Heartbeat"] = delay(20 * MS)
    async with ChargePoint("CP1", csms.url, version=version) as cp:
        before, clock = datetime.now(UTC), time.perf_counter()
        beat = await cp.heartbeat()
        elapsed_ms = (time.perf_counter() - clock) * 1000
    assert isinstance(beat, Beat)
    assert 20 * MS * 1000 <= beat.latency_ms <= elapsed_ms
    assert beat.sent_at.tzinfo is UTC
    assert abs(beat.sent_at - before) < timedelta(seconds=SOON)
    assert csms.calls[0].payload == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T10:00:00", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("2026-11-23T10:00:00.123456", datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC)),
        ("2026-11-23T10:00:00Z", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("2026-11-23t10:00:00z", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("2026-11-23T10:00:00.5Z", datetime(2026, 11, 23, 10, 0, 0, 500000, tzinfo=UTC)),
        ("2026-11-23T10:00:00+02:00", datetime(2026, 11, 23, 8, tzinfo=UTC)),
        ("2026-11-23T20:00:00-05:30", datetime(2026, 11, 24, 1, 30, tzinfo=UTC)),
    ],
)
async def test_the_csms_time_is_utc_whatever_its_form(
    csms: Csms, cp: ChargePoint, text: str, expected: datetime
) -> None:
    csms.on["Heartbeat"] = answer({"currentTime": text})
    beat = await cp.heartbeat()
    assert beat.csms_time == expected
    assert beat.csms_time.tzinfo is UTC


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+14:00"])
async def test_a_csms_time_that_is_none_breaks_the_protocol(csms: Csms, cp: ChargePoint, text: str) -> None:
    csms.on["Heartbeat"] = answer({"currentTime": text})
    with pytest.raises(ProtocolViolation, match="no time") as caught:
        await cp.heartbeat()
    assert (caught.value.action, caught.value.path) == ("Heartbeat", "currentTime")
    assert cp.is_open


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_the_heartbeat_interval_is_more_than_zero(seconds: float) -> None:
    cp = ChargePoint("CP1", "ws://127.0.0.1:1")
    with pytest.raises(ValueError, match="more than 0 seconds"):
        cp.heartbeat_interval = seconds
    assert cp.heartbeat_interval is None


@pytest.mark.parametrize("use", [USES[name] for name in ("boot", "heartbeat", "heartbeats", "call")])
async def test_calls_have_the_charge_points_timeout_unless_given(csms: Csms, use: Any) -> None:
    csms.on["*"] = silent
    async with ChargePoint("CP1", csms.url, call_timeout=10 * MS) as cp:
        with pytest.raises(CallTimeout) as caught:
            await use(cp)
        assert caught.value.waited == 10 * MS


@pytest.mark.parametrize("use", [USES[name] for name in ("boot", "heartbeat", "heartbeats", "call")])
async def test_not_registered_fails_whatever_waits_or_comes_after(csms: Csms, cp: ChargePoint, use: Any) -> None:
    csms.once.append(close(1008, NOT_REGISTERED))
    with pytest.raises(NotRegistered):
        await use(cp)
    with pytest.raises(NotRegistered):
        await use(cp)


PERIOD = 60 * MS


async def test_heartbeats_end_after_their_count(csms: Csms, cp: ChargePoint) -> None:
    beats = [beat async for beat in cp.heartbeats(count=3, interval=MS)]
    assert len(beats) == len(csms.calls) == 3
    assert all(isinstance(beat, Beat) for beat in beats)


async def test_the_first_heartbeat_comes_at_once_and_none_is_waited_for_after_the_last(
    csms: Csms, cp: ChargePoint
) -> None:
    assert len([beat async for beat in cp.heartbeats(count=1, interval=1000)]) == 1
    assert [beat async for beat in cp.heartbeats(count=0, interval=1000)] == []
    assert len(csms.calls) == 1


async def test_heartbeats_keep_the_interval_of_the_boot(csms: Csms, cp: ChargePoint) -> None:
    csms.on["BootNotification"] = answer({"currentTime": "now", "interval": 1, "status": "Accepted"})
    await cp.boot()
    began = wall_clock(time.perf_counter())
    _, second = [beat async for beat in cp.heartbeats(count=2)]
    assert (second.sent_at - began).total_seconds() >= 0.99


async def test_a_given_interval_goes_before_the_boots(cp: ChargePoint) -> None:
    await cp.boot()
    assert cp.heartbeat_interval == 10
    assert len([beat async for beat in cp.heartbeats(count=3, interval=MS)]) == 3


async def moments(cp: ChargePoint, count: int, reader: float = 0) -> list[float]:
    """When each heartbeat was sent, in periods since the iteration began; the reader sleeps after the first."""
    began, sent = wall_clock(time.perf_counter()), []
    async for beat in cp.heartbeats(count=count, interval=PERIOD):
        if not sent:
            await asyncio.sleep(reader)
        sent.append((beat.sent_at - began).total_seconds() / PERIOD + 0.01)  # the clocks' resolution
    return sent


async def test_heartbeats_stay_on_their_grid_with_slow_answers(csms: Csms, cp: ChargePoint) -> None:
    csms.on["Heartbeat"] = delay(0.37 * PERIOD)
    for _ in range(10):  # a busy machine is late now and then; what drifts is so every time
        sent = await moments(cp, 12)
        assert all(moment >= number for number, moment in enumerate(sent))  # never early
        late = sorted(moment % 1 for moment in sent)
        if late[len(late) // 2] < 0.35:  # with drift they lie all over the period
            return
    pytest.fail(f"heartbeats drift off their grid: {sent}")


async def test_missed_heartbeats_are_skipped_not_made_up_for(csms: Csms, cp: ChargePoint) -> None:
    csms.once.extend([answer(), delay(5.5 * PERIOD)])
    sent = await moments(cp, 6)
    assert sent[2] >= 6.5  # after the slow answer, for 6
    assert sent[5] >= 9


async def test_a_slow_reader_misses_heartbeats_too(cp: ChargePoint) -> None:
    sent = await moments(cp, 4, reader=3.5 * PERIOD)
    assert sent[3] >= 5  # 0, 3, 4, 5


async def test_a_changed_interval_takes_effect_while_sleeping(csms: Csms, cp: ChargePoint) -> None:
    cp.heartbeat_interval = 1000
    beats = spawn(collect(cp.heartbeats(count=3)))
    await until(lambda: csms.calls)
    await asyncio.sleep(5 * MS)
    cp.heartbeat_interval = MS
    assert len(await asyncio.wait_for(beats, SOON)) == 3


async def test_a_boot_while_sleeping_changes_the_interval(csms: Csms, cp: ChargePoint) -> None:
    csms.on["BootNotification"] = answer({"currentTime": "now", "interval": 1, "status": "Accepted"})
    cp.heartbeat_interval = 1000
    beats = spawn(collect(cp.heartbeats(count=2)))
    await until(lambda: csms.calls)
    await cp.boot()
    assert len(await asyncio.wait_for(beats, SOON)) == 2


async def test_a_changed_interval_does_not_touch_a_given_one(csms: Csms, cp: ChargePoint) -> None:
    beats = spawn(collect(cp.heartbeats(count=2, interval=1000)))
    await until(lambda: csms.calls)
    cp.heartbeat_interval = MS
    await asyncio.sleep(20 * MS)
    assert len(csms.calls) == 1
    beats.cancel()


async def collect(beats: AsyncIterator[Beat]) -> list[Beat]:
    return [beat async for beat in beats]


async def test_heartbeats_without_an_interval_are_refused_before_the_first(csms: Csms, cp: ChargePoint) -> None:
    with pytest.raises(ValueError, match="no heartbeat interval; boot first, or give interval= in seconds"):
        await collect(cp.heartbeats())
    assert csms.calls == []


@pytest.mark.parametrize("interval", [0, -1, float("nan")])
async def test_heartbeats_at_no_interval_are_refused(csms: Csms, cp: ChargePoint, interval: float) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        await collect(cp.heartbeats(interval=interval))
    assert csms.calls == []


async def test_heartbeats_end_quietly_when_closed_here_while_sleeping(csms: Csms, cp: ChargePoint) -> None:
    beats = spawn(collect(cp.heartbeats(interval=1000)))
    await until(lambda: csms.calls)
    await asyncio.sleep(5 * MS)
    await cp.close()
    assert len(await asyncio.wait_for(beats, SOON)) == 1


async def test_heartbeats_end_quietly_when_closed_here_while_one_waits(csms: Csms, cp: ChargePoint) -> None:
    csms.once.extend([answer(), held])
    beats = spawn(collect(cp.heartbeats(interval=MS)))
    await until(lambda: csms.held)
    await cp.close()
    assert len(await asyncio.wait_for(beats, SOON)) == 1


async def test_heartbeats_end_quietly_when_closed_here_in_their_loop(cp: ChargePoint) -> None:
    count = 0
    async for _ in cp.heartbeats(interval=MS):
        count += 1
        if count == 3:
            await cp.close()
    assert count == 3


@pytest.mark.parametrize("interval", [MS, 1000], ids=["while one waits", "while sleeping"])
@pytest.mark.parametrize("end", [gateway_closes(1000, ""), gateway_aborts], ids=["closed", "aborted"])
async def test_heartbeats_raise_when_the_connection_is_lost(
    csms: Csms, cp: ChargePoint, end: Any, interval: float
) -> None:
    csms.once.extend([answer(), held])
    beats = spawn(collect(cp.heartbeats(interval=interval)))
    await until(lambda: csms.held if interval == MS else csms.calls)
    await end(cp, csms.link)
    with pytest.raises(ConnectionLost) as caught:
        await asyncio.wait_for(beats, SOON)
    assert caught.value.closed.by != "charge point"


async def test_a_heartbeat_that_fails_ends_the_iteration_and_not_the_connection(csms: Csms, cp: ChargePoint) -> None:
    csms.once.extend([answer(), error("GenericError", "", {})])
    with pytest.raises(CallFailed):
        await collect(cp.heartbeats(interval=MS))
    await cp.heartbeat()


async def test_heartbeats_have_a_timeout_for_each_answer(csms: Csms, cp: ChargePoint) -> None:
    csms.once.append(silent)
    with pytest.raises(CallTimeout) as caught:
        await collect(cp.heartbeats(interval=1000, timeout=10 * MS))
    assert caught.value.waited == 10 * MS


async def test_leaving_the_loop_leaves_nothing_behind(csms: Csms, cp: ChargePoint) -> None:
    async for _ in cp.heartbeats(interval=MS):
        break
    gc.collect()
    await asyncio.sleep(20 * MS)
    assert len(csms.calls) == 1
    assert cpsim_tasks() == set()


async def test_max_messages_bounds_the_record(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, max_messages=3) as cp:
        await round_trips(cp)
        assert (len(cp.messages), cp.messages.dropped) == (3, 1)


USES_OF_SECONDS: dict[str, Callable[[ChargePoint, Any], Coroutine[Any, Any, Any]]] = {
    "boot": lambda cp, seconds: cp.boot(timeout=seconds),
    "heartbeat": lambda cp, seconds: cp.heartbeat(timeout=seconds),
    "heartbeats": lambda cp, seconds: anext(cp.heartbeats(interval=seconds)),
    "call": lambda cp, seconds: cp.call(CLEAR_CACHE, timeout=seconds),
    "wait_closed": lambda cp, seconds: cp.wait_closed(timeout=seconds),
}


@pytest.mark.parametrize("use", USES_OF_SECONDS.values(), ids=USES_OF_SECONDS.keys())
async def test_seconds_of_a_wrong_type_are_refused_in_words_and_nothing_is_sent(
    csms: Csms, cp: ChargePoint, use: Any
) -> None:
    with pytest.raises(TypeError, match=r"CP1: .* is a number of seconds, not '5'"):
        await use(cp, "5")
    with pytest.raises(ValueError, match=r"CP1: .* seconds, not -1"):
        await use(cp, -1)
    with pytest.raises(TypeError, match="CP1: a heartbeat interval is a number of seconds, not '5'"):
        cp.heartbeat_interval = "5"  # type: ignore[assignment]
    assert csms.calls == []


async def test_an_observer_that_fails_is_logged_and_the_call_goes_on(
    csms: Csms, caplog: pytest.LogCaptureFixture
) -> None:
    def observe(*_arguments: Any) -> None:
        raise RuntimeError("no more paper")

    async with ChargePoint("CP1", csms.url, observe=observe) as cp:
        assert (await cp.boot()).status == "Accepted"
        csms.once.append(close(1000, "over"))
        with pytest.raises(ConnectionLost):
            await cp.heartbeat()
    logged = [record for record in caplog.records if "observe= failed on" in record.message]
    assert [record.message for record in logged] == [
        f"CP1: observe= failed on {n}" for n in ("BootNotification", "Heartbeat")
    ]
    assert all(record.exc_info and "no more paper" in str(record.exc_info[1]) for record in logged)
