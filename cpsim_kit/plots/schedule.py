"""A plot of limits over time: what was allowed, offered and delivered, and which charging profile led."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cpsim_kit.plots.axes import COLOURS, require_axes, require_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["schedule"]

_HEIGHT = 1.9  # inches of each panel
_LINES = ("limit", "offered", "delivered", "limit to come")
_BY_EVSE = "EVSE"  # the name of what limits an EVSE without a profile
_BANDS = (COLOURS[5], COLOURS[1], COLOURS[2], COLOURS[4], "#F0E442", "#999999")


def schedule(items: Any, *, hours: float = 8, ax: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """Limits over time, one panel for each EVSE, with what was offered and delivered where that is known.

    Lines are steps: the limit, what is offered, what is delivered; a dashed one is the limit to come. Coloured bands
    say what leads: a charging profile by its id, or a limit from outside; where there is none, nothing but cable and
    EVSE limits it. All panels have the same time, in UTC, and the same colours.

        plots.schedule(station)                              # its sessions so far, and the hours to come
        plots.schedule([station, other], hours=12)
        plots.schedule({"EVSE 1": session.to_frame(), "to come": station.schedule(hours=8, evse=1)})

    Args:
        items: A station, a session, the table of ``session.to_frame()`` or of ``station.schedule()``, a sequence of
            them, or a mapping of names to them. Sessions of the same EVSE of a station are in one panel.
        hours: How far ahead, for a station.
        ax: As many Axes as there are panels; a new figure when None.

    Returns:
        The Axes of the panels, from above.

    Raises:
        ValueError: There is nothing to plot, or ``ax`` is another number of Axes.
        TypeError: One of the items is none of these.
    """
    panels = [panel for name, item in _named(items) for panel in _panels(name, item, hours)]
    if not panels:
        raise ValueError("nothing to plot: there is no station, and no table")
    if ax is None:
        import matplotlib.pyplot as plt  # noqa: PLC0415 - half a second that a load generator need not spend

        size = (8, 0.9 + _HEIGHT * len(panels))
        made = plt.subplots(len(panels), 1, figsize=size, sharex=True, squeeze=False, layout="constrained")[1]
        ax = list(made[:, 0])
    axes = require_axes(ax, len(panels))
    colours = _colours_of(panels)
    handles: dict[str, Any] = {}
    for place, (name, past, ahead) in zip(axes, panels, strict=True):
        _draw(place, past, ahead, colours, handles)
        place.set_title(name, loc="left", fontsize="medium")
        place.set_ylabel("kW")
    _finish(axes, panels, handles)
    return list(axes)


def _named(items: Any) -> list[tuple[str, Any]]:
    if isinstance(items, Mapping):
        return [(str(name), item) for name, item in items.items()]
    every = list(items) if isinstance(items, Sequence) else [items]
    names = [_name_of(item) for item in every]
    return [
        (name or (f"{number}" if len(every) > 1 else ""), item)
        for number, (name, item) in enumerate(zip(names, every, strict=True), start=1)
    ]


def _name_of(item: Any) -> str:
    if hasattr(item, "schedule"):
        return str(item.id)
    return f"EVSE {item.evse_id}" if hasattr(item, "evse_id") else ""


def _panels(name: str, item: Any, hours: float) -> Iterator[tuple[str, pd.DataFrame | None, pd.DataFrame | None]]:
    """The panels of one item: a name, what was, and what is to come."""
    import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

    if hasattr(item, "schedule"):
        for number in item.evses:
            frames = [session.to_frame() for session in item.sessions if session.evse_id == number]
            frames = [frame for frame in frames if len(frame)]
            past = pd.concat(frames, ignore_index=True) if frames else None
            ahead = item.schedule(hours, evse=number)
            ends_at = pd.Timestamp(item.now) + pd.Timedelta(hours=hours)
            yield f"{name}, EVSE {number}", past, _until(ahead, ends_at)
        return
    frame = item.to_frame() if hasattr(item, "to_frame") else item
    columns = set(getattr(frame, "columns", ()))
    if not {"at", "limit_kw"} <= columns:
        raise TypeError(
            f"plots.schedule() takes stations, sessions, or the tables of session.to_frame() and station.schedule(), "
            f"not {item!r}"
        )
    require_rows(frame, "rows of a session or of a schedule")
    frame = frame.reset_index(drop=True)  # tables that were put together have each number several times
    if "power_kw" in columns:
        yield name, frame, None
    else:
        frame = _until(frame, frame["at"].iloc[0] + pd.Timedelta(hours=hours))
        yield name, None, frame


def _until(ahead: pd.DataFrame, end: pd.Timestamp) -> pd.DataFrame:
    """Hold the last limit of a schedule until the end."""
    import pandas as pd  # noqa: PLC0415 - as above

    last = ahead.tail(1).assign(at=max(end, ahead["at"].iloc[-1]))
    return pd.concat([ahead, last], ignore_index=True)


def _by(frame: pd.DataFrame) -> pd.Series:
    return frame["by"] if "by" in frame.columns else frame["limit_by"]


def _colours_of(panels: Sequence[tuple[str, pd.DataFrame | None, pd.DataFrame | None]]) -> dict[str, str]:
    """A colour for each profile, in the order in which they lead."""
    found: dict[str, str] = {}
    for _, *frames in panels:
        for frame in frames:
            for by in () if frame is None else _by(frame).unique():
                if by != _BY_EVSE and by not in found:
                    found[by] = _BANDS[len(found) % len(_BANDS)]
    return found


def _draw(
    ax: Axes,
    past: pd.DataFrame | None,
    ahead: pd.DataFrame | None,
    colours: Mapping[str, str],
    handles: dict[str, Any],
) -> None:
    def keep(label: str, handle: Any) -> None:
        handles.setdefault(label, handle)

    for frame in (past, ahead):
        if frame is None:
            continue
        by = _by(frame)
        begins = frame.loc[by != by.shift(), "at"]
        ends = [*begins.iloc[1:], frame["at"].iloc[-1]]
        for place, begin, end in zip(begins.index, begins, ends, strict=True):
            if by[place] != _BY_EVSE and end > begin:
                label = by[place] if by[place] == "external" else f"profile {by[place]}"
                keep(label, ax.axvspan(begin, end, color=colours[by[place]], alpha=0.22, lw=0))
    if past is not None:
        at = past["at"]
        ax.fill_between(at, past["power_kw"], step="post", color=COLOURS[0], alpha=0.18, lw=0)
        grey: dict[str, Any] = {"color": "black", "where": "post"}
        keep("limit", ax.step(at, past["limit_kw"], lw=5, alpha=0.22, solid_capstyle="butt", **grey)[0])
        keep("offered", ax.step(at, past["offered_kw"], lw=1.3, ls="--", **grey)[0])
        keep("delivered", ax.step(at, past["power_kw"], where="post", lw=1.8, color=COLOURS[0])[0])
    if ahead is not None:
        line = ax.step(ahead["at"], ahead["limit_kw"], where="post", color="black", alpha=0.55, lw=1.6, ls=(0, (1, 1)))
        keep("limit to come", line[0])


def _finish(axes: Sequence[Axes], panels: Sequence[Any], handles: Mapping[str, Any]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - as above

    frames = [frame for _, *both in panels for frame in both if frame is not None]
    most = max(float(frame["limit_kw"].max()) for frame in frames)
    begin, end = min(frame["at"].min() for frame in frames), max(frame["at"].max() for frame in frames)
    for ax in axes:
        ax.set_ylim(0, max(most * 1.1, 0.1))
        if end > begin:
            ax.set_xlim(begin, end)
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes[-1].set_xlabel("time (UTC)")
    labels = [label for label in _LINES if label in handles] + [label for label in handles if label not in _LINES]
    form: dict[str, Any] = {"fontsize": "small", "frameon": False, "handlelength": 1.6, "borderaxespad": 0.2}
    axes[0].legend(
        handles=[handles[label] for label in labels],
        labels=labels,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.13),
        ncols=min(len(labels), 7),
        **form,
    )
