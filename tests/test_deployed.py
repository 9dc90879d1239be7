"""A deployed gateway: a second, separate stack, reached as AWS is, by endpoint and credential chain alone.

No launcher and no `Stack.local`. Rate limits, expired tokens, denials and broken connections come from a proxy in
front of it.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aws_proxy import UPGRADE, AwsProxy
from conftest import MS, SOON
from deployed_stack import KEY_ID, OTHER_STACK, PACKAGE, REGION, SECRET, STACK, DeployedStack
from kernel import NOTEBOOKS, Kernel, read, run_all
from ocpp.v201 import call, call_result
from stack_fixtures import eventually, new_id

from cpsim_kit import Stack, errors
from cpsim_kit.local import message_processor

RULE = "SELECT topic(1) AS chargePointId, timestamp() AS lastTimestamp FROM '+/in' WHERE get(*, 2) = 'Heartbeat'"

AT_ONCE = 50 * MS, 100 * MS  # before a lost MQTT connection is opened again


@pytest.fixture(scope="module")
def deployed() -> Iterator[DeployedStack]:
    with DeployedStack() as deployed:
        yield deployed


@pytest.fixture
async def proxy(deployed: DeployedStack) -> AsyncIterator[AwsProxy]:
    async with AwsProxy(deployed.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def reader(deployed: DeployedStack, proxy: AwsProxy, environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a reader who exported what the README says."""
    for name, value in deployed.environment(proxy.url).items():
        environment.setenv(name, value)
    return environment


