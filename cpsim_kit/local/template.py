"""The CloudFormation template of the local stack.

The resources of the AWS OCPP Gateway sample that clients use, and the two tables of the kit's message processor.
"""

from __future__ import annotations

import json
from typing import Any

from cpsim_kit.aws.deployment import OUTPUT_KEY, REGISTRY_TABLE, TOKENS_TABLE, TRANSACTIONS_TABLE

__all__ = ["PROCESS_KEY", "template"]

PROCESS_KEY = "localProcess"  # id and start of the process; not on AWS, where the gateway is an ECS service


def _rule(sql: str, *actions: dict[str, Any]) -> dict[str, Any]:
    payload = {"AwsIotSqlVersion": "2016-03-23", "Sql": sql, "Actions": list(actions)}
    return {"Type": "AWS::IoT::TopicRule", "Properties": {"TopicRulePayload": payload}}


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


_ROLE = {"Fn::GetAtt": ["RuleRole", "Arn"]}

_LEDGER = {TOKENS_TABLE: _table("idToken"), TRANSACTIONS_TABLE: _table("chargePointId", "transactionId")}


def template(*, ledger: bool) -> str:
    """The template as JSON; with ``ledger``, there are the tables of tokens and transactions."""
    return json.dumps(
        {
            "Description": "The resources of the AWS OCPP Gateway that clients use.",
            "Parameters": {"WebsocketUrl": {"Type": "String"}, "Process": {"Type": "String"}},
            "Resources": {
                REGISTRY_TABLE: _table("chargePointId"),
                **(_LEDGER if ledger else {}),
                "DeletedThings": {"Type": "AWS::SQS::Queue"},
                "RuleRole": {
                    "Type": "AWS::IAM::Role",
                    "Properties": {
                        "AssumeRolePolicyDocument": {
                            "Version": "2012-10-17",
                            "Statement": [
                                {
                                    "Effect": "Allow",
                                    "Principal": {"Service": "iot.amazonaws.com"},
                                    "Action": "sts:AssumeRole",
                                }
                            ],
                        }
                    },
                },
                "CreateThingRule": _rule(
                    "SELECT thingName as chargePointId, timestamp FROM '$aws/events/thing/+/created'",
                    {"DynamoDBv2": {"PutItem": {"TableName": {"Ref": REGISTRY_TABLE}}, "RoleArn": _ROLE}},
                ),
                "DeleteThingRule": _rule(
                    "SELECT thingName as chargePointId, timestamp FROM '$aws/events/thing/+/deleted'",
                    {"Sqs": {"QueueUrl": {"Ref": "DeletedThings"}, "RoleArn": _ROLE}},
                ),
            },
            "Outputs": {
                "loadBalancerDnsName": {"Description": "Host of the gateway", "Value": "127.0.0.1"},
                OUTPUT_KEY: {"Description": "Address for charge points", "Value": {"Ref": "WebsocketUrl"}},
                PROCESS_KEY: {"Description": "Id and start of the local stack's process", "Value": {"Ref": "Process"}},
            },
        }
    )
