"""The strict CSMS finds nothing in a correct session, and exactly the rule that a wrong one breaks.

The sessions are made by hand, message by message, with the kit's ChargePoint.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ocpp.exceptions
import pytest
import strict_csms
from conftest import until
from ocpp.v16 import call as call16
from ocpp.v16 import call_result as result16
from ocpp.v201 import call, call_result
from strict_csms import StrictCsms
from strict_rules import Token
from strict_v16 import RulesV16
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from cpsim_kit import ChargePoint
from cpsim_kit.errors import CallFailed

Session = dict[str, Any]  # requests by names, in order
Change = Callable[[Session], None]


async def play(csms: StrictCsms, session: Session) -> list[CallFailed]:
    """Send the requests of a session as CP1; the CALLERRORs that came back."""
    refusals = []
    async with ChargePoint("CP1", csms.url, version=csms.version) as cp:
        for request in session.values():
            try:
                await cp.call(request)
            except CallFailed as exc:
                refusals.append(exc)
    return refusals


# -- Ways to change a session -----------------------------------------------------------------------------------------


def edit(name: str, **changes: Any) -> Change:
    """Change fields of a request."""

    def change(session: Session) -> None:
        session[name] = replace(session[name], **changes)

    return change


def info(name: str, **changes: Any) -> Change:
    """Change fields of a TransactionEvent's transactionInfo."""

    def change(session: Session) -> None:
        session[name] = replace(session[name], transaction_info=session[name].transaction_info | changes)

    return change


def drop(*names: str) -> Change:
    def change(session: Session) -> None:
        for name in names:
            del session[name]

    return change


def insert(after: str, request: Any, *more: Any) -> Change:
    """Put requests behind another one."""

    def change(session: Session) -> None:
        items = list(session.items())
        place = list(session).index(after) + 1
        items[place:place] = [(f"{after}+{number}", each) for number, each in enumerate((request, *more))]
        session.clear()
        session.update(items)

    return change


def again(name: str, after: str | None = None, **changes: Any) -> Change:
    """Send a request once more, right behind itself unless said otherwise, and changed perhaps."""
    return lambda session: insert(after or name, replace(session[name], **changes))(session)


def end_with(name: str) -> Change:
    """Leave out what follows a request."""

    def change(session: Session) -> None:
        for other in list(session)[list(session).index(name) + 1 :]:
            del session[other]

    return change


def add_to_seq_no(first: str, by: int = 1) -> Change:
    """Count a TransactionEvent and those behind it on."""

    def change(session: Session) -> None:
        for name in list(session)[list(session).index(first) :]:
            if isinstance(session[name], call.TransactionEvent):
                session[name] = replace(session[name], seq_no=session[name].seq_no + by)

    return change


def all_of(*changes: Change) -> Change:
    def change(session: Session) -> None:
        for each in changes:
            each(session)

    return change


def minute(number: float) -> str:
    whole, rest = divmod(round(number * 60), 60)
    return f"2026-11-27T10:{whole:02}:{rest:02}.000Z"


def numbered(cases: list[tuple[str, Change]]) -> list[str]:
    """Names for cases: the rule, and a number."""
    return [f"{rule}-{number}" for number, (rule, _) in enumerate(cases)]


# -- OCPP 2.0.1 -------------------------------------------------------------------------------------------------------

BOOT = call.BootNotification({"model": "M", "vendor_name": "V"}, "PowerUp")
TAG_1 = {"id_token": "TAG-1", "type": "ISO14443"}
TAG_2 = {"id_token": "TAG-2", "type": "ISO14443"}
EVSE_1 = {"id": 1, "connector_id": 1}


def values(*readings: tuple[float, str, float]) -> list[dict[str, Any]]:
    """MeterValues of the register: minute, context, Wh."""
    return [
        {"timestamp": minute(at), "sampled_value": [{"value": wh, "context": context, **REGISTER}]}
        for at, context, wh in readings
    ]


