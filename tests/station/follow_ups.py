"""What has to follow a command of the CSMS, and what may not: reports, statuses of firmware and logs, boots, triggers.

No sockets, and nothing of cpsim_kit. Payloads are as they are on the wire. OCPP 2.0.1 part 2: B07, B11, B12, F06, G03,
L01 and N01; OCPP 1.6: 4.2, 5.2, 5.9, 5.14, 5.17 and 5.19.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Payload = Mapping[str, Any]
Broken = Iterator[tuple[str, str]]  # a rule's short name, and a sentence

FIRMWARE_MOVES = {  # L01, L02 and 4.5; "" is before the first status. Downloading may come again for each attempt.
    "": {"Downloading", "DownloadScheduled", "DownloadFailed"},
    "DownloadScheduled": {"Downloading", "DownloadFailed"},
    "Downloading": {"Downloading", "Downloaded", "DownloadFailed"},
    "Downloaded": {"SignatureVerified", "InvalidSignature", "InstallScheduled", "Installing"},
    "SignatureVerified": {"InstallScheduled", "Installing"},
    "InstallScheduled": {"Installing"},
    "Installing": {"InstallRebooting", "Installed", "InstallationFailed", "InstallVerificationFailed"},
    "InstallRebooting": {"Installed"},
}
LOG_MOVES = {
    "": {"Uploading"},
    "Uploading": {
        *("Uploading", "Uploaded", "UploadFailed", "UploadFailure", "BadMessage", "PermissionDenied"),
        *("NotSupportedOperation", "AcceptedCanceled"),
    },
}
FIRMWARE = {"FirmwareStatusNotification", "SignedFirmwareStatusNotification"}
LOGS = {"LogStatusNotification", "DiagnosticsStatusNotification"}
REPORTED_BY = {  # what the statuses of a job come in, by the version's command
    "UpdateFirmware": "FirmwareStatusNotification",
    "SignedUpdateFirmware": "SignedFirmwareStatusNotification",
    "GetLog": "LogStatusNotification",
    "GetDiagnostics": "DiagnosticsStatusNotification",
}
ACCEPTED = {"Accepted", "AcceptedCanceled", "Scheduled"}


@dataclass
class Job:
    """A firmware update or an upload that the CSMS has asked for.

    Attributes:
        status: The last one that was said.
        has_gap: A connection was lost since, and with it perhaps a status.
    """

    status: str = ""
    has_gap: bool = False


class FollowUps:
    """What one charge point owes for the commands that it got, and whether what it says follows from one.

    Attributes:
        boots: The reasons that it may boot for; "" for any, in OCPP 1.6.
        owed: The messages that were promised to the CSMS, by action.
    """

    def __init__(self) -> None:
        self.boots = {"PowerUp", ""}
        self.owed: Counter[str] = Counter()
        self._asked: dict[str, tuple[str, Payload]] = {}
        self._reports: dict[int, int] = {}  # the seqNo of the next part
        self._jobs: dict[tuple[str, int | None], Job] = {}
        self._statuses: dict[int, tuple[str, str]] = {}  # and when
        self._repeats: set[int] = set()
        self._spent: set[str] = set()  # the reasons that the last boot used up, once its answer has come
        self._asks_boot = False

    def connected(self) -> None:
        """A new connection: what was under way on the last one may be lost, and what was not answered may be done."""
        for action, payload in self._asked.values():
            self._permit(action, payload, is_sure=False)
        self._asked.clear()
        self.boots |= self._spent
        self._asks_boot = False
        self._reports.clear()
        self.owed.clear()
        self._repeats.clear()
        for (action, _), job in self._jobs.items():
            job.has_gap = True
            if action in FIRMWARE and job.status in FIRMWARE_MOVES:  # it goes on, perhaps to a boot that was not told
                self.boots |= {"FirmwareUpdate", ""}

    def asked(self, message_id: str, action: str, payload: Payload) -> None:
        """The CSMS sends a command."""
        self._asked[message_id] = action, payload

    def answered(self, message_id: str, answer: Payload | None) -> None:
        """The charge point answers it; None for CALLERROR."""
        action, payload = self._asked.pop(message_id, ("", {}))
        if answer is None or answer.get("status", "Accepted") not in ACCEPTED:
            return
        if action == "GetDiagnostics" and "fileName" not in answer:  # there is nothing to upload
            return
        self._permit(action, payload)
        match action:
            case "GetBaseReport" | "GetReport":
                self._reports[payload["requestId"]] = 0
            case "Reset" if not payload.get("evseId"):
                self.owed["BootNotification"] += 1
            case "TriggerMessage" | "ExtendedTriggerMessage":
                wanted = payload["requestedMessage"]
                if action == "ExtendedTriggerMessage" and wanted == "FirmwareStatusNotification":
                    wanted = "SignedFirmwareStatusNotification"
                self.owed[wanted] += 1

    def _permit(self, action: str, payload: Payload, *, is_sure: bool = True) -> None:
        """Let follow what may follow this command."""
        match action:
            case "UpdateFirmware" | "SignedUpdateFirmware" | "GetLog" | "GetDiagnostics":
                self._jobs[REPORTED_BY[action], payload.get("requestId")] = Job(has_gap=not is_sure)
            case "Reset" if not payload.get("evseId"):  # OnIdle: it may be idle just now
                self.boots |= {"", "RemoteReset", *(["ScheduledReset"] if payload["type"] == "OnIdle" else [])}
            case "TriggerMessage" | "ExtendedTriggerMessage":
                self._permit_message(payload)

    def may_repeat(self, place: int) -> bool:
        """Whether the CSMS has asked for the status of this place, which may be what it was."""
        found = place in self._repeats
        self._repeats.discard(place)
        return found

    def _permit_message(self, payload: Payload) -> None:
        wanted = payload["requestedMessage"]
        if wanted == "StatusNotification":
            place = payload.get("connectorId") or payload.get("evse", {}).get("id")
            self._repeats |= set(range(10)) if place is None else {place}
        elif wanted == "BootNotification":
            self.boots |= {"", "Triggered"}
            self._asks_boot = True

    @property
    def is_boot_asked(self) -> bool:
        """Whether the CSMS has asked for a BootNotification, which is not one of a start then."""
        return self._asks_boot

    def said(self, action: str, payload: Payload) -> Broken:
        """The charge point says something: the rules that this breaks."""
        is_asked = self.owed[action] > 0
        if action == "BootNotification":
            yield from self._boot(payload.get("reason", ""))
            self.owed[action] = 0
            return
        self._spent = set()  # it has got the answer to its boot
        if is_asked and action not in FIRMWARE | LOGS:
            self.owed[action] -= 1
        match action:
            case "NotifyReport":
                yield from self._report(payload)
            case "StatusNotification":
                place = payload.get("evseId", payload["connectorId"])
                status = payload.get("connectorStatus") or payload["status"]
                self._statuses[place] = status, payload.get("timestamp", "")
            case "TransactionEvent":
                yield from self._start(payload)
            case _ if action in FIRMWARE | LOGS:
                yield from self._step(action, payload, is_asked)

    def end(self) -> Broken:
        """The rules that are broken when nothing more comes."""
        for action, count in self.owed.items():
            if count > 0:
                yield "promise_not_kept", f"{action} was promised {count} times more"
        for number, seq_no in self._reports.items():
            yield "report_not_ended", f"report {number} had no last part after part {seq_no - 1}"

    def _boot(self, reason: str) -> Broken:
        self._asks_boot = False
        self.boots, self._spent = set(), self.boots | self._spent
        if reason not in self._spent:
            expected = ", ".join(sorted(self._spent)) or "no boot at all"
            yield "boot_unasked", f"a boot for the reason {reason or 'unknown'}, expected: {expected}"
        for (action, _), job in self._jobs.items():
            if action in FIRMWARE and job.status == "InstallRebooting":
                job.status = "Rebooted"

    def _report(self, payload: Payload) -> Broken:
        number, seq_no = payload["requestId"], payload["seqNo"]
        if number not in self._reports:
            is_early = any(asked.get("requestId") == number for _, asked in self._asked.values())
            yield "report_unasked", f"report {number} {'before its answer' if is_early else 'was not asked for'}"
            return
        if seq_no != self._reports[number]:
            yield "report_seq_no", f"report {number}: part {seq_no}, expected {self._reports[number]} (B07.FR.10)"
        self._reports[number] = seq_no + 1
        if not payload.get("tbc", False):
            del self._reports[number]

    def _start(self, payload: Payload) -> Broken:
        if payload["eventType"] != "Started" or payload.get("offline"):
            return
        place = payload.get("evse", {}).get("id")
        status, since = self._statuses.get(place, ("", ""))
        if status in {"Unavailable", "Faulted"} and payload.get("timestamp", since) >= since:  # else it was told late
            yield "start_unavailable", f"a transaction at {place}, which is {status}"

    def _step(self, action: str, payload: Payload, is_asked: bool) -> Broken:
        status, moves = payload["status"], FIRMWARE_MOVES if action in FIRMWARE else LOG_MOVES
        job = self._jobs.get((action, payload.get("requestId")))
        if job is None:
            if is_asked and (status == "Idle" or self._is_of_another(action, None)):
                self.owed[action] -= 1
            else:
                yield "status_unasked", f"{action} {status} of request {payload.get('requestId')}"
            return
        before, after_boot = job.status, {"Installed"} if job.status == "Rebooted" else set()
        is_next = status in moves.get(before, set()) | after_boot
        if status == "Installed" and before == "InstallRebooting":
            yield (
                "installed_without_boot",
                f"{action} Installed after InstallRebooting, and no boot between (L01.FR.32)",
            )
        elif is_asked and (status in {before, "Idle"} or self._is_of_another(action, job)):
            self.owed[action] -= 1  # else it is a step that the charge point tells by itself, and the asked one follows
            return
        elif not is_next and not job.has_gap:
            yield "status_order_of_job", f"{action} {status} after {before or 'nothing'}"
        else:
            self.boots |= {"FirmwareUpdate", ""} if status in {"InstallRebooting", "Installing"} else set()
        job.status, job.has_gap = status, False

    def _is_of_another(self, action: str, job: Job | None) -> bool:
        """Whether what is asked for may be the status of another job of its kind, in OCPP 1.6."""
        kind = FIRMWARE if action in FIRMWARE else LOGS
        plain = {"FirmwareStatusNotification", "DiagnosticsStatusNotification"}
        others = [each for (name, _), each in self._jobs.items() if name in kind - plain and each is not job]
        return action in plain and bool(others)
