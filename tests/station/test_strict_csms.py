"""The strict CSMS: frames, tokens, what is sent again, what it asks, and that no rule is without a test."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import ocpp.exceptions
import pytest
import strict_csms
from conftest import SOON, until
from hand_made_sessions import BOOT, TAG_1, TAG_2, edit, end_with, insert, play, session_16, session_201
from ocpp.v16 import call_result as result16
from ocpp.v201 import call, call_result
from strict_csms import StrictCsms, Token
from test_strict_v16 import CASES_16
from test_strict_v201 import CASES_201, TOKEN_FIRST_CASES
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from cpsim_kit import ChargePoint


async def exchange(csms: StrictCsms, *frames: str | bytes) -> list[Any]:
    """Send raw frames, and wait for the answer of each CALL; the frames that come back."""
    answers = []
    async with connect(f"{csms.url}/CP1", subprotocols=[Subprotocol(f"ocpp{csms.version}")], proxy=None) as ws:
        for frame in frames:
            await ws.send(frame)
            if frame[:2] in ("[2", b"[2"):
                answers.append(json.loads(await ws.recv()))
    return answers


RAW_BOOT = '[2, "1", "BootNotification", {"chargingStation": {"model": "M", "vendorName": "V"}, "reason": "PowerUp"}]'


async def test_a_frame_that_breaks_the_schema_is_a_violation_and_answered_with_callerror() -> None:
    async with StrictCsms("2.0.1") as csms:
        answers = await exchange(csms, RAW_BOOT.replace("PowerUp", "Sunrise"))

    assert csms.rules_broken == ["schema"]
    assert answers[0][:3] == [4, "1", "FormatViolation"]
    assert "Sunrise" in csms.violations[0].text


async def test_an_unknown_action_is_a_violation() -> None:
    async with StrictCsms("2.0.1") as csms:
        answers = await exchange(csms, RAW_BOOT, '[2, "2", "Teleport", {}]')

    assert csms.rules_broken == ["unknown_action"]
    assert answers[1][0] == 4


@pytest.mark.parametrize("frame", ["hello", "[1]", "{}"])
async def test_what_is_no_frame_is_a_violation(frame: str) -> None:
    async with StrictCsms("2.0.1") as csms:
        await exchange(csms, frame, RAW_BOOT)

    assert csms.rules_broken == ["frame"]


async def test_a_binary_frame_is_a_violation() -> None:
    async with StrictCsms("2.0.1") as csms:
        await exchange(csms, RAW_BOOT.encode())

    assert csms.rules_broken == ["frame"]


async def test_a_call_that_does_not_wait_for_the_answer_before_is_a_violation() -> None:
    async with (
        StrictCsms("2.0.1") as csms,
        connect(f"{csms.url}/CP1", subprotocols=[Subprotocol("ocpp2.0.1")], proxy=None) as ws,
    ):
        await ws.send(RAW_BOOT)
        await ws.send('[2, "2", "Heartbeat", {}]')
        answers = [json.loads(await ws.recv()), json.loads(await ws.recv())]

    assert csms.rules_broken == ["overlap"]
    assert [answer[:2] for answer in answers] == [[3, "1"], [3, "2"]]


async def test_an_answer_to_no_question_is_a_violation() -> None:
    async with StrictCsms("2.0.1") as csms:
        await exchange(csms, '[3, "nobody-asked", {}]', RAW_BOOT)

    assert csms.rules_broken == ["answer"]


async def test_a_wrong_answer_of_the_charge_point_is_a_violation() -> None:
    async with StrictCsms("1.6") as csms:
        protocol = Subprotocol("ocpp1.6")
        async with connect(f"{csms.url}/CP1", subprotocols=[protocol], proxy=None) as ws:
            await until(lambda: csms.connected == ["CP1"])
            question = asyncio.create_task(csms.charge_point("CP1").change_configuration("HeartbeatInterval", "5"))
            asked = json.loads(await ws.recv())
            await ws.send(json.dumps([3, asked[1], {"status": "Perhaps"}]))
            with pytest.raises(ocpp.exceptions.FormatViolationError):
                await question

    assert csms.rules_broken == ["schema"]


async def test_a_message_before_the_boot_is_answered_with_security_error() -> None:
    async with StrictCsms("2.0.1") as csms:
        answers = await exchange(csms, '[2, "1", "Heartbeat", {}]', RAW_BOOT, '[2, "2", "Heartbeat", {}]')

    assert csms.rules_broken == ["boot"]
    assert answers[0][:3] == [4, "1", "SecurityError"]  # B01.FR.10
    assert [answer[0] for answer in answers[1:]] == [3, 3]


async def test_a_refused_message_that_is_sent_again_is_refused_again_and_counted_once() -> None:
    session = session_201()
    edit("authorized", seq_no=5)(session)
    insert("authorized", session["authorized"], session["authorized"])(session)
    end_with("authorized+1")(session)

    async with StrictCsms("2.0.1") as csms:
        refusals = await play(csms, session)

    assert csms.rules_broken == ["seq_no_gap"]
    assert len(refusals) == 3


async def test_what_is_sent_again_on_a_new_connection_gets_the_same_answer() -> None:
    session = session_16()
    end_with("start")(session)

    async with StrictCsms("1.6") as csms:
        async with ChargePoint("CP1", csms.url, version="1.6") as cp:
            for request in session.values():
                first = await cp.call(request)
        async with ChargePoint("CP1", csms.url, version="1.6") as cp:
            second = await cp.call(session["start"])

    assert first.transaction_id == second.transaction_id == 1
    assert csms.violations == []


async def test_an_event_that_is_sent_again_as_offline_on_a_new_connection_breaks_no_rule() -> None:
    session = session_201()
    rest = {name: session.pop(name) for name in ("stop", "free", "ended")}

    async with StrictCsms("2.0.1") as csms:
        await play(csms, session)
        await play(csms, {"periodic": replace(session["periodic"], offline=True)} | rest)
        csms.check_all_ended()

    assert csms.violations == []


async def test_only_the_last_message_of_a_connection_may_be_sent_again_on_the_next() -> None:
    session = session_201()
    end_with("periodic")(session)

    async with StrictCsms("2.0.1") as csms:
        await play(csms, session)
        refusals = await play(csms, {"charging": session["charging"]})

    assert len(refusals) == 1
    assert "seq_no_repeated" in csms.rules_broken


async def test_a_token_that_was_refused_in_the_transaction_may_be_followed_by_another_or_stop_it() -> None:
    tokens = {"TAG-1": Token(status_in_transaction="Invalid"), "TAG-4": Token()}
    session = session_201()
    other = TAG_1 | {"id_token": "TAG-4"}
    edit("charging", trigger_reason="Authorized", id_token=other)(session)
    edit("stop", id_token=other)(session)

    async with StrictCsms("2.0.1", tokens=tokens) as csms:
        await play(csms, session)
    assert csms.violations == []

    async with StrictCsms("2.0.1", tokens=tokens) as csms:
        await play(csms, session_201())
    assert csms.violations == []


async def test_a_question_fails_when_the_connection_closes_before_the_answer() -> None:
    async with StrictCsms("1.6") as csms:
        async with connect(f"{csms.url}/CP1", subprotocols=[Subprotocol("ocpp1.6")], proxy=None) as ws:
            await until(lambda: csms.connected == ["CP1"])
            question = asyncio.create_task(csms.charge_point("CP1").change_configuration("HeartbeatInterval", "5"))
            await ws.recv()
        with pytest.raises(ConnectionError, match="CP1 was disconnected before it answered ChangeConfiguration"):
            await question


async def test_a_new_connection_takes_the_place_of_the_old_one() -> None:
    async with (
        StrictCsms("1.6") as csms,
        ChargePoint("CP1", csms.url, version="1.6") as old,
        ChargePoint("CP1", csms.url, version="1.6"),
    ):
        closed = await old.wait_closed(SOON)
        assert csms.connected == ["CP1"]

    assert (closed.code, closed.by) == (1000, "gateway")


async def test_a_transaction_that_started_offline_is_not_compared_with_the_connectors_state() -> None:
    session = session_16()
    offline = {name: session.pop(name) for name in ("preparing", "authorize", "start", "charging", "values")}
    del offline["preparing"], offline["authorize"]
    end_with("heartbeat")(session)

    async with StrictCsms("1.6") as csms:
        await play(csms, session)
        await play(csms, {"charging": offline["charging"], "start": offline["start"], "values": offline["values"]})

    assert csms.violations == []


async def test_tokens_are_answered_with_their_status_and_group() -> None:
    tokens = {"TAG-2": Token("Blocked"), "TAG-4": Token("Accepted", group="G", status_in_transaction="Invalid")}
    session = session_201()
    end_with("started")(session)
    session["started"] = replace(session["started"], id_token=TAG_1 | {"id_token": "TAG-4"})

    async with StrictCsms("2.0.1", tokens=tokens) as csms, ChargePoint("CP1", csms.url) as cp:
        await cp.call(BOOT)
        blocked = await cp.call(call.Authorize(TAG_2))
        grouped = await cp.call(call.Authorize(TAG_1 | {"id_token": "TAG-4"}))
        unknown = await cp.call(call.Authorize(TAG_1))
        for request in list(session.values())[1:]:
            answer = await cp.call(request)

    assert blocked.id_token_info["status"] == "Blocked"
    assert (grouped.id_token_info["status"], grouped.id_token_info["group_id_token"]["id_token"]) == ("Accepted", "G")
    assert unknown.id_token_info == {"status": "Accepted"}
    assert answer.id_token_info["status"] == "Invalid"
    assert csms.violations == []


async def test_another_token_of_the_group_may_stop() -> None:
    tokens = {"TAG-1": Token(group="G"), "TAG-4": Token(group="G")}
    session = session_201()
    edit("stop", id_token=TAG_1 | {"id_token": "TAG-4"})(session)

    async with StrictCsms("2.0.1", tokens=tokens) as csms:
        await play(csms, session)

    assert csms.violations == []


async def test_variables_are_read_and_set() -> None:
    async def get(get_variable_data: list[Any], **_: Any) -> Any:
        found = [each | {"attribute_status": "Accepted", "attribute_value": "7"} for each in get_variable_data[:1]]
        missing = [each | {"attribute_status": "UnknownVariable"} for each in get_variable_data[1:]]
        return call_result.GetVariables(found + missing)

    async def set_(set_variable_data: list[Any], **_: Any) -> Any:
        for each in set_variable_data:
            assert each.pop("attribute_value") == "EVConnected"
        return call_result.SetVariables([each | {"attribute_status": "Accepted"} for each in set_variable_data])

    async def stop(**_: Any) -> Any:
        return call_result.RequestStopTransaction("Rejected")

    async with StrictCsms("2.0.1") as csms, ChargePoint("CP1", csms.url) as cp:
        for action, handler in (("GetVariables", get), ("SetVariables", set_), ("RequestStopTransaction", stop)):
            cp.on(action, handler)
        asked = csms.charge_point("CP1")
        assert await asked.get_variables("TxCtrlr.EVConnectionTimeOut", "TxCtrlr.Nonsense") == {
            "TxCtrlr.EVConnectionTimeOut": "7",
            "TxCtrlr.Nonsense": None,
        }
        assert await asked.set_variables({"TxCtrlr.TxStartPoint": "EVConnected"}) == {
            "TxCtrlr.TxStartPoint": "Accepted"
        }
        assert (await asked.request_stop_transaction("tx-1")).status == "Rejected"
    assert csms.violations == []


async def test_configuration_is_read_and_changed() -> None:
    async def get(key: list[str] | None = None, **_: Any) -> Any:
        known = [{"key": "HeartbeatInterval", "readonly": False, "value": "300"}]
        return result16.GetConfiguration(known, unknown_key=[each for each in key or () if each != "HeartbeatInterval"])

    async def change(**_: Any) -> Any:
        return result16.ChangeConfiguration("RebootRequired")

    async def start(**_: Any) -> Any:
        return result16.RemoteStartTransaction("Accepted")

    async with StrictCsms("1.6") as csms, ChargePoint("CP1", csms.url, version="1.6") as cp:
        handlers = {"GetConfiguration": get, "ChangeConfiguration": change, "RemoteStartTransaction": start}
        for action, handler in handlers.items():
            cp.on(action, handler)
        asked = csms.charge_point("CP1")
        assert await asked.get_configuration("HeartbeatInterval", "Odd") == {"HeartbeatInterval": "300", "Odd": None}
        assert await asked.get_configuration() == {"HeartbeatInterval": "300"}
        assert await asked.change_configuration("HeartbeatInterval", "5") == "RebootRequired"
        assert (await asked.remote_start_transaction("TAG-1", connector_id=1)).status == "Accepted"
    assert csms.violations == []


async def test_a_charge_point_that_is_not_connected_cannot_be_asked() -> None:
    async with StrictCsms("1.6") as csms:
        with pytest.raises(LookupError, match="CP7 is not connected; connected: none"):
            csms.charge_point("CP7")


def test_every_rule_is_broken_on_purpose_by_some_test() -> None:
    folder = Path(strict_csms.__file__).parent
    sources = "".join(path.read_text() for path in sorted(folder.glob("strict_*.py")))
    rules = set(re.findall(r'_(?:report|violated)\(\s*"(\w+)"', sources))
    broken = {rule for rule, _ in [*CASES_201, *TOKEN_FIRST_CASES, *CASES_16]}
    assert broken >= {"transaction_id_reused", "started_twice", "seq_no_start", "seq_no_gap", "seq_no_repeated"}
    assert broken >= {"evse_twice", "reservation_id_twice", "remote_start_id_twice"}
    assert broken >= {"periodic_without_values", "clock_without_values"}  # all those that are not written out
    by_tests_of_their_own = {"answer", "frame", "overlap", "schema", "stop_reason", "unknown_action"}
    by_tests_of_their_own |= {"reserved_for_another"}

    assert len(rules) > 50
    assert rules - broken - by_tests_of_their_own == set()
