"""Messages in one line each, for tables of what a station says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def lines_of(said: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """One line for each message: what matters of it, in the order of the fields below."""
    return [_LINES[action](payload) if action in _LINES else action for action, payload in said]


def _status(payload: Mapping[str, Any]) -> str:
    if "connectorStatus" in payload:
        return f"status {payload['evseId']} {payload['connectorStatus']}"
    error = "" if payload["errorCode"] == "NoError" else f" {payload['errorCode']}"
    info = f" ({payload['info']})" if "info" in payload else ""
    return f"status {payload['connectorId']} {payload['status']}{error}{info}"


def _authorize(payload: Mapping[str, Any]) -> str:
    return f"authorize {payload.get('idTag') or payload['idToken']['idToken']}"


def _event(payload: Mapping[str, Any]) -> str:
    info = payload["transactionInfo"]
    parts = [f"{payload['eventType']} {payload['seqNo']} {payload['triggerReason']}"]
    parts += [info[name] for name in ("chargingState", "stoppedReason") if name in info]
    parts += [f"remote {info['remoteStartId']}"] if "remoteStartId" in info else []
    parts += [payload["idToken"]["idToken"]] if "idToken" in payload else []
    parts += [f"reservation {payload['reservationId']}"] if "reservationId" in payload else []
    parts += [f"evse {payload['evse']['id']}"] if "evse" in payload else []
    parts += [f"{payload['cableMaxCurrent']} A"] if "cableMaxCurrent" in payload else []
    parts += [f"{payload['numberOfPhasesUsed']} phases"] if "numberOfPhasesUsed" in payload else []
    return " ".join([*parts, *_contexts(payload.get("meterValue", []))])


def _start(payload: Mapping[str, Any]) -> str:
    used = f" reservation {payload['reservationId']}" if "reservationId" in payload else ""
    return f"start {payload['connectorId']} {payload['idTag']} {payload['meterStart']} Wh{used}"


def _reservation(payload: Mapping[str, Any]) -> str:
    return f"reservation {payload['reservationId']} {payload['reservationUpdateStatus']}"


def _meter(payload: Mapping[str, Any]) -> str:
    place = payload.get("connectorId", payload.get("evseId"))
    of = f" transaction {payload['transactionId']}" if "transactionId" in payload else ""
    return " ".join([f"meter {place}{of}", *_contexts(payload["meterValue"])])


def _stop(payload: Mapping[str, Any]) -> str:
    parts = [f"stop {payload['transactionId']} {payload['reason']} {payload['meterStop']} Wh"]
    parts += [payload["idTag"]] if "idTag" in payload else []
    return " ".join([*parts, *_contexts(payload.get("transactionData", []))])


def _contexts(meter_value: Iterable[Mapping[str, Any]]) -> list[str]:
    """Of each reading the context's last word, and how many values it has."""
    return [f"{each['sampledValue'][0]['context'].split('.')[-1]}:{len(each['sampledValue'])}" for each in meter_value]


_LINES = {
    "StatusNotification": _status,
    "Authorize": _authorize,
    "ReservationStatusUpdate": _reservation,
    "TransactionEvent": _event,
    "StartTransaction": _start,
    "MeterValues": _meter,
    "StopTransaction": _stop,
}
