"""Record what an adapter delivers, and what it tells its owner."""

from typing import Any

from bridge.core.errors import BridgeError
from bridge.core.model import Inbound
from bridge.core.ports import Subscription


class Listener:
    """The messages that were delivered; the errors of lost connections, ended subscriptions and dropped messages."""

    def __init__(self) -> None:
        self.got: list[Inbound] = []
        self.lost: list[BridgeError] = []
        self.ended: list[tuple[Subscription, BridgeError]] = []
        self.dropped: list[tuple[BridgeError, str]] = []

    async def deliver(self, message: Inbound) -> None:
        """See `ports.Deliver`."""
        self.got.append(message)

    def on_ended(self, subscription: Subscription, error: BridgeError) -> None:
        """See `ports.AdapterSetup.on_subscription_ended`."""
        self.ended.append((subscription, error))

    def on_dropped(self, error: BridgeError, topic: str) -> None:
        """See `ports.AdapterSetup.on_dropped`."""
        self.dropped.append((error, topic))

    @property
    def messages(self) -> list[Any]:
        """Return the contents of the messages."""
        return [message.message for message in self.got]

    @property
    def pairs(self) -> list[tuple[str, Any]]:
        """Return topics and contents."""
        return [(message.topic, message.message) for message in self.got]
