"""The parts of the gateway and of the bus that the dispatcher needs."""

from collections.abc import Coroutine
from typing import Any, Protocol

from bridge.core.model import Letters
from bridge.core.payloads import BridgeHealth, IntegrationHealth, LetterList, LiveSubscription, Moved, Reloaded
from bridge.core.ports import Publisher


class EventBus(Publisher, Protocol):
    """The part of the bus that the dispatcher needs."""

    def reject_loop(self, event_type: str) -> None:
        """Count and report an event that crossed the bridge too often."""
        ...


class Controls(Protocol):
    """What the gateway does for the commands of `bridge.<operation>`."""

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that takes time as a task of the gateway; a bug in it ends the bridge."""
        ...

    def status(self) -> dict[str, BridgeHealth | IntegrationHealth]:
        """Return the result of `bridge.status`."""
        ...

    def subscriptions(self) -> dict[str, list[LiveSubscription]]:
        """Return the result of `bridge.subscriptions`."""
        ...

    async def letters(self, operation: str, wanted: Letters) -> LetterList | Moved:
        """Return the result of `bridge.dead_letters`, or carry `bridge.replay` or `bridge.discard` out.

        Raises:
            InvalidError: An id is none.
            StoppingError: The bridge is about to end.
        """
        ...

    async def reload(self) -> Reloaded:
        """Read the configuration again and apply it.

        Raises:
            InvalidError: It cannot be applied; everything is as it was.
            StoppingError: The bridge is about to end; everything is as it was.
        """
        ...
