"""Answers charge points by a function or a class, in the place of the stack's own CSMS. ``stack.answer_with``.

The answers are published on the same MQTT connection that the messages come from: the broker has them before it notices
that the connection has ended, so that it knows what is left unanswered.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import traceback
from collections import Counter, deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from cpsim_kit.aws.answerers import Answerer, Answerers, Failure
from cpsim_kit.aws.mqtt import MqttConnection
from cpsim_kit.aws.topics import MOST_PAYLOAD, STAND_IN
from cpsim_kit.basics.addresses import MqttEndpoint
from cpsim_kit.basics.cards import card
from cpsim_kit.errors import AwsError, ProtocolViolation, WaitTimeout
from cpsim_kit.ocpp_j.frames import Call, Error, Malformed, Result, build, parse

__all__ = ["Answers"]

logger = logging.getLogger("cpsim.answers")

_MOST_ERRORS = 100
_GRACE = 2.0  # seconds for cancelled handlers to end
_OWN = frozenset({"cpsim_kit", "ocpp"})  # packages whose frames tell a reader nothing of the handler


class Answers:
    """The answers of a handler to the CALLs of charge points, from the moment it is entered until the block ends.

        async with stack.answer_with(handler) as answers:
            await cp.boot()

    The CALLs of one charge point are handled one after the other, those of different charge points at the same time.

    Args:
        endpoint: Returns where to connect; called before each connection.
        handler: A function, an object, or a class; see ``Stack.answer_with``.
        others: The Answers of the same stack that are open; at most one is.
        silence: Entered once this is subscribed, and left before it unsubscribes: for a CSMS that does not step aside
            by itself. Around both moments a CALL may be answered twice, but not by nobody.

    Raises:
        TypeError: The handler is none of these, or takes other arguments.

    Attributes:
        answered: How many CALLRESULTs were sent.
        refused: How many CALLERRORs were sent on purpose: there is no handler, the payload breaks the schema, or the
            handler raised NotImplementedError or an error of ``ocpp.exceptions``.
        failed: How many handlers failed; the charge point got CALLERROR InternalError, or (``@after``) had its answer.
        errors: The exceptions of handlers that failed, with the traceback; the last hundred.
        actions: How often each action was asked.
    """

    def __init__(
        self,
        endpoint: Callable[[], MqttEndpoint],
        handler: Any,
        *,
        others: list[Answers] | None = None,
        silence: contextlib.AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        self._answerers = Answerers(handler, self._report, self._publish, self._spawn)
        self._others = [] if others is None else others
        self._silence = silence
        self._connection = MqttConnection(endpoint, self._on_message, self._on_gap, prefix=STAND_IN)
        self._waiting: dict[str, deque[tuple[Call | Malformed, float]]] = {}  # by charge point, with the moment
        self._tasks: set[asyncio.Task[None]] = set()
        self._context = contextvars.copy_context()
        self._entered = self._open = False
        self._shown: set[tuple[object, ...]] = set()
        self._failures: Counter[str] = Counter()  # by charge point
        self.answered = self.refused = self.failed = 0
        self.errors: list[BaseException] = []
        self.actions: Counter[str] = Counter()

    @property
    def _state(self) -> str:
        return "open" if self._open else "closed" if self._entered else "not open"

    def __repr__(self) -> str:
        refused = f", {self.refused} refused" if self.refused else ""
        state = "" if self._open else f", {self._state}"
        return f"<Answers {self.answered} answered{refused}, {self.failed} failed{state}>"

    def _repr_html_(self) -> str:
        rows = {
            "handler": self._answerers.name,
            "answered": self.answered,
            "refused": self.refused or None,
            "failed": self.failed,
            "actions": ", ".join(f"{action} {count}" for action, count in self.actions.most_common(10)),
            "last error": repr(self.errors[-1]) if self.errors else None,
        }
        return card("Answers", self._state, rows)

    # -- Opening and closing ------------------------------------------------------------------------------------------

    def require_alone(self) -> None:
        """Raise RuntimeError if the stack's charge points are answered by another one."""
        if self._others:
            raise RuntimeError(
                f"this stack's charge points are answered by {self._others[0]!r} already; end that block first"
            )

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("this object was used before; call stack.answer_with(…) again")
        self.require_alone()
        self._entered = self._open = True
        self._others.append(self)
        self._context = contextvars.copy_context()  # so that a notebook shows what handlers print in this cell
        try:
            await self._connection.open(["+/in"])
            if self._silence is not None:
                await self._silence.__aenter__()
        except BaseException:
            self._silence = None
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel handlers that are at work, and leave the charge points to the stack's own CSMS; harmless twice."""
        self._open = False
        self._waiting.clear()
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        silence, self._silence = self._silence, None
        try:
            if silence is not None:
                await silence.__aexit__(None, None, None)
        finally:
            await self._disconnect()
        if tasks:
            _, busy = await asyncio.wait(tasks, timeout=_GRACE)
            if busy:
                logger.warning("answer_with ended while %d handlers go on, though cancelled", len(busy))

    async def _disconnect(self) -> None:
        try:
            with contextlib.suppress(AwsError, WaitTimeout):  # the connection is lost already
                await self._connection.unsubscribe("+/in", timeout=_GRACE)
        finally:
            try:
                await self._connection.close()
            finally:
                if self in self._others:
                    self._others.remove(self)

    def _spawn(self, charge_point_id: str, role: str, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(
            work, name=f"cpsim[{charge_point_id}].{role}", context=self._context.copy()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- Messages -----------------------------------------------------------------------------------------------------

    def _on_message(self, topic: str, payload: bytes, moment: float) -> None:
        if not self._open:
            return
        charge_point_id, frame = topic.removesuffix("/in"), parse(payload)
        match frame:
            case Call(kind="CALL") | Malformed(kind="CALL") if frame.message_id:
                waiting = self._waiting.setdefault(charge_point_id, deque())
                waiting.append((frame, moment))
                if len(waiting) == 1:
                    self._spawn(charge_point_id, "answers", self._work(charge_point_id, waiting))
            case Result() | Error():
                text = build(frame) if isinstance(frame, Error) else payload  # a CALLERROR with all of its elements
                self._answerers.deliver(charge_point_id, frame.message_id, text)
            case _:
                logger.info("%s: no answer to %r", charge_point_id, payload)

    def _on_gap(self, since: float, until: float) -> None:
        logger.warning(
            "answer_with was disconnected for %.1f s; the stack's own CSMS answered meanwhile", until - since
        )

    async def _work(self, charge_point_id: str, waiting: deque[tuple[Call | Malformed, float]]) -> None:
        """Answer the CALLs of one charge point until none waits."""
        try:
            while self._open and waiting:
                frame, moment = waiting[0]  # it stays there while the handler is at work
                if self._connection.is_of_this_connection(moment):  # else the stack's own CSMS answers it
                    await self._answer(charge_point_id, frame, moment)
                waiting.popleft()
        finally:
            if self._waiting.get(charge_point_id) is waiting:
                del self._waiting[charge_point_id]

    async def _answer(self, charge_point_id: str, frame: Call | Malformed, moment: float) -> None:
        async def reply(data: bytes) -> None:
            if not (self._open and self._connection.is_of_this_connection(moment)):
                return  # the stack's own CSMS answers
            if len(data) > MOST_PAYLOAD:
                error = ValueError(f"the answer has {len(data)} bytes; AWS IoT Core allows {MOST_PAYLOAD}")
                self._report(Failure(charge_point_id, action, error))
                data = build(Error(frame.message_id, "InternalError", f"ValueError: {error}"))
            elif data.startswith(b"[3"):
                self.answered += 1
            elif self._failures[charge_point_id] == failures:
                self.refused += 1
            self._publish(charge_point_id, data)

        action, failures = frame.action if isinstance(frame, Call) else "", self._failures[charge_point_id]
        try:
            answerer: Answerer = self._answerers.of(charge_point_id)
            if isinstance(frame, Malformed):
                await reply(build(Error(frame.message_id, answerer.code(frame.code), frame.reason)))
                return
            self.actions[action] += 1
            await answerer.answer(frame, reply)
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if not self._open or (task is not None and task.cancelling()):
                raise  # the block ends
            self._report(Failure(charge_point_id, action, exc))  # the handler awaited something that was cancelled
            await reply(build(Error(frame.message_id, "InternalError", "CancelledError")))
        except Exception as exc:  # noqa: BLE001 - the reader's class could not be called
            self._report(Failure(charge_point_id, action, exc))
            await reply(build(Error(frame.message_id, "InternalError", f"{type(exc).__name__}: {exc}")))

    def _publish(self, charge_point_id: str, data: bytes) -> None:
        try:
            if not self._connection.publish(f"{charge_point_id}/out", data):
                logger.warning("%s: not sent, as MQTT is disconnected: %r", charge_point_id, data)
        except ValueError as exc:
            logger.warning("%s: not sent: %s", charge_point_id, exc)

    # -- Failures -----------------------------------------------------------------------------------------------------

    def _report(self, failure: Failure) -> None:
        """Count a failure, keep its error, and show its traceback, in the reader's frames; a repeated one as a line."""
        error = failure.error
        error.__traceback__ = _readers_part(error.__traceback__)
        if isinstance(error, ProtocolViolation):
            error.__cause__ = None  # which happened inside the kit
        self.failed += 1
        self._failures[failure.charge_point_id] += 1
        self.errors.append(error)
        del self.errors[:-_MOST_ERRORS]
        where = traceback.extract_tb(error.__traceback__)
        place = (type(error), where[-1].filename, where[-1].lineno) if where else (type(error), str(error))
        what = failure.what or f"the handler failed on {failure.action or 'a malformed CALL'}"
        if place in self._shown:
            logger.error("%s: %s: %s: %s", failure.charge_point_id, what, type(error).__name__, error)
            return
        self._shown.add(place)
        logger.error("%s: %s", failure.charge_point_id, what, exc_info=(type(error), error, error.__traceback__))


def _readers_part(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames above the reader's own code; None if the error comes from no code of theirs."""
    while trace is not None and str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] in _OWN:
        trace = trace.tb_next
    return trace
