"""What happens to a station, and what it says: the input and the output of the core. No behaviour, no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from cpsim_kit.station.charging.session import Session
    from cpsim_kit.station.charging.transaction import Report
    from cpsim_kit.station.charging.vehicle import Vehicle
    from cpsim_kit.station.profiles import Profile
    from cpsim_kit.station.rules.authorization import Authorization, IdToken, TokenInfo
    from cpsim_kit.station.rules.reservations import Reservation

__all__ = [
    "FAULTS",
    "TICK",
    "Accepted",
    "Answer",
    "CancelReservation",
    "ChangeAvailability",
    "ClearFault",
    "ClearProfiles",
    "Event",
    "Failure",
    "Fault",
    "InstallProfile",
    "LimitFromOutside",
    "Offline",
    "Online",
    "Outgoing",
    "PlugIn",
    "PowerOff",
    "RemoteStart",
    "RemoteStop",
    "ReserveNow",
    "Reset",
    "ShutDown",
    "SuspendEv",
    "SuspendEvse",
    "Swipe",
    "Swiped",
    "Tick",
    "Trigger",
    "Unlock",
    "Unplug",
    "VariablesChanged",
]

# The faults by name, and the stoppedReason of OCPP 2.0.1 of the transaction that each of them ends.
FAULTS = {
    "GroundFault": "GroundFault",
    "OvercurrentFault": "OvercurrentFault",
    "EmergencyStop": "EmergencyStop",
    "PowerQuality": "PowerQuality",
    "HighTemperature": "Other",
    "ConnectorLockFailure": "Other",
    "PowerMeterFailure": "Other",
    "InternalError": "Other",
    "Other": "Other",
}


@dataclass(frozen=True, slots=True)
class Swiped:
    """What a station did with a token that was presented.

    Attributes:
        token: The token's id.
        status: What the CSMS, or the station's cache, says of it; "" if no answer came.
        effect: "authorized", "stopped" or "refused".
        reason: Why it was refused, in words.
    """

    token: str
    status: str
    effect: Literal["authorized", "stopped", "refused"]
    reason: str = ""

    def __repr__(self) -> str:
        return f"<Token {self.token} {self.effect}{f': {self.reason}' if self.reason else ''}>"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The CSMS accepted the station after a start, also after one that gave its power supply back.

    ``reason`` is that of the start, a BootReasonEnumType value of OCPP 2.0.1.
    """

    reason: str = "PowerUp"


@dataclass(frozen=True, slots=True)
class PlugIn:
    """Somebody connects a vehicle; ``evse_id`` may be None where only one EVSE is possible."""

    vehicle: Vehicle
    evse_id: int | None = None


@dataclass(slots=True)
class Swipe:
    """Somebody presents a token.

    Attributes:
        token: The token.
        evse_id: The EVSE; None where only one comes into question.
        result: What came of it; None while that is not known.
        running: The authorizations when the CSMS was asked; it ends none that began later. None if it was not asked.
    """

    token: IdToken
    evse_id: int | None = None
    result: Swiped | None = None
    running: tuple[Authorization, ...] | None = None


@dataclass(frozen=True, slots=True)
class Unplug:
    """Somebody takes the cable out: of the vehicle only ("ev"), or altogether ("evse")."""

    evse_id: int | None = None
    side: Literal["evse", "ev"] = "evse"


@dataclass(frozen=True, slots=True)
class SuspendEv:
    """The vehicle stops taking energy, or takes it again."""

    suspends: bool
    evse_id: int | None = None


