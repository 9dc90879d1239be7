"""What was created is deleted newest first, whatever happens on the way."""

import asyncio

import pytest

from cpsim_kit import errors
from cpsim_kit.aws.cleanup import Cleanup

GONE = errors.NotFound("it is gone", verb="iot.delete_thing", kind="Thing", name="A")


def deletions(cleanup: Cleanup, deleted: list[str], **faults: Exception) -> None:
    """Note the deletions of A, B and C, of which some fail."""

    async def delete(name: str) -> None:
        deleted.append(name)
        if name in faults:
            raise faults[name]

    for name in "ABC":
        cleanup.add(name, lambda name=name: delete(name))  # type: ignore[misc]


async def test_everything_is_deleted_newest_first_and_once() -> None:
    cleanup, deleted = Cleanup(), list[str]()
    deletions(cleanup, deleted)
    assert cleanup.names == ["A", "B", "C"]
    assert await cleanup.run() == await cleanup.run() == []
    assert deleted == ["C", "B", "A"]


async def test_what_fails_is_returned_and_what_is_gone_is_fine() -> None:
    cleanup, deleted = Cleanup(), list[str]()
    fault = RuntimeError("no")
    deletions(cleanup, deleted, C=fault, B=GONE)
    assert await cleanup.run() == [("C", fault)]
    assert deleted == ["C", "B", "A"]


async def test_what_failed_is_tried_again_by_the_next_run_newest_first() -> None:
    cleanup, deleted = Cleanup(), list[str]()
    faults = {"A": RuntimeError("no"), "C": RuntimeError("no")}
    deletions(cleanup, deleted, **faults)
    await cleanup.run()
    assert cleanup.names == ["A", "C"]
    deleted.clear()
    assert await cleanup.run(keep=1) == [("C", faults["C"])]
    assert cleanup.names == ["A", "C"]
    deleted.clear()
    await cleanup.run()
    assert deleted == ["C", "A"]


async def test_what_is_being_deleted_when_a_run_is_cancelled_is_tried_again() -> None:
    cleanup, deleted, begun = Cleanup(), list[str](), asyncio.Event()

    async def delete() -> None:
        begun.set()
        await asyncio.Event().wait()

    deletions(cleanup, deleted)
    cleanup.add("D", delete)
    running = asyncio.create_task(cleanup.run())
    await begun.wait()
    running.cancel()
    await asyncio.wait([running])
    assert (cleanup.names, deleted) == (["A", "B", "C", "D"], [])


async def test_a_run_waits_for_the_one_before_it() -> None:
    cleanup, answered = Cleanup(), asyncio.Event()
    cleanup.add("A", answered.wait)
    first = asyncio.create_task(cleanup.run())
    await asyncio.sleep(0)
    second = asyncio.create_task(cleanup.run())
    await asyncio.sleep(0)
    assert not second.done()
    answered.set()
    assert await asyncio.gather(first, second) == [[], []]


async def test_the_oldest_are_kept_on_request() -> None:
    cleanup, deleted = Cleanup(), list[str]()
    deletions(cleanup, deleted)
    await cleanup.run(keep=2)
    assert (deleted, cleanup.names) == (["C"], ["A", "B"])


async def test_nothing_is_deleted_where_everything_is_gone() -> None:
    cleanup, deleted = Cleanup(), list[str]()
    deletions(cleanup, deleted)
    assert await cleanup.run(is_gone=lambda: "B" in deleted) == []
    assert deleted == ["C", "B"]
    assert len(cleanup) == 0


async def test_deletions_that_are_handed_over_come_last() -> None:
    first, second, deleted = Cleanup(), Cleanup(), list[str]()
    deletions(first, deleted)
    second.add("D", first.run)
    first.hand_over(second)
    assert (first.names, second.names) == ([], ["A", "B", "C", "D"])


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_what_is_created_is_noted_also_when_the_creation_is_cancelled(is_cancelled: bool) -> None:
    cleanup, deleted, answered = Cleanup(), list[str](), asyncio.Event()

    async def create() -> str:
        await answered.wait()
        return "id of A"

    async def delete(created: str) -> None:
        deleted.append(created)

    creating = asyncio.create_task(cleanup.create("A", create(), delete))
    await asyncio.sleep(0)
    if is_cancelled:
        creating.cancel()
        await asyncio.sleep(0)
    answered.set()
    await asyncio.wait([creating])
    assert creating.cancelled() is is_cancelled
    await cleanup.run()
    assert deleted == ["id of A"]


async def test_what_is_still_being_created_is_waited_for_and_deleted() -> None:
    """Also where whoever creates it was cancelled a second time, and does not wait any more."""
    cleanup, deleted, answered = Cleanup(), list[str](), asyncio.Event()

    async def create() -> str:
        await answered.wait()
        return "id of A"

    async def delete(created: str) -> None:
        deleted.append(created)

    creating = asyncio.create_task(cleanup.create("A", create(), delete))
    for _ in range(2):
        await asyncio.sleep(0)
        creating.cancel()
    await asyncio.wait([creating])
    running = asyncio.create_task(cleanup.run())
    await asyncio.sleep(0)
    assert not running.done()
    answered.set()
    assert await running == []
    assert deleted == ["id of A"]


async def test_what_could_not_be_created_is_not_noted() -> None:
    async def create() -> None:
        raise GONE

    cleanup = Cleanup()
    with pytest.raises(errors.NotFound):
        await cleanup.create("A", create(), lambda _: asyncio.sleep(0))
    assert len(cleanup) == 0
