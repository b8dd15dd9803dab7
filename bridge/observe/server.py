"""Serve the console's files, probes and metrics: paths that can only be read, over plain HTTP.

It is meant for this machine. A web page that is open in a browser must not read it by a host name of its own (DNS
rebinding), so only known host names are answered. No client can block the bridge: connections are few, and short.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Mapping
from functools import cached_property
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from bridge.core.diagnostic import Code, Diagnostic, Location
from bridge.core.errors import ConfigError
from bridge.core.ports import Clock
from bridge.core.settings import Listen
from bridge.observe.static_files import POLICY, StaticFile, read_console
from bridge.observe.summary import ReadStatus, headline, is_ready, reasons

log = structlog.get_logger()

#: Connections at a time; more are closed at once.
_MOST_CONNECTIONS: Final = 32
#: Seconds for a request to arrive, and as many for its answer to be read.
_PATIENCE: Final = 5.0
_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_TEXT: Final = "text/plain; charset=utf-8"
_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Connection", "close"),
)
_NOTHING_ELSE: Final = "default-src 'none'; frame-ancestors 'none'"


class _Connection(ServerConnection):
    """A connection that is closed at once where there are too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self.server.handler_tasks) > _MOST_CONNECTIONS:
            self.transport.abort()


Scrape = Callable[[str], tuple[bytes, str]]


class StatusServer:
    """Serve the console at `/`, `/livez`, `/readyz` and `/metrics`, from `start` until `stop`."""

    def __init__(
        self,
        read_status: ReadStatus,
        alive: Callable[[], bool],
        metrics: Scrape,
        listen: Listen,
        hosts: tuple[str, ...],
        *,
        clock: Clock,
    ) -> None:
        """Create it; nothing is opened yet.

        Args:
            read_status: Returns the answer of `bridge.status`.
            alive: Returns whether the bus is read.
            metrics: Returns the body of `/metrics` and its content type, for an `Accept` header.
            listen: The address to listen at.
            hosts: Host names under which it is served, beside this machine's own.
            clock: For the time limit of `stop`.
        """
        self._read_status = read_status
        self._alive = alive
        self._metrics = metrics
        self._listen = listen
        self._hosts = _THIS_MACHINE | {listen.host} | {host.lower().strip("[]") for host in hosts}
        self._clock = clock
        self._server: Server | None = None
        self._paths: Final = {"/livez": self._live, "/readyz": self._ready, "/metrics": self._sums}

    @property
    def url(self) -> str:
        """Return the URL of the console; after `start` with the real port."""
        return self._listen.url

    async def start(self, *, must: bool) -> bool:
        """Begin to listen.

        Args:
            must: Whether it is an error if another program listens at the address.

        Returns:
            Whether it listens; False only where another program does and `must` is False.

        Raises:
            ConfigError: It cannot listen there.
        """
        silent = logging.getLogger(__name__)
        silent.disabled = True  # the library logs each request, and a traceback for each that is not valid HTTP
        try:
            listening = _listening_socket(self._listen)
            try:
                self._server = await serve(
                    self._never,
                    sock=listening,
                    process_request=self._answer,
                    create_connection=_Connection,
                    compression=None,
                    server_header=None,
                    open_timeout=_PATIENCE,
                    close_timeout=_PATIENCE,
                    logger=silent,
                )
            except BaseException:
                listening.close()
                raise
        except OSError as error:
            if error.errno == errno.EADDRINUSE and not must:
                log.info("no status page: something else listens at its address", status=self._listen.url)
                return False
            reason = "something else listens there" if error.errno == errno.EADDRINUSE else error.strerror
            message = f"{self._listen.host}:{self._listen.port}: {reason}"
            diagnostic = Diagnostic(Location(""), "bridge > status", message, Code.INVALID_ADDRESS)
            raise ConfigError([diagnostic]) from None
        self._listen = Listen(self._listen.host, listening.getsockname()[1])
        return True

    async def stop(self) -> None:
        """Close the server and its connections; wait one second at most."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(1.0):
                    await self._server.wait_closed()
            self._server = None

    async def _never(self, connection: ServerConnection) -> None:
        """Do nothing: every request is answered as plain HTTP, and none becomes a WebSocket."""

    def _answer(self, _: ServerConnection, request: Request) -> Response:
        path = urlsplit(request.path).path
        if not self._is_known(request.headers):
            return _response(HTTPStatus.MISDIRECTED_REQUEST, "not by this name\n")
        if request.method not in {"GET", "HEAD"}:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD\n", ("Allow", "GET, HEAD"))
        try:
            response = self._response(path, request)
        except Exception:
            # A bug in this view must not end the bridge.
            log.exception("status server failed", path=path)
            response = _response(HTTPStatus.INTERNAL_SERVER_ERROR, "see the log\n")
        if request.method == "HEAD":
            response.body = b""
        return response

    def _is_known(self, headers: Headers) -> bool:
        names = headers.get_all("Host")
        if len(names) != 1:
            return False
        try:
            return urlsplit(f"//{names[0]}").hostname in self._hosts
        except ValueError:
            return False

    # --- the paths

    def _response(self, path: str, request: Request) -> Response:
        answer = self._paths.get(path)
        if answer is not None:
            return answer(request)
        file = self._files.get(path)
        if file is not None:
            return _file_response(file, request)
        return _response(HTTPStatus.NOT_FOUND, "there are / /livez /readyz /metrics\n")

    @cached_property
    def _files(self) -> Mapping[str, StaticFile]:
        """The console's files, read when a browser asks for the first of them."""
        return read_console()

    def _live(self, _: Request) -> Response:
        if self._alive():
            return _response(HTTPStatus.OK, "alive\n")
        return _response(HTTPStatus.SERVICE_UNAVAILABLE, "the bus is not read\n")

    def _ready(self, _: Request) -> Response:
        """Answer whether the bridge is ready; a remote that is down does not make it unready."""
        status = self._read_status()
        code = HTTPStatus.OK if is_ready(status) else HTTPStatus.SERVICE_UNAVAILABLE
        return _response(code, "\n".join([headline(status), *reasons(status), ""]))

    def _sums(self, request: Request) -> Response:
        body, content_type = self._metrics(", ".join(request.headers.get_all("Accept")))
        return _response(HTTPStatus.OK, body, content_type=content_type)


