"""What OCPP 2.0.1 lets a charging station say about transactions: an oracle, written from the specification alone.

It knows one EVSE with one connector and the TransactionEvents of its transactions, for each set of TxStartPoint and
TxStopPoint out of EVConnected, Authorized, PowerPathClosed and EnergyTransfer. It imports nothing of the package
that it judges. Events with the triggers MeterValuePeriodic and MeterValueClock are no part of it: leave them out.

``expected(start, stop, acts)`` gives the events of each act, in all the forms in which they may be told; ``check``
compares one act with what was sent. Some places of the specification can be read in two ways that lead to different
situations (one ends the transaction, the other does not): "two readings" below, the first one first. ``expected``
follows the first; ``check_run`` accepts either, and then holds the station to what follows from it.

StopTxOnEVSideDisconnect and StopTxOnInvalidId are true, AuthorizeRemoteStart is false. The tokens are TAG-1 (act
``swipe``), TAG-1B of the same group (``swipe_same_group``) and TAG-2 without a group (``swipe_other``).
suspend_evse and resume_evse are a switch of the station, which may be turned with no car, too. Each car that comes
wants energy.

What is decided, and by what (part 2, edition 2.0.1; "errata" is the sheet of 2025-09; tables are those of part 6):

    Start
      PowerPathClosed is authorized AND connected                                     E01 S5, FR.05
      the first listed event that comes true starts; Started always has chargingState 2.6.6.1, E 1.5
      a cable still in after the end of a transaction starts nothing by itself        2.6.6.1: an event "occurs"
      a new authorization then: E01.FR.02 asks for a connection, not for the event
        of connecting, so a transaction starts; or none does, by 2.6.6.1              two readings
      card: Authorized and idToken                                                    E02.FR.01, .20, table 428
      card, cable in, Authorized is no start point: ChargingStateChanged, too         table 430, steps 7 and 9
      plug-in: CablePluggedIn, or ChargingStateChanged                                table 427; E02.FR.17 "should"
      plug-in after a card: idToken, and no trigger Authorized                        E03.FR.01, errata 2.17
      first event after RequestStartTransaction: RemoteStart, remoteStartId, idToken  F01.FR.19, .25, F02.FR.05, .21
        a plug-in that it reports may be told again by CablePluggedIn                 E02.FR.17 "not forbidden"
        the authorization ends before any event: the request is forgotten             C01.FR.26, TC_E_39
      evse: in the first event after the EV has connected, in no other                E01.FR.16, E 1.5
        EV connected a second time in one transaction: either                         E01.FR.16 against E 1.5
    State of charging
      SuspendedEV needs an EVSE that offers: SuspendedEVSE comes before it            3.16
      EV takes nothing: SuspendedEV, or EVConnected                                   E01.FR.19, .20
      a change may come with the event that caused it, or after it                    E 1.5, E02.FR.17, E03.FR.12
      SuspendedEVSE on the way from connected and authorized to charging              table 430, step 7
      chargingState may be left out where it has not changed                          TransactionType
    Stop
      a listed condition that ends stops; one that was never true does not            2.6.5, 2.6.6.2, E06
      PowerPathClosed is the same as EVConnected and Authorized                       2.6.6.2, E06.FR.06
      EnergyTransfer ends with each suspension, the EV's or the EVSE's                E06.FR.07, 2.6.6.2, table 431
      the end of the transaction ends the authorization                               errata 2.17
      card: StopAuthorized, idToken may be there; Ended, or Updated and then Ended by
        ChargingStateChanged/EVConnected; stoppedReason Local or none                 E07.FR.02, .04, errata 6.2.117
      remote: RemoteStop in the same two forms; stoppedReason Remote                  F03.FR.02, .03, errata 6.2.117
      authorization ends and the transaction does not: Updated, and EVConnected       table 433
      EnergyTransfer is a stop point, no energy flows, authorization ends: goes on by
        E06.FR.07, ends by errata 6.2.117                                             two readings
      answer Invalid: Ended, Deauthorized, DeAuthorized with Authorized,
        PowerPathClosed or EnergyTransfer, flowing or not                             E05.FR.10
        else Updated; EVConnected, or SuspendedEVSE, in the same event or the next    E05.FR.09
        no event of this transaction had the idToken: nothing                         E05
        the authorization has already ended: nothing, or as the letter says           two readings
      cable out: EVCommunicationLost, Idle; the authorization ends                    E09.FR.01, table 434
        EVDisconnected, or the reason that had begun the stop                         TC_E_14, TC_E_17, TC_E_20
        nobody was authorized, or no energy flows, and the stop points are Authorized,
        EnergyTransfer or both: nothing ends that was, and E 1.1 warns of it; or
        E09.FR.01 deauthorizes, which ends it as in E05.FR.10                         two readings
      no car in time: the authorization ends; a transaction is Ended, Timeout         C01.FR.26, E03.FR.05, F02.FR.07
        the card had ended the authorization before: Ended, or nothing                E03.FR.05: two readings
      remote stop, never authorized, Authorized is a stop point: Ended, or Updated    F03.FR.02, .03: two readings
      EVSE suspends with EnergyTransfer as a stop point: Other, EnergyLimitReached    E06.FR.08, E07.FR.06
    Tokens
      the same token or its group ends an authorization; another one is refused       C01.FR.03, C09.FR.03, .07
      the same token authorizes again in a transaction that goes on                   E09.FR.01, C01.FR.23
      another one does not; of the same group: SHOULD not                             C01.FR.23: two readings
      RequestStartTransaction in a transaction authorized before is Rejected          F01.FR.24, F02.FR.26
        while an authorization waits without a transaction: accepted or not           F01.FR.02: two readings
      authorization that ends with no transaction: nothing is said; plug-out ends it  errata 2.17
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any, Final


class DontCare(Enum):
    """The type of ``DONT_CARE``."""

    DONT_CARE = "anything"


DONT_CARE: Final = DontCare.DONT_CARE

Values = frozenset[str | None] | DontCare | None
"""Allowed values of a field. None in the set: it may be absent; None instead of a set: it must be absent."""

POINTS: Final = ("EVConnected", "Authorized", "PowerPathClosed", "EnergyTransfer")
ACTS: Final = (
    "plug_in",
    "swipe",
    "swipe_same_group",
    "swipe_other",
    "suspend_ev",
    "resume_ev",
    "suspend_evse",
    "resume_evse",
    "unplug",
    "ev_connection_timeout",
    "remote_start",
    "remote_stop",
    "deauthorize",
)

_CARDS: Final = {"swipe": "TAG-1", "swipe_same_group": "TAG-1B", "swipe_other": "TAG-2"}
_GROUP: Final = frozenset({"TAG-1", "TAG-1B"})
_END_WITH_AUTHORIZATION: Final = frozenset({"Authorized", "PowerPathClosed", "EnergyTransfer"})


def _any(*values: str | None) -> frozenset[str | None]:
    return frozenset(values)


_ABSENT: Final = _any(None)
_STATE_CHANGED: Final = _any("ChargingStateChanged")


@dataclass(frozen=True)
class Expected:
    """A TransactionEvent that the specification allows, or asks for.

    Attributes:
        optional: Whether the event may be missing.
        form: Name of the way of saying it to which this event belongs. Events of another form are not sent then;
            those without a form belong to each.
    """

    event_type: Values
    trigger_reason: Values
    charging_state: Values
    stopped_reason: Values = None
    has_id_token: bool | DontCare = False
    has_evse: bool | DontCare = False
    has_remote_start_id: bool | DontCare = False
    optional: bool = False
    form: str = ""


_FIELDS: Final = tuple(each.name for each in fields(Expected) if each.name not in {"optional", "form"})


@dataclass(frozen=True)
class Transaction:
    """A transaction that has been Started and not Ended."""

    initial: str | None  # the token that authorized it first
    evse_sent: bool
    reported: frozenset[str | None]  # the chargingStates that may have been reported last
    causes: frozenset[str | None] = frozenset()  # what has begun to stop it


@dataclass(frozen=True)
class Situation:
    """Everything that decides what an act makes the station say."""

    connected: bool = False
    ev_takes: bool = True
    evse_offers: bool = True
    holder: str | None = None  # the token whose authorization is active
    cable_was_first: bool = False  # the cable was in when the authorization began
    remote_due: bool = False  # RequestStartTransaction has been accepted, and no event has told of it
    waits_for_car: bool = False  # EVConnectionTimeOut is running
    transaction: Transaction | None = None

    @property
    def charging_state(self) -> str:
        if not self.connected:
            return "Idle"
        if self.holder is None:
            return "EVConnected"
        if not self.evse_offers:
            return "SuspendedEVSE"
        return "Charging" if self.ev_takes else "SuspendedEV"

    @property
    def reportable(self) -> frozenset[str | None]:
        """The chargingStates that may be told; E01.FR.19 and .20 give two for an EV that takes nothing."""
        state = self.charging_state
        return _any("SuspendedEV", "EVConnected") if state == "SuspendedEV" else _any(state)

    def reasons(self, own: str) -> frozenset[str | None]:
        """The stoppedReasons of an end: its own, or what has begun the stop; Local may be left out (E06.FR.09)."""
        assert self.transaction is not None
        reasons = self.transaction.causes | {own}
        return reasons | _ABSENT if "Local" in reasons else reasons

    def ended(self) -> Situation:
        """The same with no transaction: its end is the authorization's end, too."""
        return replace(self, holder=None, remote_due=False, waits_for_car=False, transaction=None)

    def going_on(self, **changes: Any) -> Situation:
        assert self.transaction is not None
        return replace(self, transaction=replace(self.transaction, **changes))


