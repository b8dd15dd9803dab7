"""WebSocket has one topic: the contract suite's, said as that one; the service sends back what is published."""

from dataclasses import replace
from typing import Any

import msgspec

from bridge.adapters.websocket import SPEC as WEBSOCKET
from bridge.adapters.websocket.adapter import WebSocketAdapter
from bridge.core.model import Inbound
from bridge.core.ports import Deliver, Subscription


class WebSocketDialect(WebSocketAdapter):
    """Any topic is `*`, and what comes has the name that was subscribed to."""

    async def publish(self, topic: str, message: Any, **more: Any) -> dict[str, Any]:
        return await super().publish("*", message, **more)

    async def subscribe(self, topic: str, deliver: Deliver, **more: Any) -> Subscription:
        async def renamed(message: Inbound) -> None:
            await deliver(msgspec.structs.replace(message, topic=topic))

        return await super().subscribe("*", renamed, **more)


SPEC = replace(WEBSOCKET, create=WebSocketDialect)
