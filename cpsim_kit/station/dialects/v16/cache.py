"""The authorization cache. OCPP 1.6, 5.4, and errata 3.23."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler

if TYPE_CHECKING:
    from cpsim_kit.station.core import Core

__all__ = ["COMMANDS"]


def _clear_cache(core: Core, _now: float, _fields: Mapping[str, Any]) -> Any:
    is_enabled = core.variables.value("AuthCacheCtrlr.Enabled")
    if is_enabled:
        core.cache.clear()
    return core.dialect.version.call_results.ClearCache(status="Accepted" if is_enabled else "Rejected")


COMMANDS: Mapping[str, Handler] = {
    "ClearCache": Handler(_clear_cache, "forgets what the CSMS said of tokens", "5.4"),
}
