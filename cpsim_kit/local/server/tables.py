"""DynamoDB tables of the local stack for the message processor, which runs in the same process.

They have the two methods that it uses of boto3's tables. A request over HTTP takes some milliseconds; these take some
microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from cpsim_kit.aws.deployment import TOKENS_TABLE, TRANSACTIONS_TABLE
from cpsim_kit.local.message_processor import Table

__all__ = ["LocalTable", "Tables"]


class _Items(Protocol):
    """What keeps the items; `emulator.Emulator` does."""

    def read_item(self, table: str, *key: str) -> dict[str, Any] | None: ...

    def write_item(self, table: str, item: dict[str, Any], *key: str) -> None: ...


class LocalTable:
    """A DynamoDB table whose keys are strings.

    Args:
        items: What keeps the items.
        name: The table's name.
        key: The names of its partition key and, if it has one, of its sort key.
    """

    def __init__(self, items: _Items, name: str, *key: str) -> None:
        self._items = items
        self._name = name
        self._key = key

    def get_item(self, *, Key: dict[str, str], ConsistentRead: bool = True) -> dict[str, Any]:  # noqa: N803
        """The item, as ``{"Item": …}``; {} if it is not there. Every read is consistent."""
        item = self._items.read_item(self._name, *(Key[name] for name in self._key))
        return {} if item is None else {"Item": {name: _read(value) for name, value in item.items()}}

    def put_item(
        self,
        *,
        Item: dict[str, Any],  # noqa: N803
        ConditionExpression: str = "",  # noqa: N803
        ExpressionAttributeValues: dict[str, Any] | None = None,  # noqa: N803
    ) -> None:
        """Put an item.

        No condition is evaluated: the processor reads an item and puts it back without giving up the event loop, and
        everything else that writes runs in the same loop. So nobody has written meanwhile.
        """
        wire = {name: _write(value) for name, value in Item.items()}
        self._items.write_item(self._name, wire, *(Item[name] for name in self._key))


@dataclass(frozen=True)
class Tables:
    """The tables of the message processor.

    Attributes:
        tokens: The tokens.
        transactions: The transactions.
    """

    tokens: Table
    transactions: Table

    @classmethod
    def of(cls, items: _Items, resources: Mapping[str, str]) -> Tables:
        """The tables of a CloudFormation stack, whose resources' names are given by logical id."""
        return cls(
            LocalTable(items, resources[TOKENS_TABLE], "idToken"),
            LocalTable(items, resources[TRANSACTIONS_TABLE], "chargePointId", "transactionId"),
        )


def _read(value: dict[str, Any]) -> Any:
    """A value in the form of DynamoDB's API as boto3's tables give it."""
    [(kind, content)] = value.items()
    match kind:
        case "N":
            return Decimal(content)
        case "M":
            return {name: _read(each) for name, each in content.items()}
        case "L":
            return [_read(each) for each in content]
        case "NULL":
            return None
        case _:  # S, BOOL; the processor's tables have no others
            return content


def _write(value: Any) -> dict[str, Any]:
    """A value in the form of DynamoDB's API."""
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case Decimal():
            return {"N": f"{value.normalize():f}"}
        case dict():
            return {"M": {name: _write(each) for name, each in value.items()}}
        case list():
            return {"L": [_write(each) for each in value]}
        case None:
            return {"NULL": True}
    raise TypeError(f"a DynamoDB item cannot hold {value!r}")
