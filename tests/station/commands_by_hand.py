"""Every command of each version, made by hand from the ``ocpp`` package's dataclasses, and what has to follow it.

Nothing of cpsim_kit: a station is what is handed in. The station has two EVSEs; in "session 1" EVSE 1 charges for
TAG-1. ``follows`` is all that comes, but heartbeats and meter values of a transaction by the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ocpp import v16, v21, v201
from strict_csms import StrictCsms

c16, c201, c21 = v16.call, v201.call, v21.call
t201 = v201.datatypes
TOKEN = t201.IdTokenType("TAG-1", "ISO14443")
LONG_AGO = "2020-01-01T00:00:00Z"
FIRMWARE = "https://firmware.example/fw-2.1.0.bin"
LOGS = "https://logs.example/"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
HASH = {"hashAlgorithm": "SHA256", "issuerNameHash": "00", "issuerKeyHash": "00", "serialNumber": "1"}
PERIODS = [{"startPeriod": 0, "limit": 5.0}]  # amperes: too little to charge
SCHEDULE = {"chargingRateUnit": "A", "chargingSchedulePeriod": PERIODS, "startSchedule": LONG_AGO}
PROFILE_16 = {
    "chargingProfileId": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxDefaultProfile",
    "chargingProfileKind": "Absolute",
    "chargingSchedule": SCHEDULE,
}
PROFILE_201 = {
    "id": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxDefaultProfile",
    "chargingProfileKind": "Absolute",
    "chargingSchedule": [{"id": 1, **SCHEDULE}],
}
TARIFF = {"tariffId": "T1", "currency": "EUR"}


@dataclass
class Play:
    """A station, and the CSMS that it talks to."""

    station: Any
    csms: StrictCsms

    @property
    def charge_point(self) -> Any:
        return self.csms.charge_point("CP1")

    def in_minutes(self, minutes: float) -> datetime:
        """A time by the station's clock."""
        moment: datetime = self.station.now + timedelta(minutes=minutes)
        return moment

    def transaction_id(self, evse: int = 1) -> Any:
        """The id of the transaction that runs there, as the CSMS knows it; one that does not exist without any."""
        for each in self.csms.ledger.values():
            if not each.ended and each.place == evse:
                return each.transaction_id
        return 99 if self.csms.version == "1.6" else "nobody"


@dataclass(frozen=True)
class Row:
    """A command and its effect.

    Attributes:
        name: The action, and what is special about it.
        ask: Makes the request; or an awaitable of the answer, where a method of the strict CSMS asks.
        answer: The status; "" for an answer without one, or the code of a CALLERROR.
        follows: What the station says then, in order.
        before: What happens before it.
        after: What happens between the answer and the end.
        minutes: How long the station's clock runs then.
        check: Looks at the answer, and at what the CSMS has got since.
    """

    name: str
    ask: Callable[[Play], Any]
    answer: str = "Accepted"
    follows: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    minutes: float = 0.1
    check: Callable[[Any, list[tuple[str, Any]]], object] | None = None

    @property
    def action(self) -> str:
        return self.name.split(maxsplit=1)[0]


def word(action: str, payload: Mapping[str, Any]) -> str:
    """A message in a few words."""
    match action:
        case "BootNotification":
            version = (payload.get("chargingStation") or payload).get("firmwareVersion")
            return " ".join(filter(None, ("boot", payload.get("reason"), version)))
        case "StatusNotification":
            status = payload.get("connectorStatus") or payload["status"]
            return f"status {payload.get('evseId', payload['connectorId'])} {status}"
        case "TransactionEvent":
            info = payload["transactionInfo"]
            parts = [
                payload["eventType"],
                payload["triggerReason"],
                info.get("chargingState"),
                info.get("stoppedReason"),
            ]
            parts += [payload.get("idToken", {}).get("idToken")]
            number = f"reservation {payload['reservationId']}" if "reservationId" in payload else None
            return " ".join(filter(None, (*parts, number)))
        case "StartTransaction":
            number = f" reservation {payload['reservationId']}" if "reservationId" in payload else ""
            return f"start {payload['connectorId']} {payload['idTag']}{number}"
        case "StopTransaction":
            return f"stop {payload.get('reason')}"
        case "MeterValues":
            return f"meter {payload.get('evseId', payload.get('connectorId'))}"
        case "SecurityEventNotification":
            return f"security {payload['type']}"
        case "NotifyReport":
            return f"report {payload['requestId']} {payload['seqNo']}{' …' if payload.get('tbc') else ''}"
        case "ReservationStatusUpdate":
            return f"reservation {payload['reservationId']} {payload['reservationUpdateStatus']}"
        case _ if "status" in payload:
            return f"{action.removesuffix('StatusNotification')} {payload['status']}"
        case _:
            return f"{action} {payload.get('idTag') or payload.get('idToken', {}).get('idToken', '')}".rstrip()


