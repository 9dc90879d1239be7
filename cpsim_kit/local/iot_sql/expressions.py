"""What a compiled AWS IoT SQL expression does with one message.

An *expression* is a function of a `Message` and returns a value. The functions here make expressions of expressions;
`compile` puts them together by the tree of a statement.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from cpsim_kit.local.iot_sql.json_functions import to_base64
from cpsim_kit.local.iot_sql.operators import equal
from cpsim_kit.local.iot_sql.values import UNDEFINED, to_bool, to_int

Expression = Callable[["Message"], Any]
Convert = Callable[[Any], Any]


class Message:
    """One message while a statement is evaluated on it.

    Args:
        topic: The topic of the message. ``$aws/rules/<rule>/``, the prefix of Basic Ingest, is removed.
        payload: The message.
        variables: The expressions of SET, in their order.
        client_id: See `Statement.evaluate`, as for the following arguments.

    Attributes:
        row: What names of fields refer to: the document (Undefined for a raw payload) or an item of a nested query.
        variables: The values of the SET variables.
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
        """Return the trace id; a message over MQTT gets a new one the first time."""
        if self.trace_id is None and self.client_id is not None:
            self.trace_id = str(uuid.uuid4())
        return UNDEFINED if self.trace_id is None else self.trace_id


MESSAGE_FUNCTIONS: Final[dict[str, Expression]] = {
    "accountid": lambda message: UNDEFINED if message.account_id is None else message.account_id,
    "clientid": lambda message: "n/a" if message.client_id is None else message.client_id,
    "newuuid": lambda _: str(uuid.uuid4()),
    "principal": lambda message: UNDEFINED if message.principal is None else message.principal,
    "timestamp": lambda message: int(message.now() * 1000),
    "topic": lambda message: message.topic,
    "traceid": lambda message: message.trace(),
}
"""The functions of AWS IoT SQL that have no arguments and look at the message."""


def undefined(_message: Message) -> Any:
    return UNDEFINED


def constant(value: Any) -> Expression:
    return lambda _: value


# The row and its fields.


def row(message: Message) -> Any:
    return message.row


def row_or_payload(message: Message) -> Any:
    return message.raw if message.row is UNDEFINED else message.row


def row_or_base64(message: Message) -> Any:
    return to_base64(message.raw) if message.row is UNDEFINED else message.row


def payload_base64(message: Message) -> str:
    return to_base64(message.raw)


def variable(name: str) -> Expression:
    return lambda message: message.variables[name]


def only_object(expression: Expression) -> Expression:
    """Return an expression's value if it is an Object, else Undefined."""

    def object_or_undefined(message: Message) -> Any:
        value = expression(message)
        return value if type(value) is dict else UNDEFINED

    return object_or_undefined


def or_empty(expression: Expression) -> Expression:
    """Return an expression's value, or the empty string if it is Undefined."""

    def value_or_empty(message: Message) -> Any:
        value = expression(message)
        return "" if value is UNDEFINED else value

    return value_or_empty


def members(base: Expression, names: list[str], convert: Convert) -> Expression:
    """Follow names into Objects. The result is Undefined if there is anything but an Object on the way."""
    if base is row and len(names) == 1:
        name = names[0]

        def field(message: Message) -> Any:
            fields = message.row
            return convert(fields.get(name, UNDEFINED)) if type(fields) is dict else UNDEFINED

        return field

    def follow(message: Message) -> Any:
        value = base(message)
        for name in names:
            if type(value) is not dict:
                return UNDEFINED
            value = value.get(name, UNDEFINED)
        return convert(value)

    return follow


def array(elements: list[Expression]) -> Expression:
    return lambda message: [value for value in [e(message) for e in elements] if value is not UNDEFINED]


def object_of(fields: list[tuple[str, Expression]]) -> Expression:
    def build(message: Message) -> Any:
        pairs = [(key, expression(message)) for key, expression in fields]
        return {key: value for key, value in pairs if value is not UNDEFINED}

    return build


# Functions and operators.


def call(function: Callable[..., Any], arguments: list[Expression], convert: Convert) -> Expression:
    """Call a function on values. Its ValueError or ArithmeticError becomes Undefined."""

    def call_function(message: Message) -> Any:
        try:
            return convert(function(*[argument(message) for argument in arguments]))
        except (ValueError, ArithmeticError):
            return UNDEFINED

    return call_function


def topic_level(number: Expression) -> Expression:
    """Evaluate ``topic(number)``, which counts from 1."""

    def level(message: Message) -> Any:
        at = to_int(number(message))
        levels = message.topic.split("/")
        return levels[at - 1] if at is not UNDEFINED and 0 < at <= len(levels) else UNDEFINED

    return level


def binary(left: Expression, right: Expression, operation: Callable[[Any, Any], Any], convert: Convert) -> Expression:
    return lambda message: convert(operation(left(message), right(message)))


def equals_text(expression: Expression, text: str) -> Expression:
    """Evaluate ``expression = 'text'``, which most rules do, without the general comparison."""

    def compare(message: Message) -> Any:
        value = expression(message)
        return UNDEFINED if value is UNDEFINED else value == text

    return compare


def connected(operands: list[Expression], decide: Callable[[list[Any]], bool]) -> Expression:
    """Evaluate AND (``decide`` is `all`) or OR (`any`).

    The guide's tables in "Operators": Undefined unless every operand is a Boolean or converts to one.
    """

    def connect(message: Message) -> Any:
        values = [to_bool(operand(message)) for operand in operands]
        return UNDEFINED if UNDEFINED in values else decide(values)

    return connect


def negated(operand: Expression) -> Expression:
    """Evaluate NOT."""

    def negate(message: Message) -> Any:
        value = to_bool(operand(message))
        return UNDEFINED if value is UNDEFINED else not value

    return negate


def case(subject: Expression, branches: list[tuple[Expression, Expression]], default: Expression) -> Expression:
    """Evaluate ``CASE subject WHEN … THEN … ELSE … END``. Undefined if the subject is Undefined."""

    def choose(message: Message) -> Any:
        value = subject(message)
        if value is UNDEFINED:
            return UNDEFINED
        for test, result in branches:
            if equal(value, test(message)) is True:
                return result(message)
        return default(message)

    return choose


# Queries.


def projection(stars: Sequence[Expression], fields: Sequence[tuple[str, Expression]]) -> Expression:
    """Evaluate the items of SELECT: the fields of ``*`` and ``path.*`` first, then the items with a name."""

    def project(message: Message) -> Any:
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


def nested_query(rows: Expression, condition: Expression | None, project: Expression) -> Expression:
    """Evaluate a nested query: an Array of results for an Array, one result for an Object, else Undefined."""

    def pick(message: Message, item: Any) -> Any:
        message.row = item
        if condition is not None and to_bool(condition(message)) is not True:
            return UNDEFINED
        return project(message)

    def query(message: Message) -> Any:
        found, outer = rows(message), message.row
        try:
            if type(found) is list:
                return [value for value in [pick(message, item) for item in found] if value is not UNDEFINED]
            return pick(message, found) if type(found) is dict else UNDEFINED
        finally:
            message.row = outer

    return query


def exists(query: Expression) -> Expression:
    """Evaluate ``EXISTS (query)``."""

    def has_result(message: Message) -> bool:
        found = query(message)
        return bool(found) if type(found) is list else found is not UNDEFINED

    return has_result
