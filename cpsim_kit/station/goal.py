"""What somebody waits for at an EVSE, and when it is reached if nothing changes. Pure: no clock, no I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cpsim_kit.station.charging.evse import CHARGING_STATES, check_evse_id
from cpsim_kit.station.charging.vehicle import is_number
from cpsim_kit.station.rules.events import FAULTS

if TYPE_CHECKING:
    from cpsim_kit.station.charging.evse import LiveEvse
    from cpsim_kit.station.rules.core import Core

__all__ = ["Goal"]

_WORDS = {
    "soc": "a state of charge of {:.1%}",
    "energy_kwh": "{:g} kWh in this session",
    "power_kw": "a power of {:g} kW",
    "state": "state {}",
    "minutes": "{:g} minutes to pass",
}


_MOST = {"soc": 1, "minutes": 5_256_000}  # ten years; far beyond, the clock would show a year that Python has not


class Goal:
    """What somebody waits for: all of the wanted values, at one EVSE, at the same moment.

    Attributes:
        evse_id: The EVSE.
        moment: When it is reached if nothing changes; infinity if that is not known.
    """

    __slots__ = ("_ends_with_session", "_since", "_wanted", "_was_above", "evse_id", "moment")

    def __init__(
        self, core: Core, now: float, evse_id: int, wanted: Mapping[str, float | str], *, ends_with_session: bool
    ) -> None:
        self.evse_id = evse_id
        self.moment = math.inf
        self._wanted = wanted
        self._since = now
        self._ends_with_session = ends_with_session
        power = wanted.get("power_kw")
        self._was_above = is_number(power) and core.evses[evse_id].power_kw(now) > power
        self.update(core, now)

    def __str__(self) -> str:
        return (
            " and ".join(_WORDS[name].format(value) for name, value in self._wanted.items()) or "the vehicle's target"
        )

    @staticmethod
    def check(wanted: Mapping[str, float | str | None]) -> dict[str, float | str]:
        """Check what is wanted, and leave out what is None.

        Raises:
            ValueError: A value is not a number, or out of range, or a state is not a word.
        """
        given = {name: value for name, value in wanted.items() if value is not None}
        for name, value in given.items():
            if name == "state":
                if not isinstance(value, str) or not value:
                    raise ValueError(f'state is a word, e.g. "Charging", not {value!r}')
                continue
            most = _MOST.get(name, math.inf)
            if not is_number(value) or not 0 <= value <= most or value == math.inf:
                raise ValueError(
                    f"{name} is a number{', at least 0' if most == math.inf else f' from 0 to {most}'}, not {value!r}"
                )
        return given

    @staticmethod
    def _check_state(state: object, statuses: Sequence[str]) -> None:
        known = dict.fromkeys((*CHARGING_STATES, *statuses, *FAULTS))
        if state not in known:
            raise ValueError(f"state is one of {', '.join(known)}, not {state!r}")

    @classmethod
    def make(
        cls,
        core: Core,
        now: float,
        evse_id: int | None,
        wanted: Mapping[str, float | str | None],
        *,
        ends_with_session: bool = False,
    ) -> Goal:
        """Check what is wanted, find the EVSE, and make the goal.

        Args:
            core: The station's core.
            now: The moment.
            evse_id: The EVSE; None where only one is possible.
            wanted: Values by name: soc, energy_kwh, power_kw, state, minutes. Those that are None are not wanted. A
                soc of 1 is reached when the vehicle has enough: at its target, or when its battery counts as full.
            ends_with_session: Whether it is reached, too, when the vehicle has enough or may not charge any more.

        Raises:
            ValueError: There is nothing to wait for, a value is out of range, there is no such state, or it is not
                plain which EVSE is meant.
        """
        given = cls.check(wanted)
        cls._check_state(given.get("state", "Charging"), core.dialect.statuses)
        if not given and not ends_with_session:
            raise ValueError("until what? Give soc=, energy_kwh=, power_kw=, state= or minutes=")
        if evse_id is None:
            busy = [number for number, each in core.evses.items() if each.session is not None]
            possible = list(core.evses) if len(core.evses) == 1 else busy
            if len(possible) != 1 and set(given) != {"minutes"}:
                raise ValueError(f"where? Say evse={' or '.join(map(str, possible or core.evses))}")
            evse_id = next(iter(possible or core.evses))
        else:
            check_evse_id(core.evses, evse_id)
        return cls(core, now, evse_id, given, ends_with_session=ends_with_session)

    def update(self, core: Core, now: float) -> bool:
        """Whether it is reached now; else :attr:`moment` is when it will be if nothing changes."""
        evse = core.evses[self.evse_id]
        if self._ends_with_session and (evse.authorization is None or evse.ev_is_done or evse.authorization.is_blocked):
            return True
        waits = [self._seconds(evse, name, value, now) for name, value in self._wanted.items()]
        self.moment = now + max(waits, default=math.inf)
        return self.moment <= now  # also where so short a time does not change the number of seconds

    def _seconds(self, evse: LiveEvse, name: str, value: float | str, now: float) -> float:
        """Seconds until one value is reached, 0 if it is, infinity if that is not known."""
        if isinstance(value, str):
            return 0.0 if value in {evse.charging_state, evse.reported_status, evse.fault} else math.inf
        match name:
            case "minutes":
                return max(0.0, self._since + value * 60 - now)
            case "energy_kwh":
                if evse.session is None:
                    return math.inf
                register_wh = evse.session.begin_wh + value * 1000
                is_reached = evse.register_wh(now) >= register_wh - 1e-6
                return 0.0 if is_reached else evse.seconds_until_wh(now, register_wh)
            case "soc":
                vehicle = evse.vehicle
                if vehicle is None:
                    return math.inf
                soc = min(value, vehicle.full_soc)  # there it counts as full
                if value >= 1 or soc == vehicle.stops_at:  # reached when the vehicle stops, which is an event
                    return 0.0 if evse.ev_is_done else math.inf
                return 0.0 if evse.soc(now) >= soc - 1e-9 else evse.seconds_until_soc(now, soc)
            case _:
                return self._seconds_until_power(evse, value, now)

    def _seconds_until_power(self, evse: LiveEvse, kw: float, now: float) -> float:
        power = evse.power_kw(now)
        if (power <= kw + 1e-9) if self._was_above else (power >= kw - 1e-9):
            return 0.0
        if not self._was_above or evse.vehicle is None:
            return math.inf
        return evse.seconds_until_soc(now, evse.vehicle.soc_at_power(kw))
