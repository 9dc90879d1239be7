"""Refuses topic rules that AWS refuses, or that the local stack would accept and not carry out.

AWS IoT Core developer guide, "SQL versions" (iot-rule-sql-version), "Creating an AWS IoT rule" (iot-create-rule: a rule
without a version has 2015-10-08) and "AWS IoT rule actions" (iot-rule-actions). API Reference, CreateTopicRule.
"""

from __future__ import annotations

import logging
from typing import Any

from cpsim_kit.local.server.rule_engine import DEFAULT_VERSION, VERSIONS, RuleEngine

__all__ = ["ACTIONS", "install"]

logger = logging.getLogger("cpsim.rules")

ACTIONS = ("dynamoDBv2", "republish", "sqs")
"""The actions that the local stack carries out."""


def install(iot: Any, engine: RuleEngine) -> None:
    """Check the rules of CreateTopicRule, ReplaceTopicRule and CloudFormation's AWS::IoT::TopicRule.

    Args:
        iot: ministack's module ``services.iot``.
        engine: Compiles the statements.
    """
    put = iot.put_topic_rule

    def put_topic_rule(name: str, payload: dict[str, Any], **options: Any) -> Any:
        version = payload.get("awsIotSqlVersion")
        version = DEFAULT_VERSION if version is None else version
        actions = [*(payload.get("actions") or []), *filter(None, [payload.get("errorAction")])]
        if version not in VERSIONS:
            # ministack's only error that becomes an InvalidRequestException with any text
            raise iot.RuleRepublishError(f"rule {name}: {version!r} is not an SQL version; AWS has {_listed(VERSIONS)}")
        for action in actions:
            if reason := _refusal(action):
                raise iot.RuleRepublishError(f"rule {name}: {reason}")
        if reason := engine.refusal(payload.get("sql") or "", version, *actions):
            raise iot.RuleSqlError(reason)
        if newer := engine.newer_functions(payload["sql"], version):
            logger.warning(
                "rule %s: AWS documents %s for SQL version 2016-03-23 and later, and this rule has %s: "
                "set awsIotSqlVersion",
                *(name, _listed(newer), version),
            )
        return put(name, {**payload, "awsIotSqlVersion": version}, **options)

    iot.put_topic_rule = put_topic_rule
    iot._validate_rule_sql = lambda _sql: None  # the engine has done it, with the rule's version
    iot._unimplemented_sql_functions = lambda _sql: []


def _refusal(action: Any) -> str | None:
    """Return why the local stack does not accept an action; None if it does."""
    kinds = [kind for kind, spec in action.items() if spec is not None] if isinstance(action, dict) else []
    unknown = [kind for kind in kinds if kind not in ACTIONS]
    if unknown:
        return (
            f"the local stack does not carry out the action {_listed(unknown)}; it carries out {_listed(ACTIONS)}. "
            "Try this rule on AWS, or send the result to a queue (sqs) instead"
        )
    if len(kinds) != 1:
        return f"an action has exactly one kind, not {_listed(kinds) or 'none'}"
    return None


def _listed(names: Any) -> str:
    *most, last = [*names] or [""]
    return f"{', '.join(most)} and {last}" if most else last
