"""A charging profile as both versions of OCPP mean it. Pure data; moments are seconds since the epoch, in UTC.

The names are the kit's own; a dialect translates them from and to its version's messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "Period", "Profile", "Purpose", "Recurrency", "Schedule", "Unit"]

Unit = Literal["A", "W"]
Purpose = Literal["StationMax", "External", "TxDefault", "Tx"]
Kind = Literal["Absolute", "Recurring", "Relative"]
Recurrency = Literal["Daily", "Weekly"]


@dataclass(frozen=True, slots=True)
class Period:
    """One step of a schedule: from its start until the next one's (K01.FR.12).

    Attributes:
        start: Seconds since the schedule's start.
        limit: Amperes per phase (K01.FR.51), or watts over all phases, by the schedule's unit. None, in a composite
            schedule only, where no profile limits anything.
        phases: How many phases may be used; None for 3 (K01.FR.49).
        phase_to_use: Which phase, from 1 to 3, when ``phases`` is 1; None for any.
    """

    start: float
    limit: float | None
    phases: int | None = None
    phase_to_use: int | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Limits over time.

    Attributes:
        unit: A or W.
        periods: The first starts at 0.
        start: When it starts; None for a relative one.
        duration: Seconds after which it ends; None for never.
        min_rate: Charging below this is inefficient (K01.FR.21), in ``unit``; None when it is not said.
        id: OCPP 2.x's id of the schedule.
    """

    unit: Unit
    periods: tuple[Period, ...]
    start: float | None = None
    duration: float | None = None
    min_rate: float | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class Profile:
    """A charging profile.

    Attributes:
        id: Unique at a station.
        stack_level: The highest level that has a period at a moment leads.
        purpose: StationMax (ChargingStationMaxProfile, ChargePointMaxProfile), External
            (ChargingStationExternalConstraints), TxDefault (TxDefaultProfile), or Tx (TxProfile).
        kind: What the schedule's start counts from.
        schedules: One; more are refused (K01.FR.34), as no vehicle here speaks ISO 15118.
        recurrency: Of a recurring one.
        valid_from: Valid from this moment on; None for always.
        valid_to: Valid until just before this moment; None for always.
        transaction_id: Of a Tx profile; None for whichever transaction runs at its EVSE.
        source: Who set it: CSO, EMS, SO or Other (ChargingLimitSourceEnumType).
    """

    id: int
    stack_level: int
    purpose: Purpose
    kind: Kind
    schedules: tuple[Schedule, ...]
    recurrency: Recurrency | None = None
    valid_from: float | None = None
    valid_to: float | None = None
    transaction_id: str | None = None
    source: str = "CSO"
