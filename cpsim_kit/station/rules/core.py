"""The rules of a station: what an act, an answer, a command or the passing of time changes, and what is sent then.

Pure: no clock, no task, no I/O. Whoever drives it feeds events with their moment, sends one message after the other,
and feeds the answers. It never asks for the time, so that a session of hours is a table of microseconds in a test.

OCPP 2.0.1 part 2, functional blocks C, E, F and J; OCPP 1.6, chapters 3 to 5.
"""

from __future__ import annotations

import math
import random as random_module
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.charging.evse import LiveEvse, check_evse_id
from cpsim_kit.station.charging.transaction import STOPPED_WITH_AUTHORIZATION
from cpsim_kit.station.maintenance.maintenance import Maintenance
from cpsim_kit.station.profiles.sharing import SharingRule, equal
from cpsim_kit.station.rules.events import (
    FAULTS,
    Accepted,
    Answer,
    CancelReservation,
    ChangeAvailability,
    ClearFault,
    ClearProfiles,
    Event,
    Failure,
    Fault,
    InstallProfile,
    LimitFromOutside,
    Offline,
    Online,
    Outgoing,
    PlugIn,
    PowerOff,
    RemoteStart,
    RemoteStop,
    ReserveNow,
    Reset,
    ShutDown,
    SuspendEv,
    SuspendEvse,
    Swipe,
    Tick,
    Trigger,
    Unlock,
    Unplug,
    VariablesChanged,
)
from cpsim_kit.station.rules.reporting import record
from cpsim_kit.station.rules.restart import Restarts
from cpsim_kit.station.rules.tokens import Tokens
from cpsim_kit.station.rules.triggers import Triggers
from cpsim_kit.station.rules.unlocking import is_stuck, unlock
from cpsim_kit.station.rules.visits import Visits

if TYPE_CHECKING:
    from cpsim_kit.station.charging.evse import Evse
    from cpsim_kit.station.charging.transaction import Report, Transaction
    from cpsim_kit.station.device_model.live_values import Device
    from cpsim_kit.station.device_model.variables import Variables
    from cpsim_kit.station.dialects import Dialect
    from cpsim_kit.station.profiles.smart_charging import SmartCharging
    from cpsim_kit.station.rules.authorization import AuthorizationCache, LocalList
    from cpsim_kit.station.rules.availability import Availability
    from cpsim_kit.station.rules.queue import MessageQueue
    from cpsim_kit.station.rules.reservations import Reservations

__all__ = ["Core"]

_DAY = 86_400
_WAIT = "TxCtrlr.EVConnectionTimeOut"
_SAMPLING = "SampledDataCtrlr.Enabled"
_UPDATED, _ENDED = "SampledDataCtrlr.TxUpdatedInterval", "SampledDataCtrlr.TxEndedInterval"
_PRIORITY = "OCPPCommCtrlr.NetworkConfigurationPriority"
_DISCONNECTED = frozenset({"EVConnected", "PowerPathClosed"})

_SYSTEM_RANDOM = random_module.SystemRandom()  # for all stations: it has no state, and one of each takes 2.9 KiB


