"""Actions of topic rules on the local stack, by plain boto3 and MQTT, as in the AWS IoT Core developer guide."""

import base64
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from stack_fixtures import Boto, ask, dial, eventually, mqtt, new_id

from cpsim_kit.local.launcher import LocalProcess
from cpsim_kit.local.server.emulator import ACCOUNT

ROLE = f"arn:aws:iam::{ACCOUNT}:role/any"
RAW = b"\xff\x00\x01"
Register = Callable[[], Awaitable[str]]


class Rules:
    """Rules, queues and tables of one test."""

    def __init__(self, boto: Boto) -> None:
        self.boto = boto
        self.topic = new_id("topic")
        self._undo: list[Callable[[], Any]] = []

    def create(self, select: str, *actions: dict[str, Any], version: str | None = None, **payload: Any) -> str:
        """A rule on this test's topic."""
        name = new_id("rule").replace("-", "_")
        payload |= {"sql": f"{select} FROM '{self.topic}'", "actions": list(actions)}
        if version is not None:
            payload["awsIotSqlVersion"] = version
        self.boto("iot").create_topic_rule(ruleName=name, topicRulePayload=payload)
        self._undo.append(lambda: self.boto("iot").delete_topic_rule(ruleName=name))
        return name

    def queue(self) -> str:
        url: str = self.boto("sqs").create_queue(QueueName=new_id("queue"))["QueueUrl"]
        self._undo.append(lambda: self.boto("sqs").delete_queue(QueueUrl=url))
        return url

    def table(self) -> str:
        name = new_id("table")
        self.boto("dynamodb").create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        self._undo.append(lambda: self.boto("dynamodb").delete_table(TableName=name))
        return name

    def publish(self, payload: Any, topic: str | None = None) -> None:
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.boto("iot-data").publish(topic=topic or self.topic, payload=data, qos=1)

    async def take(self, queue: str) -> str:
        """The next message of a queue."""
        receive = self.boto("sqs").receive_message
        [message] = await eventually(lambda: receive(QueueUrl=queue).get("Messages"))
        self.boto("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return str(message["Body"])

    def close(self) -> None:
        for undo in reversed(self._undo):
            undo()


@pytest.fixture
def rules(boto: Boto) -> Iterator[Rules]:
    rules = Rules(boto)
    yield rules
    rules.close()


def sqs(url: str, **options: Any) -> dict[str, Any]:
    return {"sqs": {"queueUrl": url, "roleArn": ROLE, **options}}


def republish(topic: str) -> dict[str, Any]:
    return {"republish": {"topic": topic, "roleArn": ROLE, "qos": 1}}


def dynamodb(table: str) -> dict[str, Any]:
    return {"dynamoDBv2": {"putItem": {"tableName": table}, "roleArn": ROLE}}


# -- SQL version -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (None, '{"v":"2015-10-08","t":10.0}'),
        ("2015-10-08", '{"v":"2015-10-08","t":10.0}'),
        ("2016-03-23", '{"v":"2016-03-23","t":10}'),
        ("beta", '{"v":"beta","t":10}'),
    ],
)
async def test_a_rule_is_evaluated_in_its_sql_version(rules: Rules, version: str | None, text: str) -> None:
    queue = rules.queue()
    rules.create("SELECT sql_version() AS v, t", sqs(queue), version=version)
    rules.publish(b'{"t": 10.0}')
    assert await rules.take(queue) == text


async def test_a_template_is_evaluated_in_the_rules_sql_version(rules: Rules, shared: LocalProcess) -> None:
    rules.create("SELECT *", republish(f"{rules.topic}/${{sql_version()}}/${{t}}"))
    async with mqtt(shared, f"{rules.topic}/#") as watcher:
        rules.publish(b'{"t": 10.0}')
        [(topic, _)] = await watcher.take()
    assert topic == f"{rules.topic}/2015-10-08/10.0"


# -- The publisher -----------------------------------------------------------------------------------------------------

WHO = "SELECT accountid() AS account, principal() AS who, clientid() AS client, traceid() AS trace"


async def test_a_rule_knows_the_account_and_the_principal_of_an_http_publisher(rules: Rules) -> None:
    queue = rules.queue()
    rules.create(WHO, sqs(queue))
    rules.publish({})
    event = json.loads(await rules.take(queue))
    assert event == {"account": ACCOUNT, "who": ACCOUNT, "client": "n/a"}  # the user id of the account is the account


