"""AWS IoT SQL: string functions."""

import pytest
from sql_cases import check_value, nothing_left_behind  # noqa: F401 - an autouse fixture

from cpsim_kit.local.iot_sql.values import UNDEFINED

# Expression over MANY, value. UNDEFINED: the item is left out. "guide" marks an example of AWS's developer guide.
EXPRESSIONS = [
    # strings
    ("chr(65)", "A"),  # guide
    ("chr(49)", "1"),  # guide
    ("chr(200)", UNDEFINED),
    ("concat()", UNDEFINED),  # guide
    ("concat(1)", 1),  # the guide's table; its example says "1"
    ("concat([1, 2, 3], 4)", [1, 2, 3, 4]),  # guide
    ("concat([1, 2, 3], 'hello')", [1, 2, 3, "hello"]),  # guide
    ('concat("con", "cat")', "concat"),  # guide
    ('concat(1, "hello")', "1hello"),  # guide
    ('concat("he","is","man")', "heisman"),  # guide
    ("concat([1, 2, 3], 'hello', [4, 5, 6])", [1, 2, 3, "hello", 4, 5, 6]),  # guide
    ("concat('a', missing)", UNDEFINED),
    ('endswith("cat","at")', True),  # guide
    ("endswith(n, 5)", True),
    ("endswith(nul, 'x')", UNDEFINED),
    ('startswith("ranger","ran")', True),  # guide
    ("startswith(missing, 'x')", UNDEFINED),
    ('indexof("abcd", "bc")', 1),  # guide
    ("indexof('abcd', 'x')", -1),
    ('length("hi")', 2),  # guide
    ("length(false)", 5),  # guide
    ("length(nul)", UNDEFINED),
    ('lower("HELLO")', "hello"),  # guide
    ('lower(["HELLO"])', '["hello"]'),  # guide
    ('upper("hello")', "HELLO"),  # guide
    ('upper(["hello"])', '["HELLO"]'),  # guide
    ('lpad("hello", 2)', "  hello"),  # guide
    ("lpad(1, 3)", "   1"),  # guide
    ("lpad('a', -1)", "a"),
    ("lpad('a', 'x')", UNDEFINED),
    ('rpad("hello", 2)', "hello  "),  # guide
    ("rpad(1, 3)", "1   "),  # guide
    ("length(rpad('', 5000))", 1000),
    ('Ltrim(" h i ")', "h i "),  # guide
    ('rtrim(" h i ")', " h i"),  # guide
    ('Trim(" hi ")', "hi"),  # guide
    ('numbytes("hi")', 2),  # guide
    ('numbytes("€")', 3),  # guide
    ('replace("abcd", "bc", "x")', "axd"),  # guide
    ('replace("abcdabcd", "b", "x")', "axcdaxcd"),  # guide
    ('substring("012345", 0)', "012345"),  # guide
    ('substring("012345", 2)', "2345"),  # guide
    ('substring("012345", 2.745)', "2345"),  # guide
    ("substring(123, 2)", "3"),  # guide
    ('substring("012345", -1)', "012345"),  # guide
    ("substring(true, 1.2)", "rue"),  # guide
    ("substring(false, -2.411E247)", "false"),  # guide
    ('substring("012345", 1, 3)', "12"),  # guide
    ('substring("012345", -50, 50)', "012345"),  # guide
    ('substring("012345", 3, 1)', ""),  # guide
    ('regexp_matches("aaaa", "a{2,}")', True),  # guide
    ('regexp_matches("aaaa", "b")', False),  # guide
    ("regexp_matches(nul, 'a')", UNDEFINED),
    ("regexp_matches('a', '[' + s)", UNDEFINED),
    ('regexp_replace("abcd", "bc", "x")', "axd"),  # guide
    ('regexp_replace("abcd", "b(.*)d", "$1")', "ac"),  # guide
    ("regexp_replace('abc', '(b)', '<$1$11>')", "a<bb1>c"),
    ("regexp_replace('abc', 'b', '$1')", UNDEFINED),
    ("regexp_replace('abc', 'b', '\\$1')", "a$1c"),
    ('regexp_substr("hihihello", "hi")', "hi"),  # guide
    ('regexp_substr("hihihello", "(hi)*")', "hihi"),  # guide
    ("regexp_substr('abc', 'x')", UNDEFINED),
    ("regexp_matches('é', '\\w')", False),
    ("regexp_matches('2024', '(?<year>\\d{4})')", True),
    ('md5("hello")', "5d41402abc4b2a76b9719d911017c592"),  # guide
    ("sha1('hello')", "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"),
    ("length(sha224(n))", 56),
    ("sha256('hello')", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
    ("length(sha384('hello'))", 96),
    ("length(sha512('hello'))", 128),
]


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS, ids=[row[0] for row in EXPRESSIONS])
def test_string_function_has_the_value_of_the_guide(expression, expected):
    check_value(expression, expected)