REGISTER = {"measurand": "Energy.Active.Import.Register", "unit_of_measure": {"unit": "Wh"}}


def event(kind: str, at: float, trigger: str, seq_no: int, state: str | None = None, **more: Any) -> Any:
    """A TransactionEvent of transaction tx-1, unless `identity` says otherwise."""
    details = {"transaction_id": more.pop("identity", "tx-1"), "charging_state": state}
    details |= {name: more.pop(name) for name in ("stopped_reason", "remote_start_id") if name in more}
    details = {name: value for name, value in details.items() if value is not None}
    return call.TransactionEvent(kind, minute(at), trigger, seq_no, details, **more)


def status(at: float, state: str, evse_id: int = 1, connector_id: int = 1) -> Any:
    return call.StatusNotification(minute(at), state, evse_id, connector_id)


def session_201() -> Session:
    """Cable first, stopped by the card, ended by the cable."""
    return {
        "boot": BOOT,
        "available": status(0, "Available"),
        "available_2": status(0, "Available", 2),
        "heartbeat": call.Heartbeat(),
        "occupied": status(1, "Occupied"),
        "started": event(
            "Started",
            1,
            "CablePluggedIn",
            0,
            "EVConnected",
            evse=EVSE_1,
            meter_value=values((1, "Transaction.Begin", 1000)),
        ),
        "authorize": call.Authorize(TAG_1),
        "authorized": event("Updated", 2, "Authorized", 1, id_token=TAG_1),
        "charging": event("Updated", 2, "ChargingStateChanged", 2, "Charging"),
        "periodic": event("Updated", 3, "MeterValuePeriodic", 3, meter_value=values((3, "Sample.Periodic", 1500))),
        "stop": event("Updated", 4, "StopAuthorized", 4, "EVConnected", id_token=TAG_1),
        "free": status(5, "Available"),
        "ended": event(
            "Ended",
            5,
            "EVCommunicationLost",
            5,
            "Idle",
            stopped_reason="Local",
            meter_value=values((1, "Transaction.Begin", 1000), (5, "Transaction.End", 2000)),
        ),
    }


def token_first(identity: str = "tx-2", token: Any = TAG_1, remote_start_id: int | None = None) -> Session:
    """Token first or by the CSMS, then the cable; the CSMS's stop ends it at once."""
    return {
        "authorize_2": call.Authorize(token),
        "started_2": event(
            "Started",
            11,
            "Authorized" if remote_start_id is None else "RemoteStart",
            0,
            "Idle",
            identity=identity,
            id_token=token,
            remote_start_id=remote_start_id,
        ),
        "occupied_2": status(12, "Occupied"),
        "plugged_2": event("Updated", 12, "CablePluggedIn", 1, "EVConnected", identity=identity, evse=EVSE_1),
        "charging_2": event(
            "Updated",
            12,
            "ChargingStateChanged",
            2,
            "Charging",
            identity=identity,
            meter_value=values((12, "Transaction.Begin", 2000)),
        ),
        "ended_2": event(
            "Ended",
            13,
            "RemoteStop",
            3,
            "EVConnected",
            identity=identity,
            stopped_reason="Remote",
            meter_value=values((12, "Transaction.Begin", 2000), (13, "Transaction.End", 2250)),
        ),
        "free_2": status(14, "Available"),
    }


async def test_correct_201_sessions_break_no_rule_and_fill_the_ledger() -> None:
    async with StrictCsms("2.0.1") as csms:
        assert await play(csms, session_201() | token_first()) == []
        csms.check_all_ended()

    assert csms.violations == []
    assert {identity: line.wh for identity, line in csms.ledger.items()} == {"tx-1": 1000, "tx-2": 250}
    assert (csms.ledger["tx-1"].place, csms.ledger["tx-1"].id_token) == (1, "TAG-1")
    assert [message.frame[0] for message in csms.messages] == [2, 3] * 20


