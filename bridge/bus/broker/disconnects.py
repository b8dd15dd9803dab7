"""Finds out which senders the broker cut off.

libzmq drops a connection that announces a frame beyond MAXMSGSIZE, or breaks the protocol, without a word: its monitor
shows DISCONNECTED, just as for a sender that left. The difference is in the kernel's socket: one that left has said so
(end of file, or a reset). So each accepted descriptor is duplicated, and the duplicate looked at in the end.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import zmq

from bridge.bus.broker.monitor import SocketWatch
from bridge.bus.rejection import Reason

OnCut = Callable[[Reason, str], None]
"""Takes the reason and one line of detail, for each connection that was cut or turned away."""

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
# libzmq says DISCONNECTED a moment before it closes (seconds).
_SETTLE: Final = 0.02


class CutWatch:
    """Watches one binding socket."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], on_cut: OnCut, *, closed: bool = False) -> None:
        """Nothing is watched yet.

        Args:
            context: The socket's.
            on_cut: Told of each.
            closed: Whether keys are needed there; whom ZAP turns away is told by whoever answers ZAP.
        """
        self._on_cut = on_cut
        self._closed = closed
        self._accepted: dict[int, socket.socket] = {}
        self._unsettled: dict[socket.socket, asyncio.TimerHandle] = {}
        self._failed: zmq.Event | None = None
        # Connections that were gone before they could be duplicated, and how many handshakes had succeeded then.
        self._fleeting: dict[int, int] = {}
        self._handshakes = 0
        events = zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED | zmq.Event.HANDSHAKE_SUCCEEDED | _HANDSHAKE_FAILED
        self._watch = SocketWatch(context, events, self._saw)

    def start(self, bound: zmq.Socket[bytes]) -> None:
        """Begin; before the socket binds. Needs a running loop."""
        self._watch.start(bound)

    def stop(self) -> None:
        """End, and let go of every duplicate; idempotent."""
        self._watch.stop()
        while self._accepted:
            self._accepted.popitem()[1].close()
        while self._unsettled:
            duplicate, timer = self._unsettled.popitem()
            timer.cancel()
            duplicate.close()

    def accepted(self) -> Mapping[int, socket.socket]:
        """Duplicates of the connections that live, as far as they are known, by the descriptor of the original."""
        return self._accepted

    def connections(self) -> Iterable[socket.socket]:
        """The duplicates alone."""
        return self._accepted.values()

    def _saw(self, event: zmq.Event, value: int) -> None:
        if event == zmq.Event.ACCEPTED:
            self._accept(value)
        elif event == zmq.Event.DISCONNECTED:
            self._disconnect(value)
        elif event == zmq.Event.HANDSHAKE_SUCCEEDED:
            self._handshakes += 1
        else:
            # One I/O thread: the next DISCONNECTED is of the same connection.
            self._failed = event
            if event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL:
                if self._closed and value in _KEYLESS:
                    self._on_cut(Reason.REFUSED, _KEYLESS[value])
                else:
                    self._on_cut(Reason.HANDSHAKE, _STRANGER)

    def _accept(self, descriptor: int) -> None:
        old = self._accepted.pop(descriptor, None)
        if old is not None:
            old.close()
        self._fleeting.pop(descriptor, None)
        try:
            self._accepted[descriptor] = socket.socket(fileno=os.dup(descriptor))
        except OSError:
            self._fleeting[descriptor] = self._handshakes

    def _disconnect(self, descriptor: int) -> None:
        failed, self._failed = self._failed, None
        duplicate = self._accepted.pop(descriptor, None)
        if self._closed and failed == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
            self._on_cut(Reason.REFUSED, _LEFT_EARLY)
            failed = zmq.Event.HANDSHAKE_FAILED_AUTH  # it is told
        if duplicate is None:
            # Gone at once, without a word of a handshake; others' handshakes would leave it in doubt.
            if self._fleeting.pop(descriptor, None) == self._handshakes and failed is None:
                self._on_cut(Reason.HANDSHAKE, _STRANGER)
            return
        reported = failed not in (None, zmq.Event.HANDSHAKE_FAILED_NO_DETAIL)
        reason = Reason.CUT if failed is None else Reason.HANDSHAKE
        if reported or _left(duplicate, reason):
            duplicate.close()
        elif _same_socket(descriptor, duplicate):
            # Either libzmq is about to close it, or the number was reused before ACCEPTED was read, and the duplicate
            # is of a newer, living connection.
            loop = asyncio.get_running_loop()
            self._unsettled[duplicate] = loop.call_later(_SETTLE, self._settle, descriptor, duplicate, reason)
        else:
            self._cut(duplicate, reason)

    def _settle(self, descriptor: int, duplicate: socket.socket, reason: Reason) -> None:
        del self._unsettled[duplicate]
        if _same_socket(descriptor, duplicate) or _left(duplicate, reason):
            duplicate.close()
        else:
            self._cut(duplicate, reason)

    def _cut(self, duplicate: socket.socket, reason: Reason) -> None:
        # Only now the other side sees the end.
        duplicate.close()
        self._on_cut(reason, _OVERSIZED if reason is Reason.CUT else _STRANGER)


def _left(peer: socket.socket, reason: Reason) -> bool:
    """True where the other side closed the connection, or it broke.

    In a handshake that failed with NO_DETAIL, bytes that nobody read are those of a client in a hurry, which was gone
    before we could answer; one that never says anything, until libzmq loses patience, is a stranger.
    """
    try:
        unread = peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return not unread or reason is Reason.HANDSHAKE


def _same_socket(descriptor: int, duplicate: socket.socket) -> bool:
    """True where the descriptor still (or, reused, again) names the duplicate's socket."""
    try:
        return os.path.sameopenfile(descriptor, duplicate.fileno())
    except OSError:
        return False
