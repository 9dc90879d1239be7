"""Charging profiles: what the CSMS allows an EVSE to draw, moment by moment. Pure, no I/O, no clock."""

from __future__ import annotations

from cpsim_kit.station.profiles.profile import Period, Profile, Schedule
from cpsim_kit.station.profiles.rules import Refused, Rules
from cpsim_kit.station.profiles.store import Profiles
from cpsim_kit.station.profiles.supply import NO_LIMIT, Charging, Limit, Supply

__all__ = [
    "NO_LIMIT",
    "Charging",
    "Limit",
    "Period",
    "Profile",
    "Profiles",
    "Refused",
    "Rules",
    "Schedule",
    "Supply",
]
