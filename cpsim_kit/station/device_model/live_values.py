"""Values of the device model that come from the station's state. Pure: the moment is an argument, no I/O.

Each function is called with the core, the EVSE that the variable belongs to or None, and the moment. None is no value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpsim_kit.station.charging.evse import LiveEvse
    from cpsim_kit.station.rules.core import Core

__all__ = [
    "Device",
    "active_profile",
    "charging_time",
    "connector_type",
    "date_time",
    "fact",
    "list_entries",
    "max_power",
    "phases",
    "power",
    "problem",
    "profile_entries",
    "state",
    "station_phases",
    "station_problem",
    "station_state",
    "unlocks_never",
]

# The station's state is that of its EVSEs: the first of these that one of them has.
_PRECEDENCE = ("Available", "Occupied", "Reserved", "Unavailable", "Faulted")


class Device(Protocol):
    """What the station is, as its charge point reports it at boot."""

    id: str
    model: str
    vendor_name: str
    serial_number: str
    firmware_version: str

    @property
    def security_profile(self) -> int:
        """The security profile of its connection; 0 for none."""


def fact(name: str) -> Callable[[Core, LiveEvse | None, float], Any]:
    """A value of the device, by its attribute."""

    def find(core: Core, _evse: LiveEvse | None, _now: float) -> Any:
        return None if core.device is None else getattr(core.device, name)

    return find


def date_time(core: Core, _evse: LiveEvse | None, now: float) -> str:
    """What the station's clock shows."""
    return core.dialect.time(now)


def list_entries(core: Core, _evse: LiveEvse | None, _now: float) -> int:
    """How many tokens the local list has."""
    return len(core.local_list)


def profile_entries(core: Core, _evse: LiveEvse | None, _now: float) -> int:
    """How many charging profiles are installed."""
    return len(core.smart.profiles.find()) if core.has_profiles else 0


def active_profile(core: Core, _evse: LiveEvse | None, _now: float) -> int | None:
    """The slot of the network connection in use; None before the first start, and without power."""
    return int(core.network_profile) if core.network_profile else None


def unlocks_never(core: Core, _evse: LiveEvse | None, _now: float) -> bool | None:
    """False where every cable is attached (part 2, 2.1.12); None where there is a socket to unlock."""
    return False if all(evse.spec.is_attached for evse in core.evses.values()) else None


def station_state(core: Core, _evse: LiveEvse | None, now: float) -> str:
    """The best state that one of the EVSEs has."""
    states = {state(core, evse, now) for evse in core.evses.values()}
    return next(each for each in _PRECEDENCE if each in states)


def station_problem(core: Core, _evse: LiveEvse | None, _now: float) -> bool:
    """Whether an EVSE has a fault."""
    return any(evse.fault for evse in core.evses.values())


def station_phases(core: Core, _evse: LiveEvse | None, _now: float) -> int:
    """Phases of the grid that it is connected to: 1 where no EVSE needs more."""
    return 1 if all(evse.spec.phases == 1 for evse in core.evses.values()) else 3


def state(core: Core, evse: LiveEvse | None, _now: float) -> str:
    """The state of an EVSE; its connector has the same."""
    assert evse is not None
    return core.dialect.connector_status(evse)


def problem(_core: Core, evse: LiveEvse | None, _now: float) -> bool:
    """Whether it has a fault."""
    assert evse is not None
    return bool(evse.fault)


def power(_core: Core, evse: LiveEvse | None, now: float) -> float:
    """What it delivers, in W."""
    assert evse is not None
    return round(evse.power_kw(now) * 1000, 1)


def max_power(_core: Core, evse: LiveEvse | None, _now: float) -> float:
    """The most that it delivers, in W."""
    assert evse is not None
    return round(evse.spec.max_kw * 1000, 1)


def charging_time(_core: Core, evse: LiveEvse | None, now: float) -> float:
    """Seconds from the first to the last energy that the vehicle there has taken."""
    assert evse is not None
    return round(evse.charging_seconds(now), 1)


def phases(_core: Core, evse: LiveEvse | None, _now: float) -> int:
    """Its phases; 0 for direct current."""
    assert evse is not None
    return 0 if isinstance(evse.spec.phases, str) else evse.spec.phases


def connector_type(_core: Core, evse: LiveEvse | None, _now: float) -> str:
    """A ConnectorEnumType value."""
    assert evse is not None
    if evse.spec.is_dc:
        return "cCCS2"
    return "cType2" if evse.spec.is_attached else "sType2"
