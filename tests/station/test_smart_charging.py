"""What charging profiles do at a station: what the vehicle gets, what is said, and what the CSMS can ask."""

from __future__ import annotations

import json
from typing import Any

import pytest
from core_player import Player
from message_lines import lines_of
from profile_payloads import DEFAULT, MAX, TX, at, payload, put, transaction_id
from station_wire import VERSIONS

from cpsim_kit.station import Evse, Vehicle
from cpsim_kit.station.profiles.smart_charging import MAX_PERIODS
from cpsim_kit.station.rules.events import Accepted, PlugIn, PowerOff, SuspendEv
from cpsim_kit.station.rules.memory import recall, remember

BOTH = pytest.mark.parametrize("version", VERSIONS)
KW_PER_A = 3 * 230 / 1000  # on three phases


def charging(version: str, vehicle: Vehicle | None = None, evses: tuple[Evse, ...] = (Evse(),), **more: Any) -> Player:
    """A vehicle charges at EVSE 1, with 11 kW unless it is another one."""
    player = Player(version, evses, **more)
    player.do(PlugIn(vehicle or Vehicle(), 1))
    player.act("swipe TAG-1 1")
    return player


@BOTH
def test_a_profile_bends_what_the_vehicle_gets(version: str) -> None:
    player = charging(version)
    evse = player.core.evses[1]
    answer, said = put(player, 1, DEFAULT, [(0, 10), (600, 20), (1200, 8)])
    assert answer.status == "Accepted"
    assert said == []  # the state is the same, and no version asks for more
    register = evse.register_wh(player.now)
    assert (evse.limit_kw, evse.offered_kw, evse.limit_by) == (pytest.approx(6.9), pytest.approx(6.9), "1")
    player.wait(600)
    assert evse.register_wh(player.now) - register == pytest.approx(6900 / 6)
    assert (evse.limit_kw, evse.power_kw(player.now)) == (pytest.approx(13.8), pytest.approx(11))
    player.wait(600)
    assert evse.power_kw(player.now) == pytest.approx(8 * KW_PER_A)
    frame = player.core.sessions[0].to_frame()
    assert list(frame.limit_by.drop_duplicates()) == ["EVSE", "1"]
    assert (frame.offered_kw <= frame.limit_kw + 1e-9).all()
    assert (frame.power_kw <= frame.offered_kw + 1e-9).all()


@BOTH
def test_below_6_a_the_evse_suspends_and_above_it_resumes(version: str) -> None:
    player = charging(version)
    evse = player.core.evses[1]
    put(player, 1, DEFAULT, [(0, 6), (90, 5.9), (210, 0), (330, 16)])
    assert (evse.charging_state, evse.offered_kw) == ("Charging", pytest.approx(6 * KW_PER_A))
    lines = [line for line in lines_of(player.wait(400)) if "eriodic" not in line]
    if version == "1.6":
        assert lines == ["status 1 SuspendedEVSE", "status 1 Charging"]
    else:
        assert [line.split()[2:4] for line in lines] == [
            ["ChargingStateChanged", "SuspendedEVSE"],
            ["ChargingStateChanged", "Charging"],
        ]
    frame = player.core.sessions[0].to_frame()
    suspended = frame[frame.state == "SuspendedEVSE"]
    assert (suspended.offered_kw == 0).all()
    assert suspended.limit_kw.round(2).drop_duplicates().tolist() == [4.07, 0]
    assert (suspended["at"].iloc[-1] - suspended["at"].iloc[0]).total_seconds() == 240


@pytest.mark.parametrize(("amps", "state"), [(5, "Charging"), (0, "SuspendedEVSE")])
def test_direct_current_has_no_such_least(amps: float, state: str) -> None:
    player = charging("2.0.1", Vehicle(max_kw=100), (Evse(max_kw=50, phases="DC"),))
    put(player, 1, DEFAULT, [(0, amps)])
    assert player.core.evses[1].charging_state == state
    assert player.core.evses[1].power_kw(player.now) == pytest.approx(amps * 400 / 1000)


