"""The message ids of one charge point's CALLs; they tell a late answer from a duplicate one. Does no I/O."""

from __future__ import annotations

import os

__all__ = ["MessageIds"]

_REMEMBERED = 128  # message ids to remember, to tell a late or duplicate answer from an unknown one
_FIRST, _NUMBERS = 10_000_000, 90_000_000  # eight digits


class MessageIds:
    """Message ids in the form of UUIDs: eight digits that count up, then a random part, unique to the charge point.

    They cost much less than a ``uuid4()`` each. Because they count up, few have to be kept to recognise old ones.
    """

    __slots__ = ("_given_up", "_made", "_next", "_rest")

    def __init__(self) -> None:
        own = os.urandom(16).hex()
        self._next = int(own, 16) % _NUMBERS
        self._rest = f"-{own[8:12]}-4{own[13:16]}-8{own[17:20]}-{own[20:]}"  # the form of a version 4 UUID
        self._made = 0
        self._given_up: tuple[str, ...] = ()

    def make(self) -> str:
        """Make the next id."""
        number = self._next
        self._next = (number + 1) % _NUMBERS
        self._made += 1
        return f"{_FIRST + number}{self._rest}"

    def give_up(self, message_id: str) -> None:
        """Remember that the answer to this CALL did not come: an answer from now on is late."""
        self._given_up = (*self._given_up, message_id)[-_REMEMBERED:]

    def classify_answer(self, message_id: str) -> str:
        """Classify an answer that no CALL waits for: "late", "duplicate", or "unknown" without a recent CALL."""
        if message_id in self._given_up:
            return "late"
        digits, rest = message_id[:8], message_id[8:]
        if rest != self._rest or not digits.isdecimal():
            return "unknown"
        age = (self._next - 1 - (int(digits) - _FIRST)) % _NUMBERS
        return "duplicate" if age < min(self._made, _REMEMBERED) else "unknown"
