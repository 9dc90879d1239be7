"""The charge point against a CSMS on real sockets, well-behaved and not."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import functools
import gc
import itertools
import json
import logging
import socket
import ssl
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import ocpp.exceptions
import pytest
import trustme
from conftest import MS, SOON, cpsim_tasks, open_sockets, until
from csms_stub import (
    Behaviour,
    Call,
    Csms,
    Link,
    abort,
    answer,
    both,
    close,
    delay,
    error,
    garbage,
    held,
    raw_server,
    silent,
)
from ocpp.routing import after, on
from ocpp.v16 import call as call16
from ocpp.v16 import call_result as call_result16
from ocpp.v21 import call_result as call_result21
from ocpp.v201 import call, call_result

from cpsim_kit.basics.clock import wall_clock
from cpsim_kit.charge_point.charge_point import Beat, ChargePoint
from cpsim_kit.errors import (
    CallFailed,
    CallTimeout,
    Closed,
    ConnectError,
    ConnectionLost,
    CpsimError,
    NotRegistered,
    ProtocolViolation,
    UnsupportedByCsms,
    WaitTimeout,
)
from cpsim_kit.ocpp_j.versions import Version
from cpsim_kit.records import MessageLog

NOT_REGISTERED = "Charge Point CP1 not registered as an IoT Thing"
CLEAR_CACHE = call.ClearedChargingLimit(charging_limit_source="CSO")  # some CALL that is no heartbeat
RESET = {"type": "Immediate"}


@pytest.fixture(autouse=True)
async def no_hang() -> AsyncIterator[None]:
    """Cancel a test that waits for ever, so that it fails."""

    def cancel_all() -> None:
        for task in asyncio.all_tasks():
            task.cancel("this test waited too long")

    timer = asyncio.get_running_loop().call_later(3 * SOON, cancel_all)
    yield
    timer.cancel()


@pytest.fixture
async def cp(csms: Csms) -> AsyncIterator[ChargePoint]:
    """CP1, connected with OCPP 2.0.1."""
    async with ChargePoint("CP1", csms.url) as cp:
        yield cp


def data_transfer(data: Any) -> call.DataTransfer:
    return call.DataTransfer(vendor_id="test", data=data)


def spawn(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(coroutine)


async def reset_accepted(**_: Any) -> call_result.Reset:
    return call_result.Reset(status="Accepted")


async def round_trips(cp: ChargePoint) -> None:
    """What the CSMS sent before this has been handled after it, and what the charge point sent to it has arrived."""
    await cp.heartbeat()
    await cp.heartbeat()


# -- Opening and closing ----------------------------------------------------------------------------------------------


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


async def test_the_identity_is_the_last_part_of_the_address(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url + "/ocpp/") as cp:
        assert cp.url == csms.url + "/ocpp/CP1"
    async with ChargePoint("CP 1/ü", csms.url):
        pass
    assert [request.path for request in csms.requests] == ["/ocpp/CP1", "/CP%201/%C3%BC"]


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("?token=abc", "/CP1?token=abc"),
        ("/?token=abc", "/CP1?token=abc"),
        ("/ocpp?token=abc", "/ocpp/CP1?token=abc"),
        ("/ocpp/?a=1&b=x@y:/z/", "/ocpp/CP1?a=1&b=x@y:/z/"),
        ("/ocpp?", "/ocpp/CP1?"),
        (" \t\n", "/CP1"),
        ("/ocpp/\n", "/ocpp/CP1"),
    ],
)
async def test_the_identity_is_appended_to_the_path(csms: Csms, address: str, path: str) -> None:
    async with ChargePoint("CP1", f"  {csms.url}{address}") as cp:
        assert cp.url == csms.url + path
    assert csms.requests[0].path == path


async def test_credentials_before_a_query_are_sent_and_not_shown(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url.replace("//", "//CP1:secret@") + "/ocpp?to=a@b") as cp:
        assert "secret" not in cp._repr_html_()
        assert f"ws://…@127.0.0.1:{csms.port}/ocpp/CP1?to=a@b" in cp._repr_html_()
    (request,) = csms.requests
    assert (request.path, request.headers["Authorization"]) == ("/ocpp/CP1?to=a@b", "Basic Q1AxOnNlY3JldA==")


@pytest.mark.parametrize(
    ("charge_point_id", "encoded"),
    [
        ("RDAM 123", "RDAM%20123"),
        ("a%20b", "a%2520b"),
        ("a?b#c", "a%3Fb%23c"),
        ("a+b&c=d", "a%2Bb%26c%3Dd"),
        ("DE*ABC*E1", "DE%2AABC%2AE1"),
        ("a:b_c-d.e~f", "a:b_c-d.e~f"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
    ],
)
async def test_an_identity_is_percent_encoded(csms: Csms, charge_point_id: str, encoded: str) -> None:
    async with ChargePoint(charge_point_id, csms.url) as cp:
        assert cp.id == charge_point_id
    assert csms.requests[0].path == f"/{encoded}"


@pytest.mark.parametrize(
    "charge_point_id", [" CP1", "CP1 ", "CP1\n", "\tCP1", "C\nP1", "CP1\u00a0", "\ufeffCP1", "\ud800"]
)
def test_an_identity_with_what_is_pasted_by_mistake_is_refused(charge_point_id: str) -> None:
    with pytest.raises(ValueError, match="a charge point id has no white space at its ends, and no line break"):
        ChargePoint(charge_point_id, "ws://127.0.0.1:1")


@pytest.mark.parametrize("url", ["ws://h/a b", "ws://h /", "ws:// h", "ws://h/a\r\nX: y", "ws://h\t:1", "ws://h\u200b"])
def test_an_address_with_a_space_or_an_invisible_character_inside_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"CP1: there is a space, a line break .* in the CSMS's address"):
        ChargePoint("CP1", url)


@pytest.mark.parametrize("charge_point_id", ["", "/CP1", "CP1/", "/"])
def test_an_identity_is_not_empty_and_has_no_slash_at_its_ends(charge_point_id: str) -> None:
    with pytest.raises(ValueError, match="charge point id"):
        ChargePoint(charge_point_id, "ws://127.0.0.1:1")


def test_an_unknown_version_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'2\.0' is not known; use one of 1\.6, 2\.0\.1, 2\.1"):
        ChargePoint("CP1", "ws://127.0.0.1:1", version="2.0")


async def test_repr_tells_the_state(csms: Csms) -> None:
    cp = ChargePoint("CP1", csms.url, version="1.6")
    assert repr(cp) == "<ChargePoint CP1 new ocpp1.6>"
    await cp
    assert repr(cp) == "<ChargePoint CP1 open ocpp1.6>"
    await cp.boot()
    assert repr(cp) == "<ChargePoint CP1 open ocpp1.6 boot=Accepted>"
    await cp.close()
    assert repr(cp) == "<ChargePoint CP1 closed(1000) ocpp1.6 boot=Accepted>"


async def test_awaiting_again_while_open_is_the_same_connection(csms: Csms, cp: ChargePoint) -> None:
    assert await cp is cp
    async with cp:
        await cp.heartbeat()
    assert len(csms.links) == 1


async def test_awaiting_many_times_at_once_opens_one_connection(csms: Csms) -> None:
    cp = ChargePoint("CP1", csms.url)
    await asyncio.gather(*(cp.connect() for _ in range(5)))
    await cp.heartbeat()
    assert len(csms.links) == 1
    await cp.close()


async def test_it_can_be_opened_again_after_close(csms: Csms, cp: ChargePoint) -> None:
    await cp.close()
    await cp
    assert cp.is_open
    assert cp.closed is None
    await cp.heartbeat()
    assert len(csms.links) == 2


async def test_it_can_be_opened_again_after_the_gateway_closed(csms: Csms, cp: ChargePoint) -> None:
    await csms.link.ws.close(1012)
    await cp.wait_closed(SOON)
    await cp
    await cp.heartbeat()
    assert len(csms.links) == 2


async def test_awaiting_while_it_closes_opens_it_again(csms: Csms, cp: ChargePoint) -> None:
    closing = spawn(cp.close())
    await asyncio.sleep(0)
    await cp
    await closing
    assert cp.is_open
    await cp.heartbeat()
    assert len(csms.links) == 2


async def test_closing_while_it_opens_leaves_it_closed(csms: Csms) -> None:
    cp = ChargePoint("CP1", csms.url)
    opening = spawn(cp.connect())
    await asyncio.sleep(0)
    await cp.close()
    await opening
    assert not cp.is_open


async def test_closing_twice_is_harmless(cp: ChargePoint) -> None:
    await asyncio.gather(cp.close(code=1001), cp.close(code=1002))
    await cp.close(code=1003)
    assert cp.closed == Closed(1001, "", "charge point")


async def test_closing_what_never_opened_is_harmless(csms: Csms) -> None:
    cp = ChargePoint("CP1", csms.url)
    await cp.close()
    assert repr(cp) == "<ChargePoint CP1 new ocpp2.0.1>"


async def test_close_sends_code_and_reason(csms: Csms, cp: ChargePoint) -> None:
    await cp.close(code=3001, reason="tired")
    assert cp.closed == Closed(3001, "tired", "charge point")
    await until(lambda: csms.link.ws.close_code == 3001)
    assert csms.link.ws.close_reason == "tired"


@pytest.mark.parametrize(("code", "reason"), [(99, ""), (1006, ""), (1000, "x" * 200)])
async def test_a_close_frame_that_rfc_6455_forbids_is_refused_and_the_connection_stays(
    cp: ChargePoint, code: int, reason: str
) -> None:
    with pytest.raises(ValueError, match="close"):
        await cp.close(code=code, reason=reason)
    await cp.heartbeat()


async def test_close_does_not_wait_for_ever_for_the_other_side(csms: Csms) -> None:
    cp = await ChargePoint("CP1", csms.url, close_timeout=20 * MS)
    csms.link.stop_reading()
    await cp.close()
    assert cp.closed == Closed(1000, "", "charge point")


async def test_close_does_not_wait_for_ever_behind_a_full_buffer(csms: Csms) -> None:
    cp = await ChargePoint("CP1", csms.url, ping_interval=None, close_timeout=20 * MS)
    csms.link.stop_reading()
    sending = spawn(cp.call(data_transfer("x" * 20_000_000)))
    await until(lambda: len(cp.messages) == 1)
    await cp.close()
    with pytest.raises(ConnectionLost):
        await sending


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


async def test_wait_closed_returns_how_it_ended(csms: Csms, cp: ChargePoint) -> None:
    waiting = spawn(cp.wait_closed(SOON))
    await csms.link.ws.close(4000, "enough")
    assert await waiting == Closed(4000, "enough", "gateway")
    assert await cp.wait_closed(0) == Closed(4000, "enough", "gateway")


async def test_wait_closed_has_a_timeout(cp: ChargePoint) -> None:
    with pytest.raises(WaitTimeout, match="CP1 to be closed") as caught:
        await cp.wait_closed(10 * MS)
    assert caught.value.last_seen is cp
    assert isinstance(caught.value, TimeoutError)
    await cp.heartbeat()


# -- Boot and heartbeat -----------------------------------------------------------------------------------------------

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


# -- Calls and their answers ------------------------------------------------------------------------------------------


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
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.action, caught.value.waited) == ("ClearedChargingLimit", 20 * MS)
    assert caught.value.message_id == csms.calls[0].message_id


async def test_a_timeout_holds_when_the_gateway_does_not_read(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, ping_interval=None, close_timeout=20 * MS) as cp:
        csms.link.stop_reading()
        with pytest.raises(CallTimeout):
            await cp.call(data_transfer("x" * 20_000_000), timeout=20 * MS)


@pytest.mark.parametrize("use", [USES[name] for name in ("boot", "heartbeat", "heartbeats", "call")])
async def test_calls_have_the_charge_points_timeout_unless_given(csms: Csms, use: Any) -> None:
    csms.on["*"] = silent
    async with ChargePoint("CP1", csms.url, call_timeout=10 * MS) as cp:
        with pytest.raises(CallTimeout) as caught:
            await use(cp)
        assert caught.value.waited == 10 * MS


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


# -- Late, duplicate and unknown answers ------------------------------------------------------------------------------


def level_of(caplog: pytest.LogCaptureFixture, text: str) -> int:
    """Of the one line of the log with this text."""
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
    for _ in range(3):  # time enough for the heartbeat to be sent, if it were
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
    """A record of somebody's own, which cannot be kept."""

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


