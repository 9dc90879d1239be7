"""The DynamoDB table in which the gateway looks charge point ids up; a rule of the gateway's stack writes the table.

A Thing that was just created is not in it yet, and the gateway refuses the id until it is. This waits for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from cpsim_kit.aws.session import Aws
from cpsim_kit.basics.waiting import poll_until, together
from cpsim_kit.errors import WaitTimeout

__all__ = ["GatewayRegistry"]

_KEY = "chargePointId"
_BATCH = 100  # keys of one BatchGetItem
_PAUSE = 0.05  # seconds between two looks at a batch


class GatewayRegistry:
    """Tells when the gateway accepts an id, or refuses it.

    Args:
        aws: The door to boto3.
        table: The table's name; None where the stack has none, and there is nothing to wait for.
    """

    def __init__(self, aws: Aws, table: str | None) -> None:
        self._aws = aws
        self._table = table

    async def wait(self, charge_point_id: str, timeout: float, *, expected: bool) -> None:
        """Wait until the table has the id, or does not have it any more.

        Raises:
            WaitTimeout: That did not happen within ``timeout`` seconds.
            AwsError: AWS refused.
        """
        if self._table is None:
            return

        async def as_expected() -> bool:
            answer = await self._aws.call(
                "dynamodb.get_item",
                TableName=self._table,
                Key={_KEY: {"S": charge_point_id}},
                ConsistentRead=True,
            )
            return ("Item" in answer) is expected

        hint = "are thing events on, and is the stack's rule there?"
        await poll_until(as_expected, f"{self._change(expected)} {charge_point_id}; {hint}", timeout)

    async def wait_all(self, ids: Sequence[str], timeout: float, *, concurrency: int, expected: bool) -> None:
        """Wait until the table has all ids, or none of them any more.

        Args:
            ids: The ids.
            timeout: Seconds to wait for one more id; the time begins anew with each change.
            concurrency: Requests at a time.
            expected: Whether the table is to have them.

        Raises:
            WaitTimeout: Nothing changed for so long; ``last_seen`` has the first ids that are waited for.
            AwsError: AWS refused.
        """
        if self._table is None:
            return
        batches = [list(ids[begin : begin + _BATCH]) for begin in range(0, len(ids), _BATCH)]
        todo = iter(batches)

        async def worker(deadline: asyncio.Timeout) -> None:
            for batch in todo:
                while batch:
                    registered = await self.registered(batch)
                    left = [each for each in batch if (each in registered) is not expected]
                    if len(left) < len(batch):
                        deadline.reschedule(asyncio.get_running_loop().time() + timeout)
                    else:
                        await asyncio.sleep(_PAUSE)
                    batch[:] = left

        try:
            async with asyncio.timeout(timeout) as deadline:
                await together((worker(deadline) for _ in range(min(concurrency, len(batches)))), "registry")
        except TimeoutError as exc:
            left = [each for batch in batches for each in batch]
            raise WaitTimeout(f"{self._change(expected)} {len(left)} Things", timeout, left[:3]) from exc

    async def registered(self, ids: Sequence[str]) -> set[str]:
        """Which of at most 100 ids the table has."""
        request: Any = {self._table: {"Keys": [{_KEY: {"S": each}} for each in ids], "ConsistentRead": True}}
        found: set[str] = set()
        while request:
            answer = await self._aws.call("dynamodb.batch_get_item", RequestItems=request)
            found |= {item[_KEY]["S"] for item in answer["Responses"].get(self._table, [])}
            request = answer.get("UnprocessedKeys") or {}
            if request:  # DynamoDB was too busy for these keys: that they are not in the answer says nothing
                await asyncio.sleep(_PAUSE)
        return found

    def _change(self, expected: bool) -> str:
        return f"the gateway's registry (table {self._table}) to {'accept' if expected else 'forget'}"
