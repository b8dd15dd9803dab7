"""Send HTTP requests to the server of one integration, with its credentials; raises the bridge's errors."""

import asyncio
import re
from collections.abc import Collection, Mapping
from typing import Final

import httpx

from bridge.adapters._common.http.connection import HttpConnection, Waiter
from bridge.adapters._common.http.errors import translate
from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.pool import PooledTransport
from bridge.adapters._common.http.stream import ResponseStream, open_stream
from bridge.adapters._common.http.target import authorization, resolve
from bridge.core.errors import InvalidError
from bridge.core.model import TRACE_HEADERS
from bridge.core.ports import AdapterSetup, Context

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
#: Event headers that are always sent, and their names in HTTP.
_ALWAYS_SENT: Final = {name: name.encode() for name in TRACE_HEADERS} | {"hop": b"Nemo-Hop"}
#: Headers that the configuration cannot allow, because the bridge writes them itself.
RESERVED: Final = frozenset(
    {"accept", "accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type"}
    | {"cookie", "expect", "host", "idempotency-key", "keep-alive", "nemo-hop", "proxy-authorization", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "user-agent"}
)


class HttpClient:
    """Sends requests to the server of one integration.

    Raises ValueError from its constructor, in words for a person, where the settings cannot work.

    Args:
        setup: The integration's endpoint, auth and TLS; its `max_in_flight` sizes the pool.
        max_response: Bytes that a response's body may have, decompressed.
        allow_headers: Event headers that are sent as HTTP headers, besides `hop` and those of the trace (`traceparent`,
            `tracestate`, `baggage`).
        accept: The `Accept` header of all requests but `stream`.
    """

    def __init__(
        self,
        setup: AdapterSetup,
        *,
        max_response: int,
        allow_headers: Collection[str] = (),
        accept: str = "application/json",
    ) -> None:
        self._target = target = resolve(setup)
        self._max_response = max_response
        self._clock = setup.clock
        credentials = authorization(setup)
        self._sent_headers = _ALWAYS_SENT | {name: name.encode("ascii") for name in allow_headers}
        self._last_lines: tuple[Mapping[str, str], bytes] = {}, b""  # nearly all operations have the same headers
        self._path = target.raw_path
        self._base = b"host: %b\r\nuser-agent: nemo-bridge\r\n%b" % (target.authority.encode("ascii"), credentials)
        self._fixed = self._base + b"accept: %b\r\naccept-encoding: gzip, deflate\r\n" % accept.encode("ascii")
        self._post = b"POST " + self._path + b" HTTP/1.1\r\n" + self._fixed + b"content-type: application/json\r\n"
        # One connection more than there are operations, so that a health check never waits behind them.
        self._pool = PooledTransport(target, size=setup.max_in_flight + 1, max_response=max_response, clock=setup.clock)

    @property
    def path(self) -> bytes:
        """Return the endpoint's own path, with its query if it has one."""
        return self._path

    @property
    def origin(self) -> str:
        """Return scheme, host and port of the server."""
        return self._target.origin

    async def open(self) -> None:
        """Open a connection and keep it. Raises NotConnectedError, `permanent` for a bad certificate."""
        try:
            await self._pool.warm()
        except httpx.HTTPError as error:
            raise translate(error) from None

    async def close(self) -> None:
        """Close every connection; idempotent."""
        await self._pool.aclose()

    async def post(self, body: bytes, headers: bytes = b"") -> Response:
        """Send a POST with a JSON body; `headers` are made by `header_lines`. Raises the errors of `errors.TABLE`."""
        try:
            return await self._pool.exchange(self._posting(body, headers))
        except httpx.HTTPError as error:
            raise translate(error) from None

    def begin_post(self, body: bytes, headers: bytes, waiter: Waiter) -> HttpConnection | None:
        """Send a POST as `post` does, without waiting, where a connection is idle.

        Args:
            body: JSON.
            headers: Made by `header_lines`.
            waiter: Gets the response, or an exception for `errors.translate`.

        Returns:
            The connection, for `HttpConnection.give_up`; None where none is idle: nothing was sent.
        """
        connection = self._pool.take()
        if connection is not None:
            connection.send(self._posting(body, headers), waiter)
        return connection

    async def get(self) -> Response:
        """Send a GET of the endpoint's own path. Raises the errors of `errors.TABLE`."""
        try:
            return await self._pool.exchange(b"GET " + self._path + b" HTTP/1.1\r\n" + self._fixed + b"\r\n")
        except httpx.HTTPError as error:
            raise translate(error) from None

    async def send(
        self, method: str, path: bytes, headers: bytes = b"", body: bytes | None = None, content_type: str = ""
    ) -> Response:
        """Send any other request.

        Args:
            method: The HTTP method, in upper case.
            path: The request target in origin form (RFC 9112, 3.2.1); the caller has encoded and checked it.
            headers: Made by `header_lines`.
            body: None for no body; then there is no Content-Length either.
            content_type: The body's.

        Raises the errors of `errors.TABLE`.
        """
        request = b"%b %b HTTP/1.1\r\n%b%b" % (method.encode("ascii"), path, self._fixed, headers)
        if body is not None:
            kind = b"content-type: %b\r\n" % content_type.encode("ascii") if content_type else b""
            request += b"%bcontent-length: %d\r\n\r\n%b" % (kind, len(body), body)
        else:
            request += b"\r\n"
        try:
            return await self._pool.exchange(request, head_only=method == "HEAD")
        except httpx.HTTPError as error:
            raise translate(error) from None

    async def stream(self, path: bytes, accept: str, headers: bytes = b"") -> ResponseStream | Response:
        """Send a GET whose response does not end, on a connection of its own beside the pool's.

        Returns:
            The stream, which the caller closes; or the whole response where its status is not 200.

        Raises the errors of `errors.TABLE`.
        """
        head = b"GET %b HTTP/1.1\r\n%baccept: %b\r\n" % (path, self._base, accept.encode("ascii"))
        request = head + b"accept-encoding: identity\r\ncache-control: no-store\r\n" + headers + b"\r\n"
        try:
            return await open_stream(self._target, request, max_response=self._max_response, clock=self._clock)
        except httpx.HTTPError as error:
            raise translate(error) from None

    async def connection(self) -> HttpConnection:
        """Take a free connection for one `start_post`, or open one. Raises NotConnectedError."""
        try:
            return await self._pool.acquire()
        except httpx.HTTPError as error:
            raise translate(error) from None

    def start_post(self, connection: HttpConnection, body: bytes, headers: bytes = b"") -> asyncio.Future[Response]:
        """Send a POST as `post` does, without waiting; the exception of the future is one for `errors.translate`."""
        return connection.start(self._posting(body, headers))

    def _posting(self, body: bytes, headers: bytes) -> bytes:
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (self._post, headers, len(body), body)

    def header_lines(self, context: Context) -> bytes:
        """Return the HTTP headers of one operation, as lines of bytes.

        Raises:
            InvalidError: A value cannot be an HTTP header (line breaks, control characters, not ASCII).
        """
        headers = context.headers
        known, lines = self._last_lines
        if headers != known:
            lines = b""
            for name, http_name in self._sent_headers.items():
                value = headers.get(name)
                if value is not None:
                    lines += header_line(name, http_name, value)
            self._last_lines = dict(headers), lines
        if context.idempotency_key is not None:
            lines = header_line("idempotency_key", b"Idempotency-Key", context.idempotency_key) + lines
        return lines


def header_line(name: str, http_name: bytes, value: str) -> bytes:
    """Return one header as a line of bytes. Raises InvalidError, whose message calls the header `name`."""
    if _VALUE.fullmatch(value) is None:
        raise InvalidError(f"headers.{name}: its value cannot be an HTTP header; only printable ASCII can be one")
    return b"%b: %b\r\n" % (http_name, value.strip().encode("ascii"))


def check_header_name(name: str) -> str:
    """Check a name in `allow_headers`. Raises ValueError where it is not a header name, or is in `RESERVED`."""
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not an HTTP header name")
    if name.lower() in RESERVED:
        raise ValueError(f"{name!r} cannot be allowed: the bridge writes it itself")
    return name
