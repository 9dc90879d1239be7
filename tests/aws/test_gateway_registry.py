"""The registry in which the gateway looks ids up: a table that is slow, deaf or busy."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import MS, SOON
from stack_fixtures import Boto, new_id

from cpsim_kit import Stack, errors
from cpsim_kit.aws.gateway_registry import GatewayRegistry
from cpsim_kit.aws.things import Things


@pytest.fixture
def table(boto: Boto) -> Iterator[str]:
    """A table that no rule writes."""
    name = new_id("DeafTable")
    boto("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "chargePointId", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "chargePointId", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    yield name
    boto("dynamodb").delete_table(TableName=name)


async def test_a_registry_that_does_not_learn_of_a_thing_is_a_timeout(stack: Stack, boto: Boto, table: str) -> None:
    """As where thing events are off, or the stack's rule is gone."""
    charge_point_id = new_id("DEAF")
    remembered: list[str] = []
    things = Things(stack._aws, table, lambda what, _: remembered.append(what))
    with pytest.raises(errors.WaitTimeout, match=f"{table}.*accept {charge_point_id}"):
        await things.create(charge_point_id, timeout=200 * MS)
    assert remembered == [f"Thing {charge_point_id}"]  # it was made, so close() is to delete it
    boto("dynamodb").put_item(TableName=table, Item={"chargePointId": {"S": charge_point_id}})
    with pytest.raises(errors.WaitTimeout, match=f"{table}.*forget {charge_point_id}"):
        await things.delete(charge_point_id, timeout=200 * MS)


async def test_without_a_registry_table_nothing_is_waited_for(stack: Stack) -> None:
    things = Things(stack._aws, None, lambda *_: None)
    thing = await things.create(new_id(), timeout=0)
    await things.delete(thing.charge_point_id, timeout=0)
    ids = [new_id(), new_id()]
    assert len((await things.create_many(ids, timeout=0, progress=False)).done) == 2
    assert len((await things.delete_many(ids, timeout=0, progress=False)).done) == 2


async def test_of_many_things_those_that_are_still_missing_are_named(stack: Stack, table: str) -> None:
    ids = [new_id("DEAF"), new_id("DEAF")]
    things = Things(stack._aws, table, lambda *_: None)
    with pytest.raises(errors.WaitTimeout, match="to accept 2 Things") as caught:
        await things.create_many(ids, progress=False, timeout=200 * MS)
    assert sorted(caught.value.last_seen) == sorted(ids)
    await stack.things.delete_many(ids, progress=False)


async def test_a_slow_but_steady_registry_is_waited_for_as_long_as_it_takes(
    stack: Stack, boto: Boto, table: str
) -> None:
    things = Things(stack._aws, table, lambda *_: None)

    async def learn(ids: list[str], timeout: float) -> None:
        for charge_point_id in ids:
            await asyncio.sleep(timeout / 3)
            item = {"chargePointId": {"S": charge_point_id}}
            await asyncio.to_thread(boto("dynamodb").put_item, TableName=table, Item=item)

    async def create(timeout: float) -> None:
        """Create five, each known a third of the time-out after the one before."""
        ids = [new_id("SLOW") for _ in range(5)]
        learning = asyncio.create_task(learn(ids, timeout))
        try:
            result = await things.create_many(ids, progress=False, timeout=timeout)
            assert sorted(result.done) == sorted(ids)
        finally:
            await learning
            await stack.things.delete_many(ids, progress=False)

    try:
        await create(timeout=800 * MS)
    except errors.WaitTimeout:  # a slow machine may not even learn of one in that time
        await create(timeout=SOON)


class Throttling:
    """A DynamoDB that answers for one key at a time, and leaves the others unprocessed."""

    def __init__(self, there: set[str]) -> None:
        self._there = there
        self.asked = 0

    async def call(self, _verb: str, /, **parameters: Any) -> dict[str, Any]:
        self.asked += 1
        [(table, request)] = parameters["RequestItems"].items()
        key, *left = request["Keys"]
        items = [key] if key["chargePointId"]["S"] in self._there else []
        unprocessed = {table: {**request, "Keys": left}} if left else {}
        return {"Responses": {table: items}, "UnprocessedKeys": unprocessed}


async def test_keys_that_dynamodb_throttles_are_asked_for_again_and_not_taken_for_gone() -> None:
    dynamodb = Throttling({"A", "C"})
    registry = GatewayRegistry(dynamodb, "table")  # type: ignore[arg-type]
    assert await registry.registered(["A", "B", "C"]) == {"A", "C"}
    assert dynamodb.asked == 3
