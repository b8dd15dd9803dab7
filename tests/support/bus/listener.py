"""Takes what an adapter delivers, and hears of a lost connection."""

from typing import Any

from bridge.core.errors import BridgeError
from bridge.core.model import Inbound


class Listener:
    """What was delivered, and what was told as lost."""

    def __init__(self) -> None:
        self.got: list[Inbound] = []
        self.lost: list[BridgeError] = []

    async def deliver(self, message: Inbound) -> None:
        """See `ports.Deliver`."""
        self.got.append(message)

    @property
    def messages(self) -> list[Any]:
        """The contents."""
        return [message.message for message in self.got]

    @property
    def pairs(self) -> list[tuple[str, Any]]:
        """Topics and contents."""
        return [(message.topic, message.message) for message in self.got]
