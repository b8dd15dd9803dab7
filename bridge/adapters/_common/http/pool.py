"""Keep connections to one server open between exchanges; a transport with httpx's interface.

httpx's own pool checks all its connections for each request, so it gets slower with concurrency; this one takes the
connection used last from the end of a queue. `exchange` takes all bytes of a request; `handle_async_request` is httpx's
interface, so that an `httpx.AsyncClient` can use the same connections.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

import httpx

from bridge.adapters._common import tls
from bridge.adapters._common.errors import opening_error
from bridge.adapters._common.http.connection import HttpConnection
from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.target import HttpTarget
from bridge.core.errors import BridgeError, NotConnectedError
from bridge.core.ports import Clock

#: Seconds after which an unused connection is closed, before a firewall or proxy drops it without notice.
KEEP_IDLE: Final = 60.0
#: Seconds that a server has to confirm the end of TLS.
_TLS_CLOSE: Final = 1.0
#: Headers that describe the encoded body; `Response.body` is decoded.
WIRE_HEADERS: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})

_Connection = TypeVar("_Connection", bound=HttpConnection)


class OpeningError(httpx.ConnectError):
    """Raised where a connection cannot be opened.

    Attributes:
        error: The bridge's error, which says why.
    """

    def __init__(self, error: BridgeError) -> None:
        super().__init__(error.message)
        self.error = error


async def dial(target: HttpTarget, make: Callable[[], _Connection]) -> _Connection:
    """Open a connection, made by `make`. Raises OpeningError."""
    try:
        context = target.ssl_context()
    except NotConnectedError as error:
        raise OpeningError(error) from None
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
        raise OpeningError(opening_error(error, target.server)) from error
    return connection


class _Slots:
    """Counts the connections that may be in use; who waits for a slot gets it in order."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take(self) -> bool:
        """Take a slot, if one is free."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def wait(self) -> None:
        """Take a slot, as soon as one is free."""
        if self.take():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was given one in the same moment
                self.give()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def give(self) -> None:
        """Give a slot back: to who has waited for longest, if anybody waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class PooledTransport(httpx.AsyncBaseTransport):
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
        self._slots = _Slots(size)
        self._idle: deque[HttpConnection] = deque()
        self._open: set[HttpConnection] = set()
        self._closed = False
        self._all_gone = asyncio.Event()

    async def exchange(self, request: bytes, *, head_only: bool = False) -> Response:
        """Send one request, all its bytes, and return the response.

        Cancelling it closes the connection.

        Raises an `httpx.TransportError` or `httpx.DecodingError`; it is a
        `ConnectError` or `ConnectTimeout` where nothing was sent, and only there.
        """
        connection = await self.acquire()
        response = connection.start(request, head_only=head_only)
        try:
            return await response
        except asyncio.CancelledError:
            connection.give_up(response)
            raise

    async def acquire(self) -> HttpConnection:
        """Take a connection for exactly one `HttpConnection.start`, at once; its end returns it to the pool.

        Raises:
            httpx.ConnectError: No connection can be opened.
        """
        await self._slots.wait()
        try:
            return self._take_idle() or await self._connect()
        except BaseException:
            self._slots.give()
            raise

    def take(self) -> HttpConnection | None:
        """Take an idle connection, if there is one, for exactly one `HttpConnection.send`, as `acquire` does."""
        if not self._idle or not self._slots.take():
            return None
        connection = self._take_idle()
        if connection is None:
            self._slots.give()
        return connection

    async def warm(self) -> None:
        """Open a connection if there is no idle one. Raises `httpx.ConnectError`."""
        self._freed(await self.acquire())

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
            raise httpx.ConnectError("the session is closed")
        connection = await dial(
            self._target, lambda: HttpConnection(self._max_response, self._clock, self._freed, self._gone)
        )
        if self._closed:
            connection.abort()
            raise httpx.ConnectError("the session is closed")
        self._open.add(connection)
        return connection

    def _freed(self, connection: HttpConnection) -> None:
        if not connection.closing:
            now = connection.idle_since = self._clock.monotonic()
            self._idle.append(connection)
            # The ones at the front have been idle for longest.
            while self._idle[0].idle_since < now - KEEP_IDLE:
                self._idle.popleft().close()
        self._slots.give()

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

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make one request of an `httpx.AsyncClient`, which itself handles redirects and cookies."""
        url = request.url
        if (url.scheme, url.raw_host.decode("ascii"), url.port or self._target.default_port) != self._target.key:
            raise httpx.UnsupportedProtocol("the request is for another server than this transport's")
        head = b"%s %s HTTP/1.1\r\n" % (request.method.encode("ascii"), url.raw_path)
        fields = b"".join(b"%s: %s\r\n" % pair for pair in request.headers.raw)
        body = await request.aread()
        response = await self.exchange(head + fields + b"\r\n" + body, head_only=request.method == "HEAD")
        headers = [pair for pair in response.headers if pair[0] not in WIRE_HEADERS]
        return httpx.Response(response.status, headers=headers, content=response.body, request=request)
