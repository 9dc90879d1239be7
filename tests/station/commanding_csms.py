"""A CSMS on the ``ocpp`` package alone that sends every command, judges what follows, and may go away in the middle.

It is the strict CSMS, with the rules of `follow_ups`. Nothing of cpsim_kit is imported: requests are dataclasses of the
``ocpp`` package, and go through its ``call()``, which validates the charge point's answer.

    async with CommandingCsms("2.0.1") as csms:
        ...
        csms.leave = Leave("answered", "abort")
        await csms.charge_point("CP1").ask(call.Reset("Immediate"))
        await csms.gone.wait()
        csms.come_back()
        ...
        csms.check_all_followed()
        assert csms.violations == []
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from follow_ups import FollowUps
from ocpp import v21
from strict_connections import StationV16, StationV201, Violation
from strict_csms import StrictCsms
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

__all__ = ["CommandingCsms", "Leave"]


@dataclass(frozen=True)
class Leave:
    """When the CSMS goes away, and how.

    Attributes:
        at: "asked": with its next command; "answered": with the answer to it; else so many CALLs after that answer,
            before the last of them is answered.
        how: "abort" breaks the connection and refuses others; "silence" keeps it and says nothing more.
    """

    at: Literal["asked", "answered"] | int
    how: Literal["abort", "silence"]


class Commanded:
    """One connection of a charge point that gets commands: what all versions share."""

    csms: CommandingCsms
    id: str
    rules: Any
    _ws: ServerConnection

    async def _send(self, message: str) -> None:
        kind, message_id, *rest = json.loads(message)
        if kind == 2:
            self.csms.follow_ups(self.id).asked(message_id, *rest)
        elif self.csms.is_silent:
            return
        await super()._send(message)  # type: ignore[misc]
        if kind == 2 and self.csms.leave is not None:
            self.csms.countdown = self.csms.leave.at if isinstance(self.csms.leave.at, int) else None
            if self.csms.leave.at == "asked":
                self._go()

    async def route_message(self, raw_msg: str | bytes) -> None:
        csms, follow_ups = self.csms, self.csms.follow_ups(self.id)
        frame = json.loads(raw_msg)
        if csms.is_silent or csms.is_gone:
            return
        if frame[0] == 2 and csms.countdown is not None and csms.has_answer:
            csms.countdown -= 1
            if csms.countdown <= 0:
                self._go()
                return
        if frame[0] == 2:
            place = frame[3].get("evseId", frame[3].get("connectorId"))
            # A status that changes may come between the request for one and that one: it is not the one asked for.
            if frame[2] == "StatusNotification" and self.rules.has_status(frame[3]) and follow_ups.may_repeat(place):
                self.rules.forget_status(place)
            self.rules.is_boot_asked = follow_ups.is_boot_asked
            broken = follow_ups.said(*frame[2:4])
            csms.violations += [Violation(self.id, rule, text, frame) for rule, text in broken]
        else:
            follow_ups.answered(frame[1], frame[2] if frame[0] == 3 else None)
            csms.has_answer = True
        await super().route_message(raw_msg)  # type: ignore[misc]
        if frame[0] != 2 and csms.leave is not None and csms.leave.at == "answered":
            self._go()

    def _go(self) -> None:
        assert self.csms.leave is not None
        if self.csms.leave.how == "silence":
            self.csms.is_silent = True
        else:
            self.csms.is_gone = True
            self._ws.transport.abort()
        self.csms.gone.set()


class CommandedV16(Commanded, StationV16):
    """A connection of OCPP 1.6."""


class CommandedV201(Commanded, StationV201):
    """A connection of OCPP 2.0.1."""


class CommandedV21(Commanded, StationV201):
    """A connection of OCPP 2.1, whose messages have the fields of 2.0.1 as far as this CSMS goes."""

    _call = v21.call
    _call_result = v21.call_result
    _ocpp_version = "2.1"


class CommandingCsms(StrictCsms):
    """The server.

    Attributes:
        leave: When and how it goes away, with its next command.
        gone: Set while it is away.
        is_silent: It answers nothing.
        is_gone: It refuses connections.
        countdown: CALLs until it goes.
        has_answer: The command was answered with which it is to go away.
    """

    stations: ClassVar = {"1.6": CommandedV16, "2.0.1": CommandedV201, "2.1": CommandedV21}

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.leave: Leave | None = None
        self.gone = asyncio.Event()
        self.is_silent = self.is_gone = self.has_answer = False
        self.countdown: int | None = None
        self._follow_ups: dict[str, FollowUps] = {}
        self._serving: set[asyncio.Task[Any]] = set()

    def follow_ups(self, charge_point_id: str) -> FollowUps:
        """What a charge point owes."""
        return self._follow_ups.setdefault(charge_point_id, FollowUps())

    def check_all_followed(self) -> None:
        """Add a violation for each message that has to follow, and did not."""
        for identity, follow_ups in self._follow_ups.items():
            self.violations += [Violation(identity, rule, text, None) for rule, text in follow_ups.end()]

    def plan(self, leave: Leave) -> None:
        """Go away with the next command."""
        self.leave, self.has_answer, self.countdown = leave, False, None

    async def come_back(self) -> None:
        """Be there again, as after a new start: without the connections of before, and what they still hold."""
        self.leave, self.countdown = None, None
        self.is_gone = True
        for ws, _ in list(self._stations.values()):
            ws.transport.abort()
        if self._serving:
            await asyncio.wait(self._serving)
        self.is_silent = self.is_gone = False
        self.gone.clear()

    def admit(self, ws: ServerConnection, _request: Request) -> Response | None:
        return ws.respond(503, "not here\n") if self.is_gone else None

    async def _serve(self, ws: ServerConnection) -> None:
        assert ws.request is not None
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self.follow_ups(ws.request.path.rpartition("/")[2]).connected()
        await super()._serve(ws)
