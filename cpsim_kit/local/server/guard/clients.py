"""The gateway's MQTT clients, one for each charge point, as the broker and its other clients see them.

The gateway shares one subscription, so these have neither a socket nor a subscription of their own. They have what else
a client has: lifecycle events, and an id that the next client takes over. AWS IoT Core developer guide, "Lifecycle
events"; MQTT 3.1.1, [MQTT-3.1.4-2].
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

__all__ = ["PRINCIPAL", "Client"]

PRINCIPAL = "ocpp-gateway"  # principalIdentifier of its events, and principal() in a rule


class Client:
    """A client of ministack's broker, known by its id only.

    Args:
        iot: ministack's module ``services.iot``.
        account: AWS account of the broker.
        region: AWS region of the broker.
        client_id: The client's id.
        on_lost: Called once another client of that id has taken it over.
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
        """Take the id over, and say that the client is connected, and subscribed to the filters."""
        iot, session = self._iot, self._session
        key = session.account_id, session.region, session._client_id
        session._session_identifier = str(uuid.uuid4())
        session._presence_version = iot._next_presence_version(*key)
        evicted = await iot._force_disconnect_duplicate(*key)
        iot._persistent_sessions.pop(key, None)  # a clean session
        iot._register_client(*key, session, evicted)
        await session._publish_connected()
        await session._publish_lifecycle("subscribed", topics=list(topic_filters))

    async def disconnect(self, reason: str | None = None) -> None:
        """Free the id, and say so; nothing where another client has it.

        Args:
            reason: AWS's disconnect reason where the broker ends it, e.g. "CLIENT_ERROR"; None where the client does.
        """
        session = self._session
        if self._iot._connected_clients.get((session.account_id, session.region, session._client_id)) is session:
            session._graceful_disconnect = reason is None
            session._forced_disconnect_reason = reason
            await session.cleanup()
