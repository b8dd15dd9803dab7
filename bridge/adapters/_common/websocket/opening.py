"""The opening handshake of a WebSocket (RFC 6455, 4): an HTTP request with the integration's credentials."""

import asyncio
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, WebSocketException
from websockets.typing import Subprotocol

from bridge.adapters._common import tls
from bridge.adapters._common.http.target import authorization, resolve
from bridge.adapters._common.websocket.errors import translate, translate_connect
from bridge.core.endpoint import Schemes
from bridge.core.errors import ConnectionLostError, ProtocolError
from bridge.core.ports import AdapterSetup, Clock

#: URL scheme → (default port, TLS).
SCHEMES: Final[Schemes] = {"ws": (80, False), "wss": (443, True)}
#: Seconds that a server has to answer the closing handshake.
_CLOSE: Final = 0.5


class _Connection(ClientConnection):
    """Tells in the opening handshake, too, by what it was lost: with TLS 1.3 the refusal of a client certificate."""

    opened = False
    """Whether there was a connection, and over it TLS where that was asked for."""
    _lost_by: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.opened = True
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost_by = exc
        super().connection_lost(exc)

    async def handshake(self, *arguments: Any, **more: Any) -> None:
        try:
            await super().handshake(*arguments, **more)
        except InvalidMessage as error:
            if self._lost_by is not None:
                raise self._lost_by from error
            raise


class _Connect(connect):
    """Follows no redirect: credentials stay where they were meant for."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Opening:
    """Opens connections to one integration's server."""

    def __init__(self, setup: AdapterSetup) -> None:
        """Raises ValueError where endpoint, auth and TLS do not fit together, in words for a person."""
        self._clock = setup.clock
        self._target = resolve(setup, SCHEMES)
        name, _, value = authorization(setup).decode("ascii").strip().partition(": ")
        self._credentials = {name: value} if name else {}

    async def open(self, *, ping: float, max_message: int, subprotocol: str | None = None) -> ClientConnection:
        """A new connection; the server checks the credentials in the handshake.

        Args:
            ping: Seconds between pings; without an answer until the next the connection is over.
            max_message: Bytes of the largest message that is read, decompressed; a larger one ends the connection.
            subprotocol: What to ask for.

        Raises:
            NotConnectedError: The server cannot be reached; with `permanent` where its certificate does not verify.
            AuthError: It refused the credentials; with `permanent`.
            ProtocolError: It is no WebSocket server, or does not take the subprotocol.
        """
        target = self._target
        more: dict[str, Any] = {}
        if target.ssl_context is not None:
            more = {"server_hostname": target.server_name, "ssl_handshake_timeout": tls.HANDSHAKE_TIMEOUT}
        made: list[_Connection] = []

        def make(*arguments: Any, **options: Any) -> _Connection:
            made.append(_Connection(*arguments, **options))
            return made[-1]

        try:
            socket = await _Connect(
                f"{target.origin}{target.raw_path.decode('ascii')}",
                subprotocols=None if subprotocol is None else [Subprotocol(subprotocol)],
                additional_headers=self._credentials,
                user_agent_header="nemo-bridge",
                proxy=None,  # the environment's is for other programs
                open_timeout=None,
                ping_interval=ping,
                ping_timeout=ping,
                close_timeout=_CLOSE,
                max_size=max_message,
                create_connection=make,  # type: ignore[arg-type]  # a class is only asked for to be called
                ssl=target.ssl_context,
                **more,
            )
        except (OSError, EOFError, WebSocketException) as error:
            secured = any(connection.opened for connection in made)
            raise translate_connect(error, target.server, secured=secured) from None
        if subprotocol is not None and socket.subprotocol != subprotocol:
            await close(socket, self._clock)
            raise ProtocolError(f"the server does not speak {subprotocol}", maybe_sent=False)
        return socket


async def close(socket: ClientConnection, clock: Clock) -> None:
    """Say goodbye and close, whatever becomes of the goodbye.

    websockets waits without a limit for room to send it in; a frozen server makes none.
    """
    try:
        async with clock.timeout(2 * _CLOSE):
            await socket.close()
    except TimeoutError:
        pass
    finally:
        socket.transport.abort()


async def ping(socket: ClientConnection) -> None:
    """A ping and its pong (RFC 6455, 5.5.2). Raises ConnectionLostError."""
    try:
        await (await socket.ping())
    except (ConnectionClosed, OSError) as error:
        raise lost_by(error) from None


def lost_by(error: Exception) -> ConnectionLostError:
    """What ended an open connection, as our error."""
    lost = translate(error)
    return lost if isinstance(lost, ConnectionLostError) else ConnectionLostError(lost.message)
