"""Where a Redis session goes: the `endpoint`, `auth` and `tls` blocks, checked and resolved."""

import copy
import ssl
from typing import Final

from bridge.adapters._common.endpoint import client_tls, resolve, server_name
from bridge.adapters.redis.config import RedisConfig
from bridge.core.endpoint import NO_ADDRESSING, Addressing, AuthBasic, EndpointError, ResolvedEndpoint, Schemes
from bridge.core.errors import ProtocolError
from bridge.core.ports import AdapterSetup

#: The port of a Sentinel, where the endpoint names none.
_SENTINEL_PORT: Final = 26379
#: URL scheme → (default port, TLS); the names are those of redis-py and IANA.
SCHEMES: Final[Schemes] = {"redis": (6379, False), "rediss": (6380, True)}


class Target:
    """One server and its credentials.

    Attributes:
        server: Where it is.
        db: Number of the database.
        credentials: Name and password, or None.
    """

    def __init__(self, setup: AdapterSetup, server: ResolvedEndpoint, db: int) -> None:
        """Raises ValueError, in words for a person, where a file of the `tls` or `auth` block does not serve."""
        self.server = server
        self.db = db
        self.credentials: tuple[str, str] | None = None
        if isinstance(setup.auth, AuthBasic):
            self.credentials = (setup.auth.username or "default", setup.auth.password.get_secret_value())
        self._client_tls = client_tls(setup, server)
        self._setup = setup

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context for a connection that is opened now; None where the connection is plain.

        Raises:
            NotConnectedError: A file of the `tls` or `auth` block has changed and cannot be used.
        """
        return None if self._client_tls is None else self._client_tls.context()

    @property
    def name(self) -> str:
        """Host and port, for messages."""
        return self.server.name

    @property
    def server_name(self) -> str | None:
        """The name that the certificate must carry; None without TLS."""
        return server_name(self._setup, self.server) if self.server.tls else None

    def at(self, host: str, port: int) -> "Target":
        """Return the same on a server that a Sentinel or a cluster names. Raises ProtocolError where it is none."""
        try:
            return self.to(self.server.at(host, port))
        except ValueError as error:
            raise ProtocolError(f"{self.name} names a server that cannot be: {error}") from None

    def to(self, server: ResolvedEndpoint) -> "Target":
        """Return the same on another server."""
        other = copy.copy(self)
        other.server = server
        return other

    def anonymous(self) -> "Target":
        """Return the same without credentials and database, as a Sentinel takes it."""
        other = copy.copy(self)
        other.credentials, other.db = None, 0
        return other


def addressing(config: object) -> Addressing:
    """What the `config` block says about addresses: further nodes of a cluster or Sentinels, and their default port."""
    if not isinstance(config, RedisConfig):
        return NO_ADDRESSING
    nodes = () if isinstance(config.cluster, bool) else config.cluster
    lists = {"cluster": nodes, "sentinels": config.sentinels}
    more = tuple(
        (("config", key, str(index)), text) for key, texts in lists.items() for index, text in enumerate(texts)
    )
    return Addressing(more, None if config.sentinel is None else _SENTINEL_PORT)


def targets(setup: AdapterSetup, config: RedisConfig) -> list[Target]:
    """The servers of an integration, the endpoint first.

    Raises:
        ValueError: The settings cannot work, in words for a person.
    """
    if config.sentinels and config.sentinel is None:
        raise ValueError("config.sentinels: write the master's name into `sentinel`, too")
    servers = resolve(setup, SCHEMES, addressing(config))
    db = _database(servers[0])
    if config.db is not None and db is not None and config.db != db:
        raise ValueError(f"config.db: it is {config.db}, but the endpoint's path says {db}")
    first = Target(setup, servers[0], config.db or db or 0)
    return [first, *map(first.to, servers[1:])]


def warn_of(setup: AdapterSetup, config: RedisConfig, target: Target) -> None:
    """Tell what is not safe about a server that a Sentinel or a cluster has named; `check` knows the others."""
    configured = {server.name for server in resolve(setup, SCHEMES, addressing(config))}
    if config.sentinel is not None or target.name not in configured:
        setup.on_warning(f"credentials to {target.name}", " ".join(target.server.warnings) or None)


def _database(server: ResolvedEndpoint) -> int | None:
    """The database that the path names; None where there is no path."""
    path = server.path.strip("/")
    if not path:
        return None
    if "?" in path:
        raise EndpointError(server.key, "an address has no `?`; settings go into `config`")
    if not (path.isascii() and path.isdigit()):
        raise EndpointError(server.key, f"the path is the number of a database, as in /0, not {path!r}")
    return int(path)