# -- Losing the connection --------------------------------------------------------------------------------------------


def gateway_closes(code: int, reason: str) -> Callable[[ChargePoint, Link], Coroutine[Any, Any, None]]:
    return lambda cp, link: link.ws.close(code, reason)


async def gateway_sends_an_empty_close_frame(cp: ChargePoint, link: Link) -> None:
    link.ws.transport.write(b"\x88\x00")


async def gateway_aborts(cp: ChargePoint, link: Link) -> None:
    link.abort()


async def gateway_shuts_its_side(cp: ChargePoint, link: Link) -> None:
    link.ws.transport.write_eof()


async def gateway_goes_silent(cp: ChargePoint, link: Link) -> None:
    link.stop_reading()


async def gateway_breaks_rfc_6455(cp: ChargePoint, link: Link) -> None:
    link.ws.transport.write(b"\xff\xff\xff\xff")


async def gateway_closes_with_a_reason_that_is_not_utf_8(cp: ChargePoint, link: Link) -> None:
    link.ws.transport.write(b"\x88\x04\x03\xe8\xff\xfe")


async def charge_point_closes(cp: ChargePoint, link: Link) -> None:
    await cp.close(code=1001, reason="going home")


ENDS = [
    (gateway_closes(1000, ""), Closed(1000, "", "gateway"), "Another connection with the same id"),
    (gateway_closes(1011, "oops"), Closed(1011, "oops", "gateway"), "connection lost, code 1011: oops"),
    (gateway_closes(1008, "no"), Closed(1008, "no", "gateway"), "connection lost, code 1008: no"),
    (gateway_closes(4321, "x"), Closed(4321, "x", "gateway"), "connection lost, code 4321: x"),
    (gateway_sends_an_empty_close_frame, Closed(1005, "", "gateway"), "connection lost, code 1005"),
    (gateway_aborts, Closed(1006, "", "network"), "No close frame came"),
    (gateway_shuts_its_side, Closed(1006, "", "network"), "No close frame came"),
    (gateway_goes_silent, Closed(1011, "keepalive ping timeout", "network"), "keepalive ping timeout"),
    (gateway_breaks_rfc_6455, Closed(1002, "invalid opcode", "network"), "connection lost, code 1002"),
    (
        gateway_closes_with_a_reason_that_is_not_utf_8,
        Closed(1007, "invalid start byte at position 0", "network"),
        "connection lost, code 1007",
    ),
    (charge_point_closes, Closed(1001, "going home", "charge point"), "was closed here"),
]


