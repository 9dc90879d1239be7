"""Random sets of charging profiles beside an evaluator of the stacking rules that looks at each second by itself.

All times of a set are multiples of one step: of half an hour, looked at over a day just before and at each multiple; or
of a second, looked at over some minutes at each second.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_oracle import Ledger, answer

from cpsim_kit.station.profiles import Charging, Period, Profile, Profiles, Refused, Rules, Schedule, Supply

HALF_HOUR = 1800
MONTH_END = datetime(2026, 2, 28, tzinfo=UTC).timestamp()
SUPPLIES = {1: Supply(230, 3), 2: Supply(230, 1)}
RULES = {"1.6": Rules(is_lenient=True), "2.x": Rules()}

limits = st.sampled_from([0.0, 6.0, 8.5, 10.0, 16.0, 32.0])


def moments(step: int) -> st.SearchStrategy[float]:
    return st.integers(-20, 120).map(lambda count: MONTH_END + count * step)


@st.composite
def periods(draw: st.DrawFn, unit: str, step: int) -> tuple[Period, ...]:
    starts = draw(st.lists(st.integers(1, 60), max_size=4, unique=True).map(sorted))
    made = []
    for start in [0, *starts]:
        phases = draw(st.sampled_from([None, None, None, 1, 2, 3]))
        amps = draw(limits)
        made.append(Period(start * step, amps if unit == "A" else amps * 690, phases))
    return tuple(made)


@st.composite
def profiles(draw: st.DrawFn, version: str, step: int) -> tuple[int, Profile]:
    purpose: Any = draw(st.sampled_from(["StationMax", "TxDefault", "TxDefault", "Tx", "Tx", "External"]))
    kinds = ["Absolute", "Recurring"] + ["Relative"] * (purpose != "StationMax")
    kind: Any = draw(st.sampled_from(kinds))
    unit: Any = draw(st.sampled_from(["A", "W"]))
    needs_start = version == "2.x" or purpose == "StationMax" or draw(st.booleans())
    start = None if kind == "Relative" else draw(moments(step)) if needs_start else None
    if start is not None and kind == "Recurring":
        start -= draw(st.integers(0, 20)) * 86_400
    schedule = Schedule(
        unit=unit,
        periods=draw(periods(unit, step)),
        start=start,
        duration=draw(st.none() | st.integers(1, 70).map(lambda count: count * step)),
    )
    since, until = (draw(st.none() | st.none() | moments(step)) for _ in range(2))
    if since is not None and until is not None:
        since, until = min(since, until), max(since, until) + step
    place = {"StationMax": 0, "Tx": 1}.get(purpose)
    profile = Profile(
        id=draw(st.integers(100, 102) if purpose == "External" else st.integers(1, 8)),
        stack_level=draw(st.integers(0, 3)),
        purpose=purpose,
        kind=kind,
        schedules=(schedule,),
        recurrency=draw(st.sampled_from(["Daily", "Weekly"])) if kind == "Recurring" else None,
        valid_from=since,
        valid_to=until,
        transaction_id="T" if purpose == "Tx" and (version == "2.x" or draw(st.booleans())) else None,
    )
    return draw(st.sampled_from([0, 1, 2])) if place is None else place, profile


def install(version: str, drawn: list[tuple[int, Profile]]) -> tuple[Profiles, Ledger]:
    """The profiles as the station has them and as the oracle has them; both refuse the same ones."""
    installed, ledger = Profiles(), Ledger(version)
    for place, profile in drawn:
        if profile.purpose == "External":
            installed.constrain(profile, place)
            ledger.rows = [row for row in ledger.rows if row[1].id != profile.id]
            ledger.rows.append((place, profile))
            continue
        try:
            installed.install(profile, place, SUPPLIES, {1: Charging("T")}, RULES[version])
            is_in = True
        except Refused:
            is_in = False
        assert ledger.put(place, profile) == is_in
    return installed, ledger


def compare(
    version: str, drawn: list[tuple[int, Profile]], evse_id: int, charging: Charging | None, *, step: int, count: int
) -> None:
    """Compare composite, limit and next change over so many steps from the month's end on."""
    installed, ledger = install(version, drawn)
    supply = SUPPLIES.get(evse_id, Supply())
    start = MONTH_END
    composites = {
        unit: installed.composite(evse_id, start, count * step, unit, supply, charging) for unit in ("A", "W")
    }
    starts = {unit: [each.start for each in composites[unit]] for unit in composites}
    transaction = None if charging is None else charging.id
    known = None if charging is None else charging.since
    change = -1.0
    before: Any = None
    for after in sorted({second for edge in range(0, count * step, step) for second in (edge, edge + step - 1)}):
        at = start + after
        expected = answer(ledger.rows, evse_id, at, start if known is None else known, transaction, supply.phases)
        amps, watts = (composites[unit][bisect_right(starts[unit], after) - 1] for unit in ("A", "W"))
        if expected is None:
            assert amps.limit is watts.limit is None
        else:
            assert (amps.limit, amps.phases) == (pytest.approx(expected[0], abs=1e-5), expected[1])
            assert watts.limit == pytest.approx(expected[0] * 230 * expected[1], abs=1e-3)
        limit = installed.limit(evse_id, at, supply, charging)
        expected = answer(ledger.rows, evse_id, at, at if known is None else known, transaction, supply.phases)
        got = None if limit.by is None else (limit.amps, limit.phases)
        assert got == (None if expected is None else (pytest.approx(expected[0]), expected[1]))
        if at < change:
            assert (limit.amps, limit.phases, limit.by) == before
        before = limit.amps, limit.phases, limit.by
        change = installed.next_change(evse_id, at, charging)
        assert change > at


def cases(version: str, step: int) -> Any:
    return st.tuples(
        st.lists(profiles(version, step), min_size=1, max_size=10),
        st.sampled_from([1, 1, 1, 2, 0]),
        st.sampled_from([None, Charging("T"), Charging("T", MONTH_END), Charging("T", MONTH_END - 5 * step)]),
    )


@pytest.mark.parametrize("version", ["1.6", "2.x"])
def test_composite_and_limit_agree_with_the_oracle(version: str) -> None:
    @settings(max_examples=30)
    @given(cases(version, HALF_HOUR))
    def run(case: Any) -> None:
        compare(version, *case, step=HALF_HOUR, count=48)

    run()


@pytest.mark.slow
@pytest.mark.parametrize(("step", "count"), [(HALF_HOUR, 48), (1, 180)], ids=["a day", "each second"])
@pytest.mark.parametrize("version", ["1.6", "2.x"])
def test_a_thousand_sets_agree_with_the_oracle(version: str, step: int, count: int) -> None:
    @settings(max_examples=1000)
    @given(cases(version, step))
    def run(case: Any) -> None:
        compare(version, *case, step=step, count=count)

    run()