# The EVSE's phases, the vehicle's, the profile, and what the vehicle gets: amperes are per phase (K01.FR.49 to .51).
@pytest.mark.parametrize(
    ("evse", "vehicle", "unit", "period", "kw", "phases"),
    [
        (3, 3, "A", (0, 10), 6.9, 3),
        (3, 1, "A", (0, 10), 2.3, 1),
        (1, 3, "A", (0, 10), 2.3, 1),
        (3, 3, "A", (0, 10, 1), 2.3, 1),
        (3, 3, "A", (0, 10, 2), 4.6, 2),
        (3, 3, "W", (0, 6900), 6.9, 3),
        (3, 1, "W", (0, 6900), 2.3, 1),  # as 10 A on each of three phases
        (3, 3, "W", (0, 2300, 1), 2.3, 1),
    ],
)
def test_phases(evse: Any, vehicle: int, unit: str, period: Any, kw: float, phases: int) -> None:
    max_kw = 22 if evse == 3 else 7.4
    player = charging("2.0.1", Vehicle(max_kw=3.7 * vehicle, phases=vehicle), (Evse(max_kw=max_kw, phases=evse),))
    put(player, 1, DEFAULT, [period], unit=unit)
    live = player.core.evses[1]
    assert (live.power_kw(player.now), live.phases_used) == (pytest.approx(kw), phases)


@BOTH
def test_meter_values_say_what_is_offered(version: str) -> None:
    names = {"1.6": "MeterValuesSampledData"}
    variable = names.get(version, "SampledDataCtrlr.TxUpdatedMeasurands")
    measurands = "Power.Offered,Current.Offered,Power.Active.Import"
    player = charging(version, Vehicle(max_kw=5.5), variables={variable: measurands})
    put(player, 1, DEFAULT, [(0, 9)])
    payload = player.wait(60)[-1][1]
    found = {}
    for each in payload["meterValue"][0]["sampledValue"]:
        found[each["measurand"], each.get("phase", "")] = float(each["value"])
    assert found == {
        ("Power.Offered", ""): 6210,
        ("Power.Active.Import", ""): 5500,
        **{("Current.Offered", phase): 9 for phase in ("L1", "L2", "L3")},
    }


# -- Of a transaction -------------------------------------------------------------------------------------------------


@BOTH
def test_a_profile_of_a_transaction_is_gone_with_it(version: str) -> None:
    player = charging(version)
    evse = player.core.evses[1]
    put(player, 1, DEFAULT, [(0, 14)], number=1)
    answer, _ = put(player, 1, TX, [(0, 8)], number=2, kind="Relative", transaction_id=transaction_id(player))
    assert answer.status == "Accepted"
    assert evse.limit_by == "2"
    player.act("swipe TAG-1 1")
    player.act("unplug 1")
    assert [profile.id for _, profile in player.core.smart.profiles.find()] == [1]
    player.act("plug 1")
    player.act("swipe TAG-1 1")
    assert (evse.limit_by, evse.power_kw(player.now)) == ("1", pytest.approx(14 * KW_PER_A))


@BOTH
@pytest.mark.parametrize("acts", [[], ["plug 1"], ["plug 1", "swipe TAG-1 1"]])
def test_a_profile_of_another_transaction_is_refused(version: str, acts: list[str]) -> None:
    player = Player(version)
    for act in acts:
        player.act(act)
    answer, _ = put(player, 1, TX, kind="Relative", transaction_id=99 if version == "1.6" else "99")
    assert answer.status == "Rejected"
    if version != "1.6":
        assert answer.status_info["reasonCode"] == "TxNotFound"
    assert player.core.evses[1].limit_by == "EVSE"


@BOTH
def test_a_relative_profile_counts_from_when_the_vehicle_was_connected_and_authorized(version: str) -> None:
    player = Player(version)
    put(player, 0, DEFAULT, [(0, 8), (100, 12)], kind="Relative")
    player.wait(50)
    player.act("plug 1")
    player.wait(30)
    player.act("swipe TAG-1 1")
    evse = player.core.evses[1]
    player.wait(99)
    assert evse.power_kw(player.now) == pytest.approx(8 * KW_PER_A)
    player.wait(1)
    assert evse.power_kw(player.now) == pytest.approx(12 * KW_PER_A)