def is_by_the_clock(action: str, payload: Mapping[str, Any]) -> bool:
    """Whether a message comes by itself: a heartbeat, or values of a transaction."""
    contexts = {value.get("context") for each in payload.get("meterValue", ()) for value in each["sampledValue"]}
    return (
        action == "Heartbeat"
        or payload.get("triggerReason") == "MeterValuePeriodic"
        or (action == "MeterValues" and "transactionId" in payload and contexts == {"Sample.Periodic"})
    )


def boot_201(reason: str, *, version: str = "1.0.0", first: str = "Available") -> tuple[str, ...]:
    return (f"boot {reason} {version}", f"status 1 {first}", "status 2 Available", "security ResetOrReboot")


def boot_16(*, version: str = "1.0.0", first: str = "Available") -> tuple[str, ...]:
    return (f"boot {version}", "status 0 Available", f"status 1 {first}", "status 2 Available")


def component(name: str) -> tuple[Any, Any]:
    one, two = name.split(".")
    return t201.ComponentType(one), t201.VariableType(two)


def set_variables(**values: str) -> Any:
    return c201.SetVariables(
        [t201.SetVariableDataType(value, *component(name.replace("__", "."))) for name, value in values.items()]
    )


def update_201(_play: Play, **more: Any) -> Any:
    return c201.UpdateFirmware(7, t201.FirmwareType(FIRMWARE, LONG_AGO, **more))


def local_list_201(_play: Play) -> Any:
    blocked = t201.AuthorizationData(t201.IdTokenType("TAG-2", "ISO14443"), t201.IdTokenInfoType("Accepted"))
    return c201.SendLocalList(3, "Full", [blocked])


def local_list_16(_play: Play) -> Any:
    return c16.SendLocalList(3, "Full", [{"id_tag": "TAG-2", "id_tag_info": {"status": "Accepted"}}])


def says(**expected: Any) -> Callable[[Any, list[tuple[str, Any]]], object]:
    """The answer has these fields."""

    def check(answer: Any, _said: list[tuple[str, Any]]) -> None:
        for name, value in expected.items():
            assert getattr(answer, name) == value, (name, answer)

    return check


def samples_every_ten_seconds(_answer: Any, said: list[tuple[str, Any]]) -> None:
    assert sum(is_by_the_clock(*each) for each in said) >= 6


def reports(*names: str, least: int) -> Callable[[Any, list[tuple[str, Any]]], object]:
    """At least so many variables are reported, these among them."""

    def check(_answer: Any, said: list[tuple[str, Any]]) -> None:
        rows = [row for action, payload in said if action == "NotifyReport" for row in payload["reportData"]]
        found = {f"{row['component']['name']}.{row['variable']['name']}" for row in rows}
        assert len(rows) >= least
        assert found >= set(names), found

    return check


RUNNING, PLUGGED = ("session 1",), ("plug 1",)
DOWNLOAD = ("Firmware Downloading", "Firmware Downloaded")
CHARGING = "Updated ChargingStateChanged Charging"

