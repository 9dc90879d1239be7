"""The values of AWS IoT SQL: type conversions, operators, and the functions that need no message.

Pure: no I/O, and no import of another module of this package. `iot_sql` compiles statements and calls what is here.

A value is what JSON has (``None`` is Null, ``int`` is Int, ``float`` is Decimal) or `UNDEFINED`. Sources, all in the
AWS IoT Core developer guide: "Data types" (iot-sql-data-types: the conversion tables), "Operators" (iot-sql-operators),
"Functions" (iot-sql-functions: a table of argument types for each function).

Where an example in the guide contradicts the table or sentence beside it, the latter wins: ``get("abc", 1)`` is "b"
(indexes count from 0), ``bitnot(13)`` is -14 (a bitwise NOT), ``concat(1)`` is 1 (a single argument is not modified).

Narrower than AWS: Int has 64 bits and Decimal is an IEEE double, where AWS computes with 34 digits. Decimal arithmetic
goes through `decimal`, so ``0.1 + 0.2`` is 0.3. A number that fits neither is Undefined: NaN and Infinity never appear.
Regular expressions are Python's (ASCII classes, as Java's are), and nothing stops one that backtracks for ever.
"""

import base64
import binascii
import decimal
import enum
import functools
import hashlib
import math
import random
import re
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

import orjson


class Sentinel(enum.Enum):
    """Two answers that are no JSON value; both are false, and both are compared with ``is``."""

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

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]+)?")
_DECIMALS = decimal.Context(prec=34, Emin=-9999, Emax=9999)
_ROUNDED = decimal.Context(prec=400)
_EXACT_WHOLE = 2.0**53


# Conversions: the tables of "Data types".


def whole(value: Any) -> Any:
    """Make a whole Decimal an Int, as SQL version 2016-03-23 does; drop what no JSON number can be."""
    if type(value) is float:
        if value.is_integer() and -_EXACT_WHOLE <= value <= _EXACT_WHOLE:
            return int(value)
        return finite(value)
    return value


def finite(value: Any) -> Any:
    """Replace NaN and Infinity by Undefined."""
    return UNDEFINED if type(value) is float and not math.isfinite(value) else value


def integer(value: int) -> Number:
    """Keep an Int that fits 64 bits; a larger one becomes a Decimal, as it would when read from JSON."""
    return value if -(1 << 63) <= value < 1 << 64 else float(value)


def to_number(value: Any) -> Number | Undefined:
    """Convert to Decimal; an Int stays an Int, a String must look like a number, anything else is Undefined."""
    kind = type(value)
    if kind is int or kind is float:
        return value  # type: ignore[no-any-return]  # the two kinds just tested
    if kind is str and _NUMBER.fullmatch(value):
        number = float(value)
        return number if math.isfinite(number) else UNDEFINED
    return UNDEFINED


def to_int(value: Any) -> int | Undefined:
    """Convert to Int, rounding down, as the argument tables of "Functions" and ``substring("012345", 2.745)`` have it.

    The general table of "Data types" says "nearest" for a Decimal; no example in the guide rounds up.
    """
    number = to_number(value)
    return UNDEFINED if number is UNDEFINED else math.floor(number)


def to_bool(value: Any) -> bool | Undefined:
    """Convert to Boolean: only a Boolean, or "true" and "false" in any case."""
    if isinstance(value, bool):
        return value
    if type(value) is str:
        lowered = value.lower()
        return True if lowered == "true" else False if lowered == "false" else UNDEFINED
    return UNDEFINED


def to_string(value: Any) -> str | Undefined:
    """Convert to String; Null and Undefined become Undefined, an Array or Object its compact JSON."""
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
    except orjson.JSONEncodeError:  # nested deeper than orjson writes (254 levels)
        return UNDEFINED


# Operators.


def equal(left: Any, right: Any) -> bool | Undefined:
    """Compare with ``=``: numbers by value, containers deeply, different types are unequal, Undefined is Undefined."""
    try:
        return UNDEFINED if left is UNDEFINED or right is UNDEFINED else _same(left, right)
    except RecursionError:
        return UNDEFINED


def _same(left: Any, right: Any) -> bool:
    kind, other = type(left), type(right)
    if kind is not other:
        return kind in _NUMBERS and other in _NUMBERS and bool(left == right)
    if kind is list:
        return len(left) == len(right) and all(map(_same, left, right))
    if kind is dict:
        return left.keys() == right.keys() and all(_same(item, right[key]) for key, item in left.items())
    return bool(left == right)