async def test_a_rule_knows_the_client_of_a_message_over_mqtt(rules: Rules, shared: LocalProcess) -> None:
    queue = rules.queue()
    rules.create(WHO, sqs(queue))
    name = new_id("client")
    async with mqtt(shared, identifier=name) as client:
        await client.client.publish(rules.topic, b"{}", qos=1)
    event = json.loads(await rules.take(queue))
    assert (event["account"], event["client"], len(event["trace"])) == (ACCOUNT, name, 36)
    assert event["who"]


async def test_a_rule_knows_the_gateway_as_principal_of_a_charge_points_messages(
    rules: Rules, shared: LocalProcess, register: Register
) -> None:
    queue, charge_point_id = rules.queue(), await register()
    rules.topic = f"{charge_point_id}/in"
    rules.create(WHO, sqs(queue))
    async with dial(shared, charge_point_id) as ws:
        await ask(ws, "Heartbeat", {})
    event = json.loads(await rules.take(queue))
    assert (event["account"], event["who"], event["client"]) == (ACCOUNT, "ocpp-gateway", charge_point_id)


async def test_a_template_knows_the_account_and_the_principal(rules: Rules, shared: LocalProcess) -> None:
    rules.create("SELECT *", republish(f"{rules.topic}/${{accountid()}}/${{principal()}}"))
    async with mqtt(shared, f"{rules.topic}/#") as watcher:
        rules.publish({})
        [(topic, _)] = await watcher.take()
    assert topic == f"{rules.topic}/{ACCOUNT}/{ACCOUNT}"


@pytest.mark.parametrize("over_mqtt", [True, False], ids=["MQTT", "HTTP"])
async def test_clientid_in_a_template_is_the_client_that_published(
    rules: Rules, shared: LocalProcess, over_mqtt: bool
) -> None:
    name = new_id("client")
    rules.create("SELECT *", republish(f"{rules.topic}/by/${{clientid()}}"))
    async with mqtt(shared, f"{rules.topic}/by/#", identifier=name) as client:
        if over_mqtt:
            await client.publish(rules.topic, b"{}")
        else:
            rules.publish({})
        [(topic, _)] = await client.take()
    assert topic == f"{rules.topic}/by/{name if over_mqtt else 'n/a'}"


@pytest.mark.parametrize("encoded", [True, False])
async def test_a_parameter_of_an_action_that_is_not_a_string_keeps_its_value(rules: Rules, encoded: bool) -> None:
    queue = rules.queue()
    rules.create("SELECT *", sqs(queue, useBase64=encoded))
    rules.publish({"a": 1})
    assert await rules.take(queue) == (base64.b64encode(b'{"a":1}').decode() if encoded else '{"a":1}')


# -- Payloads that are not JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"hello", RAW, b"", b"5", b'"text"', bytes(range(256))], ids=repr)
async def test_a_payload_that_is_not_json_is_republished_byte_for_byte(
    rules: Rules, shared: LocalProcess, payload: bytes
) -> None:
    rules.create("SELECT *", republish(f"{rules.topic}/out"))
    async with mqtt(shared, f"{rules.topic}/out") as watcher:
        rules.publish(payload)
        assert await watcher.take() == [(f"{rules.topic}/out", payload)]


@pytest.mark.parametrize("payload", [b"hello", RAW, b"5"], ids=repr)
async def test_use_base64_has_the_bytes_of_the_payload(rules: Rules, payload: bytes) -> None:
    queue = rules.queue()
    rules.create("SELECT *", sqs(queue, useBase64=True))
    rules.publish(payload)
    assert base64.b64decode(await rules.take(queue)) == payload


async def test_use_base64_has_the_json_of_the_result(rules: Rules) -> None:
    queue = rules.queue()
    rules.create("SELECT a", sqs(queue, useBase64=True))
    rules.publish({"a": "ž", "b": 1})
    assert json.loads(base64.b64decode(await rules.take(queue))) == {"a": "ž"}


async def test_text_arrives_in_a_queue_unchanged(rules: Rules) -> None:
    queue = rules.queue()
    rules.create("SELECT *", sqs(queue))
    rules.publish("grün".encode())
    assert await rules.take(queue) == "grün"


