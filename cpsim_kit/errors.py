"""All errors of the kit in one tree. Programs decide on the attributes; the message is for people.

This module imports nothing of the kit.

    CpsimError
    ├── ConnectError          never opened: address, TLS, HTTP status, no common subprotocol
    ├── ConnectionLost        was open, and has ended
    │   └── NotRegistered     the gateway closed with 1008: no such Thing
    ├── CallFailed            the other side answered CALLERROR
    ├── UnsupportedByCsms     the AWS sample's CALLRESULT {"error": "Command [X] not implemented."}
    ├── ProtocolViolation     not OCPP-J, or breaks the JSON schema
    ├── Timeout (also TimeoutError)
    │   ├── CallTimeout       no answer to a CALL
    │   └── WaitTimeout       a state did not come
    ├── AwsError              an AWS operation failed; botocore's error is its cause
    │   ├── NotFound          Thing, shadow, rule, table or stack is not there
    │   └── NoCredentials     says which variable or profile to set
    ├── LocalStackError       the embedded stack did not start, or has died
    └── FleetError            charge points that could not start

Misuse is outside the tree, because the caller's code has to be corrected: TypeError and ValueError for a wrong
argument, and RuntimeError for an object that is not open yet, or is closed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

__all__ = [
    "AwsError",
    "CallFailed",
    "CallTimeout",
    "CheckpointFailed",
    "Closed",
    "ConnectError",
    "ConnectionLost",
    "CpsimError",
    "FleetError",
    "LocalStackError",
    "NoCredentials",
    "NotFound",
    "NotRegistered",
    "ProtocolViolation",
    "Timeout",
    "UnsupportedByCsms",
    "WaitTimeout",
]


THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")  # CreateThing, thingName

_PASSWORD = re.compile(r"(?<=://)[^/\s]*@")  # user and password in an address
_REFUSED = re.compile(r"Charge Point (.+) not registered")  # the gateway's close reason


@dataclass(frozen=True, slots=True)
class Closed:
    """How a WebSocket connection ended.

    Attributes:
        code: The close code of RFC 6455 section 7.4; 1006 when no close frame came.
        reason: The close reason, often empty.
        by: Who ended it: "gateway" (the other side), "charge point" (this side) or "network" (no close frame came, or
            this side ended it because of a fault: no pong, a wrong frame).
    """

    code: int
    reason: str
    by: Literal["gateway", "charge point", "network"]
    text: str = field(default="", repr=False, compare=False)

    def __str__(self) -> str:
        return self.text or f"{self.code} {self.reason}".strip()


class CpsimError(Exception):
    """The base of all errors of the kit, except misuse: TypeError, ValueError and RuntimeError.

    Attributes:
        outcome: The outcome of the call in tables, one or two words; a call without an error is "answered".
    """

    outcome: ClassVar[str] = "failed"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes, so that an error reaches another process complete."""
        return _rebuild, (type(self), self.args, vars(self))


def _rebuild(kind: type[CpsimError], args: tuple[Any, ...], attributes: dict[str, Any]) -> CpsimError:
    error = kind.__new__(kind, *args)
    error.args = args  # __new__ does not set them for errors that are also OSErrors
    vars(error).update(attributes)
    return error


class ConnectError(CpsimError):
    """The connection never opened. Its message hides passwords in addresses.

    Attributes:
        url: The full address; it may contain a password.
        status: The HTTP status of the refused handshake, or None when there was no HTTP answer.
    """

    outcome = "not connected"

    def __init__(self, message: str, *, url: str, status: int | None = None) -> None:
        super().__init__(_PASSWORD.sub("…@", message))
        self.url = url
        self.status = status


class ConnectionLost(CpsimError):
    """The connection was open, and has ended.

    Attributes:
        closed: How it ended, a :class:`Closed`.
    """

    outcome = "connection lost"

    def __init__(self, message: str, *, closed: Closed) -> None:
        super().__init__(message)
        self.closed = closed


class NotRegistered(ConnectionLost):
    """The gateway closed with 1008: no Thing has the charge point's id.

    Attributes:
        closed: How it ended, a :class:`Closed`.
        charge_point_id: The id that is not registered.
    """

    outcome = "not registered"

    def __init__(self, charge_point_id: str, *, closed: Closed) -> None:
        refused = _REFUSED.search(closed.reason)
        if not THING_NAME.fullmatch(charge_point_id):
            advice = f"No Thing can have this id, as AWS IoT allows {THING_NAME.pattern}: choose another"
        elif refused is not None and refused[1] != charge_point_id:
            advice = (
                f"The gateway uses the whole path of the address as the id, here {refused[1]}: "
                "give ChargePoint(…) the address without a path"
            )
        else:
            advice = f'Create its Thing first: await stack.things.create("{charge_point_id}")'
        message = f"{charge_point_id}: the gateway closed with 1008: {closed.reason}. {advice}"
        super().__init__(message, closed=closed)
        self.charge_point_id = charge_point_id


