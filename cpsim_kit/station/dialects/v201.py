"""OCPP 2.0.1 and 2.1: TransactionEvent for everything, and the device model. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from cpsim_kit.station.authorization import IdToken, TokenInfo
from cpsim_kit.station.dialects.dialect import Command, Dialect
from cpsim_kit.station.events import Answer, Outgoing, RemoteStart, RemoteStop, VariablesChanged
from cpsim_kit.station.meter import MEASURANDS, Reading
from cpsim_kit.station.variables import VARIABLES

if TYPE_CHECKING:
    from cpsim_kit.station.core import Core
    from cpsim_kit.station.evse import LiveEvse
    from cpsim_kit.station.transaction import Report

__all__ = ["V201"]

_UNITS = {measurand: {"unit": unit} for measurand, unit in MEASURANDS.items()}

# IdTokenEnumType; OCPP 2.1 leaves the type open.
_TOKEN_TYPES = {
    "2.0.1": ("Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress", "NoAuthorization"),
}


class V201(Dialect):
    """OCPP 2.0.1, and 2.1, whose messages are the same as far as this station goes."""

    names: ClassVar[Mapping[str, tuple[str, ...]]] = {name: (name,) for name in VARIABLES}
    no_measurands = frozenset({"Temperature"})
    reports_status_first = True
    gives_up_without_token = False
    token_length = 36
    statuses = ("Available", "Occupied", "Unavailable", "Faulted")

    def token(self, token_id: str, kind: str) -> IdToken:
        types = _TOKEN_TYPES.get(self.version.name, (kind,))
        if kind not in types:
            raise ValueError(f"a token's type is one of {', '.join(types)}, not {kind!r}")
        return super().token(token_id, kind)

    def connector_status(self, evse: LiveEvse) -> str:
        if not evse.available:
            return "Unavailable"
        if evse.fault:
            return "Faulted"
        return "Available" if evse.vehicle is None and not evse.has_dangling_cable else "Occupied"

    def status_notification(self, evse_id: int, status: str, _fault: str, _is_ev_gone: bool, at: float) -> Any:
        return self._calls.StatusNotification(
            timestamp=self.time(at), connector_status=status, evse_id=evse_id, connector_id=1
        )

    def start_messages(self, _now: float) -> Sequence[Callable[[], Any]]:
        return ()

    def last_start_messages(self, now: float) -> Sequence[Callable[[], Any]]:
        timestamp = self.time(now)  # A04.FR.01
        return (partial(self._calls.SecurityEventNotification, type="StartupOfTheDevice", timestamp=timestamp),)

    def authorize(self, token: IdToken) -> Any:
        return self._calls.Authorize(id_token=_token(token))

    def is_said(self, _report: Report) -> bool:
        return True

    def transaction_message(self, report: Report) -> Any:
        info: dict[str, Any] = {"transactionId": report.transaction.key}
        if report.charging_state is not None:
            info["chargingState"] = report.charging_state
        if report.stopped_reason is not None:
            info["stoppedReason"] = report.stopped_reason
        if report.remote_start_id is not None:
            info["remoteStartId"] = report.remote_start_id
        timestamp = self.time(report.at)
        return self._calls.TransactionEvent(
            event_type=report.kind,
            timestamp=timestamp,
            trigger_reason=report.trigger,
            seq_no=report.seq_no,
            transaction_info=info,
            meter_value=[
                self._meter_value(reading, timestamp if reading.at == report.at else self.time(reading.at))
                for reading in report.readings
            ]
            or None,
            number_of_phases_used=report.phases_used,
            offline=report.offline or None,
            cable_max_current=report.cable_a,
            evse=None if report.evse_id is None else {"id": report.evse_id, "connectorId": 1},
            id_token=None if report.token is None else _token(report.token),
        )

    def registers_said(self, payload: Any) -> Iterator[tuple[float, bool]]:
        return self._registers_in(payload.meter_value or ())

    def meter_values(self, evse_id: int, reading: Reading) -> Any:
        return self._calls.MeterValues(evse_id=evse_id, meter_value=[self._meter_value(reading, self.time(reading.at))])

    @staticmethod
    def _meter_value(reading: Reading, timestamp: str) -> dict[str, Any]:
        sampled = []
        for measurand, phase, number in reading.values:
            value: dict[str, Any] = {"value": number, "context": reading.context, "measurand": measurand}
            if phase:
                value["phase"] = phase
            if measurand == "SoC":
                value["location"] = "EV"
            value["unitOfMeasure"] = _UNITS[measurand]
            sampled.append(value)
        return {"timestamp": timestamp, "sampledValue": sampled}

    def read_answer(self, to: Outgoing, result: Any) -> Answer:
        return Answer(to, _info(getattr(result, "id_token_info", None)))

    # -- Commands -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _request_start(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
        group = fields.get("group_id_token") or {}
        event = RemoteStart(
            IdToken(fields["id_token"]["id_token"], fields["id_token"]["type"]),
            fields["remote_start_id"],
            fields.get("evse_id"),
            group.get("id_token", ""),
        )
        status, transaction_id = core.handle(event, now)
        results = core.dialect.version.call_results
        return results.RequestStartTransaction(status=status, transaction_id=transaction_id)

    @staticmethod
    def _request_stop(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
        status = core.handle(RemoteStop(fields["transaction_id"]), now)
        return core.dialect.version.call_results.RequestStopTransaction(status=status)

    @staticmethod
    def _get_variables(core: Core, _now: float, fields: Mapping[str, Any]) -> Any:
        results = []
        for asked in fields["get_variable_data"]:
            name, status = _find_variable(core, asked)
            answer = {name: asked[name] for name in _ECHOED if asked.get(name) is not None}
            if not status and core.variables.value(name) is None:
                status = "UnknownVariable"
            answer["attribute_status"] = status or "Accepted"
            if not status:
                answer["attribute_value"] = core.variables.text(name)
            results.append(answer)
        return core.dialect.version.call_results.GetVariables(get_variable_result=results)

    @staticmethod
    def _set_variables(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
        results = []
        for asked in fields["set_variable_data"]:
            name, status = _find_variable(core, asked)
            answer = {name: asked[name] for name in _ECHOED if asked.get(name) is not None}
            if not status:
                try:
                    core.variables.set(name, asked["attribute_value"])
                except ValueError as exc:
                    status = "Rejected"
                    answer["attribute_status_info"] = {"reasonCode": "InvalidValue", "additionalInfo": str(exc)[:512]}
            answer["attribute_status"] = status or "Accepted"
            results.append(answer)
        core.handle(VariablesChanged(), now)
        return core.dialect.version.call_results.SetVariables(set_variable_result=results)

    @staticmethod
    def _send_local_list(core: Core, _now: float, fields: Mapping[str, Any]) -> Any:
        results = core.dialect.version.call_results
        if not core.variables.value("LocalAuthListCtrlr.Enabled"):
            return results.SendLocalList(status="Failed")
        entries = [
            (IdToken(each["id_token"]["id_token"], each["id_token"]["type"]), _info(each.get("id_token_info")))
            for each in fields.get("local_authorization_list") or ()
        ]
        is_full = fields["update_type"] == "Full"
        return results.SendLocalList(status=core.local_list.update(fields["version_number"], entries, is_full=is_full))

    @staticmethod
    def _get_local_list_version(core: Core, _now: float, _fields: Mapping[str, Any]) -> Any:
        version = core.local_list.version if core.variables.value("LocalAuthListCtrlr.Enabled") else 0
        return core.dialect.version.call_results.GetLocalListVersion(version_number=version)

    @staticmethod
    def _get_transaction_status(core: Core, _now: float, fields: Mapping[str, Any]) -> Any:
        """E14: whether it goes on, and whether messages about it, or any at all, wait."""
        key = fields.get("transaction_id")
        waits = any(key in (None, message.report.transaction.key) for message in core.queue if message.report)
        ongoing = None if key is None else any(each.key == key and each.end is None for each in core.transactions)
        results = core.dialect.version.call_results
        return results.GetTransactionStatus(messages_in_queue=waits, ongoing_indicator=ongoing)

    commands: ClassVar[Mapping[str, Command]] = {
        "GetTransactionStatus": _get_transaction_status,
        "GetLocalListVersion": _get_local_list_version,
        "SendLocalList": _send_local_list,
        "RequestStartTransaction": _request_start,
        "RequestStopTransaction": _request_stop,
        "GetVariables": _get_variables,
        "SetVariables": _set_variables,
    }


def _info(info: Mapping[str, Any] | None) -> TokenInfo | None:
    """What an idTokenInfo says; None if there is none."""
    if not info:
        return None
    group = info.get("group_id_token") or {}
    return TokenInfo(
        str(info["status"]),
        group.get("id_token", ""),
        tuple(info.get("evse_id") or ()),
        Dialect.moment(info.get("cache_expiry_date_time")),
    )


_ECHOED = ("component", "variable", "attribute_type")  # what an answer says again of its question


def _token(token: IdToken) -> dict[str, str]:
    return {"idToken": token.id, "type": token.type}


_BY_NAME = {name.casefold(): name for name in VARIABLES}
_COMPONENTS = {name.partition(".")[0].casefold() for name in VARIABLES}


def _find_variable(core: Core, asked: Mapping[str, Any]) -> tuple[str, str]:
    """The name of the variable that is meant, and the status if it cannot be read or set; "" if it can."""
    component, variable = asked["component"], asked["variable"]
    if component["name"].casefold() not in _COMPONENTS or component.get("evse") or component.get("instance"):
        return "", "UnknownComponent"
    instance = variable.get("instance")
    text = f"{component['name']}.{variable['name']}{f'[{instance}]' if instance else ''}"
    name = _BY_NAME.get(text.casefold())
    if name is None:
        return "", "UnknownVariable"
    if asked.get("attribute_type") not in (None, "Actual"):
        return name, "NotSupportedAttributeType"
    return name, ""
