"""Tables of tokens and transactions for the message processor, in a dict and with boto3's form of values.

They evaluate the one condition that it uses, and can let somebody else write in between.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from cpsim_kit.local.message_processor import MessageProcessor


class DictTable:
    """A DynamoDB table in a dict. Items pass boto3's own conversion, which refuses what DynamoDB does.

    Attributes:
        items: The items by their keys.
        puts: How often an item was put, refused ones included.
        between: Called once, between the next read of an item and its write.
    """

    def __init__(self, *key: str) -> None:
        self._key = key
        self.items: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.puts = 0
        self.between: Callable[[], None] | None = None

    def get_item(self, *, Key: dict[str, str], ConsistentRead: bool) -> dict[str, Any]:  # noqa: N803
        assert ConsistentRead
        assert set(Key) == set(self._key)
        assert all(value and len(value.encode()) <= 1024 for value in Key.values())
        item = self.items.get(tuple(Key[name] for name in self._key))
        return {} if item is None else {"Item": copy.deepcopy(item)}

    def put_item(
        self,
        *,
        Item: dict[str, Any],  # noqa: N803
        ConditionExpression: str = "",  # noqa: N803
        ExpressionAttributeValues: dict[str, Any] | None = None,  # noqa: N803
    ) -> None:
        self.puts += 1
        if self.between is not None:
            between, self.between = self.between, None
            between()
        key = tuple(Item[name] for name in self._key)
        if ConditionExpression:
            assert ConditionExpression == "attribute_not_exists(revision) OR revision = :read"
            assert ExpressionAttributeValues is not None
            there = self.items.get(key, {})
            if "revision" in there and there["revision"] != ExpressionAttributeValues[":read"]:
                raise ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "PutItem")
        wire = {name: TypeSerializer().serialize(value) for name, value in Item.items()}
        self.items[key] = {name: TypeDeserializer().deserialize(value) for name, value in wire.items()}


class Ledger:
    """A message processor, its tables, and what it has published.

    Attributes:
        published: Topic and message of each publication.
    """

    def __init__(self) -> None:
        self.tokens = DictTable("idToken")
        self.transactions = DictTable("chargePointId", "transactionId")
        self.published: list[tuple[str, Any]] = []
        self.processor = MessageProcessor(
            lambda topic, message: self.published.append((topic, message)),
            tokens=self.tokens,
            transactions=self.transactions,
        )

    def token(self, token: str, **item: str) -> None:
        self.tokens.put_item(Item={"idToken": token, **item})

    def ask(self, action: str, payload: Any, charge_point_id: str = "CP1") -> Any:
        """The answer's payload; of a CALLERROR, its code."""
        self.processor.handle(charge_point_id, [2, "1", action, payload])
        topic, frame = self.published[-1]
        assert topic == f"{charge_point_id}/out"
        assert frame[1] == "1"
        return frame[2]

    def item(self, transaction_id: object, charge_point_id: str = "CP1") -> dict[str, Any]:
        """A transaction, its numbers as int and float."""
        item = self.transactions.items[charge_point_id, str(transaction_id)]
        return {name: float(value) if isinstance(value, Decimal) else value for name, value in item.items()}
