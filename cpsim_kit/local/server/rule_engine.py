"""Evaluates topic rules on the local stack with `iot_sql`, in the place of ministack's own evaluator.

`rule_actions` calls it with each message that matches a rule's FROM, and carries out the actions that it has filled.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from cpsim_kit.local.iot_sql import NO_MATCH, SqlError, Statement, Template, compile_sql, compile_template

__all__ = ["DEFAULT_VERSION", "NO_MATCH", "VERSIONS", "RuleEngine"]

logger = logging.getLogger("cpsim.rules")

DEFAULT_VERSION = "2015-10-08"
"""The SQL version of a rule that does not name one. AWS IoT Core developer guide, "Creating an AWS IoT rule"."""

VERSIONS = ("2016-03-23", "2015-10-08", "beta")
"""The values of ``awsIotSqlVersion`` that AWS accepts. AWS IoT Core developer guide, "SQL versions"."""


class RuleEngine:
    """Compiles statements and templates; caches the thousand used last of each."""

    def __init__(self) -> None:
        self._statement = functools.lru_cache(1000)(_statement)
        self._template = functools.lru_cache(1000)(_template)

    def refusal(self, sql: str, version: str, *actions: Any) -> str | None:
        """Return why AWS IoT, or the local stack, does not accept a rule's SQL.

        Args:
            sql: The statement.
            version: The rule's SQL version.
            actions: The documents of its actions; their substitution templates are checked, too.

        Returns:
            The reason, with the position; None if the rule is accepted.
        """
        try:
            statement = self._statement(sql, version)
            for text in _texts(actions):
                if "${" in text:
                    self._template(text, statement)
        except SqlError as exc:
            return str(exc)
        return None

    def newer_functions(self, sql: str, version: str) -> tuple[str, ...]:
        """Return the functions in a statement that AWS documents for later SQL versions only."""
        return self._statement(sql, version).newer_functions

    def topic_filter(self, sql: str) -> str:
        """Return the topic filter of a statement's FROM; it does not depend on the SQL version."""
        return self._statement(sql, VERSIONS[0]).topic_filter

    def evaluate(self, rule: dict[str, Any], topic: str, payload: bytes, **message: Any) -> Any:
        """Return the outgoing event of a message, or NO_MATCH. If the statement fails, log it and return NO_MATCH.

        Args:
            rule: The rule as the IoT API describes it.
            topic: Where the message was published.
            payload: The message.
            message: The other arguments of `Statement.evaluate`.
        """
        try:
            return self._statement(rule["sql"], rule["awsIotSqlVersion"]).evaluate(topic, payload, **message)
        except Exception:
            logger.exception("rule %s failed on a message of %s", rule["ruleName"], topic)
            return NO_MATCH

    def fill(self, document: Any, rule: dict[str, Any], topic: str, payload: bytes, **message: Any) -> Any:
        """Return an action's document with its substitution templates filled, at any depth; see :meth:`evaluate`."""
        if isinstance(document, str):
            if "${" not in document:
                return document
            statement = self._statement(rule["sql"], rule["awsIotSqlVersion"])
            return self._template(document, statement).render(topic, payload, **message)
        if isinstance(document, dict):
            return {key: self.fill(value, rule, topic, payload, **message) for key, value in document.items()}
        if isinstance(document, list):
            return [self.fill(value, rule, topic, payload, **message) for value in document]
        return document


def _statement(sql: str, version: str) -> Statement:
    return compile_sql(sql, version=version)


def _template(text: str, statement: Statement) -> Template:
    return compile_template(text, statement=statement)


def _texts(document: Any) -> list[str]:
    """Return every string in a document."""
    if isinstance(document, str):
        return [document]
    members = (
        document.values() if isinstance(document, dict) else document if isinstance(document, list | tuple) else ()
    )
    return [text for member in members for text in _texts(member)]
