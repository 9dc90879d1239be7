"""AWS IoT SQL: compile the statement of a topic rule once, evaluate it for each message.

Pure: no I/O, and no import from this package but its own functions (`iot_sql_functions`). sqlglot's tokenizer and
parser, reduced to AWS's words, make a tree; the tree becomes closures. Source: "AWS IoT SQL reference" in the AWS IoT
Core developer guide (iot-sql-reference and the pages below it), called "the guide" here.

    statement = compile_sql("SELECT topic(1) AS id, timestamp() AS at FROM '+/in' WHERE get(*, 2) = 'Heartbeat'")
    if statement.matches("CP1/in"):
        event = statement.evaluate("CP1/in", b'[2, "1", "Heartbeat", {}]')      # a dict, or NO_MATCH

Undefined is not Null: a field that is not there is Undefined, and so is almost everything done with it (AND and OR too,
as their tables in the guide say). WHERE does not match when it is Undefined. It never gets out: SELECT leaves the field
out, a literal the member or element; alone (SELECT VALUE, a template) it is the empty string.

A payload that is no JSON object or array is *raw*: ``SELECT *`` is its bytes, ``encode(*, 'base64')`` works, ``* AS x``
is its base64, and every field is Undefined. Among other items ``*`` adds the fields of a JSON object, and nothing of an
array or a raw payload; an item that is named wins over a field of the same name.

What AWS has and this has not is refused by name when it is compiled, so that no rule silently never fires.
"""

import functools
import operator
import re
import time
import uuid
from collections.abc import Callable
from typing import Any, ClassVar, Final

import orjson
from sqlglot import exp, parser
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType
from sqlglot.tokens import Tokenizer

from cpsim_kit.local.iot_sql import functions
from cpsim_kit.local.iot_sql.functions import UNDEFINED, Sentinel

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

Expression = Callable[["_Message"], Any]


class SqlError(ValueError):
    """A statement or template that AWS IoT, or its local stand-in, does not take.

    Attributes:
        message: What is wrong, without the place.
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
        lines = self.statement[: self.position].split("\n")
        column = len(lines[-1])
        line = (lines[-1] + self.statement[self.position :]).split("\n", 1)[0]
        left = max(0, column - 60)
        caret = " " * (column - left) + "^"
        return f"{self.message} (line {len(lines)}, column {column + 1})\n    {line[left : column + 40]}\n    {caret}"


class Statement:
    """A compiled statement; `compile_sql` makes it.

    Attributes:
        sql: The statement's text.
        version: The SQL version it was compiled for.
        topic_filter: The topic filter of FROM; empty without FROM, as a rule for Basic Ingest may be.
        newer_functions: The functions in it that the guide has for later SQL versions only, such as "length()".
    """

    def __init__(self, sql: str, version: str) -> None:
        compiler = _Compiler(sql, version)
        self.sql = sql
        self.version = version
        self.topic_filter, self._where, self._select = compiler.statement()
        self.newer_functions = tuple(dict.fromkeys(compiler.newer_functions))
        self._variables = compiler.variables
        self._levels = self.topic_filter.split("/")
        self._any_depth = self._levels[-1] == "#"
        self._fixed = [(at, level) for at, level in enumerate(self._levels) if level not in ("+", "#")]

    def __repr__(self) -> str:
        return f"<Statement {self.sql!r}>"

    def matches(self, topic: str) -> bool:
        """Whether FROM takes a message published to ``topic``.

        As on AWS, ``a/#`` does not match ``a`` ("MQTT topics" in the guide), and a filter that begins with a wildcard
        does not match ``$aws/events/…``.
        """
        if not self.topic_filter:
            return False
        levels = topic.split("/")
        if len(levels) != len(self._levels) and not (self._any_depth and len(levels) > len(self._levels)):
            return False
        if self._levels[0] in ("+", "#") and topic.startswith("$aws/events/"):
            return False
        for at, level in self._fixed:  # noqa: SIM110  # twice as fast as all()
            if levels[at] != level:
                return False
        return True

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
        message = _Message(topic, payload, self._variables, client_id, principal, account_id, trace_id, now)
        if self._where is not None and functions.to_bool(self._where(message)) is not True:
            return NO_MATCH
        return self._select(message)


class Template:
    """A compiled substitution template, text with ``${expression}`` in it; `compile_template` makes it."""

    def __init__(self, text: str, parts: list[str | Expression], variables: dict[str, Expression]) -> None:
        self.text = text
        self._parts = parts
        self._variables = variables

    def __repr__(self) -> str:
        return f"<Template {self.text!r}>"

    def render(self, topic: str, payload: bytes, **message: Any) -> str:
        """Fill the template for one message; the arguments are those of `Statement.evaluate`.

        The expressions see the original payload, not the outgoing event. Undefined and Null are the empty string.
        ``$$`` stays as it is: its meaning belongs to the action (a republish topic says ``$$aws`` for ``$aws``).
        """
        context = _Message(topic, payload, self._variables, **message)
        texts = [part if isinstance(part, str) else functions.to_string(part(context)) for part in self._parts]
        return "".join([text for text in texts if text is not UNDEFINED])


def compile_sql(sql: str, *, version: str = "2016-03-23") -> Statement:
    """Compile the statement of a topic rule.

    Args:
        sql: ``[SET @name = …] SELECT … [FROM 'topic/filter'] [WHERE …]``.
        version: The rule's ``awsIotSqlVersion``. 2015-10-08 has no array and object literals and no nested queries, and
            keeps 10.0 a Decimal; "beta" is taken as 2016-03-23. A function that the guide has for 2016-03-23 and later
            works here in 2015-10-08 too, as the guide does not say what it does there; `Statement.newer_functions`
            names it.

    Raises:
        SqlError: The statement is wrong, or uses something the local stack does not have; says where.
    """
    return Statement(sql, version)


def compile_template(template: str, *, statement: Statement | None = None, version: str = "2016-03-23") -> Template:
    """Compile a substitution template. "Substitution templates" in the guide.

    Args:
        template: Text, in which each ``${…}`` holds an expression.
        statement: The rule's statement, whose SET variables the template may use.
        version: The rule's ``awsIotSqlVersion``; ``statement`` brings its own.

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
        parts.append(_Compiler(template, version, start + 2, end, variables).template_expression())
        end += 1
    parts.append(template[end:])
    return Template(template, parts, variables)


