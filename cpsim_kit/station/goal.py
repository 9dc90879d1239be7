"""What somebody waits for at an EVSE, and when it will be so if nothing changes. Pure: no clock, no I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cpsim_kit.station.core import Core
    from cpsim_kit.station.evse import LiveEvse

__all__ = ["Goal"]

_WORDS = {
    "soc": "a state of charge of {:.1%}",
    "energy_kwh": "{:g} kWh in this session",
    "power_kw": "a power of {:g} kW",
    "state": "state {}",
    "minutes": "{:g} minutes to pass",
}


class Goal:
    """Something to wait for.

    Attributes:
        evse_id: Where.
        moment: When it will be so if nothing changes; infinity if that is not known.
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
        self._was_above = isinstance(power, float | int) and core.evses[evse_id].power_kw(now) > power
        self.update(core, now)

    def __str__(self) -> str:
        return (
            " and ".join(_WORDS[name].format(value) for name, value in self._wanted.items()) or "the vehicle's target"
        )

    @staticmethod
    def check(wanted: Mapping[str, float | str | None]) -> dict[str, float | str]:
        """What is wanted, without what is not.

        Raises:
            ValueError: A value is out of range.
        """
        given = {name: value for name, value in wanted.items() if value is not None}
        for name, value in given.items():
            if name == "state":
                if not isinstance(value, str):
                    raise ValueError(f'state is a word, e.g. "Charging", not {value!r}')
            elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f"{name} is a number, not below 0, not {value!r}")
            elif name == "soc" and value > 1:
                raise ValueError(f"a state of charge is between 0 and 1, not {value!r}")
        return given

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
        """Make one.

        Raises:
            ValueError: There is nothing to wait for, a value is out of range, or it is not plain where.
        """
        given = cls.check(wanted)
        if not given and not ends_with_session:
            raise ValueError("until what? Give soc=, energy_kwh=, power_kw=, state= or minutes=")
        if evse_id is None:
            busy = [number for number, each in core.evses.items() if each.session is not None]
            possible = list(core.evses) if len(core.evses) == 1 or set(given) == {"minutes"} else busy
            if len(possible) != 1 and set(given) != {"minutes"}:
                raise ValueError(f"where? Say evse={' or '.join(map(str, possible or core.evses))}")
            evse_id = possible[0]
        elif evse_id not in core.evses or isinstance(evse_id, bool):
            raise ValueError(f"this station has the EVSEs {', '.join(map(str, core.evses))}, not {evse_id!r}")
        return cls(core, now, evse_id, given, ends_with_session=ends_with_session)

    def update(self, core: Core, now: float) -> bool:
        """Whether it is so now; else :attr:`moment` says when it may be."""
        evse = core.evses[self.evse_id]
        if self._ends_with_session and (evse.authorization is None or evse.ev_is_done or evse.authorization.is_blocked):
            return True
        waits = [self._seconds(evse, name, value, now) for name, value in self._wanted.items()]
        longest = max(waits, default=math.inf)
        self.moment = now + longest if longest > 0 else now
        return bool(waits) and longest <= 0

    def _seconds(self, evse: LiveEvse, name: str, value: float | str, now: float) -> float:
        """Seconds until one thing is so, 0 if it is, infinity if that is not known."""
        if isinstance(value, str):
            return 0.0 if value in {evse.charging_state, evse.reported_status, evse.fault} else math.inf
        match name:
            case "minutes":
                return _positive(self._since + value * 60 - now)
            case "energy_kwh":
                begin = evse.session.begin_wh if evse.session is not None else math.nan
                missing = value * 1000 - (evse.register_wh(now) - begin)
                return 0.0 if missing <= 1e-6 else evse.seconds_until_wh(now, begin + value * 1000)
            case "soc":
                vehicle = evse.vehicle
                if vehicle is None:
                    return math.inf
                if value >= 1 or value == vehicle.stops_at:  # then it takes no energy any more, and says so
                    return 0.0 if evse.ev_is_done else evse.full_at - now
                return 0.0 if evse.soc(now) >= value - 1e-9 else evse.seconds_until_soc(now, value)
            case _:
                return self._seconds_until_power(evse, value, now)

    def _seconds_until_power(self, evse: LiveEvse, kw: float, now: float) -> float:
        power = evse.power_kw(now)
        if (power <= kw + 1e-9) if self._was_above else (power >= kw - 1e-9):
            return 0.0
        if not self._was_above or evse.vehicle is None:
            return math.inf
        return evse.seconds_until_soc(now, evse.vehicle.soc_at_power(kw))


def _positive(seconds: float) -> float:
    return seconds if seconds > 1e-9 else 0.0
