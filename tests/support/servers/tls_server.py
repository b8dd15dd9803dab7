"""A TLS server on blocking sockets in a thread, because asyncio's never sends the alert that refuses a client."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.servers.http_server import http


@dataclass
class TlsServer:
    """Its address, and the requests that it has read."""

    url: str
    requests: list[bytes] = field(default_factory=list)


@contextmanager
def tls_server(context: ssl.SSLContext, body: bytes) -> Iterator[TlsServer]:
    """Answer each request on loopback with this body, one connection after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = TlsServer(f"https://127.0.0.1:{listener.getsockname()[1]}/rpc")
        over = threading.Event()
        thread = threading.Thread(target=_serve, args=(listener, context, body, server, over))
        thread.start()
        try:
            yield server
        finally:
            over.set()
            thread.join()


def _serve(
    listener: socket.socket, context: ssl.SSLContext, body: bytes, server: TlsServer, over: threading.Event
) -> None:
    listener.settimeout(0.05)
    while not over.is_set():
        with contextlib.suppress(OSError):  # the time limit is one, as is whatever the client does
            plain, _ = listener.accept()
            plain.settimeout(5)
            with plain.dup() as kept, plain:
                _converse(plain, kept, context, body, server)


def _converse(
    plain: socket.socket, kept: socket.socket, context: ssl.SSLContext, body: bytes, server: TlsServer
) -> None:
    try:
        connection = context.wrap_socket(plain, server_side=True)
    except ssl.SSLError:
        # Closing with something unread would send RST, which may overtake the alert on its way to the client.
        while kept.recv(65536):
            pass
        return
    with connection:
        while data := connection.recv(65536):
            server.requests.append(data)
            connection.sendall(http(body))
