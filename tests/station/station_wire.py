"""What a station said, in a form to compare, and a CSMS stub that accepts everything in each version."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from csms_stub import Behaviour, Call, Csms, Link, answer

from cpsim_kit.ocpp_j.versions import Version

VERSIONS = ("1.6", "2.0.1", "2.1")
ACCEPTED_TAG = {"idTagInfo": {"status": "Accepted"}}
TIMES = {"timestamp"}


def accept_all(csms: Csms, version: str) -> None:
    """Let the stub answer as a CSMS of this version that accepts every token."""
    if version == "1.6":
        csms.on["Authorize"] = answer(ACCEPTED_TAG)
        csms.on["StartTransaction"] = numbered(itertools.count(1))


def numbered(numbers: Iterator[int]) -> Behaviour:
    """Accept StartTransaction, each with the next number as its id."""

    async def behave(link: Link, call: Call) -> None:
        await link.answer(call, {"transactionId": next(numbers), **ACCEPTED_TAG})

    return behave


def words(csms: Csms) -> list[str]:
    """What was said, heartbeats left out: the action, with what tells it from others of its kind."""
    return [word(call) for call in csms.calls if call.action != "Heartbeat"]


def word(call: Call) -> str:
    payload = call.payload
    match call.action:
        case "StatusNotification":
            place = payload.get("evseId", payload["connectorId"])
            return f"Status {place} {payload.get('connectorStatus') or payload.get('status')}"
        case "TransactionEvent":
            state = payload["transactionInfo"].get("chargingState")
            return " ".join(filter(None, (payload["eventType"], payload["triggerReason"], state)))
        case "BootNotification":
            return "Boot"
        case "SecurityEventNotification":
            return "SecurityEvent"
        case _:
            return call.action


def since_start(csms: Csms) -> list[tuple[str, Any]]:
    """What was said from the first act on, with times as seconds since then, and transactions by their number."""
    names: dict[str, str] = {}
    calls = [call for call in csms.calls if call.action not in {"BootNotification", "Heartbeat"}]
    calls = calls[2:]  # the connector and its station, or the security event, after the start
    first: list[datetime] = []

    def plain(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: plain(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [plain(each) for each in value]
        if key == "transactionId":
            return names.setdefault(str(value), f"transaction {len(names)}")
        if key in TIMES:
            moment = datetime.fromisoformat(value)
            first.append(moment)
            return round((moment - first[0]).total_seconds(), 2)
        return value

    return [(call.action, plain(call.payload)) for call in calls]


def schema_of(version: str, action: str) -> dict[str, Any]:
    """The JSON schema of a request."""
    known = Version.get(version)
    name = action if version == "1.6" else f"{action}Request"
    schema: dict[str, Any] = json.loads((known._schemas / f"{name}.json").read_text(encoding="utf-8-sig"))
    return schema
