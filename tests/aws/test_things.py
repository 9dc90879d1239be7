"""Things: created, changed, listed and deleted one by one."""

import asyncio
from typing import Any, cast

import pandas as pd
import pytest
from stack_fixtures import Boto, close_of, dial, is_answered, new_id

from cpsim_kit import Stack, Thing, errors
from cpsim_kit.aws.session import Aws
from cpsim_kit.aws.things import Things
from cpsim_kit.local.launcher import LocalProcess


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
        ({"model": "", "tags": "zone=[a]"}, {"site": "B", "tags": "zone=[a]"}),
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


@pytest.fixture
def unasked() -> Things:
    """Things that fail when AWS is asked anything."""
    return Things(cast("Aws", None), None, lambda *_: None)


@pytest.mark.parametrize("name", ["", " ", "CP 1", "CP/1", "CP1\n", "Ladepunkt-ü", "a.b", "$aws", "+", "#", "x" * 129])
async def test_a_name_that_no_thing_can_have_is_refused_before_aws_is_asked(unasked: Things, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a Thing"):
        await unasked.create(name)


@pytest.mark.parametrize(
    "attributes",
    [
        {"site": "two words"},
        {"site": "ü"},
        {"site": "x" * 801},
        {"my site": "A"},
        {"": "A"},
        {"x" * 129: "A"},
        {"a=": "A"},
        {"[a]": "A"},
    ],
    ids=lambda attributes: str(attributes)[:20],
)
async def test_an_attribute_that_aws_does_not_allow_is_refused_before_aws_is_asked(
    unasked: Things, attributes: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="CP1: attribute"):
        await unasked.create("CP1", attributes=attributes)


async def test_every_name_that_aws_allows_is_accepted(stack: Stack) -> None:
    for name in ("x" * 128, "a:b_c-D9", "-", ":"):
        assert (await stack.things.create(name)).charge_point_id == name
        async with stack.charge_point(name) as cp:
            await cp.heartbeat()


async def test_the_gateway_accepts_what_create_returns_and_refuses_what_delete_returns(
    shared: LocalProcess, stack: Stack
) -> None:
    for _ in range(20):
        charge_point_id = new_id()
        await stack.things.create(charge_point_id)
        async with dial(shared, charge_point_id) as ws:
            assert await is_answered(ws)
        await stack.things.delete(charge_point_id)
        async with dial(shared, charge_point_id) as ws:
            assert await close_of(ws) == (1008, f"Charge Point {charge_point_id} not registered as an IoT Thing")


async def test_an_unknown_id_too_long_for_the_gateways_reason_is_told_what_it_may_be(stack: Stack) -> None:
    for charge_point_id, what in (("x" * 79, "not registered"), ("x" * 80, "no Thing has this id")):
        with pytest.raises(errors.ConnectionLost, match=what):
            async with stack.charge_point(charge_point_id) as cp:
                await cp.heartbeat()


async def test_one_id_created_and_deleted_again_and_again_is_never_half_there(
    shared: LocalProcess, stack: Stack
) -> None:
    charge_point_id = new_id()
    for _ in range(10):
        await stack.things.create(charge_point_id)
        async with dial(shared, charge_point_id) as ws:
            assert await is_answered(ws)
        await stack.things.delete(charge_point_id)
    async with dial(shared, charge_point_id) as ws:
        assert (await close_of(ws))[0] == 1008


async def test_delete_of_what_is_not_there_is_not_found(stack: Stack) -> None:
    for name in (new_id("NONE"), "CP 1", "a/b", "Ladepunkt-ü", "x" * 200):
        with pytest.raises(errors.NotFound) as caught:
            await stack.things.delete(name)
        assert (caught.value.kind, caught.value.name) == ("Thing", name)
        assert caught.value.verb.startswith("iot.")


async def test_delete_takes_the_shadow_along(stack: Stack) -> None:
    charge_point_id = new_id()
    await stack.things.create(charge_point_id)
    async with stack.charge_point(charge_point_id) as cp:
        await cp.boot()
    assert (await stack.shadow(charge_point_id)).reported
    await stack.things.delete(charge_point_id)
    with pytest.raises(errors.NotFound):
        await stack.shadow(charge_point_id)
    await stack.things.create(charge_point_id)
    with pytest.raises(errors.NotFound):
        await stack.shadow(charge_point_id)


async def test_list_is_a_frame_of_all_things(stack: Stack) -> None:
    first, second = new_id(), new_id()
    await stack.things.create(first, attributes={"site": "A"})
    await stack.things.create(second)
    await stack.things.create(second, attributes={"site": "B"})
    frame = await stack.things.list()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["charge_point_id", "attributes", "version"]
    rows = frame.set_index("charge_point_id").loc[[first, second]]
    assert rows["attributes"].to_list() == [{"site": "A"}, {"site": "B"}]
    assert rows["version"].to_list() == [1, 2]


async def test_an_empty_list_has_the_same_columns(shared: LocalProcess, credentials: pytest.MonkeyPatch) -> None:
    aws = Aws(region="eu-north-1", endpoint_url=shared.endpoint_url)  # a region without Things
    try:
        frame = await Things(aws, None, lambda *_: None).list()
    finally:
        aws.close()
    assert list(frame.columns) == ["charge_point_id", "attributes", "version"]
    assert len(frame) == 0
