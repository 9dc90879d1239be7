"""Which profiles a station refuses, each by its requirement, and what a new one replaces. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cpsim_kit.station.profiles.profile import Period, Profile, Schedule
    from cpsim_kit.station.profiles.supply import Charging, Supply
    from cpsim_kit.station.profiles.timing import Timed

__all__ = ["Refused", "Rules", "check_duplicate", "check_profile", "replaces"]

_MOST = 2**31 - 1  # of seconds, amperes and watts: more is a mistake, and floats cannot hold any integer


class Refused(Exception):
    """A profile that the station does not install.

    Attributes:
        code: The reason code of OCPP 2.x's StatusInfo (part 2, appendix 5).
        text: Why, in one sentence.
        source: The requirement, such as "K01.FR.16".
    """

    def __init__(self, code: str, text: str, source: str) -> None:
        super().__init__(code, text, source)
        self.code = code
        self.text = text
        self.source = source

    def __str__(self) -> str:
        return f"{self.text} ({self.source})"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a version says and a station is configured to.

    Attributes:
        is_lenient: OCPP 1.6: a profile replaces the one of the same purpose, stack level and connector too (3.13.2),
            a TxProfile need not name its transaction, and a schedule without a start counts from the start of
            charging. In 2.x such profiles are refused.
        units: ChargingScheduleChargingRateUnit.
        max_stack_level: ChargingProfileMaxStackLevel.
        max_periods: PeriodsPerSchedule.
        max_profiles: ChargingProfileEntries.maxLimit.
    """

    is_lenient: bool = False
    units: tuple[str, ...] = ("A", "W")
    max_stack_level: int = 100
    max_periods: int = 1024
    max_profiles: int = 100


def check_profile(
    profile: Profile,
    evse_id: int,
    supplies: Mapping[int, Supply],
    chargings: Mapping[int, Charging] | None,
    rules: Rules,
) -> None:
    """Check all that does not depend on other profiles; for the arguments see ``Profiles.check``.

    Raises:
        Refused: The station does not install it.
    """
    if evse_id != 0 and evse_id not in supplies:
        raise Refused("UnknownEvse", f"There is no EVSE {evse_id}.", "K01.FR.28")
    if chargings is None:
        _check_start(profile)
    _check_purpose(profile, evse_id)
    if not 0 <= profile.stack_level <= rules.max_stack_level:
        text = f"Stack levels go from 0 to {rules.max_stack_level}."
        raise Refused("InvalidStackLevel", text, "ChargingProfileMaxStackLevel")
    if profile.purpose == "Tx" and chargings is not None:
        _check_transaction(profile, evse_id, chargings, rules)
    if None not in (profile.valid_from, profile.valid_to) and profile.valid_from >= profile.valid_to:  # type: ignore[operator]
        raise Refused("InvalidProfile", "validFrom is not before validTo.", "K01.FR.36, K01.FR.37")
    if profile.kind == "Recurring" and profile.recurrency is None:
        raise Refused("InvalidProfile", "A recurring profile says Daily or Weekly.", "ChargingProfileType")
    if len(profile.schedules) != 1:
        raise Refused("InvalidProfile", "A profile without ISO 15118 has one schedule.", "K01.FR.34")
    _check_schedule(profile, profile.schedules[0], rules)
    fed = list(supplies.values()) if evse_id == 0 else [supplies[evse_id]]
    for period in profile.schedules[0].periods:
        _check_phases(period, [supply for supply in fed if supply.phases])


def _check_start(profile: Profile) -> None:
    if profile.purpose != "Tx":
        text = "A profile that comes with a start is a TxProfile."
        raise Refused("InvalidProfile", text, "F01.FR.09, F01.FR.26")
    if profile.transaction_id is not None:
        text = "A profile that comes with a start names no transaction yet."
        raise Refused("InvalidProfile", text, "F01.FR.11, F01.FR.26")


def _check_purpose(profile: Profile, evse_id: int) -> None:
    if profile.purpose == "External":
        raise Refused("InvalidProfile", "Limits from outside are not the CSMS's to set.", "K01.FR.22")
    if profile.purpose == "StationMax" and profile.kind == "Relative":
        raise Refused("InvalidProfile", "A station's maximum is not relative to a transaction.", "K01.FR.38")
    if profile.purpose == "StationMax" and evse_id != 0:
        raise Refused("InvalidProfile", "A station's maximum is set at EVSE 0.", "part 2, block K, 3.2")
    if profile.purpose == "Tx" and evse_id == 0:
        raise Refused("InvalidProfile", "A TxProfile is of one EVSE, not of EVSE 0.", "K01.FR.16")


def _check_transaction(profile: Profile, evse_id: int, chargings: Mapping[int, Charging], rules: Rules) -> None:
    charging = chargings.get(evse_id)
    if charging is None:
        raise Refused("TxNotFound", f"No transaction runs at EVSE {evse_id}.", "K01.FR.09")
    if profile.transaction_id is None:
        if not rules.is_lenient:
            raise Refused("InvalidProfile", "A TxProfile names its transaction.", "K01.FR.03")
    elif profile.transaction_id != charging.id:
        text = f"No transaction {profile.transaction_id} runs at EVSE {evse_id}."
        raise Refused("TxNotFound", text, "K01.FR.33")


