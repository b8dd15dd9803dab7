"""What the dispatcher asks of the house around it: the gateway, the bus, the outbox."""

from collections.abc import Coroutine
from typing import Any, Protocol

from bridge.core.model import Event, Letters, Operation
from bridge.core.ports import Publisher


class Controls(Protocol):
    """What the gateway does for commands that are not for a remote."""

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that takes time, as part of the gateway's life."""
        ...

    def status(self) -> dict[str, Any]:
        """The result of `bridge.status`."""
        ...

    def subscriptions(self) -> dict[str, Any]:
        """The result of `bridge.subscriptions`."""
        ...

    async def letters(self, operation: str, wanted: Letters) -> dict[str, Any]:
        """The result of `bridge.dead_letters`, `bridge.replay` or `bridge.discard`.

        Raises:
            InvalidError: An id is none.
            StoppingError: The bridge is about to end.
        """
        ...

    async def reload(self) -> dict[str, Any]:
        """Read the configuration again and apply it.

        Raises:
            InvalidError: It cannot be applied; everything is as it was.
            StoppingError: The bridge is about to end; everything is as it was.
        """
        ...


class EventBus(Publisher, Protocol):
    """The bus, as far as the dispatcher needs it."""

    def reject_loop(self, event_type: str) -> None:
        """Count and report an event that crossed the bridge too often."""
        ...

    def unsaid(self, event_type: str, why: str) -> None:
        """Count and report what the bus cannot carry."""
        ...


class Outbox(Protocol):
    """The outbox, as far as the dispatcher needs it."""

    def accept(self, event: Event, operation: Operation, *, emit: str | None, receipts: bool) -> None:
        """Take an event over; raises OverloadedError where there is no room."""
        ...
