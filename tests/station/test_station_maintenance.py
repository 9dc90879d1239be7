"""Firmware, logs, and handlers of one's own, of a station on the wire."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from conftest import until
from csms_stub import Csms, abort, close, silent
from ocpp.exceptions import SecurityError
from station_wire import VERSIONS, accept_all

from cpsim_kit import Backoff
from cpsim_kit.station import Station, Vehicle

pytestmark = pytest.mark.usefixtures("no_hang")

LOCATION = "https://firmware.example/fw-2.1.0.bin"
LONG_AGO = "2020-01-01T00:00:00Z"
STATUSES = {
    "FirmwareStatusNotification",
    "LogStatusNotification",
    "DiagnosticsStatusNotification",
}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def station(csms: Csms, version: str) -> AsyncIterator[Station]:
    accept_all(csms, version)
    async with Station("CP1", csms.url, version=version, speed=math.inf, firmware_version="1.0.0") as station:
        yield station


async def ask_update(csms: Csms, version: str, number: int = 7, **more: Any) -> Any:
    if version == "1.6":
        payload = {"location": LOCATION, "retrieveDate": LONG_AGO, **more}
    else:
        payload = {"requestId": number, "firmware": {"location": LOCATION, "retrieveDateTime": LONG_AGO}, **more}
    return (await csms.call("UpdateFirmware", payload))[2]


async def ask_log(csms: Csms, version: str, **more: Any) -> Any:
    if version == "1.6":
        return (await csms.call("GetDiagnostics", {"location": "ftp://logs.example/", **more}))[2]
    log = {"remoteLocation": "https://logs.example/"}
    return (await csms.call("GetLog", {"logType": "DiagnosticsLog", "requestId": 7, "log": log, **more}))[2]


def statuses(csms: Csms) -> list[str]:
    return [call.payload["status"] for call in csms.calls if call.action in STATUSES]


def boots(csms: Csms) -> list[tuple[str | None, str]]:
    """The reason and the firmware version of each boot."""
    payloads = [call.payload for call in csms.calls if call.action == "BootNotification"]
    return [
        (payload.get("reason"), (payload.get("chargingStation") or payload)["firmwareVersion"]) for payload in payloads
    ]


# -- Firmware ---------------------------------------------------------------------------------------------------------


async def test_an_update_ends_with_a_boot_of_the_new_version(station: Station, csms: Csms, version: str) -> None:
    reasons = (None, None) if version == "1.6" else ("PowerUp", "FirmwareUpdate")
    assert await ask_update(csms, version) == ({} if version == "1.6" else {"status": "Accepted"})
    await station.until(minutes=3)
    await until(lambda: "Installed" in statuses(csms), lambda: statuses(csms))

    assert boots(csms) == [(reasons[0], "1.0.0"), (reasons[1], "2.1.0")]
    rebooting = [] if version == "1.6" else ["InstallRebooting"]
    assert statuses(csms) == ["Downloading", "Downloaded", "Installing", *rebooting, "Installed"]
    assert len(csms.links) == 2
    events = [call.payload["type"] for call in csms.calls if call.action == "SecurityEventNotification"]
    assert ("FirmwareUpdated" in events) is (version != "1.6")
    session = await station.charge(Vehicle(soc=0.1), token="TAG-1", minutes=6)
    assert session.energy_wh > 0


async def test_the_train_belongs_to_the_stations_clock(station: Station, csms: Csms, version: str) -> None:
    await ask_update(csms, version)
    await station.until(minutes=0.4)
    assert statuses(csms) == ["Downloading"]
    await station.until(minutes=0.2)
    assert statuses(csms) == ["Downloading", "Downloaded", "Installing"]
    assert station.evses[1].connector_status == "Unavailable"


async def test_installing_waits_for_the_session(station: Station, csms: Csms, version: str) -> None:
    await station.plug_in(Vehicle(soc=0.1))
    await station.swipe("TAG-1")
    await ask_update(csms, version)
    await station.until(minutes=10)
    assert "Installing" not in statuses(csms)
    assert station.evses[1].power_kw > 0
    await station.swipe("TAG-1")
    assert statuses(csms)[-1] == "Installing"


@pytest.mark.parametrize("behave", [abort, close(1011)])
async def test_a_csms_that_goes_away_in_the_middle_hears_the_end(behave: Any) -> None:
    async with Csms() as csms, Station("CP1", csms.url, speed=math.inf, reconnect=Backoff(0.01, 0, 0)) as station:
        csms.on["FirmwareStatusNotification"] = behave
        await ask_update(csms, "2.0.1")
        await until(lambda: statuses(csms) and not station.charge_point.is_open)
        del csms.on["FirmwareStatusNotification"]
        await until(lambda: statuses(csms)[-2:] == ["Downloading"] * 2, lambda: statuses(csms))
        await station.until(minutes=5)
        await until(lambda: "Installed" in statuses(csms), lambda: statuses(csms))


async def test_a_csms_that_is_away_during_the_restart_is_waited_for() -> None:
    async with Csms() as csms, Station("CP1", csms.url, speed=math.inf, reconnect=Backoff(0.01, 0, 0)) as station:
        csms.refusals = iter([503, 503])
        await ask_update(csms, "2.0.1")
        await station.until(minutes=5)
        await until(lambda: "Installed" in statuses(csms), lambda: statuses(csms))
        assert len(csms.requests) == 4


async def test_a_station_that_closes_during_the_restart_leaves_nothing() -> None:
    async with Csms() as csms, Station("CP1", csms.url, speed=math.inf) as station:
        await ask_update(csms, "2.0.1")
        csms.on["BootNotification"] = silent
        waits = asyncio.create_task(station.until(minutes=5))
        await until(lambda: len(boots(csms)) == 2)
        await station.close()
        with pytest.raises(RuntimeError, match="closed"):
            await waits


async def test_a_saved_station_boots_with_the_firmware_that_was_installed(
    station: Station, csms: Csms, version: str, tmp_path: Path
) -> None:
    await ask_update(csms, version)
    await station.until(minutes=3)
    await until(lambda: "Installed" in statuses(csms), lambda: statuses(csms))
    saved = station.save(tmp_path / "CP1.json")
    await station.close()
    async with Station.load(saved, csms.url, firmware_version="1.0.0"):
        assert boots(csms)[-1][1] == "2.1.0"


async def test_firmware_fails_on_request(station: Station, csms: Csms, version: str) -> None:
    station.firmware_fails("DownloadFailed", attempts=1)
    await ask_update(csms, version, retries=2, retryInterval=40)
    await station.until(minutes=1.5)
    assert statuses(csms)[:3] == ["Downloading", "Downloading", "Downloaded"]
    station.firmware_fails("InstallationFailed")
    await station.until(minutes=2)
    await until(lambda: statuses(csms)[-1] == "InstallationFailed", lambda: statuses(csms))
    assert len(boots(csms)) == 1
    station.firmware_fails("DownloadFailed")
    station.firmware_fails(None)
    await ask_update(csms, version)
    await station.until(minutes=3)
    await until(lambda: statuses(csms)[-1] == "Installed", lambda: statuses(csms))


async def test_a_failure_that_there_is_not_is_a_value_error(station: Station) -> None:
    with pytest.raises(ValueError, match="fails with DownloadFailed"):
        station.firmware_fails("Exploded")
    with pytest.raises(ValueError, match="fails with UploadFailure"):
        station.upload_fails("Exploded")
    with pytest.raises(ValueError, match="attempts is"):
        station.upload_fails(attempts=0)


# -- Logs -------------------------------------------------------------------------------------------------------------


async def test_a_log_is_uploaded_or_not(station: Station, csms: Csms, version: str) -> None:
    result = await ask_log(csms, version)
    assert result["fileName" if version == "1.6" else "filename"].startswith("diagnostics-")
    await station.until(minutes=1)
    station.upload_fails()
    await ask_log(csms, version)
    await station.until(minutes=1)
    failed = "UploadFailed" if version == "1.6" else "UploadFailure"
    assert statuses(csms) == ["Uploading", "Uploaded", "Uploading", failed]


# -- Handlers of one's own --------------------------------------------------------------------------------------------

FIELDS = {"vendorId": "org.example", "data": "1"}


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_handler_answers_in_the_stations_place_until_it_is_taken_back(
    csms: Csms, version: str, is_async: bool
) -> None:
    accept_all(csms, version)
    station = Station("CP1", csms.url, version=version)
    results = station.charge_point._version.call_results
    seen: list[dict[str, Any]] = []

    def handler(**fields: Any) -> Any:
        seen.append(fields)
        return results.DataTransfer(status="Accepted", data="2")

    async def slow(**fields: Any) -> Any:
        await asyncio.sleep(0)
        return handler(**fields)

    station.on("DataTransfer", slow if is_async else handler)  # before it is connected
    async with station:
        assert (await csms.call("DataTransfer", FIELDS))[2] == {"status": "Accepted", "data": "2"}
        assert seen == [{"vendor_id": "org.example", "data": "1"}]
        command = await station.wait_command("DataTransfer")
        assert (command.payload, command.answer.status) == (seen[0], "Accepted")
        station.on("DataTransfer", None)
        assert (await csms.call("DataTransfer", FIELDS))[2] == {"status": "UnknownVendorId"}
        station.on("DataTransfer", None)


async def test_a_handler_for_a_command_that_is_refused_otherwise(station: Station, csms: Csms, version: str) -> None:
    payload = {"certificateChain": "PEM"}
    assert (await csms.call("CertificateSigned", payload))[2] == {"status": "Rejected"}
    results = station.charge_point._version.call_results
    station.on("CertificateSigned", lambda **_fields: results.CertificateSigned(status="Accepted"))
    assert (await csms.call("CertificateSigned", payload))[2] == {"status": "Accepted"}
    assert station.commands.set_index("action").is_done["CertificateSigned"]


async def test_a_handler_may_let_the_station_do_what_it_does(station: Station, csms: Csms, version: str) -> None:
    action = "RemoteStartTransaction" if version == "1.6" else "RequestStartTransaction"
    payload = {"idTag": "TAG-1"} if version == "1.6" else {"idToken": {"idToken": "TAG-1", "type": "ISO14443"}}
    payload |= {} if version == "1.6" else {"remoteStartId": 5}

    async def only_when_plugged(**fields: Any) -> Any:
        if station.evses[1].connector_status == "Available":
            return getattr(station.charge_point._version.call_results, action)(status="Rejected")
        return station.carry_out(action, **fields)

    station.on(action, only_when_plugged)
    assert (await csms.call(action, payload))[2] == {"status": "Rejected"}
    await station.plug_in(Vehicle(soc=0.1))
    assert (await csms.call(action, payload))[2] == {"status": "Accepted"}
    await station.until(power_kw=11)


async def test_data_of_a_vendor_that_a_handler_knows(station: Station, csms: Csms) -> None:  # P01.FR.05 to .07
    results = station.charge_point._version.call_results
    seen: list[str] = []

    def data_transfer(vendor_id: str, **fields: Any) -> Any:
        if vendor_id != "org.example":
            return station.carry_out("DataTransfer", vendor_id=vendor_id, **fields)
        if fields.get("message_id") != "hello":
            return results.DataTransfer(status="UnknownMessageId")
        seen.append(fields["data"])
        return results.DataTransfer(status="Accepted", data="world")

    station.on("DataTransfer", data_transfer)
    for vendor, message, expected in [
        ("org.another", "hello", {"status": "UnknownVendorId"}),
        ("org.example", "bye", {"status": "UnknownMessageId"}),
        ("org.example", "hello", {"status": "Accepted", "data": "world"}),
    ]:
        payload = {"vendorId": vendor, "messageId": message, "data": "x"}
        assert (await csms.call("DataTransfer", payload))[2] == expected
    assert seen == ["x"]


async def test_a_handler_may_answer_with_a_callerror(station: Station, csms: Csms) -> None:
    def forbid(**_fields: Any) -> Any:
        raise SecurityError("not from you")

    station.on("Reset", forbid)
    frame = await csms.call("Reset", {"type": "Soft" if station.charge_point.version == "1.6" else "Immediate"})
    assert frame[0] == 4
    assert frame[2:4] == ["SecurityError", "not from you"]


async def test_a_handler_of_the_charge_point_itself_goes_first(csms: Csms) -> None:
    station = Station("CP1", csms.url)
    results = station.charge_point._version.call_results
    station.charge_point.on("ClearCache", lambda: results.ClearCache(status="Accepted"))
    async with station:
        assert (await csms.call("ClearCache"))[2] == {"status": "Accepted"}


async def test_what_cannot_be_handled(station: Station) -> None:
    with pytest.raises(ValueError, match=r"not on 'Rset'; did you mean Reset"):
        station.on("Rset", print)
    with pytest.raises(ValueError, match="not on 'Heartbeat'"):
        station.on("Heartbeat", print)
    with pytest.raises(ValueError, match="not on 'Heartbeat'"):
        station.carry_out("Heartbeat")
    with pytest.raises(TypeError, match="handler of Reset is a function"):
        station.on("Reset", "Accepted")  # type: ignore[arg-type]


async def test_the_table_of_commands(station: Station, version: str) -> None:
    commands = station.commands
    assert len(commands) == {"1.6": 26, "2.0.1": 40, "2.1": 55}[version]
    assert commands.set_index("action").does["UpdateFirmware"].endswith("boots with the new version")
