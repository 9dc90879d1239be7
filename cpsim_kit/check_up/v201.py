"""The checks of OCPP 2.0.1 and 2.1 that play transactions. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cpsim_kit.check_up import common
from cpsim_kit.check_up.common import plug_in, send_status, unplug
from cpsim_kit.check_up.play import BEGIN_WH, HOURS, SESSION, WH, Play, id_token
from cpsim_kit.check_up.steps import Reconnect, Script, Step
from cpsim_kit.check_up.verdicts import Failed, NotTried

__all__ = ["SCRIPTS"]


@dataclass
class _Transaction:
    """Writes the events of a transaction, with the next seqNo each.

    Attributes:
        play: The play.
        begins: When the transaction begins, in seconds from the play's beginning.
        lasts: Seconds.
        offline: Whether the events are flagged as offline.
    """

    play: Play
    begins: float = -SESSION
    lasts: float = SESSION
    offline: bool = False
    seq_no: int = 0
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = self.play.new_id()

    def event(
        self,
        kind: str,
        trigger: str,
        part: float,
        *,
        wh: Mapping[str, float] | None = None,
        state: str = "",
        reason: str = "",
        token: str = "",
        evse: bool = False,
    ) -> dict[str, Any]:
        """The payload of TransactionEvent.

        Args:
            kind: The event type.
            trigger: The trigger reason.
            part: When, as a part of the transaction's time.
            wh: Wh since the start, by the context of the reading.
            state: The charging state.
            reason: The stopped reason.
            token: The token, where the event names one.
            evse: Whether it names the EVSE.
        """
        at = self.play.at(self.begins + part * self.lasts)
        info = {"transactionId": self.id, "chargingState": state, "stoppedReason": reason}
        event: dict[str, Any] = {
            "eventType": kind,
            "timestamp": at,
            "triggerReason": trigger,
            "seqNo": self.seq_no,
            "transactionInfo": {name: value for name, value in info.items() if value},
        }
        self.seq_no += 1
        if self.offline:
            event["offline"] = True
        if token:
            event["idToken"] = id_token(token)
        if evse:
            event["evse"] = {"id": 1, "connectorId": 1}
        if wh is not None:
            begin = self.play.at(self.begins)
            event["meterValue"] = [
                _reading(begin if context == "Transaction.Begin" else at, context, value)
                for context, value in wh.items()
            ]
        return event

    def started(self, trigger: str = "Authorized", *, token: str = "", evse: bool = True) -> dict[str, Any]:
        """The event that starts it."""
        wh = {"Transaction.Begin": 0.0} if evse else None
        return self.event("Started", trigger, 0, wh=wh, state="EVConnected" if evse else "Idle", token=token, evse=evse)

    def metered(self, part: float, wh: float | None = None) -> dict[str, Any]:
        """A periodic reading."""
        wh = part * WH if wh is None else wh
        return self.event("Updated", "MeterValuePeriodic", part, wh={"Sample.Periodic": wh}, state="Charging")

    def ended(self, trigger: str = "StopAuthorized", reason: str = "Local", wh: float = WH) -> dict[str, Any]:
        """The event that ends it, with the registers of the start and the end."""
        return self.event(
            "Ended",
            trigger,
            1,
            wh={"Transaction.Begin": 0.0, "Transaction.End": wh},
            state="EVConnected",
            reason=reason,
        )


def _reading(at: str, context: str, wh: float) -> dict[str, Any]:
    sample = {
        "value": BEGIN_WH + wh,
        "context": context,
        "measurand": "Energy.Active.Import.Register",
        "unitOfMeasure": {"unit": "Wh"},
    }
    return {"timestamp": at, "sampledValue": [sample]}


def _send_event(play: Play, event: dict[str, Any], what: str = "") -> Generator[Step, Any, dict[str, Any]]:
    """Send an event. What its answer makes of the token is for the checks of that, and only noted here."""
    answer = yield from play.ask("TransactionEvent", event, f"{event['eventType']} {event['triggerReason']} {what}")
    if problem := _token_problem(event, answer):
        play.note(f"TransactionEvent {problem}")
    return answer


def _send_authorizing(play: Play, event: dict[str, Any]) -> Generator[Step, Any, None]:
    """Send the event that authorizes by the token; the answer has to accept the token."""
    name = f"{event['eventType']} {event['triggerReason']}"
    answer = yield from play.ask("TransactionEvent", event, name)
    if problem := _token_problem(event, answer):
        play.blame(f"TransactionEvent {name} {problem}")


def _token_problem(event: dict[str, Any], answer: dict[str, Any]) -> str:
    """What is wrong with an answer's view of the token, where the event authorizes by it; "" if nothing is."""
    if "idToken" not in event or event["triggerReason"] != "Authorized":
        return ""
    status = answer.get("idTokenInfo", {}).get("status")
    if status is None:
        return "names the token, and the answer has no idTokenInfo"
    return "" if status == "Accepted" else f"got {status}, although Authorize accepted the token"


def _send_events(play: Play, *events: dict[str, Any]) -> Generator[Step, Any, None]:
    for event in events:
        yield from _send_event(play, event)