@pytest.mark.parametrize("stop", [["EVConnected", "Authorized"], ["EnergyTransfer"]])
def test_energy_transfer_as_stop_point_ends_the_transaction_when_a_profile_suspends(stop: list[str]) -> None:
    player = charging("2.0.1", variables={"TxCtrlr.TxStopPoint": stop})
    _, said = put(player, 1, DEFAULT, [(0, 0)])
    expected = "Ended 2 ChargingStateChanged SuspendedEVSE Other" if stop == ["EnergyTransfer"] else "Updated 2 Charg"
    assert lines_of(said)[0].startswith(expected)


# -- The station's limit ----------------------------------------------------------------------------------------------


def depot(version: str, count: int = 4) -> Player:
    """Vehicles of 11 kW charge at all EVSEs; they came a minute after each other."""
    player = Player(version, [Evse() for _ in range(count)])
    for number in range(1, count + 1):
        player.do(PlugIn(Vehicle(capacity_kwh=60, soc=0.3), number))
        player.act(f"swipe TAG-{number} {number}")
        player.wait(60)
    return player


def powers(player: Player) -> list[float]:
    return [round(evse.power_kw(player.now), 2) for evse in player.core.evses.values()]


@BOTH
def test_evses_share_the_limit_of_the_station(version: str) -> None:
    player = depot(version)
    put(player, 0, MAX, [(0, 32)])
    assert powers(player) == [5.52] * 4
    assert [evse.limit_by for evse in player.core.evses.values()] == ["1"] * 4
    player.act("unplug 2")
    assert powers(player) == [7.36, 0, 7.36, 7.36]
    put(player, 0, MAX, [(0, 100)])
    assert powers(player) == [11, 0, 11, 11]


@BOTH
def test_what_one_cannot_use_goes_to_the_others(version: str) -> None:
    player = depot(version, 2)
    put(player, 0, MAX, [(0, 20)])
    put(player, 2, DEFAULT, [(0, 7)], number=2)
    assert powers(player) == [8.97, 4.83]
    assert [evse.limit_by for evse in player.core.evses.values()] == ["1", "2"]


def test_where_the_limit_is_too_little_the_last_one_waits() -> None:
    player = depot("2.0.1")
    _, said = put(player, 0, MAX, [(0, 20)])
    assert powers(player) == [4.6, 4.6, 4.6, 0]
    assert player.core.evses[4].charging_state == "SuspendedEVSE"
    assert "ChargingStateChanged SuspendedEVSE" in " ".join(lines_of(said))


def test_a_vehicle_that_takes_nothing_is_offered_the_least_and_counts_for_nothing() -> None:
    player = depot("2.0.1", 2)
    put(player, 0, MAX, [(0, 20)])
    player.do(SuspendEv(True, 1))
    first = player.core.evses[1]
    assert (first.charging_state, first.offered_kw) == ("SuspendedEV", pytest.approx(6 * KW_PER_A))
    assert powers(player) == [0, 11]
    player.do(SuspendEv(False, 1))
    assert powers(player) == [6.9, 6.9]


def test_a_vehicle_near_its_end_leaves_more_and_more_to_the_others() -> None:
    player = Player("2.0.1", [Evse(), Evse()])
    for number, soc in ((1, 0.79), (2, 0.1)):
        player.do(PlugIn(Vehicle(capacity_kwh=20, soc=soc), number))
        player.act(f"swipe TAG-{number} {number}")
    put(player, 0, MAX, [(0, 20)])
    assert powers(player) == [6.9, 6.9]
    player.wait(3 * 3600)
    first, second = player.core.evses.values()
    assert first.charging_state == "SuspendedEV"
    assert second.offered_kw > 10.9
    frames = [session.to_frame() for session in player.core.sessions]
    assert frames[1].offered_kw.max() > 10.9
    assert all((frame.power_kw <= frame.offered_kw + 1e-9).all() for frame in frames)


# -- Commands ---------------------------------------------------------------------------------------------------------


@BOTH
def test_a_profile_that_is_cleared_limits_nothing(version: str) -> None:
    player = charging(version)
    evse = player.core.evses[1]
    name = "id" if version == "1.6" else "charging_profile_id"
    assert player.command("ClearChargingProfile", **{name: 1})[0].status == "Unknown"
    put(player, 1, DEFAULT, [(0, 0)])
    assert evse.charging_state == "SuspendedEVSE"
    answer, said = player.command("ClearChargingProfile", **{name: 1})
    assert answer.status == "Accepted"
    assert len(said) == 1
    assert (evse.charging_state, evse.limit_by) == ("Charging", "EVSE")


