"""The CloudFormation template of the local stack: the resources of the AWS OCPP Gateway sample that clients use."""

from __future__ import annotations

import json
from typing import Any

from cpsim_kit.aws.deployment import OUTPUT_KEY

__all__ = ["PROCESS_KEY", "TEMPLATE"]

PROCESS_KEY = "localProcess"  # id and start of the process; not on AWS, where the gateway is an ECS service


def _rule(sql: str, *actions: dict[str, Any]) -> dict[str, Any]:
    payload = {"AwsIotSqlVersion": "2016-03-23", "Sql": sql, "Actions": list(actions)}
    return {"Type": "AWS::IoT::TopicRule", "Properties": {"TopicRulePayload": payload}}


_ROLE = {"Fn::GetAtt": ["RuleRole", "Arn"]}

TEMPLATE = json.dumps(
    {
        "Description": "The resources of the AWS OCPP Gateway that clients use.",
        "Parameters": {"WebsocketUrl": {"Type": "String"}, "Process": {"Type": "String"}},
        "Resources": {
            "ChargePointTable": {
                "Type": "AWS::DynamoDB::Table",
                "Properties": {
                    "AttributeDefinitions": [{"AttributeName": "chargePointId", "AttributeType": "S"}],
                    "KeySchema": [{"AttributeName": "chargePointId", "KeyType": "HASH"}],
                    "BillingMode": "PAY_PER_REQUEST",
                },
            },
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
                {"DynamoDBv2": {"PutItem": {"TableName": {"Ref": "ChargePointTable"}}, "RoleArn": _ROLE}},
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
