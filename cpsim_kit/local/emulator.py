"""The one door to ministack: an AWS endpoint and MQTT broker inside this process, on 127.0.0.1 and a free port.

No other module imports ministack; it is pinned, and what is used of its insides is named here. The MQTT broker is
reached by function calls: a publish by the gateway costs no socket, and rules, shadows and outside MQTT clients see it
like any other.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from cpsim_kit.local import rule_actions

__all__ = ["ACCOUNT", "Emulator"]

ACCOUNT = "000000000000"
_PRINCIPAL = "ocpp-gateway"  # what principal() in a rule returns for what the stack itself publishes

Deliver = Callable[[str, bytes], Awaitable[None]]


class Emulator:
    """ministack, started with :meth:`start`.

    Args:
        region: The AWS region it answers for.

    Attributes:
        url: The endpoint for boto3, e.g. "http://127.0.0.1:41234".
        port: Its port; MQTT over WebSockets is at the path /mqtt.
    """

    def __init__(self, region: str) -> None:
        self.region = region
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))  # bound before ministack is asked, so that nobody else takes the port
        self._socket.listen(1024)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._stop = asyncio.Event()
        self._server: asyncio.Task[None] | None = None
        self._presence_versions: dict[str, int] = {}  # the last of each client id
        self._sessions: dict[str, int] = {}  # the version of each session that is alive
        self._iot: Any = None

    async def start(self) -> None:
        """Serve; the endpoint answers when this returns."""
        # Read by ministack when it is imported, and by nothing else: every listener on loopback, no MQTT over mutual
        # TLS (that listener ignores BIND_HOST), no SFTP, and no Docker, whose containers are none of our business.
        os.environ.update(
            GATEWAY_PORT=str(self.port),
            BIND_HOST="127.0.0.1",
            MINISTACK_HOST="127.0.0.1",
            MINISTACK_REGION=self.region,
            MINISTACK_ACCOUNT_ID=ACCOUNT,
            IOT_MTLS_ENABLED="0",
            SFTP_ENABLED="0",
            DOCKER_HOST="unix:///dev/null/no-docker",
            LOG_LEVEL="WARNING",
        )
        from hypercorn.asyncio import serve  # noqa: PLC0415 - after the settings above
        from hypercorn.config import Config  # noqa: PLC0415
        from ministack.app import app  # noqa: PLC0415
        from ministack.core.responses import request_scope  # noqa: PLC0415
        from ministack.services import dynamodb, iot, sqs  # noqa: PLC0415

        self._iot = iot
        rule_actions.install(iot, dynamodb, sqs, request_scope)
        config = Config()
        config.bind = [f"fd://{self._socket.detach()}"]
        config.keep_alive_timeout = 75
        config.loglevel = "WARNING"
        config.graceful_timeout = 0.5
        config.websocket_ping_interval = None
        self._server = asyncio.create_task(
            serve(self._with_plain_mqtt(app), config, shutdown_trigger=self._stop.wait), name="cpsim[local].aws"
        )
        await asyncio.sleep(0)

    def _with_plain_mqtt(self, app: Any) -> Any:
        """The application, with MQTT at /mqtt whatever the Host; by itself it wants the name of an AWS IoT endpoint."""
        host = f"local-ats.iot.{self.region}.localhost".encode()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket" and scope["path"] == "/mqtt":
                headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
                scope = {**scope, "headers": [*headers, (b"host", host)]}
            await app(scope, receive, send)

        return application

    async def stop(self) -> None:
        """Stop serving."""
        self._stop.set()
        if self._server is not None:
            await self._server

    async def publish(self, topic: str, payload: bytes, *, client_id: str | None = None) -> None:
        """Publish to subscribers, shadows and topic rules.

        Args:
            topic: Any topic, reserved ones included.
            payload: The message.
            client_id: What clientid() in a rule returns.
        """
        await self._iot.broker_publish(ACCOUNT, self.region, topic, payload, client_id=client_id, principal=_PRINCIPAL)

    async def subscribe(self, topic_filter: str, deliver: Deliver) -> None:
        """Have ``deliver(topic, payload)`` awaited for each message; it must not publish before it returns."""

        async def relay(topic: str, payload: bytes, _qos: int) -> None:
            await deliver(topic, payload)

        await self._iot.broker_subscribe(ACCOUNT, self.region, topic_filter, relay)

    async def presence(self, event: str, client_id: str, session: str, **fields: Any) -> None:
        """Publish a lifecycle event on ``$aws/events/presence/{event}/{client_id}``.

        AWS IoT Core developer guide, "Lifecycle events": both events of a session have the same version.
        """
        version = self._sessions.pop(session, None)
        if version is None:
            version = self._presence_versions.get(client_id, -1) + 1
            self._presence_versions[client_id] = self._sessions[session] = version
        body = {
            "clientId": client_id,
            "timestamp": int(time.time() * 1000),
            "eventType": event,
            "sessionIdentifier": session,
            "principalIdentifier": _PRINCIPAL,
            "versionNumber": version,
            **fields,
        }
        await self.publish(f"$aws/events/presence/{event}/{client_id}", json.dumps(body).encode())

    def has_item(self, table: str, key: str, value: str) -> bool:
        """Whether a DynamoDB table has an item of this string key."""
        from ministack.core.responses import request_scope  # noqa: PLC0415 - importable once started
        from ministack.services import dynamodb  # noqa: PLC0415

        with request_scope(ACCOUNT, self.region):
            status, _headers, body = dynamodb._get_item({"TableName": table, "Key": {key: {"S": value}}})
        return status == 200 and "Item" in json.loads(body)

    @staticmethod
    def new_session() -> str:
        """A session identifier for :meth:`presence`."""
        return str(uuid.uuid4())
