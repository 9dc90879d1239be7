"""Plays what a CSMS asks of a station's maintenance, and tells what the station says as lines with their moments.

player = Player("2.0.1")
ask_update(player, "2.0.1 signed")      # the answer's status, or "" where the answer has none
timeline(player, 200)                   # ["30 Downloaded 7", "30 SignatureVerified 7", …]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from core_player import Player

from cpsim_kit.station.rules.events import Accepted, ShutDown

KINDS = ("1.6", "1.6 signed", "2.0.1", "2.0.1 signed", "2.1", "2.1 signed")
SIGNED = tuple(kind for kind in KINDS if kind.endswith("signed"))
LOCATION = "https://firmware.example/station/fw-2.1.0.bin?token=3.4"

_STATUSES = {
    "FirmwareStatusNotification",
    "SignedFirmwareStatusNotification",
    "LogStatusNotification",
    "DiagnosticsStatusNotification",
}


def make(kind: str, **options: Any) -> Player:
    return Player(kind.split(maxsplit=1)[0], **options)


def update_fields(
    player: Player,
    kind: str,
    number: int = 7,
    location: str = LOCATION,
    retrieve_in: float = -7200,
    install_in: float | None = None,
    **fields: Any,
) -> tuple[str, dict[str, Any]]:
    """The action and the fields of an update; the times are seconds from now."""
    at = player.core.dialect.time
    if kind == "1.6":
        return "UpdateFirmware", {"location": location, "retrieve_date": at(player.now + retrieve_in), **fields}
    firmware = {"location": location, "retrieve_date_time": at(player.now + retrieve_in)}
    if install_in is not None:
        firmware["install_date_time"] = at(player.now + install_in)
    if kind.endswith("signed"):
        firmware |= {"signing_certificate": "-----BEGIN CERTIFICATE-----", "signature": "c2lnbmF0dXJl"}
    action = "SignedUpdateFirmware" if kind == "1.6 signed" else "UpdateFirmware"
    return action, {"request_id": number, "firmware": firmware, **fields}


def ask_update(player: Player, kind: str, *args: Any, **options: Any) -> tuple[str, list[str]]:
    """Ask for an update: the answer's status, and what was said at once."""
    action, fields = update_fields(player, kind, *args, **options)
    answer, said = player.command(action, **fields)
    return getattr(answer, "status", ""), lines(said)


def timeline(player: Player, seconds: float) -> list[str]:
    """What is said in this time, each with the seconds since its begin; a restart is played as the driver does it."""
    begin, end = player.now, player.now + seconds
    lines_of = []
    while True:
        lines_of += [f"{player.now - begin:g} {line}" for line in restart(player)]
        if player.core.due() > end:
            break
        said = player.wait(max(0.0, player.core.due() - player.now))
        lines_of += [f"{player.now - begin:g} {line}" for line in lines(said)]
    player.wait(end - player.now)
    return lines_of


def restart(player: Player) -> list[str]:
    """Do what the driver does for a restart that is due now."""
    restarts = player.core.restarts
    if restarts.is_ready(player.now):
        player.do(ShutDown())
    if restarts.step != "boots":
        return []
    reason = restarts.boot_reason
    return [f"boot {reason}", *lines(player.do(Accepted(reason)))]


def lines(said: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """One line for each message."""
    return [_line(action, payload) for action, payload in said]


def _line(action: str, payload: Mapping[str, Any]) -> str:
    if action in _STATUSES:
        return " ".join([payload["status"], *([str(payload["requestId"])] if "requestId" in payload else [])])
    if action == "StatusNotification":
        place = payload.get("evseId", payload["connectorId"])
        return f"connector {place} {payload.get('connectorStatus') or payload['status']}"
    if action == "SecurityEventNotification":
        return f"event {payload['type']}"
    if action == "TransactionEvent":
        return payload["eventType"]
    return action
