"""UnlockConnector. OCPP 1.6, 5.18."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.rules.events import Unlock

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]

_STATUSES = {"NoLock": "NotSupported", "UnknownConnector": "NotSupported"}  # 7.46


def _unlock_connector(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    status = core.handle(Unlock(fields["connector_id"], ends_transaction=True), now)
    return core.dialect.version.call_results.UnlockConnector(status=_STATUSES.get(status, status))


COMMANDS: Mapping[str, Handler] = {
    "UnlockConnector": Handler(
        _unlock_connector, "ends a transaction, for the reason UnlockCommand, and lets the cable go", "5.18"
    ),
}
