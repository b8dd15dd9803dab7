"""CURVE on sockets, and who is let in.

CURVE alone lets in whoever knows the server's public key. So each handshake is asked about over ZAP (ZeroMQ RFC 27):
a socket with a named domain that it enforces is closed to everybody for whom nobody says yes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zmq
from zmq.utils import z85

from bridge.core.curve_keys import (
    Grant,
    KeyFileError,
    KeyPair,
    Roster,
    fingerprint,
    read_pair,
    read_public,
    read_roster,
)
from bridge.core.errors import BusError

ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
#: Named, because `*` does not match one that is, and an empty one is not enforced.
DOMAIN: Final = b"nemo-bus"
_VERSION: Final = b"1.0"
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class CurveServer:
    """What a closed bus is hosted with.

    Attributes:
        pair: The bus' own key.
        authorized: The folder of those who may come in.
    """

    pair: KeyPair
    authorized: Path

    @classmethod
    def read(cls, secret_key: Path, authorized: Path) -> "CurveServer":
        """From files; the list is read when the bus starts.

        Raises:
            BusError: The key cannot be used.
        """
        try:
            return cls(read_pair(secret_key), authorized)
        except KeyFileError as error:
            raise BusError(str(error)) from None


@dataclass(frozen=True, slots=True)
class CurveClient:
    """What a closed bus is joined with.

    Attributes:
        pair: Our own key, which is listed there.
        server: The bus' public key, as Z85 text.
    """

    pair: KeyPair
    server: str

    @classmethod
    def read(cls, secret_key: Path | str, server_key: Path | str) -> "CurveClient":
        """From files: ours, whose name ends in `.key_secret`, and the bus' public one.

        Raises:
            BusError: One of them cannot be used.
        """
        try:
            return cls(read_pair(Path(secret_key)), read_public(Path(server_key)))
        except KeyFileError as error:
            raise BusError(str(error)) from None


def new_pair() -> tuple[str, str]:
    """A new public and secret key, as Z85 text."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def read_allowed(curve: CurveServer) -> Roster:
    """Who may come in: those listed, and whoever holds the bus' own key, as an application.

    Raises:
        BusError: The list has a fault.
    """
    try:
        listed = read_roster(curve.authorized)
    except KeyFileError as error:
        raise BusError(str(error)) from None
    own = Grant("the bus' own key", curve.pair.public, publish=("**",), subscribe=("**",))
    return {own.public: own} | listed


def secure_server(socket: zmq.Socket[bytes], curve: CurveServer) -> None:
    """Close a socket, before it binds, to all but those whom ZAP lets in."""
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_SECRETKEY, curve.pair.secret.encode())
    socket.set(zmq.ZAP_DOMAIN, DOMAIN)
    socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)


def secure_client(socket: zmq.Socket[bytes], curve: CurveClient | None) -> None:
    """Give a socket its keys before it connects; without any it stays as it is."""
    if curve is not None:
        socket.set(zmq.CURVE_SERVERKEY, curve.server.encode())
        socket.set(zmq.CURVE_PUBLICKEY, curve.pair.public.encode())
        socket.set(zmq.CURVE_SECRETKEY, curve.pair.secret.encode())


@dataclass(frozen=True, slots=True)
class Turned:
    """Somebody whom ZAP turned away: by fingerprint, where there was a key, and why."""

    key: str | None
    why: str


def answer_zap(request: list[bytes], roster: Roster) -> tuple[list[bytes], Turned | None]:
    """The reply to one request, and who was turned away.

    A good reply names the key as `User-Id`, which libzmq then puts on every message of that connection.
    """
    version, number, domain, address, _, mechanism, *credentials = [*request, *[b""] * (6 - len(request))]
    if (
        version != _VERSION
        or domain != DOMAIN
        or mechanism != b"CURVE"
        or [len(one) for one in credentials] != [_KEY_BYTES]
    ):
        return _reply(number, b"400"), Turned(None, f"a client without CURVE keys, from {_harmless(address)}")
    key = z85.encode(credentials[0]).decode()
    if key not in roster:
        return _reply(number, b"400"), Turned(fingerprint(key), f"its key is not listed, from {_harmless(address)}")
    return _reply(number, b"200", key.encode()), None


def refuse_zap(request: list[bytes]) -> list[bytes]:
    """The reply where the question could not be answered: no."""
    return _reply(request[1] if len(request) > 1 else b"", b"500")


def _reply(number: bytes, status: bytes, user: bytes = b"") -> list[bytes]:
    return [_VERSION, number, status, b"", user, b""]


def _harmless(address: bytes) -> str:
    return address.decode("ascii", "replace")[:64] or "this machine"
