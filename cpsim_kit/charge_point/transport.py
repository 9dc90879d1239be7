"""What a charge point needs of the connection below it; ``opening`` opens one.

Another one can take its place: ``ChargePoint(…, transport=…)``. ``network`` wraps it, and loses messages on purpose.
"""

from __future__ import annotations

import ssl as ssl_module
from collections.abc import Callable, Mapping
from typing import Protocol

from cpsim_kit.errors import Closed

__all__ = ["OpenTransport", "OtherSubprotocol", "Transport"]


class Transport(Protocol):
    """An open connection that carries whole text messages.

    Attributes:
        subprotocol: The one that both sides agreed on; None for none.
    """

    subprotocol: str | None

    def send_now(self, message: bytes) -> bool:
        """Send a small message and return True; or return False where :meth:`send` would wait or fail."""
        ...

    async def send(self, message: bytes) -> bool:
        """Send a message, waiting while the send buffer is full; return False when the connection is closed."""
        ...

    def receive(self, on_message: Callable[[bytes], None], on_closed: Callable[[Closed], None]) -> None:
        """Call ``on_message`` with every message until the connection ends, then ``on_closed`` once.

        ``Closed.by`` is "gateway" if the other side began to close the connection, otherwise "network".
        """
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame, and wait a limited time for the other side's."""
        ...

    def abort(self) -> None:
        """Close the socket at once."""
        ...

    def set_ping_interval(self, seconds: float | None) -> None:
        """Send keepalive pings at this interval from now on; None for none."""
        ...

    def make_half_open(self) -> None:
        """Send and receive nothing any more, and do not close: a fault on purpose. Only :meth:`abort` works as before.

        Pings and close frames are lost too, so that the connection ends by its ``ping_timeout`` or ``close_timeout``.
        """
        ...


class OpenTransport(Protocol):
    """Opens a connection for a charge point."""

    async def __call__(
        self,
        charge_point_id: str,
        url: str,
        *,
        subprotocol: str,
        headers: Mapping[str, str],
        ssl: ssl_module.SSLContext | None,
        compression: str | None,
        open_timeout: float,
        close_timeout: float,
        ping_interval: float | None,
        ping_timeout: float | None,
    ) -> Transport:
        """Connect.

        Raises:
            ConnectError: The connection does not open.
            OtherSubprotocol: The other side agrees on a subprotocol that was not offered.
        """
        ...


class OtherSubprotocol(Exception):
    """The other side answers with a subprotocol that was not offered, which RFC 6455, 4.1 does not allow.

    Attributes:
        subprotocol: The subprotocol that it answers with.
    """

    def __init__(self, subprotocol: str) -> None:
        super().__init__(f"unsupported subprotocol: {subprotocol}")
        self.subprotocol = subprotocol
