"""The table of a fleet's sessions: later reports replace rows, and what a lost process reported stays."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from cpsim_kit.fleet.call_table import CallTable
from cpsim_kit.fleet.progress import Progress
from cpsim_kit.fleet.report import Load, Report
from cpsim_kit.fleet.result import FleetResult
from cpsim_kit.fleet.session_table import SESSIONS, IncomingSessions, SessionRow, SessionTable

NAN = math.nan


def row(charge_point_id: str = "A", number: int = 0, **values: Any) -> SessionRow:
    """A session that charged 2 kWh and has said all."""
    usual = SessionRow(
        charge_point_id,
        number,
        part=0,
        version="2.0.1",
        evse_id=1,
        token="TAG-1",
        refused="",
        begin=1000.0,
        end=4600.0,
        transaction_id=f"{charge_point_id}-{number}",
        start=1001.0,
        stop=4599.0,
        start_wh=500,
        stop_wh=2500,
        now_wh=2500.0,
        reported_start_wh=500.0,
        reported_stop_wh=2500.0,
        messages=6,
        answered=6,
        given_up=0,
        offline=False,
    )
    return usual._replace(**values)


RUNNING = {"end": NAN, "stop": NAN, "stop_wh": NAN, "now_wh": 1400.4, "reported_stop_wh": 1300.0, "messages": 3}


def test_a_later_row_of_the_same_session_replaces_the_one_before() -> None:
    table = SessionTable()
    incoming = IncomingSessions(table)
    incoming.add([row(**RUNNING, answered=3), row("B", **RUNNING, answered=3)])
    incoming.add([row(answered=5)])
    incoming.add([row(), row(number=1)])
    frame = table.to_frame()
    assert tuple(frame.columns) == SESSIONS
    assert frame.charge_point_id.tolist() == ["A", "A", "B"]
    assert frame.answered.tolist() == [6, 6, 3]
    assert frame.end.isna().tolist() == [False, False, True]


def test_the_facts_of_a_session() -> None:
    table = SessionTable()
    IncomingSessions(table).add(
        [
            row(),
            row("B", **RUNNING, answered=1, given_up=1, offline=True),
            row(
                "C",
                transaction_id="",
                start_wh=NAN,
                stop_wh=NAN,
                reported_start_wh=NAN,
                reported_stop_wh=NAN,
                messages=0,
            )._replace(answered=0, token="", refused="Blocked"),
        ]
    )
    frame = table.to_frame().set_index("charge_point_id")
    assert frame.true_wh.tolist() == [2000, 900, 0], "where it goes on, until now"
    assert frame.reported_wh[:2].tolist() == [2000, 800]
    assert math.isnan(frame.reported_wh["C"])
    assert frame.waiting.tolist() == [0, 1, 0]
    assert frame.given_up.tolist() == [0, 1, 0]
    assert frame.offline.tolist() == [False, True, False]
    assert frame.begin["A"] == pd.Timestamp("1970-01-01T00:16:40Z")
    assert frame.token.tolist() == ["TAG-1", "TAG-1", None]
    assert (frame.refused["C"], frame.transaction_id["C"]) == ("Blocked", None)
    truth = table.truth()
    assert truth.charge_point_id.tolist() == ["A", "B"], "of each transaction"
    assert truth.energy_wh[0] == 2000
    assert truth[["end", "end_wh", "energy_wh"]].isna().all(axis=1).tolist() == [False, True]


def test_a_table_without_rows_has_its_columns_and_types() -> None:
    assert SessionTable().to_frame().dtypes.astype(str).to_dict()["begin"] == "datetime64[ns, UTC]"
    assert "charge_point_id" in SessionTable().truth().columns


NOTHING = Load(0, 0.0, 0)


def reported(*rows: SessionRow, load: Load = NOTHING) -> Report:
    return Report(1, 1, 1, CallTable().drain(), charging=load, sessions=list(rows))


def test_sessions_of_a_lost_process_stay_and_its_power_is_gone() -> None:
    now = [100.0]
    result = FleetResult(2, 0.0)
    progress = Progress(result, 2, 60, lambda: now[0])
    now[0] += 1
    progress.report(0, reported(row(**RUNNING, answered=2), load=Load(1, 11.0, 1)))
    progress.report(1, reported(row("B"), load=Load(2, 7.0, 0)))
    progress.sample()
    progress.mark_lost(0, "it died")
    now[0] += 1
    progress.report(1, reported(load=Load(2, 7.0, 0)))
    progress.sample()
    progress.report(0, reported(row(transaction_id="new")))  # the first of the process in its place
    assert [load for _at, *load in result.load_samples] == [[3, 18.0, 1], [2, 7.0, 0]]
    assert sorted(result.sessions().transaction_id) == ["A-0", "B-0", "new"]
    assert "3 sessions, 4.9 kWh, 1 go on, 1 messages wait" in repr(result)
    assert "3 sessions, 4.9 kWh" in result._repr_html_()


def test_a_fleet_without_stations_has_no_sessions_and_no_power() -> None:
    result = FleetResult(1, 0.0)
    assert len(result.sessions()) == len(result.truth()) == 0
    assert "sessions" not in repr(result) + result._repr_html_()
    with pytest.raises(ValueError, match=r"no station of this fleet charged.*station="):
        result.plot_power()
