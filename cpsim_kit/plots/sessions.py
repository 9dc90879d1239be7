"""Plots of charging sessions: one with its four powers and its states, or several to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from cpsim_kit.plots.axes import COLOURS, require_axes, require_rows

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Recorded", "sessions"]

_FAULT = COLOURS[3]
_STATES = {  # every other state is a fault
    "Idle": "lightgrey",
    "EVConnected": COLOURS[5],
    "Charging": COLOURS[2],
    "SuspendedEV": COLOURS[4],
    "SuspendedEVSE": COLOURS[1],
}
_MOST_NAMED = 12  # sessions; more have one colour and no legend


class Recorded(Protocol):
    """A session that knows its EVSE and its own rows."""

    @property
    def evse_id(self) -> int:
        """The EVSE."""

    def to_frame(self) -> pd.DataFrame:
        """Columns: at, state, demand_kw, limit_kw, offered_kw, power_kw, energy_kwh, soc, limit_by."""


def sessions(
    sessions: Recorded | pd.DataFrame | Sequence[Recorded | pd.DataFrame] | Mapping[str, Recorded | pd.DataFrame],
    *,
    ax: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """One session in detail, or several to compare, over the minutes since the first of them began.

    One session: above, what the vehicle demands, the limit, what is offered, what is delivered, and a strip with the
    charging states; below, the state of charge and the energy. Several sessions: above, what is delivered in each;
    below, the state of charge of each. Between two rows a line is straight, unless the state, the limit or the offer
    changes: there it jumps.

        plots.sessions(session)
        plots.sessions({"OCPP 1.6": older, "OCPP 2.0.1": newer})

    Args:
        sessions: A session, a sequence, or a mapping of names to sessions. Each is a session or the table that its
            ``to_frame()`` returned.
        ax: Two Axes; a new figure when None.

    Returns:
        The Axes of the power and those of the state of charge; for one session also those of the energy, which has the
        scale on the right.

    Raises:
        ValueError: There is nothing to plot, or ``ax`` is another number of Axes.
        TypeError: One of them is neither a session nor a table of a session.
    """
    named = _named(sessions)
    for _, frame in named:
        require_rows(frame, "rows of a session")
    if not named:
        raise ValueError("nothing to plot: there is no session")
    if ax is None:
        import matplotlib.pyplot as plt  # noqa: PLC0415 - half a second that a load generator need not spend

        ax = plt.subplots(2, 1, figsize=(8, 4.8), height_ratios=(3, 2), sharex=True, layout="constrained")[1]
    power, soc = ax = require_axes(ax, 2)
    begin = min(frame["at"].iloc[0] for _, frame in named)
    timed = [(name, frame.assign(minute=(frame["at"] - begin).dt.total_seconds() / 60)) for name, frame in named]
    axes = [power, soc]
    if len(timed) == 1:
        name, rows = timed[0]
        _draw_powers(power, rows)
        axes.append(_draw_charge(soc, rows))
        power.set_title(name or "A charging session", pad=38)
    else:
        _draw_several(power, soc, timed)
        power.set_title(f"{len(timed)} charging sessions")
    last = max(rows["minute"].iloc[-1] for _, rows in timed)
    if last > 0:
        power.set_xlim(0, last * 1.01)
        soc.set_xlim(0, last * 1.01)
    power.set_ylabel("power (kW)")
    soc.set(ylabel="state of charge (%)", xlabel=f"minutes since the {'first ' if len(timed) > 1 else ''}session began")
    soc.set_ylim(0, 102)
    return axes


def _named(sessions: Any) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each session, with its name; "" if there is nothing to name it by."""
    if isinstance(sessions, Mapping):
        return [(str(name), _rows(each)) for name, each in sessions.items()]
    every = list(sessions) if isinstance(sessions, Sequence) else [sessions]
    places = [f"EVSE {each.evse_id}" if hasattr(each, "evse_id") else "" for each in every]
    if len(every) == 1:
        return [(f"Session at {places[0]}" if places[0] else "", _rows(every[0]))]
    return [
        (f"{number}: {place}" if place else f"{number}", _rows(each))
        for number, (place, each) in enumerate(zip(places, every, strict=True), start=1)
    ]


def _rows(session: Any) -> pd.DataFrame:
    rows: pd.DataFrame = session.to_frame() if hasattr(session, "to_frame") else session
    if not hasattr(rows, "columns"):
        raise TypeError(f"plots.sessions() takes sessions, or what their to_frame() returned, not {session!r}")
    return rows


