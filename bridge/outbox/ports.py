"""What the outbox uses: an integration's connection, and the place where it keeps what it must not lose."""

from collections.abc import Callable
from typing import Protocol

from bridge.core.model import Operation, Outcome
from bridge.outbox.commit_mark import CommitMark
from bridge.outbox.reserve import Reserve
from bridge.outbox.sqlite import sqlite3
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
        """How many operations it has use for at the same time; it accepts as many. It changes with each of them."""
        ...

    def may_repeat(self, operation: Operation) -> bool:
        """Return whether an operation may be repeated although the remote may have acted on it."""
        ...

    def submit(self, operation: Operation, done: Callable[[Operation, Outcome], None]) -> None:
        """Run an operation that is counted as `Stage.PENDING`, and call `done` once with its outcome. Raises nothing.

        After an error the operation is counted as `Stage.PENDING` again, after a result as `Stage.SUCCEEDED`.
        """
        ...


class Storage(Protocol):
    """Where an outbox keeps what must outlive the process: files in a folder, or memory in a simulation."""

    @property
    def name(self) -> str:
        """How messages name it."""
        ...

    @property
    def exists(self) -> bool:
        """Whether there is a database from an earlier run."""
        ...

    def take(self) -> None:
        """Make what is missing, and lock it against other processes.

        Raises:
            OutboxError: Another process has it, or it cannot be used.
        """
        ...

    def release(self) -> None:
        """Unlock it; idempotent."""
        ...

    def connect(self, *, longest_log: int) -> "sqlite3.Connection":
        """Open the database; see `schema.connect`.

        Raises:
            OutboxError: It cannot be used.
        """
        ...

    def reserve(self, *, max_bytes: int) -> Reserve:
        """Return the reserve of an outbox with this limit."""
        ...

    def mark(self) -> CommitMark:
        """Return what remembers outside the database how much was committed."""
        ...
