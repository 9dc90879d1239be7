"""The compact table of calls."""

from __future__ import annotations

import math

from cpsim_kit.fleet.call_table import COLUMNS, CallTable, Incoming


def test_an_empty_table_has_the_same_columns_and_types() -> None:
    one = CallTable()
    one.add("CP1", "Heartbeat", 1.0, 2.0, 3.0)
    empty = CallTable().to_frame()
    assert tuple(empty.columns) == COLUMNS
    assert [str(dtype) for dtype in empty.dtypes] == [str(dtype) for dtype in one.to_frame().dtypes]


def test_tables_of_several_processes_become_one() -> None:
    whole = CallTable()
    parts = {name: (CallTable(), Incoming(whole)) for name in ("A", "B")}
    for moment in (1.0, 3.0):
        for name, (part, incoming) in parts.items():
            part.add(name, "Heartbeat", moment, 2.0, 3.0)
            part.add(name, "connect", moment + 1, math.nan, math.nan, f"lost {name}", "why")
            assert len(part.arrays(begin=1)["sent"]) == 1
            rows = part.drain()
            assert len(part) == 0
            incoming.add(rows)
            assert rows[1]["id"] == ([name] if moment == 1.0 else []), "a word is sent once"
    frame = whole.to_frame()
    assert frame.charge_point_id.tolist() == ["A", "B"] * 4
    assert frame.outcome.tolist() == ["answered", "answered", "lost A", "lost B"] * 2
    assert whole.failures == 4
    empty = CallTable().drain()
    Incoming(whole).add(empty)
    assert len(whole) == 8