def _corners(rows: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The corners of a line of powers or of the state of charge.

    A power jumps where the state, the limit or the offer changes, and is straight elsewhere. The state of charge does
    not jump; it ends at the row in which the vehicle is gone.
    """
    import numpy as np  # noqa: PLC0415 - comes with pandas

    if column == "soc":
        jumps = rows["soc"].isna() & rows["soc"].shift().notna()
    else:
        causes = rows[["state", "limit_kw", "offered_kw"]]
        jumps = (causes != causes.shift()).any(axis=1)
    at = np.flatnonzero(jumps.to_numpy()[1:]) + 1
    minute, value = rows["minute"].to_numpy(), rows[column].to_numpy()
    return np.insert(minute, at, minute[at]), np.insert(value, at, value[at - 1])


def _draw_powers(ax: Axes, rows: pd.DataFrame) -> None:
    marker = "o" if len(rows) == 1 else ""
    # What can have the same value is drawn as a wide line with a narrow one on it.
    wide: dict[str, Any] = {"lw": 5, "marker": marker, "solid_capstyle": "butt"}
    slim: dict[str, Any] = {"lw": 1.6, "marker": marker}
    minute, power_kw = _corners(rows, "power_kw")
    ax.fill_between(minute, power_kw, color=COLOURS[0], alpha=0.12, lw=0)
    powers = [
        *ax.step(rows["minute"], rows["limit_kw"], where="post", color="black", alpha=0.2, label="limit", **wide),
        *ax.step(rows["minute"], rows["offered_kw"], where="post", color="black", ls="--", label="offered", **slim),
        *ax.plot(*_corners(rows, "demand_kw"), color=COLOURS[0], alpha=0.35, label="demanded", **wide),
        *ax.plot(minute, power_kw, color=COLOURS[0], label="delivered", **slim),
    ]
    most = max(float(rows[["limit_kw", "demand_kw"]].max().max()), 0.1)
    ax.set_ylim(0, most * 1.2)
    states = _draw_states(ax, rows)
    _legend_above(ax, states, 0.98)
    if states:
        ax.add_artist(ax.get_legend())  # type: ignore[arg-type]
    _legend_above(ax, powers, 1.07 if states else 0.98)


def _draw_states(ax: Axes, rows: pd.DataFrame) -> list[Any]:
    """Draw a strip with the charging states along the upper edge; one band of each state is returned."""
    bands: dict[str, Any] = {}
    begins = rows.loc[rows["state"] != rows["state"].shift(), ["minute", "state"]]
    ends = [*begins["minute"].iloc[1:], rows["minute"].iloc[-1]]
    for begin, state, end in zip(begins["minute"], begins["state"], ends, strict=True):
        if end > begin:
            band = ax.axvspan(begin, end, 0.93, 1, color=_STATES.get(state, _FAULT), lw=0, label=state)
            bands.setdefault(state, band)
    return list(bands.values())


def _draw_charge(ax: Axes, rows: pd.DataFrame) -> Axes:
    """Draw the state of charge, and the energy on a scale of its own, whose Axes are returned."""
    energy = ax.twinx()
    ax.set_zorder(energy.get_zorder() + 1)  # the line is drawn over the area
    ax.patch.set_visible(False)
    marker = "o" if len(rows) == 1 else ""
    delivered = rows["energy_kwh"] - rows["energy_kwh"].iloc[0]
    colour, label = COLOURS[1], "energy of the session (right)"
    area = energy.fill_between(rows["minute"], delivered, color=colour, alpha=0.35, lw=0, label=label)
    energy.plot(rows["minute"], delivered, color=colour, lw=1.2, marker=marker)
    energy.set(ylim=(0, max(float(delivered.max()) * 1.25, 0.1)), ylabel="energy (kWh)")
    minute, soc = _corners(rows, "soc")
    line = ax.plot(minute, soc * 100, color=COLOURS[2], lw=2, marker=marker, label="state of charge")
    _legend_above(ax, [*line, area] if rows["soc"].notna().any() else [area], 0.97)
    return energy


def _legend_above(ax: Axes, handles: Sequence[Any], y: float) -> None:
    """A legend of one row above the plot, where it covers nothing."""
    form: dict[str, Any] = {"ncols": max(len(handles), 1), "fontsize": "small", "frameon": False, "handlelength": 1.5}
    ax.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, y), **form)


def _draw_several(power: Axes, soc: Axes, timed: Sequence[tuple[str, pd.DataFrame]]) -> None:
    are_named = len(timed) <= _MOST_NAMED
    for number, (name, rows) in enumerate(timed):
        style: dict[str, Any] = {"color": COLOURS[0], "lw": 0.8, "alpha": 0.5}
        if are_named:
            style = {"color": COLOURS[number % len(COLOURS)], "ls": ("-", "--")[number // len(COLOURS)]}
            style["lw"] = 3.8 - 2.2 * number / (len(timed) - 1)  # a later line hides no equal one
        style["marker"] = "o" if len(rows) == 1 else ""
        power.plot(*_corners(rows, "power_kw"), label=name, **style)
        minute, charge = _corners(rows, "soc")
        soc.plot(minute, charge * 100, **style)
    power.set_ylim(0, max(*(float(rows["power_kw"].max()) * 1.1 for _, rows in timed), 0.1))
    if are_named:
        power.legend(loc="best", fontsize="small")
