"""Where a Redis session goes: the `endpoint`, `auth` and `tls` blocks, checked and resolved."""

import copy
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import structlog

from bridge.adapters._common.tls import client_context
from bridge.core.endpoint import AuthBasic, AuthCertificate
from bridge.core.ports import AdapterSetup

#: The port of a Sentinel, where the endpoint names none.
_SENTINEL_PORT: Final = 26379
#: URL scheme → (default port, TLS); the names are those of redis-py and IANA.
SCHEMES: Final[Mapping[str, tuple[int, bool]]] = {"redis": (6379, False), "rediss": (6380, True)}


class Target:
    """One server and its credentials.

    Raises ValueError from its constructor, in words for a person, where the settings cannot work. Credentials without
    TLS to another machine are sent, but a warning is logged.

    Attributes:
        name: Host and port, for messages.
        host: The server's name or address.
        port: Its TCP port.
        db: Number of the database.
        credentials: Name and password, or None.
        context: For TLS; None where the connection is plain.
        server_name: The name that the certificate must carry; None: `host`.
    """

    def __init__(self, setup: AdapterSetup, db: int | None, *, sentinel: bool = False) -> None:
        """`db` is the configuration's; with `sentinel` the endpoint is a Sentinel's."""
        scheme, host, port, path_db = _address(setup, _SENTINEL_PORT if sentinel else None)
        tls_on = SCHEMES[scheme][1]
        if db is not None and path_db is not None and db != path_db:
            raise ValueError(f"`config` says db = {db}, the endpoint's path says {path_db}")
        self.name = f"{host}:{port}"
        self.host = host
        self.port = port
        self.db = db or path_db or 0
        self.credentials: tuple[str, str] | None = None
        match setup.auth:
            case AuthBasic(username=username, password=password):
                self.credentials = (username or "default", password.get_secret_value())
                if not tls_on and not _is_loopback(host):
                    log = structlog.get_logger(__name__)
                    log.warning(
                        "credentials travel unencrypted; use rediss", integration=setup.integration, server=self.name
                    )
            case AuthCertificate() if not tls_on:
                raise ValueError("a client certificate needs TLS; write rediss://, or `tls = true`")
        if not tls_on and (setup.tls.ca is not None or setup.tls.server_name is not None):
            raise ValueError("there is a `tls` block, but the endpoint is plain; write rediss://, or `tls = true`")
        self.context = client_context(setup.tls, setup.auth) if tls_on else None
        self.server_name = setup.tls.server_name

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.context is not None

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
        """Return the same on another server."""
        other = copy.copy(self)
        other.name = f"{host}:{port}"
        other.host, other.port = host, port
        return other

    def anonymous(self) -> "Target":
        """Return the same without credentials and database, as a Sentinel takes it."""
        other = copy.copy(self)
        other.credentials, other.db = None, 0
        return other


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
