"""Tries which actions of a charge point a CSMS answers, and how: ``stack.support_matrix()``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from cpsim_kit.basics.tables import table
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.errors import CallFailed, CallTimeout, ConnectionLost, ProtocolViolation, UnsupportedByCsms
from cpsim_kit.ocpp_j.versions import CHARGE_POINT_ACTIONS, Version
from cpsim_kit.records.outcomes import ANSWERED

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "support_matrix"]

COLUMNS = ("action", "outcome", "code", "latency_ms", "detail")


async def support_matrix(charge_point: ChargePoint, *, timeout: float, progress: bool) -> pd.DataFrame:
    """Send each action once, with the smallest valid payload; ``Stack.support_matrix`` documents the columns."""
    version = Version.get(charge_point.version)
    actions = CHARGE_POINT_ACTIONS[version.name]
    boot_first = sorted(actions, key=lambda action: (action != "BootNotification", action))  # a CSMS may require it
    rows = []
    for action in tqdm(boot_first, desc="support matrix", unit="", delay=1, disable=not progress):
        request = version.request(action)
        payload = request.example_object()
        outcome, code, detail = ANSWERED, "", ""
        sent = time.perf_counter()
        try:
            await charge_point.connect()
            sent = time.perf_counter()  # the latency does not include the opening handshake
            await charge_point.call(payload, timeout=timeout)
        except (CallFailed, UnsupportedByCsms, CallTimeout, ProtocolViolation, ConnectionLost) as exc:
            outcome, detail = exc.outcome, getattr(exc, "description", "") or str(exc)
            code = str(exc.closed.code) if isinstance(exc, ConnectionLost) else getattr(exc, "code", "")
        rows.append((action, outcome, code, (time.perf_counter() - sent) * 1000, detail))
    return await asyncio.to_thread(table, rows, COLUMNS)  # in a thread, so that the event loop is not blocked
