"""WebSocket has one topic: the contract suite's, said as that one; the service sends back what is published."""

from dataclasses import replace
from typing import Any

import msgspec

from bridge.adapters.websocket import SPEC as WEBSOCKET
from bridge.adapters.websocket.adapter import WebSocketAdapter
from bridge.core.model import Inbound, Publish
from bridge.core.ports import NO_OPTIONS, Context, Deliver, Subscription, SubscriptionOptions


class WebSocketDialect(WebSocketAdapter):
    """Any topic is `*`, and what comes has the name that was subscribed to."""

    async def publish(self, command: Publish, context: Context) -> dict[str, Any]:
        return await super().publish(msgspec.structs.replace(command, topic="*"), context)

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        async def renamed(message: Inbound) -> None:
            await deliver(msgspec.structs.replace(message, topic=topic))

        return await super().subscribe("*", renamed, options)


SPEC = replace(WEBSOCKET, create=WebSocketDialect)
