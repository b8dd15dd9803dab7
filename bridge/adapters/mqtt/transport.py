"""The sockets of an MQTT connection: the real one, and the one that paho is given.

aiomqtt opens its socket in a thread, which a cancelled call leaves behind together with the socket. So the socket is
opened here. paho gets a `ControlSocket`, into which it writes CONNECT.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from bridge.adapters._common import tls
from bridge.core.endpoint import ResolvedEndpoint
from bridge.core.ports import Clock

#: Bytes that are read at a time.
_CHUNK: Final = 65_536

#: Bytes that wait to be written beyond which messages wait, too.
_MOST_WAITING: Final = 1 << 20


class SocketTransport:
    """A connected, non-blocking socket, with or without TLS, and what waits to be written to it.

    Attributes:
        is_open: Whether it was not closed.
        failure: The last error of the operating system or of OpenSSL; None where there was none.
        sent: How many bytes the operating system has taken.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Take the socket over."""
        self._sock = sock
        self._waiting = bytearray()
        self.is_open = True
        self.failure: OSError | None = None
        self.sent = 0

    def receive(self) -> bytes | None:
        """Return what has come, empty at the end of the connection; None where nothing has come yet.

        Raises:
            OSError: The connection is broken.
        """
        try:
            return self._sock.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except OSError as error:
            self.failure = error
            raise

    def has_more(self) -> bool:
        """Whether there is something to receive that may not be announced: bytes in OpenSSL, or a reset.

        uvloop announces a reset once, together with the data before it.
        """
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0:
            return True
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.failure = OSError(code, os.strerror(code))  # the system tells it once
        return code != 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be written."""
        return not self._waiting

    def has_room(self) -> bool:
        """Return whether so little waits to be written that more messages should be."""
        return len(self._waiting) < _MOST_WAITING

    @property
    def written(self) -> int:
        """How many bytes `write` has taken in all; `sent` has reached this once they are sent."""
        return self.sent + len(self._waiting)

    def write(self, data: bytes | bytearray) -> None:
        """Add data to what `flush` sends."""
        self._waiting += data

    def flush(self) -> bool:
        """Send what waits; return True when nothing is left.

        Raises:
            OSError: The connection is broken.
        """
        try:
            while self._waiting:
                count = self._sock.send(self._waiting)
                del self._waiting[:count]
                self.sent += count
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            self.failure = self._last_word(error)
            raise
        return True

    def _last_word(self, error: OSError) -> OSError:
        """Return the TLS alert that the other side sent before it closed, which explains more; else the same error."""
        try:
            while self._sock.recv(_CHUNK):
                pass
        except ssl.SSLEOFError:
            return error
        except ssl.SSLError as alert:
            return alert
        except OSError:
            return error
        return error

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close; what waits (a DISCONNECT) is sent as far as the operating system takes it at once."""
        with contextlib.suppress(OSError):
            self.flush()
        self.is_open = False
        self._waiting.clear()
        self._sock.close()


class ControlSocket:
    """What paho takes for its socket (paho's `SocketLike`): there is never anything to read."""

    def __init__(self, descriptor: int, write: Callable[[bytes], None]) -> None:
        """What paho writes goes to `write`; `descriptor` is that of the real socket, which paho does not close."""
        self._descriptor = descriptor
        self._write = write

    def recv(self, _size: int) -> bytes:
        """Raise BlockingIOError: nothing is here to be read."""
        raise BlockingIOError

    def send(self, data: bytes | bytearray) -> int:
        """Write a packet of paho's."""
        self._write(bytes(data))
        return len(data)

    def fileno(self) -> int:
        """Return the descriptor of the real socket."""
        return self._descriptor

    def setblocking(self, flag: bool) -> None:  # paho's signature
        """It never blocks, whatever paho asks for."""

    def close(self) -> None:
        """Do nothing: the real socket has an owner."""


async def open_transport(
    server: ResolvedEndpoint, context: ssl.SSLContext | None, server_name: str, clock: Clock
) -> SocketTransport:
    """Connect to the first of the host's addresses that answers, with TLS where there is a context.

    It may be cancelled at any time, and then leaves no socket and no thread behind.

    Raises:
        OSError: Nobody answers; ssl.SSLError where TLS fails.
    """
    loop = asyncio.get_running_loop()
    refused: OSError = ConnectionError(f"{server.host} has no address")
    try:  # an address in numbers asks nobody, so it needs none of the threads that the loop looks names up in
        addresses = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        addresses = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            refused = error
        except BaseException:
            sock.close()
            raise
        else:
            return SocketTransport(sock if context is None else await _handshake(sock, context, server_name, clock))
    raise refused


async def _handshake(plain: socket.socket, context: ssl.SSLContext, server_name: str, clock: Clock) -> ssl.SSLSocket:
    loop = asyncio.get_running_loop()
    try:
        sock = context.wrap_socket(plain, server_hostname=server_name, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise
    try:
        async with clock.timeout(tls.HANDSHAKE_TIMEOUT):
            while True:
                try:
                    sock.do_handshake()
                except ssl.SSLWantReadError:
                    await _ready(sock.fileno(), loop.add_reader, loop.remove_reader)
                except ssl.SSLWantWriteError:
                    await _ready(sock.fileno(), loop.add_writer, loop.remove_writer)
                else:
                    return sock
    except TimeoutError:
        sock.close()
        raise ConnectionAbortedError(f"no answer to the TLS handshake within {tls.HANDSHAKE_TIMEOUT:g} s") from None
    except BaseException:
        sock.close()
        raise


async def _ready(descriptor: int, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
    ready = asyncio.Event()
    add(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        remove(descriptor)
