"""Fleets of stations on the local stack: the ledger of transactions has what the stations' meters counted."""

from __future__ import annotations

import math
import random as random_module
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from conftest import FACTOR, SOON
from small_fleets import run_quietly
from stack_fixtures import new_id

from cpsim_kit import Backoff, Evse, Fleet, FleetResult, Network, Stack

PATIENCE = 12 * SOON  # so many need what CPU they get


def two(random: random_module.Random) -> Iterator[float]:
    """Two drivers, within half an hour each."""
    for _ in range(2):
        yield random.uniform(0, 1800)


async def run(stack: Stack, size: int, duration: float = PATIENCE, **options: Any) -> FleetResult:
    fleet = Fleet(
        stack, size, **{"prefix": f"{new_id('CHARGE')}-", "ramp_time": 0.01 * size, "arrivals": two, **options}
    )
    return await fleet.run(duration, **run_quietly)


async def compare(stack: Stack, result: FleetResult, sessions: int) -> pd.DataFrame:
    """The ledger against the truth: each session is there, and no Wh is missing."""
    frame = await stack.transactions.compare(result)
    assert len(frame) == len(result.sessions()) == sessions
    wrong = frame[~(frame.difference_wh == 0) | (frame.missing.map(len) > 0)]
    assert wrong.empty, wrong.to_string()
    assert result.sessions().end.notna().all()
    assert not result.sessions()[["waiting", "given_up"]].to_numpy().any()
    return frame


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_the_ledger_is_compared_with_all_stations_of_a_fleet_at_once(stack: Stack, version: str) -> None:
    result = await run(stack, 5, station={"speed": math.inf}, version=version)
    frame = await compare(stack, result, 10)
    assert frame.charge_point_id.nunique() == 5
    assert frame.ledger_wh.sum() == result.sessions().true_wh.sum() > 10 * 3000
    assert frame.ledger_wh.sum() == result.sessions().reported_wh.sum()


@pytest.mark.slow
@pytest.mark.parametrize(("size", "processes"), [(200, 1), (80, 2)])
async def test_hundreds_of_stations_from_event_to_event(stack: Stack, size: int, processes: int) -> None:
    evses = [Evse(max_kw=22), Evse(max_kw=50, phases="DC")]
    result = await run(stack, size, station={"speed": math.inf, "evses": evses}, processes=processes)
    await compare(stack, result, 2 * size)
    assert not result.lost
    assert result.calls.failures == 0
    assert set(result.sessions().evse_id) == {1, 2}


@pytest.mark.slow
async def test_stations_behind_a_queue_and_a_function(environment: pytest.MonkeyPatch) -> None:
    """Messages of many come in batches, some in another order, and some twice."""
    station = {"speed": math.inf, "variables": {"SampledDataCtrlr.TxUpdatedInterval": 600}}
    async with Stack.local(name="LedgerLambda", csms="lambda") as behind:
        result = await run(behind, 40, station=station, call_timeout=3 * SOON)
        await compare(behind, result, 80)
    assert result.calls.failures == 0


@pytest.mark.slow
async def test_answers_are_dropped_and_connections_are_cut_and_no_wh_is_lost(stack: Stack) -> None:
    in_transactions = ("MeterValues", "StartTransaction", "StopTransaction", "TransactionEvent")
    network = Network(drop=0.05, direction="received", kinds="CALLRESULT", actions=in_transactions, seed=1)
    variables = {
        "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": 20,
        "SampledDataCtrlr.TxUpdatedInterval": 600,
    }
    result = await run(
        stack,
        60,
        station={"speed": 1200 / FACTOR, "variables": variables},
        reconnect=Backoff(0.2 * FACTOR, 0.3 * FACTOR, 1),
        transport=network,
        call_timeout=FACTOR,
    )
    frame = await stack.transactions.compare(result)
    wrong = frame[~(frame.difference_wh == 0) | (frame.missing.map(len) > 0)]
    assert wrong.empty, wrong.to_string()
    assert len(result.sessions()) == 120
    assert result.sessions().end.notna().all()
    assert not result.sessions()[["waiting", "given_up"]].to_numpy().any()
    assert len(network.to_frame()) > 20
