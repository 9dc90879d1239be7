"""Who may charge: tokens, authorizations, and the authorization cache. Pure: no clock, no I/O.

OCPP 2.0.1 part 2, functional block C, and errata 2.17 (2025-09); OCPP 1.6, 3.5 and 4.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpsim_kit.station.profiles import Profile

__all__ = ["MAX_TOKENS", "Authorization", "AuthorizationCache", "IdToken", "LocalList", "TokenInfo"]

MAX_TOKENS = 1000  # in the cache, in the local list, and in a message about it


@dataclass(frozen=True, slots=True)
class IdToken:
    """A token: a card, or an id that the CSMS made. Upper and lower case are the same (CiString, identifierString).

    Two tokens are the same if their ids and types are (C01.FR.25). OCPP 1.6 knows no types.

    Attributes:
        id: At most 36 characters (1.6: 20).
        type: An IdTokenEnumType value of OCPP 2.0.1.
    """

    id: str
    type: str = "ISO14443"

    @property
    def needs_no_question(self) -> bool:
        """Whether the CSMS is never asked about it, and no cache keeps it (C02.FR.03, C05.FR.01, .02)."""
        return self.type in {"Central", "NoAuthorization"}

    def is_same(self, other: IdToken) -> bool:
        """Whether both are the same token."""
        return self.id.casefold() == other.id.casefold() and self.type == other.type


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What the CSMS says of a token.

    Attributes:
        status: "Accepted", or why it is refused (AuthorizationStatusEnumType).
        group: The group's id, "" for no group.
        evse_ids: The EVSEs where the token is accepted; empty for all (C01.FR.19).
        cached_until: When the cache must forget it, seconds since the epoch; None for the cache's own lifetime.
    """

    status: str
    group: str = ""
    evse_ids: tuple[int, ...] = ()
    cached_until: float | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the token may charge."""
        return self.status == "Accepted"

    def at(self, now: float) -> TokenInfo:
        """What it says at a moment, seconds since the epoch: Expired from ``cached_until`` on (OCPP 1.6, 3.5.1)."""
        return self if self.cached_until is None or now < self.cached_until else replace(self, status="Expired")

    def is_for(self, evse_id: int) -> bool:
        """Whether it holds at this EVSE; 0, the EVSE that is not known yet, may become one where it does."""
        return not evse_id or not self.evse_ids or evse_id in self.evse_ids


@dataclass(slots=True)
class Authorization:
    """A permission to charge at one EVSE, from its token to its end.

    Attributes:
        token: The token that was accepted.
        group: The group's id, "" for no group.
        evse_ids: The EVSEs where the token is accepted; empty for all (C01.FR.21).
        remote_start_id: The id of the CSMS's request; None for a token that somebody presented.
        is_remote: Whether the CSMS requested it.
        is_reported: Whether a transaction message has reported it.
        is_blocked: Whether no energy may flow, as the CSMS refused the token later (E05.FR.02).
        reservation_id: Of the reservation that it used, until a transaction message has reported it.
        until_wh: The register up to which energy may flow for a token that was refused later (E05.FR.03).
        profile: The charging profile for its transaction, until that runs (F01.FR.10).
    """

    token: IdToken
    group: str = ""
    evse_ids: tuple[int, ...] = ()
    remote_start_id: int | None = None
    is_remote: bool = False
    is_reported: bool = False
    is_blocked: bool = False
    until_wh: float | None = None
    reservation_id: int | None = None
    profile: Profile | None = None

    def may_be_ended_by(self, token: IdToken, group: str) -> bool:
        """Whether a token, or one of this group, ends it (C01.FR.03, C09.FR.03)."""
        return token.is_same(self.token) or (bool(group) and group.casefold() == self.group.casefold())


class AuthorizationCache:
    """The CSMS's last answer about each token (C10 to C12; OCPP 1.6, 3.5.1).

    Tokens that the CSMS made, or that stand for no authorization, are never kept.
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], _Entry] | None = None  # most stations have none

    def keep(self, token: IdToken, info: TokenInfo, now: float, lifetime: float) -> None:
        """Keep an answer of the CSMS.

        Args:
            token: The token.
            info: The CSMS's answer about it.
            now: Seconds since the epoch.
            lifetime: Seconds after its last use in which it is known; not for one with ``info.cached_until``.
        """
        if token.needs_no_question:
            return
        entry = _Entry(info, now + lifetime, lifetime)
        if info.cached_until is not None:
            entry = _Entry(info, info.cached_until, 0)
        if self._entries is None:
            self._entries = {}
        self._entries.pop(_key(token), None)
        self._entries[_key(token)] = entry
        if len(self._entries) > MAX_TOKENS:  # C10.FR.07: one that may not charge, or that was heard of longest ago
            refused = (key for key, each in self._entries.items() if not each.info.at(now).is_accepted)
            del self._entries[next(refused, next(iter(self._entries)))]

    def find(self, token: IdToken, now: float) -> TokenInfo | None:
        """What is known of a token that is used now; None if nothing is known, or it is too old (C10.FR.08, .10).

        After the time that the CSMS gave, it is Expired, and so not unknown (C10.FR.13; OCPP 1.6, 3.5.1 and 3.5.4).

        Args:
            token: The token.
            now: Seconds since the epoch.
        """
        entry = None if self._entries is None else self._entries.get(_key(token))
        if entry is not None and entry.info.cached_until is not None:
            return entry.info.at(now)
        if entry is None or now >= entry.until:
            return None
        entry.until = max(entry.until, now + entry.lifetime)
        return entry.info

    def dump(self) -> list[dict[str, Any]]:
        """All entries, as JSON can hold them."""
        entries = {} if self._entries is None else self._entries
        return [
            {"key": list(key), "info": asdict(entry.info), "until": entry.until, "lifetime": entry.lifetime}
            for key, entry in entries.items()
        ]

    def load(self, saved: Iterable[Mapping[str, Any]]) -> None:
        """Take the entries that :meth:`dump` gave."""
        self._entries = {
            (entry["key"][0], entry["key"][1]): _Entry(
                TokenInfo(**{**entry["info"], "evse_ids": tuple(entry["info"]["evse_ids"])}),
                entry["until"],
                entry["lifetime"],
            )
            for entry in saved
        }

    def clear(self) -> None:
        """Forget all tokens."""
        self._entries = None


