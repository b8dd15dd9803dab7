"""Sends messages to the broker without ever blocking, and reports subscriptions."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import zmq

from bridge.bus.broker.curve import CurveClient, secure_client
from bridge.bus.broker_connection import BrokerConnection
from bridge.core.ports import Clock
from bridge.core.timer import Timer

# Messages in the pipe to the broker, at most, and messages and bytes that wait here when it is full.
_SEND_HWM: Final = 10_000
_MAX_WAITING: Final = 100_000
_MAX_WAITING_BYTES: Final = 64 << 20
# Seconds until a full pipe is tried again. An XPUB does not report when it has room.
_RETRY: Final = 0.001
_BATCH: Final = 1000
# Seconds that a rebuilt socket waits for the first subscription at most, once it is connected.
_REJOIN: Final = 0.5
# Seconds until a lost connection is made again; libzmq's own default.
_RECONNECT: Final = 0.1
# Messages that are collected, at most, before they are sent. A message that finds the broker's thread asleep has to
# wake it, which costs more than all else about sending; in a burst only the first one does.
_BURST: Final = 100
# Messages and bytes that may wait here while there is room for messages that can wait where they come from.
_ROOM: Final = 1000
_ROOM_BYTES: Final = 16 << 20
# Milliseconds: enough for a last event to leave.
_LINGER: Final = 250
_NOBLOCK: Final = int(zmq.NOBLOCK)
_FIRST: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_SUBSCRIBE: Final = 1


class Sender:
    """One XPUB socket that connects to the broker's XSUB, as a PUB would, but also receives the subscriptions.

    With `XPUB_NODROP` a full pipe is an error instead of a silent loss. There is only the pipe to the broker, so no
    slow subscriber can make us wait: its messages wait, and are dropped, in the broker.

    Attributes:
        connection: The state of the connection; None where the socket is connected by `inproc`, which cannot break.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        clock: Clock,
        endpoint: str,
        on_subscription: Callable[[bytes, bool], None],
        *,
        on_lost: Callable[[], None] = lambda: None,
        curve: CurveClient | None = None,
    ) -> None:
        """Create it; nothing is opened before `open`.

        Args:
            context: The context of the socket.
            clock: For retries and the pauses between rebuilds.
            endpoint: Where to connect.
            on_subscription: Called with a prefix and True for each subscription that any client makes, repeated ones
                too; and with False where the last client that had it has ended it, or is gone.
            on_lost: Called when the connection to the broker is lost. All that `on_subscription` told has no meaning
                then; the broker tells it again after the reconnection.
            curve: Keys, where the bus is closed.
        """
        self._context = context
        self._endpoint = endpoint
        self._on_subscription = on_subscription
        self._on_lost = on_lost
        self._closed = False
        self._curve = curve
        self._socket: zmq.Socket[bytes] | None = None
        self._polled: list[tuple[zmq.Socket[bytes], int]] = []
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._waiting_bytes = 0
        self._want_room: list[asyncio.Future[None]] = []
        self._retrying = Timer(clock)
        self._flush_scheduled = False
        self._rejoining = False
        self._loop = asyncio.get_running_loop()
        self.connection: BrokerConnection | None = None
        if not endpoint.startswith("inproc:"):
            self.connection = BrokerConnection(
                context,
                clock,
                self._rebuild,
                on_connected=self._on_connected,
                on_disconnected=self._on_disconnected,
            )

    @property
    def waiting(self) -> int:
        """How many messages wait: for the end of this turn of the event loop, or because the pipe is full."""
        return len(self._waiting)

    @property
    def is_connected(self) -> bool:
        """Whether what is sent now can reach a broker."""
        connected = self.connection is None or self.connection.is_connected
        return connected and self._socket is not None and not self._rejoining

    @property
    def has_room(self) -> bool:
        """Whether there is room for a message that can wait where it comes from."""
        return len(self._waiting) < _ROOM and self._waiting_bytes < _ROOM_BYTES and self._socket is not None

    async def room(self) -> None:
        """Wait until there is room; never returns once this is closed."""
        while not self.has_room:
            room: asyncio.Future[None] = self._loop.create_future()
            self._want_room.append(room)
            await room

    def open(self) -> None:
        """Connect to the broker."""
        socket = self._context.socket(zmq.XPUB)
        socket.set(zmq.LINGER, _LINGER)
        socket.set(zmq.SNDHWM, _SEND_HWM)
        socket.set(zmq.IPV6, int("[" in self._endpoint))
        socket.set(zmq.XPUB_VERBOSE, 1)
        socket.set(zmq.XPUB_NODROP, 1)
        secure_client(socket, self._curve)
        self._socket = socket
        self._polled = [(socket, zmq.POLLIN)]
        if self.connection is not None:
            self.connection.start(socket)
        socket.connect(self._endpoint)
        self._loop.add_reader(socket.fileno(), self._read_subscriptions)
        # `connect` may have taken the wake-up for what has come already.
        self._loop.call_soon(self._read_subscriptions)

    def close(self) -> None:
        """Close; idempotent. What was sent still leaves for a moment; what the pipe has no room for is lost."""
        self._closed = True
        if not self._rejoining:
            self._drain()
        self._cancel_timer()
        self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            if self.connection is not None:
                self.connection.stop()
            self._cancel_timer()
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def send(self, frame: bytes, body: bytes) -> bool:
        """Send a message at the end of this turn of the event loop, in order; return False where it was dropped."""
        waiting = self._waiting
        if self._closed or len(waiting) >= _MAX_WAITING or self._waiting_bytes + len(body) > _MAX_WAITING_BYTES:
            return False
        waiting.append((frame, body))
        self._waiting_bytes += len(body)
        if not self._retrying.is_set and not self._rejoining:
            if not self._flush_scheduled:
                self._flush_scheduled = True
                self._loop.call_soon(self._flush)
            elif len(waiting) >= _BURST:
                self._send_waiting()
        return True

    def send_again(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Send these before all that waits, once there is a connection; those that wait themselves are sent once."""
        waiting = {id(body) for _, body in self._waiting}
        lost = [one for one in messages if id(one[1]) not in waiting]
        self._waiting.extendleft(reversed(lost))
        self._waiting_bytes += sum(len(body) for _, body in lost)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if not self._retrying.is_set and not self._rejoining:
            self._send_waiting()

    def _send_waiting(self) -> None:
        if not self._drain():
            self._retrying.set(_RETRY, self._retry)
        if self._want_room and self.has_room:
            for room in self._want_room:
                if not room.done():
                    room.set_result(None)
            self._want_room.clear()
        # Sending may have taken the wake-up that announces a new subscription: see `receiver`.
        if self._socket is not None and zmq.zmq_poll(self._polled, 0):
            self._loop.call_soon(self._read_subscriptions)

    def _drain(self) -> bool:
        """Send what waits; return False where the pipe is full before all is sent."""
        socket, waiting = self._socket, self._waiting
        if socket is None:
            return True
        send = super(zmq.Socket, socket).send  # the method of `zmq.Socket` itself knows kinds of frames that we lack
        try:
            while waiting:
                frame, body = waiting[0]
                send(frame, _FIRST)
                # Room is counted in messages: where the first frame is accepted, the second one is, too.
                send(body, _NOBLOCK)
                waiting.popleft()
                self._waiting_bytes -= len(body)
        except zmq.Again:
            return False
        return True

    def _retry(self) -> None:
        self._rejoining = False
        self._send_waiting()

    def _cancel_timer(self) -> None:
        self._rejoining = False
        self._retrying.cancel()

    def _read_subscriptions(self) -> None:
        """Read the subscriptions that have come. To look for one costs much less than the error that there is none."""
        for _ in range(_BATCH):
            socket = self._socket
            if socket is None or not zmq.zmq_poll(self._polled, 0):
                return
            frame = socket.recv(_NOBLOCK)
            if not frame or frame[0] > _SUBSCRIBE:
                continue  # a broker passes on what a subscriber sends, whatever it is
            if self._rejoining:
                self._cancel_timer()
                self._loop.call_soon(self._retry)
            self._on_subscription(frame[1:], frame[0] == _SUBSCRIBE)
        self._loop.call_soon(self._read_subscriptions)

    def _on_disconnected(self) -> None:
        """Replace the socket, which libzmq would connect again with all subscriptions that it had before.

        Nothing would tell which of them have ended meanwhile, since the broker that knew them is gone.
        """
        self._shut()
        self._rejoining = True
        self._on_lost()
        self._retrying.set(_RECONNECT, self._rebuild)

    def _on_connected(self) -> None:
        if self._rejoining:
            self._retrying.set(_REJOIN, self._retry)

    def _rebuild(self) -> None:
        self._shut()  # messages that wait must not go into the dead socket
        self._on_lost()
        # Nor into the new one before the first subscription has come: an XPUB drops what nobody subscribes to.
        self._rejoining = True
        self.open()
