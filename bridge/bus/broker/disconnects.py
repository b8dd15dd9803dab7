"""Reports connections that the broker disconnected.

libzmq closes a connection that announces a frame beyond MAXMSGSIZE, or breaks the protocol, without giving a reason:
its monitor shows DISCONNECTED, just as for a client that left. Only the kernel's socket shows the difference: where the
client left, there is an end of file or a reset. So the descriptor of each accepted connection is duplicated, and the
duplicate is examined when the connection has ended.
"""

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

import zmq

from bridge.bus.broker.monitor import SocketMonitor
from bridge.bus.rejection import Reason
from bridge.core.ports import Clock
from bridge.core.timer import Timer

OnDisconnect = Callable[[Reason, str], None]
"""Called with the reason and one line of detail for each connection that the broker closed or refused."""

_HANDSHAKE_FAILED: Final = (
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL | zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.HANDSHAKE_FAILED_AUTH
)
_KEYLESS: Final[dict[int, str]] = {
    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: "a client without CURVE keys",
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: "a client with another server key than this bus has",
}
_LEFT_EARLY: Final = "a client left before it had shown a key; one without CURVE keys does"
_STRANGER: Final = "something connected that does not speak ZMTP"
_OVERSIZED: Final = "a client was disconnected: a frame beyond the hard limit, or not ZMTP"
# libzmq reports DISCONNECTED a moment before it closes the socket (seconds).
_CLOSING_TIME: Final = 0.02


class Disconnects:
    """Reports the disconnects of one binding socket."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        on_disconnect: OnDisconnect,
        clock: Clock,
        *,
        closed: bool = False,
    ) -> None:
        """Create it.

        Args:
            context: The socket's context.
            on_disconnect: Called for each disconnect.
            clock: For the moment until libzmq has closed a socket.
            closed: Whether clients need keys. Whoever answers ZAP reports those that it refuses.
        """
        self._on_disconnect = on_disconnect
        self._clock = clock
        self._closed = closed
        self._accepted: dict[int, socket.socket] = {}
        self._closing: dict[socket.socket, Timer] = {}
        self._failed: zmq.Event | None = None
        # Connections that ended before they could be duplicated, and how many handshakes had succeeded by then.
        self._fleeting: dict[int, int] = {}
        self._handshakes = 0
        events = zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED | zmq.Event.HANDSHAKE_SUCCEEDED | _HANDSHAKE_FAILED
        self._monitor = SocketMonitor(context, events, self._on_event)

    def start(self, bound: zmq.Socket[bytes]) -> None:
        """Begin. Call it before the socket binds, on the event loop."""
        self._monitor.start(bound)

    def stop(self) -> None:
        """Stop, and close all duplicates; idempotent."""
        self._monitor.stop()
        while self._accepted:
            self._accepted.popitem()[1].close()
        while self._closing:
            duplicate, timer = self._closing.popitem()
            timer.cancel()
            duplicate.close()

    def accepted(self) -> Mapping[int, socket.socket]:
        """Return duplicates of the open connections that are known, by the descriptor of the original."""
        return self._accepted

    def connections(self) -> Iterable[socket.socket]:
        """Return the duplicates of the open connections that are known."""
        return self._accepted.values()

    def _on_event(self, event: zmq.Event, value: int) -> None:
        if event == zmq.Event.ACCEPTED:
            self._on_accepted(value)
        elif event == zmq.Event.DISCONNECTED:
            self._on_disconnected(value)
        elif event == zmq.Event.HANDSHAKE_SUCCEEDED:
            self._handshakes += 1
        else:
            # There is one I/O thread, so the next DISCONNECTED is of the same connection.
            self._failed = event
            if event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL:
                if self._closed and value in _KEYLESS:
                    self._on_disconnect(Reason.REFUSED, _KEYLESS[value])
                else:
                    self._on_disconnect(Reason.HANDSHAKE, _STRANGER)

    def _on_accepted(self, descriptor: int) -> None:
        old = self._accepted.pop(descriptor, None)
        if old is not None:
            old.close()
        self._fleeting.pop(descriptor, None)
        try:
            self._accepted[descriptor] = socket.socket(fileno=os.dup(descriptor))
        except OSError:
            self._fleeting[descriptor] = self._handshakes

    def _on_disconnected(self, descriptor: int) -> None:
        failed, self._failed = self._failed, None
        duplicate = self._accepted.pop(descriptor, None)
        if self._closed and failed == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
            self._on_disconnect(Reason.REFUSED, _LEFT_EARLY)
            failed = zmq.Event.HANDSHAKE_FAILED_AUTH  # it is reported now
        if duplicate is None:
            # It ended at once, and no handshake succeeded meanwhile: not its own either. Otherwise nobody can tell.
            if self._fleeting.pop(descriptor, None) == self._handshakes and failed is None:
                self._on_disconnect(Reason.HANDSHAKE, _STRANGER)
            return
        reported = failed not in (None, zmq.Event.HANDSHAKE_FAILED_NO_DETAIL)
        reason = Reason.CUT if failed is None else Reason.HANDSHAKE
        if reported or _left(duplicate, reason):
            duplicate.close()
        elif _same_socket(descriptor, duplicate):
            # Either libzmq is about to close it, or the descriptor was reused before ACCEPTED was read, and the
            # duplicate belongs to a newer connection that is still open.
            timer = self._closing[duplicate] = Timer(self._clock)
            timer.set(_CLOSING_TIME, partial(self._after_closing, descriptor, duplicate, reason))
        else:
            self._report(duplicate, reason)

    def _after_closing(self, descriptor: int, duplicate: socket.socket, reason: Reason) -> None:
        del self._closing[duplicate]
        if _same_socket(descriptor, duplicate) or _left(duplicate, reason):
            duplicate.close()
        else:
            self._report(duplicate, reason)

    def _report(self, duplicate: socket.socket, reason: Reason) -> None:
        # Only now the client sees that the connection has ended.
        duplicate.close()
        self._on_disconnect(reason, _OVERSIZED if reason is Reason.CUT else _STRANGER)


def _left(peer: socket.socket, reason: Reason) -> bool:
    """Tell whether the client closed the connection, or it broke.

    Where a handshake failed with NO_DETAIL, unread bytes show a client that left before we could answer. One that
    sent nothing until libzmq gave up does not speak ZMTP.
    """
    try:
        unread = peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return not unread or reason is Reason.HANDSHAKE


def _same_socket(descriptor: int, duplicate: socket.socket) -> bool:
    """Tell whether the descriptor still belongs to the duplicate's socket, or belongs to it again."""
    try:
        return os.path.sameopenfile(descriptor, duplicate.fileno())
    except OSError:
        return False
