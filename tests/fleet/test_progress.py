"""How the reports of a fleet's shares are joined, and the line."""

from __future__ import annotations

import pytest
from conftest import SOON
from csms_stub import Csms, silent
from small_fleets import UNIT, fleet_of, run_quietly


async def test_how_many_are_connected_is_noted_at_the_moment_it_was_so(csms: Csms) -> None:
    fleet = fleet_of(csms, 40, ramp_time=40 * UNIT, heartbeat_interval=100 * SOON)
    result = await fleet.run(50 * UNIT, **run_quietly)
    connects = result.to_frame().query("action == 'connect'")
    opened_at = connects.sent_at.astype("int64") / 1e9 + connects.latency_ms / 1000 - result.started_at
    assert len(result.samples) >= 3
    for at, connected, _ in result.samples:
        assert (opened_at < at - UNIT).sum() <= connected <= (opened_at < at + UNIT).sum()


async def test_the_line_says_how_it_goes(csms: Csms, capsys: pytest.CaptureFixture[str]) -> None:
    await fleet_of(csms, 3).run(2.2)
    last = capsys.readouterr().err.rstrip().split("\r")[-1]
    for words in ("|, 3 connected", "3 booted", "calls/s", "p50", "p99", "0 failures"):
        assert words in last


async def test_the_line_of_a_gateway_that_does_not_answer_has_no_percentiles(
    csms: Csms, capsys: pytest.CaptureFixture[str]
) -> None:
    csms.on["BootNotification"] = silent
    await fleet_of(csms, 3).run(2)
    assert "calls/s, no answers, 0 failures" in capsys.readouterr().err
