"""How EVSEs share the limit of their station."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpsim_kit.station.profiles.sharing import RULES, Claim, equal, find_rule, first_come, share

SIX = 6 * 230 * 3 / 1000  # 6 A on three phases


def claims(*wants: float, least: float = 0.0) -> list[Claim]:
    return [Claim(number, kw, least, float(number)) for number, kw in enumerate(wants, start=1)]


@pytest.mark.parametrize(
    ("limit", "wants", "shares"),
    [
        (22, [11], [11]),
        (22, [11, 11], [11, 11]),
        (22, [11, 11, 11, 11], [5.5, 5.5, 5.5, 5.5]),
        (22, [3, 11, 11], [3, 9.5, 9.5]),
        (22, [11, 1, 11, 2], [9.5, 1, 9.5, 2]),
        (0, [11, 11], [0, 0]),
        (50, [], []),
    ],
)
def test_equal_gives_what_one_cannot_use_to_the_others(limit: float, wants: list[float], shares: list[float]) -> None:
    assert equal(limit, claims(*wants)) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("limit", "wants", "shares"),
    [
        (10, [11, 11, 11], [5, 5, 0]),  # 3.3 kW for each would be too little
        (5, [11, 11, 11], [5, 0, 0]),
        (4, [11, 11, 11], [0, 0, 0]),
        (3 * SIX, [11, 11, 11], [SIX] * 3),
    ],
)
def test_who_came_last_waits_where_equal_shares_are_too_little(
    limit: float, wants: list[float], shares: list[float]
) -> None:
    assert equal(limit, claims(*wants, least=SIX)) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("limit", "wants", "shares"),
    [
        (22, [11, 11, 11], [11, 11, 0]),
        (20, [11, 11, 11], [11, 9, 0]),
        (14, [11, 11, 11], [11, 0, 0]),  # 3 kW are too little for the second
        (4, [11, 11], [0, 0]),
    ],
)
def test_first_come(limit: float, wants: list[float], shares: list[float]) -> None:
    assert first_come(limit, claims(*wants, least=SIX)) == pytest.approx(shares)


def test_a_small_rest_goes_to_the_next_one_that_can_use_it() -> None:
    three_phases, one_phase = Claim(2, 11, SIX, 2), Claim(3, 3.7, SIX / 3, 3)
    assert share(first_come, 14, [Claim(1, 11, SIX, 1), three_phases, one_phase]) == pytest.approx({1: 11, 2: 0, 3: 3})


def test_who_came_first_is_served_first_whatever_the_number_of_the_evse() -> None:
    assert share(first_come, 11, [Claim(1, 11, SIX, 100), Claim(2, 11, SIX, 5)]) == {2: 11, 1: 0}


numbers = st.floats(0, 100)
many = st.lists(st.builds(Claim, st.just(0), numbers, st.floats(0, 5), numbers), max_size=6).map(
    lambda found: [claim._replace(evse_id=number) for number, claim in enumerate(found)]
)


@given(limit=numbers, found=many, rule=st.sampled_from([*RULES.values(), lambda _limit, each: [50] * len(each)]))
def test_the_sum_is_never_above_the_limit_nor_a_share_above_its_claim(limit: float, found: list[Claim], rule) -> None:  # type: ignore[no-untyped-def]
    shares = share(rule, limit, found)
    assert shares.keys() == {claim.evse_id for claim in found}
    assert sum(shares.values()) <= limit + 1e-6
    assert all(0 <= shares[claim.evse_id] <= claim.wants_kw for claim in found)


@given(limit=numbers, found=many)
def test_the_limit_is_used_up_where_everybody_can_take_it(limit: float, found: list[Claim]) -> None:
    found = [claim._replace(least_kw=0.0) for claim in found]
    expected = min(limit, sum(claim.wants_kw for claim in found))
    for rule in RULES.values():
        assert sum(share(rule, limit, found).values()) == pytest.approx(expected)


def test_a_rule_has_a_name_or_is_a_function() -> None:
    assert find_rule("equal") is equal
    assert find_rule(first_come) is first_come
    with pytest.raises(
        ValueError, match=r'share is "equal", "first come" or a function, not "fair"'.replace('"fair"', "'fair'")
    ):
        find_rule("fair")


def test_where_nobody_claims_anything_the_rule_is_not_asked() -> None:
    assert share(lambda limit, claims: [limit / len(claims)], 10, []) == {}


@pytest.mark.parametrize("given_back", [[1], [1, 2, 3], [1, float("nan")], [1, None]])
def test_a_rule_returns_a_number_for_each(given_back: Sequence[float]) -> None:
    with pytest.raises(ValueError, match="one number for each of 2 claims"):
        share(lambda _limit, _claims: given_back, 10, claims(5, 5))
