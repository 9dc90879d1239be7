"""Topic rules through the kit and through plain boto3: their targets, their roles, their refusals, their ends."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from aws_proxy import AwsProxy
from botocore.exceptions import ClientError
from conftest import MS, SOON
from stack_fixtures import GLANCE, Boto, ask, dial, eventually, mqtt, new_id

from cpsim_kit import ChargePoint, Stack, errors
from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.aws.rules import Rule
from cpsim_kit.aws.session import Aws
from cpsim_kit.local.launcher import LocalProcess

Register = Callable[[], Awaitable[str]]

WALKTHROUGH = "SELECT topic(1) AS chargePointId, timestamp() AS lastTimestamp FROM '+/in' WHERE get(*, 2) = 'Heartbeat'"
SAMPLE = {  # lib/aws-ocpp-gateway-stack.ts
    "CreateThingRule": "SELECT thingName as chargePointId, timestamp FROM '$aws/events/thing/+/created'",
    "DeleteThingRule": "SELECT thingName as chargePointId, timestamp FROM '$aws/events/thing/+/deleted'",
    "MessagesFromChargePointsRule": "SELECT * as message,topic(1) as chargePointId FROM '+/in'",
}


def new_name(prefix: str = "rule") -> str:
    return new_id(prefix).replace("-", "_")


def left_of(boto: Boto, name: str) -> list[str]:
    """What is there of a rule, its role, table and queue of the same name."""
    found = []
    for what, service, call in [
        ("rule", "iot", lambda client: client.get_topic_rule(ruleName=name)),
        ("role", "iam", lambda client: client.get_role(RoleName=f"cpsim-rule-{name}")),
        ("table", "dynamodb", lambda client: client.describe_table(TableName=name)),
        ("queue", "sqs", lambda client: client.get_queue_url(QueueName=name)),
    ]:
        try:
            call(boto(service))
        except ClientError:
            pass
        else:
            found.append(what)
    return found


# -- To a table -------------------------------------------------------------------------------------------------------


async def test_the_walkthroughs_rule_fills_a_table(stack: Stack, boto: Boto, register: Register) -> None:
    name = new_name()
    async with stack.rule(name, sql=WALKTHROUGH, table=name) as rule:
        assert left_of(boto, name) == ["rule", "role", "table"]
        assert repr(rule) == f"<Rule {name} active -> {name}>"
        ids = sorted([await register(), await register()])
        for charge_point_id in ids:
            async with stack.charge_point(charge_point_id) as cp:
                await cp.boot()
                await cp.heartbeat()
        rows = await rule.wait_for_items(2, timeout=SOON)
        assert {row["chargePointId"] for row in rows} >= set(ids)
        assert all(row["lastTimestamp"] > 1e12 for row in rows)
        frame = await rule.to_frame()
        assert list(frame.columns) == ["chargePointId", "lastTimestamp"]
        assert frame.chargePointId.is_monotonic_increasing
        first = {row["chargePointId"]: row["lastTimestamp"] for row in rows}
        async with stack.charge_point(ids[0]) as cp:
            await eventually(lambda: _later(rule, cp, first[cp.id]))
    assert left_of(boto, name) == []
    assert "not created" in repr(rule)


async def _later(rule: Rule, cp: ChargePoint, moment: int) -> bool:
    """Whether a heartbeat brings a later time; the stack's clock may be set back, and needs some time then."""
    await cp.heartbeat()
    rows = {row["chargePointId"]: row["lastTimestamp"] for row in await rule.items()}
    return bool(rows[cp.id] > moment)


