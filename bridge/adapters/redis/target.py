"""Where a Redis session goes: the `endpoint`, `auth` and `tls` blocks made ready for redis-py's connections."""

import asyncio
import copy
import ssl
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import Connection, SSLConnection
from redis.exceptions import ConnectionError  # noqa: A004 - it is the one of redis-py that the errors' table knows

from bridge.adapters._common.tls import client_context
from bridge.core.endpoint import AuthBasic, AuthCertificate
from bridge.core.ports import AdapterSetup

#: The port of a Sentinel, where the endpoint names none.
_SENTINEL_PORT: Final = 26379
_CHUNK: Final = 65_536
#: What `parsed` returns where no reply is complete.
NOTHING: Final[object] = NOT_ENOUGH_DATA
#: URL scheme → (default port, TLS); the names are those of redis-py and IANA.
SCHEMES: Final[Mapping[str, tuple[int, bool]]] = {"redis": (6379, False), "rediss": (6380, True)}


class PlainConnection(Connection):
    """redis-py's connection, with a write that never waits, replies without a task's step for each, and a quick end."""

    _transport: asyncio.WriteTransport | None = None
    _gets: Callable[[bool], Any]

    def settle(self) -> None:
        """Prepare an open connection for `write`, `parsed` and `receive`."""
        assert self._writer is not None  # noqa: S101 - it is open
        self._transport = self._writer.transport
        parser: Any = self._parser  # redis-py's base class does not know what its parser on hiredis has
        self._gets = parser._reader.gets  # noqa: SLF001

    def parsed(self) -> Any:
        """The next reply that is here as a whole, its strings as bytes; NOTHING where there is none.

        An error is returned, not raised. Raises InvalidResponse for what is no Redis.
        """
        return self._gets(False)

    async def receive(self) -> None:
        """Wait for more bytes. Raises redis-py's ConnectionError at the end of the connection, or OSError."""
        stream = self._reader
        data = b"" if stream is None else await stream.read(_CHUNK)
        if not data:
            raise ConnectionError("Connection closed by server.")
        self._parser._reader.feed(data)  # type: ignore[attr-defined]  # noqa: SLF001

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport; nothing where it is at its end, which the reader will see in a moment."""
        # uvloop's transport raises RuntimeError once it is closed; asyncio's own says nothing.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def abort(self) -> None:
        """End it now, whatever is still unsent: a frozen server would never take it."""
        transport = self._transport
        if transport is None and self._writer is not None:
            transport = self._writer.transport
        if transport is not None:
            transport.abort()
        self._reader = self._writer = self._transport = None


class TlsConnection(PlainConnection, SSLConnection):
    """The same over TLS, with a context of our own."""

    def __init__(self, *, context: ssl.SSLContext, server_name: str | None, **more: Any) -> None:
        super().__init__(**more)
        self.ssl_context.context = context
        self._server_name = server_name

    def _connection_arguments(self) -> dict[str, Any]:
        return {**super()._connection_arguments(), "server_hostname": self._server_name or self.host}


class Target:
    """One server and its credentials.

    Raises ValueError from its constructor, in words for a person, where the settings cannot work. Credentials without
    TLS to another machine are sent, but a warning is logged.

    Attributes:
        name: Host and port, for messages.
        settings: For redis-py's connection; holds the password.
    """

    def __init__(self, setup: AdapterSetup, db: int | None, *, sentinel: bool = False) -> None:
        """`db` is the configuration's; with `sentinel` the endpoint is a Sentinel's."""
        scheme, host, port, path_db = _address(setup, _SENTINEL_PORT if sentinel else None)
        tls_on = SCHEMES[scheme][1]
        if db is not None and path_db is not None and db != path_db:
            raise ValueError(f"`config` says db = {db}, the endpoint's path says {path_db}")
        self.name = f"{host}:{port}"
        self.settings: dict[str, Any] = {
            "host": host,
            "port": port,
            "db": db or path_db or 0,
            "protocol": 3,
            # One owner of time limits and retries: the guard. Without a `retry` redis-py makes none.
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "socket_keepalive": True,
            "socket_read_size": 65536,
            "driver_info": None,
        }
        match setup.auth:
            case AuthBasic(username=username, password=password):
                self.settings |= {"username": username or "default", "password": password.get_secret_value()}
                if not tls_on and not _is_loopback(host):
                    log = structlog.get_logger(__name__)
                    log.warning(
                        "credentials travel unencrypted; use rediss", integration=setup.integration, server=self.name
                    )
            case AuthCertificate() if not tls_on:
                raise ValueError("a client certificate needs TLS; write rediss://, or `tls = true`")
        if not tls_on and (setup.tls.ca is not None or setup.tls.server_name is not None):
            raise ValueError("there is a `tls` block, but the endpoint is plain; write rediss://, or `tls = true`")
        self._context = client_context(setup.tls, setup.auth) if tls_on else None
        self._server_name = setup.tls.server_name

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self._context is not None

    def beside(self, address: str) -> "Target":
        """The same on another server, by `host:port` or a host alone. Raises ValueError where it is neither."""
        parts = urlsplit(f"//{address}")
        try:
            port = parts.port
        except ValueError:
            port = 0
        if not parts.hostname or parts.netloc != address or "@" in address or port == 0:
            raise ValueError(f'config.cluster: "{address}" is no address; write "host:port"')
        return self.at(parts.hostname, port or SCHEMES["rediss" if self.tls else "redis"][0])

    def at(self, host: str, port: int) -> "Target":
        """The same on another server."""
        other = copy.copy(self)
        other.name = f"{host}:{port}"
        other.settings = self.settings | {"host": host, "port": port}
        return other

    def anonymous(self) -> "Target":
        """The same without credentials and database, as a Sentinel takes it."""
        other = copy.copy(self)
        other.settings = self.settings | {"username": None, "password": None, "db": 0}
        return other

    def connection(self) -> PlainConnection:
        """A new connection, not yet open."""
        if self._context is None:
            return PlainConnection(**self.settings)
        return TlsConnection(context=self._context, server_name=self._server_name, **self.settings)


def _address(setup: AdapterSetup, default_port: int | None) -> tuple[str, str, int, int | None]:
    """Scheme, host, port and database; `default_port` None means the scheme's own."""
    endpoint = setup.endpoint
    if endpoint is None:
        raise ValueError("an `endpoint` block is needed")
    text = endpoint.url or endpoint.address or ""
    if "://" not in text:
        if text.count(":") > 1 and not text.startswith("["):
            text = f"[{text}]"
        text = f"//{text}"
    parts = urlsplit(text)
    if not parts.hostname:
        raise ValueError("the endpoint names no host")
    port = endpoint.port or parts.port
    tls = endpoint.tls if endpoint.tls is not None else port == SCHEMES["rediss"][0]
    scheme = parts.scheme or ("rediss" if tls else "redis")
    if scheme not in SCHEMES:
        raise ValueError(f'"{scheme}" is not a scheme of this protocol; there are {", ".join(SCHEMES)}')
    if endpoint.tls is not None and endpoint.tls != SCHEMES[scheme][1]:
        raise ValueError(f"`tls` says {str(endpoint.tls).lower()}, the address says {scheme}")
    if parts.query or parts.fragment:
        raise ValueError("an address has no `?` and no `#`; settings go into `config`")
    path, more = parts.path.strip("/"), (endpoint.path or "").strip("/")
    if path and more:
        raise ValueError("the address has a path already; leave `path` out, or the address's")
    path = path or more
    if path and not (path.isascii() and path.isdigit()):
        raise ValueError(f"the path is the number of a database, as in /0, not {path!r}")
    return scheme, parts.hostname, port or default_port or SCHEMES[scheme][0], int(path) if path else None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
