"""One charge point of a share: its state, and how it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.errors import ConnectionLost, CpsimError
from cpsim_kit.fleet.charging import Charger

__all__ = ["Member", "StationsChargePoint", "close_all"]

_CLOSING = 200  # connections closed at a time


class Member:
    """One charge point of a share, and its state."""

    __slots__ = (
        "charge_point",
        "charger",
        "connect_due",
        "due",
        "error",
        "has_connected",
        "has_tried",
        "lost",
        "phase",
        "waiting",
    )

    def __init__(self, charge_point: ChargePoint, phase: float, connect_due: float) -> None:
        self.charge_point = charge_point
        self.charger: Charger | None = None  # of a station
        self.phase = phase
        self.connect_due: float | None = connect_due  # None where nobody has planned it
        self.due: float | None = None  # its next heartbeat
        self.waiting: asyncio.Future[None] | None = None  # done at the moment it waits for
        self.lost: ConnectionLost | None = None  # why it is not connected any more
        self.has_tried = self.has_connected = False
        self.error: CpsimError | None = None
        charge_point.on_close(self.mark_lost)

    def mark_lost(self, error: ConnectionLost) -> None:
        """Wake the charge point's task, so that it notices the loss before its next heartbeat is due."""
        self.lost = error
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(error)
            self.waiting.exception()  # no warning where no task waits for it any more


class StationsChargePoint(ChargePoint):
    """The charge point of a station. The station opens its connection again by itself, and that is measured, too.

    Attributes:
        measured: Opens a connection by the function that it is given, and measures that.
    """

    __slots__ = ("measured",)

    measured: Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]

    async def connect(self) -> Self:
        """Open the connection; does nothing while it is open. Raises as :meth:`ChargePoint.connect`."""
        if self.is_open:
            return await super().connect()
        await self.measured(super().connect)
        return self


async def close_all(members: Sequence[Member]) -> None:
    """Close all connections, some hundred at a time."""
    waiting = iter(members)

    async def worker() -> None:
        for member in waiting:
            if member.charger is not None:
                await member.charger.station.close()
            await member.charge_point.close()

    await asyncio.gather(*(worker() for _ in range(min(_CLOSING, len(members)))))
