"""The table of AWS IoT SQL's functions that need no message: their names and how many arguments they take.

Source: "Functions" in the AWS IoT Core developer guide (iot-sql-functions), which has a table of argument types for
each function. Where an example contradicts the table or sentence beside it, the table or sentence is followed:
``get("abc", 1)`` is "b" (indexes count from 0), ``bitnot(13)`` is -14 (a bitwise NOT), ``concat(1)`` is 1 (a single
argument is unchanged).
"""

import decimal
import math
import random
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from cpsim_kit.local.iot_sql.json_functions import decode, encode, get, get_or_default, transform
from cpsim_kit.local.iot_sql.number_functions import integral, numeric, rounded, trunc
from cpsim_kit.local.iot_sql.operators import modulo
from cpsim_kit.local.iot_sql.string_functions import (
    chr_ascii,
    concat,
    hashed,
    padded,
    regexp_matches,
    regexp_replace,
    regexp_substr,
    substring,
    textual,
)
from cpsim_kit.local.iot_sql.time_functions import parse_time, time_to_epoch
from cpsim_kit.local.iot_sql.values import UNDEFINED

__all__ = ["FUNCTIONS", "UNSUPPORTED", "Function"]


class Function(NamedTuple):
    """A function of AWS IoT SQL. With a wrong number of arguments its value is Undefined, as the guide says.

    Attributes:
        call: The function on values.
        least: The smallest number of arguments.
        most: The largest number of arguments.
        since_2016: Whether the guide has the function for SQL version 2016-03-23 and later only.
    """

    call: Callable[..., Any]
    least: int
    most: int
    since_2016: bool = False


_MANY = 1 << 30
_OF_ONE_NUMBER = ("acos", "asin", "atan", "cos", "cosh", "exp", "sin", "sinh", "sqrt", "tan", "tanh")
_HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")

FUNCTIONS: Final[dict[str, Function]] = {
    **{name: Function(numeric(getattr(math, name)), 1, 1) for name in _OF_ONE_NUMBER},
    **{name: Function(hashed(name), 1, 1) for name in _HASHES},
    "abs": Function(numeric(abs), 1, 1),
    "atan2": Function(numeric(math.atan2), 2, 2),
    "bitand": Function(integral(int.__and__), 2, 2),
    "bitnot": Function(integral(int.__invert__), 1, 1),
    "bitor": Function(integral(int.__or__), 2, 2),
    "bitxor": Function(integral(int.__xor__), 2, 2),
    "ceil": Function(rounded(decimal.ROUND_CEILING), 1, 1),
    "chr": Function(chr_ascii, 1, 1),
    "concat": Function(concat, 0, _MANY),
    "decode": Function(decode, 2, 2, since_2016=True),
    "encode": Function(encode, 2, 2, since_2016=True),
    "endswith": Function(textual(str.endswith), 2, 2),
    "floor": Function(rounded(decimal.ROUND_FLOOR), 1, 1),
    "get": Function(get, 2, 2),
    "get_or_default": Function(get_or_default, 1, 2, since_2016=True),
    "indexof": Function(textual(str.find), 2, 2, since_2016=True),
    "isnull": Function(lambda value: value is None, 1, 1),
    "isundefined": Function(lambda value: value is UNDEFINED, 1, 1, since_2016=True),
    "length": Function(textual(len), 1, 1, since_2016=True),
    "ln": Function(numeric(math.log), 1, 1),
    "log": Function(numeric(math.log10), 1, 1),
    "lower": Function(textual(str.lower), 1, 1),
    "lpad": Function(padded(lambda text, spaces: spaces + text), 2, 2),
    "ltrim": Function(textual(lambda text: text.lstrip(" \t")), 1, 1),
    "mod": Function(modulo, 2, 2),
    "nanvl": Function(get_or_default, 2, 2),
    "numbytes": Function(textual(lambda text: len(text.encode())), 1, 1, since_2016=True),
    "parse_time": Function(parse_time, 2, 3, since_2016=True),
    "power": Function(numeric(math.pow), 2, 2),
    "rand": Function(random.random, 0, 0),
    "regexp_matches": Function(textual(regexp_matches), 2, 2),
    "regexp_replace": Function(textual(regexp_replace), 3, 3),
    "regexp_substr": Function(textual(regexp_substr), 2, 2),
    "remainder": Function(modulo, 2, 2),
    "replace": Function(textual(str.replace), 3, 3),
    "round": Function(rounded(decimal.ROUND_HALF_UP), 1, 1),
    "rpad": Function(padded(lambda text, spaces: text + spaces), 2, 2),
    "rtrim": Function(textual(lambda text: text.rstrip(" \t")), 1, 1),
    "sign": Function(numeric(lambda number: (number > 0) - (number < 0)), 1, 1),
    "startswith": Function(textual(str.startswith), 2, 2),
    "substring": Function(substring, 2, 3),
    "time_to_epoch": Function(time_to_epoch, 2, 2, since_2016=True),
    "transform": Function(transform, 3, 3, since_2016=True),
    "trim": Function(textual(lambda text: text.strip(" \t\n\r\f\v")), 1, 1),
    "trunc": Function(trunc, 2, 2),
    "upper": Function(textual(str.upper), 1, 1),
}
"""The functions by their names in lower case; AWS IoT SQL ignores the case of a function's name."""

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
"""Functions that the local stack lacks: they call other AWS services, or need MQTT 5 properties or a network address.

md2 is missing because `hashlib` does not have it.
"""
