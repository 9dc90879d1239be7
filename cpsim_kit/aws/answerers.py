"""Calls the handler of ``stack.answer_with``: a function for all CALLs, or methods with ``@on``. Does no I/O."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from ocpp.exceptions import NotImplementedError as OcppNotImplementedError
from ocpp.exceptions import OCPPError
from ocpp.routing import create_route_map

from cpsim_kit.charge_point.handlers import Handler, Handlers, error_of, refusal
from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.ocpp_j.closest_version import closest_version
from cpsim_kit.ocpp_j.frames import Call, Error, Result, build, load_json, parse
from cpsim_kit.ocpp_j.versions import Version, version_of

__all__ = ["Answerer", "Answerers", "Failure"]

logger = logging.getLogger("cpsim.answers")

_DEFAULT = "2.0.1"  # the version in whose spelling a CALLERROR is sent where the charge point's is not known


class Failure(NamedTuple):
    """A failure of a handler; ``what`` happened, where it was not an answer."""

    charge_point_id: str
    action: str
    error: BaseException
    what: str = ""


Reply = Callable[[bytes], Awaitable[None]]
Report = Callable[[Failure], None]
Publish = Callable[[str, bytes], None]
Spawn = Callable[[str, str, Coroutine[Any, Any, None]], None]


class Answerer(Protocol):
    """Answers the CALLs of one charge point."""

    def code(self, name: str) -> str: ...

    async def answer(self, call: Call, reply: Reply) -> None: ...


class Answerers:
    """One answerer for each charge point, made at its first CALL.

    Args:
        handler: A function, an object or a class; see ``Stack.answer_with``.
        report: Called with each failure of a handler.
        publish: Called with a charge point's id and a frame that is no answer.
        spawn: Called with a charge point's id, a role, and a coroutine to run in the background.

    Raises:
        TypeError: The handler is none of these, or takes other arguments.
    """

    def __init__(self, handler: Any, report: Report, publish: Publish, spawn: Spawn) -> None:
        self._handler = handler
        self._report, self._publish, self._spawn = report, publish, spawn
        self._made: dict[str, Answerer] = {}
        self.name = getattr(handler, "__qualname__", type(handler).__qualname__)
        self._is_routed = bool(create_route_map(handler))
        if self._is_routed:
            if inspect.isclass(handler) and _arguments_of(handler, "", None) is None:
                raise TypeError(
                    f"{self.name} takes other arguments than charge_point_id and connection (both, the first, or none)"
                )
            return
        if inspect.isclass(handler):
            raise TypeError(f"{self.name} has no methods with @on of ocpp.routing")
        if not callable(handler):
            raise TypeError(
                f"answer_with takes a function, or a class or object with @on methods of ocpp.routing, not {handler!r}"
            )
        if not _accepts(handler, "", "", {}):
            raise TypeError(f"{self.name} is called with three arguments: charge_point_id, action, payload")

    def of(self, charge_point_id: str) -> Answerer:
        """The answerer of a charge point. Raises what the reader's class raises when it is called."""
        if charge_point_id not in self._made:
            self._made[charge_point_id] = self._make(charge_point_id)
        return self._made[charge_point_id]

    def deliver(self, charge_point_id: str, message_id: str, frame: bytes) -> None:
        """Give a charge point's answer to the object that sent the CALL, if one did."""
        answerer = self._made.get(charge_point_id)
        if isinstance(answerer, _Routed) and message_id in answerer.asked:  # so it is a ChargePoint of the ocpp package
            answerer.asked.discard(message_id)
            self._spawn(charge_point_id, "route", answerer.owner.route_message(frame.decode(errors="replace")))

    def _make(self, charge_point_id: str) -> Answerer:
        if not self._is_routed:
            return _Function(charge_point_id, self._handler, self._report)
        return _Routed(charge_point_id, self._handler, self._report, self._publish, self._spawn)


class _Function:
    """Answers by a function that gets each payload as it came."""

    def __init__(self, charge_point_id: str, function: Callable[..., Any], report: Report) -> None:
        self._id = charge_point_id
        self._function = function
        self._report = report
        self._usual: Version | None = None

    def code(self, name: str) -> str:
        return (self._usual or Version.get(_DEFAULT)).code(name)

    async def answer(self, call: Call, reply: Reply) -> None:
        version, violation = closest_version(call.action, call.fields, self._usual)
        if version is not None and call.action == "BootNotification":
            self._usual = version
        spelling = version or self._usual or Version.get(_DEFAULT)
        if not isinstance(call.fields, dict):
            code = spelling.code("FormatViolation")
            await reply(build(Error(call.message_id, code, "the payload is not a JSON object")))
            return
        try:
            result = self._function(self._id, call.action, call.fields)
            if inspect.isawaitable(result):
                result = await result
            if not isinstance(result, dict):
                hint = "return a dict, or raise NotImplementedError"
                raise TypeError(f"the handler returned {result!r:.100} for {call.action}; {hint}")
            answer = self._build(call, result)
        except Exception as exc:  # noqa: BLE001 - whatever the reader's code raises
            if isinstance(exc, NotImplementedError):
                exc = OcppNotImplementedError(str(exc) or f"no handler for {call.action}")
            if not isinstance(exc, OCPPError):
                self._report(Failure(self._id, call.action, exc))
            await reply(build(error_of(exc, call.message_id, spelling)))
            return
        if version is not None and violation is None:
            self._check(version, call.action, answer)
        await reply(answer)

    def _build(self, call: Call, result: dict[str, Any]) -> bytes:
        try:
            return build(Result(call.message_id, result))
        except ProtocolViolation as exc:
            raise TypeError(
                f"the handler's answer to {call.action} cannot be written as JSON: {exc.text}; convert it first, e.g. "
                "by float(…), str(…) or list(…)"
            ) from None

    def _check(self, version: Version, action: str, answer: bytes) -> None:
        """Warn of an answer that breaks the schema; it is sent, as an experiment may want just that."""
        try:
            version.response(action).check(load_json(answer)[2])
        except ProtocolViolation as exc:
            logger.warning("%s: sent an answer that is not valid: %s", self._id, exc)


