"""Fields of OCPP 1.6 that several messages have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpsim_kit.station.dialects.dialect import Dialect
from cpsim_kit.station.rules.authorization import TokenInfo

__all__ = ["NO_TYPE", "read_info", "read_listed"]

NO_TYPE = ""
"""The type of a token: OCPP 1.6 knows none."""


def read_info(info: Mapping[str, Any] | None) -> TokenInfo | None:
    """What an idTagInfo says; None if there is none."""
    if not info:
        return None
    return TokenInfo(str(info["status"]), info.get("parent_id_tag") or "", (), Dialect.moment(info.get("expiry_date")))


def read_listed(info: Mapping[str, Any] | None) -> TokenInfo | None:
    """What an entry of the local list says; None if it is to be taken out.

    Raises:
        PropertyConstraintViolationError: Its time is no time.
    """
    if info and info.get("expiry_date") is not None:
        Dialect.commanded_moment(info["expiry_date"])
    return read_info(info)
