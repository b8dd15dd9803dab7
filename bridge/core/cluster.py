"""What a fabric of bridges needs of the broker that carries it. The NATS adapter implements it, and a double in memory.

It is a part of an adapter's session: it ends with it. Every method raises `BridgeError` for what the outside did, and
`ConflictError` where that is named; any other exception is a bug. There are no time limits and no retries in it: the
caller has both. Bodies are bytes, which nobody encodes or decodes on the way.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from bridge.core.errors import BridgeError

#: Headers of a message, by their names.
Headers = Mapping[str, str]
NO_HEADERS: Final[Headers] = {}


class ConflictError(Exception):
    """A key has another revision than the caller knows, or exists already: somebody else has written it."""


class StreamSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A stream, as it is wanted or as it is.

    Attributes:
        name: Its name: letters, digits, `_` and `-`.
        subjects: What it stores; wildcards are allowed.
        max_age: Seconds after which a message is removed.
        max_bytes: Bytes of all messages together, at most; None: no limit. The oldest are removed.
        replicas: On how many servers it is stored.
        duplicate_window: Seconds for which a `message_id` is remembered: a second message with it is not stored.
    """

    name: str
    subjects: tuple[str, ...]
    max_age: float
    max_bytes: int | None = None
    replicas: int = 1
    duplicate_window: float = 120.0


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a stream now.

    Attributes:
        first: The sequence number of the oldest message that is there; one more than `last` where there is none.
        last: That of the newest message that was ever stored; 0: none was.
        messages: How many are there.
        bytes: How many bytes they take.
    """

    first: int
    last: int
    messages: int
    bytes: int


class ConsumerState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a durable consumer has come.

    Attributes:
        acknowledged: All messages of the stream up to this sequence number were acknowledged, or were not for it.
        pending: How many messages are there that it was not given yet.
        made: Whether this call has made it.
    """

    acknowledged: int
    pending: int
    made: bool = False


class KeyEntry(msgspec.Struct, frozen=True):
    """The value of a key in a bucket.

    Attributes:
        key: The key.
        value: Its value; None where the key was deleted.
        revision: The number of this change; it rises with each change in the bucket.
        age: Seconds since the change, by the broker's own clock, as far as it is known; 0 for a change that just came.
    """

    key: str
    value: bytes | None
    revision: int
    age: float = 0.0


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A message that has come.

    Attributes:
        subject: The subject that it was sent to.
        body: Its content.
        headers: Its headers.
        message_id: The sender's own id of it; None where it has none.
        sequence: Its number in the stream; 0 where it comes from none.
        deliveries: How often it was delivered, this time included; 1 where it comes from no stream.
    """

    subject: str
    body: bytes
    headers: Headers = NO_HEADERS
    message_id: str | None = None
    sequence: int = 0
    deliveries: int = 1


class Asked(Protocol):
    """A request that has come, and waits for an answer."""

    @property
    def body(self) -> bytes:
        """Its content."""
        ...

    @property
    def headers(self) -> Headers:
        """Its headers."""
        ...

    def answer(self, body: bytes) -> None:
        """Answer it, once. Raises nothing: where the connection is gone, nobody gets the answer.

        A body that is larger than `ClusterSession.max_payload` is not sent, so the caller checks that first.
        """
        ...


OnMessage = Callable[[Received], None]
"""Takes a message that nobody acknowledges. It returns at once."""

Handle = Callable[[Received], Awaitable[None] | None]
"""Takes a message of a consumer. None: it is done with. An awaitable: it is done with when that ends.

A message whose awaitable is cancelled or raises `BridgeError` is not acknowledged, and comes again later. An
`asyncio.Future` costs no task.
"""

OnEnded = Callable[[BridgeError], None]
"""Called at most once, when a subscription has ended by itself while the session goes on, and why."""


Stop = Callable[[], Awaitable[None]]
"""Ends a subscription, a consumer's reading or a watch; nothing is handed over after it was called.

