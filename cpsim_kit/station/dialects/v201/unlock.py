"""UnlockConnector. OCPP 2.0.1 part 2, F05."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.rules.events import Unlock

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]


def _unlock_connector(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    status = core.handle(Unlock(fields["evse_id"], fields["connector_id"]), now)
    results = core.dialect.version.call_results
    if status == "NoLock":
        info = {"reasonCode": "FixedCable"}  # part 2, appendix 5
        return results.UnlockConnector(status="UnlockFailed", status_info=info)
    return results.UnlockConnector(status=status)


COMMANDS: Mapping[str, Handler] = {
    "UnlockConnector": Handler(
        _unlock_connector, "lets the cable go where no authorized transaction runs", "F05.FR.01 to .06"
    ),
}
