"""Firmware and logs. OCPP 2.0.1 part 2, L01, L02 and N01."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.dialects.moments import read_moment
from cpsim_kit.station.maintenance.firmware import Update
from cpsim_kit.station.maintenance.jobs import LONGEST_INTERVAL
from cpsim_kit.station.maintenance.maintenance import Upload

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS"]

_LOGS = {"DiagnosticsLog": "diagnostics", "SecurityLog": "security"}  # OCPP 2.1 has a third one


def _attempts(fields: Mapping[str, Any]) -> dict[str, Any]:
    """How often it is tried: ``retries`` comes on top of the first attempt. None where the CSMS does not say."""
    interval = min(fields.get("retry_interval") or 0, LONGEST_INTERVAL)
    return {"attempts": 1 + (fields.get("retries") or 0), "interval": float(interval)}


def _update_firmware(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    firmware = fields["firmware"]
    proofs = [firmware.get("signing_certificate"), firmware.get("signature")]
    update = Update(
        fields["request_id"],
        **_attempts(fields),
        location=firmware["location"],
        retrieve_at=read_moment(core, firmware["retrieve_date_time"]),
        install_at=read_moment(core, firmware.get("install_date_time")),
        is_signed=any(proofs),
        has_signature=all(proofs),
    )
    status = core.maintenance.firmware.request(update, now)
    return core.dialect.version.call_results.UpdateFirmware(status=status)


def _get_log(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    log, kind = fields["log"], _LOGS.get(fields["log_type"])
    status, name = "Rejected", None
    if kind is not None:
        upload = Upload(fields["request_id"], **_attempts(fields))
        oldest = read_moment(core, log.get("oldest_timestamp"))
        latest = read_moment(core, log.get("latest_timestamp"))
        status = core.maintenance.request_upload(upload, oldest, latest, now)
    if status != "Rejected":
        name = f"{kind}-{core.dialect.time(now)[:19].replace(':', '')}Z.log"
    return core.dialect.version.call_results.GetLog(status=status, filename=name)


COMMANDS: Mapping[str, Handler] = {
    "GetLog": Handler(
        _get_log,
        "reports an upload in LogStatusNotification; nothing is uploaded",
        "N01.FR.01, .05, .07-.10, .12, .13, .20",
    ),
    "UpdateFirmware": Handler(
        _update_firmware,
        "reports download, signature and installation, starts again, and boots with the new version",
        "L01.FR.01-.03, .05-.07, .10, .13, .16, .22, .24, .27-.34; L02.FR.01-.04, .06, .10, .15, .18-.23",
    ),
}