@pytest.mark.parametrize("version", [None, "2016-03-23"])
async def test_encode_has_the_bytes_of_the_payload(rules: Rules, version: str | None) -> None:
    queue = rules.queue()
    rules.create("SELECT encode(*, 'base64') AS data, topic() AS t", sqs(queue), version=version)
    rules.publish(RAW)
    assert json.loads(await rules.take(queue)) == {"data": base64.b64encode(RAW).decode(), "t": rules.topic}


async def test_text_becomes_json_as_in_the_guide(rules: Rules) -> None:
    queue = rules.queue()
    rules.create("SELECT decode(encode(*, 'base64'), 'base64') AS payload", sqs(queue), version="2016-03-23")
    rules.publish(b"hello")
    assert json.loads(await rules.take(queue)) == {"payload": "hello"}


async def test_a_payload_that_is_not_utf_8_fails_for_a_queue(rules: Rules) -> None:
    errors = rules.queue()
    rules.create("SELECT *", sqs(rules.queue()), errorAction=sqs(errors))
    rules.publish(b"\xff\xfe")
    document = json.loads(await rules.take(errors))
    assert base64.b64decode(document["base64OriginalPayload"]) == b"\xff\xfe"
    assert "set useBase64" in document["failures"][0]["errorMessage"]


# -- DynamoDBv2 --------------------------------------------------------------------------------------------------------


async def test_nested_json_is_stored_as_map_list_number_boolean_and_null(rules: Rules, boto: Boto) -> None:
    table = rules.table()
    rules.create("SELECT *", dynamodb(table))
    document = {
        "id": "A",
        "map": {"x": 1, "y": {"z": [True, None]}},
        "list": [1, "a", 2.5, {"b": False}, []],
        "no": None,
        "yes": True,
        "big": 12345678901234567,
        "small": -0.125,
        "empty": {},
        "text": "",
    }
    rules.publish(document)
    [item] = await eventually(lambda: boto("dynamodb").scan(TableName=table)["Items"])
    assert item == {
        "id": {"S": "A"},
        "map": {"M": {"x": {"N": "1"}, "y": {"M": {"z": {"L": [{"BOOL": True}, {"NULL": True}]}}}}},
        "list": {"L": [{"N": "1"}, {"S": "a"}, {"N": "2.5"}, {"M": {"b": {"BOOL": False}}}, {"L": []}]},
        "no": {"NULL": True},
        "yes": {"BOOL": True},
        "big": {"N": "12345678901234567"},
        "small": {"N": "-0.125"},
        "empty": {"M": {}},
        "text": {"S": ""},
    }


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"no JSON", "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b'{"other": 1}', "ValidationException"),
        (b'{"id": 5}', "ValidationException"),
    ],
    ids=repr,
)
async def test_an_event_that_cannot_be_an_item_goes_to_the_error_action(
    rules: Rules, payload: bytes, reason: str
) -> None:
    errors, table = rules.queue(), rules.table()
    rules.create("SELECT *", dynamodb(table), errorAction=sqs(errors))
    rules.publish(payload)
    [failure] = json.loads(await rules.take(errors))["failures"]
    assert (failure["failedAction"], failure["failedResource"]) == ("DynamoDBv2Action", table)
    assert reason in failure["errorMessage"]


# -- The error action's document ---------------------------------------------------------------------------------------


async def test_the_error_document_is_that_of_the_guide(rules: Rules, shared: LocalProcess) -> None:
    errors, name, payload = rules.queue(), new_id("client"), b'{"a": 1}'
    rule = rules.create("SELECT *", dynamodb("nosuchtable"), errorAction=sqs(errors))
    async with mqtt(shared, identifier=name) as client:
        await client.client.publish(rules.topic, payload, qos=1)
    document = json.loads(await rules.take(errors))
    [failure] = document.pop("failures")
    assert len(document.pop("cloudwatchTraceId")) == 36
    assert document == {
        "ruleName": rule,
        "topic": rules.topic,
        "clientId": name,
        "base64OriginalPayload": base64.b64encode(payload).decode(),
    }
    message = failure.pop("errorMessage")
    assert failure == {"failedAction": "DynamoDBv2Action", "failedResource": "nosuchtable"}
    assert "ResourceNotFoundException" in message
    assert f"Message arrived on: {rules.topic}, Action: dynamoDBv2, Table: nosuchtable" in message