@pytest.fixture
async def stack(reader: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    async with Stack.open() as stack:
        yield stack


# -- The walkthrough --------------------------------------------------------------------------------------------------


async def test_the_stack_is_found_by_its_name(stack: Stack, deployed: DeployedStack, proxy: AwsProxy) -> None:
    assert (stack.name, stack.region) == (STACK, REGION)
    assert stack.websocket_url == deployed.websocket_url
    assert stack.endpoint_url == proxy.url
    assert repr(stack) == f"<Stack {STACK} AWS {REGION} {deployed.websocket_url}>"
    assert "CloudWatch" in stack.log()
    assert proxy.seen.keys() == {"DescribeStacks", "ListStackResources"}


async def test_the_registry_table_is_found_among_the_resources(stack: Stack, proxy: AwsProxy) -> None:
    """Under the logical id that CDK gives it, and beside another table."""
    charge_point_id = new_id()
    await stack.things.create(charge_point_id)
    assert proxy.seen["GetItem"] >= 1

    def look() -> dict[str, Any]:
        resources = stack.client("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
        [table] = [r["PhysicalResourceId"] for r in resources if r["LogicalResourceId"] == "ChargePointTable4E4A0B5F"]
        item: dict[str, Any] = stack.client("dynamodb").get_item(
            TableName=table, Key={"chargePointId": {"S": charge_point_id}}
        )
        return item

    assert "Item" in await asyncio.to_thread(look)


async def test_the_walkthrough(stack: Stack) -> None:
    name, stranger, rule_name = new_id(), new_id(), new_id("rule").replace("-", "_")
    with pytest.raises(errors.NotRegistered):
        async with stack.charge_point(stranger) as cp:
            await cp.boot()
    await stack.things.create(name)
    async with (
        stack.rule(rule_name, sql=RULE, table=rule_name) as rule,
        stack.monitor(f"{name}/in", f"{name}/out") as monitor,
        stack.charge_point(name, model="First") as cp,
    ):
        boot = await cp.boot()
        assert (boot.status, boot.interval, cp.heartbeat_interval) == ("Accepted", 10, 10)
        beats = [beat async for beat in cp.heartbeats(count=3, interval=0.01)]
        assert len(beats) == 3
        shadow = await stack.shadow(name).wait_for(lambda s: s.reported, timeout=SOON)
        assert shadow.reported["chargingStation"]["model"] == "First"
        cp.model = "Second"
        await cp.boot()
        changed = await stack.shadow(name).wait_for(lambda s: s.version > shadow.version, timeout=SOON)
        assert changed.reported["chargingStation"]["model"] == "Second"

        seen = await monitor.take(10, timeout=SOON)
        assert [message.kind for message in seen].count("CALLRESULT") == 5
        assert {message.action for message in seen} == {"BootNotification", "Heartbeat"}
        [row] = await rule.wait_for_items(timeout=SOON)
        assert row["chargePointId"] == name

        with pytest.raises(errors.UnsupportedByCsms, match="Authorize"):  # it is the sample's message processor
            await cp.call(call.Authorize(id_token={"idToken": "A", "type": "Central"}))

        async with stack.charge_point(name) as newer:
            closed = await cp.wait_closed(timeout=SOON)
            assert (closed.code, closed.reason) == (1000, "")
            await newer.heartbeat()

            # Last: the sample's message processor fails on the answer, and on what comes with it in one batch.
            newer.on("Reset", lambda **_: call_result.Reset(status="Accepted"))
            answer = await stack.send(name, call.Reset(type="Immediate"), timeout=SOON)
            assert answer.status == "Accepted"


async def test_what_it_created_is_gone_after_close(reader: pytest.MonkeyPatch, proxy: AwsProxy) -> None:
    name, rule_name = new_id(), new_id("rule").replace("-", "_")
    async with Stack.open() as stack:
        await stack.things.create(name)
        await stack.things.create_many([new_id() for _ in range(3)], progress=False)
        await stack.rule(rule_name, sql=RULE, table=rule_name)
    async with Stack.open() as stack:
        assert name not in set((await stack.things.list()).charge_point_id)
        for service, operation, parameters in [
            ("iot", "get_topic_rule", {"ruleName": rule_name}),
            ("dynamodb", "describe_table", {"TableName": rule_name}),
            ("iam", "get_role", {"RoleName": f"cpsim-rule-{rule_name}"}),
        ]:
            with pytest.raises(errors.AwsError):
                await stack._aws.call(f"{service}.{operation}", **parameters)


# -- The credential chain ---------------------------------------------------------------------------------------------


@pytest.fixture
def files(reader: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], None]:
    """Writes the AWS configuration files, and takes the keys and the region out of the environment."""

    def write(config: str, keys: str) -> None:
        (tmp_path / "config").write_text(config)
        (tmp_path / "credentials").write_text(keys)
        reader.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        reader.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
            reader.delenv(name)

    return write


CONFIG = f"[profile engineer]\nregion = {REGION}\n"
KEYS = f"[engineer]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n"


async def test_a_profile_gives_region_and_keys(
    files: Callable[[str, str], None], reader: pytest.MonkeyPatch, proxy: AwsProxy
) -> None:
    files(CONFIG, KEYS)
    async with Stack.aws(STACK, profile="engineer") as stack:
        assert stack.region == REGION
        async with stack.monitor("a") as monitor:
            await stack.publish("a", "b")
            await monitor.take(1, timeout=SOON)
    assert KEY_ID in proxy.upgrade_paths[0]
    assert "Security-Token" not in proxy.upgrade_paths[0]
    reader.setenv("AWS_PROFILE", "engineer")
    async with Stack.open() as stack:
        assert stack.region == REGION


async def test_the_session_token_of_the_environment_is_in_the_signature(stack: Stack, proxy: AwsProxy) -> None:
    async with stack.monitor("a"):
        pass
    assert proxy.upgrade_paths[0].endswith("&X-Amz-Security-Token=a%2Fsession%2Btoken%3D%3D")


async def test_credentials_that_expire_are_fetched_again_for_each_connection(
    files: Callable[[str, str], None], tmp_path: Path, proxy: AwsProxy
) -> None:
    """As of an SSO or role session: a reconnection hours later is signed with what is valid then."""
    source = tmp_path / "keys.json"

    def issue(token: str, expires: datetime) -> None:
        keys = {"AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "SessionToken": token}
        source.write_text(json.dumps({"Version": 1, **keys, "Expiration": expires.isoformat()}))

    issue("FIRST", datetime.now(UTC) + timedelta(seconds=700))  # soon: botocore asks again from 15 minutes before
    files(f"{CONFIG}credential_process = cat {source}\n", "")
    async with Stack.aws(STACK, profile="engineer") as stack, stack.monitor("a", reconnect=AT_ONCE) as monitor:
        issue("SECOND", datetime.now(UTC) + timedelta(hours=1))
        proxy.cut_websockets()
        await eventually(lambda: monitor.gaps)
    first, second = proxy.upgrade_paths
    assert first.endswith("&X-Amz-Security-Token=FIRST")
    assert second.endswith("&X-Amz-Security-Token=SECOND")


# -- What a reader can get wrong --------------------------------------------------------------------------------------


async def test_a_wrong_name_says_what_to_look_at(reader: pytest.MonkeyPatch) -> None:
    reader.setenv("CPSIM_STACK", "NoSuchStack")
    with pytest.raises(errors.NotFound) as caught:
        await Stack.open()
    assert str(caught.value) == (
        f"there is no CloudFormation stack NoSuchStack in {REGION}. "
        "Is the region right (AWS_DEFAULT_REGION, or region=), and the gateway deployed?"
    )
    assert (caught.value.kind, caught.value.name) == ("stack", "NoSuchStack")


async def test_a_wrong_region_says_so(reader: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.NotFound, match=f"no CloudFormation stack {STACK} in ap-south-1. Is the region right"):
        await Stack.aws(STACK, region="ap-south-1")


async def test_no_region_says_which_variable(reader: pytest.MonkeyPatch) -> None:
    reader.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(errors.AwsError, match="set AWS_DEFAULT_REGION"):
        await Stack.open()


async def test_a_stack_without_the_output_is_named_with_what_it_has(reader: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.AwsError) as caught:
        await Stack.aws(OTHER_STACK)
    assert str(caught.value) == (
        f"the CloudFormation stack {OTHER_STACK} has no output websocketURL (outputs: queueUrl); is it the gateway's?"
    )


async def test_no_credentials_says_which_variables(reader: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        reader.delenv(name)
    with pytest.raises(errors.NoCredentials) as caught:
        await Stack.open()
    for hint in ("AWS_PROFILE", "aws sso login", "AWS_ACCESS_KEY_ID", "unset CPSIM_STACK"):
        assert hint in str(caught.value)


async def test_half_of_the_credentials_says_so(reader: pytest.MonkeyPatch) -> None:
    reader.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(errors.NoCredentials, match=r"(?i)partial credentials.*AWS_SECRET_ACCESS_KEY"):
        await Stack.open()


async def test_a_profile_that_is_not_there_says_so(reader: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.NoCredentials, match="nobody"):
        await Stack.aws(STACK, profile="nobody")


async def test_an_endpoint_where_nobody_is_says_so(reader: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.AwsError, match="region and endpoint right") as caught:
        await Stack.aws(STACK, endpoint_url="http://127.0.0.1:9")
    assert caught.value.code == ""


# -- What AWS does to a reader ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", ["ExpiredTokenException", "ExpiredToken", "RequestExpired", "UnrecognizedClientException"]
)
async def test_an_expired_token_says_how_to_get_another(stack: Stack, proxy: AwsProxy, code: str) -> None:
    proxy.fail("ListThings", code, status=403, text="The security token included in the request is expired")
    with pytest.raises(errors.NoCredentials, match="aws sso login") as caught:
        await stack.things.list()
    assert (caught.value.verb, caught.value.code) == ("iot.list_things", code)
    assert caught.value.__cause__ is not None


async def test_an_expired_token_says_so_when_attaching_too(reader: pytest.MonkeyPatch, proxy: AwsProxy) -> None:
    proxy.fail("DescribeStacks", "ExpiredToken", status=403, text="is expired")
    with pytest.raises(errors.NoCredentials, match=r"is expired.*AWS_PROFILE"):
        await Stack.open()


async def test_a_denial_says_that_a_permission_is_missing(stack: Stack, proxy: AwsProxy) -> None:
    text = "User: arn:aws:iam::123456789012:user/x is not authorized to perform: iot:CreateThing"
    proxy.fail("CreateThing", "AccessDeniedException", status=403, text=text)
    with pytest.raises(errors.AwsError, match=r"iot:CreateThing.*lack this permission") as caught:
        await stack.things.create(new_id())
    assert caught.value.code == "AccessDeniedException"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "code", "status", "times"),
    [
        ("CreateThing", "ThrottlingException", 429, 2),
        ("GetItem", "ProvisionedThroughputExceededException", 400, 1),  # once: botocore waits longer each time
        ("GetItem", "ThrottlingException", 400, 1),
    ],
)
async def test_throttling_is_survived(
    stack: Stack, proxy: AwsProxy, operation: str, code: str, status: int, times: int
) -> None:
    proxy.fail(operation, code, status=status, times=times, text="Rate exceeded")
    charge_point_id = new_id()
    thing = await stack.things.create(charge_point_id)
    assert thing.created
    assert proxy.seen[operation] > times


