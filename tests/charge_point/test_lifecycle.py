"""Boot until accepted, and connect again after a lost connection."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest
from conftest import MS, SOON
from csms_stub import Csms, abort, answer, close, silent

from cpsim_kit.charge_point import Backoff, ChargePoint, boot_until_accepted, keep_connected
from cpsim_kit.errors import CallTimeout, ConnectError, ConnectionLost, NotRegistered

pytestmark = pytest.mark.usefixtures("no_hang")


def booted(status: str, interval: int) -> Any:
    return answer({"currentTime": "2026-11-27T05:00:00Z", "interval": interval, "status": status})


# -- Boot until accepted ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
async def test_the_next_boot_comes_after_the_interval_of_the_answer(csms: Csms, cp: ChargePoint, status: str) -> None:
    csms.once += [booted(status, 7), booted(status, 300)]
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    accepted = await boot_until_accepted(cp, pause=pause)
    assert (accepted.status, waits) == ("Accepted", [7, 300])
    assert csms.actions == ["BootNotification"] * 3
    assert cp.heartbeat_interval == 10


async def test_an_interval_of_zero_leaves_the_wait_to_the_charge_point(csms: Csms, cp: ChargePoint) -> None:
    """5, 10, … 320 s: no tight loop. OCPP 1.6, 4.2; OCPP 2.0.1 part 2, B01."""
    csms.once += [booted("Pending", 0), booted("Rejected", -1), booted("Pending", 60), *[booted("Pending", 0)] * 7]
    seen: list[tuple[str, float]] = []

    async def pause(seconds: float) -> None:
        assert seconds > 0

    await boot_until_accepted(cp, pause=pause, on_wait=lambda said, seconds: seen.append((said.status, seconds)))
    assert [seconds for _, seconds in seen] == [5, 10, 60, 20, 40, 80, 160, 320, 320, 320]
    assert seen[1] == ("Rejected", 10)


async def test_it_waits_by_the_clock(csms: Csms, cp: ChargePoint) -> None:
    csms.once += [booted("Pending", 0)] * 3
    began = time.perf_counter()
    await boot_until_accepted(cp, own_waits=iter([20 * MS, 30 * MS, 40 * MS]))
    assert time.perf_counter() - began >= 90 * MS


async def test_a_server_that_goes_ends_the_wait_with_an_error(csms: Csms, cp: ChargePoint) -> None:
    csms.once.append(booted("Pending", 3600))
    booting = asyncio.create_task(boot_until_accepted(cp))
    while cp.boot_status != "Pending":
        await asyncio.sleep(MS)
    csms.link.abort()
    with pytest.raises(ConnectionLost, match="No close frame came"):
        await asyncio.wait_for(booting, SOON)


async def test_a_boot_without_an_answer_is_an_error(csms: Csms) -> None:
    csms.on["BootNotification"] = silent
    async with ChargePoint("CP1", csms.url, call_timeout=20 * MS) as cp:
        with pytest.raises(CallTimeout):
            await boot_until_accepted(cp)


# -- Keep connected ---------------------------------------------------------------------------------------------------

QUICK = Backoff(wait_minimum=10 * MS, random_range=0, repeat_times=3)


async def beat_until_enough(cp: ChargePoint, beats: list[float]) -> str:
    while len(beats) < 5:
        await cp.heartbeat()
        beats.append(time.perf_counter())
    return "enough"


async def test_a_lost_connection_is_opened_again_and_the_waits_begin_anew(csms: Csms) -> None:
    csms.once += [answer(), abort, answer(), close(1011), abort, answer(), answer()]
    beats: list[float] = []
    waits: list[tuple[float, str]] = []

    async def pause(seconds: float, why: Exception) -> None:
        waits.append((seconds, type(why).__name__))

    cp = ChargePoint("CP1", csms.url)
    done = await keep_connected(cp, lambda cp: beat_until_enough(cp, beats), reconnect=QUICK, pause=pause)
    assert done == "enough"
    assert waits == [(10 * MS, "ConnectionLost")] * 3
    await cp.close()


async def test_waits_grow_while_nobody_listens(csms: Csms) -> None:
    cp = ChargePoint("CP1", "ws://127.0.0.1:1")
    waits: list[float] = []

    async def pause(seconds: float, why: Exception) -> None:
        assert isinstance(why, ConnectError)
        waits.append(seconds)
        if len(waits) == 6:
            cp.url = f"{csms.url}/CP1"

    async def beat(cp: ChargePoint) -> None:
        await cp.heartbeat()

    await keep_connected(cp, beat, reconnect=QUICK, random=random.Random(1), pause=pause)
    assert waits == [10 * MS, 20 * MS, 40 * MS, 80 * MS, 80 * MS, 80 * MS]
    await cp.close()


async def test_without_a_policy_the_first_loss_is_the_end(csms: Csms) -> None:
    csms.once.append(close(1008, "Charge Point CP1 not registered as an IoT Thing"))
    cp = ChargePoint("CP1", csms.url)
    with pytest.raises(NotRegistered):
        await keep_connected(cp, lambda cp: cp.boot(), reconnect=None)
    with pytest.raises(ConnectError):
        await keep_connected(ChargePoint("CP1", "ws://127.0.0.1:1"), lambda cp: cp.boot(), reconnect=None)


async def test_another_error_of_the_work_comes_out(csms: Csms) -> None:
    csms.on["Heartbeat"] = silent
    cp = ChargePoint("CP1", csms.url)
    with pytest.raises(CallTimeout):
        await keep_connected(cp, lambda cp: cp.heartbeat(timeout=20 * MS), reconnect=QUICK)
    await cp.close()
