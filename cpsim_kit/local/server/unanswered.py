"""The CALLs of charge points that nobody has answered yet, by the messages on ``+/in`` and ``+/out``. Does no I/O."""

from __future__ import annotations

from cpsim_kit.ocpp_j.frames import Error, Result, parse

__all__ = ["Unanswered"]


class Unanswered:
    """The CALLs since the last :meth:`drain` that have no answer."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], bytes] = {}  # charge point, message id -> frame, in order

    async def on_in(self, topic: str, payload: bytes) -> None:
        """Note a message of a charge point."""
        frame = parse(payload)
        if frame.kind == "CALL" and frame.message_id:
            self._calls[topic.removesuffix("/in"), frame.message_id] = payload

    async def on_out(self, topic: str, payload: bytes) -> None:
        """Note a message to a charge point."""
        frame = parse(payload)
        if isinstance(frame, Result | Error):
            self._calls.pop((topic.removesuffix("/out"), frame.message_id), None)

    def drain(self) -> list[tuple[str, bytes]]:
        """Return the ids of the charge points and the frames of what has no answer, oldest first, and forget them."""
        left = [(charge_point_id, text) for (charge_point_id, _), text in self._calls.items()]
        self._calls.clear()
        return left
