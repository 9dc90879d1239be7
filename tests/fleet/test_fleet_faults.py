"""Fleets whose network has faults on purpose."""

from __future__ import annotations

import functools
import threading
from typing import Any

import pytest
from conftest import MS, SOON
from csms_stub import Csms
from ocpp.v201 import call
from small_fleets import fleet_of, run_quietly

from cpsim_kit import ChargePoint, Network
from cpsim_kit.charge_point.opening import open_websocket
from cpsim_kit.errors import CallTimeout

HALF = {"drop": 0.5, "actions": "DataTransfer", "direction": "received"}


async def six_calls(cp: ChargePoint, patience: float) -> None:
    for number in range(6):
        try:
            await cp.call(call.DataTransfer(vendor_id="test", data=number), timeout=patience)
        except CallTimeout:
            continue


async def lost_calls(csms: Csms, seed: int, processes: int | None = None) -> tuple[list[list[str]], Network]:
    """The outcomes of the calls of each charge point of a fleet, and its network."""
    for patience in (200 * MS, 1000 * MS, 5000 * MS):
        network = Network(**HALF, seed=seed)
        scenario = functools.partial(six_calls, patience=patience)
        fleet = fleet_of(csms, 4, scenario=scenario, transport=network, processes=processes)
        frame = (await fleet.run(12 * SOON, **run_quietly)).to_frame()
        calls = frame[frame.action == "DataTransfer"]
        if (calls.outcome == "no answer").sum() == len(network.to_frame()):
            break  # on a slow machine, answers that are not lost may come too late
    return calls.groupby("charge_point_id").outcome.apply(lambda outcomes: list(map(str, outcomes))).tolist(), network


async def test_each_charge_point_has_faults_of_its_own_and_the_same_in_every_run(csms: Csms) -> None:
    outcomes, network = await lost_calls(csms, 1)
    assert {each for of_one in outcomes for each in of_one} == {"answered", "no answer"}
    assert len({tuple(of_one) for of_one in outcomes}) == 4, "no two of them are alike"
    assert list(faults_of(network).values()) == [of_one.count("no answer") for of_one in outcomes]
    assert (await lost_calls(csms, 1))[0] == outcomes
    assert (await lost_calls(csms, 2))[0] != outcomes


@pytest.mark.slow
async def test_the_faults_are_the_same_in_several_processes(csms: Csms) -> None:
    outcomes, network = await lost_calls(csms, 1)
    same, remote = await lost_calls(csms, 1, processes=2)
    assert same == outcomes
    assert faults_of(remote) == faults_of(network), "the processes have reported them"


def faults_of(network: Network) -> dict[str, int]:
    return dict(network.to_frame().groupby("charge_point_id").size())


async def test_a_network_can_be_cut_while_a_fleet_runs(csms: Csms) -> None:
    network = Network()

    async def scenario(cp: ChargePoint) -> None:
        await cp.boot()
        network.cut(cp.id)
        await cp.heartbeat()

    result = await fleet_of(csms, 3, scenario=scenario, transport=network).run(SOON, **run_quietly)
    frame = result.to_frame()
    assert frame[frame.action == "Heartbeat"].outcome.tolist() == ["connection lost"] * 3
    assert list(network.to_frame().fault) == ["cut"] * 3


class Locked:
    """A transport that cannot be sent to another process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    async def __call__(self, charge_point_id: str, url: str, **options: Any) -> Any:
        return await open_websocket(charge_point_id, url, **options)


async def test_a_network_over_what_cannot_be_sent_to_another_process_is_refused(csms: Csms) -> None:
    network = Network(transport=Locked())
    with pytest.raises(ValueError, match="this fleet cannot be sent to another process: cannot pickle"):
        await fleet_of(csms, 2, transport=network, processes=2).run(SOON, **run_quietly)
    assert csms.links == []
