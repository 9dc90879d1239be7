"""What goes on at the EVSEs: authorizations begin and end, transactions start and stop, sessions open and close.

Pure: no clock, no I/O. ``core`` and ``tokens`` say what has changed, and the rules here decide what follows.
"""

from __future__ import annotations

import math
import random as random_module
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from cpsim_kit.station.charging.evse import Evse, LiveEvse, check_evse_id
from cpsim_kit.station.charging.session import Session
from cpsim_kit.station.charging.transaction import STOPPED_WITH_AUTHORIZATION, Transaction
from cpsim_kit.station.profiles.sharing import SharingRule, equal
from cpsim_kit.station.profiles.smart_charging import SmartCharging
from cpsim_kit.station.rules.authorization import Authorization, AuthorizationCache, IdToken, LocalList, TokenInfo
from cpsim_kit.station.rules.availability import Availability
from cpsim_kit.station.rules.events import Answer
from cpsim_kit.station.rules.reporting import Reporter, record
from cpsim_kit.station.rules.reservations import Reservations

if TYPE_CHECKING:
    from cpsim_kit.station.device_model.variables import Variables
    from cpsim_kit.station.dialects import Dialect

__all__ = ["Visits"]

_NONE: frozenset[str] = frozenset()


class Visits:
    """The EVSEs of one station, and who is there.

    Args:
        dialect: The words of its OCPP version.
        evses: What its EVSEs can do, from EVSE 1 on.
        variables: Its variables.
        epoch: Seconds since the epoch at moment 0.
        random: Makes ids.
        keeps_rows: Whether sessions keep a row for each change and each meter reading.

    Attributes:
        availability: Which of the EVSEs are in service.
        cache: What the CSMS said of tokens.
        dialect: The words of its OCPP version.
        evses: The EVSEs by id.
        local_list: The tokens that the CSMS put into the station's own list.
        lobby: An authorization without an EVSE: a token came first, and several EVSEs are free. None at most times.
        reporter: Says what happens.
        reservations: The reservations.
        sessions: All sessions, oldest first.
        share: How the EVSEs share the limit of the station.
    """

    __slots__ = (
        "_keeps_rows",
        "_smart",
        "availability",
        "cache",
        "dialect",
        "epoch",
        "evses",
        "lobby",
        "local_list",
        "reporter",
        "reservations",
        "sessions",
        "share",
        "variables",
    )

    def __init__(
        self,
        dialect: Dialect,
        evses: Sequence[Evse],
        variables: Variables,
        epoch: float,
        random: random_module.Random,
        keeps_rows: bool,
    ) -> None:
        self.evses: Mapping[int, LiveEvse] = {
            number: LiveEvse(number, spec) for number, spec in enumerate(evses, start=1)
        }
        self.lobby: LiveEvse | None = None
        self.share: SharingRule = equal
        self._smart: SmartCharging | None = None  # until there is a charging profile
        self.sessions: list[Session] = []
        self.dialect = dialect
        self.variables = variables
        self.epoch = epoch
        self.reporter = Reporter(dialect, variables, random, self.keep_info, self._deauthorize)
        self.availability = Availability(self, dialect)
        self._keeps_rows = keeps_rows
        self.cache = AuthorizationCache()
        self.local_list = LocalList()
        self.reservations = Reservations()

    def places(self) -> Iterator[LiveEvse]:
        """The EVSEs, and the lobby if there is one."""
        yield from self.evses.values()
        if self.lobby is not None:
            yield self.lobby

    @property
    def has_power(self) -> bool:
        """Whether the station has its power supply; a start gives it back."""
        return all(evse.has_power for evse in self.evses.values())

    def one_of(self, candidates: Sequence[LiveEvse], verb: str, otherwise: str, evse_id: int | None) -> LiveEvse:
        """The EVSE that an act is about: the named one, or the only possible one."""
        if evse_id is not None:
            check_evse_id(self.evses, evse_id)
            return self.evses[evse_id]
        if len(self.evses) == 1:
            return self.evses[1]
        if len(candidates) == 1:
            return candidates[0]
        if not candidates:
            raise ValueError(f"cannot {verb}: each EVSE {otherwise}" if otherwise else f"cannot {verb}")
        numbers = " or ".join(str(each.id) for each in candidates)
        raise ValueError(f"where? There are several EVSEs to {verb}; say evse={numbers}")

    # -- Authorizations -----------------------------------------------------------------------------------------------

    def grant(self, evse: LiveEvse, authorization: Authorization, now: float, trigger: str) -> None:
        """An authorization begins."""
        self._use_reservation(evse, authorization)
        evse.authorization = authorization
        evse.is_cable_locked = False
        evse.authorize_by = math.inf
        evse.was_stopped = False
        if evse.transaction is not None:
            evse.transaction.stopped_by = ""
        self.begin_session(evse, now)
        assert evse.session is not None
        evse.session.token = evse.session.token or authorization.token.id
        if evse.vehicle is None:
            evse.connect_by = now + (self.variables.value("TxCtrlr.EVConnectionTimeOut") or math.inf)
        self._begin_profile(evse)
        evse.offer(now)
        self.settle(evse, now, trigger)

    @property
    def smart(self) -> SmartCharging:
        """The charging profiles, and what they leave to each EVSE."""
        if self._smart is None:
            self._smart = SmartCharging(self, self.share)
            self.reporter.on_start = self._started
        return self._smart

    @property
    def has_profiles(self) -> bool:
        """Whether there was ever a charging profile, or a limit from outside."""
        return self._smart is not None

    def _begin_profile(self, evse: LiveEvse) -> None:
        if self._smart is not None:
            self._smart.begin(evse)

    def _started(self, evse: LiveEvse, now: float) -> None:
        """A transaction starts: it obeys its own charging profile from the beginning."""
        if evse.id:
            self._begin_profile(evse)
            evse.offer(now)

    def admits(self, evse: LiveEvse, token: IdToken, group: str) -> bool:
        """Whether no reservation keeps an EVSE for others."""
        return self.reservations.admits(list(self.evses.values()), evse, token, group)

    def _use_reservation(self, evse: LiveEvse, authorization: Authorization) -> None:
        """A token that is accepted uses up its reservation (H03.FR.09, .10)."""
        if len(self.reservations):
            used = self.reservations.find(list(self.evses.values()), evse, authorization.token, authorization.group)
            if used is not None:
                self.reservations.cancel(used.id)
                authorization.reservation_id = used.id
        evse.is_reserved = False

    def drop_authorization(self, evse: LiveEvse) -> None:
        """An authorization ends with what goes on at an EVSE, and nobody waits there any more."""
        self.tell_unused(evse.authorization)
        evse.authorization = None
        evse.connect_by = evse.authorize_by = math.inf

    def tell_unused(self, authorization: Authorization | None) -> None:
        """An authorization ends: tell if no transaction came of its reservation (OCPP 2.1, H03.FR.11)."""
        if authorization is not None and authorization.reservation_id is not None:
            self.reservations.tell(authorization.reservation_id, "NoTransaction")

    def keep_reservations(self, now: float) -> list[LiveEvse]:
        """End reservations whose time is over, or whose EVSE is out of order; the EVSEs that are free of them now."""
        if self.reservations.is_idle:
            return []
        evses = list(self.evses.values())
        before = [each for each in evses if each.is_reserved]
        self.reservations.expire(self.epoch, now)
        self.reservations.remove_lost(evses)
        self.reservations.hold(evses)
        for evse in evses:
            self.reporter.status(evse, now)
        return [each for each in before if not each.is_reserved]

    def end_authorization(self, evse: LiveEvse, now: float, trigger: str, reason: str, token: IdToken | None) -> None:
        """An authorization ends by a token or by the CSMS; depending on TxStopPoint the transaction (E05, E07, F03)."""
        self.tell_unused(evse.authorization)
        evse.authorization = None
        evse.is_cable_locked = False
        evse.offer(now)
        self.settle(evse, now, trigger, reason, token=token, extra=STOPPED_WITH_AUTHORIZATION)
        if evse.transaction is None:
            evse.connect_by = math.inf
        else:  # without a vehicle the time to connect one goes on (E03.FR.05)
            evse.transaction.stopped_by = reason
        self.close_session(evse, now)

    def _deauthorize(self, transaction: Transaction, authorization: Authorization, status: str, now: float) -> None:
        """The CSMS refuses the token of a running transaction (E05)."""
        evse = next((each for each in self.places() if each.authorization is authorization), None)
        if evse is None or evse.transaction is not transaction:
            return
        value = self.variables.value
        if evse.session is not None:
            evse.session.refused = status
        if value("TxCtrlr.StopTxOnInvalidId"):
            self.end_authorization(evse, now, "Deauthorized", "DeAuthorized", None)
            return
        if most := value("TxCtrlr.MaxEnergyOnInvalidId"):
            authorization.until_wh = evse.register_wh(now) + most
        else:
            authorization.is_blocked = True
        evse.offer(now)
        self.settle(evse, now, "ChargingStateChanged", "DeAuthorized")

    def known(self, token: IdToken, now: float) -> TokenInfo | None:
        """What the local list knows of a token, or else the cache (C13.FR.01); None if nothing."""
        if self.variables.value("LocalAuthListCtrlr.Enabled"):
            listed = self.local_list.find(token, self.epoch + now)
            if listed is not None:
                return listed
        if not self.variables.value("AuthCacheCtrlr.Enabled"):
            return None
        return self.cache.find(token, self.epoch + now)

    def keep_info(self, token: IdToken, answer: Answer, now: float) -> None:
        """Keep in the cache what the CSMS says of a token, and tell it where the local list says otherwise."""
        value = self.variables.value
        if answer.info is None:
            return
        listed = self.local_list.find(token, self.epoch + now) if value("LocalAuthListCtrlr.Enabled") else None
        if listed is not None and listed.is_accepted != answer.info.is_accepted:
            build = self.dialect.list_conflict(now, self.availability.is_operative)
            if build is not None:
                self.reporter.send(build)
        if value("AuthCacheCtrlr.Enabled") and (listed is None or self.dialect.caches_listed):
            self.cache.keep(token, answer.info, self.epoch + now, value("AuthCacheCtrlr.LifeTime") or math.inf)

    # -- Transactions and sessions ------------------------------------------------------------------------------------

    def settle(
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
        if not evse.has_power:  # nobody notices
            return
        report = self.reporter
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
        self.reporter.end(evse, now, trigger, state, reason, token)
        evse.was_stopped = evse.vehicle is not None or evse.has_dangling_cable
        if evse.is_leaving:
            self.availability.leave(evse, now)
        evse.conditions = evse.find_conditions()

    def await_token(self, evse: LiveEvse, now: float) -> None:
        """Give up a vehicle for which no token comes in time, if the version does (OCPP 1.6, 4.9: B6)."""
        waits = evse.vehicle is not None and evse.authorization is None and evse.transaction is None
        if (
            waits
            and evse.is_usable
            and not evse.is_reserved
            and not evse.was_stopped
            and self.dialect.gives_up_without_token
        ):
            evse.authorize_by = now + (self.variables.value("TxCtrlr.EVConnectionTimeOut") or math.inf)

    def begin_session(self, evse: LiveEvse, now: float) -> None:
        """A session begins, unless one goes on."""
        if evse.session is None:
            evse.session = Session(evse.id, self.epoch, now, evse.register_wh(now), self._keeps_rows)
            self.sessions.append(evse.session)

    def close_session(self, evse: LiveEvse, now: float) -> None:
        """The session ends when neither a vehicle, nor an authorization, nor a transaction is left."""
        session = evse.session
        if session is not None and evse.vehicle is None and evse.authorization is None and evse.transaction is None:
            session.end, session.end_wh = now, evse.register_wh(now)
            evse.session = None
        self.leave_empty_lobby()

    def enter_lobby(self) -> LiveEvse:
        """The lobby, which begins when there is none."""
        if self.lobby is None:
            self.lobby = LiveEvse(0, Evse())
        return self.lobby

    def leave_lobby(self, evse: LiveEvse) -> None:
        """A cable was connected: the authorization without an EVSE, and its transaction, are about this one."""
        lobby = self.lobby
        if lobby is None or lobby.authorization is None or evse.authorization is not None or not evse.is_usable:
            return
        allowed = lobby.authorization.evse_ids
        if evse.transaction is not None or (allowed and evse.id not in allowed):
            return
        if not self.admits(evse, lobby.authorization.token, lobby.authorization.group):
            return
        if lobby.authorization.reservation_id is None:
            self._use_reservation(evse, lobby.authorization)
        evse.authorization, evse.transaction = lobby.authorization, lobby.transaction
        evse.conditions = evse.conditions | lobby.conditions
        if lobby.session is not None:
            self.sessions.remove(evse.session)  # type: ignore[arg-type]
            evse.session = lobby.session
            evse.session.evse_id = evse.id
            evse.session.begin_wh = evse.register_wh(evse.session.begin)
        self.lobby = None
        self._begin_profile(evse)

    def end_lobby(self, now: float) -> None:
        """The station loses its power: an authorization without an EVSE is gone, and its transaction ends."""
        lobby = self.lobby
        if lobby is None:
            return
        self.drop_authorization(lobby)
        if lobby.transaction is not None:
            self._end_transaction(lobby, now, "AbnormalCondition", "PowerLoss", None)
        self.close_session(lobby, now)

    def leave_empty_lobby(self) -> None:
        """Forget the lobby when nobody is there any more."""
        lobby = self.lobby
        if lobby is not None and lobby.authorization is None and lobby.transaction is None:
            self.lobby = None
