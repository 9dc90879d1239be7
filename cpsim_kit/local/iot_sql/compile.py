"""From sqlglot's tree to expressions: compiles a statement, or the expression of a template.

Everything that AWS has and the local stack lacks is refused by name here, so that no rule silently never fires.
"""

import functools
import operator
import re
from collections.abc import Callable
from typing import Any, Final

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from cpsim_kit.local.iot_sql import expressions, operators
from cpsim_kit.local.iot_sql.expressions import MESSAGE_FUNCTIONS, Expression, undefined
from cpsim_kit.local.iot_sql.functions import FUNCTIONS, UNSUPPORTED
from cpsim_kit.local.iot_sql.json_functions import get
from cpsim_kit.local.iot_sql.parser import Source, SqlError
from cpsim_kit.local.iot_sql.string_functions import regular_expression
from cpsim_kit.local.iot_sql.values import CAST_TYPES, UNDEFINED, cast, finite, integer, whole

__all__ = ["Compiler"]

_NUMBER = re.compile(r"[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?")

_BINARY: Final[dict[type[exp.Expr], Callable[[Any, Any], Any]]] = {
    exp.Add: operators.add,
    exp.Sub: operators.subtract,
    exp.Mul: operators.multiply,
    exp.Div: operators.divide,
    exp.Mod: operators.modulo,
    exp.DPipe: operators.join,
    exp.EQ: operators.equal,
    exp.NEQ: operators.unequal,
    exp.LT: operators.ordering(operator.lt),
    exp.LTE: operators.ordering(operator.le),
    exp.GT: operators.ordering(operator.gt),
    exp.GTE: operators.ordering(operator.ge),
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
"""The nodes of AWS IoT SQL and the arguments they may have; others are refused."""


class Compiler:
    """Compiles one text. A method ``_name`` compiles sqlglot's node with that key.

    Args:
        text: The whole text.
        version: The SQL version.
        start: Where the statement or expression begins in the text.
        end: Where it ends; at the end of the text unless given.
        variables: The expressions of the SET variables that the text may use.

    Attributes:
        variables: The same, with the variables that the statement sets.
        newer_functions: Functions in the text that the guide has for later SQL versions only, such as "length()".
    """

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
        self.source = Source(text, start, len(text) if end is None else end)
        self.version = version
        self.variables = dict(variables or {})
        self._is_2016 = version != "2015-10-08"
        self._convert = whole if self._is_2016 else finite
        self.newer_functions: list[str] = []
        self._alias = ""  # of the nested query that is being compiled
        self._queries = 0  # depth of nested queries
        self._depth = 0  # depth of nested expressions

    def fail(self, message: str, place: exp.Expr | Token | None) -> SqlError:
        """Return the error of something at this place; the caller raises it."""
        return self.source.fail(message, place)

    def _check_version(self, what: str, place: exp.Expr) -> None:
        """Refuse what the older SQL version does not have."""
        if not self._is_2016:
            raise self.fail(f"{what} needs SQL version 2016-03-23", place)

    # Queries

    def parse(self, tokens: list[Token]) -> exp.Select:
        """Parse the tokens of a whole SELECT."""
        select = self.source.parse(tokens)
        self._check(select)
        return select

    def single_expression(self, tokens: list[Token], end: Token) -> Expression:
        """Compile tokens that are one expression; sqlglot parses them as the only item of a SELECT.

        Args:
            tokens: The expression.
            end: The token after it.
        """
        if not tokens:
            raise self.fail("an expression is missing", end)
        select = self.source.parse([Token(TokenType.SELECT, "SELECT"), *tokens])
        if len(select.expressions) != 1 or len([value for value in select.args.values() if value]) > 1:
            raise self.fail("not one expression", tokens[0])
        return self.expression(select.expressions[0])

    def condition(self, select: exp.Select) -> Expression | None:
        """Compile WHERE; None if there is none."""
        where = select.args.get("where")
        return self.expression(where.this) if where else None

    def projection(self, select: exp.Select) -> Expression:
        """Compile the items of SELECT into the event, or into one result of a nested query."""
        items = select.expressions
        outermost = not self._queries
        if not items:
            raise self.fail("SELECT needs an item", self.source.tokens[0])
        if len(items) == 1 and isinstance(items[0], exp.Star):
            self._check(items[0])
            return expressions.row_or_payload if outermost else expressions.row
        if select.args.get("kind"):
            if len(items) > 1 or isinstance(items[0], exp.Alias):
                raise self.fail("SELECT VALUE takes one expression, without a name", items[-1])
            value = self._starred(items[0]) or self.expression(items[0])
            return expressions.or_empty(value) if outermost else value
        stars: list[Expression] = []
        fields: list[tuple[str, Expression]] = []
        for item in items:
            star = self._starred(item)
            if star is None:
                fields.append((self._name(item), self._item(item)))
            else:
                stars.append(star)
        return expressions.projection(stars, fields)

    def _starred(self, item: exp.Expr) -> Expression | None:
        """Compile ``*`` or ``path.*`` into the Object whose fields it adds; return None for any other item."""
        if isinstance(item, exp.Star):
            self._check(item)
            return expressions.row
        if isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
            self._check(item.this)
            return expressions.only_object(self._path(item, item.parts[:-1]))
        if isinstance(item, exp.Dot) and isinstance(item.expression, exp.Star):
            self._check(item.expression)
            return expressions.only_object(self.expression(item.this))
        return None

    def _item(self, item: exp.Expr) -> Expression:
        if isinstance(item, exp.Alias):
            expression = self._starred(item.this) or self.expression(item.this)
            return expressions.row_or_base64 if expression is expressions.row and not self._queries else expression
        return self.expression(item)

    def _name(self, item: exp.Expr) -> str:
        """Return the name of an item: its alias, or the last name of its path, or its function's name."""
        if isinstance(item, exp.Alias):
            return item.alias
        if isinstance(item, exp.Column | exp.Anonymous | exp.Dot):
            return item.name.removeprefix("@")
        raise self.fail("this item needs a name: write AS name after it", item)

    # Expressions

    def expression(self, node: exp.Expr) -> Expression:
        """Compile one node."""
        self._depth += 1
        if self._depth > 64:
            raise self.fail("nested more than 64 deep", node)
        self._check(node)
        operation = _BINARY.get(type(node))
        compiled: Expression = self._binary(node, operation) if operation else getattr(self, f"_{node.key}")(node)
        self._depth -= 1
        return compiled

    def _check(self, node: exp.Expr) -> None:
        """Refuse what sqlglot parses but AWS IoT SQL does not have."""
        allowed = _ARGUMENTS.get(type(node))
        if allowed is None:
            raise self.fail(f"{node.key.upper()} is not part of AWS IoT SQL at this place", node)
        for name, value in node.args.items():
            if value and name not in allowed.split():
                place = value[0] if isinstance(value, list) else value
                raise self.fail(f"{name.strip('_').upper()} is not part of AWS IoT SQL at this place", place)

    def _binary(self, node: exp.Expr, operation: Callable[[Any, Any], Any]) -> Expression:
        left, right = self.expression(node.this), self.expression(node.expression)
        if operation is operators.equal and node.expression.is_string:
            return expressions.equals_text(left, node.expression.this)
        return expressions.binary(left, right, operation, self._convert)

    def _and(self, node: exp.Expr) -> Expression:
        return expressions.connected([self.expression(operand) for operand in node.flatten()], all)

    def _or(self, node: exp.Expr) -> Expression:
        return expressions.connected([self.expression(operand) for operand in node.flatten()], any)

    def _not(self, node: exp.Expr) -> Expression:
        return expressions.negated(self.expression(node.this))

    def _neg(self, node: exp.Expr) -> Expression:
        return expressions.binary(
            expressions.constant(0), self.expression(node.this), operators.subtract, self._convert
        )

    def _paren(self, node: exp.Expr) -> Expression:
        return self.expression(node.this)

    def _literal(self, node: exp.Expr) -> Expression:
        value: Any = node.this
        if isinstance(node, exp.Literal) and not node.is_string:
            if not _NUMBER.fullmatch(value):
                raise self.fail(f"{value} is not a number", node)
            value = integer(int(value)) if value.isdigit() and len(value) < 40 else self._convert(float(value))
        if value is UNDEFINED:
            raise self.fail("this number is too large", node)
        return expressions.constant(value)

    _boolean = _null = _literal

    def _star(self, _node: exp.Expr) -> Expression:
        return expressions.row

    def _column(self, node: exp.Column) -> Expression:
        return self._path(node, node.parts)

    def _path(self, node: exp.Expr, parts: list[Any]) -> Expression:
        """Compile a path of names: from a SET variable, the alias of a nested query, or a field of the row."""
        if isinstance(parts[-1], exp.Star):
            raise self.fail("'.*' is allowed only as an item of SELECT", node)
        if not all(isinstance(part, exp.Identifier) for part in parts):
            raise self.fail("a path consists of plain words; use get(object, 'name') for other names", node)
        first, *rest = [part.name for part in parts]
        if first.startswith("@"):
            if first not in self.variables:
                raise self.fail(f"{first} is not set", node)
            return expressions.members(expressions.variable(first), rest, self._convert)
        return expressions.members(expressions.row, rest if first == self._alias else [first, *rest], self._convert)

    def _dot(self, node: exp.Expr) -> Expression:
        if not isinstance(node.expression, exp.Identifier):
            raise self.fail("only a plain word may follow '.'", node.expression)
        return expressions.members(self.expression(node.this), [node.expression.name], self._convert)

    def _bracket(self, node: exp.Expr) -> Expression:
        if len(node.expressions) != 1:
            raise self.fail("an index is one expression", node)
        return expressions.call(get, [self.expression(node.this), self.expression(node.expressions[0])], self._convert)

    def _array(self, node: exp.Expr) -> Expression:
        self._check_version("an array literal", node)
        return expressions.array([self.expression(element) for element in node.expressions])

    def _struct(self, node: exp.Expr) -> Expression:
        self._check_version("an object literal", node)
        fields = []
        for member in node.expressions:
            if not isinstance(member, exp.PropertyEQ):
                raise self.fail("an object literal is {'key': value, …}", member)
            fields.append((member.name, self.expression(member.expression)))
        return expressions.object_of(fields)

    def _in(self, node: exp.Expr) -> Expression:
        item = self.expression(node.this)
        items = self.expression(
            node.args.get("field") or node.args.get("query") or exp.Array(expressions=node.expressions)
        )
        return expressions.binary(item, items, operators.contains, self._convert)

    def _case(self, node: exp.Expr) -> Expression:
        if node.this is None:
            raise self.fail("CASE needs a value: CASE value WHEN … THEN … END", node)
        subject = self.expression(node.this)
        branches = [(self.expression(branch.this), self.expression(branch.args["true"])) for branch in node.args["ifs"]]
        default = node.args.get("default")
        return expressions.case(subject, branches, self.expression(default) if default else undefined)

    # Nested queries

    def _subquery(self, node: exp.Expr) -> Expression:
        return self._query(node.this)

    def _exists(self, node: exp.Expr) -> Expression:
        return expressions.exists(self._query(node.this))

    def _query(self, select: exp.Select) -> Expression:
        """Compile a nested query. "Nested object queries" in the guide."""
        self._check_version("a nested query", select)
        self._check(select)
        table = select.args["from_"].this if select.args.get("from_") else None
        if not isinstance(table, exp.Table) or getattr(table.this, "quoted", False):
            raise self.fail("a nested query is SELECT … FROM field", table or select)
        self._check(table)
        rows = self.expression(table.this) if isinstance(table.this, exp.Anonymous) else self._path(table, table.parts)
        outer, self._alias = self._alias, table.alias
        self._queries += 1
        condition, project = self.condition(select), self.projection(select)
        self._alias = outer
        self._queries -= 1
        return expressions.nested_query(rows, condition, project)

    # Functions

    def _anonymous(self, node: exp.Expr) -> Expression:
        name = node.name.lower()
        if name == "cast":
            return self._cast(node)
        if name in UNSUPPORTED:
            raise self.fail(f"{name}() is not supported by the local stack", node)
        function = FUNCTIONS.get(name)
        if function is None:
            return self._of_message(node, name)
        if function.since_2016 and not self._is_2016:
            self.newer_functions.append(f"{name}()")
        self._check_literals(name, node.expressions)
        if not function.least <= len(node.expressions) <= function.most:
            return undefined
        if name == "encode" and node.expressions[0].is_star and not self._queries:
            return expressions.payload_base64
        return expressions.call(
            function.call, [self.expression(argument) for argument in node.expressions], self._convert
        )

    def _of_message(self, node: exp.Expr, name: str) -> Expression:
        """Compile a function that looks at the message, not at values."""
        if name == "topic" and len(node.expressions) == 1:
            return expressions.topic_level(self.expression(node.expressions[0]))
        if name == "sql_version":
            return undefined if node.expressions else expressions.constant(self.version)
        if name not in MESSAGE_FUNCTIONS:
            raise self.fail(f"{node.name}() is not a function of AWS IoT SQL", node)
        return undefined if node.expressions else MESSAGE_FUNCTIONS[name]

    def _check_literals(self, name: str, arguments: list[Any]) -> None:
        """Refuse the literals that AWS may accept and the local stack does not."""
        if name in ("encode", "decode") and (len(arguments) > 2 or (arguments[1:] and arguments[1].this != "base64")):
            raise self.fail(f"{name}() is supported by the local stack for 'base64' only", arguments[1])
        if name.startswith("regexp_") and arguments[1:] and arguments[1].is_string:
            pattern = arguments[1]
            if regular_expression(pattern.this) is UNDEFINED:
                raise self.fail("the local stack does not understand this regular expression", pattern)

    def _cast(self, node: exp.Expr) -> Expression:
        alias = node.expressions[0] if len(node.expressions) == 1 else None
        if not isinstance(alias, exp.Alias):
            raise self.fail("cast() is written cast(value AS type)", node)
        kind = CAST_TYPES.get(alias.alias.lower())
        if kind is None:
            raise self.fail(f"{alias.alias} is not a type of cast()", alias.args["alias"])
        if alias.alias.lower() in ("decimal", "bool", "boolean"):
            self._check_version(f"cast() to {alias.alias}", alias.args["alias"])
        return expressions.call(functools.partial(cast, kind), [self.expression(alias.this)], self._convert)
