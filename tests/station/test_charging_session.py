"""The record of a session: rows, facts, energy, and the messages that belong to it."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from core_player import Player
from hypothesis import given, settings
from hypothesis import strategies as st

from cpsim_kit import Evse, Vehicle
from cpsim_kit.records.messages import MessageLog
from cpsim_kit.station import Session
from cpsim_kit.station.charging.session import TRUTH, Row, truth_frame
from cpsim_kit.station.charging.transaction import Transaction
from cpsim_kit.station.rules.authorization import IdToken
from cpsim_kit.station.rules.events import ClearFault, Fault, PlugIn, SuspendEv, SuspendEvse, Swipe, Unplug

EPOCH = 1_800_000_000.0  # 2027-01-15T08:00:00Z
BEGAN = datetime(2027, 1, 15, 8, 1, tzinfo=UTC)


def session(**options: Any) -> Session:
    """A session at EVSE 1 that began a minute after the start of the station, at 1,000.4 Wh."""
    return Session(1, EPOCH, 60.0, 1000.4, **options)


def rows() -> list[Row]:
    return [
        Row(60, "EVConnected", 11, 22, 0, 0, 1.0004, 0.3),
        Row(90, "Charging", 11, 22, 22, 11, 1.0004, 0.3),
        Row(390, "SuspendedEV", 0, 22, 22, 0, 1.9171, 0.3153),
        Row(400, "Idle", 0, 22, 0, 0, 1.9171, math.nan),
    ]


# -- Rows -------------------------------------------------------------------------------------------------------------

DTYPES = {
    "at": "datetime64[ns, UTC]",
    "state": "object",
    **dict.fromkeys(["demand_kw", "limit_kw", "offered_kw", "power_kw", "energy_kwh", "soc"], "float64"),
    "limit_by": "object",
}


@pytest.mark.parametrize("given", [rows(), [], rows()[-1:]], ids=["rows", "no row", "one row without a vehicle"])
def test_table_has_its_columns_and_their_types_whatever_is_in_it(given: list[Row]) -> None:
    frame = session(rows=given).to_frame()
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    assert len(frame) == len(given)


def test_table_has_the_stations_time_and_the_values_of_the_rows() -> None:
    frame = session(rows=rows()).to_frame()
    assert frame["at"][0] == BEGAN
    assert list(frame["at"].diff().dt.total_seconds()[1:]) == [30, 300, 10]
    assert list(frame.state) == ["EVConnected", "Charging", "SuspendedEV", "Idle"]
    assert list(frame.loc[1, "demand_kw":]) == [11, 22, 22, 11, 1.0004, 0.3, "EVSE"]
    assert math.isnan(frame.soc[3])


acts = st.one_of(
    st.tuples(st.just("plug in"), st.floats(0.1, 0.95)),
    st.tuples(st.sampled_from(["swipe", "unplug", "fault", "clear"]), st.none()),
    st.tuples(st.sampled_from(["suspend ev", "suspend evse"]), st.booleans()),
    st.tuples(st.just("wait"), st.floats(1, 7200)),
)


@settings(max_examples=60)
@given(st.sampled_from(["1.6", "2.0.1"]), st.lists(acts, min_size=3, max_size=25))
def test_rows_and_energies_obey_the_laws_whatever_happens(version: str, sequence: list[tuple[str, Any]]) -> None:
    player = Player(version, evses=[Evse(22, register_kwh=5)])
    token: IdToken = player.core.dialect.token("TAG-1", "ISO14443")
    vehicles: list[tuple[Vehicle, float]] = []
    for name, value in [("plug in", 0.5), ("swipe", None), ("wait", 1800.0), *sequence, ("unplug", None)]:
        try:
            match name:
                case "plug in":
                    vehicle = Vehicle(60, value)
                    player.do(PlugIn(vehicle))
                    vehicles.append((vehicle, value))
                case "swipe":
                    player.do(Swipe(token))
                case "unplug":
                    player.do(Unplug())
                case "fault":
                    player.do(Fault("GroundFault"))
                case "clear":
                    player.do(ClearFault())
                case "suspend ev":
                    player.do(SuspendEv(value))
                case "suspend evse":
                    player.do(SuspendEvse(value))
                case "wait":
                    player.wait(value)
        except ValueError:
            continue  # it cannot be done now
    register_wh = player.core.evses[1].register_wh(player.now)
    stored_wh = sum((vehicle.soc - before) * vehicle.capacity_kwh * 1000 for vehicle, before in vehicles)
    assert register_wh - 5000 == pytest.approx(stored_wh, abs=1e-6), "all of it is in the batteries"
    assert stored_wh > 5000
    for each in player.core.sessions:
        frame = each.to_frame()
        assert frame["at"].is_monotonic_increasing
        assert frame.energy_kwh.is_monotonic_increasing
        assert (frame.power_kw >= 0).all()
        assert (frame.power_kw <= frame.offered_kw).all()
        assert (frame.power_kw <= frame.demand_kw).all()
        assert (frame.offered_kw <= frame.limit_kw).all()
        assert ((frame.power_kw > 0) == (frame.state == "Charging")).all()
    energies = sum(each.energy_wh for each in player.core.sessions)
    assert energies == pytest.approx(stored_wh, abs=len(player.core.sessions)), "rounded once for each session"
    transactions = truth_frame(player.core.transactions, EPOCH)
    assert transactions.energy_wh.sum() <= energies + len(transactions)


# -- Facts ------------------------------------------------------------------------------------------------------------


def test_summary_of_a_session_that_goes_on() -> None:
    assert session().summary() == {
        "evse_id": 1,
        "token": None,
        "refused": None,
        "begin": BEGAN,
        "end": None,
        "minutes": None,
        "energy_wh": 0,
        "soc": None,
        "transaction_ids": None,
    }


def test_summary_of_a_session_that_ended() -> None:
    transactions = [Transaction("aaaa", 1, 90), Transaction("bbbb", 1, 200, csms_id=7)]
    ended = session(rows=rows(), end=400.0, end_wh=1917.1, token="TAG-1", refused="Invalid", transactions=transactions)
    assert ended.summary() == {
        "evse_id": 1,
        "token": "TAG-1",
        "refused": "Invalid",
        "begin": BEGAN,
        "end": datetime(2027, 1, 15, 8, 6, 40, tzinfo=UTC),
        "minutes": 5.67,
        "energy_wh": 917,
        "soc": "30.0% to 31.5%",
        "transaction_ids": "aaaa, 7",
    }


@pytest.mark.parametrize(
    ("begin_wh", "end_wh", "energy_wh"),
    [(1000.4, 1917.1, 917), (0.6, 1.4, 0), (0.4, 0.6, 1), (5, 5, 0), (100_000_000.5, 100_011_000.5, 11_000)],
)
def test_energy_is_the_difference_of_what_the_meter_showed(begin_wh: float, end_wh: float, energy_wh: int) -> None:
    found = Session(1, EPOCH, 0, begin_wh, end=10, end_wh=end_wh).energy_wh
    assert found == energy_wh
    assert type(found) is int


@pytest.mark.parametrize(("given", "energy_wh"), [([], 0), (rows()[:1], 0), (rows(), 917)])
def test_energy_of_a_session_that_goes_on_is_that_of_its_last_row(given: list[Row], energy_wh: int) -> None:
    assert session(rows=given).energy_wh == energy_wh


def test_transaction_id_is_that_of_the_last_one_as_the_csms_knows_it() -> None:
    found = session()
    assert found.transaction_id == ""
    found.transactions.append(Transaction("aaaa", 1, 90))
    assert found.transaction_id == "aaaa"
    found.transactions[0].csms_id = 42
    assert found.transaction_id == "42"


def test_sessions_share_nothing_and_are_equal_to_themselves_alone() -> None:
    one, other = session(), session()
    one.rows.append(rows()[0])
    one.transactions.append(Transaction("aaaa", 1, 90))
    assert (other.rows, other.transactions) == ([], [])
    assert session() != session()
    assert len({one, other, one}) == 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "<Session at EVSE 1 goes on, 0.000 kWh>"),
        ({"end": 400.0, "end_wh": 1917.1}, "<Session at EVSE 1 ended, 0.917 kWh>"),
    ],
)
def test_repr_says_whether_it_goes_on(options: dict[str, Any], text: str) -> None:
    assert repr(session(**options)) == text


def test_card_shows_the_facts_that_there_are() -> None:
    card = session(rows=rows(), end=400.0, end_wh=1917.1, token="<b>TAG</b>")._repr_html_()
    for text in ("Session at EVSE 1", "ended", "energy wh", ">917<", "30.0% to 31.5%", "&lt;b&gt;TAG&lt;/b&gt;"):
        assert text in card
    for text in ("refused", "transaction ids", "<b>TAG"):
        assert text not in card
    assert "goes on" in session()._repr_html_()


# -- Messages ---------------------------------------------------------------------------------------------------------


class Conversation:
    """A charge point's record of messages, one each second."""

    def __init__(self) -> None:
        self.log = MessageLog(None, charge_point_id="CP1")
        self.moment = 100.0
        self._count = 0

    def call(self, action: str, payload: dict[str, Any], *, sent: bool = True, message_id: str = "") -> str:
        """A CALL and its answer; returns the CALL's id."""
        self._count += 1
        message_id = message_id or f"m{self._count}"
        self.add([2, message_id, action, payload], sent=sent)
        self.add([3, message_id, {}], sent=not sent)
        return message_id

    def add(self, frame: list[Any] | str, *, sent: bool) -> None:
        self.moment += 1
        self.log.add(self.moment, frame if isinstance(frame, str) else json.dumps(frame), sent=sent)


