"""Charging profiles: which leads at a moment, composite schedules, and what is cleared and found."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest

from cpsim_kit.station.profiles import NO_LIMIT, Charging, Period, Profile, Profiles, Rules, Schedule, Supply

AC, ONE_PHASE, DC = Supply(230, 3), Supply(230, 1), Supply(400, 0)
SUPPLIES = {1: AC, 2: ONE_PHASE, 3: DC}
V16, V2 = Rules(is_lenient=True), Rules()
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
Steps = dict[float, float | None]


def profile(steps: dict[float, float], purpose: Any = "TxDefault", level: int = 0, **changes: Any) -> Profile:
    """A profile of amperes by the second, from NOW on unless said otherwise."""
    kind = changes.pop("kind", "Recurring" if "recurrency" in changes else "Absolute")
    schedule = Schedule(
        unit=changes.pop("unit", "A"),
        periods=tuple(Period(start, limit, changes.get("phases")) for start, limit in steps.items()),
        start=None if kind == "Relative" else changes.pop("start", NOW),
        duration=changes.pop("duration", None),
        min_rate=changes.pop("min_rate", None),
    )
    changes.pop("phases", None)
    profile_id = changes.pop("profile_id", 0)
    return Profile(profile_id, level, purpose, kind, (schedule,), **changes)


def installed(*rows: tuple[int, Profile], rules: Rules = V2) -> Profiles:
    """Profiles with those, their ids from 1 unless they have one."""
    profiles = Profiles()
    for number, (evse_id, each) in enumerate(rows, start=1):
        made = Profile(each.id or number, *(getattr(each, name) for name in Profile.__slots__[1:]))
        if made.purpose == "External":
            profiles.constrain(made, evse_id)
        else:
            profiles.install(made, evse_id, SUPPLIES, {1: Charging("T", NOW)}, rules)
    return profiles


def steps_of(composite: tuple[Period, ...]) -> Steps:
    return {step.start: step.limit for step in composite}


def composite(
    profiles: Profiles, duration: float, *, evse_id: int = 1, start: float = NOW, charging: Charging | None = None
) -> Steps:
    return steps_of(profiles.composite(evse_id, start, duration, "A", SUPPLIES.get(evse_id, AC), charging))


# OCA's own examples (part 6, as amended by errata 6.2.72-6.2.74): the steps from x seconds after the start on.
TC_K_40 = [
    (1, profile({0: 6, 100: 8, 200: 10}, duration=400, valid_from=NOW, valid_to=NOW + 401)),
    (1, profile({0: 7, 100: 9}, level=1, duration=150, valid_from=NOW, valid_to=NOW + 401)),
]
TC_K_41 = [
    (0, profile({0: 10}, "StationMax", duration=86_400)),
    (1, profile({0: 6, 60: 10, 120: 8, 180: 15, 260: 8}, duration=300, valid_from=NOW, valid_to=NOW + 401)),
    (
        1,
        profile(
            {0: 8, 50: 11, 140: 16, 200: 6, 240: 12},
            "Tx",
            duration=260,
            valid_from=NOW,
            valid_to=NOW + 401,
            transaction_id="T",
        ),
    ),
]
OCA: list[tuple[str, list[tuple[int, Profile]], Charging | None, float, Steps]] = [
    ("TC_K_40", TC_K_40, None, 350, {0: 7, 100: 9, 150: 8, 200: 10}),
    ("TC_K_41", TC_K_41, Charging("T", NOW), 400, {0: 8, 50: 10, 200: 6, 240: 10, 260: 8, 300: 10}),
]


@pytest.mark.parametrize(("name", "rows", "charging", "duration", "expected"), OCA)
@pytest.mark.parametrize("later", [0, 7, 49.5])
@pytest.mark.parametrize("rules", [V16, V2])
def test_examples_of_the_open_charge_alliance(
    name: str,
    rows: list[tuple[int, Profile]],
    charging: Charging | None,
    duration: float,
    expected: Steps,
    later: float,
    rules: Rules,
) -> None:
    profiles = installed(*rows, rules=rules)
    shifted = {max(start - later, 0): limit for start, limit in expected.items()}
    if duration - later < max(shifted):
        raise AssertionError("the window is too short for what is expected")
    got = composite(profiles, duration - later, start=NOW + later, charging=charging)
    assert got == shifted
    for second in range(int(duration - later)):
        now = max(start for start in shifted if start <= second)
        assert profiles.limit(1, NOW + later + second, AC, charging).amps == shifted[now]


TONIGHT = datetime(2026, 11, 30, 22, tzinfo=UTC).timestamp()  # a Monday; the month ends in two hours
HOUR = 3600.0
NIGHT = profile({0: 16, 4 * HOUR: 32}, recurrency="Daily", start=TONIGHT, duration=8 * HOUR)
WEEKEND = profile({0: 10}, recurrency="Weekly", start=TONIGHT, duration=48 * HOUR)
LONG = profile({0: 10, 20 * HOUR: 20, 30 * HOUR: 30}, recurrency="Daily", start=TONIGHT, duration=40 * HOUR)

# When, from when on, how many hours; the limits by the hour.
RECURRING: list[tuple[str, Profile, float, float, Steps]] = [
    ("before its start nothing holds (K01.FR.30)", NIGHT, -1, 2, {0: None, 1: 16}),
    ("across midnight and the month's end", NIGHT, 1, 4, {0: 16, 3: 32}),
    ("a gap until it recurs (K01.FR.13)", NIGHT, 7, 18, {0: 32, 1: None, 17: 16}),
    ("in a gap", NIGHT, 9, 2, {0: None}),
    ("a year later", NIGHT, 365 * 24, 9, {0: 16, 4: 32, 8: None}),
    ("weekly", WEEKEND, 47, 122, {0: 10, 1: None, 121: 10}),
    ("weekly, the week's end", WEEKEND, 7 * 24 - 1, 2, {0: None, 1: 10}),
    ("longer than its recurrence (1.6 errata 3.44)", LONG, 0, 48, {0: 10, 20: 20, 24: 10, 44: 20}),
    ("it is recomputed from a moment within", LONG, 21, 4, {0: 20, 3: 10}),
]


@pytest.mark.parametrize(("name", "recurring", "after", "hours", "expected"), RECURRING)
def test_recurring(name: str, recurring: Profile, after: float, hours: float, expected: Steps) -> None:
    got = composite(installed((1, recurring)), hours * HOUR, start=TONIGHT + after * HOUR)
    assert got == {start * HOUR: limit for start, limit in expected.items()}


RELATIVE = (1, profile({0: 16, 60: 10}, kind="Relative", duration=120))
DEFAULT = (1, profile({0: 20}, level=0))

# What is installed, the transaction, and the composite of 300 s from NOW on.
LEADING: list[tuple[str, list[tuple[int, Profile]], Charging | None, Steps]] = [
    ("nothing", [], None, {0: None}),
    ("a relative one without a transaction (K08.FR.06)", [RELATIVE], None, {0: 16, 60: 10, 120: None}),
    ("not yet authorized and connected", [RELATIVE], Charging("T"), {0: 16, 60: 10, 120: None}),
    ("authorized and connected 100 s ago (K01.FR.42)", [RELATIVE], Charging("T", NOW - 100), {0: 10, 20: None}),
    ("long ago", [RELATIVE], Charging("T", NOW - 120), {0: None}),
    ("validity", [(1, profile({0: 9}, valid_from=NOW + 10, valid_to=NOW + 20))], None, {0: None, 10: 9, 20: None}),
    (
        "validity does not move the schedule",
        [(1, profile({0: 9, 15: 8}, valid_from=NOW + 10))],
        None,
        {0: None, 10: 9, 15: 8},
    ),
    (
        "past the duration a period is not executed (K01.FR.11)",
        [(1, profile({0: 9, 50: 8}, duration=50))],
        None,
        {0: 9, 50: None},
    ),
    (
        "a higher level leads where it has a period",
        [DEFAULT, (1, profile({0: 30}, level=5, start=NOW + 50, duration=60))],
        None,
        {0: 20, 50: 30, 110: 20},
    ),
    ("for all EVSEs (K01.FR.14)", [(0, profile({0: 20}))], None, {0: 20}),
    ("for another EVSE", [(2, profile({0: 20}))], None, {0: None}),
    ("one for all above one for this", [(0, profile({0: 20}, level=1)), (1, profile({0: 10}))], None, {0: 20}),
    ("one for this above one for all", [(0, profile({0: 20})), (1, profile({0: 10}, level=1))], None, {0: 10}),
    (
        "Tx overrules TxDefault, whatever the levels",
        [(1, profile({0: 10}, level=9)), (1, profile({0: 30}, "Tx", duration=60, transaction_id="T"))],
        Charging("T", NOW),
        {0: 30, 60: 10},
    ),
    ("Tx without a transaction", [DEFAULT, (1, profile({0: 9}, "Tx", transaction_id="T"))], None, {0: 20}),
    ("Tx of another transaction", [(1, profile({0: 9}, "Tx", transaction_id="T"))], Charging("U", NOW), {0: None}),
    (
        "the least of three purposes",
        [
            (0, profile({0: 16, 200: 20}, "StationMax")),
            (0, profile({0: 32, 100: 8, 150: 32}, "External", profile_id=9)),
            (1, profile({0: 10, 50: 18}, level=3)),
        ],
        None,
        {0: 10, 50: 16, 100: 8, 150: 16, 200: 18},
    ),
    (
        "levels of the station's maximum",
        [(0, profile({0: 16}, "StationMax")), (0, profile({0: 32}, "StationMax", 1, duration=60))],
        None,
        {0: 32, 60: 16},
    ),
    (
        "limits from outside for the station and for the EVSE",
        [(0, profile({0: 16}, "External")), (1, profile({0: 6}, "External", duration=60))],
        None,
        {0: 6, 60: 16},
    ),
    ("a limit of 0 is no gap", [(1, profile({0: 0})), (0, profile({0: 16}, "StationMax"))], None, {0: 0}),
]


@pytest.mark.parametrize(("name", "rows", "charging", "expected"), LEADING)
def test_what_leads(name: str, rows: list[tuple[int, Profile]], charging: Charging | None, expected: Steps) -> None:
    assert composite(installed(*rows), 300, charging=charging) == expected


def test_in_16_an_evses_own_default_takes_the_place_of_the_one_for_all() -> None:
    profiles = installed((1, profile({0: 10})), (0, profile({0: 20})), rules=V16)
    assert composite(profiles, 60) == {0: 10}
    assert composite(profiles, 60, evse_id=2) == {0: 20}


def test_in_16_a_schedule_without_a_start_counts_from_charging() -> None:
    profiles = installed((1, profile({0: 16, 60: 10}, start=None)), rules=V16)
    assert composite(profiles, 90, charging=Charging("T", NOW - 30)) == {0: 16, 30: 10}


def test_for_the_station_only_what_bounds_all_evses_counts() -> None:
    rows = [(0, profile({0: 40}, "StationMax")), (0, profile({0: 20})), (1, profile({0: 10}, level=1))]
    assert composite(installed(*rows), 60, evse_id=0) == {0: 40}
    assert composite(installed(*rows[1:]), 60, evse_id=0) == {0: None}


# The purpose, its unit, limit and phases, the supply: amperes per phase, phases, kW.
UNITS: list[tuple[str, Any, str, float, int | None, Supply, tuple[float, int | None, float]]] = [
    ("amperes are per phase (K01.FR.51)", "TxDefault", "A", 16, None, AC, (16, 3, 11.04)),
    ("one phase", "TxDefault", "A", 16, 1, AC, (16, 1, 3.68)),
    ("two phases", "TxDefault", "A", 16, 2, AC, (16, 2, 7.36)),
    ("three phases, the EVSE has one (K01.FR.45)", "TxDefault", "A", 16, 3, ONE_PHASE, (16, 1, 3.68)),
    ("watts over three phases (K01.FR.49, .50)", "TxDefault", "W", 11040, None, AC, (16, 3, 11.04)),
    ("watts over one", "TxDefault", "W", 3680, 1, AC, (16, 1, 3.68)),
    ("watts over three, the EVSE has one", "TxDefault", "W", 11040, None, ONE_PHASE, (16, 1, 3.68)),
    ("another voltage", "TxDefault", "W", 3600, None, Supply(120, 3), (10, 3, 3.6)),
    ("watts of direct current", "TxDefault", "W", 50_000, 3, DC, (125, None, 50)),
    ("amperes of direct current", "TxDefault", "A", 125, 1, DC, (125, None, 50)),
    ("the station's amperes are the grid's", "StationMax", "A", 100, None, DC, (172.5, None, 69)),
    ("the station's watts", "StationMax", "W", 69_000, None, DC, (172.5, None, 69)),
]


@pytest.mark.parametrize(("name", "purpose", "unit", "limit", "phases", "supply", "expected"), UNITS)
def test_units_and_phases(
    name: str,
    purpose: Any,
    unit: str,
    limit: float,
    phases: int | None,
    supply: Supply,
    expected: tuple[float, int | None, float],
) -> None:
    profiles = installed((0, profile({0: limit}, purpose, unit=unit, phases=phases)))
    found = profiles.limit(1, NOW, supply, None)
    assert (found.amps, found.phases, found.kw) == pytest.approx(expected)
    in_amps, in_watts = (profiles.composite(1, NOW, 60, to, supply, None) for to in ("A", "W"))  # type: ignore[arg-type]
    assert [(step.limit, step.phases) for step in in_amps] == [pytest.approx(expected[:2])]
    assert [step.limit for step in in_watts] == [pytest.approx(expected[2] * 1000)]


def test_no_profile_that_leads_is_exceeded_in_amperes_or_phases() -> None:
    profiles = installed((0, profile({0: 10}, "StationMax")), (1, profile({0: 6900}, unit="W", phases=1)))
    found = profiles.limit(1, NOW, AC, None)
    assert (found.amps, found.phases, found.kw) == (10, 1, 2.3)
    assert found.by is not None
    assert found.by.purpose == "StationMax"
    assert profiles.composite(1, NOW, 60, "W", AC, None) == (Period(0, 2300, 1),)


def test_the_phase_that_a_profile_asks_for() -> None:
    asked = Schedule("A", (Period(0, 16, 1, 2), Period(60, 16, 3)), start=NOW)
    profiles = Profiles()
    supply = Supply(can_switch_phase=True)
    profiles.install(Profile(1, 0, "TxDefault", "Absolute", (asked,)), 1, {1: supply}, {}, V2)
    assert [profiles.limit(1, NOW + later, supply, None).phase_to_use for later in (0, 60)] == [2, None]
    assert profiles.composite(1, NOW, 90, "A", supply, None) == (Period(0, 16, 1, 2), Period(60, 16, 3))
    assert profiles.limit(1, NOW, DC, None).phase_to_use is None
    assert profiles.composite(1, NOW, 90, "A", DC, None) == (Period(0, 16),)


def test_a_limit_says_who_leads_and_below_what_charging_is_inefficient() -> None:
    profiles = installed((0, profile({0: 16}, "StationMax", min_rate=9)), (1, profile({0: 10}, min_rate=8)))
    found = profiles.limit(1, NOW, AC, None)
    assert found.by == profiles.find(evse_id=1)[0][1]
    assert found.min_kw == pytest.approx(8 * 0.69)
    assert found.why == "Profile 2 (TxDefault, stack level 0) allows the least of those that lead."
    assert profiles.limit(1, NOW - 1, AC, None) is NO_LIMIT
    assert NO_LIMIT.why == "No profile limits it."


def test_next_change_walks_from_edge_to_edge() -> None:
    profiles = installed(
        (1, NIGHT),
        (1, profile({0: 9}, level=1, start=TONIGHT - 9 * HOUR, valid_from=TONIGHT + HOUR, valid_to=TONIGHT + 2 * HOUR)),
    )
    edges, at = [], TONIGHT - 2 * HOUR
    while at < TONIGHT + 25 * HOUR:
        at = profiles.next_change(1, at, None)
        edges.append((at - TONIGHT) / HOUR)
    assert edges == [0, 1, 2, 4, 8, 24, 28]


@pytest.mark.parametrize(
    ("charging", "expected"),
    [
        (None, math.inf),
        (Charging("T"), math.inf),
        (Charging("T", NOW - 20), NOW + 40),
        (Charging("T", NOW - 120), math.inf),
    ],
)
def test_next_change_of_a_relative_schedule(charging: Charging | None, expected: float) -> None:
    assert installed(RELATIVE).next_change(1, NOW, charging) == expected


# Sums of such floats are not exact, least of all near 0.
@pytest.mark.parametrize("start", [NOW + 0.1, NOW + 1 / 3, 0.1, 1 / 3, 0.7, 27425.42607136218])
def test_a_limit_changes_at_the_very_moment_of_its_edge(start: float) -> None:
    steps = {float(second): float(second % 7) for second in range(0, 86_400, 97)}
    profiles = installed((1, profile(steps, recurrency="Daily", start=start)))
    at = start + 3 * 86_400 - 20_000
    for _ in range(300):
        before = profiles.limit(1, at, AC, None).amps
        at = profiles.next_change(1, at, None)
        after = profiles.limit(1, at, AC, None).amps
        assert after is not None
        assert after != before
        assert composite(profiles, 1, start=at) == {0: after}
    days = profiles.composite(1, start + 0.3, 9 * 86_400, "A", AC, None)
    assert None not in [step.limit for step in days]


def test_a_composite_of_no_duration_is_empty() -> None:
    assert composite(installed(DEFAULT), 0) == {}


# NIGHT changes after 0, 4, 8 and 24 hours, and WEEKEND after 0, 48 and 168.
@pytest.mark.parametrize(("most", "hours"), [(1, 4), (2, 8), (3, 24), (7, 52), (8, 56), (10_000, 10_000)])
def test_the_horizon_is_when_there_are_more_steps_than_that(most: int, hours: float) -> None:
    profiles = installed((1, NIGHT), (2, WEEKEND))
    chargings = {0: None, 1: None, 2: None}
    assert profiles.horizon(chargings, TONIGHT, 10_000 * HOUR, most) == hours * HOUR
    assert profiles.horizon(chargings, TONIGHT, HOUR, most) == HOUR


SEVERAL = [
    (0, profile({0: 32}, "StationMax", profile_id=1)),
    (0, profile({0: 16}, level=2, profile_id=2)),
    (1, profile({0: 16}, level=1, profile_id=3)),
    (1, profile({0: 9}, "Tx", level=1, profile_id=4, transaction_id="T")),
    (2, profile({0: 16}, level=1, profile_id=5)),
    (0, profile({0: 20}, "External", profile_id=6, source="EMS")),
]
CRITERIA: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [1, 2, 6, 3, 4, 5]),
    ({"ids": [3, 5, 99]}, [3, 5]),
    ({"evse_id": 0}, [1, 2, 6]),
    ({"evse_id": 1}, [3, 4]),
    ({"stack_level": 1}, [3, 4, 5]),
    ({"purpose": "TxDefault"}, [2, 3, 5]),
    ({"sources": ["EMS", "SO"]}, [6]),
    ({"sources": ["CSO"], "evse_id": 0}, [1, 2]),
    ({"purpose": "TxDefault", "stack_level": 1, "evse_id": 2}, [5]),
    ({"purpose": "Tx", "evse_id": 2}, []),
]


@pytest.mark.parametrize(("criteria", "ids"), CRITERIA)
def test_find(criteria: dict[str, Any], ids: list[int]) -> None:
    assert [found.id for _, found in installed(*SEVERAL).find(**criteria)] == ids


CLEARED: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [1, 2, 3, 4, 5]),
    ({"profile_id": 3}, [3]),
    ({"profile_id": 3, "evse_id": 2}, []),
    ({"profile_id": 6}, []),
    ({"profile_id": 99}, []),
    ({"evse_id": 0}, [1, 2]),
    ({"stack_level": 1}, [3, 4, 5]),
    ({"purpose": "External"}, []),
    ({"purpose": "TxDefault", "stack_level": 1}, [3, 5]),
]


@pytest.mark.parametrize(("criteria", "gone"), CLEARED)
def test_clear(criteria: dict[str, Any], gone: list[int]) -> None:
    profiles = installed(*SEVERAL)
    assert profiles.clear(**criteria) == len(gone)
    assert {found.id for _, found in profiles.find()} == {1, 2, 3, 4, 5, 6} - set(gone)


def test_what_is_cleared_limits_no_more() -> None:
    profiles = installed(*SEVERAL)
    charging = Charging("T", NOW)
    assert profiles.limit(1, NOW, AC, charging).amps == 9
    assert profiles.end_transaction(2) == 0
    assert profiles.end_transaction(1) == 1
    assert profiles.limit(1, NOW, AC, charging).amps == 16
    profiles.clear(purpose="TxDefault")
    assert profiles.limit(1, NOW, AC, charging).amps == 20
    profiles.release(6)
    assert profiles.limit(1, NOW, AC, charging).amps == 32
    profiles.clear()
    assert profiles.limit(1, NOW, AC, charging) is NO_LIMIT


def test_a_dump_is_plain_data_and_comes_back_whole() -> None:
    profiles = installed(*SEVERAL, (1, NIGHT))
    again = Profiles.load(json.loads(json.dumps(profiles.dump())))
    assert again.find() == profiles.find()
    assert composite(again, 86_400) == composite(profiles, 86_400)
