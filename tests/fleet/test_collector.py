"""The garbage collector's settings while fleets run, and afterwards."""

from __future__ import annotations

import gc

import pytest
from conftest import SOON
from csms_stub import Csms
from small_fleets import fleet_of, run_quietly

from cpsim_kit import ChargePoint, Fleet, errors


async def test_garbage_is_collected_again_once_all_have_tried_to_connect(csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        seen.append(gc.isenabled())

    seen: list[bool] = []
    thresholds = gc.get_threshold()
    await fleet_of(csms, 3, scenario=scenario).run(SOON, **run_quietly)
    assert seen == [False, False, True]
    assert gc.get_threshold() == thresholds
    with pytest.raises(errors.FleetError):
        await Fleet("ws://127.0.0.1:9", 3, ramp_time=0).run(SOON, **run_quietly)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