@pytest.mark.slow
async def test_throttling_without_an_end_is_an_error(stack: Stack, proxy: AwsProxy) -> None:
    proxy.fail("ListThings", "ThrottlingException", status=429, times=None, text="Rate exceeded")
    with pytest.raises(errors.AwsError, match="Rate exceeded") as caught:
        await stack.things.list()
    assert caught.value.code == "ThrottlingException"
    proxy.heal()


@pytest.mark.slow
async def test_a_cut_connection_is_survived(stack: Stack, proxy: AwsProxy) -> None:
    for operation in ("ListThings", "DescribeThing", "GetItem"):
        proxy.cut(operation)
    await stack.things.list()
    await stack.things.create(new_id())


async def test_a_cut_mqtt_connection_comes_back(
    stack: Stack, proxy: AwsProxy, caplog: pytest.LogCaptureFixture
) -> None:
    topic = new_id("topic")
    async with stack.monitor(topic, reconnect=AT_ONCE) as monitor:
        proxy.fail(UPGRADE, "Forbidden", status=403)  # the first try, as with an expired signature
        proxy.cut_websockets()
        await eventually(lambda: monitor.gaps)
        await stack.publish(topic, "again")
        assert [message.payload for message in await monitor.take(1, timeout=SOON)] == ["again"]
    assert any(record.levelno == logging.WARNING for record in caplog.records)


