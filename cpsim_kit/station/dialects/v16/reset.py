"""Reset. OCPP 1.6, 5.14."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.rules.events import Reset

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]


def _reset(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    """Hard or soft: both end transactions, and say so before the charge point goes away (errata 3.36)."""
    event = Reset(is_immediate=True, stopped_reason=f"{fields['type']}Reset")  # Hard, Soft: 7.36 Reason
    return core.dialect.version.call_results.Reset(status=core.handle(event, now))


COMMANDS: Mapping[str, Handler] = {
    "Reset": Handler(_reset, "ends transactions, goes away for some seconds, and boots again", "5.14"),
}
