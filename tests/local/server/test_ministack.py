"""The contract with ministack: what the kit relies on, by plain boto3 and plain MQTT against a running one.

ministack is beta and pinned. If a test fails after an update, the kit has to change.
"""

import contextlib
import inspect
import json
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiomqtt
import psutil
import pytest
from botocore.exceptions import ClientError
from conftest import ENDED
from stack_fixtures import Boto, dial, eventually, is_answered, mqtt, new_id

from cpsim_kit.local.launcher import LocalProcess
from cpsim_kit.local.server import emulator, rule_actions
from cpsim_kit.local.server.emulator import ACCOUNT
from cpsim_kit.local.server.guard import mqtt as mqtt_guard
from cpsim_kit.local.server.guard import shadows, things
from cpsim_kit.local.server.stepping_aside import SteppingAside

V5 = aiomqtt.ProtocolVersion.V5
VERSIONS = pytest.mark.parametrize("protocol", [aiomqtt.ProtocolVersion.V311, V5], ids=["3.1.1", "5"])


def refused(code: str) -> pytest.RaisesExc[ClientError]:
    """Expect this error code. The error is not kept, because its frames would keep urllib3's sockets open."""
    return pytest.raises(ClientError, check=lambda exc: bool(exc.response["Error"]["Code"] == code))


def test_the_pinned_version_is_the_one_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert f"ministack=={version('ministack')}" in project["dependencies"]


# -- Things -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def thing(boto: Boto) -> Iterator[str]:
    name = new_id("THING")
    boto("iot").create_thing(thingName=name, attributePayload={"attributes": {"site": "A"}})
    yield name
    boto("iot").delete_thing(thingName=name)


def test_a_thing_is_described_with_attributes_and_version(boto: Boto, thing: str) -> None:
    answer = boto("iot").describe_thing(thingName=thing)
    assert (answer["thingName"], answer["attributes"], answer["version"]) == (thing, {"site": "A"}, 1)


def test_update_thing_merges_attributes_and_an_empty_value_removes_one(boto: Boto, thing: str) -> None:
    for attributes in ({"model": "M"}, {"site": ""}):
        boto("iot").update_thing(thingName=thing, attributePayload={"attributes": attributes, "merge": True})
    answer = boto("iot").describe_thing(thingName=thing)
    assert (answer["attributes"], answer["version"]) == ({"model": "M"}, 3)


def test_create_thing_again_is_harmless_with_the_same_attributes_only(boto: Boto, thing: str) -> None:
    boto("iot").create_thing(thingName=thing, attributePayload={"attributes": {"site": "A"}})
    with pytest.raises(boto("iot").exceptions.ResourceAlreadyExistsException):
        boto("iot").create_thing(thingName=thing, attributePayload={"attributes": {"site": "B"}})


@pytest.mark.parametrize("verb", ["describe_thing", "update_thing"])
def test_an_absent_thing_is_not_found(boto: Boto, verb: str) -> None:
    with refused("ResourceNotFoundException"):
        getattr(boto("iot"), verb)(thingName=new_id("NONE"))


def test_delete_thing_of_an_absent_thing_is_no_error(boto: Boto) -> None:
    boto("iot").delete_thing(thingName=new_id("NONE"))


def test_a_deleted_thing_is_not_found(boto: Boto, thing: str) -> None:
    boto("iot").delete_thing(thingName=thing)
    with pytest.raises(boto("iot").exceptions.ResourceNotFoundException):
        boto("iot").describe_thing(thingName=thing)


def test_list_things_lists_more_than_one_page(boto: Boto) -> None:
    """As on AWS, a page has 25 Things by default; the paginator hides it."""
    names = {new_id("PAGE") for _ in range(60)}
    for name in names:
        boto("iot").create_thing(thingName=name)
    paginator = boto("iot").get_paginator("list_things")
    for options in ({}, {"PaginationConfig": {"PageSize": 10}}):
        listed = [thing["thingName"] for page in paginator.paginate(**options) for thing in page["things"]]
        assert names <= set(listed)
        assert len(listed) == len(set(listed))
    for name in names:
        boto("iot").delete_thing(thingName=name)


