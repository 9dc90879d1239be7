"""Topic rules that are refused when they are made, by plain boto3 and by CloudFormation."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from ministack.core.responses import request_scope
from ministack.services import iot
from stack_fixtures import Boto, eventually, new_id

from cpsim_kit import Stack
from cpsim_kit.local.launcher import LocalProcess

ROLE = "arn:aws:iam::000000000000:role/any"
REPUBLISH = {"republish": {"topic": "elsewhere", "roleArn": ROLE}}
SQL = "SELECT * FROM 'a/b'"


@pytest.fixture
def name(boto: Boto) -> Iterator[str]:
    name = new_id("rule").replace("-", "_")
    yield name
    if name in [rule["ruleName"] for rule in boto("iot").list_topic_rules()["rules"]]:
        boto("iot").delete_topic_rule(ruleName=name)


def create(boto: Boto, name: str, sql: str = SQL, **payload: Any) -> None:
    boto("iot").create_topic_rule(ruleName=name, topicRulePayload={"sql": sql, "actions": [REPUBLISH], **payload})


def refusal(boto: Boto, verb: str, name: str, **payload: Any) -> tuple[str, str]:
    """Error code and message of CreateTopicRule or ReplaceTopicRule."""
    try:
        getattr(boto("iot"), verb)(ruleName=name, topicRulePayload={"sql": SQL, "actions": [REPUBLISH], **payload})
    except ClientError as exc:
        return exc.response["Error"]["Code"], exc.response["Error"]["Message"]
    raise AssertionError("accepted")


# -- SQL version -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [None, "2015-10-08", "2016-03-23", "beta"])
def test_the_sql_version_is_stored_and_without_one_it_is_2015_10_08(boto: Boto, name: str, given: str | None) -> None:
    create(boto, name, **({} if given is None else {"awsIotSqlVersion": given}))
    assert boto("iot").get_topic_rule(ruleName=name)["rule"]["awsIotSqlVersion"] == (given or "2015-10-08")


def test_a_replacement_without_a_version_has_2015_10_08_again(boto: Boto, name: str) -> None:
    create(boto, name, awsIotSqlVersion="2016-03-23")
    boto("iot").replace_topic_rule(ruleName=name, topicRulePayload={"sql": SQL, "actions": [REPUBLISH]})
    assert boto("iot").get_topic_rule(ruleName=name)["rule"]["awsIotSqlVersion"] == "2015-10-08"


@pytest.mark.parametrize("version", ["2020-01-01", "", "latest", "BETA", "2016-3-23"])
def test_an_unknown_sql_version_is_refused(boto: Boto, name: str, version: str) -> None:
    code, message = refusal(boto, "create_topic_rule", name, awsIotSqlVersion=version)
    assert code == "InvalidRequestException"
    assert f"{version!r} is not an SQL version; AWS has 2016-03-23, 2015-10-08 and beta" in message
    create(boto, name, awsIotSqlVersion="beta")
    assert refusal(boto, "replace_topic_rule", name, awsIotSqlVersion=version) == (code, message)
    assert boto("iot").get_topic_rule(ruleName=name)["rule"]["awsIotSqlVersion"] == "beta"


@pytest.mark.parametrize(
    "sql", ["SELECT (SELECT a FROM b) AS c FROM 'a/b'", "SELECT [1] AS c FROM 'a/b'", "SELECT {'a': 1} AS c FROM 'a/b'"]
)
def test_sql_of_2016_03_23_is_refused_in_a_rule_without_a_version(boto: Boto, name: str, sql: str) -> None:
    code, message = refusal(boto, "create_topic_rule", name, sql=sql)
    assert code == "SqlParseException"
    assert "needs SQL version 2016-03-23" in message
    create(boto, name, sql, awsIotSqlVersion="2016-03-23")


async def test_a_function_newer_than_the_rules_version_is_logged(boto: Boto, shared: LocalProcess, name: str) -> None:
    create(boto, name, "SELECT length(a) AS n FROM 'a/b'")
    text = f"rule {name}: AWS documents length() for SQL version 2016-03-23 and later, and this rule has 2015-10-08"
    await eventually(lambda: text in shared.log(200))


# -- Actions -----------------------------------------------------------------------------------------------------------

NOT_CARRIED_OUT: dict[str, dict[str, Any]] = {
    "cloudwatchAlarm": {"alarmName": "a", "stateReason": "r", "stateValue": "OK", "roleArn": ROLE},
    "cloudwatchLogs": {"logGroupName": "g", "roleArn": ROLE},
    "cloudwatchMetric": {
        "metricNamespace": "n",
        "metricName": "m",
        "metricValue": "1",
        "metricUnit": "None",
        "roleArn": ROLE,
    },
    "dynamoDB": {"tableName": "t", "hashKeyField": "k", "hashKeyValue": "${topic()}", "roleArn": ROLE},
    "elasticsearch": {"endpoint": "https://e", "index": "i", "type": "t", "id": "1", "roleArn": ROLE},
    "firehose": {"deliveryStreamName": "s", "roleArn": ROLE},
    "http": {"url": "https://example.com"},
    "iotAnalytics": {"channelName": "c", "roleArn": ROLE},
    "iotEvents": {"inputName": "i", "roleArn": ROLE},
    "kafka": {"destinationArn": "arn:aws:iot:x", "topic": "t", "clientProperties": {"acks": "1"}},
    "kinesis": {"streamName": "s", "roleArn": ROLE},
    "lambda": {"functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f"},
    "location": {
        "roleArn": ROLE,
        "trackerName": "t",
        "deviceId": "d",
        "latitude": "1",
        "longitude": "2",
    },
    "openSearch": {"endpoint": "https://e", "index": "i", "type": "t", "id": "1", "roleArn": ROLE},
    "s3": {"bucketName": "b", "key": "k", "roleArn": ROLE},
    "salesforce": {"token": "t" * 40, "url": "https://ingestion-a.b.sfdcnow.com/streams/a/b/c"},
    "sns": {"targetArn": "arn:aws:sns:us-east-1:000000000000:t", "roleArn": ROLE},
    "stepFunctions": {"stateMachineName": "m", "roleArn": ROLE},
    "timestream": {"databaseName": "d", "tableName": "t", "dimensions": [{"name": "n", "value": "v"}], "roleArn": ROLE},
}


@pytest.mark.parametrize("kind", NOT_CARRIED_OUT)
def test_an_action_that_the_local_stack_lacks_is_refused_by_name(boto: Boto, name: str, kind: str) -> None:
    action = {kind: NOT_CARRIED_OUT[kind]}
    told = f"does not carry out the action {kind}; it carries out dynamoDBv2, republish and sqs"
    for payload in ({"actions": [action]}, {"actions": [REPUBLISH, action]}, {"errorAction": action}):
        code, message = refusal(boto, "create_topic_rule", name, **payload)
        assert code == "InvalidRequestException"
        assert f"rule {name}: the local stack {told}" in message
    create(boto, name)
    assert told in refusal(boto, "replace_topic_rule", name, actions=[action])[1]
    assert boto("iot").get_topic_rule(ruleName=name)["rule"]["actions"] == [REPUBLISH]


@pytest.mark.parametrize("action", [{}, {**REPUBLISH, "sqs": {"queueUrl": "q", "roleArn": ROLE}}], ids=["none", "two"])
def test_an_action_of_no_kind_or_of_two_is_refused(boto: Boto, name: str, action: dict[str, Any]) -> None:
    code, message = refusal(boto, "create_topic_rule", name, actions=[action])
    assert (code, "an action has exactly one kind" in message) == ("InvalidRequestException", True)


@pytest.mark.parametrize("where", ["actions", "errorAction"])
def test_a_wrong_template_is_refused_with_its_position(boto: Boto, name: str, where: str) -> None:
    action = {"republish": {"topic": "a/${upper(}", "roleArn": ROLE}}
    code, message = refusal(boto, "create_topic_rule", name, **{where: [action] if where == "actions" else action})
    assert code == "SqlParseException"
    assert "line 1, column" in message


# -- CloudFormation ----------------------------------------------------------------------------------------------------


def deploy(boto: Boto, stack_name: str, rule: dict[str, Any] | str) -> str:
    """Create a stack with a rule; return why it failed, "" if it did not."""
    if isinstance(rule, dict):
        properties = {"RuleName": stack_name.replace("-", "_"), "TopicRulePayload": rule}
        rule = json.dumps({"Resources": {"Rule": {"Type": "AWS::IoT::TopicRule", "Properties": properties}}})
    cloudformation = boto("cloudformation")
    cloudformation.create_stack(StackName=stack_name, TemplateBody=rule, OnFailure="DO_NOTHING")
    [stack] = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
    while stack["StackStatus"] == "CREATE_IN_PROGRESS":
        [stack] = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
    events = cloudformation.describe_stack_events(StackName=stack_name)["StackEvents"]
    failed = [event.get("ResourceStatusReason", "") for event in events if event["ResourceStatus"] == "CREATE_FAILED"]
    return " ".join(failed)


@pytest.fixture
def stack_name(boto: Boto) -> Iterator[str]:
    name = new_id("rules")
    yield name
    boto("cloudformation").delete_stack(StackName=name)


_PASCAL = {"Republish": {"Topic": "elsewhere", "RoleArn": ROLE}}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"AwsIotSqlVersion": "2020-01-01"}, "'2020-01-01' is not an SQL version"),
        ({"Actions": [{"S3": {"BucketName": "b", "Key": "k", "RoleArn": ROLE}}]}, "does not carry out the action s3"),
        ({"Actions": [{"DynamoDB": {"TableName": "t"}}]}, "does not carry out the action dynamoDB"),
        ({"ErrorAction": {"Lambda": {"FunctionArn": "arn"}}}, "does not carry out the action lambda"),
        ({"Sql": "SELECT (SELECT a FROM b) AS c FROM 'a/b'"}, "a nested query needs SQL version 2016-03-23"),
    ],
    ids=["version", "s3", "dynamoDB", "errorAction", "sql"],
)
def test_cloudformation_refuses_such_a_rule(boto: Boto, stack_name: str, payload: dict[str, Any], reason: str) -> None:
    assert reason in deploy(boto, stack_name, {"Sql": SQL, "Actions": [_PASCAL], **payload})
    assert stack_name.replace("-", "_") not in [rule["ruleName"] for rule in boto("iot").list_topic_rules()["rules"]]


@pytest.mark.parametrize("given", [None, "2016-03-23"])
def test_cloudformations_rule_has_the_version_of_its_template(boto: Boto, stack_name: str, given: str | None) -> None:
    payload = {"Sql": SQL, "Actions": [_PASCAL], **({} if given is None else {"AwsIotSqlVersion": given})}
    assert deploy(boto, stack_name, payload) == ""
    rule = boto("iot").get_topic_rule(ruleName=stack_name.replace("-", "_"))["rule"]
    assert rule["awsIotSqlVersion"] == (given or "2015-10-08")


def test_a_version_in_yaml_needs_no_quotes(boto: Boto, stack_name: str) -> None:
    """YAML reads 2016-03-23 as a date."""
    name = stack_name.replace("-", "_")
    template = f"""
