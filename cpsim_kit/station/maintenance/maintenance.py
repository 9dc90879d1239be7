"""What a station does besides charging: firmware updates, uploads of its logs, and security events.

Nothing is uploaded. Pure: no clock, no I/O. OCPP 2.0.1 part 2, A04, L01, L02 and N01; OCPP 1.6, 5.9 and 5.19, and its
security white paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.maintenance.firmware import Firmware
from cpsim_kit.station.maintenance.jobs import Job, PlannedFailure

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core
    from cpsim_kit.station.rules.events import Answer

__all__ = ["UPLOAD_FAILURES", "UPLOAD_S", "Maintenance", "Upload"]

UPLOAD_S = 10.0  # seconds that an upload takes
UPLOAD_FAILURES = ("UploadFailure", "BadMessage", "PermissionDenied", "NotSupportedOperation")

_MAX_EVENTS = 100  # security events that wait for their answer

SecurityEvent = tuple[str, float]  # the type, and when


@dataclass(slots=True)
class Upload(Job):
    """The upload of a log.

    Attributes:
        is_diagnostics: Whether GetDiagnostics of OCPP 1.6 asked for it.
    """

    is_diagnostics: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it has succeeded, or failed for good."""
        return self.status != "Uploading"


class Maintenance:
    """The firmware, the uploads and the security events of one station.

    Args:
        core: The station's core.

    Attributes:
        firmware: Its firmware.
        upload: The last upload; None before the first.
        failure: One of :data:`UPLOAD_FAILURES` that happens next.
    """

    __slots__ = ("_core", "_events", "failure", "firmware", "upload")

    def __init__(self, core: Core) -> None:
        self._core = core
        self.firmware = Firmware(core)
        self.upload: Upload | None = None
        self.failure = PlannedFailure()
        self._events: list[SecurityEvent] = []  # that the CSMS has not answered yet

    # -- What the core tells it ---------------------------------------------------------------------------------------

    def due(self) -> float:
        """When something happens by itself next; infinity for never."""
        return min(self.firmware.due(), math.inf if self.upload is None else self.upload.due)

    def fire(self, now: float) -> None:
        """Do what is due now."""
        self.firmware.fire(now)
        upload = self.upload
        if upload is not None and upload.due <= now:
            self._step(upload, now)

    def start(self, now: float) -> None:
        """The CSMS has accepted the station after a start."""
        self._send_events()
        if self.upload is not None:  # asked for while the CSMS had not accepted the station yet, or broken off
            self.upload.due = max(self.upload.due, now)
        self._resend_upload_status()
        self.firmware.start(now)

    def power_off(self) -> None:
        """The power supply is gone, which breaks an upload off."""
        if self.upload is not None and not self.upload.is_over:
            self._enter(self.upload, "UploadFailure")

    def online(self) -> None:
        """There is a connection again: say what the CSMS does not know."""
        self.firmware.resend_status()
        self._resend_upload_status()
        self._send_events()

    # -- Uploads ------------------------------------------------------------------------------------------------------

    def fail_next(self, status: str | None, attempts: int | None) -> None:
        """Let the next upload fail so; None for not at all.

        Raises:
            ValueError: There is no such failure, or ``attempts`` is below 1.
        """
        self.failure = PlannedFailure.of("an upload", status, UPLOAD_FAILURES, attempts)

    def request_upload(self, upload: Upload, oldest: float | None, latest: float | None, now: float) -> str:
        """The CSMS asks for a log.

        Args:
            upload: The upload.
            oldest: From when on, on the station's clock; None for all.
            latest: Until when; None for all.
            now: The moment.

        Returns:
            "Accepted", "AcceptedCanceled" where it takes the place of one that goes on (N01.FR.12), or "Rejected" where
            the log has nothing of that time (N01.FR.05): it begins with the station. A time that begins later than now
            is no reason: the CSMS's clock may be ahead.
        """
        if latest is not None and latest < max(oldest or 0.0, 0.0):
            return "Rejected"
        status = "Accepted"
        if self.upload is not None and not self.upload.is_over:
            status = "AcceptedCanceled"
            self._enter(self.upload, status)  # N01.FR.20
        self.upload = upload
        self._begin(upload, now)
        return status

    @property
    def progress(self) -> tuple[str, int | None]:
        """The status of the upload that goes on, and the number of its request; Idle without one (N01.FR.13)."""
        if self.upload is None or self.upload.is_over:
            return "Idle", None
        return self.upload.status, self.upload.request_id

    def _begin(self, upload: Upload, now: float) -> None:
        upload.attempts -= 1
        upload.begun, upload.is_pausing = now, False
        self._enter(upload, "Uploading", now + UPLOAD_S)

    def _step(self, upload: Upload, now: float) -> None:
        if upload.is_pausing:
            self._begin(upload, now)
            return
        upload.due = math.inf
        failure = self.failure.status
        if not self.failure.happens(failure) and self._core.queue.is_online:
            self._enter(upload, "Uploaded")
            return
        again = upload.next_attempt(now)
        if again is not None:
            upload.is_pausing, upload.due = True, again
            if again <= now:
                self._begin(upload, now)
            return
        self.failure.end(failure)
        self._enter(upload, failure or "UploadFailure")

    def _enter(self, upload: Upload, status: str, due: float = math.inf) -> None:
        upload.status, upload.due = status, due
        self._send_status(upload)

    def _send_status(self, upload: Upload) -> None:
        message = self._core.dialect.log_status(upload.status, upload.request_id, upload.is_diagnostics)
        upload.is_reported = message is None
        if message is not None:
            self._core.send(lambda: message, partial(self._reported, upload, upload.status))

    def _resend_upload_status(self) -> None:
        """Say its last status if the CSMS does not know it."""
        if self.upload is not None and not self.upload.is_reported:
            self._send_status(self.upload)

    @staticmethod
    def _reported(upload: Upload, status: str, _answer: Answer, _now: float) -> None:
        upload.is_reported = upload.is_reported or upload.status == status

    # -- Security events ----------------------------------------------------------------------------------------------

    def report_security_event(self, kind: str, now: float) -> None:
        """Say a critical security event, surely: it waits while there is no connection (A04.FR.01, .02)."""
        self._events.append((kind, now))
        del self._events[:-_MAX_EVENTS]
        self._send_event((kind, now))

    def _send_events(self) -> None:
        for event in self._events:
            self._send_event(event)

    def _send_event(self, event: SecurityEvent) -> None:
        kind, at = event
        self._core.send(partial(self._core.dialect.security_event, kind, at), partial(self._event_answered, event))

    def _event_answered(self, event: SecurityEvent, _answer: Answer, _now: float) -> None:
        if event in self._events:
            self._events.remove(event)

    # -- Memory -------------------------------------------------------------------------------------------------------

    def dump(self, epoch: float) -> dict[str, Any]:
        """What outlives the power supply, as JSON can hold it; an upload does not."""
        events = [[kind, at + epoch] for kind, at in self._events]
        return {"firmware": self.firmware.dump(epoch), "security_events": events}

    def load(self, saved: Mapping[str, Any], epoch: float) -> None:
        """Take what :meth:`dump` gave."""
        self.firmware.load(saved["firmware"], epoch)
        self._events = [(kind, at - epoch) for kind, at in saved["security_events"]]