async def test_the_walkthroughs_rule_made_by_plain_boto3_fills_a_table(
    shared: LocalProcess, boto: Boto, register: Register
) -> None:
    name = new_name()
    boto("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "chargePointId", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "chargePointId", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    action = {"dynamoDBv2": {"putItem": {"tableName": name}, "roleArn": "arn:aws:iam::000000000000:role/any"}}
    boto("iot").create_topic_rule(ruleName=name, topicRulePayload={"sql": WALKTHROUGH, "actions": [action]})
    try:
        charge_point_id = await register()
        async with dial(shared, charge_point_id) as ws:
            await ask(ws, "StatusNotification", {})
            await ask(ws, "Heartbeat", {})
        key = {"chargePointId": {"S": charge_point_id}}
        item = await eventually(lambda: boto("dynamodb").get_item(TableName=name, Key=key).get("Item"))
        assert item.keys() == {"chargePointId", "lastTimestamp"}
        assert int(item["lastTimestamp"]["N"]) > 1e12
    finally:
        boto("iot").delete_topic_rule(ruleName=name)
        boto("dynamodb").delete_table(TableName=name)


async def test_values_of_every_kind_come_back_as_plain_python(stack: Stack) -> None:
    name, topic = new_name(), new_id("topic")
    sql = f"SELECT 'k' AS chargePointId, 1 AS i, 2.5 AS f, 'ž' AS s, true AS b, missing AS gone FROM '{topic}'"
    async with stack.rule(name, sql=sql, table=name) as rule:
        await stack.publish(topic, {})
        assert await rule.wait_for_items(timeout=SOON) == [
            {"chargePointId": "k", "i": 1, "f": 2.5, "s": "ž", "b": True}
        ]


async def test_a_table_that_is_there_is_used_and_kept(stack: Stack, boto: Boto) -> None:
    name, other, topic = new_name(), new_name(), new_id("topic")
    sql = f"SELECT id AS chargePointId, n FROM '{topic}'"
    first = await stack.rule(name, sql=sql, table=name)
    await stack.publish(topic, {"id": "A", "n": 1})
    await first.wait_for_items(1, timeout=SOON)
    async with stack.rule(other, sql=sql, table=name) as second:
        assert len(await second.items()) == 1
    assert left_of(boto, other) == []
    assert left_of(boto, name) == ["rule", "role", "table"]
    assert await first.items() == [{"chargePointId": "A", "n": 1}]
    await first.delete()
    await first.delete()
    assert left_of(boto, name) == []


async def test_a_table_of_another_key_is_refused_and_kept(stack: Stack, boto: Boto) -> None:
    name = new_name()
    boto("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(errors.AwsError, match=f"the table {name} is there, with the key id instead of chargePointId"):
        await stack.rule(name, sql=WALKTHROUGH, table=name)
    assert left_of(boto, name) == ["table"]
    boto("dynamodb").delete_table(TableName=name)


async def test_the_wait_for_items_shows_how_many_have_come(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    topic = new_id("bar")
    async with stack.rule(new_name(), sql=f"SELECT n FROM '{topic}'", queue=topic) as rule:
        await stack.publish(topic, {"n": 1})
        await rule.wait_for_items(1, timeout=SOON)
        capsys.readouterr()
        with pytest.raises(errors.WaitTimeout):
            await rule.wait_for_items(3, timeout=1.5, progress=False)
        assert capsys.readouterr().err == ""
        waiting = asyncio.create_task(rule.wait_for_items(3, timeout=SOON))
        await eventually(lambda: f"items of {rule.name}" in (shown := capsys.readouterr().err) and "1/3" in shown)
        await stack.publish(topic, {"n": 2})
        await stack.publish(topic, {"n": 3})
        assert len(await waiting) == 3


async def test_wait_for_items_times_out_with_what_is_there(stack: Stack) -> None:
    name, topic = new_name(), new_id("topic")
    async with stack.rule(name, sql=f"SELECT id AS chargePointId FROM '{topic}'", table=name) as rule:
        with pytest.raises(errors.WaitTimeout, match=r"1 items of rule .*, 0 came; .*SELECT id") as caught:
            await rule.wait_for_items(timeout=GLANCE)
        assert caught.value.last_seen is None
        empty = await rule.to_frame()
        assert len(empty) == 0
        await stack.publish(topic, {"id": "A"})
        await rule.wait_for_items(timeout=SOON)
        for timeout in (10 * GLANCE, SOON):  # time to look at least once, on a slow machine the longer one
            with pytest.raises(errors.WaitTimeout) as caught:
                await rule.wait_for_items(2, timeout=timeout)
            if caught.value.last_seen:
                break
        assert caught.value.last_seen == [{"chargePointId": "A"}]


# -- To a queue and to a topic ----------------------------------------------------------------------------------------


async def test_a_queue_gets_each_result_in_turn(stack: Stack, boto: Boto) -> None:
    name, topic = new_name(), new_id("topic")
    async with stack.rule(name, sql=f"SELECT *, topic() AS t FROM '{topic}/#'", queue=name) as rule:
        assert left_of(boto, name) == ["rule", "role", "queue"]
        for number in range(12):  # more than a queue gives at once
            await stack.publish(f"{topic}/{number % 2}", {"n": number, "deep": {"a": [1, None]}})
        items = await rule.wait_for_items(12, timeout=SOON)
        assert sorted(item["n"] for item in items) == list(range(12))
        assert items[0]["deep"] == {"a": [1, None]}
        assert {item["t"] for item in items} == {f"{topic}/0", f"{topic}/1"}
        assert len(await rule.items()) == 12  # what was taken stays with the rule
        assert len(await rule.to_frame()) == 12
    assert left_of(boto, name) == []


async def test_a_queue_that_is_there_is_kept(stack: Stack, boto: Boto) -> None:
    name, topic = new_name(), new_id("topic")
    url = boto("sqs").create_queue(QueueName=name)["QueueUrl"]
    async with stack.rule(name, sql=f"SELECT * FROM '{topic}'", queue=name):
        await stack.publish(topic, {"a": 1})
        [message] = await eventually(lambda: boto("sqs").receive_message(QueueUrl=url).get("Messages"))
        assert json.loads(message["Body"]) == {"a": 1}
    assert left_of(boto, name) == ["queue"]
    boto("sqs").delete_queue(QueueUrl=url)


async def test_republish_goes_where_the_template_says(stack: Stack, boto: Boto, shared: LocalProcess) -> None:
    name, root = new_name(), new_id("root")
    sql = f"SELECT a, clientid() AS c FROM '{root}/+/in'"
    async with (
        stack.rule(name, sql=sql, republish=f"{root}/copy/${{topic(2)}}/${{a}}") as rule,
        stack.monitor(f"{root}/copy/#") as monitor,
    ):
        assert left_of(boto, name) == ["rule", "role"]
        await stack.publish(f"{root}/CP7/in", {"a": 5})
        [seen] = await monitor.take(1, timeout=SOON)
        assert (seen.topic, seen.payload["a"]) == (f"{root}/copy/CP7/5", 5)
        with pytest.raises(TypeError, match=r"stack\.monitor"):
            await rule.items()
        with pytest.raises(TypeError, match="republishes"):
            await rule.wait_for_items(timeout=SOON)
    assert left_of(boto, name) == []


async def test_republish_to_a_reserved_topic_changes_a_shadow(stack: Stack) -> None:
    """The documented escape: ${…} for templates, $$ for a topic that begins with $."""
    name, charge_point_id = new_name(), new_id()
    await stack.things.create(charge_point_id)
    sql = f"SELECT state FROM '{charge_point_id}/news'"
    async with stack.rule(name, sql=sql, republish="$$aws/things/${topic(1)}/shadow/update"):
        await stack.publish(f"{charge_point_id}/news", {"state": {"reported": {"via": "rule"}}, "other": 1})
        shadow = await stack.shadow(charge_point_id).wait_for(lambda s: s.reported, timeout=SOON)
    assert shadow.reported == {"via": "rule"}


# -- The sample's rules -----------------------------------------------------------------------------------------------


async def test_the_samples_create_rule_works_as_written(stack: Stack) -> None:
    name, charge_point_id = new_name(), new_id()
    async with stack.rule(name, sql=SAMPLE["CreateThingRule"], table=name) as rule:
        await stack.things.create(charge_point_id)
        rows = await rule.wait_for_items(timeout=SOON)
    [row] = [row for row in rows if row["chargePointId"] == charge_point_id]
    assert row.keys() == {"chargePointId", "timestamp"}


async def test_the_samples_delete_rule_works_as_written(stack: Stack) -> None:
    name, charge_point_id = new_name(), new_id()
    await stack.things.create(charge_point_id)
    async with stack.rule(name, sql=SAMPLE["DeleteThingRule"], queue=name) as rule:
        await stack.things.delete(charge_point_id)
        items = await rule.wait_for_items(timeout=SOON)
    assert charge_point_id in {item["chargePointId"] for item in items}
    assert all(item.keys() == {"chargePointId", "timestamp"} for item in items)


async def test_the_samples_message_rule_works_as_written(
    stack: Stack, shared: LocalProcess, register: Register
) -> None:
    name, charge_point_id = new_name(), await register()
    async with (
        stack.rule(name, sql=SAMPLE["MessagesFromChargePointsRule"], queue=name) as rule,
        dial(shared, charge_point_id) as ws,
    ):
        await ask(ws, "Heartbeat", {}, "m-1")
        items = await rule.wait_for_items(timeout=SOON)
    assert {"chargePointId": charge_point_id, "message": [2, "m-1", "Heartbeat", {}]} in items


# -- Names and statements ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "a-b", "table": "abc"}, "'a-b' cannot be the name of a rule"),
        ({"name": "", "table": "abc"}, "name of a rule"),
        ({"name": "x" * 129, "table": "abc"}, "name of a rule"),
        ({"name": "ž", "table": "abc"}, "name of a rule"),
        ({"name": "a\n", "table": "abc"}, "name of a rule"),
        ({"name": "a", "table": "ab"}, "'ab' cannot be the name of a table"),
        ({"name": "a", "table": "a b c"}, "name of a table"),
        ({"name": "a", "queue": "a.b"}, "name of a queue"),
        ({"name": "a", "queue": "x" * 81}, "name of a queue"),
        ({"name": "a", "queue": ""}, "name of a queue"),
        ({"name": "a", "republish": "a/+"}, "without wildcards"),
        ({"name": "a", "republish": "#"}, "without wildcards"),
        ({"name": "a", "republish": ""}, "at most 256 bytes"),
        ({"name": "a", "republish": "x" * 257}, "at most 256 bytes"),
        ({"name": "a"}, "give one of table=, queue= and republish=, not none"),
        ({"name": "a", "table": "abc", "queue": "abc"}, r"give one of .*, not \['table', 'queue'\]"),
    ],
)
def test_what_aws_would_refuse_is_refused_before_anything_is_made(options: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Rule(cast(Aws, None), lambda *_: None, sql=WALKTHROUGH, **options)


BAD_SQL = [
    ("SELECT topic( FROM 'a'", r"line 1"),
    ("SELECT *\nFROM 'a'\nWHERE a = = 1", r"line 3"),
    ("SELEC * FROM 'a'", "SELEC"),
    ("SELECT * FROM 'a/#/b'", "a/#/b"),
    ("SELECT * FROM a", "FROM"),
    ("SELECT no_such_function(a) FROM 'a'", "no_such_function"),
    ("SELECT aws_lambda('arn', a) AS x FROM 'a'", "aws_lambda"),
    ("SELECT * FROM 'a' WHERE get_dynamodb('t', 'k', 'v', 'r').x = 1", "get_dynamodb"),
    ("", "sql"),
]


@pytest.mark.parametrize("target", ["table", "queue", "republish"])
async def test_bad_sql_is_refused_with_the_place_and_nothing_stays(stack: Stack, boto: Boto, target: str) -> None:
    for sql, place in BAD_SQL:
        name = new_name()
        with pytest.raises(errors.AwsError, match=place) as caught:
            await stack.rule(name, sql=sql, **{target: name})
        assert caught.value.verb == "iot.create_topic_rule"
        assert name in str(caught.value)
        assert caught.value.code == "SqlParseException"
        assert left_of(boto, name) == []


async def test_plain_boto3_is_refused_bad_sql_likewise(boto: Boto) -> None:
    payload = {"sql": "SELECT no_such_function(a) FROM 'a'", "actions": []}
    with pytest.raises(boto("iot").exceptions.SqlParseException, match="no_such_function"):
        boto("iot").create_topic_rule(ruleName=new_name(), topicRulePayload=payload)


async def test_a_rule_that_republishes_to_itself_is_refused(stack: Stack, boto: Boto) -> None:
    name = new_name()
    with pytest.raises(errors.AwsError, match="InvalidRequestException"):
        await stack.rule(name, sql="SELECT * FROM 'loop/+'", republish="loop/again")
    assert left_of(boto, name) == []


# -- Creating, replacing, deleting ------------------------------------------------------------------------------------


async def test_creating_again_replaces_the_statement(stack: Stack, boto: Boto) -> None:
    name, topic = new_name(), new_id("topic")
    first = await stack.rule(name, sql=f"SELECT 'one' AS chargePointId FROM '{topic}'", table=name)
    second = await stack.rule(name, sql=f"SELECT 'two' AS chargePointId FROM '{topic}'", table=name)
    await stack.publish(topic, {})
    assert await second.wait_for_items(timeout=SOON) == [{"chargePointId": "two"}]
    assert boto("iot").get_topic_rule(ruleName=name)["rule"]["sql"] == second.sql
    await second  # and once more, the same object
    assert await second.items() == await first.items()
    await second.delete()  # it had made nothing
    assert left_of(boto, name) == ["rule", "role", "table"]
    await first.delete()
    assert left_of(boto, name) == []


async def test_a_replacement_that_is_refused_leaves_the_rule_as_it_was(stack: Stack, boto: Boto) -> None:
    name, topic = new_name(), new_id("topic")
    rule = await stack.rule(name, sql=f"SELECT 'one' AS chargePointId FROM '{topic}'", table=name)
    with pytest.raises(errors.AwsError):
        await stack.rule(name, sql="SELECT nonsense( FROM 'a'", table=name)
    rule.sql = "SELECT nonsense( FROM 'a'"
    with pytest.raises(errors.AwsError):
        await rule.create()
    assert left_of(boto, name) == ["rule", "role", "table"]
    await stack.publish(topic, {})
    assert await rule.wait_for_items(timeout=SOON) == [{"chargePointId": "one"}]


async def test_the_stacks_end_deletes_its_rules(
    shared: LocalProcess, boto: Boto, credentials: pytest.MonkeyPatch
) -> None:
    name, other = new_name(), new_name()
    async with Stack.aws(shared.options.name, endpoint_url=shared.endpoint_url) as stack:
        await stack.rule(name, sql=WALKTHROUGH, table=name)
        await stack.rule(other, sql=WALKTHROUGH, queue=other)
    assert left_of(boto, name) == left_of(boto, other) == []


async def test_what_somebody_deleted_meanwhile_is_no_error_at_the_end(stack: Stack, boto: Boto) -> None:
    name = new_name()
    async with stack.rule(name, sql=WALKTHROUGH, table=name):
        boto("iot").delete_topic_rule(ruleName=name)
        boto("dynamodb").delete_table(TableName=name)
        boto("iam").delete_role_policy(RoleName=f"cpsim-rule-{name}", PolicyName="action")
        boto("iam").delete_role(RoleName=f"cpsim-rule-{name}")
    assert left_of(boto, name) == []


async def test_an_error_in_the_block_still_deletes(stack: Stack, boto: Boto) -> None:
    name = new_name()
    with pytest.raises(KeyError):
        async with stack.rule(name, sql=WALKTHROUGH, table=name):
            raise KeyError
    assert left_of(boto, name) == []


async def test_cancelled_while_it_is_made_it_leaves_nothing(stack: Stack, boto: Boto) -> None:
    name = new_name()
    making = asyncio.create_task(stack.rule(name, sql=WALKTHROUGH, table=name).create())
    await eventually(lambda: left_of(boto, name))
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert left_of(boto, name) == []


@pytest.mark.parametrize(
    ("operation", "target"), [("CreateTable", "table"), ("CreateQueue", "queue"), ("CreateTopicRule", "queue")]
)
async def test_what_aws_makes_although_it_was_cancelled_is_deleted(
    proxied: Stack, proxy: AwsProxy, boto: Boto, operation: str, target: str
) -> None:
    name = new_name()
    released = proxy.hold(operation)
    making = asyncio.create_task(proxied.rule(name, sql=WALKTHROUGH, **{target: name}).create())
    await eventually(lambda: proxy.seen[operation])
    making.cancel()
    await asyncio.sleep(GLANCE)
    assert left_of(boto, name) == (["role", "queue"] if operation == "CreateTopicRule" else [])
    released.set()  # from now on it is there, and the cell has given up
    with pytest.raises(asyncio.CancelledError):
        await making
    await eventually(lambda: not proxy._now[operation])
    assert left_of(boto, name) == []


@pytest.mark.parametrize("operation", ["CreateRole", "CreateTopicRule"])
async def test_cancelled_twice_while_aws_makes_it_it_leaves_nothing(
    proxied: Stack, proxy: AwsProxy, boto: Boto, operation: str
) -> None:
    name = new_name()
    released = proxy.hold(operation)
    making = asyncio.create_task(proxied.rule(name, sql=WALKTHROUGH, queue=name).create())
    await eventually(lambda: proxy.seen[operation])
    for _ in range(2):
        making.cancel()
        await asyncio.sleep(GLANCE)
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await making
    await eventually(lambda: not proxy._now[operation])
    assert left_of(boto, name) == []


async def test_cancelled_while_aws_replaces_a_rule_it_is_put_back(proxied: Stack, proxy: AwsProxy, boto: Boto) -> None:
    name, other = new_name(), new_name()
    async with proxied.rule(name, sql=WALKTHROUGH, queue=name):
        released = proxy.hold("ReplaceTopicRule")
        making = asyncio.create_task(proxied.rule(name, sql="SELECT * FROM 'x'", queue=other).create())
        await eventually(lambda: proxy.seen["ReplaceTopicRule"])
        making.cancel()
        await asyncio.sleep(GLANCE)
        released.set()
        with pytest.raises(asyncio.CancelledError):
            await making
        await eventually(lambda: not proxy._now["ReplaceTopicRule"])
        assert boto("iot").get_topic_rule(ruleName=name)["rule"]["sql"] == WALKTHROUGH
    assert left_of(boto, name) == []


async def test_what_a_rule_that_failed_could_not_undo_is_deleted_at_the_end_of_the_stack(
    proxied: Stack, proxy: AwsProxy, boto: Boto
) -> None:
    name = new_name()
    for operation in ("CreateTopicRule", "DeleteRole"):
        proxy.fail(operation, "AccessDenied", status=403, times=1)
    with pytest.raises(errors.AwsError, match="lack this permission"):
        await proxied.rule(name, sql=WALKTHROUGH, queue=name)
    assert left_of(boto, name) == ["role"]
    await proxied.close()
    assert left_of(boto, name) == []


async def test_what_could_not_be_deleted_is_said_and_the_rest_is_deleted(
    proxied: Stack, proxy: AwsProxy, boto: Boto
) -> None:
    name = new_name()
    rule = await proxied.rule(name, sql=WALKTHROUGH, table=name)
    proxy.fail("DeleteRole", "AccessDenied", status=403, times=1)
    with pytest.raises(errors.AwsError, match="lack this permission") as caught:
        await rule.delete()
    assert caught.value.verb == "iam.delete_role"
    assert left_of(boto, name) == ["role"]
    await rule.delete()
    assert left_of(boto, name) == []


# -- The role ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "action", "resource"),
    [
        ("table", "dynamodb:PutItem", "arn:aws:dynamodb:us-east-1:000000000000:table/{name}"),
        ("queue", "sqs:SendMessage", "arn:aws:sqs:us-east-1:000000000000:{name}"),
        ("republish", "iot:Publish", "arn:aws:iot:us-east-1:000000000000:topic/{name}"),
    ],
)
async def test_the_role_may_do_one_thing_for_aws_iot_only(
    stack: Stack, boto: Boto, target: str, action: str, resource: str
) -> None:
    name = new_name()
    async with stack.rule(name, sql=WALKTHROUGH, **{target: name}):
        role_name = f"cpsim-rule-{name}"
        role = boto("iam").get_role(RoleName=role_name)["Role"]
        [trust] = role["AssumeRolePolicyDocument"]["Statement"]
        assert trust == {
            "Effect": "Allow",
            "Principal": {"Service": "iot.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
        assert boto("iam").list_role_policies(RoleName=role_name)["PolicyNames"] == ["action"]
        assert boto("iam").list_attached_role_policies(RoleName=role_name)["AttachedPolicies"] == []
        policy = boto("iam").get_role_policy(RoleName=role_name, PolicyName="action")["PolicyDocument"]
        [allowed] = policy["Statement"]
        assert allowed == {"Effect": "Allow", "Action": action, "Resource": resource.format(name=name)}
        [used] = boto("iot").get_topic_rule(ruleName=name)["rule"]["actions"]
        assert next(iter(used.values()))["roleArn"] == role["Arn"]
        assert name in role["Description"]


async def test_a_template_in_the_topic_is_a_wildcard_in_the_policy(stack: Stack, boto: Boto) -> None:
    name = new_name()
    async with stack.rule(name, sql="SELECT * FROM '+/in'", republish="$$aws/things/${topic(1)}/shadow/${a}/x"):
        policy = boto("iam").get_role_policy(RoleName=f"cpsim-rule-{name}", PolicyName="action")["PolicyDocument"]
    assert policy["Statement"][0]["Resource"].endswith(":topic/$aws/things/*/shadow/*/x")


async def test_long_names_that_begin_alike_have_roles_of_their_own(stack: Stack, boto: Boto) -> None:
    names = [new_name("x" * 80), new_name("x" * 80)]
    topic = new_id("topic")
    rules = [await stack.rule(name, sql=f"SELECT * FROM '{topic}'", queue=name[-40:]) for name in names]
    actions = [boto("iot").get_topic_rule(ruleName=name)["rule"]["actions"][0]["sqs"]["roleArn"] for name in names]
    assert len(set(actions)) == 2
    assert all(len(arn.rsplit("/", 1)[1]) <= 64 for arn in actions)
    await rules[0].delete()
    boto("iam").get_role(RoleName=actions[1].rsplit("/", 1)[1])


async def test_a_role_that_aws_iot_does_not_know_yet_is_waited_for(proxied: Stack, proxy: AwsProxy) -> None:
    name = new_name()
    proxy.fail(
        "CreateTopicRule", "InvalidRequestException", times=2, text="iot.amazonaws.com is unable to assume the role"
    )
    async with proxied.rule(name, sql=WALKTHROUGH, table=name) as rule:
        assert proxy.seen["CreateTopicRule"] == 3
        assert await rule.items() == []


async def test_a_table_that_is_still_being_deleted_is_waited_for(proxied: Stack, proxy: AwsProxy, boto: Boto) -> None:
    """On AWS a deletion takes seconds, and a table that was just made is not seen at once."""
    name = new_name()
    proxy.fail("DescribeTable", "ResourceNotFoundException", times=2)
    async with proxied.rule(name, sql=WALKTHROUGH, table=name):
        assert proxy.seen["CreateTable"] == 2  # the second is refused: it is there
        assert left_of(boto, name) == ["rule", "role", "table"]
    assert left_of(boto, name) == []


async def test_a_rule_is_not_made_before_its_table_is_active(proxied: Stack, proxy: AwsProxy) -> None:
    name = new_name()
    proxy.fail("DescribeTable", "ResourceNotFoundException")
    proxy.edit("DescribeTable", b'"ACTIVE"', b'"CREATING"', times=None)
    making = asyncio.create_task(proxied.rule(name, sql=WALKTHROUGH, table=name).create())
    await eventually(lambda: proxy.seen["DescribeTable"] >= 4)
    assert not making.done()
    assert not proxy.seen["CreateRole"]
    proxy.heal()
    async with await making as rule:
        assert await rule.items() == []


# -- When a rule fails while it runs ----------------------------------------------------------------------------------


async def test_a_rule_whose_target_is_gone_never_fails_the_publisher_and_is_logged(
    shared: LocalProcess, stack: Stack, boto: Boto, register: Register
) -> None:
    name, charge_point_id = new_name(), await register()
    async with stack.rule(name, sql=WALKTHROUGH, table=name):
        boto("dynamodb").delete_table(TableName=name)
        async with dial(shared, charge_point_id) as ws:
            assert (await ask(ws, "Heartbeat", {}))[0] == 3
        boto("iot-data").publish(topic=f"{charge_point_id}/in", payload=b'[2,"1","Heartbeat",{}]')
    await eventually(lambda: f"rule {name}: its dynamoDBv2 action failed on {charge_point_id}/in" in shared.log(200))


async def test_no_payload_makes_a_rule_fail_the_publisher(stack: Stack, shared: LocalProcess) -> None:
    name, topic = new_name(), new_id("topic")
    sql = f"SELECT a.b.c[3] AS chargePointId, get(*, 2) AS x, a / 0 AS y FROM '{topic}' WHERE a > 'x' OR isUndefined(b)"
    async with stack.rule(name, sql=sql, table=name), mqtt(shared, topic) as watcher:
        for payload in (b"", b"\xff\xfe", b"no JSON", b"[]", b"5", b'{"a":' * 3000, b'{"a": 1e999}'):
            await stack.publish(topic, payload)
            assert await watcher.take() == [(topic, payload)]


async def test_one_rule_that_fails_does_not_stop_another(stack: Stack, boto: Boto) -> None:
    broken, works, topic = new_name(), new_name(), new_id("topic")
    async with (
        stack.rule(broken, sql=f"SELECT 1 AS a FROM '{topic}'", queue=broken),
        stack.rule(works, sql=f"SELECT 1 AS a FROM '{topic}'", queue=works) as rule,
    ):
        boto("sqs").delete_queue(QueueUrl=boto("sqs").get_queue_url(QueueName=broken)["QueueUrl"])
        await stack.publish(topic, {})
        assert await rule.wait_for_items(timeout=SOON) == [{"a": 1}]


def test_the_kit_itself_reads_no_sql() -> None:
    """Whatever the local stack can evaluate: AWS may know more."""
    sql = "SELECT something_new(a) FROM 'x' -- of next year"
    assert Rule(cast(Aws, None), lambda *_: None, "rule", sql=sql, table="table").sql is sql


# -- A rule of somebody else ------------------------------------------------------------------------------------------


async def test_a_replaced_rule_is_put_back(stack: Stack, boto: Boto) -> None:
    """With its own action and role: what the kit made for the time between is deleted."""
    name, queue = new_id("rule").replace("-", "_"), new_id("queue")
    url = boto("sqs").create_queue(QueueName=queue)["QueueUrl"]
    action = {"sqs": {"queueUrl": url, "roleArn": "arn:aws:iam::000000000000:role/theirs", "useBase64": False}}
    payload = {"sql": "SELECT * FROM 'theirs'", "actions": [action], "awsIotSqlVersion": "2016-03-23"}
    boto("iot").create_topic_rule(ruleName=name, topicRulePayload=payload)
    async with stack.rule(name, sql="SELECT * FROM 'ours'", queue=new_id("ours")):
        assert boto("iot").get_topic_rule(ruleName=name)["rule"]["sql"] == "SELECT * FROM 'ours'"
    found = boto("iot").get_topic_rule(ruleName=name)["rule"]
    assert (found["sql"], found["actions"]) == ("SELECT * FROM 'theirs'", [action])
    roles = [role["RoleName"] for role in boto("iam").list_roles()["Roles"]]
    assert not [role for role in roles if name in role]


async def test_a_rule_replaced_by_another_object_works_again_when_that_one_is_deleted(stack: Stack) -> None:
    name, topics = new_id("rule").replace("-", "_"), (new_id("one"), new_id("two"))
    async with stack.rule(name, sql=f"SELECT * FROM '{topics[0]}'", queue=new_id("one")) as first:
        async with stack.rule(name, sql=f"SELECT * FROM '{topics[1]}'", queue=new_id("two")) as second:
            await stack.publish(topics[1], {"n": 2})
            assert await second.wait_for_items(1, timeout=SOON, progress=False) == [{"n": 2}]
        await stack.publish(topics[0], {"n": 1})
        assert await first.wait_for_items(1, timeout=SOON, progress=False) == [{"n": 1}]


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("xx-new-1", "aws")],
)
def test_arns_have_the_partition_of_the_region(region: str, partition: str) -> None:
    aws = Aws(region=region, access_key=AccessKey("a", "b"))
    assert aws.partition == partition
    aws.close()


async def test_a_queue_that_messages_come_to_all_the_time_is_read_all_the_same(stack: Stack) -> None:
    topic = new_id("busy")

    async def publish() -> None:
        while True:
            await stack.publish(topic, {"n": 1})
            await asyncio.sleep(100 * MS)

    async with stack.rule(topic.replace("-", "_"), sql=f"SELECT * FROM '{topic}'", queue=topic) as rule:
        publishing = asyncio.create_task(publish())
        try:
            assert len(await rule.wait_for_items(3, timeout=SOON, progress=False)) >= 3
            async with asyncio.timeout(SOON):
                assert len(await rule.items()) > 3
        finally:
            publishing.cancel()
            await asyncio.wait([publishing])


async def test_a_rule_that_another_object_replaced_may_be_deleted_first(stack: Stack, boto: Boto) -> None:
    name, topic, queues = new_id("rule").replace("-", "_"), new_id("two"), (new_id("one"), new_id("two"))
    first = await stack.rule(name, sql="SELECT * FROM 'one'", queue=queues[0])
    second = await stack.rule(name, sql=f"SELECT * FROM '{topic}'", queue=queues[1])
    await first.delete()
    await stack.publish(topic, {"n": 2})
    assert await second.wait_for_items(1, timeout=SOON, progress=False) == [{"n": 2}]
    await second.delete()
    with pytest.raises(ClientError):
        boto("iot").get_topic_rule(ruleName=name)
    assert not [role for role in boto("iam").list_roles()["Roles"] if name in role["RoleName"]]
    left = [url for url in boto("sqs").list_queues().get("QueueUrls", []) if url.endswith(queues)]
    assert left == []
