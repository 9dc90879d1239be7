"""Heartbeat timing: tables of moments with values computed by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest

from cpsim_kit.records import MessageLog
from cpsim_kit.records.timing import COLUMNS, OUTAGE_COLUMNS, heartbeat_timing, outages, percentiles

NAN = math.nan
S = {"abs": 5e-6}  # a record keeps microseconds
MS = {"abs": 5e-3}


def answered(charge_point_id: str, moment: float, message_id: str, latency_ms: float) -> list[tuple[float, bool, str]]:
    """A heartbeat and its answer: moment, whether the charge point sent it, text."""
    return [
        (moment, True, f'[2,"{message_id}","Heartbeat",{{}}]'),
        (moment + latency_ms / 1000, False, f'[3,"{message_id}",{{"currentTime":"2026-11-23T10:00:00Z"}}]'),
    ]


def log_of(
    moments: Sequence[float], charge_point_id: str = "CP1", *, latency_ms: float | Sequence[float] = 5
) -> MessageLog:
    """A record of answered heartbeats."""
    latencies = [latency_ms] * len(moments) if isinstance(latency_ms, int | float) else latency_ms
    log = MessageLog(charge_point_id=charge_point_id)
    for number, (moment, latency) in enumerate(zip(moments, latencies, strict=True)):
        for at, sent, text in answered(charge_point_id, moment, f"{charge_point_id}-{number}", latency):
            log.add(at, text, sent=sent)
    return log


def near(values: Sequence[float], **tolerance: float) -> Any:
    return pytest.approx(list(values), nan_ok=True, **tolerance)


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in frame.dtypes.items()}


# -- One charge point -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moments", "interval", "run", "interval_s", "jitter_ms", "drift_ms"),
    [
        pytest.param([0, 1, 2], None, [0, 0, 0], [NAN, 1, 1], [NAN, 0, 0], [0, 0, 0], id="regular"),
        pytest.param([0, 1, 2], 1, [0, 0, 0], [NAN, 1, 1], [NAN, 0, 0], [0, 0, 0], id="regular, interval given"),
        pytest.param(
            [0, 1.1, 2, 3.1, 4],
            1,
            [0] * 5,
            [NAN, 1.1, 0.9, 1.1, 0.9],
            [NAN, 100, -100, 100, -100],
            [0, 100, 0, 100, 0],
            id="jitter without a drift that grows",
        ),
        pytest.param(
            [0, 1.1, 2.2, 3.3, 4.4],
            1,
            [0] * 5,
            [NAN, 1.1, 1.1, 1.1, 1.1],
            [NAN, 100, 100, 100, 100],
            [-200, -100, 0, 100, 200],
            id="another interval than meant: drift grows",
        ),
        pytest.param(
            [0, 1.1, 2.2, 3.3, 4.4],
            None,
            [0] * 5,
            [NAN, 1.1, 1.1, 1.1, 1.1],
            [NAN, 0, 0, 0, 0],
            [0] * 5,
            id="the median is the interval meant",
        ),
        pytest.param(
            [0, 1, 2, 5.3, 6.3],
            1,
            [0, 0, 0, 1, 1],
            [NAN, 1, 1, NAN, 1],
            [NAN, 0, 0, NAN, 0],
            [0] * 5,
            id="an outage: another run, another grid",
        ),
        pytest.param(
            [0, 1, 2.499, 3.499],
            1,
            [0] * 4,
            [NAN, 1, 1.499, 1],
            [NAN, 0, 499, 0],
            [-249.5, -249.5, 249.5, 249.5],
            id="up to one and a half intervals is late, no outage",
        ),
        pytest.param(
            [0, 1, 2.501, 3.501], 1, [0, 0, 1, 1], [NAN, 1, NAN, 1], [NAN, 0, NAN, 0], [0] * 4, id="more is an outage"
        ),
        pytest.param([0, 10, 20], 1, [0, 1, 2], [NAN] * 3, [NAN] * 3, [0] * 3, id="nothing but outages"),
        pytest.param([7], 1, [0], [NAN], [NAN], [0], id="one beat"),
        pytest.param([7], None, [0], [NAN], [NAN], [NAN], id="one beat, and no interval to compare with"),
        pytest.param([], 1, [], [], [], [], id="none"),
    ],
)
def test_runs_intervals_jitter_and_drift(
    moments: list[float],
    interval: float | None,
    run: list[int],
    interval_s: list[float],
    jitter_ms: list[float],
    drift_ms: list[float],
) -> None:
    timing = heartbeat_timing(log_of(moments), interval=interval)
    assert tuple(timing.columns) == COLUMNS
    assert timing.after_s.tolist() == near([moment - moments[0] for moment in moments], **S)
    assert timing.run.tolist() == run
    assert timing.interval_s.tolist() == near(interval_s, **S)
    assert timing.jitter_ms.tolist() == near(jitter_ms, **MS)
    assert timing.drift_ms.tolist() == near(drift_ms, **MS)


def test_a_gap_of_exactly_one_and_a_half_intervals_is_no_outage() -> None:
    moments = [0, 1, 2.5, 3.5]
    frame = log_of(moments).to_frame()
    begin = pd.Timestamp("2026-11-23", tz="UTC")  # a record keeps microseconds; these moments are exact
    frame["sent_at"] = [begin + pd.Timedelta(seconds=moment) for moment in moments for _ in ("CALL", "CALLRESULT")]
    timing = heartbeat_timing(frame, interval=1)
    assert timing.run.tolist() == [0] * 4
    assert outages(timing).empty


def test_latency_and_outcome_are_those_of_the_answer() -> None:
    log = log_of([0], latency_ms=12.5)
    log.add(1.0, '[2,"refused","Heartbeat",{}]', sent=True)
    log.add(1.03, '[4,"refused","InternalError","",{}]', sent=False)
    log.add(2.0, '[2,"lost","Heartbeat",{}]', sent=True)
    timing = heartbeat_timing(log)
    assert timing.outcome.tolist() == ["answered", "CALLERROR", "no answer"]
    assert timing.latency_ms.tolist() == near([12.5, 30, NAN], **MS)
    assert timing.message_id.tolist() == ["CP1-0", "refused", "lost"]


def test_only_the_action_asked_for_counts() -> None:
    log = log_of([0, 1])
    log.add(0.5, '[2,"t","TransactionEvent",{}]', sent=True)
    log.add(0.6, "garbage", sent=False)
    log.add(0.7, '[2,"h","Heartbeat",{}]', sent=False)  # the CSMS asks nobody for a heartbeat
    assert heartbeat_timing(log).message_id.tolist() == ["CP1-0", "CP1-1"]
    assert heartbeat_timing(log, action="TransactionEvent").message_id.tolist() == ["t"]


def test_what_was_delivered_twice_counts_once() -> None:
    """AWS IoT delivers at least once."""
    seen = MessageLog()
    for moment, sent, text in sorted([*answered("CP1", 0, "a", 5), *answered("CP1", 1, "b", 5)] * 2):
        seen.add(moment, text, topic="CP1/in" if sent else "CP1/out")
    timing = heartbeat_timing(seen, interval=1)
    assert timing.message_id.tolist() == ["a", "b"]
    assert timing.latency_ms.tolist() == near([5, 5], **MS)


# -- Several ----------------------------------------------------------------------------------------------------------


def test_charge_points_are_looked_at_apart_in_the_order_of_time() -> None:
    timing = heartbeat_timing(log_of([0.5, 2.5, 4.5], "CP2"), log_of([0, 1, 2, 3], "CP1"))
    assert timing.charge_point_id.tolist() == ["CP1", "CP2", "CP1", "CP1", "CP2", "CP1", "CP2"]
    assert timing.after_s.tolist() == near([0, 0.5, 1, 2, 2.5, 3, 4.5], **S)
    assert timing.interval_s.tolist() == near([NAN, NAN, 1, 1, 2, 1, 2], **S)
    assert timing.run.tolist() == [0] * 7


@pytest.mark.parametrize(
    ("interval", "runs"),
    [
        ({"CP1": 1, "CP2": 2}, {"CP1": 0, "CP2": 0}),
        ({"CP1": 1, "CP2": 1}, {"CP1": 0, "CP2": 2}),
        ({"CP1": 1}, {"CP1": 0, "CP2": 0}),  # the median where none is given
        (1, {"CP1": 0, "CP2": 2}),
    ],
)
def test_each_charge_point_may_have_its_own_interval(interval: Any, runs: dict[str, int]) -> None:
    timing = heartbeat_timing(log_of([0, 1, 2], "CP1"), log_of([0, 2, 4], "CP2"), interval=interval)
    assert timing.groupby("charge_point_id").run.max().to_dict() == runs


def test_a_monitors_record_and_tables_will_do() -> None:
    seen = MessageLog()
    seen.add(0.0, '{"version":1}', topic="$aws/things/CP1/shadow/update/documents")
    for name in ("CP1", "CP2"):
        for number in range(3):
            (at, _, asked), (then, _, answer) = answered(name, 1 + number, f"{name}-{number}", 5)
            seen.add(at, asked, topic=f"{name}/in")
            seen.add(then, answer, topic=f"{name}/out")
    timing = heartbeat_timing(seen, interval=1)
    assert timing.charge_point_id.value_counts().to_dict() == {"CP1": 3, "CP2": 3}
    assert timing.latency_ms.tolist() == near([5] * 6, **MS)
    assert timing.outcome.unique().tolist() == ["answered"]
    frame = seen.to_frame()
    parts = heartbeat_timing(frame[frame.charge_point_id == "CP1"], frame[frame.charge_point_id == "CP2"], interval=1)
    pd.testing.assert_frame_equal(parts, timing)


@pytest.mark.parametrize("interval", [0, -1, NAN, {"CP1": 1, "CP2": 0}])
def test_a_wrong_interval_is_refused(interval: Any) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        heartbeat_timing(log_of([0, 1]), interval=interval)


@pytest.mark.parametrize("records", [[], [MessageLog()], [MessageLog(), MessageLog().to_frame()], [log_of([])]])
def test_no_heartbeats_make_a_table_of_the_same_dtypes(records: list[Any]) -> None:
    full, empty = heartbeat_timing(log_of([0, 1, 2])), heartbeat_timing(*records)
    assert empty.empty
    assert dtypes(empty) == dtypes(full)
    assert dtypes(full) == {
        "sent_at": "datetime64[ns, UTC]",
        "charge_point_id": dtypes(MessageLog().to_frame())["charge_point_id"],
        "message_id": dtypes(MessageLog().to_frame())["message_id"],
        "after_s": "float64",
        "latency_ms": "float64",
        "outcome": "category",
        "run": "int64",
        "interval_s": "float64",
        "jitter_ms": "float64",
        "drift_ms": "float64",
    }
    assert heartbeat_timing(log_of([0]), *records).message_id.tolist() == ["CP1-0"]


# -- Outages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moments", "interval", "found"),
    [
        ([], 1, []),
        ([0], 1, []),
        ([0, 1, 2], 1, []),
        ([0, 1, 2, 5, 6], 1, [(2, 5, 2)]),
        ([0, 1, 2, 5, 6], None, [(2, 5, 2)]),
        ([0, 1, 2.6, 3.6], 1, [(1, 2.6, 1)]),  # one was due, and came too late
        ([0, 1, 2, 5, 6, 7, 17], 1, [(2, 5, 2), (7, 17, 9)]),
        ([0, 1.2, 2.4, 8.4, 9.6], 1, [(2.4, 8.4, 5)]),  # due by the interval meant, not by what came
        ([0, 10, 20], 1, [(0, 10, 1), (10, 20, 1)]),  # no interval is to be seen; one at least was due
    ],
)
def test_outages_have_begin_end_and_what_was_due(
    moments: list[float], interval: float | None, found: list[tuple[float, float, int]]
) -> None:
    table = outages(heartbeat_timing(log_of(moments), interval=interval))
    assert tuple(table.columns) == OUTAGE_COLUMNS
    assert table.charge_point_id.tolist() == ["CP1"] * len(found)
    assert table.from_s.tolist() == near([row[0] for row in found], **S)
    assert table.to_s.tolist() == near([row[1] for row in found], **S)
    assert table.missed.tolist() == [row[2] for row in found]


def test_outages_of_several_charge_points_stand_below_each_other() -> None:
    table = outages(heartbeat_timing(log_of([0, 1, 2, 9], "CP1"), log_of([0, 2, 4, 12], "CP2")))
    assert list(zip(table.charge_point_id, table.missed, strict=True)) == [("CP1", 6), ("CP2", 3)]


def test_no_outages_make_a_table_of_the_same_dtypes() -> None:
    full = outages(heartbeat_timing(log_of([0, 1, 2, 9])))
    for none in (outages(heartbeat_timing()), outages(heartbeat_timing(log_of([0, 1])))):
        assert none.empty
        assert dtypes(none) == dtypes(full)


# -- Percentiles ------------------------------------------------------------------------------------------------------


def test_percentiles_are_interpolated_linearly() -> None:
    log = log_of([0, 1, 2, 3], latency_ms=[40, 10, 30, 20])
    log.add(4.0, '[2,"lost","Heartbeat",{}]', sent=True)
    (row,) = percentiles(heartbeat_timing(log)).itertuples(index=True, name=None)
    name, count, *values, lost = row
    assert (name, count, lost) == ("CP1", 5, 1)
    assert values == near([25, 38.5, 39.7, 40], **MS)


def test_percentiles_of_groups_of_one_and_of_all() -> None:
    timing = heartbeat_timing(log_of([0, 1], "CP1", latency_ms=[1, 3]), log_of([0.5], "CP2", latency_ms=7))
    table = percentiles(timing, levels=[0, 50, 99.9])
    assert table.columns.tolist() == ["count", "p0", "p50", "p99.9", "max", "not answered"]
    assert table.index.tolist() == ["CP1", "CP2"]
    assert table.p50.tolist() == near([2, 7], **MS)
    whole = percentiles(timing, by=None)
    assert whole["count"].tolist() == [3]
    assert whole.p50.tolist() == near([3], **MS)
    assert percentiles(timing, by="outcome").index.tolist() == ["answered"]


def test_percentiles_of_nothing_have_the_same_dtypes() -> None:
    full, empty = percentiles(heartbeat_timing(log_of([0, 1]))), percentiles(heartbeat_timing())
    assert empty.empty
    assert dtypes(empty) == dtypes(full)
    (row,) = percentiles(heartbeat_timing(), by=None).itertuples(index=False, name=None)
    assert row == near([0, NAN, NAN, NAN, NAN, 0])
