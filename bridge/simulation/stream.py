"""What a stream and a bucket of a broker keep, in memory: messages with an age, a bound and their ids, and keys."""

from collections.abc import Callable, Iterator

import msgspec

from bridge.core.cluster import Headers, KeyEntry, StreamSpec, StreamState, subject_matches


def overlap(one: str, other: str) -> bool:
    """Return whether there is a subject that both patterns take."""
    mine, theirs = one.split("."), other.split(".")
    for index, (my, their) in enumerate(zip(mine, theirs, strict=False)):
        if (my == ">" and index < len(theirs)) or (their == ">" and index < len(mine)):
            return True
        if my != their and "*" not in {my, their}:
            return False
    return len(mine) == len(theirs)


class StoredMessage(msgspec.Struct, frozen=True):
    """A message in a stream.

    Attributes:
        sequence: Its number in the stream.
        subject: The subject that it was sent to.
        body: Its content.
        headers: Its headers.
        message_id: The sender's own id; None where it has none.
        at: When it was stored, seconds on the broker's clock.
    """

    sequence: int
    subject: str
    body: bytes
    headers: Headers
    message_id: str | None
    at: float

    @property
    def size(self) -> int:
        """Bytes that it takes, about as a server counts them."""
        return size_of(self.body, self.headers) + len(self.subject) + len(self.message_id or "")


def size_of(body: bytes, headers: Headers) -> int:
    """Return the bytes of a message, headers included."""
    return len(body) + sum(len(name) + len(value) + 4 for name, value in headers.items())


class StoredStream:
    """One stream.

    Attributes:
        spec: How it is configured. Another one takes effect at the next look.
    """

    def __init__(self, spec: StreamSpec, now: Callable[[], float]) -> None:
        """Store nothing yet; `now` is the broker's clock, in seconds."""
        self.spec = spec
        self._now = now
        self._messages: dict[int, StoredMessage] = {}
        self._ids: dict[str, tuple[int, float]] = {}
        self._last = 0
        self._bytes = 0

    def takes(self, subject: str) -> bool:
        """Return whether it stores messages to a subject."""
        return any(subject_matches(subject, pattern) for pattern in self.spec.subjects)

    def append(self, subject: str, body: bytes, headers: Headers, message_id: str | None) -> int:
        """Store a message and return its number; one with an id that is remembered is not stored a second time."""
        now = self._now()
        self._forget_ids(now)
        if message_id is not None and message_id in self._ids:
            return self._ids[message_id][0]
        self._last += 1
        message = StoredMessage(self._last, subject, body, headers, message_id, now)
        if message_id is not None:
            self._ids[message_id] = (self._last, now)
        self._messages[self._last] = message
        self._bytes += message.size
        self._remove()
        return self._last

    def _forget_ids(self, now: float) -> None:
        while self._ids:
            message_id, (_, at) = next(iter(self._ids.items()))
            if now - at < self.spec.duplicate_window:
                return
            del self._ids[message_id]

    def _remove(self) -> None:
        """Remove what is too old or too much, the oldest first."""
        now, most = self._now(), self.spec.max_bytes
        while self._messages:
            sequence, message = next(iter(self._messages.items()))
            if now - message.at < self.spec.max_age and (most is None or self._bytes <= most):
                return
            self._bytes -= message.size
            del self._messages[sequence]

    @property
    def state(self) -> StreamState:
        """What is in it now."""
        self._remove()
        first = next(iter(self._messages), self._last + 1)
        return StreamState(first=first, last=self._last, messages=len(self._messages), bytes=self._bytes)

    def get(self, sequence: int) -> StoredMessage | None:
        """Return a message; None where it is not there (any more)."""
        self._remove()
        return self._messages.get(sequence)

    def after(self, sequence: int, pattern: str) -> Iterator[StoredMessage]:
        """Yield the messages to a pattern of subjects behind a number, in order."""
        state = self.state
        for number in range(max(sequence + 1, state.first), state.last + 1):
            message = self._messages.get(number)
            if message is not None and subject_matches(message.subject, pattern):
                yield message


class StoredBucket:
    """One bucket of keys: the last value of each."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Hold nothing yet; `now` is the broker's clock, in seconds."""
        self._now = now
        self._entries: dict[str, tuple[KeyEntry, float]] = {}
        self._revision = 0

    def put(self, key: str, value: bytes | None) -> KeyEntry:
        """Write a key, or delete it with None; return the change."""
        self._revision += 1
        entry = KeyEntry(key, value, self._revision)
        self._entries[key] = (entry, self._now())
        return entry

    def get(self, key: str) -> KeyEntry | None:
        """Return the last change of a key, with its age; None where there was none."""
        found = self._entries.get(key)
        if found is None:
            return None
        entry, at = found
        return KeyEntry(entry.key, entry.value, entry.revision, self._now() - at)

    def values(self) -> list[KeyEntry]:
        """Return all keys that have a value, in the order of their changes."""
        entries = [entry for key in self._entries if (entry := self.get(key)) is not None and entry.value is not None]
        return sorted(entries, key=lambda entry: entry.revision)
