"""Python's garbage collector while fleets run: settings that save CPU, and the user's own settings afterwards.

The objects that a starting charge point makes stay until the end. The collector would look through them again and
again, so it is off while charge points start. Then these objects are frozen, which excludes them from collection, and
the threshold is raised: calls leave few objects in reference cycles.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator

__all__ = ["COLLECTOR", "THRESHOLD", "Collector"]

THRESHOLD = 50_000  # new objects between two collections, once all charge points have started


class Collector:
    """The settings of the garbage collector, shared by all fleets of this process, in whatever thread they run.

    The first fleet that begins keeps the settings; the last one that ends restores them. The collector is off while any
    fleet starts its charge points. If the user has frozen objects already, fleets freeze nothing: Python can only
    unfreeze all objects at once, so the user's would be unfrozen too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0  # fleets
        self._starting = 0  # those of them whose charge points still start
        self._enabled = False  # the settings before the first fleet
        self._threshold = (0, 0, 0)
        self._may_freeze = False

    @contextlib.contextmanager
    def paused(self) -> Iterator[Callable[[], None]]:
        """Turn the collector off, and restore it at the end of the block, or of the last block of several.

        Yields:
            A function to call when all charge points of this fleet have started: collection goes on.
        """
        has_started = False

        def resume() -> None:
            nonlocal has_started
            with self._lock:
                if not has_started:
                    has_started = True
                    self._end_start()

        with self._lock:
            self._begin()
        try:
            yield resume
        finally:
            resume()
            with self._lock:
                self._end()

    def _begin(self) -> None:
        if not self._running:
            self._enabled, self._threshold = gc.isenabled(), gc.get_threshold()
            self._may_freeze = gc.get_freeze_count() == 0
        self._running += 1
        self._starting += 1
        gc.disable()

    def _end_start(self) -> None:
        self._starting -= 1
        if self._enabled and not self._starting:
            if self._may_freeze:
                gc.freeze()
            gc.set_threshold(THRESHOLD)
            gc.enable()

    def _end(self) -> None:
        self._running -= 1
        if not self._running:
            gc.set_threshold(*self._threshold)
            if self._may_freeze:
                gc.unfreeze()


COLLECTOR = Collector()  # one, as a process has one garbage collector
