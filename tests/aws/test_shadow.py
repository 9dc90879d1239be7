"""Device Shadows: reading, changing, deleting and watching them, with plain boto3 as the other side."""

import asyncio
import json
from types import MappingProxyType
from typing import Any

import pytest
from aws_proxy import AwsProxy
from conftest import SOON
from stack_fixtures import GLANCE, Boto, eventually, new_id

from cpsim_kit import Shadow, Stack, errors
from cpsim_kit.local.launcher import LocalProcess


@pytest.fixture
async def thing(stack: Stack) -> str:
    charge_point_id = new_id()
    await stack.things.create(charge_point_id)
    return charge_point_id


def change(boto: Boto, thing: str, state: dict[str, object], **parameters: str) -> None:
    payload = json.dumps({"state": state})
    boto("iot-data").update_thing_shadow(thingName=thing, payload=payload, **parameters)


# -- Reading ----------------------------------------------------------------------------------------------------------


async def test_a_shadow_is_read_whole(stack: Stack, boto: Boto, thing: str) -> None:
    change(boto, thing, {"reported": {"model": "A", "n": {"x": 1}}, "desired": {"model": "B"}})
    shadow = await stack.shadow(thing)
    assert shadow.charge_point_id == thing
    assert shadow.reported == {"model": "A", "n": {"x": 1}}
    assert shadow.desired == {"model": "B"}
    assert shadow.version == 1
    assert shadow.metadata["reported"]["n"]["x"]["timestamp"] > 1e9
    assert shadow.name == ""
    assert repr(shadow) == (
        f"<Shadow {thing} version=1 reported={{'model': 'A', 'n': {{'x': 1}}}} desired={{'model': 'B'}}>"
    )


async def test_what_is_not_there_is_not_found(stack: Stack, thing: str) -> None:
    for name in (thing, new_id("nobody")):
        with pytest.raises(errors.NotFound) as caught:
            await stack.shadow(name)
        assert (caught.value.kind, caught.value.name) == ("shadow", name)
    assert "await stack.shadow" in repr(stack.shadow(thing))


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


async def test_a_request_shows_how_to_use_it(stack: Stack) -> None:
    assert repr(stack.shadow("CP1")) == '<ShadowRequest CP1: write await stack.shadow("CP1")>'


async def test_a_watch_that_was_never_entered_says_how_to_enter_it(stack: Stack) -> None:
    for request, how in ((stack.shadow("CP1"), '"CP1"'), (stack.shadow("CP1", "notes"), '"CP1", "notes"')):
        watch = request.watch()
        for use in (watch.__anext__(), watch.take(1)):
            with pytest.raises(RuntimeError) as caught:
                await use
            assert str(caught.value).endswith(f"not entered: async with stack.shadow({how}).watch() as changes")


@pytest.mark.parametrize("value", [5, "x", ["a"]])
async def test_a_state_is_a_mapping(stack: Stack, thing: str, value: object) -> None:
    for key in ("desired", "reported"):
        with pytest.raises(TypeError, match=rf"{thing}: {key}= is a dict .* or None; not"):
            await stack.shadow(thing).update(**{key: value})  # type: ignore[arg-type]
    assert (await stack.shadow(thing).update(desired=MappingProxyType({"a": 1}))).desired == {"a": 1}


async def test_reading_while_it_changes_never_shows_half_a_document(stack: Stack, boto: Boto, thing: str) -> None:
    names = [f"field{number}" for number in range(50)]
    change(boto, thing, {"reported": dict.fromkeys(names, 0)})
    seen: list[Shadow] = []

    async def write() -> None:
        for number in range(1, 25):
            await asyncio.to_thread(change, boto, thing, {"reported": dict.fromkeys(names, number)})

    async def read(writer: asyncio.Task[None]) -> None:
        while not writer.done():
            seen.append(await stack.shadow(thing))

    async with asyncio.TaskGroup() as group:
        writer = group.create_task(write())
        for _ in range(3):
            group.create_task(read(writer))
    assert len({shadow.version for shadow in seen}) > 3
    for shadow in seen:
        assert shadow.reported.keys() == set(names)
        assert set(shadow.reported.values()) == {shadow.version - 1}


# -- Waiting ----------------------------------------------------------------------------------------------------------


async def test_wait_for_waits_for_a_shadow_that_is_not_there_yet(
    proxied: Stack, proxy: AwsProxy, boto: Boto, thing: str
) -> None:
    waiting = asyncio.create_task(proxied.shadow(thing).wait_for(lambda s: s.reported["n"] == 1, timeout=SOON))
    await eventually(lambda: proxy.seen["GetThingShadow"] > 1)
    change(boto, thing, {"reported": {"n": 1}})
    assert (await waiting).version == 1