# -- The notebooks ----------------------------------------------------------------------------------------------------


# The deployed message processor knows neither Authorize nor TransactionEvent: the notebooks that charge say so.
CHARGING = [path for path in NOTEBOOKS if "the message processor of notebook" in read(path).cells[0].source]
ON_THE_SAMPLE = [path for path in NOTEBOOKS if path not in CHARGING]
KITS_PROCESSOR = Path(message_processor.__file__)
LEDGER = ["TokensTable", "TransactionsTable"]


def test_most_notebooks_need_no_other_message_processor() -> None:
    assert sorted(path.stem for path in CHARGING) == [
        "10_charging_session",
        "11_offline_and_back",
        "14_the_csms_commands",
        "15_smart_charging",
    ]


async def _rows(reading: Awaitable[Any]) -> list[dict[str, Any]]:
    """The rows of a DataFrame; a function's log comes after its answer, so there may be none yet."""
    rows: list[dict[str, Any]] = (await reading).to_dict("records")
    return rows


@pytest.mark.slow
async def test_the_kits_message_processor_is_deployed_and_what_was_there_is_put_back(
    stack: Stack, deployed: DeployedStack
) -> None:
    """With its tables: the sample's stack has neither."""
    name = new_id()
    await stack.things.create(name)
    with pytest.raises(errors.NotFound, match=r"message_processor\(\.\.\., tables="):
        await stack.tokens.list()
    async with stack.charge_point(name) as cp:
        async with stack.message_processor(KITS_PROCESSOR, tables=LEDGER) as processor:
            await stack.tokens.put("TAG-2", status="Blocked")
            answer = await cp.call(call.Authorize(id_token={"idToken": "TAG-2", "type": "Central"}))
            assert answer.id_token_info["status"] == "Blocked"
            assert len(await stack.transactions.to_frame()) == 0
            [row] = await eventually(lambda: _rows(processor.invocations()))
            assert (row["error"], await processor.log()) == ("", "")
        with pytest.raises(errors.UnsupportedByCsms):
            await cp.call(call.Authorize(id_token={"idToken": "TAG-2", "type": "Central"}))
        assert (await cp.boot()).status == "Accepted"
    await stack.things.delete(name)
    _nothing_stays(deployed)


