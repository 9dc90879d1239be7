"""Finds a deployed AWS OCPP Gateway by its CloudFormation stack: outputs and resources. Creates nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cpsim_kit.aws.session import Aws
from cpsim_kit.errors import AwsError, NotFound

__all__ = [
    "DEAD_LETTERS",
    "INCOMING_MESSAGES",
    "MESSAGES_RULE",
    "MESSAGE_PROCESSOR",
    "OUTPUT_KEY",
    "REGISTRY_TABLE",
    "TOKENS_TABLE",
    "TRANSACTIONS_TABLE",
    "Deployment",
    "Resource",
    "find_deployment",
]

OUTPUT_KEY = "websocketURL"  # as the sample's CloudFormation stack calls it

# How logical ids begin; CDK appends eight hexadecimal digits.
REGISTRY_TABLE = "ChargePointTable"  # the sample's table
TOKENS_TABLE = "TokensTable"  # these two are of the kit's message processor; the sample's stack has neither
TRANSACTIONS_TABLE = "TransactionsTable"
MESSAGE_PROCESSOR = "OCPPMessageProcessor"  # the sample's function
INCOMING_MESSAGES = "IncomingMessagesQueue"  # its queue
MESSAGES_RULE = "MessagesFromChargePointsRule"  # the topic rule that fills the queue
DEAD_LETTERS = "DeadLetterQueueForIncomingMessages"  # and where messages go that it failed on three times

_SUFFIX = r"([0-9A-F]{8})?"
_TABLE = "AWS::DynamoDB::Table"
_FUNCTION = "AWS::Lambda::Function"
_QUEUE = "AWS::SQS::Queue"
_RULE = "AWS::IoT::TopicRule"


@dataclass(frozen=True)
class Resource:
    """A resource of a CloudFormation stack.

    Attributes:
        kind: E.g. "AWS::DynamoDB::Table".
        logical_id: Its name in the template.
        physical_id: Its name on AWS; of a queue, its URL.
    """

    kind: str
    logical_id: str
    physical_id: str


@dataclass(frozen=True)
class Deployment:
    """What the CloudFormation stack of a gateway says.

    Attributes:
        name: The stack's name.
        websocket_url: Where charge points connect, without a slash at its end.
        outputs: All outputs of the stack.
        resources: All its resources.
    """

    name: str
    websocket_url: str
    outputs: Mapping[str, str]
    resources: Sequence[Resource] = ()

    @property
    def registry_table(self) -> str | None:
        """The DynamoDB table in which the gateway looks ids up; None where the stack has none."""
        return self.table(REGISTRY_TABLE)

    def table(self, prefix: str) -> str | None:
        """The DynamoDB table whose logical id begins so; None where the stack has none."""
        return self._find(_TABLE, prefix)

    def function(self, prefix: str) -> str | None:
        """The name of the Lambda function whose logical id begins so; None where the stack has none."""
        return self._find(_FUNCTION, prefix)

    def queue(self, prefix: str) -> str | None:
        """The URL of the SQS queue whose logical id begins so; None where the stack has none."""
        return self._find(_QUEUE, prefix)

    def rule(self, prefix: str) -> str | None:
        """The name of the topic rule whose logical id begins so; None where the stack has none."""
        return self._find(_RULE, prefix)

    def table_name(self, name: str) -> str:
        """The table of exactly this name, or else what ``stack.message_processor`` calls one that it creates.

        Its logical id is the name, or the name and the suffix that CDK appends.
        """
        logical_id = re.compile(re.escape(name) + _SUFFIX)
        found = (each for each in self.resources if each.kind == _TABLE and logical_id.fullmatch(each.logical_id))
        return next((each.physical_id for each in found), f"{self.name}-{name}")

    def _find(self, kind: str, prefix: str) -> str | None:
        """The physical id of the first resource of this kind whose logical id begins so."""
        found = (each for each in self.resources if each.kind == kind and each.logical_id.startswith(prefix))
        return next((each.physical_id for each in found), None)


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
    return Deployment(
        name,
        outputs[OUTPUT_KEY].rstrip("/"),
        outputs,
        tuple(
            Resource(each["ResourceType"], each["LogicalResourceId"], each.get("PhysicalResourceId", ""))
            for each in resources
        ),
    )
