"""AWS IoT SQL: compile the statement of a topic rule once, evaluate it for each message.

Pure: no I/O, and no import from this package but its own functions (`iot_sql_functions`). sqlglot parses, after a pass over
the tokens that says what AWS says differently; the tree becomes closures. Source: "AWS IoT SQL reference" in the AWS IoT
Core developer guide (iot-sql-reference and the pages below it), quoted in docstrings as "the guide".

    statement = compile_sql("SELECT topic(1) AS id, timestamp() AS at FROM '+/in' WHERE get(*, 2) = 'Heartbeat'")
    if statement.matches("CP1/in"):
        event = statement.evaluate("CP1/in", b'[2, "1", "Heartbeat", {}]')      # a dict, or NO_MATCH

Undefined is not Null: a field that is not there is Undefined, almost everything done with it is Undefined (AND and OR too,
as their tables in the guide say), a WHERE that is Undefined does not match, and Undefined never appears in an outgoing
event: the field, or the element of an array literal, is left out; on its own it is the empty string.

A payload that is no JSON object or array is *raw*: ``SELECT *`` gives its bytes, ``encode(*, 'base64')`` works, ``* AS name``
is its base64, and every field is Undefined. Beside other items, ``*`` adds the fields of a JSON object and nothing of a raw
payload or an array; an item with an alias wins over a field of that name.

What AWS has and this does not, it refuses by name when a statement is compiled, rather than never firing.
"""

import functools
import math
import operator
import re
import time
import uuid
from collections.abc import Callable
from typing import Any, ClassVar, Final

import orjson
from sqlglot import exp, parser
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.tokens import Token, Tokenizer, TokenType

from cpsim_kit.local import iot_sql_functions as functions
from cpsim_kit.local.iot_sql_functions import UNDEFINED, Sentinel

__all__ = [
    "NO_MATCH",
    "UNDEFINED",
    "SqlError",
    "Statement",
    "Template",
    "compile_sql",
    "compile_template",
    "substitute",
]

NO_MATCH: Final = Sentinel.NO_MATCH
"""What `Statement.evaluate` returns when WHERE is not true; compare with ``is``."""

VERSIONS: Final = ("2015-10-08", "2016-03-23", "beta")

Expression = Callable[["_Message"], Any]


class SqlError(ValueError):
    """A statement or template that AWS IoT, or this local stand-in, does not take.

    Attributes:
        statement: The whole text.
        position: Where in it, from 0; None when no place is to blame.
    """

    def __init__(self, message: str, statement: str, position: int | None = None) -> None:
        super().__init__(message, statement, position)
        self.message = message
        self.statement = statement
        self.position = position

    def __str__(self) -> str:
        if self.position is None:
            return self.message
        before = self.statement[: self.position]
        start = before.rfind("\n") + 1
        column = self.position - start
        line = self.statement[start:].split("\n", 1)[0]
        left = max(0, column - 60)
        excerpt = line[left : column + 40]
        place = f"line {before.count(chr(10)) + 1}, column {column + 1}"
        return f"{self.message} ({place})\n    {excerpt}\n    {' ' * (column - left)}^"


class Statement:
    """A compiled statement.

    Attributes:
        sql: The statement's text.
        version: The SQL version it was compiled for.
        topic_filter: The topic filter of FROM; empty without FROM, as a rule for Basic Ingest may be.
    """

    def __init__(self, compiler: "_Compiler") -> None:
        self.sql = compiler.source.text
        self.version = compiler.version
        self.topic_filter = compiler.topic_filter()
        self._where, self._select = compiler.statement()
        self._variables = compiler.variables
        self._levels = self.topic_filter.split("/")
        self._any_depth = self._levels[-1] == "#"
        self._fixed = [(at, level) for at, level in enumerate(self._levels) if level not in ("+", "#")]

    def __repr__(self) -> str:
        return f"<Statement {self.sql!r}>"

    def matches(self, topic: str) -> bool:
        """Whether FROM takes a message published to ``topic``.

        As on AWS: ``a/#`` does not match ``a``, and a filter that begins with a wildcard does not match
        ``$aws/events/…``. MQTT topics ("Topic filters") in the guide.
        """
        if not self.topic_filter:
            return False
        levels = topic.split("/")
        if len(levels) != len(self._levels) and not (self._any_depth and len(levels) > len(self._levels)):
            return False
        if self._levels[0] in ("+", "#") and topic.startswith("$aws/events/"):
            return False
        return all(levels[at] == level for at, level in self._fixed)

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
        """Make the outgoing event of one message. Does not look at FROM; never raises, whatever the payload.

        Args:
            topic: Where the message was published; ``$aws/rules/<rule>/`` is taken off, as for Basic Ingest.
            payload: The message.
            client_id: The MQTT client that published; None if it was not MQTT, and ``clientid()`` is then "n/a".
            principal: What ``principal()`` answers; Undefined when None.
            account_id: What ``accountid()`` answers; Undefined when None.
            trace_id: What ``traceid()`` answers; when None, a new UUID for a message over MQTT, else Undefined.
            now: The clock of ``timestamp()``, in seconds since the epoch.

        Returns:
            The event as JSON data, the payload's bytes for ``SELECT *`` of a raw payload, or `NO_MATCH`.
        """
        message = _Message(topic, payload, client_id, principal, account_id, trace_id, now, self._variables)
        if self._where is not None and functions.to_bool(self._where(message)) is not True:
            return NO_MATCH
        return self._select(message)


