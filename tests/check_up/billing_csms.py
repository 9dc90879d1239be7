"""A CSMS on a real socket that answers and bills as it should, or with one fault on purpose.

    async with BillingCsms("2.0.1", fault="ended_first") as csms:
        report = await check_up(csms.url, "2.0.1", refused_token=REFUSED, ledger=csms.ledger)

It stands on ``csms_stub`` alone, and knows nothing of the checks but their messages. FAULTS says for each check the
mistake that only this check can find.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from csms_stub import Call, Csms, Link

REFUSED = "NOBODY"
INTERVAL = 300
OLD = timedelta(hours=1)

FAULTS = {
    "1.6": {
        "boot": "its interval is negative",
        "heartbeat_time": "its heartbeats tell the time of an hour ago",
        "unknown_action": "it answers every action with an empty CALLRESULT",
        "refused_token": "StartTransaction accepts every token",
        "cable_first": "it refuses to charge where the cable was there before the token",
        "token_first": "it refuses to charge where the token was there before the cable",
        "repeated_start": "each StartTransaction gets another id",
        "repeated_stop": "it refuses to stop what has stopped",
        "offline": "it refuses transactions that began hours ago",
        "unknown_transaction": "it refuses transaction ids that it did not give",
        "register_back": "it refuses a register below the one at the start",
        "unanswered_call": "it answers nothing while its own CALL is not answered",
    },
    "2.0.1": {
        "boot": "its interval is negative",
        "heartbeat_time": "its heartbeats tell the time of an hour ago",
        "unknown_action": "it answers CALLERROR NotSupported",
        "refused_token": "TransactionEvent accepts every token",
        "cable_first": "it looks at the token in Started events only",
        "token_first": "it refuses a Started event without EVSE",
        "repeated_event": "it adds up what each Ended event says",
        "offline": "it ignores the energy of events that are flagged as offline",
        "ended_first": "it bills the register that came last",
        "seq_no_gap": "it refuses an Updated event whose seqNo is not the next",
        "register_back": "it adds up each rise of the register",
        "unanswered_call": "it answers nothing while its own CALL is not answered",
    },
}
FAULTS["2.1"] = FAULTS["2.0.1"]


class Refused(Exception):
    """Answered with CALLERROR of this code."""


def now(ahead: timedelta = timedelta()) -> str:
    return (datetime.now(UTC) + ahead).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class BillingCsms:
    """The CSMS.

    Attributes:
        stub: The server.
        bills: Wh, by charge point and transaction.
        boots: What BootNotification is answered with, one after the other; the last one stays.
        silent: Actions that are not answered.
        sends_call: Whether it sends a CALL of its own after each StatusNotification.
    """

    def __init__(self, version: str, fault: str = "") -> None:
        assert fault in {"", *FAULTS[version]}
        self.version = version
        self.fault = fault
        self.stub = Csms()
        self.stub.on["*"] = self._behave
        self.bills: dict[tuple[str, str | int], float] = {}
        self.boots = ["Accepted"]
        self.silent: set[str] = set()
        self.sends_call = True
        self._numbers = itertools.count(1)
        self._ids: dict[str, int] = {}
        self._starts: dict[int, dict[str, Any]] = {}
        self._stopped: set[int] = set()
        self._said: defaultdict[Link, list[str]] = defaultdict(list)  # what happened on a connection
        self._own_calls: dict[Link, asyncio.Future[list[Any]]] = {}
        self._accepted: dict[Link, bool] = {}
        self._registers: defaultdict[str, list[float]] = defaultdict(list)
        self._events: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)

    @property
    def url(self) -> str:
        return self.stub.url

    async def ledger(self, charge_point_id: str, transaction_id: str | int) -> float | None:
        """What it bills."""
        return self.bills.get((charge_point_id, transaction_id))

    # -- Answers -------------------------------------------------------------------------------------------------------

    async def _behave(self, link: Link, call: Call) -> None:
        charge_point_id = link.ws.request.path.strip("/")
        if call.action in self.silent:
            return
        if self.fault == "unanswered_call" and link in self._own_calls:
            await self._own_calls[link]
        if call.action == "CpsimCheck":
            if self.fault != "unknown_action":
                await link.send([4, call.message_id, "NotImplemented", "what is that?", {}])
            elif self.version == "1.6":
                await link.send([3, call.message_id, {}])
            else:
                await link.send([4, call.message_id, "NotSupported", "", {}])
            return
        if call.action != "BootNotification" and not self._accepted.get(link, True):
            await link.send([4, call.message_id, "SecurityError", "", {}])
            return
        handler: Callable[[str, Link, Any], dict[str, Any]] = getattr(self, f"_{call.action}")
        try:
            answer = handler(charge_point_id, link, call.payload)
        except Refused as exc:
            await link.send([4, call.message_id, str(exc), "", {}])
        else:
            await link.answer(call, answer)
            if call.action == "StatusNotification" and self.sends_call:
                await self._send_call(link)

    async def _send_call(self, link: Link) -> None:
        message_id = f"csms-{next(self._numbers)}"
        self._own_calls[link] = self.stub._waiting[message_id] = asyncio.get_running_loop().create_future()
        await link.send([2, message_id, "GetLocalListVersion", {}])

    def _BootNotification(self, _id: str, link: Link, _payload: Any) -> dict[str, Any]:  # noqa: N802
        status = self.boots.pop(0) if len(self.boots) > 1 else self.boots[0]
        self._accepted[link] = status == "Accepted"
        interval = -1 if self.fault == "boot" else INTERVAL if status == "Accepted" else 0
        return {"currentTime": now(), "interval": interval, "status": status}

    def _Heartbeat(self, _id: str, _link: Link, _payload: Any) -> dict[str, Any]:  # noqa: N802
        return {"currentTime": now(-OLD if self.fault == "heartbeat_time" else timedelta())}

    def _StatusNotification(self, _id: str, link: Link, payload: Any) -> dict[str, Any]:  # noqa: N802
        status = payload.get("status", payload.get("connectorStatus"))
        self._said[link].append(status)
        said = self._said[link]
        if self.version == "1.6" and status == "Charging":
            first = "cable_first" if said.index("Preparing") < said.index("Authorize") else "token_first"
            if self.fault == first:
                raise Refused("InternalError")
        return {}

    def _status(self, token: str, *, in_transaction: bool) -> dict[str, Any]:
        knows = token != REFUSED or (self.fault == "refused_token" and in_transaction)
        return {"status": "Accepted" if knows else "Invalid"}

    def _Authorize(self, _id: str, link: Link, payload: Any) -> dict[str, Any]:  # noqa: N802
        self._said[link].append("Authorize")
        if self.version == "1.6":
            return {"idTagInfo": self._status(payload["idTag"], in_transaction=False)}
        return {"idTokenInfo": self._status(payload["idToken"]["idToken"], in_transaction=False)}

    # -- OCPP 1.6 ------------------------------------------------------------------------------------------------------

    def _StartTransaction(self, _id: str, _link: Link, payload: Any) -> dict[str, Any]:  # noqa: N802
        if self.fault == "offline" and datetime.fromisoformat(payload["timestamp"]) < datetime.now(UTC) - OLD:
            raise Refused("PropertyConstraintViolation")
        same = f"{_id} {payload}"
        if same not in self._ids or self.fault == "repeated_start":
            self._ids[same] = next(self._numbers)
        number = self._ids[same]
        self._starts[number] = payload
        return {"transactionId": number, "idTagInfo": self._status(payload["idTag"], in_transaction=True)}

    def _MeterValues(self, _id: str, _link: Link, payload: Any) -> dict[str, Any]:  # noqa: N802
        number = payload["transactionId"]
        if number not in self._starts:
            if self.fault == "unknown_transaction":
                raise Refused("PropertyConstraintViolation")
            return {}
        register = float(payload["meterValue"][0]["sampledValue"][0]["value"])
        if self.fault == "register_back" and register < self._starts[number]["meterStart"]:
            raise Refused("PropertyConstraintViolation")
        return {}

    def _StopTransaction(self, charge_point_id: str, _link: Link, payload: Any) -> dict[str, Any]:  # noqa: N802
        number = payload["transactionId"]
        if number not in self._starts:
            if self.fault == "unknown_transaction":
                raise Refused("PropertyConstraintViolation")
            return {}
        if self.fault == "repeated_stop" and number in self._stopped:
            raise Refused("InternalError")
        self._stopped.add(number)
        self.bills[charge_point_id, number] = payload["meterStop"] - self._starts[number]["meterStart"]
        return {}

    # -- OCPP 2.0.1 ----------------------------------------------------------------------------------------------------

    def _TransactionEvent(self, charge_point_id: str, _link: Link, payload: Any) -> dict[str, Any]:  # noqa: N802
        kind, name, seq_no = payload["eventType"], payload["transactionInfo"]["transactionId"], payload["seqNo"]
        events = self._events[name]
        if self.fault == "token_first" and kind == "Started" and "evse" not in payload:
            raise Refused("OccurenceConstraintViolation")
        if self.fault == "seq_no_gap" and kind == "Updated" and seq_no > max(events, default=-1) + 1:
            raise Refused("GenericError")
        is_new = seq_no not in events
        events[seq_no] = payload
        key = (charge_point_id, name)
        samples = [value for each in payload.get("meterValue", ()) for value in each["sampledValue"]]
        if samples and not (self.fault == "offline" and payload.get("offline")):
            self._bill(key, kind, {each["context"]: each["value"] for each in samples}, samples[-1]["value"], is_new)
        if "idToken" not in payload or (self.fault == "cable_first" and kind != "Started"):
            return {}
        return {"idTokenInfo": self._status(payload["idToken"]["idToken"], in_transaction=True)}

    def _bill(self, key: tuple[str, str], kind: str, values: dict[str, float], last: float, is_new: bool) -> None:
        registers = self._registers[key[1]]
        registers.append(last)
        if self.fault == "ended_first":
            self.bills[key] = last - registers[0]
        elif self.fault == "register_back":
            self.bills[key] = sum(max(0, b - a) for a, b in itertools.pairwise(registers))
        elif kind == "Ended":
            wh = values["Transaction.End"] - values["Transaction.Begin"]
            if self.fault == "repeated_event":
                self.bills[key] = self.bills.get(key, 0) + wh
            elif is_new:
                self.bills[key] = wh


@asynccontextmanager
async def billing_csms(version: str, fault: str = "") -> AsyncIterator[BillingCsms]:
    """The CSMS, running."""
    csms = BillingCsms(version, fault)
    async with csms.stub:
        yield csms
