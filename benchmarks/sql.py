"""CPU microseconds per evaluation of an AWS IoT SQL statement, JSON decoding included: `python benchmarks/sql.py`."""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package of this checkout, installed or not

from cpsim_kit.local.iot_sql import compile_sql, compile_template

ROUNDS, CALLS = 15, 4000
HEARTBEAT_RULE = (
    "SELECT topic(1) AS chargePointId, timestamp() AS lastTimestamp FROM '+/in' WHERE get(*, 2) = 'Heartbeat'"
)
CREATED_RULE = "SELECT thingName as chargePointId, timestamp FROM '$aws/events/thing/+/created'"
BIGGER_RULE = """
    SET @payload = get(*, 3)
    SELECT topic(1) AS chargePointId, timestamp() AS receivedAt, @payload.transactionInfo.transactionId AS id,
        (SELECT VALUE value FROM @payload.meterValue WHERE measurand = 'Energy') AS energy,
        CASE @payload.eventType WHEN 'Started' THEN 'start' WHEN 'Ended' THEN 'end' ELSE 'update' END AS kind,
        {'evse': @payload.evse.id, 'hour': parse_time('yyyy-MM-dd HH', timestamp())} AS place
    FROM '+/in' WHERE get(*, 0) = 2 AND get(*, 2) = 'TransactionEvent' AND @payload.seqNo >= 0
"""
HEARTBEAT = b'[2,"5d1f4e9c-3f0a-4d5e-9a3c-0d6b6f2b8a11","Heartbeat",{}]'
CREATED = b"""{"eventType":"THING_EVENT","eventId":"f5ae9b94-8b8e-4d8e-8c8f-b3266dd89853","timestamp":1234567890123,
    "operation":"CREATED","accountId":"123456789012","thingId":"b604f69c-aa9a-4d4a-829e-c480e958a0b5","thingName":"CP1",
    "versionNumber":1,"thingTypeName":null,"attributes":{"attribute3":"value3","attribute1":"value1"}}"""
TRANSACTION = b"""[2,"5d1f4e9c-3f0a-4d5e-9a3c-0d6b6f2b8a11","TransactionEvent",{"eventType":"Updated","seqNo":7,
    "timestamp":"2026-11-02T10:00:00Z","triggerReason":"MeterValuePeriodic","transactionInfo":{"transactionId":"T1"},
    "evse":{"id":1,"connectorId":1},"meterValue":[{"measurand":"Energy","value":1512.5},{"measurand":"Power","value":7400},
    {"measurand":"Energy","value":1513}]}]"""


def microseconds(call: Callable[[], Any]) -> float:
    """Return the median over some rounds of the mean time of a call."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(CALLS):
            call()
        rounds.append((time.process_time() - start) / CALLS * 1e6)
    return statistics.median(rounds)


def main() -> None:
    heartbeat, created, bigger = (compile_sql(sql) for sql in (HEARTBEAT_RULE, CREATED_RULE, BIGGER_RULE))
    republish = compile_template("${topic(1)}/republish")
    measured: dict[str, Callable[[], Any]] = {
        "walkthrough rule, matching": lambda: heartbeat.evaluate("CP1/in", HEARTBEAT),
        "walkthrough rule, not matching": lambda: heartbeat.evaluate("CP1/in", TRANSACTION),
        "created rule": lambda: created.evaluate("$aws/events/thing/CP1/created", CREATED),
        "bigger rule: SET, nested query, CASE, literal": lambda: bigger.evaluate("CP1/in", TRANSACTION),
        "template ${topic(1)}/republish": lambda: republish.render("CP1/in", HEARTBEAT),
    }
    for name, call in measured.items():
        print(f"{name:46} {microseconds(call):7.2f} µs")
    start = time.process_time()
    for _ in range(100):
        compile_sql(HEARTBEAT_RULE)
    print(f"{'compiling the walkthrough rule':46} {(time.process_time() - start) * 1e4:7.0f} µs")


if __name__ == "__main__":
    main()
