"""Things and Device Shadows, as a notebook uses them."""

import asyncio
import json
from typing import Any, cast

import pandas as pd
import pytest
from conftest import MS, SOON
from stack_fixtures import Boto, close_of, dial, is_answered, new_id

from cpsim_kit import Shadow, Stack, Thing, errors
from cpsim_kit.aws import Aws
from cpsim_kit.local.launcher import LocalProcess
from cpsim_kit.things import Things

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
    [{"site": "two words"}, {"site": "ü"}, {"site": "x" * 801}, {"my site": "A"}, {"": "A"}, {"x" * 129: "A"}],
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


async def test_a_registry_that_does_not_learn_of_the_thing_is_a_timeout(
    shared: LocalProcess, boto: Boto, credentials: pytest.MonkeyPatch
) -> None:
    """As where thing events are off, or the stack's rule is gone."""
    table = new_id("DeafTable")
    boto("dynamodb").create_table(
        TableName=table,
        AttributeDefinitions=[{"AttributeName": "chargePointId", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "chargePointId", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    aws, charge_point_id = Aws(region="us-east-1", endpoint_url=shared.endpoint_url), new_id("DEAF")
    remembered: list[str] = []
    try:
        things = Things(aws, table, lambda what, _: remembered.append(what))
        with pytest.raises(errors.WaitTimeout, match=f"{table}.*accept {charge_point_id}"):
            await things.create(charge_point_id, timeout=200 * MS)
        assert remembered == [f"Thing {charge_point_id}"]  # it was made, so close() is to delete it
        boto("dynamodb").put_item(TableName=table, Item={"chargePointId": {"S": charge_point_id}})
        with pytest.raises(errors.WaitTimeout, match=f"{table}.*forget {charge_point_id}"):
            await things.delete(charge_point_id, timeout=200 * MS)
    finally:
        aws.close()
        boto("dynamodb").delete_table(TableName=table)


async def test_without_a_registry_table_nothing_is_waited_for(
    shared: LocalProcess, credentials: pytest.MonkeyPatch
) -> None:
    aws = Aws(region="us-east-1", endpoint_url=shared.endpoint_url)
    try:
        things = Things(aws, None, lambda *_: None)
        thing = await things.create(new_id(), timeout=0)
        await things.delete(thing.charge_point_id, timeout=0)
    finally:
        aws.close()


# -- Shadows ----------------------------------------------------------------------------------------------------------


def report(boto: Boto, charge_point_id: str, **reported: Any) -> None:
    payload = json.dumps({"state": {"reported": reported}})
    boto("iot-data").update_thing_shadow(thingName=charge_point_id, payload=payload)


async def test_a_shadow_has_what_was_reported_and_desired(stack: Stack, boto: Boto) -> None:
    charge_point_id = new_id()
    state = {"reported": {"model": "M", "deep": {"list": [1, None, "ž"]}}, "desired": {"model": "N"}}
    boto("iot-data").update_thing_shadow(thingName=charge_point_id, payload=json.dumps({"state": state}))
    shadow = await stack.shadow(charge_point_id)
    assert isinstance(shadow, Shadow)
    assert (shadow.charge_point_id, shadow.version) == (charge_point_id, 1)
    assert (shadow.reported, shadow.desired) == (state["reported"], state["desired"])
    assert shadow.metadata["reported"]["model"]["timestamp"] > 1e9
    assert repr(shadow).startswith(f"<Shadow {charge_point_id} version=1 reported={{'model': 'M'")


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


async def test_a_shadow_that_is_not_there_is_not_found(stack: Stack) -> None:
    thing, nothing = new_id(), new_id("NONE")
    await stack.things.create(thing)
    for charge_point_id in (thing, nothing):
        with pytest.raises(errors.NotFound) as caught:
            await stack.shadow(charge_point_id)
        assert (caught.value.kind, caught.value.name) == ("shadow", charge_point_id)
        assert caught.value.verb == "iot-data.get_thing_shadow"


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


async def test_wait_for_gives_up_with_the_last_version_seen(stack: Stack, boto: Boto) -> None:
    charge_point_id = new_id()
    with pytest.raises(errors.WaitTimeout, match="nothing was seen") as caught:
        await stack.shadow(charge_point_id).wait_for(lambda _: True, timeout=200 * MS)
    assert caught.value.last_seen is None
    report(boto, charge_point_id, n=1)
    with pytest.raises(errors.WaitTimeout, match=f"Shadow of {charge_point_id}.*version=1") as caught:
        await stack.shadow(charge_point_id).wait_for(lambda shadow: shadow.version > 5, timeout=400 * MS)
    assert isinstance(caught.value.last_seen, Shadow)
    assert caught.value.last_seen.reported == {"n": 1}
    assert isinstance(caught.value, TimeoutError)


async def test_an_error_of_the_predicate_comes_out(stack: Stack, boto: Boto) -> None:
    charge_point_id = new_id()
    report(boto, charge_point_id, n=1)
    with pytest.raises(KeyError, match="nonsense"):
        await stack.shadow(charge_point_id).wait_for(lambda shadow: shadow.reported["nonsense"])


async def test_a_shadow_is_never_seen_half_written(stack: Stack, boto: Boto) -> None:
    charge_point_id = new_id()
    everything = {f"key{number}": 0 for number in range(50)}

    def update() -> None:
        for number in range(1, 101):
            report(boto, charge_point_id, **dict.fromkeys(everything, number))

    report(boto, charge_point_id, **everything)
    updating = asyncio.create_task(asyncio.to_thread(update))
    versions = []
    while not updating.done():
        shadow = await stack.shadow(charge_point_id)
        assert set(shadow.reported) == set(everything)
        assert set(shadow.reported.values()) == {shadow.version - 1}
        versions.append(shadow.version)
    await updating
    assert versions == sorted(versions)
    assert (await stack.shadow(charge_point_id)).version == 101


async def test_a_request_shows_how_to_use_it(stack: Stack) -> None:
    assert repr(stack.shadow("CP1")) == '<ShadowRequest CP1: write await stack.shadow("CP1")>'


async def test_update_changes_what_is_named_and_returns_the_whole(stack: Stack) -> None:
    request = stack.shadow(new_id())
    assert (await request.update(reported={"a": 1, "b": {"c": 2}})).reported == {"a": 1, "b": {"c": 2}}
    shadow = await request.update(desired={"a": 2}, reported={"b": {"d": 3}, "a": None})
    assert (shadow.version, shadow.desired, shadow.reported) == (2, {"a": 2}, {"b": {"c": 2, "d": 3}})
    with pytest.raises(errors.AwsError) as caught:
        await request.update(desired={"a": 3}, version=1)
    assert caught.value.code == "ConflictException"
    assert (await request).desired == {"a": 2}


async def test_delete_deletes_the_shadow_and_its_version_goes_on(stack: Stack) -> None:
    request = stack.shadow(new_id())
    await request.update(reported={"a": 1})
    await request.delete()
    for asking in (lambda: request, request.delete):
        with pytest.raises(errors.NotFound):
            await asking()
    assert (await request.update(reported={"a": 1})).version == 2


async def test_named_shadows_are_shadows_of_their_own(stack: Stack) -> None:
    charge_point_id = new_id()
    await stack.shadow(charge_point_id).update(reported={"which": "classic"})
    named = await stack.shadow(charge_point_id, "config").update(reported={"which": "config"})
    assert named.name == "config"
    assert f"{charge_point_id}/config" in repr(named)
    assert (await stack.shadow(charge_point_id)).reported == {"which": "classic"}
    with pytest.raises(errors.NotFound):
        await stack.shadow(charge_point_id, "other")


async def test_watch_sees_each_version_in_order(stack: Stack) -> None:
    for request in (stack.shadow(new_id()), stack.shadow(new_id(), "config")):
        async with request.watch() as changes:
            for number in range(5):
                await request.update(reported={"n": number})
            seen = await changes.take(5, timeout=SOON)
        assert [shadow.reported for shadow in seen] == [{"n": number} for number in range(5)]
        assert [shadow.version for shadow in seen] == [1, 2, 3, 4, 5]