@dataclass(frozen=True)
class Reading:
    """One way to read the specification: what is sent, and the situation that follows."""

    messages: tuple[Expected, ...]
    after: Situation


def _nothing(after: Situation) -> list[Reading]:
    return [Reading((), after)]


def _change(state: Values, **other: Any) -> Expected:
    """An event whose only news is the charging state."""
    return Expected(_any("Updated"), _STATE_CHANGED, state, **other)


def _in_form(form: str, first: Expected, then: Sequence[Expected], *later: Expected) -> list[Expected]:
    """Events told in one form; those that come right after the first may repeat its state, and tell no other."""
    assert isinstance(first.charging_state, frozenset)
    repeating = [replace(each, charging_state=_ABSENT | first.charging_state) for each in then]
    return [replace(each, form=form) for each in (first, *repeating, *later)]


def _with_progress(
    first: Expected,
    *,
    unchanged: frozenset[str | None],
    after: Situation,
    state_triggers: frozenset[str | None] = frozenset(),
    then: tuple[Expected, ...] = (),
) -> tuple[Expected, ...]:
    """An event, and the change of charging state that goes with it: in one event or in two.

    Args:
        first: The event with its own trigger; its chargingState is set here.
        unchanged: What its chargingState may be when the change follows in an event of its own.
        after: The situation after the change.
        state_triggers: More triggers that are right when the event itself tells the new state.
        then: Events that may follow the first at once.
    """
    final = after.reportable
    optional_state = _ABSENT if None in unchanged and unchanged & final else frozenset[str | None]()
    lines_of = replace(first, charging_state=final | optional_state)
    if isinstance(first.trigger_reason, frozenset):
        lines_of = replace(lines_of, trigger_reason=first.trigger_reason | state_triggers)
    if unchanged - _ABSENT <= final <= unchanged:
        return (replace(lines_of, trigger_reason=first.trigger_reason), *then)
    waiting = _any("SuspendedEVSE")
    earlier = unchanged - final if len(final) == 1 else unchanged  # what comes after it has to be a change
    messages = _in_form("together", lines_of, then)
    passes = after.connected and after.holder is not None and final != waiting
    between = [_change(waiting, optional=True)] if passes else []
    messages += _in_form("apart", replace(first, charging_state=earlier), then, *between, _change(final))
    if passes:
        waits = replace(lines_of, charging_state=waiting)
        messages += _in_form("by way of SuspendedEVSE", waits, then, _change(final))
    return tuple(messages)