class Core:
    """The state and the rules of one station.

    Args:
        dialect: The words of its OCPP version.
        evses: What its EVSEs can do, from EVSE 1 on.
        variables: Its variables.
        epoch: Seconds since the epoch at moment 0.
        random: Makes ids; None for the system's random numbers.
        keeps_rows: Whether sessions keep a row for each change and each meter reading.
        queue: Where its messages wait; None for a queue that changes nothing.
        share: How its EVSEs share the limit of the station.

    Attributes:
        device: What the station is; None for a core without a charge point.
        network_profile: The slot of the network connection in use; "" for the first one of the next start.
        evses: The EVSEs by id.
        on_firmware: Called with the version of new firmware, which the next boot reports.
        restarts: Its resets.
        sessions: All sessions, oldest first.
        transactions: All transactions, oldest first.
        triggers: The messages that the CSMS asked for.
    """

    __slots__ = (
        "_aligned_at",
        "_aligned_end_at",
        "_failed_attempts",
        "_is_accepted",
        "_maintenance",
        "_offline_since",
        "_reporter",
        "_tokens",
        "_unanswered",
        "_visits",
        "device",
        "dialect",
        "epoch",
        "evses",
        "network_profile",
        "on_firmware",
        "restarts",
        "sessions",
        "transactions",
        "triggers",
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
        queue: MessageQueue | None = None,
        share: SharingRule = equal,
    ) -> None:
        random = _SYSTEM_RANDOM if random is None else random
        self.dialect = dialect
        self.variables = variables
        variables.attach(self)
        self.device: Device | None = None
        self.network_profile = ""
        self._failed_attempts = 0  # to connect, in a row, with this slot
        self.epoch = epoch
        self._visits = Visits(dialect, evses, variables, epoch, random, keeps_rows)
        self._visits.share = share
        self._tokens = Tokens(self._visits, dialect)
        self._reporter = self._visits.reporter
        self.restarts = Restarts(self._visits, self._visits.availability)
        self.triggers = Triggers(self._visits)
        if queue is not None:
            self._reporter.queue = queue
        self._reporter.queue.is_online = False  # until the CSMS has accepted the station (B02.FR.02)
        if dialect.tells_security_events:
            self._reporter.queue.on_full = self._memory_exhausted
        self._aligned_at = math.inf
        self._aligned_end_at = math.inf
        self._offline_since = 0.0
        self._is_accepted = False
        self._unanswered: list[Callable[[], object]] = []  # reports of the start that the connection was lost with
        self._maintenance: Maintenance | None = None  # until the CSMS asks for it
        self.on_firmware: Callable[[str], object] | None = None
        self.evses = self._visits.evses
        self.sessions = self._visits.sessions
        self.transactions = self._reporter.transactions

    def handle(self, event: Event, now: float) -> Any:
        """Let something happen.

        Args:
            event: What happens.
            now: The moment in seconds of the station's clock; never before the last one.

        Returns:
            For RemoteStart the status and the id of the running transaction or None, for RemoteStop the status, for
            Failure whether the message will be sent again; for other commands the status.

        Raises:
            ValueError: It cannot happen physically; nothing has changed.
        """
        if not isinstance(event, Answer | Failure):
            self._reporter.cause = event
        result = _RULES[type(event)](self, event, now)
        if self._maintenance is not None:
            self._maintenance.firmware.react(now)
        if self.has_profiles and not isinstance(event, Tick):
            self.smart.react(now)
        self._keep_reservations(now)
        return result

    def take(self, now: float) -> Outgoing | None:
        """The message to send now; None if there is none. Feed its answer, or its failure, before taking one more."""
        queue = self._reporter.queue
        message = queue.take(now)
        if message is not None:
            message.payload = queue.build(message)
        return message

    @property
    def queue(self) -> MessageQueue:
        """The messages that are not answered yet."""
        return self._reporter.queue

    @property
    def availability(self) -> Availability:
        """What of the station is in service."""
        return self._visits.availability

    @property
    def is_accepted(self) -> bool:
        """Whether the CSMS has accepted the station since its last start."""
        return self._is_accepted

    @property
    def cache(self) -> AuthorizationCache:
        """What the CSMS said of tokens."""
        return self._visits.cache

    @property
    def local_list(self) -> LocalList:
        """The tokens that the CSMS put into the station's own list."""
        return self._visits.local_list

    @property
    def reservations(self) -> Reservations:
        """The reservations."""
        return self._visits.reservations

    def send(self, build: Callable[[], object], then: Callable[[Answer, float], None] | None = None) -> None:
        """Put a message into the queue; without a connection it is not sent."""
        self._reporter.send(build, then)

    def send_requested(self, build: Callable[[], object]) -> None:
        """Say what the CSMS has asked for, also before it has accepted the station (B02.FR.02)."""
        if self._is_accepted:
            self._reporter.send(build)
        else:
            self.triggers.add_early(build)

    def connecting_failed(self) -> None:
        """An attempt to connect failed: after some of them the next network connection is tried (B10.FR.03)."""
        self._failed_attempts += 1
        if self._failed_attempts >= self.variables.value("OCPPCommCtrlr.NetworkProfileConnectionAttempts"):
            self._failed_attempts = 0
            slots = self.variables.value(_PRIORITY)
            used = self.network_profile or slots[0]
            place = slots.index(used) if used in slots else -1
            self.network_profile = slots[(place + 1) % len(slots)]

    def requeue(self, report: Report, attempts: int) -> None:
        """Put a transaction message of before a power loss into the queue."""
        self._reporter.requeue(report, attempts)

    def recall_transaction(self, transaction: Transaction) -> None:
        """Take a transaction of before a power loss. One that ran ends at the start, also where it has no EVSE yet."""
        self.transactions.append(transaction)
        if transaction.end is None:
            evse = self.evses[transaction.evse_id] if transaction.evse_id else self._visits.enter_lobby()
            evse.transaction = transaction

    def has_message(self, now: float) -> bool:
        """Whether a message can be sent now."""
        return self._reporter.queue.ready(now)

    def due(self) -> float:
        """When something happens by itself next; infinity for never."""
        moment = min(self._aligned_at, self._aligned_end_at, self._reporter.queue.due(), self.restarts.due())
        if len(self.reservations):
            moment = min(moment, self.reservations.due() - self.epoch)
        if self._maintenance is not None:
            moment = min(moment, self._maintenance.due())
        if self.has_profiles:
            moment = min(moment, self.smart.due)
        for evse in self._visits.places():
            if not evse.has_power:
                return self.restarts.up_at
            moment = min(moment, evse.full_at, evse.connect_by, evse.authorize_by)
            transaction = evse.transaction
            if transaction is not None:
                moment = min(moment, transaction.sample_at, transaction.ended_sample_at)
        return moment

    # -- Time ---------------------------------------------------------------------------------------------------------

    def _tick(self, _event: Tick, now: float) -> None:
        """What is due by now, in order, until there is something to say: the clock stands still meanwhile."""
        while not self.has_message(now) and (moment := self.due()) <= now:
            self.restarts.tick(moment)
            if not self.has_power:
                return
            if self.has_profiles and self.smart.due <= moment:
                self.smart.tick(moment)
            for evse in list(self._visits.places()):
                self._fire(evse, moment)
            if self._aligned_end_at <= moment:
                self._aligned_end_at = self._next_aligned("AlignedDataCtrlr.TxEndedInterval", moment)
                self._reporter.sample_aligned_for_end(list(self.evses.values()), moment)
            if self._aligned_at <= moment:
                self._aligned_at = self._next_aligned("AlignedDataCtrlr.Interval", moment)
                self._reporter.sample_aligned(list(self.evses.values()), moment)
            if self._maintenance is not None:
                self._maintenance.fire(moment)
            self._keep_reservations(moment)
            if self.has_profiles:
                self.smart.react(moment)

    def _fire(self, evse: LiveEvse, now: float) -> None:
        if evse.full_at <= now:
            self._reach_full(evse, now)
        if evse.connect_by <= now:
            self._give_up_vehicle(evse, now)
        if evse.authorize_by <= now:  # OCPP 1.6, 4.9: B6
            evse.authorize_by = math.inf
            evse.was_stopped = True
            self._visits.settle(evse, now, "")
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
        self._visits.settle(evse, now, "ChargingStateChanged", reason)

    def _give_up_vehicle(self, evse: LiveEvse, now: float) -> None:
        """No vehicle came in time (C01.FR.26, E03.FR.05), or it did not come back (E10.FR.02)."""
        evse.connect_by = math.inf
        authorization, evse.authorization = evse.authorization, None
        self._visits.tell_unused(authorization)
        evse.offer(now)
        was_there = evse.transaction is not None and evse.transaction.begin is not None
        words = ("EVCommunicationLost", "EVDisconnected") if was_there else ("EVConnectTimeout", "Timeout")
        self._visits.settle(evse, now, *words, must_end=True)
        self._visits.close_session(evse, now)

    def _accepted(self, event: Accepted, now: float) -> None:
        self._is_accepted = True
        self.network_profile = self.network_profile or self.variables.value(_PRIORITY)[0]  # B10.FR.04
        self._failed_attempts = 0
        if not self.has_power:  # else a reset that was asked for goes on
            self.restarts.cancel()
            self._power_on(now)
        self._visits.keep_reservations(now)
        self._reporter.queue.is_online = True
        self._unanswered.clear()
        for build in self.availability.start_messages(now):
            self._send_until_answered(build)
        for evse in self.evses.values():
            self._reporter.status(evse, now, anyway=True)
        for build in self.dialect.last_start_messages(now, event.reason):
            self._send_until_answered(build)
        self.triggers.wants_boot = False  # one was just sent
        for build in self.triggers.drain_early():
            self._reporter.send(build)
        if self._maintenance is not None:
            self._maintenance.start(now)
        if self.has_profiles:
            self.smart.online(now)
        self._align(now)

    def _send_until_answered(self, build: Callable[[], object]) -> None:
        """Say it, and where the connection is lost before the answer, again after that (A04.FR.02)."""
        self._reporter.send(build, lost=lambda _now: self._unanswered.append(build))

    def _align(self, now: float) -> None:
        """Begin the clock-aligned intervals."""
        self._aligned_at = self._next_aligned("AlignedDataCtrlr.Interval", now)
        self._aligned_end_at = self._next_aligned("AlignedDataCtrlr.TxEndedInterval", now)

    def _next_aligned(self, variable: str, now: float) -> float:
        """The next end of an interval. They count from midnight UTC, each day anew (J01; OCPP 1.6, 3.16.2)."""
        interval: int = self.variables.value(variable)
        if not interval or not self.variables.value("AlignedDataCtrlr.Enabled"):
            return math.inf
        passed = self.epoch + now + 0.001  # a moment that was just reached is not the next one, whatever floats say
        midnight = math.floor(passed / _DAY) * _DAY
        multiple = (math.floor((passed - midnight) / interval) + 1) * interval
        return midnight + min(multiple, _DAY) - self.epoch

    def _variables_changed(self, event: VariablesChanged, now: float) -> None:
        """Intervals and waits that go on take the new values at once; others are read when they are needed."""
        before = event.before
        if before is None or any(name.startswith("AlignedDataCtrlr.") for name in before):
            self._align(now)
        value = self.variables.value
        sampling, updated, ended = (
            before is None or (name in before and before[name] != value(name)) for name in (_SAMPLING, _UPDATED, _ENDED)
        )
        for evse in self._visits.places():
            if evse.transaction is not None:  # one interval leaves the other as it is
                self._reporter.schedule(evse.transaction, now, updated=sampling or updated, ended=sampling or ended)
            if before is not None and _WAIT in before:
                self._change_wait(evse, before[_WAIT], now)

    def _change_wait(self, evse: LiveEvse, old: int, now: float) -> None:
        """Who waits for a vehicle, or for a token, waits as long as the variable says now; 0 is for ever."""
        wait = self.variables.value(_WAIT) or math.inf
        if evse.connect_by < math.inf:
            evse.connect_by = max(now, evse.connect_by - old + wait)
        elif not old and evse.vehicle is None and (evse.authorization or evse.transaction) is not None:
            evse.connect_by = now + wait
        if evse.authorize_by < math.inf:
            evse.authorize_by = max(now, evse.authorize_by - old + wait)

    # -- Cable and vehicle --------------------------------------------------------------------------------------------

    def _plug_in(self, event: PlugIn, now: float) -> None:
        vehicle = event.vehicle
        for other in self.evses.values():
            if other.vehicle is vehicle:
                raise ValueError(f"this vehicle is at EVSE {other.id} already; unplug it there first")
        free = [each for each in self.evses.values() if each.vehicle is None]
        evse = self._visits.one_of(free, "plug in", "has a vehicle already; unplug it first", event.evse_id)
        if evse.vehicle is not None:
            raise ValueError(f"EVSE {evse.id} has a vehicle already; unplug it first")
        evse.connect(vehicle, now)
        evse.connect_by = math.inf
        evse.was_stopped = False
        self._visits.begin_session(evse, now)
        self._visits.leave_lobby(evse)
        evse.offer(now)
        self._visits.await_token(evse, now)
        self._visits.settle(evse, now, "CablePluggedIn")

    def _unplug(self, event: Unplug, now: float) -> None:
        if event.side not in ("evse", "ev"):
            raise ValueError(f'a cable is unplugged at side="evse" or side="ev", not {event.side!r}')
        taken = [each for each in self.evses.values() if each.vehicle is not None or each.has_dangling_cable]
        evse = self._visits.one_of(taken, "unplug", "has no cable to unplug", event.evse_id)
        if evse.vehicle is None and not evse.has_dangling_cable:
            raise ValueError(f"EVSE {evse.id} has no cable to unplug")
        if event.side == "evse" and is_stuck(evse):
            raise ValueError(f"the cable is stuck in the socket of EVSE {evse.id}, as its lock has a fault")
        if evse.vehicle is None:
            if event.side == "ev":
                raise ValueError(f'no vehicle is at EVSE {evse.id}; its cable is unplugged at side="evse"')
            if evse.is_cable_locked:
                raise ValueError(
                    f"the cable is locked in the socket of EVSE {evse.id}, as UnlockOnEVSideDisconnect is false; "
                    "present a token first"
                )
            evse.has_dangling_cable = evse.was_stopped = False
            self._visits.settle(evse, now, "")
            return
        evse.disconnect(now)
        evse.authorize_by = math.inf
        evse.has_dangling_cable = event.side == "ev" and not evse.spec.is_attached
        if evse.has_dangling_cable and evse.authorization is not None:
            evse.is_cable_locked = not self.variables.value("OCPPCommCtrlr.UnlockOnEVSideDisconnect")
        extra = _DISCONNECTED
        stops = event.side == "evse" or self.variables.value("TxCtrlr.StopTxOnEVSideDisconnect")
        if evse.authorization is not None and (stops or evse.transaction is None):  # E09.FR.01, errata 2.17
            self._visits.drop_authorization(evse)
            extra |= STOPPED_WITH_AUTHORIZATION
        elif stops:  # a transaction that was never authorized is deauthorized, too, and nobody would ever end it
            extra |= STOPPED_WITH_AUTHORIZATION
        evse.was_stopped = False
        evse.offer(now)
        self._visits.settle(evse, now, "EVCommunicationLost", "EVDisconnected", extra=extra)
        if evse.transaction is not None:  # E10: the cable may come back
            evse.connect_by = now + (self.variables.value("TxCtrlr.EVConnectionTimeOut") or math.inf)
        self._visits.close_session(evse, now)

    def _suspend_ev(self, event: SuspendEv, now: float) -> None:
        taken = [each for each in self.evses.values() if each.vehicle is not None]
        verb = "suspend the vehicle" if event.suspends else "resume the vehicle"
        evse = self._visits.one_of(taken, verb, "has no vehicle", event.evse_id)
        if evse.vehicle is None:
            raise ValueError(f"EVSE {evse.id} has no vehicle")
        evse.ev_suspends = event.suspends
        evse.offer(now)
        self._visits.settle(evse, now, "ChargingStateChanged", "StoppedByEV")

    def _suspend_evse(self, event: SuspendEvse, now: float) -> None:
        verb = "suspend the EVSE" if event.suspends else "resume the EVSE"
        evse = self._visits.one_of(list(self.evses.values()), verb, "", event.evse_id)
        evse.evse_suspends = event.suspends
        evse.offer(now)
        self._visits.settle(evse, now, "ChargingStateChanged", "Other")

    def _fault(self, event: Fault, now: float) -> None:
        if event.name not in FAULTS:
            raise ValueError(f"a fault is one of {', '.join(FAULTS)}, not {event.name!r}")
        evse = self._visits.one_of(list(self.evses.values()), "break", "", event.evse_id)
        if evse.fault:
            raise ValueError(f"EVSE {evse.id} has a fault already: {evse.fault}; clear it first")
        evse.fault = event.name
        self._visits.drop_authorization(evse)
        evse.offer(now)
        self._visits.settle(evse, now, "AbnormalCondition", FAULTS[event.name], must_end=True)
        self._visits.close_session(evse, now)

    def _clear_fault(self, event: ClearFault, now: float) -> None:
        broken = [each for each in self.evses.values() if each.fault]
        evse = self._visits.one_of(broken, "clear a fault", "has no fault", event.evse_id)
        if not evse.fault:
            raise ValueError(f"EVSE {evse.id} has no fault")
        evse.fault = ""
        evse.offer(now)
        evse.conditions = evse.find_conditions()  # nothing begins by itself
        self._visits.await_token(evse, now)
        self._visits.settle(evse, now, "")

    # -- Tokens and answers -------------------------------------------------------------------------------------------

    def _swipe(self, event: Swipe, now: float) -> None:
        self._tokens.swipe(event, now)

    def _remote_start(self, event: RemoteStart, now: float) -> tuple[str, str | None]:
        if not self._is_accepted or self.restarts.step:  # B02.FR.05; a reset is to come
            return "Rejected", None
        return self._tokens.remote_start(event, now)

    def _remote_stop(self, event: RemoteStop, now: float) -> str:
        return self._tokens.remote_stop(event, now) if self._is_accepted else "Rejected"

    # -- Reservations -------------------------------------------------------------------------------------------------

    def _reserve_now(self, event: ReserveNow, now: float) -> str:
        if not (self._is_accepted and self.variables.value("ReservationCtrlr.Enabled")):  # H01.FR.01
            return "Rejected"
        return self.reservations.reserve(event.reservation, self.evses, self.epoch + now)

    def _cancel_reservation(self, event: CancelReservation, _now: float) -> str:
        return "Accepted" if self.reservations.cancel(event.reservation_id) else "Rejected"  # H02.FR.01, .02

    def _keep_reservations(self, now: float) -> None:
        """After anything that happens: end reservations, report the connectors, and tell what became of reservations.

        Without a connection, and while the station is not accepted, the CSMS is told later.
        """
        if self.reservations.is_idle or not self.has_power:
            return
        for evse in self._visits.keep_reservations(now):
            self._visits.await_token(evse, now)
        if self.reservations.unreported and self._is_accepted and self.queue.is_online:
            unreported, self.reservations.unreported = self.reservations.unreported, None
            for number, status in unreported:
                build = self.dialect.reservation_status(number, status)
                if build is not None:
                    self._reporter.send(build, lost=partial(self._reservation_status_lost, number, status))

    def _reservation_status_lost(self, number: int, status: str, _now: float) -> None:
        self.reservations.tell(number, status)

    # -- Further commands -------------------------------------------------------------------------------------------

    def _change_availability(self, event: ChangeAvailability, now: float) -> str:
        return self.availability.change(event, now)

    def _reset(self, event: Reset, now: float) -> str:
        installs = self._maintenance is not None and self._maintenance.firmware.is_installing
        if not self._is_accepted or (installs and event.evse_id is None):  # B11.FR.06
            return "Rejected"
        return self.restarts.reset(event, now)

    def _unlock(self, event: Unlock, now: float) -> str:
        return unlock(self._visits, event, now)

    def _trigger(self, event: Trigger, now: float) -> str:
        return self.triggers.trigger(event, now, is_accepted=self._is_accepted)

    def _answer(self, event: Answer, now: float) -> None:
        self._reporter.queue.settle(event.to)
        self._reporter.cause = event.to.cause
        if event.to.then is not None:
            event.to.then(event, now)

    def _failure(self, event: Failure, now: float) -> bool:
        """Whether the message will be sent again."""
        self._reporter.cause = event.to.cause
        self._visits.leave_empty_lobby()
        return self._reporter.queue.fail(event.to, now, waited=event.waited, is_final=event.is_final)

    def _power_off(self, _event: PowerOff, now: float) -> None:
        """Everything stops at once, and nothing is said any more."""
        self._is_accepted = False
        self.restarts.cancel()
        self.network_profile = ""
        if self._maintenance is not None:
            self._maintenance.power_off()
        self._visits.end_lobby(now)
        for evse in self.evses.values():
            record(evse, now)
            evse.has_power = False
            self._visits.drop_authorization(evse)
            evse.offer(now)
            record(evse, now)
        self._offline(Offline(), now)  # what waited for an answer changes nothing any more

    def _shut_down(self, _event: ShutDown, now: float) -> None:
        """Go away for a reset, as without power, and know why it starts again."""
        reason = self.restarts.boot_reason
        self._power_off(PowerOff(), now)
        self.restarts.boot_reason = reason
        self.restarts.go_away(now)

    @property
    def has_power(self) -> bool:
        """Whether the station has its power supply; a start gives it back."""
        return self._visits.has_power

    def _power_on(self, now: float) -> None:
        """End what needs an authorization, or whose vehicle has left; another transaction goes on without energy.

        No version says what becomes of a transaction then, but both have the reason PowerLoss.
        """
        for apply in self.restarts.at_start:
            apply()
        self.availability.restore()
        self._visits.end_lobby(now)
        stops = self.variables.value("TxCtrlr.TxStopPoint")
        for evse in self.evses.values():
            evse.has_power = True
            evse.offer(now)
            evse.conditions = evse.find_conditions()  # nothing begins by itself
            if evse.transaction is not None:
                self._reporter.schedule(evse.transaction, now)
                must_end = evse.vehicle is None or bool(STOPPED_WITH_AUTHORIZATION.intersection(stops))
                trigger = "AbnormalCondition" if must_end else "ChargingStateChanged"
                self._visits.settle(evse, now, trigger, "PowerLoss", must_end=must_end)
            self._visits.close_session(evse, now)

    def _offline(self, _event: Offline, now: float) -> None:
        self._offline_since = now
        self._failed_attempts = 0
        for message in self._reporter.queue.go_offline():
            if message.lost is not None:
                message.lost(now)

    def _online(self, _event: Online, now: float) -> None:
        """Report the connectors that changed; all of them after a longer time (B04)."""
        self._reporter.queue.is_online = True
        unreported, self._unanswered = self._unanswered, []
        for build in unreported:
            self._send_until_answered(build)
        self.availability.report(now)
        is_long = now - self._offline_since > self.variables.value("OCPPCommCtrlr.OfflineThreshold")
        for evse in self.evses.values():
            self._reporter.status(evse, now, anyway=is_long)
        if self._maintenance is not None:
            self._maintenance.online()
        if self.has_profiles:
            self.smart.online(now)

    # -- Smart charging -----------------------------------------------------------------------------------------------

    @property
    def smart(self) -> SmartCharging:
        """The charging profiles, and what they leave to each EVSE."""
        return self._visits.smart

    @property
    def has_profiles(self) -> bool:
        """Whether there was ever a charging profile, or a limit from outside."""
        return self._visits.has_profiles

    def _install_profile(self, event: InstallProfile, now: float) -> None:
        self.smart.install(event.profile, event.evse_id, now)

    def _clear_profiles(self, event: ClearProfiles, now: float) -> int:
        if not self.has_profiles:
            return 0
        return self.smart.clear(
            now,
            profile_id=event.profile_id,
            evse_id=event.evse_id,
            purpose=event.purpose,
            stack_level=event.stack_level,
        )

    def _limit_from_outside(self, event: LimitFromOutside, now: float) -> None:
        if event.evse_id:
            check_evse_id(self.evses, event.evse_id)
        if not self.variables.value("SmartChargingCtrlr.ExternalControlSignalsEnabled"):
            raise ValueError("this station obeys no limit from outside: ExternalControlSignalsEnabled is false")
        self.smart.constrain(event.kw, event.evse_id, event.source, now)

    # -- Maintenance --------------------------------------------------------------------------------------------------

    @property
    def maintenance(self) -> Maintenance:
        """The firmware, the uploads and the security events."""
        if self._maintenance is None:
            self._maintenance = Maintenance(self)
        return self._maintenance

    @property
    def has_maintenance(self) -> bool:
        """Whether anything was asked for that :attr:`maintenance` remembers."""
        return self._maintenance is not None

    def places(self) -> Iterator[LiveEvse]:
        """The EVSEs, and the place of a token for which it is not known yet where the cable goes."""
        return self._visits.places()

    def report_security_event(self, kind: str, now: float) -> None:
        """Report a critical security event, surely (A04.FR.01, .02)."""
        self.maintenance.report_security_event(kind, now)

    def _memory_exhausted(self, message: Outgoing) -> None:
        assert message.report is not None
        self.report_security_event("MemoryExhaustion", message.report.at)

    def install(self, version: str) -> None:
        """There is new firmware, which the next boot reports."""
        if self.on_firmware is not None:
            self.on_firmware(version)

    def request_restart(self, reason: str, now: float) -> None:
        """Let the station start again as soon as no transaction runs and what it says is answered.

        Args:
            reason: A BootReasonEnumType value.
            now: The moment.
        """
        self.restarts.reset(Reset(is_immediate=False, boot_reason=reason), now)

    def hold_evses(self, now: float) -> None:
        """Let the EVSEs begin nothing; one with a transaction goes out of service when that has ended."""
        self.availability.hold(self.evses, "firmware", now)

    def release_evses(self, now: float) -> None:
        """Put back what was held; a vehicle that waits needs a new start."""
        self.availability.release(self.evses, "firmware", now)


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
    ReserveNow: Core._reserve_now,
    CancelReservation: Core._cancel_reservation,
    ChangeAvailability: Core._change_availability,
    InstallProfile: Core._install_profile,
    ClearProfiles: Core._clear_profiles,
    LimitFromOutside: Core._limit_from_outside,
    Reset: Core._reset,
    ShutDown: Core._shut_down,
    Trigger: Core._trigger,
    Unlock: Core._unlock,
    VariablesChanged: Core._variables_changed,
    Tick: Core._tick,
    Answer: Core._answer,
    Failure: Core._failure,
    Offline: Core._offline,
    Online: Core._online,
    PowerOff: Core._power_off,
}
