"""Prove to a NATS server who we are: by password, by token, or by an nkey (Ed25519), alone or with a JWT."""

import base64
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge.core.errors import AuthError
from bridge.core.files import read_regular

if TYPE_CHECKING:
    from nkeys import KeyPair

_JWT: Final = re.compile(r"-+BEGIN NATS USER JWT-+\s+(\S+)\s+-+END NATS USER JWT-+")
#: Bytes of a credentials file.
_LARGEST: Final = 65_536
_SEED: Final = re.compile(r"-+BEGIN USER NKEY SEED-+\s+(\S+)\s+-+END USER NKEY SEED-+")


class NkeySigner(msgspec.Struct, frozen=True):
    """Signs what a server sends to be signed, its nonce.

    Attributes:
        seed: Returns the seed. Like `jwt` it is a function, so that no secret shows in a repr, and a file may be
            replaced at run time. Both raise ValueError with a text for a person.
        jwt: Returns the JWT; None for a bare nkey, which the server knows by its public key.
    """

    seed: Callable[[], str]
    jwt: Callable[[], str] | None = None

    @property
    def public(self) -> str:
        """The public key. Raises ValueError where the seed is none."""
        return str(_pair(self.seed()).public_key.decode())

    def sign(self, nonce: str) -> bytes:
        """Sign the nonce. Raises AuthError where the file is not usable any more."""
        try:
            return base64.b64encode(_pair(self.seed()).sign(nonce.encode()))
        except ValueError as error:
            raise AuthError(str(error), permanent=True) from None

    def token(self) -> bytes:
        """Return the JWT. Raises AuthError where the file is not usable any more."""
        assert self.jwt is not None  # noqa: S101 - asked for with a JWT only
        try:
            return self.jwt().encode()
        except ValueError as error:
            raise AuthError(str(error), permanent=True) from None


def connect_fields(credentials: Mapping[str, Any], keys: NkeySigner | None, nonce: str) -> dict[str, str]:
    """Return the fields of CONNECT that prove who we are; none where the configuration has no credentials.

    Args:
        credentials: `user` and `password`, or `token`; the secret ones are functions.
        keys: What signs the nonce, if anything does.
        nonce: What the server wants signed; a server that wants nothing signed is not told the key.

    Raises:
        AuthError: The file with the keys is not usable any more.
    """
    if keys is not None and nonce:
        signature = {"sig": keys.sign(nonce).decode()}
        return signature | ({"nkey": keys.public} if keys.jwt is None else {"jwt": keys.token().decode()})
    if "user" in credentials:
        return {"user": credentials["user"], "pass": credentials["password"]()}
    if "token" in credentials:
        return {"auth_token": credentials["token"]()}
    return {}


def from_seed(seed: Callable[[], str]) -> NkeySigner:
    """Make the signer of an nkey alone. Raises ValueError where it is no user's seed."""
    keys = NkeySigner(seed)
    keys.public  # noqa: B018 - checked while the configuration is read
    return keys


def from_file(path: Path, hide: Callable[[str], None]) -> NkeySigner:
    """Make the signer of a credentials file, as `nsc generate creds` writes it. It is read again for each connection.

    Args:
        path: The file.
        hide: Gets each secret before it is used, so that logs mask it.

    Raises:
        ValueError: It cannot be read, or has no JWT or no seed.
    """

    def part(pattern: re.Pattern[str], name: str) -> str:
        found = _part(path, pattern, name)
        hide(found)
        return found

    keys = NkeySigner(lambda: part(_SEED, "seed"), lambda: part(_JWT, "JWT"))
    keys.public  # noqa: B018 - checked while the configuration is read
    part(_JWT, "JWT")
    return keys


def _pair(seed: str) -> "KeyPair":
    import nkeys  # noqa: PLC0415 - more than a megabyte, for this kind of auth alone

    text = seed.strip().encode()
    try:
        pair = nkeys.from_seed(bytearray(text))
        prefix, raw = nkeys.decode_seed(bytearray(text))
        intact = nkeys.encode_seed(raw, prefix) == text  # the library does not look at the checksum
    except (nkeys.NkeysError, ValueError):
        intact = False
    if not intact:
        raise ValueError("auth: this is no nkey seed; a user's begins with SU")
    if prefix != nkeys.PREFIX_BYTE_USER:
        raise ValueError("auth: this is the seed of something else than a user; a user's begins with SU")
    return pair


def _part(path: Path, pattern: re.Pattern[str], name: str) -> str:
    try:
        text = read_regular(path, _LARGEST).removeprefix(BOM_UTF8).decode("ascii")
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"auth.file: {path} cannot be read as text") from None
    found = pattern.search(text)
    if found is None:
        raise ValueError(f"auth.file: {path} has no user's {name}; `nsc generate creds` writes such a file")
    return found[1]
