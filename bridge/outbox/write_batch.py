"""The data that one transaction of the outbox writes, and what comes back from it."""

import msgspec

from bridge.core.errors import ErrorObject
from bridge.core.model import FailedAttempt, Outcome
from bridge.core.responder import Answer
from bridge.outbox.entry import Entry


class DeadLetterReason(msgspec.Struct, frozen=True, array_like=True):
    """Why an entry became a dead letter.

    Attributes:
        error: The last error, as in the bus contract.
        unknown: Whether the remote may have acted on the call.
        attempts: How many attempts were made.
        history: The failed attempts, oldest first.
    """

    error: ErrorObject
    unknown: bool
    attempts: int
    history: tuple[FailedAttempt, ...]


class Settlement(msgspec.Struct, eq=False):
    """The end of one entry of which somebody is told.

    The same transaction removes the entry, and stores its answer and its dead letter.

    Attributes:
        entry: The entry.
        outcome: How it ended, with all its attempts and the time since it was accepted.
        ended_ms: When it ended, Unix time in milliseconds.
        answer: The answer to emit; None where nobody has asked and nobody can ask later.
        dead_letter: Why it became a dead letter; None where it did not.
        askers: Correlation ids of those who asked again; filled in by the commit.
    """

    entry: Entry
    outcome: Outcome
    ended_ms: int
    answer: Answer | None = None
    dead_letter: DeadLetterReason | None = None
    askers: list[str] = msgspec.field(default_factory=list)


class Acceptance(msgspec.Struct, eq=False):
    """A new entry to store, and the result of that, which the commit fills in.

    Without any of the results, an entry with the same idempotency key has not ended; its answer then goes also to who
    has asked here.

    Attributes:
        entry: The entry; `entry.seq` is filled in, too.
        encoded: The entry's body, encoded.
        taken: Result: it is on disk.
        answer: Result: the answer that the same idempotency key got before.
        refusal: Result: why there is no room for it.
    """

    entry: Entry
    encoded: bytes
    taken: bool = False
    answer: Answer | None = None
    refusal: str | None = None


class WriteBatch(msgspec.Struct, eq=False):
    """All that is written in one transaction.

    Attributes:
        acceptances: New entries.
        settlements: Entries that have ended, with what is told of that.
        delivered: Entries that were delivered, of which nobody is told.
        begun: Entries to mark as begun.
        progress: Entries whose progress to store, and whose mark as begun to remove.
    """

    acceptances: list[Acceptance] = msgspec.field(default_factory=list)
    settlements: list[Settlement] = msgspec.field(default_factory=list)
    delivered: list[Entry] = msgspec.field(default_factory=list)
    begun: list[Entry] = msgspec.field(default_factory=list)
    progress: list[Entry] = msgspec.field(default_factory=list)

    def add(self, other: "WriteBatch") -> None:
        """Append another batch to this one."""
        self.acceptances += other.acceptances
        self.settlements += other.settlements
        self.delivered += other.delivered
        self.begun += other.begun
        self.progress += other.progress

    def parts(self, most: int) -> "list[WriteBatch]":
        """Return the same in parts of about `most` rows, in order; what frees room comes first."""
        found = [WriteBatch(delivered=self.delivered[at : at + most]) for at in range(0, len(self.delivered), most)]
        found += [
            WriteBatch(settlements=self.settlements[at : at + most]) for at in range(0, len(self.settlements), most)
        ]
        if self.acceptances or self.begun or self.progress:
            found.append(WriteBatch(acceptances=self.acceptances, begun=self.begun, progress=self.progress))
        return found

    @property
    def rows(self) -> int:
        """About how many rows it changes."""
        ended = len(self.settlements) + len(self.delivered)
        return len(self.acceptances) + ended + len(self.begun) + len(self.progress)
