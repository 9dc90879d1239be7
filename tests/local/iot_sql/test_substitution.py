"""AWS IoT SQL: substitution templates."""

import base64

import orjson
import pytest
from sql_cases import DEVICE, NOW, nothing_left_behind  # noqa: F401 - an autouse fixture

from cpsim_kit.local.iot_sql import SqlError, compile_sql, compile_template

# Template, text.
TEMPLATES = [
    ("${topic()}/republish", "my/iot/topic/republish"),  # guide
    ("$$aws/things/${topic(2)}/shadow/update", "$$aws/things/iot/shadow/update"),
    ("no expression", "no expression"),
    ("", ""),
    ("${deviceid}", "iot123"),
    ("${coords.latitude}|${temp}", "47.615694|54.98"),
    ("${coords}", '{"latitude":47.615694,"longitude":-122.3359976}'),
    ("<${missing}>", "<>"),
    ("<${null}>", "<>"),
    ("${parse_time('yyyy', timestamp(), 'UTC')}", "2023"),  # guide
    ("${replace(topic(), '/', '-') + '-' + timestamp()}", "my-iot-topic-1700000000123"),  # guide, without newuuid()
    ("${clientId()}", "n/a"),  # guide
    ("${get({'a': {'b': '}'}}, 'a').b}!", "}!"),
    ("${'it''s ' + \"}\"}", "it's }"),
    ("${CASE temp > 50 WHEN true THEN 'hot' ELSE 'cold' END}", "hot"),
    ("${encode(*, 'base64')}", base64.b64encode(orjson.dumps(DEVICE)).decode()),
]


@pytest.mark.parametrize(("template", "text"), TEMPLATES)
def test_template_is_filled_from_the_message(template, text):
    assert compile_template(template).render("my/iot/topic", orjson.dumps(DEVICE), now=lambda: NOW) == text


def test_template_uses_the_variables_of_its_statement():
    statement = compile_sql("SET @id = topic(1), @long = @id + '-' + n SELECT * FROM '+/in'")
    template = compile_template("cp/${@long}", statement=statement)
    assert template.render("CP1/in", b'{"n": 1}') == "cp/CP1-1"
    assert template.render("CP2/in", b'{"n": 2}') == "cp/CP2-2"


@pytest.mark.parametrize(
    ("template", "message", "place"),
    [
        ("a/${topic()", "${ is not closed", "${"),
        ("a/${}", "an expression is missing", "}"),
        ("a/${topic() b}", "unexpected 'b'", "b}"),
        ("a/${a, b}", "not one expression", "a, b"),
        ("a/${a FROM 'x'}", "not one expression", "a FROM"),
        ("${topic()}/${foo()}", "foo() is not a function", "foo"),
        ("a/${'b}", "this string is not closed", "'b"),
        ("a/${@id}", "@id is not set", "@id"),
        (
            "key ${get_secret('a', 'SecretString', 'r')}",
            "get_secret() is not supported by the local stack",
            "get_secret",
        ),
    ],
)
def test_wrong_template_is_refused_with_its_place(template, message, place):
    with pytest.raises(SqlError) as refused:
        compile_template(template)
    assert message in refused.value.message
    assert refused.value.statement == template
    assert template[refused.value.position :].startswith(place)