def messages(conversation: Conversation, **options: Any) -> list[tuple[str, str]]:
    """Kind and id of what belongs to a session that has ended, with all of them in its time."""
    given = {"first_message": 0.0, "last_message": math.inf, "end": 1.0, "log": lambda: conversation.log, **options}
    return [(record.kind, record.message_id) for record in session(**given).messages]


def pair(message_id: str) -> list[tuple[str, str]]:
    return [("CALL", message_id), ("CALLRESULT", message_id)]


AAAA = [Transaction("aaaa", 1, 90)]


@pytest.mark.parametrize(
    ("action", "payload", "is_mine"),
    [
        # OCPP 2.0.1
        ("Authorize", {"idToken": {"idToken": "TAG-1", "type": "ISO14443"}}, True),
        ("StatusNotification", {"evseId": 1, "connectorId": 1, "connectorStatus": "Occupied"}, True),
        ("StatusNotification", {"evseId": 2, "connectorId": 1, "connectorStatus": "Occupied"}, False),
        ("TransactionEvent", {"transactionInfo": {"transactionId": "aaaa"}, "evse": {"id": 1, "connectorId": 1}}, True),
        ("TransactionEvent", {"transactionInfo": {"transactionId": "aaaa"}}, True),
        ("TransactionEvent", {"transactionInfo": {"transactionId": "bbbb"}}, False),
        ("TransactionEvent", {"transactionInfo": {"transactionId": "bbbb"}, "evse": {"id": 1}}, False),
        ("TransactionEvent", {"transactionInfo": {"transactionId": "aaaa"}, "evse": {"id": 2}}, False),
        ("MeterValues", {"evseId": 1}, True),
        ("MeterValues", {"evseId": 0}, False),
        ("Heartbeat", {}, False),
        ("SecurityEventNotification", {"type": "StartupOfTheDevice"}, True),
        # OCPP 1.6
        ("StatusNotification", {"connectorId": 1, "status": "Charging"}, True),
        ("StatusNotification", {"connectorId": 0, "status": "Available"}, False),
        ("StartTransaction", {"connectorId": 1, "idTag": "TAG-1"}, True),
        ("StartTransaction", {"connectorId": 2, "idTag": "TAG-1"}, False),
        ("StopTransaction", {"transactionId": 7}, True),
        ("StopTransaction", {"transactionId": 8}, False),
        ("MeterValues", {"connectorId": 1, "transactionId": 7}, True),
        ("MeterValues", {"connectorId": 1, "transactionId": 8}, False),
    ],
)
def test_messages_of_other_evses_and_transactions_are_left_out(
    action: str, payload: dict[str, Any], is_mine: bool
) -> None:
    conversation = Conversation()
    message_id = conversation.call(action, payload)
    transactions = [*AAAA, Transaction("cccc", 1, 95, csms_id=7)]
    assert messages(conversation, transactions=transactions) == (pair(message_id) if is_mine else [])


