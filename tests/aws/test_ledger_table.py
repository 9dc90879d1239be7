"""A stack without the tables of the kit's message processor, as the deployed sample is."""

import pytest

from cpsim_kit import Stack, errors


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
        assert repr(stack.tokens) == "<Tokens: this stack has no table of tokens>"
        assert "no table" in stack.transactions._repr_html_()
        assert "compare" not in stack.transactions._repr_html_()
