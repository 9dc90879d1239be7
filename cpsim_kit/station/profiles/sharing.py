"""How EVSEs share the limit of their station. Pure: powers in, powers out.

A rule is a function of the limit in kW and of the claims of the EVSEs that could charge now, the one that has waited
longest first. It returns how much each of them gets, in that order. :data:`RULES` has the rules by name;
``Station(…, share=…)`` takes a name, or a function of your own:

    def half(limit_kw, claims):
        return [limit_kw / 2 if claim.evse_id == 1 else 0 for claim in claims]

    station = await stack.station("CP1", evses=[…], share=half)

What a function gives beyond a claim, or beyond what is left of the limit, is cut off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["RULES", "Claim", "SharingRule", "equal", "find_rule", "first_come", "share"]

_TINY = 1e-9  # kW


class Claim(NamedTuple):
    """What one EVSE could use of the station's limit.

    Attributes:
        evse_id: The EVSE.
        wants_kw: The most that it can use: vehicle, cable, EVSE and its own charging profiles allow no more.
        least_kw: The least that it can charge with; with less it suspends.
        since: Since when its vehicle is connected and authorized, in seconds of the station's clock.
    """

    evse_id: int
    wants_kw: float
    least_kw: float = 0.0
    since: float = 0.0


SharingRule = Callable[[float, Sequence[Claim]], Sequence[float]]


def equal(limit_kw: float, claims: Sequence[Claim]) -> list[float]:
    """The same for each; what one cannot use goes to the others.

    Where that is less than one of them can charge with, those that came last wait.
    """
    for count in range(len(claims), 0, -1):
        served = claims[:count]
        shares = _level(limit_kw, served)
        if all(share >= claim.least_kw - _TINY for share, claim in zip(shares, served, strict=True)):
            return shares + [0.0] * (len(claims) - count)
    return [0.0] * len(claims)


def first_come(limit_kw: float, claims: Sequence[Claim]) -> list[float]:
    """Each gets all that it can use, in the order in which they came, until nothing is left.

    What is left and not enough for one of them goes to the next one that can charge with it.
    """
    shares = []
    for claim in claims:
        share = min(claim.wants_kw, limit_kw)
        shares.append(share if share >= claim.least_kw - _TINY else 0.0)
        limit_kw -= shares[-1]
    return shares


RULES: Mapping[str, SharingRule] = {"equal": equal, "first come": first_come}
"""The rules by name."""


def _level(limit_kw: float, claims: Sequence[Claim]) -> list[float]:
    """Raise the same level for all until the limit is used up, or nobody wants more."""
    shares = [0.0] * len(claims)
    left, waiting = limit_kw, sorted(range(len(claims)), key=lambda place: claims[place].wants_kw)
    for number, place in enumerate(waiting):
        shares[place] = min(claims[place].wants_kw, left / (len(waiting) - number))
        left = max(0.0, left - shares[place])
    return shares


def find_rule(given: str | SharingRule) -> SharingRule:
    """The rule of a name, or the function itself.

    Raises:
        ValueError: There is no such rule.
    """
    if callable(given):
        return given
    if given not in RULES:
        names = ", ".join(f'"{name}"' for name in RULES)
        raise ValueError(f"share is {names} or a function, not {given!r}")
    return RULES[given]


def share(rule: SharingRule, limit_kw: float, claims: Sequence[Claim]) -> dict[int, float]:
    """What each EVSE gets, in kW, by its id.

    Args:
        rule: The rule.
        limit_kw: The station's limit.
        claims: In any order.

    Raises:
        ValueError: The rule returned something else than a number for each claim.
    """
    ordered = sorted(claims, key=lambda claim: (claim.since, claim.evse_id))
    if not ordered:
        return {}
    given = list(rule(limit_kw, ordered))
    if len(given) != len(ordered) or any(not isinstance(kw, int | float) or math.isnan(kw) for kw in given):
        raise ValueError(f"a rule to share returns one number for each of {len(ordered)} claims, not {given!r}")
    shares = {}
    for claim, kw in zip(ordered, given, strict=True):
        shares[claim.evse_id] = max(0.0, min(kw, claim.wants_kw, limit_kw))
        limit_kw -= shares[claim.evse_id]
    return shares
