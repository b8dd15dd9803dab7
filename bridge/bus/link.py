"""Watches a connecting socket, and says when it is up and when it has died for good.

libzmq reconnects after a lost connection, but never after a protocol error or a mismatch of security: the socket then
stays silent for ever. The sign of it is DISCONNECTED or HANDSHAKE_FAILED_* without CONNECT_RETRIED after it.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import zmq

from bridge.bus.watch import SocketWatch
from bridge.ports import Clock

#: Seconds in which libzmq would have tried again; also the pause between two rebuilds.
GRACE: Final = 1.0

_LOST: Final = (
    zmq.Event.DISCONNECTED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)
_ALIVE: Final = zmq.Event.CONNECT_RETRIED | zmq.Event.CONNECT_DELAYED | zmq.Event.CONNECTED
_EVENTS: Final = _LOST | _ALIVE | zmq.Event.HANDSHAKE_SUCCEEDED


class Link:
    """The health of one connecting socket.

    Attributes:
        up: Set once the first handshake has succeeded.
        trouble: Why the last handshake failed, where that is known.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], clock: Clock, rebuild: Callable[[], None]) -> None:
        self.up = asyncio.Event()
        self.trouble: str | None = None
        self._clock = clock
        self._rebuild = rebuild
        self._watch = SocketWatch(context, _EVENTS, self._saw)
        self._cancel: Callable[[], None] | None = None

    def start(self, socket: zmq.Socket[bytes]) -> None:
        """Begin; before the socket connects."""
        self._watch.start(socket)

    def stop(self) -> None:
        """End; idempotent."""
        self._watch.stop()
        self._calm()

    def _saw(self, event: zmq.Event, value: int) -> None:
        if event == zmq.Event.HANDSHAKE_SUCCEEDED:
            self.up.set()
        elif event == zmq.Event.HANDSHAKE_FAILED_AUTH:
            self.trouble = "our key is not listed there"
        elif event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL and value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            self.trouble = "one side has CURVE keys, and the other has not"
        elif event == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
            self.trouble = "the connection was closed in the handshake; is this the bus' server key?"
        if event in _LOST:
            if self._cancel is None:
                self._cancel = self._clock.call_later(GRACE, self._dead)
        else:
            self._calm()

    def _calm(self) -> None:
        if self._cancel is not None:
            self._cancel()
            self._cancel = None

    def _dead(self) -> None:
        self._cancel = None
        self._rebuild()