def _started(after: Situation) -> Situation:
    """The situation once the Started event has told everything that was to be told."""
    transaction = Transaction(after.holder, after.connected, after.reportable)
    return replace(after, remote_due=False, transaction=transaction)


def _start_event(after: Situation, trigger: frozenset[str | None], state: frozenset[str | None]) -> Expected:
    return Expected(
        _any("Started"),
        _any("RemoteStart") if after.remote_due else trigger,
        state,
        has_id_token=after.holder is not None,
        has_evse=after.connected,
        has_remote_start_id=after.remote_due,
    )


def _plug_in(start: frozenset[str], now: Situation) -> list[Reading]:
    if now.connected:
        return _nothing(now)
    after = replace(now, connected=True, ev_takes=True, waits_for_car=False)
    trigger = _any("CablePluggedIn", "ChargingStateChanged")
    connected = _any("EVConnected")
    if (transaction := now.transaction) is not None:
        first = Expected(_any("Updated"), trigger, connected, has_evse=DONT_CARE if transaction.evse_sent else True)
        lines_of = after.going_on(evse_sent=True, reported=after.reportable)
        return [Reading(_with_progress(first, unchanged=connected, after=after), lines_of)]
    then: tuple[Expected, ...] = ()
    if after.remote_due:  # E02.FR.17: not forbidden to tell the plug-in, too
        plugged = _any("CablePluggedIn")
        then = (Expected(_any("Updated"), plugged, _ABSENT | connected | after.reportable, optional=True),)
    if "EVConnected" in start or ("PowerPathClosed" in start and after.holder is not None):
        first = _start_event(after, trigger, connected)
        return [Reading(_with_progress(first, unchanged=connected, after=after, then=then), _started(after))]
    if "EnergyTransfer" in start and after.charging_state == "Charging":
        return [Reading((_start_event(after, trigger, after.reportable), *then), _started(after))]
    return _nothing(after)


