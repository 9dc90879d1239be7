"""One connection of a charge point to the strict CSMS: what it answers, and what it asks, in each version.

The ``ocpp`` package's ChargePoint validates, routes and answers; the rules judge. Nothing of cpsim_kit is imported.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from ocpp import v16, v201
from ocpp.exceptions import NotImplementedError as ActionNotImplemented
from ocpp.exceptions import (
    NotSupportedError,
    OCPPError,
    PropertyConstraintViolationError,
    SecurityError,
)
from ocpp.messages import unpack
from ocpp.routing import on
from strict_rules import Reserved
from strict_v16 import RulesV16
from strict_v201 import RulesV201
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from strict_csms import StrictCsms

logger = logging.getLogger("strict_csms")

SENT_AGAIN = {"MeterValues", "StartTransaction", "StopTransaction", "TransactionEvent"}  # until they are answered


Handler = TypeVar("Handler", bound=Callable[..., Any])


def answers(action: str) -> Callable[[Handler], Handler]:
    """The ocpp package's ``@on``, with a type."""
    decorator: Callable[[Handler], Handler] = on(action)
    return decorator


@dataclass(frozen=True)
class Violation:
    """What a charge point did wrong.

    Attributes:
        rule: Its short name, e.g. "seq_no_gap"; "schema", "frame" and "answer" are those of OCPP-J.
        text: A sentence with the values.
        frame: The frame, as it was received.
    """

    charge_point_id: str
    rule: str
    text: str
    frame: Any


@dataclass(frozen=True)
class Message:
    """A frame of a connection; the direction is "in" or "out", as the CSMS sees it."""

    charge_point_id: str
    direction: str
    frame: Any