@pytest.mark.parametrize(
    ("end", "closed", "message"), ENDS, ids=[getattr(end, "__name__", "") + str(closed.code) for end, closed, _ in ENDS]
)
async def test_waiting_and_queued_calls_fail_when_the_connection_ends(
    csms: Csms, end: Any, closed: Closed, message: str
) -> None:
    csms.on["*"] = silent
    options = {"ping_interval": 20 * MS, "ping_timeout": 20 * MS} if end is gateway_goes_silent else {}
    async with ChargePoint("CP1", csms.url, close_timeout=20 * MS, call_timeout=100 * SOON, **options) as cp:
        calls = [spawn(cp.heartbeat()) for _ in range(5)]
        await until(lambda: csms.calls)
        await end(cp, csms.link)
        for number, result in enumerate(await asyncio.gather(*calls, return_exceptions=True)):
            assert type(result) is ConnectionLost, number
            assert result.closed == closed
            assert message in str(result)
            assert str(result).startswith("CP1: ")
        assert await cp.wait_closed(SOON) == closed
        assert cp.closed == closed
        with pytest.raises(ConnectionLost):
            await cp.heartbeat()
    assert len(csms.calls) == 1


async def test_a_missed_keepalive_is_not_blamed_on_the_gateways_inside(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, close_timeout=MS, ping_interval=10 * MS, ping_timeout=10 * MS) as cp:
        csms.link.stop_reading()
        await cp.wait_closed(SOON)
        with pytest.raises(ConnectionLost) as caught:
            await cp.heartbeat()
    assert "failed inside" not in str(caught.value)


async def test_what_explains_a_broken_connection_is_in_the_error(csms: Csms) -> None:
    why = ConnectError("the stack has died", url="ws://")
    async with ChargePoint("CP1", csms.url, explain=lambda: why) as cp:
        csms.once.append(abort)
        with pytest.raises(ConnectionLost, match="CP1: connection lost: the stack has died") as caught:
            await cp.heartbeat()
        assert caught.value.closed == Closed(1006, "", "network")
        await cp.connect()
        assert await cp.heartbeat()


async def test_an_explanation_that_fails_changes_nothing(csms: Csms, caplog: pytest.LogCaptureFixture) -> None:
    def explain() -> None:
        raise ZeroDivisionError

    async with ChargePoint("CP1", csms.url, explain=explain) as cp:
        csms.once.append(abort)
        with pytest.raises(ConnectionLost, match="No close frame came"):
            await cp.heartbeat()
    assert "why the connection was lost is not known" in caplog.text


@pytest.mark.parametrize("end", [gateway_closes(1011, ""), charge_point_closes], ids=["by the gateway", "here"])
async def test_a_connection_that_ends_with_a_close_frame_needs_no_explanation(csms: Csms, end: Any) -> None:
    asked = []
    async with ChargePoint("CP1", csms.url, explain=lambda: asked.append(True)) as cp:
        await end(cp, csms.link)
        await cp.wait_closed(SOON)
    assert asked == []


async def test_a_charge_point_without_a_thing_is_told_how_to_create_it() -> None:
    async with Csms(refuse=(1008, NOT_REGISTERED)) as csms, ChargePoint("CP1", csms.url) as cp:
        with pytest.raises(NotRegistered) as caught:
            await cp.boot()
    assert caught.value.charge_point_id == "CP1"
    assert caught.value.closed == Closed(1008, NOT_REGISTERED, "gateway")
    assert f"the gateway closed with 1008: {NOT_REGISTERED}." in str(caught.value)
    assert 'await stack.things.create("CP1")' in str(caught.value)
    assert (
        f"received 1008 (policy violation) {NOT_REGISTERED}; then sent 1008 (policy violation) {NOT_REGISTERED}"
        == str(caught.value.closed)
    )


@pytest.mark.parametrize("use", [USES[name] for name in ("boot", "heartbeat", "heartbeats", "call")])
async def test_not_registered_fails_whatever_waits_or_comes_after(csms: Csms, cp: ChargePoint, use: Any) -> None:
    csms.once.append(close(1008, NOT_REGISTERED))
    with pytest.raises(NotRegistered):
        await use(cp)
    with pytest.raises(NotRegistered):
        await use(cp)


async def test_queued_calls_fail_even_when_it_is_opened_again_at_once(csms: Csms, cp: ChargePoint) -> None:
    csms.once.append(held)
    calls = [spawn(cp.call(data_transfer(number))) for number in range(300)]
    await until(lambda: csms.held)
    csms.link.abort()
    await cp.wait_closed(SOON)
    await cp
    await cp.heartbeat()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {ConnectionLost}
    assert csms.actions == ["DataTransfer", "Heartbeat"]
    assert csms.overlaps == 0


async def test_an_answer_that_was_late_for_its_connection_is_ignored_on_the_next(csms: Csms, cp: ChargePoint) -> None:
    csms.once.append(held)
    lost = spawn(cp.heartbeat())
    await until(lambda: csms.held)
    csms.link.abort()
    with pytest.raises(ConnectionLost):
        await lost
    await cp
    await csms.link.answer(csms.calls[0])
    await round_trips(cp)
    assert cp.ignored == {"late": 1}


