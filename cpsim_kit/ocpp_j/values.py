"""Converts values of Python to JSON values: enumerations, decimals, times, numpy's scalars. Does no I/O."""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

__all__ = ["NotJson", "find_not_json", "first_not_json", "is_dataclass", "plain"]

_SCALARS = frozenset((str, int, bool))
_NUMBERS = (float, Decimal)
_RFC_3339 = re.compile(r"[0-9-]{10}T[0-9:]{8}(\.[0-9]+)?[+-][0-9]{2}:[0-9]{2}")

is_dataclass: Callable[[type], bool] = functools.cache(dataclasses.is_dataclass)


class NotJson(ValueError):
    """JSON or OCPP cannot hold a value.

    Attributes:
        path: The place in the payload, in the names of the schema; "" for the value itself.
    """

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(text)
        self.path = path

    def within(self, key: str | int) -> NotJson:
        """The same error, with the path seen from the object or array that holds the value under ``key``."""
        step = f"[{key}]" if isinstance(key, int) else key
        dot = "" if not self.path or self.path.startswith("[") else "."
        return NotJson(str(self), f"{step}{dot}{self.path}")


def plain(value: Any) -> Any:
    """Convert a value to a JSON value: enumerations by value, decimals as numbers, times as RFC 3339; keys unchanged.

    Raises:
        NotJson: JSON or OCPP cannot hold it.
    """
    if value is None or type(value) in _SCALARS:
        return value
    if isinstance(value, enum.Enum):
        return value._value_
    if isinstance(value, str | int):  # a subclass, e.g. str_ of numpy
        return str.__str__(value) if isinstance(value, str) else int(value)
    if isinstance(value, _NUMBERS):
        value = float(value)
        if value - value != 0:  # infinite or NaN
            raise NotJson(f"JSON cannot hold {value}; leave the field out with None")
        return value
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, dict):
        return {str(key): _plain_at(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_at(index, item) for index, item in enumerate(value)]
    if is_dataclass(type(value)):
        return {name: _plain_at(name, item) for name, item in vars(value).items() if item is not None}
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "dtype"):
        if value.dtype.kind in "Mm":  # times of numpy have no zone, and tolist() makes numbers of them
            raise NotJson(f"{value!r} has no time zone: give a datetime with one, e.g. datetime.now(UTC)")
        if value.dtype.kind in "biufOU":
            return plain(value.tolist())  # values of Python
    raise NotJson(f"JSON cannot hold {value!r}")


def first_not_json(convert: Callable[[Any], Any], items: Iterable[tuple[str | int, Any]]) -> NotJson:
    """The error of the first item that cannot be converted, with its place."""
    for key, item in items:
        try:
            convert(item)
        except NotJson as exc:
            return exc.within(key)
    raise AssertionError("JSON can hold all items")


def find_not_json(data: Any) -> str:
    """The path of the part of a value that JSON cannot hold, e.g. "data[2].text"."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, item in items:
        try:
            orjson.dumps(item)
        except TypeError as exc:
            return NotJson(str(exc), find_not_json(item)).within(key).path
    return ""


def _plain_at(key: str | int, value: Any) -> Any:
    try:
        return plain(value)
    except NotJson as exc:
        raise exc.within(key) from None


def _time(moment: datetime) -> str:
    """A time with its offset from UTC: RFC 3339, 5.6."""
    if moment != moment:  # noqa: PLR0124 - NaT of pandas, a datetime that does not equal itself
        raise NotJson("NaT is not a time; leave the field out with None")
    if moment.utcoffset() is None:
        raise NotJson(
            f"the time {moment.isoformat()} has no time zone: use datetime.now(UTC), or .astimezone() for a local time"
        )
    text = moment.isoformat()
    if not _RFC_3339.fullmatch(text):  # the offset has seconds, e.g. local time a century ago
        text = moment.astimezone(UTC).isoformat()
    return text
