"""A charging profile that the reader sends in the middle of a session, on the local stack."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from conftest import SOON
from ocpp.v16 import call as call16
from ocpp.v201 import call

from cpsim_kit import Evse, Stack, Vehicle

LIMIT_W = 8 * 230 * 3


def profile(version: str, now: str) -> Any:
    schedule = {
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 8}],
        "startSchedule": now,
    }
    if version == "1.6":
        fields = {"chargingProfileId": 7, "chargingProfilePurpose": "TxDefaultProfile", "chargingSchedule": schedule}
        return call16.SetChargingProfile(1, {**fields, "stackLevel": 0, "chargingProfileKind": "Absolute"})
    fields = {"id": 7, "chargingProfilePurpose": "TxDefaultProfile", "chargingSchedule": [{"id": 1, **schedule}]}
    return call.SetChargingProfile(1, {**fields, "stackLevel": 0, "chargingProfileKind": "Absolute"})


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_the_next_meter_value_is_below_the_limit(
    stack: Stack, register: Callable[[], Awaitable[str]], version: str
) -> None:
    charge_point_id = await register()
    with pytest.raises(ValueError, match='share is "equal", "first come" or a function'):
        stack.station(charge_point_id, share="fair")
    async with stack.station(
        charge_point_id, version=version, evses=[Evse()], speed=math.inf, share="equal"
    ) as station:
        await station.plug_in(Vehicle(60, 0.3, 11))
        await station.swipe("TAG-1")
        await station.until(minutes=5)
        before = (station.now - timedelta(minutes=1)).isoformat()
        answer = await stack.send(charge_point_id, profile(version, before), timeout=SOON)
        assert answer.status == "Accepted"
        await station.until(minutes=2)
        assert station.evses[1].limit_by == "7"
        await station.unplug()
    powers = [
        float(value["value"])
        for record in station.charge_point.messages
        if record.kind == "CALL" and record.action in {"TransactionEvent", "MeterValues"}
        for reading in record.payload.get("meterValue", [])
        for value in reading["sampledValue"]
        if value.get("measurand") == "Power.Active.Import"
    ]
    assert powers[:5] == [11000] * 5
    assert set(powers[5:]) == {LIMIT_W}
    frame = station.sessions[0].to_frame()
    assert set(frame.limit_by[frame["at"] > frame["at"].iloc[-1] - timedelta(minutes=1)]) <= {"7", "EVSE"}
