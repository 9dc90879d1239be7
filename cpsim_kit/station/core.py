"""The rules of a station: what an act, an answer, a command or the passing of time changes, and what is said then.

Pure: no clock, no task, no I/O. Whoever drives it feeds events with their moment, sends one message after the other,
and feeds the answers. It never asks for the time, so that a session of hours is a table of microseconds in a test.

OCPP 2.0.1 part 2, functional blocks C, E, F and J; OCPP 1.6, chapters 3 to 5.
"""

from __future__ import annotations

import math
import random as random_module
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.authorization import Authorization, AuthorizationCache, IdToken, TokenInfo
from cpsim_kit.station.events import (
    FAULTS,
    Accepted,
    Answer,
    ClearFault,
    Event,
    Failure,
    Fault,
    Outgoing,
    PlugIn,
    RemoteStart,
    RemoteStop,
    SuspendEv,
    SuspendEvse,
    Swipe,
    Swiped,
    Tick,
    Unplug,
    VariablesChanged,
)
from cpsim_kit.station.evse import Evse, LiveEvse
from cpsim_kit.station.reporting import Reporter, record
from cpsim_kit.station.session import Session
from cpsim_kit.station.transaction import STOPPED_WITH_AUTHORIZATION, Transaction

if TYPE_CHECKING:
    from cpsim_kit.station.dialects import Dialect
    from cpsim_kit.station.variables import Variables

__all__ = ["Core"]

_NONE: frozenset[str] = frozenset()
_DISCONNECTED = frozenset({"EVConnected", "PowerPathClosed"})


