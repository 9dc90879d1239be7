"""The commands that a station refuses, each in the words of its answer; never Accepted.

A command without a word for it is answered with CALLERROR NotSupported: it is known, and not supported here. What a
station does learn to do stands in a module of the version, and takes the place of the row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ocpp.exceptions import NotSupportedError

from cpsim_kit.ocpp_j.versions import CHARGE_POINT_ACTIONS, Version
from cpsim_kit.station.dialects.handler import Handler

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["REFUSALS_16", "REFUSALS_21", "REFUSALS_201", "csms_actions"]

# What only a charge point sends, of the actions that OCPP 2.1 has in addition.
_CHARGE_POINT_21 = frozenset(
    {
        "BatterySwap",
        "ClosePeriodicEventStream",
        "GetCertificateChainStatus",
        "NotifyDERAlarm",
        "NotifyDERStartStop",
        "NotifyPeriodicEventStream",
        "NotifyPriorityCharging",
        "NotifySettlement",
        "OpenPeriodicEventStream",
        "PullDynamicScheduleUpdate",
        "ReportDERControl",
        "VatNumberValidation",
    }
)


def csms_actions(version: str) -> frozenset[str]:
    """The actions that a CSMS may send to a charge point of a version: "1.6", "2.0.1" or "2.1"."""
    theirs = CHARGE_POINT_ACTIONS.get(version) or CHARGE_POINT_ACTIONS["2.0.1"] | _CHARGE_POINT_21
    return (Version.get(version).actions - theirs) | {"DataTransfer"}


def _status(status: str, why: str, source: str) -> Callable[[str], Handler]:
    """Refuse with a status."""

    def handler(action: str) -> Handler:
        def run(core: Core, _now: float, _fields: Mapping[str, Any]) -> Any:
            return getattr(core.dialect.version.call_results, action)(status=status)

        return Handler(run, f"answers {status}: {why}", source, is_done=False)

    return handler


def _error(why: str, source: str) -> Callable[[str], Handler]:
    """Refuse with CALLERROR NotSupported, where the answer has no status."""

    def handler(action: str) -> Handler:
        def run(_core: Core, _now: float, _fields: Mapping[str, Any]) -> Any:
            raise NotSupportedError(f"{action}: {why}")

        return Handler(run, f"answers CALLERROR NotSupported: {why}", source, is_done=False)

    return handler


def _each(
    field: str,
    effect: str,
    source: str,
    answers: Callable[[Mapping[str, Any]], list[dict[str, Any]]],
) -> Callable[[str], Handler]:
    """Refuse each item of a list."""

    def handler(action: str) -> Handler:
        def run(core: Core, _now: float, fields: Mapping[str, Any]) -> Any:
            return getattr(core.dialect.version.call_results, action)(**{field: answers(fields)})

        return Handler(run, effect, source, is_done=False)

    return handler


def _monitors_set(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    echoed = ("type", "severity", "component", "variable")
    return [
        {name: each[name] for name in echoed} | {"status": "UnsupportedMonitorType"}
        for each in fields["set_monitoring_data"]
    ]


def _monitors_cleared(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"id": number, "status": "NotFound"} for number in fields["id"]]


def _tariffs_cleared(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    ids = fields.get("tariff_ids")
    return [{"tariff_id": each, "status": "NoTariff"} for each in ids] if ids else [{"status": "NoTariff"}]


def _make(rows: Mapping[str, Callable[[str], Handler]]) -> Mapping[str, Handler]:
    return {action: make(action) for action, make in rows.items()}


_CERTIFICATES = "it keeps no certificates"
_PROFILES = "its charging profiles are neither dynamic nor for priority or discharging"
_DISPLAY = "it has no display"
_MONITORS = "it monitors no variables"
_TARIFFS = "it knows no tariffs"
_DER = "it has no control of distributed energy resources"
_STREAMS = "it has no streams of events"

REFUSALS_16: Mapping[str, Handler] = _make(
    {
        "CertificateSigned": _status("Rejected", _CERTIFICATES, "security A02"),
        "DeleteCertificate": _status("NotFound", _CERTIFICATES, "security M04"),
        "GetInstalledCertificateIds": _status("NotFound", _CERTIFICATES, "security M03"),
        "InstallCertificate": _status("Rejected", _CERTIFICATES, "security M05"),
    }
)

REFUSALS_201: Mapping[str, Handler] = _make(
    {
        "CertificateSigned": _status("Rejected", _CERTIFICATES, "A02"),
        "ClearDisplayMessage": _status("Unknown", _DISPLAY, "O05"),
        "ClearVariableMonitoring": _each(
            "clear_monitoring_result", f"answers NotFound for each: {_MONITORS}", "N06", _monitors_cleared
        ),
        "CostUpdated": _error("it shows no cost", "I02"),
        "CustomerInformation": _status("Rejected", "it keeps no data of customers", "N09"),
        "DeleteCertificate": _status("NotFound", _CERTIFICATES, "M04"),
        "GetDisplayMessages": _status("Unknown", _DISPLAY, "O03"),
        "GetInstalledCertificateIds": _status("NotFound", _CERTIFICATES, "M03"),
        "GetMonitoringReport": _status("NotSupported", _MONITORS, "N02"),
        "InstallCertificate": _status("Rejected", _CERTIFICATES, "M05"),
        "PublishFirmware": _status("Rejected", "it is no local controller", "L03"),
        "SetDisplayMessage": _status("Rejected", _DISPLAY, "O01"),
        "SetMonitoringBase": _status("NotSupported", _MONITORS, "N03"),
        "SetMonitoringLevel": _status("Rejected", _MONITORS, "N05"),
        "SetNetworkProfile": _status("Rejected", "its network is not the CSMS's to change", "B09"),
        "SetVariableMonitoring": _each(
            "set_monitoring_result", f"answers UnsupportedMonitorType for each: {_MONITORS}", "N04", _monitors_set
        ),
        "UnpublishFirmware": _status("NoFirmware", "it is no local controller", "L04"),
    }
)

REFUSALS_21: Mapping[str, Handler] = _make(
    {
        "AFRRSignal": _status("Rejected", _PROFILES, "Q08"),
        "AdjustPeriodicEventStream": _status("Rejected", _STREAMS, "N14"),
        "ChangeTransactionTariff": _status("Rejected", _TARIFFS, "I11"),
        "ClearDERControl": _status("NotSupported", _DER, "R04"),
        "ClearTariffs": _each("clear_tariffs_result", f"answers NoTariff: {_TARIFFS}", "I10", _tariffs_cleared),
        "GetDERControl": _status("NotSupported", _DER, "R04"),
        "GetPeriodicEventStream": _error(_STREAMS, "N12"),
        "GetTariffs": _status("NoTariff", _TARIFFS, "I09"),
        "NotifyAllowedEnergyTransfer": _status("Rejected", "it speaks no ISO 15118", "Q02"),
        "NotifyWebPaymentStarted": _error("it has no display", "C25"),
        "RequestBatterySwap": _status("Rejected", "it swaps no batteries", "S02"),
        "SetDERControl": _status("NotSupported", _DER, "R04"),
        "SetDefaultTariff": _status("Rejected", _TARIFFS, "I07"),
        "UpdateDynamicSchedule": _status("Rejected", _PROFILES, "K28"),
        "UsePriorityCharging": _status("NoProfile", _PROFILES, "K21"),
    }
)
