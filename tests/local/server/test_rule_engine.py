"""The rule engine: templates in the documents of actions, at every depth."""

from typing import Any

import pytest

from cpsim_kit.local.server.rule_engine import RuleEngine

RULE = {"ruleName": "r", "sql": "SET @s = a.b SELECT * FROM 'x'", "awsIotSqlVersion": "2016-03-23"}


@pytest.mark.parametrize(
    ("document", "filled"),
    [
        ("${topic(2)}", "CP1"),
        (["${topic(2)}", "plain", 5], ["CP1", "plain", 5]),
        ({"headers": [{"key": "k", "value": "${a.b}"}]}, {"headers": [{"key": "k", "value": "7"}]}),
        ([["${@s}"], {"x": ["${accountid()}"]}], [["7"], {"x": ["123"]}]),
        ({"topic": "$$aws/things/${topic(2)}/shadow/update"}, {"topic": "$$aws/things/CP1/shadow/update"}),
        ("${clientid()}/${topic(1)}", "CP7/t"),
        ({"qos": 1, "useBase64": False, "none": None, "list": [2.5, None]},) * 2,  # what is not a string stays
        ({"${topic()}": 1}, {"${topic()}": 1}),  # so do keys
    ],
)
def test_templates_are_filled_at_every_depth(document: Any, filled: Any) -> None:
    assert RuleEngine().fill(document, RULE, "t/CP1", b'{"a": {"b": 7}}', account_id="123", client_id="CP7") == filled


@pytest.mark.parametrize("document", ["${", {"a": ["${upper(}"]}, [{"b": "${nosuch()}"}]])
def test_a_wrong_template_is_found_at_every_depth(document: Any) -> None:
    engine = RuleEngine()
    assert engine.refusal(RULE["sql"], "2016-03-23", {"a": "${topic()}"}) is None
    assert engine.refusal(RULE["sql"], "2016-03-23", document)
