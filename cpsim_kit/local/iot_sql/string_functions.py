"""The string functions of AWS IoT SQL, regular expressions included.

Regular expressions are Python's, with ASCII classes as in Java. Nothing stops an expression that backtracks for ever.
"""

import functools
import hashlib
import re
import warnings
from collections.abc import Callable
from typing import Any

from cpsim_kit.local.iot_sql.operators import join
from cpsim_kit.local.iot_sql.values import UNDEFINED, Undefined, to_int, to_string


def textual(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that converts every argument to a String first."""

    def call(*values: Any) -> Any:
        texts = [to_string(value) for value in values]
        return UNDEFINED if UNDEFINED in texts else function(*texts)

    return call


def concat(*values: Any) -> Any:
    if len(values) < 2:
        return values[0] if values else UNDEFINED
    if UNDEFINED in values:
        return UNDEFINED
    if any(type(value) is list for value in values):
        return [item for value in values for item in (value if type(value) is list else [value])]
    if any(type(value) is str for value in values):
        return functools.reduce(join, values)
    return UNDEFINED


def padded(pad: Callable[[str, str], str]) -> Callable[..., Any]:
    def call(value: Any, spaces: Any) -> Any:
        text, count = to_string(value), to_int(spaces)
        return UNDEFINED if text is UNDEFINED or count is UNDEFINED else pad(text, " " * min(max(count, 0), 1000))

    return call


def substring(value: Any, start: Any, end: Any = 1 << 62) -> Any:
    text, first, last = to_string(value), to_int(start), to_int(end)
    if text is UNDEFINED or first is UNDEFINED or last is UNDEFINED:
        return UNDEFINED
    return text[max(first, 0) : max(last, 0)]


def chr_ascii(value: Any) -> Any:
    code = to_int(value)
    return chr(code) if code is not UNDEFINED and 0 <= code < 128 else UNDEFINED


def hashed(name: str) -> Callable[..., Any]:
    return textual(lambda text: hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest())


_NAMED_GROUP = re.compile(r"(?<!\\)\(\?<(?=[A-Za-z])")  # Java's spelling


@functools.lru_cache(maxsize=256)
def regular_expression(pattern: str) -> re.Pattern[str] | Undefined:
    """Compile a regular expression, and cache it; Undefined if Python cannot compile it."""
    try:
        with (
            warnings.catch_warnings()
        ):  # a pattern from a message must neither print a warning nor raise it as an error
            warnings.simplefilter("ignore")
            return re.compile(_NAMED_GROUP.sub("(?P<", pattern), re.ASCII)
    except (re.error, OverflowError, RecursionError):
        return UNDEFINED


def regexp_matches(text: str, pattern: str) -> Any:
    compiled = regular_expression(pattern)
    return UNDEFINED if compiled is UNDEFINED else compiled.search(text) is not None


def regexp_substr(text: str, pattern: str) -> Any:
    compiled = regular_expression(pattern)
    found = None if compiled is UNDEFINED else compiled.search(text)
    return UNDEFINED if found is None else found[0]


def regexp_replace(text: str, pattern: str, replacement: str) -> Any:
    compiled = regular_expression(pattern)
    if compiled is UNDEFINED:
        return UNDEFINED
    parts = _replacement(replacement, compiled.groups)
    return compiled.sub(lambda found: "".join(p if isinstance(p, str) else found[p] or "" for p in parts), text)


_REPLACEMENT = re.compile(r"\$([0-9]+)|\\(.)|[^$\\]+", re.DOTALL)


@functools.lru_cache(maxsize=256)
def _replacement(text: str, groups: int) -> tuple[str | int, ...]:
    """Split a replacement into texts and group numbers. ``$1`` is a group; a backslash escapes the next character.

    Raises:
        ValueError: The replacement is malformed, or names a group that the pattern does not have.
    """
    parts: list[str | int] = []
    position = 0
    while position < len(text):
        found = _REPLACEMENT.match(text, position)
        if found is None:
            raise ValueError(f"malformed replacement: {text!r}")
        if digits := found[1]:
            while len(digits) > 1 and int(digits) > groups:  # as in Java: the longest number that is a group
                digits = digits[:-1]
            if int(digits) > groups:
                raise ValueError(f"no group {digits} in the regular expression")
            parts += [int(digits), found[1][len(digits) :]]
        else:
            parts.append(found[2] or found[0])
        position = found.end()
    return tuple(parts)