BEGIN, END = (1, "Transaction.Begin", 1000), (5, "Transaction.End", 2000)
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
TOKENS = {"TAG-2": Token(status="Blocked"), "TAG-1": Token(group="G")}


async def broken_rules(version: str, session: Session) -> tuple[list[str], list[CallFailed]]:
    async with StrictCsms(version, tokens=TOKENS) as csms:
        csms.remote_start_ids.add(900)
        refusals = await play(csms, session)
        csms.check_all_ended()
    assert all(rule in refusal.details["rules"] for rule, refusal in zip(csms.rules_broken, refusals, strict=False))
    return csms.rules_broken, refusals


@pytest.mark.parametrize(("rule", "change"), CASES_201, ids=numbered(CASES_201))
async def test_each_rule_of_201_is_reported_when_it_is_broken_and_no_other(rule: str, change: Change) -> None:
    session = session_201()
    change(session)

    found, refusals = await broken_rules("2.0.1", session)

    assert found == [rule]
    assert len(refusals) == (rule != "never_ended")  # the charge point sees it


@pytest.mark.parametrize(("rule", "change"), TOKEN_FIRST_CASES, ids=numbered(TOKEN_FIRST_CASES))
async def test_each_rule_of_a_token_first_session_is_reported_when_it_is_broken(rule: str, change: Change) -> None:
    session = {"boot": BOOT, "available": status(0, "Available")} | token_first()
    change(session)

    found, refusals = await broken_rules("2.0.1", session)

    assert found == [rule]
    assert len(refusals) == 1


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


# -- OCPP 1.6 ---------------------------------------------------------------------------------------------------------

BOOT_16 = call16.BootNotification("M", "V")


def status16(at: float, state: str, connector_id: int = 1, error_code: str = "NoError") -> Any:
    return call16.StatusNotification(connector_id, error_code, state, minute(at))


def values16(*readings: tuple[float, str, float]) -> list[dict[str, Any]]:
    """MeterValues of the register: minute, context, Wh."""
    return [
        {"timestamp": minute(at), "sampled_value": [{"value": f"{wh:g}", "context": context, "unit": "Wh"}]}
        for at, context, wh in readings
    ]


def session_16() -> Session:
    """Cable, card, charging with a pause, card. The strict CSMS gives its first transaction the id 1."""
    return {
        "boot": BOOT_16,
        "status_0": status16(0, "Available", 0),
        "available": status16(0, "Available"),
        "available_2": status16(0, "Available", 2),
        "heartbeat": call16.Heartbeat(),
        "preparing": status16(1, "Preparing"),
        "authorize": call16.Authorize("TAG-1"),
        "start": call16.StartTransaction(1, "TAG-1", 1000, minute(2)),
        "charging": status16(2, "Charging"),
        "values": call16.MeterValues(1, values16((3, "Sample.Periodic", 1500.4)), 1),
        "suspended": status16(4, "SuspendedEV"),
        "resumed": status16(4, "Charging"),
        "stop": call16.StopTransaction(
            2000,
            minute(5),
            1,
            id_tag="TAG-1",
            transaction_data=values16((2, "Transaction.Begin", 1000), (5, "Transaction.End", 2000)),
        ),
        "finishing": status16(5, "Finishing"),
        "free": status16(6, "Available"),
    }


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
]


