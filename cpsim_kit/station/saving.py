"""The file of a saved station: its identity, its EVSEs and its memory, as JSON."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cpsim_kit.station.charging.evse import Evse
from cpsim_kit.station.rules.memory import remember

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["SavedStation", "read_station", "write_station"]


class SavedStation(NamedTuple):
    """What is in the file; ``starts_at`` is what the station's clock goes on from."""

    id: str
    version: str
    evses: list[Evse]
    starts_at: datetime
    memory: Mapping[str, Any]


def write_station(path: Path, identity: str, core: Core, now: float) -> Path:
    """Write the file, completely or not at all.

    Args:
        path: The file.
        identity: The station's.
        core: Its state.
        now: The moment, on the station's clock.

    Raises:
        OSError: It cannot be written.
    """
    saved = {
        "id": identity,
        "evses": [dataclasses.asdict(evse.spec) for evse in core.evses.values()],
        "memory": remember(core, now),
    }
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(json.dumps(saved, indent=1), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def read_station(path: Path) -> SavedStation:
    """Read the file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not a saved station.
    """
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        memory = saved["memory"]
        starts_at = datetime.fromtimestamp(max(memory["at"], time.time()), UTC)
        evses = [Evse(**each) for each in saved["evses"]]
        return SavedStation(saved["id"], memory["version"], evses, starts_at, memory)
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise ValueError(f"{path} is not a saved station: {exc!r}") from exc
