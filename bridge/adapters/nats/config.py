"""The configuration of a NATS integration, and what a connection needs of it: addresses, TLS, credentials."""

import ssl
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from pydantic import Field, model_validator

from bridge.adapters._common import endpoint as endpoints
from bridge.adapters._common.content import CodecName
from bridge.adapters._common.endpoint import tls_context
from bridge.adapters.nats import auth
from bridge.adapters.nats.auth import NkeySigner
from bridge.core.endpoint import (
    Addressing,
    AuthBasic,
    AuthBearer,
    AuthCredentials,
    AuthNkey,
    ResolvedEndpoint,
    Schemes,
    Strict,
)
from bridge.core.ports import AdapterSetup

#: URL scheme → (default port, TLS).
SCHEMES: Final[Schemes] = {"nats": (4222, False), "tls": (4222, True)}

#: What JetStream takes as the name of a stream or consumer: no dots, wildcards, slashes or spaces.
NAME_PATTERN: Final = r"^[A-Za-z0-9_-]+$"
_Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=200)]


class StreamSettings(Strict):
    """`stream { … }`: made if it is not there, checked if it is."""

    name: Annotated[_Name, Field(description="The name of the stream.")]
    subjects: Annotated[
        tuple[str, ...], Field(min_length=1, description="The subjects that it stores. Wildcards are allowed.")
    ]


class NatsConfig(Strict):
    """`config { … }` of a NATS integration."""

    servers: Annotated[
        tuple[str, ...],
        Field(
            description='More servers of the same cluster, as `"host:port"`, tried in order after the endpoint. Those '
            "that a server names are tried after them."
        ),
    ] = ()
    codec: Annotated[
        CodecName,
        Field(
            description="How messages, parameters and results become bytes and back. `auto` writes text as text and "
            "all else as JSON, and reads by the content type, else JSON, else UTF-8 text, else bytes."
        ),
    ] = "auto"
    idempotent: Annotated[
        tuple[str, ...],
        Field(description="Subjects whose requests may be sent again although the first one may have been acted on."),
    ] = ()
    inbox_prefix: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$",
            description="What the subjects of replies begin with. A server with permissions must allow them.",
        ),
    ] = "_INBOX"
    stream: Annotated[
        StreamSettings | None, Field(description="A JetStream stream. It is made if it is not there, else checked.")
    ] = None
    durable: Annotated[
        _Name | None,
        Field(
            description="The pull consumer that reads a queue which names none. With `stream` it is made, or checked."
        ),
    ] = None

    @model_validator(mode="after")
    def _subjects_fit(self) -> "NatsConfig":
        for subject in self.stream.subjects if self.stream else ():
            if not subject or any(not token for token in subject.split(".")) or subject.split() != [subject]:
                raise ValueError(f'stream.subjects: "{subject}" is no subject')
        return self


class Target(msgspec.Struct, frozen=True):
    """Where a session goes.

    Attributes:
        servers: Tried in this order.
        context: None where TLS was not asked for.
        server_name: What the certificate must say; None for the address' host.
        credentials: `user` and `password`, or `token`; functions where secret, so that nothing secret shows in a repr.
        keys: What signs a server's nonce; None where a password or token does, or nothing.
    """

    servers: tuple[ResolvedEndpoint, ...]
    context: ssl.SSLContext | None
    server_name: str | None
    credentials: Mapping[str, Any]
    keys: NkeySigner | None = None


def addressing(config: object) -> Addressing:
    """What the `config` block says about addresses: further servers of the same cluster."""
    servers = config.servers if isinstance(config, NatsConfig) else ()
    return Addressing(tuple((("config", "servers", str(index)), text) for index, text in enumerate(servers)))


def resolve(setup: AdapterSetup, config: NatsConfig) -> Target:
    """Make the target of one integration.

    Raises:
        ValueError: The blocks contradict each other or name a file that does not serve, in words for a person.
    """
    servers = endpoints.resolve(setup, SCHEMES, addressing(config))
    servers[0].refuse_path("NATS")
    context = tls_context(setup, servers[0])
    return Target(servers, context, setup.tls.server_name, _credentials(setup), _keys(setup))


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
