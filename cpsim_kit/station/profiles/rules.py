"""Which profiles a station refuses, each by its requirement. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Refused", "Rules"]


class Refused(Exception):
    """A profile that the station does not install.

    Attributes:
        code: The reason code of OCPP 2.x's StatusInfo (part 2, appendix 5).
        text: Why, in one sentence.
        source: The requirement, such as "K01.FR.16".
    """

    def __init__(self, code: str, text: str, source: str) -> None:
        super().__init__(code, text, source)
        self.code = code
        self.text = text
        self.source = source

    def __str__(self) -> str:
        return f"{self.text} ({self.source})"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a version says and a station is configured to.

    Attributes:
        is_lenient: OCPP 1.6: a profile replaces the one of the same purpose, stack level and connector too (3.13.2),
            a TxProfile need not name its transaction, and a schedule without a start counts from the start of
            charging. Otherwise, as in 2.x, these are refused.
        units: ChargingScheduleChargingRateUnit.
        max_stack_level: ChargingProfileMaxStackLevel.
        max_periods: PeriodsPerSchedule.
        max_profiles: ChargingProfileEntries.maxLimit.
    """

    is_lenient: bool = False
    units: tuple[str, ...] = ("A", "W")
    max_stack_level: int = 100
    max_periods: int = 1024
    max_profiles: int = 100
