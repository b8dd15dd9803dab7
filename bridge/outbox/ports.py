"""What the outbox needs of an integration."""

from collections.abc import Callable
from typing import Protocol

from bridge.core.model import Operation, Outcome
from bridge.resilience import Accounting


class Remote(Protocol):
    """An integration, as far as the outbox needs it; `connection.Connection` is one, and stands above this package."""

    @property
    def accounting(self) -> Accounting:
        """Its sums, live."""
        ...

    @property
    def usable(self) -> bool:
        """Whether trying makes sense: it is not paused, not draining, and connected."""
        ...

    @property
    def well(self) -> bool:
        """Whether it is connected and its circuit is closed."""
        ...

    @property
    def capacity(self) -> int:
        """How many operations it takes at the same time."""
        ...

    def may_repeat(self, operation: Operation) -> bool:
        """Whether an operation may be done twice."""
        ...

    def submit(self, operation: Operation, done: Callable[[Operation, Outcome], None]) -> None:
        """Run an operation that is counted as `Stage.PENDING`; call `done` once with its outcome.

        An error leaves it at `Stage.PENDING` again, a result at `Stage.SUCCEEDED`.
        """
        ...
