"""Data of a vendor, in every version. OCPP 2.0.1 part 2, P01; OCPP 1.6, 5.6 and 4.3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["data_transfer"]


def _data_transfer(core: Core, _now: float, _fields: Mapping[str, Any]) -> Any:
    """The station knows no vendor; who does gives a handler."""
    return core.dialect.version.call_results.DataTransfer(status="UnknownVendorId")


def data_transfer(source: str) -> Handler:
    """The handler, with the version's source."""
    effect = "answers UnknownVendorId; your own station.on('DataTransfer', …) can do more"
    return Handler(_data_transfer, effect, source)
