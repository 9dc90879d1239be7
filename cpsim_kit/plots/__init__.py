"""Plots of what the tables hold, drawn with matplotlib: tables in, Axes out.

Each function returns the Axes, takes ``ax=``, and shows nothing itself: a notebook shows a figure at the end of the
cell that made it. Only :func:`live` displays: it replaces its picture while the cell runs. Nothing is computed here:
:mod:`cpsim_kit.records.timing` and ``stack.trace`` do that.
"""

from cpsim_kit.plots.exchanges import hops, sequence
from cpsim_kit.plots.fleet import fleet, power
from cpsim_kit.plots.gateway import gateway
from cpsim_kit.plots.heartbeats import distribution, latency, regularity
from cpsim_kit.plots.live import LivePlot, live
from cpsim_kit.plots.schedule import schedule
from cpsim_kit.plots.sessions import sessions

__all__ = [
    "LivePlot",
    "distribution",
    "fleet",
    "gateway",
    "hops",
    "latency",
    "live",
    "power",
    "regularity",
    "schedule",
    "sequence",
    "sessions",
]
