"""A deployed AWS OCPP Gateway for tests: a process of its own with the sample's resources, made by CloudFormation.

The sample is aws-samples/aws-ocpp-gateway. Its container and the function that deletes Things run here as tasks; its
message processor (deployed_function/) is a Lambda function. They are reached as the sample's are: frames go over MQTT
topics, a rule and a queue to the message processor, and Things into the registry table by rules. The kit's launcher,
`Stack.local` and the local stack's own CloudFormation template have no part in it. Run by hand, it prints its addresses
as JSON and serves until its standard input ends:

    python tests/deployed_stack.py --interval 10
"""

import argparse
import asyncio
import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self

STACK = "AwsOcppGatewayStack"
OTHER_STACK = "SomethingElse"  # a stack that is no gateway's
REGION = "eu-west-1"
PACKAGE = Path(__file__).parent / "deployed_function"
KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # of AWS's documentation


# -- The tests' side --------------------------------------------------------------------------------------------------


class DeployedStack:
    """The process.

    Attributes:
        endpoint_url: Where boto3 connects.
        websocket_url: Where charge points connect.
    """

    def __init__(self) -> None:
        self._log = Path(tempfile.mkdtemp(prefix="cpsim-deployed-")) / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
                start_new_session=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the deployed stack did not start:\n{self.log()}"
        addresses = json.loads(line)
        self.pid = self._process.pid
        self.endpoint_url: str = addresses["endpoint_url"]
        self.websocket_url: str = addresses["websocket_url"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)
        self._log.unlink()
        self._log.parent.rmdir()

    def log(self) -> str:
        return self._log.read_text()

    def environment(self, endpoint_url: str | None = None) -> dict[str, str]:
        """What a reader exports to work on it."""
        return {
            "CPSIM_STACK": STACK,
            "AWS_ENDPOINT_URL": endpoint_url or self.endpoint_url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": "a/session+token==",
        }


# -- The sample's template, as CDK synthesises it ---------------------------------------------------------------------


def _queue(dead_letters: str | None = None) -> dict[str, Any]:
    if dead_letters is None:
        return {"Type": "AWS::SQS::Queue", "Properties": {}}
    target = {"Fn::GetAtt": [dead_letters, "Arn"]}
    policy = {"deadLetterTargetArn": target, "maxReceiveCount": 3}
    # The sample's queue and function have 30 s: a dead letter after one and a half minutes is too late for a test.
    return {"Type": "AWS::SQS::Queue", "Properties": {"RedrivePolicy": policy, "VisibilityTimeout": 5}}