Resources:
  Rule:
    Type: AWS::IoT::TopicRule
    Properties:
      RuleName: {name}
      TopicRulePayload:
        AwsIotSqlVersion: 2016-03-23
        Sql: "{SQL}"
        Actions: [{{Republish: {{Topic: elsewhere, RoleArn: "{ROLE}"}}}}]
"""
    assert deploy(boto, stack_name, template) == ""
    assert boto("iot").get_topic_rule(ruleName=name)["rule"]["awsIotSqlVersion"] == "2016-03-23"


async def test_the_kits_own_rule_names_its_version(stack: Stack, boto: Boto, name: str) -> None:
    async with stack.rule(name, sql="SELECT (SELECT a FROM b) AS c FROM 'a/b'", republish="elsewhere"):
        assert boto("iot").get_topic_rule(ruleName=name)["rule"]["awsIotSqlVersion"] == "2016-03-23"


# -- Whether ministack still needs the guard ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        {"awsIotSqlVersion": "2020-01-01"},
        {"actions": [{"s3": NOT_CARRIED_OUT["s3"]}]},
        {"errorAction": {"dynamoDB": NOT_CARRIED_OUT["dynamoDB"]}},
        {"actions": [{}]},
    ],
    ids=["version", "action", "errorAction", "none"],
)
def test_ministack_alone_accepts_what_the_guard_refuses(payload: dict[str, Any]) -> None:
    """If this fails, ministack refuses it, and that part of the guard can be deleted."""
    with request_scope(new_id("account"), "us-east-1"):
        assert iot.put_topic_rule("name", {"sql": SQL, "actions": [], **payload})


def test_ministack_alone_has_another_default_version() -> None:
    with request_scope(new_id("account"), "us-east-1"):
        assert iot.put_topic_rule("name", {"sql": SQL, "actions": []})["awsIotSqlVersion"] == "2016-03-23"
