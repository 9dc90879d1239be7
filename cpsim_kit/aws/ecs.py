"""The ECS service of a gateway on AWS: how many tasks run, and their CPU and memory as CloudWatch has them.

Times are seconds since the epoch.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from cpsim_kit.aws.session import Aws
from cpsim_kit.errors import AwsError, NotFound

__all__ = ["EcsService"]

_MINUTE = 60  # seconds: the period of the metrics that ECS publishes without extra cost
_METRICS = {"cpu": "CPUUtilization", "memory": "MemoryUtilization"}


class EcsService:
    """The ECS service of a CloudFormation stack.

    Args:
        aws: Where the stack is.
        stack_name: The CloudFormation stack.
        service: The service's name or logical id, where the stack has several.
    """

    kind = "ecs"

    def __init__(self, aws: Aws, stack_name: str, service: str | None = None) -> None:
        self._aws = aws
        self._stack_name = stack_name
        self._wanted = service
        self._cluster: str | None = None  # name or ARN; None is ECS's default one
        self._service = ""  # name or ARN
        self._dimensions: list[dict[str, str]] = []
        self._values: dict[str, dict[int, float]] = {key: {} for key in _METRICS}  # by the minute's begin

    @property
    def name(self) -> str:
        """Cluster and service."""
        return "/".join(each["Value"] for each in self._dimensions) or f"of {self._stack_name}"

    async def find(self) -> None:
        """Find service and cluster among the stack's resources.

        Raises:
            NotFound: The stack has no such service.
            AwsError: It has several, or AWS refused.
        """
        verb = "cloudformation.list_stack_resources"
        listed = await self._aws.pages(verb, "StackResourceSummaries", StackName=self._stack_name)
        resources = [each for each in listed if each.get("PhysicalResourceId")]
        services = [each for each in resources if each["ResourceType"] == "AWS::ECS::Service"]
        known = ", ".join(each["LogicalResourceId"] for each in services) or "none"
        if self._wanted is not None:
            services = [each for each in services if self._wanted in _names(each)]
        if not services:
            which = "ECS service" if self._wanted is None else f"ECS service {self._wanted} (services: {known})"
            message = f"the CloudFormation stack {self._stack_name} has no {which}: " + self._looked_for(resources)
            raise NotFound(message, verb=verb, kind="ECS service", name=self._wanted or "")
        if len(services) > 1:
            message = (
                f"the CloudFormation stack {self._stack_name} has several ECS services: {known}. "
                "Say which is the gateway: stack.watch_gateway(service=…)"
            )
            raise AwsError(message, verb=verb)
        self._service = services[0]["PhysicalResourceId"]
        path = self._service.partition(":service/")[2].split("/")  # of an ARN: cluster and name, or the name alone
        clusters = [each["PhysicalResourceId"] for each in resources if each["ResourceType"] == "AWS::ECS::Cluster"]
        self._cluster = path[0] if len(path) > 1 else next(iter(clusters), None)

    def _looked_for(self, resources: list[dict[str, Any]]) -> str:
        text = f"no AWS::ECS::Service among its {len(resources)} resources; nested stacks are not looked through"
        if self._aws.endpoint_url is not None:
            text += (
                ". A local stack says in an output which process it is, and this stack has no such output: was it "
                "started by an older cpsim_kit? Start it again: cpsim stack, or Stack.local()"
            )
        return text

    async def tasks(self) -> tuple[int, int]:
        """How many tasks run, and how many should run, as ECS counts them.

        Raises:
            NotFound: The service is gone.
            AwsError: AWS refused.
        """
        verb = "ecs.describe_services"
        where = {} if self._cluster is None else {"cluster": self._cluster}
        answer = await self._aws.call("ecs.describe_services", services=[self._service], **where)
        active = [each for each in answer.get("services", []) if each["status"] != "INACTIVE"]
        if not active:
            why = ", ".join(failure.get("reason", "") for failure in answer.get("failures", [])) or "INACTIVE"
            message = f"{verb}: there is no ECS service {self._service}: {why}"
            raise NotFound(message, verb=verb, code=why, kind="ECS service", name=self._service)
        [found, *_] = active
        self._dimensions = [
            {"Name": "ClusterName", "Value": found["clusterArn"].rsplit("/", 1)[-1]},
            {"Name": "ServiceName", "Value": found["serviceName"]},
        ]
        return found["runningCount"], found["desiredCount"]

    async def measure(self, since: float, at: float) -> None:
        """Ask CloudWatch for all minutes of the watch: values come late, and that of the current minute changes.

        Raises:
            AwsError: AWS refused.
        """
        results = await self._aws.pages(
            "cloudwatch.get_metric_data",
            "MetricDataResults",
            MetricDataQueries=[
                {
                    "Id": key,
                    "MetricStat": {
                        "Metric": {"Namespace": "AWS/ECS", "MetricName": metric, "Dimensions": self._dimensions},
                        "Period": _MINUTE,
                        "Stat": "Average",
                    },
                }
                for key, metric in _METRICS.items()
            ],
            StartTime=datetime.fromtimestamp(_minute(since), UTC),
            EndTime=datetime.fromtimestamp(_minute(at), UTC) + timedelta(seconds=_MINUTE),
        )
        for result in results:
            minutes = (_minute(moment.timestamp()) for moment in result["Timestamps"])
            self._values[result["Id"]].update(zip(minutes, result["Values"], strict=True))

    def usage(self, at: float) -> tuple[float, float, float]:
        """The averages of the minute of a look; NaN until CloudWatch has them."""
        cpu, memory = (self._values[key].get(_minute(at), math.nan) for key in _METRICS)
        return cpu, memory, math.nan


def _minute(at: float) -> int:
    return int(at // _MINUTE) * _MINUTE


def _names(resource: dict[str, Any]) -> set[str]:
    """The names by which a reader may know a resource."""
    physical = resource["PhysicalResourceId"]
    return {resource["LogicalResourceId"], physical, physical.rsplit("/", 1)[-1]}
