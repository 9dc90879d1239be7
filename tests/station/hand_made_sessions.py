"""Sessions made by hand, message by message, with the kit's ChargePoint, and ways to make a mistake in one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ocpp.v16 import call as call16
from ocpp.v201 import call
from strict_csms import Reserved, StrictCsms, Token

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


TOKENS = {"TAG-2": Token(status="Blocked"), "TAG-1": Token(group="G")}
LATER = datetime(2026, 11, 28, tzinfo=UTC)
RESERVATIONS = {7: Reserved(None, "TAG-1", None, LATER), 9: Reserved(None, "TAG-3", None, LATER)}


async def broken_rules(
    version: str, session: Session, reservations: Mapping[int, Reserved] = RESERVATIONS
) -> tuple[list[str], list[CallFailed]]:
    async with StrictCsms(version, tokens=TOKENS) as csms:
        csms.remote_start_ids.add(900)
        csms.reservations |= reservations
        refusals = await play(csms, session)
        csms.check_all_ended()
    assert all(rule in refusal.details["rules"] for rule, refusal in zip(csms.rules_broken, refusals, strict=False))
    return csms.rules_broken, refusals


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
