"""What the outbox needs of an integration, and a lane of the outbox."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from bridge.core.errors import BridgeError
from bridge.core.model import Operation, Outcome
from bridge.outbox.disposition import Fate
from bridge.outbox.entry import Entry
from bridge.outbox.write_batch import Verdict, Work

if TYPE_CHECKING:
    from bridge.outbox.delivery_queue import Lane


class Sums(Protocol):
    """An integration's accounting (`resilience.Accounting`)."""

    accepted: int
    failed: int
    dead_lettered: int
    expired: int
    shed: int
    pending: int


class Remote(Protocol):
    """An integration, as far as the outbox needs it (`connection.Connection`)."""

    @property
    def accounting(self) -> Sums:
        """Its sums."""
        ...

    @property
    def usable(self) -> bool:
        """Whether trying makes sense: not paused, draining or without a connection."""
        ...

    @property
    def well(self) -> bool:
        """Whether it is connected and its circuit closed."""
        ...

    @property
    def capacity(self) -> int:
        """How many operations it takes at the same time."""
        ...

    def may_repeat(self, operation: Operation) -> bool:
        """Whether an operation may be done twice."""
        ...

    def submit(self, operation: Operation, done: Callable[[Operation, Outcome], None]) -> None:
        """Carry it out; `done` is called once."""
        ...


class House(Protocol):
    """What a lane needs of the outbox."""

    @property
    def stopping(self) -> bool:
        """Whether nothing is begun any more."""
        ...

    @property
    def max_age_ms(self) -> int:
        """How old an entry may become."""
        ...

    def remote(self, integration: str) -> Remote | None:
        """The integration; None where there is none by that name now."""
        ...

    def now_ms(self) -> int:
        """Unix time in milliseconds, which does not jump."""
        ...

    def monotonic(self) -> float:
        """Seconds."""
        ...

    def jittered(self, what: Fate, round_: int, error: BridgeError) -> float:
        """Seconds until the next try."""
        ...

    def at(self, lane: "Lane", when: float) -> None:
        """Call `pump` at this monotonic time, or earlier."""
        ...

    def soon(self, lane: "Lane") -> None:
        """Call `pump` in this turn of the loop."""
        ...

    @property
    def turn(self) -> Work:
        """Work for the store."""
        ...

    def end(self, entry: Entry, verdict: Verdict, outcome: Outcome, *, unknown: bool) -> None:
        """Settle an entry; `settled` is called when it is committed."""
        ...
