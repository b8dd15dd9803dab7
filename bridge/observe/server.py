"""The status page's server: four paths, to be read only, over plain HTTP.

It is made for this machine. A web page that a browser has open must not read it under a name of its own (DNS
rebinding), so only known names are answered. No client can hold up the bridge: connections are few, and short.
"""

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from bridge.core.errors import ConfigError
from bridge.core.ports import Clock
from bridge.core.settings import Listen
from bridge.observe.page import Page
from bridge.observe.summary import Report, headline, is_ready, reasons

log = structlog.get_logger()

#: Connections at a time; more are closed at once.
_MOST_CONNECTIONS: Final = 32
#: Seconds for a request to come, and as many for its answer to be taken.
_PATIENCE: Final = 5.0
_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_TEXT: Final = "text/plain; charset=utf-8"
_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Connection", "close"),
)
_NOTHING_ELSE: Final = "default-src 'none'; frame-ancestors 'none'"


class _Connection(ServerConnection):
    """One of a bounded number."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self.server.handler_tasks) > _MOST_CONNECTIONS:
            self.transport.abort()


Scrape = Callable[[str], tuple[bytes, str]]


class StatusServer:
    """Serves `/`, `/livez`, `/readyz` and `/metrics`, from `start` until `stop`."""

    def __init__(
        self,
        report: Report,
        alive: Callable[[], bool],
        metrics: Scrape,
        listen: Listen,
        hosts: tuple[str, ...],
        *,
        clock: Clock,
    ) -> None:
        """Nothing is opened yet.

        Args:
            report: What `bridge.status` answers.
            alive: Whether the bus is read.
            metrics: The body of `/metrics` and its content type, for an `Accept` header.
            listen: Where.
            hosts: Names by which it may be asked for, beside this machine's own.
            clock: For the page's durations, and for the end.
        """
        self._report = report
        self._alive = alive
        self._metrics = metrics
        self._listen = listen
        self._hosts = _THIS_MACHINE | {listen.host} | {host.lower().strip("[]") for host in hosts}
        self._page = Page(clock.wall_ms)
        self._clock = clock
        self._server: Server | None = None
        self._paths: Final = {"/": self._whole, "/livez": self._live, "/readyz": self._ready, "/metrics": self._sums}

    @property
    def url(self) -> str:
        """Where the page is; after `start` with the real port."""
        return self._listen.url

    async def start(self, *, must: bool) -> bool:
        """Listen; False where something else listens there already and it need not be there.

        Raises:
            ConfigError: It cannot listen there.
        """
        silent = logging.getLogger(__name__)
        silent.disabled = True  # the library tells of each request, and with a traceback of each that makes no sense
        try:
            self._server = await serve(
                self._never,
                self._listen.host,
                self._listen.port,
                process_request=self._answer,
                create_connection=_Connection,
                compression=None,
                server_header=None,
                open_timeout=_PATIENCE,
                close_timeout=_PATIENCE,
                logger=silent,
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE and not must:
                log.info("no status page: something else listens at its address", status=self._listen.url)
                return False
            reason = "something else listens there" if error.errno == errno.EADDRINUSE else error.strerror
            raise ConfigError([f"bridge > status: {self._listen.host}:{self._listen.port}: {reason}"]) from None
        self._listen = Listen(self._listen.host, self._server.sockets[0].getsockname()[1])
        return True

    async def stop(self) -> None:
        """Close it; nobody is waited for."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(1.0):
                    await self._server.wait_closed()
            self._server = None

    async def _never(self, connection: ServerConnection) -> None:
        """Every request is answered as plain HTTP; none becomes a WebSocket."""

    def _answer(self, _: ServerConnection, request: Request) -> Response:
        path = urlsplit(request.path).path
        answer = self._paths.get(path)
        if not self._is_known(request.headers):
            return _response(HTTPStatus.MISDIRECTED_REQUEST, "not by this name\n")
        if request.method not in {"GET", "HEAD"}:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD\n", ("Allow", "GET, HEAD"))
        if answer is None:
            return _response(HTTPStatus.NOT_FOUND, "there are / /livez /readyz /metrics\n")
        try:
            response = answer(request)
        except Exception:
            # An edge of the process: what is wrong with the view must not end the work.
            log.exception("status page failed", path=path)
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

    def _whole(self, _: Request) -> Response:
        body = self._page.render(self._report())
        return _response(HTTPStatus.OK, body, content_type="text/html; charset=utf-8", policy=self._page.policy)

    def _live(self, _: Request) -> Response:
        if self._alive():
            return _response(HTTPStatus.OK, "alive\n")
        return _response(HTTPStatus.SERVICE_UNAVAILABLE, "the bus is not read\n")

    def _ready(self, _: Request) -> Response:
        """A remote that is down does not make the bridge unready: it answers, and what it says is all there is."""
        status = self._report()
        code = HTTPStatus.OK if is_ready(status) else HTTPStatus.SERVICE_UNAVAILABLE
        return _response(code, "\n".join([headline(status), *reasons(status), ""]))

    def _sums(self, request: Request) -> Response:
        body, content_type = self._metrics(", ".join(request.headers.get_all("Accept")))
        return _response(HTTPStatus.OK, body, content_type=content_type)


def _response(
    code: HTTPStatus,
    body: str | bytes,
    *more: tuple[str, str],
    content_type: str = _TEXT,
    policy: str = _NOTHING_ELSE,
) -> Response:
    content = body.encode("utf-8", "replace") if isinstance(body, str) else body
    own = (
        ("Content-Type", content_type),
        ("Content-Length", str(len(content))),
        ("Content-Security-Policy", policy),
    )
    return Response(code.value, code.phrase, Headers([*own, *_HEADERS, *more]), content)