def _authorize(start: frozenset[str], now: Situation, token: str, *, remote: bool) -> list[Reading]:
    after = replace(
        now,
        holder=token,
        cable_was_first=now.connected,
        waits_for_car=not now.connected,
        remote_due=remote and now.transaction is None,
    )
    trigger = _any("RemoteStart" if remote else "Authorized")
    if (transaction := now.transaction) is not None:
        first = Expected(_any("Updated"), trigger, None, has_id_token=True, has_remote_start_id=remote)
        messages = _with_progress(first, unchanged=_ABSENT | transaction.reported, after=after)
        lines_of = after.going_on(initial=transaction.initial or token, reported=after.reportable, causes=frozenset())
        return [Reading(messages, lines_of)]
    # Part 6 lets table 428 send nothing before the power path is closed or energy flows, and table 430 tell it then
    # by ChargingStateChanged; E02.FR.20 asks for Authorized in whatever comes next. Both are right.
    late = frozenset[str | None]() if remote or "Authorized" in start else _STATE_CHANGED
    before = _any("EVConnected") if now.connected else _any("Idle")
    first = _start_event(after, trigger, before)
    starting = Reading(_with_progress(first, unchanged=before, after=after, state_triggers=late), _started(after))
    if "Authorized" in start or ("PowerPathClosed" in start and now.connected):
        return [starting]
    waiting = _nothing(after)
    if "EnergyTransfer" in start and after.charging_state == "Charging":
        flowing = _start_event(after, trigger | late, after.reportable)
        waiting = [Reading((flowing,), _started(after))]
    if "EVConnected" in start and now.connected:  # E01.FR.02 against 2.6.6.1: the cable is in since before
        return [starting, *waiting]
    return waiting


