"""Substitution templates of a rule's actions: text with ``${expression}`` in it.

Source: "Substitution templates" in the AWS IoT Core developer guide (iot-substitution-templates).
"""

import re
from typing import Any

from cpsim_kit.local.iot_sql.compile import Compiler
from cpsim_kit.local.iot_sql.expressions import Expression, Message
from cpsim_kit.local.iot_sql.parser import SqlError
from cpsim_kit.local.iot_sql.statement import NEWEST_VERSION, Statement
from cpsim_kit.local.iot_sql.values import UNDEFINED, to_string

__all__ = ["Template", "compile_template"]

_STRING_OR_BRACE = re.compile(r"'[^']*'|\"[^\"]*\"|[{}]")


class Template:
    """A compiled substitution template; `compile_template` makes it.

    Args:
        text: The template.
        parts: Its texts and its expressions, in their order.
        variables: The expressions of the statement's SET.
    """

    def __init__(self, text: str, parts: list[str | Expression], variables: dict[str, Expression]) -> None:
        self.text = text
        self._parts = parts
        self._variables = variables

    def __repr__(self) -> str:
        return f"<Template {self.text!r}>"

    def render(self, topic: str, payload: bytes, **message: Any) -> str:
        """Fill the template for one message; the arguments are those of `Statement.evaluate`.

        The expressions see the original payload, not the outgoing event. Undefined and Null are the empty string.
        ``$$`` stays unchanged: its meaning depends on the action (a republish topic has ``$$aws`` for ``$aws``).
        """
        context = Message(topic, payload, self._variables, **message)
        texts = [part if isinstance(part, str) else to_string(part(context)) for part in self._parts]
        return "".join([text for text in texts if text is not UNDEFINED])


def compile_template(template: str, *, statement: Statement | None = None) -> Template:
    """Compile a substitution template.

    Args:
        template: Text, in which each ``${…}`` contains an expression.
        statement: The rule's statement. The template may use its SET variables, and has its SQL version.

    Raises:
        SqlError: An expression is wrong or not closed. The error has the position in the template.
    """
    variables = statement.variables if statement else {}
    version = statement.version if statement else NEWEST_VERSION
    parts: list[str | Expression] = []
    end = 0
    while (start := template.find("${", end)) >= 0:
        parts.append(template[end:start])
        end = _closing_brace(template, start + 2)
        compiler = Compiler(template, version, start + 2, end, variables)
        parts.append(compiler.single_expression(compiler.source.tokens, compiler.source.end))
        end += 1
    parts.append(template[end:])
    return Template(template, parts, variables)


def _closing_brace(template: str, start: int) -> int:
    depth = 0
    for found in _STRING_OR_BRACE.finditer(template, start):
        if found[0] == "}" and depth == 0:
            return found.start()
        depth += {"{": 1, "}": -1}.get(found[0], 0)
    raise SqlError("${ is not closed", template, start - 2)
