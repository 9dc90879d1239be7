"""The one door to MQTT: one connection over WebSockets, in a thread of its own, that reconnects by itself.

paho's own thread does the network, so that nothing here depends on the running event loop: a kernel's, uvloop's, or
the one Windows has, which cannot watch sockets for others. What arrives is handed to the loop that opened it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from cpsim_kit.addresses import MqttEndpoint
from cpsim_kit.errors import AwsError, ConnectError, CpsimError, WaitTimeout

__all__ = ["MqttConnection"]

logger = logging.getLogger("cpsim.mqtt")

_KEEPALIVE = 30  # seconds; AWS IoT Core allows 30 to 1200
_RECONNECT = (1, 10)  # seconds, the first and the longest wait


class MqttConnection:
    """A connection to the broker with its subscriptions, kept up until closed.

    Args:
        endpoint: Asked before each connection, in a thread; signs afresh on AWS.
        on_message: Called in the event loop with topic, payload and the moment of ``time.perf_counter()``.
        on_gap: Called in the event loop after a reconnection, with the two moments it was down between.

    Attributes:
        client_id: The MQTT client id; random, so that no charge point's connection is taken over.
    """

    def __init__(
        self,
        endpoint: Callable[[], MqttEndpoint],
        on_message: Callable[[str, bytes, float], None],
        on_gap: Callable[[float, float], None] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._on_message = on_message
        self._on_gap = on_gap
        self.client_id = f"cpsim-{uuid.uuid4().hex[:12]}"
        self._filters: list[str] = []
        self._waiting: dict[int, asyncio.Future[list[Any]]] = {}  # packet id -> granted
        self._connected: asyncio.Future[None] | None = None
        self._down_since: float | None = None
        self._closing = False
        self._client: paho.Client | None = None

    def __repr__(self) -> str:
        state = "open" if self._client is not None and self._client.is_connected() else "not connected"
        return f"<MqttConnection {self.client_id} {state} {' '.join(self._filters)}>"

    async def open(self, filters: Sequence[str], *, timeout: float = 10) -> None:
        """Connect and subscribe; both are confirmed by the broker when this returns.

        Args:
            filters: Topic filters.
            timeout: Seconds to wait for each answer of the broker.

        Raises:
            ConnectError: No connection.
            AwsError: The broker refused the connection or a subscription.
            WaitTimeout: It did not answer.
        """
        self._loop = asyncio.get_running_loop()
        self._connected = self._loop.create_future()
        try:
            self._client = await asyncio.to_thread(self._start)
            async with asyncio.timeout(timeout):
                await self._connected
            for topic_filter in filters:
                await self.subscribe(topic_filter, timeout=timeout)
        except TimeoutError as exc:
            await self.close()
            if isinstance(exc, CpsimError):
                raise
            raise WaitTimeout("the MQTT broker to accept the connection", timeout) from exc
        except BaseException:
            await self.close()
            raise

    async def subscribe(self, topic_filter: str, *, timeout: float = 10) -> None:
        """Subscribe to one more filter; raises as :meth:`open` does."""
        assert self._client is not None
        future = self._loop.create_future()
        _result, packet_id = self._client.subscribe(topic_filter, qos=1)
        if packet_id is None:
            raise ConnectError("MQTT: not connected", url=self.client_id)
        self._waiting[packet_id] = future
        try:
            async with asyncio.timeout(timeout):
                granted = await future
        except TimeoutError as exc:
            raise WaitTimeout(f"the MQTT broker to confirm the subscription to {topic_filter}", timeout) from exc
        finally:
            self._waiting.pop(packet_id, None)
        if any(code.is_failure for code in granted):
            message = f"MQTT: the broker refused the subscription to {topic_filter!r}; is it allowed by iot:Subscribe?"
            raise AwsError(message, verb="mqtt.subscribe", code=str(granted[0]))
        self._filters.append(topic_filter)

    async def close(self) -> None:
        """Disconnect; harmless twice."""
        self._closing = True
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)

    # -- In paho's thread ---------------------------------------------------------------------------------------------

    def _start(self) -> paho.Client:
        endpoint = self._endpoint()
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=self.client_id, transport="websockets", protocol=paho.MQTTv311
        )
        if endpoint.tls:
            client.tls_set_context(ssl.create_default_context())
        client.ws_set_options(endpoint.path, endpoint.headers)
        client.reconnect_delay_set(*_RECONNECT)
        client.on_connect = self._connected_in_thread
        client.on_disconnect = self._disconnected_in_thread
        client.on_subscribe = self._subscribed_in_thread
        client.on_message = self._message_in_thread
        try:
            client.connect(endpoint.host, endpoint.port, _KEEPALIVE)
        except (OSError, ValueError, paho.WebsocketConnectionError) as exc:
            message = f"MQTT: cannot connect to {endpoint.url}: {exc}"
            raise ConnectError(message, url=endpoint.url) from exc
        client.loop_start()
        return client

    def _connected_in_thread(self, client: paho.Client, _userdata: Any, _flags: Any, reason: Any, _props: Any) -> None:
        if not reason.is_failure and self._down_since is not None:
            for topic_filter in self._filters:
                client.subscribe(topic_filter, qos=1)
        self._call(self._on_connected, reason, time.perf_counter())

    def _disconnected_in_thread(
        self, client: paho.Client, _userdata: Any, _flags: Any, reason: Any, _props: Any
    ) -> None:
        if self._closing:
            return
        if self._down_since is None:
            self._down_since = time.perf_counter()
        logger.warning("MQTT: connection lost (%s); reconnecting", reason)
        try:
            endpoint = self._endpoint()  # the old signature may have expired
            client.ws_set_options(endpoint.path, endpoint.headers)
        except CpsimError as exc:
            logger.warning("MQTT: no fresh signature: %s", exc)

    def _subscribed_in_thread(
        self, _client: paho.Client, _userdata: Any, packet_id: int, codes: Any, _props: Any
    ) -> None:
        self._call(self._on_subscribed, packet_id, list(codes))

    def _message_in_thread(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        self._call(self._on_message, message.topic, message.payload, time.perf_counter())

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(function, *arguments)

    # -- In the event loop --------------------------------------------------------------------------------------------

    def _on_connected(self, reason: Any, moment: float) -> None:
        future = self._connected
        assert future is not None
        if reason.is_failure:
            if not future.done():
                message = f"MQTT: the broker refused the connection: {reason}; is it allowed by iot:Connect?"
                future.set_exception(AwsError(message, verb="mqtt.connect", code=str(reason)))
            return
        if not future.done():
            future.set_result(None)
        elif self._down_since is not None:
            since, self._down_since = self._down_since, None
            if self._on_gap is not None:
                self._on_gap(since, moment)

    def _on_subscribed(self, packet_id: int, codes: list[Any]) -> None:
        future = self._waiting.get(packet_id)
        if future is not None and not future.done():
            future.set_result(codes)