@BOTH
@pytest.mark.parametrize(
    ("criteria", "left"),
    [
        ({"purpose": "TxDefaultProfile"}, {1}),
        ({"place": 1}, {1, 3}),
        ({"stack_level": 1}, {1, 2}),
        ({"purpose": "TxDefaultProfile", "place": 0}, {1, 2}),
        ({"purpose": "TxProfile"}, {1, 2, 3}),
    ],
)
def test_profiles_are_cleared_by_criteria(version: str, criteria: dict[str, Any], left: set[int]) -> None:
    player = Player(version)
    put(player, 0, MAX, number=1)
    put(player, 1, DEFAULT, number=2)
    put(player, 0, DEFAULT, number=3, level=1)
    words = {"purpose": "charging_profile_purpose", "place": "connector_id" if version == "1.6" else "evse_id"}
    fields = {words.get(name, name): value for name, value in criteria.items()}
    if version != "1.6":
        fields = {"charging_profile_criteria": fields}
    answer, _ = player.command("ClearChargingProfile", **fields)
    assert answer.status == ("Unknown" if left == {1, 2, 3} else "Accepted")
    assert {profile.id for _, profile in player.core.smart.profiles.find()} == left


@BOTH
def test_a_composite_schedule_is_what_is_offered(version: str) -> None:
    player = charging(version, Vehicle(max_kw=22, capacity_kwh=600))
    put(player, 0, MAX, [(0, 25)], number=1)
    put(player, 1, DEFAULT, [(0, 10), (300, 40), (600, 7, 1)], number=2, duration=900)
    place = "connector_id" if version == "1.6" else "evse_id"
    answer, _ = player.command("GetCompositeSchedule", duration=1200, **{place: 1})
    schedule = answer.charging_schedule if version == "1.6" else answer.schedule
    periods = schedule["chargingSchedulePeriod"]
    assert [(each["startPeriod"], each["limit"], each.get("numberPhases")) for each in periods] == [
        (0, 10, 3),
        (300, 25, 3),
        (600, 7, 1),
        (900, 25, 3),
    ]
    evse = player.core.evses[1]
    for each in periods:
        player.wait(each["startPeriod"] - player.now)
        assert evse.offered_kw == pytest.approx(each["limit"] * 0.23 * each["numberPhases"])


@BOTH
@pytest.mark.parametrize(("unit", "limit"), [("A", 31.8), ("W", 22000)])
def test_a_gap_is_the_most_that_the_evse_delivers(version: str, unit: str, limit: float) -> None:
    player = Player(version)
    put(player, 1, DEFAULT, [(0, 10)], start=100, duration=100)
    place = "connector_id" if version == "1.6" else "evse_id"
    fields = {place: 1, "duration": 300, "charging_rate_unit": unit}
    answer, _ = player.command("GetCompositeSchedule", **fields)
    schedule = answer.charging_schedule if version == "1.6" else answer.schedule
    assert schedule["chargingRateUnit"] == unit
    periods = schedule["chargingSchedulePeriod"]
    assert [each["startPeriod"] for each in periods] == [0, 100, 200]
    assert periods[0]["limit"] == periods[2]["limit"] == limit


@BOTH
def test_the_composite_schedule_of_the_station_is_what_its_evses_may_take_together(version: str) -> None:
    player = Player(version, [Evse(), Evse(max_kw=11), Evse(max_kw=3.68, phases=1)])
    place = "connector_id" if version == "1.6" else "evse_id"

    def ask(unit: str) -> list[tuple[float, float]]:
        answer, _ = player.command("GetCompositeSchedule", duration=600, charging_rate_unit=unit, **{place: 0})
        schedule = answer.charging_schedule if version == "1.6" else answer.schedule
        return [(each["startPeriod"], each["limit"]) for each in schedule["chargingSchedulePeriod"]]

    assert ask("W") == [(0, 36680)]
    put(player, 1, DEFAULT, [(0, 10), (300, 20)], number=1)
    assert ask("W") == [(0, 6900 + 11000 + 3680), (300, 13800 + 11000 + 3680)]
    put(player, 0, MAX, [(0, 50), (400, 10)], number=2)
    assert ask("W") == [(0, 21580), (300, 28480), (400, 6900)]
    assert ask("A") == [(0, 31.2), (300, 41.2), (400, 10)]


