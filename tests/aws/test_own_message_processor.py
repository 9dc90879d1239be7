"""Your own source in a Lambda function of a local stack, as on AWS: replaced, watched, and put back."""

import asyncio
import io
import json
import os
import signal
import urllib.request
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aws_proxy import AwsProxy
from conftest import MS, SOON
from stack_fixtures import GLANCE, Boto, eventually, new_id

from cpsim_kit import Stack, errors
from cpsim_kit.local.launcher import LocalOptions, LocalProcess

pytestmark = pytest.mark.slow

Register = Callable[[], Awaitable[str]]

DEAD = 6 * SOON  # seconds in which a message has been failed on three times

FORMER = "import bundled\n\ndef lambda_handler(event, context):\n    return ['former', bundled.VALUE]\n"
OWN = """\
import os

import bundled

def lambda_handler(event, context):
    print("called with", event)
    tables = {name: value for name, value in os.environ.items() if name.endswith("_TABLE") or name == "COLOUR"}
    return ["own", bundled.VALUE, tables]
"""
# Answers a boot with an interval of its own, and fails on all heartbeats.
PROCESSOR = """\
import json

import boto3

iot = boto3.client("iot-data")

def lambda_handler(event, context):
    for record in event["Records"]:
        body = json.loads(record["body"])
        _, message_id, action, payload = body["message"]
        print("handles", action)
        answer = {"currentTime": "2026-01-01T00:00:00Z", "interval": 77, "status": "Accepted"}
        if action == "Heartbeat":
            answer["currentTime"] = payload["no such key"]
        iot.publish(topic=f"{body['chargePointId']}/out", qos=1, payload=json.dumps([3, message_id, answer]))
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalProcess]:
    """In the place of the session's: a stack whose CSMS is a Lambda function."""
    process = LocalProcess(LocalOptions(name="Lambdas", csms="lambda"))
    yield process
    process.stop()


@pytest.fixture(scope="module")
def shared_boto(shared: LocalProcess) -> Boto:
    return Boto(shared)


