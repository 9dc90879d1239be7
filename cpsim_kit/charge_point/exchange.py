"""What is said on one connection: one CALL at a time, time-outs, answers matched to their CALL, CALLs of the CSMS.

OCPP-J allows one outstanding CALL in each direction: 1.6, 4.1.1; 2.0.1 part 4, 4.1.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Literal

from cpsim_kit.charge_point.connection import Connection
from cpsim_kit.charge_point.handlers import Handlers
from cpsim_kit.errors import CallFailed, CallTimeout, ProtocolViolation, UnsupportedByCsms
from cpsim_kit.ocpp_j.frames import Call, Error, Malformed, Result, build, build_call, parse
from cpsim_kit.ocpp_j.message_ids import MessageIds
from cpsim_kit.ocpp_j.payloads import Decoder
from cpsim_kit.ocpp_j.versions import Version
from cpsim_kit.records.messages import MessageLog

__all__ = ["Exchange", "PendingCall"]

logger = logging.getLogger("ocpp")


class PendingCall:
    """The CALL that waits for its answer. It holds the turn until it is answered, timed out, or the connection closes.

    Attributes:
        sent: The moment of ``time.perf_counter()`` at which it was sent.
        answered: The moment at which its answer came.
    """

    __slots__ = ("action", "answer", "answered", "due", "future", "message_id", "sent", "timeout")

    def __init__(self, action: str, message_id: str, answer: Decoder, timeout: float) -> None:
        self.action = action
        self.message_id = message_id
        self.answer = answer
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.timeout = timeout
        self.sent = self.answered = time.perf_counter()
        self.due = self.sent + timeout


class Exchange:
    """The messages of one connection.

    Args:
        charge_point_id: Whose they are.
        version: The OCPP version.
        connection: Where they are sent.
        handlers: Answer the CSMS's CALLs.
        log: Keeps every frame.
        message_ids: The charge point's; they go on over its connections.
        ignored: Counts frames that matched nothing: "late", "duplicate", "unknown", "malformed".
        is_quiet: Log ignored frames as INFO, not as a WARNING: for one charge point of many.

    Attributes:
        log: Keeps every frame; another one may be set.
    """

    __slots__ = (
        "_check_at",
        "_connection",
        "_handlers",
        "_id",
        "_ignored",
        "_is_quiet",
        "_message_ids",
        "_pending",
        "_tasks",
        "_timer",
        "_turn",
        "_version",
        "log",
    )

    def __init__(
        self,
        charge_point_id: str,
        version: Version,
        connection: Connection,
        handlers: Handlers,
        log: MessageLog,
        message_ids: MessageIds,
        ignored: Counter[str],
        *,
        is_quiet: bool,
    ) -> None:
        self._id = charge_point_id
        self._version = version
        self._connection = connection
        self._handlers = handlers
        self.log = log
        self._message_ids = message_ids
        self._ignored = ignored
        self._is_quiet = is_quiet
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._pending: PendingCall | None = None
        self._timer: asyncio.TimerHandle | None = None  # checks for an overdue CALL, at this moment:
        self._check_at = math.inf

    async def call(self, action: str, payload: bytes, answer: Decoder, timeout: float) -> tuple[Any, PendingCall]:
        """Send a CALL when its turn comes, and return the decoded answer.

        Args:
            action: Its action.
            payload: Its payload as JSON, valid.
            answer: What answers it.
            timeout: Seconds to wait for the answer, once it is sent.

        Raises:
            ConnectionLost, CallTimeout, CallFailed, UnsupportedByCsms, ProtocolViolation: As ``ChargePoint.call`` does.
        """
        connection = self._connection
        await self._turn.acquire()
        try:
            if connection.closed is not None:
                raise connection.lost()
            message_id = self._message_ids.make()
            frame = build_call(message_id, action, payload)
            pending = PendingCall(action, message_id, answer, timeout)
        except BaseException:
            self._turn.release()
            raise
        self._pending = pending
        if pending.due < self._check_at:
            self._arm_timer(pending)
        try:
            self._note_sent(frame)
            if not connection.send_now(frame):
                with contextlib.suppress(TimeoutError):  # then _check_timeout() says so
                    async with asyncio.timeout(timeout):  # a gateway that does not read leaves it in the send buffer
                        await connection.send(frame)
        except Exception:  # it was not sent, so no answer will come
            if self._pending is pending:
                self._settle(pending, "late")
            raise
        else:
            return await pending.future, pending  # end() fails it where the connection is closed
        finally:
            pending.future.cancel()

    def receive(self, text: bytes) -> None:
        """Handle a frame that came; never raises."""
        self.log.add(time.perf_counter(), text, sent=False)
        try:
            self._handle(text)
        except Exception:
            logger.exception("%s: failed on %r", self._id, text)

    def end(self) -> None:
        """The connection has ended: the CALL that waits fails."""
        if (pending := self._pending) is not None:
            self._settle(pending, "late")
            if not pending.future.done():
                pending.future.set_exception(self._connection.lost())
        self._disarm_timer()

    async def stop_handlers(self, timeout: float) -> None:
        """Cancel handlers that are at work, and wait for them; one that goes on all the same is left to itself."""
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        if tasks:
            _, busy = await asyncio.wait(tasks, timeout=timeout)
            if busy:
                logger.warning("%s: closed while %d handlers go on, though cancelled", self._id, len(busy))

    # -- Time-outs ----------------------------------------------------------------------------------------------------

    def _arm_timer(self, pending: PendingCall) -> None:
        """Check the CALL when it is due.

        One timer serves many CALLs, as most are answered long before: it stays, and checks the one that waits then.
        """
        self._disarm_timer()
        self._check_at = pending.due
        delay = pending.due - time.perf_counter()
        self._timer = asyncio.get_running_loop().call_later(delay, self._check_timeout)

    def _disarm_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._check_at = None, math.inf

    def _check_timeout(self) -> None:
        pending, checked_at = self._pending, self._check_at
        self._disarm_timer()
        if pending is None:
            return
        if pending.due > checked_at:
            self._arm_timer(pending)
            return
        self._settle(pending, "late")
        if not pending.future.done():
            pending.future.set_exception(CallTimeout(self._id, pending.action, pending.message_id, pending.timeout))

    def _settle(self, pending: PendingCall, another_answer: Literal["late", "duplicate"]) -> None:
        """The CALL holds the turn no longer; another answer to it would be late or a duplicate."""
        self._pending = None
        if another_answer == "late":
            self._message_ids.give_up(pending.message_id)
        self._turn.release()

    # -- Receiving ----------------------------------------------------------------------------------------------------

    def _handle(self, text: bytes) -> None:
        if logger.isEnabledFor(logging.INFO):
            logger.info("%s: receive message %s", self._id, _shown(text))
        frame = parse(text)
        kind = frame.kind
        if kind == "CALLRESULT" or kind == "CALLERROR":  # noqa: PLR1714 - the fastest way
            self._on_answer(frame, text)  # type: ignore[arg-type]  # a CALL has another kind
        elif isinstance(frame, Call) and kind == "CALL":
            self._spawn(self._handlers.answer(frame, self._reply), "handler")
        elif isinstance(frame, Malformed) and not frame.message_id:
            self._ignore("malformed", text, frame.reason)
        elif kind == "CALL":
            self._refuse(frame.message_id, "RpcFrameworkError", getattr(frame, "reason", ""))
        elif kind and self._version.name == "2.1":
            self._ignore("unknown", text, f"{kind}, which asks for no answer")
        elif self._version.name == "1.6":
            self._ignore("malformed", text, "message types other than 2, 3 and 4 are ignored: OCPP-J 1.6, 4.1.3")
        else:
            reason = f"OCPP {self._version.name} has no {kind}" if kind else getattr(frame, "reason", "")
            self._refuse(frame.message_id, "MessageTypeNotSupported", reason)

    def _on_answer(self, frame: Result | Error | Malformed, text: bytes) -> None:
        pending, message_id = self._pending, frame.message_id
        if pending is None or pending.message_id != message_id:
            if isinstance(frame, Malformed) and frame.code == "FormatViolation":  # not JSON
                return self._ignore("malformed", text, frame.reason)
            return self._ignore(self._message_ids.classify_answer(message_id), text, "no call waits for it")
        pending.answered = time.perf_counter()
        is_cancelled = pending.future.done()
        self._settle(pending, "duplicate")
        if is_cancelled:  # here, so it is no fault of the CSMS
            return self._ignore("late", text, f"{pending.action} was cancelled", level=logging.INFO)
        try:
            pending.future.set_result(self._decode(pending, frame))
        except CallFailed as exc:
            pending.future.set_exception(exc)
        except (ProtocolViolation, UnsupportedByCsms) as exc:
            pending.future.set_exception(exc)
            if self._version.name == "2.1":  # OCPP 2.1 part 4; part 2, FR.06
                code = getattr(exc, "code", "FormatViolation")
                self._refuse(message_id, code, str(exc), kind="CALLRESULTERROR")
        return None

    def _decode(self, pending: PendingCall, frame: Result | Error | Malformed) -> Any:
        if isinstance(frame, Error):
            raise CallFailed(self._id, pending.action, frame.code, frame.description, frame.details)
        try:
            if isinstance(frame, Malformed):
                raise frame.violation(pending.action, self._version.code(frame.code))
            payload = frame.fields
            if isinstance(payload, dict) and len(payload) == 1 and isinstance(payload.get("error"), str):
                raise UnsupportedByCsms(self._id, pending.action, payload["error"])
            return pending.answer.decode_object(payload)
        except ProtocolViolation as exc:
            raise exc.of(self._id, "answer to ") from exc

    def _ignore(self, reason: str, text: bytes, why: str, *, level: int = logging.WARNING) -> None:
        self._ignored[reason] += 1
        if self._is_quiet:  # an overloaded CSMS would have each of many charge points warn, again and again
            level = min(level, logging.INFO)
        logger.log(level, "%s: ignored (%s), %s: %s", self._id, reason, why, _shown(text))

    # -- Sending ------------------------------------------------------------------------------------------------------

    def _refuse(self, message_id: str, code: str, reason: str, kind: str = "CALLERROR") -> None:
        self._spawn(self._reply(build(Error(message_id, self._version.code(code), reason, kind=kind))), "answer")

    async def _reply(self, frame: bytes) -> None:
        self._note_sent(frame)
        if not await self._connection.send(frame):
            logger.info("%s: the connection closed before an answer was sent", self._id)

    def _note_sent(self, frame: bytes) -> None:
        if logger.isEnabledFor(logging.INFO):
            logger.info("%s: send %s", self._id, frame.decode())
        self.log.add(time.perf_counter(), frame, sent=True)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], role: str) -> None:
        task = asyncio.create_task(coroutine, name=f"cpsim[{self._id}].{role}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _shown(text: bytes) -> str:
    return text.decode(errors="backslashreplace")
