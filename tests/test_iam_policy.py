"""The IAM policy beside the README allows what the kit calls, and nothing else."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
STATEMENTS = json.loads((ROOT / "iam-policy.json").read_text())["Statement"]
ALLOWED = {action for statement in STATEMENTS for action in statement["Action"]}

# What no boto3 call shows: MQTT over WebSockets, and handing a role to a topic rule.
WITHOUT_A_CALL = {"iot:Connect", "iot:Subscribe", "iot:Receive", "iam:PassRole"}
NEEDS_NO_PERMISSION = {"sts:GetCallerIdentity"}
VERB = re.compile(
    r'"(iot|iot-data|dynamodb|sqs|iam|sts|cloudformation|ecs|cloudwatch|lambda|logs)\.([a-z]+(?:_[a-z]+)+|publish|scan)"'
)


def called() -> set[str]:
    """The IAM actions of every boto3 verb in the kit; the local stack's process is no client of AWS."""
    found = set()
    for path in [ROOT / "cpsim_kit" / "stack.py", *(ROOT / "cpsim_kit" / "aws").glob("*.py")]:
        for service, operation in VERB.findall(path.read_text()):
            name = "".join(word.capitalize() for word in operation.split("_"))
            found.add(f"{service.removesuffix('-data')}:{name}")
    return found - NEEDS_NO_PERMISSION


def test_policy_allows_exactly_what_the_kit_calls() -> None:
    assert len(called()) > 25
    assert called() | WITHOUT_A_CALL == ALLOWED


def test_policy_has_no_wildcard_action_and_names_no_account() -> None:
    assert not [action for action in ALLOWED if "*" in action]
    assert not re.search(r"\d{12}", json.dumps(STATEMENTS).replace("2012-10-17", ""))


def test_only_what_has_no_resource_is_allowed_everywhere() -> None:
    everywhere = [statement for statement in STATEMENTS if statement["Resource"] == "*"]
    assert [set(statement["Action"]) for statement in everywhere] == [
        {"cloudwatch:GetMetricData", "iot:DescribeEndpoint", "iot:ListThings"}
    ]


def test_only_the_message_processor_is_changed() -> None:
    """Who may change a function and its role may do what the role may: it is this one function, and this one role."""
    own = "AwsOcppGatewayStack-OCPPMessageProcessor"
    for statement in STATEMENTS:
        resources = [statement["Resource"]] if isinstance(statement["Resource"], str) else statement["Resource"]
        services = {action.partition(":")[0] for action in statement["Action"]}
        if "lambda" in services:
            assert resources == [f"arn:aws:lambda:*:*:function:{own}*"]
        if "logs" in services:
            assert resources == [f"arn:aws:logs:*:*:log-group:/aws/lambda/{own}*"]
        if "iam" in services:
            assert set(resources) <= {f"arn:aws:iam::*:role/{own}*", "arn:aws:iam::*:role/cpsim-rule-*"}
            assert "iam:PassRole" not in statement["Action"] or resources == ["arn:aws:iam::*:role/cpsim-rule-*"]


def test_readme_points_to_the_policy() -> None:
    assert "iam-policy.json" in (ROOT / "README.md").read_text()