It waits for the broker, a second at most. It raises nothing: where the session has ended, all has ended with it.
"""


class ClusterSession(Protocol):
    """What a fabric does on one session of an integration. All of it ends with the session.

    Subjects are dotted texts of printable ASCII without spaces; `*` stands for one part and `>` for one or more at the
    end, when subscribing. Keys of a bucket have letters, digits, `_`, `-`, `=`, `/` and `.`.
    """

    @property
    def max_payload(self) -> int:
        """Bytes that headers and body of a message may have together, at most."""
        ...

    # --- streams

    async def stream(self, wanted: StreamSpec) -> StreamSpec:
        """Make a stream if there is none of that name; return it as it is, which may be other than wanted.

        Raises:
            RejectedError: The broker refuses it: no permission, more replicas than servers, subjects of another stream.
            UnavailableError: There is no JetStream, or it has no leader now.
        """
        ...

    async def change_stream(self, wanted: StreamSpec) -> None:
        """Give a stream other limits. Raises as `stream` does."""
        ...

    async def stream_state(self, name: str) -> StreamState:
        """Return what is in a stream. Raises RejectedError where there is none."""
        ...

    async def consumer(self, stream: str, name: str, subject: str) -> ConsumerState:
        """Make a durable consumer, if there is none, that begins with what is stored from now on; return its state.

        Args:
            stream: The stream.
            name: The consumer's name: letters, digits, `_` and `-`.
            subject: What it reads of the stream; wildcards are allowed. A consumer that is there gets this one.
        """
        ...

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Delete a durable consumer; nothing happens where there is none."""
        ...

    async def consume(self, stream: str, name: str, handle: Handle, on_ended: OnEnded, *, prefetch: int) -> Stop:
        """Read a durable consumer; return a function that ends that.

        `handle` is called in the order of the stream, and does not wait for what an earlier call has returned. A
        message is acknowledged when it is done with. While `prefetch` messages are not, no further ones are taken. The
        broker is told that they are in progress, so it does not deliver them again meanwhile, however long that is.
        """
        ...

    # --- subjects

    async def subscribe(self, subject: str, on_message: OnMessage, on_ended: OnEnded) -> Stop:
        """Get what is sent to a subject, at most once; return a function that ends that.

        It returns when the broker has confirmed.
        """
        ...

    async def serve(self, subject: str, group: str, on_asked: Callable[[Asked], None], on_ended: OnEnded) -> Stop:
        """Answer requests on a subject, each of which goes to one member of a group; return a function that ends that.

        That function returns when the broker sends no more requests; those that came before are still handed over, and
        to be answered.
        """
        ...

    async def ask(self, subject: str, body: bytes, headers: Headers = NO_HEADERS) -> bytes:
        """Send a request, and return the answer.

        Raises:
            UnavailableError: Nobody serves the subject; with `maybe_sent` false.
            ConnectionLostError: The connection was lost; it may have been sent.
            InvalidError: It is larger than `max_payload`.
        """
        ...

    # --- buckets of keys

    async def bucket(self, name: str, *, replicas: int) -> None:
        """Make a bucket of keys if there is none of that name. It keeps the last value of each key, without an end.

        Raises as `stream` does.
        """
        ...

    async def get(self, bucket: str, key: str) -> KeyEntry | None:
        """Return the last value of a key, as the bucket's leader has it; None where it never had one."""
        ...

    async def create(self, bucket: str, key: str, value: bytes) -> int:
        """Write a key that has no value, or was deleted; return the revision.

        Raises:
            ConflictError: It has a value.
        """
        ...

    async def update(self, bucket: str, key: str, value: bytes, revision: int) -> int:
        """Write a key whose last revision is this one; return the new one.

        Raises:
            ConflictError: It has another one.
        """
        ...

    async def delete(self, bucket: str, key: str, revision: int) -> None:
        """Delete a key whose last revision is this one. Raises ConflictError where it has another one."""
        ...

    async def watch(self, bucket: str, on_entry: Callable[[KeyEntry], None], on_ended: OnEnded) -> Stop:
        """Get the last value of each key, and then the changes, in the order of the revisions; end it by the function.

        Of changes of one key that follow each other quickly, only the last one is certain to come. It returns when all
        values were handed over that were there when it was called. Keys that were deleted before are left out.
        """
        ...


#: Message ids of which NATS loses nothing, and that are not long.
_PLAIN_ID: Final = re.compile(r"[!-~]{1,200}")


def message_id(sender: str, key: str) -> str:
    """Return the id by which a stream knows an exported event again: sender and key, or their digest if unfit."""
    whole = f"{sender}.{key}"
    if _PLAIN_ID.fullmatch(whole):
        return whole
    return "~" + hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def subject_matches(subject: str, pattern: str) -> bool:
    """Return whether a pattern of subjects (`*` for one part, `>` for one or more at the end) takes a subject."""
    parts, wanted = subject.split("."), pattern.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        if len(parts) <= len(wanted):
            return False
        parts = parts[: len(wanted)]
    return len(parts) == len(wanted) and all(want in {"*", part} for part, want in zip(parts, wanted, strict=True))


class Cluster(Protocol):
    """An adapter whose sessions can carry a fabric."""

    @property
    def cluster(self) -> ClusterSession:
        """That part of the session. Raises NotConnectedError where it is not connected."""
        ...


def cluster_of(session: Any) -> ClusterSession:
    """Return the part of a session that carries a fabric; its `AdapterSpec.carries_fabrics` is true.

    Raises:
        NotConnectedError: It is not connected.
    """
    found: ClusterSession = session.cluster
    return found
