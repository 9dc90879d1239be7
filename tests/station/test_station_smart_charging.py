"""Charging profiles and limits from outside on the wire, and what a reader sees of them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from csms_stub import Csms
from station_wire import VERSIONS, accept_all, words

from cpsim_kit import plots
from cpsim_kit.station import Evse, Station, Vehicle

pytestmark = pytest.mark.usefixtures("no_hang")

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
BOTH = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
async def csms() -> AsyncIterator[Csms]:
    async with Csms() as csms:
        yield csms


def made(csms: Csms, version: str, count: int = 1, **more: Any) -> Station:
    accept_all(csms, version)
    evses = [Evse() for _ in range(count)]
    return Station("CP1", csms.url, version=version, evses=evses, speed=math.inf, seed=1, starts_at=NOON, **more)


async def put(csms: Csms, version: str, place: int, purpose: str, limits: dict[int, float], number: int = 1) -> str:
    """Let the CSMS set a profile of amperes by hours since noon; the status."""
    periods = [{"startPeriod": hour * 3600, "limit": amps} for hour, amps in limits.items()]
    schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": periods, "startSchedule": NOON.isoformat()}
    is_16 = version == "1.6"
    profile = {
        "chargingProfileId" if is_16 else "id": number,
        "stackLevel": 0,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": "Absolute",
        "chargingSchedule": schedule if is_16 else [{"id": 1, **schedule}],
    }
    payload = (
        {"connectorId": place, "csChargingProfiles": profile}
        if is_16
        else {"evseId": place, "chargingProfile": profile}
    )
    return str((await csms.call("SetChargingProfile", payload))[2]["status"])


@BOTH
async def test_a_profile_in_the_middle_of_a_session(version: str, csms: Csms) -> None:
    async with made(csms, version) as station:
        await station.plug_in(Vehicle(60, 0.3, 11))
        await station.swipe("TAG-1")
        await station.until(minutes=30)
        assert await put(csms, version, 1, "TxDefaultProfile", {0: 8, 1: 0, 2: 16}) == "Accepted"
        assert (station.evses[1].power_kw, station.evses[1].limit_by) == (pytest.approx(5.52), "1")
        await station.until(state="SuspendedEVSE")
        assert station.now == NOON + timedelta(hours=1)
        await station.until(state="Charging")
        assert station.now == NOON + timedelta(hours=2)
        frame = station.schedule(hours=3)
        assert (frame["at"].tolist(), frame.limit_kw.tolist(), frame.by.tolist()) == ([station.now], [11.04], ["1"])
        await station.unplug()
    energy = station.sessions[0].energy_wh
    assert energy == pytest.approx(11000 / 2 + 5520 / 2, abs=1)


@BOTH
async def test_the_schedule_is_a_table(version: str, csms: Csms) -> None:
    async with made(csms, version, 2) as station:
        assert station.schedule().to_dict("records") == [
            {"at": station.now, "limit_kw": 44, "by": "EVSE", "why": "No profile limits it."}
        ]
        await put(csms, version, 2, "TxDefaultProfile", {0: 8, 1: 40, 2: 16}, 3)
        purpose = "ChargePointMaxProfile" if version == "1.6" else "ChargingStationMaxProfile"
        await put(csms, version, 0, purpose, {0: 50, 4: 10}, 4)
        await station.limit(3, evse=1)
        hours = [(row.at - NOON).total_seconds() / 3600 for row in station.schedule(evse=2).itertuples()]
        frame = station.schedule(evse=2)
        assert list(zip(hours, frame.limit_kw.round(2), frame.by, strict=True)) == [
            (0, 5.52, "3"),
            (1, 22, "EVSE"),
            (2, 11.04, "3"),
            (4, 6.9, "4"),
        ]
        assert station.schedule().limit_kw.round(2).tolist() == [34.5, 6.9]
        assert station.schedule(evse=1).by.tolist() == ["external"]
        assert all(frame.why)
        axes = plots.schedule(station)
        assert len(axes) == 2


async def test_the_schedule_of_a_relative_profile_counts_from_now_where_no_transaction_runs(csms: Csms) -> None:
    async with made(csms, "2.0.1") as station:
        schedule: dict[str, Any] = {"id": 1, "chargingRateUnit": "A"}
        schedule["chargingSchedulePeriod"] = [{"startPeriod": 0, "limit": 8}, {"startPeriod": 3600, "limit": 16}]
        profile = {
            "id": 1,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxDefaultProfile",
            "chargingSchedule": [schedule],
        }
        payload = {"evseId": 0, "chargingProfile": {**profile, "chargingProfileKind": "Relative"}}
        assert (await csms.call("SetChargingProfile", payload))[2] == {"status": "Accepted"}
        frame = station.schedule()
        assert frame.limit_kw.round(2).tolist() == [5.52, 11.04]
        assert frame["at"][1] - frame["at"][0] == timedelta(hours=1)


@pytest.mark.parametrize(
    ("share", "powers"),
    [
        ("equal", [5.52] * 4),
        ("first come", [11, 11, 0, 0]),
        (lambda limit_kw, claims: [limit_kw / 2 if claim.evse_id == 4 else 0 for claim in claims], [0, 0, 0, 11]),
    ],
)
async def test_evses_share_by_the_rule_that_is_given(share: Any, powers: list[float], csms: Csms) -> None:
    async with made(csms, "2.0.1", 4, share=share) as station:
        for number in range(1, 5):
            await station.plug_in(Vehicle(60, 0.3, 11), evse=number)
            await station.swipe(f"TAG-{number}", evse=number)
            await station.until(minutes=1, evse=number)
        assert await put(csms, "2.0.1", 0, "ChargingStationMaxProfile", {0: 32}) == "Accepted"
        assert [round(view.power_kw, 2) for view in station.evses.values()] == powers


def test_no_such_rule() -> None:
    with pytest.raises(ValueError, match=r'CP1: share is "equal", "first come" or a function'):
        Station("CP1", "ws://127.0.0.1:1", share="fair")


@BOTH
async def test_a_limit_from_outside(version: str, csms: Csms) -> None:
    async with made(csms, version) as station:
        await station.plug_in(Vehicle(60, 0.3, 11))
        await station.swipe("TAG-1")
        before = len(words(csms))
        await station.limit(7.0)
        assert station.evses[1].power_kw == pytest.approx(7)
        await station.limit(None)
        assert station.evses[1].power_kw == pytest.approx(11)
        changed = "Updated ChargingRateChanged"
        expected = ["NotifyChargingLimit", changed, "ClearedChargingLimit", changed]
        assert words(csms)[before:] == ([] if version == "1.6" else expected)
        for wrong in (
            {"kw": -1},
            {"kw": math.inf},
            {"kw": "7"},
            {"kw": 7, "source": "CSO"},
            {"kw": 7, "evse": 2},
        ):
            with pytest.raises(ValueError, match=r"CP1|EVSE 1 only"):
                await station.limit(**wrong)


async def test_what_cannot_be_asked_of_a_schedule(csms: Csms) -> None:
    async with made(csms, "2.0.1") as station:
        for wrong in ({"hours": 0}, {"hours": math.inf}, {"evse": 2}):
            with pytest.raises(ValueError, match=r"hours is a number|EVSE 1 only"):
                station.schedule(**wrong)


@BOTH
async def test_profiles_are_saved(version: str, csms: Csms, tmp_path: Path) -> None:
    async with made(csms, version) as station:
        await put(csms, version, 1, "TxDefaultProfile", {0: 8})
        path = station.save(tmp_path / "CP1.json")
    async with Station.load(path, csms.url, speed=math.inf, share="first come") as station:
        assert station.schedule().by.tolist() == ["1"]
        await station.plug_in(Vehicle())
        await station.swipe("TAG-1")
        assert station.evses[1].power_kw == pytest.approx(5.52)
