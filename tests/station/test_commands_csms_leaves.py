"""A CSMS that goes away in the middle of each command: the station closes at once, or goes on when it is back.

`test_commands_csms_gone.py` breaks the connection with the smallest payloads. Here the commands are those that a CSMS
sends, most of them during a session; it goes away before the answer, after it, or between the messages that follow, and
it breaks the connection or stays silent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from charge_point_fixtures import time_is_up
from commanded_station import asked, check, commanded, do, settle
from commanding_csms import CommandingCsms, Leave
from commands_by_hand import CASES, ROWS_21, Play, Row
from conftest import MS, SOON, cpsim_tasks, until

from cpsim_kit import Backoff
from cpsim_kit.errors import CpsimError

pytestmark = [pytest.mark.usefixtures("no_hang"), pytest.mark.slow]

NO_ANSWER = 150 * MS
REFUSED = {row.name for row in ROWS_21}


def steps(row: Row, how: str) -> set[int]:
    """The messages that the CSMS does not answer: each of them by breaking the connection, the first and last one by
    silence."""
    count = len(row.follows)
    return set(range(1, count + 1)) if how == "abort" else {1, count} - {0} if count else set()


LEAVES = [
    (version, row, Leave(at, how))
    for version, row in CASES
    if version != "2.1" or row.name in REFUSED
    for how in ("abort", "silence")
    for at in ("asked", "answered", *sorted(steps(row, how)))
]
IDS = [f"{version} {row.name} {leave.how} {leave.at}".replace(" ", "_") for version, row, leave in LEAVES]


@asynccontextmanager
async def left(version: str, row: Row, leave: Leave) -> AsyncIterator[tuple[Play, asyncio.Task[Any]]]:
    """A station whose CSMS has gone away in the middle of a command, and what happens after that command."""
    async with commanded(version, reconnect=Backoff(5 * MS, 5 * MS, 0), call_timeout=SOON) as play:
        csms = play.csms
        assert isinstance(csms, CommandingCsms)
        for act in row.before:
            await do(play, act)
        csms.plan(leave)

        async def go_on() -> None:
            asking = asyncio.ensure_future(asked(play, row.ask(play)))
            try:
                if leave.at == "asked":
                    await csms.gone.wait()
                await asyncio.wait([asking], timeout=2 * SOON if leave.at != "asked" else 100 * MS)
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)  # the answer does not come, or is a CALLERROR
            for act in row.after:
                with contextlib.suppress(CpsimError):
                    await do(play, act)
            await play.station.until(minutes=row.minutes)

        rest = asyncio.create_task(go_on())
        try:
            await until(csms.gone.is_set, leave)
            if leave.how == "silence":  # only now: a slow machine would exceed so short a time with other CALLs, too
                play.station.charge_point._call_timeout = NO_ANSWER
                time_is_up(play.station.charge_point)
            yield play, rest
        finally:
            rest.cancel()
            await asyncio.wait([rest])


@pytest.mark.parametrize(("version", "row", "leave"), LEAVES, ids=IDS)
async def test_a_station_whose_csms_has_left_closes_at_once(version: str, row: Row, leave: Leave) -> None:
    async with left(version, row, leave) as (play, rest):
        async with asyncio.timeout(SOON):
            await play.station.close()
            await asyncio.wait([rest])
        assert cpsim_tasks() == set()
        assert rest.exception() is None or "is closed" in str(rest.exception())


@pytest.mark.parametrize(("version", "row", "leave"), LEAVES, ids=IDS)
async def test_a_station_goes_on_when_its_csms_is_back(version: str, row: Row, leave: Leave) -> None:
    async with left(version, row, leave) as (play, rest):
        assert isinstance(play.csms, CommandingCsms)
        await asyncio.sleep(10 * MS if leave.how == "abort" else 2 * NO_ANSWER)  # the station meets its absence
        play.station.charge_point._call_timeout = SOON
        await play.csms.come_back()
        async with asyncio.timeout(2 * SOON):
            await rest
            await settle(play)
            for act in ("plug 2", "swipe TAG-1 2", "wait 2"):
                await do(play, act)
            assert play.station.sessions[-1].energy_wh > 0
            await settle(play)
        check(play)
