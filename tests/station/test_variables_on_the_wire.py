"""Variables that act on the connection, and reports, against a CSMS on a real WebSocket."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from charge_point_fixtures import spawn
from conftest import MS, SOON, until
from csms_stub import Csms, answer
from station_wire import accept_all

from cpsim_kit import Backoff, Evse, Station, Vehicle
from cpsim_kit.station.device_model.device_model import model
from cpsim_kit.station.device_model.variable import Address
from cpsim_kit.station.dialects.v201.reports import PART

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_hang")]

VERSIONS = ("1.6", "2.0.1")
SOON_AGAIN = Backoff(10 * MS, 10 * MS, 0)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def asked(name: str, value: str | None = None) -> dict[str, Any]:
    address = Address.parse(name)
    variable = {"name": address.variable, **({"instance": address.instance} if address.instance else {})}
    data = {"component": {"name": address.component}, "variable": variable}
    return data if value is None else {**data, "attributeValue": value}


async def put(csms: Csms, name: str, value: str) -> str:
    reply = await csms.call("SetVariables", {"setVariableData": [asked(name, value)]})
    return str(reply[2]["setVariableResult"][0]["attributeStatus"])


async def get(csms: Csms, name: str) -> str:
    reply = await csms.call("GetVariables", {"getVariableData": [asked(name)]})
    return str(reply[2]["getVariableResult"][0]["attributeValue"])


async def test_the_station_tells_what_it_is(csms: Csms) -> None:
    facts = {"model": "M-1", "vendor_name": "V-1", "serial_number": "S-1", "firmware_version": "F-1"}
    async with Station("CP1", csms.url, **facts) as station:
        for variable, value in {"Model": "M-1", "VendorName": "V-1", "SerialNumber": "S-1"}.items():
            assert await get(csms, f"ChargingStation.{variable}") == value
        assert await get(csms, "SecurityCtrlr.Identity") == "CP1"
        assert await get(csms, "SecurityCtrlr.SecurityProfile") == "0"
        station.charge_point.firmware_version = "F-2"
        assert await get(csms, "ChargingStation.FirmwareVersion") == "F-2"
        assert station.variables["ChargingStation.FirmwareVersion"] == "F-2"
        frame = station.variables.to_frame().set_index("variable")
        assert frame.loc["ChargingStation.Model"].value == "M-1"
        assert list(frame.index) == list(model(1))
        assert frame.loc["EVSE[1].Power"].max_limit == 22_000


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_a_full_inventory_comes_in_parts(csms: Csms, version: str) -> None:
    accept_all(csms, version)
    async with Station("CP1", csms.url, version=version, evses=[Evse(), Evse()]):
        csms.calls.clear()
        reply = await csms.call("GetBaseReport", {"requestId": 3, "reportBase": "FullInventory"})
        assert reply[2]["status"] == "Accepted"
        await until(lambda: any(call.payload.get("tbc") is False for call in csms.calls))
        parts = [call.payload for call in csms.calls if call.action == "NotifyReport"]
        assert [part["seqNo"] for part in parts] == list(range(len(parts)))
        assert sum(len(part["reportData"]) for part in parts) == len(model(2))
        again = await csms.call("GetReport", {"requestId": 4})
        assert again[2]["status"] in {"Accepted", "Rejected"}


@pytest.mark.parametrize(
    ("version", "action", "payload", "code"),
    [
        ("1.6", "GetConfiguration", {"key": ["ResetRetries"] * 51}, "OccurenceConstraintViolation"),
        (
            "2.0.1",
            "GetVariables",
            {"getVariableData": [asked("ClockCtrlr.DateTime")] * 51},
            "OccurenceConstraintViolation",  # as part 4 spells it
        ),
    ],
)
async def test_too_many_items_get_a_callerror(
    csms: Csms, version: str, action: str, payload: dict[str, Any], code: str
) -> None:
    accept_all(csms, version)
    async with Station("CP1", csms.url, version=version):
        reply = await csms.call(action, payload)
        assert (reply[0], reply[2]) == (4, code)


# -- The connection ---------------------------------------------------------------------------------------------------


async def test_the_keepalive_begins_at_once(csms: Csms, version: str) -> None:
    accept_all(csms, version)
    options: dict[str, Any] = {"ping_interval": None, "ping_timeout": 20 * MS, "close_timeout": 20 * MS}
    async with Station("CP1", csms.url, version=version, reconnect=SOON_AGAIN, **options) as station:
        if version == "1.6":
            key = {"key": "WebSocketPingInterval", "value": "1"}
            assert (await csms.call("ChangeConfiguration", key))[2]["status"] == "Accepted"
        else:
            assert await put(csms, "OCPPCommCtrlr.WebSocketPingInterval", "1") == "Accepted"
        assert station.charge_point.ping_interval == 1
        csms.link.stop_reading()
        await until(lambda: len(csms.requests) >= 2)  # no pong came, and it connects again
        assert station.charge_point.ping_interval == 1


async def test_0_turns_the_keepalive_off(csms: Csms) -> None:
    options: dict[str, Any] = {"ping_interval": 50 * MS, "ping_timeout": SOON}
    async with Station("CP1", csms.url, reconnect=SOON_AGAIN, **options) as station:
        websocket = station.charge_point._connection._transport._inner  # type: ignore[union-attr]
        await until(lambda: websocket._ping, "a ping")
        assert await put(csms, "OCPPCommCtrlr.WebSocketPingInterval", "0") == "Accepted"
        assert station.charge_point.ping_interval is None
        last = websocket._ping
        csms.link.stop_reading()
        await asyncio.sleep(200 * MS)
        assert websocket._ping == last, "no other ping was sent"
        assert station.charge_point.is_open
        csms.link.abort()


async def test_the_keepalive_of_the_charge_point_and_of_the_variable_are_the_same(csms: Csms) -> None:
    name = "OCPPCommCtrlr.WebSocketPingInterval"
    async with Station("CP1", csms.url, ping_interval=7) as station:
        assert station.variables[name] == 7
    async with Station("CP1", csms.url, ping_interval=None) as station:
        assert station.variables[name] == 0
    async with Station("CP1", csms.url, variables={name: 5}) as station:
        assert station.charge_point.ping_interval == 5
    async with Station("CP1", csms.url) as station:
        assert station.variables[name] == station.charge_point.ping_interval == 20


async def test_a_new_password_is_used_from_the_next_connection_on(csms: Csms) -> None:
    async with Station("CP1", csms.url, reconnect=SOON_AGAIN) as station:
        assert "Authorization" not in csms.requests[-1].headers
        assert await put(csms, "SecurityCtrlr.BasicAuthPassword", "0123456789abcdef") == "Accepted"
        assert await get(csms, "SecurityCtrlr.SecurityProfile") == "1"
        await station.disconnect()
        await station.reconnect()
        credentials = base64.b64encode(b"CP1:0123456789abcdef").decode()
        assert csms.requests[-1].headers["Authorization"] == f"Basic {credentials}"


async def test_a_station_with_a_password_connects_anew_with_the_one_that_was_set(csms: Csms) -> None:
    """A01."""
    async with Station("CP1", csms.url, password="the-old-password") as station:
        assert await put(csms, "SecurityCtrlr.BasicAuthPassword", "0123456789abcdef") == "Accepted"
        await until(lambda: len(csms.links) == 2 and station.charge_point.is_open)
        credentials = base64.b64encode(b"CP1:0123456789abcdef").decode()
        assert csms.requests[-1].headers["Authorization"] == f"Basic {credentials}"
        assert await put(csms, "SecurityCtrlr.BasicAuthPassword", "short") == "Rejected"
        await station.plug_in(Vehicle())
        assert len(csms.links) == 2


async def test_the_authorization_key_of_1_6_is_used_from_the_next_connection_on(csms: Csms) -> None:
    accept_all(csms, "1.6")
    async with Station("CP1", csms.url, version="1.6", reconnect=SOON_AGAIN) as station:
        key = {"key": "AuthorizationKey", "value": "00ff" * 8}
        assert (await csms.call("ChangeConfiguration", key))[2]["status"] == "Accepted"
        assert station.variables["SecurityProfile"] == 1
        await station.disconnect()
        await station.reconnect()
        credentials = base64.b64encode(b"CP1:" + bytes.fromhex("00ff" * 8)).decode()
        assert csms.requests[-1].headers["Authorization"] == f"Basic {credentials}"


async def test_the_waits_before_connecting_again_are_those_that_were_set(csms: Csms) -> None:
    async with Station("CP1", csms.url, seed=1) as station:
        for variable, value in {"WaitMinimum": "1", "RandomRange": "0", "RepeatTimes": "2"}.items():
            assert await put(csms, f"OCPPCommCtrlr.RetryBackOff{variable}", value) == "Accepted"
        assert station._driver.starter.backoff == Backoff(1, 0, 2)
        csms.link.abort()
        await until(lambda: len(csms.links) == 2)  # sooner than after the 10 s of the default


async def test_after_some_attempts_the_next_network_connection_is_used(csms: Csms) -> None:
    async with Station("CP1", csms.url, reconnect=SOON_AGAIN) as station:
        assert await put(csms, "OCPPCommCtrlr.NetworkProfileConnectionAttempts", "2") == "Accepted"
        assert await get(csms, "OCPPCommCtrlr.ActiveNetworkProfile") == "1"
        csms.refusals = iter([503, 503])
        csms.link.abort()
        await until(lambda: len(csms.links) == 2 and station.charge_point.is_open)
        assert await get(csms, "OCPPCommCtrlr.ActiveNetworkProfile") == "2"
        assert await put(csms, "OCPPCommCtrlr.NetworkConfigurationPriority", "1,2") == "RebootRequired"
        await station.power_off()
        await station.power_on()
        assert await get(csms, "OCPPCommCtrlr.ActiveNetworkProfile") == "1"


async def test_a_network_connection_that_was_set_is_used_after_a_reset(csms: Csms) -> None:
    async with Station("CP1", csms.url, reconnect=SOON_AGAIN, speed=1000) as station:
        assert await put(csms, "OCPPCommCtrlr.NetworkConfigurationPriority", "2,1") == "RebootRequired"
        assert await get(csms, "OCPPCommCtrlr.ActiveNetworkProfile") == "1"
        await csms.call("Reset", {"type": "Immediate"})
        await until(lambda: len(csms.links) == 2 and "SecurityEventNotification" in [c.action for c in csms.link.calls])
        assert station.variables["OCPPCommCtrlr.ActiveNetworkProfile"] == 2


async def test_a_report_is_sent_while_the_station_is_pending(csms: Csms) -> None:
    """B02.FR.01, .02."""
    pending = {"currentTime": "2026-11-23T10:00:00Z", "interval": 1, "status": "Pending"}
    csms.once.append(answer(pending))
    starting = spawn(Station("CP1", csms.url).connect())
    await until(lambda: csms.actions == ["BootNotification"])
    await csms.call("GetBaseReport", {"requestId": 3, "reportBase": "FullInventory"})
    station = await starting
    parts = -(-len(model(1)) // PART)
    assert csms.actions[: parts + 2] == ["BootNotification", *["NotifyReport"] * parts, "BootNotification"]
    await station.close()
