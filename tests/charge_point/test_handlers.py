"""The handlers of a charge point, and its answers to the CSMS's CALLs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Any

import ocpp.exceptions
import pytest
from charge_point_fixtures import RESET, data_transfer, reset_accepted, round_trips, spawn
from conftest import MS, SOON, cpsim_tasks, until
from csms_stub import (
    Csms,
    held,
)
from ocpp.routing import after, on
from ocpp.v16 import call_result as call_result16
from ocpp.v201 import call_result

from cpsim_kit.charge_point.charge_point import ChargePoint
from cpsim_kit.errors import (
    Closed,
    ConnectError,
)

pytestmark = pytest.mark.usefixtures("no_hang")


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


async def test_a_handler_is_looked_for_where_none_was_given(csms: Csms, cp: ChargePoint) -> None:
    asked: list[str] = []

    def find(action: str) -> Any:
        asked.append(action)
        return reset_accepted if action == "Reset" else None

    cp.on_other(find)
    cp.on("ClearCache", lambda: call_result.ClearCache(status="Accepted"))
    assert (await csms.call("Reset", RESET))[2] == {"status": "Accepted"}
    assert (await csms.call("ClearCache"))[2] == {"status": "Accepted"}
    assert (await csms.call("GetLocalListVersion"))[2] == "NotSupported"
    assert (await csms.call("Hello"))[2] == "NotImplemented"
    assert asked == ["Reset", "GetLocalListVersion"]


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
    for _ in range(2):  # in the second round, the first handler is still running
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
    """A charge point with routes of the ocpp package: @on, @after, call_unique_id and skip_schema_validation."""

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
    await until(lambda: csms.actions == ["DataTransfer"])  # @after is still running


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


@pytest.mark.parametrize("handler", [None, 3, "Reset"])
def test_a_handler_is_a_function(handler: Any) -> None:
    with pytest.raises(TypeError, match="CP1: the handler of Reset is a function, not"):
        ChargePoint("CP1", "ws://127.0.0.1:9").on("Reset", handler)
