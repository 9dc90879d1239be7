"""An awaitable charge point: OCPP-J over one WebSocket, one CALL at a time.

The WebSocket itself is behind ``transport``. It knows nothing of AWS.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import ssl as ssl_module
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self

from cpsim_kit.basics.cards import card
from cpsim_kit.basics.clock import notice_step, wall_clock
from cpsim_kit.charge_point.arguments import check_options, check_seconds, connection_url, handshake_headers
from cpsim_kit.charge_point.handlers import Answering, Handler, error_frame
from cpsim_kit.charge_point.opening import OtherSubprotocol, open_transport
from cpsim_kit.charge_point.transport import Transport, check_close
from cpsim_kit.errors import (
    CallFailed,
    CallTimeout,
    Closed,
    ConnectError,
    ConnectionLost,
    CpsimError,
    NotRegistered,
    ProtocolViolation,
    UnsupportedByCsms,
    WaitTimeout,
)
from cpsim_kit.ocpp_j import frames
from cpsim_kit.ocpp_j.frames import CALL, CALLERROR, CALLRESULT, CALLRESULTERROR, SEND, Message, Version
from cpsim_kit.ocpp_j.message_ids import MessageIds
from cpsim_kit.records.messages import MessageLog

__all__ = ["OWN_INTERVAL", "Beat", "ChargePoint"]

OWN_INTERVAL: float = 60  # seconds between heartbeats where the CSMS leaves the choice to the charge point

logger = logging.getLogger("ocpp")

_VERSIONS = ("1.6", "2.0.1", "2.1")

Version.get("2.0.1")  # imported now, so that the first charge point does not hold the event loop up

# Charge point, action, when it was due, sent and answered (moments of perf_counter), and the error, if any.
Observer = Callable[["ChargePoint", str, float, float, float, BaseException | None], None]

_NO_REASON = 80  # characters of an id: with so many, a close frame has no room for the gateway's 1008 and its reason


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat, answered.

    Attributes:
        sent_at: When it was sent, UTC.
        latency_ms: Milliseconds from sending to the answer.
        csms_time: The CSMS's clock, UTC; a time without zone is taken as UTC.
    """

    sent_at: datetime
    latency_ms: float
    csms_time: datetime


class _Pending:
    """The CALL that waits for its answer; it holds the turn until answered, timed out, or the connection closed."""

    __slots__ = ("action", "answer", "answered", "due", "future", "message_id", "sent", "wait")

    def __init__(self, action: str, message_id: str, answer: Message, future: asyncio.Future[Any], wait: float) -> None:
        self.action = action
        self.message_id = message_id
        self.answer = answer
        self.future = future
        self.wait = wait
        self.sent = self.answered = time.perf_counter()
        self.due = self.sent + wait


