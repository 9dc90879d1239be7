"""The operators of AWS IoT SQL: comparison and arithmetic. AND, OR and NOT are in `evaluate`.

Source: "Operators" in the AWS IoT Core developer guide (iot-sql-operators). Decimal arithmetic uses `decimal`, so
``0.1 + 0.2`` is 0.3.

Pure: imports `values` only.
"""

import decimal
from collections.abc import Callable
from typing import Any

from cpsim_kit.local.iot_sql.values import NUMBER_TYPES, UNDEFINED, Number, Undefined, integer, to_number, to_string

_DECIMALS = decimal.Context(prec=34, Emin=-9999, Emax=9999)


def equal(left: Any, right: Any) -> bool | Undefined:
    """Compare with ``=``.

    Numbers are compared by value, Arrays and Objects deeply. Values of different types are unequal. The result is
    Undefined if either side is Undefined.
    """
    try:
        return UNDEFINED if left is UNDEFINED or right is UNDEFINED else _same(left, right)
    except RecursionError:
        return UNDEFINED


def _same(left: Any, right: Any) -> bool:
    kind, other = type(left), type(right)
    if kind is not other:
        return kind in NUMBER_TYPES and other in NUMBER_TYPES and bool(left == right)
    if kind is list:
        return len(left) == len(right) and all(map(_same, left, right))
    if kind is dict:
        return left.keys() == right.keys() and all(_same(item, right[key]) for key, item in left.items())
    return bool(left == right)


def unequal(left: Any, right: Any) -> bool | Undefined:
    same = equal(left, right)
    return UNDEFINED if same is UNDEFINED else not same


def ordering(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool | Undefined]:
    """Make ``<``, ``<=``, ``>`` or ``>=``, which convert both sides to numbers."""

    def compared(left: Any, right: Any) -> bool | Undefined:
        first, second = to_number(left), to_number(right)
        return UNDEFINED if first is UNDEFINED or second is UNDEFINED else compare(first, second)

    return compared


def contains(item: Any, items: Any) -> bool | Undefined:
    """Evaluate ``item IN items``. Undefined unless ``items`` is an Array."""
    if item is UNDEFINED or type(items) is not list:
        return UNDEFINED
    return any(equal(item, candidate) is True for candidate in items)


def add(left: Any, right: Any) -> Any:
    """Evaluate ``+``: concatenate if either side is a String, else add."""
    if type(left) is str or type(right) is str:
        return join(left, right)
    if type(left) not in NUMBER_TYPES or type(right) not in NUMBER_TYPES:
        return UNDEFINED
    return _arithmetic(left, right, int.__add__, _DECIMALS.add)


def join(left: Any, right: Any) -> str | Undefined:
    """Concatenate the two operands as Strings."""
    first, second = to_string(left), to_string(right)
    return UNDEFINED if first is UNDEFINED or second is UNDEFINED else first + second


def subtract(left: Any, right: Any) -> Any:
    return _arithmetic(left, right, int.__sub__, _DECIMALS.subtract)


def multiply(left: Any, right: Any) -> Any:
    return _arithmetic(left, right, int.__mul__, _DECIMALS.multiply)


def divide(left: Any, right: Any) -> Any:
    """Evaluate ``/``. Int by Int is a truncated Int; division by zero is Undefined."""
    return _arithmetic(left, right, _quotient, _DECIMALS.divide)


def modulo(left: Any, right: Any) -> Any:
    """Evaluate ``%``. The remainder has the sign of the left side; modulo zero is Undefined."""
    return _arithmetic(left, right, lambda a, b: a - b * _quotient(a, b), _DECIMALS.remainder)


def _quotient(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _arithmetic(
    left: Any,
    right: Any,
    of_ints: Callable[[int, int], int],
    of_decimals: Callable[[decimal.Decimal, decimal.Decimal], decimal.Decimal],
) -> Number | Undefined:
    """Compute with two Ints, or with two operands converted to Decimal. The caller replaces an infinite result."""
    try:
        if type(left) is int and type(right) is int:
            return integer(of_ints(left, right))
        first, second = to_number(left), to_number(right)
        if first is UNDEFINED or second is UNDEFINED:
            return UNDEFINED
        return float(of_decimals(decimal.Decimal(repr(first)), decimal.Decimal(repr(second))))
    except ArithmeticError:
        return UNDEFINED