FAULTS: dict[str, Behaviour] = {
    "silent": silent,
    "close 1000": close(),
    "close 1008": close(1008, NOT_REGISTERED),
    "close 1011": close(1011),
    "abort": abort,
    "no JSON": garbage("no JSON"),
    "invalid UTF-8": garbage(b"\xff"),
    "CALLERROR": error("GenericError", "", {}),
    "bad schema": answer({"currentTime": 5}),
    "bad time": answer({"currentTime": "now"}),
    "error result": answer({"error": "Command [Heartbeat] not implemented."}),
    "a frame too large": garbage('"' + "x" * (2**20 + 1) + '"'),
    "bytes that are no frame": lambda link, asked: asyncio.sleep(0, link.ws.transport.write(b"\xff" * 100)),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_whatever_goes_wrong_is_an_error_of_the_kit(csms: Csms, fault: Behaviour) -> None:
    csms.on["Heartbeat"] = fault
    async with ChargePoint("CP1", csms.url, call_timeout=50 * MS, close_timeout=50 * MS) as cp:
        with pytest.raises(CpsimError, match=r"^CP1: "):
            await cp.heartbeat()


# -- Frames that are not OCPP-J ---------------------------------------------------------------------------------------

# What is sent, the version, the CALLERROR code of the answer (None: no answer), what it is counted as in `ignored`.
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
        await cp.heartbeat()  # the connection stays, and what was sent before has arrived
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


SPELLINGS = {
    "1.6": ("FormationViolation", "OccurenceConstraintViolation"),
    "2.0.1": ("FormatViolation", "OccurenceConstraintViolation"),
    "2.1": ("FormatViolation", "OccurrenceConstraintViolation"),
}


@pytest.mark.parametrize("version", SPELLINGS)
async def test_the_code_of_a_handlers_error_is_spelled_as_the_version_spells_it(csms: Csms, version: str) -> None:
    form, occurrence = SPELLINGS[version]
    async with ChargePoint("CP1", csms.url, version=version) as cp:
        for error_class, code in [
            (ocpp.exceptions.FormatViolationError, form),
            (ocpp.exceptions.FormationViolationError, form),
            (ocpp.exceptions.OccurenceConstraintViolationError, occurrence),
            (ocpp.exceptions.OccurrenceConstraintViolationError, occurrence),
        ]:

            def handler(error_class: type[Exception] = error_class) -> None:
                raise error_class()

            cp.on("ClearCache", handler)
            assert (await csms.call("ClearCache", {}))[2] == code


async def test_an_error_without_text_is_described_as_ocpp_j_does(csms: Csms, cp: ChargePoint) -> None:
    def handler(error_class: type[Exception]) -> Any:
        raise error_class()

    for kind, text in [
        (ocpp.exceptions.NotImplementedError, "The action is not known"),
        (ocpp.exceptions.NotSupportedError, "The action is known, but not supported"),
    ]:
        cp.on("ClearCache", functools.partial(handler, kind))
        assert (await csms.call("ClearCache", {}))[3] == text


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
    for depth, kind in [(100, 3), (900, 4)]:  # the second is deeper than JSON can be written
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
    """RFC 6455, 8.1."""
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


# -- Answering the CSMS -----------------------------------------------------------------------------------------------


async def test_an_async_handler_answers(csms: Csms, cp: ChargePoint) -> None:
    seen = []

    async def handler(**fields: Any) -> call_result.Reset:
        seen.append(fields)
        await asyncio.sleep(MS)
        return call_result.Reset(status="Scheduled", status_info={"reason_code": "busy"})

    cp.on("Reset", handler)
    answer = await csms.call("Reset", {"type": "OnIdle", "evseId": 1})
    assert answer[2] == {"status": "Scheduled", "statusInfo": {"reasonCode": "busy"}}
    assert seen == [{"type": "OnIdle", "evse_id": 1}]


async def test_a_sync_handler_answers(csms: Csms, cp: ChargePoint) -> None:
    cp.on("Reset", lambda **_: call_result.Reset(status="Accepted"))
    assert (await csms.call("Reset", RESET))[2] == {"status": "Accepted"}


async def test_a_handler_of_1_6_answers(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, version="1.6") as cp:
        cp.on("Reset", lambda **_: call_result16.Reset(status="Accepted"))
        assert (await csms.call("Reset", {"type": "Hard"}))[2] == {"status": "Accepted"}


@pytest.mark.parametrize(
    "result",
    [
        {"status": "Accepted", "statusInfo": {"reasonCode": "ok"}},
        {"status": "Accepted", "status_info": {"reason_code": "ok"}},
    ],
)
async def test_a_handler_may_return_a_dict(csms: Csms, cp: ChargePoint, result: dict[str, Any]) -> None:
    cp.on("Reset", lambda **_: result)
    assert (await csms.call("Reset", RESET))[2] == {"status": "Accepted", "statusInfo": {"reasonCode": "ok"}}


async def test_a_handler_of_an_unknown_action_is_refused_with_those_alike() -> None:
    cp = ChargePoint("CP1", "ws://127.0.0.1:1")
    with pytest.raises(ValueError, match=r"OCPP 2\.0\.1 has no action 'Rest'; did you mean Reset"):
        cp.on("Rest", reset_accepted)


async def test_a_later_handler_replaces_the_earlier(csms: Csms, cp: ChargePoint) -> None:
    cp.on("Reset", reset_accepted)
    cp.on("Reset", lambda **_: call_result.Reset(status="Rejected"))
    assert (await csms.call("Reset", RESET))[2] == {"status": "Rejected"}


async def test_handlers_outlive_the_connection(csms: Csms, cp: ChargePoint) -> None:
    cp.on("Reset", reset_accepted)
    await cp.close()
    await cp
    assert (await csms.call("Reset", RESET))[2] == {"status": "Accepted"}


async def test_a_handler_may_call_the_csms(csms: Csms, cp: ChargePoint) -> None:
    async def handler(**_: Any) -> call_result.Reset:
        await cp.call(data_transfer("from the handler"))
        return call_result.Reset(status="Accepted")

    cp.on("Reset", handler)
    csms.on["Heartbeat"] = held
    waiting = spawn(cp.heartbeat())
    await until(lambda: csms.held)
    asking = spawn(csms.call("Reset", RESET))
    await csms.release()
    await waiting
    assert (await asking)[2] == {"status": "Accepted"}
    assert csms.actions == ["Heartbeat", "DataTransfer"]
    assert csms.overlaps == 0


async def test_a_slow_handler_blocks_nothing(csms: Csms, cp: ChargePoint) -> None:
    go = asyncio.Event()

    async def slow(**_: Any) -> call_result.Reset:
        await go.wait()
        return call_result.Reset(status="Accepted")

    cp.on("Reset", slow)
    cp.on("ClearCache", lambda: call_result.ClearCache(status="Accepted"))
    slow_answer = spawn(csms.call("Reset", RESET))
    await csms.call("ClearCache")
    await cp.heartbeat()
    assert not slow_answer.done()
    go.set()
    assert (await slow_answer)[2] == {"status": "Accepted"}


async def test_close_waits_only_so_long_for_a_handler_that_outlives_its_cancellation(
    csms: Csms, caplog: pytest.LogCaptureFixture
) -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def stubborn(**_: Any) -> call_result.Reset:
        begun.set()
        while not go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go.wait()
        return call_result.Reset(status="Accepted")

    cp = await ChargePoint("CP1", csms.url, close_timeout=20 * MS)
    cp.on("Reset", stubborn)
    for _ in range(2):  # the second time with the one of the first still at work
        begun.clear()
        await cp
        await csms.link.send([2, "1", "Reset", RESET])
        await begun.wait()
        await cp.close()
        assert cp.closed == Closed(1000, "", "charge point")
    go.set()
    assert caplog.text.count("CP1: closed while 1 handlers go on, though cancelled") == 2
    await until(lambda: not cpsim_tasks())
    assert csms.answers == []


async def test_a_handler_that_ends_soon_after_its_cancellation_still_answers(csms: Csms, cp: ChargePoint) -> None:
    begun = asyncio.Event()

    async def tidy(**_: Any) -> call_result.Reset:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return call_result.Reset(status="Rejected")

    cp.on("Reset", tidy)
    asking = spawn(csms.call("Reset", RESET))
    await begun.wait()
    await cp.close()
    assert (await asking)[2] == {"status": "Rejected"}


class Routed(ChargePoint):
    """Routes of the ocpp package: @on, @after, call_unique_id and skip_schema_validation."""

    def __init__(self, url: str) -> None:
        super().__init__("CP1", url)
        self.seen: list[Any] = []

    @on("Reset")
    async def on_reset(self, call_unique_id: str, **fields: Any) -> call_result.Reset:
        self.seen.append(("on", fields, call_unique_id))
        return call_result.Reset(status="Accepted")

    @after("Reset")
    async def after_reset(self, call_unique_id: str, **fields: Any) -> None:
        self.seen.append(("after", fields, call_unique_id))
        await self.call(data_transfer("after"))

    @on("ClearCache")
    def on_clear_cache(self) -> call_result.ClearCache:
        return call_result.ClearCache(status="Accepted")

    @after("ClearCache")
    def after_clear_cache(self) -> None:
        raise RuntimeError("it does not matter any more")

    @on("GetLog", skip_schema_validation=True)
    def on_get_log(self, **fields: Any) -> call_result.GetLog:
        self.seen.append(fields)
        return call_result.GetLog(status="OutOfSchema")


@pytest.fixture
async def routed(csms: Csms) -> AsyncIterator[Routed]:
    async with Routed(csms.url) as cp:
        yield cp


async def test_on_and_after_of_a_subclass_run_around_the_answer(csms: Csms, routed: Routed) -> None:
    (kind, message_id, payload) = await csms.call("Reset", RESET)
    assert (kind, payload) == (3, {"status": "Accepted"})
    await until(lambda: csms.actions == ["DataTransfer"])
    assert routed.seen == [("on", RESET, message_id), ("after", RESET, message_id)]


async def test_what_fails_after_the_answer_is_logged_only(
    csms: Csms, routed: Routed, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await csms.call("ClearCache"))[2] == {"status": "Accepted"}
    await until(lambda: "the @after handler of ClearCache failed" in caplog.text)
    await routed.heartbeat()
    assert len(csms.answers) == 1


async def test_skip_schema_validation_lets_any_object_pass_both_ways(csms: Csms, routed: Routed) -> None:
    answer = await csms.call("GetLog", {"no": "schema", "requestId": "one"})
    assert routed.seen == [{"no": "schema", "request_id": "one"}]
    assert answer[2] == {"status": "OutOfSchema"}


async def test_a_handler_given_later_replaces_on(csms: Csms, routed: Routed) -> None:
    routed.on("Reset", lambda **_: call_result.Reset(status="Rejected"))
    assert (await csms.call("Reset", RESET))[2] == {"status": "Rejected"}
    await until(lambda: csms.actions == ["DataTransfer"])  # @after runs still


@pytest.mark.parametrize(
    ("exc", "code", "description", "details"),
    [
        (ocpp.exceptions.SecurityError("no", {"a": 1}), "SecurityError", "no", {"a": 1}),
        (ocpp.exceptions.NotSupportedError("no"), "NotSupported", "no", {}),
        (ocpp.exceptions.GenericError(), "GenericError", "Any other error not all other OCPP defined errors", {}),
        (ocpp.exceptions.FormatViolationError("x" * 300), "FormatViolation", "x" * 255, {}),
        (ocpp.exceptions.GenericError("no", {"a": object()}), "GenericError", "no", {}),
        (ocpp.exceptions.OCPPError("it has no code"), "GenericError", "it has no code", {}),
        (KeyError("connector"), "InternalError", "KeyError: 'connector'", {}),
        (RuntimeError("x" * 300), "InternalError", ("RuntimeError: " + "x" * 300)[:255], {}),
        (TimeoutError(), "InternalError", "TimeoutError: ", {}),
        (ConnectError("no", url="ws://"), "InternalError", "ConnectError: no", {}),
    ],
)
async def test_a_handlers_exception_becomes_a_callerror(
    csms: Csms, cp: ChargePoint, exc: Exception, code: str, description: str, details: Any
) -> None:
    def handler(**_: Any) -> None:
        raise exc

    cp.on("Reset", handler)
    assert (await csms.call("Reset", RESET))[2:] == [code, description, details]
    await cp.heartbeat()
    assert len(csms.answers) == 1


@pytest.mark.parametrize(
    "result",
    [
        None,
        "Accepted",
        5,
        [],
        call_result.Reset(status="Perhaps"),
        call_result.Reset(status=None),
        call_result16.Heartbeat(current_time="now"),
        {"status": "Accepted", "more": 1},
        {"status": "Accepted", "customData": {"vendorId": "x", "set": {1}}},
        {"status": "Accepted", "customData": {"vendorId": "x", "big": 2**70}},
        {"status": "Accepted", "customData": {"vendorId": "x", "text": "\ud800"}},
    ],
    ids=str,
)
async def test_a_handlers_invalid_answer_becomes_an_internal_error(csms: Csms, cp: ChargePoint, result: Any) -> None:
    cp.on("Reset", lambda **_: result)
    answer = await csms.call("Reset", RESET)
    assert (answer[0], answer[2], answer[4]) == (4, "InternalError", {})
    assert 0 < len(answer[3]) <= 255
    await cp.heartbeat()
    assert len(csms.answers) == 1


@pytest.mark.parametrize("result", [None, "Accepted", {"status": {1, 2}}], ids=str)
async def test_an_unchecked_answer_is_an_object_that_json_can_hold_all_the_same(csms: Csms, result: Any) -> None:
    class Unchecked(ChargePoint):
        @on("Reset", skip_schema_validation=True)
        def on_unchecked_reset(self, **_: Any) -> Any:
            return result

    async with Unchecked("CP1", csms.url) as cp:
        answer = await csms.call("Reset", RESET)
        assert (answer[0], answer[2]) == (4, "InternalError")
        await cp.heartbeat()


async def test_a_handler_that_does_not_take_the_payload_is_an_internal_error(csms: Csms, cp: ChargePoint) -> None:
    cp.on("Reset", lambda: call_result.Reset(status="Accepted"))
    answer = await csms.call("Reset", RESET)
    assert answer[2] == "InternalError"
    assert "TypeError" in answer[3]


async def test_a_handler_may_close_the_connection(csms: Csms, cp: ChargePoint) -> None:
    async def handler(**_: Any) -> call_result.Reset:
        await cp.close(code=1012, reason="reset")
        return call_result.Reset(status="Accepted")

    cp.on("Reset", handler)
    asking = spawn(csms.call("Reset", RESET))
    assert await cp.wait_closed(SOON) == Closed(1012, "reset", "charge point")
    await cp.close()
    assert cpsim_tasks() == set()
    asking.cancel()


async def test_close_cancels_handlers_that_run(csms: Csms, cp: ChargePoint) -> None:
    ended = []

    async def handler(**_: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    cp.on("Reset", handler)
    asking = spawn(csms.call("Reset", RESET))
    await until(lambda: "cpsim[CP1].handler" in cpsim_tasks())
    await cp.close()
    assert ended == [True]
    assert cpsim_tasks() == set()
    asking.cancel()


async def test_a_handler_does_not_answer_on_the_next_connection(csms: Csms, cp: ChargePoint) -> None:
    go = asyncio.Event()

    async def handler(**_: Any) -> call_result.Reset:
        await go.wait()
        return call_result.Reset(status="Accepted")

    cp.on("Reset", handler)
    asking = spawn(csms.call("Reset", RESET))
    await until(lambda: "cpsim[CP1].handler" in cpsim_tasks())
    csms.link.abort()
    await cp.wait_closed(SOON)
    await cp
    go.set()
    await until(lambda: "cpsim[CP1].handler" not in cpsim_tasks())
    await round_trips(cp)
    assert csms.answers == []
    asking.cancel()


# -- Heartbeats -------------------------------------------------------------------------------------------------------

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


# -- Options ----------------------------------------------------------------------------------------------------------


async def test_a_password_is_sent_as_basic_authentication(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, password="sécret", headers={"X-Tenant": "7"}):
        pass
    header = csms.requests[0].headers["Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "CP1:sécret"
    assert csms.requests[0].headers["X-Tenant"] == "7"


@pytest.mark.parametrize("kind", [bytes, bytearray])
async def test_the_octets_of_a_password_of_bytes_are_sent(csms: Csms, kind: type) -> None:
    """OCPP 1.6's AuthorizationKey is written in hexadecimal digits; its octets are the password."""
    key = kind.fromhex("00ff80c0" * 5)
    async with ChargePoint("CP1", csms.url, password=key):
        scheme, _, credentials = csms.requests[0].headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(credentials)) == ("Basic", b"CP1:" + key)


async def test_without_a_password_there_is_no_authorization(csms: Csms, cp: ChargePoint) -> None:
    assert "Authorization" not in csms.requests[0].headers


async def test_compression_is_off_unless_asked_for(csms: Csms, cp: ChargePoint) -> None:
    assert "Sec-WebSocket-Extensions" not in csms.requests[0].headers
    async with ChargePoint("CP1", csms.url, compression="deflate") as compressed:
        await compressed.call(data_transfer("x" * 10_000))
        assert "permessage-deflate" in csms.requests[1].headers["Sec-WebSocket-Extensions"]
        assert csms.link.ws.protocol.extensions


async def test_max_messages_bounds_the_record(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, max_messages=3) as cp:
        await round_trips(cp)
        assert (len(cp.messages), cp.messages.dropped) == (3, 1)


async def test_keepalive_keeps_an_idle_connection_that_answers(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, ping_interval=5 * MS, ping_timeout=SOON) as cp:
        with pytest.raises(WaitTimeout):
            await cp.wait_closed(100 * MS)
        await cp.heartbeat()


async def test_without_keepalive_a_silent_gateway_is_not_noticed(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, ping_interval=None, close_timeout=20 * MS) as cp:
        csms.link.stop_reading()
        with pytest.raises(WaitTimeout):
            await cp.wait_closed(50 * MS)


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A CSMS that wants a client certificate: OCPP's security profile 3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
async def secure_csms(server_tls: ssl.SSLContext) -> AsyncIterator[Csms]:
    async with Csms(ssl=server_tls) as csms:
        yield csms


def client_tls(trusted: trustme.CA, issuer: trustme.CA | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    trusted.configure_trust(context)
    if issuer is not None:
        issuer.issue_cert("CP1.example", common_name="CP1").configure_cert(context)
    return context


async def test_a_client_certificate_identifies_the_charge_point(secure_csms: Csms, authority: trustme.CA) -> None:
    context = client_tls(authority, authority)
    async with ChargePoint("CP1", secure_csms.url, ssl=context) as cp:
        await cp.heartbeat()
        certificate = secure_csms.link.ws.transport.get_extra_info("peercert")
    assert ((("commonName", "CP1"),)) in certificate["subject"]


async def test_a_gateway_of_an_unknown_authority_is_not_trusted(secure_csms: Csms, authority: trustme.CA) -> None:
    cp = ChargePoint("CP1", secure_csms.url, ssl=client_tls(trustme.CA(), authority))
    with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        await cp
    assert "not of an authority that is trusted here. Whom to trust, ssl= says: ssl=ssl.create" in str(caught.value)
    assert "Is the stack running" not in str(caught.value)


async def test_without_a_context_the_systems_authorities_decide(secure_csms: Csms) -> None:
    with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        await ChargePoint("CP1", secure_csms.url)


async def test_a_certificate_for_another_name_is_not_trusted(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("csms.example").configure_cert(context)
    async with Csms(ssl=context) as csms:
        with pytest.raises(ConnectError, match=r"IP address mismatch.* Its certificate is for another address"):
            await ChargePoint("CP1", csms.url, ssl=client_tls(authority, None))
        with pytest.raises(ConnectError, match=r"Hostname mismatch.* Its certificate is for another name"):
            await ChargePoint("CP1", csms.url.replace("127.0.0.1", "localhost"), ssl=client_tls(authority, None))


async def test_a_certificate_that_has_expired_is_not_trusted(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC)).configure_cert(context)
    async with Csms(ssl=context) as csms:
        with pytest.raises(ConnectError, match="Its certificate has expired; is the clock of this computer right"):
            await ChargePoint("CP1", csms.url, ssl=client_tls(authority, None))


@pytest.mark.parametrize("stranger", [False, True], ids=["none", "of another authority"])
async def test_without_a_good_client_certificate_it_does_not_open(
    secure_csms: Csms, authority: trustme.CA, stranger: bool
) -> None:
    context = client_tls(authority, trustme.CA() if stranger else None)
    with pytest.raises(ConnectError, match=r"Does it ask for a client certificate\? The context in ssl= has one"):
        await ChargePoint("CP1", secure_csms.url, ssl=context)


# -- Wrong arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((5, "ws://127.0.0.1:9"), r"a charge point id is a string, .* not 5"),
        (("CP1", None), "CP1: the CSMS's address is a string, .* not None"),
        (("CP1", b"ws://127.0.0.1:9"), "CP1: the CSMS's address is a string"),
        (
            ("CP1", SimpleNamespace(websocket_url="")),
            r"use await stack\.charge_point\('CP1'\), or stack\.websocket_url",
        ),
    ],
)
def test_arguments_of_another_type_are_refused_in_words(arguments: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        ChargePoint(*arguments)


WRONG_TYPES = {
    "version": [1.6, 201, None],
    "password": [5, ["secret"], memoryview(b"secret")],
    "ssl": [False, True, "ca.pem"],
    "headers": ["X-Name: value", 5, {"X-Name": 5}, {"X-Name": b"value"}, {b"X-Name": "value"}, {"X-Name": None}],
    "compression": [True, 5],
    "open_timeout": ["5", None, True, timedelta(seconds=5)],
    "call_timeout": ["5", None, True, timedelta(seconds=5)],
    "close_timeout": ["5", None, True, [5]],
    "ping_interval": ["20", False],
    "ping_timeout": ["20", False],
    "max_messages": ["10", 1.5, True],
    "modem": ["891004234814455936F", ["iccid", "imsi"], {"iccid": 8910}, {"imsi": None}, {"imei": "2"}],
    "observe": [5, "print"],
    "explain": [5],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG_TYPES.items() for value in values])
def test_an_option_of_a_wrong_type_is_refused_in_words(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"CP1: {name}= (is|takes) ") as caught:
        ChargePoint("CP1", "wss://127.0.0.1:9", **{name: value})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_messages": -1}, r"max_messages is .* not -1"),
        ({"open_timeout": -1}, r"CP1: open_timeout= is 0 or more seconds, not -1"),
        ({"call_timeout": float("nan")}, r"CP1: call_timeout= is 0 or more seconds, not nan"),
        ({"close_timeout": -0.5}, r"CP1: close_timeout= is 0 or more seconds, not -0\.5"),
        ({"ping_interval": 0}, r"CP1: ping_interval= is more than 0 seconds, not 0"),
        ({"ping_timeout": -1}, r"CP1: ping_timeout= is 0 or more seconds, not -1"),
        ({"headers": {"X Name": "value"}}, "an HTTP header cannot have the name 'X Name'"),
        ({"headers": {"X-Name\r\nY": "value"}}, "an HTTP header cannot have the name"),
        ({"headers": {"X-Name": "value\r\nY: z"}}, "X-Name has a line break"),
        ({"password": "secret\n"}, r"password= begins or ends with a line break"),
        (
            {"password": "secret", "headers": {"authorization": "Bearer secret"}},
            "password= makes an Authorization header",
        ),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_words(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        ChargePoint("CP1", "ws://127.0.0.1:9", **options)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("options", [{"password": "secret"}, {"headers": {"authorization": "Bearer secret"}}])
def test_two_users_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="CP1: there is a user in the CSMS's address, and password=") as caught:
        ChargePoint("CP1", "ws://me:secret@127.0.0.1:9", **options)
    assert "secret" not in str(caught.value)


async def test_an_identity_with_a_colon_has_no_password(csms: Csms) -> None:
    """HTTP Basic authentication ends the user at the first colon."""
    with pytest.raises(ValueError, match="CP:1: an id with a colon cannot be the user of HTTP Basic"):
        ChargePoint("CP:1", csms.url, password="secret")
    async with ChargePoint("CP:1", csms.url) as cp:
        await cp.heartbeat()


async def test_numbers_of_numpy_are_seconds_and_counts(csms: Csms) -> None:
    options = {"open_timeout": np.float64(SOON), "call_timeout": np.float32(SOON), "max_messages": np.int64(3)}
    async with ChargePoint("CP1", csms.url, **options) as cp:
        for _ in range(3):
            await cp.heartbeat(timeout=np.int64(SOON))
        assert len(cp.messages) == 3


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


@pytest.mark.parametrize(("code", "reason"), [("1000", ""), (1000, None), (1000, b"why"), (None, "")])
async def test_a_close_code_or_reason_of_a_wrong_type_is_refused_and_the_connection_stays(
    cp: ChargePoint, code: Any, reason: Any
) -> None:
    with pytest.raises(TypeError, match="a close frame carries a number and a string"):
        await cp.close(code=code, reason=reason)
    await cp.heartbeat()


@pytest.mark.parametrize("handler", [None, 3, "Reset"])
def test_a_handler_is_a_function(handler: Any) -> None:
    with pytest.raises(TypeError, match="CP1: what answers Reset is a function, not"):
        ChargePoint("CP1", "ws://127.0.0.1:9").on("Reset", handler)


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


# -- What does not open -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000",
        "https://127.0.0.1:9000",
        "127.0.0.1:9000",
        "localhost",
        "",
        "ws://",
        "ws://:9000",
        "ws://[::1",
        "ws://[nonsense]:9000",
        "ws://127.0.0.1:99999",
        "ws://127.0.0.1:port",
        "ws://127.0.0.1:9000#fragment",
        "ws://" + "x" * 70 + ".example",
        "ws://..",
        "ws://user@127.0.0.1:9000",
    ],
)
async def test_a_bad_address_is_a_connect_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)
    cp = ChargePoint("CP1", url, open_timeout=SOON)
    with pytest.raises(ConnectError, match=r"^CP1: cannot connect to") as caught:
        await cp
    assert (caught.value.url, caught.value.status) == (cp.url, None)
    assert caught.value.__cause__ is not None
    assert repr(cp) == "<ChargePoint CP1 new ocpp2.0.1>"