class _Routed:
    """Answers by methods with ``@on`` of an object.

    Attributes:
        owner: The object.
        asked: The message ids of CALLs that the object sent to the charge point, and that have no answer yet.
    """

    def __init__(self, charge_point_id: str, handler: Any, report: Report, publish: Publish, spawn: Spawn) -> None:
        self._id = charge_point_id
        self._report, self._publish, self._spawn = report, publish, spawn
        self._usual: Version | None = None
        self._handlers: dict[Version, _Routes] = {}
        self.asked: set[str] = set()
        self.owner = self._construct(handler) if inspect.isclass(handler) else handler
        self._actions = {str(action) for action, route in create_route_map(self.owner).items() if "_on_action" in route}
        self._fixed = _version_for(self.owner)

    def code(self, name: str) -> str:
        return (self._fixed or self._usual or Version.get(_DEFAULT)).code(name)

    async def answer(self, call: Call, reply: Reply) -> None:
        version, violation = self._fixed, None
        if version is None:
            version, violation = closest_version(call.action, call.fields, self._usual)
            if version is not None and call.action == "BootNotification":
                self._usual = version
        if call.action not in self._actions:
            await reply(build(Error(call.message_id, "NotImplemented", f"no handler for {call.action}")))
        elif version is None:
            assert violation is not None
            await reply(build(Error(call.message_id, self.code(violation.code), str(violation))))
        else:
            if version not in self._handlers:
                self._handlers[version] = _Routes(self._id, version, self.owner, self._report, self._spawn)
            await self._handlers[version].answer(call, reply)

    def _construct(self, kind: type) -> Any:
        """Make the object of a charge point, with as many of its id and a connection as the class takes."""
        arguments = _arguments_of(kind, self._id, self)
        assert arguments is not None  # Answerers has checked it
        return kind(*arguments)

    async def send(self, frame: str) -> None:
        """The connection of a ``ChargePoint`` of the ocpp package: publish a frame to the charge point."""
        call = parse(frame)
        if isinstance(call, Call):
            self.asked.add(call.message_id)
        self._publish(self._id, frame.encode())


class _Routes(Handlers):
    """The ``@on`` and ``@after`` methods of one object, for one version."""

    __slots__ = ("_on_failure", "_spawn")

    def __init__(self, charge_point_id: str, version: Version, owner: object, report: Report, spawn: Spawn) -> None:
        super().__init__(charge_point_id, version, owner)
        self._on_failure = report
        self._spawn = spawn

    def _find(self, action: str) -> Handler:
        handler = self._handlers.get(action)
        if handler is None:
            raise refusal("NotImplemented", f"no handler for {action}")
        return handler

    async def _finish(self, call: Call, values: dict[str, Any]) -> None:
        """Run ``@after`` in the background, as the ocpp package does: it may wait for the charge point's next CALL."""
        self._spawn(self._id, "after", self._finish_later(call, values))

    async def _finish_later(self, call: Call, values: dict[str, Any]) -> None:
        try:
            await super()._finish(call, values)
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._on_failure(Failure(self._id, call.action, exc, f"the @after handler of {call.action} failed"))

    def _report(self, exc: Exception, call: Call, what: str) -> None:
        self._on_failure(Failure(self._id, call.action, exc, what))


def _accepts(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a function or class can be called with so many arguments; True if its signature is not known."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _arguments_of(kind: type, charge_point_id: str, connection: Any) -> tuple[Any, ...] | None:
    """As many of these as a class takes; None if it takes others."""
    choices: list[tuple[Any, ...]] = [(charge_point_id, connection), (charge_point_id,), ()]
    return next((each for each in choices if _accepts(kind, *each)), None)


def _version_for(owner: object) -> Version | None:
    """The version of an object with ``@on``, by its base class, or the ``Action`` enums that it names; None if open."""
    kinds = [*type(owner).__mro__, *(type(action) for action in create_route_map(owner))]
    versions = {version for kind in kinds if (version := version_of(kind)) is not None}
    return versions.pop() if len(versions) == 1 else None
