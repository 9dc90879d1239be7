"""The configuration keys. OCPP 1.6, 5.3, 5.8 and 9."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.events import VariablesChanged

if TYPE_CHECKING:
    from cpsim_kit.station.core import Core

__all__ = ["COMMANDS"]


def _get_configuration(core: Core, _now: float, fields: Mapping[str, Any]) -> Any:
    variables = core.variables
    by_name = {name.casefold(): name for name in variables}
    asked = fields.get("key") or list(variables)
    known = [by_name[key.casefold()] for key in asked if key.casefold() in by_name]
    unknown = [key for key in asked if key.casefold() not in by_name]
    rows = [{"key": name, "readonly": variables.is_read_only(name), "value": variables.text(name)} for name in known]
    results = core.dialect.version.call_results
    return results.GetConfiguration(configuration_key=rows, unknown_key=unknown or None)


def _change_configuration(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    variables = core.variables
    name = next((name for name in core.dialect.names if name.casefold() == fields["key"].casefold()), None)
    if name is None:
        status = "Rejected" if variables.has(fields["key"]) else "NotSupported"
    else:
        try:
            variables.set(name, fields["value"])
            status = "Accepted"
        except ValueError:
            status = "Rejected"
    core.handle(VariablesChanged(), now)
    return core.dialect.version.call_results.ChangeConfiguration(status=status)


COMMANDS: Mapping[str, Handler] = {
    "ChangeConfiguration": Handler(_change_configuration, "sets a key; its new value counts at once", "5.3"),
    "GetConfiguration": Handler(_get_configuration, "tells the values of keys", "5.8"),
}
