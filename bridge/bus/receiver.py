"""Receives messages from the broker: reads a SUB socket whenever the event loop reports that it is readable.

Small messages are handled one by one as they are read. What is not read yet waits in the socket's pipe, which bounds
the number of messages. Heavier ones take longer to handle than to send, and the same number of them would be gigabytes.
So when one comes, everything is first moved from the pipe into a backlog, which bounds the bytes; messages are then
handled from there, in order, until it is empty.

No wake-up is lost. libzmq makes the socket's descriptor readable when another thread queues a command for the socket
("there is something to read"), and it stays readable until a call on the socket takes the command. Of the calls made
here only `connect`, `recv` and `zmq_poll` do that; `setsockopt`, and so `subscribe`, does not, and `send`, which does,
is not called. After `connect` a read is scheduled. Every read either goes on until `recv` or `zmq_poll` finds nothing,
which they tell only after they have taken all commands, or schedules the next read.

Where messages come often, each by itself, and nobody waits for what comes of them, the descriptor is not watched: the
socket is read every five milliseconds (`core/wakeups.py`). While nobody reads, the broker's thread need not signal each
message either.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Final

import zmq

from bridge.bus.backlog import Backlog
from bridge.bus.broker.broker import OWN_HWM, SUBSCRIPTIONS_HWM
from bridge.bus.broker.curve import CurveClient, secure_client
from bridge.bus.broker.slow_subscribers import BOUND, LARGE
from bridge.bus.broker_connection import BrokerConnection
from bridge.bus.rejection import Reason
from bridge.core.ports import Clock
from bridge.core.wakeups import Wakeups

# A batch ends after so many messages of which something came, or so many seconds; then other callbacks have their turn.
_BATCH: Final = 256
_BATCH_TIME: Final = 0.002
# What is left then may have to wait for long while others have their turn, such as a source that floods the bus, with
# events that come back to us and would pile up. Then the next batch may last half as long as that, unless something
# came of more messages than this.
_BATCH_SHARE: Final = 0.5
_FEW: Final = 64
_CHECK_EVERY: Final = 16
# While there is a backlog: for how many seconds messages are handled at a time, and for how many they are moved from
# the pipe into the backlog before that. One message may take much longer to handle. So moving may last `_TAKE_SHARE`
# times as long as the last handling: it has to keep up with what comes, and still leave time for handling.
_CATCH_UP_TIME: Final = 0.005
_TAKE_TIME: Final = 0.01
_TAKE_SHARE: Final = 2
#: Bytes of a message beyond which it is heavy, and goes through the backlog.
LIGHT: Final = 1024
_NOBLOCK: Final = int(zmq.NOBLOCK)
# After so many messages it is asked whether there is more. From then on `recv` raises in the end, which costs three
# times as much as to ask once.
_ASK: Final = 2


class Receiver:
    """One SUB socket that connects to the broker.

    Attributes:
        connection: The state of the connection; None where the socket is connected by `inproc`, which cannot break.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        clock: Clock,
        endpoint: str,
        *,
        subscriptions: Sequence[str | bytes],
        max_message: int,
        on_message: Callable[[bytes, bytes], bool],
        on_bad: Callable[[Reason, str], None],
        on_large: Callable[[int], None] | None = None,
        curve: CurveClient | None = None,
    ) -> None:
        """Create it; nothing is opened before `open`.

        Args:
            context: The context of the socket.
            clock: For the pauses between rebuilds.
            endpoint: Where to connect.
            subscriptions: Prefixes of event types.
            max_message: Bytes of the second frame, at most. A larger one is reported to `on_bad` without being copied.
            on_message: Called with the two frames of each message; returns whether anything came of it.
            on_bad: Called with reason and detail of a message that is dropped: it does not have two frames, is too
                large, or there is no room for it in the backlog.
            on_large: Called with the bytes of each second frame beyond `LARGE`.
            curve: Keys, where the bus is closed.
        """
        self._context = context
        self._endpoint = endpoint
        self._subscriptions = list(subscriptions)
        self._max_message = max_message
        self._on_message = on_message
        self._on_bad = on_bad
        self._on_large = on_large
        self._curve = curve
        self._socket: zmq.Socket[bytes] | None = None
        self._polled: list[tuple[zmq.Socket[bytes], int]] = []
        self._skipping = False
        self._backlog = Backlog()
        self._light = min(LIGHT, max_message)
        self._take_time = _TAKE_TIME
        self._scheduled = False
        self._left_at = 0.0
        self._wakeups = Wakeups(ignore=self._ignore, read=self._read, watch=self._watch)
        self.hurry = self._wakeups.hurry  # asked for each command; see `transport.MessageReceiver.hurry`
        self._loop = asyncio.get_running_loop()
        self.connection = None if endpoint.startswith("inproc:") else BrokerConnection(context, clock, self._rebuild)

    def open(self) -> None:
        """Connect, subscribe, and begin to read."""
        socket = self._context.socket(zmq.SUB)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVHWM, OWN_HWM)
        socket.set(zmq.SNDHWM, SUBSCRIPTIONS_HWM)
        socket.set(zmq.IPV6, int("[" in self._endpoint))
        secure_client(socket, self._curve)
        for prefix in self._subscriptions:
            socket.subscribe(prefix)
        self._socket = socket
        self._polled = [(socket, int(zmq.POLLIN))]
        self._skipping = False
        if self.connection is not None:
            self.connection.start(socket)
        socket.connect(self._endpoint)
        self._watch()
        # `connect` may have taken the wake-up for what has come already.
        self._read_soon()

    @property
    def subscriptions(self) -> Sequence[str | bytes]:
        """Return the prefixes that are subscribed to."""
        return self._subscriptions

    def subscribe(self, prefix: str) -> None:
        """Subscribe to event types that start with `prefix`, too."""
        self._subscriptions.append(prefix)
        if self._socket is not None:
            self._socket.subscribe(prefix)

    def unsubscribe(self, prefix: str) -> None:
        """Undo one `subscribe`."""
        self._subscriptions.remove(prefix)
        if self._socket is not None:
            self._socket.unsubscribe(prefix)

    def close(self) -> None:
        """Stop reading; idempotent. Messages that were not handled are lost."""
        self._shut()
        self._backlog.clear()

    def _shut(self) -> None:
        if self._socket is not None:
            if self.connection is not None:
                self.connection.stop()
            if self._wakeups.close():
                self._ignore()
            self._socket.close(0)
            self._socket = None

    def _rebuild(self) -> None:
        self._shut()
        self.open()

    def _read_soon(self) -> None:
        """Schedule the next read for after the other callbacks, once: the descriptor may be readable in each turn."""
        if not self._scheduled:
            self._scheduled = True
            self._left_at = time.monotonic()
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        self._scheduled = False
        self._read(_BATCH_SHARE * (time.monotonic() - self._left_at))

    def _read(self, longest: float = 0.0) -> None:
        """Handle messages until none is left, the batch is full, or a heavy one comes.

        Frames are read as objects and not as bytes, because an object tells at no cost whether another frame follows.
        """
        socket = self._socket
        if socket is None:
            return
        if self._backlog.size:
            self._catch_up(socket)
            return
        recv, light, on_message = socket.recv, self._light, self._on_message
        began = time.monotonic()
        count = handled = 0
        try:
            for count in itertools.count(1):
                first = recv(_NOBLOCK, False)
                if self._skipping or not first.more:
                    self._stray(first)
                else:
                    second = recv(_NOBLOCK, False)
                    if second.more or len(second) > light:
                        self._take(first, second)
                        self._catch_up(socket)
                        return
                    if on_message(first.bytes, second.bytes):
                        handled += 1
                if self._socket is not socket:
                    return
                if count <= _ASK:
                    if not zmq.zmq_poll(self._polled, 0):
                        self._wakeups.has_read(count)
                        return
                elif handled == _BATCH:
                    break
                elif count % _CHECK_EVERY == 0:
                    lasts = time.monotonic() - began
                    if lasts > _BATCH_TIME and (handled > _FEW or lasts > longest):
                        break
        except zmq.Again:
            self._wakeups.has_read(count - 1)
            return
        self._read_soon()

    def _watch(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket.fileno(), self._read)

    def _ignore(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())

    def _catch_up(self, socket: "zmq.Socket[bytes]") -> None:
        """Move all messages into the backlog, then handle messages from it for a while."""
        self._take_all(socket)
        on_message, backlog = self._on_message, self._backlog
        started = now = time.monotonic()
        while backlog and now < started + _CATCH_UP_TIME:
            on_message(*backlog.take())
            if self._socket is not socket:
                return
            now = time.monotonic()
        self._take_time = max(_TAKE_TIME, _TAKE_SHARE * (now - started))
        self._read_soon()

    def _take_all(self, socket: "zmq.Socket[bytes]") -> None:
        recv = socket.recv
        until = time.monotonic() + self._take_time
        try:
            for count in itertools.count(1):
                first = recv(_NOBLOCK, False)
                if self._skipping or not first.more:
                    self._stray(first)
                else:
                    self._take(first, recv(_NOBLOCK, False))
                if count % _CHECK_EVERY == 0 and time.monotonic() > until:
                    return
        except zmq.Again:
            return

    def _stray(self, frame: zmq.Frame) -> None:
        """Drop a frame that begins no message of two frames: the rest of a skipped message, or a single frame."""
        if self._skipping:
            self._skipping = frame.more
        else:
            self._on_bad(Reason.FRAMES, "a message of one frame, not of two")

    def _take(self, first: zmq.Frame, second: zmq.Frame) -> None:
        """Put a message into the backlog, if it is valid and there is room."""
        size = len(second)
        if size > LARGE and self._on_large is not None:
            self._on_large(size)
        if second.more:
            self._skipping = True
            self._on_bad(Reason.FRAMES, "a message of more than two frames")
        elif size > self._max_message:
            self._on_bad(Reason.SIZE, f"{size} bytes, the limit is {self._max_message}")
        elif not self._backlog.put(first, second):
            self._on_bad(Reason.OVERFLOW, f"{size} bytes came while {BOUND >> 20} MiB or more waited for the bridge")
