"""What one transaction of the outbox writes."""

from dataclasses import dataclass, field

import msgspec

from bridge.core.errors import ErrorObject
from bridge.core.model import FailedAttempt, Outcome
from bridge.core.responder import Answer
from bridge.outbox.entry import Entry


class Death(msgspec.Struct, frozen=True, array_like=True):
    """Why an entry became a dead letter.

    Attributes:
        error: The contract's error object.
        unknown: Whether the remote may have done it.
        attempts: How many attempts were made.
        history: The failed ones.
    """

    error: ErrorObject
    unknown: bool
    attempts: int
    history: tuple[FailedAttempt, ...]


@dataclass(slots=True, eq=False)
class Settlement:
    """The end of one entry. The same transaction removes it, and stores its answer and its dead letter.

    Attributes:
        entry: The entry.
        outcome: How it ended; all its attempts, and the time since it was accepted.
        ended_ms: When, Unix time in milliseconds.
        answer: What is to be emitted; None where nobody is told and nobody can ask.
        death: Why it is a dead letter; None where it is none.
        askers: Correlation ids of those who asked again, once it is committed.
    """

    entry: Entry
    outcome: Outcome
    ended_ms: int
    answer: Answer | None = None
    death: Death | None = None
    askers: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Acceptance:
    """An event that asks to be accepted, and the answer.

    Attributes:
        encoded: The entry's body, as it goes to disk.
        taken: It is on disk, at the place that `entry.seq` says.
        answer: The answer that the same key got before.
        refusal: Why there is no room for it.

    With none of these, the same key is on its way, and whoever asked is noted.
    """

    entry: Entry
    encoded: bytes
    taken: bool = False
    answer: Answer | None = None
    refusal: str | None = None


@dataclass(slots=True, eq=False)
class WriteBatch:
    """All that is written together.

    Attributes:
        acceptances: Events that ask to be accepted.
        settlements: Entries that have ended.
        begun: Entries that are marked as begun.
        progress: Entries whose progress is stored, and whose mark as begun is removed.
    """

    acceptances: list[Acceptance] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    begun: list[Entry] = field(default_factory=list)
    progress: list[Entry] = field(default_factory=list)

    def add(self, other: "WriteBatch") -> None:
        """Append another batch to this one."""
        self.acceptances += other.acceptances
        self.settlements += other.settlements
        self.begun += other.begun
        self.progress += other.progress

    @property
    def rows(self) -> int:
        """How many rows it changes, about."""
        return len(self.acceptances) + len(self.settlements) + len(self.begun) + len(self.progress)
