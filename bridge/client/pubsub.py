"""Pattern Pub/Sub for programs on the bus."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from bridge.client.bus import BusClient
from bridge.client.command import command
from bridge.client.subscription import BRIDGE, Subscription


class PubSubClient:
    """Publishes to the topics of one integration through the bridge, and subscribes to them."""

    def __init__(self, bus: BusClient, integration: str) -> None:
        """Take the program's place on the bus, and the integration's label."""
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
        """Send a message; returns what the broker returned, when it has taken the message over.

        The command is said again until it is answered, and runs once; a bridge that is killed in between forgets
        that, and the message may then be sent twice.

        Args:
            topic: Where to.
            message: What.
            qos: The quality of service, where the protocol has it.
            retain: Whether the broker keeps it for later subscribers, where the protocol has that.
            headers: For the outside, where the protocol has them.
            key: The idempotency key; a fresh one by default. Its answer is final for ten minutes, as in
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
        """Be subscribed inside the context: `async with events.subscribe("a/#") as messages`, then `async for`.

        The messages come under an event type of this subscription's own, so that programs with the same topic do not
        end each other's subscriptions. With `emit` they come under that type, for everybody to see; such a
        subscription may be others' as well, and stays at the bridge when the context ends.

        A bridge that is restarted is noticed, and subscribed to again; what is published in between is only kept
        where the protocol does so. A program that is killed leaves its subscription at the bridge until that ends.

        Args:
            topic: In the protocol's own pattern language.
            emit: The type of the events on the bus; fixed text.
            qos: The quality of service, where the protocol has it.
            most: How many messages may wait; beyond, the oldest are lost, and `Message.missed` says how many.
            timeout: Seconds that subscribing may take, tries included where the integration is not connected yet.

        Raises:
            CallFailedError: The bridge answered with an error that will not pass.
            TimeoutError: The bridge did not answer.
            ClosedError: The bus client is not connected.
        """
        event_type = emit or self._bus.own_type("message")
        subscription = Subscription(self._bus, self._integration, topic, event_type=event_type, qos=qos, most=most)
        try:
            async with self._bus.clock.timeout(timeout):
                await self._bus.hear(BRIDGE)
                await self._bus.hear(event_type)
                await subscription.begin(timeout)
            yield subscription
        finally:
            await subscription.end(unsubscribe=emit is None)

    async def ack(self, message_id: str, *, timeout: float = 30.0) -> None:
        """Acknowledge a message of a subscription with `ack = "consumer"`; without it, it comes again.

        Raises:
            CallFailedError: The bridge answered with an error; the message may come again.
            TimeoutError: The bridge did not answer; the message may come again.
        """
        payload = {"message_id": message_id}
        await command(self._bus, self._integration, "ack", payload, timeout=timeout, key=str(uuid.uuid4()))