def package(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


PACKAGE = {
    "message_processor.py": FORMER,
    "bundled/__init__.py": "from bundled.deep import VALUE\n",
    "bundled/deep.py": "VALUE = 42\n",
}


@pytest.fixture
def function(boto: Boto) -> Iterator[str]:
    """A function of this test alone, with a package that bundles something; nobody calls it but the test."""
    name = new_id("function")
    role = boto("iam").create_role(RoleName=f"{name}-role", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    boto("lambda").create_function(
        FunctionName=name,
        Runtime="python3.11",
        Handler="message_processor.lambda_handler",
        Role=role,
        Code={"ZipFile": package(PACKAGE)},
        Environment={"Variables": {"COLOUR": "green"}},
    )
    yield name
    boto("lambda").delete_function(FunctionName=name)


def download(boto: Boto, function: str) -> bytes:
    location = boto("lambda").get_function(FunctionName=function)["Code"]["Location"]
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(location) as answer:
        content: bytes = answer.read()
    return content


def state(boto: Boto, function: str) -> dict[str, Any]:
    """Everything of a function and its role that a message processor changes."""
    configuration = boto("lambda").get_function_configuration(FunctionName=function)
    role = configuration["Role"].rpartition("/")[2]
    policies = {
        name: boto("iam").get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in boto("iam").list_role_policies(RoleName=role)["PolicyNames"]
    }
    return {
        "package": download(boto, function),
        "environment": configuration.get("Environment", {}).get("Variables", {}),
        "policies": policies,
        "tables": sorted(boto("dynamodb").list_tables()["TableNames"]),
    }


async def invoke(boto: Boto, function: str, event: Any = None) -> Any:
    answer = await asyncio.to_thread(
        boto("lambda").invoke, FunctionName=function, Payload=json.dumps({} if event is None else event)
    )
    return json.loads(answer["Payload"].read())


# -- Replaced and put back --------------------------------------------------------------------------------------------


async def test_the_stacks_own_function_answers_charge_points_and_is_put_back(
    stack: Stack, boto: Boto, register: Register, tmp_path: Path
) -> None:
    path = tmp_path / "processor.py"
    path.write_text(PROCESSOR)
    function = boto.resource("OCPPMessageProcessor")
    before = state(boto, function)
    async with stack.charge_point(await register()) as cp:
        async with stack.message_processor(path) as processor:
            assert processor.function == function
            assert repr(processor) == f"<MessageProcessor processor.py in {function} in use>"
            boot = await cp.boot()
            assert (boot.interval, boot.current_time) == (77, "2026-01-01T00:00:00Z")
            changed = state(boto, function)
            assert changed.pop("package") != before["package"]
            assert changed == {name: value for name, value in before.items() if name != "package"}
        assert (await cp.boot()).interval == 10
    assert state(boto, function) == before
    assert repr(processor) == f"<MessageProcessor processor.py in {function} not in use>"


async def test_what_the_package_bundles_stays(stack: Stack, boto: Boto, function: str) -> None:
    before = state(boto, function)
    assert await invoke(boto, function) == ["former", 42]
    async with stack.message_processor(OWN, function=function):
        assert await invoke(boto, function) == ["own", 42, {"COLOUR": "green"}]
        assert state(boto, function)["environment"] == {"COLOUR": "green"}
    assert await invoke(boto, function) == ["former", 42]
    assert state(boto, function) == before


async def test_the_functions_environment_is_extended_and_put_back(stack: Stack, boto: Boto, function: str) -> None:
    before = state(boto, function)
    async with stack.message_processor(OWN, function=function, environment={"COLOUR": "red", "SHAPE": "round"}):
        assert state(boto, function)["environment"] == {"COLOUR": "red", "SHAPE": "round"}
        assert (await invoke(boto, function))[2] == {"COLOUR": "red"}
    assert state(boto, function) == before


async def test_the_end_of_the_stack_puts_it_back(
    shared: LocalProcess, boto: Boto, credentials: pytest.MonkeyPatch, function: str
) -> None:
    before = state(boto, function)
    async with Stack.aws(shared.options.name, endpoint_url=shared.endpoint_url) as stack:
        await stack.message_processor(OWN, function=function, tables=["BillsTable"])
        assert f"message processor <source> in {function}" in stack._repr_html_().replace("&lt;", "<").replace(
            "&gt;", ">"
        )
        assert state(boto, function) != before
    assert state(boto, function) == before


async def test_removing_it_twice_is_harmless_and_it_can_be_deployed_again(
    stack: Stack, boto: Boto, function: str
) -> None:
    before = state(boto, function)
    processor = await stack.message_processor(OWN, function=function, tables=["BillsTable"])
    await processor.remove()
    await processor.remove()
    assert state(boto, function) == before
    async with processor:
        await processor.deploy()
        assert (await invoke(boto, function))[0] == "own"
    assert state(boto, function) == before


async def test_an_error_in_the_block_still_puts_it_back(stack: Stack, boto: Boto, function: str) -> None:
    before = state(boto, function)
    with pytest.raises(KeyError):
        async with stack.message_processor(OWN, function=function, tables=["BillsTable"]):
            raise KeyError
    assert state(boto, function) == before


async def test_two_nested_ones_are_put_back_one_after_the_other(stack: Stack, boto: Boto, function: str) -> None:
    before = state(boto, function)
    async with stack.message_processor(OWN, function=function, tables=["BillsTable"], environment={"COLOUR": "red"}):
        first = state(boto, function)
        inner = FORMER.replace("former", "inner")
        async with stack.message_processor(inner, function=function, tables=["DaysTable"]):
            assert await invoke(boto, function) == ["inner", 42]
            assert {"BILLS_TABLE", "DAYS_TABLE", "COLOUR"} == set(state(boto, function)["environment"])
            [statement] = state(boto, function)["policies"]["cpsim-message-processor"]["Statement"]
            assert [arn.rpartition("/")[2] for arn in statement["Resource"]] == [
                "Lambdas-BillsTable",
                "Lambdas-DaysTable",
            ]
        assert state(boto, function) == first
    assert state(boto, function) == before


async def test_one_that_another_replaced_may_be_removed_first(stack: Stack, boto: Boto, function: str) -> None:
    before = state(boto, function)
    first = await stack.message_processor(OWN, function=function, tables=["BillsTable"])
    second = await stack.message_processor(FORMER.replace("former", "second"), function=function, tables=["BillsTable"])
    await first.remove()
    assert await invoke(boto, function) == ["second", 42]
    assert "Lambdas-BillsTable" in state(boto, function)["tables"]
    await second.remove()
    assert state(boto, function) == before


async def test_two_that_are_deployed_at_once_are_deployed_in_turn(stack: Stack, boto: Boto, function: str) -> None:
    before = state(boto, function)
    ones = [stack.message_processor(FORMER.replace("former", name), function=function) for name in ("one", "two")]
    await asyncio.gather(*(one.deploy() for one in ones))
    assert (await invoke(boto, function))[0] in {"one", "two"}
    await asyncio.gather(*(one.remove() for one in ones))
    assert state(boto, function) == before


# -- Tables -----------------------------------------------------------------------------------------------------------


async def test_tables_are_made_allowed_and_named_and_removed(stack: Stack, boto: Boto, function: str) -> None:
    before = state(boto, function)
    tables = {"BillsTable": ["chargePointId", "sessionId"], "DaysTable": "day"}
    async with stack.message_processor(OWN, function=function, tables=tables) as processor:
        names = {"BILLS_TABLE": "Lambdas-BillsTable", "DAYS_TABLE": "Lambdas-DaysTable"}
        assert (await invoke(boto, function))[2] == {"COLOUR": "green", **names}
        found = {name: boto("dynamodb").describe_table(TableName=name)["Table"] for name in names.values()}
        keys = [[(each["AttributeName"], each["KeyType"]) for each in table["KeySchema"]] for table in found.values()]
        assert keys == [[("chargePointId", "HASH"), ("sessionId", "RANGE")], [("day", "HASH")]]
        assert {table["BillingModeSummary"]["BillingMode"] for table in found.values()} == {"PAY_PER_REQUEST"}
        [policy] = state(boto, function)["policies"].values()
        [statement] = policy["Statement"]
        assert statement["Effect"] == "Allow"
        assert statement["Resource"] == [table["TableArn"] for table in found.values()]
        assert all(
            action.startswith("dynamodb:") and action.endswith(("Item", "Query", "Scan"))
            for action in statement["Action"]
        )
        assert "Lambdas-BillsTable" in processor._repr_html_()
    assert state(boto, function) == before


async def test_a_table_of_the_cloudformation_stack_is_used_and_kept(stack: Stack, boto: Boto, function: str) -> None:
    before = state(boto, function)
    await stack.tokens.put("KEPT")
    async with stack.message_processor(OWN, function=function, tables=["TokensTable", "TransactionsTable"]):
        names = {"TOKENS_TABLE": boto.resource("TokensTable"), "TRANSACTIONS_TABLE": boto.resource("TransactionsTable")}
        assert (await invoke(boto, function))[2] == {"COLOUR": "green", **names}
        assert state(boto, function)["tables"] == before["tables"]
    assert state(boto, function) == before
    assert (await stack.tokens.get("KEPT")).status == "Accepted"
    await stack.tokens.delete("KEPT")


async def test_a_table_that_is_there_is_used_and_kept_unless_it_has_another_key(
    stack: Stack, boto: Boto, function: str
) -> None:
    boto("dynamodb").create_table(
        TableName="Lambdas-OldTable",
        KeySchema=[{"AttributeName": "day", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "day", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    before = state(boto, function)
    async with stack.message_processor(OWN, function=function, tables={"OldTable": ["day"]}):
        pass
    assert state(boto, function) == before
    with pytest.raises(errors.AwsError, match="Lambdas-OldTable is there, with the key day instead of chargePointId"):
        await stack.message_processor(OWN, function=function, tables=["NewTable", "OldTable"])
    assert state(boto, function) == before
    boto("dynamodb").delete_table(TableName="Lambdas-OldTable")


async def test_a_table_is_waited_for(proxied: Stack, proxy: AwsProxy, boto: Boto, function: str) -> None:
    """On AWS a deletion takes seconds, a creation too, and a table that was just made is not seen at once."""
    before = state(boto, function)
    proxy.fail("DescribeTable", "ResourceNotFoundException", times=2)
    proxy.edit("DescribeTable", b'"ACTIVE"', b'"CREATING"', times=2)
    async with proxied.message_processor(OWN, function=function, tables=["BillsTable"]):
        assert proxy.seen["CreateTable"] == 2  # the second is refused: it is there
        assert proxy.seen["DescribeTable"] == 5
    assert state(boto, function) == before


# -- What is refused --------------------------------------------------------------------------------------------------


async def test_a_source_that_does_not_compile_is_refused_before_anything_is_sent(
    proxied: Stack, proxy: AwsProxy, tmp_path: Path
) -> None:
    path = tmp_path / "processor.py"
    path.write_text("import json\n\ndef lambda_handler(event, context)\n    pass\n")
    proxy.seen.clear()
    with pytest.raises(ValueError, match=r"processor\.py, line 3: expected ':'"):
        proxied.message_processor(path)
    assert not proxy.seen


async def test_a_source_without_the_handler_changes_nothing(proxied: Stack, proxy: AwsProxy) -> None:
    with pytest.raises(ValueError, match="no function lambda_handler"):
        await proxied.message_processor("def handle(event, context):\n    pass\n", tables=["BillsTable"])
    assert not {"CreateTable", "PutRolePolicy", "UpdateFunctionCode", "UpdateFunctionConfiguration"} & set(proxy.seen)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"tables": "BillsTable"}, TypeError, r"\['BillsTable'\]"),
        ({"tables": ["bills"]}, ValueError, "'bills' cannot be the name of a table"),
        ({"tables": ["Bills-Table"]}, ValueError, "name of a table"),
        ({"tables": [1]}, ValueError, "name of a table"),
        ({"tables": {"BillsTable": []}}, ValueError, "the key of BillsTable"),
        ({"tables": {"BillsTable": ["a", "b", "c"]}}, ValueError, "partition key and sort key"),
        ({"tables": {"BillsTable": [""]}}, ValueError, "the key of BillsTable"),
        ({"environment": {"a-b": "c"}}, ValueError, "'a-b' cannot be a variable"),
        ({"environment": {"COUNT": 3}}, TypeError, "the value of COUNT is 3"),
        ({"environment": {"BILLS_TABLE": "x"}, "tables": ["BillsTable"]}, ValueError, "BILLS_TABLE is the variable"),
    ],
)
async def test_what_aws_would_refuse_is_refused_at_once(
    stack: Stack, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        stack.message_processor(OWN, **options)


async def test_a_function_that_is_not_there_is_named(stack: Stack) -> None:
    with pytest.raises(errors.NotFound, match="no function nowhere") as caught:
        await stack.message_processor(OWN, function="nowhere")
    assert (caught.value.kind, caught.value.name) == ("function", "nowhere")


async def test_a_package_that_is_too_large_says_so(proxied: Stack, proxy: AwsProxy, function: str) -> None:
    proxy.edit("GetFunction", b'"CodeSize": ', b'"CodeSize": 99999')
    with pytest.raises(errors.AwsError, match=r"has \d+ MB; AWS Lambda takes no more than 50 MB"):
        await proxied.message_processor(OWN, function=function)
    assert not proxy.seen["UpdateFunctionCode"]


async def test_a_container_image_says_so(proxied: Stack, proxy: AwsProxy, function: str) -> None:
    proxy.edit("GetFunction", b'"PackageType": "Zip"', b'"PackageType": "Image"')
    with pytest.raises(errors.AwsError, match="is a container image"):
        await proxied.message_processor(OWN, function=function)


IN_PROGRESS = "GetFunctionConfiguration", b'"Successful"', b'"InProgress"'


async def test_an_update_of_somebody_else_is_waited_for(proxied: Stack, proxy: AwsProxy, function: str) -> None:
    proxy.edit(*IN_PROGRESS, times=None)
    making = asyncio.create_task(proxied.message_processor(OWN, function=function).deploy())
    await eventually(lambda: proxy.seen["GetFunctionConfiguration"] >= 4)
    assert not proxy.seen["GetFunction"]
    proxy.heal()
    proxy.fail("UpdateFunctionCode", "ResourceConflictException", status=409, times=2)
    await (await making).remove()
    assert proxy.seen["UpdateFunctionCode"] == 4


async def test_it_is_not_in_use_before_aws_says_so(proxied: Stack, proxy: AwsProxy, function: str) -> None:
    making = asyncio.create_task(proxied.message_processor(OWN, function=function).deploy())
    await eventually(lambda: proxy.seen["GetFunctionConfiguration"])
    proxy.edit(*IN_PROGRESS, times=None)
    await eventually(lambda: proxy.seen["GetFunctionConfiguration"] >= 5)
    assert not making.done()
    proxy.heal()
    await (await making).remove()


async def test_an_update_that_fails_says_so_and_is_undone(
    proxied: Stack, proxy: AwsProxy, boto: Boto, function: str
) -> None:
    before = state(boto, function)
    proxy.edit(
        "GetFunctionConfiguration", b'"LastUpdateStatus": "Successful"', b'"LastUpdateStatus": "Failed"', times=None
    )
    making = asyncio.create_task(proxied.message_processor(OWN, function=function).deploy())
    await eventually(lambda: proxy.seen["UpdateFunctionCode"] == 2)  # the second puts back what was there
    proxy.heal()
    with pytest.raises(errors.AwsError, match="LastUpdateStatus is Failed"):
        await making
    assert state(boto, function) == before


async def test_a_permission_that_is_missing_is_named_and_everything_undone(
    proxied: Stack, proxy: AwsProxy, boto: Boto, function: str
) -> None:
    before = state(boto, function)
    for operation in ("PutRolePolicy", "UpdateFunctionConfiguration", "UpdateFunctionCode"):
        proxy.fail(operation, "AccessDeniedException", status=403, text="not authorized")
        with pytest.raises(errors.AwsError, match="lack this permission"):
            await proxied.message_processor(OWN, function=function, tables=["BillsTable"])
        assert state(boto, function) == before


# -- Interrupted ------------------------------------------------------------------------------------------------------

STEPS = ["CreateTable", "PutRolePolicy", "UpdateFunctionConfiguration", "UpdateFunctionCode"]


@pytest.mark.parametrize("operation", ["GetFunctionConfiguration", "GetFunction", "DescribeTable", *STEPS])
async def test_cancelled_in_any_step_it_leaves_nothing(
    proxied: Stack, proxy: AwsProxy, boto: Boto, function: str, operation: str
) -> None:
    """Also where AWS does it although the cell was interrupted."""
    before = state(boto, function)
    released = proxy.hold(operation)
    making = asyncio.create_task(proxied.message_processor(OWN, function=function, tables=["BillsTable"]).deploy())
    await eventually(lambda: proxy.seen[operation])
    making.cancel()
    await asyncio.sleep(GLANCE)
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await making
    await eventually(lambda: not proxy._now[operation])
    assert state(boto, function) == before


@pytest.mark.parametrize("operation", STEPS)
async def test_cancelled_twice_in_any_step_it_leaves_nothing(
    proxied: Stack, proxy: AwsProxy, boto: Boto, function: str, operation: str
) -> None:
    before = state(boto, function)
    released = proxy.hold(operation)
    making = asyncio.create_task(proxied.message_processor(OWN, function=function, tables=["BillsTable"]).deploy())
    await eventually(lambda: proxy.seen[operation])
    for _ in range(2):
        making.cancel()
        await asyncio.sleep(GLANCE)
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await making
    await eventually(lambda: not proxy._now[operation])
    assert state(boto, function) == before


async def test_cancelled_again_and_again_it_leaves_nothing_at_the_end_of_the_stack(
    proxied: Stack, proxy: AwsProxy, boto: Boto, function: str
) -> None:
    before = state(boto, function)
    released = proxy.hold("UpdateFunctionCode")
    making = asyncio.create_task(proxied.message_processor(OWN, function=function, tables=["BillsTable"]).deploy())
    await eventually(lambda: proxy.seen["UpdateFunctionCode"])
    while not making.done():
        making.cancel()
        await asyncio.sleep(GLANCE)
    closing = asyncio.create_task(proxied.close())
    await asyncio.sleep(GLANCE)
    released.set()
    await closing
    assert state(boto, function) == before


async def test_cancelled_when_everything_is_replaced_it_leaves_nothing(
    stack: Stack, boto: Boto, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(boto, function)
    processor = stack.message_processor(OWN, function=function, tables=["BillsTable"])
    replace = processor._replace

    async def replace_and_be_cancelled() -> None:
        await replace()
        making.cancel()  # this task: what it awaits next is cancelled

    monkeypatch.setattr(processor, "_replace", replace_and_be_cancelled)
    making = asyncio.create_task(processor.deploy())
    await asyncio.wait([making])
    assert making.cancelled()
    assert state(boto, function) == before


@pytest.mark.parametrize("steps", range(1, 6))
async def test_cancelled_at_any_time_it_leaves_nothing(stack: Stack, boto: Boto, function: str, steps: int) -> None:
    before = state(boto, function)
    making = asyncio.create_task(stack.message_processor(OWN, function=function, tables=["BillsTable"]).deploy())
    await asyncio.wait([making], timeout=400 * MS * steps)
    making.cancel()
    await asyncio.wait([making])
    if not making.cancelled():
        await making.result().remove()
    assert state(boto, function) == before


@pytest.mark.parametrize("operation", ["UpdateFunctionCode", "UpdateFunctionConfiguration", "DeleteRolePolicy"])
async def test_cancelled_while_it_is_put_back_it_is_put_back(
    proxied: Stack, proxy: AwsProxy, boto: Boto, function: str, operation: str
) -> None:
    before = state(boto, function)
    processor = await proxied.message_processor(OWN, function=function, tables=["BillsTable"])
    so_far = proxy.seen[operation]
    released = proxy.hold(operation)
    removing = asyncio.create_task(processor.remove())
    await eventually(lambda: proxy.seen[operation] > so_far)
    removing.cancel()
    await asyncio.sleep(GLANCE)
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await removing
    assert state(boto, function) == before


async def test_what_could_not_be_put_back_is_said_and_the_rest_is(
    proxied: Stack, proxy: AwsProxy, boto: Boto, function: str
) -> None:
    before = state(boto, function)
    processor = await proxied.message_processor(OWN, function=function, tables=["BillsTable"])
    proxy.fail("UpdateFunctionCode", "AccessDeniedException", status=403, times=1)
    with pytest.raises(errors.AwsError, match="lack this permission"):
        await processor.remove()
    after = state(boto, function)
    assert after.pop("package") != before.pop("package")
    assert after == before


@pytest.mark.parametrize("by", ["remove", "close"])
async def test_what_could_not_be_put_back_is_put_back_later(
    proxied: Stack, proxy: AwsProxy, boto: Boto, function: str, by: str
) -> None:
    before = state(boto, function)
    processor = proxied.message_processor(OWN, function=function, tables=["BillsTable"])
    with pytest.raises(errors.AwsError, match="lack this permission"):
        async with processor:
            proxy.fail("UpdateFunctionCode", "AccessDeniedException", status=403, times=1)
    assert repr(processor).endswith("in use>")
    await (processor.remove() if by == "remove" else proxied.close())
    assert state(boto, function) == before
    assert repr(processor).endswith("not in use>")


async def test_what_a_failed_deployment_could_not_undo_is_undone_at_the_end_of_the_stack(
    proxied: Stack, proxy: AwsProxy, boto: Boto, function: str
) -> None:
    before = state(boto, function)
    for operation in ("UpdateFunctionCode", "DeleteRolePolicy"):
        proxy.fail(operation, "AccessDeniedException", status=403, times=1)
    with pytest.raises(errors.AwsError, match="lack this permission"):
        await proxied.message_processor(OWN, function=function, tables=["BillsTable"])
    assert state(boto, function) != before
    await proxied.close()
    assert state(boto, function) == before


async def test_one_that_could_not_be_put_back_keeps_its_place_among_the_others(
    proxied: Stack, proxy: AwsProxy, boto: Boto, function: str
) -> None:
    before = state(boto, function)
    first = await proxied.message_processor(OWN, function=function)
    second = await proxied.message_processor(FORMER.replace("former", "second"), function=function)
    proxy.fail("UpdateFunctionCode", "AccessDeniedException", status=403, times=1)
    with pytest.raises(errors.AwsError, match="lack this permission"):
        await second.remove()
    await first.remove()
    assert await invoke(boto, function) == ["second", 42]
    await proxied.close()
    assert state(boto, function) == before


async def test_a_stack_that_died_has_nothing_to_put_back(environment: pytest.MonkeyPatch) -> None:
    async with Stack.local(csms="lambda", name="Dies") as stack, stack.message_processor(OWN):
        assert stack._process is not None
        os.kill(stack._process.pid, signal.SIGKILL)
        await eventually(lambda: "died" in repr(stack))


# -- What came of it --------------------------------------------------------------------------------------------------


async def test_a_source_that_fails_is_shown_with_its_traceback_and_its_messages_end_in_dead_letters(
    stack: Stack, boto: Boto, register: Register
) -> None:
    charge_point_id = await register()
    async with (
        stack.message_processor(PROCESSOR) as processor,
        stack.charge_point(charge_point_id) as cp,
        stack.monitor(f"{charge_point_id}/in") as monitor,
    ):
        assert len(await processor.invocations()) == 0
        assert await processor.log() == ""
        await cp.boot()
        beating = asyncio.create_task(cp.heartbeat())
        [sent] = [message for message in await monitor.take(2, timeout=SOON) if message.action == "Heartbeat"]
        assert await processor.wait_for_error(timeout=SOON) == "KeyError: 'no such key'"

        log = await processor.log()
        assert log.splitlines()[:3] == [
            "handles BootNotification",
            "handles Heartbeat",
            "[ERROR] KeyError: 'no such key'",
        ]
        assert 'File "/var/task/message_processor.py", line 14, in lambda_handler' in log
        assert "RequestId" not in log
        assert (await processor.log(lines=2)).splitlines() == log.splitlines()[-2:]
        assert await processor.log(since=datetime.now(UTC) + timedelta(hours=1)) == ""

        letters = await processor.dead_letters(1, timeout=DEAD)
        beating.cancel()
        [letter] = letters.to_dict("records")
        assert (letter["charge_point_id"], letter["kind"], letter["action"]) == (charge_point_id, "CALL", "Heartbeat")
        assert (letter["message_id"], letter["payload"]) == (sent.message_id, {})
        assert abs(letter["sent_at"] - sent.received_at) < timedelta(seconds=SOON)

        table = await processor.invocations()
        assert list(table.error) == ["", *["KeyError: 'no such key'"] * 3]
        assert table.started_at.is_monotonic_increasing
        assert (table.duration_ms > 0).all()
        assert (table.memory_mb == 0).all()  # the local stack does not measure it
        assert repr(processor).endswith("in use, 4 invocations, 3 failed>")

    # What was there before answers what the other one failed on.
    assert len(await processor.dead_letters()) == 1
    async with stack.charge_point(charge_point_id), stack.monitor(f"{charge_point_id}/out") as monitor:
        assert await processor.redrive() == 1
        [answer] = await monitor.take(1, timeout=SOON)
        assert (answer.kind, answer.message_id) == ("CALLRESULT", sent.message_id)
    assert len(await processor.dead_letters()) == 0
    assert await processor.redrive() == 0


async def test_a_module_that_cannot_be_imported_is_shown(stack: Stack, boto: Boto, function: str) -> None:
    source = "import no_such_library\n\ndef lambda_handler(event, context):\n    pass\n"
    async with stack.message_processor(source, function=function) as processor:
        assert "no_such_library" in (await invoke(boto, function))["errorMessage"]
        assert "no_such_library" in await processor.wait_for_error(timeout=SOON)
        assert "no_such_library" in await processor.log()


async def test_one_that_is_too_slow_is_shown(stack: Stack, boto: Boto, function: str) -> None:
    boto("lambda").update_function_configuration(FunctionName=function, Timeout=1)
    source = "import time\n\ndef lambda_handler(event, context):\n    print('begins')\n    time.sleep(60)\n"
    async with stack.message_processor(source, function=function) as processor:
        await invoke(boto, function)
        assert "timed out after 1.00 seconds" in await processor.wait_for_error(timeout=SOON)
        assert "begins" in await processor.log()


async def test_one_that_ends_its_process_is_shown(stack: Stack, boto: Boto, function: str) -> None:
    source = "import sys\n\ndef lambda_handler(event, context):\n    print('begins')\n    sys.exit(3)\n"
    async with stack.message_processor(source, function=function) as processor:
        await invoke(boto, function)
        assert await processor.wait_for_error(timeout=SOON) == "Runtime.ExitError: Runtime exited"
        assert "begins" in await processor.log()


async def test_a_log_of_many_lines_is_read_to_its_end(stack: Stack, boto: Boto, function: str) -> None:
    source = "def lambda_handler(event, context):\n    print(*range(12_000), sep='\\n')\n"
    async with stack.message_processor(source, function=function) as processor:
        await invoke(boto, function)
        await invoke(boto, function)
        [first, second] = (await processor.invocations()).duration_ms
        assert first > 0
        assert second > 0
        assert (await processor.log(lines=1)) == "11999"
        assert len((await processor.log(lines=None)).splitlines()) == 24_000


async def test_what_ran_before_it_is_not_in_its_log(stack: Stack, boto: Boto, function: str) -> None:
    async with stack.message_processor(OWN, function=function) as processor:
        await invoke(boto, function, {"Records": ["first"]})
        await eventually(processor.log)
    async with stack.message_processor(OWN, function=function) as processor:
        await invoke(boto, function, {"Records": ["second"]})
        log = await eventually(processor.log)
        assert "second" in log
        assert "first" not in log
        assert len(await processor.invocations()) == 1
        with pytest.raises(errors.WaitTimeout) as caught:
            await processor.wait_for_error(timeout=GLANCE)
        assert caught.value.last_seen == 1


async def test_one_that_was_never_in_use_has_no_log(stack: Stack, function: str) -> None:
    processor = stack.message_processor(OWN, function=function)
    assert repr(processor) == f"<MessageProcessor <source> in {function} not in use>"
    for use in (processor.log(), processor.invocations(), processor.wait_for_error()):
        with pytest.raises(RuntimeError, match="never been in use"):
            await use


async def test_a_closed_stack_makes_none(shared: LocalProcess, credentials: pytest.MonkeyPatch) -> None:
    async with Stack.aws(shared.options.name, endpoint_url=shared.endpoint_url) as stack:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        stack.message_processor(OWN)
