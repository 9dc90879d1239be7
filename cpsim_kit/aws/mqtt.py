"""The one door to MQTT: one connection over WebSockets, in a thread of its own, that reconnects by itself.

paho's own thread reads and writes, so that this works in every event loop: a kernel's, uvloop's, and that of Windows,
which cannot watch sockets for other libraries. Messages are handed to the loop that opened the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from cpsim_kit.aws.topics import LONGEST_TOPIC, MOST_PAYLOAD, MOST_SLASHES, is_filter, is_too_long
from cpsim_kit.basics.addresses import MqttEndpoint
from cpsim_kit.basics.clock import notice_step
from cpsim_kit.errors import AwsError, ConnectError, CpsimError, WaitTimeout

__all__ = ["MqttConnection", "check_filter"]

logger = logging.getLogger("cpsim.mqtt")

_KEEPALIVE = 30  # seconds; AWS IoT Core allows 30 to 1200
_KEEPALIVE_TIMEOUT = 141  # paho's reason when the broker has not answered pings


def check_filter(topic_filter: str) -> None:
    """Check that a string is a topic filter (MQTT 3.1.1, 4.7) for AWS IoT Core, which closes the connection otherwise.

    Raises:
        TypeError: It is not a string but e.g. a list of filters.
        ValueError: It is not a valid topic filter.
    """
    if not isinstance(topic_filter, str):
        raise TypeError(
            f'topic filters are strings, given one by one, as in stack.monitor("+/in", "+/out"); not {topic_filter!r}'
        )
    if not is_filter(topic_filter):
        raise ValueError(
            f"{topic_filter!r} is not a topic filter: + stands for one whole level, # for the rest and only at the "
            f"end, and AWS allows {LONGEST_TOPIC} bytes and {MOST_SLASHES} slashes"
        )


class _Client(paho.Client):
    """paho's client, which also closes the socket of a refused WebSocket handshake; paho leaves it to the collector."""

    _half_open: Any = None

    def _create_socket(self) -> Any:
        try:
            return super()._create_socket()
        except BaseException:
            if self._half_open is not None:
                self._half_open.close()
            raise
        finally:
            self._half_open = None

    def _create_socket_connection(self) -> Any:
        self._half_open = super()._create_socket_connection()
        return self._half_open

    def _ssl_wrap_socket(self, tcp_sock: Any) -> Any:
        self._half_open = super()._ssl_wrap_socket(tcp_sock)
        return self._half_open


