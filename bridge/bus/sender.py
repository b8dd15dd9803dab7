"""Writes to the bus, without ever blocking, and sees who subscribes."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import zmq

from bridge.bus.link import Link
from bridge.ports import Clock

# Messages in the pipe to the broker, and those that wait here when it is full.
_SEND_HWM: Final = 10_000
_MAX_WAITING: Final = 100_000
_MAX_WAITING_BYTES: Final = 64 << 20
# Seconds until a full pipe is tried again; an XPUB does not tell when it has room.
_RETRY: Final = 0.001
_BATCH: Final = 1000
# Long enough for a last event to leave (ms).
_LINGER: Final = 250
_NOBLOCK: Final = int(zmq.NOBLOCK)
_FIRST: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_SUBSCRIBE: Final = 1


class Sender:
    """One XPUB socket that connects to the broker's XSUB, as a PUB would, but sees the subscriptions.

    With `XPUB_NODROP` a full pipe is an error instead of a silent loss. It is our only pipe, so no subscriber can
    hold us up: what waits for a slow one waits, and is dropped, in the broker.

    Attributes:
        link: None where it is attached by `inproc`, which cannot break.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        clock: Clock,
        endpoint: str,
        on_subscription: Callable[[str], None],
    ) -> None:
        """Nothing is opened yet.

        Args:
            context: Where the socket comes from.
            clock: For retries and the pauses between rebuilds.
            endpoint: Where to connect.
            on_subscription: Takes the prefix of each subscription that somebody makes, repeated ones too.
        """
        self._context = context
        self._clock = clock
        self._endpoint = endpoint
        self._on_subscription = on_subscription
        self._socket: zmq.Socket[bytes] | None = None
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._waiting_bytes = 0
        self._cancel_retry: Callable[[], None] | None = None
        self._look_scheduled = False
        self._loop = asyncio.get_running_loop()
        self.link = None if endpoint.startswith("inproc:") else Link(context, clock, self._rebuild)

    @property
    def waiting(self) -> int:
        """Messages that wait because the pipe to the broker is full."""
        return len(self._waiting)

    def open(self) -> None:
        """Connect."""
        socket = self._context.socket(zmq.XPUB)
        socket.set(zmq.LINGER, _LINGER)
        socket.set(zmq.SNDHWM, _SEND_HWM)
        socket.set(zmq.IPV6, int("[" in self._endpoint))
        socket.set(zmq.XPUB_VERBOSE, 1)
        socket.set(zmq.XPUB_NODROP, 1)
        self._socket = socket
        if self.link is not None:
            self.link.start(socket)
        socket.connect(self._endpoint)
        self._loop.add_reader(socket.fileno(), self._look)
        self._look_soon()

    def close(self) -> None:
        """Stop; what is in the pipe still leaves within a moment, what waits before it is lost. Idempotent."""
        if self._socket is not None:
            if self.link is not None:
                self.link.stop()
            self._calm()
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def send(self, frame: bytes, body: bytes) -> bool:
        """Send, or keep for later, in order. False where the message had to be dropped."""
        if self._socket is None:
            return False
        # A send may take the descriptor's edge away that tells of a new subscription.
        if not self._look_scheduled:
            self._look_soon()
        if not self._waiting and self._try(frame, body):
            return True
        if len(self._waiting) >= _MAX_WAITING or self._waiting_bytes + len(body) > _MAX_WAITING_BYTES:
            return False
        self._waiting.append((frame, body))
        self._waiting_bytes += len(body)
        self._retry_later()
        return True

    def _try(self, frame: bytes, body: bytes) -> bool:
        socket = self._socket
        if socket is None:
            return False
        try:
            socket.send(frame, _FIRST)
        except zmq.Again:
            return False
        # Room is counted in messages: whoever took the first frame takes the second.
        socket.send(body, _NOBLOCK)
        return True

    def _retry_later(self) -> None:
        if self._cancel_retry is None:
            self._cancel_retry = self._clock.call_later(_RETRY, self._retry)

    def _retry(self) -> None:
        self._cancel_retry = None
        while self._waiting:
            frame, body = self._waiting[0]
            if not self._try(frame, body):
                self._retry_later()
                return
            self._waiting.popleft()
            self._waiting_bytes -= len(body)
        self._look_soon()

    def _calm(self) -> None:
        if self._cancel_retry is not None:
            self._cancel_retry()
            self._cancel_retry = None

    def _look_soon(self) -> None:
        self._look_scheduled = True
        self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Take in the subscriptions that have come."""
        self._look_scheduled = False
        socket = self._socket
        if socket is None:
            return
        try:
            for _ in range(_BATCH):
                frame = socket.recv(_NOBLOCK)
                if frame and frame[0] == _SUBSCRIBE:
                    self._on_subscription(frame[1:].decode("utf-8", "replace"))
        except zmq.Again:
            return
        self._look_soon()

    def _rebuild(self) -> None:
        self.close()
        self.open()
        if self._waiting:
            self._retry_later()