@pytest.mark.parametrize("address", ["ws://me:secret@127.0.0.1:1", "http://me:secret@127.0.0.1:1"])
async def test_the_password_of_an_address_is_not_in_the_error(address: str) -> None:
    with pytest.raises(ConnectError, match="://…@127") as caught:
        await ChargePoint("CP1", address, open_timeout=SOON)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.url == f"{address}/CP1"


async def test_a_refused_port_is_a_connect_error() -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectError, match=r"Is the stack running, and the address right\?") as caught:
            await ChargePoint("CP1", f"ws://127.0.0.1:{bound.getsockname()[1]}")
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_name_that_does_not_resolve_is_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)
    with pytest.raises(ConnectError, match=r"cannot connect to ws://nowhere\.invalid:9000/CP1"):
        await ChargePoint("CP1", "ws://nowhere.invalid:9000", open_timeout=2 * SOON)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_server_that_never_answers_is_a_connect_error(scheme: str) -> None:
    async with raw_server() as server:
        cp = ChargePoint("CP1", f"{scheme}://127.0.0.1:{server.port}", open_timeout=30 * MS)
        with pytest.raises(ConnectError, match=r"did not answer within .* s") as caught:
            await cp
    assert caught.value.status is None


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "wrong or missing password="),
        (403, "not allowed"),
        (400, "is this a CSMS's WebSocket address, and does it speak ocpp2.0.1?"),
        (404, "wrong path in the address, or a charge point id that it does not know"),
        (405, "is this a CSMS's WebSocket address?"),
        (426, "is this a CSMS's WebSocket address?"),
        (501, "is this a CSMS's WebSocket address?"),
        (408, "the address is right, but it was too slow; try again"),
        (429, "the address is right, but too many connect to it; try again"),
        (500, "the address is right, but it failed inside; try again"),
        (502, "the address is right, but the CSMS behind it is not there at the moment; try again"),
        (503, "the address is right, but the CSMS behind it is not there at the moment; try again"),
        (504, "the address is right, but the CSMS behind it is not there at the moment; try again"),
        (507, "the address is right, but the CSMS behind it is not there at the moment; try again"),
    ],
)
async def test_a_refused_handshake_tells_the_http_status(status: int, hint: str) -> None:
    async with Csms(status=status) as csms:
        cp = ChargePoint("CP1", csms.url)
        with pytest.raises(ConnectError) as caught:
            await cp
        assert str(caught.value).endswith(f"refused the handshake with HTTP {status}: {hint}")
        assert (caught.value.status, caught.value.url) == (status, csms.url + "/CP1")


