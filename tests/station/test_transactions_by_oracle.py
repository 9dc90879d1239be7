"""The station's transactions beside an oracle that somebody else wrote from the specification.

For all 15 x 15 sets of TxStartPoint and TxStopPoint: each act after each usual beginning, and random sequences.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from core_player import Player
from transaction_oracle import ACTS, check_run, point_sets

from cpsim_kit.station import Vehicle
from cpsim_kit.station.rules.authorization import IdToken, TokenInfo
from cpsim_kit.station.rules.events import (
    Answer,
    Event,
    PlugIn,
    RemoteStart,
    RemoteStop,
    SuspendEv,
    SuspendEvse,
    Swipe,
    Unplug,
)

POINT_SETS = list(point_sets())
TAG_1, TAG_1B, TAG_2 = IdToken("TAG-1"), IdToken("TAG-1B"), IdToken("TAG-2")
TOKENS = {
    "TAG-1": TokenInfo("Accepted", "GROUP"),
    "TAG-1B": TokenInfo("Accepted", "GROUP"),
    "TAG-2": TokenInfo("Accepted"),
}
ACT_EVENTS: dict[str, Event] = {
    "unplug": Unplug(side="ev"),
    "suspend_ev": SuspendEv(True),
    "resume_ev": SuspendEv(False),
    "suspend_evse": SuspendEvse(True),
    "resume_evse": SuspendEvse(False),
}

# Acts as they follow each other in real life.
BEGINNINGS: list[list[str]] = [
    [],
    ["plug_in"],
    ["swipe"],
    ["plug_in", "swipe"],
    ["swipe", "plug_in"],
    ["remote_start"],
    ["plug_in", "remote_start"],
    ["plug_in", "swipe", "swipe"],
    ["plug_in", "swipe", "suspend_ev"],
    ["plug_in", "suspend_ev", "swipe"],
    ["plug_in", "suspend_evse", "swipe"],
    ["plug_in", "swipe", "unplug"],
]


def test_there_are_fifteen_sets_of_points() -> None:
    assert len(POINT_SETS) == len(set(POINT_SETS)) == 15


@pytest.mark.slow
@pytest.mark.parametrize("start", POINT_SETS, ids=lambda points: "+".join(sorted(points)))
def test_each_act_after_each_usual_beginning_gives_what_the_oracle_says(start: frozenset[str]) -> None:
    for stop in POINT_SETS:
        for beginning, act in itertools.product(BEGINNINGS, ACTS):
            require_agreement(start, stop, [*beginning, act])


@pytest.mark.slow
@pytest.mark.parametrize("start", POINT_SETS, ids=lambda points: "+".join(sorted(points)))
def test_three_acts_after_a_usual_beginning_give_what_the_oracle_says(start: frozenset[str]) -> None:
    random_ = random.Random(str(sorted(start)))
    for stop in POINT_SETS:
        for _ in range(150):
            require_agreement(start, stop, [*random_.choice(BEGINNINGS), *random_.choices(ACTS, k=3)])


@pytest.mark.parametrize("seed", range(8))
def test_random_sequences_of_acts_give_what_the_oracle_says(seed: int) -> None:
    random_ = random.Random(seed)
    for _ in range(400):
        start, stop = random_.choice(POINT_SETS), random_.choice(POINT_SETS)
        require_agreement(start, stop, random_.choices(ACTS, k=12))


def require_agreement(start: frozenset[str], stop: frozenset[str], acts: Sequence[str]) -> None:
    events = play(start, stop, acts)
    verdict = check_run(start, stop, acts, events)
    if verdict:
        pytest.fail(f"start {sorted(start)}, stop {sorted(stop)}, {acts}: {verdict}\n{events}")


def play(start: frozenset[str], stop: frozenset[str], acts: Sequence[str]) -> list[list[dict[str, Any]]]:
    """The TransactionEvents of each act, with the oracle's names of the fields."""
    player = Player(
        variables={
            "TxCtrlr.TxStartPoint": sorted(start),
            "TxCtrlr.TxStopPoint": sorted(stop),
            "SampledDataCtrlr.TxUpdatedInterval": 0,
        },
        tokens=TOKENS,
    )
    events = []
    for act in acts:
        said = _play_act(player, act)
        events.append([_fields(payload) for action, payload in said if action == "TransactionEvent"])
        player.wait(1)
    return events


def _play_act(player: Player, act: str) -> list[tuple[str, dict[str, Any]]]:
    evse = player.core.evses[1]
    try:
        match act:
            case "plug_in":
                return player.do(PlugIn(Vehicle(capacity_kwh=1e6)))
            case "swipe" | "swipe_same_group" | "swipe_other":
                token = {"swipe": TAG_1, "swipe_same_group": TAG_1B, "swipe_other": TAG_2}[act]
                return player.do(Swipe(token))
            case "ev_connection_timeout":
                return player.wait(evse.connect_by - player.now) if evse.connect_by < math.inf else []
            case "remote_start":
                return player.do(RemoteStart(TAG_1, 7, group="GROUP"))
            case "remote_stop":
                return player.do(RemoteStop("" if evse.transaction is None else evse.transaction.id))
            case "deauthorize":
                if player.with_token is None:
                    return []
                return player.do(Answer(player.with_token, TokenInfo("Invalid")))
            case _:
                return player.do(ACT_EVENTS[act])
    except ValueError:  # it cannot be done physically
        return []


def _fields(payload: dict[str, Any]) -> dict[str, Any]:
    info = payload["transactionInfo"]
    return {
        "event_type": payload["eventType"],
        "trigger_reason": payload["triggerReason"],
        "charging_state": info.get("chargingState"),
        "stopped_reason": info.get("stoppedReason"),
        "has_id_token": "idToken" in payload,
        "has_evse": "evse" in payload,
        "has_remote_start_id": "remoteStartId" in info,
    }
