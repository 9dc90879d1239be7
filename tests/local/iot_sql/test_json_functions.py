"""AWS IoT SQL: functions on Arrays, Objects and encoded data."""

import pytest
from sql_cases import check_value, evaluate, nothing_left_behind  # noqa: F401 - an autouse fixture

from cpsim_kit.local.iot_sql.values import UNDEFINED

# Expression over MANY, value. UNDEFINED: the item is left out. "guide" marks an example of AWS's developer guide.
EXPRESSIONS = [
    # get, encode, decode, transform
    ('get(["a", "b", "c"], 1)', "b"),  # guide
    ('get({"a":"b"}, "a")', "b"),  # guide
    ('get("abc", 1)', "b"),  # indexes count from 0, says the guide's table; its example says "a"
    ("get(arr, '1')", "two"),
    ("get(arr, 3)", UNDEFINED),
    ("get(arr, -1)", UNDEFINED),
    ("get(obj, 1)", UNDEFINED),
    ("get(n, 0)", UNDEFINED),
    ("get_or_default(missing, 'x')", "x"),
    ("get_or_default(nul, 'x')", "x"),
    ("get_or_default(n, 'x')", 5),
    ("get_or_default(missing)", UNDEFINED),
    ('decode("eyAidGVtcGVyYXR1cmUiOiAzMyB9Cg==","base64").temperature', 33),  # guide
    ("decode('aGVsbG8=', 'base64')", "hello"),
    ("decode('###', 'base64')", None),
    ("decode('/w==', 'base64')", None),
    ("decode(missing, 'base64')", UNDEFINED),
    ("encode('hello', 'base64')", "aGVsbG8="),
    ("encode(obj, 'base64')", "eyJrIjp7ImwiOjd9fQ=="),
    ("transform('other', obj, [obj])", UNDEFINED),
    ("transform('enrichArray', obj, [1])", UNDEFINED),
]


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS, ids=[row[0] for row in EXPRESSIONS])
def test_function_has_the_value_of_the_guide(expression, expected):
    check_value(expression, expected)


ENRICH = {"attributes": {"data1": 1, "data2": 2}, "values": [{"a": 3}, {"b": 4}, {"c": 5}]}
ENRICH_NESTED = {
    "data1": "example",
    "data2": {
        "a": "first attribute",
        "b": "second attribute",
        "c": [
            {"x": {"someInt": 5, "someString": "hello"}, "y": True},
            {"x": {"someInt": 10, "someString": "world"}, "y": False},
        ],
    },
}


@pytest.mark.parametrize(
    ("sql", "payload", "expected"),
    [
        (
            "select value transform(\"enrichArray\", attributes, values) from 'A/B'",
            ENRICH,
            [{"a": 3, "data1": 1, "data2": 2}, {"b": 4, "data1": 1, "data2": 2}, {"c": 5, "data1": 1, "data2": 2}],
        ),
        (
            'select value transform("enrichArray", {"key": attributes.data1}, values) from \'A/B\'',
            ENRICH,
            [{"a": 3, "key": 1}, {"b": 4, "key": 1}, {"c": 5, "key": 1}],
        ),
        (
            "select value transform('enrichArray', (select a, b from data2), (select value c from data2)) from 'A/B'",
            ENRICH_NESTED,
            [{**item, "a": "first attribute", "b": "second attribute"} for item in ENRICH_NESTED["data2"]["c"]],
        ),
    ],
)
def test_transform_enriches_arrays_as_in_the_guide(sql, payload, expected):
    assert evaluate(sql, payload, "A/B") == expected
