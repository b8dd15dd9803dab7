"""Publish and subscribe through the bridge."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from bridge.client.bus import BusClient
from bridge.client.command import command
from bridge.client.subscription import BRIDGE, Subscription


class PubSubClient:
    """Publish to the topics of one integration through the bridge, and subscribe to them."""

    def __init__(self, bus: BusClient, integration: str) -> None:
        """Take the program's connection to the bus, and the integration's label."""
        self._bus = bus
        self._integration = integration

    async def publish(
        self,
        topic: str,
        message: Any,
        *,
        qos: Literal[0, 1, 2] | None = None,
        retain: bool = False,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        timeout: float = 30.0,
    ) -> dict[str, Any]:
        """Publish a message and return the broker's answer, when the broker has accepted it.

        The command is sent again until it is answered, and runs once. A bridge that is killed in between forgets that
        it ran, and the message may then be sent twice.

        Args:
            topic: The topic to publish to.
            message: The message.
            qos: The quality of service, where the protocol has it.
            retain: Whether the broker keeps it for later subscribers, where the protocol has that.
            headers: Headers of the message, where the protocol has them.
            key: The idempotency key; a new one by default. Its answer is final for ten minutes, as in
                `QueueClient.enqueue`.
            timeout: Total time in seconds.

        Raises:
            CallFailedError: The bridge answered with an error.
            TimeoutError: The bridge did not answer; the message may have been sent.
            InvalidError: The bus cannot carry the message.
            ClosedError: The bus client is not connected.
        """
        payload: dict[str, Any] = {"topic": topic, "message": message}
        if qos is not None:
            payload["qos"] = qos
        if retain:
            payload["retain"] = True
        if headers is not None:
            payload["headers"] = dict(headers)
        key = key or str(uuid.uuid4())
        result: dict[str, Any] = await command(
            self._bus, self._integration, "publish", payload, timeout=timeout, key=key
        )
        return result

    @contextlib.asynccontextmanager
    async def subscribe(
        self,
        topic: str,
        *,
        emit: str | None = None,
        qos: Literal[0, 1, 2] | None = None,
        most: int = 10_000,
        timeout: float = 30.0,
    ) -> AsyncIterator[Subscription]:
        """Subscribe for the time of the context: `async with events.subscribe("a/#") as messages`, then `async for`.

        The messages have an event type of this subscription's own, so that programs with the same topic do not end
        each other's subscriptions. With `emit` they have that type, which everybody may receive; other programs may
        share such a subscription, and it stays at the bridge when the context ends.

        When a bridge is restarted, the subscription is made again; what is published in between is kept only where the
        protocol does so. If the program is killed, its subscription stays at the bridge until the bridge ends.

        Args:
            topic: A topic or pattern, in the protocol's own syntax.
            emit: The type of the events on the bus; fixed text.
            qos: The quality of service, where the protocol has it.
            most: How many messages may wait; of more, the oldest are lost and counted in `Message.missed`.
            timeout: Seconds that subscribing may take, with its retries while the integration is not connected yet.

        Raises:
            CallFailedError: The bridge answered with an error that will not pass.
            TimeoutError: The bridge did not answer.
            ClosedError: The bus client is not connected.
        """
        event_type = emit or self._bus.own_type("message")
        subscription = Subscription(self._bus, self._integration, topic, event_type=event_type, qos=qos, most=most)
        try:
            async with self._bus.clock.timeout(timeout):
                await self._bus.add_prefix(BRIDGE)
                await self._bus.add_prefix(event_type)
                await subscription.begin(timeout)
            yield subscription
        finally:
            await subscription.end(unsubscribe=emit is None)

    async def ack(self, message_id: str, *, timeout: float = 30.0) -> None:
        """Acknowledge a message of a subscription with `ack = "consumer"`; without that, it is delivered again.

        Raises:
            CallFailedError: The bridge answered with an error; the message may be delivered again.
            TimeoutError: The bridge did not answer; the message may be delivered again.
        """
        payload = {"message_id": message_id}
        await command(self._bus, self._integration, "ack", payload, timeout=timeout, key=str(uuid.uuid4()))
