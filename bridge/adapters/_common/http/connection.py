"""Make exchanges on one HTTP/1.1 connection, one at a time, with asyncio's Protocol and the parser of llhttp.

An exchange is a request and its response. However it ends, `_end` is called, which returns the connection to its owner
exactly once. A connection is used again only after a complete response with nothing behind it. After anything else it
is closed, so that a late response cannot be taken for that of the next request.
"""

import asyncio
import select
from collections.abc import Callable
from typing import Final, Protocol, cast

import httptools
import httpx

from bridge.adapters._common.http.message import Body, Headers, Response
from bridge.core.ports import Clock

#: The largest head of a response, and the largest framing beyond its body, in bytes.
MAX_HEAD: Final = 64 * 1024


class Waiter(Protocol):
    """Takes the end of one exchange, as an `asyncio.Future` does."""

    def done(self) -> bool:
        """Return whether nobody waits any more."""
        ...

    def set_result(self, result: Response, /) -> None:
        """Take the response."""
        ...

    def set_exception(self, exception: httpx.RequestError, /) -> None:
        """Take what went wrong: an `httpx.TransportError` or `httpx.DecodingError`."""
        ...


class HttpConnection(asyncio.Protocol):
    """Sends a request by `start` or `send`, and calls `on_free` when the exchange has ended.

    Args:
        max_response: The largest body, in bytes, decompressed.
        clock: Tells when a response came.
        on_free: Called when an exchange has ended, with or without a response.
        on_closed: Called once when the connection is closed.
    """

    def __init__(
        self,
        max_response: int,
        clock: Clock,
        on_free: Callable[["HttpConnection"], None],
        on_closed: Callable[["HttpConnection"], None],
    ) -> None:
        self._max_response = max_response
        self._clock = clock
        self._on_free = on_free
        self._on_closed = on_closed
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: Waiter | None = None
        self._ended: tuple[Waiter, Response | httpx.RequestError] | None = None
        self._readable = select.poll() if hasattr(select, "poll") else None
        self._head_only = False
        self._reset()
        self.idle_since = 0.0
        """When the last exchange ended: seconds of `Clock.monotonic`; the pool sets it."""

    def _reset(self) -> None:
        self._headers: Headers = []
        self._body: Body | None = None
        self._status = 0
        self._received = 0
        self._body_bytes = 0
        self._until_close = False

    # --- for the owner

    @property
    def closing(self) -> bool:
        """Return whether it is closed, or will be at once."""
        return self._transport.is_closing()

    @property
    def usable(self) -> bool:
        """Return whether an exchange may begin: it is open, and the server has neither closed it nor sent anything."""
        if self._transport.is_closing():
            return False
        # The kernel may know of a close that the event loop has not handled yet.
        return self._readable is None or not self._readable.poll(0)

    def start(self, request: bytes, *, head_only: bool = False) -> "asyncio.Future[Response]":
        """Send a request, and return the future of its response, or of an `httpx.TransportError`.

        A caller that stops waiting for the future must call `abort`.

        Args:
            request: All bytes of the request.
            head_only: For HEAD, whose response has the headers of a body but no body.
        """
        waiter: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.send(request, waiter, head_only=head_only)
        return waiter

    def send(self, request: bytes, waiter: Waiter, *, head_only: bool = False) -> None:
        """Send a request as `start` does; its end goes to `waiter`. Call `give_up` when nobody waits any more."""
        self._waiter = waiter
        self._head_only = head_only
        self._transport.write(request)

    def give_up(self, waiter: Waiter) -> None:
        """Close at once if it is still the exchange of `waiter` that runs."""
        if self._waiter is waiter:
            self.abort()

    def abort(self) -> None:
        """Close at once; an exchange in flight fails."""
        self._fail(httpx.ReadError("the connection was closed on this side"))
        self._hand_over()

    def close(self) -> None:
        """Close an idle connection, with the end of TLS where there is TLS."""
        self._transport.close()

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the methods, but not the base class
        if self._readable is not None:
            self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._waiter is None:
            self._transport.abort()
            return
        self._received += len(data)
        try:
            # Whoever takes the response may send the next request at once. So that no byte of this data is taken for
            # an answer to that, the response is handed over only when all of them are parsed.
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__  # what one of the callbacks below raised
            self._fail(
                cause
                if isinstance(cause, httpx.RequestError)
                else httpx.RemoteProtocolError(f"this is not HTTP: {error}")
            )
        except httptools.HttpParserUpgrade:
            self._fail(httpx.RemoteProtocolError("the server switches to another protocol, which was not requested"))
        if self._ended is None:
            self._check_framing()
        self._hand_over()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        if self._waiter is not None:
            if exc is None and self._until_close:
                self._finish(reusable=False)
            else:
                answered = "in the middle of the answer" if self._received else "before any answer"
                error = httpx.ReadError(f"the connection ended {answered}")
                error.__cause__ = exc
                self._fail(error)
            self._hand_over()
        self._on_closed(self)

    # --- the parser's side

    def on_message_begin(self) -> None:
        """Handle the beginning of a response; one without a request ends the connection."""
        if self._waiter is None:
            self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer is ignored."""
        if self._body is None:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Decide how the end of the body is found, and how it is compressed."""
        if self._waiter is None:
            return
        self._status = status = self._parser.get_status_code()
        if status < 200:
            return
        length = encoding = coding = framed = None
        for name, value in self._headers:
            if name == b"content-length":
                length = framed = value
            elif name == b"transfer-encoding":
                framed = coding = value if coding is None else coding + b", " + value
            elif name == b"content-encoding":
                encoding = value if encoding is None else encoding + b", " + value
        if coding is not None and coding.strip().lower() not in {b"chunked", b"identity"}:
            raise httpx.DecodingError(
                f"the body has the Transfer-Encoding {coding[:40].decode('latin-1')!r}, which was not asked for"
            )
        self._body = Body(self._max_response, encoding or b"identity", optional=status >= 300)
        if self._head_only:
            self._finish(reusable=False)
        elif length is not None and length.isdigit() and int(length[:20]) > self._max_response:
            raise httpx.RemoteProtocolError(f"the body is over the limit of {self._max_response} bytes")
        elif framed is None:
            self._until_close = status not in {204, 304}

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body, still compressed."""
        if self._body is not None:
            self._body_bytes += len(data)
            self._body.feed(data)

    def on_message_complete(self) -> None:
        """End the exchange; an interim response (1xx) does not (RFC 9110, 15.2)."""
        if self._waiter is None:
            return
        if self._body is None:
            self._headers = []
            return
        # A server that answers before it has read the whole request would take the rest for another request. One that
        # says that it is the wrong one (421) may be left for another by a new connection (RFC 9110, 15.5.20).
        all_sent = self._transport.get_write_buffer_size() == 0
        self._finish(reusable=all_sent and self._status != 421 and self._parser.should_keep_alive())

    # --- the end of an exchange

    def _check_framing(self) -> None:
        """Limit names, chunk sizes and trailers, which the parser keeps until they end, and which nothing else limits.

        Eight bytes of framing for each byte of body are more than the smallest chunks need.
        """
        if self._waiter is not None and self._received - self._body_bytes > MAX_HEAD + 8 * self._body_bytes:
            self._fail(httpx.RemoteProtocolError(f"the head is over the limit of {MAX_HEAD} bytes"))

    def _finish(self, *, reusable: bool) -> None:
        assert self._body is not None  # noqa: S101  # only called once the head is complete
        try:
            response = Response(self._status, self._headers, self._body.finish(), self._clock.wall_ms())
        except httpx.DecodingError as error:
            self._fail(error)
            return
        if not reusable:
            self._transport.close()
        self._end(response)

    def _fail(self, error: httpx.RequestError) -> None:
        self._transport.abort()
        self._end(error)

    def _end(self, end: Response | httpx.RequestError) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._ended = waiter, end
            self._reset()  # an idle connection, or one that waits for the garbage collector, must not keep a whole body

    def _hand_over(self) -> None:
        """Give the connection back to its owner, and its end to whoever waits, where an exchange has ended."""
        if self._ended is None:
            return
        (waiter, end), self._ended = self._ended, None
        self._on_free(self)
        if not waiter.done():
            if isinstance(end, Response):
                waiter.set_result(end)
            else:
                waiter.set_exception(end)
