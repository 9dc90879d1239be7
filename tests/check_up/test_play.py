"""The scripts and judgements of the checks, without a socket: driven by hand, with answers from a table."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from ocpp.messages import Call, validate_payload

from cpsim_kit.check_up import CHECKS, v16, v201
from cpsim_kit.check_up.checks import choose
from cpsim_kit.check_up.common import judge_time
from cpsim_kit.check_up.play import Play
from cpsim_kit.check_up.steps import Answer, AwaitCall, Bill, CsmsCall, LookAtBill, Pause, Reconnect, Say, Script, Step
from cpsim_kit.check_up.verdicts import Failed, NotSupported, NotTried, Verdict
from cpsim_kit.ocpp_j.versions import Version

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
SCRIPTS = {"1.6": v16.SCRIPTS, "2.0.1": v201.SCRIPTS, "2.1": v201.SCRIPTS}
ALL = [(check.version, check.id) for checks in CHECKS.values() for check in checks]

ANSWERS: dict[str, dict[str, Any]] = {
    "BootNotification": {"currentTime": "2026-11-27T12:00:00Z", "interval": 300, "status": "Accepted"},
    "Heartbeat": {"currentTime": "2026-11-27T12:00:00Z"},
    "StartTransaction": {"transactionId": 7, "idTagInfo": {"status": "Accepted"}},
}


def make_play(version: str, **known: Any) -> Play:
    return Play(Version.get(version), "TAG-1", NOW, lambda: "tx-1", refused_token="NOBODY", **known)


def answer_well(step: Step) -> Any:
    """What comes of a step with a CSMS that is right."""
    match step:
        case Say("CpsimCheck", _):
            return Answer(outcome="CALLERROR", code="NotImplemented", text="CALLERROR NotImplemented")
        case Say(action, payload):
            token = payload.get("idTag") or payload.get("idToken", {}).get("idToken")
            info = {"status": "Invalid" if token == "NOBODY" else "Accepted"}
            if action == "Authorize":
                return Answer({"idTagInfo" if "idTag" in payload else "idTokenInfo": info}, at=NOW)
            if action == "StartTransaction":  # another transaction, another id
                return Answer(
                    {"transactionId": int(datetime.fromisoformat(payload["timestamp"]).timestamp()), "idTagInfo": info},
                    at=NOW,
                )
            if action == "TransactionEvent" and token:
                return Answer({"idTokenInfo": info}, at=NOW)
            return Answer(ANSWERS.get(action, {}), at=NOW)
        case LookAtBill(_, expected_wh):
            return Bill(expected_wh)
        case AwaitCall():
            return CsmsCall("GetLocalListVersion", "of the CSMS")
        case Reconnect():
            return ""
    return None


def drive(script: Script, respond: Callable[[Step], Any] = answer_well) -> list[Step]:
    """Play a script to its end; the steps it took."""
    steps: list[Step] = []
    result = None
    while True:
        try:
            step = script.send(result)
        except StopIteration:
            return steps
        steps.append(step)
        result = respond(step)


def said(steps: list[Step]) -> list[Say]:
    return [step for step in steps if isinstance(step, Say)]


@pytest.mark.parametrize(("version", "check"), ALL)
async def test_what_a_check_says_is_valid_for_the_ocpp_package(version: str, check: str) -> None:
    """But for the action that OCPP does not have."""
    play = make_play(version)
    for say in said(drive(SCRIPTS[version][check](play))):
        if say.action != "CpsimCheck":
            await validate_payload(Call("1", say.action, dict(say.payload)), version)
    assert "answered" in play.seen()


@pytest.mark.parametrize(("version", "check"), ALL)
def test_a_check_fails_wherever_an_answer_does_not_come(version: str, check: str) -> None:
    """Whichever of its messages it is; where it is the boot before it, the check is not tried."""
    steps = drive(SCRIPTS[version][check](make_play(version)))
    for number, step in enumerate(steps):
        if not isinstance(step, Say):
            continue
        counter = itertools.count()

        def respond(step: Step, number: int = number, counter: Any = counter) -> Any:
            if next(counter) == number:
                return Answer(outcome="no answer", text="no answer within 5 s")
            return answer_well(step)

        play = make_play(version)
        is_before = step.action == "BootNotification" and check != "boot"
        with pytest.raises(NotTried if is_before else Failed, match="no answer within 5 s"):  # noqa: PT012
            drive(SCRIPTS[version][check](play), respond)
            play.seen()


@pytest.mark.parametrize(("version", "check"), ALL)
async def test_a_check_that_breaks_off_ends_its_transaction(version: str, check: str) -> None:
    """With a valid message; and one that goes well leaves nothing to end."""
    play = make_play(version)
    steps = drive(SCRIPTS[version][check](play))
    assert play.farewell() is None
    for number, step in enumerate(steps):
        play = make_play(version)
        script = SCRIPTS[version][check](play)
        result = None
        for each in steps[:number]:
            assert script.send(result) == each
            result = answer_well(each)
        script.send(result)
        script.close()
        before = [say.action for say in said(steps[:number])]
        kinds = [say.payload.get("eventType") for say in said(steps[:number])]
        farewell = play.farewell()
        if version == "1.6":
            starts_and_stops = [action for action in before if action in {"StartTransaction", "StopTransaction"}]
            assert (farewell is not None) == (starts_and_stops[-1:] == ["StartTransaction"])
        elif isinstance(step, Say) and step.action == "TransactionEvent":
            assert (farewell is None) == ("Ended" in [step.payload["eventType"], *kinds])
        if farewell is not None:
            await validate_payload(Call("1", farewell.action, dict(farewell.payload)), version)
        assert play.farewell() is None


@pytest.mark.parametrize(
    "answer",
    [
        Answer(outcome="not implemented", text="CALLRESULT {…}"),
        Answer(outcome="CALLERROR", code="NotImplemented", text="CALLERROR NotImplemented"),
        Answer(outcome="CALLERROR", code="NotSupported", text="CALLERROR NotSupported"),
    ],
)
@pytest.mark.parametrize(("version", "action"), [("1.6", "StartTransaction"), ("2.0.1", "TransactionEvent")])
def test_a_csms_that_says_so_does_not_support_it(version: str, action: str, answer: Answer) -> None:
    def respond(step: Step) -> Any:
        return answer if isinstance(step, Say) and step.action == action else answer_well(step)

    with pytest.raises(NotSupported, match=action):
        drive(SCRIPTS[version]["token_first"](make_play(version)), respond)


@pytest.mark.parametrize(
    ("bill", "verdict"),
    [
        (Bill(1000.0), ""),
        (Bill(1000.4), ""),
        (Bill(None, "nobody looks"), ""),
        (Bill(None), "no Wh"),
        (Bill(2000), "the bill says 2000 Wh, not 1000"),
        (Bill(0), "the bill says 0 Wh, not 1000"),
        (Bill(float("nan")), "the bill says nan Wh"),
    ],
)
@pytest.mark.parametrize("version", CHECKS)
def test_bills(version: str, bill: Bill, verdict: str) -> None:
    def respond(step: Step) -> Any:
        return bill if isinstance(step, LookAtBill) else answer_well(step)

    play = make_play(version)
    drive(SCRIPTS[version]["cable_first"](play), respond)
    if verdict:
        with pytest.raises(Failed, match=verdict):
            play.seen()
    else:
        assert ("the bill says" in play.seen()) == (not bill.not_seen)


@pytest.mark.parametrize(("interval", "is_repeated"), [(5, True), (6, False), (0, False)])
def test_a_pending_boot_is_repeated_after_a_short_interval_only(interval: int, is_repeated: bool) -> None:
    def respond(step: Step) -> Any:
        pending = {"currentTime": "2026-11-27T12:00:00Z", "interval": interval, "status": "Pending"}
        if isinstance(step, Say) and step.action == "BootNotification":
            return Answer(pending)
        return Answer(outcome="CALLERROR", code="SecurityError")

    play = make_play("2.0.1", patience=5)
    steps = drive(v201.SCRIPTS["boot"](play), respond)
    kinds = [step.action if isinstance(step, Say) else step for step in steps]
    again = [Pause(5), "BootNotification"] if is_repeated else []
    assert kinds == ["BootNotification", "StatusNotification", *again]
    assert play.boot_status == "Pending"


def test_offline_events_are_old_flagged_and_in_order() -> None:
    steps = drive(v201.SCRIPTS["offline"](make_play("2.0.1")))
    events = [say.payload for say in said(steps[steps.index(Reconnect()) :])]
    assert [event["eventType"] for event in events] == ["Started", "Updated", "Updated", "Ended"]
    assert [event["seqNo"] for event in events] == [0, 1, 2, 3]
    assert all(event["offline"] for event in events)
    times = [datetime.fromisoformat(event["timestamp"]) for event in events]
    assert times == sorted(times)
    assert (NOW - times[-1]).total_seconds() == 2 * 3600


def sequence(check: str) -> list[int]:
    steps = drive(v201.SCRIPTS[check](make_play("2.0.1")))
    return [say.payload["seqNo"] for say in said(steps) if say.action == "TransactionEvent"]


@pytest.mark.parametrize(
    ("check", "numbers"),
    [
        ("repeated_event", [0, 0, 1, 1, 2, 2]),
        ("ended_first", [0, 1, 3, 2]),
        ("seq_no_gap", [0, 1, 3, 4]),
        ("register_back", [0, 1, 2, 3, 4]),
    ],
)
def test_the_order_of_events(check: str, numbers: list[int]) -> None:
    assert sequence(check) == numbers


def test_repeated_messages_are_the_same_messages() -> None:
    for version, check, action in (
        ("2.0.1", "repeated_event", "TransactionEvent"),
        ("1.6", "repeated_start", "StartTransaction"),
        ("1.6", "repeated_stop", "StopTransaction"),
    ):
        payloads = [
            say.payload for say in said(drive(SCRIPTS[version][check](make_play(version)))) if say.action == action
        ]
        pairs = len(payloads) // 2 * 2  # after the two StartTransaction, there is one of another transaction
        assert payloads[0:pairs:2] == payloads[1:pairs:2]


@pytest.mark.parametrize(
    ("text", "wrong_in_201", "wrong_in_16"),
    [
        ("2026-11-27T12:00:00Z", False, False),
        ("2026-11-27T12:00:00.123Z", False, False),
        ("2026-11-27t12:00:00z", False, False),
        ("2026-11-27T13:00:30+01:00", False, False),
        ("2026-11-27T12:00:59Z", False, False),
        ("2026-11-27T12:01:01Z", True, True),
        ("2026-11-27T11:58:59Z", True, True),
        ("2026-11-27T13:00:00Z", True, True),
        ("2026-11-27T12:00:00.123456Z", True, False),
        ("2026-11-27T12:00:00", True, False),
        ("2026-11-27T13:00:00", True, True),
        ("20261127T120000Z", True, False),
        ("2026-11-27 12:00:00Z", True, False),
        ("2026-11-27", True, True),
        ("Fri Nov 27 12:00:00 2026", True, True),
        ("1795780800", True, True),
        ("", True, True),
    ],
)
def test_times(text: str, wrong_in_201: bool, wrong_in_16: bool) -> None:
    assert any(is_wrong for _, is_wrong in judge_time(text, NOW, is_16=False)) == wrong_in_201
    assert any(is_wrong for _, is_wrong in judge_time(text, NOW, is_16=True)) == wrong_in_16


def test_the_table_has_twelve_checks_a_version_each_with_its_source() -> None:
    for version, checks in CHECKS.items():
        assert len(checks) == len({check.id for check in checks}) == 12
        assert list(SCRIPTS[version]) == [check.id for check in checks]
        assert all(check.requirement and check.demand.endswith(".") and check.version == version for check in checks)


def test_checks_are_chosen_in_the_order_of_the_table() -> None:
    assert [check.id for check in choose("1.6", ["offline", "boot", "offline"])] == ["boot", "offline"]


def test_every_verdict_has_a_name() -> None:
    assert {kind.name for kind in Verdict.__subclasses__()} == {"failed", "not supported", "not tried"}