def composite(player: Player, place: int = 1, **fields: Any) -> tuple[int, list[tuple[int, float]]]:
    """The duration of a composite schedule, and its periods as starts and limits."""
    name = "connector_id" if player.core.dialect.version.name == "1.6" else "evse_id"
    answer, _ = player.command("GetCompositeSchedule", **{name: place}, **fields)
    schedule = answer.charging_schedule if name == "connector_id" else answer.schedule
    return schedule["duration"], [(each["startPeriod"], each["limit"]) for each in schedule["chargingSchedulePeriod"]]


# The moment of the question, the starts of a profile of 10 A and then 8 A and of one of 6 A, and the answer for 60 s.
@pytest.mark.parametrize(
    ("now", "start", "least", "expected"),
    [
        (0.6, 1, 500, [(0, 10), (30, 8)]),
        (0.4, 1, 500, [(0, 31.8), (1, 10), (31, 8)]),
        (0, 10, 10.4, [(0, 31.8), (10, 6)]),
        (0, 10, 40.2, [(0, 31.8), (10, 10), (40, 6)]),
        (0, 10, 59.7, [(0, 31.8), (10, 10), (40, 8)]),  # the next second is not asked for
        (0, 0.2, 0.4, [(0, 6)]),
    ],
)
@BOTH
def test_a_composite_schedule_has_one_period_for_a_second(
    version: str, now: float, start: float, least: float, expected: Any
) -> None:
    player = Player(version)
    put(player, 1, DEFAULT, [(0, 10), (30, 8)], number=1, start=start)
    put(player, 0, MAX, [(0, 6)], number=2, start=least)
    player.wait(now)
    assert composite(player, duration=60) == (60, expected)


HOURS = [(hour * 3600, 10 + hour % 2) for hour in range(24)]


@BOTH
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("periods", "duration", "covered", "count"),
    [
        (HOURS, 7200, 7200, 2),
        (HOURS, 31_536_000, MAX_PERIODS * 3600, MAX_PERIODS),
        (HOURS, 2**31 - 1, MAX_PERIODS * 3600, MAX_PERIODS),
        ([(0, 10)], 2**31 - 1, (MAX_PERIODS - 1) * 86_400 + 57_600, 1),  # nothing changes, as far as it looks
    ],
)
def test_a_composite_schedule_covers_no_more_than_a_schedule_may_have(
    version: str, place: int, periods: Any, duration: int, covered: int, count: int
) -> None:
    player = Player(version)  # its clock begins at 8 o'clock
    put(player, 0, DEFAULT, periods, kind="Recurring", start=-8 * 3600)
    lines_of, found = composite(player, place, duration=duration)
    assert (lines_of, len(found)) == (covered, count)
    assert composite(player, place, duration=covered) == (covered, found)


@BOTH
def test_a_composite_schedule_covers_a_day_of_many_profiles(version: str) -> None:
    player = Player(version)
    for level in range(20):
        quarters = [(number * 900, 10 + number % 2 + level) for number in range(96)]
        put(player, 1, DEFAULT, quarters, kind="Recurring", number=level, level=level, start=level * 7 - 86_400)
    covered, periods = composite(player, duration=86_400)
    assert (covered, len(periods)) == (86_400, 97)
    busy = [(number * 60, 10 + number % 2) for number in range(1024)]
    put(player, 1, DEFAULT, busy, kind="Recurring", number=20, level=20, start=-86_400)
    put(player, 0, MAX, [(0, 6)], number=21, start=80_000)  # one period too many
    covered, periods = composite(player, duration=86_400)
    assert (covered, len(periods)) == (80_000, MAX_PERIODS)


@BOTH
def test_a_composite_schedule_of_any_duration_is_answered(version: str) -> None:
    player = Player(version)
    put(player, 1, DEFAULT, [(0, 10)])
    assert composite(player, duration=10**400) == (2**31 - 1, [(0, 10)])
    assert composite(player, duration=0) == (0, [(0, 31.8)])


