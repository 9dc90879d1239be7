"""AWS IoT SQL: functions of the message, AND, OR and NOT, and payloads of any kind."""

import random
import uuid

import orjson
import pytest
from sql_cases import check_value, evaluate, nothing_left_behind  # noqa: F401 - an autouse fixture

from cpsim_kit.local.iot_sql import compile_sql, compile_template
from cpsim_kit.local.iot_sql.functions import FUNCTIONS
from cpsim_kit.local.iot_sql.values import UNDEFINED

# Expression over MANY, value. UNDEFINED: the item is left out. "guide" marks an example of AWS's developer guide.
EXPRESSIONS = [
    # AND, OR, NOT: Undefined unless every operand is, or converts to, a Boolean
    ("true AND 'TRUE'", True),
    ("true AND false", False),
    ("false AND missing", UNDEFINED),
    ("true AND n", UNDEFINED),
    ("false OR 'true'", True),
    ("false OR 'no'", UNDEFINED),
    ("true OR missing", UNDEFINED),
    ("NOT 'False'", True),
    ("NOT n", UNDEFINED),
    ("NOT nul", UNDEFINED),
    ("NOT true = false AND true", True),
    ("true OR false AND false", True),
    ("(true OR false) AND false", False),
    # the message
    ("timestamp()", 1_700_000_000_123),
    ("clientid()", "n/a"),
    ("principal()", UNDEFINED),
    ("accountid()", UNDEFINED),
    ("traceid()", UNDEFINED),
    ("sql_version()", "2016-03-23"),  # guide
    ("topic(0)", UNDEFINED),
    ("topic('2')", "subtopic"),
]


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS, ids=[row[0] for row in EXPRESSIONS])
def test_expression_has_the_value_of_the_guide(expression, expected):
    check_value(expression, expected)


def test_message_functions_answer_what_the_caller_knows():
    sql = "SELECT clientid() AS c, principal() AS p, accountid() AS a, traceid() AS t FROM '#'"
    known = {"client_id": "CP1", "principal": "cert", "account_id": "123456789012", "trace_id": "trace"}
    assert evaluate(sql, {}, **known) == {"c": "CP1", "p": "cert", "a": "123456789012", "t": "trace"}


def test_traceid_is_one_new_uuid_for_a_message_over_mqtt():
    event = evaluate("SELECT traceid() AS a, traceid() AS b FROM '#'", {}, client_id="CP1")
    assert uuid.UUID(event["a"]).version == 4
    assert event["a"] == event["b"]


def test_newuuid_and_rand_differ_for_each_message():
    statement = compile_sql("SELECT newuuid() AS id, rand() AS r FROM '#'")
    first, second = (statement.evaluate("a", b"{}") for _ in range(2))
    assert uuid.UUID(first["id"]) != uuid.UUID(second["id"])
    assert 0 <= first["r"] < 1
    assert first["r"] != second["r"]


# Whatever arrives, evaluating neither raises nor lets Undefined, NaN or a number beyond JSON out.

DEEP = [b'{"a":' * 900 + b"1" + b"}" * 900, b"[" * 900 + b"]" * 900]
HOSTILE = [
    *DEEP,
    b"",
    b"\xff\xfe\x00",
    b"null",
    b"NaN",
    b"1e999",
    b"-0.0",
    b'"\\ud800"',
    b"{",
    b"[" * 5000 + b"]" * 5000,
    b'{"a": 123456789012345678901234567890, "b": 1e308, "s": "9' + b"9" * 5000 + b'"}',
    b'{"a": "1e999", "b": "(a+", "s": "America/../../etc"}',
    b'{"a": 18446744073709551615, "b": -9223372036854775808, "s": "\\u0000"}',
    b'{"a": "[[a]", "b": "yyyy\'", "s": "/etc/passwd"}',
]
OPERATORS = ("+", "-", "*", "/", "%", "=", "<>", "<", ">=", "||", "AND", "OR", "IN", "NOT IN")
OPERANDS = ("a", "b", "s", "*", "missing", "null", "1.5", "'x'", "[a, b]", "{'k': a}", "get(a, 0)", "1E18")


def any_expression(choose):
    """Write some expression; ``choose`` picks an element of a sequence."""
    one, two, three = (choose(OPERANDS) for _ in range(3))
    functions = [name for name in FUNCTIONS if name not in ("encode", "decode")]
    return choose(
        (
            f"{choose(functions)}({one}, {two}, {three})",
            f"{choose(functions)}({one}, {two})",
            f"{choose(functions)}({one})",
            f"{one} {choose(OPERATORS)} {two}",
            f"cast({one} AS {choose(('Int', 'Decimal', 'String', 'Boolean'))})",
            f"CASE {one} WHEN {two} THEN {three} END",
            f"(SELECT *, k AS x FROM a WHERE {one} = b)",
            f"decode({one}, 'base64')",
            f"regexp_replace(s, b, {one})",
            f"parse_time(b, {one}, s)",
        )
    )


def test_evaluate_never_raises_whatever_the_payload():
    choose = random.Random(2016).choice
    for _ in range(600):
        expressions = ", ".join(any_expression(choose) for _ in range(3))
        statement = compile_sql(
            f"SELECT VALUE [{expressions}] FROM '#' WHERE isUndefined({any_expression(choose)}) <> 1"
        )
        for payload in HOSTILE:
            event = statement.evaluate("a/b", payload, client_id="CP1")
            assert isinstance(event, list), statement
            if payload not in DEEP:  # deeper than orjson writes
                assert orjson.loads(orjson.dumps(event)) == event, statement  # NaN would be null, Undefined an error


def test_evaluate_never_raises_on_random_bytes():
    random_bytes = random.Random(1603)
    statement = compile_sql("SELECT *, a.b AS x, get(*, 2) AS y, topic(2) AS z FROM '#' WHERE NOT isNull(a)")
    template = compile_template("${a.b}-${get(*, 0)}-${*}")
    for _ in range(3000):
        size = random_bytes.randint(0, 40)
        payload = bytes(random_bytes.choices(b'{}[]",:0123456789eE.-+ab\\u\x00\xff ', k=size))
        assert isinstance(statement.evaluate("a/b", payload), dict)
        assert template.render("a/b", payload).count("-") >= 2
