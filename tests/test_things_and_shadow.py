"""Things, and what they have to do with Device Shadows; more of the latter in test_shadow.py."""

import asyncio
from typing import Any

import pytest
from conftest import MS
from stack_fixtures import Boto, new_id

from cpsim_kit import Stack, Thing, errors

# -- Things -----------------------------------------------------------------------------------------------------------


async def test_create_is_idempotent_and_says_whether_it_created(stack: Stack) -> None:
    charge_point_id = new_id()
    first = await stack.things.create(charge_point_id)
    assert first == Thing(charge_point_id, {}, created=True)
    assert repr(first) == f"<Thing {charge_point_id} created>"
    again = await stack.things.create(charge_point_id)
    assert again == Thing(charge_point_id, {}, created=False)
    assert repr(again) == f"<Thing {charge_point_id} was there already>"


async def test_create_again_changes_attributes_and_keeps_the_others(boto: Boto, stack: Stack) -> None:
    charge_point_id = new_id()
    steps: list[tuple[dict[str, Any] | None, dict[str, str]]] = [
        ({"site": "A", "floor": 2}, {"site": "A", "floor": "2"}),
        (None, {"site": "A", "floor": "2"}),
        ({"site": "B", "model": "M-1.0,x@y/z:#_"}, {"site": "B", "floor": "2", "model": "M-1.0,x@y/z:#_"}),
        ({"floor": ""}, {"site": "B", "model": "M-1.0,x@y/z:#_"}),
    ]
    for given, expected in steps:
        thing = await stack.things.create(charge_point_id, attributes=given)
        assert thing.attributes == expected
        assert boto("iot").describe_thing(thingName=charge_point_id)["attributes"] == expected
    assert "site=B" in repr(thing)


async def test_created_by_several_at_once_it_is_there_once(boto: Boto, stack: Stack) -> None:
    charge_point_id = new_id()
    things = await asyncio.gather(
        *(stack.things.create(charge_point_id, attributes={"who": str(number)}) for number in range(8))
    )
    assert {thing.charge_point_id for thing in things} == {charge_point_id}
    assert boto("iot").describe_thing(thingName=charge_point_id)["attributes"]["who"] in set("01234567")


async def test_the_shadow_after_a_boot_is_its_payload(stack: Stack) -> None:
    charge_point_id = new_id()
    await stack.things.create(charge_point_id)
    async with stack.charge_point(charge_point_id, model="M", serial_number="S") as cp:
        await cp.boot(reason="RemoteReset")
        shadow = await stack.shadow(charge_point_id)
        assert shadow.reported == next(iter(cp.messages)).payload
    assert shadow.reported["chargingStation"]["model"] == "M"
    assert shadow.reported["reason"] == "RemoteReset"
    assert shadow.desired == {}


async def test_a_shadow_of_an_impossible_name_is_an_error_of_the_kit(stack: Stack) -> None:
    for name in ("", "CP 1", "x" * 129):
        with pytest.raises(errors.AwsError):
            await stack.shadow(name)


async def test_wait_for_returns_the_version_for_which_it_is_true(stack: Stack, boto: Boto) -> None:
    charge_point_id = new_id()
    waiting = asyncio.create_task(stack.shadow(charge_point_id).wait_for(lambda s: s.reported.get("n", 0) >= 3))
    for number in range(1, 4):
        await asyncio.to_thread(report, boto, charge_point_id, n=number)
        if number < 3:
            await asyncio.sleep(20 * MS)
            assert not waiting.done()
    assert (await waiting).reported == {"n": 3}


async def test_a_request_shows_how_to_use_it(stack: Stack) -> None:
    assert repr(stack.shadow("CP1")) == '<ShadowRequest CP1: write await stack.shadow("CP1")>'
