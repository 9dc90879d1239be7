"""Random acts and random profiles: no rule is broken, and delivered <= offered <= limit, also for the station."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from core_player import Player
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_payloads import DEFAULT, MAX, TX, put, transaction_id
from strict_rules import Session, Token
from strict_v16 import RulesV16
from strict_v201 import RulesV201
from test_commands_by_strict_rules import ACTS, POINT_SETS, play

from cpsim_kit.station import Evse, Vehicle
from cpsim_kit.station.profiles.sharing import RULES
from cpsim_kit.station.rules.events import LimitFromOutside, PlugIn

PERIODS = [
    [(0, 10)],
    [(0, 0)],
    [(0, 5), (40, 16)],
    [(0, 32), (30, 8), (90, 0), (100, 7, 1)],
    [(0, 6), (61, 12, 1), (122, 20)],
]
profiles = st.builds(
    "profile {} {} {} {}".format,
    st.sampled_from([MAX, DEFAULT, TX]),
    st.integers(0, 2),
    st.integers(0, len(PERIODS) - 1),
    st.sampled_from(["Absolute", "Relative", "Recurring"]),
)
limits = st.builds("limit {} {}".format, st.sampled_from(["none", "0", "3", "9", "15"]), st.sampled_from([0, 0, 1, 2]))
acts = st.lists(
    st.one_of(st.sampled_from([*ACTS, "clear", "power", "reset Hard"]), profiles, profiles, limits), max_size=30
)


class ProfilePlayer(Player):
    """Understands "profile PURPOSE EVSE PERIODS KIND", "limit KW EVSE" and "clear", and looks at the powers."""

    def act(self, words: str) -> list[Any]:
        match words.split():
            case ["profile", purpose, place, number, kind]:
                evse_id = int(place)
                more: dict[str, Any] = {}
                if purpose == TX and evse_id and self.core.evses[evse_id].transaction is not None:
                    with contextlib.suppress(ValueError):  # OCPP 1.6: not known yet
                        more["transaction_id"] = transaction_id(self, evse_id)
                _, said = put(
                    self,
                    evse_id,
                    purpose,
                    PERIODS[int(number)],
                    number=int(number) + 10,
                    kind=kind,
                    level=int(number),
                    **more,
                )
            case ["limit", kw, place]:
                said = self.do(LimitFromOutside(None if kw == "none" else float(kw), int(place)))
            case ["clear"]:
                _, said = self.command("ClearChargingProfile")
            case ["wait", seconds]:
                said = []
                for _ in range(5):
                    said += self.wait(float(seconds) / 5)
                    self.look(words)
            case _:
                said = super().act(words)
        self.look(words)
        return said

    def look(self, words: str) -> None:
        now, evses = self.now, self.core.evses
        for evse in evses.values():
            power, offered, limit = evse.power_kw(now), evse.offered_kw, evse.limit_kw
            assert -1e-9 <= power <= offered + 1e-9 <= limit + 2e-9, (words, power, offered, limit)
            assert limit <= evse.hardware_kw + 1e-9
            if evse.limit_by != "EVSE" and offered:
                assert offered >= evse.least_kw - 1e-9
        if self.core.has_profiles:
            smart = self.core.smart
            station = smart._limit(0, now)
            if station.kw is not None:
                taking = [each for each in evses.values() if not (each.ev_is_done or each.ev_suspends)]
                assert sum(each.offered_kw for each in taking) <= station.kw + 1e-6, words
                assert sum(each.power_kw(now) for each in evses.values()) <= station.kw + 1e-6, words
            for number, evse in evses.items():
                own = smart._limit(number, now)
                if own.amps is not None and evse.vehicle is not None and evse.phases_used:
                    amps = evse.offered_kw * 1000 / (evse.spec.volts * evse.phases_used * evse.vehicle.power_factor)
                    assert amps <= own.amps + 1e-6, words
                    assert evse.phases_used <= (own.phases or 3), words


@settings(max_examples=300)
@given(
    acts=acts, start=st.sampled_from(POINT_SETS), stop=st.sampled_from(POINT_SETS), share=st.sampled_from(sorted(RULES))
)
def test_ocpp_201_breaks_no_rule(acts: list[str], start: list[str], stop: list[str], share: str) -> None:
    variables = {"TxCtrlr.TxStartPoint": start, "TxCtrlr.TxStopPoint": stop}
    player = ProfilePlayer("2.0.1", [Evse(), Evse()], variables, is_started=False)
    player.core._visits.share = RULES[share]
    ledger: dict[str | int, Session] = {}
    rules = RulesV201("CP1", lambda _name: Token(), ledger, remote_start_ids={5})
    rules.check("BootNotification", {})
    play(player, rules, [act.replace("reset Hard", "reset Immediate") for act in acts])
    truth = {each.id: each.end_wh - each.start_wh for each in player.core.transactions}
    for key, session in ledger.items():
        if session.ended and session.wh is not None:
            assert session.wh == truth[str(key)]


@settings(max_examples=300)
@given(acts=acts)
def test_ocpp_16_breaks_no_rule(acts: list[str]) -> None:
    player = ProfilePlayer("1.6", [Evse(), Evse()], is_started=False)
    ledger: dict[str | int, Session] = {}
    rules = RulesV16("CP1", lambda _name: Token(), ledger)
    rules.check("BootNotification", {})
    play(player, rules, acts)
    truth = {each.csms_id: each.end_wh - each.start_wh for each in player.core.transactions if each.end is not None}
    assert {key: session.wh for key, session in ledger.items() if session.ended} == truth


@pytest.mark.parametrize("share", sorted(RULES))
def test_the_whole_night_of_a_depot(share: str) -> None:
    player = ProfilePlayer("2.0.1", [Evse() for _ in range(4)])
    player.core._visits.share = RULES[share]
    player.act(f"profile {MAX} 0 3 Recurring")
    for number in range(1, 5):
        player.do(PlugIn(Vehicle(capacity_kwh=20 * number, soc=0.1 * number), number))
        player.act(f"swipe TAG-{number} {number}")
    put(player, 0, MAX, [(0, 20), (3600, 40), (7200, 16), (10800, 32)], number=13, level=3)
    for _ in range(200):
        player.act("wait 300")
    assert [evse.charging_state for evse in player.core.evses.values()] == ["SuspendedEV"] * 4
