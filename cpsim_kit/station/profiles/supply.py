"""What profiles know of an EVSE and of its transaction, and what they answer. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cpsim_kit.station.profiles.profile import Period, Profile
    from cpsim_kit.station.profiles.timing import Timed

__all__ = ["NO_LIMIT", "Charging", "Limit", "Supply", "convert", "watts"]


@dataclass(frozen=True, slots=True)
class Supply:
    """What an EVSE, or the station as EVSE 0, is fed with.

    Attributes:
        volts: The nominal voltage (K01.FR.50): between a phase and neutral; for DC between the poles.
        phases: 1 or 3; 0 for DC, where limits in amperes are of the direct current and phases are ignored (K01.FR.44).
        can_reduce_phases: Whether it can use fewer phases than it has (Phases3to1, K01.FR.43).
        can_switch_phase: Whether it can choose the phase it uses (ACPhaseSwitchingSupported, K01.FR.20).
        phase: The phase that it uses when it uses one only and cannot choose.
        grid_volts: For DC: the voltage between a phase and neutral on the grid's side, for what bounds the station.
    """

    volts: float = 230
    phases: int = 3
    can_reduce_phases: bool = True
    can_switch_phase: bool = False
    phase: int = 1
    grid_volts: float = 230


@dataclass(frozen=True, slots=True)
class Charging:
    """The transaction at an EVSE.

    Attributes:
        id: Its id.
        since: The moment somebody was authorized *and* a vehicle connected, from which relative schedules count
            (K01.FR.42); None before.
    """

    id: str
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """What the profiles allow at a moment; all None where none limits anything.

    Attributes:
        kw: Kilowatts over ``phases``.
        amps: Amperes per phase; of the direct current for DC.
        phases: Phases that may be used; None for DC.
        phase_to_use: The phase that a profile asks for, or None.
        by: The profile that sets ``amps``: the least of the purposes.
        min_kw: Charging below this is inefficient, says the profile of the transaction or the default one.
        why: One sentence about it.
    """

    kw: float | None = None
    amps: float | None = None
    phases: int | None = None
    phase_to_use: int | None = None
    by: Profile | None = None
    min_kw: float | None = None

    @property
    def why(self) -> str:
        """One sentence about what leads."""
        if self.by is None:
            return "No profile limits it."
        by = self.by
        return f"Profile {by.id} ({by.purpose}, stack level {by.stack_level}) allows the least of those that lead."


NO_LIMIT = Limit()


def convert(timed: Timed, period: Period, supply: Supply) -> tuple[float, int]:
    """A period's limit as amperes per phase, and its phases as far as the supply has them.

    For DC the amperes are of the direct current, and the phases 0.
    """
    schedule = timed.profile.schedules[0]
    limit = 0.0 if period.limit is None else period.limit
    said = 3 if period.phases is None else period.phases  # K01.FR.49
    if supply.phases:
        amps = limit if schedule.unit == "A" else limit / (supply.volts * said)  # K01.FR.50, .51
        return amps, said if said < supply.phases else supply.phases  # K01.FR.45
    if schedule.unit == "W":
        return limit / supply.volts, 0
    if timed.evse_id == 0 and timed.profile.purpose != "TxDefault":
        return limit * supply.grid_volts * said / supply.volts, 0
    return limit, 0


def watts(amps: float, phases: int, supply: Supply) -> float:
    """Watts of that many amperes on each of the phases; 0 phases are DC."""
    return amps * supply.volts * (phases or 1)