def _check_schedule(profile: Profile, schedule: Schedule, rules: Rules) -> None:
    if schedule.unit not in rules.units:
        raise Refused("UnsupportedRateUnit", f"Limits are in {' or '.join(rules.units)}.", "K01.FR.26")
    if not rules.is_lenient:
        if profile.kind != "Relative" and schedule.start is None:
            raise Refused("InvalidSchedule", f"A schedule that is {profile.kind} has a start.", "K01.FR.40")
        if profile.kind == "Relative" and schedule.start is not None:
            raise Refused("InvalidSchedule", "A relative schedule has no start of its own.", "K01.FR.41")
    numbers = [schedule.duration, schedule.min_rate]
    numbers += [number for period in schedule.periods for number in (period.start, period.limit)]
    if not all(number is None or abs(number) <= _MOST for number in numbers):  # so that NaN is refused, too
        raise Refused("InvalidSchedule", f"A number is at most {_MOST}.", "ChargingScheduleType")
    if schedule.duration is not None and schedule.duration <= 0:
        raise Refused("InvalidSchedule", "A duration is above 0.", "ChargingScheduleType")
    if len(schedule.periods) > rules.max_periods:
        raise Refused("InvalidSchedule", f"A schedule has at most {rules.max_periods} periods.", "PeriodsPerSchedule")
    if not schedule.periods or schedule.periods[0].start != 0:
        raise Refused("InvalidSchedule", "The first period starts at 0.", "K01.FR.31")
    if any(one.start >= other.start for one, other in pairwise(schedule.periods)):
        raise Refused("InvalidSchedule", "Each period starts after the one before it.", "K01.FR.35")
    if any(period.limit is None or period.limit < 0 for period in schedule.periods):
        raise Refused("InvalidSchedule", "A limit is at least 0.", "ChargingSchedulePeriodType")


def _check_phases(period: Period, fed: list[Supply]) -> None:
    """Phases of a period against the AC EVSEs concerned; for DC they are ignored (K01.FR.44)."""
    phases = 3 if period.phases is None else period.phases
    if not 1 <= phases <= 3:
        raise Refused("InvalidSchedule", "A period has 1 to 3 phases.", "ChargingSchedulePeriodType")
    for supply in fed:
        if phases < supply.phases and not supply.can_reduce_phases:
            text = f"An EVSE here cannot be kept to {phases} of its {supply.phases} phases."
            raise Refused("InvalidSchedule", text, "K01.FR.43")
    if period.phase_to_use is None or not fed:
        return
    if not 1 <= period.phase_to_use <= 3:
        raise Refused("InvalidSchedule", "phaseToUse is 1, 2 or 3.", "ChargingSchedulePeriodType")
    if phases != 1:
        raise Refused("InvalidSchedule", "phaseToUse needs numberPhases 1.", "K01.FR.19")
    for supply in fed:
        if not supply.can_switch_phase and period.phase_to_use != supply.phase:
            text = f"An EVSE here uses phase {supply.phase} and cannot switch to another."
            raise Refused("InvalidSchedule", text, "K01.FR.20, K01.FR.48")


def replaces(profile: Profile, evse_id: int, each: Timed, rules: Rules) -> bool:
    """Whether a new profile takes the place of an installed one (K01.FR.05; 1.6, 3.13.2)."""
    old = each.profile
    if old.purpose == "External":
        return False
    if old.id == profile.id:
        return True
    is_same = each.evse_id == evse_id and old.purpose == profile.purpose and old.stack_level == profile.stack_level
    return rules.is_lenient and is_same


def check_duplicate(profile: Profile, evse_id: int, each: Timed) -> None:
    """Check that a new profile may stand beside an installed one.

    Raises:
        Refused: It may not, in OCPP 2.x.
    """
    old = each.profile
    if old.purpose != profile.purpose or old.stack_level != profile.stack_level:
        return
    name = f"Profile {old.id} has the purpose {old.purpose} and the stack level {old.stack_level}"
    if profile.purpose == "Tx":
        if each.evse_id == evse_id and old.transaction_id == profile.transaction_id:
            raise Refused("DuplicateProfile", f"{name} in this transaction.", "K01.FR.39")
        return
    if each.evse_id == evse_id:
        if _overlap(old, profile):
            raise Refused("DuplicateProfile", f"{name} here, and is valid at the same time.", "K01.FR.06")
    elif profile.purpose == "TxDefault" and evse_id == 0:
        raise Refused("DuplicateProfile", f"{name} on EVSE {each.evse_id}.", "K01.FR.52")
    elif profile.purpose == "TxDefault" and each.evse_id == 0:
        raise Refused("DuplicateProfile", f"{name} on EVSE 0, for all EVSEs.", "K01.FR.53")


def _overlap(one: Profile, other: Profile) -> bool:
    """Whether there is a moment when both are valid."""
    since = max(-math.inf if each.valid_from is None else each.valid_from for each in (one, other))
    until = min(math.inf if each.valid_to is None else each.valid_to for each in (one, other))
    return since < until
