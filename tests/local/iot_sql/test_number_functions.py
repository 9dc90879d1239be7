"""AWS IoT SQL: number functions."""

import pytest
from sql_cases import check_value, nothing_left_behind  # noqa: F401 - an autouse fixture

from cpsim_kit.local.iot_sql.values import UNDEFINED

# Expression over MANY, value. UNDEFINED: the item is left out. "guide" marks an example of AWS's developer guide.
EXPRESSIONS = [
    # numbers
    ("abs(-5)", 5),  # guide
    ("abs('-5.123')", 5.123),  # guide
    ("abs(t)", UNDEFINED),
    ("abs(nul)", UNDEFINED),
    ("acos(0)", 1.5707963267948966),  # guide
    ("acos(2)", UNDEFINED),
    ("asin(0)", 0),  # guide
    ("atan(0)", 0),  # guide
    ("atan2(1, 0)", 1.5707963267948966),  # guide
    ("bitand(13, 5)", 5),  # guide
    ("bitor(8, 5)", 13),  # guide
    ("bitxor(13, 5)", 8),  # guide, which writes bitor there
    ("bitnot(13)", -14),  # the guide's table; its example says 2
    ("bitand('13.9', 5)", 5),
    ("bitand(s, 5)", UNDEFINED),
    ("ceil(1.2)", 2),  # guide
    ("ceil(-1.2)", -1),  # guide
    ("cos(0)", 1),  # guide
    ("cosh(2.3)", 5.037220649268761),  # guide
    ("cosh(1000)", UNDEFINED),
    ("exp(1)", 2.718281828459045),  # guide
    ("floor(1.2)", 1),  # guide
    ("floor(-1.2)", -2),  # guide
    ("floor([1,2,3])", UNDEFINED),
    ("ln(2.718281828459045)", 1),  # guide
    ("ln(0)", UNDEFINED),
    ("log(100)", 2),  # guide
    ("mod(8, 3)", 2),  # guide
    ("nanvl(8, 3)", 8),  # guide
    ("Nanvl(missing, 3)", 3),
    ("nanvl(nul, 3)", 3),
    ("power(2, 5)", 32),  # guide
    ("power(0, -1)", UNDEFINED),
    ("remainder(8, 3)", 2),  # guide
    ("Round(1.2)", 1),  # guide
    ("Round(1.5)", 2),  # guide
    ("Round(1.7)", 2),  # guide
    ("Round(-1.1)", -1),  # guide
    ("Round(-1.5)", -2),  # guide
    ("round(2.5)", 3),
    ("round('x')", UNDEFINED),
    ("sign(-7)", -1),  # guide
    ("sign(0)", 0),  # guide
    ("sign(13)", 1),  # guide
    ("sin(0)", 0),  # guide
    ("sinh(2.3)", 4.936961805545957),  # guide
    ("sqrt(9)", 3),  # guide
    ("sqrt(-1)", UNDEFINED),
    ("tan(3)", -0.1425465430742778),  # guide
    ("tanh(2.3)", 0.9800963962661914),  # guide
    ("trunc(2.3, 0)", 2),  # guide
    ("trunc(2.3123, 2)", 2.31),  # guide
    ("trunc(2.888, 2)", 2.88),  # guide
    ("trunc(2.00, 5)", 2),  # guide
    ("trunc(-2.888, 1)", -2.8),
    ("trunc(2.888, '2')", UNDEFINED),
]


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS, ids=[row[0] for row in EXPRESSIONS])
def test_number_function_has_the_value_of_the_guide(expression, expected):
    check_value(expression, expected)
