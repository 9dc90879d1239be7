"""An awaitable charge point: OCPP-J over one WebSocket. It knows nothing of AWS."""

from cpsim_kit.charge_point.backoff import Backoff
from cpsim_kit.charge_point.charge_point import OWN_INTERVAL, Beat, ChargePoint
from cpsim_kit.charge_point.lifecycle import boot_until_accepted, keep_connected
from cpsim_kit.charge_point.network import Network
from cpsim_kit.charge_point.transport import OpenTransport, Transport

__all__ = [
    "OWN_INTERVAL",
    "Backoff",
    "Beat",
    "ChargePoint",
    "Network",
    "OpenTransport",
    "Transport",
    "boot_until_accepted",
    "keep_connected",
]