def _refused_token(play: Play) -> Script:
    yield from play.begin()
    if not play.refused_token:
        raise NotTried(play.about_refused_token)
    for status in ("Available", "Occupied"):
        yield from send_status(play, status)
    transaction = _Transaction(play)
    answer = yield from play.ask("TransactionEvent", transaction.started(token=play.refused_token), "Started")
    found = answer.get("idTokenInfo", {}).get("status")
    play.note(f"TransactionEvent: {found}")
    if found is None:
        play.blame("TransactionEvent names the token, and the answer has no idTokenInfo")
    elif found == "Accepted":
        play.blame(f"TransactionEvent accepted {play.refused}")
    yield from play.ask("TransactionEvent", transaction.ended("Deauthorized", "DeAuthorized", wh=0), "Ended")
    yield from unplug(play)
    yield from play.authorize_refused()


def _cable_first(play: Play) -> Script:
    yield from play.begin()
    yield from send_status(play, "Available")
    yield from send_status(play, "Occupied")
    transaction = _Transaction(play)
    yield from _send_event(play, transaction.started("CablePluggedIn"))
    yield from play.authorize()
    yield from _send_authorizing(play, transaction.event("Updated", "Authorized", 0, token=play.token))
    yield from _send_events(
        play,
        transaction.event("Updated", "ChargingStateChanged", 0, state="Charging"),
        transaction.metered(0.5),
        transaction.event("Updated", "StopAuthorized", 1, token=play.token, state="EVConnected"),
        transaction.ended("EVCommunicationLost"),
    )
    yield from unplug(play)
    yield from play.bill(transaction.id)


def _token_first(play: Play) -> Script:
    yield from play.begin()
    yield from send_status(play, "Available")
    yield from play.authorize()
    transaction = _Transaction(play)
    yield from _send_authorizing(play, transaction.started(token=play.token, evse=False))
    yield from send_status(play, "Occupied")
    first = {"Transaction.Begin": 0.0}
    yield from _send_events(
        play,
        transaction.event("Updated", "CablePluggedIn", 0, wh=first, state="EVConnected", evse=True),
        transaction.event("Updated", "ChargingStateChanged", 0, state="Charging"),
        transaction.metered(0.5),
        transaction.event("Updated", "StopAuthorized", 1, token=play.token, state="EVConnected"),
        transaction.ended("EVCommunicationLost"),
    )
    yield from unplug(play)
    yield from play.bill(transaction.id)


def _repeated_event(play: Play) -> Script:
    yield from play.begin()
    yield from plug_in(play)
    transaction = _Transaction(play)
    for event in (transaction.started(token=play.token), transaction.metered(0.5), transaction.ended()):
        yield from _send_event(play, event)
        yield from _send_event(play, event, "again")
    yield from unplug(play)
    yield from play.bill(transaction.id)


def _offline(play: Play) -> Script:
    yield from play.begin()
    yield from send_status(play, "Available")
    yield from play.authorize()
    if problem := (yield Reconnect()):
        raise Failed(f"connecting again: {problem}")
    transaction = _Transaction(play, begins=-3 * HOURS, lasts=HOURS, offline=True)
    yield from _send_events(
        play,
        transaction.started(token=play.token),
        transaction.metered(0.25),
        transaction.metered(0.75),
        transaction.ended(),
    )
    yield from play.bill(transaction.id)


def _ended_first(play: Play) -> Script:
    yield from play.begin()
    yield from plug_in(play)
    transaction = _Transaction(play)
    started, early, late, ended = (
        transaction.started(token=play.token),
        transaction.metered(0.25),
        transaction.metered(0.75),
        transaction.ended(),
    )
    yield from _send_events(play, started, early, ended)
    yield from _send_event(play, late, "after Ended")
    yield from unplug(play)
    yield from play.bill(transaction.id)


def _seq_no_gap(play: Play) -> Script:
    yield from play.begin()
    yield from plug_in(play)
    transaction = _Transaction(play)
    yield from _send_events(play, transaction.started(token=play.token), transaction.metered(0.25))
    transaction.seq_no += 1
    yield from _send_event(play, transaction.metered(0.75), "after the gap")
    yield from _send_event(play, transaction.ended())
    yield from unplug(play)
    yield from play.bill(transaction.id, may_wait=True)


def _register_back(play: Play) -> Script:
    yield from play.begin()
    yield from plug_in(play)
    transaction = _Transaction(play)
    yield from _send_events(play, transaction.started(token=play.token), transaction.metered(0.5))
    yield from _send_event(play, transaction.metered(0.6, wh=0.2 * WH), "with a lower register")
    yield from _send_events(play, transaction.metered(0.75), transaction.ended())
    yield from unplug(play)
    yield from play.bill(transaction.id, may_wait=True)


SCRIPTS: dict[str, Callable[[Play], Script]] = {
    "boot": common.boot,
    "heartbeat_time": common.heartbeat_time,
    "unknown_action": common.unknown_action,
    "refused_token": _refused_token,
    "cable_first": _cable_first,
    "token_first": _token_first,
    "repeated_event": _repeated_event,
    "offline": _offline,
    "ended_first": _ended_first,
    "seq_no_gap": _seq_no_gap,
    "register_back": _register_back,
    "unanswered_call": common.unanswered_call,
}
