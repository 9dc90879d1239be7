"""AWS IoT SQL: comparison and arithmetic."""

import pytest
from sql_cases import check_value, nothing_left_behind  # noqa: F401 - an autouse fixture

from cpsim_kit.local.iot_sql.values import UNDEFINED

# Expression over MANY, value. UNDEFINED: the item is left out. "guide" marks an example of AWS's developer guide.
EXPRESSIONS = [
    # comparisons; "Operators" in the guide
    ("n = 5", True),
    ("n = 5.0", True),
    ("n = '5'", False),
    ("n <> '5'", True),
    ("t = 1", False),
    ("t <> 1", True),
    ("s = 'abc'", True),
    ("s = 'ABC'", False),
    ("nul = null", True),
    ("nul <> null", False),
    ("nul = n", False),
    ("nul = missing", UNDEFINED),
    ("missing = missing", UNDEFINED),
    ("whole = [10]", True),
    ("whole <> [10]", False),
    ("arr = [1, 'two', null]", True),
    ("arr = ['two', 1, null]", False),
    ("arr <> [1]", True),
    ("[true] = [1]", False),
    ("obj = {'k': {'l': 7.0}}", True),
    ("{'a': 1, 'b': 2} = {'b': 2, 'a': 1}", True),
    ("{'a': 1} = {'a': true}", False),
    ("n > 4.5", True),
    ("n >= '5'", True),
    ("'10' > '9'", True),
    ("'abc' > 'abb'", UNDEFINED),
    ("n < s", UNDEFINED),
    ("n < nul", UNDEFINED),
    ("t < 2", UNDEFINED),
    ("arr < 2", UNDEFINED),
    ("missing <= 1", UNDEFINED),
    ("'5E-1' < 1", True),
    ("'1e999' > 1", UNDEFINED),  # AWS has Decimals as large as that
    ("'.5' < 1", UNDEFINED),
    ("'+5' < 9", UNDEFINED),
    ("' 5' < 9", UNDEFINED),
    ("n != 4", True),
    # IN
    ("'two' IN arr", True),
    ("null IN arr", True),
    ("n NOT IN [5, 6]", False),
    ("[1] IN [[1], [2]]", True),
    ("true IN [1]", False),
    ("missing IN arr", UNDEFINED),
    ("n IN n", UNDEFINED),
    # arithmetic
    ("1 + 2", 3),
    ("1 + 2.5", 3.5),
    ("0.1 + 0.2", 0.3),
    ("n + '1'", "51"),
    ("'a' + d", "a2.5"),
    ("s + t", "abctrue"),
    ("s + arr", 'abc[1,"two",null]'),
    ("s + obj", 'abc{"k":{"l":7}}'),
    ("s + nul", UNDEFINED),
    ("s + missing", UNDEFINED),
    ("n + t", UNDEFINED),
    ("n + nul", UNDEFINED),
    ("s || n || t", "abc5true"),
    ("n - '1'", 4),
    ("n - 'x'", UNDEFINED),
    ("n * d", 12.5),
    ("d * 2", 5),
    ("7 / 2", 3),
    ("-7 / 2", -3),
    ("7 / 2.0", 3),
    ("'7' / 2", 3.5),
    ("w / 4", 2),
    ("1 / 3.5", 0.2857142857142857),
    ("n / 0", UNDEFINED),
    ("d / 0", UNDEFINED),
    ("-7 % 3", -1),
    ("7 % -3", 1),
    ("7.5 % '2'", 1.5),
    ("n % 0", UNDEFINED),
    ("- s", UNDEFINED),
    ("-'10.0'", -10),
    ("-(-n)", 5),
    ("2 + 3 * 4 - 1", 13),
    ("9223372036854775807 * 9223372036854775807", 8.507059173023462e37),
    ("1e300 * 1e300", UNDEFINED),
]


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS, ids=[row[0] for row in EXPRESSIONS])
def test_operator_has_the_value_of_the_guide(expression, expected):
    check_value(expression, expected)
