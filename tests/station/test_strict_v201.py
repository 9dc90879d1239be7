"""The rules of OCPP 2.0.1 find nothing in a correct session, and exactly the rule that a wrong one breaks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hand_made_sessions import (
    BOOT,
    EVSE_1,
    LATER,
    TAG_1,
    TAG_2,
    Change,
    Session,
    add_to_seq_no,
    again,
    all_of,
    broken_rules,
    drop,
    edit,
    end_with,
    event,
    info,
    insert,
    minute,
    numbered,
    play,
    session_201,
    status,
    token_first,
    values,
)
from ocpp.v201 import call, call_result
from strict_csms import Reserved, StrictCsms

from cpsim_kit import ChargePoint

BEGIN, END = (1, "Transaction.Begin", 1000), (5, "Transaction.End", 2000)
EARLIER = LATER - timedelta(days=2)
OTHER_TOKEN = {"id_token": "TAG-3", "type": "ISO14443"}  # of no group
RESERVED_TWICE = all_of(edit("authorized", reservation_id=7), edit("charging", reservation_id=7))
REMOTE_TWICE = all_of(
    info("authorized", remote_start_id=900),
    edit("authorized", trigger_reason="RemoteStart"),
    info("charging", remote_start_id=900),
    edit("charging", trigger_reason="RemoteStart"),
)
NOTHING_CHARGED = values((2, "Transaction.Begin", 1000), (2, "Transaction.End", 1000))
OTHER_ON_EVSE_1 = (
    event("Started", 2, "CablePluggedIn", 0, "EVConnected", identity="tx-9", evse=EVSE_1),
    event("Ended", 2, "EVCommunicationLost", 1, identity="tx-9", stopped_reason="Local", meter_value=NOTHING_CHARGED),
)

CASES_201: list[tuple[str, Change]] = [
    ("boot", all_of(end_with("available"), drop("boot"))),
    ("time_format", edit("free", timestamp="2026-11-27T10:05:00Z")),
    ("time_format", edit("free", timestamp="2026-11-27T10:05:00.000")),
    ("time_format", edit("free", timestamp="2026-11-27T10:05:00.000+00:00")),
    (
        "time_format",
        edit("periodic", meter_value=[values((3, "Sample.Periodic", 1500))[0] | {"timestamp": "3 o'clock"}]),
    ),
    ("status_time", edit("free", timestamp=minute(0))),
    ("status_order", edit("free", connector_status="Reserved")),
    ("status_repeated", again("occupied")),
    ("status_connector_0", insert("available", status(0, "Available", 1, 0))),
    ("status_missing", drop("available", "occupied")),
    ("authorize_needless", again("authorize", after="charging")),
    ("refused_token", all_of(*(edit(name, id_token=TAG_2) for name in ("authorize", "authorized", "stop")))),
    ("meter_values_in_transaction", insert("charging", call.MeterValues(1, values((2, "Sample.Periodic", 1000))))),
    ("register_decreases", edit("periodic", meter_value=values((3, "Sample.Periodic", 999)))),
    ("register_decreases", insert("ended", call.MeterValues(1, values((6, "Sample.Clock", 1999))))),
    ("register_decreases", edit("ended", meter_value=values((1, "Transaction.Begin", 900), END))),
    ("meter_time", edit("periodic", meter_value=values((3.5, "Sample.Periodic", 1500)))),
    ("meter_time", edit("periodic", meter_value=values((0.5, "Sample.Periodic", 1000)))),
    ("meter_time", edit("ended", meter_value=values(END, BEGIN))),
    (
        "started_first",
        insert(
            "ended",
            event("Updated", 6, "Trigger", 0, identity="tx-9"),
            event("Ended", 6, "Trigger", 1, identity="tx-9"),
        ),
    ),
    ("started_first", drop("started")),
    ("started_twice", again("started", after="charging", seq_no=9)),
    ("after_ended", again("periodic", after="ended", seq_no=6)),
    ("after_ended", again("ended", seq_no=6)),
    ("transaction_id_reused", again("started", after="ended")),
    ("never_ended", drop("ended")),
    ("seq_no_start", add_to_seq_no("started")),
    ("seq_no_gap", add_to_seq_no("charging")),
    ("seq_no_gap", drop("periodic")),
    ("seq_no_repeated", again("periodic")),
    ("seq_no_repeated", add_to_seq_no("periodic", -1)),
    ("time_backwards", edit("stop", timestamp=minute(2.5))),
    ("evse_twice", edit("charging", evse=EVSE_1)),
    ("evse_without_connector", edit("started", evse={"id": 1})),
    ("evse_busy", insert("authorized", *OTHER_ON_EVSE_1)),
    ("reservation_id_twice", RESERVED_TWICE),
    ("reservation_id_unknown", edit("authorized", reservation_id=8)),
    ("reservation_of_another", edit("authorized", reservation_id=9)),
    ("reservation_status_unknown", insert("free", call.ReservationStatusUpdate(8, "Expired"))),
    ("remote_start_id_twice", REMOTE_TWICE),
    (
        "remote_start_id_unknown",
        all_of(info("authorized", remote_start_id=1), edit("authorized", trigger_reason="RemoteStart")),
    ),
    ("remote_start_trigger", info("authorized", remote_start_id=900)),
    ("remote_start_trigger", edit("authorized", trigger_reason="RemoteStart")),
    ("authorized_without_token", edit("charging", trigger_reason="Authorized")),
    ("id_token_twice", edit("charging", id_token=TAG_1)),
    ("id_token_twice", edit("ended", id_token=TAG_1)),
    ("id_token_twice", edit("ended", id_token=TAG_1, trigger_reason="StopAuthorized")),
    ("stop_token_foreign", edit("stop", id_token=OTHER_TOKEN)),
    ("started_without_charging_state", edit("started", transaction_info={"transaction_id": "tx-1"})),
    ("charging_state_missing", edit("charging", transaction_info={"transaction_id": "tx-1"})),
    ("charging_state_unchanged", info("charging", charging_state="EVConnected")),
    (
        "charging_unauthorized",
        all_of(info("started", charging_state="Charging"), info("charging", charging_state="SuspendedEV")),
    ),
    ("periodic_without_values", edit("periodic", meter_value=None)),
    ("periodic_without_values", edit("periodic", meter_value=values((3, "Sample.Clock", 1500)))),
    ("clock_without_values", edit("periodic", trigger_reason="MeterValueClock")),
    ("started_context", edit("started", meter_value=values((1, "Sample.Periodic", 1000)))),
    ("begin_late", edit("charging", meter_value=values((2, "Transaction.Begin", 1000)))),
    ("end_early", edit("stop", meter_value=values((4, "Transaction.End", 2000)))),
    ("ended_without_end", edit("ended", meter_value=None)),
    ("ended_without_end", edit("ended", meter_value=values(BEGIN))),
    ("ended_without_begin", edit("ended", meter_value=values(END))),
    ("stopped_reason_early", info("stop", stopped_reason="Local")),
    ("stopped_reason_wrong", edit("ended", trigger_reason="RemoteStop")),
]
TOKEN_FIRST_CASES: list[tuple[str, Change]] = [
    ("state_without_evse", info("started_2", charging_state="EVConnected")),
    (
        "meter_without_evse",
        all_of(
            edit("started_2", meter_value=values((11, "Transaction.Begin", 2000))),
            edit("charging_2", meter_value=None),
        ),
    ),
    (
        "stopped_reason_missing",
        all_of(
            edit("ended_2", trigger_reason="EVCommunicationLost"),
            edit("ended_2", transaction_info={"transaction_id": "tx-2"}),
        ),
    ),
]


async def test_correct_201_sessions_break_no_rule_and_fill_the_ledger() -> None:
    async with StrictCsms("2.0.1") as csms:
        assert await play(csms, session_201() | token_first()) == []
        csms.check_all_ended()

    assert csms.violations == []
    assert {identity: line.wh for identity, line in csms.ledger.items()} == {"tx-1": 1000, "tx-2": 250}
    assert (csms.ledger["tx-1"].place, csms.ledger["tx-1"].id_token) == (1, "TAG-1")
    assert [message.frame[0] for message in csms.messages] == [2, 3] * 20


@pytest.mark.parametrize(("rule", "change"), CASES_201, ids=numbered(CASES_201))
async def test_each_rule_of_201_is_reported_when_it_is_broken_and_no_other(rule: str, change: Change) -> None:
    session = session_201()
    change(session)

    found, refusals = await broken_rules("2.0.1", session)

    assert found == [rule]
    assert len(refusals) == (rule != "never_ended")  # the charge point sees it


@pytest.mark.parametrize(("rule", "change"), TOKEN_FIRST_CASES, ids=numbered(TOKEN_FIRST_CASES))
async def test_each_rule_of_a_token_first_session_is_reported_when_it_is_broken(rule: str, change: Change) -> None:
    session: Session = {"boot": BOOT, "available": status(0, "Available")} | token_first()
    change(session)

    found, refusals = await broken_rules("2.0.1", session)

    assert found == [rule]
    assert len(refusals) == 1


@pytest.mark.parametrize(
    ("reserved", "rules"),
    [
        (Reserved(1, "TAG-3", None, LATER), ["reserved_for_another"]),
        (Reserved(2, "TAG-3", None, LATER), []),
        (Reserved(1, "TAG-3", None, EARLIER), []),
    ],
    ids=["here", "elsewhere", "expired"],
)
async def test_a_token_may_not_charge_where_another_one_has_a_reservation(reserved: Reserved, rules: list[str]) -> None:
    session = session_201()
    edit("available", connector_status="Reserved")(session)

    found, _ = await broken_rules("2.0.1", session, {7: reserved})

    assert found == rules


async def test_a_remote_start_that_was_asked_for_breaks_no_rule() -> None:
    async def accept(**_: Any) -> Any:
        return call_result.RequestStartTransaction("Accepted")

    async with StrictCsms("2.0.1") as csms:
        async with ChargePoint("CP1", csms.url) as cp:
            cp.on("RequestStartTransaction", accept)
            await cp.call(BOOT)
            await cp.call(status(0, "Available"))
            answer = await csms.charge_point("CP1").request_start_transaction("TAG-1", evse_id=1)
            (number,) = csms.remote_start_ids
            session = token_first(remote_start_id=number)
            for name in list(session)[1:]:
                await cp.call(session[name])
        csms.check_all_ended()

    assert answer.status == "Accepted"
    assert csms.violations == []
