"""Firmware and logs. OCPP 1.6, 4.4, 4.5, 5.9 and 5.19; its security white paper, L01 and N01."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ocpp.exceptions import GenericError

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.dialects.moments import read_moment
from cpsim_kit.station.maintenance.firmware import Update
from cpsim_kit.station.maintenance.jobs import LONGEST_INTERVAL
from cpsim_kit.station.maintenance.maintenance import Upload

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS", "firmware_status", "log_status", "plain_status"]

# 7.25 FirmwareStatus has fewer words than the security white paper.
_PLAIN = frozenset({"Downloaded", "DownloadFailed", "Downloading", "InstallationFailed", "Installing", "Installed"})
_PLAIN_WORDS = {"InstallVerificationFailed": "InstallationFailed"}
_NEAREST = {  # for a status that is asked for
    "InstallRebooting": "Installing",
    "InstallScheduled": "Downloaded",
    "InvalidSignature": "InstallationFailed",
    "SignatureVerified": "Downloaded",
}


def plain_status(status: str) -> str:
    """The word of 7.25 that is nearest to a status, for FirmwareStatusNotification that the CSMS asks for."""
    status = _PLAIN_WORDS.get(status, _NEAREST.get(status, status))
    return status if status in _PLAIN else "Idle"


def firmware_status(calls: ModuleType, status: str, request_id: int | None, is_signed: bool) -> Any:
    """FirmwareStatusNotification, or that of a signed update; None for a status that 7.25 does not have."""
    if is_signed:
        return calls.SignedFirmwareStatusNotification(status=status, request_id=request_id)
    status = _PLAIN_WORDS.get(status, status)
    return calls.FirmwareStatusNotification(status=status) if status in _PLAIN else None


def log_status(calls: ModuleType, status: str, request_id: int | None, is_diagnostics: bool) -> Any:
    """LogStatusNotification or DiagnosticsStatusNotification; neither says that an upload was cancelled."""
    if status == "AcceptedCanceled":
        return None
    if is_diagnostics:
        word = status if status in {"Uploading", "Uploaded"} else "UploadFailed"
        return calls.DiagnosticsStatusNotification(status=word)
    return calls.LogStatusNotification(status=status, request_id=request_id)


def _attempts(fields: Mapping[str, Any]) -> dict[str, Any]:
    """How often it is tried: ``retries`` counts all attempts here (6.25, 6.55). One where the CSMS does not say."""
    interval = min(fields.get("retry_interval") or 0, LONGEST_INTERVAL)
    return {"attempts": max(1, fields.get("retries") or 1), "interval": float(interval)}


def _update_firmware(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    update = Update(
        **_attempts(fields),
        location=fields["location"],
        retrieve_at=read_moment(core, fields["retrieve_date"]),
        has_events=False,
    )
    if core.maintenance.firmware.request(update, now) == "Rejected":  # the answer has no word for it
        raise GenericError("new firmware is being installed; that cannot be cancelled")
    return core.dialect.version.call_results.UpdateFirmware()


def _signed_update_firmware(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    firmware = fields["firmware"]
    update = Update(
        fields["request_id"],
        **_attempts(fields),
        location=firmware["location"],
        retrieve_at=read_moment(core, firmware["retrieve_date_time"]),
        install_at=read_moment(core, firmware.get("install_date_time")),
        is_signed=True,
    )
    status = core.maintenance.firmware.request(update, now)
    return core.dialect.version.call_results.SignedUpdateFirmware(status=status)


def _get_diagnostics(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    oldest, latest = read_moment(core, fields.get("start_time")), read_moment(core, fields.get("stop_time"))
    upload = Upload(**_attempts(fields), is_diagnostics=True)
    is_there = core.maintenance.request_upload(upload, oldest, latest, now) != "Rejected"
    name = _file_name(core, "diagnostics", now) if is_there else None
    return core.dialect.version.call_results.GetDiagnostics(file_name=name)


def _get_log(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    log = fields["log"]
    oldest, latest = read_moment(core, log.get("oldest_timestamp")), read_moment(core, log.get("latest_timestamp"))
    upload = Upload(fields["request_id"], **_attempts(fields))
    status = core.maintenance.request_upload(upload, oldest, latest, now)
    kind = "security" if fields["log_type"] == "SecurityLog" else "diagnostics"
    name = None if status == "Rejected" else _file_name(core, kind, now)
    return core.dialect.version.call_results.GetLog(status=status, filename=name)


def _file_name(core: Core, kind: str, now: float) -> str:
    return f"{kind}-{core.dialect.time(now)[:19].replace(':', '')}Z.log"


COMMANDS: Mapping[str, Handler] = {
    "GetDiagnostics": Handler(
        _get_diagnostics, "reports an upload in DiagnosticsStatusNotification; nothing is uploaded", "5.9, 4.4"
    ),
    "GetLog": Handler(
        _get_log,
        "reports an upload in LogStatusNotification; nothing is uploaded",
        "security N01.FR.01, .05, .07-.12",
    ),
    "SignedUpdateFirmware": Handler(
        _signed_update_firmware,
        "reports download, signature and installation, starts again, and boots with the new version",
        "security L01.FR.01-.07, .10, .13-.19, .21, .24-.27",
    ),
    "UpdateFirmware": Handler(
        _update_firmware, "reports download and installation, starts again, and boots with the new version", "5.19, 4.5"
    ),
}