class Template:
    """A compiled substitution template: text with ``${expression}`` in it. "Substitution templates" in the guide."""

    def __init__(self, text: str, parts: list[str | Expression], variables: dict[str, Expression]) -> None:
        self.text = text
        self._parts = parts
        self._variables = variables

    def __repr__(self) -> str:
        return f"<Template {self.text!r}>"

    def render(
        self,
        topic: str,
        payload: bytes,
        *,
        client_id: str | None = None,
        principal: str | None = None,
        account_id: str | None = None,
        trace_id: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> str:
        """Fill the template for one message; the arguments are those of `Statement.evaluate`.

        The expressions see the original payload, not the outgoing event. Undefined and Null are the empty string. ``$$``
        stays as it is: what it means is up to the action (in a republish topic, ``$$aws`` stands for ``$aws``).
        """
        message = _Message(topic, payload, client_id, principal, account_id, trace_id, now, self._variables)
        return "".join([part if isinstance(part, str) else _text(part(message)) for part in self._parts])


def compile_sql(sql: str, *, version: str = "2016-03-23") -> Statement:
    """Compile the statement of a topic rule.

    Args:
        sql: ``[SET @name = …] SELECT … [FROM 'topic/filter'] [WHERE …]``.
        version: The rule's ``awsIotSqlVersion``. 2015-10-08 has no literals of arrays and objects, no nested queries, fewer
            functions, and keeps 10.0 a Decimal; "beta" is taken as 2016-03-23.

    Raises:
        SqlError: The statement is wrong, or uses something the local stack does not have; says where.
    """
    return Statement(_Compiler(_Source(sql, 0, len(sql)), version, {}))


def compile_template(template: str, *, statement: Statement | None = None, version: str = "2016-03-23") -> Template:
    """Compile a substitution template.

    Args:
        template: Text, in which each ``${…}`` holds an expression.
        statement: The rule's statement, whose SET variables the template may use.
        version: The rule's ``awsIotSqlVersion``; that of ``statement`` if there is one.

    Raises:
        SqlError: An expression is wrong or not closed; says where in the template.
    """
    variables = statement._variables if statement else {}
    version = statement.version if statement else version
    parts: list[str | Expression] = []
    end = 0
    while (start := template.find("${", end)) >= 0:
        parts.append(template[end:start])
        end = _closing_brace(template, start + 2)
        parts.append(_Compiler(_Source(template, start + 2, end), version, variables).single_expression())
        end += 1
    parts.append(template[end:])
    return Template(template, parts, variables)


def substitute(template: str, topic: str, payload: bytes, **message: Any) -> str:
    """Render a template that is compiled once and then remembered; the arguments are those of `Template.render`."""
    return _remembered(template).render(topic, payload, **message)


_remembered = functools.lru_cache(maxsize=256)(compile_template)


def _closing_brace(template: str, start: int) -> int:
    depth = 0
    for found in re.compile(r"'[^']*'|\"[^\"]*\"|[{}]").finditer(template, start):
        if found[0] == "}" and depth == 0:
            return found.start()
        depth += {"{": 1, "}": -1}.get(found[0], 0)
    raise SqlError("${ is not closed", template, start - 2)


class _Message:
    """One message while it is evaluated.

    ``row`` is what names of fields refer to: the document, or an item of a nested query.
    """

    __slots__ = ("account_id", "client_id", "now", "principal", "raw", "row", "topic", "trace_id", "variables")

    def __init__(
        self,
        topic: str,
        payload: bytes,
        client_id: str | None,
        principal: str | None,
        account_id: str | None,
        trace_id: str | None,
        now: Callable[[], float],
        variables: dict[str, Expression],
    ) -> None:
        self.topic = topic if not topic.startswith("$aws/rules/") else "".join(topic.split("/", 3)[3:])
        self.raw = payload
        self.client_id = client_id
        self.principal = principal
        self.account_id = account_id
        self.trace_id = trace_id
        self.now = now
        try:
            document = orjson.loads(payload)
        except orjson.JSONDecodeError:
            document = UNDEFINED
        self.row: Any = document if type(document) is dict or type(document) is list else UNDEFINED
        self.variables: dict[str, Any] = {}
        for name, expression in variables.items():
            self.variables[name] = expression(self)

    def trace(self) -> Any:
        if self.trace_id is None and self.client_id is not None:
            self.trace_id = str(uuid.uuid4())
        return UNDEFINED if self.trace_id is None else self.trace_id


def _text(value: Any) -> str:
    text = functions.to_string(value)
    return "" if text is UNDEFINED else text


# From text to tree: sqlglot's tokenizer, what AWS says differently, sqlglot's parser.

_WORD = re.compile(r"[^\W\d]\w*")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_STRUCTURE = frozenset(("SELECT", "FROM", "WHERE", "AS", "AND", "OR", "NOT", "IN", "NULL", "TRUE", "FALSE"))
_CASE = frozenset(("CASE", "WHEN", "THEN", "ELSE", "END"))
_OPENING = frozenset((TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE))
_CLOSING = frozenset((TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE))
_OPERAND_ENDS = _CLOSING.union(
    (TokenType.IDENTIFIER, TokenType.VAR, TokenType.STRING, TokenType.NUMBER),
    (TokenType.END, TokenType.NULL, TokenType.TRUE, TokenType.FALSE),
)
_ENDS_AN_ITEM = _CLOSING.union((TokenType.COMMA, TokenType.FROM, TokenType.WHERE, TokenType.SENTINEL))
_AFTER_A_NAME = _ENDS_AN_ITEM.union(
    (TokenType.ALIAS, TokenType.DOT, TokenType.AND, TokenType.OR, TokenType.IN),
    (TokenType.EQ, TokenType.NEQ, TokenType.LT, TokenType.LTE, TokenType.GT, TokenType.GTE),
    (TokenType.PLUS, TokenType.DASH, TokenType.STAR, TokenType.SLASH, TokenType.MOD, TokenType.DPIPE),
)


class _Unparsed(ParseError):
    """A ParseError, which sqlglot itself may catch while it tries alternatives, with its token; None is the end."""

    def __init__(self, message: str, token: Token | None) -> None:
        super().__init__(message)
        self.token = token


class _Parser(parser.Parser):
    """sqlglot's default parser, but every function stays as it is written, and an error knows its token."""

    FUNCTIONS: ClassVar = {}
    FUNCTION_PARSERS: ClassVar = {}
    NO_PAREN_FUNCTIONS: ClassVar = {}
    NO_PAREN_FUNCTION_PARSERS: ClassVar = {"CASE": parser.Parser.NO_PAREN_FUNCTION_PARSERS["CASE"]}

    def raise_error(self, message: str, token: Any = None) -> None:
        raise _Unparsed(message, token or self._curr or None)


class _Source:
    """The text of a statement, or of one expression in a template (``start`` to ``end``), and its tokens.

    ``tokens`` are sqlglot's, settled where AWS IoT SQL differs from sqlglot's default dialect: text in double quotes is a
    string; a word is a name unless it is one of AWS's own, or stands behind an operand (LIKE, LIMIT: refused by name
    later); ``@name`` is one token; an alias may have dots; SELECT VALUE is what sqlglot knows as SELECT AS VALUE.
    """

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text = text
        self.topic_filter: Token | None = None
        self.tokens: list[Token] = []
        self._depth = 0
        found = self._tokenized(start, end)
        first, last = (Token(TokenType.SENTINEL, "", start=at, end=at - 1) for at in (start, end))
        for before, token, after, beyond in zip(
            [first, *found], found, [*found[1:], last], [*found[2:], last, last], strict=False
        ):
            self._settle(token, before, after, beyond)

    def fail(self, message: str, place: Token | int | None) -> SqlError:
        return SqlError(message, self.text, place.start if isinstance(place, Token) else place)

    def _tokenized(self, start: int, end: int) -> list[Token]:
        try:
            found = Tokenizer().tokenize(self.text[start:end])
        except TokenError as error:
            quotes = re.compile(r"(['\"])(?:(?!\1).)*(\1)?", re.DOTALL).finditer(self.text, start, end)
            raise self.fail("a string is not closed", next((q.start() for q in quotes if not q[2]), None)) from error
        for token in found:
            token.start += start
            token.end += start
        return found

    def _written(self, token: Token) -> str:
        return self.text[token.start : token.end + 1]

    def _settle(self, token: Token, before: Token, after: Token, beyond: Token) -> None:
        kind, preceding, following = token.token_type, before.token_type, after.token_type
        if token.comments:
            comment = re.compile(r"--|/\*").search(self.text, before.end + 1)
            raise self.fail("comments are not part of AWS IoT SQL", comment.start() if comment else token)
        if self.tokens and self.tokens[-1] is self.topic_filter and kind is not TokenType.WHERE:
            raise self.fail(f"unexpected {self._written(token)!r}: only WHERE may follow the topic filter", token)
        if preceding is TokenType.FROM:
            self._settle_source(token)
        if preceding is TokenType.IN and kind is TokenType.L_PAREN and following is not TokenType.SELECT:
            raise self.fail("IN takes an array, as in IN [1, 2]", token)
        if kind is TokenType.COMMA and following in _ENDS_AN_ITEM:
            raise self.fail("nothing follows this comma", token)
        self._depth += (kind in _OPENING) - (kind in _CLOSING)
        if kind is TokenType.PARAMETER:
            if not _WORD.fullmatch(self._written(after)) or after.start != token.end + 1:
                raise self.fail("@ is followed by the name of a variable", token)
        elif preceding is TokenType.PARAMETER:
            token.token_type, token.text, token.start = (
                TokenType.IDENTIFIER,
                self.text[before.start : token.end + 1],
                before.start,
            )
            self.tokens.append(token)
        elif self._extends_alias(token, preceding):
            self.tokens[-1].text += self._written(token)
        elif kind in (TokenType.IDENTIFIER, TokenType.STRING, TokenType.NUMBER):
            self._settle_literal(token, preceding)
            self.tokens.append(token)
        elif _WORD.fullmatch(self._written(token)):
            self._settle_word(token, preceding, following, beyond.token_type)
        else:
            self.tokens.append(token)

    def _extends_alias(self, token: Token, preceding: TokenType) -> bool:
        """Whether a dot, or the word after it, belongs to an alias such as ``bar.baz``."""
        alias = len(self.tokens) > 1 and self.tokens[-2].token_type is TokenType.ALIAS
        dotted = preceding is TokenType.DOT and self.tokens[-1].text.endswith(".")
        return alias and (token.token_type is TokenType.DOT or (dotted and bool(_WORD.fullmatch(self._written(token)))))

    def _settle_source(self, token: Token) -> None:
        """Check what follows FROM: outside brackets the topic filter, inside a path."""
        if self._depth:
            if token.token_type is TokenType.STRING:
                raise self.fail("FROM of a nested query takes a field, not a topic filter", token)
        elif self._written(token)[:1] != "'":
            raise self.fail("FROM takes a topic filter in single quotes", token)
        else:
            self.topic_filter = token

    def _settle_literal(self, token: Token, preceding: TokenType) -> None:
        if preceding is TokenType.DOT:
            raise self.fail("a name after '.' is a plain word; use get(object, 'name')", token)
        if token.token_type is not TokenType.NUMBER:
            token.token_type = TokenType.IDENTIFIER if preceding is TokenType.ALIAS else TokenType.STRING
        elif not _NUMBER.fullmatch(token.text) or not math.isfinite(float(token.text)):
            raise self.fail(f"{token.text} is not a number of AWS IoT SQL", token)

    def _settle_word(self, token: Token, preceding: TokenType, following: TokenType, beyond: TokenType) -> None:
        word = token.text.upper()
        operand_follows = following not in _AFTER_A_NAME or (following is TokenType.STAR and beyond in _ENDS_AN_ITEM)
        if preceding in (TokenType.DOT, TokenType.ALIAS):
            token.token_type = TokenType.IDENTIFIER
        elif preceding is TokenType.SELECT and word == "VALUE" and operand_follows:
            self.tokens.append(Token(TokenType.ALIAS, "AS", start=token.start, end=token.end))
            token.token_type = TokenType.VAR
        elif word in _STRUCTURE or word in _CASE or preceding in _OPERAND_ENDS:
            pass
        elif following is TokenType.L_PAREN:
            token.token_type = TokenType.EXISTS if word == "EXISTS" else TokenType.VAR
        elif not (preceding is TokenType.SELECT and word == "DISTINCT" and operand_follows):
            token.token_type = TokenType.IDENTIFIER
        self.tokens.append(token)

    def parse(self, tokens: list[Token]) -> exp.Expression:
        """Parse tokens of this text into one tree.

        Raises:
            SqlError: They are no statement.
        """
        try:
            trees = _Parser(error_level=ErrorLevel.IMMEDIATE).parse(tokens, self.text)
        except _Unparsed as error:
            if error.token is None:
                raise self.fail("unexpected end", tokens[-1].end + 1) from error
            raise self.fail(f"unexpected {self._written(error.token)!r}", error.token) from error
        except RecursionError as error:
            raise self.fail("nested too deeply", None) from error
        tree = trees[0]
        if len(trees) != 1 or not isinstance(tree, exp.Expression):
            raise self.fail("not one statement", None)
        return tree


# From tree to closures.

_MESSAGE_FUNCTIONS: Final[dict[str, Expression]] = {
    "accountid": lambda message: UNDEFINED if message.account_id is None else message.account_id,
    "clientid": lambda message: "n/a" if message.client_id is None else message.client_id,
    "newuuid": lambda _: str(uuid.uuid4()),
    "principal": lambda message: UNDEFINED if message.principal is None else message.principal,
    "timestamp": lambda message: int(message.now() * 1000),
    "topic": lambda message: message.topic,
    "traceid": lambda message: message.trace(),
}
"""The functions without arguments that look at the message."""


def _ordering(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], Any]:
    def compared(left: Any, right: Any) -> Any:
        first, second = functions.to_number(left), functions.to_number(right)
        return UNDEFINED if first is UNDEFINED or second is UNDEFINED else compare(first, second)

    return compared