def _end_authorization(stop: frozenset[str], now: Situation, trigger: str, reason: str) -> list[Reading]:
    """A card or a RequestStopTransaction ends the authorization, if there is one."""
    transaction = now.transaction
    after = replace(now, holder=None, remote_due=False)
    if transaction is None:
        return _nothing(replace(after, waits_for_car=False))
    was_authorized = now.holder is not None
    id_token = DONT_CARE if trigger == "StopAuthorized" else False  # E07.FR.02: SHOULD
    unchanged = _ABSENT | transaction.reported
    first = Expected(_any("Updated"), _any(trigger), unchanged, has_id_token=id_token)
    updates = _with_progress(first, unchanged=unchanged, after=after) if was_authorized else (first,)
    causes = transaction.causes | {reason}
    reported = after.reportable if was_authorized else transaction.reported
    goes_on = Reading(updates, after.going_on(reported=reported, causes=causes))

    reasons = now.reasons(reason)
    states = _ABSENT | (after.reportable if was_authorized else transaction.reported)
    ended = replace(first, event_type=_any("Ended"), charging_state=states, stopped_reason=reasons)
    end: tuple[Expected, ...] = (ended,)
    if was_authorized and now.connected:
        last = Expected(_any("Ended"), _STATE_CHANGED, after.reportable, reasons)
        end = (
            replace(ended, form="together"),
            replace(first, charging_state=unchanged - after.reportable, form="apart"),
            replace(last, form="apart"),
        )
    ends = Reading(end, after.ended())

    if stop & {"Authorized", "PowerPathClosed"}:
        return [ends] if was_authorized else [ends, goes_on]
    if "EnergyTransfer" in stop:
        return [ends] if now.charging_state == "Charging" else [goes_on, ends]
    return [goes_on]


def _present(start: frozenset[str], stop: frozenset[str], now: Situation, token: str) -> list[Reading]:
    """A card is held to the reader."""

    def same_driver(other: str) -> bool:
        return token == other or {token, other} <= _GROUP

    if now.holder is not None:
        if same_driver(now.holder):
            return _end_authorization(stop, now, "StopAuthorized", "Local")
        return _nothing(now)
    accepted = _authorize(start, now, token, remote=False)
    initial = None if now.transaction is None else now.transaction.initial
    if initial is None or initial == token:
        return accepted
    return [*_nothing(now), *accepted] if same_driver(initial) else _nothing(now)  # C01.FR.23: SHOULD not


def _remote_start(start: frozenset[str], now: Situation) -> list[Reading]:
    if now.transaction is not None and now.transaction.initial is not None:
        return _nothing(now)  # F01.FR.24, F02.FR.26: Rejected
    accepted = _authorize(start, now, "TAG-1", remote=True)
    return accepted if now.holder is None else [*accepted, *_nothing(now)]


def _deauthorize(stop: frozenset[str], now: Situation) -> list[Reading]:
    """The answer to the latest event with an idToken says Invalid."""
    transaction = now.transaction
    if transaction is None or transaction.initial is None:
        return _nothing(now)
    after = replace(now, holder=None)
    unchanged = _ABSENT | transaction.reported
    stopped = _any("EVConnected", "SuspendedEVSE") if now.connected else _any("Idle")
    states = stopped | (_ABSENT if transaction.reported & stopped else frozenset[str | None]())
    first = Expected(_any("Updated"), _any("Deauthorized"), unchanged)
    ended = replace(first, event_type=_any("Ended"), charging_state=states, stopped_reason=now.reasons("DeAuthorized"))
    ends = Reading((ended,), after.ended())
    lines_of = after.going_on(reported=stopped, causes=transaction.causes | {"DeAuthorized"})
    if now.holder is None:
        if stop & _END_WITH_AUTHORIZATION:
            return [*_nothing(now), ends]
        unheard = replace(first, charging_state=states, optional=True)
        return [Reading((unheard,), lines_of)]
    if stop & _END_WITH_AUTHORIZATION:
        return [ends]
    if not now.connected:
        return [Reading((replace(first, charging_state=states),), lines_of)]
    settled = _change(_any("EVConnected"), optional=True)  # SuspendedEVSE need not be followed by EVConnected
    messages = (
        replace(first, charging_state=states, form="together"),
        replace(settled, form="together"),
        replace(first, form="apart"),
        _change(stopped, form="apart"),
        replace(settled, form="apart"),
    )
    return [Reading(messages, lines_of)]


def _unplug(stop: frozenset[str], now: Situation) -> list[Reading]:
    if not now.connected:
        return _nothing(now)
    after = replace(now, connected=False, holder=None, remote_due=False, waits_for_car=False)
    transaction = now.transaction
    if transaction is None:
        return _nothing(after)
    idle = _any("Idle")
    updated = Expected(_any("Updated"), _any("EVCommunicationLost"), idle)
    reasons = now.reasons("EVDisconnected")
    goes_on = Reading((updated,), after.going_on(reported=idle))
    ends = Reading((replace(updated, event_type=_any("Ended"), stopped_reason=reasons),), after.ended())
    authorized = now.holder is not None
    if stop & {"EVConnected", "PowerPathClosed"} or ("Authorized" in stop and authorized):
        return [ends]
    if "EnergyTransfer" in stop and now.charging_state == "Charging":
        return [ends]
    return [goes_on, ends]


