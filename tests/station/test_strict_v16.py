"""The rules of OCPP 1.6 find nothing in a correct session, and exactly the rule that a wrong one breaks."""

from __future__ import annotations

from typing import Any

import pytest
from hand_made_sessions import (
    LATER,
    Change,
    Session,
    again,
    all_of,
    broken_rules,
    drop,
    edit,
    end_with,
    insert,
    minute,
    numbered,
    play,
    session_16,
    status16,
    values16,
)
from ocpp.v16 import call as call16
from ocpp.v16 import call_result as result16
from strict_csms import Reserved, StrictCsms, Token
from strict_v16 import RulesV16

from cpsim_kit import ChargePoint
from cpsim_kit.errors import CallFailed


def second_session_16() -> Session:
    """Another one on the same connector, with the id 2."""
    return {
        "preparing_2": status16(11, "Preparing"),
        "start_2": call16.StartTransaction(1, "TAG-3", 2000, minute(12)),
        "charging_2": status16(12, "Charging"),
        "stop_2": call16.StopTransaction(2250, minute(13), 2, reason="EVDisconnected"),
        "finishing_2": status16(13, "Finishing"),
        "free_2": status16(14, "Available"),
    }


async def test_correct_16_sessions_break_no_rule_and_fill_the_ledger() -> None:
    async with StrictCsms("1.6") as csms:
        assert await play(csms, session_16() | second_session_16()) == []
        csms.check_all_ended()

    assert csms.violations == []
    assert {identity: line.wh for identity, line in csms.ledger.items()} == {1: 1000, 2: 250}
    assert (csms.ledger[1].place, csms.ledger[1].id_token) == (1, "TAG-1")


BEGIN_16, END_16 = (2, "Transaction.Begin", 1000), (5, "Transaction.End", 2000)

CASES_16: list[tuple[str, Change]] = [
    ("boot", all_of(end_with("status_0"), drop("boot"))),
    ("time_format", edit("free", timestamp="2026-11-27T10:06:00Z")),
    ("time_format", edit("preparing", timestamp="2026-11-27T10:01:00.000")),
    ("status_time", edit("free", timestamp=minute(4))),
    ("status_order", edit("finishing", status="Preparing")),
    ("status_repeated", again("charging")),
    ("status_connector_0", edit("status_0", status="Preparing")),
    ("error_code", edit("charging", error_code="EVCommunicationError")),
    ("authorize_needless", again("authorize", after="charging")),
    ("refused_token", all_of(edit("authorize", id_tag="TAG-2"), edit("start", id_tag="TAG-2"), end_with("start"))),
    ("start_connector_0", all_of(edit("start", connector_id=0), end_with("start"))),
    ("start_not_preparing", all_of(drop("preparing"), end_with("start"))),
    ("start_not_preparing", all_of(edit("start", connector_id=3), end_with("start"))),
    ("start_busy", again("start", after="charging", timestamp=minute(2.5))),
    ("register_decreases", edit("values", meter_value=values16((3, "Sample.Periodic", 998)))),
    (
        "register_decreases",
        all_of(
            again("preparing", after="free", timestamp=minute(7)),
            insert("free+0", call16.StartTransaction(1, "TAG-1", 1998, minute(7))),
        ),
    ),
    ("meter_values_unknown_transaction", edit("values", transaction_id=99)),
    ("meter_values_after_stop", again("values", after="free", meter_value=values16((6, "Sample.Periodic", 2000)))),
    ("meter_values_wrong_connector", edit("values", connector_id=2)),
    (
        "meter_time",
        insert("charging", call16.MeterValues(1, values16((2.5, "Sample.Clock", 1200), (2.4, "Sample.Clock", 1100)))),
    ),
    ("meter_time", edit("stop", transaction_data=values16((1.5, "Transaction.Begin", 1000), END_16))),
    ("time_backwards", edit("values", meter_value=values16((1.5, "Sample.Periodic", 1000)))),
    ("time_backwards", edit("stop", meter_stop=1500, timestamp=minute(2.5), transaction_data=None)),
    ("stop_unknown_transaction", insert("free", call16.StopTransaction(2000, minute(6), 99))),
    ("stop_twice", again("stop")),
    ("stop_twice", again("stop", after="free", timestamp=minute(6))),
    ("stop_token_foreign", edit("stop", id_tag="TAG-3")),
    ("stop_below_start", all_of(drop("values"), edit("stop", meter_stop=999, transaction_data=None))),
    ("register_decreases", edit("stop", meter_stop=1400, transaction_data=None)),
    ("transaction_data_context", edit("stop", transaction_data=values16(BEGIN_16, (4, "Trigger", 1600), END_16))),
    ("transaction_data_order", edit("stop", transaction_data=values16((2, "Sample.Clock", 1000), BEGIN_16, END_16))),
    ("transaction_data_register", edit("stop", transaction_data=values16(BEGIN_16, (5, "Transaction.End", 2002)))),
    ("never_ended", drop("stop")),
    ("reservation_id_unknown", all_of(edit("start", reservation_id=8), end_with("start"))),
    ("reservation_of_another", all_of(edit("start", reservation_id=9), end_with("start"))),
]


