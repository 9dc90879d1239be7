"""Remote start and stop. OCPP 1.6, 5.11 and 5.12."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.dialects.v16.fields import NO_TYPE
from cpsim_kit.station.dialects.v16.smart_charging import read_profile
from cpsim_kit.station.profiles import Refused
from cpsim_kit.station.rules.authorization import IdToken
from cpsim_kit.station.rules.events import RemoteStart, RemoteStop

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]


def _remote_start(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    results, connector_id, profile = core.dialect.version.call_results, fields.get("connector_id"), None
    if fields.get("charging_profile"):
        profile = read_profile(core, fields["charging_profile"])
        try:
            core.smart.check(profile, connector_id or next(iter(core.evses)))
        except Refused:
            return results.RemoteStartTransaction(status="Rejected")
    event = RemoteStart(IdToken(fields["id_tag"], NO_TYPE), None, connector_id, profile=profile)
    status, _running = core.handle(event, now)
    return results.RemoteStartTransaction(status=status)


def _remote_stop(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    status = core.handle(RemoteStop(str(fields["transaction_id"])), now)
    return core.dialect.version.call_results.RemoteStopTransaction(status=status)


COMMANDS: Mapping[str, Handler] = {
    "RemoteStartTransaction": Handler(_remote_start, "authorizes the token, as if it had been presented", "5.11"),
    "RemoteStopTransaction": Handler(_remote_stop, "ends the transaction, for the reason Remote", "5.12"),
}
