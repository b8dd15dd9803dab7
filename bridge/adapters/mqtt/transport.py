"""The socket under an MQTT session: opened without a thread, buffered both ways.

aiomqtt opens its socket in a thread, which a cancelled call leaves behind together with the socket; paho reads a packet
in three calls or more and writes each with one. What is here is the socket that paho asks for (its `SocketLike`).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final

_CHUNK: Final = 65_536
#: First bytes of PUBACK, PUBREC and PUBCOMP.
_ANSWERS: Final = b"\x40\x50\x70"
#: Bytes that wait at most, before paho is told to keep its packets.
_MAX_WAITING: Final = 1 << 20


class Wire:
    """A connected, non-blocking socket.

    Attributes:
        failure: What the operating system or OpenSSL said last; paho itself only says that the connection is lost.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._read = b""
        self._position = 0
        self._written = bytearray()
        self.failure: OSError | None = None

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; nothing at the end of the connection. Raises what a non-blocking socket raises."""
        position = self._position
        if position >= len(self._read):
            try:
                self._read, position = self._sock.recv(_CHUNK), 0
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except OSError as error:
                self.failure = error
                raise
        self._position = position + size
        return self._read[position : position + size]

    def answers(self) -> Iterator[tuple[int, bytes]]:
        """First byte and body of each PUBACK, PUBREC and PUBCOMP that are here as a whole, up to the next other packet.

        To be used between two packets only; a loop over them may end in the middle.
        """
        while self._position + 4 <= len(self._read):
            data, start = self._read, self._position
            end = start + 2 + data[start + 1]
            if data[start] not in _ANSWERS or not 2 <= data[start + 1] < 128 or end > len(data):
                return
            self._position = end
            yield data[start], data[start + 2 : end]

    def pending(self) -> int:
        """Bytes that are here already, so that the operating system will not announce them."""
        left = max(0, len(self._read) - self._position)
        return left + self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else left

    def send(self, data: bytes | bytearray) -> int:
        """Take data over for the next `flush`."""
        if len(self._written) > _MAX_WAITING:
            raise BlockingIOError
        self._written += data
        return len(data)

    def put(self, data: bytes) -> None:
        """The same for what is bounded elsewhere."""
        self._written += data

    def flush(self) -> bool:
        """Send what waits; True when nothing is left. OSError where the connection is broken."""
        try:
            while self._written:
                del self._written[: self._sock.send(self._written)]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            self.failure = self._last_word(error)
            raise
        return True

    def _last_word(self, error: OSError) -> OSError:
        """What the other side said before it stopped listening: a TLS alert that nobody has read yet says more."""
        try:
            while self._sock.recv(_CHUNK):
                pass
        except ssl.SSLEOFError:
            return error
        except ssl.SSLError as said:
            return said
        except OSError:
            return error
        return error

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:  # paho's signature
        """It never blocks, whatever paho wants."""

    def close(self) -> None:
        """Close; what waits (a DISCONNECT) is sent if it can be at once."""
        with contextlib.suppress(OSError):
            self.flush()
        self._written.clear()
        self._sock.close()


async def open_wire(host: str, port: int, context: ssl.SSLContext | None, server_name: str) -> Wire:
    """Connect to the first of the host's addresses that answers, with TLS where there is a context; cancellable.

    Raises:
        OSError: Nobody answers; ssl.SSLError where TLS fails.
    """
    loop = asyncio.get_running_loop()
    refused: OSError = ConnectionError(f"{host} has no address")
    try:  # an address in numbers asks nobody, so it needs none of the threads that the loop looks names up in
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
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
            return Wire(sock if context is None else await _handshake(sock, context, server_name))
    raise refused


async def _handshake(plain: socket.socket, context: ssl.SSLContext, server_name: str) -> ssl.SSLSocket:
    loop = asyncio.get_running_loop()
    try:
        sock = context.wrap_socket(plain, server_hostname=server_name, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise
    try:
        while True:
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                await _ready(sock.fileno(), loop.add_reader, loop.remove_reader)
            except ssl.SSLWantWriteError:
                await _ready(sock.fileno(), loop.add_writer, loop.remove_writer)
            else:
                return sock
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
