"""Tells when libzmq's I/O thread has done what it was asked to do.

A socket gives a message to the I/O thread of its context, which writes it to the connections of other programs some
time later: on a busy machine milliseconds. That thread takes what it is asked in order, and writes at once what there
is room for. So a message that goes by the same thread over a connection of our own comes back when all that was asked
before it has been done.
"""

import asyncio
import sys
import uuid
from collections import deque
from collections.abc import Callable
from typing import Final

import zmq

_NOBLOCK: Final = int(zmq.NOBLOCK)


class IoThread:
    """A connection from this process to itself, in a context that has one I/O thread, as contexts have by default."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Open nothing yet.

        Args:
            context: Of the sockets whose writing is of interest.
        """
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._there: zmq.Socket[bytes] | None = None
        self._back: zmq.Socket[bytes] | None = None
        self._waiting: deque[Callable[[], None]] = deque()
        self._works = False

    def open(self) -> None:
        """Connect. Where that cannot be done, `when_done` waits for nothing."""
        if sys.platform != "linux":  # a name that is no file, and so leaves none behind, is there only on Linux
            return
        endpoint = f"ipc://@nemo-bridge-{uuid.uuid4().hex}"
        self._there, self._back = self._context.socket(zmq.PAIR), self._context.socket(zmq.PAIR)
        for socket in (self._there, self._back):
            socket.set(zmq.LINGER, 0)
        try:
            self._back.bind(endpoint)
            self._there.connect(endpoint)
        except zmq.ZMQError:
            self.close()
            return
        self._loop.add_reader(self._back.fileno(), self._read)
        self._ask(self._found)

    def close(self) -> None:
        """Close; idempotent. What waits is not called any more."""
        self._works = False
        self._waiting.clear()
        back, self._back = self._back, None
        there, self._there = self._there, None
        if back is not None:
            self._loop.remove_reader(back.fileno())
            back.close()
        if there is not None:
            there.close()

    def when_done(self, then: Callable[[], None]) -> None:
        """Call `then` once the I/O thread has done what it was asked until now; at once where that cannot be told."""
        if not self._works or not self._ask(then):
            then()

    def _ask(self, then: Callable[[], None]) -> bool:
        if self._there is None:
            return False
        try:
            self._there.send(b"", _NOBLOCK)
        except zmq.Again:
            return False
        self._waiting.append(then)
        return True

    def _found(self) -> None:
        self._works = True

    def _read(self) -> None:
        """Read all: the descriptor tells only that something has changed."""
        while self._back is not None and zmq.zmq_poll([(self._back, zmq.POLLIN)], 0):
            self._back.recv(_NOBLOCK)
            if self._waiting:
                self._waiting.popleft()()
