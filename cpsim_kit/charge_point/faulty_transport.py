"""A connection with faults on purpose: it wraps the transport below a charge point, and carries out the frames' fates.

Which frame has which fate is in ``faults``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from cpsim_kit.charge_point.faults import NO_CLOSE_FRAME, FaultState
from cpsim_kit.charge_point.transport import Transport
from cpsim_kit.charge_point.websocket import closed_by_gateway
from cpsim_kit.errors import Closed
from cpsim_kit.ocpp_j.frames import Call, Malformed, parse

__all__ = ["FaultyTransport"]

_FLUSH = 2.0  # seconds that a close frame waits for frames that were sent before
_REMEMBERED = 256  # CALLs whose action is remembered for their answers
_OVER = "the connection ended while it was under way"
_DEAD = "the connection went dead while it was under way"


@dataclass(slots=True)
class _Frame:
    """A frame on its way.

    Attributes:
        message: Its text.
        direction: "sent" or "received" by the charge point.
        kind: As in the record of messages.
        action: That of its CALL where it is an answer; "" if the CALL is not known.
        message_id: Its message id.
        copies: How often it arrives.
        hold: Seconds that it may be held back; 0 if it is not.
        due: When it arrives at the earliest, in the event loop's time.
    """

    message: bytes
    direction: str
    kind: str
    action: str
    message_id: str
    copies: int = 1
    hold: float = 0.0
    due: float = 0.0


class FaultyTransport:
    """One connection through a network.

    Args:
        state: The settings, and where faults are noted.
        connections: The open connections of the network; this one is in it from :meth:`receive` to its end.
        charge_point_id: Whose connection it is.
        inner: The connection below.

    Attributes:
        charge_point_id: Whose connection it is.
        subprotocol: The agreed subprotocol, or None.
    """

    __slots__ = (
        "_calls",
        "_closed_as",
        "_connections",
        "_ended",
        "_inner",
        "_is_half_open",
        "_is_over",
        "_on_closed",
        "_on_message",
        "_received",
        "_sent",
        "_state",
        "_tasks",
        "charge_point_id",
        "subprotocol",
    )

    def __init__(
        self, state: FaultState, connections: set[FaultyTransport], charge_point_id: str, inner: Transport
    ) -> None:
        self.charge_point_id = charge_point_id
        self.subprotocol = inner.subprotocol
        self._state = state
        self._connections = connections
        self._inner = inner
        self._calls: OrderedDict[tuple[str, str], str] = OrderedDict()  # direction, message id: action
        self._on_message: Callable[[bytes], None]
        self._on_closed: Callable[[Closed], None]
        self._sent = _Lane(self._forward, self._note)
        self._received = _Lane(self._deliver, self._note)
        self._tasks: set[asyncio.Task[Any]] = set()  # they end with the connection
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_over = self._is_half_open = False  # over: it has ended, or will at once, by a fault
        self._closed_as: Closed | None = None  # what a fault makes of the end

    # -- What the charge point calls ----------------------------------------------------------------------------------

    def send_now(self, message: bytes) -> bool:
        if self._state.settings.is_on or self._is_over or self._is_half_open or self._tasks or not self._sent.is_empty:
            return False
        is_sent = self._inner.send_now(message)
        if is_sent:
            self._read(message, "sent")
        return is_sent

    async def send(self, message: bytes) -> bool:
        if not self._is_over:
            self._carry(self._read(message, "sent"), self._sent)
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._is_over:
            await asyncio.wait([self._ended])
        return not self._ended.done()

    def receive(self, on_message: Callable[[bytes], None], on_closed: Callable[[Closed], None]) -> None:
        self._on_message, self._on_closed = on_message, on_closed
        self._connections.add(self)
        if self._state.settings.is_dead:
            self.make_half_open()
        self._inner.receive(self._on_frame, self._on_end)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it; the close frame does not overtake what was sent before, unless that is long under way."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH):
                    while not (self._is_over or self._sent.is_empty):
                        await asyncio.wait([self._ended], timeout=self._sent.seconds_left())
        finally:
            await self._inner.close(code, reason)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def abort(self) -> None:
        self._inner.abort()

    def set_ping_interval(self, seconds: float | None) -> None:
        self._inner.set_ping_interval(seconds)

    def make_half_open(self) -> None:
        if not (self._is_half_open or self._is_over):
            self._is_half_open = True
            self._state.note(self.charge_point_id, "half-open")
            self._clear(_DEAD)
            self._inner.make_half_open()

    # -- Faults -------------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Abort it."""
        if not self._is_over:
            self._state.note(self.charge_point_id, "cut")
            self._hang_up(NO_CLOSE_FRAME)

    def _hang_up(self, code: int) -> None:
        self._is_over = True
        self._clear(_OVER)
        if code == NO_CLOSE_FRAME:
            self._inner.abort()
        else:
            self._closed_as = closed_by_gateway(code)
            self._spawn(self._inner.close(code))

    def _read(self, message: bytes, direction: str) -> _Frame:
        """Find out what a frame is, and remember the action of a CALL for its answer."""
        frame = parse(message)
        kind, action = frame.kind, ""
        if isinstance(frame, Malformed):
            kind = "malformed"
        elif isinstance(frame, Call):
            action = frame.action
            self._calls[direction, frame.message_id] = action
            if len(self._calls) > _REMEMBERED:
                self._calls.popitem(last=False)
        else:
            is_to_result = kind == "CALLRESULTERROR"  # its sender is the CALL's sender; OCPP 2.1 part 4, 4.2.4
            other = "received" if direction == "sent" else "sent"
            action = self._calls.get((direction if is_to_result else other, frame.message_id), "")
        return _Frame(message, direction, kind, action, frame.message_id)

    def _carry(self, frame: _Frame, lane: _Lane) -> None:
        """Let a frame pass, with its faults."""
        if self._is_half_open:
            self._note(frame, "half-open")
            return
        settings = self._state.settings
        which = frame.direction, frame.kind, frame.action
        if not settings.is_on:
            lane.put(frame)  # behind those that are still under way
            return
        if not settings.concern(*which):
            lane.pass_now(frame)
            return
        fate = self._state.next_fate(self.charge_point_id, *which)
        if fate.close_code:
            self._note(frame, "close", str(fate.close_code))
            self._hang_up(fate.close_code)
        elif fate.is_dropped:
            self._note(frame, "drop")
        else:
            if fate.is_doubled:
                frame.copies = 2
                self._note(frame, "duplicate")
            if fate.delay:
                self._note(frame, "delay", f"{fate.delay:.3f} s")
            if fate.is_held_back:
                frame.hold = settings.reorder_within
            lane.put(frame, fate.delay)

    def _note(self, frame: _Frame, fault: str, detail: str = "") -> None:
        self._state.note(
            self.charge_point_id,
            fault,
            detail,
            direction=frame.direction,
            kind=frame.kind,
            action=frame.action,
            message_id=frame.message_id,
        )

    def _clear(self, why: str) -> None:
        self._sent.clear(why)
        self._received.clear(why)

    # -- What the connection below calls ------------------------------------------------------------------------------

    def _on_frame(self, message: bytes) -> None:
        if not self._is_over:
            self._carry(self._read(message, "received"), self._received)

    def _on_end(self, closed: Closed) -> None:
        self._is_over = True
        self._clear(_OVER)
        self._connections.discard(self)
        self._ended.set_result(None)
        self._on_closed(closed if self._closed_as is None else self._closed_as)

    def _deliver(self, message: bytes) -> None:
        self._on_message(message)

    def _forward(self, message: bytes) -> None:
        """Send a frame, in a task where that has to wait; tasks begin in the order in which they are made."""
        if self._tasks or not self._inner.send_now(message):
            self._spawn(self._inner.send(message))

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(coroutine, name=f"cpsim[{self.charge_point_id}].network")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Lane:
    """The frames of one direction that are under way: delayed, or held back until another one has overtaken them.

    Args:
        forward: Takes a frame to where it goes.
        note: Adds a fault of a frame.
    """

    __slots__ = ("_forward", "_held", "_held_timer", "_note", "_queue", "_timer")

    def __init__(self, forward: Callable[[bytes], None], note: Callable[[_Frame, str, str], None]) -> None:
        self._forward = forward
        self._note = note
        self._queue: deque[_Frame] = deque()
        self._held: _Frame | None = None
        self._timer: asyncio.TimerHandle | None = None  # for the first of the queue
        self._held_timer: asyncio.TimerHandle | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no frame is under way."""
        return not self._queue and self._held is None

    def seconds_left(self) -> float:
        """Seconds until the last frame that is under way arrives."""
        moments = [frame.due for frame in self._queue]
        moments += [timer.when() for timer in (self._timer, self._held_timer) if timer is not None]
        return max(0.0, max(moments, default=0.0) - asyncio.get_running_loop().time())

    def put(self, frame: _Frame, delay: float = 0.0) -> None:
        """Let a frame pass after so many seconds, and not before those that were put earlier."""
        if not delay and not self._queue:
            self.pass_now(frame)
            return
        frame.due = asyncio.get_running_loop().time() + delay  # or later, where one before it is due later
        self._queue.append(frame)
        self._arm_timer()

    def pass_now(self, frame: _Frame) -> None:
        """Forward a frame, or hold it back; then forward the one that it has overtaken."""
        if frame.hold and self._held is None:
            self._held = frame
            loop, how = asyncio.get_running_loop(), f"nothing overtook it within {frame.hold:g} s"
            self._held_timer = loop.call_later(frame.hold, self._release, how)
            return
        for _ in range(frame.copies):
            self._forward(frame.message)
        self._release(f"overtaken by {frame.kind} {frame.action}".rstrip())

    def clear(self, why: str) -> None:
        """Lose all frames that are under way, and say why."""
        lost = [*self._queue, *([self._held] if self._held is not None else [])]
        self._queue.clear()
        self._held = None
        for timer in (self._timer, self._held_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._held_timer = None
        for frame in lost:
            self._note(frame, "lost", why)

    def _arm_timer(self) -> None:
        if self._timer is None and self._queue:
            self._timer = asyncio.get_running_loop().call_at(self._queue[0].due, self._on_due)

    def _on_due(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._queue and self._queue[0].due <= now:
            self.pass_now(self._queue.popleft())
        self._arm_timer()

    def _release(self, how: str) -> None:
        frame, self._held = self._held, None
        if frame is None:
            return
        if self._held_timer is not None:
            self._held_timer.cancel()
            self._held_timer = None
        self._note(frame, "reorder", how)
        for _ in range(frame.copies):
            self._forward(frame.message)
