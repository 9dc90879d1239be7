"""A DynamoDB table of the message processor: in the CloudFormation stack, or made by ``stack.message_processor``."""

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
        name: The table's name.
        what: "tokens" or "transactions".
        is_deployed: Whether the CloudFormation stack has it; else it is there once a message processor has made it.
    """

    def __init__(self, aws: Aws, name: str, what: str, *, is_deployed: bool) -> None:
        self._aws = aws
        self.name = name
        self._what = what
        self._is_deployed = is_deployed

    def __repr__(self) -> str:
        return f"<LedgerTable {self.name}>"

    def describe(self, name: str) -> str:
        """The repr of the object of this name that uses the table."""
        if self._is_deployed:
            return f"<{name} in {self.name}>"
        return f"<{name} in {self.name}, which is there while a message processor keeps {self._what}>"

    def card(self, name: str, rows: Mapping[str, str]) -> str:
        """The card of that object: the table, and the calls that are of use."""
        state = "" if self._is_deployed else "there while a message processor keeps them"
        return card(name, state, {"table": self.name, **rows})

    async def call(self, verb: str, /, **parameters: Any) -> dict[str, Any]:
        """Call an operation on the table, e.g. "dynamodb.get_item".

        Raises:
            NotFound: The stack has no such table.
            AwsError: AWS refused.
        """
        try:
            return await self._aws.call(verb, TableName=self.name, **parameters)
        except NotFound as exc:
            raise self._not_there(exc) from exc

    async def items(self) -> list[dict[str, Any]]:
        """All items, by consistent reads; raises as :meth:`call` does."""
        try:
            rows = await self._aws.pages("dynamodb.scan", "Items", TableName=self.name, ConsistentRead=True)
        except NotFound as exc:
            raise self._not_there(exc) from exc
        return [plain_item(row) for row in rows]

    def _not_there(self, exc: NotFound) -> NotFound:
        message = (
            f"this stack has no table of {self._what}: the message processor of the AWS sample keeps none. A local "
            'stack has one unless it was started with csms="sample": await Stack.local(). On AWS, deploy the kit\'s '
            "message processor with its tables, cpsim_kit/local/message_processor.py: "
            'stack.message_processor(..., tables=["TokensTable", "TransactionsTable"])'
        )
        return NotFound(message, verb=exc.verb, code=exc.code, kind="table", name=self._what)
