"""The charging profiles of a station. Pure: the moment is an argument, no I/O.

EVSE 0 is the station: StationMax and External there bound the sum of its EVSEs; TxDefault there applies to each EVSE
(K01.FR.14). Of each purpose the profile of the highest stack level that has a period at that moment leads, and the
least of the leading ones is the limit (part 2, block K, 3.4 and 3.5). A Tx profile goes before a TxDefault one.

Limits of several purposes are combined in amperes per phase, and so are their phases: no profile that leads sees more
amperes on a phase, more phases, or more power than it allows (K01.FR.43, .50, .51, K08.FR.04).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from cpsim_kit.station.profiles.profile import Period, Profile, Schedule, Unit
from cpsim_kit.station.profiles.rules import Refused, Rules, check_duplicate, check_profile, replaces
from cpsim_kit.station.profiles.supply import NO_LIMIT, Charging, Limit, Supply, convert, watts
from cpsim_kit.station.profiles.timing import Timed

__all__ = ["Profiles"]

_Groups = tuple[tuple[Timed, ...], ...]


class Profiles:
    """The installed profiles, by EVSE."""

    __slots__ = ("_groups", "_installed")

    def __init__(self) -> None:
        self._installed: list[Timed] = []  # the latest last
        self._groups: dict[int, _Groups] = {}

    def __len__(self) -> int:
        return len(self._installed)

    def install(
        self,
        profile: Profile,
        evse_id: int,
        supplies: Mapping[int, Supply],
        chargings: Mapping[int, Charging],
        rules: Rules,
    ) -> None:
        """Install a profile that the CSMS sends; it replaces what the version says.

        Args:
            profile: The profile. One that came with the command to start a transaction gets its ``transaction_id``
                once there is one.
            evse_id: The EVSE; 0 for the station.
            supplies: What each EVSE of the station is fed with.
            chargings: The running transactions, by EVSE.
            rules: What the version and the configuration say.

        Raises:
            Refused: The station does not install it.
        """
        self.check(profile, evse_id, supplies, chargings, rules)
        self._installed = [each for each in self._installed if not replaces(profile, evse_id, each, rules)]
        self._add(profile, evse_id)

    def check(
        self,
        profile: Profile,
        evse_id: int,
        supplies: Mapping[int, Supply],
        chargings: Mapping[int, Charging] | None,
        rules: Rules,
    ) -> None:
        """Check that ``install`` would not refuse a profile.

        Args:
            profile: The profile.
            evse_id: The EVSE; 0 for the station.
            supplies: What each EVSE of the station is fed with.
            chargings: The running transactions, by EVSE. None for a profile that comes with the command to start one
                (F01.FR.26).
            rules: What the version and the configuration say.

        Raises:
            Refused: The station does not install it.
        """
        check_profile(profile, evse_id, supplies, chargings, rules)
        others = [each for each in self._installed if not replaces(profile, evse_id, each, rules)]
        for each in others:
            if each.profile.id == profile.id:
                text = "Profile {0} is set from outside, and the CSMS cannot replace it."
                raise Refused("InvalidProfile", text.format(profile.id), "K01.FR.05")
            if not rules.is_lenient:
                check_duplicate(profile, evse_id, each)
        if len(others) >= rules.max_profiles:
            text = f"The station holds {rules.max_profiles} profiles already."
            raise Refused("TooManyElements", text, "ChargingProfileEntries")

    def constrain(self, profile: Profile, evse_id: int) -> None:
        """Set an External profile, from outside; it replaces the External one with its id.

        Raises:
            ValueError: The profile has another purpose, or the id is that of another profile.
        """
        if profile.purpose != "External":
            raise ValueError(f"a limit from outside has the purpose External, not {profile.purpose}")
        if any(each.profile.id == profile.id and each.profile.purpose != "External" for each in self._installed):
            raise ValueError(f"the id {profile.id} is that of a profile of the CSMS")
        self._installed = [each for each in self._installed if each.profile.id != profile.id]
        self._add(profile, evse_id)

    def release(self, profile_id: int) -> bool:
        """Remove an External profile; whether there was one."""
        return self._remove(lambda each: each.profile.id == profile_id and each.profile.purpose == "External") > 0

    def clear(
        self,
        *,
        profile_id: int | None = None,
        evse_id: int | None = None,
        purpose: str | None = None,
        stack_level: int | None = None,
    ) -> int:
        """Remove what matches all criteria given; External ones stay (K10.FR.04, .08, .09; 1.6 errata 3.25).

        In OCPP 2.x an id alone decides (K10.FR.03): leave the other criteria out then.

        Args:
            profile_id: The one with this id.
            evse_id: Those of this EVSE.
            purpose: Those of this purpose.
            stack_level: Those of this level.

        Returns:
            How many; 0 is the status Unknown (K10.FR.01).
        """
        ids = None if profile_id is None else (profile_id,)
        return self._remove(
            lambda each: each.profile.purpose != "External" and _matches(each, ids, evse_id, purpose, stack_level, None)
        )

    def find(
        self,
        *,
        ids: Collection[int] | None = None,
        evse_id: int | None = None,
        purpose: str | None = None,
        stack_level: int | None = None,
        sources: Collection[str] | None = None,
    ) -> list[tuple[int, Profile]]:
        """(EVSE, profile) of those that match all criteria given, by EVSE and id (K09.FR.03-.06)."""
        found = [each for each in self._installed if _matches(each, ids, evse_id, purpose, stack_level, sources)]
        found.sort(key=lambda each: (each.evse_id, each.profile.id))
        return [(each.evse_id, each.profile) for each in found]

    def end_transaction(self, evse_id: int) -> int:
        """Remove the Tx profiles of an EVSE, as its transaction has ended; how many."""
        return self._remove(lambda each: each.evse_id == evse_id and each.profile.purpose == "Tx")

    def limit(self, evse_id: int, at: float, supply: Supply, charging: Charging | None) -> Limit:
        """What the profiles allow at a moment.

        Args:
            evse_id: The EVSE; for 0 what StationMax and External allow all EVSEs together.
            at: The moment.
            supply: What it is fed with.
            charging: Its transaction. With None the answer is as if one ran on TxDefault (K08.FR.06). A relative
                schedule stands at its first period until it is known what it counts from.
        """
        anchor = at if charging is None or charging.since is None else charging.since
        amps, phases, phase_to_use, min_kw = math.inf, 3, None, None
        by: Profile | None = None
        for group in self._of(evse_id):
            for each in group:
                if _is_foreign(each, charging):
                    continue
                period = each.period(at, anchor)
                if period is None:
                    continue
                own, used = convert(each, period, supply)
                if own < amps:
                    amps, by = own, each.profile
                phases = min(phases, used)
                phase_to_use = phase_to_use or period.phase_to_use
                rate = each.profile.schedules[0].min_rate
                if rate is not None and each.profile.purpose in ("Tx", "TxDefault"):
                    min_amps, used = convert(each, replace(period, limit=rate), supply)
                    min_kw = watts(min_amps, used, supply) / 1000
                break
        if by is None:
            return NO_LIMIT
        kw = watts(amps, phases, supply) / 1000
        return Limit(kw, amps, phases or None, phase_to_use if phases == 1 else None, by, min_kw)

    def composite(
        self, evse_id: int, start: float, duration: float, unit: Unit, supply: Supply, charging: Charging | None
    ) -> tuple[Period, ...]:
        """The limits over a time, as steps of which each differs from the one before.

        Args:
            evse_id: The EVSE; for 0 what StationMax and External allow all EVSEs together.
            start: The first moment; the steps count from it.
            duration: Seconds.
            unit: Of the limits: A, per phase, or W.
            supply: What it is fed with.
            charging: Its transaction. With None the answer is as if one ran on TxDefault from ``start`` on
                (K08.FR.06), and so it is for a relative schedule that does not know yet what it counts from.

        Returns:
            The steps; a limit of None where no profile limits anything. Empty for no duration.
        """
        stop = start + duration
        anchor = start if charging is None or charging.since is None else charging.since
        painted = [
            [
                (since, until, each, period)
                for each in reversed(group)
                if not _is_foreign(each, charging)
                for since, until, period in each.segments(start, stop, anchor)
            ]
            for group in self._of(evse_id)
        ]
        edges = {start} if stop > start else set()
        for strokes in painted:
            edges.update([stroke[0] for stroke in strokes])
            edges.update([stroke[1] for stroke in strokes])
        edges.discard(stop)
        moments = sorted(edges)
        index = {moment: number for number, moment in enumerate(moments)}
        count = index[stop] = len(moments)
        layers = []
        for strokes in painted:
            layer: list[tuple[float, int, int | None] | None] = [None] * count
            for since, until, each, period in strokes:
                first, last = index[since], index[until]
                layer[first:last] = [(*convert(each, period, supply), period.phase_to_use)] * (last - first)
            if strokes:
                layers.append(layer)
        steps: list[Period] = []
        before: object = ()
        for number, moment in enumerate(moments):
            leads = [lead for layer in layers if (lead := layer[number]) is not None]
            if leads == before:
                continue
            before = leads
            step = _step(moment - start, leads, unit, supply)
            if not steps or (step.limit, step.phases, step.phase_to_use) != (
                steps[-1].limit,
                steps[-1].phases,
                steps[-1].phase_to_use,
            ):
                steps.append(step)
        return tuple(steps)

    def horizon(self, chargings: Mapping[int, Charging | None], start: float, duration: float, most: int) -> float:
        """How much of a time ``composite`` tells in so many steps. It looks at no more, however long the time is.

        Args:
            chargings: The EVSEs, as for ``composite``, and their transactions: the steps of all of them count.
            start: The first moment.
            duration: Seconds.
            most: How many steps.

        Returns:
            Seconds, at most ``duration``.
        """
        stop = start + duration
        edges = {start}
        for evse_id, charging in chargings.items():
            anchor = start if charging is None or charging.since is None else charging.since
            for each in [each for group in self._of(evse_id) for each in group if not _is_foreign(each, charging)]:
                segments = list(islice(each.segments(start, stop, anchor), most))
                edges.update([since for since, _, _ in segments])
                edges.update([until for _, until, _ in segments])
                if len(segments) == most:
                    stop = segments[-1][1]
        return duration if len(edges) <= most else min(duration, sorted(edges)[most] - start)

    def next_change(self, evse_id: int, at: float, charging: Charging | None) -> float:
        """The first moment after ``at`` when ``limit`` can differ; infinity for never."""
        anchor = None if charging is None else charging.since
        return min((each.next(at, anchor) for group in self._of(evse_id) for each in group), default=math.inf)

    def dump(self) -> list[dict[str, Any]]:
        """What a power loss must not take (K01.FR.27), as plain data."""
        return [{"evse_id": each.evse_id, **asdict(each.profile)} for each in self._installed]

    @classmethod
    def load(cls, rows: list[dict[str, Any]]) -> Profiles:
        """The profiles of a dump, also of one that went through JSON."""
        profiles = cls()
        for row in rows:
            values = dict(row)
            evse_id = values.pop("evse_id")
            schedules = tuple(
                Schedule(**{**each, "periods": tuple(Period(**period) for period in each["periods"])})
                for each in values.pop("schedules")
            )
            profiles._add(Profile(**values, schedules=schedules), evse_id)
        return profiles

    def _add(self, profile: Profile, evse_id: int) -> None:
        self._installed.append(Timed(profile, evse_id))
        self._groups.clear()

    def _remove(self, is_gone: Callable[[Timed], bool]) -> int:
        kept = [each for each in self._installed if not is_gone(each)]
        count = len(self._installed) - len(kept)
        self._installed = kept
        self._groups.clear()
        return count

    def _of(self, evse_id: int) -> _Groups:
        """What bounds an EVSE: in each group the first that has a period leads."""
        groups = self._groups.get(evse_id)
        if groups is None:
            groups = self._groups[evse_id] = self._group(evse_id)
        return groups

    def _group(self, evse_id: int) -> _Groups:
        latest = self._installed[::-1]
        found = [
            [each for each in latest if each.evse_id == 0 and each.profile.purpose == "StationMax"],
            [each for each in latest if each.evse_id == 0 and each.profile.purpose == "External"],
        ]
        if evse_id:
            found.append([each for each in latest if each.evse_id == evse_id and each.profile.purpose == "External"])
            own = [each for each in latest if each.evse_id == evse_id and each.profile.purpose == "Tx"]
            own += [each for each in latest if each.evse_id in (0, evse_id) and each.profile.purpose == "TxDefault"]
            found.append(own)
        for group in found:  # stable: of one level the EVSE's own leads (1.6, 3.13.1), then the latest
            group.sort(key=lambda each: (each.profile.purpose != "Tx", -each.profile.stack_level, -each.evse_id))
        return tuple(tuple(group) for group in found if group)


def _is_foreign(each: Timed, charging: Charging | None) -> bool:
    """Whether it is a Tx profile, and not of this transaction."""
    profile = each.profile
    return profile.purpose == "Tx" and (charging is None or profile.transaction_id not in (None, charging.id))


def _step(start: float, leads: list[tuple[float, int, int | None]], unit: Unit, supply: Supply) -> Period:
    """The least of what leads."""
    if not leads:
        return Period(round(start, 6), None)
    amps, phases, phase_to_use = leads[0]
    for own, used, asked in leads[1:]:
        amps = min(amps, own)
        phases = min(phases, used)
        phase_to_use = phase_to_use or asked
    limit = amps if unit == "A" else watts(amps, phases, supply)
    return Period(round(start, 6), round(limit, 6), phases or None, phase_to_use if phases == 1 else None)


def _matches(
    each: Timed,
    ids: Collection[int] | None,
    evse_id: int | None,
    purpose: str | None,
    stack_level: int | None,
    sources: Collection[str] | None,
) -> bool:
    profile = each.profile
    return (
        (ids is None or profile.id in ids)
        and (evse_id is None or each.evse_id == evse_id)
        and (purpose is None or profile.purpose == purpose)
        and (stack_level is None or profile.stack_level == stack_level)
        and (sources is None or profile.source in sources)
    )