@pytest.mark.slow
async def test_an_answer_makes_the_samples_message_processor_fail_and_goes_to_the_dead_letters(
    stack: Stack, deployed: DeployedStack
) -> None:
    """It knows CALLs only, so what a charge point answers to its CSMS comes back again and again."""
    name = new_id()
    await stack.things.create(name)
    source = PACKAGE / "message_processor.py"
    async with stack.message_processor(source) as processor, stack.charge_point(name) as cp:
        cp.on("Reset", lambda **_: call_result.Reset(status="Accepted"))
        await stack.send(name, call.Reset(type="Immediate"), timeout=SOON)
        assert await processor.wait_for_error(timeout=SOON) == "AttributeError: the message has no action"
        assert 'File "/var/task/bundled.py"' in await processor.log()
        assert list((await processor.dead_letters(1, timeout=6 * SOON)).kind) == ["CALLRESULT"]
        await processor.purge()


@pytest.mark.slow
@pytest.mark.parametrize("path", CHARGING, ids=lambda path: path.stem)
async def test_a_notebook_that_charges_runs_with_the_kits_message_processor(
    path: Path, copies: Path, deployed: DeployedStack, stack: Stack
) -> None:
    async with (
        stack.message_processor(KITS_PROCESSOR, tables=LEDGER),
        Kernel.started(copies, **deployed.environment()) as kernel,
    ):
        await run_all(kernel, path)
        assert f"<Stack {STACK} AWS {REGION}" in (await kernel.must("stack")).value
    _nothing_stays(deployed)


@pytest.mark.slow
@pytest.mark.parametrize("path", ON_THE_SAMPLE, ids=lambda path: path.stem)
async def test_a_notebook_runs_unchanged_and_leaves_nothing(path: Path, copies: Path, deployed: DeployedStack) -> None:
    """In a real kernel, with nothing but variables of the environment saying where it is."""
    async with Kernel.started(copies, **deployed.environment()) as kernel:
        await run_all(kernel, path)
        assert f"<Stack {STACK} AWS {REGION}" in (await kernel.must("stack")).value
        assert not kernel.local_stacks(), "nothing was started here"
    _nothing_stays(deployed)


def _nothing_stays(deployed: DeployedStack) -> None:
    """A notebook's last cell has deleted what the notebook made."""
    import boto3

    options = {"endpoint_url": deployed.endpoint_url, "region_name": REGION}
    keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}
    names = ("iot", "dynamodb", "iam", "lambda", "cloudformation")
    clients = {name: boto3.client(name, **options, **keys) for name in names}
    with contextlib.ExitStack() as everything:
        for client in clients.values():
            everything.callback(client.close)
        things = {thing["thingName"] for thing in clients["iot"].list_things()["things"]}
        assert not {name for name in things if not name.startswith("CP-")}  # CP-1 and so on are of the tests above
        rules = {rule["ruleName"] for rule in clients["iot"].list_topic_rules()["rules"]}
        assert not {name for name in rules if not name.startswith(STACK)}
        tables = set(clients["dynamodb"].list_tables()["TableNames"])
        deployed_ones = clients["cloudformation"].list_stack_resources(StackName=STACK)["StackResourceSummaries"]
        assert tables <= {each["PhysicalResourceId"] for each in deployed_ones}
        roles = {role["RoleName"] for role in clients["iam"].list_roles()["Roles"]}
        assert not {name for name in roles if name.startswith("cpsim-")}
        [function] = clients["lambda"].list_functions()["Functions"]
        assert set(function["Environment"]["Variables"]) == {"INTERVAL"}
        role = function["Role"].rpartition("/")[2]
        assert clients["iam"].list_role_policies(RoleName=role)["PolicyNames"] == ["PublishToOutTopicPolicy4B5C6D7E"]