@pytest.mark.parametrize(("rule", "change"), CASES_16, ids=numbered(CASES_16))
async def test_each_rule_of_16_is_reported_when_it_is_broken_and_no_other(rule: str, change: Change) -> None:
    session = session_16()
    change(session)

    found, refusals = await broken_rules("1.6", session)

    assert found[:1] == [rule]
    assert set(found[1:]) <= {"never_ended"}  # where the session was cut short
    assert len(refusals) == (rule != "never_ended")


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        (end_with("start"), ["reserved_for_another"]),
        (insert("available", status16(0.5, "Available")), []),
        (
            all_of(
                insert("available", status16(0.5, "Faulted")),
                insert("heartbeat", status16(0.6, "Preparing")),
                drop("preparing"),
            ),
            [],
        ),
    ],
    ids=["kept", "ended", "ended by a fault"],
)
async def test_a_tag_may_not_charge_where_another_one_has_a_reservation(change: Change, rules: list[str]) -> None:
    session = session_16()
    all_of(edit("available", status="Reserved"), change)(session)

    found, _ = await broken_rules("1.6", session, {7: Reserved(1, "TAG-3", None, LATER)})

    assert found == rules


async def test_a_transaction_stopped_by_the_csms_must_say_remote() -> None:
    async def accept(**_: Any) -> Any:
        return result16.RemoteStopTransaction("Accepted")

    async with StrictCsms("1.6") as csms, ChargePoint("CP1", csms.url, version="1.6") as cp:
        cp.on("RemoteStopTransaction", accept)
        session = session_16()
        end_with("values")(session)
        for request in session.values():
            await cp.call(request)
        await csms.charge_point("CP1").remote_stop_transaction(1)

        with pytest.raises(CallFailed):
            await cp.call(call16.StopTransaction(2000, minute(5), 1, reason="Local"))

        assert csms.rules_broken == ["stop_reason"]


# The moves of OCPP 1.6, 4.9, as numbered there: A9 is from the first state of the list to the ninth.
STATES_16 = [
    "Available",
    "Preparing",
    "Charging",
    "SuspendedEV",
    "SuspendedEVSE",
    "Finishing",
    "Reserved",
    "Unavailable",
    "Faulted",
]
LEGAL_16 = {
    "A": "2345789",
    "B": "134569",
    "C": "145689",
    "D": "135689",
    "E": "134689",
    "F": "1289",
    "G": "1289",
    "H": "123459",
    "I": "12345678",
}
ALL_MOVES = [row + column for row in "ABCDEFGHI" for column in "123456789" if "ABCDEFGHI".index(row) + 1 != int(column)]


@pytest.mark.parametrize("move", ALL_MOVES)
def test_a_connectors_moves_are_those_of_the_table(move: str) -> None:
    rules = RulesV16("CP1", lambda _: Token(), {})
    rules.check("BootNotification", {})
    before, after = STATES_16["ABCDEFGHI".index(move[0])], STATES_16[int(move[1]) - 1]

    first = rules.check("StatusNotification", {"connector_id": 1, "error_code": "NoError", "status": before})
    second = rules.check("StatusNotification", {"connector_id": 1, "error_code": "NoError", "status": after})

    assert first == {}
    assert list(second) == ([] if move[1] in LEGAL_16[move[0]] else ["status_order"])
