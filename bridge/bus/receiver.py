"""Reads the bus: drains a SUB socket from the event loop's own readiness callback."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import zmq

from bridge.bus.broker import OWN_HWM
from bridge.bus.curve import CurveClient, secure_client
from bridge.bus.link import Link
from bridge.bus.rejection import Reason
from bridge.bus.stuck import LARGE
from bridge.ports import Clock

# A batch ends after so many messages, or after so long (seconds); then other callbacks get their turn.
_BATCH: Final = 256
_BATCH_TIME: Final = 0.002
_CHECK_EVERY: Final = 16
_NOBLOCK: Final = int(zmq.NOBLOCK)


class Receiver:
    """One SUB socket.

    Attributes:
        link: None where it is attached by `inproc`, which cannot break.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        clock: Clock,
        endpoint: str,
        *,
        subscriptions: Sequence[str],
        max_message: int,
        on_message: Callable[[bytes, bytes], None],
        on_bad: Callable[[Reason, str], None],
        on_large: Callable[[int], None] | None = None,
        curve: CurveClient | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            context: Where the socket comes from.
            clock: For the pauses between rebuilds.
            endpoint: Where to connect.
            subscriptions: Prefixes of event types.
            max_message: Bytes of the second frame; larger ones go to `on_bad` without being copied.
            on_message: Takes the two frames of a message.
            on_bad: Takes the reason and detail for a message with another number of frames, or too large.
            on_large: Takes the bytes of each frame beyond `LARGE`.
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
        self._skipping = False
        self._loop = asyncio.get_running_loop()
        self.link = None if endpoint.startswith("inproc:") else Link(context, clock, self._rebuild)

    def open(self) -> None:
        """Connect, subscribe, and read from now on."""
        socket = self._context.socket(zmq.SUB)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVHWM, OWN_HWM)
        socket.set(zmq.IPV6, int("[" in self._endpoint))
        secure_client(socket, self._curve)
        for prefix in self._subscriptions:
            socket.subscribe(prefix)
        self._socket = socket
        self._skipping = False
        if self.link is not None:
            self.link.start(socket)
        socket.connect(self._endpoint)
        self._loop.add_reader(socket.fileno(), self._drain)
        # The descriptor tells of edges only: what came before it was watched must be asked for.
        self._loop.call_soon(self._drain)

    def subscribe(self, prefix: str) -> None:
        """Read event types that start with `prefix`, too."""
        self._subscriptions.append(prefix)
        if self._socket is not None:
            self._socket.subscribe(prefix)

    def close(self) -> None:
        """Stop reading; idempotent."""
        if self._socket is not None:
            if self.link is not None:
                self.link.stop()
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close(0)
            self._socket = None

    def _rebuild(self) -> None:
        self.close()
        self.open()

    def _drain(self) -> None:
        """Read until there is nothing more, or the batch is full.

        Frames are taken as objects and not as bytes, because only they say for free whether another one follows.
        """
        socket = self._socket
        if socket is None:
            return
        recv, limit, on_message = socket.recv, self._max_message, self._on_message
        until = time.monotonic() + _BATCH_TIME
        try:
            for count in range(1, _BATCH + 1):
                first = recv(_NOBLOCK, False)
                if self._skipping:
                    self._skipping = first.more
                elif not first.more:
                    self._on_bad(Reason.FRAMES, "a message of one frame, not of two")
                else:
                    second = recv(_NOBLOCK, False)
                    if len(second) > LARGE and self._on_large is not None:
                        self._on_large(len(second))
                    if second.more:
                        self._skipping = True
                        self._on_bad(Reason.FRAMES, "a message of more than two frames")
                    elif len(second) > limit:
                        self._on_bad(Reason.SIZE, f"{len(second)} bytes, the limit is {limit}")
                    else:
                        on_message(first.bytes, second.bytes)
                if count % _CHECK_EVERY == 0 and time.monotonic() > until:
                    break
                if self._socket is not socket:
                    return
        except zmq.Again:
            return
        self._loop.call_soon(self._drain)
