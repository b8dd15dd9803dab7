"""Where an HTTP adapter's requests go: the `endpoint`, `auth` and `tls` blocks made ready for use."""

import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import httpx

from bridge.adapters._common.tls import client_context
from bridge.core.endpoint import AuthBasic, AuthBearer, AuthCertificate, Endpoint, Tls
from bridge.core.ports import AdapterSetup

#: URL scheme → (default port, TLS). A bare host means http, or https with `tls = true` or port 443.
SCHEMES: Final[Mapping[str, tuple[int, bool]]] = {"http": (80, False), "https": (443, True)}


@dataclass(frozen=True, slots=True)
class Target:
    """One server and one path on it; holds no secret but what is inside `ssl_context`."""

    scheme: str
    host: str
    port: int
    raw_path: bytes
    ssl_context: ssl.SSLContext | None = None
    server_name: str | None = None

    @property
    def default_port(self) -> int:
        """The scheme's own port."""
        return SCHEMES[self.scheme][0]

    @property
    def key(self) -> tuple[str, str, int]:
        """What two URLs of the same server have in common."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """The `Host` header: no port where it is the scheme's own (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == self.default_port else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme and authority, for messages; a path may hold a secret."""
        return f"{self.scheme}://{self.authority}"

    @property
    def is_loopback(self) -> bool:
        """Whether nothing leaves this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")


def resolve(setup: AdapterSetup) -> Target:
    """Make the target of one integration.

    Raises:
        ValueError: The blocks contradict each other or name a file that does not serve, in words for a person.
    """
    if setup.endpoint is None:
        raise ValueError("an `endpoint` block is needed")
    url = _url(setup.endpoint)
    scheme = url.scheme
    tls_on = SCHEMES[scheme][1]
    context = _context(setup.tls, setup.auth) if tls_on else None
    if not tls_on and (setup.tls.ca is not None or setup.tls.server_name is not None):
        raise ValueError("there is a `tls` block, but the endpoint is plain http; write https, or `tls = true`")
    if not tls_on and isinstance(setup.auth, AuthCertificate):
        raise ValueError("a client certificate needs TLS; write https, or `tls = true`")
    return Target(
        scheme=scheme,
        host=url.raw_host.decode("ascii"),
        port=url.port or SCHEMES[scheme][0],
        raw_path=url.raw_path,
        ssl_context=context,
        server_name=setup.tls.server_name or url.raw_host.decode("ascii"),
    )


def _url(endpoint: Endpoint) -> httpx.URL:
    text = endpoint.url or endpoint.address or ""
    if "://" not in text:
        if "/" in text or "?" in text:
            raise ValueError(f'"{text}" is no host name; write a URL with its scheme, or put the rest into `path`')
        if text.count(":") > 1 and not text.startswith("["):
            text = f"[{text}]"
        text = f"{'https' if _means_tls(endpoint, text) else 'http'}://{text}"
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ValueError(f"not a URL: {error}") from None
    if url.scheme not in SCHEMES:
        raise ValueError(f'"{url.scheme}" is not a scheme of this protocol; there are {", ".join(SCHEMES)}')
    if not url.raw_host:
        raise ValueError("the endpoint names no host")
    try:
        url.host.encode("idna")
    except UnicodeError:
        raise ValueError(f'"{url.host}" cannot be a host name') from None
    if endpoint.tls is not None and endpoint.tls != SCHEMES[url.scheme][1]:
        raise ValueError(f"`tls` says {str(endpoint.tls).lower()}, the address says {url.scheme}")
    if url.fragment:
        raise ValueError("a fragment (#…) means nothing to a server")
    if endpoint.port is not None:
        said = urlsplit(text).port  # httpx leaves out a port that is the scheme's own
        if said not in {None, endpoint.port}:
            raise ValueError(f"`port` says {endpoint.port}, the address says {said}")
        url = url.copy_with(port=endpoint.port)
    if endpoint.path is not None:
        if url.raw_path not in {b"", b"/"}:
            raise ValueError("the address has a path already; leave `path` out, or the address's")
        url = url.join(endpoint.path if endpoint.path.startswith("/") else f"/{endpoint.path}")
    return url


def _means_tls(endpoint: Endpoint, text: str) -> bool:
    if endpoint.tls is not None:
        return endpoint.tls
    return endpoint.port == 443 or (endpoint.port is None and text.endswith(":443"))


def _context(tls: Tls, auth: object) -> ssl.SSLContext:
    context = client_context(tls, auth)
    context.set_alpn_protocols(["http/1.1"])
    return context


def authorization(setup: AdapterSetup) -> bytes:
    """The `Authorization` header line, or nothing.

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