_NUMBERS = frozenset({int, float})


def unequal(left: Any, right: Any) -> bool | Undefined:
    same = equal(left, right)
    return UNDEFINED if same is UNDEFINED else not same


def ordering(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool | Undefined]:
    """Make one of the comparisons that convert both sides to numbers."""

    def compared(left: Any, right: Any) -> bool | Undefined:
        first, second = to_number(left), to_number(right)
        return UNDEFINED if first is UNDEFINED or second is UNDEFINED else compare(first, second)

    return compared


def contains(item: Any, items: Any) -> bool | Undefined:
    """Evaluate ``item IN items``; the right side must be an Array."""
    if item is UNDEFINED or type(items) is not list:
        return UNDEFINED
    return any(equal(item, candidate) is True for candidate in items)


def add(left: Any, right: Any) -> Any:
    """Evaluate ``+``: concatenation when either side is a String, else addition."""
    if type(left) is str or type(right) is str:
        return join(left, right)
    if type(left) not in _NUMBERS or type(right) not in _NUMBERS:
        return UNDEFINED
    return arithmetic(left, right, int.__add__, _DECIMALS.add)


def join(left: Any, right: Any) -> str | Undefined:
    """Concatenate the two operands as Strings."""
    first, second = to_string(left), to_string(right)
    return UNDEFINED if first is UNDEFINED or second is UNDEFINED else first + second


def subtract(left: Any, right: Any) -> Any:
    return arithmetic(left, right, int.__sub__, _DECIMALS.subtract)


def multiply(left: Any, right: Any) -> Any:
    return arithmetic(left, right, int.__mul__, _DECIMALS.multiply)


def divide(left: Any, right: Any) -> Any:
    """Evaluate ``/``; Int by Int is an Int, truncated. Division by zero is Undefined."""
    return arithmetic(left, right, _quotient, _DECIMALS.divide)


def modulo(left: Any, right: Any) -> Any:
    """Evaluate ``%``; the remainder has the sign of the left side. Modulo zero is Undefined."""
    return arithmetic(left, right, lambda a, b: a - b * _quotient(a, b), _DECIMALS.remainder)


