"""The IAM role of a topic rule: AWS IoT may assume it, and it allows the rule's one action and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any

from cpsim_kit.aws.cleanup import Cleanup
from cpsim_kit.aws.session import Aws
from cpsim_kit.errors import AwsError, NotFound

__all__ = ["create_role"]

_LONGEST_ROLE = 64  # CreateRole RoleName
_POLICY = "action"  # the name of the role's one policy


async def create_role(aws: Aws, cleanup: Cleanup, rule: str, permission: str, resource: str) -> str:
    """Create the role of a rule, or change the one that is there.

    Args:
        aws: The door to boto3.
        cleanup: Where its deletion is noted.
        rule: The rule's name.
        permission: What it allows, e.g. "dynamodb:PutItem".
        resource: The ARN for which it allows that.

    Returns:
        Its ARN.

    Raises:
        AwsError: AWS refused.
    """
    role = f"cpsim-rule-{rule}"
    if len(role) > _LONGEST_ROLE:  # each rule still has a role of its own
        role = f"{role[: _LONGEST_ROLE - 9]}-{hashlib.sha256(rule.encode()).hexdigest()[:8]}"
    trust = {"Effect": "Allow", "Principal": {"Service": "iot.amazonaws.com"}, "Action": "sts:AssumeRole"}
    allow = {"Effect": "Allow", "Action": permission, "Resource": resource}

    async def delete(_: object) -> None:
        with contextlib.suppress(NotFound):
            await aws.call("iam.delete_role_policy", RoleName=role, PolicyName=_POLICY)
        await aws.call("iam.delete_role", RoleName=role)

    creation = aws.call(
        "iam.create_role",
        RoleName=role,
        AssumeRolePolicyDocument=_policy(trust),
        Description=f"Made by cpsim_kit for the AWS IoT topic rule {rule}",
    )
    try:
        answer = await cleanup.create(f"role {role}", creation, delete)
    except AwsError as exc:
        if exc.code != "EntityAlreadyExists":
            raise
        answer = await aws.call("iam.get_role", RoleName=role)
        await _note_former_policy(aws, cleanup, role)
    await aws.call("iam.put_role_policy", RoleName=role, PolicyName=_POLICY, PolicyDocument=_policy(allow))
    return str(answer["Role"]["Arn"])


async def _note_former_policy(aws: Aws, cleanup: Cleanup, role: str) -> None:
    """Note how to put back the policy of a role that another rule object created."""
    with contextlib.suppress(NotFound):
        found = await aws.call("iam.get_role_policy", RoleName=role, PolicyName=_POLICY)
        former = {"RoleName": role, "PolicyName": _POLICY, "PolicyDocument": json.dumps(found["PolicyDocument"])}
        cleanup.add(f"policy of role {role}", lambda: aws.call("iam.put_role_policy", **former))


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