def _unequal(left: Any, right: Any) -> Any:
    same = functions.equal(left, right)
    return UNDEFINED if same is UNDEFINED else not same


_BINARY: Final[dict[type[exp.Expression], Callable[[Any, Any], Any]]] = {
    exp.Add: functions.add,
    exp.Sub: functions.subtract,
    exp.Mul: functions.multiply,
    exp.Div: functions.divide,
    exp.Mod: functions.modulo,
    exp.DPipe: functions.join,
    exp.EQ: functions.equal,
    exp.NEQ: _unequal,
    exp.LT: _ordering(operator.lt),
    exp.LTE: _ordering(operator.le),
    exp.GT: _ordering(operator.gt),
    exp.GTE: _ordering(operator.ge),
}

_ARGUMENTS: Final[dict[type[exp.Expression], str]] = {
    **dict.fromkeys(_BINARY, "this expression safe typed"),
    exp.And: "this expression",
    exp.Anonymous: "this expressions",
    exp.Array: "expressions",
    exp.Boolean: "this",
    exp.Bracket: "this expressions",
    exp.Case: "this ifs default",
    exp.Column: "this table db catalog",
    exp.Dot: "this expression",
    exp.Exists: "this",
    exp.In: "this expressions field query",
    exp.Literal: "this is_string",
    exp.Neg: "this",
    exp.Not: "this",
    exp.Null: "",
    exp.Or: "this expression",
    exp.Paren: "this",
    exp.Select: "expressions from_ where kind",
    exp.Star: "",
    exp.Struct: "expressions",
    exp.Subquery: "this",
    exp.Table: "this db catalog alias",
}
"""The nodes AWS IoT SQL has, with the arguments that may be set; any other is refused."""

