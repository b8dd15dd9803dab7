"""Finds out which senders the broker cut off.

libzmq drops a connection that announces a frame beyond MAXMSGSIZE, or breaks the protocol, without a word: its monitor
shows DISCONNECTED, just as for a sender that left. The difference is in the kernel's socket: one that left has said so
(end of file, or a reset). So each accepted descriptor is duplicated, and the duplicate looked at in the end.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Final

import zmq

from bridge.bus.rejection import Reason
from bridge.bus.watch import SocketWatch

OnCut = Callable[[Reason, str], None]
"""Takes the reason and one line of detail, for each connection that was cut or turned away."""

_HANDSHAKE_FAILED: Final = (
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL | zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.HANDSHAKE_FAILED_AUTH
)
# libzmq says DISCONNECTED a moment before it closes (seconds).
_SETTLE: Final = 0.02


class CutWatch:
    """Watches the binding socket that senders connect to."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], on_cut: OnCut) -> None:
        self._on_cut = on_cut
        self._accepted: dict[int, socket.socket] = {}
        self._unsettled: dict[socket.socket, asyncio.TimerHandle] = {}
        self._handshake_failed = False
        events = zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED | _HANDSHAKE_FAILED
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

    def _saw(self, event: zmq.Event, value: int) -> None:
        if event == zmq.Event.ACCEPTED:
            self._accept(value)
        elif event == zmq.Event.DISCONNECTED:
            self._disconnect(value)
        else:
            # One I/O thread: the connection's own DISCONNECTED is the next one.
            self._handshake_failed = True
            reason = Reason.REFUSED if event == zmq.Event.HANDSHAKE_FAILED_AUTH else Reason.HANDSHAKE
            self._on_cut(reason, "something connected that does not speak ZMTP, or left in its handshake")

    def _accept(self, descriptor: int) -> None:
        old = self._accepted.pop(descriptor, None)
        if old is not None:
            old.close()
        # Where it is gone already, it cannot be told apart any more.
        with contextlib.suppress(OSError):
            self._accepted[descriptor] = socket.socket(fileno=os.dup(descriptor))

    def _disconnect(self, descriptor: int) -> None:
        handshake_failed, self._handshake_failed = self._handshake_failed, False
        duplicate = self._accepted.pop(descriptor, None)
        if duplicate is None:
            return
        if handshake_failed or _left(duplicate):
            duplicate.close()
        elif _same_socket(descriptor, duplicate):
            # Either libzmq is about to close it, or the number was reused before ACCEPTED was read, and the duplicate
            # is of a newer, living connection.
            loop = asyncio.get_running_loop()
            self._unsettled[duplicate] = loop.call_later(_SETTLE, self._settle, descriptor, duplicate)
        else:
            self._cut(duplicate)

    def _settle(self, descriptor: int, duplicate: socket.socket) -> None:
        del self._unsettled[duplicate]
        if _same_socket(descriptor, duplicate):
            duplicate.close()
        else:
            self._cut(duplicate)

    def _cut(self, duplicate: socket.socket) -> None:
        # Only now the other side sees the end.
        duplicate.close()
        self._on_cut(Reason.CUT, "a sender was disconnected: a frame beyond the hard limit, or not ZMTP")


def _left(peer: socket.socket) -> bool:
    """True where the other side closed the connection, or it broke."""
    try:
        return peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _same_socket(descriptor: int, duplicate: socket.socket) -> bool:
    """True where the descriptor still (or, reused, again) names the duplicate's socket."""
    try:
        return os.path.sameopenfile(descriptor, duplicate.fileno())
    except OSError:
        return False