class Judge:
    """One connection of a charge point: what both versions share. The ocpp package's ChargePoint is behind it."""

    rules: Any

    def __init__(self, csms: StrictCsms, ws: ServerConnection, charge_point_id: str, memory: Memory) -> None:
        super().__init__(charge_point_id, ws, csms.response_timeout, logger)  # type: ignore[call-arg]
        self.csms = csms
        self._ws = ws
        self.id = charge_point_id
        self.rules = memory.rules
        self._memory = memory
        self._frame: Any = None  # the one that is being handled
        self._unanswered = 0  # CALLs of the charge point
        self._asked: set[str] = set()
        self._answers: dict[str, Any] = {}
        self._has_ended = asyncio.Event()  # what came before the connection closed is handled

    # -- What comes in and goes out: overrides of ocpp.charge_point.ChargePoint ---------------------------------------

    async def start(self) -> None:
        """Handle frames until the connection is closed, those that came before its end as well.

        Reading goes on while a frame is handled: only so can be seen that a CALL did not wait for the answer before.
        """
        frames: asyncio.Queue[str | bytes] = asyncio.Queue()
        worker = asyncio.create_task(self._handle(frames))
        try:
            while True:
                raw = await self._ws.recv()
                if self._unanswered and raw[:2] in ("[2", b"[2"):
                    text = "a CALL before the answer to the last one (OCPP-J, part 4, 4.1.1)"
                    self.csms.violations.append(Violation(self.id, "overlap", text, raw))
                self._unanswered += raw[:2] in ("[2", b"[2")
                frames.put_nowait(raw)
        except ConnectionClosed:
            await frames.join()
        finally:
            self._has_ended.set()
            worker.cancel()

    async def _handle(self, frames: asyncio.Queue[str | bytes]) -> None:
        while True:
            raw = await frames.get()
            try:
                await self.route_message(raw)
            except ConnectionClosed:
                pass  # the answer came too late
            except Exception as exc:  # noqa: BLE001 - told when the CSMS closes; here it would be lost with the task
                self.csms.failures.append(exc)
            finally:
                self._unanswered -= raw[:2] in ("[2", b"[2")
                frames.task_done()

    async def route_message(self, raw_msg: str | bytes) -> None:
        """Write a frame down, and refuse what is no OCPP-J."""
        try:
            self._frame = json.loads(raw_msg)
            message = unpack(raw_msg)
        except (OCPPError, ValueError) as error:
            self._frame = raw_msg
            self._violated("frame", f"no OCPP-J frame: {error}")
            return
        self.csms.messages.append(Message(self.id, "in", self._frame))
        if isinstance(raw_msg, bytes):
            self._violated("frame", "a binary frame; OCPP-J has text frames")
        if message.message_type_id != 2:
            if message.unique_id not in self._asked:
                self._violated("answer", f"nobody asked {message.unique_id}")
                return
            self._asked.discard(message.unique_id)
            self._answers[message.unique_id] = self._frame
        await super().route_message(raw_msg)  # type: ignore[misc]

    async def _handle_call(self, msg: Any) -> Any:
        try:
            return await super()._handle_call(msg)  # type: ignore[misc]
        except (ActionNotImplemented, NotSupportedError) as error:
            self._violated("unknown_action", f"{msg.action}: {error.description}")
            raise
        except OCPPError as error:
            self._violated("schema", f"{msg.action}: {error.details.get('cause', error)}")
            raise type(error)(error.description, {"cause": str(error.details.get("cause"))}) from None

    async def _send(self, message: str) -> None:
        frame = json.loads(message)
        if frame[0] == 2:
            self._asked.add(frame[1])
        self.csms.messages.append(Message(self.id, "out", frame))
        await super()._send(message)  # type: ignore[misc]

    async def ask(self, request: Any) -> Any:
        """Send a CALL; the answer's dataclass.

        Raises:
            OCPPError: The charge point answered CALLERROR, or broke the schema (which is a violation, too).
            TimeoutError: It did not answer.
            ConnectionError: The connection closed before the answer.
        """
        message_id = f"strict-{next(self.csms.numbers)}"
        call = self.call(request, suppress=False, unique_id=message_id)  # type: ignore[attr-defined]
        try:
            return await self._unless_closed(asyncio.ensure_future(call), message_id, type(request).__name__)
        except OCPPError as error:
            self._frame = self._answers.get(message_id)
            if self._frame is not None and self._frame[0] == 3:
                self._violated("schema", f"answer to {type(request).__name__}: {error.details.get('cause', error)}")
            raise

    async def _unless_closed(self, call: asyncio.Future[Any], message_id: str, action: str) -> Any:
        """The call's answer; the ocpp package itself does not notice a lost connection."""
        ended = asyncio.ensure_future(self._has_ended.wait())
        try:
            await asyncio.wait([call, ended], return_when=asyncio.FIRST_COMPLETED)
            if not call.done() and message_id not in self._answers:  # an answer may have come just before the end
                raise ConnectionError(f"{self.id} was disconnected before it answered {action}")
            return await call
        finally:
            call.cancel()
            ended.cancel()

    # -- Judging ------------------------------------------------------------------------------------------------------

    def _violated(self, rule: str, text: str) -> None:
        self.csms.violations.append(Violation(self.id, rule, text, self._frame))

    def judge(self, action: str, payload: Mapping[str, Any], answer: Callable[[], Any]) -> Any:
        """The answer to a request that breaks no rule; else CALLERROR.

        A transaction's message is sent again after a CALLERROR, and where the connection was lost before its answer,
        which only the last one can be (OCPP 2.0.1 E13, 1.6 3.7.1): it gets the same answer again, and is not judged
        twice.
        """
        try:
            again = {name: value for name, value in payload.items() if name != "offline"}
            key = f"{action} {json.dumps(again, sort_keys=True)}"
            if key in self._memory.refused:
                raise self._memory.refused[key]
            if self._memory.last is not None and self._memory.last[0] == key:
                _, connection, answered = self._memory.last
                if connection is not self:
                    self._memory.last = (key, self, answered)
                    return answered
            found = self.rules.check(action, payload)
            for rule, text in found.items():
                self._violated(rule, text)
            if found:
                error = SecurityError if "boot" in found else PropertyConstraintViolationError  # B01.FR.10
                refusal = error("; ".join(found.values())[:255], {"rules": ", ".join(found)})
                if action in SENT_AGAIN and "boot" not in found:
                    self._memory.refused[key] = refusal
                raise refusal
            result = answer()
            if action in SENT_AGAIN:
                self._memory.last = (key, self, result)
        except OCPPError:
            raise
        except Exception as exc:  # the ocpp package would answer InternalError, and nobody would notice
            self.csms.failures.append(exc)
            raise
        return result

    async def reserve(self, number: int, reserved: Reserved, request: Any) -> Any:
        """Ask for a reservation; its status may come before this goes on, so that it is written down first."""
        before = self.rules.reservations.get(number)
        self.rules.reservation_ids.add(number)
        self.rules.reservations[number] = reserved
        answer = await self.ask(request)
        if answer.status != "Accepted":
            del self.rules.reservations[number]
            if before is not None:
                self.rules.reservations[number] = before
        return answer

    async def cancel(self, number: int, request: Any) -> Any:
        """Ask to take a reservation away."""
        answer = await self.ask(request)
        if answer.status == "Accepted":
            self.rules.reservations.pop(number, None)
        return answer

    def accept(self, action: str, payload: Mapping[str, Any]) -> Any:
        """The empty answer, or CALLERROR."""
        return self.judge(action, payload, getattr(self._call_result, action))  # type: ignore[attr-defined]

    def status_of(self, token: str, *, in_transaction: bool) -> str:
        """What is said about a token."""
        known = self.csms.token(token)
        if not in_transaction:
            (self.rules.refused_tokens.discard if known.status == "Accepted" else self.rules.refused_tokens.add)(token)
            return known.status
        return known.status_in_transaction or known.status


