"""A CSMS that checks everything a charge point says, and was not made by the kit.

It stands on the ``ocpp`` package and ``websockets`` alone: nothing of cpsim_kit is imported, so that a mistake of the
kit's own frames, schemas or rules cannot hide behind itself. Each frame passes the package's schema validation, then
the rules in ``strict_v201`` or ``strict_v16``. What breaks one is written down and answered with CALLERROR.

    async with StrictCsms("2.0.1", tokens={"TAG-2": Token(status="Blocked")}) as csms:
        station = ...csms.url...
        await csms.charge_point("CP1").request_start_transaction("TAG-1", evse_id=1)
        ...
        csms.check_all_ended()
        assert csms.violations == []
        assert csms.ledger[transaction_id].wh == ...
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar, Self
from urllib.parse import unquote

from strict_connections import Memory, Message, StationV16, StationV201, Violation
from strict_rules import Reserved, Session, Token
from strict_v16 import RulesV16
from strict_v201 import RulesV201
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

__all__ = ["Message", "Reserved", "Session", "StrictCsms", "Token", "Violation"]


class StrictCsms:
    """The server, on a free port of 127.0.0.1.

    Args:
        version: "2.0.1" or "1.6".
        tokens: What is known of tokens; others are Accepted.
        heartbeat_interval: Seconds, for the answer to BootNotification.
        response_timeout: Seconds to wait for a charge point's answer.

    Attributes:
        violations: What charge points did wrong, in order.
        ledger: The transactions, by their ids.
        messages: Every frame, in order.
        failures: Errors of this CSMS itself; leaving ``async with`` fails where there is one.
        remote_start_ids: Those asked with.
        reservations: Those that each charge point has from the start, by their ids.
        numbers: For the ids of messages and remote starts.
    """

    stations: ClassVar[Mapping[str, type[Any]]] = {"1.6": StationV16, "2.0.1": StationV201}

    def __init__(
        self,
        version: str = "2.0.1",
        *,
        tokens: Mapping[str, Token] | None = None,
        heartbeat_interval: int = 300,
        response_timeout: float = 10,
    ) -> None:
        self.version = version
        self.tokens = dict(tokens or {})
        self.heartbeat_interval = heartbeat_interval
        self.response_timeout = response_timeout
        self.violations: list[Violation] = []
        self.ledger: dict[str | int, Session] = {}
        self.messages: list[Message] = []
        self.failures: list[Exception] = []
        self.remote_start_ids: set[int] = set()
        self.reservations: dict[int, Reserved] = {}
        self.numbers = itertools.count(1)
        self._station_class: type[Any] = self.stations[version]
        self._transaction_ids = itertools.count(1)
        self._memories: dict[str, Memory] = {}
        self._stations: dict[str, tuple[ServerConnection, Any]] = {}

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol(f"ocpp{self.version}")],
            process_request=self.admit,
            ping_interval=None,
            close_timeout=1,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        await self._server.wait_closed()
        assert not self.failures, f"the strict CSMS failed: {self.failures}"

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def rules_broken(self) -> list[str]:
        """The rules of the violations."""
        return [violation.rule for violation in self.violations]

    @property
    def connected(self) -> list[str]:
        """The charge points that are connected, oldest connection first."""
        return list(self._stations)

    def token(self, id_token: str) -> Token:
        """What is known of a token."""
        return self.tokens.get(id_token, Token())

    def charge_point(self, charge_point_id: str) -> Any:
        """The connected charge point, to ask it: a StationV201 or a StationV16.

        Raises:
            LookupError: It is not connected.
        """
        if charge_point_id not in self._stations:
            raise LookupError(f"{charge_point_id} is not connected; connected: {', '.join(self._stations) or 'none'}")
        return self._stations[charge_point_id][1]

    def check_all_ended(self) -> None:
        """Add a violation for each transaction that has not ended."""
        for identity, memory in self._memories.items():
            for transaction_id in memory.rules.open_transactions():
                self.violations.append(Violation(identity, "never_ended", f"{transaction_id} has not ended", None))

    def admit(self, ws: ServerConnection, request: Request) -> Response | None:
        """The answer to a connection that is refused; None for one that may open."""

    async def _serve(self, ws: ServerConnection) -> None:
        assert ws.request is not None
        identity = unquote(ws.request.path.rpartition("/")[2])
        if identity in self._stations:
            await self._stations[identity][0].close(1000, "another connection")
        if identity not in self._memories:
            self._memories[identity] = Memory(self._rules(identity))
        memory = self._memories[identity]
        async with memory.serving:  # what came on the last connection is looked at first
            memory.rules.connected()
            station = self._station_class(self, ws, identity, memory)
            self._stations[identity] = (ws, station)
            await station.start()
            if self._stations.get(identity) == (ws, station):
                del self._stations[identity]

    def _rules(self, identity: str) -> RulesV16 | RulesV201:
        rules: RulesV16 | RulesV201
        if self.version == "1.6":
            rules = RulesV16(identity, self.token, self.ledger, transaction_ids=self._transaction_ids)
        else:
            rules = RulesV201(identity, self.token, self.ledger, remote_start_ids=self.remote_start_ids)
        rules.reservations |= self.reservations
        rules.reservation_ids |= set(self.reservations)
        return rules
