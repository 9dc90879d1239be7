"""Each check finds the fault that is its own, and no other does; what a CSMS that is right, silent or broken gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from billing_csms import FAULTS, REFUSED, BillingCsms, billing_csms
from conftest import MS, SOON
from csms_stub import Behaviour, Call, Csms, Link, abort, answer, close, error, garbage, silent

from cpsim_kit import CheckUp, check_up, errors
from cpsim_kit.check_up import CHECKS

VERSIONS = ("1.6", "2.0.1")  # 2.1 says the same as 2.0.1
SHORT = 1000 * MS  # seconds to wait for an answer or a bill that will not come; the others come much earlier

CASES = [(version, check) for version, faults in FAULTS.items() for check in faults]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    version: str = request.param
    return version


@pytest.fixture
async def right(version: str) -> AsyncIterator[BillingCsms]:
    async with billing_csms(version) as csms:
        yield csms


def verdicts(report: CheckUp) -> dict[str, str]:
    return {finding.check.id: finding.verdict for finding in report}


async def check_shortly(play: Callable[[float], Awaitable[CheckUp]], **expected: str) -> CheckUp:
    """A check-up by ``play(timeout)`` with a short time-out; again with a longer one if the verdicts are not these.

    On a slow machine an answer that does come may come too late.
    """
    report = await play(SHORT)
    return report if verdicts(report) == expected else await play(5 * SHORT)


def test_every_check_has_its_own_fault() -> None:
    assert {version: list(faults) for version, faults in FAULTS.items()} == {
        version: [check.id for check in checks] for version, checks in CHECKS.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(("version", "check"), CASES, ids=[f"{version}-{check}" for version, check in CASES])
async def test_a_fault_fails_its_check_and_no_other(version: str, check: str) -> None:
    async def play(timeout: float) -> CheckUp:
        async with billing_csms(version, check) as csms:
            return await check_up(csms.url, version, refused_token=REFUSED, ledger=csms.ledger, timeout=timeout)

    expected = {each.id: "failed" if each.id == check else "passed" for each in CHECKS[version]}
    report = await check_shortly(play, **expected)
    assert verdicts(report) == expected, [f"{finding.check.id}: {finding.seen}" for finding in report]
    assert report.failed == [check]


async def test_a_right_csms_passes_all(version: str, right: BillingCsms) -> None:
    report = await check_up(right.url, version, refused_token=REFUSED, ledger=right.ledger)
    assert set(verdicts(report).values()) == {"passed"}, report.to_frame().to_string()
    assert report.failed == []
    assert "the bill says 1000 Wh" in report["offline"].seen
    assert right.stub.overlaps == 0


async def test_each_check_has_its_own_connection_and_id(version: str, right: BillingCsms) -> None:
    await check_up(right.url, version, refused_token=REFUSED)
    paths = [link.ws.request.path for link in right.stub.links]
    expected = [f"/CPSIM-CHECK-{number:02}" for number in range(1, 13)]
    assert list(dict.fromkeys(paths)) == expected
    assert len(paths) == 13  # the offline check connects twice


async def test_ids_can_be_chosen_where_a_csms_knows_its_charge_points(version: str, right: BillingCsms) -> None:
    await check_up(right.url, version, refused_token=REFUSED, ids=["CP1", "CP2"])
    assert {link.ws.request.path for link in right.stub.links} == {"/CP1", "/CP2"}


async def test_checks_can_be_chosen(right: BillingCsms, version: str) -> None:
    report = await check_up(right.url, version, ["token_first", "boot"])
    assert verdicts(report) == {"boot": "passed", "token_first": "passed"}


async def test_without_a_ledger_nothing_is_claimed_of_the_bill(version: str, right: BillingCsms) -> None:
    report = await check_up(right.url, version, refused_token=REFUSED)
    assert set(verdicts(report).values()) == {"passed"}
    assert "the bill was not seen" in report["offline"].seen
    assert "the bill says" not in report["offline"].seen


async def test_without_a_refused_token_that_check_is_not_tried(version: str, right: BillingCsms) -> None:
    report = await check_up(right.url, version, ["refused_token"])
    assert report["refused_token"].verdict == "not tried"
    assert report["refused_token"].seen == "no refused token was given"


async def test_without_a_call_of_the_csms_that_check_is_not_tried(version: str, right: BillingCsms) -> None:
    right.sends_call = False

    async def play(timeout: float) -> CheckUp:
        return await check_up(right.url, version, ["unanswered_call"], timeout=timeout)

    report = await check_shortly(play, unanswered_call="not tried")
    assert report["unanswered_call"].verdict == "not tried"
    assert "no CALL by itself" in report["unanswered_call"].seen


async def test_a_token_that_is_not_accepted_is_no_fault(version: str, right: BillingCsms) -> None:
    report = await check_up(right.url, version, refused_token=REFUSED, token=REFUSED, ledger=right.ledger)
    assert report.failed == []
    assert report["token_first"].verdict == "not tried"
    assert "give a token that is accepted" in report["token_first"].seen


async def test_a_bill_that_does_not_come_is_a_failure_where_there_has_to_be_one() -> None:
    async def empty(_charge_point_id: str, _transaction_id: object) -> None:
        return None

    async def play(timeout: float) -> CheckUp:
        async with billing_csms("2.0.1") as csms:
            return await check_up(csms.url, checks=["cable_first", "seq_no_gap"], ledger=empty, timeout=timeout)

    expected = {"cable_first": "failed", "seq_no_gap": "passed"}
    report = await check_shortly(play, **expected)
    assert verdicts(report) == expected
    assert report["cable_first"].seen == "the ledger has no Wh for the transaction"
    assert "no bill" in report["seq_no_gap"].seen


@pytest.mark.parametrize("error", [LookupError("CP1"), TimeoutError("CP1"), errors.WaitTimeout("CP1", 1)], ids=repr)
async def test_a_ledger_that_fails_ends_no_check(error: Exception) -> None:
    async def broken(_charge_point_id: str, _transaction_id: object) -> float:
        raise error

    async with billing_csms("1.6") as csms:
        report = await check_up(csms.url, "1.6", ["cable_first", "offline"], ledger=broken)
    assert verdicts(report) == {"cable_first": "not tried", "offline": "not tried"}
    assert f"the bill was not seen: the ledger raised {error!r}" in report["offline"].seen


async def test_a_ledger_that_does_not_answer_ends_no_check() -> None:
    async def hanging(_charge_point_id: str, _transaction_id: object) -> float:
        return await asyncio.get_running_loop().create_future()

    async def play(timeout: float) -> CheckUp:
        async with billing_csms("1.6") as csms:
            return await check_up(csms.url, "1.6", ["cable_first"], ledger=hanging, timeout=timeout)

    report = await check_shortly(play, cable_first="not tried")
    assert verdicts(report) == {"cable_first": "not tried"}
    assert "the bill was not seen: the ledger did not answer within" in report["cable_first"].seen


async def test_a_ledger_may_be_a_plain_function() -> None:
    async with billing_csms("1.6") as csms:
        report = await check_up(csms.url, "1.6", ["cable_first"], ledger=lambda _id, _transaction: 999.8)
    assert "the bill says 999.8 Wh" in report["cable_first"].seen


@pytest.mark.parametrize("ledger", [5, lambda _id: 1.0, lambda _id, _transaction, _more: 1.0], ids=["5", "1", "3"])
async def test_a_ledger_that_is_no_function_of_two_arguments_is_refused_before_anything_is_played(ledger: Any) -> None:
    with pytest.raises(TypeError, match="ledger= is a function of a charge point's id and a transaction's id"):
        await check_up("ws://127.0.0.1:9", "1.6", ledger=ledger)


# -- Boots -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
async def test_other_messages_before_acceptance_get_security_error(
    version: str, right: BillingCsms, status: str
) -> None:

    async def play(timeout: float) -> CheckUp:
        right.boots = [status]
        return await check_up(right.url, version, timeout=timeout)

    report = await play(SHORT)
    if report["boot"].verdict != "passed" or report.failed:
        report = await play(5 * SHORT)  # a slow machine takes longer
    assert report["boot"].verdict == "passed"
    assert f"{status}, interval 0 s" in report["boot"].seen
    assert "SecurityError" in report["boot"].seen
    assert set(verdicts(report).values()) == {"passed", "not tried"}
    assert status in report["cable_first"].seen


async def test_answering_others_before_acceptance_is_wrong_in_201_and_allowed_in_16(version: str, csms: Csms) -> None:
    csms.on["BootNotification"] = answer({"currentTime": "2026-11-23T10:00:00Z", "interval": 0, "status": "Rejected"})
    report = await check_up(csms.url, version, ["boot"])
    assert report["boot"].verdict == ("passed" if version == "1.6" else "failed")
    assert "SecurityError" in report["boot"].seen


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
async def test_closing_before_acceptance(version: str, csms: Csms, status: str) -> None:
    csms.on["BootNotification"] = answer({"currentTime": "2026-11-23T10:00:00Z", "interval": 0, "status": status})
    csms.on["StatusNotification"] = close(1000, "come back")
    report = await check_up(csms.url, version, ["boot"])
    assert report["boot"].verdict == ("passed" if status == "Rejected" else "failed"), report["boot"].seen


async def test_a_csms_that_accepts_the_second_boot_is_checked(version: str, csms: Csms) -> None:
    """It is booted again after the interval of the answer."""
    pending = {"currentTime": "2026-11-23T10:00:00Z", "interval": 1, "status": "Pending"}
    csms.once += [answer(pending), error("SecurityError", "", {})]
    report = await check_up(csms.url, version, ["boot", "unknown_action"])
    assert report["boot"].seen.endswith("then Accepted")
    assert report["unknown_action"].verdict == "failed"


# -- Broken ones -------------------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[Behaviour, str]] = {
    "silent": (silent, "no answer within"),
    "closes": (close(1011, "oh no"), "1011"),
    "aborts": (abort, "the connection ended, by the network"),
    "errors": (error("InternalError", "x" * 1000, {}), "CALLERROR InternalError"),
    "not JSON": (garbage("nonsense"), "no answer within"),
    "not a frame": (garbage("[3]"), "no answer within"),
    "empty": (answer({}), "breaks the schema"),
    "text": (answer("text"), "breaks the schema"),
    "null": (answer([]), "breaks the schema"),
}


@pytest.mark.usefixtures("no_hang")
@pytest.mark.parametrize("name", BROKEN)
async def test_a_csms_that_is_broken_from_the_start(version: str, csms: Csms, name: str) -> None:
    csms.on["*"], said = BROKEN[name]

    async def play(timeout: float) -> CheckUp:
        return await check_up(csms.url, version, timeout=timeout)

    expected = {check.id: "failed" if check.id == "boot" else "not tried" for check in CHECKS[version]}
    report = await check_shortly(play, **expected)
    if said not in report["boot"].seen:
        report = await play(5 * SHORT)
    assert verdicts(report) == expected
    assert said in report["boot"].seen
    assert len(report["boot"].seen) < 500


@pytest.mark.slow
@pytest.mark.usefixtures("no_hang")
@pytest.mark.parametrize("name", BROKEN)
async def test_a_csms_that_is_broken_once_it_has_booted(version: str, csms: Csms, name: str) -> None:
    """Each check fails on its own."""
    csms.on["*"], said = BROKEN[name]
    csms.on["BootNotification"] = answer()

    async def play(timeout: float) -> CheckUp:
        return await check_up(csms.url, version, ["unknown_action", "token_first"], timeout=timeout)

    expected = {"unknown_action": "failed", "token_first": "failed"}
    report = await check_shortly(play, **expected)
    if said not in report["token_first"].seen:
        report = await play(5 * SHORT)
    assert verdicts(report) == expected
    assert said in report["token_first"].seen


@pytest.mark.slow
async def test_a_csms_that_only_boots(version: str, csms: Csms) -> None:
    """Each check fails on its own, and none hangs."""
    csms.on |= {"*": silent, "BootNotification": answer()}

    async def play(timeout: float) -> CheckUp:
        return await check_up(csms.url, version, timeout=timeout, refused_token=REFUSED)

    report = await check_shortly(play, **{check.id: "failed" for check in CHECKS[version]})
    assert set(verdicts(report).values()) == {"failed"}


async def test_a_check_that_fails_ends_its_transaction(version: str, csms: Csms) -> None:
    async def refuse_occupied(link: Link, call: Call) -> None:
        is_occupied = call.payload.get("connectorStatus") == "Occupied"
        await (error("InternalError", "", {}) if is_occupied else answer())(link, call)

    csms.on["Authorize"] = answer({"idTagInfo" if version == "1.6" else "idTokenInfo": {"status": "Accepted"}})
    csms.on["StartTransaction"] = answer({"transactionId": 7, "idTagInfo": {"status": "Accepted"}})
    csms.on["MeterValues"] = error("InternalError", "", {})
    csms.on["StatusNotification"] = refuse_occupied
    report = await check_up(csms.url, version, ["offline" if version == "1.6" else "token_first"])
    assert len(report.failed) == 1
    last = csms.calls[-1]
    if version == "1.6":
        assert (last.action, last.payload["transactionId"], last.payload["reason"]) == ("StopTransaction", 7, "Other")
    else:
        assert (last.action, last.payload["eventType"]) == ("TransactionEvent", "Ended")
        assert last.payload["transactionInfo"]["stoppedReason"] == "Other"


async def test_an_answer_without_id_token_info_fails_the_checks_of_the_token_alone(csms: Csms) -> None:
    others = ["repeated_event", "offline", "ended_first", "seq_no_gap", "register_back"]
    report = await check_up(csms.url, checks=["cable_first", "token_first", *others])
    assert report.failed == ["cable_first", "token_first"]
    assert "no idTokenInfo" in report["offline"].seen


async def test_transactions_that_all_have_one_id_are_found(csms: Csms) -> None:
    csms.on["Authorize"] = answer({"idTagInfo": {"status": "Accepted"}})
    csms.on["StartTransaction"] = answer({"transactionId": 1, "idTagInfo": {"status": "Accepted"}})
    report = await check_up(csms.url, "1.6", ["repeated_start", "repeated_stop"])
    assert report.failed == ["repeated_start"]
    assert report["repeated_start"].seen == "another transaction got the id 1, too"


async def test_a_csms_that_knows_no_transactions(version: str, csms: Csms) -> None:
    csms.on["Authorize"] = answer({"error": "Command [Authorize] not implemented."})
    csms.on["TransactionEvent"] = csms.on["StartTransaction"] = error("NotSupported", "", {})
    report = await check_up(csms.url, version, ["cable_first", "token_first"])
    assert verdicts(report) == {"cable_first": "not supported", "token_first": "not supported"}
    assert 'CALLRESULT {"error": "Command [Authorize] not implemented."}' in report["token_first"].seen


async def test_nobody_listens(version: str) -> None:
    with pytest.raises(errors.ConnectError):
        await check_up("ws://127.0.0.1:9", version, progress=False)


async def test_a_gateway_that_does_not_know_the_first_id(version: str) -> None:
    async with Csms(refuse=(1008, "Charge Point CP9 not registered as an IoT Thing")) as csms:
        with pytest.raises(errors.NotRegistered) as caught:
            await check_up(csms.url, version, ids=["CP9"])
    assert "one id that the CSMS knows is enough: ids=" in caught.value.__notes__[0]


async def test_a_later_id_that_is_refused_is_not_tried(version: str, csms: Csms) -> None:
    csms.refusals = iter([None, 403])  # type: ignore[list-item]  # None: the stub's usual
    report = await check_up(csms.url, version, ["boot", "heartbeat_time", "unknown_action"])
    assert report["heartbeat_time"].verdict == "not tried"
    assert "403" in report["heartbeat_time"].seen
    assert report["unknown_action"].verdict == "failed"


async def test_a_check_up_can_be_interrupted(version: str, csms: Csms) -> None:
    csms.on["Authorize"] = silent
    checking = asyncio.create_task(check_up(csms.url, version, timeout=SOON))
    while "Authorize" not in csms.actions:
        await asyncio.sleep(MS)
    checking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await checking
    assert csms.actions[-1] == "Authorize"  # it goes at once


# -- Arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"version": "1.5"}, "version is one of 1.6, 2.0.1, 2.1, not '1.5'"),
        ({"checks": ["boot", "lunch"]}, "no check 'lunch'; choose from boot, heartbeat_time,"),
        ({"checks": []}, "checks is a list of ids"),
        ({"checks": "boot"}, "checks is a list of ids"),
        ({"ids": []}, "one id is enough"),
        ({"ids": ["a b\n"]}, "a b"),
        ({"token": "x" * 37}, "1 to 36 characters"),
        ({"version": "1.6", "token": "x" * 21}, "1 to 20 characters"),
        ({"refused_token": ""}, "1 to 36 characters"),
        ({"timeout": 0}, "timeout= is more than 0"),
    ],
)
async def test_wrong_values(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        await check_up("ws://127.0.0.1:9", **arguments)  # type: ignore[arg-type]


async def test_wrong_types() -> None:
    with pytest.raises(TypeError, match="a Stack, or a CSMS's address"):
        await check_up(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not the string 'CP1'"):
        await check_up("ws://127.0.0.1:9", ids="CP1")
    with pytest.raises(TypeError, match="bogus"):
        await check_up("ws://127.0.0.1:9", bogus=1)
