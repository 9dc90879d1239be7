"""The limits of the message broker, over MQTT and HTTPS, and takeovers after which one client has the id.

AWS General Reference, "AWS IoT Core endpoints and quotas", section "Message broker and protocol limits"; AWS IoT Core
developer guide, "MQTT" (a client that exceeds a limit is disconnected) and "Lifecycle events" (with CLIENT_ERROR).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any
from weakref import WeakValueDictionary

from cpsim_kit.aws.topics import (
    LONGEST_TOPIC,
    MOST_FILTERS,
    MOST_PAYLOAD,
    MOST_SLASHES,
    counted,
    is_filter,
    is_too_long,
)

__all__ = ["install"]

logger = logging.getLogger("cpsim.mqtt")

Answer = tuple[Any, ...]

# Reason codes of an MQTT 5 DISCONNECT, section 3.14.2.1.
_TOPIC_NAME_INVALID = 0x90
_PACKET_TOO_LARGE = 0x95
_QUOTA_EXCEEDED = 0x97


def install(iot: Any, iot_data: Any) -> None:
    """Replace functions of ministack's broker.

    Args:
        iot: ministack's module ``services.iot``, which has the broker.
        iot_data: ministack's module ``services.iot_data``, which answers HTTP.
    """
    _limit_sessions(iot)
    _limit_https(iot_data)
    _evict_in_turn(iot)


def _limit_sessions(iot: Any) -> None:
    """Disconnect an MQTT client that exceeds a limit. MQTT 5 tells the reason, and refuses a wrong filter only."""
    is_allowed, is_topic = iot._reserved_filter_subscribe_allowed, iot._validate_publish_topic

    def refusal(session: Any, packet_type: int, flags: int, body: bytes) -> tuple[int, str] | None:
        """Return the reason code and the reason of a packet that exceeds a limit; None if it does not."""
        is_v5 = session.protocol_version == iot.MQTT_5
        if packet_type == iot.PKT_PUBLISH:
            topic, offset = iot._read_string(body, 0)
            if is_too_long(topic):
                return (
                    _TOPIC_NAME_INVALID,
                    f"a topic of more than {LONGEST_TOPIC} bytes or {MOST_SLASHES} slashes: {topic}",
                )
            if len(body) > MOST_PAYLOAD:
                offset += 2 if flags & 0x06 else 0  # the packet identifier
                if is_v5:
                    _properties, offset = iot._decode_properties(body, offset)
                if len(body) - offset > MOST_PAYLOAD:
                    return _PACKET_TOO_LARGE, f"a payload of {len(body) - offset} bytes, {MOST_PAYLOAD} are allowed"
        elif packet_type == iot.PKT_SUBSCRIBE:
            count, offset = 0, 2
            if is_v5:
                _properties, offset = iot._decode_properties(body, offset)
            while offset < len(body):
                _filter, offset = iot._read_string(body, offset)
                count, offset = count + 1, offset + 1
            if count > MOST_FILTERS:
                return _QUOTA_EXCEEDED, f"{count} topic filters in a SUBSCRIBE, {MOST_FILTERS} are allowed"
        return None

    class Session(iot._WSSession):  # type: ignore[misc]
        """An MQTT connection with the limits of AWS IoT."""

        async def _dispatch_packet(self, pkt_type: int, flags: int, body: bytes) -> bool:
            refused = refusal(self, pkt_type, flags, body)
            if refused is None:
                goes_on: bool = await super()._dispatch_packet(pkt_type, flags, body)
            else:
                code, reason = refused
                logger.warning("MQTT client %s is disconnected: %s", self._client_id, reason)
                goes_on = False
                if self.protocol_version == iot.MQTT_5:
                    await self.send_bytes(iot._make_disconnect(code))
            ended = not goes_on and pkt_type in (iot.PKT_PUBLISH, iot.PKT_SUBSCRIBE)
            if ended and self.disconnect_reason() == "CONNECTION_LOST":  # no other reason is known
                self._forced_disconnect_reason = "CLIENT_ERROR"
            return goes_on

    iot._WSSession = Session
    iot._validate_publish_topic = lambda topic: is_topic(counted(topic))
    iot._reserved_filter_subscribe_allowed = lambda topic_filter: is_filter(topic_filter) and is_allowed(topic_filter)


def _limit_https(iot_data: Any) -> None:
    """Refuse a publish over HTTPS that exceeds a limit."""
    validate_topic, publish = iot_data._validate_topic, iot_data._publish

    def validate(topic: str) -> Answer | None:
        if is_too_long(topic):
            text = f"Topic exceeds {LONGEST_TOPIC} bytes or {MOST_SLASHES} slashes"
            return iot_data.error_response_json("InvalidRequestException", text, 400)  # type: ignore[no-any-return]
        return validate_topic(topic)  # type: ignore[no-any-return]

    async def publish_within_limit(topic: str, body: bytes, *rest: Any) -> Answer:
        if len(body) > MOST_PAYLOAD:
            text = "The payload exceeds the maximum size allowed"
            return iot_data.error_response_json("RequestEntityTooLargeException", text, 413)  # type: ignore[no-any-return]
        return await publish(topic, body, *rest)  # type: ignore[no-any-return]

    iot_data._MAX_TOPIC_BYTES = sys.maxsize  # this limit counts the prefix of Basic Ingest; AWS does not
    iot_data._validate_topic, iot_data._publish = validate, publish_within_limit


def _evict_in_turn(iot: Any) -> None:
    """Evict the clients of one id one after the other. Two that connect at once would both stay."""
    evict = iot._force_disconnect_duplicate
    locks: WeakValueDictionary[tuple[str, str, str], asyncio.Lock] = WeakValueDictionary()

    async def evict_in_turn(account: str, region: str, client_id: str) -> str | None:
        key = (account, region, client_id)
        lock = locks.get(key)
        if lock is None:
            lock = locks[key] = asyncio.Lock()
        async with lock:  # the caller registers its client before the next caller goes on
            reason: str | None = await evict(account, region, client_id)
            return reason

    iot._force_disconnect_duplicate = evict_in_turn
