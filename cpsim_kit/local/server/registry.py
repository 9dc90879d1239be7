"""The registry of charge points: the stack's AWS resources, and what the sample does with a Lambda function.

CloudFormation creates the resources in the emulator. A rule puts deleted Things in a queue, and a task here removes
them from the registry table, as the sample's Lambda function does. Uses boto3 with the emulator's endpoint like any
client; blocking calls run in a thread.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import boto3
from botocore.config import Config

from cpsim_kit.aws.deployment import REGISTRY_TABLE
from cpsim_kit.local.server.emulator import Emulator

__all__ = ["Registry"]

logger = logging.getLogger("cpsim.registry")


class Registry:
    """The charge points that the gateway accepts.

    Args:
        emulator: A started emulator.
        template: The CloudFormation template of the stack.

    Attributes:
        resources: The names or addresses of the stack's resources by logical id; filled by :meth:`deploy`.
    """

    def __init__(self, emulator: Emulator, template: str) -> None:
        self._emulator = emulator
        self._template = template
        self.resources: dict[str, str] = {}
        self._table = ""
        self._queue_url = ""
        self._clients: dict[str, Any] = {}
        self._deleted = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    def has(self, charge_point_id: str) -> bool:
        """Whether a Thing with this id is registered."""
        return bool(charge_point_id) and self._emulator.has_item(self._table, "chargePointId", charge_point_id)

    async def deploy(self, stack_name: str, **parameters: str) -> None:
        """Turn on the events of Things, and create the CloudFormation stack with the template's parameters."""
        await asyncio.to_thread(self._deploy, stack_name, parameters)
        await self._emulator.subscribe("$aws/events/thing/+/deleted", self._on_deleted)
        self._worker = asyncio.create_task(self._work(), name="cpsim[registry].worker")

    async def stop(self) -> None:
        """Stop removing deleted Things."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])

    def _deploy(self, stack_name: str, parameters: dict[str, str]) -> None:
        cloudformation = self._client("cloudformation")
        self._client("iot").update_event_configurations(eventConfigurations={"THING": {"Enabled": True}})
        cloudformation.create_stack(
            StackName=stack_name,
            TemplateBody=self._template,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        waiter = cloudformation.get_waiter("stack_create_complete")
        waiter.wait(StackName=stack_name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 500})
        resources = cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]
        self.resources = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}
        self._table, self._queue_url = self.resources[REGISTRY_TABLE], self.resources["DeletedThings"]

    async def _on_deleted(self, _topic: str, _payload: bytes) -> None:
        self._deleted.set()

    async def _work(self) -> None:
        while True:
            await self._deleted.wait()
            self._deleted.clear()
            try:
                await asyncio.to_thread(self._remove_deleted)
            except Exception:
                logger.exception("cannot process the queue of deleted Things")

    def _remove_deleted(self) -> None:
        sqs, dynamodb = self._client("sqs"), self._client("dynamodb")
        wait = 1  # the rule puts the event in the queue shortly after its publication
        while messages := sqs.receive_message(
            QueueUrl=self._queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=wait
        ).get("Messages"):
            ids = {json.loads(message["Body"])["chargePointId"] for message in messages}
            deletions = [{"DeleteRequest": {"Key": {"chargePointId": {"S": each}}}} for each in ids]
            while deletions:  # DynamoDB returns the ones it throttles
                answer = dynamodb.batch_write_item(RequestItems={self._table: deletions})
                deletions = answer.get("UnprocessedItems", {}).get(self._table, [])
            entries = [{"Id": each["MessageId"], "ReceiptHandle": each["ReceiptHandle"]} for each in messages]
            sqs.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
            wait = 0

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,
                endpoint_url=self._emulator.url,
                region_name=self._emulator.region,
                aws_access_key_id=self._emulator.key.id,
                aws_secret_access_key=self._emulator.key.secret,
                config=Config(proxies={}, retries={"total_max_attempts": 1}),
            )
        return self._clients[service]
