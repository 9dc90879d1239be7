"""The number functions of AWS IoT SQL. A ValueError or ArithmeticError becomes Undefined in `evaluate.call`."""

import decimal
from collections.abc import Callable
from typing import Any

from cpsim_kit.local.iot_sql.values import UNDEFINED, Number, integer, to_int, to_number

_ROUNDED = decimal.Context(prec=400)


def numeric(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that converts every argument to a number first."""

    def call(*values: Any) -> Any:
        numbers = [to_number(value) for value in values]
        return UNDEFINED if UNDEFINED in numbers else function(*numbers)

    return call


def integral(function: Callable[..., int]) -> Callable[..., Any]:
    """Make a function that converts every argument to an Int first, and whose result is an Int."""

    def call(*values: Any) -> Any:
        numbers = [to_int(value) for value in values]
        return UNDEFINED if UNDEFINED in numbers else integer(function(*numbers))

    return call


def rounded(rounding: str) -> Callable[..., Any]:
    """Make a function that rounds a number to an Int.

    Args:
        rounding: One of the modes of `decimal`.
    """

    def call(number: Number) -> Number:
        if type(number) is int:
            return number
        return integer(int(decimal.Decimal(repr(number)).to_integral_value(rounding)))

    return numeric(call)


def trunc(value: Any, places: Any) -> Any:
    """Cut a number after ``places`` decimal places, 0 to 34."""
    number, digits = to_number(value), to_int(places)
    if number is UNDEFINED or digits is UNDEFINED or type(places) is str:
        return UNDEFINED
    if type(number) is int:
        return number
    digits = min(max(digits, 0), 34)
    exact = decimal.Decimal(repr(number))
    step = decimal.Decimal(1).scaleb(-digits)
    return float(exact.quantize(step, decimal.ROUND_DOWN, _ROUNDED))
