"""Fields of OCPP 2.x that several messages have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpsim_kit.station.dialects.dialect import Dialect
from cpsim_kit.station.rules.authorization import IdToken, TokenInfo

__all__ = ["read_info", "read_listed", "write_token"]


def read_info(info: Mapping[str, Any] | None) -> TokenInfo | None:
    """What an idTokenInfo says; None if there is none."""
    if not info:
        return None
    group = info.get("group_id_token") or {}
    return TokenInfo(
        str(info["status"]),
        group.get("id_token", ""),
        tuple(info.get("evse_id") or ()),
        Dialect.moment(info.get("cache_expiry_date_time")),
    )


def read_listed(info: Mapping[str, Any] | None) -> TokenInfo | None:
    """What an entry of the local list says; None if it is to be taken out.

    Raises:
        PropertyConstraintViolationError: Its time is no time.
    """
    if info and info.get("cache_expiry_date_time") is not None:
        Dialect.commanded_moment(info["cache_expiry_date_time"])
    return read_info(info)


def write_token(token: IdToken) -> dict[str, str]:
    return {"idToken": token.id, "type": token.type}