@pytest.mark.parametrize(("rule", "change"), CASES_16, ids=numbered(CASES_16))
async def test_each_rule_of_16_is_reported_when_it_is_broken_and_no_other(rule: str, change: Change) -> None:
    session = session_16()
    change(session)

    found, refusals = await broken_rules("1.6", session)

    assert found[:1] == [rule]
    assert set(found[1:]) <= {"never_ended"}  # where the session was cut short
    assert len(refusals) == (rule != "never_ended")


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
STATES_16 = "Available Preparing Charging SuspendedEV SuspendedEVSE Finishing Reserved Unavailable Faulted".split()
LEGAL_16 = set(
    """A2 A3 A4 A5 A7 A8 A9  B1 B3 B4 B5 B6 B9  C1 C4 C5 C6 C8 C9  D1 D3 D5 D6 D8 D9  E1 E3 E4 E6 E8 E9
    F1 F2 F8 F9  G1 G2 G8 G9  H1 H2 H3 H4 H5 H9  I1 I2 I3 I4 I5 I6 I7 I8""".split()
)
ALL_MOVES = [row + column for row in "ABCDEFGHI" for column in "123456789" if "ABCDEFGHI".index(row) + 1 != int(column)]


@pytest.mark.parametrize("move", ALL_MOVES)
def test_a_connectors_moves_are_those_of_the_table(move: str) -> None:
    rules = RulesV16("CP1", lambda _: Token(), {})
    rules.check("BootNotification", {})
    before, after = STATES_16["ABCDEFGHI".index(move[0])], STATES_16[int(move[1]) - 1]

    first = rules.check("StatusNotification", {"connector_id": 1, "error_code": "NoError", "status": before})
    second = rules.check("StatusNotification", {"connector_id": 1, "error_code": "NoError", "status": after})

    assert first == {}
    assert list(second) == ([] if move in LEGAL_16 else ["status_order"])


# -- Both versions: frames, tokens, what is sent again, and what the CSMS asks ----------------------------------------


async def exchange(csms: StrictCsms, *frames: str | bytes, answers: int) -> list[Any]:
    """Send raw frames; so many frames that come back."""
    protocol = Subprotocol(f"ocpp{csms.version}")
    async with connect(f"{csms.url}/CP1", subprotocols=[protocol], proxy=None) as ws:
        for frame in frames:
            await ws.send(frame)
        return [json.loads(await ws.recv()) for _ in range(answers)]


RAW_BOOT = '[2, "1", "BootNotification", {"chargingStation": {"model": "M", "vendorName": "V"}, "reason": "PowerUp"}]'


async def test_a_frame_that_breaks_the_schema_is_a_violation_and_answered_with_callerror() -> None:
    async with StrictCsms("2.0.1") as csms:
        answers = await exchange(csms, RAW_BOOT.replace("PowerUp", "Sunrise"), answers=1)

    assert csms.rules_broken == ["schema"]
    assert answers[0][:3] == [4, "1", "FormatViolation"]
    assert "Sunrise" in csms.violations[0].text


async def test_an_unknown_action_is_a_violation() -> None:
    async with StrictCsms("2.0.1") as csms:
        answers = await exchange(csms, RAW_BOOT, '[2, "2", "Teleport", {}]', answers=2)

    assert csms.rules_broken == ["unknown_action"]
    assert answers[1][0] == 4


@pytest.mark.parametrize("frame", ["hello", "[1]", "{}"])
async def test_what_is_no_frame_is_a_violation(frame: str) -> None:
    async with StrictCsms("2.0.1") as csms:
        await exchange(csms, frame, RAW_BOOT, answers=1)

    assert csms.rules_broken == ["frame"]


async def test_a_binary_frame_is_a_violation() -> None:
    async with StrictCsms("2.0.1") as csms:
        await exchange(csms, RAW_BOOT.encode(), answers=1)

    assert csms.rules_broken == ["frame"]


async def test_an_answer_to_no_question_is_a_violation() -> None:
    async with StrictCsms("2.0.1") as csms:
        await exchange(csms, '[3, "nobody-asked", {}]', RAW_BOOT, answers=1)

    assert csms.rules_broken == ["answer"]


