"""Charging profiles as a CSMS sends them, in the fields of either version, for tests that play one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from core_player import EPOCH, Player

MAX = "StationMax"
DEFAULT = "TxDefault"
TX = "Tx"
_WORDS_16 = {MAX: "ChargePointMaxProfile", DEFAULT: "TxDefaultProfile", TX: "TxProfile"}
_WORDS_201 = _WORDS_16 | {MAX: "ChargingStationMaxProfile"}


def at(seconds: float) -> str:
    """A moment of the player's clock."""
    return datetime.fromtimestamp(EPOCH + seconds, UTC).isoformat()


def payload(
    version: str,
    purpose: str = DEFAULT,
    periods: Sequence[tuple[float, float] | tuple[float, float, int]] = ((0, 10),),
    *,
    number: int = 1,
    unit: str = "A",
    kind: str = "Absolute",
    start: float = 0,
    level: int = 0,
    duration: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A profile's fields; periods are starts, limits and, where there is a third number, phases."""
    names = ("start_period", "limit", "number_phases")
    schedule: dict[str, Any] = {
        "charging_rate_unit": unit,
        "charging_schedule_period": [dict(zip(names, period, strict=False)) for period in periods],
    }
    if kind != "Relative":
        schedule["start_schedule"] = at(start)
    if duration is not None:
        schedule["duration"] = duration
    if kind == "Recurring":
        more = {"recurrency_kind": "Daily"} | more
    is_16 = version == "1.6"
    return {
        "charging_profile_id" if is_16 else "id": number,
        "stack_level": level,
        "charging_profile_purpose": (_WORDS_16 if is_16 else _WORDS_201)[purpose],
        "charging_profile_kind": kind,
        "charging_schedule": schedule if is_16 else [{"id": 1, **schedule}],
        **more,
    }


def put(player: Player, evse_id: int = 0, *args: Any, **options: Any) -> tuple[Any, list[Any]]:
    """Let the CSMS set a profile, with the arguments of :func:`payload`; the answer, and what was said after it."""
    version = player.core.dialect.version.name
    profile = payload(version, *args, **options)
    if version == "1.6":
        return player.command("SetChargingProfile", connector_id=evse_id, cs_charging_profiles=profile)
    return player.command("SetChargingProfile", evse_id=evse_id, charging_profile=profile)


def transaction_id(player: Player, evse_id: int = 1) -> Any:
    """The running transaction's id, as the CSMS writes it."""
    transaction = player.core.evses[evse_id].transaction
    assert transaction is not None
    return int(transaction.id) if player.core.dialect.version.name == "1.6" else transaction.id
