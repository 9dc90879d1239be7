"""``things.create_many`` and ``delete_many``: through a proxy that throttles, refuses and breaks on purpose."""

import asyncio

import pytest
from aws_proxy import AwsProxy
from conftest import MS, SOON
from stack_fixtures import GLANCE, Boto, dial, eventually, is_answered, new_id

from cpsim_kit import Stack, errors
from cpsim_kit.aws.gateway_registry import GatewayRegistry
from cpsim_kit.aws.things import ManyThings
from cpsim_kit.local.launcher import LocalProcess


def new_ids(count: int) -> list[str]:
    return [new_id("MANY") for _ in range(count)]


def registered(boto: Boto, ids: list[str]) -> list[str]:
    return [charge_point_id for charge_point_id in ids if boto.is_registered(charge_point_id)]


async def test_all_are_created_accepted_and_deleted(stack: Stack, shared: LocalProcess, boto: Boto) -> None:
    ids = new_ids(105)  # more than one BatchGetItem
    result = await stack.things.create_many(ids, progress=False)
    assert sorted(result.done) == sorted(ids)
    assert (result.kept, result.failed) == ([], {})
    assert repr(result) == "<ManyThings 105 done, 0 kept, 0 failed>"
    assert registered(boto, ids) == ids  # once it returns
    async with dial(shared, ids[0]) as first, dial(shared, ids[-1]) as last:
        assert await is_answered(first)
        assert await is_answered(last)
    result = await stack.things.delete_many(ids, progress=False)
    assert sorted(result.done) == sorted(ids)
    assert registered(boto, ids) == []
    assert set(ids).isdisjoint((await stack.things.list()).charge_point_id)


async def test_again_it_keeps_what_is_there_and_creates_what_is_missing(stack: Stack, boto: Boto) -> None:
    ids = new_ids(10)
    await stack.things.create(ids[3], {"site": "A"})
    first = await stack.things.create_many(ids[:5], progress=False)
    assert (len(first.done), first.kept) == (4, [ids[3]])
    second = await stack.things.create_many([*ids, *ids], progress=False)  # a name twice is one Thing
    assert (second.kept, sorted(second.done)) == (ids[:5], sorted(ids[5:]))
    third = await stack.things.create_many(iter(ids), progress=False)
    assert (third.kept, third.done) == (ids, [])
    assert boto("iot").describe_thing(thingName=ids[3])["attributes"] == {"site": "A"}
    frame = second.to_frame()
    assert list(frame.columns) == ["charge_point_id", "outcome", "error"]
    assert dict(frame.outcome.value_counts()) == {"done": 5, "kept": 5}


async def test_none_is_nothing_to_do(stack: Stack) -> None:
    assert await stack.things.create_many([], progress=False) == ManyThings()
    assert await stack.things.delete_many([], progress=False) == ManyThings()
    assert len(ManyThings().to_frame()) == 0


async def test_deleting_what_is_not_there_is_fine(stack: Stack) -> None:
    ids = new_ids(3)
    assert sorted((await stack.things.delete_many(ids, progress=False)).done) == sorted(ids)


async def test_deletion_takes_the_shadows_along(stack: Stack) -> None:
    ids = new_ids(2)
    await stack.things.create_many(ids, progress=False)
    await stack.shadow(ids[0]).update(reported={"a": 1})
    await stack.things.delete_many(ids, progress=False)
    with pytest.raises(errors.NotFound):
        await stack.shadow(ids[0])


@pytest.mark.parametrize("bad", ["a b", "", "x" * 129, "ž", "CP/1"])
async def test_a_name_that_aws_does_not_allow_stops_it_before_anything_is_done(
    proxied: Stack, proxy: AwsProxy, bad: str
) -> None:
    ids = [*new_ids(2), bad]
    with pytest.raises(ValueError, match="cannot be a Thing"):
        await proxied.things.create_many(ids)
    with pytest.raises(ValueError, match="cannot be a Thing"):
        await proxied.things.delete_many(ids)
    with pytest.raises(ValueError, match="concurrency is at least 1"):
        await proxied.things.create_many(ids[:2], concurrency=0)
    with pytest.raises(ValueError, match="concurrency is at least 1"):
        await proxied.things.delete_many(ids[:2], concurrency=0)
    assert proxy.seen.keys() <= {"DescribeStacks", "ListStackResources"}


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_so_many_calls_at_a_time_and_no_more(proxied: Stack, proxy: AwsProxy, concurrency: int) -> None:
    ids, things = new_ids(6), proxied.things
    for operation, work in (("CreateThing", things.create_many), ("DeleteThing", things.delete_many)):
        released = proxy.hold(operation)
        working = asyncio.create_task(work(ids, concurrency=concurrency, progress=False))
        await eventually(lambda operation=operation: proxy.seen[operation] == concurrency)
        await asyncio.sleep(GLANCE)
        released.set()
        await working
        assert proxy.most_at_once[operation] == concurrency
    assert proxy.seen["CreateThing"] == 6


