"""How a client of the bus reaches the others: what it needs, and how ZeroMQ does it."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

import msgspec
import zmq

from bridge.bus.address import check_reachable, default_publish, default_subscribe, parse_pair
from bridge.bus.broker.broker import AccessControl, Broker
from bridge.bus.broker.curve import CurveClient, CurveServer, load_access_list
from bridge.bus.broker.forwarder import Refusals
from bridge.bus.broker.io_thread import IoThread
from bridge.bus.receiver import Receiver
from bridge.bus.rejection import Reason
from bridge.bus.sender import Sender
from bridge.core.ports import Clock

# Seconds that subscriptions may take to come back, where nobody may pass them on.
_SETTLE: Final = 1.0


class MessageSender(Protocol):
    """Sends messages to the broker, in order, without ever blocking."""

    def send(self, frame: bytes, body: bytes) -> bool:
        """Send a message at the end of this turn of the event loop; return False where it was dropped."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether there is room for a message that can wait where it comes from."""
        ...

    async def room(self) -> None:
        """Wait until there is room; never returns once it is closed."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether what is sent now can reach a broker."""
        ...

    @property
    def waiting(self) -> int:
        """How many messages wait: for the end of this turn of the event loop, or because the pipe is full."""
        ...

    def send_again(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Send these before all that waits; those that wait themselves are sent once."""
        ...


class MessageReceiver(Protocol):
    """Reads what the broker sends for the prefixes that are subscribed to."""

    @property
    def subscriptions(self) -> Sequence[str | bytes]:
        """Return the prefixes that are subscribed to."""
        ...

    def subscribe(self, prefix: str) -> None:
        """Subscribe to event types that start with `prefix`, too."""
        ...

    def unsubscribe(self, prefix: str) -> None:
        """Undo one `subscribe`."""
        ...

    def hurry(self) -> None:
        """Read the next messages as soon as they come: somebody waits for what comes of the one that is handled."""
        ...

    def close(self) -> None:
        """Stop reading; idempotent. Messages that were not handled are lost."""
        ...


class BadMessage(Protocol):
    """Takes the reason why a message was dropped or a connection was closed; see `Bus.reject`."""

    def __call__(
        self,
        reason: Reason,
        detail: str | None = None,
        *,
        key: str | None = None,
        event_type: str | None = None,
        count: int = 1,
    ) -> None:
        """Count and report it."""
        ...


class TransportEvents(msgspec.Struct, frozen=True):
    """What a transport tells its client, on the event loop.

    Attributes:
        on_message: Called with the two frames of each message; returns whether anything came of it.
        on_bad: Called with what was dropped, and with connections that were closed.
        on_subscription: Called with a prefix and True for each subscription that any client makes, repeated ones too;
            and with False where the last client that had it has ended it.
        on_lost: Called when the connection to the broker is lost: what `on_subscription` told has no meaning any more.
        on_refused: Called with how many connections were refused, by reason and key.
        on_crash: Called with a bug of the broker.
    """

    on_message: Callable[[bytes, bytes], bool]
    on_bad: BadMessage
    on_subscription: Callable[[bytes, bool], None]
    on_lost: Callable[[], None]
    on_refused: Callable[[Refusals], None]
    on_crash: Callable[[BaseException], None]


class Transport(Protocol):
    """One client's connection to the broker of a bus, which it may host itself. Opened and closed once."""

    @property
    def sender(self) -> MessageSender | None:
        """What sends; None while it is not open."""
        ...

    @property
    def receiver(self) -> MessageReceiver | None:
        """What reads; None while it is not open."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the broker forwards, as far as this client hosts it."""
        ...

    @property
    def endpoints(self) -> tuple[str, str]:
        """The endpoints for publishers and for subscribers; once it is open the real ones."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why a bus that was joined did not answer, where that is known; set when it is closed."""
        ...

    async def open(self, prefixes: Sequence[str | bytes], events: TransportEvents) -> None:
        """Host or join the bus and subscribe; when it returns, messages arrive in both directions.

        Raises:
            BusError: The bus cannot be hosted, or nobody hosts one there.
        """
        ...

    async def close(self) -> None:
        """Close; idempotent, also where `open` has failed. What was sent still leaves for a moment."""
        ...

    def when_written(self, then: Callable[[], None]) -> None:
        """Call `then` once what the broker has forwarded until now is out of this process; at once if it is already.

        It is so except for what the connection of a subscriber has no room for.
        """
        ...

    async def renew_keys(self) -> int | None:
        """Read the list of keys that may use the bus again. Return how many there are, None on an open bus.

        Raises:
            BusError: The list is not valid; the old one stays in force.
        """
        ...


class ZmqTransport:
    """Hosts a broker of ZeroMQ, or joins one; implements `Transport`.

    Attributes:
        trouble: See `Transport.trouble`.
    """

    def __init__(
        self,
        *,
        mode: Literal["host", "connect"],
        publish: str | None,
        subscribe: str | None,
        max_message: int,
        clock: Clock,
        join_timeout: float,
        own_type: str,
        curve: CurveServer | CurveClient | None = None,
    ) -> None:
        """Create it; nothing is opened before `open`.

        Args:
            mode: `host` runs the broker, `connect` joins one, or an application that binds a PUB and a SUB itself.
            publish: The endpoint for publishers; None for the user's default.
            subscribe: The endpoint for subscribers; None for the user's default.
            max_message: Bytes of an event, at most.
            clock: For time limits and pauses.
            join_timeout: Seconds in which the bus must answer at the start.
            own_type: The beginning of types that our key may subscribe to on a closed bus.
            curve: Keys: a `CurveServer` to host a closed bus, a `CurveClient` to join one; None for an open bus.

        Raises:
            BusError: An endpoint is not valid.
        """
        self._publish = publish or default_publish()
        self._subscribe = subscribe or default_subscribe()
        pair = parse_pair(self._publish, self._subscribe, closed=curve is not None)
        if mode == "connect":
            check_reachable(*pair)
        self._mode = mode
        self._max_message = max_message
        self._clock = clock
        self._join_timeout = join_timeout
        self._own_type = own_type
        self._curve = curve
        self._marker: bytes | None = None
        self._marker_came_back = asyncio.Event()
        self._broker: Broker | None = None
        self._io_thread: IoThread | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self.sender: Sender | None = None
        self.receiver: Receiver | None = None
        self.trouble: str | None = None

    @property
    def endpoints(self) -> tuple[str, str]:
        """See `Transport.endpoints`."""
        return self._publish, self._subscribe

    @property
    def alive(self) -> bool:
        """See `Transport.alive`."""
        return self._broker is None or self._broker.alive

    async def open(self, prefixes: Sequence[str | bytes], events: TransportEvents) -> None:
        """See `Transport.open`."""
        slow_subscribers = None
        if self._mode == "host":
            broker = await self._host(events)
            slow_subscribers, context = broker.slow_subscribers, broker.context
            publish, subscribe = broker.inproc_publish, broker.inproc_subscribe
            self._io_thread = IoThread(context)
            self._io_thread.open()
        else:
            context = zmq.Context()
            publish, subscribe = self._publish, self._subscribe
        self._context = context
        client = self._curve if isinstance(self._curve, CurveClient) else None
        self.receiver = Receiver(
            context,
            self._clock,
            subscribe,
            subscriptions=prefixes,
            max_message=self._max_message,
            on_message=events.on_message,
            on_bad=events.on_bad,
            on_large=None if slow_subscribers is None else slow_subscribers.passed,
            curve=client,
        )
        self.receiver.open()

        def on_subscription(prefix: bytes, subscribed: bool) -> None:
            if prefix != self._marker:
                events.on_subscription(prefix, subscribed)
            elif subscribed:
                self._marker_came_back.set()

        self.sender = Sender(context, self._clock, publish, on_subscription, on_lost=events.on_lost, curve=client)
        self.sender.open()
        await self._join(self.receiver, self.sender)

    async def _host(self, events: TransportEvents) -> Broker:
        access = None
        if isinstance(self._curve, CurveServer):
            access_list = await asyncio.to_thread(load_access_list, self._curve)
            access = AccessControl(self._curve, access_list, on_refused=events.on_refused, on_crash=events.on_crash)
        broker = Broker(
            self._publish,
            self._subscribe,
            self._max_message,
            self._clock,
            on_disconnect=events.on_bad,
            access=access,
        )
        await broker.start()
        self._broker = broker
        self._publish, self._subscribe = broker.publish_endpoint, broker.subscribe_endpoint
        return broker

    async def _join(self, receiver: Receiver, sender: Sender) -> None:
        for connection, endpoint in ((receiver.connection, self._subscribe), (sender.connection, self._publish)):
            if connection is not None:
                await connection.join(endpoint, self._join_timeout)
        # An application that binds a SUB and a PUB itself passes no subscriptions on, so nothing comes back from it.
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(self._join_timeout if self._mode == "host" else _SETTLE):
                await self._subscriptions_exchanged(receiver)

    async def _subscriptions_exchanged(self, receiver: Receiver) -> None:
        """Wait until the broker has our subscriptions, and our sender has those of all others.

        A successful handshake does not mean either: subscriptions are sent after it, on each of the two connections
        separately. Events that others publish before the broker has our subscriptions are lost to us, and no gap shows,
        because they are the first ones. So we subscribe to a marker that no other client uses, and wait until the
        broker passes it on to our sender. Subscriptions keep their order on a connection: when the marker is back, the
        broker has all subscriptions that were made before it. But a broker sends a new publisher the list of all
        subscriptions first, in an order of its own, and the marker may be in it. So a second marker follows, which
        comes after that list.
        """
        for _ in range(2):
            marker = f"{self._own_type}.{uuid.uuid4().hex}"
            self._marker = marker.encode()
            self._marker_came_back.clear()
            receiver.subscribe(marker)
            try:
                await self._marker_came_back.wait()
            finally:
                receiver.unsubscribe(marker)

    def when_written(self, then: Callable[[], None]) -> None:
        """See `Transport.when_written`."""
        if self._io_thread is None:  # the broker is in another process
            then()
        else:
            self._io_thread.when_done(then)

    async def close(self) -> None:
        """See `Transport.close`."""
        ends = (self.receiver, self.sender)
        connections = [end.connection for end in ends if end is not None and end.connection is not None]
        self.trouble = next((one.trouble for one in connections if one.trouble), self.trouble)
        if self.receiver is not None:
            self.receiver.close()
            self.receiver = None
        if self.sender is not None:
            self.sender.close()
            self.sender = None
        if self._io_thread is not None:
            self._io_thread.close()
        context, self._context = self._context, None
        broker, self._broker = self._broker, None
        if broker is not None:
            await broker.stop()
        elif context is not None:
            await asyncio.to_thread(context.term)

    async def renew_keys(self) -> int | None:
        """See `Transport.renew_keys`."""
        if self._broker is None or not isinstance(self._curve, CurveServer):
            return None
        access_list = await asyncio.to_thread(load_access_list, self._curve)
        if self._broker is not None:  # still there
            self._broker.renew(access_list)
        return len(access_list) - 1
