"""The dialects: how each version of OCPP says what happened, and what it calls things. No I/O.

A version's names stand in its dialect alone.
"""

from collections.abc import Mapping

from cpsim_kit.ocpp_j.versions import VERSIONS
from cpsim_kit.station.dialects.dialect import Dialect
from cpsim_kit.station.dialects.v16 import V16
from cpsim_kit.station.dialects.v201 import V21, V201

__all__ = ["Dialect", "check_names", "dialect_of"]

_DIALECTS: dict[str, type[V16 | V201]] = {"1.6": V16, "2.0.1": V201, "2.1": V21}


def dialect_of(version: str, epoch: float, evse_count: int) -> Dialect:
    """The dialect of a station.

    Args:
        version: "1.6", "2.0.1" or "2.1".
        epoch: Seconds since the epoch at the station's moment 0.
        evse_count: How many EVSEs it has.
    """
    return _DIALECTS[version](version, epoch, evse_count)


def check_names(dialect: Dialect, given: Mapping[str, object]) -> None:
    """Find names that another version has for a variable.

    Raises:
        ValueError: There is one; the text says what to write.
    """
    for name in (name for name in given if name not in dialect.names):
        for version in VERSIONS:
            meant = set(dialect_of(version, 0, 1).names.get(name, ()))
            if meant:
                mine = [own for own, variables in dialect.names.items() if meant.intersection(variables)]
                hint = f"write {' or '.join(mine)}" if mine else "it has no variable for this"
                raise ValueError(
                    f"{name} is a name of OCPP {version}, and this station speaks {dialect.version.name}: {hint}"
                )