def _no_car_in_time(now: Situation) -> list[Reading]:
    if not now.waits_for_car:
        return _nothing(now)
    after = replace(now, holder=None, remote_due=False, waits_for_car=False)
    if now.transaction is None:
        return _nothing(after)
    ended = Expected(_any("Ended"), _any("EVConnectTimeout"), _any(None, "Idle"), now.reasons("Timeout"))
    ends = Reading((ended,), after.ended())
    return [ends] if now.holder is not None else [ends, *_nothing(after)]


def _energy_changes(start: frozenset[str], stop: frozenset[str], now: Situation, after: Situation) -> list[Reading]:
    """The EV or the EVSE suspends or resumes."""
    before, state = now.charging_state, after.charging_state
    if before == state:
        return _nothing(after)
    if now.transaction is None:
        if state != "Charging" or "EnergyTransfer" not in start:
            return _nothing(after)
        trigger = _STATE_CHANGED | _any("Authorized") if now.cable_was_first else _STATE_CHANGED
        return [Reading((_start_event(after, trigger, after.reportable),), _started(after))]
    if before == "Charging" and "EnergyTransfer" in stop:
        by_ev = state == "SuspendedEV"
        reasons = _any("StoppedByEV") if by_ev else _any("Other", "EnergyLimitReached")
        ended = Expected(_any("Ended"), _STATE_CHANGED, after.reportable | {"EVConnected"}, reasons)
        return [Reading((ended,), after.ended())]
    return [Reading((_change(after.reportable),), after.going_on(reported=after.reportable))]


def readings(start: frozenset[str], stop: frozenset[str], now: Situation, act: str) -> list[Reading]:
    """What an act may make the station send, the first reading first."""
    match act:
        case "plug_in":
            return _plug_in(start, now)
        case "swipe" | "swipe_same_group" | "swipe_other":
            return _present(start, stop, now, _CARDS[act])
        case "suspend_ev" | "resume_ev":
            after = replace(now, ev_takes=act == "resume_ev") if now.connected else now
            return _energy_changes(start, stop, now, after)
        case "suspend_evse" | "resume_evse":
            return _energy_changes(start, stop, now, replace(now, evse_offers=act == "resume_evse"))
        case "unplug":
            return _unplug(stop, now)
        case "ev_connection_timeout":
            return _no_car_in_time(now)
        case "remote_start":
            return _remote_start(start, now)
        case "remote_stop":
            return _nothing(now) if now.transaction is None else _end_authorization(stop, now, "RemoteStop", "Remote")
        case "deauthorize":
            return _deauthorize(stop, now)
    raise ValueError(f"No such act: {act}. The acts are {', '.join(ACTS)}.")


def expected(start: frozenset[str], stop: frozenset[str], acts: Sequence[str]) -> list[list[Expected]]:
    """Give the events of each act, in the first reading of the specification.

    Args:
        start: TxStartPoint, out of ``POINTS``.
        stop: TxStopPoint, out of ``POINTS``.
        acts: What happens to the station, out of ``ACTS``, from an idle station on.

    Returns:
        A list for each act, in order; it is empty where nothing is sent.
    """
    now = Situation()
    events = []
    for act in acts:
        reading = readings(start, stop, now, act)[0]
        events.append(list(reading.messages))
        now = reading.after
    return events


def check(expected_for_one_act: Sequence[Expected], actual_events: Sequence[Mapping[str, Any]]) -> str:
    """Compare the events of one act with those expected.

    Args:
        expected_for_one_act: One of the lists of ``expected``.
        actual_events: The events in the order sent, with the field names of ``Expected``. A field that is not there
            counts as absent, or as False.

    Returns:
        Nothing, or a sentence that says what differs.
    """
    forms = list(dict.fromkeys(each.form for each in expected_for_one_act if each.form)) or [""]
    best = (-1, "")
    for form in forms:
        matched, difference = _compare(
            [each for each in expected_for_one_act if each.form in {"", form}], actual_events
        )
        if not difference:
            return ""
        if matched > best[0]:
            best = (matched, f"{difference} (where the change is told {form})" if form else difference)
    return best[1]


