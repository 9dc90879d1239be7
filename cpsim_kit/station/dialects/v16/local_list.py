"""The local authorization list. OCPP 1.6, 3.5.2, 5.10 and 5.15."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.dialects.v16.fields import NO_TYPE, read_listed
from cpsim_kit.station.rules.authorization import IdToken

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]


def _send_local_list(core: Core, _now: float, fields: Mapping[str, Any]) -> Any:
    results = core.dialect.version.call_results
    if not core.variables.value("LocalAuthListCtrlr.Enabled"):
        return results.SendLocalList(status="NotSupported")
    entries = [
        (IdToken(each["id_tag"], NO_TYPE), read_listed(each.get("id_tag_info")))
        for each in fields.get("local_authorization_list") or ()
    ]
    is_full, most = fields["update_type"] == "Full", core.variables.value("LocalAuthListCtrlr.ItemsPerMessage")
    status = core.local_list.update(fields["list_version"], entries, is_full=is_full, most=most)
    if not len(core.local_list):
        core.local_list.version = 0  # 5.10: that of an empty list
    return results.SendLocalList(status=status)


def _get_local_list_version(core: Core, _now: float, _fields: Mapping[str, Any]) -> Any:
    version = core.local_list.version if core.variables.value("LocalAuthListCtrlr.Enabled") else -1
    return core.dialect.version.call_results.GetLocalListVersion(list_version=version)


COMMANDS: Mapping[str, Handler] = {
    "GetLocalListVersion": Handler(_get_local_list_version, "tells the version of its list of tokens", "5.10"),
    "SendLocalList": Handler(_send_local_list, "replaces or changes its list of tokens", "5.15, 6.41"),
}
