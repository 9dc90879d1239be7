"""ClearCache, which both versions answer alike. OCPP 1.6, 5.4, and errata 3.23; OCPP 2.0.1 part 2, C11."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["clear_cache"]


def _clear_cache(core: Core, _now: float, _fields: Mapping[str, Any]) -> Any:
    is_enabled = core.variables.value("AuthCacheCtrlr.Enabled")
    if is_enabled:
        core.cache.clear()
    return core.dialect.version.call_results.ClearCache(status="Accepted" if is_enabled else "Rejected")


def clear_cache(source: str) -> Handler:
    """The handler, with the version's source."""
    return Handler(_clear_cache, "forgets what the CSMS answered about tokens", source)
