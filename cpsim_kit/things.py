"""Things: what makes an id a charge point that the gateway accepts. AWS IoT Core developer guide, "Thing registry"."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cpsim_kit.aws import Aws
from cpsim_kit.errors import AwsError, NotFound, WaitTimeout

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Thing", "Things"]

_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")  # CreateThing, thingName
_ATTRIBUTE = re.compile(r"[a-zA-Z0-9_.,@/:#-]{0,800}")  # CreateThing, attributePayload
_POLL = 0.05  # seconds, at first


@dataclass(frozen=True)
class Thing:
    """A Thing as :meth:`Things.create` leaves it.

    Attributes:
        charge_point_id: Its name.
        attributes: Its attributes.
        created: Whether this call made it; False when it was there.
    """

    charge_point_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    created: bool = True

    def __repr__(self) -> str:
        attributes = "".join(f" {name}={value}" for name, value in self.attributes.items())
        return f"<Thing {self.charge_point_id}{attributes} {'created' if self.created else 'was there already'}>"


class Things:
    """The Things of a stack; made by the stack as ``stack.things``.

    Args:
        aws: The door to boto3.
        registry_table: The DynamoDB table the gateway looks ids up in, or None where the stack has none.
        remember: Called with what was created and how to delete it.
    """

    def __init__(
        self, aws: Aws, registry_table: str | None, remember: Callable[[str, Callable[[], Awaitable[None]]], None]
    ) -> None:
        self._aws = aws
        self._table = registry_table
        self._remember = remember

    def __repr__(self) -> str:
        return f"<Things of {self._aws!r}>"

    async def create(
        self, charge_point_id: str, attributes: Mapping[str, str] | None = None, *, timeout: float = 30
    ) -> Thing:
        """Create a Thing; returns once the gateway accepts the id. Creating it again changes its attributes only.

        Args:
            charge_point_id: The Thing's name: letters, digits, ``:``, ``_`` and ``-``, at most 128.
            attributes: Up to 50 names and values without spaces (CreateThing, attributePayload).
            timeout: Seconds to wait for the gateway's registry.

        Raises:
            ValueError: AWS IoT allows no such name or attribute.
            AwsError: AWS refused.
            WaitTimeout: The registry did not learn of it in time.
        """
        if not _NAME.fullmatch(charge_point_id):
            raise ValueError(
                f"{charge_point_id!r} cannot be a Thing: use 1 to 128 letters, digits, colons, underscores and hyphens"
            )
        attributes = {name: str(value) for name, value in (attributes or {}).items()}
        for name, value in attributes.items():
            if not _ATTRIBUTE.fullmatch(value):
                raise ValueError(
                    f"{charge_point_id}: attribute {name}={value!r}: use letters, digits and _.,@/:#- only"
                )
        created = await self._create(charge_point_id, attributes)
        if created:
            self._remember(f"Thing {charge_point_id}", lambda: self._delete_if_there(charge_point_id))
        await self._wait_registered(charge_point_id, timeout, expected=True)
        return Thing(charge_point_id, attributes, created)

    async def list(self) -> pd.DataFrame:
        """All Things of the account and region, one row each: charge_point_id, attributes, version.

        Raises:
            AwsError: AWS refused.
        """
        things = await self._aws.pages("iot.list_things", "things")
        return await asyncio.to_thread(_to_frame, things)

    async def delete(self, charge_point_id: str, *, timeout: float = 30) -> None:
        """Delete a Thing and its classic Device Shadow; returns once the gateway refuses the id.

        A charge point that is connected stays connected, as the gateway looks only when one connects.

        Args:
            charge_point_id: The Thing's name.
            timeout: Seconds to wait for the gateway's registry.

        Raises:
            NotFound: There is no such Thing.
            AwsError: AWS refused.
            WaitTimeout: The registry did not learn of it in time.
        """
        try:
            await self._aws.call(
                "iot.describe_thing", thingName=charge_point_id
            )  # deleting asks not whether it is there
        except AwsError as exc:
            if exc.code == "InvalidRequestException":  # a name no Thing can have
                message = f"there is no Thing {charge_point_id!r}"
                raise NotFound(message, verb=exc.verb, code=exc.code, kind="Thing", name=charge_point_id) from exc
            raise
        with contextlib.suppress(NotFound):
            await self._aws.call("iot-data.delete_thing_shadow", thingName=charge_point_id)
        await self._aws.call("iot.delete_thing", thingName=charge_point_id)
        await self._wait_registered(charge_point_id, timeout, expected=False)

    async def _create(self, charge_point_id: str, attributes: dict[str, str]) -> bool:
        """Create or update; whether it was created."""
        try:
            await self._aws.call("iot.describe_thing", thingName=charge_point_id)
        except NotFound:
            await self._aws.call(
                "iot.create_thing", thingName=charge_point_id, attributePayload={"attributes": attributes}
            )
            return True
        if attributes:
            payload = {"attributes": attributes, "merge": True}
            await self._aws.call("iot.update_thing", thingName=charge_point_id, attributePayload=payload)
        return False

    async def _delete_if_there(self, charge_point_id: str) -> None:
        with contextlib.suppress(NotFound):
            await self.delete(charge_point_id)

    async def _wait_registered(self, charge_point_id: str, timeout: float, *, expected: bool) -> None:
        """Wait until the gateway's registry has the id, or has it no more."""
        if self._table is None:
            return
        poll = _POLL
        try:
            async with asyncio.timeout(timeout):
                while await self._is_registered(charge_point_id) is not expected:
                    await asyncio.sleep(poll)
                    poll = min(poll * 1.5, 1.0)
        except TimeoutError as exc:
            state = "accept" if expected else "forget"
            what = f"the gateway's registry (table {self._table}) to {state} {charge_point_id}"
            hint = "; are thing events on, and is the stack's rule there?"
            raise WaitTimeout(what + hint, timeout) from exc

    async def _is_registered(self, charge_point_id: str) -> bool:
        answer = await self._aws.call(
            "dynamodb.get_item",
            TableName=self._table,
            Key={"chargePointId": {"S": charge_point_id}},
            ConsistentRead=True,
        )
        return "Item" in answer


def _to_frame(things: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - half a second, in a thread, so that charge points go on

    rows = [(thing["thingName"], thing.get("attributes", {}), thing.get("version", 1)) for thing in things]
    return pd.DataFrame(rows, columns=["charge_point_id", "attributes", "version"])
