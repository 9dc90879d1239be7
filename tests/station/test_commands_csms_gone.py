"""A CSMS that goes away with each of its commands, before or just after the answer: nothing hangs afterwards."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from conftest import until
from csms_stub import Csms
from schema_payloads import smallest
from station_wire import VERSIONS, accept_all, schema_of

from cpsim_kit import Backoff
from cpsim_kit.station import Evse, Station, Vehicle
from cpsim_kit.station.dialects.refusals import csms_actions

pytestmark = [pytest.mark.usefixtures("no_hang"), pytest.mark.slow]

BACK = {  # what undoes a command that takes the station out of service
    "1.6": ("ChangeAvailability", {"connectorId": 0, "type": "Operative"}),
    "2.0.1": ("ChangeAvailability", {"operationalStatus": "Operative"}),
}


def harmless(action: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload, without what would change the variables that this test needs."""
    if action == "SetVariables":
        payload["setVariableData"] = [
            {"component": {"name": "TxCtrlr"}, "variable": {"name": "EVConnectionTimeOut"}, "attributeValue": "60"}
        ]
    return payload


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("is_answered", [False, True])
async def test_after_each_command_the_station_comes_back_and_charges(version: str, is_answered: bool) -> None:
    async with Csms() as csms:
        accept_all(csms, version)
        station = Station(
            "CP1", csms.url, version=version, speed=math.inf, evses=[Evse(), Evse()], reconnect=Backoff(0.01, 0, 0)
        )
        async with station:
            for action in sorted(csms_actions(version)):
                payload = harmless(action, smallest(schema_of(version, action)))
                link, opened = csms.link, len(csms.links)
                if is_answered:
                    await csms.call(action, payload)
                else:
                    await link.send([2, "last", action, payload])
                link.abort()
                await until(lambda opened=opened: len(csms.links) > opened and station.charge_point.is_open, action)
                await station.until(minutes=10)
                await until(lambda: station.charge_point.is_open and station._driver.is_online, action)
            await csms.call(*BACK.get(version, BACK["2.0.1"]))
            for evse in (1, 2):
                if station.evses[evse].vehicle is not None:
                    await station.unplug(evse=evse)
            await station.until(minutes=10)
            session = await station.charge(Vehicle(soc=0.1), token="TAG-9", evse=2, minutes=6)
            assert session.energy_wh > 0
        assert not [task for task in asyncio.all_tasks() if "cpsim[CP1]" in task.get_name()]
