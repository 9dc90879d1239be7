"""Sends CALLs to charge points as the CSMS does: on ``{id}/out``, the answer from ``{id}/in``. ``stack.send``."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

from cpsim_kit.aws.mqtt import MqttConnection
from cpsim_kit.aws.session import Aws
from cpsim_kit.basics.addresses import MqttEndpoint
from cpsim_kit.errors import AwsError, CallFailed, CallTimeout, CpsimError, ProtocolViolation
from cpsim_kit.ocpp_j.frames import Call, Error, Malformed, Result, build, parse
from cpsim_kit.ocpp_j.versions import Version, messages_of

__all__ = ["CsmsCaller"]


class CsmsCaller:
    """One MQTT connection, opened with the first call, for all answers.

    Args:
        aws: The door to boto3, by which CALLs are published.
        endpoint: Where to connect for the answers.
        most_subscriptions: How many charge points get a subscription each; after that, one covers all. AWS IoT Core
            allows 50 subscriptions a connection.
        reconnect: Seconds to wait before a lost connection is opened again: the first wait, and the longest.
    """

    def __init__(
        self,
        aws: Aws,
        endpoint: Callable[[], MqttEndpoint],
        *,
        most_subscriptions: int = 40,
        reconnect: tuple[float, float] = (1, 10),
    ) -> None:
        self._aws = aws
        self._endpoint = endpoint
        self._most_subscriptions = most_subscriptions
        self._reconnect = reconnect
        self._connection: MqttConnection | None = None
        self._subscribed: set[str] = set()  # charge points, or "+" for all
        self._opening = asyncio.Lock()
        self._waiting: dict[
            tuple[str, str], asyncio.Future[Result | Error | Malformed]
        ] = {}  # charge point, message id -> answer

    async def send(self, charge_point_id: str, payload: Any, timeout: float) -> Any:
        """Send a CALL and return the ``call_result`` dataclass; see ``Stack.send``."""
        version, request, _ = messages_of(type(payload))
        action = request.action
        data = request.encode(payload)
        message_id = str(uuid.uuid4())
        await self._listen_to(charge_point_id)
        answer = self._waiting[charge_point_id, message_id] = asyncio.get_running_loop().create_future()
        try:
            text = build(Call(message_id, action, data))
            await self._aws.call("iot-data.publish", topic=f"{charge_point_id}/out", qos=1, payload=text)
            async with asyncio.timeout(timeout):
                frame = await answer
            try:
                return _result(charge_point_id, action, version, frame)
            except ProtocolViolation as exc:
                if version.name == "2.1":  # OCPP 2.1 part 4
                    complaint = build(Error(message_id, version.code(exc.code), str(exc), kind="CALLRESULTERROR"))
                    await self._aws.call("iot-data.publish", topic=f"{charge_point_id}/out", qos=1, payload=complaint)
                raise
        except CpsimError:
            raise
        except TimeoutError as exc:
            hint = "Is it connected, and does it answer this action? See stack.monitor."
            raise CallTimeout(charge_point_id, action, message_id, timeout, hint) from exc
        finally:
            del self._waiting[charge_point_id, message_id]

    async def close(self) -> None:
        """Disconnect; a call that still waits for its answer raises AwsError."""
        for (charge_point_id, message_id), answer in self._waiting.items():
            if not answer.done():
                text = f"{charge_point_id}: closed here before the answer to the CALL {message_id} came"
                answer.set_exception(AwsError(text, verb="mqtt.receive"))
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _listen_to(self, charge_point_id: str) -> None:
        async with self._opening:
            if self._connection is None:
                connection = MqttConnection(self._endpoint, self._on_message, reconnect=self._reconnect)
                await connection.open([])
                self._connection = connection
                self._subscribed.clear()
            level = charge_point_id if len(self._subscribed) < self._most_subscriptions else "+"
            if not self._subscribed & {charge_point_id, "+"}:
                await self._connection.subscribe(f"{level}/in")
                self._subscribed.add(level)

    def _on_message(self, topic: str, payload: bytes, _moment: float) -> None:
        frame = parse(payload)
        if isinstance(frame, Call) or frame.kind not in {"CALLRESULT", "CALLERROR"}:
            return
        future = self._waiting.get((topic.removesuffix("/in"), frame.message_id))
        if future is not None and not future.done():
            future.set_result(frame)


def _result(charge_point_id: str, action: str, version: Version, frame: Result | Error | Malformed) -> Any:
    if isinstance(frame, Error):
        raise CallFailed(charge_point_id, action, frame.code, frame.description, frame.details)
    try:
        if isinstance(frame, Malformed):
            raise frame.violation(action, version.code(frame.code))
        return version.response(action).decode_object(frame.fields)
    except ProtocolViolation as exc:
        raise exc.of(charge_point_id, "answer to ") from exc