async def test_wait_for_judges_every_version_once(stack: Stack, boto: Boto, thing: str) -> None:
    judged: list[int] = []

    def predicate(shadow: Shadow) -> bool:
        judged.append(shadow.version)
        if len(judged) == 3:  # looked at again before it changes
            asyncio.get_running_loop().call_later(5 * GLANCE, change, boto, thing, {"reported": {"n": shadow.version}})
        elif len(judged) < 5:
            change(boto, thing, {"reported": {"n": shadow.version}})
        return len(judged) == 5

    change(boto, thing, {"reported": {"n": 0}})
    shadow = await stack.shadow(thing).wait_for(predicate, timeout=SOON)
    assert judged == [1, 2, 3, 4, 5]
    assert (shadow.version, shadow.reported) == (5, {"n": 4})


async def test_wait_for_times_out_with_the_last_version_or_none(stack: Stack, boto: Boto, thing: str) -> None:
    with pytest.raises(errors.WaitTimeout, match="nothing was seen") as caught:
        await stack.shadow(thing).wait_for(lambda _: True, timeout=GLANCE)
    assert caught.value.last_seen is None
    change(boto, thing, {"reported": {"n": 1}})
    for timeout in (SOON / 10, SOON):  # time to look at least once, on a slow machine the longer one
        with pytest.raises(errors.WaitTimeout) as caught:
            await stack.shadow(thing).wait_for(lambda _: False, timeout=timeout)
        if caught.value.last_seen:
            break
    assert caught.value.last_seen == await stack.shadow(thing)


async def test_an_error_of_the_predicate_comes_out(stack: Stack, boto: Boto, thing: str) -> None:
    change(boto, thing, {"reported": {"n": 1}})
    with pytest.raises(KeyError, match="model"):
        await stack.shadow(thing).wait_for(lambda s: s.reported["model"], timeout=SOON)


# -- Changing ---------------------------------------------------------------------------------------------------------


async def test_update_merges_removes_and_returns_the_whole(stack: Stack, thing: str) -> None:
    shadow = stack.shadow(thing)
    first = await shadow.update(reported={"a": 1, "b": {"c": 2}})
    assert (first.reported, first.desired, first.version) == ({"a": 1, "b": {"c": 2}}, {}, 1)
    second = await shadow.update(desired={"a": 5}, reported={"b": {"d": 3}})
    assert (second.reported, second.desired) == ({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 5})
    third = await shadow.update(reported={"a": None}, desired={})
    assert (third.reported, third.desired) == ({"b": {"c": 2, "d": 3}}, {"a": 5})
    assert third.version == 3
    assert await shadow == third


async def test_what_update_did_boto3_reads(stack: Stack, boto: Boto, thing: str) -> None:
    await stack.shadow(thing).update(desired={"text": "žluťoučký 充电桩", "numbers": [1, 2.5, True]})
    document = json.loads(boto("iot-data").get_thing_shadow(thingName=thing)["payload"].read())
    assert document["state"]["desired"] == {"text": "žluťoučký 充电桩", "numbers": [1, 2.5, True]}