class CallFailed(CpsimError):
    """The other side answered CALLERROR.

    Attributes:
        action: The action that was asked.
        code: The error code, e.g. "NotImplemented" (OCPP-J 2.0.1 part 4, table 7; OCPP-J 1.6, table 7).
        description: The error description, possibly empty.
        details: The error details, possibly empty.
    """

    outcome = "CALLERROR"

    def __init__(self, charge_point_id: str, action: str, code: str, description: str, details: Any) -> None:
        super().__init__(f"{charge_point_id}: {action} was answered with CALLERROR {code}: {description or 'no text'}")
        self.action = action
        self.code = code
        self.description = description
        self.details = details


class UnsupportedByCsms(CpsimError):
    """The AWS sample's message processor does not support the action; it answers this in a CALLRESULT.

    Attributes:
        action: The action that was asked.
        text: What the CSMS says.
    """

    outcome = "not implemented"

    def __init__(self, charge_point_id: str, action: str, text: str) -> None:
        super().__init__(
            f"{charge_point_id}: the CSMS does not support {action}: {text} "
            "The AWS sample answers BootNotification, Heartbeat and StatusNotification only."
        )
        self.action = action
        self.text = text


class ProtocolViolation(CpsimError):
    """A message that is not OCPP-J, or a payload that breaks the action's JSON schema.

    Attributes:
        action: The action; "" if it cannot be read.
        path: The place in the payload, e.g. "chargingStation.model"; "" for the payload itself.
        text: What is wrong at that place.
        code: The CALLERROR code for this kind of breach.
    """

    outcome = "invalid"

    def __init__(self, message: str, *, action: str, path: str, text: str, code: str = "FormatViolation") -> None:
        super().__init__(message)
        self.action = action
        self.path = path
        self.text = text
        self.code = code

    def of(self, charge_point_id: str, what: str = "") -> ProtocolViolation:
        """The same error, with the charge point in its message."""
        message = f"{charge_point_id}: {what}{self}"
        return ProtocolViolation(message, action=self.action, path=self.path, text=self.text, code=self.code)


class Timeout(CpsimError, TimeoutError):
    """Something did not happen in time; also a :class:`TimeoutError`."""


class CallTimeout(Timeout):
    """No answer to a CALL.

    Attributes:
        action: The action that was asked.
        message_id: The id of the CALL.
        waited: Seconds of waiting.
    """

    outcome = "no answer"

    def __init__(
        self,
        charge_point_id: str,
        action: str,
        message_id: str,
        waited: float,
        hint: str = "Is the CSMS running? A longer wait: timeout=…",
    ) -> None:
        super().__init__(
            f"{charge_point_id}: no answer to {action} within {waited:g} s (message id {message_id}). {hint}"
        )
        self.action = action
        self.message_id = message_id
        self.waited = waited


class WaitTimeout(Timeout):
    """A state did not come.

    Attributes:
        what: What was waited for.
        last_seen: The last state seen; None if no state was seen.
    """

    def __init__(self, what: str, waited: float, last_seen: object = None) -> None:
        seen = "nothing was seen" if last_seen is None else f"last seen: {last_seen!r}"
        super().__init__(f"waited {waited:g} s for {what}; {seen}")
        self.what = what
        self.last_seen = last_seen


class AwsError(CpsimError):
    """An AWS operation failed; the botocore error is its cause.

    Attributes:
        verb: Service and operation, e.g. "iot.create_thing".
        code: The AWS error code, e.g. "InvalidRequestException"; "" if AWS was not reached.
    """

    def __init__(self, message: str, *, verb: str, code: str = "") -> None:
        super().__init__(message)
        self.verb = verb
        self.code = code


class NotFound(AwsError):
    """A Thing, shadow, rule, table or stack is not there.

    Attributes:
        kind: "Thing", "shadow", "rule", "table", "stack", "ECS service", …
        name: The name of the missing object.
    """

    def __init__(self, message: str, *, verb: str, code: str = "", kind: str, name: str) -> None:
        super().__init__(message, verb=verb, code=code)
        self.kind = kind
        self.name = name


class NoCredentials(AwsError):
    """boto3's credential chain found no usable credentials."""


class LocalStackError(CpsimError):
    """The embedded stack did not start, or has died.

    Attributes:
        log: The last lines of its log.
    """

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(f"{message}\nThe end of its log:\n{log}" if log else message)
        self.log = log


class FleetError(CpsimError):
    """No charge point of a fleet could start.

    Attributes:
        errors: The errors of the charge points.
    """

    def __init__(self, message: str, errors: Sequence[Exception]) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


class CheckpointFailed(AssertionError):
    """A notebook's checkpoint does not hold. It is outside the tree, because it is not an error of the kit."""
