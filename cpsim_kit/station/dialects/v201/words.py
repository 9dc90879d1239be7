"""OCPP 2.0.1 and 2.1: TransactionEvent for everything, and the device model. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from cpsim_kit.station.charging.meter import MEASURANDS, Reading
from cpsim_kit.station.device_model.device_model import all_names
from cpsim_kit.station.dialects.clear_cache import clear_cache
from cpsim_kit.station.dialects.data_transfer import data_transfer
from cpsim_kit.station.dialects.dialect import Dialect
from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.dialects.refusals import REFUSALS_21, REFUSALS_201
from cpsim_kit.station.dialects.v201 import (
    availability,
    local_list,
    maintenance,
    remote,
    reports,
    reservations,
    reset,
    smart_charging,
    transactions,
    triggers,
    unlock,
    variables,
)
from cpsim_kit.station.dialects.v201.fields import read_info, write_token
from cpsim_kit.station.rules.authorization import IdToken
from cpsim_kit.station.rules.events import Answer, Outgoing

if TYPE_CHECKING:
    from cpsim_kit.station.charging.evse import LiveEvse
    from cpsim_kit.station.charging.transaction import Report, Transaction
    from cpsim_kit.station.profiles import Profile

__all__ = ["V21", "V201"]

_UNITS = {measurand: {"unit": unit} for measurand, unit in MEASURANDS.items()}

# IdTokenEnumType; OCPP 2.1 leaves the type open.
_TOKEN_TYPES = {
    "2.0.1": ("Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress", "NoAuthorization"),
}


# ReservationUpdateStatusEnumType.
_RESERVATION_STATUSES = {"2.0.1": ("Expired", "Removed"), "2.1": ("Expired", "Removed", "NoTransaction")}


class V201(Dialect):
    """OCPP 2.0.1, and 2.1, whose messages are the same as far as this station goes."""

    no_measurands = frozenset({"Temperature"})
    reports_status_first = True
    gives_up_without_token = False
    has_lenient_profiles = False
    tells_security_events = True
    answers_when_rejected = True  # B03.FR.08
    boots_when_asked = False
    asked_measurands = "AlignedDataCtrlr.Measurands"  # F06.FR.06
    token_length = 36
    statuses = ("Available", "Occupied", "Reserved", "Unavailable", "Faulted")

    @classmethod
    def names_of(cls, evse_count: int) -> Mapping[str, tuple[str, ...]]:
        return all_names(evse_count)

    def token(self, token_id: str, kind: str) -> IdToken:
        types = _TOKEN_TYPES.get(self.version.name, (kind,))
        if kind not in types:
            raise ValueError(f"a token's type is one of {', '.join(types)}, not {kind!r}")
        return super().token(token_id, kind)

    def connector_status(self, evse: LiveEvse) -> str:
        """Reserved also with a vehicle, until a token uses the reservation (H03, errata 2.32), and during a reset.

        An EVSE that became Unavailable would lose its reservation (H01.FR.17), which a reset must not end (B11.FR.05).
        """
        if evse.fault:
            return "Faulted"
        if evse.is_reserved:
            return "Reserved"
        if not evse.available:
            return "Unavailable"
        return "Available" if evse.vehicle is None and not evse.has_dangling_cable else "Occupied"

    def status_notification(self, evse_id: int, status: str, _fault: str, _is_ev_gone: bool, at: float) -> Any:
        return self._calls.StatusNotification(
            timestamp=self.time(at), connector_status=status, evse_id=evse_id, connector_id=1
        )

    def start_messages(self, _now: float, _is_operative: bool) -> Sequence[Callable[[], Any]]:
        return ()

    def last_start_messages(self, now: float, reason: str) -> Sequence[Callable[[], Any]]:
        timestamp = self.time(now)  # A04.FR.01
        event = "StartupOfTheDevice" if reason == "PowerUp" else "ResetOrReboot"
        return (partial(self._calls.SecurityEventNotification, type=event, timestamp=timestamp),)

    def reservation_status(self, reservation_id: int, status: str) -> Callable[[], Any] | None:
        if status not in _RESERVATION_STATUSES[self.version.name]:
            return None
        message = self._calls.ReservationStatusUpdate
        return partial(message, reservation_id=reservation_id, reservation_update_status=status)

    def limit_from_outside(
        self, evse_id: int, profile: Profile | None, source: str, *, with_schedule: bool
    ) -> Callable[[], Any]:
        return smart_charging.limit_message(self, evse_id, profile, source, with_schedule)

    def authorize(self, token: IdToken) -> Any:
        return self._calls.Authorize(id_token=write_token(token))

    def can_report(self, _report: Report) -> bool:
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
            reservation_id=report.reservation_id,
            evse=None if report.evse_id is None else {"id": report.evse_id, "connectorId": 1},
            id_token=None if report.token is None else write_token(report.token),
        )

    def reported_registers(self, payload: Any) -> Iterator[tuple[float, bool]]:
        return self._registers_in(payload.meter_value or ())

    def meter_values(self, evse_id: int, reading: Reading, _transaction: Transaction | None = None) -> Any:
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

    def firmware_status(self, status: str, request_id: int | None, _is_signed: bool) -> Any:
        return self._calls.FirmwareStatusNotification(status=status, request_id=request_id)

    def log_status(self, status: str, request_id: int | None, _is_diagnostics: bool) -> Any:
        return self._calls.LogStatusNotification(status=status, request_id=request_id)

    def security_event(self, kind: str, at: float) -> Any:
        return self._calls.SecurityEventNotification(type=kind, timestamp=self.time(at))

    def read_answer(self, to: Outgoing, result: Any) -> Answer:
        return Answer(to, read_info(getattr(result, "id_token_info", None)))

    commands: ClassVar[Mapping[str, Handler]] = {
        **REFUSALS_201,
        "DataTransfer": data_transfer("P01.FR.05"),
        **availability.COMMANDS,
        "ClearCache": clear_cache("C11.FR.01 to .05"),
        **local_list.COMMANDS,
        **maintenance.COMMANDS,
        **remote.COMMANDS,
        **reports.COMMANDS,
        **reservations.COMMANDS,
        **reset.COMMANDS,
        **smart_charging.COMMANDS,
        **transactions.COMMANDS,
        **triggers.COMMANDS,
        **unlock.COMMANDS,
        **variables.COMMANDS,
    }


class V21(V201):
    """OCPP 2.1: a CSMS may ask for more."""

    commands: ClassVar[Mapping[str, Handler]] = {**REFUSALS_21, **V201.commands}