async def test_thing_events_come_on_reserved_topics(shared: LocalProcess, boto: Boto) -> None:
    name = new_id("THING")
    async with mqtt(shared, f"$aws/events/thing/{name}/+") as broker:
        boto("iot").create_thing(thingName=name, attributePayload={"attributes": {"site": "A"}})
        boto("iot").update_thing(thingName=name, attributePayload={"attributes": {"site": "B"}})
        boto("iot").delete_thing(thingName=name)
        taken = await broker.take(3)
    topics, events = zip(*taken, strict=True)
    assert [topic.rsplit("/", 1)[1] for topic in topics] == ["created", "updated", "deleted"]
    for event in map(json.loads, events):
        assert event["thingName"] == name
        assert event["timestamp"] > 1e12


# -- The CloudFormation stack -----------------------------------------------------------------------------------------


def test_the_stack_has_the_outputs_and_resources_that_the_kit_looks_for(shared: LocalProcess, boto: Boto) -> None:
    [stack] = boto("cloudformation").describe_stacks(StackName=shared.options.name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    assert outputs.keys() == {"loadBalancerDnsName", "websocketURL", "localProcess"}
    assert outputs["websocketURL"] == shared.websocket_url
    assert outputs["localProcess"].split()[0] == str(shared.pid)
    answer = boto("cloudformation").describe_stack_resources(StackName=shared.options.name)
    types = {resource["LogicalResourceId"]: resource["ResourceType"] for resource in answer["StackResources"]}
    assert types["ChargePointTable"] == "AWS::DynamoDB::Table"
    assert types["DeletedThings"] == "AWS::SQS::Queue"


def test_an_absent_stack_is_a_validation_error_as_on_aws(boto: Boto) -> None:
    with refused("ValidationError"):
        boto("cloudformation").describe_stacks(StackName="NoSuchStack")
    with pytest.raises(ClientError, match="does not exist"):
        boto("cloudformation").describe_stacks(StackName="NoSuchStack")


# -- DynamoDB and SQS -------------------------------------------------------------------------------------------------


async def test_the_created_rule_writes_to_the_table(boto: Boto, thing: str) -> None:
    table, key = boto.resource("ChargePointTable"), {"chargePointId": {"S": thing}}
    await eventually(lambda: boto.is_registered(thing))
    item = boto("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]
    assert item.keys() == {"chargePointId", "timestamp"}
    assert item["chargePointId"] == {"S": thing}
    assert int(item["timestamp"]["N"]) > 1e12
    boto("dynamodb").delete_item(TableName=table, Key=key)
    assert "Item" not in boto("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True)
    boto("dynamodb").delete_item(TableName=table, Key=key)  # again is harmless


def test_an_absent_table_is_not_found(boto: Boto) -> None:
    with refused("ResourceNotFoundException"):
        boto("dynamodb").get_item(TableName="no-such-table", Key={"chargePointId": {"S": "x"}})


def test_a_queue_gives_a_message_until_it_is_deleted(boto: Boto) -> None:
    queue = boto("sqs").create_queue(QueueName=new_id("queue"), Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    try:
        boto("sqs").send_message(QueueUrl=queue, MessageBody='{"a": "ž"}')
        for _ in range(2):
            [message] = boto("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
            assert message["Body"] == '{"a": "ž"}'
        boto("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        assert "Messages" not in boto("sqs").receive_message(QueueUrl=queue)
    finally:
        boto("sqs").delete_queue(QueueUrl=queue)


async def test_the_queue_of_deleted_things_becomes_empty(boto: Boto) -> None:
    name = new_id("THING")
    boto("iot").create_thing(thingName=name)
    await eventually(lambda: boto.is_registered(name))
    boto("iot").delete_thing(thingName=name)
    await eventually(lambda: not boto.is_registered(name))
    queue = boto.resource("DeletedThings")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def is_empty() -> bool:
        attributes = boto("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return [attributes[name] for name in names] == ["0", "0"]

    assert await eventually(is_empty)


# -- Shadows ----------------------------------------------------------------------------------------------------------


def shadow_of(boto: Boto, name: str) -> Any:
    return json.loads(boto("iot-data").get_thing_shadow(thingName=name)["payload"].read())


def test_a_shadow_over_http(boto: Boto, thing: str) -> None:
    with pytest.raises(boto("iot-data").exceptions.ResourceNotFoundException):
        shadow_of(boto, thing)
    for number, patch in enumerate(({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": None}), start=1):
        boto("iot-data").update_thing_shadow(thingName=thing, payload=json.dumps({"state": {"reported": patch}}))
        assert shadow_of(boto, thing)["version"] == number
    document = shadow_of(boto, thing)
    assert document["state"] == {"reported": {"b": {"c": 2, "d": 3}}}  # merged; null removes
    assert document["metadata"]["reported"]["b"]["d"]["timestamp"] > 1e9
    boto("iot-data").delete_thing_shadow(thingName=thing)
    with pytest.raises(boto("iot-data").exceptions.ResourceNotFoundException):
        shadow_of(boto, thing)
    with pytest.raises(boto("iot-data").exceptions.ResourceNotFoundException):
        boto("iot-data").delete_thing_shadow(thingName=thing)
    boto("iot-data").update_thing_shadow(thingName=thing, payload='{"state": {"reported": {"a": 1}}}')
    assert shadow_of(boto, thing)["version"] == 4  # the version does not restart


def test_an_update_of_another_version_is_refused(boto: Boto, thing: str) -> None:
    boto("iot-data").update_thing_shadow(thingName=thing, payload='{"state": {"reported": {"a": 1}}}')
    with pytest.raises(boto("iot-data").exceptions.ConflictException):
        boto("iot-data").update_thing_shadow(thingName=thing, payload='{"state": {"reported": {}}, "version": 7}')


async def test_a_shadow_over_reserved_topics(shared: LocalProcess, boto: Boto, thing: str) -> None:
    topic = f"$aws/things/{thing}/shadow"
    async with mqtt(shared, f"{topic}/update/accepted", f"{topic}/update/documents", f"{topic}/get/+") as broker:
        await broker.publish(f"{topic}/update", '{"state": {"reported": {"a": 1}, "desired": {"a": 2}}}')
        taken = dict(await broker.take(2))
        assert json.loads(taken[f"{topic}/update/accepted"])["version"] == 1
        current = json.loads(taken[f"{topic}/update/documents"])["current"]
        assert current["state"] == {"reported": {"a": 1}, "desired": {"a": 2}}
        await broker.publish(f"{topic}/get", "")
        [(where, document)] = await broker.take()
        assert where == f"{topic}/get/accepted"
        assert json.loads(document)["state"]["delta"] == {"a": 2}
    assert shadow_of(boto, thing)["version"] == 1


async def test_a_broken_shadow_update_is_rejected(shared: LocalProcess, thing: str) -> None:
    topic = f"$aws/things/{thing}/shadow/update"
    async with mqtt(shared, f"{topic}/rejected") as broker:
        await broker.publish(topic, "no JSON")
        assert (await broker.events(1))[0]["code"] == 400


# -- The broker -------------------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("payload", [b"", b"text", b"\x00\xff", b"x" * 120_000], ids=lambda payload: payload[:4])
async def test_mqtt_carries_payloads_as_they_are(
    shared: LocalProcess, protocol: aiomqtt.ProtocolVersion, payload: bytes
) -> None:
    topic = new_id("topic")
    async with mqtt(shared, topic, protocol=protocol) as broker:
        await broker.publish(topic, payload)
        assert await broker.take() == [(topic, payload)]


@VERSIONS
async def test_boto3_publishes_to_mqtt_clients(
    shared: LocalProcess, boto: Boto, protocol: aiomqtt.ProtocolVersion
) -> None:
    topic = new_id("topic")
    async with mqtt(shared, topic, protocol=protocol) as broker:
        boto("iot-data").publish(topic=topic, qos=1, payload=b"over HTTP")
        assert await broker.take() == [(topic, b"over HTTP")]


async def test_topic_filters(shared: LocalProcess) -> None:
    root = new_id("root")
    async with mqtt(shared, f"{root}/+/in", f"{root}/tree/#") as broker:
        for topic in ("a/b/in", "in", "a/in", "tree/a/b", "a/out", "end/in"):
            await broker.publish(f"{root}/{topic}", topic)
        assert [payload for _, payload in await broker.take(3)] == [b"a/in", b"tree/a/b", b"end/in"]


@VERSIONS
async def test_mqtt_accepts_the_name_of_describe_endpoint_as_host(
    shared: LocalProcess, boto: Boto, protocol: aiomqtt.ProtocolVersion
) -> None:
    """As on AWS; the name does not resolve, so it goes into the Host header only."""
    address = boto("iot").describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    assert ".iot.us-east-1." in address
    headers = {"Host": address}
    async with mqtt(shared, "x", protocol=protocol, websocket_headers=headers):
        pass


async def test_a_takeover_of_a_client_id_shows_in_the_presence_events(shared: LocalProcess) -> None:
    name = new_id("client")
    async with mqtt(shared, f"$aws/events/presence/+/{name}") as watcher:
        async with contextlib.AsyncExitStack() as first:
            with contextlib.suppress(aiomqtt.MqttError):
                await first.enter_async_context(mqtt(shared, identifier=name))
                [connected] = await watcher.events(1)
                async with mqtt(shared, identifier=name):
                    evicted, again = await watcher.events(2)
        [left] = await watcher.events(1)
    story = [event["eventType"] for event in (connected, evicted, again, left)]
    assert story == ["connected", "disconnected", "connected", "disconnected"]
    assert evicted["disconnectReason"] == "DUPLICATE_CLIENTID"
    assert evicted["sessionIdentifier"] == connected["sessionIdentifier"]
    assert left["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"
    assert left["clientInitiatedDisconnect"] is True


async def test_the_gateways_presence_events_look_like_the_brokers_own(
    shared: LocalProcess, register: Callable[[], Awaitable[str]]
) -> None:
    charge_point_id, name = await register(), new_id("client")

    async def story(who: str, connection: contextlib.AbstractAsyncContextManager[Any]) -> list[dict[str, Any]]:
        async with mqtt(shared, f"$aws/events/presence/+/{who}") as watcher:
            async with connection:
                [connected] = await watcher.events(1)
            return [connected, *await watcher.events(1)]

    ours = await story(charge_point_id, dial(shared, charge_point_id))
    theirs = await story(name, mqtt(shared, identifier=name))
    for one, other in zip(ours, theirs, strict=True):
        assert {key: type(value) for key, value in one.items()} == {key: type(value) for key, value in other.items()}
        same = ("eventType", "clientInitiatedDisconnect", "disconnectReason", "versionNumber", "ipAddress")
        assert [one.get(key) for key in same] == [other.get(key) for key in same]


# -- Topic rules ------------------------------------------------------------------------------------------------------


def test_a_topic_rule_is_created_listed_and_deleted(boto: Boto) -> None:
    name = new_id("rule").replace("-", "_")
    payload = {"sql": "SELECT * FROM 'a/b'", "actions": [], "awsIotSqlVersion": "2016-03-23"}
    boto("iot").create_topic_rule(ruleName=name, topicRulePayload=payload)
    assert boto("iot").get_topic_rule(ruleName=name)["rule"]["sql"] == payload["sql"]
    assert name in [rule["ruleName"] for rule in boto("iot").list_topic_rules()["rules"]]
    with pytest.raises(boto("iot").exceptions.ResourceAlreadyExistsException):
        boto("iot").create_topic_rule(ruleName=name, topicRulePayload=payload)
    boto("iot").delete_topic_rule(ruleName=name)
    assert name not in [rule["ruleName"] for rule in boto("iot").list_topic_rules()["rules"]]


async def test_a_rule_sends_its_event_to_a_queue(shared: LocalProcess, boto: Boto) -> None:
    name, topic = new_id("rule").replace("-", "_"), new_id("topic")
    queue = boto("sqs").create_queue(QueueName=name)["QueueUrl"]
    role = f"arn:aws:iam::{ACCOUNT}:role/any"
    sql = f"SELECT a AS b, topic() AS t FROM '{topic}'"
    action = {"sqs": {"queueUrl": queue, "roleArn": role, "useBase64": False}}
    boto("iot").create_topic_rule(ruleName=name, topicRulePayload={"sql": sql, "actions": [action]})
    try:
        boto("iot-data").publish(topic=topic, payload=b'{"a": [1, "x"], "other": 2}')
        answer = await eventually(lambda: boto("sqs").receive_message(QueueUrl=queue).get("Messages"))
        assert json.loads(answer[0]["Body"]) == {"b": [1, "x"], "t": topic}
    finally:
        boto("iot").delete_topic_rule(ruleName=name)
        boto("sqs").delete_queue(QueueUrl=queue)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("topic/subtopic", "topic/subtopic", True),
        ("topic/subtopic", "topic/subtopic-2", False),
        ("topic/#", "topic/subtopic-3/details", True),
        ("topic/#", "topic-2/subtopic-x", False),
        ("topic/+", "topic/subtopic-2", True),
        ("topic/+", "topic/subtopic-3/details", False),
        ("sensor/#", "sensor/", True),
        ("sensor/#", "sensor/temperature/room1", True),
        ("sensor/#", "sensor", False),
        ("sensor/+/room1", "sensor/humidity/room1", True),
        ("sensor/+/room1", "sensor/temperature/room2", False),
        ("+/in", "CP1/in", True),
        ("+/in", "CP1/out", False),
        ("+/in", "a/CP1/in", False),
        ("+/in", "/in", True),
        ("#", "a/b/c", True),
        ("+/+/#", "a/b", False),
        ("#", "$aws/events/thing/CP1/created", False),
        ("+/events/thing/CP1/created", "$aws/events/thing/CP1/created", False),
        ("$aws/events/#", "$aws/events/thing/CP1/created", True),
        ("$aws/events/thing/+/created", "$aws/events/thing/CP1/created", True),
        ("#", "$aws/things/CP1/shadow/update", True),
    ],
)
def test_the_topic_filter_of_a_rule_matches_as_on_aws(topic_filter: str, topic: str, matches: bool) -> None:
    """ministack finds the rules of a message. A leading wildcard matches ``$aws/things/…``, not ``$aws/events/…``."""
    from ministack.services.iot import _subscription_matches

    assert _subscription_matches(topic_filter, topic) is matches


# -- What the kit uses and replaces of ministack's private names ------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        (
            "services.iot",
            "broker_publish",
            (("account", "region", "topic", b"payload"), {"client_id": None, "principal": "p"}),
        ),
        ("services.iot", "broker_subscribe", (("account", "region", "filter", lambda *_: None), {})),
        ("services.iot", "broker_unsubscribe", (("id",), {})),
        ("services.iot", "_Subscription", (("filter", "account", "region", lambda *_: None), {})),
        ("services.iot", "_scoped_topic", (("account", "region", "filter"), {})),
        ("services.iot", "_run_rule_actions", (("account", "region", {}, b"payload", "topic", "client"), {})),
        ("services.iot", "put_topic_rule", (("name", {}), {"created_at": 1.0})),
        ("services.iot", "_rule_role_principal", (("account", "role"), {})),
        ("services.iot", "_validate_rule_sql", (("SELECT 1",), {})),
        ("services.iot", "_unimplemented_sql_functions", (("SELECT 1",), {})),
        ("services.iot", "_rule_topic_filter", (("SELECT 1",), {})),
        ("services.dynamodb", "_get_item", (({},), {})),
        ("services.dynamodb", "_put_item", (({},), {})),
        ("services.sqs", "_get_q", (("url",), {})),
        ("services.sqs", "_act_send_message", (({}, "url"), {})),
        ("core.lambda_runtime", "_signal", ((None,), {})),
        ("core.lambda_runtime", "_collect", ((None, 1.0), {})),
        ("core.responses", "request_scope", (("account", "region"), {})),
        ("app", "app", (({}, lambda: None, lambda _: None), {})),
    ],
)
def test_ministack_has_the_functions_that_the_kit_uses(
    module: str, name: str, call: tuple[tuple[object, ...], dict[str, object]]
) -> None:
    """The signature accepts the kit's call."""
    namespace = __import__(f"ministack.{module}", fromlist=[name])
    arguments, keywords = call
    function = getattr(namespace, name)
    inspect.signature(function).bind(*arguments, **keywords)
    is_async = name.startswith(("broker_", "_run_", "_dispatch_", "app"))
    assert inspect.iscoroutinefunction(function) == is_async


def test_the_emulator_replaces_what_its_docstring_lists_and_nothing_else() -> None:
    from ministack.core.responses import request_scope
    from ministack.services import dynamodb, iot, iot_data, sqs

    modules = {"iot": iot, "iot_data": iot_data}
    copies = {name: SimpleNamespace(**vars(module)) for name, module in modules.items()}
    mqtt_guard.install(**copies)
    shadows.install(**copies)
    things.install(copies["iot"])
    rule_actions.install(copies["iot"], dynamodb, sqs, request_scope)
    SteppingAside(copies["iot"])
    replaced = {
        attribute
        for name, module in modules.items()
        for attribute, value in vars(copies[name]).items()
        if value is not getattr(module, attribute, None)
    }
    assert all(hasattr(iot, name) or hasattr(iot_data, name) for name in replaced)
    table = (emulator.__doc__ or "").partition("modules ``services.iot``")[2]
    assert set(re.findall(r"(?:iot|iot_data| )\.(\w+)", table)) == replaced


# -- Nothing leaves the computer --------------------------------------------------------------------------------------


async def test_every_socket_of_the_process_is_on_the_loopback_interface(
    shared: LocalProcess, boto: Boto, register: Callable[[], Awaitable[str]]
) -> None:
    process = psutil.Process(shared.pid)
    async with dial(shared, await register()) as ws, mqtt(shared, "#"):
        assert await is_answered(ws)
        assert process.children(recursive=True) == []
        sockets = process.net_connections("inet")
    listening = [s for s in sockets if s.status == psutil.CONN_LISTEN]
    ports = [int(url.split(":")[2].split("/")[0]) for url in (shared.websocket_url, shared.endpoint_url)]
    assert sorted((s.laddr.ip, s.laddr.port) for s in listening) == sorted(("127.0.0.1", port) for port in ports)
    assert {s.family for s in sockets} == {socket.AF_INET}
    assert {s.type for s in sockets} == {socket.SOCK_STREAM}
    assert {s.laddr.ip for s in sockets} | {s.raddr.ip for s in sockets if s.raddr} == {"127.0.0.1"}


WITNESS = """
import json, runpy, sys

def witness(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.sendto"):
        place = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "os.exec", "os.posix_spawn"):
        place = arguments[0]
    elif event == "os.fork":
        place = ""
    else:
        return
    print(json.dumps([event, str(place)]), file=sys.stderr, flush=True)

sys.addaudithook(witness)
sys.argv = ["cpsim_kit.local", "--stack-name", "Witnessed"]
runpy.run_module("cpsim_kit.local", run_name="__main__")
"""


def test_starting_resolves_no_name_connects_nowhere_else_and_starts_no_program() -> None:
    """An audit hook sees it, so that nothing short-lived is missed."""
    with subprocess.Popen(
        [sys.executable, "-c", WITNESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "websocket_url" in json.loads(process.stdout.readline())
        rest, errors = process.communicate(timeout=ENDED)  # closes its standard input, which ends it
    assert (rest, process.returncode) == ("", 0)
    seen = [json.loads(line) for line in errors.splitlines() if line.startswith('["')]
    assert seen
    assert [entry for entry in seen if "127.0.0.1" not in entry[1] and "'::1'" not in entry[1]] == []
    assert {event for event, _ in seen} <= {"socket.connect", "socket.bind", "socket.getaddrinfo"}
