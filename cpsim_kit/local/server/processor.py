"""The CSMS behind the gateway: answers the CALLs on ``+/in`` by ``{id}/out``, and reports boots to the Device Shadow.

It has one of three characters:

- "kit" answers BootNotification, Heartbeat and StatusNotification as the message processor of the AWS sample does,
  whatever their fields contain, and logs a warning if they break the schema. It answers every other action of a charge
  point with a valid answer, or with a CALLERROR if the payload is not valid. The sample's processor speaks OCPP 2.0.1;
  a payload that is clearly of 1.6 and breaks the schema of 1.6 gets a CALLERROR of 1.6.
- "strict" also refuses those three if they break the schema.
- "sample" is the sample's message processor with its quirks, to study them: ``{"error": …}`` for an action it does not
  know, no validation, and retries of a whole batch if one record fails, so that answers arrive twice.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.local.server.broker import Broker
from cpsim_kit.ocpp_j.frames import Call, Error, Malformed, Result, build, parse
from cpsim_kit.ocpp_j.payloads import Message
from cpsim_kit.ocpp_j.versions import CHARGE_POINT_ACTIONS, Version

__all__ = ["CHARACTERS", "Csms"]

logger = logging.getLogger("cpsim.csms")

CHARACTERS = ("kit", "strict", "sample")

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
        retry_after: Seconds until the queue of "sample" delivers a failed batch again.
    """

    def __init__(
        self, broker: Broker, *, interval: int = 10, character: str = "kit", retry_after: float = _RETRY_AFTER
    ) -> None:
        if character not in CHARACTERS:
            raise ValueError(f"csms is one of {', '.join(CHARACTERS)}, not {character!r}")
        self._broker = broker
        self._interval = interval
        self._character = character
        self._retry_after = retry_after
        self._queue: asyncio.Queue[_Received] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None
        self._transaction_ids = itertools.count(1)
        self._versions: dict[str, Version] = {}  # what each charge point's last boot was closest to

    async def start(self) -> None:
        """Subscribe to ``+/in``, and start to answer."""
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
        """Invoke the sample's function once. If a record fails, the queue delivers the whole batch again."""
        try:
            for received in batch:
                received.tries += 1
                await self._process_as_sample(received)
        except Exception as exc:  # noqa: BLE001 - the queue redelivers after any failure
            logger.warning("the message processor failed on %r: %r", received.text, exc)
            loop = asyncio.get_running_loop()
            for again in batch:
                if again.tries < _TRIES:
                    loop.call_later(self._retry_after, self._queue.put_nowait, again)
                else:
                    logger.warning("%s: to the dead letter queue: %r", again.charge_point_id, again.text)

    # -- Answers ------------------------------------------------------------------------------------------------------

    async def _process(self, received: _Received) -> None:
        charge_point_id, frame = received.charge_point_id, parse(received.text)
        match frame:
            case Call(kind="CALL"):
                await self._send(charge_point_id, await self._answer(charge_point_id, frame))
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

    async def _answer(self, charge_point_id: str, call: Call) -> Result | Error:
        message_id, action, payload = call.message_id, call.action, call.fields
        known = self._known_answer(action)
        version, violation = _judge(action, payload, self._versions.get(charge_point_id))
        is_strict = self._character == "strict" or (isinstance(payload, dict) and version is Version.get("1.6"))
        if violation is not None and (known is None or is_strict):
            logger.warning("%s: refused %s: %s", charge_point_id, action, violation)
            return Error(message_id, violation.code, str(violation))
        if version is not None and action == "BootNotification":
            self._versions[charge_point_id] = version
        if violation is not None:
            logger.warning("%s: answered %s, although it is not valid: %s", charge_point_id, action, violation)
        if action == "BootNotification" and isinstance(payload, dict):  # a shadow contains objects only
            await self._report(charge_point_id, payload)
        if known is not None:
            return Result(message_id, known)
        assert version is not None  # no violation
        return Result(message_id, self._valid_answer(version.response(action)))

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
        now = datetime.now(UTC).replace(tzinfo=None).isoformat() + ("" if self._character == "sample" else "Z")
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
        """Return an answer with the required fields; its status accepts if there is a choice."""
        answer = message.example()
        if "transactionId" in answer:
            answer["transactionId"] = next(self._transaction_ids)
        return answer

    async def _report(self, charge_point_id: str, payload: Any) -> None:
        document = json.dumps({"state": {"reported": payload}}, ensure_ascii=False).encode()  # integers of any size
        await self._broker.publish(f"$aws/things/{charge_point_id}/shadow/update", document)

    async def _send(self, charge_point_id: str, frame: Result | Error) -> None:
        await self._broker.publish(f"{charge_point_id}/out", build(frame))


def _judge(action: str, payload: Any, usual: Version | None) -> tuple[Version | None, ProtocolViolation | None]:
    """Return the version whose schema a payload fits best, and how it breaks that schema.

    MQTT does not tell which version a charge point speaks.

    Args:
        action: The action of the CALL.
        payload: The payload of the CALL.
        usual: The version of the charge point's boot. It is preferred unless the payload fits another one better.

    Returns:
        The version, None if the payload fits several equally badly; and the violation, None if the payload is valid.
    """
    names = sorted((name for name in CHARGE_POINT_ACTIONS if action in CHARGE_POINT_ACTIONS[name]), reverse=True)
    versions = [Version.get(name) for name in names]
    if usual in versions:
        versions.sort(key=lambda version: version is not usual)
    violations = []
    for version in versions:
        try:
            version.request(action).check(payload)
        except ProtocolViolation as exc:
            violations.append((version, exc))
        else:
            return version, None
    if not violations:
        text = f"a CSMS does not answer {action}"
        is_known = any(action in Version.get(name).actions for name in ("1.6", "2.0.1", "2.1"))
        code = "NotSupported" if is_known else "NotImplemented"
        return None, ProtocolViolation(text, action=action, path="", text=text, code=code)
    try:
        distances = [version.request(action).mismatch(payload) for version, _ in violations]
    except (ValueError, RecursionError):
        return None, violations[0][1]
    best = min(distances)
    version, violation = violations[distances.index(best)]
    return (version if distances.count(best) == 1 else None), violation
