"""What a station remembers of its messages: registers that they reported; which were answered, offline or lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from typing import Any

import pytest
from conftest import MS, until
from csms_stub import Csms, error, held
from ocpp.v16 import call as call16
from ocpp.v201 import call as call201

from cpsim_kit import Backoff, ChargePoint, Station, Vehicle
from cpsim_kit.errors import CallFailed
from cpsim_kit.station.dialects import dialect_of

BEGIN, PERIODIC, END = "Transaction.Begin", "Sample.Periodic", "Transaction.End"
SOON_AGAIN = Backoff(50 * MS, 0, 0)


def values(*registers: tuple[float | str, str], **more: Any) -> list[dict[str, Any]]:
    return [
        {"timestamp": "2026-11-27T10:00:00Z", "sampledValue": [{"value": wh, "context": context, **more}]}
        for wh, context in registers
    ]


def event(meter_value: list[dict[str, Any]] | None) -> Any:
    return call201.TransactionEvent("Updated", "2026-11-27T10:00:00Z", "MeterValuePeriodic", 1, {}, meter_value)


@pytest.mark.parametrize(
    ("version", "payload", "said"),
    [
        ("2.0.1", event(None), []),
        ("2.0.1", event(values((5, BEGIN), (7, PERIODIC), (9.5, END))), [(5, True), (7, False), (9.5, False)]),
        ("2.0.1", event(values((5, BEGIN), measurand="Energy.Active.Import.Register")), [(5, True)]),
        ("2.0.1", event(values((230, PERIODIC), measurand="Voltage")), []),
        ("2.0.1", event(values((3, PERIODIC), phase="L1")), []),
        ("1.6", call16.StartTransaction(1, "TAG-1", 500, "2026-11-27T10:00:00Z"), [(500, True)]),
        ("1.6", call16.StopTransaction(900, "2026-11-27T10:00:00Z", 7), [(900, False)]),
        ("1.6", call16.MeterValues(1, values(("700", PERIODIC)), 7), [(700, False)]),
    ],
)
def test_the_registers_that_a_message_says(version: str, payload: Any, said: list[tuple[float, bool]]) -> None:
    assert list(dialect_of(version, 0, 1).reported_registers(payload)) == said


async def charge(station: Station) -> None:
    await station.plug_in(Vehicle())
    await station.swipe("TAG-1")
    await station.until(minutes=10)
    await station.swipe("TAG-1")
    await station.unplug()


async def test_what_was_answered_is_counted_and_what_was_said_is_what_is_true(csms: Csms) -> None:
    async with Station("CP1", csms.url, speed=math.inf) as station:
        await charge(station)
        transaction = station.sessions[0].transactions[0]
        assert transaction.answered == transaction.seq_no > 10
        assert (transaction.given_up, transaction.was_offline, station.waiting) == (0, False, 0)
        assert (transaction.reported_start_wh, transaction.reported_end_wh) == (
            transaction.start_wh,
            transaction.end_wh,
        )
        assert station.is_online
    assert not station.is_online


async def test_a_quirk_is_said_and_not_true(csms: Csms) -> None:
    async with Station("CP1", csms.url, speed=math.inf, quirks=["register_rollback"]) as station:
        await charge(station)
        transaction = station.sessions[0].transactions[0]
        assert transaction.reported_end_wh != transaction.end_wh


async def test_messages_that_fail_for_the_last_time_are_given_up(csms: Csms) -> None:
    csms.on["TransactionEvent"] = error("InternalError", "never", {})
    async with Station("CP1", csms.url, speed=math.inf) as station:
        for act in (station.plug_in(Vehicle()), station.swipe("TAG-1")):
            with contextlib.suppress(CallFailed):  # the CSMS accepts no event
                await act
        await station.until(minutes=5)
        transaction = station.sessions[0].transactions[0]
        assert transaction.given_up == transaction.seq_no - station.waiting > 0
        assert transaction.answered == 0
        assert math.isnan(transaction.reported_end_wh)


async def test_what_waits_without_a_connection_is_counted(csms: Csms) -> None:
    async with Station("CP1", csms.url, speed=math.inf, reconnect=SOON_AGAIN) as station:
        await station.plug_in(Vehicle())
        await station.swipe("TAG-1")
        async with station.outage():
            assert not station.is_online
            await station.until(minutes=3)
            assert station.waiting == len(station.queue) > 0
        assert station.waiting == 0
        assert station.is_online
        assert station.sessions[0].transactions[0].was_offline
        assert station.backoff == SOON_AGAIN


async def test_a_message_on_its_way_waits(csms: Csms) -> None:
    csms.on["TransactionEvent"] = held
    async with Station("CP1", csms.url, variables={"TxCtrlr.TxStartPoint": "EVConnected"}) as station:
        plugging = asyncio.create_task(station.plug_in(Vehicle()))
        await until(lambda: csms.held, "the message")
        assert station.waiting == 1
        csms.on["TransactionEvent"] = error("InternalError", "", {})
        plugging.cancel()
        await asyncio.wait([plugging])


def test_a_station_that_does_not_reconnect_has_no_waits() -> None:
    assert Station("CP1", "ws://127.0.0.1:9", reconnect=False).backoff is None
    assert Station("CP1", "ws://127.0.0.1:9").backoff == Backoff(10, 10, 3)


@pytest.mark.parametrize(("observe", "level"), [(None, logging.WARNING), (lambda *_: None, logging.INFO)])
async def test_one_of_many_does_not_warn(
    csms: Csms, caplog: pytest.LogCaptureFixture, observe: Any, level: int
) -> None:
    caplog.set_level(logging.INFO, "cpsim.station")
    charge_point = ChargePoint("CP1", csms.url, observe=observe)
    async with charge_point, Station(charge_point, reconnect=SOON_AGAIN) as station:
        csms.link.abort()
        await until(lambda: not station.is_online, "the loss")
        await until(lambda: station.is_online, "the connection")
    losses = [record for record in caplog.records if "connection lost" in record.getMessage()]
    assert [record.levelno for record in losses] == [level]
