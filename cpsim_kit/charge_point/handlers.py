"""How a charge point answers the CSMS's CALLs: the handlers, and what goes back for each."""

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
from cpsim_kit.ocpp_j import frames
from cpsim_kit.ocpp_j.frames import CALLERROR, CALLRESULT, Version

__all__ = ["Answering", "Handler", "error_frame"]

logger = logging.getLogger("ocpp")

Handler = Callable[..., Any]


class Answering:
    """The handlers of one charge point.

    Args:
        charge_point_id: Whose, for messages.
        version: The OCPP version it speaks.
        owner: What may have methods marked with ``@on`` and ``@after`` of ``ocpp.routing``.
    """

    __slots__ = ("_after", "_handlers", "_id", "_unchecked", "_version")

    def __init__(self, charge_point_id: str, version: Version, owner: object) -> None:
        self._id = charge_point_id
        self._version = version
        self._handlers: dict[str, Handler] = {}
        self._after: dict[str, Handler] = {}
        self._unchecked: frozenset[str] = frozenset()  # actions whose @on asked to skip schema validation
        if _has_routes(type(owner)):
            self._take_routes(owner)

    def on(self, action: str, handler: Handler) -> None:
        """Answer an action with this handler from now on; see ``ChargePoint.on``."""
        action = str(action)
        if action not in self._version.actions:
            close = difflib.get_close_matches(action, self._version.actions, n=3)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"{self._id}: OCPP {self._version.name} has no action {action!r}{hint}")
        if not callable(handler):
            raise TypeError(f"{self._id}: what answers {action} is a function, not {handler!r}")
        self._handlers[action] = handler

    async def answer(self, frame: list[Any], message_id: str, reply: Callable[[bytes], Awaitable[None]]) -> None:
        """Have a CALL's handler make the answer, send it by ``reply``, then run what is to run after it."""
        try:
            action, handler, values = self._read(frame)
        except ProtocolViolation as exc:
            await reply(error_frame(message_id, self._version.code(exc.code), str(exc)))
            return
        try:
            result = await _invoke(handler, values, message_id)
            response = self._version.response(action)
            data = response.write(result) if action in self._unchecked else response.encode(result)
            if not isinstance(data, dict):
                raise TypeError(f"an answer is an object, not {result!r}")
            answer = frames.dump_frame([CALLRESULT, message_id, data])
        except OCPPError as exc:
            code = self._version.code(getattr(exc, "code", "GenericError"))
            await reply(error_frame(message_id, code, _description(exc), exc.details))
        except Exception as exc:
            logger.exception("%s: the handler of %s failed, or its answer is not valid", self._id, action)
            await reply(error_frame(message_id, "InternalError", f"{type(exc).__name__}: {exc}"))
        else:
            await reply(answer)
            if action in self._after:
                try:
                    await _invoke(self._after[action], values, message_id)
                except Exception:
                    logger.exception("%s: what runs after %s failed", self._id, action)

    def _read(self, frame: list[Any]) -> tuple[str, Handler, dict[str, Any]]:
        """The action of a CALL, its handler, and the handler's arguments.

        Raises:
            ProtocolViolation: There are none. Its code is NotImplemented for an action that is not known, NotSupported
                for one that is known and has no handler (OCPP-J 1.6, table 7; OCPP 2.0.1 part 4, table 7).
        """
        if len(frame) != 4 or not isinstance(frame[2], str):
            raise _refusal("RpcFrameworkError", "a CALL is [2, message id, action, payload]")
        action, payload = frame[2], frame[3]
        if action not in self._version.actions:
            raise _refusal("NotImplemented", f"{action} is no action of OCPP {self._version.name}")
        handler = self._handlers.get(action)
        if handler is None:
            raise _refusal("NotSupported", f"{self._id} has no handler for {action}")
        if payload is None:  # another notation for an empty payload: OCPP-J 1.6, 4.2.1
            payload = {}
        if not isinstance(payload, dict):
            raise _refusal("FormatViolation", "the payload is not a JSON object")
        request = self._version.request(action)
        return action, handler, request.read(payload) if action in self._unchecked else request.decode(payload)

    def _take_routes(self, owner: object) -> None:
        unchecked = set()
        for action, route in create_route_map(owner).items():
            if "_on_action" in route:
                self._handlers[str(action)] = route["_on_action"]
                if route["_skip_schema_validation"]:
                    unchecked.add(str(action))
            if "_after_action" in route:
                self._after[str(action)] = route["_after_action"]
        self._unchecked = frozenset(unchecked)


def error_frame(message_id: str, code: str, description: str, details: Any = None, *, kind: int = CALLERROR) -> bytes:
    """A CALLERROR (or CALLRESULTERROR), whatever the text and the details are: OCPP-J allows 255 characters of text."""
    head = [kind, message_id, code, description.encode(errors="backslashreplace").decode()[:255]]
    try:
        return frames.dump_frame([*head, {} if details is None else details])
    except ProtocolViolation:
        return frames.dump_frame([*head, {}])  # JSON cannot hold the details


def _look_for_routes(kind: type) -> bool:
    """Whether a class has ``@on`` or ``@after``; to look for them in each charge point takes a third of its making."""
    return bool(create_route_map(kind))


_has_routes: Callable[[type], bool] = functools.lru_cache(_look_for_routes)


# The ocpp package describes each of these two as OCPP-J describes the other.
_DESCRIPTIONS = {
    NotImplementedError: "The action is not known",
    NotSupportedError: "The action is known, but not supported",
}


def _description(exc: OCPPError) -> str:
    """What a handler's error says, or what its kind means where it says nothing."""
    for kind, text in _DESCRIPTIONS.items():
        if isinstance(exc, kind) and exc.description == kind.default_description:
            return text
    return str(exc.description)


def _refusal(code: str, text: str) -> ProtocolViolation:
    return ProtocolViolation(text, action="", path="", text=text, code=code)


async def _invoke(handler: Handler, values: dict[str, Any], message_id: str) -> Any:
    if "call_unique_id" in inspect.signature(handler).parameters:
        values = {**values, "call_unique_id": message_id}
    result = handler(**values)
    return await result if inspect.isawaitable(result) else result
