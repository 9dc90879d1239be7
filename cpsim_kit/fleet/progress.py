"""The progress of a fleet: joins the reports of its shares into one result, and shows a line of it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable

from tqdm.auto import tqdm

from cpsim_kit.fleet.call_table import Incoming
from cpsim_kit.fleet.report import SAMPLE, Load, Report
from cpsim_kit.fleet.result import FleetResult
from cpsim_kit.fleet.session_table import IncomingSessions

__all__ = ["Progress"]

logger = logging.getLogger("cpsim.fleet")


class Progress:
    """Joins the reports of a fleet's shares.

    Args:
        result: The result to fill.
        shares: How many shares there are.
        duration: Seconds that the run takes; it begins now.
        clock: The clock, in seconds.
    """

    def __init__(
        self, result: FleetResult, shares: int, duration: float, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._result = result
        self._duration = duration
        self._clock = clock
        self._began = clock()
        self._last: list[Report | None] = [None] * shares
        self._reported_at = [0.0] * shares  # seconds since the beginning
        self._incoming = [Incoming(result.calls) for _ in range(shares)]
        self._incoming_sessions = [IncomingSessions(result.session_table) for _ in range(shares)]
        self._shown = 0  # calls

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    def report(self, number: int, report: Report) -> None:
        """Add a report of the share with this number."""
        if (last := self._last[number]) is not None:  # before its process was lost, more may have been connected
            report.connected = max(report.connected, last.connected)
            report.booted = max(report.booted, last.booted)
        self._last[number] = report
        self._reported_at[number] = self.elapsed
        self._incoming[number].add(report.calls)
        self._incoming_sessions[number].add(report.sessions)
        self._result.connected = sum(each.connected for each in self._last if each is not None)
        self._result.booted = sum(each.booted for each in self._last if each is not None)

    def mark_lost(self, number: int, why: str) -> None:
        """Note that a share's process has ended, and its charge points with it; another process may report for it."""
        self._result.lost.append(why)
        self._incoming[number] = Incoming(self._result.calls)  # another process numbers its words anew
        self._incoming_sessions[number] = IncomingSessions(self._result.session_table)  # and its sessions
        last = self._last[number]
        if last is not None:
            last.open = 0
            last.charging = None if last.charging is None else Load(0, 0.0, 0)
        logger.error("fleet: %s; its charge points are gone", why)

    def sample(self) -> None:
        """Note how many charge points are connected, with the moment at which the shares counted them.

        Shares that have ended report no more; their last moment does not count.
        """
        newest = max(self._reported_at)
        moments = [moment for moment in self._reported_at if moment > newest - 2 * SAMPLE]
        at = sum(moments) / len(moments)
        if at > (self._result.samples[-1][0] if self._result.samples else 0.0):
            self._result.samples.append((at, self._connected(), self._result.booted))
            if (load := self._load()) is not None:
                self._result.load_samples.append((at, *load))

    async def show(self, *, line: bool) -> None:
        """Take a sample every half second, until cancelled; and show it in a line if wanted."""
        form = "{desc}: {n:.0f}/{total:.0f} s |{bar}|{postfix}"  # the postfix begins with a comma
        with tqdm(total=self._duration, desc="fleet", bar_format=form, disable=not line) as bar:
            while True:
                await asyncio.sleep(SAMPLE)
                self.sample()
                if line:
                    bar.set_postfix_str(self._state(), refresh=False)
                    bar.update(min(self.elapsed, self._duration) - bar.n)

    def _connected(self) -> int:
        return sum(each.open for each in self._last if each is not None)

    def _load(self) -> Load | None:
        loads = [each.charging for each in self._last if each is not None and each.charging is not None]
        return Load(*map(sum, zip(*loads, strict=True))) if loads else None

    def _state(self) -> str:
        """The state in words, with the calls since the last time."""
        result = self._result
        latencies = result.calls.arrays(self._shown)["latency"]
        self._shown += len(latencies)
        p50, p99 = _percentiles(latencies.tolist())
        answers = "no answers" if math.isnan(p50) else f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        load = self._load()
        charging = "" if load is None else f"{load.sessions} sessions, {load.power_kw:,.0f} kW, "
        return (
            f"{self._connected()} connected, {result.booted} booted, {charging}{len(latencies) / SAMPLE:.0f} calls/s, "
            f"{answers}, {result.calls.failures} failures"
        )


def _percentiles(latencies: list[float]) -> tuple[float, float]:
    ordered = sorted(value for value in latencies if not math.isnan(value))
    if not ordered:
        return math.nan, math.nan
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
