"""Sends the CALLs of a recorded conversation again: ``await replay(log, cp)``."""

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
from cpsim_kit.records.outcomes import ANSWERED, NO_ANSWER, NOT_SENT, OF_KIND

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
    """Send the CALLs of a recorded conversation again, in their order and timing.

    The payloads are those of the record; the message ids are new. Answers to CALLs of the CSMS are not sent: the CSMS
    may ask something else now. A message that AWS delivered to a monitor twice is sent once. After a lost connection,
    the next CALL opens it again.

    Args:
        log: The record of this or another charge point, or of a monitor. When it has several charge points, the CALLs
            of the one with this id are sent.
        charge_point: The charge point that sends; connected.
        speed: 2.0 takes half the time, 0.5 twice the time; with ``math.inf`` each CALL follows the answer before it.
        timeout: Seconds to wait for each answer.
        progress: Show a progress bar when it takes more than a second.

    Returns:
        One row for each CALL: when it was sent; latency and outcome, now and as recorded; and ``late_ms``, how much
        later than its time it was sent (CALLs are sent one at a time, so a slow answer delays the next). The outcome
        is "answered", "CALLERROR", "no answer", or another failure, which ``detail`` explains.

    Raises:
        ValueError: There is nothing to send, ``speed`` is not above 0, or the record has several charge points but not
            this one.
        ConnectError: The connection cannot be opened for the first CALL. Later, that is an outcome, "not connected".
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
        not_connected: ConnectError | None = None
        try:
            await charge_point.connect()
        except ConnectError as exc:
            if not rows:
                raise
            not_connected = exc  # not raised, so that the rows before are kept
        started = time.perf_counter()
        if not_connected is not None:
            outcome, detail = not_connected.outcome, str(not_connected)
        else:
            outcome, detail = await _send(charge_point, version, record, timeout)
        latency_ms = (time.perf_counter() - started) * 1000 if outcome == ANSWERED else float("nan")
        before = (float("nan"), NO_ANSWER) if recorded is None else (recorded.latency_ms, OF_KIND[recorded.kind])
        late_ms = (started - due) * 1000 if speed != float("inf") else 0.0
        row = (wall_clock(started), charge_point.id, record.action, latency_ms, outcome, *before, late_ms, detail)
        rows.append(row)
    return table(rows, COLUMNS)


def _calls(records: list[Record], charge_point_id: str) -> list[tuple[Record, Record | None]]:
    """The recorded CALLs of a charge point, each with its answer or None."""
    sent = _without_copies([record for record in records if record.direction == "sent" and record.kind == "CALL"])
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
        if record.direction == "received" and record.kind in OF_KIND
    }
    return [(record, answers.get((record.charge_point_id, record.message_id))) for record in sent]


def _without_copies(calls: list[Record]) -> list[Record]:
    """Leave out what a monitor received a second time. What a charge point itself sent twice is kept."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for record in calls:
        key = (record.topic, record.message_id)
        if not record.topic or key not in seen:
            kept.append(record)
        seen.add(key)
    return kept


async def _send(charge_point: ChargePoint, version: Version, record: Record, timeout: float) -> tuple[str, str]:
    """Send a CALL again; returns its outcome and the detail of a failure."""
    try:
        request = version.request(record.action)
        payload: Any = request.cls(**request.read(record.payload)) if request.cls else None
        request.encode(payload)
    except (CpsimError, TypeError, AttributeError, ValueError) as exc:
        return NOT_SENT, f"no valid CALL of OCPP {version.name}: {exc}"
    try:
        await charge_point.call(payload, timeout=timeout)
    except CpsimError as exc:
        return exc.outcome, str(exc)
    return ANSWERED, ""
