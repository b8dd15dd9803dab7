"""What the event loop asks of the store's thread, and what comes back."""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.core.errors import BridgeError
from bridge.core.model import Attempt
from bridge.outbox.entry import Entry

if TYPE_CHECKING:
    from bridge.outbox.store import Store


class Verdict(enum.StrEnum):
    """The one outcome of an accepted event, as a receipt names it."""

    DELIVERED = "delivered"
    DEAD_LETTERED = "dead_lettered"
    EXPIRED = "expired"


class Death(msgspec.Struct, frozen=True, array_like=True):
    """Why an entry became a dead letter.

    Attributes:
        error: The contract's error object.
        unknown: Whether the remote may have done it.
        attempts: How many attempts were made.
        history: The failed ones.
    """

    error: dict[str, Any]
    unknown: bool
    attempts: int
    history: tuple[Attempt, ...]


class Ending(msgspec.Struct, frozen=True, array_like=True):
    """What is said of an ended entry, again whenever its key comes again.

    Attributes:
        verdict: The outcome.
        response: The response's payload, encoded.
        receipt: The receipt's payload, encoded; None where none was asked for.
        correlation_id: The event's own.
    """

    verdict: Verdict
    response: bytes
    receipt: bytes | None
    correlation_id: str | None


@dataclass(slots=True, eq=False)
class Settlement:
    """The end of one entry: removed, and in the same transaction its outcome, and its letter, are kept.

    Attributes:
        ending: What is to be said; None where nobody is told and nobody can ask.
        error: Why it was not delivered.
        result: What the remote answered.
        duration_ms: From acceptance to the end.
        askers: Correlation ids of those who asked again, once it is committed.
    """

    entry: Entry
    verdict: Verdict
    ending: Ending | None
    ended_ms: int
    error: BridgeError | None
    result: Any
    duration_ms: float
    death: Death | None = None
    askers: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Acceptance:
    """An event that asks to be accepted, and the answer.

    Attributes:
        encoded: The entry's body, as it goes to disk.
        taken: It is on disk, at the place that `entry.seq` says.
        ending: How the same key ended before.
        refusal: Why there is no room for it.

    With none of these, the same key is on its way, and whoever asked is noted.
    """

    entry: Entry
    encoded: bytes
    taken: bool = False
    ending: Ending | None = None
    refusal: str | None = None


@dataclass(slots=True, eq=False)
class Errand:
    """Anything else that the thread is to do: `act` runs there, `back` on the loop with what it returned."""

    act: Callable[["Store"], Any]
    back: Callable[[Any], None]
    writes: bool = False
    result: Any = None


@dataclass(slots=True, eq=False)
class Work:
    """One turn's worth: it is committed together; errands come after."""

    acceptances: list[Acceptance] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    begun: list[Entry] = field(default_factory=list)
    progress: list[Entry] = field(default_factory=list)
    errands: list[Errand] = field(default_factory=list)

    def add(self, other: "Work") -> None:
        """Put another turn's behind this one's."""
        self.acceptances += other.acceptances
        self.settlements += other.settlements
        self.begun += other.begun
        self.progress += other.progress
        self.errands += other.errands

    @property
    def size(self) -> int:
        """How much it is, about, in rows."""
        return len(self.acceptances) + len(self.settlements) + len(self.begun) + len(self.progress) + len(self.errands)


class Totals(msgspec.Struct):
    """What the store holds.

    Attributes:
        pending: Entries.
        bytes: Their size.
        oldest_ms: When the oldest was accepted, Unix ms; None where there is none.
        letters: Dead letters.
        letter_bytes: Their size.
        known_bytes: Size of the remembered outcomes.
    """

    pending: int = 0
    bytes: int = 0
    oldest_ms: int | None = None
    letters: int = 0
    letter_bytes: int = 0
    known_bytes: int = 0
