"""The charging profiles of a station. Pure: the moment is an argument, no I/O.

EVSE 0 is the station: StationMax and External there bound the sum of its EVSEs; TxDefault there applies to each EVSE.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from cpsim_kit.station.profiles.profile import Period, Profile, Unit
from cpsim_kit.station.profiles.rules import Rules
from cpsim_kit.station.profiles.supply import Charging, Limit, Supply

__all__ = ["Profiles"]


class Profiles:
    """The installed profiles, by EVSE."""

    def install(
        self,
        profile: Profile,
        evse_id: int,
        supplies: Mapping[int, Supply],
        chargings: Mapping[int, Charging],
        rules: Rules,
    ) -> None:
        """Install a profile that the CSMS sends (supplies: of each EVSE; chargings: the running transactions)."""
        raise NotImplementedError

    def check(
        self,
        profile: Profile,
        evse_id: int,
        supplies: Mapping[int, Supply],
        chargings: Mapping[int, Charging] | None,
        rules: Rules,
    ) -> None:
        """Raise Refused as install would. ``chargings=None``: for a transaction about to start (F01.FR.26)."""
        raise NotImplementedError

    def constrain(self, profile: Profile, evse_id: int) -> None:
        """Set an External profile from outside; it replaces the one with its id."""
        raise NotImplementedError

    def release(self, profile_id: int) -> bool:
        """Remove an External profile; whether there was one."""
        raise NotImplementedError

    def clear(
        self,
        *,
        profile_id: int | None = None,
        evse_id: int | None = None,
        purpose: str | None = None,
        stack_level: int | None = None,
    ) -> int:
        """Remove those that match all criteria given, External ones excepted; how many."""
        raise NotImplementedError

    def find(
        self,
        *,
        ids: Collection[int] | None = None,
        evse_id: int | None = None,
        purpose: str | None = None,
        stack_level: int | None = None,
        sources: Collection[str] | None = None,
    ) -> list[tuple[int, Profile]]:
        """(EVSE, profile) of those that match all criteria given."""
        raise NotImplementedError

    def end_transaction(self, evse_id: int) -> int:
        """Remove the Tx profiles of an EVSE; how many."""
        raise NotImplementedError

    def limit(self, evse_id: int, at: float, supply: Supply, charging: Charging | None) -> Limit:
        """What the profiles allow at an EVSE, or at the station (0), at a moment."""
        raise NotImplementedError

    def composite(
        self, evse_id: int, start: float, duration: float, unit: Unit, supply: Supply, charging: Charging | None
    ) -> tuple[Period, ...]:
        """The limits over a time, as steps that differ; starts count from ``start``, a limit of None is a gap."""
        raise NotImplementedError

    def next_change(self, evse_id: int, at: float, charging: Charging | None) -> float:
        """The first moment after ``at`` when ``limit`` can differ; infinity for never."""
        raise NotImplementedError

    def dump(self) -> list[dict[str, Any]]:
        """What a power loss must not take, as plain data."""
        raise NotImplementedError

    @classmethod
    def load(cls, rows: list[dict[str, Any]]) -> Profiles:
        """The profiles of a dump."""
        raise NotImplementedError
