"""The commands of the CSMS to a station: who carries them out, and who waits for one. The answers are the dialects'."""

from __future__ import annotations

import asyncio
import difflib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ocpp.exceptions import NotSupportedError, SecurityError

from cpsim_kit.station.dialects.handler import commands_frame

if TYPE_CHECKING:
    import pandas as pd

    from cpsim_kit.charge_point import ChargePoint
    from cpsim_kit.station.driver import Driver
    from cpsim_kit.station.rules.core import Core

__all__ = ["Command", "Commands"]

_KEPT = 100  # that nobody has waited for yet

Handler = Callable[..., Any]  # fields in snake_case -> a call_result dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A CALL of the CSMS, and what the station answered.

    Attributes:
        action: E.g. "RequestStartTransaction".
        payload: The fields in snake_case.
        answer: The ``call_result`` dataclass.
        at: When, by the station's clock.
    """

    action: str
    payload: Mapping[str, Any]
    answer: Any
    at: datetime


class Commands:
    """Answers the commands of the CSMS to one station.

    Args:
        core: The state and the rules.
        charge_point: The station's connection.
        driver: What drives the core.

    Attributes:
        are_refused: Whether the station is closed, and obeys no more.
    """

    __slots__ = ("_changed", "_charge_point", "_core", "_driver", "_handlers", "_unseen", "are_refused")

    def __init__(self, core: Core, charge_point: ChargePoint, driver: Driver) -> None:
        self._core = core
        self._charge_point = charge_point
        self._driver = driver
        self._handlers: dict[str, Handler] = {}
        self._unseen: list[Command] = []
        self._changed: asyncio.Event | None = None  # while somebody waits
        self.are_refused = False

    def to_frame(self) -> pd.DataFrame:
        """Every command that a CSMS may send in this version: see ``Station.commands``."""
        return commands_frame(self._core.dialect.commands, self._handlers)

    def set_handler(self, action: str, handler: Handler | None) -> None:
        """Let a function answer a command; None puts the station's own behaviour back.

        Raises:
            TypeError: The handler is no function.
            ValueError: A CSMS has no such command.
        """
        self.check(action)
        if handler is not None and not callable(handler):
            raise TypeError(f"{self._charge_point.id}: the handler of {action} is a function, not {handler!r}")
        self._handlers.pop(action, None)
        if handler is not None:
            self._handlers[action] = handler

    def find_handler(self, action: str) -> Handler | None:
        """What answers a command, for the charge point; None for an action that the version does not have."""
        return partial(self._answer, action) if action in self._core.dialect.commands else None

    def carry_out(self, action: str, fields: Mapping[str, Any]) -> Any:
        """Do what the station does by itself, and return its answer.

        Raises:
            OCPPError: It is answered with a CALLERROR.
            ValueError: A CSMS has no such command.
        """
        self.check(action)
        driver = self._driver
        interval, connection = driver.heartbeat_interval, driver.connection
        with driver.stopped_clock() as now:
            answer = self._core.dialect.commands[action].run(self._core, now, fields)
        driver.apply_connection(connection)
        if driver.heartbeat_interval != interval:
            driver.set_heartbeat_interval(driver.heartbeat_interval)
        return answer

    async def wait(self, action: str, require_running: Callable[[], object]) -> Command:
        """Wait for a command; one that came since the last wait counts.

        Args:
            action: E.g. "RequestStartTransaction".
            require_running: Raises where no more can come.
        """
        while True:
            for command in self._unseen:
                if command.action == action:
                    self._unseen.remove(command)
                    return command
            require_running()
            self._changed = self._changed or asyncio.Event()
            self._changed.clear()
            await self._changed.wait()

    def wake_up(self) -> None:
        """Let those who wait look again."""
        if self._changed is not None:
            self._changed.set()

    @property
    def unseen(self) -> list[str]:
        """The actions that came, and that nobody has waited for yet."""
        return [command.action for command in self._unseen]

    def check(self, action: str) -> None:
        """Check that a CSMS may send this command.

        Raises:
            ValueError: It has no such command in this version; the message says which ones are alike.
        """
        known = self._core.dialect.commands
        if action not in known:
            close = difflib.get_close_matches(action, known, n=3)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            name, version = self._charge_point.id, self._charge_point.version
            raise ValueError(f"{name} acts on the commands of OCPP {version}, not on {action!r}{hint}")

    def _answer(self, action: str, /, **fields: Any) -> Any:
        if self.are_refused:
            raise NotSupportedError(f"{self._charge_point.id} is closed")
        if self._charge_point.boot_status == "Rejected":
            if self._core.dialect.answers_when_rejected:
                raise SecurityError(f"the CSMS has rejected {self._charge_point.id}")
            raise asyncio.CancelledError  # this ends the task that would answer
        handler = self._handlers.get(action)
        answer = self.carry_out(action, fields) if handler is None else handler(**fields)
        if inspect.isawaitable(answer):
            return self._keep_later(action, fields, answer)
        self._keep(action, fields, answer)
        return answer

    async def _keep_later(self, action: str, fields: Mapping[str, Any], answer: Awaitable[Any]) -> Any:
        result = await answer
        self._keep(action, fields, result)
        return result

    def _keep(self, action: str, fields: Mapping[str, Any], answer: Any) -> None:
        """Keep a command for whoever waits for it."""
        now = datetime.fromtimestamp(self._core.epoch + self._driver.now(), UTC)
        self._unseen.append(Command(action, fields, answer, now))
        del self._unseen[:-_KEPT]
        self.wake_up()
