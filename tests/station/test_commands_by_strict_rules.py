"""Random acts with random commands and resets among them: a strict CSMS finds no broken rule, and no energy is lost."""

from __future__ import annotations

import contextlib

from command_player import command
from core_player import Player, Said
from hypothesis import given, settings
from hypothesis import strategies as st
from strict_rules import Session, Token
from strict_v16 import RulesV16
from strict_v201 import RulesV201
from transaction_oracle import point_sets

from cpsim_kit.station import Evse
from cpsim_kit.station.rules.events import Accepted, Answer, Outgoing, PowerOff, ShutDown

ACTS = [
    *("plug 1", "plug 2", "unplug 1", "unplug 2", "unplug ev", "suspend ev", "resume ev", "wait 7", "wait 61"),
    *("swipe TAG-1 1", "swipe TAG-2 2", "swipe TAG-3", "remote start TAG-7 2", "remote stop"),
    *("fault GroundFault 1", "fault ConnectorLockFailure 2", "clear fault"),
]
COMMANDS = [
    *("inoperative 1", "operative 1", "inoperative", "operative", "unlock 1", "unlock 2"),
    *("trigger MeterValues", "trigger Heartbeat", "power"),
]
POINT_SETS = [sorted(points) for points in point_sets()]


def play(player: Player, rules: RulesV201 | RulesV16, acts: list[str]) -> None:
    """Play the acts, let each reset come to its end, and fail at the first message that breaks a rule."""
    usual = player.answer

    def judge(message: Outgoing, said: Said) -> Answer:
        action, payload = said
        broken = rules.check(action, player.core.dialect.version.request(action).read(payload))
        assert not broken, (acts, broken, player.said[-6:])
        return usual(message, said)

    def boot(reason: str) -> None:
        rules.connected()
        rules.booted()
        player.do(Accepted(reason))

    player.answers = judge
    player.do(Accepted())
    restarts = player.core.restarts
    for act in acts:
        if act == "power":
            player.do(PowerOff())
            boot("PowerUp")
            continue
        with contextlib.suppress(ValueError, IndexError):
            command(player, act)
        while restarts.step:
            ready = restarts.is_ready(player.now)
            player.drain()
            if ready:
                player.do(ShutDown())
                player.wait(5)
                boot(restarts.boot_reason)
            elif restarts.step == "waits":
                break
    for evse in player.core.evses.values():
        assert not (evse.offered_kw and not evse.is_usable)
        assert evse.available or evse.transaction is None


@settings(max_examples=300)
@given(
    acts=st.lists(
        st.sampled_from(
            [
                *ACTS,
                *COMMANDS,
                *("reset Immediate", "reset OnIdle", "reset Immediate 1", "reset OnIdle 2", "trigger TransactionEvent"),
                *("inoperative 1 1", "operative 1 1"),
            ]
        ),
        max_size=30,
    ),
    start=st.sampled_from(POINT_SETS),
    stop=st.sampled_from(POINT_SETS),
)
def test_ocpp_201_breaks_no_rule(acts: list[str], start: list[str], stop: list[str]) -> None:
    variables = {"TxCtrlr.TxStartPoint": start, "TxCtrlr.TxStopPoint": stop}
    player = Player("2.0.1", [Evse(), Evse()], variables, is_started=False)
    ledger: dict[str | int, Session] = {}
    rules = RulesV201("CP1", lambda _name: Token(), ledger, remote_start_ids={5})
    rules.check("BootNotification", {})
    play(player, rules, acts)
    truth = {each.id: each.end_wh - each.start_wh for each in player.core.transactions}
    for key, session in ledger.items():
        if session.ended and session.wh is not None:  # without a vehicle there is no meter value
            assert session.wh == truth[str(key)]


@settings(max_examples=300)
@given(acts=st.lists(st.sampled_from([*ACTS, *COMMANDS, "reset Hard", "reset Soft"]), max_size=30))
def test_ocpp_16_breaks_no_rule(acts: list[str]) -> None:
    player = Player("1.6", [Evse(), Evse()], is_started=False)
    ledger: dict[str | int, Session] = {}
    rules = RulesV16("CP1", lambda _name: Token(), ledger)
    rules.check("BootNotification", {})
    play(player, rules, acts)
    truth = {each.csms_id: each.end_wh - each.start_wh for each in player.core.transactions if each.end is not None}
    assert {key: session.wh for key, session in ledger.items() if session.ended} == truth
