"""A stack without the tables of the kit's message processor, as the deployed sample is."""

import json

import pytest
from stack_fixtures import Boto, new_id

from cpsim_kit import Stack, errors
from cpsim_kit.aws.cleanup import Cleanup
from cpsim_kit.aws.deployment import OUTPUT_KEY
from cpsim_kit.aws.processor_tables import parse_tables, prepare_table
from cpsim_kit.local.launcher import LocalProcess


async def test_a_stack_whose_csms_is_the_samples_says_where_there_are_tokens_and_transactions() -> None:
    async with Stack.local(name="NoLedger", csms="sample") as stack:
        for use, what in (
            (stack.tokens.put("TAG-1"), "tokens"),
            (stack.tokens.get("TAG-1"), "tokens"),
            (stack.tokens.delete("TAG-1"), "tokens"),
            (stack.tokens.list(), "tokens"),
            (stack.tokens.to_frame(), "tokens"),
            (stack.transactions.to_frame(), "transactions"),
        ):
            with pytest.raises(errors.NotFound, match=f"no table of {what}: .*await Stack.local") as caught:
                await use
            assert (caught.value.kind, caught.value.name) == ("table", what)
            assert 'stack.message_processor(..., tables=["TokensTable", "TransactionsTable"])' in str(caught.value)
        there = "which is there while a message processor keeps tokens"
        assert repr(stack.tokens) == f"<Tokens in NoLedger-TokensTable, {there}>"
        assert "NoLedger-TransactionsTable" in stack.transactions._repr_html_()


async def test_tables_that_a_message_processor_has_made_are_found_from_any_stack_object(
    shared: LocalProcess, credentials: pytest.MonkeyPatch, boto: Boto
) -> None:
    """By their names alone: another process need not know who made them."""
    name = new_id("Sample")
    body = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}, "Outputs": {OUTPUT_KEY: {"Value": "ws://127.0.0.1"}}}
    boto("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(body))
    boto("cloudformation").get_waiter("stack_create_complete").wait(
        StackName=name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 500}
    )
    async with Stack.aws(name, endpoint_url=shared.endpoint_url) as stack:
        with pytest.raises(errors.NotFound):
            await stack.tokens.list()
        cleanup = Cleanup()
        for spec in parse_tables(["TokensTable", "TransactionsTable"]):
            await prepare_table(stack._aws, cleanup, stack._deployment, spec)
        await stack.tokens.put("TAG-1", status="Blocked")
        async with Stack.aws(name, endpoint_url=shared.endpoint_url) as other:
            assert (await other.tokens.get("TAG-1")).status == "Blocked"
            assert len(await other.transactions.to_frame()) == 0
        assert await cleanup.run() == []
        with pytest.raises(errors.NotFound):
            await stack.transactions.to_frame()
