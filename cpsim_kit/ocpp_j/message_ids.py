"""The message ids of one charge point's CALLs."""

from __future__ import annotations

import os

__all__ = ["MessageIds"]

_REMEMBERED = 128  # message ids known again, to tell a late or duplicate answer from an unknown one
_FIRST, _NUMBERS = 10_000_000, 90_000_000  # eight digits


class MessageIds:
    """Message ids in the form of UUIDs: eight digits that count, then a random part that no other charge point has.

    Many times cheaper than a ``uuid4()`` for each; and as they count, few need to be kept to know them again.
    """

    __slots__ = ("_given_up", "_made", "_next", "_rest")

    def __init__(self) -> None:
        own = os.urandom(16).hex()
        self._next = int(own, 16) % _NUMBERS
        self._rest = f"-{own[8:12]}-4{own[13:16]}-8{own[17:20]}-{own[20:]}"  # version 4, as uuid4() has it, for less
        self._made = 0
        self._given_up: tuple[str, ...] = ()

    def make(self) -> str:
        """The next one."""
        number = self._next
        self._next = (number + 1) % _NUMBERS
        self._made += 1
        return f"{_FIRST + number}{self._rest}"

    def give_up(self, message_id: str) -> None:
        """Its answer did not come, and would be late."""
        self._given_up = (*self._given_up, message_id)[-_REMEMBERED:]

    def settled(self, message_id: str) -> str:
        """What an answer to a CALL that no longer waits is: "late", "duplicate", or "unknown" for no CALL of late."""
        if message_id in self._given_up:
            return "late"
        digits, rest = message_id[:8], message_id[8:]
        if rest != self._rest or not digits.isdecimal():
            return "unknown"
        age = (self._next - 1 - (int(digits) - _FIRST)) % _NUMBERS
        return "duplicate" if age < min(self._made, _REMEMBERED) else "unknown"
