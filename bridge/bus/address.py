"""Default endpoints of the bus, and checks of endpoints."""

import os
import sys
import warnings
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
import platformdirs
import zmq

from bridge.core.endpoint import is_loopback
from bridge.core.errors import BusError

#: Loopback ports where there are no `ipc` sockets.
DEFAULT_PUBLISH_PORT: Final = 48621
DEFAULT_SUBSCRIBE_PORT: Final = 48622
# Bytes of `sun_path` without the NUL at its end (unix(7); the BSDs have four bytes less).
_MAX_IPC_PATH: Final = 107 if sys.platform == "linux" else 103


class Address(msgspec.Struct, frozen=True):
    """A checked endpoint: either the path of an `ipc` socket, or a `host` and `port` (0: any)."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    @property
    def endpoint(self) -> str:
        """The endpoint as ZeroMQ writes it."""
        if self.path is not None:
            return f"ipc://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port or '*'}"


def runtime_directory() -> Path:
    """Return the directory of the default `ipc` sockets: `$XDG_RUNTIME_DIR/nemo`, else the platform's usual one."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base:
        return Path(base) / "nemo"
    with warnings.catch_warnings():
        # platformdirs warns where it has to use the temporary directory; `lock` checks who owns the one that is used.
        warnings.simplefilter("ignore")
        return platformdirs.user_runtime_path("nemo", appauthor=False)


def default_publish() -> str:
    """Return the endpoint for publishers where the configuration has none."""
    return _default("bus-publish.sock", DEFAULT_PUBLISH_PORT)


def default_subscribe() -> str:
    """Return the endpoint for subscribers where the configuration has none."""
    return _default("bus-subscribe.sock", DEFAULT_SUBSCRIBE_PORT)


def _default(name: str, port: int) -> str:
    return f"ipc://{runtime_directory() / name}" if zmq.has("ipc") else f"tcp://127.0.0.1:{port}"


def parse_endpoint(text: str, *, closed: bool = False) -> Address:
    """Check one endpoint.

    Args:
        text: The endpoint as ZeroMQ writes it.
        closed: Whether the bus has CURVE keys; TCP beyond loopback needs them.

    Raises:
        BusError: It is not an `ipc` path or TCP address that can be used; the message tells why.
    """
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "ipc":
        return _ipc(text, rest)
    if separator and scheme == "tcp":
        return _tcp(text, closed=closed)
    raise BusError(f"bus endpoint {text!r}: write ipc:///path/to/socket or tcp://127.0.0.1:port")


def parse_pair(publish: str, subscribe: str, *, closed: bool = False) -> tuple[Address, Address]:
    """Check both endpoints of a bus; they must differ.

    Raises:
        BusError: One of them is not valid, or they are the same.
    """
    pair = parse_endpoint(publish, closed=closed), parse_endpoint(subscribe, closed=closed)
    if pair[0] == pair[1] and (pair[0].path or pair[0].port):
        raise BusError(f"bus endpoints: publish and subscribe are both {publish}")
    return pair


def check_reachable(*addresses: Address) -> None:
    """Raise `BusError` for an endpoint that only a binding socket can have: with any port or any address."""
    for address in addresses:
        if address.path is None and (address.host == "*" or not address.port):
            raise BusError(f"bus endpoint {address.endpoint}: nobody can connect to that; name address and port")


def _ipc(text: str, rest: str) -> Address:
    if not zmq.has("ipc"):
        raise BusError(f"bus endpoint {text!r}: this system has no ipc sockets, use tcp://127.0.0.1:port")
    if not rest.startswith("/"):
        # A relative path depends on the working directory; `*` and abstract names (`@`) have no directory that protects
        # them.
        raise BusError(f"bus endpoint {text!r}: an ipc endpoint needs an absolute path, as in ipc:///run/user/1000/x")
    if "\0" in rest:
        raise BusError(f"bus endpoint {text!r}: a path holds no NUL")
    size = len(os.fsencode(rest))
    if size > _MAX_IPC_PATH:
        raise BusError(f"bus endpoint {text!r}: the path has {size} bytes, a socket's has {_MAX_IPC_PATH} at most")
    return Address(path=Path(rest))


def _tcp(text: str, *, closed: bool) -> Address:
    wild = text.endswith(":*")
    try:
        parts = urlsplit(f"{text[:-1]}0" if wild else text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BusError(f"bus endpoint {text!r}: {error}") from None
    if not host or port is None or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise BusError(f"bus endpoint {text!r}: write tcp://127.0.0.1:port")
    # libzmq binds addresses, not names.
    literal = "127.0.0.1" if host.endswith("localhost") and is_loopback(host) else host
    if not closed and not is_loopback(literal):
        raise BusError(
            f"bus endpoint {text!r}: TCP beyond loopback needs CURVE keys, by a `curve` block; "
            "without them, use ipc or 127.0.0.1"
        )
    return Address(host=literal, port=port)
