"""OCPP 1.6: nine states of a connector, StartTransaction and StopTransaction, and configuration keys. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from cpsim_kit.station.charging.meter import MEASURANDS, Reading
from cpsim_kit.station.dialects.clear_cache import clear_cache
from cpsim_kit.station.dialects.data_transfer import data_transfer
from cpsim_kit.station.dialects.dialect import Dialect
from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.dialects.refusals import REFUSALS_16
from cpsim_kit.station.dialects.v16 import (
    availability,
    configuration,
    keys,
    local_list,
    maintenance,
    remote,
    reservations,
    reset,
    smart_charging,
    triggers,
    unlock,
)
from cpsim_kit.station.dialects.v16.fields import NO_TYPE, read_info
from cpsim_kit.station.rules.authorization import IdToken
from cpsim_kit.station.rules.events import Answer, Outgoing

if TYPE_CHECKING:
    from cpsim_kit.station.charging.evse import LiveEvse
    from cpsim_kit.station.charging.transaction import Report, Transaction
    from cpsim_kit.station.device_model.variable import Variable

__all__ = ["V16"]

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
_REASONS = frozenset(
    {
        "DeAuthorized",
        "EVDisconnected",
        "EmergencyStop",
        "HardReset",
        "Local",
        "PowerLoss",
        "Remote",
        "SoftReset",
        "UnlockCommand",
    }
)

_NO_ID = -1

_UNITS = {measurand: unit for measurand, unit in MEASURANDS.items() if unit != "Hz"}  # 7.44 has no unit of frequency


class V16(Dialect):
    """OCPP 1.6. A transaction runs while a vehicle is connected and authorized (compare 2.0.1 part 2, E 1.1.2)."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "SampledDataCtrlr.TxEndedInterval": 60,  # StopTxnSampledData has MeterValueSampleInterval, too
        # The cable ends the authorization, unless StopTransactionOnEVSideDisconnect is false.
        "TxCtrlr.TxStopPoint": ("Authorized",),
    }
    reports_status_first = False
    gives_up_without_token = True
    caches_listed = False  # 3.5.3
    has_lenient_profiles = True
    tells_security_events = False
    answers_when_rejected = False  # 4.2
    boots_when_asked = True
    asked_measurands = "SampledDataCtrlr.TxUpdatedMeasurands"  # 5.17
    token_length = 20
    statuses = (
        "Available",
        "Preparing",
        "Charging",
        "SuspendedEV",
        "SuspendedEVSE",
        "Finishing",
        "Reserved",
        "Unavailable",
        "Faulted",
    )

    @classmethod
    def variables_of(cls, evse_count: int) -> Mapping[str, Variable]:
        return keys.variables_of(evse_count)

    @classmethod
    def names_of(cls, _evse_count: int) -> Mapping[str, tuple[str, ...]]:
        return keys.NAMES

    def read_only(self) -> Mapping[str, str]:
        return keys.read_only(self.evse_count)

    def password(self, text: str) -> bytes:
        """The octets of an AuthorizationKey (security white paper, 7.2)."""
        return bytes.fromhex(text)

    def token(self, token_id: str, _kind: str) -> IdToken:
        """The token of an id; OCPP 1.6 knows no types."""
        return super().token(token_id, NO_TYPE)

    def connector_status(self, evse: LiveEvse) -> str:
        """One of the nine states of 4.9. SuspendedEVSE has precedence over SuspendedEV.

        A vehicle changes nothing at a reserved connector: 4.9 leads from there to Preparing by the token (G2).
        """
        if evse.fault:
            return "Faulted"
        if not evse.available:
            return "Unavailable"
        if evse.is_reserved:
            return "Reserved"
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

    def start_messages(self, now: float, is_operative: bool) -> Sequence[Callable[[], Any]]:
        """The state of the whole charge point, as connector 0."""
        status = "Available" if is_operative else "Unavailable"
        return (partial(self.status_notification, 0, status, "", False, now),)

    def last_start_messages(self, _now: float, _reason: str) -> Sequence[Callable[[], Any]]:
        return ()

    def reservation_status(self, _reservation_id: int, _status: str) -> None:
        """OCPP 1.6 has no such message: the connector's status tells it."""
        return

    def list_conflict(self, now: float, is_operative: bool) -> Callable[[], Any]:
        """3.5.2: a status of the whole charge point, with its own error code."""
        return partial(
            self._calls.StatusNotification,
            connector_id=0,
            error_code="LocalListConflict",
            status="Available" if is_operative else "Unavailable",
            timestamp=self.time(now),
        )

    def authorize(self, token: IdToken) -> Any:
        return self._calls.Authorize(id_tag=token.id)

    def can_report(self, report: Report) -> bool:
        """Start, stop and meter values are; changes of the charging state are states of the connector."""
        return report.kind != "Updated" or (bool(report.readings) and report.trigger.startswith("MeterValue"))

    def transaction_message(self, report: Report) -> Any:
        """StartTransaction, MeterValues or StopTransaction; the id is -1 if the CSMS gave none (errata sheet, 3.18)."""
        transaction = report.transaction
        if report.kind == "Started":
            assert report.token is not None  # an authorization is a condition of the start
            return self._calls.StartTransaction(
                connector_id=transaction.evse_id,
                id_tag=report.token.id,
                meter_start=round(transaction.start_wh),
                timestamp=self.time(report.at),
                reservation_id=report.reservation_id,
            )
        transaction_id = _NO_ID if transaction.csms_id is None else transaction.csms_id
        meter_value = [self._meter_value(reading) for reading in report.readings]
        if report.kind == "Updated":
            return self._calls.MeterValues(
                connector_id=transaction.evse_id, transaction_id=transaction_id, meter_value=meter_value
            )
        reason = report.stopped_reason or ""
        return self._calls.StopTransaction(
            transaction_id=transaction_id,
            meter_stop=round(transaction.end_wh),
            timestamp=self.time(report.at),
            reason=reason if reason in _REASONS else "Other",
            id_tag=None if report.token is None else report.token.id,
            transaction_data=meter_value or None,
        )

    def meter_values(self, evse_id: int, reading: Reading, transaction: Transaction | None = None) -> Any:
        return self._calls.MeterValues(
            connector_id=evse_id,
            meter_value=[self._meter_value(reading)],
            transaction_id=None if transaction is None else transaction.csms_id,
        )

    def reported_registers(self, payload: Any) -> Iterator[tuple[float, bool]]:
        match type(payload).__name__:
            case "StartTransaction":
                yield float(payload.meter_start), True
            case "StopTransaction":
                yield float(payload.meter_stop), False
            case _:
                yield from self._registers_in(payload.meter_value)

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

    def firmware_status(self, status: str, request_id: int | None, is_signed: bool) -> Any:
        return maintenance.firmware_status(self._calls, status, request_id, is_signed)

    def log_status(self, status: str, request_id: int | None, is_diagnostics: bool) -> Any:
        return maintenance.log_status(self._calls, status, request_id, is_diagnostics)

    def security_event(self, kind: str, at: float) -> Any:
        return self._calls.SecurityEventNotification(type=kind, timestamp=self.time(at), tech_info=None)

    def read_answer(self, to: Outgoing, result: Any) -> Answer:
        return Answer(to, read_info(getattr(result, "id_tag_info", None)), getattr(result, "transaction_id", None))

    commands: ClassVar[Mapping[str, Handler]] = {
        **REFUSALS_16,
        "DataTransfer": data_transfer("5.6, 4.3"),
        **availability.COMMANDS,
        "ClearCache": clear_cache("5.4"),
        **configuration.COMMANDS,
        **local_list.COMMANDS,
        **maintenance.COMMANDS,
        **remote.COMMANDS,
        **reservations.COMMANDS,
        **reset.COMMANDS,
        **smart_charging.COMMANDS,
        **triggers.COMMANDS,
        **unlock.COMMANDS,
    }
