"""AWS IoT SQL: what the compiler refuses by name."""

import pytest
from sql_cases import check_refused, evaluate, nothing_left_behind  # noqa: F401 - an autouse fixture

from cpsim_kit.local.iot_sql import NO_MATCH, SqlError, compile_sql

# Statement, part of the message, the text at the position of the error.
WRONG = [
    ("SELECT FROM 'a'", "SELECT needs an item", "SELECT"),
    ("SELECT a FROM 'a', 'b'", "JOINS is not part of AWS IoT SQL", "'b'"),
    ("SELECT foo(1) FROM 'a'", "foo() is not a function of AWS IoT SQL", "foo"),
    ("SELECT a,\n  foo(1) FROM 'a'", "foo() is not a function of AWS IoT SQL", "foo"),
    ("SELECT count(*) FROM 'a'", "count() is not a function", "count"),
    (
        "SELECT a FROM 'a' WHERE get_thing_shadow('t', 'r').x = 1",
        "get_thing_shadow() is not supported",
        "get_thing_shadow",
    ),
    ("SELECT aws_lambda('arn', *) AS x FROM 'a'", "aws_lambda() is not supported by the local stack", "aws_lambda"),
    ("SELECT get_dynamodb('t', 'k', a, 'r').x FROM 'a'", "get_dynamodb() is not supported", "get_dynamodb"),
    ("SELECT get_secret('a', 'SecretString', 'r') FROM 'a'", "get_secret() is not supported", "get_secret"),
    ("SELECT machinelearning_predict('m', 'r', *).x FROM 'a'", "machinelearning_predict() is not", "machinelearning"),
    ("SELECT get_mqtt_property('content_type') FROM 'a'", "get_mqtt_property() is not supported", "get_mqtt"),
    ("SELECT get_user_properties('k') FROM 'a'", "get_user_properties() is not supported", "get_user"),
    ("SELECT get_registry_data('DescribeThing', a, 'r') FROM 'a'", "get_registry_data() is not", "get_registry"),
    ("SELECT sourceip() FROM 'a'", "sourceip() is not supported", "sourceip"),
    ("SELECT md2('hello') FROM 'a'", "md2() is not supported", "md2"),
    ("SELECT decode(a, 'proto', 'b', 'f', 'n', 'm') FROM 'a'", "decode() is supported", "'proto'"),
    ("SELECT encode(a, 'hex') FROM 'a'", "encode() is supported by the local stack for 'base64' only", "'hex'"),
    ("SELECT regexp_matches(a, '(') FROM 'a'", "regular expression", "'('"),
    ("SELECT regexp_matches(a, 'a{99999999999999999999}') FROM 'a'", "regular expression", "'a{"),
    ("SELECT cast(a AS Blob) FROM 'a'", "Blob is not a type of cast()", "Blob"),
    ("SELECT cast(a) FROM 'a'", "cast() is written cast(value AS type)", "cast"),
    ("SELECT upper(a AS b) FROM 'a'", "ALIAS is not part of AWS IoT SQL", "a AS"),
    ("SELECT 1 FROM 'a'", "this item needs a name", "1 FROM"),
    ("SELECT a + b FROM 'a'", "this item needs a name", "a +"),
    ("SELECT VALUE a, b FROM 'a'", "SELECT VALUE takes one expression", "b"),
    ("SELECT VALUE a AS b FROM 'a'", "SELECT VALUE takes one expression", "a AS"),
    ("SELECT CASE WHEN a > 1 THEN 2 END AS x FROM 'a'", "CASE needs a value", "a >"),
    ("SELECT a.'b' FROM 'a'", "a path consists of plain words", "a.'b'"),
    ("SELECT a.*.b FROM 'a'", "a path consists of plain words", "a."),
    ("SELECT a.* + 1 AS x FROM 'a'", "'.*' is allowed only as an item of SELECT", "a."),
    ("SELECT upper(a.b.*) AS x FROM 'a'", "'.*' is allowed only as an item of SELECT", "a.b"),
    ("SELECT b FROM 'a' WHERE a.* = 1", "'.*' is allowed only as an item of SELECT", "a."),
    ("SELECT a.* EXCEPT (b) FROM 'a'", "EXCEPT is not part of AWS IoT SQL", "b)"),
    ("SELECT *, * EXCEPT (a) FROM 'a'", "EXCEPT is not part of AWS IoT SQL", "a)"),
    ("SELECT * EXCEPT (a) FROM 'a'", "EXCEPT is not part of AWS IoT SQL", "a)"),
    ("SELECT {'a'} AS x FROM 'a'", "an object literal is", "'a'}"),
    ("SELECT (1, 2) AS x FROM 'a'", "TUPLE is not part of AWS IoT SQL", "1, 2"),
    ("SELECT a ? b AS x FROM 'a'", "is not part of AWS IoT SQL", "a ?"),
    ("SELECT 'a' 'b' AS x FROM 'a'", "CONCAT is not part of AWS IoT SQL", "'a' 'b'"),
    ("SELECT 1. AS x FROM 'a'", "1. is not a number", "1."),
    ("SELECT 1e999 AS x FROM 'a'", "this number is too large", "1e999"),
    ("SELECT (SELECT a FROM 'b') AS x FROM 'a'", "a nested query is SELECT … FROM field", "'b'"),
    ("SELECT (SELECT a) AS x FROM 'a'", "a nested query is SELECT … FROM field", "a)"),
    ("SELECT @a FROM 'a'", "@a is not set", "@a"),
    ("SET @a = @b, @b = 1 SELECT @a FROM 'a'", "@b is not set", "@b,"),
    ("SET @a = SELECT @a FROM 'a'", "an expression is missing", "SELECT"),
    (f"SELECT {'- ' * 70}a AS x FROM 'a'", "nested more than 64 deep", None),
]


@pytest.mark.parametrize(("sql", "message", "place"), WRONG, ids=[row[0][:60] or "empty" for row in WRONG])
def test_wrong_statement_is_refused_with_its_position_by_the_compiler(sql, message, place):
    check_refused(sql, message, place)


@pytest.mark.parametrize(
    "expression",
    [
        "[1]",
        "{'a': 1}",
        "(SELECT a FROM b)",
        "EXISTS (SELECT a FROM b)",
        "1 IN [1]",
        "cast(1 AS Boolean)",
        "cast(1 AS Decimal)",
    ],
)
def test_version_2015_refuses_what_came_later(expression):
    with pytest.raises(SqlError, match="needs SQL version 2016-03-23"):
        compile_sql(f"SELECT {expression} AS x FROM 'a'", version="2015-10-08")


def test_long_chain_of_conditions_compiles_and_evaluates():
    conditions = " OR ".join(f"n = {number}" for number in range(300))
    assert evaluate(f"SELECT n FROM 'a' WHERE {conditions}", {"n": 299}) == {"n": 299}
    assert evaluate(f"SELECT n FROM 'a' WHERE {conditions}", {"n": 300}) is NO_MATCH
