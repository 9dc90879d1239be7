"""The tokens that the kit's message processor knows: a DynamoDB table of the gateway's CloudFormation stack.

`cpsim_kit/local/message_processor.py` says what an item holds, and what follows from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cpsim_kit.aws.ledger_table import LedgerTable
from cpsim_kit.aws.session import plain_item
from cpsim_kit.basics.cards import card
from cpsim_kit.errors import NotFound

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["STATUSES", "Token", "Tokens"]

# OCPP 2.0.1 part 2, AuthorizationStatusEnumType. OCPP 1.6 has the first five; the message processor answers Invalid
# there for the others.
STATUSES = (
    "Accepted",
    "Blocked",
    "Expired",
    "Invalid",
    "ConcurrentTx",
    "NoCredit",
    "NotAllowedTypeEVSE",
    "NotAtThisLocation",
    "NotAtThisTime",
    "Unknown",
)
_LONGEST = 255  # characters of a token; OCPP 2.0.1 allows 36, and OCPP 1.6 allows 20
_LONGEST_GROUP = 36  # a longer one would break the schema of an answer of OCPP 2.0.1

Remember = Callable[[str, Callable[[], Awaitable[Any]]], None]


@dataclass(frozen=True)
class Token:
    """A token of the table.

    Attributes:
        id: The token, in upper case: OCPP compares tokens without regard to case.
        status: The status that the CSMS answers.
        group: The group's token; None if it is in no group.
        expires: From this time on, the CSMS answers Expired; None for never.
        status_in_transaction: The status in the answer to a transaction's messages; None for ``status``.
    """

    id: str
    status: str = "Accepted"
    group: str | None = None
    expires: datetime | None = None
    status_in_transaction: str | None = None

    def _repr_html_(self) -> str:
        rows = {"group": self.group, "expires": self.expires, "in a transaction": self.status_in_transaction}
        return card(f"Token {self.id}", self.status, rows)


class Tokens:
    """The tokens of a stack; made by the stack as ``stack.tokens``. The CSMS accepts a token that is not here.

    On AWS it needs dynamodb:PutItem, GetItem, DeleteItem and Scan on the table.

    Args:
        table: The table.
        remember: Called with the name of what was created and a function that deletes it.
    """

    def __init__(self, table: LedgerTable, remember: Remember) -> None:
        self._table = table
        self._remember = remember

    def __repr__(self) -> str:
        return self._table.describe("Tokens")

    def _repr_html_(self) -> str:
        calls = {"all of them": "await stack.tokens.to_frame()", "a new one": 'await stack.tokens.put("TAG-1")'}
        return self._table.card("Tokens", calls)

    async def put(
        self,
        token: str,
        *,
        status: str = "Accepted",
        group: str | None = None,
        expires: datetime | None = None,
        status_in_transaction: str | None = None,
    ) -> Token:
        """Put a token in the table, in the place of one with the same id. ``stack.close()`` deletes a new one.

            await stack.tokens.put("TAG-2", status="Blocked")

        Args:
            token: The idToken of OCPP 2.x, the idTag of OCPP 1.6; at most 255 characters.
            status: E.g. "Accepted", "Blocked" or "NoCredit"; see ``STATUSES``.
            group: The group's token (groupIdToken, parentIdTag), at most 36 characters. OCPP 1.6 allows 20; the CSMS
                leaves a longer one out there.
            expires: A time with a time zone, from which on the CSMS answers Expired.
            status_in_transaction: The status in the answer to TransactionEvent, StartTransaction and StopTransaction;
                e.g. Authorize accepts the token, and the transaction's message says "Invalid".

        Returns:
            The token as it is in the table.

        Raises:
            ValueError: OCPP has no such token or status, or ``expires`` has no time zone.
            NotFound: The stack has no table of tokens.
            AwsError: AWS refused.
        """
        made = Token(_checked(token), status, group, _in_utc(expires), status_in_transaction)
        for name, value in (("status", status), ("status_in_transaction", status_in_transaction)):
            if value not in STATUSES and not (name == "status_in_transaction" and value is None):
                raise ValueError(f"token {token}: {name} is one of {', '.join(STATUSES)}, not {value!r}")
        if group is not None and not (isinstance(group, str) and 0 < len(group) <= _LONGEST_GROUP):
            raise ValueError(f"token {token}: group is a text of 1 to {_LONGEST_GROUP} characters, not {group!r}")
        answer = await self._table.call("dynamodb.put_item", Item=_item(made), ReturnValues="ALL_OLD")
        if "Attributes" not in answer:
            self._remember(f"token {made.id}", lambda: self._delete(made.id))
        return made

    async def get(self, token: str) -> Token:
        """A token of the table.

        Raises:
            ValueError: OCPP has no such token.
            NotFound: It is not in the table, or the stack has no table of tokens.
            AwsError: AWS refused.
        """
        answer = await self._table.call("dynamodb.get_item", Key=_key(_checked(token)), ConsistentRead=True)
        if "Item" not in answer:
            raise self._not_found(token, "dynamodb.get_item")
        return _token(plain_item(answer["Item"]))

    async def delete(self, token: str) -> None:
        """Delete a token from the table.

        Raises:
            ValueError: OCPP has no such token.
            NotFound: It is not in the table, or the stack has no table of tokens.
            AwsError: AWS refused.
        """
        answer = await self._delete(_checked(token))
        if "Attributes" not in answer:
            raise self._not_found(token, "dynamodb.delete_item")

    async def list(self) -> list[Token]:
        """All tokens of the table, by their ids.

        Raises:
            NotFound: The stack has no table of tokens.
            AwsError: AWS refused.
        """
        return sorted(map(_token, await self._table.items()), key=lambda token: token.id)

    async def to_frame(self) -> pd.DataFrame:
        """All tokens of the table, one row each: token, status, group, expires, status_in_transaction.

        Raises:
            NotFound: The stack has no table of tokens.
            AwsError: AWS refused.
        """
        return await asyncio.to_thread(_to_frame, await self.list())

    async def _delete(self, token: str) -> dict[str, Any]:
        return await self._table.call("dynamodb.delete_item", Key=_key(token), ReturnValues="ALL_OLD")

    def _not_found(self, token: str, verb: str) -> NotFound:
        message = f"{self._table.name} has no token {token}; the CSMS accepts a token that is not there"
        return NotFound(message, verb=verb, kind="token", name=token)


def _checked(token: str) -> str:
    """The token as the table has it."""
    if not isinstance(token, str) or not 0 < len(token) <= _LONGEST:
        raise ValueError(f"a token is a text of 1 to {_LONGEST} characters, not {token!r}")
    return token.upper()


def _in_utc(expires: datetime | None) -> datetime | None:
    if expires is None:
        return None
    if not isinstance(expires, datetime) or expires.tzinfo is None:
        raise ValueError(f"expires is a datetime with a time zone, e.g. datetime.now(UTC), not {expires!r}")
    return expires.astimezone(UTC)


def _key(token: str) -> dict[str, Any]:
    return {"idToken": {"S": token}}


def _item(token: Token) -> dict[str, Any]:
    values = {
        "idToken": token.id,
        "status": token.status,
        "group": token.group,
        "expires": token.expires and token.expires.isoformat().replace("+00:00", "Z"),
        "statusInTransaction": token.status_in_transaction,
    }
    return {name: {"S": value} for name, value in values.items() if value is not None}


def _token(item: dict[str, Any]) -> Token:
    expires = item.get("expires")
    return Token(
        item["idToken"],
        item["status"],
        item.get("group"),
        None if expires is None else datetime.fromisoformat(expires),
        item.get("statusInTransaction"),
    )


def _to_frame(tokens: Sequence[Token]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - half a second, in a thread, so that charge points go on

    rows = [(each.id, each.status, each.group, each.expires, each.status_in_transaction) for each in tokens]
    frame = pd.DataFrame(rows, columns=["token", "status", "group", "expires", "status_in_transaction"])
    frame["expires"] = pd.to_datetime(frame["expires"], utc=True).astype("datetime64[us, UTC]")
    return frame