class Core:
    """The state and the rules of one station.

    Args:
        dialect: The words of its OCPP version.
        evses: What its EVSEs can do, from EVSE 1 on.
        variables: Its variables.
        epoch: Seconds since the epoch at moment 0.
        random: Makes ids.
        keeps_rows: Whether sessions keep a row for each change and each meter reading.

    Attributes:
        evses: The EVSEs by id.
        lobby: An authorization without an EVSE: a token came first, and several EVSEs are free. None at most times.
        sessions: All sessions, oldest first.
    """

    __slots__ = (
        "_aligned_at",
        "_aligned_end_at",
        "_cache",
        "_keeps_rows",
        "_reporter",
        "dialect",
        "epoch",
        "evses",
        "lobby",
        "sessions",
        "variables",
    )

    def __init__(
        self,
        dialect: Dialect,
        evses: Sequence[Evse],
        variables: Variables,
        *,
        epoch: float = 0.0,
        random: random_module.Random | None = None,
        keeps_rows: bool = True,
    ) -> None:
        self.dialect = dialect
        self.variables = variables
        self.epoch = epoch
        self.evses: Mapping[int, LiveEvse] = {
            number: LiveEvse(number, spec) for number, spec in enumerate(evses, start=1)
        }
        self.lobby: LiveEvse | None = None
        self.sessions: list[Session] = []
        self._keeps_rows = keeps_rows
        self._cache = AuthorizationCache()
        self._aligned_at = math.inf
        self._aligned_end_at = math.inf
        random = random_module.Random() if random is None else random  # noqa: S311 - ids, no secrets
        self._reporter = Reporter(dialect, variables, random, self._keep_info, self._deauthorize)

    @property
    def transactions(self) -> list[Transaction]:
        """All transactions, oldest first."""
        return self._reporter.transactions

    def handle(self, event: Event, now: float) -> Any:
        """Let something happen.

        Args:
            event: What happens.
            now: The moment in seconds of the station's clock; never before the last one.

        Returns:
            For RemoteStart the status and the id of the running transaction or None, for RemoteStop the status.

        Raises:
            ValueError: It cannot happen physically; nothing has changed.
        """
        if not isinstance(event, Answer | Failure):
            self._reporter.cause = event
        return _RULES[type(event)](self, event, now)

    def take(self) -> Outgoing | None:
        """The next message to send; None while there is none. Take the next one when it is answered."""
        outbox = self._reporter.outbox
        return outbox.popleft() if outbox else None

    @property
    def has_message(self) -> bool:
        """Whether a message waits."""
        return bool(self._reporter.outbox)

    def due(self) -> float:
        """When something happens by itself next; infinity for never."""
        moment = min(self._aligned_at, self._aligned_end_at)
        for evse in self._places():
            moment = min(moment, evse.full_at, evse.connect_by, evse.authorize_by)
            transaction = evse.transaction
            if transaction is not None:
                moment = min(moment, transaction.sample_at, transaction.ended_sample_at)
        return moment

    def _places(self) -> Iterator[LiveEvse]:
        yield from self.evses.values()
        if self.lobby is not None:
            yield self.lobby

    # -- Time ---------------------------------------------------------------------------------------------------------

    def _tick(self, _event: Tick, now: float) -> None:
        """What is due by now, in order, until there is something to say: the clock stands still meanwhile."""
        while not self.has_message and (moment := self.due()) <= now:
            for evse in list(self._places()):
                self._fire(evse, moment)
            value = self.variables.value
            if self._aligned_end_at <= moment:
                self._aligned_end_at += value("AlignedDataCtrlr.TxEndedInterval") or math.inf
                self._reporter.sample_aligned_for_end(list(self.evses.values()), moment)
            if self._aligned_at <= moment:
                self._aligned_at += value("AlignedDataCtrlr.Interval") or math.inf
                self._reporter.sample_aligned(list(self.evses.values()), moment)

    def _fire(self, evse: LiveEvse, now: float) -> None:
        if evse.full_at <= now:
            self._reach_full(evse, now)
        if evse.connect_by <= now:
            self._give_up_vehicle(evse, now)
        if evse.authorize_by <= now:  # OCPP 1.6, 4.9: B6
            evse.authorize_by = math.inf
            evse.was_stopped = True
            self._settle(evse, now, "")
        transaction = evse.transaction
        if transaction is not None and min(transaction.sample_at, transaction.ended_sample_at) <= now:
            self._reporter.sample(evse, now)

    def _reach_full(self, evse: LiveEvse, now: float) -> None:
        """The vehicle has reached its target, or the energy for an invalid token is used up (E05.FR.02)."""
        authorization = evse.authorization
        assert authorization is not None
        limit = authorization.until_wh
        if limit is not None and evse.register_wh(now) >= limit - 1e-6:
            authorization.is_blocked = True
            reason = "DeAuthorized"
        else:
            evse.ev_is_done = True
            reason = "StoppedByEV"
        evse.offer(now)
        self._settle(evse, now, "ChargingStateChanged", reason)

    def _give_up_vehicle(self, evse: LiveEvse, now: float) -> None:
        """No vehicle came in time (C01.FR.26, E03.FR.05), or it did not come back (E10.FR.02)."""
        evse.connect_by = math.inf
        authorization, evse.authorization = evse.authorization, None
        evse.offer(now)
        if authorization is not None and authorization.has_lost_vehicle:
            extra = STOPPED_WITH_AUTHORIZATION
            self._settle(evse, now, "EVCommunicationLost", "EVDisconnected", extra=extra)
        else:
            self._settle(evse, now, "EVConnectTimeout", "Timeout", must_end=True)
        self._close_session(evse, now)

    def _accepted(self, _event: Accepted, now: float) -> None:
        for build in self.dialect.start_messages(now):
            self._reporter.say(build)
        for evse in self.evses.values():
            self._reporter.status(evse, now, anyway=True)
        for build in self.dialect.last_start_messages(now):
            self._reporter.say(build)
        self._align(now)

    def _align(self, now: float) -> None:
        """Begin the clock-aligned intervals, which count from midnight UTC."""

        def next_multiple(interval: int) -> float:
            if not interval:
                return math.inf
            midnight = math.floor((self.epoch + now) / 86_400) * 86_400
            return midnight + (math.floor((self.epoch + now - midnight) / interval) + 1) * interval - self.epoch

        self._aligned_at = next_multiple(self.variables.value("AlignedDataCtrlr.Interval"))
        self._aligned_end_at = next_multiple(self.variables.value("AlignedDataCtrlr.TxEndedInterval"))

    def _variables_changed(self, _event: VariablesChanged, now: float) -> None:
        self._align(now)
        for evse in self._places():
            if evse.transaction is not None:
                self._reporter.schedule(evse.transaction, now)

    # -- Cable and vehicle --------------------------------------------------------------------------------------------

    def _plug_in(self, event: PlugIn, now: float) -> None:
        vehicle = event.vehicle
        for other in self.evses.values():
            if other.vehicle is vehicle:
                raise ValueError(f"this vehicle is at EVSE {other.id} already; unplug it there first")
        free = [each for each in self.evses.values() if each.vehicle is None]
        evse = self._one_of(free, "plug in", "has a vehicle already; unplug it first", event.evse_id)
        if evse.vehicle is not None:
            raise ValueError(f"EVSE {evse.id} has a vehicle already; unplug it first")
        evse.connect(vehicle, now)
        evse.connect_by = math.inf
        evse.was_stopped = False
        self._begin_session(evse, now)
        self._leave_lobby(evse)
        evse.offer(now)
        waits = evse.authorization is None and evse.transaction is None and evse.is_usable
        if waits and self.dialect.gives_up_without_token:
            evse.authorize_by = now + (self.variables.value("TxCtrlr.EVConnectionTimeOut") or math.inf)
        self._settle(evse, now, "CablePluggedIn")

    def _unplug(self, event: Unplug, now: float) -> None:
        if event.side not in ("evse", "ev"):
            raise ValueError(f'a cable is unplugged at side="evse" or side="ev", not {event.side!r}')
        taken = [each for each in self.evses.values() if each.vehicle is not None or each.has_dangling_cable]
        evse = self._one_of(taken, "unplug", "has no cable to unplug", event.evse_id)
        if evse.vehicle is None and not evse.has_dangling_cable:
            raise ValueError(f"EVSE {evse.id} has no cable to unplug")
        if evse.vehicle is None:
            if event.side == "ev":
                raise ValueError(f'no vehicle is at EVSE {evse.id}; its cable is unplugged at side="evse"')
            evse.has_dangling_cable = evse.was_stopped = False
            self._settle(evse, now, "")
            return
        evse.disconnect(now)
        evse.authorize_by = math.inf
        evse.has_dangling_cable = event.side == "ev" and not evse.spec.is_attached
        extra = _DISCONNECTED
        stops = event.side == "evse" or self.variables.value("TxCtrlr.StopTxOnEVSideDisconnect")
        if evse.authorization is not None and (stops or evse.transaction is None):  # E09.FR.01, errata 2.17
            evse.authorization = None
            extra |= STOPPED_WITH_AUTHORIZATION
        evse.was_stopped = False
        evse.offer(now)
        self._settle(evse, now, "EVCommunicationLost", "EVDisconnected", extra=extra)
        if evse.authorization is not None:  # E10: the cable may come back
            evse.authorization.has_lost_vehicle = True
            evse.connect_by = now + (self.variables.value("TxCtrlr.EVConnectionTimeOut") or math.inf)
        self._close_session(evse, now)

    def _suspend_ev(self, event: SuspendEv, now: float) -> None:
        taken = [each for each in self.evses.values() if each.vehicle is not None]
        verb = "suspend the vehicle" if event.suspends else "resume the vehicle"
        evse = self._one_of(taken, verb, "has no vehicle", event.evse_id)
        if evse.vehicle is None:
            raise ValueError(f"EVSE {evse.id} has no vehicle")
        evse.ev_suspends = event.suspends
        evse.offer(now)
        self._settle(evse, now, "ChargingStateChanged", "StoppedByEV")

    def _suspend_evse(self, event: SuspendEvse, now: float) -> None:
        verb = "suspend the EVSE" if event.suspends else "resume the EVSE"
        evse = self._one_of(list(self.evses.values()), verb, "", event.evse_id)
        evse.evse_suspends = event.suspends
        evse.offer(now)
        self._settle(evse, now, "ChargingStateChanged", "Other")

    def _fault(self, event: Fault, now: float) -> None:
        if event.name not in FAULTS:
            raise ValueError(f"a fault is one of {', '.join(FAULTS)}, not {event.name!r}")
        evse = self._one_of(list(self.evses.values()), "break", "", event.evse_id)
        if evse.fault:
            raise ValueError(f"EVSE {evse.id} has a fault already: {evse.fault}; clear it first")
        evse.fault = event.name
        evse.authorization = None
        evse.connect_by = evse.authorize_by = math.inf
        evse.offer(now)
        self._settle(evse, now, "AbnormalCondition", FAULTS[event.name], must_end=True)
        self._close_session(evse, now)

    def _clear_fault(self, event: ClearFault, now: float) -> None:
        broken = [each for each in self.evses.values() if each.fault]
        evse = self._one_of(broken, "clear a fault", "has no fault", event.evse_id)
        if not evse.fault:
            raise ValueError(f"EVSE {evse.id} has no fault")
        evse.fault = ""
        evse.offer(now)
        evse.conditions = evse.find_conditions()  # nothing begins by itself
        self._settle(evse, now, "")

    def _one_of(self, candidates: Sequence[LiveEvse], verb: str, otherwise: str, evse_id: int | None) -> LiveEvse:
        """The EVSE that an act is about: the one that was named, or the only one that comes into question."""
        if evse_id is not None:
            if evse_id not in self.evses or isinstance(evse_id, bool):
                raise ValueError(f"this station has the EVSEs {', '.join(map(str, self.evses))}, not {evse_id!r}")
            return self.evses[evse_id]
        if len(self.evses) == 1:
            return self.evses[1]
        if len(candidates) == 1:
            return candidates[0]
        if not candidates:
            raise ValueError(f"cannot {verb}: each EVSE {otherwise}" if otherwise else f"cannot {verb}")
        numbers = " or ".join(str(each.id) for each in candidates)
        raise ValueError(f"where? There are several EVSEs to {verb}; say evse={numbers}")

    # -- Tokens -------------------------------------------------------------------------------------------------------

    def _swipe(self, event: Swipe, now: float) -> None:
        token = event.token
        evse = self._find_place(event)
        authorization = evse.authorization
        known = self._known(token, now)
        if authorization is not None and (
            authorization.token.is_same(token)
            or (known is not None and known.is_accepted and authorization.may_be_ended_by(token, known.group))
        ):  # C01.FR.03: without asking the CSMS
            event.result = Swiped(token.id, "Accepted", "stopped")
            self._end_authorization(evse, now, "StopAuthorized", "Local", token)
            return
        if not evse.is_usable:
            reason = f"EVSE {evse.id} is {'broken' if evse.fault else 'out of service'}"
            event.result = Swiped(token.id, "", "refused", reason)
            return
        if known is not None and known.is_accepted and self.variables.value("AuthCtrlr.LocalPreAuthorize"):
            self._decide(event, evse, known, now)
            return
        then = partial(self._authorize_answered, event, evse)
        self._reporter.say(partial(self.dialect.authorize, token), then, evse.session)

    def _authorize_answered(self, event: Swipe, evse: LiveEvse, answer: Answer, now: float) -> None:
        assert answer.info is not None
        self._keep_info(event.token, answer, now)
        self._decide(event, evse, answer.info, now)

    def _decide(self, event: Swipe, evse: LiveEvse, info: TokenInfo, now: float) -> None:
        """What a token does, now that it is known whether it is accepted."""
        token = event.token

        def refuse(reason: str) -> None:
            event.result = Swiped(token.id, info.status, "refused", reason)
            if evse.session is not None:
                evse.session.refused = info.status if not info.is_accepted else reason
            self._leave_empty_lobby()

        if not info.is_accepted:
            refuse(f"the CSMS says {info.status}")
            return
        if event.evse_id is None and len(self.evses) > 1:
            same_group = [
                each
                for each in self._places()
                if each.authorization is not None and each.authorization.may_be_ended_by(token, info.group)
            ]
            if len(same_group) == 1:
                evse = same_group[0]
        authorization = evse.authorization
        if authorization is not None:
            if authorization.may_be_ended_by(token, info.group):  # C09.FR.03
                event.result = Swiped(token.id, info.status, "stopped")
                self._end_authorization(evse, now, "StopAuthorized", "Local", token)
            else:
                refuse("another token has authorized this session")
            return
        if info.evse_ids and evse.id and evse.id not in info.evse_ids:  # C01.FR.21
            refuse(f"the token is accepted at EVSE {', '.join(map(str, info.evse_ids))} only")
            return
        transaction = evse.transaction
        if transaction is not None and transaction.token is not None and not transaction.token.is_same(token):
            refuse("another token has authorized this transaction")  # C01.FR.23
            return
        if not evse.is_usable:
            refuse(f"EVSE {evse.id} has a fault")
            return
        event.result = Swiped(token.id, info.status, "authorized")
        self._grant(evse, Authorization(token, info.group, info.evse_ids), now, "Authorized")

    def _find_place(self, event: Swipe) -> LiveEvse:
        """Where a token is meant for.

        The named EVSE; else where this token is in use; else where a vehicle waits for a token; else, as the last free
        place, the lobby: the token comes first, and the cable decides.
        """
        if event.evse_id is not None or len(self.evses) == 1:
            return self._one_of([], "present a token", "", event.evse_id)
        places = list(self._places())
        own = [each for each in places if each.authorization and each.authorization.token.is_same(event.token)]
        if len(own) > 1:
            raise ValueError(
                f"{event.token.id} is in use at several EVSEs; say evse={' or '.join(str(e.id) for e in own)}"
            )
        if own:
            return own[0]
        waiting = [
            each for each in places if each.vehicle is not None and each.authorization is None and each.is_usable
        ]
        if len(waiting) > 1:
            numbers = " or ".join(str(each.id) for each in waiting)
            raise ValueError(f"which vehicle is the token for? Several wait for one; say evse={numbers}")
        if waiting:
            return waiting[0]
        if all(each.vehicle is not None for each in self.evses.values()):  # only to stop one
            return next(each for each in places if each.id)
        if self.lobby is None:
            self.lobby = LiveEvse(0, Evse())
        return self.lobby

    def _remote_start(self, event: RemoteStart, now: float) -> tuple[str, str | None]:
        evse = self._find_remote_place(event)
        if evse is None:
            return "Rejected", None
        running = None if evse.transaction is None else evse.transaction.id
        authorization = Authorization(event.token, event.group, (), event.remote_start_id, is_remote=True)
        if self.variables.value("AuthCtrlr.AuthorizeRemoteStart") and event.token.type != "Central":  # C05.FR.01
            then = partial(self._remote_authorized, authorization, evse)
            self._reporter.say(partial(self.dialect.authorize, event.token), then, evse.session)
        else:
            self._grant(evse, authorization, now, "RemoteStart")
        return "Accepted", running

    def _remote_authorized(self, authorization: Authorization, evse: LiveEvse, answer: Answer, now: float) -> None:
        assert answer.info is not None
        self._keep_info(authorization.token, answer, now)
        if answer.info.is_accepted and evse.authorization is None and evse.is_usable:
            authorization.group = answer.info.group or authorization.group
            self._grant(evse, authorization, now, "RemoteStart")
        elif evse.session is not None:
            evse.session.refused = answer.info.status
        self._leave_empty_lobby()

    def _find_remote_place(self, event: RemoteStart) -> LiveEvse | None:
        """Where a remote start takes place; None to reject it (F02.FR.22, .25, .26)."""

        def takes(evse: LiveEvse) -> bool:
            was_authorized = evse.transaction is not None and evse.transaction.token is not None  # F01.FR.24
            return evse.is_usable and evse.authorization is None and not was_authorized

        if event.evse_id is not None:
            evse = self.evses.get(event.evse_id)
            return evse if evse is not None and takes(evse) else None
        possible = [evse for evse in self.evses.values() if takes(evse)]
        with_vehicle = [evse for evse in possible if evse.vehicle is not None]
        if with_vehicle:
            return with_vehicle[0]
        if len(self.evses) == 1 or not possible:
            return possible[0] if possible else None
        if self.lobby is None:
            self.lobby = LiveEvse(0, Evse())
        return self.lobby if takes(self.lobby) else None

    def _remote_stop(self, event: RemoteStop, now: float) -> str:
        for evse in list(self._places()):
            if evse.transaction is not None and evse.transaction.id == event.transaction_id:
                self._end_authorization(evse, now, "RemoteStop", "Remote", None)
                return "Accepted"
        return "Rejected"

    def _grant(self, evse: LiveEvse, authorization: Authorization, now: float, trigger: str) -> None:
        """An authorization begins."""
        evse.authorization = authorization
        evse.authorize_by = math.inf
        evse.was_stopped = False
        if evse.transaction is not None:
            evse.transaction.stopped_by = ""
        self._begin_session(evse, now)
        assert evse.session is not None
        evse.session.token = evse.session.token or authorization.token.id
        if evse.vehicle is None:
            evse.connect_by = now + (self.variables.value("TxCtrlr.EVConnectionTimeOut") or math.inf)
        evse.offer(now)
        self._settle(evse, now, trigger)

    def _end_authorization(self, evse: LiveEvse, now: float, trigger: str, reason: str, token: IdToken | None) -> None:
        """An authorization ends by a token or by the CSMS; depending on TxStopPoint the transaction (E05, E07, F03)."""
        evse.authorization = None
        evse.offer(now)
        self._settle(evse, now, trigger, reason, token=token, extra=STOPPED_WITH_AUTHORIZATION)
        if evse.transaction is None:
            evse.connect_by = math.inf
        else:  # without a vehicle the time to connect one goes on (E03.FR.05)
            evse.transaction.stopped_by = reason
        self._close_session(evse, now)

    def _deauthorize(self, transaction: Transaction, authorization: Authorization, now: float) -> None:
        """The CSMS refuses the token of a running transaction (E05)."""
        evse = next((each for each in self._places() if each.authorization is authorization), None)
        if evse is None or evse.transaction is not transaction:
            return
        value = self.variables.value
        if evse.session is not None:
            evse.session.refused = "Invalid"
        if value("TxCtrlr.StopTxOnInvalidId"):
            self._end_authorization(evse, now, "Deauthorized", "DeAuthorized", None)
            return
        if most := value("TxCtrlr.MaxEnergyOnInvalidId"):
            authorization.until_wh = evse.register_wh(now) + most
        else:
            authorization.is_blocked = True
        evse.offer(now)
        self._settle(evse, now, "ChargingStateChanged", "DeAuthorized")

    def _known(self, token: IdToken, now: float) -> TokenInfo | None:
        if not self.variables.value("AuthCacheCtrlr.Enabled"):
            return None
        return self._cache.find(token, self.epoch + now)

    def _keep_info(self, token: IdToken, answer: Answer, now: float) -> None:
        value = self.variables.value
        if value("AuthCacheCtrlr.Enabled") and answer.info is not None:
            self._cache.keep(token, answer.info, self.epoch + now, value("AuthCacheCtrlr.LifeTime") or math.inf)

    # -- Sessions and transactions ------------------------------------------------------------------------------------

    def _settle(
        self,
        evse: LiveEvse,
        now: float,
        trigger: str,
        reason: str = "",
        *,
        token: IdToken | None = None,
        extra: frozenset[str] = _NONE,
        must_end: bool = False,
    ) -> None:
        """Start, report or end the transaction after a change, and report the connector.

        The first point of TxStartPoint that comes true starts it, the first of TxStopPoint that ends stops it (E01,
        E06). An event that ends a transaction starts no other.

        Args:
            evse: Where something changed.
            now: When.
            trigger: Why, a TriggerReasonEnumType value; "" for something that concerns no transaction.
            reason: The stoppedReason if it ends.
            token: The token that ended the authorization.
            extra: Points that end whether or not they were true: with the authorization, or with the cable.
            must_end: Whether it ends anyway.
        """
        report = self._reporter
        before, evse.conditions = evse.conditions, evse.find_conditions()
        report.status_before(evse, now)
        if evse.transaction is not None:
            ended = (before - evse.conditions) | extra
            if must_end or ended.intersection(self.variables.value("TxCtrlr.TxStopPoint")):
                self._end_transaction(evse, now, trigger, reason, token)
            elif trigger:
                report.update(evse, now, trigger, token)
        elif evse.conditions - before:
            points = evse.conditions.intersection(self.variables.value("TxCtrlr.TxStartPoint"))
            if points:
                report.status(evse, now)
                report.start(evse, now, "ChargingStateChanged" if points == {"EnergyTransfer"} else trigger)
        report.status(evse, now)
        record(evse, now)

    def _end_transaction(self, evse: LiveEvse, now: float, trigger: str, reason: str, token: IdToken | None) -> None:
        state = evse.charging_state
        evse.authorization = None  # it ends with the transaction (errata 2.17)
        evse.connect_by = math.inf
        evse.offer(now)
        if trigger != "ChargingStateChanged":
            state = evse.charging_state
        self._reporter.end(evse, now, trigger, state, reason, token)
        evse.was_stopped = evse.vehicle is not None or evse.has_dangling_cable
        evse.conditions = evse.find_conditions()

    def _begin_session(self, evse: LiveEvse, now: float) -> None:
        if evse.session is None:
            evse.session = Session(evse.id, self.epoch, now, evse.register_wh(now), self._keeps_rows)
            self.sessions.append(evse.session)

    def _close_session(self, evse: LiveEvse, now: float) -> None:
        """The session ends when neither a vehicle, nor an authorization, nor a transaction is left."""
        session = evse.session
        if session is not None and evse.vehicle is None and evse.authorization is None and evse.transaction is None:
            session.end, session.end_wh = now, evse.register_wh(now)
            evse.session = None
        self._leave_empty_lobby()

    def _leave_lobby(self, evse: LiveEvse) -> None:
        """A cable was connected: the authorization without an EVSE, and its transaction, are about this one."""
        lobby = self.lobby
        if lobby is None or lobby.authorization is None or evse.authorization is not None or not evse.is_usable:
            return
        allowed = lobby.authorization.evse_ids
        if evse.transaction is not None or (allowed and evse.id not in allowed):
            return
        evse.authorization, evse.transaction = lobby.authorization, lobby.transaction
        evse.conditions = evse.conditions | lobby.conditions
        if lobby.session is not None:
            self.sessions.remove(evse.session)  # type: ignore[arg-type]
            evse.session = lobby.session
            evse.session.evse_id = evse.id
            evse.session.begin_wh = evse.register_wh(evse.session.begin)
        self.lobby = None

    def _leave_empty_lobby(self) -> None:
        lobby = self.lobby
        if lobby is not None and lobby.authorization is None and lobby.transaction is None:
            self.lobby = None

    # -- Answers ------------------------------------------------------------------------------------------------------

    def _answer(self, event: Answer, now: float) -> None:
        self._reporter.cause = event.to.cause
        if event.to.then is not None:
            event.to.then(event, now)

    def _failure(self, event: Failure, now: float) -> None:
        self._reporter.cause = event.to.cause
        self._leave_empty_lobby()


_RULES: dict[type, Callable[[Core, Any, float], Any]] = {
    Accepted: Core._accepted,
    PlugIn: Core._plug_in,
    Swipe: Core._swipe,
    Unplug: Core._unplug,
    SuspendEv: Core._suspend_ev,
    SuspendEvse: Core._suspend_evse,
    Fault: Core._fault,
    ClearFault: Core._clear_fault,
    RemoteStart: Core._remote_start,
    RemoteStop: Core._remote_stop,
    VariablesChanged: Core._variables_changed,
    Tick: Core._tick,
    Answer: Core._answer,
    Failure: Core._failure,
}
