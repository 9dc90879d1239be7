"""AWS IoT SQL: compile the statement of a topic rule once, evaluate it for each message.

    statement = compile_sql("SELECT topic(1) AS id, timestamp() AS at FROM '+/in' WHERE get(*, 2) = 'Heartbeat'")
    event = statement.evaluate("CP1/in", b'[2, "1", "Heartbeat", {}]')      # a dict, or NO_MATCH

Source: "AWS IoT SQL reference" in the AWS IoT Core developer guide (iot-sql-reference and the pages below it), called
"the guide" in this package.

Undefined is not Null. A field that is not there is Undefined, and so is almost every operation on it, AND and OR
included. WHERE does not match if it is Undefined. Undefined never appears in an event: SELECT omits such a field, a
literal omits such an element, and SELECT VALUE and a template give the empty string.

A payload that is not a JSON object or array is *raw*: ``SELECT *`` is its bytes, ``encode(*, 'base64')`` works, ``* AS
x`` is its base64, and every field is Undefined. Among other items, ``*`` adds the fields of a JSON object, and nothing
for an array or a raw payload. A named item replaces a field of the same name.
"""

import re
import time
from collections.abc import Callable
from typing import Any, Final

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from cpsim_kit.local.iot_sql.compile import Compiler
from cpsim_kit.local.iot_sql.expressions import Message
from cpsim_kit.local.iot_sql.parser import CLOSING, OPENING
from cpsim_kit.local.iot_sql.values import Sentinel, to_bool

__all__ = ["NEWEST_VERSION", "NO_MATCH", "Statement", "compile_sql"]

NO_MATCH: Final = Sentinel.NO_MATCH
"""What `Statement.evaluate` returns if WHERE is not true; compare with ``is``."""

NEWEST_VERSION: Final = "2016-03-23"
"""The newest SQL version, used if none is given."""

_TOPIC_FILTER = re.compile(r"(\+|#|[^+#/]*)(/(\+|[^+#/]*))*(/#)?")


class Statement:
    """A compiled statement; `compile_sql` makes it.

    Attributes:
        sql: The statement's text.
        version: The SQL version it was compiled for.
        topic_filter: The topic filter of FROM; empty if there is no FROM, as in a rule for Basic Ingest.
        newer_functions: Functions in it that the guide has for later SQL versions only, such as "length()".
        variables: The expressions of SET, by name.
    """

    def __init__(self, sql: str, version: str) -> None:
        compiler = Compiler(sql, version)
        self.sql = sql
        self.version = version
        select = compiler.parse(_after_set(compiler))
        self.topic_filter = _topic_filter(compiler, select)
        self._where, self._select = compiler.condition(select), compiler.projection(select)
        self.newer_functions = tuple(dict.fromkeys(compiler.newer_functions))
        self.variables = compiler.variables

    def __repr__(self) -> str:
        return f"<Statement {self.sql!r}>"

    def evaluate(
        self,
        topic: str,
        payload: bytes,
        *,
        client_id: str | None = None,
        principal: str | None = None,
        account_id: str | None = None,
        trace_id: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> Any:
        """Return the outgoing event of one message. Ignores FROM; never raises, whatever the payload.

        Args:
            topic: Where the message was published. ``$aws/rules/<rule>/`` is removed, as in Basic Ingest.
            payload: The message.
            client_id: The MQTT client that published; None if it was not MQTT, and ``clientid()`` is then "n/a".
            principal: The value of ``principal()``; Undefined if None.
            account_id: The value of ``accountid()``; Undefined if None.
            trace_id: The value of ``traceid()``. If None, a new UUID for a message over MQTT, else Undefined.
            now: The clock of ``timestamp()``, in seconds since the epoch.

        Returns:
            The event as JSON data, the payload's bytes for ``SELECT *`` of a raw payload, or `NO_MATCH`.
        """
        message = Message(topic, payload, self.variables, client_id, principal, account_id, trace_id, now)
        if self._where is not None and to_bool(self._where(message)) is not True:
            return NO_MATCH
        return self._select(message)


def compile_sql(sql: str, *, version: str = NEWEST_VERSION) -> Statement:
    """Compile the statement of a topic rule.

    Args:
        sql: ``[SET @name = …] SELECT … [FROM 'topic/filter'] [WHERE …]``.
        version: The rule's ``awsIotSqlVersion``. 2015-10-08 has no array and object literals and no nested queries, and
            keeps 10.0 a Decimal; "beta" means 2016-03-23. A function that the guide has for 2016-03-23 and later also
            works in 2015-10-08, because the guide does not say what it does there; `Statement.newer_functions` names
            it.

    Raises:
        SqlError: The statement is wrong, or uses something the local stack does not have. The error has the position.
    """
    return Statement(sql, version)


def _after_set(compiler: Compiler) -> list[Token]:
    """Compile ``SET @name = expression, …`` into the compiler's variables; return the tokens from SELECT on."""
    tokens = compiler.source.tokens
    if not tokens or (tokens[0].token_type is not TokenType.SELECT and tokens[0].text.upper() != "SET"):
        raise compiler.fail("a statement is [SET …] SELECT … [FROM …] [WHERE …]", tokens[0] if tokens else None)
    if tokens[0].token_type is TokenType.SELECT:
        return tokens
    depth, start = 0, 1
    for at, token in enumerate(tokens):
        depth += (token.token_type in OPENING) - (token.token_type in CLOSING)
        if depth == 0 and token.token_type in (TokenType.SELECT, TokenType.COMMA):
            _assign(compiler, tokens[start:at], token)
            start = at + 1
            if token.token_type is TokenType.SELECT:
                return tokens[at:]
    raise compiler.fail("SET needs a SELECT after it", tokens[0])


def _assign(compiler: Compiler, tokens: list[Token], end: Token) -> None:
    """Compile ``@name = expression``."""
    name = tokens[0].text if tokens else ""
    if not name.startswith("@") or len(tokens) < 2 or tokens[1].token_type is not TokenType.EQ:
        raise compiler.fail("SET takes @name = expression", tokens[0] if tokens else end)
    if name in compiler.variables or len(name) > 65:
        raise compiler.fail(f"{name} is set twice, or its name has more than 64 characters", tokens[0])
    compiler.variables[name] = compiler.single_expression(tokens[2:], end)


def _topic_filter(compiler: Compiler, select: exp.Select) -> str:
    """Return the topic filter of FROM; "" if there is no FROM."""
    if not select.args.get("from_"):
        return ""
    table = select.args["from_"].this
    if table.alias:
        raise compiler.fail("the topic filter has no name", table.args["alias"])
    text: str = table.name
    if not _TOPIC_FILTER.fullmatch(text) or text[:2] == "#/" or not text:
        raise compiler.fail(
            f"{text!r} is not a topic filter: + and # stand for whole levels, # for the last ones", table
        )
    return text
