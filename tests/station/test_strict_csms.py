"""The strict CSMS finds nothing in a correct session, and exactly the rule that a wrong one breaks.

The sessions are made by hand, message by message, with the kit's ChargePoint.
"""

from __future__ import annotations

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
