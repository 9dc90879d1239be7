"""What firmware updates and uploads of logs have in common: attempts, and failures on request. No clock, no I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

__all__ = ["LONGEST_INTERVAL", "Job", "PlannedFailure"]

LONGEST_INTERVAL = 1e12  # seconds between two attempts; the schemas set no limit, but a float has one


@dataclass(slots=True)
class Job:
    """Something that the CSMS asked for, that takes time, and that may need several attempts.

    Attributes:
        request_id: The CSMS's number for it; None where it gave none.
        attempts: How many attempts are left.
        interval: Seconds from the begin of a failed attempt to the next one.
        status: The last status, a word of OCPP 2.0.1.
        due: When its next step is due; infinity for never.
        begun: When the last attempt began.
        is_pausing: Whether it waits for its next attempt.
        is_reported: Whether the CSMS knows the status.
    """

    request_id: int | None = None
    attempts: int = 1
    interval: float = 0.0
    status: str = ""
    due: float = math.inf
    begun: float = 0.0
    is_pausing: bool = False
    is_reported: bool = True

    def next_attempt(self, now: float) -> float | None:
        """When the next attempt begins after one that failed now; None if none is left."""
        return max(now, self.begun + self.interval) if self.attempts > 0 else None


@dataclass(slots=True)
class PlannedFailure:
    """A failure that somebody has asked for.

    Attributes:
        status: How a job fails, a word of OCPP 2.0.1; "" for not at all.
        attempts: How many attempts fail so; None for all, until one job has failed for good.
    """

    status: str = ""
    attempts: int | None = None

    @classmethod
    def of(cls, what: str, status: str | None, known: Sequence[str], attempts: int | None) -> Self:
        """What somebody asks for; None for no failure.

        Args:
            what: What fails, for the error.
            status: One of ``known``, or None.
            known: How it can fail.
            attempts: As above.

        Raises:
            ValueError: There is no such failure, or ``attempts`` is below 1.
        """
        if status is not None and status not in known:
            raise ValueError(f"{what} fails with {', '.join(known)}, not {status!r}")
        if attempts is not None and (isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1):
            raise ValueError(f"attempts is a whole number from 1 on, or None, not {attempts!r}")
        return cls(status or "", attempts)

    def happens(self, status: str) -> bool:
        """Whether this attempt fails so."""
        if not status or self.status != status:
            return False
        if self.attempts is not None:
            self.attempts -= 1
            if not self.attempts:
                self.status = ""
        return True

    def end(self, status: str) -> None:
        """A job has failed so for good."""
        if self.status == status and self.attempts is None:
            self.status = ""
