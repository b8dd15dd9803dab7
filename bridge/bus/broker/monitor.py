"""Reads the monitor of a ZeroMQ socket on the event loop."""

import asyncio
import struct
from collections.abc import Callable
from typing import Final

import zmq

#: The first frame: event and value, in the machine's order (zmq_socket_monitor(3)). The second one is the endpoint.
#: pyzmq's function for it would bring its sockets for asyncio, which take 300 kB.
_EVENT: Final = struct.Struct("=Hi")

OnMonitorEvent = Callable[[zmq.Event, int], None]
"""Called with an event and its value: a file descriptor, an errno or an interval in ms, depending on the event."""


class SocketMonitor:
    """Calls back for each event of one socket's monitor, from `start` until `stop`."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], events: zmq.Event, callback: OnMonitorEvent) -> None:
        """Create it.

        Args:
            context: The context of the socket that is monitored.
            events: The events to listen to.
            callback: Called on the event loop for each of them.
        """
        self._context = context
        self._events = events
        self._callback = callback
        self._starts = 0
        self._reader: zmq.Socket[bytes] | None = None

    def start(self, socket: zmq.Socket[bytes]) -> None:
        """Begin to monitor a socket. Call it before the socket binds or connects, so that no event is missed."""
        # libzmq frees the address of a closed socket's monitor only some time later.
        self._starts += 1
        address = f"inproc://monitor-{id(self)}-{self._starts}"
        socket.monitor(address, self._events)
        reader = self._context.socket(zmq.PAIR)
        # No limit: the I/O thread would block when the monitor's pipe is full.
        reader.set(zmq.RCVHWM, 0)
        reader.connect(address)
        self._reader = reader
        asyncio.get_running_loop().add_reader(reader.fileno(), self._read)
        self._read()

    def stop(self, socket: zmq.Socket[bytes] | None = None) -> None:
        """Stop monitoring; idempotent. Call it while the event loop still runs.

        Args:
            socket: The socket that is monitored, where it may connect again while it lingers. An event that nobody can
                read any more blocks libzmq's I/O thread, and with it every socket of the context.
        """
        if socket is not None:
            socket.disable_monitor()
        if self._reader is not None:
            asyncio.get_running_loop().remove_reader(self._reader.fileno())
            self._reader.close(0)
            self._reader = None

    def _read(self) -> None:
        while self._reader is not None:
            try:
                frames = self._reader.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            event, value = _EVENT.unpack(frames[0])
            if event != zmq.Event.MONITOR_STOPPED:
                self._callback(zmq.Event(event), value)
