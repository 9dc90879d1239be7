"""Pickles between processes."""

from __future__ import annotations

import threading

import pytest
from conftest import SOON
from csms_stub import Csms
from small_fleets import children, fleet_of, run_quietly

from cpsim_kit import ChargePoint


async def test_what_cannot_go_to_another_process_is_said(csms: Csms) -> None:
    lock = threading.Lock()

    async def scenario(cp: ChargePoint) -> None:
        with lock:
            await cp.boot()

    with pytest.raises(ValueError, match=r"cannot be sent to another process: .*lock.*inside of these functions"):
        await fleet_of(csms, 2, processes=2, scenario=scenario).run(SOON, **run_quietly)
    assert not children()


async def test_a_fault_that_cannot_be_pickled_comes_out_in_words(csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        class OddError(Exception):
            def __init__(self, a: str, b: str) -> None:
                super().__init__(f"{a} and {b}")

        raise OddError("one", "two")

    with pytest.raises(RuntimeError, match="OddError: one and two"):
        await fleet_of(csms, 2, scenario=scenario, processes=2).run(SOON, **run_quietly)
