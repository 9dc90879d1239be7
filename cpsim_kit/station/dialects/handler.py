"""A handler: what a station does on one action of the CSMS. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpsim_kit.station.core import Core

__all__ = ["Handler"]


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
