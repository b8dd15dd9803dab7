"""Record what an adapter delivers, and the connections that it reports as lost."""

from typing import Any

from bridge.core.errors import BridgeError
from bridge.core.model import Inbound


class Listener:
    """The messages that were delivered, and the errors of lost connections."""

    def __init__(self) -> None:
        self.got: list[Inbound] = []
        self.lost: list[BridgeError] = []

    async def deliver(self, message: Inbound) -> None:
        """See `ports.Deliver`."""
        self.got.append(message)

    @property
    def messages(self) -> list[Any]:
        """Return the contents of the messages."""
        return [message.message for message in self.got]

    @property
    def pairs(self) -> list[tuple[str, Any]]:
        """Return topics and contents."""
        return [(message.topic, message.message) for message in self.got]