_WORDING: Final = {
    "joins": "JOIN",
    "order": "ORDER BY",
    "group": "GROUP BY",
    "window": "OVER",
    "alias": "a name with AS at this place",
    "concat": "a string right after a string",
    "tuple": "a list in parentheses",
    "is": "IS (use isNull() or isUndefined())",
    "except_": "EXCEPT",
}
"""Names of refused nodes and arguments where sqlglot's own, in capitals, would not say it."""


class _Compiler:
    """Compiles the trees of one text into closures over a message."""

    def __init__(self, source: _Source, version: str, variables: dict[str, Expression]) -> None:
        if version not in VERSIONS:
            raise SqlError(f"SQL version {version!r} is not one of {', '.join(VERSIONS)}", source.text)
        self.source = source
        self.version = version
        self.variables = variables
        self._modern = version != "2015-10-08"
        self._tidy = functions.whole if self._modern else functions.finite
        self._alias: str | None = None  # of the nested query being compiled
        self._queries = 0  # nested queries around what is being compiled
        self._depth = 0

    def fail(self, message: str, place: exp.Expression | Token | None) -> SqlError:
        if isinstance(place, exp.Expression):
            return self.source.fail(
                message, min((n.meta["start"] for n in place.walk() if "start" in n.meta), default=None)
            )
        return self.source.fail(message, place)

    def since_2016(self, what: str, place: exp.Expression) -> None:
        if not self._modern:
            raise self.fail(f"{what} needs SQL version 2016-03-23", place)

    # Statements

    def statement(self) -> tuple[Expression | None, Expression]:
        """Compile SET into ``variables``; return the closures of WHERE and SELECT."""
        tokens = self.source.tokens
        if tokens and tokens[0].text.upper() == "SET" and tokens[1:] and tokens[1].text.startswith("@"):
            tokens = self._set(tokens)
        if not tokens or tokens[0].token_type is not TokenType.SELECT:
            raise self.fail("a statement is SELECT …, or SET … SELECT …", tokens[0] if tokens else None)
        select = self.source.parse(tokens)
        self._check(select)
        where = select.args.get("where")
        return (self.expression(where.this) if where else None), self._projection(select)

    def single_expression(self) -> Expression:
        """Compile the text as one expression, of a template."""
        if not self.source.tokens:
            raise self.fail("an expression is missing", None)
        select = self.source.parse([Token(TokenType.SELECT, "SELECT"), *self.source.tokens])
        self._check(select)
        if len(select.expressions) != 1 or select.args.get("from_") or select.args.get("where"):
            raise self.fail("a template holds one expression", self.source.tokens[0])
        return self.expression(select.expressions[0])

    def topic_filter(self) -> str:
        """Return FROM's topic filter, or "" without FROM."""
        token = self.source.topic_filter
        if token is None:
            return ""
        levels = token.text.split("/")
        if (
            not token.text
            or any("+" in level and level != "+" for level in levels)
            or "#" in token.text[:-1]
            or "#" in levels[-1][1:]
        ):
            raise self.fail(
                f"{token.text!r} is not a topic filter: + and # stand for whole levels, # for the last", token
            )
        return token.text

    def _set(self, tokens: list[Token]) -> list[Token]:
        """Compile ``SET @name = expression, …``; return the tokens from SELECT on."""
        depth, start = 0, 1
        for at, token in enumerate(tokens):
            depth += (token.token_type in _OPENING) - (token.token_type in _CLOSING)
            ends = token.token_type is TokenType.SELECT
            if depth == 0 and (ends or token.token_type is TokenType.COMMA):
                self._assign(tokens[start:at], token)
                start = at + 1
                if ends:
                    return tokens[at:]
        raise self.fail("SET is not followed by SELECT", tokens[0])

    def _assign(self, tokens: list[Token], end: Token) -> None:
        if len(tokens) < 3 or not tokens[0].text.startswith("@") or tokens[1].token_type is not TokenType.EQ:
            raise self.fail("SET takes @name = expression", tokens[0] if tokens else end)
        name = tokens[0].text
        if name in self.variables:
            raise self.fail(f"{name} is set twice", tokens[0])
        if len(name) > 65:
            raise self.fail("the name of a variable has at most 64 characters", tokens[0])
        select = self.source.parse([Token(TokenType.SELECT, "SELECT"), *tokens[2:]])
        self._check(select)
        if len(select.expressions) != 1:
            raise self.fail("SET takes @name = expression", tokens[0])
        self.variables[name] = self.expression(select.expressions[0])

    def _projection(self, select: exp.Expression) -> Expression:
        """Compile the items of SELECT into a closure that makes the event, or an item of a nested query."""
        items = select.expressions
        if not items:
            raise self.fail("SELECT has no items", self.source.tokens[0])
        outermost = not self._queries
        if len(items) == 1 and isinstance(items[0], exp.Star):
            self._check(items[0])
            return _row_or_payload if outermost else _row
        if select.args.get("kind"):
            if len(items) > 1 or isinstance(items[0], exp.Alias):
                raise self.fail("SELECT VALUE takes one expression, without a name", items[-1])
            value = self.expression(items[0])
            return (lambda message: _or_empty(value(message))) if outermost else value
        fields = [(self._name(item), self._item(item)) for item in items if not isinstance(item, exp.Star)]
        with_star = len(fields) < len(items)

        def project(message: _Message) -> Any:
            row = message.row
            event = dict(row) if with_star and type(row) is dict else {}
            for name, expression in fields:
                value = expression(message)
                if value is not UNDEFINED:
                    event[name] = value
            return event

        return project

    def _item(self, item: exp.Expression) -> Expression:
        if not isinstance(item, exp.Alias):
            return self.expression(item)
        if isinstance(item.this, exp.Star) and not self._queries:
            self._check(item.this)
            return _row_or_base64
        return self.expression(item.this)

    def _name(self, item: exp.Expression) -> str:
        """Return the key of an item: its alias, the last name of a path, or the function's name."""
        if isinstance(item, exp.Alias):
            alias = item.args["alias"]
            if not isinstance(alias, exp.Identifier) or not alias.args.get("quoted"):
                raise self.fail(f"unexpected {alias.name!r}: a name of an item needs AS", alias)
            return alias.name
        if isinstance(item, exp.Column | exp.Anonymous | exp.Dot):
            return item.name.removeprefix("@")
        raise self.fail("this item needs a name: add AS name", item)

    # Expressions

    def expression(self, node: exp.Expression) -> Expression:
        self._depth += 1
        if self._depth > 64:
            raise self.fail("nested more than 64 deep", node)
        self._check(node)
        operation = _BINARY.get(type(node))
        compiled = self._binary(node, operation) if operation else getattr(self, f"_{node.key}")(node)
        self._depth -= 1
        return compiled  # type: ignore[no-any-return]  # every method below returns an Expression

    def _check(self, node: exp.Expression) -> None:
        """Refuse what sqlglot parses and AWS IoT SQL does not have."""
        allowed = _ARGUMENTS.get(type(node))
        refused = node.key if allowed is None else ""
        place = node
        for name, value in node.args.items() if allowed is not None else ():
            if value and name not in allowed.split():
                refused, place = name, value[0] if isinstance(value, list) else value
        if refused:
            raise self.fail(f"{_WORDING.get(refused, refused.upper())} is not part of AWS IoT SQL", place)

    def _binary(self, node: exp.Expression, operation: Callable[[Any, Any], Any]) -> Expression:
        left, right, tidy = self.expression(node.this), self.expression(node.expression), self._tidy
        if operation is functions.equal and isinstance(node.expression, exp.Literal) and node.expression.is_string:
            text = node.expression.this

            def equals_text(message: _Message) -> Any:  # the most frequent WHERE, without a call for each message
                value = left(message)
                return UNDEFINED if value is UNDEFINED else value == text

            return equals_text
        return lambda message: tidy(operation(left(message), right(message)))

    def _and(self, node: exp.Expression) -> Expression:
        return self._connect(node, all)

    def _or(self, node: exp.Expression) -> Expression:
        return self._connect(node, any)

    def _connect(self, node: exp.Expression, decide: Callable[[list[Any]], bool]) -> Expression:
        """AND and OR: Undefined unless every operand is a Boolean, or a String that is one. "Operators" in the guide."""
        operands = [self.expression(operand) for operand in node.flatten()]

        def connected(message: _Message) -> Any:
            values = [functions.to_bool(operand(message)) for operand in operands]
            return UNDEFINED if UNDEFINED in values else decide(values)

        return connected

    def _not(self, node: exp.Expression) -> Expression:
        operand = self.expression(node.this)

        def negated(message: _Message) -> Any:
            value = functions.to_bool(operand(message))
            return UNDEFINED if value is UNDEFINED else not value

        return negated

    def _neg(self, node: exp.Expression) -> Expression:
        operand = self.expression(node.this)
        return lambda message: functions.subtract(0, operand(message))

    def _paren(self, node: exp.Expression) -> Expression:
        return self.expression(node.this)

    def _literal(self, node: exp.Expression) -> Expression:
        text = node.this
        value: Any = text
        if not node.is_string:
            value = functions.integer(int(text)) if text.isdigit() else self._tidy(float(text))
        return lambda _: value

    def _boolean(self, node: exp.Expression) -> Expression:
        value = node.this
        return lambda _: value

    def _null(self, _node: exp.Expression) -> Expression:
        return lambda _: None

    def _star(self, _node: exp.Expression) -> Expression:
        return _row

    def _column(self, node: exp.Expression) -> Expression:
        return self._path(node, [part.name for part in node.parts])

    def _path(self, node: exp.Expression, names: list[str]) -> Expression:
        """Compile a path of names: from a SET variable, the alias of a nested query, or a field of the row."""
        first, *rest = names
        if first.startswith("@"):
            if first not in self.variables:
                raise self.fail(f"{first} is not set", node)
            return _member(lambda message: message.variables[first], rest, self._tidy)
        if first == self._alias:
            return _member(_row, rest, self._tidy)
        return _member(_row, names, self._tidy)

    def _dot(self, node: exp.Expression) -> Expression:
        if not isinstance(node.expression, exp.Identifier):
            raise self.fail("only a name may follow '.'", node.expression)
        return _member(self.expression(node.this), [node.expression.name], self._tidy)

    def _bracket(self, node: exp.Expression) -> Expression:
        if len(node.expressions) != 1:
            raise self.fail("an index is one expression", node)
        container, index = self.expression(node.this), self.expression(node.expressions[0])
        get, tidy = functions.FUNCTIONS["get"].call, self._tidy
        return lambda message: tidy(get(container(message), index(message)))

    def _array(self, node: exp.Expression) -> Expression:
        self.since_2016("an array literal", node)
        elements = [self.expression(element) for element in node.expressions]
        return lambda message: [v for v in [element(message) for element in elements] if v is not UNDEFINED]

    def _struct(self, node: exp.Expression) -> Expression:
        self.since_2016("an object literal", node)
        members = []
        for member in node.expressions:
            if not isinstance(member, exp.PropertyEQ) or "start" in member.this.meta:
                raise self.fail("the keys of an object literal are strings", member)
            members.append((member.name, self.expression(member.expression)))

        def build(message: _Message) -> Any:
            pairs = [(key, expression(message)) for key, expression in members]
            return {key: value for key, value in pairs if value is not UNDEFINED}

        return build

    def _in(self, node: exp.Expression) -> Expression:
        item = self.expression(node.this)
        right = node.args.get("field") or node.args.get("query") or exp.Array(expressions=node.expressions)
        items = self.expression(right)
        return lambda message: functions.contains(item(message), items(message))

    def _case(self, node: exp.Expression) -> Expression:
        if node.this is None:
            raise self.fail("CASE WHEN is not part of AWS IoT SQL: write CASE value WHEN …", node)
        subject = self.expression(node.this)
        branches = [(self.expression(branch.this), self.expression(branch.args["true"])) for branch in node.args["ifs"]]
        default = node.args.get("default")
        otherwise = self.expression(default) if default is not None else _undefined

        def choose(message: _Message) -> Any:
            value = subject(message)
            if value is UNDEFINED:
                return UNDEFINED
            for test, result in branches:
                if functions.equal(value, test(message)) is True:
                    return result(message)
            return otherwise(message)

        return choose

    def _exists(self, node: exp.Expression) -> Expression:
        query = self._query(node.this)

        def exists(message: _Message) -> bool:
            found = query(message)
            return bool(found) if type(found) is list else found is not UNDEFINED

        return exists

    def _subquery(self, node: exp.Expression) -> Expression:
        return self._query(node.this)

    def _query(self, select: exp.Expression) -> Expression:
        """Compile a nested query: of an Array it makes an Array, of an Object one result. "Nested object queries"."""
        self.since_2016("a nested query", select)
        self._check(select)
        if not select.args.get("from_"):
            raise self.fail("a nested query needs FROM and a field", select)
        table = select.args["from_"].this
        self._check(table)
        path = isinstance(table.this, exp.Identifier | exp.Dot)
        source = self._path(table, [p.name for p in table.parts]) if path else self.expression(table.this)
        outer = self._alias
        self._alias, self._queries = table.alias or None, self._queries + 1
        where = select.args.get("where")
        condition = self.expression(where.this) if where else None
        project = self._projection(select)
        self._alias, self._queries = outer, self._queries - 1

        def pick(message: _Message, row: Any) -> Any:
            message.row = row
            if condition is not None and functions.to_bool(condition(message)) is not True:
                return UNDEFINED
            return project(message)

        def query(message: _Message) -> Any:
            rows, row = source(message), message.row
            try:
                if type(rows) is list:
                    return [value for value in [pick(message, item) for item in rows] if value is not UNDEFINED]
                return pick(message, rows) if type(rows) is dict else UNDEFINED
            finally:
                message.row = row

        return query

    # Functions

    def _anonymous(self, node: exp.Expression) -> Expression:
        name, arguments = node.name.lower(), node.expressions
        if name == "cast":
            return self._cast(node)
        if name in functions.UNSUPPORTED:
            raise self.fail(f"{name}() is not supported by the local stack", node)
        if name in ("encode", "decode") and len(arguments) > 1:
            scheme = arguments[1]
            if len(arguments) > 2 or not isinstance(scheme, exp.Literal) or scheme.this != "base64":
                raise self.fail(f"{name}() is supported by the local stack with 'base64' only", scheme)
            if name == "encode" and isinstance(arguments[0], exp.Star) and not self._queries:
                return lambda message: functions.to_base64(message.raw)
        if name.startswith("regexp_") and len(arguments) > 1 and arguments[1].is_string:
            if functions.regular_expression(arguments[1].this) is UNDEFINED:
                raise self.fail("not a regular expression that the local stack understands", arguments[1])
        expressions = [self.expression(argument) for argument in arguments]
        if name in _MESSAGE_FUNCTIONS:
            if name == "topic" and len(expressions) == 1:
                return _topic_level(expressions[0])
            return _undefined if expressions else _MESSAGE_FUNCTIONS[name]
        if name == "sql_version":
            version = self.version
            return _undefined if expressions else lambda _: version
        function = functions.FUNCTIONS.get(name)
        if function is None:
            raise self.fail(f"{node.name}() is not a function of AWS IoT SQL", node)
        if function.since_2016:
            self.since_2016(f"{name}()", node)
        if not function.least <= len(expressions) <= function.most:
            return _undefined
        return _call(function.call, expressions, self._tidy)

    def _cast(self, node: exp.Expression) -> Expression:
        alias = node.expressions[0] if len(node.expressions) == 1 else None
        if not isinstance(alias, exp.Alias):
            raise self.fail("cast() takes a value AS a type", node)
        kind = functions.CAST_TYPES.get(alias.alias.lower())
        if kind is None:
            raise self.fail(f"{alias.alias!r} is not a type that cast() knows", alias.args["alias"])
        if alias.alias.lower() in ("decimal", "bool", "boolean"):
            self.since_2016(f"cast() to {alias.alias}", alias.args["alias"])
        value = self.expression(alias.this)
        return _call(functions.cast, [value, lambda _: kind], self._tidy)


