"""An entry of the outbox: an accepted event with the operation that a route made of it, and its encoding on disk."""

import hashlib
from typing import Any, Final, Generic, TypeVar

import msgspec

from bridge.core.model import INTERNAL_OPERATIONS, OPERATIONS, Cause, Command, Event, FailedAttempt, Operation

#: Attempts whose details an entry keeps: the first ones, which show how it began, and the last.
_FIRST: Final = 10
_LAST: Final = 90

Scope = tuple[str | None, str, str | None]
"""An idempotency key and where it is unique: source, key, route."""

_Command = TypeVar("_Command", Command, msgspec.Raw)
_Event = TypeVar("_Event", Event, msgspec.Raw)


class Body(msgspec.Struct, Generic[_Command, _Event], frozen=True, array_like=True):
    """The part of an entry that never changes, as it is on disk. All of it is encoded at once.

    Attributes:
        integration: The integration's label.
        name: The operation's name.
        route: The route that made it.
        command: The operation's arguments; still encoded where it was read from disk.
        event: The event, which is encoded as the bus carries it; still encoded where it was read from disk.
        key: The ordering key; None where it has none.
        idempotency_key: The caller's, or one that was made when the event was accepted.
        repeatable: Whether the call may be repeated although the remote does not know the key.
        deadline_ms: By when the caller wants it done, Unix time in milliseconds; None for no limit.
        emit: The type of the event that carries the result; None for none.
        receipts: Whether a receipt is emitted.
        accepted_ms: When it was accepted, Unix time in milliseconds.
        scope: The digest of the caller's key within its scope; None where the caller gave no key.
        replayed: Whether it was a dead letter that a person has replayed.
    """

    integration: str
    name: str
    route: str
    command: _Command
    event: _Event
    key: str | None
    idempotency_key: str
    repeatable: bool
    deadline_ms: int | None
    emit: str | None
    receipts: bool
    accepted_ms: int
    scope: bytes | None
    replayed: bool = False


StoredBody = Body[msgspec.Raw, msgspec.Raw]
"""A body that was read from disk."""


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """The attempts of an entry so far.

    Attributes:
        attempts: How many attempts were made.
        rounds: How often the guard has run the operation and failed.
        history: The failed attempts, oldest first; where there are many, the first and the last.
    """

    attempts: int = 0
    rounds: int = 0
    history: tuple[FailedAttempt, ...] = ()

    def after(self, attempts: int, history: tuple[FailedAttempt, ...]) -> "Progress":
        """Return the progress after another round of attempts."""
        whole = self.history + history
        if len(whole) > _FIRST + _LAST:
            whole = whole[:_FIRST] + whole[-_LAST:]
        return Progress(self.attempts + attempts, self.rounds + 1, whole)


class Entry(msgspec.Struct, eq=False, gc=False):
    """An accepted event that has not ended.

    Attributes:
        body: The part of it that never changes.
        lane: The queue that it waits in; see `lane_of`.
        size: Bytes that it counts for in the outbox' size.
        event: The event.
        operation: The operation, without a deadline.
        seq: Its sequence number: the order of arrival; 0 until it is on disk.
        progress: The attempts so far.
        to_mark: Whether the call must not be repeated, and is therefore marked as begun before it is made.
        begun: Whether that mark is on disk.
    """

    body: Body[Any, Any]
    lane: str
    size: int
    event: Event
    operation: Operation
    seq: int = 0
    progress: Progress = Progress()
    to_mark: bool = False
    begun: bool = False


def lane_of(integration: str, operation: str, route: str) -> str:
    """Return the queue that an entry waits in: the integration's, or one for each fabric that the integration carries.

    A fabric that is not joined holds its events back. That must not delay what others send to the integration.
    """
    return f"{integration}/{route}" if operation in INTERNAL_OPERATIONS else integration


def digest(scope: Scope) -> bytes:
    """Return a digest of a scope, 16 bytes."""
    return hashlib.blake2b(msgspec.msgpack.encode(scope), digest_size=16).digest()


_COMMANDS: Final = {
    name: msgspec.msgpack.Decoder(struct) for name, struct in {**OPERATIONS, **INTERNAL_OPERATIONS}.items()
}
decode_body: Final = msgspec.msgpack.Decoder(StoredBody).decode
_PROGRESS: Final = msgspec.msgpack.Decoder(Progress)
_EVENT: Final = msgspec.msgpack.Decoder(Event)
encode: Final = msgspec.msgpack.Encoder().encode


def decode_entry(seq: int, body: bytes, size: int, progress: bytes | None, begun: int) -> Entry:
    """Return the entry of a row on disk."""
    lasting = decode_body(body)
    event = _EVENT.decode(lasting.event)
    command: Any = _COMMANDS[lasting.name].decode(lasting.command)
    operation = Operation(
        integration=lasting.integration,
        name=lasting.name,
        command=command,
        cause=Cause(event.source, event.id, event.event_type),
        correlation_id=event.correlation_id,
        idempotency_key=lasting.idempotency_key,
        headers=event.headers,
        route=lasting.route,
        key=lasting.key,
        hop=event.hop,
        repeatable=lasting.repeatable,
        durable=True,
    )
    done = Progress() if progress is None else _PROGRESS.decode(progress)
    lane = lane_of(lasting.integration, lasting.name, lasting.route)
    return Entry(lasting, lane, size, event, operation, seq, done, begun=bool(begun))