class StationV201(Judge, v201.ChargePoint):  # type: ignore[misc]
    """A connection of a charging station, OCPP 2.0.1."""

    @answers("BootNotification")
    def on_boot(self, **payload: Any) -> Any:
        answer = v201.call_result.BootNotification(now(), self.csms.heartbeat_interval, "Accepted")
        return self.judge("BootNotification", payload, lambda: answer)

    @answers("Heartbeat")
    def on_heartbeat(self, **payload: Any) -> Any:
        return self.judge("Heartbeat", payload, lambda: v201.call_result.Heartbeat(now()))

    @answers("Authorize")
    def on_authorize(self, **payload: Any) -> Any:
        token = payload["id_token"]["id_token"]
        return self.judge(
            "Authorize",
            payload,
            lambda: v201.call_result.Authorize(self._token_info(token, in_transaction=False)),
        )

    @answers("TransactionEvent")
    def on_transaction_event(self, **payload: Any) -> Any:
        def answer() -> Any:
            if "id_token" not in payload:
                return v201.call_result.TransactionEvent()
            info = self._token_info(payload["id_token"]["id_token"], in_transaction=True)
            if info.status != "Accepted":
                self.rules.refused_in_transaction(payload["transaction_info"]["transaction_id"])
            return v201.call_result.TransactionEvent(id_token_info=info)

        return self.judge("TransactionEvent", payload, answer)

    @answers("DataTransfer")
    def on_data_transfer(self, **payload: Any) -> Any:
        return self.judge("DataTransfer", payload, lambda: v201.call_result.DataTransfer("UnknownVendorId"))

    @answers("MeterValues")
    def on_meter_values(self, **payload: Any) -> Any:
        return self.accept("MeterValues", payload)

    @answers("StatusNotification")
    def on_status(self, **payload: Any) -> Any:
        return self.accept("StatusNotification", payload)

    @answers("SecurityEventNotification")
    def on_security_event(self, **payload: Any) -> Any:
        return self.accept("SecurityEventNotification", payload)

    @answers("NotifyEvent")
    def on_notify_event(self, **payload: Any) -> Any:
        return self.accept("NotifyEvent", payload)

    @answers("NotifyReport")
    def on_notify_report(self, **payload: Any) -> Any:
        return self.accept("NotifyReport", payload)

    @answers("FirmwareStatusNotification")
    def on_firmware_status(self, **payload: Any) -> Any:
        return self.accept("FirmwareStatusNotification", payload)

    @answers("LogStatusNotification")
    def on_log_status(self, **payload: Any) -> Any:
        return self.accept("LogStatusNotification", payload)

    @answers("ReservationStatusUpdate")
    def on_reservation_status(self, **payload: Any) -> Any:
        return self.accept("ReservationStatusUpdate", payload)

    @answers("ReportChargingProfiles")
    def on_charging_profiles(self, **payload: Any) -> Any:
        return self.accept("ReportChargingProfiles", payload)

    async def request_start_transaction(
        self, token: str, *, evse_id: int | None = None, remote_start_id: int | None = None, **more: Any
    ) -> v201.call_result.RequestStartTransaction:
        """Ask for a transaction; a remoteStartId not used before, unless given."""
        remote_start_id = next(self.csms.numbers) if remote_start_id is None else remote_start_id
        self.csms.remote_start_ids.add(remote_start_id)
        id_token = v201.datatypes.IdTokenType(token, "ISO14443")
        return await self.ask(v201.call.RequestStartTransaction(id_token, remote_start_id, evse_id, **more))

    async def reserve_now(
        self, number: int, token: str, until: datetime, *, evse_id: int | None = None, group: str | None = None
    ) -> v201.call_result.ReserveNow:
        request = v201.call.ReserveNow(
            number,
            until.isoformat(),
            v201.datatypes.IdTokenType(token, "ISO14443"),
            evse_id=evse_id,
            group_id_token=None if group is None else v201.datatypes.IdTokenType(group, "Central"),
        )
        return await self.reserve(number, Reserved(evse_id, token, group, until), request)

    async def cancel_reservation(self, number: int) -> v201.call_result.CancelReservation:
        return await self.cancel(number, v201.call.CancelReservation(number))

    async def request_stop_transaction(self, transaction_id: str) -> v201.call_result.RequestStopTransaction:
        return await self.ask(v201.call.RequestStopTransaction(transaction_id))

    async def get_variables(self, *names: str) -> dict[str, str | None]:
        """The values of variables, each named "Component.Variable"; None where there is no such value."""
        data = [v201.datatypes.GetVariableDataType(*component_and_variable(name)) for name in names]
        answer = await self.ask(v201.call.GetVariables(data))
        return dict(zip(names, (each.get("attribute_value") for each in answer.get_variable_result), strict=True))

    async def set_variables(self, values: Mapping[str, str]) -> dict[str, str]:
        """Set variables, each named "Component.Variable"; the status of each."""
        data = [v201.datatypes.SetVariableDataType(v, *component_and_variable(name)) for name, v in values.items()]
        answer = await self.ask(v201.call.SetVariables(data))
        return dict(zip(values, (each["attribute_status"] for each in answer.set_variable_result), strict=True))

    def _token_info(self, token: str, *, in_transaction: bool) -> v201.datatypes.IdTokenInfoType:
        group = self.csms.token(token).group
        return v201.datatypes.IdTokenInfoType(
            self.status_of(token, in_transaction=in_transaction),
            group_id_token=None if group is None else v201.datatypes.IdTokenType(group, "Central"),
        )