async def test_failures_are_listed_and_the_rest_is_done(proxied: Stack, proxy: AwsProxy, boto: Boto) -> None:
    ids = new_ids(8)
    proxy.fail("CreateThing", "AccessDeniedException", status=403, subject=ids[2], times=None)
    proxy.fail("CreateThing", "InvalidRequestException", status=400, subject=ids[5], times=None)
    result = await proxied.things.create_many(ids, progress=False)
    assert result.failed.keys() == {ids[2], ids[5]}
    assert isinstance(result.failed[ids[2]], errors.AwsError)
    assert "lack this permission" in str(result.failed[ids[2]])
    assert result.failed[ids[5]].code == "InvalidRequestException"
    assert len(result.done) == 6
    frame = result.to_frame().set_index("charge_point_id")
    assert "InvalidRequestException" in frame.error[ids[5]]
    assert list(frame.outcome[[ids[0], ids[2]]]) == ["done", "failed"]
    proxy.heal()
    again = await proxied.things.create_many(ids, progress=False)  # resumes
    assert sorted(again.done) == sorted([ids[2], ids[5]])
    assert registered(boto, ids) == ids
    proxy.fail("DeleteThing", "AccessDeniedException", status=403, subject=ids[1], times=None)
    result = await proxied.things.delete_many(ids, progress=False)
    assert list(result.failed) == [ids[1]]
    assert registered(boto, ids) == [ids[1]]
    proxy.heal()


@pytest.mark.slow
async def test_throttling_and_a_broken_connection_are_tried_again(proxied: Stack, proxy: AwsProxy) -> None:
    ids = new_ids(6)
    proxy.fail("CreateThing", "ThrottlingException", status=429, subject=ids[1])
    proxy.cut("CreateThing", subject=ids[2])
    proxy.cut("CreateThing", subject=ids[3], after_forwarding=True)  # made, and not said so
    result = await proxied.things.create_many(ids, progress=False)
    assert sorted(result.done) == sorted(ids)
    assert proxy.seen["CreateThing"] == 9


async def test_where_nobody_answers_the_rest_is_not_tried(proxied: Stack, proxy: AwsProxy) -> None:
    ids = new_ids(20)
    await proxy.__aexit__()
    failed = (await proxied.things.delete_many(ids, concurrency=2, progress=False)).failed
    assert failed.keys() == set(ids)
    assert len({id(error) for error in failed.values()}) <= 2  # one attempt of each worker


