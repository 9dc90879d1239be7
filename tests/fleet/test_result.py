"""The result of a run: tables, picture and files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from csms_stub import Csms
from small_fleets import UNIT, fleet_of, run_quietly

from cpsim_kit.fleet.call_table import COLUMNS
from cpsim_kit.fleet.result import FleetResult


async def test_the_result_is_a_table_a_summary_and_a_picture(csms: Csms, tmp_path: Any) -> None:
    from matplotlib.figure import Figure

    result = await fleet_of(csms, 3).run(20 * UNIT, **run_quietly)
    frame = result.to_frame()
    assert tuple(frame.columns) == COLUMNS
    assert frame.dtypes.astype(str).to_dict() == {
        "sent_at": "datetime64[ns, UTC]",
        "charge_point_id": str(pd.Series(["a"]).astype("str").dtype),
        "action": "category",
        "latency_ms": "float64",
        "response_ms": "float64",
        "outcome": "category",
        "detail": "object",
    }
    assert frame.sent_at.is_monotonic_increasing
    summary = result.summary()
    beats = frame[(frame.action == "Heartbeat") & (frame.outcome == "answered")]
    assert summary["count"].sum() == len(frame)
    assert summary.p95_ms["Heartbeat"] == pytest.approx(beats.latency_ms.quantile(0.95))
    given = Figure().subplots(3)
    axes = result.plot(ax=given)
    assert list(axes) == list(given)
    assert [ax.get_ylabel() for ax in axes] == ["latency (ms)", "per second", "charge points"]
    assert "3 of 3 connected" in result._repr_html_()
    saved = pd.read_csv(result.to_csv(tmp_path / "calls.csv"))
    assert len(saved) == len(frame)


def test_a_result_saved_as_parquet_reads_back_as_it_was(tmp_path: Path) -> None:
    import pandas as pd

    result = FleetResult(2, 0.0)
    result.calls.add("CP1", "BootNotification", 1.0, 2.0, 3.0)
    result.calls.add("CP2", "Heartbeat", 1.5, float("nan"), float("nan"), "timeout", "no answer within 1 s")
    path = result.to_parquet(tmp_path / "calls.parquet")
    assert path == tmp_path / "calls.parquet"
    saved = pd.read_parquet(path).astype({"detail": "object"})  # which pandas 3 reads as its own kind of text
    pd.testing.assert_frame_equal(saved, result.to_frame())


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)  # as where it is not installed
    with pytest.raises(ImportError, match=r"^to_parquet\(\) needs pyarrow, .*pip install pyarrow") as caught:
        FleetResult(1, 0.0).to_parquet(tmp_path / "calls.parquet")
    assert caught.value.name == "pyarrow"
    assert not list(tmp_path.iterdir())


def test_what_is_left_of_a_second_is_no_drop_in_the_picture() -> None:
    from matplotlib.figure import Figure

    result = FleetResult(1, started_at=100)
    for number in range(22):  # ten a second
        result.calls.add("CP1", "Heartbeat", 100 + number / 10, 2.0, 3.0)
    result.samples.append((0.5, 1, 1))
    axes = result.plot(ax=Figure().subplots(3))
    assert list(axes[1].lines[0].get_ydata()) == [10, 10]
    assert list(axes[0].lines[0].get_xdata()) == [0.5, 1.5]
