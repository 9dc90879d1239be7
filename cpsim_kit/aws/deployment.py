"""Finds a deployed AWS OCPP Gateway by its CloudFormation stack: outputs and resources. Creates nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cpsim_kit.aws.session import Aws
from cpsim_kit.errors import AwsError, NotFound

__all__ = [
    "OUTPUT_KEY",
    "REGISTRY_TABLE",
    "TOKENS_TABLE",
    "TRANSACTIONS_TABLE",
    "Deployment",
    "find_deployment",
]

OUTPUT_KEY = "websocketURL"  # as the sample's CloudFormation stack calls it

# How the logical ids of the DynamoDB tables begin; CDK appends letters and digits.
REGISTRY_TABLE = "ChargePointTable"  # the sample's
TOKENS_TABLE = "TokensTable"  # these two are of the kit's message processor; the sample's stack has neither
TRANSACTIONS_TABLE = "TransactionsTable"


@dataclass(frozen=True)
class Deployment:
    """What the CloudFormation stack of a gateway says.

    Attributes:
        name: The stack's name.
        websocket_url: Where charge points connect, without a slash at its end.
        registry_table: The DynamoDB table in which the gateway looks ids up; None where the stack has none.
        tokens_table: The DynamoDB table of the message processor's tokens; None where the stack has none.
        transactions_table: The DynamoDB table of its transactions; None where the stack has none.
        outputs: All outputs of the stack.
    """

    name: str
    websocket_url: str
    registry_table: str | None
    tokens_table: str | None
    transactions_table: str | None
    outputs: Mapping[str, str]


async def find_deployment(aws: Aws, name: str) -> Deployment:
    """Read outputs and resources of a CloudFormation stack.

    Raises:
        NotFound: There is no such stack in the region.
        AwsError: AWS refused, or the stack has no output ``websocketURL``.
    """
    try:
        answer = await aws.call("cloudformation.describe_stacks", StackName=name)
    except NotFound as exc:
        message = (
            f"there is no CloudFormation stack {name} in {aws.region}. "
            "Is the region right (AWS_DEFAULT_REGION, or region=), and the gateway deployed?"
        )
        raise NotFound(message, verb=exc.verb, code=exc.code, kind="stack", name=name) from exc
    [found, *_] = answer.get("Stacks") or [{}]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    if OUTPUT_KEY not in outputs:
        others = ", ".join(sorted(outputs)) or "none"
        message = (
            f"the CloudFormation stack {name} has no output {OUTPUT_KEY} (outputs: {others}); is it the gateway's?"
        )
        raise AwsError(message, verb="cloudformation.describe_stacks")
    resources = await aws.pages("cloudformation.list_stack_resources", "StackResourceSummaries", StackName=name)
    tables = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for resource in resources
        if resource["ResourceType"] == "AWS::DynamoDB::Table"
    }

    def table(prefix: str) -> str | None:
        return next((physical for logical, physical in tables.items() if logical.startswith(prefix)), None)

    return Deployment(
        name,
        outputs[OUTPUT_KEY].rstrip("/"),
        table(REGISTRY_TABLE),
        table(TOKENS_TABLE),
        table(TRANSACTIONS_TABLE),
        outputs,
    )