@pytest.mark.parametrize("subprotocols", [[], ["ocpp1.6", "ocpp2.0"]])
async def test_no_common_subprotocol_is_a_connect_error_that_says_what_to_choose(subprotocols: list[str]) -> None:
    async with Csms(subprotocols=subprotocols) as csms:
        cp = ChargePoint("CP1", csms.url)
        with pytest.raises(ConnectError, match=r'does not speak ocpp2\.0\.1 .* choose version="1\.6"') as caught:
            await cp
        assert caught.value.url == csms.url + "/CP1"
        assert not cp.is_open


@pytest.mark.parametrize(
    ("retry_after", "when"),
    [
        (b"Retry-After: 5", " in 5 s"),
        (b"retry-after:  120 ", " in 120 s"),
        (b"Retry-After: Fri, 31 Dec 2027 23:59:59 GMT", " after 2027-12-31 23:59:59 UTC"),
        (b"Retry-After: soon", ""),
        (b"Retry-After: -1", ""),
        (b"Retry-After:", ""),
    ],
)
async def test_a_refusal_that_says_when_to_try_again_is_repeated(retry_after: bytes, when: str) -> None:
    reply = b"HTTP/1.1 503 Service Unavailable\r\n%s\r\nContent-Length: 5\r\n\r\nsorry" % retry_after
    async with raw_server(reply) as server:
        with pytest.raises(ConnectError) as caught:
            await ChargePoint("CP1", f"ws://127.0.0.1:{server.port}")
    assert str(caught.value).endswith(f"; try again{when}")
    assert caught.value.status == 503


