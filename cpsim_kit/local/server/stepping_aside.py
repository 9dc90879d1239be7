"""Lets a subscriber of the broker step aside while an MQTT client does its work.

The broker gives a message to the subscriptions that there are when it arrives. So the subscriber's subscription is
removed in the same step in which the client's begins, and comes back in the step in which that ends, also if the
client's process is killed. Each message reaches either the subscriber or the client.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from cpsim_kit.local.server.broker import Deliver, StandIn

__all__ = ["SteppingAside"]

_Callback = Callable[[str, bytes, int], Awaitable[None]]


class SteppingAside:
    """The subscribers of ministack's broker that step aside.

    Replaces ministack's functions that begin and end a subscription.

    Args:
        iot: ministack's module ``services.iot``.
    """

    def __init__(self, iot: Any) -> None:
        self._iot = iot
        self._subscribers: list[_Subscriber] = []
        self._seats: dict[str, _Seat] = {}  # by the ids of their subscriptions
        subscribe, unsubscribe = iot.broker_subscribe, iot.broker_unsubscribe

        async def broker_subscribe(
            account: str,
            region: str,
            topic_filter: str,
            callback: _Callback,
            *rest: Any,
            client_id: str | None = None,
            **options: Any,
        ) -> str:
            seat = next(
                (each.seat(callback) for each in self._subscribers if each.is_for(topic_filter, client_id)), None
            )
            relay = callback if seat is None else seat.relay
            subscription_id: str = await subscribe(
                account, region, topic_filter, relay, *rest, client_id=client_id, **options
            )  # nothing runs between the begin of a subscription with a wildcard and the next line
            if seat is not None:
                self._seats[subscription_id] = seat
                seat.begin()
            return subscription_id

        async def broker_unsubscribe(subscription_id: str) -> None:
            await unsubscribe(subscription_id)  # nothing runs between the end of the subscription and the next line
            seat = self._seats.pop(subscription_id, None)
            if seat is not None:
                seat.end()

        iot.broker_subscribe, iot.broker_unsubscribe = broker_subscribe, broker_unsubscribe

    def add(self, account: str, region: str, topic_filter: str, deliver: Deliver, stand_in: StandIn) -> None:
        """Subscribe as ``Broker.subscribe`` says; the filter has a wildcard."""
        self._subscribers.append(_Subscriber(self._iot, account, region, topic_filter, deliver, stand_in))


class _Subscriber:
    """A subscriber that steps aside."""

    def __init__(
        self, iot: Any, account: str, region: str, topic_filter: str, deliver: Deliver, stand_in: StandIn
    ) -> None:
        def subscription(topic_filter: str, deliver: Deliver) -> Any:
            async def relay(topic: str, payload: bytes, _qos: int) -> None:
                await deliver(topic, payload)

            return iot._Subscription(iot._scoped_topic(account, region, topic_filter), account, region, relay)

        self.deliver = deliver
        self.stand_in = stand_in
        self._topic_filter = topic_filter
        self._iot = iot
        self._own = [subscription(topic_filter, deliver)]
        self._aside = [subscription(*each) for each in stand_in.meanwhile.items()]
        self.taken: set[_Seat] = set()
        self._exchange([], self._own)

    def is_for(self, topic_filter: str, client_id: str | None) -> bool:
        """Whether a client that subscribes does this subscriber's work."""
        return topic_filter == self._topic_filter and (client_id or "").startswith(self.stand_in.prefix)

    def seat(self, callback: _Callback) -> _Seat:
        return _Seat(self, callback)

    def step_aside(self) -> None:
        self._exchange(self._own, self._aside)

    def come_back(self) -> None:
        self._exchange(self._aside, self._own)
        self.stand_in.on_end()

    def _exchange(self, old: list[Any], new: list[Any]) -> None:
        subscriptions = self._iot._subscriptions
        for each in old:
            subscriptions[each.filter_prefixed].discard(each)
        for each in new:
            subscriptions.setdefault(each.filter_prefixed, set()).add(each)


class _Seat:
    """The subscription of a client that does a subscriber's work."""

    def __init__(self, subscriber: _Subscriber, callback: _Callback) -> None:
        self._subscriber = subscriber
        self._callback = callback

    def begin(self) -> None:
        if not self._subscriber.taken:
            self._subscriber.step_aside()
        self._subscriber.taken.add(self)

    def end(self) -> None:
        self._subscriber.taken.discard(self)
        if not self._subscriber.taken:
            self._subscriber.come_back()

    async def relay(self, topic: str, payload: bytes, qos: int) -> None:
        """Give the client a message, which may have come before its subscription ended."""
        if self in self._subscriber.taken:
            await self._subscriber.stand_in.on_message(topic, payload)
            await self._callback(topic, payload, qos)
        elif self._subscriber.taken:
            await self._subscriber.stand_in.on_message(topic, payload)
        else:
            await self._subscriber.deliver(topic, payload)
