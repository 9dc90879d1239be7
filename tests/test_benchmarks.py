"""The benchmark of sessions runs, and notices what is lost. No speed is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stub server of the benchmarks needs epoll")


@pytest.fixture
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def call(event: dict[str, object]) -> bytes:
    return json.dumps([2, "1", "TransactionEvent", event]).encode()


def event(transaction_id: str, seq_no: int, context: str, wh: float) -> dict[str, object]:
    value = {"value": wh, "context": context, "measurand": "Energy.Active.Import.Register"}
    return {
        "transactionInfo": {"transactionId": transaction_id},
        "seqNo": seq_no,
        "meterValue": [{"timestamp": "2026-11-23T12:00:00Z", "sampledValue": [value]}],
    }


WHOLE = [(0, "Transaction.Begin", 100), (1, "Sample.Periodic", 150), (2, "Transaction.End", 200)]


@pytest.mark.usefixtures("_importable")
@pytest.mark.parametrize(
    ("said", "lost"),
    [
        (WHOLE, 0),
        ([], 1),
        (WHOLE[1:], 1),
        ([WHOLE[0], WHOLE[2]], 1),
        ([*WHOLE[:2], WHOLE[1], WHOLE[2]], 1),
        ([*WHOLE[:2], (2, "Transaction.End", 199)], 1),
        ([WHOLE[0], (1, "Sample.Clock", 150), WHOLE[2]], 1),
    ],
    ids=["whole", "nothing came", "no start", "a gap", "twice", "other energy", "no periodic value"],
)
def test_a_session_that_the_server_knows_otherwise_is_lost(said: list[tuple[int, str, float]], lost: int) -> None:
    from benchmarks.sessions import count_lost
    from benchmarks.stub_server import Ledger

    try:
        for each in said:
            assert Ledger.answer(call(event("T", *each))) == b'[3,"1",{}]'
        assert count_lost(Ledger.transactions, {"T": 100.0}, 1) == lost
    finally:
        Ledger.transactions.clear()


@pytest.mark.slow
def test_sessions_loses_nothing_at_a_tiny_size() -> None:
    sizes = ["--stations", "3", "--interval", "1", "--seconds", "2", "--sessions", "4", "--hours", "0.5"]
    command = [sys.executable, "-m", "benchmarks.sessions", "--rounds", "1", *sizes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    rows = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines() if line.startswith("| ")]
    names = " ".join(row[1] for row in rows)
    assert all(what in names for what in ("CPU for a TransactionEvent", "memory", "meter values per second")), done
    assert [row[1].split(",")[0] for row in rows[-2:]] == ["composite of 24 h", "limit at a moment"]
    assert rows[-3][1:] == [
        "the same: meter values; sessions lost or wrong",
        "120; 0",
        "",
        "",
        "nothing lost",
        "met",
        "",
    ]