@pytest.mark.parametrize(
    ("action", "payload", "is_mine"),
    [
        ("RequestStopTransaction", {"transactionId": "aaaa"}, True),
        ("RequestStopTransaction", {"transactionId": "bbbb"}, False),
        ("RequestStartTransaction", {"evseId": 1, "remoteStartId": 5}, True),
        ("RequestStartTransaction", {"evseId": 2, "remoteStartId": 5}, False),
        ("SetVariables", {"setVariableData": []}, True),
    ],
)
def test_commands_of_the_csms_belong_to_it_too(action: str, payload: dict[str, Any], is_mine: bool) -> None:
    conversation = Conversation()
    message_id = conversation.call(action, payload, sent=False)
    assert messages(conversation, transactions=AAAA) == (pair(message_id) if is_mine else [])


def test_an_answer_belongs_to_the_call_of_its_direction() -> None:
    """Each side chooses its ids alone, so both may choose the same one."""
    conversation = Conversation()
    conversation.call("Heartbeat", {}, message_id="7")
    conversation.call("GetVariables", {}, sent=False, message_id="7")
    conversation.call("Heartbeat", {}, message_id="7")
    found = session(first_message=0.0, log=lambda: conversation.log).messages
    assert [(record.kind, record.direction) for record in found] == [("CALL", "received"), ("CALLRESULT", "sent")]