async def test_an_interrupted_run_is_resumed_and_deleted_at_the_end(
    shared: LocalProcess, proxy: AwsProxy, boto: Boto, credentials: pytest.MonkeyPatch
) -> None:
    ids = new_ids(12)
    async with Stack.aws(shared.options.name, endpoint_url=proxy.url) as stack:
        proxy.delay("CreateThing", 30 * MS)
        running = asyncio.create_task(stack.things.create_many(ids, concurrency=2, progress=False))
        await eventually(lambda: proxy.seen["CreateThing"] > 5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await eventually(lambda: not proxy._now["CreateThing"])
        made = [i for i in ids if i in set((await stack.things.list()).charge_point_id)]
        assert 0 < len(made) < 12
        proxy.heal()
        result = await stack.things.create_many(ids, progress=False)
        assert result.kept == made
        assert sorted(result.done + made) == sorted(ids)
    assert registered(boto, ids) == []


async def test_what_could_not_be_deleted_at_the_end_is_said(
    shared: LocalProcess, proxy: AwsProxy, credentials: pytest.MonkeyPatch, boto: Boto
) -> None:
    ids = new_ids(3)
    stack = await Stack.aws(shared.options.name, endpoint_url=proxy.url)
    await stack.things.create_many(ids, progress=False)
    proxy.fail("DeleteThing", "AccessDeniedException", status=403, subject=ids[0], times=None)
    with pytest.raises(errors.AwsError, match="could not delete 3 Things"):
        await stack.close()
    assert registered(boto, ids) == [ids[0]]
    boto("iot").delete_thing(thingName=ids[0])


async def test_provisioned_things_are_there_for_a_block_only(proxied: Stack, proxy: AwsProxy, boto: Boto) -> None:
    kept, *ids = new_ids(4)
    await proxied.things.create(kept)
    proxy.fail("CreateThing", "AccessDeniedException", status=403, subject=ids[2], times=None)
    async with proxied.things.provisioned([kept, *ids], progress=False) as failed:
        assert list(failed) == [ids[2]]
        assert isinstance(failed[ids[2]], errors.AwsError)
        assert registered(boto, [kept, *ids]) == [kept, *ids[:2]]
    assert registered(boto, [kept, *ids]) == [kept]
    async with proxied.things.provisioned(ids[:2], keep=True, progress=False):
        pass
    assert registered(boto, ids) == ids[:2]
    await proxied.close()
    assert registered(boto, ids) == ids[:2]
    for charge_point_id in ids[:2]:
        boto("iot").delete_thing(thingName=charge_point_id)


async def test_provisioned_things_that_could_not_be_deleted_are_left_to_the_stack(
    proxied: Stack, proxy: AwsProxy, boto: Boto, caplog: pytest.LogCaptureFixture
) -> None:
    ids = new_ids(3)
    async with proxied.things.provisioned(ids, progress=False):
        proxy.fail("DeleteThing", "AccessDeniedException", status=403, subject=ids[1], times=None)
    assert "1 Things could not be deleted" in caplog.text
    assert "lack this permission" in caplog.text
    assert registered(boto, ids) == [ids[1]]
    proxy.heal()
    proxy.seen.clear()
    await proxied.close()
    assert registered(boto, ids) == []
    assert proxy.seen["DeleteThing"] == 1


async def test_a_second_cancel_does_not_stop_the_deletion_and_the_stack_waits_for_it(
    proxied: Stack, proxy: AwsProxy, boto: Boto
) -> None:
    ids = new_ids(3)
    entered = asyncio.Event()

    async def block() -> None:
        async with proxied.things.provisioned(ids, progress=False):
            entered.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(block())
    await entered.wait()
    released = proxy.hold("DeleteThing")
    running.cancel()
    await eventually(lambda: proxy.seen["DeleteThing"] == 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    closing = asyncio.create_task(proxied.close())
    await asyncio.sleep(GLANCE)
    assert not closing.done()
    released.set()
    await closing
    assert registered(boto, ids) == []
    assert proxy.seen["DeleteThing"] == 3  # once each


async def test_a_registry_that_does_not_learn_of_them_is_said(proxied: Stack, proxy: AwsProxy) -> None:
    ids = new_ids(2)
    proxied.things._registry = GatewayRegistry(proxied._aws, "SomeOtherTable")
    with pytest.raises(errors.NotFound) as caught:
        await proxied.things.create_many(ids, progress=False, timeout=SOON)
    assert caught.value.verb == "dynamodb.batch_get_item"
    proxied.things._registry = GatewayRegistry(
        proxied._aws, None
    )  # a stack without a registry table: nothing to wait for
    assert (await proxied.things.create_many(ids, progress=False)).kept == ids


@pytest.mark.slow
async def test_progress_is_shown_where_it_takes_long_and_asked_for(
    proxied: Stack, proxy: AwsProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    slow, silent = new_ids(8), new_ids(4)  # of tqdm's second a clock that is set back may take another one
    proxy.delay("CreateThing", 0.3)
    await proxied.things.create_many(silent, concurrency=1, progress=False)
    assert capsys.readouterr().err == ""
    await proxied.things.create_many(slow, concurrency=1)
    shown = capsys.readouterr().err
    assert "creating Things" in shown
    assert "8/8" in shown
