"""The CSMS behind the gateway: answers the CALLs on ``+/in`` by ``{id}/out``, and reports boots to the Device Shadow.

It has one of three characters:

- "kit" runs the kit's message processor (`message_processor`), which knows tokens and keeps transactions. This module
  validates payloads around it: it logs a warning if a BootNotification, Heartbeat or StatusNotification breaks the
  schema, which the sample's processor answers whatever their fields contain; every other payload that is not valid gets
  a CALLERROR. An action that the message processor does not know gets an answer that is valid by the schema. The
  sample's processor speaks OCPP 2.0.1; a payload that is clearly of 1.6 and breaks the schema of 1.6 gets a CALLERROR
  of 1.6.
- "strict" also refuses those three if they break the schema.
- "sample" is the sample's message processor with its quirks, to study them: ``{"error": …}`` for an action it does not
  know, no validation, and retries of a whole batch if one record fails, so that answers arrive twice.

It steps aside while an MQTT client answers in its place (``aws.answers``), and afterwards answers what that client has
left unanswered.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cpsim_kit.aws.topics import STAND_IN
from cpsim_kit.local.message_processor import MessageProcessor, Refused
from cpsim_kit.local.server.broker import Broker, StandIn
from cpsim_kit.local.server.tables import Tables
from cpsim_kit.local.server.unanswered import Unanswered
from cpsim_kit.ocpp_j.closest_version import closest_version
from cpsim_kit.ocpp_j.frames import Call, Error, Malformed, Result, build, parse
from cpsim_kit.ocpp_j.versions import Version

__all__ = ["CHARACTERS", "Csms"]

logger = logging.getLogger("cpsim.csms")

CHARACTERS = ("kit", "strict", "sample")

_SAMPLES_ACTIONS = frozenset({"BootNotification", "Heartbeat", "StatusNotification"})

# The sample's queue: batches of 10 for the Lambda function, 3 tries, then the dead letter queue.
_BATCH = 10
_TRIES = 3
_RETRY_AFTER = 1.0  # seconds; the sample's visibility timeout is 30 s, which is too long to watch


@dataclass(slots=True)
class _Received:
    charge_point_id: str
    text: bytes
    tries: int = 0


class Csms:
    """A CSMS on a broker.

    Args:
        broker: The broker that messages come from and go to.
        interval: The heartbeat interval of a boot's answer, in seconds.
        character: "kit", "strict" or "sample".
        tables: The tables of tokens and transactions; "sample" has none, the others need them.
        retry_after: Seconds until the queue of "sample" delivers a failed batch again.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        interval: int = 10,
        character: str = "kit",
        tables: Tables | None = None,
        retry_after: float = _RETRY_AFTER,
    ) -> None:
        if character not in CHARACTERS:
            raise ValueError(f"csms is one of {', '.join(CHARACTERS)}, not {character!r}")
        self._broker = broker
        self._interval = interval
        self._character = character
        self._retry_after = retry_after
        self._queue: asyncio.Queue[_Received] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None
        self._processor: MessageProcessor | None = None
        if character != "sample":
            if tables is None:
                raise ValueError(f"csms {character!r} needs tables")
            self._processor = MessageProcessor(
                lambda topic, document: self._published.append((topic, document)),
                tokens=tables.tokens,
                transactions=tables.transactions,
                interval=interval,
            )
        self._published: list[tuple[str, Any]] = []  # by the message processor; not by the broker yet
        self._versions: dict[str, Version] = {}  # what each charge point's last boot was closest to
        self._unanswered = Unanswered()  # by those who answer in its place

    async def start(self) -> None:
        """Subscribe to ``+/in``, and start to answer."""
        stand_in = StandIn(STAND_IN, self._unanswered.on_in, {"+/out": self._unanswered.on_out}, self._come_back)
        await self._broker.subscribe("+/in", self._on_in, stand_in)
        self._worker = asyncio.create_task(self._work(), name="cpsim[csms].worker")

    async def stop(self) -> None:
        """Stop answering."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])

    async def _on_in(self, topic: str, payload: bytes) -> None:
        self._queue.put_nowait(_Received(topic.removesuffix("/in"), payload))

    def _come_back(self) -> None:
        """Nobody answers in its place any more: answer what was left, before what comes next."""
        left = self._unanswered.drain()
        logger.info("the CSMS answers again, and %d messages first that were left unanswered", len(left))
        for charge_point_id, text in left:
            self._queue.put_nowait(_Received(charge_point_id, text))

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
        """Invoke the sample's function once. If a record fails, the queue delivers the whole batch again."""
        try:
            for received in batch:
                received.tries += 1
                await self._process_as_sample(received)
        except Exception as exc:  # noqa: BLE001 - the queue redelivers after any failure
            logger.warning("the message processor failed on %r: %r", received.text, exc)
            again = [each for each in batch if each.tries < _TRIES]
            asyncio.get_running_loop().call_later(self._retry_after, self._deliver_again, again)
            for each in batch:
                if each.tries >= _TRIES:
                    logger.warning("%s: to the dead letter queue: %r", each.charge_point_id, each.text)

    def _deliver_again(self, batch: list[_Received]) -> None:
        """Put a failed batch into the queue in one step, so that it is one batch again."""
        for received in batch:
            self._queue.put_nowait(received)

    # -- Answers ------------------------------------------------------------------------------------------------------

    async def _process(self, received: _Received) -> None:
        charge_point_id, frame = received.charge_point_id, parse(received.text)
        match frame:
            case Call(kind="CALL"):
                await self._answer(charge_point_id, frame)
            case Malformed(kind="CALL", message_id=str(message_id)) if message_id:
                code = self._versions.get(charge_point_id, Version.get("2.0.1")).code(frame.code)
                await self._send(charge_point_id, Error(message_id, code, frame.reason))
            case Result() | Error(kind="CALLERROR"):
                pass  # an answer to somebody's CALL on {id}/out, who reads it from {id}/in
            case Error():
                logger.warning(
                    "%s: refused the answer %s: %s %s", charge_point_id, frame.message_id, frame.code, frame.description
                )
            case Call():
                logger.info("%s: SEND %s, which asks for no answer", charge_point_id, frame.action)
            case _:
                logger.warning("%s: ignored, %s: %r", charge_point_id, frame.reason, received.text)

    async def _answer(self, charge_point_id: str, call: Call) -> None:
        message_id, action, payload = call.message_id, call.action, call.fields
        version, violation = closest_version(action, payload, self._versions.get(charge_point_id))
        if violation is not None:
            is_strict = self._character == "strict" or (isinstance(payload, dict) and version is Version.get("1.6"))
            if is_strict or action not in _SAMPLES_ACTIONS:
                logger.warning("%s: refused %s: %s", charge_point_id, action, violation)
                await self._send(charge_point_id, Error(message_id, violation.code, str(violation)))
                return
            logger.warning("%s: answered %s, although it is not valid: %s", charge_point_id, action, violation)
        if version is not None and action == "BootNotification":
            self._versions[charge_point_id] = version
        await self._send(charge_point_id, await self._reply(charge_point_id, call, version))

    async def _reply(self, charge_point_id: str, call: Call, version: Version | None) -> Result | Error:
        """Run the message processor on a CALL, and publish what it publishes before the answer."""
        assert self._processor is not None
        if not self._processor.knows(call.action):
            assert version is not None  # the payload is valid
            return Result(call.message_id, version.response(call.action).example())
        try:
            answer = self._processor.answer(charge_point_id, call.action, call.fields)
        except Refused as exc:
            logger.warning("%s: refused %s: %s", charge_point_id, call.action, exc)
            code = exc.code if version is None else version.code(exc.code)
            return Error(call.message_id, code, exc.description)
        while self._published:
            topic, document = self._published.pop(0)
            await self._broker.publish(topic, _dump_any(document))
        return Result(call.message_id, answer)

    async def _process_as_sample(self, received: _Received) -> None:
        call = parse(received.text)
        if not isinstance(call, Call) or call.kind != "CALL":  # the sample fails on everything else
            raise ValueError(call.kind or call)
        action, payload = call.action, call.payload
        if action == "BootNotification":
            await self._report(received.charge_point_id, payload)
        answer = self._known_answer(action)
        if answer is None:
            answer = {"error": f"Command [{action}] not implemented."}
        await self._send(received.charge_point_id, Result(call.message_id, answer))

    def _known_answer(self, action: str) -> dict[str, Any] | None:
        """Return the sample's answer; None if it has none. The sample's times are UTC, without a time zone."""
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

    async def _report(self, charge_point_id: str, payload: Any) -> None:
        document = _dump_any({"state": {"reported": payload}})
        await self._broker.publish(f"$aws/things/{charge_point_id}/shadow/update", document)

    async def _send(self, charge_point_id: str, frame: Result | Error) -> None:
        await self._broker.publish(f"{charge_point_id}/out", build(frame))


def _dump_any(document: Any) -> bytes:
    """Write JSON with integers of any size, as a charge point may report them."""
    return json.dumps(document, ensure_ascii=False).encode()
