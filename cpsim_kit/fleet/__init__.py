"""Many charge points at once: in this process, in several, or on a Dask cluster."""

from cpsim_kit.fleet.call_table import FleetResult
from cpsim_kit.fleet.fleet import Fleet

__all__ = ["Fleet", "FleetResult"]
