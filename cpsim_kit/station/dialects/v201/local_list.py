"""The local authorization list. OCPP 2.0.1 part 2, D01 and D02."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.dialects.v201.fields import read_listed
from cpsim_kit.station.rules.authorization import IdToken

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]


def _send_local_list(core: Core, _now: float, fields: Mapping[str, Any]) -> Any:
    results = core.dialect.version.call_results
    if not core.variables.value("LocalAuthListCtrlr.Enabled"):
        return results.SendLocalList(status="Failed")
    entries = [
        (IdToken(each["id_token"]["id_token"], each["id_token"]["type"]), read_listed(each.get("id_token_info")))
        for each in fields.get("local_authorization_list") or ()
    ]
    is_full, most = fields["update_type"] == "Full", core.variables.value("LocalAuthListCtrlr.ItemsPerMessage")
    status = core.local_list.update(fields["version_number"], entries, is_full=is_full, most=most)
    return results.SendLocalList(status=status)


def _get_local_list_version(core: Core, _now: float, _fields: Mapping[str, Any]) -> Any:
    version = core.local_list.version if core.variables.value("LocalAuthListCtrlr.Enabled") else 0
    return core.dialect.version.call_results.GetLocalListVersion(version_number=version)


COMMANDS: Mapping[str, Handler] = {
    "GetLocalListVersion": Handler(
        _get_local_list_version, "tells the version of its list of tokens", "D02.FR.01 to .03"
    ),
    "SendLocalList": Handler(_send_local_list, "replaces or changes its list of tokens", "D01.FR.01 to .19"),
}