def _role(service: str = "iot") -> dict[str, Any]:
    trust = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = {"Version": "2012-10-17", "Statement": [trust]}
    return {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": document}}


def _rule(sql: str, description: str, role: str, **action: Any) -> dict[str, Any]:
    [(kind, target)] = action.items()
    payload = {
        "Actions": [{kind: {**target, "RoleArn": {"Fn::GetAtt": [role, "Arn"]}}}],
        "AwsIotSqlVersion": "2016-03-23",
        "Description": description,
        "Sql": sql,
    }
    return {"Type": "AWS::IoT::TopicRule", "Properties": {"TopicRulePayload": payload}}


TEMPLATE = {
    "Description": "SO9522: This stack deploys resources for OCPP Gateway application.",
    "Parameters": {"Address": {"Type": "String"}, "Interval": {"Type": "String"}},
    "Resources": {
        "SomeOtherTable1F0B3C2D": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                "BillingMode": "PAY_PER_REQUEST",
            },
        },
        "ChargePointTable4E4A0B5F": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "AttributeDefinitions": [{"AttributeName": "chargePointId", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "chargePointId", "KeyType": "HASH"}],
                "BillingMode": "PAY_PER_REQUEST",
            },
        },
        "CreateThingRuleRole": _role(),
        "CreateThingRule": _rule(
            "SELECT thingName as chargePointId, timestamp FROM '$aws/events/thing/+/created'",
            "Insert new IOT Thing reference into DynamoDB",
            "CreateThingRuleRole",
            DynamoDBv2={"PutItem": {"TableName": {"Ref": "ChargePointTable4E4A0B5F"}}},
        ),
        "DeadLetterQueueForDeletedThings": _queue(),
        "DeletedThings": _queue("DeadLetterQueueForDeletedThings"),
        "DeleteThingRuleRole": _role(),
        "DeleteThingRule": _rule(
            "SELECT thingName as chargePointId, timestamp FROM '$aws/events/thing/+/deleted'",
            "Delete an IOT Thing reference from DynamoDB",
            "DeleteThingRuleRole",
            Sqs={"QueueUrl": {"Ref": "DeletedThings"}},
        ),
        "DeadLetterQueueForIncomingMessages": _queue(),
        "IncomingMessagesQueue": _queue("DeadLetterQueueForIncomingMessages"),
        "MessagesFromChargePointsRuleRole": _role(),
        "MessagesFromChargePointsRule": _rule(
            "SELECT * as message,topic(1) as chargePointId FROM '+/in'",
            "Insert messages coming from Charge Points into an SQS queue to be processed by the message processor",
            "MessagesFromChargePointsRuleRole",
            Sqs={"QueueUrl": {"Ref": "IncomingMessagesQueue"}},
        ),
        "OCPPMessageProcessorServiceRole7D1E2F3A": _role("lambda"),
        "PublishToOutTopicPolicy4B5C6D7E": {
            "Type": "AWS::IAM::Policy",
            "Properties": {
                "PolicyName": "PublishToOutTopicPolicy4B5C6D7E",
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [{"Action": "iot:Publish", "Effect": "Allow", "Resource": "*"}],
                },
                "Roles": [{"Ref": "OCPPMessageProcessorServiceRole7D1E2F3A"}],
            },
        },
        "OCPPMessageProcessor8A9B0C1D": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": f"python{sys.version_info.major}.{sys.version_info.minor}",
                "Handler": "message_processor.lambda_handler",
                "Code": {"ZipFile": "# CDK uploads a package to a bucket; here it follows\n"},
                "Role": {"Fn::GetAtt": ["OCPPMessageProcessorServiceRole7D1E2F3A", "Arn"]},
                "MemorySize": 128,
                "Timeout": 5,
                "Environment": {"Variables": {"INTERVAL": {"Ref": "Interval"}}},
            },
        },
        "OCPPMessageProcessorSqsEventSourceAwsOcppGatewayStackIncomingMessagesQueue2E3F4A5B": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": {"Fn::GetAtt": ["IncomingMessagesQueue", "Arn"]},
                "FunctionName": {"Ref": "OCPPMessageProcessor8A9B0C1D"},
                # The sample takes up to ten at a time, and AWS fetches a message at once. Here one that fails makes the
                # next ones wait, which would fail with it then: again and again, as one batch.
                "BatchSize": 1,
                "ScalingConfig": {"MaximumConcurrency": 2},  # the sample has no limit; each costs a process here
            },
        },
        "GatewayCluster5E1C1F2A": {"Type": "AWS::ECS::Cluster"},
        "GatewayTaskDefinition": {
            "Type": "AWS::ECS::TaskDefinition",
            "Properties": {"ContainerDefinitions": [{"Name": "gateway", "Image": "gateway", "Memory": 1024}]},
        },
        "GatewayService": {
            "Type": "AWS::ECS::Service",
            "Properties": {
                "Cluster": {"Ref": "GatewayCluster5E1C1F2A"},
                "TaskDefinition": {"Ref": "GatewayTaskDefinition"},
                "DesiredCount": 1,
            },
        },
    },
    "Outputs": {
        "loadBalancerDnsName": {"Description": "The Gateway NLB DNS name", "Value": {"Ref": "Address"}},
        "websocketURL": {
            "Description": "The Gateway websocket URL",
            "Value": {"Fn::Join": ["", ["ws://", {"Ref": "Address"}]]},
        },
    },
}

OTHER_TEMPLATE = {
    "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
    "Outputs": {"queueUrl": {"Value": {"Ref": "Queue"}}},
}


# -- The process's side -----------------------------------------------------------------------------------------------


