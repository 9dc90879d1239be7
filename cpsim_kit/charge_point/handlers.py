"""How a charge point answers the CSMS's CALLs: the handlers, and the answer to each CALL. Does no I/O."""

from __future__ import annotations

import difflib
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ocpp.exceptions import NotImplementedError, NotSupportedError, OCPPError  # noqa: A004
from ocpp.routing import create_route_map

from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.ocpp_j.frames import Call, Error, Result, build
from cpsim_kit.ocpp_j.versions import Version

__all__ = ["Handler", "Handlers", "error_of", "refusal"]

logger = logging.getLogger("ocpp")

Handler = Callable[..., Any]


class Handlers:
    """The handlers of one charge point.

    Args:
        charge_point_id: The id of the charge point, for messages.
        version: The OCPP version that it speaks.
        owner: An object that may have methods with ``@on`` and ``@after`` of ``ocpp.routing``.
    """

    __slots__ = ("_after", "_find_other", "_handlers", "_id", "_unchecked", "_version")

    def __init__(self, charge_point_id: str, version: Version, owner: object) -> None:
        self._id = charge_point_id
        self._version = version
        self._handlers: dict[str, Handler] = {}
        self._after: dict[str, Handler] = {}
        self._find_other: Callable[[str], Handler | None] | None = None
        self._unchecked: frozenset[str] = frozenset()  # actions whose @on skips the schema validation
        if _has_routes(type(owner)):
            self._add_routes(owner)

    def on(self, action: str, handler: Handler) -> None:
        """Answer an action with this handler from now on. See ``ChargePoint.on``."""
        action = str(action)
        if action not in self._version.actions:
            close = difflib.get_close_matches(action, self._version.actions, n=3)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"{self._id}: OCPP {self._version.name} has no action {action!r}{hint}")
        if not callable(handler):
            raise TypeError(f"{self._id}: the handler of {action} is a function, not {handler!r}")
        self._handlers[action] = handler

    def on_other(self, find: Callable[[str], Handler | None]) -> None:
        """Look for a handler here where none was given. See ``ChargePoint.on_other``."""
        self._find_other = find

    async def answer(self, call: Call, reply: Callable[[bytes], Awaitable[None]]) -> None:
        """Call the handler of a CALL, send its answer with ``reply``, then call the ``@after`` handler."""
        message_id = call.message_id
        try:
            handler, values = self._prepare(call)
        except ProtocolViolation as exc:
            await reply(build(Error(message_id, self._version.code(exc.code), str(exc))))
            return
        try:
            result = await _invoke(handler, values, message_id)
            response = self._version.response(call.action)
            data = response.write(result) if call.action in self._unchecked else response.encode(result)
            if not isinstance(data, dict):
                raise TypeError(f"an answer is an object, not {result!r}")
            answer = build(Result(message_id, data))
        except Exception as exc:  # noqa: BLE001 - whatever a handler raises
            if not isinstance(exc, OCPPError):
                self._report(exc, call, f"the handler of {call.action} failed, or its answer is not valid")
            await reply(build(error_of(exc, message_id, self._version)))
        else:
            await reply(answer)
            if call.action in self._after:
                await self._finish(call, values)

    async def _finish(self, call: Call, values: dict[str, Any]) -> None:
        """Call the ``@after`` handler."""
        try:
            await _invoke(self._after[call.action], values, call.message_id)
        except Exception as exc:  # noqa: BLE001 - whatever a handler raises
            self._report(exc, call, f"the @after handler of {call.action} failed")

    def _report(self, exc: Exception, _call: Call, what: str) -> None:
        """Report that a handler failed, with its traceback."""
        logger.error("%s: %s", self._id, what, exc_info=exc)

    def _find(self, action: str) -> Handler:
        """The handler of an action.

        Raises:
            ProtocolViolation: There is none. The code is NotImplemented for an unknown action, and NotSupported for a
                known action without a handler (OCPP-J 1.6, table 7; OCPP 2.0.1 part 4, table 7).
        """
        if action not in self._version.actions:
            raise refusal("NotImplemented", f"{action} is not an action of OCPP {self._version.name}")
        handler = self._handlers.get(action)
        if handler is None and self._find_other is not None:
            handler = self._find_other(action)
        if handler is None:
            raise refusal("NotSupported", f"{self._id} has no handler for {action}")
        return handler

    def _prepare(self, call: Call) -> tuple[Handler, dict[str, Any]]:
        """The handler of a CALL, and its arguments.

        Raises:
            ProtocolViolation: There is no handler, or the payload is not valid.
        """
        action = call.action
        handler = self._find(action)
        payload = call.fields
        if not isinstance(payload, dict):
            raise refusal("FormatViolation", "the payload is not a JSON object")
        request = self._version.request(action)
        return handler, request.read(payload) if action in self._unchecked else request.decode(payload)

    def _add_routes(self, owner: object) -> None:
        unchecked = set()
        for action, route in create_route_map(owner).items():
            if "_on_action" in route:
                self._handlers[str(action)] = route["_on_action"]
                if route["_skip_schema_validation"]:
                    unchecked.add(str(action))
            if "_after_action" in route:
                self._after[str(action)] = route["_after_action"]
        self._unchecked = frozenset(unchecked)


def _find_routes(kind: type) -> bool:
    """Whether a class uses ``@on`` or ``@after``. The search takes a third of the time to make a charge point."""
    return bool(create_route_map(kind))


_has_routes: Callable[[type], bool] = functools.lru_cache(_find_routes)


# The ocpp package has the descriptions of these two errors the wrong way round.
_DESCRIPTIONS = {
    NotImplementedError: "The action is not known",
    NotSupportedError: "The action is known, but not supported",
}


def _description(exc: OCPPError) -> str:
    """The description of a handler's error; OCPP-J's description of the code where the handler gave none."""
    for kind, text in _DESCRIPTIONS.items():
        if isinstance(exc, kind) and exc.description == kind.default_description:
            return text
    return str(exc.description)


def error_of(exc: Exception, message_id: str, version: Version) -> Error:
    """The CALLERROR for an exception of a handler: an error of ``ocpp.exceptions`` names its code itself."""
    if isinstance(exc, OCPPError):
        return Error(message_id, version.code(getattr(exc, "code", "GenericError")), _description(exc), exc.details)
    return Error(message_id, "InternalError", f"{type(exc).__name__}: {exc}")


def refusal(code: str, text: str) -> ProtocolViolation:
    """The reason why a CALL is not given to a handler, with the code of the CALLERROR."""
    return ProtocolViolation(text, action="", path="", text=text, code=code)


async def _invoke(handler: Handler, values: dict[str, Any], message_id: str) -> Any:
    if "call_unique_id" in inspect.signature(handler).parameters:
        values = {**values, "call_unique_id": message_id}
    result = handler(**values)
    return await result if inspect.isawaitable(result) else result
