"""Read a response while it comes, such as server-sent events; each has a connection of its own."""

import asyncio
import socket
from collections import deque
from typing import Final

import httpx

from bridge.adapters._common.http.connection import HttpConnection
from bridge.adapters._common.http.errors import translate
from bridge.adapters._common.http.message import Body, Response
from bridge.adapters._common.http.pool import dial
from bridge.adapters._common.http.target import HttpTarget
from bridge.core.ports import Clock

#: Bytes that may wait for the reader; above that, the bridge stops reading from the server.
_HIGH_WATER: Final = 64 * 1024
#: A server that disappears without closing is noticed after 30 s without data and three unanswered probes.
_KEEP_ALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


class ResponseStream(HttpConnection):
    """Reads the body of a response with status 200 piece by piece; other responses are read as a whole."""

    def __init__(self, max_response: int, clock: Clock) -> None:
        """Begin without a request.

        Args:
            max_response: The largest body of other responses, and the largest Content-Length, in bytes.
            clock: Tells when a response came.
        """
        super().__init__(max_response, clock, self._over, self._over)
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._news = asyncio.Event()
        self._lost = asyncio.Event()
        self._whole: asyncio.Future[Response] | None = None
        self.response: Response | None = None
        """Status and headers of a response with status 200; None until they came."""

    async def begin(self, request: bytes) -> Response | None:
        """Send the request; return None when `read` may begin, or else the whole response.

        Raises an `httpx.TransportError`.
        """
        self._whole = self.start(request)
        while self.response is None:
            if self._whole.done():
                return self._whole.result()
            await self._wait()
        return None

    async def read(self) -> bytes:
        """Wait for the next piece; return no bytes at the end of the body.

        Raises:
            BridgeError: The connection has ended before the body did.
        """
        while not self._pieces:
            if self._whole is None or self._whole.done():
                self._result()
                return b""
            await self._wait()
        piece = self._pieces.popleft()
        before, self._waiting = self._waiting, self._waiting - len(piece)
        if self._waiting <= _HIGH_WATER < before and not self._transport.is_closing():
            self._transport.resume_reading()
        return piece

    def _result(self) -> None:
        try:
            if self._whole is not None:
                self._whole.result()
        except httpx.HTTPError as error:
            raise translate(error) from None

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def aclose(self) -> None:
        """Close at once, and wait for it; idempotent."""
        if self._whole is not None:
            self._whole.cancel()  # nobody waits for it any more
        self._transport.abort()
        await self._lost.wait()

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        super().connection_made(transport)
        if transport.get_extra_info("socket").family in {socket.AF_INET, socket.AF_INET6}:
            connected = transport.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEP_ALIVE:
                if hasattr(socket, name):
                    connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        super().connection_lost(exc)
        self._lost.set()

    def _over(self, _: HttpConnection) -> None:
        self._news.set()

    # --- the parser's side

    def on_headers_complete(self) -> None:
        """Pass the body of a 200 to the reader from now on."""
        super().on_headers_complete()
        if self._body is None or self._status != 200:
            return
        if any(name == b"content-encoding" and value.lower() != b"identity" for name, value in self._headers):
            raise httpx.DecodingError("the stream is compressed, which was not asked for")
        self._body = _PassingBody(self)
        self.response = Response(200, self._headers, b"", self._clock.wall_ms())
        self._news.set()

    def add_piece(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(data)
        before, self._waiting = self._waiting, self._waiting + len(data)
        if before <= _HIGH_WATER < self._waiting:
            self._transport.pause_reading()
        self._news.set()


class _PassingBody(Body):
    """Passes each chunk to the stream instead of keeping it."""

    __slots__ = ("_stream",)

    def __init__(self, stream: ResponseStream) -> None:
        super().__init__(0)
        self._stream = stream

    def feed(self, data: bytes) -> None:
        self._stream.add_piece(data)


async def open_stream(
    target: HttpTarget, request: bytes, *, max_response: int, clock: Clock
) -> ResponseStream | Response:
    """Send a request on a connection of its own; see `HttpClient.stream`. Raises an `httpx.TransportError`."""
    stream = await dial(target, lambda: ResponseStream(max_response, clock))
    try:
        answer = await stream.begin(request)
    except BaseException:
        await stream.aclose()
        raise
    if answer is None:
        return stream
    await stream.aclose()
    return answer
