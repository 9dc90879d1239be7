"""What a share reports to the fleet, twice a second. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from cpsim_kit.charge_point import Network
from cpsim_kit.charge_point.faults import Fault
from cpsim_kit.fleet.call_table import Rows
from cpsim_kit.fleet.plan import Plan
from cpsim_kit.fleet.session_table import SessionRow

__all__ = ["SAMPLE", "Load", "Report", "ShareLost", "merge_faults"]

SAMPLE = 0.5  # seconds between two reports


def merge_faults(plan: Plan, report: Report) -> None:
    """Add the faults that another process reports to the network of the fleet."""
    network = plan.options.get("transport")
    if isinstance(network, Network):
        network.add(report.faults)


class ShareLost(Exception):
    """The process of a share ended before the share did, or does not answer."""


class Load(NamedTuple):
    """How stations charge at one moment.

    Attributes:
        sessions: Sessions that go on.
        power_kw: What the EVSEs deliver.
        waiting: Transaction messages that wait for their turn, their answer, or a connection.
    """

    sessions: int
    power_kw: float
    waiting: int


@dataclass
class Report:
    """The state of a share, and its calls since the report before.

    Attributes:
        open: Charge points that are connected.
        connected: Charge points that have connected at least once.
        booted: Charge points that were accepted.
        calls: Rows of the share's :class:`~cpsim_kit.fleet.call_table.CallTable`.
        faults: Faults on purpose, where the share has a copy of the fleet's network.
        charging: How the stations charge now; None where the charge points are none.
        sessions: Rows of the stations' sessions that are new or have changed since the report before.
    """

    open: int
    connected: int
    booted: int
    calls: Rows
    faults: list[Fault] = field(default_factory=list)
    charging: Load | None = None
    sessions: list[SessionRow] = field(default_factory=list)
