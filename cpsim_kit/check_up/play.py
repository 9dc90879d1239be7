"""What a check knows and has seen while it is played, and what all checks do alike. Does no I/O.

A check is a generator. It yields steps, receives what came of each, and returns; what it noted is then what was seen.
It raises a verdict where it cannot go on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cpsim_kit.check_up.steps import Answer, Bill, LookAtBill, Pause, Say, Step
from cpsim_kit.check_up.verdicts import Failed, NotSupported, NotTried, shorten
from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.ocpp_j.versions import Version

__all__ = ["BEGIN_WH", "HOURS", "SESSION", "TOLERANCE_WH", "WH", "Play", "id_token"]

WH = 1000  # what each session of the check-up delivers
BEGIN_WH = 10_000  # the register at the start of each
SESSION = 120  # seconds that one takes: with 1,000 Wh, 30 kW
HOURS = 3600
TOLERANCE_WH = 0.5  # a ledger may round to whole Wh

_UNSUPPORTED = {"NotImplemented", "NotSupported"}  # the CALLERROR codes that say so


@dataclass
class Play:
    """One check's play: what it knows, and what it has seen so far.

    Attributes:
        version: The OCPP version.
        token: A token that the CSMS accepts.
        refused_token: A token that it does not accept; "" if there is none.
        about_refused_token: Where it is from, or why there is none.
        now: The time at which the check begins, UTC.
        new_id: Makes transaction ids of OCPP 2.x.
        patience: The longest interval to wait for before booting again, in seconds.
        boot_status: The status of the last boot's answer, "" before.
        answered: How many messages were answered as they should.
        notes: What was seen.
        problems: What was wrong, where the play could go on.
        unjudged: Why the play cannot judge what it was for, or "".
    """

    version: Version
    token: str
    now: datetime
    new_id: Callable[[], str]
    refused_token: str = ""
    about_refused_token: str = ""
    patience: float = 5
    boot_status: str = ""
    answered: int = 0
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unjudged: str = ""
    _running: Mapping[str, Any] | None = None  # the last message of a transaction that has not ended
    _readings: list[dict[str, Any]] = field(default_factory=list)  # of OCPP 2.x: its meter values

    @property
    def is_16(self) -> bool:
        """Whether it is OCPP 1.6."""
        return self.version.name == "1.6"

    @property
    def refused(self) -> str:
        """The token that the CSMS does not accept, and where it is from, for a sentence."""
        return ", ".join(filter(None, (self.refused_token, self.about_refused_token)))

    def at(self, seconds: float) -> str:
        """A time as OCPP writes it, so many seconds from the beginning."""
        moment = self.now + timedelta(seconds=seconds)
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def note(self, text: str) -> None:
        """Note something that was seen; once is enough."""
        if text not in self.notes:
            self.notes.append(text)

    def blame(self, text: str) -> None:
        """Note something that is wrong; the play goes on, and fails at the end."""
        self.problems.append(text)

    def seen(self) -> str:
        """What was seen, in one line.

        Raises:
            Failed: Something was wrong.
            NotTried: Nothing was, but the bill could not be looked at with the ledger that was given.
        """
        if self.problems:
            raise Failed("; ".join(self.problems))
        if self.unjudged:
            raise NotTried(self.unjudged)
        count = f"{self.answered} message{'' if self.answered == 1 else 's'} answered"
        return "; ".join([count, *self.notes])

    # -- Messages ------------------------------------------------------------------------------------------------------

    def ask(self, action: str, payload: Mapping[str, Any], what: str = "") -> Generator[Step, Any, dict[str, Any]]:
        """Send a CALL that OCPP has, and return the payload that answers it.

        Args:
            action: The action.
            payload: A valid payload.
            what: Which one of several, for the report.

        Raises:
            Failed: There is no answer, or it is CALLERROR or not valid.
            NotSupported: The CSMS says that it does not support the action.
        """
        name = f"{action} {what}".rstrip()
        if action == "TransactionEvent":
            self._follow(payload)
        answer: Answer = yield Say(action, payload)
        if answer.outcome == "not implemented" or answer.code in _UNSUPPORTED:
            raise NotSupported(f"{name}: {answer}")
        if problem := self.problem(action, answer):
            raise Failed("; ".join([*self.problems, f"{name}: {problem}"]))
        self.answered += 1
        fields: dict[str, Any] = {} if answer.payload is None else answer.payload
        if action in {"StartTransaction", "StopTransaction"}:
            self._running = {**payload, **fields} if action == "StartTransaction" else None
        return fields

    def _follow(self, event: Mapping[str, Any]) -> None:
        """Note what :meth:`farewell` needs of an event of OCPP 2.x."""
        is_running = event["eventType"] == "Started" or self._running is not None
        self._running = event if is_running and event["eventType"] != "Ended" else None
        self._readings += event.get("meterValue", ())
        if event["eventType"] == "Started":
            self._readings = list(event.get("meterValue", ()))

    def farewell(self) -> Say | None:
        """What ends the transaction that the check has left running; None if there is none."""
        if (running := self._running) is None:
            return None
        self._running = None
        if self.is_16:
            fields = {"transactionId": running["transactionId"], "meterStop": running["meterStart"]}
            return Say("StopTransaction", {**fields, "timestamp": self.at(0), "reason": "Other"})
        info = {"transactionId": running["transactionInfo"]["transactionId"], "stoppedReason": "Other"}
        event: dict[str, Any] = {"eventType": "Ended", "triggerReason": "AbnormalCondition", "timestamp": self.at(0)}
        event |= {"seqNo": running["seqNo"] + 1, "transactionInfo": info}
        if self._readings:
            sample = self._readings[-1]["sampledValue"][-1] | {"context": "Transaction.End"}
            event["meterValue"] = [self._readings[0], {"timestamp": self.at(0), "sampledValue": [sample]}]
        return Say("TransactionEvent", event)

    def problem(self, action: str, answer: Answer) -> str:
        """What is wrong with an answer; "" if nothing is."""
        if answer.outcome != "answered":
            return str(answer)
        try:
            self.version.response(action).check({} if answer.payload is None else answer.payload)
        except ProtocolViolation as exc:
            where = f" at {exc.path}" if exc.path else ""
            return f"the answer breaks the schema{where}: {shorten(exc.text)}"
        return ""

    def boot(self) -> Generator[Step, Any, dict[str, Any]]:
        """Send BootNotification, and again after the CSMS's interval where it is short."""
        answer = yield from self.ask("BootNotification", self.boot_payload)
        if (status := answer["status"]) != "Accepted" and 0 < answer["interval"] <= self.patience:
            self.note(f"the first boot was {status}")
            yield Pause(answer["interval"])
            answer = yield from self.ask("BootNotification", self.boot_payload)
        self.boot_status = answer["status"]
        return answer

    def begin(self) -> Generator[Step, Any, None]:
        """Boot before a check of something else.

        Raises:
            NotTried: The CSMS does not accept the boot.
        """
        try:
            yield from self.boot()
        except (Failed, NotSupported) as exc:
            raise NotTried(f"the boot before it went wrong: {exc}") from exc
        if self.boot_status != "Accepted":
            raise NotTried(f"the boot before it was answered with {self.boot_status}")
        self.answered = 0
        self.notes.clear()

    @property
    def boot_payload(self) -> dict[str, Any]:
        """The payload of BootNotification."""
        if self.is_16:
            return {"chargePointModel": "CPSIM-CHECK", "chargePointVendor": "cpsim_kit"}
        return {"chargingStation": {"model": "CPSIM-CHECK", "vendorName": "cpsim_kit"}, "reason": "PowerUp"}

    # -- Tokens and bills ----------------------------------------------------------------------------------------------

    def authorize(self) -> Generator[Step, Any, None]:
        """Authorize the token.

        Raises:
            NotTried: The CSMS does not accept it.
        """
        status = yield from self.authorization_status(self.token)
        if status != "Accepted":
            raise NotTried(f"Authorize was answered with {status} for {self.token}; give a token that is accepted")

    def authorize_refused(self) -> Generator[Step, Any, None]:
        """Send Authorize for the refused token, and blame the CSMS where it accepts it."""
        found = yield from self.authorization_status(self.refused_token)
        self.note(f"Authorize: {found}")
        if found == "Accepted":
            self.blame(f"Authorize accepted {self.refused}")

    def authorization_status(self, token: str) -> Generator[Step, Any, str]:
        """Send Authorize, and return the status."""
        if self.is_16:
            answer = yield from self.ask("Authorize", {"idTag": token})
            return str(answer["idTagInfo"]["status"])
        answer = yield from self.ask("Authorize", {"idToken": id_token(token)})
        return str(answer["idTokenInfo"]["status"])

    def bill(
        self, transaction_id: str | int, *, may_wait: bool = False, expected_wh: float = WH
    ) -> Generator[Step, Any, None]:
        """Look at the bill.

        Args:
            transaction_id: The transaction.
            may_wait: Whether the CSMS may do without a bill.
            expected_wh: The right Wh.
        """
        bill: Bill = yield LookAtBill(transaction_id, expected_wh)
        if bill.failure:
            self.unjudged = f"the bill was not seen: {bill.failure}"
        elif bill.not_seen:
            self.note(f"the bill was not seen: {bill.not_seen}")
        elif bill.wh is None and may_wait:
            self.note("no bill, which is allowed here")
        elif bill.wh is None:
            self.blame("the ledger has no Wh for the transaction")
        elif not abs(bill.wh - expected_wh) <= TOLERANCE_WH:  # also where it is not a number
            self.blame(f"the bill says {bill.wh:g} Wh, not {expected_wh:g}")
        else:
            self.note(f"the bill says {bill.wh:g} Wh")


def id_token(token: str) -> dict[str, str]:
    """A token as OCPP 2.x writes it."""
    return {"idToken": token, "type": "ISO14443"}
