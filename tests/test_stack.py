"""Stack: how it is opened, what close() deletes, and what goes wrong on the way."""

import asyncio
import contextlib
import copy
import gc
import json
import os
import re
import signal
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from conftest import MS, SOON
from ocpp.v201 import call
from stack_fixtures import Boto, bind, dial, eventually, is_answered, mqtt, new_id

from cpsim_kit import Stack, errors
from cpsim_kit.local.launcher import LocalProcess

DEFAULT_NAME = "AwsOcppGatewayStack"


def process_of(stack: Stack) -> LocalProcess:
    assert stack._process is not None
    return stack._process


@pytest.fixture
async def other(shared: LocalProcess, credentials: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    """A second stack object at the same endpoint, as a colleague would have it."""
    async with Stack.aws(shared.options.name, endpoint_url=shared.endpoint_url) as attached:
        yield attached


async def ids(stack: Stack) -> set[str]:
    return set((await stack.things.list())["charge_point_id"])


def all_things(boto: Boto) -> set[str]:
    pages = boto("iot").get_paginator("list_things").paginate()
    return {thing["thingName"] for page in pages for thing in page["things"]}


# -- Opening a local one ----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_local_stacks_are_one_per_set_of_options(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CPSIM_STACK", " local ")
    first, second, third, another = await asyncio.gather(
        Stack.open(), Stack.local(), Stack.local(interval=10, csms="kit"), Stack.local(interval=3)
    )
    try:
        assert first is second is third
        assert first.name == DEFAULT_NAME
        assert repr(first) == f"<Stack {DEFAULT_NAME} local us-east-1 {first.websocket_url}>"
        environment.delenv("CPSIM_STACK")
        assert await Stack.open() is first

        assert another is not first
        assert process_of(another).pid != process_of(first).pid
        await another.things.create("CP1")
        assert await ids(first) == set()
        async with another.charge_point("CP1") as cp:
            assert (await cp.boot()).interval == 3

        _, reopened = await asyncio.gather(first.close(), Stack.local())  # a cell run while another one closes
        assert reopened is not first
        assert not process_of(first).is_running
        await reopened.things.create("CP1")
        async with reopened.charge_point("CP1") as cp:
            assert (await cp.boot()).status == "Accepted"
        await first.close()  # again is harmless, also to its successor
        assert await ids(reopened) == {"CP1"}
        assert repr(first).endswith(" closed>")
        await reopened.close()
    finally:
        for stack in (first, another):
            await stack.close()


def test_a_stack_that_was_not_awaited_says_what_to_write(environment: pytest.MonkeyPatch) -> None:
    not_awaited: dict[str, object] = {
        "Stack.open()": Stack.open(),
        "Stack.local()": Stack.local(),
        "Stack.aws('Gateway')": Stack.aws("Gateway"),
    }
    for made_by, opening in not_awaited.items():
        assert f"write stack = await {made_by}>" in repr(opening)
        with pytest.raises(AttributeError, match=f"no things: write `stack = await {re.escape(made_by)}`"):
            opening.things  # type: ignore[attr-defined]  # noqa: B018
        assert not hasattr(opening, "_ipython_display_")
        assert repr(copy.copy(opening)) == repr(opening)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"interval": 0}, "at least 1, not 0"),
        ({"interval": -1}, "at least 1, not -1"),
        ({"interval": 2.5}, "whole number .* not 2.5"),
        ({"csms": "perfect"}, "not 'perfect'"),
        ({"name": "a b"}, "'a b' cannot be the name of a stack"),
        ({"name": "1a"}, "'1a' cannot be"),
        ({"name": ""}, "'' cannot be"),
        ({"name": "x" * 129}, "cannot be the name of a stack"),
    ],
)
async def test_an_argument_out_of_range_starts_nothing(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        await Stack.local(**options)  # type: ignore[arg-type]


async def test_a_local_stack_that_cannot_delete_something_says_so_and_stops(environment: pytest.MonkeyPatch) -> None:
    stack = await Stack.local(name=new_id("Stuck"))
    boto = Boto(process_of(stack))
    await stack.things.create("FREE")
    await stack.things.create("BOUND")
    bind(boto, "BOUND")
    await stack.things.create("FREE-TOO")
    boto.disconnect()
    with pytest.raises(errors.AwsError, match=r"could not delete Thing BOUND .*attached") as caught:
        await stack.close()
    assert "FREE" not in str(caught.value)
    assert not process_of(stack).is_running
    assert not process_of(stack)._log.exists()
    await stack.close()


# -- Attaching --------------------------------------------------------------------------------------------------------


async def test_open_attaches_to_the_stack_that_the_environment_names(
    shared: LocalProcess, credentials: pytest.MonkeyPatch
) -> None:
    credentials.setenv("CPSIM_STACK", shared.options.name)
    credentials.setenv("AWS_ENDPOINT_URL", shared.endpoint_url)
    async with Stack.open() as stack:
        assert (stack.name, stack.region) == (shared.options.name, "us-east-1")
        assert (stack.websocket_url, stack.endpoint_url) == (shared.websocket_url, shared.endpoint_url)
        assert repr(stack) == f"<Stack Shared local us-east-1 {shared.websocket_url}>"
        assert not stack.is_local, "what is done here may cost"
        id_ = new_id()
        await stack.publish(f"{id_}/in", "no OCPP")
        await eventually(lambda: f"{id_}: ignored" in stack.log(1000))
    assert shared.is_running  # who attached stops nothing


@pytest.fixture
def named(shared: LocalProcess, credentials: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a reader whose CPSIM_STACK names the session's stack."""
    credentials.setenv("CPSIM_STACK", shared.options.name)
    credentials.setenv("AWS_ENDPOINT_URL", shared.endpoint_url)
    return credentials


@pytest.mark.usefixtures("named")
async def test_a_setup_cell_run_twice_has_one_stack_and_close_deletes_what_both_runs_created(boto: Boto) -> None:
    first, second = new_id(), new_id()
    stack = await Stack.open()
    await stack.things.create(first)
    again = await Stack.open()
    assert again is stack
    await again.things.create(second)
    await again.close()
    assert {first, second}.isdisjoint(all_things(boto))


@pytest.mark.usefixtures("named")
async def test_setup_cells_that_run_at_once_have_one_stack() -> None:
    first, *others = await asyncio.gather(*[Stack.open() for _ in range(3)])
    assert all(each is first for each in others)
    assert isinstance(await ids(first), set)
    await first.close()


@pytest.mark.slow
@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("steps", [0, 1, 20, 80])
async def test_an_interrupted_start_leaves_no_process(environment: pytest.MonkeyPatch, steps: int) -> None:
    def children() -> list[psutil.Process]:
        found = psutil.Process().children()
        return [each for each in found if "Interrupted" in each.cmdline()]

    async def start() -> Stack:
        return await Stack.local(name="Interrupted")

    starting = asyncio.create_task(start())
    await eventually(children)
    await asyncio.sleep(steps * MS)
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await (await starting).close()  # it was faster
    assert not children()

    one, another = (asyncio.create_task(start()) for _ in range(2))
    await eventually(children)
    one.cancel()
    async with await another as stack:  # somebody else still waits for it
        assert process_of(stack).is_running
    assert not children()


@pytest.mark.slow
async def test_a_closed_stack_is_not_found_again_nor_kept() -> None:
    stack = await Stack.open()
    await stack.close()
    reopened = await Stack.open()
    assert reopened is not stack
    assert isinstance(await ids(reopened), set)
    await stack.close()  # again is harmless, also to its successor
    assert await Stack.open() is reopened
    await reopened.close()
    gone = weakref.ref(stack)
    del stack
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "changed",
    [
        {"AWS_PROFILE": "work"},
        {"AWS_DEFAULT_PROFILE": "work"},
        {"AWS_SESSION_TOKEN": "fresh"},
        {"AWS_CONFIG_FILE": "another"},
        {"AWS_SHARED_CREDENTIALS_FILE": "another"},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_a_changed_environment_attaches_anew(
    named: pytest.MonkeyPatch, tmp_path: Path, changed: dict[str, str]
) -> None:
    for file in ("config", "another"):
        (tmp_path / file).write_text("[profile work]\nregion = us-east-1\n")
    named.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    async with Stack.open() as before:
        with named.context() as changing:
            for name, value in changed.items():
                changing.setenv(name, str(tmp_path / value) if name.endswith("_FILE") else value)
            async with Stack.open() as other:
                assert other is not before
                assert isinstance(await ids(other), set)
        assert await Stack.open() is before, "as the environment was before"
        assert isinstance(await ids(before), set)


async def test_another_access_key_attaches_anew_and_is_refused(named: pytest.MonkeyPatch) -> None:
    async with Stack.open():
        named.setenv("AWS_ACCESS_KEY_ID", "another")
        with pytest.raises(errors.NoCredentials, match=r"'another' is not the access key.*`cpsim stack`"):
            await Stack.open()


async def test_another_region_is_another_stack(named: pytest.MonkeyPatch) -> None:
    async with Stack.open():
        named.setenv("AWS_REGION", "eu-west-1")
        named.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        with pytest.raises(errors.NotFound, match="in eu-west-1"):
            await Stack.open()


@pytest.mark.usefixtures("named")
async def test_another_event_loop_attaches_anew(boto: Boto) -> None:
    here = await Stack.open()
    created = new_id()

    async def use() -> bool:
        async with Stack.open() as there:
            await there.things.create(created)
            return there is not here and await Stack.open() is there

    assert await asyncio.to_thread(asyncio.run, use())
    assert created not in all_things(boto)
    assert not here._closed
    assert isinstance(await ids(here), set)
    await here.close()


async def test_attaching_twice_gives_two_stacks(stack: Stack, other: Stack) -> None:
    assert stack is not other
    await stack.close()
    assert isinstance(await ids(other), set)


async def test_a_stack_gives_the_same_client_each_time(stack: Stack) -> None:
    assert stack.client("iot") is stack.client("iot")
    assert stack.client("iot").meta.endpoint_url == stack.endpoint_url


async def test_mqtt_url_is_where_mqtt_answers(stack: Stack, shared: LocalProcess) -> None:
    port = urlsplit(shared.endpoint_url).port
    assert stack.mqtt_url == f"ws://127.0.0.1:{port}/mqtt/{shared.key.secret}"
    async with mqtt(shared, "x"):
        pass


async def test_a_wrong_name_is_not_found(shared: LocalProcess, credentials: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.NotFound, match="no CloudFormation stack NoSuchStack in us-east-1") as caught:
        await Stack.aws("NoSuchStack", endpoint_url=shared.endpoint_url)
    assert (caught.value.kind, caught.value.name) == ("stack", "NoSuchStack")
    assert caught.value.verb == "cloudformation.describe_stacks"
    assert caught.value.code == "ValidationError"


async def test_another_region_has_no_such_stack(shared: LocalProcess, credentials: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.NotFound, match="in eu-west-1"):
        await Stack.aws(shared.options.name, region="eu-west-1", endpoint_url=shared.endpoint_url)


async def test_a_stack_that_is_no_gateway_is_an_error_with_its_outputs(
    shared: LocalProcess, boto: Boto, credentials: pytest.MonkeyPatch
) -> None:
    name = new_id("NoGateway")
    output = {"ApiUrl": {"Value": "https://api.example"}}
    template = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}, "Outputs": output}
    boto("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))
    boto("cloudformation").get_waiter("stack_create_complete").wait(
        StackName=name, WaiterConfig={"Delay": 0.01, "MaxAttempts": 1000}
    )
    try:
        with pytest.raises(errors.AwsError, match=rf"{name} has no output websocketURL \(outputs: ApiUrl\)"):
            await Stack.aws(name, endpoint_url=shared.endpoint_url)
    finally:
        boto("cloudformation").delete_stack(StackName=name)


@pytest.mark.parametrize("name", ["", "   ", "no name", "x" * 300])
async def test_a_name_that_no_stack_can_have_is_an_error_of_the_kit(
    shared: LocalProcess, credentials: pytest.MonkeyPatch, name: str
) -> None:
    with pytest.raises(errors.AwsError):
        await Stack.aws(name, endpoint_url=shared.endpoint_url)


@pytest.fixture
def nobody(environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Somebody without any AWS settings."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        environment.delenv(name)
    environment.setenv("HOME", str(tmp_path))
    environment.setenv("USERPROFILE", str(tmp_path))
    return environment


async def test_without_credentials_the_reader_is_told_what_to_set(
    shared: LocalProcess, nobody: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.NoCredentials, match=r"AWS_PROFILE.*CPSIM_STACK") as caught:
        await Stack.aws("AwsOcppGatewayStack", region="us-east-1", endpoint_url=shared.endpoint_url)
    assert caught.value.verb == "cloudformation.describe_stacks"


async def test_half_of_the_credentials_are_none(shared: LocalProcess, nobody: pytest.MonkeyPatch) -> None:
    nobody.setenv("AWS_ACCESS_KEY_ID", "only")
    with pytest.raises(errors.NoCredentials, match="AWS_SECRET_ACCESS_KEY"):
        await Stack.aws("AwsOcppGatewayStack", region="us-east-1", endpoint_url=shared.endpoint_url)


async def test_a_profile_that_is_not_there_is_named(nobody: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.NoCredentials, match="no-such-profile"):
        await Stack.aws("AwsOcppGatewayStack", profile="no-such-profile")
    nobody.setenv("AWS_PROFILE", "none-either")
    with pytest.raises(errors.NoCredentials, match="none-either"):
        await Stack.aws("AwsOcppGatewayStack")


async def test_without_a_region_the_reader_is_told_how_to_give_one(nobody: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.AwsError, match="region=") as caught:
        await Stack.aws("AwsOcppGatewayStack")
    assert not isinstance(caught.value, errors.NoCredentials)


async def test_a_configuration_that_nobody_can_read_is_an_error_of_the_kit(nobody: pytest.MonkeyPatch) -> None:
    (Path(os.environ["HOME"]) / ".aws").mkdir()
    (Path(os.environ["HOME"]) / ".aws" / "config").write_text("this is [no configuration\n")
    with pytest.raises(errors.AwsError, match="config"):
        await Stack.aws("AwsOcppGatewayStack", region="us-east-1")


async def test_the_profile_of_the_reader_is_used(shared: LocalProcess, nobody: pytest.MonkeyPatch) -> None:
    folder = Path(os.environ["HOME"]) / ".aws"
    folder.mkdir()
    (folder / "config").write_text("[profile work]\nregion = us-east-1\n")
    keys = f"aws_access_key_id = {shared.key.id}\naws_secret_access_key = {shared.key.secret}\n"
    (folder / "credentials").write_text(f"[work]\n{keys}")
    async with Stack.aws(shared.options.name, profile="work", endpoint_url=shared.endpoint_url) as stack:
        assert stack.region == "us-east-1"


@pytest.mark.parametrize("endpoint_url", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
async def test_an_endpoint_that_nobody_answers_at_is_an_error_of_the_kit(
    credentials: pytest.MonkeyPatch, endpoint_url: str
) -> None:
    credentials.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(errors.AwsError, match="endpoint right") as caught:
        await Stack.aws("AwsOcppGatewayStack", endpoint_url=endpoint_url)
    assert caught.value.code == ""


# -- Closing ----------------------------------------------------------------------------------------------------------


async def test_close_deletes_what_this_stack_created_newest_first(
    shared: LocalProcess, boto: Boto, stack: Stack, other: Stack
) -> None:
    before, mine, theirs = new_id("BEFORE"), [new_id("MINE") for _ in range(3)], new_id("THEIRS")
    boto("iot").create_thing(thingName=before, attributePayload={"attributes": {"site": "A"}})
    await other.things.create(theirs)
    await stack.things.create(before, attributes={"site": "B"})
    for charge_point_id in mine:
        await stack.things.create(charge_point_id)
    await stack.things.create(theirs)
    async with mqtt(shared, "$aws/events/thing/+/deleted") as broker:
        await stack.close()
        assert [event["thingName"] for event in await broker.events(3)] == mine[::-1]
    left = await ids(other)
    assert {before, theirs} <= left
    assert left.isdisjoint(mine)
    await other.things.delete(before)


async def test_close_does_not_mind_what_somebody_else_has_deleted(boto: Boto, stack: Stack) -> None:
    charge_point_id = new_id()
    await stack.things.create(charge_point_id)
    boto("iot").delete_thing(thingName=charge_point_id)
    await stack.close()


async def test_close_deletes_the_shadow_with_the_thing(boto: Boto, stack: Stack) -> None:
    charge_point_id = new_id()
    await stack.things.create(charge_point_id)
    async with stack.charge_point(charge_point_id) as cp:
        await cp.boot()
        await stack.shadow(charge_point_id)
    await stack.close()
    with pytest.raises(boto("iot-data").exceptions.ResourceNotFoundException):
        boto("iot-data").get_thing_shadow(thingName=charge_point_id)


async def test_close_names_what_it_could_not_delete_and_deletes_the_rest(boto: Boto, stack: Stack) -> None:
    first, bound, last = (new_id("LEFT") for _ in range(3))
    for charge_point_id in (first, bound, last):
        await stack.things.create(charge_point_id)
    bind(boto, bound)
    with pytest.raises(errors.AwsError, match=f"could not delete Thing {bound} ") as caught:
        await stack.close()
    assert first not in str(caught.value)
    assert last not in str(caught.value)
    assert {first, bound, last} & all_things(boto) == {bound}
    await stack.close()


async def test_close_closes_the_charge_points_it_made(stack: Stack) -> None:
    ids = [new_id() for _ in range(3)]
    for charge_point_id in ids:
        await stack.things.create(charge_point_id)
    charge_points = [await stack.charge_point(charge_point_id) for charge_point_id in ids]
    never_opened = stack.charge_point(new_id())
    await charge_points[0].close()
    await stack.close()
    assert [cp.closed and cp.closed.by for cp in charge_points] == ["charge point"] * 3
    assert never_opened.closed is None


async def test_closing_twice_at_once_is_harmless(stack: Stack) -> None:
    await stack.things.create(new_id())
    await asyncio.gather(stack.close(), stack.close())


async def test_a_topic_that_is_refused_is_named(stack: Stack) -> None:
    with pytest.raises(errors.AwsError, match=r"iot-data\.publish failed for a/\+/b: "):
        await stack.publish("a/+/b", "x")


async def test_a_closed_stack_says_so_whatever_is_asked_of_it(stack: Stack) -> None:
    monitor, shadow, rule = stack.monitor("a"), stack.shadow("CP1"), stack.rule("r", sql="SELECT * FROM 'a'", queue="q")
    cp = stack.charge_point("CP1")
    await stack.close()
    assert repr(stack).endswith(" closed>")
    uses: list[Callable[[], object]] = [
        stack.things.list,
        lambda: stack.things.create("CP1"),
        lambda: stack.shadow("CP1"),
        lambda: stack.shadow("CP1").update(desired={"a": 1}),
        lambda: stack.charge_point("CP1"),
        lambda: stack.monitor("a"),
        lambda: stack.rule("r", sql="SELECT * FROM 'a'", queue="q"),
        lambda: stack.trace(cp),
        stack.watch_gateway,
        lambda: stack.client("iot"),
        lambda: stack.publish("a", "b"),
        lambda: stack.send("CP1", call.Reset(type="Immediate")),
        stack.support_matrix,
        lambda: shadow,
        lambda: rule,
        monitor.__aenter__,
    ]
    for use in uses:
        with pytest.raises(RuntimeError) as caught:
            await use()  # type: ignore[misc]
        assert str(caught.value) == "this stack is closed; open another: stack = await Stack.open()"
    assert isinstance(stack.log(), str)


async def test_a_local_stack_whose_process_died_looks_dead(environment: pytest.MonkeyPatch) -> None:
    async with Stack.local(name=new_id("Dead")) as stack:
        assert "on this computer" in stack._repr_html_()
        os.kill(process_of(stack).pid, signal.SIGKILL)
        await eventually(lambda: repr(stack).endswith(" died>"))
        assert "its process has died" in stack._repr_html_()
    assert repr(stack).endswith(" closed>")


@pytest.mark.usefixtures("credentials")
async def test_leaving_the_block_closes(shared: LocalProcess, boto: Boto) -> None:
    charge_point_id = new_id()
    async with Stack.aws(shared.options.name, endpoint_url=shared.endpoint_url) as stack:
        await stack.things.create(charge_point_id)
        async with stack:
            pass
        assert charge_point_id not in all_things(boto)


async def fail_with(
    shared: LocalProcess, boto: Boto, charge_point_id: str, *, bound: bool, error: Exception | None
) -> None:
    """A block in which a Thing is made, perhaps one that cannot be deleted, and that perhaps fails."""
    async with Stack.aws(shared.options.name, endpoint_url=shared.endpoint_url) as stack:
        await stack.things.create(charge_point_id)
        if bound:
            bind(boto, charge_point_id)
        if error is not None:
            raise error


@pytest.mark.usefixtures("credentials")
async def test_an_error_in_the_block_comes_out_and_the_stack_is_closed(
    shared: LocalProcess, boto: Boto, other: Stack
) -> None:
    charge_point_id = new_id()
    with pytest.raises(ZeroDivisionError):
        await fail_with(shared, boto, charge_point_id, bound=False, error=ZeroDivisionError())
    assert charge_point_id not in all_things(boto)


@pytest.mark.usefixtures("credentials")
async def test_an_error_in_the_block_goes_before_what_could_not_be_deleted(shared: LocalProcess, boto: Boto) -> None:
    charge_point_id = new_id("LEFT")
    with pytest.raises(ZeroDivisionError) as caught:
        await fail_with(shared, boto, charge_point_id, bound=True, error=ZeroDivisionError())
    assert any(f"could not delete Thing {charge_point_id}" in note for note in caught.value.__notes__)


@pytest.mark.usefixtures("credentials")
async def test_what_is_left_behind_is_the_error_of_a_block_that_went_well(shared: LocalProcess, boto: Boto) -> None:
    charge_point_id = new_id("LEFT")
    with pytest.raises(errors.AwsError, match=charge_point_id):
        await fail_with(shared, boto, charge_point_id, bound=True, error=None)


async def test_a_stack_opened_in_one_loop_is_used_in_another(
    shared: LocalProcess, credentials: pytest.MonkeyPatch
) -> None:
    """As ``run()`` and a notebook's own loop may share one."""

    def elsewhere() -> Stack:
        async def attach() -> Stack:
            return await Stack.aws(shared.options.name, endpoint_url=shared.endpoint_url)

        return asyncio.run(attach())

    stack = await asyncio.to_thread(elsewhere)
    charge_point_id = new_id()
    await stack.things.create(charge_point_id)
    async with dial(shared, charge_point_id) as ws:
        assert await is_answered(ws)
    await asyncio.wait_for(stack.close(), SOON)
    await eventually(lambda: not stack._aws._clients)


# -- Several who close, several loops ---------------------------------------------------------------------------------


async def test_a_second_close_returns_once_the_first_is_done(stack: Stack) -> None:
    order: list[str] = []
    may_end = asyncio.Event()

    async def delete() -> None:
        await may_end.wait()
        order.append("deleted")

    stack._cleanup.add("something", delete)
    first = asyncio.create_task(stack.close())
    await asyncio.sleep(0)
    second = asyncio.create_task(stack.close())
    second.add_done_callback(lambda _: order.append("second"))
    for _ in range(10):
        await asyncio.sleep(0)
    may_end.set()
    await asyncio.gather(first, second)
    assert order == ["deleted", "second"]
    await stack.close()


async def test_what_fails_while_closing_is_raised_once_all_is_closed(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        async def close(self) -> None:
            raise errors.ProtocolViolation("nobody read this", action="Reset", path="", text="", code="FormatViolation")

    deleted: list[str] = []

    async def delete() -> None:
        deleted.append("deleted")

    failing = Failing()
    stack._watching.add(failing)
    stack._cleanup.add("something", delete)
    with pytest.raises(errors.ProtocolViolation, match="nobody read this"):
        await stack.close()
    assert deleted == ["deleted"]
    assert "did not close in good order" in caplog.text
    await stack.close()


SCRIPT = """
import asyncio, sys
from ocpp.v201 import call
from cpsim_kit import Stack
async def once():
    stack = await Stack.local(name="Twice")
    await stack.things.create("CP1")
    async with stack.charge_point("CP1") as cp:
        cp.on("ClearCache", lambda: {"status": "Accepted"})
        return stack, (await stack.send("CP1", call.ClearCache(), timeout=20)).status
(first, one), (second, two) = asyncio.run(once()), asyncio.run(once())
print(one, two, first is second, first.endpoint_url == second.endpoint_url)
"""


@pytest.mark.slow
def test_a_stack_that_another_event_loop_left_open_is_of_use_in_the_next_one(environment: pytest.MonkeyPatch) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.split() == ["Accepted", "Accepted", "False", "True"], done.stderr


def test_a_local_stack_has_the_samples_outputs(boto: Boto, shared: LocalProcess) -> None:
    [found] = boto("cloudformation").describe_stacks(StackName=shared.options.name)["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}
    assert outputs["loadBalancerDnsName"] == "127.0.0.1"
    assert outputs["websocketURL"].startswith(f"ws://{outputs['loadBalancerDnsName']}:")


@pytest.mark.slow
async def test_closing_a_stack_does_not_stop_the_process_under_another_event_loops(
    environment: pytest.MonkeyPatch,
) -> None:
    name = new_id("Loops")
    stack = await Stack.local(name=name)

    async def in_another_loop() -> bool:
        async with Stack.local(name=name) as other:
            return other is not stack and other.endpoint_url == stack.endpoint_url

    assert await asyncio.to_thread(lambda: asyncio.run(in_another_loop()))
    await stack.things.create("CP1")
    assert await Stack.local(name=name) is stack
    process = stack._process
    await stack.close()
    assert process is not None
    assert not process.is_running
