"""The CloudFormation template of the local stack.

The resources of the AWS OCPP Gateway sample that clients use, and the two tables of the kit's message processor. Where
the message processor is a Lambda function, also what stands before it: topic rule, queue, dead letter queue and event
source mapping, with the sample's logical ids.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from cpsim_kit.aws.deployment import (
    DEAD_LETTERS,
    INCOMING_MESSAGES,
    MESSAGE_PROCESSOR,
    MESSAGES_RULE,
    OUTPUT_KEY,
    REGISTRY_TABLE,
    TOKENS_TABLE,
    TRANSACTIONS_TABLE,
)

__all__ = ["PARAMETERS", "PROCESS_KEY", "template"]

PARAMETERS = ("WebsocketUrl", "Process", "Interval")
PROCESS_KEY = "localProcess"  # id and start of the process; not on AWS, where the gateway is an ECS service

# Seconds, of the function and of its queue. The sample has 30 for both: too long to watch a failed batch come back.
_FUNCTION_TIMEOUT = 3
_VISIBILITY_TIMEOUT = 5  # more than the function's timeout, as otherwise a slow batch is delivered again
_TRIES = 3
_CONCURRENCY = 2  # the least that AWS allows; each costs a process here


def _rule(sql: str, *actions: dict[str, Any]) -> dict[str, Any]:
    payload = {"AwsIotSqlVersion": "2016-03-23", "Sql": sql, "Actions": list(actions)}
    return {"Type": "AWS::IoT::TopicRule", "Properties": {"TopicRulePayload": payload}}


def _arn(logical_id: str) -> dict[str, Any]:
    return {"Fn::GetAtt": [logical_id, "Arn"]}


def _role(service: str, *statements: dict[str, Any]) -> dict[str, Any]:
    trust = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policies = [{"PolicyName": "default", "PolicyDocument": _policy(*statements)}] if statements else []
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {"AssumeRolePolicyDocument": _policy(trust), "Policies": policies},
    }


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _table(*keys: str) -> dict[str, Any]:
    return {
        "Type": "AWS::DynamoDB::Table",
        "Properties": {
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in keys],
            "KeySchema": [
                {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
            "BillingMode": "PAY_PER_REQUEST",
        },
    }


_ROLE = _arn("RuleRole")

_LEDGER = {TOKENS_TABLE: _table("idToken"), TRANSACTIONS_TABLE: _table("chargePointId", "transactionId")}


def _back_half(source: str) -> dict[str, Any]:
    """From ``+/in`` to the message processor, as the sample has it."""
    queue, dead_letters, function = INCOMING_MESSAGES, DEAD_LETTERS, MESSAGE_PROCESSOR
    tables = {"Action": ["dynamodb:GetItem", "dynamodb:PutItem"], "Resource": [_arn(each) for each in _LEDGER]}
    return {
        dead_letters: {"Type": "AWS::SQS::Queue"},
        queue: {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "VisibilityTimeout": _VISIBILITY_TIMEOUT,
                "RedrivePolicy": {"deadLetterTargetArn": _arn(dead_letters), "maxReceiveCount": _TRIES},
            },
        },
        MESSAGES_RULE: _rule(
            "SELECT * as message,topic(1) as chargePointId FROM '+/in'",
            {"Sqs": {"QueueUrl": {"Ref": queue}, "RoleArn": _ROLE}},
        ),
        f"{function}ServiceRole": _role(
            "lambda",
            {"Effect": "Allow", "Action": ["iot:Publish"], "Resource": "*"},
            {"Effect": "Allow", **tables},
        ),
        function: {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": f"python{sys.version_info.major}.{sys.version_info.minor}",
                "Handler": "message_processor.lambda_handler",
                "Code": {"ZipFile": source},
                "Role": _arn(f"{function}ServiceRole"),
                "Timeout": _FUNCTION_TIMEOUT,
                "Environment": {
                    "Variables": {
                        "TOKENS_TABLE": {"Ref": TOKENS_TABLE},
                        "TRANSACTIONS_TABLE": {"Ref": TRANSACTIONS_TABLE},
                        "HEARTBEAT_INTERVAL": {"Ref": "Interval"},
                    }
                },
            },
        },
        f"{function}SqsEventSource": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": _arn(queue),
                "FunctionName": {"Ref": function},
                "BatchSize": 10,
                "ScalingConfig": {"MaximumConcurrency": _CONCURRENCY},
            },
        },
    }


def template(*, ledger: bool, processor: str | None = None) -> str:
    """The template as JSON; its parameters are the names of :data:`PARAMETERS`.

    Args:
        ledger: Whether there are the tables of tokens and transactions.
        processor: The source of a message processor, which becomes a Lambda function; it needs the tables.
    """
    return json.dumps(
        {
            "Description": "The resources of the AWS OCPP Gateway that clients use.",
            "Parameters": {name: {"Type": "String"} for name in PARAMETERS},
            "Resources": {
                REGISTRY_TABLE: _table("chargePointId"),
                **(_LEDGER if ledger else {}),
                "DeletedThings": {"Type": "AWS::SQS::Queue"},
                "RuleRole": _role("iot"),
                "CreateThingRule": _rule(
                    "SELECT thingName as chargePointId, timestamp FROM '$aws/events/thing/+/created'",
                    {"DynamoDBv2": {"PutItem": {"TableName": {"Ref": REGISTRY_TABLE}}, "RoleArn": _ROLE}},
                ),
                "DeleteThingRule": _rule(
                    "SELECT thingName as chargePointId, timestamp FROM '$aws/events/thing/+/deleted'",
                    {"Sqs": {"QueueUrl": {"Ref": "DeletedThings"}, "RoleArn": _ROLE}},
                ),
                **({} if processor is None else _back_half(processor)),
            },
            "Outputs": {
                "loadBalancerDnsName": {"Description": "Host of the gateway", "Value": "127.0.0.1"},
                OUTPUT_KEY: {"Description": "Address for charge points", "Value": {"Ref": "WebsocketUrl"}},
                PROCESS_KEY: {"Description": "Id and start of the local stack's process", "Value": {"Ref": "Process"}},
            },
        }
    )
