"""A handler: what a station does on one action of the CSMS. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cpsim_kit.basics.tables import table

if TYPE_CHECKING:
    import pandas as pd

    from cpsim_kit.station.rules.core import Core

__all__ = ["Handler", "commands_frame"]


@dataclass(frozen=True, slots=True)
class Handler:
    """What a station does on one action of the CSMS.

    Attributes:
        run: Called with the core, the moment, and the payload's fields in snake_case; does it, and returns the
            ``call_result`` dataclass.
        effect: What the station does, in one sentence.
        source: Where the specification demands it: requirement ids, or a section of OCPP 1.6.
        is_done: Whether the station can do it; False for an action that it always refuses.
    """

    run: Callable[[Core, float, Mapping[str, Any]], Any]
    effect: str
    source: str
    is_done: bool = True


def commands_frame(commands: Mapping[str, Handler], overridden: Mapping[str, Callable[..., Any]]) -> pd.DataFrame:
    """One row for each command, by name.

    Args:
        commands: What the station does by itself.
        overridden: The functions that answer in its place.
    """
    rows = []
    for action, handler in sorted(commands.items()):
        own = overridden.get(action)
        effect = handler.effect if own is None else f"calls your {getattr(own, '__name__', type(own).__name__)}()"
        rows.append((action, effect, handler.source, handler.is_done or own is not None))
    frame = table(rows, ["action", "does", "source", "is_done"])
    return frame.astype({"action": "str", "source": "object", "is_done": bool})
