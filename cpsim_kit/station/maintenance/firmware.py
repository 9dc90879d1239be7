"""Firmware updates: a train of statuses by the station's clock, and the new version at the next boot.

Nothing is downloaded. Pure: no clock, no I/O. OCPP 2.0.1 part 2, L01 and L02; OCPP 1.6, 5.19, and L01 of its security
white paper.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.maintenance.jobs import Job, PlannedFailure

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core
    from cpsim_kit.station.rules.events import Answer

__all__ = ["DOWNLOAD_S", "FIRMWARE_FAILURES", "INSTALL_S", "Firmware", "Update", "version_of"]

DOWNLOAD_S = 30.0  # seconds that a download takes
INSTALL_S = 60.0  # and an installation

FIRMWARE_FAILURES = (
    "DownloadFailed",
    "InvalidCertificate",
    "RevokedCertificate",
    "InvalidSignature",
    "InstallVerificationFailed",
    "InstallationFailed",
)

_ENDS = frozenset({"Installed", *FIRMWARE_FAILURES})
_NO_CANCEL = frozenset({"Installing", "InstallRebooting"})  # an installation that has begun goes on (L01.FR.27)
_ALLOW_NEW = "ChargingStation.AllowNewSessionsPendingFirmwareUpdate"
_MAX_VERSION = 50  # characters of firmwareVersion
_PATH = re.compile(r"(?:[^:/?#]+:)?(?://[^/?#]*)?([^?#]*)")  # RFC 3986, appendix B: any text has one
_VERSION = re.compile(r"(?<!\d)\d+(?:\.\d+)+")  # the first part: a long number is looked at once only


@dataclass(slots=True)
class Update(Job):
    """A firmware update.

    Attributes:
        location: Where the firmware is said to be.
        retrieve_at: Before this moment nothing is downloaded; None for at once.
        install_at: Before this moment nothing is installed; None for as soon as possible.
        is_signed: Whether its signature is to be verified (L01).
        has_signature: Whether both the certificate and the signature are there.
        has_events: Whether the CSMS hears of its security events.
        waits: Whether only transactions keep it from being installed.
    """

    location: str = ""
    retrieve_at: float | None = None
    install_at: float | None = None
    is_signed: bool = False
    has_signature: bool = True
    has_events: bool = True
    waits: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it has succeeded, or failed for good."""
        return self.status in _ENDS


def version_of(location: str) -> str:
    """The version of the firmware at a location, from its file name: nothing is downloaded.

    It is the last number with dots in the name ("fw-2.1.0.bin" is 2.1.0), else the name without its ending; where there
    is no name, the location.
    """
    path = _PATH.match(location)
    assert path is not None
    name = PurePosixPath(path[1]).name
    numbers = _VERSION.findall(name)
    return (numbers[-1] if numbers else PurePosixPath(name).stem or location)[:_MAX_VERSION]


