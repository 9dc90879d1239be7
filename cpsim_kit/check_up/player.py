"""Carries out the steps of a check with a charge point. The thin shell: it decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from cpsim_kit.basics.waiting import poll_until
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.check_up.play import TOLERANCE_WH, Play
from cpsim_kit.check_up.steps import Answer, AwaitCall, Bill, CsmsCall, LookAtBill, Pause, Reconnect, Say, Script, Step
from cpsim_kit.check_up.verdicts import PASSED, Verdict, shorten
from cpsim_kit.errors import (
    CallFailed,
    CallTimeout,
    ConnectError,
    ConnectionLost,
    CpsimError,
    NotRegistered,
    ProtocolViolation,
    UnsupportedByCsms,
    WaitTimeout,
)
from cpsim_kit.ocpp_j.versions import Version

__all__ = ["Ledger", "NoBill", "Player", "SendCall"]

Ledger = Callable[[str, Any], Awaitable[float | None] | float | None]  # charge point id, transaction id -> Wh
SendCall = Callable[[str, str], Awaitable[None]]  # makes the CSMS send this action to this charge point

FAREWELL = 1  # seconds to wait for the answer to a message that ends what a check has left running
LONGEST_WAIT = 3  # seconds for a CALL that the CSMS may send by itself
PROBE = "GetLocalListVersion"  # a CALL that changes nothing, and that both versions have, with no fields


class NoBill(Exception):
    """Nobody can look at bills here; the text says why."""


class Player:
    """Plays checks with one charge point.

    Args:
        charge_point: Not connected yet.
        timeout: Seconds to wait for each answer, and for a bill.
        ledger: Looks at a bill; None where nobody can.
        why_no_bill: Called where the ledger has no bill: why that says nothing of the CSMS, or "".
        send_call: Makes the CSMS send a CALL; None where it has to do so by itself.
    """

    def __init__(
        self,
        charge_point: ChargePoint,
        *,
        timeout: float,
        ledger: Ledger | None,
        why_no_bill: Callable[[], str] = lambda: "",
        send_call: SendCall | None,
    ) -> None:
        self._charge_point = charge_point
        self._timeout = timeout
        self._ledger = ledger
        self._why_no_bill = why_no_bill
        self._send_call = send_call
        self._called: asyncio.Future[str] | None = None  # the first CALL that is left unanswered

    async def play(
        self, script: Callable[[Play], Script], play: Play, *, leaves_calls_unanswered: bool
    ) -> tuple[str, str]:
        """Play a check; the verdict, and what was seen.

        Raises:
            ConnectError: The charge point could not connect.
            NotRegistered: The gateway has no Thing of its id.
        """
        charge_point = self._charge_point
        if leaves_calls_unanswered:
            self._called = asyncio.get_running_loop().create_future()
            for action in Version.get(charge_point.version).actions:
                charge_point.on(action, self._never_answer(action))
        try:
            await charge_point.connect()
            try:
                await self._drive(script(play))
                verdict, seen = PASSED, play.seen()
            except Verdict as exc:
                verdict, seen = exc.name, str(exc)
            if (farewell := play.farewell()) is not None and charge_point.is_open:
                await self._call(farewell.action, dict(farewell.payload), min(self._timeout, FAREWELL))
            return verdict, seen
        finally:
            await charge_point.close()

    async def _drive(self, script: Script) -> None:
        result: Any = None
        while True:
            try:
                step = script.send(result)
            except StopIteration:
                return
            result = await self._perform(step)

    async def _perform(self, step: Step) -> Any:
        match step:
            case Say(action, payload):
                return await self._call(action, dict(payload), self._timeout)
            case Reconnect():
                return await self._reconnect()
            case Pause(seconds):
                with contextlib.suppress(WaitTimeout):
                    await self._charge_point.wait_closed(seconds)  # then the next message says so
                return None
            case AwaitCall():
                return await self._await_call()
            case LookAtBill(transaction_id, expected_wh):
                return await self._read_bill(transaction_id, expected_wh)

    async def _call(self, action: str, payload: dict[str, Any], timeout: float) -> Answer:
        try:
            answer = await self._charge_point.call_unchecked(action, payload, timeout=timeout)
        except NotRegistered:
            raise
        except CallFailed as exc:
            text = f"CALLERROR {shorten(exc.code)}" + (f" ({shorten(exc.description)})" if exc.description else "")
            return Answer(outcome=exc.outcome, text=text, code=exc.code)
        except CallTimeout as exc:
            return Answer(outcome=exc.outcome, text=f"no answer within {exc.waited:g} s")
        except ConnectionLost as exc:
            text = f"the connection ended, by the {exc.closed.by}: {shorten(str(exc.closed))}"
            return Answer(outcome=exc.outcome, text=text)
        except UnsupportedByCsms as exc:
            return Answer(outcome=exc.outcome, text=f'CALLRESULT {{"error": {shorten(json.dumps(exc.text))}}}')
        except ProtocolViolation as exc:
            return Answer(outcome=exc.outcome, text=f"no valid answer: {shorten(exc.text)}")
        return Answer(answer, at=datetime.now(UTC))

    async def _reconnect(self) -> str:
        await self._charge_point.close()
        try:
            await self._charge_point.connect()
        except ConnectError as exc:
            return str(exc)
        return ""

    def _never_answer(self, action: str) -> Callable[..., Awaitable[None]]:
        async def handler(**_fields: Any) -> None:
            assert self._called is not None
            if not self._called.done():
                self._called.set_result(action)
            await asyncio.Event().wait()  # until the connection is closed

        return handler

    async def _await_call(self) -> CsmsCall:
        assert self._called is not None
        origin = "of the CSMS"
        if self._send_call is not None and not self._called.done():
            try:
                await self._send_call(self._charge_point.id, PROBE)
            except CpsimError as exc:
                return CsmsCall("", f"no CALL could be sent in place of the CSMS: {exc}")
            origin = "sent in place of the CSMS"
        wait = self._timeout if self._send_call is not None else min(self._timeout, LONGEST_WAIT)
        await asyncio.wait([self._called], timeout=wait)
        if self._called.done():
            return CsmsCall(self._called.result(), origin)
        if self._send_call is not None:
            return CsmsCall("", f"{PROBE}, {origin}, did not come within {wait:g} s")
        return CsmsCall("", f"the CSMS sent no CALL by itself within {wait:g} s")

    async def _read_bill(self, transaction_id: str | int, expected_wh: float) -> Bill:
        if self._ledger is None:
            return Bill(not_seen="no ledger was given")
        ledger, last = self._ledger, Bill(failure=f"the ledger did not answer within {self._timeout:g} s")

        async def look() -> bool:
            nonlocal last
            try:
                wh = ledger(self._charge_point.id, transaction_id)
                last = Bill(await wh if inspect.isawaitable(wh) else wh)
                return last.wh is not None and abs(last.wh - expected_wh) <= TOLERANCE_WH
            except NoBill:
                raise
            except Exception as exc:  # noqa: BLE001 - a reader's function; the other checks go on
                last = Bill(failure=f"the ledger raised {shorten(repr(exc))}")
                return True

        try:
            await poll_until(look, "the bill", self._timeout)
        except NoBill as exc:
            return Bill(not_seen=str(exc))
        except WaitTimeout:
            if not last.failure and last.wh is None:
                return Bill(not_seen=self._why_no_bill())
        return last
