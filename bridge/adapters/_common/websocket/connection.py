"""One live WebSocket connection: send, receive, ping and close, with the bridge's errors."""

from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from bridge.adapters._common.websocket.errors import translate
from bridge.core.errors import ConnectionLostError
from bridge.core.ports import Clock

#: Seconds that a server has to answer the closing handshake.
CLOSE_TIMEOUT: Final = 0.5


class WebSocketConnection:
    """Sends and receives messages; `WebSocketConnector` makes it. After a ConnectionLostError it is of no more use."""

    def __init__(self, socket: ClientConnection, clock: Clock) -> None:
        """Wrap an open connection of the library; `clock` limits how long closing takes."""
        self._socket = socket
        self._clock = clock

    async def send(self, data: bytes, *, text: bool) -> None:
        """Send one message, as a text frame or as a binary one, and wait until the operating system has room for it.

        Raises:
            ConnectionLostError: The connection has ended; the message may have been sent.
        """
        try:
            await self._socket.send(data, text=text)
        except (ConnectionClosed, OSError) as error:
            raise _lost(error) from None

    async def receive(self) -> str | bytes:
        """Wait for the next message: str from a text frame, bytes from a binary one. Raises ConnectionLostError."""
        try:
            return await self._socket.recv()
        except (ConnectionClosed, OSError) as error:
            raise _lost(error) from None

    async def receive_bytes(self) -> bytes:
        """Wait for the next message, as bytes whatever its frame. Raises ConnectionLostError."""
        try:
            return await self._socket.recv(decode=False)
        except (ConnectionClosed, OSError) as error:
            raise _lost(error) from None

    async def ping(self) -> None:
        """Send a ping and wait for its pong (RFC 6455, 5.5.2). Raises ConnectionLostError."""
        try:
            await (await self._socket.ping())
        except (ConnectionClosed, OSError) as error:
            raise _lost(error) from None

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


def _lost(error: Exception) -> ConnectionLostError:
    lost = translate(error)
    return lost if isinstance(lost, ConnectionLostError) else ConnectionLostError(lost.message)
