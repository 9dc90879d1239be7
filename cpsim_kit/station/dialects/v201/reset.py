"""Reset. OCPP 2.0.1 part 2, B11 and B12."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.rules.events import Reset

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]

_TYPES = {"Immediate": True, "OnIdle": False}  # OCPP 2.1 has ImmediateAndResume, too: no transaction goes on here


def _reset(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    results = core.dialect.version.call_results
    kind = fields["type"]
    if kind not in _TYPES:
        return results.Reset(status="Rejected", status_info={"reasonCode": "UnsupportedParam", "additionalInfo": kind})
    status = core.handle(Reset(_TYPES[kind], fields.get("evse_id")), now)
    return results.Reset(status=status)


COMMANDS: Mapping[str, Handler] = {
    "Reset": Handler(
        _reset,
        "ends transactions, or waits for their end, goes away for some seconds, and boots again; or so with one EVSE",
        "B11.FR.01 to .09, B12.FR.01 to .10",
    ),
}
