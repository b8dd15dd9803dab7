"""A JSON-RPC service in a thread; the called method decides what it answers, right or wrong."""

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

_HELD: Final[list[socket.socket]] = []


class Remote:
    """The calls and the address of the service, for the test.

    Attributes:
        calls: How often each method was called.
        heads: The HTTP headers of each call, with `method` and `params`.
        hold: Calls of `wait` are answered once it is set.
        fails: How many calls of `flaky*` still fail.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.heads: list[dict[str, Any]] = []
        self.hold = threading.Event()
        self.fails = 0
        self.port = 0

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}/rpc"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    remote: Remote

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._send(405, b"")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method, params = body["method"], body.get("params")
        remote = self.remote
        remote.calls[method] += 1
        remote.heads.append({**{k.lower(): v for k, v in self.headers.items()}, "method": method, "params": params})
        if "id" not in body:
            self._send(204, b"")
            return
        good = {"jsonrpc": "2.0", "result": params, "id": body["id"]}
        match method.split(":"):
            case ["raw"]:
                # Exactly this JSON as result or error, whatever it is; LARGE is more than the bus takes.
                member, text = params[0], params[1].replace("LARGE", "x" * (1 << 20))
                answer = f'{{"jsonrpc": "2.0", "id": {json.dumps(body["id"])}, "{member}": {text}}}'
                self._send(200, answer.encode(), ("Content-Type", "application/json"))
            case ["wait"]:
                remote.hold.wait(20)
                self._json(good)
            case ["sleep", milliseconds]:
                time.sleep(int(milliseconds) / 1000)
                self._json(good)
            case ["http", status]:
                self._send(int(status), b"")
            case ["http", status, header, value]:
                self._send(int(status), b"", (header, value))
            case ["html"]:
                self._send(200, b"<html>hello</html>", ("Content-Type", "text/html"))
            case ["empty"]:
                self._send(200, b"")
            case ["wrong_id"]:
                self._json({**good, "id": "another"})
            case ["both"]:
                self._json({**good, "result": 1, "error": {"code": 1, "message": "m"}})
            case ["neither"]:
                self._json({"jsonrpc": "2.0", "id": body["id"]})
            case ["version"]:
                self._json({**good, "jsonrpc": "1.0"})
            case ["error"]:
                error = {"code": -32001, "message": "no such order", "data": {"order": 7}}
                self._json({"jsonrpc": "2.0", "error": error, "id": body["id"]})
            case ["cut"]:
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"jsonrpc"')
                self.close_connection = True
            case ["reset"]:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
            case ["flaky" | "flaky_safe"] if remote.fails > 0:
                remote.fails -= 1
                self._send(500, b"")
            case _:
                self._json(good)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), ("Content-Type", "application/json"))

    def _send(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def remote(port: int = 0) -> Iterator[Remote]:
    """Serve on a free port of loopback, or on this one."""
    state = Remote()
    handler = type("Handler", (_Handler,), {"remote": state})
    with _Server(("127.0.0.1", port), handler) as server:
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            state.hold.set()
            server.shutdown()
            thread.join()


@cache
def refusing_port() -> int:
    """Return a port of loopback that refuses connections for as long as this process runs: nobody else can have it."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    _HELD.append(held)
    return int(held.getsockname()[1])


def free_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
