"""Remote start and stop. OCPP 2.0.1 part 2, F01 to F03."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.dialects.v201.smart_charging import read_profile, refusal
from cpsim_kit.station.profiles import Refused
from cpsim_kit.station.rules.authorization import IdToken
from cpsim_kit.station.rules.events import RemoteStart, RemoteStop

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]


def _request_start(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    results = core.dialect.version.call_results
    group = fields.get("group_id_token") or {}
    profile = None
    if fields.get("charging_profile"):
        try:
            profile = read_profile(core, fields["charging_profile"])
            core.smart.check(profile, fields.get("evse_id") or next(iter(core.evses)))
        except Refused as refused:  # F01.FR.26, K05.FR.05
            return results.RequestStartTransaction(status="Rejected", status_info=refusal(refused))
    event = RemoteStart(
        IdToken(fields["id_token"]["id_token"], fields["id_token"]["type"]),
        fields["remote_start_id"],
        fields.get("evse_id"),
        group.get("id_token", ""),
        profile,
    )
    status, transaction_id = core.handle(event, now)
    return results.RequestStartTransaction(status=status, transaction_id=transaction_id)


def _request_stop(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    status = core.handle(RemoteStop(fields["transaction_id"]), now)
    return core.dialect.version.call_results.RequestStopTransaction(status=status)


COMMANDS: Mapping[str, Handler] = {
    "RequestStartTransaction": Handler(
        _request_start, "authorizes the token, as if it had been presented", "F01.FR.01 to .26, F02.FR.01 to .27"
    ),
    "RequestStopTransaction": Handler(
        _request_stop,
        "ends the authorization, and with it the transaction where TxStopPoint says so",
        "F03.FR.01 to .09, F04.FR.01 to .03",
    ),
}
