"""The check-up on the local stack: Things, the blocked token, bills, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import MS, SOON
from stack_fixtures import Boto

from cpsim_kit import CheckUp, Stack, check_up
from cpsim_kit.aws.answers import Answers
from cpsim_kit.check_up import CHECKS

pytestmark = pytest.mark.usefixtures("environment")


def verdicts(report: CheckUp) -> dict[str, str]:
    return {finding.check.id: finding.verdict for finding in report}


def things(boto: Boto) -> list[str]:
    names = [each["thingName"] for each in boto("iot").list_things(maxResults=250)["things"]]
    return [name for name in names if name.startswith("CPSIM-CHECK")]


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_the_kits_own_csms_passes_all(stack: Stack, boto: Boto, version: str) -> None:
    report = await check_up(stack, version)
    assert set(verdicts(report).values()) == {"passed"}, report.to_frame().to_string()
    assert "the bill says 1000 Wh" in report["offline"].seen
    assert "Blocked" in report["refused_token"].seen
    assert "GetLocalListVersion sent in place of the CSMS was left unanswered" in report["unanswered_call"].seen
    assert things(boto) == []
    assert not [each for each in await stack.tokens.list() if each.id.startswith("CPSIM")]


async def test_the_missing_seq_no_is_in_the_ledger(stack: Stack) -> None:
    report = await check_up(stack, checks=["seq_no_gap"])
    event = next(record for record in report["seq_no_gap"].messages if record.action == "TransactionEvent")
    frame = await stack.transactions.to_frame()
    [missing] = frame[frame.transaction_id == event.payload["transactionInfo"]["transactionId"]].missing
    assert missing == [2]


async def test_two_check_ups_of_one_stack_do_not_disturb_each_other(stack: Stack, boto: Boto) -> None:
    reports = await asyncio.gather(*(check_up(stack, version) for version in ("2.0.1", "2.0.1", "1.6")))
    assert [set(verdicts(report).values()) for report in reports] == [{"passed"}] * 3
    assert things(boto) == []


async def test_a_thing_that_was_there_stays(stack: Stack, boto: Boto) -> None:
    await stack.things.create("CPSIM-CHECK-02")
    await check_up(stack, checks=["boot", "heartbeat_time"], ids=["CPSIM-CHECK-02"])
    assert things(boto) == ["CPSIM-CHECK-02"]
    await stack.things.delete("CPSIM-CHECK-02")


async def test_interrupted_it_leaves_nothing(stack: Stack, boto: Boto) -> None:
    began = asyncio.Event()

    async def ledger(_charge_point_id: str, _transaction_id: object) -> None:
        began.set()
        await asyncio.sleep(SOON)

    checking = asyncio.create_task(check_up(stack, ledger=ledger, timeout=SOON))
    await asyncio.wait_for(began.wait(), 6 * SOON)  # twelve Things and two checks come before
    assert len(things(boto)) == 12
    assert [each for each in await stack.tokens.list() if each.id.startswith("CPSIM")]
    checking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await checking
    assert things(boto) == []
    assert not [each for each in await stack.tokens.list() if each.id.startswith("CPSIM")]


async def test_a_ledger_of_the_readers_own_is_asked_instead(stack: Stack) -> None:
    async def ledger(_charge_point_id: str, _transaction_id: object) -> float:
        return 5.0

    for timeout in (100 * MS, SOON):  # within which each answer, too, has to come
        report = await check_up(stack, checks=["cable_first"], ledger=ledger, timeout=timeout)
        if "the bill says" in report["cable_first"].seen:
            break
    assert report["cable_first"].seen == "the bill says 5 Wh, not 1000"


async def test_a_refused_token_of_the_readers_own_is_used(stack: Stack) -> None:
    report = await check_up(stack, checks=["refused_token"], refused_token="TAG-9")  # which the kit's CSMS accepts
    assert report["refused_token"].verdict == "failed"
    assert "Authorize accepted TAG-9" in report["refused_token"].seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "failed"), [("1.6", {"unknown_action"}), ("2.0.1", {"heartbeat_time", "unknown_action"})]
)
async def test_the_samples_csms(version: str, failed: set[str]) -> None:
    async with Stack.local(csms="sample") as stack:
        report = await check_up(stack, version)
    assert set(report.failed) == failed
    passed = {"boot", "unanswered_call", "heartbeat_time"} - failed
    others = {check.id for check in CHECKS[version]} - passed - failed - {"refused_token"}
    assert verdicts(report) == (
        dict.fromkeys(passed, "passed")
        | dict.fromkeys(failed, "failed")
        | dict.fromkeys(others, "not supported")
        | {"refused_token": "not tried"}
    )
    assert "no table of tokens" in report["refused_token"].seen


@pytest.mark.slow
async def test_a_handler_of_the_readers_own_that_bills_elsewhere(stack: Stack) -> None:
    """The stack's table says nothing of it; so nothing is claimed, and the wait for it is not repeated."""

    async def handler(_charge_point_id: str, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        if action == "BootNotification":
            return {"currentTime": now, "interval": 10, "status": "Accepted"}
        return {"idTokenInfo": {"status": "Accepted"}} if "idToken" in payload else {}

    async with Answers(stack._aws.mqtt_endpoint, handler):  # on the session's stack, as for one on AWS
        for timeout in (1000 * MS, SOON):  # within which each answer, too, has to come
            report = await check_up(stack, checks=["refused_token", "cable_first", "offline"], timeout=timeout)
            if not any("no answer within" in finding.seen for finding in report):
                break
    assert verdicts(report) == {"refused_token": "failed", "cable_first": "passed", "offline": "passed"}
    assert re.search(
        r"; Authorize accepted CPSIM-NO-\w{8}, which is Blocked in stack.tokens$", report["refused_token"].seen
    )
    assert "this CSMS has not written to stack.transactions" in report["cable_first"].seen
    assert "this CSMS has not written to stack.transactions" in report["offline"].seen


@pytest.mark.slow
async def test_the_kits_processor_as_a_function_behind_a_queue() -> None:
    async with Stack.local(csms="lambda") as stack:
        report = await check_up(stack, timeout=SOON)
    assert set(verdicts(report).values()) == {"passed"}, report.to_frame().to_string()
    assert "the bill says 1000 Wh" in report["offline"].seen
