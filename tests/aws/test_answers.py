"""stack.answer_with: a reader's function or class answers charge points in the place of the local stack's own CSMS."""

import asyncio
import contextlib
import json
import logging
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from aws_proxy import AwsProxy
from conftest import MS, SOON, until
from ocpp.exceptions import SecurityError
from ocpp.routing import after, on
from ocpp.v16 import ChargePoint as ChargePoint16
from ocpp.v16 import call_result as call_result16
from ocpp.v16.enums import Action as Action16
from ocpp.v201 import ChargePoint as ChargePoint201
from ocpp.v201 import call, call_result
from stack_fixtures import GLANCE, INTERVAL, ask, dial, in_one_write, is_answered, new_id, receive

from cpsim_kit import Stack, Vehicle, errors
from cpsim_kit.aws.answers import Answers
from cpsim_kit.local.launcher import LocalProcess

Register = Callable[[], Awaitable[str]]

NOW = "2026-11-27T10:00:00Z"
BOOT = {"chargingStation": {"model": "M", "vendorName": "V"}, "reason": "PowerUp"}
BOOT16 = {"chargePointModel": "M", "chargePointVendor": "V"}
STATUS = {"timestamp": NOW, "connectorStatus": "Available", "evseId": 1, "connectorId": 1}


async def beat(_id: str, _action: str, _payload: dict[str, Any]) -> dict[str, Any]:
    return {"currentTime": NOW}


def shown_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines that a cell shows of the first failure, with "CP" for the charge point's id."""
    first = next(record for record in caplog.records if record.name == "cpsim.answers")
    first_line, *rest = logging.Formatter().format(first).splitlines()
    return [f"CP: {first_line.partition(': ')[2]}", *rest]


def answer_with(stack: Stack, handler: Any, **options: Any) -> Answers:
    """On the session's stack, which `Stack.answer_with` takes for one on AWS."""
    return Answers(stack._aws.mqtt_endpoint, handler, **options)


# -- Functions --------------------------------------------------------------------------------------------------------