class OneVersion(Csms):
    """A CSMS that names its subprotocol whatever was offered, against RFC 6455, 4.2.2."""

    def _select_subprotocol(self, ws: Any, offered: Any) -> Any:
        return self._subprotocols[0]


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize(
    ("version", "answered", "hint"),
    [
        ("2.0.1", "ocpp1.6", "'ocpp1.6': choose version=\"1.6\""),
        ("1.6", "ocpp2.0.1", "'ocpp2.0.1': choose version=\"2.0.1\""),
        ("2.0.1", "ocpp2.1", "'ocpp2.1': choose version=\"2.1\""),
        ("2.0.1", "ocpp2.0", "'ocpp2.0'. The AWS OCPP Gateway lists ocpp1.6"),
        ("2.0.1", "mqtt", "'mqtt'. The AWS OCPP Gateway lists ocpp1.6"),
    ],
)
async def test_another_subprotocol_than_offered_is_a_connect_error_that_says_what_to_choose(
    version: str, answered: str, hint: str, compression: str | None
) -> None:
    async with OneVersion(subprotocols=[answered]) as csms:
        cp = ChargePoint("CP1", csms.url, version=version, compression=compression)
        with pytest.raises(ConnectError) as caught:
            await cp
    message = f"CP1: {csms.url}/CP1 does not speak ocpp{version} (OCPP {version}), it answers with the subprotocol "
    assert str(caught.value).startswith(message + hint)
    assert (caught.value.url, caught.value.status, cp.is_open) == (cp.url, None, False)


