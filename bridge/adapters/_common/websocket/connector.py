"""Open WebSocket connections: the opening handshake is an HTTP request with the credentials (RFC 6455, 4)."""

from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from bridge.adapters._common import tls
from bridge.adapters._common.http.target import authorization, resolve
from bridge.adapters._common.websocket import SCHEMES
from bridge.adapters._common.websocket.connection import CLOSE_TIMEOUT, Socket, WebSocketConnection
from bridge.adapters._common.websocket.errors import translate_connect
from bridge.core.endpoint import AuthCertificate
from bridge.core.errors import ProtocolError
from bridge.core.ports import AdapterSetup


class _Connect(connect):
    """Follows no redirect, so that credentials go to the configured server only."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class WebSocketConnector:
    """Opens connections to the server of one integration."""

    def __init__(self, setup: AdapterSetup) -> None:
        """Resolve the endpoint. Raises ValueError, in words for a person, where endpoint, auth and TLS do not fit."""
        self._clock = setup.clock
        self._target = resolve(setup, SCHEMES)
        self._has_certificate = isinstance(setup.auth, AuthCertificate)
        name, _, value = authorization(setup).decode("ascii").strip().partition(": ")
        self._credentials = {name: value} if name else {}

    async def connect(self, *, max_message: int, subprotocol: str | None = None) -> WebSocketConnection:
        """Open a connection; the server checks the credentials in the opening handshake.

        Args:
            max_message: The largest message that is read, in bytes, decompressed; a larger one ends the connection.
            subprotocol: The subprotocol to ask for; None for none.

        Raises:
            NotConnectedError: The server cannot be reached; with `permanent` where its certificate does not verify, or
                a file of ours cannot be used.
            AuthError: It refused the credentials; with `permanent`.
            ThrottledError: It asks to wait.
            ProtocolError: It is not a WebSocket server, or does not accept the subprotocol.
        """
        target = self._target
        more: dict[str, Any] = {}
        context = target.ssl_context()
        if context is not None:
            more = {"server_hostname": target.server_name, "ssl_handshake_timeout": tls.HANDSHAKE_TIMEOUT}
        made: list[Socket] = []

        def make(*arguments: Any, **options: Any) -> Socket:
            made.append(Socket(*arguments, clock=self._clock, **options))
            return made[-1]

        try:
            await _Connect(
                f"{target.origin}{target.raw_path.decode('ascii')}",
                subprotocols=None if subprotocol is None else [Subprotocol(subprotocol)],
                additional_headers=self._credentials,
                user_agent_header="nemo-bridge",
                proxy=None,  # that of the environment is for other programs
                open_timeout=None,
                ping_interval=None,  # see `WebSocketConnection.keep_alive`
                close_timeout=CLOSE_TIMEOUT,
                max_size=max_message,
                create_connection=make,  # type: ignore[arg-type]  # the library only calls it
                ssl=context,
                **more,
            )
        except (OSError, EOFError, WebSocketException) as error:
            raise translate_connect(
                error,
                target.server,
                secured=any(one.opened for one in made),
                unanswered_certificate=self._has_certificate
                and any(one.tls13 and one.last_heard is None for one in made),
                now_ms=self._clock.wall_ms(),
            ) from None
        connection = WebSocketConnection(made[-1], self._clock)
        if subprotocol is not None and made[-1].subprotocol != subprotocol:
            await connection.close()
            raise ProtocolError(f"the server does not accept the subprotocol {subprotocol}", maybe_sent=False)
        return connection
