"""Random acts with reservations: each keeps an EVSE, and no rule of the strict CSMS is broken."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from core_player import EPOCH, Player, Said
from hypothesis import given, settings
from hypothesis import strategies as st
from reservation_player import TOKENS, VERSIONS, act
from strict_rules import Reserved, Token
from strict_v16 import RulesV16
from strict_v201 import RulesV201

from cpsim_kit.station import Evse
from cpsim_kit.station.rules.events import Accepted

ACTS = [
    *("plug 1", "plug 2", "plug 3", "unplug 1", "unplug 2", "unplug 3"),
    *("swipe TAG-1", "swipe TAG-2 2", "swipe TAG-5 1", "swipe TAG-8 1", "swipe TAG-9 3", "swipe TAG-1B 3"),
    *("reserve 1 TAG-1", "reserve 2 TAG-2 evse 2", "reserve 3 TAG-3", "reserve 4 TAG-1 group GROUP for 100"),
    *("reserve 5 TAG-5 evse 1", "cancel 1", "cancel 2", "cancel 3"),
    *("fault GroundFault 1", "fault GroundFault 2", "clear fault", "wait 30", "wait 120", "remote start TAG-7"),
    *("remote start TAG-1 2",),
]


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=150)
@given(acts=st.lists(st.sampled_from(ACTS), max_size=25))
def test_any_acts_keep_an_evse_for_each_reservation_and_break_no_rule(version: str, acts: list[str]) -> None:
    player = Player(version, [Evse()] * 3, tokens=TOKENS, is_started=False)
    rules = strict_rules(player)
    core = player.core
    for words in acts:
        with contextlib.suppress(ValueError, IndexError):
            act_by_the_rules(player, rules, words)
        open_to_all = [
            each.id
            for each in core.evses.values()
            if each.is_usable and each.authorization is None and (each.vehicle is None or each.is_reserved)
        ]
        waiting = core.reservations.all()
        assert len(waiting) <= len(open_to_all), words
        assert all(each.until > EPOCH + player.now for each in waiting)
        for evse in core.evses.values():
            assert not (evse.is_reserved and (evse.authorization is not None or not evse.is_usable))
            assert evse.reported_status == core.dialect.connector_status(evse)
        if not waiting:
            assert not any(each.is_reserved for each in core.evses.values())
    used = [
        payload["reservationId"]
        for action, payload in player.said
        if action in ("StartTransaction", "TransactionEvent") and "reservationId" in payload
    ]
    ended = [payload["reservationId"] for action, payload in player.said if action == "ReservationStatusUpdate"]
    made = sum(1 for words in acts if words.startswith("reserve"))
    assert len(used) + len(ended) <= made


def strict_rules(player: Player) -> RulesV16 | RulesV201:
    """Let the rules of the strict CSMS judge each message."""
    version = player.core.dialect.version
    groups = {name: Token(info.status, info.group.upper() or None) for name, info in TOKENS.items()}
    rules: RulesV16 | RulesV201 = RulesV201("CP1", lambda name: groups.get(name, Token()), {}, remote_start_ids={5})
    if version.name == "1.6":
        rules = RulesV16("CP1", lambda name: groups.get(name, Token()), {})
    rules.check("BootNotification", {})
    usual = player.answer

    def judge(message: Any, said: Said) -> Any:
        action, payload = said
        broken = rules.check(action, version.request(action).read(payload))
        assert not broken, (broken, player.said[-6:])
        return usual(message, said)

    player.answers = judge
    player.do(Accepted())
    return rules


def act_by_the_rules(player: Player, rules: RulesV16 | RulesV201, words: str) -> None:
    """Do it, and let the rules know of reservations that are accepted."""
    verb, *rest = words.split()
    before = dict(rules.reservations)
    if verb == "reserve":
        named = dict(zip(rest[2::2], rest[3::2], strict=True))
        until = datetime.fromtimestamp(EPOCH + player.now + float(named.get("for", 600)), UTC)
        place = int(named["evse"]) if "evse" in named else None
        rules.reservation_ids.add(int(rest[0]))
        rules.reservations[int(rest[0])] = Reserved(place, rest[1], named.get("group"), until)
    lines = act(player, words)
    if verb == "reserve" and lines[0] != "-> Accepted":
        rules.reservations = before
    elif verb == "cancel" and lines[0] == "-> Accepted":
        rules.reservations.pop(int(rest[0]), None)