class Firmware:
    """The firmware of one station, and the update that goes on.

    Args:
        core: The station's core.

    Attributes:
        update: The last update; None before the first.
        version: The version that was installed by an update; None before the first.
        failure: One of :data:`FIRMWARE_FAILURES` that happens next.
    """

    __slots__ = ("_core", "failure", "update", "version")

    def __init__(self, core: Core) -> None:
        self._core = core
        self.update: Update | None = None
        self.version: str | None = None
        self.failure = PlannedFailure()

    def fail_next(self, status: str | None, attempts: int | None) -> None:
        """Let this failure happen next; None for none.

        Raises:
            ValueError: There is no such failure, or ``attempts`` is below 1.
        """
        self.failure = PlannedFailure.of("a firmware update", status, FIRMWARE_FAILURES, attempts)

    def request(self, update: Update, now: float) -> str:
        """The CSMS asks for an update.

        Returns:
            "Accepted"; "AcceptedCanceled" where it takes the place of one that goes on; "Rejected" while one is being
            installed; "InvalidCertificate" or "RevokedCertificate" if that was asked for (L01.FR.22, .24, .27).
        """
        if update.is_signed and self.failure.status in ("InvalidCertificate", "RevokedCertificate"):
            status = self.failure.status
            self.failure.happens(status)
            self.failure.end(status)
            self._core.report_security_event("InvalidFirmwareSigningCertificate", now)
            return status
        status = "Accepted"
        if self.update is not None and not self.update.is_over:
            if self.update.status in _NO_CANCEL:
                return "Rejected"
            status = "AcceptedCanceled"
            self._core.release_evses(now)
        self.update = update
        if update.retrieve_at is not None and update.retrieve_at > now:
            self._enter("DownloadScheduled", update.retrieve_at)
        else:
            self._download(now)
        return status

    @property
    def progress(self) -> tuple[str, int | None]:
        """The last status and the number of its request; Idle after Installed, and before any (L01.FR.25, .26)."""
        if self.update is None or self.update.status == "Installed":
            return "Idle", None
        return self.update.status, self.update.request_id

    @property
    def is_installing(self) -> bool:
        """Whether an installation has begun, which a reset would break off (B11.FR.06)."""
        return self.update is not None and self.update.status in _NO_CANCEL

    def due(self) -> float:
        """When its next step is due; infinity for never."""
        return math.inf if self.update is None else self.update.due

    def fire(self, now: float) -> None:
        """Take the step that is due now."""
        update = self.update
        if update is None or update.due > now:
            return
        update.due = math.inf
        match update.status:
            case "DownloadScheduled":
                self._download(now)
            case "Downloading" if update.is_pausing:
                self._download(now)
            case "Downloading":
                self._end_download(now)
            case "InstallScheduled":
                self._await_idle(now)
            case "Installing":
                self._end_installation(now)

    def react(self, now: float) -> None:
        """Something has happened: install what waits for transactions, if none is left."""
        update = self.update
        if update is None or not update.waits or not self._core.has_power:
            return
        if self._core.variables.value(_ALLOW_NEW):
            self._core.release_evses(now)
        else:
            self._core.hold_evses(now)
        if not self._is_busy:
            self._install(now)

    def start(self, now: float) -> None:
        """The station has started: new firmware is active, and what a power loss broke off begins again."""
        update = self.update
        if update is None:
            return
        update.due = max(update.due, now)  # its time came while the station was away
        match update.status:
            case "InstallRebooting":
                self._enter("Installed")
                if update.has_events:
                    self._core.report_security_event("FirmwareUpdated", now)  # L01.FR.31
            case "Downloading":
                update.attempts += 0 if update.is_pausing else 1
                self._download(now)
            case "Installing":
                self._install(now)
            case _:
                self.resend_status()

    def resend_status(self) -> None:
        """Say the last status if the CSMS does not know it."""
        if self.update is not None and not self.update.is_reported:
            self._send_status(self.update)

    # -- Steps --------------------------------------------------------------------------------------------------------

    def _download(self, now: float) -> None:
        """An attempt begins (L01.FR.30 allows to say Downloading each time)."""
        update = self._running
        update.attempts -= 1
        update.begun, update.is_pausing = now, False
        self._enter("Downloading", now + DOWNLOAD_S)

    def _end_download(self, now: float) -> None:
        update = self._running
        if self.failure.happens("DownloadFailed") or not self._core.queue.is_online:
            again = update.next_attempt(now)
            if again is None:
                self._fail("DownloadFailed")
            else:
                update.is_pausing, update.due = True, again
                self.fire(now)
            return
        self._enter("Downloaded")
        if update.is_signed:
            if self.failure.happens("InvalidSignature") or not update.has_signature:
                self._fail("InvalidSignature")
                self._core.report_security_event("InvalidFirmwareSignature", now)  # L01.FR.03
                return
            self._enter("SignatureVerified")
        if update.install_at is not None and update.install_at > now:
            self._enter("InstallScheduled", update.install_at)  # L01.FR.16, L02.FR.10
        else:
            self._await_idle(now)

    def _await_idle(self, now: float) -> None:
        """Install as soon as no transaction runs; meanwhile free EVSEs begin nothing (L01.FR.06, .07, .34)."""
        update = self._running
        if self._is_busy:
            update.waits = True
            if update.status != "InstallScheduled":
                self._enter("InstallScheduled")
            self.react(now)
        else:
            self._install(now)

    def _install(self, now: float) -> None:
        self._running.waits = False
        self._core.hold_evses(now)
        self._enter("Installing", now + INSTALL_S)

    def _end_installation(self, now: float) -> None:
        for failure in ("InstallVerificationFailed", "InstallationFailed"):
            if self.failure.happens(failure):
                self._fail(failure)
                self._core.release_evses(now)
                return
        self.version = version_of(self._running.location)
        self._enter("InstallRebooting")  # L01.FR.32, option (a)
        self._core.install(self.version)
        self._core.request_restart("FirmwareUpdate", now)

    def _fail(self, status: str) -> None:
        self.failure.end(status)
        self._enter(status)

    # -- Inside -------------------------------------------------------------------------------------------------------

    @property
    def _running(self) -> Update:
        assert self.update is not None
        return self.update

    @property
    def _is_busy(self) -> bool:
        """Whether somebody charges, or is about to, or a reset is to come, which would break an installation off."""
        uses = (each.transaction is not None or each.authorization is not None for each in self._core.places())
        return bool(self._core.restarts.step) or any(uses)

    def _enter(self, status: str, due: float = math.inf) -> None:
        update = self._running
        update.status, update.due = status, due
        self._send_status(update)

    def _send_status(self, update: Update) -> None:
        """Say the status, where the version has a word for it (L01.FR.01)."""
        message = self._core.dialect.firmware_status(update.status, update.request_id, update.is_signed)
        update.is_reported = message is None
        if message is not None:
            self._core.send(lambda: message, partial(self._reported, update, update.status))

    @staticmethod
    def _reported(update: Update, status: str, _answer: Answer, _now: float) -> None:
        update.is_reported = update.is_reported or update.status == status

    # -- Memory -------------------------------------------------------------------------------------------------------

    def dump(self, epoch: float) -> dict[str, Any]:
        """What outlives the power supply, with times as seconds since the epoch."""
        update = None if self.update is None else dataclasses.asdict(self.update)
        if update is not None:
            _shift(update, epoch)
        return {"version": self.version, "update": update}

    def load(self, saved: Mapping[str, Any], epoch: float) -> None:
        """Take what :meth:`dump` gave."""
        self.version = saved["version"]
        if self.version is not None:
            self._core.install(self.version)
        if saved["update"] is not None:
            update = dict(saved["update"])
            _shift(update, -epoch)
            self.update = Update(**update)


def _shift(update: dict[str, Any], seconds: float) -> None:
    """Move the moments of an update; JSON knows no infinity."""
    for name in ("begun", "retrieve_at", "install_at", "due"):
        value = update[name]
        if name == "due" and value is None:
            update[name] = math.inf
        elif value is not None:
            update[name] = value + seconds if math.isfinite(value) else None