async def test_one_document_has_the_failures_of_all_actions_by_name(rules: Rules) -> None:
    errors, works = rules.queue(), rules.queue()
    gone = f"{works.rpartition('/')[0]}/nosuchqueue"
    actions = [dynamodb("table-${topic()}"), sqs(works), sqs(gone), republish("a/${missing}+")]
    rules.create("SELECT *", *actions, errorAction=sqs(errors))
    rules.publish({"a": 1})
    assert json.loads(await rules.take(works)) == {"a": 1}
    document = json.loads(await rules.take(errors))
    assert document["clientId"] == "N/A"
    assert [(failure["failedAction"], failure["failedResource"]) for failure in document["failures"]] == [
        ("DynamoDBv2Action", f"table-{rules.topic}"),
        ("SqsAction", "nosuchqueue"),
        ("RepublishAction", "a/+"),
    ]
    assert all(isinstance(failure["errorMessage"], str) for failure in document["failures"])


async def test_a_fifo_queue_is_a_failure(rules: Rules, boto: Boto) -> None:
    errors = rules.queue()
    fifo = boto("sqs").create_queue(QueueName=f"{new_id('q')}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    rules.create("SELECT *", sqs(fifo), errorAction=sqs(errors))
    rules.publish({})
    [failure] = json.loads(await rules.take(errors))["failures"]
    assert failure["failedResource"] == fifo.rpartition("/")[2]
    assert "FIFO" in failure["errorMessage"]
    boto("sqs").delete_queue(QueueUrl=fifo)


async def test_the_error_action_has_templates_of_the_original_message(rules: Rules, shared: LocalProcess) -> None:
    rules.create("SELECT 1 AS a", dynamodb("nosuchtable"), errorAction=republish("errors/${topic()}/${id}"))
    async with mqtt(shared, f"errors/{rules.topic}/+") as watcher:
        rules.publish({"id": "A"})
        [(topic, payload)] = await watcher.take()
    assert topic == f"errors/{rules.topic}/A"
    assert json.loads(payload)["failures"][0]["failedResource"] == "nosuchtable"


async def test_an_error_document_in_a_table_has_its_failures_as_a_list(rules: Rules, boto: Boto) -> None:
    table = boto("dynamodb").create_table(
        TableName=new_id("errors"),
        KeySchema=[{"AttributeName": "ruleName", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "ruleName", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )["TableDescription"]["TableName"]
    rules.create("SELECT *", dynamodb("nosuchtable"), errorAction=dynamodb(table))
    rules.publish({})
    [item] = await eventually(lambda: boto("dynamodb").scan(TableName=table)["Items"])
    assert item["failures"]["L"][0]["M"]["failedAction"] == {"S": "DynamoDBv2Action"}
    boto("dynamodb").delete_table(TableName=table)


async def test_an_error_action_that_fails_is_logged(rules: Rules, shared: LocalProcess) -> None:
    rule = rules.create("SELECT *", dynamodb("nosuchtable"), errorAction=dynamodb("another"))
    rules.publish({})
    await eventually(lambda: f"rule {rule}: its error action failed on {rules.topic}" in shared.log(200))


# -- Republish ---------------------------------------------------------------------------------------------------------


async def test_rules_that_republish_to_each_other_stop(rules: Rules, shared: LocalProcess) -> None:
    other, first = new_id("other"), rules.topic
    rule = rules.create("SELECT *", republish(other))
    rules.topic = other
    rules.create("SELECT *", republish(first))
    rules.publish({}, first)
    await eventually(lambda: f"rule {rule}: its republish action failed on {first}" in shared.log(200))


async def test_the_fields_of_a_nested_object_are_selected(rules: Rules) -> None:
    queue = rules.queue()
    rules.create("SELECT state.reported.*, topic() AS t", sqs(queue))
    rules.publish({"state": {"reported": {"power": 11}}})
    assert json.loads(await rules.take(queue)) == {"power": 11, "t": rules.topic}


async def test_a_string_leaves_the_rule_as_json(rules: Rules) -> None:
    """The guide's example of SELECT VALUE has the outgoing payload "red", in quotes."""
    queue = rules.queue()
    rules.create("SELECT VALUE color", sqs(queue))
    rules.publish({"color": "red"})
    assert await rules.take(queue) == '"red"'
