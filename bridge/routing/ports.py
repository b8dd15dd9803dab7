"""The parts of the gateway and of the bus that the dispatcher uses."""

from collections.abc import Coroutine
from typing import Any, Protocol

from bridge.core.model import Letters
from bridge.core.payloads import (
    BridgeHealth,
    Fleet,
    Forgotten,
    Inspection,
    IntegrationHealth,
    LetterList,
    LiveSubscription,
    LoadedConfiguration,
    Moved,
    Overview,
    Reloaded,
)
from bridge.core.ports import Publisher


class EventBus(Publisher, Protocol):
    """The part of the bus that the dispatcher uses."""

    def hurry(self) -> None:
        """Read the next events as soon as they come: somebody waits for what comes of the one that is handled."""
        ...

    def reject_loop(self, event_type: str) -> None:
        """Count and report an event that has crossed bridges too often (bus contract, "Loop protection")."""
        ...

    def reject_unanswerable(self, event_type: str) -> None:
        """Count and report an event that wants a response whose type would be too long."""
        ...


class Controls(Protocol):
    """The part of the gateway that executes the commands `bridge.<operation>`."""

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task of the gateway; a bug in it ends the process."""
        ...

    def status(self) -> dict[str, BridgeHealth | IntegrationHealth]:
        """Return the result of `bridge.status`."""
        ...

    def subscriptions(self) -> dict[str, list[LiveSubscription]]:
        """Return the result of `bridge.subscriptions`."""
        ...

    def overview(self) -> Overview:
        """Return the result of `bridge.overview`."""
        ...

    async def inspect(self, integration: str) -> Inspection:
        """Return the result of `bridge.inspect`.

        Raises:
            InvalidError: The integration's settings cannot be shown.
            StoppingError: The bridge is about to end.
            UnknownIntegrationError: There is no such integration.
        """
        ...

    def stops(self, event_type: str) -> bool:
        """Return whether an event of this type stops the bridge."""
        ...

    async def letters(self, operation: str, wanted: Letters) -> LetterList | Moved:
        """Execute `bridge.dead_letters`, `bridge.replay` or `bridge.discard`, and return its result.

        Raises:
            InvalidError: An id is not an id of a dead letter.
            StoppingError: The bridge is about to end.
        """
        ...

    async def configuration(self) -> LoadedConfiguration:
        """Return the result of `bridge.configuration`."""
        ...

    def fleet(self) -> Fleet:
        """Return the result of `bridge.fleet`."""
        ...

    async def forget_node(self, node: str, fabric: str | None) -> Forgotten:
        """Execute `bridge.forget_node`, and return its result.

        Args:
            node: The node's name.
            fabric: The fabric's label; None for all fabrics of this bridge.

        Raises:
            InvalidError: There is no such fabric or node, or the node is alive.
            BridgeError: The broker cannot be reached, or refuses it.
        """
        ...

    async def reload(self, *, dry_run: bool = False) -> Reloaded:
        """Read the configuration again and apply it; with `dry_run` only report what would change.

        Raises:
            InvalidError: It cannot be applied; nothing has changed.
            StoppingError: The bridge is about to end; nothing has changed.
        """
        ...