class LocalList:
    """The tokens that the CSMS put into the station's own list (D01; OCPP 1.6, 3.5.2 and 5.15).

    Attributes:
        version: The version that the CSMS gave it; 0 for no list.
    """

    __slots__ = ("_entries", "version")

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], TokenInfo] | None = None  # most stations have none
        self.version = 0

    def __len__(self) -> int:
        return len(self._entries or ())

    def update(
        self,
        version: int,
        entries: Sequence[tuple[IdToken, TokenInfo | None]],
        *,
        is_full: bool,
        most: int = MAX_TOKENS,
    ) -> str:
        """Change the list.

        Args:
            version: Its new version, above 0.
            entries: Tokens, and what is known of each; None to take one out of the list.
            is_full: Whether they are the whole list.
            most: How many tokens one message may have.

        Returns:
            "Accepted", "Failed" or "VersionMismatch" (D01.FR.04 to .06, .11, .15 to .19).
        """
        keys = [_key(token) for token, _ in entries]
        if (
            len(entries) > most
            or version < 1
            or len(set(keys)) != len(keys)
            or (is_full and any(info is None for _, info in entries))
        ):
            return "Failed"
        if not is_full and version <= self.version:
            return "VersionMismatch"
        changed = {} if is_full else dict(self._entries or {})
        for token, info in entries:
            if info is None:
                changed.pop(_key(token), None)
            else:
                changed[_key(token)] = info
        if len(changed) > MAX_TOKENS:
            return "Failed"
        self._entries, self.version = changed, version
        return "Accepted"

    def find(self, token: IdToken, now: float) -> TokenInfo | None:
        """What the list says of a token; None if it is not in it.

        One whose time is over is Expired: the CSMS is asked about it, and offline it is refused, as it is not unknown
        (C13.FR.05, .06, C14.FR.05; OCPP 1.6, 3.5.4).
        """
        info = None if self._entries is None else self._entries.get(_key(token))
        return None if info is None else info.at(now)

    def dump(self) -> dict[str, Any]:
        """The list, as JSON can hold it."""
        entries = [{"key": list(key), "info": asdict(info)} for key, info in (self._entries or {}).items()]
        return {"version": self.version, "entries": entries}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take what :meth:`dump` gave."""
        self.version = saved["version"]
        self._entries = {
            (entry["key"][0], entry["key"][1]): TokenInfo(
                **{**entry["info"], "evse_ids": tuple(entry["info"]["evse_ids"])}
            )
            for entry in saved["entries"]
        }


@dataclass(slots=True)
class _Entry:
    """What is known of a token, until when, and for how many seconds after it is used; 0 for no longer."""

    info: TokenInfo
    until: float
    lifetime: float


def _key(token: IdToken) -> tuple[str, str]:
    return token.id.casefold(), token.type
