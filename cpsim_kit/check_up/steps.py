"""The steps of checks, which the player carries out, and what comes of each. Does no I/O."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cpsim_kit.check_up.verdicts import shorten

__all__ = ["Answer", "AwaitCall", "Bill", "CsmsCall", "LookAtBill", "Pause", "Reconnect", "Say", "Script", "Step"]

_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Say:
    """Send a CALL; an :class:`Answer` comes of it."""

    action: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Close the connection and open it again; "" or what went wrong comes of it."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AwaitCall:
    """Wait for a CALL of the CSMS, and never answer it; a :class:`CsmsCall` comes of it."""


@dataclass(frozen=True, slots=True)
class LookAtBill:
    """Look at the Wh of a transaction, until they are as expected or the time is over; a :class:`Bill` comes of it."""

    transaction_id: str | int
    expected_wh: float


Step = Say | Reconnect | Pause | AwaitCall | LookAtBill
Script = Generator[Step, Any, None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a CALL.

    Attributes:
        payload: The answer's payload, as it came; None without CALLRESULT.
        outcome: "answered", or the ``outcome`` of the error, e.g. "CALLERROR" or "no answer".
        text: What happened, in words, where it was not answered.
        code: The error code of a CALLERROR.
        at: When it came, UTC.
    """

    payload: Any = None
    outcome: str = "answered"
    text: str = ""
    code: str = ""
    at: datetime = _EARLIEST

    def __str__(self) -> str:
        return self.text or f"CALLRESULT {shorten(json.dumps(self.payload))}"


@dataclass(frozen=True, slots=True)
class CsmsCall:
    """A CALL of the CSMS that is left unanswered.

    Attributes:
        action: Its action; "" if none came.
        origin: Who sent it, or why none came.
    """

    action: str
    origin: str


@dataclass(frozen=True, slots=True)
class Bill:
    """What a ledger says of a transaction.

    Attributes:
        wh: The Wh; None if the ledger has none.
        not_seen: Why nobody could look; "" if somebody could.
        failure: How the ledger that was given failed; "" if it did not.
    """

    wh: float | None = None
    not_seen: str = ""
    failure: str = ""