async def test_a_wrong_answer_of_the_charge_point_is_a_violation() -> None:
    async with StrictCsms("1.6") as csms:
        protocol = Subprotocol("ocpp1.6")
        async with connect(f"{csms.url}/CP1", subprotocols=[protocol], proxy=None) as ws:
            await until(lambda: csms.connected == ["CP1"])
            question = asyncio.create_task(csms.charge_point("CP1").change_configuration("HeartbeatInterval", "5"))
            asked = json.loads(await ws.recv())
            await ws.send(json.dumps([3, asked[1], {"status": "Perhaps"}]))
            with pytest.raises(ocpp.exceptions.FormatViolationError):
                await question

    assert csms.rules_broken == ["schema"]


async def test_a_message_before_the_boot_is_answered_with_security_error() -> None:
    async with StrictCsms("2.0.1") as csms:
        answers = await exchange(csms, '[2, "1", "Heartbeat", {}]', RAW_BOOT, '[2, "2", "Heartbeat", {}]', answers=3)

    assert csms.rules_broken == ["boot"]
    assert answers[0][:3] == [4, "1", "SecurityError"]  # B01.FR.10
    assert [answer[0] for answer in answers[1:]] == [3, 3]


async def test_a_refused_message_that_is_sent_again_is_refused_again_and_counted_once() -> None:
    session = session_201()
    edit("authorized", seq_no=5)(session)
    insert("authorized", session["authorized"], session["authorized"])(session)
    end_with("authorized+1")(session)

    async with StrictCsms("2.0.1") as csms:
        refusals = await play(csms, session)

    assert csms.rules_broken == ["seq_no_gap"]
    assert len(refusals) == 3


async def test_what_is_sent_again_on_a_new_connection_gets_the_same_answer() -> None:
    session = session_16()
    end_with("start")(session)

    async with StrictCsms("1.6") as csms:
        async with ChargePoint("CP1", csms.url, version="1.6") as cp:
            for request in session.values():
                first = await cp.call(request)
        async with ChargePoint("CP1", csms.url, version="1.6") as cp:
            second = await cp.call(session["start"])

    assert first.transaction_id == second.transaction_id == 1
    assert csms.violations == []


async def test_a_transaction_that_started_offline_is_not_compared_with_the_connectors_state() -> None:
    session = session_16()
    offline = {name: session.pop(name) for name in ("preparing", "authorize", "start", "charging", "values")}
    del offline["preparing"], offline["authorize"]
    end_with("heartbeat")(session)

    async with StrictCsms("1.6") as csms:
        await play(csms, session)
        await play(csms, {"charging": offline["charging"], "start": offline["start"], "values": offline["values"]})

    assert csms.violations == []


async def test_tokens_are_answered_with_their_status_and_group() -> None:
    tokens = {"TAG-2": Token("Blocked"), "TAG-4": Token("Accepted", group="G", status_in_transaction="Invalid")}
    session = session_201()
    end_with("started")(session)
    session["started"] = replace(session["started"], id_token=TAG_1 | {"id_token": "TAG-4"})

    async with StrictCsms("2.0.1", tokens=tokens) as csms, ChargePoint("CP1", csms.url) as cp:
        await cp.call(BOOT)
        blocked = await cp.call(call.Authorize(TAG_2))
        grouped = await cp.call(call.Authorize(TAG_1 | {"id_token": "TAG-4"}))
        unknown = await cp.call(call.Authorize(TAG_1))
        for request in list(session.values())[1:]:
            answer = await cp.call(request)

    assert blocked.id_token_info["status"] == "Blocked"
    assert (grouped.id_token_info["status"], grouped.id_token_info["group_id_token"]["id_token"]) == ("Accepted", "G")
    assert unknown.id_token_info == {"status": "Accepted"}
    assert answer.id_token_info["status"] == "Invalid"
    assert csms.violations == []


async def test_another_token_of_the_group_may_stop() -> None:
    tokens = {"TAG-1": Token(group="G"), "TAG-4": Token(group="G")}
    session = session_201()
    edit("stop", id_token=TAG_1 | {"id_token": "TAG-4"})(session)

    async with StrictCsms("2.0.1", tokens=tokens) as csms:
        await play(csms, session)

    assert csms.violations == []


