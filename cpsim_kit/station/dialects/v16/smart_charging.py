"""Charging profiles. OCPP 1.6, 3.13, 5.5, 5.7 and 5.16."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.profiles import Period, Profile, Refused, Schedule
from cpsim_kit.station.profiles.outlook import composite
from cpsim_kit.station.rules.events import ClearProfiles, InstallProfile

if TYPE_CHECKING:
    from cpsim_kit.station.profiles.profile import Unit
    from cpsim_kit.station.rules.core import Core

__all__ = ["COMMANDS", "PURPOSES", "read_profile"]

PURPOSES = {"ChargePointMaxProfile": "StationMax", "TxDefaultProfile": "TxDefault", "TxProfile": "Tx"}


def read_profile(core: Core, fields: Mapping[str, Any]) -> Profile:
    """A charging profile of the CSMS.

    Raises:
        PropertyConstraintViolationError: A time is no time.
    """
    schedule, transaction_id = fields["charging_schedule"], fields.get("transaction_id")
    periods = tuple(
        Period(each["start_period"], each["limit"], each.get("number_phases"))
        for each in schedule["charging_schedule_period"]
    )
    return Profile(
        fields["charging_profile_id"],
        fields["stack_level"],
        PURPOSES[fields["charging_profile_purpose"]],  # type: ignore[arg-type]
        fields["charging_profile_kind"],
        (
            Schedule(
                schedule["charging_rate_unit"],
                periods,
                _moment(core, schedule.get("start_schedule")),
                schedule.get("duration"),
                schedule.get("min_charging_rate"),
            ),
        ),
        fields.get("recurrency_kind"),
        _moment(core, fields.get("valid_from")),
        _moment(core, fields.get("valid_to")),
        None if transaction_id is None else str(transaction_id),
    )


def _moment(core: Core, text: str | None) -> float | None:
    return None if text is None else core.dialect.commanded_moment(text)


def _set_charging_profile(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    results = core.dialect.version.call_results
    try:
        core.handle(InstallProfile(read_profile(core, fields["cs_charging_profiles"]), fields["connector_id"]), now)
    except Refused:
        return results.SetChargingProfile(status="Rejected")
    return results.SetChargingProfile(status="Accepted")


def _clear_charging_profile(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    purpose = fields.get("charging_profile_purpose")
    event = ClearProfiles(
        fields.get("id"),
        fields.get("connector_id"),
        None if purpose is None else PURPOSES[purpose],
        fields.get("stack_level"),
    )
    status = "Accepted" if core.handle(event, now) else "Unknown"
    return core.dialect.version.call_results.ClearChargingProfile(status=status)


def _get_composite_schedule(core: Core, now: float, fields: Mapping[str, Any]) -> Any:
    results = core.dialect.version.call_results
    connector_id = fields["connector_id"]
    if connector_id != 0 and connector_id not in core.evses:
        return results.GetCompositeSchedule(status="Rejected")
    unit: Unit = fields.get("charging_rate_unit") or core.smart.usual_unit(connector_id)
    if unit not in core.smart.rules.units:
        return results.GetCompositeSchedule(status="Rejected")
    found = composite(core.smart, connector_id, now, fields["duration"], unit)
    periods = []
    for period in found.periods:
        limit = math.floor((period.limit or 0.0) * 10 + 1e-6) / 10  # 7.13: one decimal
        periods.append({"startPeriod": round(period.start), "limit": limit})
        if period.phases is not None:
            periods[-1]["numberPhases"] = period.phases
    start = core.dialect.time(now)
    return results.GetCompositeSchedule(
        status="Accepted",
        connector_id=connector_id,
        schedule_start=start,
        charging_schedule={
            "duration": found.duration,
            "startSchedule": start,
            "chargingRateUnit": unit,
            "chargingSchedulePeriod": periods,
        },
    )


COMMANDS: Mapping[str, Handler] = {
    "ClearChargingProfile": Handler(
        _clear_charging_profile, "removes the charging profiles that match, and charges without them", "5.5"
    ),
    "GetCompositeSchedule": Handler(
        _get_composite_schedule, "tells the limits of the next time, of all charging profiles together", "5.7"
    ),
    "SetChargingProfile": Handler(
        _set_charging_profile, "offers no more than the charging profile allows", "3.13, 5.16"
    ),
}