def _closing_brace(template: str, start: int) -> int:
    depth = 0
    for found in re.compile(r"'[^']*'|\"[^\"]*\"|[{}]").finditer(template, start):
        if found[0] == "}" and depth == 0:
            return found.start()
        depth += {"{": 1, "}": -1}.get(found[0], 0)
    raise SqlError("${ is not closed", template, start - 2)


_remembered = functools.lru_cache(maxsize=256)(compile_template)


def substitute(template: str, topic: str, payload: bytes, **message: Any) -> str:
    """Render a template that is compiled once and then remembered; the arguments are those of `Template.render`."""
    return _remembered(template).render(topic, payload, **message)


class _Message:
    """One message while it is evaluated.

    ``row`` is what names of fields refer to: the document (Undefined for a raw payload), or an item of a nested query.
    """

    __slots__ = ("account_id", "client_id", "now", "principal", "raw", "row", "topic", "trace_id", "variables")

    def __init__(
        self,
        topic: str,
        payload: bytes,
        variables: dict[str, Expression],
        client_id: str | None = None,
        principal: str | None = None,
        account_id: str | None = None,
        trace_id: str | None = None,
        now: Callable[[], float] = time.time,
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


# From text to tree.

_WORD = re.compile(r"@?[^\W\d]\w*")
_NUMBER = re.compile(r"[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?")
_OPENING = frozenset((TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE))
_CLOSING = frozenset((TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE))
_ITEM_ENDS = _CLOSING.union((TokenType.COMMA, TokenType.FROM, TokenType.WHERE, TokenType.SELECT, TokenType.SENTINEL))
_OPERAND_STARTS = _OPENING.union(
    (TokenType.VAR, TokenType.STRING, TokenType.NUMBER, TokenType.CASE, TokenType.EXISTS),
    (TokenType.NOT, TokenType.NULL, TokenType.TRUE, TokenType.FALSE),
)
_WORDS = ("SELECT", "FROM", "WHERE", "AS", "AND", "OR", "NOT", "IN", "EXISTS", "NULL", "TRUE", "FALSE")
_KEYWORDS = (*_WORDS, "CASE", "WHEN", "THEN", "ELSE", "END", "<>", "!=", "<=", ">=", "||")
_NOT_OF_AWS = frozenset(("BETWEEN", "GROUP", "HAVING", "IS", "JOIN", "LIKE", "LIMIT", "ORDER", "UNION"))


class _Tokenizer(Tokenizer):
    """sqlglot's tokenizer with AWS's words only: all others are names. No comments; double quotes are strings."""

    QUOTES: ClassVar = ["'", '"']
    STRING_ESCAPES: ClassVar = ["'", '"']
    IDENTIFIERS: ClassVar = []
    COMMENTS: ClassVar = []
    SINGLE_TOKENS: ClassVar = {sign: kind for sign, kind in Tokenizer.SINGLE_TOKENS.items() if sign != "@"}
    KEYWORDS: ClassVar = {word: Tokenizer.KEYWORDS[word] for word in _KEYWORDS}


class _Unparsed(ParseError):
    """A ParseError (sqlglot catches it where it tries alternatives) with the token to blame; None is the end."""

    def __init__(self, message: str, token: Token | None) -> None:
        super().__init__(message)
        self.token = token


class _Parser(parser.Parser):
    """sqlglot's parser, which leaves every function as it is written and takes no name for an item without AS."""

    FUNCTIONS: ClassVar = {}
    FUNCTION_PARSERS: ClassVar = {}
    NO_PAREN_FUNCTION_PARSERS: ClassVar = {"CASE": parser.Parser.NO_PAREN_FUNCTION_PARSERS["CASE"]}
    ARRAY_CONSTRUCTORS: ClassVar = {}
    ALIAS_TOKENS: ClassVar = {TokenType.UNKNOWN}
    TABLE_ALIAS_TOKENS: ClassVar = {TokenType.UNKNOWN}

    def raise_error(self, message: str, token: Any = None) -> None:
        raise _Unparsed(message, token or self._curr or None)


class _Source:
    """The text of a statement, or of the expression at ``start`` to ``end`` in a template, as tokens and trees."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text = text
        try:
            found = _Tokenizer().tokenize(text[start:end])
        except TokenError as error:
            quotes = re.compile(r"(['\"])(?:(?!\1).)*(\1)?", re.DOTALL).finditer(text, start, end)
            raise self.fail("this string is not closed", next((q.start() for q in quotes if not q[2]), None)) from error
        for token in found:
            token.start += start
            token.end += start
        self.end = Token(TokenType.SENTINEL, "", start=end, end=end)
        self.tokens = self._settled([*found, self.end, self.end])

    def fail(self, message: str, place: exp.Expr | Token | int | None) -> SqlError:
        if isinstance(place, Token):
            place = place.start
        elif isinstance(place, exp.Expr):
            place = min((node.meta["start"] for node in place.walk() if "start" in node.meta), default=None)
        return SqlError(message, self.text, place)

    def _settled(self, found: list[Token]) -> list[Token]:
        """Settle what AWS says differently, and refuse what sqlglot lets pass.

        SELECT VALUE becomes SELECT AS VALUE, which sqlglot knows; any word may follow a dot or AS; an alias may have
        dots.
        """
        settled = [self.end]
        depth = 0
        for token, after, beyond in zip(found, found[1:], found[2:], strict=False):
            kind, before, text = token.token_type, settled[-1].token_type, self.text[token.start : token.end + 1]
            word = _WORD.fullmatch(text) is not None
            if kind in (TokenType.VAR, TokenType.UNKNOWN, TokenType.SEMICOLON) and not word:
                raise self.fail(f"unexpected {text!r}", token)
            if text + self.text[after.start : after.end + 1] in ("--", "/*") and after.start == token.end + 1:
                raise self.fail("comments are not part of AWS IoT SQL", token)
            if before is TokenType.FROM and depth == 0 and text[0] != "'":
                raise self.fail("FROM takes one topic filter in single quotes", token)
            depth += (kind in _OPENING) - (kind in _CLOSING)
            if kind is TokenType.COMMA and after.token_type in _ITEM_ENDS:
                raise self.fail("nothing follows this comma", token)
            if kind is TokenType.COLON and before is not TokenType.STRING:
                raise self.fail("only the key of an object, a string, comes before ':'", token)
            if before is TokenType.IN and kind is TokenType.L_PAREN and after.token_type is not TokenType.SELECT:
                raise self.fail("IN takes an array, as in IN [1, 2]", token)
            in_alias = len(settled) > 1 and settled[-2].token_type is TokenType.ALIAS
            if in_alias and (kind is TokenType.DOT or (word and settled[-1].text.endswith("."))):
                settled[-1].text += text
                continue
            if before is TokenType.SELECT and text.upper() == "VALUE":
                star = after.token_type is TokenType.STAR and beyond.token_type in _ITEM_ENDS
                if star or after.token_type in _OPERAND_STARTS:
                    settled.append(Token(TokenType.ALIAS, "AS", start=token.start, end=token.end))
            elif word and before in (TokenType.DOT, TokenType.ALIAS):
                token.token_type = TokenType.VAR
            settled.append(token)
        return settled[1:]

    def parse(self, tokens: list[Token]) -> exp.Select:
        """Parse tokens of this text into one SELECT.

        Raises:
            SqlError: They are none.
        """
        try:
            trees = _Parser(error_level=ErrorLevel.IMMEDIATE).parse(tokens, self.text)
        except _Unparsed as error:
            if error.token is None:
                raise self.fail("unexpected end", self.end) from error
            text = self.text[error.token.start : error.token.end + 1]
            known = text.upper() in _NOT_OF_AWS
            message = f"{text.upper()} is not part of AWS IoT SQL" if known else f"unexpected {text!r}"
            raise self.fail(message, error.token) from error
        except RecursionError as error:
            raise self.fail("nested too deeply", None) from error
        if len(trees) != 1 or not isinstance(trees[0], exp.Select):
            raise self.fail("not one SELECT", None)
        return trees[0]


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

_BINARY: Final[dict[type[exp.Expr], Callable[[Any, Any], Any]]] = {
    exp.Add: functions.add,
    exp.Sub: functions.subtract,
    exp.Mul: functions.multiply,
    exp.Div: functions.divide,
    exp.Mod: functions.modulo,
    exp.DPipe: functions.join,
    exp.EQ: functions.equal,
    exp.NEQ: functions.unequal,
    exp.LT: functions.ordering(operator.lt),
    exp.LTE: functions.ordering(operator.le),
    exp.GT: functions.ordering(operator.gt),
    exp.GTE: functions.ordering(operator.ge),
}

_ARGUMENTS: Final[dict[type[exp.Expr], str]] = {
    **dict.fromkeys(_BINARY, "this expression safe typed"),
    **dict.fromkeys((exp.And, exp.Or, exp.Dot), "this expression"),
    **dict.fromkeys((exp.Boolean, exp.Exists, exp.Neg, exp.Not, exp.Paren, exp.Subquery), "this"),
    **dict.fromkeys((exp.Anonymous, exp.Bracket), "this expressions"),
    **dict.fromkeys((exp.Array, exp.Struct), "expressions"),
    **dict.fromkeys((exp.Null, exp.Star), ""),
    exp.Case: "this ifs default",
    exp.Column: "this table db catalog",
    exp.In: "this expressions field query",
    exp.Literal: "this is_string",
    exp.Select: "expressions from_ where kind",
    exp.Table: "this db catalog alias",
}
"""The nodes AWS IoT SQL has and the arguments they may have; others are refused."""


class _Compiler:
    """Compiles one text into closures over a message. A method ``_name`` compiles the node with that key in sqlglot."""

    def __init__(
        self,
        text: str,
        version: str,
        start: int = 0,
        end: int | None = None,
        variables: dict[str, Expression] | None = None,
    ) -> None:
        if version not in ("2015-10-08", "2016-03-23", "beta"):
            raise SqlError(f"{version!r} is not an SQL version", text)
        self.source = _Source(text, start, len(text) if end is None else end)
        self.version = version
        self.variables = dict(variables or {})
        self._modern = version != "2015-10-08"
        self._tidy = functions.whole if self._modern else functions.finite
        self.newer_functions: list[str] = []
        self._alias = ""  # of the nested query being compiled
        self._queries = 0  # how many nested queries are around what is being compiled
        self._depth = 0

    def fail(self, message: str, place: exp.Expr | Token | None) -> SqlError:
        return self.source.fail(message, place)

    def since_2016(self, what: str, place: exp.Expr) -> None:
        if not self._modern:
            raise self.fail(f"{what} needs SQL version 2016-03-23", place)

    # Statements

    def statement(self) -> tuple[str, Expression | None, Expression]:
        """Compile SET into ``variables``; return the topic filter and the closures of WHERE and SELECT."""
        tokens = self.source.tokens
        if tokens and tokens[0].text.upper() == "SET":
            tokens = self._set(tokens)
        if not tokens or tokens[0].token_type is not TokenType.SELECT:
            raise self.fail("a statement is [SET …] SELECT … [FROM …] [WHERE …]", tokens[0] if tokens else None)
        select = self.source.parse(tokens)
        self._check(select)
        return self._topic_filter(select), self._condition(select), self._projection(select)

    def template_expression(self) -> Expression:
        return self._lone(self.source.tokens, None)

    def _lone(self, tokens: list[Token], place: Token | None) -> Expression:
        """Compile tokens that are one expression, which sqlglot parses as the item of a SELECT."""
        if not tokens:
            raise self.fail("an expression is missing", place or self.source.end)
        select = self.source.parse([Token(TokenType.SELECT, "SELECT"), *tokens])
        if len(select.expressions) != 1 or len([value for value in select.args.values() if value]) > 1:
            raise self.fail("not one expression", tokens[0])
        return self.expression(select.expressions[0])

    def _set(self, tokens: list[Token]) -> list[Token]:
        """Compile ``SET @name = expression, …``; return the tokens from SELECT on."""
        depth, start = 0, 1
        for at, token in enumerate(tokens):
            depth += (token.token_type in _OPENING) - (token.token_type in _CLOSING)
            if depth == 0 and token.token_type in (TokenType.SELECT, TokenType.COMMA):
                self._assign(tokens[start:at], token)
                start = at + 1
                if token.token_type is TokenType.SELECT:
                    return tokens[at:]
        raise self.fail("SET needs a SELECT after it", tokens[0])

    def _assign(self, tokens: list[Token], end: Token) -> None:
        name = tokens[0].text if tokens else ""
        if not name.startswith("@") or len(tokens) < 2 or tokens[1].token_type is not TokenType.EQ:
            raise self.fail("SET takes @name = expression", tokens[0] if tokens else end)
        if name in self.variables or len(name) > 65:
            raise self.fail(f"{name} is set twice, or its name has more than 64 characters", tokens[0])
        self.variables[name] = self._lone(tokens[2:], end)

    def _topic_filter(self, select: exp.Select) -> str:
        if not select.args.get("from_"):
            return ""
        table = select.args["from_"].this
        if table.alias:
            raise self.fail("the topic filter has no name", table.args["alias"])
        text: str = table.name
        if not re.fullmatch(r"(\+|#|[^+#/]*)(/(\+|[^+#/]*))*(/#)?", text) or text[:2] == "#/" or not text:
            raise self.fail(f"{text!r} is no topic filter: + and # stand for whole levels, # for the last ones", table)
        return text

    def _condition(self, select: exp.Select) -> Expression | None:
        where = select.args.get("where")
        return self.expression(where.this) if where else None

    def _projection(self, select: exp.Select) -> Expression:
        """Compile the items of SELECT into a closure that makes the event, or one result of a nested query."""
        items = select.expressions
        outermost = not self._queries
        if not items:
            raise self.fail("SELECT needs an item", self.source.tokens[0])
        if len(items) == 1 and isinstance(items[0], exp.Star):
            self._check(items[0])
            return _row_or_payload if outermost else _row
        if select.args.get("kind"):
            if len(items) > 1 or isinstance(items[0], exp.Alias):
                raise self.fail("SELECT VALUE takes one expression, without a name", items[-1])
            value = self._starred(items[0]) or self.expression(items[0])
            return _or_empty(value) if outermost else value
        stars: list[Expression] = []
        fields: list[tuple[str, Expression]] = []
        for item in items:
            star = self._starred(item)
            if star is None:
                fields.append((self._name(item), self._item(item)))
            else:
                stars.append(star)

        def project(message: _Message) -> Any:
            event: dict[str, Any] = {}
            for star in stars:
                value = star(message)
                if type(value) is dict:
                    event.update(value)
            for name, expression in fields:
                value = expression(message)
                if value is not UNDEFINED:
                    event[name] = value
            return event

        return project

    def _starred(self, item: exp.Expr) -> Expression | None:
        """Compile ``*`` or ``path.*`` into the Object whose fields it stands for; None for any other item."""
        if isinstance(item, exp.Star):
            self._check(item)
            return _row
        if isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
            self._check(item.this)
            return _object(self._path(item, item.parts[:-1]))
        if isinstance(item, exp.Dot) and isinstance(item.expression, exp.Star):
            self._check(item.expression)
            return _object(self.expression(item.this))
        return None

    def _item(self, item: exp.Expr) -> Expression:
        if isinstance(item, exp.Alias):
            expression = self._starred(item.this) or self.expression(item.this)
            return _row_or_base64 if expression is _row and not self._queries else expression
        return self.expression(item)

    def _name(self, item: exp.Expr) -> str:
        """Return the key of an item: its alias, else the last name of a path, else the function's name."""
        if isinstance(item, exp.Alias):
            return item.alias
        if isinstance(item, exp.Column | exp.Anonymous | exp.Dot):
            return item.name.removeprefix("@")
        raise self.fail("this item needs a name: write AS name after it", item)

    # Expressions

    def expression(self, node: exp.Expr) -> Expression:
        self._depth += 1
        if self._depth > 64:
            raise self.fail("nested more than 64 deep", node)
        self._check(node)
        operation = _BINARY.get(type(node))
        compiled: Expression = self._binary(node, operation) if operation else getattr(self, f"_{node.key}")(node)
        self._depth -= 1
        return compiled

    def _check(self, node: exp.Expr) -> None:
        """Refuse what sqlglot parses and AWS IoT SQL does not have."""
        allowed = _ARGUMENTS.get(type(node))
        if allowed is None:
            raise self.fail(f"{node.key.upper()} is not part of AWS IoT SQL at this place", node)
        for name, value in node.args.items():
            if value and name not in allowed.split():
                place = value[0] if isinstance(value, list) else value
                raise self.fail(f"{name.strip('_').upper()} is not part of AWS IoT SQL at this place", place)

    def _binary(self, node: exp.Expr, operation: Callable[[Any, Any], Any]) -> Expression:
        left, right, tidy = self.expression(node.this), self.expression(node.expression), self._tidy
        if operation is functions.equal and node.expression.is_string:
            text = node.expression.this

            def equals_text(message: _Message) -> Any:  # what most rules ask, so it is worth a shorter way
                value = left(message)
                return UNDEFINED if value is UNDEFINED else value == text

            return equals_text
        return lambda message: tidy(operation(left(message), right(message)))

    def _and(self, node: exp.Expr) -> Expression:
        return self._connected(node, all)

    def _or(self, node: exp.Expr) -> Expression:
        return self._connected(node, any)

    def _connected(self, node: exp.Expr, decide: Callable[[list[Any]], bool]) -> Expression:
        """Compile AND and OR: Undefined unless every operand is a Boolean or converts to one ("Operators")."""
        operands = [self.expression(operand) for operand in node.flatten()]

        def connected(message: _Message) -> Any:
            values = [functions.to_bool(operand(message)) for operand in operands]
            return UNDEFINED if UNDEFINED in values else decide(values)

        return connected

    def _not(self, node: exp.Expr) -> Expression:
        operand = self.expression(node.this)

        def negated(message: _Message) -> Any:
            value = functions.to_bool(operand(message))
            return UNDEFINED if value is UNDEFINED else not value

        return negated

    def _neg(self, node: exp.Expr) -> Expression:
        operand = self.expression(node.this)
        return lambda message: functions.subtract(0, operand(message))

    def _paren(self, node: exp.Expr) -> Expression:
        return self.expression(node.this)

    def _literal(self, node: exp.Expr) -> Expression:
        value: Any = node.this
        if isinstance(node, exp.Literal) and not node.is_string:
            if not _NUMBER.fullmatch(value):
                raise self.fail(f"{value} is not a number", node)
            value = functions.integer(int(value)) if value.isdigit() and len(value) < 40 else self._tidy(float(value))
        if value is UNDEFINED:
            raise self.fail("this number is too large", node)
        return lambda _: value

    _boolean = _null = _literal

    def _star(self, _node: exp.Expr) -> Expression:
        return _row

    def _column(self, node: exp.Column) -> Expression:
        return self._path(node, node.parts)

    def _path(self, node: exp.Expr, parts: list[Any]) -> Expression:
        """Compile a path of names: from a SET variable, the alias of a nested query, or a field of the row."""
        if isinstance(parts[-1], exp.Star):
            raise self.fail("'.*' stands alone, as an item of SELECT", node)
        if not all(isinstance(part, exp.Identifier) for part in parts):
            raise self.fail("a path is plain words; get(object, 'name') reads other names", node)
        first, *rest = [part.name for part in parts]
        if first.startswith("@"):
            if first not in self.variables:
                raise self.fail(f"{first} is not set", node)
            return _members(lambda message: message.variables[first], rest, self._tidy)
        return _members(_row, rest if first == self._alias else [first, *rest], self._tidy)

    def _dot(self, node: exp.Expr) -> Expression:
        if not isinstance(node.expression, exp.Identifier):
            raise self.fail("only a plain word may follow '.'", node.expression)
        return _members(self.expression(node.this), [node.expression.name], self._tidy)

    def _bracket(self, node: exp.Expr) -> Expression:
        if len(node.expressions) != 1:
            raise self.fail("an index is one expression", node)
        return _call(functions.get, [self.expression(node.this), self.expression(node.expressions[0])], self._tidy)

    def _array(self, node: exp.Expr) -> Expression:
        self.since_2016("an array literal", node)
        elements = [self.expression(element) for element in node.expressions]
        return lambda message: [value for value in [e(message) for e in elements] if value is not UNDEFINED]

    def _struct(self, node: exp.Expr) -> Expression:
        self.since_2016("an object literal", node)
        members = []
        for member in node.expressions:
            if not isinstance(member, exp.PropertyEQ):
                raise self.fail("an object literal is {'key': value, …}", member)
            members.append((member.name, self.expression(member.expression)))

        def build(message: _Message) -> Any:
            pairs = [(key, expression(message)) for key, expression in members]
            return {key: value for key, value in pairs if value is not UNDEFINED}

        return build

    def _in(self, node: exp.Expr) -> Expression:
        item = self.expression(node.this)
        items = self.expression(
            node.args.get("field") or node.args.get("query") or exp.Array(expressions=node.expressions)
        )
        return lambda message: functions.contains(item(message), items(message))

    def _case(self, node: exp.Expr) -> Expression:
        if node.this is None:
            raise self.fail("CASE needs a value: CASE value WHEN … THEN … END", node)
        subject = self.expression(node.this)
        branches = [(self.expression(branch.this), self.expression(branch.args["true"])) for branch in node.args["ifs"]]
        default = node.args.get("default")
        otherwise = self.expression(default) if default else _undefined

        def choose(message: _Message) -> Any:
            value = subject(message)
            if value is UNDEFINED:
                return UNDEFINED
            for test, result in branches:
                if functions.equal(value, test(message)) is True:
                    return result(message)
            return otherwise(message)

        return choose

    # Nested queries

    def _subquery(self, node: exp.Expr) -> Expression:
        return self._query(node.this)

    def _exists(self, node: exp.Expr) -> Expression:
        query = self._query(node.this)

        def exists(message: _Message) -> bool:
            found = query(message)
            return bool(found) if type(found) is list else found is not UNDEFINED

        return exists

    def _query(self, select: exp.Select) -> Expression:
        """Compile a nested query: of an Array it makes an Array, of an Object one result. "Nested object queries"."""
        self.since_2016("a nested query", select)
        self._check(select)
        table = select.args["from_"].this if select.args.get("from_") else None
        if not isinstance(table, exp.Table) or getattr(table.this, "quoted", False):
            raise self.fail("a nested query is SELECT … FROM field", table or select)
        self._check(table)
        rows = self.expression(table.this) if isinstance(table.this, exp.Anonymous) else self._path(table, table.parts)
        outer, self._alias = self._alias, table.alias
        self._queries += 1
        condition, project = self._condition(select), self._projection(select)
        self._alias = outer
        self._queries -= 1

        def pick(message: _Message, row: Any) -> Any:
            message.row = row
            if condition is not None and functions.to_bool(condition(message)) is not True:
                return UNDEFINED
            return project(message)

        def query(message: _Message) -> Any:
            found, row = rows(message), message.row
            try:
                if type(found) is list:
                    return [value for value in [pick(message, item) for item in found] if value is not UNDEFINED]
                return pick(message, found) if type(found) is dict else UNDEFINED
            finally:
                message.row = row

        return query

    # Functions

    def _anonymous(self, node: exp.Expr) -> Expression:
        name = node.name.lower()
        if name == "cast":
            return self._cast(node)
        if name in functions.UNSUPPORTED:
            raise self.fail(f"{name}() is not supported by the local stack", node)
        function = functions.FUNCTIONS.get(name)
        if function is None:
            return self._of_message(node, name)
        if function.since_2016 and not self._modern:
            self.newer_functions.append(f"{name}()")
        self._check_literals(name, node.expressions)
        if not function.least <= len(node.expressions) <= function.most:
            return _undefined
        if name == "encode" and node.expressions[0].is_star and not self._queries:
            return lambda message: functions.to_base64(message.raw)
        return _call(function.call, [self.expression(argument) for argument in node.expressions], self._tidy)

    def _of_message(self, node: exp.Expr, name: str) -> Expression:
        """Compile a function that looks at the message rather than at values."""
        if name == "topic" and len(node.expressions) == 1:
            return _topic_level(self.expression(node.expressions[0]))
        if name == "sql_version":
            return _undefined if node.expressions else lambda _: self.version
        if name not in _MESSAGE_FUNCTIONS:
            raise self.fail(f"{node.name}() is not a function of AWS IoT SQL", node)
        return _undefined if node.expressions else _MESSAGE_FUNCTIONS[name]

    def _check_literals(self, name: str, arguments: list[Any]) -> None:
        """Refuse the literals that AWS may take and the local stack can not."""
        if name in ("encode", "decode") and (len(arguments) > 2 or (arguments[1:] and arguments[1].this != "base64")):
            raise self.fail(f"{name}() is supported by the local stack for 'base64' only", arguments[1])
        if name.startswith("regexp_") and arguments[1:] and arguments[1].is_string:
            pattern = arguments[1]
            if functions.regular_expression(pattern.this) is UNDEFINED:
                raise self.fail("the local stack does not understand this regular expression", pattern)

    def _cast(self, node: exp.Expr) -> Expression:
        alias = node.expressions[0] if len(node.expressions) == 1 else None
        if not isinstance(alias, exp.Alias):
            raise self.fail("cast() is written cast(value AS type)", node)
        kind = functions.CAST_TYPES.get(alias.alias.lower())
        if kind is None:
            raise self.fail(f"{alias.alias} is not a type of cast()", alias.args["alias"])
        if alias.alias.lower() in ("decimal", "bool", "boolean"):
            self.since_2016(f"cast() to {alias.alias}", alias.args["alias"])
        return _call(functools.partial(functions.cast, kind), [self.expression(alias.this)], self._tidy)


def _undefined(_message: _Message) -> Any:
    return UNDEFINED


def _row(message: _Message) -> Any:
    return message.row


def _object(expression: Expression) -> Expression:
    def value_if_object(message: _Message) -> Any:
        value = expression(message)
        return value if type(value) is dict else UNDEFINED

    return value_if_object


def _row_or_payload(message: _Message) -> Any:
    return message.raw if message.row is UNDEFINED else message.row


def _row_or_base64(message: _Message) -> Any:
    return functions.to_base64(message.raw) if message.row is UNDEFINED else message.row


def _or_empty(expression: Expression) -> Expression:
    def value_or_empty(message: _Message) -> Any:
        value = expression(message)
        return "" if value is UNDEFINED else value

    return value_or_empty


def _members(base: Expression, names: list[str], tidy: Callable[[Any], Any]) -> Expression:
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
    """Compile a call; what a function cannot do with its arguments is Undefined."""

    def call(message: _Message) -> Any:
        try:
            return tidy(function(*[argument(message) for argument in arguments]))
        except (ValueError, ArithmeticError):
            return UNDEFINED

    return call
