"""The plot that grows while heartbeats arrive. It displays itself: it replaces its picture in the cell's output."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from cpsim_kit.plots.axes import COLOURS, SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LivePlot", "live"]


def live(beats: AsyncIterator[Any], *, every: float = 0.5, ax: Axes | None = None) -> LivePlot:
    """A plot that grows while heartbeats arrive; iterate over it instead of over the heartbeats.

        async for beat in plots.live(cp.heartbeats(count=100, interval=0.2)):
            pass

    When the cell is stopped, the last picture stays, with every heartbeat until then. Pictures are drawn in a thread,
    so that heartbeats are sent in time; while it draws, a latency may be some milliseconds longer, as the thread holds
    Python's lock.

    Args:
        beats: What ``cp.heartbeats(…)`` returned, or another async iterator; its items have ``sent_at`` and
            ``latency_ms``.
        every: The shortest time between two pictures, in seconds.
        ax: Where to draw; a new figure when None.

    Raises:
        ValueError: ``every`` is not above 0.
    """
    return LivePlot(beats, every=every, ax=ax)


class LivePlot:
    """A plot that grows; see :func:`live`.

    Attributes:
        ax: The Axes; add to them what you like.
    """

    def __init__(self, beats: AsyncIterator[Any], *, every: float, ax: Axes | None) -> None:
        if not every > 0:
            raise ValueError(f"every is more than 0 seconds, not {every!r}")
        if ax is None:
            from matplotlib.figure import Figure  # noqa: PLC0415 - half a second that a load generator need not spend

            figure = Figure(figsize=SIZE)  # without "constrained", which is computed each time: a third faster
            ax = figure.subplots()
            figure.subplots_adjust(left=0.09, right=0.98, bottom=0.18, top=0.9)
        self.ax = ax
        self._figure: Any = ax.get_figure(root=True)
        self._beats = beats
        self._every = every
        self._points: list[tuple[Any, float]] = []
        (self._line,) = ax.plot([], [], ".-", color=COLOURS[0], lw=0.8)
        ax.set(xlabel="sent, since the first heartbeat (s)", ylabel="latency (ms)", title="Heartbeats, as they arrive")
        self._lock = threading.Lock()  # held while drawing, by the thread or, at the end, by the loop
        self._drawing: asyncio.Task[None] | None = None
        self._shown: Any = None

    def __repr__(self) -> str:
        return f"<LivePlot {len(self._points)} heartbeats>"

    async def __aiter__(self) -> AsyncIterator[Any]:
        await self._draw_in_thread()  # the first picture takes longest; no heartbeat waits for it
        drawn_at = time.perf_counter()
        try:
            async for beat in self._beats:
                self._points.append((beat.sent_at, beat.latency_ms))
                now = time.perf_counter()
                if now - drawn_at >= self._every and (self._drawing is None or self._drawing.done()):
                    drawn_at = now
                    self._drawing = asyncio.create_task(self._draw_in_thread(), name="cpsim[plot].draw")
                yield beat
        finally:
            if self._drawing is not None:
                self._drawing.cancel()
            if self._points:
                self._show(self._draw(list(self._points)))  # without await: the cell may have been stopped
            if (close := getattr(self._beats, "aclose", None)) is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await close()

    async def _draw_in_thread(self) -> None:
        self._show(await asyncio.to_thread(self._draw, list(self._points)))

    def _draw(self, points: list[tuple[Any, float]]) -> bytes:
        with self._lock:
            self._line.set_data([(at - points[0][0]).total_seconds() for at, _ in points], [ms for _, ms in points])
            self.ax.relim()
            self.ax.autoscale_view()
            self.ax.set_ylim(bottom=0, auto=True)  # auto: otherwise the scale of the first picture stays
            picture = io.BytesIO()
            self._figure.savefig(picture, format="png", dpi=90)
            return picture.getvalue()

    def _show(self, png: bytes) -> None:
        """Replace the picture in the cell's output; outside a notebook do nothing."""
        try:
            from IPython import get_ipython  # noqa: PLC0415 - a script has no use for it
            from IPython.display import Image, display  # noqa: PLC0415
        except ImportError:
            return
        if get_ipython() is None:
            return
        picture = Image(png)  # type: ignore[no-untyped-call]
        if self._shown is None:
            self._shown = display(picture, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._shown.update(picture)