def _undefined(_message: _Message) -> Any:
    return UNDEFINED


def _row(message: _Message) -> Any:
    return message.row


def _row_or_payload(message: _Message) -> Any:
    return message.raw if message.row is UNDEFINED else message.row


def _row_or_base64(message: _Message) -> Any:
    return functions.to_base64(message.raw) if message.row is UNDEFINED else message.row


def _or_empty(value: Any) -> Any:
    return "" if value is UNDEFINED else value


def _member(base: Expression, names: list[str], tidy: Callable[[Any], Any]) -> Expression:
    """Follow names into Objects; anything else on the way makes the result Undefined."""
    if base is _row and len(names) == 1:
        name = names[0]

        def field(message: _Message) -> Any:
            row = message.row
            return tidy(row.get(name, UNDEFINED)) if type(row) is dict else UNDEFINED

        return field

    def follow(message: _Message) -> Any:
        value = base(message)
        for name in names:
            if type(value) is not dict:
                return UNDEFINED
            value = value.get(name, UNDEFINED)
        return tidy(value)

    return follow


def _topic_level(number: Expression) -> Expression:
    def level(message: _Message) -> Any:
        at = functions.to_int(number(message))
        levels = message.topic.split("/")
        return levels[at - 1] if at is not UNDEFINED and 0 < at <= len(levels) else UNDEFINED

    return level


def _call(function: Callable[..., Any], arguments: list[Expression], tidy: Callable[[Any], Any]) -> Expression:
    def call(message: _Message) -> Any:
        try:
            return tidy(function(*[argument(message) for argument in arguments]))
        except (ValueError, ArithmeticError):
            return UNDEFINED

    return call
