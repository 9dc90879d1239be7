"""Which faults a network has, the fate of each frame, and the table of faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cpsim_kit.basics.tables import DTYPES
from cpsim_kit.charge_point.faults import Fate, Fault, Faults, FaultState, faults_table
from cpsim_kit.records import COLUMNS as RECORD_COLUMNS

ANSWER = ("received", "CALLRESULT", "Heartbeat")
MANY = range(1, 2001)


def fates(settings: Faults, charge_point_id: str = "CP1", which: tuple[str, str, str] = ANSWER) -> list[Fate]:
    return [settings.fate(charge_point_id, *which, number) for number in MANY]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drop": -0.1}, r"drop= is a probability, from 0 to 1; not -0\.1"),
        ({"drop": 1.1}, r"drop= is a probability"),
        ({"drop": float("nan")}, r"drop= is a probability"),
        ({"duplicate": 2}, r"duplicate= is a probability"),
        ({"reorder": -1}, r"reorder= is a probability"),
        ({"delay": -1}, r"delay= is 0 or more seconds, and finite; not -1"),
        ({"delay": float("inf")}, r"delay= is 0 or more seconds, and finite; not inf"),
        ({"delay": float("nan")}, r"delay= is 0 or more seconds"),
        ({"delay": (2, 1)}, r"delay= has the shortest time first, then the longest; not \(2, 1\)"),
        ({"delay": (1, 2, 3)}, r"delay= is a number of seconds, or the shortest and the longest one"),
        ({"delay": (-1, 2)}, r"delay= is 0 or more seconds"),
        ({"reorder_within": 0}, r"reorder_within= is more than 0 seconds, and finite; not 0"),
        ({"close": (1005, 0.5)}, r"a close frame cannot carry the code 1005"),
        ({"close": (99, 0.5)}, r"a close frame cannot carry the code 99"),
        ({"close": (1011, 2)}, r"close= has a second part that is a probability, from 0 to 1; not 2"),
        ({"direction": "in"}, r"direction= is 'both', 'sent' or 'received' by the charge point, not 'in'"),
        ({"kinds": {"ANSWER"}}, r"kinds= has a name that OCPP does not have, 'ANSWER'; some of them are 'CALL', "),
        ({"kinds": "CALLRESULTS"}, r"'CALLRESULTS'; did you mean 'CALLRESULT'"),
        ({"actions": "Hartbeat"}, r"actions= has a name that OCPP does not have, 'Hartbeat'; did you mean 'Heartbeat'"),
        ({"actions": []}, r"actions= is empty, so no frame would have a fault"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drop": "0.1"}, r"drop= is a probability, a number from 0 to 1; not '0\.1'"),
        ({"drop": True}, r"drop= is a probability, a number"),
        ({"drop": None}, r"drop= is a probability, a number"),
        ({"delay": "1"}, r"delay= is a number of seconds, or a tuple of the shortest and the longest; not '1'"),
        ({"delay": [0.1, 2.0]}, r"or a tuple of the shortest and the longest; not \[0\.1, 2\.0\]"),
        ({"delay": (True, 2)}, r"delay= is a number of seconds; not True"),
        ({"close": 1011}, r"close= takes a close code and a probability, e\.g\. \(1011, 0\.1\), or None; not 1011"),
        ({"close": (1011,)}, r"close= takes a close code and a probability"),
        ({"close": ("1011", 0.5)}, r"a close frame carries a number"),
        ({"half_open": 1}, r"half_open= is True or False, not 1"),
        ({"is_on": None}, r"is_on= is True or False, not None"),
        ({"seed": 1.5}, r"seed= is a whole number, not 1\.5"),
        ({"seed": True}, r"seed= is a whole number, not True"),
        ({"actions": 3}, r"actions= takes a name, several of them, or None for all; not 3"),
        ({"kinds": {3}}, r"kinds= takes names, and 3 is not a string"),
    ],
)
def test_a_setting_of_a_wrong_type_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Faults(**settings)


def test_numbers_of_numpy_are_numbers() -> None:
    settings = Faults(drop=np.float64(0.5), delay=np.float32(2), seed=np.int64(7))
    assert fates(settings) == fates(Faults(drop=0.5, delay=2, seed=7))


def test_a_string_is_one_name() -> None:
    assert Faults(actions="Heartbeat").actions == Faults(actions=["Heartbeat", "Heartbeat"]).actions == {"Heartbeat"}


@pytest.mark.parametrize("action", ["StartTransaction", "TransactionEvent", "NotifyPeriodicEventStream"])
def test_actions_of_every_version_are_known(action: str) -> None:
    assert Faults(actions=action).concern("sent", "CALL", action)


@pytest.mark.parametrize(
    ("settings", "concerned"),
    [
        ({}, {"call", "answer", "error", "csms call", "malformed"}),
        ({"direction": "both"}, {"call", "answer", "error", "csms call", "malformed"}),
        ({"direction": "sent"}, {"call"}),
        ({"direction": "received"}, {"answer", "error", "csms call", "malformed"}),
        ({"kinds": {"CALLRESULT", "CALLERROR"}}, {"answer", "error"}),
        ({"kinds": "CALL", "direction": "received"}, {"csms call"}),
        ({"kinds": "malformed"}, {"malformed"}),
        ({"actions": "Heartbeat"}, {"call", "answer"}),
        ({"actions": {"Heartbeat", "Reset"}, "direction": "received"}, {"answer", "csms call"}),
    ],
)
def test_faults_concern_directions_kinds_and_actions(settings: dict[str, Any], concerned: set[str]) -> None:
    frames = {
        "call": ("sent", "CALL", "Heartbeat"),
        "answer": ("received", "CALLRESULT", "Heartbeat"),
        "error": ("received", "CALLERROR", "BootNotification"),
        "csms call": ("received", "CALL", "Reset"),
        "malformed": ("received", "malformed", ""),
    }
    faults = Faults(**settings)
    assert {name for name, frame in frames.items() if faults.concern(*frame)} == concerned


@pytest.mark.parametrize(
    ("settings", "counted"),
    [
        ({"drop": 0.1}, lambda fate: fate.is_dropped),
        ({"duplicate": 0.1}, lambda fate: fate.is_doubled),
        ({"reorder": 0.1}, lambda fate: fate.is_held_back),
        ({"close": (1011, 0.1)}, lambda fate: fate.close_code == 1011),
    ],
    ids=["drop", "duplicate", "reorder", "close"],
)
def test_a_probability_is_that_of_each_frame(settings: dict[str, Any], counted: Callable[[Fate], bool]) -> None:
    share = sum(map(counted, fates(Faults(**settings)))) / len(MANY)
    assert share == pytest.approx(0.1, abs=0.02)  # three standard deviations


def test_0_is_never_and_1_is_always() -> None:
    assert set(fates(Faults())) == {Fate(0, False, False, False, 0.0)}
    always = Faults(drop=1, duplicate=1, reorder=1, close=(1006, 1), delay=0.5)
    assert set(fates(always)) == {Fate(1006, True, True, True, 0.5)}


def test_delays_are_spread_evenly_between_the_shortest_and_the_longest() -> None:
    delays = [fate.delay for fate in fates(Faults(delay=(1, 3)))]
    assert min(delays) == pytest.approx(1, abs=0.01)
    assert max(delays) == pytest.approx(3, abs=0.01)
    assert sum(delays) / len(delays) == pytest.approx(2, abs=0.05)


def test_the_same_seed_has_the_same_fates_on_every_machine() -> None:
    settings = Faults(drop=0.2, duplicate=0.2, delay=(0, 1), seed=1)
    assert fates(settings) == fates(replace(settings))
    dropped = [number for number, fate in enumerate(fates(settings)) if fate.is_dropped]
    assert dropped[:5] == [3, 6, 7, 10, 14]


@pytest.mark.parametrize(
    ("seed", "charge_point_id", "which"),
    [
        (2, "CP1", ANSWER),
        (1, "CP2", ANSWER),
        (1, "CP1", ("sent", "CALLRESULT", "Heartbeat")),
        (1, "CP1", ("received", "CALLERROR", "Heartbeat")),
        (1, "CP1", ("received", "CALLRESULT", "MeterValues")),
    ],
    ids=["seed", "charge point", "direction", "kind", "action"],
)
def test_another_seed_charge_point_or_sort_of_frame_has_other_fates(
    seed: int, charge_point_id: str, which: tuple[str, str, str]
) -> None:
    mine, other = fates(Faults(drop=0.5, seed=1)), fates(Faults(drop=0.5, seed=seed), charge_point_id, which)
    same = sum(one == another for one, another in zip(mine, other, strict=True)) / len(MANY)
    assert same == pytest.approx(0.5, abs=0.04), "two sequences that have nothing to do with each other"


def test_another_fault_does_not_change_the_fates() -> None:
    alone = [fate.is_dropped for fate in fates(Faults(drop=0.3))]
    assert [fate.is_dropped for fate in fates(Faults(drop=0.3, duplicate=0.5, delay=(0, 1)))] == alone


def test_faults_of_one_frame_are_independent_of_each_other() -> None:
    both = [fate for fate in fates(Faults(drop=0.5, duplicate=0.5)) if fate.is_dropped and fate.is_doubled]
    assert len(both) / len(MANY) == pytest.approx(0.25, abs=0.03)


def test_each_frame_is_counted_with_those_of_its_sort() -> None:
    state = FaultState(Faults(drop=0.5), None)
    mine = [state.next_fate("CP1", *ANSWER) for _ in range(20)]
    assert mine == fates(state.settings)[:20]
    assert state.next_fate("CP2", *ANSWER) == fates(state.settings, "CP2")[0]


def test_the_table_has_the_columns_and_dtypes_of_the_record_of_messages() -> None:
    state = FaultState(Faults(), None)
    empty = faults_table(state.faults)
    state.note("CP1", "delay", "0.5 s", direction="sent", kind="CALL", action="Heartbeat", message_id="1")
    state.note("CP1", "cut")
    frame = faults_table(state.faults)
    assert tuple(frame.columns) == tuple(empty.columns) == Fault._fields
    assert set(Fault._fields) - {"fault", "detail"} <= set(RECORD_COLUMNS)
    assert dict(frame.dtypes.astype(str)) == {name: DTYPES.get(name, "object") for name in Fault._fields}
    assert list(frame.fault) == ["delay", "cut"]
    assert list(frame.action) == ["Heartbeat", ""]
    assert frame.sent_at.is_monotonic_increasing


def test_old_faults_are_forgotten_and_counted() -> None:
    state = FaultState(Faults(), 2)
    for number in range(5):
        state.note("CP1", "drop", str(number))
    assert [fault.detail for fault in state.faults] == ["3", "4"]
    assert state.forgotten == 3


def test_each_fault_is_reported_once_to_another_process() -> None:
    state, joined = FaultState(Faults(), 3), FaultState(Faults(), 3)
    for count in (0, 2, 0, 1, 5):
        for number in range(count):
            state.note("CP1", "drop", str(number))
        joined.add(state.unreported())
    assert [fault.detail for fault in state.faults] == [fault.detail for fault in joined.faults] == ["2", "3", "4"]
    assert (state.forgotten, joined.forgotten) == (5, 3), "two were forgotten before they were reported"


def test_faults_of_several_processes_are_in_the_order_of_their_times() -> None:
    one, other, joined = (FaultState(Faults(), None) for _ in range(3))
    for state in (one, other, one):
        state.note("CP1", "drop")
    joined.add(one.unreported())
    joined.add(other.unreported())
    assert faults_table(joined.faults).sent_at.is_monotonic_increasing
    assert [fault.sent_at for fault in joined.faults] != sorted(fault.sent_at for fault in joined.faults)
