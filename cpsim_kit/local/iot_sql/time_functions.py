"""The time functions of AWS IoT SQL.

``parse_time()`` formats with Joda-Time's pattern letters, ``time_to_epoch()`` parses with those of ``java.time``.
"""

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from cpsim_kit.local.iot_sql.values import UNDEFINED, to_int

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_PATTERN = re.compile(r"(?P<quoted>'(?:[^']|'')*')|(?P<field>([A-Za-z])\3*)|(?P<text>[^A-Za-z']+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@functools.lru_cache(maxsize=64)
def _pattern_parts(pattern: str) -> tuple[tuple[str, int, str], ...]:
    """Split a date pattern into fields, ``(letter, count, "")``, and literals, ``("", 0, text)``."""
    parts: list[tuple[str, int, str]] = []
    position = 0
    while position < len(pattern):
        found = _PATTERN.match(pattern, position)
        if found is None:
            raise ValueError("unterminated quote in a date pattern")
        field, quoted = found["field"], found["quoted"]
        if field:
            parts.append((field[0], len(field), ""))
        else:
            parts.append(("", 0, (quoted[1:-1].replace("''", "'") or "'") if quoted else found["text"]))
        position = found.end()
    return tuple(parts)


@functools.lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    """Return a time zone by its id, its offset, or both (``UTC+01:00``).

    Raises:
        ValueError: The zone does not exist.
    """
    found = re.fullmatch(r"(?:UTC|GMT|UT)?(?:([+-])(\d{1,2})(?::?(\d\d))?)?|Z", name)
    if found and name:
        offset = timedelta(hours=int(found[2] or 0), minutes=int(found[3] or 0))
        return timezone(-offset if found[1] == "-" else offset) if offset else UTC
    try:
        return ZoneInfo(name)
    except (KeyError, OSError) as error:  # KeyError: ZoneInfoNotFoundError; OSError: a directory such as "America"
        raise ValueError(f"unknown time zone {name!r}") from error


def _offset(moment: datetime, separator: str) -> str:
    text = moment.strftime("%z")
    return text[:3] + separator + text[3:5]


_JODA_NUMBERS: dict[str, Callable[[datetime], int]] = {
    "C": lambda t: t.year // 100,
    "w": lambda t: t.isocalendar().week,
    "e": lambda t: t.isoweekday(),
    "D": lambda t: t.timetuple().tm_yday,
    "M": lambda t: t.month,
    "d": lambda t: t.day,
    "K": lambda t: t.hour % 12,
    "h": lambda t: t.hour % 12 or 12,
    "H": lambda t: t.hour,
    "k": lambda t: t.hour or 24,
    "m": lambda t: t.minute,
    "s": lambda t: t.second,
}


def _format_field(letter: str, count: int, moment: datetime) -> str:
    """Format one field as Joda-Time's DateTimeFormat does in English."""
    if letter == "M" and count > 2:
        return _MONTHS[moment.month - 1][: None if count > 3 else 3]
    if letter in _JODA_NUMBERS:
        return str(_JODA_NUMBERS[letter](moment)).zfill(count)
    if letter in "yYx":
        year = moment.isocalendar().year if letter == "x" else moment.year
        return str(year % 100).zfill(2) if count == 2 else str(year).zfill(count)
    if letter == "S":
        return f"{moment.microsecond // 1000:03d}".ljust(count, "0")[:count]
    if letter == "E":
        return _DAYS[moment.weekday()][: None if count > 3 else 3]
    if letter == "Z":
        return str(moment.tzinfo) if count > 2 else _offset(moment, ":" if count == 2 else "")
    text = {"G": "AD", "a": "AM" if moment.hour < 12 else "PM", "z": moment.tzname()}.get(letter)
    if text is None:
        raise ValueError(f"{letter!r} is not a letter of a date pattern")
    return text


def parse_time(pattern: Any, timestamp: Any, zone: Any = "UTC") -> Any:
    milliseconds = to_int(timestamp)
    if type(pattern) is not str or type(zone) is not str or milliseconds is UNDEFINED:
        return UNDEFINED
    moment = (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(_zone(zone))
    return "".join(text or _format_field(letter, count, moment) for letter, count, text in _pattern_parts(pattern))


_ZONES = r"[A-Za-z][\w/+:-]*|[+-]\d\d?(?::?\d\d)?"
_OFFSETS = {
    "X": r"Z|[+-]\d\d(?::?\d\d)?",
    "x": r"[+-]\d\d(?::?\d\d)?",
    "Z": r"[+-]\d\d:?\d\d",
    "O": r"(?:GMT|UTC)[+\d:-]*",
}


def _field_pattern(letter: str, count: int) -> str:
    """Return the regular expression of one field of a java.time pattern."""
    if letter in "uydDHkKhms" or (letter in "ML" and count < 3):
        if letter in "uy" and count != 2:
            return rf"\d{{{count},}}"
        return rf"\d{{{count}}}" if count > 1 else r"\d+"
    if letter == "S":
        return rf"\d{{{count}}}"
    if letter in "MLE":
        names = _DAYS if letter == "E" else _MONTHS
        return "|".join(names if count == 4 else [name[:3] for name in names])
    if letter in "Vz":
        return _ZONES
    expression = {"a": "AM|PM", "G": "AD", **_OFFSETS}.get(letter)
    if expression is None:
        raise ValueError(f"the local stack's time_to_epoch() does not support the letter {letter!r}")
    return expression


@functools.lru_cache(maxsize=64)
def _compile_pattern(pattern: str) -> re.Pattern[str]:
    expression = ""
    for letter, count, text in _pattern_parts(pattern):
        if letter:
            expression += f"(?P<{letter}{count}>{_field_pattern(letter, count)})"
        else:
            expression += re.escape(text).replace(r"\[", "(?:").replace(r"\]", ")?")
    return re.compile(expression, re.ASCII)  # the caller handles re.error: a letter twice, an open bracket


def time_to_epoch(text: Any, pattern: Any) -> Any:
    if type(text) is not str or type(pattern) is not str:
        return UNDEFINED
    try:
        found = _compile_pattern(pattern).fullmatch(text)
    except re.error:
        return UNDEFINED
    if found is None:
        return UNDEFINED
    fields = {name[0]: value for name, value in found.groupdict().items() if value is not None}
    zone = next((_zone(fields[letter]) for letter in "VzXxZO" if letter in fields), UTC)
    return (_moment(fields, zone) - _EPOCH) // timedelta(milliseconds=1)


def _moment(fields: dict[str, str], zone: tzinfo) -> datetime:
    """Make a time of its fields.

    Raises:
        ValueError: A field is missing (from ``int("")`` or ``index``), or out of its range.
    """
    year_text = fields.get("u") or fields.get("y") or ""
    year = int(year_text) + (2000 if len(year_text) == 2 else 0)
    if "D" in fields:
        date = datetime(year, 1, 1, tzinfo=zone) + timedelta(days=int(fields["D"]) - 1)
    else:
        month = fields.get("M") or fields.get("L") or ""
        names = [name[:3] for name in _MONTHS]
        number = int(month) if month.isdigit() else names.index(month[:3]) + 1
        date = datetime(year, number, int(fields.get("d", "")), tzinfo=zone)
    if "K" in fields or "h" in fields:
        hour = int(fields.get("K") or fields["h"]) % 12 + (12 if fields.get("a") == "PM" else 0)
    else:
        hour = int(fields["k"]) % 24 if "k" in fields else int(fields.get("H", 0))
    return date.replace(
        hour=hour,
        minute=int(fields.get("m", 0)),
        second=int(fields.get("s", 0)),
        microsecond=int(fields.get("S", "0")[:6].ljust(6, "0")),
    )
