"""Starts ministack: an AWS endpoint and MQTT broker inside this process, on 127.0.0.1 and a free port.

The only module that imports ministack, whose version is pinned. Requests from outside pass the door (`guard.door`). The
gateway and the CSMS reach the MQTT broker by function calls: this takes no socket, and rules, shadows and other MQTT
clients get the message like any other.

It changes ministack, for this process only: ministack has no settings for what AWS refuses or does differently. It sets
environment variables before it imports ministack (see :meth:`Emulator.start`), and replaces these functions of its
modules ``services.iot`` and ``services.iot_data``:

    guard.mqtt     iot._WSSession, ._validate_publish_topic,          AWS IoT's limits of topics, payloads and
                   ._reserved_filter_subscribe_allowed,               subscriptions; of two clients with one id that
                   ._force_disconnect_duplicate;                      connect at once, both would stay
                   iot_data._validate_topic, ._publish,
                   ._MAX_TOPIC_BYTES
    guard.shadows  iot.parse_shadow_request, .update_thing_shadow,    what AWS refuses in a shadow's document, and what
                   ._compute_delta, ._handle_shadow_publish;          a null removes
                   iot_data._shadow
    guard.things   iot._create_thing, ._update_thing, ._list_things   limits of attributes, filters and pages
    guard.rules    iot.put_topic_rule, ._validate_rule_sql,           the kit's compiler checks a rule's SQL and actions
                   ._unimplemented_sql_functions
    rule_actions   iot._run_rule_actions, ._rule_topic_filter         the kit evaluates AWS IoT SQL, and carries out the
                                                                      actions
    stepping_aside iot.broker_subscribe, .broker_unsubscribe          the CSMS steps aside in the same step in which
                                                                      another client begins to answer in its place

Where Lambda is among the services, `lambdas` lists what it replaces of ``services.lambda_svc``,
``services.cloudwatch_logs`` and ``core.lambda_runtime``.

tests/local/server/test_ministack.py checks what the kit relies on.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.local.server import lambdas, rule_actions
from cpsim_kit.local.server.broker import Deliver, StandIn
from cpsim_kit.local.server.guard import mqtt, shadows, things
from cpsim_kit.local.server.guard.asgi import Answer, Request
from cpsim_kit.local.server.guard.door import SERVICES, Door
from cpsim_kit.local.server.mqtt_client import PRINCIPAL, MqttClient
from cpsim_kit.local.server.stepping_aside import SteppingAside

__all__ = ["ACCOUNT", "Emulator"]

ACCOUNT = "000000000000"


class Emulator:
    """ministack; :meth:`start` starts it.

    Args:
        region: The AWS region it answers for.
        key: The access key that requests must be signed with; a random one by default.
        services: ministack's names of the AWS services that answer.

    Attributes:
        key: The access key.
        url: The endpoint for boto3, e.g. "http://127.0.0.1:41234".
        port: Its port; MQTT over WebSockets is at the path /mqtt.
    """

    def __init__(self, region: str, key: AccessKey | None = None, *, services: Iterable[str] = SERVICES) -> None:
        self.region = region
        self.key = key or AccessKey.random()
        self._services = frozenset(services)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))  # bound now, so that no other process takes the port
        self._socket.listen(1024)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._stop = asyncio.Event()
        self._server: asyncio.Task[None] | None = None
        self._iot: Any = None  # modules of ministack, and its context manager that sets account and region
        self._dynamodb: Any = None
        self._aside: SteppingAside | None = None
        self._scope: Any = None
        self._lambda: tuple[Any, Any] | None = None  # its modules, where Lambda is among the services

    async def start(self) -> None:
        """Start to serve. The endpoint answers when this returns."""
        # ministack reads these when it is imported. Every listener is on loopback; there is no MQTT over mutual TLS, as
        # that listener ignores BIND_HOST, no SFTP, and no Docker.
        os.environ.update(
            GATEWAY_PORT=str(self.port),
            BIND_HOST="127.0.0.1",
            MINISTACK_HOST="127.0.0.1",
            MINISTACK_REGION=self.region,
            MINISTACK_ACCOUNT_ID=ACCOUNT,
            IOT_MTLS_ENABLED="0",
            SFTP_ENABLED="0",
            DOCKER_HOST="unix:///dev/null/no-docker",
            LAMBDA_EXECUTOR="local",
            LAMBDA_STRICT="0",
            LOG_LEVEL="WARNING",
        )
        from hypercorn.asyncio import serve  # noqa: PLC0415 - after the settings above
        from hypercorn.config import Config  # noqa: PLC0415
        from ministack import app  # noqa: PLC0415
        from ministack.core.responses import request_scope  # noqa: PLC0415
        from ministack.services import dynamodb, iot, iot_data, sqs  # noqa: PLC0415

        self._iot, self._dynamodb, self._scope = iot, dynamodb, request_scope
        mqtt.install(iot, iot_data)
        shadows.install(iot, iot_data)
        things.install(iot)
        rule_actions.install(iot, dynamodb, sqs, request_scope)
        self._aside = SteppingAside(iot)
        if "lambda" in self._services:
            from ministack.core import lambda_runtime  # noqa: PLC0415 - after the settings above
            from ministack.services import cloudwatch_logs, lambda_svc  # noqa: PLC0415

            self._lambda = lambda_svc, lambda_runtime
            lambdas.install(lambda_svc, lambda_runtime, cloudwatch_logs, self.key, self.url, self.region)
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
        """Return ministack behind the door: requests go to its router of services, WebSockets to its MQTT broker."""
        from ministack.core import responses, router, sigv4  # noqa: PLC0415 - after start's settings

        endpoint_name = f"{self._iot._endpoint_prefix(ACCOUNT)}-ats.iot.{self.region}.127.0.0.1"

        def service_of(request: Request) -> str:
            if lambdas.is_code(request):
                return "lambda"
            query = app._routing_params(request.method, request.path, request.headers, request.body, request.query)
            service: str = router.detect_service(request.method, request.path, request.headers, query)
            return service

        async def serve(request: Request) -> Answer:
            region = router.extract_region(request.headers, request.query)
            with responses.request_scope(ACCOUNT, region):
                if self._lambda is not None and lambdas.is_code(request):
                    return lambdas.read_code(self._lambda[0], request)
                answer: Answer = await app._dispatch_service_request(
                    request.method, request.path, request.headers, request.body, request.query, str(uuid.uuid4())
                )
            return answer

        async def serve_mqtt(scope: Any, receive: Any, send: Any) -> None:
            headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
            headers.append((b"host", endpoint_name.encode()))  # ministack recognizes MQTT by this host
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
        """Stop serving, and end what it has started."""
        self._stop.set()
        if self._lambda is not None:
            await asyncio.to_thread(lambdas.stop, *self._lambda)
        if self._server is not None:
            await self._server

    async def publish(self, topic: str, payload: bytes, *, client_id: str | None = None) -> None:
        """Publish to subscribers, shadows and topic rules.

        Args:
            topic: A topic; reserved ones are allowed.
            payload: The message.
            client_id: The value of clientid() in a rule.
        """
        await self._iot.broker_publish(ACCOUNT, self.region, topic, payload, client_id=client_id, principal=PRINCIPAL)

    async def subscribe(self, topic_filter: str, deliver: Deliver, stand_in: StandIn | None = None) -> None:
        """Await ``deliver(topic, payload)`` for each message; it must not publish before it returns.

        Args:
            topic_filter: A topic filter; with ``stand_in``, one with a wildcard.
            deliver: The function.
            stand_in: MQTT clients that may do this subscriber's work: a message reaches either them or ``deliver``.
        """
        if stand_in is not None:
            assert self._aside is not None
            self._aside.add(ACCOUNT, self.region, topic_filter, deliver, stand_in)
            return

        async def relay(topic: str, payload: bytes, _qos: int) -> None:
            await deliver(topic, payload)

        await self._iot.broker_subscribe(ACCOUNT, self.region, topic_filter, relay)

    def client(self, client_id: str, on_lost: Callable[[], None]) -> MqttClient:
        """Return an MQTT client, not connected yet; ``on_lost()`` is called once another client has taken its id."""
        return MqttClient(self._iot, ACCOUNT, self.region, client_id, on_lost)

    def has_item(self, table: str, key: str, value: str) -> bool:
        """Whether a DynamoDB table has an item with this string key."""
        with self._scope(ACCOUNT, self.region):
            status, _headers, body = self._dynamodb._get_item({"TableName": table, "Key": {key: {"S": value}}})
        return status == 200 and "Item" in json.loads(body)

    def read_item(self, table: str, *key: str) -> dict[str, Any] | None:
        """An item of a DynamoDB table in the form of DynamoDB's API, not to be changed; None if it is not there.

        Takes 2 µs; ministack's GetItem 24, as it checks a request that might be a stranger's, and writes JSON.

        Args:
            table: The table's name; its keys are strings.
            key: The values of the partition key and of the sort key.
        """
        partition, sort = (*key, "__no_sort__")[:2]
        with self._scope(ACCOUNT, self.region):
            item: dict[str, Any] | None = self._dynamodb._tables[table]["items"].get(partition, {}).get(sort)
        return item

    def write_item(self, table: str, item: dict[str, Any], *key: str) -> None:
        """Put an item in a DynamoDB table, without PutItem's checks: 4 µs instead of 100.

        Args:
            table: The table's name; its keys are strings.
            item: The item in the form of DynamoDB's API; valid, and not changed afterwards.
            key: The values of the partition key and of the sort key.
        """
        partition, sort = (*key, "__no_sort__")[:2]
        with self._scope(ACCOUNT, self.region):
            before = self._dynamodb._set_item(self._dynamodb._tables[table], partition, sort, item)
            self._dynamodb._emit_stream_event(table, "INSERT" if before is None else "MODIFY", before, item)
