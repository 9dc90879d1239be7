"""Random acts, and the rules of a strict CSMS that knows nothing of the core: none of them is broken."""

from __future__ import annotations

import contextlib
from typing import Any

from core_player import Player, Said
from hypothesis import given, settings
from hypothesis import strategies as st
from strict_rules import Session, Token
from strict_v16 import RulesV16
from strict_v201 import RulesV201
from transaction_oracle import point_sets

from cpsim_kit.station import Evse
from cpsim_kit.station.rules.authorization import TokenInfo
from cpsim_kit.station.rules.events import Accepted, Answer, Outgoing

TOKENS = {
    "TAG-1": Token(group="GROUP"),
    "TAG-1B": Token(group="GROUP"),
    "TAG-BLOCKED": Token("Blocked"),
    "TAG-LATER": Token(status_in_transaction="Invalid"),
}
INFOS = {name: TokenInfo(token.status, token.group or "") for name, token in TOKENS.items()}
LATER = {"TAG-LATER": TokenInfo("Invalid")}
ACTS = [
    *("plug 1", "plug 2", "unplug 1", "unplug 2", "suspend ev", "resume ev", "suspend evse", "resume evse"),
    *("swipe TAG-1 1", "swipe TAG-1B 1", "swipe TAG-9 2", "swipe TAG-BLOCKED 2", "swipe TAG-LATER 1"),
    *("remote start TAG-7 2", "remote start TAG-8 1", "remote stop", "fault GroundFault 1", "clear fault"),
    *("wait 1", "wait 59", "wait 61", "wait 3000"),
]
POINT_SETS = [sorted(points) for points in point_sets()]


def play(player: Player, rules: RulesV201 | RulesV16, acts: list[str]) -> None:
    """Play the acts, and fail at the first message that breaks a rule."""
    usual = player.answer

    def judge(message: Outgoing, said: Said) -> Answer:
        action, payload = said
        read = player.core.dialect.version.request(action).read(payload)
        broken = rules.check(action, read)
        assert not broken, (acts, broken, player.said[-6:])
        answer = usual(message, said)
        if answer.info is not None and not answer.info.is_accepted:
            refuse(rules, action, read)
        return answer

    player.answers = judge
    player.do(Accepted())
    for act in acts:
        with contextlib.suppress(ValueError, IndexError):
            player.act(act)


def refuse(rules: RulesV201 | RulesV16, action: str, read: dict[str, Any]) -> None:
    if action == "Authorize":
        rules.refused_tokens.add(read["id_tag"] if "id_tag" in read else read["id_token"]["id_token"])
    elif action == "TransactionEvent" and isinstance(rules, RulesV201) and read["event_type"] != "Ended":
        rules.refused_in_transaction(read["transaction_info"]["transaction_id"])


@settings(max_examples=300)
@given(
    acts=st.lists(st.sampled_from(ACTS), max_size=25),
    start=st.sampled_from(POINT_SETS),
    stop=st.sampled_from(POINT_SETS),
)
def test_ocpp_201_breaks_no_rule(acts: list[str], start: list[str], stop: list[str]) -> None:
    variables = {"TxCtrlr.TxStartPoint": start, "TxCtrlr.TxStopPoint": stop}
    player = Player("2.0.1", [Evse(), Evse()], variables, INFOS, LATER, is_started=False)
    ledger: dict[str | int, Session] = {}
    rules = RulesV201("CP1", lambda name: TOKENS.get(name, Token()), ledger, remote_start_ids={5})
    rules.check("BootNotification", {})
    play(player, rules, acts)
    truth = {each.id: each.end_wh - each.start_wh for each in player.core.transactions}
    for key, session in ledger.items():
        if session.ended and session.wh is not None:  # without a vehicle there is no meter value
            assert session.wh == truth[str(key)]


@settings(max_examples=300)
@given(acts=st.lists(st.sampled_from(ACTS), max_size=25))
def test_ocpp_16_breaks_no_rule(acts: list[str]) -> None:
    player = Player("1.6", [Evse(), Evse()], None, INFOS, LATER, is_started=False)
    ledger: dict[str | int, Session] = {}
    rules = RulesV16("CP1", lambda name: TOKENS.get(name, Token()), ledger)
    rules.check("BootNotification", {})
    play(player, rules, acts)
    truth = {each.csms_id: each.end_wh - each.start_wh for each in player.core.transactions if each.end is not None}
    assert {key: session.wh for key, session in ledger.items() if session.ended} == truth