class ChargePoint:
    """A charge point (OCPP 2.0.1: Charging Station) connected to a CSMS; awaited or entered.

        cp = await ChargePoint("CP1", "ws://127.0.0.1:9000")
        async with ChargePoint("CP1", "ws://127.0.0.1:9000") as cp: ...

    Subclasses may answer the CSMS with ``@on`` and ``@after`` of ``ocpp.routing``; see also :meth:`on`.

    Args:
        charge_point_id: The identity; the last part of the address (OCPP-J 2.0.1 part 4, 3.1.1).
        url: The CSMS's address without the identity, ws:// or wss://; a query stays behind the identity.
        version: OCPP version: "1.6", "2.0.1" or "2.1".
        model: Reported at boot, like the following three.
        vendor_name: At most 50 characters (1.6: 20).
        serial_number: At most 25 characters.
        firmware_version: At most 50 characters.
        modem: Reported at boot too: ``{"iccid": …, "imsi": …}`` of its SIM card, each at most 20 characters; or None.
        password: For HTTP Basic authentication, with the identity as user name (OCPP security profiles 1 and 2). Of a
            hexadecimal AuthorizationKey of OCPP 1.6 the octets are meant: ``bytes.fromhex(key)``.
        ssl: A context for wss://, with a client certificate for security profile 3.
        headers: More headers of the opening handshake.
        compression: None, or "deflate" for permessage-deflate.
        open_timeout: Seconds to wait for the connection.
        call_timeout: Seconds to wait for an answer, unless a call says otherwise.
        close_timeout: Seconds to wait for handlers to end, and then for the other side's close frame.
        ping_interval: Seconds between WebSocket keepalive pings; None for none.
        ping_timeout: Seconds to wait for a pong before the connection counts as lost; None for ever.
        max_messages: How many frames :attr:`messages` keeps; None for all.
        observe: Called after every CALL, with this charge point, the action, the moments of ``time.perf_counter()`` at
            which the CALL was due, sent and answered (or given up), and the error or None. What it raises is logged.
        explain: Asked, in a thread, when the connection broke without a close frame: an error that says why, or None.

    Raises:
        TypeError: An argument is of a wrong type.
        ValueError: There can be no such identity, address, version, header or time to wait; an identity with a colon
            has a password; or ``max_messages`` is below 0.

    Attributes:
        id: The identity.
        url: The full address.
        version: The OCPP version's name.
        messages: Every frame sent and received, a :class:`~cpsim_kit.records.messages.MessageLog`.
        boot_status: The status of the last BootNotification's answer, or "".
        ignored: Counts frames that matched nothing: "late", "duplicate", "unknown", "malformed".
    """

    # Python shares the keys of at most 30 attributes; with more, a dict for each of thousands takes 1.5 KiB.
    __slots__ = (
        "__dict__",  # for what a notebook or a subclass adds
        "__weakref__",
        "_answering",
        "_call_timeout",
        "_close_timeout",
        "_closed",
        "_closing",
        "_compression",
        "_ended",
        "_explain",
        "_explaining",
        "_headers",
        "_heartbeat_interval",
        "_look_at",
        "_message_ids",
        "_observe",
        "_open_timeout",
        "_opening",
        "_pending",
        "_ping_interval",
        "_ping_timeout",
        "_ssl",
        "_tasks",
        "_timer",
        "_turn",
        "_version",
        "_wake",
        "_why",
        "_ws",
        "boot_status",
        "firmware_version",
        "id",
        "ignored",
        "messages",
        "model",
        "modem",
        "serial_number",
        "url",
        "vendor_name",
        "version",
    )

    def __init__(
        self,
        charge_point_id: str,
        url: str,
        *,
        version: str = "2.0.1",
        model: str = "CPSIM-1",
        vendor_name: str = "cpsim_kit",
        serial_number: str | None = None,
        firmware_version: str = "1.0.0",
        modem: Mapping[str, str] | None = None,
        password: str | bytes | None = None,
        ssl: ssl_module.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        compression: str | None = None,
        open_timeout: float = 10,
        call_timeout: float = 30,
        close_timeout: float = 5,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        max_messages: int | None = 10_000,
        observe: Observer | None = None,
        explain: Callable[[], CpsimError | None] | None = None,
    ) -> None:
        self.url = connection_url(charge_point_id, url)
        check_options(
            charge_point_id,
            version=version,
            modem=modem,
            ssl=ssl,
            compression=compression,
            max_messages=max_messages,
            observe=observe,
            explain=explain,
        )
        check_seconds(f"{charge_point_id}: open_timeout=", open_timeout)
        check_seconds(f"{charge_point_id}: call_timeout=", call_timeout)
        check_seconds(f"{charge_point_id}: close_timeout=", close_timeout)
        if ping_interval is not None:
            check_seconds(f"{charge_point_id}: ping_interval=", ping_interval, above_zero=True)
        if ping_timeout is not None:
            check_seconds(f"{charge_point_id}: ping_timeout=", ping_timeout)
        self.id = charge_point_id
        self._version = Version.get(version)
        self.version = version
        self.model = model
        self.vendor_name = vendor_name
        self.serial_number = f"SN-{charge_point_id}"[:25] if serial_number is None else serial_number
        self.firmware_version = firmware_version
        self.modem = modem
        self._headers = handshake_headers(charge_point_id, self.url, headers, password)
        self._ssl = ssl
        self._compression = compression
        self._open_timeout = open_timeout
        self._call_timeout = call_timeout
        self._close_timeout = close_timeout
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._observe = observe
        self._explain = explain
        self._why: CpsimError | None = None
        self.messages = MessageLog(max_messages, charge_point_id=charge_point_id)
        self.boot_status = ""
        self.ignored: Counter[str] = Counter()
        self._heartbeat_interval: float | None = None
        self._answering = Answering(charge_point_id, self._version, self)
        self._opening = asyncio.Lock()  # held while opening and while closing
        # One connection's state; made by connect().
        self._ws: Transport | None = None
        self._closed: Closed | None = None
        self._closing = False  # this side began to close
        self._ended: asyncio.Future[None] | None = None  # this side has dealt with the connection's end
        self._explaining: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn: asyncio.Lock
        self._wake: asyncio.Event | None = None  # made by the first that waits
        self._pending: _Pending | None = None
        self._timer: asyncio.TimerHandle | None = None  # looks for an overdue CALL, at this moment:
        self._look_at = math.inf
        self._message_ids = MessageIds()

    def __repr__(self) -> str:
        state = "new" if self._ws is None else "open" if self._closed is None else f"closed({self._closed.code})"
        boot = f" boot={self.boot_status}" if self.boot_status else ""
        return f"<ChargePoint {self.id} {state} {self._version.subprotocol}{boot}>"

    def _repr_html_(self) -> str:
        closed = self._closed
        rows = {
            "address": self.url,
            "OCPP": self.version,
            "model": f"{self.vendor_name} {self.model}, firmware {self.firmware_version}",
            "modem": ", ".join(f"{name} {value}" for name, value in (self.modem or {}).items()),
            "boot": self.boot_status,
            "heartbeat interval": None if self._heartbeat_interval is None else f"{self._heartbeat_interval:g} s",
            "frames": len(self.messages),
            "ignored frames": ", ".join(f"{count} {reason}" for reason, count in self.ignored.items()),
            "closed": None if closed is None else f"{closed.code} by the {closed.by} {closed.reason}".rstrip(),
        }
        state = "new" if self._ws is None else "open" if closed is None else "closed"
        return card(f"ChargePoint {self.id}", state, rows)

    # -- Opening and closing ------------------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, Self]:
        return self.connect().__await__()

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        return self._ws is not None and self._closed is None

    @property
    def closed(self) -> Closed | None:
        """How the connection ended; None before it opened and while it is open."""
        return self._closed

    async def connect(self) -> Self:
        """Open the connection, or open it again after it closed; does nothing while it is open.

        Raises:
            ConnectError: It did not open: wrong address, TLS, HTTP status, no common subprotocol, or no answer in time.
        """
        async with self._opening:
            if self.is_open and not self._closing:
                return self
            if self._ended is not None:
                await asyncio.wait([self._ended])
                async with self._turn:
                    pass  # calls that queued on the connection before have failed now
            notice_step()
            ws = await self._open()
            self._ws, self._closed, self._closing, self._why = ws, None, False, None
            self._turn, self._wake = asyncio.Lock(), None
            self._pending = None
            self._ended = asyncio.get_running_loop().create_future()
            ws.receive(self._receive, self._on_closed)
            return self

    async def _open(self) -> Transport:
        try:
            ws = await open_transport(
                self.id,
                self.url,
                subprotocol=self._version.subprotocol,
                headers=self._headers,
                ssl=self._ssl,
                compression=self._compression,
                open_timeout=self._open_timeout,
                close_timeout=self._close_timeout,
                ping_interval=self._ping_interval,
                ping_timeout=self._ping_timeout,
            )
        except OtherSubprotocol as exc:
            raise self._does_not_speak(exc.subprotocol) from exc.__cause__
        if ws.subprotocol is None:
            await ws.close()
            raise self._does_not_speak(None)
        return ws

    def _does_not_speak(self, answered: str | None) -> ConnectError:
        """The error where the CSMS does not agree on this version's subprotocol; OCPP-J 2.0.1, 3.2."""
        message = f"{self.id}: {self.url} does not speak {self._version.subprotocol} (OCPP {self.version})"
        gateway = 'The AWS OCPP Gateway lists ocpp1.6, ocpp2.0 and ocpp2.0.1: choose version="1.6" or version="2.0.1"'
        if answered is None:
            return ConnectError(f"{message}. {gateway}", url=self.url)
        name = answered.removeprefix("ocpp")
        hint = f': choose version="{name}"' if name in _VERSIONS else f". {gateway}"
        return ConnectError(f"{message}, it answers with the subprotocol {answered!r}{hint}", url=self.url)

    async def close(self, *, code: int = 1000, reason: str = "") -> None:
        """Close the connection; calls that wait fail with ConnectionLost. Closing twice is harmless.

        Handlers that are at work are cancelled first. One that goes on all the same is waited for ``close_timeout``
        seconds, and then left to itself: its answer is not sent.

        Args:
            code: The close code sent (RFC 6455 section 7.4).
            reason: The reason sent with it, at most 123 bytes.

        Raises:
            TypeError: The code is no number, or the reason no string.
            ValueError: A close frame cannot carry this code or reason.
        """
        check_close(code, reason)
        async with self._opening:
            ws, ended = self._ws, self._ended
            if ws is None or ended is None:
                return
            self._closing = True
            current = asyncio.current_task()
            tasks = [task for task in self._tasks if task is not current]
            for task in tasks:
                task.cancel()
            try:
                if tasks:
                    _, busy = await asyncio.wait(tasks, timeout=self._close_timeout)
                    if busy:
                        logger.warning("%s: closed while %d handlers go on, though cancelled", self.id, len(busy))
                await ws.close(code, reason)
            finally:
                ws.abort()  # where this was cancelled
                await asyncio.wait([ended])

    async def wait_closed(self, timeout: float | None = None) -> Closed:
        """Wait until the connection is closed, by whomever.

        Args:
            timeout: Seconds to wait; None for ever.

        Raises:
            WaitTimeout: It is still open.
        """
        self._require_connected()
        if timeout is not None:
            check_seconds(f"{self.id}: timeout=", timeout)
        try:
            async with asyncio.timeout(timeout):
                while self._closed is None:
                    await self._woken()
        except TimeoutError as exc:
            raise WaitTimeout(f"{self.id} to be closed", timeout or 0, self) from exc
        return self._closed

    def when_closed(self, callback: Callable[[ConnectionLost], object]) -> None:
        """Have this called, soon after the open connection has ended, with what a call would raise then.

        For those who keep many charge points; one is waited for by :meth:`wait_closed`.
        """
        self._require_connected()
        assert self._ended is not None
        self._ended.add_done_callback(lambda _: callback(self._lost()))

    # -- What a charge point says -------------------------------------------------------------------------------------

    @property
    def heartbeat_payload(self) -> Any:
        """``call.Heartbeat()`` of this version, for :meth:`call`, whose answer is not looked into further."""
        return self._version.calls.Heartbeat()

    @property
    def heartbeat_interval(self) -> float | None:
        """Seconds between heartbeats, as the CSMS instructed or as set here; None before the first boot."""
        return self._heartbeat_interval

    @heartbeat_interval.setter
    def heartbeat_interval(self, seconds: float) -> None:
        check_seconds(f"{self.id}: a heartbeat interval", seconds, above_zero=True)
        self._heartbeat_interval = seconds
        self._wake_all()

    async def boot(self, *, reason: str = "PowerUp", timeout: float | None = None) -> Any:
        """Send BootNotification and return the CSMS's answer.

        The status may be Accepted, Pending or Rejected; none of these is an error. When accepted, the interval of the
        answer becomes :attr:`heartbeat_interval`; 0 or less leaves the choice to the charge point, which keeps the
        interval it has, or takes 60 s. OCPP 2.0.1 part 2, B01-B03; OCPP 1.6, 4.2.

        Args:
            reason: A BootReasonEnumType value; OCPP 1.6 has none.
            timeout: Seconds to wait for the answer; ``call_timeout`` when None.

        Returns:
            ``call_result.BootNotification`` of the version: status, interval in seconds, and the CSMS's clock.

        Raises:
            NotRegistered: The gateway has no Thing of this id.
            ConnectionLost: The connection closed before the answer.
            CallTimeout: No answer in time.
            CallFailed: The CSMS answered CALLERROR.
            ProtocolViolation: An attribute or the answer breaks the schema.
        """
        calls = self._version.calls
        if self.version == "1.6":
            request = calls.BootNotification(
                charge_point_model=self.model,
                charge_point_vendor=self.vendor_name,
                charge_point_serial_number=self.serial_number,
                firmware_version=self.firmware_version,
                **(self.modem or {}),
            )
        else:
            station = self._version.datatypes.ChargingStationType(
                model=self.model,
                vendor_name=self.vendor_name,
                serial_number=self.serial_number,
                firmware_version=self.firmware_version,
                modem=self._version.datatypes.ModemType(**self.modem) if self.modem else None,
            )
            request = calls.BootNotification(charging_station=station, reason=reason)
        answer = await self.call(request, timeout=timeout)
        self.boot_status = str(answer.status)
        if self.boot_status == "Accepted" and answer.interval > 0:
            self.heartbeat_interval = answer.interval
        elif self.boot_status == "Accepted":
            self.heartbeat_interval = self._heartbeat_interval or OWN_INTERVAL
        return answer

    async def heartbeat(self, *, timeout: float | None = None) -> Beat:
        """Send one Heartbeat. OCPP 2.0.1 part 2, G02; OCPP 1.6, 4.6.

        Args:
            timeout: Seconds to wait for the answer; ``call_timeout`` when None.

        Raises:
            ConnectionLost: The connection closed before the answer.
            CallTimeout: No answer in time.
            CallFailed: The CSMS answered CALLERROR.
            ProtocolViolation: The answer breaks the schema, or its time is none.
        """
        answer, pending = await self._exchange(self.heartbeat_payload, timeout)
        latency_ms = (pending.answered - pending.sent) * 1000
        return Beat(wall_clock(pending.sent), latency_ms, self._csms_time(answer.current_time))

    async def heartbeats(
        self, count: int | None = None, interval: float | None = None, *, timeout: float | None = None
    ) -> AsyncGenerator[Beat, None]:
        """Heartbeats at the CSMS's interval, the first at once.

        They keep to a grid of intervals, so that slow answers add no drift; a beat that would be late by a whole
        interval is skipped. A changed :attr:`heartbeat_interval` takes effect at once. The iteration ends when this
        side closes the connection, and raises when it is lost.

        Args:
            count: How many; None for no end.
            interval: Seconds between two; :attr:`heartbeat_interval` when None.
            timeout: Seconds to wait for each answer; ``call_timeout`` when None.

        Raises:
            ValueError: There is no interval: neither given nor instructed by an accepted boot.
            ConnectionLost: The connection closed.
            CallTimeout: A heartbeat was not answered in time.
        """
        if interval is not None:
            check_seconds(f"{self.id}: a heartbeat interval", interval, above_zero=True)
        if interval is None and self._heartbeat_interval is None:
            raise ValueError(f"{self.id}: no heartbeat interval; boot first, or give interval= in seconds")
        loop = asyncio.get_running_loop()
        due, sent = loop.time(), 0
        while count is None or sent < count:
            try:
                beat = await self.heartbeat(timeout=timeout)
            except ConnectionLost as exc:
                if exc.closed.by == "charge point":
                    return
                raise
            sent += 1
            yield beat
            while count is None or sent < count:
                period = interval if interval is not None else self._heartbeat_interval
                assert period is not None
                now = loop.time()
                if self._closed is not None:
                    break
                if due + period <= now:
                    due += period * max(1, math.floor((now - due) / period))
                    break
                await self._sleep(due + period - now)

    async def call(self, payload: Any, *, timeout: float | None = None, due: float | None = None) -> Any:
        """Send a CALL and return the answer, waiting for its turn where another CALL is not answered yet.

        OCPP-J allows one outstanding CALL in each direction (2.0.1 part 4, 4.1.1; 1.6J, 4.1.1). A cancelled call keeps
        its turn until its answer came or its time is up.

        Args:
            payload: A ``call`` dataclass of the charge point's version, e.g. ``ocpp.v201.call.StatusNotification``.
            timeout: Seconds to wait for the answer once sent; ``call_timeout`` when None.
            due: The moment of ``time.perf_counter()`` at which it was meant to be sent, for ``observe``; now when None.

        Returns:
            The ``call_result`` dataclass of the same name; nested types are dicts in snake_case.

        Raises:
            TypeError: The payload is no ``call`` dataclass of this version.
            ProtocolViolation: The payload, or the answer, breaks the schema; nothing is sent in the first case.
            NotRegistered: The gateway has no Thing of this id.
            ConnectionLost: The connection closed before the answer.
            CallTimeout: No answer in time.
            CallFailed: The CSMS answered CALLERROR.
            UnsupportedByCsms: The AWS sample's message processor does not know the action.
        """
        return (await self._exchange(payload, timeout, due))[0]

    def on(self, action: str, handler: Handler) -> None:
        """Answer the CSMS's CALLs of an action.

        Args:
            action: E.g. "Reset".
            handler: Called with the payload's fields as keyword arguments (and ``call_unique_id`` if it names it);
                sync or async; returns the ``call_result`` dataclass. It may itself :meth:`call`.

        Raises:
            TypeError: The handler is no function.
            ValueError: The version has no such action.
        """
        self._answering.on(action, handler)

    # -- Sending ------------------------------------------------------------------------------------------------------

    async def _exchange(self, payload: Any, timeout: float | None, due: float | None = None) -> tuple[Any, _Pending]:
        began = time.perf_counter()
        try:
            if timeout is not None:
                check_seconds(f"{self.id}: timeout=", timeout)
            request, answer, data = self._write(payload)
            ws, turn = self._require_connected(), self._turn
            await turn.acquire()
            try:
                self._require_open()
                message_id = self._message_ids.make()
                frame = frames.call_frame(message_id, request.action, data)
                future = asyncio.get_running_loop().create_future()
                wait = self._call_timeout if timeout is None else timeout
                pending = _Pending(request.action, message_id, answer, future, wait)
            except BaseException:
                turn.release()
                raise
            self._pending = pending
            if pending.due < self._look_at:
                self._watch(pending)
            try:
                self._note_sent(frame)
                if not ws.send_now(frame):
                    with contextlib.suppress(TimeoutError):  # then _look() says so
                        async with asyncio.timeout(wait):  # a gateway that does not read leaves it in the send buffer
                            await ws.send(frame)
            except Exception:  # it was not sent, so no answer is to be waited for
                if self._pending is pending:
                    self._settle(pending, "late")
                raise
            else:
                result = await future  # _end() fails it where the connection is closed
            finally:
                future.cancel()
        except BaseException as exc:
            if self._observe is not None:
                action = type(payload).__name__
                try:
                    self._observe(self, action, began if due is None else due, began, time.perf_counter(), exc)
                except Exception:
                    logger.exception("%s: observe= failed on %s", self.id, action)
            raise
        if self._observe is not None:
            try:
                self._observe(self, request.action, began if due is None else due, pending.sent, pending.answered, None)
            except Exception:
                logger.exception("%s: observe= failed on %s", self.id, request.action)
        return result, pending

    def _write(self, payload: Any) -> tuple[Message, Message, bytes]:
        """The request, what answers it, and the payload as JSON."""
        version, request, answer = _messages_of(type(payload))
        if version is not self._version:
            raise TypeError(
                f"{self.id} speaks OCPP {self.version}, and {request.action} is of OCPP {version.name}: use the "
                f"dataclasses of {self._version.calls.__name__}, or ChargePoint(…, version={version.name!r})"
            )
        try:
            return request, answer, request.to_json(payload)
        except ProtocolViolation as exc:
            raise exc.of(self.id) from exc

    def _note_sent(self, frame: bytes) -> None:
        if logger.isEnabledFor(logging.INFO):
            logger.info("%s: send %s", self.id, frame.decode())
        self.messages.add(time.perf_counter(), frame, sent=True)

    def _watch(self, pending: _Pending) -> None:
        """Look at the CALL when it is due.

        One timer serves many CALLs, as most are answered long before: it stays, and looks for the one that waits then.
        """
        self._unwatch()
        self._look_at = pending.due
        self._timer = asyncio.get_running_loop().call_later(pending.due - time.perf_counter(), self._look)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._look_at = None, math.inf

    def _look(self) -> None:
        pending, looked_at = self._pending, self._look_at
        self._unwatch()
        if pending is None:
            return
        if pending.due > looked_at:
            self._watch(pending)
            return
        self._settle(pending, "late")
        if not pending.future.done():
            pending.future.set_exception(CallTimeout(self.id, pending.action, pending.message_id, pending.wait))

    def _settle(self, pending: _Pending, another_answer: Literal["late", "duplicate"]) -> None:
        """The CALL holds the turn no longer; another answer to it would be late or a duplicate."""
        self._pending = None
        if another_answer == "late":
            self._message_ids.give_up(pending.message_id)
        self._turn.release()

    # -- Receiving ----------------------------------------------------------------------------------------------------

    def _on_closed(self, closed: Closed) -> None:
        """The connection is no more; where nobody said why, ask who can tell."""
        if closed.by == "network" and self._closing:
            closed = replace(closed, by="charge point")
        if closed.code == 1006 and closed.by == "network" and self._explain is not None:
            self._explaining = asyncio.create_task(self._find_out(closed), name=f"cpsim[{self.id}].explain")
        else:
            self._end(closed)

    async def _find_out(self, closed: Closed) -> None:
        assert self._explain is not None
        try:
            self._why = await asyncio.to_thread(self._explain)
        except Exception:
            logger.exception("%s: cannot tell why the connection was lost", self.id)
        finally:
            self._end(closed)

    def _end(self, closed: Closed) -> None:
        """Fail what waits, and wake who waits for the end."""
        self._closed = closed
        self._fail_pending()
        self._unwatch()
        self._wake_all()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _fail_pending(self) -> None:
        pending = self._pending
        if pending is not None:
            self._settle(pending, "late")
            if not pending.future.done():
                pending.future.set_exception(self._lost())

    def _receive(self, frame: bytes) -> None:
        self.messages.add(time.perf_counter(), frame, sent=False)
        try:
            self._on_frame(frame)
        except Exception:
            logger.exception("%s: failed on %r", self.id, frame)

    def _on_frame(self, text: str | bytes) -> None:
        if logger.isEnabledFor(logging.INFO):
            logger.info("%s: receive message %s", self.id, _shown(text))
        try:
            frame = frames.load_frame(text)
        except ProtocolViolation as exc:
            pending = self._pending
            if pending is not None and frames.broken_answer_id(text) == pending.message_id:
                return self._on_answer([CALLRESULT, pending.message_id, exc], text)
            return self._ignore("malformed", text, str(exc))
        if not isinstance(frame, list) or len(frame) < 2:
            return self._ignore("malformed", text, "not an array of message type, message id, …")
        kind, message_id = frame[0], frame[1]
        if not isinstance(message_id, str):
            return self._ignore("malformed", text, "no message id")
        if kind == CALLRESULT:
            self._on_answer(frame, text)
        elif kind == CALL:
            reply = functools.partial(self._reply, self._require_connected())
            self._spawn(self._answering.answer(frame, message_id, reply), "handler")
        elif kind == CALLERROR:
            self._on_answer(frame, text)
        elif kind in (CALLRESULTERROR, SEND) and self.version == "2.1":
            self._ignore("unknown", text, f"{frames.KINDS[kind]}, which asks for no answer")
        elif self.version == "1.6":
            self._ignore("malformed", text, "message types other than 2, 3 and 4 are ignored: OCPP-J 1.6, 4.1.3")
        else:
            code = self._version.code("MessageTypeNotSupported")
            answer = error_frame(message_id, code, f"message type {kind!r} is not known")
            self._spawn(self._reply(self._require_connected(), answer), "answer")
        return None

    def _on_answer(self, frame: list[Any], text: str | bytes) -> None:
        pending, message_id = self._pending, frame[1]
        if pending is None or pending.message_id != message_id:
            return self._ignore(self._message_ids.settled(message_id), text, "no call waits for it")
        pending.answered = time.perf_counter()
        abandoned = pending.future.done()
        self._settle(pending, "duplicate")
        if abandoned:  # cancelled here, so no fault of the CSMS
            return self._ignore("late", text, f"{pending.action} was cancelled", level=logging.INFO)
        try:
            pending.future.set_result(self._answer_of(pending, frame))
        except (ProtocolViolation, CallFailed, UnsupportedByCsms) as exc:
            pending.future.set_exception(exc)
            if self.version == "2.1" and not isinstance(exc, CallFailed):  # OCPP 2.1 part 4; part 2, FR.06
                code = self._version.code(getattr(exc, "code", "FormatViolation"))
                complaint = error_frame(message_id, code, str(exc), kind=CALLRESULTERROR)
                self._spawn(self._reply(self._require_connected(), complaint), "answer")
        return None

    def _answer_of(self, pending: _Pending, frame: list[Any]) -> Any:
        if frame[0] == CALLERROR:
            raise CallFailed(self.id, pending.action, *frames.error_of(frame))
        try:
            payload = frames.result_of(frame, pending.action, self._version)
        except ProtocolViolation as exc:
            raise exc.of(self.id, "answer to ") from exc
        if isinstance(payload, dict) and len(payload) == 1 and isinstance(payload.get("error"), str):
            raise UnsupportedByCsms(self.id, pending.action, payload["error"])
        try:
            return pending.answer.decode_object(payload)
        except ProtocolViolation as exc:
            raise exc.of(self.id, "answer to ") from exc

    def _ignore(self, reason: str, text: str | bytes, why: str, *, level: int = logging.WARNING) -> None:
        self.ignored[reason] += 1
        if self._observe is not None:  # one of many: an overloaded CSMS would have each of them warn, again and again
            level = min(level, logging.INFO)
        logger.log(level, "%s: ignored (%s), %s: %s", self.id, reason, why, _shown(text))

    async def _reply(self, ws: Transport, frame: bytes) -> None:
        self._note_sent(frame)
        if not await ws.send(frame):
            logger.info("%s: the connection closed before an answer was sent", self.id)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], role: str) -> None:
        task = asyncio.create_task(coroutine, name=f"cpsim[{self.id}].{role}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- State --------------------------------------------------------------------------------------------------------

    def _require_connected(self) -> Transport:
        if self._ws is None:
            raise RuntimeError(f"{self.id} is not connected; write `await cp`, or `async with … as cp`")
        return self._ws

    def _require_open(self) -> None:
        if self._closed is not None:
            raise self._lost()

    def _lost(self) -> ConnectionLost:
        """Why the connection is no more, as an error that says what to do."""
        closed = self._closed or Closed(1006, "", "network")
        if closed.code == 1008 and "not registered" in closed.reason:
            return NotRegistered(self.id, closed=closed)
        if closed.by == "charge point":
            return ConnectionLost(f"{self.id}: this connection was closed here; open it again: await cp", closed=closed)
        hints = {
            ("gateway", 1000): "Another connection with the same id may have taken over, or the gateway ended it.",
            ("gateway", 1011): "The gateway failed inside. The AWS sample's does so with websockets 14 and newer.",
            ("network", 1006): "No close frame came: the gateway or the network went away. Open it again: await cp",
            ("network", 1007): "The gateway sent a text message that is not UTF-8, or a close reason: RFC 6455, 8.1.",
            ("network", 1009): "The gateway sent a frame of more than 1 MiB.",
            ("network", 1011): f"The gateway answered no ping within {self._ping_timeout} s. Open it again: await cp",
        }
        if self._why is not None:
            error = ConnectionLost(f"{self.id}: connection lost: {self._why}", closed=closed)
            error.__cause__ = self._why
            return error
        reason = f": {closed.reason}" if closed.reason else ""
        hint = hints.get((closed.by, closed.code), "")
        if closed.code == 1006 and len(self.id) >= _NO_REASON:
            hint += f". Or no Thing has this id: of one with {_NO_REASON} characters or more the gateway cannot say so"
        return ConnectionLost(f"{self.id}: connection lost, code {closed.code}{reason}. {hint}".rstrip(), closed=closed)

    def _wake_all(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.set()

    async def _woken(self) -> None:
        """Until something changes."""
        if self._wake is None:
            self._wake = asyncio.Event()
        await self._wake.wait()

    async def _sleep(self, seconds: float) -> None:
        """Sleep, until then or until something changes."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken()
        except TimeoutError:
            pass

    def _csms_time(self, text: str) -> datetime:
        try:
            moment = datetime.fromisoformat(text.upper())  # RFC 3339, 5.6: "t" and "z" may be lower-case
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError) as exc:
            message = f"{self.id}: answer to Heartbeat: currentTime is no time: {text!r}"
            raise ProtocolViolation(message, action="Heartbeat", path="currentTime", text=str(exc)) from exc


def _find_messages(kind: type) -> tuple[Version, Message, Message]:
    """The version, request and response of a ``call`` dataclass."""
    version = frames.version_of(kind)
    return version, version.request(kind.__name__), version.response(kind.__name__)


_messages_of: Callable[[type], tuple[Version, Message, Message]] = functools.cache(_find_messages)


def _shown(text: str | bytes) -> str:
    return text.decode(errors="backslashreplace") if isinstance(text, bytes) else text
