"""Plays a CSMS to the core of a station: feeds acts, takes the messages, answers them, and keeps all of it as a table.

player = Player("2.0.1", variables={"TxCtrlr.TxStartPoint": "EVConnected"})
player.do(PlugIn(Vehicle()))            # the messages of this act: (action, payload as on the wire)
player.wait(60)                         # and those of the next minute
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cpsim_kit.ocpp_j.versions import messages_of
from cpsim_kit.station import Evse, Vehicle
from cpsim_kit.station.device_model.variables import Variables
from cpsim_kit.station.dialects import dialect_of
from cpsim_kit.station.rules.authorization import TokenInfo
from cpsim_kit.station.rules.core import Core
from cpsim_kit.station.rules.events import (
    TICK,
    Accepted,
    Answer,
    ClearFault,
    Event,
    Failure,
    Fault,
    Offline,
    Online,
    Outgoing,
    PlugIn,
    SuspendEv,
    SuspendEvse,
    Swipe,
    Unplug,
)
from cpsim_kit.station.rules.quirks import Quirk, Quirks
from cpsim_kit.station.rules.quirky_queue import QuirkyQueue

Said = tuple[str, dict[str, Any]]

EPOCH = 1_800_000_000.0  # 2027-01-15T08:00:00Z
ACCEPTED = TokenInfo("Accepted")


class Player:
    """A core, and a CSMS that answers each message at once.

    Args:
        version: The OCPP version.
        evses: What the EVSEs can do.
        variables: Values that differ from the defaults.
        tokens: What the CSMS says of a token; Accepted of all others.
        in_transaction: What it says of a token in the answer to a transaction's message, where that differs.
        is_started: Whether the start of the station is played first.
        quirks: What the station says wrongly.

    Attributes:
        said: All messages, oldest first.
        with_token: The last transaction message that carried a token.
        quirks: The quirks, and how often each was applied.
        first_quirks: The quirks that were applied, by their first time.
        answers: Called with each message, instead of the usual answer; returns an Answer or a Failure, or None for no
            answer at all.
    """

    def __init__(
        self,
        version: str = "2.0.1",
        evses: Sequence[Evse] = (Evse(),),
        variables: Mapping[str, object] | None = None,
        tokens: Mapping[str, TokenInfo] | None = None,
        in_transaction: Mapping[str, TokenInfo] | None = None,
        *,
        is_started: bool = True,
        quirks: Sequence[str] = (),
    ) -> None:
        dialect = dialect_of(version, EPOCH, len(evses))
        values = Variables(dialect, variables or {})
        self.first_quirks: list[Quirk] = []
        self.quirks = Quirks(quirks, version, self.first_quirks.append)
        queue = QuirkyQueue(values, dialect, self.quirks) if quirks else None
        self.core = Core(dialect, evses, values, epoch=EPOCH, random=random.Random(1), queue=queue)
        self.now = 0.0
        values.clock = lambda: self.now
        self.said: list[Said] = []
        self.tokens = dict(tokens or {})
        self.in_transaction = dict(in_transaction or {})
        self.with_token: Outgoing | None = None
        self.answers: Callable[[Outgoing, Said], Answer | Failure | None] | None = None
        self._numbers = iter(range(1, 1_000_000))
        if is_started:
            self.do(Accepted())

    def do(self, event: Event) -> list[Said]:
        """Let something happen, and return what was said."""
        before = len(self.said)
        self.result = self.core.handle(event, self.now)
        self.drain()
        return self.said[before:]

    def act(self, words: str) -> list[Said]:
        """Do what a line says, e.g. "plug 2", "swipe TAG-1", "unplug ev", "wait 60", "remote start TAG-1 2"."""
        match words.split():
            case ["plug", *where]:
                return self.do(PlugIn(Vehicle(), _number(where)))
            case ["swipe", token, *where]:
                return self.do(Swipe(self.core.dialect.token(token, "ISO14443"), _number(where)))
            case ["unplug", "ev"]:
                return self.do(Unplug(side="ev"))
            case ["unplug", *where]:
                return self.do(Unplug(_number(where)))
            case [("suspend" | "resume") as verb, "ev"]:
                return self.do(SuspendEv(verb == "suspend"))
            case [("suspend" | "resume") as verb, "evse"]:
                return self.do(SuspendEvse(verb == "suspend"))
            case ["fault", name, *where]:
                return self.do(Fault(name, _number(where)))
            case ["clear", "fault"]:
                return self.do(ClearFault())
            case ["wait", seconds]:
                return self.wait(float(seconds))
            case ["remote", "start", token, *where]:
                return self._remote_start(token, _number(where))
            case ["offline"]:
                return self.do(Offline())
            case ["online"]:
                return self.do(Online())
            case ["remote", "stop"]:
                return self._remote_stop(self.core.transactions[-1].id)
        raise ValueError(words)

    def _remote_start(self, token: str, evse_id: int | None) -> list[Said]:
        if self.core.dialect.version.name == "1.6":
            answer, said = self.command("RemoteStartTransaction", id_tag=token, connector_id=evse_id)
        else:
            id_token = {"id_token": token, "type": "ISO14443"}
            answer, said = self.command(
                "RequestStartTransaction", id_token=id_token, remote_start_id=5, evse_id=evse_id
            )
        return [(f"-> {answer.status}", {}), *said]

    def _remote_stop(self, transaction_id: str) -> list[Said]:
        if self.core.dialect.version.name == "1.6":
            answer, said = self.command("RemoteStopTransaction", transaction_id=int(transaction_id))
        else:
            answer, said = self.command("RequestStopTransaction", transaction_id=transaction_id)
        return [(f"-> {answer.status}", {}), *said]

    def command(self, action: str, **fields: Any) -> tuple[Any, list[Said]]:
        """Let the CSMS ask something; the answer, and what was said after it."""
        before = len(self.said)
        answer = self.core.dialect.commands[action].run(self.core, self.now, fields)
        version = self.core.dialect.version
        version.response(action).encode(answer)  # raises where it breaks the schema
        self.drain()
        return answer, self.said[before:]

    def wait(self, seconds: float) -> list[Said]:
        """Let time pass, from event to event, and return what was said."""
        before = len(self.said)
        end = self.now + seconds
        while (due := self.core.due()) <= end:
            self.now = max(self.now, due)
            self.core.handle(TICK, self.now)
            self.drain()
        self.now = end
        self.core.handle(TICK, end)
        return self.said[before:]

    def drain(self) -> None:
        """Take and answer messages while there are any."""
        while (message := self.core.take(self.now)) is not None:
            payload = message.payload
            _version, request, _response = messages_of(type(payload))
            said = request.action, request.encode(payload)  # raises where it breaks the schema
            self.said.append(said)
            if said[0] == "TransactionEvent" and "idToken" in said[1]:
                self.with_token = message
            answer = self.answers(message, said) if self.answers is not None else self.answer(message, said)
            self.core.handle(Failure(message, waited=True) if answer is None else answer, self.now)

    def answer(self, message: Outgoing, said: Said) -> Answer:
        """The usual answer."""
        action, payload = said
        match action:
            case "Authorize":
                return Answer(message, self.tokens.get(_token(payload), ACCEPTED))
            case "TransactionEvent" if "idToken" in payload:
                return Answer(message, self._in_transaction(_token(payload)))
            case "StartTransaction":
                return Answer(message, self._in_transaction(_token(payload)), next(self._numbers))
            case "StopTransaction" if "idTag" in payload:
                return Answer(message, self.tokens.get(_token(payload), ACCEPTED))
        return Answer(message)

    def _in_transaction(self, token: str) -> TokenInfo:
        return self.in_transaction.get(token, self.tokens.get(token, ACCEPTED))


def _number(words: Sequence[str]) -> int | None:
    return int(words[0]) if words else None


def _token(payload: Mapping[str, Any]) -> str:
    token = payload["idTag"] if "idTag" in payload else payload["idToken"]["idToken"]
    assert isinstance(token, str)
    return token