@pytest.mark.parametrize(
    ("desired", "code"),
    [
        ({"text": "x" * 8192}, "RequestEntityTooLargeException"),
        ({"list": [1, None]}, "InvalidRequestException"),
        ({"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}, "InvalidRequestException"),
        ({"a": float("nan")}, "InvalidRequestException"),
    ],
    ids=["8 KB", "None in a list", "nine levels", "NaN"],
)
async def test_a_state_that_aws_refuses_is_an_error_with_its_code_and_changes_nothing(
    stack: Stack, thing: str, desired: dict[str, Any], code: str
) -> None:
    before = await stack.shadow(thing).update(desired={"a": 1})
    with pytest.raises(errors.AwsError) as caught:
        await stack.shadow(thing).update(desired=desired)
    assert caught.value.code == code
    assert await stack.shadow(thing) == before


async def test_a_version_conflict_is_an_error_with_its_code_and_changes_nothing(stack: Stack, thing: str) -> None:
    shadow = stack.shadow(thing)
    await shadow.update(desired={"a": 1})
    await shadow.update(desired={"a": 2}, version=1)
    with pytest.raises(errors.AwsError) as caught:
        await shadow.update(desired={"a": 3}, version=1)
    assert (caught.value.verb, caught.value.code) == ("iot-data.update_thing_shadow", "ConflictException")
    assert caught.value.__cause__ is not None
    assert ((await shadow).desired, (await shadow).version) == ({"a": 2}, 2)


async def test_of_writers_of_one_version_one_wins(stack: Stack, thing: str) -> None:
    shadow = stack.shadow(thing)
    await shadow.update(desired={"n": 0})
    attempts = [shadow.update(desired={"n": number}, version=1) for number in range(1, 9)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    refused = [result for result in results if isinstance(result, errors.AwsError)]
    assert len(refused) == 7
    assert {error.code for error in refused} == {"ConflictException"}
    assert (await shadow).version == 2


async def test_delete_forgets_and_the_version_goes_on(stack: Stack, thing: str) -> None:
    shadow = stack.shadow(thing)
    with pytest.raises(errors.NotFound):
        await shadow.delete()
    await shadow.update(desired={"a": 1})
    await shadow.delete()
    with pytest.raises(errors.NotFound):
        await shadow
    again = await shadow.update(desired={"b": 1})
    assert again.desired == {"b": 1}
    assert again.version > 1


async def test_named_shadows_are_apart_from_the_classic_one(stack: Stack, boto: Boto, thing: str) -> None:
    classic, config, other = stack.shadow(thing), stack.shadow(thing, "config"), stack.shadow(thing, "other")
    await classic.update(reported={"is": "classic"})
    named = await config.update(reported={"is": "config"})
    assert (named.name, named.reported, named.version) == ("config", {"is": "config"}, 1)
    assert repr(named).startswith(f"<Shadow {thing}/config version=1")
    with pytest.raises(errors.NotFound):
        await other
    payload = boto("iot-data").get_thing_shadow(thingName=thing, shadowName="config")["payload"]
    assert json.loads(payload.read())["state"]["reported"] == {"is": "config"}
    await config.delete()
    assert (await classic).reported == {"is": "classic"}


@pytest.mark.parametrize("name", ["a b", "x" * 65, "ž", "a/b", "a\n"])
async def test_a_shadow_name_that_aws_does_not_allow_is_refused(stack: Stack, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a shadow"):
        stack.shadow("CP1", name)


# -- Watching ---------------------------------------------------------------------------------------------------------


async def test_watch_yields_each_change_in_order(stack: Stack, boto: Boto, thing: str) -> None:
    async with stack.shadow(thing).watch() as changes:
        assert thing in repr(changes)
        change(boto, thing, {"reported": {"n": 1}})
        change(boto, thing, {"reported": {"m": 2}})
        await stack.publish(f"$aws/things/{thing}/shadow/update", {"state": {"desired": {"n": 3}}})
        first, second = await changes.take(2, timeout=SOON)
        third = await anext(changes)
    assert [shadow.version for shadow in (first, second, third)] == [1, 2, 3]
    assert (first.reported, second.reported) == ({"n": 1}, {"n": 1, "m": 2})
    assert (third.reported, third.desired) == ({"n": 1, "m": 2}, {"n": 3})
    assert third == await stack.shadow(thing)


async def test_watch_sees_its_own_shadow_only(stack: Stack, boto: Boto, thing: str) -> None:
    async with stack.shadow(thing, "config").watch() as changes:
        change(boto, thing, {"reported": {"n": 1}})
        change(boto, thing, {"reported": {"n": 2}}, shadowName="other")
        change(boto, thing, {"reported": {"n": 3}}, shadowName="config")
        [seen] = await changes.take(1, timeout=SOON)
    assert (seen.name, seen.reported) == ("config", {"n": 3})


async def test_watch_shows_a_boot(stack: Stack, thing: str) -> None:
    async with stack.shadow(thing).watch() as changes, stack.charge_point(thing, model="Seen") as cp:
        await cp.boot()
        [shadow] = await changes.take(1, timeout=SOON)
    assert shadow.reported["chargingStation"]["model"] == "Seen"


async def test_watch_times_out_and_ends(stack: Stack, thing: str) -> None:
    async with stack.shadow(thing).watch() as changes:
        with pytest.raises(errors.WaitTimeout):
            await changes.take(1, timeout=GLANCE)
    assert [shadow async for shadow in changes] == []


# -- When AWS refuses -------------------------------------------------------------------------------------------------


async def test_denied_and_expired_are_said_so(
    shared: LocalProcess, proxy: AwsProxy, credentials: pytest.MonkeyPatch
) -> None:
    async with Stack.aws(shared.options.name, endpoint_url=proxy.url) as stack:
        shadow = stack.shadow(new_id())
        proxy.fail("GetThingShadow", "AccessDeniedException", status=403)
        with pytest.raises(errors.AwsError, match="lack this permission") as caught:
            await shadow
        assert caught.value.code == "AccessDeniedException"
        proxy.fail("UpdateThingShadow", "ExpiredTokenException", status=403)
        with pytest.raises(errors.NoCredentials, match="AWS_PROFILE"):
            await shadow.update(desired={})
        proxy.fail("GetThingShadow", "AccessDeniedException", status=403)
        with pytest.raises(errors.AwsError, match="lack this permission"):  # not waited for in vain
            await shadow.wait_for(lambda _: True, timeout=SOON)


async def test_a_change_that_was_made_although_its_answer_was_lost_is_made_once_more_harmlessly(
    shared: LocalProcess, proxy: AwsProxy, credentials: pytest.MonkeyPatch
) -> None:
    """boto3 tries again when the connection breaks; merging the same state twice is the same state."""
    async with Stack.aws(shared.options.name, endpoint_url=proxy.url) as stack:
        thing = new_id()
        await stack.things.create(thing)
        proxy.cut("UpdateThingShadow", after_forwarding=True)
        shadow = await stack.shadow(thing).update(desired={"a": 1})
        assert (shadow.desired, shadow.version) == ({"a": 1}, 2)


async def test_eventually_is_not_needed_after_update(stack: Stack, thing: str) -> None:
    for number in range(10):
        shadow = await stack.shadow(thing).update(reported={"n": number})
        assert shadow.reported == {"n": number}
    assert await eventually(lambda: stack.shadow(thing)) == shadow
