"""AWS IoT SQL: Undefined, and conversions."""

import pytest
from sql_cases import MANY, check_value, evaluate, exact, nothing_left_behind  # noqa: F401 - an autouse fixture

from cpsim_kit.local.iot_sql import NO_MATCH
from cpsim_kit.local.iot_sql.values import UNDEFINED

# Expression over MANY, value. UNDEFINED: the item is left out. "guide" marks an example of AWS's developer guide.
EXPRESSIONS = [
    # conversions: cast()
    ("cast(true as Int)", 1),  # guide
    ("cast(2.7 AS Int)", 2),
    ("cast(-2.7 AS INTEGER)", -3),
    ("cast('5E-1' AS Decimal)", 0.5),
    ("cast('x' AS Double)", UNDEFINED),
    ("cast(false AS Decimal)", 0),
    ("cast(0 AS Boolean)", False),
    ("cast(d AS Bool)", True),
    ("cast('TRUE' AS Boolean)", True),
    ("cast('yes' AS Boolean)", UNDEFINED),
    ("cast(t AS String)", "true"),
    ("cast(arr AS Text)", '[1,"two",null]'),
    ("cast(0.0000001 AS String)", "1E-7"),
    ("cast(nul AS String)", UNDEFINED),
    ("cast(obj AS Int)", UNDEFINED),
]


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS, ids=[row[0] for row in EXPRESSIONS])
def test_cast_has_the_value_of_the_guide(expression, expected):
    check_value(expression, expected)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("w", 10.0),
        ("w / 4", 2.5),
        ("w + ''", "10.0"),
        ("sqrt(9)", 3.0),
        ("power(2, 5)", 32.0),
        ("1.0", 1.0),
        ("7 / 2", 3),
    ],
)
def test_version_2015_keeps_a_whole_decimal_a_decimal(expression, expected):
    event = evaluate(f"SELECT {expression} AS x FROM 'a'", MANY, version="2015-10-08")
    assert exact(event) == exact({"x": expected})


def test_sentinels_are_false_and_say_what_they_are():
    assert not NO_MATCH
    assert not UNDEFINED
    assert repr([NO_MATCH, UNDEFINED]) == "[NO_MATCH, Undefined]"
