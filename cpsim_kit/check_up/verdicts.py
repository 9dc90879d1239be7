"""The verdicts of checks, and texts of others' that a verdict may hold. Does no I/O."""

from __future__ import annotations

import re
from typing import ClassVar

__all__ = [
    "FAILED",
    "NOT_SUPPORTED",
    "NOT_TRIED",
    "PASSED",
    "VERDICTS",
    "Failed",
    "NotSupported",
    "NotTried",
    "Verdict",
    "clean",
    "shorten",
]

PASSED, FAILED, NOT_SUPPORTED, NOT_TRIED = "passed", "failed", "not supported", "not tried"
VERDICTS = (PASSED, FAILED, NOT_SUPPORTED, NOT_TRIED)

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2
_LONGEST = 200  # characters of what a CSMS said, in a sentence


class Verdict(Exception):
    """Ends a check; its text is what was seen, or why it was not tried."""

    name: ClassVar[str]


class Failed(Verdict):
    """The CSMS does not do what the specification demands."""

    name = FAILED


class NotSupported(Verdict):
    """The CSMS says that it does not support a message that the check needs."""

    name = NOT_SUPPORTED


class NotTried(Verdict):
    """Something that is not the CSMS's fault, or another check's, keeps this check from being played."""

    name = NOT_TRIED


def clean(text: str) -> str:
    """A text that tables and XML can hold."""
    return _NOT_XML.sub("�", text)


def shorten(text: str) -> str:
    """A text of somebody else's, cut to a length that a sentence can have."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
