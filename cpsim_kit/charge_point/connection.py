"""One connection of a charge point, from its opening to its end: how it closes, and why it ended.

What is said on it is the business of ``exchange``.
"""

from __future__ import annotations

import asyncio
import logging
import ssl as ssl_module
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cpsim_kit.charge_point.transport import OpenTransport, OtherSubprotocol, Transport
from cpsim_kit.errors import Closed, ConnectError, ConnectionLost, CpsimError, NotRegistered
from cpsim_kit.ocpp_j.versions import VERSIONS, Version

__all__ = ["Connection", "ConnectionOptions"]

logger = logging.getLogger("ocpp")

_NO_REASON = 80  # characters of an id: with so many, a close frame has no room for the gateway's 1008 and its reason
_HINTS = {
    ("gateway", 1000): "Another connection with the same id may have taken over, or the gateway ended it.",
    ("gateway", 1011): "The gateway failed inside. The AWS sample's does so with websockets 14 and newer.",
    ("network", 1006): "No close frame came: the gateway or the network went away. Open it again: await cp",
    ("network", 1007): "The gateway sent a text message that is not UTF-8, or a close reason: RFC 6455, 8.1.",
    ("network", 1009): "The gateway sent a frame of more than 1 MiB.",
}


@dataclass(slots=True)
class ConnectionOptions:
    """How a charge point connects; see ``ChargePoint``."""

    transport: OpenTransport
    headers: Mapping[str, str]
    ssl: ssl_module.SSLContext | None
    compression: str | None
    open_timeout: float
    close_timeout: float
    ping_interval: float | None
    ping_timeout: float | None
    explain: Callable[[], CpsimError | None] | None


class Connection:
    """An open connection.

    Args:
        charge_point_id: Whose it is, for messages.
        transport: The connection below.
        options: How it was opened.

    Attributes:
        closed: How it ended; None while it is open.
        ended: Done once it has ended and ``on_end`` has returned.
        is_closing: Whether this side began to close it.
    """

    __slots__ = ("_explaining", "_id", "_on_end", "_options", "_transport", "_why", "closed", "ended", "is_closing")

    def __init__(self, charge_point_id: str, transport: Transport, options: ConnectionOptions) -> None:
        self._id = charge_point_id
        self._transport = transport
        self._options = options
        self._on_end: Callable[[], None]
        self._explaining: asyncio.Task[None] | None = None
        self._why: CpsimError | None = None
        self.closed: Closed | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_closing = False

    @classmethod
    async def open(cls, charge_point_id: str, url: str, version: Version, options: ConnectionOptions) -> Connection:
        """Connect, and agree on the version's subprotocol.

        Raises:
            ConnectError: The connection does not open, or the other side does not speak this version.
        """
        try:
            transport = await options.transport(
                charge_point_id,
                url,
                subprotocol=version.subprotocol,
                headers=options.headers,
                ssl=options.ssl,
                compression=options.compression,
                open_timeout=options.open_timeout,
                close_timeout=options.close_timeout,
                ping_interval=options.ping_interval,
                ping_timeout=options.ping_timeout,
            )
        except OtherSubprotocol as exc:
            raise _does_not_speak(charge_point_id, url, version, exc.subprotocol) from exc.__cause__
        if transport.subprotocol is None:
            await transport.close()
            raise _does_not_speak(charge_point_id, url, version, None)
        return cls(charge_point_id, transport, options)

    def start(self, on_message: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """Receive messages until the connection ends; then call ``on_end``, when :attr:`closed` is set."""
        self._on_end = on_end
        self._transport.receive(on_message, self._on_closed)

    def set_ping_interval(self, seconds: float | None) -> None:
        """As :meth:`Transport.set_ping_interval`."""
        self._transport.set_ping_interval(seconds)

    def send_now(self, message: bytes) -> bool:
        """As :meth:`Transport.send_now`."""
        return self._transport.send_now(message)

    async def send(self, message: bytes) -> bool:
        """As :meth:`Transport.send`."""
        return await self._transport.send(message)

    async def close(self, code: int, reason: str) -> None:
        """Close it, and wait until it has ended."""
        self.is_closing = True
        try:
            await self._transport.close(code, reason)
        finally:
            self._transport.abort()  # where this was cancelled
            await asyncio.wait([self.ended])

    def lost(self) -> ConnectionLost:
        """Why the connection is no more, as an error that says what to do."""
        closed = self.closed or Closed(1006, "", "network")
        if closed.code == 1008 and "not registered" in closed.reason:
            return NotRegistered(self._id, closed=closed)
        if closed.by == "charge point":
            message = f"{self._id}: this connection was closed here; open it again: await cp"
            return ConnectionLost(message, closed=closed)
        if self._why is not None:
            error = ConnectionLost(f"{self._id}: connection lost: {self._why}", closed=closed)
            error.__cause__ = self._why
            return error
        reason = f": {closed.reason}" if closed.reason else ""
        hint = _HINTS.get((closed.by, closed.code), "")
        if (closed.by, closed.code) == ("network", 1011):
            hint = f"The gateway answered no ping within {self._options.ping_timeout} s. Open it again: await cp"
        if closed.code == 1006 and len(self._id) >= _NO_REASON:
            hint += f". Or no Thing has this id: the gateway cannot say so for an id of {_NO_REASON} characters or more"
        message = f"{self._id}: connection lost, code {closed.code}{reason}. {hint}".rstrip()
        return ConnectionLost(message, closed=closed)

    def _on_closed(self, closed: Closed) -> None:
        if closed.by == "network" and self.is_closing:
            closed = replace(closed, by="charge point")
        if closed.code == 1006 and closed.by == "network" and self._options.explain is not None:
            self._explaining = asyncio.create_task(self._find_reason(closed), name=f"cpsim[{self._id}].explain")
        else:
            self._end(closed)

    async def _find_reason(self, closed: Closed) -> None:
        """Ask ``explain=``, in a thread, as no close frame said why."""
        assert self._options.explain is not None
        try:
            self._why = await asyncio.to_thread(self._options.explain)
        except Exception:
            logger.exception("%s: explain= failed: why the connection was lost is not known", self._id)
        finally:
            self._end(closed)

    def _end(self, closed: Closed) -> None:
        self.closed = closed
        try:
            self._on_end()
        finally:
            self.ended.set_result(None)


def _does_not_speak(charge_point_id: str, url: str, version: Version, answered: str | None) -> ConnectError:
    """The error where the CSMS does not agree on this version's subprotocol; OCPP-J 2.0.1, 3.2."""
    message = f"{charge_point_id}: {url} does not speak {version.subprotocol} (OCPP {version.name})"
    gateway = 'The AWS OCPP Gateway lists ocpp1.6, ocpp2.0 and ocpp2.0.1: choose version="1.6" or version="2.0.1"'
    if answered is None:
        return ConnectError(f"{message}. {gateway}", url=url)
    name = answered.removeprefix("ocpp")
    hint = f': choose version="{name}"' if name in VERSIONS else f". {gateway}"
    return ConnectError(f"{message}, it answers with the subprotocol {answered!r}{hint}", url=url)
