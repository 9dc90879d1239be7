"""Fields of OCPP 1.6 that several messages have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpsim_kit.station.authorization import TokenInfo
from cpsim_kit.station.dialects.dialect import Dialect

__all__ = ["NO_TYPE", "read_info"]

NO_TYPE = ""
"""The type of a token: OCPP 1.6 knows none."""


def read_info(info: Mapping[str, Any] | None) -> TokenInfo | None:
    """What an idTagInfo says; None if there is none."""
    if not info:
        return None
    return TokenInfo(str(info["status"]), info.get("parent_id_tag") or "", (), Dialect.moment(info.get("expiry_date")))
