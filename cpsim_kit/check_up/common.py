"""The checks that both versions have in the same form. Does no I/O."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cpsim_kit.check_up.play import Play
from cpsim_kit.check_up.steps import Answer, AwaitCall, CsmsCall, Pause, Say, Script
from cpsim_kit.check_up.verdicts import Failed, NotTried, Verdict

__all__ = [
    "boot",
    "heartbeat_time",
    "judge_time",
    "plug_in",
    "send_status",
    "unanswered_call",
    "unknown_action",
    "unplug",
]

CLOCK_TOLERANCE = 60  # seconds between the CSMS's clock and this computer's; the specification has no number

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.(?P<decimals>\d+))?(?P<zone>[Zz]|[+-]\d\d:\d\d)?")


def boot(play: Play) -> Script:
    """Boot; while not accepted, try another message."""
    answer = yield from play.ask("BootNotification", play.boot_payload)
    status, interval = answer["status"], answer["interval"]
    play.boot_status = status
    play.note(f"{status}, interval {interval} s")
    if interval < 0:
        play.blame(f"the interval is {interval} s")
    try:
        datetime.fromisoformat(answer["currentTime"].upper())
    except ValueError:
        play.blame(f"currentTime is not a time: {answer['currentTime']!r}")
    if status == "Accepted":
        yield from play.ask("StatusNotification", status_notification(play, "Available"))
        return
    yield from _before_acceptance(play, status)
    if 0 < interval <= play.patience:
        yield Pause(interval)
        play.boot_status = (yield from play.ask("BootNotification", play.boot_payload))["status"]
        play.note(f"then {play.boot_status}")


def _before_acceptance(play: Play, status: str) -> Script:
    """Send what may not be sent yet."""
    answer: Answer = yield Say("StatusNotification", status_notification(play, "Available"))
    if answer.code == "SecurityError":
        play.note("StatusNotification before acceptance got CALLERROR SecurityError")
    elif answer.outcome == "connection lost":
        if status == "Pending":
            raise Failed(f"{status}, and the connection was closed: {answer}")
        play.note("then the CSMS closed the connection, as it may after Rejected")  # B03, remarks; OCPP 1.6, 4.2
    elif play.is_16:
        play.note(f"StatusNotification before acceptance: {answer}; CALLERROR SecurityError is recommended")
    else:
        play.blame(f"{status}, and StatusNotification before acceptance: {answer}, not CALLERROR SecurityError")
    if answer.outcome == "connection lost":
        play.patience = 0  # there is nothing to boot again on


def status_notification(play: Play, status: str) -> dict[str, object]:
    """The payload of StatusNotification for the one connector."""
    if play.is_16:
        return {"connectorId": 1, "errorCode": "NoError", "status": status}
    return {"timestamp": play.at(0), "connectorStatus": status, "evseId": 1, "connectorId": 1}


def plug_in(play: Play) -> Script:
    """What comes before a transaction: a free connector, a token that is accepted, a car."""
    yield from send_status(play, "Available")
    yield from play.authorize()
    yield from send_status(play, "Preparing" if play.is_16 else "Occupied")


def unplug(play: Play) -> Script:
    """What comes after a transaction."""
    if play.is_16:
        yield from send_status(play, "Finishing")
    yield from send_status(play, "Available")


def send_status(play: Play, status: str) -> Script:
    """Send the status of the one connector."""
    yield from play.ask("StatusNotification", status_notification(play, status), status)


def heartbeat_time(play: Play) -> Script:
    """Ask for the time."""
    yield from play.begin()
    answer: Answer = yield Say("Heartbeat", {})
    if problem := play.problem("Heartbeat", answer):
        raise Failed(f"Heartbeat: {problem}")
    play.answered += 1
    for text, is_wrong in judge_time(answer.payload["currentTime"], answer.at, is_16=play.is_16):
        (play.blame if is_wrong else play.note)(text)


def judge_time(text: str, now: datetime, *, is_16: bool) -> list[tuple[str, bool]]:
    """Judge a time that a CSMS says is now.

    Args:
        text: As it was written.
        now: What this computer's clock says.
        is_16: Whether ISO 8601 will do; otherwise it is RFC 3339 with at most three decimals.

    Returns:
        What is to be said of it, each with whether it is wrong.
    """
    said: list[tuple[str, bool]] = []
    form = _RFC_3339.fullmatch(text)
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        return [(f"currentTime is not a time: {text!r}", True)]
    if form is None and not is_16:
        said.append((f"currentTime is not in the form of RFC 3339: {text!r}", True))
    elif moment.tzinfo is None:
        said.append((f"currentTime has no time zone: {text!r}", not is_16))
    elif moment.utcoffset():
        said.append((f"the time zone is not UTC: {text!r}", False))
    if not is_16 and form is not None and len(form["decimals"] or "") > 3:
        said.append((f"currentTime has more than three decimals of a second: {text!r}", True))
    off = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    is_off = abs(off) > CLOCK_TOLERANCE
    where = f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} this computer's clock"
    said.append((f"currentTime is {where}" if abs(off) >= 1 else "the time is this computer's", is_off))
    return said


def unknown_action(play: Play) -> Script:
    """Send an action that OCPP does not have."""
    yield from play.begin()
    answer: Answer = yield Say("CpsimCheck", {})
    if answer.code != "NotImplemented":
        raise Failed(f"action CpsimCheck: {answer}, not CALLERROR NotImplemented")
    play.answered += 1
    play.note("action CpsimCheck got CALLERROR NotImplemented")
    yield from play.ask("Heartbeat", {}, "after it")


def unanswered_call(play: Play) -> Script:
    """Leave a CALL of the CSMS without an answer, and go on."""
    yield from play.begin()
    yield from play.ask("StatusNotification", status_notification(play, "Available"))
    call: CsmsCall = yield AwaitCall()
    if not call.action:
        raise NotTried(call.origin)
    play.note(f"{call.action} {call.origin} was left unanswered")
    play.answered = 0
    try:
        for _ in range(2):
            yield from play.ask("Heartbeat", {})
    except Verdict as exc:
        raise type(exc)(f"while {call.action} {call.origin} was unanswered: {exc}") from exc
