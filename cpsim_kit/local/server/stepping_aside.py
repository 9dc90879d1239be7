"""Lets a subscriber of the broker step aside while an MQTT client does its work.

The broker gives a message to the subscriptions that there are when it arrives. So the subscriber's subscription is
removed in the same step in which the client's begins, and comes back in the step in which that ends, also if the
client's process is killed. Each message reaches either the subscriber or the client.
"""

from __future__ import annotations

from typing import Any

from cpsim_kit.local.server.broker import Deliver, StandIn

__all__ = ["SteppingAside"]


class SteppingAside:
    """The subscribers of ministack's broker that step aside.

    Replaces ministack's functions that begin and end a subscription.

    Args:
        iot: ministack's module ``services.iot``.
    """

    def __init__(self, iot: Any) -> None:
        self._iot = iot
        self._subscribers: list[_Subscriber] = []
        subscribe, unsubscribe = iot.broker_subscribe, iot.broker_unsubscribe

        async def broker_subscribe(
            account: str, region: str, topic_filter: str, *rest: Any, client_id: str | None = None, **options: Any
        ) -> str:
            subscription_id: str = await subscribe(
                account, region, topic_filter, *rest, client_id=client_id, **options
            )  # nothing runs between the begin of a subscription with a wildcard and the next line
            for subscriber in self._subscribers:
                if topic_filter == subscriber.topic_filter and (client_id or "").startswith(subscriber.prefix):
                    subscriber.step_aside_for(subscription_id)
            return subscription_id

        async def broker_unsubscribe(subscription_id: str) -> None:
            await unsubscribe(subscription_id)  # nothing runs between the end of the subscription and the next line
            for subscriber in self._subscribers:
                subscriber.come_back_after(subscription_id)

        iot.broker_subscribe, iot.broker_unsubscribe = broker_subscribe, broker_unsubscribe

    def add(self, account: str, region: str, topic_filter: str, deliver: Deliver, stand_in: StandIn) -> None:
        """Subscribe as ``Broker.subscribe`` says; the filter has a wildcard."""
        self._subscribers.append(_Subscriber(self._iot, account, region, topic_filter, deliver, stand_in))


class _Subscriber:
    def __init__(
        self, iot: Any, account: str, region: str, topic_filter: str, deliver: Deliver, stand_in: StandIn
    ) -> None:
        def subscription(topic_filter: str, deliver: Deliver) -> Any:
            async def relay(topic: str, payload: bytes, _qos: int) -> None:
                await deliver(topic, payload)

            return iot._Subscription(iot._scoped_topic(account, region, topic_filter), account, region, relay)

        self.topic_filter = topic_filter
        self.prefix = stand_in.prefix
        self._iot = iot
        self._on_end = stand_in.on_end
        self._own = [subscription(topic_filter, deliver)]
        self._aside = [subscription(*each) for each in stand_in.meanwhile.items()]
        self._clients: set[str] = set()  # ids of the subscriptions of those that do its work
        self._exchange([], self._own)

    def step_aside_for(self, subscription_id: str) -> None:
        if not self._clients:
            self._exchange(self._own, self._aside)
        self._clients.add(subscription_id)

    def come_back_after(self, subscription_id: str) -> None:
        if subscription_id in self._clients:
            self._clients.discard(subscription_id)
            if not self._clients:
                self._exchange(self._aside, self._own)
                self._on_end()

    def _exchange(self, old: list[Any], new: list[Any]) -> None:
        subscriptions = self._iot._subscriptions
        for each in old:
            subscriptions[each.filter_prefixed].discard(each)
        for each in new:
            subscriptions.setdefault(each.filter_prefixed, set()).add(each)
