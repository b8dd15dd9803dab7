"""Translate the contract suite's topics to `*`, the only one of WebSocket."""

from typing import Any

import msgspec

from bridge.adapters.websocket import SPEC as WEBSOCKET
from bridge.adapters.websocket.adapter import WebSocketAdapter
from bridge.core.model import Inbound, Publish
from bridge.core.ports import NO_OPTIONS, Context, Deliver, Subscription, SubscriptionOptions


class WebSocketDialect(WebSocketAdapter):
    """Uses `*` for any topic, and gives messages the name that was subscribed to."""

    async def publish(self, command: Publish, context: Context) -> dict[str, Any]:
        return await super().publish(msgspec.structs.replace(command, topic="*"), context)

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        async def renamed(message: Inbound) -> None:
            await deliver(msgspec.structs.replace(message, topic=topic))

        return await super().subscribe("*", renamed, options)


SPEC = msgspec.structs.replace(WEBSOCKET, create=WebSocketDialect)
