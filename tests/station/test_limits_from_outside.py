"""Limits by an external control system (OCPP 2.0.1 part 2, K11 to K13)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from core_player import Player
from message_lines import lines_of
from profile_payloads import DEFAULT, put
from station_wire import VERSIONS

from cpsim_kit.station import Evse, Vehicle
from cpsim_kit.station.rules.events import Accepted, LimitFromOutside, Offline, Online, PlugIn
from cpsim_kit.station.rules.memory import recall, remember

TWO = pytest.mark.parametrize("version", ["2.0.1", "2.1"])


def charging(version: str = "2.0.1", **variables: Any) -> Player:
    player = Player(
        version, [Evse(), Evse()], {f"SmartChargingCtrlr.{name}": value for name, value in variables.items()}
    )
    player.do(PlugIn(Vehicle(), 1))
    player.act("swipe TAG-1 1")
    return player


def lines(said: Any) -> list[str]:
    return [line.split(" ", 2)[2] if line.startswith("Updated") else line for line in lines_of(said)]


@pytest.mark.parametrize("version", VERSIONS)
def test_it_limits_the_station_until_it_is_cleared(version: str) -> None:
    player = charging(version)
    evse = player.core.evses[1]
    said = player.do(LimitFromOutside(7))
    assert (evse.limit_kw, evse.limit_by, evse.power_kw(player.now)) == (pytest.approx(7), "external", pytest.approx(7))
    assert lines(said) == ([] if version == "1.6" else ["NotifyChargingLimit", "ChargingRateChanged"])
    said = player.do(LimitFromOutside(None))
    assert (evse.limit_by, evse.power_kw(player.now)) == ("EVSE", 11)
    assert lines(said) == ([] if version == "1.6" else ["ClearedChargingLimit", "ChargingRateChanged"])
    assert player.do(LimitFromOutside(None)) == []


@TWO
def test_one_evse(version: str) -> None:
    player = charging(version)
    said = player.do(LimitFromOutside(7, 2, "SO"))
    assert said == [("NotifyChargingLimit", {"chargingLimit": {"chargingLimitSource": "SO"}, "evseId": 2})]
    assert player.core.evses[1].limit_by == "EVSE"
    assert player.core.evses[2].limit_kw == 7
    assert player.do(LimitFromOutside(None, 2)) == [
        ("ClearedChargingLimit", {"chargingLimitSource": "SO", "evseId": 2})
    ]


# K11.FR.02, .04: both only where more changes than LimitChangeSignificance says. The vehicle takes 11 kW.
@pytest.mark.parametrize(
    ("significance", "before", "after", "said"),
    [
        ("1", 10, 9.95, []),
        ("1", 10, 9.0, ["NotifyChargingLimit", "ChargingRateChanged"]),
        ("1", 15, 12, ["NotifyChargingLimit"]),
        ("20", 10, 9.0, []),
        ("20", 10, 7.0, ["NotifyChargingLimit", "ChargingRateChanged"]),
        ("20", 10, 15.0, ["NotifyChargingLimit"]),
        ("0", 10, 10.0, []),
        ("0", 10, 15.0, ["NotifyChargingLimit", "ChargingRateChanged"]),
        ("60", 10, 15.0, []),
        ("1", 10, 4.0, ["NotifyChargingLimit", "ChargingStateChanged SuspendedEVSE", "ChargingRateChanged"]),
        ("1", 0, 10.0, ["NotifyChargingLimit", "ChargingStateChanged Charging", "ChargingRateChanged"]),
    ],
)
def test_small_changes_are_not_told(significance: str, before: float, after: float, said: list[str]) -> None:
    player = charging(LimitChangeSignificance=significance)
    player.do(LimitFromOutside(before))
    assert lines(player.do(LimitFromOutside(after))) == said
    assert player.core.evses[1].limit_kw == after


def test_many_small_changes_are_told_once_they_are_a_large_one_together() -> None:
    player = charging(LimitChangeSignificance="10")
    found = [lines(player.do(LimitFromOutside(10 * 0.92**step))) for step in range(6)]
    assert found == [["NotifyChargingLimit"], ["ChargingRateChanged"]] * 3  # the vehicle took 11 kW before
    assert lines(player.do(LimitFromOutside(None))) == ["ClearedChargingLimit", "ChargingRateChanged"]
    assert lines(player.do(LimitFromOutside(10.9))) == ["NotifyChargingLimit"]


def test_small_changes_are_counted_after_a_power_loss_too() -> None:
    player = charging(LimitChangeSignificance="10")
    player.do(LimitFromOutside(10))
    other = Player("2.0.1", [Evse(), Evse()], is_started=False)
    recall(other.core, json.loads(json.dumps(remember(player.core, player.now))))
    other.do(Accepted())
    found = [lines(other.do(LimitFromOutside(kw))) for kw in (9.2, 8.4)]
    assert found == [[], ["NotifyChargingLimit"]]


def test_each_transaction_has_small_changes_of_its_own() -> None:
    player = charging(LimitChangeSignificance="10")
    player.do(LimitFromOutside(10))
    player.act("unplug 1")
    player.do(PlugIn(Vehicle(), 1))
    player.act("swipe TAG-1 1")
    assert lines(player.do(LimitFromOutside(9.2))) == []


def test_a_profile_of_the_csms_is_no_limit_from_outside() -> None:
    assert lines(put(charging(), 0, DEFAULT, [(0, 8)])[1]) == []


@TWO
@pytest.mark.parametrize("with_schedules", [True, False])
def test_the_limit_itself_is_told_where_the_variable_says_so(version: str, with_schedules: bool) -> None:
    player = charging(version, NotifyChargingLimitWithSchedules=with_schedules)
    (_, payload), *_ = player.do(LimitFromOutside(7))
    assert ("chargingSchedule" in payload) is with_schedules
    if with_schedules:
        (schedule,) = payload["chargingSchedule"]
        assert (schedule["chargingRateUnit"], schedule["chargingSchedulePeriod"]) == (
            "W",
            [{"startPeriod": 0, "limit": 7000}],
        )


def test_it_is_reported_and_only_from_outside_changed() -> None:
    player = charging()
    player.do(LimitFromOutside(7))
    criteria = {"charging_profile_purpose": "ChargingStationExternalConstraints"}
    answer, said = player.command("GetChargingProfiles", request_id=1, charging_profile=criteria)
    assert answer.status == "Accepted"
    assert said[0][1]["chargingLimitSource"] == "EMS"
    assert said[0][1]["chargingProfile"][0]["id"] < 0
    assert player.command("ClearChargingProfile", charging_profile_criteria=criteria)[0].status == "Unknown"
    assert player.core.evses[1].limit_by == "external"


@TWO
def test_what_happens_without_a_connection_is_told_later(version: str) -> None:
    player = charging(version)
    player.do(Offline())
    player.do(LimitFromOutside(7))
    player.do(LimitFromOutside(6))
    assert player.core.evses[1].limit_by == "external"
    said = [action for action, _ in player.do(Online())]
    assert said.count("NotifyChargingLimit") == 1
    assert said.count("TransactionEvent") == 2
    assert player.do(Offline()) == player.do(Online()) == []


def test_a_station_that_obeys_no_signals_from_outside() -> None:
    player = charging(ExternalControlSignalsEnabled=False)
    with pytest.raises(ValueError, match="ExternalControlSignalsEnabled is false"):
        player.do(LimitFromOutside(7))
    assert player.core.evses[1].limit_by == "EVSE"