ROWS_201 = (
    Row(
        "CancelReservation",
        lambda p: p.charge_point.cancel_reservation(5),
        follows=("status 2 Available",),
        before=("reserve 2",),
    ),
    Row("CancelReservation of nobody", lambda p: p.charge_point.cancel_reservation(6), "Rejected"),
    Row("CertificateSigned", lambda _p: c201.CertificateSigned(PEM), "Rejected"),
    Row(
        "ChangeAvailability of an EVSE",
        lambda _p: c201.ChangeAvailability("Inoperative", t201.EVSEType(2)),
        follows=("status 2 Unavailable",),
        before=RUNNING,
    ),
    Row(
        "ChangeAvailability during a transaction",
        lambda _p: c201.ChangeAvailability("Inoperative", t201.EVSEType(1, 1)),
        "Scheduled",
        (
            "Ended StopAuthorized EVConnected Local TAG-1",
            "status 1 Unavailable",
        ),
        RUNNING,
        ("swipe 1",),
    ),
    Row(
        "ChangeAvailability of the station",
        lambda _p: c201.ChangeAvailability("Inoperative"),
        follows=("status 1 Unavailable", "status 2 Unavailable"),
    ),
    Row(
        "ChangeAvailability back",
        lambda _p: c201.ChangeAvailability("Operative", t201.EVSEType(2)),
        follows=("status 2 Available",),
        before=("inoperative 2",),
    ),
    Row(
        "ChangeAvailability of nothing", lambda _p: c201.ChangeAvailability("Inoperative", t201.EVSEType(9)), "Rejected"
    ),
    Row(
        "ClearCache",
        lambda _p: c201.ClearCache(),
        follows=("status 2 Occupied", "Authorize TAG-1", "Started Authorized EVConnected TAG-1", CHARGING),
        before=("preauthorize", "plug 1", "swipe 1", "unplug 1"),
        after=("plug 2", "swipe 2"),
    ),
    Row("ClearChargingProfile", lambda _p: c201.ClearChargingProfile(1), "Unknown"),
    Row("ClearDisplayMessage", lambda _p: c201.ClearDisplayMessage(1), "Unknown"),
    Row("ClearVariableMonitoring", lambda _p: c201.ClearVariableMonitoring([1]), ""),
    Row("CostUpdated", lambda p: c201.CostUpdated(1.5, p.transaction_id()), "NotSupported", (), RUNNING),
    Row("CustomerInformation", lambda _p: c201.CustomerInformation(1, True, False, id_token=TOKEN), "Rejected"),
    Row("DataTransfer", lambda _p: c201.DataTransfer("org.example", "hello", "x"), "UnknownVendorId"),
    Row("DeleteCertificate", lambda _p: c201.DeleteCertificate(HASH), "NotFound"),
    Row(
        "GetBaseReport FullInventory",
        lambda _p: c201.GetBaseReport(4, "FullInventory"),
        follows=("report 4 0 …", "report 4 1 …", "report 4 2"),
        check=reports("TxCtrlr.TxStartPoint", "EVSE.AvailabilityState", "Connector.ConnectorType", least=100),
    ),
    Row(
        "GetBaseReport SummaryInventory",
        lambda _p: c201.GetBaseReport(5, "SummaryInventory"),
        follows=("report 5 0",),
        before=RUNNING,
        check=reports("EVSE.AvailabilityState", least=3),
    ),
    Row(
        "GetChargingProfiles",
        lambda _p: c201.GetChargingProfiles(1, {"chargingProfilePurpose": "TxProfile"}),
        "NoProfiles",
    ),
    Row("GetCompositeSchedule", lambda _p: c201.GetCompositeSchedule(600, 1), before=RUNNING),
    Row("GetCompositeSchedule of no EVSE", lambda _p: c201.GetCompositeSchedule(600, 7), "Rejected"),
    Row("GetDisplayMessages", lambda _p: c201.GetDisplayMessages(1), "Unknown"),
    Row("GetInstalledCertificateIds", lambda _p: c201.GetInstalledCertificateIds(), "NotFound"),
    Row(
        "GetLocalListVersion", lambda _p: c201.GetLocalListVersion(), "", before=("list",), check=says(version_number=3)
    ),
    Row(
        "GetLog",
        lambda _p: c201.GetLog(t201.LogParametersType(LOGS), "DiagnosticsLog", 8),
        follows=("Log Uploading", "Log Uploaded"),
        before=RUNNING,
        minutes=1,
    ),
    Row("GetMonitoringReport", lambda _p: c201.GetMonitoringReport(1), "NotSupported"),
    Row(
        "GetReport",
        lambda _p: c201.GetReport(6, [t201.ComponentVariableType(t201.ComponentType("TxCtrlr"))]),
        follows=("report 6 0",),
        check=reports("TxCtrlr.TxStartPoint", "TxCtrlr.EVConnectionTimeOut", least=5),
    ),
    Row(
        "GetReport of nothing",
        lambda _p: c201.GetReport(6, [t201.ComponentVariableType(t201.ComponentType("Nonsense"))]),
        "EmptyResultSet",
    ),
    Row(
        "GetTransactionStatus",
        lambda p: c201.GetTransactionStatus(p.transaction_id()),
        "",
        (),
        RUNNING,
        check=says(ongoing_indicator=True, messages_in_queue=False),
    ),
    Row(
        "GetTransactionStatus of a stranger",
        lambda _p: c201.GetTransactionStatus("nobody"),
        "",
        (),
        RUNNING,
        check=says(ongoing_indicator=False, messages_in_queue=False),
    ),
    Row(
        "GetVariables",
        lambda _p: c201.GetVariables([t201.GetVariableDataType(*component("TxCtrlr.EVConnectionTimeOut"))]),
        "",
        check=lambda answer, _said: answer.get_variable_result[0]["attribute_value"] == "60",
    ),
    Row("InstallCertificate", lambda _p: c201.InstallCertificate("CSMSRootCertificate", PEM), "Rejected"),
    Row("PublishFirmware", lambda _p: c201.PublishFirmware(FIRMWARE, "0" * 32, 1), "Rejected"),
    Row(
        "RequestStartTransaction",
        lambda p: p.charge_point.request_start_transaction("TAG-1", evse_id=1),
        follows=("Started RemoteStart EVConnected TAG-1", CHARGING),
        before=PLUGGED,
    ),
    Row(
        "RequestStartTransaction before the cable",
        lambda p: p.charge_point.request_start_transaction("TAG-1", evse_id=2),
        follows=("status 2 Occupied", "Started RemoteStart EVConnected TAG-1", CHARGING),
        before=RUNNING,
        after=("plug 2",),
    ),
    Row(
        "RequestStopTransaction",
        lambda p: c201.RequestStopTransaction(p.transaction_id()),
        follows=("Ended RemoteStop EVConnected Remote",),
        before=RUNNING,
    ),
    Row("RequestStopTransaction of nobody", lambda p: c201.RequestStopTransaction(p.transaction_id()), "Rejected"),
    Row(
        "ReserveNow",
        lambda p: p.charge_point.reserve_now(5, "TAG-1", p.in_minutes(30), evse_id=2),
        follows=(
            "status 2 Reserved",
            "Authorize TAG-1",
            "status 2 Occupied",
            "Started Authorized EVConnected TAG-1 reservation 5",
            CHARGING,
        ),
        after=("swipe TAG-9 2", "plug 2", "swipe TAG-1 2"),
    ),
    Row(
        "ReserveNow until it expires",
        lambda p: p.charge_point.reserve_now(5, "TAG-1", p.in_minutes(3), evse_id=2),
        follows=("status 2 Reserved", "status 2 Available", "reservation 5 Expired"),
        before=RUNNING,
        minutes=4,
    ),
    Row(
        "ReserveNow of what is taken",
        lambda p: p.charge_point.reserve_now(5, "TAG-2", p.in_minutes(3), evse_id=1),
        "Occupied",
        (),
        RUNNING,
    ),
    Row(
        "Reset Immediate",
        lambda _p: c201.Reset("Immediate"),
        follows=("Ended ResetCommand EVConnected ImmediateReset", *boot_201("RemoteReset", first="Occupied")),
        before=RUNNING,
        minutes=1,
    ),
    Row(
        "Reset OnIdle",
        lambda _p: c201.Reset("OnIdle"),
        "Scheduled",
        (
            *("status 2 Unavailable", "Ended StopAuthorized EVConnected Local TAG-1", "status 1 Unavailable"),
            *boot_201("ScheduledReset", first="Occupied"),
        ),
        RUNNING,
        ("swipe 1",),
        minutes=1,
    ),
    Row(
        "Reset of an EVSE",
        lambda _p: c201.Reset("Immediate", 1),
        follows=("Ended ResetCommand EVConnected ImmediateReset", "status 1 Unavailable", "status 1 Occupied"),
        before=RUNNING,
        minutes=1,
    ),
    Row(
        "SendLocalList",
        local_list_201,
        follows=("status 2 Occupied", "Started Authorized EVConnected TAG-2", CHARGING),
        before=("preauthorize",),
        after=("plug 2", "swipe TAG-2 2"),
    ),
    Row(
        "SetChargingProfile",
        lambda _p: c201.SetChargingProfile(1, PROFILE_201),
        follows=("Updated ChargingStateChanged SuspendedEVSE",),
        before=RUNNING,
    ),
    Row("SetChargingProfile of no EVSE", lambda _p: c201.SetChargingProfile(7, PROFILE_201), "Rejected"),
    Row(
        "SetDisplayMessage",
        lambda _p: c201.SetDisplayMessage(
            t201.MessageInfoType(1, "AlwaysFront", t201.MessageContentType("UTF8", "Hi"))
        ),
        "Rejected",
    ),
    Row("SetMonitoringBase", lambda _p: c201.SetMonitoringBase("All"), "NotSupported"),
    Row("SetMonitoringLevel", lambda _p: c201.SetMonitoringLevel(5), "Rejected"),
    Row(
        "SetNetworkProfile",
        lambda p: c201.SetNetworkProfile(
            1, t201.NetworkConnectionProfileType("OCPP20", "JSON", p.csms.url, 30, 0, "Wired0")
        ),
        "Rejected",
    ),
    Row(
        "SetVariableMonitoring",
        lambda _p: c201.SetVariableMonitoring(
            [t201.SetMonitoringDataType(1.0, "Delta", 5, *component("EVSE.AvailabilityState"))]
        ),
        "",
    ),
    Row(
        "SetVariables",
        lambda _p: set_variables(SampledDataCtrlr__TxUpdatedInterval="10"),
        "",
        (),
        RUNNING,
        minutes=1.1,
        check=samples_every_ten_seconds,
    ),
    Row("TriggerMessage BootNotification", lambda _p: c201.TriggerMessage("BootNotification"), "Rejected"),
    Row("TriggerMessage Heartbeat", lambda _p: c201.TriggerMessage("Heartbeat")),
    Row(
        "TriggerMessage StatusNotification",
        lambda _p: c201.TriggerMessage("StatusNotification", t201.EVSEType(1, 1)),
        follows=("status 1 Occupied",),
        before=RUNNING,
    ),
    Row(
        "TriggerMessage MeterValues",
        lambda _p: c201.TriggerMessage("MeterValues", t201.EVSEType(2)),
        follows=("meter 2",),
    ),
    Row(
        "TriggerMessage TransactionEvent",
        lambda _p: c201.TriggerMessage("TransactionEvent", t201.EVSEType(1)),
        follows=("Updated Trigger Charging",),
        before=RUNNING,
    ),
    Row(
        "TriggerMessage FirmwareStatusNotification",
        lambda _p: c201.TriggerMessage("FirmwareStatusNotification"),
        follows=("Firmware Idle",),
    ),
    Row(
        "TriggerMessage LogStatusNotification",
        lambda _p: c201.TriggerMessage("LogStatusNotification"),
        follows=("Log Idle",),
    ),
    Row(
        "TriggerMessage SignChargingStationCertificate",
        lambda _p: c201.TriggerMessage("SignChargingStationCertificate"),
        "NotImplemented",
    ),
    Row("UnlockConnector", lambda _p: c201.UnlockConnector(1, 1), "Unlocked", before=PLUGGED),
    Row(
        "UnlockConnector during a transaction",
        lambda _p: c201.UnlockConnector(1, 1),
        "OngoingAuthorizedTransaction",
        (),
        RUNNING,
    ),
    Row("UnlockConnector of nothing", lambda _p: c201.UnlockConnector(9, 1), "UnknownConnector"),
    Row("UnpublishFirmware", lambda _p: c201.UnpublishFirmware("0" * 32), "NoFirmware"),
    Row(
        "UpdateFirmware",
        update_201,
        follows=(
            *DOWNLOAD,
            *("status 1 Unavailable", "status 2 Unavailable", "Firmware Installing", "Firmware InstallRebooting"),
            *boot_201("FirmwareUpdate", version="2.1.0"),
            *("Firmware Installed", "security FirmwareUpdated"),
        ),
        minutes=4,
    ),
    Row(
        "UpdateFirmware that waits for a transaction",
        lambda p: update_201(p, signing_certificate=PEM, signature="AAAA"),
        follows=(
            *(*DOWNLOAD, "Firmware SignatureVerified", "Firmware InstallScheduled", "status 2 Unavailable"),
            *("Ended StopAuthorized EVConnected Local TAG-1", "status 1 Unavailable", "Firmware Installing"),
        ),
        before=RUNNING,
        after=("wait 2", "swipe 1"),
    ),
)

