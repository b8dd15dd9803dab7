"""Serve the console, probes and metrics over plain HTTP, and the console's WebSocket.

It is meant for this machine. A web page that is open in a browser must not read it by a host name of its own (DNS
rebinding), so only known host names are answered, and the WebSocket only to the console's own page. No client can block
the bridge: connections are few, those for HTTP are short, and a WebSocket that does not read or sends too much is cut.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Mapping
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from bridge.core.diagnostic import Code, Diagnostic, Location
from bridge.core.errors import ConfigError
from bridge.core.log import structlog
from bridge.core.ports import Clock
from bridge.core.settings import Listen
from bridge.observe.static_files import POLICY, StaticFile, read_console
from bridge.observe.summary import ReadStatus, headline, is_ready, reasons
from bridge.observe.viewer import GoneError

if TYPE_CHECKING:
    from bridge.observe.live import Live

log = structlog.get_logger()

#: Connections at a time; more are closed at once.
_MOST_CONNECTIONS: Final = 32
#: Seconds for a request to arrive, and as many for its answer to be read.
_PATIENCE: Final = 5.0
#: Consoles that are open at a time.
_MOST_LIVE: Final = 16
#: Bytes of a frame that a console sends.
_MOST_FRAME: Final = 64 << 10
#: Bytes that a client may send at once, and in a second; pings count as well, and each one is answered.
_BURST: Final = 256 << 10
_SUSTAINED: Final = 32 << 10
#: Bytes that wait for a client beside the frame that is sent to it: answers to its pings, which it does not read.
_MOST_UNSENT: Final = 64 << 10
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
    """A connection that is cut where there are too many, or where its client sends too much or does not read.

    The library makes these from a class; `with_clock` returns one.

    Attributes:
        clock: Measures how much a client sends.
        frame_size: Bytes of the frame that is sent at the moment, or was sent last.
    """

    clock: ClassVar[Clock]

    @classmethod
    def with_clock(cls, clock: Clock) -> "type[_Connection]":
        """Return the class of the connections that use this clock."""
        return type(cls.__name__, (cls,), {"clock": clock})

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.frame_size = 0
        self._allowed: float = _BURST
        self._counted_at = self.clock.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self.server.handler_tasks) > _MOST_CONNECTIONS:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        now = self.clock.monotonic()
        self._allowed = min(_BURST, self._allowed + (now - self._counted_at) * _SUSTAINED) - len(data)
        self._counted_at = now
        if self._allowed < 0:
            self.transport.abort()
            return
        super().data_received(data)
        if self.transport.get_write_buffer_size() > self.frame_size + _MOST_UNSENT:
            self.transport.abort()


class _Viewer:
    """An open console behind its connection; see `viewer.Viewer`."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def send(self, frame: bytes) -> None:
        self._connection.frame_size = len(frame)
        try:
            await self._connection.send(frame, text=True)
        except (ConnectionClosed, OSError):
            raise GoneError from None

    async def receive(self) -> str | bytes:
        try:
            return await self._connection.recv()
        except (ConnectionClosed, OSError):
            raise GoneError from None

    def drop(self) -> None:
        self._connection.transport.abort()


Scrape = Callable[[str], tuple[bytes, str]]


class StatusServer:
    """Serve the console at `/` and `/live`, `/livez`, `/readyz` and `/metrics`, from `start` until `stop`."""

    def __init__(
        self,
        read_status: ReadStatus,
        alive: Callable[[], bool],
        metrics: Scrape,
        live: "Callable[[], Live]",
        *,
        listen: Listen,
        hosts: tuple[str, ...],
        clock: Clock,
    ) -> None:
        """Create it; nothing is opened yet.

        Args:
            read_status: Returns the answer of `bridge.status`.
            alive: Returns whether the bus is read.
            metrics: Returns the body of `/metrics` and its content type, for an `Accept` header.
            live: Returns what serves the open consoles; called when the first one comes.
            listen: The address to listen at.
            hosts: Host names under which it is served, beside this machine's own.
            clock: For time limits.
        """
        self._read_status = read_status
        self._alive = alive
        self._metrics = metrics
        self._make_live = live
        self._listen = listen
        self._hosts = _THIS_MACHINE | {listen.host} | {host.lower().strip("[]") for host in hosts}
        self._clock = clock
        self._server: Server | None = None
        self._consoles: set[_Connection] = set()
        self._paths: Final = {"/livez": self._alive_or_not, "/readyz": self._ready, "/metrics": self._sums}

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
                    self._serve_console,
                    sock=listening,
                    process_request=self._answer,
                    create_connection=_Connection.with_clock(self._clock),
                    compression=None,
                    max_size=_MOST_FRAME,
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
                log.info("no console: something else listens at its address", status=self._listen.url)
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
            for connection in self._consoles:  # those that do not read the end
                connection.transport.abort()
            self._server = None
        if "_live" in self.__dict__:
            self._live.close()

    @cached_property
    def _live(self) -> "Live":
        return self._make_live()

    async def _serve_console(self, connection: ServerConnection) -> None:
        """Serve a console until it has gone. All other requests are answered as plain HTTP."""
        assert isinstance(connection, _Connection)  # noqa: S101 - the server makes no others
        self._consoles.add(connection)
        host, port = connection.remote_address[:2]
        try:
            await self._live.serve(_Viewer(connection), f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except Exception:
            # A bug in this view must not end the bridge.
            log.exception("console failed")
        finally:
            self._consoles.discard(connection)

    def _answer(self, _: ServerConnection, request: Request) -> Response | None:
        """Return the answer to a request; None lets the library open a WebSocket."""
        path = urlsplit(request.path).path
        if not self._is_known(request.headers):
            return _response(HTTPStatus.MISDIRECTED_REQUEST, "not by this name\n")
        if request.method not in {"GET", "HEAD"}:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD\n", ("Allow", "GET, HEAD"))
        if path == "/live":
            return self._refusal_of_console(request.headers)
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

    def _refusal_of_console(self, headers: Headers) -> Response | None:
        """Return why no WebSocket is opened; None where the console's own page asks for one, and there is room."""
        if not _is_of_this_page(headers):
            return _response(HTTPStatus.FORBIDDEN, "only for the page of this very address\n")
        if len(self._consoles) >= _MOST_LIVE:
            return _response(HTTPStatus.SERVICE_UNAVAILABLE, f"{_MOST_LIVE} consoles are open; close one\n")
        return None

    # --- the paths

    def _response(self, path: str, request: Request) -> Response:
        answer = self._paths.get(path)
        if answer is not None:
            return answer(request)
        file = self._files.get(path)
        if file is not None:
            return _file_response(file, request)
        return _response(HTTPStatus.NOT_FOUND, "there are / /livez /readyz /metrics /live\n")

    @cached_property
    def _files(self) -> Mapping[str, StaticFile]:
        """The console's files, read when a browser asks for the first of them."""
        return read_console()

    def _alive_or_not(self, _: Request) -> Response:
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


def _is_of_this_page(headers: Headers) -> bool:
    """Return whether the page that asks came from the host and port that it asks; every browser names its page."""
    origins = headers.get_all("Origin")
    try:
        origin = urlsplit(origins[0] if len(origins) == 1 else "")
    except ValueError:
        return False
    return origin.scheme in {"http", "https"} and origin.netloc.lower() == headers["Host"].lower()


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
