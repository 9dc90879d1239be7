"""An awaitable charge point: the face that a reader calls.

Its connection is in ``connection``, the messages on it in ``exchange``. It knows nothing of AWS.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import ssl as ssl_module
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from cpsim_kit.basics.cards import card
from cpsim_kit.basics.clock import notice_step, wall_clock
from cpsim_kit.charge_point.arguments import check_options, check_seconds, connection_url, handshake_headers
from cpsim_kit.charge_point.connection import Connection, ConnectionOptions
from cpsim_kit.charge_point.exchange import Exchange, PendingCall
from cpsim_kit.charge_point.handlers import Handler, Handlers
from cpsim_kit.charge_point.opening import open_websocket
from cpsim_kit.charge_point.transport import OpenTransport
from cpsim_kit.charge_point.websocket import check_close
from cpsim_kit.errors import Closed, ConnectionLost, CpsimError, ProtocolViolation, WaitTimeout
from cpsim_kit.ocpp_j.frames import dump_json
from cpsim_kit.ocpp_j.message_ids import MessageIds
from cpsim_kit.ocpp_j.payloads import UNCHECKED, Message
from cpsim_kit.ocpp_j.versions import Version, messages_of
from cpsim_kit.records.messages import MessageLog

__all__ = ["OWN_INTERVAL", "Beat", "ChargePoint"]

OWN_INTERVAL: float = 60  # seconds between heartbeats where the CSMS leaves the choice to the charge point

logger = logging.getLogger("ocpp")

_ACTION = re.compile(r"[A-Za-z0-9-]+")

# Charge point, action, when it was due, sent and answered (moments of perf_counter), and the error, if any.
Observer = Callable[["ChargePoint", str, float, float, float, BaseException | None], None]


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
        transport: Opens the connection; a ``Network`` has faults on purpose, e.g. ``Network(drop=0.1)``.
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
        boot_status: The status of the last BootNotification's answer, or "".
        ignored: Counts frames that matched nothing: "late", "duplicate", "unknown", "malformed".
    """

    # Python shares the keys of at most 30 attributes; with more, a dict for each of thousands takes 1.5 KiB.
    __slots__ = (
        "__dict__",  # for what a notebook or a subclass adds
        "__weakref__",
        "_call_timeout",
        "_close_listeners",
        "_connection",
        "_connection_options",
        "_exchange",
        "_handlers",
        "_heartbeat_interval",
        "_message_ids",
        "_messages",
        "_observe",
        "_open_listeners",
        "_opening",
        "_version",
        "_wake",
        "boot_status",
        "firmware_version",
        "id",
        "ignored",
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
        transport: OpenTransport = open_websocket,
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
            transport=transport,
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
        self._connection_options = ConnectionOptions(
            transport=transport,
            headers=handshake_headers(charge_point_id, self.url, headers, password),
            ssl=ssl,
            compression=compression,
            open_timeout=open_timeout,
            close_timeout=close_timeout,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            explain=explain,
        )
        self._call_timeout = call_timeout
        self._observe = observe
        self._messages = MessageLog(max_messages, charge_point_id=charge_point_id)
        self.boot_status = ""
        self.ignored: Counter[str] = Counter()
        self._heartbeat_interval: float | None = None
        self._handlers = Handlers(charge_point_id, self._version, self)
        self._message_ids = MessageIds()
        self._open_listeners: tuple[Callable[[], object], ...] = ()
        self._close_listeners: tuple[Callable[[ConnectionLost], object], ...] = ()
        self._wake: asyncio.Event | None = None  # set when the connection ends or the interval changes
        self._opening = asyncio.Lock()  # held while opening and while closing
        # The last connection, and what is said on it; made by connect().
        self._connection: Connection | None = None
        self._exchange: Exchange

    def __repr__(self) -> str:
        closed = self.closed
        state = "open" if self.is_open else "new" if closed is None else f"closed({closed.code})"
        boot = f" boot={self.boot_status}" if self.boot_status else ""
        return f"<ChargePoint {self.id} {state} {self._version.subprotocol}{boot}>"

    def _repr_html_(self) -> str:
        closed = self.closed
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
        state = "open" if self.is_open else "new" if closed is None else "closed"
        return card(f"ChargePoint {self.id}", state, rows)

    # -- Opening and closing ------------------------------------------------------------------------------------------

    # Not by AwaitedOrEntered, whose type cannot say that a subclass is awaited as itself.
    def __await__(self) -> Generator[Any, None, Self]:
        return self.connect().__await__()

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def messages(self) -> MessageLog:
        """Every frame sent and received; another log may be set."""
        return self._messages

    @messages.setter
    def messages(self, log: MessageLog) -> None:
        self._messages = log
        if self._connection is not None:
            self._exchange.log = log

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        return self._connection is not None and self._connection.closed is None

    @property
    def is_observed(self) -> bool:
        """Whether ``observe`` was given: then it is one of many, and less is logged as a warning."""
        return self._observe is not None

    @property
    def closed(self) -> Closed | None:
        """How the connection ended; None before it opened and while it is open."""
        return None if self._connection is None else self._connection.closed

    async def connect(self) -> Self:
        """Open the connection, or open it again after it closed; does nothing while it is open.

        Raises:
            ConnectError: It did not open: wrong address, TLS, HTTP status, no common subprotocol, or no answer in time.
        """
        async with self._opening:
            before = self._connection
            if before is not None:
                if before.closed is None and not before.is_closing:
                    return self
                await asyncio.wait([before.ended])
            notice_step()
            if not self._version.is_loaded:
                await asyncio.to_thread(self._version.load)
            connection = await Connection.open(self.id, self.url, self._version, self._connection_options)
            self._connection = connection
            self._exchange = Exchange(
                self.id,
                self._version,
                connection,
                self._handlers,
                self._messages,
                self._message_ids,
                self.ignored,
                is_quiet=self.is_observed,
            )
            connection.start(self._exchange.receive, self._on_end)
            for listener in self._open_listeners:
                self._tell(listener)
            return self

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
            connection = self._connection
            if connection is None:
                return
            connection.is_closing = True
            await self._exchange.stop_handlers(self._connection_options.close_timeout)
            await connection.close(code, reason)

    async def wait_closed(self, timeout: float | None = None) -> Closed:
        """Wait until the connection is closed, by whomever.

        Args:
            timeout: Seconds to wait; None for ever.

        Raises:
            WaitTimeout: It is still open.
        """
        connection = self._require_connected()
        if timeout is not None:
            check_seconds(f"{self.id}: timeout=", timeout)
        if connection.closed is None:
            await asyncio.wait([connection.ended], timeout=timeout)
        if connection.closed is None:
            raise WaitTimeout(f"{self.id} to be closed", timeout or 0, self)
        return connection.closed

    def on_open(self, callback: Callable[[], object]) -> None:
        """Call ``callback()`` each time the connection has opened. What it raises is logged."""
        self._open_listeners += (callback,)

    def on_close(self, callback: Callable[[ConnectionLost], object]) -> None:
        """Call ``callback(error)`` each time the connection has ended, with what a call would raise now.

        What it raises is logged. To wait for one end, use :meth:`wait_closed`.
        """
        self._close_listeners += (callback,)

    def _on_end(self) -> None:
        assert self._connection is not None
        self._exchange.end()
        self._wake_all()
        for listener in self._close_listeners:
            self._tell(listener, self._connection.lost())

    def _tell(self, listener: Callable[..., object], *arguments: object) -> None:
        try:
            listener(*arguments)
        except Exception:
            logger.exception("%s: a listener failed: %r", self.id, listener)

    # -- What a charge point says -------------------------------------------------------------------------------------

    @property
    def heartbeat_payload(self) -> Any:
        """``call.Heartbeat()`` of this version, for :meth:`call`, whose answer is not looked into further."""
        return self._version.calls.Heartbeat()

    @property
    def ping_interval(self) -> float | None:
        """Seconds between WebSocket keepalive pings; None for none. A new value counts at once."""
        return self._connection_options.ping_interval

    @ping_interval.setter
    def ping_interval(self, seconds: float | None) -> None:
        if seconds is not None:
            check_seconds(f"{self.id}: ping_interval=", seconds, above_zero=True)
        self._connection_options.ping_interval = seconds
        if self._connection is not None and self._connection.closed is None:
            self._connection.set_ping_interval(seconds)

    def set_password(self, password: str | bytes) -> None:
        """Use another password for HTTP Basic authentication from the next connection on.

        Raises:
            ValueError: The identity has a colon, or there is a user in the CSMS's address.
        """
        options = self._connection_options
        others = {name: value for name, value in options.headers.items() if name.lower() != "authorization"}
        options.headers = handshake_headers(self.id, self.url, others, password)

    @property
    def security_profile(self) -> int:
        """The security profile of OCPP that the connection has; 0 for none of them.

        1 has a password, 2 has TLS too, and 3 has a client certificate instead of a password. OCPP 2.0.1 part 2, A00.
        """
        options = self._connection_options
        has_password = any(name.lower() == "authorization" for name in options.headers)
        if not self.url.startswith("wss:"):
            return int(has_password)
        return 2 if has_password else 0 if options.ssl is None else 3

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
        answer, pending = await self._send(self.heartbeat_payload, timeout)
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
                if not self.is_open:
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
        return (await self._send(payload, timeout, due))[0]

    async def call_unchecked(self, action: str, payload: Mapping[str, Any], *, timeout: float | None = None) -> Any:
        """Send a CALL that need not be valid, and return the answer's payload as JSON data, not checked either.

        It is for trying out what a CSMS makes of a wrong message; :meth:`call` finds mistakes before they are sent.

        Args:
            action: Letters, digits and hyphens; OCPP need not have this action.
            payload: What JSON can hold, in the names of the schema.
            timeout: Seconds to wait for the answer once sent; ``call_timeout`` when None.

        Raises:
            ValueError: The action has other characters.
            ProtocolViolation: JSON cannot hold the payload, or the answer is not OCPP-J.
            NotRegistered, ConnectionLost, CallTimeout, CallFailed, UnsupportedByCsms: As :meth:`call`.
        """
        if not _ACTION.fullmatch(action):
            raise ValueError(f"{self.id}: an action is made of letters, digits and hyphens, not {action!r}")
        began = time.perf_counter()
        try:
            if timeout is not None:
                check_seconds(f"{self.id}: timeout=", timeout)
            data = dump_json(payload)
            self._require_connected()
            wait = self._call_timeout if timeout is None else timeout
            answer, pending = await self._exchange.call(action, data, UNCHECKED, wait)
        except BaseException as exc:
            self._report(action, began, began, time.perf_counter(), exc)
            raise
        self._report(action, began, pending.sent, pending.answered, None)
        return answer

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
        self._handlers.on(action, handler)

    def on_other(self, find: Callable[[str], Handler | None]) -> None:
        """Answer the CSMS's CALLs of all actions that no handler was given for.

        Args:
            find: Called with the action; returns a handler as :meth:`on` takes it, or None for CALLERROR NotSupported.
        """
        self._handlers.on_other(find)

    # -- Sending ------------------------------------------------------------------------------------------------------

    async def _send(self, payload: Any, timeout: float | None, due: float | None = None) -> tuple[Any, PendingCall]:
        """Send a CALL, and return its answer and its times; ``observe`` is called in any case."""
        began = time.perf_counter()
        if due is None:
            due = began
        try:
            if timeout is not None:
                check_seconds(f"{self.id}: timeout=", timeout)
            request, answer, data = self._encode(payload)
            self._require_connected()
            wait = self._call_timeout if timeout is None else timeout
            result, pending = await self._exchange.call(request.action, data, answer, wait)
        except BaseException as exc:
            self._report(type(payload).__name__, due, began, time.perf_counter(), exc)
            raise
        self._report(request.action, due, pending.sent, pending.answered, None)
        return result, pending

    def _report(self, action: str, due: float, sent: float, answered: float, error: BaseException | None) -> None:
        if self._observe is not None:
            try:
                self._observe(self, action, due, sent, answered, error)
            except Exception:
                logger.exception("%s: observe= failed on %s", self.id, action)

    def _encode(self, payload: Any) -> tuple[Message, Message, bytes]:
        """The request, the response that answers it, and the payload as JSON."""
        version, request, answer = messages_of(type(payload))
        if version is not self._version:
            raise TypeError(
                f"{self.id} speaks OCPP {self.version}, and {request.action} is of OCPP {version.name}: use the "
                f"dataclasses of {self._version.calls.__name__}, or ChargePoint(…, version={version.name!r})"
            )
        try:
            return request, answer, request.to_json(payload)
        except ProtocolViolation as exc:
            raise exc.of(self.id) from exc

    # -- State --------------------------------------------------------------------------------------------------------

    def _require_connected(self) -> Connection:
        if self._connection is None:
            raise RuntimeError(f"{self.id} is not connected; write `await cp`, or `async with … as cp`")
        return self._connection

    def _wake_all(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.set()

    async def _sleep(self, seconds: float) -> None:
        """Sleep until then, or until the connection ends or the interval changes."""
        if self._wake is None:
            self._wake = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _csms_time(self, text: str) -> datetime:
        try:
            moment = datetime.fromisoformat(text.upper())  # RFC 3339, 5.6: "t" and "z" may be lower-case
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError) as exc:
            message = f"{self.id}: answer to Heartbeat: currentTime is no time: {text!r}"
            raise ProtocolViolation(message, action="Heartbeat", path="currentTime", text=str(exc)) from exc
