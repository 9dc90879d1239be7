"""The DynamoDB tables of a message processor, and what its function's role may do with them."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cpsim_kit.aws.cleanup import Cleanup
from cpsim_kit.aws.deployment import TOKENS_TABLE, TRANSACTIONS_TABLE, Deployment
from cpsim_kit.aws.session import Aws
from cpsim_kit.basics.waiting import poll_until
from cpsim_kit.errors import AwsError, NotFound

__all__ = ["POLICY", "TableSpec", "allow_tables", "parse_tables", "prepare_table"]

POLICY = "cpsim-message-processor"  # the inline policy that is added to the role of the function

_ACTIONS = [
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:DeleteItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "dynamodb:UpdateItem",
]
_KNOWN_KEYS = {TOKENS_TABLE: ("idToken",), TRANSACTIONS_TABLE: ("chargePointId", "transactionId")}
_OTHERS_KEY = ("chargePointId",)
_NAME = re.compile(r"[A-Z][A-Za-z0-9]{1,99}")
_ACTIVE_TIMEOUT = 60  # seconds in which a table becomes active


@dataclass(frozen=True)
class TableSpec:
    """A table that a message processor needs.

    Attributes:
        name: As a logical id in CloudFormation, e.g. "TokensTable".
        key: The partition key, and the sort key where there is one; both are strings.
    """

    name: str
    key: tuple[str, ...]

    @property
    def variable(self) -> str:
        """The variable of the function's environment that has the table's name on AWS, e.g. TOKENS_TABLE."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.name).upper()


def parse_tables(tables: Iterable[str] | Mapping[str, str | Sequence[str]]) -> tuple[TableSpec, ...]:
    """What a reader gives as ``tables=``.

    Args:
        tables: Names; or names with the attributes of their keys, e.g. ``{"BillsTable": ["chargePointId", "day"]}``.

    Raises:
        ValueError: A name or a key cannot be one.
        TypeError: One name alone, which is not a list.
    """
    if isinstance(tables, str):
        raise TypeError(f"tables= is a list of names, or a dict of names and keys: [{tables!r}]")
    specs = []
    for name in tables:
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ValueError(f"{name!r} cannot be the name of a table: a capital letter, then letters and digits")
        key: Sequence[str] = _KNOWN_KEYS.get(name, _OTHERS_KEY)
        if isinstance(tables, Mapping):
            given = tables[name]
            key = [given] if isinstance(given, str) else list(given)
        if not (1 <= len(key) <= 2 and all(isinstance(each, str) and each for each in key)):
            raise ValueError(f"the key of {name} is one attribute, or two: partition key and sort key, not {key!r}")
        specs.append(TableSpec(name, tuple(key)))
    return tuple(specs)


async def prepare_table(aws: Aws, cleanup: Cleanup, deployment: Deployment, spec: TableSpec) -> tuple[str, str]:
    """Find a table, or create it; returns once it can be used.

    Args:
        aws: The door to boto3.
        cleanup: Where its deletion is noted, if it is created.
        deployment: The CloudFormation stack, which may have it.
        spec: The table.

    Returns:
        Its name and its ARN.

    Raises:
        AwsError: AWS refused, or a table of this name has another key.
        WaitTimeout: It did not become active.
    """
    name = deployment.table_name(spec.name)

    async def usable() -> dict[str, Any] | None:
        """The table, created where there is none; one that is still being deleted is waited for."""
        try:
            found: dict[str, Any] = (await aws.call("dynamodb.describe_table", TableName=name))["Table"]
        except NotFound:
            await _create(aws, cleanup, name, spec.key)
            return None
        return found if found["TableStatus"] in {"ACTIVE", "UPDATING"} else None

    table = await poll_until(usable, f"the table {name} to become active", _ACTIVE_TIMEOUT, longest=2)
    order = {"HASH": 0, "RANGE": 1}
    elements = sorted(table["KeySchema"], key=lambda each: order[each["KeyType"]])
    key = tuple(each["AttributeName"] for each in elements)
    if key != spec.key:
        raise AwsError(
            f"the table {name} is there, with the key {', '.join(key)} instead of {', '.join(spec.key)}",
            verb="dynamodb.describe_table",
        )
    return name, str(table["TableArn"])


async def _create(aws: Aws, cleanup: Cleanup, name: str, key: Sequence[str]) -> None:
    creation = aws.call(
        "dynamodb.create_table",
        TableName=name,
        KeySchema=[
            {"AttributeName": each, "KeyType": kind} for each, kind in zip(key, ("HASH", "RANGE"), strict=False)
        ],
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in key],
        BillingMode="PAY_PER_REQUEST",
    )
    try:
        await cleanup.create(f"table {name}", creation, lambda _: aws.call("dynamodb.delete_table", TableName=name))
    except AwsError as exc:
        if exc.code != "ResourceInUseException":  # it was created just now, and DescribeTable does not see it yet
            raise


async def allow_tables(aws: Aws, cleanup: Cleanup, role: str, arns: Iterable[str]) -> None:
    """Allow a role to read and write items of tables, and nothing else; what the same policy allows stays allowed.

    Args:
        aws: The door to boto3.
        cleanup: Where it is noted how the role gets back what it had.
        role: The role's name.
        arns: The ARNs of the tables.

    Raises:
        AwsError: AWS refused.
    """
    policy = {"RoleName": role, "PolicyName": POLICY}
    former: dict[str, Any] | None = None
    resources = set(arns)
    with contextlib.suppress(NotFound):
        former = (await aws.call("iam.get_role_policy", **policy))["PolicyDocument"]
        resources |= {arn for statement in former["Statement"] for arn in _as_list(statement["Resource"])}

    async def put_back(_: object) -> None:
        if former is None:
            await aws.call("iam.delete_role_policy", **policy)
        else:
            await aws.call("iam.put_role_policy", **policy, PolicyDocument=json.dumps(former))

    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": _ACTIONS, "Resource": sorted(resources)}],
    }
    creation = aws.call("iam.put_role_policy", **policy, PolicyDocument=json.dumps(document))
    await cleanup.create(f"policy {POLICY} of role {role}", creation, put_back)


def _as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
