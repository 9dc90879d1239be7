"""The state of transactions. OCPP 2.0.1 part 2, E14."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]


def _get_transaction_status(core: Core, _now: float, fields: Mapping[str, Any]) -> Any:
    """E14: whether it goes on, and whether messages about it, or any at all, wait."""
    key = fields.get("transaction_id")
    waits = any(key in (None, message.report.transaction.key) for message in core.queue if message.report)
    ongoing = None if key is None else any(each.key == key and each.end is None for each in core.transactions)
    results = core.dialect.version.call_results
    return results.GetTransactionStatus(messages_in_queue=waits, ongoing_indicator=ongoing)


COMMANDS: Mapping[str, Handler] = {
    "GetTransactionStatus": Handler(
        _get_transaction_status, "tells whether the transaction goes on, and whether messages wait", "E14.FR.01"
    ),
}