def _quotient(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def arithmetic(
    left: Any,
    right: Any,
    of_ints: Callable[[int, int], int],
    of_decimals: Callable[[decimal.Decimal, decimal.Decimal], decimal.Decimal],
) -> Number | Undefined:
    """Compute on two Ints, or on two operands converted to Decimal; the caller drops an infinite result."""
    try:
        if type(left) is int and type(right) is int:
            return integer(of_ints(left, right))
        first, second = to_number(left), to_number(right)
        if first is UNDEFINED or second is UNDEFINED:
            return UNDEFINED
        return float(of_decimals(decimal.Decimal(repr(first)), decimal.Decimal(repr(second))))
    except ArithmeticError:
        return UNDEFINED


# Functions. Each takes values and returns a value; ValueError and ArithmeticError mean Undefined to the caller.


def _numeric(function: Callable[..., Any]) -> Callable[..., Any]:
    """Convert every argument to a number first."""

    def call(*values: Any) -> Any:
        numbers = [to_number(value) for value in values]
        return UNDEFINED if UNDEFINED in numbers else function(*numbers)

    return call


def _integral(function: Callable[..., int]) -> Callable[..., Any]:
    """Convert every argument to an Int first; the result is an Int."""

    def call(*values: Any) -> Any:
        numbers = [to_int(value) for value in values]
        return UNDEFINED if UNDEFINED in numbers else integer(function(*numbers))

    return call


def _textual(function: Callable[..., Any]) -> Callable[..., Any]:
    """Convert every argument to a String first."""

    def call(*values: Any) -> Any:
        texts = [to_string(value) for value in values]
        return UNDEFINED if UNDEFINED in texts else function(*texts)

    return call


def _rounded(rounding: str) -> Callable[..., Any]:
    def call(number: Number) -> Number:
        if type(number) is int:
            return number
        return integer(int(decimal.Decimal(repr(number)).to_integral_value(rounding)))

    return _numeric(call)


def _trunc(value: Any, places: Any) -> Any:
    number, digits = to_number(value), to_int(places)
    if number is UNDEFINED or digits is UNDEFINED or type(places) is str:
        return UNDEFINED
    if type(number) is int:
        return number
    digits = min(max(digits, 0), 34)
    exact = decimal.Decimal(repr(number))
    step = decimal.Decimal(1).scaleb(-digits)
    return float(exact.quantize(step, decimal.ROUND_DOWN, _ROUNDED))


def get(container: Any, key: Any) -> Any:
    """Take an item of an Array, a character of a String (both count from 0) or a member of an Object."""
    kind = type(container)
    if kind is dict:
        return container.get(key, UNDEFINED) if type(key) is str else UNDEFINED
    if kind is list or kind is str:
        index = key if type(key) is int else to_int(key)
        if index is not UNDEFINED and 0 <= index < len(container):
            return container[index]
    return UNDEFINED


def _get_or_default(value: Any, default: Any = UNDEFINED) -> Any:
    return default if value is None or value is UNDEFINED else value


def _concat(*values: Any) -> Any:
    if len(values) < 2:
        return values[0] if values else UNDEFINED
    if UNDEFINED in values:
        return UNDEFINED
    if any(type(value) is list for value in values):
        return [item for value in values for item in (value if type(value) is list else [value])]
    if any(type(value) is str for value in values):
        return functools.reduce(join, values)
    return UNDEFINED


def _padded(pad: Callable[[str, str], str]) -> Callable[..., Any]:
    def call(value: Any, spaces: Any) -> Any:
        text, count = to_string(value), to_int(spaces)
        return UNDEFINED if text is UNDEFINED or count is UNDEFINED else pad(text, " " * min(max(count, 0), 1000))

    return call


def _substring(value: Any, start: Any, end: Any = 1 << 62) -> Any:
    text, first, last = to_string(value), to_int(start), to_int(end)
    if text is UNDEFINED or first is UNDEFINED or last is UNDEFINED:
        return UNDEFINED
    return text[max(first, 0) : max(last, 0)]


def _chr(value: Any) -> Any:
    code = to_int(value)
    return chr(code) if code is not UNDEFINED and 0 <= code < 128 else UNDEFINED


def _hash(name: str) -> Callable[..., Any]:
    return _textual(lambda text: hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest())


def to_base64(payload: bytes) -> str:
    return base64.b64encode(payload).decode("ascii")


def _encode(value: Any, _scheme: Any) -> Any:
    text = to_string(value)
    return UNDEFINED if text is UNDEFINED else to_base64(text.encode())


def _decode(value: Any, _scheme: Any) -> Any:
    text = to_string(value)
    if text is UNDEFINED:
        return UNDEFINED
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return None  # AWS: Null when the string cannot be decoded
    try:
        return orjson.loads(decoded)
    except orjson.JSONDecodeError:
        return decoded


def _transform(mode: Any, attributes: Any, items: Any) -> Any:
    if mode != "enrichArray" or type(attributes) is not dict or type(items) is not list:
        return UNDEFINED
    if not all(type(item) is dict for item in items):
        return UNDEFINED
    return [{**item, **attributes} for item in items]


_NAMED_GROUP = re.compile(r"(?<!\\)\(\?<(?=[A-Za-z])")  # Java's spelling


@functools.lru_cache(maxsize=256)
def regular_expression(pattern: str) -> re.Pattern[str] | Undefined:
    """Compile a regular expression once; Undefined when Python cannot."""
    try:
        with warnings.catch_warnings():  # a pattern from a message must not print, nor raise under -W error
            warnings.simplefilter("ignore")
            return re.compile(_NAMED_GROUP.sub("(?P<", pattern), re.ASCII)
    except (re.error, OverflowError, RecursionError):
        return UNDEFINED


def _regexp_matches(text: str, pattern: str) -> Any:
    compiled = regular_expression(pattern)
    return UNDEFINED if compiled is UNDEFINED else compiled.search(text) is not None


def _regexp_substr(text: str, pattern: str) -> Any:
    compiled = regular_expression(pattern)
    found = None if compiled is UNDEFINED else compiled.search(text)
    return UNDEFINED if found is None else found[0]


def _regexp_replace(text: str, pattern: str, replacement: str) -> Any:
    compiled = regular_expression(pattern)
    if compiled is UNDEFINED:
        return UNDEFINED
    parts = _replacement(replacement, compiled.groups)
    return compiled.sub(lambda found: "".join(p if isinstance(p, str) else found[p] or "" for p in parts), text)


_REPLACEMENT = re.compile(r"\$([0-9]+)|\\(.)|[^$\\]+", re.DOTALL)


@functools.lru_cache(maxsize=256)
def _replacement(text: str, groups: int) -> tuple[str | int, ...]:
    """Split a replacement into text and group numbers: ``$1`` is a group, a backslash makes the next character plain.

    Raises:
        ValueError: It is no replacement, or names a group that is not there.
    """
    parts: list[str | int] = []
    position = 0
    while position < len(text):
        found = _REPLACEMENT.match(text, position)
        if found is None:
            raise ValueError(f"not a replacement: {text!r}")
        if digits := found[1]:
            while len(digits) > 1 and int(digits) > groups:  # as in Java: as many digits as name a group
                digits = digits[:-1]
            if int(digits) > groups:
                raise ValueError(f"no group {digits} in the regular expression")
            parts += [int(digits), found[1][len(digits) :]]
        else:
            parts.append(found[2] or found[0])
        position = found.end()
    return tuple(parts)


def cast(kind: str, value: Any) -> Any:
    """Convert explicitly: as the standard conversions, and between numbers and Booleans. Null casts to Undefined."""
    if kind == "string":
        return to_string(value)
    if type(value) is bool:
        return value if kind == "boolean" else int(value) if kind == "int" else float(value)
    if kind == "boolean":
        return bool(value) if type(value) in _NUMBERS else to_bool(value)
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
"""What may follow ``AS`` in ``cast()``; Decimal, Bool and Boolean since SQL version 2016-03-23."""


# Times: parse_time() formats with Joda-Time's pattern letters, time_to_epoch() reads with those of the JDK.

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_PATTERN = re.compile(r"(?P<quoted>'(?:[^']|'')*')|(?P<field>([A-Za-z])\3*)|(?P<text>[^A-Za-z']+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@functools.lru_cache(maxsize=64)
def _pattern_parts(pattern: str) -> tuple[tuple[str, int, str], ...]:
    """Split a date pattern into ``(letter, count, "")`` fields and ``("", 0, text)`` literals."""
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
    """Find a time zone by id, offset or both (``UTC+01:00``).

    Raises:
        ValueError: There is no such zone.
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


def _joda(letter: str, count: int, moment: datetime) -> str:
    """Write one field as Joda-Time's DateTimeFormat does, in English."""
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
        raise ValueError(f"{letter!r} is no letter of a date pattern")
    return text


def _parse_time(pattern: Any, timestamp: Any, zone: Any = "UTC") -> Any:
    milliseconds = to_int(timestamp)
    if type(pattern) is not str or type(zone) is not str or milliseconds is UNDEFINED:
        return UNDEFINED
    moment = (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(_zone(zone))
    return "".join(text or _joda(letter, count, moment) for letter, count, text in _pattern_parts(pattern))


_ZONES = r"[A-Za-z][\w/+:-]*|[+-]\d\d?(?::?\d\d)?"
_OFFSETS = {
    "X": r"Z|[+-]\d\d(?::?\d\d)?",
    "x": r"[+-]\d\d(?::?\d\d)?",
    "Z": r"[+-]\d\d:?\d\d",
    "O": r"(?:GMT|UTC)[+\d:-]*",
}


def _jdk(letter: str, count: int) -> str:
    """Give the regular expression of one field of a java.time pattern."""
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
        raise ValueError(f"{letter!r} is not read by the local stack's time_to_epoch()")
    return expression


@functools.lru_cache(maxsize=64)
def _time_reader(pattern: str) -> re.Pattern[str]:
    expression = ""
    for letter, count, text in _pattern_parts(pattern):
        if letter:
            expression += f"(?P<{letter}{count}>{_jdk(letter, count)})"
        else:
            expression += re.escape(text).replace(r"\[", "(?:").replace(r"\]", ")?")
    return re.compile(expression, re.ASCII)  # re.error (a letter twice, an open bracket) is handled by the caller


def _time_to_epoch(text: Any, pattern: Any) -> Any:
    if type(text) is not str or type(pattern) is not str:
        return UNDEFINED
    try:
        found = _time_reader(pattern).fullmatch(text)
    except re.error:
        return UNDEFINED
    if found is None:
        return UNDEFINED
    fields = {name[0]: value for name, value in found.groupdict().items() if value is not None}
    zone = next((_zone(fields[letter]) for letter in "VzXxZO" if letter in fields), UTC)
    return (_moment(fields, zone) - _EPOCH) // timedelta(milliseconds=1)


def _moment(fields: dict[str, str], zone: tzinfo) -> datetime:
    """Put the fields of a time together; ``int("")`` and a failing ``index`` are the ValueError of a missing one."""
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


class Function(NamedTuple):
    """A function of AWS IoT SQL: a wrong number of arguments gives Undefined, as the guide says."""

    call: Callable[..., Any]
    least: int
    most: int
    since_2016: bool = False


_MANY = 1 << 30
_OF_ONE_NUMBER = ("acos", "asin", "atan", "cos", "cosh", "exp", "sin", "sinh", "sqrt", "tan", "tanh")
_HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")

FUNCTIONS: Final[dict[str, Function]] = {
    **{name: Function(_numeric(getattr(math, name)), 1, 1) for name in _OF_ONE_NUMBER},
    **{name: Function(_hash(name), 1, 1) for name in _HASHES},
    "abs": Function(_numeric(abs), 1, 1),
    "atan2": Function(_numeric(math.atan2), 2, 2),
    "bitand": Function(_integral(int.__and__), 2, 2),
    "bitnot": Function(_integral(int.__invert__), 1, 1),
    "bitor": Function(_integral(int.__or__), 2, 2),
    "bitxor": Function(_integral(int.__xor__), 2, 2),
    "ceil": Function(_rounded(decimal.ROUND_CEILING), 1, 1),
    "chr": Function(_chr, 1, 1),
    "concat": Function(_concat, 0, _MANY),
    "decode": Function(_decode, 2, 2, since_2016=True),
    "encode": Function(_encode, 2, 2, since_2016=True),
    "endswith": Function(_textual(str.endswith), 2, 2),
    "floor": Function(_rounded(decimal.ROUND_FLOOR), 1, 1),
    "get": Function(get, 2, 2),
    "get_or_default": Function(_get_or_default, 1, 2, since_2016=True),
    "indexof": Function(_textual(str.find), 2, 2, since_2016=True),
    "isnull": Function(lambda value: value is None, 1, 1),
    "isundefined": Function(lambda value: value is UNDEFINED, 1, 1, since_2016=True),
    "length": Function(_textual(len), 1, 1, since_2016=True),
    "ln": Function(_numeric(math.log), 1, 1),
    "log": Function(_numeric(math.log10), 1, 1),
    "lower": Function(_textual(str.lower), 1, 1),
    "lpad": Function(_padded(lambda text, spaces: spaces + text), 2, 2),
    "ltrim": Function(_textual(lambda text: text.lstrip(" \t")), 1, 1),
    "mod": Function(modulo, 2, 2),
    "nanvl": Function(_get_or_default, 2, 2),
    "numbytes": Function(_textual(lambda text: len(text.encode())), 1, 1, since_2016=True),
    "parse_time": Function(_parse_time, 2, 3, since_2016=True),
    "power": Function(_numeric(math.pow), 2, 2),
    "rand": Function(random.random, 0, 0),
    "regexp_matches": Function(_textual(_regexp_matches), 2, 2),
    "regexp_replace": Function(_textual(_regexp_replace), 3, 3),
    "regexp_substr": Function(_textual(_regexp_substr), 2, 2),
    "remainder": Function(modulo, 2, 2),
    "replace": Function(_textual(str.replace), 3, 3),
    "round": Function(_rounded(decimal.ROUND_HALF_UP), 1, 1),
    "rpad": Function(_padded(lambda text, spaces: text + spaces), 2, 2),
    "rtrim": Function(_textual(lambda text: text.rstrip(" \t")), 1, 1),
    "sign": Function(_numeric(lambda number: (number > 0) - (number < 0)), 1, 1),
    "startswith": Function(_textual(str.startswith), 2, 2),
    "substring": Function(_substring, 2, 3),
    "time_to_epoch": Function(_time_to_epoch, 2, 2, since_2016=True),
    "transform": Function(_transform, 3, 3, since_2016=True),
    "trim": Function(_textual(lambda text: text.strip(" \t\n\r\f\v")), 1, 1),
    "trunc": Function(_trunc, 2, 2),
    "upper": Function(_textual(str.upper), 1, 1),
}
"""The functions by name in lower case; AWS IoT SQL does not mind the case of a function's name."""

UNSUPPORTED: Final = frozenset(
    (
        "aws_lambda",
        "get_dynamodb",
        "get_mqtt_property",
        "get_registry_data",
        "get_secret",
        "get_thing_shadow",
        "get_user_properties",
        "machinelearning_predict",
        "md2",
        "sourceip",
    )
)
"""Functions that call another AWS service, need MQTT 5 properties or a network address; and MD2, not in hashlib."""
