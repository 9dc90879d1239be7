"""The checks of OCPP 1.6 that play transactions. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from cpsim_kit.check_up import common
from cpsim_kit.check_up.common import plug_in, send_status, unplug
from cpsim_kit.check_up.play import BEGIN_WH, HOURS, SESSION, WH, Play
from cpsim_kit.check_up.steps import Reconnect, Script, Step
from cpsim_kit.check_up.verdicts import Failed, NotTried

__all__ = ["SCRIPTS"]

_NO_ID = -1  # errata 3.18


@dataclass
class _Transaction:
    """Writes the messages of a transaction.

    Attributes:
        play: The play.
        begins: When it begins, in seconds from the play's beginning.
        lasts: Seconds.
        id: As the central system gives it.
    """

    play: Play
    begins: float = -SESSION
    lasts: float = SESSION
    id: int = _NO_ID

    def start(self, token: str) -> dict[str, Any]:
        """The payload of StartTransaction."""
        return {
            "connectorId": 1,
            "idTag": token,
            "meterStart": BEGIN_WH,
            "timestamp": self.play.at(self.begins),
        }

    def metered(self, part: float, wh: float | None = None) -> dict[str, Any]:
        """The payload of MeterValues."""
        wh = part * WH if wh is None else wh
        sample = {
            "value": f"{BEGIN_WH + wh:.0f}",
            "context": "Sample.Periodic",
            "measurand": "Energy.Active.Import.Register",
            "unit": "Wh",
        }
        value = {"timestamp": self.play.at(self.begins + part * self.lasts), "sampledValue": [sample]}
        return {"connectorId": 1, "transactionId": self.id, "meterValue": [value]}

    def stop(self, token: str = "", reason: str = "Local", wh: int = WH) -> dict[str, Any]:
        """The payload of StopTransaction."""
        return {
            "transactionId": self.id,
            "meterStop": BEGIN_WH + wh,
            "timestamp": self.play.at(self.begins + self.lasts),
            "reason": reason,
        } | ({"idTag": token} if token else {})


def _start(play: Play, transaction: _Transaction, what: str = "") -> Generator[Step, Any, str]:
    """Send StartTransaction; the id in the answer is the transaction's. Returns the token's status."""
    answer = yield from play.ask("StartTransaction", transaction.start(play.token), what)
    transaction.id = answer["transactionId"]
    status: str = answer["idTagInfo"]["status"]
    if status != "Accepted":
        play.note(f"StartTransaction got {status}, although Authorize accepted the token")
    return status


def _charge(play: Play, transaction: _Transaction) -> Generator[Step, Any, None]:
    """Everything from StartTransaction to the free connector."""
    status = yield from _start(play, transaction)
    if status != "Accepted":
        play.blame(f"StartTransaction: {status}, although Authorize accepted the token")
    yield from send_status(play, "Charging")
    yield from play.ask("MeterValues", transaction.metered(0.5))
    yield from play.ask("StopTransaction", transaction.stop(play.token))
    yield from unplug(play)
    yield from play.bill(transaction.id)


def _refused_token(play: Play) -> Script:
    yield from play.begin()
    if not play.refused_token:
        raise NotTried(play.about_refused_token)
    for status in ("Available", "Preparing"):
        yield from send_status(play, status)
    transaction = _Transaction(play)
    answer = yield from play.ask("StartTransaction", transaction.start(play.refused_token))
    found, transaction.id = answer["idTagInfo"]["status"], answer["transactionId"]
    play.note(f"StartTransaction: {found}")
    if found == "Accepted":
        play.blame(f"StartTransaction accepted {play.refused}")
    yield from play.ask("StopTransaction", transaction.stop(reason="DeAuthorized", wh=0))
    yield from unplug(play)
    yield from play.authorize_refused()


def _cable_first(play: Play) -> Script:
    yield from play.begin()
    yield from send_status(play, "Available")
    yield from send_status(play, "Preparing")
    yield from play.authorize()
    yield from _charge(play, _Transaction(play))


def _token_first(play: Play) -> Script:
    yield from play.begin()
    yield from plug_in(play)
    yield from _charge(play, _Transaction(play))


def _repeated_start(play: Play) -> Script:
    yield from play.begin()
    yield from plug_in(play)
    transaction = _Transaction(play, begins=-3 * SESSION)
    yield from _start(play, transaction)
    first = transaction.id
    yield from _start(play, transaction, "again")
    again = transaction.id
    yield from play.ask("StopTransaction", transaction.stop(play.token))
    if again == first:
        play.note(f"both got the id {first}")
        yield from play.bill(first)
    else:
        play.blame(f"the first StartTransaction got the id {first}, the same one again {again}")
        transaction.id = first  # so that it does not go on for ever
        yield from play.ask("StopTransaction", transaction.stop(play.token, wh=0), "of the first id")
    yield from unplug(play)
    yield from send_status(play, "Preparing")
    other = _Transaction(play)
    yield from _start(play, other, "of another transaction")
    yield from play.ask("StopTransaction", other.stop(play.token), "of another transaction")
    yield from unplug(play)
    if other.id == first:
        play.blame(f"another transaction got the id {first}, too")


def _repeated_stop(play: Play) -> Script:
    yield from play.begin()
    yield from plug_in(play)
    transaction = _Transaction(play)
    yield from _start(play, transaction)
    yield from play.ask("StopTransaction", transaction.stop(play.token))
    yield from play.ask("StopTransaction", transaction.stop(play.token), "again")
    yield from unplug(play)
    yield from play.bill(transaction.id)


def _offline(play: Play) -> Script:
    yield from play.begin()
    yield from send_status(play, "Available")
    yield from play.authorize()
    if problem := (yield Reconnect()):
        raise Failed(f"connecting again: {problem}")
    transaction = _Transaction(play, begins=-3 * HOURS, lasts=HOURS)
    yield from _start(play, transaction)
    for part in (0.25, 0.75):
        yield from play.ask("MeterValues", transaction.metered(part))
    yield from play.ask("StopTransaction", transaction.stop(play.token))
    yield from play.bill(transaction.id)


def _unknown_transaction(play: Play) -> Script:
    yield from play.begin()
    yield from play.authorize()
    transaction = _Transaction(play)
    yield from play.ask("MeterValues", transaction.metered(0.5), "with the id -1")
    yield from play.ask("StopTransaction", transaction.stop(play.token), "with the id -1")


def _register_back(play: Play) -> Script:
    yield from play.begin()
    yield from plug_in(play)
    transaction = _Transaction(play)
    yield from _start(play, transaction)
    yield from play.ask("MeterValues", transaction.metered(0.25, wh=-0.5 * WH), "with a lower register")
    yield from play.ask("MeterValues", transaction.metered(0.75))
    yield from play.ask("StopTransaction", transaction.stop(play.token))
    yield from unplug(play)
    yield from play.bill(transaction.id, may_wait=True)


SCRIPTS: dict[str, Callable[[Play], Script]] = {
    "boot": common.boot,
    "heartbeat_time": common.heartbeat_time,
    "unknown_action": common.unknown_action,
    "refused_token": _refused_token,
    "cable_first": _cable_first,
    "token_first": _token_first,
    "repeated_start": _repeated_start,
    "repeated_stop": _repeated_stop,
    "offline": _offline,
    "unknown_transaction": _unknown_transaction,
    "register_back": _register_back,
    "unanswered_call": common.unanswered_call,
}