def check_run(
    start: frozenset[str],
    stop: frozenset[str],
    acts: Sequence[str],
    actual: Sequence[Sequence[Mapping[str, Any]]],
) -> str:
    """Compare the events of a whole sequence of acts, in each reading of the specification.

    Args:
        start: TxStartPoint, out of ``POINTS``.
        stop: TxStopPoint, out of ``POINTS``.
        acts: What happened to the station.
        actual: The events of each act, as ``check`` takes them.

    Returns:
        Nothing, or a sentence that names the act and says what differs from the reading that comes nearest.
    """
    if len(acts) != len(actual):
        return f"There are {len(acts)} acts, and events of {len(actual)}."
    situations = [Situation()]
    for number, (act, events) in enumerate(zip(acts, actual, strict=True), 1):
        following: list[Situation] = []
        differences: list[str] = []
        for reading in (each for now in situations for each in readings(start, stop, now, act)):
            difference = check(reading.messages, events)
            if difference:
                differences.append(difference)
            elif reading.after not in following:
                following.append(reading.after)
        if not following:
            others = f" ({len(differences) - 1} other readings differ, too)" if len(differences) > 1 else ""
            return f"Act {number}, {act}: {differences[0]}{others}"
        situations = following
    return ""


def _compare(wanted: Sequence[Expected], actual: Sequence[Mapping[str, Any]]) -> tuple[int, str]:
    """How many events agree, and what differs after those."""
    if not actual:
        missing = next((each for each in wanted if not each.optional), None)
        return 0, "" if missing is None else f"no further event, where {_describe(missing)} is expected"
    if not wanted:
        return 0, f"an event that is not expected: {dict(actual[0])}"
    event, rest = wanted[0], wanted[1:]
    difference = _difference(event, actual[0])
    if difference:
        result = (0, difference)
    else:
        matched, later = _repeated(actual) or _compare(rest, actual[1:])
        result = (matched + 1, later)
    if result[1] and event.optional:
        skipped = _compare(rest, actual)
        if not skipped[1] or skipped[0] >= result[0]:
            return skipped
    return result


def _repeated(actual: Sequence[Mapping[str, Any]]) -> tuple[int, str] | None:
    """A ChargingStateChanged that tells the state of the event before it tells no change."""
    if len(actual) > 1 and actual[1].get("trigger_reason") == "ChargingStateChanged":
        state = actual[1].get("charging_state")
        if state is not None and state == actual[0].get("charging_state"):
            return 0, f"ChargingStateChanged, where the event before it had charging_state {state!r} already"
    return None


def _difference(wanted: Expected, actual: Mapping[str, Any]) -> str:
    for name in _FIELDS:
        allowed = getattr(wanted, name)
        value = actual.get(name)
        if allowed is DONT_CARE:
            continue
        if isinstance(allowed, bool):
            if bool(value) is not allowed:
                return f"{name} is {bool(value)}, where {_describe(wanted)} is expected"
        elif value not in (_ABSENT if allowed is None else allowed):
            return f"{name} is {value!r}, where {_describe(wanted)} is expected"
    return ""


def _describe(wanted: Expected) -> str:
    return "/".join(
        [
            *(_values(each) for each in (wanted.event_type, wanted.trigger_reason, wanted.charging_state)),
            f"stopped_reason {_values(wanted.stopped_reason)}",
            *(f"{name}={getattr(wanted, name)}" for name in _FIELDS if name.startswith("has_")),
        ]
    )


def _values(allowed: Values) -> str:
    if isinstance(allowed, frozenset):
        return " or ".join(sorted(_word(each) for each in allowed))
    return "anything" if allowed is DONT_CARE else "absent"


def _word(value: str | None) -> str:
    return "absent" if value is None else value


def point_sets() -> Iterable[frozenset[str]]:
    """The 15 sets of points that are not empty."""
    for bits in range(1, 1 << len(POINTS)):
        yield frozenset(point for number, point in enumerate(POINTS) if bits >> number & 1)
