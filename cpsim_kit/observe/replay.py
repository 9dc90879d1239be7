"""Sends what a charge point once said to a CSMS again: ``await replay(log, cp)``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from cpsim_kit.basics.clock import wall_clock
from cpsim_kit.basics.tables import table
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.errors import ConnectError, CpsimError
from cpsim_kit.ocpp_j.versions import Version
from cpsim_kit.records import MessageLog, Record

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "replay"]

COLUMNS = (
    "sent_at",
    "charge_point_id",
    "action",
    "latency_ms",
    "outcome",
    "recorded_latency_ms",
    "recorded_outcome",
    "late_ms",
    "detail",
)


async def replay(
    log: MessageLog, charge_point: ChargePoint, *, speed: float = 1.0, timeout: float = 30, progress: bool = True
) -> pd.DataFrame:
    """Send the CALLs of a recorded conversation to the CSMS of a connected charge point, in their order and timing.

    Payloads are sent as they were, with new message ids. Answers of the charge point to CALLs of the CSMS are not sent:
    the CSMS asks, or does not. What AWS delivered to a monitor twice is sent once. A lost connection is opened again
    for the next CALL.

    Args:
        log: What was recorded, by this or any other charge point; of a monitor's record, what this id sent, or the
            only id there is.
        charge_point: Who sends; connected.
        speed: 2.0 sends in half the time, 0.5 in twice; ``math.inf`` as fast as the answers come.
        timeout: Seconds to wait for each answer.
        progress: Show a progress bar where it takes more than a second.

    Returns:
        One row per CALL: when it was sent, latency and outcome ("answered", "CALLERROR", "no answer", …; ``detail``
        says more) now and as recorded, and by how many milliseconds it was sent later than its time: one CALL at a
        time, so a slow answer delays the next.

    Raises:
        ValueError: There is nothing to send, speed is not above 0, or several charge points are recorded, none of
            them this one.
        ConnectError: The connection cannot be opened for the first CALL; later it is an outcome, "not connected".
    """
    if not speed > 0:
        raise ValueError(f"speed is above 0, not {speed!r}")
    calls = _calls(list(log), charge_point.id)
    version = Version.get(charge_point.version)
    rows: list[tuple[Any, ...]] = []
    began = time.perf_counter()
    for record, recorded in tqdm(calls, desc=f"replay {charge_point.id}", unit="", delay=1, disable=not progress):
        due = began + (record.sent_at - calls[0][0].sent_at).total_seconds() / speed
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        unreachable: ConnectError | None = None
        try:
            await charge_point.connect()
        except ConnectError as exc:
            if not rows:
                raise
            unreachable = exc  # a row, so that those before it are not lost
        started = time.perf_counter()
        if unreachable is not None:
            outcome, detail = unreachable.outcome, str(unreachable)
        else:
            outcome, detail = await _send(charge_point, version, record, timeout)
        latency_ms = (time.perf_counter() - started) * 1000 if outcome == "answered" else float("nan")
        was = ("no answer", float("nan")) if recorded is None else (_OUTCOMES[recorded.kind], recorded.latency_ms)
        late_ms = (started - due) * 1000 if speed != float("inf") else 0.0
        row = (wall_clock(started), charge_point.id, record.action, latency_ms, outcome, was[1], was[0], late_ms)
        rows.append((*row, detail))
    return table(rows, COLUMNS)


_OUTCOMES = {"CALLRESULT": "answered", "CALLERROR": "CALLERROR"}


def _calls(records: list[Record], charge_point_id: str) -> list[tuple[Record, Record | None]]:
    """The CALLs that a charge point sent, each with its answer, if there was one."""
    sent = _once([record for record in records if record.direction == "sent" and record.kind == "CALL"])
    ids = {record.charge_point_id for record in sent}
    if len(ids) > 1 and charge_point_id not in ids:
        raise ValueError(f"{charge_point_id} is not in this record, and whose CALLs it should send is not clear: {ids}")
    if len(ids) > 1:
        sent = [record for record in sent if record.charge_point_id == charge_point_id]
    if not sent:
        raise ValueError("nothing to replay: no CALL of a charge point in this record")
    answers = {
        (record.charge_point_id, record.message_id): record
        for record in reversed(records)
        if record.direction == "received" and record.kind in _OUTCOMES
    }
    return [(record, answers.get((record.charge_point_id, record.message_id))) for record in sent]


def _once(calls: list[Record]) -> list[Record]:
    """Without the copies that a monitor got twice; what a charge point sent twice stays, as it did so."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for record in calls:
        key = (record.topic, record.message_id)
        if not record.topic or key not in seen:
            kept.append(record)
        seen.add(key)
    return kept


async def _send(charge_point: ChargePoint, version: Version, record: Record, timeout: float) -> tuple[str, str]:
    """Send a CALL again; what became of it in a word, and in a sentence."""
    try:
        request = version.request(record.action)
        payload: Any = request.cls(**request.read(record.payload)) if request.cls else None
        request.encode(payload)
    except (CpsimError, TypeError, AttributeError, ValueError) as exc:
        return "not sent", f"no valid CALL of OCPP {version.name}: {exc}"
    try:
        await charge_point.call(payload, timeout=timeout)
    except CpsimError as exc:
        return exc.outcome, str(exc)
    return "answered", ""
