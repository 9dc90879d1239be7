"""Tables in the process of the local stack: values as boto3 converts them, and the items that others see."""

from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from cpsim_kit.local.server.tables import LocalTable

VALUES = {
    "text": "TAG-1",
    "empty": "",
    "whole": 5,
    "huge": 10**30,
    "negative": -3,
    "fraction": Decimal("1000.5"),
    "trailing": Decimal("1500.00"),
    "hundred": Decimal("1E+2"),
    "zero": Decimal("0.000"),
    "yes": True,
    "nothing": None,
    "map": {"status": "Accepted", "deep": {"list": [1, "x", False, None]}},
}


class Items:
    """Keeps items in a dict."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, ...], dict[str, Any]] = {}

    def read_item(self, table: str, *key: str) -> dict[str, Any] | None:
        return self.items.get((table, *key))

    def write_item(self, table: str, item: dict[str, Any], *key: str) -> None:
        self.items[table, *key] = item


def test_an_item_is_stored_as_boto3_stores_it_and_read_as_boto3_reads_it() -> None:
    items = Items()
    table = LocalTable(items, "ledger", "part", "sort")
    item = {"part": "A", "sort": "B", **VALUES}
    table.put_item(Item=item)
    [(key, stored)] = items.items.items()
    assert key == ("ledger", "A", "B")
    read = table.get_item(Key={"sort": "B", "part": "A"}, ConsistentRead=True)["Item"]
    assert read == item
    assert {name: type(value) for name, value in read.items()} == {
        name: type(TypeDeserializer().deserialize(TypeSerializer().serialize(value))) for name, value in item.items()
    }
    for name, value in stored.items():
        assert TypeDeserializer().deserialize(value) == item[name]
    numbers = {"fraction": "1000.5", "trailing": "1500", "hundred": "100", "zero": "0", "whole": "5"}
    assert {name: stored[name] for name in numbers} == {name: {"N": text} for name, text in numbers.items()}


def test_what_is_not_there_has_no_item() -> None:
    assert LocalTable(Items(), "tokens", "idToken").get_item(Key={"idToken": "TAG-1"}) == {}


@pytest.mark.parametrize("value", [1.5, object(), {1}])
def test_a_value_that_dynamodb_does_not_take_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="a DynamoDB item cannot hold"):
        LocalTable(Items(), "tokens", "idToken").put_item(Item={"idToken": "TAG-1", "value": value})
