"""Times that the CSMS wrote in a command. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["read_moment"]


def read_moment(core: Core, text: str | None) -> float | None:
    """A time of a command, on the station's clock; None if there is none.

    Raises:
        PropertyConstraintViolationError: It is no time; the schemas do not check that.
    """
    return None if text is None else core.dialect.commanded_moment(text) - core.epoch
