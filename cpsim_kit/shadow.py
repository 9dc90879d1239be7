"""Device Shadows: what AWS IoT Core remembers of a charge point.

AWS IoT Core developer guide, "Device Shadow service".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from cpsim_kit.aws import Aws
from cpsim_kit.errors import NotFound, WaitTimeout

__all__ = ["Shadow", "ShadowRequest"]

_POLL = 0.05  # seconds, at first


@dataclass(frozen=True)
class Shadow:
    """One version of a classic Device Shadow, whole.

    Attributes:
        charge_point_id: The Thing's name.
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

    def __repr__(self) -> str:
        desired = f" desired={self.desired}" if self.desired else ""
        return f"<Shadow {self.charge_point_id} version={self.version} reported={self.reported}{desired}>"


class ShadowRequest:
    """A shadow to be read; made by ``stack.shadow(id)``, and awaited.

    Args:
        aws: The door to boto3.
        charge_point_id: The Thing's name.
    """

    def __init__(self, aws: Aws, charge_point_id: str) -> None:
        self._aws = aws
        self._id = charge_point_id

    def __repr__(self) -> str:
        return f'<ShadowRequest {self._id}: write await stack.shadow("{self._id}")>'

    def __await__(self) -> Generator[Any, None, Shadow]:
        return self._read().__await__()

    async def wait_for(self, predicate: Callable[[Shadow], object], *, timeout: float = 10) -> Shadow:
        """The shadow, as soon as the predicate is true of it; one that does not exist yet is waited for.

        Args:
            predicate: Called with each version seen.
            timeout: Seconds to wait.

        Raises:
            WaitTimeout: It did not come true; ``last_seen`` is the last version, or None where there was none.
            AwsError: AWS refused.
        """
        seen: Shadow | None = None
        poll = _POLL
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        shadow = await self._read()
                    except NotFound:
                        pass
                    else:
                        if (seen is None or shadow.version != seen.version) and predicate(shadow):
                            return shadow
                        seen = shadow
                    await asyncio.sleep(poll)
                    poll = min(poll * 1.5, 1.0)
        except TimeoutError as exc:
            raise WaitTimeout(f"the Device Shadow of {self._id}", timeout, seen) from exc

    async def _read(self) -> Shadow:
        def read() -> bytes:
            body: bytes = self._aws.client("iot-data").get_thing_shadow(thingName=self._id)["payload"].read()
            return body

        parameters = {"thingName": self._id}
        document = json.loads(await self._aws.run("iot-data.get_thing_shadow", read, parameters))
        state = document.get("state", {})
        return Shadow(
            self._id,
            state.get("reported", {}),
            state.get("desired", {}),
            document.get("version", 0),
            document.get("metadata", {}),
        )
