"""The configuration keys. OCPP 1.6, 5.3, 5.8 and 9."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ocpp.exceptions import OccurrenceConstraintViolationError

from cpsim_kit.station.device_model.device_model import MAX_ITEMS
from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.rules.events import VariablesChanged

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]


def _get_configuration(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    """Tell the values of keys; of all keys where none is named.

    Raises:
        OccurrenceConstraintViolationError: There are more than GetConfigurationMaxKeys.
    """
    asked = fields.get("key") or ()
    if len(asked) > MAX_ITEMS:
        raise OccurrenceConstraintViolationError(f"at most {MAX_ITEMS} keys: see GetConfigurationMaxKeys")
    entries = {
        each.name.casefold(): each
        for each in core.variables.entries(now)
        if each.text is not None or each.mutability == "WriteOnly"
    }
    known = [entries[key.casefold()] for key in asked if key.casefold() in entries] if asked else entries.values()
    unknown = [key for key in asked if key.casefold() not in entries]
    rows = [
        {
            "key": each.name,
            "readonly": each.mutability == "ReadOnly",
            **({} if each.text is None else {"value": each.text}),
        }
        for each in known
    ]
    results = core.dialect.version.call_results
    return results.GetConfiguration(configuration_key=rows or None, unknown_key=unknown or None)


def _change_configuration(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    key = fields["key"].casefold()
    name = next((name for name in core.dialect.names if name.casefold() == key), None)
    if name is None:
        is_fixed = any(name.casefold() == key for name in core.dialect.read_only())
        status = "Rejected" if is_fixed else "NotSupported"
    else:
        try:
            before = core.variables.change(name, fields["value"])
        except ValueError:
            status = "Rejected"
        else:
            status = "RebootRequired" if core.variables.variable(name).needs_reboot else "Accepted"
            core.handle(VariablesChanged(before), now)
    return core.dialect.version.call_results.ChangeConfiguration(status=status)


COMMANDS: Mapping[str, Handler] = {
    "ChangeConfiguration": Handler(_change_configuration, "sets a key; its new value counts at once", "5.3"),
    "GetConfiguration": Handler(_get_configuration, "tells the values of keys", "5.8"),
}
