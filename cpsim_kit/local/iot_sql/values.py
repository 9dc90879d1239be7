"""The values of AWS IoT SQL and their conversions.

A value is a JSON value (``None`` is Null, an ``int`` is an Int, a ``float`` is a Decimal) or `UNDEFINED`. Source: "Data
types" in the AWS IoT Core developer guide (iot-sql-data-types), with its conversion tables.

Narrower than AWS: an Int has 64 bits and a Decimal is an IEEE double; AWS computes with 34 digits. A number that fits
neither is Undefined, so NaN and Infinity never appear.

Pure: no I/O, and no import of another module of this package.
"""

import decimal
import enum
import math
import re
from typing import Any, Final, Literal

import orjson


class Sentinel(enum.Enum):
    """Two results that are not JSON values. Both are false; compare them with ``is``."""

    UNDEFINED = "Undefined"
    NO_MATCH = "NO_MATCH"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return str(self.value)

    __str__ = __repr__


UNDEFINED: Final = Sentinel.UNDEFINED

Undefined = Literal[Sentinel.UNDEFINED]
Number = int | float
NUMBER_TYPES: Final = frozenset({int, float})  # for ``type(value) in``; bool is not among them

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]+)?")
_EXACT_WHOLE = 2.0**53


def whole(value: Any) -> Any:
    """Convert a whole Decimal to Int, as SQL version 2016-03-23 does, and NaN and Infinity to Undefined."""
    if type(value) is float:
        if value.is_integer() and -_EXACT_WHOLE <= value <= _EXACT_WHOLE:
            return int(value)
        return finite(value)
    return value


def finite(value: Any) -> Any:
    """Replace NaN and Infinity by Undefined."""
    return UNDEFINED if type(value) is float and not math.isfinite(value) else value


def integer(value: int) -> Number:
    """Return an Int that fits 64 bits unchanged; convert a larger one to Decimal, as a JSON parser does."""
    return value if -(1 << 63) <= value < 1 << 64 else float(value)


def to_number(value: Any) -> Number | Undefined:
    """Convert to Decimal. An Int stays an Int; a String must look like a number; anything else is Undefined."""
    kind = type(value)
    if kind is int or kind is float:
        return value  # type: ignore[no-any-return]  # the two kinds just tested
    if kind is str and _NUMBER.fullmatch(value):
        number = float(value)
        return number if math.isfinite(number) else UNDEFINED
    return UNDEFINED


def to_int(value: Any) -> int | Undefined:
    """Convert to Int, rounding down.

    The argument tables of "Functions" round down, and so does the example ``substring("012345", 2.745)``. The table of
    "Data types" says "nearest" for a Decimal, but no example in the guide rounds up.
    """
    number = to_number(value)
    return UNDEFINED if number is UNDEFINED else math.floor(number)


def to_bool(value: Any) -> bool | Undefined:
    """Convert to Boolean: a Boolean, or "true" or "false" in any case. Anything else is Undefined."""
    if isinstance(value, bool):
        return value
    if type(value) is str:
        lowered = value.lower()
        return True if lowered == "true" else False if lowered == "false" else UNDEFINED
    return UNDEFINED


def to_string(value: Any) -> str | Undefined:
    """Convert to String. An Array or Object becomes compact JSON; Null and Undefined become Undefined."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]  # the kind just tested
    if kind is int:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is float:
        return str(decimal.Decimal(repr(value)))
    if value is None or value is UNDEFINED:
        return UNDEFINED
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # nested deeper than orjson can write (254 levels)
        return UNDEFINED


def cast(kind: str, value: Any) -> Any:
    """Convert explicitly: the standard conversions, and those between numbers and Booleans. Null becomes Undefined.

    Args:
        kind: "string", "int", "decimal" or "boolean".
        value: The value to convert.
    """
    if kind == "string":
        return to_string(value)
    if type(value) is bool:
        return value if kind == "boolean" else int(value) if kind == "int" else float(value)
    if kind == "boolean":
        return bool(value) if type(value) in NUMBER_TYPES else to_bool(value)
    number = to_int(value) if kind == "int" else to_number(value)
    if number is UNDEFINED:
        return UNDEFINED
    return integer(int(number)) if kind == "int" else float(number)


CAST_TYPES: Final = {
    **dict.fromkeys(("string", "nvarchar", "text", "ntext", "varchar"), "string"),
    **dict.fromkeys(("int", "integer"), "int"),
    **dict.fromkeys(("double", "decimal"), "decimal"),
    **dict.fromkeys(("bool", "boolean"), "boolean"),
}
"""The type names of ``cast()`` in lower case. Decimal, Bool and Boolean came with SQL version 2016-03-23."""