class Worker:
    """In the place of a queue's Lambda function: polls, handles each record, deletes what it handled."""

    def __init__(self, sqs: Any, queue_url: str, handle: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        self._sqs, self._queue_url, self._handle = sqs, queue_url, handle

    async def run(self) -> None:
        while True:
            done = []
            for body, receipt in await asyncio.to_thread(self._receive):
                try:
                    await self._handle(body)
                except Exception:
                    logging.exception("failed on %r", body)
                    continue  # it comes again after the visibility timeout
                done.append({"Id": str(len(done)), "ReceiptHandle": receipt})
            if done:
                await asyncio.to_thread(self._sqs.delete_message_batch, QueueUrl=self._queue_url, Entries=done)

    def _receive(self) -> list[tuple[Any, str]]:
        answer = self._sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=2)
        return [(json.loads(each["Body"]), each["ReceiptHandle"]) for each in answer.get("Messages", [])]


def _package() -> bytes:
    """The function's code, as CDK zips the asset."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for path in sorted(PACKAGE.glob("*.py")):
            package.write(path, path.name)
    return out.getvalue()


async def _run(interval: int) -> None:
    import boto3
    from botocore.config import Config

    from cpsim_kit.aws.access_key import AccessKey
    from cpsim_kit.local.server.emulator import Emulator
    from cpsim_kit.local.server.gateway import Gateway
    from cpsim_kit.local.server.guard.door import SERVICES

    services = {*SERVICES, "ecs", "monitoring", "lambda", "logs"}
    emulator = Emulator(REGION, AccessKey(KEY_ID, SECRET), services=services)
    await emulator.start()

    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=emulator.url,
            region_name=REGION,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            config=Config(proxies={}, retries={"total_max_attempts": 1}),
        )

    def deploy(name: str, template: dict[str, Any], **parameters: str) -> dict[str, str]:
        cloudformation.create_stack(
            StackName=name,
            TemplateBody=json.dumps(template),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        waiter = cloudformation.get_waiter("stack_create_complete")
        waiter.wait(StackName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 1000})
        answer = cloudformation.describe_stack_resources(StackName=name)
        return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in answer["StackResources"]}

    def put_package(functions: Any, name: str) -> None:
        functions.update_function_code(FunctionName=name, ZipFile=_package())
        waiter = functions.get_waiter("function_updated_v2")
        waiter.wait(FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 1000})

    cloudformation, sqs, dynamodb = client("cloudformation"), client("sqs"), client("dynamodb")
    resources: dict[str, str] = {}
    gateway = Gateway(
        emulator, lambda name: emulator.has_item(resources["ChargePointTable4E4A0B5F"], "chargePointId", name)
    )
    await gateway.start()
    await asyncio.to_thread(client("iot").update_event_configurations, eventConfigurations={"THING": {"Enabled": True}})
    address = f"127.0.0.1:{gateway.port}"
    resources |= await asyncio.to_thread(deploy, STACK, TEMPLATE, Address=address, Interval=str(interval))
    await asyncio.to_thread(put_package, client("lambda"), resources["OCPPMessageProcessor8A9B0C1D"])
    await asyncio.to_thread(deploy, OTHER_STACK, OTHER_TEMPLATE)

    async def delete_thing(body: Any) -> None:
        key = {"chargePointId": {"S": body["chargePointId"]}}
        table = resources["ChargePointTable4E4A0B5F"]
        await asyncio.to_thread(dynamodb.delete_item, TableName=table, Key=key)

    worker = asyncio.create_task(Worker(sqs, resources["DeletedThings"], delete_thing).run())
    addresses = {"endpoint_url": emulator.url, "websocket_url": f"ws://127.0.0.1:{gateway.port}"}
    print(json.dumps(addresses), flush=True)  # noqa: T201 - what the tests read
    await asyncio.to_thread(sys.stdin.read)
    threading.Timer(6, os._exit, args=(1,)).start()  # the function's processes, and the worker's thread, end first
    worker.cancel()
    for part in (gateway, emulator):
        with contextlib.suppress(Exception):
            await part.stop()
    os._exit(0)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="A deployed AWS OCPP Gateway, for tests.")
    arguments.add_argument("--interval", type=int, default=10)
    logging.basicConfig(stream=sys.stderr)
    asyncio.run(_run(arguments.parse_args().interval))
