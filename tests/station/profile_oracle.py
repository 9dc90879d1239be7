"""The stacking rules of charging profiles, second by second, written from the specification.

OCPP 2.0.1 part 2, block K, 3.1-3.5 and K01; OCPP 1.6, 3.13. It uses nothing of ``cpsim_kit.station.profiles`` and reads
the attributes of profiles only. It is slow on purpose: it looks at one moment, and tries everything.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["Ledger", "answer", "holding"]

TURNS = {"Daily": timedelta(days=1), "Weekly": timedelta(weeks=1)}


def holding(profile: Any, second: float, from_charging: float) -> Any:
    """The period of a profile at a second, or None: what is in its validity, after its start, and in no gap."""
    now = datetime.fromtimestamp(second, UTC)
    if profile.valid_from is not None and now < datetime.fromtimestamp(profile.valid_from, UTC):
        return None
    if profile.valid_to is not None and now >= datetime.fromtimestamp(profile.valid_to, UTC):
        return None
    (schedule,) = profile.schedules
    counts_from_charging = profile.kind == "Relative" or schedule.start is None
    start = datetime.fromtimestamp(from_charging if counts_from_charging else schedule.start, UTC)
    if now < start:
        return None
    if profile.kind == "Recurring":
        while start + TURNS[profile.recurrency] <= now:
            start += TURNS[profile.recurrency]
    passed = (now - start).total_seconds()
    if schedule.duration is not None and passed >= schedule.duration:
        return None
    begun = [period for period in schedule.periods if period.start <= passed]
    return begun[-1] if begun else None


class Ledger:
    """What a station has installed, by its version's rules.

    Args:
        version: "1.6" or "2.x".
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self.rows: list[tuple[int, Any]] = []

    def put(self, evse_id: int, profile: Any) -> bool:
        """Install a profile that is right by itself; whether the others let it in."""
        rest = [(place, other) for place, other in self.rows if other.id != profile.id]
        if self.version == "1.6":
            self.rows = [row for row in rest if self.key(*row) != self.key(evse_id, profile)]
        else:
            if any(self.collide(evse_id, profile, *row) for row in rest):
                return False
            self.rows = rest
        self.rows.append((evse_id, profile))
        return True

    @staticmethod
    def key(place: int, profile: Any) -> tuple[int, str, int]:
        return place, profile.purpose, profile.stack_level

    def collide(self, evse_id: int, profile: Any, place: int, other: Any) -> bool:
        if (profile.purpose, profile.stack_level) != (other.purpose, other.stack_level):
            return False
        if profile.purpose == "Tx":  # K01.FR.39
            return bool(profile.transaction_id == other.transaction_id)
        if evse_id != place:  # K01.FR.52, .53
            return profile.purpose == "TxDefault" and 0 in (evse_id, place)
        return not (  # K01.FR.06
            (profile.valid_to is not None and other.valid_from is not None and profile.valid_to <= other.valid_from)
            or (other.valid_to is not None and profile.valid_from is not None and other.valid_to <= profile.valid_from)
        )


def answer(
    rows: list[tuple[int, Any]], evse_id: int, second: float, from_charging: float, transaction: str | None, phases: int
) -> tuple[float, int] | None:
    """Amperes per phase and phases of an AC EVSE of 230 V at a second; None where nothing limits it.

    Args:
        rows: (EVSE, profile), the latest last.
        evse_id: The EVSE, or 0.
        second: The moment.
        from_charging: What relative schedules count from.
        transaction: The id of the one that runs, or None.
        phases: That the EVSE has.
    """

    def leading(purpose: str, places: tuple[int, ...]) -> Any:
        """(schedule, period) of the highest level that has a period now; the EVSE's own before one for all."""
        best = None
        for place, profile in rows:
            if profile.purpose != purpose or place not in places:
                continue
            if purpose == "Tx" and (transaction is None or profile.transaction_id not in (None, transaction)):
                continue
            period = holding(profile, second, from_charging)
            rank = (profile.stack_level, place)
            if period is not None and (best is None or rank >= best[0]):
                best = rank, profile.schedules[0], period
        return best

    found = [leading("StationMax", (0,)), leading("External", (0,))]
    if evse_id != 0:
        found.append(leading("External", (evse_id,)))
        found.append(leading("Tx", (evse_id,)) or leading("TxDefault", (0, evse_id)))
    limits = []
    for lead in found:
        if lead is not None:
            _, schedule, period = lead
            said = period.phases or 3
            amps = period.limit if schedule.unit == "A" else period.limit / 230 / said
            limits.append((amps, min(said, phases)))
    if not limits:
        return None
    return min(amps for amps, _ in limits), min(used for _, used in limits)
