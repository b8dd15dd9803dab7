"""Call an adapter's operations in a test, each by a method of its own, as the guard does it by `begin`."""

from collections.abc import Mapping
from typing import Any, cast

from msgspec import UNSET

from bridge.core.model import Ack, Command, Dequeue, Enqueue, Nack, Publish, QueueMessage, Request
from bridge.core.ports import NO_CONTEXT, Context, Deliver, ProtocolAdapter, Subscription, SubscriptionOptions, perform
from bridge.core.settings import Hold


class Direct:
    """Makes a command of each call and performs it; all other attributes are those of the adapter."""

    def __init__(self, adapter: Any) -> None:
        self.adapter: ProtocolAdapter = adapter

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapter, name)

    async def perform(self, command: Command, context: Context = NO_CONTEXT) -> Any:
        """Do one operation by `begin`, and return its result."""
        return await perform(self.adapter, command, context)

    async def request(
        self, method: str, params: Any = UNSET, *, notify: bool = False, context: Context = NO_CONTEXT
    ) -> Any:
        """Call a method; return its result."""
        return await self.perform(Request(method=method, params=params, notify=notify), context)

    async def publish(
        self,
        topic: str,
        message: Any,
        *,
        qos: int | None = None,
        retain: bool = False,
        headers: Mapping[str, str] | None = None,
        context: Context = NO_CONTEXT,
    ) -> Any:
        """Publish a message; return what the broker returned."""
        own = None if headers is None else dict(headers)
        command = Publish(topic=topic, message=message, qos=cast("Any", qos), retain=retain, headers=own)
        return await self.perform(command, context)

    async def enqueue(
        self, queue: str, message: Any, *, headers: Mapping[str, str] | None = None, context: Context = NO_CONTEXT
    ) -> str:
        """Append a message; return its id."""
        own = None if headers is None else dict(headers)
        stored = await self.perform(Enqueue(queue=queue, message=message, headers=own), context)
        return str(stored["message_id"])

    async def dequeue(self, queue: str, *, wait: float = 0.0, visibility: float | None = None) -> QueueMessage | None:
        """Take one message; the times are in seconds."""
        visibility_ms = None if visibility is None else round(visibility * 1000)
        taken = await self.perform(Dequeue(queue=queue, wait_ms=round(wait * 1000), visibility_ms=visibility_ms))
        return None if taken is None else QueueMessage(**taken)

    async def ack(self, message_id: str) -> None:
        """Acknowledge a message."""
        assert await self.perform(Ack(message_id=message_id)) == {}

    async def nack(self, message_id: str, *, delay: float | None = None) -> None:
        """Give a message back."""
        delay_ms = None if delay is None else round(delay * 1000)
        assert await self.perform(Nack(message_id=message_id, delay_ms=delay_ms)) == {}

    async def subscribe(
        self,
        topic: str,
        deliver: Deliver,
        *,
        qos: int | None = None,
        group: str | None = None,
        hold: Hold | None = None,
    ) -> Subscription:
        """Listen to a topic."""
        return await self.adapter.subscribe(topic, deliver, SubscriptionOptions(qos=qos, group=group, hold=hold))

    async def consume(
        self, queue: str, deliver: Deliver, *, group: str | None = None, hold: Hold | None = None
    ) -> Subscription:
        """Read a queue."""
        return await self.adapter.consume(queue, deliver, SubscriptionOptions(group=group, hold=hold))
