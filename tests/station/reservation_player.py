"""Lets a CSMS reserve in a line, e.g. "reserve 7 TAG-1 evse 1 for 60": for tables of what is said then."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from core_player import EPOCH, Player
from message_lines import lines_of

from cpsim_kit.station import Evse
from cpsim_kit.station.rules.authorization import TokenInfo

VERSIONS = ("1.6", "2.0.1", "2.1")
TOKENS = {
    "TAG-1B": TokenInfo("Accepted", "GROUP"),
    "TAG-1C": TokenInfo("Accepted", "group"),
    "TAG-BLOCKED": TokenInfo("Blocked", "GROUP"),
}


def player_of(version: str, evses: int = 1, **variables: object) -> Player:
    names = {name.replace("__", "."): value for name, value in variables.items()}
    return Player(version, [Evse()] * evses, names, TOKENS)


def reserve(
    player: Player,
    number: int,
    token: str,
    evse_id: int | None = None,
    *,
    group: str | None = None,
    seconds: float = 600,
    connector_type: str | None = None,
) -> tuple[str, list[str]]:
    """Let the CSMS reserve; the status, and what was said after it."""
    until = datetime.fromtimestamp(EPOCH + player.now + seconds, UTC).isoformat()
    if player.core.dialect.version.name == "1.6":
        fields: dict[str, Any] = {"reservation_id": number, "id_tag": token, "expiry_date": until}
        fields |= {"connector_id": evse_id or 0, "parent_id_tag": group}
    else:
        fields = {"id": number, "id_token": {"id_token": token, "type": "ISO14443"}, "expiry_date_time": until}
        fields |= {"evse_id": evse_id, "connector_type": connector_type}
        fields |= {} if group is None else {"group_id_token": {"id_token": group, "type": "Central"}}
    answer, said = player.command("ReserveNow", **{name: value for name, value in fields.items() if value is not None})
    return str(answer.status), lines_of(said)


def cancel(player: Player, number: int) -> tuple[str, list[str]]:
    answer, said = player.command("CancelReservation", reservation_id=number)
    return str(answer.status), lines_of(said)


def act(player: Player, words: str) -> list[str]:
    """As ``Player.act``, and "reserve 7 TAG-1 [evse 1] [group G] [for 60]", "cancel 7"; one line for each message."""
    match words.split():
        case ["reserve", number, token, *more]:
            named: dict[str, Any] = dict(zip(more[::2], more[1::2], strict=True))
            evse_id = int(named["evse"]) if "evse" in named else None
            seconds = float(named.get("for", 600))
            status, lines = reserve(player, int(number), token, evse_id, group=named.get("group"), seconds=seconds)
            return [f"-> {status}", *lines]
        case ["cancel", number]:
            status, lines = cancel(player, int(number))
            return [f"-> {status}", *lines]
    return lines_of(player.act(words))


def play(player: Player, acts: list[str]) -> list[str]:
    """Play the acts; what was said at the last one."""
    lines: list[str] = []
    for words in acts:
        lines = act(player, words)
    return lines


STARTED_201 = "Started 0 Authorized EVConnected"
CABLE = "32 A Begin:1"
