"""What is read of a gateway's CloudFormation stack."""

import json

from stack_fixtures import Boto, new_id

from cpsim_kit import Stack
from cpsim_kit.aws.deployment import (
    INCOMING_MESSAGES,
    MESSAGE_PROCESSOR,
    OUTPUT_KEY,
    TOKENS_TABLE,
    TRANSACTIONS_TABLE,
    Deployment,
    Resource,
    find_deployment,
)

TABLE = {
    "Type": "AWS::DynamoDB::Table",
    "Properties": {
        "AttributeDefinitions": [{"AttributeName": "chargePointId", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "chargePointId", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
    },
}


def deploy(boto: Boto, *tables: str) -> tuple[str, dict[str, str]]:
    """The name of a new CloudFormation stack, and its resources by logical id."""
    name = new_id("Deployed")
    outputs = {OUTPUT_KEY: {"Value": "ws://example.com/"}, "Other": {"Value": "x"}}
    body = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}} | dict.fromkeys(tables, TABLE), "Outputs": outputs}
    boto("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(body))
    waiter = boto("cloudformation").get_waiter("stack_create_complete")
    waiter.wait(StackName=name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 500})
    resources = boto("cloudformation").describe_stack_resources(StackName=name)["StackResources"]
    return name, {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in resources}


async def test_the_registry_is_the_charge_point_table_and_no_other(stack: Stack, boto: Boto) -> None:
    name, resources = deploy(boto, "AuditTable", "ChargePointTable1F0B", "SessionTable")
    deployment = await find_deployment(stack._aws, name)
    assert deployment.registry_table == resources["ChargePointTable1F0B"]
    assert (deployment.table(TOKENS_TABLE), deployment.table(TRANSACTIONS_TABLE)) == (None, None)
    assert deployment.table_name(TOKENS_TABLE) == f"{name}-TokensTable"
    assert deployment.websocket_url == "ws://example.com"
    assert deployment.outputs == {OUTPUT_KEY: "ws://example.com/", "Other": "x"}


async def test_the_tables_of_the_message_processor_are_found_by_their_logical_ids(stack: Stack, boto: Boto) -> None:
    name, resources = deploy(boto, "TokensTable8A2C01EF", "TransactionsTable5B0D", "OldTokensTable")
    deployment = await find_deployment(stack._aws, name)
    assert deployment.registry_table is None
    assert deployment.table(TOKENS_TABLE) == deployment.table_name(TOKENS_TABLE) == resources["TokensTable8A2C01EF"]
    assert deployment.table(TRANSACTIONS_TABLE) == resources["TransactionsTable5B0D"]


def test_a_readers_table_is_the_one_of_its_whole_name_with_or_without_the_suffix_of_cdk() -> None:
    ids = ["TransactionsTable5B0D01EF", "Bills", "DaysTable5B0D01E", "NightsTable5B0D01EFA", "WeeksTable5b0d01ef"]
    ids += ["Months5B0D01EF", "ChargePointTable1F0B"]
    deployment = Deployment("S", "ws://x", {}, [Resource("AWS::DynamoDB::Table", each, f"S-{each}-X") for each in ids])
    assert deployment.table_name("TransactionsTable") == "S-TransactionsTable5B0D01EF-X"
    assert deployment.table_name("Bills") == "S-Bills-X"
    assert deployment.table_name("Months") == "S-Months5B0D01EF-X"
    for other in ("Transactions", "Charge", "ChargePointTable", "Bill", "DaysTable", "NightsTable", "WeeksTable"):
        assert deployment.table_name(other) == f"S-{other}"


async def test_function_and_queues_are_found_by_their_kinds_too(stack: Stack, boto: Boto) -> None:
    name, resources = deploy(boto, "OCPPMessageProcessorTable", "IncomingMessagesQueueTable")
    deployment = await find_deployment(stack._aws, name)
    assert deployment.queue("Queue") == resources["Queue"]
    assert deployment.queue(INCOMING_MESSAGES) is None
    assert deployment.function(MESSAGE_PROCESSOR) is None
    assert deployment.table(MESSAGE_PROCESSOR) == resources["OCPPMessageProcessorTable"]


async def test_a_stack_without_such_a_table_has_no_registry(stack: Stack, boto: Boto) -> None:
    name, _ = deploy(boto, "AuditTable")
    assert (await find_deployment(stack._aws, name)).registry_table is None
