"""Resolve where an adapter connects to, and with which TLS, from the blocks of an integration.

The rules are those of `bridge.core.endpoint.resolve_endpoint`, for every protocol; each brings its table of schemes.
"""

import ssl

from bridge.adapters._common.tls import ClientTls
from bridge.core.endpoint import NO_ADDRESSING, Addressing, ResolvedEndpoint, Schemes, resolve_endpoint
from bridge.core.ports import AdapterSetup


def resolve(
    setup: AdapterSetup, schemes: Schemes, addressing: Addressing = NO_ADDRESSING
) -> tuple[ResolvedEndpoint, ...]:
    """Return the servers of an integration: the endpoint, and after it those of the `config` block.

    Raises:
        ValueError: There is no endpoint, or the blocks contradict each other, in words for a person.
    """
    if setup.endpoint is None:
        raise ValueError("an `endpoint` block is needed")
    return resolve_endpoint(setup.endpoint, schemes, setup.auth, setup.tls, addressing)


def client_tls(setup: AdapterSetup, endpoint: ResolvedEndpoint, *, alpn: str | None = None) -> ClientTls | None:
    """Return what makes the TLS contexts for connections to an endpoint; None where it is without TLS.

    Args:
        setup: Its `tls` and `auth` blocks name the files. They are read now, and again when they have changed.
        endpoint: One that `resolve` returned.
        alpn: The application's protocol to agree on (RFC 7301); None for none.

    Raises:
        ValueError: A file cannot be used; the message is in words for a person.
    """
    return ClientTls(setup.tls, setup.auth, alpn=alpn) if endpoint.tls else None


def tls_context(setup: AdapterSetup, endpoint: ResolvedEndpoint) -> ssl.SSLContext | None:
    """Return the context for a connection that is opened at once; see `client_tls`. Raises ValueError."""
    secure = client_tls(setup, endpoint)
    return None if secure is None else secure.latest


def server_name(setup: AdapterSetup, endpoint: ResolvedEndpoint) -> str:
    """Return the name that the server's certificate must carry."""
    return setup.tls.server_name or endpoint.host
