"""From the text of an AWS IoT SQL statement to sqlglot's tree.

sqlglot's tokenizer and parser are reduced to the words of AWS, and what AWS writes differently is rewritten between the
two. Pure: no import of another module of this package.
"""

import re
from typing import Any, ClassVar

from sqlglot import exp, parser
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType
from sqlglot.tokens import Tokenizer

__all__ = ["CLOSING", "OPENING", "WORDS", "Source", "SqlError"]


_WORD = re.compile(r"@?[^\W\d]\w*")
OPENING = frozenset((TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE))
CLOSING = frozenset((TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE))
_ITEM_ENDS = CLOSING.union((TokenType.COMMA, TokenType.FROM, TokenType.WHERE, TokenType.SELECT, TokenType.SENTINEL))
_OPERAND_STARTS = OPENING.union(
    (TokenType.VAR, TokenType.STRING, TokenType.NUMBER, TokenType.CASE, TokenType.EXISTS),
    (TokenType.NOT, TokenType.NULL, TokenType.TRUE, TokenType.FALSE),
)
WORDS = (
    *("SELECT", "FROM", "WHERE", "AS", "AND", "OR", "NOT", "IN", "EXISTS", "NULL", "TRUE", "FALSE"),
    *("CASE", "WHEN", "THEN", "ELSE", "END", "<>", "!=", "<=", ">=", "||"),
)
_NOT_OF_AWS = frozenset(("BETWEEN", "GROUP", "HAVING", "IS", "JOIN", "LIKE", "LIMIT", "ORDER", "UNION"))


class SqlError(ValueError):
    """AWS IoT, or the local stack, does not accept a statement or template.

    Attributes:
        message: What is wrong, without the position.
        statement: The whole text.
        position: Index of the error in ``statement``; None if the error has no position.
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


class _Tokenizer(Tokenizer):
    """sqlglot's tokenizer with the keywords of AWS only. It has no comments, and double quotes enclose strings."""

    QUOTES: ClassVar = ["'", '"']
    STRING_ESCAPES: ClassVar = ["'", '"']
    IDENTIFIERS: ClassVar = []
    COMMENTS: ClassVar = []
    SINGLE_TOKENS: ClassVar = {sign: kind for sign, kind in Tokenizer.SINGLE_TOKENS.items() if sign != "@"}
    KEYWORDS: ClassVar = {word: Tokenizer.KEYWORDS[word] for word in WORDS}


class _Unparsed(ParseError):
    """A ParseError, which sqlglot catches when it tries alternatives, with the unexpected token; None is the end."""

    def __init__(self, message: str, token: Token | None) -> None:
        super().__init__(message)
        self.token = token


class _Parser(parser.Parser):
    """sqlglot's parser. It leaves every function as written, and an item has a name only after AS."""

    FUNCTIONS: ClassVar = {}
    FUNCTION_PARSERS: ClassVar = {}
    NO_PAREN_FUNCTION_PARSERS: ClassVar = {"CASE": parser.Parser.NO_PAREN_FUNCTION_PARSERS["CASE"]}
    ARRAY_CONSTRUCTORS: ClassVar = {}
    ALIAS_TOKENS: ClassVar = {TokenType.UNKNOWN}
    TABLE_ALIAS_TOKENS: ClassVar = {TokenType.UNKNOWN}

    def raise_error(self, message: str, token: Any = None) -> None:
        raise _Unparsed(message, token or self._curr or None)


class Source:
    """The text of a statement, or of one expression in a template, as tokens and trees.

    Args:
        text: The whole text.
        start: Where the statement or expression begins in it.
        end: Where it ends.

    Attributes:
        text: The whole text.
        tokens: Its tokens.
        end: A token of no length at the end.

    Raises:
        SqlError: The text has a token that AWS IoT SQL does not have.
    """

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
        self.tokens = self._adapt([*found, self.end, self.end])

    def fail(self, message: str, place: exp.Expr | Token | int | None) -> SqlError:
        """Return the error of something at this place; the caller raises it."""
        if isinstance(place, Token):
            place = place.start
        elif isinstance(place, exp.Expr):
            place = min((node.meta["start"] for node in place.walk() if "start" in node.meta), default=None)
        return SqlError(message, self.text, place)

    def _adapt(self, found: list[Token]) -> list[Token]:
        """Rewrite what AWS writes differently, and refuse what sqlglot would accept.

        SELECT VALUE becomes SELECT AS VALUE, which sqlglot knows. Any word may follow a dot or AS. An alias may have
        dots.
        """
        adapted = [self.end]
        depth = 0
        for token, after, beyond in zip(found, found[1:], found[2:], strict=False):
            kind, before, text = token.token_type, adapted[-1].token_type, self.text[token.start : token.end + 1]
            word = _WORD.fullmatch(text) is not None
            if kind in (TokenType.VAR, TokenType.UNKNOWN, TokenType.SEMICOLON) and not word:
                raise self.fail(f"unexpected {text!r}", token)
            if text + self.text[after.start : after.end + 1] in ("--", "/*") and after.start == token.end + 1:
                raise self.fail("comments are not part of AWS IoT SQL", token)
            if before is TokenType.FROM and depth == 0 and text[0] != "'":
                raise self.fail("FROM takes one topic filter in single quotes", token)
            depth += (kind in OPENING) - (kind in CLOSING)
            if kind is TokenType.COMMA and after.token_type in _ITEM_ENDS:
                raise self.fail("nothing follows this comma", token)
            if kind is TokenType.COLON and before is not TokenType.STRING:
                raise self.fail("only the key of an object, a string, comes before ':'", token)
            if before is TokenType.IN and kind is TokenType.L_PAREN and after.token_type is not TokenType.SELECT:
                raise self.fail("IN takes an array, as in IN [1, 2]", token)
            in_alias = len(adapted) > 1 and adapted[-2].token_type is TokenType.ALIAS
            if in_alias and (kind is TokenType.DOT or (word and adapted[-1].text.endswith("."))):
                adapted[-1].text += text
                continue
            if before is TokenType.SELECT and text.upper() == "VALUE":
                star = after.token_type is TokenType.STAR and beyond.token_type in _ITEM_ENDS
                if star or after.token_type in _OPERAND_STARTS:
                    adapted.append(Token(TokenType.ALIAS, "AS", start=token.start, end=token.end))
            elif word and before in (TokenType.DOT, TokenType.ALIAS):
                token.token_type = TokenType.VAR
            adapted.append(token)
        return adapted[1:]

    def parse(self, tokens: list[Token]) -> exp.Select:
        """Parse tokens of this text into one SELECT.

        Raises:
            SqlError: The tokens are not one SELECT.
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
