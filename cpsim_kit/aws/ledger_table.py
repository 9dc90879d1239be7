"""A DynamoDB table of the kit's message processor, where the stack has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpsim_kit.aws.session import Aws, plain_item
from cpsim_kit.basics.cards import card
from cpsim_kit.errors import NotFound

__all__ = ["LedgerTable"]


class LedgerTable:
    """A table of tokens or of transactions.

    Args:
        aws: The door to boto3.
        name: The table's name; None where the stack has none.
        what: "tokens" or "transactions".
    """

    def __init__(self, aws: Aws, name: str | None, what: str) -> None:
        self._aws = aws
        self._name = name
        self._what = what

    def __repr__(self) -> str:
        return f"<LedgerTable {self._name or 'none'}>"

    def describe(self, name: str) -> str:
        """The repr of the object of this name that uses the table."""
        return f"<{name} in {self._name}>" if self._name else f"<{name}: this stack has no table of {self._what}>"

    def card(self, name: str, rows: Mapping[str, str]) -> str:
        """The card of that object: the table, and the calls that are of use."""
        return card(name, "" if self._name else "no table", {"table": self._name, **(rows if self._name else {})})

    @property
    def name(self) -> str:
        """The table's name.

        Raises:
            NotFound: The stack has none.
        """
        if self._name is None:
            message = (
                f"this stack has no table of {self._what}: its CSMS is the message processor of the AWS sample, which "
                'keeps none. A local stack has one unless it was started with csms="sample": await Stack.local(). On '
                "AWS, deploy the kit's message processor with its tables: cpsim_kit/local/message_processor.py says how"
            )
            raise NotFound(message, verb="cloudformation.list_stack_resources", kind="table", name=self._what)
        return self._name

    async def call(self, verb: str, /, **parameters: Any) -> dict[str, Any]:
        """Call an operation on the table, e.g. "dynamodb.get_item"; raises as ``Aws.call`` and as :attr:`name` do."""
        return await self._aws.call(verb, TableName=self.name, **parameters)

    async def items(self) -> list[dict[str, Any]]:
        """All items, by consistent reads; raises as :meth:`call` does."""
        rows = await self._aws.pages("dynamodb.scan", "Items", TableName=self.name, ConsistentRead=True)
        return [plain_item(row) for row in rows]
