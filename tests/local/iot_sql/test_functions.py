"""AWS IoT SQL: the table of functions."""

import pytest
from sql_cases import check_value, exact, nothing_left_behind  # noqa: F401 - an autouse fixture

from cpsim_kit.local.iot_sql import compile_sql
from cpsim_kit.local.iot_sql.values import UNDEFINED

# Expression over MANY, value. UNDEFINED: the item is left out. "guide" marks an example of AWS's developer guide.
EXPRESSIONS = [
    # Null and Undefined
    ("isNull(5)", False),  # guide
    ("isNull(Null)", True),  # guide
    ("isNull(missing)", False),
    ("isUndefined(5)", False),  # guide
    ("isUndefined(floor([1,2,3]))", True),  # guide
    ("isUndefined(nul)", False),
    # a wrong number of arguments is Undefined, as the guide says
    ("abs()", UNDEFINED),
    ("abs(1, 2)", UNDEFINED),
    ("get(arr)", UNDEFINED),
    ("timestamp(1)", UNDEFINED),
    ("topic(1, 2)", UNDEFINED),
]


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS, ids=[row[0] for row in EXPRESSIONS])
def test_function_with_these_arguments(expression, expected):
    check_value(expression, expected)


@pytest.mark.parametrize(
    ("expression", "expected", "newer"),
    [
        ("length('four')", 4, ("length()",)),
        ("isUndefined(missing)", True, ("isundefined()",)),
        ("length(encode(*, 'base64') + '') > indexof('ab', 'b')", True, ("length()", "encode()", "indexof()")),
        ("upper('a')", "A", ()),
    ],
)
def test_version_2015_takes_functions_that_came_later_and_names_them(expression, expected, newer):
    """The guide has them for 2016-03-23 and later, and does not say what the older version does with them."""
    statement = compile_sql(f"SELECT {expression} AS x FROM 'a'", version="2015-10-08")
    assert sorted(statement.newer_functions) == sorted(newer)
    assert exact(statement.evaluate("a", b"{}")) == exact({"x": expected})
    assert compile_sql(statement.sql, version="2016-03-23").newer_functions == ()
