"""A transaction: when it starts and stops, and what of it was reported already. Pure: no clock, no I/O.

The points of a session are named as TxStartPoint and TxStopPoint name them: EVConnected, Authorized, PowerPathClosed
(both of them) and EnergyTransfer. OCPP 2.0.1 part 2, E01 and E06, and 2.6.6. OCPP 1.6 is the case of start
PowerPathClosed and stop EVConnected, Authorized (part 2, E 1.1.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cpsim_kit.basics.cards import card

if TYPE_CHECKING:
    from cpsim_kit.station.charging.meter import Reading
    from cpsim_kit.station.rules.authorization import IdToken

__all__ = ["POINTS", "STOPPED_WITH_AUTHORIZATION", "Report", "Transaction"]

POINTS = ("EVConnected", "Authorized", "PowerPathClosed", "EnergyTransfer")

# An authorization that ends, ends a transaction with one of these stop points (E05.FR.10, E06.FR.03, .06, F03.FR.03).
STOPPED_WITH_AUTHORIZATION = frozenset({"Authorized", "PowerPathClosed", "EnergyTransfer"})


@dataclass(slots=True, repr=False)
class Transaction:
    """One transaction, and the station's own truth of it.

    Attributes:
        key: The id that the station gives it: a UUID (E01.FR.08). OCPP 1.6 does not send it.
        csms_id: The id that the CSMS gave it, in OCPP 1.6; None before its answer.
        evse_id: Where it is; 0 while that is not known.
        start: When it started.
        start_wh: The meter at its start; not a number while the EVSE is not known.
        end: When it ended; None while it runs.
        end_wh: The meter at its end.
        seq_no: The number of the next message.
        token: The token that authorized it first, or None.
        stopped_by: Why its authorization ended, where it went on all the same: the reason it will end with.
        is_evse_reported: Whether the CSMS knows the EVSE (E01.FR.16).
        charging_state: The last reported charging state.
        phases_used: The last reported number of phases.
        begin: The reading at its start, None until the EVSE is known.
        is_begin_reported: Whether that reading was sent (E01.FR.09, .17).
        readings: Readings between start and end, for the last message.
        kept_interval: Seconds between two of them at least, since they did not fit into the last message.
        sample_at: When the next periodic reading is due.
        ended_sample_at: When the next reading for the last message is due.
        answered: How many of its messages were answered.
        given_up: How many of them will not be sent any more: they failed for the last time, or were dropped.
        was_offline: Whether one of them happened, or waited, without a connection.
        reported_start_wh: The meter at its start, as answered messages reported it; not a number before the first.
        reported_end_wh: The meter as the last answered message with a reading reported it.
    """

    key: str
    evse_id: int
    start: float
    csms_id: int | None = None
    start_wh: float = math.nan
    end: float | None = None
    end_wh: float = math.nan
    seq_no: int = 0
    token: IdToken | None = None
    stopped_by: str = ""
    is_evse_reported: bool = False
    charging_state: str = ""
    phases_used: int | None = None
    begin: Reading | None = None
    is_begin_reported: bool = False
    readings: list[Reading] = field(default_factory=list)
    kept_interval: float = 0.0
    sample_at: float = math.inf
    ended_sample_at: float = math.inf
    answered: int = 0
    given_up: int = 0
    was_offline: bool = False
    reported_start_wh: float = math.nan
    reported_end_wh: float = math.nan

    def __repr__(self) -> str:
        place = f" at EVSE {self.evse_id}" if self.evse_id else ""
        return f"<Transaction {self.id} {self._state}{place}>"

    def _repr_html_(self) -> str:
        registers = {"meter at the start": self.start_wh, "meter at the end": self.end_wh}
        rows = {
            "EVSE": self.evse_id or None,
            "token": None if self.token is None else self.token.id,
            "charging state": self.charging_state or None,
            **{name: None if math.isnan(wh) else f"{wh:,.0f} Wh" for name, wh in registers.items()},
        }
        return card(f"Transaction {self.id}", self._state, rows)

    @property
    def _state(self) -> str:
        return "running" if self.end is None else "ended"

    @property
    def id(self) -> str:
        """The id by which the CSMS knows it, as text."""
        return self.key if self.csms_id is None else str(self.csms_id)


@dataclass(slots=True)
class Report:
    """What happened to a transaction, for the dialect to put into a message of its version.

    A field that is None is not reported, because it did not change or is sent once only.

    Attributes:
        kind: "Started", "Updated" or "Ended".
        trigger: Why, a TriggerReasonEnumType value.
        at: When.
        transaction: The transaction.
        seq_no: The message's number within it.
        charging_state: A ChargingStateEnumType value.
        stopped_reason: Of an end, a ReasonEnumType value.
        token: Whose authorization began or ended.
        remote_start_id: Of the CSMS's request to start.
        reservation_id: Of the reservation that was used.
        evse_id: Where the vehicle is connected.
        phases_used: Phases in use.
        cable_a: Amperes of the cable.
        readings: Meter readings, oldest first.
        offline: Whether it happened, or waited, without a connection (E04.FR.03, E11.FR.07).
    """

    kind: str
    trigger: str
    at: float
    transaction: Transaction
    seq_no: int
    charging_state: str | None = None
    stopped_reason: str | None = None
    token: IdToken | None = None
    remote_start_id: int | None = None
    reservation_id: int | None = None
    evse_id: int | None = None
    phases_used: int | None = None
    cable_a: int | None = None
    readings: list[Reading] = field(default_factory=list)
    offline: bool = False