class MqttConnection:
    """A connection to the broker with its subscriptions, kept up until closed.

    Args:
        endpoint: Called before each connection, in a thread; on AWS it signs a new path each time.
        on_message: Called in the event loop with topic, payload and the moment of ``time.perf_counter()``.
        on_gap: Called in the event loop once subscribed again after the connection was lost, with the two moments
            between which messages may have been missed.
        reconnect: Seconds to wait before a lost connection is opened again: the first wait, and the longest.
        prefix: How the client id begins.

    Attributes:
        client_id: The MQTT client id; random, so that no charge point's connection is taken over.
    """

    def __init__(
        self,
        endpoint: Callable[[], MqttEndpoint],
        on_message: Callable[[str, bytes, float], None],
        on_gap: Callable[[float, float], None] | None = None,
        *,
        reconnect: tuple[float, float] = (1, 10),
        prefix: str = "cpsim-",
    ) -> None:
        self._endpoint = endpoint
        self._on_message = on_message
        self._on_gap = on_gap
        self._reconnect = reconnect
        self.client_id = f"{prefix}{uuid.uuid4().hex[:12]}"
        self._filters: list[str] = []  # confirmed by the broker; subscribed to again with each new connection
        self._waiting: dict[int, tuple[str, asyncio.Future[list[Any]]]] = {}  # packet id -> filter, what is granted
        self._connected: asyncio.Future[None] | None = None
        self._client: paho.Client | None = None
        self._lock = threading.Lock()  # between close() and a connection that is still being made
        self._closing = False
        # Of paho's thread alone:
        self._next_endpoint: MqttEndpoint | None = None
        self._down_since: float | None = None
        self._connected_at = 0.0  # of ``time.perf_counter()``
        self._unconfirmed: set[int] = set()  # packet ids of subscriptions made again

    def __repr__(self) -> str:
        state = "open" if self._client is not None and self._client.is_connected() else "not connected"
        return f"<MqttConnection {self.client_id} {state} {' '.join(self._filters)}>"

    async def open(self, filters: Sequence[str], *, timeout: float = 10) -> None:
        """Connect and subscribe; both are confirmed by the broker when this returns.

        Args:
            filters: Topic filters.
            timeout: Seconds to wait for each answer of the broker.

        Raises:
            ValueError: A string is not a valid topic filter.
            ConnectError: No connection.
            AwsError: The broker refused the connection or a subscription.
            WaitTimeout: It did not answer.
        """
        for topic_filter in filters:
            check_filter(topic_filter)
        if self._client is not None:
            raise RuntimeError("MQTT: this connection is open already")
        self._loop = asyncio.get_running_loop()
        self._connected = self._loop.create_future()
        self._filters, self._closing, self._down_since = [], False, None
        try:
            await asyncio.to_thread(self._start)
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
        check_filter(topic_filter)
        assert self._client is not None
        _result, packet_id = self._client.subscribe(topic_filter, qos=1)
        granted = await self._confirmed(packet_id, topic_filter, timeout)
        if any(code.is_failure for code in granted):
            raise _refused(topic_filter, str(granted[0]))
        self._filters.append(topic_filter)

    async def unsubscribe(self, topic_filter: str, *, timeout: float = 10) -> None:
        """End a subscription. When this returns, the broker has all that was published before.

        To disconnect while messages come may lose what was published: the operating system resets a connection that is
        closed with unread data.

        Raises:
            AwsError: The connection is lost.
            WaitTimeout: The broker did not answer.
        """
        if self._client is None:
            return
        if topic_filter in self._filters:
            self._filters.remove(topic_filter)
        _result, packet_id = self._client.unsubscribe(topic_filter)
        await self._confirmed(packet_id, topic_filter, timeout)

    async def _confirmed(self, packet_id: int | None, topic_filter: str, timeout: float) -> list[Any]:
        """Wait until the broker confirms a packet, and return the codes that it gives."""
        if packet_id is None:
            raise AwsError("MQTT: the connection is lost, and not up again yet", verb="mqtt.subscribe")
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiting[packet_id] = topic_filter, future
        try:
            async with asyncio.timeout(timeout):
                return await future
        except CpsimError:
            raise
        except TimeoutError as exc:
            raise WaitTimeout(f"the MQTT broker to confirm the subscription to {topic_filter}", timeout) from exc
        finally:
            self._waiting.pop(packet_id, None)

    def is_of_this_connection(self, moment: float) -> bool:
        """Whether a message was received since the broker was last connected to, and the connection is up."""
        client = self._client
        return client is not None and client.is_connected() and moment >= self._connected_at

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish with QoS 0; the broker gets messages in order, and before the end of the connection.

        Returns:
            Whether the connection is up; if it is not, the message is lost.

        Raises:
            ValueError: AWS IoT Core would close the connection: the topic has wildcards, or is too long, or the payload
                is too large.
        """
        if is_too_long(topic):
            raise ValueError(f"the topic {topic!r} is longer than {LONGEST_TOPIC} bytes, or has too many slashes")
        if len(payload) > MOST_PAYLOAD:
            raise ValueError(f"a message of {len(payload)} bytes; AWS IoT Core allows {MOST_PAYLOAD}")
        client = self._client
        return client is not None and client.publish(topic, payload, qos=0).rc == paho.MQTT_ERR_SUCCESS

    async def close(self) -> None:
        """Disconnect; harmless twice."""
        with self._lock:
            self._closing = True
            client, self._client = self._client, None
        if self._connected is not None:
            self._connected.cancel()
        if client is not None:  # shielded: a cancelled future would not even begin to stop it
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, _stop, client))

    # -- In paho's thread, or the thread that starts it ---------------------------------------------------------------

    def _start(self) -> None:
        self._next_endpoint = endpoint = self._endpoint()
        client = _Client(
            CallbackAPIVersion.VERSION2, client_id=self.client_id, transport="websockets", protocol=paho.MQTTv311
        )
        if endpoint.tls:
            client.tls_set_context(ssl.create_default_context())
        client.reconnect_delay_set(*self._reconnect)  # type: ignore[arg-type]  # fractions of a second are fine
        client.on_pre_connect = self._before_connecting
        client.on_connect = self._connected_in_thread
        client.on_disconnect = self._disconnected_in_thread
        client.on_subscribe = self._subscribed_in_thread
        client.on_unsubscribe = self._unsubscribed_in_thread
        client.on_message = self._message_in_thread
        try:
            client.connect(endpoint.host, endpoint.port, _KEEPALIVE)
        except (OSError, ValueError) as exc:
            message = f"MQTT: cannot connect to {endpoint.url}: {exc}"
            raise ConnectError(message, url=endpoint.url) from exc
        client.loop_start()
        with self._lock:
            abandoned = self._closing
            if not abandoned:
                self._client = client
        if abandoned:  # closed before the connection was made
            _stop(client)

    def _before_connecting(self, client: paho.Client, _userdata: Any) -> None:
        """Each connection has its own endpoint: a signature is valid for one connection, and for some minutes."""
        endpoint, self._next_endpoint = self._next_endpoint, None
        if endpoint is None:
            try:
                endpoint = self._endpoint()
            except (CpsimError, RuntimeError) as exc:  # RuntimeError: the stack was closed meanwhile
                logger.warning("MQTT: not connected again yet: %s", str(exc))  # whose traceback holds the client
                raise ConnectionError(str(exc)) from exc  # paho tries again after an OSError
        client.ws_set_options(endpoint.path, endpoint.headers)

    def _connected_in_thread(self, client: paho.Client, _userdata: Any, _flags: Any, reason: Any, _props: Any) -> None:
        notice_step()
        self._connected_at = time.perf_counter()
        self._call(self._on_connected, reason)
        if reason.is_failure or self._down_since is None:
            return
        packets = [client.subscribe(topic_filter, qos=1)[1] for topic_filter in list(self._filters)]
        self._unconfirmed = {packet_id for packet_id in packets if packet_id is not None}
        self._end_gap()

    def _disconnected_in_thread(
        self, _client: paho.Client, _userdata: Any, _flags: Any, reason: Any, _props: Any
    ) -> None:
        if self._closing:
            return
        if self._down_since is None:
            noticed_late = 2 * _KEEPALIVE if reason.value == _KEEPALIVE_TIMEOUT else 0
            self._down_since = time.perf_counter() - noticed_late
        self._call(self._on_disconnected, reason)

    def _subscribed_in_thread(
        self, _client: paho.Client, _userdata: Any, packet_id: int, codes: Any, _props: Any
    ) -> None:
        if packet_id in self._unconfirmed:
            self._unconfirmed.discard(packet_id)
            if any(code.is_failure for code in codes):
                logger.error("MQTT: the broker does not confirm a subscription any more: %s", codes[0])
            self._end_gap()
        else:
            self._call(self._on_subscribed, packet_id, list(codes))

    def _unsubscribed_in_thread(
        self, _client: paho.Client, _userdata: Any, packet_id: int, _codes: Any, _props: Any
    ) -> None:
        self._call(self._on_subscribed, packet_id, [])

    def _end_gap(self) -> None:
        """Report the gap once every subscription is confirmed again: later messages are received."""
        if self._down_since is not None and not self._unconfirmed:
            since, self._down_since = self._down_since, None
            if self._on_gap is not None:
                self._call(self._on_gap, since, time.perf_counter())

    def _message_in_thread(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        moment = time.perf_counter()
        with contextlib.suppress(UnicodeDecodeError):  # topics of MQTT are always UTF-8
            self._call(self._on_message, message.topic, message.payload, moment)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, *arguments)

    # -- In the event loop --------------------------------------------------------------------------------------------

    def _on_connected(self, reason: Any) -> None:
        future = self._connected
        assert future is not None
        if future.done():
            return
        if reason.is_failure:
            message = f"MQTT: the broker refused the connection: {reason}; is it allowed by iot:Connect?"
            future.set_exception(AwsError(message, verb="mqtt.connect", code=str(reason)))
        else:
            future.set_result(None)

    def _on_disconnected(self, reason: Any) -> None:
        """AWS IoT Core closes the connection, without a reason, if its policies do not allow something."""
        assert self._connected is not None
        if not self._connected.done():
            message = f"MQTT: the broker closed the connection at once ({reason}); is it allowed by iot:Connect?"
            self._connected.set_exception(AwsError(message, verb="mqtt.connect", code=str(reason)))
        elif self._waiting:
            for topic_filter, future in self._waiting.values():
                if not future.done():
                    future.set_exception(_refused(topic_filter, str(reason)))
        else:
            logger.warning("MQTT: connection lost (%s); reconnecting", reason)

    def _on_subscribed(self, packet_id: int, codes: list[Any]) -> None:
        _filter, future = self._waiting.get(packet_id, ("", None))
        if future is not None and not future.done():
            future.set_result(codes)


def _stop(client: paho.Client) -> None:
    client.disconnect()
    client.loop_stop()


def _refused(topic_filter: str, code: str) -> AwsError:
    message = f"MQTT: the broker refused the subscription to {topic_filter!r} ({code}); is it allowed by iot:Subscribe?"
    return AwsError(message, verb="mqtt.subscribe", code=code)