@pytest.mark.parametrize(
    ("place", "units", "asked", "unit"),
    [
        (1, "A,W", None, "A"),
        (2, "A,W", None, "W"),
        (0, "A,W", None, "A"),
        (1, "W", None, "W"),
        (1, "W", "A", None),
        (1, "A,W", "W", "W"),
    ],
)
def test_the_unit_of_a_composite_schedule(place: int, units: str, asked: str | None, unit: str | None) -> None:
    player = Player("2.0.1", [Evse(), Evse(50, "DC")], {"SmartChargingCtrlr.RateUnit": units})
    answer, _ = player.command("GetCompositeSchedule", duration=60, evse_id=place, charging_rate_unit=asked)
    assert answer.status == ("Rejected" if unit is None else "Accepted")  # K08.FR.07
    assert (answer.schedule or {}).get("chargingRateUnit") == unit
    status, _ = put(player, 1, DEFAULT, unit="A")
    assert status.status == ("Accepted" if "A" in units else "Rejected")  # K01.FR.26


@BOTH
def test_no_composite_schedule_of_an_evse_that_is_not_there(version: str) -> None:
    place = "connector_id" if version == "1.6" else "evse_id"
    assert Player(version).command("GetCompositeSchedule", duration=60, **{place: 2})[0].status == "Rejected"


@BOTH
def test_the_first_and_the_last_time_that_there_is_stand_for_always(version: str) -> None:
    player = charging(version)
    always = {"valid_from": "0001-01-01T00:00:00+05:00", "valid_to": "9999-12-31T23:59:59.9999999Z"}
    answer, _ = put(player, 1, DEFAULT, **always)
    assert answer.status == "Accepted"
    assert player.core.evses[1].limit_by == "1"
    player.wait(60)
    if version != "1.6":
        _, said = player.command("GetChargingProfiles", request_id=1, charging_profile={})
        (lines_of,) = said[0][1]["chargingProfile"]
        assert (lines_of["validFrom"], lines_of["validTo"]) == ("0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.000Z")


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
def test_the_profiles_are_reported_in_parts(version: str) -> None:
    player = charging(version)
    sent = [payload(version, DEFAULT, [(0, 10), (60, 12.5)], number=n, level=n, valid_from=at(5)) for n in range(1, 24)]
    for each in sent:
        player.command("SetChargingProfile", evse_id=1, charging_profile=each)
    put(player, 0, MAX, number=99)
    for criteria, count in (({"charging_profile_purpose": "TxDefaultProfile"}, 23), ({"stack_level": 0}, 1)):
        answer, said = player.command("GetChargingProfiles", request_id=7, charging_profile=criteria)
        assert answer.status == "Accepted"
        parts = [part for action, part in said if action == "ReportChargingProfiles"]
        assert [part["tbc"] for part in parts] == [True] * (len(parts) - 1) + [False]
        assert {part["requestId"] for part in parts} == {7}
        assert sum(len(part["chargingProfile"]) for part in parts) == count
    answer, said = player.command("GetChargingProfiles", request_id=8, charging_profile={"charging_profile_id": [3]})
    (reported,) = said[0][1]["chargingProfile"]
    decoded = player.core.dialect.version.request("SetChargingProfile").decode(
        {"evseId": 1, "chargingProfile": reported}
    )
    expected = json.loads(json.dumps(sent[2]).replace("+00:00", ".000Z"))
    assert decoded["charging_profile"] == expected
    nothing = player.command("GetChargingProfiles", request_id=9, evse_id=0, charging_profile={"stack_level": 50})
    assert nothing[0].status == "NoProfiles"


