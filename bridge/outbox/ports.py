"""The part of an integration's connection that the outbox uses."""

from collections.abc import Callable
from typing import Protocol

from bridge.core.model import Operation, Outcome
from bridge.resilience import Accounting


class DeliveryConnection(Protocol):
    """The part of a `connection.Connection` that the outbox uses; that package may import this one, not the reverse."""

    @property
    def accounting(self) -> Accounting:
        """The counts of the integration's operations, as they are now."""
        ...

    @property
    def usable(self) -> bool:
        """Whether operations may be submitted: it is connected, not paused, and not draining."""
        ...

    @property
    def well(self) -> bool:
        """Whether it is connected and its circuit is closed."""
        ...

    @property
    def capacity(self) -> int:
        """How many operations it accepts at the same time."""
        ...

    def may_repeat(self, operation: Operation) -> bool:
        """Return whether an operation may be repeated although the remote may have acted on it."""
        ...

    def submit(self, operation: Operation, done: Callable[[Operation, Outcome], None]) -> None:
        """Run an operation that is counted as `Stage.PENDING`, and call `done` once with its outcome. Raises nothing.

        After an error the operation is counted as `Stage.PENDING` again, after a result as `Stage.SUCCEEDED`.
        """
        ...
