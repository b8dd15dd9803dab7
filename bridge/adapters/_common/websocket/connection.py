"""One live WebSocket connection: send, receive, ping and close, with the bridge's errors."""

import asyncio
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidMessage
from websockets.protocol import State

from bridge.adapters._common.deliveries import Deliveries
from bridge.adapters._common.websocket.errors import translate
from bridge.core.errors import BridgeError, ConnectionLostError
from bridge.core.ports import Clock
from bridge.core.timer import Timer

#: Seconds that a server has to answer the closing handshake, and to close the connection after its own close.
CLOSE_TIMEOUT: Final = 0.5
#: Bytes that may wait to be sent besides the last message: the answers to pings of a server that does not read them.
_MOST_UNSENT: Final = 1024 * 1024


class Socket(ClientConnection):
    """The library's connection, with what it lacks: limits, the cause of a loss, and when something came last.

    Attributes:
        opened: Whether there was a connection, and over it TLS where that was asked for.
        tls13: Whether that is TLS 1.3, where the server checks the client's certificate after the handshake.
        last_heard: When bytes last came, on the clock's `monotonic`; None before that.
        given_up: Why this side has cut the connection, or None.
        message_size: The bytes of the message that was sent last.
    """

    def __init__(self, *arguments: Any, clock: Clock, **more: Any) -> None:
        """Take what the library passes, and the clock for all time limits."""
        super().__init__(*arguments, **more)
        self.opened = self.tls13 = False
        self.last_heard: float | None = None
        self.given_up: ConnectionLostError | None = None
        self.message_size = 0
        self._clock = clock
        self._cut = Timer(clock)
        self._lost_by: Exception | None = None

    def give_up(self, error: ConnectionLostError) -> None:
        """Cut the connection; what waits for it ends with this error."""
        if self.given_up is None:
            self.given_up = error
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        self.opened = True
        secure = transport.get_extra_info("ssl_object")
        self.tls13 = secure is not None and secure.version() == "TLSv1.3"
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.last_heard = self._clock.monotonic()
        super().data_received(data)
        if self.transport.get_write_buffer_size() > self.message_size + _MOST_UNSENT:
            self.give_up(ConnectionLostError("the server sends pings and does not read the answers"))
        elif not self._cut.is_set and self.protocol.close_expected():
            # The library notices that the server does not close only when something is sent.
            self._cut.set(CLOSE_TIMEOUT, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._lost_by = exc
        self._cut.cancel()
        super().connection_lost(exc)

    async def handshake(self, *arguments: Any, **more: Any) -> None:
        """Make the opening handshake. With TLS 1.3 it may end by a refused client certificate, which is raised then."""
        try:
            await super().handshake(*arguments, **more)
        except InvalidMessage as error:
            if self._lost_by is not None:
                raise self._lost_by from error
            raise


class WebSocketConnection:
    """Sends and receives messages; `WebSocketConnector` makes it. After a ConnectionLostError it is of no more use."""

    def __init__(self, socket: Socket, clock: Clock) -> None:
        """Wrap an open connection of the library; `clock` limits how long closing takes."""
        self._socket = socket
        self._clock = clock
        self._sending = asyncio.Lock()

    @property
    def last_heard(self) -> float | None:
        """When bytes last came, on the clock's `monotonic`."""
        return self._socket.last_heard

    async def send(self, data: bytes, *, text: bool) -> None:
        """Send one message, as a text frame or as a binary one, and wait until the operating system has room for it.

        A message is handed over only when those before it have left. So a server that reads nothing costs the memory
        of one message, however many are given up meanwhile.

        Raises:
            ConnectionLostError: The connection has ended; the message may have been sent.
        """
        socket = self._socket
        try:
            if not socket.paused and not self._sending.locked():
                socket.message_size = len(data)
                await socket.send(data, text=text)
                return
            async with self._sending:  # in their order
                await socket.drain()
                socket.message_size = len(data)
                await socket.send(data, text=text)
        except (ConnectionClosed, OSError) as error:
            raise self._lost(error) from None

    async def receive(self) -> str | bytes:
        """Wait for the next message: str from a text frame, bytes from a binary one. Raises ConnectionLostError."""
        try:
            return await self._socket.recv()
        except (ConnectionClosed, OSError) as error:
            raise self._lost(error) from None

    async def receive_bytes(self) -> bytes:
        """Wait for the next message, as bytes whatever its frame. Raises ConnectionLostError."""
        try:
            return await self._socket.recv(decode=False)
        except (ConnectionClosed, OSError) as error:
            raise self._lost(error) from None

    def check_open(self) -> None:
        """Raise ConnectionLostError where the connection is known to have ended; it may be one that nobody reads."""
        if self._socket.state is not State.OPEN:
            raise ConnectionLostError("the connection ended")

    async def ping(self) -> None:
        """Send a ping and wait for its pong (RFC 6455, 5.5.2). Raises ConnectionLostError."""
        try:
            await (await self._socket.ping())
        except (ConnectionClosed, OSError) as error:
            raise self._lost(error) from None

    async def keep_alive(self, interval: float, deliveries: Deliveries) -> None:
        """Ping the server every `interval` seconds until the connection ends.

        Cut it where nothing at all came from the server for an interval after a ping. While this side does not read,
        because `deliveries` is full, nothing can come.
        """
        while True:
            await self._clock.sleep(interval)
            asked = self._clock.monotonic()
            try:
                async with self._clock.timeout(interval):
                    await self.ping()
            except TimeoutError:
                if not deliveries.full and (self.last_heard is None or self.last_heard < asked):
                    self._socket.give_up(ConnectionLostError(f"no answer to a ping within {interval:g} s"))
                    return
            except ConnectionLostError:
                return  # who reads or sends tells it

    async def close(self) -> None:
        """Make the closing handshake, and close after `2 * CLOSE_TIMEOUT` seconds at the latest.

        websockets waits without a limit for room to send the close frame in; a frozen server makes none.
        """
        try:
            async with self._clock.timeout(2 * CLOSE_TIMEOUT):
                await self._socket.close()
        except TimeoutError:
            pass
        finally:
            self._socket.transport.abort()

    def _lost(self, error: Exception) -> BridgeError:
        if self._socket.given_up is not None:
            return self._socket.given_up
        lost = translate(error)
        return lost if isinstance(lost, ConnectionLostError) else ConnectionLostError(lost.message)
