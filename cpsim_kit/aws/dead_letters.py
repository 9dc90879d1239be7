"""The dead letter queue of the message processor: the messages that it failed on as often as its queue allows.

They are read without being removed. Amazon SQS developer guide, "Using dead-letter queues in Amazon SQS".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cpsim_kit.aws.deployment import DEAD_LETTERS, INCOMING_MESSAGES, Deployment
from cpsim_kit.aws.session import Aws
from cpsim_kit.basics.tables import table
from cpsim_kit.basics.waiting import poll_until, to_its_end
from cpsim_kit.errors import NotFound
from cpsim_kit.ocpp_j.frames import Call, Error, Malformed, Result, parse

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DeadLetter", "DeadLetters", "to_frame"]

_BATCH = 10  # messages that one ReceiveMessage returns at most
_HIDDEN = 30  # seconds for which a message is not received again; it is shown again once all have been read
_MOST = 10_000  # messages that are read at once


@dataclass(frozen=True)
class DeadLetter:
    """A message in a dead letter queue.

    Attributes:
        id: The queue's id for it.
        receipt: To hide it, or to delete it.
        body: As it was sent.
        sent_at: When the topic rule sent it.
    """

    id: str
    receipt: str
    body: str
    sent_at: datetime


class DeadLetters:
    """The dead letter queue of a deployment.

    Args:
        aws: The door to boto3.
        deployment: The deployment.
    """

    def __init__(self, aws: Aws, deployment: Deployment) -> None:
        self._aws = aws
        self._stack = deployment.name
        self._queue = deployment.queue(DEAD_LETTERS)
        self._source = deployment.queue(INCOMING_MESSAGES)

    async def read(self, minimum: int = 0, timeout: float = 30) -> list[DeadLetter]:
        """Read all messages, and leave them there.

        Args:
            minimum: How many to wait for.
            timeout: Seconds to wait for them.

        Raises:
            NotFound: The stack has no dead letter queue.
            WaitTimeout: There are fewer; ``last_seen`` is their number.
            AwsError: AWS refused.
        """
        found: list[DeadLetter] = []

        async def enough() -> bool:
            found[:] = await self._read()
            return len(found) >= minimum

        def what() -> str:
            return f"{minimum} dead letters; {len(found)} came"

        await poll_until(enough, what, timeout, last_seen=lambda: len(found))
        return found

    async def redrive(self) -> int:
        """Send all messages to the queue of the message processor again; returns how many."""
        letters = await self._read()
        for letter in letters:
            # Sent and not deleted would be there twice: a cell that is interrupted ends after the deletion.
            await to_its_end(self._move(letter), f"cpsim[{self._stack}].redrive")
        return len(letters)

    async def purge(self) -> None:
        """Delete all messages."""
        await self._aws.call("sqs.purge_queue", QueueUrl=self._url(self._queue, DEAD_LETTERS))

    async def _move(self, letter: DeadLetter) -> None:
        source, queue = self._url(self._source, INCOMING_MESSAGES), self._url(self._queue, DEAD_LETTERS)
        await self._aws.call("sqs.send_message", QueueUrl=source, MessageBody=letter.body)
        await self._aws.call("sqs.delete_message", QueueUrl=queue, ReceiptHandle=letter.receipt)

    async def _read(self) -> list[DeadLetter]:
        """Receive messages until no more come; then they can be received again, also if this is cancelled."""
        stop = asyncio.Event()
        reading = asyncio.create_task(self._receive(stop), name=f"cpsim[{self._stack}].dead-letters")
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:  # what AWS is about to give has to be shown again
            stop.set()
            await asyncio.wait([reading])
            raise

    async def _receive(self, stop: asyncio.Event) -> list[DeadLetter]:
        queue = self._url(self._queue, DEAD_LETTERS)
        found: dict[str, DeadLetter] = {}
        try:
            while len(found) < _MOST and not stop.is_set():
                answer = await self._aws.call(
                    "sqs.receive_message",
                    QueueUrl=queue,
                    MaxNumberOfMessages=_BATCH,
                    VisibilityTimeout=_HIDDEN,
                    WaitTimeSeconds=1,  # asks all servers of the queue: an empty answer means that no more are there
                    AttributeNames=["SentTimestamp"],
                )
                letters = [_letter(message) for message in answer.get("Messages", [])]
                found |= {letter.id: letter for letter in letters}  # a standard queue may deliver one twice
                if not letters:
                    break
        finally:
            await self._show_again(queue, list(found.values()))
        return sorted(found.values(), key=lambda letter: letter.sent_at)

    async def _show_again(self, queue: str, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            with contextlib.suppress(NotFound):
                await self._aws.call(
                    "sqs.change_message_visibility",
                    QueueUrl=queue,
                    ReceiptHandle=letter.receipt,
                    VisibilityTimeout=0,
                )

    def _url(self, queue: str | None, logical_id: str) -> str:
        if queue is None:
            message = (
                f"the CloudFormation stack {self._stack} has no queue {logical_id}…: its messages go to the message "
                'processor directly. A local stack has one with csms="lambda": await Stack.local(csms="lambda")'
            )
            raise NotFound(message, verb="cloudformation.list_stack_resources", kind="queue", name=logical_id)
        return queue


def to_frame(letters: Sequence[DeadLetter]) -> pd.DataFrame:
    """Dead letters as a table, one row each: charge_point_id, kind, action, message_id, payload, sent_at."""
    columns = ["charge_point_id", "kind", "action", "message_id", "payload", "sent_at"]
    return table([(*_row(letter.body), letter.sent_at) for letter in letters], columns)


def _letter(message: dict[str, Any]) -> DeadLetter:
    sent_at = datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC)
    return DeadLetter(message["MessageId"], message["ReceiptHandle"], message["Body"], sent_at)


def _row(body: str) -> tuple[str, str, str, str, Any]:
    """Charge point, kind, action, message id and payload, of ``{"chargePointId": …, "message": […]}``."""
    try:
        document = json.loads(body)
        charge_point_id, message = str(document["chargePointId"]), document["message"]
    except (ValueError, TypeError, KeyError):
        return "", "", "", "", body
    match parse(json.dumps(message)):
        case Call(message_id, action, payload, kind):
            return charge_point_id, kind, action, message_id, payload
        case Result(message_id, payload, kind):
            return charge_point_id, kind, "", message_id, payload
        case Error(message_id, code, description, details, kind):
            return charge_point_id, kind, "", message_id, {"code": code, "description": description, "details": details}
        case Malformed(message_id=message_id, kind=kind):
            return charge_point_id, kind, "", message_id, message
