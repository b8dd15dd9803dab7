"""What happened in a simulation, in order, with virtual times in milliseconds since the beginning."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from bridge.core.model import Event


class Entry(msgspec.Struct, eq=False):
    """One thing that happened.

    Attributes:
        at_ms: When, or when it began.
    """

    at_ms: int


class Said(Entry, eq=False):
    """An event on the bus.

    Attributes:
        event: The event; its own `timestamp` is virtual Unix time.
    """

    event: Event

    def __str__(self) -> str:
        """Return it as text that is the same in each run."""
        event = self.event
        envelope = f"id={event.id} source={event.source!r} correlation_id={event.correlation_id!r}"
        return f"{self.at_ms} {event.event_type} {event.payload!r} {envelope} headers={event.headers!r}"


class Garbage(Entry, eq=False):
    """A message on the bus that is no event.

    Attributes:
        reason: Why not.
    """

    reason: str


class Attempt(Entry, eq=False):
    """One attempt of an operation at a stand-in.

    Attributes:
        remote: The integration.
        operation: `request`, `publish`, `enqueue`, `dequeue`, `ack` or `nack`.
        name: Its method, topic or queue; for `ack` and `nack` the message's id.
        content: Its params or message; None where it has none.
        headers: The headers that it was sent with.
        idempotency_key: The key that it was sent with.
        number: Its number at this remote, from 1.
        ended_ms: When the stand-in answered, or the session ended; None while it has not.
        outcome: `ok`, or the kind of the error; None where there was no answer.
        executed: Whether the stand-in has done what was asked for.
        given_up: Whether the bridge had given it up before the answer came.
        result: What the stand-in answered, where the outcome is `ok`.
    """

    remote: str
    operation: str
    name: str
    content: Any
    headers: Mapping[str, str]
    idempotency_key: str | None
    number: int
    ended_ms: int | None = None
    outcome: str | None = None
    executed: bool = False
    given_up: bool = False
    result: Any = None


class Delivered(Entry, eq=False):
    """A message that a stand-in has delivered to a subscription.

    Attributes:
        remote: The integration.
        topic: The topic that it was published to, or the queue.
        content: Its content.
        number: The message's number at this remote, from 1; the same for each delivery of it.
        attempts: How often it was delivered by now.
        ended_ms: When it was acknowledged, given up or lost; None while it has not.
        outcome: `acknowledged`, `held` (the application has to acknowledge), `not acknowledged` (the session has ended
            before), `no ack` (such a message is not acknowledged) or `given up`; None while the bridge has not decided.
    """

    remote: str
    topic: str
    content: Any
    number: int
    attempts: int
    ended_ms: int | None = None
    outcome: str | None = None


class SessionChange(Entry, eq=False):
    """A session with a stand-in began or ended.

    Attributes:
        remote: The integration.
        what: `opened`, `refused`, `lost` or `closed`.
        why: The error's text, where there is one.
    """

    remote: str
    what: Literal["opened", "refused", "lost", "closed"]
    why: str = ""


class Stored(Entry, eq=False):
    """The outbox has committed an accepted event to its disk.

    Attributes:
        seq: Its number in the outbox.
        integration: Where it is to be delivered.
        route: The route that accepted it.
        key: Its ordering key.
        idempotency_key: The key with which it is delivered.
        cause: The event's source, id and type.
        receipts: Whether a receipt was asked for.
        own_key: Whether the event itself had the key.
        correlation_id: That of the event.
        replayed: Whether it was a dead letter, which is delivered again.
    """

    seq: int
    integration: str
    route: str
    key: str | None
    idempotency_key: str
    cause: tuple[str | None, int, str]
    receipts: bool
    own_key: bool
    correlation_id: str | None = None
    replayed: bool = False


class Ended(Entry, eq=False):
    """The outbox has committed the end of an accepted event.

    Attributes:
        seq: Its number in the outbox.
        outcome: `delivered`, `expired` or `dead_lettered`.
        attempts: How many attempts the outbox has counted.
    """

    seq: int
    outcome: str
    attempts: int


class Discarded(Entry, eq=False):
    """Dead letters were removed from the outbox's disk, because a command asked for it.

    Attributes:
        count: How many.
    """

    count: int


class Configured(Entry, eq=False):
    """The files of the configuration have another content from now on, and the process is asked to read them.

    Attributes:
        integrations: The integrations in it.
        routes: The routes in it.
    """

    integrations: frozenset[str]
    routes: frozenset[str]

    def __str__(self) -> str:
        """Return it as text that is the same in each run."""
        return f"{self.at_ms} another configuration: {sorted(self.integrations)}, {sorted(self.routes)}"


class Listening(Entry, eq=False):
    """A program on the bus begins to listen, or ends.

    Attributes:
        prefix: With what the types of events begin that it reads.
        listens: Whether it does from now on.
    """

    prefix: str
    listens: bool


class Step(Entry, eq=False):
    """Something that the simulation itself did.

    Attributes:
        what: One line for a person.
        kind: `killed` or `started` where it is about the process; `note` for all else.
    """

    what: str
    kind: Literal["killed", "started", "note"] = "note"


class LogLine(Entry, eq=False):
    """A line of the bridge's log.

    Attributes:
        level: `info`, `warning`, `error`, ….
        text: What it says.
        fields: The rest of the line.
    """

    level: str
    text: str
    fields: Mapping[str, Any]


class Record(msgspec.Struct):
    """All that happened, in order.

    Attributes:
        entries: It.
    """

    entries: list[Entry] = msgspec.field(default_factory=list)

    def add(self, entry: Entry) -> None:
        """Append what has just happened, or begun."""
        self.entries.append(entry)

    def events(self, *types: str) -> list[Said]:
        """Return the events on the bus, of these types or of all."""
        found = (one for one in self.entries if isinstance(one, Said))
        return [one for one in found if not types or one.event.event_type in types]

    def attempts(self, remote: str | None = None) -> list[Attempt]:
        """Return the attempts at a remote, or at all."""
        return [one for one in self.entries if isinstance(one, Attempt) and remote in {None, one.remote}]

    def deliveries(self, remote: str | None = None) -> list[Delivered]:
        """Return the messages that a remote, or any, has delivered."""
        return [one for one in self.entries if isinstance(one, Delivered) and remote in {None, one.remote}]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)
