"""Device Shadows: what AWS IoT Core remembers of a charge point.

AWS IoT Core developer guide, "Device Shadow service".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from cpsim_kit.aws.monitor import Monitor
from cpsim_kit.aws.session import Aws
from cpsim_kit.basics.cards import card
from cpsim_kit.basics.waiting import poll_until
from cpsim_kit.errors import AwsError, NotFound

__all__ = ["Shadow", "ShadowRequest", "ShadowWatch"]

_NAME = re.compile(r"[$a-zA-Z0-9:_-]{1,64}")  # UpdateThingShadow, shadowName


@dataclass(frozen=True)
class Shadow:
    """One version of a Device Shadow, whole.

    Attributes:
        charge_point_id: The Thing's name.
        name: The shadow's name, "" for the classic one.
        reported: What the charge point reported last, e.g. the payload of its BootNotification.
        desired: What it is asked to become.
        version: Rises by one with each update.
        metadata: When each value was written, in seconds since the epoch.
    """

    charge_point_id: str
    reported: dict[str, Any] = field(default_factory=dict)
    desired: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)
    name: str = ""

    def __repr__(self) -> str:
        desired = f" desired={self.desired}" if self.desired else ""
        named = f"/{self.name}" if self.name else ""
        return f"<Shadow {self.charge_point_id}{named} version={self.version} reported={self.reported}{desired}>"

    def _repr_html_(self) -> str:
        named = f"/{self.name}" if self.name else ""
        rows = {"reported": self.reported, "desired": self.desired or None}
        return card(f"Shadow {self.charge_point_id}{named}", f"version {self.version}", rows)


class ShadowRequest:
    """A shadow to be read, changed or watched; made by ``stack.shadow(id)``, and awaited.

    Args:
        aws: The door to boto3.
        charge_point_id: The Thing's name.
        name: A named shadow; "" for the classic one.
        monitor: Makes a monitor of a topic.

    Raises:
        ValueError: AWS IoT allows no such shadow name.
    """

    def __init__(
        self, aws: Aws, charge_point_id: str, name: str = "", monitor: Callable[[str], Monitor] | None = None
    ) -> None:
        if name and not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of a shadow: AWS allows {_NAME.pattern}")
        self._aws = aws
        self._id = charge_point_id
        self._name = name
        self._monitor = monitor or (lambda topic: Monitor(aws.mqtt_endpoint, (topic,)))
        self._parameters = {"thingName": charge_point_id} | ({"shadowName": name} if name else {})

    def __repr__(self) -> str:
        return f'<ShadowRequest {self._id}: write await stack.shadow("{self._id}")>'

    def __await__(self) -> Generator[Any, None, Shadow]:
        return self._exchange("iot-data.get_thing_shadow", self._parameters).__await__()

    async def wait_for(self, predicate: Callable[[Shadow], object], *, timeout: float = 10) -> Shadow:
        """Wait until the predicate is true of the shadow, and return it; the shadow need not exist yet.

        Args:
            predicate: Called once with each version seen.
            timeout: Seconds to wait.

        Raises:
            WaitTimeout: It did not become true; ``last_seen`` is the last version, or None where there was none.
            AwsError: AWS refused.
        """
        seen: Shadow | None = None

        async def look() -> Shadow | None:
            nonlocal seen
            try:
                shadow = await self
            except NotFound:
                return None
            is_new = seen is None or shadow.version != seen.version
            seen = shadow
            return shadow if is_new and predicate(shadow) else None

        return await poll_until(look, f"the Device Shadow of {self._id}", timeout, last_seen=lambda: seen)

    async def update(
        self,
        *,
        desired: Mapping[str, Any] | None = None,
        reported: Mapping[str, Any] | None = None,
        version: int | None = None,
    ) -> Shadow:
        """Change the shadow, and return it whole; keys not named stay, a value of None removes its key.

        AWS IoT keeps 8 KB of both, eight levels deep, without None in lists.

        Args:
            desired: What the charge point is asked to become.
            reported: What it is; usually the charge point reports that itself.
            version: Change only this version.

        Raises:
            TypeError: ``desired`` or ``reported`` is not a mapping.
            AwsError: AWS refused; ``code`` is "ConflictException" where the shadow has another version by now,
                "RequestEntityTooLargeException" beyond 8 KB, "InvalidRequestException" for other limits.
        """
        state = {}
        for key, value in (("desired", desired), ("reported", reported)):
            if value is None:
                continue
            if not isinstance(value, Mapping):
                raise TypeError(f'{self._id}: {key}= is a dict such as {{"key": 1}}, or None; not {value!r}')
            state[key] = dict(value)
        document: dict[str, Any] = {"state": state} | ({} if version is None else {"version": version})
        await self._exchange("iot-data.update_thing_shadow", {**self._parameters, "payload": json.dumps(document)})
        return await self

    async def delete(self) -> None:
        """Delete the shadow; the next one continues with its version number.

        Raises:
            NotFound: There is none.
            AwsError: AWS refused.
        """
        await self._aws.call("iot-data.delete_thing_shadow", **self._parameters)

    def watch(self) -> ShadowWatch:
        """Each change from now on: ``async with stack.shadow("CP1").watch() as changes`` and ``async for``."""
        named = f"/name/{self._name}" if self._name else ""
        topic = f"$aws/things/{self._id}/shadow{named}/update/documents"
        return ShadowWatch(self._monitor(topic), self._id, self._name)

    async def _exchange(self, verb: str, parameters: dict[str, Any]) -> Shadow:
        service, operation = verb.split(".")

        def work() -> bytes:
            body: bytes = getattr(self._aws.client(service), operation)(**parameters)["payload"].read()
            return body

        body = await self._aws.run(verb, work, parameters)
        try:
            return _shadow(self._id, self._name, json.loads(body))
        except (AttributeError, ValueError) as exc:
            raise AwsError(f"{verb}: the answer is not a Device Shadow: {exc}", verb=verb) from exc


class ShadowWatch:
    """Each version of a shadow after a change, in order; entered, then iterated or taken from.

    AWS IoT publishes them on the reserved topic ``…/shadow/update/documents``.
    """

    def __init__(self, monitor: Monitor, charge_point_id: str, name: str) -> None:
        self._monitor = monitor
        self._id = charge_point_id
        self._name = name
        self._entered = False

    def __repr__(self) -> str:
        return f"<ShadowWatch {self._id} {self._monitor!r}>"

    async def __aenter__(self) -> Self:
        await self._monitor.__aenter__()
        self._entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._monitor.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Shadow:
        self._require_entered()
        return self._current((await self._monitor.__anext__()).payload)

    async def take(self, count: int, *, timeout: float | None = None) -> list[Shadow]:
        """The next versions, once there are so many; waits and raises as ``Monitor.take`` does."""
        self._require_entered()
        return [self._current(message.payload) for message in await self._monitor.take(count, timeout=timeout)]

    def _require_entered(self) -> None:
        if not self._entered:
            named = f', "{self._name}"' if self._name else ""
            how = f'async with stack.shadow("{self._id}"{named}).watch() as changes'
            raise RuntimeError(f"this watch was not entered: {how}")

    def _current(self, document: Any) -> Shadow:
        return _shadow(self._id, self._name, document["current"])


def _shadow(charge_point_id: str, name: str, document: dict[str, Any]) -> Shadow:
    state, metadata = document.get("state", {}), document.get("metadata", {})
    return Shadow(
        charge_point_id,
        state.get("reported", {}),
        state.get("desired", {}),
        document.get("version", 0),
        {key: metadata[key] for key in ("reported", "desired") if key in metadata},
        name,
    )
