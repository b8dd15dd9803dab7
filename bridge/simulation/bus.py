"""A bus in memory: a broker without sockets, and the transport by which `bridge.bus.Bus` reaches it."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from bridge.bus import Reason, TransportEvents

_ENDPOINTS: Final = ("memory://publish", "memory://subscribe")

Take = Callable[[bytes, bytes], None]
"""Takes the two frames of a message."""


class MemoryBroker:
    """Forwards messages between clients, in order, one turn of the event loop after they were sent.

    As ZeroMQ's broker does, it tells each sender of every subscription, and of the end of the last one with a prefix.

    Attributes:
        on_message: Called with the frames of each message that is sent, whoever listens.
        has_room: Whether the pipes to the broker have room for messages that can wait.
    """

    def __init__(self, on_message: Take = lambda *_: None) -> None:
        self.on_message = on_message
        self._clients: dict[MemoryTransport | MemoryListener, None] = {}  # in the order of their coming
        self._prefixes: Counter[bytes] = Counter()
        self._queue: deque[tuple[bytes, bytes]] = deque()
        self._scheduled = False
        self._room = True
        self._want_room: list[asyncio.Future[None]] = []

    def send(self, frame: bytes, body: bytes) -> None:
        """Forward a message to all who subscribe to it."""
        self.on_message(frame, body)
        self._queue.append((frame, body))
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._forward)

    def _forward(self) -> None:
        self._scheduled = False
        while self._queue:
            frame, body = self._queue.popleft()
            for client in tuple(self._clients):
                client.take(frame, body)

    @property
    def has_room(self) -> bool:
        """See the class."""
        return self._room

    @has_room.setter
    def has_room(self, room: bool) -> None:
        self._room = room
        if room:
            waiting, self._want_room = self._want_room, []
            for one in waiting:
                if not one.done():
                    one.set_result(None)

    async def room(self) -> None:
        """Wait until there is room."""
        while not self._room:
            one: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._want_room.append(one)
            await one

    def join(self, client: "MemoryTransport | MemoryListener") -> None:
        """Add a client, and tell it of all subscriptions."""
        self._clients[client] = None
        for prefix in sorted(self._prefixes):
            client.on_subscription(prefix, True)

    def leave(self, client: "MemoryTransport | MemoryListener", prefixes: Sequence[bytes]) -> None:
        """Remove a client and its subscriptions; idempotent."""
        if client in self._clients:
            del self._clients[client]
            for prefix in prefixes:
                self.unsubscribed(prefix)

    def subscribed(self, prefix: bytes) -> None:
        """Note a subscription of a client."""
        self._prefixes[prefix] += 1
        for client in tuple(self._clients):
            client.on_subscription(prefix, True)

    def unsubscribed(self, prefix: bytes) -> None:
        """Note the end of a subscription of a client."""
        self._prefixes[prefix] -= 1
        if self._prefixes[prefix] <= 0:
            del self._prefixes[prefix]
            for client in tuple(self._clients):
                client.on_subscription(prefix, False)


class MemoryListener:
    """A program on the bus that subscribes to a prefix and does no more, so that messages find a listener."""

    def __init__(self, broker: MemoryBroker, prefix: str = "") -> None:
        """Subscribe."""
        self._broker = broker
        self._prefix = prefix.encode()
        broker.join(self)
        broker.subscribed(self._prefix)

    def take(self, frame: bytes, body: bytes) -> None:
        """Take a message and forget it."""

    def on_subscription(self, prefix: bytes, subscribed: bool) -> None:
        """It publishes nothing, so it needs not know."""

    def leave(self) -> None:
        """Unsubscribe; idempotent."""
        self._broker.leave(self, [self._prefix])


class MemoryReceiver:
    """Reads what a broker in memory forwards; implements `bus.transport.MessageReceiver`."""

    def __init__(self, broker: MemoryBroker, prefixes: Sequence[str | bytes], take: Take) -> None:
        """Subscribe to nothing yet; `take` is called with the frames of each message that fits."""
        self._broker = broker
        self._take = take
        self._prefixes = list(prefixes)
        self._reads = True
        self._sort()

    def open(self) -> None:
        """Tell the broker of the subscriptions."""
        for prefix in self._prefixes:
            self._broker.subscribed(_bytes(prefix))

    @property
    def subscriptions(self) -> Sequence[str | bytes]:
        """See `MessageReceiver.subscriptions`."""
        return self._prefixes

    def subscribe(self, prefix: str) -> None:
        """See `MessageReceiver.subscribe`."""
        self._prefixes.append(prefix)
        self._sort()
        self._broker.subscribed(_bytes(prefix))

    def unsubscribe(self, prefix: str) -> None:
        """See `MessageReceiver.unsubscribe`."""
        self._prefixes.remove(prefix)
        self._sort()
        self._broker.unsubscribed(_bytes(prefix))

    def hurry(self) -> None:
        """See `MessageReceiver.hurry`. Messages come at once here."""

    def close(self) -> None:
        """See `MessageReceiver.close`."""
        self._reads = False

    def take(self, frame: bytes, body: bytes) -> None:
        """Read a message, if it is subscribed to."""
        if self._reads and frame and (frame[0] in self._first or frame.startswith(self._longer)):
            self._take(frame, body)

    def _sort(self) -> None:
        prefixes = [_bytes(one) for one in self._prefixes]
        self._first = frozenset(one[0] for one in prefixes if len(one) == 1)
        self._longer = tuple(one for one in prefixes if len(one) != 1)


class MemoryTransport:
    """One client's connection to a broker in memory; implements `bus.Transport`, and is its own sender.

    Attributes:
        receiver: See `Transport.receiver`.
        trouble: Always None.
    """

    trouble: str | None = None

    def __init__(self, broker: MemoryBroker, *, max_message: int) -> None:
        """Create it; `max_message` is the largest second frame that it reads, in bytes."""
        self._broker = broker
        self._max_message = max_message
        self._events: TransportEvents | None = None
        self.receiver: MemoryReceiver | None = None

    @property
    def sender(self) -> "MemoryTransport | None":
        """See `Transport.sender`."""
        return None if self.receiver is None else self

    @property
    def alive(self) -> bool:
        """See `Transport.alive`."""
        return self.receiver is not None

    @property
    def endpoints(self) -> tuple[str, str]:
        """See `Transport.endpoints`."""
        return _ENDPOINTS

    async def open(self, prefixes: Sequence[str | bytes], events: TransportEvents) -> None:
        """See `Transport.open`."""
        self._events = events
        self.receiver = MemoryReceiver(self._broker, prefixes, self._read)
        self._broker.join(self)
        self.receiver.open()

    async def close(self) -> None:
        """See `Transport.close`."""
        self.cut()

    def cut(self) -> None:
        """Leave the bus at once: nothing comes or goes any more, as where the process is killed."""
        if self.receiver is not None:
            self.receiver.close()
            self._broker.leave(self, [_bytes(prefix) for prefix in self.receiver.subscriptions])
            self.receiver = None

    def when_written(self, then: Callable[[], None]) -> None:
        """See `Transport.when_written`: a broker in memory needs no time."""
        then()

    async def renew_keys(self) -> int | None:
        """See `Transport.renew_keys`."""
        return None

    def send(self, frame: bytes, body: bytes) -> bool:
        """See `MessageSender.send`."""
        if self.receiver is None:
            return False
        self._broker.send(frame, body)
        return True

    @property
    def is_connected(self) -> bool:
        """See `MessageSender.is_connected`."""
        return self.receiver is not None

    @property
    def waiting(self) -> int:
        """See `MessageSender.waiting`: nothing waits, the broker has it."""
        return 0

    def send_again(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """See `MessageSender.send_again`."""
        for frame, body in messages:
            self.send(frame, body)

    @property
    def has_room(self) -> bool:
        """See `MessageSender.has_room`."""
        return self.receiver is not None and self._broker.has_room

    async def room(self) -> None:
        """See `MessageSender.room`."""
        if self.receiver is None:
            await asyncio.get_running_loop().create_future()
        await self._broker.room()

    def take(self, frame: bytes, body: bytes) -> None:
        """Pass a message from the broker on."""
        if self.receiver is not None:
            self.receiver.take(frame, body)

    def on_subscription(self, prefix: bytes, subscribed: bool) -> None:
        """Pass on what the broker tells of subscriptions."""
        if self._events is not None and self.receiver is not None:
            self._events.on_subscription(prefix, subscribed)

    def _read(self, frame: bytes, body: bytes) -> None:
        assert self._events is not None  # noqa: S101 - a receiver exists only while it is open
        if len(body) > self._max_message:
            self._events.on_bad(Reason.SIZE, f"{len(body)} bytes, the limit is {self._max_message}")
        else:
            self._events.on_message(frame, body)


def _bytes(prefix: str | bytes) -> bytes:
    return prefix if isinstance(prefix, bytes) else prefix.encode()
