"""What the tests of plots share: a backend of matplotlib that counts what is shown, and tables to draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cpsim_kit.basics.tables import table
from cpsim_kit.observe import trace
from cpsim_kit.records import MessageLog, timing

shows: list[str] = []  # what pyplot was asked to show


class _Manager(FigureManagerBase):
    @classmethod
    def pyplot_show(cls, *, block: bool | None = None) -> None:
        shows.append("show")


class FigureCanvas(FigureCanvasAgg):
    """Makes this module a backend of matplotlib: it draws as Agg does."""

    manager_class = _Manager


@pytest.fixture(autouse=True)
def backend() -> Iterator[None]:
    before = mpl.get_backend()
    mpl.use(f"module://{__name__}")
    shows.clear()
    yield
    plt.close("all")
    mpl.use(before)


Draw = Callable[..., Axes]
BEGAN = datetime(2026, 11, 23, 10, tzinfo=UTC)


def heartbeats(*charge_point_ids: str, answered: bool = True) -> pd.DataFrame:
    """Of each charge point nine heartbeats with an outage; a CALLERROR, and one without an answer."""
    logs = []
    for charge_point_id in charge_point_ids:
        log = MessageLog(charge_point_id=charge_point_id)
        for number, moment in enumerate([0, 1, 2, 3, 7, 8, 9, 10, 11]):
            log.add(moment, f'[2,"{number}","Heartbeat",{{}}]', sent=True)
            if answered and number == 3:
                log.add(moment + 0.02, f'[4,"{number}","InternalError","",{{}}]', sent=False)
            elif answered and number != 6:
                log.add(moment + 0.005 + number / 1000, f'[3,"{number}",{{}}]', sent=False)
        logs.append(log)
    return timing.heartbeat_timing(*logs, interval=1)


def exchanges(count: int) -> pd.DataFrame:
    """As a trace gives them."""
    values = {"charge_point_id": "CP1", "action": "Heartbeat", "in_ms": 1.0, "out_ms": 3.0, "latency_ms": 4.0}
    rows = [
        values | {"sent_at": BEGAN + timedelta(seconds=number), "message_id": str(number)} for number in range(count)
    ]
    return table(pd.DataFrame(rows, columns=list(trace.COLUMNS)), trace.COLUMNS)


HOPS = pd.DataFrame(
    [
        ("sent", "CP1 sends", "CALL", 0.0, 0.0),
        ("in", "CP1/in", "CALL", 1.0, 1.0),
        ("shadow", "shadow version 2", "", 2.0, 1.0),
        ("out", "CP1/out", "CALLRESULT", 3.0, 1.0),
        ("received", "CP1 receives", "CALLRESULT", 4.0, 1.0),
    ],
    columns=["hop", "place", "kind", "after_ms", "took_ms"],
)


def legend_of(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]