ROWS_21 = (
    Row("AFRRSignal", lambda _p: c21.AFRRSignal(1, LONG_AGO), "Rejected"),
    Row("AdjustPeriodicEventStream", lambda _p: c21.AdjustPeriodicEventStream(1, {"interval": 5}), "Rejected"),
    Row(
        "ChangeTransactionTariff",
        lambda p: c21.ChangeTransactionTariff(TARIFF, p.transaction_id()),
        "Rejected",
        (),
        RUNNING,
    ),
    Row("ClearDERControl", lambda _p: c21.ClearDERControl(True), "NotSupported"),
    Row("ClearTariffs", lambda _p: c21.ClearTariffs(), ""),
    Row("GetDERControl", lambda _p: c21.GetDERControl(1), "NotSupported"),
    Row("GetPeriodicEventStream", lambda _p: c21.GetPeriodicEventStream(), "NotSupported"),
    Row("GetTariffs", lambda _p: c21.GetTariffs(1), "NoTariff"),
    Row(
        "NotifyAllowedEnergyTransfer", lambda p: c21.NotifyAllowedEnergyTransfer(["DC"], p.transaction_id()), "Rejected"
    ),
    Row("NotifyWebPaymentStarted", lambda _p: c21.NotifyWebPaymentStarted(1, 60), "NotSupported"),
    Row("RequestBatterySwap", lambda _p: c21.RequestBatterySwap(TOKEN, 1), "Rejected"),
    Row("SetDERControl", lambda _p: c21.SetDERControl("D1", "LimitMaxDischarge", True), "NotSupported"),
    Row("SetDefaultTariff", lambda _p: c21.SetDefaultTariff(1, TARIFF), "Rejected"),
    Row("UpdateDynamicSchedule", lambda _p: c21.UpdateDynamicSchedule(1, {"limit": 8.0}), "Rejected"),
    Row("UsePriorityCharging", lambda p: c21.UsePriorityCharging(True, p.transaction_id()), "NoProfile", (), RUNNING),
)

