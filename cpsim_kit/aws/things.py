"""Things: the gateway accepts a charge point if a Thing has its id. AWS IoT Core developer guide, "Thing registry"."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from cpsim_kit.aws.gateway_registry import GatewayRegistry
from cpsim_kit.aws.session import Aws, nobody_answers
from cpsim_kit.basics.cards import card
from cpsim_kit.basics.tables import table
from cpsim_kit.basics.waiting import together
from cpsim_kit.errors import THING_NAME, AwsError, CpsimError, NotFound

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ManyThings", "Thing", "Things"]

logger = logging.getLogger("cpsim.things")

_ATTRIBUTE = re.compile(r"[a-zA-Z0-9_.,@/:#-]{1,128}")  # CreateThing, attributePayload: a name
_VALUE = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}")
_PAGES = {"PageSize": 250}  # ListThings gives so many at most, and 25 where it is not asked


@dataclass(frozen=True)
class Thing:
    """A Thing, as :meth:`Things.create` returns it.

    Attributes:
        charge_point_id: Its name.
        attributes: Its attributes.
        created: Whether this call created it; False where it was there already.
    """

    charge_point_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    created: bool = True

    def __repr__(self) -> str:
        attributes = "".join(f" {name}={value}" for name, value in self.attributes.items())
        return f"<Thing {self.charge_point_id}{attributes} {'created' if self.created else 'was there already'}>"


@dataclass
class ManyThings:
    """What ``create_many`` or ``delete_many`` did.

    Attributes:
        done: Created, or deleted.
        kept: Were there already.
        failed: The error of each that failed.
    """

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, CpsimError] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<ManyThings {len(self.done)} done, {len(self.kept)} kept, {len(self.failed)} failed>"

    def _repr_html_(self) -> str:
        rows = {"done": len(self.done), "kept": len(self.kept), "failed": len(self.failed), "table": ".to_frame()"}
        first = next(iter(self.failed.values()), None)
        return card("Things", "", rows | {"first failure": first})

    def to_frame(self) -> pd.DataFrame:
        """One row per charge point: charge_point_id, outcome ("done", "kept", "failed"), error."""
        rows = [(each, "done", "") for each in self.done] + [(each, "kept", "") for each in self.kept]
        rows += [(each, "failed", str(error)) for each, error in self.failed.items()]
        return table(rows, ("charge_point_id", "outcome", "error"))


class Things:
    """The Things of a stack; made by the stack as ``stack.things``.

    Args:
        aws: The door to boto3.
        registry_table: The DynamoDB table in which the gateway looks ids up; None where the stack has none.
        remember: Called with the name of what was created and a function that deletes it.
    """

    def __init__(
        self, aws: Aws, registry_table: str | None, remember: Callable[[str, Callable[[], Awaitable[None]]], None]
    ) -> None:
        self._aws = aws
        self._registry = GatewayRegistry(aws, registry_table)
        self._remember = remember
        self._deleting = asyncio.Lock()  # what is being deleted is not deleted twice

    def __repr__(self) -> str:
        return f"<Things of {self._aws!r}>"

    async def create(
        self, charge_point_id: str, attributes: Mapping[str, str] | None = None, *, timeout: float = 30
    ) -> Thing:
        """Create a Thing; returns once the gateway accepts the id. Creating it again changes its attributes only.

        Args:
            charge_point_id: The Thing's name: letters, digits, ``:``, ``_`` and ``-``, at most 128.
            attributes: Names and values without spaces; AWS IoT allows three to a Thing without a type. An empty value
                removes one.
            timeout: Seconds to wait for the gateway's registry.

        Raises:
            ValueError: AWS IoT allows no such name or attribute.
            AwsError: AWS refused.
            WaitTimeout: The registry did not learn of it in time.
        """
        _check_name(charge_point_id)
        attributes = {name: str(value) for name, value in (attributes or {}).items()}
        for name, value in attributes.items():
            if not (_ATTRIBUTE.fullmatch(name) and _VALUE.fullmatch(value)):
                raise ValueError(
                    f"{charge_point_id}: attribute {name}={value!r}: use letters, digits and _.,@/:#- only, and in its "
                    "value =[] too"
                )
        created, attributes = await self._create(charge_point_id, attributes)
        if created:
            self._remember(f"Thing {charge_point_id}", lambda: self._delete_if_there(charge_point_id))
        await self._registry.wait(charge_point_id, timeout, expected=True)
        return Thing(charge_point_id, attributes, created)

    async def create_many(
        self,
        charge_point_ids: Iterable[str],
        *,
        concurrency: int = 10,
        progress: bool = True,
        timeout: float = 60,
        keep: bool = False,
        result: ManyThings | None = None,
    ) -> ManyThings:
        """Create many Things; returns once the gateway accepts them all. Things that are there already are kept.

        Run it again after an interruption or a failure: it goes on with what is missing. AWS allows 100 CreateThing a
        second by default, and boto3's adaptive retries keep to that rate; 10,000 Things take some minutes.
        Things cost nothing to keep; registry operations cost in the order of a dollar per million ("AWS IoT Core
        pricing").

        Args:
            charge_point_ids: The names; each is checked before anything is created.
            concurrency: Calls at a time.
            progress: Show a progress bar where it takes more than a second.
            timeout: Seconds to wait for the gateway's registry to learn of one more Thing, once all are created.
            keep: Leave them; otherwise ``stack.close()`` deletes those that this call created.
            result: Filled while this runs, and returned: give one to read it also after an interruption.

        Returns:
            What was created, what was there, and what failed with which error; failures raise nothing.

        Raises:
            ValueError: AWS IoT allows no such name; nothing was created.
            AwsError: AWS refused to list the Things.
            WaitTimeout: The registry did not learn of all in time.
        """
        _check_concurrency(concurrency)
        ids = list(dict.fromkeys(charge_point_ids))
        for charge_point_id in ids:
            _check_name(charge_point_id)
        there = {thing["thingName"] for thing in await self._listed()}
        result = ManyThings() if result is None else result
        result.kept += [charge_point_id for charge_point_id in ids if charge_point_id in there]
        missing = [charge_point_id for charge_point_id in ids if charge_point_id not in there]
        if missing and not keep:
            self._remember(f"{len(missing)} Things", lambda: self._delete_created(result))
        await self._for_each(missing, self._create_one, result, concurrency, "creating Things" if progress else None)
        there_now = [*result.kept, *result.done]
        await self._registry.wait_all(there_now, timeout, concurrency=concurrency, expected=True)
        return result

    async def delete_many(
        self, charge_point_ids: Iterable[str], *, concurrency: int = 10, progress: bool = True, timeout: float = 60
    ) -> ManyThings:
        """Delete many Things and their shadows; returns once the gateway refuses them all. Missing ones are fine.

        Arguments, limits and errors are those of :meth:`create_many`.
        """
        _check_concurrency(concurrency)
        ids = list(dict.fromkeys(charge_point_ids))
        for charge_point_id in ids:
            _check_name(charge_point_id)
        result = ManyThings()
        await self._for_each(ids, self._delete_one, result, concurrency, "deleting Things" if progress else None)
        await self._registry.wait_all(result.done, timeout, concurrency=concurrency, expected=False)
        return result

    @contextlib.asynccontextmanager
    async def provisioned(
        self, ids: Iterable[str], *, keep: bool = False, progress: bool = True
    ) -> AsyncIterator[Mapping[str, CpsimError]]:
        """Create many Things for a block, and delete those that were created after it, also when it is cancelled.

        A second cancel, during the deletion, is raised at once; the deletion goes on, and ``stack.close()`` waits for
        it. What cannot be deleted is logged, and ``stack.close()`` tries it again.

        Args:
            ids: The names, as :meth:`create_many` takes them.
            keep: Leave them, also when the stack is closed.
            progress: Show progress bars where it takes more than a second.

        Yields:
            The error of each that could not be created.

        Raises:
            ValueError, AwsError, WaitTimeout: As :meth:`create_many`.
        """
        result = ManyThings()
        try:
            await self.create_many(ids, progress=progress, keep=keep, result=result)
            yield result.failed
        finally:
            if result.done and not keep:
                await asyncio.shield(
                    asyncio.create_task(self._delete_after_block(result, progress), name="cpsim[things].delete")
                )

    async def list(self) -> pd.DataFrame:
        """All Things of the account and region, one row each: charge_point_id, attributes, version.

        Raises:
            AwsError: AWS refused.
        """
        return await asyncio.to_thread(_to_frame, await self._listed())

    async def delete(self, charge_point_id: str, *, timeout: float = 30) -> None:
        """Delete a Thing and its classic Device Shadow; returns once the gateway refuses the id.

        A charge point that is connected stays connected: the gateway looks the id up only when one connects.

        Args:
            charge_point_id: The Thing's name.
            timeout: Seconds to wait for the gateway's registry.

        Raises:
            NotFound: There is no such Thing.
            AwsError: AWS refused.
            WaitTimeout: The registry did not learn of it in time.
        """
        try:  # DeleteThing succeeds also where there is no Thing
            await self._aws.call("iot.describe_thing", thingName=charge_point_id)
        except AwsError as exc:
            if exc.code == "InvalidRequestException":  # a name no Thing can have
                message = f"there is no Thing {charge_point_id!r}"
                raise NotFound(message, verb=exc.verb, code=exc.code, kind="Thing", name=charge_point_id) from exc
            raise
        await self._delete_one(charge_point_id)
        await self._registry.wait(charge_point_id, timeout, expected=False)

    async def _listed(self) -> Sequence[dict[str, Any]]:
        return await self._aws.pages("iot.list_things", "things", PaginationConfig=_PAGES)

    async def _create(self, charge_point_id: str, attributes: dict[str, str]) -> tuple[bool, dict[str, str]]:
        """Create or update; whether it was created, and the attributes it has now."""
        try:
            there = (await self._aws.call("iot.describe_thing", thingName=charge_point_id))["attributes"]
        except NotFound:
            payload: dict[str, Any] = {"attributes": attributes}
            try:
                await self._aws.call("iot.create_thing", thingName=charge_point_id, attributePayload=payload)
            except AwsError as exc:
                if exc.code != "ResourceAlreadyExistsException":
                    raise
                return await self._create(charge_point_id, attributes)  # somebody else just created it
            return True, attributes
        if attributes:
            payload = {"attributes": attributes, "merge": True}
            await self._aws.call("iot.update_thing", thingName=charge_point_id, attributePayload=payload)
        return False, {name: value for name, value in {**there, **attributes}.items() if value}

    async def _create_one(self, charge_point_id: str) -> None:
        await self._aws.call("iot.create_thing", thingName=charge_point_id)

    async def _delete_one(self, charge_point_id: str) -> None:
        with contextlib.suppress(NotFound):
            await self._aws.call("iot-data.delete_thing_shadow", thingName=charge_point_id)
        with contextlib.suppress(NotFound):
            await self._aws.call("iot.delete_thing", thingName=charge_point_id)

    async def _delete_created(self, result: ManyThings, progress: bool = False) -> None:
        """Delete what ``create_many`` created; ``result.done`` keeps what could not be deleted, for the next try."""
        async with self._deleting:
            failed = (await self.delete_many(result.done, progress=progress)).failed
            result.done[:] = failed
        if failed:
            raise next(iter(failed.values()))

    async def _delete_after_block(self, result: ManyThings, progress: bool) -> None:
        try:
            await self._delete_created(result, progress)
        except CpsimError as exc:  # the result of the block is worth more
            logger.warning("%d Things could not be deleted; the first error: %s", len(result.done), exc)

    async def _for_each(
        self,
        ids: Sequence[str],
        work: Callable[[str], Awaitable[None]],
        result: ManyThings,
        concurrency: int,
        title: str | None,
    ) -> None:
        """Do the work for each id, ``concurrency`` at a time; add each id to the result."""
        todo = iter(ids)
        with tqdm(total=len(ids), desc=title, unit="", delay=1, disable=title is None) as bar:

            async def worker() -> None:
                for charge_point_id in todo:
                    try:
                        await work(charge_point_id)
                    except CpsimError as exc:
                        result.failed[charge_point_id] = exc
                        if nobody_answers(exc):  # each attempt takes seconds: give up on the rest
                            result.failed |= dict.fromkeys(todo, exc)
                    except asyncio.CancelledError:  # AWS may have done it all the same
                        result.done.append(charge_point_id)
                        raise
                    else:
                        result.done.append(charge_point_id)
                    bar.update()

            await together((worker() for _ in range(min(concurrency, len(ids)))), "things")

    async def _delete_if_there(self, charge_point_id: str) -> None:
        with contextlib.suppress(NotFound):
            await self.delete(charge_point_id)


def _check_name(charge_point_id: str) -> None:
    if not THING_NAME.fullmatch(charge_point_id):
        raise ValueError(
            f"{charge_point_id!r} cannot be a Thing: use 1 to 128 letters, digits, colons, underscores and hyphens"
        )


def _check_concurrency(concurrency: int) -> None:
    if concurrency < 1:
        raise ValueError(f"concurrency is at least 1, not {concurrency}")


def _to_frame(things: Sequence[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - half a second, in a thread, so that charge points go on

    rows = [(thing["thingName"], thing.get("attributes", {}), thing.get("version", 1)) for thing in things]
    return pd.DataFrame(rows, columns=["charge_point_id", "attributes", "version"])
