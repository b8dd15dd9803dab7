"""The configuration of a NATS integration, and what a connection needs of it: addresses, TLS, credentials."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from bridge.adapters._common.content import CodecName
from bridge.adapters._common.tls import client_context
from bridge.adapters.nats import auth
from bridge.adapters.nats.auth import NkeySigner
from bridge.core.endpoint import AuthBasic, AuthBearer, AuthCertificate, AuthCredentials, AuthNkey, Strict
from bridge.core.ports import AdapterSetup

#: URL scheme → (default port, TLS).
SCHEMES: Final[Mapping[str, tuple[int, bool]]] = {"nats": (4222, False), "tls": (4222, True)}

#: What JetStream takes as the name of a stream or consumer: no dots, wildcards, slashes or spaces.
NAME_PATTERN: Final = r"^[A-Za-z0-9_-]+$"
_Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=200)]


class StreamSettings(Strict):
    """`stream { … }`: made if it is not there, checked if it is."""

    name: Annotated[_Name, Field(description="the stream's name")]
    subjects: Annotated[tuple[str, ...], Field(min_length=1, description="what it stores; wildcards are allowed")]


class NatsConfig(Strict):
    """`config { … }` of a NATS integration."""

    servers: Annotated[
        tuple[str, ...],
        Field(description='more servers of the same cluster, as "host:port", tried in order after the endpoint'),
    ] = ()
    codec: Annotated[CodecName, Field(description="how messages, parameters and results are written and read")] = "auto"
    idempotent: Annotated[
        tuple[str, ...],
        Field(description="subjects whose requests may be repeated although one may have been acted on"),
    ] = ()
    inbox_prefix: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", description="what reply subjects begin with")
    ] = "_INBOX"
    stream: Annotated[StreamSettings | None, Field(description="a JetStream stream to make, or to check")] = None
    durable: Annotated[
        _Name | None,
        Field(
            description="the pull consumer that reads a queue which names none; with `stream` it is made, or checked"
        ),
    ] = None

    @model_validator(mode="after")
    def _subjects_fit(self) -> "NatsConfig":
        for subject in self.stream.subjects if self.stream else ():
            if not subject or any(not token for token in subject.split(".")) or subject.split() != [subject]:
                raise ValueError(f'stream.subjects: "{subject}" is no subject')
        return self


@dataclass(frozen=True, slots=True)
class Address:
    """One server."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Host and port as a URL; it does not say whether TLS is on."""
        return f"nats://[{self.host}]:{self.port}" if ":" in self.host else f"nats://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a session goes.

    Attributes:
        addresses: Tried in this order.
        context: None where TLS was not asked for.
        server_name: What the certificate must say; None for the address' host.
        credentials: `user` and `password`, or `token`; functions where secret, so that nothing secret shows in a repr.
        keys: What signs a server's nonce; None where a password or token does, or nothing.
    """

    addresses: tuple[Address, ...]
    context: ssl.SSLContext | None
    server_name: str | None
    credentials: Mapping[str, Any]
    keys: NkeySigner | None = None


def resolve(setup: AdapterSetup, config: NatsConfig) -> Target:
    """Make the target of one integration.

    Raises:
        ValueError: The blocks contradict each other or name a file that does not serve, in words for a person.
    """
    endpoint = setup.endpoint
    if endpoint is None:
        raise ValueError("an `endpoint` block is needed")
    scheme, first = _parse(endpoint.url or endpoint.address or "")
    if endpoint.path not in {None, "", "/"}:
        raise ValueError("NATS has no paths; leave `path` out")
    if endpoint.port is not None:
        first = Address(first.host, endpoint.port)
    tls_on = bool(endpoint.tls) if scheme is None else SCHEMES[scheme][1]
    if scheme is not None and endpoint.tls is not None and endpoint.tls != tls_on:
        raise ValueError(f"`tls` says {str(endpoint.tls).lower()}, the address says {scheme}")
    addresses = [first]
    for text in config.servers:
        other, address = _parse(text)
        if other is not None and SCHEMES[other][1] != tls_on:
            raise ValueError(f'servers: "{text}" and the endpoint disagree about TLS')
        addresses.append(address)
    if not tls_on and (setup.tls.ca is not None or setup.tls.server_name is not None):
        raise ValueError("there is a `tls` block, but the endpoint is plain; write tls://, or `tls = true`")
    if not tls_on and isinstance(setup.auth, AuthCertificate):
        raise ValueError("a client certificate needs TLS; write tls://, or `tls = true`")
    context = client_context(setup.tls, setup.auth) if tls_on else None
    return Target(tuple(addresses), context, setup.tls.server_name, _credentials(setup), _keys(setup))


def _parse(text: str) -> tuple[str | None, Address]:
    """Scheme, if it is said, and address."""
    bare = "://" not in text
    if bare and text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    try:
        parts = urlsplit(f"nats://{text}" if bare else text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f'"{text}" is no address: {error}') from None
    if parts.scheme not in SCHEMES:
        raise ValueError(f'"{parts.scheme}" is not a scheme of this protocol; there are {", ".join(SCHEMES)}')
    if parts.username or parts.password:
        raise ValueError("credentials do not belong into the address; use an `auth` block")
    if not parts.hostname or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f'"{text}" is no address; write "host:port"')
    return None if bare else parts.scheme, Address(parts.hostname, port or SCHEMES[parts.scheme][0])


def _credentials(setup: AdapterSetup) -> dict[str, Any]:
    match setup.auth:
        case AuthBasic(username=None):
            raise ValueError("auth.username is missing: NATS knows no password alone (a token is `bearer`)")
        case AuthBasic(username=username, password=password):
            return {"user": username, "password": password.get_secret_value}
        case AuthBearer(token=token):
            return {"token": token.get_secret_value}
    return {}


def _keys(setup: AdapterSetup) -> NkeySigner | None:
    match setup.auth:
        case AuthNkey(seed=seed):
            return auth.from_seed(seed.get_secret_value)
        case AuthCredentials(file=file):
            return auth.from_file(file, setup.hide)
    return None