@dataclass(frozen=True, slots=True)
class SuspendEvse:
    """The EVSE stops offering energy, or offers it again."""

    suspends: bool
    evse_id: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of :data:`FAULTS` blocks an EVSE."""

    name: str
    evse_id: int | None = None


@dataclass(frozen=True, slots=True)
class ClearFault:
    """The fault is gone."""

    evse_id: int | None = None


@dataclass(frozen=True, slots=True)
class RemoteStart:
    """The CSMS asks for a start; handled as (status, id of the running transaction or None)."""

    token: IdToken
    remote_start_id: int | None = None
    evse_id: int | None = None
    group: str = ""
    profile: Profile | None = None


@dataclass(frozen=True, slots=True)
class RemoteStop:
    """The CSMS asks to stop a transaction; handled as the status."""

    transaction_id: str


@dataclass(frozen=True, slots=True)
class ReserveNow:
    """The CSMS reserves an EVSE; handled as the status."""

    reservation: Reservation


@dataclass(frozen=True, slots=True)
class CancelReservation:
    """The CSMS takes a reservation away; handled as the status."""

    reservation_id: int


@dataclass(frozen=True, slots=True)
class ChangeAvailability:
    """The CSMS takes a part of the station out of service, or puts it back; handled as the status.

    Attributes:
        is_operative: Whether it is in service from now on.
        evse_id: The EVSE; None for the whole station.
        connector_id: The connector; None for the whole EVSE.
        with_parts: Whether a change of the whole is one of its parts, too, as in OCPP 1.6; else each has its own state.
    """

    is_operative: bool
    evse_id: int | None = None
    connector_id: int | None = None
    with_parts: bool = False


@dataclass(frozen=True, slots=True)
class InstallProfile:
    """The CSMS sets a charging profile; raises ``Refused`` where the station does not take it."""

    profile: Profile
    evse_id: int


@dataclass(frozen=True, slots=True)
class ClearProfiles:
    """The CSMS takes charging profiles away; handled as how many. A criterion that is None matches all."""

    profile_id: int | None = None
    evse_id: int | None = None
    purpose: str | None = None
    stack_level: int | None = None


@dataclass(frozen=True, slots=True)
class LimitFromOutside:
    """An external control system limits the station (EVSE 0) or an EVSE, in kW; None ends that."""

    kw: float | None
    evse_id: int = 0
    source: str = "EMS"


@dataclass(frozen=True, slots=True)
class Reset:
    """The station, or one EVSE, is to start again; handled as "Accepted", "Scheduled" or "Rejected".

    Attributes:
        is_immediate: Whether transactions end now; else it waits for their end.
        evse_id: The EVSE; None for the whole station.
        stopped_reason: Why transactions end, a word of the version.
        boot_reason: Why the station starts, a BootReasonEnumType value; "" for RemoteReset or ScheduledReset.
    """

    is_immediate: bool
    evse_id: int | None = None
    stopped_reason: str = "ImmediateReset"
    boot_reason: str = ""


@dataclass(frozen=True, slots=True)
class Unlock:
    """The CSMS unlocks a connector; handled as the status, an UnlockStatusEnumType value or "NoLock".

    Attributes:
        evse_id: The EVSE.
        connector_id: Its connector.
        ends_transaction: Whether an authorized transaction ends; else the connector stays locked.
    """

    evse_id: int
    connector_id: int = 1
    ends_transaction: bool = False


@dataclass(frozen=True, slots=True)
class Trigger:
    """The CSMS asks for a message; handled as "Accepted" or "Rejected".

    Attributes:
        kind: BootNotification, StatusNotification, MeterValues, TransactionEvent, or any message that ``build`` makes.
        evse_id: Of which EVSE; 0 for the station, None for all.
        build: Makes the message.
    """

    kind: Literal["boot", "status", "meter", "transaction", "message"]
    evse_id: int | None = None
    build: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True)
class ShutDown:
    """The station goes down to start again: everything of its transactions that could be said is said."""


@dataclass(frozen=True, slots=True)
class PowerOff:
    """The station loses its power supply."""


@dataclass(frozen=True, slots=True)
class VariablesChanged:
    """Variables have new values.

    Attributes:
        before: What they held before, by their names in OCPP 2.0.1; None for all of them, with values not known.
    """

    before: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed, and nothing else happened."""


TICK = Tick()


@dataclass(slots=True)
class Outgoing:
    """A message to the CSMS.

    Attributes:
        build: Makes the ``call`` dataclass, when it is the message's turn.
        payload: What it made.
        lost: Called with the moment when the connection went before the answer.
        report: What it says of a transaction; None for a message that is about no transaction.
        number: Counts the station's messages.
        attempts: How often it was sent in vain.
        not_before: When it may be sent again.
        then: Called with the answer and the moment, when it came.
        cause: The event that made the station send it.
        session: The session that it belongs to.
    """

    build: Callable[[], Any]
    then: Callable[[Answer, float], None] | None = None
    cause: object = None
    session: Session | None = None
    payload: Any = None
    lost: Callable[[float], None] | None = None
    report: Report | None = None
    number: int = 0
    attempts: int = 0
    not_before: float = -math.inf


@dataclass(frozen=True, slots=True)
class Answer:
    """The CSMS answered a message.

    Attributes:
        to: The message.
        info: What it says of the token, if anything.
        transaction_id: The id that OCPP 1.6 gives a transaction.
    """

    to: Outgoing
    info: TokenInfo | None = None
    transaction_id: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A message got no answer, or an error.

    Attributes:
        to: The message.
        waited: Whether no answer came at all.
        is_final: Whether it would fail again whenever it is sent.
    """

    to: Outgoing
    waited: bool = False
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Offline:
    """The connection is gone; what is on its way has no answer."""


@dataclass(frozen=True, slots=True)
class Online:
    """There is a connection again."""


Event = (
    Accepted
    | PlugIn
    | Swipe
    | Unplug
    | SuspendEv
    | SuspendEvse
    | Fault
    | ClearFault
    | RemoteStart
    | RemoteStop
    | ReserveNow
    | CancelReservation
    | ChangeAvailability
    | InstallProfile
    | ClearProfiles
    | LimitFromOutside
    | Reset
    | ShutDown
    | Trigger
    | Unlock
    | VariablesChanged
    | Tick
    | Answer
    | Failure
    | Offline
    | Online
    | PowerOff
)
