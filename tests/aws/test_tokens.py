"""Tokens of a stack: put, read and deleted by the kit, and what the CSMS answers then."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from ocpp.v16 import call as call16
from ocpp.v201 import call
from stack_fixtures import Boto, new_id

from cpsim_kit import ChargePoint, Stack, errors
from cpsim_kit.aws.tokens import STATUSES, Token
from cpsim_kit.local.launcher import LocalProcess

LATER = datetime(2999, 1, 1, 12, tzinfo=UTC)
STATUSES_OF_16 = {"Accepted", "Blocked", "ConcurrentTx", "Expired", "Invalid"}  # OCPP 1.6, 7.2


@pytest.fixture
async def charge_points(stack: Stack) -> tuple[str, str]:
    """A registered id for OCPP 2.0.1, and one for 1.6."""
    ids = new_id("TOKENS"), new_id("TOKENS")
    for charge_point_id in ids:
        await stack.things.create(charge_point_id)
    return ids


def stored(boto: Boto, token: str) -> Any:
    table = boto.resource("TokensTable")
    return boto("dynamodb").get_item(TableName=table, Key={"idToken": {"S": token}}, ConsistentRead=True).get("Item")


# -- The table ---------------------------------------------------------------------------------------------------------


async def test_a_token_is_put_read_listed_and_deleted(stack: Stack) -> None:
    name = new_id("CARD")
    expires = LATER.astimezone(timezone(timedelta(hours=2)))
    put = await stack.tokens.put(name, status="Blocked", group="G", expires=expires, status_in_transaction="Invalid")
    assert put == Token(name, "Blocked", "G", LATER, "Invalid")
    assert await stack.tokens.get(name) == put
    assert put in await stack.tokens.list()
    frame = (await stack.tokens.to_frame()).set_index("token")
    assert list(frame.columns) == ["status", "group", "expires", "status_in_transaction"]
    assert list(frame.loc[name]) == ["Blocked", "G", LATER, "Invalid"]
    await stack.tokens.delete(name)
    assert put not in await stack.tokens.list()
    for use in (stack.tokens.get, stack.tokens.delete):
        with pytest.raises(errors.NotFound, match="the CSMS accepts a token that is not there") as caught:
            await use(name)
        assert (caught.value.kind, caught.value.name) == ("token", name)


async def test_tokens_and_transactions_say_their_table_and_what_to_call(stack: Stack) -> None:
    assert re.fullmatch(r"<Tokens in \S*TokensTable\S*>", repr(stack.tokens))
    assert re.fullmatch(r"<Transactions in \S*TransactionsTable\S*>", repr(stack.transactions))
    assert "await stack.tokens.to_frame()" in stack.tokens._repr_html_()
    assert "await stack.transactions.compare(station)" in stack.transactions._repr_html_()


async def test_a_token_without_details_is_accepted(stack: Stack, boto: Boto) -> None:
    name = new_id("CARD")
    assert await stack.tokens.put(name) == Token(name)
    assert stored(boto, name) == {"idToken": {"S": name}, "status": {"S": "Accepted"}}


async def test_the_column_of_expiries_has_one_type(stack: Stack) -> None:
    expiries = {new_id("CARD"): None, new_id("CARD"): LATER, new_id("CARD"): LATER.replace(microsecond=1)}
    for name, expires in expiries.items():
        await stack.tokens.put(name, expires=expires)
    frame = (await stack.tokens.to_frame()).set_index("token")
    assert str(frame.dtypes["expires"]) == "datetime64[us, UTC]"
    assert {name: frame.loc[name, "expires"] for name in expiries if expiries[name]} == {
        name: expires for name, expires in expiries.items() if expires
    }


async def test_putting_a_token_again_replaces_it_whatever_the_case(stack: Stack) -> None:
    name = new_id("CARD")
    await stack.tokens.put(name, status="Blocked", group="G")
    await stack.tokens.put(name.lower(), status="Accepted")
    assert await stack.tokens.get(name.lower()) == Token(name)


async def test_closing_the_stack_deletes_the_tokens_that_it_put_and_no_others(
    shared: LocalProcess, boto: Boto, credentials: pytest.MonkeyPatch
) -> None:
    new, old = new_id("CARD"), new_id("CARD")
    table = boto.resource("TokensTable")
    boto("dynamodb").put_item(TableName=table, Item={"idToken": {"S": old}, "status": {"S": "Blocked"}})
    async with Stack.aws(shared.options.name, endpoint_url=shared.endpoint_url) as stack:
        await stack.tokens.put(new)
        await stack.tokens.put(old, status="Invalid")
        assert stored(boto, new) is not None
    assert stored(boto, new) is None
    assert stored(boto, old)["status"] == {"S": "Invalid"}


async def test_closing_is_fine_when_a_token_is_deleted_already(
    shared: LocalProcess, credentials: pytest.MonkeyPatch
) -> None:
    async with Stack.aws(shared.options.name, endpoint_url=shared.endpoint_url) as stack:
        name = new_id("CARD")
        await stack.tokens.put(name)
        await stack.tokens.delete(name)


@pytest.mark.parametrize(
    ("token", "options", "text"),
    [
        ("", {}, "a token is a text of 1 to 255 characters, not ''"),
        ("x" * 256, {}, "a token is a text of 1 to 255 characters"),
        (5, {}, "a token is a text of 1 to 255 characters, not 5"),
        ("TAG", {"status": "Banned"}, "token TAG: status is one of Accepted, Blocked, .*, not 'Banned'"),
        ("TAG", {"status": None}, "token TAG: status is one of .*, not None"),
        ("TAG", {"status_in_transaction": "blocked"}, "token TAG: status_in_transaction is one of .*, not 'blocked'"),
        ("TAG", {"group": ""}, "token TAG: group is a text of 1 to 36 characters, not ''"),
        ("TAG", {"group": "g" * 37}, "token TAG: group is a text of 1 to 36 characters"),
        ("TAG", {"expires": datetime(2026, 1, 1)}, "expires is a datetime with a time zone"),
        ("TAG", {"expires": "2026-01-01T00:00:00Z"}, "expires is a datetime with a time zone"),
    ],
)
async def test_what_ocpp_does_not_have_is_refused(stack: Stack, token: Any, options: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        await stack.tokens.put(token, **options)


# -- The CSMS ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", STATUSES)
async def test_the_csms_answers_the_status_of_a_token(
    stack: Stack, charge_points: tuple[str, str], status: str
) -> None:
    name = new_id("CARD")
    await stack.tokens.put(name, status=status)
    async with stack.charge_point(charge_points[0]) as cp:
        answer = await cp.call(call.Authorize(id_token={"id_token": name, "type": "ISO14443"}))
        assert answer.id_token_info == {"status": status}
    async with stack.charge_point(charge_points[1], version="1.6") as cp:
        answer = await cp.call(call16.Authorize(id_tag=name))
        assert answer.id_tag_info == {"status": status if status in STATUSES_OF_16 else "Invalid"}


async def authorized(cp: ChargePoint, token: str) -> Any:
    return (await cp.call(call.Authorize(id_token={"id_token": token, "type": "ISO14443"}))).id_token_info


async def test_the_csms_accepts_an_unknown_token_and_notices_each_change(
    stack: Stack, charge_points: tuple[str, str]
) -> None:
    name = new_id("CARD")
    async with stack.charge_point(charge_points[0]) as cp:
        assert await authorized(cp, name) == {"status": "Accepted"}
        await stack.tokens.put(name, status="NoCredit", group="G")
        assert await authorized(cp, name.lower()) == {
            "status": "NoCredit",
            "group_id_token": {"id_token": "G", "type": "Central"},
        }
        await stack.tokens.put(name, expires=datetime.now(UTC) - timedelta(seconds=1))
        assert (await authorized(cp, name))["status"] == "Expired"
        await stack.tokens.delete(name)
        assert await authorized(cp, name) == {"status": "Accepted"}


async def test_a_token_may_be_refused_in_the_transaction_only(stack: Stack, charge_points: tuple[str, str]) -> None:
    name = new_id("CARD")
    await stack.tokens.put(name, status_in_transaction="ConcurrentTx")
    async with stack.charge_point(charge_points[0]) as cp:
        assert await authorized(cp, name) == {"status": "Accepted"}
        event = call.TransactionEvent(
            event_type="Started",
            timestamp="2026-11-23T10:00:00Z",
            trigger_reason="Authorized",
            seq_no=0,
            transaction_info={"transaction_id": new_id("T")},
            id_token={"id_token": name, "type": "ISO14443"},
        )
        assert (await cp.call(event)).id_token_info == {"status": "ConcurrentTx"}
    async with stack.charge_point(charge_points[1], version="1.6") as cp:
        assert (await cp.call(call16.Authorize(id_tag=name))).id_tag_info == {"status": "Accepted"}
        start = call16.StartTransaction(connector_id=1, id_tag=name, meter_start=0, timestamp="2026-11-23T10:00:00Z")
        assert (await cp.call(start)).id_tag_info == {"status": "ConcurrentTx"}
