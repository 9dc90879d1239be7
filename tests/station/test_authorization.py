"""Tokens, authorizations, and the cache of what the CSMS said of them."""

from __future__ import annotations

import math

import pytest

from cpsim_kit.station.rules.authorization import Authorization, AuthorizationCache, IdToken, TokenInfo

ACCEPTED = TokenInfo("Accepted")
BLOCKED = TokenInfo("Blocked")
DAY = 86_400.0


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (IdToken("TAG-1"), IdToken("TAG-1"), True),
        (IdToken("TAG-1"), IdToken("tag-1"), True),
        (IdToken("TAG-1"), IdToken("TAG-2"), False),
        (IdToken("TAG-1"), IdToken("TAG-1", "ISO15693"), False),
        (IdToken("TAG-1", ""), IdToken("Tag-1", ""), True),
        (IdToken("TAG-1", ""), IdToken("TAG-1"), False),
        (IdToken("TAG-1"), IdToken("TAG-1 "), False),
    ],
)
def test_tokens_are_the_same_by_id_in_any_case_and_by_type(one: IdToken, other: IdToken, is_same: bool) -> None:
    assert one.is_same(other) is is_same
    assert other.is_same(one) is is_same


@pytest.mark.parametrize("status", ["Blocked", "Expired", "Invalid", "ConcurrentTx", "Unknown", "accepted", ""])
def test_only_accepted_is_accepted(status: str) -> None:
    assert ACCEPTED.is_accepted
    assert not TokenInfo(status).is_accepted


@pytest.mark.parametrize(
    ("own_group", "token", "group", "may_end"),
    [
        ("", IdToken("TAG-1"), "", True),
        ("", IdToken("tag-1"), "", True),
        ("", IdToken("TAG-2"), "", False),
        ("", IdToken("TAG-2"), "FLEET", False),
        ("FLEET", IdToken("TAG-2"), "", False),
        ("FLEET", IdToken("TAG-2"), "FLEET", True),
        ("FLEET", IdToken("TAG-2"), "fleet", True),
        ("FLEET", IdToken("TAG-2"), "OTHERS", False),
        ("FLEET", IdToken("TAG-1"), "OTHERS", True),
        ("FLEET", IdToken("FLEET"), "", False),
        ("", IdToken("TAG-1", "Central"), "", False),
    ],
)
def test_an_authorization_is_ended_by_its_token_or_its_group(
    own_group: str, token: IdToken, group: str, may_end: bool
) -> None:
    assert Authorization(IdToken("TAG-1"), own_group).may_be_ended_by(token, group) is may_end


def test_a_new_authorization_lets_energy_flow_everywhere_without_end() -> None:
    authorization = Authorization(IdToken("TAG-1"))
    assert (authorization.is_blocked, authorization.until_wh, authorization.evse_ids) == (False, None, ())
    assert (authorization.is_reported, authorization.is_remote) == (False, False)


# -- The cache --------------------------------------------------------------------------------------------------------


def test_the_cache_knows_what_was_said_last() -> None:
    cache = AuthorizationCache()
    assert cache.find(IdToken("TAG-1"), 0) is None
    cache.keep(IdToken("TAG-1"), ACCEPTED, 0, DAY)
    cache.keep(IdToken("TAG-2"), BLOCKED, 0, DAY)
    assert cache.find(IdToken("tag-1"), 1) == ACCEPTED
    assert cache.find(IdToken("TAG-2"), 1) == BLOCKED
    cache.keep(IdToken("Tag-1"), BLOCKED, 2, DAY)
    assert cache.find(IdToken("TAG-1"), 3) == BLOCKED
    cache.clear()
    assert cache.find(IdToken("TAG-2"), 3) is None
    cache.clear()


def test_the_cache_knows_a_token_of_another_type_not_at_all() -> None:
    cache = AuthorizationCache()
    cache.keep(IdToken("TAG-1"), ACCEPTED, 0, DAY)
    assert cache.find(IdToken("TAG-1", "ISO15693"), 1) is None


@pytest.mark.parametrize("token", [IdToken("TAG-1", "Central"), IdToken("", "NoAuthorization")])
def test_tokens_about_which_the_csms_is_never_asked_are_never_kept(token: IdToken) -> None:
    cache = AuthorizationCache()
    cache.keep(token, ACCEPTED, 0, DAY)
    assert cache.find(token, 0) is None


def test_a_token_is_known_for_the_lifetime() -> None:
    cache = AuthorizationCache()
    cache.keep(IdToken("TAG-1"), ACCEPTED, 100, 60)
    cache.keep(IdToken("TAG-2"), ACCEPTED, 100, 60)
    assert cache.find(IdToken("TAG-1"), 159.9) == ACCEPTED
    assert cache.find(IdToken("TAG-2"), 160) is None


def test_the_lifetime_counts_from_the_last_use() -> None:
    cache = AuthorizationCache()
    cache.keep(IdToken("TAG-1"), ACCEPTED, 0, 60)
    assert [cache.find(IdToken("TAG-1"), moment) for moment in (50, 100, 150)] == [ACCEPTED] * 3
    assert cache.find(IdToken("TAG-1"), 210) is None


def test_the_time_that_the_csms_gave_has_precedence_and_no_use_extends_it() -> None:
    cache = AuthorizationCache()
    cache.keep(IdToken("TAG-1"), TokenInfo("Accepted", cached_until=1000), 0, 60)
    cache.keep(IdToken("TAG-2"), TokenInfo("Accepted", cached_until=10), 0, 60)
    for moment in (500, 999.9):
        found = cache.find(IdToken("TAG-1"), moment)
        assert found is not None
        assert found.is_accepted
    for token, moment in (("TAG-1", 1000), ("TAG-2", 10)):  # not unknown, so that it is not accepted offline
        found = cache.find(IdToken(token), moment)
        assert found is not None
        assert found.status == "Expired"


def test_a_token_can_be_known_for_ever() -> None:
    cache = AuthorizationCache()
    cache.keep(IdToken("TAG-1"), ACCEPTED, 0, math.inf)
    assert cache.find(IdToken("TAG-1"), 1e12) == ACCEPTED
    assert cache.find(IdToken("TAG-1"), 1e13) == ACCEPTED
