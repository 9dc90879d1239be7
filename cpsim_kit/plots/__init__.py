"""Plots: tables in, matplotlib Axes out."""

from cpsim_kit.plots.plots import LivePlot, distribution, fleet, gateway, hops, latency, live, regularity, sequence

__all__ = ["LivePlot", "distribution", "fleet", "gateway", "hops", "latency", "live", "regularity", "sequence"]
