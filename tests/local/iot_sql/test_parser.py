"""AWS IoT SQL: what the parser accepts, and how it refuses the rest."""

import random

import pytest
from sql_cases import check_refused, evaluate, nothing_left_behind  # noqa: F401 - an autouse fixture
from sqlglot import exp, parser, tokens

from cpsim_kit.local.iot_sql import SqlError, compile_sql, compile_template
from cpsim_kit.local.iot_sql.parser import WORDS

# Statement, part of the message, the text at the position of the error.
WRONG = [
    ("SELECT a FROM", "unexpected end", ""),
    ("SELECT a FROM 'a' WHERE", "unexpected end", ""),
    ("SELECT a FROM 'a' WHERE a =", "unexpected end", ""),
    ("SELECT a FROM 'a' WHERE (a = 1", "unexpected end", ""),
    ("SELECT a FROM 'a' WHERE a = 1)", "unexpected ')'", ")"),
    ("SELECT a + FROM 'a'", "unexpected 'FROM'", "FROM"),
    ("SELECT a, FROM 'a'", "nothing follows this comma", ", FROM"),
    ("SELECT a b FROM 'a'", "unexpected 'b'", "b FROM"),
    ("SELECT DISTINCT a FROM 'a'", "unexpected 'a'", "a FROM"),
    ("SELECT a FROM 'a", "this string is not closed", "'a"),
    ("SELECT 'it''s FROM 'a'", "this string is not closed", "'"),
    ("SELECT a FROM topic/sub", "topic filter in single quotes", "topic"),
    ('SELECT a FROM "a"', "topic filter in single quotes", '"a"'),
    ("SELECT a FROM 'a' LIMIT 1", "LIMIT is not part of AWS IoT SQL", "LIMIT"),
    ("SELECT a FROM 'a' ORDER BY a", "ORDER is not part of AWS IoT SQL", "ORDER"),
    ("SELECT a FROM 'a' WHERE a LIKE 'b%'", "LIKE is not part of AWS IoT SQL", "LIKE"),
    ("SELECT a FROM 'a' WHERE a BETWEEN 1 AND 2", "BETWEEN is not part of AWS IoT SQL", "BETWEEN"),
    ("SELECT a FROM 'a' WHERE a IS NULL", "IS is not part of AWS IoT SQL", "IS"),
    ("SELECT a FROM 'a' WHERE a IN (1, 2)", "IN takes an array", "(1, 2)"),
    ("SELECT a FROM 'a' -- note", "comments are not part of AWS IoT SQL", "-- note"),
    ("SELECT a /* note */ FROM 'a'", "comments are not part of AWS IoT SQL", "/* note"),
    ("SELECT a; SELECT b", "unexpected ';'", ";"),
    ("SELECT CASE a END AS x FROM 'a'", "unexpected", "AS"),
    ("SELECT `a` FROM 'a'", "unexpected '`'", "`a`"),
    ("SELECT a.0.b FROM 'a'", "unexpected", "b"),
    ("SELECT a FROM (SELECT b FROM c)", "topic filter in single quotes", "(SELECT b"),
    ("SELECT {a: 1} AS x FROM 'a'", "only the key of an object", ": 1"),
    ("SELECT f(x) OVER (a) FROM 'a'", "unexpected 'OVER'", "OVER"),
    (f"SELECT {'(' * 5000}a{')' * 5000} AS x FROM 'a'", "nested", None),
]


@pytest.mark.parametrize(("sql", "message", "place"), WRONG, ids=[row[0][:60] or "empty" for row in WRONG])
def test_wrong_statement_is_refused_with_its_position_by_the_parser(sql, message, place):
    check_refused(sql, message, place)


def test_error_shows_line_column_and_a_caret():
    with pytest.raises(SqlError) as refused:
        compile_sql("SELECT a,\n       foo(1) AS b\nFROM 'a'")
    assert str(refused.value) == (
        "foo() is not a function of AWS IoT SQL (line 2, column 8)\n           foo(1) AS b\n           ^"
    )


OTHER_WORDS = sorted(
    {
        word.lower()
        for word in (*tokens.Tokenizer.KEYWORDS, *parser.Parser.FUNCTIONS, *exp.DataType.Type.__members__)
        if word.isidentifier() and word not in WORDS
    }
)


def test_every_other_word_of_sql_is_a_plain_field_name():
    assert {"timestamp", "date", "limit", "interval", "length", "struct"} <= set(OTHER_WORDS)
    for word in OTHER_WORDS:
        items = f"{word}, a.{word} AS path, {word}[0] AS item, [{word}] AS list, -{word} AS neg"
        sql = f"SELECT {items} FROM 't' WHERE {word} = 1"
        event = evaluate(sql, {word: 1, "a": {word: 2}})
        assert event == {word: 1, "path": 2, "list": [1], "neg": -1}, word


PIECES = """
    SELECT FROM WHERE AS AND NOT IN CASE WHEN END NULL VALUE SET LIKE a b.c @v @ 'x' "y" 1 2.5 1e999 * + - / = <> || ( )
    [ ] { } , . : ; ? :: -> ` ' " get( topic( cast( 'k': timestamp() as Int list( $ # \\ -- ${ } over( ²
"""


def test_whatever_the_text_compiling_raises_nothing_but_an_error_with_a_place_in_it():
    random_pieces = random.Random(2023)
    errors = []
    for _ in range(1500):
        text = " ".join(random_pieces.choices(PIECES.split(), k=random_pieces.randint(1, 12)))
        for compiles, whole in ((compile_sql, f"SELECT {text} AS x FROM 'a'"), (compile_template, f"a${{{text}}}")):
            try:
                compiles(whole)
            except SqlError as error:
                errors.append(error)
    assert len(errors) > 2000  # most are wrong; which ones are right is the business of the tables above
    assert all(error.position is None or 0 <= error.position <= len(error.statement) for error in errors)
    assert all(error.message in str(error) for error in errors)
