"""The dialects: how each version of OCPP says what happened, and what it calls things. No I/O.

A version's names stand in its dialect alone.
"""

from cpsim_kit.station.dialects.dialect import Dialect
from cpsim_kit.station.dialects.v16 import V16
from cpsim_kit.station.dialects.v201 import V21, V201

__all__ = ["Dialect", "dialect_of"]

_DIALECTS: dict[str, type[V16 | V201]] = {"1.6": V16, "2.0.1": V201, "2.1": V21}


def dialect_of(version: str, epoch: float, evse_count: int) -> Dialect:
    """The dialect of a station.

    Args:
        version: "1.6", "2.0.1" or "2.1".
        epoch: Seconds since the epoch at the station's moment 0.
        evse_count: How many EVSEs it has.
    """
    return _DIALECTS[version](version, epoch, evse_count)
