"""How the reports of a fleet's shares are joined, and the line."""

from __future__ import annotations

import math

import pytest
from conftest import SOON
from csms_stub import Csms, silent
from small_fleets import UNIT, fleet_of, only_boot, run_quietly, run_until, run_until_the_line_has

from cpsim_kit.fleet.call_table import CallTable
from cpsim_kit.fleet.progress import Progress
from cpsim_kit.fleet.report import Report
from cpsim_kit.fleet.result import FleetResult


async def test_how_many_are_connected_is_noted_at_the_moment_it_was_so(csms: Csms) -> None:
    fleet = fleet_of(csms, 40, ramp_time=40 * UNIT, heartbeat_interval=100 * SOON)
    result = await run_until(
        fleet,
        lambda: fleet.result and fleet.result.connected == 40 and len(fleet.result.samples) >= 3,
        "all to connect",
    )
    connects = result.to_frame().query("action == 'connect'")
    opened_at = connects.sent_at.astype("int64") / 1e9 + connects.latency_ms / 1000 - result.started_at
    assert len(result.samples) >= 3
    tried_at = connects.sent_at.astype("int64") / 1e9 - result.started_at
    for at, connected, _ in result.samples:
        assert (opened_at < at - UNIT).sum() <= connected <= (tried_at < at + UNIT).sum()


async def test_a_run_shorter_than_the_first_sample_has_the_one_of_its_end(
    csms: Csms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cpsim_kit.fleet.progress.SAMPLE", 10 * SOON)
    result = await fleet_of(csms, 3, scenario=only_boot).run(SOON, **run_quietly)
    ((at, connected, booted),) = result.samples
    assert (connected, booted) == (3, 3)
    assert 0 < at <= result.duration


async def test_the_line_says_how_it_goes(csms: Csms, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["|, 3 connected", "3 booted", "calls/s", "p50", "p99", "0 failures"]
    await run_until_the_line_has(words, fleet_of(csms, 3), capsys)


async def test_the_line_of_a_gateway_that_does_not_answer_has_no_percentiles(
    csms: Csms, capsys: pytest.CaptureFixture[str]
) -> None:
    csms.on["BootNotification"] = silent
    await run_until_the_line_has(["calls/s, no answers, 0 failures"], fleet_of(csms, 3), capsys)


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_restarted_share_numbers_its_words_anew_and_counts_what_connected_before() -> None:
    result = FleetResult(2, 0.0)
    progress = Progress(result, 1, 60, Clock())
    process, another = CallTable(), CallTable()
    process.add("A", "connect", 1, 2, 3)
    process.add("B", "BootNotification", 2, 2, 3)
    progress.report(0, Report(open=2, connected=2, booted=1, calls=process.drain()))
    progress.mark_lost(0, "it died")
    another.add("B", "Heartbeat", 3, 2, 3)
    another.add("A", "connect", 4, math.nan, math.nan, "not connected", "why")
    progress.report(0, Report(open=1, connected=1, booted=0, calls=another.drain()))
    frame = result.to_frame()
    assert frame.charge_point_id.tolist() == ["A", "B", "B", "A"]
    assert frame.action.tolist() == ["connect", "BootNotification", "Heartbeat", "connect"]
    assert (result.connected, result.booted, result.calls.failures) == (2, 1, 1)
    assert result.lost == ["it died"]


def test_a_lost_share_has_no_open_connections() -> None:
    result, clock = FleetResult(3, 0.0), Clock()
    progress = Progress(result, 2, 60, clock)
    for number, connected in enumerate((2, 1)):
        clock.now += 1
        progress.report(number, Report(connected, connected, 0, CallTable().drain()))
    progress.sample()
    progress.mark_lost(0, "it died")
    clock.now += 0.5
    progress.report(1, Report(1, 1, 0, CallTable().drain()))
    progress.sample()
    assert [connected for _at, connected, _booted in result.samples] == [3, 1]


def test_shares_that_have_ended_do_not_count_in_the_time_of_a_sample() -> None:
    result, clock = FleetResult(2, 0.0), Clock()
    progress = Progress(result, 2, 60, clock)
    for seconds, reporting in ((1, 0), (0.2, 1), (3, 1)):
        clock.now += seconds
        progress.report(reporting, Report(1, 1, 1, CallTable().drain()))
        progress.sample()
    assert [at for at, _connected, _booted in result.samples] == pytest.approx([1, 1.1, 4.2])
