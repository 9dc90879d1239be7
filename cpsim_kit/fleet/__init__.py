"""Many charge points at once: in this process, in several, or on a Dask cluster."""

from cpsim_kit.fleet.arrivals import poisson
from cpsim_kit.fleet.fleet import Fleet
from cpsim_kit.fleet.result import FleetResult

__all__ = ["Fleet", "FleetResult", "poisson"]