async def test_variables_are_read_and_set() -> None:
    async def get(get_variable_data: list[Any], **_: Any) -> Any:
        found = [each | {"attribute_status": "Accepted", "attribute_value": "7"} for each in get_variable_data[:1]]
        missing = [each | {"attribute_status": "UnknownVariable"} for each in get_variable_data[1:]]
        return call_result.GetVariables(found + missing)

    async def set_(set_variable_data: list[Any], **_: Any) -> Any:
        for each in set_variable_data:
            assert each.pop("attribute_value") == "EVConnected"
        return call_result.SetVariables([each | {"attribute_status": "Accepted"} for each in set_variable_data])

    async def stop(**_: Any) -> Any:
        return call_result.RequestStopTransaction("Rejected")

    async with StrictCsms("2.0.1") as csms, ChargePoint("CP1", csms.url) as cp:
        for action, handler in (("GetVariables", get), ("SetVariables", set_), ("RequestStopTransaction", stop)):
            cp.on(action, handler)
        asked = csms.charge_point("CP1")
        assert await asked.get_variables("TxCtrlr.EVConnectionTimeOut", "TxCtrlr.Nonsense") == {
            "TxCtrlr.EVConnectionTimeOut": "7",
            "TxCtrlr.Nonsense": None,
        }
        assert await asked.set_variables({"TxCtrlr.TxStartPoint": "EVConnected"}) == {
            "TxCtrlr.TxStartPoint": "Accepted"
        }
        assert (await asked.request_stop_transaction("tx-1")).status == "Rejected"
    assert csms.violations == []


async def test_configuration_is_read_and_changed() -> None:
    async def get(key: list[str] | None = None, **_: Any) -> Any:
        known = [{"key": "HeartbeatInterval", "readonly": False, "value": "300"}]
        return result16.GetConfiguration(known, unknown_key=[each for each in key or () if each != "HeartbeatInterval"])

    async def change(**_: Any) -> Any:
        return result16.ChangeConfiguration("RebootRequired")

    async def start(**_: Any) -> Any:
        return result16.RemoteStartTransaction("Accepted")

    async with StrictCsms("1.6") as csms, ChargePoint("CP1", csms.url, version="1.6") as cp:
        handlers = {"GetConfiguration": get, "ChangeConfiguration": change, "RemoteStartTransaction": start}
        for action, handler in handlers.items():
            cp.on(action, handler)
        asked = csms.charge_point("CP1")
        assert await asked.get_configuration("HeartbeatInterval", "Odd") == {"HeartbeatInterval": "300", "Odd": None}
        assert await asked.get_configuration() == {"HeartbeatInterval": "300"}
        assert await asked.change_configuration("HeartbeatInterval", "5") == "RebootRequired"
        assert (await asked.remote_start_transaction("TAG-1", connector_id=1)).status == "Accepted"
    assert csms.violations == []


async def test_a_charge_point_that_is_not_connected_cannot_be_asked() -> None:
    async with StrictCsms("1.6") as csms:
        with pytest.raises(LookupError, match="CP7 is not connected; connected: none"):
            csms.charge_point("CP7")


def test_every_rule_is_broken_on_purpose_by_some_test() -> None:
    folder = Path(strict_csms.__file__).parent
    sources = "".join(path.read_text() for path in sorted(folder.glob("strict_*.py")))
    rules = set(re.findall(r'_(?:report|violated)\(\s*"(\w+)"', sources))
    broken = {rule for rule, _ in [*CASES_201, *TOKEN_FIRST_CASES, *CASES_16]}
    by_tests_of_their_own = {"answer", "frame", "schema", "stop_reason", "unknown_action"}

    assert len(rules) > 50
    assert rules - broken - by_tests_of_their_own == set()