class StationV16(Judge, v16.ChargePoint):  # type: ignore[misc]
    """A connection of a charge point, OCPP 1.6."""

    @answers("BootNotification")
    def on_boot(self, **payload: Any) -> Any:
        answer = v16.call_result.BootNotification(now(), self.csms.heartbeat_interval, "Accepted")
        return self.judge("BootNotification", payload, lambda: answer)

    @answers("Heartbeat")
    def on_heartbeat(self, **payload: Any) -> Any:
        return self.judge("Heartbeat", payload, lambda: v16.call_result.Heartbeat(now()))

    @answers("Authorize")
    def on_authorize(self, **payload: Any) -> Any:
        tag = payload["id_tag"]
        return self.judge(
            "Authorize", payload, lambda: v16.call_result.Authorize(self._tag_info(tag, in_transaction=False))
        )

    @answers("StartTransaction")
    def on_start(self, **payload: Any) -> Any:
        info = self._tag_info(payload["id_tag"], in_transaction=True)
        return self.judge(
            "StartTransaction", payload, lambda: v16.call_result.StartTransaction(self.rules.started.id, info)
        )

    @answers("StopTransaction")
    def on_stop(self, **payload: Any) -> Any:
        tag = payload.get("id_tag")
        info = None if tag is None else self._tag_info(tag, in_transaction=True)
        return self.judge("StopTransaction", payload, lambda: v16.call_result.StopTransaction(info))

    @answers("DataTransfer")
    def on_data_transfer(self, **payload: Any) -> Any:
        return self.judge("DataTransfer", payload, lambda: v16.call_result.DataTransfer("UnknownVendorId"))

    @answers("MeterValues")
    def on_meter_values(self, **payload: Any) -> Any:
        return self.accept("MeterValues", payload)

    @answers("StatusNotification")
    def on_status(self, **payload: Any) -> Any:
        return self.accept("StatusNotification", payload)

    @answers("FirmwareStatusNotification")
    def on_firmware_status(self, **payload: Any) -> Any:
        return self.accept("FirmwareStatusNotification", payload)

    @answers("DiagnosticsStatusNotification")
    def on_diagnostics_status(self, **payload: Any) -> Any:
        return self.accept("DiagnosticsStatusNotification", payload)

    @answers("LogStatusNotification")
    def on_log_status(self, **payload: Any) -> Any:
        return self.accept("LogStatusNotification", payload)

    @answers("SignedFirmwareStatusNotification")
    def on_signed_firmware_status(self, **payload: Any) -> Any:
        return self.accept("SignedFirmwareStatusNotification", payload)

    @answers("SecurityEventNotification")
    def on_security_event(self, **payload: Any) -> Any:
        return self.accept("SecurityEventNotification", payload)

    async def remote_start_transaction(
        self, id_tag: str, *, connector_id: int | None = None, **more: Any
    ) -> v16.call_result.RemoteStartTransaction:
        return await self.ask(v16.call.RemoteStartTransaction(id_tag, connector_id, **more))

    async def reserve_now(
        self, number: int, id_tag: str, until: datetime, *, connector_id: int = 0, group: str | None = None
    ) -> v16.call_result.ReserveNow:
        request = v16.call.ReserveNow(connector_id, until.isoformat(), id_tag, number, parent_id_tag=group)
        return await self.reserve(number, Reserved(connector_id or None, id_tag, group, until), request)

    async def cancel_reservation(self, number: int) -> v16.call_result.CancelReservation:
        return await self.cancel(number, v16.call.CancelReservation(number))

    async def remote_stop_transaction(self, transaction_id: int) -> v16.call_result.RemoteStopTransaction:
        answer = await self.ask(v16.call.RemoteStopTransaction(transaction_id))
        if answer.status == "Accepted":
            self.rules.remote_stop_accepted(transaction_id)
        return answer

    async def get_configuration(self, *keys: str) -> dict[str, str | None]:
        """The values of configuration keys, all of them unless named; None where there is no such value."""
        answer = await self.ask(v16.call.GetConfiguration(list(keys) or None))
        values: dict[str, str | None] = dict.fromkeys(keys)
        return values | {entry["key"]: entry.get("value") for entry in answer.configuration_key or ()}

    async def change_configuration(self, key: str, value: str) -> str:
        """Change a configuration key; the status."""
        answer = await self.ask(v16.call.ChangeConfiguration(key, value))
        return str(answer.status)

    def _tag_info(self, tag: str, *, in_transaction: bool) -> v16.datatypes.IdTagInfo:
        status = self.status_of(tag, in_transaction=in_transaction)
        return v16.datatypes.IdTagInfo(status, parent_id_tag=self.csms.token(tag).group)


def now() -> str:
    """The time, in OCPP's form."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def component_and_variable(name: str) -> tuple[v201.datatypes.ComponentType, v201.datatypes.VariableType]:
    """The two of a name such as "TxCtrlr.TxStartPoint"."""
    component, variable = name.split(".")
    return v201.datatypes.ComponentType(component), v201.datatypes.VariableType(variable)


class Memory:
    """What is kept of a charge point from one connection to the next.

    Attributes:
        refused: The CALLERROR of each request that is sent again until it is answered otherwise.
        last: The last such request that was answered well, with its connection and its answer.
        serving: Held while a connection is served.
    """

    def __init__(self, rules: RulesV16 | RulesV201) -> None:
        self.rules = rules
        self.serving = asyncio.Lock()
        self.refused: dict[str, OCPPError] = {}
        self.last: tuple[str, Judge, Any] | None = None
