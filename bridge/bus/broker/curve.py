"""CURVE keys on sockets, and the decision who may connect.

CURVE alone admits every client that knows the server's public key. So each handshake is checked over ZAP (ZeroMQ
RFC 27). A socket that has a ZAP domain and enforces it refuses every client for which there is no positive answer.
"""

from collections.abc import Container
from pathlib import Path
from typing import Final

import msgspec
import zmq
from zmq.utils import z85

from bridge.core.curve_keys import (
    AccessList,
    Grant,
    KeyPair,
    fingerprint,
    read_access_list,
    read_pair,
    read_public,
)
from bridge.core.errors import BusError, KeyFileError

ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
#: The ZAP domain. It has a name because an empty one is not enforced.
DOMAIN: Final = b"nemo-bus"
#: Milliseconds that a handshake may take. One that was refused for now ends only then; libzmq's default is 30 s.
HANDSHAKE_TIME: Final = 5000
_VERSION: Final = b"1.0"
_KEY_BYTES: Final = 32


class CurveServer(msgspec.Struct, frozen=True):
    """The keys of a closed bus that is hosted here.

    Attributes:
        pair: The bus' own key pair.
        authorized: The folder with the public keys that may connect.
    """

    pair: KeyPair
    authorized: Path

    @classmethod
    def read(cls, secret_key: Path, authorized: Path) -> "CurveServer":
        """Read the key pair from its file. The folder is read when the bus starts.

        Raises:
            BusError: The key cannot be used.
        """
        try:
            return cls(read_pair(secret_key), authorized)
        except KeyFileError as error:
            raise BusError(str(error)) from None


class CurveClient(msgspec.Struct, frozen=True):
    """The keys for joining a closed bus.

    Attributes:
        pair: Our own key pair, whose public key is listed there.
        server: The bus' public key, as Z85 text.
    """

    pair: KeyPair
    server: str

    @classmethod
    def read(cls, secret_key: Path | str, server_key: Path | str) -> "CurveClient":
        """Read the keys from files: ours, whose name ends in `.key_secret`, and the bus' public one.

        Raises:
            BusError: One of them cannot be used.
        """
        try:
            return cls(read_pair(Path(secret_key)), read_public(Path(server_key)))
        except KeyFileError as error:
            raise BusError(str(error)) from None


def new_pair() -> tuple[str, str]:
    """Make a new public and secret key, as Z85 text."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def load_access_list(curve: CurveServer) -> AccessList:
    """Read who may connect: the listed keys, and the bus' own key, which an application may hold.

    Raises:
        BusError: The list has a fault.
    """
    try:
        listed = read_access_list(curve.authorized)
    except KeyFileError as error:
        raise BusError(str(error)) from None
    own = Grant("the bus' own key", curve.pair.public, publish=("**",), subscribe=("**",))
    return {own.public: own} | listed


def secure_server(socket: zmq.Socket[bytes], curve: CurveServer) -> None:
    """Require CURVE and a positive answer by ZAP from all clients of a socket; call it before the socket binds."""
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_SECRETKEY, curve.pair.secret.encode())
    socket.set(zmq.ZAP_DOMAIN, DOMAIN)
    socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_TIME)


def secure_client(socket: zmq.Socket[bytes], curve: CurveClient | None) -> None:
    """Give a socket its keys before it connects; without keys it stays as it is."""
    if curve is not None:
        socket.set(zmq.CURVE_SERVERKEY, curve.server.encode())
        socket.set(zmq.CURVE_PUBLICKEY, curve.pair.public.encode())
        socket.set(zmq.CURVE_SECRETKEY, curve.pair.secret.encode())


class Refusal(msgspec.Struct, frozen=True):
    """A client that ZAP refused.

    Attributes:
        key: The fingerprint of its key; None where it had none.
        why: One line for a person.
    """

    key: str | None
    why: str


def answer_zap(
    request: list[bytes], access_list: AccessList, removed: Container[str] = ()
) -> tuple[list[bytes], Refusal | None]:
    """Return the reply to one request, and the refusal where the client may not connect.

    A positive reply names the key as `User-Id`, which libzmq then attaches to every message of that connection. A key
    in `removed` was listed before. Its client is refused for now only (300): it tries again by itself each
    `HANDSHAKE_TIME`, and comes back if the key is listed again. After 400 libzmq gives a socket up for good.
    """
    version, number, domain, address, _, mechanism, *credentials = [*request, *[b""] * (6 - len(request))]
    if (
        version != _VERSION
        or domain != DOMAIN
        or mechanism != b"CURVE"
        or [len(one) for one in credentials] != [_KEY_BYTES]
    ):
        return _reply(number, b"400"), Refusal(None, f"a client without CURVE keys, from {_harmless(address)}")
    key = z85.encode(credentials[0]).decode()
    if key not in access_list:
        return _reply(number, b"300" if key in removed else b"400"), Refusal(
            fingerprint(key), f"its key is not listed, from {_harmless(address)}"
        )
    return _reply(number, b"200", key.encode()), None


def refuse_zap(request: list[bytes]) -> list[bytes]:
    """Return the negative reply to a request that could not be checked."""
    return _reply(request[1] if len(request) > 1 else b"", b"500")


def _reply(number: bytes, status: bytes, user: bytes = b"") -> list[bytes]:
    return [_VERSION, number, status, b"", user, b""]


def _harmless(address: bytes) -> str:
    return address.decode("ascii", "replace")[:64] or "this machine"