ROWS_16 = (
    Row(
        "CancelReservation",
        lambda p: p.charge_point.cancel_reservation(5),
        follows=("status 2 Available",),
        before=("reserve 2",),
    ),
    Row("CancelReservation of nobody", lambda p: p.charge_point.cancel_reservation(6), "Rejected"),
    Row("CertificateSigned", lambda _p: c16.CertificateSigned(PEM), "Rejected"),
    Row(
        "ChangeAvailability of a connector",
        lambda _p: c16.ChangeAvailability(2, "Inoperative"),
        follows=("status 2 Unavailable",),
        before=RUNNING,
    ),
    Row(
        "ChangeAvailability during a transaction",
        lambda _p: c16.ChangeAvailability(1, "Inoperative"),
        "Scheduled",
        ("stop Local", "status 1 Unavailable"),
        RUNNING,
        ("swipe 1",),
    ),
    Row(
        "ChangeAvailability of the charge point",
        lambda _p: c16.ChangeAvailability(0, "Inoperative"),
        follows=("status 1 Unavailable", "status 2 Unavailable", "status 0 Unavailable"),
    ),
    Row(
        "ChangeAvailability back",
        lambda _p: c16.ChangeAvailability(2, "Operative"),
        follows=("status 2 Available",),
        before=("inoperative 2",),
    ),
    Row("ChangeAvailability of nothing", lambda _p: c16.ChangeAvailability(9, "Inoperative"), "Rejected"),
    Row(
        "ChangeConfiguration",
        lambda _p: c16.ChangeConfiguration("MeterValueSampleInterval", "10"),
        before=RUNNING,
        minutes=1.1,
        check=samples_every_ten_seconds,
    ),
    Row("ChangeConfiguration of nothing", lambda _p: c16.ChangeConfiguration("Nonsense", "10"), "NotSupported"),
    Row("ChangeConfiguration to nonsense", lambda _p: c16.ChangeConfiguration("ConnectionTimeOut", "soon"), "Rejected"),
    Row(
        "ClearCache",
        lambda _p: c16.ClearCache(),
        follows=("status 2 Preparing", "Authorize TAG-1", "start 2 TAG-1", "status 2 Charging"),
        before=("preauthorize", "plug 1", "swipe 1", "unplug 1"),
        after=("plug 2", "swipe 2"),
    ),
    Row("ClearChargingProfile", lambda _p: c16.ClearChargingProfile(1), "Unknown"),
    Row("DataTransfer", lambda _p: c16.DataTransfer("org.example", "hello", "x"), "UnknownVendorId"),
    Row("DeleteCertificate", lambda _p: c16.DeleteCertificate(HASH), "NotFound"),
    Row("ExtendedTriggerMessage Heartbeat", lambda _p: c16.ExtendedTriggerMessage("Heartbeat")),
    Row(
        "ExtendedTriggerMessage LogStatusNotification",
        lambda _p: c16.ExtendedTriggerMessage("LogStatusNotification"),
        before=("log",),
        follows=("Log Uploading", "Log Uploaded"),
        minutes=1,
    ),
    Row(
        "ExtendedTriggerMessage StatusNotification",
        lambda _p: c16.ExtendedTriggerMessage("StatusNotification", 2),
        follows=("status 2 Available",),
    ),
    Row(
        "ExtendedTriggerMessage SignChargePointCertificate",
        lambda _p: c16.ExtendedTriggerMessage("SignChargePointCertificate"),
        "NotImplemented",
    ),
    Row("GetCompositeSchedule", lambda _p: c16.GetCompositeSchedule(1, 600), before=RUNNING),
    Row("GetCompositeSchedule of no connector", lambda _p: c16.GetCompositeSchedule(7, 600), "Rejected"),
    Row(
        "GetConfiguration",
        lambda _p: c16.GetConfiguration(["ConnectionTimeOut", "Nonsense"]),
        "",
        check=says(
            configuration_key=[{"key": "ConnectionTimeOut", "readonly": False, "value": "60"}], unknown_key=["Nonsense"]
        ),
    ),
    Row(
        "GetDiagnostics",
        lambda _p: c16.GetDiagnostics(LOGS),
        "",
        ("Diagnostics Uploading", "Diagnostics Uploaded"),
        RUNNING,
        minutes=1,
    ),
    Row(
        "GetInstalledCertificateIds",
        lambda _p: c16.GetInstalledCertificateIds("CentralSystemRootCertificate"),
        "NotFound",
    ),
    Row("GetLocalListVersion", lambda _p: c16.GetLocalListVersion(), "", before=("list",), check=says(list_version=3)),
    Row(
        "GetLog",
        lambda _p: c16.GetLog({"remoteLocation": LOGS}, "SecurityLog", 8),
        follows=("Log Uploading", "Log Uploaded"),
        minutes=1,
    ),
    Row("InstallCertificate", lambda _p: c16.InstallCertificate("CentralSystemRootCertificate", PEM), "Rejected"),
    Row(
        "RemoteStartTransaction",
        lambda _p: c16.RemoteStartTransaction("TAG-1", 1),
        follows=("start 1 TAG-1", "status 1 Charging"),
        before=PLUGGED,
    ),
    Row(
        "RemoteStartTransaction before the cable",
        lambda _p: c16.RemoteStartTransaction("TAG-1", 2),
        follows=("status 2 Preparing", "start 2 TAG-1", "status 2 Charging"),
        before=RUNNING,
        after=("plug 2",),
    ),
    Row(
        "RemoteStopTransaction",
        lambda p: p.charge_point.remote_stop_transaction(p.transaction_id()),
        follows=("stop Remote", "status 1 Finishing"),
        before=RUNNING,
    ),
    Row("RemoteStopTransaction of nobody", lambda p: c16.RemoteStopTransaction(p.transaction_id()), "Rejected"),
    Row(
        "ReserveNow",
        lambda p: p.charge_point.reserve_now(5, "TAG-1", p.in_minutes(30), connector_id=2),
        follows=(
            *("status 2 Reserved", "Authorize TAG-1", "status 2 Preparing"),
            *("start 2 TAG-1 reservation 5", "status 2 Charging"),
        ),
        after=("swipe TAG-9 2", "plug 2", "swipe TAG-1 2"),
    ),
    Row(
        "ReserveNow until it expires",
        lambda p: p.charge_point.reserve_now(5, "TAG-1", p.in_minutes(3), connector_id=2),
        follows=("status 2 Reserved", "status 2 Available"),
        before=RUNNING,
        minutes=4,
    ),
    Row(
        "ReserveNow of what is taken",
        lambda p: p.charge_point.reserve_now(5, "TAG-2", p.in_minutes(3), connector_id=1),
        "Occupied",
        (),
        RUNNING,
    ),
    Row(
        "Reset Hard",
        lambda _p: c16.Reset("Hard"),
        follows=("stop HardReset", "status 1 Finishing", *boot_16(first="Finishing")),
        before=RUNNING,
        minutes=1,
    ),
    Row(
        "Reset Soft",
        lambda _p: c16.Reset("Soft"),
        follows=("stop SoftReset", "status 1 Finishing", *boot_16(first="Finishing")),
        before=RUNNING,
        minutes=1,
    ),
    Row(
        "SendLocalList",
        local_list_16,
        follows=("status 2 Preparing", "start 2 TAG-2", "status 2 Charging"),
        before=("preauthorize",),
        after=("plug 2", "swipe TAG-2 2"),
    ),
    Row(
        "SetChargingProfile",
        lambda _p: c16.SetChargingProfile(1, PROFILE_16),
        follows=("status 1 SuspendedEVSE",),
        before=RUNNING,
    ),
    Row("SetChargingProfile of no connector", lambda _p: c16.SetChargingProfile(7, PROFILE_16), "Rejected"),
    Row(
        "SignedUpdateFirmware",
        lambda _p: c16.SignedUpdateFirmware(
            7,
            {"location": FIRMWARE, "retrieveDateTime": LONG_AGO, "signingCertificate": PEM, "signature": "AAAA"},
        ),
        follows=(
            *("SignedFirmware Downloading", "SignedFirmware Downloaded", "SignedFirmware SignatureVerified"),
            *("status 1 Unavailable", "status 2 Unavailable", "SignedFirmware Installing"),
            *("SignedFirmware InstallRebooting", *boot_16(version="2.1.0")),
            *("SignedFirmware Installed", "security FirmwareUpdated"),
        ),
        minutes=4,
    ),
    Row("TriggerMessage BootNotification", lambda _p: c16.TriggerMessage("BootNotification"), follows=("boot 1.0.0",)),
    Row("TriggerMessage Heartbeat", lambda _p: c16.TriggerMessage("Heartbeat")),
    Row(
        "TriggerMessage StatusNotification",
        lambda _p: c16.TriggerMessage("StatusNotification", 1),
        follows=("status 1 Charging",),
        before=RUNNING,
    ),
    Row(
        "TriggerMessage MeterValues",
        lambda _p: c16.TriggerMessage("MeterValues", 1),
        follows=("meter 1",),
        before=RUNNING,
    ),
    Row(
        "TriggerMessage DiagnosticsStatusNotification",
        lambda _p: c16.TriggerMessage("DiagnosticsStatusNotification"),
        follows=("Diagnostics Idle",),
    ),
    Row(
        "TriggerMessage FirmwareStatusNotification",
        lambda _p: c16.TriggerMessage("FirmwareStatusNotification"),
        follows=("Firmware Idle",),
    ),
    Row("UnlockConnector", lambda _p: c16.UnlockConnector(1), "Unlocked", before=PLUGGED),
    Row("UnlockConnector without a lock", lambda _p: c16.UnlockConnector(2), "NotSupported"),
    Row(
        "UnlockConnector during a transaction",
        lambda _p: c16.UnlockConnector(1),
        "Unlocked",
        ("stop UnlockCommand", "status 1 Finishing"),
        RUNNING,
    ),
    Row("UnlockConnector of nothing", lambda _p: c16.UnlockConnector(9), "NotSupported"),
    Row(
        "UpdateFirmware",
        lambda _p: c16.UpdateFirmware(FIRMWARE, LONG_AGO),
        "",
        (
            *(*DOWNLOAD, "status 1 Unavailable", "status 2 Unavailable", "Firmware Installing"),
            *(*boot_16(version="2.1.0"), "Firmware Installed"),
        ),
        minutes=4,
    ),
)

ROWS = {"1.6": ROWS_16, "2.0.1": ROWS_201, "2.1": (*ROWS_201, *ROWS_21)}
CASES = [(version, row) for version, rows in ROWS.items() for row in rows]
