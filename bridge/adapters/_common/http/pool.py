"""Keep connections to one server open between exchanges.

A request takes the connection used last from the end of a queue. httpx's pool looks at all its connections for each
request, so it gets slower with concurrency.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from bridge.adapters._common import tls
from bridge.adapters._common.errors import opening_error
from bridge.adapters._common.http.connection import HttpConnection
from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.target import HttpTarget
from bridge.core.errors import NotConnectedError
from bridge.core.ports import Clock

#: Seconds after which an unused connection is closed, before a firewall or proxy drops it without notice.
KEEP_IDLE: Final = 60.0
#: Seconds that a server has to confirm the end of TLS.
_TLS_CLOSE: Final = 1.0
#: Headers that describe the encoded body; `Response.body` is decoded.
WIRE_HEADERS: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})

_Connection = TypeVar("_Connection", bound=HttpConnection)


async def dial(target: HttpTarget, make: Callable[[], _Connection]) -> _Connection:
    """Open a connection, made by `make`. Raises a BridgeError; nothing was sent."""
    context = target.ssl_context()
    secure = context is not None
    try:
        _, connection = await asyncio.get_running_loop().create_connection(
            make,
            target.server.host,
            target.server.port,
            ssl=context,
            server_hostname=target.server_name if secure else None,
            ssl_handshake_timeout=tls.HANDSHAKE_TIMEOUT if secure else None,
            ssl_shutdown_timeout=_TLS_CLOSE if secure else None,
        )
    except OSError as error:
        raise opening_error(error, target.server) from None
    return connection


class ConnectionPool:
    """Makes exchanges on at most `size` keep-alive connections to one server; more exchanges wait for their turn.

    Args:
        target: The server.
        size: The largest number of connections.
        max_response: The largest body of a response, in bytes, decompressed.
        clock: Measures how long a connection was idle.
    """

    def __init__(self, target: HttpTarget, *, size: int, max_response: int, clock: Clock) -> None:
        self._target = target
        self._clock = clock
        self._max_response = max_response
        self._slots = asyncio.Semaphore(size)
        self._idle: deque[HttpConnection] = deque()
        self._open: set[HttpConnection] = set()
        self._closed = False
        self._all_gone = asyncio.Event()

    async def exchange(self, request: bytes, *, head_only: bool = False) -> Response:
        """Send one request, all its bytes, and return the response.

        Cancelling it closes the connection.

        Raises:
            BridgeError: There is no response; `maybe_sent` tells whether the server may have acted.
        """
        connection = await self.acquire()
        try:
            return await connection.start(request, head_only=head_only)
        except asyncio.CancelledError:
            connection.abort()
            raise

    async def acquire(self) -> HttpConnection:
        """Take a connection for exactly one `HttpConnection.start`, at once; its end returns it to the pool.

        Raises:
            BridgeError: No connection can be opened.
        """
        await self._slots.acquire()
        try:
            return self._take_idle() or await self._connect()
        except BaseException:
            self._slots.release()
            raise

    async def warm(self) -> None:
        """Open a connection if there is no idle one. Raises a BridgeError."""
        async with self._slots:
            connection = self._take_idle() or await self._connect()
            self._keep(connection)

    def _take_idle(self) -> HttpConnection | None:
        forgotten = self._clock.monotonic() - KEEP_IDLE
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since > forgotten and connection.usable:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> HttpConnection:
        if self._closed:
            raise NotConnectedError("the session is closed")
        connection = await dial(
            self._target, lambda: HttpConnection(self._max_response, self._clock, self._freed, self._gone)
        )
        if self._closed:
            connection.abort()
            raise NotConnectedError("the session is closed")
        self._open.add(connection)
        return connection

    def _freed(self, connection: HttpConnection) -> None:
        self._slots.release()
        if not connection.closing:
            self._keep(connection)

    def _keep(self, connection: HttpConnection) -> None:
        now = connection.idle_since = self._clock.monotonic()
        self._idle.append(connection)
        # The ones at the front have been idle for longest.
        while self._idle[0].idle_since < now - KEEP_IDLE:
            self._idle.popleft().close()

    def _gone(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._open:
            self._all_gone.set()

    async def aclose(self) -> None:
        """Close all connections and wait for it; exchanges in flight fail. When cancelled, it cuts the connections."""
        self._closed = True
        for connection in tuple(self._open):
            if connection in self._idle:
                connection.close()
            else:
                connection.abort()
        try:
            while self._open:
                self._all_gone.clear()
                await self._all_gone.wait()
        finally:
            for connection in tuple(self._open):
                connection.abort()
