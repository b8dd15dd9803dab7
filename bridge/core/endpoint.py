"""Where a remote is and how to prove who we are: `endpoint`, `auth` and `tls` blocks, checked.

Plain models that the configuration fills and the adapters read. Everything secret is a `SecretStr`, which masks itself
in repr, log and error.
"""

from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


class Strict(BaseModel):
    """The base of every configuration model: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _check_host(host: str) -> None:
    """Refuse what the resolver would answer with an error of its own kind (RFC 1035, 2.3.4; RFC 3490)."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("cannot be a host name: a part of its name is empty, or longer than 63 letters") from None
    if not host.isprintable() or " " in host:
        raise ValueError("cannot be a host name: it has a space or a control character")


class Endpoint(Strict):
    """`endpoint { … }`: an `address` with `port`, `path` and `tls`, or one `url` that says all of it.

    `address` may itself be a URL (`https://api.example.com`), as the specification writes it.
    """

    address: Annotated[str, Field(min_length=1, description="host name, IP address or URL")] | None = None
    url: Annotated[str, Field(min_length=1, description="instead of address, port, path and tls")] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    path: str | None = None
    tls: bool | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "Endpoint":
        if (self.address is None) == (self.url is None):
            raise ValueError("give either `address` or `url`")
        if self.url is not None and (self.port, self.path, self.tls) != (None, None, None):
            raise ValueError("`url` says port, path and tls already; leave them out")
        text = self.url or self.address or ""
        host = text
        if "://" in text:
            try:
                parts = urlsplit(text)
                port = parts.port
            except ValueError as error:
                raise ValueError(f"not a URL: {error}") from None
            if parts.username or parts.password:
                raise ValueError("credentials do not belong into the address; use an `auth` block")
            if not parts.hostname:
                raise ValueError("the URL names no host")
            host = parts.hostname
            if port is not None and self.port is not None and port != self.port:
                raise ValueError(f"`port` says {self.port}, the address says {port}")
        elif self.url is not None:
            raise ValueError('a `url` starts with its scheme, as in "https://host/path"')
        _check_host(host.partition("/")[0])
        return self

    @property
    def scheme(self) -> str | None:
        """The URL's scheme in small letters; None where the address is a bare host."""
        scheme, mark, _ = (self.url or self.address or "").partition("://")
        return scheme.lower() if mark else None


class AuthNone(Strict):
    """No credentials."""

    type: Literal["none"] = "none"


class AuthBasic(Strict):
    """User name and password; a password alone where the protocol knows that."""

    type: Literal["basic"]
    username: str | None = None
    password: SecretStr


class AuthBearer(Strict):
    """A token."""

    type: Literal["bearer"]
    token: SecretStr


class AuthCertificate(Strict):
    """A client certificate: PEM files; `key` may be in the same file as `cert`."""

    type: Literal["certificate"]
    cert: Path
    key: Path | None = None


class AuthNkey(Strict):
    """An nkey: the seed of an Ed25519 key whose public half the server knows (NATS)."""

    type: Literal["nkey"]
    seed: SecretStr


class AuthCredentials(Strict):
    """A credentials file with a JWT and the seed that belongs to it (NATS)."""

    type: Literal["credentials"]
    file: Path


AnyAuth = AuthNone | AuthBasic | AuthBearer | AuthCertificate | AuthNkey | AuthCredentials
NO_AUTH: Final = AuthNone()


class Tls(Strict):
    """`tls { … }`: whom to trust. It verifies unless told not to."""

    ca: Annotated[
        Path | None, Field(description="PEM file of the certificate authority to trust, in place of the system's")
    ] = None
    server_name: Annotated[str | None, Field(description="the name that the certificate must carry")] = None
    verify: bool = True

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and not safe, one line each; log, health and `check` say it."""
        if self.verify:
            return ()
        return ("`verify = false`: anybody can pose as the remote, and read and change what is sent",)
