"""Monitors the connection of a socket to the broker, and has the socket rebuilt when libzmq has given it up.

libzmq reconnects after a lost connection, but never after a protocol error or a mismatch of security: the socket then
receives nothing, for ever. This shows as DISCONNECTED or HANDSHAKE_FAILED_* without CONNECT_RETRIED after it.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import zmq

from bridge.bus.broker.monitor import SocketMonitor
from bridge.core.errors import BusError, NoBusError
from bridge.core.ports import Clock
from bridge.core.timer import Timer

#: Seconds in which libzmq would have tried again. Also the pause between two rebuilds.
GRACE: Final = 1.0

_LOST: Final = (
    zmq.Event.DISCONNECTED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)
_ALIVE: Final = zmq.Event.CONNECT_RETRIED | zmq.Event.CONNECT_DELAYED | zmq.Event.CONNECTED
# ZAP's status for a client that is refused.
_REFUSED: Final = 400
_EVENTS: Final = _LOST | _ALIVE | zmq.Event.HANDSHAKE_SUCCEEDED


class BrokerConnection:
    """The connection of one socket to the broker.

    Attributes:
        settled: Set when a handshake has succeeded, or was refused in a way that another try does not change.
        refused: Whether it was refused.
        trouble: Why the last handshake failed, where that is known.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        clock: Clock,
        rebuild: Callable[[], None],
        *,
        on_connected: Callable[[], None] = lambda: None,
        on_disconnected: Callable[[], None] | None = None,
    ) -> None:
        """Create it.

        Args:
            context: The socket's context.
            clock: For time limits and pauses.
            rebuild: Called when the socket has to be replaced by a new one.
            on_connected: Called after each successful handshake.
            on_disconnected: Called when a connection that had a successful handshake is lost. It may call `stop`; None
                leaves it to libzmq to connect again.
        """
        self.settled = asyncio.Event()
        self.refused = False
        self._mismatches = 0
        self.trouble: str | None = None
        self._clock = clock
        self._rebuild = rebuild
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._connected = False
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor = SocketMonitor(context, _EVENTS, self._on_event)
        self._timer = Timer(clock)

    @property
    def is_connected(self) -> bool:
        """Whether the last handshake has succeeded, and its connection was not lost."""
        return self._connected

    def start(self, socket: zmq.Socket[bytes]) -> None:
        """Begin to monitor a socket; call it before the socket connects."""
        self._socket = socket
        self._monitor.start(socket)

    async def join(self, endpoint: str, timeout: float) -> None:
        """Wait for the first handshake, `timeout` seconds at most.

        Raises:
            NoBusError: There was none. The message names the endpoint, and the reason if it is known.
            BusError: It was refused. The message names the endpoint and the reason.
        """
        try:
            async with self._clock.timeout(timeout):
                await self.settled.wait()
        except TimeoutError:
            raise NoBusError(f"bus endpoint {endpoint}: {self.trouble or 'nobody hosts a bus there'}") from None
        if self.refused:
            raise BusError(f"bus endpoint {endpoint}: {self.trouble}")

    def stop(self) -> None:
        """Stop monitoring; idempotent."""
        self._connected = False
        socket, self._socket = self._socket, None
        self._monitor.stop(socket)
        self._timer.cancel()

    def _on_event(self, event: zmq.Event, value: int) -> None:
        if event == zmq.Event.HANDSHAKE_SUCCEEDED:
            self.settled.set()
            self._connected = True
            self._on_connected()
        elif event == zmq.Event.HANDSHAKE_FAILED_AUTH and value == _REFUSED:
            self._refuse("our key is not listed there")
        elif event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL and value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            # Once is not enough: another program may have had the port before the bus.
            self._mismatches += 1
            self.trouble = "one side has CURVE keys, and the other has not"
            if self._mismatches > 1:
                self._refuse(self.trouble)
        elif event == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
            # libzmq tells a mismatch of mechanisms only where it has read the other's greeting before the end.
            self.trouble = f"the connection was closed in the handshake; {self._question()}"
        if event == zmq.Event.DISCONNECTED and self._connected and self._on_disconnected is not None:
            self._on_disconnected()
        elif event in _LOST:
            if not self._timer.is_set:
                self._timer.set(GRACE, self._rebuild)
        else:
            self._timer.cancel()

    def _question(self) -> str:
        has_keys = self._socket is not None and self._socket.get(zmq.MECHANISM) == zmq.CURVE
        return "is this the bus' server key?" if has_keys else "has the bus CURVE keys, which this side lacks?"

    def _refuse(self, trouble: str) -> None:
        self.trouble = trouble
        self.refused = not self.settled.is_set()
        self.settled.set()
