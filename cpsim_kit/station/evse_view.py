"""An EVSE as a reader sees it: its state, power, energy and vehicle at this moment. Changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.basics.cards import card

if TYPE_CHECKING:
    from cpsim_kit.station.charging.evse import LiveEvse
    from cpsim_kit.station.charging.session import Session
    from cpsim_kit.station.charging.transaction import Transaction
    from cpsim_kit.station.charging.vehicle import Vehicle

__all__ = ["EvseView"]


class EvseView:
    """An EVSE of a station, to read.

    Args:
        evse: The EVSE.
        now: The station's clock.
    """

    __slots__ = ("_evse", "_now")

    def __init__(self, evse: LiveEvse, now: Callable[[], float]) -> None:
        self._evse = evse
        self._now = now

    def __repr__(self) -> str:
        return f"<EVSE {self._evse.id} {self.describe()}>"

    def _repr_html_(self) -> str:
        return card(f"EVSE {self._evse.id}", self.connector_status, self._values())

    def _values(self) -> Mapping[str, Any]:
        return {
            "state": self.state,
            "demand": f"{self.demand_kw:.2f} kW",
            "limit": f"{self.limit_kw:.2f} kW by {self.limit_by}",
            "offered": f"{self.offered_kw:.2f} kW",
            "delivered": f"{self.power_kw:.2f} kW",
            "register": f"{self.energy_kwh:.3f} kWh",
            "state of charge": None if self.soc is None else f"{self.soc:.1%}",
            "transaction": None if self.transaction is None else self.transaction.id,
        }

    def describe(self) -> str:
        """Its status and state, and where there are any its power, the session's energy and the state of charge."""
        power_kw, soc = self.power_kw, self.soc
        parts = list(dict.fromkeys([self.connector_status, self.state]))
        if power_kw:
            parts.append(f"{power_kw:.2f} kW")
        if self.session is not None:
            parts.append(f"{self.session_kwh:.3f} kWh")
        if soc is not None:
            parts.append(f"SoC {soc:.1%}")
        return ", ".join(part for part in parts if part)

    @property
    def state(self) -> str:
        """The fault, or the charging state of OCPP 2.0.1 (ChargingStateEnumType) for every version, e.g. "Charging"."""
        return self._evse.fault or self._evse.charging_state

    @property
    def connector_status(self) -> str:
        """The connector's status as the CSMS knows it, in the version's own word; "" before the first report."""
        return self._evse.reported_status

    @property
    def demand_kw(self) -> float:
        """What the vehicle takes if as much is offered; 0 without one, or if it wants none."""
        return self._evse.demand_kw(self._now())

    @property
    def limit_kw(self) -> float:
        """The least of what cable, EVSE and charging profiles allow; without a vehicle there is no cable."""
        return self._evse.limit_kw

    @property
    def limit_by(self) -> str:
        """What limits it: the id of a charging profile, "external", or "EVSE" for cable and EVSE."""
        return self._evse.limit_by

    @property
    def offered_kw(self) -> float:
        """What is offered to the vehicle."""
        return self._evse.offered_kw

    @property
    def power_kw(self) -> float:
        """What is delivered to the vehicle."""
        return self._evse.power_kw(self._now())

    @property
    def energy_kwh(self) -> float:
        """The meter's register: all that it ever delivered, not rounded."""
        return self._evse.register_wh(self._now()) / 1000

    @property
    def session_kwh(self) -> float:
        """What was delivered in the session that goes on; 0 without one."""
        session = self._evse.session
        return 0.0 if session is None else self.energy_kwh - session.begin_wh / 1000

    @property
    def soc(self) -> float | None:
        """The vehicle's state of charge, from 0 to 1; None without a vehicle."""
        soc = self._evse.soc(self._now())
        return None if math.isnan(soc) else soc

    @property
    def vehicle(self) -> Vehicle | None:
        """The vehicle, or None."""
        return self._evse.vehicle

    @property
    def transaction(self) -> Transaction | None:
        """The running transaction, or None."""
        return self._evse.transaction

    @property
    def session(self) -> Session | None:
        """The session that goes on, or None."""
        return self._evse.session
