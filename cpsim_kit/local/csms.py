"""The CSMS behind the gateway: answers what comes on ``+/in`` by ``{id}/out``, and reports boots to the Device Shadow.

Two characters. "kit" answers BootNotification, Heartbeat and StatusNotification as the AWS sample's message processor
does, and every other action of a charge point with an answer that is valid by the schema. "sample" is that message
processor, quirks included, so that they can be studied: ``{"error": …}`` for what it does not know, no validation, and
retries of a whole batch when one record fails, so that answers arrive twice.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.frames import CALL, CALLERROR, CALLRESULT, CHARGE_POINT_ACTIONS, Message, Version, dump_frame, load_frame
from cpsim_kit.local.gateway import Broker

__all__ = ["CHARACTERS", "Csms"]

logger = logging.getLogger("cpsim.csms")

CHARACTERS = ("kit", "sample")

for _name in CHARGE_POINT_ACTIONS:
    Version.get(_name)  # imported now, so that the first boot does not wait for it

# The sample's queue: batches of 10 to the Lambda function, 3 tries, then the dead letter queue. Its visibility timeout
# is 30 s; nobody studies a quirk that takes so long, so here it is one.
_BATCH = 10
_TRIES = 3
_RETRY_AFTER = 1.0


@dataclass(slots=True)
class _Received:
    charge_point_id: str
    text: bytes
    tries: int = 0


class Csms:
    """A CSMS on a broker.

    Args:
        broker: Where messages come from and go to.
        interval: Seconds between heartbeats, told at boot.
        character: "kit" or "sample".
    """

    def __init__(self, broker: Broker, *, interval: int = 10, character: str = "kit") -> None:
        if character not in CHARACTERS:
            raise ValueError(f"csms is {' or '.join(CHARACTERS)}, not {character!r}")
        self._broker = broker
        self._interval = interval
        self._character = character
        self._queue: asyncio.Queue[_Received] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None
        self._transaction_ids = itertools.count(1)

    async def start(self) -> None:
        """Listen to ``+/in``."""
        await self._broker.subscribe("+/in", self._on_in)
        self._worker = asyncio.create_task(self._work(), name="cpsim[csms].worker")

    async def stop(self) -> None:
        """Stop answering."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])

    async def _on_in(self, topic: str, payload: bytes) -> None:
        self._queue.put_nowait(_Received(topic.removesuffix("/in"), payload))

    async def _work(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            if self._character == "sample":
                await self._process_as_lambda(batch)
            else:
                for received in batch:
                    try:
                        await self._process(received)
                    except Exception:
                        logger.exception("%s: failed on %r", received.charge_point_id, received.text)

    async def _process_as_lambda(self, batch: list[_Received]) -> None:
        """One invocation of the sample's function: a record that fails brings the whole batch back."""
        try:
            for received in batch:
                received.tries += 1
                await self._process_as_sample(received)
        except Exception as exc:  # noqa: BLE001 - whatever fails, the queue redelivers
            logger.warning("the message processor failed on %r: %r", received.text, exc)
            loop = asyncio.get_running_loop()
            for again in batch:
                if again.tries < _TRIES:
                    loop.call_later(_RETRY_AFTER, self._queue.put_nowait, again)
                else:
                    logger.warning("%s: to the dead letter queue: %r", again.charge_point_id, again.text)

    # -- Answers ------------------------------------------------------------------------------------------------------

    async def _process(self, received: _Received) -> None:
        try:
            frame = load_frame(received.text)
        except ProtocolViolation as exc:
            logger.warning("%s: ignored, %s: %r", received.charge_point_id, exc, received.text)
            return
        match frame:
            case [2, str(message_id), str(action), payload]:
                answer = await self._answer(received.charge_point_id, message_id, action, payload)
                await self._send(received.charge_point_id, answer)
            case [2, str(message_id), *_]:
                text = "a CALL is [2, message id, action, payload]"
                await self._send(received.charge_point_id, [CALLERROR, message_id, "RpcFrameworkError", text, {}])
            case [3 | 4, *_]:
                pass  # an answer to somebody's CALL on {id}/out, who reads it from {id}/in
            case _:
                logger.warning("%s: ignored, not OCPP-J: %r", received.charge_point_id, received.text)

    async def _answer(self, charge_point_id: str, message_id: str, action: str, payload: Any) -> list[Any]:
        try:
            version = _version_of(action, payload)
        except ProtocolViolation as exc:
            logger.warning("%s: refused %s: %s", charge_point_id, action, exc)
            return [CALLERROR, message_id, exc.code, str(exc)[:255], {}]
        known = self._known_answer(action)
        if action == "BootNotification":
            await self._report(charge_point_id, payload)
        return [CALLRESULT, message_id, self._valid_answer(version.response(action)) if known is None else known]

    async def _process_as_sample(self, received: _Received) -> None:
        message_type, message_id, action, payload = load_frame(received.text)  # a CALLRESULT has 3: the sample fails
        if message_type != CALL:
            raise ValueError(f"message type {message_type}")
        if action == "BootNotification":
            await self._report(received.charge_point_id, payload)
        answer = self._known_answer(action)
        if answer is None:
            answer = {"error": f"Command [{action}] not implemented."}
        await self._send(received.charge_point_id, [CALLRESULT, message_id, answer])

    def _known_answer(self, action: str) -> dict[str, Any] | None:
        """The sample's answer, None where it has none. Its clock is UTC, and does not say so."""
        now = datetime.now(UTC).replace(tzinfo=None).isoformat()
        match action:
            case "BootNotification":
                return {"currentTime": now, "interval": self._interval, "status": "Accepted"}
            case "Heartbeat":
                return {"currentTime": now}
            case "StatusNotification":
                return {}
            case _:
                return None

    def _valid_answer(self, message: Message) -> dict[str, Any]:
        """The required fields of an answer, in favour of the charge point where there is a choice."""
        answer = message.example()
        if "transactionId" in answer:
            answer["transactionId"] = next(self._transaction_ids)
        return answer

    async def _report(self, charge_point_id: str, payload: Any) -> None:
        document = orjson.dumps({"state": {"reported": payload}})
        await self._broker.publish(f"$aws/things/{charge_point_id}/shadow/update", document)

    async def _send(self, charge_point_id: str, frame: list[Any]) -> None:
        await self._broker.publish(f"{charge_point_id}/out", dump_frame(frame))


def _version_of(action: str, payload: Any) -> Version:
    """The version whose schema a charge point's payload fulfils: MQTT does not tell which one it speaks.

    Raises:
        ProtocolViolation: None.
    """
    violation = None
    for name, actions in CHARGE_POINT_ACTIONS.items():
        if action in actions:
            version = Version.get(name)
            try:
                version.request(action).decode(payload)
            except ProtocolViolation as exc:
                violation = violation or exc
            else:
                return version
    if violation is not None:
        raise violation
    text = f"a CSMS does not answer {action}"
    code = (
        "NotSupported"
        if any(action in Version.get(name).actions for name in CHARGE_POINT_ACTIONS)
        else "NotImplemented"
    )
    raise ProtocolViolation(text, action=action, path="", text=text, code=code)
