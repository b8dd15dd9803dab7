"""Where a remote is and how to prove who we are: the `endpoint`, `auth` and `tls` blocks, checked and resolved.

The models are filled by the configuration. `resolve_endpoint` is the one place where host, port and TLS are decided,
for all protocols. Everything secret is a `SecretStr`, which masks itself in repr, log and error.
"""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

#: A protocol's URL schemes, in small letters: scheme → (default port, whether it means TLS).
Schemes = Mapping[str, tuple[int, bool]]


class PlainFault(ValueError):  # noqa: N818 - it becomes part of a diagnostic
    """A fault whose message repeats nothing of the value, so that it is shown even where the value is secret."""


class Strict(BaseModel):
    """The base of every configuration model: frozen, and an unknown key is an error.

    A model's checks are built when it is first used; most configurations use half of the models.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


def is_loopback(host: str) -> bool:
    """Return whether a host name or IP address means this machine, so that nothing sent there leaves it.

    Names by RFC 6761, 6.3: `localhost` and all names that end in `.localhost`.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return f".{host.lower().removesuffix('.')}".endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def with_port(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_host(host: str) -> None:
    """Refuse what the system's resolver would answer with an error of its own kind (RFC 1035, 2.3.4; RFC 3490).

    Raises:
        ValueError: It can be neither a host name nor an IP address.
    """
    if not host:
        raise ValueError("it is empty")
    if not host.isprintable() or " " in host:
        raise ValueError("it has a space or a control character")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("a part of its name is empty, or longer than 63 letters") from None


class Address(msgspec.Struct, frozen=True):
    """An address as it was written: a host, a host with its port, or a URL.

    Attributes:
        text: What was written, up to the path: a path may hold a secret.
        scheme: The URL's scheme in small letters; None where there is none.
        host: Without brackets.
        port: None where there is none.
        path: The URL's path and query; empty where there is none.
    """

    text: str
    scheme: str | None
    host: str
    port: int | None
    path: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Take an address apart.

        Raises:
            ValueError: It is none, in words for a person; credentials in it are not repeated.
        """
        scheme, mark, rest = text.partition("://")
        if not mark:
            rest = text
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        path = rest[len(authority) :]
        shown = text[: len(text) - len(path)]
        # Behind a slash there may be the rest of a password, and this the beginning.
        quoted = "this" if "@" in text else f'"{shown}"'
        if "@" in authority:
            raise PlainFault("credentials do not belong into the address; use an `auth` block")
        if path and not mark:
            words = "is no host name; write a URL with its scheme, or put the rest into `path`"
            raise ValueError(f"{quoted} {words}" if "@" in text else f'"{shown}{path[0]}…" {words}')
        if "#" in path:
            raise PlainFault("a fragment (`#…`) means nothing to a server")
        if not path.isprintable():
            raise PlainFault("its path has a control character")
        if not mark and authority.count(":") > 1 and not authority.startswith("["):
            authority = f"[{authority}]"
        if not authority.isprintable() or " " in authority:
            found = "this" if "@" in text else ascii(shown)
            raise ValueError(f"{found} names no host: it has a space or a control character")
        try:
            parts = urlsplit(f"//{authority}")
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port = "", 0
        if port == 0:
            raise ValueError(f'{quoted} is no address; write "host:port" or a URL, with a port from 1 to 65535')
        try:
            check_host(host)
        except ValueError as error:
            raise ValueError(f"{quoted} names no host: {error}") from None
        return cls(shown, scheme.lower() if mark else None, host, port, path)


class Endpoint(Strict):
    """`endpoint { … }`: an `address` with `port`, `path` and `tls`, or one `url` that says all of it.

    `address` may itself be a URL (`https://api.example.com`), as the specification writes it.
    """

    address: Annotated[
        str | None,
        Field(min_length=1, description="A host name, an IP address or a URL. Give either `address` or `url`."),
    ] = None
    url: Annotated[
        str | None,
        Field(min_length=1, description="A URL with its scheme. It says `port`, `path` and `tls`, too."),
    ] = None
    port: Annotated[
        int | None,
        Field(ge=1, le=65535, description="The TCP port. Default: the one in the address, else the protocol's own."),
    ] = None
    path: Annotated[
        str | None,
        Field(
            description="What follows the host in the URL, for protocols that have a path: HTTP, JSON-RPC and "
            "WebSocket; of Redis the number of the database."
        ),
    ] = None
    tls: Annotated[
        bool | None,
        Field(
            description="Whether the connection uses TLS. Default: as the scheme says; without one as the port says, "
            "where it is the protocol's own with or without TLS; else true, but false towards this machine itself."
        ),
    ] = None

    @field_validator("address", "url")
    @classmethod
    def _is_address(cls, text: str | None) -> str | None:
        if text is not None:
            Address.parse(text)
        return text

    @model_validator(mode="after")
    def _one_form(self) -> "Endpoint":
        if (self.address is None) == (self.url is None):
            raise PlainFault("give either `address` or `url`")
        if self.url is not None and (self.port, self.path, self.tls) != (None, None, None):
            raise PlainFault("`url` says port, path and tls already; leave them out")
        address = self.written
        if self.url is not None and address.scheme is None:
            raise PlainFault('a `url` starts with its scheme, as in "https://host/path"')
        if address.port is not None and self.port is not None and address.port != self.port:
            raise ValueError(f"`port` says {self.port}, the address says {address.port}")
        return self

    @property
    def written(self) -> Address:
        """The address, taken apart."""
        return Address.parse(self.url or self.address or "")

    @property
    def key(self) -> str:
        """The key that holds the address."""
        return "address" if self.url is None else "url"

    @property
    def scheme(self) -> str | None:
        """The URL's scheme in small letters; None where the address is a bare host."""
        return self.written.scheme


class AuthNone(Strict):
    """No credentials."""

    type: Annotated[Literal["none"], Field(description="No credentials are sent; this is the default.")] = "none"


class AuthBasic(Strict):
    """User name and password; a password alone where the protocol knows that."""

    type: Annotated[Literal["basic"], Field(description="A user name and a password.")]
    username: Annotated[
        str | None,
        Field(
            description="The user name. Without one the password is sent alone, as far as the protocol knows that: "
            "Redis takes `default`, MQTT and HTTP an empty name; NATS needs a name."
        ),
    ] = None
    password: Annotated[SecretStr, Field(description="The password. It is masked wherever the configuration is shown.")]


class AuthBearer(Strict):
    """A token."""

    type: Annotated[Literal["bearer"], Field(description="A token, such as an API key.")]
    token: Annotated[
        SecretStr,
        Field(
            description="The token: the header `Authorization: Bearer …` of HTTP and WebSocket, the token of NATS, the "
            "password of MQTT. It is masked wherever the configuration is shown."
        ),
    ]


class AuthCertificate(Strict):
    """A client certificate: PEM files; `key` may be in the same file as `cert`."""

    type: Annotated[Literal["certificate"], Field(description="A client certificate; it needs TLS.")]
    cert: Annotated[
        Path,
        Field(
            description="PEM file of the certificate, with those that lead to its authority. Read for each connection."
        ),
    ]
    key: Annotated[
        Path | None,
        Field(
            description="PEM file of the private key, without a password. Default: the key is in the file of `cert`."
        ),
    ] = None


class AuthNkey(Strict):
    """An nkey: the seed of an Ed25519 key whose public half the server knows (NATS)."""

    type: Annotated[Literal["nkey"], Field(description="An Ed25519 key of NATS.")]
    seed: Annotated[
        SecretStr,
        Field(
            description="The seed, which begins with `SU`. It signs what the server sends, and never leaves the bridge."
        ),
    ]


class AuthCredentials(Strict):
    """A credentials file with a JWT and the seed that belongs to it (NATS)."""

    type: Annotated[Literal["credentials"], Field(description="A credentials file of NATS.")]
    file: Annotated[
        Path,
        Field(description="The `.creds` file with a JWT and the seed that belongs to it. Read for each connection."),
    ]


AnyAuth = AuthNone | AuthBasic | AuthBearer | AuthCertificate | AuthNkey | AuthCredentials
NO_AUTH: Final = AuthNone()


class Tls(Strict):
    """`tls { … }`: whom to trust. It verifies unless told not to."""

    ca: Annotated[
        Path | None, Field(description="PEM file of the certificate authorities to trust, in place of the system's.")
    ] = None
    server_name: Annotated[
        str | None, Field(description="The name that the server's certificate must carry. Default: the host's name.")
    ] = None
    verify: Annotated[
        bool,
        Field(
            description="Whether the server's certificate is checked. Without it anybody can pose as the remote; "
            "`check`, log and health warn."
        ),
    ] = True

    @field_validator("server_name")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        """Refuse what OpenSSL would refuse at each connection, with an error of Python's own kind."""
        if name is not None:
            try:
                check_host(name)
            except ValueError as error:
                raise ValueError(f"cannot be the name of a server: {error}") from None
        return name

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and not safe, one line each; log, health and `check` show it."""
        if self.verify:
            return ()
        return ("`tls.verify = false`: anybody can pose as the remote, and read and change what is sent",)


class EndpointError(ValueError):
    """The blocks of an integration contradict each other; the text starts with the key.

    Attributes:
        key: Where, from the integration's block on: `("endpoint", "url")`, `("config", "servers", "1")`.
        words: The text without the key.
    """

    def __init__(self, key: tuple[str, ...], words: str) -> None:
        name = re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", ".".join(key))
        super().__init__(f"{name}: {words}")
        self.key = key
        self.words = words


class Addressing(msgspec.Struct, frozen=True):
    """What a `config` block says about addresses.

    Attributes:
        more: Further servers beside the endpoint, in order: their keys, and what was written.
        port: The default port in place of the scheme's own; None for that.
    """

    more: Sequence[tuple[tuple[str, ...], str]] = ()
    port: int | None = None


NO_ADDRESSING: Final = Addressing()


class ResolvedEndpoint(msgspec.Struct, frozen=True):
    """One server, after the rules for port and TLS.

    Attributes:
        scheme: The protocol's scheme that means this, in small letters.
        host: Host name or IP address, without brackets.
        port: Its TCP port.
        tls: Whether the connection uses TLS.
        path: The URL's path and query, or the `path` of the endpoint; empty where there is none.
        key: Where the address stands, from the integration's block on.
        plain_scheme: The protocol's scheme without TLS; None where it has none.
        secure_scheme: The protocol's scheme with TLS; None where it has none.
        secret: What the `auth` block sends, *password* or *token*; None where it sends none.
    """

    scheme: str
    host: str
    port: int
    tls: bool
    path: str = ""
    key: tuple[str, ...] = ("endpoint",)
    plain_scheme: str | None = None
    secure_scheme: str | None = None
    secret: str | None = None

    @property
    def name(self) -> str:
        """Host and port, for messages."""
        return with_port(self.host, self.port)

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine."""
        return is_loopback(self.host)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and not safe, one line each."""
        if self.secret is None or self.tls or self.loopback:
            return ()
        scheme = self.secure_scheme
        advice = "" if scheme is None else f"; use TLS, by `{scheme}://` or `tls = true`"
        return (f"`auth`: the {self.secret} travels unencrypted to {self.name}{advice}",)

    @property
    def plaintext_hint(self) -> str:
        """What to write if the port turns out to be one without TLS."""
        in_url = "" if self.plain_scheme is None else f", or `{self.plain_scheme}://` in a URL"
        return f"the port may be one without TLS; if it is, write `tls = false`{in_url}"

    def at(self, host: str, port: int) -> "ResolvedEndpoint":
        """Return the same on another server, as a cluster names it.

        Raises:
            ValueError: It can be no address.
        """
        check_host(host)
        if not 0 < port < 65536:
            raise ValueError(f"{port} is no port")
        return msgspec.structs.replace(self, host=host, port=port)

    def refuse_path(self, protocol: str) -> None:
        """Raise EndpointError where there is a path, which the protocol has no meaning for."""
        if self.path.strip("/"):
            raise EndpointError(self.key, f"{protocol} has no path; leave {self.path!r} out")


def resolve_endpoint(
    endpoint: Endpoint,
    schemes: Schemes,
    auth: AnyAuth = NO_AUTH,
    tls: Tls | None = None,
    addressing: Addressing = NO_ADDRESSING,
) -> tuple[ResolvedEndpoint, ...]:
    """Decide where an integration's servers are and whether TLS is used, which is the same for all of them.

    TLS: `tls = true|false` decides; else a URL's scheme; else the port, where it is the well-known one with or without
    TLS; else there is TLS, unless all servers are on this machine.

    Args:
        endpoint: The `endpoint` block.
        schemes: The protocol's schemes; not empty.
        auth: The `auth` block.
        tls: The `tls` block.
        addressing: What the `config` block adds.

    Returns:
        The endpoint, and after it the further servers of the `config` block.

    Raises:
        EndpointError: The blocks contradict each other, in words for a person that name the key.
    """
    first = "endpoint", endpoint.key
    written: dict[tuple[str, ...], Address] = {first: endpoint.written}
    for key, text in addressing.more:
        try:
            written[key] = Address.parse(text)
        except ValueError as error:
            raise EndpointError(key, str(error)) from None
    for key, address in written.items():
        if address.scheme is not None and address.scheme not in schemes:
            known = ", ".join(schemes)
            raise EndpointError(key, f'"{address.text}" has no scheme of this protocol; there are {known}')
        if key != first and address.path:
            raise EndpointError(key, f'only the endpoint may have a path; write "{address.text}"')
    port = endpoint.port or written[first].port
    on = _uses_tls(endpoint, port, list(written.values()), schemes)
    _check_tls(on, written, schemes)
    if not on:
        _check_plaintext(auth, tls or Tls(), schemes)
    path = written[first].path
    if endpoint.path is not None:
        if path not in {"", "/"}:
            raise EndpointError(("endpoint", "path"), "the address has a path already; leave one of them out")
        path = endpoint.path
    scheme = next(name for name, (_, means) in schemes.items() if means == on)
    found = []
    for key, address in written.items():
        named = address.scheme or scheme
        said = port if key == first else address.port
        found.append(
            ResolvedEndpoint(
                scheme=named,
                host=address.host,
                port=said or addressing.port or schemes[named][0],
                tls=on,
                path=path if key == first else "",
                key=("endpoint", "path") if key == first and endpoint.path is not None else key,
                plain_scheme=next((name for name, (_, means) in schemes.items() if not means), None),
                secure_scheme=next((name for name, (_, means) in schemes.items() if means), None),
                # An nkey, and with it a JWT, prove themselves by signing what the server sends: the seed stays here.
                secret={AuthBasic: "password", AuthBearer: "token"}.get(type(auth)),
            )
        )
    return tuple(found)


def _uses_tls(endpoint: Endpoint, port: int | None, addresses: list[Address], schemes: Schemes) -> bool:
    if endpoint.tls is not None:
        return endpoint.tls
    for address in addresses:
        if address.scheme is not None:
            return schemes[address.scheme][1]
    known = {tls for default, tls in schemes.values() if default == port} or {tls for _, tls in schemes.values()}
    if len(known) == 1:
        return known.pop()
    return not all(is_loopback(address.host) for address in addresses)


def _check_tls(on: bool, written: Mapping[tuple[str, ...], Address], schemes: Schemes) -> None:
    """Raise EndpointError where a scheme, or the protocol as a whole, contradicts what was decided."""
    for key, address in written.items():
        if address.scheme is None or schemes[address.scheme][1] == on:
            continue
        if key[0] == "endpoint":
            words = f'`tls` says {str(on).lower()}, but the address says "{address.scheme}"; leave `tls` out'
            raise EndpointError(("endpoint", "tls"), words)
        raise EndpointError(key, f'"{address.text}" and the endpoint disagree about TLS')
    if all(tls != on for _, tls in schemes.values()):
        words = "this protocol has no TLS; leave `tls` out" if on else "this protocol always uses TLS; leave `tls` out"
        raise EndpointError(("endpoint", "tls"), words)


def _check_plaintext(auth: AnyAuth, tls: Tls, schemes: Schemes) -> None:
    """Raise EndpointError where a block means something with TLS only."""
    secure = next((f"`{scheme}://`, or `tls = true`" for scheme, (_, on) in schemes.items() if on), None)
    advice = "this protocol has no TLS" if secure is None else f"write {secure}"
    # `verify = false` alone is left alone: it weakens nothing here, and warns by itself (`Tls.warnings`).
    if tls.ca is not None or tls.server_name is not None or (secure is None and tls != Tls()):
        raise EndpointError(("tls",), f"there is a `tls` block, but the endpoint is without TLS; {advice}")
    if isinstance(auth, AuthCertificate):
        raise EndpointError(("auth",), f"a client certificate needs TLS; {advice}")
