"""Which actions of a charge point a deployed CSMS answers, and how. ``stack.support_matrix`` uses it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.errors import CallFailed, CallTimeout, ConnectionLost, ProtocolViolation, UnsupportedByCsms
from cpsim_kit.frames import CHARGE_POINT_ACTIONS, Version

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "support_matrix"]

COLUMNS = ("action", "outcome", "code", "latency_ms", "detail")


async def support_matrix(charge_point: ChargePoint, *, timeout: float, progress: bool) -> pd.DataFrame:
    """Send each charge point action once, with the smallest valid payload; see ``Stack.support_matrix``."""
    version = Version.get(charge_point.version)
    actions = CHARGE_POINT_ACTIONS[version.name]
    ordered = sorted(
        actions, key=lambda action: (action != "BootNotification", action)
    )  # a CSMS may want the boot first
    rows = []
    for action in tqdm(ordered, desc="support matrix", unit="", delay=1, disable=not progress):
        request = version.request(action)
        payload = request.cls(**request.read(request.example())) if request.cls else None
        sent = time.perf_counter()
        outcome, code, detail = await _outcome(charge_point, payload, timeout)
        rows.append((action, outcome, code, (time.perf_counter() - sent) * 1000, detail))
    return await asyncio.to_thread(_to_frame, rows)


async def _outcome(charge_point: ChargePoint, payload: Any, timeout: float) -> tuple[str, str, str]:
    try:
        await charge_point.connect()
        await charge_point.call(payload, timeout=timeout)
    except CallFailed as exc:
        return "CALLERROR", exc.code, exc.description
    except UnsupportedByCsms as exc:
        return "not implemented", "", str(exc)
    except CallTimeout as exc:
        return "no answer", "", str(exc)
    except ProtocolViolation as exc:
        return "invalid answer", exc.code, str(exc)
    except ConnectionLost as exc:
        return "connection lost", str(exc.closed.code), str(exc)
    return "answered", "", ""


def _to_frame(rows: list[tuple[str, str, str, float, str]]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - half a second, in a thread, so that charge points go on

    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"outcome": "category"})
