"""Which charging profiles are refused, each by its requirement, and what a new one replaces."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from cpsim_kit.station.profiles import Charging, Period, Profile, Profiles, Refused, Rules, Schedule, Supply

V16, V2 = Rules(is_lenient=True), Rules()
SUPPLIES = {
    1: Supply(230, 3),
    2: Supply(400, 0),
    3: Supply(230, 1, phase=2),
    4: Supply(230, 3, can_reduce_phases=False),
}
RUNNING = {1: Charging("T", 0)}
SCHEDULE = Schedule("A", (Period(0, 16), Period(60, 10)), start=0)


def profile(profile_id: int = 1, purpose: Any = "TxDefault", **changes: Any) -> Profile:
    """A profile that every version accepts, changed."""
    kind = changes.pop("kind", "Absolute")
    level = changes.pop("stack_level", 0)
    schedule = replace(SCHEDULE, **changes.pop("schedule", {}))
    return Profile(profile_id, level, purpose, kind, changes.pop("schedules", (schedule,)), **changes)


def periods(*made: Period) -> dict[str, Any]:
    return {"schedule": {"periods": made}}


def station_max(profile_id: int = 1, **changes: Any) -> Profile:
    return profile(profile_id, "StationMax", **changes)


def tx(profile_id: int = 1, transaction_id: str | None = "T", **changes: Any) -> Profile:
    return profile(profile_id, "Tx", transaction_id=transaction_id, **changes)


ONE_OF_2 = periods(Period(0, 16, 1, phase_to_use=2))

# The requirement, its reason code, the EVSE, the profile: whatever else is installed.
REFUSALS: list[tuple[str, str, int, Profile]] = [
    ("K01.FR.03", "InvalidProfile", 1, tx(transaction_id=None)),
    ("K01.FR.09", "TxNotFound", 2, tx()),
    ("K01.FR.16", "InvalidProfile", 0, tx()),
    ("K01.FR.19", "InvalidSchedule", 1, profile(**periods(Period(0, 16, 3, phase_to_use=1)))),
    ("K01.FR.19", "InvalidSchedule", 1, profile(**periods(Period(0, 16, phase_to_use=1)))),
    ("K01.FR.20, K01.FR.48", "InvalidSchedule", 1, profile(**ONE_OF_2)),
    ("K01.FR.22", "InvalidProfile", 1, profile(purpose="External")),
    ("K01.FR.28", "UnknownEvse", 5, profile()),
    ("K01.FR.28", "UnknownEvse", -1, profile()),
    ("K01.FR.31", "InvalidSchedule", 1, profile(**periods(Period(1, 16)))),
    ("K01.FR.31", "InvalidSchedule", 1, profile(**periods())),
    ("K01.FR.33", "TxNotFound", 1, tx(transaction_id="OLD")),
    ("K01.FR.34", "InvalidProfile", 1, profile(schedules=(SCHEDULE, SCHEDULE))),
    ("K01.FR.34", "InvalidProfile", 1, profile(schedules=())),
    ("K01.FR.35", "InvalidSchedule", 1, profile(**periods(Period(0, 1), Period(9, 1), Period(8, 1)))),
    ("K01.FR.35", "InvalidSchedule", 1, profile(**periods(Period(0, 1), Period(9, 1), Period(9, 2)))),
    ("K01.FR.38", "InvalidProfile", 0, station_max(kind="Relative", schedule={"start": None})),
    ("part 2, block K, 3.2", "InvalidProfile", 1, station_max()),
    ("K01.FR.40", "InvalidSchedule", 1, profile(schedule={"start": None})),
    ("K01.FR.40", "InvalidSchedule", 1, profile(kind="Recurring", recurrency="Daily", schedule={"start": None})),
    ("K01.FR.41", "InvalidSchedule", 1, profile(kind="Relative")),
    ("K01.FR.43", "InvalidSchedule", 4, profile(**periods(Period(0, 16, 2)))),
    ("K01.FR.43", "InvalidSchedule", 0, profile(**periods(Period(0, 16), Period(9, 16, 1)))),
    ("K01.FR.36, K01.FR.37", "InvalidProfile", 1, profile(valid_from=5, valid_to=5)),
    ("ChargingProfileType", "InvalidProfile", 1, profile(kind="Recurring")),
    ("ChargingSchedulePeriodType", "InvalidSchedule", 1, profile(**periods(Period(0, -1)))),
    ("ChargingSchedulePeriodType", "InvalidSchedule", 1, profile(**periods(Period(0, 16, 4)))),
    ("ChargingSchedulePeriodType", "InvalidSchedule", 1, profile(**periods(Period(0, 16, 1, phase_to_use=4)))),
    ("ChargingScheduleType", "InvalidSchedule", 1, profile(schedule={"duration": 0})),
    ("ChargingScheduleType", "InvalidSchedule", 1, profile(schedule={"duration": 2**31})),
    ("ChargingScheduleType", "InvalidSchedule", 1, profile(schedule={"duration": 10**400})),
    ("ChargingScheduleType", "InvalidSchedule", 1, profile(schedule={"min_rate": -(10**400)})),
    ("ChargingScheduleType", "InvalidSchedule", 1, profile(**periods(Period(0, 1), Period(10**400, 1)))),
    ("ChargingScheduleType", "InvalidSchedule", 1, profile(**periods(Period(0, 10**400)))),
    ("ChargingScheduleType", "InvalidSchedule", 1, profile(**periods(Period(0, math.inf)))),
    ("ChargingScheduleType", "InvalidSchedule", 1, profile(**periods(Period(0, math.nan)))),
    ("ChargingProfileMaxStackLevel", "InvalidStackLevel", 1, profile(stack_level=101)),
    ("ChargingProfileMaxStackLevel", "InvalidStackLevel", 1, profile(stack_level=-1)),
    ("PeriodsPerSchedule", "InvalidSchedule", 1, profile(**periods(*(Period(each, 1) for each in range(1025))))),
]
# What 1.6 accepts of these: it has neither the requirement nor a field for it.
ACCEPTED_IN_16 = {"K01.FR.03", "K01.FR.40", "K01.FR.41"}


@pytest.mark.parametrize(("source", "code", "evse_id", "refused"), REFUSALS)
def test_a_profile_is_refused_by_its_requirement(source: str, code: str, evse_id: int, refused: Profile) -> None:
    profiles = Profiles()
    with pytest.raises(Refused) as error:
        profiles.install(refused, evse_id, SUPPLIES, RUNNING, V2)
    assert (error.value.source, error.value.code) == (source, code)
    assert source in str(error.value)
    assert len(profiles) == 0
    if source in ACCEPTED_IN_16:
        profiles.install(refused, evse_id, SUPPLIES, RUNNING, V16)
        assert len(profiles) == 1
    else:
        with pytest.raises(Refused):
            profiles.install(refused, evse_id, SUPPLIES, RUNNING, V16)


ACCEPTED: list[tuple[str, int, Profile]] = [
    ("K01.FR.15", 1, profile()),
    ("K01.FR.14", 0, profile()),
    ("K01.FR.04", 1, tx()),
    ("3.2", 0, station_max(**periods(Period(0, 16)))),
    ("K01.FR.41", 1, profile(kind="Relative", schedule={"start": None})),
    ("K01.FR.44: DC ignores phases", 2, profile(**ONE_OF_2)),
    ("K01.FR.45: more phases than it has", 3, profile(**periods(Period(0, 16, 3)))),
    ("K01.FR.46: it uses that phase anyhow", 3, profile(**ONE_OF_2)),
    ("K01.FR.43: all of its phases", 4, profile(**periods(Period(0, 16, 3)))),
    ("a limit of 0", 1, profile(**periods(Period(0, 0)))),
    ("the longest duration", 1, profile(schedule={"duration": 2**31 - 1})),
]


@pytest.mark.parametrize(("why", "evse_id", "accepted"), ACCEPTED)
@pytest.mark.parametrize("rules", [V16, V2])
def test_a_profile_is_accepted(why: str, evse_id: int, accepted: Profile, rules: Rules) -> None:
    profiles = Profiles()
    profiles.install(accepted, evse_id, SUPPLIES, RUNNING, rules)
    assert profiles.find() == [(evse_id, accepted)]


def test_an_evse_that_can_switch_its_phase_takes_any() -> None:
    Profiles().install(profile(**ONE_OF_2), 1, {1: Supply(can_switch_phase=True)}, {}, V2)


def test_a_unit_that_is_not_configured_is_refused() -> None:
    with pytest.raises(Refused) as error:
        Profiles().install(profile(schedule={"unit": "W"}), 1, SUPPLIES, RUNNING, Rules(units=("A",)))
    assert (error.value.source, error.value.code) == ("K01.FR.26", "UnsupportedRateUnit")


def test_a_station_holds_so_many_profiles_and_a_replacement_is_no_more() -> None:
    profiles, rules = Profiles(), Rules(max_profiles=2)
    profiles.install(profile(1), 1, SUPPLIES, RUNNING, rules)
    profiles.install(profile(2, stack_level=1), 1, SUPPLIES, RUNNING, rules)
    profiles.install(profile(2, stack_level=2), 1, SUPPLIES, RUNNING, rules)
    with pytest.raises(Refused) as error:
        profiles.install(profile(3, stack_level=3), 1, SUPPLIES, RUNNING, rules)
    assert (error.value.source, error.value.code) == ("ChargingProfileEntries", "TooManyElements")


# With the command to start a transaction: None where it is accepted.
STARTS: list[tuple[str | None, Profile]] = [
    (None, tx(transaction_id=None)),
    ("F01.FR.11, F01.FR.26", tx()),
    ("F01.FR.09, F01.FR.26", profile()),
    ("F01.FR.09, F01.FR.26", station_max()),
    ("K01.FR.31", tx(transaction_id=None, **periods(Period(1, 16)))),
    ("K01.FR.40", tx(transaction_id=None, schedule={"start": None})),
]


@pytest.mark.parametrize(("source", "brought"), STARTS)
def test_a_profile_that_comes_with_a_start(source: str | None, brought: Profile) -> None:
    profiles = Profiles()
    if source is None:
        profiles.check(brought, 1, SUPPLIES, None, V2)
    else:
        with pytest.raises(Refused) as error:
            profiles.check(brought, 1, SUPPLIES, None, V2)
        assert error.value.source == source
    assert len(profiles) == 0


YEAR = {"valid_from": 0, "valid_to": 100}
NEXT_YEAR = {"valid_from": 100, "valid_to": 200}

# What is installed, what comes; for 2.x the requirement that refuses it, and for each version the ids that stay.
MEETINGS: list[tuple[str, tuple[int, Profile], tuple[int, Profile], str | None, list[int], list[int]]] = [
    ("the id again", (1, profile(1)), (1, profile(1, stack_level=4)), None, [1], [1]),
    ("the id again, at another EVSE", (1, profile(1)), (2, profile(1)), None, [1], [1]),
    ("the id again, of another purpose", (1, profile(1)), (0, station_max(1)), None, [1], [1]),
    ("same level and purpose", (1, profile(1)), (1, profile(2)), "K01.FR.06", [2], [1]),
    ("the station's maximum again", (0, station_max(1)), (0, station_max(2)), "K01.FR.06", [2], [1]),
    ("at overlapping times", (1, profile(1, **YEAR)), (1, profile(2, valid_from=99)), "K01.FR.06", [2], [1]),
    ("at other times", (1, profile(1, **YEAR)), (1, profile(2, **NEXT_YEAR)), None, [2], [1, 2]),
    ("at another level", (1, profile(1)), (1, profile(2, stack_level=1)), None, [1, 2], [1, 2]),
    ("at another EVSE", (1, profile(1)), (2, profile(2)), None, [1, 2], [1, 2]),
    ("of another purpose", (1, profile(1)), (1, tx(2)), None, [1, 2], [1, 2]),
    ("for the same transaction", (1, tx(1)), (1, tx(2)), "K01.FR.39", [2], [1]),
    ("for it at other times", (1, tx(1, **YEAR)), (1, tx(2, **NEXT_YEAR)), "K01.FR.39", [2], [1]),
    ("for it at another level", (1, tx(1)), (1, tx(2, stack_level=1)), None, [1, 2], [1, 2]),
    ("for all, and one is there", (1, profile(1)), (0, profile(2)), "K01.FR.52", [1, 2], [1]),
    ("for one, and one for all is there", (0, profile(1)), (1, profile(2)), "K01.FR.53", [1, 2], [1]),
    ("for one at another level", (0, profile(1)), (1, profile(2, stack_level=1)), None, [1, 2], [1, 2]),
    ("for one at other times", (0, profile(1, **YEAR)), (1, profile(2, **NEXT_YEAR)), "K01.FR.53", [1, 2], [1]),
]


@pytest.mark.parametrize(("name", "first", "second", "source", "in_16", "in_2"), MEETINGS)
def test_what_a_profile_replaces(
    name: str,
    first: tuple[int, Profile],
    second: tuple[int, Profile],
    source: str | None,
    in_16: list[int],
    in_2: list[int],
) -> None:
    for rules, ids in ((V16, in_16), (V2, in_2)):
        profiles = Profiles()
        profiles.install(first[1], first[0], SUPPLIES, RUNNING, rules)
        if rules is V2 and source is not None:
            with pytest.raises(Refused) as error:
                profiles.install(second[1], second[0], SUPPLIES, RUNNING, rules)
            assert (error.value.source, error.value.code) == (source, "DuplicateProfile")
        else:
            profiles.install(second[1], second[0], SUPPLIES, RUNNING, rules)
            assert second in profiles.find()
        assert sorted(found.id for _, found in profiles.find()) == ids


def test_the_csms_cannot_replace_a_limit_from_outside() -> None:
    profiles = Profiles()
    profiles.constrain(profile(1, "External"), 0)
    for rules in (V16, V2):
        with pytest.raises(Refused) as error:
            profiles.install(profile(1), 1, SUPPLIES, RUNNING, rules)
        assert (error.value.source, error.value.code) == ("K01.FR.05", "InvalidProfile")
    assert [found.purpose for _, found in profiles.find()] == ["External"]


def test_a_limit_from_outside_comes_and_goes_from_outside() -> None:
    profiles = Profiles()
    profiles.install(profile(2), 1, SUPPLIES, RUNNING, V2)
    profiles.constrain(profile(1, "External"), 0)
    profiles.constrain(profile(1, "External", stack_level=3), 0)
    assert [found.stack_level for _, found in profiles.find(purpose="External")] == [3]
    with pytest.raises(ValueError, match="not TxDefault"):
        profiles.constrain(profile(1), 0)
    with pytest.raises(ValueError, match="the id 2"):
        profiles.constrain(profile(2, "External"), 0)
    assert profiles.clear() == 1
    assert profiles.clear(profile_id=1) == 0
    assert not profiles.release(2)
    assert profiles.release(1)
    assert profiles.find() == []
