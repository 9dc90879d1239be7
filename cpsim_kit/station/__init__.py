"""A charge point that works by itself: EVSEs, vehicles, sessions and meters, for OCPP 1.6, 2.0.1 and 2.1."""

from cpsim_kit.station.charging.evse import Evse
from cpsim_kit.station.charging.session import Session
from cpsim_kit.station.charging.vehicle import Vehicle
from cpsim_kit.station.commands import Command
from cpsim_kit.station.evse_view import EvseView
from cpsim_kit.station.rules.events import FAULTS, Swiped
from cpsim_kit.station.rules.quirks import QUIRKS, Quirk
from cpsim_kit.station.station import Station

__all__ = ["FAULTS", "QUIRKS", "Command", "Evse", "EvseView", "Quirk", "Session", "Station", "Swiped", "Vehicle"]
