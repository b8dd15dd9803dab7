"""Resolve where HTTP requests go, from the `endpoint`, `auth` and `tls` blocks."""

import ssl
from base64 import b64encode
from typing import Final

import httpx
import msgspec

from bridge.adapters._common import endpoint as endpoints
from bridge.adapters._common.endpoint import client_tls, server_name
from bridge.adapters._common.tls import ClientTls
from bridge.core.endpoint import AuthBasic, AuthBearer, EndpointError, ResolvedEndpoint, Schemes
from bridge.core.ports import AdapterSetup

#: URL scheme → (default port, TLS).
SCHEMES: Final[Schemes] = {"http": (80, False), "https": (443, True)}


class HttpTarget(msgspec.Struct, frozen=True):
    """A server and a path on it; no secret is in it, except inside `client_tls`.

    Attributes:
        server: Where it is; its host is in ASCII (RFC 5891).
        raw_path: Path and query, encoded.
        client_tls: Makes the TLS context of each connection; None without TLS.
        server_name: What the certificate must carry.
    """

    server: ResolvedEndpoint
    raw_path: bytes
    client_tls: ClientTls | None
    server_name: str

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the context for a connection that is opened now; None without TLS.

        Raises:
            NotConnectedError: A file of the `tls` or `auth` block has changed and cannot be used.
        """
        return None if self.client_tls is None else self.client_tls.context()

    @property
    def default_port(self) -> int:
        """Return the port of the scheme."""
        return 443 if self.server.tls else 80

    @property
    def key(self) -> tuple[str, str, int]:
        """Return scheme, host and port: two URLs of the same server have these in common."""
        return self.server.scheme, self.server.host, self.server.port

    @property
    def authority(self) -> str:
        """Return the `Host` header: without the port where it is the scheme's own (RFC 9110, 7.2)."""
        name = self.server.name
        return name.removesuffix(f":{self.default_port}") if self.server.port == self.default_port else name

    @property
    def origin(self) -> str:
        """Return scheme and authority, for messages; the path is left out because it may hold a secret."""
        return f"{self.server.scheme}://{self.authority}"


def resolve(setup: AdapterSetup, schemes: Schemes = SCHEMES) -> HttpTarget:
    """Resolve the target of one integration.

    Args:
        setup: That of the integration.
        schemes: Those of WebSocket, whose opening handshake is an HTTP request (RFC 6455, 1.7), or of HTTP itself.

    Raises:
        ValueError: The blocks contradict each other, or a file cannot be used; the message is in words for a person.
    """
    server = endpoints.resolve(setup, schemes)[0]
    path = server.path
    if "#" in path:
        raise EndpointError(server.key, "a fragment (`#…`) means nothing to a server")
    if path and path[0] not in "/?":
        path = f"/{path}"
    try:
        url = httpx.URL(f"http://{server.name}{path}")
    except httpx.InvalidURL as error:
        raise EndpointError(server.key, f"not a URL: {error}") from None
    server = msgspec.structs.replace(server, host=url.raw_host.decode("ascii"))
    return HttpTarget(server, url.raw_path, client_tls(setup, server, alpn="http/1.1"), server_name(setup, server))


def authorization(setup: AdapterSetup) -> bytes:
    """Return the line of the `Authorization` header; empty without credentials.

    Raises:
        ValueError: The credentials hold what a header cannot carry.
    """
    match setup.auth:
        case AuthBasic(username=username, password=password):
            if ":" in (username or ""):
                raise ValueError("auth.username: HTTP has no user names with a colon (RFC 7617)")
            pair = f"{username or ''}:{password.get_secret_value()}"
            return b"authorization: Basic " + b64encode(pair.encode()) + b"\r\n"
        case AuthBearer(token=token):
            text = token.get_secret_value()
            if not text or not text.isascii() or not text.isprintable() or " " in text:
                raise ValueError("auth.token: only printable ASCII without spaces fits into a header")
            return b"authorization: Bearer " + text.encode() + b"\r\n"
    return b""
