"""Tokens and remote commands: where a token is meant for, and what it does there. Pure: no clock, no I/O.

OCPP 2.0.1 part 2, C01, C09, F01 to F03; OCPP 1.6, 4.1, 5.11 and 5.12.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cpsim_kit.station.charging.evse import LiveEvse
from cpsim_kit.station.rules.authorization import Authorization, IdToken, TokenInfo
from cpsim_kit.station.rules.events import Answer, RemoteStart, RemoteStop, Swipe, Swiped

if TYPE_CHECKING:
    from cpsim_kit.station.dialects import Dialect
    from cpsim_kit.station.rules.visits import Visits

__all__ = ["Tokens"]


class Tokens:
    """What tokens and the CSMS's remote commands do.

    Args:
        visits: What goes on at the EVSEs.
        dialect: The words of the version.
    """

    __slots__ = ("_dialect", "_visits")

    def __init__(self, visits: Visits, dialect: Dialect) -> None:
        self._visits = visits
        self._dialect = dialect

    def swipe(self, event: Swipe, now: float) -> None:
        """Somebody presents a token; ``event.result`` says what came of it, now or with the CSMS's answer."""
        token = event.token
        evse = self._find_place(event)
        authorization = evse.authorization
        known = self._visits.known(token, now)
        if authorization is not None and (
            authorization.token.is_same(token)
            or (known is not None and known.is_accepted and authorization.may_be_ended_by(token, known.group))
        ):  # C01.FR.03: without asking the CSMS
            event.result = Swiped(token.id, "Accepted", "stopped")
            self._visits.end_authorization(evse, now, "StopAuthorized", "Local", token)
            return
        if reason := self._find_obstacle(evse):
            event.result = Swiped(token.id, "", "refused", reason)
            self._visits.leave_empty_lobby()
            return
        if not (self._visits.reservations.depends_on_group(evse) or self._visits.admits(evse, token, "")):
            event.result = Swiped(token.id, "", "refused", _reserved(evse))  # whatever the CSMS says of it
            if evse.session is not None:
                evse.session.refused = event.result.reason
            self._visits.leave_empty_lobby()
            return
        if known is not None and known.is_accepted and self._visits.variables.value("AuthCtrlr.LocalPreAuthorize"):
            self._decide(event, evse, known, now)
            return
        if not self._visits.reporter.queue.is_online:
            self._decide_offline(event, evse, now)
            return
        places = self._visits.places()
        event.running = tuple(each.authorization for each in places if each.authorization is not None)
        then = partial(self._authorize_answered, event, evse)
        lost = partial(self._decide_offline, event, evse)
        self._visits.reporter.send(partial(self._dialect.authorize, token), then, evse.session, lost=lost)

    def _decide_offline(self, event: Swipe, evse: LiveEvse, now: float) -> None:
        """What a token does without the CSMS (C10, C15; OCPP 1.6, 3.5.3 and 3.5.4)."""
        info = self._accepted_offline(event.token, now)
        if info is not None:
            self._decide(event, evse, info, now)
        else:
            known = self._visits.known(event.token, now)
            status = "" if known is None else known.status
            reason = "the station is offline, and may not accept the token by itself"
            event.result = Swiped(event.token.id, status, "refused", reason)
            if evse.session is not None:
                evse.session.refused = status or reason
            self._visits.leave_empty_lobby()

    def _accepted_offline(self, token: IdToken, now: float) -> TokenInfo | None:
        """What is known of a token that the station may accept by itself; None if it may not."""
        value = self._visits.variables.value
        known = self._visits.known(token, now)
        if known is None:
            return TokenInfo("Accepted") if value("AuthCtrlr.OfflineTxForUnknownIdEnabled") else None
        return known if known.is_accepted and value("AuthCtrlr.LocalAuthorizeOffline") else None

    def _authorize_answered(self, event: Swipe, evse: LiveEvse, answer: Answer, now: float) -> None:
        assert answer.info is not None
        self._visits.keep_info(event.token, answer, now)
        self._decide(event, evse, answer.info, now)

    def _decide(self, event: Swipe, evse: LiveEvse, info: TokenInfo, now: float) -> None:
        """What a token does, now that it is known whether it is accepted."""
        token = event.token

        def refuse(reason: str) -> None:
            event.result = Swiped(token.id, info.status, "refused", reason)
            if evse.session is not None:
                evse.session.refused = info.status if not info.is_accepted else reason
            self._visits.leave_empty_lobby()

        if not info.is_accepted:
            refuse(f"the CSMS says {info.status}")
            return
        evse = self._leave_lobby(evse, token, info)
        if event.evse_id is None and len(self._visits.evses) > 1:
            same_group = [
                each
                for each in self._visits.places()
                if each.authorization is not None and each.authorization.may_be_ended_by(token, info.group)
            ]
            if len(same_group) == 1:
                evse = same_group[0]
        authorization = evse.authorization
        if authorization is not None:
            began_meanwhile = event.running is not None and all(each is not authorization for each in event.running)
            if began_meanwhile and authorization.token.is_same(token):  # e.g. presented twice
                event.result = Swiped(token.id, info.status, "authorized")
            elif not began_meanwhile and authorization.may_be_ended_by(token, info.group):  # C09.FR.03
                event.result = Swiped(token.id, info.status, "stopped")
                self._visits.end_authorization(evse, now, "StopAuthorized", "Local", token)
            else:
                refuse("another token has authorized this session")
            return
        if not info.is_for(evse.id):  # C01.FR.21
            refuse(_accepted_elsewhere(info))
            return
        transaction = evse.transaction
        if transaction is not None and transaction.token is not None and not transaction.token.is_same(token):
            refuse("another token has authorized this transaction")  # C01.FR.23
            return
        if reason := self._find_obstacle(evse):
            refuse(reason)
            return
        if not self._visits.admits(evse, token, info.group):  # H03; OCPP 1.6, 5.13
            refuse(_reserved(evse))
            return
        event.result = Swiped(token.id, info.status, "authorized")
        self._visits.grant(evse, Authorization(token, info.group, info.evse_ids), now, "Authorized")

    def _find_place(self, event: Swipe) -> LiveEvse:
        """Where a token is meant for.

        The named EVSE; else where this token is in use; else where a vehicle waits for a token; else, as the last free
        place, the lobby: the token comes first, and the cable decides.
        """
        if event.evse_id is not None or len(self._visits.evses) == 1:
            return self._visits.one_of([], "present a token", "", event.evse_id)
        places = list(self._visits.places())
        own = [each for each in places if each.authorization and each.authorization.token.is_same(event.token)]
        if len(own) > 1:
            raise ValueError(
                f"{event.token.id} is in use at several EVSEs; say evse={' or '.join(str(e.id) for e in own)}"
            )
        if own:
            return own[0]
        reserved = self._visits.reservations.place_of(self._visits.evses, event.token, "")
        if reserved is not None:
            return reserved
        waiting = [
            each for each in places if each.vehicle is not None and each.authorization is None and each.is_usable
        ]
        if len(waiting) > 1:
            numbers = " or ".join(str(each.id) for each in waiting)
            raise ValueError(f"which vehicle is the token for? Several wait for one; say evse={numbers}")
        if waiting:
            return waiting[0]
        evses = list(self._visits.evses.values())
        if not any(each.vehicle is None and each.is_usable for each in evses):  # only to stop one
            return next((each for each in evses if each.is_usable), evses[0])
        return self._visits.enter_lobby()

    def _find_obstacle(self, evse: LiveEvse) -> str:
        """Why nothing can begin at an EVSE, or for the lobby at any of them; "" where it can."""
        if not self._visits.has_power:
            return "the station has no power"
        if not evse.id:
            usable = any(each.is_usable for each in self._visits.evses.values())
            return "" if usable else "each EVSE is broken or out of service"
        if evse.is_usable:
            return ""
        return f"EVSE {evse.id} is {'broken' if evse.fault else 'out of service'}"

    def remote_start(self, event: RemoteStart, now: float) -> tuple[str, str | None]:
        """The CSMS asks for a start: the status, and the id of the running transaction or None."""
        known = self._visits.known(event.token, now)
        group = event.group or ("" if known is None or not known.is_accepted else known.group)
        evse = self._find_remote_place(event, group)
        if evse is None:
            return "Rejected", None
        running = None if evse.transaction is None else evse.transaction.id
        authorization = Authorization(
            event.token, group, (), event.remote_start_id, is_remote=True, profile=event.profile
        )
        value = self._visits.variables.value
        if not value("AuthCtrlr.AuthorizeRemoteStart") or event.token.needs_no_question:
            self._visits.grant(evse, authorization, now, "RemoteStart")
        elif known is not None and known.is_accepted and value("AuthCtrlr.LocalPreAuthorize"):  # F01.FR.01
            self._decide_remote(authorization, evse, known, now)
        else:
            then = partial(self._remote_answered, authorization, evse)
            lost = partial(self._decide_remote_offline, authorization, evse)
            self._visits.reporter.send(partial(self._dialect.authorize, event.token), then, evse.session, lost=lost)
        return "Accepted", running

    def _remote_answered(self, authorization: Authorization, evse: LiveEvse, answer: Answer, now: float) -> None:
        assert answer.info is not None
        self._visits.keep_info(authorization.token, answer, now)
        self._decide_remote(authorization, evse, answer.info, now)

    def _decide_remote_offline(self, authorization: Authorization, evse: LiveEvse, now: float) -> None:
        """What a remote start does whose token nobody could be asked about (F01.FR.01: as a local token)."""
        info = self._accepted_offline(authorization.token, now)
        if info is not None:
            self._decide_remote(authorization, evse, info, now)
        else:
            self._visits.leave_empty_lobby()

    def _decide_remote(self, authorization: Authorization, evse: LiveEvse, info: TokenInfo, now: float) -> None:
        """What a remote start does, now that it is known whether its token is accepted."""
        authorization.group = info.group or authorization.group
        evse = self._leave_lobby(evse, authorization.token, info)
        is_admitted = self._visits.admits(evse, authorization.token, authorization.group)
        can_begin = _can_begin(evse) and not self._find_obstacle(evse)
        if info.is_accepted and info.is_for(evse.id) and can_begin and is_admitted:
            authorization.evse_ids = info.evse_ids
            self._visits.grant(evse, authorization, now, "RemoteStart")
        elif evse.session is not None and not info.is_accepted:
            evse.session.refused = info.status
        elif evse.session is not None and not info.is_for(evse.id):
            evse.session.refused = _accepted_elsewhere(info)
        elif evse.session is not None and not is_admitted:
            evse.session.refused = _reserved(evse)
        self._visits.leave_empty_lobby()

    def _find_remote_place(self, event: RemoteStart, group: str) -> LiveEvse | None:
        """Where a remote start takes place; None to reject it (F01.FR.21 to .24, F02.FR.22 to .26).

        Where the CSMS will be asked about the token anyway, its answer decides whether the token is of the group that
        has a reservation (OCPP 1.6, 5.13).
        """
        admits = partial(self._visits.admits, token=event.token, group=group)
        depends = self._visits.reservations.depends_on_group
        asks = not group and not event.token.needs_no_question
        asks = asks and self._visits.variables.value("AuthCtrlr.AuthorizeRemoteStart")
        evses = [evse for evse in self._visits.evses.values() if event.evse_id in (None, evse.id)]
        evses = [evse for evse in evses if _can_begin(evse)]
        possible = [evse for evse in evses if admits(evse)] or [evse for evse in evses if asks and depends(evse)]
        if event.evse_id is not None:
            return possible[0] if possible else None
        reserved = self._visits.reservations.place_of(self._visits.evses, event.token, group)
        if reserved in possible:
            return reserved
        with_vehicle = [evse for evse in possible if evse.vehicle is not None]
        if with_vehicle:
            return with_vehicle[0]
        if len(self._visits.evses) == 1 or not possible:
            return possible[0] if possible else None
        lobby = self._visits.enter_lobby()
        return lobby if _can_begin(lobby) and (admits(lobby) or (asks and depends(lobby))) else None

    def _leave_lobby(self, evse: LiveEvse, token: IdToken, info: TokenInfo) -> LiveEvse:
        """Where a vehicle came to while the CSMS looked at the token, if that is one place; else the lobby.

        The EVSE that is reserved for it, or for its group, comes first. The lobby may be another one than before: that
        one was left if what was there has ended, or has found its EVSE.
        """
        if evse.id:
            return evse
        reserved = self._visits.reservations.place_of(self._visits.evses, token, info.group)
        if reserved is not None and info.is_accepted:
            return reserved
        waiting = [each for each in self._visits.evses.values() if each.vehicle is not None and each.is_usable]
        waiting = [each for each in waiting if each.authorization is None and info.is_for(each.id)]
        return waiting[0] if len(waiting) == 1 else self._visits.enter_lobby()

    def remote_stop(self, event: RemoteStop, now: float) -> str:
        """The CSMS asks to stop a transaction: the status (F03.FR.07, .08)."""
        for evse in list(self._visits.places()):
            if evse.transaction is not None and evse.transaction.id == event.transaction_id:
                self._visits.end_authorization(evse, now, "RemoteStop", "Remote", None)
                return "Accepted"
        return "Rejected"


def _can_begin(evse: LiveEvse) -> bool:
    """Whether a remote start can take place there."""
    was_authorized = evse.transaction is not None and evse.transaction.token is not None  # F01.FR.24
    return evse.is_usable and evse.authorization is None and not was_authorized


def _reserved(evse: LiveEvse) -> str:
    return f"EVSE {evse.id} is reserved" if evse.id else "each free EVSE is reserved"


def _accepted_elsewhere(info: TokenInfo) -> str:
    return f"the token is accepted at EVSE {', '.join(map(str, info.evse_ids))} only"
