"""A dead letter queue is read without being emptied; and stacks that have none, and no function."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aws_proxy import AwsProxy
from conftest import SOON
from stack_fixtures import GLANCE, Boto, eventually, new_id

from cpsim_kit import Stack, errors
from cpsim_kit.aws.dead_letters import DeadLetters, to_frame
from cpsim_kit.aws.deployment import DEAD_LETTERS, INCOMING_MESSAGES, Deployment, Resource

QUEUE = "AWS::SQS::Queue"
SOURCE = "def lambda_handler(event, context):\n    pass\n"


@pytest.fixture
def queues(boto: Boto) -> Iterator[tuple[str, str]]:
    """A dead letter queue and the queue before it; nobody polls them."""
    urls = [boto("sqs").create_queue(QueueName=new_id(name))["QueueUrl"] for name in ("dead", "incoming")]
    yield urls[0], urls[1]
    for url in urls:
        boto("sqs").delete_queue(QueueUrl=url)


def letters_of(stack: Stack, queues: tuple[str, str]) -> DeadLetters:
    resources = (
        Resource(QUEUE, f"{DEAD_LETTERS}1A2B", queues[0]),
        Resource(QUEUE, f"{INCOMING_MESSAGES}3C", queues[1]),
    )
    return DeadLetters(stack._aws, Deployment("Some", "ws://x", {}, resources))


def send(boto: Boto, queues: tuple[str, str], *messages: Any) -> None:
    for number, message in enumerate(messages):
        body = message if isinstance(message, str) else json.dumps({"chargePointId": f"CP{number}", "message": message})
        boto("sqs").send_message(QueueUrl=queues[0], MessageBody=body)


def waiting_in(boto: Boto, url: str) -> list[str]:
    """The bodies of what can be received at once; they stay."""
    found = {}
    while messages := boto("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found |= {message["MessageId"]: message for message in messages}
    for message in found.values():
        boto("sqs").change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    return [message["Body"] for message in found.values()]


@pytest.mark.slow
async def test_all_are_read_once_and_stay(stack: Stack, boto: Boto, queues: tuple[str, str]) -> None:
    send(boto, queues, *([2, f"m{number}", "Heartbeat", {}] for number in range(25)))  # more than a queue gives at once
    letters = letters_of(stack, queues)
    for _ in range(2):
        found = await letters.read()
        frame = to_frame(found)
        assert sorted(frame.message_id) == sorted(f"m{number}" for number in range(25))
        assert frame.sent_at.is_monotonic_increasing
    assert len(waiting_in(boto, queues[0])) == 25


async def test_messages_of_each_kind_are_rows(stack: Stack, boto: Boto, queues: tuple[str, str]) -> None:
    send(
        boto,
        queues,
        [2, "a", "BootNotification", {"reason": "PowerUp"}],
        [3, "b", {"status": "Accepted"}],
        [4, "c", "InternalError", "text", {"x": 1}],
        [7, "d"],
        "not JSON",
        '{"chargePointId": "CP9"}',
        "[]",
    )
    frame = to_frame(await letters_of(stack, queues).read(7, timeout=SOON)).drop(columns="sent_at")
    assert sorted(map(tuple, frame.to_numpy().tolist()), key=str) == sorted(
        [
            ("CP0", "CALL", "BootNotification", "a", {"reason": "PowerUp"}),
            ("CP1", "CALLRESULT", "", "b", {"status": "Accepted"}),
            ("CP2", "CALLERROR", "", "c", {"code": "InternalError", "description": "text", "details": {"x": 1}}),
            ("CP3", "", "", "d", [7, "d"]),
            ("", "", "", "", "not JSON"),
            ("", "", "", "", '{"chargePointId": "CP9"}'),
            ("", "", "", "", "[]"),
        ],
        key=str,
    )


async def test_none_is_an_empty_table(stack: Stack, queues: tuple[str, str]) -> None:
    frame = to_frame(await letters_of(stack, queues).read())
    assert len(frame) == 0
    assert list(frame.columns) == ["charge_point_id", "kind", "action", "message_id", "payload", "sent_at"]
    assert str(frame.sent_at.dtype) == "datetime64[ns, UTC]"


async def test_one_is_waited_for(stack: Stack, boto: Boto, queues: tuple[str, str]) -> None:
    reading = asyncio.create_task(letters_of(stack, queues).read(2, timeout=3 * SOON))
    send(boto, queues, [2, "a", "Heartbeat", {}])
    await asyncio.wait([reading], timeout=GLANCE)
    send(boto, queues, [2, "b", "Heartbeat", {}])
    assert {*to_frame(await reading).message_id} == {"a", "b"}


@pytest.mark.slow
async def test_too_few_say_how_many_there_are(stack: Stack, boto: Boto, queues: tuple[str, str]) -> None:
    send(boto, queues, [2, "a", "Heartbeat", {}])
    with pytest.raises(errors.WaitTimeout, match="2 dead letters; 1 came") as caught:
        await letters_of(stack, queues).read(2, timeout=3)
    assert caught.value.last_seen == 1
    assert len(waiting_in(boto, queues[0])) == 1


@pytest.mark.parametrize("seen", [1, 2])
async def test_a_reading_that_is_interrupted_hides_none(
    proxied: Stack, proxy: AwsProxy, boto: Boto, queues: tuple[str, str], seen: int
) -> None:
    send(boto, queues, [2, "a", "Heartbeat", {}])
    reading = asyncio.create_task(letters_of(proxied, queues).read())
    await eventually(lambda: proxy.seen["ReceiveMessage"] >= seen)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert len(waiting_in(boto, queues[0])) == 1


async def test_all_are_sent_again(stack: Stack, boto: Boto, queues: tuple[str, str]) -> None:
    send(boto, queues, *([2, f"m{number}", "Heartbeat", {}] for number in range(12)))
    before = waiting_in(boto, queues[0])
    assert await letters_of(stack, queues).redrive() == 12
    assert waiting_in(boto, queues[0]) == []
    assert sorted(waiting_in(boto, queues[1])) == sorted(before)


async def test_an_interruption_ends_after_the_deletion_of_what_was_sent(
    proxied: Stack, proxy: AwsProxy, boto: Boto, queues: tuple[str, str]
) -> None:
    send(boto, queues, [2, "a", "Heartbeat", {}])
    released = proxy.hold("DeleteMessage")
    redriving = asyncio.create_task(letters_of(proxied, queues).redrive())
    await eventually(lambda: proxy.seen["DeleteMessage"])
    redriving.cancel()
    await asyncio.wait([redriving], timeout=GLANCE)
    assert not redriving.done()
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await redriving
    assert [len(waiting_in(boto, url)) for url in queues] == [0, 1]


async def test_all_are_deleted(stack: Stack, boto: Boto, queues: tuple[str, str]) -> None:
    send(boto, queues, [2, "a", "Heartbeat", {}], [2, "b", "Heartbeat", {}])
    await letters_of(stack, queues).purge()
    await eventually(lambda: not waiting_in(boto, queues[0]))


async def test_a_stack_without_the_queue_says_where_there_is_one(stack: Stack) -> None:
    letters = DeadLetters(stack._aws, Deployment("Some", "ws://x", {}))
    for use in (letters.read(), letters.redrive(), letters.purge()):
        with pytest.raises(errors.NotFound, match=r'no queue DeadLetter.*Stack.local\(csms="lambda"\)') as caught:
            await use
        assert (caught.value.kind, caught.value.name) == ("queue", DEAD_LETTERS)


async def test_a_stack_without_the_function_says_where_there_is_one(stack: Stack) -> None:
    text = r'no Lambda function OCPPMessageProcessor.*await Stack.local\(csms="lambda"\)'
    with pytest.raises(errors.NotFound, match=text) as caught:
        stack.message_processor(SOURCE)
    assert (caught.value.kind, caught.value.name) == ("function", "OCPPMessageProcessor")