def test_messages_before_and_after_are_left_out() -> None:
    conversation = Conversation()
    ids = [conversation.call("Authorize", {}) for _ in range(4)]  # at 101 and 102, 103 and 104, …
    assert messages(conversation, first_message=102.5, last_message=106.5) == [*pair(ids[1]), *pair(ids[2])]
    assert messages(conversation, first_message=103.0, last_message=106.0) == [*pair(ids[1]), *pair(ids[2])]


def test_a_session_that_goes_on_has_the_messages_until_now() -> None:
    conversation = Conversation()
    ids = [conversation.call("Authorize", {}) for _ in range(2)]
    assert messages(conversation, end=None, last_message=102.0) == [*pair(ids[0]), *pair(ids[1])]
    ids.append(conversation.call("StatusNotification", {"evseId": 1}))
    assert len(messages(conversation, end=None, last_message=102.0)) == 6


def test_an_answer_to_a_call_before_is_left_out() -> None:
    conversation = Conversation()
    conversation.call("Authorize", {})
    assert messages(conversation, first_message=101.5) == []


def test_errors_are_answers_and_what_is_no_message_is_left_out() -> None:
    conversation = Conversation()
    conversation.add([2, "a", "Authorize", {}], sent=True)
    conversation.add("garbage", sent=False)
    conversation.add([4, "a", "InternalError", "", {}], sent=False)
    assert messages(conversation) == [("CALL", "a"), ("CALLERROR", "a")]


def test_a_session_without_an_evse_has_the_messages_of_its_transaction() -> None:
    conversation = Conversation()
    mine = [
        conversation.call("TransactionEvent", {"transactionInfo": {"transactionId": "aaaa"}}),
        conversation.call("TransactionEvent", {"transactionInfo": {"transactionId": "aaaa"}, "evse": {"id": 2}}),
    ]
    conversation.call("TransactionEvent", {"transactionInfo": {"transactionId": "bbbb"}, "evse": {"id": 2}})
    lobby = Session(
        0, EPOCH, 0, 0, transactions=AAAA, first_message=0.0, last_message=math.inf, log=lambda: conversation.log
    )
    assert [(record.kind, record.message_id) for record in lobby.messages] == [*pair(mine[0]), *pair(mine[1])]


def test_messages_are_a_record_of_that_charge_point_with_latencies() -> None:
    conversation = Conversation()
    conversation.call("Authorize", {})
    found = session(first_message=0.0, log=lambda: conversation.log).messages
    assert found.charge_point_id == "CP1"
    assert list(found.to_frame().latency_ms.dropna()) == [pytest.approx(1000)]


@pytest.mark.parametrize("options", [{}, {"first_message": 5.0}, {"log": lambda: Conversation().log}])
def test_there_are_no_messages_without_a_record_of_them(options: dict[str, Any]) -> None:
    assert len(session(**options).messages) == 0


# -- The station's own truth ------------------------------------------------------------------------------------------

TRUTH_DTYPES = {
    "transaction_id": "object",
    "evse_id": "int64",
    "start": "datetime64[ns, UTC]",
    "end": "datetime64[ns, UTC]",
    **dict.fromkeys(["start_wh", "end_wh", "energy_wh"], "float64"),
}
ENDED = Transaction("aaaa", 2, 60.0, csms_id=7, start_wh=1000, end=120.5, end_wh=1500)
RUNNING = Transaction("bbbb", 1, 60.0, start_wh=30)
NOWHERE = Transaction("cccc", 0, 60.0)


@pytest.mark.parametrize("given", [[], [ENDED], [RUNNING], [NOWHERE], [ENDED, RUNNING, NOWHERE]], ids=len)
def test_truth_has_its_columns_and_their_types_whatever_is_in_it(given: list[Transaction]) -> None:
    frame = truth_frame(given, EPOCH)
    assert tuple(frame.columns) == TRUTH
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == TRUTH_DTYPES
    assert len(frame) == len(given)


def test_truth_is_what_the_meter_showed() -> None:
    frame = truth_frame([ENDED, RUNNING, NOWHERE], EPOCH)
    assert list(frame.loc[0]) == ["7", 2, BEGAN, pd.Timestamp("2027-01-15T08:02:00.5Z"), 1000, 1500, 500]
    assert list(frame.loc[1, ["transaction_id", "evse_id", "start_wh"]]) == ["bbbb", 1, 30]
    assert frame.loc[1, ["end", "end_wh", "energy_wh"]].isna().all()
    assert frame.loc[2, ["end", "start_wh", "energy_wh"]].isna().all()