def _listening_socket(listen: Listen) -> socket.socket:
    """Return a socket that listens. Raises OSError where it cannot.

    An event loop may begin to listen later than it binds. Of two programs that bind at the same moment, one then has a
    server without a socket instead of an error.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    return socket.create_server((listen.host, listen.port), family=family)


def _file_response(file: StaticFile, request: Request) -> Response:
    """Return a file; nothing of it where the browser has the same already."""
    known = {
        tag.strip().removeprefix("W/") for text in request.headers.get_all("If-None-Match") for tag in text.split(",")
    }
    tag = ("ETag", file.etag)
    code, content = (HTTPStatus.NOT_MODIFIED, b"") if file.etag in known else (HTTPStatus.OK, file.content)
    return _response(code, content, tag, content_type=file.content_type, policy=POLICY, cache="no-cache")


def _response(
    code: HTTPStatus,
    body: str | bytes,
    *more: tuple[str, str],
    content_type: str = _TEXT,
    policy: str = _NOTHING_ELSE,
    cache: str = "no-store",
) -> Response:
    content = body.encode("utf-8", "replace") if isinstance(body, str) else body
    own = (("Content-Type", content_type), ("Content-Security-Policy", policy), ("Cache-Control", cache))
    headers = Headers([*own, *_HEADERS, *more])
    if code is not HTTPStatus.NOT_MODIFIED:  # its length would be that of the file (RFC 9110, section 8.6)
        headers["Content-Length"] = str(len(content))
    return Response(code.value, code.phrase, headers, content)