# The requirement is checked by the tests of the rules; here, that the answer says it, and that nothing changes.
@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
@pytest.mark.parametrize(
    ("evse_id", "fields", "code"),
    [
        (9, {}, "UnknownEvse"),
        (1, {"stack_level": 101}, "InvalidStackLevel"),
        (1, {"charging_profile_purpose": "ChargingStationMaxProfile"}, "InvalidProfile"),
        (0, {"charging_profile_purpose": "ChargingStationExternalConstraints"}, "InvalidProfile"),
        (1, {"charging_profile_purpose": "TxProfile", "transaction_id": "x"}, "TxNotFound"),
        (1, {"charging_profile_kind": "Relative"}, "InvalidSchedule"),
    ],
)
def test_a_refusal_says_why(version: str, evse_id: int, fields: dict[str, Any], code: str) -> None:
    player = Player(version)
    answer, _ = player.command(
        "SetChargingProfile", evse_id=evse_id, charging_profile=payload(version, DEFAULT, [(0, 10)]) | fields
    )
    assert (answer.status, answer.status_info["reasonCode"]) == ("Rejected", code)
    assert answer.status_info["additionalInfo"]
    assert player.core.smart.profiles.find() == []


@pytest.mark.parametrize(
    ("profile", "period", "code"),
    [
        ({"charging_profile_kind": "Dynamic"}, {}, "UnsupportedKind"),
        ({"charging_profile_purpose": "PriorityCharging"}, {}, "UnsupportedPurpose"),
        ({"charging_profile_purpose": "LocalGeneration"}, {}, "UnsupportedPurpose"),
        ({"max_offline_duration": 60}, {}, "UnsupportedParam"),
        ({}, {"setpoint": 8}, "UnsupportedParam"),
        ({}, {"discharge_limit": -8}, "UnsupportedParam"),
        ({}, {"operation_mode": "CentralSetpoint"}, "UnsupportedParam"),
        ({}, {"limit": None}, "InvalidSchedule"),
    ],
)
def test_what_ocpp_21_has_besides_is_refused(profile: dict[str, Any], period: dict[str, Any], code: str) -> None:
    player = Player("2.1")
    fields = payload("2.1") | profile
    fields["charging_schedule"][0]["charging_schedule_period"][0] |= period
    answer, _ = player.command("SetChargingProfile", evse_id=1, charging_profile=fields)
    assert (answer.status, answer.status_info["reasonCode"]) == ("Rejected", code)


def test_ocpp_21_says_charging_only_and_means_what_201_does() -> None:
    player = charging("2.1")
    fields = payload("2.1")
    fields["charging_schedule"][0]["charging_schedule_period"][0] |= {"operation_mode": "ChargingOnly"}
    assert player.command("SetChargingProfile", evse_id=1, charging_profile=fields)[0].status == "Accepted"
    assert player.core.evses[1].limit_by == "1"


def test_ocpp_16_replaces_by_stack_level_and_purpose_too() -> None:
    player = charging("1.6")
    put(player, 1, DEFAULT, [(0, 10)], number=1)
    put(player, 1, DEFAULT, [(0, 12)], number=2)
    assert [profile.id for _, profile in player.core.smart.profiles.find()] == [2]
    answer, _ = put(player, 1, MAX)
    assert answer.status == "Rejected"


# -- Over a power loss ------------------------------------------------------------------------------------------------


@BOTH
def test_profiles_survive_a_power_loss(version: str) -> None:
    player = charging(version)
    put(player, 0, DEFAULT, [(0, 10)])
    player.do(PowerOff())
    assert player.core.evses[1].offered_kw == 0
    player.do(Accepted())
    player.act("unplug 1")
    player.act("plug 1")
    player.act("swipe TAG-1 1")
    assert player.core.evses[1].limit_by == "1"


@BOTH
def test_profiles_are_saved_with_the_station(version: str) -> None:
    player = charging(version)
    put(player, 0, MAX, [(0, 10), (60, 20)])
    saved = json.loads(json.dumps(remember(player.core, player.now)))
    other = Player(version, is_started=False)
    recall(other.core, saved)
    assert other.core.evses[1].limit_by == "1"
    other.do(Accepted())
    other.do(PlugIn(Vehicle(), 1))
    other.act("swipe TAG-1 1")
    assert other.core.evses[1].limit_kw == pytest.approx(6.9)
    other.wait(60)
    assert other.core.evses[1].limit_kw == pytest.approx(13.8)


def test_the_variables_say_how_many_profiles_there_are() -> None:
    player = Player("2.0.1")
    name = "SmartChargingCtrlr.Entries[ChargingProfiles]"
    assert player.core.variables[name] == 0
    put(player)
    assert player.core.variables[name] == 1
    assert player.core.variables["SmartChargingCtrlr.Available"] is True