REPLIES = {
    "hangs up": b"",
    "speaks SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "is a web page": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "says 101 to somebody else": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: bm90IHlvdXJzLCBub3QgeW91cnM=\r\n\r\n"
    ),
    "says 101 to HTTP/2": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "redirects to http": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
    "redirects to itself": b"HTTP/1.1 302 Found\r\nLocation: /CP1\r\nContent-Length: 0\r\n\r\n",
    "redirects to nonsense": b"HTTP/1.1 302 Found\r\nLocation: ws://[\r\nContent-Length: 0\r\n\r\n",
    "sends no end of headers": b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: y\r\n" * 1000,
    "sends one long header": b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"y" * 100_000,
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
async def test_a_server_that_is_no_csms_is_a_connect_error(reply: bytes) -> None:
    async with raw_server(reply) as server:
        with pytest.raises(ConnectError, match=r"^CP1: "):
            await ChargePoint("CP1", f"ws://127.0.0.1:{server.port}", open_timeout=SOON)


async def test_tls_to_a_server_without_is_a_connect_error(csms: Csms) -> None:
    with pytest.raises(ConnectError, match=r"the other side hung up\. Does it speak TLS\?"):
        await ChargePoint("CP1", csms.url.replace("ws://", "wss://"))


async def test_no_tls_to_a_server_with_is_a_connect_error(secure_csms: Csms) -> None:
    with pytest.raises(ConnectError, match="If it speaks TLS, it begins with wss://"):
        await ChargePoint("CP1", secure_csms.url.replace("wss://", "ws://"))


@pytest.mark.parametrize(
    "options",
    [
        {"ssl": ssl.create_default_context()},
        {"compression": "zip"},
        {"headers": {"X-Name": "\N{SNOWMAN}"}},
    ],
    ids=["TLS context for ws://", "unknown compression", "header that HTTP cannot carry"],
)
async def test_an_option_that_cannot_work_is_a_connect_error(csms: Csms, options: dict[str, Any]) -> None:
    with pytest.raises(ConnectError):
        await ChargePoint("CP1", csms.url, **options)


async def test_it_may_be_tried_again_after_it_did_not_open() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        cp = ChargePoint("CP1", f"ws://127.0.0.1:{port}")
        for _ in range(2):
            with pytest.raises(ConnectError):
                await cp


# -- Proxies ----------------------------------------------------------------------------------------------------------

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy", "socks_proxy", "no_proxy")


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_proxy_is_used_on_this_machine(
    csms: Csms, secure_csms: Csms, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    without_proxies(monkeypatch)
    async with raw_server(b"") as proxy:
        for name in PROXIES[:-1]:
            monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{proxy.port}")
        async with ChargePoint("CP1", csms.url.replace("127.0.0.1", host)) as cp:
            await cp.heartbeat()
        context = client_tls(authority, authority)
        async with ChargePoint("CP1", secure_csms.url.replace("127.0.0.1", host), ssl=context) as cp:
            await cp.heartbeat()
    assert proxy.received == []


async def test_the_proxy_of_the_environment_is_used_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)
    async with raw_server(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(ConnectError, match="502"):
            await ChargePoint("CP1", "ws://csms.example:9000")
    assert proxy.received[0].startswith(b"CONNECT csms.example:9000 HTTP/1.1\r\n")


async def test_a_proxy_that_needs_another_package_is_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1")
    monkeypatch.setenv("SOCKS_PROXY", "socks5h://127.0.0.1:1")
    with pytest.raises(ConnectError):
        await ChargePoint("CP1", "ws://csms.example:9000")


# -- Nothing is left behind -------------------------------------------------------------------------------------------


async def test_no_task_survives_close(csms: Csms) -> None:
    async def never(**_: Any) -> None:
        await asyncio.Event().wait()

    before = open_sockets()
    cp = await ChargePoint("CP1", csms.url)
    assert cpsim_tasks() == set(), "an open connection needs none"
    cp.on("Reset", never)
    asking = asyncio.create_task(csms.call("Reset", {"type": "Immediate"}))
    await until(lambda: cpsim_tasks() == {"cpsim[CP1].handler"})
    await cp.close()
    assert cpsim_tasks() == set()
    asking.cancel()
    await until(lambda: open_sockets() <= before, "the sockets to be closed")


async def test_no_task_survives_an_error_in_the_body(csms: Csms) -> None:
    cp = ChargePoint("CP1", csms.url)

    async def body() -> None:
        async with cp:
            await cp.heartbeat()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
    assert cpsim_tasks() == set()
    assert cp.closed == Closed(1000, "", "charge point")


async def test_no_task_survives_a_cancelled_body(csms: Csms) -> None:
    entered = asyncio.Event()

    async def body() -> None:
        async with ChargePoint("CP1", csms.url):
            entered.set()
            await asyncio.Event().wait()

    task = spawn(body())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cpsim_tasks() == set()


async def test_no_task_survives_a_timeout_around_the_body(csms: Csms) -> None:
    csms.on["*"] = silent
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(20 * MS), ChargePoint("CP1", csms.url) as cp:
            await cp.heartbeat()
    assert cpsim_tasks() == set()


async def test_connecting_may_be_cancelled_at_any_moment(csms: Csms) -> None:
    opened = 0
    for turns in range(60):
        cp = ChargePoint("CP1", csms.url)
        connecting = spawn(cp.connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.wait([connecting])
        if connecting.cancelled():
            assert not cp.is_open
            assert cpsim_tasks() == set()
        else:
            opened += 1
            await cp.close()
    assert 0 < opened < 60


async def test_connecting_to_what_speaks_no_common_subprotocol_may_be_cancelled() -> None:
    async with Csms(subprotocols=[]) as csms:
        before = open_sockets()
        cp = ChargePoint("CP1", csms.url)
        connecting = spawn(cp.connect())
        await until(lambda: csms.links)
        csms.link.stop_reading()  # no close frame comes back
        await asyncio.sleep(20 * MS)
        connecting.cancel()
        with pytest.raises((asyncio.CancelledError, ConnectError)):
            await connecting
        await until(lambda: len(open_sockets() - before) <= 1, "the socket to be closed; the other one is the stub's")


async def test_connecting_to_a_silent_server_may_be_cancelled() -> None:
    async with raw_server() as server:
        connecting = spawn(ChargePoint("CP1", f"ws://127.0.0.1:{server.port}").connect())
        await until(lambda: server.received)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


async def test_closing_may_be_cancelled_at_any_moment(csms: Csms) -> None:
    for turns in range(30):
        cp = await ChargePoint("CP1", csms.url)
        closing = spawn(cp.close())
        for _ in range(turns):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        if turns:  # else it had not begun
            assert cpsim_tasks() == set()
            assert not cp.is_open
        await cp.close()


async def test_a_cancelled_body_does_not_wait_for_a_silent_gateway(csms: Csms) -> None:
    async def body() -> None:
        async with ChargePoint("CP1", csms.url, close_timeout=100 * SOON) as cp:
            csms.link.stop_reading()
            closing.set()
            await cp.close()

    closing = asyncio.Event()
    task = spawn(body())
    await closing.wait()
    await asyncio.sleep(5 * MS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cpsim_tasks() == set()
