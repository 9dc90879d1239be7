"""The one way to ministack: an AWS endpoint and MQTT broker inside this process, on 127.0.0.1 and a free port.

No other module imports ministack; it is pinned, and what is used of its insides is named here. What comes from outside
passes the door (``guard.door``). The MQTT broker is reached by function calls: a publish by the
gateway costs no socket, and rules, shadows and outside MQTT clients see it like any other.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.local.server import rule_actions
from cpsim_kit.local.server.guard import mqtt, shadows, things
from cpsim_kit.local.server.guard.door import SERVICES, Answer, Door, Request
from cpsim_kit.local.server.mqtt_client import PRINCIPAL, MqttClient

__all__ = ["ACCOUNT", "Emulator"]

ACCOUNT = "000000000000"

Deliver = Callable[[str, bytes], Awaitable[None]]


class Emulator:
    """ministack, started with :meth:`start`.

    Args:
        region: The AWS region it answers for.
        key: The access key that requests must be signed with; a random one unless given.
        services: Names of the AWS services that answer, as ministack calls them.

    Attributes:
        key: The access key.
        url: The endpoint for boto3, e.g. "http://127.0.0.1:41234".
        port: Its port; MQTT over WebSockets is at the path /mqtt.
    """

    def __init__(self, region: str, key: AccessKey | None = None, *, services: Iterable[str] = SERVICES) -> None:
        self.region = region
        self.key = key or AccessKey.random()
        self._services = services
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))  # bound before ministack is asked, so that nobody else takes the port
        self._socket.listen(1024)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._stop = asyncio.Event()
        self._server: asyncio.Task[None] | None = None
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
        from ministack import app  # noqa: PLC0415
        from ministack.core.responses import request_scope  # noqa: PLC0415
        from ministack.services import dynamodb, iot, iot_data, sqs  # noqa: PLC0415

        self._iot = iot
        mqtt.install(iot, iot_data)
        shadows.install(iot, iot_data)
        things.install(iot)
        rule_actions.install(iot, dynamodb, sqs, request_scope)
        config = Config()
        config.bind = [f"fd://{self._socket.detach()}"]
        config.keep_alive_timeout = 75
        config.loglevel = "WARNING"
        config.graceful_timeout = 0.5
        config.websocket_ping_interval = None
        self._server = asyncio.create_task(
            serve(self._door(app), config, shutdown_trigger=self._stop.wait), name="cpsim[local].aws"
        )
        await asyncio.sleep(0)

    def _door(self, app: Any) -> Any:
        """Ministack behind the door: requests go straight to the router of services, WebSockets to the MQTT broker."""
        from ministack.core import responses, router, sigv4  # noqa: PLC0415 - importable once started

        endpoint_name = f"{self._iot._endpoint_prefix(ACCOUNT)}-ats.iot.{self.region}.127.0.0.1"

        def service_of(request: Request) -> str:
            query = app._routing_params(request.method, request.path, request.headers, request.body, request.query)
            service: str = router.detect_service(request.method, request.path, request.headers, query)
            return service

        async def serve(request: Request) -> Answer:
            region = router.extract_region(request.headers, request.query)
            with responses.request_scope(ACCOUNT, region):
                answer: Answer = await app._dispatch_service_request(
                    request.method, request.path, request.headers, request.body, request.query, str(uuid.uuid4())
                )
            return answer

        async def serve_mqtt(scope: Any, receive: Any, send: Any) -> None:
            headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
            headers.append((b"host", endpoint_name.encode()))  # by which ministack knows MQTT, whatever the Host was
            await app.app({**scope, "headers": headers}, receive, send)

        return Door(
            self.key,
            endpoint_name,
            services=self._services,
            verifier=sigv4,
            service_of=service_of,
            serve=serve,
            mqtt=serve_mqtt,
            lifespan=app.app,
        )

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
        await self._iot.broker_publish(ACCOUNT, self.region, topic, payload, client_id=client_id, principal=PRINCIPAL)

    async def subscribe(self, topic_filter: str, deliver: Deliver) -> None:
        """Have ``deliver(topic, payload)`` awaited for each message; it must not publish before it returns."""

        async def relay(topic: str, payload: bytes, _qos: int) -> None:
            await deliver(topic, payload)

        await self._iot.broker_subscribe(ACCOUNT, self.region, topic_filter, relay)

    def client(self, client_id: str, on_lost: Callable[[], None]) -> MqttClient:
        """An MQTT client of that id, to be connected; ``on_lost()`` is called once another one has taken it over."""
        return MqttClient(self._iot, ACCOUNT, self.region, client_id, on_lost)

    def has_item(self, table: str, key: str, value: str) -> bool:
        """Whether a DynamoDB table has an item of this string key."""
        from ministack.core.responses import request_scope  # noqa: PLC0415 - importable once started
        from ministack.services import dynamodb  # noqa: PLC0415

        with request_scope(ACCOUNT, self.region):
            status, _headers, body = dynamodb._get_item({"TableName": table, "Key": {key: {"S": value}}})
        return status == 200 and "Item" in json.loads(body)
