"""OCPP 1.6: nine states of a connector, StartTransaction and StopTransaction, and configuration keys. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from cpsim_kit.station.authorization import MAX_TOKENS, IdToken, TokenInfo
from cpsim_kit.station.dialects.dialect import Command, Dialect
from cpsim_kit.station.events import Answer, Outgoing, RemoteStart, RemoteStop, VariablesChanged
from cpsim_kit.station.meter import MEASURANDS, Reading

if TYPE_CHECKING:
    from cpsim_kit.station.core import Core
    from cpsim_kit.station.evse import LiveEvse
    from cpsim_kit.station.transaction import Report

__all__ = ["V16"]

_NO_TYPE = ""

# 7.16 ChargePointErrorCode, for each fault.
_ERROR_CODES = {
    "GroundFault": "GroundFailure",
    "OvercurrentFault": "OverCurrentFailure",
    "EmergencyStop": "OtherError",
    "PowerQuality": "OverVoltage",
    "HighTemperature": "HighTemperature",
    "ConnectorLockFailure": "ConnectorLockFailure",
    "PowerMeterFailure": "PowerMeterFailure",
    "InternalError": "InternalError",
    "Other": "OtherError",
}

# 7.36 Reason, where it has the word of OCPP 2.0.1; else "Other".
_REASONS = frozenset({"Local", "Remote", "EVDisconnected", "DeAuthorized", "EmergencyStop", "PowerLoss"})

_UNITS = {measurand: unit for measurand, unit in MEASURANDS.items() if unit != "Hz"}  # 7.44 has no unit of frequency


class V16(Dialect):
    """OCPP 1.6. A transaction runs while a vehicle is connected and authorized (compare 2.0.1 part 2, E 1.1.2)."""

    names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "ConnectionTimeOut": ("TxCtrlr.EVConnectionTimeOut",),
        "StopTransactionOnEVSideDisconnect": ("TxCtrlr.StopTxOnEVSideDisconnect",),
        "StopTransactionOnInvalidId": ("TxCtrlr.StopTxOnInvalidId",),
        "MaxEnergyOnInvalidId": ("TxCtrlr.MaxEnergyOnInvalidId",),
        "MeterValuesSampledData": ("SampledDataCtrlr.TxUpdatedMeasurands",),
        "MeterValueSampleInterval": ("SampledDataCtrlr.TxUpdatedInterval", "SampledDataCtrlr.TxEndedInterval"),
        "StopTxnSampledData": ("SampledDataCtrlr.TxEndedMeasurands",),
        "MeterValuesAlignedData": ("AlignedDataCtrlr.Measurands",),
        "ClockAlignedDataInterval": ("AlignedDataCtrlr.Interval", "AlignedDataCtrlr.TxEndedInterval"),
        "StopTxnAlignedData": ("AlignedDataCtrlr.TxEndedMeasurands",),
        "LocalPreAuthorize": ("AuthCtrlr.LocalPreAuthorize",),
        "AuthorizeRemoteTxRequests": ("AuthCtrlr.AuthorizeRemoteStart",),
        "LocalAuthListEnabled": ("LocalAuthListCtrlr.Enabled",),
        "AuthorizationCacheEnabled": ("AuthCacheCtrlr.Enabled",),
        "LocalAuthorizeOffline": ("AuthCtrlr.LocalAuthorizeOffline",),
        "AllowOfflineTxForUnknownId": ("AuthCtrlr.OfflineTxForUnknownIdEnabled",),
        "TransactionMessageAttempts": ("OCPPCommCtrlr.MessageAttempts[TransactionEvent]",),
        "TransactionMessageRetryInterval": ("OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]",),
        "HeartbeatInterval": ("OCPPCommCtrlr.HeartbeatInterval",),
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "SampledDataCtrlr.TxEndedInterval": 60,  # StopTxnSampledData has MeterValueSampleInterval, too
        # The cable ends the authorization, unless StopTransactionOnEVSideDisconnect is false.
        "TxCtrlr.TxStopPoint": ("Authorized",),
    }
    reports_status_first = False
    gives_up_without_token = True
    token_length = 20
    statuses = (
        "Available",
        "Preparing",
        "Charging",
        "SuspendedEV",
        "SuspendedEVSE",
        "Finishing",
        "Unavailable",
        "Faulted",
    )

    def read_only(self) -> Mapping[str, str]:
        return {
            "NumberOfConnectors": str(self._evse_count),
            "SupportedFeatureProfiles": "Core,LocalAuthListManagement",
            "LocalAuthListMaxLength": str(MAX_TOKENS),
            "SendLocalListMaxLength": str(MAX_TOKENS),
        }

    def token(self, token_id: str, _kind: str) -> IdToken:
        """The token of an id; OCPP 1.6 knows no types."""
        return super().token(token_id, _NO_TYPE)

    def connector_status(self, evse: LiveEvse) -> str:
        """One of the nine states of 4.9, but Reserved. SuspendedEVSE has precedence over SuspendedEV."""
        if not evse.available:
            return "Unavailable"
        if evse.fault:
            return "Faulted"
        if evse.transaction is not None:
            return "SuspendedEV" if evse.vehicle is None else evse.charging_state
        if evse.authorization is not None:
            return "Preparing"
        if evse.vehicle is not None or evse.has_dangling_cable:
            return "Finishing" if evse.was_stopped else "Preparing"
        return "Available"

    def status_notification(self, evse_id: int, status: str, fault: str, is_ev_gone: bool, at: float) -> Any:
        return self._calls.StatusNotification(
            connector_id=evse_id,
            error_code=_ERROR_CODES[fault] if fault else "NoError",
            status=status,
            timestamp=self.time(at),
            info="EV side disconnected" if is_ev_gone and status in {"SuspendedEV", "Finishing"} else None,
        )

    def start_messages(self, now: float) -> Sequence[Callable[[], Any]]:
        """The state of the whole charge point, as connector 0."""
        return (partial(self.status_notification, 0, "Available", "", False, now),)

    def last_start_messages(self, _now: float) -> Sequence[Callable[[], Any]]:
        return ()

    def authorize(self, token: IdToken) -> Any:
        return self._calls.Authorize(id_tag=token.id)

    def is_said(self, report: Report) -> bool:
        """Start, stop and meter values are; changes of the charging state are states of the connector."""
        return report.kind != "Updated" or (bool(report.readings) and report.trigger.startswith("MeterValue"))

    def transaction_message(self, report: Report) -> Any:
        """StartTransaction, MeterValues or StopTransaction; None while the CSMS has not given the transaction an id."""
        transaction = report.transaction
        if report.kind == "Started":
            assert report.token is not None  # an authorization is a condition of the start
            return self._calls.StartTransaction(
                connector_id=transaction.evse_id,
                id_tag=report.token.id,
                meter_start=round(transaction.start_wh),
                timestamp=self.time(report.at),
            )
        if transaction.csms_id is None:  # StartTransaction had no answer
            return None
        meter_value = [self._meter_value(reading) for reading in report.readings]
        if report.kind == "Updated":
            return self._calls.MeterValues(
                connector_id=transaction.evse_id, transaction_id=transaction.csms_id, meter_value=meter_value
            )
        reason = report.stopped_reason or ""
        return self._calls.StopTransaction(
            transaction_id=transaction.csms_id,
            meter_stop=round(transaction.end_wh),
            timestamp=self.time(report.at),
            reason=reason if reason in _REASONS else "Other",
            id_tag=None if report.token is None else report.token.id,
            transaction_data=meter_value or None,
        )

    def registers_said(self, payload: Any) -> Iterator[tuple[float, bool]]:
        match type(payload).__name__:
            case "StartTransaction":
                yield float(payload.meter_start), True
            case "StopTransaction":
                yield float(payload.meter_stop), False
            case _:
                yield from self._registers_in(payload.meter_value)

    def meter_values(self, evse_id: int, reading: Reading) -> Any:
        return self._calls.MeterValues(connector_id=evse_id, meter_value=[self._meter_value(reading)])

    def _meter_value(self, reading: Reading) -> dict[str, Any]:
        sampled = []
        for measurand, phase, number in reading.values:
            value = {"value": str(int(number) if number == int(number) else number), "context": reading.context}
            value["measurand"] = measurand
            if phase:
                value["phase"] = phase
            if measurand in {"SoC", "Temperature"}:
                value["location"] = "EV" if measurand == "SoC" else "Body"
            if measurand in _UNITS:
                value["unit"] = _UNITS[measurand]
            sampled.append(value)
        return {"timestamp": self.time(reading.at), "sampledValue": sampled}

    def read_answer(self, to: Outgoing, result: Any) -> Answer:
        return Answer(to, _info(getattr(result, "id_tag_info", None)), getattr(result, "transaction_id", None))

    # -- Commands -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _remote_start(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
        event = RemoteStart(IdToken(fields["id_tag"], _NO_TYPE), None, fields.get("connector_id"))
        status, _running = core.handle(event, now)
        return core.dialect.version.call_results.RemoteStartTransaction(status=status)

    @staticmethod
    def _remote_stop(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
        status = core.handle(RemoteStop(str(fields["transaction_id"])), now)
        return core.dialect.version.call_results.RemoteStopTransaction(status=status)

    @staticmethod
    def _get_configuration(core: Core, _now: float, fields: Mapping[str, Any]) -> Any:
        variables = core.variables
        by_name = {name.casefold(): name for name in variables}
        asked = fields.get("key") or list(variables)
        known = [by_name[key.casefold()] for key in asked if key.casefold() in by_name]
        unknown = [key for key in asked if key.casefold() not in by_name]
        rows = [
            {"key": name, "readonly": variables.is_read_only(name), "value": variables.text(name)} for name in known
        ]
        results = core.dialect.version.call_results
        return results.GetConfiguration(configuration_key=rows, unknown_key=unknown or None)

    @staticmethod
    def _change_configuration(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
        variables = core.variables
        name = next((name for name in V16.names if name.casefold() == fields["key"].casefold()), None)
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

    @staticmethod
    def _send_local_list(core: Core, _now: float, fields: Mapping[str, Any]) -> Any:
        results = core.dialect.version.call_results
        if not core.variables.value("LocalAuthListCtrlr.Enabled"):
            return results.SendLocalList(status="NotSupported")
        entries = [
            (IdToken(each["id_tag"], _NO_TYPE), _info(each.get("id_tag_info")))
            for each in fields.get("local_authorization_list") or ()
        ]
        is_full = fields["update_type"] == "Full"
        return results.SendLocalList(status=core.local_list.update(fields["list_version"], entries, is_full=is_full))

    @staticmethod
    def _get_local_list_version(core: Core, _now: float, _fields: Mapping[str, Any]) -> Any:
        version = core.local_list.version if core.variables.value("LocalAuthListCtrlr.Enabled") else -1
        return core.dialect.version.call_results.GetLocalListVersion(list_version=version)

    commands: ClassVar[Mapping[str, Command]] = {
        "GetLocalListVersion": _get_local_list_version,
        "SendLocalList": _send_local_list,
        "RemoteStartTransaction": _remote_start,
        "RemoteStopTransaction": _remote_stop,
        "GetConfiguration": _get_configuration,
        "ChangeConfiguration": _change_configuration,
    }


def _info(info: Mapping[str, Any] | None) -> TokenInfo | None:
    """What an idTagInfo says; None if there is none."""
    if not info:
        return None
    return TokenInfo(str(info["status"]), info.get("parent_id_tag") or "", (), Dialect.moment(info.get("expiry_date")))