async def test_a_function_gets_the_payload_as_it_came_and_its_dict_is_the_answer(
    stack: Stack, register: Register
) -> None:
    asked = []

    async def handler(charge_point_id: str, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        asked.append((charge_point_id, action, payload))
        return {"currentTime": NOW, "interval": 77, "status": "Pending"}

    async with stack.charge_point(await register(), model="M") as cp:
        async with answer_with(stack, handler) as answers:
            boot = await cp.boot()
            assert repr(answers) == "<Answers 1 answered, 0 failed>"
        again = await cp.boot()
    assert (boot.status, boot.interval) == ("Pending", 77)
    assert (again.status, again.interval) == ("Accepted", INTERVAL)  # the stack's own CSMS
    [(charge_point_id, action, payload)] = asked
    assert (charge_point_id, action) == (cp.id, "BootNotification")
    assert payload["chargingStation"]["vendorName"] == "cpsim_kit"
    assert answers.actions == {"BootNotification": 1}


async def test_a_plain_function_works_too(stack: Stack, register: Register) -> None:
    async with (
        stack.charge_point(await register()) as cp,
        answer_with(stack, lambda _id, _action, _payload: {"currentTime": NOW}),
    ):
        assert (await cp.heartbeat()).csms_time.isoformat() == "2026-11-27T10:00:00+00:00"


@pytest.mark.parametrize("raised", [NotImplementedError, NotImplementedError("not this one")])
async def test_a_function_that_raises_not_implemented_refuses_the_action(
    stack: Stack, register: Register, raised: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(*_: Any) -> dict[str, Any]:
        raise raised

    async with stack.charge_point(await register()) as cp, answer_with(stack, handler) as answers:
        with pytest.raises(errors.CallFailed) as caught:
            await cp.heartbeat()
    assert (caught.value.code, answers.failed, answers.refused) == ("NotImplemented", 0, 1)
    assert str(raised) in caught.value.description or raised is NotImplementedError
    assert not [record for record in caplog.records if record.name == "cpsim.answers"]


async def test_an_error_of_the_ocpp_package_names_the_code(stack: Stack, register: Register) -> None:
    async def handler(*_: Any) -> dict[str, Any]:
        raise SecurityError(description="no", details={"why": "because"})

    async with stack.charge_point(await register()) as cp, answer_with(stack, handler) as answers:
        with pytest.raises(errors.CallFailed) as caught:
            await cp.heartbeat()
    assert (caught.value.code, caught.value.description, caught.value.details) == (
        "SecurityError",
        "no",
        {"why": "because"},
    )
    assert repr(answers) == "<Answers 0 answered, 1 refused, 0 failed, closed>"


async def test_an_exception_is_an_internal_error_with_a_traceback_of_the_readers_own_frames(
    stack: Stack, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    def look_up(token: str) -> None:
        raise KeyError(token)

    async def handler(_id: str, _action: str, _payload: Any) -> dict[str, Any]:
        return {"status": look_up("TAG-1")}

    async with stack.charge_point(await register()) as cp, answer_with(stack, handler) as answers:
        for _ in range(2):
            with pytest.raises(errors.CallFailed) as caught:
                await cp.heartbeat()
            assert (caught.value.code, caught.value.description) == ("InternalError", "KeyError: 'TAG-1'")
        assert "KeyError" in answers._repr_html_()
    assert [repr(error) for error in answers.errors] == ["KeyError('TAG-1')"] * 2
    assert (answers.failed, answers.answered, answers.refused) == (2, 0, 0)
    first, second = [record for record in caplog.records if record.name == "cpsim.answers"]
    shown = logging.Formatter().format(first)
    assert "look_up" in shown
    assert "the handler failed on Heartbeat" in shown
    assert "cpsim_kit/" not in shown
    assert second.exc_info is None  # the same again takes one line


@pytest.mark.parametrize("result", [None, "Accepted", [], call_result.Heartbeat(current_time=NOW)])
async def test_what_is_no_dict_is_an_internal_error(stack: Stack, register: Register, result: object) -> None:
    async with (
        stack.charge_point(await register()) as cp,
        answer_with(stack, lambda *_: result) as answers,
    ):
        with pytest.raises(errors.CallFailed, match="return a dict") as caught:
            await cp.heartbeat()
    assert caught.value.code == "InternalError"
    assert isinstance(answers.errors[0], TypeError)


@pytest.mark.parametrize(
    ("result", "what"),
    [({"interval": Decimal(5)}, "decimal.Decimal"), ({"currentTime": {NOW}}, "set"), ({1: 2}, "Dict key must be str")],
)
async def test_what_json_cannot_hold_is_an_internal_error_that_says_what_to_try(
    stack: Stack, register: Register, result: Any, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with stack.charge_point(await register()) as cp, answer_with(stack, lambda *_: result) as answers:
        with pytest.raises(errors.CallFailed, match="answer to Heartbeat cannot be written as JSON") as caught:
            await cp.heartbeat()
    assert caught.value.description.startswith("TypeError: the handler's answer to Heartbeat")
    [error] = answers.errors
    assert what in str(error)
    assert "float(…)" in str(error)
    assert shown_of(caplog) == ["CP: the handler failed on Heartbeat", f"TypeError: {error}"]


async def test_an_answer_over_the_size_of_an_mqtt_message_is_an_internal_error(
    stack: Stack, register: Register
) -> None:
    async with (
        stack.charge_point(await register()) as cp,
        answer_with(stack, lambda *_: {"currentTime": "x" * 131_073}) as answers,
    ):
        with pytest.raises(errors.CallFailed, match="AWS IoT Core allows 131072"):
            await cp.heartbeat()
    assert answers.failed == 1


async def test_an_answer_that_breaks_the_schema_is_sent_with_a_warning(
    stack: Stack, shared: LocalProcess, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {"currentTime": NOW, "interval": "soon", "status": "Accepted"}
    async with dial(shared, await register()) as ws, answer_with(stack, lambda *_: wrong):
        assert await ask(ws, "BootNotification", BOOT, "1") == [3, "1", wrong]
        assert await ask(ws, "BootNotification", BOOT16, "2") == [3, "2", wrong]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert ["2.0.1 at interval" in warnings[0], "1.6 at interval" in warnings[1]] == [True, True]


async def test_frames_that_are_no_call_get_the_answer_of_ocpp_or_none(
    stack: Stack, shared: LocalProcess, register: Register
) -> None:
    async with dial(shared, await register()) as ws, answer_with(stack, beat) as answers:
        in_one_write(ws, "?", '[3,"1",{}]', '[4,"1","GenericError","",{}]', '[6,"1","Heartbeat",{}]', '[2,"broken"]')
        kind, message_id, code, _, _ = await receive(ws)
        assert (kind, message_id, code) == (4, "broken", "RpcFrameworkError")
        assert (await ask(ws, "Heartbeat", [], "list"))[:3] == [4, "list", "FormatViolation"]
        assert await ask(ws, "Heartbeat", None, "null") == [3, "null", {"currentTime": NOW}]
        assert await ask(ws, "NoAction", {"a": 1}, "unknown") == [3, "unknown", {"currentTime": NOW}]
    assert (answers.answered, answers.refused) == (2, 2)


# -- Classes ----------------------------------------------------------------------------------------------------------


async def test_a_charge_point_class_of_ocpp_201_answers_and_calls(stack: Stack, register: Register) -> None:
    made, resets = [], []

    class Central(ChargePoint201):
        def __init__(self, charge_point_id: str, connection: Any) -> None:
            super().__init__(charge_point_id, connection)
            made.append(self)

        @on("BootNotification")
        async def boot(self, charging_station: dict[str, Any], reason: str, **_: Any) -> call_result.BootNotification:
            return call_result.BootNotification(NOW, 5, "Accepted", {"reason_code": charging_station["vendor_name"]})

        @after("BootNotification")
        async def booted(self, **_: Any) -> None:
            resets.append(await self.call(call.Reset(type="Immediate")))

    async with answer_with(stack, Central) as answers:
        for charge_point_id in (await register(), await register()):
            async with stack.charge_point(charge_point_id) as cp:
                cp.on("Reset", lambda **_: call_result.Reset(status="Scheduled"))
                for _ in range(2):
                    boot = await cp.boot()
                    assert boot.status_info == {"reason_code": "cpsim_kit"}
                with pytest.raises(errors.CallFailed) as caught:
                    await cp.heartbeat()
                assert caught.value.code == "NotImplemented"
                await until(lambda: len(resets) == 2 * len(made), "an answer to each reset")
    assert [each.id for each in made] == list(dict.fromkeys(each.id for each in made))
    assert len(made) == 2
    assert {reset.status for reset in resets} == {"Scheduled"}
    assert answers.errors == []


async def test_a_charge_point_class_of_ocpp_16_answers(stack: Stack, shared: LocalProcess, register: Register) -> None:
    class Central(ChargePoint16):
        @on(Action16.boot_notification)
        def boot(self, charge_point_model: str, **_: Any) -> call_result16.BootNotification:
            return call_result16.BootNotification(NOW, len(charge_point_model), "Accepted")

        @on(Action16.status_notification)
        def status(self, **_: Any) -> call_result16.StatusNotification:
            raise ValueError("no")

    async with dial(shared, await register(), "ocpp1.6") as ws, answer_with(stack, Central) as answers:
        assert (await ask(ws, "BootNotification", BOOT16))[2]["interval"] == 1
        assert (await ask(ws, "BootNotification", {**BOOT16, "extra": 1}))[2] == "FormationViolation"
        assert (await ask(ws, "Authorize", {"idTag": "T"}))[2] == "NotImplemented"
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
        assert (await ask(ws, "StatusNotification", status))[2:4] == ["InternalError", "ValueError: no"]
    assert (answers.answered, answers.refused, answers.failed) == (1, 2, 1)


async def test_a_plain_class_serves_both_versions(stack: Stack, shared: LocalProcess, register: Register) -> None:
    class Central:
        def __init__(self, charge_point_id: str) -> None:
            self.id = charge_point_id

        @on("BootNotification")
        def boot(self, **payload: Any) -> dict[str, Any]:
            version = 16 if "charge_point_model" in payload else 201
            return {"current_time": NOW, "interval": version, "status": "Accepted"}

        @on("DataTransfer", skip_schema_validation=True)
        def transfer(self, **_: Any) -> dict[str, Any]:
            return {"status": "Perhaps", "data": self.id}

    first, second = await register(), await register()
    async with dial(shared, first) as ws, dial(shared, second, "ocpp1.6") as ws16, answer_with(stack, Central):
        assert (await ask(ws, "BootNotification", BOOT))[2]["interval"] == 201
        assert (await ask(ws16, "BootNotification", BOOT16))[2]["interval"] == 16
        assert (await ask(ws, "DataTransfer", {"vendorId": "V"}))[2] == {"status": "Perhaps", "data": first}
        assert (await ask(ws16, "DataTransfer", {"vendorId": "V"}))[2]["data"] == second
        assert (await ask(ws16, "BootNotification", {**BOOT16, "extra": 1}))[2] == "FormationViolation"


async def test_an_object_answers_all_charge_points(stack: Stack, shared: LocalProcess, register: Register) -> None:
    class Counts:
        beats = 0

        @on("Heartbeat")
        async def beat(self, call_unique_id: str) -> call_result.Heartbeat:
            self.beats += 1
            return call_result.Heartbeat(current_time=f"{call_unique_id}")

    counts = Counts()
    async with (
        dial(shared, await register()) as one,
        dial(shared, await register()) as other,
        answer_with(stack, counts),
    ):
        assert (await ask(one, "Heartbeat", {}, "a"))[2] == {"currentTime": "a"}
        assert (await ask(other, "Heartbeat", {}, "b"))[2] == {"currentTime": "b"}
    assert counts.beats == 2


async def test_an_answer_of_a_method_that_breaks_the_schema_is_an_internal_error_as_in_the_ocpp_package(
    stack: Stack, register: Register
) -> None:
    class Central:
        @on("Heartbeat")
        def beat(self) -> dict[str, Any]:
            return {"time": NOW}

    async with stack.charge_point(await register()) as cp, answer_with(stack, Central) as answers:
        with pytest.raises(errors.CallFailed, match="breaks the schema") as caught:
            await cp.heartbeat()
    assert (caught.value.code, answers.failed) == ("InternalError", 1)


async def test_what_json_cannot_hold_in_the_answer_of_a_method_is_shown_without_the_frames_of_the_kit(
    stack: Stack, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    class Central:
        @on("Heartbeat")
        def beat(self) -> dict[str, Any]:
            return {"currentTime": {NOW}}

    async with stack.charge_point(await register()) as cp, answer_with(stack, Central):
        with pytest.raises(errors.CallFailed, match="JSON cannot hold"):
            await cp.heartbeat()
    assert len(shown_of(caplog)) == 2


async def test_a_class_that_cannot_be_called_is_an_internal_error_each_time(
    stack: Stack, shared: LocalProcess, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __init__(self) -> None:
            raise OSError("no database")

        @on("Heartbeat")
        def beat(self) -> dict[str, Any]:
            raise NotImplementedError

    async with stack.charge_point(await register()) as cp, answer_with(stack, Broken) as answers:
        for _ in range(2):
            with pytest.raises(errors.CallFailed, match="OSError: no database"):
                await cp.heartbeat()
        async with dial(shared, await register()) as ws:
            await ws.send('[2,"broken"]')
            assert (await receive(ws))[:3] == [4, "broken", "InternalError"]
    assert answers.failed == 3
    messages = [record.getMessage().partition(": ")[2] for record in caplog.records if record.name == "cpsim.answers"]
    assert messages[0] == "the handler failed on Heartbeat"
    assert messages[2] == "the handler failed on a malformed CALL: OSError: no database"


async def test_what_comes_after_an_answer_may_wait_for_the_next_call(
    stack: Stack, shared: LocalProcess, register: Register
) -> None:
    reported, done = asyncio.Event(), asyncio.Event()

    class Central:
        @on("Heartbeat")
        def beat(self) -> call_result.Heartbeat:
            return call_result.Heartbeat(current_time=NOW)

        @after("Heartbeat")
        async def beaten(self) -> None:
            await reported.wait()
            done.set()

        @on("StatusNotification")
        def status(self, **_: Any) -> call_result.StatusNotification:
            reported.set()
            return call_result.StatusNotification()

    async with dial(shared, await register()) as ws, answer_with(stack, Central):
        assert await is_answered(ws)
        assert await ask(ws, "StatusNotification", STATUS, "s") == [3, "s", {}]
        await asyncio.wait_for(done.wait(), SOON)


async def test_a_failure_after_the_answer_is_kept_and_shown_in_the_readers_own_frames(
    stack: Stack, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    class Central:
        @on("Heartbeat")
        def beat(self) -> call_result.Heartbeat:
            return call_result.Heartbeat(current_time=NOW)

        @after("Heartbeat")
        async def beaten(self) -> None:
            raise ValueError("afterwards")

    async with stack.charge_point(await register()) as cp, answer_with(stack, Central) as answers:
        await cp.heartbeat()
        await until(lambda: answers.errors, "the failure")
    assert repr(answers) == "<Answers 1 answered, 1 failed, closed>"
    shown = logging.Formatter().format(next(record for record in caplog.records if record.name == "cpsim.answers"))
    assert [line.rpartition(" in ")[2] for line in shown.splitlines() if "File" in line] == ["beaten"]


class TakesThree:
    def __init__(self, a: object, b: object, c: object) -> None: ...

    @on("Heartbeat")
    def beat(self) -> None: ...


class TakesOneByName:
    def __init__(self, *, database: object) -> None: ...

    @on("Heartbeat")
    def beat(self) -> None: ...


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (None, "takes a function, or a class or object"),
        ({"Heartbeat": beat}, "takes a function, or a class or object"),
        (lambda action, payload: {}, "three arguments: charge_point_id, action, payload"),
        (ChargePoint201, "has no methods with @on"),
        (int, "has no methods with @on"),
        (TakesThree, "TakesThree takes other arguments than charge_point_id and connection"),
        (TakesOneByName, "TakesOneByName takes other arguments"),
    ],
)
async def test_what_cannot_answer_is_refused(stack: Stack, handler: object, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        answer_with(stack, handler)


# -- Order and cancellation -------------------------------------------------------------------------------------------


async def test_a_slow_answer_delays_only_its_own_charge_point_whose_calls_stay_in_order(
    stack: Stack, shared: LocalProcess, register: Register
) -> None:
    slow, fast = await register(), await register()
    release = asyncio.Event()
    handled = []

    async def handler(charge_point_id: str, _action: str, _payload: Any) -> dict[str, Any]:
        handled.append(charge_point_id)
        if charge_point_id == slow:
            await release.wait()
        return {"currentTime": NOW}

    async with dial(shared, slow) as one, dial(shared, fast) as other, answer_with(stack, handler):
        in_one_write(one, '[2,"1","Heartbeat",{}]', '[2,"2","Heartbeat",{}]')
        await until(lambda: handled == [slow], "the slow one at work")
        assert await is_answered(other)
        assert await is_answered(other)
        assert handled == [slow, fast, fast]
        release.set()
        assert [(await receive(one))[1] for _ in range(2)] == ["1", "2"]


async def test_leaving_cancels_what_is_at_work_and_the_own_csms_answers_what_is_left(
    stack: Stack, shared: LocalProcess, register: Register
) -> None:
    begun = asyncio.Event()
    ended = []

    async def handler(*_: Any) -> dict[str, Any]:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return {}

    async with dial(shared, await register()) as ws, stack.monitor("+/out") as monitor:
        async with answer_with(stack, handler) as answers:
            in_one_write(ws, '[2,"1","Heartbeat",{}]', '[2,"2","Heartbeat",{}]')
            await begun.wait()
        assert ended == ["cancelled"]
        assert [(await receive(ws))[:2] for _ in range(2)] == [[3, "1"], [3, "2"]]
        assert await is_answered(ws)
        assert len(await monitor.take(3, timeout=SOON)) == len(monitor) == 3
    assert (answers.answered, answers.failed) == (0, 0)


async def test_a_handler_whose_own_work_was_cancelled_has_failed(stack: Stack, register: Register) -> None:
    async def handler(*_: Any) -> dict[str, Any]:
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        future.cancel()
        return await future

    async with stack.charge_point(await register()) as cp, answer_with(stack, handler) as answers:
        for _ in range(2):
            with pytest.raises(errors.CallFailed, match="CancelledError"):
                await cp.heartbeat()
    assert answers.failed == 2


async def test_a_handler_that_goes_on_though_cancelled_answers_nobody(
    stack: Stack, shared: LocalProcess, register: Register
) -> None:
    begun = asyncio.Event()

    async def handler(*_: Any) -> dict[str, Any]:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(50 * MS)
        return {"currentTime": NOW}

    async with dial(shared, await register()) as ws, stack.monitor("+/out") as monitor:
        async with answer_with(stack, handler):
            in_one_write(ws, '[2,"1","Heartbeat",{}]')
            await begun.wait()
        assert (await receive(ws))[2]["currentTime"] != NOW
        await asyncio.sleep(GLANCE)
        assert len(monitor) == 1


# -- In the place of the stack's own CSMS -----------------------------------------------------------------------------


@pytest.mark.slow
async def test_each_call_gets_exactly_one_answer_however_often_the_block_begins_and_ends(
    stack: Stack, shared: LocalProcess, register: Register
) -> None:
    charge_points = [await register() for _ in range(4)]
    sent = Counter[tuple[str, str]]()
    going = True

    async def handler(*_: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"currentTime": NOW}

    async def talk(charge_point_id: str) -> None:
        async with dial(shared, charge_point_id) as ws:
            number = 0
            while going:
                names = [f"{number + each}" for each in range(10)]
                number += len(names)
                sent.update((charge_point_id, name) for name in names)
                in_one_write(ws, *(f'[2,"{name}","Heartbeat",{{}}]' for name in names))
                for _ in names:
                    await receive(ws)

    async with stack.monitor("+/out", limit=100_000) as monitor:
        talking = [asyncio.create_task(talk(each)) for each in charge_points]
        by_handler = 0
        for _ in range(8):
            before = len(monitor)
            await until(lambda before=before: len(monitor) > before + 50, "answers of the own CSMS")  # type: ignore[misc]
            async with answer_with(stack, handler) as answers:
                await until(lambda answers=answers: answers.answered > 50, "answers of the handler")  # type: ignore[misc]
            by_handler += answers.answered
        going = False
        await asyncio.gather(*talking)
        await until(lambda: len(monitor) >= sent.total(), "all answers")
        seen = Counter((record.charge_point_id, record.message_id) for record in monitor.messages)
    assert seen == sent
    ours = sum(1 for record in monitor.messages if record.payload == {"currentTime": NOW})
    assert 0 < ours == by_handler < sent.total()


HANGS = """
import asyncio, sys
from cpsim_kit import Stack
from cpsim_kit.aws.answers import Answers

async def handler(*_):
    print("asked", flush=True)
    await asyncio.Event().wait()

async def main():
    stack = await Stack.aws(sys.argv[1], endpoint_url=sys.argv[2])
    async with Answers(stack._aws.mqtt_endpoint, handler):
        print("entered", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.slow
async def test_the_own_csms_takes_over_when_the_process_is_killed(
    stack: Stack, shared: LocalProcess, register: Register
) -> None:
    command = [sys.executable, "-c", HANGS, shared.options.name, shared.endpoint_url]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"entered\n"
        async with dial(shared, await register()) as ws:
            in_one_write(ws, '[2,"left","Heartbeat",{}]')
            assert await process.stdout.readline() == b"asked\n"
            process.kill()
            assert (await receive(ws))[:2] == [3, "left"]
            assert await is_answered(ws)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@pytest.mark.slow
async def test_a_lost_connection_leaves_the_charge_points_to_the_own_csms_until_it_is_up_again(
    proxied: Stack, proxy: AwsProxy, shared: LocalProcess, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    release = asyncio.Event()
    begun = asyncio.Event()

    async def handler(_id: str, action: str, _payload: Any) -> dict[str, Any]:
        if action == "StatusNotification":
            begun.set()
            await release.wait()
            return {"customData": {"vendorId": "late"}}
        return {"currentTime": NOW}

    async with dial(shared, await register()) as ws, answer_with(proxied, handler) as answers:
        in_one_write(ws, json.dumps([2, "status", "StatusNotification", STATUS]))
        await begun.wait()
        proxy.cut_websockets()
        assert await receive(ws) == [3, "status", {}]  # the own CSMS
        await until(lambda: any("was disconnected" in record.message for record in caplog.records), "a new connection")
        release.set()  # the late answer is not sent, as the CALL has been answered
        assert (await ask(ws, "Heartbeat", {}, "beat")) == [3, "beat", {"currentTime": NOW}]
    assert answers.failed == 0


async def test_another_one_is_refused_until_the_first_has_ended(stack: Stack) -> None:
    others: list[Answers] = []
    unused = answer_with(stack, beat, others=others)
    async with answer_with(stack, beat, others=others) as first:
        with pytest.raises(RuntimeError, match="answered by <Answers 0 answered, 0 failed> already"):
            await unused.__aenter__()
    with pytest.raises(RuntimeError, match="was used before"):
        await first.__aenter__()
    async with unused:
        assert others == [unused]
    assert others == []


async def test_what_silences_another_csms_is_entered_once_subscribed_and_left_before_the_end(
    stack: Stack, shared: LocalProcess, register: Register
) -> None:
    seen = []
    async with dial(shared, await register()) as ws:

        @asynccontextmanager
        async def silence() -> Any:
            seen.append((await ask(ws, "Heartbeat", {}, "begin"))[2]["currentTime"])
            yield
            seen.append("end")

        async with answer_with(stack, beat, silence=silence()):
            assert seen == [NOW]
    assert seen == [NOW, "end"]


async def test_a_block_that_cannot_be_entered_leaves_nothing(stack: Stack, shared: LocalProcess) -> None:
    @asynccontextmanager
    async def silence() -> Any:
        raise OSError("denied")
        yield

    others: list[Answers] = []
    with pytest.raises(OSError, match="denied"):
        async with answer_with(stack, beat, others=others, silence=silence()):
            pass
    assert others == []


# -- Stack.answer_with ------------------------------------------------------------------------------------------------


async def test_only_a_stack_that_this_process_started_is_answered_so(stack: Stack) -> None:
    with pytest.raises(RuntimeError, match=r"stack\.message_processor"):
        stack.answer_with(beat)


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("csms", ["kit", "strict", "sample"])
async def test_each_character_of_the_csms_steps_aside(environment: pytest.MonkeyPatch, csms: str) -> None:
    async with Stack.local(name=new_id("Answered"), csms=csms) as stack:
        await stack.things.create("CP1")
        async with stack.charge_point("CP1") as cp, stack.monitor("+/out") as monitor:
            await cp.heartbeat()
            async with stack.answer_with(beat) as answers:
                with pytest.raises(RuntimeError, match="end that block first"):
                    stack.answer_with(beat)
                for _ in range(3):
                    assert (await cp.heartbeat()).csms_time.isoformat() == "2026-11-27T10:00:00+00:00"
            assert (await cp.heartbeat()).csms_time.isoformat() != "2026-11-27T10:00:00+00:00"
            assert len(await monitor.take(5, timeout=SOON)) == len(monitor) == 5
            assert answers.answered == 3
        left = await stack.answer_with(beat).__aenter__()
    assert repr(left) == "<Answers 0 answered, 0 failed, closed>"  # the stack has closed it
    with pytest.raises(RuntimeError, match="closed"):
        stack.answer_with(beat)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_station_charges_against_a_handler(stack: Stack, register: Register, version: str) -> None:
    energies = []

    async def handler(_id: str, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        match action:
            case "BootNotification":
                return {"currentTime": NOW, "interval": 300, "status": "Accepted"}
            case "Heartbeat":
                return {"currentTime": NOW}
            case "Authorize":
                return {"idTagInfo" if version == "1.6" else "idTokenInfo": {"status": "Accepted"}}
            case "StartTransaction":
                return {"transactionId": 7, "idTagInfo": {"status": "Accepted"}}
            case "StopTransaction":
                energies.append(payload["meterStop"])
                return {}
            case "TransactionEvent":
                if payload["eventType"] == "Ended":
                    energies.append(payload["transactionInfo"]["stoppedReason"])
                return {}
            case "StatusNotification" | "MeterValues" | "SecurityEventNotification":
                return {}
        raise NotImplementedError

    async with (
        answer_with(stack, handler) as answers,
        stack.station(await register(), version=version, speed=float("inf")) as station,
    ):
        session = await station.charge(Vehicle(capacity_kwh=60, soc=0.5, max_kw=11), token="TAG-1", until_soc=0.6)
    assert session.summary()
    assert len(energies) == 1
    assert answers.failed == 0
    assert answers.actions["Authorize"] >= 1


@pytest.mark.slow
async def test_a_csms_that_is_a_lambda_function_is_silent_too(environment: pytest.MonkeyPatch) -> None:
    async with Stack.local(name="AnswersLambda", csms="lambda") as stack:
        await stack.things.create("CP1")
        async with stack.monitor("CP1/out") as monitor, stack.charge_point("CP1") as cp:
            async with stack.answer_with(lambda *_: {"currentTime": NOW}) as answers:
                assert (await cp.heartbeat()).csms_time.isoformat() == NOW.replace("Z", "+00:00")
            boot = await cp.boot()
            assert (boot.status, answers.answered) == ("Accepted", 1)
            assert [message.kind for message in await monitor.take(2, timeout=SOON)] == ["CALLRESULT"] * 2
            assert len(monitor.messages) == 2, "each was answered once"


@pytest.mark.slow
async def test_interrupted_while_the_function_is_silenced_lets_it_answer_again(environment: pytest.MonkeyPatch) -> None:
    loop, asked, interrupted = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def hold(**_: object) -> None:
        """In the thread that is about to send the request."""
        loop.call_soon_threadsafe(asked.set)
        interrupted.wait(SOON)

    async with Stack.local(name="AnswersLambda", csms="lambda") as stack:
        await stack.things.create("CP1")
        stack.client("iot").meta.events.register("before-send.iot.ReplaceTopicRule", hold)
        entering = asyncio.create_task(stack.answer_with(beat).__aenter__())
        await asyncio.wait_for(asked.wait(), SOON)
        entering.cancel()
        interrupted.set()
        with pytest.raises(asyncio.CancelledError):
            await entering
        async with stack.charge_point("CP1") as cp:
            assert (await cp.boot()).status == "Accepted"
