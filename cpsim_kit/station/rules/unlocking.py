"""The lock that keeps a cable in a socket. Pure: no clock, no I/O.

The lock is closed while somebody is authorized there. A fault of the lock keeps the cable in until the fault is gone.
An attached cable has no lock at the station. OCPP 2.0.1 part 2, F05; OCPP 1.6, 5.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpsim_kit.station.rules.events import Unlock

if TYPE_CHECKING:
    from cpsim_kit.station.charging.evse import LiveEvse
    from cpsim_kit.station.rules.visits import Visits

__all__ = ["is_stuck", "unlock"]


def is_stuck(evse: LiveEvse) -> bool:
    """Whether the cable cannot be taken out of the socket, whoever tries."""
    return evse.fault == "ConnectorLockFailure" and not evse.spec.is_attached


def unlock(visits: Visits, event: Unlock, now: float) -> str:
    """Unlock a connector: the status. What was authorized there ends, as a free cable does not charge."""
    evse = visits.evses.get(event.evse_id)
    if evse is None or event.connector_id != 1:
        return "UnknownConnector"
    if evse.spec.is_attached:
        return "NoLock"
    if is_stuck(evse):
        return "UnlockFailed"
    if evse.authorization is not None and evse.transaction is not None and not event.ends_transaction:  # F05.FR.02
        return "OngoingAuthorizedTransaction"
    if evse.authorization is not None:
        visits.end_authorization(evse, now, "UnlockCommand", "UnlockCommand", None)
    elif evse.transaction is not None:
        visits.settle(evse, now, "UnlockCommand")
    evse.is_cable_locked = False
    return "Unlocked"
