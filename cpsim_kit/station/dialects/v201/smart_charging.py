"""Charging profiles. OCPP 2.0.1 part 2, K01, K05, K08 to K13; OCPP 2.1 without setpoints, discharging and V2X."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.profiles import Period, Profile, Refused, Schedule
from cpsim_kit.station.profiles.outlook import composite
from cpsim_kit.station.rules.events import ClearProfiles, InstallProfile

if TYPE_CHECKING:
    from cpsim_kit.station.dialects import Dialect
    from cpsim_kit.station.profiles.profile import Unit
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS", "PURPOSES", "limit_message", "read_profile", "refusal", "write_limit"]

PURPOSES = {
    "ChargingStationExternalConstraints": "External",
    "ChargingStationMaxProfile": "StationMax",
    "TxDefaultProfile": "TxDefault",
    "TxProfile": "Tx",
}
_WORDS = {purpose: word for word, purpose in PURPOSES.items()}
_KINDS = ("Absolute", "Recurring", "Relative")

# What this station understands of each part; what else OCPP 2.1 has is refused, unless it says nothing.
_OF_PROFILE = {
    *("id", "stack_level", "charging_profile_purpose", "charging_profile_kind", "recurrency_kind", "valid_from"),
    *("valid_to", "transaction_id", "charging_schedule", "custom_data"),
}
_OF_SCHEDULE = {
    *("id", "start_schedule", "duration", "charging_rate_unit", "min_charging_rate", "charging_schedule_period"),
    *("sales_tariff", "custom_data"),
}
_OF_PERIOD = {"start_period", "limit", "number_phases", "phase_to_use", "custom_data"}

_PART = 10  # profiles in one ReportChargingProfiles
_PART_PERIODS = 1024  # and their periods: some 64 KB


def refusal(refused: Refused) -> dict[str, str]:
    """The statusInfo of a refusal."""
    return {"reasonCode": refused.code, "additionalInfo": str(refused)[:512]}


# -- Reading ----------------------------------------------------------------------------------------------------------


def read_profile(core: Core, fields: Mapping[str, Any]) -> Profile:
    """A chargingProfile of the CSMS.

    Raises:
        Refused: It has something that this station does not do.
        PropertyConstraintViolationError: A time is no time.
    """
    if fields["charging_profile_purpose"] not in PURPOSES:
        code = "UnsupportedPurpose" if core.dialect.version.name == "2.1" else "InvalidProfile"
        raise Refused(code, f"it has no {fields['charging_profile_purpose']} profiles", "K01")
    if fields["charging_profile_kind"] not in _KINDS:
        raise Refused("UnsupportedKind", f"it has no {fields['charging_profile_kind']} profiles", "K01")
    _require_known(fields, _OF_PROFILE)
    return Profile(
        fields["id"],
        fields["stack_level"],
        PURPOSES[fields["charging_profile_purpose"]],  # type: ignore[arg-type]
        fields["charging_profile_kind"],
        tuple(_read_schedule(core, each) for each in fields["charging_schedule"]),
        fields.get("recurrency_kind"),
        _moment(core, fields.get("valid_from")),
        _moment(core, fields.get("valid_to")),
        fields.get("transaction_id"),
    )


def _read_schedule(core: Core, fields: Mapping[str, Any]) -> Schedule:
    _require_known(fields, _OF_SCHEDULE)
    periods = []
    for each in fields["charging_schedule_period"]:
        mode = each.get("operation_mode", "ChargingOnly")
        if mode != "ChargingOnly":
            raise Refused("UnsupportedParam", f"its EVSEs have no operation mode {mode}", "Q")
        _require_known(each, _OF_PERIOD | {"operation_mode"})
        if each.get("limit") is None:
            raise Refused("InvalidSchedule", "a period without a limit", "K01")
        periods.append(Period(each["start_period"], each["limit"], each.get("number_phases"), each.get("phase_to_use")))
    return Schedule(
        fields["charging_rate_unit"],
        tuple(periods),
        _moment(core, fields.get("start_schedule")),
        fields.get("duration"),
        fields.get("min_charging_rate"),
        fields["id"],
    )


def _require_known(fields: Mapping[str, Any], known: Collection[str]) -> None:
    for name, value in fields.items():
        if name not in known and value not in (None, False):
            raise Refused("UnsupportedParam", f"this station knows no {name}", "K01")


def _moment(core: Core, text: str | None) -> float | None:
    return None if text is None else core.dialect.commanded_moment(text)


# -- Writing ----------------------------------------------------------------------------------------------------------


def write_limit(limit: float | None) -> float:
    """A limit with one decimal, never above what it was (ChargingSchedulePeriodType)."""
    return math.floor((limit or 0.0) * 10 + 1e-6) / 10


def _write_period(period: Period) -> dict[str, Any]:
    words: dict[str, Any] = {"startPeriod": round(period.start), "limit": write_limit(period.limit)}
    if period.phases is not None:
        words["numberPhases"] = period.phases
    if period.phase_to_use is not None:
        words["phaseToUse"] = period.phase_to_use
    return words


def _write_schedule(dialect: Dialect, schedule: Schedule) -> dict[str, Any]:
    words: dict[str, Any] = {
        "id": schedule.id,
        "chargingRateUnit": schedule.unit,
        "chargingSchedulePeriod": [_write_period(period) for period in schedule.periods],
    }
    if schedule.start is not None:
        words["startSchedule"] = dialect.time_of(schedule.start)
    if schedule.duration is not None:
        words["duration"] = round(schedule.duration)
    if schedule.min_rate is not None:
        words["minChargingRate"] = schedule.min_rate
    return words


def _write_profile(dialect: Dialect, profile: Profile) -> dict[str, Any]:
    words: dict[str, Any] = {
        "id": profile.id,
        "stackLevel": profile.stack_level,
        "chargingProfilePurpose": _WORDS[profile.purpose],
        "chargingProfileKind": profile.kind,
        "chargingSchedule": [_write_schedule(dialect, each) for each in profile.schedules],
    }
    if profile.recurrency is not None:
        words["recurrencyKind"] = profile.recurrency
    if profile.valid_from is not None:
        words["validFrom"] = dialect.time_of(profile.valid_from)
    if profile.valid_to is not None:
        words["validTo"] = dialect.time_of(profile.valid_to)
    if profile.transaction_id is not None:
        words["transactionId"] = profile.transaction_id
    return words


def limit_message(
    dialect: Dialect, evse_id: int, profile: Profile | None, source: str, with_schedule: bool
) -> Callable[[], Any]:
    """Makes NotifyChargingLimit, or ClearedChargingLimit for None (K11 to K13)."""
    calls = dialect.version.calls
    if profile is None:
        return partial(calls.ClearedChargingLimit, charging_limit_source=source, evse_id=evse_id or None)
    schedules = [_write_schedule(dialect, each) for each in profile.schedules] if with_schedule else None
    return partial(
        calls.NotifyChargingLimit,
        charging_limit={"chargingLimitSource": source},
        charging_schedule=schedules,
        evse_id=evse_id or None,
    )


# -- Commands ---------------------------------------------------------------------------------------------------------


def _set_charging_profile(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    results = core.dialect.version.call_results
    try:
        core.handle(InstallProfile(read_profile(core, fields["charging_profile"]), fields["evse_id"]), now)
    except Refused as refused:
        return results.SetChargingProfile(status="Rejected", status_info=refusal(refused))
    return results.SetChargingProfile(status="Accepted")


def _clear_charging_profile(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    number = fields.get("charging_profile_id")
    criteria = (number is None and fields.get("charging_profile_criteria")) or {}  # K10.FR.03
    purpose = criteria.get("charging_profile_purpose")
    event = ClearProfiles(
        number,
        criteria.get("evse_id"),
        None if purpose is None else PURPOSES.get(purpose, purpose),
        criteria.get("stack_level"),
    )
    status = "Accepted" if core.handle(event, now) else "Unknown"
    return core.dialect.version.call_results.ClearChargingProfile(status=status)


def _get_composite_schedule(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    results = core.dialect.version.call_results
    evse_id = fields["evse_id"]
    if evse_id != 0 and evse_id not in core.evses:  # K08.FR.05
        return results.GetCompositeSchedule(status="Rejected", status_info={"reasonCode": "UnknownEvse"})
    unit: Unit = fields.get("charging_rate_unit") or core.smart.usual_unit(evse_id)
    if unit not in core.smart.rules.units:  # K08.FR.07
        return results.GetCompositeSchedule(status="Rejected", status_info={"reasonCode": "UnsupportedRateUnit"})
    found = composite(core.smart, evse_id, now, fields["duration"], unit)
    schedule = {
        "evseId": evse_id,
        "duration": found.duration,
        "scheduleStart": core.dialect.time(now),
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [_write_period(period) for period in found.periods],
    }
    return results.GetCompositeSchedule(status="Accepted", schedule=schedule)


def _get_charging_profiles(core: Core, _now: float, fields: Mapping[str, Any]) -> Any:
    results, criteria = core.dialect.version.call_results, fields["charging_profile"]
    purpose = criteria.get("charging_profile_purpose")
    found = core.smart.profiles.find(
        ids=criteria.get("charging_profile_id"),
        evse_id=fields.get("evse_id"),
        purpose=None if purpose is None else PURPOSES.get(purpose, purpose),
        stack_level=criteria.get("stack_level"),
        sources=criteria.get("charging_limit_source"),
    )
    if not found:
        return results.GetChargingProfiles(status="NoProfiles", status_info={"reasonCode": "NotFound"})
    parts = _parts(found)
    for number, (evse_id, source, profiles) in enumerate(parts, start=1):
        build = partial(
            core.dialect.version.calls.ReportChargingProfiles,
            request_id=fields["request_id"],
            charging_limit_source=source,
            charging_profile=[_write_profile(core.dialect, profile) for profile in profiles],
            evse_id=evse_id,
            tbc=number < len(parts),  # K09.FR.02
        )
        core.send_requested(build)
    return results.GetChargingProfiles(status="Accepted")


def _parts(found: Sequence[tuple[int, Profile]]) -> list[tuple[int, str, list[Profile]]]:
    """The profiles of each EVSE and source, in parts that fit into a message."""

    def key(each: tuple[int, Profile]) -> tuple[int, str]:
        return each[0], each[1].source

    parts: list[tuple[int, str, list[Profile]]] = []
    for (evse_id, source), group in groupby(sorted(found, key=key), key):
        periods = math.inf
        for _, profile in group:
            count = sum(len(each.periods) for each in profile.schedules)
            if periods + count > _PART_PERIODS or len(parts[-1][2]) == _PART:
                parts.append((evse_id, source, []))
                periods = 0
            parts[-1][2].append(profile)
            periods += count
    return parts


COMMANDS: Mapping[str, Handler] = {
    "ClearChargingProfile": Handler(
        _clear_charging_profile,
        "removes the charging profiles that match, and charges without them",
        "K10.FR.01 to .09",
    ),
    "GetChargingProfiles": Handler(
        _get_charging_profiles,
        "reports the charging profiles that match, with ReportChargingProfiles",
        "K09.FR.01 to .06",
    ),
    "GetCompositeSchedule": Handler(
        _get_composite_schedule,
        "tells the limits of the next time, of all charging profiles together",
        "K08.FR.01 to .07",
    ),
    "SetChargingProfile": Handler(
        _set_charging_profile, "offers no more than the charging profile allows", "K01.FR.01 to .53, K04.FR.01 to .05"
    ),
}
