"""What the CSMS commands and the resets of a station, in a line each, for tables of what follows."""

from __future__ import annotations

from core_player import Player, Said
from message_lines import lines_of

from cpsim_kit.station.rules.events import Accepted, ShutDown
from cpsim_kit.station.rules.restart import RESTART_SECONDS


def command(player: Player, words: str) -> list[str]:
    """Do what a line says; the status of the answer, and what was said after it.

    E.g. "inoperative", "operative 1", "inoperative 1 1", "reset Immediate", "reset OnIdle 1", "unlock 1",
    "trigger MeterValues 1"; another line is an act of the player.
    """
    is_16 = player.core.dialect.version.name == "1.6"
    action = ""
    match words.split():
        case [("operative" | "inoperative") as status, *where]:
            action, place = "ChangeAvailability", [int(each) for each in where]
            evse = dict(zip(("id", "connector_id"), place, strict=False))
            operational_status = status.capitalize()
            fields = {"type": operational_status, "connector_id": (place or [0])[0]}
            if not is_16:
                fields = {"operational_status": operational_status, **({"evse": evse} if evse else {})}
        case ["reset", kind, *where]:
            action = "Reset"
            fields = {"type": kind, **({"evse_id": int(where[0])} if where else {})}
        case ["unlock", *where]:
            action = "UnlockConnector"
            evse_id, connector_id = (*map(int, where), 1)[:2]
            fields = {"connector_id": evse_id} if is_16 else {"evse_id": evse_id, "connector_id": connector_id}
        case [("trigger" | "extended") as verb, message, *where]:
            action = "TriggerMessage" if verb == "trigger" else "ExtendedTriggerMessage"
            fields = {"requested_message": message}
            if where and is_16:
                fields["connector_id"] = int(where[0])
            elif where:
                fields["evse"] = dict(zip(("id", "connector_id"), map(int, where), strict=False))
        case _:
            return lines_of(player.act(words))
    answer, said = player.command(action, **fields)
    return [f"-> {answer.status}", *lines_of(said)]


def restart(player: Player) -> list[Said]:
    """Drive a reset to its end: what was said after the station is accepted again."""
    restarts = player.core.restarts
    assert restarts.is_ready(player.now)
    player.do(ShutDown())
    assert player.core.due() == player.now + RESTART_SECONDS
    assert player.wait(RESTART_SECONDS) == []
    assert restarts.step == "boots"
    return player.do(Accepted(restarts.boot_reason))
