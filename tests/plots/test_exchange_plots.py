"""Plots of exchanges: the bars of their hops, and the sequence diagram of one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawing import HOPS, backend, exchanges  # noqa: F401 - a fixture
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from cpsim_kit import plots
from cpsim_kit.basics.tables import table
from cpsim_kit.observe.trace import COLUMNS
from cpsim_kit.records import MessageLog


@pytest.mark.parametrize("count", [1, 2, 30])
def test_each_exchange_has_a_bar_as_wide_as_the_others(count: int) -> None:
    ax = plots.hops(exchanges(count))
    edges = [area.get_datalim(ax.transData) for area in ax.collections]
    assert [edge.x0 for edge in edges] == [0.5] * 3
    assert [edge.x1 for edge in edges] == [count + 0.5] * 3
    assert max(edge.y1 for edge in edges) == 4.0


def test_exchanges_that_were_not_seen_whole_are_left_out() -> None:
    seen = exchanges(3)
    seen.loc[1, "in_ms"] = np.nan
    assert plots.hops(seen).get_xlim() == (0.5, 2.5)
    with pytest.raises(ValueError, match="nothing to plot"):
        plots.hops(seen.iloc[[1]])


def test_sequence_names_who_and_when() -> None:
    ax = plots.sequence(HOPS, title="BootNotification")
    texts = [text.get_text() for text in ax.texts]
    assert {"charge point CP1", "CSMS", "0.0 ms", "4.0 ms", "shadow version 2"} <= set(texts)
    assert ax.get_title() == "BootNotification"
    assert plots.sequence(HOPS.iloc[:2]).has_data(), "what was seen no further can be drawn too"


def conversation() -> pd.DataFrame:
    log = MessageLog(charge_point_id="CP1")
    log.add(10.0, '[2,"a","Heartbeat",{}]', sent=True)
    log.add(10.0015, '[3,"a",{"currentTime":"2026-11-23T10:00:00Z"}]', sent=False)
    log.add(10.2, '[2,"b","Reset",{"type":"OnIdle"}]', sent=False)
    log.add(10.3, '[4,"b","NotSupported","",{}]', sent=True)
    return log.to_frame()


def arrows_of(ax: Axes) -> list[tuple[float, float, str]]:
    """From, to and line style of each arrow, from top to bottom."""
    arrows = [text for text in ax.texts if isinstance(text, Annotation)]
    return [(each.xyann[0], each.xy[0], each.arrow_patch.get_linestyle()) for each in arrows]


def test_a_conversation_is_drawn_from_the_table_of_its_messages() -> None:
    ax = plots.sequence(conversation(), title="Two exchanges", ax=Figure().subplots())
    texts = [text.get_text() for text in ax.texts if text.get_text()]
    assert texts == [
        *("charge point CP1", "CSMS", "0.0 ms", "Heartbeat", "1.5 ms", "CALLRESULT"),
        *("200.0 ms", "Reset", "300.0 ms", "CALLERROR"),
    ]
    assert arrows_of(ax) == [(0, 1, "-"), (1, 0, "--"), (1, 0, "-"), (0, 1, "--")]
    assert ax.get_title() == "Two exchanges"
    assert "(ms)" in ax.get_ylabel()


def test_a_conversation_can_have_labels_and_times_of_its_own() -> None:
    table = conversation().head(2).assign(label=["it lives", "so it does"], time=["3 min", "4 min"])
    ax = plots.sequence(table, ax=Figure().subplots())
    assert [text.get_text() for text in ax.texts if text.get_text()][2:] == ["3 min", "it lives", "4 min", "so it does"]
    assert "(ms)" not in ax.get_ylabel()


def test_a_conversation_without_messages_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to plot: the table has no messages"):
        plots.sequence(conversation().head(0))


def traced(*latencies: float, out: float = 2.0, charge_point_id: str = "CP1") -> pd.DataFrame:
    moment = pd.Timestamp("2026-11-23", tz="UTC")
    head, tail = (moment, charge_point_id, "Heartbeat"), ("answered", None, None)
    return table([(*head, str(number), 1.0, out, ms, *tail) for number, ms in enumerate(latencies)], COLUMNS)


def labels(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize(
    ("latency_ms", "tops"), [(3.0, [1.0, 2.0, 3.0]), (1.5, [1.0, 1.5, 1.5]), (0.5, [0.5, 0.5, 0.5])]
)
def test_a_bar_is_as_high_as_the_latency_also_where_a_copy_came_later(latency_ms: float, tops: list[float]) -> None:
    ax = plots.hops(traced(latency_ms), ax=Figure().subplots())
    assert [max(y for _x, y in leg.get_paths()[0].vertices) for leg in ax.collections] == pytest.approx(tops)
    assert labels(ax) == ["until seen on CP1/in", "until seen on CP1/out", "until received"]
    assert ax.get_ylabel() == "since sent (ms)"


def test_one_slow_exchange_does_not_flatten_the_others() -> None:
    ax = plots.hops(traced(*[3.0] * 99, 1000.0), ax=Figure().subplots())
    assert ax.get_ylim()[1] < 10
    assert labels(ax)[-1] == "higher, up to 1000 ms"
    (marks,) = ax.lines
    assert list(marks.get_xdata()) == [100]


def test_several_charge_points_share_a_legend_that_names_none() -> None:
    both_of = pd.concat([traced(3.0), traced(3.0, charge_point_id="CP2")])
    assert labels(plots.hops(both_of, ax=Figure().subplots()))[0] == "until seen on {id}/in"
