"""The gateway's MQTT clients, one for each charge point, as the broker and its other clients see them.

The gateway shares one subscription, so these clients have no socket and no subscription. They do have lifecycle events,
and an id that a newer client takes over. AWS IoT Core developer guide, "Lifecycle events"; MQTT 3.1.1, [MQTT-3.1.4-2].
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

__all__ = ["PRINCIPAL", "MqttClient"]

PRINCIPAL = "ocpp-gateway"  # principalIdentifier of its events, and principal() in a rule


class MqttClient:
    """A client of ministack's broker that has an id, and no socket.

    Args:
        iot: ministack's module ``services.iot``.
        account: AWS account of the broker.
        region: AWS region of the broker.
        client_id: The client's id.
        on_lost: Called once another client has taken over the id.
    """

    __slots__ = ("_iot", "_session")

    def __init__(self, iot: Any, account: str, region: str, client_id: str, on_lost: Callable[[], None]) -> None:
        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "websocket.close":
                on_lost()

        self._iot = iot
        self._session = iot._WSSession(send, account, region, PRINCIPAL)
        self._session._client_id = client_id

    async def connect(self, *topic_filters: str) -> None:
        """Take over the id, and publish the events "connected" and "subscribed" with these filters."""
        iot, session = self._iot, self._session
        key = session.account_id, session.region, session._client_id
        session._session_identifier = str(uuid.uuid4())
        session._presence_version = iot._next_presence_version(*key)
        evicted = await iot._force_disconnect_duplicate(*key)
        iot._persistent_sessions.pop(key, None)  # as a clean session does
        iot._register_client(*key, session, evicted)
        await session._publish_connected()
        await session._publish_lifecycle("subscribed", topics=list(topic_filters))

    async def disconnect(self, reason: str | None = None) -> None:
        """Give up the id, and publish the event "disconnected". Does nothing if another client has the id.

        Args:
            reason: AWS's disconnect reason if the broker disconnects, e.g. "CLIENT_ERROR"; None if the client does.
        """
        session = self._session
        if self._iot._connected_clients.get((session.account_id, session.region, session._client_id)) is session:
            session._graceful_disconnect = reason is None
            session._forced_disconnect_reason = reason
            await session.cleanup()
