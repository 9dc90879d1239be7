"""Evaluates topic rules on the local stack: AWS IoT SQL for real, in the place of ministack's own evaluator.

The emulator hands it each message that a rule's FROM may match, and carries out the actions it returns.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from cpsim_kit.local.iot_sql import NO_MATCH, SqlError, Statement, Template, compile_sql, compile_template

__all__ = ["NO_MATCH", "RuleEngine"]

logger = logging.getLogger("cpsim.rules")


class RuleEngine:
    """Compiles each statement once; forgets the least used beyond a thousand."""

    def __init__(self) -> None:
        self._statement = functools.lru_cache(1000)(compile_sql)
        self._template = functools.lru_cache(1000)(_template)

    def refusal(self, sql: str) -> str | None:
        """Why AWS IoT, or the local stack, does not take a statement, with the place; None where it does."""
        try:
            self._statement(sql)
        except SqlError as exc:
            return str(exc)
        return None

    def topic_filter(self, sql: str) -> str:
        """The topic filter of a statement's FROM."""
        return self._statement(sql).topic_filter

    def evaluate(self, rule_name: str, sql: str, topic: str, payload: bytes, client_id: str | None) -> Any:
        """The outgoing event of a message, or NO_MATCH. A statement that fails is logged, and matches nothing."""
        try:
            return self._statement(sql).evaluate(topic, payload, client_id=client_id)
        except Exception:
            logger.exception("rule %s failed on a message of %s", rule_name, topic)
            return NO_MATCH

    def fill(self, document: Any, sql: str, topic: str, payload: bytes, client_id: str | None) -> Any:
        """An action's document with its substitution templates filled."""
        if isinstance(document, str):
            if "${" in document:
                document = self._template(document, self._statement(sql)).render(topic, payload, client_id=client_id)
            return document.removeprefix("$") if document.startswith("$$") else document  # "$$aws/…" is "$aws/…"
        if isinstance(document, dict):
            return {key: self.fill(value, sql, topic, payload, client_id) for key, value in document.items()}
        return document


def _template(text: str, statement: Statement) -> Template:
    return compile_template(text, statement=statement)
