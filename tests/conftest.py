"""Shared by all tests: the unit of time, waiting, and the check that a test leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import hypothesis
import psutil
import pytest
from csms_stub import Csms
from xdist.scheduler import LoadFileScheduling

pytest_plugins = ["charge_point_fixtures", "stack_fixtures", "kernel"]

FACTOR = float(os.environ.get("CPSIM_TEST_TIME_FACTOR", "1"))
MS = 0.001 * FACTOR  # every interval of a test is a multiple of it
SOON = 10 * FACTOR  # seconds in which what ought to happen at once has happened, on the slowest machine
ENDED = 3 * SOON  # seconds in which a process has ended that was told to: it may wait for some of its own first

# The same examples on every machine and in every run, however slow it is.
hypothesis.settings.register_profile(
    "cpsim",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("cpsim")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; the processes that tests interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)  # would inherit it, and never end


# Tests that any process may run, whichever runs their file's others: notebooks in a kernel. Together they take longest.
# The longest, 09, stays with its file: short tests wait behind it then, and no other long one.
APART = re.compile(r"test_notebooks_run\.py::.*\[0[0-8]_")
# Two files in one process: a thousand charge points on each of two gateways at once are too many for two cores.
TOGETHER = {"tests/fleet/test_fleet_outage.py": "tests/notebooks/test_notebooks_run.py"}


class LoadFileOrTest(LoadFileScheduling):
    """One process for the tests of a file, which may share what is expensive, but for APART and TOGETHER."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return nodeid if APART.search(nodeid) else TOGETHER.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileOrTest | None:
    """Distribute the tests, where pytest-xdist does."""
    return LoadFileOrTest(config, log) if config.getoption("dist") == "loadfile" else None


async def until(condition: Callable[[], object], what: object = "a condition", within: float = SOON) -> None:
    """Wait until ``condition()`` is true; fail when it is not in time, naming what is left then of ``what``."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"waited {within:g} s for {what}"
        await asyncio.sleep(MS)


def open_sockets() -> set[object]:
    """What identifies the sockets that this process holds open."""
    if not os.path.isdir("/dev/fd"):
        return {(entry.laddr, entry.raddr) for entry in psutil.Process().net_connections()}
    found: set[object] = set()
    for number in os.listdir("/dev/fd"):  # some milliseconds faster than psutil, which reads all of /proc/net
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed by now
            status = os.fstat(int(number))
            if stat.S_ISSOCK(status.st_mode):
                found.add(status.st_ino)
    return found


def cpsim_tasks() -> set[str]:
    """The names of the running loop's tasks that belong to an object of the kit."""
    return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("cpsim[")}


@pytest.fixture(autouse=True)
def _figures_are_closed() -> Iterator[None]:
    """Close the figures that a test has drawn, so that the next one begins without any."""
    yield
    if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
        pyplot.close("all")


@pytest.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    """Fail a test that leaves a task of the kit, an open socket, or an error that nobody looked at."""
    before = open_sockets()
    unseen: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unseen.append(f"{context['message']}: {context.get('exception')!r}"))

    yield
    deadline = time.monotonic() + SOON  # a transport closes its socket some turns of the loop after close()
    while (cpsim_tasks() or open_sockets() - before) and time.monotonic() < deadline:
        await asyncio.sleep(MS)
    assert not cpsim_tasks(), "the test left a task behind"
    assert open_sockets() <= before, f"the test left a socket open, one of {psutil.Process().net_connections()}"
    assert not unseen, "the loop caught an error that nobody looked at"


@pytest.fixture
async def csms() -> AsyncIterator[Csms]:
    """A CSMS stub that answers everything, until told otherwise."""
    async with Csms() as csms:
        yield csms


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the wall clock forward by so many seconds."""
    origin = time.time() - time.perf_counter()
    monkeypatch.setattr("cpsim_kit.basics.clock._origins", [(-float("inf"), origin)])
    ahead = 0.0

    def by(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds
        monkeypatch.setattr(time, "time", lambda: origin + ahead + time.perf_counter())

    return by


BROWSER_LOG = "notebook in a browser"  # what a test tells the summary: name, what it was like, checkpoints, plots


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the browser saw of each notebook, also of those that passed, and whichever process ran them."""
    seen = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", [])
        if name == BROWSER_LOG and report.when == "call"
    ]
    if seen:
        terminalreporter.section("notebooks in a real browser")
        for name, text, _checkpoints, _plots in sorted(seen):
            terminalreporter.write_line(f"{name}: {text}")
        checkpoints, plots = sum(each[2] for each in seen), sum(each[3] for each in seen)
        terminalreporter.write_line(f"{len(seen)} notebooks, {checkpoints} checkpoints, {plots} plots")
