"""What the plots share: colours, the Axes to draw on, the groups of a table, and the check that it has rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "SIZE", "axes_or_new", "groups_of", "require_axes", "require_rows"]

# Okabe and Ito's palette: readable on white, and people with a colour vision deficiency can distinguish the colours.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
SIZE = (8, 3.2)  # inches


def axes_or_new(ax: Axes | None, size: tuple[float, float] = SIZE) -> Axes:
    """The given Axes, or those of a new figure when None."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt  # noqa: PLC0415 - half a second that a load generator need not spend

    return plt.subplots(figsize=size, layout="constrained")[1]


def require_axes(ax: Sequence[Axes], count: int) -> Sequence[Axes]:
    """Return ``ax``; raise ValueError when it is not a sequence of ``count`` Axes."""
    if not hasattr(ax, "__len__") or len(ax) != count or not all(hasattr(each, "plot") for each in ax):
        raise ValueError(f"ax= is {count} Axes here, as plt.subplots({count}, 1)[1] makes them; not {ax!r}")
    return ax


def groups_of(timing: pd.DataFrame, by: str | None) -> list[tuple[str, pd.DataFrame, str]]:
    """Name, rows and colour of each group; one group without a name when ``by`` is None."""
    groups = [("", timing)] if by is None else [(str(name), rows) for name, rows in timing.groupby(by, observed=True)]
    return [(name, rows, COLOURS[n % len(COLOURS)]) for n, (name, rows) in enumerate(groups)]


def require_rows(frame: pd.DataFrame, what: str) -> None:
    """Raise ValueError, naming what is missing, when a table has no rows."""
    if frame.empty:
        raise ValueError(f"nothing to plot: the table has no {what}")
